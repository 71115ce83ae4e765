//! Pages of pods, from the address to the verdict.
use super::{
    super::{
        Compare, Limit, ProviderSpec, check, check_provider, fits, read_scraped,
        tests::{at, named, preset, subject_at},
    },
    *,
};
use crate::vocab::Verdict;
use serde_json::{Value, json};

fn provider(change: &Value) -> ProviderSpec {
    let mut pods = json!({"port": "http"});
    for (field, value) in change.as_object().unwrap() {
        pods[field] = value.clone();
    }
    serde_json::from_value(json!({"pods": pods})).unwrap()
}

fn pods() -> Pods {
    provider(&json!({})).pods.unwrap()
}

fn pod(arm: Arm, name: &str) -> OnTrial {
    let container = |name: &str, port| Container { ports: vec![(name.to_owned(), port)], began: Some(at(-60_000)) };
    let address = format!("10.244.0.{}", 1 + name.bytes().last().unwrap() % 200).parse().ok();
    let containers = vec![container("admin", 9_000), container("http", 8_080)];
    let whereabouts = Whereabouts { uid: name.into(), address, running: true, containers, ..Whereabouts::default() };
    OnTrial { arm, name: name.into(), started: Some(at(-60_000)), at: whereabouts }
}

/// A release with pods that are read once a second or so.
struct Story {
    provider: ProviderSpec,
    metrics: Vec<Metric>,
    pods: Vec<OnTrial>,
    scrapes: Scrapes,
    since: Option<Timestamp>,
}

impl Story {
    fn of(metrics: Vec<Metric>) -> Self {
        for metric in &metrics {
            assert_eq!(check(metric), Ok(()));
            assert_eq!(fits(metric, &provider(&json!({}))), Ok(()));
        }
        let pods = vec![
            pod(Arm::Canary, "c1"),
            pod(Arm::Stable, "s1"),
            pod(Arm::Stable, "s2"),
            pod(Arm::Stable, "s3"),
        ];
        let provider = provider(&json!({"interval": "1s"}));
        Self { provider, metrics, pods, scrapes: Scrapes::default(), since: Some(at(0)) }
    }

    /// One round at this second: `page` is what a pod answers.
    fn round(&mut self, second: i64, page: impl Fn(&str) -> Result<(u16, String), String>) {
        let pods = self.provider.pods.as_ref().unwrap();
        let name_of = |target: &Target| target.uid.clone();
        let pages: Vec<_> = pods
            .targets(&self.pods)
            .into_iter()
            .map(|target| match target {
                Ok(target) => {
                    let answer = page(&name_of(&target)).map(|(status, text)| (status, text.into_bytes()));
                    target.page(&self.metrics, answer)
                }
                Err((arm, why)) => Page::unread(arm, why),
            })
            .collect();
        self.scrapes.remember(at(second * 1_000), &self.metrics, self.since, &pages, &self.pods);
    }

    fn seen(&self, second: i64) -> Vec<Seen> {
        let subject = Subject { past: None, ..subject_at(second) };
        self.metrics.iter().map(|metric| read_scraped(metric, &self.provider, &subject, &self.scrapes)).collect()
    }
}

fn requests(good: i64, bad: i64) -> (u16, String) {
    let text = "# TYPE http_requests_total counter\n";
    (200, format!("{text}http_requests_total{{code=\"200\"}} {good}\nhttp_requests_total{{code=\"500\"}} {bad}\n"))
}

/// A canary that answers so many in a hundred of its ten requests a second with 500, and three pods that answer each
/// thirty.
fn told(second: i64, bad: i64) -> impl Fn(&str) -> Result<(u16, String), String> {
    move |pod| {
        let past = second + 100;
        Ok(if pod.starts_with('c') { requests(past * (100 - bad) / 10, past * bad / 10) } else { requests(past * 30, 5) })
    }
}

#[test]
fn a_canary_with_errors_fails_within_seconds_and_says_that_the_past_is_not_known() {
    let mut story = Story::of(vec![preset("app/error-rate")]);
    let failed = (0..60).find(|second| {
        story.round(*second, told(*second, 50));
        story.seen(*second)[0].verdict == Verdict::Fail
    });
    assert!(failed.is_some_and(|second| second <= 12), "failed after {failed:?} s");
    let seen = &story.seen(failed.unwrap())[0];
    assert!(seen.usable && seen.canary.as_deref().is_some_and(|it| it.starts_with("50 % of")), "{seen:?}");
    let mut equal = Story::of(vec![preset("app/error-rate")]);
    for second in 0..30 {
        equal.round(second, told(second, 0));
    }
    let seen = &equal.seen(29)[0];
    assert_eq!((seen.verdict, seen.usable), (Verdict::Continue, true), "{seen:?}");
    assert!(seen.why.contains("stable's past is not known"), "{}", seen.why);
    assert_eq!(seen.stable.as_deref(), Some("0 % of 2,520"));
}

