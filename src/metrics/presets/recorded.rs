//! Pages of libraries and servers as `hack/record` has recorded them, and what the presets count there: as a Prometheus is
//! asked, and as the pods' pages are read. What was asked of a library stands at the top of its page.
use super::{
    super::{
        exposition::{self, Sample},
        scraped::{Asked, Found, Page, Scrapes, Wanted},
        tests::preset,
    },
    tests::is_found,
    *,
};
use crate::vocab::Arm;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A request is slow that took longer than the greatest edge that is no greater than this, in seconds.
const SLOW: f64 = 0.3;

/// What a preset counts on a page.
#[derive(Clone, Debug, PartialEq)]
enum Counts {
    /// So many requests, and so many of them that went wrong.
    Errors(f64, f64),
    /// So many requests, and so many of them that were slow.
    Slow(f64, f64),
    /// So much of the first counter in the unit of the ratio, and so much of the one that it is divided by; both to the next
    /// whole number.
    Ratio(f64, f64),
    /// Nothing, for the series do not say what went wrong.
    Untold,
}
use Counts::{Errors, Ratio, Slow, Untold};

/// Every page, and what each preset counts there that finds anything at all. The programs that serve HTTP are sent 35
/// requests of users, 5 of which fail and 4 are slow, 6 probes that fail, and 3 scrapes; those of gRPC as many calls. Of
/// model servers some of the counters are told of requests that none has answered.
const PAGES: &[(&str, &[(&str, Counts)])] = &[
    // Here, as in others, probes and scrapes are told by no label.
    ("django-exporter", &[("django/error-rate", Errors(44.0, 11.0)), ("django/latency", Slow(44.0, 4.0))]),
    ("express-prom-bundle", &[("express/error-rate", Errors(35.0, 5.0)), ("app/latency", Slow(35.0, 4.0))]),
    (
        "fastapi-instrumentator",
        &[
            ("app/error-rate", Errors(35.0, 5.0)),
            ("app/latency", Slow(35.0, 4.0)),
            // Its histogram has no status.
            ("express/error-rate", Untold),
        ],
    ),
    ("flask-exporter", &[("flask/error-rate", Errors(41.0, 11.0)), ("flask/latency", Slow(41.0, 4.0))]),
    ("go-grpc-middleware", &[("grpc/error-rate", Errors(35.0, 5.0)), ("grpc/latency", Slow(35.0, 4.0))]),
    ("go-grpc-prometheus", &[("grpc/error-rate", Errors(35.0, 5.0)), ("grpc/latency", Slow(35.0, 4.0))]),
    (
        "go-otelgrpc",
        &[("opentelemetry-rpc/error-rate", Errors(35.0, 5.0)), ("opentelemetry-rpc/latency", Slow(35.0, 4.0))],
    ),
    (
        "go-otelgrpc-old",
        &[("opentelemetry-rpc-old/error-rate", Errors(35.0, 5.0)), ("opentelemetry-rpc-old/latency", Slow(35.0, 4.0))],
    ),
    // What panicked was counted by nobody.
    (
        "go-otelhttp",
        &[("opentelemetry-http/error-rate", Errors(33.0, 3.0)), ("opentelemetry-http/latency", Slow(33.0, 4.0))],
    ),
    (
        "go-promhttp",
        &[
            ("app/error-rate", Errors(39.0, 9.0)),
            ("app/latency", Slow(39.0, 4.0)),
            ("express/error-rate", Errors(39.0, 9.0)),
        ],
    ),
    ("grpc-prometheus", &[("grpc/error-rate", Errors(35.0, 5.0)), ("grpc/latency", Slow(35.0, 4.0))]),
    (
        "opentelemetry-fastapi",
        &[("opentelemetry-http/error-rate", Errors(35.0, 5.0)), ("opentelemetry-http/latency", Slow(35.0, 4.0))],
    ),
    // Predictions that fail take their time too.
    ("kserve-server", &[("kserve/latency", Slow(33.0, 4.0))]),
    (
        "litellm-proxy",
        &[
            ("litellm/error-rate", Errors(35.0, 5.0)),
            ("litellm/latency", Slow(28.0, 4.0)),
            ("litellm/time-to-first-token", Slow(8.0, 4.0)),
            ("litellm/mean-cost-per-1000-tokens", Ratio(14_000.0, 840.0)),
            ("litellm/mean-tokens-per-second", Ratio(560.0, 2.0)),
        ],
    ),
    // A page that is mounted has no target, as what is not found.
    (
        "opentelemetry-fastapi-old",
        &[
            ("opentelemetry-http-old/error-rate", Errors(38.0, 5.0)),
            ("opentelemetry-http-old/latency", Slow(38.0, 4.0)),
        ],
    ),
    (
        "prom-client",
        &[
            ("app/error-rate", Errors(35.0, 5.0)),
            ("app/latency", Slow(35.0, 4.0)),
            ("express/error-rate", Errors(35.0, 5.0)),
        ],
    ),
    // An answer with status 500 is no exception, and so no failure.
    ("ray-serve", &[("ray-serve/error-rate", Errors(33.0, 2.0)), ("ray-serve/latency", Slow(33.0, 4.0))]),
    // What an exception broke was answered, but not counted as an answer.
    (
        "sglang-server",
        &[
            ("sglang/error-rate", Errors(33.0, 3.0)),
            ("sglang/latency", Slow(35.0, 4.0)),
            ("sglang/mean-tokens-per-second", Ratio(700.0, 43.0)),
            ("sglang/queue-time", Slow(35.0, 4.0)),
            ("sglang/time-per-output-token", Slow(665.0, 76.0)),
            ("sglang/time-to-first-token", Slow(35.0, 4.0)),
        ],
    ),
    ("spring", &[("spring/error-rate", Errors(35.0, 5.0)), ("spring/latency", Slow(35.0, 4.0))]),
    // It leaves out paths that there are not.
    ("starlette-exporter", &[("starlette/error-rate", Errors(33.0, 5.0)), ("starlette/latency", Slow(33.0, 4.0))]),
    // Another library, whose counter has the same name.
    ("starlette-prometheus", &[("starlette/error-rate", Untold)]),
    // Probes count as answers, and what takes no time in the queue is not there to the second.
    (
        "torchserve-server",
        &[
            ("torchserve/error-rate", Errors(39.0, 5.0)),
            ("torchserve/mean-latency", Ratio(2.0, 33.0)),
            ("torchserve/mean-queue-time", Ratio(0.0, 33.0)),
        ],
    ),
    (
        "vllm-server",
        &[
            ("app/error-rate", Errors(35.0, 5.0)),
            ("app/latency", Slow(35.0, 4.0)),
            ("express/error-rate", Untold),
            ("vllm/engine-error-rate", Errors(35.0, 5.0)),
            ("vllm/error-rate", Errors(35.0, 5.0)),
            ("vllm/latency", Slow(35.0, 4.0)),
            ("vllm/mean-tokens-per-second", Ratio(700.0, 32.0)),
            ("vllm/queue-time", Slow(35.0, 4.0)),
            ("vllm/time-per-output-token", Slow(665.0, 76.0)),
            ("vllm/time-to-first-token", Slow(35.0, 4.0)),
        ],
    ),
];

