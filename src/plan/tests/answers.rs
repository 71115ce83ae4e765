//! Whoever has pods that are ready answers, whatever else is waited for.
use super::{
    accidents::{candidate, delete, flying, replicas},
    exits::ordered,
    *,
};

/// Looks for so many seconds at a world in which so many of these revisions' pods are ready.
fn with_ready(world: &mut World, ready: &[(&str, usize)], seconds: usize) {
    for _ in 0..seconds {
        for (hash, ready) in ready {
            let theirs = world.seen.pods.iter_mut().filter(|pod| pod.hash == *hash);
            theirs.enumerate().for_each(|(at, pod)| pod.ready = at < *ready);
        }
        world.reach();
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
}

fn hash_of_candidate(world: &World) -> String {
    world.status().canary.unwrap().pod_template_hash
}

/// v2 carries everything, and its ReplicaSet is not handed in yet.
fn moved(change: impl FnOnce(&mut Value), home: bool) -> World {
    let mut world = adopted(rollout(change));
    world.push("v2");
    world.until(300, |world| {
        let promotion = world.status().flight.and_then(|flight| flight.promotion);
        let at_candidate = world.seen.stable_service.as_ref().and_then(Service::hash) != Some("1");
        at_candidate && promotion.is_some_and(|promotion| promotion.moved && promotion.home == home)
    });
    world
}

fn selects(world: &World) -> Option<&str> {
    world.seen.stable_service.as_ref()?.hash()
}

fn without_routes(value: &mut Value) {
    value["spec"].as_object_mut().unwrap().remove("traffic");
}

#[test]
fn few_of_stables_pods_answer_before_none_of_the_candidates() {
    for home in [false, true] {
        let mut world = moved(|_| {}, home);
        let hash = hash_of_candidate(&world);
        with_ready(&mut world, &[("1", 2), (&hash, 0)], 4);
        assert_eq!(selects(&world), Some("1"), "home {home}: {:?}", world.effects);
        assert!(!world.has(Reason::Promoted));
    }
}

#[test]
fn what_rolls_forward_and_loses_its_pods_leaves_the_requests_to_stable() {
    for deleted in [false, true] {
        let mut world = flying(50, |_| {});
        let hash = hash_of_candidate(&world);
        if deleted {
            delete(&mut world);
        } else {
            world.command(Action::Abort, None);
        }
        with_ready(&mut world, &[("1", 2)], 10);
        world.command(Action::PromoteFull, None);
        for _ in 0..60 {
            if selects(&world) == Some(&hash) {
                break;
            }
            with_ready(&mut world, &[("1", 2)], 1);
        }
        assert_eq!(selects(&world), Some(hash.as_str()), "{}", world.status().message);
        with_ready(&mut world, &[(&hash, 0)], 4);
        assert_eq!(selects(&world), Some("1"), "deleted {deleted}: {:?}", world.effects);
        assert!(!world.has(Reason::Promoted));
    }
}

#[test]
fn without_routes_the_candidates_pods_go_on_while_stable_has_too_few() {
    let mut world = adopted(rollout(without_routes));
    world.push("v2");
    world.until(100, |world| world.status().step.is_some_and(|step| step.name == "half" && step.observed_at.is_some()));
    let set = candidate(&world);
    let before = replicas(&world, &set);
    assert!(before > 1);
    world.command(Action::Abort, None);
    with_ready(&mut world, &[("1", 0)], 30);
    assert_eq!(replicas(&world, &set), before, "{}", world.status().message);
    assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk);
    ordered(&mut world.clone(), Action::PromoteFull).unwrap();
    // One is enough: the candidate's pods may be what stable's have no room for.
    with_ready(&mut world, &[("1", 1)], 5);
    assert_eq!(replicas(&world, &set), 0);
    world.settle();
    world.rests(Phase::Aborted);
}

#[test]
fn a_template_of_metrics_that_is_gone_takes_no_pod_from_what_serves() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.malformed = Some("AnalysisTemplate errors is not there".to_owned());
    world.seen.canary_service = None;
    world.looks(3);
    assert!(world.seen.canary_service.is_some(), "{:?}", world.effects);
    assert_eq!(world.status().phase, Phase::Invalid);
    // Where the status says nothing of it, what has pods may be on trial.
    let mut world = flying(50, |_| {});
    world.seen.malformed = Some("status.flight cannot be read".to_owned());
    world.seen.rollout.status.as_mut().unwrap().flight = None;
    let effect = decide(&world.seen).effect;
    assert_eq!(effect, None);
}

