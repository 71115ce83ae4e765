//! What others do in the middle of it: each accident was an outage once, or would have been.
use super::{routes::look_at_silence, *};
use crate::api::{Promotion, ROLLOUT_UID_LABEL, Traffic};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A release that has this weight.
pub fn flying(at: u8, change: impl FnOnce(&mut Value)) -> World {
    let mut world = adopted(rollout(change));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == at);
    world
}

pub fn candidate(world: &World) -> String {
    world.status().flight.unwrap().candidate
}

pub fn replicas(world: &World, set: &str) -> i32 {
    world.seen.replica_set(set).map_or(0, |set| set.replicas)
}

pub fn delete(world: &mut World) {
    world.seen.rollout.metadata.deletion_timestamp = Some(Time(world.seen.now));
}

#[test]
fn foreground_deletion_takes_the_owner_away_and_the_candidate_still_ends() {
    let mut world = flying(20, |_| {});
    let candidate = candidate(&world);
    for set in world.seen.replica_sets.iter_mut().filter(|set| set.controller.as_deref() == Some(UID)) {
        set.controller = None;
        set.labels.insert(ROLLOUT_UID_LABEL.to_owned(), UID.to_owned());
    }
    delete(&mut world);
    world.until(100, |world| world.seen.rollout.metadata.finalizers.is_none());
    assert_eq!((replicas(&world, &candidate), world.split.weight), (0, Weight::ZERO));
}

#[test]
fn stables_replica_set_deleted_by_hand_is_made_again_by_its_name_and_hash() {
    for (in_flight, promoting) in [(false, false), (true, false), (true, true)] {
        let mut world = if in_flight { flying(20, |_| {}) } else { adopted(rollout(|_| {})) };
        if promoting {
            // Everything is to go to a candidate that has not all its pods, and nothing has gone there yet.
            let flight = world.seen.rollout.status.as_mut().and_then(|status| status.flight.as_mut()).unwrap();
            flight.promotion = Some(Promotion::begun(Time(world.seen.now), "shop-1"));
        }
        world.seen.replica_sets.retain(|set| set.name != "shop-1");
        world.seen.stable_service.as_mut().unwrap().endpoints.clear();
        let restored = |world: &World| world.seen.controlled().any(|set| set.name == "shop-1" && set.replicas == 4);
        for _ in 0..10 {
            let plan = decide(&world.seen);
            world.seen.rollout.status = Some(plan.status);
            if let Some(effect) = plan.effect {
                world.effects.push(effect.verb().to_owned());
                // The world's checks need a stable pod; there is none until it is made again.
                let weight = std::mem::replace(&mut world.split.weight, Weight::FULL);
                let service = world.seen.stable_service.take();
                world.apply(&effect);
                world.seen.stable_service = service;
                world.split.weight = weight;
            }
        }
        assert!(restored(&world), "{in_flight}: {:?}", world.effects);
        assert_eq!(world.seen.replica_set("shop-1").unwrap().hash, "1");
        world.settle();
        if in_flight {
            world.until(200, |world| world.has(Reason::Promoted));
            world.rests(Phase::Stable);
            assert_eq!(world.serving(), "v2");
        } else {
            world.rests(Phase::Stable);
            assert_eq!(world.serving(), "v1");
        }
    }
}

#[test]
fn what_serves_is_kept_whole_whatever_becomes_of_a_spec_at_rest() {
    let broken = |world: &mut World| world.seen.rollout.spec.steps[0].observe = None;
    let mut world = adopted(rollout(|_| {}));
    broken(&mut world);
    world.seen.replica_sets.retain(|set| set.name != "shop-1");
    for _ in 0..3 {
        let plan = decide(&world.seen);
        world.seen.rollout.status = Some(plan.status);
        if let Some(effect @ Effect::CreateCandidate { .. }) = &plan.effect {
            // The world's checks need a stable pod; there is none until it is made again.
            let service = world.seen.stable_service.take();
            world.split.weight = Weight::FULL;
            world.apply(effect);
            (world.seen.stable_service, world.split.weight) = (service, Weight::ZERO);
            break;
        }
    }
    world.settle();
    world.until(30, |world| world.seen.controlled().any(|set| set.name == "shop-1" && set.replicas == 4));
    world.seen.canary_service = None;
    world.until(10, |world| world.seen.canary_service.is_some());
    world.push("v2");
    world.until(20, |world| world.status().phase == Phase::Invalid);
    assert!(world.status().flight.is_none(), "and nothing is begun");
    assert_eq!(world.serving(), "v1");
    // A Deployment that cannot be told from another is left alone.
    world.seen.deployment.as_mut().unwrap().uid = "another".to_owned();
    let plan = decide(&world.seen);
    assert_eq!((plan.effect, plan.status.phase), (None, Phase::Invalid));
}

