//! What is said of rates of errors besides what is proven, what stable's past tells, and how the windows of a limit are counted.
use super::*;
use crate::judge::Traffic;

/// A look at so many good requests a second, where stable's past had this traffic.
fn why(past: Option<Traffic>, canary: u32, stable: u32, seconds: u32) -> Seen {
    let past = Some(Past { bursts: Bursts::Known(1.0), traffic: past });
    let subject = Subject { past, ..subject_at(i64::from(seconds)) };
    let replies = [requests("canary", canary, 0, seconds), beats(seconds), requests("stable", stable, 0, seconds)];
    read(&preset("traefik/error-rate"), &provider(1), &subject, &replies)
}

#[test]
fn what_proves_nothing_yet_says_when_to_expect_a_proof() {
    let busy = Some(Traffic { rate: 50.0, bad: 0.005 });
    let seen = why(busy, 5, 45, 60);
    assert_eq!(
        (seen.verdict, seen.why.as_str()),
        (
            Verdict::Continue,
            "no errors on either side; nothing is proven yet; one as good as stable passes after about 12 min at this \
             share, and 60 s are over"
        )
    );
    let more = why(busy, 20, 30, 60);
    assert!(more.why.contains("passes after about 5 min at this share"), "{}", more.why);
}

#[test]
fn nothing_is_expected_of_what_is_proven_or_of_traffic_that_is_not_known() {
    let busy = Some(Traffic { rate: 50.0, bad: 0.005 });
    let passed = why(busy, 20, 80, 600);
    assert_eq!(passed.verdict, Verdict::Pass, "{passed:?}");
    for seen in [passed, why(None, 5, 45, 60), why(Some(Traffic { rate: 0.0, bad: 0.005 }), 5, 45, 60)] {
        assert!(!seen.why.contains("passes after"), "{}", seen.why);
    }
}

#[test]
fn a_ceiling_is_judged_where_stables_counters_do_not_rise_and_nothing_is_where_they_are_not_there() {
    let mut subject = subject_at(60);
    subject.margins.ceiling = Some(0.05);
    let told = |stable: Reply| {
        let replies = [requests("canary", 7, 3, 60), beats(60), stable];
        read(&preset("traefik/error-rate"), &provider(1), &subject, &replies)
    };
    let idle = told(requests("stable", 0, 0, 60));
    assert_eq!((idle.verdict, idle.outcome, idle.usable), (Verdict::Fail, Outcome::Measured, true), "{}", idle.why);
    assert!(idle.why.contains("canary's requests went wrong, more than the ceiling of 5 %"), "{}", idle.why);
    let unknown = told(body(&[]));
    assert_eq!((unknown.verdict, unknown.outcome), (Verdict::Unknown, Outcome::Empty), "{}", unknown.why);
}

