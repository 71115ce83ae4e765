//! Requests that are set apart: testers, who are known by what they send, go to the new revision alone; and a share of
//! all requests is copied to it, whose answers reach nobody. In a route that is the operator's to write.
use super::{RATE, held, until_asked};
use crate::{
    figures::figure,
    load::{Door, Load, is_share},
    objects::{APP, OnSigterm, Revision},
    plane::{self, Plane},
    process::plugin,
    records::Records,
    stage::{is_at_rest, lost_nothing, push},
    world::{World, beside_others, now_ms, until, with_temp_ns},
};
use serde_json::{Value, json};

/// Envoy Gateway's Envoy forgets what a rule sends to some milliseconds before the rule itself; what matches then is lost.
const FORGETS_TOO_SOON: &[&str] = &[plane::ENVOY_GATEWAY.name];

/// What these gateways can do, though their classes do not list it.
const COPIES: &str = "HTTPRouteRequestMirror";
const SHARES_OF_COPIES: &str = "HTTPRouteRequestPercentageMirror";
const METHODS: &str = "HTTPRouteMethodMatching";
const QUERIES: &str = "HTTPRouteQueryParamMatching";

/// Holds the copies that the pods of this template hash count, so many of a hundred, against the requests that are sent
/// meanwhile, all of which stable has to answer, as it had to since `from`.
pub async fn are_copied(
    world: &World,
    (door, load): (&Door, &Load),
    records: &Records,
    (hash, percent): (&str, u8),
    from: f64,
) -> String {
    let (sent, copied) = (load.requests().len(), records.counted(world, hash).await);
    let burst = door.burst(world, 1_000).await;
    let sent = load.requests().len() - sent + burst.len();
    let copied = records.counted(world, hash).await - copied;
    if percent == 100 {
        // Some are under way when it is counted, and the pods are counted one after the other.
        assert!(copied.abs_diff(sent) < sent / 20, "{copied} of {sent} requests were copied");
    } else {
        is_share("copies", copied, sent, f64::from(percent) / 100.0);
    }
    let of_stable = |request: &crate::load::Request| request.own && request.version == "v1";
    let other: Vec<_> = load.requests().into_iter().chain(burst).filter(|it| it.t > from && !of_stable(it)).collect();
    assert!(other.is_empty(), "{} not answered by stable: {:?}", other.len(), &other[..other.len().min(40)]);
    format!("{copied} of {sent} requests were copied at {percent} %, and all were answered by stable")
}

/// Every request with these headers is answered by this version.
async fn all_answered_by(world: &World, door: &Door, version: &str, headers: &[(&str, &str)]) {
    let answers = door.answers(world, headers).await;
    assert!(answers.iter().all(|it| it == version), "{headers:?} should be answered by {version}: {answers:?}");
}

/// Waits until somebody is asked about v2 while testers use it, who are known by a header or a cookie; nobody else does.
pub async fn are_told_apart(world: &World, door: &Door, records: &Records) {
    // Without a request of testers there is nothing to judge, and the step waits.
    until("testers are served, and somebody is asked", 90, async || {
        let testers = door.answers(world, &[("x-tester", "yes")]).await;
        let rollout = records.rollout().unwrap();
        if rollout["status"]["phase"] == "AwaitingApproval" { Ok(()) } else { Err(testers.join(" ")) }
    })
    .await;
    for headers in [&[("x-tester", "yes")][..], &[("cookie", "a=b; tester=yes")]] {
        all_answered_by(world, door, "v2", headers).await;
    }
    for headers in [&[][..], &[("x-tester", "no")], &[("cookie", "tester=yesterday")]] {
        all_answered_by(world, door, "v1", headers).await;
    }
}

/// Requests below a path go to v2, and where a query or a method is matched, so do these.
async fn go_by_what_they_ask(world: &World, door: &Door, more: bool) {
    let asked = [("GET", "preview/1", "v2"), ("GET", "previews", "v1")];
    let asked_more = [("PUT", "", "v2"), ("GET", "?preview=yes", "v2"), ("GET", "?preview=no", "v1")];
    for (method, below, version) in asked.iter().chain(asked_more.iter().filter(|_| more)) {
        let answers = door.answers_to(world, method, below, &[]).await;
        assert!(answers.iter().all(|it| it == version), "{method} /{below} is {version}'s: {answers:?}");
    }
}

