//! States out of which there has to be a way, and what is remembered across them.
use super::{accidents::candidate, *};
use crate::metrics::Seen;

/// A command; what became of it, in words.
pub fn ordered(world: &mut World, action: Action) -> Result<String, String> {
    world.command(action, None);
    world.obeyed(10)
}

/// v1 returns by an abort that came into the swap of v2 for it.
fn returning(change: impl FnOnce(&mut Value)) -> World {
    let mut world = adopted(rollout(change));
    world.push("v2");
    world.measured(Verdict::Pass);
    world.until(600, |world| {
        let moved = world.status().flight.and_then(|it| it.promotion).is_some_and(|it| it.moved && !it.trading);
        moved && world.seen.controlled().next().is_none()
    });
    world.command(Action::Abort, None);
    world.until(60, |world| world.status().flight.is_some_and(|flight| flight.returns));
    world
}

/// None of this version's pods is ready from now on, for so many seconds.
fn without(world: &mut World, hash: &str, seconds: usize) {
    for _ in 0..seconds {
        let theirs = world.seen.pods.iter_mut().filter(|pod| pod.hash == hash);
        let gone: Vec<_> = theirs.map(|pod| (pod.ready = false, pod.name.clone()).1).collect();
        for service in [&mut world.seen.stable_service, &mut world.seen.canary_service].into_iter().flatten() {
            service.endpoints.retain(|pod| !gone.contains(pod));
        }
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
}

fn pausing(value: &mut Value) {
    value["spec"]["progress"]["onStuck"] = json!("Pause");
}

#[test]
fn a_return_that_is_stuck_hears_a_person() {
    let stuck = || {
        let mut world = returning(pausing);
        without(&mut world, "1", 150);
        assert_eq!(world.status().phase, Phase::Paused, "{}", world.status().message);
        world
    };
    let mut world = stuck();
    ordered(&mut world, Action::Resume).unwrap();
    without(&mut world, "1", 5);
    assert_ne!(world.status().phase, Phase::Paused, "it has its time again");
    world.settle();
    world.rests(Phase::Aborted);
    assert_eq!(world.serving(), "v1");
    let mut world = stuck();
    ordered(&mut world, Action::Abort).unwrap();
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
}

#[test]
fn an_abort_that_is_said_twice_is_one() {
    let mut world = returning(|_| {});
    let said = ordered(&mut world, Action::Abort).unwrap();
    assert_eq!(said, "it was given up already");
    world.rests(Phase::Aborted);
    assert_eq!(world.serving(), "v1");
    // Nor does a Resume say anything of what is on its way out.
    let mut world = adopted(rollout(pausing));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    let hash = world.status().canary.unwrap().pod_template_hash;
    without(&mut world, &hash, 150);
    world.command(Action::Abort, None);
    world.look();
    ordered(&mut world, Action::Resume).unwrap_err();
}

#[test]
fn a_promotion_that_is_stuck_is_resumed() {
    let mut world = adopted(rollout(pausing));
    world.push("v2");
    world.until(300, |world| world.status().flight.is_some_and(|flight| flight.promotion.is_some()));
    let hash = world.status().canary.unwrap().pod_template_hash;
    without(&mut world, &hash, 150);
    assert_eq!(world.status().phase, Phase::Paused, "{}", world.status().message);
    ordered(&mut world, Action::Resume).unwrap();
    world.settle();
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
}

#[test]
fn a_return_has_the_deadline_for_each_pod_that_comes() {
    let slow = |value: &mut Value| {
        value["spec"]["capacity"] = json!({"maxPods": "125%"});
        value["spec"]["steps"] = json!([{"name": "some", "weight": 20, "observe": "5s"}]);
    };
    let world = returning(slow);
    assert_eq!(world.status().step.unwrap().progress, None, "what was promoted had its own");
}

#[test]
fn a_candidate_that_a_webhook_changes_is_aborted_for_good() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    for _ in 0..5 {
        let before = world.effects.len();
        world.look();
        if world.effects[before..].iter().any(|effect| effect.starts_with("create-candidate")) {
            let set = world.seen.replica_sets.last_mut().unwrap();
            set.generation = 1;
            set.template["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        }
    }
    ordered(&mut world, Action::Abort).unwrap();
    world.rests(Phase::Aborted);
    let made = world.effects.len();
    world.looks(30);
    assert_eq!((world.effects.len(), world.has(Reason::Superseded)), (made, false));
}

#[test]
fn without_routes_a_return_outlives_a_deployment_at_no_replicas() {
    let mut world = returning(|value| {
        value["spec"].as_object_mut().unwrap().remove("traffic");
        judged(value);
    });
    world.seen.deployment.as_mut().unwrap().replicas = 0;
    world.settle();
    world.looks(20);
    world.seen.deployment.as_mut().unwrap().replicas = 4;
    world.settle();
    world.rests(Phase::Aborted);
    assert_eq!(world.serving(), "v1");
}

#[test]
fn services_that_are_deleted_when_there_is_no_way_back_are_made_again() {
    for stable in [true, false] {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        let moved = |world: &World| world.status().flight.and_then(|it| it.promotion).is_some_and(|it| it.moved);
        world.until(600, moved);
        world.seen.replica_sets.retain(|set| set.name != "shop-1");
        let service = if stable { &mut world.seen.stable_service } else { &mut world.seen.canary_service };
        *service = None;
        let hash = world.status().canary.unwrap().pod_template_hash;
        let plan = decide(&world.seen);
        let Some(Effect::CreateService { spec, .. }) = plan.effect else { panic!("{}", plan.status.message) };
        assert!(!stable || spec["selector"][crate::api::HASH_LABEL] == hash.as_str(), "{spec}: who carries everything");
    }
}

#[test]
fn no_room_for_pods_that_an_autoscaler_asked_for_is_not_held_against_a_candidate() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["capacity"] = json!({"maxPods": 6});
        value["spec"]["steps"] = json!([{"name": "half", "weight": 50, "approval": "Required"}]);
    }));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 50);
    world.seen.deployment.as_mut().unwrap().replicas = 6;
    world.settle();
    world.looks(200);
    let status = world.status();
    assert_eq!((status.latch, status.phase), (None, Phase::Blocked), "{}", status.message);
    assert_eq!(status.waiting_for[0].reason, Reason::NoRoom);
    // Nor are steps adopted for which there is none.
    world.seen.rollout.spec.steps[0].weight = Weight::new(60).unwrap();
    world.seen.rollout.metadata.generation = Some(9);
    let said = ordered(&mut world, Action::AdoptSteps).unwrap_err();
    assert!(said.contains("maxPods leaves room for 0"), "{said}");
    world.seen.deployment.as_mut().unwrap().replicas = 4;
    world.settle();
    world.until(60, |world| world.status().phase == Phase::AwaitingApproval);
}

