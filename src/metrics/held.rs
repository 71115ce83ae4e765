//! Numbers held against what a metric allows: its limit and its conditions, counted as it says.
use super::{
    Limit, Metric,
    limit::{Bound, Unit},
    when::{Conditions, Numbers},
};
use crate::judge::threshold::{self, Allowed, Kept, Point};

/// What the numbers say.
pub(super) struct Held {
    /// How they were counted.
    pub kept: Kept,
    /// Whether the newest one could be judged, or none has to be any more.
    pub is_judged: bool,
    /// The reason in plain words.
    pub why: String,
    /// How numbers of this metric are written.
    pub unit: Unit,
}

/// What numbers are called.
#[derive(Clone, Copy)]
pub(super) struct Noun {
    pub one: &'static str,
    pub many: &'static str,
}

/// What a metric allows, read. Both have been checked; what cannot be read allows everything here and is Invalid elsewhere.
struct Rules {
    max: Option<Bound>,
    min: Option<Bound>,
    conditions: Conditions,
}

impl Rules {
    fn of(metric: &Metric) -> Self {
        let limit = metric.limit.clone().unwrap_or_default();
        let bound = |bound: fn(&Limit) -> Result<Option<Bound>, super::Complaint>| bound(&limit).ok().flatten();
        Self { max: bound(Limit::max), min: bound(Limit::min), conditions: metric.conditions().unwrap_or_default() }
    }

    /// What one number says; nothing if it is none, or stable's is missing.
    fn point(&self, canary: f64, stable: Option<f64>, samples: f64) -> Option<Point> {
        let allowed = Allowed { max: self.max.map(|bound| bound.value), min: self.min.map(|bound| bound.value) };
        let within = allowed.point(canary)?;
        if within == Point::Bad || self.conditions.is_empty() {
            return Some(within);
        }
        self.conditions.point(&Numbers { canary, stable, samples })
    }

    /// What is wanted of a number, in words.
    fn wanted(&self, metric: &Metric) -> String {
        let when = metric.when.clone().unwrap_or_default();
        let conditions =
            when.fail.map(|fail| format!("not {fail}")).or(when.pass.map(|pass| format!("such that {pass}")));
        match (conditions, self.max.or(self.min)) {
            (Some(conditions), Some(_)) => format!("{} and {conditions}", self.bounds()),
            (Some(conditions), None) => conditions,
            (None, _) => self.bounds(),
        }
    }

    fn bounds(&self) -> String {
        match (self.max, self.min) {
            (Some(max), Some(min)) => format!("between {min} and {max}"),
            (Some(max), None) => format!("at most {max}"),
            (None, Some(min)) => format!("at least {min}"),
            (None, None) => "allowed".into(),
        }
    }
}

/// Judges numbers of the canary, and of stable where there are any, oldest first.
pub(super) fn judge(metric: &Metric, noun: Noun, numbers: impl IntoIterator<Item = (f64, Option<f64>)>) -> Held {
    let rules = Rules::of(metric);
    let mut samples = 0.0;
    let said: Vec<_> = numbers
        .into_iter()
        .map(|(canary, stable)| {
            samples += if canary.is_finite() { 1.0 } else { 0.0 };
            (rules.point(canary, stable, samples), canary, stable)
        })
        .collect();
    let kept = threshold::judge(said.iter().filter_map(|(point, ..)| *point), &metric.counting());
    let judged =
        said.iter().filter(|(point, ..)| point.is_some()).take(usize::try_from(kept.judged).unwrap_or(usize::MAX));
    let last_bad = judged.filter(|(point, ..)| *point == Some(Point::Bad)).last();
    let unit = rules.max.or(rules.min).map_or(Unit::Plain, |bound| bound.unit);
    let (wanted, Noun { one, many }) = (rules.wanted(metric), noun);
    let open = if kept.open > 0 { format!("; {} said neither", kept.open) } else { String::new() };
    let why = match (last_bad, kept.judged) {
        (None, 1) => format!("the one {one} so far was {wanted}{open}"),
        (None, judged) => format!("all {judged} {many} were {wanted}{open}"),
        (Some((_, canary, stable)), judged) => {
            let (canary, limit) = (unit.show(*canary), metric.failure_limit);
            let stable = stable.map_or_else(String::new, |stable| format!(" against stable's {}", unit.show(stable)));
            let last = if kept.failures > 1 { "the last " } else { "" };
            let failures = kept.failures;
            format!(
                "{failures} of {judged} {many} failed, {last}with {canary}{stable}: wanted is {wanted}; failureLimit is {limit}{open}"
            )
        }
    };
    let why = if kept.finished { format!("{why}; it is finished, for count is {}", kept.judged) } else { why };
    let is_judged = kept.finished || said.last().is_some_and(|(point, ..)| point.is_some());
    Held { kept, is_judged, why, unit }
}
