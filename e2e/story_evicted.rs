//! Pods of both revisions are evicted in mid-step, as when a node is drained.
use crate::{
    figures::figure,
    objects::{APP, Revision, step},
    stage::{DRAIN, Setup, Stage},
    world::{Apply, World, beside_others, now_ms, until, with_temp_ns},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::EvictParams};
use serde_json::{Value, json};

/// At most one of the app's pods may be missing, whichever revision it is of.
fn budget() -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": APP},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": APP}}},
    })
}

/// Evicts a pod of this template hash, as soon as the budget allows it, and waits until as many as before are ready.
async fn evict(world: &World, stage: &Stage<'_>, hash: &str) -> f64 {
    let ready = || {
        let pods = stage.records.pods_of(hash).into_values();
        pods.filter(|pod| pod.ready && pod.ending_at.is_none()).map(|pod| pod.name).collect::<Vec<_>>()
    };
    let before = ready();
    let victim = before.first().unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    until(&format!("the budget lets {victim} be evicted"), 30, async || {
        pods.evict(victim, &EvictParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let evicted_at = now_ms();
    until("another pod is ready in its place", 60, async || {
        let now = ready();
        if now.len() >= before.len() && !now.contains(victim) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    (now_ms() - evicted_at) / 1000.0
}

#[test]
fn pods_of_both_revisions_evicted_in_mid_step_are_replaced_and_no_request_is_lost() {
    let _right = beside_others();
    with_temp_ns("evicted", async |world| {
        // A single pod cannot be evicted without losing what comes before the gateway hears of it: here a step has two.
        let mut twenty = step("twenty", 20, "15s");
        twenty["replicas"] = json!(2);
        let steps = vec![step("warm", 0, "3s"), twenty, step("half", 50, "15s")];
        let stage = Stage::set(world, Setup { steps, ..Setup::taken_away() }).await;
        world.applied(Apply::ServerSide, &[budget()]).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005").with("DRAIN", DRAIN)).await;
        stage.until_served("twenty", 20, "v2").await;
        let candidate =
            stage.records.rollout().unwrap()["status"]["canary"]["podTemplateHash"].as_str().unwrap().to_owned();
        let mut took = vec![evict(world, &stage, &candidate).await, evict(world, &stage, &stage.stable_hash).await];
        stage.until_served("half", 50, "v2").await;
        took.extend([evict(world, &stage, &candidate).await, evict(world, &stage, &stage.stable_hash).await]);
        stage.until_promoted(180).await;
        figure(
            "evicted_in_mid_step",
            &format!("replaced after {took:.1?} s; the route's weights were {:?}", stage.records.weights()),
        );
        stage.took(&["warm", "twenty", "half"]);
        stage.check_serves("evicted_in_mid_step", "v2", 3).await;
    });
}
