//! What serves is short of pods, or of time: what may be asked of it, and what is kept until it can.
use super::{
    accidents::{candidate, delete, flying, replicas},
    *,
};
use crate::api::ActionOutcome;

#[test]
fn an_abort_leaves_the_candidate_what_stable_cannot_carry() {
    let mut world =
        flying(50, |it| it["spec"]["alerts"] = json!([{"receiver": {"name": "on-call"}, "on": ["Blocked"]}]));
    let evict = |world: &mut World, left: usize| {
        for (index, pod) in world.seen.pods.iter_mut().filter(|pod| pod.hash == "1").enumerate() {
            pod.ready = index < left;
        }
    };
    world.command(Action::Abort, None);
    for second in 0..70 {
        evict(&mut world, 2);
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
        assert!(second > 25 || world.status().alerts.is_empty(), "told of what passes, after {second}s");
    }
    assert_eq!(world.split.weight.percent(), 50, "two of four carry half");
    assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk);
    assert_eq!(world.status().alerts.len(), 1, "somebody is told, once");
    let id = world.status().alerts[0].id.clone();
    world.seen.tried.insert(id.clone(), Tried::Failed("the receiver answered 503".to_owned()));
    world.look();
    assert_eq!(world.status().alerts[0].failure.as_deref(), Some("the receiver answered 503"));
    let decisions = world.status().decisions.len();
    world.seen.tried.insert(id, Tried::Abandoned("the receiver answered 404".to_owned()));
    world.look();
    let status = world.status();
    assert!(status.alerts.is_empty(), "{:?}", status.alerts);
    let said = &status.decisions[decisions..];
    let words = "Blocked could not be told to on-call: the receiver answered 404";
    assert_eq!((said.len(), said[0].reason, said[0].message.as_str()), (1, Reason::AlertUndelivered, words));
    evict(&mut world, 4);
    world.rests(Phase::Aborted);
    assert_eq!(world.split.weight, Weight::ZERO);
}

/// Half of stable's pods are not ready, whatever is done.
fn looked_at_with_half_of_stable(world: &mut World, times: usize) {
    for _ in 0..times {
        for (index, pod) in world.seen.pods.iter_mut().filter(|pod| pod.hash == "1").enumerate() {
            pod.ready = index < 2;
        }
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
}

#[test]
fn releases_that_follow_each_other_without_rest_leave_no_more_behind_than_the_history_that_is_kept() {
    let mut world = flying(20, |_| {});
    world.seen.deployment.as_mut().unwrap().history_limit = 2;
    for at in 3..12 {
        world.push(&format!("v{at}"));
        world.until(60, |world| {
            let status = world.status();
            status
                .flight
                .is_some_and(|flight| world.seen.replica_set(&flight.candidate).is_some_and(|set| set.replicas > 0))
                && status.latch.is_none()
                && !status.phase.eq(&Phase::Aborting)
        });
    }
    let sets: Vec<_> = world.seen.replica_sets.iter().map(|set| &set.name).collect();
    assert!(sets.len() <= 5, "stable, the candidate, and of what was given up two or three: {sets:?}");
}

#[test]
fn former_pods_end_in_time_also_while_the_next_release_cannot_begin() {
    let mut world = flying(50, |_| {});
    world.until(100, |world| world.has(Reason::Promoted));
    assert_eq!(replicas(&world, "shop-1"), 4, "they are kept for a while");
    world.seen.deployment.as_mut().unwrap().history_limit = 0;
    world.push("v3");
    world.looks(100);
    assert_eq!(world.status().waiting_for[0].reason, Reason::WorkloadUnsupported);
    assert_eq!(replicas(&world, "shop-1"), 0);
    assert!(world.status().past.is_none());
}

#[test]
fn stable_that_is_deleted_under_a_promotion_comes_back_unless_the_candidate_carries_everything() {
    let promoting = |moved: bool| {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.ready = moved;
        world
            .until(60, |world| world.status().flight.is_some_and(|it| world.seen.replica_set(&it.candidate).is_some()));
        let revision = world.status().flight.map(|flight| flight.revision);
        world.command(Action::PromoteFull, Some(Expect { revision, step: None }));
        let begun = |world: &World| world.status().flight.and_then(|flight| flight.promotion);
        world.until(60, |world| begun(world).is_some_and(|promotion| promotion.moved == moved));
        world.seen.replica_sets.retain(|set| set.name != "shop-1");
        world
    };
    // What never got ready would be all there is.
    let effect = decide(&promoting(false).seen).effect;
    assert!(
        matches!(&effect, Some(Effect::CreateCandidate { name, replicas: 4, .. }) if name == "shop-1"),
        "{effect:?}"
    );
    let mut world = promoting(true);
    world.until(60, |world| world.has(Reason::Promoted));
    assert!(!world.has(Reason::StableRestored));
    // More of it is wanted by now, and nobody else would bring it up.
    let mut world = promoting(true);
    let candidate = candidate(&world);
    world.seen.replica_sets.iter_mut().find(|set| set.name == candidate).unwrap().replicas = 0;
    world.seen.pods.clear();
    let effect = decide(&world.seen).effect;
    assert!(matches!(&effect, Some(Effect::Scale { set, replicas: 4 }) if set.name == candidate), "{effect:?}");
}

#[test]
fn no_step_gets_its_weight_while_stable_could_not_take_it_back() {
    let mut world = flying(20, |_| {});
    looked_at_with_half_of_stable(&mut world, 60);
    assert_eq!(world.split.weight.percent(), 20, "what it has it keeps, and half waits");
    assert_eq!(world.status().step.unwrap().name, "half");
    assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk);
    assert_eq!(world.status().phase, Phase::Waiting);
    let mut by_command = flying(20, |_| {});
    let revision = by_command.status().flight.map(|flight| flight.revision);
    looked_at_with_half_of_stable(&mut by_command, 60);
    by_command.command(Action::PromoteFull, Some(Expect { revision, step: None }));
    looked_at_with_half_of_stable(&mut by_command, 60);
    assert!(by_command.has(Reason::Promoted), "{}", by_command.status().message);
    world.settle();
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
}

