//! Objects as the API server has them, read down to the facts that decisions need.
use crate::{
    api::{ActionOutcome, GROUP, HASH_LABEL, ROLLOUT_UID_LABEL, Reason, RolloutAction},
    metrics::{Container, Whereabouts},
    plan::{Claim, Crowd, Deployment, Kept, Map, PendingAction, Pod, ReplicaSet, Service, Stuck, UNVERIFIED, strings},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// What ends after so long has lived, and does not end again and again.
const LONG_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// So much of a person's name is kept, in characters; it stands in the status several times.
const LONGEST_NAME: usize = 256;
/// Marks a ReplicaSet's hash on the copy of its template.
pub(super) const HASH_ANNOTATION: &str = "bellwether.dev/pod-template-hash";

pub(super) fn outcome_of(action: &RolloutAction) -> Option<ActionOutcome> {
    action.status.as_ref().and_then(|status| status.outcome)
}

/// An action; who sent it is believed where `vouched` says that a policy checks what is written there.
pub(super) fn pending(action: RolloutAction, vouched: bool) -> PendingAction {
    let annotation = |name: &str| action.annotations().get(&format!("{GROUP}/{name}")).cloned();
    let verified = vouched && annotation("by-verified").is_some_and(|value| value == "true");
    let by = annotation("by").map(|by| {
        let name: String = by.chars().take(LONGEST_NAME).collect();
        if verified { name } else { format!("{name}{UNVERIFIED}") }
    });
    PendingAction {
        name: action.name_any(),
        uid: action.uid().unwrap_or_default(),
        resource_version: action.resource_version().unwrap_or_default(),
        by,
        action: action.spec.action,
        expect: action.spec.expect,
        to: action.spec.to,
        reason: action.spec.reason,
    }
}

pub(super) fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn name_of(object: &Value) -> String {
    text_of(&object["metadata"]["name"])
}

pub(super) fn uid_of(object: &Value) -> String {
    text_of(&object["metadata"]["uid"])
}

pub(super) fn version_of(object: &Value) -> String {
    text_of(&object["metadata"]["resourceVersion"])
}

fn created_of(object: &Value) -> Timestamp {
    let created = object["metadata"]["creationTimestamp"].as_str();
    created.and_then(|at| at.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn labels_of(object: &Value) -> Map {
    strings(&object["metadata"]["labels"])
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}

/// A label selector as the list call takes it.
pub(super) fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<String> =
        strings(&selector["matchLabels"]).iter().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<_> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

pub(super) fn claim_of(object: &Value, uid: &str) -> Claim {
    Claim::of(&labels_of(object), uid)
}

pub(super) fn deployment_of(object: &Value, uid: &str) -> Deployment {
    let (spec, status) = (&object["spec"], &object["status"]);
    let replicas = spec["replicas"].as_i64().map_or(1, |_| number(&spec["replicas"]));
    Deployment {
        name: name_of(object),
        uid: uid_of(object),
        resource_version: version_of(object),
        generation: object["metadata"]["generation"].as_i64().unwrap_or(0),
        observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
        paused: spec["paused"].as_bool().unwrap_or(false),
        replicas,
        template: spec["template"].clone(),
        selector: spec["selector"].clone(),
        strategy: spec["strategy"]["type"].as_str().unwrap_or("RollingUpdate").to_owned(),
        max_surge: share(&spec["strategy"]["rollingUpdate"]["maxSurge"], replicas, Round::Up),
        max_unavailable: share(&spec["strategy"]["rollingUpdate"]["maxUnavailable"], replicas, Round::Down),
        history_limit: spec["revisionHistoryLimit"].as_i64().map_or(10, |_| number(&spec["revisionHistoryLimit"])),
        min_ready_seconds: number(&spec["minReadySeconds"]),
        status_replicas: number(&status["replicas"]),
        updated: number(&status["updatedReplicas"]),
        available: number(&status["availableReplicas"]),
        claim: claim_of(object, uid),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Up,
    Down,
}

/// `maxSurge` or `maxUnavailable` in pods: a number, or a share of the replicas; a quarter where nothing is said.
fn share(value: &Value, replicas: i32, round: Round) -> i32 {
    match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(25);
            let hundredths = i64::from(replicas).saturating_mul(percent.clamp(0, 10_000));
            let rounded = if round == Round::Up { hundredths.saturating_add(99) } else { hundredths };
            i32::try_from(rounded / 100).unwrap_or(i32::MAX)
        }
        Value::Number(_) => number(value),
        _ => share(&json!("25%"), replicas, round),
    }
}

/// A kept copy of a template.
pub(super) fn kept_of(object: &Value) -> Kept {
    Kept {
        replica_set: name_of(object),
        hash: text_of(&object["metadata"]["annotations"][HASH_ANNOTATION]),
        template: object["data"]["template"].clone(),
    }
}

pub(super) fn replica_set_of(object: &Value) -> ReplicaSet {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut template = spec["template"].clone();
    let labels = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
    let hash = labels.and_then(|labels| labels.remove(HASH_LABEL)).and_then(|hash| Some(hash.as_str()?.to_owned()));
    ReplicaSet {
        name: name_of(object),
        uid: uid_of(object),
        resource_version: version_of(object),
        created: created_of(object),
        generation: object["metadata"]["generation"].as_i64().unwrap_or(0),
        controller: items(&object["metadata"]["ownerReferences"])
            .iter()
            .find(|owner| owner["controller"] == true)
            .map(|owner| text_of(&owner["uid"])),
        labels: labels_of(object),
        annotations: strings(&object["metadata"]["annotations"]),
        replicas: spec["replicas"].as_i64().map_or(1, |_| number(&spec["replicas"])),
        status_replicas: number(&status["replicas"]),
        ready: number(&status["readyReplicas"]),
        available: number(&status["availableReplicas"]),
        refused: refused_of(status),
        template,
        hash: hash.unwrap_or_default(),
    }
}

/// Why the pods of a ReplicaSet are not even made.
fn refused_of(status: &Value) -> Option<Stuck> {
    let conditions = status["conditions"].as_array()?;
    let failure =
        conditions.iter().find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
    let message = failure["message"].as_str().unwrap_or_default();
    let cause = if message.contains("exceeded quota") { Reason::QuotaExceeded } else { Reason::PodsRefused };
    Some(stuck(cause, message))
}

fn stuck(cause: Reason, text: &str) -> Stuck {
    Stuck { cause, text: text.trim().chars().take(200).collect() }
}

/// What a container that waits is waiting for, by the kubelet's word.
fn cause_of(reason: &str) -> Reason {
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Reason::ImageNotPulled,
        "CrashLoopBackOff" | "RunContainerError" | "StartError" => Reason::CandidateCrashing,
        "CreateContainerConfigError" | "CreateContainerError" => Reason::ContainersNotMade,
        _ => Reason::PodsNotReady,
    }
}

/// What a quota leaves room for, in pods.
pub(super) fn quota_of(object: &Value) -> Vec<Crowd> {
    let number = |part: &str, resource: &str| object["status"][part][resource].as_str()?.parse::<i64>().ok();
    ["pods", "count/pods"]
        .into_iter()
        .filter_map(|resource| {
            let (hard, used) = (number("hard", resource)?, number("used", resource).unwrap_or(0));
            Some(Crowd::Quota { name: name_of(object), resource: resource.to_owned(), hard, used })
        })
        .collect()
}

/// A budget for disruptions.
pub(super) fn budget_of(object: &Value) -> Crowd {
    let spec = &object["spec"];
    let says = |field: &str, number: i64, share: &str| spec[field] == number || spec[field] == share;
    let strict = says("maxUnavailable", 0, "0%") || spec["minAvailable"] == "100%";
    Crowd::Budget { name: name_of(object), selector: spec["selector"].clone(), strict }
}

pub(super) fn pod_of(object: &Value) -> Pod {
    let status = &object["status"];
    let condition = |kind: &str| {
        let found = items(&status["conditions"]).iter().find(|condition| condition["type"] == kind);
        found.unwrap_or(&Value::Null)
    };
    let containers = || {
        ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(|list| status[list].as_array()).flatten()
    };
    // Those that are there to stay: one that prepares a pod may end until what it waits for is there.
    let stays = |name: &Value| {
        let prepares = items(&object["spec"]["initContainers"]).iter().find(|container| container["name"] == *name);
        prepares.is_none_or(|container| container["restartPolicy"] == "Always")
    };
    let lived_long = |container: &Value| {
        let last = &container["lastState"]["terminated"];
        let at = |field: &str| last[field].as_str()?.parse::<Timestamp>().ok();
        at("startedAt").zip(at("finishedAt")).is_some_and(|(from, to)| to.duration_since(from) >= LONG_LIFE)
    };
    let endless = || containers().filter(|container| stays(&container["name"]) && !lived_long(container));
    let waiting = containers().find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str()?;
        let harmless = matches!(reason, "ContainerCreating" | "PodInitializing");
        let text = || format!("{reason} {}", waiting["message"].as_str().unwrap_or_default());
        (!harmless).then(|| stuck(cause_of(reason), &text()))
    });
    let scheduled = condition("PodScheduled");
    let unscheduled = (scheduled["status"] == "False").then(|| {
        let text = |field: &str| scheduled[field].as_str().unwrap_or_default().to_owned();
        stuck(Reason::Unschedulable, &format!("{} {}", text("reason"), text("message")))
    });
    Pod {
        name: name_of(object),
        hash: text_of(&object["metadata"]["labels"][HASH_LABEL]),
        ready: condition("Ready")["status"] == "True" && object["metadata"]["deletionTimestamp"].is_null(),
        started: status["startTime"].as_str().and_then(|text| text.parse().ok()),
        ended: containers()
            .filter_map(|container| container["lastState"]["terminated"]["finishedAt"].as_str()?.parse().ok())
            .max(),
        restarts: endless().map(|container| number(&container["restartCount"])).max().unwrap_or(0),
        stuck: waiting.or(unscheduled),
        at: whereabouts_of(object),
    }
}

