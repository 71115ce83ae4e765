//! What is refused for what it says: names, labels, owners, and the few fields of built-in kinds that matter here.
use super::{Kind, Status, schema, select, store::Meta as _};
use serde_json::Value;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const OLD_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// All annotations of an object together.
const ANNOTATIONS_CAP: usize = 256 * 1024;

fn is_label(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends(text.chars().next())
        && ends(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// `example.com/name`, or only `name`.
fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("prefix", text));
    !name.is_empty()
        && name.len() <= 63
        && is_label_value(name)
        && prefix.len() <= 253
        && prefix.split('.').all(is_label)
}

fn is_label_value(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.is_empty()
        || ends(text.chars().next())
            && ends(text.chars().next_back())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// A new Service may ask for an address, but only for one of this cluster's. In a dry run none is given.
pub(super) fn address(kind: &Kind, new: &Value, dry_run: bool) -> Result<(), Status> {
    let address = new["spec"].text("clusterIP");
    if kind.is("", "services") && new.name().is_empty() && !dry_run {
        return Err(Status::invalid(kind, "", "spec.clusterIPs", "Invalid value: no name to give an address to"));
    }
    if !kind.is("", "services") || matches!(address, "" | "None") || address.starts_with(super::defaults::ADDRESSES) {
        return Ok(());
    }
    let why = format!("Invalid value: [\"{address}\"]: the provided IP is not in the valid range");
    Err(Status::invalid(kind, new.name(), "spec.clusterIPs", &why))
}

/// Of a custom kind an object that says to be something else is invalid, under the name that it says.
pub(super) fn type_of(kind: &Kind, new: &Value) -> Result<(), Status> {
    let said = said(kind, new);
    for (member, wanted) in [("kind", kind.kind.clone()), ("apiVersion", kind.api_version())] {
        if new.text(member) != wanted {
            let why = format!("Invalid value: {}: must be {wanted}", new[member]);
            return Err(Status::invalid(&said, new.name(), member, &why));
        }
    }
    Ok(())
}

/// The kind as an object of it says it.
pub(super) fn said(kind: &Kind, new: &Value) -> Kind {
    let group = new.text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    Kind { kind: new.text("kind").to_owned(), group: group.to_owned(), ..kind.clone() }
}

/// Checks what all kinds have in common, and what is known of this one.
pub(super) fn check(kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if kind.is_custom() {
        type_of(kind, new)?;
    }
    let wrong = |field: &str, why: String| Err(Status::invalid(kind, new.name(), field, &why));
    let name = new.name();
    if old.is_none() {
        if name.is_empty() {
            return wrong("metadata.name", "Required value: name or generateName is required".to_owned());
        }
        let (fine, longest, rule) = match kind.plural.as_str() {
            "services" => (is_label(name) && !name.starts_with(|c: char| c.is_ascii_digit()), 63, OLD_LABEL),
            "namespaces" => (is_label(name), 63, LABEL),
            _ => (name.split('.').all(is_label), 253, SUBDOMAIN),
        };
        if name.len() > longest {
            return wrong(
                "metadata.name",
                format!("Invalid value: \"{name}\": must be no more than {longest} characters"),
            );
        }
        if !fine {
            return wrong("metadata.name", format!("Invalid value: \"{name}\": {rule}"));
        }
    }
    for (key, value) in new["metadata"]["labels"].as_object().into_iter().flatten() {
        let Some(text) = value.as_str() else {
            return Err(Status::bad_request(format!("unrecognized type: label {key} is not a string")));
        };
        if !is_label_key(key) {
            return wrong(
                "metadata.labels",
                format!("Invalid value: \"{key}\": a valid label key must be a qualified name"),
            );
        }
        if text.len() > 63 {
            return wrong("metadata.labels", format!("Invalid value: \"{text}\": must be no more than 63 bytes"));
        }
        if !is_label_value(text) {
            return wrong("metadata.labels", format!("Invalid value: \"{text}\": {VALUE}"));
        }
    }
    let annotations = new["metadata"]["annotations"].as_object().into_iter().flatten();
    if annotations.map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len()).sum::<usize>()
        > ANNOTATIONS_CAP
    {
        return wrong("metadata.annotations", format!("Too long: may not be more than {ANNOTATIONS_CAP} bytes"));
    }
    for key in new["metadata"]["annotations"].as_object().into_iter().flatten().map(|(key, _)| key) {
        if !is_label_key(&key.to_ascii_lowercase()) {
            return wrong(
                "metadata.annotations",
                format!("Invalid value: \"{key}\": name part must be a qualified name"),
            );
        }
    }
    for finalizer in new.finalizers() {
        if !is_label_key(finalizer) {
            let why = format!("Invalid value: \"{finalizer}\": name part must be a qualified name");
            return wrong("metadata.finalizers", why);
        }
    }
    owners(kind, new)?;
    if let Some(old) = old {
        metadata_stays(kind, old, new)?;
    }
    schema::check(kind, old, new)?;
    workload(kind, old, new)?;
    small(kind, old, new)?;
    service(kind, old, new)?;
    event(kind, new)
}

