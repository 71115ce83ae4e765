//! `decide` against a small world made of data, from the adoption to the promotion and back.
mod accidents;
mod answers;
mod commands;
mod exits;
mod given_back;
mod judged;
mod lost;
mod pods;
mod routes;
mod shortage;
mod templates;
mod trade;
mod waits;
mod ways;
mod world;

use super::*;
use crate::{
    api::{Action, Expect, HeldBy, Phase, Reason},
    traffic::Acceptance,
    vocab::{Verdict, Weight},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use world::{UID, World, adopted, judged, rolled_beside, rollout, seen_nothing, template};

#[test]
fn adoption_touches_no_pod_and_leaves_one_controlled_replica_set() {
    let world = adopted(rollout(|_| {}));
    assert_eq!(world.seen.controlled().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["shop-1"]);
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
    assert!(world.effects.iter().all(|effect| !effect.starts_with("scale")), "{:?}", world.effects);
    assert_eq!(world.status().workload.unwrap().held_by, Some(HeldBy::Policy));
}

#[test]
fn without_policies_it_is_paused_all_the_time() {
    let mut world = World::new(rollout(|_| {}));
    world.seen.belt = Belt::Absent;
    world.rests(Phase::Stable);
    assert!(world.seen.deployment.as_ref().unwrap().paused);
    world.push("v2");
    world.until(200, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert!(world.seen.deployment.as_ref().unwrap().paused);
    assert_eq!(world.serving(), "v2");
    // Until they come.
    world.seen.belt = Belt::Armed;
    world.rests(Phase::Stable);
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
    assert_eq!(world.status().workload.unwrap().held_by, Some(crate::api::HeldBy::Policy));
}

#[test]
fn a_good_revision_is_promoted_and_its_pods_are_the_tested_ones() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(60, |world| world.split.weight.percent() == 50);
    let candidate = world.status().flight.unwrap().candidate;
    world.until(100, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
    assert_eq!(world.seen.controlled().next().unwrap().name, candidate);
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
    assert_eq!(world.split.weight, Weight::ZERO, "requests are home");
    assert_eq!(world.seen.stable_service.as_ref().unwrap().hash(), None, "nothing is left pinned");
    assert_eq!(world.seen.replica_set("shop-1").unwrap().replicas, 0, "the old pods ended after scaleDownDelay");
}

#[test]
fn the_way_back_stays_open_for_the_scale_down_delay() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(200, |world| world.has(Reason::Promoted));
    let at = world.seen.now;
    world.until(40, |world| world.seen.replica_set("shop-1").unwrap().replicas == 0);
    let kept = world.seen.now.duration_since(at).as_secs();
    assert!((29..=33).contains(&kept), "{kept}s");
}

#[test]
fn a_failed_verdict_latches_before_anything_moves_and_takes_the_weight_first() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    let before = world.effects.len();
    world.measured(Verdict::Fail);
    let plan = world.look();
    assert!(plan.effect.is_none() && plan.status.latch.is_some(), "the latch is written first");
    world.rests(Phase::Aborted);
    let after: Vec<_> = world.effects[before..].iter().map(|effect| effect.split(' ').next().unwrap()).collect();
    assert_eq!(after, ["set-weights", "select", "scale", "select", "select"], "{:?}", &world.effects[before..]);
    assert_eq!(world.serving(), "v1");
    assert!(world.seen.deployment.as_ref().unwrap().paused, "Git still says v2");
}

#[test]
fn a_given_up_revision_is_not_tried_again_without_a_word() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    let revision = world.status().flight.unwrap().revision;
    world.measured(Verdict::Fail);
    world.rests(Phase::Aborted);
    world.measured(Verdict::Continue);
    world.rests(Phase::Aborted);
    world.command(Action::Retry, Some(Expect { revision: Some(revision.clone()), step: None }));
    world.until(100, |world| world.split.weight.percent() == 50);
    assert_eq!(world.status().flight.unwrap().revision, revision, "the same pods' template, by the same name");
    assert_eq!(world.answer(), Some(crate::api::ActionOutcome::Accepted));
}

#[test]
fn an_unknown_verdict_neither_advances_nor_aborts() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    world.measured(Verdict::Unknown);
    for _ in 0..600 {
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
        world.measured(Verdict::Unknown);
    }
    assert_eq!(world.split.weight.percent(), 20);
    assert_eq!(world.status().step.unwrap().observed_seconds, 0, "what was not seen was not observed");
    assert_eq!(world.status().phase, Phase::Blocked, "and after a while somebody is told");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 50);
}

