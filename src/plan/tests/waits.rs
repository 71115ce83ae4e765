//! What a step waits for, how long, and who is told.
use super::*;
use crate::metrics::Seen;

/// What `errors` says from now on.
fn says(world: &mut World, seen: Seen) {
    world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), seen)] };
}

fn nobody_asks() -> Seen {
    Seen { no_requests: true, ..seen_nothing() }
}

/// So many seconds pass, with a look every ten.
fn passes(world: &mut World, seconds: i64) {
    for _ in 0..seconds / 10 {
        world.seen.now += SignedDuration::from_secs(10);
        if let Measured::Read { at, .. } = &mut world.seen.measured {
            *at = world.seen.now;
        }
        world.look();
    }
}

/// A release with this analysis, of which nothing is proven; alerts of any kind are told.
fn released(change: impl FnOnce(&mut Value)) -> World {
    let mut world = adopted(rollout(|value| {
        judged(value);
        value["spec"]["alerts"] = json!([{"receiver": {"name": "on-call"}, "on": ["Waiting", "Blocked", "Aborted"]}]);
        change(value);
    }));
    world.push("v2");
    world.measured(Verdict::Continue);
    world
}

/// One of which a person is asked at 20 %.
fn asked(change: impl FnOnce(&mut Value)) -> World {
    let mut world = released(|value| {
        value["spec"]["steps"][1]["approval"] = json!("Required");
        change(value);
    });
    world.until(100, |world| world.status().phase == Phase::AwaitingApproval);
    world
}

/// One that has come to 20 %.
fn at_20(change: impl FnOnce(&mut Value)) -> World {
    let mut world = released(change);
    world.until(100, |world| world.split.weight.percent() == 20);
    world
}

#[test]
fn who_is_asked_is_asked_through_a_quiet_night_and_told_once() {
    for then in ["Wait", "Abort"] {
        let mut world = asked(|value| value["spec"]["analysis"]["onUnknown"] = json!({"after": "5m", "then": then}));
        says(&mut world, nobody_asks());
        passes(&mut world, 8 * 3_600);
        let status = world.status();
        assert_eq!((status.phase, status.alerts.len()), (Phase::AwaitingApproval, 1), "{then}: {}", status.message);
        world.command(Action::Promote, None);
        world.until(30, |world| world.split.weight.percent() == 50);
    }
    // A provider that does not answer is another matter.
    let mut world = asked(|value| value["spec"]["analysis"]["onUnknown"] = json!({"after": "5m", "then": "Wait"}));
    says(&mut world, seen_nothing());
    passes(&mut world, 400);
    assert_eq!(world.status().waiting_for[0].reason, Reason::EvidenceOverdue);
}

#[test]
fn that_nobody_asks_undoes_nothing_and_is_waited_for_as_the_spec_says() {
    let with = |no_traffic: Value| {
        let mut world = at_20(|value| {
            value["spec"]["analysis"]["onUnknown"] = json!({"after": "5m", "then": "Abort"});
            value["spec"]["analysis"]["whenNoTraffic"] = no_traffic;
        });
        says(&mut world, nobody_asks());
        passes(&mut world, 1_500);
        world
    };
    let waits = with(json!({"then": "Wait"})).status();
    assert!(waits.latch.is_none(), "{}", waits.message);
    assert_eq!((waits.phase, waits.alerts.len()), (Phase::Blocked, 1), "{}", waits.message);
    let mut patient = with(json!({"then": "AdvanceAfter", "after": "30m"}));
    let status = patient.status();
    assert_eq!((status.phase, status.alerts.len()), (Phase::Waiting, 0), "{}", status.message);
    assert!(status.message.ends_with("it goes on without after 30m"), "{}", status.message);
    patient.until(400, |world| world.has(Reason::Unjudged));
}

