//! What went wrong, in words a person can act on: what was attempted, why it failed, and a hint.
use super::Exit;
use crate::api::GROUP;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, ObjectMeta, PartialObjectMeta},
    client::AuthError,
    config::{Kubeconfig, KubeconfigError},
    core::Status,
};
use std::{fmt, future::Future, time::Duration};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An error that ends a verb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    /// What was attempted, and why it failed.
    pub words: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What the process ends with.
    pub exit: Exit,
}

impl Failure {
    /// A failure of the general kind.
    pub fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), hint: None, exit: Exit::Error }
    }

    /// The same, with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, with an exit code of its own.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

/// What was asked of the cluster, as its access rules name it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The verb of the access rules.
    pub verb: &'static str,
    /// The resource of the access rules.
    pub resource: &'static str,
    /// Which object; empty is all.
    pub name: &'a str,
    /// In which namespace; empty is all.
    pub namespace: &'a str,
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.name.is_empty() {
            write!(f, "/{}", self.name)?;
        }
        match self.namespace {
            "" => f.write_str(" in all namespaces"),
            namespace => write!(f, " in namespace {namespace}"),
        }
    }
}

/// Waits for one answer of the cluster, but not for ever.
pub async fn ask<T>(what: Request<'_>, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    if let Ok(answer) = tokio::time::timeout(PATIENCE, request).await {
        return answer.map_err(|error| explain(what, &error));
    }
    let words = format!("cannot {what}: the cluster did not answer within {}s", PATIENCE.as_secs());
    Err(Failure::new(words).hint("`kubectl cluster-info` shows whether the cluster answers at all"))
}

/// The object of this name, if it is there; that the cluster does not know its kind is an error.
pub async fn find(what: Request<'_>, api: &Api<DynamicObject>) -> Result<Option<DynamicObject>, Failure> {
    let request = async {
        match api.get(what.name).await {
            Err(error) if is_absent(&error) => Ok(None),
            other => other.map(Some),
        }
    };
    ask(what, request).await
}

/// Whether trying again cannot help.
pub fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 405 | 422))
}

/// Whether the cluster says that this very object is not there; that it does not know the kind is something else.
pub fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && is_about_an_object(status))
}

/// Whether the cluster says that it does not know the kind.
pub fn is_unknown_kind(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && !is_about_an_object(status))
}

fn is_about_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// An error of the client in words.
pub fn explain(what: Request<'_>, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => refused(what, status),
        kube::Error::SerdeError(why) => Failure::new(format!("cannot {what}: the answer cannot be understood: {why}"))
            .hint("the plugin and the operator should be of the same version: `kubectl bellwether --version`"),
        error => unreachable(error),
    }
}

fn refused(what: Request<'_>, status: &Status) -> Failure {
    let message = status.message.as_str();
    if let Some(Denial { by, why }) = denial(message) {
        let ours = by.contains("'bellwether-");
        return if ours {
            Failure::new(format!("a policy of the cluster does not let you {what}: {why}")).hint(
                "policies of that kind ask for rights beyond the usual ones; who installed Bellwether can give them",
            )
        } else {
            Failure::new(format!("{by} does not let you {what}: {why}"))
                .hint("that is none of Bellwether's rules; who set it up in this cluster can say what it asks for")
        };
    }
    if status.code == 403 {
        let role = match (what.verb, what.resource) {
            ("create", "rolloutactions") => "bellwether-operator-on-call",
            ("patch" | "delete", "rollouts") => "bellwether-edit",
            (_, "rollouts" | "rolloutactions") => "bellwether-view",
            ("patch", _) => "edit",
            _ => "view",
        };
        return Failure::new(format!("you may not {what}: {message}")).hint(format!(
            "ask for the verb {} on {}; the ClusterRole {role} has it",
            what.verb,
            group_of(what.resource)
        ));
    }
    if status.code == 401 {
        return Failure::new(format!("cannot {what}: the cluster does not accept your credentials"))
            .hint("log in again, or choose another user with --context");
    }
    if status.code == 404 && !is_about_an_object(status) && matches!(what.resource, "rollouts" | "rolloutactions") {
        return Failure::new("Bellwether is not installed in this cluster").hint(
            "helm install bellwether charts/bellwether --namespace bellwether-system --create-namespace \
             --set image.repository=REPOSITORY --set-string image.tag=TAG, with the image that your cluster pulls; \
             or name another cluster with --context",
        );
    }
    Failure::new(format!("cannot {what}: {message}"))
}

