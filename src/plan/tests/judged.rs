//! What the decision makes of what the judge says.
use super::*;
use crate::metrics::{Arrived, Bursts, Past, Seen, Traffic};

/// Two metrics of which the second only shows: what each says.
fn two(world: &mut World, errors: Verdict, shown: Verdict) {
    let seen = |verdict| Seen { verdict, usable: verdict != Verdict::Unknown, ..seen_nothing() };
    let metrics = vec![("errors".to_owned(), seen(errors)), ("shown".to_owned(), seen(shown))];
    world.seen.measured = Measured::Read { at: world.seen.now, metrics };
}

#[test]
fn a_metric_on_a_dry_run_is_shown_and_decides_nothing() {
    let mut world = adopted(rollout(|value| {
        judged(value);
        let shown = json!({"name": "shown", "preset": "app/latency", "dryRun": true});
        value["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(shown);
    }));
    world.push("v2");
    two(&mut world, Verdict::Pass, Verdict::Fail);
    world.rests(Phase::Stable);
    assert_eq!(world.serving(), "v2");
    world.push("v3");
    two(&mut world, Verdict::Fail, Verdict::Unknown);
    world.until(100, |world| world.status().latch.is_some());
    let metrics = world.status().metrics;
    assert_eq!(metrics.iter().map(|metric| metric.dry_run).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_is_only_shown_takes_nothing_from_what_comparisons_may_be_wrong() {
    let with = |dry_run: bool| {
        let rollout = rollout(|value| {
            judged(value);
            let other = json!({"name": "other", "preset": "app/latency", "dryRun": dry_run});
            value["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(other);
        });
        let analysis = rollout.spec.analysis;
        analysis.margins_of(&analysis.metrics[0]).alpha
    };
    assert!((with(true) / with(false) - 2.0).abs() < 1e-9);
}

#[test]
fn a_dry_run_makes_no_other_metric_guilty() {
    let with_a_dry_run = |value: &mut Value| {
        judged(value);
        let mut add = |more| value["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(more);
        add(json!({"name": "latency", "preset": "app/latency"}));
        add(json!({"name": "shown", "preset": "app/latency", "dryRun": true}));
    };
    // Of two metrics the second is guilty from 1 in 100 on; were the dry run a third that is guilty, from 1 in 67 on.
    let said = [("errors", Verdict::Fail, 9.0), ("latency", Verdict::Continue, 4.4), ("shown", Verdict::Fail, 9.0)];
    let latch = judged_so(with_a_dry_run, said).unwrap();
    assert!(latch.contains("errors: why") && !latch.contains("also worse"), "{latch}");
}

/// What a metric says that has seen so many requests of each since the share is what it is.
fn arrives(world: &mut World, canary: u64, stable: u64) {
    let arrived = Some(Arrived { canary, stable });
    let no_requests = canary == 0;
    let seen = Seen { verdict: Verdict::Continue, usable: !no_requests, no_requests, arrived, ..seen_nothing() };
    world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), seen)] };
}

#[test]
fn a_mesh_that_does_not_heed_the_routes_blocks_the_first_step_and_no_want_of_traffic_leads_past_it() {
    let mut world = adopted(rollout(|value| {
        judged(value);
        value["spec"]["analysis"]["whenNoTraffic"] = json!({"then": "AdvanceAfter", "after": "60s"});
    }));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    arrives(&mut world, 0, 1_000);
    world.until(30, |world| world.status().phase == Phase::Blocked);
    let waiting = world.status().waiting_for;
    assert_eq!(waiting[0].reason, Reason::WeightIgnored);
    assert!(waiting[0].message.starts_with("asked 20 %, seen 0 % of 1,000 requests"), "{}", waiting[0].message);
    assert_eq!(world.status().weights.unwrap().observed.as_deref(), Some("0 % of 1,000 requests"));
    for _ in 0..100 {
        world.look();
        arrives(&mut world, 0, 1_000);
    }
    assert_eq!(world.status().step.map(|step| (step.index, step.observed_seconds)), Some((1, 0)));
    // The sidecar is there now.
    arrives(&mut world, 200, 1_800);
    world.until(30, |world| world.status().phase == Phase::Progressing);
    assert_eq!(world.status().weights.unwrap().observed.as_deref(), Some("10 % of 2,000 requests"));
}

#[test]
fn what_was_seen_of_a_share_is_of_this_share_alone() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.until(100, |world| world.status().step.is_some_and(|step| step.index == 0 && step.shared_since.is_some()));
    let first = world.status().step.unwrap().shared_since;
    // Somebody writes another weight: the share is put right, and counts from then on.
    world.split.weight = Weight::new(70).unwrap();
    world.until(30, |world| world.status().step.is_some_and(|step| step.shared_since.is_none()));
    world.until(100, |world| world.status().step.is_some_and(|step| step.shared_since > first));
}