#[test]
fn old_pods_end_in_their_time_although_no_release_can_begin() {
    let hampered: [fn(&mut World); 3] = [
        |world| world.seen.deployment.as_mut().unwrap().replicas = 0,
        |world| world.seen.canary_service.as_mut().unwrap().ours = false,
        |world| world.seen.rollout.spec.steps[0].observe = None,
    ];
    for hamper in hampered {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.until(300, |world| world.has(Reason::Promoted));
        assert_eq!(world.seen.replica_set("shop-1").unwrap().replicas, 4, "the way back is kept");
        world.push("v3");
        hamper(&mut world);
        world.until(60, |world| world.seen.replica_set("shop-1").unwrap().replicas == 0);
        assert!(world.status().flight.is_none());
    }
}

/// A release to which all requests go, through the stable Service as well.
fn moved() -> World {
    let mut world = flying(20, |_| {});
    world.until(200, |world| {
        world.status().flight.and_then(|flight| flight.promotion).is_some_and(|promotion| promotion.moved)
    });
    world
}

#[test]
fn a_candidate_that_has_all_requests_and_no_ready_pod_leaves_them_to_stable_where_that_can_take_them() {
    let mut world = moved();
    let hash = world.seen.replica_set(&candidate(&world)).unwrap().hash.clone();
    world.seen.pods.iter_mut().filter(|pod| pod.hash == hash).for_each(|pod| pod.ready = false);
    let selects_hash = |world: &World| match decide(&world.seen).effect {
        Some(Effect::Select { service, selector, .. }) if service.name == "shop-stable" => {
            selector.get(crate::api::HASH_LABEL).cloned()
        }
        _ => None,
    };
    world.seen.stable_service.as_mut().unwrap().selector.insert(crate::api::HASH_LABEL.to_owned(), hash.clone());
    world.seen.stable_service.as_mut().unwrap().endpoints.clear();
    assert_eq!(selects_hash(&world).as_deref(), Some("1"));
    // Where stable's are not ready either nothing is won by that.
    let mut nobody = moved();
    nobody.seen.pods.iter_mut().for_each(|pod| pod.ready = false);
    nobody.seen.stable_service.as_mut().unwrap().selector.insert(crate::api::HASH_LABEL.to_owned(), hash);
    assert_eq!(selects_hash(&nobody), None);
}

#[test]
fn who_was_taking_over_and_is_gone_gives_way_to_who_served() {
    let mut world = moved();
    let candidate = candidate(&world);
    world.until(60, |world| world.seen.controlled().next().is_none());
    world.seen.replica_sets.retain(|set| set.name != candidate);
    world.seen.pods.retain(|pod| !pod.name.starts_with(&candidate));
    let gone = crate::api::HASH_LABEL;
    assert_ne!(world.seen.stable_service.as_ref().unwrap().selector[gone], "1");
    let first = decide(&world.seen);
    assert!(matches!(&first.effect, Some(Effect::HandIn { set, .. }) if set.name == "shop-1"), "{:?}", first.effect);
    // The Service comes after it, and then the release begins anew.
    let (stable, canary) = (world.seen.stable_service.take(), world.seen.canary_service.take());
    world.split.weight = Weight::ZERO;
    first.effect.iter().for_each(|effect| world.apply(effect));
    (world.seen.stable_service, world.seen.canary_service) = (stable, canary);
    world.seen.rollout.status = Some(first.status);
    world.reach();
    let then = decide(&world.seen);
    let Some(Effect::Select { service, selector, .. }) = &then.effect else { panic!("{:?}", then.effect) };
    assert_eq!((service.name.as_str(), selector[gone].as_str()), ("shop-stable", "1"));
    world.looks(1);
    world.until(300, |world| world.has(Reason::Promoted));
}

