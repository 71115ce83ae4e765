//! The candidate's pods: whether there are enough of them, what they carry, and when nothing is hoped of them any more.
use super::{
    Deployment, Pod, ReplicaSet,
    capacity::{carried_by, pods_for, starting_at_once},
    turn::{Holds, LATER, SOON, Stop, Turn, Wait},
};
use crate::{
    api::{OnStuck, Phase, Progress, Reason, StepStatus},
    vocab::Weight,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// So many ends of a candidate's containers by themselves are one too many: a single one may be the node's fault.
const CRASHES: i32 = 2;

/// So many times the deadline has to pass until it is forgotten that all pods were lost under everything.
const UNTIL_FORGIVEN: i32 = 6;

/// Whether as many pods are ready as the step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enough {
    /// They are.
    Yes,
    /// Some are missing.
    No,
}

impl<'a> Turn<'a> {
    /// The candidate has the pods it needs, ready; the weight never asks more than they carry.
    pub fn enough_pods(
        &mut self,
        deployment: &Deployment,
        stable: &ReplicaSet,
        candidate: &ReplicaSet,
        want: i32,
    ) -> Holds {
        let ready = self.ready(candidate);
        self.grown(deployment, candidate, ready, want)?;
        if ready >= want {
            return Ok(());
        }
        self.relieved(deployment, stable, ready)?;
        let mut message = format!("{ready} of {want} candidate pods are ready");
        if candidate.replicas < want && self.room(candidate, deployment) <= candidate.replicas {
            message.push_str(", and spec.capacity.maxPods leaves no room for more");
            let ends = |set: &ReplicaSet| set.uid != candidate.uid && set.status_replicas > set.replicas;
            if ready >= candidate.replicas && !self.seen.replica_sets.iter().any(ends) {
                // All that it may have are well: that is not held against it.
                self.no_lack();
                let object = format!("Deployment/{}", deployment.name);
                return Err(self.wait(Phase::Blocked, Reason::NoRoom, &object, message, LATER));
            }
        }
        self.falls_short(candidate, ready, &message, Phase::Progressing)
    }

    /// The most of stable's pods that were ready at once while this was on trial: so many it may need again.
    pub fn remember_stable(&mut self, stable: &ReplicaSet) -> Holds {
        let ready = self.ready(stable);
        let flight = self.flight()?;
        flight.stable_ready = flight.stable_ready.max(ready);
        Ok(())
    }

    /// Before the stable Service has moved: too few ready pods carry no more than they can, whatever else stands in the way. In
    /// a trade stable may have too few as well, so there only a candidate that answers nobody is relieved.
    pub fn relieved_before(&mut self, deployment: &Deployment, stable: &ReplicaSet) -> Holds {
        let Some(flight) = &self.status.flight else { return Ok(()) };
        let Some(candidate) = self.seen.ours().find(|set| set.name == flight.candidate) else { return Ok(()) };
        let ready = self.ready(candidate);
        let want = match (&flight.promotion, self.step()) {
            (Some(promotion), _) if promotion.moved || (promotion.trading && ready > 0) => return Ok(()),
            (Some(_), _) => deployment.replicas,
            (None, Ok(step)) => pods_for(step, deployment.replicas, self.pair().is_some()),
            (None, Err(_)) => return Ok(()),
        };
        if deployment.replicas == 0 || ready >= want { Ok(()) } else { self.relieved(deployment, stable, ready) }
    }

