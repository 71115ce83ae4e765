//! The recipes of crds/examples, as they stand there but for names and durations, on the real gateway; and the way back.
use crate::{
    figures::figure,
    load::{Door, Load, RATE, answered_share},
    objects::{self, APP, OnSigterm, Revision},
    plane::TRAEFIK_SERVICE,
    process::plugin,
    records::Records,
    stage::{DRAIN, Setup, Stage, is_at_rest, lost_nothing, push, serving, serving_as, waits_for},
    story_job::{job, jobs},
    story_planes::apart::{COOKIE, HEADER, are_copied, are_told_apart},
    world::{Apply, World, beside_others, now_ms, until, with_temp_ns},
};
use serde_json::{Value, json};
use std::path::Path;

/// A recipe, for the app of a story: with its names, its gateway, and durations of seconds.
fn recipe(world: &World, file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/examples").join(file);
    let mut rollout: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    rollout["metadata"] = json!({"name": APP});
    let route = objects::route(&world.namespace, APP, &[]);
    let spec = &mut rollout["spec"];
    spec["workloadRef"]["name"] = json!(APP);
    if let Some(traffic) = spec.get_mut("traffic") {
        traffic["services"] = json!({"stable": "app-stable", "canary": "app-canary"});
        traffic["unrouted"] = json!([APP]);
        traffic["routes"][0]["name"] = json!(APP);
        if let Some(template) = traffic["routes"][0].get_mut("template") {
            template["spec"]["parentRefs"] = route["spec"]["parentRefs"].clone();
            template["spec"]["hostnames"] = route["spec"]["hostnames"].clone();
            for backend in template["spec"]["rules"][0]["backendRefs"].as_array_mut().unwrap() {
                let name = backend["name"].as_str().unwrap().replace("checkout", APP);
                backend["name"] = json!(name);
            }
        }
    }
    for step in spec["steps"].as_array_mut().unwrap().iter_mut().filter(|step| step.get("observe").is_some()) {
        step["observe"] = json!("5s");
    }
    spec["scaleDownDelay"] = json!("5s");
    spec["analysis"]["provider"] = json!({"kind": "MetricProvider", "name": "prometheus"});
    spec["analysis"]["onInconclusive"] = json!({"after": "1s", "then": "Advance"});
    spec["alerts"] = json!([{"receiver": {"name": "sink"}, "on": ["Aborted", "Blocked", "Promoted"]}]);
    rollout
}

/// An app that serves, held by a recipe with a route of the operator's, under load.
async fn held_by(world: &World, rollout: Value) -> (Records, Load) {
    let records = serving(world).await;
    world.applied(Apply::ServerSide, &[rollout]).await;
    records.until("the Deployment is held", 60, is_at_rest).await;
    (records, Load::begin(world).await)
}

#[test]
fn blue_green_shows_a_preview_changes_over_at_once_and_back_at_once() {
    let _right = beside_others();
    with_temp_ns("blue-green", async |world| {
        let stage = Stage::set(world, Setup::default()).await;
        let mut rollout = recipe(world, "blue-green.yaml");
        rollout["spec"]["steps"][1]["observe"] = json!("60s");
        // Its limit is an edge of Traefik's own buckets, and the test bed has finer ones.
        rollout["spec"]["analysis"]["metrics"][1]["limit"]["max"] = json!("250ms");
        world.applied(Apply::ServerSide, &[rollout]).await;
        // Held against a limit, not compared: some errors by chance would be too many.
        stage.push(&Revision::new("v2")).await;
        let waits = |it: &Value| it["status"]["phase"] == "AwaitingApproval" && it["status"]["canary"]["ready"] == 3;
        stage.records.until("the preview is there, with all its pods", 90, waits).await;
        let door = Door { service: (world.namespace.clone(), "app-canary"), ..Door::usual(world) };
        let preview = door.answers(world, "GET", "", &[]).await;
        assert!(preview.iter().all(|version| version == "v2"), "the canary Service is the preview: {preview:?}");
        let seen = stage.load.requests().iter().filter(|request| request.version == "v2").count();
        assert_eq!(seen, 0, "users see nothing of it");

        plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
        stage.until_served("switch", 100, "v2").await;
        let at = now_ms();
        plugin(&world.namespace, &["abort", APP]).await.well("kubectl bellwether abort");
        stage.until_aborted(60, &["Commanded"]).await;
        let tally = stage.check_aborted("blue_green_back", "v2").await;
        let last = tally.span("v2").map_or(0.0, |(_, last)| last - at);
        figure("blue_green_back", &format!("the last request at the new pods {:.1} s after the abort", last / 1000.0));
    });
}

