//! A revision on trial: from the first difference between the templates to its promotion, or the way back.
use super::{
    Deployment, ReplicaSet, Service,
    capacity::pods_for,
    effect::Effect,
    observed::AlertEvent,
    progress::Enough,
    turn::{Holds, LATER, SOON, Stop, Turn, fingerprint_of, revision_of, target},
    workload::{difference, same_template, supported},
};
use crate::{
    api::{Flight, Past, Phase, Reason, Settling, Step},
    vocab::Weight,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// What gateways have to hear of before the first request comes: pods that were told to end, and then that they are gone.
const ENDING: &str = "pods that end, before anything is sent to the candidate";
const ENDED: &str = "the end of pods, before anything is sent to the candidate";

/// A candidate that somebody changed on its way in is made again after so long.
const AS_MADE_FOR: SignedDuration = SignedDuration::from_secs(30);

/// The last change of weight before the stable Service moves.
pub const EVERYTHING: &str = "all requests to the canary Service";

impl<'a> Turn<'a> {
    /// The heart of the list: what is on trial, and what follows.
    pub fn fly_or_rest(&mut self, checked: Result<(), Stop>) -> Holds {
        if self.past_the_point() {
            return self.finish();
        }
        let deployment = self.deployment()?;
        let stable = self.stable()?;
        // It was past the point of return when that was said.
        let promotion = self.status.flight.as_mut().and_then(|flight| flight.promotion.as_mut());
        if let Some(undo) = promotion.and_then(|promotion| promotion.undo.take()) {
            return Err(self.give_up(Reason::Commanded, &undo.message, undo.by.as_deref()));
        }
        if self.is_commanded() {
            self.held(deployment)?;
            // What rolls forward was given up, perhaps for its crashes, and somebody wants it nevertheless.
            if self.goes_back() {
                self.crashes()?;
            }
            self.bereft(deployment, stable)?;
            self.relieved_before(deployment, stable)?;
            self.in_place(deployment)??;
            return self.fly(deployment, stable);
        }
        let services = self.in_place(deployment)?;
        if same_template(&deployment.template, &stable.template) {
            return self.back_at_stable(stable);
        }
        // Whatever follows: with the policy alone a template change is held but not paused yet.
        self.held(deployment)?;
        if self.is_latched(deployment) {
            return self.given_up(stable);
        }
        let flight = self.status.flight.clone();
        if self.status.latch.is_some() {
            if flight.is_some() {
                self.home(stable, Phase::Aborting, false)?;
                self.status.flight = None;
                return Err(Stop::Again);
            }
            self.status.latch = None;
            self.note(Reason::Superseded, "a newer template came after the one that was given up", None);
            return Err(Stop::Again);
        }
        let Some(flight) = flight else {
            self.past_ends()?;
            self.or_anew(services)?;
            checked?;
            return self.begin(deployment, stable);
        };
        if !self.is_this(&flight.candidate, &flight.fingerprint, deployment) {
            self.as_it_was_made(&flight, deployment, stable)?;
            self.home(stable, Phase::Progressing, false)?;
            self.note(
                Reason::Superseded,
                "a newer template replaces this one; its trial starts from the first step",
                None,
            );
            self.status.flight = None;
            return Err(Stop::Again);
        }
        // What serves is watched, and relieved of what it cannot carry, before anything is waited for.
        self.remember_stable(stable)?;
        self.crashes()?;
        self.bereft(deployment, stable)?;
        self.judge()?;
        self.relieved_before(deployment, stable)?;
        services?;
        checked?;
        self.fly(deployment, stable)
    }

    /// A Service or a route of ours that is gone is made again whatever follows; a Service that is contested holds up a release,
    /// and never the way home.
    fn in_place(&mut self, deployment: &'a Deployment) -> Result<Holds, Stop> {
        let services = self.services(deployment);
        if let Err(doing @ Stop::Do(_)) = services {
            return Err(doing);
        }
        if self.status.flight.is_some() {
            self.routes_there(self.status.phase)?;
        }
        Ok(services)
    }

    /// Git is back at stable's template, or never left it.
    fn back_at_stable(&mut self, stable: &'a ReplicaSet) -> Holds {
        if self.status.flight.is_some() {
            self.home(stable, Phase::Progressing, false)?;
            self.note(Reason::Reverted, "the Deployment's template is stable's again", None);
            self.status.flight = None;
            self.status.latch = None;
            return Err(Stop::Again);
        }
        if self.status.latch.take().is_some() {
            self.note(Reason::Reverted, "the Deployment's template is stable's again", None);
            return Err(Stop::Again);
        }
        self.status.attempt = 0;
        self.rest(stable, Phase::Stable, "one revision serves and none is on trial".to_owned())
    }

    /// A new revision goes on trial.
    fn begin(&mut self, deployment: &'a Deployment, stable: &'a ReplicaSet) -> Holds {
        if deployment.replicas == 0 {
            return Err(self.no_replicas(deployment));
        }
        supported(self, deployment)?;
        self.traffic_in_force()?;
        self.prepared()?;
        self.routed_only()?;
        let known = self.known(deployment);
        let returns = known.is_some_and(|set| self.may_return(set));
        if !returns {
            self.fits(deployment)?;
            self.provided()?;
        }
        self.claims(deployment)?;
        self.kept(stable, deployment)?;
        // The pods of former revisions end first, but those that are tried again.
        for set in self.seen.ours().filter(|set| Some(&set.name) != known.map(|known| &known.name)) {
            self.scaled(set, 0)?;
        }
        // One release may follow the other without ever coming to rest.
        self.short_history(deployment.history_limit, known.map(|known| known.name.as_str()))?;
        let (revision, candidate) = self.names(known, deployment);
        self.status.past = None;
        self.status.attempt = self.status.attempt.saturating_add(1);
        self.status.flight = Some(Flight {
            revision,
            candidate,
            fingerprint: fingerprint_of(&deployment.template),
            replicas: deployment.replicas,
            stable_ready: 0,
            started_at: Time(self.seen.now),
            steps: self.spec().steps.clone(),
            promotion: None,
            returns,
            evidence_since: None,
            settled_since: None,
            dark_since: None,
            quiet_since: None,
            blind_since: None,
            paused: false,
            held: false,
            settling: None,
            edited_steps: None,
            reverted: Vec::new(),
        });
        self.status.step = None;
        self.status.metrics.clear();
        self.enter(0)?;
        if returns {
            let message = format!("this revision served before {} and takes over again, without steps", stable.name);
            self.note(Reason::Returning, message, None);
            self.start_promotion(stable)?;
            return Err(Stop::Again);
        }
        self.note(Reason::FlightStarted, format!("a new revision goes on trial against {}", stable.name), None);
        self.preflight(deployment);
        Err(Stop::Again)
    }

    /// The ReplicaSet that has this template already: of twins, which a name that was taken leaves behind, the one that served.
    pub fn known(&self, deployment: &Deployment) -> Option<&'a ReplicaSet> {
        let seen = self.seen;
        let alike = || seen.ours().filter(|set| same_template(&set.template, &deployment.template));
        alike().find(|set| self.may_return(set)).or_else(|| alike().next())
    }

    /// The names of this revision and its ReplicaSet, which may be there or not.
    pub fn names(&self, known: Option<&ReplicaSet>, deployment: &Deployment) -> (String, String) {
        known.map_or_else(|| self.new_name(deployment), |set| (self.revision_name(set), set.name.clone()))
    }

    /// A revision's name that no ReplicaSet has, and the ReplicaSet's.
    pub fn new_name(&self, deployment: &Deployment) -> (String, String) {
        let name = |revision: &str| format!("{}-{revision}", deployment.name);
        let revision = revision_of(&deployment.template, |revision| self.seen.replica_set(&name(revision)).is_some());
        let name = name(&revision);
        (revision, name)
    }

    fn no_replicas(&self, deployment: &Deployment) -> Stop {
        let object = format!("Deployment/{}", deployment.name);
        let message = "the Deployment has no replicas, so nothing can be tried; the new template is held";
        self.wait(Phase::Waiting, Reason::NoReplicas, &object, message, LATER)
    }

    /// The candidate is what was made of the Deployment's template. One that somebody changes on its way in would be taken for
    /// an older template, and made again without end.
    fn as_it_was_made(&mut self, flight: &Flight, deployment: &Deployment, stable: &'a ReplicaSet) -> Holds {
        let ours = self.seen.ours().find(|set| set.name == flight.candidate && set.generation == 1);
        let unchanged = || flight.fingerprint == fingerprint_of(&deployment.template);
        let Some(set) = ours.filter(|_| unchanged()) else { return Ok(()) };
        self.home(stable, Phase::Blocked, false)?;
        if set.is_empty() && self.ago(set.created) >= AS_MADE_FOR {
            return Err(Stop::Do(Effect::Delete { set: target(set) }));
        }
        let object = format!("ReplicaSet/{}", set.name);
        let place = difference(&deployment.template, &set.template).unwrap_or_default();
        let message = format!(
            "an admission webhook or policy changed the template of ReplicaSet {} as it was made, at {place}, so its pods would not \
             be those that the Deployment asks for: let it leave out ReplicaSets that a Rollout controls, or write the change \
             into the Deployment; it is tried again every {} s",
            set.name,
            AS_MADE_FOR.as_secs()
        );
        Err(self.wait(Phase::Blocked, Reason::WorkloadUnsupported, &object, message, SOON))
    }

    /// One look at a revision on trial.
    fn fly(&mut self, deployment: &'a Deployment, stable: &'a ReplicaSet) -> Holds {
        if deployment.replicas == 0 {
            // No pods are asked for and none has requests: what was missing before is no news when they come back.
            self.flight()?.lit();
            if let Some(step) = &mut self.status.step {
                (step.progress, step.full_at) = (None, None);
            }
            // Scaled to nothing, nothing of it may go on; where a promotion has moved the Service, its pods are what there is.
            if self.pair().is_none() || self.promotion().is_none_or(|promotion| !promotion.moved) {
                self.home(stable, Phase::Waiting, false)?;
            }
            return Err(self.no_replicas(deployment));
        }
        self.contested(deployment)?;
        if self.promotion().is_none() {
            self.intelligible()?;
        }
        self.claims(deployment)?;
        self.narrowed(stable)?;
        let candidate = self.candidate(deployment)?;
        if self.status.flight.as_ref().is_some_and(|flight| flight.promotion.is_some()) {
            return self.promote(deployment, stable, candidate);
        }
        let step = self.step()?.clone();
        self.routed_only_at_first(candidate)?;
        let want = pods_for(&step, deployment.replicas, self.pair().is_some());
        self.enough_pods(deployment, stable, candidate, want)?;
        self.asked_for(candidate.replicas);
        self.progressed(self.ready(candidate), Enough::Yes)?;
        self.stays_whole(deployment, stable, candidate)?;
        self.canary_on(candidate)?;
        self.status.weights.get_or_insert_default().desired = step.weight;
        if let Some(pair) = self.pair() {
            let trial = self.service(self.seen.canary_service.as_ref(), &pair.canary)?;
            let (split, accepted) = (step.split(), self.accepted_split());
            if split.adds_to(&accepted) {
                if self.flight()?.held {
                    self.weighs(accepted, Phase::Paused)?;
                    return Err(self.paused(&step));
                }
                if split.weight > self.carried() {
                    self.can_take_back(stable)?;
                }
                self.gathered(trial, candidate, Phase::Progressing)?;
            }
            self.weighs(split.clone(), Phase::Progressing)?;
            if !split.is_none() || candidate.replicas > want {
                let settle = self.settle();
                self.settled(&format!("weight {split}"), settle, Phase::Progressing)?;
            }
            self.shared()?;
        } else {
            let ready = self.seen.ready_pods(&candidate.hash).len();
            let all = ready + self.seen.ready_pods(&stable.hash).len();
            let share = (ready * 100).checked_div(all).and_then(|share| u8::try_from(share).ok()).and_then(Weight::new);
            let weights = self.status.weights.get_or_insert_default();
            weights.accepted = share.unwrap_or(Weight::ZERO);
            weights.by = Some("Pods".to_owned());
        }
        // A pod that ends may still be sent requests, so under traffic none is ended, but where the Deployment was made smaller.
        let quiet = self.pair().is_none() || (step.split().is_none() && !self.was_bereft());
        let shrunk = self.flight()?.replicas > deployment.replicas;
        let asked = |step| pods_for(step, deployment.replicas, self.pair().is_some());
        let asked = self.flight_steps().iter().map(asked).max().unwrap_or(want).max(deployment.replicas);
        let kept = if shrunk { candidate.replicas.min(asked) } else { candidate.replicas };
        let most = if quiet { want } else { want.max(kept) };
        if candidate.replicas > most {
            if quiet && self.pair().is_some() {
                let since = MicroTime(self.seen.now);
                self.flight()?.settling = Some(Settling { what: ENDING.to_owned(), since });
            }
            self.scaled(candidate, most)?;
        }
        self.observe(&step, stable)
    }

    /// Both Services name one revision's hash; before the first candidate pod that changes no endpoint.
    fn narrowed(&self, stable: &ReplicaSet) -> Holds {
        let (Some(pair), Some(flight)) = (self.pair(), &self.status.flight) else { return Ok(()) };
        // One that somebody widened in the middle of it goes back to where it had pointed.
        let candidate = self.seen.replica_set(&flight.candidate).unwrap_or(stable);
        let moved = flight.promotion.as_ref().is_some_and(|promotion| promotion.moved);
        let home = if moved { candidate } else { stable };
        let trial = if flight.evidence_since.is_some() { candidate } else { stable };
        let services =
            [(&self.seen.stable_service, &pair.stable, home), (&self.seen.canary_service, &pair.canary, trial)];
        for (found, name, set) in services {
            let service = self.service(found.as_ref(), name)?;
            // Nothing moves the stable Service before everything goes to the candidate, so whatever it says else is somebody's.
            let is_others = service.name == pair.stable && !moved;
            if service.hash().is_none() || is_others {
                self.selects(service, Some(&set.hash))?;
            }
        }
        Ok(())
    }

    /// The candidate's ReplicaSet exists and is ours.
    fn candidate(&mut self, deployment: &Deployment) -> Result<&'a ReplicaSet, Stop> {
        let flight = self.flight()?.clone();
        if let Some(set) = self.seen.ours().find(|set| set.name == flight.candidate) {
            return Ok(set);
        }
        if self.is_commanded() {
            let message = format!("ReplicaSet {}, which should have taken over, is gone", flight.candidate);
            return Err(self.give_up(Reason::StableMissing, &message, None));
        }
        if self.seen.replica_set(&flight.candidate).is_some() {
            // Somebody else's has this name.
            let (revision, candidate) = self.new_name(deployment);
            let flight = self.flight()?;
            (flight.revision, flight.candidate) = (revision, candidate);
            return Err(Stop::Again);
        }
        Err(Stop::Do(Effect::CreateCandidate {
            name: flight.candidate,
            // Pods that somebody left without their ReplicaSet go on serving.
            replicas: i32::try_from(self.seen.ready_pods(&flight.revision).len()).unwrap_or(0),
            revision: flight.revision,
            template: deployment.template.clone(),
            selector: deployment.selector.clone(),
            min_ready_seconds: deployment.min_ready_seconds,
            deployment: target(deployment),
        }))
    }

    /// A Service that came after adoption must not reach the first candidate pod.
    fn routed_only_at_first(&self, candidate: &ReplicaSet) -> Holds {
        if candidate.is_empty() { self.routed_only() } else { Ok(()) }
    }

    /// Nobody else keeps writing our weights. Who does so is given a minute to end it, and each time twice as long, for
    /// requests go to and fro with every try.
    fn contested(&mut self, deployment: &Deployment) -> Holds {
        let minute = SignedDuration::from_secs(60);
        let Some(flight) = self.status.flight.as_ref().filter(|flight| flight.promotion.is_none()) else {
            return Ok(());
        };
        let [.., first, last] = flight.reverted.as_slice() else { return Ok(()) };
        let are_close = |first: &Time, last: &Time| last.0.duration_since(first.0) <= minute;
        let rounds =
            flight.reverted.windows(2).filter(|two| matches!(two, [one, other] if are_close(one, other))).count();
        let held = SignedDuration::from_mins(1 << rounds.saturating_sub(1).min(5));
        let left = held.saturating_sub(self.ago(last.0));
        if !are_close(first, last) || left <= SignedDuration::ZERO {
            return Ok(());
        }
        self.weighs(Weight::ZERO, Phase::Blocked)?;
        // Who replaces the route often replaces the Deployment too; without our label nothing tells of its next change.
        self.claims(deployment)?;
        let message = format!(
            "somebody else wrote the route's weights twice within a minute; all requests are at stable, and after {}min it is tried \
             again. Have what writes them leave the weights alone (Argo CD: ignoreDifferences, with RespectIgnoreDifferences), let \
             the operator own the route (ownership: Operator), or, for routes of the Gateway API, install the chart's admission policy",
            held.as_mins()
        );
        Err(self.wait(Phase::Blocked, Reason::RouteContested, "", message, left.min(LATER)))
    }

    /// The canary Service reaches the candidate's ready pods, and gateways have had their time to forget those that were ended.
    pub fn gathered(&mut self, service: &Service, candidate: &ReplicaSet, phase: Phase) -> Holds {
        let settling = self.flight()?.settling.as_ref();
        let fewer = settling.is_some_and(|settling| [ENDING, ENDED].contains(&settling.what.as_str()));
        if fewer && candidate.status_replicas > candidate.replicas {
            let object = format!("ReplicaSet/{}", candidate.name);
            return Err(self.wait(phase, Reason::PodsNotReady, &object, "pods that are too many are ending", SOON));
        }
        self.reaches(service, &self.seen.ready_pods(&candidate.hash), phase)?;
        if fewer {
            let settle = self.settle();
            self.settled(ENDED, settle, phase)?;
        }
        Ok(())
    }

    /// The canary Service selects the candidate; it moved there while it carried no weight, and evidence begins when that has settled.
    pub fn canary_on(&mut self, candidate: &ReplicaSet) -> Holds {
        let now = MicroTime(self.seen.now);
        let Some(pair) = self.pair() else {
            let flight = self.flight()?;
            if flight.evidence_since.is_none() {
                flight.evidence_since = Some(now);
                return Err(Stop::Again);
            }
            return Ok(());
        };
        let settle = self.settle();
        let trial = self.service(self.seen.canary_service.as_ref(), &pair.canary)?;
        if trial.hash() != Some(&candidate.hash) {
            self.weighs(Weight::ZERO, Phase::Progressing)?;
            self.settled("weight 0 before the canary Service moves", settle, Phase::Progressing)?;
            let flight = self.flight()?;
            (flight.evidence_since, flight.settled_since) = (None, None);
            self.selects(trial, Some(&candidate.hash))?;
        }
        if self.flight()?.evidence_since.is_none() {
            self.reaches(trial, &self.seen.ready_pods(&candidate.hash), Phase::Progressing)?;
            self.settled("the canary Service on the candidate", settle, Phase::Progressing)?;
            self.flight()?.evidence_since = Some(now);
            return Err(Stop::Again);
        }
        Ok(())
    }

    /// By command the candidate takes over although its Rollout is being deleted.
    pub fn goes_forward(&mut self, deployment: &'a Deployment, stable: &'a ReplicaSet) -> Holds {
        self.bereft(deployment, stable)?;
        let candidate = self.candidate(deployment)?;
        self.promote(deployment, stable, candidate)
    }

    /// The candidate takes over: it carries everything through the canary Service, the stable Service moves to it at weight 0,
    /// requests return home, and the ReplicaSets change hands.
    fn promote(&mut self, deployment: &'a Deployment, stable: &'a ReplicaSet, candidate: &'a ReplicaSet) -> Holds {
        let phase = Phase::Promoting;
        // Without routes nothing has moved before the ReplicaSets change hands, and until then everything is asked anew.
        let routed = self.pair().is_some();
        let promotion = self.flight()?.promotion.as_mut().filter(|_| !routed);
        let was_whole = promotion.is_some_and(|promotion| std::mem::take(&mut promotion.moved));
        if self.promotion().is_none_or(|promotion| !promotion.home) {
            if self.must_trade(deployment) {
                self.trade(deployment, stable, candidate)?;
            } else {
                self.enough_pods(deployment, stable, candidate, deployment.replicas.max(1))?;
            }
            if candidate.available < deployment.replicas {
                let object = format!("ReplicaSet/{}", candidate.name);
                let message =
                    format!("{} of {} candidate pods are available", candidate.available, deployment.replicas);
                self.progressed(candidate.available, Enough::No)?;
                // Pods that are ready become available that much later.
                self.stuck_beyond(SignedDuration::from_secs(i64::from(deployment.min_ready_seconds)), &message)?;
                return Err(self.wait(phase, Reason::PodsNotReady, &object, message, SOON));
            }
            self.asked_for(candidate.replicas);
            self.progressed(self.ready(candidate), Enough::Yes)?;
            if self.promotion().is_none_or(|promotion| !promotion.moved) {
                self.stays_whole(deployment, stable, candidate)?;
            }
        }
        let led = self.led_home(candidate);
        if self.promotion().is_some_and(|promotion| promotion.home) {
            self.grows_meanwhile(&led, deployment, candidate)?;
        }
        if matches!(led, Err(Stop::Do(_))) {
            return led;
        }
        let lacking = self.lacking_at_home(deployment, candidate)?;
        led?;
        if let Some(promotion) = &mut self.flight()?.promotion {
            // What was traded stays out of the Deployment.
            let is_news = promotion.trading || !(promotion.moved || was_whole);
            (promotion.trading, promotion.moved) = (false, true);
            if is_news {
                return Err(Stop::Again);
            }
        }
        if let Some(message) = lacking {
            let object = format!("ReplicaSet/{}", candidate.name);
            return Err(self.wait(phase, Reason::PodsNotReady, &object, message, SOON));
        }
        self.swap(&stable.name, candidate)
    }

    /// What is missing of a candidate that has all requests through the stable Service: it takes over when it answers with as
    /// many pods as the Deployment would leave for an update of its own, and stable stays until then.
    fn lacking_at_home(&mut self, deployment: &Deployment, candidate: &ReplicaSet) -> Result<Option<String>, Stop> {
        let (ready, replicas) = (self.ready(candidate), self.flight()?.replicas);
        let wanted = deployment.replicas.min(candidate.replicas).min(replicas.max(1));
        let enough = wanted.saturating_sub(deployment.max_unavailable).max(wanted.min(1));
        let is_home = self.promotion().is_some_and(|promotion| promotion.home);
        if !is_home {
            return Ok(None);
        }
        if ready >= enough {
            self.progressed(ready, Enough::Yes)?;
            return Ok(None);
        }
        self.progressed(ready, Enough::No)?;
        let message = format!("{ready} of {wanted} candidate pods are ready, and it has all requests");
        self.stuck_beyond(SignedDuration::ZERO, &message)?;
        Ok(Some(message))
    }

    /// All requests go to the candidate through the stable Service, at last with no weight for the canary Service.
    fn led_home(&mut self, candidate: &'a ReplicaSet) -> Holds {
        let phase = Phase::Promoting;
        let Some(pair) = self.pair() else { return Ok(()) };
        let home = self.promotion().is_some_and(|promotion| promotion.home);
        let settle = self.settle();
        let pods = self.seen.ready_pods(&candidate.hash);
        let service = self.service(self.seen.stable_service.as_ref(), &pair.stable)?;
        if !home {
            self.canary_on(candidate)?;
            if service.hash() != Some(&candidate.hash) {
                let trial = self.service(self.seen.canary_service.as_ref(), &pair.canary)?;
                self.gathered(trial, candidate, phase)?;
                self.weighs(Weight::FULL, phase)?;
                self.settled(EVERYTHING, settle, phase)?;
                if let Some(promotion) = self.flight()?.promotion.as_mut().filter(|promotion| !promotion.moved) {
                    promotion.moved = true;
                    return Err(Stop::Again);
                }
                self.selects(service, Some(&candidate.hash))?;
            }
            self.reaches(service, &pods, phase)?;
            self.settled("the stable Service on the candidate", settle, phase)?;
            if let Some(promotion) = &mut self.flight()?.promotion {
                promotion.home = true;
            }
            return Err(Stop::Again);
        }
        if service.hash() != Some(&candidate.hash) {
            // Somebody moved it: it is moved again, at weight 0.
            if let Some(promotion) = &mut self.flight()?.promotion {
                promotion.home = false;
            }
            return Err(Stop::Again);
        }
        self.weighs(Weight::ZERO, phase)?;
        self.settled("all requests home to the stable Service", settle, phase)
    }

    /// What carries everything is all there is: more of it may be wanted by now than when it began to take over, however long
    /// its last weight has to be waited for.
    fn grows_meanwhile(&self, led: &Holds, deployment: &Deployment, candidate: &ReplicaSet) -> Holds {
        let ours = self.seen.ours().any(|set| set.uid == candidate.uid);
        let wanted = deployment.replicas.min(self.room(candidate, deployment));
        if matches!(led, Err(Stop::Wait(..))) && candidate.replicas < wanted && ours {
            self.scaled(candidate, wanted)?;
        }
        Ok(())
    }

    /// Whether the ReplicaSet that served until the promotion has left the Deployment: from here on there is only forward. One
    /// that somebody deleted before the candidate carried everything, or when that lost all its pods, is made again where that
    /// can be, and the way back stays open.
    pub fn past_the_point(&self) -> bool {
        let (Some(promotion), Some(flight)) = (self.promotion(), &self.status.flight) else { return false };
        let controls = |name: &str| self.seen.controlled().any(|set| set.name == name);
        let asks = self.seen.deployment.as_ref().is_some_and(|deployment| deployment.replicas > 0);
        let is_lost = |set: &ReplicaSet| asks && set.replicas > 0 && self.ready(set) == 0;
        let is_lost = self.seen.replica_set(&flight.candidate).is_none_or(is_lost);
        let is_given_up = self.status.latch.as_ref().is_some_and(|latch| latch.candidate == flight.candidate);
        let carries = promotion.moved && !is_lost && !is_given_up;
        let is_left = carries || controls(&flight.candidate) || !self.can_return(&promotion.from);
        !controls(&promotion.from) && is_left && self.traded().is_none()
    }

    /// The candidate is handed in, and is the stable revision. The Deployment is released at rest, if the template is still this one.
    pub fn finish(&mut self) -> Holds {
        let flight = self.flight()?.clone();
        let from = flight.promotion.as_ref().map(|promotion| promotion.from.clone()).unwrap_or_default();
        let Some(candidate) = self.seen.replica_set(&flight.candidate) else {
            let object = format!("ReplicaSet/{}", flight.candidate);
            return Err(self.wait(
                Phase::Blocked,
                Reason::StableMissing,
                &object,
                "the promoted ReplicaSet is gone",
                SOON,
            ));
        };
        // Somebody deleted the former one before the requests were home.
        let home = flight.promotion.as_ref().is_some_and(|promotion| promotion.home) && self.carried() == Weight::ZERO;
        if !home && self.rollout().metadata.deletion_timestamp.is_none() {
            let deployment = self.deployment()?;
            if let Err(doing @ Stop::Do(_)) = self.services(deployment) {
                return Err(doing);
            }
            let led = self.led_home(candidate);
            self.grows_meanwhile(&led, deployment, candidate)?;
            led?;
        }
        self.swap(&from, candidate)?;
        let message = format!("{} serves; its pods are the ones that were tried", candidate.name);
        self.note(Reason::Promoted, message.clone(), None);
        self.alert(AlertEvent::Promoted, Reason::Promoted, &message, None);
        if let Some(workload) = &mut self.status.workload {
            workload.stable_replica_set = Some(candidate.name.clone());
        }
        let went_back = self.goes_back();
        self.served(&from, &candidate.name, flight.returns);
        self.status.past = Some(Past { replica_set: from.clone(), since: Time(self.seen.now) });
        self.status.flight = None;
        if !went_back {
            self.status.latch = None;
        }
        self.status.attempt = 0;
        let undo = flight.promotion.as_ref().and_then(|promotion| promotion.undo.clone());
        if let Some(undo) = undo.filter(|_| self.rollout().metadata.deletion_timestamp.is_none()) {
            self.go_back(flight, &from, undo);
        }
        Err(Stop::Again)
    }

    /// The steps of what is on trial.
    fn flight_steps(&self) -> &[Step] {
        self.status.flight.as_ref().map_or(&[], |flight| &flight.steps)
    }

    /// The step that is held.
    pub fn step(&self) -> Result<&Step, Stop> {
        let flight = self.status.flight.as_ref().ok_or(Stop::Again)?;
        let index = self.status.step.as_ref().map_or(0, |step| step.index);
        flight.steps.get(usize::try_from(index).unwrap_or(usize::MAX)).ok_or(Stop::Again)
    }
}
