//! Routes that are gone, out of reach, silent, or written by somebody else in the middle of it.
use super::{
    accidents::{candidate, delete, flying, replicas},
    *,
};
use crate::{
    duration::Duration,
    traffic::{Apart, RouteSeen, Split, Weights},
};

/// The route, as it is looked at; the world's own weight is not written to it any more.
fn with_route(world: &mut World, found: Found) {
    world.seen.routes[0].found = found;
}

/// One look with its effect, without the world's answer to routes.
fn look_blind(world: &mut World, found: &Found) -> Plan {
    with_route(world, found.clone());
    let plan = world.look();
    with_route(world, found.clone());
    if plan.look_again != SignedDuration::ZERO {
        world.seen.now += SignedDuration::from_secs(1);
    }
    plan
}

/// A second with a gateway that says nothing, and the weight that is written in it.
pub fn look_at_silence(world: &mut World) -> Option<u8> {
    let seen = RouteSeen {
        weight: Weights::At(world.split.weight),
        apart: Apart::default(),
        accepted: Acceptance::Unknown("the gateway says nothing".to_owned()),
    };
    if let Found::Object { seen: route, .. } = &mut world.seen.routes[0].found {
        *route = Ok(seen);
    }
    let effect = world.look().effect;
    world.seen.now += SignedDuration::from_secs(1);
    match effect {
        Some(Effect::SetWeights { split, .. }) => Some(split.weight.percent()),
        _ => None,
    }
}

#[test]
fn a_gateway_that_is_silent_for_long_is_given_as_long_for_each_weight_anew() {
    let mut world = flying(50, |_| {});
    for _ in 0..60 {
        assert_eq!(look_at_silence(&mut world), None, "nothing new is asked of it");
    }
    let hash = candidate(&world).replace("shop-", "");
    world.command(Action::Abort, None);
    let on_candidate = |world: &World| {
        let service = world.seen.canary_service.as_ref();
        service.unwrap().hash() == Some(hash.as_str())
    };
    assert!(on_candidate(&world));
    let (mut written, mut since) = (Vec::new(), 0);
    while on_candidate(&world) && since < 100 {
        written.extend(look_at_silence(&mut world));
        since += i32::from(!written.is_empty());
    }
    assert_eq!(written, [0]);
    assert!((30..60).contains(&since), "the canary Service moved {since}s after the weight was written");
}

#[test]
fn a_silent_gateway_is_written_a_smaller_weight_once_and_not_by_turns() {
    let mut world = flying(50, |_| {});
    let name = candidate(&world);
    let mut written = Vec::new();
    for _ in 0..55 {
        let mut theirs = world.seen.pods.iter_mut().filter(|pod| pod.name.starts_with(&name));
        theirs.next().unwrap().ready = false;
        written.extend(look_at_silence(&mut world));
    }
    assert_eq!(written, [25], "one of two pods carries a quarter of four");
}

#[test]
fn a_route_that_is_gone_holds_up_no_abort_of_the_others() {
    let mut world = flying(20, |_| {});
    let mut gone = world.seen.routes[0].clone();
    gone.reference.name = "other".to_owned();
    gone.found = Found::Missing;
    world.seen.routes.insert(0, gone);
    world.command(Action::Abort, None);
    let candidate = candidate(&world);
    for _ in 0..100 {
        let plan = decide(&world.seen);
        world.seen.rollout.status = Some(plan.status.clone());
        if let Some(effect) = &plan.effect {
            world.apply(effect);
            world.seen.routes[0].found = Found::Missing;
        } else {
            world.seen.now += SignedDuration::from_secs(1);
        }
    }
    assert_eq!((world.split.weight, replicas(&world, &candidate)), (Weight::ZERO, 0), "{:?}", world.status().message);
}

#[test]
fn a_route_that_is_out_of_reach_holds_up_no_abort_once_the_canary_service_is_home() {
    let mut world = flying(20, |_| {});
    let candidate = candidate(&world);
    world.command(Action::Abort, None);
    let found = Found::Unreadable("forbidden".to_owned());
    // What it carries cannot be known, so the world does not hold the move of its Service against anybody.
    world.split.weight = Weight::ZERO;
    for _ in 0..60 {
        look_blind(&mut world, &found);
    }
    assert!(world.effects.iter().filter(|effect| effect.contains("shop-canary")).count() >= 3, "{:?}", world.effects);
    assert_eq!(replicas(&world, &candidate), 0, "{}", world.status().message);
    assert_eq!(world.status().phase, Phase::Aborted);
}