#[test]
fn a_stable_service_that_somebody_points_elsewhere_in_a_step_is_put_back() {
    for to in ["bogus", "candidate"] {
        let mut world = flying(20, |_| {});
        let hash = world.seen.replica_set(&candidate(&world)).unwrap().hash.clone();
        let to = if to == "candidate" { hash } else { to.to_owned() };
        let stable = world.seen.stable_service.as_mut().unwrap();
        stable.selector.insert(crate::api::HASH_LABEL.to_owned(), to);
        let effect = decide(&world.seen).effect;
        let Some(Effect::Select { service, selector, .. }) = &effect else { panic!("{effect:?}") };
        assert_eq!((service.name.as_str(), selector[crate::api::HASH_LABEL].as_str()), ("shop-stable", "1"));
    }
}

#[test]
fn a_deployment_that_rolls_by_itself_is_not_waited_for_by_a_rollout_that_goes() {
    let mut world = flying(20, |_| {});
    delete(&mut world);
    let rolled = rolled_beside(world.seen.replica_set("shop-1").unwrap());
    world.seen.replica_sets.push(rolled);
    world.seen.pods.iter_mut().filter(|pod| pod.hash == "1").for_each(|pod| pod.ready = false);
    let effect = decide(&world.seen).effect;
    let Some(Effect::Select { selector, .. }) = &effect else { panic!("{effect:?}") };
    assert!(!selector.contains_key(crate::api::HASH_LABEL), "{selector:?}");
}

#[test]
fn what_settled_while_a_route_could_not_be_read_settles_anew() {
    let mut world = flying(20, |_| {});
    world.command(Action::Abort, None);
    world.until(20, |world| world.split.weight == Weight::ZERO);
    let readable = world.seen.routes[0].found.clone();
    world.seen.routes[0].found = Found::Unreadable("it takes its time".to_owned());
    let since = |world: &World| world.status().flight.and_then(|flight| flight.settling).map(|it| it.since.0);
    world.seen.rollout.status = Some(decide(&world.seen).status);
    assert_eq!(since(&world), Some(world.seen.now), "it holds up nothing");
    world.seen.now += SignedDuration::from_secs(2);
    world.seen.routes[0].found = readable;
    world.seen.rollout.status = Some(decide(&world.seen).status);
    assert_eq!(since(&world), Some(world.seen.now), "and is taken only now");
}

#[test]
fn without_routes_a_promotion_that_has_to_wait_again_has_moved_nothing() {
    let flying = || {
        let mut world = adopted(rollout(|value| value["spec"]["traffic"] = Value::Null));
        world.push("v2");
        let moved =
            |world: &World| world.status().flight.and_then(|flight| flight.promotion).is_some_and(|it| it.moved);
        world.until(200, moved);
        world
    };
    let promotion = |world: &World| world.status().flight.and_then(|flight| flight.promotion);
    // An autoscaler wants more, so the candidate has not all its pods any more.
    let mut grows = flying();
    grows.ready = false;
    grows.seen.deployment.as_mut().unwrap().replicas = 9;
    grows.looks(4);
    assert!(promotion(&grows).is_some_and(|it| !it.moved), "{}", grows.status().message);
    // Or none at all.
    let mut shrinks = flying();
    let candidate = candidate(&shrinks);
    shrinks.seen.deployment.as_mut().unwrap().replicas = 0;
    shrinks.looks(4);
    assert_eq!(replicas(&shrinks, &candidate), 0);
    // Who took over in an operator of before, which noted nothing, has taken over.
    let mut swapped = flying();
    swapped.until(20, |world| world.seen.controlled().any(|set| set.name == candidate));
    swapped.seen.rollout.status.as_mut().unwrap().flight.as_mut().unwrap().promotion.as_mut().unwrap().moved = false;
    swapped.until(20, |world| world.has(Reason::Promoted));
}

#[test]
fn what_was_promoted_a_moment_ago_is_made_again_before_its_template_is_kept() {
    let mut world = flying(20, |_| {});
    world.until(200, |world| world.has(Reason::Promoted));
    let serving = world.status().workload.unwrap().stable_replica_set.unwrap();
    world.seen.replica_sets.retain(|set| set.name != serving);
    world.seen.kept.retain(|kept| kept.replica_set != serving);
    let made = |world: &World| match decide(&world.seen).effect {
        Some(Effect::CreateCandidate { name, template: made, .. }) => Some((name, made == template("v2"))),
        _ => None,
    };
    assert_eq!(made(&world), Some((serving, true)));
    // Of another template nobody knows what served.
    world.push("v3");
    assert_eq!(made(&world), None);
    assert_eq!(decide(&world.seen).status.phase, Phase::Blocked);
}