#[test]
fn what_serves_is_in_the_deployment_until_that_has_asked_for_its_pods() {
    let mut world = adopted(rollout(|value| value["spec"]["capacity"] = json!({"maxPods": "150%"})));
    world.push("v2");
    world.until(300, |world| world.status().flight.is_some_and(|flight| flight.promotion.is_some()));
    world.seen.replica_sets.iter_mut().find(|set| set.name == "shop-1").unwrap().replicas = 0;
    for _ in 0..20 {
        let effect = decide(&world.seen).effect;
        assert!(effect.is_none_or(|effect| effect.verb() != "take-out"));
        world.seen.rollout.status = Some(decide(&world.seen).status);
        world.seen.now += SignedDuration::from_secs(1);
    }
}

#[test]
fn an_approval_gets_its_share_back_while_stable_cannot_carry_it() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["steps"] = json!([{"name": "all", "weight": 100, "approval": "Required"}]);
    }));
    world.push("v2");
    world.until(300, |world| world.status().phase == Phase::AwaitingApproval);
    let hash = world.status().canary.unwrap().pod_template_hash;
    without(&mut world, &hash, 3);
    assert!(world.split.weight < Weight::FULL);
    world.settle();
    for _ in 0..20 {
        world.seen.pods.iter_mut().filter(|pod| pod.hash == "1").skip(1).for_each(|pod| pod.ready = false);
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
    assert_eq!(world.split.weight, Weight::FULL, "{}", world.status().message);
}

#[test]
fn a_finalizer_that_is_missing_keeps_nobody_from_an_abort() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    world.seen.rollout.metadata.finalizers = None;
    ordered(&mut world, Action::Abort).unwrap();
    world.rests(Phase::Aborted);
}

// ---- what is not seen -------------------------------------------------------------------------------------------

fn in_the_last_step(change: impl FnOnce(&mut Value)) -> World {
    let mut world = adopted(rollout(|value| {
        judged(value);
        change(value);
    }));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(200, |world| world.split.weight.percent() == 20);
    world
}

