//! Releases that break in other ways than by answering with errors.
use crate::{
    objects::{OnSigterm, Revision},
    stage::{Setup, Stage, long_steps},
    world::{beside_others, with_temp_ns},
};

#[test]
fn a_release_that_crashes_before_it_is_ready_is_aborted() {
    let _right = beside_others();
    with_temp_ns("crash-early", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("CRASH_AFTER", "0")).await;
        stage.until_aborted(90, &["CandidateCrashing", "ProgressDeadlineExceeded"]).await;
        let tally = stage.check_aborted("crash_before_ready", "v2").await;
        assert!(tally.span("v2").is_none() && tally.harm.is_empty(), "no request may come to it");
    });
}

#[test]
fn a_release_that_never_becomes_ready_is_aborted() {
    let _right = beside_others();
    with_temp_ns("never-ready", async |world| {
        let stage = Stage::set(world, Setup::default()).await;
        stage.push(&Revision::new("v2").with("NEVER_READY", "true")).await;
        stage.until_aborted(90, &["ProgressDeadlineExceeded"]).await;
        let tally = stage.check_aborted("never_ready", "v2").await;
        assert!(tally.span("v2").is_none() && tally.harm.is_empty(), "no request may come to it");
    });
}

#[test]
fn a_release_that_crashes_seconds_after_it_was_ready_is_aborted() {
    let _right = beside_others();
    with_temp_ns("crash-late", async |world| {
        let stage = Stage::set(world, Setup { steps: long_steps(), ..Setup::default() }).await;
        // Ready, warm, and some seconds with a fifth of the users.
        stage.push(&Revision::new("v2").with("CRASH_AFTER_READY", "25s")).await;
        let harms = ["CandidateCrashing", "AnalysisFailed", "ProgressDeadlineExceeded"];
        stage.until_aborted(180, &harms).await;
        let tally = stage.check_aborted("crash_after_ready", "v2").await;
        assert!(tally.span("v2").is_some(), "it should have served before it crashed");
    });
}

#[test]
fn a_release_that_is_twenty_times_slower_is_aborted() {
    let _right = beside_others();
    with_temp_ns("slow", async |world| {
        let stable = Revision::new("v1").with("LATENCY", "8ms").with("LATENCY_JITTER", "4ms");
        let setup = Setup { stable, steps: long_steps(), on_sigterm: OnSigterm::Dies, ..Setup::default() };
        let stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("LATENCY", "160ms").with("LATENCY_JITTER", "80ms")).await;
        stage.until_aborted(240, &["AnalysisFailed"]).await;
        stage.check_aborted("twenty_times_slower", "v2").await;
    });
}
