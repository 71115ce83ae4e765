//! How a Deployment is taken over, swapped and given back, without a pod touched.
//!
//! The rule behind every order of writes here: the Deployment controls exactly one ReplicaSet, or none for the moment of a
//! swap. Two, and its controller scales one of them to nothing; history with it, and a scale event brings an old version back.
use super::{
    Belt, Claim, Deployment, Effect, Found, ReplicaSet,
    observed::{AlertEvent, Map, identity, strings},
    routes::object_of,
    turn::{Holds, LATER, SOON, Stop, Turn, target},
};
use crate::{
    api::{GROUP, HASH_LABEL, HeldBy, Phase, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Reason, WorkloadStatus},
    traffic::RouteRef,
    vocab::Weight,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use std::collections::BTreeSet;

/// How long after the policy's first answer the Deployment's ReplicaSets are read for good: other API servers hear of it later.
const ARMING: SignedDuration = SignedDuration::from_secs(1);
/// The annotation in which the Deployment controller counts revisions.
const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// The first place at which two templates differ, as a path below `spec.template`.
pub fn difference(one: &Value, other: &Value) -> Option<String> {
    let below =
        |place: &str, inner: String| if inner.is_empty() { place.to_owned() } else { format!("{place}.{inner}") };
    match (one, other) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<_> = left.keys().chain(right.keys()).filter(|key| *key != HASH_LABEL).collect();
            let at = |key: &String| (left.get(key).unwrap_or(&Value::Null), right.get(key).unwrap_or(&Value::Null));
            keys.into_iter().find_map(|key| difference(at(key).0, at(key).1).map(|inner| below(key, inner)))
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            pairs.into_iter().find_map(|(at, (one, other))| Some(below(&at.to_string(), difference(one, other)?)))
        }
        _ => (one != other).then(String::new),
    }
}

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
                // A replaced Rollout may have lost it, and without it a deletion would leave everything as it stands.
                return self.finalizer(true);
            }
        }
        let deployment = self.deployment()?;
        self.unclaimed(deployment)?;
        supported(self, deployment)?;
        self.services(deployment)?;
        self.unpinned()?;
        self.reachable(deployment)?;
        self.prepared()?;
        self.routed_only()?;
        self.provided()?;
        self.finalizer(true)?;
        self.claims(deployment)?;
        self.take_over(deployment)
    }

    /// Nobody else holds what the spec names, and of two that start at once the older goes first. This comes before anything
    /// is made: Services of the later one would reach the pods of the first past its routes.
    fn unclaimed(&self, deployment: &Deployment) -> Holds {
        let object = format!("Deployment/{}", deployment.name);
        let named = identity("apps/v1", "Deployment", &deployment.name);
        self.ours_to_take(Some(&deployment.claim), Reason::WorkloadClaimed, &object, &named)?;
        for route in &self.seen.routes {
            let RouteRef { api_version, kind, name, .. } = &route.reference;
            let claim = match &route.found {
                Found::Object { claim, .. } => Some(claim),
                Found::Missing | Found::NotServed | Found::Unreadable(_) => None,
            };
            self.ours_to_take(claim, Reason::RouteClaimed, &object_of(route), &identity(api_version, kind, name))?;
        }
        Ok(())
    }

    fn ours_to_take(&self, claim: Option<&Claim>, reason: Reason, object: &str, named: &str) -> Holds {
        match claim {
            Some(Claim::Ours) => return Ok(()),
            Some(Claim::Foreign(other)) => return Err(self.claimed_by(other, reason, object)),
            Some(Claim::Free) | None => {}
        }
        let elder = self.seen.elders.iter().find(|elder| elder.objects.contains(named));
        elder.map_or(Ok(()), |elder| Err(self.left_to(&elder.name, reason, object)))
    }

    /// The policy is armed and answers; history is out; then one ReplicaSet is stable.
    fn take_over(&mut self, deployment: &'a Deployment) -> Holds {
        let now = self.seen.now;
        let Some(workload) = self.status.workload.clone() else {
            settled(self, deployment)?;
            self.status.workload = Some(WorkloadStatus {
                uid: deployment.uid.clone(),
                observed_generation: Some(deployment.generation),
                held_by: (self.seen.belt == Belt::Absent).then_some(HeldBy::Paused),
                ..WorkloadStatus::default()
            });
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
                        self.not_armed("the admission policy has not refused a probe yet; the API server reads it within a minute of its creation"),
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
            // Somebody's template won the race: their update finishes first, and our pause is in its way.
            if workload.held_by == Some(HeldBy::Paused) && deployment.paused {
                return Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: false }));
            }
            self.status.workload = None;
            return Err(Stop::Again);
        };
        if workload.held_by == Some(HeldBy::Paused) {
            self.held(deployment)?;
        }
        if let Some(history) = sets.iter().find(|set| set.name != stable.name) {
            return Err(self.take_out(history, deployment));
        }
        let held_by = workload.held_by.unwrap_or(HeldBy::Policy);
        self.status.workload =
            Some(WorkloadStatus { stable_replica_set: Some(stable.name.clone()), held_by: Some(held_by), ..workload });
        self.status.traffic.clone_from(&self.spec().traffic);
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

    /// The Deployment is gone, or another of the same name: the candidate is of no use, and the next one starts from the
    /// beginning. While nothing takes its place, stable's pods may live on, and the candidate's end before a Service
    /// reaches all there are.
    fn forget(&mut self) -> Holds {
        let seen = self.seen;
        match &seen.deployment {
            Some(another) => self.relieved_by(another)?,
            None => self.left_to_orphans()?,
        }
        self.delete_ours()?;
        self.widened()?;
        self.status.workload = None;
        self.status.flight = None;
        self.status.latch = None;
        self.status.past = None;
        self.status.step = None;
        self.status.stable = None;
        self.status.traffic = None;
        Err(Stop::Again)
    }

    /// A Deployment that was made anew has its own pods before those end that serve meanwhile, and the Services reach both.
    pub fn relieved_by(&self, deployment: &Deployment) -> Holds {
        self.widened()?;
        let given_up = self.status.latch.as_ref().map(|latch| latch.candidate.as_str());
        let is_wanted = |set: &&ReplicaSet| {
            self.ready(set) > 0 && (given_up != Some(set.name.as_str()) || deployment.available == 0)
        };
        let Some(set) = self.seen.ours().find(is_wanted) else { return Ok(()) };
        if deployment.available >= deployment.replicas {
            return Ok(());
        }
        let cure = if deployment.paused {
            "it is paused: `kubectl rollout resume` it"
        } else {
            "delete that ReplicaSet where they need its room"
        };
        let message = format!(
            "Deployment {} was made anew, and the pods of ReplicaSet {} serve until its own are there; {cure}",
            deployment.name, set.name
        );
        let object = format!("Deployment/{}", deployment.name);
        Err(self.wait(Phase::Waiting, Reason::PodsNotReady, &object, message, SOON))
    }

    /// Where somebody deleted the Deployment alone and left its pods, all requests are stable's before the candidate's end; what
    /// has taken over already goes on serving. Without it stable's pods cannot be seen, but those that go with it are the
    /// candidate's too.
    fn left_to_orphans(&mut self) -> Holds {
        let stable = self.status.stable.as_ref().map(|stable| stable.pod_template_hash.clone());
        let serves = self.seen.ours().any(|set| !set.is_empty());
        let (Some(stable), Some(_), true) = (stable, &self.status.flight, serves) else { return Ok(()) };
        if self.promotion().is_some_and(|promotion| promotion.moved || promotion.trading) {
            return self.deployment().map(drop);
        }
        if self.pair().is_some() {
            let phase = Phase::Waiting;
            self.lowered(Weight::ZERO, phase)?;
            let settle = self.settle();
            self.settled("no requests to the canary Service, for the Deployment is gone", settle, phase)?;
            if let Some(trial) = self.seen.canary_service.as_ref().filter(|service| service.ours) {
                self.selects(trial, Some(&stable))?;
            }
        }
        Ok(())
    }

    /// None of our ReplicaSets is left, and no template is kept.
    pub fn delete_ours(&self) -> Holds {
        let ours: Vec<_> = self.seen.ours().collect();
        for set in &ours {
            self.scaled(set, 0)?;
        }
        if let Some(set) = ours.first() {
            return Err(Stop::Do(Effect::Delete { set: target(*set) }));
        }
        self.kept_only(None)
    }

    /// Stable's template is kept apart from its ReplicaSet, so that somebody who deletes that does not take the revision with it.
    pub fn kept(&self, stable: &ReplicaSet, deployment: &Deployment) -> Holds {
        if !self.seen.kept.iter().any(|kept| kept.replica_set == stable.name) {
            return Err(Stop::Do(Effect::KeepTemplate {
                name: stable.name.clone(),
                hash: stable.hash.clone(),
                template: stable.template.clone(),
                deployment: target(deployment),
            }));
        }
        self.kept_only(Some(&stable.name))
    }

    /// No other template is kept than this ReplicaSet's.
    pub fn kept_only(&self, name: Option<&str>) -> Holds {
        let surplus = self.seen.kept.iter().find(|kept| Some(kept.replica_set.as_str()) != name);
        surplus.map_or(Ok(()), |kept| Err(Stop::Do(Effect::ForgetTemplate { name: kept.replica_set.clone() })))
    }

    /// What the steps ask that a gateway or a route cannot do: the object, and why.
    pub fn unable(&self) -> Option<(String, &'a str)> {
        let gateway = self.seen.unable.as_deref().map(|why| ("Gateway".to_owned(), why));
        let mut routes = self.seen.routes.iter();
        gateway.or_else(|| routes.find_map(|route| Some((object_of(route), route.unfit.as_deref()?))))
    }

    /// The gateways and routes can do what the steps ask, and the provider is there, where anything is to be judged.
    pub fn provided(&self) -> Holds {
        if let Some((object, why)) = self.unable() {
            return Err(self.wait(Phase::Blocked, Reason::RouteUnsteerable, &object, why, LATER));
        }
        let Some(problem) = &self.seen.provider else { return Ok(()) };
        let object = self.spec().analysis.source();
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
            // What the admission policy reads on it must name the pair that is in force.
            let claimed = match &route.found {
                Found::Object { claim: Claim::Free, .. } => false,
                Found::Object { claim: Claim::Ours, names_pair, .. } => *names_pair,
                _ => true,
            };
            if !claimed {
                return Err(Stop::Do(Effect::ClaimRoute { route: route.reference.clone(), pair, claimed: true }));
            }
        }
        Ok(())
    }

    /// The one ReplicaSet that the Deployment controls.
    pub fn stable(&mut self) -> Result<&'a ReplicaSet, Stop> {
        let deployment = self.deployment()?;
        let sets: Vec<_> = self.seen.controlled().collect();
        let known = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.clone());
        match sets.as_slice() {
            [] => self.traded().ok_or_else(|| self.restored(deployment)),
            [one] if Some(&one.name) == known.as_ref() => Ok(one),
            sets => {
                if let Some(surplus) = sets.iter().find(|set| Some(&set.name) != known.as_ref() && set.is_empty())
                    && sets.len() > 1
                {
                    return Err(self.take_out(surplus, deployment));
                }
                let names: Vec<_> = sets.iter().map(|set| set.name.clone()).collect();
                Err(self.outrun(deployment, &names))
            }
        }
    }

    /// Without a policy that forbids it, somebody's write has let the Deployment roll by itself. Nobody can stop that any
    /// more, so its update finishes, through Services that reach all its pods, and then it is taken over again.
    pub fn outrun(&mut self, deployment: &Deployment, names: &[String]) -> Stop {
        // What served is being rolled away: a Service that is made from here on reaches all pods.
        self.status.stable = None;
        let mut step_aside = || {
            self.stable_made(deployment)?;
            self.widened()?;
            let serves = self.seen.ours().any(|set| self.ready(set) > 0);
            let wanted = if self.traded().is_some() { deployment.replicas } else { deployment.replicas.min(1) };
            if serves && deployment.available < wanted {
                // What serves is not the Deployment's to end, so it stays until the others are there.
                let message =
                    "the Deployment rolls by itself, and pods that it does not control serve until its own are there";
                let object = format!("Deployment/{}", deployment.name);
                return Err(self.wait(Phase::Waiting, Reason::WorkloadContested, &object, message, SOON));
            }
            if self.status.flight.is_some() {
                self.lowered(Weight::ZERO, Phase::Waiting)?;
                let settle = self.settle();
                self.settled(
                    "no requests to the canary Service, for the Deployment rolls by itself",
                    settle,
                    Phase::Waiting,
                )?;
            }
            for set in self.seen.ours() {
                self.scaled(set, 0)?;
            }
            Ok(())
        };
        if let Err(stop) = step_aside() {
            return stop;
        }
        if deployment.paused && self.is_made(deployment) {
            // Our own pause may have come after it. What has no ReplicaSet yet is not let go by us.
            return Stop::Do(Effect::Pause { deployment: target(deployment), paused: false });
        }
        let goes = self.rollout().metadata.deletion_timestamp.is_some();
        let then = if goes { "it is left to that" } else { "it is taken over again when that is done" };
        let names = names.join(", ");
        let message = format!("somebody's write let the Deployment roll by itself, and it controls {names}; {then}");
        self.note(Reason::WorkloadContested, message.clone(), None);
        self.alert(AlertEvent::Blocked, Reason::WorkloadContested, &message, None);
        self.status.workload = None;
        self.status.flight = None;
        self.status.latch = None;
        self.status.past = None;
        self.status.step = None;
        Stop::Again
    }

    /// Somebody deleted the ReplicaSet that serves. Under the policy its Deployment cannot make it again, so we do, by the
    /// same name and hash, at which the Services point, and hand it in as soon as it wants its pods.
    pub fn restored(&mut self, deployment: &Deployment) -> Stop {
        let known = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.clone());
        let known = known.unwrap_or_default();
        if let Some(set) = self.seen.ours().find(|set| set.name == known) {
            return match self.scaled(set, deployment.replicas) {
                Ok(()) => self.hand_in(set, deployment),
                Err(stop) => stop,
            };
        }
        let object = format!("ReplicaSet/{known}");
        if deployment.replicas == 0 && deployment.history_limit == 0 {
            // Its controller would delete it again at once.
            let message = format!(
                "revisionHistoryLimit 0 has let the Deployment controller delete {object}, which is made again when pods are wanted; \
                 set 1 or more"
            );
            return self.wait(Phase::Blocked, Reason::WorkloadUnsupported, &object, message, LATER);
        }
        let Some((revision, template)) = self.template_of(&known, deployment) else {
            let message = "the ReplicaSet that served is gone, and its template was not kept; delete the Rollout to give the \
                           Deployment back, which then rolls its template";
            return self.wait(Phase::Blocked, Reason::StableMissing, &object, message, SOON);
        };
        self.note(Reason::StableRestored, format!("{object} was deleted by somebody and is made again"), None);
        Stop::Do(Effect::CreateCandidate {
            name: known,
            // Pods that somebody left without their ReplicaSet are its own as soon as it is there, and what it does not want ends.
            replicas: deployment.replicas,
            revision,
            template,
            selector: deployment.selector.clone(),
            min_ready_seconds: deployment.min_ready_seconds,
            deployment: target(deployment),
        })
    }

    /// The revision and the template of a ReplicaSet that is gone: as they were kept, or those of the Deployment, where the
    /// name says that it was made of them.
    pub fn template_of(&self, name: &str, deployment: &Deployment) -> Option<(String, Value)> {
        let kept = self.seen.kept.iter().find(|kept| kept.replica_set == name);
        let kept = kept.map(|kept| (kept.hash.clone(), kept.template.clone()));
        kept.or_else(|| {
            let (revision, made) = self.new_name(deployment);
            (made == name).then(|| (revision, deployment.template.clone()))
        })
    }

    /// Whether a ReplicaSet of this name can take over again: it is there, or can be made.
    pub fn can_return(&self, name: &str) -> bool {
        let can_be_made = |deployment| self.template_of(name, deployment).is_some();
        self.seen.replica_set(name).is_some() || self.seen.deployment.as_ref().is_some_and(can_be_made)
    }

    /// Whether the Deployment controls a ReplicaSet of its present template, so that nothing new begins when it is let go.
    pub fn is_made(&self, deployment: &Deployment) -> bool {
        self.seen.controlled().any(|set| same_template(&set.template, &deployment.template))
    }

    fn not_armed(&self, message: &str) -> String {
        let other = self.seen.probe.as_deref();
        other.map_or_else(|| message.to_owned(), |other| format!("{message}; something else answers: {other}"))
    }

    /// The Deployment is paused.
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
        let mut labels = strings(&set.template["metadata"]["labels"]);
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

    /// The old ReplicaSet out, then the candidate in: never both under the Deployment.
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

    /// Not paused, where the policies hold and the template is stable's.
    pub fn released(&mut self, deployment: &Deployment) -> Holds {
        let Some(workload) = &mut self.status.workload else { return Ok(()) };
        if !deployment.paused {
            if workload.held_by == Some(HeldBy::Policy) && self.seen.belt == Belt::Absent {
                workload.held_by = Some(HeldBy::Paused);
                return Err(Stop::Again);
            }
            // What nothing else holds is held by its pause, whoever lifted it.
            return if workload.held_by == Some(HeldBy::Paused) { self.held(deployment) } else { Ok(()) };
        }
        if workload.held_by == Some(HeldBy::Paused) {
            if self.seen.belt != Belt::Armed {
                return Ok(());
            }
            // The policies came later, or were away for a moment.
            workload.held_by = Some(HeldBy::Policy);
            return Err(Stop::Again);
        }
        match self.seen.belt {
            Belt::Armed => Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: false })),
            Belt::NotYet => Err(self.wait(
                Phase::Stable,
                Reason::PolicyNotArmed,
                "ValidatingAdmissionPolicy",
                self.not_armed("the Deployment stays paused until the admission policy refuses a probe"),
                SOON,
            )),
            Belt::Absent => {
                workload.held_by = Some(HeldBy::Paused);
                Ok(())
            }
        }
    }
}

