//! What is measured of releases, and how often providers are asked for it.
use super::{
    super::tests::{clock_from, cluster_at, cluster_with},
    *,
};
use crate::{
    outbound::{
        Answer, Failure, Request, Transport,
        tests::{outbound, servers},
    },
    signature,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

fn rollout(metrics: &Value) -> Rollout {
    let arm =
        |set: &str| json!({"revision": set, "replicaSet": set, "podTemplateHash": set, "replicas": 1, "ready": 1});
    serde_json::from_value(json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop", "namespace": "n"},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "steps": [{"name": "a", "weight": 5, "observe": "1m"}],
            "analysis": {"provider": {"kind": "ClusterMetricProvider", "name": "scores"}, "metrics": metrics},
        },
        "status": {"stable": arm("shop-1"), "canary": arm("shop-2")},
    }))
    .unwrap()
}

fn quality() -> Value {
    json!([{
        "name": "quality", "failureLimit": 1, "interval": "1s", "limit": {"min": "0.8"},
        "web": {"path": "/score?of={replicaSet}", "result": "/data/score"},
    }])
}

/// An API server with this provider and the Secret that it names.
fn answers(provider: Value) -> impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static {
    move |call, _| {
        if call.ends_with("/clustermetricproviders/scores") {
            let kind = "ClusterMetricProvider";
            let metadata = json!({"name": "scores"});
            return (
                200,
                json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": provider}),
            );
        }
        assert_eq!(call, "GET /api/v1/namespaces/system/secrets/scores");
        // "token" and "signing key".
        let data = json!({"token": "dG9rZW4=", "key": "c2lnbmluZyBrZXk="});
        (200, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scores"}, "data": data}))
    }
}

fn old() -> (String, Timestamp) {
    ("2".to_owned(), Timestamp::UNIX_EPOCH)
}

fn header<'a>(asked: &'a str, name: &str) -> &'a str {
    asked.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim_start_matches(": ")
}

