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
const COPIES_OF_CALLS: &str = "GRPCRouteRequestMirror";
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

/// A request: its method, what it asks for below the door's path, and its headers.
type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// One way to know testers by: what a step's match says, requests that it takes, and others that are like them.
pub struct Way {
    wanted: fn() -> Value,
    takes: &'static [Asked],
    leaves: &'static [Asked],
}

/// By a header.
pub const HEADER: Way = Way {
    wanted: || json!({"headers": [{"name": "x-tester", "value": "yes"}]}),
    takes: &[("GET", "", &[("x-tester", "yes")])],
    leaves: &[("GET", "", &[]), ("GET", "", &[("x-tester", "no")])],
};
/// By a cookie among others.
pub const COOKIE: Way = Way {
    wanted: || json!({"cookies": [{"name": "tester", "value": "yes"}]}),
    takes: &[("GET", "", &[("cookie", "a=b; tester=yes")])],
    leaves: &[("GET", "", &[("cookie", "tester=yesterday")])],
};
/// By the one value that a cookie of ingress-nginx has.
const COOKIE_OF_NGINX: Way = Way {
    wanted: || json!({"cookies": [{"name": "tester", "value": "always"}]}),
    takes: &[("GET", "", &[("cookie", "a=b; tester=always")])],
    leaves: &[("GET", "", &[("cookie", "tester=never")])],
};
const PATH: Way = Way {
    wanted: || json!({"path": {"value": "/preview"}}),
    takes: &[("GET", "preview", &[]), ("GET", "preview/1", &[])],
    leaves: &[("GET", "previews", &[])],
};
const METHOD: Way = Way { wanted: || json!({"method": "PUT"}), takes: &[("PUT", "", &[])], leaves: &[] };
const QUERY: Way = Way {
    wanted: || json!({"query": [{"name": "preview", "value": "yes"}]}),
    takes: &[("GET", "?preview=yes", &[])],
    leaves: &[("GET", "?preview=no", &[])],
};

/// Every one of these requests is answered by this version.
async fn all_answered_by(world: &World, door: &Door, version: &str, asked: &[Asked]) {
    for request in asked {
        let (method, below, headers) = *request;
        let answers = door.answers(world, method, below, headers).await;
        assert!(answers.iter().all(|it| it == version), "{request:?} should be answered by {version}: {answers:?}");
    }
}

/// Waits until somebody is asked about v2 while testers use it, who are known in each of these ways; nobody else does.
pub async fn are_told_apart(world: &World, door: &Door, records: &Records, ways: &[Way]) {
    // Without a request of testers there is nothing to judge, and the step waits.
    until("testers are served, and somebody is asked", 90, async || {
        let (method, below, headers) = HEADER.takes[0];
        let testers = door.answers(world, method, below, headers).await;
        let rollout = records.rollout().unwrap();
        if rollout["status"]["phase"] == "AwaitingApproval" { Ok(()) } else { Err(testers.join(" ")) }
    })
    .await;
    for way in ways {
        all_answered_by(world, door, "v2", way.takes).await;
        all_answered_by(world, door, "v1", way.leaves).await;
    }
}

/// What is set apart on a data plane.
struct Apart<'a> {
    plane: &'a Plane,
    /// How testers are known, of which the first is the header.
    ways: &'a [Way],
    /// How many of a hundred requests are copied, where it can copy them.
    copied: Option<u8>,
    /// What it can do though nothing says so.
    features: &'a [&'a str],
}

