//! A web endpoint that is asked and answers, look after look.
use super::{
    super::{asks, check, check_provider, fits, read, tests::*},
    *,
};
use crate::{
    metrics::ProviderSpec,
    vocab::Verdict,
};
use proptest::prelude::*;
use serde_json::json;

fn endpoint(more: Value) -> ProviderSpec {
    let mut web = json!({"url": "https://scores.example.com/v1/"});
    let Value::Object(more) = more else { panic!("{more}") };
    web.as_object_mut().unwrap().extend(more);
    serde_json::from_value(json!({"web": web})).unwrap()
}

fn metric(more: Value) -> Metric {
    let mut metric = json!({
        "name": "quality", "limit": {"min": "0.8"},
        "web": {"path": "/score?of={replicaSet}&hash={podTemplateHash}&since={since}&at={now}", "result": "/data/score"},
    });
    let Value::Object(more) = more else { panic!("{more}") };
    metric.as_object_mut().unwrap().extend(more);
    let metric = serde_json::from_value(metric).unwrap();
    assert_eq!(check(&metric), Ok(()));
    metric
}

#[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
fn score(score: impl Into<Value>) -> Reply {
    Ok((200, json!({"data": {"score": score.into()}}).to_string().into_bytes()))
}

/// Looks at these seconds, each with these replies to what it asks, as a running operator makes them.
fn story(metric: &Metric, looks: &[(i64, &[Reply])]) -> Seen {
    let (provider, mut points, mut seen) = (endpoint(json!({})), None, None);
    for (second, replies) in looks {
        let subject = Subject { points: points.clone(), delay: metric.initial_delay, ..subject_at(*second) };
        assert_eq!(asks(metric, &provider, &subject).len(), replies.len(), "at {second} s");
        let look = read(metric, &provider, &subject, replies);
        points = look.points.clone().or(points);
        seen = Some(look);
    }
    seen.unwrap()
}

#[test]
fn the_canary_is_asked_for_by_its_names() {
    let asked = asks(&metric(json!({})), &endpoint(json!({})), &subject_at(60));
    let [ask] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(ask.path, "/score?of=app-7c9f&hash=7c9f&since=1795246800&at=1795246860");
    assert_eq!(ask.how, How::Get);
    assert_eq!(ask.headers, [("Accept".into(), "application/json".into())]);
    let provider = endpoint(json!({}));
    assert_eq!(super::super::reach(&provider).unwrap().target(ask), format!("https://scores.example.com/v1{}", ask.path));
}

