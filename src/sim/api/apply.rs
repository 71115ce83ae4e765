//! Server-side apply: what somebody wants of an object is merged into it, what they wanted before and no longer do goes
//! away, and what others hold is a conflict.
use super::{
    Kind, Status,
    fields::{Entry, Fields, Shape, Writer, entries_of, is_managed, item_name, write_entries},
};
use serde_json::{Value, json};

/// The object as it is after an apply, with its managers.
pub(super) fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    force: bool,
    writer: Writer<'_>,
) -> Result<Value, Status> {
    let nothing = json!({"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": {}});
    let live = live.unwrap_or(&nothing);
    let (mine, mut others): (Vec<_>, Vec<_>) =
        entries_of(live).into_iter().partition(|entry| entry.is(writer.manager, true, writer.subresource));
    let last = mine.into_iter().next();
    let wanted = Fields::of(kind, config, false);
    let mut merged = live.clone();
    merge(kind, &mut Vec::new(), &mut merged, config);
    if let Some(last) = &last {
        let mut kept = wanted.clone();
        for other in &others {
            kept.add(&other.fields);
        }
        prune(kind, &mut Vec::new(), &mut merged, &last.fields, &kept);
    }
    let (changed, gone) = Fields::between(kind, live, &merged);
    let mut conflicts = Vec::new();
    for other in &mut others {
        let conflict = other.fields.shared(&changed);
        if !conflict.is_empty() {
            conflicts.push((other.shown(), conflict.paths()));
            other.fields.remove(&conflict);
        }
        other.fields.remove(&gone);
    }
    if !conflicts.is_empty() && !force {
        conflicts.sort();
        return Err(Status::apply_conflict(&conflicts));
    }
    // Time passes only for who changed something.
    let same = last.filter(|last| last.fields == wanted && changed.is_empty() && gone.is_empty());
    others.push(same.unwrap_or_else(|| Entry {
        manager: writer.manager.to_owned(),
        applies: true,
        api_version: writer.api_version.to_owned(),
        subresource: writer.subresource.to_owned(),
        time: writer.time.to_owned(),
        fields: wanted,
    }));
    write_entries(&mut merged, others);
    Ok(merged)
}

fn merge<'a>(kind: &Kind, path: &mut Vec<&'a str>, live: &mut Value, config: &'a Value) {
    match (Shape::of(kind, path, config), config) {
        (Shape::Granular, Value::Object(wanted)) => {
            if !live.is_object() {
                *live = json!({});
            }
            let Some(members) = live.as_object_mut() else { return };
            for (name, value) in wanted {
                // What the system writes is compared, not merged.
                if path.as_slice() == ["metadata"] && !is_managed(path, name) {
                    if !matches!(name.as_str(), "managedFields" | "creationTimestamp") {
                        members.insert(name.clone(), value.clone());
                    }
                    continue;
                }
                path.push(name);
                merge(kind, path, members.entry(name.clone()).or_insert(Value::Null), value);
                path.pop();
            }
        }
        (shape @ (Shape::Set | Shape::Keyed(_)), Value::Array(wanted)) => {
            let before = live.as_array_mut().map(std::mem::take).unwrap_or_default();
            let mut before: Vec<(String, Option<Value>)> =
                before.into_iter().map(|item| (item_name(shape, &item), Some(item))).collect();
            let names: Vec<String> = wanted.iter().map(|item| item_name(shape, item)).collect();
            let mut merged = Vec::new();
            for (name, item) in names.iter().zip(wanted) {
                let at = before.iter().position(|(known, _)| known == name);
                // What only the live list has keeps its place before what follows it there.
                for (known, earlier) in &mut before[..at.unwrap_or(0)] {
                    if !names.contains(known) {
                        merged.extend(earlier.take());
                    }
                }
                let mut value = at.and_then(|at| before[at].1.take()).unwrap_or(Value::Null);
                merge(kind, path, &mut value, item);
                merged.push(value);
            }
            merged.extend(before.into_iter().filter_map(|(_, item)| item));
            *live = Value::Array(merged);
        }
        _ => *live = config.clone(),
    }
}

/// Takes away what was applied last time and nobody holds now; with it goes what is in it and nobody ever held.
fn prune<'a>(kind: &Kind, path: &mut Vec<&'a str>, value: &mut Value, last: &'a Fields, kept: &Fields) {
    match value {
        Value::Object(members) => {
            for (name, fields) in &last.below {
                let Some(member) = name.strip_prefix("f:") else { continue };
                match (kept.below.get(name), members.get_mut(member)) {
                    // What nobody manages is not given up with what the last one to manage it held beside it.
                    (None, Some(Value::Object(metadata))) if path.is_empty() && member == "metadata" => {
                        metadata.retain(|member, _| !is_managed(&["metadata"], member));
                    }
                    (None, Some(_)) => {
                        members.remove(member);
                    }
                    (Some(kept), Some(value)) => {
                        path.push(member);
                        prune(kind, path, value, fields, kept);
                        path.pop();
                    }
                    _ => {}
                }
            }
        }
        Value::Array(_) => {
            let shape = Shape::of(kind, path, value);
            let Some(items) = value.as_array_mut() else { return };
            items.retain(|item| {
                let name = item_name(shape, item);
                !last.below.contains_key(&name) || kept.below.contains_key(&name)
            });
            for item in items {
                let name = item_name(shape, item);
                if let (Some(fields), Some(kept)) = (last.below.get(&name), kept.below.get(&name)) {
                    prune(kind, path, item, fields, kept);
                }
            }
        }
        _ => {}
    }
}
