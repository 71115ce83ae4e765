//! What is taken over and given back, and what other people's hands do to it in between.
use super::*;
use crate::traffic::Unsteerable;

fn deployment(world: &mut World) -> &mut Deployment {
    world.seen.deployment.as_mut().unwrap()
}

/// The Rollout is deleted, and looked at until its finalizer is gone.
fn deleted(world: &mut World) {
    world.seen.rollout.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.seen.now));
    world.until(200, |world| world.seen.rollout.metadata.finalizers.is_none());
}

#[test]
fn what_was_not_tried_stays_behind_a_pause_when_the_rollout_goes() {
    // The operator was away when the template came: the policy has held it, and nobody has paused it.
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    deleted(&mut world);
    assert!(deployment(&mut world).paused, "{:?}", world.effects);
    assert_eq!(world.seen.replica_set("shop-1").unwrap().replicas, 4);
    assert!(
        world.status().decisions.last().unwrap().message.contains("it stays paused at a template that was not proven")
    );
}

#[test]
fn what_a_deployment_rolls_by_itself_is_left_to_it_when_the_rollout_goes() {
    let mut world = World::new(rollout(|_| {}));
    world.seen.belt = Belt::Absent;
    world.rests(Phase::Stable);
    world.push("v2");
    // Somebody has resumed it, and its controller did what it does.
    let stable = world.seen.replica_sets.iter_mut().find(|set| set.name == "shop-1").unwrap();
    let rolled = rolled_beside(stable);
    (stable.replicas, stable.status_replicas, stable.ready, stable.available) = (0, 0, 0, 0);
    world.seen.replica_sets.push(rolled);
    deployment(&mut world).paused = false;
    deleted(&mut world);
    assert!(!deployment(&mut world).paused, "{:?}", world.effects);
}

#[test]
fn at_no_replicas_nothing_comes_back_that_would_rise_before_stable() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    world.measured(Verdict::Fail);
    world.rests(Phase::Aborted);
    world.push("v3");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    world.measured(Verdict::Fail);
    world.rests(Phase::Aborted);
    deployment(&mut world).replicas = 0;
    world.settle();
    world.looks(4);
    deleted(&mut world);
    let templates: Vec<_> = world.seen.controlled().map(|set| set.template.clone()).collect();
    assert!(templates.contains(&template("v1")), "{:?}", world.effects);
    assert!(!templates.contains(&template("v2")) && !templates.contains(&template("v3")), "{templates:?}");
}

#[test]
fn a_service_that_was_named_by_mistake_can_be_named_otherwise() {
    let mut world = adopted(rollout(|_| {}));
    // Somebody's own Service, which is none of ours.
    let names =
        |stable: &str| Some(crate::api::Services { stable: stable.to_owned(), canary: "shop-canary".to_owned() });
    world.seen.rollout.spec.traffic.as_mut().unwrap().services = names("shop");
    let ours = world.seen.stable_service.clone();
    world.seen.stable_service = Some(Service { name: "shop".to_owned(), ours: false, ..ours.clone().unwrap() });
    world.until(20, |world| world.status().phase == Phase::Blocked);
    assert_eq!(world.status().waiting_for[0].reason, Reason::ServiceContested);
    world.seen.rollout.spec.traffic.as_mut().unwrap().services = names("shop-stable");
    world.until(20, |world| world.status().traffic.unwrap().services.unwrap().stable == "shop-stable");
    world.seen.stable_service = ours;
    world.rests(Phase::Stable);
}

#[test]
fn services_that_leave_the_spec_with_a_newer_template_reach_all_pods_first() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    world.seen.rollout.spec.traffic = None;
    world.seen.rollout.spec.steps.truncate(1);
    world.push("v3");
    world.until(100, |world| world.status().traffic.is_none());
    for service in [&world.seen.stable_service, &world.seen.canary_service] {
        assert_eq!(service.as_ref().unwrap().hash(), None, "{:?}", world.effects);
    }
}

