//! How soon the whole loop judges on a real cluster, and whom: releases by the dozen, some of them side by side.
//!
//! `hack/bench loop` runs it. Each release has a namespace, an app and fifty requests a second of its own. What it must
//! show are the bars at the end of the table; the times begin with the candidate's first request.
use crate::{
    load::{RATE, Tally},
    objects::{APP, IMAGE, Revision, step},
    stage::{REPLICAS, Setup, Stage},
    world::{Apply, World, beside_others, until, with_temp_ns},
};
use bellwether::judge::{Bursts, Counts, Interval, Rules, Sensitivity, compare::Errors};
use serde_json::{Value, json};
use std::{collections::VecDeque, fmt::Write as _, panic::AssertUnwindSafe, sync::Mutex, time::Duration};

/// What a release is like, and what is to become of it.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    about: &'static str,
    /// One of so many runs that were asked for.
    one_of: usize,
    setup: fn() -> Setup,
    release: fn() -> Revision,
    /// Whether stable has a past when it is released: which Prometheus knows it, and the share of its errors.
    past: Option<(&'static str, &'static str)>,
    /// Whether both revisions' pods fail a fifth of their requests for a while.
    incident: bool,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It must be called back; in seconds and requests, at most, in the median; and no later than after so many seconds.
    Aborted(Bars),
    /// It must take over.
    Promoted,
}

/// What is promised of releases that are called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bars {
    /// Seconds and the candidate's requests, in the median.
    median: Option<(u32, u32)>,
    /// Seconds of the slowest.
    slowest: u32,
    /// Seconds after a judge that sees every request at once, in the median.
    after_ideal: Option<u32>,
}

/// What became of one release.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// From the candidate's first request until the decision was in the status.
    seconds: f64,
    /// The candidate's requests in all, and those of them that it failed.
    requests: usize,
    failed: usize,
    /// Seconds after a judge that sees every request at once; nothing where that one never decides.
    after_ideal: Option<f64>,
    /// Why, as the status says it.
    #[expect(dead_code, reason = "read by people, in the line of each release")]
    why: String,
}

fn provider(spec: &Value) -> Value {
    json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": "MetricProvider", "metadata": {"name": "bench"}, "spec": spec})
}

/// A Prometheus of hack/bench, in this namespace.
fn prometheus(namespace: &str) -> Value {
    provider(&json!({"prometheus": {"url": format!("http://prometheus.{namespace}.svc"), "scrapeInterval": "5s"}}))
}

fn pods() -> Value {
    provider(&json!({"pods": {"port": "http", "interval": "1s"}}))
}

/// One metric, compared with stable's and held against no number.
fn only(analysis: &mut Value, metric: &Value) {
    analysis["provider"]["name"] = json!("bench");
    analysis["metrics"] = json!([metric]);
}

fn gateways_errors(analysis: &mut Value) {
    only(analysis, &json!({"name": "errors", "preset": "traefik/error-rate"}));
}

fn pods_errors(analysis: &mut Value) {
    only(analysis, &json!({"name": "errors", "preset": "app/error-rate"}));
}

/// Of which a person has said that they come one by one.
fn pods_errors_one_by_one(analysis: &mut Value) {
    pods_errors(analysis);
    analysis["margins"] = json!({"bursts": 1});
}

fn scores(analysis: &mut Value) {
    let series = |name: &str| format!("eval_score_{name}{{arm=\"$arm\"}}");
    let scores = json!({"count": series("count"), "sum": series("sum"), "sumOfSquares": series("sumsq")});
    only(analysis, &json!({"name": "quality", "scores": scores}));
}

/// A step of five of a hundred requests.
fn at_five() -> Vec<Value> {
    vec![step("warm", 0, "5s"), step("five", 5, "300s")]
}

/// Steps that a good release passes.
fn upwards() -> Vec<Value> {
    vec![step("warm", 0, "5s"), step("twenty", 20, "60s"), step("half", 50, "60s")]
}

fn found_by(provider: Value, analysis: fn(&mut Value)) -> Setup {
    Setup { steps: at_five(), besides: vec![provider], analysis, ..Setup::default() }
}

fn passed_by(provider: Value, analysis: fn(&mut Value), stable: Revision) -> Setup {
    Setup { stable, steps: upwards(), besides: vec![provider], analysis, ..Setup::default() }
}

const SINGLE: &str = "bench-prometheus";
const PAIR: &str = "bench-pair";

/// Found at all, however late.
const FOUND: Bars = Bars { median: None, slowest: 180, after_ideal: None };