#[test]
fn a_deployment_that_is_made_anew_has_its_pods_before_those_end_that_serve() {
    for deleted in [false, true] {
        let mut world = moved(|_| {}, true);
        let set = candidate(&world);
        world.seen.replica_sets.retain(|set| set.name != "shop-1");
        if deleted {
            delete(&mut world);
        }
        let deployment = world.seen.deployment.as_mut().unwrap();
        (deployment.uid, deployment.available, deployment.paused) = ("another".to_owned(), 0, false);
        world.looks(20);
        assert_eq!(replicas(&world, &set), 4, "{:?}", world.effects);
        assert!(world.status().message.contains("was made anew"), "{}", world.status().message);
        assert_eq!(selects(&world), None, "the Services reach whatever pods there are");
        let known = world.seen.replica_set(&set).unwrap();
        let own = ReplicaSet { name: "shop-own".to_owned(), hash: "own".to_owned(), ..known.clone() };
        let labels = [("app".to_owned(), "shop".to_owned())].into();
        world.seen.replica_sets.push(ReplicaSet { controller: Some("another".to_owned()), labels, ..own });
        world.seen.deployment.as_mut().unwrap().available = 4;
        world.settle();
        world.looks(2);
        assert_eq!(replicas(&world, &set), 0, "{:?}", world.effects);
    }
}

#[test]
fn a_step_without_weight_does_not_forget_that_everything_was_lost_after_it() {
    let one = json!([{"name": "only", "weight": 0, "replicas": 1, "approval": "Required"}]);
    let mut world = adopted(rollout(|value| value["spec"]["steps"] = one));
    world.push("v2");
    world.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    world.command(Action::Promote, None);
    let hash = hash_of_candidate(&world);
    let mut outages = 0;
    let is_asked = |world: &World| {
        let heard = world.status().handled.len() == world.seen.actions.len();
        heard && world.status().phase == Phase::AwaitingApproval && !world.status().step.unwrap().approved
    };
    for _ in 0..600 {
        if world.status().latch.is_some() {
            break;
        }
        if selects(&world) == Some(&hash) {
            // It bears no load.
            outages += 1;
            with_ready(&mut world, &[(&hash, 0)], 20);
        } else if is_asked(&world) {
            assert!(outages > 0, "a person is asked again");
            assert_eq!(replicas(&world, &candidate(&world)), 4, "and it keeps its pods");
            world.command(Action::Promote, None);
        }
        with_ready(&mut world, &[(&hash, 4)], 1);
    }
    let latch = world.status().latch.unwrap();
    assert_eq!((latch.reason, selects(&world) == Some(&hash)), (Reason::ProgressDeadlineExceeded, false));
    assert!(outages <= 4, "{outages} outages");
}

#[test]
fn a_deployment_that_would_recreate_its_pods_is_paused_before_its_template_changes() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.deployment.as_mut().unwrap().strategy = "Recreate".to_owned();
    world.until(10, |world| world.seen.deployment.as_ref().unwrap().paused);
    world.look();
    assert_eq!(world.status().waiting_for[0].reason, Reason::WorkloadUnsupported);
    world.seen.deployment.as_mut().unwrap().strategy = "RollingUpdate".to_owned();
    world.rests(Phase::Stable);
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
}

#[test]
fn stable_that_is_deleted_is_made_again_when_what_took_over_has_no_pods() {
    let mut world = moved(|_| {}, false);
    let hash = hash_of_candidate(&world);
    world.seen.replica_sets.retain(|set| set.name != "shop-1");
    world.seen.pods.retain(|pod| pod.hash != "1");
    // A former one that is not there cannot return, and nobody is told that it will.
    ordered(&mut world, Action::Abort).unwrap_err();
    world.seen.pods.iter_mut().for_each(|pod| pod.ready = false);
    let effect = decide(&world.seen).effect;
    let Some(effect @ Effect::CreateCandidate { .. }) = effect else { panic!("{effect:?}") };
    let services = (world.seen.stable_service.take(), world.seen.canary_service.take());
    world.apply(&effect);
    (world.seen.stable_service, world.seen.canary_service) = services;
    with_ready(&mut world, &[(&hash, 0)], 6);
    assert_eq!(selects(&world), Some("1"), "{:?}", world.effects);
}

