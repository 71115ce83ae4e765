//! People and autoscalers scale the Deployment, whatever is on trial.
use crate::{
    objects::{APP, OnSigterm, Revision},
    process::kubectl,
    stage::{Setup, Stage},
    world::{beside_others, with_temp_ns},
};

#[test]
fn scaled_in_mid_step_stable_follows_at_once_and_the_promoted_revision_has_the_new_size() {
    let _right = beside_others();
    with_temp_ns("scale", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        kubectl(&world.namespace, &["scale", "deployment", APP, "--replicas=5"]).await.well("kubectl scale");
        let stable = |it: &serde_json::Value| it["status"]["stable"]["ready"].as_i64();
        stage
            .records
            .until("stable has five ready pods in mid-flight", 30, |it| {
                stable(it) == Some(5) && !it["status"]["flight"].is_null()
            })
            .await;
        stage.until_promoted(180).await;
        assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
        stage.check_promoted("scaled_in_mid_step", "v2", 5, &["warm", "twenty", "half"]).await;
    });
}
