//! A bad release is undone by what its requests show, and a good one takes over with the very pods that were tried.
use crate::{
    objects::{OnSigterm, Revision},
    stage::{Setup, Stage, long_steps},
    world::{World, beside_others, with_temp_ns},
};

async fn five_percent_errors(world: &World, story: &str, setup: Setup) {
    let stage = Stage::set(world, Setup { steps: long_steps(), ..setup }).await;
    stage.push(&Revision::new("v2").with("ERROR_RATE", "0.05")).await;
    stage.until_aborted(240, &["AnalysisFailed"]).await;
    let tally = stage.check_aborted(story, "v2").await;
    assert!(tally.failed("v2") > 0, "it was aborted without a failed request");
}

#[test]
fn five_percent_errors_are_aborted_with_an_app_that_drains() {
    let _right = beside_others();
    with_temp_ns("errors-drain", async |world| {
        five_percent_errors(world, "five_percent_errors(drains)", Setup::default()).await;
    });
}

#[test]
fn five_percent_errors_are_aborted_with_an_app_that_dies_and_a_sink_that_fails_twice() {
    let _right = beside_others();
    with_temp_ns("errors-die", async |world| {
        let setup = Setup { on_sigterm: OnSigterm::Dies, sink_fails_first: 2, ..Setup::default() };
        five_percent_errors(world, "five_percent_errors(dies)", setup).await;
    });
}

async fn equal_release(world: &World, story: &str, setup: Setup) {
    let stage = Stage::set(world, setup).await;
    stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
    stage.until_promoted(180).await;
    assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
    stage.check_promoted(story, "v2", 3, &["warm", "twenty", "half"]).await;
}

#[test]
fn an_equal_release_is_promoted_with_its_tested_pods_with_an_app_that_drains() {
    let _right = beside_others();
    with_temp_ns("equal-drain", async |world| {
        let setup = Setup { provider: "ClusterMetricProvider", ..Setup::default() };
        equal_release(world, "equal_release(drains)", setup).await;
    });
}

#[test]
fn an_equal_release_is_promoted_with_its_tested_pods_with_an_app_that_dies() {
    let _right = beside_others();
    with_temp_ns("equal-die", async |world| {
        let setup = Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() };
        equal_release(world, "equal_release(dies)", setup).await;
    });
}