#[test]
fn an_abort_that_was_said_past_the_point_of_return_holds_where_there_is_a_way_back() {
    let mut world = moved(|_| {}, true);
    let hash = hash_of_candidate(&world);
    world.until(60, |world| world.seen.controlled().next().is_none());
    ordered(&mut world, Action::Abort).unwrap();
    with_ready(&mut world, &[(&hash, 0)], 10);
    assert_eq!(world.status().latch.unwrap().reason, Reason::Commanded);
    assert_eq!(selects(&world), Some("1"), "{:?}", world.effects);
}

#[test]
fn a_stable_without_pods_holds_up_neither_a_newer_template_nor_a_deletion_where_nobody_answers() {
    for deleted in [false, true] {
        let mut world = moved(|_| {}, true);
        let hash = hash_of_candidate(&world);
        if deleted {
            delete(&mut world);
        } else {
            world.push("v3");
        }
        with_ready(&mut world, &[("1", 0), (&hash, 0)], 40);
        if deleted {
            assert_eq!(world.seen.rollout.metadata.finalizers, None, "{}", world.status().message);
        } else {
            assert_ne!(hash_of_candidate(&world), hash, "{}", world.status().message);
        }
    }
    // Where the candidate answers, it goes on, and the words say what helps.
    let mut world = moved(|_| {}, true);
    world.push("v3");
    with_ready(&mut world, &[("1", 0)], 30);
    assert!(world.status().message.contains("PromoteFull"), "{}", world.status().message);
    ordered(&mut world, Action::PromoteFull).unwrap();
}

#[test]
fn a_return_that_is_blocked_hears_an_abort() {
    let mut world = moved(|_| {}, true);
    world.until(60, |world| world.seen.controlled().next().is_none());
    world.command(Action::Abort, None);
    world.until(60, |world| world.status().flight.is_some_and(|flight| flight.returns));
    world.seen.canary_service.as_mut().unwrap().ours = false;
    world.looks(5);
    assert_eq!(
        (world.status().phase, world.status().waiting_for[0].reason),
        (Phase::Blocked, Reason::ServiceContested)
    );
    let said = ordered(&mut world, Action::Abort).unwrap();
    assert!(said.contains("does not take over again"), "{said}");
}

#[test]
fn without_routes_a_trade_back_to_a_stable_without_pods_hears_a_command() {
    let mut world = adopted(rollout(|value| {
        without_routes(value);
        value["spec"]["capacity"] = json!({"maxPods": "150%"});
        value["spec"]["steps"] = json!([{"name": "some", "weight": 0, "observe": "5s"}]);
    }));
    world.push("v2");
    world.until(200, |world| {
        let trading = world.status().flight.and_then(|flight| flight.promotion).is_some_and(|it| it.trading);
        trading && replicas(world, "shop-1") == 2
    });
    world.command(Action::Abort, None);
    with_ready(&mut world, &[("1", 1)], 30);
    assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk, "{}", world.status().message);
    assert!(world.status().message.contains("PromoteFull"), "{}", world.status().message);
    ordered(&mut world, Action::PromoteFull).unwrap();
}

#[test]
fn what_returns_or_takes_over_needs_neither_room_for_steps_nor_questions() {
    let mut world = adopted(rollout(|value| value["spec"]["capacity"] = json!({"maxPods": 6})));
    world.push("v2");
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
    world.seen.deployment.as_mut().unwrap().replicas = 5;
    world.settle();
    world.push("v1");
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v1");
}

#[test]
fn matched_requests_stay_where_they_are_answered() {
    let mut world = adopted(rollout(|value| {
        super::ways::apart(value);
        let matches = json!([{"headers": [{"name": "x-beta", "value": "1"}]}]);
        value["spec"]["steps"] =
            json!([{"name": "beta", "weight": 0, "replicas": 2, "match": matches, "observe": "10m"}]);
    }));
    world.push("v2");
    world.until(100, |world| !world.split.apart.is_empty() && world.status().step.unwrap().observed_at.is_some());
    world.command(Action::Abort, None);
    with_ready(&mut world, &[("1", 0)], 20);
    assert!(!world.split.apart.is_empty(), "{:?}", world.effects);
    assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk);
    ordered(&mut world.clone(), Action::PromoteFull).unwrap();
    world.settle();
    world.rests(Phase::Aborted);
}

