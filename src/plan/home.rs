//! The way home: all traffic to stable, the candidate out; and what is kept in order while nothing is on trial.
use super::{
    Deployment, Effect, ReplicaSet, Service,
    capacity::carried_by,
    turn::{Holds, SOON, Stop, Turn, target},
    workload::{same_template, supported},
};
use crate::{
    api::{Flight, Phase, Reason},
    vocab::{Pair, Weight},
};
use jiff::SignedDuration;

impl<'a> Turn<'a> {
    /// Everything points to stable and the candidate has no pods; `keep` leaves its pods, for somebody else takes them over.
    ///
    /// The order is what loses no request: the stable Service first where a promotion had moved it (only at weight 0),
    /// then the weight, then the canary Service, and the pods last, when nothing has pointed at them for a while.
    /// A route that cannot be written holds up none of it, once the canary Service reaches stable's pods.
    /// What was traded comes back before, and the Deployment's control last.
    pub fn home(&mut self, stable: &'a ReplicaSet, phase: Phase, keep: bool) -> Holds {
        let trades = self.traded().is_some();
        if trades {
            self.stable_grows(stable)?;
        }
        let keep = keep && !trades;
        if let Some(pair) = self.pair() {
            let settle = self.settle();
            self.service_back(stable, &pair, phase)?;
            if self.is_alone_apart(stable) {
                let message = "none of stable's pods is ready, so the candidate keeps the requests that match until one is; \
                               PromoteFull lets it take over instead";
                return Err(self.shrunk(stable, message, phase));
            }
            let bearable = self.bearable(stable);
            let unwilling = self.lowered(bearable, phase)?;
            if bearable > Weight::ZERO {
                if trades {
                    self.settled(&format!("weight {bearable} while pods are traded back"), settle, phase)?;
                    self.gives_way(stable)?;
                }
                let message = format!(
                    "too few of stable's pods are ready to take everything back, so the candidate keeps {bearable} until they are; \
                     PromoteFull lets it take over instead"
                );
                return Err(self.shrunk(stable, message, phase));
            }
            if !keep {
                self.led_to_stable_alone(stable, phase)?;
            }
            let trial = self.service(self.seen.canary_service.as_ref(), &pair.canary).ok();
            let elsewhere = trial.filter(|trial| trial.hash().is_some_and(|hash| hash != stable.hash));
            match (unwilling, trial) {
                // Neither the weight nor the Service can be moved: the candidate's pods are what keeps requests answered.
                (Some(problem), None) => return Err(problem),
                (Some(_), Some(trial)) if elsewhere.is_none() => {
                    self.left_by_others(trial, stable, phase)?;
                    self.settled("the canary Service on stable, for a route cannot be written", settle, phase)?;
                }
                _ => self.settled("no requests to the canary Service", settle, phase)?,
            }
            if let Some(trial) = elsewhere {
                self.selects(trial, Some(&stable.hash))?;
            }
        } else {
            if let Some(promotion) = self.status.flight.as_mut().and_then(|flight| flight.promotion.as_mut())
                && !trades
            {
                promotion.moved = false;
            }
            let or = "; PromoteFull lets the candidate take over instead";
            if trades && self.is_short(stable) {
                self.gives_way(stable)?;
                let or = if self.is_needed(stable) { or } else { "" };
                let message = format!(
                    "too few of stable's pods are ready, so the candidate's are traded for them until they are{or}"
                );
                return Err(self.shrunk(stable, message, phase));
            }
            if !keep && self.is_alone(stable) {
                let message = format!("none of stable's pods is ready, so the candidate's go on until one is{or}");
                return Err(self.shrunk(stable, message, phase));
            }
        }
        if keep {
            return Ok(());
        }
        let past = self.status.past.as_ref().map(|past| past.replica_set.clone());
        for set in self.seen.ours().filter(|set| Some(&set.name) != past.as_ref() && set.uid != stable.uid) {
            self.scaled(set, 0)?;
        }
        if trades { self.stable_returns(stable, phase) } else { Ok(()) }
    }

