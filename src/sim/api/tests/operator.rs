//! The operator itself, with the server as its whole world: it must be able to live there.
use super::*;
use crate::{
    cluster::{self, Cluster, lease::Terms},
    controller,
    outbound::Outbound,
    telemetry::Telemetry,
};
use futures::channel::mpsc;
use std::time::Duration;

const OPERATOR: &str = "system:serviceaccount:bellwether-system:bellwether";

/// What the Deployment controller and the kubelets would have made of a Deployment.
fn rolled_out(server: &Server, deployment: &Value) {
    let mut set = replica_set("shop-1", deployment);
    let labels = json!({"app": "shop", "pod-template-hash": "1"});
    set["metadata"]["labels"] = labels.clone();
    set["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    set["spec"]["selector"]["matchLabels"] = labels.clone();
    set["spec"]["template"] = deployment["spec"]["template"].clone();
    set["spec"]["template"]["metadata"]["labels"] = labels.clone();
    let set = server.create("kcm", "replicasets", "n", set).unwrap();
    let counts = json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 1});
    server.merge_status("kcm", "replicasets", "n", "shop-1", json!({"status": counts})).unwrap();
    let mut pod = pod("shop-1-a", &set);
    pod["metadata"]["labels"] = labels;
    server.create("kcm", "pods", "n", pod).unwrap();
    let ready = json!({"status": {
        "phase": "Running", "startTime": "2026-09-21T14:13:20Z", "conditions": [{"type": "Ready", "status": "True"}],
    }});
    server.merge_status("kubelet", "pods", "n", "shop-1-a", ready).unwrap();
    let mut counts = counts;
    counts["updatedReplicas"] = json!(1);
    server.merge_status("kcm", "deployments", "n", "shop", json!({"status": counts})).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_operator_takes_a_deployment_and_tries_a_new_template() {
    let server = server();
    server.set_policies(Policies::shipped(OPERATOR));
    let deployment = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    rolled_out(&server, &deployment);
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    let begun = Instant::now();
    let now = move || {
        let passed = i64::try_from(begun.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(1_790_000_000_000 + passed).unwrap()
    };
    let settings = cluster::Settings {
        namespace: "default".to_owned(),
        identity: "one".to_owned(),
        belt: "bellwether-belt".to_owned(),
        shard: cluster::Shard::default(),
        clock: cluster::Clock::new(now),
        tamper: None,
    };
    let (wake, wakes) = mpsc::unbounded();
    let client = Wire::new(server.clone(), OPERATOR, Arc::new(Calm)).client("default");
    let outbound = Outbound::new(crate::outbound::Settings::default()).unwrap();
    let cluster = Cluster::new(client, settings, Telemetry::default(), outbound, move |key| {
        let _ = wake.unbounded_send(key);
    });
    let terms = Terms {
        namespace: "default".to_owned(),
        name: "bellwether".to_owned(),
        identity: "one".to_owned(),
        duration: Duration::from_secs(3),
        renew: Duration::from_secs(1),
    };
    let changed = server.clone();
    let stop = async move {
        tokio::time::sleep(Duration::from_mins(2)).await;
        let change = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:2"}]);
        changed.json_patch("alice", "deployments", "n", "shop", change).unwrap();
        tokio::time::sleep(Duration::from_mins(2)).await;
    };
    let ended = controller::lead(cluster, terms, controller::Care::default(), wakes, || {}, stop).await;
    assert_eq!(ended, controller::Ended::Told);
    let rollout = server.get("rollouts", "n", "shop").unwrap();
    assert_eq!(rollout["status"]["workload"]["uid"], deployment.uid(), "{:#}", rollout["status"]);
    assert_eq!(rollout["status"]["workload"]["heldBy"], "Policy", "{:#}", rollout["status"]);
    assert_eq!(server.get("deployments", "n", "shop").unwrap()["spec"]["paused"], true);
    let sets = server.list("replicasets", "n");
    let candidate = sets.iter().find(|set| set.name() != "shop-1").expect("there is a candidate");
    assert_eq!(candidate["spec"]["template"]["spec"]["containers"][0]["image"], "shop:2");
    let refused = server.commits(0).into_iter().filter(|commit| commit.user == OPERATOR).count();
    assert!(refused < 2_000, "it does not write for the sake of writing: {refused}");
    assert!(!server.list("events.events.k8s.io", "n").is_empty());
}
