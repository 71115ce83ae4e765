//! The node's kubelet says nothing for a minute, until Kubernetes calls the node and all of its pods not ready.
use crate::{
    dark,
    figures::figure,
    objects::{OnSigterm, Revision, step},
    operator::all_replicas,
    process::{Fault, Outage},
    stage::{Setup, Stage},
    world::{alone, nobody_rests, with_temp_ns},
};
use std::time::Duration;

const STOPPED: Duration = Duration::from_mins(1);

/// What is at rest would be woken too, for its pods are called not ready.
#[test]
fn alone_the_kubelet_stopped_for_a_minute_holds_a_release_up_and_no_more() {
    let _rest = nobody_rests();
    let _right = alone();
    with_temp_ns("kubelet", async |world| {
        let steps = vec![step("warm", 0, "3s"), step("twenty", 20, "5s"), step("half", 50, "5s")];
        let setup = Setup { steps, on_sigterm: OnSigterm::Dies, deadline: "3m", ..Setup::default() };
        let mut stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let kubelet = Outage::begin(&["kubelet"], Fault::Paused).await;
        tokio::time::sleep(STOPPED).await;
        // The next step needs one more pod, which nobody starts.
        let rollout = stage.records.rollout().unwrap();
        assert_eq!(rollout["status"]["step"]["name"], "half", "{}", rollout["status"]["message"]);
        assert_eq!(rollout["status"]["waitingFor"][0]["reason"], "PodsNotReady", "{}", rollout["status"]["message"]);
        kubelet.end().await;
        stage.until_promoted(180).await;
        let dark = dark::apart(&mut stage);
        figure(
            "kubelet_stopped",
            &format!(
                "for {:.0} s of it all pods were called not ready; the route's weights were {:?}",
                dark.unwrap_or(0.0),
                stage.records.weights()
            ),
        );
        stage.check_promoted("kubelet_stopped", "v2", 3, &["warm", "twenty", "half"]).await;
        all_replicas().await;
    });
}
