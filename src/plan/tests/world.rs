//! A small world made of data, in which everything that is asked for happens at once and every look is checked.
use super::super::*;
use crate::{
    api::{Action, ActionOutcome, Expect, HASH_LABEL, Phase, Reason, Rollout},
    duration::Duration,
    metrics::{Outcome, Seen, Unanswered},
    traffic::{Acceptance, Apart, RouteSeen, Split, Weights},
    vocab::{Verdict, Weight},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub const UID: &str = "rollout-uid";

/// A cluster with one Deployment, in which everything that is asked for happens at once.
#[derive(Clone)]
pub struct World {
    pub seen: Observed,
    pub effects: Vec<String>,
    /// Whether new pods become ready.
    pub ready: bool,
    /// The weight in the route.
    pub split: Split,
    pub versions: u32,
}

pub fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "app", "image": version, "unknown": {"field": 1}}]}})
}

/// What a Deployment of v2 makes by itself beside this one.
pub fn rolled_beside(stable: &ReplicaSet) -> ReplicaSet {
    let (name, hash, uid) = ("shop-rolled".to_owned(), "rolled".to_owned(), "rolled".to_owned());
    ReplicaSet { name, hash, uid, template: template("v2"), ..stable.clone() }
}

pub fn rollout(change: impl FnOnce(&mut Value)) -> Rollout {
    let mut value = json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "shop", "namespace": "n", "uid": UID, "generation": 1, "resourceVersion": "1"},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "traffic": {
                "services": {"stable": "shop-stable", "canary": "shop-canary"}, "port": 80,
                "routes": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop"}],
            },
            "steps": [
                {"name": "warm", "weight": 0, "observe": "5s"},
                {"name": "some", "weight": 20, "observe": "10s"},
                {"name": "half", "weight": 50, "observe": "10s"},
            ],
            "progress": {"deadline": "60s"},
            "scaleDownDelay": "30s",
            "analysis": {"mode": "None"},
        },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

pub fn judged(value: &mut Value) {
    value["spec"]["analysis"] = json!({
        "provider": {"kind": "ClusterMetricProvider", "name": "prometheus"},
        "metrics": [{"name": "errors", "preset": "app/error-rate"}],
        "onInconclusive": {"after": "1s", "then": "Advance"},
    });
}

impl World {
    pub fn new(rollout: Rollout) -> Self {
        let stable = ReplicaSet {
            name: "shop-1".to_owned(),
            uid: "rs-1".to_owned(),
            resource_version: "1".to_owned(),
            controller: Some("deployment-uid".to_owned()),
            labels: BTreeMap::from([("app".to_owned(), "shop".to_owned()), (HASH_LABEL.to_owned(), "1".to_owned())]),
            replicas: 4,
            status_replicas: 4,
            ready: 4,
            available: 4,
            template: template("v1"),
            hash: "1".to_owned(),
            ..ReplicaSet::default()
        };
        let history = ReplicaSet {
            name: "shop-0".to_owned(),
            uid: "rs-0".to_owned(),
            replicas: 0,
            status_replicas: 0,
            ready: 0,
            available: 0,
            template: template("v0"),
            hash: "0".to_owned(),
            ..stable.clone()
        };
        let deployment = Deployment {
            name: "shop".to_owned(),
            uid: "deployment-uid".to_owned(),
            resource_version: "1".to_owned(),
            replicas: 4,
            template: template("v1"),
            selector: json!({"matchLabels": {"app": "shop"}}),
            strategy: "RollingUpdate".to_owned(),
            max_surge: 1,
            max_unavailable: 1,
            history_limit: 10,
            status_replicas: 4,
            updated: 4,
            available: 4,
            ..Deployment::default()
        };
        let routes: Vec<_> = rollout
            .spec
            .routes()
            .iter()
            .cloned()
            .map(|reference| Route {
                reference,
                refused: None,
                unfit: None,
                found: Found::Object {
                    claim: Claim::Free,
                    names_pair: false,
                    seen: Ok(RouteSeen {
                        weight: Weights::At(Weight::ZERO),
                        apart: Apart::default(),
                        accepted: Acceptance::Yes,
                    }),
                    drifted: false,
                    backends: vec!["shop".to_owned()],
                    pace: Duration::ZERO,
                },
            })
            .collect();
        let seen = Observed {
            epoch: 1,
            deployment: Some(deployment),
            replica_sets: vec![history, stable],
            routes,
            belt: Belt::Armed,
            ..Observed::of(rollout, Timestamp::UNIX_EPOCH)
        };
        let mut world = Self { seen, effects: Vec::new(), ready: true, split: Split::NONE, versions: 1 };
        world.settle();
        world
    }