/// Every pod of the revision with this template hash answers 500 to half of its requests for a minute.
async fn falls_sick(world: &World, records: &Records, hash: &str) {
    for pod in records.pods_of(hash).values().filter(|pod| pod.ending_at.is_none()) {
        let path = objects::page_of(&world.namespace, &pod.name, "incident?share=0.5&for=60s");
        world.client.request_text(http::Request::post(path).body(Vec::new()).unwrap()).await.unwrap();
    }
}

#[test]
fn blue_green_that_is_judged_shows_nobody_a_bad_preview_changes_over_by_itself_and_back_at_once() {
    let _right = beside_others();
    with_temp_ns("blue-green-judged", async |world| {
        let mut stage = Stage::set(world, Setup::default()).await;
        let mut rollout = recipe(world, "blue-green-judged.yaml");
        rollout["spec"]["steps"][1]["observe"] = json!("60s");
        let metrics = &mut rollout["spec"]["analysis"]["metrics"];
        metrics[0]["job"] = job(&["eval", "-questions", "50", "-least", "0.8"], "ExitCode");
        // Its limit is an edge of Traefik's own buckets, and the test bed has finer ones.
        metrics[2]["limit"]["max"] = json!("250ms");
        world.applied(Apply::ServerSide, &[rollout]).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.5")).await;
        let failed = stage.until_aborted(120, &["AnalysisFailed"]).await;
        let why = failed["status"]["latch"]["message"].as_str().unwrap_or_default();
        assert!(why.starts_with("smoke: "), "{why}");
        assert_eq!(stage.records.weights(), [0], "nothing was switched");
        stage.told = vec!["Aborted"];

        stage.push(&Revision::new("v3")).await;
        stage.until_served("switch", 100, "v3").await;
        let made: Vec<_> = jobs(world).await.into_iter().map(|(_, _, good)| good).collect();
        assert_eq!(made, [false, true], "a smoke test of each preview");
        let hash = stage.records.rollout().unwrap()["status"]["canary"]["podTemplateHash"].clone();
        let sick_at = now_ms();
        falls_sick(world, &stage.records, hash.as_str().unwrap()).await;
        let aborted = stage.until_aborted(60, &["AnalysisFailed"]).await;
        let why = aborted["status"]["latch"]["message"].as_str().unwrap_or_default();
        assert!(why.starts_with("errors: "), "{why}");
        assert_eq!(stage.records.weights(), [0, 100, 0], "the route's weights");
        let tally = stage.check_aborted("blue_green_judged", "v3").await;
        assert_eq!(tally.of("v2").count(), 0, "users saw nothing of the bad preview");
        let last = tally.span("v3").map_or(0.0, |(_, last)| last - sick_at);
        figure(
            "blue_green_judged",
            &format!("the last request at the new pods {:.1} s after they fell sick", last / 1000.0),
        );
    });
}

