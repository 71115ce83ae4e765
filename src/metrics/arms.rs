//! What tells one arm's numbers from the other's, as label matchers.
use super::{Labels, Subject};
use crate::vocab::Arm;
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::token::T_EQL_REGEX,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Mutex};

/// Names that are an arm's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmNames {
    /// The `ReplicaSet`, with whose name its pods' names begin.
    pub replica_set: String,
    /// The value of the pods' label `pod-template-hash`.
    pub pod_template_hash: String,
    /// The Service.
    pub service: String,
}

/// What arm="$arm" in a query becomes, beside the namespace: the Pod, which is the default, the `PodHash` or the Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArmLabel {
    /// The pod's name, which begins with its `ReplicaSet`'s.
    #[default]
    Pod,
    /// The pod's template hash.
    PodHash,
    /// The Service's name.
    Service,
}

/// Where a selector's numbers are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// An arm's own pods or Service.
    By(ArmLabel),
    /// Traefik, which counts for each backend of a route.
    ByTraefik,
}

impl Told {
    /// The matchers that select an arm's numbers and nothing else. Values are quoted when a matcher is written out.
    pub fn matchers(self, labels: &Labels, subject: &Subject, arm: Arm) -> Vec<Matcher> {
        let names = match arm {
            Arm::Stable => &subject.stable,
            Arm::Canary => &subject.canary,
        };
        let equal = |label: &str, value: &str| Matcher::new(MatchOp::Equal, label, value);
        let own = match self {
            Self::By(ArmLabel::Pod) => pattern(&labels.pod, &pods_of(&names.replica_set)),
            Self::By(ArmLabel::PodHash) => equal(&labels.pod_hash, &names.pod_template_hash),
            Self::By(ArmLabel::Service) => equal(&labels.service, &names.service),
            Self::ByTraefik => {
                return vec![pattern(
                    &labels.service,
                    &traefik_service(&subject.namespace, &names.service, subject.port),
                )];
            }
        };
        vec![equal(&labels.namespace, &subject.namespace), own]
    }

    /// Whether the two arms' matchers differ.
    pub fn tells(self, labels: &Labels, subject: &Subject) -> bool {
        self.matchers(labels, subject, Arm::Canary) != self.matchers(labels, subject, Arm::Stable)
    }
}

/// So many patterns are kept.
const KEPT: usize = 1_000;

fn pattern(label: &str, regex: &str) -> Matcher {
    // What takes longest is to compile it, and the same few are asked for every two seconds.
    static KNOWN: Mutex<BTreeMap<(String, String), Matcher>> = Mutex::new(BTreeMap::new());
    // An escaped name always is a regular expression; were it not, the matcher would select nothing.
    let compiled = || {
        Matcher::new_matcher(T_EQL_REGEX, label.into(), regex.to_owned())
            .unwrap_or_else(|_| Matcher::new(MatchOp::Equal, label, regex))
    };
    let Ok(mut known) = KNOWN.lock() else { return compiled() };
    if known.len() >= KEPT {
        known.clear();
    }
    known.entry((label.to_owned(), regex.to_owned())).or_insert_with(compiled).clone()
}

/// Names of a `ReplicaSet`'s pods: its name and a dash, cut to 58 characters as the API server cuts it, and five more.
fn pods_of(replica_set: &str) -> String {
    let base: String = replica_set.chars().chain(['-']).take(58).collect();
    escape(&base) + "[a-z0-9]{5}"
}

/// The name that Traefik gives a Service behind a Gateway API route: since 3.7
/// `httproute-NAMESPACE-ROUTE-gw-...-ep-...-RULE-HASH-svc-NAMESPACE-SERVICE-INDEX`, before `NAMESPACE-SERVICE-http-PORT`.
/// The hash of twenty hex digits and the number at the end keep Service `a` from matching `a-canary`.
fn traefik_service(namespace: &str, service: &str, port: u16) -> String {
    let (namespace, service) = (normal(namespace), normal(service));
    format!(
        "(?:http|grpc)route-{namespace}-.+-[0-9a-f]{{20}}-svc-{namespace}-{service}-[0-9]+@kubernetesgateway\
         |{namespace}-{service}-(?:http|grpc)-{port}@kubernetesgateway"
    )
}

