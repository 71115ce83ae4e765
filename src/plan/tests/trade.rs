//! Promotions without room for twice the pods.
use super::world::*;
use crate::{
    api::{Action, Phase, Reason},
    plan::check,
    vocab::Weight,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

/// Four pods, and room for one more.
fn narrow(value: &mut Value) {
    value["spec"]["capacity"] = json!({"maxPods": "125%"});
    value["spec"]["steps"] = json!([{"name": "some", "weight": 20, "observe": "5s"}]);
}

fn unrouted(value: &mut Value) {
    narrow(value);
    value["spec"].as_object_mut().unwrap().remove("traffic");
}

/// What must hold at every moment: the limit, and enough pods for all requests; on the way back one may be missing, as the
/// Deployment says for its own updates.
fn holds(world: &World) {
    let pods = world.seen.replica_sets.iter().map(|set| set.replicas).sum::<i32>();
    assert!(pods <= 5, "{pods} pods after {:?}", world.effects);
    let ready = world.seen.pods.iter().filter(|pod| pod.ready).count();
    let least = if world.status().latch.is_some() { 3 } else { 4 };
    assert!(ready >= least, "{ready} ready pods after {:?}", world.effects);
}

/// Looks until this holds, with the rules of a trade at each.
fn trading(world: &mut World, until: impl Fn(&World) -> bool) {
    for _ in 0..400 {
        if until(world) {
            return;
        }
        let plan = world.look();
        holds(world);
        if plan.look_again != SignedDuration::ZERO {
            world.seen.now += SignedDuration::from_secs(1);
        }
    }
    panic!("never: {} after {:?}", world.status().message, world.effects);
}

/// A world in the middle of a trade, after so many more looks.
fn traded(change: fn(&mut Value), looks: usize) -> World {
    let mut world = adopted(rollout(change));
    world.push("v2");
    trading(&mut world, |world| {
        let flight = world.status().flight;
        flight.and_then(|flight| flight.promotion).is_some_and(|promotion| promotion.trading)
    });
    for _ in 0..looks {
        if world.look().look_again != SignedDuration::ZERO {
            world.seen.now += SignedDuration::from_secs(1);
        }
        holds(&world);
    }
    world
}

/// So many looks there are in a trade of four pods.
fn length(change: fn(&mut Value)) -> usize {
    let mut world = traded(change, 0);
    let mut looks = 0;
    while !world.has(Reason::Promoted) {
        world.looks(1);
        looks += 1;
        assert!(looks < 300);
    }
    looks
}

fn scaled(world: &mut World, replicas: i32) {
    world.seen.deployment.as_mut().unwrap().replicas = replicas;
    world.settle();
}

fn one_serves(world: &World, version: &str, replicas: i32) {
    assert_eq!(world.serving(), version, "{:?}", world.effects);
    let replicas_of = world.seen.controlled().map(|set| set.replicas).sum::<i32>();
    assert_eq!(replicas_of, replicas, "{:?}", world.effects);
    assert!(!world.seen.deployment.as_ref().unwrap().paused || version == "v1");
    assert_eq!(world.split.weight, Weight::ZERO);
}

#[test]
fn stable_is_traded_for_the_candidate_where_there_is_no_room_for_both() {
    for change in [narrow, unrouted] {
        let mut world = traded(change, 0);
        trading(&mut world, |world| world.has(Reason::Promoted));
        world.rests(Phase::Stable);
        one_serves(&world, "v2", 4);
        let scaled = world.effects.iter().filter(|effect| *effect == "scale ReplicaSet/shop-1").count();
        assert!(scaled >= 3, "one pod after the other");
    }
}

#[test]
fn what_is_idle_stays_as_the_way_back_for_as_long_as_the_spec_says() {
    let mut world = traded(narrow, 0);
    trading(&mut world, |world| world.has(Reason::Promoted));
    let old = |world: &World| world.seen.replica_set("shop-1").map(|set| set.replicas);
    assert_eq!(old(&world), Some(1));
    world.rests(Phase::Stable);
    assert_eq!(old(&world), Some(0));
}

#[test]
fn an_abort_at_every_moment_of_a_trade_brings_stable_back_whole() {
    for change in [narrow, unrouted] {
        for at in 0..length(change) {
            let mut world = traded(change, at);
            if world.has(Reason::Promoted) {
                break;
            }
            world.command(Action::Abort, None);
            trading(&mut world, |world| world.status().phase == Phase::Aborted && world.is_quiet());
            one_serves(&world, "v1", 4);
        }
    }
}

#[test]
fn an_autoscaler_that_asks_for_all_pods_there_may_be_stops_no_trade() {
    let fixed = |value: &mut Value| {
        narrow(value);
        value["spec"]["capacity"] = json!({"maxPods": 5});
    };
    for at in 0..length(fixed) {
        let mut world = traded(fixed, at);
        scaled(&mut world, 5);
        while !world.has(Reason::Promoted) {
            world.looks(1);
            let pods = world.seen.replica_sets.iter().map(|set| set.replicas).sum::<i32>();
            assert!(pods <= 6 && world.status().latch.is_none(), "{pods} pods, {}", world.status().message);
        }
    }
}

#[test]
fn whatever_comes_into_a_trade_ends_it_well() {
    type Happens = fn(&mut World);
    let happens: [(Happens, &str, i32); 5] = [
        (|world| world.push("v1"), "v1", 4),
        (|world| world.push("v3"), "v3", 4),
        (|world| scaled(world, 5), "v2", 5),
        (|world| scaled(world, 2), "v2", 2),
        (|world| world.seen.replica_sets.retain(|set| set.name != "shop-1"), "v2", 4),
    ];
    for (happens, version, replicas) in happens {
        for at in 0..length(narrow) {
            let mut world = traded(narrow, at);
            happens(&mut world);
            world.until(900, |world| {
                world.status().phase == Phase::Stable && world.is_quiet() && world.serving() == version
            });
            world.rests(Phase::Stable);
            one_serves(&world, version, replicas);
        }
    }
}

#[test]
fn a_deployment_at_no_replicas_gets_its_pods_back_after_a_trade() {
    for at in 0..length(narrow) {
        let mut world = traded(narrow, at);
        scaled(&mut world, 0);
        world.looks(40);
        scaled(&mut world, 4);
        world.until(900, |world| world.has(Reason::Promoted));
        world.rests(Phase::Stable);
        one_serves(&world, "v2", 4);
    }
}

#[test]
fn a_deletion_at_every_moment_of_a_trade_leaves_plain_kubernetes() {
    for change in [narrow, unrouted] {
        for at in 0..length(change) {
            let mut world = traded(change, at);
            world.seen.rollout.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.seen.now));
            world.until(300, |world| world.seen.rollout.metadata.finalizers.is_none());
            let serving: Vec<_> = world.seen.controlled().filter(|set| set.replicas > 0).collect();
            assert_eq!(serving.iter().map(|set| set.replicas).collect::<Vec<_>>(), [4], "after {at} looks");
            assert_eq!(world.seen.ours().count(), 0, "after {at} looks");
        }
    }
}

