//! `undo`, `restart`, `set-image`: another template is put into the Deployment, with the rights of the person who runs it.
//!
//! Nothing is decided here: what is in the Deployment is a release like every other, and the operator tries it step by step.
//! Each change is tied to the template that was read, so that nobody's change of the same moment is lost.
use super::{
    Change, Exit, Session,
    errors::{self, Failure, Request},
    history::{Revision, Standing, revisions, without_hash},
    page, status,
    wait::Goal,
};
use crate::api::{Rollout, RolloutStatus};
use kube::{
    ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

/// The annotation that `kubectl rollout restart` writes.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// A container and its image, as `set-image` takes them.
pub fn image(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((container, image)) if !container.is_empty() && !image.is_empty() => {
            Ok((container.to_owned(), image.to_owned()))
        }
        _ => Err("write CONTAINER=IMAGE".to_owned()),
    }
}

/// Puts the template of a former revision back.
pub async fn undo(session: &mut Session<'_>, change: &Change, to: Option<&str>) -> anyhow::Result<Exit> {
    let held = Held::read(session, change).await?;
    if !held.status.is_held() {
        let words = format!("Rollout {} does not hold its Deployment yet, so it has no former revisions", change.name);
        let hint = format!(
            "`kubectl rollout undo deployment/{}{}` goes back, without steps",
            held.deployment.name_any(),
            session.flags
        );
        return Err(refusal(words).hint(hint).into());
    }
    let all = revisions(session, &held.rollout).await?;
    let target = match to {
        Some(wanted) => all.iter().find(|it| it.name == wanted || it.set == wanted).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|revision| revision.name.clone()).collect();
            let known = errors::suggestion(wanted, &names).unwrap_or_else(|| "there are none".to_owned());
            refusal(format!("Rollout {} has no revision {wanted}", change.name)).hint(known)
        })?,
        None => held.before(&all).ok_or_else(|| {
            let words = format!("no revision of {} is left that served before", change.name);
            refusal(words).hint("the Deployment's revisionHistoryLimit says how many are kept")
        })?,
    };
    held.may_return_to(target, session)?;
    let patch = held.tied(&[json!({"op": "replace", "path": "/spec/template", "value": target.template})]);
    let what = if target.standing == Standing::Serves {
        format!("has the template of {} again, which serves; what was on trial or given up is over", target.name)
    } else {
        format!("has the template of {} again", target.name)
    };
    held.put(session, change, ("undo", &what), patch).await
}