/// Where a pod is, for those who read its page of metrics.
fn whereabouts_of(object: &Value) -> Whereabouts {
    let (spec, status) = (&object["spec"], &object["status"]);
    let owner = items(&object["metadata"]["ownerReferences"]).iter().find(|owner| owner["controller"] == true);
    let owner = owner.filter(|owner| owner["kind"] == "ReplicaSet").map(|owner| text_of(&owner["uid"]));
    let began = |name: &Value| {
        let told = items(&status["containerStatuses"]).iter().find(|container| container["name"] == *name)?;
        told["state"]["running"]["startedAt"].as_str()?.parse().ok()
    };
    let ports = |container: &Value| {
        let number = |port: &Value| u16::try_from(port["containerPort"].as_u64()?).ok();
        items(&container["ports"]).iter().filter_map(|port| Some((text_of(&port["name"]), number(port)?))).collect()
    };
    let containers =
        items(&spec["containers"]).iter().map(|it| Container { ports: ports(it), began: began(&it["name"]) });
    Whereabouts {
        uid: uid_of(object),
        owner: owner.unwrap_or_default(),
        address: status["podIP"].as_str().and_then(|address| address.parse().ok()),
        host_network: spec["hostNetwork"] == true,
        running: status["phase"] == "Running",
        containers: containers.collect(),
    }
}

