//! At rest the operator writes nothing but its Lease.
use crate::{
    audit::Audit,
    figures::figure,
    objects::{self, OnSigterm, Revision},
    world::{Apply, Kind, PREFIX, World, alone, at_rest, beside_others, until, with_temp_ns},
};
use futures::{StreamExt, stream};
use kube::api::ListParams;
use serde_json::{Value, json};
use std::time::Duration;

const ROLLOUTS: usize = 50;

/// One app with one pod and its Rollout, with the route as it has to be.
fn one(namespace: &str, name: &str) -> Vec<Value> {
    let mut deployment = objects::deployment(name, 1, &objects::env(&Revision::new("v1"), OnSigterm::Dies));
    let pod = &mut deployment["spec"]["template"]["spec"];
    pod["containers"][0]["readinessProbe"]["periodSeconds"] = json!(10);
    let (stable, canary) = (format!("{name}-stable"), format!("{name}-canary"));
    let route = objects::route(namespace, name, &[(&stable, 100), (&canary, 0)]);
    let mut rollout = objects::rollout(name, &[objects::step("half", 50, "10m")], &json!({"mode": "None"}));
    rollout["spec"]["alerts"] = json!([]);
    vec![deployment, objects::service(name), route, rollout]
}

async fn until_all_rest(world: &World) {
    until(&format!("{ROLLOUTS} Rollouts are at rest"), 400, async || {
        let list = world.api(Kind::Rollout).list(&ListParams::default()).await.unwrap();
        let resting = list.items.iter().filter(|it| it.data["status"]["phase"] == "Stable").count();
        if resting == ROLLOUTS { Ok(()) } else { Err(format!("{resting} are")) }
    })
    .await;
}

/// In whose ten minutes other stories may run: writes about their namespaces are theirs.
#[test]
#[expect(clippy::await_holding_lock, reason = "nothing else runs on this story's runtime")]
fn alone_fifty_rollouts_at_rest_cause_no_write_but_the_leases() {
    let _rest = at_rest();
    let right = alone();
    with_temp_ns("idle", async |world| {
        let names: Vec<_> = (0..ROLLOUTS).map(|number| format!("app-{number}")).collect();
        let all =
            names.chunks(10).map(|names| names.iter().flat_map(|name| one(&world.namespace, name)).collect::<Vec<_>>());
        stream::iter(all).for_each(|objects| async move { world.applied(Apply::ServerSide, &objects).await }).await;
        until_all_rest(world).await;
        let mut audit = Audit::from_now().await;
        drop(right);

        let seconds = std::env::var("BELLWETHER_IDLE_SECONDS").map_or(600, |text| text.parse().unwrap());
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
        let (mut leases, mut dry, mut elsewhere) = (0, 0, 0);
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for write in audit.writes() {
                if write.is_lease() {
                    leases += 1;
                } else if write.namespace().starts_with(PREFIX) && write.namespace() != world.namespace {
                    elsewhere += 1;
                } else if write.is_dry_run() {
                    dry += 1;
                } else {
                    panic!("a write at rest: {write:?}");
                }
            }
        }
        figure(
            "idle",
            &format!(
                "{ROLLOUTS} Rollouts at rest for {seconds} s: 0 writes; beside them {leases} of the Lease, {dry} dry-run, \
                 {elsewhere} for other stories that ran meanwhile"
            ),
        );
        assert!(leases > 0, "the audit log does not show the operator's writes");
        // Nobody may have taken the API server away now.
        let _right = beside_others();
        until_all_rest(world).await;
    });
}
