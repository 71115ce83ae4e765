//! Every way to split traffic, on its real data plane: the shares that arrive, a good release and one that is called back,
//! under a hundred requests a second of which half have a connection of their own.
pub mod apart;
pub mod sessions;

use crate::{
    audit::Audit,
    figures::figure,
    load::{Door, Load, Request, answered_share},
    objects::{self, APP, OnSigterm, Revision},
    plane::{self, Plane},
    process::plugin,
    records::Records,
    stage::{is_at_rest, lost_nothing, push, serving},
    world::{Apply, World, beside_others, now_ms, with_temp_ns},
};
use serde_json::{Value, json};

/// Requests a second, all the time.
const RATE: u32 = 100;
/// Requests of which a share is measured, at least.
const MANY: u32 = 2_000;
const STEPS: [(&str, u8); 6] = [("none", 0), ("one", 1), ("five", 5), ("twenty", 20), ("half", 50), ("all", 100)];

/// The Rollout waits for a person at this step, with its weight in force.
async fn until_asked(records: &Records, revision: &str, step: &str, weight: u8) {
    let what = format!("{revision} waits for a person at step {step}");
    records
        .until(&what, 120, |it| {
            let status = &it["status"];
            status["phase"] == "AwaitingApproval"
                && status["step"]["name"] == step
                && status["weights"]["accepted"] == weight
        })
        .await;
}

/// Another revision than this one serves alone.
async fn until_serves_instead_of(records: &Records, old: &Value) {
    let promoted = |it: &Value| {
        is_at_rest(it) && it["status"]["stable"]["podTemplateHash"] != *old && it["status"]["past"].is_null()
    };
    records.until("the release is promoted", 120, promoted).await;
}

/// Holds the share that this version has of all answers against the one that was asked for.
fn check_share(plane: &Plane, requests: &[Request], version: &str, weight: u8) -> String {
    let all = requests.len();
    assert!(all >= usize::try_from(MANY).unwrap() * 9 / 10, "only {all} of {MANY} requests were sent");
    let lost: Vec<_> = requests.iter().filter(|request| !request.own).collect();
    let got = answered_share(plane.name, requests, version, f64::from(weight) / 100.0);
    assert!(lost.is_empty(), "{}: {} requests were lost at {weight} %: {:?}", plane.name, lost.len(), lost[0]);
    format!("{weight} %: {got}/{all}")
}

/// Very many requests within some seconds, and those that the load sent meanwhile.
///
/// A gateway that lets the backends take turns splits all that arrives as it was asked to. Of two senders who each keep
/// their pace, one can meet the same turns again and again; what it alone got would say nothing about the gateway.
async fn everyones(world: &World, door: &Door, load: &Load) -> Vec<Request> {
    let mut all = door.burst(world, MANY).await;
    let from = all.iter().map(|request| request.t).fold(f64::MAX, f64::min);
    let until = all.iter().map(|request| request.t).fold(from, f64::max);
    all.extend(load.requests().into_iter().filter(|request| (from..=until).contains(&request.t)));
    all
}

