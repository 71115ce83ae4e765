//! How a Deployment is taken over, swapped and given back, without a pod touched.
//!
//! The rule behind every order of writes here: the Deployment controls exactly one ReplicaSet, or none between P1 and P2.
//! Two, and its controller scales one of them to nothing; history with it, and a scale event brings an old version back.
use super::{
    Belt, Claim, Deployment, Effect, Found, ReplicaSet, Service,
    observed::Map,
    turn::{Holds, LATER, SOON, Stop, Turn, target},
};
use crate::{
    api::{GROUP, HASH_LABEL, HeldBy, Phase, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Reason, WorkloadStatus},
    traffic::{Ownership, Unsteerable},
    vocab::Weight,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// How long after the policy's first answer the Deployment's ReplicaSets are read for good: other API servers hear of it later.
const ARMING: SignedDuration = SignedDuration::from_secs(1);
/// The annotation in which the Deployment controller counts revisions.
const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// Whether two templates are the same revision: equal as they stand, but for the hash label.
pub fn same_template(one: &Value, other: &Value) -> bool {
    fn without_hash(template: &Value) -> std::borrow::Cow<'_, Value> {
        let labels = template.pointer("/metadata/labels");
        if labels.and_then(|labels| labels.get(HASH_LABEL)).is_none() {
            return std::borrow::Cow::Borrowed(template);
        }
        let mut template = template.clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(HASH_LABEL);
        }
        std::borrow::Cow::Owned(template)
    }
    without_hash(one) == without_hash(other)
}

impl<'a> Turn<'a> {
    /// The Deployment is held, or the look stops at what is left to do for it.
    pub fn adopt(&mut self) -> Holds {
        if let Some(workload) = &self.status.workload {
            let same = self.seen.deployment.as_ref().is_some_and(|deployment| deployment.uid == workload.uid);
            if !same {
                return self.forget();
            }
            if workload.stable_replica_set.is_some() {
                return Ok(());
            }
        }
        let deployment = self.deployment()?;
        supported(self, deployment)?;
        self.services(deployment)?;
        self.prepared()?;
        self.routed_only()?;
        self.provided()?;
        self.finalizer(true)?;
        self.claims(deployment)?;
        self.take_over(deployment)
    }