/// What is to be called back: one request in twenty fails.
const BAD: Case = Case {
    name: "",
    about: "",
    one_of: 4,
    setup: || found_by(prometheus(SINGLE), gateways_errors),
    release: || Revision::new("v2").with("ERROR_RATE", "0.05"),
    past: None,
    incident: false,
    end: End::Aborted(FOUND),
};

/// What is to take over: as many fail as at stable.
const GOOD: Case = Case {
    setup: || passed_by(prometheus(SINGLE), gateways_errors, Revision::new("v1").with("ERROR_RATE", "0.005")),
    release: || Revision::new("v2").with("ERROR_RATE", "0.005"),
    past: Some((SINGLE, "0.005")),
    end: End::Promoted,
    ..BAD
};

const CASES: &[Case] = &[
    Case {
        name: "prometheus",
        about: "5 % errors against 0.5 %, at 5 % of the traffic; Prometheus scrapes every 5 s",
        one_of: 1,
        past: Some((SINGLE, "0.005")),
        end: End::Aborted(Bars { median: Some((60, 150)), after_ideal: Some(10), ..FOUND }),
        ..BAD
    },
    Case {
        name: "pods",
        about: "the same, by the pods' own pages every second; margins.bursts says 1",
        one_of: 1,
        setup: || found_by(pods(), pods_errors_one_by_one),
        end: End::Aborted(Bars { median: Some((50, 125)), after_ideal: Some(3), ..FOUND }),
        ..BAD
    },
    Case {
        name: "equal",
        about: "0.8 % errors like stable; 20 % and 50 % of the traffic, a minute each",
        one_of: 1,
        setup: || passed_by(prometheus(SINGLE), gateways_errors, Revision::new("v1").with("ERROR_RATE", "0.008")),
        release: || Revision::new("v2").with("ERROR_RATE", "0.008"),
        past: Some((SINGLE, "0.008")),
        ..GOOD
    },
    Case {
        name: "unknown-past",
        about: "5 % errors against 0.5 %, by the pods' pages, and nothing known of stable's past",
        setup: || found_by(pods(), pods_errors),
        end: End::Aborted(Bars { slowest: 300, ..FOUND }),
        ..BAD
    },
    Case {
        name: "incident",
        about: "0.5 % like stable, and in mid-step both fail 20 % for 20 s",
        incident: true,
        ..GOOD
    },
    Case {
        name: "all-fail",
        about: "every request fails, at 5 % of the traffic; nothing known of stable's past",
        release: || Revision::new("v2").with("ERROR_RATE", "1"),
        ..BAD
    },
    Case {
        name: "score-tenth",
        about: "a model that scores 0.7 against 0.8, at 20 % of the traffic",
        setup: || passed_by(prometheus(SINGLE), scores, Revision::new("v1").with("SCORE", "0.8")),
        release: || Revision::new("v2").with("SCORE", "0.7"),
        ..BAD
    },
    Case {
        name: "score-hundredth",
        about: "a model that scores 0.79 against 0.8: inside the margin",
        setup: || passed_by(prometheus(SINGLE), scores, Revision::new("v1").with("SCORE", "0.8")),
        release: || Revision::new("v2").with("SCORE", "0.79"),
        past: None,
        ..GOOD
    },
    Case {
        name: "pair-equal",
        about: "0.5 % like stable; two Prometheus servers behind one address",
        setup: || passed_by(prometheus(PAIR), gateways_errors, Revision::new("v1").with("ERROR_RATE", "0.005")),
        past: Some((PAIR, "0.005")),
        ..GOOD
    },
    Case {
        name: "pair-bad",
        about: "5 % errors against 0.5 %, at 5 % of the traffic, and the two servers",
        setup: || found_by(prometheus(PAIR), gateways_errors),
        past: Some((PAIR, "0.005")),
        ..BAD
    },
];

/// Gives stable the past hour that a team's app has: as many requests as now, of which this share failed.
///
/// It is put into Prometheus under the name that Traefik has for the stable Service, and waited for until every server has it.
async fn make_past(world: &World, prometheus: &str, share: &str) {
    let service = format!("{}-{APP}-stable-http-80@kubernetesgateway", world.namespace);
    let args = ["past", "-service", &service, "-rate", &RATE.to_string(), "-errors", share];
    let annotations = json!({"prometheus.io/scrape": "true", "prometheus.io/port": "8080"});
    let container = json!({"name": "past", "image": IMAGE, "imagePullPolicy": "Never", "args": args});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "past", "annotations": annotations},
        "spec": {"containers": [container]},
    });
    world.applied(Apply::ServerSide, &[pod]).await;
    let query = format!("count_over_time(traefik_service_requests_total{{code=\"500\",service=\"{service}\"}}[2h])");
    let url = reqwest::Url::parse_with_params("http://prometheus/", [("query", query)]).unwrap();
    let query = url.query().unwrap_or_default();
    let path = format!("/api/v1/namespaces/{prometheus}/services/prometheus:80/proxy/api/v1/query?{query}");
    let mut in_a_row = 0;
    until("Prometheus has stable's past", 60, async || {
        let text = world.client.request_text(http::Request::get(&path).body(Vec::new()).unwrap()).await;
        let said: Value = serde_json::from_str(&text.map_err(|error| error.to_string())?).unwrap();
        let count = said["data"]["result"][0]["value"][1].as_str().and_then(|count| count.parse().ok()).unwrap_or(0.0);
        in_a_row = if count > 700.0 { in_a_row + 1 } else { 0 };
        // Any of two servers may have answered.
        if in_a_row > 8 { Ok(()) } else { Err(said.to_string()) }
    })
    .await;
}