#[test]
fn pods_that_never_become_ready_are_given_up() {
    let mut world = adopted(rollout(|_| {}));
    world.ready = false;
    world.push("v2");
    world.rests(Phase::Aborted);
    assert_eq!(world.status().latch.unwrap().reason, Reason::ProgressDeadlineExceeded);
    assert_eq!(world.split.weight, Weight::ZERO);
    assert!(world.effects.iter().all(|effect| !effect.contains("at 20")), "it had no request");
}

#[test]
fn the_seconds_for_which_pods_have_to_be_ready_are_no_lack_of_progress() {
    let mut world = accidents::flying(20, |value| value["spec"]["progress"] = json!({"deadline": "60s"}));
    world.seen.deployment.as_mut().unwrap().min_ready_seconds = 90;
    let candidate = world.status().flight.unwrap().candidate;
    let mut since = None;
    for _ in 0..400 {
        world.look();
        if world.status().phase == Phase::Promoting {
            let since = *since.get_or_insert(world.seen.now);
            let ready_for = world.seen.now.duration_since(since).as_secs();
            let set = world.seen.replica_sets.iter_mut().find(|set| set.name == candidate).unwrap();
            set.available = if ready_for < 90 { 0 } else { set.replicas };
        }
        world.seen.now += SignedDuration::from_secs(1);
    }
    assert!(world.has(Reason::Promoted), "{:?}: {}", world.status().phase, world.status().message);
}

#[test]
fn what_a_teams_own_service_leaves_out_is_left_out_by_ours_as_long_as_every_revision_has_the_label() {
    let mut world = adopted(rollout(|_| {}));
    let labels = |world: &mut World, value: &str| {
        let set = |template: &mut Value| template["metadata"]["labels"]["component"] = json!(value);
        set(&mut world.seen.deployment.as_mut().unwrap().template);
        world.seen.replica_sets.iter_mut().for_each(|it| set(&mut it.template));
    };
    labels(&mut world, "web");
    for service in [&mut world.seen.stable_service, &mut world.seen.canary_service] {
        service.as_mut().unwrap().selector.insert("component".to_owned(), "web".to_owned());
    }
    world.effects.clear();
    world.looks(10);
    assert!(world.effects.iter().all(|effect| !effect.starts_with("select")), "{:?}", world.effects);
    let narrow = |world: &World| world.seen.stable_service.as_ref().unwrap().selector.contains_key("component");
    assert!(narrow(&world));
    world.push("v2");
    world.until(300, |world| world.has(Reason::Promoted));
    world.settle();
    world.looks(60);
    assert!(!narrow(&world), "v2 has no such label");
    assert_eq!(world.serving(), "v2");
}

#[test]
fn a_candidate_that_a_webhook_changes_is_said_with_the_place_and_not_made_without_end() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    let mut made = 0;
    let mut mutates = |world: &mut World, seconds: i64| {
        for _ in 0..seconds {
            let before = world.effects.len();
            world.look();
            if world.effects[before..].iter().any(|effect| effect.starts_with("create-candidate")) {
                made += 1;
                let set = world.seen.replica_sets.last_mut().unwrap();
                set.generation = 1;
                set.template["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
            }
            world.seen.now += SignedDuration::from_secs(1);
        }
        made
    };
    assert!((2..=4).contains(&mutates(&mut world, 100)), "it is tried again now and then");
    let status = world.status();
    let waiting = &status.waiting_for[0];
    assert_eq!((status.phase, waiting.reason), (Phase::Blocked, Reason::WorkloadUnsupported), "{}", status.message);
    assert!(status.message.contains("at spec.containers.0.imagePullPolicy"), "{}", status.message);
    assert!(!world.has(Reason::Superseded));
    // The webhook lets it be.
    world.until(300, |world| world.has(Reason::Promoted));
    world.settle();
    assert_eq!(world.serving(), "v2");
}

