//! What the server fills in: the fields that clients leave out of built-in kinds and routes.
use super::{Kind, schema, store::Meta as _};
use serde_json::{Value, json};

/// Sets a member that is not there; only then is the default made.
macro_rules! or {
    ($value:expr, $member:expr, $default:expr $(,)?) => {
        if let Some(members) = ($value).as_object_mut()
            && !members.contains_key($member)
        {
            members.insert($member.to_owned(), $default);
        }
    };
}

fn each(value: &mut Value, member: &str, change: impl FnMut(&mut Value)) {
    if let Some(items) = value.get_mut(member).and_then(Value::as_array_mut) {
        items.iter_mut().for_each(change);
    }
}

/// Members that say nothing are as if they were not there.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.values().any(Value::is_null) {
                members.retain(|_, member| !member.is_null());
            }
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(set) => !set,
        Value::Null => true,
    }
}

/// Built-in kinds do not write what is empty, 0 or false, where leaving it out says the same.
fn without_empties(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| {
                let droppable = match name.as_str() {
                    "labels"
                    | "annotations"
                    | "matchLabels"
                    | "matchExpressions"
                    | "nodeSelector"
                    | "selector"
                    | "limits"
                    | "requests"
                    | "data"
                    | "stringData"
                    | "hostNetwork"
                    | "hostPID"
                    | "hostIPC"
                    | "tty"
                    | "stdin"
                    | "stdinOnce"
                    | "readOnly"
                    | "minReadySeconds"
                    | "readyReplicas"
                    | "availableReplicas"
                    | "updatedReplicas"
                    | "unavailableReplicas"
                    | "fullyLabeledReplicas"
                    | "observedGeneration"
                    | "paused"
                    | "publishNotReadyAddresses" => true,
                    "endpoints" => false,
                    _ => member.is_array(),
                };
                !(droppable && is_empty(member))
            });
            members.values_mut().for_each(without_empties);
        }
        Value::Array(items) => items.iter_mut().for_each(without_empties),
        _ => {}
    }
}

/// Fills in what a client left out. `extra` is what a newer server fills in beside it, in templates of pods.
pub(super) fn fill(kind: &Kind, part: &str, object: &mut Value, extra: &[Value]) {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("apps", "deployments") => {
            deployment(object);
            // That of a ReplicaSet is written, even if it is 0.
            if object["status"]["replicas"] == 0
                && let Some(status) = object["status"].as_object_mut()
            {
                status.remove("replicas");
            }
            template(&mut object["spec"]["template"], extra);
        }
        ("apps", "replicasets") => {
            or!(object, "spec", json!({}));
            or!(&mut object["spec"], "replicas", json!(1));
            template(&mut object["spec"]["template"], extra);
        }
        ("", "pods") => {
            pod_spec(&mut object["spec"], extra);
            or!(&mut object["spec"], "enableServiceLinks", json!(true));
        }
        ("", "services") => service(object),
        ("coordination.k8s.io", "leases") => {
            or!(object, "spec", json!({}));
        }
        ("apps", "controllerrevisions") => {
            or!(object, "revision", json!(0));
        }
        ("", "configmaps") => drop_empty_data(object),
        ("", "secrets") => {
            or!(object, "type", json!("Opaque"));
            drop_empty_data(object);
        }
        ("gateway.networking.k8s.io", "httproutes") => {
            or!(&mut object["spec"], "rules", json!([{}]));
            route(object, &json!([{"path": {"type": "PathPrefix", "value": "/"}}]));
        }
        ("gateway.networking.k8s.io", "grpcroutes") => route(object, &Value::Null),
        ("autoscaling", "horizontalpodautoscalers") => {
            or!(&mut object["spec"], "minReplicas", json!(1));
        }
        _ => {}
    }
    // Of a status's write the rest is as it is stored, where nothing is left to drop.
    let written = |name: &str| part != "status" || matches!(name, "metadata" | "status");
    if part == "status" && kind.is_custom() {
        let members = object.as_object_mut().into_iter().flatten();
        members.filter(|(name, _)| written(name)).for_each(|(_, member)| without_nulls(member));
    } else {
        without_nulls(object);
    }
    match &kind.custom {
        Some(custom) if custom.schema.is_object() => schema::complete(object, &custom.shape, part),
        Some(_) => {}
        // What it holds is nobody's business.
        None if kind.plural == "controllerrevisions" => {}
        None => {
            let members = object.as_object_mut().into_iter().flatten();
            let members = members.filter(|(name, _)| *name != "metadata" && written(name));
            members.for_each(|(_, member)| without_empties(member));
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for member in ["labels", "annotations", "finalizers", "ownerReferences"] {
            if metadata.get(member).is_some_and(is_empty) {
                metadata.remove(member);
            }
        }
    }
}

