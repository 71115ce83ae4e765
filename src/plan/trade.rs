//! A promotion with fewer pods than twice the Deployment's: stable's pods are traded for the candidate's, some at a time, and
//! back where the candidate is given up meanwhile.
//!
//! While both change, stable is out of the Deployment's control, for that would keep it whole. Between them they have what
//! all requests need at any moment: a pod of one ends only when as many of the other are ready and carry its requests.
use super::{
    Deployment, ReplicaSet,
    capacity::{carried_by, most_pods, pods_for},
    flight::EVERYTHING,
    turn::{Holds, LATER, SOON, Stop, Turn},
};
use crate::{
    api::{Phase, Reason},
    vocab::Weight,
};

impl<'a> Turn<'a> {
    /// The steps fit into what there may be of pods, beside a whole stable.
    pub fn fits(&self, deployment: &Deployment) -> Holds {
        let Some(most) = self.most_pods(deployment) else { return Ok(()) };
        let room = most.saturating_sub(deployment.replicas);
        let routed = self.pair().is_some();
        let needs = |step| pods_for(step, deployment.replicas, routed);
        let Some(step) = self.spec().steps.iter().find(|step| needs(step) > room) else { return Ok(()) };
        let message = format!(
            "spec.capacity.maxPods leaves room for {room} beside the Deployment's {}, and step {} needs {} of the candidate: \
             raise it, or let the step ask for less",
            deployment.replicas,
            step.name,
            needs(step)
        );
        Err(self.wait(Phase::Blocked, Reason::NoRoom, &format!("Deployment/{}", deployment.name), message, LATER))
    }

    /// So many pods of this ReplicaSet there is room for beside those of the others.
    pub fn room(&self, set: &ReplicaSet, deployment: &Deployment) -> i32 {
        let Some(most) = self.most_pods(deployment) else { return i32::MAX };
        let others = self.seen.controlled().chain(self.seen.ours()).filter(|other| other.uid != set.uid);
        others.map(|other| other.replicas.max(other.status_replicas)).fold(most, i32::saturating_sub).max(0)
    }

    /// So many pods there may be, where the spec says so. A trade needs room for one, also where an autoscaler has asked for as
    /// many as there may be meanwhile.
    pub fn most_pods(&self, deployment: &Deployment) -> Option<i32> {
        let trades = self.promotion().is_some_and(|promotion| promotion.trading);
        let least = deployment.replicas.saturating_add(i32::from(trades));
        Some(most_pods(self.spec().capacity.max_pods.as_ref(), deployment.replicas)?.max(least))
    }