#[test]
fn time_in_which_pods_are_missing_is_not_watched() {
    let mut world = adopted(rollout(|value| value["spec"]["steps"][1]["observe"] = json!("4s")));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20 && world.status().step.unwrap().observed_at.is_some());
    let evict = |world: &mut World, ready: bool| {
        for pod in world.seen.pods.iter_mut().filter(|pod| !pod.name.starts_with("shop-1")) {
            pod.ready = ready;
        }
    };
    for _ in 0..6 {
        evict(&mut world, false);
        world.look();
        world.seen.now += SignedDuration::from_secs(1);
    }
    assert!(world.status().step.unwrap().observed_at.is_none());
    evict(&mut world, true);
    world.settle();
    world.until(60, |world| world.status().step.unwrap().observed_at.is_some());
    let step = world.status().step.unwrap();
    assert_eq!((step.index, step.observed_seconds), (1, 0), "six seconds without pods are no time observed");
}

#[test]
fn a_pod_that_is_lost_late_in_a_step_has_the_whole_deadline_to_come_back() {
    let mut world = adopted(rollout(|value| value["spec"]["steps"][1]["observe"] = json!("10m")));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    let end = world.seen.now + SignedDuration::from_secs(300);
    world.until(400, |world| world.seen.now > end);
    let evict = |world: &mut World, ready: bool| {
        for pod in world.seen.pods.iter_mut().filter(|pod| !pod.name.starts_with("shop-1")) {
            pod.ready = ready;
        }
    };
    // Five times for twenty seconds is more than the deadline of sixty: pods that come and go add up.
    for round in 1..=5 {
        evict(&mut world, false);
        for _ in 0..20 {
            world.look();
            evict(&mut world, false);
            world.seen.now += SignedDuration::from_secs(1);
        }
        let given_up = world.status().latch.is_some();
        assert_eq!(given_up, round > 3, "after {round} times");
        if given_up {
            return;
        }
        evict(&mut world, true);
        world.settle();
        world.until(60, |world| world.split.weight.percent() == 20);
    }
}

#[test]
fn a_newer_template_starts_from_the_first_step_after_the_weight_is_home() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    let before = world.effects.len();
    world.push("v3");
    world.until(100, |world| world.status().step.is_some_and(|step| step.index == 0) && world.has(Reason::Superseded));
    assert!(world.effects[before].starts_with("set-weights"), "{:?}", &world.effects[before..]);
    world.until(100, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v3");
}

#[test]
fn back_to_stables_template_is_straight_back() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    world.push("v1");
    world.rests(Phase::Stable);
    assert!(world.has(Reason::Reverted));
    assert_eq!(world.serving(), "v1");
    assert!(!world.seen.deployment.as_ref().unwrap().paused);
}

#[test]
fn an_abort_is_taken_at_every_moment() {
    // One story for each look of a whole release: an abort there must end in Aborted with v1, before the trial
    // begins and in the middle of the swap too.
    let mut at = 0;
    loop {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.looks(at);
        if world.has(Reason::Promoted) {
            break;
        }
        world.command(Action::Abort, None);
        world.until(300, |world| world.answer().is_some());
        assert_eq!(world.answer(), Some(crate::api::ActionOutcome::Accepted), "after {at} looks");
        world.rests(Phase::Aborted);
        assert_eq!(world.serving(), "v1", "after {at} looks");
        assert_eq!(world.split.weight, Weight::ZERO, "after {at} looks");
        at += 1;
    }
    assert!(at > 40, "a release has more looks than {at}");
}

#[test]
fn a_new_template_at_every_moment_ends_in_that_template() {
    let mut at = 0;
    loop {
        let mut world = adopted(rollout(|_| {}));
        world.push("v2");
        world.looks(at);
        let done = world.has(Reason::Promoted) && world.status().past.is_none();
        world.push("v3");
        world.until(400, |world| world.serving() == "v3" && world.has(Reason::Promoted));
        world.rests(Phase::Stable);
        assert_eq!(world.serving(), "v3", "after {at} looks");
        if done {
            break;
        }
        at += 1;
    }
}