#[test]
fn a_replica_set_that_is_made_again_wants_the_pods_that_are_left_of_it() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.replica_sets.retain(|set| set.name != "shop-1");
    let plan = world.look();
    let Some(Effect::CreateCandidate { name, replicas, .. }) = plan.effect else { panic!("{plan:?}") };
    assert_eq!((name.as_str(), replicas), ("shop-1", 4));
    world.rests(Phase::Stable);
    // And a candidate's.
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 50);
    let candidate = world.status().flight.unwrap().candidate;
    let ready = world.seen.replica_set(&candidate).unwrap().ready;
    let pods = world.seen.pods.clone();
    world.seen.replica_sets.retain(|set| set.name != candidate);
    world.seen.pods = pods;
    let Some(Effect::CreateCandidate { replicas, .. }) = decide(&world.seen).effect else { panic!("not made again") };
    assert_eq!(replicas, ready);
}

#[test]
fn a_deployment_whose_pods_cannot_be_told_from_others_is_refused() {
    let mut world = World::new(rollout(|_| {}));
    for set in &mut world.seen.replica_sets {
        set.hash.clear();
    }
    world.until(20, |world| world.status().phase == Phase::Blocked);
    let wait = &world.status().waiting_for[0];
    assert!(wait.reason == Reason::WorkloadUnsupported && wait.message.contains("pod-template-hash"), "{wait:?}");
}

#[test]
fn nobody_is_told_to_resume_what_would_roll_out_something_untried() {
    let mut world = World::new(rollout(|_| {}));
    deployment(&mut world).template = template("v2");
    deployment(&mut world).paused = true;
    world.looks(10);
    let message = world.status().message;
    assert!(message.contains("bring the template of ReplicaSet shop-1 back first"), "{message}");
}

#[test]
fn a_policy_that_goes_at_rest_leaves_a_pause_and_one_that_comes_back_lifts_it() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.belt = Belt::Absent;
    world.until(20, |world| world.seen.deployment.as_ref().unwrap().paused);
    world.rests(Phase::Stable);
    assert_eq!(world.status().workload.unwrap().held_by, Some(HeldBy::Paused));
    // Whoever lifts it.
    deployment(&mut world).paused = false;
    world.until(20, |world| world.seen.deployment.as_ref().unwrap().paused);
    world.seen.belt = Belt::Armed;
    world.until(20, |world| !world.seen.deployment.as_ref().unwrap().paused);
    world.rests(Phase::Stable);
    assert_eq!(world.status().workload.unwrap().held_by, Some(HeldBy::Policy));
}

#[test]
fn a_template_that_comes_while_the_deployment_is_being_paused_is_the_first_release() {
    let mut world = World::new(rollout(|_| {}));
    world.seen.belt = Belt::Absent;
    world.until(60, |world| world.seen.deployment.as_ref().unwrap().paused);
    world.push("v2");
    deployment(&mut world).updated = 0;
    world.until(100, |world| world.split.weight.percent() == 20);
    assert_eq!(world.serving(), "v1");
}

#[test]
fn people_are_asked_for_a_route_when_gateways_know_the_services_and_not_before() {
    let mut world = World::new(rollout(|_| {}));
    let mut said = Vec::new();
    for _ in 0..20 {
        if let Found::Object { seen, names_pair, .. } = &mut world.seen.routes[0].found {
            let [route, named, lines] = ["HTTPRoute n/shop", "shop", "both"].map(str::to_owned);
            *seen = Err(Unsteerable::NotPrepared { route, seen: named, lines });
            *names_pair = false;
        }
        let plan = world.look();
        if plan.effect.is_none() {
            said.push(world.status().waiting_for.first().map(|wait| wait.reason));
        }
        world.seen.now += SignedDuration::from_secs(1);
    }
    let settling = said.iter().filter(|it| **it == Some(Reason::Settling)).count();
    assert!((3..6).contains(&settling), "{said:?}");
    assert!(said[settling..].iter().all(|it| *it == Some(Reason::RouteNotPrepared)), "{said:?}");
}

#[test]
fn what_its_controller_deletes_at_no_replicas_is_made_again_when_pods_are_wanted_and_not_before() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    deployment(&mut world).history_limit = 0;
    deployment(&mut world).replicas = 0;
    world.seen.replica_sets.retain(|set| set.name != "shop-1");
    world.looks(10);
    assert_eq!(world.status().waiting_for[0].reason, Reason::WorkloadUnsupported);
    assert!(!world.effects.iter().any(|effect| effect.starts_with("create-candidate")), "{:?}", world.effects);
    deployment(&mut world).replicas = 4;
    world.until(20, |world| world.seen.controlled().any(|set| set.name == "shop-1" && set.replicas == 4));
}
