//! At rest the operator writes nothing but its Lease.
use crate::{
    figures::figure,
    objects::{self, OnSigterm, Revision},
    process::run,
    world::{Apply, Kind, OPERATOR_NAMESPACE, PREFIX, World, alone, until, with_temp_ns},
};
use futures::{StreamExt, stream};
use kube::api::ListParams;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    time::Duration,
};

const ROLLOUTS: usize = 50;

/// The API server's audit log, from here on.
struct Audit {
    file: File,
    rest: String,
}

impl Audit {
    async fn from_now() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/hack/cluster");
        let path = run(script, &["audit"], "").await.well("hack/cluster audit");
        let mut file = File::open(path.trim()).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        Self { file, rest: String::new() }
    }

    /// The writes of the operator's account since the last look.
    fn writes(&mut self) -> Vec<Value> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).unwrap();
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.rest.rfind('\n') else { return Vec::new() };
        let lines: String = self.rest.drain(..=end).collect();
        let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["user"]["username"].as_str().is_some_and(|user| user.starts_with(&operator())))
            .collect()
    }
}

fn operator() -> String {
    format!("system:serviceaccount:{OPERATOR_NAMESPACE}:")
}

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
fn alone_fifty_rollouts_at_rest_cause_no_write_but_the_leases() {
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
            for event in audit.writes() {
                let object = &event["objectRef"];
                let namespace = object["namespace"].as_str().unwrap_or_default();
                if object["resource"] == "leases" {
                    leases += 1;
                } else if namespace.starts_with(PREFIX) && namespace != world.namespace {
                    elsewhere += 1;
                } else if event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All")) {
                    dry += 1;
                } else {
                    panic!("a write at rest: {event}");
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
        until_all_rest(world).await;
    });
}