#[test]
fn stable_is_asked_for_where_a_condition_names_it() {
    let provider = endpoint(json!({
        "method": "POST", "body": r#"{"q":"{ score }","of":"{service}","since":{since}}"#,
        "headers": [{"name": "accept", "value": "text/json"}, {"name": "X-Team", "value": "shop"}],
    }));
    assert_eq!(check_provider(&provider), Ok(()));
    let metric = metric(json!({"when": {"fail": "canary < 0.9 * stable"}, "web": {"path": "/score"}, "limit": null}));
    let asked = asks(&metric, &provider, &subject_at(60));
    let bodies: Vec<_> = asked.iter().map(|ask| &ask.how).collect();
    let body = |of| How::Post(Some(format!(r#"{{"q":"{{ score }}","of":"{of}","since":1795246800}}"#)));
    assert_eq!(bodies, [&body("app-canary"), &body("app-stable")]);
    assert_eq!(asked[0].headers, [("accept".into(), "text/json".into()), ("X-Team".into(), "shop".into())]);
}

#[test]
fn a_number_is_held_against_its_limit() {
    let good = story(&metric(json!({})), &[(60, &[score(0.93)])]);
    assert_eq!((good.verdict, good.outcome, good.usable), (Verdict::Pass, Outcome::Measured, true), "{good:?}");
    assert_eq!((good.canary.as_deref(), good.stable, good.samples), (Some("0.93"), None, 1));
    assert_eq!(good.why, "the one look so far was at least 0.8");
    let bad = story(&metric(json!({})), &[(60, &[score(0.7)])]);
    assert_eq!((bad.verdict, bad.failures), (Verdict::Fail, 1));
    assert_eq!(bad.why, "1 of 1 looks failed, with 0.7: wanted is at least 0.8; failureLimit is 0");
}

#[test]
fn numbers_texts_and_truths_are_numbers() {
    for (found, shown) in [
        (json!(0.9), "0.9"),
        (json!(17), "17"),
        (json!("0.875"), "0.875"),
        (json!(" 1e2 "), "100"),
        (json!(true), "1"),
    ] {
        let seen = story(&metric(json!({})), &[(60, &[score(found.clone())])]);
        assert_eq!((seen.verdict, seen.canary.as_deref()), (Verdict::Pass, Some(shown)), "{found}");
    }
    assert_eq!(story(&metric(json!({})), &[(60, &[score(false)])]).verdict, Verdict::Fail);
    let whole = metric(json!({"web": {"path": "/"}}));
    assert_eq!(story(&whole, &[(60, &[Ok((201, b"0.9\n".to_vec()))])]).verdict, Verdict::Pass);
    let listed = metric(json!({"web": {"path": "/", "result": "/0/a~1b"}}));
    assert_eq!(story(&listed, &[(60, &[Ok((200, br#"[{"a/b":0.9}]"#.to_vec()))])]).verdict, Verdict::Pass);
}

#[test]
fn anything_else_is_unusable_and_said_without_being_shown() {
    let why = |reply: Reply| {
        let seen = story(&metric(json!({})), &[(60, &[reply])]);
        assert_eq!((seen.verdict, seen.outcome, seen.usable), (Verdict::Unknown, Outcome::Unusable, false));
        assert_eq!((seen.points, seen.canary), (None, None));
        assert!(!seen.why.contains("hidden"), "{}", seen.why);
        seen.why
    };
    let body = |text: &str| Ok((200, text.as_bytes().to_vec()));
    for (reply, said) in [
        (score("hidden"), "/data/score in the answer is a text of 6 characters, which is no number"),
        (score("inf"), "/data/score in the answer is a text of 3 characters, which is no number"),
        (score("NaN"), "/data/score in the answer is a text of 3 characters, which is no number"),
        (score(Value::Null), "/data/score in the answer is null, which is no number"),
        (score(json!([1, 2])), "/data/score in the answer is a list of 2, which is no number"),
        (score(json!({"hidden": 1})), "/data/score in the answer is an object with 1 members, which is no number"),
        (body(r#"{"data":["hidden"]}"#), "there is no /data/score in the answer: /data is a list of 1"),
        (body(r#"{"hidden":1}"#), "there is no /data/score in the answer: the whole is an object with 1 members"),
        (body("<html>hidden"), "the answer is no JSON at line 1, column 1"),
        (body(r#"{"data":{"score":1e999}}"#), "the answer is no JSON at line 1, column "),
        (body(""), "the answer is no JSON at line 1, column 0"),
        (
            Ok((302, b"hidden".to_vec())),
            "the endpoint answered HTTP 302: redirects are not followed; write the address that it leads to into the provider's web.url",
        ),
        (
            Ok((403, b"hidden".to_vec())),
            "the endpoint answered HTTP 403: it refuses our credentials; correct what the provider's web.auth or web.hmac names",
        ),
        (Ok((404, vec![])), "the endpoint answered HTTP 404: correct web.path, or the provider's web.url"),
        (Ok((400, b"hidden".to_vec())), "the endpoint answered HTTP 400"),
    ] {
        let why = why(reply);
        assert!(why.starts_with(&format!("of the canary: {said}")), "{why}");
    }
}

#[test]
fn an_endpoint_that_does_not_answer_is_no_failure() {
    let silent: Reply = Err(NoReply::Unreachable("no connection could be made".into()));
    for reply in [silent, Ok((500, vec![])), Ok((503, vec![])), Ok((429, vec![])), Ok((408, vec![]))] {
        let seen = story(&metric(json!({})), &[(60, std::slice::from_ref(&reply))]);
        assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Unreachable), "{reply:?}");
        let between = story(
            &metric(json!({"failureLimit": 1})),
            &[(60, &[score(0.1)]), (70, std::slice::from_ref(&reply)), (80, &[score(0.9)])],
        );
        assert_eq!((between.verdict, between.failures, between.samples), (Verdict::Pass, 1, 2), "{reply:?}");
    }
}

#[test]
fn an_answer_that_is_too_long_is_said_and_is_no_failure() {
    let seen = story(&metric(json!({})), &[(60, &[Err(NoReply::TooLong(1 << 20))])]);
    assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Unusable));
    assert_eq!(seen.why, "of the canary: the answer is longer than 1 MiB: let web.path lead to a shorter one");
}

#[test]
fn looks_are_counted_as_a_query_counts_intervals() {
    let good = || score(0.9);
    let bad = || score(0.1);
    let forgiving = metric(json!({"failureLimit": 1}));
    let twice = story(&forgiving, &[(60, &[bad()]), (70, &[good()]), (80, &[bad()])]);
    assert_eq!((twice.verdict, twice.failures, twice.samples), (Verdict::Fail, 2, 3));
    assert_eq!(twice.why, "2 of 3 looks failed, the last with 0.1: wanted is at least 0.8; failureLimit is 1");
    assert_eq!(story(&forgiving, &[(60, &[bad()]), (70, &[good()])]).verdict, Verdict::Pass);
    let row = metric(json!({"failureLimit": 9, "consecutiveFailures": 2}));
    assert_eq!(story(&row, &[(60, &[bad()]), (70, &[good()]), (80, &[bad()])]).verdict, Verdict::Pass);
    assert_eq!(story(&row, &[(60, &[bad()]), (70, &[bad()])]).verdict, Verdict::Fail);
    let several = metric(json!({"count": 3}));
    assert_eq!(story(&several, &[(60, &[good()]), (70, &[good()])]).verdict, Verdict::Continue);
    assert_eq!(story(&several, &[(60, &[good()]), (70, &[good()]), (80, &[good()])]).verdict, Verdict::Pass);
}

#[test]
fn between_two_looks_nothing_is_asked_and_the_last_one_stands() {
    let metric = metric(json!({"interval": "30s"}));
    let soon = story(&metric, &[(60, &[score(0.9)]), (62, &[]), (89, &[])]);
    assert_eq!((soon.verdict, soon.usable, soon.samples), (Verdict::Pass, true, 1));
    assert_eq!(soon.canary.as_deref(), Some("0.9"));
    assert_eq!(story(&metric, &[(60, &[score(0.9)]), (90, &[score(0.95)])]).samples, 2);
}

#[test]
fn a_restarted_operator_counts_anew() {
    let metric = metric(json!({"failureLimit": 1}));
    let before = story(&metric, &[(60, &[score(0.1)])]);
    assert_eq!(before.points.unwrap().all().len(), 1);
    let after = story(&metric, &[(70, &[score(0.1)])]);
    assert_eq!((after.verdict, after.failures), (Verdict::Pass, 1));
}

#[test]
fn looks_at_another_question_do_not_count() {
    let first = story(&metric(json!({})), &[(60, &[score(0.1)])]);
    let other = metric(json!({"web": {"path": "/score", "result": "/data/score"}}));
    let subject = Subject { points: first.points, ..subject_at(62) };
    assert_eq!(asks(&other, &endpoint(json!({})), &subject).len(), 1, "though the interval is not over");
    let seen = read(&other, &endpoint(json!({})), &subject, &[score(0.9)]);
    assert_eq!((seen.verdict, seen.samples), (Verdict::Pass, 1));
    let moved = endpoint(json!({"url": "https://other.example.com"}));
    assert_eq!(read(&metric(json!({})), &moved, &subject, &[score(0.9)]).samples, 1);
}

#[test]
fn evidence_begins_when_the_metric_says() {
    let late = metric(json!({"initialDelay": "1m"}));
    let seen = story(&late, &[(59, &[])]);
    assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Empty));
    let subject = Subject { delay: late.initial_delay, ..subject_at(61) };
    let asked = asks(&late, &endpoint(json!({})), &subject);
    assert!(asked[0].path.ends_with("&since=1795246860&at=1795246861"), "{asked:?}");
}

#[test]
fn conditions_hold_the_canary_against_stable() {
    let metric = metric(json!({"limit": null, "when": {"fail": "canary < 0.9 * stable", "pass": "canary >= stable"}}));
    let failed = story(&metric, &[(60, &[score(0.7), score(0.8)])]);
    assert_eq!((failed.verdict, failed.failures), (Verdict::Fail, 1));
    assert_eq!((failed.canary.as_deref(), failed.stable.as_deref()), (Some("0.7"), Some("0.8")));
    assert_eq!(failed.why, "1 of 1 looks failed, with 0.7 against stable's 0.8: wanted is not canary < 0.9 * stable; failureLimit is 0");
    assert_eq!(story(&metric, &[(60, &[score(0.8), score(0.8)])]).verdict, Verdict::Pass);
    let open = story(&metric, &[(60, &[score(0.75), score(0.8)])]);
    assert_eq!((open.verdict, open.usable), (Verdict::Continue, true), "{open:?}");
    let missing = story(&metric, &[(60, &[score(0.7), score(Value::Null)])]);
    assert_eq!((missing.verdict, missing.outcome), (Verdict::Unknown, Outcome::Unusable));
    assert!(missing.why.starts_with("of stable: "), "{}", missing.why);
}

#[test]
fn metrics_that_cannot_be_carried_out_are_refused_with_the_cure() {
    let words = |json: Value| check(&serde_json::from_value(json).unwrap()).unwrap_err().to_string();
    let limit = json!({"min": "0.8"});
    for (json, cure) in [
        (json!({"web": {"path": "/"}}), "limit: without a comparison there must be one"),
        (json!({"web": {"path": "score"}, "limit": limit}), "web.path: write a path"),
        (json!({"web": {"path": "/{pod}"}, "limit": limit}), "web.path: there is no {pod}; there are {namespace}, "),
        (json!({"web": {"path": "/../x"}, "limit": limit}), "web.path: leads out of the provider's URL"),
        (
            json!({"web": {"path": "/", "result": "$.data.score"}, "limit": limit}),
            "web.result: write a JSON pointer, like /data/score for $.data.score",
        ),
        (json!({"web": {"path": "/", "result": "/a~b"}, "limit": limit}), "web.result: write ~0 for ~"),
        (json!({"web": {"path": "/"}, "limit": limit, "query": "up"}), "preset, query, scores, web, job: a metric has exactly"),
        (json!({"web": {"path": "/"}, "limit": limit, "compare": "Stable"}), "compare: only for a preset"),
        (json!({"web": {"path": "/"}, "limit": limit, "arm": "Pod"}), "arm: only for a query; leave it out"),
        (json!({"web": {"path": "/"}, "limit": limit, "shared": ["x"]}), "shared: only for a query; leave it out"),
        (json!({"web": {"path": "/"}, "limit": {"max": "1", "quantile": 0.9}}), "limit.quantile: only for a latency"),
    ] {
        let mut json = json;
        json["name"] = "m".into();
        let words = words(json);
        assert!(words.starts_with(cure), "{words}");
    }
    let of_pods = |path: &str| metric(json!({"web": {"path": path}})).is_of_pods();
    assert!(of_pods("/{replicaSet}") && !of_pods("/{service}"));
}

#[test]
fn endpoints_that_cannot_be_asked_are_refused_with_the_cure() {
    for (more, cure) in [
        (json!({"url": "ftp://x"}), "web.url: write http:// or https://"),
        (json!({"url": "https://x/?a=1"}), "web.url: leave out the ?"),
        (json!({"url": "https://x/a/../b"}), "web.url: leads out"),
        (json!({"url": "https://x/'a'"}), "web.url: write %27 for '"),
        (json!({"url": "https://me:pw@x"}), "web.url: credentials go into a Secret"),
        (json!({"auth": {}}), "web.auth: write exactly one"),
        (json!({"timeout": "31s"}), "web.timeout: write more than 0s"),
        (json!({"body": "{}"}), "web.body: goes with method: POST"),
        (json!({"method": "POST", "body": "{"}), "web.body: is no JSON"),
        (json!({"method": "POST", "body": r#"["{arm}"]"#}), "web.body: there is no {arm}; there are"),
        (json!({"headers": [{"name": "authorization", "value": "x"}]}), "web.headers: authorization goes into a Secret"),
        (json!({"headers": [{"name": "Host", "value": "x"}]}), "web.headers: Host is set by the operator"),
        (json!({"headers": [{"name": "Content-Type", "value": "x"}]}), "web.headers: Content-Type is set by the operator"),
        (json!({"headers": [{"name": "X-Bellwether-Timestamp", "value": "1"}]}), "web.headers: X-Bellwether-Timestamp is"),
        (json!({"headers": [{"name": "a b", "value": "x"}]}), "web.headers: \"a b\" is no name"),
        (json!({"headers": [{"name": "a", "value": "x\r\ny: z"}]}), "web.headers: the value of a has"),
        (json!({"headers": [{"name": "a", "value": ""}, {"name": "A", "value": ""}]}), "web.headers: A is there twice"),
    ] {
        let words = check_provider(&endpoint(more.clone())).unwrap_err().to_string();
        assert!(words.starts_with(cure), "{more}: {words}");
    }
    let both = ProviderSpec { prometheus: provider(1).prometheus, ..endpoint(json!({})) };
    assert!(check_provider(&both).unwrap_err().to_string().ends_with("exactly one source of: prometheus, web, pods"));
}

#[test]
fn a_metric_for_another_source_is_refused_with_the_cure() {
    let web = metric(json!({}));
    let words = |metric: &Metric, provider: &ProviderSpec| {
        let words = fits(metric, provider).unwrap_err().to_string();
        assert_eq!(asks(metric, provider, &subject()), []);
        assert_eq!(read(metric, provider, &subject(), &[]).invalid.as_deref(), Some(words.as_str()));
        words
    };
    assert!(words(&web, &provider(1)).starts_with("web: the provider is a Prometheus: write preset, query or scores"));
    let preset = words(&preset("app/latency"), &endpoint(json!({})));
    assert!(preset.starts_with("preset: the provider is a web endpoint: write web: {path: ...}"), "{preset}");
    let limit = Some(super::super::Limit { max: Some("1".into()), ..Default::default() });
    let query = Metric { query: Some("x{arm=\"$arm\"}".into()), limit, ..named("q") };
    assert!(words(&query, &endpoint(json!({}))).starts_with("query: the provider is a web endpoint"));
    let blind = metric(json!({"web": {"path": "/{namespace}"}, "when": {"fail": "canary < stable"}}));
    assert!(words(&blind, &endpoint(json!({}))).starts_with("web.path: asks the same of stable"));
}

#[test]
fn what_only_a_look_can_know_is_invalid() {
    let by_service = metric(json!({"web": {"path": "/{service}"}, "when": {"fail": "canary < stable"}}));
    let mut look = subject();
    look.stable.service = look.canary.service.clone();
    let same = read(&by_service, &endpoint(json!({})), &look, &[]).invalid.unwrap();
    assert!(same.starts_with("web.path: asks the same of stable"), "{same}");
    look.canary.service.clear();
    let none = read(&by_service, &endpoint(json!({})), &look, &[]).invalid.unwrap();
    assert_eq!(none, "web.path: without spec.traffic.services there is nothing that {service} could stand for");
}

#[test]
fn an_endpoint_is_written_as_it_was_read() {
    let json = json!({"web": {
        "url": "https://x", "method": "POST", "headers": [{"name": "a", "value": "b"}], "body": "{}", "timeout": "2s",
        "auth": {"bearer": {"secretRef": {"name": "s", "key": "k"}}}, "hmac": {"secretRef": {"name": "s", "key": "k"}}, "caBundle": "x",
    }});
    let read: ProviderSpec = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
    let least: ProviderSpec = serde_json::from_value(json!({"web": {"url": "https://x"}})).unwrap();
    let least = least.web.unwrap();
    assert_eq!((least.method, least.timeout), (Method::Get, reach::TIMEOUT));
}

proptest! {
    #[test]
    fn no_answer_panics(status: u16, body in proptest::collection::vec(any::<u8>(), 0..60), pointer in "(/[a-z0-9~]{0,3}){0,3}") {
        let _ = number(Some(&Ok((status, body))), &pointer);
    }

    #[test]
    fn a_number_is_read_as_it_is(value in any::<f64>().prop_filter("finite", |it| it.is_finite())) {
        for found in [json!(value), json!(value.to_string())] {
            let read = number(Some(&score(found)), "/data/score").unwrap();
            prop_assert!((read - value).abs() <= value.abs() * 1e-12, "{} for {}", read, value);
        }
    }

    #[test]
    fn no_times_panic(since: i64, now: i64, delay in 0u64..100_000_000, interval in 1_000u64..3_600_000) {
        let moment = |millis: i64| Timestamp::from_millisecond(millis % 253_402_207_200_000).unwrap_or(Timestamp::UNIX_EPOCH);
        let metric = Metric { interval: Duration::millis(interval), ..metric(json!({})) };
        let subject = Subject { evidence_since: moment(since), now: moment(now), delay: Duration::millis(delay), ..subject() };
        let seen = read(&metric, &endpoint(json!({})), &subject, &[score(0.9)]);
        prop_assert_eq!(seen.usable, !asks(&metric, &endpoint(json!({})), &subject).is_empty());
    }
}