/// A request that something in the cluster's admission has denied.
struct Denial<'a> {
    /// What did, as the cluster names it.
    by: &'a str,
    /// In its own words.
    why: &'a str,
}

/// The denial that a message tells of, if it is one: of an admission policy or of a webhook.
fn denial(message: &str) -> Option<Denial<'_>> {
    let (by, why) = message.split_once(" denied request: ").or_else(|| message.split_once(" denied the request: "))?;
    // What stands before is the object that was written; behind a policy stands its binding.
    let from = ["ValidatingAdmissionPolicy '", "admission webhook \""].into_iter().find_map(|word| by.find(word));
    let by = from.map_or(by, |from| &by[from..]);
    let by = by.split_once(" with binding ").map_or(by, |(policy, _)| policy);
    Some(Denial { by, why })
}

/// Whether this answers a JSON patch whose test did not hold: it names no object, for none was looked at any further.
pub fn is_failed_test(status: &Status) -> bool {
    status.code == 422 && !is_about_an_object(status) && denial(&status.message).is_none()
}

fn group_of(resource: &str) -> String {
    match resource {
        "deployments" | "replicasets" => format!("{resource}.apps"),
        resource => format!("{resource}.{GROUP}"),
    }
}

fn unreachable(error: &kube::Error) -> Failure {
    let chain = || anyhow::Chain::new(error);
    let root = chain().last().map_or_else(String::new, ToString::to_string);
    if chain().any(<dyn std::error::Error>::is::<AuthError>) {
        return Failure::new(format!("cannot get credentials for the cluster: {root}")).hint(
            "the kubeconfig's user says how they are got; `kubectl auth whoami` shows whether kubectl gets them",
        );
    }
    Failure::new(format!("cannot reach the cluster: {root}"))
        .hint("is it the right one? `kubectl config current-context` names it, --context chooses another")
}

/// A kubeconfig that cannot be used, in words.
pub fn unusable(error: &KubeconfigError, known: Option<&Kubeconfig>) -> Failure {
    let contexts = || {
        known.into_iter().flat_map(|config| &config.contexts).map(|context| context.name.clone()).collect::<Vec<_>>()
    };
    match error {
        KubeconfigError::LoadContext(name) => Failure::new(format!("there is no context {name} in the kubeconfig"))
            .hint(
                suggestion(name, &contexts()).unwrap_or_else(|| "`kubectl config get-contexts` lists them".to_owned()),
            ),
        KubeconfigError::CurrentContextNotSet => Failure::new("the kubeconfig has no current context")
            .hint("choose one with --context, or `kubectl config use-context NAME`"),
        error => Failure::new(format!("cannot read the kubeconfig: {error}"))
            .hint("name one with --kubeconfig or the variable KUBECONFIG"),
    }
}

/// That a Rollout is not there, with what is there instead.
pub async fn missing(client: &Client, namespace: &str, name: &str) -> Failure {
    if let Some(failure) = missing_namespace(client, namespace).await {
        return failure;
    }
    let words = format!("there is no Rollout {name} in namespace {namespace}");
    let known = names(&rollouts_of(client, namespace)).await;
    let hint = suggestion(name, &known).unwrap_or_else(|| {
        format!("there are none in namespace {namespace}; `kubectl bellwether get -A` lists those of all namespaces")
    });
    Failure::new(words).hint(hint)
}

/// That a namespace is not there, if the cluster says so; who may not look is not told anything wrong.
pub async fn missing_namespace(client: &Client, namespace: &str) -> Option<Failure> {
    let api: Api<PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>> = Api::all(client.clone());
    match tokio::time::timeout(PATIENCE, api.get(namespace)).await {
        Ok(Err(error)) if is_absent(&error) => {}
        _ => return None,
    }
    let failure = Failure::new(format!("there is no namespace {namespace}"));
    Some(match suggestion(namespace, &names(&api).await) {
        Some(hint) => failure.hint(hint),
        None => failure.hint("choose another with -n"),
    })
}

