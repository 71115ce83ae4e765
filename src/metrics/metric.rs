//! A metric of a Rollout's analysis, and what can be said against it before anything is asked.
use super::{
    ArmLabel, BadBound, BadCondition, BadQuery, JobOf, JobResult, Limit, ProviderRef, ScoresOf, WebOf, When, evidence,
    limit::Unit,
    presets,
    promql::Query,
    when::{Condition, Conditions},
};
use crate::{
    duration::Duration,
    judge::{self, Traffic, threshold::Counting},
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is measured, and what it is measured against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.preset), has(self.query), has(self.scores), has(self.web), has(self.job)].exists_one(one, one)").message("a metric has exactly one of preset, query, scores, web and job"))]
#[x_kube(validation = Rule::new("!(has(self.query) || has(self.web)) || has(self.limit) || has(self.when)").message("query and web need a limit: {max: ...} or {min: ...}, or when: {fail: ...}"))]
#[x_kube(validation = Rule::new("!has(self.job) || (has(self.job.result) && self.job.result == 'Score') == (has(self.limit) || has(self.when))").message("a job with result: Score needs a limit: {max: ...} or {min: ...}, or when: {fail: ...}; one that is judged by its exit code has neither"))]
#[x_kube(validation = Rule::new("!has(self.job) || !has(self.provider)").message("a job is run in the Rollout's namespace and has no provider"))]
#[x_kube(validation = Rule::new("!has(self.compare) || has(self.preset)").message("compare is for presets: query, web and job are held against their limit, and scores are always compared"))]
#[x_kube(validation = Rule::new("!(has(self.preset) || has(self.web) || has(self.job)) || !(has(self.arm) || has(self.shared))").message("arm and shared are for queries: a preset states its own, web has placeholders, and job has variables"))]
#[x_kube(validation = Rule::new("!has(self.when) || ((has(self.query) || has(self.web) || has(self.job) || (has(self.preset) && self.preset.contains('/mean-'))) && (has(self.when.fail) || has(self.when.pass)))").message("when is for query, web, job and presets of ratios, and has fail, pass or both"))]
#[x_kube(validation = Rule::new("!has(self.preset) || !self.preset.contains('/mean-') || ((has(self.limit) || has(self.when)) && !has(self.compare))").message("a preset of a ratio is not compared, for no test says how far two ratios differ by chance: write limit: {max: ...} or {min: ...}, or when: {fail: ...}"))]
#[x_kube(validation = Rule::new("!has(self.scores) || !(has(self.limit) || has(self.shared))").message("limit and shared are not for scores: write scores.tolerated and scores.excluded"))]
#[x_kube(validation = Rule::new("!has(self.limit) || !has(self.limit.quantile) || (has(self.preset) && !self.preset.endsWith('error-rate') && !self.preset.contains('/mean-'))").message("limit.quantile is for presets of latency"))]
#[x_kube(validation = Rule::new("!has(self.compare) || self.compare != 'None' || has(self.limit)").message("a preset that is not compared needs a limit: {max: ...}"))]
pub struct Metric {
    /// A name, unique among the metrics of this Rollout.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A ready-made metric. It counts single requests of both arms, exactly, and compares the canary with stable; one of a
    /// ratio, such as tokens a second, is held against `limit` or `when` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = presets::names()))]
    pub preset: Option<String>,
    /// A query in `PromQL` that yields one number. Every selector carries arm="$arm", which becomes what tells the canary
    /// from stable, or has its metric's name listed in `shared`; a range is written [$window] and is the interval, or
    /// the time since evidence began where that is shorter; such a first value is shown and fails nobody. Intervals end at multiples of their length. `offset` and `@` are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub query: Option<String>,
    /// Counters of bounded scores, such as those of a model evaluation, whose means are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoresOf>,
    /// A number in what the provider's web endpoint answers. Such an endpoint has no history: each look, an `interval`
    /// after the last one, asks once and counts as one interval. The last 1000 looks at a release are remembered until
    /// the operator restarts, and then counted anew. An endpoint that does not answer counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebOf>,
    /// A Job that is run against the canary: a smoke test, or a model's evaluation on a data set. It runs in every step, also
    /// where the canary gets no requests: first when evidence begins, then an `interval` after the last one began, until
    /// `count` runs have been judged. A run that ends without a result is no evidence, and another takes its place, up to
    /// three in a row. The Jobs of the last three runs are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobOf>,
    /// Where this metric's numbers come from, instead of `analysis.provider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderRef>,
    /// Names of the steps in which this metric is judged, the last one's also while the candidate takes over. In others it
    /// is shown; it neither fails the canary there nor is waited for. Its evidence begins with everybody's. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    pub steps: Vec<String>,
    /// What the canary's number may be at most or at least. Of a preset of errors or latency, an interval with fewer than
    /// 20 requests of the canary is not held against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Conditions in CEL on the numbers of both arms that a query, a web endpoint, a Job or a preset of a ratio yields,
    /// beside or instead of `limit`: `canary` and `result` are the canary's number in the interval, `stable` is stable's.
    /// `samples` counts intervals, not requests: those since evidence began in which the canary had a number, this one
    /// included, at most 1000; of a web endpoint looks, and of a Job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What a preset's numbers are compared with: Stable, which is the default, or None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// How often to look, and the length of what a limit judges at once; where two scrapes take longer, two scrapes.
    /// From 1s to 1h, default 10s.
    #[serde(default = "ten_seconds")]
    pub interval: Duration,
    /// How much a comparison with stable counts among those of the Rollout, from 1 to 100: the part of `margins.falseAbort` that
    /// is its own, and of what all comparisons say together. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100), extend("format" = "int32"))]
    pub weight: Option<u32>,
    /// So many intervals outside the limit are forgiven: with 0, the default, the first one fails the canary. Of a query the
    /// newest 1000 intervals are counted, of a web endpoint the newest 1000 looks, and of a Job the newest 1000 runs.
    #[serde(default)]
    #[schemars(range(max = 1000), extend("format" = "int32"))]
    pub failure_limit: u32,
    /// So many intervals in a row outside the limit fail the canary, however many are forgiven. Default 0: no such rule.
    #[serde(default)]
    #[schemars(range(max = 1000), extend("format" = "int32"))]
    pub consecutive_failures: u32,
    /// So many intervals of which `when` says neither are forgiven; with more, nothing is proven. Default 0.
    #[serde(default)]
    #[schemars(range(max = 1000), extend("format" = "int32"))]
    pub inconclusive_limit: u32,
    /// After more than so many intervals in a row without a usable answer of the provider, `analysis.onUnknown` is done at once and
    /// not only after its `after`. Such intervals are no failures of the canary. They are counted from 0 when the operator
    /// restarts. Default: only `after` counts. Not for a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000), extend("format" = "int32"))]
    pub consecutive_error_limit: Option<u32>,
    /// So many intervals are judged; then the metric is finished, and what it said stays. Without it one is enough for the
    /// canary to keep its limit, and all that follow are judged as well. A comparison with stable goes on nevertheless.
    /// Of a Job the default is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("format" = "int32"))]
    pub count: Option<u32>,
    /// Evidence of this metric begins so much later than that of the release, at most 24h: until caches are warm. That of the
    /// release begins when the candidate's pods are behind its Service, whatever its weight is: where steps without weight come
    /// first, add their time. Default 0s.
    #[serde(default)]
    pub initial_delay: Duration,
    /// Whether this metric is only shown: it neither fails the canary nor is waited for. Its verdict is as sure as that of the
    /// metrics that count; to count itself, it would take its part of `margins.falseAbort`.
    #[serde(default)]
    pub dry_run: bool,
    /// Names of metrics that a query may use without arm="$arm". Their selectors are left as they are: no namespace is
    /// added, and any plain range may be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 200)))]
    pub shared: Vec<String>,
    /// What arm="$arm" in a query becomes, beside the namespace: the Pod, which is the default, the `PodHash` or the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<ArmLabel>,
}

