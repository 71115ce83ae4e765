//! Native histograms, as a Prometheus 3 with a target of both kinds has answered; and ratios of counters.
use super::*;

/// Some seconds of a canary with 40 requests a second of 45 ms in the mean, and of stable with 160 of 20 ms.
fn recorded(until: i64) -> Subject {
    let moment = |millis| Timestamp::from_millisecond(millis).unwrap();
    Subject { evidence_since: moment(1_795_832_825_000), now: moment(until), ..subject() }
}

const NOW: i64 = 1_795_832_835_300;

fn limited(name: &str, max: &str, quantile: f64) -> Metric {
    Metric {
        limit: Some(Limit { max: Some(max.into()), min: None, quantile: Some(quantile) }),
        compare: Some(Compare::None),
        interval: Duration::seconds(4),
        ..preset(name)
    }
}

#[test]
fn latency_is_compared_at_edges_of_native_histograms() {
    let replies = recorded!["native-canary", "native-canary-up", "native-stable", "native-stable-up"];
    let metric = preset("app/latency");
    let asked = asks(&metric, &provider(1), &recorded(NOW));
    assert_eq!(asked.len(), replies.len());
    let probes = "/(health|healthz|health_generate|livez|readyz|ping|metrics)([/?].*)?";
    let name = format!(
        r#"{{__name__=~"http_request_duration_seconds_bucket|http_request_duration_seconds",handler!~"{probes}",namespace="demo""#
    );
    assert!(asked[0].fields()[0].1.starts_with(&name), "{}", asked[0].fields()[0].1);
    let seen = read(&metric, &provider(1), &recorded(NOW), &replies);
    // Without an hour of stable's past four blocks of time are no proof, however much they say.
    assert_eq!((seen.verdict, seen.usable), (Verdict::Continue, true), "{seen:?}");
    // What the last interval says must stand in the next one.
    assert!(seen.evidence.is_some_and(|evidence| evidence > 2.3), "{seen:?}");
    assert!(
        seen.why.starts_with("148 of 215 requests slower than 44.194 ms fell on 20 % of the traffic"),
        "{}",
        seen.why
    );
    assert!(seen.why.contains("one as good as stable passes after about "), "{}", seen.why);
    // Of the requests between the samples of 1795832824.573 (508) and 1795832833.573 (868) those in the closed intervals.
    assert_eq!(seen.samples, 316, "{seen:?}");
}

#[test]
fn a_latency_that_can_fail_and_never_pass_says_so() {
    let replies = recorded!["native-canary", "native-canary-up", "native-stable", "native-stable-up"];
    let moment = Timestamp::from_millisecond(1_795_832_820_500).unwrap();
    let unknown_past = Subject { evidence_since: moment, ..recorded(NOW) };
    let seen = read(&preset("app/latency"), &provider(1), &unknown_past, &replies);
    assert_eq!(seen.verdict, Verdict::Continue, "{seen:?}");
    assert!(
        seen.why.contains("it cannot pass, for in the 10 minutes before stable had fewer than 200"),
        "{}",
        seen.why
    );
}

#[test]
fn a_limit_is_on_an_edge_of_the_grid_or_the_nearest_ones_are_listed() {
    let replies = recorded!["native-canary", "native-canary-up"];
    let read =
        |max: &str, quantile| read(&limited("app/latency", max, quantile), &provider(1), &recorded(NOW), &replies);
    // Both 2^-3 seconds and 2^(-28/8), which is 88.388 ms and can only be written as 88 ms.
    for max in ["125ms", "88ms"] {
        let kept = read(max, 0.5);
        assert_eq!((kept.verdict, kept.failures), (Verdict::Pass, 0), "{max}: {kept:?}");
    }
    let broken = read("16ms", 0.5);
    assert_eq!((broken.verdict, broken.failures), (Verdict::Fail, 2), "{broken:?}");
    assert!(broken.why.contains("more than 50 % slower than 15.625 ms"), "{}", broken.why);
    let between = read("100ms", 0.9);
    assert_eq!((between.verdict, between.outcome), (Verdict::Unknown, Outcome::Unusable), "{between:?}");
    let words = between.invalid.unwrap();
    let wanted = "limit.max: 100 ms is no edge of the native histogram http_request_duration_seconds; the nearest are 96 ms, 105 ms";
    assert_eq!(words, wanted);
}