/// Changes every moment below this value; what a release began at is a record that nothing waits for.
fn each_moment(value: &mut Value, change: &mut impl FnMut(jiff::Timestamp) -> jiff::Timestamp) {
    match value {
        Value::Object(members) => {
            let waited_for = members.iter_mut().filter(|(name, _)| *name != "startedAt" && *name != "promotion");
            waited_for.for_each(|(_, value)| each_moment(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_moment(item, change)),
        Value::String(text) => {
            if let Ok(moment) = text.parse() {
                *text = change(moment).to_string();
            }
        }
        _ => {}
    }
}

#[test]
fn nothing_is_waited_for_that_another_leaders_clock_put_into_the_future() {
    let places = ["flight", "step", "past", "waitingFor", "workload", "weights"];
    let mut seen = std::collections::BTreeSet::new();
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    let routes = world.seen.routes.clone();
    for look in 0..200 {
        let mut status = serde_json::to_value(world.status()).unwrap();
        for place in places {
            let value = status.get_mut(place).into_iter();
            value.for_each(|value| each_moment(value, &mut |moment| moment + SignedDuration::from_mins(10)));
        }
        let mut ahead = world.seen.clone();
        ahead.rollout.status = serde_json::from_value(status).unwrap();
        let mut after = serde_json::to_value(decide(&ahead).status).unwrap();
        for place in places {
            each_moment(&mut after[place], &mut |moment| {
                assert!(moment <= world.seen.now, "{place}: {moment} is ahead of {}", world.seen.now);
                seen.insert(place);
                moment
            });
        }
        match look {
            40 => drop(look_at_silence(&mut world)),
            42 => world.seen.routes.clone_from(&routes),
            _ => world.looks(1),
        }
    }
    assert_eq!(seen.len(), places.len(), "moments of {seen:?} alone were met");
}

#[test]
fn a_deployment_that_is_made_anew_is_taken_over_with_services_that_reach_its_pods_and_are_its_own() {
    let mut world = flying(20, |_| {});
    let gone = world.seen.deployment.take().unwrap();
    world.seen.replica_sets.retain(|set| set.controller.as_deref() != Some("deployment-uid"));
    world.looks(20);
    let (uid, template) = ("deployment-2".to_owned(), template("v2"));
    world.seen.replica_sets.push(ReplicaSet {
        name: "shop-9".to_owned(),
        uid: "rs-9".to_owned(),
        controller: Some(uid.clone()),
        hash: "9".to_owned(),
        template: template.clone(),
        ..ReplicaSet::default()
    });
    world.seen.deployment = Some(Deployment { uid: uid.clone(), claim: Claim::Free, template, paused: false, ..gone });
    world.settle();
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
    for service in [&world.seen.stable_service, &world.seen.canary_service].into_iter().flatten() {
        assert_eq!(
            (service.hash(), service.endpoints.len()),
            (None, 4),
            "{} is not left at pods that are gone",
            service.name
        );
        assert!(service.owners.contains(&uid), "{} would go with the Rollout", service.name);
    }
}

#[test]
fn an_abort_takes_nothing_back_to_a_stable_without_a_pod_however_many_may_be_missing() {
    let mut world = flying(50, |_| {});
    world.seen.deployment.as_mut().unwrap().max_unavailable = 4;
    world.command(Action::Abort, None);
    for _ in 0..20 {
        world.seen.pods.iter_mut().filter(|pod| pod.hash == "1").for_each(|pod| pod.ready = false);
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
    assert_eq!(world.split.weight.percent(), 50);
    world.settle();
    world.rests(Phase::Aborted);
    assert_eq!(world.split.weight, Weight::ZERO);
}

#[test]
fn a_promotion_whose_former_replica_set_is_deleted_leads_the_requests_home_before_it_ends() {
    let mut world = flying(20, |_| {});
    world.until(200, |world| world.split.weight == Weight::FULL);
    world.seen.replica_sets.retain(|set| set.name != "shop-1");
    world.until(100, |world| world.has(Reason::Promoted));
    assert_eq!(world.split.weight, Weight::ZERO, "the canary Service has no weight left");
    world.rests(Phase::Stable);
}

#[test]
fn a_deployment_that_is_replaced_while_a_release_is_blocked_gets_our_label_back() {
    let mut world = flying(20, |_| {});
    let now = Time(world.seen.now);
    world.seen.rollout.status.as_mut().unwrap().flight.as_mut().unwrap().reverted = vec![now.clone(), now];
    world.until(10, |world| world.status().phase == Phase::Blocked);
    world.seen.deployment.as_mut().unwrap().claim = Claim::Free;
    world.until(2, |world| world.seen.deployment.as_ref().is_some_and(|it| it.claim == Claim::Ours));
    assert_eq!(world.status().phase, Phase::Blocked);
}

#[test]
fn a_stable_service_that_is_deleted_while_its_rollout_leaves_is_made_again() {
    let mut world = flying(20, |_| {});
    delete(&mut world);
    world.until(30, |world| world.split.weight == Weight::ZERO);
    world.seen.stable_service = None;
    world.until(100, |world| world.seen.rollout.metadata.finalizers.is_none());
    assert!(world.seen.stable_service.is_some(), "the route names it");
}

#[test]
fn where_a_load_balancer_reaches_nodes_a_service_is_made_with_node_ports_if_there_were_some() {
    let mut world = flying(20, |_| {});
    world.seen.canary_service.as_mut().unwrap().ports[0]["nodePort"] = json!(30_080);
    world.seen.stable_service = None;
    let kind = |world: &World| {
        let Some(Effect::CreateService { spec, .. }) = decide(&world.seen).effect else { panic!("it is not made") };
        assert!(spec["ports"][0].get("nodePort").is_none(), "a port of its own");
        spec["type"].clone()
    };
    assert_eq!(kind(&world), "ClusterIP", "what shares requests out reaches pods");
    let traffic = world.seen.rollout.status.as_mut().unwrap().traffic.as_mut().unwrap();
    let alb = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop", "router": "alb"});
    traffic.routes = vec![serde_json::from_value(alb).unwrap()];
    assert_eq!(kind(&world), "NodePort");
}

#[test]
fn traffic_that_is_edited_in_flight_changes_nothing_until_the_flight_is_over() {
    let mut world = flying(20, |_| {});
    world.seen.rollout.spec.traffic = None;
    world.until(200, |world| world.has(Reason::Promoted));
    assert_eq!(world.split.weight, Weight::ZERO, "the routes that began it carry it to its end");
    world.until(100, |world| world.has(Reason::TrafficChanged));
    let Found::Object { claim, .. } = &world.seen.routes[0].found else { panic!("no route") };
    assert_eq!(*claim, Claim::Free, "what left the spec is let go");
    assert_eq!(world.status().traffic, None::<Traffic>);
}

#[test]
fn each_step_without_requests_waits_for_itself() {
    let mut world = adopted(rollout(|value| {
        judged(value);
        value["spec"]["analysis"]["whenNoTraffic"] = json!({"then": "AdvanceAfter", "after": "60s"});
    }));
    world.push("v2");
    let begun = world.seen.now;
    let mut silent = seen_nothing();
    silent.no_requests = true;
    world.until(400, |world| world.split.weight.percent() == 20);
    world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), silent)] };
    world.until(400, |world| world.has(Reason::Promoting));
    let took = world.seen.now.duration_since(begun).as_secs();
    assert!(took >= 120, "two steps of a minute were left after {took}s");
    let notes = world.status().decisions.iter().filter(|note| note.reason == Reason::Unjudged).count();
    assert_eq!(notes, 2, "each is said once");
}

