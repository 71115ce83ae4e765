//! A real autoscaler of Kubernetes scales the Deployment while a release is on trial. Nobody measures its pods here, but
//! what its bounds ask for it writes all the same.
use crate::{
    figures::figure,
    objects::{APP, Revision, step},
    process::kubectl,
    stage::{DRAIN, Setup, Stage},
    world::{Apply, World, beside_others, now_ms, with_temp_ns},
};
use serde_json::{Value, json};

/// An autoscaler with these bounds.
fn autoscaler(least: i32, most: i32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": APP},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "minReplicas": least, "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
            }}],
        },
    })
}

/// Waits until stable has so many ready pods while the release is at this step; returns how many seconds that took.
async fn scaled(world: &World, stage: &Stage<'_>, step: &str, replicas: i32) -> f64 {
    let asked_at = now_ms();
    world.applied(Apply::ServerSide, &[autoscaler(replicas, replicas)]).await;
    let what = format!("the autoscaler gives stable {replicas} pods at step {step}");
    stage
        .records
        .until(&what, 60, |it| {
            assert_eq!(it["status"]["step"]["name"], step, "the step was left before the autoscaler came");
            it["status"]["stable"]["ready"] == replicas
        })
        .await;
    (now_ms() - asked_at) / 1000.0
}

#[test]
fn autoscaled_up_and_down_in_mid_step_stable_follows_and_no_request_is_lost() {
    let _right = beside_others();
    with_temp_ns("autoscaled", async |world| {
        let mut half = step("half", 50, "3s");
        half["approval"] = json!("Required");
        let mut twenty = step("twenty", 20, "3s");
        twenty["approval"] = json!("Required");
        let steps = vec![step("warm", 0, "3s"), twenty, half];
        let setup = Setup { steps, ..Setup::taken_away() };
        let stage = Stage::set(world, setup).await;
        world.applied(Apply::ServerSide, &[autoscaler(3, 5)]).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005").with("DRAIN", DRAIN)).await;
        stage.until_served("twenty", 20, "v2").await;
        let up = scaled(world, &stage, "twenty", 5).await;
        promote(world).await;
        stage.until_served("half", 50, "v2").await;
        let down = scaled(world, &stage, "half", 3).await;
        promote(world).await;
        stage.until_promoted(180).await;
        let said = kubectl(&world.namespace, &["get", "events", "--field-selector=reason=SuccessfulRescale"]).await;
        let said = said.well("kubectl get events");
        assert!(said.contains("New size: 5") && said.contains("New size: 3"), "it was the autoscaler: {said}");
        figure(
            "autoscaled_in_mid_step",
            &format!(
                "stable had 5 ready pods {up:.0} s after the least was raised, and 3 {down:.0} s after the most fell"
            ),
        );
        assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
        stage.took(&["warm", "twenty", "half"]);
        stage.check_serves("autoscaled_in_mid_step", "v2", 3).await;
    });
}

async fn promote(world: &World) {
    crate::process::plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
}