#[test]
fn custom_buckets_are_read_at_the_edges_that_were_seen() {
    let replies = recorded!["custom-canary", "native-canary-up", "custom-stable", "native-stable-up"];
    let seen = read(&preset("opentelemetry-rpc/latency"), &provider(1), &recorded(NOW), &replies);
    assert_eq!((seen.verdict, seen.usable), (Verdict::Continue, true), "{seen:?}");
    // What the last interval says must stand in the next one.
    assert!(seen.evidence.is_some_and(|evidence| evidence > 2.3), "{seen:?}");
    assert_eq!(seen.samples, 316);
    let read = |max: &str| {
        let metric = limited("opentelemetry-rpc/latency", max, 0.9);
        read(&metric, &provider(1), &recorded(NOW), &replies[..2])
    };
    assert_eq!(read("100ms").verdict, Verdict::Pass);
    assert_eq!(read("25ms").verdict, Verdict::Fail);
    assert_eq!(read("800ms").verdict, Verdict::Pass, "no bucket around it has anything in it");
    let words = read("75ms").invalid.unwrap();
    assert!(
        words.contains("75 ms is no edge") && words.contains("choose one of 10 ms, 25 ms, 50 ms, 100 ms"),
        "{words}"
    );
}

#[test]
fn errors_are_counted_where_only_a_native_histogram_has_them() {
    let replies = recorded!["custom-canary", "native-canary-up", "custom-stable", "native-stable-up"];
    let metric = preset("opentelemetry-rpc/error-rate");
    let query = asks(&metric, &provider(1), &recorded(NOW))[0].fields()[0].1.clone();
    assert!(
        query.starts_with(r#"{__name__=~"rpc_server_call_duration_seconds_count|rpc_server_call_duration_seconds""#)
    );
    let seen = read(&metric, &provider(1), &recorded(NOW), &replies);
    assert_eq!(seen.canary.as_deref(), Some("0 % of 316"), "{seen:?}");
}

#[test]
fn a_histogram_in_both_forms_counts_once() {
    let native = include_str!("../fixtures/custom-canary.json");
    let mut both = serde_json::from_str::<serde_json::Value>(native).unwrap();
    let series = both["data"]["result"][0].clone();
    let plain: Vec<_> =
        series["histograms"].as_array().unwrap().iter().map(|it| serde_json::json!([it[0], it[1]["count"]])).collect();
    let mut labels = series["metric"].clone();
    labels["__name__"] = "rpc_server_call_duration_seconds_count".into();
    both["data"]["result"].as_array_mut().unwrap().push(serde_json::json!({"metric": labels, "values": plain}));
    let mut replies = recorded!["custom-canary", "native-canary-up", "custom-stable", "native-stable-up"];
    replies[0] = Ok((200, both.to_string().into_bytes()));
    let seen = read(&preset("opentelemetry-rpc/error-rate"), &provider(1), &recorded(NOW), &replies);
    assert_eq!(seen.canary.as_deref(), Some("0 % of 316"), "{seen:?}");
}

/// So many tokens and seconds of the canary each second, and of stable, under a rule.
fn tokens(rule: &serde_json::Value, canary: (u32, u32), stable: (u32, u32)) -> Seen {
    let mut metric = serde_json::json!({"name": "m", "preset": "vllm/mean-tokens-per-second"});
    metric.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    let metric: Metric = serde_json::from_value(metric).unwrap();
    assert_eq!(check(&metric), Ok(()));
    let arm = |name: &str, (tokens, seconds): (u32, u32)| {
        let of = |series: &str| format!(r#","__name__":"{series}""#);
        body(&[
            pod(name, &of("vllm:request_generation_tokens_sum"), growing(70, tokens, 60)),
            pod(name, &of("vllm:request_decode_time_seconds_sum"), growing(9, seconds, 60)),
        ])
    };
    let up = |name: &str| body(&[pod(name, "", growing(1, 0, 60))]);
    let (ours, theirs) = ("app-7c9f-x2k9p", "app-6d5b-m8v4q");
    let asked = asks(&metric, &provider(1), &subject_at(60));
    let all = [arm(ours, canary), up(ours), arm(theirs, stable), up(theirs)];
    read(&metric, &provider(1), &subject_at(60), &all[..asked.len()])
}

#[test]
fn a_ratio_is_held_against_its_limit_and_its_conditions_and_not_compared() {
    let limit = serde_json::json!({"limit": {"min": "50"}});
    let good = tokens(&limit, (120, 2), (500, 8));
    assert_eq!((good.verdict, good.usable, good.evidence), (Verdict::Pass, true, None), "{good:?}");
    assert_eq!((good.canary.as_deref(), good.stable), (Some("60"), None));
    let slow = tokens(&limit, (80, 2), (500, 8));
    assert_eq!(slow.verdict, Verdict::Fail, "{slow:?}");
    assert_eq!(slow.why, "6 of 6 intervals failed, the last with 40: wanted is at least 50; failureLimit is 0");
    let when = serde_json::json!({"when": {"fail": "canary < 0.8 * stable"}});
    let behind = tokens(&when, (80, 2), (500, 8));
    assert_eq!((behind.verdict, behind.stable.as_deref()), (Verdict::Fail, Some("62.5")), "{behind:?}");
    assert_eq!(tokens(&when, (120, 2), (500, 8)).verdict, Verdict::Pass);
    let idle = tokens(&limit, (0, 0), (500, 8));
    assert_eq!((idle.verdict, idle.no_requests, idle.usable), (Verdict::Unknown, true, false), "{idle:?}");
    // Without tokens there is still a quotient.
    let limited = Metric {
        limit: Some(Limit { max: Some("50".into()), ..Limit::default() }),
        ..preset("vllm/mean-tokens-per-second")
    };
    let seconds = pod("app-7c9f-x2k9p", r#","__name__":"vllm:request_decode_time_seconds_sum""#, growing(9, 2, 60));
    let up = body(&[pod("app-7c9f-x2k9p", "", growing(1, 0, 60))]);
    let blind = read(&limited, &provider(1), &subject_at(60), &[body(&[seconds]), up]);
    let said =
        "all 6 intervals were at most 50; nobody counts vllm:request_generation_tokens_sum, which is taken for 0";
    assert_eq!((blind.canary.as_deref(), blind.why.as_str()), (Some("0"), said), "{blind:?}");
    assert!(!good.why.contains("nobody counts"), "{}", good.why);
    for rule in [serde_json::json!({}), serde_json::json!({"compare": "Stable", "limit": {"max": "1"}})] {
        let mut metric = rule;
        (metric["name"], metric["preset"]) = ("m".into(), "litellm/mean-cost-per-1000-tokens".into());
        assert!(check(&serde_json::from_value(metric).unwrap()).is_err());
    }
}

#[test]
fn a_metric_is_finished_after_as_many_intervals_as_it_says() {
    let rule = serde_json::json!({"limit": {"min": "50"}, "count": 2});
    let seen = tokens(&rule, (120, 2), (500, 8));
    assert_eq!((seen.verdict, seen.samples, seen.usable), (Verdict::Pass, 2, true), "{seen:?}");
    assert_eq!(seen.why, "all 2 intervals were at least 50; it is finished, for count is 2");
    let more = serde_json::json!({"limit": {"min": "50"}, "count": 9});
    assert_eq!(tokens(&more, (120, 2), (500, 8)).verdict, Verdict::Continue);
}
