//! The operator's leader dies, and nobody notices but its Lease.
use crate::{
    figures::figure,
    objects::{OnSigterm, Revision, step},
    process::{self, kubectl},
    stage::{Setup, Stage},
    world::{OPERATOR_NAMESPACE, World, alone, now_ms, until, with_temp_ns},
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::Api;
use serde_json::Value;

/// The process that leads, its pod, and that pod's uid. A process' name begins with its pod's.
async fn leader(world: &World) -> (String, String, String) {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
    let holder = leases.get("bellwether").await.unwrap().spec.unwrap().holder_identity.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
    let pod = holder.split('_').next().unwrap().to_owned();
    let uid = pods.get(&pod).await.unwrap().metadata.uid.unwrap();
    (holder, pod, uid)
}

/// Kills the leader's process. With `for_good` its pod is deleted too, so that it cannot come back.
async fn kill(world: &World, for_good: bool) -> String {
    let (holder, pod, uid) = leader(world).await;
    process::signal(process::of_pod(&uid, "--identity="), "KILL").await;
    if for_good {
        let delete = ["delete", "pod", &pod, "--grace-period=0", "--force", "--wait=false"];
        kubectl(OPERATOR_NAMESPACE, &delete).await.well("kubectl delete pod");
    }
    holder
}

fn steps() -> Vec<Value> {
    vec![step("warm", 0, "5s"), step("twenty", 20, "15s"), step("half", 50, "15s")]
}

#[test]
fn alone_the_standby_goes_on_when_the_leader_is_killed_at_twenty_percent_and_no_step_is_repeated() {
    let _right = alone();
    with_temp_ns("leader", async |world| {
        let setup = Setup { steps: steps(), on_sigterm: OnSigterm::Dies, ..Setup::default() };
        let stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let killed_at = now_ms();
        let first = kill(world, true).await;
        let second = until("the standby leads", 30, async || {
            let leases: Api<Lease> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
            let holder = leases.get("bellwether").await.unwrap().spec.unwrap().holder_identity.unwrap();
            if holder == first { Err(format!("{holder} still does")) } else { Ok(holder) }
        })
        .await;
        let led = now_ms() - killed_at;

        // And once more a step later, this time with the container coming back in the same pod.
        stage.until_served("half", 50, "v2").await;
        let again = kill(world, false).await;
        assert_eq!(again, second, "leadership changed in between");
        stage.until_promoted(180).await;
        figure("leader_killed", &format!("the standby led {:.1} s after SIGKILL", led / 1000.0));
        assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
        let decisions = stage.records.decisions();
        for (reason, times) in [("FlightStarted", 1), ("StepEntered", 2), ("Promoting", 1), ("Promoted", 1)] {
            assert_eq!(decisions.iter().filter(|it| *it == reason).count(), times, "{reason} in {decisions:?}");
        }
        stage.check_promoted("leader_killed", "v2", 3, &["warm", "twenty", "half"]).await;
        let pods = ["rollout", "status", "deployment/bellwether", "--timeout=60s"];
        kubectl(OPERATOR_NAMESPACE, &pods).await.well("the operator has two replicas again");
    });
}