/// Traefik joins the letters and digits of a name with single dashes.
fn normal(name: &str) -> String {
    let parts: Vec<_> = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// Text as a regular expression that matches nothing but the text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{super::tests::subject, *};
    use proptest::prelude::*;

    fn written(told: Told, arm: Arm, subject: &Subject) -> String {
        let matchers = told.matchers(&Labels::default(), subject, arm);
        matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn canary_is(told: Told, subject: &Subject, value: &str) -> bool {
        told.matchers(&Labels::default(), subject, Arm::Canary).last().is_some_and(|matcher| matcher.is_match(value))
    }

    #[test]
    fn each_label_is_written_with_the_namespace() {
        let subject = subject();
        let by = |label| written(Told::By(label), Arm::Canary, &subject);
        assert_eq!(by(ArmLabel::Pod), r#"namespace="demo",pod=~"app-7c9f-[a-z0-9]{5}""#);
        assert_eq!(by(ArmLabel::PodHash), r#"namespace="demo",pod_template_hash="7c9f""#);
        assert_eq!(by(ArmLabel::Service), r#"namespace="demo",service="app-canary""#);
    }

    #[test]
    fn a_pod_belongs_to_its_replica_set_and_to_no_longer_name() {
        let subject = subject();
        let pod = |name| canary_is(Told::By(ArmLabel::Pod), &subject, name);
        assert!(pod("app-7c9f-x2k9p"));
        assert!(
            !pod("app-7c9f-x2k9p-y")
                && !pod("app-7c9f-x2k9p0")
                && !pod("my-app-7c9f-x2k9p")
                && !pod("app-7c9f-job-x2k9p")
        );
    }

    #[test]
    fn long_names_are_cut_as_the_api_server_cuts_them() {
        let mut subject = subject();
        subject.canary.replica_set = format!("{}-7c9f", "a".repeat(60));
        assert!(canary_is(Told::By(ArmLabel::Pod), &subject, &format!("{}x2k9p", "a".repeat(58))));
        subject.stable.replica_set = format!("{}-6d5b", "a".repeat(60));
        assert!(!Told::By(ArmLabel::Pod).tells(&Labels::default(), &subject), "cut names tell nothing");
        assert!(Told::By(ArmLabel::PodHash).tells(&Labels::default(), &subject));
    }

    #[test]
    fn traefiks_names_are_matched_whole() {
        let mut subject = subject();
        let is =
            |subject: &Subject, name: &str| canary_is(Told::ByTraefik, subject, &format!("{name}@kubernetesgateway"));
        let route = "httproute-demo-demo-gw-traefik-traefik-ep-web-0-806fab2393777a48bd97";
        assert!(is(&subject, &format!("{route}-svc-demo-app-canary-1")), "as Traefik 3.7 writes it");
        assert!(is(&subject, "demo-app-canary-http-80"), "as it was written before");
        assert!(!is(&subject, "demo-app-canary-http-8080"), "another port");
        assert!(!is(&subject, &format!("{route}-svc-other-app-canary-1")), "another namespace");
        subject.canary.service = "app".into();
        assert!(is(&subject, &format!("{route}-svc-demo-app-0")));
        for other in ["app-canary-1", "my-app-0", "app-1-0", "app-0-wrr", "x-svc-demo-app-0"] {
            assert!(!is(&subject, &format!("{route}-svc-demo-{other}")), "{other}");
        }
        assert!(!is(&subject, &format!("{route}-svc-x-svc-demo-app-0")), "Service svc-demo-app in namespace x");
        assert!(!is(&subject, "demo-app-http-http-80"), "Service app-http");
    }

    #[test]
    fn no_name_breaks_out_of_its_quotes() {
        let mut subject = subject();
        subject.namespace = "a\"} or vector(1) #".into();
        subject.canary.replica_set = "x\".*\\|y\n".into();
        let text = format!("m{{{}}}", written(Told::By(ArmLabel::Pod), Arm::Canary, &subject));
        assert_eq!(text, r#"m{namespace="a\"} or vector(1) #",pod=~"x\"\\.\\*\\\\\\|y\n-[a-z0-9]{5}"}"#);
        assert!(matches!(promql_parser::parser::parse(&text), Ok(promql_parser::parser::Expr::VectorSelector(_))));
    }

    proptest! {
        #[test]
        fn any_name_is_matched_as_itself(name in "[ -~]{1,50}") {
            let mut subject = subject();
            subject.canary.replica_set.clone_from(&name);
            let pod = format!("{name}-x2k9p");
            prop_assert!(canary_is(Told::By(ArmLabel::Pod), &subject, &pod));
            let other = pod.replacen(|_: char| true, "~~", 1);
            prop_assert!(!canary_is(Told::By(ArmLabel::Pod), &subject, &other));
        }
    }
}