    /// What the rest of the world does in the meantime.
    pub fn settle(&mut self) {
        let (d, template) = self.seen.deployment.as_ref().map(|d| (d.replicas, d.template.clone())).unwrap_or_default();
        let uid = self.seen.deployment.as_ref().map(|d| d.uid.clone());
        let ready = self.ready;
        let old: BTreeSet<String> = self.seen.ready_names();
        self.seen.pods.clear();
        let alone = self.seen.controlled().count() == 1;
        for set in &mut self.seen.replica_sets {
            let controlled = set.controller == uid && uid.is_some();
            if controlled && (set.replicas > 0 || alone || workload::same_template(&set.template, &template)) {
                set.replicas = d;
            }
            set.status_replicas = set.replicas;
            let names: Vec<String> = (0..set.replicas).map(|index| format!("{}-{index}", set.name)).collect();
            set.ready = 0;
            for name in names {
                let ready = ready || old.contains(&name) || set.name == "shop-1";
                set.ready += i32::from(ready);
                self.seen.pods.push(Pod { name, hash: set.hash.clone(), ready, ..Pod::default() });
            }
            set.available = set.ready;
        }
        self.reach();
        for route in &mut self.seen.routes {
            if let Found::Object { seen, .. } = &mut route.found {
                *seen = Ok(RouteSeen {
                    weight: Weights::At(self.split.weight),
                    apart: self.split.apart.clone(),
                    accepted: Acceptance::Yes,
                });
            }
        }
        self.check();
    }

    /// The Services reach the ready pods that they select.
    pub fn reach(&mut self) {
        let pods = &self.seen.pods;
        for service in [&mut self.seen.stable_service, &mut self.seen.canary_service].into_iter().flatten() {
            let hash = service.selector.get(HASH_LABEL).cloned();
            service.endpoints = pods
                .iter()
                .filter(|pod| pod.ready && hash.as_ref().is_none_or(|hash| *hash == pod.hash))
                .map(|pod| pod.name.clone())
                .collect();
        }
    }

    /// What must hold after every write.
    pub fn check(&self) {
        let deployment = self.seen.deployment.as_ref();
        let status = self.seen.rollout.status.clone().unwrap_or_default();
        let adopted = status.workload.is_some_and(|workload| workload.stable_replica_set.is_some());
        // On the way out history comes back.
        let leaving = self.seen.rollout.metadata.deletion_timestamp.is_some();
        let controlled: Vec<_> = self.seen.controlled().filter(|set| !leaving || set.replicas > 0).collect();
        if adopted && deployment.is_some() {
            assert!(controlled.len() <= 1, "the Deployment controls {} ReplicaSets", controlled.len());
        }
        for set in self.seen.ours() {
            assert!(!set.labels.contains_key("app"), "{} would be taken by the Deployment controller", set.name);
        }
        let serves = deployment.is_some_and(|deployment| deployment.replicas > 0);
        if let (Some(stable), Some(canary), true) = (&self.seen.stable_service, &self.seen.canary_service, serves) {
            let share = |service: &Service, weight: Weight| {
                assert!(
                    weight == Weight::ZERO || !service.endpoints.is_empty(),
                    "{} has {weight} and nobody behind it",
                    service.name
                );
            };
            share(stable, self.split.weight.rest());
            share(canary, self.of_canary());
        }
    }