/// For so many seconds this is what there is to see.
fn sees(world: &mut World, seen: &Seen, seconds: usize) {
    for _ in 0..seconds {
        world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), seen.clone())] };
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
}

#[test]
fn a_quiet_night_and_one_unanswered_question_give_nobody_up() {
    let quiet = Seen { no_requests: true, ..seen_nothing() };
    let blind = seen_nothing();
    let mut world = in_the_last_step(|value| {
        value["spec"]["analysis"]["onUnknown"] = json!({"after": "5m", "then": "Abort"});
    });
    sees(&mut world, &quiet, 1_000);
    sees(&mut world, &blind, 60);
    assert_eq!(world.status().latch, None);
    sees(&mut world, &quiet, 10);
    sees(&mut world, &blind, 290);
    assert_eq!(world.status().latch, None);
    sees(&mut world, &blind, 20);
    assert_eq!(world.status().latch.unwrap().reason, Reason::EvidenceMissing, "it was blind for five minutes");
}

#[test]
fn an_outage_of_the_provider_is_no_time_without_requests() {
    let quiet = Seen { no_requests: true, ..seen_nothing() };
    let mut world = in_the_last_step(|value| {
        value["spec"]["analysis"]["whenNoTraffic"] = json!({"after": "5m", "then": "AdvanceAfter"});
    });
    sees(&mut world, &seen_nothing(), 400);
    sees(&mut world, &quiet, 100);
    // A question without an answer, now and then, makes a quiet time no shorter.
    sees(&mut world, &seen_nothing(), 20);
    sees(&mut world, &quiet, 80);
    assert!(!world.has(Reason::Unjudged));
    sees(&mut world, &quiet, 110);
    assert!(world.has(Reason::Unjudged));
}

#[test]
fn a_pause_is_no_time_in_the_dark() {
    let mut world = in_the_last_step(|value| {
        value["spec"]["analysis"]["onUnknown"] = json!({"after": "5m", "then": "Abort"});
    });
    sees(&mut world, &seen_nothing(), 60);
    ordered(&mut world, Action::Pause).unwrap();
    sees(&mut world, &seen_nothing(), 1_000);
    ordered(&mut world, Action::Resume).unwrap();
    sees(&mut world, &seen_nothing(), 200);
    assert_eq!(world.status().latch, None);
}

#[test]
fn a_metric_of_another_name_is_waited_for_in_its_step() {
    let mut world = in_the_last_step(|value| {
        value["spec"]["steps"] = json!([
            {"name": "some", "weight": 20, "observe": "5s"}, {"name": "more", "weight": 20, "observe": "5s"},
        ]);
    });
    let analysis = &mut world.seen.rollout.spec.analysis;
    analysis.metrics[0].name = "failures".to_owned();
    let step = world.status().step.unwrap().name;
    sees(&mut world, &Seen { verdict: Verdict::Pass, usable: true, ..seen_nothing() }, 60);
    let status = world.status();
    assert_eq!(status.step.unwrap().name, step, "{}", status.message);
    assert!(status.message.contains("failures: not measured yet"), "{}", status.message);
}

#[test]
fn evidence_that_begins_anew_has_its_time_again() {
    let begins_anew = |then: &str, verdict: Verdict| {
        let mut world = in_the_last_step(|value| {
            value["spec"]["steps"][1]["observe"] = json!("5s");
            value["spec"]["analysis"]["onInconclusive"] = json!({"after": "60s", "then": then});
            value["spec"]["analysis"]["onUnknown"] = json!({"after": "60s", "then": "Abort"});
        });
        let step = world.status().step.unwrap().name;
        let open = Seen { verdict: Verdict::Continue, usable: true, ..seen_nothing() };
        sees(&mut world, &open, 50);
        let history = Seen { history_from: Some(world.seen.now), ..open };
        sees(&mut world, &history, 2);
        assert!(world.has(Reason::EvidenceRestarted));
        sees(&mut world, &Seen { verdict, usable: true, ..seen_nothing() }, 50);
        let status = world.status();
        assert_eq!((status.latch, status.step.unwrap().name), (None, step), "{}", status.message);
    };
    begins_anew("Advance", Verdict::Continue);
    begins_anew("Wait", Verdict::Unknown);
}

// ---- who is reached ---------------------------------------------------------------------------------------------