#[test]
fn deletion_at_every_moment_leaves_plain_kubernetes_serving() {
    for on_delete in ["Hold", "Continue"] {
        for at in 0..120 {
            let mut world = adopted(rollout(|value| value["spec"]["onDelete"] = json!(on_delete)));
            world.push("v2");
            world.looks(at);
            world.seen.rollout.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.seen.now));
            world.seen.rollout.spec.scale_down_delay = crate::duration::Duration::ZERO;
            let controlled = |world: &World| world.seen.controlled().filter(|set| set.replicas > 0).count();
            for _ in 0..400 {
                if world.seen.rollout.metadata.finalizers.is_none() {
                    break;
                }
                let plan = decide(&world.seen);
                world.seen.rollout.status = Some(plan.status.clone());
                if let Some(effect) = &plan.effect {
                    // While it is handed on the Deployment may control both.
                    world.effects.push(effect.verb().to_owned());
                    let adopted = world.seen.rollout.status.as_mut().and_then(|status| status.workload.take());
                    world.apply(effect);
                    if let Some(status) = &mut world.seen.rollout.status {
                        status.workload = adopted;
                    }
                } else if plan.look_again != SignedDuration::ZERO {
                    world.seen.now += SignedDuration::from_secs(1);
                }
            }
            assert!(world.seen.rollout.metadata.finalizers.is_none(), "{on_delete} after {at}: {:?}", world.status());
            assert!(controlled(&world) >= 1, "{on_delete} after {at}");
            assert_eq!(world.seen.stable_service.as_ref().unwrap().hash(), None, "{on_delete} after {at}");
            assert_eq!(
                world.seen.ours().count(),
                0,
                "{on_delete} after {at}: all ReplicaSets are the Deployment's again"
            );
        }
    }
}

#[test]
fn commands_that_do_not_fit_are_refused_with_words() {
    let mut world = adopted(rollout(|_| {}));
    world.command(Action::Promote, Some(Expect { revision: Some("other".to_owned()), step: None }));
    world.command(Action::Abort, None);
    world.rests(Phase::Stable);
    assert_eq!(world.status().handled.len(), 2);
    assert!(world.status().handled.iter().all(|handled| handled.outcome == crate::api::ActionOutcome::Refused));
    assert!(world.status().handled[0].message.contains("on trial is none"), "{:?}", world.status().handled);
}

#[test]
fn pause_holds_and_promote_leaves_a_step() {
    let mut world = adopted(rollout(|value| value["spec"]["steps"][1]["approval"] = json!("Required")));
    world.push("v2");
    world.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    assert_eq!(world.split.weight.percent(), 20);
    let expect = Expect { revision: Some(world.status().flight.unwrap().revision), step: Some("some".to_owned()) };
    world.command(Action::Pause, None);
    world.until(100, |world| world.status().phase == Phase::Paused);
    world.command(Action::Promote, Some(expect));
    world.until(100, |world| world.split.weight.percent() == 50);
}

#[test]
fn somebody_is_told_once_that_a_release_waits_for_a_person() {
    let alerts = |value: &mut Value| {
        value["spec"]["alerts"] = json!([{"receiver": {"name": "on-call"}, "on": ["Waiting"]}]);
    };
    let told = |world: &World| {
        let alerts = world.status().alerts;
        alerts.iter().map(|alert| alert.body.clone()).collect::<Vec<_>>()
    };
    let mut approved = adopted(rollout(|value| {
        alerts(value);
        value["spec"]["steps"][1]["approval"] = json!("Required");
    }));
    approved.push("v2");
    approved.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    approved.looks(20);
    assert_eq!(told(&approved).len(), 1);
    assert!(told(&approved)[0].contains("step some waits for Promote"), "{:?}", told(&approved));
    let mut stuck = adopted(rollout(|value| {
        alerts(value);
        value["spec"]["progress"] = json!({"deadline": "60s", "onStuck": "Pause"});
    }));
    stuck.ready = false;
    stuck.push("v2");
    stuck.until(200, |world| world.status().phase == Phase::Paused);
    stuck.looks(20);
    assert_eq!(told(&stuck).len(), 1);
    assert!(told(&stuck)[0].contains("onStuck says Pause"), "{:?}", told(&stuck));
    stuck.ready = true;
    stuck.settle();
    stuck.until(200, |world| world.has(Reason::Promoted));
}

#[test]
fn nothing_moves_for_a_spec_that_is_wrong() {
    let wrong: [fn(&mut Value); 6] = [
        |value| value["spec"]["steps"] = json!([]),
        |value| value["spec"]["steps"][1]["name"] = json!("warm"),
        |value| value["spec"]["traffic"]["services"] = Value::Null,
        |value| value["spec"]["analysis"] = json!({"metrics": [{"name": "x", "preset": "nobody/knows"}]}),
        |value| {
            judged(value);
            value["spec"]["analysis"]["metrics"][0]["steps"] = json!(["nowhere"]);
        },
        |value| {
            judged(value);
            value["spec"]["analysis"].as_object_mut().unwrap().remove("provider");
        },
    ];
    for change in wrong {
        let mut world = World::new(rollout(change));
        for _ in 0..10 {
            world.look();
        }
        assert!(world.effects.is_empty(), "{:?}", world.effects);
        assert_eq!(world.status().phase, Phase::Invalid);
        assert!(world.status().message.starts_with("spec."), "{}", world.status().message);
    }
}