fn owners(kind: &Kind, new: &Value) -> Result<(), Status> {
    let wrong = |field: &str, why: String| Err(Status::invalid(kind, new.name(), field, &why));
    let mut controller: Option<&Value> = None;
    for owner in new.owners() {
        for member in ["apiVersion", "kind", "name", "uid"] {
            if owner.text(member).is_empty() {
                let field = format!("metadata.ownerReferences.{member}");
                let what = if member == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                return wrong(&field, format!("Invalid value: \"\": {what}"));
            }
        }
        if owner["controller"] == true {
            if let Some(first) = controller {
                let why = format!(
                    "Invalid value: {}: Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    new["metadata"]["ownerReferences"],
                    first.text("kind"),
                    first.text("name"),
                    owner.text("kind"),
                    owner.text("name"),
                );
                return wrong("metadata.ownerReferences", why);
            }
            controller = Some(owner);
        }
    }
    Ok(())
}

fn metadata_stays(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
    for member in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (before, after) = (&old["metadata"][member], &new["metadata"][member]);
        if before != after {
            let field = format!("metadata.{member}");
            return Err(Status::invalid(
                kind,
                old.name(),
                &field,
                &format!("Invalid value: {after}: field is immutable"),
            ));
        }
    }
    if old.is_ending() {
        let before = old.finalizers();
        let added: Vec<_> = new.finalizers().into_iter().filter(|one| !before.contains(one)).collect();
        if !added.is_empty() {
            let why = format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ")
            );
            return Err(Status::invalid(kind, old.name(), "metadata.finalizers", &why));
        }
    }
    Ok(())
}

/// What of a pod's spec never changes: everything but images and the time that it may take.
fn fixed_of(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    if let Some(members) = spec.as_object_mut() {
        members.remove("activeDeadlineSeconds");
        members.remove("tolerations");
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["image"] = Value::Null;
        }
    }
    spec
}

/// The few fields of small kinds that somebody here writes.
fn small(kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let wrong = |field: &str, why: &str| Err(Status::invalid(kind, new.name(), field, why));
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "configmaps" | "secrets") => {
            for key in new["data"].as_object().into_iter().flatten().map(|(key, _)| key) {
                if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                    return wrong(&format!("data[{key}]"), &format!("Invalid value: \"{key}\": a valid config key"));
                }
            }
        }
        ("", "pods") if new["spec"]["containers"].as_array().is_none_or(Vec::is_empty) => {
            return wrong("spec.containers", "Required value");
        }
        ("", "pods") if old.is_some_and(|old| fixed_of(old) != fixed_of(new)) => {
            return wrong("spec", "Forbidden: pod updates may not change fields other than images");
        }
        ("coordination.k8s.io", "leases") => {
            let spec = &new["spec"];
            if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
                return wrong("spec.leaseDurationSeconds", "Invalid value: must be greater than 0");
            }
            if spec["leaseTransitions"].as_i64().is_some_and(|count| count < 0) {
                return wrong("spec.leaseTransitions", "Invalid value: must be greater than or equal to 0");
            }
        }
        ("gateway.networking.k8s.io", "httproutes" | "grpcroutes") if new.get("spec").is_none() => {
            return wrong("spec", "Required value");
        }
        _ => {}
    }
    Ok(())
}