    /// The stable Service reaches stable again, where a promotion had moved it, whoever holds it now.
    pub fn service_back(&mut self, stable: &'a ReplicaSet, pair: &Pair, phase: Phase) -> Holds {
        if self.promotion().is_none_or(|promotion| !promotion.moved) {
            return Ok(());
        }
        let settle = self.settle();
        let Some(home) = self.seen.stable_service.as_ref() else {
            return Err(self.made(self.deployment()?, &pair.stable)?);
        };
        if self.is_alone(stable) {
            if home.hash() == Some(&stable.hash) {
                // It has moved while neither was ready.
                self.lowered(Weight::FULL, phase)?;
            }
            let message = "none of stable's pods is ready, so the candidate keeps all requests until one is; PromoteFull lets it \
                           take over instead";
            return Err(self.shrunk(stable, message, phase));
        }
        let candidate = self.status.flight.as_ref().and_then(|flight| self.seen.replica_set(&flight.candidate));
        let answers = candidate.is_some_and(|candidate| self.ready(candidate) > 0);
        if home.hash() != Some(&stable.hash) {
            // A Service that reaches nobody who answers loses no request by being moved, and every second that it is not, it does.
            if answers && !home.endpoints.is_empty() {
                self.lowered(Weight::FULL, phase)?;
                self.settled("all requests to the canary Service, on the way back", settle, phase)?;
            }
            self.selects(home, Some(&stable.hash))?;
        }
        // It may have moved just now; requests return when its endpoints have been seen, where there are to be any.
        let ready = self.seen.ready_pods(&stable.hash);
        let nobody = ready.is_empty() && home.endpoints.is_empty();
        if !nobody {
            self.reaches(home, &ready, phase)?;
        }
        if !answers {
            // Stable's pods are reached by now, and whoever is sent to the candidate is lost.
            self.lowered(Weight::ZERO, phase)?;
        }
        self.settled("the stable Service back on stable", settle, phase)?;
        // What takes over by command, or without steps, has no step to go on from.
        let stays = self.traded().is_some() || self.is_commanded();
        let flight = self.flight()?;
        let stays = stays || flight.returns;
        match flight.promotion.as_mut().filter(|_| stays) {
            Some(promotion) => (promotion.moved, promotion.home) = (false, false),
            None => flight.promotion = None,
        }
        Err(Stop::Again)
    }

    /// A stable Service that somebody widened leads to stable alone again, and gateways have their time from then on, before
    /// pods end.
    fn led_to_stable_alone(&mut self, stable: &'a ReplicaSet, phase: Phase) -> Holds {
        let others_serve = self.seen.ours().any(|set| !set.is_empty());
        let Some(home) = self.seen.stable_service.as_ref().filter(|home| home.ours && others_serve) else {
            return Ok(());
        };
        if home.hash() != Some(&stable.hash) {
            self.flight()?.settling = None;
            return self.selects(home, Some(&stable.hash));
        }
        self.left_by_others(home, stable, phase)
    }

    /// No pod of another revision is an endpoint of this Service any more; gateways have their time from then on.
    fn left_by_others(&mut self, service: &Service, stable: &ReplicaSet, phase: Phase) -> Holds {
        let mut pods = self.seen.pods.iter();
        let leads = pods.find(|pod| pod.hash != stable.hash && service.endpoints.contains(&pod.name));
        let Some(pod) = leads else { return Ok(()) };
        self.flight()?.settling = None;
        let message = format!("Service {} still reaches pod {}, which is about to end", service.name, pod.name);
        Err(self.wait(phase, Reason::EndpointsNotReady, &format!("Service/{}", service.name), message, SOON))
    }

    /// The weight that the candidate has to keep for now, because stable's ready pods cannot take all of it back: as many
    /// may be missing as the Deployment says for its own updates, but not all of them.
    pub fn bearable(&self, stable: &ReplicaSet) -> Weight {
        let (Some(deployment), Some(flight)) = (&self.seen.deployment, &self.status.flight) else {
            return Weight::ZERO;
        };
        let wanted = wanted_of_stable(deployment, flight);
        let theirs = self.seen.replica_set(&flight.candidate).map_or(0, |set| self.ready(set));
        if theirs == 0 || !self.is_short(stable) {
            return Weight::ZERO;
        }
        let bearable = carried_by(self.ready(stable), wanted).rest().min(carried_by(theirs, wanted));
        // What was taken from it on the way home does not return to it. Without routes its pods alone are its share.
        if self.pair().is_some() { bearable.min(self.carried()).min(self.desired()) } else { bearable }
    }

