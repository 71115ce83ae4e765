//! Other ways to split the traffic than an HTTPRoute that the team writes: one that the operator writes whole, for both ports
//! of a Service, an Ingress with annotations, routes of two routers, and connections.
use crate::{
    figures::figure,
    load::{Door, Load, RATE},
    objects::{self, APP, OnSigterm, Revision},
    plane::{Plane, TRAEFIK_GATEWAY_API, TRAEFIK_INGRESS_ROUTE, TRAEFIK_NGINX, TRAEFIK_TCP},
    process::kubectl,
    records::Records,
    stage::{Setup, Stage, is_at_rest, lost_nothing, push, serving, serving_as, waits_for},
    world::{Apply, Kind, World, beside_others, ms_of, now_ms, with_temp_ns},
};
use serde_json::{Value, json};

/// The release is promoted, and no request of any of these loads is lost on the way.
async fn promoted(world: &World, records: Records, loads: Vec<Load>, revision: &Revision, story: &str) {
    let from = now_ms();
    let old = records.rollout().unwrap()["status"]["stable"]["podTemplateHash"].clone();
    push(world, revision, OnSigterm::Drains).await;
    let promoted = records
        .until("the release is promoted", 180, |it| {
            is_at_rest(it) && it["status"]["stable"]["podTemplateHash"] != old && it["status"]["past"].is_null()
        })
        .await;
    let hash = promoted["status"]["stable"]["podTemplateHash"].as_str().unwrap();
    let promoted_at = records.when(|it| it["status"]["stable"]["podTemplateHash"] == hash).unwrap();
    let pods = records.pods_of(hash);
    assert!(pods.values().all(|pod| pod.ending_at.is_none() && pod.restarts == 0), "not the tested pods: {pods:?}");
    for load in loads {
        load.until_answered("v2 serves", 50, 30, |request| request.own && request.version == "v2").await;
        let tally = load.end(world, &records, from, None).await;
        figure(story, &format!("promoted; {tally}"));
        lost_nothing(&tally);
        let before = tally.of("v2").filter(|request| request.t < promoted_at).count();
        assert!(before > 0, "the candidate had no share of these requests");
    }
}

/// A Service's second port, and the path under which a route sends requests to it.
const SECOND: (u16, &str) = (8081, "/second");

