//! What people say by the plugin is done, and is in the log under their name.
use crate::{
    objects::{OnSigterm, Revision, step},
    process::plugin,
    stage::{Setup, Stage},
    world::{beside_others, with_temp_ns},
};
use serde_json::{Value, json};

/// Steps of which the second waits for a person.
fn steps_with_approval() -> Vec<Value> {
    let mut twenty = step("twenty", 20, "3s");
    twenty["approval"] = json!("Required");
    vec![step("warm", 0, "3s"), twenty, step("half", 50, "3s")]
}

#[test]
fn promote_at_a_step_leaves_it_and_the_release_goes_on_to_the_end() {
    let _right = beside_others();
    with_temp_ns("promote", async |world| {
        let setup = Setup { steps: steps_with_approval(), on_sigterm: OnSigterm::Dies, ..Setup::default() };
        let stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        let waits = |it: &Value| it["status"]["phase"] == "AwaitingApproval";
        stage.records.until("step twenty waits for a person", 90, waits).await;
        plugin(&world.namespace, &["promote", "app"]).await.well("kubectl bellwether promote");
        let promoted = stage.until_promoted(180).await;
        let decisions = promoted["status"]["decisions"].as_array().unwrap();
        let accepted = decisions.iter().find(|it| it["reason"] == "ActionAccepted").expect("the command is in the log");
        assert_eq!(accepted["by"], "admin", "under the name that the API server vouches for: {accepted}");
        stage.check_promoted("promote_at_a_step", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}

#[test]
fn abort_at_a_step_takes_the_release_out() {
    let _right = beside_others();
    with_temp_ns("abort", async |world| {
        let stage = Stage::set(world, Setup { steps: steps_with_approval(), ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        plugin(&world.namespace, &["abort", "app"]).await.well("kubectl bellwether abort");
        let aborted = stage.until_aborted(60, &["Commanded"]).await;
        assert_eq!(aborted["status"]["latch"]["by"], "admin", "the API server vouches for the name");
        stage.check_aborted("abort_at_a_step", "v2").await;
    });
}