#[test]
fn a_candidate_is_judged_until_the_stable_service_is_its_own() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Pass);
    world.until(200, |world| world.has(Reason::Promoting));
    world.measured(Verdict::Fail);
    world.rests(Phase::Aborted);
    assert_eq!(world.serving(), "v1");
}

#[test]
fn a_contested_service_does_not_stop_the_judge() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    world.seen.stable_service.as_mut().unwrap().ours = false;
    world.until(10, |world| world.status().phase == Phase::Blocked);
    world.measured(Verdict::Fail);
    world.until(30, |world| world.status().latch.is_some() && world.split.weight == Weight::ZERO);
}

#[test]
fn a_stable_service_that_somebody_took_in_a_promotion_is_moved_back_before_requests_return() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    let home = |world: &World| world.status().flight.is_some_and(|it| it.promotion.is_some_and(|it| it.home));
    world.until(300, home);
    world.seen.stable_service.as_mut().unwrap().ours = false;
    world.command(Action::Abort, None);
    // The world's own checks see to it that no weight is without a pod.
    world.until(100, |world| world.split.weight == Weight::ZERO && world.status().flight.is_none());
    assert_eq!(world.seen.stable_service.as_ref().unwrap().hash(), Some("1"));
}

#[test]
fn a_deployment_that_is_settled_is_not_left_paused() {
    let mut world = flying(20, |_| {});
    world.command(Action::Abort, None);
    world.rests(Phase::Aborted);
    // One commit reverts the image and removes the Rollout.
    world.push("v1");
    delete(&mut world);
    world.until(100, |world| world.seen.rollout.metadata.finalizers.is_none());
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
}

