//! One look: the list of conditions from the top, and the words for where it stopped.
use super::{
    Claim, Deployment, Effect, Found, Observed, Plan, ReplicaSet, Service, Target,
    observed::{AlertEvent, Map},
};
use crate::{
    api::{
        self, ArmStatus, Decision, FINALIZER, Flight, HASH_LABEL, Intent, Phase, Reason, Rollout, RolloutSpec,
        RolloutStatus, Settling, Waiting,
    },
    duration::Duration,
    traffic::{Acceptance, Weights},
    vocab::{Pair, Weight},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where a look stopped.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// At something to do.
    Do(Effect),
    /// At something to wait for.
    Wait(Phase, Wait),
    /// At a fact that must be in the status before anything follows from it.
    Again,
    /// At nothing: all is as it should be, until this long from now.
    Rest(Phase, String, Option<SignedDuration>),
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// Why.
    pub reason: Reason,
    /// The object, as Kind/name.
    pub object: String,
    /// In plain words, with the cure.
    pub message: String,
    /// When to look again at the latest.
    pub after: SignedDuration,
}

/// A condition holds, or the look stops at it.
pub type Holds = Result<(), Stop>;

/// A look in progress: what was seen, and the status that is being made of it.
pub struct Turn<'a> {
    /// What was seen.
    pub seen: &'a Observed,
    /// The status to write.
    pub status: RolloutStatus,
    /// What was newly decided.
    pub news: Vec<Decision>,
}

/// How soon to look again at what moves.
pub const SOON: SignedDuration = SignedDuration::from_secs(1);
/// How soon to look again at what a person or another controller must change, beside the watches.
pub const LATER: SignedDuration = SignedDuration::from_secs(10);

impl<'a> Turn<'a> {
    /// A look at this.
    pub fn new(seen: &'a Observed) -> Self {
        Self { seen, status: seen.rollout.status.clone().unwrap_or_default(), news: Vec::new() }
    }

    /// Runs down the list and says where it stopped.
    pub fn run(mut self) -> Plan {
        self.status.alerts.retain(|alert| !self.seen.delivered.contains(&alert.id));
        let stop = match self.walk() {
            Ok(()) => Stop::Rest(Phase::Stable, String::new(), None),
            Err(stop) => stop,
        };
        self.conclude(stop)
    }

    fn walk(&mut self) -> Holds {
        self.describe();
        if self.seen.rollout.metadata.deletion_timestamp.is_some() {
            return self.hand_back();
        }
        if self.seen.namespace_ending {
            let message = "the namespace is being deleted; nothing is decided any more";
            return Err(self.wait(Phase::Waiting, Reason::NamespaceEnding, "", message, LATER));
        }
        let checked = super::check(self.spec()).map_err(|complaint| {
            let phase = if self.status.flight.is_some() { Phase::Blocked } else { Phase::Invalid };
            self.wait(phase, Reason::InvalidSpec, "Rollout", complaint.to_string(), LATER)
        });
        // Commands and an abort that is under way do not wait for a spec that was broken meanwhile.
        if checked.is_err() && self.status.latch.is_none() && self.status.flight.is_none() {
            self.refuse_commands("the Rollout's spec is invalid")?;
            return checked;
        }
        if let Err(stop) = self.adopt() {
            self.refuse_commands("the Deployment is not held yet; see the Rollout's status")?;
            return Err(stop);
        }
        self.commands()?;
        self.fly_or_rest(checked)
    }

    fn conclude(mut self, stop: Stop) -> Plan {
        let now = Time(self.seen.now);
        let mut look_again;
        let mut effect = None;
        match stop {
            Stop::Do(doing) => {
                self.status.intent =
                    Some(Intent { action: doing.verb().to_owned(), object: doing.object(), epoch: self.seen.epoch });
                effect = Some(doing);
                look_again = Some(SignedDuration::ZERO);
            }
            Stop::Again => look_again = Some(SignedDuration::ZERO),
            Stop::Wait(phase, wait) => {
                self.status.intent = None;
                self.status.phase = phase;
                self.status.message.clone_from(&wait.message);
                let since = self
                    .status
                    .waiting_for
                    .iter()
                    .find(|old| old.reason == wait.reason && old.object == wait.object)
                    .map_or_else(|| now.clone(), |old| old.since.clone());
                self.alert_when_blocked(phase, &wait);
                self.status.waiting_for =
                    vec![Waiting { reason: wait.reason, object: wait.object, since, message: wait.message }];
                look_again = Some(wait.after);
            }
            Stop::Rest(phase, message, after) => {
                look_again = after;
                self.status.intent = None;
                self.status.waiting_for.clear();
                self.status.phase = phase;
                self.status.message = message;
            }
        }
        if look_again.is_none() && !self.status.alerts.is_empty() {
            look_again = Some(LATER);
        }
        super::report::conditions(&mut self.status, &self.seen.rollout, self.seen.now);
        Plan { status: self.status, effect, look_again, news: self.news }
    }