fn workload(kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if kind.group != "apps" {
        return Ok(());
    }
    let wrong = |field: &str, why: &str| Err(Status::invalid(kind, new.name(), field, why));
    if kind.plural == "controllerrevisions" {
        if new.get("data").is_none() {
            return wrong("data", "Required value: data is mandatory");
        }
        if new["revision"].as_i64().is_some_and(|revision| revision < 0) {
            return wrong("revision", "Invalid value: must be greater than or equal to 0");
        }
        if old.is_some_and(|old| old["data"] != new["data"]) {
            return wrong("data", "Invalid value: field is immutable");
        }
        return Ok(());
    }
    let spec = &new["spec"];
    if spec["replicas"].as_i64().is_none_or(|replicas| replicas < 0) {
        let why = format!("Invalid value: {}: must be greater than or equal to 0", spec["replicas"]);
        return wrong("spec.replicas", &why);
    }
    let selector = &spec["selector"];
    let is_empty = |part: &str| {
        selector[part].as_object().is_none_or(serde_json::Map::is_empty)
            && selector[part].as_array().is_none_or(Vec::is_empty)
    };
    if !selector.is_object() {
        return wrong("spec.selector", "Required value");
    }
    if is_empty("matchLabels") && is_empty("matchExpressions") {
        return wrong("spec.selector", "Invalid value: {}: empty selector is invalid for deployment");
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if !select::matches(selector, labels) {
        let why = format!("Invalid value: {labels}: `selector` does not match template `labels`");
        return wrong("spec.template.metadata.labels", &why);
    }
    if spec["template"]["spec"]["containers"].as_array().is_none_or(Vec::is_empty) {
        return wrong("spec.template.spec.containers", "Required value");
    }
    if old.is_some_and(|old| old["spec"]["selector"] != *selector) {
        return wrong("spec.selector", &format!("Invalid value: {selector}: field is immutable"));
    }
    Ok(())
}

fn service(kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if !kind.is("", "services") {
        return Ok(());
    }
    let wrong = |field: &str, why: &str| Err(Status::invalid(kind, new.name(), field, why));
    let spec = &new["spec"];
    if !matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName") {
        return wrong("spec.type", &format!("Unsupported value: {}", spec["type"]));
    }
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && spec["type"] != "ExternalName" && spec["clusterIP"] != "None" {
        return wrong("spec.ports", "Required value");
    }
    for (at, port) in ports.iter().enumerate() {
        if ports.len() > 1 && port.text("name").is_empty() {
            return wrong(&format!("spec.ports[{at}].name"), "Required value");
        }
        if port["port"].as_u64().is_none_or(|port| port == 0 || port > 65_535) {
            let why = format!("Invalid value: {}: must be between 1 and 65535, inclusive", port["port"]);
            return wrong(&format!("spec.ports[{at}].port"), &why);
        }
    }
    if old.is_some_and(|old| old["spec"]["clusterIP"] != spec["clusterIP"] && old["spec"]["type"] == spec["type"]) {
        let why = format!("Invalid value: [{}]: may not change once set", spec["clusterIP"]);
        return wrong("spec.clusterIPs[0]", &why);
    }
    Ok(())
}

fn event(kind: &Kind, new: &Value) -> Result<(), Status> {
    if !kind.is("events.k8s.io", "events") {
        return Ok(());
    }
    let wrong = |field: &str, why: &str| Err(Status::invalid(kind, new.name(), field, why));
    if new.text("eventTime").parse::<jiff::Timestamp>().is_err() {
        return wrong("eventTime", "Required value");
    }
    for (member, longest) in
        [("reportingController", 253), ("reportingInstance", 128), ("action", 128), ("reason", 128)]
    {
        let text = new.text(member);
        if text.is_empty() {
            return wrong(member, "Required value");
        }
        if text.len() > longest {
            return wrong(member, &format!("Invalid value: \"\": can have at most {longest} characters"));
        }
    }
    if new.text("note").len() > 1024 {
        return wrong("note", "Invalid value: \"\": can have at most 1024 characters");
    }
    if !is_label_key(new.text("reportingController")) {
        return wrong("reportingController", "Invalid value: name part must consist of alphanumeric characters");
    }
    if !matches!(new.text("type"), "Normal" | "Warning") {
        return wrong("type", "Invalid value: \"\": has invalid value");
    }
    if !new["regarding"].text("namespace").is_empty() && new["regarding"].text("namespace") != new.namespace() {
        return wrong("involvedObject.namespace", "Invalid value: does not match event.namespace");
    }
    Ok(())
}
