//! What is behind the operator is away for a while: the API server, or etcd behind it. Requests flow on, nothing is lost,
//! and the release goes on where it was.
use crate::{
    dark,
    figures::figure,
    objects::{OnSigterm, Revision, step},
    operator::all_replicas,
    process::{Fault, Outage},
    stage::{Setup, Stage},
    world::{alone, now_ms, with_temp_ns},
};
use serde_json::Value;
use std::time::Duration;

const API_SERVER_AWAY: Duration = Duration::from_secs(30);
const ETCD_AWAY: Duration = Duration::from_secs(20);
/// The controllers of a cluster with more than one replica of them would end by themselves; those that stay on believe for
/// half a minute longer what they had heard last, and call the node not ready.
const CONTROL_PLANE: [&str; 2] = ["kube-apiserver", "kube-controller-manager"];

/// Takes daemons away for so long; returns how many seconds after they were started again the Rollout's status was written.
async fn without(stage: &Stage<'_>, daemons: &[&'static str], fault: Fault, away: Duration) -> f64 {
    let outage = Outage::begin(daemons, fault).await;
    tokio::time::sleep(away).await;
    let version = |it: &Value| it["metadata"]["resourceVersion"].clone();
    let before = version(&stage.records.rollout().unwrap());
    let cured_at = now_ms();
    outage.end().await;
    stage.records.until("the operator writes again", 60, |it| version(it) != before).await;
    let rollouts = stage.records.rollouts().into_iter();
    let written =
        rollouts.filter(|(at, it)| *at > cured_at && version(it) != before).map(|(at, _)| at).reduce(f64::min);
    (written.unwrap() - cured_at) / 1000.0
}

#[test]
fn alone_the_api_server_killed_for_thirty_seconds_and_etcd_paused_for_twenty_hold_a_release_up_and_no_more() {
    let _right = alone();
    with_temp_ns("outage", async |world| {
        let steps = vec![step("warm", 0, "3s"), step("twenty", 20, "15s"), step("half", 50, "15s")];
        let setup = Setup { steps, on_sigterm: OnSigterm::Dies, deadline: "3m", ..Setup::default() };
        let mut stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let api = without(&stage, &CONTROL_PLANE, Fault::Killed, API_SERVER_AWAY).await;
        stage.until_served("half", 50, "v2").await;
        let etcd = without(&stage, &["etcd"], Fault::Paused, ETCD_AWAY).await;
        stage.until_promoted(180).await;
        // A kubelet that is slow to find the API server again lets Kubernetes think that the node is gone.
        let dark = dark::apart(&mut stage);
        figure(
            "control_plane_away",
            &format!(
                "status was written {api:.1} s after the API server was started again, and {etcd:.1} s after etcd went on; \
                 all pods were called not ready for {:.0} s; the route's weights were {:?}",
                dark.unwrap_or(0.0),
                stage.records.weights()
            ),
        );
        if dark.is_none() {
            assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
        }
        stage.check_promoted("control_plane_away", "v2", 3, &["warm", "twenty", "half"]).await;
        all_replicas().await;
    });
}
