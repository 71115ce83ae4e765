//! An evaluation that runs as a Job judges a release before it gets a request.
use crate::{
    figures::figure,
    objects::{self, Revision},
    process::kubectl,
    stage::{Setup, Stage},
    world::{World, beside_others, now_ms, with_temp_ns},
};
use serde_json::{Value, json};

/// A Job that runs the app's own evaluation.
pub fn job(args: &[&str], result: &str) -> Value {
    let container = json!({"name": "eval", "image": "localhost/bw-app:1", "imagePullPolicy": "Never", "args": args});
    json!({"result": result, "deadline": "60s", "template": {"spec": {"containers": [container]}}})
}

/// Two hundred questions before the first request, asked of both revisions, and a smoke test under way.
fn metrics() -> Value {
    json!([
        {"name": "errors", "preset": "traefik/error-rate"},
        {"name": "answers", "steps": ["offline"], "job": job(&["eval"], "Score"),
         "limit": {"min": "0.9"}, "when": {"fail": "canary < stable - 0.05"}},
        {"name": "smoke", "steps": ["twenty"], "job": job(&["eval", "-questions", "50", "-least", "0.8"], "ExitCode")},
    ])
}

fn setup() -> Setup {
    Setup {
        steps: vec![
            objects::step("offline", 0, "1s"),
            objects::step("twenty", 20, "10s"),
            objects::step("half", 50, "10s"),
        ],
        analysis: |analysis| analysis["metrics"] = metrics(),
        ..Setup::default()
    }
}

/// The Jobs that there are, each as its metric, arm and whether it succeeded.
pub async fn jobs(world: &World) -> Vec<(String, String, bool)> {
    let said = kubectl(&world.namespace, &["get", "jobs", "-o", "json"]).await.well("kubectl get jobs");
    let list: Value = serde_json::from_str(&said).unwrap();
    let mut jobs: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| {
            let label = |name: &str| job["metadata"]["labels"][name].as_str().unwrap_or_default().to_owned();
            (label("bellwether.dev/metric"), label("bellwether.dev/arm"), job["status"]["succeeded"] == 1)
        })
        .collect();
    jobs.sort();
    jobs
}

#[test]
fn a_release_that_an_evaluation_finds_worse_is_taken_back_before_it_gets_a_request() {
    let _right = beside_others();
    with_temp_ns("job-bad", async |world| {
        let stage = Stage::set(world, setup()).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.3")).await;
        let begun = now_ms();
        let aborted = stage.until_aborted(120, &["AnalysisFailed"]).await;
        let why = aborted["status"]["latch"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(why.starts_with("answers: 1 of 1 runs "), "{why}");
        let took = (now_ms() - begun) / 1000.0;
        figure("job_bad", &format!("aborted {took:.1} s after the push, before a request: {why}"));
        let made = jobs(world).await;
        let wanted = [("answers", "canary", true), ("answers", "stable", true)];
        assert_eq!(
            made,
            wanted.map(|(metric, arm, good)| (metric.to_owned(), arm.to_owned(), good)),
            "one run of each"
        );
        let tally = stage.check_aborted("job_bad", "v2").await;
        assert_eq!(tally.of("v2").count(), 0, "it was judged before it got a request");
    });
}

#[test]
fn a_release_that_passes_its_evaluation_and_its_smoke_test_is_promoted() {
    let _right = beside_others();
    with_temp_ns("job-good", async |world| {
        let stage = Stage::set(world, setup()).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_promoted(240).await;
        let made = jobs(world).await;
        let of = |metric: &str| made.iter().filter(|(other, _, good)| other == metric && *good).count();
        assert_eq!((of("answers"), of("smoke"), made.len()), (2, 1, 3), "{made:?}");
        stage.check_promoted("job_good", "v2", 3, &["offline", "twenty", "half"]).await;
    });
}
