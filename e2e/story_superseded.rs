//! A newer revision takes the place of the one on trial.
use crate::{
    objects::{OnSigterm, Revision},
    stage::{Setup, Stage},
    world::{beside_others, with_temp_ns},
};

#[test]
fn a_third_revision_replaces_the_second_at_twenty_percent_and_starts_from_the_first_step() {
    let _right = beside_others();
    with_temp_ns("third", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let second =
            stage.records.rollout().unwrap()["status"]["canary"]["podTemplateHash"].as_str().unwrap().to_owned();
        stage.push(&Revision::new("v3").with("ERROR_RATE", "0.005")).await;
        let promoted = stage.until_promoted(240).await;

        let third = promoted["status"]["stable"]["podTemplateHash"].as_str().unwrap();
        assert_ne!(third, second, "the second revision was promoted");
        assert_eq!(stage.records.weights(), [0, 20, 0, 20, 50, 100, 0], "the route's weights");
        let splits = stage.records.splits();
        let raised = splits.iter().position(|split| split.canary == 20).unwrap();
        let back = splits[raised..].iter().find(|split| split.canary == 0 && split.accepted).unwrap().at;
        let pods = stage.records.pods();
        let ended = pods.values().filter(|pod| pod.hash == second).filter_map(|pod| pod.ending_at).reduce(f64::min);
        assert!(ended.is_some_and(|ended| ended > back), "the second's pods ended before its weight was 0");
        let tally = stage.check_promoted("third_revision", "v3", 3, &["warm", "twenty", "half"]).await;
        let (last, first) = (tally.span("v2").unwrap().1, tally.span("v3").unwrap().0);
        assert!(last < first, "requests came to both candidates at once");
    });
}