#[test]
fn whoever_says_so_goes_on_with_a_share_that_is_not_heeded() {
    let mut world = adopted(rollout(|value| {
        judged(value);
        value["spec"]["analysis"]["whenIgnored"] = json!("Continue");
    }));
    world.push("v2");
    world.until(100, |world| world.split.weight.percent() == 20);
    arrives(&mut world, 1, 9_999);
    let seen = |world: &World| world.status().weights.and_then(|weights| weights.observed);
    world.until(30, |world| seen(world).is_some());
    assert_eq!(seen(&world).as_deref(), Some("0.01 % of 10,000 requests"));
    assert_ne!(world.status().phase, Phase::Blocked);
}

#[test]
fn a_metric_decides_in_its_steps_alone() {
    let mut world = adopted(rollout(|value| {
        judged(value);
        value["spec"]["analysis"]["metrics"][0]["steps"] = json!(["half"]);
        let all = json!({"name": "shown", "preset": "app/latency"});
        value["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(all);
    }));
    world.push("v2");
    two(&mut world, Verdict::Fail, Verdict::Pass);
    // It neither holds nor gives up what comes before.
    world.until(40, |world| world.status().step.is_some_and(|step| step.name == "some"));
    two(&mut world, Verdict::Fail, Verdict::Pass);
    world.until(40, |world| world.status().step.is_some_and(|step| step.name == "half"));
    two(&mut world, Verdict::Fail, Verdict::Pass);
    world.until(10, |world| world.status().latch.is_some_and(|latch| latch.message.starts_with("errors: ")));
}

/// Three comparisons.
fn three(value: &mut Value) {
    judged(value);
    let mut add = |more| value["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(more);
    add(json!({"name": "latency", "preset": "app/latency"}));
    add(json!({"name": "score", "scores": {"count": "scores_count{arm=\"$arm\"}", "sum": "scores_sum{arm=\"$arm\"}"}}));
}

/// A release of whose metrics this is said in its second step, with the logarithm of the evidence: its latch, if it has one.
fn judged_so(change: impl FnOnce(&mut Value), said: [(&str, Verdict, f64); 3]) -> Option<String> {
    let mut world = adopted(rollout(change));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    let seen = |verdict, ln| Seen { verdict, usable: true, evidence_now: Some(ln), ..seen_nothing() };
    let metrics = said.map(|(name, verdict, ln)| (name.to_owned(), seen(verdict, ln))).to_vec();
    world.seen.measured = Measured::Read { at: world.seen.now, metrics };
    world.look();
    world.status().latch.map(|latch| latch.message)
}

/// The same where no metric fails by itself; the evidence of each is one in so many.
fn latched(change: impl FnOnce(&mut Value), said: [(&str, f64); 3]) -> Option<String> {
    judged_so(change, said.map(|(name, one_in)| (name, Verdict::Continue, one_in.ln())))
}

#[test]
fn metrics_of_which_none_is_proven_by_itself_give_a_release_up_together() {
    let said = [("errors", 160.0), ("latency", 155.0), ("score", 0.5)];
    let latch = latched(three, said).unwrap();
    let words = "errors and latency together: worse than stable; chance of a false alarm below 1 in 100; to blame: errors, latency";
    assert!(latch.contains(words), "{latch}");
    let latch = latched(three, [("errors", 290.0), ("latency", 140.0), ("score", 90.0)]).unwrap();
    assert!(latch.contains("; which of them is to blame is not proven; above all errors: "), "{latch}");
    assert_eq!(latched(three, [("errors", 140.0), ("latency", 140.0), ("score", 1.0)]), None);
}

#[test]
fn with_a_ceiling_metrics_together_do_not_say_that_stable_is_better() {
    let with_a_ceiling = |value: &mut Value| {
        three(value);
        value["spec"]["analysis"]["margins"] = json!({"ceiling": 0.05});
    };
    let latch = latched(with_a_ceiling, [("errors", 160.0), ("latency", 155.0), ("score", 0.5)]).unwrap();
    let words = "errors and latency together: worse than stable, or more than the ceiling of 5 % goes wrong; chance";
    assert!(latch.contains(words), "{latch}");
}

#[test]
fn what_decides_nothing_says_nothing_with_the_others() {
    let said = [("errors", 160.0), ("latency", 155.0), ("score", 0.5)];
    let without = |change: fn(&mut Value)| {
        latched(
            |value| {
                three(value);
                change(&mut value["spec"]["analysis"]["metrics"][1]);
            },
            said,
        )
    };
    assert!(without(|_| {}).is_some());
    assert_eq!(without(|latency| latency["dryRun"] = json!(true)), None);
    assert_eq!(without(|latency| latency["steps"] = json!(["half"])), None);
}

#[test]
fn a_metric_of_more_weight_fails_a_release_by_less() {
    let weighed = |weight: u32| {
        latched(
            |value| {
                three(value);
                value["spec"]["analysis"]["metrics"][0]["weight"] = json!(weight);
            },
            [("errors", 180.0), ("latency", 50.0), ("score", 1.0)],
        )
    };
    assert_eq!((weighed(1).is_some(), weighed(3).is_some()), (false, true));
}

#[test]
fn metrics_that_are_worse_beyond_doubt_together_are_named_together() {
    let said = [("errors", Verdict::Fail, 9.0), ("latency", Verdict::Continue, 5.2), ("score", Verdict::Pass, 0.1)];
    let latch = judged_so(three, said).unwrap();
    assert!(latch.contains("errors: why; also worse: latency"), "{latch}");
}

#[test]
fn a_provider_that_does_not_answer_is_overdue_after_as_many_intervals_as_the_metric_says() {
    let blocked = |then: &str, limit: Option<u32>| {
        let mut world = adopted(rollout(|value| {
            judged(value);
            value["spec"]["analysis"]["onUnknown"] = json!({"after": "1h", "then": then});
            value["spec"]["analysis"]["metrics"][0]["consecutiveErrorLimit"] = json!(limit);
        }));
        world.push("v2");
        world.measured(Verdict::Continue);
        world.until(100, |world| world.split.weight.percent() == 20);
        let metric = world.seen.rollout.spec.analysis.metrics[0].clone();
        let mut row = crate::metrics::Unanswered::default();
        let nothing = Seen { outcome: crate::metrics::Outcome::Unreachable, ..seen_nothing() };
        for _ in 0..4 {
            assert!(world.status().latch.is_none() && world.status().phase != Phase::Blocked, "not before");
            let now = world.seen.now;
            row = row.after(&metric, &nothing, now);
            let seen = Seen { unanswered: row, ..nothing.clone() };
            world.seen.measured = Measured::Read { at: now, metrics: vec![("errors".to_owned(), seen)] };
            world.looks(2);
            world.seen.now += SignedDuration::from_secs(10);
        }
        world.status()
    };
    let waiting = blocked("Wait", Some(3));
    assert_eq!((waiting.phase, waiting.waiting_for[0].reason), (Phase::Blocked, Reason::EvidenceOverdue));
    assert_eq!(waiting.waiting_for[0].message, "errors: why, 4 intervals in a row");
    assert_eq!(blocked("Abort", Some(3)).latch.unwrap().reason, Reason::EvidenceMissing);
    for limit in [Some(4), None] {
        assert!(blocked("Abort", limit).latch.is_none(), "{limit:?}");
    }
}

#[test]
fn a_pass_of_a_few_pods_is_none_of_the_others() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    let measured = |world: &mut World, scraped: Option<u32>, verdict: Verdict| {
        let seen = Seen { verdict, usable: true, scraped, ..seen_nothing() };
        world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), seen)] };
    };
    let at_20 = |world: &World| world.split.weight.percent() == 20;
    world.measured(Verdict::Pass);
    world.until(100, at_20);
    let ready = world.status().canary.unwrap().ready;
    for _ in 0..100 {
        measured(&mut world, Some(0), Verdict::Pass);
        world.look();
        world.seen.now += SignedDuration::from_secs(2);
    }
    let status = world.status();
    assert!(at_20(&world) && status.latch.is_none(), "{:?} {}", status.phase, status.message);
    let words = format!("errors: of the candidate's {ready} ready pods 0 were scraped of late");
    assert!(status.message.starts_with(&words), "{}", status.message);
    measured(&mut world, u32::try_from(ready).ok(), Verdict::Pass);
    world.until(100, |world| !at_20(world));
    // Who reads the pages of some pods reads no more of them.
    let mut world = adopted(rollout(judged));
    world.seen.deployment.as_mut().unwrap().replicas = 80;
    world.settle();
    world.push("v2");
    let some = |world: &mut World| {
        let seen = Seen {
            verdict: Verdict::Pass,
            usable: true,
            scraped: Some(30),
            scraped_at_most: Some(30),
            ..seen_nothing()
        };
        world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), seen)] };
    };
    some(&mut world);
    world.until(300, |world| world.has(Reason::Promoted));
    // What fails, fails by however few.
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Pass);
    world.until(100, at_20);
    measured(&mut world, Some(0), Verdict::Fail);
    world.look();
    assert_eq!(world.status().latch.unwrap().reason, Reason::AnalysisFailed);
}

