//! Commands that move a release among its steps, or onto other steps; and who may take an object that two name.
use super::*;

/// A command about the revision on trial; what became of it, in words.
fn ordered(world: &mut World, action: Action, to: Option<&str>) -> Result<String, String> {
    let revision = world.status().flight.map(|flight| flight.revision);
    world.command(action, revision.map(|revision| Expect { revision: Some(revision), step: None }));
    let order = world.seen.actions.last_mut().unwrap();
    order.to = to.map(str::to_owned);
    world.obeyed(60)
}

fn step(world: &World) -> crate::api::StepStatus {
    world.status().step.unwrap()
}

fn edit_steps(world: &mut World, steps: Value) {
    world.seen.rollout.spec.steps = serde_json::from_value(steps).unwrap();
    let generation = &mut world.seen.rollout.metadata.generation;
    *generation = generation.map(|generation| generation + 1);
}

/// A release that has been watched for some seconds in the step at 20 %.
fn at_twenty(change: impl FnOnce(&mut Value)) -> World {
    let mut world = adopted(rollout(change));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20 && step(world).observed_seconds >= 5);
    world
}

#[test]
fn a_step_is_set_forward_and_its_time_starts_anew() {
    let mut world = at_twenty(|_| {});
    let evidence = world.status().flight.unwrap().evidence_since;
    assert_eq!(
        ordered(&mut world, Action::SetStep, Some("half")).unwrap(),
        "step half is entered, and its time starts anew"
    );
    let held = step(&world);
    assert_eq!((held.index, held.name.as_str(), held.observed_seconds), (2, "half", 0));
    assert_eq!(world.status().flight.unwrap().evidence_since, evidence, "what was learned stays");
    assert_eq!(world.split.weight.percent(), 20, "the weight follows when the pods are there");
    world.until(30, |world| world.split.weight.percent() == 50);
    world.until(100, |world| world.has(Reason::Promoted));
}

#[test]
fn a_step_is_set_back_and_the_weight_falls_before_the_pods_go() {
    let mut world = at_twenty(|_| {});
    world.until(60, |world| world.split.weight.percent() == 50);
    world.effects.clear();
    assert!(ordered(&mut world, Action::SetStep, Some("warm")).is_ok());
    assert_eq!(step(&world).name, "warm");
    world.until(30, |world| world.split.weight == Weight::ZERO);
    let scaled = world.effects.iter().position(|effect| effect.starts_with("scale"));
    let weighed = world.effects.iter().position(|effect| effect.starts_with("set-weights"));
    assert!(weighed.is_some() && scaled.is_none_or(|scaled| Some(scaled) > weighed), "{:?}", world.effects);
    world.until(200, |world| world.has(Reason::Promoted));
}

#[test]
fn a_release_that_is_aborted_before_its_trial_began_gets_no_pod_until_it_is_retried() {
    let alerts = |it: &mut Value| it["spec"]["alerts"] = json!([{"receiver": {"name": "on-call"}, "on": ["Aborted"]}]);
    let mut world = adopted(rollout(alerts));
    world.push("v2");
    let sets = world.seen.replica_sets.len();
    let done = ordered(&mut world, Action::Abort, None);
    assert_eq!(done.unwrap(), "its trial does not begin; stable serves");
    world.rests(Phase::Aborted);
    world.looks(60);
    assert_eq!(world.seen.replica_sets.len(), sets, "nothing was made for it");
    let status = world.status();
    assert_eq!((status.phase, status.attempt), (Phase::Aborted, 1));
    let alerted: Value = serde_json::from_str(&status.alerts[0].body).unwrap();
    assert_eq!(alerted["revision"], status.latch.unwrap().revision);
    // Given up twice before it began, it is two alerts.
    world.command(Action::Retry, None);
    assert!(ordered(&mut world, Action::Abort, None).is_ok());
    let status = world.status();
    assert_eq!((status.attempt, status.alerts.len()), (2, 2));
    assert_ne!(status.alerts[0].id, status.alerts[1].id);
    world.command(Action::Retry, None);
    world.until(300, |world| world.has(Reason::Promoted));
    world.settle();
    assert_eq!(world.serving(), "v2");
    // What serves alone cannot be aborted.
    assert!(ordered(&mut world, Action::Abort, None).is_err());
}

