//! What cannot be carried out is refused, or said in the conditions within seconds, by the field's name and with the
//! cure; and nothing moves.
use crate::{
    objects::{self, APP, OnSigterm, Revision},
    process::{Said, kubectl},
    stage::available,
    world::{Apply, Kind, World, beside_others, until, with_temp_ns},
};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a Rollout says of a mistake within so many seconds.
const SECONDS: u64 = 10;

/// A Rollout without a mistake.
fn good() -> Value {
    let steps = [objects::step("warm", 0, "5s"), objects::step("half", 50, "5s")];
    let mut rollout = objects::rollout(APP, &steps, &objects::analysis("MetricProvider", "prometheus"));
    rollout["spec"]["alerts"] = json!([]);
    rollout
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut rollout = good();
    change(&mut rollout["spec"]);
    rollout
}

fn with_query(query: &str) -> Value {
    with(|spec| spec["analysis"]["metrics"] = json!([{"name": "own", "query": query, "limit": {"max": "1"}}]))
}

/// The app, its Service and the provider; not the route.
async fn set(world: &World) {
    let app = objects::deployment(APP, 1, &objects::env(&Revision::new("v1"), OnSigterm::Dies));
    let objects = [app, objects::service(APP), objects::provider("MetricProvider", "prometheus")];
    world.applied(Apply::ServerSide, &objects).await;
    available(world, APP, 1).await;
}

/// Generation of each Deployment, and all pods.
async fn what_could_move(world: &World) -> BTreeMap<String, i64> {
    let mut things = BTreeMap::new();
    for kind in [Kind::Deployment, Kind::ReplicaSet, Kind::Pod] {
        for object in world.api(kind).list(&ListParams::default()).await.unwrap().items {
            let name = format!("{kind:?} {}", object.metadata.name.unwrap_or_default());
            things.insert(name, object.metadata.generation.unwrap_or(0));
        }
    }
    things
}

/// The words name all of these.
fn names(case: &str, said: &str, words: &[&str]) -> Result<(), String> {
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{case}: {missing:?} is not in \"{}\"", said.trim())) }
}

