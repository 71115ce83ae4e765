//! A Git tool applies its manifests every few seconds and knows nothing of weights, pauses and selectors. What was taken
//! back in Git is taken back in the cluster.
use crate::{
    figures::figure,
    objects::{APP, OnSigterm, Revision, env},
    stage::{REPLICAS, Setup, Stage, is_at_rest, lost_nothing},
    world::{Apply, Kind, beside_others, now_ms, with_temp_ns},
};
use serde_json::json;
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
        // Who changes the rules afterwards is in nobody's way.
        let route = git.iter_mut().find(|object| object["kind"] == "HTTPRoute").unwrap();
        let filter = json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-shop", "value": "1"}]}});
        route["spec"]["rules"][0]["filters"] = json!([filter]);
        world.applied(if apply == Apply::ServerSide { Apply::Gently } else { apply }, &git).await;
        assert_eq!(
            world.get(Kind::HttpRoute, APP).await["spec"]["rules"][0]["filters"][0]["type"],
            "ResponseHeaderModifier"
        );
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

#[test]
fn a_release_that_git_takes_back_in_mid_step_goes_and_stable_is_as_it_was() {
    let _right = beside_others();
    with_temp_ns("git-undo", async |world| {
        let setup = Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() };
        let stable = setup.stable.clone();
        let stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let candidate =
            stage.records.rollout().unwrap()["status"]["canary"]["podTemplateHash"].as_str().unwrap().to_owned();
        let undone_at = now_ms();
        stage.push(&stable).await;
        let no_pods = || stage.records.pods_of(&candidate).values().all(|pod| pod.gone);
        stage.records.until("nothing is on trial any more", 60, |it| is_at_rest(it) && no_pods()).await;
        let weights: Vec<_> = stage.records.weights();
        assert_eq!(weights, [0, 20, 0], "the route's weights");
        let zero = stage.records.splits().last().map_or(f64::NAN, |split| split.at - undone_at);
        assert_eq!(stage.records.times(&["Reverted", "Aborted"]), [1, 0], "{:?}", stage.records.decisions());
        assert_ne!(world.get(Kind::Deployment, APP).await["spec"]["paused"], true, "an ordinary Deployment");
        stage.stable_is_untouched(None);
        stage.alerted(&[]).await;
        let tally = stage.end_load().await;
        figure("git_takes_back", &format!("weight 0 accepted {:.1} s after the undo; {tally}", zero / 1000.0));
        lost_nothing(&tally);
    });
}
