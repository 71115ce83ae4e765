//! A metric of a Rollout's analysis, and what can be said against it before anything is asked.
use super::{ArmLabel, BadBound, BadQuery, Limit, limit::Unit, presets, promql::Query};
use crate::duration::Duration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is measured, and what it is measured against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.preset) != has(self.query)").message("a metric has exactly one of preset and query"))]
#[x_kube(validation = Rule::new("!has(self.query) || has(self.limit)").message("a query needs a limit: {max: ...} or {min: ...}"))]
#[x_kube(validation = Rule::new("!has(self.query) || !has(self.compare)").message("compare is for presets: a query is held against its limit"))]
#[x_kube(validation = Rule::new("!has(self.preset) || !(has(self.arm) || has(self.shared))").message("arm and shared are for queries: a preset states its own"))]
#[x_kube(validation = Rule::new("!has(self.limit) || !has(self.limit.quantile) || (has(self.preset) && self.preset.endsWith('/latency'))").message("limit.quantile is for latency presets"))]
#[x_kube(validation = Rule::new("!has(self.compare) || self.compare != 'None' || has(self.limit)").message("a preset that is not compared needs a limit: {max: ...}"))]
pub struct Metric {
    /// A name, unique among the metrics of this Rollout.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A ready-made metric. It counts single requests of both arms, exactly, and compares the canary with stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = presets::names()))]
    pub preset: Option<String>,
    /// A query in `PromQL` that yields one number. Every selector carries arm="$arm", which becomes what tells the canary
    /// from stable, or has its metric's name listed in `shared`; a range is written [$window] and is the interval, or
    /// the time since evidence began where that is shorter. `offset` and `@` are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub query: Option<String>,
    /// What the canary's number may be at most or at least. Of a preset, an interval with fewer than 20 requests of the
    /// canary is not held against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// What a preset's numbers are compared with: Stable, which is the default, or None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// How often to look, and the length of what a limit judges at once; where two scrapes take longer, two scrapes.
    /// From 1s to 1h, default 10s.
    #[serde(default = "ten_seconds")]
    pub interval: Duration,
    /// So many intervals outside the limit are forgiven: with 0, the default, the first one fails the canary.
    #[serde(default)]
    #[schemars(range(max = 1000), extend("format" = "int32"))]
    pub failure_limit: u32,
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
    /// Neither or both sources.
    #[error("preset, query: a metric has exactly one of them")]
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
    #[error("limit: without a comparison there must be one; write limit: {{max: ...}} or {{min: ...}}")]
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
        self.preset.is_some() && self.compare.unwrap_or_default() == Compare::Stable
    }

    /// Whether its numbers come from the pods themselves, which also see requests whose answers reach nobody.
    pub fn is_of_pods(&self) -> bool {
        match &self.preset {
            Some(name) => presets::find(name).is_none_or(|preset| preset.place == presets::Place::Pods),
            None => self.arm != Some(ArmLabel::Service),
        }
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
        if self.shared.len() > 16 || self.shared.iter().any(|name| name.len() > 200) {
            return value("shared", "write at most 16 names of at most 200 characters");
        }
        match (&self.preset, &self.query) {
            (Some(preset), None) => self.check_preset(preset),
            (None, Some(query)) => self.check_query(query),
            _ => Err(Complaint::Which),
        }
    }

    fn check_preset(&self, name: &str) -> Result<(), Complaint> {
        let Some(preset) = presets::find(name) else {
            let name = name.chars().take(63).collect();
            return Err(Complaint::Preset { name, known: presets::names().join(", ") });
        };
        for (field, is_there) in [("arm", self.arm.is_some()), ("shared", !self.shared.is_empty())] {
            if is_there {
                return Err(Complaint::Misplaced { field, with: "query" });
            }
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
            (presets::Kind::Errors, _, Some(_)) => wrong("quantile", "only for a latency preset; leave it out"),
            (presets::Kind::Errors, Unit::Seconds, None) => wrong("max", "write a share of requests, like 1%"),
            (presets::Kind::Errors, _, None) if !(0.0..=1.0).contains(&max.value) => {
                wrong("max", "write a share of requests from 0% to 100%")
            }
            (presets::Kind::Latency, _, None) => {
                wrong("quantile", "missing: write which share of requests must be faster than max, like 0.99")
            }
            (presets::Kind::Latency, _, Some(quantile)) if !(0.0..1.0).contains(&quantile) || quantile == 0.0 => {
                wrong("quantile", "write a number between 0 and 1, like 0.99")
            }
            (presets::Kind::Latency, Unit::Share, _) => wrong("max", "write a duration, like 300ms"),
            (presets::Kind::Latency, _, _) if max.value <= 0.0 => wrong("max", "write more than 0s"),
            _ => Ok(()),
        }
    }

    fn check_query(&self, query: &str) -> Result<(), Complaint> {
        if self.compare.is_some() {
            return Err(Complaint::Misplaced { field: "compare", with: "preset" });
        }
        let limit = self.limit.as_ref().ok_or(Complaint::NoLimit)?;
        if limit.quantile.is_some() {
            return Err(Complaint::Misplaced { field: "limit.quantile", with: "latency preset" });
        }
        let (max, min) = (limit.max()?, limit.min()?);
        match (max, min) {
            (None, None) => return Err(Complaint::NoLimit),
            (Some(max), Some(min)) if max.value < min.value => {
                return Err(Complaint::Limit { field: "max", cure: "is less than limit.min: no number would do" });
            }
            _ => {}
        }
        Query::parse(query, &self.shared).map(drop).map_err(Complaint::Query)
    }
}

fn ten_seconds() -> Duration {
    Duration::seconds(10)
}