/// What a preset's numbers are compared with: Stable, which is the default, or None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Compare {
    /// Stable, in the same moments.
    #[default]
    Stable,
    /// Nothing: only the limit counts.
    None,
}

/// Why a metric or a provider cannot be carried out. Each names the field and the cure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Complaint {
    /// None or several sources.
    #[error("preset, query, scores, web, job: a metric has exactly one of them")]
    Which,
    /// An unknown preset.
    #[error("preset: there is no \"{name}\"; there are {known}")]
    Preset {
        /// What was written.
        name: String,
        /// What there is.
        known: String,
    },
    /// A query without, or a preset with nothing to be held against.
    #[error(
        "limit: without a comparison there must be one; write limit: {{max: ...}} or {{min: ...}}, or of query, web and job when: {{fail: ...}}"
    )]
    NoLimit,
    /// A field that only goes with the other kind of source.
    #[error("{field}: only for a {with}; leave it out")]
    Misplaced {
        /// The field.
        field: &'static str,
        /// What it goes with.
        with: &'static str,
    },
    /// A bound that is not understood.
    #[error("limit.{field}: {why}")]
    Bound {
        /// `max` or `min`.
        field: &'static str,
        /// What is wrong.
        why: BadBound,
    },
    /// A bound of the wrong kind.
    #[error("limit.{field}: {cure}")]
    Limit {
        /// The member of `limit`.
        field: &'static str,
        /// What to write.
        cure: &'static str,
    },
    /// A query that is refused.
    #[error("query: {0}")]
    Query(BadQuery),
    /// A condition that is refused.
    #[error("when.{field}: {why}")]
    Condition {
        /// `fail` or `pass`.
        field: &'static str,
        /// What is wrong.
        why: BadCondition,
    },
    /// A selector that is refused.
    #[error("{field}: {why}")]
    Selector {
        /// The field.
        field: &'static str,
        /// What is wrong.
        why: BadQuery,
    },
    /// A value outside its bounds.
    #[error("{field}: {cure}")]
    Value {
        /// The field.
        field: &'static str,
        /// What to write.
        cure: String,
    },
    /// A provider without, or with several sources.
    #[error("a provider has exactly one source of: {known}")]
    Source {
        /// What there is.
        known: String,
    },
}

