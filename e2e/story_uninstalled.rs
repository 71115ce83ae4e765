//! The chart is uninstalled in the middle of a release: every Deployment is given back, serving. Installed again, it
//! goes on from what Git holds.
use crate::{
    figures::figure,
    objects::{OnSigterm, Revision},
    operator::Release,
    process::kubectl,
    stage::{Setup, Stage, is_at_rest},
    story_deleted::is_plain,
    world::{Apply, Kind, OPERATOR_NAMESPACE, alone, nobody_rests, now_ms, with_temp_ns},
};

#[test]
fn alone_uninstalled_in_mid_step_stable_serves_and_installed_again_the_next_release_is_promoted() {
    let _rest = nobody_rests();
    let _right = alone();
    with_temp_ns("uninstall", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let candidate =
            stage.records.rollout().unwrap()["status"]["canary"]["podTemplateHash"].as_str().unwrap().to_owned();
        let mut release = Release::found().await;
        let begun_at = now_ms();
        release.uninstall().await;
        let took = (now_ms() - begun_at) / 1000.0;
        stage.records.until_gone(10).await;
        nothing_left().await;
        is_plain(world).await;
        let pods = stage.records.pods_of(&candidate);
        assert!(pods.values().all(|pod| pod.ending_at.is_some()), "candidate pods are left: {pods:?}");
        assert_eq!(world.get(Kind::Deployment, "app").await["spec"]["paused"], true, "held at Git's template");
        let before = stage.load.requests().len();
        stage.load.until_answered("requests are answered without an operator", before + 100, 30, |it| it.own).await;

        release.restore().await;
        // Git goes back to the release before, and the Deployment, which was left held, may follow: no pod changes.
        world.applied(Apply::ServerSide, &stage.git).await;
        kubectl(&world.namespace, &["rollout", "resume", "deployment/app"]).await.well("kubectl rollout resume");
        stage.records.until("the Deployment is held again", 60, is_at_rest).await;
        stage.stable_is_untouched(None);
        stage.push(&Revision::new("v3").with("ERROR_RATE", "0.005")).await;
        stage.until_promoted(180).await;
        figure("uninstalled_in_mid_step", &format!("helm uninstall took {took:.0} s"));
        stage.check_promoted("uninstalled_in_mid_step", "v3", 3, &["warm", "twenty", "half"]).await;
    });
}

/// Neither a process nor a policy of the operator is left.
async fn nothing_left() {
    let kinds = "deployments,validatingadmissionpolicies,mutatingadmissionpolicies,clusterroles,roles";
    let args = ["get", kinds, "-l", "app.kubernetes.io/name=bellwether", "-o", "name"];
    let left = kubectl(OPERATOR_NAMESPACE, &args).await.well("kubectl get");
    assert_eq!(left.trim(), "", "left behind");
}
