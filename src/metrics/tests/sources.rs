//! Counters of other shapes than one with a status: of proxies, in two series, of scores; and stable's past.
use super::*;

#[test]
fn a_proxy_without_a_beat_tells_of_its_scrapes_by_what_it_counts_for_both_arms() {
    let metric = preset("istio/error-rate");
    let look = subject_at(60);
    let asked = asks(&metric, &provider(1), &look);
    let queries: Vec<_> = asked.iter().map(|ask| ask.fields()[0].1.as_str()).collect();
    assert_eq!(queries.len(), 2, "no question for scrapes: {queries:?}");
    let canary = r#"istio_requests_total{destination_service=~"app-canary\\.demo\\.svc\\..+",reporter="source"}["#;
    assert!(queries[0].starts_with(canary), "{}", queries[0]);
    let labels = |arm: &str, code: &str| {
        format!(
            r#"{{"job":"istio","instance":"10.244.0.5:15020","destination_service":"app-{arm}.demo.svc.cluster.local","response_code":"{code}"}}"#
        )
    };
    // The canary's series are first seen five seconds in, with nine requests and a bad one in them.
    let late = |from: u32, each: u32| {
        growing(0, each, 60)
            .into_iter()
            .skip(6)
            .map(|(at, _)| at)
            .zip((0..).map(|i| (from + each * i).to_string()))
            .collect::<Vec<_>>()
    };
    let canary = body(&[(labels("canary", "200"), late(9, 9)), (labels("canary", "503"), late(1, 1))]);
    let stable = body(&[(labels("stable", "200"), growing(100, 90, 60)), (labels("stable", "500"), growing(3, 0, 60))]);
    let seen = read(&metric, &provider(1), &look, &[canary, stable]);
    assert_eq!((seen.verdict, seen.usable), (Verdict::Fail, true), "{seen:?}");
    assert_eq!(seen.canary.as_deref(), Some("10 % of 560"));
    assert_eq!(seen.stable.as_deref(), Some("0 % of 5,400"));
    let nobody = read(&metric, &provider(1), &look, &[body(&[]), body(&[])]);
    assert_eq!((nobody.outcome, nobody.no_requests), (Outcome::Empty, true), "{}", nobody.why);
    // A first request that comes a while after evidence began is no history that was lost.
    let [canary, stable] = ["canary", "stable"].map(|arm| {
        let since = growing(1, 9, 60).split_off(31);
        body(&[(labels(arm, "200"), since)])
    });
    let first = read(&metric, &provider(1), &look, &[canary, stable]);
    assert_eq!((first.history_from, first.outcome), (None, Outcome::Measured), "{}", first.why);
    assert_eq!((first.usable, first.canary.as_deref()), (true, Some("0 % of 270")));
}