    /// The weight never asks more than these ready pods carry.
    fn relieved(&mut self, deployment: &Deployment, stable: &ReplicaSet, ready: i32) -> Holds {
        let carried = carried_by(ready, deployment.replicas);
        let home = self.seen.stable_service.as_ref().is_some_and(|service| service.hash() == Some(&stable.hash));
        if self.pair().is_some() && home && ready == 0 && self.carries_apart() {
            self.lowered(Weight::ZERO, Phase::Progressing)?;
        }
        // While stable has no pod that is ready, the candidate's few are more than nobody.
        let helpless = ready > 0 && self.seen.ready_pods(&stable.hash).is_empty();
        if self.pair().is_some() && home && !helpless && self.carried() > carried {
            // What was taken from it meanwhile stays away until its pods are there: else two looks would write by turns.
            let unwilling = self.lowered(carried.min(self.desired()), Phase::Progressing)?;
            // A share that cannot be had beside other backends is no reason to go on sending requests to nobody.
            let is_unfit = |why: &Wait| matches!(why.reason, Reason::RouteUnsteerable | Reason::WriteRefused);
            if unwilling.is_some_and(|it| matches!(it, Stop::Wait(_, why) if is_unfit(&why))) {
                self.lowered(Weight::ZERO, Phase::Progressing)?;
            }
        }
        Ok(())
    }

    /// The candidate is given its pods, as many at a time as may be starting and as there is room for.
    pub fn grown(&self, deployment: &Deployment, candidate: &ReplicaSet, ready: i32, want: i32) -> Holds {
        if candidate.replicas >= want {
            return Ok(());
        }
        let at_once = starting_at_once(self.spec().capacity.max_starting.as_ref(), deployment.replicas);
        let next = ready.saturating_add(at_once).min(want).min(self.room(candidate, deployment));
        self.scaled(candidate, next.max(candidate.replicas))
    }

    /// Too few of the candidate's pods are ready: why, for how long it may be so, and what is waited for.
    pub fn falls_short(&mut self, candidate: &ReplicaSet, ready: i32, message: &str, phase: Phase) -> Holds {
        self.asked_for(candidate.replicas);
        self.progressed(ready, Enough::No)?;
        // Nothing is seen of pods that are not there.
        self.flight()?.lit();
        let mut theirs = self.seen.pods.iter().filter(|pod| pod.hash == candidate.hash);
        let stuck = theirs.find_map(|pod| pod.stuck.as_ref()).or(candidate.refused.as_ref());
        let message = format!("{message}{}", stuck.map_or_else(String::new, |stuck| format!(": {}", stuck.text)));
        // One that is traded comes in turns, each of which has to be there for so long.
        let trades = self.promotion().is_some_and(|promotion| promotion.trading);
        let each =
            self.seen.deployment.as_ref().filter(|_| trades).map_or(0, |deployment| deployment.min_ready_seconds);
        self.stuck_beyond(SignedDuration::from_secs(i64::from(each)), &message)?;
        let reason = stuck.map_or(Reason::PodsNotReady, |stuck| stuck.cause);
        Err(self.wait(phase, reason, &format!("ReplicaSet/{}", candidate.name), message, SOON))
    }

    /// Stable's ready pods can take everything back; while they cannot, no step gets its weight for the first time. What had
    /// it and lost it gets it back: it is needed the more.
    pub fn can_take_back(&self, stable: &ReplicaSet) -> Holds {
        let was_seen =
            |step: &StepStatus| step.observed_at.is_some() || step.observed_seconds > 0 || step.full_at.is_some();
        let had = self.status.step.as_ref().is_some_and(was_seen);
        if had || !self.is_short(stable) {
            return Ok(());
        }
        let message = "too few of stable's pods are ready to take everything back, so the weight is not raised until they \
                       are; PromoteFull lets the candidate take over";
        Err(self.shrunk(stable, message, Phase::Waiting))
    }