/// What is said of too little traffic.
fn underpowered(world: &World) -> Option<String> {
    let mut conditions = world.status().conditions.into_iter();
    conditions.find(|condition| condition.type_ == "Underpowered").map(|it| it.message)
}

/// What stable did of late, with so many requests a second.
fn past_of(rate: f64) -> Past {
    Past { bursts: Bursts::Known(1.0), traffic: Some(Traffic { rate, bad: 0.005 }) }
}

#[test]
fn too_little_traffic_for_the_steps_of_the_spec_is_said_before_any_release() {
    let mut world = adopted(rollout(judged));
    let told = |rate| Some(vec![("errors".to_owned(), past_of(rate))]);
    world.look();
    assert_eq!(underpowered(&world), None, "nothing is known");
    world.seen.pasts = told(0.5);
    world.look();
    let message = underpowered(&world).unwrap();
    assert!(message.starts_with("errors: with 0.5 requests a second of which 0.5 % go wrong"), "{message}");
    assert!(message.contains("all steps together are observed for 25 s"), "{message}");
    assert!(world.is_quiet(), "it is written once");
    let since = |world: &World| {
        let conditions = world.status().conditions;
        let it = conditions.into_iter().find(|condition| condition.type_ == "Underpowered");
        it.map(|it| it.last_transition_time)
    };
    let first = since(&world);
    world.seen.now += SignedDuration::from_secs(3_600);
    world.seen.pasts = told(0.6);
    world.look();
    assert!(underpowered(&world).unwrap().starts_with("errors: with 0.6 requests"));
    assert_eq!(since(&world), first, "other words are no transition");
    world.seen.pasts = None;
    world.look();
    assert!(underpowered(&world).unwrap().starts_with("errors: with 0.6 requests"), "what was said stays");
    world.push("v2");
    world.measured(Verdict::Pass);
    world.until(100, |world| world.split.weight.percent() == 20);
    assert!(underpowered(&world).unwrap().starts_with("errors: with 0.6 requests"), "until the release knows better");
    world.rests(Phase::Stable);
    assert!(underpowered(&world).is_some(), "and when it is over");
    world.seen.pasts = told(5_000.0);
    world.look();
    assert_eq!(underpowered(&world), None);
}