#[test]
fn nothing_changes_hands_while_nobody_answers() {
    let mut world = moved(|_| {}, true);
    let hash = hash_of_candidate(&world);
    with_ready(&mut world, &[("1", 0), (&hash, 0)], 30);
    let taken = |world: &World| world.effects.iter().filter(|effect| *effect == "take-out ReplicaSet/shop-1").count();
    assert_eq!(taken(&world), 0, "{:?}", world.effects);
    assert_eq!(world.status().waiting_for[0].reason, Reason::PodsNotReady);
    with_ready(&mut world, &[("1", 0), (&hash, 4)], 10);
    assert!(world.has(Reason::Promoted), "{}", world.status().message);
    // Where stable had left already, it is handed in once and stays.
    let mut world = moved(|_| {}, true);
    world.until(60, |world| world.seen.controlled().next().is_none());
    let before = taken(&world);
    with_ready(&mut world, &[("1", 0), (&hash, 0)], 30);
    assert_eq!((taken(&world), world.serving().as_str()), (before, "v1"), "{:?}", world.effects);
    with_ready(&mut world, &[("1", 0), (&hash, 0)], 60);
    assert_eq!(world.status().latch.map(|latch| latch.reason), Some(Reason::ProgressDeadlineExceeded));
}

#[test]
fn what_was_given_up_in_the_swap_is_not_promoted_when_its_pods_come_back() {
    let mut world = moved(|_| {}, true);
    let hash = hash_of_candidate(&world);
    world.until(60, |world| world.seen.controlled().next().is_none());
    world.seen.pods.iter_mut().filter(|pod| pod.hash == hash).for_each(|pod| pod.ready = false);
    ordered(&mut world, Action::Abort).unwrap();
    with_ready(&mut world, &[(&hash, 1)], 30);
    assert!(!world.has(Reason::Promoted), "{:?}", world.effects);
    assert_eq!(world.serving(), "v1");
}

#[test]
fn the_stable_service_stays_where_somebody_answers() {
    let home = |flap: bool| {
        let mut world = moved(|_| {}, true);
        let hash = hash_of_candidate(&world);
        world.command(Action::Abort, None);
        with_ready(&mut world, &[("1", 0), (&hash, if flap { 0 } else { 4 })], 3);
        with_ready(&mut world, &[("1", 0), (&hash, 4)], 10);
        let answers = selects(&world) == Some(&hash) || world.split.weight == Weight::FULL;
        assert!(answers, "flap {flap}: {:?}", world.effects);
        ordered(&mut world, Action::PromoteFull).unwrap_or_else(|said| panic!("flap {flap}: {said}"));
    };
    home(false);
    home(true);
}

#[test]
fn copies_of_requests_keep_no_candidate() {
    let mut world = adopted(rollout(|value| {
        super::ways::apart(value);
        value["spec"]["steps"] = json!([{"name": "shadow", "weight": 0, "mirror": {"percent": 50}, "observe": "10m"}]);
    }));
    world.push("v2");
    world.until(100, |world| world.split.apart.mirror.is_some());
    world.command(Action::Abort, None);
    with_ready(&mut world, &[("1", 0)], 20);
    assert!(world.split.apart.is_empty(), "{}", world.status().message);
    assert_eq!(world.status().phase, Phase::Aborted);
}

#[test]
fn pods_that_stood_for_long_are_forgiven_that_all_were_lost_once() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["steps"][2] = json!({"name": "half", "weight": 50, "approval": "Required"});
    }));
    world.push("v2");
    world.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    let hash = hash_of_candidate(&world);
    world.command(Action::Promote, None);
    world.until(60, |world| selects(world) == Some(&hash));
    with_ready(&mut world, &[(&hash, 0)], 40);
    with_ready(&mut world, &[(&hash, 4)], 300);
    assert_eq!(world.status().phase, Phase::AwaitingApproval, "{}", world.status().message);
    with_ready(&mut world, &[(&hash, 0)], 15);
    with_ready(&mut world, &[(&hash, 4)], 400);
    with_ready(&mut world, &[(&hash, 0)], 40);
    assert_eq!(world.status().latch, None, "they had stood for hours");
}
