//! Metrics: what to measure, what to ask for it, and how to read the answer.
//!
//! Data in, data out: [`asks`] says which requests to make, somebody else makes them, and [`read`] turns the replies
//! into what was [`Seen`]. Everything is computed again from the history that the provider keeps, so a restarted operator
//! sees what it saw before. What does not change, and what a provider without a history has said, the caller hands back
//! with the next look.
use crate::{duration::Duration, judge::Margins, vocab::Verdict};
use answer::Part;
use batch::Selection;
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

mod answer;
mod arms;
mod arrived;
mod batch;
mod counters;
mod evidence;
mod exposition;
mod from;
mod held;
pub mod job;
mod latency;
mod limit;
mod looks;
mod metric;
mod native;
mod pace;
mod past;
mod points;
pub mod presets;
mod promql;
mod ratio;
mod reach;
mod scores;
mod scraped;
mod template;
mod unanswered;
mod when;

pub use crate::judge::{Bursts, Traffic};
pub use arms::{ArmLabel, ArmNames};
pub use arrived::Arrived;
pub use batch::Batch;
pub use from::{ProviderKind, ProviderRef};
pub use job::{JobOf, JobResult};
pub use limit::{BadBound, Limit};
pub use looks::{Look, Looks};
pub use metric::{Compare, Complaint, Metric};
pub use pace::pause;
pub use pods::{Container, OnTrial, PageReach, Pods, Scheme, Target, Whereabouts};
pub use prometheus::{Labels, Prometheus};
pub use promql::BadQuery;
pub use reach::{Auth, Basic, BasicSecret, Bearer, Header, Reach, SecretKey, SigningKey};
pub use scores::{Better, ScoresOf};
pub use scraped::{Page, Scrapes};
pub use unanswered::Unanswered;
pub use web::{Hmac, Method, Web, WebOf};
pub use when::{BadCondition, When};

/// A source of numbers, told and answering in data: no connection, no clock.
trait Source {
    /// What is wrong with the settings, as far as can be told without asking anybody.
    fn check(&self) -> Result<(), Complaint>;
    /// Whether this is a source that can be asked for this metric.
    fn fits(&self, metric: &Metric) -> Result<(), Complaint>;
    /// The requests to make for one look.
    fn asks(&self, metric: &Metric, subject: &Subject) -> Vec<Ask>;
    /// What came back says, in the order of the requests.
    fn read(&self, metric: &Metric, subject: &Subject, parts: &[Part]) -> Seen;
    /// How it is reached.
    fn reach(&self) -> Reach<'_>;
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
    /// Anything that answers a request with JSON in which there is a number. Answers are read up to 1 MiB, redirects are
    /// not followed, and nothing of an answer but the number is shown. Whoever may write Rollouts that name this provider
    /// may ask for any path below its URL with its credentials.
    web: Web,
    /// The pods' own pages of metrics, read every few seconds by the operator, which has to reach the pods. They answer
    /// presets that are counted in the pods, and scores. What was read is remembered until the operator restarts; then
    /// evidence begins anew, and a comparison of latency may prove a failure but nothing passes by it any more in this release.
    /// Of a release a million samples are remembered, which are some two hours of 40 pods with one preset of errors and three of
    /// latency; then the older half is let go. Stable's past is not known, so errors are taken to come in bursts.
    pods: Pods,
}

/// One request to the provider, below its URL and with its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The path and, where there is one, the query, as they are sent: to be appended to the URL, like `/api/v1/query`.
    pub path: String,
    /// Headers besides those of the credentials and the body.
    pub headers: Vec<(String, String)>,
    /// How it is asked.
    pub how: How,
    /// What it selects, if it may be asked for together with others.
    selection: Option<Selection>,
    /// So many answers are in one.
    pub holds: usize,
}

/// How a provider is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// With a GET.
    Get,
    /// With a POST of a form: its fields, not yet encoded.
    Form(Vec<(String, String)>),
    /// With a POST of JSON, or of nothing.
    Post(Option<String>),
}

impl Ask {
    /// A POST of a form.
    fn form(path: &str, fields: Vec<(String, String)>) -> Self {
        Self { path: path.to_owned(), headers: Vec::new(), how: How::Form(fields), selection: None, holds: 1 }
    }

    /// The fields of the form, if it is one.
    pub fn fields(&self) -> &[(String, String)] {
        if let How::Form(fields) = &self.how { fields } else { &[] }
    }
}

/// What came back: the HTTP status and the body, which the caller has refused when it is too long.
pub type Reply = Result<(u16, Vec<u8>), NoReply>;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// Nothing came back: no connection, no answer in time, an answer that broke off.
    #[error("{0}")]
    Unreachable(String),
    /// An answer came that is longer than so many bytes, and was not read to its end.
    #[error("the answer is longer than {} MiB", _0 >> 20)]
    TooLong(usize),
}

/// Whom the numbers are about. The same subject, with the same `now`, goes into [`asks`] and [`read`].
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The Rollout's namespace.
    pub namespace: String,
    /// What tells stable's numbers from others.
    pub stable: ArmNames,
    /// What tells the canary's numbers from others.
    pub canary: ArmNames,
    /// The port of both Services.
    pub port: u16,
    /// How a comparison is to be judged; `alpha` is this metric's share of what all may be wrong together.
    pub margins: Margins,
    /// How much errors come in bursts, as people say.
    pub bursts: Option<Bursts>,
    /// Stable's past, as an earlier look at this metric has seen it.
    pub past: Option<Past>,
    /// What earlier looks at this metric have seen of a source without a history.
    pub points: Option<Looks>,
    /// Since when what is measured belongs to this canary: its Service pointed at it and had settled.
    pub evidence_since: Timestamp,
    /// Since when requests are shared out as they are now, if that has settled.
    pub shared_since: Option<Timestamp>,
    /// So much later the evidence of this metric begins.
    pub delay: Duration,
    /// The moment of the look.
    pub now: Timestamp,
}

