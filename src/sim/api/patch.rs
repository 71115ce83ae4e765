//! Patches: RFC 7396, RFC 6902, and the strategic merge of built-in kinds.
use super::{Kind, Status, call::PatchType, store::Meta as _};
use serde_json::{Map, Value, json};

/// The object with a patch applied; what becomes of it is another's business.
pub(super) fn patched(kind: &Kind, how: PatchType, object: &Value, patch: &Value) -> Result<Value, Status> {
    let mut new = object.clone();
    if how == PatchType::Strategic && !has_keys(kind, "", patch) {
        return Err(Status::unexpected("map does not contain declared merge key"));
    }
    match how {
        PatchType::Merge => {
            if !patch.is_object() {
                return Err(Status::bad_request(
                    "error decoding patch: json: cannot unmarshal into Go value of type map",
                ));
            }
            json_patch::merge(&mut new, patch);
        }
        PatchType::Json => {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
            for operation in patch.0 {
                let operation = or_added(&new, operation);
                json_patch::patch(&mut new, &[operation]).map_err(|error| {
                    let causes = json!([{"reason": "UnexpectedServerResponse", "message": error.to_string()}]);
                    Status::new(422, "Invalid", "the server rejected our request due to an error in our request")
                        .about(json!({"causes": causes}))
                })?;
            }
        }
        PatchType::Strategic => {
            if kind.is_custom() {
                return Err(super::write::no_strategy());
            }
            strategic(kind, "", &mut new, patch);
            // What it says of these is not read.
            for member in ["kind", "apiVersion"] {
                new[member] = object[member].clone();
            }
        }
        PatchType::Apply => return Err(Status::bad_request("an apply is no patch of what is there")),
    }
    Ok(new)
}

/// Against RFC 6902 the real server replaces a member that is not there too: it adds it.
fn or_added(object: &Value, operation: json_patch::PatchOperation) -> json_patch::PatchOperation {
    match operation {
        json_patch::PatchOperation::Replace(replace)
            if replace
                .path
                .as_str()
                .rsplit_once('/')
                .and_then(|(parent, _)| object.pointer(parent))
                .is_some_and(Value::is_object) =>
        {
            json_patch::PatchOperation::Add(json_patch::AddOperation { path: replace.path, value: replace.value })
        }
        other => other,
    }
}

/// The key by which a strategic merge knows the items of a list; without one the list is replaced.
fn merge_key(kind: &Kind, parent: &str, name: &str) -> Option<&'static str> {
    Some(match name {
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => "name",
        "ports" if parent.ends_with("ontainers") => "containerPort",
        "ports" if kind.is("", "services") => "port",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" | "podIPs" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "conditions" => "type",
        "ownerReferences" => "uid",
        _ => return None,
    })
}

/// Whether all items of a patch's lists that are merged say which item they are of.
fn has_keys(kind: &Kind, name: &str, patch: &Value) -> bool {
    patch.as_object().into_iter().flatten().all(|(member, change)| {
        match (change.as_array(), merge_key(kind, name, member)) {
            (Some(items), Some(key)) => items
                .iter()
                .all(|item| (item.get(key).is_some() || item.get("$patch").is_some()) && has_keys(kind, member, item)),
            _ => has_keys(kind, member, change),
        }
    })
}

fn strategic(kind: &Kind, name: &str, target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    match patch.text("$patch") {
        "replace" => {
            *target = without_directives(patch);
            return;
        }
        "delete" => {
            *target = Value::Null;
            return;
        }
        _ => {}
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    if let Some(kept) = patch["$retainKeys"].as_array() {
        members.retain(|member, _| kept.iter().any(|kept| kept == member));
    }
    for (member, change) in changes {
        if let Some(list) = member.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = change.as_array().map_or(&[][..], Vec::as_slice);
            if let Some(items) = members.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if member.starts_with('$') {
            continue;
        }
        if change.is_null() {
            members.remove(member);
            continue;
        }
        let slot = members.entry(member.clone()).or_insert(Value::Null);
        match change.as_array() {
            Some(items) if member == "finalizers" => add_all(slot, items),
            Some(items) => match merge_key(kind, name, member) {
                Some(key) => merge_items(kind, member, key, slot, items),
                None => *slot = change.clone(),
            },
            None => strategic(kind, member, slot, change),
        }
        if slot.is_null() {
            members.remove(member);
        }
    }
    for (member, order) in changes {
        let Some(list) = member.strip_prefix("$setElementOrder/") else { continue };
        let (Some(order), Some(items)) = (order.as_array(), members.get_mut(list).and_then(Value::as_array_mut)) else {
            continue;
        };
        let key = merge_key(kind, name, list);
        let rank = |item: &Value| {
            let same = |wanted: &Value| key.map_or(item == wanted, |key| item[key] == wanted[key]);
            order.iter().position(same).unwrap_or(usize::MAX)
        };
        items.sort_by_key(rank);
    }
}

fn add_all(slot: &mut Value, items: &[Value]) {
    let mut all = slot.as_array().cloned().unwrap_or_default();
    for item in items {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    *slot = Value::Array(all);
}

fn merge_items(kind: &Kind, list: &str, key: &str, slot: &mut Value, items: &[Value]) {
    let mut all = slot.as_array_mut().map(std::mem::take).unwrap_or_default();
    if items.iter().any(|item| item.get(key).is_none() && item.text("$patch") == "replace") {
        all.clear();
    }
    for item in items.iter().filter(|item| item.get(key).is_some()) {
        let at = all.iter().position(|known| known[key] == item[key]);
        if item.text("$patch") == "delete" {
            if let Some(at) = at {
                all.remove(at);
            }
            continue;
        }
        match at {
            Some(at) => strategic(kind, list, &mut all[at], item),
            None => all.push(without_directives(item)),
        }
    }
    *slot = Value::Array(all);
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
            kept.map(|(name, value)| (name.clone(), without_directives(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_directives).collect(),
        other => other.clone(),
    }
}