#[test]
fn what_is_known_at_rest_says_nothing_of_a_release_and_where_nothing_is_compared_nothing_is_said() {
    let mut world = adopted(rollout(judged));
    world.seen.pasts = Some(vec![("errors".to_owned(), past_of(0.5))]);
    world.look();
    assert!(underpowered(&world).is_some());
    world.seen.pasts = Some(Vec::new());
    world.look();
    assert_eq!(underpowered(&world), None, "the provider knows no past");
    world.push("v2");
    world.measured(Verdict::Pass);
    world.until(100, |world| world.split.weight.percent() == 20);
    world.seen.pasts = Some(vec![("errors".to_owned(), past_of(0.5))]);
    world.look();
    assert_eq!(underpowered(&world), None);
    world.rests(Phase::Stable);
    assert!(underpowered(&world).is_some());
    world.seen.pasts = None;
    world.seen.rollout.spec.analysis = serde_json::from_value(json!({"mode": "None"})).unwrap();
    world.look();
    assert_eq!(underpowered(&world), None);
}

#[test]
fn too_little_traffic_for_the_steps_is_said_and_stays_said_until_the_release_is_over() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    let measured = |world: &mut World, rate: f64| {
        let past = Some(past_of(rate));
        let seen = Seen { verdict: Verdict::Continue, usable: true, past, ..seen_nothing() };
        world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), seen)] };
    };
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    assert_eq!(underpowered(&world), None, "nothing is known");
    measured(&mut world, 0.5);
    world.look();
    let message = underpowered(&world).unwrap();
    assert!(
        message.starts_with(
            "errors: with 0.5 requests a second of which 0.5 % go wrong, a tenfold error rate takes about"
        ),
        "{message}"
    );
    world.seen.measured = Measured::NotYet;
    world.look();
    assert_eq!(underpowered(&world), Some(message), "an answer that is late changes nothing");
    measured(&mut world, 5_000.0);
    world.look();
    assert_eq!(underpowered(&world), None);
}