fn rollouts_of(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &super::rollouts())
}

async fn names<K>(api: &Api<K>) -> Vec<String>
where
    K: kube::Resource + Clone + fmt::Debug + serde::de::DeserializeOwned,
{
    let list = tokio::time::timeout(PATIENCE, api.list(&ListParams::default().limit(500))).await;
    let name = |object: &K| {
        let ObjectMeta { name, .. } = object.meta();
        name.clone()
    };
    list.ok().and_then(Result::ok).map(|list| list.items.iter().filter_map(name).collect()).unwrap_or_default()
}

/// The names that may have been meant, or a few of those there are; none if there are none.
pub fn suggestion(wanted: &str, known: &[String]) -> Option<String> {
    let near = near(wanted, known);
    match (near.as_slice(), known) {
        ([], []) => None,
        ([], known) => {
            let some: Vec<_> = known.iter().take(5).map(String::as_str).collect();
            let more = if known.len() > some.len() {
                format!(" and {} more", known.len() - some.len())
            } else {
                String::new()
            };
            Some(format!("known here: {}{more}", some.join(", ")))
        }
        (near, _) => Some(format!("did you mean {}?", near.join(" or "))),
    }
}

/// At most three names that are nearly the one that is wanted, the nearest first.
fn near<'a>(wanted: &str, known: &'a [String]) -> Vec<&'a str> {
    let most = (wanted.chars().count() / 3).max(2);
    let away = |name: &str| {
        if name.contains(wanted) || (name.len() > 2 && wanted.contains(name)) { 1 } else { distance(wanted, name) }
    };
    let mut near: Vec<_> =
        known.iter().map(|name| (away(name), name.as_str())).filter(|(away, _)| *away <= most).collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many letters must be put in, taken out or replaced (Levenshtein's distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut last[0], row + 1);
        for (column, candidate) in other.iter().enumerate() {
            let replaced = corner + usize::from(letter != *candidate);
            corner = last[column + 1];
            last[column + 1] = replaced.min(corner + 1).min(last[column] + 1);
        }
    }
    last[other.len()]
}

/// The name of an object with its namespace.
pub fn full_name(object: &impl ResourceExt) -> String {
    object.namespace().map_or_else(|| object.name_any(), |namespace| format!("{namespace}/{}", object.name_any()))
}

#[cfg(test)]
mod tests {
    use super::{super::fake::Fake, *};
    use serde_json::json;

    const GET: Request<'_> = Request { verb: "get", resource: "rollouts", name: "checkout", namespace: "shop" };
    const PATCH: Request<'_> = Request { verb: "patch", resource: "deployments", name: "checkout", namespace: "shop" };
    const CREATE: Request<'_> = Request { verb: "create", resource: "rolloutactions", name: "", namespace: "shop" };