#[test]
fn no_pod_ends_under_a_share_that_became_smaller() {
    let mut world = at_twenty(|_| {});
    world.until(60, |world| world.split.weight.percent() == 50);
    world.effects.clear();
    assert!(ordered(&mut world, Action::SetStep, Some("some")).is_ok());
    world.until(60, |world| world.split.weight.percent() == 20 && step(world).observed_seconds >= 5);
    assert!(world.effects.iter().all(|effect| !effect.starts_with("scale")), "{:?}", world.effects);
    assert!(ordered(&mut world, Action::SetStep, Some("warm")).is_ok());
    world.until(60, |world| world.split.weight == Weight::ZERO && step(world).observed_seconds >= 2);
    assert!(world.effects.iter().any(|effect| effect.starts_with("scale")), "they end when nothing is sent to them");
}

#[test]
fn gateways_forget_pods_that_were_ended_before_anything_is_sent() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["steps"][0] = json!({"name": "warm", "weight": 0, "replicas": 2, "observe": "60s"});
    }));
    world.push("v2");
    world.until(60, |world| world.status().step.is_some_and(|step| step.observed_seconds >= 5));
    let fewer = json!([
        {"name": "warm", "weight": 0, "observe": "1s"},
        {"name": "some", "weight": 20, "observe": "10s"},
    ]);
    edit_steps(&mut world, fewer);
    world.effects.clear();
    assert!(ordered(&mut world, Action::AdoptSteps, None).is_ok());
    world.until(30, |world| world.effects.iter().any(|effect| effect.starts_with("scale")));
    let candidate = world.status().flight.unwrap().candidate;
    let count = |world: &mut World, pods| {
        world.seen.replica_sets.iter_mut().find(|set| set.name == candidate).unwrap().status_replicas = pods;
    };
    count(&mut world, 2);
    world.looks(12);
    assert_eq!(world.split.weight, Weight::ZERO, "a pod is about to end");
    count(&mut world, 1);
    let gone = world.seen.now;
    world.until(30, |world| world.split.weight.percent() == 20);
    assert!(world.seen.now.duration_since(gone) >= SignedDuration::from_secs(3));
}

#[test]
fn a_step_can_be_set_while_paused_and_stays_paused() {
    let mut world = at_twenty(|_| {});
    assert!(ordered(&mut world, Action::Pause, None).is_ok());
    let answer = ordered(&mut world, Action::SetStep, Some("half")).unwrap();
    assert_eq!(answer, "step half is entered, and it stays paused there");
    world.until(60, |world| world.split.weight.percent() == 50 && world.status().phase == Phase::Paused);
    world.looks(60);
    assert_eq!(step(&world).name, "half");
}

#[test]
fn a_step_that_was_approved_and_is_set_again_wants_approval_again() {
    let mut world = at_twenty(|value| value["spec"]["steps"][2]["approval"] = "Required".into());
    world.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    assert!(ordered(&mut world, Action::SetStep, Some("half")).is_ok());
    assert!(!step(&world).approved);
    world.until(60, |world| world.status().phase == Phase::AwaitingApproval);
}

#[test]
fn steps_are_not_set_where_that_makes_no_sense() {
    let mut world = adopted(rollout(|_| {}));
    for action in [Action::SetStep, Action::AdoptSteps] {
        let why = ordered(&mut world, action, Some("half")).unwrap_err();
        assert!(why.starts_with("no revision is on trial"), "{why}");
    }
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    assert_eq!(
        ordered(&mut world, Action::SetStep, Some("all")).unwrap_err(),
        "this release has no step all; its steps are warm, some, half"
    );
    assert_eq!(
        ordered(&mut world, Action::SetStep, None).unwrap_err(),
        "spec.to is missing: name one of the steps warm, some, half"
    );
    assert!(ordered(&mut world, Action::PromoteFull, None).is_ok());
    for action in [Action::SetStep, Action::AdoptSteps] {
        let why = ordered(&mut world, action, Some("warm")).unwrap_err();
        assert_eq!(why, "the candidate is already taking over; Abort is the only way back");
    }
    assert!(ordered(&mut world, Action::Abort, None).is_ok());
    for action in [Action::SetStep, Action::AdoptSteps] {
        let why = ordered(&mut world, action, Some("warm")).unwrap_err();
        assert_eq!(why, "the candidate was given up; Retry tries it again");
    }
}

