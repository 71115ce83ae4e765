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
/// An error rate so many times stable's is what steps should find at least, or twice what is tolerated where that is more.
const TIMES: f64 = 10.0;
/// The greatest weight that is said to help: with more there is little of stable to compare with.
const MOST: u8 = 50;

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
            let metric = self.metric(name)?;
            let margins = analysis.margins_of(metric);
            let bursts = own.unwrap_or(bursts);
            let traffic = traffic?;
            let times = TIMES.max(2.0 * margins.tolerated);
            // Whatever would find it counts: the comparison, the ceiling, the limit.
            let takes = |weight: u8| {
                let share = f64::from(weight) / 100.0;
                let limited = metric.seconds_to_break(traffic, share, times).unwrap_or(f64::INFINITY);
                let compared = traffic.seconds_to_fail(share, times, margins, bursts);
                compared.min(traffic.seconds_to_exceed(share, times, margins, bursts)).min(limited)
            };
            let observed = |step: &Step| step.observe.unwrap_or(Duration::ZERO).as_secs_f64();
            // Evidence is carried from step to step: each gives a part of what it takes.
            let parts: f64 = steps.iter().map(|step| observed(step) / takes(step.weight.percent())).sum();
            let all: f64 = steps.iter().map(observed).sum();
            let most = steps.iter().map(|step| step.weight.percent()).max()?;
            let weight = (most.saturating_add(1)..=MOST).find(|weight| takes(*weight) <= all);
            Some(Found { parts, name, traffic, times, all, longest: takes(most), weight })
        });
        let best = found.max_by(|one, other| one.parts.total_cmp(&other.parts))?;
        (best.parts < 1.0).then(|| best.words())
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

/// How soon one metric finds a bad release.
struct Found<'a> {
    /// What all steps give together of what it takes.
    parts: f64,
    name: &'a str,
    traffic: Traffic,
    /// So many times stable's errors are found.
    times: f64,
    /// For how many seconds all steps are observed.
    all: f64,
    /// Seconds that it takes at the greatest weight.
    longest: f64,
    /// The least weight at which it takes no longer than all steps.
    weight: Option<u8>,
}

impl Found<'_> {
    fn words(&self) -> String {
        let Self { parts, name, traffic, times, all, longest, weight } = self;
        let fold = if *times > TIMES {
            format!("an error rate {times:.0} times stable's")
        } else {
            "a tenfold error rate".to_owned()
        };
        let takes = if *longest < 1e6 {
            format!("takes about {}", length(*longest))
        } else {
            "takes longer than a week".to_owned()
        };
        let whole = Some(all / parts).filter(|whole| *whole < 1e6);
        let longer = whole.map_or_else(|| "longer".to_owned(), |whole| format!("for about {}", length(whole)));
        let heavier =
            weight.map_or_else(|| "give more weight".to_owned(), |weight| format!("give {weight} % for as long"));
        // Evidence grows with the requests.
        let rate = Some(traffic.rate / parts).filter(|rate| *rate < 1e6);
        let busier = rate.map_or_else(String::new, |rate| format!(", up to about {rate:.0} a second"));
        format!(
            "{name}: with {:.1} requests a second of which {} go wrong, {fold} {takes} to be proven at the greatest weight, and \
             all steps together are observed for {}: observe them {longer}, {heavier}, send requests of your own{busier}, or \
             set a limit that it breaks, which takes intervals with 20 requests of the candidate",
            traffic.rate,
            percent(traffic.bad),
            length(*all)
        )
    }
}