/// Testers are sent to the new revision, then some of all requests are copied to it, then half of all come to it.
async fn sets_apart(world: &World, Apart { plane, ways, copied, features }: &Apart<'_>) {
    let matches: Vec<_> = ways.iter().map(|way| (way.wanted)()).collect();
    let step = |name: &str, more: Value| {
        let mut step = json!({"name": name, "weight": 0, "replicas": 2, "approval": "Required"});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let steps: Vec<_> = [
        Some(step("testers", json!({"match": matches}))),
        copied.map(|percent| step("copies", json!({"mirror": {"percent": percent}}))),
        Some(step("half", json!({"weight": 50}))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (mut route, objects) = plane.owned(world);
    if !features.is_empty() {
        route["template"]["features"] = json!(features);
    }
    let records = held(world, plane, &steps, &route, &objects).await;
    let door = plane.door(world, RATE);
    let load = Load::through(world, &door).await;
    let from = now_ms();

    let testers = Door { path: "/testers", header: Some("x-tester=yes".to_owned()), ..door.clone() };
    let testers = Load::through(world, &testers).await;

    push(world, &Revision::new("v2").with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
    are_told_apart(world, &door, &records, ways).await;
    let rollout = records.rollout().unwrap();
    let hash = rollout["status"]["canary"]["podTemplateHash"].as_str().unwrap();
    plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");

    let mut copies = "no request was copied".to_owned();
    let of_testers = if let Some(percent) = *copied {
        until_asked(&records, "v2", "copies", 0).await;
        let of_testers = testers.end(world, &records, from, None).await;
        all_answered_by(world, &door, "v1", HEADER.takes).await;
        copies = are_copied(world, (&door, &load), &records, (hash, percent), from).await;
        plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
        until_asked(&records, "v2", "half", 50).await;
        of_testers
    } else {
        until_asked(&records, "v2", "half", 50).await;
        testers.end(world, &records, from, None).await
    };
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

fn told(name: &str, apart: &Apart) {
    let _right = beside_others();
    with_temp_ns(name, async |world| sets_apart(world, apart).await);
}

#[test]
fn plane_traefik_sets_apart_by_its_ingress_route() {
    let ways = &[HEADER, COOKIE, PATH, METHOD, QUERY];
    told("t-apart-ingressroute", &Apart { plane: &plane::TRAEFIK_INGRESS_ROUTE, ways, copied: None, features: &[] });
}

#[test]
fn plane_traefik_sets_apart_by_annotations_of_nginx() {
    let ways = &[HEADER, COOKIE_OF_NGINX];
    told("t-apart-nginx", &Apart { plane: &plane::TRAEFIK_NGINX, ways, copied: None, features: &[] });
}

#[test]
fn plane_contour_sets_apart_by_its_proxy() {
    // It knows no methods.
    let ways = &[HEADER, COOKIE, PATH, QUERY];
    told(
        "c-apart-httpproxy",
        &Apart { plane: &plane::CONTOUR.speaking("http1"), ways, copied: Some(20), features: &[] },
    );
}

// Of routes of the Gateway API it copies all requests or none.
#[test]
fn plane_contour_sets_apart_by_the_gateway_api() {
    let ways = &[HEADER, COOKIE, PATH, METHOD, QUERY];
    let features = &[COPIES, METHODS, QUERIES];
    told(
        "c-apart-httproute",
        &Apart { plane: &plane::CONTOUR_GATEWAY_API.speaking("http1"), ways, copied: Some(100), features },
    );
}

#[test]
fn plane_istio_sets_apart_by_its_virtual_service() {
    let ways = &[HEADER, COOKIE, PATH, METHOD, QUERY];
    told("i-apart-virtualservice", &Apart { plane: &plane::ISTIO, ways, copied: Some(20), features: &[] });
}

#[test]
fn plane_istio_sets_apart_by_the_gateway_api() {
    let ways = &[HEADER, COOKIE, PATH, METHOD, QUERY];
    let features = &[SHARES_OF_COPIES, METHODS, QUERIES];
    told("i-apart-httproute", &Apart { plane: &plane::ISTIO_GATEWAY_API, ways, copied: Some(20), features });
}

#[test]
fn plane_istio_sets_apart_by_its_virtual_service_in_a_sidecar() {
    let ways = &[HEADER, COOKIE, PATH, METHOD, QUERY];
    told("i-apart-sidecar", &Apart { plane: &plane::ISTIO_SIDECAR, ways, copied: Some(20), features: &[] });
}

#[test]
fn plane_istio_sets_apart_by_the_gateway_api_in_a_sidecar() {
    let ways = &[HEADER, COOKIE, PATH, METHOD, QUERY];
    let features = &[SHARES_OF_COPIES, METHODS, QUERIES];
    told("i-apart-gamma", &Apart { plane: &plane::ISTIO_SIDECAR_GATEWAY_API, ways, copied: Some(20), features });
}

// Calls are told apart by what is in their head.
#[test]
fn plane_istio_sets_apart_calls_of_grpc() {
    let (ways, features) = (&[HEADER, COOKIE], &[COPIES_OF_CALLS, SHARES_OF_COPIES]);
    told("i-apart-grpc", &Apart { plane: &plane::ISTIO_GRPC, ways, copied: Some(20), features });
}

#[test]
fn plane_envoy_gateway_sets_apart_calls_of_grpc() {
    let (ways, features) = (&[HEADER, COOKIE], &[COPIES_OF_CALLS, SHARES_OF_COPIES]);
    told("e-apart-grpc", &Apart { plane: &plane::ENVOY_GATEWAY_GRPC, ways, copied: Some(20), features });
}

#[test]
fn plane_envoy_gateway_sets_apart_by_the_gateway_api() {
    let ways = &[HEADER, COOKIE, PATH, METHOD, QUERY];
    let features = &[SHARES_OF_COPIES, METHODS, QUERIES];
    told("e-apart-httproute", &Apart { plane: &plane::ENVOY_GATEWAY, ways, copied: Some(20), features });
}
