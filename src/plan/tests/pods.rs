//! The candidate's pods as they come, go and come back, and stable's beside them.
use super::{
    accidents::{candidate, flying, replicas},
    *,
};
use std::collections::BTreeSet;

/// So many seconds in which so many of the candidate's pods are missing.
fn without(world: &mut World, missing: usize, seconds: usize) {
    let hash = world.status().canary.unwrap().pod_template_hash;
    for _ in 0..seconds {
        let theirs = world.seen.pods.iter_mut().filter(|pod| pod.hash == hash);
        for pod in theirs.take(missing) {
            pod.ready = false;
            let name = pod.name.clone();
            for service in [&mut world.seen.stable_service, &mut world.seen.canary_service].into_iter().flatten() {
                service.endpoints.remove(&name);
            }
        }
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
}

#[test]
fn pods_that_go_one_by_one_and_come_back_are_no_lack_of_progress() {
    let approval = |value: &mut Value| value["spec"]["steps"][2]["approval"] = json!("Required");
    let waits = |world: &World| world.status().phase == Phase::AwaitingApproval;
    let mut world = flying(50, approval);
    world.until(200, waits);
    // Nodes are upgraded, one after the other, for as long as the deadline in all.
    for _ in 0..4 {
        without(&mut world, 1, 20);
        world.settle();
        without(&mut world, 0, 90);
    }
    assert_eq!(world.status().latch, None, "{}", world.status().message);
    world.until(200, waits);
    // But what comes and goes all the time does not get anywhere.
    let mut world = flying(50, approval);
    world.until(200, waits);
    for _ in 0..30 {
        without(&mut world, 1, 5);
        world.settle();
        without(&mut world, 0, 1);
    }
    assert_eq!(world.status().latch.unwrap().reason, Reason::ProgressDeadlineExceeded);
}

#[test]
fn what_was_taken_for_missing_pods_returns_when_they_have_stayed_for_as_long_as_they_were_missing() {
    let mut world = flying(50, |value| value["spec"]["steps"][2]["approval"] = json!("Required"));
    without(&mut world, 2, 20);
    assert_eq!(world.split.weight, Weight::ZERO);
    world.settle();
    without(&mut world, 0, 15);
    assert_eq!(world.split.weight, Weight::ZERO);
    assert!(world.status().message.contains("ready again after "), "{}", world.status().message);
    without(&mut world, 0, 10);
    assert_eq!(world.split.weight.percent(), 50);
    without(&mut world, 0, 5);
    // Where stable cannot answer them, nobody waits.
    without(&mut world, 2, 20);
    world.settle();
    for _ in 0..10 {
        world.seen.pods.iter_mut().filter(|pod| pod.hash == "1").skip(1).for_each(|pod| pod.ready = false);
        without(&mut world, 0, 1);
    }
    assert_eq!(world.split.weight.percent(), 50, "{}", world.status().message);
}

#[test]
fn a_stuck_candidate_whose_pods_come_and_go_stays_paused_until_they_stay() {
    let mut world = flying(50, |value| {
        value["spec"]["progress"]["onStuck"] = json!("Pause");
        value["spec"]["steps"][2]["approval"] = json!("Required");
    });
    let deadline = usize::try_from(world.seen.rollout.spec.progress.deadline.signed().as_secs()).unwrap();
    without(&mut world, 2, deadline + 5);
    for _ in 0..5 {
        assert_eq!((world.status().phase, world.split.weight), (Phase::Paused, Weight::ZERO));
        world.settle();
        without(&mut world, 0, 5);
        assert_eq!((world.status().phase, world.split.weight), (Phase::Paused, Weight::ZERO));
        without(&mut world, 2, 5);
    }
    world.settle();
    without(&mut world, 0, deadline + 10);
    assert_eq!(world.split.weight.percent(), 50, "{}", world.status().message);
}

#[test]
fn a_promotion_that_asks_for_more_pods_has_its_whole_time_for_them() {
    let mut world = flying(50, |value| value["spec"]["steps"][2]["approval"] = json!("Required"));
    let deadline = usize::try_from(world.seen.rollout.spec.progress.deadline.signed().as_secs()).unwrap();
    world.until(200, |world| world.status().phase == Phase::AwaitingApproval);
    without(&mut world, 1, deadline / 2 + 5);
    world.settle();
    world.until(200, |world| world.status().phase == Phase::AwaitingApproval);
    world.command(Action::Promote, None);
    world.ready = false;
    without(&mut world, 0, deadline - 10);
    assert_eq!(world.status().latch, None, "{}", world.status().message);
    without(&mut world, 0, 20);
    assert_eq!(world.status().latch.unwrap().reason, Reason::ProgressDeadlineExceeded);
}

#[test]
fn who_loses_all_pods_again_and_again_once_all_requests_are_there_is_given_up() {
    let mut world = flying(20, |_| {});
    let moved = |world: &World| world.status().flight.and_then(|it| it.promotion).is_some_and(|it| it.moved);
    world.until(600, moved);
    for _ in 0..30 {
        without(&mut world, 4, 15);
        assert!(!moved(&world) && world.split.weight == Weight::ZERO);
        if world.status().latch.is_some() {
            break;
        }
        world.settle();
        without(&mut world, 0, 12);
        assert_eq!(world.split.weight, Weight::ZERO, "requests do not follow pods to and fro");
    }
    assert_eq!(world.status().latch.map(|latch| latch.reason), Some(Reason::ProgressDeadlineExceeded));
}

#[test]
fn what_its_pods_cannot_carry_is_taken_from_it_also_while_a_person_has_something_to_mend() {
    let mut world = flying(50, |_| {});
    world.seen.malformed = Some("spec.rollbackWindow.duration: it is longer than 30 days".to_owned());
    world.looks(5);
    assert_eq!((world.status().phase, world.split.weight.percent()), (Phase::Blocked, 50));
    without(&mut world, 1, 5);
    assert_eq!(world.split.weight.percent(), 25, "one of four pods is left to it");
    assert_eq!(world.status().latch, None);
}

#[test]
fn stable_is_held_against_what_an_autoscaler_has_made_of_it_meanwhile() {
    let mut world = flying(20, |value| value["spec"]["steps"][1]["approval"] = json!("Required"));
    world.until(200, |world| world.status().phase == Phase::AwaitingApproval);
    world.seen.deployment.as_mut().unwrap().replicas = 20;
    world.settle();
    world.looks(20);
    assert_eq!((replicas(&world, "shop-1"), world.status().flight.unwrap().stable_ready), (20, 20));
    // A zone fails: of stable's 20 pods 6 are ready.
    let revision = world.status().flight.unwrap().revision;
    world.command(Action::Promote, Some(Expect { revision: Some(revision), step: None }));
    for _ in 0..40 {
        let theirs = world.seen.pods.iter_mut().filter(|pod| pod.hash == "1");
        theirs.skip(6).for_each(|pod| pod.ready = false);
        world.seen.replica_sets.iter_mut().find(|set| set.name == "shop-1").unwrap().ready = 6;
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
    assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk, "{}", world.status().message);
    assert_eq!(world.split.weight.percent(), 20, "no more goes to a candidate that nobody could take it back from");
}

#[test]
fn a_release_that_is_stuck_has_its_time_again_when_a_person_says_resume() {
    let mut world =
        adopted(rollout(|value| value["spec"]["progress"] = json!({"deadline": "60s", "onStuck": "Pause"})));
    world.ready = false;
    world.push("v2");
    let stuck = |world: &World| {
        let status = world.status();
        status.phase == Phase::Paused && status.waiting_for[0].reason == Reason::ProgressDeadlineExceeded
    };
    world.until(200, stuck);
    let revision = world.status().flight.unwrap().revision;
    world.command(Action::Resume, Some(Expect { revision: Some(revision.clone()), step: None }));
    world.looks(20);
    assert_eq!(world.answer(), Some(crate::api::ActionOutcome::Accepted));
    assert_eq!(world.status().phase, Phase::Progressing, "{}", world.status().message);
    world.until(200, stuck);
    world.command(Action::Resume, Some(Expect { revision: Some(revision), step: None }));
    world.ready = true;
    world.settle();
    world.until(300, |world| world.has(Reason::Promoted));
}

#[test]
fn a_wait_for_a_person_is_told_once_in_a_step_whatever_comes_between() {
    let mut world = adopted(rollout(|value| {
        judged(value);
        value["spec"]["steps"][1]["approval"] = json!("Required");
        value["spec"]["alerts"] = json!([{"receiver": {"name": "r"}, "on": ["Waiting"]}]);
    }));
    world.push("v2");
    world.measured(Verdict::Pass);
    let mut told = BTreeSet::new();
    for second in 0..200 {
        // The operator begins anew now and then, and has measured nothing yet.
        if second % 40 == 20 {
            world.seen.measured = Measured::NotYet;
        } else {
            world.measured(Verdict::Pass);
        }
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
        for alert in world.status().alerts {
            world.seen.tried.insert(alert.id.clone(), Tried::Delivered);
            told.insert(alert.id);
        }
    }
    assert_eq!(world.status().phase, Phase::AwaitingApproval);
    assert_eq!(told.len(), 1);
}

#[test]
fn what_happens_to_a_revision_again_is_told_again() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["alerts"] = json!([{"receiver": {"name": "r"}, "on": ["Aborted"]}]);
    }));
    let mut told = BTreeSet::new();
    for _ in 0..2 {
        world.push("v2");
        world.until(100, |world| world.split.weight.percent() == 20);
        world.command(Action::Abort, None);
        world.rests(Phase::Aborted);
        told.extend(world.status().alerts.into_iter().map(|alert| alert.id));
        for id in &told {
            world.seen.tried.insert(id.clone(), Tried::Delivered);
        }
        world.push("v1");
        world.rests(Phase::Stable);
    }
    assert_eq!(told.len(), 2, "a receiver that keeps ids would take the second for the first");
}