#[test]
fn a_candidate_that_was_given_up_takes_over_for_nobody_where_stable_is_well() {
    let mut world = flying(50, |_| {});
    world.command(Action::Abort, None);
    world.look();
    world.command(Action::PromoteFull, None);
    world.rests(Phase::Aborted);
    let answer = world.status().handled.pop().unwrap();
    assert!(answer.message.starts_with("the candidate was given up"), "{}", answer.message);
}

#[test]
fn what_was_taken_from_a_candidate_on_the_way_home_does_not_return_to_it() {
    let mut world = flying(50, |_| {});
    world.command(Action::Abort, None);
    world.until(10, |world| world.split.weight == Weight::ZERO);
    for pod in world.seen.pods.iter_mut().filter(|pod| pod.hash == "1") {
        pod.ready = false;
    }
    for _ in 0..5 {
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
        assert_eq!(world.split.weight, Weight::ZERO);
    }
}

#[test]
fn time_without_replicas_is_no_time_in_which_pods_are_missing() {
    let mut world = adopted(rollout(|_| {}));
    world.ready = false;
    world.push("v2");
    world.until(60, |world| world.status().step.is_some_and(|step| step.progress.is_some()));
    let candidate = candidate(&world);
    world.seen.deployment.as_mut().unwrap().replicas = 0;
    world.until(60, |world| replicas(world, &candidate) == 0);
    world.seen.now += SignedDuration::from_hours(9);
    world.seen.deployment.as_mut().unwrap().replicas = 4;
    world.settle();
    world.looks(3);
    assert!(world.status().latch.is_none(), "{}", world.status().message);
    world.ready = true;
    world.settle();
    world.until(300, |world| world.has(Reason::Promoted));
}

#[test]
fn scaled_to_nothing_nothing_of_a_candidate_goes_on_and_the_flight_waits() {
    let mut world = flying(20, |_| {});
    let candidate = candidate(&world);
    world.seen.deployment.as_mut().unwrap().replicas = 0;
    world.split.weight = Weight::ZERO;
    world.until(60, |world| replicas(world, &candidate) == 0);
    assert_eq!(world.status().flight.unwrap().candidate, candidate);
    world.seen.deployment.as_mut().unwrap().replicas = 4;
    world.settle();
    world.until(300, |world| world.has(Reason::Promoted));
    assert_eq!(world.serving(), "v2");
}

#[test]
fn a_name_that_somebody_else_has_is_not_waited_for() {
    let mut world = adopted(rollout(|_| {}));
    let taken = format!("shop-{}", revision_of(&template("v2"), |_| false));
    world.seen.replica_sets.push(ReplicaSet {
        name: taken.clone(),
        uid: "foreign".to_owned(),
        controller: Some("somebody".to_owned()),
        template: template("v9"),
        ..ReplicaSet::default()
    });
    world.push("v2");
    world.until(300, |world| world.has(Reason::Promoted));
    assert_eq!(world.serving(), "v2");
    assert!(!world.has(Reason::Superseded), "{:?}", world.status().decisions);
}

#[test]
fn what_a_revision_did_in_its_former_life_is_not_held_against_it() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(200, |world| world.has(Reason::Promoted));
    let old = world.seen.now - SignedDuration::from_hours(5);
    world.push("v1");
    for _ in 0..120 {
        for pod in world.seen.pods.iter_mut().filter(|pod| pod.hash == "1") {
            (pod.restarts, pod.started, pod.ended) = (5, Some(old), Some(old));
        }
        let plan = world.look();
        if plan.look_again != SignedDuration::ZERO {
            world.seen.now += SignedDuration::from_secs(1);
        }
    }
    assert_eq!(world.serving(), "v1");
    assert!(!world.has(Reason::Aborted), "{:?}", world.status().decisions);
}

