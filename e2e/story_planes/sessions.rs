//! Clients that stay with the revision that answered them first, by the router's own means, until it takes no requests.
use super::{RATE, Shift, held, until_asked, until_serves_instead_of, withdrawn};
use crate::{
    figures::figure,
    load::{Client, Door, Load},
    objects::{APP, OnSigterm, Revision},
    plane::{self, Plane},
    process::plugin,
    records::Records,
    stage::{lost_nothing, push},
    world::{World, beside_others, now_ms, with_temp_ns},
};
use serde_json::json;

/// Clients that come anew in a step of half the requests: that they all met one revision does not happen.
const CLIENTS: usize = 40;

/// What each of these clients is answered by, request after request, is this.
async fn are_answered(world: &World, door: &Door, clients: &[Client], by: impl Fn(&Client) -> String) {
    for client in clients {
        let answers = door.answers(world, "GET", "", &[("cookie", &client.cookie)]).await;
        let wanted = by(client);
        assert!(answers.iter().all(|it| *it == wanted), "{client:?} should be answered by {wanted}: {answers:?}");
    }
}

/// The requests of one client who met this version.
async fn of_who_met(world: &World, door: &Door, clients: &[Client], version: &str) -> Load {
    let client = clients.iter().find(|it| it.version == version).unwrap();
    Load::through(world, &Door { path: "/client", header: Some(format!("cookie={}", client.cookie)), ..door.clone() })
        .await
}

/// Takes a release to the step in which four of five requests are its, and holds those who met it, or stable, to whom they
/// met in the one before. Returns them.
async fn met(world: &World, door: &Door, records: &Records, version: &'static str) -> Vec<Client> {
    push(world, &Revision::new(version).with("ERROR_RATE", "0.005"), OnSigterm::Drains).await;
    until_asked(records, version, "half", 50).await;
    let clients = door.clients(world, CLIENTS).await;
    let count = clients.iter().filter(|it| it.version == version).count();
    assert!((1..CLIENTS).contains(&count), "{count} of {CLIENTS} clients met {version}");
    are_answered(world, door, &clients, |it| it.version.clone()).await;
    plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
    until_asked(records, version, "most", 80).await;
    are_answered(world, door, &clients, |it| it.version.clone()).await;
    clients
}

async fn stay(world: &World, plane: &Plane) {
    let steps = [("half", 50), ("most", 80)]
        .map(|(name, weight)| json!({"name": name, "weight": weight, "approval": "Required"}));
    let records = held(world, plane, &steps, &(plane.route)(), &plane.objects(world)).await;
    let door = plane.door(world, RATE);
    let load = Load::through(world, &door).await;
    let from = now_ms();

    // A release that is called back: its clients go home, and lose nothing on the way.
    let clients = met(world, &door, &records, "v2").await;
    let of_canary = of_who_met(world, &door, &clients, "v2").await;
    let began = now_ms();
    let Shift { last, acted, .. } = withdrawn(world, plane, &records, &of_canary, "v2").await;
    are_answered(world, &door, &clients, |_| "v1".to_owned()).await;
    let called_back = of_canary.end(world, &records, began, None).await;

    // One that is promoted: its clients never meet another, and stable's go over with everyone.
    let old = records.rollout().unwrap()["status"]["stable"]["podTemplateHash"].clone();
    let clients = met(world, &door, &records, "v3").await;
    let of_canary = of_who_met(world, &door, &clients, "v3").await;
    let began = now_ms();
    plugin(&world.namespace, &["promote", APP]).await.well("kubectl bellwether promote");
    until_serves_instead_of(&records, &old).await;
    are_answered(world, &door, &clients, |_| "v3".to_owned()).await;
    let promoted = of_canary.end(world, &records, began, None).await;
    let others = promoted.requests.iter().filter(|it| it.own && it.version != "v3").count();
    let tally = load.end(world, &records, from, None).await;
    figure(
        &format!("sessions({})", plane.name),
        &format!(
            "{CLIENTS} clients stayed with whom they met; called back: last answer to the candidate's client {last:.0} ms after \
             the weight was written, acted on {acted:.0} ms after; {called_back}; promoted: {promoted}; of all: {tally}"
        ),
    );
    assert!(last < acted, "{}: acted on after {acted:.0} ms, and answers came until {last:.0} ms", plane.name);
    assert_eq!(others, 0, "requests of the promoted release's client that another answered");
    for tally in [&called_back, &promoted, &tally] {
        lost_nothing(tally);
    }
}

fn told(name: &str, plane: &Plane) {
    let _right = beside_others();
    with_temp_ns(name, async |world| stay(world, plane).await);
}

#[test]
fn plane_traefik_keeps_sessions_by_its_service() {
    told("t-sessions", &plane::TRAEFIK_SERVICE_STICKY);
}

#[test]
fn plane_envoy_gateway_keeps_sessions_by_the_gateway_api() {
    told("e-sessions", &plane::ENVOY_GATEWAY_STICKY);
}