    /// What the status says of pods and weights, whatever else happens.
    fn describe(&mut self) {
        self.status.observed_generation = self.seen.rollout.metadata.generation;
        if let (Some(deployment), Some(workload)) = (&self.seen.deployment, &mut self.status.workload)
            && deployment.uid == workload.uid
        {
            workload.observed_generation = Some(deployment.generation);
        }
        let stable = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.clone());
        self.status.stable = stable.as_deref().and_then(|name| self.arm(name)).or(self.status.stable.take());
        let candidate = self.status.flight.as_ref().map(|flight| flight.candidate.clone());
        let latched = self.status.latch.as_ref().map(|latch| latch.candidate.clone());
        self.status.canary = candidate.or(latched).as_deref().and_then(|name| self.arm(name));
    }

    fn arm(&self, set: &str) -> Option<ArmStatus> {
        let set = self.seen.replica_set(set)?;
        Some(ArmStatus {
            revision: self.revision_name(set),
            replica_set: set.name.clone(),
            pod_template_hash: set.hash.clone(),
            replicas: set.replicas,
            ready: set.ready,
        })
    }

    /// The name of the revision that a ReplicaSet holds: what follows the Deployment's name in its own.
    pub fn revision_name(&self, set: &ReplicaSet) -> String {
        let prefix = format!("{}-", self.spec().workload_ref.name);
        set.name.strip_prefix(&prefix).unwrap_or(&set.name).chars().take(63).collect()
    }

    // ---- words -------------------------------------------------------------------------------------------------

    /// The spec.
    pub fn spec(&self) -> &'a RolloutSpec {
        &self.seen.rollout.spec
    }

    /// The Rollout.
    pub fn rollout(&self) -> &'a Rollout {
        &self.seen.rollout
    }

    /// The candidate's facts; only where a flight is known to exist.
    pub fn flight(&mut self) -> Result<&mut Flight, Stop> {
        self.status.flight.as_mut().ok_or(Stop::Again)
    }

    /// The Deployment; only where it is known to exist.
    pub fn deployment(&self) -> Result<&'a Deployment, Stop> {
        self.seen.deployment.as_ref().ok_or_else(|| {
            let name = &self.spec().workload_ref.name;
            self.wait(
                Phase::Waiting,
                Reason::WorkloadMissing,
                &format!("Deployment/{name}"),
                format!(
                    "spec.workloadRef: there is no Deployment {name} in this namespace; create it, or correct the name"
                ),
                LATER,
            )
        })
    }

    /// A stop at something that is waited for.
    #[expect(clippy::unused_self, reason = "reads as a sentence at every call")]
    pub fn wait(
        &self,
        phase: Phase,
        reason: Reason,
        object: &str,
        message: impl Into<String>,
        after: SignedDuration,
    ) -> Stop {
        Stop::Wait(phase, Wait { reason, object: object.to_owned(), message: message.into(), after })
    }

    /// How long ago that was.
    pub fn ago(&self, since: Timestamp) -> SignedDuration {
        self.seen.now.duration_since(since)
    }

    /// Writes a line of the decision log.
    pub fn note(&mut self, reason: Reason, message: impl Into<String>, by: Option<String>) {
        let decision = Decision {
            at: Time(self.seen.now),
            reason,
            message: message.into().chars().take(1_000).collect(),
            revision: self.status.flight.as_ref().map(|flight| flight.revision.clone()),
            step: self.status.step.as_ref().map(|step| step.name.clone()),
            by,
        };
        self.news.push(decision.clone());
        self.status.decisions.push(decision);
        let surplus = self.status.decisions.len().saturating_sub(20);
        self.status.decisions.drain(..surplus);
    }

    /// Puts an alert into the outbox of everybody who asked for it.
    pub fn alert(&mut self, event: AlertEvent, reason: Reason, message: &str, by: Option<&str>) {
        for rule in &self.spec().alerts {
            if !rule.on.contains(&event) {
                continue;
            }
            let alert = super::report::alert(self, event, reason, message, by, &rule.receiver.name);
            if self.status.alerts.iter().any(|known| known.id == alert.id) {
                continue;
            }
            self.status.alerts.push(alert);
        }
        let surplus = self.status.alerts.len().saturating_sub(32);
        self.status.alerts.drain(..surplus);
    }

    fn alert_when_blocked(&mut self, phase: Phase, wait: &Wait) {
        let was = self.status.waiting_for.iter().any(|old| old.reason == wait.reason && old.object == wait.object);
        if matches!(phase, Phase::Blocked) && !was {
            self.note(wait.reason, wait.message.clone(), None);
            self.alert(AlertEvent::Blocked, wait.reason, &wait.message.clone(), None);
        }
    }

    // ---- what is wanted of the world -------------------------------------------------------------------------------

    /// The Services and their port, where routes carry the weights.
    pub fn pair(&self) -> Option<Pair> {
        if self.spec().routes().is_empty() {
            return None;
        }
        let port = self
            .seen
            .stable_service
            .iter()
            .chain(&self.seen.canary_service)
            .find_map(|service| service.ports.first()?.get("port")?.as_u64())
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(80);
        self.spec().pair(port)
    }

    /// The Service of this name is there and ours.
    pub fn service(&self, found: Option<&'a Service>, name: &str) -> Result<&'a Service, Stop> {
        let object = format!("Service/{name}");
        match found {
            Some(service) if service.ours => Ok(service),
            Some(service) if service.orphaned => Err(Stop::Do(Effect::ClaimService { service: target(service) })),
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

    /// A Service selects exactly this hash, or no hash at all.
    #[expect(clippy::unused_self, reason = "reads as a condition among the others")]
    pub fn selects(&self, service: &Service, hash: Option<&str>) -> Holds {
        let mut selector: Map = service.selector.clone();
        selector.remove(HASH_LABEL);
        if let Some(hash) = hash {
            selector.insert(HASH_LABEL.to_owned(), hash.to_owned());
        }
        if service.selector == selector {
            return Ok(());
        }
        Err(Stop::Do(Effect::Select { service: target(service), selector, from: service.selector.clone() }))
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

    /// A change was accepted, and the data plane has had its time to take it.
    pub fn settled(&mut self, what: &str, settle: Duration, phase: Phase) -> Holds {
        let now = self.seen.now;
        let flight = self.flight()?;
        let known = flight.settling.as_ref().filter(|settling| settling.what == what).map(|settling| settling.since.0);
        let since = known.unwrap_or(now);
        if known.is_none() {
            flight.settling = Some(Settling { what: what.to_owned(), since: Time(now) });
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

    /// How long the slowest router's data plane takes.
    pub fn settle(&self) -> Duration {
        let routes = self.spec().routes().iter();
        routes.filter_map(|route| Some(route.settle_with(route.router().ok()?))).max().unwrap_or(Duration::ZERO)
    }

    /// All routes carry this weight for the canary, and every gateway has accepted it.
    pub fn weighs(&mut self, weight: Weight, phase: Phase) -> Holds {
        let Some(pair) = self.pair() else { return Ok(()) };
        let by = Some("Status".to_owned());
        let accepted = self.status.weights.as_ref().map_or(Weight::ZERO, |weights| weights.accepted);
        self.status.weights = Some(api::Weights { desired: weight, accepted, by });
        let mut unaccepted = None;
        let mut wrong = Vec::new();
        for route in &self.seen.routes {
            let object = format!("{}/{}", route.reference.kind, route.reference.name);
            let Found::Object { seen, claim, drifted, .. } = &route.found else {
                return Err(self.wait(
                    Phase::Waiting,
                    Reason::RouteMissing,
                    &object,
                    format!("{object} is gone; it carried the weights of this Rollout"),
                    SOON,
                ));
            };
            if let Claim::Foreign(other) = claim {
                return Err(self.claimed_by(other, Reason::RouteClaimed, &object));
            }
            match seen {
                Ok(seen) if seen.weight == Weights::At(weight) && !drifted => {
                    if let Acceptance::No(why) | Acceptance::Unknown(why) = &seen.accepted {
                        unaccepted.get_or_insert((object, why.clone()));
                    }
                }
                Ok(_) => wrong.push(route.reference.clone()),
                Err(unsteerable) => {
                    return Err(self.wait(
                        Phase::Blocked,
                        Reason::RouteUnsteerable,
                        &object,
                        unsteerable.to_string(),
                        LATER,
                    ));
                }
            }
        }
        if !wrong.is_empty() {
            self.count_reverts(weight, accepted);
            return Err(Stop::Do(Effect::SetWeights { weight, pair, routes: wrong }));
        }
        if let Some((object, why)) = unaccepted {
            let message = format!("{object} says {weight} for the canary and is not accepted: {why}");
            return Err(self.wait(phase, Reason::RouteNotAccepted, &object, message, SOON));
        }
        if let Some(weights) = &mut self.status.weights {
            weights.accepted = weight;
        }
        Ok(())
    }

    /// A weight that was accepted and is another now was undone by somebody.
    fn count_reverts(&mut self, wanted: Weight, accepted: Weight) {
        let now = self.seen.now;
        // A weight that we are about to write and could not is not somebody's doing.
        let writing = self.status.intent.as_ref().is_some_and(|intent| intent.action == "set-weights");
        let Some(flight) = self.status.flight.as_mut().filter(|_| !writing) else { return };
        if wanted == accepted && wanted != Weight::ZERO {
            flight.reverted.push(Time(now));
            let surplus = flight.reverted.len().saturating_sub(2);
            flight.reverted.drain(..surplus);
        }
    }

    /// The words for an object that another Rollout holds.
    pub fn claimed_by(&self, other: &str, reason: Reason, object: &str) -> Stop {
        let message = format!(
            "{object} is held by Rollout {other}; one object can be in one Rollout only: delete one of the two"
        );
        self.wait(Phase::Blocked, reason, object, message, LATER)
    }

    /// Our finalizer is there, or is not.
    pub fn finalizer(&self, present: bool) -> Holds {
        let there = self.rollout().metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
        if there == present { Ok(()) } else { Err(Stop::Do(Effect::Finalize { present })) }
    }

    /// A ReplicaSet of ours wants so many pods.
    #[expect(clippy::unused_self, reason = "reads as a condition among the others")]
    pub fn scaled(&self, set: &ReplicaSet, replicas: i32) -> Holds {
        if set.replicas == replicas { Ok(()) } else { Err(Stop::Do(Effect::Scale { set: target(set), replicas })) }
    }
}

/// What an object needs to have for an effect on it.
pub trait Versioned {
    /// Name, uid, version.
    fn parts(&self) -> (&str, &str, &str);
}

impl Versioned for Deployment {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.name, &self.uid, &self.resource_version)
    }
}

impl Versioned for ReplicaSet {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.name, &self.uid, &self.resource_version)
    }
}

impl Versioned for Service {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.name, &self.uid, &self.resource_version)
    }
}

/// The object as it was read.
pub fn target(object: &impl Versioned) -> Target {
    let (name, uid, resource_version) = object.parts();
    Target { name: name.to_owned(), uid: uid.to_owned(), resource_version: resource_version.to_owned() }
}

/// A name for a template that no ReplicaSet has yet. It is given once and never computed again to decide anything.
pub fn revision_of(template: &Value, taken: impl Fn(&str) -> bool) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = template.to_string();
    // There are fewer ReplicaSets in any namespace than names tried here.
    (0_u64..1_000_000)
        .map(|salt| {
            // FNV-1a: any spread will do, for collisions are looked for.
            let seed = 0xcbf2_9ce4_8422_2325 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut hash =
                text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            (0..10)
                .map(|_| {
                    let letter = LETTERS[usize::try_from(hash % 27).unwrap_or(0)];
                    hash /= 27;
                    char::from(letter)
                })
                .collect::<String>()
        })
        .find(|name| !taken(name))
        .unwrap_or_default()
}