    /// A stop because too few of stable's pods are ready.
    pub fn shrunk(&self, stable: &ReplicaSet, message: impl Into<String>, phase: Phase) -> Stop {
        self.wait(phase, Reason::StableShrunk, &format!("ReplicaSet/{}", stable.name), message, SOON)
    }

    /// Whether pods are asked for, and of the two the candidate alone has any that is ready.
    fn is_alone(&self, stable: &ReplicaSet) -> bool {
        let asks = self.seen.deployment.as_ref().is_some_and(|deployment| deployment.replicas > 0);
        let candidate = self.status.flight.as_ref().and_then(|flight| self.seen.replica_set(&flight.candidate));
        asks && self.ready(stable) == 0 && candidate.is_some_and(|candidate| self.ready(candidate) > 0)
    }

    /// Whether requests that match are answered by the candidate, and no others by anybody.
    fn is_alone_apart(&self, stable: &ReplicaSet) -> bool {
        self.carries_matches() && self.is_alone(stable)
    }

    /// Whether stable cannot take back what the candidate carries.
    pub fn is_needed(&self, stable: &ReplicaSet) -> bool {
        let moved = self.promotion().is_some_and(|promotion| promotion.moved);
        let has_share = match self.pair() {
            Some(_) => moved || self.carries_matches(),
            None => true,
        };
        let is_traded = self.pair().is_some() || self.traded().is_some();
        (has_share && self.is_alone(stable)) || (is_traded && self.bearable(stable) > Weight::ZERO)
    }

    /// Whether stable's ready pods are too few to take everything back: as many may be missing as the Deployment says for
    /// its own updates, but not all of them.
    pub fn is_short(&self, stable: &ReplicaSet) -> bool {
        let (Some(deployment), Some(flight)) = (&self.seen.deployment, &self.status.flight) else { return false };
        let wanted = wanted_of_stable(deployment, flight);
        let enough = wanted.saturating_sub(deployment.max_unavailable).max(wanted.min(1));
        self.ready(stable) < enough
    }

    /// Nothing is on trial: old pods end in time, Services widen, history is kept short, the Deployment is not paused.
    pub fn rest(&mut self, stable: &'a ReplicaSet, phase: Phase, message: String) -> Holds {
        let deployment = self.deployment()?;
        self.status.step = None;
        self.status.metrics.clear();
        self.status.weights = None;
        let services = self.services(deployment);
        if phase == Phase::Stable {
            self.or_anew(services)?;
        } else {
            services?;
        }
        self.routes_there(phase)?;
        let old_serve = self.seen.ours().any(|set| !set.is_empty());
        for service in self.seen.stable_service.iter().chain(&self.seen.canary_service) {
            let is_wide = service.hash().is_none();
            if service.ours && service.hash() != Some(&stable.hash) && (old_serve || !is_wide) {
                // Somebody's widening led requests to old pods, which end only when none reaches them any more.
                let enough = self.seen.now - self.kept_so_long().saturating_sub(self.settle().signed());
                if let Some(past) = self.status.past.as_mut().filter(|_| is_wide) {
                    past.since.0 = past.since.0.max(enough);
                }
                self.selects(service, Some(&stable.hash))?;
            }
        }
        let kept = self.old_pods(phase)?;
        if same_template(&deployment.template, &stable.template) {
            self.let_loose(deployment)?;
        }
        if kept.is_none() {
            // With stable's pods alone left, a selector without a hash reaches the same pods and leaves nothing pinned.
            self.widened_to_what_serves()?;
            if phase == Phase::Stable {
                self.traffic_in_force()?;
                self.prepared()?;
            }
        }
        self.routes_written()?;
        self.claims(deployment)?;
        self.kept(stable, deployment)?;
        self.short_history(deployment.history_limit, None)?;
        if let Some((name, uid)) = self.seen.expired.clone() {
            return Err(Stop::Do(Effect::Expire { name, uid }));
        }
        if phase == Phase::Stable && deployment.recreates() {
            supported(self, deployment)?;
        }
        if phase == Phase::Stable && kept.is_none() {
            self.provided()?;
        }
        Err(Stop::Rest(phase, message, kept))
    }

    /// Not paused, but where the next template would end all pods before the policy can refuse it.
    fn let_loose(&mut self, deployment: &Deployment) -> Holds {
        if deployment.recreates() { self.held(deployment) } else { self.released(deployment) }
    }