#[test]
fn copies_of_requests_ask_for_pods_as_requests_do() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["traffic"]["routes"][0]["ownership"] = json!("Operator");
        let backends = json!([{"name": "shop-stable", "port": 80}, {"name": "shop-canary", "port": 80}]);
        value["spec"]["traffic"]["routes"][0]["template"] = json!({"spec": {"rules": [{"backendRefs": backends}]}});
        value["spec"]["steps"] = json!([{"name": "shadow", "weight": 0, "mirror": {"percent": 50}, "observe": "10s", "approval": "Required"}]);
    }));
    world.push("v2");
    world.until(100, |world| world.status().flight.is_some() && !candidate(world).is_empty());
    let candidate = candidate(&world);
    world.until(100, |world| replicas(world, &candidate) == 2);
}

#[test]
fn our_services_are_made_after_the_one_that_has_the_port() {
    let mut world = World::new(rollout(|value| value["spec"]["traffic"]["unrouted"] = json!(["admin", "web"])));
    let service = |name: &str, port: u16| Service {
        name: name.to_owned(),
        selector: serde_json::from_value(json!({"app": "shop"})).unwrap(),
        ports: vec![json!({"port": port, "targetPort": port + 1})],
        ..Service::default()
    };
    world.seen.other_services = vec![service("admin", 9090), service("web", 80)];
    world.until(20, |world| world.seen.canary_service.is_some());
    for service in [&world.seen.stable_service, &world.seen.canary_service].into_iter().flatten() {
        assert_eq!(service.ports[0]["targetPort"], 81, "{}", service.name);
    }
}