/// Stable's errors in the hour before, as two replicas of the gateway count them: a hundred requests in ten seconds each, and
/// once a minute so many errors at once, of which each replica has the half.
fn an_hour_of(errors: u32) -> Reply {
    let blocks = 0..=360_u32;
    let counter = |pod: &str, code: &str, at: fn(u32, u32) -> u32| {
        let labels = traefik("stable", &format!(r#","pod":"{pod}","code":"{code}""#));
        let samples =
            blocks.clone().map(|block| (i64::from(block) * 10_000 - 3_600_000, at(block, errors).to_string()));
        (labels, samples.collect())
    };
    let good = |block: u32, _: u32| 100 * block;
    let bad = |block: u32, errors: u32| errors / 2 * (block / 6);
    body(&[
        counter("gateway-a", "200", good),
        counter("gateway-b", "200", good),
        counter("gateway-a", "502", bad),
        counter("gateway-b", "502", bad),
    ])
}

#[test]
fn bursts_that_the_replicas_of_a_gateway_share_are_bursts() {
    let subject = Subject { past: None, ..subject_at(20) };
    let metric = preset("traefik/error-rate");
    let told = |past: Reply| {
        let replies = [requests("canary-1", 9, 1, 20), beats(20), requests("stable-0", 9, 1, 20), past];
        assert_eq!(asks(&metric, &provider(1), &subject).len(), replies.len());
        read(&metric, &provider(1), &subject, &replies)
    };
    let Some(Past { bursts: Bursts::Known(times), .. }) = told(an_hour_of(20)).past else {
        panic!("1,200 errors tell")
    };
    assert!(times > 5.0, "ten at once: {times}");
    // Who was not reached is asked again, and what was answered is not.
    assert_eq!(told(Err(NoReply::Unreachable("too slow".into()))).past, None);
    assert_eq!(told(Ok((400, b"{}".to_vec()))).past, Some(Past::default()));
}

/// A look at windows of ten seconds with a hundred requests of the canary each, so many of them bad.
fn windows(bad: &[u32], change: impl FnOnce(&mut Metric)) -> Seen {
    let mut metric = Metric {
        compare: Some(Compare::None),
        limit: Some(Limit { max: Some("5%".into()), ..Limit::default() }),
        failure_limit: 9,
        ..preset("traefik/error-rate")
    };
    change(&mut metric);
    let end = u32::try_from(bad.len()).unwrap() * 10;
    let count = |of: fn(u32) -> u32| -> Vec<_> {
        let mut sum = 0;
        let before = std::iter::once((-1_000, "0".to_owned()));
        let during = (0..=end).map(|second| {
            // A window ends with its last second.
            let window = usize::try_from(second.saturating_sub(1) / 10).unwrap();
            sum += if second == 0 { 0 } else { of(bad[window]) };
            (i64::from(second) * 1_000, sum.to_string())
        });
        before.chain(during).collect()
    };
    let code = |code: &str| traefik("canary", &format!(r#","code":"{code}""#));
    let canary = body(&[(code("200"), count(|bad| 10 - bad / 10)), (code("502"), count(|bad| bad / 10))]);
    read(&metric, &provider(1), &subject_at(i64::from(end)), &[canary, beats(end)])
}

#[test]
fn windows_in_a_row_beyond_the_limit_of_a_preset_fail_it_however_many_are_forgiven() {
    let in_a_row = |metric: &mut Metric| metric.consecutive_failures = 3;
    let apart = windows(&[10, 10, 0, 10, 10], in_a_row);
    assert_eq!((apart.verdict, apart.failures), (Verdict::Pass, 4), "{apart:?}");
    let together = windows(&[0, 10, 10, 10, 0], in_a_row);
    assert_eq!((together.verdict, together.failures), (Verdict::Fail, 3), "{together:?}");
    assert_eq!(windows(&[0, 10, 10, 10, 0], |_| {}).verdict, Verdict::Pass);
}

#[test]
fn a_preset_is_judged_by_as_many_windows_as_it_says_and_no_more() {
    let three = |metric: &mut Metric| (metric.count, metric.failure_limit) = (Some(3), 0);
    assert_eq!(windows(&[0, 0], three).verdict, Verdict::Continue);
    assert_eq!(windows(&[0, 0, 0], three).verdict, Verdict::Pass);
    let finished = windows(&[0, 0, 0, 10, 10], three);
    assert_eq!((finished.verdict, finished.failures), (Verdict::Pass, 0), "{finished:?}");
    assert_eq!(windows(&[0, 0, 0, 10], |metric| metric.failure_limit = 0).verdict, Verdict::Fail);
}

#[test]
fn as_many_intervals_are_judged_as_the_metric_says_whatever_the_comparison_proves() {
    let metric = |count| Metric {
        count,
        limit: Some(serde_json::from_value(serde_json::json!({"max": "50%"})).unwrap()),
        interval: Duration::seconds(20),
        ..preset("traefik/error-rate")
    };
    let told =
        |count| errors_of(&metric(count), requests("canary-1", 500, 5, 70), requests("stable-0", 500, 5, 70), 70);
    assert_eq!(told(None).verdict, Verdict::Pass);
    assert_eq!(told(Some(3)).verdict, Verdict::Pass);
    assert_eq!(told(Some(4)).verdict, Verdict::Continue);
}

/// Two pods of the canary with five requests a second each and three of stable with thirty, of which in the second twenty
/// seconds of a minute three in ten go wrong on either side, when one of the canary's is not scraped in these seconds.
fn incident(unscraped: std::ops::Range<i64>) -> Seen {
    let pod = |name: &str, rate: i64, unscraped: std::ops::Range<i64>| {
        let labels = |of: &str| {
            format!(
                r#"{{"__name__":"{of}","namespace":"demo","pod":"{name}","job":"pods","instance":"{name}:80","code":"CODE"}}"#
            )
        };
        let counter = |code: &str, of: &dyn Fn(i64) -> i64| {
            let times = (-1..=60).filter(|second| !unscraped.contains(second));
            let samples = times.map(|second| (second * 1_000, (1_000 + of(second)).to_string())).collect::<Vec<_>>();
            (labels("http_requests_total").replace("CODE", code), samples)
        };
        let bad = |second: i64| (second.clamp(20, 40) - 20) * rate * 3 / 10;
        let up = |second: i64| (second * 1_000, "1".to_owned());
        let ups = (-1..=60).filter(|second| !unscraped.contains(second)).map(up).collect::<Vec<_>>();
        let counters = [counter("200", &|second| second * rate - bad(second)), counter("500", &bad)];
        (counters, (labels("up"), ups))
    };
    let arm = |pods: Vec<([_; 2], _)>| {
        let (counters, ups): (Vec<_>, Vec<_>) = pods.into_iter().unzip();
        [body(&counters.concat()), body(&ups)]
    };
    let canary = arm(vec![pod("app-7c9f-aaaaa", 5, 0..0), pod("app-7c9f-bbbbb", 5, unscraped)]);
    let stable = ["c", "d", "e"].map(|name| pod(&format!("app-6d5b-{}", name.repeat(5)), 30, 0..0));
    let replies = [canary, arm(stable.into())].concat();
    read(&preset("app/error-rate"), &provider(1), &subject_at(61), &replies)
}

#[test]
fn an_incident_of_both_arms_is_not_the_canarys_because_one_of_its_pods_was_not_scraped_meanwhile() {
    let known = incident(0..0);
    assert!(known.evidence.unwrap() < 1.0 && !known.why.contains("not compared"), "{known:?}");
    // What some scrapes have missed is taken with all that happened meanwhile.
    let soon = incident(30..32);
    assert!(soon.evidence.unwrap() < 1.0 && !soon.why.contains("not compared"), "{soon:?}");
    assert_eq!(soon.samples, known.samples);
    let late = incident(19..45);
    assert!(late.verdict != Verdict::Fail && late.evidence.unwrap() < 1.0, "{late:?}");
    assert_eq!(late.samples + 27 * 5, known.samples);
    assert!(
        late.why.ends_with("; not compared: 135 requests to targets that were not scraped meanwhile"),
        "{}",
        late.why
    );
}

/// One pod of the canary and three of stable with fifty requests a second each, which are scraped every 15 s, each so many
/// seconds later than the first, when every request of five seconds goes wrong on either side, from this second on.
fn outage(from: i64, phases: [i64; 4]) -> bool {
    let pod = |(name, phase): (&str, i64)| {
        let labels = |of: &str, more: &str| {
            format!(
                r#"{{"__name__":"{of}","namespace":"demo","pod":"{name}","job":"pods","instance":"{name}:80"{more}}}"#
            )
        };
        let samples = |of: &dyn Fn(i64) -> i64| {
            let times = (-2..24).map(|at| at * 15 + phase);
            times.map(|at| (at * 1_000, (10_000 + of(at)).to_string())).collect::<Vec<_>>()
        };
        let bad = |at: i64| (at - from).clamp(0, 5) * 50;
        // One in two hundred is bad at any time.
        let usual = |at: i64| at.div_euclid(4);
        let code = |code: &str| format!(r#","code":"{code}""#);
        let counters = [
            (labels("http_requests_total", &code("200")), samples(&|at| at * 50 - bad(at) - usual(at))),
            (labels("http_requests_total", &code("500")), samples(&|at| bad(at) + usual(at))),
        ];
        (counters, (labels("up", ""), samples(&|_| -9_999)))
    };
    let arm = |pods: &[(&str, i64)]| {
        let (counters, ups): (Vec<_>, Vec<_>) = pods.iter().copied().map(pod).unzip();
        [body(&counters.concat()), body(&ups)]
    };
    let [canary, one, two, three] = phases;
    let stable = arm(&[("app-6d5b-ccccc", one), ("app-6d5b-ddddd", two), ("app-6d5b-eeeee", three)]);
    let replies = [arm(&[("app-7c9f-aaaaa", canary)]), stable].concat();
    let subject = Subject { bursts: Some(crate::judge::Bursts::Known(1.0)), ..subject_at(340) };
    let seen = read(&preset("app/error-rate"), &provider(15), &subject, &replies);
    assert_eq!(seen.outcome, Outcome::Measured, "{}", seen.why);
    seen.verdict == Verdict::Fail
}

#[test]
fn an_outage_of_both_arms_is_not_the_canarys_because_its_pod_was_scraped_first() {
    let mut failed = Vec::new();
    for from in 90..120 {
        for phases in [[0, 2, 9, 13], [7, 3, 11, 14], [1, 12, 13, 14], [14, 0, 3, 6], [5, 6, 8, 10], [3, 12, 0, 9]] {
            if outage(from, phases) {
                failed.push((from, phases));
            }
        }
    }
    assert!(failed.is_empty(), "{} of 180: {failed:?}", failed.len());
}

/// What is seen at every second of a minute by a Prometheus that scrapes so seldom, in seconds, and is told so late.
fn seldom(scrape: i64, lag: i64) -> Vec<Seen> {
    let provider = serde_json::from_value(serde_json::json!({"prometheus": {
        "url": "http://prometheus.monitoring", "scrapeInterval": format!("{scrape}s"), "lag": format!("{lag}s"),
    }}));
    let provider = provider.unwrap();
    let counter = |each: i64, until: i64| {
        let times = (-1..).map(|at| at * scrape).take_while(|at| *at <= until);
        times.map(|at| (at * 1_000, (10_000 + at * each).to_string())).collect::<Vec<_>>()
    };
    let seen = |now: i64| {
        let told = now - lag;
        let arm = |arm: &str, each| body(&[(traefik(arm, r#","code":"200""#), counter(each, told))]);
        let beats = body(&[(r#"{"job":"pods","instance":"10.244.0.5:9100"}"#.into(), counter(0, told))]);
        let replies = [arm("canary-1", 5), beats, arm("stable-0", 50)];
        read(&preset("traefik/error-rate"), &provider, &subject_at(now), &replies)
    };
    (600..660).map(seen).collect()
}

#[test]
fn requests_that_are_seen_late_are_of_late_all_the_same() {
    for (scrape, lag) in [(1, 0), (15, 0), (60, 0), (30, 30), (5, 60)] {
        let seen = seldom(scrape, lag);
        assert!(seen.iter().all(|seen| seen.usable && !seen.no_requests), "{scrape} s, {lag} s: {:?}", seen[0]);
    }
}

#[test]
fn requests_from_before_a_share_was_changed_do_not_say_where_those_after_it_arrived() {
    let pod = |name: &str, rate: i64, unscraped: std::ops::Range<i64>| {
        let labels = format!(
            r#"{{"__name__":"NAME","namespace":"demo","pod":"{name}","job":"pods","instance":"{name}:80","code":"200"}}"#
        );
        let times = || (-1..=60_i64).filter(|second| !unscraped.contains(second));
        let counter = times().map(|second| (second * 1_000, (1_000 + second * rate).to_string())).collect::<Vec<_>>();
        let up = times().map(|second| (second * 1_000, "1".to_owned())).collect::<Vec<_>>();
        [(labels.replace("NAME", "http_requests_total"), counter), (labels.replace("NAME", "up"), up)]
    };
    let [canary, canary_up] = pod("app-7c9f-aaaaa", 10, 0..0);
    let [one, one_up] = pod("app-6d5b-ccccc", 10, 0..0);
    let [other, other_up] = pod("app-6d5b-ddddd", 1_000, 1..40);
    let replies = [body(&[canary]), body(&[canary_up]), body(&[one, other]), body(&[one_up, other_up])];
    let subject = Subject { shared_since: Some(at(30_000)), ..subject_at(61) };
    let arrived = read(&preset("app/error-rate"), &provider(1), &subject, &replies).arrived.unwrap();
    // From second 32 to 60, of the other one from second 41 on.
    assert_eq!((arrived.canary, arrived.stable), (290, 290 + 20_000));
}