#[test]
fn a_route_that_the_operator_owns_is_written_whole_weighed_at_both_ports_of_a_service_and_left_serving() {
    let _right = beside_others();
    with_temp_ns("owned", async |world| {
        let (second, path) = SECOND;
        let revision = |version| Revision::new(version).with("ERROR_RATE", "0.005").with("PORT", "8080,8081");
        let mut service = objects::service(APP);
        let ports = json!([
            {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
            {"name": "second", "port": 81, "targetPort": second, "protocol": "TCP"},
        ]);
        service["spec"]["ports"] = ports.clone();
        let records = serving_as(world, &revision("v1"), service).await;
        let mut template =
            objects::route(&world.namespace, APP, &[("app-stable", 1), ("app-canary", 0)])["spec"].clone();
        let mut rule = template["rules"][0].clone();
        rule["matches"] = json!([{"path": {"type": "PathPrefix", "value": path}}]);
        for backend in rule["backendRefs"].as_array_mut().unwrap() {
            backend["port"] = json!(81);
        }
        template["rules"].as_array_mut().unwrap().push(rule);
        let steps = [objects::step("twenty", 20, "5s"), objects::step("half", 50, "5s")];
        let mut rollout = objects::rollout(APP, &steps, &objects::analysis("MetricProvider", "prometheus"));
        rollout["spec"]["traffic"]["port"] = json!(80);
        rollout["spec"]["traffic"]["routes"][0]["ownership"] = json!("Operator");
        rollout["spec"]["traffic"]["routes"][0]["template"] = json!({"spec": template});
        world.applied(Apply::ServerSide, &[rollout]).await;
        records.until("the Deployment is held", 60, is_at_rest).await;
        for name in ["app-stable", "app-canary"] {
            assert_eq!(world.get(Kind::Service, name).await["spec"]["ports"], ports, "the ports of Service {name}");
        }
        let usual = Load::begin(world).await;
        let other = Load::through(world, &Door { path, ..Door::usual(world) }).await;
        promoted(world, records, vec![usual, other], &revision("v2"), "operator_owned_route_to_two_ports").await;
    });
}

/// A release goes through routes of these planes together, under requests at these doors.
async fn carried(world: &World, planes: &[Plane], doors: &[Door], story: &str) {
    let records = serving(world).await;
    let mut analysis = objects::analysis("MetricProvider", "prometheus");
    let metrics = planes[0].metrics.iter().filter(|preset| preset.ends_with("/error-rate"));
    analysis["metrics"] = metrics.map(|preset| json!({"name": "errors", "preset": preset})).collect();
    let steps = [objects::step("twenty", 20, "5s"), objects::step("half", 50, "5s")];
    let mut rollout = objects::rollout(APP, &steps, &analysis);
    rollout["spec"]["traffic"]["port"] = json!(80);
    rollout["spec"]["traffic"]["routes"] = planes.iter().map(|plane| (plane.route)()).collect();
    let objects = planes.iter().flat_map(|plane| plane.objects(world)).chain([rollout]);
    world.applied(Apply::ServerSide, &objects.collect::<Vec<_>>()).await;
    records.until("the Deployment is held", 60, is_at_rest).await;
    let mut loads = Vec::new();
    for door in doors {
        loads.push(Load::through(world, door).await);
    }
    promoted(world, records, loads, &Revision::new("v2").with("ERROR_RATE", "0.005"), story).await;
}

/// The test bed's Traefik reads the annotations of ingress-nginx.
#[test]
fn an_ingress_with_the_annotations_of_nginx_carries_a_release_to_its_promotion() {
    let _right = beside_others();
    with_temp_ns("ingress", async |world| {
        carried(world, &[TRAEFIK_NGINX], &[Door::usual(world)], "ingress_with_annotations_of_nginx").await;
    });
}

#[test]
fn routes_of_two_routers_carry_a_release_together() {
    let _right = beside_others();
    with_temp_ns("together", async |world| {
        let planes = [TRAEFIK_GATEWAY_API, TRAEFIK_INGRESS_ROUTE.at("other.test")];
        let [one, other] = planes.each_ref().map(|plane| plane.door(world, RATE / 2));
        // Two loads for one app are told apart by their paths.
        carried(world, &planes, &[one, Door { path: "/other", ..other }], "routes_of_two_routers").await;
    });
}

#[test]
fn connections_that_nobody_looks_into_carry_a_release_to_its_promotion() {
    let _right = beside_others();
    with_temp_ns("tcp", async |world| {
        carried(world, &[TRAEFIK_TCP], &[TRAEFIK_TCP.door(world, RATE)], "connections_of_tcp").await;
    });
}

/// Another route of the same host that matches more closely takes all requests, and sends them to stable.
fn winner(world: &World) -> Value {
    let mut route = objects::route(&world.namespace, APP, &[("app-stable", 1)]);
    route["metadata"]["name"] = json!("winner");
    route["spec"]["rules"][0]["matches"] = json!([{"path": {"type": "Exact", "value": "/"}}]);
    route
}

#[test]
fn a_share_that_the_data_plane_does_not_heed_is_noticed_in_the_first_step_and_blocks_it() {
    let _right = beside_others();
    with_temp_ns("ignored", async |world| {
        let of_app =
            |analysis: &mut Value| analysis["metrics"] = json!([{"name": "errors", "preset": "app/error-rate"}]);
        let stage = Stage::set(world, Setup { analysis: of_app, ..Setup::default() }).await;
        world.applied(Apply::ServerSide, &[winner(world)]).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        let begun = now_ms();
        let blocked = stage.records.until("the step is blocked", 120, |it| waits_for(it, "WeightIgnored")).await;
        let shared = ms_of(blocked["status"]["step"]["sharedSince"].as_str().unwrap());
        let (step, why) = (&blocked["status"]["step"]["name"], blocked["status"]["message"].as_str().unwrap());
        assert_eq!(step, "twenty");
        assert!(why.contains("asked 20 %, seen 0 % of "), "{why}");
        let noticed = (now_ms() - shared) / 1000.0;
        figure(
            "share_ignored",
            &format!(
                "blocked {noticed:.1} s after the weight was in force, {:.1} s after the push: {why}",
                (now_ms() - begun) / 1000.0
            ),
        );
        kubectl(&world.namespace, &["delete", "httproute", "winner"]).await.well("kubectl delete");
        stage.until_promoted(180).await;
        let seen =
            |it: &Value| it["status"]["weights"]["observed"].as_str().is_some_and(|seen| !seen.starts_with("0 %"));
        assert!(stage.records.when(seen).is_some(), "status says what was seen of the share");
        let tally = stage.end_load().await;
        assert!(tally.of("v2").count() > 0);
        lost_nothing(&tally);
    });
}