#[test]
fn that_nothing_is_proven_in_time_is_told_once_and_what_promote_leaves_unproven_is_said() {
    let mut world =
        at_20(|value| value["spec"]["analysis"]["onInconclusive"] = json!({"after": "15m", "then": "Wait"}));
    passes(&mut world, 600);
    assert_eq!((world.status().phase, world.status().alerts.len()), (Phase::Progressing, 0));
    passes(&mut world, 6_000);
    let status = world.status();
    assert_eq!((status.phase, status.alerts.len()), (Phase::Waiting, 1), "{}", status.message);
    assert!(status.message.contains("nothing is proven yet of errors, for 15m and more"), "{}", status.message);
    world.command(Action::Promote, None);
    world.until(30, |world| world.split.weight.percent() == 50);
    let said = world.status().decisions.into_iter().find(|it| it.reason == Reason::Unproven).unwrap().message;
    assert_eq!(said, "step some is left by Promote with nothing proven of errors");
    // Who is asked for an approval hears the same.
    let world = asked(|_| {});
    assert_eq!(world.status().message, "step some waits for Promote; nothing is proven yet of errors");
}

#[test]
fn what_cannot_be_there_yet_is_not_missing() {
    let delayed = |seconds: i64| {
        let mut world = at_20(|value| {
            value["spec"]["analysis"]["onUnknown"] = json!({"after": "5m", "then": "Abort"});
            value["spec"]["analysis"]["metrics"][0] =
                json!({"name": "errors", "preset": "app/error-rate", "initialDelay": "10m", "interval": "10m"});
        });
        says(&mut world, seen_nothing());
        passes(&mut world, seconds);
        world.status()
    };
    let early = delayed(1_400);
    assert_eq!((early.phase, early.latch.is_some()), (Phase::Waiting, false), "{}", early.message);
    assert_eq!(delayed(1_600).latch.unwrap().reason, Reason::EvidenceMissing);
}

#[test]
fn a_metric_that_never_comes_to_a_verdict_is_overdue_too() {
    let without = |then: &str| {
        let mut world = at_20(|value| value["spec"]["analysis"]["onUnknown"] = json!({"after": "5m", "then": then}));
        // There are some requests, and fewer than it takes to say anything.
        says(&mut world, Seen { usable: true, ..seen_nothing() });
        passes(&mut world, 200);
        assert_eq!((world.status().phase, world.status().alerts.len()), (Phase::Waiting, 0));
        passes(&mut world, 400);
        world.status()
    };
    let waits = without("Wait");
    assert_eq!((waits.phase, waits.alerts.len()), (Phase::Blocked, 1), "{}", waits.message);
    assert!(waits.message.starts_with("not judged yet: errors, for 5m and more"), "{}", waits.message);
    assert_eq!(without("Abort").latch.unwrap().reason, Reason::EvidenceMissing);
}

#[test]
fn what_was_measured_before_the_time_was_over_lets_nobody_go_on_unproven() {
    let mut world =
        at_20(|value| value["spec"]["analysis"]["onInconclusive"] = json!({"after": "15m", "then": "Advance"}));
    let full_at = |world: &World| world.status().step.and_then(|step| step.full_at).map(|at| at.0);
    world.until(400, |world| full_at(world).is_some());
    let over = full_at(&world).unwrap() + SignedDuration::from_mins(15);
    // The API server was away until now.
    world.seen.now = over - SignedDuration::from_secs(5);
    world.measured(Verdict::Continue);
    world.seen.now = over + SignedDuration::from_secs(5);
    let plan = decide(&world.seen);
    assert!(!plan.news.iter().any(|it| it.reason == Reason::Unproven), "{}", plan.status.message);
    world.measured(Verdict::Continue);
    world.until(20, |world| world.has(Reason::Unproven));
}