impl Metric {
    /// Whether the canary is compared with stable, so that there is something to be proven.
    pub fn compares(&self) -> bool {
        let is_ratio = || self.preset.as_deref().and_then(presets::find).is_some_and(presets::Preset::is_ratio);
        let of_preset = self.preset.is_some() && self.compare.unwrap_or_default() == Compare::Stable;
        self.scores.is_some() || (of_preset && !is_ratio())
    }

    /// Whether a Prometheus is asked what stable did before: of a comparison of errors.
    pub fn has_past(&self) -> bool {
        let preset = self.preset.as_deref().and_then(presets::find);
        preset.is_some_and(|preset| evidence::has_past(preset, self))
    }

    /// Seconds until its limit of errors has failed a canary with this share of the requests and so many times stable's
    /// errors, as long as intervals of its length have requests enough to be held against it; nothing where it does not.
    pub fn seconds_to_break(&self, traffic: Traffic, share: f64, times: f64) -> Option<f64> {
        let max = self.limit.as_ref()?.max().ok()??.value;
        let length = self.interval.as_secs_f64();
        let is_judged = traffic.rate * share * length >= judge::real(evidence::FEWEST);
        let row = Some(self.consecutive_failures).filter(|row| *row > 0).unwrap_or(u32::MAX);
        let intervals = self.failure_limit.saturating_add(1).min(row);
        (is_judged && traffic.bad * times > max).then(|| length * f64::from(intervals))
    }

    /// How much its comparison counts.
    pub fn weight(&self) -> f64 {
        f64::from(self.weight.unwrap_or(1).clamp(1, 100))
    }

    /// Whether its numbers come from the pods themselves, which also see requests whose answers reach nobody.
    pub fn is_of_pods(&self) -> bool {
        match (&self.preset, &self.web) {
            (Some(name), _) => presets::find(name).is_none_or(presets::Preset::is_of_pods),
            (None, Some(web)) => !web.names_service(),
            (None, None) => self.arm != Some(ArmLabel::Service),
        }
    }

    /// Whether a provider is asked for its numbers.
    pub const fn asks_a_provider(&self) -> bool {
        self.job.is_none()
    }

    /// Whether it has something to see where the canary gets no requests: it brings its own.
    pub const fn needs_no_requests(&self) -> bool {
        self.job.is_some()
    }