#[test]
fn failures_that_a_series_of_their_own_counts_are_added_to_the_rest() {
    let metric = preset("triton/error-rate");
    let asked = asks(&metric, &provider(1), &subject_at(30));
    let name = r#"{__name__=~"nv_inference_request_success|nv_inference_request_failure",namespace="demo""#;
    assert!(asked[0].fields()[0].1.starts_with(name), "{}", asked[0].fields()[0].1);
    let series = |name: &str, each: u32| {
        let labels = format!(r#"{{"__name__":"{name}","job":"pods","instance":"10.244.0.5:9100"}}"#);
        (labels, growing(5, each, 30))
    };
    let arm = |good: u32, bad: u32| {
        body(&[series("nv_inference_request_success", good), series("nv_inference_request_failure", bad)])
    };
    let up = || body(&[(r#"{"job":"pods","instance":"10.244.0.5:9100"}"#.into(), growing(1, 0, 30))]);
    let seen = read(&metric, &provider(1), &subject_at(30), &[arm(8, 2), up(), arm(90, 0), up()]);
    assert_eq!(seen.verdict, Verdict::Fail, "{seen:?}");
    assert!(seen.canary.as_deref().is_some_and(|shown| shown.starts_with("20 % of ")), "{seen:?}");
    assert!(!seen.why.contains("nobody counts"), "{}", seen.why);
    // One that has never failed may have no such series; that neither has it is worth a word.
    let good = |each: u32| body(&[series("nv_inference_request_success", each)]);
    let one = read(&metric, &provider(1), &subject_at(30), &[good(10), up(), arm(90, 1), up()]);
    assert!(!one.why.contains("nobody counts"), "{}", one.why);
    let said = "; nobody counts nv_inference_request_failure, which is taken for no failure";
    let none = read(&metric, &provider(1), &subject_at(30), &[good(10), up(), good(90), up()]);
    assert!(
        none.canary.as_deref().is_some_and(|shown| shown.starts_with("0 % of ")) && none.why.ends_with(said),
        "{none:?}"
    );
    let max = Some(Limit { max: Some("1%".into()), ..Limit::default() });
    let alone = Metric { limit: max, compare: Some(Compare::None), ..metric };
    let none = read(&alone, &provider(1), &subject_at(30), &[good(10), up()]);
    assert!(none.verdict == Verdict::Pass && none.why.ends_with(said), "{none:?}");
}

#[test]
fn the_past_of_stable_is_asked_for_once_and_says_whether_errors_come_in_bursts() {
    let metric = preset("traefik/error-rate");
    let look = Subject { past: None, ..subject_at(20) };
    let asked = asks(&metric, &provider(1), &look);
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[3].path, "/api/v1/query_range");
    let times: Vec<_> = asked[3].fields()[2..].iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(times, ["1795243200.500", "1795246800.500", "10.000"], "the hour before the evidence");
    // An hour of one error in each interval of ten seconds, or of ten in each tenth.
    let past = |each: fn(u32) -> u32| {
        let mut sum = 0;
        let samples = (0..360_u32).map(|i| {
            sum += each(i);
            (i64::from(i) * 10_000 - 3_599_000, sum.to_string())
        });
        let samples: Vec<_> = samples.collect();
        let good = (0..360_u32).map(|i| (i64::from(i) * 10_000 - 3_599_000, (i * 500).to_string())).collect();
        body(&[(traefik("stable", r#","code":"200""#), good), (traefik("stable", r#","code":"502""#), samples)])
    };
    let judged = |past: Reply| {
        let replies = [requests("canary", 5, 0, 20), beats(20), requests("stable", 45, 0, 20), past];
        read(&metric, &provider(1), &look, &replies)
    };
    let singles = judged(past(|_| 1));
    let past_of = |seen: &Seen| seen.past.unwrap();
    assert_eq!(past_of(&singles).bursts, Bursts::Known(1.0), "{singles:?}");
    let traffic = past_of(&singles).traffic.unwrap();
    assert!((traffic.rate - 50.0).abs() < 0.5 && (traffic.bad - 0.002).abs() < 1e-4, "{traffic:?}");
    let bursts = judged(past(|i| if i % 10 == 0 { 10 } else { 0 }));
    assert!(matches!(past_of(&bursts).bursts, Bursts::Known(phi) if phi > 5.0), "{bursts:?}");
    assert!(bursts.why.contains("blocks of 10 s and more are compared"), "{}", bursts.why);
    let untold = judged(Ok((422, br#"{"error":"too many samples"}"#.to_vec())));
    assert_eq!((untold.past, untold.usable), (Some(Past::default()), true), "judged all the same: {untold:?}");
    assert!(untold.why.contains("stable's past is not known"), "{}", untold.why);
    assert_eq!(judged(body(&[])).past, Some(Past { bursts: Bursts::Unknown(0), traffic: None }));
}

#[test]
fn while_there_is_no_canary_the_past_alone_is_asked_for_and_of_comparisons_of_errors_alone() {
    let rest = |since: i64| Subject { canary: ArmNames::default(), evidence_since: at(since * 1_000), ..subject_at(0) };
    let metric = preset("app/error-rate");
    let asked = |since| ask_past(&metric, &provider(1), &rest(since));
    let ask = asked(-7_200).unwrap();
    assert_eq!(ask.path, "/api/v1/query_range");
    let probes = "/(health|healthz|health_generate|livez|readyz|ping|metrics)([/?].*)?";
    let query = format!(
        r#"http_requests_total{{handler!~"{probes}",namespace="demo",path!~"{probes}",pod=~"app-6d5b-[a-z0-9]{{5}}",route!~"{probes}"}}"#
    );
    assert_eq!(ask.fields()[0].1, query);
    let times = |ask: &Ask| ask.fields()[2..].iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
    assert_eq!(times(&ask), ["1795243199.500", "1795246799.500", "10.000"], "the last hour, as far as it has arrived");
    assert_eq!(times(&asked(-1_200).unwrap())[0], "1795245600.500", "no longer than it was alone");
    assert_eq!(asked(0), None);
    let alone = Metric {
        compare: Some(Compare::None),
        limit: Some(Limit { max: Some("1%".into()), ..Limit::default() }),
        ..metric.clone()
    };
    let pods: ProviderSpec = serde_json::from_value(serde_json::json!({"pods": {"port": 8080}})).unwrap();
    assert!(metric.has_past() && !alone.has_past() && !preset("app/latency").has_past());
    for (metric, provider) in [
        (&alone, &provider(1)),
        (&preset("app/latency"), &provider(1)),
        (&named("none"), &provider(1)),
        (&metric, &pods),
    ] {
        assert_eq!(ask_past(metric, provider, &rest(-7_200)), None, "{metric:?}");
    }
    // Of fifty requests a second one in five hundred goes wrong.
    let counter = |code: &str, each: u32| {
        let labels = format!(r#"{{"job":"pods","instance":"i","pod":"app-6d5b-x2k9p","code":"{code}"}}"#);
        let samples = (0..360_u32).map(|i| (i64::from(i) * 10_000 - 3_600_000, (i * each).to_string()));
        (labels, samples.collect::<Vec<_>>())
    };
    let told = |reply: &Reply| read_past(&metric, &provider(1), &rest(-7_200), reply);
    let traffic = told(&body(&[counter("200", 499), counter("503", 1)])).unwrap().traffic.unwrap();
    assert!((traffic.rate - 50.0).abs() < 0.5 && (traffic.bad - 0.002).abs() < 1e-4, "{traffic:?}");
    assert_eq!(told(&Err(NoReply::Unreachable("too slow".into()))), None);
    assert_eq!(told(&Ok((400, b"{}".to_vec()))), Some(Past::default()));
}

/// Counters of scores with these means: ten scores of the canary and forty of stable each second.
fn scored(canary: f64, stable: f64, seconds: u32) -> Seen {
    scored_without(canary, stable, seconds, &[], 0)
}

/// The same without some of the counters, which are count, sum and sum of squares of the canary, and then of stable; and with
/// sums that are so many seconds ahead from the second second on.
fn scored_without(canary: f64, stable: f64, seconds: u32, missing: &[usize], ahead: u32) -> Seen {
    let counters = |n: f64, mean: f64| {
        [(1.0, 0), (mean, ahead), (mean * mean + 0.02, 0)].map(|(each, ahead)| {
            let value = |i: u32| f64::from(if i > 1 { i + ahead } else { i }) * n * each;
            let samples = (0..=seconds).map(|i| (i64::from(i) * 1_000 + 200, value(i).to_string()));
            body(&[(r#"{"job":"evals","instance":"10.244.0.9:9100"}"#.into(), samples.collect())])
        })
    };
    let mut counters: Vec<_> = counters(10.0, canary).into_iter().chain(counters(40.0, stable)).collect();
    for at in missing {
        counters[*at] = body(&[]);
    }
    let selector = |name: &str| format!(r#"{name}{{arm="$arm",suite="math"}}"#);
    let scores = serde_json::json!({
        "count": selector("eval_score_count"), "sum": selector("eval_score_sum"), "sumOfSquares": selector("eval_score_sumsq"),
    });
    let metric = Metric { scores: Some(serde_json::from_value(scores).unwrap()), ..named("quality") };
    assert_eq!(check(&metric), Ok(()));
    let subject = subject_at(i64::from(seconds));
    let asked = asks(&metric, &provider(1), &subject);
    assert_eq!(asked.len(), counters.len());
    assert!(
        asked[0].fields()[0]
            .1
            .starts_with(r#"eval_score_count{namespace="demo",pod=~"app-7c9f-[a-z0-9]{5}",suite="math"}["#),
        "{asked:?}"
    );
    read(&metric, &provider(1), &subject, &counters)
}

#[test]
fn a_counter_of_scores_that_nobody_has_is_said_and_one_that_only_the_canary_lacks_is_0() {
    for (missing, field) in [([1, 4], "scores.sum: "), ([2, 5], "scores.sumOfSquares: ")] {
        let seen = scored_without(0.3, 0.8, 120, &missing, 0);
        assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Unusable), "{}", seen.why);
        assert!(
            seen.why.starts_with(field) && seen.why.ends_with("of either, though both have scores"),
            "{}",
            seen.why
        );
    }
    assert_eq!(scored_without(0.0, 0.8, 120, &[1], 0).verdict, Verdict::Fail);
}

#[test]
fn a_drop_of_the_mean_score_fails_and_a_small_one_passes() {
    let bad = scored(0.7, 0.8, 120);
    assert_eq!((bad.verdict, bad.usable), (Verdict::Fail, true), "{}", bad.why);
    assert_eq!(bad.canary.as_deref(), Some("0.7 in 1,090 scores"));
    assert!(
        bad.why.starts_with("the canary's mean score is worse than stable's by more than 0.02; chance"),
        "{}",
        bad.why
    );
    let good = scored(0.79, 0.8, 300);
    assert_eq!(good.verdict, Verdict::Pass, "{}", good.why);
    let soon = scored(0.7, 0.8, 15);
    assert_eq!(soon.verdict, Verdict::Continue, "{}", soon.why);
    let expected = "; one as good as stable passes after about 23 s at this pace, and 14 s are over";
    assert!(soon.why.ends_with(expected), "{}", soon.why);
}

#[test]
fn a_page_that_was_read_between_two_counters_keeps_nothing_from_being_judged() {
    let seen = scored_without(1.0, 1.0, 300, &[], 1);
    assert_eq!((seen.verdict, seen.outcome), (Verdict::Pass, Outcome::Measured), "{}", seen.why);
}

#[test]
fn scores_that_are_no_scores_are_not_judged() {
    let seen = scored(1.4, 0.8, 120);
    assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Unusable));
    assert!(seen.why.contains("more than scores.max: 1"), "{}", seen.why);
}
