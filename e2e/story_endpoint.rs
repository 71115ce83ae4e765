//! A release is judged by what an endpoint of the team's own says of each revision, for whoever signs the question.
use crate::{
    figures::figure,
    objects::{self, Revision},
    stage::{Setup, Stage, waits_for},
    world::{World, beside_others, with_temp_ns},
};
use serde_json::{Value, json};

fn setup(namespace: &str) -> Setup {
    let scores = json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "MetricProvider", "metadata": {"name": "scores"},
        "spec": {"web": {
            "url": format!("http://sink.{namespace}.svc"), "timeout": "2s",
            "hmac": {"secretRef": {"name": "sink", "key": "hmac"}},
        }},
    });
    Setup {
        steps: vec![
            objects::step("warm", 0, "5s"),
            objects::step("twenty", 20, "10s"),
            objects::step("half", 50, "5s"),
        ],
        besides: vec![scores],
        analysis: |analysis| {
            analysis["provider"] = json!({"kind": "MetricProvider", "name": "scores"});
            analysis["metrics"] = json!([{
                "name": "quality", "web": {"path": "/score?of={podTemplateHash}", "result": "/data/score"},
                "limit": {"min": "0.5"}, "when": {"fail": "canary < 0.95 * stable"}, "interval": "2s",
            }]);
        },
        ..Setup::default()
    }
}

/// The endpoint has made up its mind about a revision.
async fn scores(world: &World, hash: &str, score: &str) {
    let path = objects::page_of_sink(&world.namespace, &format!("score?of={hash}"));
    let request = http::Request::put(path).body(score.as_bytes().to_vec()).unwrap();
    world.client.request_text(request).await.unwrap();
}

fn hash_of_canary(rollout: &Value) -> String {
    rollout["status"]["canary"]["podTemplateHash"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_endpoint_that_knows_nothing_yet_is_waited_for_and_what_it_then_says_undoes_or_promotes() {
    let _right = beside_others();
    with_temp_ns("web", async |world| {
        let stage = Stage::set(world, setup(&world.namespace)).await;
        scores(world, &stage.stable_hash, "0.9").await;

        stage.push(&Revision::new("v2")).await;
        let waiting = stage.records.until("nobody has scored it", 60, |it| waits_for(it, "NoEvidence")).await;
        let words = waiting["status"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(words.contains("quality") && words.contains("404"), "{words}");
        scores(world, &hash_of_canary(&waiting), "0.8").await;
        let aborted = stage.until_aborted(60, &["AnalysisFailed"]).await;
        let why = aborted["status"]["latch"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("quality") && why.contains("0.8") && why.contains("0.9"), "{why}");

        stage.push(&Revision::new("v3")).await;
        let on_trial = |it: &Value| waits_for(it, "NoEvidence") && hash_of_canary(it) != hash_of_canary(&waiting);
        let waiting = stage.records.until("the next one is not scored either", 60, on_trial).await;
        scores(world, &hash_of_canary(&waiting), "0.88").await;
        stage.until_promoted(120).await;
        figure("web", &format!("not scored: {words}; 0.8 against 0.9: {why}; 0.88 was promoted"));
    });
}