#[test]
fn edited_steps_are_said_once_and_adopted_in_the_step_of_the_same_name() {
    let mut world = at_twenty(|_| {});
    let before = step(&world);
    edit_steps(
        &mut world,
        json!([
            {"name": "some", "weight": 20, "observe": "10s"},
            {"name": "most", "weight": 80, "observe": "10s"},
        ]),
    );
    world.looks(2);
    let said = |world: &World| {
        world.status().decisions.iter().filter(|decision| decision.reason == Reason::StepsEdited).count()
    };
    assert_eq!(said(&world), 1);
    assert_eq!(step(&world).name, "some", "it goes on with those it began with");
    assert_eq!(world.status().flight.unwrap().steps.len(), 3);
    let answer = ordered(&mut world, Action::AdoptSteps, None).unwrap();
    assert_eq!(answer, "it goes on in step some of the new steps");
    let after = step(&world);
    assert_eq!((after.index, after.name.as_str()), (0, "some"));
    assert!(after.observed_seconds >= before.observed_seconds, "the time observed stays");
    assert_ne!(after.hash, before.hash);
    assert_eq!((said(&world), world.status().flight.unwrap().edited_steps), (1, None));
    assert_eq!(
        ordered(&mut world, Action::AdoptSteps, None).unwrap_err(),
        "this release runs on the spec's steps already"
    );
    world.until(60, |world| world.split.weight.percent() == 80);
    world.until(100, |world| world.has(Reason::Promoted));
}

#[test]
fn an_edit_that_is_taken_back_and_made_again_is_said_again() {
    let mut world = at_twenty(|_| {});
    let steps = json!(world.seen.rollout.spec.steps.clone());
    for _ in 0..2 {
        edit_steps(&mut world, json!([{"name": "some", "weight": 30, "observe": "60s"}]));
        world.looks(2);
        assert!(world.status().flight.unwrap().edited_steps.is_some());
        edit_steps(&mut world, steps.clone());
        world.looks(2);
        assert_eq!(world.status().flight.unwrap().edited_steps, None);
    }
    let decisions = world.status().decisions;
    assert_eq!(decisions.iter().filter(|decision| decision.reason == Reason::StepsEdited).count(), 2);
}

#[test]
fn an_approval_goes_with_the_text_of_its_step() {
    let held_back = |value: &mut Value| {
        value["spec"]["steps"][1]["approval"] = "Required".into();
        value["spec"]["steps"][1]["observe"] = "30s".into();
    };
    for (observe, approved) in [("30s", true), ("40s", false)] {
        let mut world = at_twenty(held_back);
        // The approval is there, and the state of the step is not: the pods of another node are missing.
        world.ready = false;
        world.seen.rollout.status.as_mut().unwrap().step.as_mut().unwrap().approved = true;
        edit_steps(
            &mut world,
            json!([
                {"name": "first", "weight": 1, "observe": "10s"},
                {"name": "some", "weight": 20, "observe": observe, "approval": "Required"},
            ]),
        );
        let revision = world.status().flight.unwrap().revision;
        world.command(Action::AdoptSteps, Some(Expect { revision: Some(revision), step: None }));
        world.look();
        let held = step(&world);
        assert_eq!((held.index, held.approved), (1, approved), "observe {observe}");
    }
}