/// Replaces all pods.
pub async fn restart(session: &mut Session<'_>, change: &Change) -> anyhow::Result<Exit> {
    let held = Held::read(session, change).await?;
    if let Some(latch) = &held.status.latch {
        let words = format!("revision {} was given up, and a restart would try it again as another", latch.revision);
        let hint = format!("`{}` tries it again", page::command("retry", &change.name, &session.flags));
        return Err(refusal(words).hint(hint).into());
    }
    if let Some(flight) = &held.status.flight {
        let words = format!("revision {} is on trial, and a restart would replace it", flight.revision);
        let hint = format!(
            "wait until it is decided, `{}`; or take it out, `{}`",
            page::command("status --wait", &change.name, &session.flags),
            page::command("abort", &change.name, &session.flags)
        );
        return Err(refusal(words).hint(hint).into());
    }
    let at = (session.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let template = json!({"metadata": {"annotations": {RESTARTED: at}}});
    let patch = json!({"metadata": {"uid": held.deployment.uid()}, "spec": {"template": template}});
    held.put(session, change, ("restart", &format!("asks for pods made after {at}")), Patch::Merge(patch)).await
}

/// Changes images.
pub async fn set_image(
    session: &mut Session<'_>,
    change: &Change,
    images: &[(String, String)],
) -> anyhow::Result<Exit> {
    let held = Held::read(session, change).await?;
    let mut edits = Vec::new();
    for (container, image) in images {
        let (path, now) = held.container(container)?;
        if now != *image {
            edits.push(json!({"op": "replace", "path": format!("{path}/image"), "value": image}));
        }
    }
    if edits.is_empty() {
        session.screen.say("Its containers have these images already; nothing was changed.")?;
        if change.wait {
            // What became of them may not be known yet, or may be an abort.
            return Box::pin(status::wait(session, &change.name, change.timeout, Goal::Decision)).await;
        }
        return Ok(Exit::Done);
    }
    let words = images.iter().map(|(container, image)| format!("{container}={image}")).collect::<Vec<_>>().join(" ");
    let patch = held.tied(&edits);
    held.put(session, change, ("set-image", &format!("has the images {words}")), patch).await
}

fn refusal(words: impl Into<String>) -> Failure {
    Failure::new(words).exit(Exit::Refused)
}

/// A Rollout, and the Deployment that it names.
struct Held {
    rollout: Rollout,
    status: RolloutStatus,
    deployment: DynamicObject,
}

impl Held {
    async fn read(session: &Session<'_>, change: &Change) -> Result<Self, Failure> {
        let rollout = session.rollout(&change.name).await?;
        let status = rollout.status.clone().unwrap_or_default();
        let name = rollout.spec.workload_ref.name.as_str();
        let deployment = session.deployment(name).await?.ok_or_else(|| {
            refusal(format!(
                "there is no Deployment {name} in namespace {}, which Rollout {} names",
                session.namespace, change.name
            ))
        })?;
        Ok(Self { rollout, status, deployment })
    }

    fn template(&self) -> &Value {
        &self.deployment.data["spec"]["template"]
    }

    /// The revision before the one that the Deployment asks for: what serves, where that is another; else what served before.
    fn before<'a>(&self, all: &'a [Revision]) -> Option<&'a Revision> {
        let stable = all.iter().find(|revision| revision.standing == Standing::Serves);
        if let Some(stable) = stable.filter(|stable| stable.template != without_hash(self.template())) {
            return Some(stable);
        }
        let former = || all.iter().filter(|revision| revision.standing == Standing::Served);
        let mut lately = self.status.former.iter().rev();
        let last = lately.find_map(|past| former().find(|revision| revision.set == past.replica_set));
        last.or_else(|| former().next())
    }

    fn may_return_to(&self, target: &Revision, session: &Session<'_>) -> Result<(), Failure> {
        let name = &target.name;
        match target.standing {
            Standing::GivenUp => {
                let why = self.status.latch.as_ref().map_or_else(String::new, |latch| format!(": {}", latch.reason));
                let hint = page::command("retry", &self.rollout.name_any(), &session.flags);
                Err(refusal(format!("revision {name} was given up{why}")).hint(format!("`{hint}` tries it again")))
            }
            Standing::NeverServed => Err(refusal(format!("revision {name} was tried and has never served"))
                .hint("to try it again, put its template into the Deployment from where you keep it")),
            _ if target.template == without_hash(self.template()) => {
                let is =
                    if target.standing == Standing::Serves { "serves already" } else { "is in the Deployment already" };
                Err(refusal(format!("revision {name} {is}")))
            }
            Standing::Serves | Standing::Served | Standing::OnTrial => Ok(()),
        }
    }

    /// The path of a container, and its image.
    fn container(&self, wanted: &str) -> Result<(String, String), Failure> {
        let mut names = Vec::new();
        for list in ["containers", "initContainers"] {
            let containers = self.template()["spec"][list].as_array().into_iter().flatten();
            for (index, container) in containers.enumerate() {
                let name = container["name"].as_str().unwrap_or_default();
                if name == wanted {
                    let image = container["image"].as_str().unwrap_or_default().to_owned();
                    return Ok((format!("/spec/template/spec/{list}/{index}"), image));
                }
                names.push(name.to_owned());
            }
        }
        let words = format!("Deployment {} has no container {wanted}", self.deployment.name_any());
        let hint = errors::suggestion(wanted, &names).unwrap_or_default();
        Err(refusal(words).hint(hint))
    }

    /// Edits that fit only the Deployment, and the template, that were read.
    fn tied(&self, edits: &[Value]) -> Patch<()> {
        let test = |path: &str, value: &Value| json!({"op": "test", "path": path, "value": value});
        let uid = json!(self.deployment.uid());
        let mut all = vec![test("/metadata/uid", &uid), test("/spec/template", self.template())];
        all.extend_from_slice(edits);
        Patch::Json(serde_json::from_value(Value::Array(all)).unwrap_or_default())
    }

    /// Writes the change, says what it is, and waits for what becomes of it if that was asked for.
    async fn put(
        &self,
        session: &mut Session<'_>,
        change: &Change,
        (verb, what): (&str, &str),
        patch: Patch<impl serde::Serialize + std::fmt::Debug>,
    ) -> anyhow::Result<Exit> {
        let (name, deployment) = (&change.name, self.deployment.name_any());
        if self.rollout.metadata.deletion_timestamp.is_some() {
            let words = format!("Rollout {name} is deleted, and its Deployment is being given back");
            return Err(refusal(words).hint("`kubectl` changes it like any other").into());
        }
        let namespace = session.namespace.clone();
        let request = Request { verb: "patch", resource: "deployments", name: &deployment, namespace: &namespace };
        let params = PatchParams { dry_run: change.dry_run, ..PatchParams::default() };
        let api = session.deployments();
        let patched = match api.patch(&deployment, &params, &patch).await {
            Err(kube::Error::Api(status)) if status.code == 409 || errors::is_failed_test(&status) => {
                let words = format!("Deployment {deployment} was not changed: {}", status.message);
                return Err(Failure::new(words)
                    .hint("if somebody else changed it just now, look at it and try again")
                    .into());
            }
            done => errors::ask(request, std::future::ready(done)).await?,
        };
        if let (Some(format), false) = (session.objects(), change.wait) {
            let value = super::without_owners(serde_json::to_value(&patched)?);
            session.screen.object(&value, format)?;
            return Ok(Exit::Done);
        }
        if change.dry_run {
            session
                .screen
                .print(&format!("{verb} {name}: the cluster would take it: Deployment {deployment} {what}"))?;
            return Ok(Exit::Done);
        }
        let line = format!("{verb} {name}: Deployment {deployment} {what}");
        if !change.wait {
            session.screen.print(&line)?;
            let follow = page::command("status --wait", name, &session.flags);
            session.screen.say(&format!("`{follow}` waits for what becomes of it."))?;
            return Ok(Exit::Done);
        }
        session.screen.say(&line)?;
        Box::pin(status::wait(session, name, change.timeout, Goal::Decision)).await
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fake::{
                DEPLOYMENTS, Fake, ROLLOUTS, aborted, ago, at_rest, deployment, event, in_flight, session, text, with,
            },
            history::tests::{cluster, former},
        },
        *,
    };
    use crate::duration::Duration;

    const ONE: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";

    fn change() -> Change {
        Change { name: "checkout".to_owned(), dry_run: false, wait: false, timeout: Duration::seconds(600) }
    }

    fn sets() -> Vec<Value> {
        vec![
            former("older", "app:v5", Some(5), 864_000),
            former("old", "app:v6", Some(6), 172_800),
            former("tkz4bnq2xw", "app:v8", None, 720),
            former("bad", "app:vx", None, 300_000),
        ]
    }

    fn with_deployment(rollout: Value, image: &str) -> Fake {
        cluster(rollout, &sets()).on("GET", ONE, deployment(7, image))
    }

    async fn undone(cluster: &Fake, to: Option<&str>) -> (Result<Exit, Failure>, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = undo(&mut session(cluster, &mut out, &mut err, None), &change(), to).await;
        let done = done.map_err(|error| error.downcast::<Failure>().unwrap());
        (done, text(&out).to_owned(), text(&err).to_owned())
    }

    /// The template that was put into the Deployment, and what it was tied to.
    fn put(cluster: &Fake) -> (Value, Value) {
        let sent = cluster.sent(&format!("PATCH {ONE}"));
        let [patch] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(patch[0], json!({"op": "test", "path": "/metadata/uid", "value": "d-1"}));
        assert_eq!((&patch[1]["op"], &patch[1]["path"]), (&json!("test"), &json!("/spec/template")));
        (patch[2].clone(), patch[1]["value"].clone())
    }

    fn image_of(template: &Value) -> &Value {
        &template["spec"]["containers"][0]["image"]
    }

    #[tokio::test]
    async fn undo_puts_back_what_served_before_tied_to_what_was_read() {
        let cluster = with_deployment(at_rest(), "app:v7").on("PATCH", ONE, deployment(8, "app:v6"));
        let (done, out, err) = undone(&cluster, None).await;
        assert_eq!(done, Ok(Exit::Done));
        assert_eq!(out, "undo checkout: Deployment checkout has the template of old again\n");
        assert_eq!(err, "`kubectl bellwether status checkout --wait -n shop` waits for what becomes of it.\n");
        let (edit, was) = put(&cluster);
        assert_eq!((&edit["op"], &edit["path"]), (&json!("replace"), &json!("/spec/template")));
        assert_eq!((image_of(&edit["value"]), image_of(&was)), (&json!("app:v6"), &json!("app:v7")));
        assert_eq!(edit["value"]["metadata"]["labels"], json!({"app": "checkout"}), "the hash is the ReplicaSet's own");
        cluster.done();
    }

    #[tokio::test]
    async fn undo_goes_to_a_revision_by_its_name_or_its_replica_sets() {
        for name in ["older", "checkout-older"] {
            let cluster = with_deployment(at_rest(), "app:v7").on("PATCH", ONE, deployment(8, "app:v5"));
            assert_eq!(undone(&cluster, Some(name)).await.0, Ok(Exit::Done));
            assert_eq!(image_of(&put(&cluster).0["value"]), "app:v5");
        }
    }

    #[tokio::test]
    async fn undo_of_what_is_on_trial_or_given_up_goes_to_what_serves() {
        for rollout in [in_flight(), aborted()] {
            let cluster = with_deployment(rollout, "app:v8").on("PATCH", ONE, deployment(8, "app:v7"));
            let (done, out, _) = undone(&cluster, None).await;
            assert_eq!(done, Ok(Exit::Done));
            assert!(out.contains("6c9f7d5b44 again, which serves"), "{out}");
            assert_eq!(image_of(&put(&cluster).0["value"]), "app:v7");
        }
    }

    #[tokio::test]
    async fn undo_refuses_what_serves_what_was_given_up_and_what_never_served() {
        let cases = [
            (at_rest(), "app:v7", "6c9f7d5b44", "revision 6c9f7d5b44 serves already"),
            (aborted(), "app:v8", "tkz4bnq2xw", "revision tkz4bnq2xw was given up: AnalysisFailed"),
            (at_rest(), "app:v7", "bad", "revision bad was tried and has never served"),
            (in_flight(), "app:v8", "tkz4bnq2xw", "revision tkz4bnq2xw is in the Deployment already"),
            (at_rest(), "app:v7", "olde", "Rollout checkout has no revision olde"),
        ];
        for (rollout, image, to, words) in cases {
            let cluster = with_deployment(rollout, image);
            let (done, out, _) = undone(&cluster, Some(to)).await;
            let failure = done.unwrap_err();
            assert_eq!((failure.words.as_str(), failure.exit, out.as_str()), (words, Exit::Refused, ""));
            assert!(cluster.sent(&format!("PATCH {ONE}")).is_empty());
        }
    }

    #[tokio::test]
    async fn undo_says_when_nothing_is_left_to_go_back_to() {
        let cluster = cluster(at_rest(), &[]).on("GET", ONE, deployment(7, "app:v7"));
        let failure = undone(&cluster, None).await.0.unwrap_err();
        assert_eq!(failure.words, "no revision of checkout is left that served before");
        let unheld = with(at_rest(), &json!({"status": {"workload": null}}));
        let cluster =
            Fake::default().on("GET", format!("{ROLLOUTS}/checkout"), unheld).on("GET", ONE, deployment(7, "app:v7"));
        let failure = undone(&cluster, None).await.0.unwrap_err();
        assert!(failure.hint.unwrap().starts_with("`kubectl rollout undo deployment/checkout -n shop`"));
    }

    #[tokio::test]
    async fn a_change_of_the_same_moment_is_not_overwritten() {
        let message = "the server rejected our request due to an error in our request";
        let cluster = with_deployment(at_rest(), "app:v7").refuse("PATCH", ONE, 422, &json!({}), message);
        let failure = undone(&cluster, None).await.0.unwrap_err();
        assert_eq!(failure.exit, Exit::Error);
        assert!(failure.words.starts_with("Deployment checkout was not changed: "), "{failure:?}");
        assert!(failure.hint.unwrap().contains("try again"));
    }

    #[tokio::test]
    async fn what_the_cluster_has_against_a_change_is_told_in_its_words() {
        let named = json!({"name": "checkout", "kind": "deployments"});
        let invalid = "Deployment.apps \"checkout\" is invalid: spec.template.spec.containers[0].image: Required value";
        let cluster = with_deployment(at_rest(), "app:v7").refuse("PATCH", ONE, 422, &named, invalid);
        let failure = undone(&cluster, None).await.0.unwrap_err();
        assert_eq!(failure.words, format!("cannot patch deployments/checkout in namespace shop: {invalid}"));
        assert_eq!(failure.hint, None);
        let denied =
            "admission webhook \"validation.gatekeeper.sh\" denied the request: [owner] you must provide labels";
        let cluster = with_deployment(at_rest(), "app:v7").refuse("PATCH", ONE, 422, &json!({}), denied);
        let failure = undone(&cluster, None).await.0.unwrap_err();
        assert!(
            failure.words.starts_with("admission webhook \"validation.gatekeeper.sh\" does not let you"),
            "{failure:?}"
        );
        assert!(failure.words.ends_with(": [owner] you must provide labels"), "{failure:?}");
    }

    #[tokio::test]
    async fn who_may_not_change_the_deployment_is_told_so() {
        let cluster = with_deployment(at_rest(), "app:v7").refuse("PATCH", ONE, 403, &json!({}), "no");
        let failure = undone(&cluster, None).await.0.unwrap_err();
        assert_eq!(
            failure.hint.as_deref(),
            Some("ask for the verb patch on deployments.apps; the ClusterRole edit has it")
        );
    }

    fn plain(rollout: Value, image: &str) -> Fake {
        Fake::default().on("GET", format!("{ROLLOUTS}/checkout"), rollout).on("GET", ONE, deployment(7, image))
    }

    #[tokio::test]
    async fn restart_writes_what_kubectl_writes() {
        let cluster = plain(at_rest(), "app:v7").on("PATCH", ONE, deployment(8, "app:v7"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = restart(&mut session(&cluster, &mut out, &mut err, None), &change()).await;
        assert_eq!(done.unwrap(), Exit::Done);
        assert_eq!(text(&out), "restart checkout: Deployment checkout asks for pods made after 2026-11-21T08:00:00Z\n");
        let template = json!({"metadata": {"annotations": {RESTARTED: "2026-11-21T08:00:00Z"}}});
        assert_eq!(
            cluster.sent(&format!("PATCH {ONE}")),
            [json!({"metadata": {"uid": "d-1"}, "spec": {"template": template}})]
        );
    }

    #[tokio::test]
    async fn restart_neither_replaces_what_is_on_trial_nor_tries_again_what_was_given_up() {
        for (rollout, words) in [
            (in_flight(), "revision tkz4bnq2xw is on trial, and a restart would replace it"),
            (aborted(), "revision tkz4bnq2xw was given up, and a restart would try it again as another"),
        ] {
            let cluster = plain(rollout, "app:v8");
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let done = restart(&mut session(&cluster, &mut out, &mut err, None), &change()).await;
            let failure = done.unwrap_err().downcast::<Failure>().unwrap();
            assert_eq!((failure.words.as_str(), failure.exit), (words, Exit::Refused));
        }
    }

    async fn imaged(cluster: &Fake, change: &Change, images: &[&str]) -> (Result<Exit, Failure>, String, String) {
        let images: Vec<_> = images.iter().map(|text| image(text).unwrap()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = set_image(&mut session(cluster, &mut out, &mut err, None), change, &images).await;
        let done = done.map_err(|error| error.downcast::<Failure>().unwrap());
        (done, text(&out).to_owned(), text(&err).to_owned())
    }

    #[tokio::test]
    async fn set_image_changes_the_containers_that_are_named_and_no_other() {
        let more = json!([{"name": "app", "image": "app:v7"}, {"name": "proxy", "image": "envoy:1"}]);
        let init = json!([{"name": "migrate", "image": "app:v7"}]);
        let spec = json!({"spec": {"template": {"spec": {"containers": more, "initContainers": init}}}});
        let cluster = Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), at_rest())
            .on("GET", ONE, with(deployment(7, "app:v7"), &spec))
            .on("PATCH", ONE, deployment(8, "app:v8"));
        let (done, out, _) = imaged(&cluster, &change(), &["proxy=envoy:2", "migrate=app:v8", "app=app:v7"]).await;
        assert_eq!(done, Ok(Exit::Done));
        assert!(out.ends_with("has the images proxy=envoy:2 migrate=app:v8 app=app:v7\n"), "{out}");
        let edits = cluster.sent(&format!("PATCH {ONE}"))[0].as_array().unwrap()[2..].to_vec();
        assert_eq!(
            edits,
            [
                json!({"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "envoy:2"}),
                json!({"op": "replace", "path": "/spec/template/spec/initContainers/0/image", "value": "app:v8"}),
            ]
        );
    }

    #[tokio::test]
    async fn set_image_of_what_is_there_changes_nothing_and_of_what_is_not_is_refused() {
        let cluster = plain(at_rest(), "app:v7");
        let (done, _, err) = imaged(&cluster, &change(), &["app=app:v7"]).await;
        assert_eq!(
            (done, err.as_str()),
            (Ok(Exit::Done), "Its containers have these images already; nothing was changed.\n")
        );
        let cluster = plain(at_rest(), "app:v7");
        let failure = imaged(&cluster, &change(), &["ap=app:v8"]).await.0.unwrap_err();
        assert_eq!(failure.words, "Deployment checkout has no container ap");
        assert_eq!(failure.hint.as_deref(), Some("did you mean app?"));
    }

    #[tokio::test]
    async fn a_dry_run_says_what_would_be() {
        let cluster = plain(at_rest(), "app:v7").on("PATCH", ONE, deployment(8, "app:v8"));
        let change = Change { dry_run: true, ..change() };
        let (done, out, _) = imaged(&cluster, &change, &["app=app:v8"]).await;
        assert_eq!(done, Ok(Exit::Done));
        assert_eq!(
            out,
            "set-image checkout: the cluster would take it: Deployment checkout has the images app=app:v8\n"
        );
    }

    #[tokio::test]
    async fn nothing_is_changed_of_what_is_being_given_back() {
        let deleted = with(at_rest(), &json!({"metadata": {"deletionTimestamp": ago(1)}}));
        let cluster = plain(deleted, "app:v7");
        let failure = imaged(&cluster, &change(), &["app=app:v8"]).await.0.unwrap_err();
        assert_eq!(failure.words, "Rollout checkout is deleted, and its Deployment is being given back");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_as_the_release_does_also_where_the_images_are_there_already() {
        let tried_again = plain(aborted(), "app:v8")
            .on("GET", format!("{ROLLOUTS}/checkout"), aborted())
            .on_watch(ROLLOUTS, &[aborted()], vec![])
            .on_watch(DEPLOYMENTS, &[deployment(9, "app:v8")], vec![]);
        let (done, _, err) = imaged(&tried_again, &Change { wait: true, ..change() }, &["app=app:v8"]).await;
        assert_eq!(done, Ok(Exit::Aborted), "{err}");

        let after = with(aborted(), &json!({"status": {"workload": {"observedGeneration": 10}}}));
        let cluster = plain(at_rest(), "app:v7")
            .on("PATCH", ONE, deployment(10, "app:v8"))
            .on("GET", format!("{ROLLOUTS}/checkout"), at_rest())
            .on_watch(ROLLOUTS, &[at_rest()], vec![(3, event("MODIFIED", &after))])
            .on_watch(DEPLOYMENTS, &[deployment(10, "app:v8")], vec![]);
        let (done, ..) = imaged(&cluster, &Change { wait: true, ..change() }, &["app=app:v8"]).await;
        assert_eq!(done, Ok(Exit::Aborted));
    }
}