/// Takes the release through all steps, and says what arrived in each.
async fn shares(
    world: &World,
    plane: &Plane,
    (door, load): (&Door, &Load),
    records: &Records,
    version: &'static str,
) -> Vec<String> {
    push(world, &Revision::new(version).with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
    let mut shares = Vec::new();
    for (step, weight) in STEPS {
        until_asked(records, version, step, weight).await;
        shares.push(check_share(plane, &everyones(world, door, load).await, version, weight));
        plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
    }
    shares
}

/// A release that is called back, in milliseconds after the weight was written, by the API server's clock.
struct Shift {
    /// Its last answer came.
    last: f64,
    /// The status said that the weight is taken.
    accepted: f64,
    /// The operator did what may only follow when no request comes any more.
    acted: f64,
}

/// Calls a release back at 20 %.
async fn called_back(world: &World, plane: &Plane, records: &Records, load: &Load) -> Shift {
    push(world, &Revision::new("v3").with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
    for (step, weight) in &STEPS[..4] {
        until_asked(records, "v3", step, *weight).await;
        if *weight < 20 {
            plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
        }
    }
    withdrawn(world, plane, records, load, "v3").await
}

/// Aborts this release while the load is answered by it.
async fn withdrawn(world: &World, plane: &Plane, records: &Records, load: &Load, version: &str) -> Shift {
    let of_it = |request: &Request| request.own && request.version == version;
    load.until_answered(&format!("{version} serves"), 50, 30, of_it).await;
    let mut audit = Audit::from_now().await;
    plugin(&world.namespace, &["abort", APP]).await.well("kubectl bellwether abort");
    records.until("the release is called back", 60, |it| it["status"]["phase"] == "Aborted").await;
    let accepted = records.when(|it| !it["status"]["latch"].is_null() && it["status"]["weights"]["accepted"] == 0);
    let mut writes = audit.writes();
    writes.retain(|write| write.namespace() == world.namespace && write.is_taken() && !write.is_dry_run());
    let first = |of: &[&str], from: f64| {
        let found = writes.iter().find(|write| write.at() >= from && of.contains(&write.resource()));
        found.unwrap_or_else(|| panic!("none of {of:?} was written: {writes:?}")).at()
    };
    let written = first(&[&plane.resource()], 0.0);
    let acted = first(&["services", "replicasets"], written);
    let answers = load.requests().into_iter().filter(of_it).map(|it| it.t + it.ms);
    let last = answers.fold(written, f64::max);
    Shift { last: last - written, accepted: accepted.unwrap() - written, acted: acted - written }
}

/// An app that a Rollout with these steps and this route holds, beside these objects.
async fn held(world: &World, plane: &Plane, steps: &[Value], route: &Value, objects: &[Value]) -> Records {
    let records = serving(world).await;
    let metrics: Vec<_> = plane
        .metrics
        .iter()
        .enumerate()
        .map(|(at, preset)| json!({"name": format!("m{at}"), "preset": preset}))
        .collect();
    let mut analysis = objects::analysis("MetricProvider", "prometheus");
    analysis["metrics"] = json!(metrics);
    let mut rollout = objects::rollout(APP, steps, &analysis);
    rollout["spec"]["traffic"]["port"] = json!(80);
    rollout["spec"]["traffic"]["routes"] = json!([route]);
    rollout["spec"]["progress"]["deadline"] = json!("60s");
    world.applied(Apply::ServerSide, &[&[plane.service()], objects, &[rollout]].concat()).await;
    records.until("the Deployment is held", 60, is_at_rest).await;
    records
}

async fn carries(world: &World, plane: &Plane) {
    let steps: Vec<_> =
        STEPS.iter().map(|(name, weight)| json!({"name": name, "weight": weight, "approval": "Required"})).collect();
    let records = held(world, plane, &steps, &(plane.route)(), &plane.objects(world)).await;
    let door = plane.door(world, RATE);
    let load = Load::through(world, &door).await;
    let from = now_ms();

    let old = records.rollout().unwrap()["status"]["stable"]["podTemplateHash"].clone();
    let shares = shares(world, plane, (&door, &load), &records, "v2").await;
    until_serves_instead_of(&records, &old).await;
    let proof =
        records.rollouts().iter().rev().find_map(|(_, it)| Some(it["status"]["weights"]["by"].as_str()?.to_owned()));
    assert_eq!(proof.as_deref(), Some(plane.proof), "{}", plane.name);
    let Shift { last, accepted, acted } = called_back(world, plane, &records, &load).await;
    let tally = load.end(world, &records, from, None).await;
    figure(
        &format!("plane({}, {})", plane.name, door.protocol),
        &format!(
            "{}; called back: last answer {last:.0} ms after the weight was written, taken by {} {accepted:.0} ms after, acted \
             on {acted:.0} ms after; {} requests in all, lost by the machinery {}",
            shares.join(", "),
            plane.proof,
            tally.requests.len(),
            tally.lost.len()
        ),
    );
    lost_nothing(&tally);
    assert!(last < acted, "{}: acted on after {acted:.0} ms, and answers came until {last:.0} ms", plane.name);
    assert!(tally.harm.is_empty(), "a good release did harm: {:?}", tally.harm);
}

fn told(name: &str, plane: &Plane) {
    let _right = beside_others();
    with_temp_ns(name, async |world| carries(world, plane).await);
}

#[test]
fn plane_traefik_by_the_gateway_api() {
    told("t-httproute", &plane::TRAEFIK_GATEWAY_API);
}

#[test]
fn plane_traefik_by_its_ingress_route() {
    told("t-ingressroute", &plane::TRAEFIK_INGRESS_ROUTE);
}

#[test]
fn plane_traefik_by_its_service() {
    told("t-service", &plane::TRAEFIK_SERVICE);
}

#[test]
fn plane_traefik_by_annotations_of_nginx() {
    told("t-nginx", &plane::TRAEFIK_NGINX);
}

#[test]
fn plane_contour_by_its_proxy() {
    told("c-httpproxy", &plane::CONTOUR);
}

#[test]
fn plane_contour_by_the_gateway_api() {
    told("c-httproute", &plane::CONTOUR_GATEWAY_API);
}

#[test]
fn plane_istio_by_its_virtual_service() {
    told("i-virtualservice", &plane::ISTIO);
}

#[test]
fn plane_istio_by_the_gateway_api() {
    told("i-httproute", &plane::ISTIO_GATEWAY_API);
}

#[test]
fn plane_istio_by_its_virtual_service_in_a_sidecar() {
    told("i-sidecar", &plane::ISTIO_SIDECAR);
}

#[test]
fn plane_istio_by_the_gateway_api_in_a_sidecar() {
    told("i-gamma", &plane::ISTIO_SIDECAR_GATEWAY_API);
}

#[test]
fn plane_traefik_with_calls_of_grpc() {
    told("t-grpc", &plane::TRAEFIK_GRPC);
}

#[test]
fn plane_traefik_with_http_2() {
    told("t-h2c", &plane::TRAEFIK_GATEWAY_API.speaking("h2c"));
}

#[test]
fn plane_traefik_with_web_sockets() {
    told("t-websocket", &plane::TRAEFIK_GATEWAY_API.speaking("websocket"));
}

#[test]
fn plane_traefik_by_names_within_tls() {
    told("t-tls", &plane::TRAEFIK_TLS);
}

#[test]
fn plane_traefik_by_connections() {
    told("t-tcp", &plane::TRAEFIK_TCP);
}

#[test]
fn plane_contour_with_calls_of_grpc() {
    told("c-grpc", &plane::CONTOUR_GRPC);
}

#[test]
fn plane_contour_with_http_2() {
    told("c-h2c", &plane::CONTOUR_GATEWAY_API.speaking("h2c"));
}

#[test]
fn plane_contour_with_web_sockets() {
    told("c-websocket", &plane::CONTOUR_GATEWAY_API.speaking("websocket"));
}

#[test]
fn plane_istio_with_calls_of_grpc() {
    told("i-grpc", &plane::ISTIO_GRPC);
}

#[test]
fn plane_istio_with_http_2() {
    told("i-h2c", &plane::ISTIO_GATEWAY_API.speaking("h2c"));
}

#[test]
fn plane_istio_with_web_sockets() {
    told("i-websocket", &plane::ISTIO_GATEWAY_API.speaking("websocket"));
}

#[test]
fn plane_envoy_gateway_by_the_gateway_api() {
    told("e-httproute", &plane::ENVOY_GATEWAY);
}

#[test]
fn plane_envoy_gateway_with_calls_of_grpc() {
    told("e-grpc", &plane::ENVOY_GATEWAY_GRPC);
}

#[test]
fn plane_envoy_gateway_with_http_2() {
    told("e-h2c", &plane::ENVOY_GATEWAY.speaking("h2c"));
}

#[test]
fn plane_envoy_gateway_with_web_sockets() {
    told("e-websocket", &plane::ENVOY_GATEWAY.speaking("websocket"));
}

#[test]
fn plane_envoy_gateway_by_connections() {
    told("e-tcp", &plane::ENVOY_GATEWAY_TCP);
}

#[test]
fn plane_envoy_gateway_by_names_within_tls() {
    told("e-tls", &plane::ENVOY_GATEWAY_TLS);
}

#[test]
fn plane_contour_by_names_within_tls() {
    told("c-tls", &plane::CONTOUR_TLS);
}

#[test]
fn plane_istio_by_names_within_tls() {
    told("i-tls", &plane::ISTIO_TLS);
}

#[test]
fn plane_istio_by_connections() {
    told("i-tcp", &plane::ISTIO_TCP);
}