#[test]
fn without_its_step_a_release_goes_on_where_no_less_weight_is_asked() {
    let cases = [
        (
            json!([{"name": "a", "weight": 5, "observe": "10s"}, {"name": "b", "weight": 25, "observe": "10s"}, {"name": "c", "weight": 50, "observe": "10s"}]),
            "b",
        ),
        (json!([{"name": "a", "weight": 5, "observe": "10s"}, {"name": "b", "weight": 10, "observe": "10s"}]), "b"),
        (json!([{"name": "a", "weight": 20, "observe": "10s"}, {"name": "b", "weight": 20, "observe": "10s"}]), "a"),
    ];
    for (steps, expected) in cases {
        let mut world = at_twenty(|_| {});
        edit_steps(&mut world, steps);
        let answer = ordered(&mut world, Action::AdoptSteps, None).unwrap();
        assert_eq!(answer, format!("there is no step some any more, so it goes on in step {expected}"));
        let held = step(&world);
        assert_eq!((held.name.as_str(), held.observed_seconds), (expected, 0));
        world.until(200, |world| world.has(Reason::Promoted));
    }
}

#[test]
fn steps_that_cannot_be_carried_out_are_not_adopted() {
    let mut world = at_twenty(|_| {});
    edit_steps(
        &mut world,
        json!([{"name": "a", "weight": 5, "observe": "1s"}, {"name": "a", "weight": 6, "observe": "1s"}]),
    );
    let why = ordered(&mut world, Action::AdoptSteps, None).unwrap_err();
    assert!(why.starts_with("the spec cannot be carried out: spec.steps[1].name"), "{why}");
    assert_eq!(world.status().flight.unwrap().steps.len(), 3);
    world.seen.malformed = Some("spec.steps: invalid type".to_owned());
    let why = ordered(&mut world, Action::AdoptSteps, None).unwrap_err();
    assert_eq!(why, "the spec cannot be read: spec.steps: invalid type");
}

#[test]
fn adopted_steps_have_to_fit_the_traffic_in_force() {
    let mut world = adopted(rollout(|value| {
        value["spec"]["traffic"] = Value::Null;
        value["spec"]["steps"] = json!([{"name": "half", "weight": 50, "observe": "50s"}]);
    }));
    world.push("v2");
    world.until(100, |world| world.status().step.is_some_and(|step| step.observed_seconds > 0));
    // The new spec has a route, which carries nothing before this release is over.
    world.seen.rollout.spec.traffic = rollout(|_| {}).spec.traffic;
    edit_steps(&mut world, json!([{"name": "most", "weight": 90, "observe": "5s"}]));
    let why = ordered(&mut world, Action::AdoptSteps, None).unwrap_err();
    assert!(why.contains("without traffic.routes"), "{why}");
}

const DEPLOYMENT: &str = "Deployment.apps/shop";
const ROUTE: &str = "HTTPRoute.gateway.networking.k8s.io/shop";

fn elder(name: &str, object: &str) -> Elder {
    Elder { name: name.to_owned(), objects: [object.to_owned()].into() }
}

#[test]
fn of_two_that_name_one_deployment_the_younger_makes_nothing() {
    for (object, reason) in [(DEPLOYMENT, Reason::WorkloadClaimed), (ROUTE, Reason::RouteClaimed)] {
        let mut world = World::new(rollout(|_| {}));
        world.seen.elders = vec![elder("first", object)];
        world.looks(20);
        let status = world.status();
        assert_eq!((status.phase, status.waiting_for[0].reason), (Phase::Blocked, reason));
        assert!(status.message.contains("Rollout first"), "{}", status.message);
        assert_eq!(world.effects, [""; 0], "not even a Service, which would reach the pods of the first");
        world.seen.elders.clear();
        world.rests(Phase::Stable);
    }
}

#[test]
fn a_route_of_another_group_is_another_route_whatever_its_name() {
    let mut world = World::new(rollout(|value| {
        let mut other = value["spec"]["traffic"]["routes"][0].clone();
        other["apiVersion"] = json!("policy.linkerd.io/v1beta3");
        value["spec"]["traffic"]["routes"].as_array_mut().unwrap().push(other);
    }));
    world.seen.elders = vec![elder("first", "HTTPRoute.kept.example.com/shop")];
    world.rests(Phase::Stable);
    assert_eq!(identity("a.b/v1", "C", "d"), identity("a.b/v2", "C", "d"), "of another version it is the same");
}

