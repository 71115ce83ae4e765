//! What the last measurement says: a failure is acted on at once, and no evidence is neither healthy nor sick.
use super::{
    check::Complaint,
    observed::Measured,
    turn::{Holds, SOON, Stop, Turn},
};
use crate::{
    api::{MetricStatus, Phase, Reason, Step, WhenIgnored},
    judge::{
        Margins,
        compare::one_in,
        percent,
        together::{Said, Together},
    },
    metrics::{Arrived, Metric, Seen},
    vocab::{Verdict, Weight},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::collections::BTreeSet;

/// Numbers older than this are not the present; it is longer than a provider's time-out and some looks.
const STALE: SignedDuration = SignedDuration::from_secs(45);

/// So many of a hundred of the candidate's ready pods have to be scraped: what few of them say is nothing about the others.
const ENOUGH: i64 = 80;

/// Why there is nothing usable to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dark {
    /// Why.
    pub reason: Reason,
    /// What does not answer.
    pub object: String,
    /// In plain words.
    pub message: String,
    /// When there should have been something at the latest, if that is known.
    pub due: Option<Timestamp>,
    /// Whether a metric has waited longer than it wants.
    pub is_overdue: bool,
}

impl Turn<'_> {
    /// Writes what was measured, and gives the candidate up if anything failed: in any step, and in a promotion for as long
    /// as its Services tell the two revisions apart.
    pub fn judge(&mut self) -> Holds {
        let moved = self.flight()?.promotion.as_ref().is_some_and(|promotion| promotion.moved);
        let seen = self.seen;
        let Measured::Read { metrics, .. } = &seen.measured else { return Ok(()) };
        if !self.spec().is_judged() || moved {
            return Ok(());
        }
        self.status.metrics = metrics
            .iter()
            .map(|(name, seen)| MetricStatus {
                name: name.clone(),
                dry_run: self.is_shown_only(name),
                verdict: seen.verdict,
                canary: seen.canary.clone(),
                stable: seen.stable.clone(),
                samples: seen.samples,
                evidence: seen.evidence.map(in_words),
                range: seen.range.clone(),
                why: seen.why.chars().take(500).collect(),
            })
            .collect();
        if let Some(weights) = &mut self.status.weights {
            weights.observed = arrived(metrics.iter()).map(|arrived| arrived.to_string());
        }
        let step = self.status.step.as_ref().map(|step| step.name.clone());
        let counts = |name: &String| step.as_ref().map_or(!self.is_shown_only(name), |step| self.counts_in(name, step));
        let analysis = &self.spec().analysis;
        let said = metrics.iter().filter(|(name, _)| counts(name)).filter_map(|(name, seen)| {
            Some(Said { name, part: analysis.part_of(self.metric(name)?), ln: seen.evidence_now? })
        });
        let (together, margins) = (Together::of(said), analysis.margins());
        let failed = metrics.iter().find(|(name, seen)| seen.verdict == Verdict::Fail && counts(name));
        let worse = failed.map(|(name, failed)| worse_alone(name, &failed.why, &together, margins.alpha));
        if let Some(worse) = worse.or_else(|| worse_together(metrics, &together, &margins)) {
            return Err(self.give_up(Reason::AnalysisFailed, &worse, None));
        }
        let history = self.not_only_shown(metrics).filter_map(|(_, seen)| seen.history_from).max();
        let since = self.flight()?.evidence_since.as_ref().map(|since| since.0);
        if let Some(history) = history.filter(|history| since.is_some_and(|since| *history > since)) {
            let flight = self.flight()?;
            let before = flight.evidence_since.replace(MicroTime(history));
            flight.settled_since = flight.settled_since.take().or(before);
            flight.blind_since = None;
            let message = "the provider's history begins later than the evidence, or that is a day old: it begins anew; the time observed stays";
            self.note(Reason::EvidenceRestarted, message, None);
            return Err(Stop::Again);
        }
        Ok(())
    }

    /// Everything that is to be measured can be: what cannot is complained of, and until it is mended nothing goes on.
    pub fn intelligible(&self) -> Holds {
        let why = match &self.seen.measured {
            // What only is shown says so where it is shown.
            Measured::Read { metrics, .. } => {
                self.not_only_shown(metrics).find_map(|(_, seen)| seen.invalid.as_deref())
            }
            Measured::NotYet | Measured::NoProvider(_) => None,
        };
        let Some(why) = why.filter(|_| self.spec().is_judged()) else { return Ok(()) };
        Err(self.wait(Phase::Blocked, Reason::InvalidSpec, "Rollout", complaint(why), SOON))
    }

    /// Whether this step has something to judge.
    pub fn is_judged_at(&self, step: &Step) -> bool {
        !self.judged_at(step).is_empty()
    }

    /// The metrics that this step has something to judge by: of those that count in it, those that bring their own requests,
    /// and the others where the canary gets some.
    fn judged_at(&self, step: &Step) -> Vec<&Metric> {
        if !self.spec().is_judged() {
            return Vec::new();
        }
        let metrics = self.spec().analysis.metrics.iter().filter(|metric| self.spec().counts_in(metric, &step.name));
        let (own, others): (Vec<_>, Vec<_>) = metrics.partition(|metric| metric.needs_no_requests());
        // Copies of requests are seen at the pods alone: a gateway counts the answers that it gives.
        let at_pods = || others.iter().all(|metric| metric.is_of_pods());
        let served = step.weight > Weight::ZERO || !step.matches.is_empty() || (step.mirror.is_some() && at_pods());
        if served { [own, others].concat() } else { own }
    }

    /// Why there is nothing usable to see, if there is nothing.
    pub fn dark(&self, step: &Step) -> Option<Dark> {
        if !self.is_judged_at(step) {
            return None;
        }
        let object = self.spec().analysis.source();
        let decides = self.decides(step);
        let dark = |reason, message: String| {
            Some(Dark { reason, object: object.clone(), message, due: None, is_overdue: false })
        };
        match &self.seen.measured {
            Measured::NotYet => dark(Reason::NoEvidence, "nothing has been measured yet".to_owned()),
            Measured::NoProvider(message) => dark(Reason::ProviderMissing, message.clone()),
            Measured::Read { at, .. } if self.ago(*at) > STALE => {
                dark(Reason::NoEvidence, "the provider has not answered lately".to_owned())
            }
            Measured::Read { metrics, .. } => {
                let mut unusable = metrics.iter().filter(|(name, seen)| !seen.usable && decides(name));
                let too_many = |name: &str, seen: &Seen| seen.unanswered.too_many(self.metric(name)?);
                let overdue = unusable.clone().find_map(|(name, seen)| Some((name, seen, too_many(name, seen)?)));
                if let Some((name, seen, row)) = overdue {
                    let message = format!("{name}: {}, {row} intervals in a row", seen.why);
                    return Some(Dark { reason: Reason::NoEvidence, object, message, due: None, is_overdue: true });
                }
                let is_measured = |name: &String| metrics.iter().any(|(known, _)| known == name);
                if let Some(name) = self.decisive(step).into_iter().find(|name| !is_measured(name)) {
                    // It came into the spec, or became another question, while this was on trial.
                    let due = self.due(&name);
                    return Some(Dark { due, ..dark(Reason::NoEvidence, format!("{name}: not measured yet"))? });
                }
                let due = unusable.clone().filter_map(|(name, _)| self.due(name)).min();
                if let Some((name, seen)) = unusable.next() {
                    let reason = if seen.no_requests { Reason::NoRequests } else { Reason::NoEvidence };
                    return Some(Dark { due, ..dark(reason, format!("{name}: {}", seen.why))? });
                }
                let ready = self.status.canary.as_ref().map_or(0, |arm| i64::from(arm.ready));
                let few = |(name, seen): &(String, Seen)| {
                    let due = seen.scraped_at_most.map_or(ready, |most| ready.min(i64::from(most)));
                    let is_few = |scraped: &u32| i64::from(*scraped) * 100 < due * ENOUGH;
                    let scraped = seen.scraped.filter(|scraped| is_few(scraped) && decides(name))?;
                    Some(format!("{name}: of the candidate's {ready} ready pods {scraped} were scraped of late"))
                };
                dark(Reason::NoEvidence, metrics.iter().find_map(few)?)
            }
        }
    }

    /// Where requests arrived, if that belies what the routes say of this step.
    pub fn ignored(&self, step: &Step) -> Option<Arrived> {
        let apart = !step.matches.is_empty() || step.mirror.is_some();
        if apart || self.spec().analysis.when_ignored == WhenIgnored::Continue || !self.shares_requests() {
            return None;
        }
        let Measured::Read { metrics, .. } = &self.seen.measured else { return None };
        arrived(self.not_only_shown(metrics)).filter(|arrived| arrived.belies(step.weight))
    }

    /// When a metric's first interval is over, which begins with everybody's evidence or later.
    fn due(&self, name: &str) -> Option<Timestamp> {
        let since = self.status.flight.as_ref()?.evidence_since.as_ref()?.0;
        let metric = self.metric(name)?;
        let delay = metric.initial_delay.signed();
        since.checked_add(delay).ok()?.checked_add(metric.interval.signed()).ok()
    }

    /// The data plane does what the routes say.
    pub fn heeded(&self, step: &Step) -> Holds {
        let Some(arrived) = self.ignored(step) else { return Ok(()) };
        let message = format!(
            "asked {}, seen {arrived}: the routes say so and the data plane does something else. See whether requests pass \
             these routes at all: a sidecar that is missing, a route that wins over this one, clients that call the Service \
             itself. analysis.whenIgnored: Continue goes on all the same",
            step.weight
        );
        let route = self.seen.routes.first().map(|route| route.reference.to_string()).unwrap_or_default();
        Err(self.wait(Phase::Blocked, Reason::WeightIgnored, &route, message, SOON))
    }

    /// The metric of this name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.spec().analysis.metrics.iter().find(|metric| metric.name == name)
    }

    /// Whether a metric is shown and decides nothing: because it says so, or because the spec names it no longer.
    fn is_shown_only(&self, name: &str) -> bool {
        self.metric(name).is_none_or(|metric| metric.dry_run)
    }

    /// What was measured and may decide something.
    fn not_only_shown<'m>(&self, metrics: &'m [(String, Seen)]) -> impl Iterator<Item = &'m (String, Seen)> {
        metrics.iter().filter(|(name, _)| !self.is_shown_only(name))
    }

    /// Whether a metric decides in the step of this name.
    fn counts_in(&self, name: &str, step: &str) -> bool {
        self.metric(name).is_some_and(|metric| !metric.dry_run && self.spec().counts_in(metric, step))
    }

    /// Whether every metric has passed that decides something in this step.
    pub fn all_pass(&self, step: &Step) -> bool {
        !self.status.metrics.is_empty() && self.open(step).is_empty()
    }

    /// The metrics that decide something in this step and have not passed, or not been measured yet.
    pub fn open(&self, step: &Step) -> Vec<String> {
        let has_passed = |name: &String| {
            self.status.metrics.iter().any(|metric| metric.name == *name && metric.verdict == Verdict::Pass)
        };
        self.decisive(step).into_iter().filter(|name| !has_passed(name)).collect()
    }

    /// The metrics with this verdict that decide something in this step.
    pub fn named(&self, verdict: Verdict, step: &Step) -> Vec<String> {
        self.deciding(step).filter(|metric| metric.verdict == verdict).map(|metric| metric.name.clone()).collect()
    }

    /// What is under way for a metric that decides in this step, and has said nothing yet or decides in no step after it.
    pub fn under_way(&self, step: &Step) -> Option<String> {
        let Measured::Read { metrics, .. } = &self.seen.measured else { return None };
        let index = usize::try_from(self.status.step.as_ref()?.index).ok()?;
        let later = self.status.flight.as_ref()?.steps.get(index.saturating_add(1)..).unwrap_or_default();
        let decides = self.decides(step);
        let is_awaited = |(name, seen): &&(String, Seen)| {
            let is_last = || !later.iter().any(|step| self.counts_in(name, &step.name));
            seen.under_way && decides(name) && (seen.verdict == Verdict::Unknown || is_last())
        };
        metrics.iter().find(is_awaited).map(|(name, seen)| format!("{name}: {}", seen.why))
    }

    fn deciding(&self, step: &Step) -> impl Iterator<Item = &MetricStatus> {
        let decides = self.decides(step);
        self.status.metrics.iter().filter(move |metric| decides(&metric.name))
    }

    /// Which names are those of metrics that decide something in this step.
    fn decides(&self, step: &Step) -> impl Fn(&str) -> bool {
        let decisive = self.decisive(step);
        move |name| decisive.contains(name)
    }

    /// The names of the metrics that decide something in this step.
    fn decisive(&self, step: &Step) -> BTreeSet<String> {
        let judged = self.judged_at(step).into_iter().filter(|metric| !metric.dry_run);
        judged.map(|metric| metric.name.clone()).collect()
    }
}