#[test]
fn a_candidate_that_stops_coming_is_given_up_and_traded_back() {
    let mut world = traded(narrow, 6);
    world.ready = false;
    trading(&mut world, |world| world.status().phase == Phase::Aborted && world.is_quiet());
    assert!(world.has(Reason::Aborted));
    one_serves(&world, "v1", 4);
}

#[test]
fn steps_that_do_not_fit_are_refused_by_the_share_or_held_by_the_number() {
    let complaint = |pods: Value| {
        let spec = rollout(|value| {
            value["spec"]["capacity"] = json!({"maxPods": pods});
            value["spec"]["steps"] = json!([{"name": "half", "weight": 50, "observe": "5s"}]);
        });
        check(&spec.spec).map_err(|complaint| complaint.to_string())
    };
    assert_eq!(complaint(json!("150%")), Ok(()));
    assert_eq!(complaint(json!(2)), Ok(()));
    let said = complaint(json!("120%")).unwrap_err();
    assert!(said.starts_with("spec.steps[0].weight: ") && said.contains("20 %"), "{said}");
    for bad in [json!(1), json!(-3), json!("100%"), json!("some"), json!("1001%"), json!("%")] {
        assert!(complaint(bad.clone()).unwrap_err().starts_with("spec.capacity.maxPods: "), "{bad}");
    }
    let mut world = adopted(rollout(|value| value["spec"]["capacity"] = json!({"maxPods": 5})));
    world.push("v2");
    world.looks(10);
    let status = world.status();
    assert_eq!(status.waiting_for[0].reason, Reason::NoRoom);
    assert!(
        status.message.contains("leaves room for 1 beside the Deployment's 4, and step half needs 2"),
        "{}",
        status.message
    );
    assert!(status.flight.is_none());
}

#[test]
fn with_room_for_both_nothing_is_traded() {
    let mut world = adopted(rollout(|value| value["spec"]["capacity"] = json!({"maxPods": "200%"})));
    world.push("v2");
    world.until(200, |world| world.has(Reason::Promoted));
    assert_eq!(
        world.seen.replica_set("shop-1").map(|set| set.replicas),
        Some(4),
        "it stays whole until its time is over"
    );
}