#[test]
fn an_incident_of_both_arms_is_not_the_canarys_because_one_of_its_pods_was_not_read_meanwhile() {
    let judged = |unread: std::ops::Range<i64>| {
        let mut story = Story::of(vec![preset("app/error-rate")]);
        story.pods.push(pod(Arm::Canary, "c2"));
        for second in -2..60 {
            story.round(second, |pod| {
                if pod == "c2" && unread.contains(&second) {
                    return Err("there was no complete answer within 2s".into());
                }
                let rate = if pod.starts_with('c') { 10 } else { 30 };
                let bad = (second.clamp(20, 40) - 20) * rate * 3 / 10;
                Ok(requests((second + 100) * rate - bad, bad))
            });
        }
        let subject = Subject { bursts: Some(crate::judge::Bursts::Known(1.0)), ..subject_at(59) };
        read_scraped(&story.metrics[0], &story.provider, &subject, &story.scrapes)
    };
    let known = judged(0..0);
    assert!(known.evidence.unwrap() < 1.0 && !known.why.contains("not compared"), "{known:?}");
    let soon = judged(30..32);
    assert!(soon.evidence.unwrap() < 1.0 && soon.samples == known.samples, "{soon:?}");
    let late = judged(19..45);
    assert!(late.verdict != Verdict::Fail && late.evidence.unwrap() < 1.0, "{late:?}");
    assert_eq!(late.samples + 27 * 10, known.samples);
    assert!(late.why.contains("not compared: 270 requests to targets that were not scraped meanwhile"), "{}", late.why);
}

#[test]
fn what_was_read_before_the_evidence_is_where_counters_start() {
    let mut story = Story::of(vec![preset("app/error-rate")]);
    story.since = None;
    for second in -5..0 {
        story.round(second, told(second, 90));
    }
    story.since = Some(at(0));
    for second in 0..20 {
        story.round(second, |pod: &str| {
            Ok(if pod == "c1" { requests(1_000 + second * 10, 900) } else { requests(second * 30, 5) })
        });
    }
    let seen = &story.seen(19)[0];
    assert!(seen.canary.as_deref().is_some_and(|it| it == "0 % of 180"), "{seen:?}");
}

#[test]
fn an_operator_that_was_restarted_begins_evidence_anew() {
    let mut story = Story::of(vec![preset("app/error-rate")]);
    for second in 100..110 {
        story.round(second, told(second, 50));
    }
    let seen = &story.seen(109)[0];
    assert_eq!((seen.verdict, seen.history_from), (Verdict::Unknown, Some(at(100_000))), "{seen:?}");
    assert!(seen.why.contains("history begins at"), "{}", seen.why);
}

#[test]
fn pods_that_cannot_be_read_are_named_and_judge_nobody() {
    let mut story = Story::of(vec![preset("app/error-rate")]);
    let refused = || Err("no connection could be made".to_owned());
    story.round(1, |pod: &str| if pod == "c1" { refused() } else { Ok(requests(1, 0)) });
    let seen = &story.seen(1)[0];
    assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Unreachable));
    assert_eq!(seen.why, "no page of the canary was read: pod c1: cannot be read: no connection could be made");
    // One of stable's three is a part.
    for second in 2..12 {
        let page = told(second, 0);
        story.round(second, |pod: &str| if pod == "s2" { Ok((404, String::new())) } else { page(pod) });
    }
    let seen = &story.seen(11)[0];
    assert!(seen.usable && seen.why.ends_with("pod s2: answers HTTP 404 at its page of metrics"), "{}", seen.why);
    story.pods.clear();
    story.scrapes = Scrapes::default();
    story.round(13, |_: &str| refused());
    assert_eq!(story.seen(13)[0].why, "no page of the canary was read: no pod of the canary runs");
}

#[test]
fn pages_that_stopped_coming_are_old() {
    let mut story = Story::of(vec![preset("app/error-rate")]);
    for second in 0..5 {
        story.round(second, told(second, 0));
    }
    let seen = &story.seen(30)[0];
    assert_eq!((seen.outcome, seen.why.as_str()), (Outcome::Unusable, "the newest numbers of the canary are 26 s old"));
}