#[test]
fn mistakes_that_a_schema_sees_are_refused_at_apply_and_nothing_moves() {
    let _right = beside_others();
    with_temp_ns("bad-apply", async |world| {
        set(world).await;
        let before = what_could_move(world).await;
        let long = "x".repeat(3_000);
        let cases = [
            ("weight 101", with(|spec| spec["steps"][1]["weight"] = json!(101)), &["spec.steps[1].weight", "100"][..]),
            ("a negative weight", with(|spec| spec["steps"][1]["weight"] = json!(-1)), &["spec.steps[1].weight", "0"]),
            (
                "duplicate step names",
                with(|spec| spec["steps"][1]["name"] = json!("warm")),
                &["spec", "every step needs a name of its own"],
            ),
            (
                "an unknown preset",
                with(|spec| spec["analysis"]["metrics"][0]["preset"] = json!("traefik/errors")),
                &["spec.analysis.metrics[0].preset", "traefik/error-rate"],
            ),
            (
                "a bad duration",
                with(|spec| spec["steps"][0]["observe"] = json!("5 minutes")),
                &["spec.steps[0].observe", "ms|s|m|h"],
            ),
            (
                "negative replicas",
                with(|spec| spec["steps"][0]["replicas"] = json!(-1)),
                &["spec.steps[0].replicas", "0"],
            ),
            ("no steps", with(|spec| spec["steps"] = json!([])), &["spec.steps", "at least 1"]),
            (
                "a step that would be left at once",
                with(|spec| spec["steps"] = json!([{"name": "one", "weight": 5}])),
                &["spec.steps[0]", "observe or approval"],
            ),
            (
                "routes without Services",
                with(|spec| drop(remove(&mut spec["traffic"], "services"))),
                &["traffic.services", "stable"],
            ),
            (
                "an absurdly long name",
                with(|spec| spec["steps"][0]["name"] = json!(long)),
                &["spec.steps[0].name", "63"],
            ),
            ("an absurdly long query", with_query(&long), &["spec.analysis.metrics[0].query", "2000"]),
            (
                "a hundred steps",
                with(|spec| spec["steps"] = (0..100).map(|n| objects::step(&format!("s{n}"), 1, "5s")).collect()),
                &["spec.steps", "32"],
            ),
            (
                "an unknown router",
                with(|spec| spec["traffic"]["routes"][0]["kind"] = json!("Ingress")),
                &["traffic.routes[0]", "HTTPRoute", "custom"],
            ),
            ("misspelt steps", with(|spec| misspell(spec, "steps", "stepz")), &["spec.steps", "equired"]),
            ("misspelt analysis", with(|spec| misspell(spec, "analysis", "analisys")), &["spec.analysis", "equired"]),
            (
                "misspelt metrics",
                with(|spec| misspell(&mut spec["analysis"], "metrics", "metric")),
                &["spec.analysis", "at least one metric"],
            ),
        ];
        // All are told of at once, for each run costs minutes.
        let mut wrong = Vec::new();
        for (case, rollout, words) in cases {
            // As Git tools do it: nobody on the client's side looks at the schema.
            let Said { ok, err, .. } = world.apply(Apply::Unvalidated, &[rollout]).await;
            if ok {
                wrong.push(format!("{case}: it was taken"));
                world.api(Kind::Rollout).delete(APP, &DeleteParams::default()).await.unwrap();
            } else if let Err(missing) = names(case, &err, words) {
                wrong.push(missing);
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(what_could_move(world).await, before, "something moved");
    });
}

#[test]
fn mistakes_that_no_schema_sees_are_said_in_the_conditions_within_seconds_and_nothing_moves() {
    let _right = beside_others();
    with_temp_ns("bad-status", async |world| {
        set(world).await;
        let recreate = {
            let mut it = objects::deployment("recreate", 1, &objects::env(&Revision::new("v1"), OnSigterm::Dies));
            it["spec"]["strategy"] = json!({"type": "Recreate"});
            it
        };
        let bare = objects::deployment("bare", 1, &objects::env(&Revision::new("v1"), OnSigterm::Dies));
        world.applied(Apply::ServerSide, &[recreate, bare]).await;
        for name in ["recreate", "bare"] {
            available(world, name, 1).await;
        }
        let before = what_could_move(world).await;
        let refer = |name: &'static str| with(|spec| spec["workloadRef"]["name"] = json!(name));
        let cases = [
            ("a missing Deployment", refer("nobody"), &["spec.workloadRef", "nobody", "create it"][..]),
            ("a missing Service", refer("bare"), &["spec.traffic.port", "Service"]),
            ("a missing route", good(), &["spec.traffic.routes", "HTTPRoute/app"]),
            ("strategy Recreate", refer("recreate"), &["strategy", "Recreate", "RollingUpdate"]),
            (
                "an unparsable query",
                with_query("sum(rate(http_requests_total{arm=\"$arm\"}[$window])"),
                &["spec.analysis.metrics[0]", "query"],
            ),
            (
                "a selector that does not tell the arms apart",
                with_query("sum(rate(http_requests_total[$window]))"),
                &["spec.analysis.metrics[0]", "arm=\"$arm\"", "http_requests_total"],
            ),
            (
                "an unknown provider",
                with(|spec| spec["analysis"]["provider"]["name"] = json!("nobody")),
                &["spec.analysis.provider", "MetricProvider", "nobody", "create it"],
            ),
        ];
        let mut wrong = Vec::new();
        for (case, rollout, words) in cases {
            if case == "an unknown provider" {
                // So that nothing else is missing.
                let backends = [("app-stable", 100), ("app-canary", 0)];
                world.applied(Apply::ServerSide, &[objects::route(&world.namespace, APP, &backends)]).await;
            }
            world.applied(Apply::Unvalidated, &[rollout]).await;
            if let Err(instead) = said(world, APP, case, words).await {
                wrong.push(instead);
            }
            world.api(Kind::Rollout).delete(APP, &DeleteParams::default()).await.unwrap();
            until(&format!("{case}: the Rollout can be deleted"), 30, async || {
                world.find(Kind::Rollout, APP).await.map_or(Ok(()), |left| Err(left["status"]["message"].to_string()))
            })
            .await;
            // The next case is to see nothing of this one.
            kubectl(&world.namespace, &["delete", "service", "app-stable", "app-canary", "--ignore-not-found"])
                .await
                .well("kubectl delete service");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(what_could_move(world).await, before, "something moved");
    });
}

#[test]
fn the_second_rollout_on_one_deployment_is_told_which_is_the_first() {
    let _right = beside_others();
    with_temp_ns("bad-second", async |world| {
        set(world).await;
        let route = objects::route(&world.namespace, APP, &[("app-stable", 100), ("app-canary", 0)]);
        world.applied(Apply::ServerSide, &[route, good()]).await;
        until("the first Rollout holds the Deployment", 60, async || {
            let rollout = world.get(Kind::Rollout, APP).await;
            if rollout["status"]["phase"] == "Stable" { Ok(()) } else { Err(rollout["status"]["message"].to_string()) }
        })
        .await;
        let before = what_could_move(world).await;
        let mut second = good();
        second["metadata"]["name"] = json!("second");
        second["spec"]["traffic"]["services"] = json!({"stable": "second-stable", "canary": "second-canary"});
        second["spec"]["traffic"]["unrouted"] = json!(["app", "app-stable", "app-canary"]);
        world.applied(Apply::Unvalidated, &[second]).await;
        let words = ["held by Rollout app", "delete one"];
        said(world, "second", "two Rollouts on one Deployment", &words).await.unwrap();
        assert_eq!(what_could_move(world).await, before, "something moved");
        assert_eq!(world.get(Kind::Rollout, APP).await["status"]["phase"], "Stable", "the first is not disturbed");
    });
}

/// Within seconds a Rollout's `Ready` condition is false, and its words name all of these.
async fn said(world: &World, name: &str, case: &str, words: &[&str]) -> Result<(), String> {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(SECONDS);
    loop {
        let rollout = world.get(Kind::Rollout, name).await;
        let conditions = rollout["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|it| it["type"] == "Ready").cloned().unwrap_or_default();
        let not_ready = ready["status"] == "False";
        let text = ready["message"].as_str().unwrap_or_default();
        let result = names(case, text, words)
            .and_then(|()| if not_ready { Ok(()) } else { Err(format!("{case}: it is Ready")) });
        if result.is_ok() || tokio::time::Instant::now() > end {
            return result;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

fn remove(object: &mut Value, key: &str) -> Value {
    object.as_object_mut().unwrap().remove(key).unwrap()
}

fn misspell(object: &mut Value, right: &str, wrong: &str) {
    let value = remove(object, right);
    object[wrong] = value;
}
