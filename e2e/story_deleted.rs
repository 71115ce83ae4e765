//! A Rollout that is deleted leaves plain Kubernetes, serving. A route that is deleted takes its requests along until it is
//! there again, and a namespace everything.
use crate::{
    audit::{Audit, Write},
    figures::figure,
    load::Request,
    objects::{APP, OnSigterm, Revision},
    process::kubectl,
    records::Split,
    stage::{Setup, Stage, available, is_at_rest, lost_nothing, waits_for},
    world::{Apply, Kind, World, beside_others, now_ms, until, with_temp_ns},
};
use kube::api::DeleteParams;
use serde_json::Value;
use std::collections::BTreeSet;

/// Deletes the Rollout and waits until it is gone and a hundred more requests were answered.
async fn delete_rollout(stage: &Stage<'_>) {
    stage.world.api(Kind::Rollout).delete(APP, &DeleteParams::default()).await.unwrap();
    stage.records.until_gone(60).await;
    let before = stage.load.requests().len();
    stage.load.until_answered("requests are answered after the Rollout is gone", before + 100, 30, |_| true).await;
}

/// Nothing of ours is left on what carries traffic, and nothing is pinned.
pub async fn is_plain(world: &World) {
    let deployment = world.get(Kind::Deployment, APP).await;
    let route = world.get(Kind::HttpRoute, APP).await;
    for object in [&deployment, &route] {
        let labels = object["metadata"]["labels"].to_string();
        assert!(!labels.contains("bellwether.dev/rollout"), "a claim is left: {labels}");
    }
    for name in ["app-stable", "app-canary"] {
        let selector = world.get(Kind::Service, name).await["spec"]["selector"].to_string();
        assert!(!selector.contains("pod-template-hash"), "Service {name} is pinned: {selector}");
    }
}

/// The Deployment is rolled to this version by Kubernetes alone.
async fn rolls_by_itself(world: &World, version: &str) {
    available(world, APP, 3).await;
    let pods = world.api(Kind::Pod).list(&kube::api::ListParams::default().labels("app=app")).await.unwrap();
    let living: Vec<Value> = pods.items.into_iter().map(|pod| serde_json::to_value(pod).unwrap()).collect();
    let living = living.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let versions: BTreeSet<String> =
        living.map(|pod| pod["spec"]["containers"][0]["env"][0]["value"].to_string()).collect();
    assert_eq!(versions, BTreeSet::from([format!("\"{version}\"")]), "the versions that run");
}

#[test]
fn deleted_in_mid_step_the_candidate_goes_stable_serves_and_the_deployment_is_held_for_a_person() {
    let _right = beside_others();
    with_temp_ns("delete-mid", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let candidate =
            stage.records.rollout().unwrap()["status"]["canary"]["podTemplateHash"].as_str().unwrap().to_owned();
        delete_rollout(&stage).await;

        let left: Vec<_> =
            stage.records.pods_of(&candidate).into_values().filter(|pod| pod.ending_at.is_none()).collect();
        assert!(left.is_empty(), "candidate pods are left: {left:?}");
        let Some(Split { canary: 0, accepted: true, .. }) = stage.records.splits().last() else {
            panic!("the weight is not 0: {:?}", stage.records.splits())
        };
        assert_eq!(world.get(Kind::Deployment, APP).await["spec"]["paused"], true, "held at Git's template");
        is_plain(world).await;
        stage.stable_is_untouched(None);
        let tally = stage.end_load().await;
        figure(
            "deleted_in_mid_step",
            &format!("{} requests, lost by the machinery {}", tally.requests.len(), tally.lost.len()),
        );
        lost_nothing(&tally);
        kubectl(&world.namespace, &["rollout", "resume", "deployment/app"]).await.well("kubectl rollout resume");
        until("the Deployment rolls", 30, async || {
            let paused = world.get(Kind::Deployment, APP).await["spec"]["paused"] == true;
            if paused { Err("it is paused".to_owned()) } else { Ok(()) }
        })
        .await;
        rolls_by_itself(world, "v2").await;
    });
}

