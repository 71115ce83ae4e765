//! When a step may be left: its time is full, its verdicts are in, and whoever must agree has agreed.
use super::{
    Measured, ReplicaSet,
    turn::{Holds, SOON, Stop, Turn},
    verdict::Dark,
};
use crate::{
    api::{Phase, Promotion, Reason, Step, StepStatus, Then, ThenNoTraffic, ThenUnknown},
    duration::Duration,
    vocab::{Verdict, Weight},
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// Observed time is written this often at the most.
const TICK: SignedDuration = SignedDuration::from_secs(5);
/// So much of the time between two looks counts as watched at the most: what lies beyond it nobody saw.
const WATCHED: SignedDuration = SignedDuration::from_secs(10);

impl Turn<'_> {
    /// The step with this index begins.
    pub fn enter(&mut self, index: usize) -> Holds {
        let now = Time(self.seen.now);
        let flight = self.flight()?;
        // Each step waits in the dark for itself.
        flight.lit();
        // Who enters a step while it is paused wants what that asks for.
        flight.held = false;
        let hash = steps_hash(&flight.steps);
        let Some(step) = flight.steps.get(index) else { return Err(Stop::Again) };
        let (name, weight) = (step.name.clone(), step.weight);
        if let Some(weights) = &mut self.status.weights {
            weights.observed = None;
        }
        self.status.step = Some(StepStatus {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            name: name.clone(),
            hash,
            started_at: Some(now),
            ..StepStatus::default()
        });
        // What the former step waited for is over.
        self.status.phase = Phase::Progressing;
        self.status.waiting_for.clear();
        self.status.message = format!("step {name} begins");
        if index > 0 {
            self.note(Reason::StepEntered, format!("step {name} at {weight}"), None);
        }
        Ok(())
    }

    /// The step's state is there: its time runs while there is something to see, and then it is left.
    pub fn observe(&mut self, step: &Step, stable: &ReplicaSet) -> Holds {
        let dark = self.dark(step);
        self.count(dark.is_none() && self.ignored(step).is_none(), step.observe.unwrap_or(Duration::ZERO))?;
        if self.flight()?.paused {
            // Nobody is asked to act on it meanwhile, and whoever resumes is given the time again.
            self.flight()?.lit();
            return Err(self.paused(step));
        }
        let held = self.status.step.clone().ok_or(Stop::Again)?;
        if held.approved {
            let open = self.open(step);
            if self.is_judged_at(step) && !open.is_empty() {
                let message =
                    format!("step {} is left by Promote with nothing proven of {}", step.name, open.join(", "));
                self.note(Reason::Unproven, message, None);
            }
            return self.leave_step(stable);
        }
        self.heeded(step)?;
        // Who is asked once all was seen is not disturbed by a quiet night.
        let is_asked = step.approval.is_some() && held.full_at.is_some();
        match &dark {
            Some(dark) if is_asked && dark.reason == Reason::NoRequests => drop(self.flight()?.lit()),
            Some(dark) => self.in_the_dark(dark)?,
            None => {
                if self.flight()?.lit()
                    && let Some(step) = &mut self.status.step
                {
                    // The next time is another one.
                    step.told.retain(|reason| *reason != Reason::EvidenceOverdue);
                }
                self.time_is_full(step, &held)?;
            }
        }
        self.agreed(step)?;
        match dark {
            None => self.proven(step)?,
            Some(dark) => {
                let message = format!("step {} is left without a request to judge: {}", step.name, dark.message);
                self.note(Reason::Unjudged, message, None);
            }
        }
        self.leave_step(stable)
    }

    /// A person said that nothing goes on.
    pub fn paused(&self, step: &Step) -> Stop {
        let before = if self.status.flight.as_ref().is_some_and(|flight| flight.held) {
            " before it has its weight"
        } else {
            ""
        };
        let message = format!("paused at step {}{before}; Resume goes on", step.name);
        self.wait(Phase::Paused, Reason::PausedByRequest, "", message, SOON)
    }

    /// Adds the time since the last look, if there was something to see.
    fn count(&mut self, lit: bool, wanted: Duration) -> Holds {
        let now = self.seen.now;
        let step = self.status.step.as_mut().ok_or(Stop::Again)?;
        let Some(since) = step.observed_at.as_ref().map(|at| at.0) else {
            if lit {
                step.observed_at = Some(MicroTime(now));
            }
            return Ok(());
        };
        let passed = now.duration_since(since);
        let total = SignedDuration::from_secs(i64::try_from(step.observed_seconds).unwrap_or(i64::MAX));
        let full = total.saturating_add(passed) >= wanted.signed();
        if !lit {
            // What was seen until a look ago was seen; the look itself is what went dark.
            step.observed_at = None;
        } else if total >= wanted.signed() {
            // It is full: what follows is told by other things than this clock.
            step.observed_at = Some(MicroTime(since));
        } else if passed >= TICK || full {
            let seconds = passed.min(WATCHED).as_secs();
            step.observed_seconds = step.observed_seconds.saturating_add(u64::try_from(seconds).unwrap_or(0));
            let counted = since + SignedDuration::from_secs(seconds);
            step.observed_at = Some(MicroTime(if passed > WATCHED { now } else { counted }));
        }
        Ok(())
    }

    fn time_is_full(&mut self, step: &Step, held: &StepStatus) -> Holds {
        let wanted = step.observe.unwrap_or(Duration::ZERO);
        let observed = self.status.step.as_ref().map_or(0, |step| step.observed_seconds);
        if Duration::seconds(observed) < wanted {
            let message = format!("step {} at {}: watched for {observed}s of {wanted}", step.name, step.weight);
            return Err(self.wait(Phase::Progressing, Reason::Observing, "", message, SOON));
        }
        if held.full_at.is_none() {
            let now = MicroTime(self.seen.now);
            self.status.step.as_mut().ok_or(Stop::Again)?.full_at = Some(now);
        }
        Ok(())
    }

    /// There is nothing usable to see: wait, say so, alert in time; never a pass and never a failure by itself. Holds when
    /// the spec says to go on without a request after so long.
    fn in_the_dark(&mut self, dark: &Dark) -> Holds {
        let now = MicroTime(self.seen.now);
        let (analysis, is_quiet) = (&self.spec().analysis, dark.reason == Reason::NoRequests);
        let patience = analysis.on_unknown.after.signed();
        let (since, for_this) = self.flight()?.darkened(is_quiet, &now, patience);
        if is_quiet && analysis.when_no_traffic.then == ThenNoTraffic::AdvanceAfter {
            let after = analysis.when_no_traffic.after.unwrap_or_default();
            if self.ago(for_this.0) >= after.signed() {
                return Ok(());
            }
            let message = format!("{}; it goes on without after {after}", dark.message);
            return Err(self.wait(Phase::Waiting, dark.reason, &dark.object, message, SOON));
        }
        // What cannot be there yet is not missing.
        let has_waited = |since: jiff::Timestamp| self.ago(dark.due.map_or(since, |due| due.max(since))) >= patience;
        let is_over = has_waited(since.0);
        if is_over || dark.is_overdue {
            let time = if is_over { format!(", for {} and more", analysis.on_unknown.after) } else { String::new() };
            let message = format!("{}{time}", dark.message);
            // That nobody asks is said of people, and not of the candidate; so is a night in which nobody asked, whatever is
            // missing now.
            let may_abort = !is_quiet && (dark.is_overdue || has_waited(for_this.0));
            return Err(self.overdue(&dark.object, message, may_abort));
        }
        Err(self.wait(Phase::Waiting, dark.reason, &dark.object, dark.message.clone(), SOON))
    }

    /// What becomes of a release that could not be judged for too long, where the candidate may be given up for it.
    fn overdue(&mut self, object: &str, message: String, may_abort: bool) -> Stop {
        if may_abort && self.spec().analysis.on_unknown.then == ThenUnknown::Abort {
            return self.give_up(Reason::EvidenceMissing, &message, None);
        }
        self.wait(Phase::Blocked, Reason::EvidenceOverdue, object, message, SOON)
    }

    fn agreed(&self, step: &Step) -> Holds {
        if step.approval.is_none() {
            return Ok(());
        }
        let open = if self.is_judged_at(step) { self.open(step) } else { Vec::new() };
        let unproven =
            if open.is_empty() { String::new() } else { format!("; nothing is proven yet of {}", open.join(", ")) };
        let message = format!("step {} waits for Promote{unproven}", step.name);
        Err(self.wait(Phase::AwaitingApproval, Reason::ApprovalRequired, "", message, SOON))
    }

    /// What is compared has passed, or the weight is still small enough to explore, or the spec says to go on unproven.
    fn proven(&mut self, step: &Step) -> Holds {
        if !self.is_judged_at(step) || self.all_pass(step) {
            return Ok(());
        }
        if let Some(under_way) = self.under_way(step) {
            // It has a deadline of its own.
            return Err(self.wait(Phase::Progressing, Reason::Observing, "", under_way, SOON));
        }
        let analysis = &self.spec().analysis;
        let (inconclusive, patience) = (analysis.on_inconclusive.clone(), analysis.on_unknown.after);
        let (explored, source) = (analysis.explore_up_to, analysis.source());
        let full_at = self.status.step.as_ref().and_then(|step| step.full_at.as_ref()).map_or(self.seen.now, |at| at.0);
        // Evidence that began anew since is given the same time again.
        let began = self.status.flight.as_ref().and_then(|flight| flight.evidence_since.as_ref());
        let full_at = began.map_or(full_at, |began| full_at.max(began.0));
        let unknown = self.named(Verdict::Unknown, step).join(", ");
        if !unknown.is_empty() {
            let message = format!("not judged yet: {unknown}");
            if self.ago(full_at) < patience.signed() {
                return Err(self.wait(Phase::Waiting, Reason::NoEvidence, "", message, SOON));
            }
            let message = format!("{message}, for {patience} and more since step {}'s time was full", step.name);
            return Err(self.overdue(&source, message, true));
        }
        if self.next_weight()? <= explored {
            return Ok(());
        }
        let open = self.open(step).join(", ");
        // What was measured before may have been proven since: an outage of the API server ends no wait for evidence.
        let at = if let Measured::Read { at, .. } = &self.seen.measured { *at } else { full_at };
        let is_over = at.duration_since(full_at) >= inconclusive.after.signed();
        if is_over && inconclusive.then == Then::Advance {
            self.note(Reason::Unproven, format!("step {} is left with nothing proven of {open}", step.name), None);
            return Ok(());
        }
        let message = format!("step {}: nothing is proven yet of {open}", step.name);
        if is_over {
            let message =
                format!("{message}, for {} and more since its time was full; Promote goes on", inconclusive.after);
            return Err(self.wait(Phase::Waiting, Reason::Inconclusive, "", message, SOON));
        }
        Err(self.wait(Phase::Progressing, Reason::Inconclusive, "", message, SOON))
    }

    fn next_weight(&self) -> Result<Weight, Stop> {
        let flight = self.status.flight.as_ref().ok_or(Stop::Again)?;
        let index = self.status.step.as_ref().map_or(0, |step| step.index);
        let next = usize::try_from(index).unwrap_or(usize::MAX).saturating_add(1);
        Ok(flight.steps.get(next).map_or(Weight::FULL, |step| step.weight))
    }

    fn leave_step(&mut self, stable: &ReplicaSet) -> Holds {
        let next = usize::try_from(self.status.step.as_ref().map_or(0, |step| step.index))
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        if next < self.flight()?.steps.len() {
            self.enter(next)?;
        } else {
            self.start_promotion(stable)?;
        }
        Err(Stop::Again)
    }

    /// All steps are passed, or somebody said so.
    pub fn start_promotion(&mut self, stable: &ReplicaSet) -> Holds {
        self.takes_over(stable, "the candidate takes over")
    }

    /// The candidate's steps are over, for this reason; what its promotion has done already stays done.
    pub fn takes_over(&mut self, stable: &ReplicaSet, why: &str) -> Holds {
        let begun = Promotion::begun(Time(self.seen.now), &stable.name);
        let flight = self.flight()?;
        (flight.paused, flight.held) = (false, false);
        flight.lit();
        flight.promotion.get_or_insert(begun);
        let candidate = flight.candidate.clone();
        let has = self.seen.replica_set(&candidate).map_or(0, |set| set.replicas);
        let more = self.seen.deployment.as_ref().is_some_and(|deployment| has < deployment.replicas);
        if more && !self.was_bereft() {
            // More pods are another matter than those that came and went.
            self.progress_anew();
        }
        self.note(Reason::Promoting, why, None);
        Ok(())
    }
}

/// A name for a list of steps, so that an edit is seen.
pub(super) fn steps_hash(steps: &[Step]) -> String {
    super::revision_of(&serde_json::json!(steps), |_| false)
}
