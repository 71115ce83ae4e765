//! The routes: that they name both Services, how they split requests, and when the data plane has taken it.
use super::{
    Claim, Effect, Found, Route,
    capacity::carried_by,
    turn::{Holds, LATER, SOON, Stop, Turn},
};
use crate::{
    api::{self, Phase, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Reason, Settling, Traffic},
    duration::Duration,
    traffic::{Acceptance, Apart, Capability, Ownership, RouteRef, RouteSeen, Split, Unsteerable, Weights},
    vocab::{Pair, Weight},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// On the way down a gateway that does not say that it took a weight is waited for so long.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// A route that is not there, cannot be read or is not accepted for so long is told to people.
const OVERDUE: SignedDuration = SignedDuration::from_mins(5);

/// So many times that our weights were undone are remembered.
const REVERTS: usize = 12;

/// What keeps a weight from being what it should, where others carry it already.
type Unwilling = Option<Stop>;

impl Turn<'_> {
    /// How long the slowest router's data plane takes.
    pub fn settle(&self) -> Duration {
        let settle = |route: &Route| {
            let pace = if let Found::Object { pace, .. } = &route.found { *pace } else { Duration::ZERO };
            Some(route.reference.settle_with(route.reference.router().ok()?, pace))
        };
        self.seen.routes.iter().filter_map(settle).max().unwrap_or(Duration::ZERO)
    }

    /// How it is known that gateways have taken a weight: all of them say so in the routes' status, or they are given time.
    fn proof(&self) -> &'static str {
        let tells = |route: &Route| {
            let untold =
                matches!(&route.found, Found::Object { seen: Ok(seen), .. } if seen.accepted == Acceptance::Untold);
            !untold && route.reference.router().ok().is_none_or(|router| router.can(Capability::Status))
        };
        if self.seen.routes.iter().all(tells) { "Status" } else { "Delay" }
    }

    /// The weight that is known to be accepted.
    pub fn accepted(&self) -> Weight {
        self.status.weights.as_ref().map_or(Weight::ZERO, |weights| weights.accepted)
    }

    /// What is known to be accepted.
    pub fn accepted_split(&self) -> Split {
        let apart = self.status.weights.as_ref().map(|weights| weights.apart.clone()).unwrap_or_default();
        Split { weight: self.accepted(), apart }
    }

    /// Whether anything beside a weight may reach the canary now.
    pub fn carries_apart(&self) -> bool {
        self.any_apart(|apart| !apart.is_empty())
    }

    /// Whether requests that match may reach the canary now, of which it is the only one to answer.
    pub fn carries_matches(&self) -> bool {
        self.any_apart(|apart| !apart.matches.is_empty())
    }

    fn any_apart(&self, is: impl Fn(&Apart) -> bool) -> bool {
        let written = self.seen.routes.iter().any(|route| match &route.found {
            Found::Object { seen: Ok(seen), .. } => is(&seen.apart),
            _ => false,
        });
        written || is(&self.accepted_split().apart)
    }

    /// The weight that was asked for last; all of it where none was.
    pub fn desired(&self) -> Weight {
        self.status.weights.as_ref().map_or(Weight::FULL, |weights| weights.desired)
    }

    /// The most that any route may be sending to the canary now: what stands in it, or what was accepted before.
    pub fn carried(&self) -> Weight {
        let written = self.seen.routes.iter().filter_map(|route| match &route.found {
            Found::Object { seen: Ok(seen), .. } => Some(seen.weight.at_most()),
            _ => None,
        });
        written.max().unwrap_or(Weight::ZERO).max(self.accepted())
    }

    /// A route of ours that is not there is written; what its template lacks is said, for no route says it.
    fn written_anew(&self, route: RouteRef, pair: Pair, split: Split) -> Stop {
        let namespace = self.seen.rollout.metadata.namespace.as_deref().unwrap_or_default();
        match route.router().and_then(|router| router.whole(&route, namespace, &pair, &split)) {
            Ok(_) => Stop::Do(Effect::WriteRoute { route, pair, split }),
            Err(why) => {
                let (object, message) =
                    (format!("{}/{}", route.kind, route.name), format!("spec.traffic.routes: its template: {why}"));
                self.wait(Phase::Blocked, Reason::RouteUnsteerable, &object, message, LATER)
            }
        }
    }

    /// A route of ours that somebody deleted is written again, whatever else a look waits for: with what the candidate has and
    /// can carry, or with all of it for stable.
    pub fn routes_there(&mut self, phase: Phase) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        let mut gone = self.seen.routes.iter().filter(|route| is_ours_to_make(route));
        let Some(route) = gone.find(|route| route.refused.is_none()).map(|route| route.reference.clone()) else {
            return Ok(());
        };
        if self.status.flight.is_none() {
            self.known_to_gateways(phase)?;
        }
        let split = self.bearable_split();
        match self.written_anew(route, pair, split) {
            doing @ Stop::Do(_) => {
                if self.status.flight.is_some() {
                    self.pends(self.status.weights.as_ref().and_then(|weights| weights.pending_since.clone()));
                }
                Err(doing)
            }
            // What its template lacks holds up only what needs the route.
            _ => Ok(()),
        }
    }

    /// A route of ours that is gone and refuses to be written is said, and tried again.
    pub fn routes_written(&self) -> Holds {
        let refused = |route: &Route| {
            let why = route.refused.as_ref().filter(|_| is_ours_to_make(route))?;
            Some(self.unwritten(&object_of(route), why))
        };
        self.seen.routes.iter().find_map(refused).map_or(Ok(()), Err)
    }

    /// A route that carried weights is gone.
    fn missing(&self, route: &Route) -> Stop {
        let object = object_of(route);
        if let Some(why) = route.refused.as_ref().filter(|_| is_ours_to_make(route)) {
            return self.unwritten(&object, why);
        }
        let message = format!("{object} is gone; it carried the weights of this Rollout");
        let phase = self.waits_as(Reason::RouteMissing, &object, Phase::Waiting);
        self.wait(phase, Reason::RouteMissing, &object, message, SOON)
    }

    fn unwritten(&self, object: &str, why: &str) -> Stop {
        let message = format!("{object} cannot be written: {why}");
        self.wait(Phase::Blocked, Reason::WriteRefused, object, message, SOON)
    }

    /// What was accepted for the candidate, as far as its ready pods can take it; more where stable has none.
    fn bearable_split(&self) -> Split {
        let (Some(flight), Some(deployment)) = (&self.status.flight, &self.seen.deployment) else { return Split::NONE };
        let ready = self.seen.replica_set(&flight.candidate).map_or(0, |candidate| self.ready(candidate));
        if ready == 0 {
            return Split::NONE;
        }
        let accepted = self.accepted_split();
        let stable = self.status.stable.as_ref().map(|stable| &stable.pod_template_hash);
        let moved = flight.promotion.as_ref().is_some_and(|promotion| promotion.moved);
        if moved || stable.is_none_or(|hash| self.seen.ready_pods(hash).is_empty()) {
            return accepted;
        }
        Split { weight: accepted.weight.min(carried_by(ready, deployment.replicas)), ..accepted }
    }

    /// Every route exists and names both Services; those that are ours to write are as their templates say.
    pub fn prepared(&mut self) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        for route in &self.seen.routes {
            let reference = &route.reference;
            let object = object_of(route);
            let say = |reason, message: String| Err(self.wait(Phase::Waiting, reason, &object, message, SOON));
            match &route.found {
                Found::NotServed => {
                    return say(
                        Reason::RouteMissing,
                        format!(
                            "this cluster does not know {} of {}: install its definitions",
                            reference.kind, reference.api_version
                        ),
                    );
                }
                Found::Unreadable(why) => return say(Reason::RouteUnreadable, why.clone()),
                Found::Missing if reference.ownership == Ownership::Operator => {
                    self.routes_written()?;
                    self.known_to_gateways(Phase::Initializing)?;
                    return Err(self.written_anew(reference.clone(), pair, Split::NONE));
                }
                Found::Missing => {
                    return say(
                        Reason::RouteMissing,
                        format!("spec.traffic.routes: there is no {object} in this namespace"),
                    );
                }
                Found::Object { claim: Claim::Foreign(other), .. } => {
                    return Err(self.claimed_by(other, Reason::RouteClaimed, &object));
                }
                Found::Object { claim: Claim::Ours, drifted: true, .. } => {
                    let (routes, split) = (vec![reference.clone()], Split::NONE);
                    return Err(Stop::Do(Effect::SetWeights { split, pair, routes }));
                }
                Found::Object {
                    seen: Err(why @ (Unsteerable::NotPrepared { .. } | Unsteerable::Unready { .. })),
                    ..
                } => {
                    // Whoever reads it writes it at once.
                    let is_said = self.status.waiting_for.iter().any(|it| it.reason == Reason::RouteNotPrepared);
                    if !is_said && self.status.workload.is_none() {
                        self.known_to_gateways(Phase::Initializing)?;
                    }
                    return say(Reason::RouteNotPrepared, why.to_string());
                }
                Found::Object { seen: Err(why), .. } => {
                    return Err(self.wait(Phase::Blocked, Reason::RouteUnsteerable, &object, why.to_string(), LATER));
                }
                Found::Object { seen: Ok(_), .. } => {}
            }
        }
        Ok(())
    }

    /// What people should know of routes that have weight for the canary Service although nothing is on trial: they could
    /// not be written, or somebody has written them.
    pub fn still_weighed(&self) -> String {
        let left = |route: &Route| match &route.found {
            Found::Object { claim: Claim::Ours, seen: Ok(seen), .. } => {
                let most = Some(seen.weight.at_most()).filter(|most| *most > Weight::ZERO)?;
                let object = object_of(route);
                Some(format!("; {object} still gives the canary Service {most}, which reaches stable's pods as well"))
            }
            _ => None,
        };
        self.seen.routes.iter().filter_map(left).collect()
    }

    /// A route carries our claim no more, unless it refuses to be written.
    pub fn let_go(&self, route: &Route) -> Holds {
        if let (Found::Object { claim: Claim::Ours, .. }, Some(pair)) = (&route.found, self.pair())
            && route.refused.is_none()
        {
            return Err(Stop::Do(Effect::ClaimRoute { route: route.reference.clone(), pair, claimed: false }));
        }
        Ok(())
    }

    /// An edit of the spec's traffic comes into force: what left it is let go first.
    pub fn traffic_in_force(&mut self) -> Holds {
        let wanted = self.spec().traffic.clone();
        if self.status.traffic == wanted {
            return Ok(());
        }
        let names = |traffic: Option<&Traffic>| traffic.and_then(|traffic| traffic.services.clone());
        let keeps_services = names(self.status.traffic.as_ref()) == names(wanted.as_ref());
        if !keeps_services {
            // Nobody looks after these any more, and somebody's route may go on to name them.
            for set in self.seen.ours() {
                self.ends(set, Phase::Progressing)?;
            }
            self.widened()?;
        }
        let stays = |route: &Route| {
            keeps_services
                && wanted.iter().flat_map(|traffic| &traffic.routes).any(|other| {
                    (&other.api_version, &other.kind, &other.name)
                        == (&route.reference.api_version, &route.reference.kind, &route.reference.name)
                })
        };
        let mut behind = String::new();
        for route in self.seen.routes.iter().filter(|route| !stays(route)) {
            self.let_go(route)?;
            behind.extend(keeps_claim(route));
        }
        self.status.traffic = wanted;
        self.note(Reason::TrafficChanged, format!("the traffic of the spec is in force now{behind}"), None);
        Err(Stop::Again)
    }

    /// All routes split requests like this, and every gateway has accepted it.
    pub fn weighs(&mut self, split: impl Into<Split>, phase: Phase) -> Holds {
        match self.weighed(&split.into(), phase)? {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    /// As [`Turn::weighs`], on the way down: what cannot be written, or is not accepted in time, holds up nothing else.
    pub fn lowered(&mut self, split: impl Into<Split>, phase: Phase) -> Result<Unwilling, Stop> {
        match self.weighed(&split.into(), phase) {
            Err(Stop::Wait(phase, wait)) if wait.reason == Reason::RouteNotAccepted => {
                let since = self.status.weights.as_ref().and_then(|weights| weights.pending_since.as_ref());
                let stop = Stop::Wait(phase, wait);
                if since.is_some_and(|since| self.is_ignored(since.0)) { Ok(Some(stop)) } else { Err(stop) }
            }
            other => other,
        }
    }

    /// Writes all that can be written; then says what keeps the rest from it.
    fn weighed(&mut self, split: &Split, phase: Phase) -> Result<Unwilling, Stop> {
        let Some(pair) = self.pair() else { return Ok(None) };
        let before = self.accepted_split();
        let known = self.status.weights.take().unwrap_or_default();
        let pending_since = known.pending_since;
        let asked_since = pending_since.clone().filter(|_| known.desired == split.weight);
        self.status.weights = Some(api::Weights {
            desired: split.weight,
            accepted: before.weight,
            apart: before.apart.clone(),
            by: Some(self.proof().to_owned()),
            pending_since: None,
            observed: known.observed,
        });
        let (mut wrong, mut undone, mut absent, mut problem, mut unaccepted) = (Vec::new(), false, None, None, None);
        for route in &self.seen.routes {
            let object = object_of(route);
            let ours = route.reference.ownership == Ownership::Operator;
            match &route.found {
                Found::Missing if ours && route.refused.is_none() => {
                    absent.get_or_insert(route.reference.clone());
                }
                // What is not there sends nothing to a candidate.
                Found::Missing | Found::NotServed if split.is_none() => {}
                Found::Missing | Found::NotServed => {
                    problem.get_or_insert_with(|| self.missing(route));
                }
                Found::Unreadable(why) => {
                    let phase = self.waits_as(Reason::RouteUnreadable, &object, Phase::Waiting);
                    problem.get_or_insert(self.wait(phase, Reason::RouteUnreadable, &object, why, SOON));
                }
                Found::Object { claim: Claim::Foreign(other), .. } => {
                    problem.get_or_insert(self.claimed_by(other, Reason::RouteClaimed, &object));
                }
                Found::Object { seen: Ok(seen), drifted: false, .. } if splits(seen, split) => {
                    if let Acceptance::No(why) | Acceptance::Unknown(why) = &seen.accepted {
                        unaccepted.get_or_insert((object, why.clone()));
                    }
                }
                Found::Object { seen: Err(_), backends, .. }
                    if split.is_none() && !ours && !backends.contains(&pair.canary) => {}
                Found::Object { seen: Err(why), .. } if !ours => {
                    let message = why.to_string();
                    problem.get_or_insert(self.wait(Phase::Blocked, Reason::RouteUnsteerable, &object, message, LATER));
                }
                Found::Object { seen, .. } => match &route.refused {
                    None => {
                        undone |= !seen.as_ref().is_ok_and(|seen| splits(seen, &before));
                        wrong.push(route.reference.clone());
                    }
                    Some(why) => {
                        problem.get_or_insert(self.unwritten(&object, why));
                    }
                },
            }
        }
        if !wrong.is_empty() {
            if undone {
                self.count_reverts(split, &before);
            }
            // What else is mended in a route of ours moves no share.
            if undone || *split != before {
                if let Some(flight) = &mut self.status.flight {
                    flight.settling = None;
                }
                self.share_anew();
                self.pends(asked_since);
            }
            return Err(Stop::Do(Effect::SetWeights { split: split.clone(), pair, routes: wrong }));
        }
        if let Some(route) = absent {
            self.pends(pending_since);
            return Err(self.written_anew(route, pair, split.clone()));
        }
        if problem.is_some() {
            if pending_since.is_some() || *split != before {
                self.pends(pending_since);
            }
            return Ok(problem);
        }
        if let Some((object, why)) = unaccepted {
            self.pends(pending_since);
            let message = format!("{object} says {split} for the canary and is not accepted: {why}");
            let phase = self.waits_as(Reason::RouteNotAccepted, &object, phase);
            return Err(self.wait(phase, Reason::RouteNotAccepted, &object, message, SOON));
        }
        self.taken(split, pending_since.is_some());
        Ok(None)
    }

    /// What is asked for is not known to be everywhere yet.
    fn pends(&mut self, since: Option<MicroTime>) {
        if let Some(weights) = &mut self.status.weights {
            weights.pending_since = since.or(Some(MicroTime(self.seen.now)));
        }
    }

    /// All routes say it and every gateway has accepted it. Whatever was done while it was pending, about a gateway that was
    /// given up or a route that could not be read or written: it is taken only now.
    fn taken(&mut self, split: &Split, was_pending: bool) {
        if let Some(flight) = self.status.flight.as_mut().filter(|_| was_pending) {
            flight.settling = None;
        }
        if let Some(weights) = &mut self.status.weights {
            weights.accepted = split.weight;
            weights.apart = split.apart.clone();
        }
    }

    /// The phase in which a route is waited for: what has not come by itself for so long wants a person, unless everybody is on
    /// the way home, where it holds up nothing.
    fn waits_as(&self, reason: Reason, object: &str, phase: Phase) -> Phase {
        let old = self.status.waiting_for.iter().find(|old| old.reason == reason && old.object == object);
        let is_long = old.is_some_and(|old| self.ago(old.since.0) >= OVERDUE);
        if is_long && phase != Phase::Aborting { Phase::Blocked } else { phase }
    }

    /// Whether gateways have left a weight unaccepted for so long that they may never take it: only what this leader has seen
    /// for itself, by its own clock.
    fn is_ignored(&self, since: Timestamp) -> bool {
        self.ago(self.seen.led_since.map_or(since, |led| since.max(led))) >= PATIENCE
    }

    /// A weight that was accepted and is another now was undone by somebody.
    fn count_reverts(&mut self, wanted: &Split, accepted: &Split) {
        let now = self.seen.now;
        // A weight that we are about to write and could not is not somebody's doing.
        let writing = self.status.intent.as_ref().is_some_and(|intent| intent.action == "set-weights");
        let Some(flight) = self.status.flight.as_mut().filter(|_| !writing) else { return };
        if wanted == accepted && !wanted.is_none() {
            flight.reverted.push(Time(now));
            let surplus = flight.reverted.len().saturating_sub(REVERTS);
            flight.reverted.drain(..surplus);
        }
    }

    /// The data plane has had its time to share out requests as this step says.
    pub fn shared(&mut self) -> Holds {
        let now = MicroTime(self.seen.now);
        self.status.step.as_mut().ok_or(Stop::Again)?.shared_since.get_or_insert(now);
        Ok(())
    }

    /// What was seen of the share is of one that is none any more.
    fn share_anew(&mut self) {
        if let Some(step) = &mut self.status.step {
            step.shared_since = None;
        }
        if let Some(weights) = &mut self.status.weights {
            weights.observed = None;
        }
    }

    /// Whether each request is shared out by itself, on every route.
    pub fn shares_requests(&self) -> bool {
        let mut routers = self.seen.routes.iter().filter_map(|route| route.reference.router().ok());
        routers.all(|router| router.can(Capability::Requests))
    }

    /// A change was accepted, and the data plane has had its time to take it.
    pub fn settled(&mut self, what: &str, settle: Duration, phase: Phase) -> Holds {
        let now = self.seen.now;
        let flight = self.flight()?;
        let known = flight.settling.as_ref().filter(|settling| settling.what == what).map(|settling| settling.since.0);
        let since = known.unwrap_or(now);
        if known.is_none() {
            flight.settling = Some(Settling { what: what.to_owned(), since: MicroTime(now) });
        }
        let left = settle.signed() - now.duration_since(since);
        if left <= SignedDuration::ZERO {
            return Ok(());
        }
        Err(self.wait(
            phase,
            Reason::Settling,
            what,
            format!("the data plane is given {settle} to take: {what}"),
            left.min(SOON),
        ))
    }
}

/// Whether a route is gone that we would write.
fn is_ours_to_make(route: &Route) -> bool {
    matches!(route.found, Found::Missing) && route.reference.ownership == Ownership::Operator
}

/// Whether a route splits requests like this.
fn splits(seen: &RouteSeen, split: &Split) -> bool {
    seen.weight == Weights::At(split.weight) && seen.apart == split.apart
}

/// A route as messages name it, as Kind/name.
pub fn object_of(route: &Route) -> String {
    format!("{}/{}", route.reference.kind, route.reference.name)
}

/// What is said of a route that is let go and keeps our claim, because it cannot be written.
pub fn keeps_claim(route: &Route) -> Option<String> {
    let Found::Object { claim: Claim::Ours, .. } = route.found else { return None };
    let (object, why) = (object_of(route), route.refused.as_ref()?);
    Some(format!(
        "; {object} keeps the labels {ROLLOUT_LABEL} and {ROLLOUT_UID_LABEL}, for it cannot be written ({why}): remove them by hand"
    ))
}
