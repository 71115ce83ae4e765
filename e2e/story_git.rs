//! A Git tool applies its manifests every few seconds and knows nothing of weights, pauses and selectors.
use crate::{
    objects::{OnSigterm, Revision, env},
    stage::{REPLICAS, Setup, Stage},
    world::{Apply, beside_others, with_temp_ns},
};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(5);

/// Pushes a good release through Git, which is applied all the time until it is promoted.
fn git_applies(name: &str, story: &str, apply: Apply, on_sigterm: OnSigterm) {
    with_temp_ns(name, async |world| {
        let stage = Stage::set(world, Setup { on_sigterm, apply, ..Setup::default() }).await;
        let mut git = stage.git.clone();
        let release = env(&Revision::new("v2").with("ERROR_RATE", "0.005"), on_sigterm);
        let deployment = git.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
        deployment["spec"]["template"]["spec"]["containers"][0]["env"] = release;
        let mut syncs = 0;
        let sync = async {
            let mut tick = tokio::time::interval(EVERY);
            loop {
                tick.tick().await;
                world.applied(apply, &git).await;
                syncs += 1;
            }
        };
        tokio::select! {
            _ = stage.until_promoted(240) => {}
            () = sync => {}
        }
        assert!(syncs > 5, "only {syncs} syncs");
        assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "Git's weights got through");
        stage.check_promoted(story, "v2", REPLICAS, &["warm", "twenty", "half"]).await;
    });
}

#[test]
fn git_applied_on_the_server_with_force_every_five_seconds_disturbs_no_rollout() {
    let _right = beside_others();
    git_applies("git-server", "git_server_side", Apply::ServerSide, OnSigterm::Dies);
}

#[test]
fn git_applied_by_the_client_every_five_seconds_disturbs_no_rollout() {
    let _right = beside_others();
    git_applies("git-client", "git_client_side", Apply::ClientSide, OnSigterm::Drains);
}