    /// A2 to A4.
    fn take_over(&mut self, deployment: &'a Deployment) -> Holds {
        let now = self.seen.now;
        let Some(workload) = self.status.workload.clone() else {
            settled(self, deployment)?;
            let mut workload = WorkloadStatus {
                uid: deployment.uid.clone(),
                observed_generation: Some(deployment.generation),
                ..WorkloadStatus::default()
            };
            if self.seen.belt == Belt::Absent {
                if !deployment.paused {
                    return Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: true }));
                }
                workload.held_by = Some(HeldBy::Paused);
            }
            self.status.workload = Some(workload);
            return Err(Stop::Again);
        };
        if workload.held_by.is_none() {
            match (self.seen.belt, &workload.armed_at) {
                (Belt::Absent, _) => {
                    self.status.workload = None;
                    return Err(Stop::Again);
                }
                (Belt::NotYet, _) => {
                    return Err(self.wait(
                        Phase::Initializing,
                        Reason::PolicyNotArmed,
                        "ValidatingAdmissionPolicy",
                        "the admission policy has not refused a probe yet; it is read by the API server within a minute of its creation",
                        SOON,
                    ));
                }
                (Belt::Armed, None) => {
                    self.status.workload = Some(WorkloadStatus { armed_at: Some(Time(now)), ..workload });
                    return Err(Stop::Again);
                }
                (Belt::Armed, Some(at)) if self.ago(at.0) < ARMING => {
                    return Err(self.wait(
                        Phase::Initializing,
                        Reason::PolicyNotArmed,
                        "",
                        "waiting for all API servers",
                        SOON,
                    ));
                }
                (Belt::Armed, Some(_)) => {}
            }
        }
        let sets: Vec<_> = self.seen.controlled().collect();
        let active: Vec<_> = sets.iter().filter(|set| !set.is_empty()).collect();
        let stable = match active.as_slice() {
            [one] => Some(**one),
            [] => sets.iter().find(|set| same_template(&set.template, &deployment.template)).copied(),
            _ => None,
        };
        let Some(stable) = stable else {
            // Somebody's template won the race: their update finishes first.
            self.status.workload = None;
            return Err(Stop::Again);
        };
        if let Some(history) = sets.iter().find(|set| set.name != stable.name) {
            return Err(self.take_out(history, deployment));
        }
        let held_by = workload.held_by.unwrap_or(HeldBy::Policy);
        self.status.workload =
            Some(WorkloadStatus { stable_replica_set: Some(stable.name.clone()), held_by: Some(held_by), ..workload });
        let how = match held_by {
            HeldBy::Policy => "admission policies hold it, and it is paused only while a release is on trial",
            HeldBy::Paused => "it is paused all the time, for this cluster has no such admission policies",
        };
        self.note(
            Reason::Adopted,
            format!("Deployment {} is held, with {} as stable: {how}", deployment.name, stable.name),
            None,
        );
        Err(Stop::Again)
    }

    /// The Deployment is gone, or another of the same name: the candidate is of no use, and the next one starts from the beginning.
    fn forget(&mut self) -> Holds {
        if let (Some(_), Some(pair)) = (&self.seen.deployment, self.pair()) {
            for (found, name) in [(&self.seen.stable_service, &pair.stable), (&self.seen.canary_service, &pair.canary)]
            {
                if let Some(service) = found.as_ref().filter(|service| service.ours && service.name == *name) {
                    self.selects(service, None)?;
                }
            }
        }
        self.delete_ours()?;
        self.status.workload = None;
        self.status.flight = None;
        self.status.latch = None;
        self.status.past = None;
        self.status.step = None;
        self.status.stable = None;
        Err(Stop::Again)
    }

    /// None of our ReplicaSets is left.
    fn delete_ours(&self) -> Holds {
        let ours: Vec<_> = self.seen.ours().collect();
        for set in &ours {
            self.scaled(set, 0)?;
        }
        ours.first().map_or(Ok(()), |set| Err(Stop::Do(Effect::Delete { set: target(*set) })))
    }

    /// Both Services exist and are ours.
    pub fn services(&mut self, deployment: &'a Deployment) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        let found = [(&self.seen.stable_service, &pair.stable), (&self.seen.canary_service, &pair.canary)];
        for (found, name) in found {
            if found.is_none() {
                let spec = self.service_spec(deployment)?;
                return Err(Stop::Do(Effect::CreateService {
                    name: name.clone(),
                    spec,
                    deployment: target(deployment),
                }));
            }
            self.service(found.as_ref(), name)?;
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

    /// What a Service of ours looks like: ports and affinity of the one that the route names, and the Deployment's selector.
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
        let source = others.iter().find(|service| named.contains(&service.name.as_str())).or_else(|| others.first());
        let wanted = self.spec().traffic.as_ref().and_then(|traffic| traffic.port);
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
        let selector = match deployment.selector.get("matchLabels").and_then(Value::as_object) {
            Some(labels) if !labels.is_empty() => Value::Object(labels.clone()),
            _ => source.map(|service| json!(service.selector)).ok_or_else(|| {
                missing(
                    "the Deployment's selector has no matchLabels, and no Service selects its pods to learn from"
                        .to_owned(),
                )
            })?,
        };
        let mut spec = json!({"type": "ClusterIP", "selector": selector, "ports": ports});
        for field in ["sessionAffinity", "sessionAffinityConfig", "internalTrafficPolicy", "ipFamilyPolicy"] {
            if let Some(value) = source.and_then(|service| service.spec.get(field)) {
                spec[field] = value.clone();
            }
        }
        Ok(spec)
    }

    /// Every route exists and names both Services.
    fn prepared(&mut self) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        for route in &self.seen.routes {
            let reference = &route.reference;
            let object = format!("{}/{}", reference.kind, reference.name);
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
                Found::Missing if reference.ownership == Ownership::Operator => {
                    let (route, weight) = (reference.clone(), Weight::ZERO);
                    return Err(Stop::Do(Effect::WriteRoute { route, pair, weight }));
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
                Found::Object { seen: Err(why @ Unsteerable::NotPrepared { .. }), .. } => {
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

    /// Nothing reaches the pods except through a router, or what the spec accepts by name.
    pub fn routed_only(&self) -> Holds {
        if self.pair().is_none() {
            return Ok(());
        }
        let accepted = self.spec().traffic.as_ref().map_or(&[][..], |traffic| &traffic.unrouted);
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

    /// The provider is there, where anything is to be judged.
    pub fn provided(&self) -> Holds {
        let Some(problem) = &self.seen.provider else { return Ok(()) };
        let provider = self.spec().analysis.provider.as_ref();
        let object = provider.map(|provider| format!("{:?}/{}", provider.kind, provider.name)).unwrap_or_default();
        Err(self.wait(Phase::Waiting, Reason::ProviderMissing, &object, problem, LATER))
    }

    /// Our claim is on the Deployment and on the routes.
    pub fn claims(&self, deployment: &Deployment) -> Holds {
        match &deployment.claim {
            Claim::Ours => {}
            Claim::Free => {
                return Err(Stop::Do(Effect::ClaimWorkload { deployment: target(deployment), claimed: true }));
            }
            Claim::Foreign(other) => {
                return Err(self.claimed_by(
                    other,
                    Reason::WorkloadClaimed,
                    &format!("Deployment/{}", deployment.name),
                ));
            }
        }
        let Some(pair) = self.pair() else { return Ok(()) };
        for route in &self.seen.routes {
            if let Found::Object { claim: Claim::Free, .. } = &route.found {
                return Err(Stop::Do(Effect::ClaimRoute { route: route.reference.clone(), pair, claimed: true }));
            }
        }
        Ok(())
    }

    /// The one ReplicaSet that the Deployment controls.
    pub fn stable(&self) -> Result<&'a ReplicaSet, Stop> {
        let deployment = self.deployment()?;
        let sets: Vec<_> = self.seen.controlled().collect();
        let known = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.as_deref());
        let object = format!("Deployment/{}", deployment.name);
        match sets.as_slice() {
            [] => Err(self.wait(
                Phase::Blocked,
                Reason::StableMissing,
                &object,
                "the ReplicaSet that served is gone; delete the Rollout to give the Deployment back, and create it again",
                SOON,
            )),
            [one] if Some(one.name.as_str()) == known => Ok(one),
            sets => {
                if let Some(surplus) = sets.iter().find(|set| Some(set.name.as_str()) != known && set.is_empty())
                    && sets.len() > 1
                {
                    return Err(self.take_out(surplus, deployment));
                }
                let names: Vec<_> = sets.iter().map(|set| set.name.as_str()).collect();
                let message = format!(
                    "the Deployment controls {} where only {} was expected; nothing is moved until that is cleared",
                    names.join(", "),
                    known.unwrap_or("none")
                );
                Err(self.wait(Phase::Blocked, Reason::WorkloadContested, &object, message, SOON))
            }
        }
    }

    /// F1: the Deployment is paused.
    #[expect(clippy::unused_self, reason = "reads as a condition among the others")]
    pub fn held(&self, deployment: &Deployment) -> Holds {
        if deployment.paused {
            return Ok(());
        }
        Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: true }))
    }

    /// A ReplicaSet leaves the Deployment's control.
    pub fn take_out(&self, set: &ReplicaSet, deployment: &Deployment) -> Stop {
        let mine = |key: &str| key.starts_with(GROUP);
        let labels: Map =
            set.labels.iter().filter(|(key, _)| !mine(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let revision = self.revision_name(set);
        Stop::Do(Effect::TakeOut { set: target(set), labels, revision, deployment: target(deployment) })
    }

    /// A ReplicaSet of ours comes under the Deployment's control.
    pub fn hand_in(&self, set: &ReplicaSet, deployment: &Deployment) -> Stop {
        let mut labels: Map = set
            .template
            .pointer("/metadata/labels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        labels.insert(HASH_LABEL.to_owned(), set.hash.clone());
        let number =
            |set: &ReplicaSet| set.annotations.get(REVISION_ANNOTATION).and_then(|text| text.parse::<u64>().ok());
        let highest = self.seen.replica_sets.iter().filter_map(number).max().unwrap_or(0);
        // History keeps its number: only what becomes current gets the next one.
        let revision = if set.is_empty() { number(set).unwrap_or(highest) } else { highest.saturating_add(1) };
        let mut annotations = Map::from([(REVISION_ANNOTATION.to_owned(), revision.to_string())]);
        if !set.is_empty() {
            let most = deployment.replicas.saturating_add(deployment.max_surge);
            annotations.insert("deployment.kubernetes.io/desired-replicas".to_owned(), deployment.replicas.to_string());
            annotations.insert("deployment.kubernetes.io/max-replicas".to_owned(), most.to_string());
        }
        Stop::Do(Effect::HandIn { set: target(set), labels, annotations, deployment: target(deployment) })
    }

    /// P1 and P2: the old ReplicaSet out, then the candidate in.
    pub fn swap(&self, from: &str, candidate: &ReplicaSet) -> Holds {
        let deployment = self.deployment()?;
        if let Some(old) = self.seen.controlled().find(|set| set.name == from) {
            self.held(deployment)?;
            return Err(self.take_out(old, deployment));
        }
        if candidate.controller.as_deref() == Some(&deployment.uid) {
            return Ok(());
        }
        Err(self.hand_in(candidate, deployment))
    }

    /// P3: not paused, where the policies hold and the template is stable's.
    pub fn released(&mut self, deployment: &Deployment) -> Holds {
        if !deployment.paused {
            return Ok(());
        }
        let Some(workload) = &mut self.status.workload else { return Ok(()) };
        if workload.held_by == Some(HeldBy::Paused) {
            return Ok(());
        }
        match self.seen.belt {
            Belt::Armed => Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: false })),
            Belt::NotYet => Err(self.wait(
                Phase::Stable,
                Reason::PolicyNotArmed,
                "ValidatingAdmissionPolicy",
                "the Deployment stays paused until the admission policy refuses a probe",
                SOON,
            )),
            Belt::Absent => {
                workload.held_by = Some(HeldBy::Paused);
                Ok(())
            }
        }
    }

    /// The Rollout is being deleted: plain Kubernetes, serving, is what stays.
    pub fn hand_back(&mut self) -> Holds {
        let deployment = self.seen.deployment.as_ref();
        let held = self.status.workload.clone();
        let alive = deployment.filter(|deployment| held.as_ref().is_none_or(|held| held.uid == deployment.uid));
        let Some(deployment) = alive.filter(|_| !self.seen.namespace_ending) else {
            self.delete_ours()?;
            return self.finalizer(false);
        };
        if held.as_ref().is_some_and(|held| held.stable_replica_set.is_some()) {
            self.leave(deployment)?;
        }
        for route in &self.seen.routes {
            if let (Found::Object { claim: Claim::Ours, .. }, Some(pair)) = (&route.found, self.pair()) {
                return Err(Stop::Do(Effect::ClaimRoute { route: route.reference.clone(), pair, claimed: false }));
            }
        }
        if let Some(held) = held {
            let idle = self.status.stable.as_ref().and_then(|stable| self.seen.replica_set(&stable.replica_set));
            let idle = idle.is_some_and(|stable| same_template(&stable.template, &deployment.template));
            if held.held_by == Some(HeldBy::Paused) && idle && deployment.paused {
                return Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: false }));
            }
            let left = if deployment.paused {
                "it stays paused at a template that was not proven; `kubectl rollout resume` rolls it"
            } else {
                "it is an ordinary Deployment again"
            };
            self.note(Reason::HandedBack, format!("Deployment {} is given back: {left}", deployment.name), None);
            self.status.workload = None; // disarms the policies, else a person's `kubectl rollout resume` would be undone
            self.status.flight = None;
            return Err(Stop::Again);
        }
        if deployment.claim == Claim::Ours {
            return Err(Stop::Do(Effect::ClaimWorkload { deployment: target(deployment), claimed: false }));
        }
        self.finalizer(false)
    }

    /// H1 to H3: traffic home, the candidate away or handed on, history in.
    fn leave(&mut self, deployment: &'a Deployment) -> Holds {
        if self.past_the_point() {
            return self.finish();
        }
        // Not `stable()`: from here on history comes back under the Deployment's control.
        let known = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.clone());
        let Some(stable) = self.seen.controlled().find(|set| Some(&set.name) == known.as_ref()) else {
            return self.delete_ours();
        };
        let continues = self.spec().on_delete == crate::api::OnDelete::Continue && self.status.latch.is_none();
        if self.status.flight.is_some() {
            self.home(stable, Phase::Waiting, continues)?;
        }
        if let Some(pair) = self.pair() {
            let services: [(Option<&Service>, &String); 2] =
                [(self.seen.stable_service.as_ref(), &pair.stable), (self.seen.canary_service.as_ref(), &pair.canary)];
            for service in services.into_iter().filter_map(|(found, name)| self.service(found, name).ok()) {
                self.selects(service, None)?;
            }
        }
        let candidate = self.status.flight.as_ref().map(|flight| flight.candidate.clone());
        let candidate = candidate.and_then(|name| self.seen.replica_set(&name)).filter(|_| continues);
        if let Some(candidate) = candidate {
            // Under the policy the Deployment controller can make no ReplicaSet of its own before it gets this one.
            if deployment.paused && self.seen.belt == Belt::Armed {
                return Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: false }));
            }
            if candidate.controller.as_deref() != Some(&deployment.uid) {
                return Err(self.hand_in(candidate, deployment));
            }
        }
        for set in self.seen.ours() {
            self.scaled(set, 0)?;
        }
        let Some(set) = self.seen.ours().next() else { return Ok(()) };
        if set.status_replicas > 0 {
            return Err(self.wait(Phase::Waiting, Reason::PodsNotReady, &set.name, "old pods are ending", SOON));
        }
        let untested =
            same_template(&set.template, &deployment.template) && !same_template(&set.template, &stable.template);
        if untested {
            return Err(Stop::Do(Effect::Delete { set: target(set) }));
        }
        Err(self.hand_in(set, deployment))
    }
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

