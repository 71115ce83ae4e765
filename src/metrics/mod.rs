//! Metrics: what to measure, what to ask for it, and how to read the answer.
//!
//! Data in, data out: [`asks`] says which requests to make, somebody else makes them, and [`read`] turns the replies
//! into what was [`Seen`]. Nothing is remembered between two looks; everything is computed again from the history that
//! the provider keeps, so a restarted operator sees what it saw before.
//!
//! Deliberately absent so far: native histograms, duplicates of a highly available pair that nobody has removed, a label
//! that tells clusters apart in a shared Prometheus, conditions written as expressions, and evaluation scores.
use crate::{duration::Duration, judge::Sensitivity, vocab::Verdict};
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

mod answer;
mod arms;
mod counters;
mod evidence;
mod latency;
mod limit;
mod metric;
mod points;
pub mod presets;
mod promql;

pub use arms::{ArmLabel, ArmNames};
pub use limit::{BadBound, Limit};
pub use metric::{Compare, Complaint, Metric};
pub use prometheus::{Auth, Basic, BasicSecret, Bearer, Labels, Prometheus, SecretKey};
pub use promql::BadQuery;

/// A source of numbers, told and answering in data: no connection, no clock.
trait Source {
    /// What is wrong with the settings, as far as can be told without asking anybody.
    fn check(&self) -> Result<(), Complaint>;
    /// The requests to make for one look.
    fn asks(&self, metric: &Metric, subject: &Subject) -> Vec<Ask>;
    /// What the replies say, in the order of the requests.
    fn read(&self, metric: &Metric, subject: &Subject, replies: &[Reply]) -> Seen;
    /// How long one request may take.
    fn timeout(&self) -> Duration;
}

macro_rules! providers {
    ($($(#[$doc:meta])* $member:ident: $Spec:ident),+ $(,)?) => {
        $(mod $member;)+

        /// Where numbers come from: exactly one source.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
        #[serde(rename_all = "camelCase")]
        #[x_kube(validation = Rule::new(concat!("[false", $(", has(self.", stringify!($member), ")",)+ "].exists_one(one, one)"))
            .message(concat!("a provider has exactly one source of:", $(" ", stringify!($member)),+)))]
        pub struct ProviderSpec {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $member: Option<$member::$Spec>,)+
        }

        impl ProviderSpec {
            /// Every source this build knows.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($member)),+];

            fn source(&self) -> Result<&dyn Source, Complaint> {
                let mut sources = [$(self.$member.as_ref().map(|spec| spec as &dyn Source)),+].into_iter().flatten();
                match (sources.next(), sources.next()) {
                    (Some(source), None) => Ok(source),
                    _ => Err(Complaint::Source { known: Self::NAMES.join(", ") }),
                }
            }
        }
    };
}

providers! {
    /// A Prometheus, or anything that answers its query API as it does.
    prometheus: Prometheus,
}

/// One request to the provider: a POST of a form to a path below the provider's URL, with its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The path, to be appended to the URL, like `/api/v1/query`.
    pub path: &'static str,
    /// The fields of the form, not yet encoded.
    pub form: Vec<(String, String)>,
}

/// What came back: the HTTP status and the body, which the caller has cut off or refused when it is too long.
pub type Reply = Result<(u16, Vec<u8>), Unreachable>;

/// Nothing came back: no connection, no answer in time, an answer that broke off or was too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Whom the numbers are about. The same subject, with the same `now`, goes into [`asks`] and [`read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The Rollout's namespace.
    pub namespace: String,
    /// What tells stable's numbers from others.
    pub stable: ArmNames,
    /// What tells the canary's numbers from others.
    pub canary: ArmNames,
    /// The port of both Services.
    pub port: u16,
    /// How the comparison is to be judged.
    pub sensitivity: Sensitivity,
    /// Since when what is measured belongs to this canary: its Service pointed at it and had settled.
    pub evidence_since: Timestamp,
    /// The moment of the look.
    pub now: Timestamp,
    /// Names of pods of either arm, and when they were started.
    pub pods_started: Vec<(String, Timestamp)>,
}

/// What became of the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There are numbers.
    Measured,
    /// The provider answered, and has nothing of what was asked for.
    Empty,
    /// The provider answered with what cannot be judged: an error, no number, old numbers, a part of the numbers.
    Unusable,
    /// The provider did not answer.
    Unreachable,
}

/// What one look at one metric has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What the judge says; Unknown unless the outcome is Measured.
    pub verdict: Verdict,
    /// What became of the questions.
    pub outcome: Outcome,
    /// Whether the evidence is fresh and the canary had a request of late: time for which this holds was observed.
    pub usable: bool,
    /// Whether the numbers are fresh and the canary had no request of late.
    pub no_requests: bool,
    /// The canary's number, for people.
    pub canary: Option<String>,
    /// Stable's number, for people.
    pub stable: Option<String>,
    /// How many of the canary's requests were judged; for a query, how many points.
    pub samples: u64,
    /// Natural logarithm of the greatest evidence that the canary is worse than stable, if they were compared.
    pub evidence: Option<f64>,
    /// How many points or windows were outside the limit.
    pub failures: u32,
    /// When evidence must begin anew: the provider has no history from before this moment, or it would be too much.
    pub history_from: Option<Timestamp>,
    /// What the metric says that cannot be carried out with the numbers there are, with the cure.
    pub invalid: Option<String>,
    /// The reason in plain words.
    pub why: String,
}

impl Seen {
    fn nothing(outcome: Outcome, why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Unknown,
            outcome,
            usable: false,
            no_requests: false,
            canary: None,
            stable: None,
            samples: 0,
            evidence: None,
            failures: 0,
            history_from: None,
            invalid: None,
            why: why.into(),
        }
    }

    fn invalid(complaint: impl Into<String>) -> Self {
        let complaint = complaint.into();
        Self { invalid: Some(complaint.clone()), ..Self::nothing(Outcome::Unusable, complaint) }
    }
}

/// Whether a metric can be carried out, as far as can be told without asking a provider.
///
/// # Errors
/// Names the field and the cure.
pub fn check(metric: &Metric) -> Result<(), Complaint> {
    metric.check()
}

/// Whether a provider's settings make sense, as far as can be told without asking it.
///
/// # Errors
/// Names the field and the cure.
pub fn check_provider(provider: &ProviderSpec) -> Result<(), Complaint> {
    provider.source()?.check()
}

/// The requests to make for one look at one metric, in any order or at once; their replies go to [`read`] in this order.
///
/// There are none when it is too early to ask, or when the metric or the provider cannot be carried out.
pub fn asks(metric: &Metric, provider: &ProviderSpec, subject: &Subject) -> Vec<Ask> {
    ready(metric, provider).map_or_else(|_| Vec::new(), |source| source.asks(metric, subject))
}

/// What the replies to [`asks`] say.
pub fn read(metric: &Metric, provider: &ProviderSpec, subject: &Subject, replies: &[Reply]) -> Seen {
    match ready(metric, provider) {
        Ok(source) => source.read(metric, subject, replies),
        Err(complaint) => Seen::invalid(complaint.to_string()),
    }
}

/// A source that can be asked for this metric. Behind it no number is out of bounds.
fn ready<'a>(metric: &Metric, provider: &'a ProviderSpec) -> Result<&'a dyn Source, Complaint> {
    metric.check()?;
    let source = provider.source()?;
    source.check()?;
    Ok(source)
}

/// How long one request to the provider may take.
pub fn timeout(provider: &ProviderSpec) -> Duration {
    provider.source().map_or(prometheus::TIMEOUT, Source::timeout)
}

#[cfg(test)]
mod tests;