#[test]
fn services_that_a_former_rollout_left_are_taken_over_and_those_of_others_are_not() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.stable_service.as_mut().unwrap().ours = false;
    world.look();
    assert_eq!(world.status().waiting_for[0].reason, Reason::ServiceContested);
    world.seen.stable_service.as_mut().unwrap().orphaned = true;
    world.rests(Phase::Stable);
    assert!(world.effects.last().unwrap().starts_with("claim-service"));
}

#[test]
fn an_abort_does_not_wait_for_a_service_that_somebody_contests() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    world.seen.canary_service.as_mut().unwrap().ours = false;
    world.measured(Verdict::Fail);
    world.command(Action::Abort, None);
    world.until(30, |world| world.split.weight == Weight::ZERO && world.status().flight.is_none());
    assert!(world.status().latch.is_some());
}

#[test]
fn a_provider_that_is_missing_is_said_before_anything_is_tried() {
    let mut world = World::new(rollout(judged));
    world.seen.provider = Some("spec.analysis.provider: there is none".to_owned());
    for _ in 0..10 {
        world.look();
    }
    assert_eq!(world.status().waiting_for[0].reason, Reason::ProviderMissing);
    assert!(world.seen.deployment.as_ref().unwrap().claim == Claim::Free);
    world.seen.provider = None;
    world.rests(Phase::Stable);
}

#[test]
fn actions_that_were_answered_long_ago_are_deleted_at_rest() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.expired = Some(("old".to_owned(), "action-uid".to_owned()));
    world.rests(Phase::Stable);
    assert_eq!(world.effects.last().unwrap(), "expire RolloutAction/old");
}

#[test]
fn without_routes_the_ratio_of_pods_is_the_weight() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["traffic"] = Value::Null;
        value["spec"]["steps"] = json!([{"name": "half", "weight": 50, "observe": "5s"}]);
    }));
    world.push("v2");
    world.until(100, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
    assert!(world.effects.iter().all(|effect| !effect.contains("Service")), "{:?}", world.effects);
}

#[test]
fn scaling_in_flight_reaches_stable_and_the_candidate() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 50);
    world.seen.deployment.as_mut().unwrap().replicas = 10;
    world.settle();
    world.until(100, |world| world.has(Reason::Promoted));
    assert_eq!(world.seen.controlled().next().unwrap().replicas, 10);
}

#[test]
fn a_route_that_somebody_else_keeps_writing_is_left_at_stable() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| {
        world.split.weight.percent() == 20 && world.status().step.is_some_and(|step| step.observed_seconds > 0)
    });
    for _ in 0..2 {
        world.split.weight = Weight::ZERO;
        world.settle();
        world.until(30, |world| world.split.weight.percent() == 20 || world.status().phase == Phase::Blocked);
        world.until(5, |world| {
            world.is_quiet() || world.status().phase == Phase::Blocked || world.status().intent.is_none()
        });
    }
    world.until(30, |world| world.status().phase == Phase::Blocked);
    assert_eq!(world.status().waiting_for[0].reason, Reason::RouteContested);
}