    /// Whether a condition asks for stable's number.
    pub(super) fn names_stable(&self) -> bool {
        self.conditions().is_ok_and(|conditions| conditions.names_stable())
    }

    /// How a limit's intervals are counted.
    pub(super) fn counting(&self) -> Counting {
        Counting {
            failures: self.failure_limit,
            in_a_row: self.consecutive_failures,
            open: self.inconclusive_limit,
            most: self.count.or(self.job.as_ref().map(|_| 1)),
        }
    }

    /// The conditions, read: of failing, and of being good.
    pub(super) fn conditions(&self) -> Result<Conditions, Complaint> {
        let when = self.when.clone().unwrap_or_default();
        let read = |field, text: Option<String>| {
            let condition = text.map(|text| Condition::parse(&text)).transpose();
            condition.map_err(|why| Complaint::Condition { field, why })
        };
        Ok(Conditions { fail: read("fail", when.fail)?, pass: read("pass", when.pass)? })
    }

    pub(super) fn check(&self) -> Result<(), Complaint> {
        let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
        if self.name.is_empty() || self.name.len() > 63 {
            return value("name", "write 1 to 63 characters");
        }
        if !(Duration::seconds(1)..=Duration::seconds(3_600)).contains(&self.interval) {
            return value("interval", "write 1s to 1h");
        }
        if self.failure_limit > 1_000 {
            return value("failureLimit", "write 0 to 1000");
        }
        if self.consecutive_failures > 1_000
            || self.inconclusive_limit > 1_000
            || !(1..=1_000).contains(&self.count.unwrap_or(1))
        {
            return value(
                "consecutiveFailures, inconclusiveLimit, count",
                "write numbers up to 1000, and of count at least 1",
            );
        }
        if self.consecutive_error_limit.is_some_and(|limit| limit > 1_000) {
            return value("consecutiveErrorLimit", "write 0 to 1000");
        }
        if self.weight.is_some() && !self.compares() {
            return Err(Complaint::Misplaced { field: "weight", with: "metric that is compared with stable" });
        }
        if !(1..=100).contains(&self.weight.unwrap_or(1)) {
            return value("weight", "write 1 to 100");
        }
        if self.initial_delay > Duration::seconds(86_400) {
            return value("initialDelay", "write at most 24h");
        }
        let is_ratio = self.preset.as_deref().and_then(presets::find).is_some_and(presets::Preset::is_ratio);
        if self.when.is_some() && self.query.is_none() && self.web.is_none() && self.job.is_none() && !is_ratio {
            return Err(Complaint::Misplaced { field: "when", with: "query, a web, a job or a preset of a ratio" });
        }
        if self.provider.as_ref().is_some_and(|provider| provider.name.is_empty() || provider.name.len() > 253) {
            return value("provider.name", "write the name of a provider, of 1 to 253 characters");
        }
        if self.steps.len() > 32 {
            return value("steps", "write at most 32 names");
        }
        if self.shared.len() > 16 || self.shared.iter().any(|name| name.len() > 200) {
            return value("shared", "write at most 16 names of at most 200 characters");
        }
        match (&self.preset, &self.query, &self.scores, &self.web, &self.job) {
            (Some(preset), None, None, None, None) => self.check_preset(preset),
            (None, Some(query), None, None, None) => self.check_query(query),
            (None, None, Some(scores), None, None) => self.check_scores(scores),
            (None, None, None, Some(web), None) => self.check_web(web),
            (None, None, None, None, Some(job)) => self.check_job(job),
            _ => Err(Complaint::Which),
        }
    }

    fn check_scores(&self, scores: &ScoresOf) -> Result<(), Complaint> {
        misplaced([
            ("limit", self.limit.is_some(), "preset or a query"),
            ("compare", self.compare.is_some(), "preset"),
            ("shared", !self.shared.is_empty(), "query"),
        ])?;
        scores.check()
    }

