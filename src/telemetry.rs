//! Logs and numbers about the operator itself.
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

/// Names of metrics, by a Rollout's namespace and name.
type Judged = BTreeMap<(String, String), BTreeSet<String>>;

/// The operator's numbers. Label values come from enums and from the names of Rollouts, never from free text.
#[derive(Clone)]
pub struct Telemetry {
    registry: Arc<Registry>,
    /// 1 for the phase that a Rollout is in.
    pub phase: Family<PhaseLabels, Gauge>,
    /// Index of the step that is held, from 0.
    pub step: Family<RolloutLabels, Gauge>,
    /// The canary's share in percent, wanted and accepted.
    pub weight: Family<WeightLabels, Gauge>,
    /// The last verdict of a metric: 1 pass, 0 continue, -1 fail, -2 unknown.
    verdict: Family<VerdictLabels, Gauge>,
    /// The metrics that have a verdict here, by the Rollout's namespace and name.
    judged: Arc<Mutex<Judged>>,
    /// Seconds of the step's `observe` that are full.
    pub observed_seconds: Family<RolloutLabels, Gauge>,
    /// Writes to the API server.
    pub api_writes: Family<WriteLabels, Counter>,
    /// Time of one look, in seconds.
    pub reconcile: Histogram,
    /// Looks that ended in an error, by category.
    pub errors: Family<ErrorLabels, Counter>,
    /// Decisions, by reason.
    pub decisions: Family<ReasonLabels, Counter>,
    /// 1 on the replica that acts.
    pub leader: Gauge,
    /// Alerts by what became of the try.
    pub alerts: Family<AlertLabels, Counter>,
    /// Queries to providers, by what came of them.
    pub queries: Family<QueryLabels, Counter>,
    /// Unix time, in seconds, at which metrics were last judged, for those who wonder whether anybody looks.
    pub last_measured: Gauge<f64, AtomicU64>,
}

/// Which Rollout.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RolloutLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub rollout: String,
}

/// Which Rollout, in which phase.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PhaseLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub rollout: String,
    /// The phase.
    pub phase: String,
}

/// Which of a Rollout's weights.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct WeightLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub rollout: String,
    /// `desired` or `accepted`.
    pub weight: &'static str,
}

/// Which of a Rollout's metrics.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct VerdictLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub rollout: String,
    /// The metric's name.
    pub metric: String,
}

/// What was written, and what came of it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct WriteLabels {
    /// What it was for.
    pub effect: &'static str,
    /// `ok`, `conflict` or `error`.
    pub outcome: &'static str,
}

/// What went wrong.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ErrorLabels {
    /// The category.
    pub category: &'static str,
}

/// Why.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabels {
    /// The reason.
    pub reason: &'static str,
}

/// What became of a try to deliver an alert.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct AlertLabels {
    /// `delivered`, `failed` or `abandoned`.
    pub outcome: &'static str,
}

/// What came of a query.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct QueryLabels {
    /// `answered` or `unreachable`; of those that were not sent `shared`, for another asked the same, or `held-back`, for the
    /// provider has not answered lately.
    pub outcome: &'static str,
}

impl Telemetry {
    /// Sets the verdicts of a Rollout's metrics, which are all it has: 1 pass, 0 continue, -1 fail, -2 unknown.
    pub fn verdicts(&self, namespace: &str, rollout: &str, verdicts: &BTreeMap<&str, i64>) {
        let labels = |metric: &str| VerdictLabels {
            namespace: namespace.to_owned(),
            rollout: rollout.to_owned(),
            metric: metric.to_owned(),
        };
        for (metric, verdict) in verdicts {
            self.verdict.get_or_create(&labels(metric)).set(*verdict);
        }
        let names: BTreeSet<String> = verdicts.keys().map(|&name| name.to_owned()).collect();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), rollout.to_owned());
        let before = if names.is_empty() { judged.remove(&key) } else { judged.insert(key, names) };
        for gone in before.iter().flatten().filter(|name| !verdicts.contains_key(name.as_str())) {
            self.verdict.remove(&labels(gone));
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let mut made = Self {
            registry: Arc::default(),
            phase: Family::default(),
            step: Family::default(),
            weight: Family::default(),
            verdict: Family::default(),
            judged: Arc::default(),
            observed_seconds: Family::default(),
            api_writes: Family::default(),
            reconcile: Histogram::new(buckets),
            errors: Family::default(),
            decisions: Family::default(),
            leader: Gauge::default(),
            alerts: Family::default(),
            queries: Family::default(),
            last_measured: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("bellwether");
        registry.register("rollout_phase", "1 for the phase that a Rollout is in", made.phase.clone());
        registry.register("rollout_step", "Index of the step that is held, from 0", made.step.clone());
        registry.register("rollout_weight_percent", "The canary's share, desired and accepted", made.weight.clone());
        registry.register("rollout_verdict", "1 pass, 0 continue, -1 fail, -2 unknown", made.verdict.clone());
        registry.register(
            "rollout_observed_seconds",
            "Seconds of observe that are full",
            made.observed_seconds.clone(),
        );
        registry.register("api_writes", "Writes to the API server", made.api_writes.clone());
        registry.register("reconcile_seconds", "Time of one look", made.reconcile.clone());
        registry.register("reconcile_errors", "Looks that ended in an error", made.errors.clone());
        registry.register("decisions", "Decisions by reason", made.decisions.clone());
        registry.register("leader", "1 on the replica that acts", made.leader.clone());
        registry.register("alert_deliveries", "Tries to deliver an alert", made.alerts.clone());
        registry.register("provider_queries", "Queries to metric providers", made.queries.clone());
        registry.register(
            "last_measured_timestamp_seconds",
            "When metrics were last judged, answered or not",
            made.last_measured.clone(),
        );
        made.registry = Arc::new(registry);
        made
    }
}