#[test]
fn a_finalizer_that_was_dropped_is_put_back() {
    let mut world = flying(20, |_| {});
    world.seen.rollout.metadata.finalizers = None;
    world.look();
    assert!(world.seen.rollout.metadata.finalizers.is_some());
}

#[test]
fn a_write_that_is_refused_is_said_and_tried_again() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    let doing = loop {
        let plan = decide(&world.seen);
        world.seen.rollout.status = Some(plan.status.clone());
        if let Some(effect) = plan.effect {
            break effect;
        }
    };
    let (verb, object) = (doing.verb().to_owned(), doing.object());
    world.seen.refused = Some(Refused { verb, object, why: "a webhook says no".to_owned() });
    let plan = decide(&world.seen);
    assert_eq!(plan.effect, Some(doing), "it is tried again");
    assert_eq!((plan.status.phase, plan.status.waiting_for[0].reason), (Phase::Blocked, Reason::WriteRefused));
    assert!(plan.status.message.contains("a webhook says no"), "{}", plan.status.message);
    world.seen.refused = None;
    world.until(200, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
}

#[test]
fn on_the_way_home_no_pod_ends_to_which_a_service_leads_that_somebody_widened() {
    for deleted in [false, true] {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.until(60, |world| world.status().flight.is_some_and(|flight| flight.evidence_since.is_some()));
        let candidate = world.status().flight.unwrap().candidate;
        let pods = |world: &World| world.seen.replica_set(&candidate).unwrap().replicas;
        let before = pods(&world);
        if deleted {
            world.seen.rollout.metadata.deletion_timestamp = Some(Time(world.seen.now));
        } else {
            world.push("v3");
        }
        world.looks(2);
        world.seen.stable_service.as_mut().unwrap().selector.remove(crate::api::HASH_LABEL);
        world.look();
        let hash = world.seen.stable_service.as_ref().unwrap().hash().map(str::to_owned);
        assert_eq!(hash, world.status().stable.map(|stable| stable.pod_template_hash), "narrowed first");
        assert_eq!(pods(&world), before);
        let at = world.seen.now;
        world.until(60, |world| pods(world) == 0);
        assert!(world.seen.now.duration_since(at).as_secs() >= 3, "and the data plane has its time");
    }
}

#[test]
fn old_pods_end_only_when_no_service_that_somebody_widened_leads_to_them() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(300, |world| world.has(Reason::Promoted));
    assert_eq!(world.seen.replica_set("shop-1").unwrap().replicas, 4, "the way back is kept");
    let promoted = world.seen.now;
    world.until(100, |world| world.seen.now.duration_since(promoted).as_secs() >= 25);
    world.seen.stable_service.as_mut().unwrap().selector.remove(crate::api::HASH_LABEL);
    world.look();
    let hash = world.seen.stable_service.as_ref().unwrap().hash().map(str::to_owned);
    assert_eq!(hash, world.status().stable.map(|stable| stable.pod_template_hash), "narrowed first");
    let at = world.seen.now;
    world.until(60, |world| world.seen.replica_set("shop-1").unwrap().replicas == 0);
    assert!(world.seen.now.duration_since(at).as_secs() >= 3, "and the data plane has its time");
    // One that is made anew while old pods are there is narrow from the start.
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(300, |world| world.has(Reason::Promoted));
    world.seen.stable_service = None;
    let plan = world.look();
    assert!(plan.effect.is_some());
    assert!(world.effects.last().unwrap().starts_with("create-service"), "{:?}", world.effects.last());
}

#[test]
fn a_stable_service_that_is_missing_when_a_deployment_rolled_by_itself_is_made_for_all_its_pods() {
    let mut world = World::new(rollout(|_| {}));
    world.seen.belt = Belt::Absent;
    world.rests(Phase::Stable);
    world.push("v2");
    world.until(60, |world| world.status().flight.is_some_and(|flight| flight.evidence_since.is_some()));
    let rolled = rolled_beside(world.seen.replica_set("shop-1").unwrap());
    world.seen.replica_sets.push(rolled);
    world.seen.stable_service = None;
    let plan = decide(&world.seen);
    let Some(Effect::CreateService { spec, .. }) = plan.effect else { panic!("it is not made: {:?}", plan.effect) };
    assert!(spec["selector"].get(crate::api::HASH_LABEL).is_none(), "{spec}");
    assert_eq!(plan.status.stable, None, "none is stable until it is taken over again");
}