/// Pages by their names.
fn pages() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics/presets/recorded");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// What a preset makes of series.
fn counted(preset: &Preset, series: &[Sample]) -> Counts {
    let sum = |is: &dyn Fn(&Sample) -> bool| series.iter().filter(|&it| is(it)).map(|it| it.value).sum::<f64>();
    match preset.kind {
        Kind::Errors(bad) if series.iter().any(|it| bad.missing(&it.labels).is_some()) => Untold,
        Kind::Errors(bad) => Errors(sum(&|it| bad.sorts(&it.labels).0), sum(&|it| bad.sorts(&it.labels).1)),
        Kind::Latency(unit) => {
            let edge = |it: &Sample| unit.seconds(it.labels["le"].parse().unwrap());
            let slow = series.iter().map(edge).filter(|edge| *edge <= SLOW).fold(0.0, f64::max);
            let all = sum(&|it| edge(it).is_infinite());
            Slow(all, all - sum(&|it| (edge(it) - slow).abs() < 1e-12))
        }
        Kind::Ratio(super::Ratio { per, times }) => {
            let is_below = |it: &Sample| it.labels["__name__"] == per;
            Ratio((sum(&|it| !is_below(it)) * times).round(), sum(&is_below).round())
        }
    }
}

/// The same series as they are added up of the page of a pod that is new.
fn scraped(name: &str, page: &[Sample]) -> Vec<Sample> {
    let wanted = Wanted::of(&preset(name)).remove(0);
    let page = Page {
        pod: "app-7c9f-aaaaa".into(),
        uid: "a".into(),
        arm: Arm::Canary,
        started: Some(1_500),
        began: Some(1_500),
        read: Ok(vec![(wanted.clone(), Found::of(&wanted, page))]),
    };
    let mut scrapes = Scrapes::default();
    let asked = Asked { metric: "m", wanted: wanted.clone(), start: Some(1_000) };
    scrapes.add(2_000, &[asked], &[page], &BTreeSet::from(["a"]));
    assert_eq!(scrapes.trouble(Arm::Canary), None, "{name}");
    let counted = scrapes.counted("m", &wanted, Arm::Canary, 1_000).series;
    counted.into_iter().map(|series| Sample { labels: series.labels, value: series.samples[0].1 }).collect()
}

#[test]
fn presets_count_on_recorded_pages_what_was_asked_of_their_libraries() {
    let pages = pages();
    let known: BTreeSet<_> = PAGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(pages.keys().cloned().collect::<BTreeSet<_>>(), known);
    for (page, expected) in PAGES {
        let samples = exposition::read(pages[*page].as_bytes(), |_| true).unwrap();
        let expected: BTreeMap<_, _> = expected.iter().cloned().collect();
        let mut found = BTreeMap::new();
        for preset in all() {
            let series: Vec<_> = samples.iter().filter(|it| is_found(preset, &it.labels)).cloned().collect();
            if !series.is_empty() {
                let by_query = counted(preset, &series);
                assert_eq!(counted(preset, &scraped(preset.name, &samples)), by_query, "{page}: {}", preset.name);
                found.insert(preset.name, by_query);
            }
        }
        assert_eq!(found, expected, "{page}");
    }
}