#[test]
fn a_b_sends_testers_to_the_new_revision_and_nobody_else() {
    let _right = beside_others();
    with_temp_ns("ab", async |world| {
        let (records, load) = held_by(world, recipe(world, "ab.yaml")).await;
        let (door, from) = (Door::usual(world), now_ms());
        push(world, &Revision::new("v2").with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
        are_told_apart(world, &door, &records, &[HEADER, COOKIE]).await;
        assert!(load.requests().iter().all(|request| request.version != "v2"), "nobody of the others sees v2");
        plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
        records.until("v2 is promoted", 180, |it| is_at_rest(it) && it["status"]["past"].is_null()).await;
        let testers = door.answers(world, "GET", "", &[("x-tester", "yes")]).await;
        assert!(testers.iter().all(|version| version == "v2"), "{testers:?}");
        ended(world, records, load, from, "ab", "v2").await;
    });
}

#[test]
fn shadow_on_a_gateway_that_cannot_copy_is_refused_before_a_request_is_at_risk() {
    let _right = beside_others();
    with_temp_ns("shadow", async |world| {
        // Traefik would accept the route, and answer with 500 from then on; its class does not list the feature.
        let mut rollout = recipe(world, "shadow.yaml");
        let shadow = rollout["spec"]["steps"].as_array_mut().unwrap().remove(0);
        let (records, load) = held_by(world, rollout.clone()).await;
        let from = now_ms();
        rollout["spec"]["steps"].as_array_mut().unwrap().insert(0, shadow);
        world.applied(Apply::ServerSide, &[rollout]).await;
        push(world, &Revision::new("v2").with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
        let blocked = records.until("the step is refused", 60, |it| waits_for(it, "RouteUnsteerable")).await;
        let words = blocked["status"]["message"].as_str().unwrap_or_default();
        assert!(words.contains("HTTPRouteRequestPercentageMirror") && words.contains("traefik/traefik"), "{words}");
        let mut without = recipe(world, "shadow.yaml");
        without["spec"]["steps"].as_array_mut().unwrap().remove(0);
        world.applied(Apply::ServerSide, &[without]).await;
        records
            .until("v2 is promoted without it", 180, |it| {
                is_at_rest(it)
                    && it["status"]["past"].is_null()
                    && it["status"]["flight"].is_null()
                    && it["status"]["stable"] != blocked["status"]["stable"]
            })
            .await;
        ended(world, records, load, from, "shadow", "v2").await;
    });
}

#[test]
fn shadow_copies_requests_to_the_new_revision_and_its_answers_reach_nobody() {
    let _right = beside_others();
    with_temp_ns("shadow-copies", async |world| {
        // Routes of the Gateway API have no copies on this gateway; its own lists of Services have.
        let mut rollout = recipe(world, "shadow.yaml");
        rollout["spec"]["steps"][0]["approval"] = json!("Required");
        let (route, objects) = TRAEFIK_SERVICE.owned(world);
        rollout["spec"]["traffic"]["routes"] = json!([route]);
        let door = TRAEFIK_SERVICE.door(world, RATE);
        let records = serving(world).await;
        world.applied(Apply::ServerSide, &[&objects[..], &[rollout]].concat()).await;
        records.until("the Deployment is held", 60, is_at_rest).await;
        let load = Load::through(world, &door).await;
        let from = now_ms();

        push(world, &Revision::new("v2").with("ERROR_RATE", "0.5"), OnSigterm::Drains).await;
        let aborted = records.until("v2 is found out", 120, |it| it["status"]["phase"] == "Aborted").await;
        assert_eq!(aborted["status"]["latch"]["reason"], "AnalysisFailed", "{}", aborted["status"]["latch"]);

        push(world, &Revision::new("v3").with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
        let asks = |it: &Value| it["status"]["phase"] == "AwaitingApproval" && it["status"]["canary"]["ready"] == 2;
        let asked = records.until("v3 has copies, and somebody is asked", 120, asks).await;
        let hash = asked["status"]["canary"]["podTemplateHash"].as_str().unwrap();
        figure("shadow_copies", &are_copied(world, (&door, &load), &records, (hash, 20), from).await);
        plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
        records.until("v3 is promoted", 180, |it| is_at_rest(it) && it["status"]["past"].is_null()).await;
        ended(world, records, load, from, "shadow_copies", "v3").await;
    });
}

#[test]
fn without_a_route_a_releases_share_of_the_pods_is_its_share_of_the_requests() {
    let _right = beside_others();
    with_temp_ns("ratio", async |world| {
        let mut rollout = recipe(world, "pod-ratio.yaml");
        for step in rollout["spec"]["steps"].as_array_mut().unwrap() {
            step["approval"] = json!("Required");
        }
        let revision = |version| Revision::new(version).with("ERROR_RATE", "0.005").with("DRAIN", DRAIN);
        let records = serving_as(world, &revision("v1"), objects::service(APP)).await;
        world.applied(Apply::ServerSide, &[rollout]).await;
        records.until("the Deployment is held", 60, is_at_rest).await;
        let door = Door::of_app(world);
        let load = Load::through(world, &door).await;
        let from = now_ms();
        let held = records.rollout().unwrap();
        let old = held["status"]["stable"]["podTemplateHash"].as_str().unwrap().to_owned();

        push(world, &revision("v2"), OnSigterm::Drains).await;
        // Of 3 + 1 and of 3 + 3 pods.
        for (step, pods, share) in [("one", 1, 0.25), ("half", 3, 0.5)] {
            let asks = |it: &Value| {
                let ready = ["canary", "stable"].map(|arm| it["status"][arm]["ready"].as_i64());
                let status = &it["status"];
                status["phase"] == "AwaitingApproval"
                    && status["step"]["name"] == step
                    && ready == [Some(pods), Some(3)]
            };
            records.until(&format!("somebody is asked at step {step}"), 120, asks).await;
            let burst = door.burst(world, 1_000).await;
            let got = answered_share(&format!("step {step}"), &burst, "v2", share);
            figure("pod_ratio", &format!("{got} of {} requests at {pods} of {} pods", burst.len(), pods + 3));
            let lost: Vec<_> = burst.iter().filter(|request| !request.own).collect();
            assert!(lost.is_empty(), "{} requests were lost at step {step}: {:?}", lost.len(), lost[0]);
            plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
        }
        records.until("v2 is promoted", 180, |it| is_at_rest(it) && it["status"]["past"].is_null()).await;
        until("the old pods are gone", 60, async || {
            let left = records.pods_of(&old).into_values().filter(|pod| !pod.gone).count();
            if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
        })
        .await;
        ended(world, records, load, from, "pod_ratio", "v2").await;
    });
}

#[test]
fn a_former_revision_in_git_again_serves_again_without_steps() {
    let _right = beside_others();
    with_temp_ns("return", async |world| {
        let stage = Stage::set(world, Setup::default()).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_promoted(180).await;
        let at = now_ms();
        stage.push(&Revision::new("v1").with("ERROR_RATE", "0.005")).await;
        let back = stage.stable_hash.clone();
        let returned = |it: &Value| is_at_rest(it) && it["status"]["stable"]["podTemplateHash"] == back.as_str();
        let rollout = stage.records.until("v1 serves again", 90, returned).await;
        let decisions = rollout["status"]["decisions"].as_array().unwrap();
        let since = decisions.iter().position(|it| it["reason"] == "Returning").expect("it returns");
        assert!(decisions[since..].iter().all(|it| it["reason"] != "StepEntered"), "no step on the way: {decisions:?}");
        let v1 = |request: &crate::load::Request| request.own && request.version == "v1" && request.t > at;
        stage.load.until_answered("v1 answers", 50, 30, v1).await;
        let requests = stage.load.requests();
        let last =
            requests.iter().filter(|request| request.version == "v2").map(|request| request.t - at).fold(0.0, f64::max);
        let tally = stage.end_load().await;
        figure(
            "former_returns",
            &format!(
                "the last request at the revision that was left {:.1} s after the push; {} requests in all, lost by the machinery {}",
                last / 1000.0,
                tally.requests.len(),
                tally.lost.len()
            ),
        );
        lost_nothing(&tally);
    });
}

/// The end of a story whose release is promoted: everybody is served by this version, and no request was lost.
async fn ended(world: &World, records: Records, load: Load, from: f64, story: &str, version: &str) {
    let what = format!("{version} serves");
    load.until_answered(&what, 50, 30, |request| request.own && request.version == version).await;
    until("only the promoted revision is left", 60, async || {
        let rollout = records.rollout().unwrap();
        let weights = &rollout["status"]["weights"];
        if weights.is_null() || weights["accepted"] == 0 { Ok(()) } else { Err(weights.to_string()) }
    })
    .await;
    let tally = load.end(world, &records, from, None).await;
    figure(story, &format!("{} requests in all, lost by the machinery {}", tally.requests.len(), tally.lost.len()));
    lost_nothing(&tally);
}