#[tokio::test]
async fn a_web_endpoint_is_asked_with_credentials_and_a_signature_and_its_answers_are_remembered() {
    let answer = |score: &str| {
        let body = format!(r#"{{"data":{{"score":{score}}}}}"#);
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let (port, asked) = servers(vec![answer("0.5"), answer("\"0.6\"")]).await;
    let provider = json!({"web": {
        "url": format!("http://127.0.0.1:{port}/v1"), "method": "POST", "body": r#"{"of":"{podTemplateHash}"}"#,
        "headers": [{"name": "X-Team", "value": "shop"}],
        "auth": {"bearer": {"secretRef": {"name": "scores"}}}, "hmac": {"secretRef": {"name": "scores", "key": "key"}},
    }});
    let (cluster, _) = cluster_with(outbound(port), answers(provider));
    let rollout = rollout(&quality());
    let subject = ("2".to_owned(), Timestamp::UNIX_EPOCH);
    let key = key_of(&rollout);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let number = cluster.measurements.begin(&key, &subject, About::of(&rollout)).unwrap();
        let known = cluster.measurements.known(&key, &subject);
        let read = cluster.read_metrics(&rollout, &subject, &Around::default(), known).await;
        let Measured::Read { metrics, .. } = &read.0 else { panic!("{read:?}") };
        seen.push(metrics[0].1.clone());
        cluster.measurements.finish(&key, number, read);
        assert!(
            matches!(cluster.measurements.last(&key, &subject, &About::of(&rollout)), Measured::Read { metrics, .. } if metrics[0].1.points.is_none())
        );
        // A look is due when an interval is over.
        let mut slots = cluster.measurements.slots.lock().unwrap();
        slots.get_mut(&key).unwrap().due = Instant::now();
        let points = &mut slots.get_mut(&key).unwrap().known.get_mut("quality").unwrap().points;
        let past = |look: &metrics::Look| metrics::Look { at: look.at - jiff::SignedDuration::from_secs(5), ..*look };
        *points = points.as_ref().map(|points| points.altered(past));
    }
    assert_eq!((seen[0].verdict, seen[0].failures, seen[0].samples), (Verdict::Pass, 1, 1), "{seen:?}");
    assert_eq!((seen[1].verdict, seen[1].failures, seen[1].samples), (Verdict::Fail, 2, 2), "{seen:?}");
    assert_eq!(seen[1].why, "2 of 2 looks failed, the last with 0.6: wanted is at least 0.8; failureLimit is 1");
    for asked in asked.await.unwrap() {
        assert!(asked.starts_with("POST /v1/score?of=shop-2 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\n{\"of\":\"shop-2\"}"), "{asked}");
        let said = ["authorization", "x-team", "content-type", "accept"].map(|name| header(&asked, name));
        assert_eq!(said, ["Bearer token", "shop", "application/json", "application/json"]);
        let told = [header(&asked, "x-bellwether-timestamp"), "POST", "/v1/score?of=shop-2"];
        let signature = signature::sign(b"signing key", &told, br#"{"of":"shop-2"}"#);
        assert_eq!(header(&asked, "x-bellwether-signature"), signature);
    }
}

#[tokio::test]
async fn a_measurement_that_was_forgotten_answers_no_later_question() {
    let (cluster, _) = cluster_with(outbound(1), |_, _| (404, json!({})));
    let rollout = rollout(&quality());
    let (key, about) = (key_of(&rollout), About::of(&rollout));
    let first = cluster.measurements.begin(&key, &old(), about.clone()).unwrap();
    assert_eq!(cluster.measurements.begin(&key, &old(), about.clone()), None, "one at a time");
    assert!(cluster.measurements.forget(&key));
    let second = cluster.measurements.begin(&key, &old(), about.clone()).unwrap();
    let answer = |why: &str| (Measured::NoProvider(why.to_owned()), PACE);
    let told = || match cluster.measurements.last(&key, &old(), &about) {
        Measured::NoProvider(why) => why,
        _ => String::new(),
    };
    cluster.measurements.finish(&key, first, answer("of the first"));
    assert_eq!(told(), "");
    cluster.measurements.finish(&key, second, answer("of the second"));
    assert_eq!(told(), "of the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_takes_long_to_read_holds_up_nothing_else_of_its_thread() {
    let others = Arc::new(AtomicUsize::new(0));
    let seen = others.clone();
    let read = tokio::spawn(async move {
        let other = seen.clone();
        tokio::spawn(async move { other.store(1, Relaxed) });
        aside(MUCH + 1, || {
            let begun = std::time::Instant::now();
            while seen.load(Relaxed) == 0 && begun.elapsed() < Duration::from_secs(20) {
                std::thread::yield_now();
            }
            seen.load(Relaxed)
        })
    });
    assert_eq!(read.await.unwrap(), 1, "it goes on meanwhile");
}

#[tokio::test]
async fn where_there_is_one_thread_all_is_done_in_its_turn() {
    assert_eq!(aside(usize::MAX, || 7), 7);
}

#[test]
fn where_a_providers_history_begins_is_nothing_to_jobs() {
    let since = |at: &str| at.parse::<Timestamp>().unwrap();
    let [settled, later] = ["2026-11-21T00:01:00Z", "2026-11-21T00:09:00Z"];
    let begun = |flight: Value| {
        let mut rollout = rollout(&quality());
        let mut status = serde_json::to_value(&rollout.status).unwrap();
        status["flight"] = json!({"revision": "2", "candidate": "shop-2", "startedAt": settled, "steps": []});
        status["flight"].as_object_mut().unwrap().extend(flight.as_object().unwrap().clone());
        rollout.status = Some(serde_json::from_value(status).unwrap());
        let (_, evidence) = subject_of(&rollout).unwrap();
        let subject = subject(&rollout, evidence, since(later), &Around::default()).unwrap();
        (subject.evidence_since, of_jobs(&rollout, &subject).evidence_since)
    };
    assert_eq!(begun(json!({"evidenceSince": "2026-11-21T00:01:00.000000Z"})), (since(settled), since(settled)));
    let restarted =
        json!({"evidenceSince": "2026-11-21T00:09:00.000000Z", "settledSince": "2026-11-21T00:01:00.000000Z"});
    assert_eq!(begun(restarted), (since(later), since(settled)));
}

#[tokio::test]
async fn an_endpoint_that_nobody_answers_at_is_unreachable() {
    let (port, closed) = servers(Vec::new()).await;
    closed.await.unwrap();
    let provider = json!({"web": {"url": format!("http://127.0.0.1:{port}")}});
    let (cluster, _) = cluster_with(outbound(port), answers(provider));
    let rollout = rollout(&quality());
    let read = cluster.read_metrics(&rollout, &old(), &Around::default(), HashMap::new()).await.0;
    let Measured::Read { metrics, .. } = read else { panic!("{read:?}") };
    assert_eq!((metrics[0].1.outcome, metrics[0].1.verdict), (metrics::Outcome::Unreachable, Verdict::Unknown));
    assert_eq!(metrics[0].1.why, "of the canary: no connection could be made");
}

#[tokio::test]
async fn an_empty_signing_key_signs_nothing() {
    let provider = json!({"web": {"url": "https://h", "hmac": {"secretRef": {"name": "scores", "key": "empty"}}}});
    let known = answers(provider);
    let (cluster, _) = cluster_with(outbound(1), move |call, body| {
        let (status, mut answer) = known(call, body);
        answer["data"]["empty"] = "".into();
        (status, answer)
    });
    let rollout = rollout(&quality());
    let read = cluster.read_metrics(&rollout, &old(), &Around::default(), HashMap::new()).await.0;
    assert!(matches!(&read, Measured::NoProvider(why) if why.contains("anybody could sign")), "{read:?}");
}

#[tokio::test]
async fn a_metric_that_the_provider_cannot_answer_is_a_problem_with_its_place() {
    let rollout = rollout(&json!([{"name": "errors", "preset": "app/error-rate"}]));
    let (cluster, _) = cluster_with(outbound(1), answers(json!({"web": {"url": "https://h"}})));
    let problem = cluster.provider_problem(&rollout, "n", true).await.unwrap();
    assert!(problem.starts_with("spec.analysis.metrics[0].preset: the provider is a web endpoint"), "{problem}");
    let (cluster, _) = cluster_with(outbound(1), answers(json!({"prometheus": {"url": "https://h"}})));
    assert_eq!(cluster.provider_problem(&rollout, "n", true).await, None);
}

/// A Prometheus that answers that there is nothing, or not at all, and counts.
#[derive(Clone, Default)]
struct Prometheus {
    asked: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Transport for Prometheus {
    fn send(&self, request: Request) -> futures::future::BoxFuture<'_, Result<Answer, Failure>> {
        async move {
            self.asked.fetch_add(1, Relaxed);
            assert!(request.headers.contains(&("X-Scope-OrgID".to_owned(), "shop".to_owned())));
            let under_way = self.under_way.fetch_add(1, Relaxed) + 1;
            self.most.fetch_max(under_way, Relaxed);
            let is_down = self.down.load(Relaxed);
            let takes = if is_down { request.timeout.std() } else { Duration::from_millis(20) };
            tokio::time::sleep(takes).await;
            self.under_way.fetch_sub(1, Relaxed);
            let body = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
            if is_down {
                Err(Failure::Timeout(request.timeout))
            } else {
                Ok(Answer { status: 200, body: body.to_vec() })
            }
        }
        .boxed()
    }
}

/// Asks every question of one look at a release by itself.
async fn ask_one_by_one(cluster: &Cluster, rollout: &Rollout) {
    let (_, since) = subject_of(rollout).unwrap();
    let subject = subject(rollout, since, cluster.now(), &Around::default()).unwrap();
    let subject = Subject { past: Some(Past::default()), ..subject };
    let providers = cluster.providers(rollout).await;
    let Asked { provider, access } = providers.values().next().unwrap().as_ref().unwrap();
    for metric in &rollout.spec.analysis.metrics {
        for ask in metrics::asks(metric, &provider.spec, &subject) {
            cluster.query(&provider.spec, &Arc::default(), &ask, access).await.unwrap();
        }
    }
}

/// So many releases, begun one after the other, each looked at every second; says how often the provider was asked in
/// each of these minutes, in the second of which it is down, how often at once at the most, and how often in one look
/// at all of them when each asks every question by itself.
async fn minutes(releases: usize, metrics: &Value, scrape: &str) -> (Vec<usize>, usize, usize) {
    let start = Timestamp::from_second(1_795_246_800).unwrap();
    let clock = clock_from(start);
    let prometheus = Prometheus::default();
    let tenant = json!([{"name": "X-Scope-OrgID", "value": "shop"}]);
    let url = "http://prometheus.monitoring.svc";
    let provider = json!({"prometheus": {"url": url, "scrapeInterval": scrape, "headers": tenant}});
    let (cluster, _) = cluster_at(clock, prometheus.clone(), answers(provider));
    let each = (0..releases).map(|at| {
        let mut rollout = rollout(metrics);
        rollout.metadata.name = Some(format!("shop-{at}"));
        let mut status = serde_json::to_value(&rollout.status).unwrap();
        let since = start - jiff::SignedDuration::from_millis(i64::try_from(60_000 + at * 37 % 600_000).unwrap());
        status["flight"] = json!({
            "revision": "2", "candidate": "shop-2", "startedAt": "2026-11-21T00:00:00Z", "steps": [],
            "evidenceSince": since.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        });
        rollout.status = Some(serde_json::from_value(status).unwrap());
        rollout
    });
    let each: Vec<_> = each.collect();
    let mut counts = Vec::new();
    for minute in 0..4 {
        let before = prometheus.asked.load(Relaxed);
        prometheus.down.store(minute == 1, Relaxed);
        for _ in 0..60 {
            for rollout in &each {
                cluster.measure(rollout, Around::default);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        counts.push(prometheus.asked.load(Relaxed) - before);
    }
    let most = prometheus.most.load(Relaxed);
    let before = prometheus.asked.load(Relaxed);
    for rollout in &each {
        ask_one_by_one(&cluster, rollout).await;
    }
    (counts, most, prometheus.asked.load(Relaxed) - before)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_releases_ask_a_prometheus_some_thousand_times_a_minute_and_one_that_is_down_some_times() {
    let at_gateway =
        json!([{"name": "errors", "preset": "traefik/error-rate"}, {"name": "latency", "preset": "traefik/latency"}]);
    let at_pods = json!([{"name": "errors", "preset": "app/error-rate"}, {"name": "latency", "preset": "app/latency"}]);
    for (releases, metrics, scrape, most) in
        [(1_000, &at_gateway, "15s", 10_000), (1_000, &at_pods, "15s", 9_000), (250, &at_gateway, "1s", 9_000)]
    {
        let (asked, at_once, one_look) = minutes(releases, metrics, scrape).await;
        // With a look every two seconds.
        let (down, well, alone) = (asked[1], asked[3], 30 * one_look);
        println!(
            "{releases} releases, scrapes of {scrape}: {alone} requests a minute one by one, {well} together, {down} while it is down"
        );
        assert!(well <= most && well >= 3 * releases, "{asked:?}");
        assert!(alone >= 5 * well, "{alone} and {well}");
        assert!(down <= 100, "{asked:?}");
        assert!(at_once <= 16, "{at_once}");
    }
}
