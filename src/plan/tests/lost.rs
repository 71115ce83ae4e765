//! What carries requests and is gone or dying: routes of ours that somebody deletes, and a candidate that loses its pods on
//! the way up, at the top and on the way back.
use super::{
    accidents::{candidate, flying},
    ways::apart,
    *,
};
use crate::{api::HASH_LABEL, traffic::Split};

/// A release over a route of ours.
fn over_our_route(change: impl FnOnce(&mut Value)) -> World {
    let mut world = adopted(rollout(|value| {
        let steps = value["spec"]["steps"].clone();
        apart(value);
        value["spec"]["steps"] = steps;
        change(value);
    }));
    world.push("v2");
    world.until(100, |world| world.status().weights.is_some_and(|weights| weights.accepted.percent() == 20));
    world
}

/// The route is deleted; what the next effect writes into a new one.
fn written_anew(world: &World) -> Split {
    let mut world = world.clone();
    world.seen.now += SignedDuration::from_secs(20);
    for route in &mut world.seen.routes {
        route.found = Found::Missing;
    }
    match decide(&world.seen).effect {
        Some(Effect::WriteRoute { split, .. }) => split,
        effect => panic!("{effect:?} and {}", decide(&world.seen).status.message),
    }
}

/// Of the pods of this hash so many are ready.
fn ready(world: &mut World, hash: &str, count: usize) {
    for (index, pod) in world.seen.pods.iter_mut().filter(|pod| pod.hash == hash).enumerate() {
        pod.ready = index < count;
    }
}

fn hash(world: &World) -> String {
    world.seen.replica_set(&candidate(world)).unwrap().hash.clone()
}

#[test]
fn a_route_of_ours_that_is_deleted_is_written_again_whatever_a_look_waits_for() {
    let percent = |world: &World| written_anew(world).weight.percent();
    let mut world = over_our_route(|_| {});
    assert_eq!(percent(&world), 20);
    let mut few = world.clone();
    ready(&mut few, &hash(&world), 0);
    assert_eq!(percent(&few), 0, "with no more than its pods carry");
    let mut contested = world.clone();
    contested.seen.canary_service.as_mut().unwrap().ours = false;
    assert_eq!(percent(&contested), 20, "a Service that somebody holds");
    let mut invalid = world.clone();
    invalid.seen.rollout.spec.steps[0].observe = None;
    assert_eq!(percent(&invalid), 20, "a spec that cannot be carried out");
    world.command(Action::Abort, None);
    world.rests(Phase::Aborted);
    assert!(written_anew(&world).is_none(), "what was given up");
    world.push("v1");
    world.rests(Phase::Stable);
    world.seen.rollout.spec.steps[0].observe = None;
    world.until(10, |world| world.status().phase == Phase::Invalid);
    assert!(written_anew(&world).is_none(), "a spec at rest that cannot be carried out");
}

#[test]
fn a_route_of_ours_that_cannot_be_made_again_holds_up_no_abort_and_is_said() {
    let mut world = over_our_route(|_| {});
    let candidate = candidate(&world);
    let refused = |world: &mut World| {
        world.seen.routes[0].found = Found::Missing;
        world.seen.routes[0].refused = Some("a webhook says no".to_owned());
    };
    refused(&mut world);
    let plan = decide(&world.seen);
    assert_eq!((plan.effect, plan.status.waiting_for[0].reason), (None, Reason::WriteRefused));
    world.command(Action::Abort, None);
    for _ in 0..40 {
        world.split = Split::NONE;
        world.look();
        refused(&mut world);
        world.seen.now += SignedDuration::from_secs(1);
    }
    assert_eq!(super::accidents::replicas(&world, &candidate), 0);
    let status = world.status();
    assert_eq!((status.phase, status.waiting_for[0].reason), (Phase::Blocked, Reason::WriteRefused));
    assert_eq!(status.message, "HTTPRoute/shop cannot be written: a webhook says no");
    assert!(!world.effects.iter().any(|effect| effect.starts_with("write-route")), "{:?}", world.effects);
}

#[test]
fn a_route_of_ours_that_is_deleted_while_stable_has_no_pod_goes_on_to_the_candidate() {
    let mut world = over_our_route(|_| {});
    world.until(100, |world| world.status().flight.unwrap().promotion.is_some_and(|promotion| promotion.moved));
    world.command(Action::Abort, None);
    world.look();
    ready(&mut world, "1", 0);
    assert_eq!(written_anew(&world).weight, Weight::FULL);
}

/// Everything goes to the candidate through both Services, and its abort was said; then it has no ready pod any more.
fn dies_on_the_way_back() -> World {
    let mut world = flying(20, |_| {});
    world.until(100, |world| world.status().flight.unwrap().promotion.is_some_and(|promotion| promotion.home));
    world.until(10, |world| world.split.weight == Weight::ZERO);
    world.command(Action::Abort, None);
    world.look();
    let hash = hash(&world);
    ready(&mut world, &hash, 0);
    world
}

#[test]
fn a_candidate_that_dies_on_the_way_back_is_given_nothing_and_keeps_nothing() {
    let mut world = dies_on_the_way_back();
    assert_eq!(world.split.weight, Weight::ZERO, "all is at the stable Service, which reaches the candidate");
    // Its endpoints are not told of it yet.
    let plan = decide(&world.seen);
    let Some(Effect::Select { service, selector, .. }) = &plan.effect else { panic!("{:?}", plan.effect) };
    assert_eq!((service.name.as_str(), selector[HASH_LABEL].as_str()), ("shop-stable", "1"));
    // Nor does it keep the weight when the Service is back and gateways are given their time.
    world.seen.rollout.status = Some(plan.status);
    world.seen.stable_service.as_mut().unwrap().selector.clone_from(selector);
    world.split.weight = Weight::FULL;
    world.seen.rollout.status.as_mut().unwrap().weights.as_mut().unwrap().accepted = Weight::FULL;
    world.reach();
    for route in &mut world.seen.routes {
        if let Found::Object { seen: Ok(seen), .. } = &mut route.found {
            seen.weight = crate::traffic::Weights::At(Weight::FULL);
        }
    }
    let effect = decide(&world.seen).effect;
    assert!(matches!(&effect, Some(Effect::SetWeights { split, .. }) if split.is_none()), "{effect:?}");
}

