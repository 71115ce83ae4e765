//! Prometheus: where it is, how it scrapes, and the form of its questions.
use super::{
    Ask, Auth, Complaint, Header, Metric, Reach, Seen, Source, Subject, answer::Part, batch::Selection, evidence, points, presets::{self, Preset},
    reach, scores,
};
use crate::{duration::Duration, judge::length};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An answer is not read beyond so many bytes.
const ANSWER_CAP: usize = 16 * 1024 * 1024;
/// No burst is taken to be longer than this, in milliseconds.
const BURST_MS: i64 = 10_000;
/// Evidence that is older begins anew: a day of raw samples is the most that one look asks for.
const OLDEST_MS: i64 = 24 * 3_600_000;

/// A Prometheus, or anything that answers its query API as it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prometheus {
    /// Where it is, like <http://prometheus.monitoring.svc>; `/api/v1/query` is appended to the path.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^https?://[^\s?#]+$"))]
    pub url: String,
    /// Credentials that each request carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Headers that each request carries, like X-Scope-OrgID of Mimir and Cortex, or THANOS-TENANT. Secrets do not belong here:
    /// write auth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// Certificates in PEM that the server's must descend from, instead of those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
    /// How long one request may take, at most 30s. Default 5s.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How often the targets of the metrics are scraped, from 1s to 5m. Default 15s. Evidence is cut into intervals of
    /// one scrape behind a gateway and of two at pods, and numbers older than two scrapes are stale. Where it is more than the
    /// truth by a third, what new series had at their first scrape does not count.
    #[serde(default = "scrape_interval")]
    pub scrape_interval: Duration,
    /// How much later than its scrape a sample may arrive, at most 10m: the delay of remote write. Default 0s.
    #[serde(default)]
    pub lag: Duration,
    /// What the labels of series are called here.
    #[serde(default)]
    pub labels: Labels,
}

/// What the labels of series are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Labels {
    /// The namespace of the pod. Default namespace.
    #[serde(default = "namespace")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub namespace: String,
    /// The pod. Default pod.
    #[serde(default = "pod")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub pod: String,
    /// The pod's template hash. Default `pod_template_hash`.
    #[serde(default = "pod_hash")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub pod_hash: String,
    /// The Service; of Traefik's series, the backend. Default service. Where targets are found through a Service, as by
    /// a `ServiceMonitor`, Prometheus renames Traefik's label to `exported_service`.
    #[serde(default = "service")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub service: String,
    /// What every series has to have as well, like `cluster: eu-1` in a Prometheus that several clusters share.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "constant_labels")]
    pub constant: BTreeMap<String, String>,
}

/// Labels and values, both bounded.
fn constant_labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": 8, "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 253},
    })
}

macro_rules! defaults {
    ($($name:ident: $type:ty = $value:expr),+ $(,)?) => { $(fn $name() -> $type { $value })+ };
}

defaults! {
    timeout: Duration = reach::TIMEOUT,
    scrape_interval: Duration = Duration::seconds(15),
    namespace: String = "namespace".into(),
    pod: String = "pod".into(),
    pod_hash: String = "pod_template_hash".into(),
    service: String = "service".into(),
}

impl Default for Labels {
    fn default() -> Self {
        Self { namespace: namespace(), pod: pod(), pod_hash: pod_hash(), service: service(), constant: BTreeMap::new() }
    }
}

impl Source for Prometheus {
    fn check(&self) -> Result<(), Complaint> {
        let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
        if let Some(cure) = reach::bad_url(&self.url) {
            return value("prometheus.url", cure);
        }
        if let Some(cure) = reach::bad_auth(self.auth.as_ref()) {
            return value("prometheus.auth", cure);
        }
        if let Some(cure) = reach::bad_headers(&self.headers) {
            return value("prometheus.headers", &cure);
        }
        if let Some(cure) = reach::bad_timeout(self.timeout) {
            return value("prometheus.timeout", cure);
        }
        if !(Duration::seconds(1)..=Duration::seconds(300)).contains(&self.scrape_interval) {
            return value("prometheus.scrapeInterval", "write 1s to 5m, as Prometheus is configured");
        }
        if self.lag > Duration::seconds(600) {
            return value("prometheus.lag", "write at most 10m");
        }
        let Labels { namespace, pod, pod_hash, service, constant } = &self.labels;
        let is_label = |name: &String| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.len() <= 63
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if ![namespace, pod, pod_hash, service].into_iter().chain(constant.keys()).all(is_label) {
            return value("prometheus.labels", "a label's name has letters, digits and _ and begins with no digit");
        }
        Ok(())
    }

