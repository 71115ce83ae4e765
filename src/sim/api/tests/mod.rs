//! What the server must do, as claims; each was checked against what the real one does or is known to do.
mod admission;
mod answers;
mod apply;
mod client;
mod collect;
mod operator;
mod schema;
mod seen;
mod verbs;
mod watch;

use super::*;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

/// A server that knows our kinds, whose time is the runtime's where there is one.
fn server() -> Server {
    let begun = tokio::runtime::Handle::try_current().ok().map(|_| Instant::now());
    let clock = move || {
        let passed = begun.map_or(0, |begun| i64::try_from(begun.elapsed().as_millis()).unwrap());
        Timestamp::from_millisecond(1_790_000_000_000 + passed).unwrap()
    };
    let server = Server::new(Arc::new(clock));
    server.register_ours();
    server.create("admin", "namespaces", "", json!({"metadata": {"name": "n"}})).unwrap();
    server
}

fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "shop:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

fn rollout(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "steps": [{"name": "a", "weight": 5, "observe": "1m"}], "analysis": {"mode": "None"},
        },
    })
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

fn pod(name: &str, owner: &Value) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "shop"}, "ownerReferences": [owner_of(owner)]},
        "spec": {"nodeName": "one", "containers": [{"name": "app", "image": "shop:1"}]},
    })
}

fn owner_of(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

fn replica_set(name: &str, owner: &Value) -> Value {
    let mut set = deployment(name);
    set["metadata"]["ownerReferences"] = json!([owner_of(owner)]);
    set
}

/// Code and reason of a refusal.
fn why<T: std::fmt::Debug>(answer: Result<T, Status>) -> (u16, String) {
    let status = answer.unwrap_err();
    (status.code, status.reason)
}

fn deleting(propagation: &str) -> Options {
    Options { propagation: Some(propagation.to_owned()), ..Options::default() }
}