/// Testers are sent to the new revision, then so many of a hundred requests are copied to it, then half of all come to it.
async fn sets_apart(world: &World, plane: &Plane, percent: u8, features: &[&str]) {
    let mut matches = vec![
        json!({"headers": [{"name": "x-tester", "value": "yes"}]}),
        json!({"cookies": [{"name": "tester", "value": "yes"}]}),
        json!({"path": {"value": "/preview"}}),
    ];
    // An HTTPProxy knows no methods.
    let more = (plane.route)()["kind"] != "HTTPProxy";
    if more {
        matches.extend([json!({"method": "PUT"}), json!({"query": [{"name": "preview", "value": "yes"}]})]);
    }
    let steps = [
        json!({"name": "testers", "weight": 0, "replicas": 2, "approval": "Required", "match": matches}),
        json!({"name": "copies", "weight": 0, "replicas": 2, "mirror": {"percent": percent}, "approval": "Required"}),
        json!({"name": "half", "weight": 50, "approval": "Required"}),
    ];
    let (mut route, objects) = plane.owned(world);
    if !features.is_empty() {
        route["template"]["features"] = json!(features);
    }
    let records = held(world, plane, &steps, &route, &objects).await;
    let door = plane.door(world, RATE);
    let load = Load::through(world, &door).await;
    let from = now_ms();

    let testers = Door { path: "/testers", header: Some("x-tester=yes"), ..door.clone() };
    let testers = Load::through(world, &testers).await;

    push(world, &Revision::new("v2").with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
    are_told_apart(world, &door, &records).await;
    go_by_what_they_ask(world, &door, more).await;
    plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");

    until_asked(&records, "v2", "copies", 0).await;
    let of_testers = testers.end(world, &records, from, None).await;
    all_answered_by(world, &door, "v1", &[("x-tester", "yes")]).await;
    let rollout = records.rollout().unwrap();
    let hash = rollout["status"]["canary"]["podTemplateHash"].as_str().unwrap();
    let copies = are_copied(world, (&door, &load), &records, (hash, percent), from).await;
    plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");

    until_asked(&records, "v2", "half", 50).await;
    plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
    let promoted = |it: &Value| {
        is_at_rest(it) && it["status"]["stable"]["podTemplateHash"] == hash && it["status"]["past"].is_null()
    };
    records.until("the release is promoted", 120, promoted).await;
    let tally = load.end(world, &records, from, None).await;
    figure(&format!("apart({})", plane.name), &format!("{copies}; {tally}; of testers {of_testers}"));
    lost_nothing(&tally);
    if FORGETS_TOO_SOON.contains(&plane.name) {
        assert!(of_testers.lost.len() < 10, "{} requests of testers were lost", of_testers.lost.len());
    } else {
        lost_nothing(&of_testers);
    }
}

fn told(name: &str, plane: &Plane, percent: u8, features: &[&str]) {
    let _right = beside_others();
    with_temp_ns(name, async |world| sets_apart(world, plane, percent, features).await);
}

#[test]
fn plane_contour_sets_apart_by_its_proxy() {
    told("c-apart-httpproxy", &plane::CONTOUR.speaking("http1"), 20, &[]);
}

// Of routes of the Gateway API it copies all requests or none.
#[test]
fn plane_contour_sets_apart_by_the_gateway_api() {
    told("c-apart-httproute", &plane::CONTOUR_GATEWAY_API.speaking("http1"), 100, &[COPIES, METHODS, QUERIES]);
}

#[test]
fn plane_istio_sets_apart_by_its_virtual_service() {
    told("i-apart-virtualservice", &plane::ISTIO, 20, &[]);
}

#[test]
fn plane_istio_sets_apart_by_the_gateway_api() {
    told("i-apart-httproute", &plane::ISTIO_GATEWAY_API, 20, &[SHARES_OF_COPIES, METHODS, QUERIES]);
}

#[test]
fn plane_envoy_gateway_sets_apart_by_the_gateway_api() {
    told("e-apart-httproute", &plane::ENVOY_GATEWAY, 20, &[SHARES_OF_COPIES, METHODS, QUERIES]);
}