    /// How long former pods are kept behind a route: never shorter than what the data plane takes.
    fn kept_so_long(&self) -> SignedDuration {
        self.spec().scale_down_delay.signed().max(self.settle().signed())
    }

    /// How long former pods are still to be kept.
    fn past_left(&self) -> Option<SignedDuration> {
        let past = self.status.past.as_ref()?;
        // Behind one Service old pods would go on taking their share of requests.
        let delay = if self.pair().is_some() { self.kept_so_long() } else { SignedDuration::ZERO };
        let left = delay - self.ago(past.since.0);
        let there = self.seen.replica_set(&past.replica_set).is_some_and(|set| !set.is_empty());
        (there && left > SignedDuration::ZERO).then_some(left)
    }

    /// What serves stays whole and a new template is held, whatever the spec says; nothing else is begun.
    pub fn kept_whole(&mut self) -> Holds {
        let held = self.status.workload.as_ref().filter(|workload| workload.stable_replica_set.is_some());
        let uid = held.map(|workload| workload.uid.clone());
        let deployment = self.seen.deployment.as_ref().filter(|deployment| Some(&deployment.uid) == uid.as_ref());
        // Where a part of the status cannot be read either, what has pods may be on trial.
        let past = self.status.past.as_ref().map(|past| &past.replica_set);
        let at_rest = || self.seen.ours().all(|set| set.is_empty() || Some(&set.name) == past);
        let Some(deployment) = deployment.filter(|_| self.seen.malformed.is_none() || at_rest()) else { return Ok(()) };
        let mut whole = || {
            let stable = self.stable()?;
            self.services(deployment)?;
            self.routes_there(Phase::Invalid)?;
            if same_template(&deployment.template, &stable.template) {
                self.let_loose(deployment)?;
            } else {
                self.held(deployment)?;
            }
            self.past_ends()
        };
        // Whatever it waits for, the spec is to be mended first.
        match whole() {
            Err(Stop::Wait(..)) => Ok(()),
            stop => stop,
        }
    }

    /// Former pods whose time is over end, also where the next release cannot begin yet.
    pub fn past_ends(&mut self) -> Holds {
        let Some(past) = self.status.past.as_ref().filter(|_| self.past_left().is_none()) else { return Ok(()) };
        if let Some(set) = self.seen.ours().find(|set| set.name == past.replica_set) {
            self.scaled(set, 0)?;
        }
        self.status.past = None;
        Ok(())
    }

    /// Former pods end when their time is over; until then, how long it still is.
    fn old_pods(&mut self, phase: Phase) -> Result<Option<SignedDuration>, Stop> {
        if let Some(left) = self.past_left() {
            return Ok(Some(left));
        }
        self.status.past = None;
        for set in self.seen.ours() {
            self.ends(set, phase)?;
        }
        Ok(None)
    }

    /// The pods of a former ReplicaSet are gone.
    pub fn ends(&self, set: &ReplicaSet, phase: Phase) -> Holds {
        self.scaled(set, 0)?;
        if set.status_replicas == 0 {
            return Ok(());
        }
        let object = format!("ReplicaSet/{}", set.name);
        Err(self.wait(phase, Reason::PodsNotReady, &object, "old pods are ending", SOON))
    }

    /// Of former ReplicaSets the newest are kept, as many as the Deployment says, beside one that is needed.
    pub fn short_history(&self, limit: i32, needed: Option<&str>) -> Holds {
        let latched = self.status.latch.as_ref().map(|latch| latch.candidate.as_str());
        let is_former = |set: &&ReplicaSet| set.is_empty() && ![latched, needed].contains(&Some(&set.name));
        let mut former: Vec<_> = self.seen.ours().filter(is_former).collect();
        former.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.name.cmp(&other.name)));
        let limit = usize::try_from(limit).unwrap_or(0);
        former.get(limit).map_or(Ok(()), |set| Err(Stop::Do(Effect::Delete { set: target(*set) })))
    }
}

/// So many of stable's pods are wanted to take everything: as many as the Deployment has, but no more than it had when the
/// release began, or has had ready since. Those that an autoscaler has asked for a moment ago are still on their way.
fn wanted_of_stable(deployment: &Deployment, flight: &Flight) -> i32 {
    deployment.replicas.min(flight.replicas.max(flight.stable_ready))
}