    /// What reaches the canary: all of what matches, beside its share.
    pub fn of_canary(&self) -> Weight {
        if self.split.apart.is_empty() { self.split.weight } else { Weight::FULL }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each effect")]
    pub fn apply(&mut self, effect: &Effect) {
        self.effects.push(format!("{} {}", effect.verb(), effect.object()));
        self.versions += 1;
        let version = self.versions.to_string();
        let sets = &mut self.seen.replica_sets;
        let rollout_uid = Some(UID.to_owned());
        match effect {
            Effect::Finalize { present } => {
                self.seen.rollout.metadata.finalizers = present.then(|| vec![crate::api::FINALIZER.to_owned()]);
            }
            Effect::ClaimWorkload { claimed, .. } => {
                let claim = if *claimed { Claim::Ours } else { Claim::Free };
                self.seen.deployment.as_mut().unwrap().claim = claim;
            }
            Effect::ClaimRoute { route, claimed, .. } => {
                let named = self.seen.routes.iter_mut().find(|known| known.reference == *route);
                let Some(Route { found: Found::Object { claim, names_pair, .. }, .. }) = named else {
                    panic!("no route")
                };
                *claim = if *claimed { Claim::Ours } else { Claim::Free };
                *names_pair = *claimed;
            }
            Effect::CreateService { name, spec, deployment } => {
                let service = Service {
                    name: name.clone(),
                    selector: serde_json::from_value(spec["selector"].clone()).unwrap(),
                    ports: spec["ports"].as_array().unwrap().clone(),
                    ours: true,
                    owners: [deployment.uid.clone()].into(),
                    ..Service::default()
                };
                let place = if name.ends_with("stable") {
                    &mut self.seen.stable_service
                } else {
                    &mut self.seen.canary_service
                };
                *place = Some(service);
            }
            Effect::ClaimService { service, deployment } => {
                let place = if service.name.ends_with("stable") {
                    &mut self.seen.stable_service
                } else {
                    &mut self.seen.canary_service
                };
                let place = place.as_mut().unwrap();
                place.ours = true;
                place.owners = deployment.iter().map(|deployment| deployment.uid.clone()).collect();
            }
            Effect::Select { service, selector, .. } => {
                let stable = service.name.ends_with("stable");
                let weight = if stable { self.split.weight.rest() } else { self.of_canary() };
                let place = if stable { &mut self.seen.stable_service } else { &mut self.seen.canary_service };
                let place = place.as_mut().unwrap();
                let before = place.endpoints.clone();
                place.selector = selector.clone();
                let hash = selector.get(HASH_LABEL);
                let after: BTreeSet<_> = self
                    .seen
                    .pods
                    .iter()
                    .filter(|pod| pod.ready && hash.is_none_or(|hash| *hash == pod.hash))
                    .map(|pod| pod.name.clone())
                    .collect();
                // To gain ready pods loses no request; to lose some may.
                assert!(
                    weight == Weight::ZERO || before.is_subset(&after),
                    "{} moved under weight {weight}",
                    service.name
                );
            }
            Effect::Pause { paused, .. } => self.seen.deployment.as_mut().unwrap().paused = *paused,
            Effect::TakeOut { set, labels, .. } => {
                let set = sets.iter_mut().find(|known| known.name == set.name).unwrap();
                set.controller = rollout_uid;
                set.labels.retain(|key, _| !labels.contains_key(key));
            }
            Effect::HandIn { set, labels, .. } => {
                let set = sets.iter_mut().find(|known| known.name == set.name).unwrap();
                set.controller = Some("deployment-uid".to_owned());
                set.labels = labels.clone();
            }
            Effect::CreateCandidate { name, replicas, revision, template, .. } => sets.push(ReplicaSet {
                name: name.clone(),
                replicas: *replicas,
                uid: format!("uid-{name}"),
                controller: rollout_uid,
                template: template.clone(),
                hash: revision.clone(),
                created: self.seen.now,
                ..ReplicaSet::default()
            }),
            Effect::Scale { set, replicas } => {
                let set = sets.iter_mut().find(|known| known.name == set.name).unwrap();
                assert_ne!(set.controller.as_deref(), Some("deployment-uid"), "only ours are scaled");
                set.replicas = *replicas;
            }
            Effect::Delete { set } => sets.retain(|known| known.name != set.name),
            Effect::SetWeights { split, .. } | Effect::WriteRoute { split, .. } => self.split = split.clone(),
            Effect::Expire { .. } => self.seen.expired = None,
            Effect::KeepTemplate { name, hash, template, .. } => {
                assert!(self.seen.kept.iter().all(|kept| kept.replica_set != *name), "kept once");
                let (replica_set, hash, template) = (name.clone(), hash.clone(), template.clone());
                self.seen.kept.push(Kept { replica_set, hash, template });
            }
            Effect::ForgetTemplate { name } => self.seen.kept.retain(|kept| kept.replica_set != *name),
        }
        if let Some(set) =
            sets_version(effect).and_then(|name| self.seen.replica_sets.iter_mut().find(|set| set.name == name))
        {
            set.resource_version = version;
        }
        self.settle();
    }

    /// One look, with its status and effect carried out.
    pub fn look(&mut self) -> Plan {
        let plan = decide(&self.seen);
        let again = decide(&self.seen);
        assert_eq!(plan, again, "the same look gives the same plan");
        self.seen.rollout.status = Some(plan.status.clone());
        if let Some(effect) = &plan.effect {
            self.apply(effect);
        }
        plan
    }

    /// So many looks; a second passes after each that asks for no other at once.
    pub fn looks(&mut self, count: usize) {
        for _ in 0..count {
            let plan = self.look();
            if plan.look_again != SignedDuration::ZERO {
                self.seen.now += SignedDuration::from_secs(1);
            }
        }
    }

    /// Looks for so many seconds, or until this holds.
    pub fn until(&mut self, seconds: i64, holds: impl Fn(&Self) -> bool) {
        let end = self.seen.now + SignedDuration::from_secs(seconds);
        let mut looks = 0;
        while !holds(self) {
            let plan = self.look();
            looks += 1;
            assert!(looks < 5_000, "it never rests: {:?}", self.effects.iter().rev().take(8).collect::<Vec<_>>());
            if plan.look_again != SignedDuration::ZERO {
                self.seen.now += SignedDuration::from_secs(1);
                if let Measured::Read { at, .. } = &mut self.seen.measured {
                    *at = self.seen.now;
                }
            }
            let status = self.status();
            assert!(
                self.seen.now < end,
                "not within {seconds}s: {:?} {} after {:?}",
                status.phase,
                status.message,
                self.effects
            );
        }
    }

    pub fn rests(&mut self, phase: Phase) {
        self.until(200, |world| {
            let status = world.status();
            status.phase == phase && status.waiting_for.is_empty() && status.past.is_none() && world.is_quiet()
        });
    }

    /// What became of the command.
    pub fn answer(&self) -> Option<crate::api::ActionOutcome> {
        let uid = &self.seen.actions.first()?.uid;
        self.status().handled.iter().find(|handled| handled.uid == *uid).map(|handled| handled.outcome)
    }

    pub fn is_quiet(&self) -> bool {
        let plan = decide(&self.seen);
        plan.effect.is_none() && Some(&plan.status) == self.seen.rollout.status.as_ref()
    }

    pub fn status(&self) -> RolloutStatus {
        self.seen.rollout.status.clone().unwrap_or_default()
    }

    pub fn push(&mut self, version: &str) {
        let deployment = self.seen.deployment.as_mut().unwrap();
        deployment.template = template(version);
        deployment.generation += 1;
        deployment.observed_generation += 1;
    }

    pub fn serving(&self) -> String {
        let sets: Vec<_> = self.seen.controlled().collect();
        sets.iter().map(|set| set.template["spec"]["containers"][0]["image"].as_str().unwrap()).collect()
    }

    pub fn command(&mut self, action: Action, expect: Option<Expect>) {
        let number = self.seen.actions.len();
        self.seen.actions.push(PendingAction {
            name: format!("action-{number}"),
            uid: format!("action-uid-{number}"),
            resource_version: "1".to_owned(),
            action,
            expect,
            to: None,
            reason: None,
            by: Some("jane".to_owned()),
        });
    }

    /// What becomes of the last command within so many seconds, in words.
    pub fn obeyed(&mut self, seconds: i64) -> Result<String, String> {
        let uid = self.seen.actions.last().unwrap().uid.clone();
        self.until(seconds, |world| world.status().handled.iter().any(|handled| handled.uid == uid));
        let answer = self.status().handled.into_iter().find(|handled| handled.uid == uid).unwrap();
        match answer.outcome {
            ActionOutcome::Accepted => Ok(answer.message),
            ActionOutcome::Refused => Err(answer.message),
        }
    }

    pub fn measured(&mut self, verdict: Verdict) {
        let metrics =
            vec![("errors".to_owned(), Seen { verdict, usable: verdict != Verdict::Unknown, ..seen_nothing() })];
        self.seen.measured = Measured::Read { at: self.seen.now, metrics };
    }

    pub fn has(&self, reason: Reason) -> bool {
        self.status().decisions.iter().any(|decision| decision.reason == reason)
    }
}

pub fn seen_nothing() -> Seen {
    Seen {
        verdict: Verdict::Unknown,
        outcome: Outcome::Measured,
        usable: false,
        no_requests: false,
        canary: None,
        stable: None,
        samples: 0,
        evidence: None,
        evidence_now: None,
        range: None,
        scraped: None,
        scraped_at_most: None,
        arrived: None,
        past: None,
        under_way: false,
        points: None,
        unanswered: Unanswered::default(),
        failures: 0,
        history_from: None,
        invalid: None,
        why: "why".to_owned(),
    }
}

impl Observed {
    fn ready_names(&self) -> BTreeSet<String> {
        self.pods.iter().filter(|pod| pod.ready).map(|pod| pod.name.clone()).collect()
    }
}

pub fn sets_version(effect: &Effect) -> Option<String> {
    match effect {
        Effect::TakeOut { set, .. } | Effect::HandIn { set, .. } | Effect::Scale { set, .. } => Some(set.name.clone()),
        _ => None,
    }
}

pub fn adopted(rollout: Rollout) -> World {
    let mut world = World::new(rollout);
    world.rests(Phase::Stable);
    world
}