#[test]
fn custom_settings_are_checked_with_the_rollout() {
    let said = |change: Value| {
        let mut route = json!({
            "apiVersion": "mesh.example.com/v1", "kind": "Split", "name": "shop",
            "custom": {"plural": "splits", "weights": [{"path": "/spec/share", "value": "canary"}]},
        });
        for (name, value) in change.as_object().unwrap() {
            route[name] = value.clone();
        }
        let rollout = rollout(|value| value["spec"]["traffic"]["routes"] = json!([route]));
        check(&rollout.spec).map_err(|complaint| complaint.field)
    };
    let at = |field: &str| Err(format!("spec.traffic.routes[0].{field}"));
    assert_eq!(said(json!({})), Ok(()));
    assert_eq!(said(json!({"apiVersion": "apps/v1", "kind": "Deployment"})), at("apiVersion"));
    assert_eq!(said(json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout"})), at("apiVersion"));
    assert_eq!(said(json!({"ownership": "Operator", "template": {"spec": {}}})), at("ownership"));
    let bad = json!({"plural": "splits", "weights": [{"path": "/spec/share", "value": "canary > 1"}]});
    assert_eq!(said(json!({"custom": bad})), at("custom.weights[0].value"));
    assert_eq!(
        said(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"})),
        Err("spec.traffic.routes[0]".to_owned())
    );
}

#[test]
fn a_template_says_what_to_write_or_which_ingress_it_follows() {
    let said = |route: Value, steps: Value| {
        let rollout = rollout(|value| {
            value["spec"]["traffic"]["routes"] = json!([route]);
            if !steps.is_null() {
                value["spec"]["steps"] = steps;
            }
        });
        check(&rollout.spec).map_err(|complaint| complaint.to_string())
    };
    let ingress = |template: Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop-canary", "router": "nginx",
            "ownership": "Operator", "template": template})
    };
    assert_eq!(said(ingress(json!({"like": "shop"})), Value::Null), Ok(()));
    let http = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop",
        "ownership": "Operator", "template": {"like": "web"}});
    for (route, words) in [
        (ingress(json!({})), "template.spec: say what to write"),
        (ingress(json!({"like": "shop", "spec": {"rules": []}})), "template.like: is instead of spec"),
        (ingress(json!({"like": "shop-canary"})), "template.like: is the name of the route itself"),
        (http, "template.like: is nothing that gateway-api can do: write spec"),
    ] {
        let why = said(route, Value::Null).unwrap_err();
        assert!(why.starts_with(&format!("spec.traffic.routes[0].{words}")), "{why}");
    }
    let annotations = json!({"nginx.ingress.kubernetes.io/canary": "true"});
    let follows = || ingress(json!({"like": "shop", "annotations": annotations}));
    let step = |wanted: Value| json!([{"name": "beta", "weight": 0, "observe": "1m", "match": [wanted]}]);
    assert_eq!(said(follows(), step(json!({"headers": [{"name": "x-beta", "value": "1"}]}))), Ok(()));
    let why = said(follows(), step(json!({"method": "GET"}))).unwrap_err();
    assert!(why.starts_with("spec.steps[0].match") && why.contains("headers and cookies only"), "{why}");
}

/// How long a raise takes to count, with the routes named, and the world in that moment.
fn raised(routes: Value) -> (i64, World) {
    let mut world = adopted(rollout(|value| value["spec"]["traffic"]["routes"] = routes));
    world.push("v2");
    world.until(200, |world| world.split.weight.percent() == 20);
    let since = world.seen.now;
    world.until(100, |world| world.status().step.is_some_and(|step| step.name == "some" && step.observed_seconds > 0));
    (world.seen.now.duration_since(since).as_secs(), world)
}

#[test]
fn a_route_whose_controller_tells_nothing_is_given_time_and_status_says_so() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(200, |world| world.split.weight.percent() == 20);
    let by = |world: &World| decide(&world.seen).status.weights.and_then(|weights| weights.by);
    assert_eq!(by(&world).as_deref(), Some("Status"));
    let Found::Object { seen: Ok(seen), .. } = &mut world.seen.routes[0].found else { panic!("no route") };
    seen.accepted = Acceptance::Untold;
    let plan = decide(&world.seen);
    assert_eq!(by(&world).as_deref(), Some("Delay"));
    assert_eq!(plan.status.weights.unwrap().accepted.percent(), 20, "time alone is waited for");
}

#[test]
fn a_raise_waits_for_the_slowest_of_several_routers_and_an_abort_for_none() {
    let fast = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop"});
    let slow = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop", "router": "alb"});
    let (with_one, _) = raised(json!([fast]));
    let (with_both, mut world) = raised(json!([fast, slow]));
    assert_eq!(with_both - with_one, 60 - 3);
    world.seen.routes[1].found = Found::Unreadable("it takes its time".to_owned());
    let since = world.seen.now;
    world.command(Action::Abort, None);
    world.until(3, |world| world.split.is_none());
    assert!(world.seen.now.duration_since(since).as_secs() <= 1);
    world.until(200, |world| world.status().phase == Phase::Aborted);
}