/// Makes every pod of the app fail a fifth of its requests for twenty seconds.
async fn incident(world: &World, stage: &Stage<'_>) {
    for pod in stage.records.pods().values().filter(|pod| pod.app == APP && !pod.gone) {
        let (namespace, name) = (&world.namespace, &pod.name);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:8080/proxy/incident?share=0.2&for=20s");
        world.client.request_text(http::Request::post(path).body(Vec::new()).unwrap()).await.unwrap();
    }
}

/// When a judge would call the release back that sees every answer in the second in which it is given, in Unix
/// milliseconds: the same comparison, and nothing between it and the requests.
fn ideal(tally: &Tally, version: &str) -> Option<f64> {
    let (first, last) = tally.span(version)?;
    let rules = Rules { margins: Sensitivity::Normal.margins(), bursts: Bursts::Known(1.0), block: 10, lasting: false };
    let mut errors = Errors::new(&rules);
    let mut answers: Vec<_> = tally.requests.iter().map(|request| (request.t + request.ms, request)).collect();
    answers.retain(|(at, _)| *at >= first);
    answers.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut answers = answers.into_iter().peekable();
    let mut end = first;
    while end < last + 1_000.0 {
        end += 1_000.0;
        let mut counts = [[0_u64; 2]; 2];
        while let Some((_, request)) = answers.next_if(|(at, _)| *at < end) {
            let [n, bad] = &mut counts[usize::from(request.version == version)];
            *n += 1;
            *bad += u64::from(request.code >= 500);
        }
        let [stable, canary] = counts.map(|[n, bad]| Counts::new(n, bad));
        errors.add(&Interval { canary, stable });
        if errors.fails() {
            return Some(end);
        }
    }
    None
}

async fn release(world: &World, case: &Case) -> Outcome {
    let stage = Stage::set(world, (case.setup)()).await;
    if let Some((prometheus, share)) = case.past {
        make_past(world, prometheus, share).await;
    }
    let revision = (case.release)();
    let version = revision.version;
    stage.push(&revision).await;
    if case.incident {
        stage.until_served("twenty", 20, version).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        incident(world, &stage).await;
    }
    let story = format!("loop_{}", case.name.replace('-', "_"));
    if case.end == End::Promoted {
        stage.until_promoted(400).await;
        let tally = stage.check_promoted(&story, version, REPLICAS, &["warm", "twenty", "half"]).await;
        return Outcome { requests: tally.of(version).count(), failed: tally.failed(version), ..Outcome::default() };
    }
    let aborted = stage.until_aborted(400, &["AnalysisFailed"]).await;
    let why = aborted["status"]["latch"]["message"].as_str().unwrap_or_default().to_owned();
    let decided = stage.records.when(|it| !it["status"]["latch"].is_null()).unwrap();
    let tally = stage.check_aborted(&story, version).await;
    let (first, _) = tally.span(version).expect("it was judged by its requests");
    Outcome {
        seconds: (decided - first) / 1_000.0,
        requests: tally.of(version).count(),
        failed: tally.failed(version),
        after_ideal: ideal(&tally, version).map(|at| (decided - at) / 1_000.0),
        why,
    }
}

/// One release in a namespace of its own; what went wrong, if it did not end as it must or lost a request.
fn told(case: &Case) -> Result<Outcome, String> {
    let mut outcome = None;
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| {
        with_temp_ns(&format!("loop-{}", case.name), async |world| outcome = Some(release(world, case).await));
    }));
    let words = |panic: Box<dyn std::any::Any + Send>| {
        panic.downcast_ref::<String>().map_or("a panic", String::as_str).chars().take(400).collect()
    };
    told.map_err(words).and_then(|()| outcome.ok_or_else(|| "nothing was measured".to_owned()))
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    let middle = of.len() / 2;
    match (of.get(middle), of.len() % 2) {
        (None, _) => f64::NAN,
        (Some(one), 1) => *one,
        (Some(one), _) => f64::midpoint(*one, of[middle - 1]),
    }
}

