//! The pods' own pages of metrics are enough to undo a bad release within seconds: no Prometheus is asked.
use crate::{
    figures::figure,
    objects::Revision,
    stage::{Setup, Stage, long_steps},
    world::{beside_others, now_ms, with_temp_ns},
};
use serde_json::{Value, json};

/// A provider that reads the app's pages every second.
fn provider() -> Value {
    json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "MetricProvider", "metadata": {"name": "pods"},
        "spec": {"pods": {"port": "http", "interval": "1s"}},
    })
}

fn setup() -> Setup {
    Setup {
        besides: vec![provider()],
        analysis: |analysis| {
            analysis["provider"]["name"] = json!("pods");
            analysis["metrics"] =
                json!([{"name": "errors", "preset": "app/error-rate"}, {"name": "latency", "preset": "app/latency"}]);
        },
        ..Setup::default()
    }
}

#[test]
fn a_release_that_fails_every_third_request_is_undone_within_seconds_by_the_pods_own_pages() {
    let _right = beside_others();
    with_temp_ns("pods-bad", async |world| {
        let stage = Stage::set(world, Setup { steps: long_steps(), ..setup() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.33")).await;
        stage.until_served("twenty", 20, "v2").await;
        let served_at = now_ms();
        let aborted = stage.until_aborted(90, &["AnalysisFailed"]).await;
        let took = (now_ms() - served_at) / 1000.0;
        let why = aborted["status"]["latch"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(why.starts_with("errors") && why.contains("errors: "), "{why}");
        figure("pods_bad", &format!("aborted {took:.1} s after it served at 20 %: {why}"));
        let tally = stage.check_aborted("pods_bad", "v2").await;
        assert!(tally.failed("v2") > 0, "it was aborted without a failed request");
    });
}

#[test]
fn an_equal_release_is_promoted_by_the_pods_own_pages_alone() {
    let _right = beside_others();
    with_temp_ns("pods-equal", async |world| {
        let stage = Stage::set(world, setup()).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_promoted(180).await;
        let decisions = stage.records.decisions();
        assert!(!decisions.iter().any(|it| it == "EvidenceRestarted"), "no page was missing: {decisions:?}");
        stage.check_promoted("pods_equal", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}
