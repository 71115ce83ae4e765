//! The two Services: that they exist, what they select, and whom they reach.
use super::{
    Deployment, Effect, Found, ReplicaSet, Service,
    observed::Map,
    turn::{Holds, LATER, SOON, Stop, Turn, target},
};
use crate::{
    api::{HASH_LABEL, Phase, Reason, Traffic},
    traffic::{Capability, RouteRef},
    vocab::Pair,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a Service of ours has as the one has that it is made after.
const COPIED: [&str; 6] = [
    "sessionAffinity",
    "sessionAffinityConfig",
    "internalTrafficPolicy",
    "trafficDistribution",
    "ipFamilyPolicy",
    "ipFamilies",
];

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
        let moved = self.promotion().is_some_and(|promotion| promotion.moved);
        let takes_over = moved && self.pair().is_some_and(|pair| pair.stable == name);
        let serves = if takes_over { self.status.canary.as_ref() } else { self.status.stable.as_ref() };
        if let Some(serves) = serves.filter(|_| pinned) {
            spec["selector"][HASH_LABEL] = json!(serves.pod_template_hash);
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
            Some(_) => {
                let all = self.templates(deployment);
                json!(selector(deployment, source.iter().map(|source| &source.selector), &all))
            }
            None => source.map(|service| json!(service.selector)).ok_or_else(|| {
                missing(
                    "the Deployment's selector has no matchLabels, and no Service selects its pods to learn from"
                        .to_owned(),
                )
            })?,
        };
        // A load balancer outside of the cluster may reach the nodes' ports, where the Service that was there before has some.
        let has_node_ports = source.is_some_and(|source| source.ports.iter().any(|port| port["nodePort"].is_u64()));
        let by_nodes = |route: &RouteRef| route.router().is_ok_and(|router| router.can(Capability::Nodes));
        let from_outside = self.traffic().into_iter().flat_map(|traffic| &traffic.routes).any(by_nodes);
        let kind = if has_node_ports && from_outside { "NodePort" } else { "ClusterIP" };
        let mut spec = json!({"type": kind, "selector": selector, "ports": ports});
        for field in COPIED {
            if let Some(value) = source.and_then(|service| service.spec.get(field)) {
                spec[field] = value.clone();
            }
        }
        Ok(spec)
    }

    /// The templates of all pods that there are, or will be as soon as the Deployment rolls.
    fn templates(&self, deployment: &'a Deployment) -> Vec<&'a Value> {
        std::iter::once(&deployment.template).chain(self.with_pods()).collect()
    }

    fn with_pods(&self) -> impl Iterator<Item = &'a Value> {
        self.seen.replica_sets.iter().filter(|set| !set.is_empty()).map(|set| &set.template)
    }

    /// A Service selects the Deployment's pods: of this hash, or of all.
    pub fn selects(&self, service: &Service, hash: Option<&str>) -> Holds {
        let Some(deployment) = self.seen.deployment.as_ref() else { return self.selects_of(service, hash, &[]) };
        let set = self.seen.replica_sets.iter().find(|set| Some(set.hash.as_str()) == hash);
        // A label that one revision lacks is missed while that is selected, and no longer.
        let templates = set.map_or_else(|| self.templates(deployment), |set| vec![&set.template]);
        self.selects_of(service, hash, &templates)
    }

    fn selects_of(&self, service: &Service, hash: Option<&str>, templates: &[&Value]) -> Holds {
        let mut selector = match self.seen.deployment.as_ref().filter(|it| it.match_labels().is_some()) {
            Some(deployment) => {
                let siblings = self.seen.stable_service.iter().chain(&self.seen.canary_service).filter(|it| it.ours);
                let known = siblings.chain([service]).map(|service| &service.selector);
                selector(deployment, known, templates)
            }
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
        self.both(|turn, service| turn.selects(service, None))
    }

    /// The same where the Deployment is held: a template that has no pods narrows and widens nothing.
    pub fn widened_to_what_serves(&self) -> Holds {
        let served: Vec<_> = self.with_pods().collect();
        self.both(
            |turn, service| {
                if served.is_empty() { turn.selects(service, None) } else { turn.selects_of(service, None, &served) }
            },
        )
    }

    fn both(&self, holds: impl Fn(&Self, &Service) -> Holds) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        for (found, name) in [(&self.seen.stable_service, &pair.stable), (&self.seen.canary_service, &pair.canary)] {
            if let Some(service) = found.as_ref().filter(|service| service.ours && service.name == *name) {
                holds(self, service)?;
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
    pub fn known_to_gateways(&self, phase: Phase) -> Holds {
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
        Err(self.wait(phase, Reason::Settling, what, message, SOON))
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
             accept that by name in spec.traffic.unrouted, or delete it where nothing calls it",
            service.name
        );
        Err(self.wait(Phase::Blocked, Reason::UnroutedService, &format!("Service/{}", service.name), message, LATER))
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
}

/// The labels that the Deployment asks for, and those of selectors beside them that the pods of all these templates have:
/// they keep pods of others out that the Deployment's labels would let in.
fn selector<'m>(deployment: &Deployment, narrower: impl Iterator<Item = &'m Map>, templates: &[&Value]) -> Map {
    let have = |key: &str, value: &str| templates.iter().all(|it| it["metadata"]["labels"][key] == value);
    let narrower = narrower.flatten().filter(|(key, value)| have(key, value));
    let own = deployment.match_labels().into_iter().flatten();
    let own = own.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    narrower.map(|(key, value)| (key.clone(), value.clone())).chain(own).collect()
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