#[test]
fn a_promotion_that_has_moved_nothing_yet_is_relieved_whatever_stands_in_its_way() {
    let mut world = flying(50, |_| {});
    let is_there = |world: &World| {
        world.status().flight.unwrap().promotion.is_some_and(|promotion| !promotion.moved)
            && world.split.weight == Weight::FULL
    };
    world.until(100, is_there);
    world.seen.rollout.spec.steps[0].observe = None;
    let hash = hash(&world);
    ready(&mut world, &hash, 1);
    let effect = decide(&world.seen).effect;
    let Some(Effect::SetWeights { split, .. }) = &effect else { panic!("{effect:?}") };
    assert_eq!(split.weight.percent(), 25, "one of four");
}

#[test]
fn who_has_all_requests_and_too_few_pods_takes_over_when_they_are_back_or_is_given_up() {
    let mut world = flying(20, |_| {});
    world.until(100, |world| world.status().flight.unwrap().promotion.is_some_and(|promotion| promotion.home));
    let hash = hash(&world);
    let short = |world: &mut World, count: usize| {
        for _ in 0..count {
            ready(world, &hash, 2);
            world.reach();
            let plan = decide(&world.seen);
            assert!(!matches!(plan.effect, Some(Effect::TakeOut { .. } | Effect::HandIn { .. })), "{:?}", plan.effect);
            world.seen.rollout.status = Some(plan.status);
            if !matches!(plan.effect, Some(Effect::Select { .. })) {
                plan.effect.iter().for_each(|effect| world.apply(effect));
            }
            world.seen.now += SignedDuration::from_secs(1);
        }
    };
    short(&mut world, 20);
    let said = world.status().message;
    assert!(said.contains("2 of 4 candidate pods are ready, and it has all requests"), "{said}");
    let mut back = world.clone();
    back.settle();
    back.until(60, |world| world.has(Reason::Promoted));
    short(&mut world, 60);
    assert_eq!(world.status().latch.map(|latch| latch.reason), Some(Reason::ProgressDeadlineExceeded));
}

#[test]
fn pods_that_serve_stay_until_a_deployment_that_rolls_by_itself_has_one_that_does() {
    let mut world = World::new(rollout(|_| {}));
    world.seen.belt = Belt::Absent;
    world.rests(Phase::Stable);
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    let rolled = rolled_beside(world.seen.replica_set("shop-1").unwrap());
    world.seen.replica_sets.push(rolled);
    world.seen.pods.retain(|pod| pod.hash != "1");
    world.seen.deployment.as_mut().unwrap().available = 0;
    let ends = |world: &mut World| {
        for _ in 0..20 {
            let plan = decide(&world.seen);
            world.seen.rollout.status = Some(plan.status);
            match plan.effect {
                Some(Effect::Scale { replicas: 0, .. }) => return true,
                Some(Effect::Select { service, selector, .. }) => {
                    for known in [&mut world.seen.stable_service, &mut world.seen.canary_service].into_iter().flatten()
                    {
                        if known.name == service.name {
                            known.selector.clone_from(&selector);
                        }
                    }
                    world.reach();
                }
                Some(Effect::SetWeights { split, .. }) => {
                    for route in &mut world.seen.routes {
                        if let Found::Object { seen: Ok(seen), .. } = &mut route.found {
                            seen.weight = crate::traffic::Weights::At(split.weight);
                        }
                    }
                }
                _ => world.seen.now += SignedDuration::from_secs(1),
            }
        }
        false
    };
    assert!(!ends(&mut world), "nothing else answers");
    assert!(world.status().message.contains("serve until its own are there"), "{}", world.status().message);
    world.seen.deployment.as_mut().unwrap().available = 1;
    assert!(ends(&mut world));
}

#[test]
fn under_traffic_no_pod_ends_that_some_step_asks_for_beyond_a_deployment_that_was_made_smaller() {
    let mut world = flying(20, |value| {
        value["spec"]["steps"][1]["replicas"] = json!(3);
        value["spec"]["steps"][2]["observe"] = json!("60s");
    });
    world.seen.deployment.as_mut().unwrap().replicas = 2;
    world.settle();
    world.until(60, |world| world.split.weight.percent() == 50);
    world.looks(20);
    let candidate = candidate(&world);
    assert_eq!(world.seen.replica_set(&candidate).map(|set| set.replicas), Some(3));
}

#[test]
fn what_is_rolled_on_before_it_has_a_replica_set_is_rolled_from_the_beginning() {
    let mut world = adopted(rollout(|value| value["spec"]["onDelete"] = json!("Continue")));
    world.push("v2");
    world.until(10, |world| world.status().flight.is_some() && world.seen.deployment.as_ref().unwrap().paused);
    assert_eq!(world.seen.ours().filter(|set| !set.is_empty()).count(), 0);
    super::accidents::delete(&mut world);
    world.until(200, |world| world.seen.rollout.metadata.finalizers.is_none());
    assert!(!world.seen.deployment.as_ref().unwrap().paused, "{:?}", world.effects);
}