/// Where requests arrived, as the first metric says that counts them all.
fn arrived<'a>(mut metrics: impl Iterator<Item = &'a (String, Seen)>) -> Option<Arrived> {
    metrics.find_map(|(_, seen)| seen.arrived)
}

fn names<'a>(said: &[Said<'a>]) -> Vec<&'a str> {
    said.iter().map(|said| said.name).collect()
}

/// One metric has failed, and so may have others with it.
fn worse_alone(name: &str, why: &str, together: &Together, alpha: f64) -> String {
    let others: Vec<_> = names(together.guilty(alpha)).into_iter().filter(|other| *other != name).collect();
    let others = if others.is_empty() { String::new() } else { format!("; also worse: {}", others.join(", ")) };
    format!("{name}: {why}{others}")
}

/// No metric has failed, and all together say that the candidate is worse; with what the strongest of them saw.
fn worse_together(metrics: &[(String, Seen)], together: &Together, margins: &Margins) -> Option<String> {
    let (enough, ln) = together.enough(margins.alpha)?;
    let worse = match names(enough).as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} and {last} together", others.join(", ")),
        alone => alone.concat(),
    };
    let guilty = match names(together.guilty(margins.alpha)).as_slice() {
        [] => "which of them is to blame is not proven".to_owned(),
        guilty => format!("to blame: {}", guilty.join(", ")),
    };
    let one_in = one_in(ln);
    let strongest = enough.first().and_then(|said| metrics.iter().find(|(name, _)| name == said.name));
    let most = strongest.map_or_else(String::new, |(name, seen)| format!("; above all {name}: {}", seen.why));
    let beyond = margins
        .ceiling
        .map_or_else(String::new, |ceiling| format!(", or more than the ceiling of {} goes wrong", percent(ceiling)));
    Some(format!("{worse}: worse than stable{beyond}; chance of a false alarm below 1 in {one_in}; {guilty}{most}"))
}

/// What is wrong with the metrics of the spec, said by those who tried to ask.
fn complaint(why: &str) -> String {
    Complaint::new("spec.analysis.metrics", why).to_string()
}

/// Evidence as people read it: of so many healthy candidates one would look this bad.
fn in_words(ln_m: f64) -> String {
    let one_in = ln_m.exp();
    if !one_in.is_finite() || one_in >= 1e9 {
        return "less than 1 in 1000000000".to_owned();
    }
    if one_in < 2.0 {
        return "none".to_owned();
    }
    format!("1 in {one_in:.0}")
}