/// What stable did in the hour before this canary, or of late while there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Past {
    /// How much its errors came in bursts.
    pub bursts: Bursts,
    /// Its traffic, if it had any.
    pub traffic: Option<Traffic>,
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
    /// The same of this moment, and that it matters: what it adds to what all comparisons say together.
    pub evidence_now: Option<f64>,
    /// Between which numbers the truth lies, for people: how many times stable's, or by how much it differs.
    pub range: Option<String>,
    /// How many points or windows were outside the limit.
    pub failures: u32,
    /// How many of the canary's pods were scraped of late, where they are what is scraped.
    pub scraped: Option<u32>,
    /// Of how many at the most it reads pages, if it reads those of some.
    pub scraped_at_most: Option<u32>,
    /// How many requests both arms have had since requests are shared out as they are now, if all of them are counted.
    pub arrived: Option<Arrived>,
    /// Stable's past, for the next look to know: it does not change.
    pub past: Option<Past>,
    /// All looks so far at a source without a history, for the next look to know.
    pub points: Option<Looks>,
    /// Whether something is under way for it that has a deadline of its own: a Job, of the number that is wanted.
    pub under_way: bool,
    /// For how many intervals there has been no usable answer, which the caller counts.
    pub unanswered: Unanswered,
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
            evidence_now: None,
            range: None,
            failures: 0,
            scraped: None,
            scraped_at_most: None,
            arrived: None,
            past: None,
            under_way: false,
            points: None,
            unanswered: Unanswered::default(),
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

/// What is seen of a metric whose source could not be asked.
pub fn unanswered(outcome: Outcome, why: impl Into<String>) -> Seen {
    Seen::nothing(outcome, why)
}

/// What is seen of a metric that cannot be carried out.
pub fn refused(complaint: &Complaint) -> Seen {
    Seen::invalid(complaint.to_string())
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

/// Whether a provider can be asked for a metric. The two have been checked each by itself.
///
/// # Errors
/// Names the field and the cure.
pub fn fits(metric: &Metric, provider: &ProviderSpec) -> Result<(), Complaint> {
    provider.source()?.fits(metric)
}

/// The requests to make for one look at one metric, in any order or at once; their replies go to [`read`] in this order.
///
/// There are none when it is too early to ask, or when the metric or the provider cannot be carried out.
pub fn asks(metric: &Metric, provider: &ProviderSpec, subject: &Subject) -> Vec<Ask> {
    ready(metric, provider).map_or_else(|_| Vec::new(), |source| source.asks(metric, subject))
}

/// What the replies to [`asks`] say.
pub fn read(metric: &Metric, provider: &ProviderSpec, subject: &Subject, replies: &[Reply]) -> Seen {
    let parts: Vec<_> = replies.iter().cloned().map(Part::Reply).collect();
    read_parts(metric, provider, subject, &parts)
}

fn read_parts(metric: &Metric, provider: &ProviderSpec, subject: &Subject, parts: &[Part]) -> Seen {
    match ready(metric, provider) {
        Ok(source) => source.read(metric, subject, parts),
        Err(complaint) => Seen::invalid(complaint.to_string()),
    }
}

/// The question for what stable did of late while there is no canary: since `evidence_since`, and within the last hour. Its
/// reply goes to [`read_past`].
///
/// There is none where the provider is no Prometheus or the metric has no past.
pub fn ask_past(metric: &Metric, provider: &ProviderSpec, subject: &Subject) -> Option<Ask> {
    let (preset, prometheus) = with_past(metric, provider)?;
    past::ask(preset, metric, prometheus, subject)
}

/// What the reply to [`ask_past`] says; nothing where nobody answered.
pub fn read_past(metric: &Metric, provider: &ProviderSpec, subject: &Subject, reply: &Reply) -> Option<Past> {
    let (preset, prometheus) = with_past(metric, provider)?;
    past::read(preset, metric, prometheus, subject, reply)
}

fn with_past<'a>(metric: &Metric, provider: &'a ProviderSpec) -> Option<(&'static presets::Preset, &'a Prometheus)> {
    ready(metric, provider).ok()?;
    Some((presets::find(metric.preset.as_deref()?)?, provider.prometheus.as_ref()?))
}

/// What the pages say of a metric that have been read of the pods.
pub fn read_scraped(metric: &Metric, provider: &ProviderSpec, subject: &Subject, scrapes: &Scrapes) -> Seen {
    match (ready(metric, provider), &provider.pods) {
        (Ok(_), Some(pods)) => {
            Seen { scraped_at_most: Some(pods.canary_pods), ..pods::read(pods, metric, subject, scrapes) }
        }
        (Ok(_), None) => Seen::invalid("the provider reads no pods"),
        (Err(complaint), _) => Seen::invalid(complaint.to_string()),
    }
}

/// A source that can be asked for this metric. Behind it no number is out of bounds.
fn ready<'a>(metric: &Metric, provider: &'a ProviderSpec) -> Result<&'a dyn Source, Complaint> {
    metric.check()?;
    let source = provider.source()?;
    source.check()?;
    source.fits(metric)?;
    Ok(source)
}

/// How a provider is reached.
///
/// # Errors
/// When it names no source, or several.
pub fn reach(provider: &ProviderSpec) -> Result<Reach<'_>, Complaint> {
    Ok(provider.source()?.reach())
}

#[cfg(test)]
mod tests;
