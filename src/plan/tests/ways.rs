//! Steps that tell requests apart, and the ways back to a revision that served before.
use super::*;
use crate::{api::ActionOutcome, traffic::Mirror};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A route that is the operator's, and steps that use it.
pub fn apart(value: &mut Value) {
    let route = &mut value["spec"]["traffic"]["routes"][0];
    route["ownership"] = json!("Operator");
    route["template"] = json!({"spec": {"rules": [{"backendRefs": [{"name": "shop-stable", "port": 80}, {"name": "shop-canary", "port": 80}]}]}});
    value["spec"]["steps"] = json!([
        {"name": "shadow", "weight": 0, "mirror": {"percent": 50}, "observe": "5s"},
        {"name": "beta", "weight": 0, "match": [{"headers": [{"name": "x-beta", "value": "1"}]}], "observe": "5s"},
        {"name": "half", "weight": 50, "observe": "10s"},
    ]);
}

/// v2 has been promoted over v1, a while ago.
fn second(change: impl FnOnce(&mut Value)) -> World {
    let mut world = adopted(rollout(change));
    world.push("v2");
    world.until(300, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    world
}

fn entered(world: &World) -> usize {
    world.status().decisions.iter().filter(|decision| decision.reason == Reason::StepEntered).count()
}

#[test]
fn copies_and_matches_reach_the_candidate_and_leave_it_before_its_service_moves() {
    let mut world = adopted(rollout(apart));
    world.push("v2");
    world.until(100, |world| world.split.apart.mirror == Some(Mirror { percent: 50 }));
    world.until(100, |world| !world.split.apart.matches.is_empty());
    assert_eq!(world.split.apart.mirror, None);
    assert_eq!(world.split.weight, Weight::ZERO);
    world.until(100, |world| world.split.weight.percent() == 50);
    assert!(world.split.apart.is_empty());
    world.until(100, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert!(world.split.is_none());
}

#[test]
fn a_step_that_matches_is_judged_and_one_that_mirrors_only_where_copies_are_seen() {
    for (preset, judged_in_the_shadow) in [("app/error-rate", true), ("traefik/error-rate", false)] {
        let mut world = adopted(rollout(|value| {
            apart(value);
            judged(value);
            value["spec"]["analysis"]["metrics"][0]["preset"] = json!(preset);
        }));
        world.push("v2");
        let step = |name: &'static str| move |world: &World| world.status().step.is_some_and(|step| step.name == name);
        world.until(100, |world| world.split.apart.mirror.is_some());
        world.measured(Verdict::Unknown);
        world.looks(30);
        assert_eq!(step("shadow")(&world), judged_in_the_shadow, "{preset}: nothing usable was seen");
        world.measured(Verdict::Pass);
        world.until(100, step("beta"));
        world.measured(Verdict::Unknown);
        world.looks(40);
        assert!(step("beta")(&world), "{preset}: what matches are requests of users");
    }
}

#[test]
fn an_abort_at_every_moment_takes_everything_from_the_candidate() {
    for at in 0..110 {
        let mut world = adopted(rollout(apart));
        world.push("v2");
        world.looks(at);
        if world.status().flight.is_none() {
            continue;
        }
        world.command(Action::Abort, None);
        world.rests(Phase::Aborted);
        assert_eq!((world.serving().as_str(), world.split.is_none()), ("v1", true), "after {at} looks");
    }
}

#[test]
fn a_candidate_without_ready_pods_gets_no_matched_requests() {
    let mut world = adopted(rollout(apart));
    world.push("v2");
    world.until(100, |world| !world.split.apart.matches.is_empty());
    for pod in world.seen.pods.iter_mut().filter(|pod| !pod.name.starts_with("shop-1-")) {
        pod.ready = false;
    }
    let effect = decide(&world.seen).effect;
    assert!(matches!(&effect, Some(Effect::SetWeights { split, .. }) if split.is_none()), "{effect:?}");
}

#[test]
fn matches_need_a_route_that_is_ours_to_write() {
    let spec = |change: fn(&mut Value)| {
        rollout(|value| {
            apart(value);
            change(value);
        })
        .spec
    };
    check(&spec(|_| {})).unwrap();
    let wrong = |change: fn(&mut Value)| check(&spec(change)).unwrap_err().to_string();
    let theirs = wrong(|value| {
        let route = value["spec"]["traffic"]["routes"][0].as_object_mut().unwrap();
        route.remove("ownership");
        route.remove("template");
    });
    assert!(theirs.starts_with("spec.steps[0].mirror: needs rules of its own"), "{theirs}");
    let elsewhere = wrong(|value| {
        value["spec"]["traffic"]["routes"][0]["template"]["spec"]["rules"][0]["matches"] =
            json!([{"path": {"value": "/shop"}}]);
        value["spec"]["steps"][1]["match"] = json!([{"path": {"value": "/elsewhere"}}]);
    });
    assert!(elsewhere.starts_with("spec.steps[1].match: "), "{elsewhere}");
    let both = wrong(|value| value["spec"]["steps"][0]["weight"] = json!(10));
    assert!(
        both.starts_with("spec.steps[0].mirror: copies stable's requests, so the step's weight must be 0"),
        "{both}"
    );
}

#[test]
fn a_former_revision_returns_without_steps_inside_its_window() {
    let mut world = second(|_| {});
    let steps = entered(&world);
    world.push("v1");
    world.until(60, |world| world.serving() == "v1");
    world.rests(Phase::Stable);
    assert!(world.has(Reason::Returning));
    assert_eq!(entered(&world), steps, "no step was entered on the way back");
    assert!(world.seen.controlled().all(|set| set.name == "shop-1"), "its own ReplicaSet serves again");
    // What was left for its predecessor has to show itself again.
    world.push("v2");
    world.until(60, |world| entered(world) > steps);
}

#[test]
fn outside_its_window_a_former_revision_takes_all_steps() {
    for window in [json!({"revisions": 0}), json!({"duration": "20s"})] {
        let mut world = second(|value| value["spec"]["rollbackWindow"] = window.clone());
        let steps = entered(&world);
        world.looks(60);
        world.push("v1");
        world.until(300, |world| world.serving() == "v1");
        assert!(!world.has(Reason::Returning), "{window}");
        assert!(entered(&world) > steps, "{window}");
    }
}

#[test]
fn a_return_does_not_wait_for_a_provider() {
    let mut world = second(|_| {});
    world.seen.provider = Some("gone".to_owned());
    world.seen.measured = Measured::NotYet;
    world.push("v1");
    world.until(60, |world| world.serving() == "v1");
}

/// In the middle of the swap of v2 for v1: the one is out and the other is not in.
fn swapping() -> World {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(300, |world| world.seen.controlled().next().is_none());
    world
}

#[test]
fn an_abort_in_the_middle_of_the_swap_brings_the_former_revision_back() {
    let mut world = swapping();
    world.command(Action::Abort, None);
    world.until(60, |world| world.answer() == Some(ActionOutcome::Accepted));
    world.rests(Phase::Aborted);
    assert_eq!(world.serving(), "v1");
    assert!(world.has(Reason::Returning) && world.has(Reason::Aborted));
    let latch = world.status().latch.unwrap();
    assert_eq!((latch.reason, latch.by.as_deref()), (Reason::Commanded, Some("jane")));
    assert!(world.seen.deployment.as_ref().unwrap().paused, "Git still says v2");
    // It is not tried again by itself, and Git going back ends it.
    world.looks(100);
    assert_eq!(world.serving(), "v1");
    world.push("v1");
    world.rests(Phase::Stable);
}

#[test]
fn what_returns_takes_over_where_what_was_promoted_is_deleted_and_nobody_has_its_template() {
    let mut world = swapping();
    let promoted = world.status().flight.unwrap().candidate;
    world.command(Action::Abort, None);
    world.until(60, |world| world.status().flight.is_some_and(|flight| flight.returns));
    world.push("v1");
    world.seen.replica_sets.retain(|set| set.name != promoted);
    world.seen.stable_service.as_mut().unwrap().endpoints.clear();
    assert!(world.seen.kept.iter().all(|kept| kept.replica_set != promoted));
    for _ in 0..60 {
        // The world's checks need pods of who is deleted.
        let plan = decide(&world.seen);
        world.seen.rollout.status = Some(plan.status);
        world.seen.now += SignedDuration::from_secs(1);
        match plan.effect {
            None => {}
            Some(Effect::Select { service, selector, .. }) => {
                assert_eq!((service.name.as_str(), selector["pod-template-hash"].as_str()), ("shop-canary", "1"));
                return;
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    panic!("{}", world.status().message);
}

#[test]
fn of_two_sets_of_one_template_the_one_that_served_returns() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(300, |world| world.has(Reason::Promoted));
    let served = world.seen.replica_set("shop-1").unwrap().clone();
    let (name, hash, uid) = ("shop-0".to_owned(), "twin".to_owned(), "twin".to_owned());
    world.seen.replica_sets.insert(0, ReplicaSet { name, hash, uid, replicas: 0, status_replicas: 0, ..served });
    world.push("v1");
    world.until(60, |world| world.status().flight.is_some());
    let flight = world.status().flight.unwrap();
    assert_eq!((flight.candidate.as_str(), flight.returns), ("shop-1", true));
}

#[test]
fn whatever_comes_while_a_former_revision_returns_is_the_next_thing() {
    let mut at = 0;
    loop {
        let mut world = swapping();
        world.command(Action::Abort, None);
        world.looks(at);
        let done = world.status().phase == Phase::Aborted && world.is_quiet();
        world.push("v3");
        world.until(400, |world| world.serving() == "v3");
        world.rests(Phase::Stable);
        if done {
            break;
        }
        at += 1;
    }
    assert!(at > 20, "a return has more looks than {at}");
}

#[test]
fn a_deletion_while_a_former_revision_returns_leaves_plain_kubernetes() {
    for at in 0..60 {
        let mut world = swapping();
        world.command(Action::Abort, None);
        world.looks(at);
        world.seen.rollout.metadata.deletion_timestamp = Some(Time(world.seen.now));
        let finalized = |world: &World| world.seen.rollout.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
        world.until(300, finalized);
        let sets: Vec<_> = world.seen.controlled().filter(|set| set.replicas > 0).collect();
        assert_eq!(sets.len(), 1, "after {at} looks");
        assert_eq!(world.seen.ours().count(), 0, "after {at} looks");
    }
}

#[test]
fn a_return_whose_pods_do_not_come_leaves_what_serves() {
    let mut world = swapping();
    world.command(Action::Abort, None);
    world.until(60, |world| world.status().flight.is_some_and(|flight| flight.returns));
    world.seen.replica_sets.retain(|set| set.name != "shop-1");
    world.settle();
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
}

#[test]
fn pods_start_in_waves_where_the_spec_says_so() {
    let mut world = adopted(rollout(|value| value["spec"]["capacity"] = json!({"maxStarting": "50%"})));
    world.push("v2");
    let mut most = 0;
    world.ready = false;
    world.until(100, |world| world.status().flight.is_some());
    world.command(
        Action::PromoteFull,
        Some(Expect { revision: world.status().flight.map(|flight| flight.revision), step: None }),
    );
    for _ in 0..30 {
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
        let of_candidate = world.seen.pods.iter().filter(|pod| !pod.ready).count();
        most = most.max(of_candidate);
    }
    assert_eq!(most, 2, "half of four");
    world.ready = true;
    world.settle();
    world.until(200, |world| world.has(Reason::Promoted));
}

#[test]
fn what_keeps_pods_from_running_is_told_apart() {
    for cause in [Reason::ImageNotPulled, Reason::Unschedulable, Reason::QuotaExceeded] {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.ready = false;
        world.until(60, |world| world.seen.pods.iter().any(|pod| !pod.ready));
        let stuck = Some(Stuck { cause, text: "in their words".to_owned() });
        if cause == Reason::QuotaExceeded {
            world.seen.pods.retain(|pod| pod.ready);
            let name = world.status().flight.unwrap().candidate;
            world.seen.replica_sets.iter_mut().find(|set| set.name == name).unwrap().refused = stuck;
        } else {
            for pod in world.seen.pods.iter_mut().filter(|pod| !pod.ready) {
                pod.stuck.clone_from(&stuck);
            }
        }
        let status = decide(&world.seen).status;
        assert_eq!(status.waiting_for[0].reason, cause);
        assert!(status.message.contains("in their words"), "{}", status.message);
    }
}

#[test]
fn a_step_that_a_route_cannot_carry_is_said_before_anything_is_on_trial() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.routes[0].unfit = Some("spec.steps: the route cannot carry step some: why".to_owned());
    world.push("v2");
    world.looks(20);
    let status = world.status();
    assert_eq!((status.phase, status.waiting_for[0].reason), (Phase::Blocked, Reason::RouteUnsteerable));
    assert_eq!(status.waiting_for[0].object, "HTTPRoute/shop");
    assert!(status.flight.is_none() && status.message.contains("step some"), "{}", status.message);
    world.seen.routes[0].unfit = None;
    world.until(200, |world| world.has(Reason::Promoted));
}

#[test]
fn routes_may_name_each_port_that_both_services_have() {
    let mut world = adopted(rollout(|_| {}));
    let ports = |numbers: &[u16]| numbers.iter().map(|port| json!({"port": port})).collect::<Vec<_>>();
    let pair = |world: &World| super::super::turn::Turn::new(&world.seen).pair().unwrap();
    world.seen.stable_service.as_mut().unwrap().ports = ports(&[80, 9090, 9443]);
    world.seen.canary_service.as_mut().unwrap().ports = ports(&[80, 9443]);
    assert_eq!((pair(&world).port, pair(&world).also), (80, vec![9443]));
    world.seen.canary_service = None;
    assert_eq!(pair(&world).also, [9090, 9443], "the other one is going to have those of the first");
}
