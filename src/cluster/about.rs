//! What a measurement was about, and what of it still holds when people have edited the question.
use crate::{
    api::{Analysis, Rollout},
    plan::Measured,
};
use jiff::Timestamp;

/// What is asked about a candidate, which people may edit meanwhile, and since when its requests have been shared out as they
/// are: what was measured by another question, or of another share, answers neither.
#[derive(Clone, PartialEq)]
pub struct About {
    /// The questions.
    pub analysis: Analysis,
    shared_since: Option<Timestamp>,
}

impl About {
    /// What is asked about this candidate now.
    pub fn of(rollout: &Rollout) -> Self {
        let step = rollout.status.as_ref().and_then(|status| status.step.as_ref());
        let shared_since = step.and_then(|step| Some(step.shared_since.as_ref()?.0));
        Self { analysis: rollout.spec.analysis.clone(), shared_since }
    }

    /// Whether a metric is measured here as it is there.
    pub fn same(&self, other: &Self, name: &str) -> bool {
        let of = |about: &Self| {
            let metric = about.analysis.metrics.iter().find(|metric| metric.name == name)?.clone();
            let provider = about.analysis.provider_of(&metric).cloned();
            Some((about.analysis.margins_of(&metric), provider, metric))
        };
        self.analysis == other.analysis || of(self).is_some_and(|mine| of(other) == Some(mine))
    }

    /// What was measured for this and says something of that as well.
    pub fn still(&self, other: &Self, read: Measured) -> Measured {
        let Measured::Read { at, mut metrics } = read else { return read };
        if self.analysis != other.analysis {
            metrics.retain(|(name, _)| self.same(other, name));
        }
        if self.shared_since != other.shared_since {
            for (_, seen) in &mut metrics {
                seen.arrived = None;
            }
        }
        Measured::Read { at, metrics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Arrived, Outcome, Seen, unanswered};
    use serde_json::json;

    fn rollout(metrics: &serde_json::Value, shared: &str) -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop"},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "steps": [{"name": "a", "weight": 5, "observe": "1m"}],
                "analysis": {"provider": {"kind": "MetricProvider", "name": "p"}, "metrics": metrics},
            },
            "status": {"step": {"index": 0, "name": "a", "hash": "h", "sharedSince": shared}},
        }))
        .unwrap()
    }

    #[test]
    fn what_was_measured_answers_the_question_that_was_asked_and_no_other() {
        let early = "2026-01-01T00:00:00.000000Z";
        let both = json!([
            {"name": "errors", "preset": "app/error-rate"}, {"name": "slow", "preset": "app/latency", "dryRun": true},
        ]);
        let about = About::of(&rollout(&both, early));
        let seen = || Seen {
            arrived: Some(Arrived { canary: 1, stable: 9 }),
            ..unanswered(Outcome::Unreachable, "nobody is there")
        };
        let read = || Measured::Read {
            at: Timestamp::UNIX_EPOCH,
            metrics: ["errors", "slow"].map(|it| (it.to_owned(), seen())).into(),
        };
        let still = |metrics: &serde_json::Value, shared: &str| {
            let Measured::Read { metrics, .. } = about.still(&About::of(&rollout(metrics, shared)), read()) else {
                panic!()
            };
            let has_arrived = metrics.iter().any(|(_, seen)| seen.arrived.is_some());
            (metrics.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), has_arrived)
        };
        assert_eq!(still(&both, early), (vec!["errors".to_owned(), "slow".to_owned()], true));
        assert!(!still(&both, "2026-01-01T00:10:00.000000Z").1, "of another share");
        // What decides from now on is asked anew, and so is what compares with another part of what may be wrong.
        let decides = json!([both[0], {"name": "slow", "preset": "app/latency"}]);
        assert_eq!(still(&decides, early).0, Vec::<String>::new());
        let renamed = json!([{"name": "failures", "preset": "app/error-rate"}, both[1]]);
        assert_eq!(still(&renamed, early).0, ["slow"]);
        let other = json!([{"name": "errors", "preset": "app/latency"}, both[1]]);
        assert_eq!(still(&other, early).0, ["slow"]);
    }
}