/// The Deployment can be held safely.
pub fn supported(turn: &Turn<'_>, deployment: &Deployment) -> Holds {
    let object = format!("Deployment/{}", deployment.name);
    let message = if deployment.recreates() {
        "strategy Recreate ends all old pods before it makes new ones, so a release could not be held; use RollingUpdate"
    } else if deployment.history_limit == 0 {
        "revisionHistoryLimit 0 lets the Deployment controller delete the stable ReplicaSet at zero replicas; set 1 or more"
    } else if turn.seen.controlled().any(|set| !set.is_empty() && set.hash.is_empty()) {
        "its pods have no label pod-template-hash, as those of a ReplicaSet that is older than the Deployment, so no Service can tell \
         them from others; roll it once (`kubectl rollout restart`)"
    } else {
        return Ok(());
    };
    Err(turn.wait(Phase::Blocked, Reason::WorkloadUnsupported, &object, message, LATER))
}

/// The Deployment is at rest: what it wants is what there is.
fn settled(turn: &Turn<'_>, deployment: &Deployment) -> Holds {
    let d = deployment.replicas;
    let counts = [deployment.status_replicas, deployment.updated, deployment.available];
    let active: Vec<_> = turn.seen.controlled().filter(|set| !set.is_empty()).collect();
    let equal = |set: &&ReplicaSet| same_template(&set.template, &deployment.template);
    let why = if let (true, [one]) = (deployment.paused, active.as_slice())
        && !equal(one)
    {
        format!(
            "it is paused at a template that is not what serves, and that `kubectl rollout resume` would roll out to everybody: \
             bring the template of ReplicaSet {} back first (in Git, or `kubectl edit`), then resume it",
            one.name
        )
    } else if deployment.paused {
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
