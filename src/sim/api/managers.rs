//! Who is noted for which fields by a write that is no apply, and by the first apply to what nobody managed.
use super::{
    fields::{self, Entry, Writer, entries_of},
    serve::Ask,
};
use serde_json::{Value, json};

/// Notes a new object as its sender's. What the real server compares it with is not nothing, but a new object of the kind:
/// of built-in ones, parts that are always there are nobody's.
pub(super) fn note_new(ask: &Ask<'_>, object: &mut Value) {
    let mut noted = object.clone();
    // Given out after it was noted who asked for what.
    if let Some(spec) = noted.get_mut("spec").and_then(Value::as_object_mut).filter(|_| !ask.kind.is_custom()) {
        for (member, asked) in
            ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"].map(|it| (it, &ask.call.body["spec"][it]))
        {
            if asked.is_null() {
                spec.remove(member);
            }
        }
    }
    note_whole(ask, ask.manager(), &mut noted);
    object["metadata"] = noted["metadata"].take();
}

/// An object that nobody manages, as the first apply finds it: everything in it was there before.
pub(super) fn known_before(ask: &Ask<'_>, live: &Value) -> Option<Value> {
    if !entries_of(live).is_empty() {
        return None;
    }
    let mut noted = live.clone();
    note_whole(ask, "before-first-apply", &mut noted);
    let mut known = live.clone();
    known["metadata"] = noted["metadata"].take();
    Some(known)
}

/// Notes everything in an object as one manager's.
fn note_whole(ask: &Ask<'_>, manager: &str, noted: &mut Value) {
    let mut bare = json!({"metadata": {}});
    if ask.kind.is("apps", "controllerrevisions") {
        bare["revision"] = json!(0);
    }
    if let Some(members) = noted.as_object_mut() {
        members.remove(if ask.call.part() == "status" { "spec" } else { "status" });
    }
    if !ask.kind.is_custom() && noted["spec"].is_object() {
        bare["spec"] =
            json!({"template": {"metadata": {}, "spec": {"containers": []}}, "strategy": {}, "containers": []});
        if let Some(spec) = bare["spec"].as_object_mut() {
            spec.retain(|member, _| noted["spec"].get(member).is_some());
        }
    }
    note(ask, manager, Vec::new(), &bare, noted);
}

/// Notes what the request changed as a manager's.
pub(super) fn note(ask: &Ask<'_>, manager: &str, base: Vec<Entry>, old: &Value, new: &mut Value) {
    let api_version = ask.kind.api_version();
    let time = ask.time();
    let subresource = ask.call.part();
    let writer = Writer { manager, subresource, api_version: &api_version, time: &time };
    if ask.kind.is("", "pods") {
        // Two times of a condition are written even where they are not known.
        let (old, mut noted) = (with_times(old), with_times(new));
        fields::record(&ask.kind, base, &old, &mut noted, writer);
        new["metadata"] = noted["metadata"].take();
        return;
    }
    fields::record(&ask.kind, base, old, new, writer);
}

fn with_times(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for condition in pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        for time in ["lastProbeTime", "lastTransitionTime"] {
            condition.as_object_mut().map(|members| members.entry(time).or_insert(Value::Null));
        }
    }
    pod
}

/// Who managed what before this write: as stored, unless the writer of the object itself sends another list or an empty one.
pub(super) fn managers(ask: &Ask<'_>, old: &Value, new: &Value) -> Vec<Entry> {
    match new["metadata"]["managedFields"].as_array().filter(|_| ask.call.part().is_empty()) {
        Some(sent) if *sent == [json!({})] || sent.is_empty() && !ask.kind.is_custom() => Vec::new(),
        Some(sent) if !sent.is_empty() => entries_of(new),
        _ => entries_of(old),
    }
}

/// Whether nothing differs but when who wrote.
pub(super) fn same_but_for_time(old: &Value, new: &Value) -> bool {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else { return false };
    let rest = before.len() == after.len()
        && before.iter().all(|(name, value)| name == "metadata" || after.get(name) == Some(value));
    if !rest {
        return false;
    }
    let without = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        metadata.as_object_mut().map(|members| members.remove("managedFields"));
        metadata
    };
    let timeless = |object: &Value| {
        let mut entries = entries_of(object);
        for entry in &mut entries {
            entry.time.clear();
        }
        entries.sort_by(|one, other| {
            (&one.manager, one.applies, &one.subresource).cmp(&(&other.manager, other.applies, &other.subresource))
        });
        entries
    };
    without(old) == without(new) && timeless(old) == timeless(new)
}