#[test]
fn scores_and_ratios_are_read_from_pages() {
    let selector = |name: &str| format!(r#"{name}{{arm="$arm",suite="math"}}"#);
    let of = json!({"count": selector("eval_score_count"), "sum": selector("eval_score_sum")});
    let scores = Metric { scores: Some(serde_json::from_value(of).unwrap()), ..named("quality") };
    let mut story = Story::of(vec![scores]);
    for second in 0..200_i32 {
        story.round(i64::from(second), |pod: &str| {
            let mean = if pod == "c1" { 0.4 } else { 0.8 };
            let n = f64::from(second) * 10.0;
            let page = |suite: &str, n: f64| {
                format!("eval_score_count{{suite=\"{suite}\"}} {n}\neval_score_sum{{suite=\"{suite}\"}} {}\n", n * mean)
            };
            Ok((200, page("math", n) + &page("art", n * 7.0)))
        });
    }
    let seen = &story.seen(199)[0];
    assert_eq!((seen.verdict, seen.usable), (Verdict::Fail, true), "{}", seen.why);
    assert_eq!(seen.canary.as_deref(), Some("0.4 in 1,900 scores"));
}

/// Ten requests a second at the canary and thirty at each of stable's pods, of which so many in ten are slow.
fn latency(second: i64, slow: i64) -> impl Fn(&str) -> Result<(u16, String), String> {
    move |pod| {
        let past = second + 100;
        let (all, slow) = if pod == "c1" { (past * 10, past * slow) } else { (past * 30, past * 3) };
        let bucket = |le: &str, n: i64| format!("http_request_duration_seconds_bucket{{le=\"{le}\"}} {n}\n");
        Ok((200, bucket("0.1", all - slow) + &bucket("0.5", all) + &bucket("+Inf", all)))
    }
}

#[test]
fn a_slower_canary_fails_and_an_equal_one_passes_where_stable_was_read_before() {
    let judged = |slow: i64, seconds: i64| {
        let mut story = Story::of(vec![preset("app/latency")]);
        story.since = None;
        for second in -30..=seconds {
            story.since = (second >= 0).then(|| at(0));
            story.round(second, latency(second, slow));
        }
        story.seen(seconds).remove(0)
    };
    let slow = judged(6, 60);
    assert_eq!(slow.verdict, Verdict::Fail, "{slow:?}");
    assert!(slow.canary.as_deref().is_some_and(|it| it.ends_with("slower than 100 ms")), "{slow:?}");
    let equal = judged(1, 2_400);
    assert_eq!(equal.verdict, Verdict::Pass, "{equal:?}");
}

#[test]
fn a_limit_alone_needs_no_page_of_stable() {
    let limit = Some(Limit { max: Some("100ms".into()), min: None, quantile: Some(0.7) });
    let metric = Metric { limit, compare: Some(Compare::None), ..preset("app/latency") };
    let mut story = Story::of(vec![metric]);
    for second in 0..30 {
        let page = latency(second, 6);
        story.round(second, |pod: &str| if pod == "c1" { page(pod) } else { Err("refused".into()) });
    }
    let seen = &story.seen(29)[0];
    assert_eq!((seen.verdict, seen.failures > 0), (Verdict::Fail, true), "{seen:?}");
}

#[test]
fn only_pods_of_the_two_revisions_with_an_address_of_their_own_are_read() {
    let urls = |pods: &Pods, all: &[OnTrial]| -> Vec<Result<String, String>> {
        pods.targets(all).into_iter().map(|it| it.map(|it| it.url).map_err(|(_, why)| why)).collect()
    };
    let canary = pod(Arm::Canary, "c1");
    assert_eq!(urls(&pods(), std::slice::from_ref(&canary)), [Ok("http://10.244.0.50:8080/metrics".to_owned())]);
    let change = |change: fn(&mut Whereabouts)| {
        let mut changed = canary.clone();
        change(&mut changed.at);
        urls(&pods(), &[changed])
    };
    let on_host = change(|it| it.host_network = true);
    assert!(on_host[0].as_ref().is_err_and(|why| why.starts_with("pod c1: is in its node's network")), "{on_host:?}");
    assert!(change(|it| it.address = None)[0].is_err());
    assert!(change(|it| it.running = false).is_empty());
    assert!(change(|it| it.containers.clear())[0].as_ref().is_err_and(|why| why.contains("has no port http")));
    let v6 = change(|it| it.address = "fd00::7".parse().ok());
    assert_eq!(v6, [Ok("http://[fd00::7]:8080/metrics".to_owned())]);
    let numbered = provider(&json!({"port": 9_000, "path": "/m?x=1", "scheme": "HTTPS", "insecure": true})).pods.unwrap();
    assert_eq!(urls(&numbered, &[canary]), [Ok("https://10.244.0.50:9000/m?x=1".to_owned())]);
}

#[test]
fn of_many_pods_the_first_by_name_are_read() {
    let many: Vec<_> = (0..500).rev().map(|at| pod(Arm::Stable, &format!("s{at:03}"))).collect();
    let some = provider(&json!({"stablePods": 7})).pods.unwrap();
    let uids: Vec<_> = some.targets(&many).into_iter().map(|target| target.unwrap().uid).collect();
    assert_eq!(uids, (0..7).map(|at| format!("s{at:03}")).collect::<Vec<_>>());
    let canaries: Vec<_> = (0..500).map(|at| pod(Arm::Canary, &format!("c{at:03}"))).collect();
    assert_eq!(pods().targets(&canaries).len(), 30);
}

#[test]
fn what_pods_cannot_answer_is_refused_by_name() {
    let why = |metric: Value| {
        let metric: Metric = serde_json::from_value(metric).unwrap();
        assert_eq!(check(&metric), Ok(()));
        fits(&metric, &provider(&json!({}))).err().map_or_else(String::new, |complaint| complaint.to_string())
    };
    let gateway = why(json!({"name": "e", "preset": "traefik/error-rate"}));
    assert!(gateway.starts_with("preset: it is counted at Traefik") && gateway.contains("app/error-rate"), "{gateway}");
    let query = why(json!({"name": "q", "query": "sum(x{arm=\"$arm\"})", "limit": {"max": "1"}}));
    assert!(query.starts_with("query: ") && query.contains("prometheus"), "{query}");
    assert!(why(json!({"name": "w", "web": {"path": "/"}, "limit": {"max": "1"}})).starts_with("web: "));
    let scores = |arm: &str| json!({"name": "s", "arm": arm, "scores": {"count": "c{arm=\"$arm\"}", "sum": "s{arm=\"$arm\"}"}});
    assert!(why(scores("Service")).starts_with("arm: "));
    assert_eq!(why(scores("PodHash")), "");
    for name in ["app/latency", "opentelemetry-http/error-rate", "vllm/error-rate", "grpc/latency"] {
        assert_eq!(why(json!({"name": "p", "preset": name})), "", "{name}");
    }
}

#[test]
fn settings_are_refused_by_name_and_with_the_cure() {
    let why = |change: Value| {
        let complaint = check_provider(&provider(&change)).err();
        complaint.map_or_else(String::new, |complaint| complaint.to_string())
    };
    assert_eq!(why(json!({})), "");
    assert_eq!(why(json!({"port": 65_535, "scheme": "HTTPS", "caBundle": "pem"})), "");
    for (change, field) in [
        (json!({"port": 0}), "pods.port: "),
        (json!({"port": 70_000}), "pods.port: "),
        (json!({"port": "a/../b"}), "pods.port: "),
        (json!({"path": "metrics"}), "pods.path: "),
        (json!({"path": "/a b"}), "pods.path: "),
        (json!({"path": "/a#b"}), "pods.path: "),
        (json!({"insecure": true}), "pods.scheme: "),
        (json!({"scheme": "HTTPS"}), "pods.scheme: "),
        (json!({"scheme": "HTTPS", "insecure": false}), "pods.scheme: "),
        (json!({"scheme": "HTTPS", "insecure": true, "caBundle": "pem"}), "pods.scheme: "),
        (json!({"interval": "500ms"}), "pods.interval: "),
        (json!({"interval": "1m"}), "pods.interval: "),
        (json!({"timeout": "0s"}), "pods.timeout: "),
        (json!({"stablePods": 0}), "pods.canaryPods, pods.stablePods: "),
        (json!({"pageCap": 1}), "pods.pageCap: "),
    ] {
        assert!(why(change.clone()).starts_with(field), "{change}: {}", why(change.clone()));
    }
    let two = json!({"pods": {"port": 1}, "web": {"url": "https://h"}});
    assert!(check_provider(&serde_json::from_value(two).unwrap()).is_err());
}