    async fn refused_with(what: Request<'_>, code: u16, details: serde_json::Value, message: &str) -> Failure {
        let path = "/apis/bellwether.dev/v1alpha1/namespaces/shop/rollouts/checkout";
        let cluster = Fake::default().refuse("GET", path, code, &details, message);
        ask(what, rollouts_of(&cluster.client(), "shop").get("checkout")).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_is_forbidden_is_named_as_verb_and_resource() {
        let message = "rolloutactions.bellwether.dev is forbidden: User \"jane\" cannot create resource";
        let failure = refused_with(CREATE, 403, json!({}), message).await;
        assert_eq!(failure.words, format!("you may not create rolloutactions in namespace shop: {message}"));
        let hint = "ask for the verb create on rolloutactions.bellwether.dev; the ClusterRole bellwether-operator-on-call has it";
        assert_eq!(failure.hint.as_deref(), Some(hint));
    }

    #[tokio::test]
    async fn a_policy_is_quoted_without_its_machinery() {
        let message = "rolloutactions.bellwether.dev \"x\" is forbidden: ValidatingAdmissionPolicy 'bellwether-action-rights' \
                       with binding 'bellwether-action-rights' denied request: promote needs the verb promote on rollouts/checkout";
        let failure = refused_with(CREATE, 422, json!({}), message).await;
        assert_eq!(
            failure.words,
            "a policy of the cluster does not let you create rolloutactions in namespace shop: \
             promote needs the verb promote on rollouts/checkout"
        );
    }

    #[tokio::test]
    async fn what_others_have_denied_is_told_as_theirs() {
        let policy = "deployments.apps \"checkout\" is forbidden: ValidatingAdmissionPolicy 'images.example.com' with binding \
                      'everywhere' denied request: images come from registry.example.com";
        let failure = refused_with(PATCH, 422, json!({"name": "checkout"}), policy).await;
        assert_eq!(
            failure.words,
            "ValidatingAdmissionPolicy 'images.example.com' does not let you patch deployments/checkout in namespace shop: \
             images come from registry.example.com"
        );
        let theirs = "that is none of Bellwether's rules; who set it up in this cluster can say what it asks for";
        assert_eq!(failure.hint.as_deref(), Some(theirs));
        let webhook = "admission webhook \"validate.kyverno.svc-fail\" denied the request: \n\nresource Deployment/shop/checkout \
                       was blocked due to the following policies";
        for code in [400, 403] {
            let failure = refused_with(PATCH, code, json!({}), webhook).await;
            let words = "admission webhook \"validate.kyverno.svc-fail\" does not let you patch deployments/checkout in namespace \
                         shop: \n\nresource Deployment/shop/checkout was blocked due to the following policies";
            assert_eq!((failure.words.as_str(), failure.hint.as_deref()), (words, Some(theirs)));
        }
    }

    #[tokio::test]
    async fn a_kind_that_is_not_known_is_not_an_object_that_is_missing() {
        // What an API server says of a group that it does not serve; and of a kind, in a group that it does.
        let path = "/apis/bellwether.dev/v1alpha1/namespaces/shop/rollouts/checkout";
        let bare = Fake::default().on_text("GET", path, 404, "404 page not found\n");
        let bare = ask(GET, rollouts_of(&bare.client(), "shop").get("checkout")).await.unwrap_err();
        let served = refused_with(GET, 404, json!({}), "the server could not find the requested resource").await;
        for failure in [bare, served] {
            assert_eq!(failure.words, "Bellwether is not installed in this cluster");
            assert!(failure.hint.unwrap().starts_with("helm install bellwether"));
        }
    }

    #[tokio::test]
    async fn a_cluster_that_cannot_be_reached_is_said_to_be_so() {
        // Port 0 of the own machine answers nobody.
        let config = kube::Config::new("http://127.0.0.1:0".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let failure = ask(GET, rollouts_of(&client, "shop").get("checkout")).await.unwrap_err();
        assert!(failure.words.starts_with("cannot reach the cluster: "), "{failure:?}");
        assert!(failure.words.contains("refused") || failure.words.contains("assign"), "{failure:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_does_not_answer_is_not_waited_for_for_ever() {
        let failure = ask(GET, futures::future::pending::<Result<(), kube::Error>>()).await.unwrap_err();
        assert_eq!(
            failure.words,
            "cannot get rollouts/checkout in namespace shop: the cluster did not answer within 30s"
        );
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_listed() {
        let known = ["checkout", "cart", "search", "a", "b", "c"].map(str::to_owned);
        let hint = |wanted: &str| suggestion(wanted, &known).unwrap();
        assert_eq!(hint("chekcout"), "did you mean checkout?");
        assert_eq!(hint("check"), "did you mean checkout?");
        assert_eq!(hint("payments"), "known here: checkout, cart, search, a, b and 1 more");
        assert_eq!(suggestion("x", &[]), None);
    }

    #[test]
    fn a_context_that_is_missing_is_answered_with_those_there_are() {
        let yaml = "{apiVersion: v1, kind: Config, contexts: [{name: production, context: {cluster: c, user: u}}]}";
        let known: Kubeconfig = serde_saphyr::from_str(yaml).unwrap();
        let failure = unusable(&KubeconfigError::LoadContext("prodution".to_owned()), Some(&known));
        assert_eq!(failure.words, "there is no context prodution in the kubeconfig");
        assert_eq!(failure.hint.as_deref(), Some("did you mean production?"));
    }
}