#[test]
fn a_route_deleted_in_mid_step_is_waited_for_and_created_again_it_carries_the_steps_weight() {
    let _right = beside_others();
    with_temp_ns("route-gone", async |world| {
        let mut stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let gone_at = now_ms();
        world.api(Kind::HttpRoute).delete(APP, &DeleteParams::default()).await.unwrap();
        let waiting =
            stage.records.until("the Rollout waits for the route", 30, |it| waits_for(it, "RouteMissing")).await;
        let said = (now_ms() - gone_at) / 1000.0;
        let words = waiting["status"]["message"].as_str().unwrap_or_default();
        assert!(words.contains("HTTPRoute/app"), "it names the route: {words}");
        let without = |it: &Request| !it.own && it.code == 404;
        stage.load.until_answered("the gateway has heard that there is no route", 0, 30, without).await;
        let route = stage.git.iter().find(|object| object["kind"] == "HTTPRoute").unwrap().clone();
        world.applied(Apply::ServerSide, &[route]).await;
        let again_at = now_ms();
        let answered = |it: &Request| it.own && it.t > again_at;
        stage.load.until_answered("requests are answered again", 0, 30, answered).await;
        let answered_at = now_ms();
        stage.until_served("twenty", 20, "v2").await;
        let weighed = (now_ms() - again_at) / 1000.0;
        figure(
            "route_deleted_in_mid_step",
            &format!("said {said:.1} s after the route was gone; weight 20 again {weighed:.1} s after it was back"),
        );
        // Without a route the gateway says itself that there is nothing.
        stage.apart = Some(Box::new(move |it| it.code == 404 && it.t + it.ms > gone_at && it.t < answered_at));
        stage.until_promoted(180).await;
        assert_eq!(stage.records.weights(), [0, 20, 0, 20, 50, 100, 0], "the route's weights");
        stage.check_promoted("route_deleted_in_mid_step", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}

#[test]
fn a_namespace_deleted_in_mid_step_ends_and_the_operator_holds_the_next_one_of_that_name() {
    let _right = beside_others();
    with_temp_ns("ns-gone", async |world| {
        let mut stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let mut audit = Audit::from_now().await;
        let deleted_at = now_ms();
        world.remove().await;
        world.until_gone().await;
        let took = (now_ms() - deleted_at) / 1000.0;
        // Kubernetes ends a namespace's pods before it takes anything else away. Until they are told, nothing may be lost.
        let mut writes = audit.everyones();
        writes.retain(|it| it.namespace() == world.namespace && it.resource() == "pods" && it.is_deletion());
        let told_at = writes.iter().map(Write::at).reduce(f64::min).expect("the pods are told to end");
        stage.apart = Some(Box::new(move |it| it.t + it.ms > told_at));
        let tally = stage.end_load().await;
        let until_told = tally.requests.iter().filter(|it| it.t > deleted_at && it.t < told_at && it.own).count();
        figure(
            "namespace_deleted_in_mid_step",
            &format!(
                "it ended within {took:.0} s; {until_told} requests were answered in the {:.0} ms until its pods were told; {tally}",
                told_at - deleted_at
            ),
        );
        assert!(tally.of("v2").count() > 0, "both revisions served when it was deleted");
        lost_nothing(&tally);

        world.create().await;
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        let before = stage.load.requests().len();
        stage.load.until_answered("requests are answered in the new one", before + 100, 30, |it| it.own).await;
        let tally = stage.end_load().await;
        figure("namespace_deleted_in_mid_step", &format!("in the next of that name, held: {tally}"));
        lost_nothing(&tally);
    });
}

#[test]
fn deleted_and_created_again_it_holds_the_deployment_again() {
    let _right = beside_others();
    with_temp_ns("again", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        delete_rollout(&stage).await;
        let rollout = stage.git.iter().find(|object| object["kind"] == "Rollout").unwrap().clone();
        world.applied(Apply::ServerSide, &[rollout]).await;
        stage.records.until("the Deployment is held again", 60, is_at_rest).await;
        stage.stable_is_untouched(None);
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_promoted(180).await;
        stage.check_promoted("deleted_and_created_again", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}

#[test]
fn deleted_at_rest_no_pod_is_touched_and_the_deployment_is_an_ordinary_one() {
    let _right = beside_others();
    with_temp_ns("delete-rest", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        delete_rollout(&stage).await;

        assert_ne!(world.get(Kind::Deployment, APP).await["spec"]["paused"], true, "not paused");
        is_plain(world).await;
        stage.stable_is_untouched(None);
        assert_eq!(stage.records.pods_of(&stage.stable_hash).len(), 3, "no pod came or went");
        let tally = stage.end_load().await;
        figure(
            "deleted_at_rest",
            &format!("{} requests, lost by the machinery {}", tally.requests.len(), tally.lost.len()),
        );
        lost_nothing(&tally);
        kubectl(&world.namespace, &["set", "env", "deployment/app", "VERSION=v2"]).await.well("kubectl set env");
        rolls_by_itself(world, "v2").await;
    });
}
