//! A model's releases are judged by what an evaluator says of its answers, as a template shared by several Rollouts has it.
use crate::{
    figures::figure,
    objects::{self, Revision},
    stage::{Setup, Stage},
    world::{beside_others, with_temp_ns},
};
use serde_json::{Value, json};

/// Means of scores are compared, and what a query says of both revisions.
fn evals() -> Value {
    json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "evals"},
        "spec": {
            "args": [{"name": "counter"}, {"name": "least", "value": "0.1"}],
            "metrics": [
                {"name": "quality", "scores": {
                    "count": "{{args.counter}}_count{arm=\"$arm\"}", "sum": "{{args.counter}}_sum{arm=\"$arm\"}",
                    "sumOfSquares": "{{args.counter}}_sumsq{arm=\"$arm\"}",
                }},
                {"name": "mean",
                 "query": "sum(rate({{args.counter}}_sum{arm=\"$arm\"}[$window])) / sum(rate({{args.counter}}_count{arm=\"$arm\"}[$window]))",
                 "limit": {"min": "{{args.least}}"}, "when": {"fail": "canary < 0.5 * stable"}},
            ],
        },
    })
}

fn setup() -> Setup {
    Setup {
        stable: Revision::new("v1").with("SCORE", "0.8"),
        steps: vec![
            objects::step("warm", 0, "5s"),
            objects::step("twenty", 20, "90s"),
            objects::step("half", 50, "30s"),
        ],
        besides: vec![evals()],
        analysis: |analysis| {
            analysis["metrics"] = json!([]);
            analysis["templates"] = json!([{"name": "evals", "args": [{"name": "counter", "value": "eval_score"}]}]);
        },
        ..Setup::default()
    }
}

#[test]
fn a_model_that_scores_a_tenth_less_is_taken_back_and_one_that_scores_a_hundredth_less_passes() {
    let _right = beside_others();
    with_temp_ns("scores", async |world| {
        let stage = Stage::set(world, setup()).await;
        stage.push(&Revision::new("v2").with("SCORE", "0.7")).await;
        let aborted = stage.until_aborted(200, &["AnalysisFailed"]).await;
        let why = aborted["status"]["latch"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("quality: the canary's mean score is worse than stable's by more than 0.02"), "{why}");
        stage.push(&Revision::new("v3").with("SCORE", "0.79")).await;
        let says = |rollout: &Value, name: &str| {
            let metrics = rollout["status"]["metrics"].as_array().cloned().unwrap_or_default();
            metrics.into_iter().find(|metric| metric["name"] == name).unwrap_or_default()
        };
        let passed = |rollout: &Value| {
            says(rollout, "quality")["verdict"] == "Pass" && says(rollout, "mean")["verdict"] == "Pass"
        };
        let seen = stage.records.until("the scores and the mean pass", 200, passed).await;
        let quality = says(&seen, "quality");
        assert!(says(&seen, "mean")["stable"].is_string(), "{seen}");
        stage.until_promoted(200).await;
        figure(
            "scores",
            &format!(
                "0.7 against 0.8: {why}; 0.79: {} against {}: {}",
                quality["canary"], quality["stable"], quality["why"]
            ),
        );
    });
}