/// A row of the table and the bars that are about it, with whether each was kept.
fn judged(case: &Case, runs: &[Result<Outcome, String>]) -> (String, Vec<(String, bool)>) {
    let good: Vec<&Outcome> = runs.iter().flatten().collect();
    let of = |number: fn(&Outcome) -> f64| good.iter().map(|outcome| number(outcome)).collect::<Vec<_>>();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let [requests, failed] = [of(|it| it.requests as f64), of(|it| it.failed as f64)].map(median);
    let late: Vec<f64> = good.iter().filter_map(|outcome| outcome.after_ideal).collect();
    let End::Aborted(bars) = case.end else {
        let row = format!("| promoted {} of {} | | | {requests:.0} | {failed:.0} | |", good.len(), runs.len());
        return (row, vec![(format!("{}: all promoted, no request lost", case.name), good.len() == runs.len())]);
    };
    let seconds = of(|it| it.seconds);
    let (middle, slowest) = (median(seconds.clone()), seconds.into_iter().fold(0.0, f64::max));
    let ideal = median(late);
    let after = if ideal.is_finite() { format!("{ideal:.1} s") } else { String::new() };
    let row = format!(
        "| aborted {} of {} | {middle:.1} s | {slowest:.1} s | {requests:.0} | {failed:.0} | {after} |",
        good.len(),
        runs.len()
    );
    let mut kept = vec![(format!("{}: all aborted, no request lost", case.name), good.len() == runs.len())];
    kept.push((format!("{}: all within {} s", case.name, bars.slowest), slowest <= f64::from(bars.slowest)));
    if let Some((most, most_requests)) = bars.median {
        kept.push((format!("{}: at most {most} s in the median", case.name), middle <= f64::from(most)));
        let what = format!("{}: at most {most_requests} requests in the median", case.name);
        kept.push((what, requests <= f64::from(most_requests)));
    }
    if let Some(most) = bars.after_ideal {
        let what = format!("{}: at most {most} s after the ideal judge, in the median", case.name);
        kept.push((what, ideal <= f64::from(most)));
    }
    (row, kept)
}

fn number(name: &str, or: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

#[test]
#[ignore = "takes an hour and two Prometheus servers more: hack/bench loop"]
fn bench_loop() {
    let _right = beside_others();
    let (runs, at_once) = (number("BELLWETHER_LOOP_RUNS", 20), number("BELLWETHER_LOOP_AT_ONCE", 6));
    let wanted = std::env::var("BELLWETHER_LOOP_CASES").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    let unknown = wanted.iter().find(|name| !CASES.iter().any(|case| case.name == **name));
    assert!(unknown.is_none(), "there is no case {unknown:?}; there are {:?}", names());
    let cases: Vec<&Case> = CASES.iter().filter(|case| wanted.is_empty() || wanted.contains(&case.name)).collect();
    let all = cases.iter().enumerate().flat_map(|(at, case)| vec![at; runs.div_ceil(case.one_of)]);
    let queue: Mutex<VecDeque<usize>> = Mutex::new(all.collect());
    let done: Mutex<Vec<Vec<Result<Outcome, String>>>> = Mutex::new(vec![Vec::new(); cases.len()]);
    std::thread::scope(|scope| {
        for worker in 0..at_once {
            let (queue, done, cases) = (&queue, &done, &cases);
            scope.spawn(move || {
                // Not all at the same moment.
                std::thread::sleep(Duration::from_secs(3 * worker as u64));
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some(at) = next else { return };
                    let outcome = told(cases[at]);
                    println!("{}: {outcome:?}", cases[at].name);
                    done.lock().unwrap()[at].push(outcome);
                }
            });
        }
    });
    let mut text = format!(
        "\n{RATE} requests a second each, {at_once} releases at a time; times from the candidate's first request.\n\n\
         | case | | median | slowest | requests | failed | after the ideal judge |\n|---|---|---|---|---|---|---|\n"
    );
    let mut bars = Vec::new();
    for (case, runs) in cases.iter().zip(done.into_inner().unwrap()) {
        let (row, kept) = judged(case, &runs);
        writeln!(text, "| {}: {} {row}", case.name, case.about).unwrap();
        bars.extend(kept);
    }
    text += "\n| bar | |\n|---|---|\n";
    for (what, kept) in &bars {
        writeln!(text, "| {what} | {} |", if *kept { "ok" } else { "MISSED" }).unwrap();
    }
    let missed = bars.iter().filter(|(_, kept)| !kept).count();
    println!("{text}\n{} bars, {missed} missed", bars.len());
    assert_eq!(missed, 0, "bars were missed");
}

fn names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}