fn drop_empty_data(object: &mut Value) {
    let is_empty = object["data"].as_object().is_some_and(serde_json::Map::is_empty);
    if let Some(members) = object.as_object_mut().filter(|_| is_empty) {
        members.remove("data");
    }
}

/// The status of a new object, and what else only the server says of it.
pub(super) fn begin(kind: &Kind, object: &mut Value) {
    let Some(members) = object.as_object_mut() else { return };
    if kind.status || kind.is("", "namespaces") {
        members.remove("status");
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("apps", "deployments") | ("policy" | "autoscaling", _) => {
            members.insert("status".to_owned(), json!({}));
        }
        ("apps", "replicasets") => {
            members.insert("status".to_owned(), json!({"replicas": 0}));
        }
        ("", "services") => {
            members.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
        ("", "pods") => {
            members.insert("status".to_owned(), json!({"phase": "Pending", "qosClass": "BestEffort"}));
        }
        ("", "namespaces") => {
            members.insert("spec".to_owned(), json!({"finalizers": ["kubernetes"]}));
            members.insert("status".to_owned(), json!({"phase": "Active"}));
            let name = object.name().to_owned();
            or!(&mut object["metadata"], "labels", json!({}));
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
        }
        _ => {}
    }
}

fn deployment(object: &mut Value) {
    or!(object, "spec", json!({}));
    let spec = &mut object["spec"];
    or!(spec, "replicas", json!(1));
    or!(spec, "revisionHistoryLimit", json!(10));
    or!(spec, "progressDeadlineSeconds", json!(600));
    or!(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    or!(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        or!(strategy, "rollingUpdate", json!({}));
        or!(&mut strategy["rollingUpdate"], "maxSurge", json!("25%"));
        or!(&mut strategy["rollingUpdate"], "maxUnavailable", json!("25%"));
    }
}

fn template(template: &mut Value, extra: &[Value]) {
    if template.is_object() {
        or!(template, "metadata", json!({}));
        or!(template, "spec", json!({}));
        pod_spec(&mut template["spec"], extra);
    }
}

fn pod_spec(spec: &mut Value, extra: &[Value]) {
    if !spec.is_object() {
        return;
    }
    or!(spec, "restartPolicy", json!("Always"));
    or!(spec, "dnsPolicy", json!("ClusterFirst"));
    or!(spec, "terminationGracePeriodSeconds", json!(30));
    or!(spec, "schedulerName", json!("default-scheduler"));
    or!(spec, "securityContext", json!({}));
    for list in ["containers", "initContainers"] {
        each(spec, list, container);
    }
    each(spec, "volumes", |volume| {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if volume[source].is_object() {
                or!(&mut volume[source], "defaultMode", json!(420));
            }
        }
    });
    for extra in extra {
        fill_in(spec, &extra["spec"]);
    }
}

fn container(container: &mut Value) {
    let image = container.text("image");
    let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map_or("latest", |(_, tag)| tag);
    let policy = if tag == "latest" && !image.contains('@') { "Always" } else { "IfNotPresent" };
    or!(container, "imagePullPolicy", json!(policy));
    or!(container, "terminationMessagePath", json!("/dev/termination-log"));
    or!(container, "terminationMessagePolicy", json!("File"));
    or!(container, "resources", json!({}));
    each(container, "ports", |port| {
        or!(port, "protocol", json!("TCP"));
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) else { continue };
        or!(probe, "timeoutSeconds", json!(1));
        or!(probe, "periodSeconds", json!(10));
        or!(probe, "successThreshold", json!(1));
        or!(probe, "failureThreshold", json!(3));
        if let Some(get) = probe.get_mut("httpGet") {
            or!(get, "path", json!("/"));
            or!(get, "scheme", json!("HTTP"));
        }
    }
}

fn service(object: &mut Value) {
    or!(object, "spec", json!({}));
    let spec = &mut object["spec"];
    or!(spec, "type", json!("ClusterIP"));
    or!(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "ClientIP" {
        or!(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}}));
    } else if let Some(members) = spec.as_object_mut() {
        members.remove("sessionAffinityConfig");
    }
    each(spec, "ports", |port| {
        or!(port, "protocol", json!("TCP"));
        let number = port["port"].as_u64();
        or!(port, "targetPort", json!(number));
    });
    if spec["type"] != "ExternalName" {
        or!(spec, "internalTrafficPolicy", json!("Cluster"));
        or!(spec, "ipFamilies", json!(["IPv4"]));
        or!(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
}

/// How the addresses of Services begin.
pub(super) const ADDRESSES: &str = "10.96.";

/// Gives a Service an address of its own, or keeps the one it had.
pub(super) fn address(object: &mut Value, old: Option<&Value>, next: &mut u64) {
    let spec = &mut object["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    if spec.text("clusterIP").is_empty() {
        let kept = old.map(|old| old["spec"].text("clusterIP")).filter(|kept| !kept.is_empty());
        let address = kept.map_or_else(
            || {
                *next += 1;
                format!("{ADDRESSES}{}.{}", *next / 250, *next % 250 + 1)
            },
            str::to_owned,
        );
        spec["clusterIP"] = json!(address);
    }
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
}

fn route(object: &mut Value, matches: &Value) {
    each(&mut object["spec"], "parentRefs", |parent| {
        or!(parent, "group", json!("gateway.networking.k8s.io"));
        or!(parent, "kind", json!("Gateway"));
    });
    if let Some(status) = object.get_mut("status") {
        each(status, "parents", |parent| {
            if let Some(parent) = parent.get_mut("parentRef") {
                or!(parent, "group", json!("gateway.networking.k8s.io"));
                or!(parent, "kind", json!("Gateway"));
            }
        });
    }
    let backend = |backend: &mut Value| {
        or!(backend, "group", json!(""));
        or!(backend, "kind", json!("Service"));
        or!(backend, "weight", json!(1));
    };
    each(&mut object["spec"], "rules", |rule| {
        if !matches.is_null() {
            or!(rule, "matches", matches.clone());
        }
        each(rule, "backendRefs", backend);
        each(rule, "matches", |found| {
            if matches.is_null() {
                if let Some(method) = found.get_mut("method") {
                    or!(method, "type", json!("Exact"));
                }
            } else {
                or!(found, "path", json!({}));
                or!(&mut found["path"], "type", json!("PathPrefix"));
                or!(&mut found["path"], "value", json!("/"));
            }
            for list in ["headers", "queryParams"] {
                each(found, list, |condition| {
                    or!(condition, "type", json!("Exact"));
                });
            }
        });
        each(rule, "filters", |filter| {
            if let Some(mirror) = filter.get_mut("requestMirror").and_then(|mirror| mirror.get_mut("backendRef")) {
                or!(mirror, "group", json!(""));
                or!(mirror, "kind", json!("Service"));
            }
        });
    });
}

/// Adds what is missing; the first item of a list of defaults is meant for every item.
fn fill_in(value: &mut Value, defaults: &Value) {
    match (value, defaults) {
        (Value::Object(members), Value::Object(defaults)) => {
            for (name, default) in defaults {
                match members.get_mut(name) {
                    Some(member) => fill_in(member, default),
                    None if default.is_array() => {}
                    None => {
                        members.insert(name.clone(), default.clone());
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(defaults)) => {
            if let Some(default) = defaults.first() {
                for item in items {
                    fill_in(item, default);
                }
            }
        }
        _ => {}
    }
}