    /// Remembers the most pods that were ever ready in this step, and for how long they have fallen short since.
    pub fn progressed(&mut self, ready: i32, enough: Enough) -> Holds {
        let now = self.seen.now;
        let deadline = self.spec().progress.deadline.signed();
        let was_bereft = self.was_bereft();
        let step = self.status.step.as_mut().ok_or(Stop::Again)?;
        let beaten = step.progress.as_ref().is_none_or(|mark| ready > mark.ready);
        let mark = step.progress.get_or_insert_with(|| Progress::of(ready));
        if beaten {
            *mark = Progress::of(ready);
        }
        match (enough, mark.short_since.take()) {
            (Enough::No, since) => {
                mark.short_since = Some(since.unwrap_or(Time(now)));
                mark.whole_since = None;
                // Time in which pods are missing is not watched, however soon they are back.
                step.observed_at = None;
            }
            (Enough::Yes, Some(since)) => {
                let seconds = u64::try_from(now.duration_since(since.0).as_secs()).unwrap_or(0);
                mark.short_seconds = mark.short_seconds.saturating_add(seconds);
                mark.whole_since = Some(Time(now));
            }
            // Pods that go one by one, as when nodes are upgraded, and come back each time, are no lack of progress. Those that all
            // go when they carry everything come back where they carry nothing, which is no proof of them for long.
            (Enough::Yes, None) => {
                let long = if was_bereft { deadline.saturating_mul(UNTIL_FORGIVEN) } else { deadline };
                let is_long = |since: &Time| now.duration_since(since.0) >= long;
                if mark.whole_since.as_ref().is_some_and(is_long) {
                    *mark = Progress::of(mark.ready);
                }
            }
        }
        Ok(())
    }

    /// Pods that were missing and are back have to stay for as long as they were missing in all before anything goes on: those
    /// that come and go would have requests each time that they are there. Where stable cannot take them, it does not wait.
    pub fn stays_whole(&mut self, deployment: &Deployment, stable: &ReplicaSet, candidate: &ReplicaSet) -> Holds {
        let mark = self.status.step.as_ref().and_then(|step| step.progress.as_ref());
        let Some((mark, since)) = mark.and_then(|mark| Some((mark, mark.whole_since.as_ref()?.0))) else {
            return Ok(());
        };
        // That ready pods are not available yet is no coming and going.
        let usual = u64::try_from(deployment.min_ready_seconds).unwrap_or(0);
        let missing = i64::try_from(mark.short_seconds.saturating_sub(usual)).unwrap_or(i64::MAX);
        let rule = &self.spec().progress;
        let wanted = SignedDuration::from_secs(missing).min(rule.deadline.signed());
        if self.ago(since) >= wanted || self.is_short(stable) {
            return Ok(());
        }
        let message = format!(
            "the candidate's pods are ready again after {missing} s without some of them; it goes on when they have been for {} s",
            wanted.as_secs()
        );
        if rule.on_stuck == OnStuck::Pause {
            self.stuck_beyond(SignedDuration::from_secs(i64::from(deployment.min_ready_seconds)), &message)?;
        }
        let object = format!("ReplicaSet/{}", candidate.name);
        Err(self.wait(Phase::Progressing, Reason::PodsNotReady, &object, message, SOON))
    }

    /// Where fewer pods are asked for than it once had, those that come again are progress.
    pub fn asked_for(&mut self, replicas: i32) {
        if let Some(mark) = self.status.step.as_mut().and_then(|step| step.progress.as_mut()) {
            mark.ready = mark.ready.min(replicas);
        }
    }

    /// Nothing is missing of what it may have.
    fn no_lack(&mut self) {
        if let Some(mark) = self.status.step.as_mut().and_then(|step| step.progress.as_mut()) {
            mark.short_since = None;
        }
    }

    /// Its pods have all the time that the spec gives them, from now on.
    pub fn progress_anew(&mut self) {
        if let Some(step) = &mut self.status.step {
            step.progress = None;
        }
    }

