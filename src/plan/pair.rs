//! The two Services and the routes that weigh them: that they exist, what they select, how much each gets, and when the
//! data plane has taken it.
use super::{
    Claim, Deployment, Effect, Found, ReplicaSet, Route, Service,
    observed::Map,
    turn::{Holds, LATER, SOON, Stop, Turn, target},
};
use crate::{
    api::{self, HASH_LABEL, Phase, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Reason, Settling, Traffic},
    duration::Duration,
    traffic::{Acceptance, Capability, Ownership, RouteRef, Split, Unsteerable, Weights},
    vocab::{Pair, Weight},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// On the way down a gateway that does not say that it took a weight is waited for so long.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// What a Service of ours has as the one has that it is made after.
const COPIED: [&str; 6] = [
    "sessionAffinity",
    "sessionAffinityConfig",
    "internalTrafficPolicy",
    "trafficDistribution",
    "ipFamilyPolicy",
    "ipFamilies",
];

/// What keeps a weight from being what it should, where others carry it already.
type Unwilling = Option<Stop>;

impl<'a> Turn<'a> {
    // ---- words ------------------------------------------------------------------------------------------------------

    /// The traffic in force.
    pub fn traffic(&self) -> Option<&Traffic> {
        if self.status.is_held() { self.status.traffic.as_ref() } else { self.spec().traffic.as_ref() }
    }

    /// The Services and their port, where routes carry the weights.
    pub fn pair(&self) -> Option<Pair> {
        Some(self.traffic()?.pair(self.seen.port().unwrap_or(80))?.serving(self.seen.ports()))
    }

    /// How long the slowest router's data plane takes.
    pub fn settle(&self) -> Duration {
        let routes = self.traffic().into_iter().flat_map(|traffic| &traffic.routes);
        routes.filter_map(|route| Some(route.settle_with(route.router().ok()?))).max().unwrap_or(Duration::ZERO)
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
        let written = self.seen.routes.iter().any(|route| match &route.found {
            Found::Object { seen: Ok(seen), .. } => !seen.apart.is_empty(),
            _ => false,
        });
        written || !self.accepted_split().apart.is_empty()
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

    // ---- Services -----------------------------------------------------------------------------------------------

    /// The Service of this name is there and ours.
    pub fn service(&self, found: Option<&'a Service>, name: &str) -> Result<&'a Service, Stop> {
        let object = format!("Service/{name}");
        match found {
            Some(service) if service.ours => Ok(service),
            Some(service) if service.orphaned => Err(self.claimed(service)),
            Some(_) => Err(self.wait(
                Phase::Blocked,
                Reason::ServiceContested,
                &object,
                format!(
                    "Service {name} exists and was not made for this Rollout, or is held in Git beside it; choose another name in \
                     spec.traffic.services, or delete it and take it out of Git"
                ),
                LATER,
            )),
            None => Err(self.wait(Phase::Waiting, Reason::ServiceSourceMissing, &object, format!("Service {name} is missing"), SOON)),
        }
    }

    fn claimed(&self, service: &Service) -> Stop {
        let deployment = self.seen.deployment.as_ref().map(target);
        Stop::Do(Effect::ClaimService { service: target(service), deployment })
    }

    /// Both Services exist and are ours, and the Deployment's as well: owned by the Rollout alone they would go with it,
    /// from under a route that names them.
    pub fn services(&mut self, deployment: &'a Deployment) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        let found = [(&self.seen.stable_service, &pair.stable), (&self.seen.canary_service, &pair.canary)];
        for (found, name) in found {
            if found.is_none() {
                return Err(self.made(deployment, name)?);
            }
            let service = self.service(found.as_ref(), name)?;
            if !service.owners.contains(&deployment.uid) {
                return Err(self.claimed(service));
            }
        }
        if !self.status.decisions.iter().any(|decision| decision.reason == Reason::ServicesReady)
            && self.status.workload.is_none()
        {
            self.note(
                Reason::ServicesReady,
                format!("Services {} and {} select the Deployment's pods", pair.stable, pair.canary),
                None,
            );
        }
        Ok(())
    }

    /// A Service of this name, which selects stable's pods alone while a revision is on trial.
    pub fn made(&self, deployment: &Deployment, name: &str) -> Result<Stop, Stop> {
        let mut spec = self.service_spec(deployment)?;
        let old_serve = self.seen.ours().any(|set| !set.is_empty());
        let pinned = self.status.flight.is_some() || self.status.past.is_some() || old_serve;
        let stable = self.status.stable.as_ref().filter(|_| pinned);
        if let Some(stable) = stable {
            spec["selector"][HASH_LABEL] = json!(stable.pod_template_hash);
        }
        Ok(Stop::Do(Effect::CreateService { name: name.to_owned(), spec, deployment: target(deployment) }))
    }

    /// The stable Service is there. Where it cannot be made, nothing waits for it.
    pub fn stable_made(&self, deployment: &Deployment) -> Holds {
        let missing = self.pair().filter(|_| self.seen.stable_service.is_none());
        missing.and_then(|pair| self.made(deployment, &pair.stable).ok()).map_or(Ok(()), Err)
    }

    /// What a Service of ours looks like: ports and affinity of its sibling, or of the one that the route names, and the
    /// Deployment's selector.
    fn service_spec(&self, deployment: &Deployment) -> Result<Value, Stop> {
        let named: Vec<&str> = self
            .seen
            .routes
            .iter()
            .filter_map(|route| match &route.found {
                Found::Object { backends, .. } => Some(backends.iter().map(String::as_str)),
                _ => None,
            })
            .flatten()
            .collect();
        let others = &self.seen.other_services;
        let sibling = self.seen.stable_service.iter().chain(&self.seen.canary_service).find(|service| service.ours);
        let wanted = self.traffic().and_then(|traffic| traffic.port);
        let has_port =
            |service: &&Service| service.ports.iter().any(|port| port["port"].as_u64() == wanted.map(u64::from));
        let source = sibling
            .or_else(|| others.iter().find(|service| named.contains(&service.name.as_str())))
            .or_else(|| others.iter().find(has_port))
            .or_else(|| others.first());
        let missing =
            |message: String| self.wait(Phase::Waiting, Reason::ServiceSourceMissing, "Service", message, LATER);
        let ports = match (source, wanted) {
            (Some(source), wanted) => ports_of(source, wanted).map_err(missing)?,
            (None, Some(port)) => {
                let target = deployment.template.pointer("/spec/containers/0/ports/0/containerPort").cloned();
                vec![json!({"name": "http", "port": port, "targetPort": target.unwrap_or_else(|| port.into())})]
            }
            (None, None) => {
                return Err(missing(
                    "spec.traffic.port: no Service selects the Deployment's pods, so say which port the stable and canary Services have".to_owned(),
                ));
            }
        };
        let selector = match deployment.match_labels() {
            Some(_) => json!(self.selector(deployment, source.map(|source| &source.selector))),
            None => source.map(|service| json!(service.selector)).ok_or_else(|| {
                missing(
                    "the Deployment's selector has no matchLabels, and no Service selects its pods to learn from"
                        .to_owned(),
                )
            })?,
        };
        let mut spec = json!({"type": "ClusterIP", "selector": selector, "ports": ports});
        for field in COPIED {
            if let Some(value) = source.and_then(|service| service.spec.get(field)) {
                spec[field] = value.clone();
            }
        }
        Ok(spec)
    }

    /// The labels that the Deployment asks for, and those of a Service's selector beside them that the pods of every revision
    /// have: they keep pods of others out that the Deployment's labels would let in.
    fn selector(&self, deployment: &Deployment, narrower: Option<&Map>) -> Map {
        let with_pods = self.seen.replica_sets.iter().filter(|set| !set.is_empty()).map(|set| &set.template);
        let templates: Vec<_> = std::iter::once(&deployment.template).chain(with_pods).collect();
        let have = |key: &str, value: &str| templates.iter().all(|it| it["metadata"]["labels"][key] == value);
        let narrower = narrower.into_iter().flatten().filter(|(key, value)| have(key, value));
        let own = deployment.match_labels().into_iter().flatten();
        let own = own.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        narrower.map(|(key, value)| (key.clone(), value.clone())).chain(own).collect()
    }

    /// A Service selects the Deployment's pods: of this hash, or of all.
    pub fn selects(&self, service: &Service, hash: Option<&str>) -> Holds {
        let mut selector = match self.seen.deployment.as_ref().filter(|it| it.match_labels().is_some()) {
            Some(deployment) => self.selector(deployment, Some(&service.selector)),
            None => service.selector.clone(),
        };
        selector.remove(HASH_LABEL);
        if let Some(hash) = hash {
            selector.insert(HASH_LABEL.to_owned(), hash.to_owned());
        }
        if service.selector == selector {
            return Ok(());
        }
        Err(Stop::Do(Effect::Select { service: target(service), selector, from: service.selector.clone() }))
    }

    /// Both Services, as far as they are ours, select all the Deployment's pods.
    pub fn widened(&self) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        for (found, name) in [(&self.seen.stable_service, &pair.stable), (&self.seen.canary_service, &pair.canary)] {
            if let Some(service) = found.as_ref().filter(|service| service.ours && service.name == *name) {
                self.selects(service, None)?;
            }
        }
        Ok(())
    }

    /// Both Services have endpoints, so that a route may name them without losing a request.
    pub fn reachable(&self, deployment: &Deployment) -> Holds {
        if self.pair().is_none() || deployment.available == 0 {
            return Ok(());
        }
        let mut services = self.seen.stable_service.iter().chain(&self.seen.canary_service);
        let Some(service) = services.find(|service| service.endpoints.is_empty()) else { return Ok(()) };
        let object = format!("Service/{}", service.name);
        let message = format!("Service {} has no endpoints yet, so no route should name it", service.name);
        Err(self.wait(Phase::Initializing, Reason::EndpointsNotReady, &object, message, SOON))
    }

    /// Gateways have had their time to hear of the Services and of their endpoints, before a route names them. At first it
    /// is counted from the look that finds both with endpoints; a route that is deleted later is missed by its users.
    fn known_to_gateways(&self) -> Holds {
        let what = "both Services, before a route names them";
        let services = self.seen.stable_service.iter().chain(&self.seen.canary_service);
        let Some(youngest) = services.map(|service| service.created).max() else { return Ok(()) };
        let waits = self.status.waiting_for.iter().find(|waiting| waiting.object == what);
        // Neither time has fractions of a second.
        let whole = SignedDuration::from_secs(1);
        let found = match waits {
            Some(waiting) => waiting.since.0 + whole,
            None if self.status.workload.is_none() => self.seen.now,
            None => youngest + whole,
        };
        let since = found.max(youngest + whole);
        let settle = self.settle();
        if self.ago(since) >= settle.signed() {
            return Ok(());
        }
        let message = format!("the data plane is given {settle} to take: {what}");
        Err(self.wait(Phase::Initializing, Reason::Settling, what, message, SOON))
    }

    /// A Service's endpoints are exactly these pods.
    pub fn reaches(&self, service: &Service, pods: &BTreeSet<String>, phase: Phase) -> Holds {
        if service.endpoints == *pods && !pods.is_empty() {
            return Ok(());
        }
        Err(self.wait(
            phase,
            Reason::EndpointsNotReady,
            &format!("Service/{}", service.name),
            format!(
                "Service {} reaches {} pods and should reach {}",
                service.name,
                service.endpoints.len(),
                pods.len()
            ),
            SOON,
        ))
    }

    /// Nothing reaches the pods except through a router, or what the spec accepts by name.
    pub fn routed_only(&self) -> Holds {
        if self.pair().is_none() {
            return Ok(());
        }
        let accepted = self.traffic().map_or(&[][..], |traffic| &traffic.unrouted);
        let Some(service) = self.seen.other_services.iter().find(|service| !accepted.contains(&service.name)) else {
            return Ok(());
        };
        let message = format!(
            "Service {} selects the Deployment's pods without passing a route, so it would send requests to a candidate at weight 0; \
             delete it, or accept that by name in spec.traffic.unrouted",
            service.name
        );
        Err(self.wait(Phase::Blocked, Reason::UnroutedService, &format!("Service/{}", service.name), message, LATER))
    }

    // ---- routes --------------------------------------------------------------------------------------------------

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
                    self.known_to_gateways()?;
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
                        self.known_to_gateways()?;
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

    /// Services that cannot be had: what the spec says by now comes into force first, if that is another thing.
    pub fn or_anew(&mut self, services: Holds) -> Holds {
        if services.is_err() && self.status.flight.is_none() && self.seen.ours().all(ReplicaSet::is_empty) {
            self.traffic_in_force()?;
        }
        services
    }

    /// A Service that was pinned to pods which are gone, by a Rollout that is gone too, reaches those that there are.
    pub fn unpinned(&self) -> Holds {
        let mut services = self.seen.stable_service.iter().chain(&self.seen.canary_service);
        let is_lost = |service: &&Service| service.ours && service.hash().is_some() && service.endpoints.is_empty();
        services.find(is_lost).map_or(Ok(()), |service| self.selects(service, None))
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
        self.status.weights = Some(api::Weights {
            desired: split.weight,
            accepted: before.weight,
            apart: before.apart.clone(),
            by: Some(self.proof().to_owned()),
            pending_since: None,
            observed: known.observed,
        });
        let (mut wrong, mut absent, mut problem, mut unaccepted) = (Vec::new(), None, None, None);
        for route in &self.seen.routes {
            let object = object_of(route);
            let ours = route.reference.ownership == Ownership::Operator;
            match &route.found {
                Found::Missing if ours => drop(absent.get_or_insert(route.reference.clone())),
                // What is not there sends nothing to a candidate.
                Found::Missing | Found::NotServed if split.is_none() => {}
                Found::Missing | Found::NotServed => {
                    let message = format!("{object} is gone; it carried the weights of this Rollout");
                    problem.get_or_insert(self.wait(Phase::Waiting, Reason::RouteMissing, &object, message, SOON));
                }
                Found::Unreadable(why) => {
                    problem.get_or_insert(self.wait(Phase::Waiting, Reason::RouteUnreadable, &object, why, SOON));
                }
                Found::Object { claim: Claim::Foreign(other), .. } => {
                    problem.get_or_insert(self.claimed_by(other, Reason::RouteClaimed, &object));
                }
                Found::Object { seen: Ok(seen), drifted: false, .. }
                    if seen.weight == Weights::At(split.weight) && seen.apart == split.apart =>
                {
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
                Found::Object { .. } => match &route.refused {
                    None => wrong.push(route.reference.clone()),
                    Some(why) => {
                        let message = format!("{object} cannot be written: {why}");
                        problem.get_or_insert(self.wait(Phase::Blocked, Reason::WriteRefused, &object, message, SOON));
                    }
                },
            }
        }
        if !wrong.is_empty() {
            self.count_reverts(split, &before);
            if let Some(flight) = &mut self.status.flight {
                flight.settling = None;
            }
            self.share_anew();
            return Err(Stop::Do(Effect::SetWeights { split: split.clone(), pair, routes: wrong }));
        }
        if let Some(route) = absent {
            return Err(self.written_anew(route, pair, split.clone()));
        }
        if problem.is_some() {
            return Ok(problem);
        }
        if let Some((object, why)) = unaccepted {
            if let Some(weights) = &mut self.status.weights {
                weights.pending_since = pending_since.or(Some(MicroTime(self.seen.now)));
            }
            let message = format!("{object} says {split} for the canary and is not accepted: {why}");
            return Err(self.wait(phase, Reason::RouteNotAccepted, &object, message, SOON));
        }
        // A gateway that was given up and is back takes it only now.
        let was_ignored = pending_since.is_some_and(|since| self.is_ignored(since.0));
        if let Some(flight) = self.status.flight.as_mut().filter(|_| was_ignored) {
            flight.settling = None;
        }
        if let Some(weights) = &mut self.status.weights {
            weights.accepted = split.weight;
            weights.apart = split.apart.clone();
        }
        Ok(None)
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
            let surplus = flight.reverted.len().saturating_sub(2);
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

/// The ports that a Service of ours copies; `wanted` must be one of them.
fn ports_of(source: &Service, wanted: Option<u16>) -> Result<Vec<Value>, String> {
    let number = |port: &Value| port.get("port").and_then(Value::as_u64);
    let mut ports: Vec<Value> = source.ports.clone();
    for port in ports.iter_mut().filter_map(Value::as_object_mut) {
        port.remove("nodePort");
    }
    match wanted {
        Some(wanted) => {
            let Some(at) = ports.iter().position(|port| number(port) == Some(u64::from(wanted))) else {
                let have: Vec<_> = ports.iter().filter_map(number).map(|port| port.to_string()).collect();
                return Err(format!(
                    "spec.traffic.port: Service {} has no port {wanted}, but {}",
                    source.name,
                    have.join(", ")
                ));
            };
            ports.swap(0, at);
        }
        None if ports.len() > 1 && source.ours => {}
        None if ports.len() > 1 => {
            return Err(format!(
                "spec.traffic.port: Service {} has several ports; say which one the routes name",
                source.name
            ));
        }
        None => {}
    }
    Ok(ports)
}
