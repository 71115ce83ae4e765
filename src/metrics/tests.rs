//! Tests of what the modules of this folder do together.
use super::*;
use crate::judge::Sensitivity;

macro_rules! recorded {
    ($($file:literal),+) => { [$(Ok((200, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics/fixtures/", $file, ".json")).to_vec()))),+] };
}

mod error_rates;
mod histograms;
mod replay;
mod replicas;
mod sources;
mod specs;

/// When the tests' evidence begins, in milliseconds since 1970.
pub(super) const START: i64 = 1_795_246_800_500;

pub(super) fn at(offset_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(START + offset_ms).unwrap()
}

/// A look so many seconds after the evidence began.
pub(super) fn subject_at(seconds: i64) -> Subject {
    Subject {
        namespace: "demo".into(),
        stable: ArmNames {
            replica_set: "app-6d5b".into(),
            pod_template_hash: "6d5b".into(),
            service: "app-stable".into(),
        },
        canary: ArmNames {
            replica_set: "app-7c9f".into(),
            pod_template_hash: "7c9f".into(),
            service: "app-canary".into(),
        },
        port: 80,
        margins: Sensitivity::Normal.margins(),
        bursts: None,
        past: Some(Past { bursts: Bursts::Known(1.0), traffic: None }),
        points: None,
        evidence_since: at(0),
        shared_since: None,
        delay: Duration::ZERO,
        now: at(seconds * 1_000),
    }
}

pub(super) fn subject() -> Subject {
    subject_at(60)
}

/// A Prometheus that scrapes every so many seconds.
pub(super) fn provider(scrape: u64) -> ProviderSpec {
    let url = "http://prometheus.monitoring".to_owned();
    let json = serde_json::json!({"prometheus": {"url": url, "scrapeInterval": format!("{scrape}s")}});
    serde_json::from_value(json).unwrap()
}

/// A metric with nothing but a name and defaults.
pub(super) fn named(name: &str) -> Metric {
    serde_json::from_value(serde_json::json!({"name": name})).unwrap()
}

pub(super) fn preset(name: &str) -> Metric {
    Metric { preset: Some(name.into()), ..named("m") }
}

/// An answer as Prometheus writes it: series with labels as JSON and samples at milliseconds after [`START`].
pub(super) fn matrix(series: &[(&str, Vec<(i64, &str)>)]) -> Vec<u8> {
    let series: Vec<_> = series
        .iter()
        .map(|(labels, samples)| {
            let values: Vec<_> = samples
                .iter()
                .map(|(offset, value)| {
                    let at = START + offset;
                    format!("[{}.{:03},{value:?}]", at / 1_000, at % 1_000)
                })
                .collect();
            format!(r#"{{"metric":{labels},"values":[{}]}}"#, values.join(","))
        })
        .collect();
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#, series.join(",")).into_bytes()
}

/// Labels of a series of Traefik for one arm's Service, as JSON.
fn traefik(arm: &str, more: &str) -> String {
    let service = format!("httproute-demo-demo-gw-traefik-traefik-ep-web-0-806fab2393777a48bd97-svc-demo-app-{arm}");
    format!(r#"{{"job":"pods","instance":"10.244.0.5:9100","service":"{service}@kubernetesgateway"{more}}}"#)
}

/// A counter at every second from one second before the evidence until a second; so many more each second.
fn growing(from: u32, each: u32, until: u32) -> Vec<(i64, String)> {
    (0..=until + 1).map(|i| (i64::from(i) * 1_000 - 1_000, (from + each * i).to_string())).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
fn body(series: &[(String, Vec<(i64, String)>)]) -> Reply {
    let series: Vec<_> = series
        .iter()
        .map(|(labels, samples)| (labels.as_str(), samples.iter().map(|(at, value)| (*at, value.as_str())).collect()))
        .collect();
    Ok((200, matrix(&series)))
}

fn beats(until: u32) -> Reply {
    body(&[(r#"{"job":"pods","instance":"10.244.0.5:9100"}"#.into(), growing(2, 0, until))])
}

/// Good and bad requests of an arm each second, as Traefik counts them.
fn requests(arm: &str, good: u32, bad: u32, until: u32) -> Reply {
    let code = |code: &str| traefik(arm, &format!(r#","code":"{code}""#));
    body(&[(code("200"), growing(100, good, until)), (code("502"), growing(7, bad, until))])
}

fn errors(canary: Reply, stable: Reply, seconds: u32) -> Seen {
    errors_of(&preset("traefik/error-rate"), canary, stable, seconds)
}

fn errors_of(metric: &Metric, canary: Reply, stable: Reply, seconds: u32) -> Seen {
    read(metric, &provider(1), &subject_at(i64::from(seconds)), &[canary, beats(seconds), stable])
}

/// A demonstration with a canary that answers one request in ten with 500, recorded from a real Traefik and Prometheus.
fn story(until: i64) -> Subject {
    let moment = |millis| Timestamp::from_millisecond(millis).unwrap();
    Subject { evidence_since: moment(1_795_246_587_500), now: moment(until), ..subject() }
}

#[test]
fn a_recorded_canary_with_errors_fails_within_seconds() {
    let replies = recorded!["traefik-canary", "traefik-beats", "traefik-stable"];
    let metric = preset("traefik/error-rate");
    assert_eq!(asks(&metric, &provider(1), &story(1_795_246_600_900)).len(), replies.len());
    let seen = read(&metric, &provider(1), &story(1_795_246_600_900), &replies);
    assert_eq!((seen.verdict, seen.outcome, seen.usable), (Verdict::Fail, Outcome::Measured, true), "{seen:?}");
    // From the sample of 1795246587.127 with 29 and 4 requests to that of 1795246599.127 with 242 and 32.
    assert_eq!(seen.samples, 241);
    assert_eq!(seen.canary.as_deref(), Some("12 % of 241"));
    assert_eq!(seen.stable.as_deref(), Some("0 % of 961"));
    assert!(
        seen.why.starts_with("28 of 28 errors fell on 20 % of the traffic; chance of a false alarm"),
        "{}",
        seen.why
    );
    assert!(seen.evidence.unwrap() > 20.0);
    assert_eq!((seen.history_from, seen.invalid), (None, None));
}

#[test]
fn a_recorded_canary_that_is_slower_fails_at_the_edge_between() {
    let replies = recorded!["latency-canary", "latency-beats", "latency-stable"];
    let seen = read(&preset("traefik/latency"), &provider(1), &story(1_795_246_600_900), &replies);
    assert_eq!(seen.verdict, Verdict::Fail, "{seen:?}");
    assert!(seen.canary.unwrap().ends_with("of 241 slower than 10 ms"));
    let limited = |max: &str, quantile| Metric {
        limit: Some(Limit { max: Some(max.into()), min: None, quantile: Some(quantile) }),
        compare: Some(Compare::None),
        ..preset("traefik/latency")
    };
    let read = |metric: &Metric| read(metric, &provider(1), &story(1_795_246_600_900), &replies[..2]);
    assert_eq!(
        asks(&limited("25ms", 0.9), &provider(1), &story(1_795_246_600_900)).len(),
        2,
        "stable is not asked for"
    );
    let kept = read(&limited("25ms", 0.9));
    assert_eq!((kept.verdict, kept.failures), (Verdict::Pass, 0), "{kept:?}");
    assert!(kept.why.starts_with("none of 1 intervals of 10s had more than 10 % slower than 25 ms"), "{}", kept.why);
    let broken = read(&limited("10ms", 0.9));
    assert_eq!((broken.verdict, broken.failures), (Verdict::Fail, 1), "{broken:?}");
    let between = read(&limited("20ms", 0.9));
    assert_eq!((between.verdict, between.outcome), (Verdict::Unknown, Outcome::Unusable));
    let words = between.invalid.unwrap();
    assert!(words.contains("20 ms is no edge") && words.contains("choose one of 5 ms, 10 ms, 25 ms, 50 ms"), "{words}");
}

#[test]
fn an_equal_canary_passes_and_a_bad_one_fails() {
    let equal = errors(requests("canary-1", 10, 0, 600), requests("stable-0", 90, 0, 600), 600);
    assert_eq!(equal.verdict, Verdict::Pass, "{equal:?}");
    let bad = errors(requests("canary-1", 9, 1, 20), requests("stable-0", 90, 0, 20), 20);
    assert_eq!(bad.verdict, Verdict::Fail, "{bad:?}");
    let early = errors(requests("canary-1", 10, 0, 10), requests("stable-0", 90, 0, 10), 10);
    assert_eq!((early.verdict, early.usable), (Verdict::Continue, true), "{early:?}");
}

#[test]
fn the_same_history_is_judged_the_same_whenever_it_is_read() {
    let at = |now: i64| {
        let mut subject = subject_at(now);
        subject.evidence_since = at(0);
        let replies = [requests("canary-1", 9, 1, 30), beats(30), requests("stable-0", 90, 0, 30)];
        read(&preset("traefik/error-rate"), &provider(1), &subject, &replies)
    };
    let (once, again) = (at(31), at(32));
    assert_eq!((once.samples, once.evidence), (300, again.evidence));
}

#[test]
fn a_series_of_errors_that_appears_late_counts_from_0() {
    let late = (traefik("canary-1", r#","code":"500""#), vec![(15_000, "30".into()), (16_000, "33".into())]);
    let good = (traefik("canary-1", r#","code":"200""#), growing(0, 10, 20));
    let seen = errors(body(&[good, late]), requests("stable-0", 90, 0, 20), 20);
    assert_eq!(seen.verdict, Verdict::Fail, "{seen:?}");
    assert!(seen.why.starts_with("33 of 33 errors"), "{}", seen.why);
}

#[test]
fn no_errors_at_all_are_0_and_not_no_data() {
    let good = body(&[(traefik("canary-1", r#","code":"200""#), growing(0, 10, 20))]);
    let seen = errors(good, requests("stable-0", 90, 0, 20), 20);
    assert_eq!((seen.outcome, seen.canary.as_deref()), (Outcome::Measured, Some("0 % of 200")), "{seen:?}");
}

/// Requests and errors of ten seconds each are known in which second, of a gateway with two replicas that are scraped every
/// five seconds, when this is the last scrape of the second one.
fn known(now: i64, last: i64, lag: &str) -> Option<String> {
    let lag: serde_json::Value =
        serde_json::json!({"prometheus": {"url": "http://p", "scrapeInterval": "5s", "lag": lag}});
    let scraped = |offset: i64, each: i64, last: i64| {
        let times = (-1..).map(move |i| 5_000 * i + offset).take_while(move |at| *at <= last * 1_000);
        times.zip((1..).map(move |i| (each * i).to_string())).collect::<Vec<_>>()
    };
    let both = |arm: Option<(&str, i64)>| {
        let series = |instance: &str, offset, last| {
            let (labels, each) = arm.map_or_else(
                || (r#""job":"pods""#.to_owned(), 0),
                |(arm, each)| (traefik(arm, r#","code":"200""#).replace("10.244.0.5:9100", instance), each),
            );
            let labels = if arm.is_some() { labels } else { format!(r#"{{{labels},"instance":"{instance}"}}"#) };
            (labels, scraped(offset, each, last))
        };
        body(&[series("one", 500, now), series("other", 3_000, last)])
    };
    let replies = [both(Some(("canary", 10))), both(None), both(Some(("stable", 90)))];
    let provider = serde_json::from_value(lag).unwrap();
    read(&preset("traefik/error-rate"), &provider, &subject_at(now), &replies).canary
}

#[test]
fn an_interval_is_judged_as_soon_as_every_replica_of_the_gateway_was_scraped_after_it() {
    // Of the scrapes at 0.5, 5.5, 10.5 and 3, 8, 13 the third of the first and the second of the second lie behind 5.
    assert_eq!(known(8, 8, "0s").as_deref(), Some("0 % of 20"));
    assert_eq!(known(13, 13, "0s").as_deref(), Some("0 % of 40"));
    // One whose scrape is late may still tell of that time, and one that is gone is waited for no longer than a scrape.
    assert_eq!(known(13, 8, "0s").as_deref(), Some("0 % of 20"));
    assert_eq!(known(29, 8, "0s").as_deref(), Some("0 % of 70"));
    // What is written remotely comes when it comes.
    assert_eq!(known(13, 13, "5s").as_deref(), Some("no request judged yet"));
}

#[test]
fn a_canary_without_requests_is_empty_and_says_so() {
    let seen = errors(body(&[]), requests("stable-0", 90, 0, 20), 20);
    assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Empty));
    assert!(seen.no_requests && !seen.usable);
}

#[test]
fn where_requests_arrive_is_counted_since_the_share_is_what_it_is_and_once_some_scrapes_have_told() {
    let seen = |canary: Reply, seconds: u32, since: i64| {
        let subject = Subject { shared_since: Some(at(since * 1_000)), ..subject_at(i64::from(seconds)) };
        let stable = requests("stable", 16, 0, seconds);
        read(&preset("traefik/error-rate"), &provider(1), &subject, &[canary, beats(seconds), stable]).arrived
    };
    let heeded = |seconds, since| seen(requests("canary", 3, 1, seconds), seconds, since);
    // Of the seconds 31 to 60 one scrape is left out at the begin.
    assert_eq!(heeded(60, 30), Some(Arrived { canary: 29 * 4, stable: 29 * 16 }));
    assert_eq!((heeded(60, 44), heeded(60, 45)), (Some(Arrived { canary: 60, stable: 240 }), None));
    let ignored = seen(body(&[]), 60, 30);
    assert_eq!(ignored, Some(Arrived { canary: 0, stable: 29 * 16 }), "a canary without a series has had no request");
    assert_eq!(errors(requests("canary", 3, 1, 60), requests("stable", 16, 0, 60), 60).arrived, None);
}

#[test]
fn requests_that_have_stopped_are_not_usable_but_stay_judged() {
    let seen = errors(requests("canary-1", 0, 0, 60), requests("stable-0", 90, 0, 60), 60);
    assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Measured));
    assert!(seen.no_requests && !seen.usable, "{seen:?}");
    let mut stopped = growing(0, 30, 20);
    stopped.extend(growing(660, 0, 70).split_off(22));
    let canary = body(&[(traefik("canary-1", r#","code":"500""#), stopped)]);
    let seen = errors(canary, requests("stable-0", 90, 0, 70), 70);
    assert_eq!((seen.verdict, seen.usable, seen.no_requests), (Verdict::Fail, false, true), "{seen:?}");
}

#[test]
fn a_stable_without_numbers_leaves_nothing_to_compare_with() {
    let seen = errors(requests("canary-1", 9, 1, 20), body(&[]), 20);
    assert_eq!((seen.verdict, seen.outcome, seen.usable), (Verdict::Unknown, Outcome::Empty, false), "{seen:?}");
    let limit = Some(Limit { max: Some("1%".into()), ..Limit::default() });
    let metric = Metric { limit, ..preset("traefik/error-rate") };
    let seen = errors_of(&metric, requests("canary-1", 9, 1, 20), body(&[]), 20);
    assert_eq!(seen.verdict, Verdict::Fail, "its own limit holds nevertheless: {seen:?}");
}

#[test]
fn a_limit_counts_intervals_and_forgives_as_many_as_it_says() {
    let limit = Some(Limit { max: Some("5%".into()), ..Limit::default() });
    let metric = |failure_limit| Metric {
        limit: limit.clone(),
        failure_limit,
        compare: Some(Compare::None),
        ..preset("traefik/error-rate")
    };
    let look = |failure_limit| errors_of(&metric(failure_limit), requests("canary-1", 9, 1, 35), body(&[]), 35);
    let failed = look(2);
    assert_eq!((failed.verdict, failed.failures, failed.evidence), (Verdict::Fail, 3, None), "{failed:?}");
    assert_eq!(failed.why, "3 of 3 intervals of 10s had errors above 5 %; failureLimit is 2");
    assert_eq!(look(3).verdict, Verdict::Pass);
    let few = errors_of(&metric(0), requests("canary-1", 0, 1, 35), body(&[]), 35);
    assert_eq!((few.verdict, few.usable), (Verdict::Unknown, true), "ten requests in an interval are too few: {few:?}");
}

#[test]
fn a_limit_and_a_comparison_must_both_pass() {
    let limit = Some(Limit { max: Some("1%".into()), ..Limit::default() });
    let metric = Metric { limit, ..preset("traefik/error-rate") };
    let both_bad = errors_of(&metric, requests("canary-1", 9, 1, 60), requests("stable-0", 81, 9, 60), 60);
    assert_eq!(both_bad.verdict, Verdict::Fail, "as bad as stable, and over the limit");
    let good = errors_of(&metric, requests("canary-1", 10, 0, 60), requests("stable-0", 90, 0, 60), 60);
    assert_eq!(good.verdict, Verdict::Continue, "within the limit, and nothing proven");
}

#[test]
fn numbers_that_are_old_or_broken_are_unusable() {
    let old = read(
        &preset("traefik/error-rate"),
        &provider(1),
        &subject_at(30),
        &[requests("canary-1", 9, 1, 20), beats(20), requests("stable-0", 90, 0, 20)],
    );
    assert_eq!((old.outcome, old.verdict), (Outcome::Unusable, Verdict::Unknown));
    assert_eq!(old.why, "the newest numbers of the canary are 10 s old");
    let broken = body(&[(traefik("canary-1", r#","code":"200""#), vec![(5_000, "NaN".into())])]);
    let seen = errors(broken, requests("stable-0", 90, 0, 20), 20);
    assert_eq!((seen.outcome, seen.verdict), (Outcome::Unusable, Verdict::Unknown));
    let unlabelled = body(&[(traefik("canary-1", ""), growing(0, 1, 20))]);
    let seen = errors(unlabelled, requests("stable-0", 90, 0, 20), 20);
    assert!(seen.invalid.unwrap().contains("no label code or status"));
}

#[test]
fn without_beats_nothing_is_believed() {
    let metric = preset("traefik/error-rate");
    let silent = read(&metric, &provider(1), &subject_at(20), &[body(&[]), body(&[]), body(&[])]);
    assert_eq!(
        (silent.outcome, silent.why.as_str()),
        (Outcome::Empty, "no traefik_config_reloads_total: Prometheus does not scrape Traefik")
    );
    let canary = requests("canary-1", 9, 1, 20);
    let beatless = read(&metric, &provider(1), &subject_at(20), &[canary, body(&[]), requests("stable-0", 9, 1, 20)]);
    assert_eq!((beatless.outcome, beatless.verdict), (Outcome::Unusable, Verdict::Unknown));
}

#[test]
fn any_reply_that_is_missing_makes_the_look_unreachable() {
    let metric = preset("traefik/error-rate");
    let down = || Err(NoReply::Unreachable("connection refused".into()));
    let seen = read(&metric, &provider(1), &subject_at(20), &[requests("canary-1", 9, 1, 20), beats(20), down()]);
    assert_eq!(
        (seen.outcome, seen.verdict, seen.why.as_str()),
        (Outcome::Unreachable, Verdict::Unknown, "connection refused")
    );
    assert_eq!(read(&metric, &provider(1), &subject_at(20), &[]).outcome, Outcome::Unreachable);
}

#[test]
fn a_history_that_begins_after_the_evidence_restarts_it() {
    let shift = |reply: Reply| {
        let (status, text) = reply.unwrap();
        let text = String::from_utf8(text).unwrap();
        // Everything before 17954468 + 20 s is gone.
        let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        for series in kept["data"]["result"].as_array_mut().unwrap() {
            let first = 1_795_246_815.0;
            series["values"].as_array_mut().unwrap().retain(|sample| sample[0].as_f64().unwrap() >= first);
        }
        Ok((status, kept.to_string().into_bytes()))
    };
    let replies = [requests("canary-1", 9, 1, 30), beats(30), requests("stable-0", 90, 0, 30)].map(shift);
    let mut subject = subject_at(30);
    let lost = read(&preset("traefik/error-rate"), &provider(1), &subject, &replies);
    assert_eq!(
        (lost.verdict, lost.outcome, lost.history_from),
        (Verdict::Unknown, Outcome::Unusable, Some(at(15_000)))
    );
    subject.evidence_since = lost.history_from.unwrap();
    let anew = read(&preset("traefik/error-rate"), &provider(1), &subject, &replies);
    assert_eq!((anew.verdict, anew.history_from), (Verdict::Fail, None), "{anew:?}");
}

#[test]
fn evidence_of_more_than_a_day_begins_anew_half_a_day_ago() {
    let subject = Subject { evidence_since: at(-25 * 3_600_000), ..subject_at(20) };
    let metric = preset("traefik/error-rate");
    let asked = asks(&metric, &provider(1), &subject);
    let query = &asked[0].fields()[0].1;
    assert!(query.contains("[1d35s]"), "{query}");
    let beats = (r#"{"job":"pods"}"#.into(), vec![(20_000 - 24 * 3_600_000, "2".into()), (20_000, "2".into())]);
    let seen = read(&metric, &provider(1), &subject, &[body(&[]), body(&[beats]), body(&[])]);
    assert_eq!(seen.history_from, Some(at(20_000 - 12 * 3_600_000)));
    let query = Metric {
        query: Some(r#"sum(rate(bad{arm="$arm"}[$window]))"#.into()),
        limit: Some(Limit { max: Some("1".into()), ..Limit::default() }),
        ..named("m")
    };
    assert_eq!(read(&query, &provider(1), &subject, &[body(&[])]).history_from, seen.history_from);
    let scores = serde_json::from_value(
        serde_json::json!({"name": "m", "scores": {"count": r#"n{arm="$arm"}"#, "sum": r#"s{arm="$arm"}"#}}),
    )
    .unwrap();
    assert_eq!(read(&scores, &provider(1), &subject, &[]).history_from, seen.history_from);
}

/// An application's counters and beats, pod by pod.
fn pod(name: &str, code: &str, samples: Vec<(i64, String)>) -> (String, Vec<(i64, String)>) {
    let labels = format!(r#"{{"job":"pods","instance":"{name}:8080","namespace":"demo","pod":"{name}"{code}}}"#);
    (labels, samples)
}

#[test]
fn pods_are_judged_by_their_own_counters() {
    let metric = preset("app/error-rate");
    let subject = subject_at(20);
    let ask = asks(&metric, &provider(1), &subject);
    assert_eq!(ask.len(), 4);
    assert!(ask[1].fields()[0].1.starts_with(r#"up{namespace="demo",pod=~"app-7c9f-[a-z0-9]{5}"}["#));
    let counters = |name: &str, good, bad| {
        let status = |code: &str| format!(r#","status":"{code}""#);
        body(&[pod(name, &status("200"), growing(0, good, 20)), pod(name, &status("503"), growing(0, bad, 20))])
    };
    let beat = |name: &str, value: &str, until| {
        let samples = growing(1, 0, until).into_iter().map(|(at, _)| (at, value.to_owned())).collect();
        pod(name, "", samples)
    };
    let up = |name: &str, value: &str| body(&[beat(name, value, 20)]);
    let (canary, stable) = ("app-7c9f-x2k9p", "app-6d5b-m8v4q");
    let replies = [counters(canary, 9, 1), up(canary, "1"), counters(stable, 90, 0), up(stable, "1")];
    let seen = read(&metric, &provider(1), &subject, &replies);
    assert_eq!((seen.verdict, seen.usable, seen.scraped), (Verdict::Fail, true, Some(1)), "{seen:?}");
    let others = body(&[beat(canary, "1", 20), beat("b", "1", 19), beat("down", "0", 20), beat("gone", "1", 10)]);
    let replies = [counters(canary, 9, 1), others, counters(stable, 90, 0), up(stable, "1")];
    assert_eq!(read(&metric, &provider(1), &subject, &replies).scraped, Some(2), "two were scraped of late");
    let replies = [counters(canary, 9, 1), up(canary, "0"), counters(stable, 90, 0), up(stable, "1")];
    let seen = read(&metric, &provider(1), &subject, &replies);
    assert_eq!(
        (seen.verdict, seen.outcome),
        (Verdict::Unknown, Outcome::Unusable),
        "no scrape has succeeded: {seen:?}"
    );
}

#[test]
fn a_late_pod_counts_from_its_first_scrape_whoever_asks_later() {
    let metric = Metric {
        compare: Some(Compare::None),
        limit: Some(Limit { max: Some("1%".into()), ..Limit::default() }),
        ..preset("app/error-rate")
    };
    let name = "app-7c9f-x2k9p";
    let answers = |until: i64| {
        let times = || [12_000, 19_000, 26_000, 33_000].into_iter().filter(|at| *at <= until);
        let late = |code: &str, values: [&str; 4]| {
            let samples = times().zip(values).map(|(at, value)| (at, value.into()));
            pod(name, &format!(r#","code":"{code}""#), samples.collect())
        };
        let up = std::iter::once((-5_000, "0".into())).chain(times().map(|at| (at, "1".into())));
        let counters = body(&[late("200", ["40", "40", "70", "70"]), late("500", ["10", "10", "30", "30"])]);
        [counters, body(&[pod(name, "", up.collect())])]
    };
    let lost = read(&metric, &provider(1), &subject_at(21), &answers(21_000));
    assert_eq!((lost.samples, lost.history_from), (0, Some(at(12_000))), "{lost:?}");
    // What was there before keeps the history; a pod of stable, say.
    let seen = |now: i64| {
        let subject = Subject { evidence_since: at(11_000), now: at(now), ..subject() };
        read(&metric, &provider(1), &subject, &answers(now))
    };
    assert_eq!((seen(23_000).samples, seen(23_000).verdict), (0, Verdict::Unknown), "what it had may be older");
    for now in [34_000, 37_000] {
        let seen = seen(now);
        assert_eq!((seen.samples, seen.verdict), (50, Verdict::Fail), "{seen:?}");
    }
}

#[test]
fn arms_that_cannot_be_told_apart_are_invalid() {
    let mut subject = subject();
    subject.canary = subject.stable.clone();
    for name in presets::names() {
        let seen = read(&preset(name), &provider(1), &subject, &[]);
        assert!(seen.invalid.is_some(), "{name}: {seen:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_reply_panics(
        status: u16,
        bodies in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..50), 0..5),
        now in -10_000i64..10_000_000,
    ) {
        let replies: Vec<Reply> = bodies.into_iter().map(|body| Ok((status, body))).collect();
        for name in presets::names() {
            let _ = read(&preset(name), &provider(1), &subject_at(now), &replies);
        }
    }

    #[test]
    fn no_series_panic(
        samples in proptest::collection::vec((-60_000i64..120_000, "[0-9]{1,3}|NaN|[+]Inf|-1|1e300|9007199254740993"), 0..40),
        le in "[0-9]{1,2}|[+]Inf|NaN|x|-1|1e-300",
        pod in "app-7c9f-x2k9p|app-6d5b-m8v4q|",
    ) {
        let mut samples = samples;
        samples.sort();
                let labels = format!(r#"{{"job":"j","instance":"i","pod":"{pod}","code":"{le}","le":"{le}"}}"#);
        let replies = [0; 4].map(|_| body(&[(labels.clone(), samples.clone()), (labels.clone(), samples.clone())]));
        for name in presets::names() {
            let mut metric = preset(name);
            let quantile = (!name.ends_with("error-rate") && !name.contains("/mean-")).then_some(0.9);
            metric.limit = Some(Limit { max: Some("1".into()), min: None, quantile });
            let seen = read(&metric, &provider(1), &subject_at(60), &replies);
            proptest::prop_assert!(seen.outcome == Outcome::Measured || seen.verdict == Verdict::Unknown, "{:?}", seen);
        }
        let query = Metric { query: Some("x{arm=\"$arm\"}".into()), limit: Some(Limit { max: Some("1".into()), ..Limit::default() }), ..named("q") };
        let _ = read(&query, &provider(1), &subject_at(60), &replies);
    }

    #[test]
    fn no_times_panic(since: i64, now: i64, lag in 0u64..700_000, scrape in 500u64..400_000, interval in 500u64..4_000_000) {
        let moment = |millis: i64| Timestamp::from_millisecond(millis % 253_402_207_200_000).unwrap_or(Timestamp::UNIX_EPOCH);
        let subject = Subject { evidence_since: moment(since), now: moment(now), ..subject() };
        let mut provider = provider(1);
        let prometheus = provider.prometheus.as_mut().unwrap();
        prometheus.lag = crate::duration::Duration::millis(lag);
        prometheus.scrape_interval = crate::duration::Duration::millis(scrape);
        let limit = Some(Limit { max: Some("1".into()), ..Limit::default() });
        let query = Metric { query: Some("x{arm=\"$arm\"}".into()), limit, ..named("q") };
        for metric in presets::names().into_iter().map(preset).chain([query]) {
            let metric = Metric { interval: crate::duration::Duration::millis(interval), ..metric };
            let asked = asks(&metric, &provider, &subject);
            let replies: Vec<_> = asked.iter().map(|_| beats(20)).collect();
            let _ = read(&metric, &provider, &subject, &replies);
        }
    }
}