pub(super) fn service_of(object: &Value, uid: &str) -> Service {
    let spec = &object["spec"];
    Service {
        name: name_of(object),
        uid: uid_of(object),
        resource_version: version_of(object),
        selector: strings(&spec["selector"]),
        created: created_of(object),
        ports: spec["ports"].as_array().cloned().unwrap_or_default(),
        spec: spec.clone(),
        ours: object["metadata"]["labels"][ROLLOUT_UID_LABEL] == uid && !is_applied(object),
        orphaned: false,
        owners: items(&object["metadata"]["ownerReferences"])
            .iter()
            .filter_map(|owner| Some(owner["uid"].as_str()?.to_owned()))
            .collect(),
        endpoints: BTreeSet::new(),
    }
}

/// Whether somebody holds the object in Git: it bears the marks of an apply, and we never apply.
pub(super) fn is_applied(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].is_null()
        || items(&metadata["managedFields"]).iter().any(is_apply)
}

/// Whether an entry of the managed fields is of somebody who applies the object on the server. A mesh that writes conditions
/// into the status holds nothing of the spec.
pub(super) fn is_apply(entry: &Value) -> bool {
    entry["operation"] == "Apply" && entry["subresource"].as_str().unwrap_or_default().is_empty()
}

/// The pods that slices list as ready.
pub(super) fn endpoints_of(slices: &[Arc<Value>]) -> BTreeSet<String> {
    let all = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    all.filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true))
        .filter_map(|endpoint| Some(endpoint["targetRef"]["name"].as_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_once_a_day_does_not_end_again_and_again() {
        let restarts = |from: &str, to: &str| {
            let last = json!({"terminated": {"startedAt": from, "finishedAt": to}});
            let status = json!({"name": "app", "restartCount": 3, "state": {"running": {}}, "lastState": last});
            pod_of(&json!({
                "metadata": {"name": "shop-1"}, "spec": {"containers": [{"name": "app"}]},
                "status": {"containerStatuses": [status]},
            }))
            .restarts
        };
        assert_eq!(restarts("2026-11-21T00:00:00Z", "2026-11-21T00:09:59Z"), 3);
        assert_eq!(restarts("2026-11-21T00:00:00Z", "2026-11-21T00:10:00Z"), 0);
    }

    #[test]
    fn a_node_that_is_started_again_is_no_crash_and_what_prepares_a_pod_may_try_again() {
        let status =
            |name: &str, restarts: u32| json!({"name": name, "restartCount": restarts, "state": {"running": {}}});
        let restarts = |prepares: u32, mesh: u32, app: u32, log: u32| {
            let object = json!({
                "metadata": {"name": "shop-1"},
                "spec": {
                    "initContainers": [{"name": "migrate"}, {"name": "mesh", "restartPolicy": "Always"}],
                    "containers": [{"name": "app"}, {"name": "log"}],
                },
                "status": {
                    "initContainerStatuses": [status("migrate", prepares), status("mesh", mesh)],
                    "containerStatuses": [status("app", app), status("log", log)],
                },
            });
            pod_of(&object).restarts
        };
        assert_eq!(restarts(1, 1, 1, 1), 1);
        assert_eq!(restarts(5, 0, 0, 0), 0);
        assert_eq!((restarts(0, 2, 0, 0), restarts(0, 1, 3, 1)), (2, 3));
    }
}
