//! What tells one arm's numbers from the other's, as label matchers.
use super::{Labels, Subject};
use crate::vocab::Arm;
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::token::{T_EQL_REGEX, T_NEQ_REGEX, TokenId},
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

/// An arm, as a proxy may have to name it.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// Which arm it is.
    pub arm: Arm,
    /// What labels are called.
    pub labels: &'a Labels,
    /// The Rollout's namespace.
    pub namespace: &'a str,
    /// The arm's names.
    pub names: &'a ArmNames,
    /// The port of its Service.
    pub port: u16,
}

/// Where a selector's numbers are from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// An arm's own pods or Service.
    By(ArmLabel),
    /// A proxy, which counts for each of its backends.
    ByBackend(fn(&Of<'_>) -> Vec<Matcher>),
}

impl Labels {
    /// What every series has to have, whoever counted it.
    pub(super) fn constants(&self) -> impl Iterator<Item = Matcher> {
        self.constant.iter().map(|(label, value)| equal(label, value))
    }
}

impl Told {
    /// The matchers that select an arm's numbers and nothing else. Values are quoted when a matcher is written out.
    pub fn matchers(self, labels: &Labels, subject: &Subject, arm: Arm) -> Vec<Matcher> {
        let names = match arm {
            Arm::Stable => &subject.stable,
            Arm::Canary => &subject.canary,
        };
        self.named(labels, subject, arm, names)
    }

    fn named(self, labels: &Labels, subject: &Subject, arm: Arm, names: &ArmNames) -> Vec<Matcher> {
        let own = match self {
            Self::By(ArmLabel::Pod) => pattern(&labels.pod, &pods_of(&names.replica_set)),
            Self::By(ArmLabel::PodHash) => equal(&labels.pod_hash, &names.pod_template_hash),
            Self::By(ArmLabel::Service) => equal(&labels.service, &names.service),
            Self::ByBackend(backend) => {
                let mut own = backend(&Of { arm, labels, namespace: &subject.namespace, names, port: subject.port });
                own.extend(labels.constants());
                return own;
            }
        };
        [equal(&labels.namespace, &subject.namespace), own].into_iter().chain(labels.constants()).collect()
    }

    /// Whether the two arms' names make a difference.
    pub fn tells(self, labels: &Labels, subject: &Subject) -> bool {
        let canary = |names| self.named(labels, subject, Arm::Canary, names);
        canary(&subject.canary) != canary(&subject.stable)
    }
}

/// So many patterns are kept.
const KEPT: usize = 1_000;

/// A label that is this.
pub(super) fn equal(label: &str, value: &str) -> Matcher {
    Matcher::new(MatchOp::Equal, label, value)
}

/// A label that matches this regular expression as a whole.
pub(super) fn pattern(label: &str, regex: &str) -> Matcher {
    compiled(T_EQL_REGEX, label, regex)
}

/// A label that does not match this regular expression as a whole.
pub(super) fn unlike(label: &str, regex: &str) -> Matcher {
    compiled(T_NEQ_REGEX, label, regex)
}

/// What takes longest is to compile it, and the same few are asked for every two seconds.
fn compiled(id: TokenId, label: &str, regex: &str) -> Matcher {
    static KNOWN: Mutex<BTreeMap<(TokenId, String, String), Matcher>> = Mutex::new(BTreeMap::new());
    // An escaped name always is a regular expression; were it not, the matcher would select nothing.
    let otherwise = if id == T_EQL_REGEX { MatchOp::Equal } else { MatchOp::NotEqual };
    let anew = || {
        Matcher::new_matcher(id, label.into(), regex.to_owned())
            .unwrap_or_else(|_| Matcher::new(otherwise, label, regex))
    };
    let Ok(mut known) = KNOWN.lock() else { return anew() };
    if known.len() >= KEPT {
        known.clear();
    }
    known.entry((id, label.to_owned(), regex.to_owned())).or_insert_with(anew).clone()
}

/// Names of a `ReplicaSet`'s pods: its name and a dash, cut to 58 characters as the API server cuts it, and five more.
pub(super) fn pods_of(replica_set: &str) -> String {
    let base: String = replica_set.chars().chain(['-']).take(58).collect();
    escape(&base) + "[a-z0-9]{5}"
}

/// Text as a regular expression that matches nothing but the text.
pub(super) fn escape(text: &str) -> String {
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
    fn labels_of_a_shared_prometheus_are_in_every_selector() {
        let mut labels = Labels::default();
        labels.constant.insert("cluster".into(), "eu-1".into());
        for preset in crate::metrics::presets::all() {
            let matchers = preset.told().matchers(&labels, &subject(), Arm::Canary);
            assert!(matchers.iter().any(|matcher| matcher.to_string() == r#"cluster="eu-1""#), "{}", preset.name);
        }
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