#[test]
fn what_had_its_weight_and_lost_it_gets_it_back_though_stable_is_short_by_now() {
    let mut world = flying(50, |_| {});
    world.looks(8);
    assert!(world.status().step.is_some_and(|step| step.observed_at.is_some()));
    let candidate = world.status().canary.unwrap().pod_template_hash;
    for pod in world.seen.pods.iter_mut().filter(|pod| pod.hash == candidate).skip(1) {
        pod.ready = false;
    }
    world.seen.canary_service.as_mut().unwrap().endpoints = [format!("shop-{candidate}-0")].into();
    world.look();
    assert_eq!(world.split.weight.percent(), 25, "one of four");
    looked_at_with_half_of_stable(&mut world, 6);
    assert_eq!(world.split.weight.percent(), 50, "{}", world.status().message);
}

#[test]
fn a_candidate_that_was_given_up_takes_over_by_command_where_stable_cannot_take_its_requests_back() {
    for newer in [None, Some("v3"), Some("v1")] {
        let mut world = flying(50, |_| {});
        let revision = world.status().flight.as_ref().unwrap().revision.clone();
        let serves = world.status().flight.as_ref().unwrap().candidate.clone();
        world.command(Action::Abort, None);
        looked_at_with_half_of_stable(&mut world, 10);
        if let Some(newer) = newer {
            world.push(newer);
            looked_at_with_half_of_stable(&mut world, 5);
        }
        assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk);
        assert!(world.status().message.contains("PromoteFull"), "{}", world.status().message);
        world.command(Action::PromoteFull, None);
        looked_at_with_half_of_stable(&mut world, 60);
        let decisions = world.status().decisions;
        let promoted = decisions.iter().find(|decision| decision.reason == Reason::Promoted);
        assert_eq!(promoted.and_then(|decision| decision.revision.clone()), Some(revision), "{newer:?}");
        let workload = world.status().workload.clone().unwrap();
        match newer {
            None => assert_eq!((world.status().phase, &world.status().latch), (Phase::Stable, &None)),
            Some("v3") => assert_ne!(world.status().flight.as_ref().unwrap().candidate, serves, "v3 is on trial"),
            // It returns as what it is, which waits for its pods.
            Some(_) => assert!(world.status().flight.as_ref().unwrap().returns),
        }
        assert_eq!(workload.stable_replica_set, Some(serves), "{newer:?}");
    }
}

#[test]
fn a_deletion_that_waits_for_a_sick_stable_takes_one_command() {
    let mut world = flying(50, |_| {});
    let serves = world.status().flight.as_ref().unwrap().candidate.clone();
    delete(&mut world);
    looked_at_with_half_of_stable(&mut world, 10);
    assert_eq!(world.status().waiting_for[0].reason, Reason::StableShrunk);
    assert!(world.status().message.contains("PromoteFull"), "{}", world.status().message);
    world.command(Action::Abort, None);
    looked_at_with_half_of_stable(&mut world, 2);
    let answer = world.status().handled.last().unwrap().clone();
    assert_eq!(answer.outcome, ActionOutcome::Refused, "{}", answer.message);
    world.command(Action::PromoteFull, None);
    looked_at_with_half_of_stable(&mut world, 80);
    assert!(world.seen.rollout.metadata.finalizers.is_none(), "{}", world.status().message);
    assert!(!world.seen.deployment.as_ref().unwrap().paused, "it is an ordinary Deployment again");
    let left: Vec<_> = world.seen.controlled().filter(|set| set.replicas > 0).map(|set| set.name.clone()).collect();
    assert_eq!(left, [serves], "the one that took over");
}

#[test]
fn a_route_that_kept_its_weight_is_named_while_nothing_is_on_trial() {
    let mut world = flying(50, |_| {});
    world.command(Action::Abort, None);
    world.rests(Phase::Aborted);
    assert!(!world.status().message.contains("HTTPRoute"), "{}", world.status().message);
    world.split.weight = Weight::new(50).unwrap();
    world.settle();
    world.looks(3);
    let message = world.status().message;
    assert!(
        message.ends_with("; HTTPRoute/shop still gives the canary Service 50 %, which reaches stable's pods as well"),
        "{message}"
    );
    assert!(world.is_quiet());
}

#[test]
fn what_a_step_waited_for_is_over_with_it() {
    let mut world =
        adopted(rollout(|it| it["spec"]["steps"][0] = json!({"name": "warm", "weight": 0, "approval": "Required"})));
    world.push("v2");
    world.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    let revision = world.status().flight.map(|flight| flight.revision);
    world.command(Action::Promote, Some(Expect { revision, step: None }));
    world.until(100, |world| world.status().step.is_some_and(|step| step.name == "some"));
    assert_eq!((world.status().phase, world.status().waiting_for.len()), (Phase::Progressing, 0));
}