    /// Gives up when the high-water mark was not beaten and too few were ready for too long in all, and so much longer where
    /// those who make progress need it.
    pub fn stuck_beyond(&mut self, more: SignedDuration, message: &str) -> Holds {
        let Some(mark) = self.status.step.as_ref().and_then(|step| step.progress.as_ref()) else { return Ok(()) };
        let before = SignedDuration::from_secs(i64::try_from(mark.short_seconds).unwrap_or(i64::MAX));
        let short =
            mark.short_since.as_ref().map_or(SignedDuration::ZERO, |since| self.ago(since.0)).saturating_add(before);
        let rule = &self.spec().progress;
        if short < rule.deadline.signed().saturating_add(more) {
            return Ok(());
        }
        // In a deletion nobody can say Resume.
        let leaves = self.rollout().metadata.deletion_timestamp.is_some();
        match rule.on_stuck {
            OnStuck::Pause if leaves => Err(self.give_up(Reason::ProgressDeadlineExceeded, message, None)),
            OnStuck::Abort => {
                let message = format!("{message}, without progress for {}", rule.deadline);
                Err(self.give_up(Reason::ProgressDeadlineExceeded, &message, None))
            }
            OnStuck::Pause => {
                let message = format!(
                    "{message}, without progress for {}; onStuck says Pause, and Resume gives it that time again",
                    rule.deadline
                );
                Err(self.wait(Phase::Paused, Reason::ProgressDeadlineExceeded, "", message, SOON))
            }
        }
    }

    /// Where all requests go to a candidate of which no pod is ready, and any of stable's is, they go there. The candidate goes
    /// on from its step as soon as it can, and a person who approved of it is asked again.
    pub fn bereft(&mut self, deployment: &Deployment, stable: &'a ReplicaSet) -> Holds {
        let moved = self.promotion().is_some_and(|promotion| promotion.moved);
        let (Some(pair), Some(flight), true) = (self.pair(), &self.status.flight, moved && deployment.replicas > 0)
        else {
            return Ok(());
        };
        let candidate = self.seen.replica_set(&flight.candidate);
        if candidate.is_some_and(|candidate| self.ready(candidate) > 0) || self.ready(stable) == 0 {
            return Ok(());
        }
        let message = "none of the candidate's pods is ready, so all requests go back to stable";
        if self.status.decisions.last().is_none_or(|last| last.message != message) {
            self.note(Reason::StableRestored, message, None);
        }
        self.progressed(0, Enough::No)?;
        if let Some(step) = &mut self.status.step {
            step.approved = false;
            if !step.told.contains(&Reason::StableRestored) {
                step.told.push(Reason::StableRestored);
            }
        }
        self.service_back(stable, &pair, Phase::Promoting)
    }

    /// What takes over is another one: it has lost nothing yet.
    pub fn never_bereft(&mut self) {
        if let Some(step) = &mut self.status.step {
            step.told.retain(|reason| *reason != Reason::StableRestored);
        }
    }

    /// Whether all of the candidate's pods were lost once in this step when it carried everything.
    pub fn was_bereft(&self) -> bool {
        self.status.step.as_ref().is_some_and(|step| step.told.contains(&Reason::StableRestored))
    }

    /// Gives up a candidate whose containers end again and again.
    pub fn crashes(&mut self) -> Holds {
        let Some(hash) = self.status.canary.as_ref().map(|canary| canary.pod_template_hash.clone()) else {
            return Ok(());
        };
        let Some(began) = self.status.flight.as_ref().map(|flight| flight.started_at.0) else { return Ok(()) };
        // What a revision that is tried again did in its former life is not held against it.
        let lately = |pod: &&Pod| pod.started.is_none_or(|at| at >= began) || pod.ended.is_some_and(|at| at >= began);
        let worst = self.seen.pods.iter().filter(|pod| pod.hash == hash).filter(lately).max_by_key(|pod| pod.restarts);
        let Some(pod) = worst.filter(|pod| pod.restarts >= CRASHES) else { return Ok(()) };
        let why = pod.stuck.as_ref().map_or_else(String::new, |stuck| format!(" ({})", stuck.text));
        let message = format!("a container of pod {} ended {} times by itself{why}", pod.name, pod.restarts);
        Err(self.give_up(Reason::CandidateCrashing, &message, None))
    }
}