#[test]
fn a_route_that_names_the_old_service_again_does_not_hold_up_a_deletion() {
    let mut world = flying(20, |_| {});
    delete(&mut world);
    let lines = "…".to_owned();
    let why =
        crate::traffic::Unsteerable::NotPrepared { route: "HTTPRoute/shop".to_owned(), seen: "shop".to_owned(), lines };
    let found = Found::Object {
        claim: Claim::Ours,
        names_pair: true,
        seen: Err(why),
        drifted: false,
        backends: vec!["shop".to_owned()],
        pace: Duration::ZERO,
    };
    world.split.weight = Weight::ZERO;
    for _ in 0..100 {
        if world.seen.rollout.metadata.finalizers.is_none() {
            return;
        }
        let plan = decide(&world.seen);
        let unclaims = matches!(plan.effect, Some(Effect::ClaimRoute { .. }));
        let mut found = found.clone();
        if let (true, Found::Object { claim, .. }) = (unclaims, &mut found) {
            *claim = Claim::Free;
        }
        look_blind(&mut world, &found);
    }
    panic!("the finalizer stays: {:?}", world.status());
}

#[test]
fn a_claim_that_cannot_be_taken_off_a_route_holds_up_neither_a_deletion_nor_an_edit() {
    for (reason, edit) in [
        (Reason::HandedBack, delete as fn(&mut World)),
        (Reason::TrafficChanged, |world| world.seen.rollout.spec.traffic = None),
    ] {
        let mut world = adopted(rollout(|_| {}));
        edit(&mut world);
        let lets_go = |plan: &Plan| matches!(plan.effect, Some(Effect::ClaimRoute { claimed: false, .. }));
        let mut looks = 0..100;
        let plan = loop {
            if lets_go(&decide(&world.seen)) {
                world.seen.routes[0].refused = Some("a webhook says no".to_owned());
            }
            let plan = world.look();
            assert!(!lets_go(&plan) && looks.next().is_some(), "{reason:?}: {:?}", plan.status);
            if plan.news.iter().any(|news| news.reason == reason) {
                break plan;
            }
        };
        let said = &plan.status.decisions.last().unwrap().message;
        assert!(said.contains("HTTPRoute/shop keeps the labels") && said.contains("a webhook says no"), "{said}");
    }
}

#[test]
fn an_operators_own_route_that_is_deleted_at_rest_is_written_again() {
    let mut world = adopted(rollout(|value| {
        let route = &mut value["spec"]["traffic"]["routes"][0];
        route["ownership"] = json!("Operator");
        route["template"] = json!({"spec": {"rules": [{"backendRefs": [{"name": "shop-stable", "port": 80}, {"name": "shop-canary", "port": 80}]}]}});
    }));
    with_route(&mut world, Found::Missing);
    world.seen.now += SignedDuration::from_secs(10);
    let plan = decide(&world.seen);
    assert!(matches!(&plan.effect, Some(Effect::WriteRoute { split, .. }) if split.is_none()), "{:?}", plan.effect);
}

#[test]
fn what_a_template_lacks_is_said_while_there_is_no_route() {
    let mut world = adopted(rollout(|value| {
        let route = &mut value["spec"]["traffic"]["routes"][0];
        route["ownership"] = json!("Operator");
        route["template"] = json!({"spec": {"rules": [{"backendRefs": [{"name": "shop-stable", "port": 80}]}]}});
    }));
    with_route(&mut world, Found::Missing);
    world.seen.now += SignedDuration::from_secs(10);
    let plan = decide(&world.seen);
    assert_eq!(plan.effect, None);
    assert_eq!((plan.status.phase, plan.status.waiting_for[0].reason), (Phase::Blocked, Reason::RouteUnsteerable));
    let said = plan.status.message;
    assert!(said.contains("spec.traffic.routes: its template: ") && said.contains("shop-canary"), "{said}");
}

#[test]
fn a_tool_that_keeps_undoing_the_weights_is_tried_ever_less_often_and_told_of_once() {
    let mut world = flying(20, |value| {
        value["spec"]["alerts"] = json!([{"receiver": {"name": "on-call"}, "on": ["Blocked"]}]);
    });
    world.until(30, |world| world.split.weight.percent() == 20);
    let begun = world.seen.now;
    let (mut tries, mut told) = (0, 0);
    while world.seen.now.duration_since(begun) < SignedDuration::from_hours(1) {
        let is_accepted = world.status().weights.is_some_and(|weights| weights.accepted.percent() == 20);
        if is_accepted && world.status().intent.is_none() && world.split.weight.percent() == 20 {
            // A sync a moment after each write was seen.
            world.split = Split::NONE;
            world.settle();
            tries += 1;
        }
        world.looks(1);
        told = told.max(world.status().alerts.len());
    }
    let status = world.status();
    assert_eq!((status.phase, status.waiting_for[0].reason), (Phase::Blocked, Reason::RouteContested));
    // After 1, 2, 4, 8, 16 minutes and half an hour, twice each.
    assert!((8..=14).contains(&tries), "{tries} tries");
    assert_eq!(told, 1);
    assert!(status.message.contains("after 32min it is tried again"), "{}", status.message);
    // It is told to leave them alone, and the release goes on.
    world.until(1_000, |world| world.has(Reason::Promoted));
}
