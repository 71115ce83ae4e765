//! Without numbers nothing is decided: a rollout waits, says so, and goes on when they are back.
use crate::{
    figures::figure,
    objects::{self, OnSigterm, Revision, step},
    process::{self, Stopped, kubectl, run},
    stage::{Setup, Stage},
    world::{MONITORING, World, beside_others, now_ms, until, with_temp_ns},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use std::time::Duration;

const PAUSE: Duration = Duration::from_mins(2);
/// The provider that asks the story's own Prometheus.
const PROVIDER: &str = "own-prometheus";

/// A Prometheus like that of the test bed and beside it, which nobody else asks. It has the namespace's name.
struct Prometheus<'a>(&'a World);

impl<'a> Prometheus<'a> {
    async fn made(world: &'a World) -> Self {
        let name = &world.namespace;
        let said = kubectl(MONITORING, &["get", "deployment/prometheus", "service/prometheus", "-o", "json"]).await;
        let mut like: Value = serde_json::from_str(&said.well("kubectl get")).unwrap();
        let [deployment, service] = like["items"].as_array_mut().unwrap().as_mut_slice() else {
            panic!("two objects: {like}")
        };
        let label = json!({"app": name});
        deployment["spec"]["selector"] = json!({"matchLabels": label});
        deployment["spec"]["template"]["metadata"] = json!({"labels": label});
        let ports = &service["spec"]["ports"];
        service["spec"] = json!({"selector": label, "ports": ports});
        for object in [&mut *deployment, &mut *service] {
            object["metadata"] = json!({"name": name});
        }
        run("kubectl", &["-n", MONITORING, "create", "-f", "-"], &like.to_string()).await.well("kubectl create");
        let own = Self(world);
        own.ready().await;
        own
    }

    /// A stage whose Rollout asks it alone.
    async fn stage(&self, mut setup: Setup) -> Stage<'a> {
        let mut provider = objects::provider("MetricProvider", PROVIDER);
        provider["spec"]["prometheus"]["url"] = json!(format!("http://{}.{MONITORING}.svc", self.0.namespace));
        setup.besides.push(provider);
        setup.analysis = |analysis| analysis["provider"]["name"] = json!(PROVIDER);
        Stage::set(self.0, setup).await
    }

    /// Waits until it is ready; returns its pod's name and uid.
    async fn ready(&self) -> (String, String) {
        let pods: Api<Pod> = Api::namespaced(self.0.client.clone(), MONITORING);
        until("the story's Prometheus is ready", 60, async || {
            let label = format!("app={}", self.0.namespace);
            let list = pods.list(&ListParams::default().labels(&label)).await.map_err(|error| error.to_string())?;
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
}

/// Whether a Rollout waits because there is nothing usable to judge.
fn is_dark(rollout: &Value) -> bool {
    let said =
        ["NoEvidence", "NoRequests"].iter().any(|reason| rollout["status"]["waitingFor"][0]["reason"] == *reason);
    rollout["status"]["phase"] == "Waiting" && said
}

#[test]
fn prometheus_stopped_for_two_minutes_is_waited_for_and_said_and_the_release_goes_on() {
    let _right = beside_others();
    with_temp_ns("prom-stop", async |world| {
        let steps = vec![step("warm", 0, "5s"), step("twenty", 20, "20s"), step("half", 50, "10s")];
        let prometheus = Prometheus::made(world).await;
        let stage = prometheus.stage(Setup { steps, on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;

        let (_, uid) = prometheus.ready().await;
        let stopped_at = now_ms();
        let stopped = Stopped::stop(process::of_pod(&uid, "--storage.tsdb.path")).await;
        let end = tokio::time::Instant::now() + PAUSE;
        let waiting = stage.records.until("the Rollout says that it waits for numbers", 90, is_dark).await;
        let said = (now_ms() - stopped_at) / 1000.0;
        let waits_for = &waiting["status"]["waitingFor"][0];
        assert!(
            waits_for["object"].as_str().is_some_and(|it| it.contains(PROVIDER)),
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
fn prometheus_that_loses_its_data_makes_the_evidence_begin_anew_and_the_release_goes_on() {
    let _right = beside_others();
    with_temp_ns("prom-lost", async |world| {
        let steps = vec![step("warm", 0, "5s"), step("twenty", 20, "30s"), step("half", 50, "10s")];
        let prometheus = Prometheus::made(world).await;
        let stage = prometheus.stage(Setup { steps, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;

        // Its data is in the pod.
        let (pod, _) = prometheus.ready().await;
        let delete = ["delete", "pod", &pod, "--grace-period=0", "--force", "--wait=false"];
        kubectl(MONITORING, &delete).await.well("kubectl delete pod");
        prometheus.ready().await;
        stage.until_promoted(180).await;
        let decisions = stage.records.decisions();
        assert!(decisions.iter().any(|it| it == "EvidenceRestarted"), "it says so: {decisions:?}");
        assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
        stage.check_promoted("prometheus_lost_its_data", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}
