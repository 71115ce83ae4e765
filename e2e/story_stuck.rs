//! Releases whose pods never run: status tells within seconds what keeps them, and the app serves on.
use crate::{
    figures::figure,
    objects::APP,
    stage::{REPLICAS, Setup, Stage, waits_for},
    world::{Apply, Kind, World, beside_others, now_ms, with_temp_ns},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The Deployment's template gets this, as from a pipeline.
async fn push(world: &World, spec: Value) {
    let change = json!({"spec": {"template": {"spec": spec}}});
    world.api(Kind::Deployment).patch(APP, &PatchParams::default(), &Patch::Strategic(change)).await.unwrap();
}

/// For how many seconds it takes until the status waits for this, in words that hold these.
async fn told(stage: &Stage<'_>, reason: &str, words: &str) -> f64 {
    let at = now_ms();
    let waiting = stage.records.until(&format!("status says {reason}"), 30, |it| waits_for(it, reason)).await;
    let message = waiting["status"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{reason} in other words: {message}");
    (now_ms() - at) / 1000.0
}

#[test]
fn what_keeps_a_releases_pods_from_running_is_told_apart_within_seconds() {
    let _right = beside_others();
    with_temp_ns("stuck", async |world| {
        let stage = Stage::set(world, Setup::default()).await;
        let image = |image: &str| json!([{"name": "app", "image": image}]);
        push(world, json!({"containers": image("localhost/no-such-app:1")})).await;
        let pulled = told(&stage, "ImageNotPulled", "no-such-app").await;

        push(
            world,
            json!({"containers": image("localhost/bw-app:1"), "nodeSelector": {"no-such-label": "on-any-node"}}),
        )
        .await;
        let scheduled = told(&stage, "Unschedulable", "Unschedulable").await;

        // Room for stable's pods and the sink's.
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"},
            "spec": {"hard": {"pods": (REPLICAS + 1).to_string()}},
        });
        world.applied(Apply::ServerSide, &[quota]).await;
        push(world, json!({"nodeSelector": null, "terminationGracePeriodSeconds": 20})).await;
        let refused = told(&stage, "QuotaExceeded", "exceeded quota: full").await;
        stage.until_aborted(60, &["ProgressDeadlineExceeded"]).await;
        figure(
            "stuck_pods",
            &format!(
                "told {pulled:.1} s after the push that the image cannot be pulled, {scheduled:.1} s that no node takes the pods, \
                 {refused:.1} s that the quota refuses them"
            ),
        );
        stage.check_aborted("stuck_pods", "no version").await;
    });
}
