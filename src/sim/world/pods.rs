//! The ReplicaSet controller, the kubelet and the EndpointSlice controller.
use super::hand::Hand;
use crate::sim::json::{Read, seek};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The names that the API server knows them by.
pub const REPLICA_SETS: &str = "system:serviceaccount:kube-system:replicaset-controller";
pub const KUBELET: &str = "system:node:one";
pub const ENDPOINTS: &str = "system:serviceaccount:kube-system:endpointslice-controller";

/// What an image does. Its name says it: `app:v2-errors50` fails 50 of a thousand requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// Serves; so many of a thousand requests fail.
    Serves { permille: u64 },
    /// Ends before it is ready, again and again.
    Crashes,
    /// Ends so many seconds after it was ready.
    CrashesAfter { seconds: u64 },
    /// Runs and never becomes ready.
    NeverReady,
    /// Becomes ready and unready in turn, so many seconds each.
    Flaps { seconds: u64 },
    /// Cannot be pulled.
    Missing,
    /// No node has room for it.
    NoRoom,
    /// So many of its pods become ready, and no more.
    OnlyFirst { pods: u64 },
}

impl Image {
    /// What an image of this name does.
    pub fn of(name: &str) -> Self {
        let number = |prefix: &str| {
            let rest = name.split_once(prefix)?.1;
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        };
        if name.contains("crash-after") {
            return Self::CrashesAfter { seconds: number("crash-after").unwrap_or(10) };
        }
        if let Some(seconds) = number("flaps") {
            return Self::Flaps { seconds };
        }
        if let Some(pods) = number("only") {
            return Self::OnlyFirst { pods };
        }
        match () {
            () if name.contains("crash") => Self::Crashes,
            () if name.contains("never") => Self::NeverReady,
            () if name.contains("missing") => Self::Missing,
            () if name.contains("no-room") => Self::NoRoom,
            () => Self::Serves { permille: number("errors").unwrap_or(5) },
        }
    }
}

/// The image of a pod or a template.
pub fn image_of(object: &Value) -> &str {
    let at_pod = object.text("/spec/containers/0/image");
    if at_pod.is_empty() { object.text("/spec/template/spec/containers/0/image") } else { at_pod }
}

/// The condition of a pod that says that it is ready.
fn readiness(pod: &Value) -> Option<&Value> {
    pod.list("/status/conditions").iter().find(|it| it.text("/type") == "Ready" && it.text("/status") == "True")
}

/// Whether a pod's condition says that it is ready.
pub fn is_ready(pod: &Value) -> bool {
    readiness(pod).is_some()
}

fn of_set(hand: &Hand, set: &Value) -> Vec<Arc<Value>> {
    let pods = hand.list("pods", set.namespace());
    pods.into_iter().filter(|pod| pod.controller() == Some(set.uid()) && !pod.is_ending()).collect()
}

/// Since when a pod is ready, if it is.
fn ready_since(pod: &Value) -> Option<jiff::Timestamp> {
    readiness(pod)?.text("/lastTransitionTime").parse().ok()
}

/// Brings the pods of one ReplicaSet to their number, and its status up to date. `suffix` makes the end of a pod's name.
/// Says when the next of its pods will have been ready for long enough.
pub fn sync_set(
    hand: &Hand,
    namespace: &str,
    name: &str,
    now: jiff::Timestamp,
    mut suffix: impl FnMut() -> String,
) -> Result<Option<jiff::Timestamp>, super::deployments::Again> {
    let Some(set) = hand.get("replicasets", namespace, name) else { return Ok(None) };
    let mut pods = of_set(hand, &set);
    let wanted = usize::try_from(set.maybe("/spec/replicas").unwrap_or(1)).unwrap_or(0);
    let mut failed = false;
    if !set.is_ending() {
        while pods.len() < wanted {
            let template = &set["spec"]["template"];
            let mut spec = template["spec"].clone();
            if Image::of(image_of(template)) != Image::NoRoom {
                spec["nodeName"] = json!("one");
            }
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("{name}-{}", suffix()), "namespace": namespace, "labels": template["metadata"]["labels"],
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": set.uid(),
                        "controller": true, "blockOwnerDeletion": true,
                    }],
                },
                "spec": spec,
            });
            let Ok(pod) = hand.create("pods", namespace, pod) else {
                failed = true;
                break;
            };
            pods.push(pod);
        }
        // Those that are not ready go first, then the youngest.
        pods.sort_by_key(|pod| (is_ready(pod), std::cmp::Reverse(pod.text("/metadata/creationTimestamp").to_owned())));
        let surplus = pods.len().saturating_sub(wanted);
        for pod in pods.drain(..surplus) {
            let _ = hand.delete("pods", &pod);
        }
    }
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let least = jiff::SignedDuration::from_secs(set.number("/spec/minReadySeconds"));
    let waits = |since: &jiff::Timestamp| now.duration_since(*since) < least;
    let young: Vec<_> = pods.iter().filter_map(|pod| ready_since(pod)).filter(waits).collect();
    let status = json!({
        "replicas": pods.len(), "readyReplicas": ready, "availableReplicas": ready - young.len(),
        "fullyLabeledReplicas": pods.len(), "observedGeneration": set.number("/metadata/generation"),
    });
    let known = &set["status"];
    if !status.as_object().into_iter().flatten().all(|(key, value)| known.get(key) == Some(value)) {
        hand.merge_status("replicasets", &set, json!({"status": status})).map_err(|_| super::deployments::Again)?;
    }
    if failed { Err(super::deployments::Again) } else { Ok(young.into_iter().min().map(|since| since + least)) }
}

