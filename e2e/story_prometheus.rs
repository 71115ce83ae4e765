//! Without numbers nothing is decided: a rollout waits, says so, and goes on when they are back.
use crate::{
    figures::figure,
    objects::{OnSigterm, Revision, step},
    process::{self, Stopped, kubectl},
    stage::{Setup, Stage},
    world::{World, alone, now_ms, until, with_temp_ns},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use serde_json::Value;
use std::time::Duration;

const MONITORING: &str = "monitoring";
const PAUSE: Duration = Duration::from_mins(2);

/// Name and uid of Prometheus' pod, which is ready.
async fn prometheus(world: &World) -> (String, String) {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), MONITORING);
    until("Prometheus is ready", 60, async || {
        let list = pods.list(&ListParams::default().labels("app=prometheus")).await.unwrap();
        let living: Vec<Value> = list.items.iter().map(|pod| serde_json::to_value(pod).unwrap()).collect();
        let found = living.iter().find(|pod| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
            ready && pod["metadata"]["deletionTimestamp"].is_null()
        });
        let text = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
        found.map(|pod| (text(pod, "name"), text(pod, "uid"))).ok_or_else(|| format!("{} pods", living.len()))
    })
    .await
}

/// Whether a Rollout waits because there is nothing usable to judge.
fn is_dark(rollout: &Value) -> bool {
    let said =
        ["NoEvidence", "NoRequests"].iter().any(|reason| rollout["status"]["waitingFor"][0]["reason"] == *reason);
    rollout["status"]["phase"] == "Waiting" && said
}

#[test]
fn alone_prometheus_stopped_for_two_minutes_is_waited_for_and_said_and_the_release_goes_on() {
    let _right = alone();
    with_temp_ns("prom-stop", async |world| {
        let steps = vec![step("warm", 0, "5s"), step("twenty", 20, "20s"), step("half", 50, "10s")];
        let stage = Stage::set(world, Setup { steps, on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;

        let (_, uid) = prometheus(world).await;
        let stopped_at = now_ms();
        let stopped = Stopped::stop(process::of_pod(&uid, "--storage.tsdb.path")).await;
        let end = tokio::time::Instant::now() + PAUSE;
        let waiting = stage.records.until("the Rollout says that it waits for numbers", 90, is_dark).await;
        let said = (now_ms() - stopped_at) / 1000.0;
        let waits_for = &waiting["status"]["waitingFor"][0];
        assert!(
            waits_for["object"].as_str().is_some_and(|it| it.contains("prometheus")),
            "it names the provider: {waits_for}"
        );
        assert!(waits_for["message"].as_str().is_some_and(|it| !it.is_empty()), "it says what is wrong: {waits_for}");
        tokio::time::sleep_until(end).await;
        let rollout = stage.records.rollout().unwrap();
        assert!(is_dark(&rollout) && rollout["status"]["step"]["name"] == "twenty", "it moved without numbers");
        drop(stopped);

        let back_at = now_ms();
        stage.records.until("the release goes on", 60, |it| !is_dark(it)).await;
        let went_on = (now_ms() - back_at) / 1000.0;
        figure(
            "prometheus_stopped",
            &format!("said {said:.1} s after it stopped, went on {went_on:.1} s after it was back"),
        );
        stage.until_promoted(180).await;
        assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
        stage.check_promoted("prometheus_stopped", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}

#[test]
fn alone_prometheus_that_loses_its_data_makes_the_evidence_begin_anew_and_the_release_goes_on() {
    let _right = alone();
    with_temp_ns("prom-lost", async |world| {
        let steps = vec![step("warm", 0, "5s"), step("twenty", 20, "30s"), step("half", 50, "10s")];
        let stage = Stage::set(world, Setup { steps, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;

        // Its data is in the pod.
        let (pod, _) = prometheus(world).await;
        let delete = ["delete", "pod", &pod, "--grace-period=0", "--force", "--wait=false"];
        kubectl(MONITORING, &delete).await.well("kubectl delete pod");
        prometheus(world).await;
        stage.until_promoted(180).await;
        let decisions = stage.records.decisions();
        assert!(decisions.iter().any(|it| it == "EvidenceRestarted"), "it says so: {decisions:?}");
        assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
        stage.check_promoted("prometheus_lost_its_data", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}