#[test]
fn who_finds_everything_held_by_another_makes_nothing() {
    let mut world = World::new(rollout(|_| {}));
    world.seen.deployment.as_mut().unwrap().claim = Claim::Foreign("first".to_owned());
    world.looks(20);
    let status = world.status();
    assert_eq!((status.phase, status.waiting_for[0].reason), (Phase::Blocked, Reason::WorkloadClaimed));
    assert_eq!(world.effects, [""; 0]);
    world.seen.deployment.as_mut().unwrap().claim = Claim::Free;
    world.rests(Phase::Stable);
}

#[test]
fn who_holds_a_deployment_keeps_it_whoever_is_older() {
    let mut world = adopted(rollout(|_| {}));
    world.seen.elders = vec![elder("first", DEPLOYMENT), elder("first", ROUTE)];
    world.push("v2");
    world.until(200, |world| world.has(Reason::Promoted));
    world.rests(Phase::Stable);
}

#[test]
fn however_many_answers_cannot_be_written_no_command_is_obeyed_twice() {
    let mut world = at_twenty(|_| {});
    for round in 0..70 {
        world.command(if round % 2 == 0 { Action::Pause } else { Action::Resume }, None);
    }
    let uids: Vec<_> = world.seen.actions.iter().map(|action| action.uid.clone()).collect();
    let mut taken: Vec<String> = Vec::new();
    let mut listed: Vec<String> = Vec::new();
    for _ in 0..200 {
        world.look();
        let now: Vec<String> = world.status().handled.iter().map(|handled| handled.uid.clone()).collect();
        taken.extend(now.iter().filter(|uid| !listed.contains(uid)).cloned());
        listed = now;
    }
    assert_eq!(taken, uids[..60], "each once, and no more than can be remembered");
    world.command(Action::Abort, None);
    world.look();
    assert!(world.status().latch.is_some(), "an abort is taken all the same");
}

#[test]
fn nothing_more_goes_to_a_candidate_that_is_paused_before_its_step_has_its_weight() {
    let mut world = adopted(rollout(|_| {}));
    world.push("v2");
    world.until(100, |world| world.status().step.is_some_and(|step| step.name == "half"));
    assert_eq!(world.split.weight.percent(), 20);
    world.command(Action::Pause, None);
    assert_eq!(world.obeyed(5).unwrap(), "it stays at 20 % until Resume");
    world.looks(30);
    let status = world.status();
    assert_eq!((world.split.weight.percent(), status.phase), (20, Phase::Paused));
    assert_eq!(status.message, "paused at step half before it has its weight; Resume goes on");
    // What somebody else writes is undone meanwhile.
    world.split.weight = Weight::ZERO;
    world.settle();
    world.looks(2);
    assert_eq!(world.split.weight.percent(), 20);
    let mut entered = world.clone();
    assert!(ordered(&mut entered, Action::SetStep, Some("half")).is_ok());
    entered.looks(30);
    assert_eq!(
        (entered.split.weight.percent(), entered.status().phase),
        (50, Phase::Paused),
        "who enters a step wants it"
    );
    assert!(ordered(&mut world, Action::Resume, None).is_ok());
    world.until(100, |world| world.has(Reason::Promoted));
}

#[test]
fn the_time_of_a_step_that_is_adopted_with_another_weight_starts_anew() {
    let mut world = at_twenty(|_| {});
    edit_steps(&mut world, json!([{"name": "some", "weight": 40, "observe": "10s"}]));
    let answer = ordered(&mut world, Action::AdoptSteps, None).unwrap();
    assert_eq!(answer, "it goes on in step some of the new steps, whose time starts anew");
    let held = step(&world);
    assert_eq!((held.index, held.observed_seconds, held.observed_at, held.full_at), (0, 0, None, None));
    world.until(30, |world| world.split.weight.percent() == 40);
    world.until(200, |world| world.has(Reason::Promoted));
}
