//! `decide` against a small world made of data: effects change it, pods become ready, and every look is checked.
mod accidents;
mod commands;
mod ways;

use super::*;
use crate::{
    api::{Action, Expect, HASH_LABEL, HeldBy, Phase, Reason, Rollout},
    metrics::{Outcome, Seen},
    traffic::{Acceptance, Apart, RouteSeen, Split, Weights},
    vocab::{Verdict, Weight},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const UID: &str = "rollout-uid";

/// A cluster with one Deployment, in which everything that is asked for happens at once.
struct World {
    seen: Observed,
    effects: Vec<String>,
    /// Whether new pods become ready.
    ready: bool,
    /// The weight in the route.
    split: Split,
    versions: u32,
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "app", "image": version, "unknown": {"field": 1}}]}})
}

fn rollout(change: impl FnOnce(&mut Value)) -> Rollout {
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

fn judged(value: &mut Value) {
    value["spec"]["analysis"] = json!({
        "provider": {"kind": "ClusterMetricProvider", "name": "prometheus"},
        "metrics": [{"name": "errors", "preset": "app/error-rate"}],
        "onInconclusive": {"after": "1s", "then": "Advance"},
    });
}

impl World {
    fn new(rollout: Rollout) -> Self {
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
        let reference = rollout.spec.routes().first().cloned();
        let routes = reference.map(|reference| Route {
            reference,
            refused: None,
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
            },
        });
        let seen = Observed {
            epoch: 1,
            deployment: Some(deployment),
            replica_sets: vec![history, stable],
            routes: routes.into_iter().collect(),
            belt: Belt::Armed,
            ..Observed::of(rollout, Timestamp::UNIX_EPOCH)
        };
        let mut world = Self { seen, effects: Vec::new(), ready: true, split: Split::NONE, versions: 1 };
        world.settle();
        world
    }

    /// What the rest of the world does in the meantime.
    fn settle(&mut self) {
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
        let pods = &self.seen.pods;
        for service in [&mut self.seen.stable_service, &mut self.seen.canary_service].into_iter().flatten() {
            let hash = service.selector.get(HASH_LABEL).cloned();
            service.endpoints = pods
                .iter()
                .filter(|pod| pod.ready && hash.as_ref().is_none_or(|hash| *hash == pod.hash))
                .map(|pod| pod.name.clone())
                .collect();
        }
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

    /// What must hold after every write.
    fn check(&self) {
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
    fn of_canary(&self) -> Weight {
        if self.split.apart.is_empty() { self.split.weight } else { Weight::FULL }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each effect")]
    fn apply(&mut self, effect: &Effect) {
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
            Effect::ClaimRoute { claimed, .. } => {
                let Found::Object { claim, names_pair, .. } = &mut self.seen.routes[0].found else {
                    panic!("no route")
                };
                *claim = if *claimed { Claim::Ours } else { Claim::Free };
                *names_pair = *claimed;
            }
            Effect::CreateService { name, spec, .. } => {
                let service = Service {
                    name: name.clone(),
                    selector: serde_json::from_value(spec["selector"].clone()).unwrap(),
                    ports: spec["ports"].as_array().unwrap().clone(),
                    ours: true,
                    ..Service::default()
                };
                let place = if name.ends_with("stable") {
                    &mut self.seen.stable_service
                } else {
                    &mut self.seen.canary_service
                };
                *place = Some(service);
            }
            Effect::ClaimService { service } => {
                let place = if service.name.ends_with("stable") {
                    &mut self.seen.stable_service
                } else {
                    &mut self.seen.canary_service
                };
                place.as_mut().unwrap().ours = true;
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
            Effect::CreateCandidate { name, revision, template, .. } => sets.push(ReplicaSet {
                name: name.clone(),
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
    fn look(&mut self) -> Plan {
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
    fn looks(&mut self, count: usize) {
        for _ in 0..count {
            let plan = self.look();
            if plan.look_again != Some(SignedDuration::ZERO) {
                self.seen.now += SignedDuration::from_secs(1);
            }
        }
    }

    /// Looks for so many seconds, or until this holds.
    fn until(&mut self, seconds: i64, holds: impl Fn(&Self) -> bool) {
        let end = self.seen.now + SignedDuration::from_secs(seconds);
        let mut looks = 0;
        while !holds(self) {
            let plan = self.look();
            looks += 1;
            assert!(looks < 5_000, "it never rests: {:?}", self.effects.iter().rev().take(8).collect::<Vec<_>>());
            if plan.look_again != Some(SignedDuration::ZERO) {
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

    fn rests(&mut self, phase: Phase) {
        self.until(200, |world| {
            let status = world.status();
            status.phase == phase && status.waiting_for.is_empty() && status.past.is_none() && world.is_quiet()
        });
    }

    /// What became of the command.
    fn answer(&self) -> Option<crate::api::ActionOutcome> {
        let uid = &self.seen.actions.first()?.uid;
        self.status().handled.iter().find(|handled| handled.uid == *uid).map(|handled| handled.outcome)
    }

    fn is_quiet(&self) -> bool {
        let plan = decide(&self.seen);
        plan.effect.is_none() && Some(&plan.status) == self.seen.rollout.status.as_ref()
    }

    fn status(&self) -> RolloutStatus {
        self.seen.rollout.status.clone().unwrap_or_default()
    }

    fn push(&mut self, version: &str) {
        let deployment = self.seen.deployment.as_mut().unwrap();
        deployment.template = template(version);
        deployment.generation += 1;
        deployment.observed_generation += 1;
    }

    fn serving(&self) -> String {
        let sets: Vec<_> = self.seen.controlled().collect();
        sets.iter().map(|set| set.template["spec"]["containers"][0]["image"].as_str().unwrap()).collect()
    }

    fn command(&mut self, action: Action, expect: Option<Expect>) {
        let number = self.seen.actions.len();
        self.seen.actions.push(PendingAction {
            name: format!("action-{number}"),
            uid: format!("action-uid-{number}"),
            action,
            expect,
            to: None,
            reason: None,
            by: Some("jane".to_owned()),
        });
    }

    fn measured(&mut self, verdict: Verdict) {
        let metrics =
            vec![("errors".to_owned(), Seen { verdict, usable: verdict != Verdict::Unknown, ..seen_nothing() })];
        self.seen.measured = Measured::Read { at: self.seen.now, metrics };
    }

    fn has(&self, reason: Reason) -> bool {
        self.status().decisions.iter().any(|decision| decision.reason == reason)
    }
}

fn seen_nothing() -> Seen {
    Seen {
        verdict: Verdict::Unknown,
        outcome: Outcome::Measured,
        usable: false,
        no_requests: false,
        canary: None,
        stable: None,
        samples: 0,
        evidence: None,
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

fn sets_version(effect: &Effect) -> Option<String> {
    match effect {
        Effect::TakeOut { set, .. } | Effect::HandIn { set, .. } | Effect::Scale { set, .. } => Some(set.name.clone()),
        _ => None,
    }
}

fn adopted(rollout: Rollout) -> World {
    let mut world = World::new(rollout);
    world.rests(Phase::Stable);
    world
}

#[test]
fn adoption_touches_no_pod_and_leaves_one_controlled_replica_set() {
    let world = adopted(rollout(|_| {}));
    assert_eq!(world.seen.controlled().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["shop-1"]);
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
    assert!(world.effects.iter().all(|effect| !effect.starts_with("scale")), "{:?}", world.effects);
    assert_eq!(world.status().workload.unwrap().held_by, Some(HeldBy::Policy));
}

#[test]
fn without_policies_it_is_paused_all_the_time() {
    let mut world = World::new(rollout(|_| {}));
    world.seen.belt = Belt::Absent;
    world.rests(Phase::Stable);
    assert!(world.seen.deployment.as_ref().unwrap().paused);
    world.push("v2");
    world.until(200, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert!(world.seen.deployment.as_ref().unwrap().paused);
    assert_eq!(world.serving(), "v2");
}

#[test]
fn a_good_revision_is_promoted_and_its_pods_are_the_tested_ones() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(60, |world| world.split.weight.percent() == 50);
    let candidate = world.status().flight.unwrap().candidate;
    world.until(100, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
    assert_eq!(world.seen.controlled().next().unwrap().name, candidate);
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
    assert_eq!(world.split.weight, Weight::ZERO, "requests are home");
    assert_eq!(world.seen.stable_service.as_ref().unwrap().hash(), None, "nothing is left pinned");
    assert_eq!(world.seen.replica_set("shop-1").unwrap().replicas, 0, "the old pods ended after scaleDownDelay");
}

#[test]
fn the_way_back_stays_open_for_the_scale_down_delay() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(200, |world| world.has(Reason::Promoted));
    let at = world.seen.now;
    world.until(40, |world| world.seen.replica_set("shop-1").unwrap().replicas == 0);
    let kept = world.seen.now.duration_since(at).as_secs();
    assert!((29..=33).contains(&kept), "{kept}s");
}

#[test]
fn a_failed_verdict_latches_before_anything_moves_and_takes_the_weight_first() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    let before = world.effects.len();
    world.measured(Verdict::Fail);
    let plan = world.look();
    assert!(plan.effect.is_none() && plan.status.latch.is_some(), "the latch is written first");
    world.rests(Phase::Aborted);
    let after: Vec<_> = world.effects[before..].iter().map(|effect| effect.split(' ').next().unwrap()).collect();
    assert_eq!(after, ["set-weights", "select", "scale", "select", "select"], "{:?}", &world.effects[before..]);
    assert_eq!(world.serving(), "v1");
    assert!(world.seen.deployment.as_ref().unwrap().paused, "Git still says v2");
}

#[test]
fn a_given_up_revision_is_not_tried_again_without_a_word() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    let revision = world.status().flight.unwrap().revision;
    world.measured(Verdict::Fail);
    world.rests(Phase::Aborted);
    world.measured(Verdict::Continue);
    world.rests(Phase::Aborted);
    world.command(Action::Retry, Some(Expect { revision: Some(revision.clone()), step: None }));
    world.until(100, |world| world.split.weight.percent() == 50);
    assert_eq!(world.status().flight.unwrap().revision, revision, "the same pods' template, by the same name");
    assert_eq!(world.answer(), Some(crate::api::ActionOutcome::Accepted));
}

#[test]
fn an_unknown_verdict_neither_advances_nor_aborts() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    world.measured(Verdict::Unknown);
    for _ in 0..600 {
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
        world.measured(Verdict::Unknown);
    }
    assert_eq!(world.split.weight.percent(), 20);
    assert_eq!(world.status().step.unwrap().observed_seconds, 0, "what was not seen was not observed");
    assert_eq!(world.status().phase, Phase::Blocked, "and after a while somebody is told");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 50);
}

#[test]
fn pods_that_never_become_ready_are_given_up() {
    let mut world = adopted(rollout(|_| {}));
    world.ready = false;
    world.push("v2");
    world.rests(Phase::Aborted);
    assert_eq!(world.status().latch.unwrap().reason, Reason::ProgressDeadlineExceeded);
    assert_eq!(world.split.weight, Weight::ZERO);
    assert!(world.effects.iter().all(|effect| !effect.contains("at 20")), "it had no request");
}

#[test]
fn a_pod_that_is_lost_late_in_a_step_has_the_whole_deadline_to_come_back() {
    let mut world = adopted(rollout(|value| value["spec"]["steps"][1]["observe"] = json!("10m")));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    let end = world.seen.now + SignedDuration::from_secs(300);
    world.until(400, |world| world.seen.now > end);
    let evict = |world: &mut World, ready: bool| {
        for pod in world.seen.pods.iter_mut().filter(|pod| !pod.name.starts_with("shop-1")) {
            pod.ready = ready;
        }
    };
    // Five times for twenty seconds is more than the deadline of sixty: pods that come and go add up.
    for round in 1..=5 {
        evict(&mut world, false);
        for _ in 0..20 {
            world.look();
            evict(&mut world, false);
            world.seen.now += SignedDuration::from_secs(1);
        }
        let given_up = world.status().latch.is_some();
        assert_eq!(given_up, round > 3, "after {round} times");
        if given_up {
            return;
        }
        evict(&mut world, true);
        world.settle();
        world.until(60, |world| world.split.weight.percent() == 20);
    }
}

#[test]
fn a_newer_template_starts_from_the_first_step_after_the_weight_is_home() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    let before = world.effects.len();
    world.push("v3");
    world.until(100, |world| world.status().step.is_some_and(|step| step.index == 0) && world.has(Reason::Superseded));
    assert!(world.effects[before].starts_with("set-weights"), "{:?}", &world.effects[before..]);
    world.until(100, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v3");
}

#[test]
fn back_to_stables_template_is_straight_back() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    world.push("v1");
    world.rests(Phase::Stable);
    assert!(world.has(Reason::Reverted));
    assert_eq!(world.serving(), "v1");
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
}

#[test]
fn an_abort_is_taken_at_every_moment() {
    // One story for each look of a whole release: an abort there must end in Aborted with v1, in the middle of the swap too.
    let mut at = 0;
    loop {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.looks(at);
        if world.has(Reason::Promoted) {
            break;
        }
        let flying = world.status().flight.is_some();
        world.command(Action::Abort, None);
        world.until(300, |world| world.answer().is_some());
        if flying {
            assert_eq!(world.answer(), Some(crate::api::ActionOutcome::Accepted), "after {at} looks");
            world.rests(Phase::Aborted);
            assert_eq!(world.serving(), "v1", "after {at} looks");
            assert_eq!(world.split.weight, Weight::ZERO, "after {at} looks");
        } else {
            world.until(300, |world| world.has(Reason::Promoted));
            world.rests(Phase::Stable);
            assert_eq!(world.serving(), "v2", "after {at} looks");
        }
        at += 1;
    }
    assert!(at > 40, "a release has more looks than {at}");
}

#[test]
fn a_new_template_at_every_moment_ends_in_that_template() {
    let mut at = 0;
    loop {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.looks(at);
        let done = world.has(Reason::Promoted) && world.status().past.is_none();
        world.push("v3");
        world.until(400, |world| world.serving() == "v3" && world.has(Reason::Promoted));
        world.rests(Phase::Stable);
        assert_eq!(world.serving(), "v3", "after {at} looks");
        if done {
            break;
        }
        at += 1;
    }
}

#[test]
fn deletion_at_every_moment_leaves_plain_kubernetes_serving() {
    for on_delete in ["Hold", "Continue"] {
        for at in 0..120 {
            let mut world = adopted(rollout(|value| value["spec"]["onDelete"] = json!(on_delete)));
            world.push("v2");
            world.looks(at);
            world.seen.rollout.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.seen.now));
            world.seen.rollout.spec.scale_down_delay = crate::duration::Duration::ZERO;
            let controlled = |world: &World| world.seen.controlled().filter(|set| set.replicas > 0).count();
            for _ in 0..400 {
                if world.seen.rollout.metadata.finalizers.is_none() {
                    break;
                }
                let plan = decide(&world.seen);
                world.seen.rollout.status = Some(plan.status.clone());
                if let Some(effect) = &plan.effect {
                    // While it is handed on the Deployment may control both.
                    world.effects.push(effect.verb().to_owned());
                    let adopted = world.seen.rollout.status.as_mut().and_then(|status| status.workload.take());
                    world.apply(effect);
                    if let Some(status) = &mut world.seen.rollout.status {
                        status.workload = adopted;
                    }
                } else if plan.look_again != Some(SignedDuration::ZERO) {
                    world.seen.now += SignedDuration::from_secs(1);
                }
            }
            assert!(world.seen.rollout.metadata.finalizers.is_none(), "{on_delete} after {at}: {:?}", world.status());
            assert!(controlled(&world) >= 1, "{on_delete} after {at}");
            assert_eq!(world.seen.stable_service.as_ref().unwrap().hash(), None, "{on_delete} after {at}");
            assert_eq!(
                world.seen.ours().count(),
                0,
                "{on_delete} after {at}: all ReplicaSets are the Deployment's again"
            );
        }
    }
}

#[test]
fn commands_that_do_not_fit_are_refused_with_words() {
    let mut world = adopted(rollout(|_| {}));
    world.command(Action::Promote, Some(Expect { revision: Some("other".to_owned()), step: None }));
    world.command(Action::Abort, None);
    world.rests(Phase::Stable);
    assert_eq!(world.status().handled.len(), 2);
    assert!(world.status().handled.iter().all(|handled| handled.outcome == crate::api::ActionOutcome::Refused));
    assert!(world.status().handled[0].message.contains("on trial is none"), "{:?}", world.status().handled);
}

#[test]
fn pause_holds_and_promote_leaves_a_step() {
    let mut world = adopted(rollout(|value| value["spec"]["steps"][1]["approval"] = json!("Required")));
    world.push("v2");
    world.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    assert_eq!(world.split.weight.percent(), 20);
    let expect = Expect { revision: Some(world.status().flight.unwrap().revision), step: Some("some".to_owned()) };
    world.command(Action::Pause, None);
    world.until(100, |world| world.status().phase == Phase::Paused);
    world.command(Action::Promote, Some(expect));
    world.until(100, |world| world.split.weight.percent() == 50);
}

#[test]
fn nothing_moves_for_a_spec_that_is_wrong() {
    let wrong: [fn(&mut Value); 4] = [
        |value| value["spec"]["steps"] = json!([]),
        |value| value["spec"]["steps"][1]["name"] = json!("warm"),
        |value| value["spec"]["traffic"]["services"] = Value::Null,
        |value| value["spec"]["analysis"] = json!({"metrics": [{"name": "x", "preset": "nobody/knows"}]}),
    ];
    for change in wrong {
        let mut world = World::new(rollout(change));
        for _ in 0..10 {
            world.look();
        }
        assert!(world.effects.is_empty(), "{:?}", world.effects);
        assert_eq!(world.status().phase, Phase::Invalid);
        assert!(world.status().message.starts_with("spec."), "{}", world.status().message);
    }
}

#[test]
fn services_that_a_former_rollout_left_are_taken_over_and_those_of_others_are_not() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.stable_service.as_mut().unwrap().ours = false;
    world.look();
    assert_eq!(world.status().waiting_for[0].reason, Reason::ServiceContested);
    world.seen.stable_service.as_mut().unwrap().orphaned = true;
    world.rests(Phase::Stable);
    assert!(world.effects.last().unwrap().starts_with("claim-service"));
}

#[test]
fn an_abort_does_not_wait_for_a_service_that_somebody_contests() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    world.seen.canary_service.as_mut().unwrap().ours = false;
    world.measured(Verdict::Fail);
    world.command(Action::Abort, None);
    world.until(30, |world| world.split.weight == Weight::ZERO && world.status().flight.is_none());
    assert!(world.status().latch.is_some());
}

#[test]
fn a_provider_that_is_missing_is_said_before_anything_is_tried() {
    let mut world = World::new(rollout(judged));
    world.seen.provider = Some("spec.analysis.provider: there is none".to_owned());
    for _ in 0..10 {
        world.look();
    }
    assert_eq!(world.status().waiting_for[0].reason, Reason::ProviderMissing);
    assert!(world.seen.deployment.as_ref().unwrap().claim == Claim::Free);
    world.seen.provider = None;
    world.rests(Phase::Stable);
}

#[test]
fn actions_that_were_answered_long_ago_are_deleted_at_rest() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.expired = Some("old".to_owned());
    world.rests(Phase::Stable);
    assert_eq!(world.effects.last().unwrap(), "expire RolloutAction/old");
}

#[test]
fn without_routes_the_ratio_of_pods_is_the_weight() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["traffic"] = Value::Null;
        value["spec"]["steps"] = json!([{"name": "half", "weight": 50, "observe": "5s"}]);
    }));
    world.push("v2");
    world.until(100, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
    assert!(world.effects.iter().all(|effect| !effect.contains("Service")), "{:?}", world.effects);
}

#[test]
fn scaling_in_flight_reaches_stable_and_the_candidate() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 50);
    world.seen.deployment.as_mut().unwrap().replicas = 10;
    world.settle();
    world.until(100, |world| world.has(Reason::Promoted));
    assert_eq!(world.seen.controlled().next().unwrap().replicas, 10);
}

#[test]
fn a_route_that_somebody_else_keeps_writing_is_left_at_stable() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| {
        world.split.weight.percent() == 20 && world.status().step.is_some_and(|step| step.observed_seconds > 0)
    });
    for _ in 0..2 {
        world.split.weight = Weight::ZERO;
        world.settle();
        world.until(30, |world| world.split.weight.percent() == 20 || world.status().phase == Phase::Blocked);
        world.until(5, |world| {
            world.is_quiet() || world.status().phase == Phase::Blocked || world.status().intent.is_none()
        });
    }
    world.until(30, |world| world.status().phase == Phase::Blocked);
    assert_eq!(world.status().waiting_for[0].reason, Reason::RouteContested);
}