#[test]
fn a_template_that_is_only_tried_widens_no_service() {
    let mut world = adopted(rollout(|_| {}));
    let set = |template: &mut Value, to: &str| template["metadata"]["labels"]["component"] = json!(to);
    set(&mut world.seen.deployment.as_mut().unwrap().template, "web");
    world.seen.replica_sets.iter_mut().for_each(|it| set(&mut it.template, "web"));
    for service in [&mut world.seen.stable_service, &mut world.seen.canary_service] {
        service.as_mut().unwrap().selector.insert("component".to_owned(), "web".to_owned());
    }
    world.push("v2");
    set(&mut world.seen.deployment.as_mut().unwrap().template, "frontend");
    world.until(100, |world| world.split.weight.percent() == 20);
    ordered(&mut world, Action::Abort).unwrap();
    world.rests(Phase::Aborted);
    for service in [&world.seen.stable_service, &world.seen.canary_service] {
        let selector = &service.as_ref().unwrap().selector;
        assert_eq!(selector.get("component").map(String::as_str), Some("web"), "{selector:?}");
    }
}

#[test]
fn what_carries_everything_grows_while_its_last_weight_is_waited_for() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(600, |world| world.status().flight.and_then(|it| it.promotion).is_some_and(|it| it.home));
    let name = candidate(&world);
    world.seen.routes[0].found = Found::Unreadable("forbidden".to_owned());
    world.seen.deployment.as_mut().unwrap().replicas = 9;
    world.until(30, |world| world.seen.replica_set(&name).unwrap().replicas == 9);
}

#[test]
fn a_deployment_that_is_deleted_alone_leaves_all_requests_to_stables_pods_before_the_candidates_end() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    let name = candidate(&world);
    // Without it nobody knows by which labels to look for its pods.
    world.seen.deployment = None;
    world.seen.pods.clear();
    world.seen.replica_sets.retain(|set| set.name == name);
    let (before, mut ended) = (world.effects.len(), false);
    for _ in 0..60 {
        world.look();
        let ends = world.seen.replica_set(&name).is_none_or(|set| set.replicas == 0);
        let selects = world.seen.canary_service.as_ref().unwrap().hash() == Some("1");
        let leads = selects && world.split.weight == Weight::ZERO;
        assert!(ended || !ends || leads, "{:?}", world.effects);
        ended |= ends;
        world.seen.now += SignedDuration::from_secs(1);
    }
    assert!(ended && world.status().flight.is_none(), "{}", world.status().message);
    assert!(world.effects.len() < before + 12, "{:?}", &world.effects[before..]);
}

#[test]
fn a_deletion_at_no_replicas_waits_for_no_pod_of_what_rolls_forward() {
    let scarce = |value: &mut Value| value["spec"]["capacity"] = json!({"maxPods": "150%"});
    let mut world = accidents::flying(50, scarce);
    accidents::delete(&mut world);
    let half = |world: &mut World| {
        for pod in world.seen.pods.iter_mut().filter(|pod| pod.hash == "1").skip(2) {
            pod.ready = false;
        }
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    };
    (0..10).for_each(|_| half(&mut world));
    world.command(Action::PromoteFull, None);
    let trading = |world: &World| world.status().flight.and_then(|it| it.promotion).is_some_and(|it| it.trading);
    for _ in 0..60 {
        if trading(&world) && world.seen.controlled().next().is_none() {
            break;
        }
        half(&mut world);
    }
    assert!(trading(&world), "{}", world.status().message);
    world.seen.deployment.as_mut().unwrap().replicas = 0;
    for set in &mut world.seen.replica_sets {
        set.replicas = 0;
    }
    world.settle();
    world.until(100, |world| world.seen.rollout.metadata.finalizers.is_none());
    assert_eq!(world.serving(), "v0v1", "{:?}", world.effects);
}

#[test]
fn looks_that_come_late_count_as_far_as_anybody_watched() {
    let mut world = adopted(rollout(|value| value["spec"]["steps"][0]["observe"] = json!("30s")));
    world.push("v2");
    world.until(100, |world| world.status().step.is_some_and(|step| step.observed_at.is_some()));
    let mut counted = Vec::new();
    for _ in 0..3 {
        world.seen.now += SignedDuration::from_secs(25);
        world.look();
        counted.extend(world.status().step.map(|step| (step.index, step.observed_seconds)));
    }
    assert_eq!(counted[..2], [(0, 10), (0, 20)]);
    world.until(10, |world| world.status().step.is_some_and(|step| step.index == 1));
}