impl Telemetry {
    /// All numbers in the text format of `OpenMetrics`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts logging to standard error, at the level that `RUST_LOG` says, else `info`.
pub fn start_logging(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,kube_client=warn,kube_runtime=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logs.json().init(),
        LogFormat::Text => logs.init(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// All numbers there are: name, sort, labels and meaning, as a page of them tells when each has a value.
    pub(crate) fn numbers() -> Vec<[String; 4]> {
        let telemetry = Telemetry::default();
        // Without `..`, so that none is forgotten here: a number without a value shows no labels.
        let Telemetry {
            registry: _,
            phase,
            step,
            weight,
            verdict: _,
            judged: _,
            observed_seconds,
            api_writes,
            reconcile,
            errors,
            decisions,
            leader: _,
            alerts,
            queries,
            last_measured: _,
        } = &telemetry;
        let (namespace, rollout) = ("shop".to_owned(), "checkout".to_owned());
        let of_rollout = RolloutLabels { namespace: namespace.clone(), rollout: rollout.clone() };
        let labels = PhaseLabels { namespace: namespace.clone(), rollout: rollout.clone(), phase: String::new() };
        phase.get_or_create(&labels).set(1);
        step.get_or_create(&of_rollout).set(1);
        observed_seconds.get_or_create(&of_rollout).set(1);
        weight.get_or_create(&WeightLabels { namespace, rollout, weight: "desired" }).set(1);
        telemetry.verdicts("shop", "checkout", &BTreeMap::from([("errors", 1)]));
        api_writes.get_or_create(&WriteLabels { effect: "", outcome: "ok" }).inc();
        reconcile.observe(1.0);
        errors.get_or_create(&ErrorLabels { category: "" }).inc();
        decisions.get_or_create(&ReasonLabels { reason: "" }).inc();
        alerts.get_or_create(&AlertLabels { outcome: "failed" }).inc();
        queries.get_or_create(&QueryLabels { outcome: "answered" }).inc();
        let text = telemetry.text();
        let word = |line: &str, at: usize| line.split(' ').nth(at).unwrap_or_default().to_owned();
        let mut all = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(help) = line.strip_prefix("# HELP ") else { continue };
            let (name, meaning) = help.split_once(' ').unwrap();
            let sort = word(lines.next().unwrap(), 3);
            let sample = lines.next().unwrap();
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            let labels: Vec<_> = labels.filter(|name| *name != "le").map(|name| format!("`{name}`")).collect();
            let name = if sort == "counter" { format!("{name}_total") } else { name.to_owned() };
            all.push([format!("`{name}`"), sort, labels.join(", "), meaning.to_owned()]);
        }
        all
    }

    #[test]
    fn every_number_is_told_with_its_labels() {
        let all = numbers();
        let of = |name: &str| all.iter().find(|number| number[0] == name).unwrap().clone();
        assert_eq!(of("`bellwether_rollout_phase`")[1..3], ["gauge", "`namespace`, `rollout`, `phase`"]);
        assert_eq!(of("`bellwether_api_writes_total`")[1..3], ["counter", "`effect`, `outcome`"]);
        assert_eq!(of("`bellwether_reconcile_seconds`")[1..3], ["histogram", ""]);
    }

    #[test]
    fn a_verdict_is_shown_as_long_as_its_metric_and_its_rollout_are_there() {
        let telemetry = Telemetry::default();
        let shown = || telemetry.text().lines().filter(|line| line.starts_with("bellwether_rollout_verdict{")).count();
        telemetry.verdicts("shop", "checkout", &BTreeMap::from([("errors", -1), ("latency", 1)]));
        telemetry.verdicts("shop", "cart", &BTreeMap::from([("errors", 0)]));
        assert_eq!(shown(), 3);
        telemetry.verdicts("shop", "checkout", &BTreeMap::from([("latency", 1)]));
        assert_eq!(shown(), 2);
        telemetry.verdicts("shop", "checkout", &BTreeMap::new());
        assert_eq!(shown(), 1);
    }
}