#[test]
fn a_metric_that_is_taken_out_of_the_spec_decides_nothing_and_one_that_is_new_has_not_passed() {
    let shown = json!({"name": "cost", "preset": "app/latency", "dryRun": true});
    let mut world = at_20(|value| {
        value["spec"]["analysis"]["onInconclusive"] = json!({"after": "1h", "then": "Advance"});
        value["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(shown);
    });
    let seen = |verdict| Seen { verdict, usable: true, ..seen_nothing() };
    let metrics = vec![("errors".to_owned(), seen(Verdict::Continue)), ("cost".to_owned(), seen(Verdict::Fail))];
    world.seen.measured = Measured::Read { at: world.seen.now, metrics };
    world.looks(2);
    world.seen.rollout.spec.analysis.metrics.pop();
    world.looks(4);
    assert!(world.status().latch.is_none());
    let mut new = world.seen.rollout.spec.analysis.metrics[0].clone();
    new.name = "new".to_owned();
    world.seen.rollout.spec.analysis.metrics.push(new);
    world.measured(Verdict::Pass);
    world.looks(20);
    assert_eq!(world.split.weight.percent(), 20, "{}", world.status().message);
}

#[test]
fn a_dry_run_that_cannot_be_measured_blocks_nobody_and_moves_no_evidence() {
    let shown = json!({"name": "cost", "preset": "app/latency", "dryRun": true});
    let mut world = at_20(|value| value["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(shown));
    let since = |world: &World| world.status().flight.unwrap().evidence_since.unwrap().0;
    let before = since(&world);
    let passed = Seen { verdict: Verdict::Pass, usable: true, ..seen_nothing() };
    let odd = Seen {
        invalid: Some("there is no such edge".to_owned()),
        history_from: Some(before + SignedDuration::from_secs(5)),
        ..seen_nothing()
    };
    let metrics = vec![("errors".to_owned(), passed), ("cost".to_owned(), odd)];
    world.seen.measured = Measured::Read { at: world.seen.now, metrics };
    world.looks(3);
    assert_eq!(since(&world), before);
    world.until(100, |world| world.split.weight.percent() == 50);
}

#[test]
fn a_job_is_waited_for_until_its_own_deadline_and_until_all_runs_that_are_wanted_are_over() {
    // An evaluation before the first request, which takes half an hour; in the other steps it decides nothing.
    let evaluated = |then: &str| {
        let mut world = released(|value| {
            let analysis = &mut value["spec"]["analysis"];
            analysis["onUnknown"] = json!({"after": "5m", "then": then});
            let job = json!({"template": {"spec": {"containers": [{"name": "eval", "image": "eval"}]}}});
            analysis["metrics"] = json!([{"name": "errors", "steps": ["warm"], "count": 2, "job": job}]);
        });
        world.until(30, |world| world.status().step.is_some());
        world
    };
    let running = |verdict, why: &str| Seen {
        verdict,
        usable: true,
        under_way: true,
        why: why.to_owned(),
        outcome: crate::metrics::Outcome::Empty,
        ..seen_nothing()
    };
    for then in ["Wait", "Abort"] {
        let mut world = evaluated(then);
        for verdict in [Verdict::Unknown, Verdict::Continue] {
            says(&mut world, running(verdict, "Job checkout-errors is running"));
            passes(&mut world, 1_800);
            let status = world.status();
            assert_eq!((status.phase, status.alerts.len()), (Phase::Progressing, 0), "{then}: {}", status.message);
            assert_eq!(status.message, "errors: Job checkout-errors is running");
            assert_eq!(world.split.weight.percent(), 0);
        }
        says(&mut world, Seen { verdict: Verdict::Pass, usable: true, ..seen_nothing() });
        passes(&mut world, 60);
        assert!(world.split.weight.percent() > 0, "{}", world.status().message);
    }
    // One whose deadline is over is no longer under way.
    let mut world = evaluated("Abort");
    says(&mut world, seen_nothing());
    passes(&mut world, 600);
    assert_eq!(world.status().latch.unwrap().reason, Reason::EvidenceMissing);
}

#[test]
fn a_route_that_no_gateway_takes_is_told_of_once_it_has_had_its_time() {
    let mut world = at_20(|_| {});
    let refused = |world: &mut World| {
        for route in &mut world.seen.routes {
            let Found::Object { seen: Ok(seen), .. } = &mut route.found else { panic!("no route") };
            seen.accepted = Acceptance::No("Gateway shop/web: ResolvedRefs is False".to_owned());
        }
    };
    let passes = |world: &mut World, seconds: i64| {
        for _ in 0..seconds / 10 {
            world.seen.now += SignedDuration::from_secs(10);
            world.measured(Verdict::Continue);
            refused(world);
            world.look();
        }
        (world.status().phase, world.status().alerts.len())
    };
    assert_eq!(passes(&mut world, 200), (Phase::Progressing, 0));
    assert_eq!(passes(&mut world, 200), (Phase::Blocked, 1));
    assert_eq!(passes(&mut world, 3_600), (Phase::Blocked, 1), "told once");
    assert_eq!(world.status().waiting_for[0].reason, Reason::RouteNotAccepted);
    // What another rule names is there again.
    world.settle();
    world.until(60, |world| world.status().phase == Phase::Progressing);
}