#[test]
fn that_a_good_release_is_not_proven_in_time_is_said_with_what_becomes_of_it() {
    let said = |then: &str, after: &str, rate: f64| {
        let mut world = adopted(rollout(|value| {
            judged(value);
            value["spec"]["steps"] = json!([
                {"name": "few", "weight": 10, "observe": "2m"},
                {"name": "some", "weight": 20, "observe": "3m"},
                {"name": "half", "weight": 50, "observe": "1h"},
            ]);
            value["spec"]["analysis"]["onInconclusive"] = json!({"after": after, "then": then});
        }));
        world.seen.pasts = Some(vec![("errors".to_owned(), past_of(rate))]);
        world.look();
        underpowered(&world)
    };
    // At 50 requests a second it takes some seven minutes at 10 %, and three and a half at 20 %.
    let words = said("Advance", "1s", 25.0).unwrap();
    assert!(words.starts_with("errors: that a release is as good as stable takes about"), "{words}");
    assert!(words.contains("at 20 %, so it goes on unproven 1s after step some was observed"), "{words}");
    assert!(said("Wait", "1s", 25.0).unwrap().contains("so it is still waiting 1s after"));
    assert_eq!(said("Advance", "15m", 25.0), None, "by then it is proven");
    assert_eq!(said("Advance", "1s", 500.0), None);
}