/// What a kubelet says of a pod.
pub fn say(
    hand: &Hand,
    pod: &Value,
    running: bool,
    ready: bool,
    restarts: i64,
    waiting: Option<&str>,
    now: jiff::Timestamp,
) {
    let state = match waiting {
        Some(reason) => json!({"waiting": {"reason": reason, "message": "it cannot run"}}),
        None if running => json!({"running": {"startedAt": now}}),
        None => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let started = match pod.text("/status/startTime") {
        "" => now.to_string(),
        known => known.to_owned(),
    };
    let since = if ready { ready_since(pod).unwrap_or(now) } else { now };
    let condition = |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": since});
    let status = json!({"status": {
        "phase": if running { "Running" } else { "Pending" }, "startTime": started,
        "conditions": [condition("PodScheduled", true), condition("Ready", ready), condition("ContainersReady", ready)],
        "containerStatuses": [{"name": "app", "ready": ready, "restartCount": restarts, "state": state}],
    }});
    let _ = hand.merge_status("pods", pod, status);
}

/// What the scheduler says of a pod for which there is no room.
pub fn say_no_room(hand: &Hand, pod: &Value) {
    let status = json!({"status": {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"},
    ]}});
    let _ = hand.merge_status("pods", pod, status);
}

/// Brings the slice of one Service up to date.
pub fn sync_endpoints(hand: &Hand, namespace: &str, name: &str) -> Result<(), super::deployments::Again> {
    let slice_name = format!("{name}-slice");
    let known = hand.get("endpointslices", namespace, &slice_name);
    let Some(service) = hand.get("services", namespace, name) else {
        if let Some(slice) = known {
            let _ = hand.delete("endpointslices", &slice);
        }
        return Ok(());
    };
    let selector = seek(&service, "/spec/selector");
    let mut endpoints = Vec::new();
    for pod in hand.list("pods", namespace) {
        if !pod.matches(selector) || pod.text("/status/startTime").is_empty() {
            continue;
        }
        let ready = is_ready(&pod) && !pod.is_ending();
        endpoints.push(json!({
            "addresses": ["10.0.0.1"], "conditions": {"ready": ready, "serving": is_ready(&pod), "terminating": pod.is_ending()},
            "targetRef": {"kind": "Pod", "name": pod.name(), "namespace": namespace, "uid": pod.uid()},
        }));
    }
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in seek(&service, "/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
        labels.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    labels.insert("kubernetes.io/service-name".to_owned(), name.to_owned());
    labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), "endpointslice-controller.k8s.io".to_owned());
    match known {
        None if service.is_ending() => Ok(()),
        None => {
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {
                    "name": slice_name, "namespace": namespace, "labels": labels,
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": service.uid(), "controller": true, "blockOwnerDeletion": true}],
                },
                "endpoints": endpoints, "ports": seek(&service, "/spec/ports"),
            });
            hand.create("endpointslices", namespace, slice).map(|_| ()).map_err(|_| super::deployments::Again)
        }
        Some(slice) => {
            let same = slice["endpoints"] == json!(endpoints) && slice["metadata"]["labels"] == json!(labels);
            if same {
                return Ok(());
            }
            let mut next = (*slice).clone();
            next["endpoints"] = json!(endpoints);
            next["metadata"]["labels"] = json!(labels);
            hand.replace("endpointslices", next).map(|_| ()).map_err(|_| super::deployments::Again)
        }
    }
}

/// The Service whose slice this is.
pub fn service_of(slice: &Value) -> &str {
    slice.label("kubernetes.io/service-name").unwrap_or_default()
}

/// The pods that a Service's slice lists as ready.
pub fn endpoints_of(slice: &Value) -> Vec<String> {
    let all = slice.list("/endpoints").iter();
    all.filter(|endpoint| endpoint.is("/conditions/ready"))
        .map(|endpoint| endpoint.text("/targetRef/name").to_owned())
        .collect()
}