    fn asks(&self, metric: &Metric, subject: &Subject) -> Vec<Ask> {
        match (metric.preset.as_deref().and_then(presets::find), &metric.scores) {
            (Some(preset), _) => evidence::asks(preset, metric, self, subject),
            (None, Some(of)) => scores::asks(of, metric, self, subject),
            (None, None) => points::asks(metric, self, subject),
        }
    }

    fn read(&self, metric: &Metric, subject: &Subject, parts: &[Part]) -> Seen {
        match (metric.preset.as_deref().and_then(presets::find), &metric.scores) {
            (Some(preset), _) => evidence::read(preset, metric, self, subject, parts),
            (None, Some(of)) => scores::read(of, metric, self, subject, parts),
            (None, None) => points::read(metric, self, subject, parts),
        }
    }

    fn fits(&self, metric: &Metric) -> Result<(), Complaint> {
        if metric.web.is_none() {
            return Ok(());
        }
        let cure = "the provider is a Prometheus: write preset, query or scores, or name a provider that has web";
        Err(Complaint::Value { field: "web", cure: cure.into() })
    }

    fn reach(&self) -> Reach<'_> {
        Reach {
            url: &self.url,
            auth: self.auth.as_ref(),
            headers: &self.headers,
            hmac: None,
            ca_bundle: self.ca_bundle.as_deref(),
            timeout: self.timeout.min(reach::LONGEST),
            answer_cap: ANSWER_CAP,
        }
    }
}

impl Prometheus {
    /// The samples of a selection, which may be asked for together with others.
    pub(super) fn samples(&self, query: String, selection: Option<Selection>, at: i64) -> Ask {
        Ask { selection, ..self.instant(query, at) }
    }

    /// A query for one moment, in milliseconds.
    pub(super) fn instant(&self, query: String, at: i64) -> Ask {
        Ask::form("/api/v1/query", self.form(query, [("time", at)]))
    }

    /// A query for a row of moments, in milliseconds.
    pub(super) fn range(&self, query: String, start: i64, end: i64, step: i64) -> Ask {
        Ask::form("/api/v1/query_range", self.form(query, [("start", start), ("end", end), ("step", step)]))
    }

    fn form<const N: usize>(&self, query: String, times: [(&str, i64); N]) -> Vec<(String, String)> {
        let times = times.map(|(name, at)| (name.to_owned(), format!("{}.{:03}", at / 1_000, at.rem_euclid(1_000))));
        let timeout = format!("{}ms", self.timeout.min(reach::LONGEST).as_millis());
        [("query".to_owned(), query), ("timeout".to_owned(), timeout)].into_iter().chain(times).collect()
    }
}

/// The times of a look, in milliseconds since 1970 or as lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// When the evidence that is judged begins.
    pub start: i64,
    /// When evidence must begin anew, because it has become too long.
    pub restart: Option<i64>,
    /// The moment of the look.
    pub now: i64,
    /// Up to when every sample has arrived.
    pub settled: i64,
    /// Whether a scrape can be asked for as soon as it is over.
    pub prompt: bool,
    /// Between two scrapes.
    pub scrape: i64,
    /// How old the newest sample may be.
    pub fresh: i64,
}

impl Times {
    pub fn of(prometheus: &Prometheus, subject: &Subject) -> Self {
        Self::new(prometheus.scrape_interval, prometheus.lag, subject)
    }

    /// Of numbers that are read so often, and arrive so late.
    pub fn new(scrape: Duration, lag: Duration, subject: &Subject) -> Self {
        let length = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(0);
        let (scrape, lag) = (length(scrape).max(1_000), length(lag));
        // No earlier than 1970: what is written with a sign is no time to Prometheus.
        let now = subject.now.as_millisecond().max(OLDEST_MS);
        let since = subject.evidence_since.as_millisecond().saturating_add(length(subject.delay)).clamp(0, now);
        Self {
            start: since.max(now - OLDEST_MS),
            restart: (since < now - OLDEST_MS).then_some(now - OLDEST_MS / 2),
            now,
            settled: now - scrape - lag,
            prompt: lag == 0,
            scrape,
            // A busy Prometheus is late by seconds, however often it scrapes.
            fresh: (2 * scrape).max(5_000) + lag,
        }
    }

    /// The length of an interval of a comparison, in milliseconds. What a proxy counts of both arms is on the same page; others
    /// are scraped at moments of their own, and what befalls all of them should lie in the same interval of both arms.
    pub fn step(&self, preset: &Preset) -> i64 {
        let scrapes = if preset.is_apart() { 2 } else { 1 };
        (scrapes * self.scrape).max(2_000)
    }