#[test]
fn a_history_that_begins_later_moves_the_evidence_and_not_when_the_candidate_settled() {
    let mut world = adopted(rollout(judged));
    world.push("v2");
    world.measured(Verdict::Continue);
    world.until(100, |world| world.split.weight.percent() == 20);
    let times = |world: &World| {
        let flight = world.status().flight;
        flight.map_or([None, None], |flight| [flight.evidence_since, flight.settled_since].map(|at| at.map(|at| at.0)))
    };
    let [begun, None] = times(&world) else { panic!("{:?}", times(&world)) };
    for seconds in [10, 20] {
        let history = begun.unwrap() + SignedDuration::from_secs(seconds);
        let seen = Seen { history_from: Some(history), ..seen_nothing() };
        world.seen.measured = Measured::Read { at: world.seen.now, metrics: vec![("errors".to_owned(), seen)] };
        world.until(10, |world| times(world) == [Some(history), begun]);
    }
    // Of another candidate all begins anew.
    world.measured(Verdict::Continue);
    world.push("v3");
    world.until(100, |world| times(world)[0].is_none());
    world.until(100, |world| times(world)[0].is_some());
    assert_eq!(times(&world)[1], None);
}

/// Judged, and with patience: a good release is proven in time.
fn patient(value: &mut Value) {
    judged(value);
    value["spec"]["analysis"]["onInconclusive"] = json!({"after": "24h"});
}

/// What is said at rest of five requests a second of which one in two hundred goes wrong.
fn underpowered_with(change: impl FnOnce(&mut Value)) -> Option<String> {
    let mut world = adopted(rollout(|value| {
        patient(value);
        change(value);
    }));
    world.seen.pasts = Some(vec![("errors".to_owned(), past_of(5.0))]);
    world.look();
    underpowered(&world)
}

#[test]
fn what_would_help_against_too_little_traffic_is_said_in_numbers_that_do_help() {
    let message = underpowered_with(|_| {}).unwrap();
    let number = |before: &str, after: &str| {
        let (_, rest) = message.split_once(before).unwrap_or_else(|| panic!("no {before} in {message}"));
        rest.split_once(after).unwrap().0.parse::<f64>().unwrap()
    };
    let rate = number("up to about ", " a second");
    let seconds = 60.0 * number("observe them for about ", " min");
    let with_rate = |rate: f64| {
        let mut world = adopted(rollout(patient));
        world.seen.pasts = Some(vec![("errors".to_owned(), past_of(rate))]);
        world.look();
        underpowered(&world)
    };
    assert!(with_rate(0.9 * rate).is_some() && with_rate(1.1 * rate).is_none(), "{message}");
    let observed = |times: f64| {
        underpowered_with(|value| {
            for step in value["spec"]["steps"].as_array_mut().unwrap() {
                if let Some(text) = step["observe"].as_str() {
                    let observe = text.parse::<crate::duration::Duration>().unwrap().as_secs_f64() * times;
                    step["observe"] = json!(format!("{observe:.0}s"));
                }
            }
        })
    };
    assert!(observed(0.8 * seconds / 25.0).is_some() && observed(1.2 * seconds / 25.0).is_none(), "{message}");
}

#[test]
fn a_limit_or_a_ceiling_that_finds_a_bad_release_is_traffic_enough() {
    let limited = |max: &str, interval: &str| {
        underpowered_with(|value| {
            let metric = &mut value["spec"]["analysis"]["metrics"][0];
            (metric["limit"], metric["interval"]) = (json!({"max": max}), json!(interval));
        })
    };
    // 5 % in intervals of which each has 20 requests of the canary at half of 5 a second.
    assert_eq!(limited("2%", "20s"), None);
    assert!(limited("6%", "20s").is_some(), "a tenfold error rate keeps it");
    assert!(limited("2%", "5s").is_some(), "no interval has requests enough");
    let ceiling =
        |ceiling: f64| underpowered_with(|value| value["spec"]["analysis"]["margins"] = json!({"ceiling": ceiling}));
    let least = |message: Option<String>| message.unwrap();
    assert_ne!(least(ceiling(0.002)), least(ceiling(0.2)), "one that is exceeded finds it sooner");
    let wide =
        underpowered_with(|value| value["spec"]["analysis"]["margins"] = json!({"tolerated": 8, "excluded": 20}));
    assert!(wide.is_some_and(|message| message.contains("an error rate 16 times stable's takes about")));
}