/// The Deployment can be held safely.
fn supported(turn: &Turn<'_>, deployment: &Deployment) -> Holds {
    let object = format!("Deployment/{}", deployment.name);
    let message = if deployment.strategy == "Recreate" {
        "strategy Recreate ends all old pods before it makes new ones, so a release could not be held; use RollingUpdate"
    } else if deployment.history_limit == 0 {
        "revisionHistoryLimit 0 lets the Deployment controller delete the stable ReplicaSet at zero replicas; set 1 or more"
    } else {
        return Ok(());
    };
    Err(turn.wait(Phase::Blocked, Reason::WorkloadUnsupported, &object, message, LATER))
}

/// The Deployment is at rest: what it wants is what there is.
fn settled(turn: &Turn<'_>, deployment: &Deployment) -> Holds {
    let d = deployment.replicas;
    let paused_by_us = turn.seen.belt == Belt::Absent && deployment.claim == Claim::Ours;
    let counts = [deployment.status_replicas, deployment.updated, deployment.available];
    let active: Vec<_> = turn.seen.controlled().filter(|set| !set.is_empty()).collect();
    let equal = |set: &&ReplicaSet| same_template(&set.template, &deployment.template);
    let why = if deployment.paused && !paused_by_us {
        "it is paused; `kubectl rollout resume` it first".to_owned()
    } else if deployment.observed_generation != deployment.generation {
        "its controller has not seen its last change yet".to_owned()
    } else if counts != [d, d, d] {
        format!("of {d} replicas {} are up to date and {} are available", deployment.updated, deployment.available)
    } else if d > 0 && !matches!(active.as_slice(), [one] if equal(one)) {
        "its pods are not all of its template".to_owned()
    } else if d == 0 && !turn.seen.controlled().any(|set| equal(&set)) {
        "it has never had pods of its template".to_owned()
    } else {
        return Ok(());
    };
    let object = format!("Deployment/{}", deployment.name);
    Err(turn.wait(
        Phase::Initializing,
        Reason::WorkloadNotSettled,
        &object,
        format!("{object} is taken over when it is settled: {why}"),
        SOON,
    ))
}

/// The labels that say whose an object is.
pub fn claim_labels(name: &str, uid: &str) -> [(&'static str, String); 2] {
    [(ROLLOUT_LABEL, name.to_owned()), (ROLLOUT_UID_LABEL, uid.to_owned())]
}
