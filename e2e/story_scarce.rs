//! A release where there is no room for twice the pods: they are traded, in the promotion and back from it.
use crate::{
    figures::figure,
    objects::{self, APP, Revision},
    process::plugin,
    records::PodLife,
    stage::{DRAIN, REPLICAS, Setup, Stage, lost_nothing},
    world::{Apply, Kind, beside_others, until, with_temp_ns},
};
use serde_json::{Value, json};

/// Of three pods there may be four.
const MOST: usize = 4;

/// A revision whose pods may end under traffic.
fn revision(version: &'static str) -> Revision {
    Revision::new(version).with("ERROR_RATE", "0.005").with("DRAIN", DRAIN)
}

/// The most pods that there were at once, of those that had not been told to end.
fn most_at_once(pods: &[PodLife]) -> usize {
    let lives = |pod: &PodLife, at: f64| pod.first_at <= at && pod.ending_at.is_none_or(|ending| at < ending);
    pods.iter().map(|one| pods.iter().filter(|pod| lives(pod, one.first_at)).count()).max().unwrap_or(0)
}

#[test]
fn pods_are_traded_where_there_is_no_room_for_twice_as_many() {
    let _right = beside_others();
    with_temp_ns("scarce", async |world| {
        let steps = vec![objects::step("warm", 0, "3s"), objects::step("some", 25, "5s")];
        let stage = Stage::set(world, Setup { steps, ..Setup::taken_away() }).await;
        let mut rollout = world.get(Kind::Rollout, APP).await;
        rollout = json!({"apiVersion": rollout["apiVersion"], "kind": "Rollout", "metadata": {"name": APP}, "spec": rollout["spec"]});
        rollout["spec"]["capacity"]["maxPods"] = json!("125%");
        world.applied(Apply::ServerSide, &[rollout]).await;

        stage.push(&revision("v2")).await;
        let trades = |it: &Value| it["status"]["flight"]["promotion"]["trading"] == true;
        stage.records.until("stable's pods are traded", 120, trades).await;
        stage.until_promoted(240).await;

        stage.push(&revision("v3")).await;
        let half = |it: &Value| trades(it) && it["status"]["stable"]["replicas"] == 2;
        stage.records.until("some of stable's pods are traded", 120, half).await;
        plugin(&world.namespace, &["abort", APP]).await.well("kubectl bellwether abort");
        stage.until_aborted(120, &["Commanded"]).await;
        until("the Deployment has its pods again", 60, async || {
            let deployment = world.get(Kind::Deployment, APP).await;
            let status = &deployment["status"];
            if status["readyReplicas"] == REPLICAS && status["replicas"] == REPLICAS {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
        let pods: Vec<_> = stage.records.pods().into_values().filter(|pod| pod.app == APP).collect();
        let most = most_at_once(&pods);
        let tally = stage.end_load().await;
        figure(
            "scarce",
            &format!(
                "at most {most} pods at once of {REPLICAS} and their successors; {} requests in all, lost by the machinery {}",
                tally.requests.len(),
                tally.lost.len()
            ),
        );
        assert!(most <= MOST, "{most} pods at once");
        lost_nothing(&tally);
    });
}