    fn check_preset(&self, name: &str) -> Result<(), Complaint> {
        let Some(preset) = presets::find(name) else {
            let name: String = name.chars().take(63).collect();
            let known = presets::like(&name).join(", ");
            return Err(Complaint::Preset { name, known });
        };
        misplaced([("arm", self.arm.is_some(), "query"), ("shared", !self.shared.is_empty(), "query")])?;
        if preset.is_ratio() {
            return self.check_rules();
        }
        let wrong = |field, cure| Err(Complaint::Limit { field, cure });
        let Some(limit) = &self.limit else {
            return if self.compares() { Ok(()) } else { Err(Complaint::NoLimit) };
        };
        if limit.min.is_some() {
            return wrong("min", "only for a query; a preset has limit.max");
        }
        let Some(max) = limit.max()? else { return Err(Complaint::NoLimit) };
        match (preset.kind, max.unit, limit.quantile) {
            (presets::Kind::Errors(_), _, Some(_)) => wrong("quantile", "only for a latency preset; leave it out"),
            (presets::Kind::Errors(_), Unit::Seconds, None) => wrong("max", "write a share of requests, like 1%"),
            (presets::Kind::Errors(_), _, None) if !(0.0..=1.0).contains(&max.value) => {
                wrong("max", "write a share of requests from 0% to 100%")
            }
            (presets::Kind::Latency(_), _, None) => {
                wrong("quantile", "missing: write which share of requests must be faster than max, like 0.99")
            }
            (presets::Kind::Latency(_), _, Some(quantile)) if !(0.0..1.0).contains(&quantile) || quantile == 0.0 => {
                wrong("quantile", "write a number between 0 and 1, like 0.99")
            }
            (presets::Kind::Latency(_), Unit::Share, _) => wrong("max", "write a duration, like 300ms"),
            (presets::Kind::Latency(_), _, _) if max.value <= 0.0 => wrong("max", "write more than 0s"),
            _ => Ok(()),
        }
    }

    fn check_query(&self, query: &str) -> Result<(), Complaint> {
        self.check_rules()?;
        Query::parse(query, &self.shared).map(drop).map_err(Complaint::Query)
    }

    fn check_web(&self, web: &WebOf) -> Result<(), Complaint> {
        misplaced([("arm", self.arm.is_some(), "query"), ("shared", !self.shared.is_empty(), "query")])?;
        self.check_rules()?;
        web.check()
    }

    fn check_job(&self, job: &JobOf) -> Result<(), Complaint> {
        misplaced([
            ("arm", self.arm.is_some(), "query"),
            ("shared", !self.shared.is_empty(), "query"),
            ("provider", self.provider.is_some(), "metric that a provider is asked for"),
            ("consecutiveErrorLimit", self.consecutive_error_limit.is_some(), "metric that a provider is asked for"),
        ])?;
        match job.result {
            JobResult::Score => self.check_rules()?,
            JobResult::ExitCode => misplaced([
                ("limit", self.limit.is_some(), "job with result: Score"),
                ("when", self.when.is_some(), "job with result: Score"),
                ("compare", self.compare.is_some(), "preset"),
            ])?,
        }
        job.check()
    }

    /// What numbers are held against, where they are not compared.
    fn check_rules(&self) -> Result<(), Complaint> {
        if self.compare.is_some() {
            return Err(Complaint::Misplaced { field: "compare", with: "preset of errors or latency" });
        }
        let conditions = self.conditions()?;
        let limit = self.limit.clone().unwrap_or_default();
        if limit.quantile.is_some() {
            return Err(Complaint::Misplaced { field: "limit.quantile", with: "latency preset" });
        }
        let (max, min) = (limit.max()?, limit.min()?);
        match (max, min) {
            (None, None) if conditions.is_empty() => Err(Complaint::NoLimit),
            (Some(max), Some(min)) if max.value < min.value => {
                Err(Complaint::Limit { field: "max", cure: "is less than limit.min: no number would do" })
            }
            _ => Ok(()),
        }
    }
}

/// Refuses the first field that is there and goes with something else.
fn misplaced<const N: usize>(fields: [(&'static str, bool, &'static str); N]) -> Result<(), Complaint> {
    let there = fields.into_iter().find(|(_, is_there, _)| *is_there);
    there.map_or(Ok(()), |(field, _, with)| Err(Complaint::Misplaced { field, with }))
}

fn ten_seconds() -> Duration {
    Duration::seconds(10)
}
