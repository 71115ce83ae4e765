//! Whether the steps are long enough for what there is of traffic: said to people, never decided by.
use super::{Measured, turn::Turn};
use crate::{
    api::{Step, Then},
    duration::Duration,
    judge::{length, percent},
    metrics::{Bursts, Metric, Past, Traffic},
    vocab::Weight,
};

/// The condition's name.
pub const UNDERPOWERED: &str = "Underpowered";
/// An error rate so many times stable's is what steps should find at least, or twice what is tolerated where that is more.
const TIMES: f64 = 10.0;
/// The greatest weight that is said to help: with more there is little of stable to compare with.
const MOST: u8 = 50;

impl Turn<'_> {
    /// Why a bad release may well go through all steps before it is found, or why a good one is not proven to be good in
    /// them, and what would help; nothing when the steps are long enough, or when it is not known. Of a release its own steps
    /// count, and at rest those of the spec.
    pub fn underpowered(&self) -> Option<String> {
        let spec = self.spec();
        let steps = match &self.status.flight {
            Some(flight) => &flight.steps,
            None if spec.is_judged() && spec.analysis.metrics.iter().any(Metric::has_past) => &spec.steps,
            None => return None,
        };
        let Some(known) = self.pasts() else {
            // Nothing new is known.
            return self.status.conditions.iter().find(|it| it.type_ == UNDERPOWERED).map(|it| it.message.clone());
        };
        let words = [self.missed(steps, &known), self.unproven(steps, &known)];
        let words: Vec<_> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// How errors come, as far as the spec or the past tells.
    fn bursts(&self, past: &Past) -> Bursts {
        self.spec().analysis.margins.and_then(|own| own.bursts).map_or(past.bursts, Bursts::Known)
    }

    /// That a bad release may go through all steps.
    fn missed(&self, steps: &[Step], known: &[(&str, Past)]) -> Option<String> {
        // The metric that finds it first is enough.
        let found = known.iter().filter_map(|(name, past)| {
            let (metric, traffic) = (self.metric(name)?, past.traffic?);
            let (margins, bursts) = (self.spec().analysis.margins_of(metric), self.bursts(past));
            let times = TIMES.max(2.0 * margins.tolerated);
            // Whatever would find it counts: the comparison, the ceiling, the limit.
            let takes = |weight: u8| {
                let share = f64::from(weight) / 100.0;
                let limited = metric.seconds_to_break(traffic, share, times).unwrap_or(f64::INFINITY);
                let compared = traffic.seconds_to_fail(share, times, margins, bursts);
                compared.min(traffic.seconds_to_exceed(share, times, margins, bursts)).min(limited)
            };
            let (parts, all) = (parts(steps, takes), observed(steps));
            let most = greatest(steps)?;
            let weight = (most.saturating_add(1)..=MOST).find(|weight| takes(*weight) <= all);
            Some(Found { parts, name, traffic, times, all, longest: takes(most), weight })
        });
        let best = found.max_by(|one, other| one.parts.total_cmp(&other.parts))?;
        (best.parts < 1.0).then(|| best.words())
    }

    /// That nothing is proven of a good release when `onInconclusive` has its say, at the first step that cannot be left
    /// before something is.
    fn unproven(&self, steps: &[Step], known: &[(&str, Past)]) -> Option<String> {
        let analysis = &self.spec().analysis;
        let next = |at: usize| steps.get(at + 1).map_or(Weight::FULL, |step| step.weight);
        let gate = (0..steps.len()).find(|at| steps[*at].weight.percent() > 0 && next(*at) > analysis.explore_up_to)?;
        let (until, step) = (&steps[..=gate], &steps[gate]);
        // Every comparison has to pass.
        let slow = known.iter().filter_map(|(name, past)| {
            let (metric, traffic) = (self.metric(name)?, past.traffic?);
            let (margins, bursts) = (analysis.margins_of(metric), self.bursts(past));
            let takes = |weight: u8| traffic.seconds_to_pass(f64::from(weight) / 100.0, margins, bursts);
            let longest = takes(step.weight.percent());
            let parts = parts(until, takes) + analysis.on_inconclusive.after.as_secs_f64() / longest;
            metric.compares().then_some((parts, *name, longest))
        });
        let (parts, name, longest) = slow.min_by(|one, other| one.0.total_cmp(&other.0))?;
        let then = match analysis.on_inconclusive.then {
            Then::Wait => "is still waiting",
            Then::Advance => "goes on unproven",
        };
        (parts < 1.0).then(|| {
            format!(
                "{name}: that a release is as good as stable {} to be proven at {} %, so it {then} {} after step {} was \
                 observed: observe the steps until there longer, give them more weight, or be content with less \
                 (a greater analysis.margins.excluded)",
                takes_about(longest),
                step.weight.percent(),
                analysis.on_inconclusive.after,
                step.name
            )
        })
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

/// For how many seconds all steps are observed.
fn observed(steps: &[Step]) -> f64 {
    steps.iter().map(seconds_of).sum()
}

fn seconds_of(step: &Step) -> f64 {
    step.observe.unwrap_or(Duration::ZERO).as_secs_f64()
}

/// What all steps give together of what it takes at their weights: evidence is carried from step to step.
fn parts(steps: &[Step], takes: impl Fn(u8) -> f64) -> f64 {
    steps.iter().map(|step| seconds_of(step) / takes(step.weight.percent())).sum()
}

fn greatest(steps: &[Step]) -> Option<u8> {
    steps.iter().map(|step| step.weight.percent()).max()
}

fn takes_about(seconds: f64) -> String {
    if seconds < 1e6 { format!("takes about {}", length(seconds)) } else { "takes longer than a week".to_owned() }
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
        let takes = takes_about(*longest);
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