    /// The ReplicaSet that serves, while its pods are traded and it is not under the Deployment's control.
    pub fn traded(&self) -> Option<&'a ReplicaSet> {
        let promotion = self.promotion().filter(|promotion| promotion.trading)?;
        let seen = self.seen;
        seen.ours().find(|set| set.name == promotion.from)
    }

    /// Whether pods of stable have to end before all of the candidate's can come.
    pub fn must_trade(&self, deployment: &Deployment) -> bool {
        let twice = deployment.replicas.saturating_mul(2);
        self.promotion().is_some_and(|promotion| promotion.trading)
            || self.most_pods(deployment).is_some_and(|most| most < twice)
    }

    /// All of the candidate's pods are there and carry everything; each look trades some.
    pub fn trade(&mut self, deployment: &'a Deployment, stable: &'a ReplicaSet, candidate: &'a ReplicaSet) -> Holds {
        let wanted = deployment.replicas;
        if let Some(promotion) = self.flight()?.promotion.as_mut().filter(|promotion| !promotion.trading) {
            promotion.trading = true;
            let most = self.most_pods(deployment).unwrap_or(wanted);
            let message = format!("stable's pods are traded for the candidate's, for there may be {most} at once");
            self.note(Reason::Promoting, message, None);
            return Err(Stop::Again);
        }
        if stable.controller.as_deref() == Some(&deployment.uid) {
            if stable.replicas < deployment.replicas {
                // Outside of the Deployment nobody would make it larger.
                let object = format!("Deployment/{}", deployment.name);
                let message = "the Deployment's own pods are asked for before they are traded";
                return Err(self.wait(Phase::Promoting, Reason::PodsNotReady, &object, message, SOON));
            }
            self.held(deployment)?;
            return Err(self.take_out(stable, deployment));
        }
        let ready = self.ready(candidate);
        self.grown(deployment, candidate, ready, wanted)?;
        self.shifts(deployment, stable, candidate)?;
        // One that is not there for minReadySeconds yet replaces nobody.
        let proven = ready.min(candidate.available);
        if proven >= candidate.replicas.min(wanted) {
            // What stands idle while there is room for it is the way back.
            let idle = self.most_pods(deployment).map_or(stable.replicas, |most| most.saturating_sub(wanted));
            let keep = wanted.saturating_sub(proven).max(idle.min(stable.replicas)).max(0);
            if stable.replicas > keep {
                self.scaled(stable, keep)?;
            }
        }
        if ready >= wanted {
            return Ok(());
        }
        let message = format!("{ready} of {wanted} candidate pods are ready; stable has {} still", self.ready(stable));
        self.falls_short(candidate, ready, &message, Phase::Promoting)
    }

    /// The candidate gets the weight that its ready pods carry. What it can carry no more goes back to stable as far as that
    /// has pods for it.
    fn shifts(&mut self, deployment: &Deployment, stable: &'a ReplicaSet, candidate: &'a ReplicaSet) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        let phase = Phase::Promoting;
        let home = self.service(self.seen.stable_service.as_ref(), &pair.stable)?;
        if home.hash() != Some(&stable.hash) {
            return Ok(()); // It has moved to the candidate, which carries everything.
        }
        let (accepted, ready) = (self.accepted(), self.ready(candidate));
        let carried = carried_by(ready, deployment.replicas);
        let kept = carried_by(self.ready(stable), deployment.replicas).rest().min(accepted);
        let weight = match ready {
            0 => Weight::ZERO,
            _ => carried.max(kept),
        };
        if weight < self.carried() {
            self.lowered(weight, phase)?;
            return Ok(());
        }
        if ready == 0 {
            return Ok(()); // Its first pod is waited for, as long as it may take.
        }
        self.canary_on(candidate)?;
        if weight > accepted {
            let trial = self.service(self.seen.canary_service.as_ref(), &pair.canary)?;
            self.gathered(trial, candidate, phase)?;
        }
        self.weighs(weight, phase)?;
        let settle = self.settle();
        let some = format!("weight {weight} while pods are traded");
        self.settled(if weight == Weight::FULL { EVERYTHING } else { &some }, settle, phase)
    }

    /// On the way home stable's pods come back, as far as there is room for them.
    pub fn stable_grows(&self, stable: &ReplicaSet) -> Holds {
        let deployment = self.deployment()?;
        let most = self.room(stable, deployment).min(deployment.replicas);
        if stable.replicas < most { self.scaled(stable, most) } else { Ok(()) }
    }

    /// On the way home the candidate keeps the pods that its share still needs, and makes room for stable's with the others.
    pub fn gives_way(&self, stable: &ReplicaSet) -> Holds {
        let deployment = self.deployment()?;
        let candidate = self.status.flight.as_ref().and_then(|flight| self.seen.replica_set(&flight.candidate));
        let Some(candidate) = candidate else { return Ok(()) };
        let missing = deployment.replicas.saturating_sub(self.ready(stable)).max(0);
        if candidate.replicas > missing { self.scaled(candidate, missing) } else { Ok(()) }
    }

    /// Stable has all its pods again and comes back under the Deployment's control.
    pub fn stable_returns(&self, stable: &ReplicaSet, phase: Phase) -> Holds {
        let deployment = self.deployment()?;
        self.stable_grows(stable)?;
        if stable.replicas < deployment.replicas {
            let object = format!("ReplicaSet/{}", stable.name);
            let message = "the candidate's pods are ending, to make room for stable's";
            return Err(self.wait(phase, Reason::PodsNotReady, &object, message, SOON));
        }
        self.scaled(stable, deployment.replicas)?;
        Err(self.hand_in(stable, deployment))
    }

    /// How many of a ReplicaSet's pods are ready.
    pub fn ready(&self, set: &ReplicaSet) -> i32 {
        i32::try_from(self.seen.ready_pods(&set.hash).len()).unwrap_or(i32::MAX)
    }
}
