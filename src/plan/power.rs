//! Whether the steps are long enough for what there is of traffic: said to people, never decided by.
use super::{Measured, turn::Turn};
use crate::{
    api::Step,
    duration::Duration,
    judge::{length, percent},
    metrics::{Bursts, Metric, Past, Traffic},
};

/// The condition's name.
pub const UNDERPOWERED: &str = "Underpowered";
/// An error rate so many times stable's is what steps should find at least.
const TIMES: f64 = 10.0;

impl Turn<'_> {
    /// Why a bad release may well go through all steps before it is found, and what would help; nothing when the steps are
    /// long enough, or when it is not known. Of a release its own steps count, and at rest those of the spec.
    pub fn underpowered(&self) -> Option<String> {
        let spec = self.spec();
        let analysis = &spec.analysis;
        let steps = match &self.status.flight {
            Some(flight) => &flight.steps,
            None if spec.is_judged() && analysis.metrics.iter().any(Metric::has_past) => &spec.steps,
            None => return None,
        };
        let Some(known) = self.pasts() else {
            // Nothing new is known.
            return self.status.conditions.iter().find(|it| it.type_ == UNDERPOWERED).map(|it| it.message.clone());
        };
        let own = analysis.margins.and_then(|own| own.bursts).map(Bursts::Known);
        // The metric that finds it first is enough.
        let found = known.into_iter().filter_map(|(name, Past { bursts, traffic })| {
            let margins = analysis.margins_of(self.metric(name)?);
            let bursts = own.unwrap_or(bursts);
            let traffic = traffic?;
            let takes =
                |step: &Step| traffic.seconds_to_fail(f64::from(step.weight.percent()) / 100.0, TIMES, margins, bursts);
            let observed = |step: &Step| step.observe.unwrap_or(Duration::ZERO).as_secs_f64();
            // Evidence is carried from step to step: each gives a part of what it takes.
            let parts: f64 = steps.iter().map(|step| observed(step) / takes(step)).sum();
            let all: f64 = steps.iter().map(observed).sum();
            let most = steps.iter().map(|step| step.weight).max()?;
            let longest = traffic.seconds_to_fail(f64::from(most.percent()) / 100.0, TIMES, margins, bursts);
            Some((parts, name, traffic, all, longest))
        });
        let (parts, name, traffic, all, longest) = found.max_by(|(one, ..), (other, ..)| one.total_cmp(other))?;
        (parts < 1.0).then(|| words(name, traffic, all, longest))
    }

    /// What is known of stable's past, by metric: of a release what was measured with it, and at rest what was asked for then.
    fn pasts(&self) -> Option<Vec<(&str, Past)>> {
        if self.status.flight.is_none() {
            let pasts = self.seen.pasts.as_ref()?;
            return Some(pasts.iter().map(|(name, past)| (name.as_str(), *past)).collect());
        }
        let Measured::Read { metrics, .. } = &self.seen.measured else { return None };
        let pasts: Vec<_> = metrics.iter().filter_map(|(name, seen)| Some((name.as_str(), seen.past?))).collect();
        (!pasts.is_empty()).then_some(pasts)
    }
}

fn words(name: &str, traffic: Traffic, all: f64, longest: f64) -> String {
    let takes = if longest.is_finite() && longest < 1e6 {
        format!("takes about {}", length(longest))
    } else {
        "takes longer than a week".to_owned()
    };
    format!(
        "{name}: with {:.1} requests a second of which {} go wrong, a tenfold error rate {takes} to be proven at the greatest \
         weight, and all steps together are observed for {}: observe longer, give more weight, send requests of your own, \
         or set a limit",
        traffic.rate,
        percent(traffic.bad),
        length(all)
    )
}