    /// The length of a block of time, in milliseconds: as long as a burst, and some intervals.
    pub fn block(&self, preset: &Preset) -> i64 {
        let step = self.step(preset);
        (BURST_MS + step - 1) / step * step
    }

    /// After which moment something was counted of late: within the longer of these, in milliseconds, and what may not have
    /// arrived yet.
    pub fn late(&self, interval: Duration, least: i64) -> i64 {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        self.settled.saturating_sub(interval.max(least))
    }

    /// So many seconds there is evidence of.
    pub fn over(&self) -> f64 {
        let over = u64::try_from(self.settled - self.start).unwrap_or(0);
        Duration::millis(over).as_secs_f64()
    }

    /// Words for a proof that is to be expected when so many seconds are over, unless it is a matter of weeks.
    pub fn expected(&self, whole: f64, at: &str) -> Option<String> {
        let (whole, over) = (Some(whole).filter(|whole| *whole < 1e6)?, length(self.over()));
        Some(format!("; one as good as stable passes after about {} {at}, and {over} are over", length(whole)))
    }

    /// The same where scrapes tell by themselves up to when every sample has arrived. Without them a scrape may be under
    /// way that began an interval ago.
    pub fn known_until(self, until: Option<i64>) -> Self {
        let until = until.filter(|_| self.prompt).map_or(self.settled, |until| until.min(self.now));
        Self { settled: self.settled.max(until), ..self }
    }

    /// Evidence that has become too long begins anew.
    pub fn bounded(self, seen: Seen) -> Seen {
        let restart = self.restart.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        Seen { history_from: seen.history_from.or(restart), ..seen }
    }

    /// The same where nothing that has been read arrives late.
    pub fn settled_at_once(self) -> Self {
        Self { settled: self.now, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{check_provider, tests::provider},
        *,
    };

    fn words(change: impl FnOnce(&mut Prometheus)) -> String {
        let mut provider = provider(15);
        change(provider.prometheus.as_mut().unwrap());
        check_provider(&provider).err().map_or_else(String::new, |complaint| complaint.to_string())
    }

    #[test]
    fn settings_are_refused_by_name_and_with_the_cure() {
        assert_eq!(words(|_| {}), "");
        for url in ["", "prometheus:9090", "ftp://host", "http://", "http://a b", "http://host/?x=1", "http://me:pw@host"] {
            assert!(words(|p| p.url = url.into()).starts_with("prometheus.url: "), "{url}");
        }
        assert_eq!(words(|p| p.url = "https://mimir.example:8443/prometheus".into()), "");
        let header = |name: &str| vec![Header { name: name.into(), value: "shop".into() }];
        assert_eq!(words(|p| p.headers = header("X-Scope-OrgID")), "");
        assert!(words(|p| p.headers = header("Authorization")).starts_with("prometheus.headers: Authorization goes into"));
        assert!(words(|p| p.auth = Some(Auth::default())).starts_with("prometheus.auth: write exactly one"));
        assert!(words(|p| p.timeout = Duration::seconds(31)).starts_with("prometheus.timeout: "));
        assert!(words(|p| p.scrape_interval = Duration::ZERO).starts_with("prometheus.scrapeInterval: "));
        assert!(words(|p| p.lag = Duration::MAX).starts_with("prometheus.lag: "));
        assert!(words(|p| p.labels.pod = "pod\"}".into()).starts_with("prometheus.labels: "));
        let constant = [("clu-ster".to_owned(), "eu".to_owned())];
        assert!(words(|p| p.labels.constant = constant.clone().into()).starts_with("prometheus.labels: "));
        assert!(check_provider(&super::super::ProviderSpec::default()).is_err());
    }

    #[test]
    fn what_is_left_out_has_defaults() {
        let read: Prometheus = serde_json::from_str(r#"{"url":"http://prometheus"}"#).unwrap();
        assert_eq!((read.timeout, read.scrape_interval, read.lag), (reach::TIMEOUT, Duration::seconds(15), Duration::ZERO));
        assert_eq!(read.labels, serde_json::from_str::<Labels>("{}").unwrap());
    }

    #[test]
    fn moments_are_written_with_their_fractions() {
        let ask = provider(15).prometheus.unwrap().instant("up".into(), 1_795_246_876_127);
        assert_eq!(ask.fields()[2], ("time".into(), "1795246876.127".into()));
        assert_eq!(ask.fields()[1], ("timeout".into(), "5000ms".into()));
    }
}
