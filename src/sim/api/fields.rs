//! Sets of fields, and who manages which: what `metadata.managedFields` holds.
//!
//! Names and meaning are those of structured-merge-diff: `f:` a member, `k:` an item by its keys, `v:` an item by its value.
use super::Kind;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields {
    /// Whether this very path is in the set.
    pub(super) own: bool,
    /// The paths below it.
    pub(super) below: BTreeMap<String, Fields>,
}

/// How the items of a map or list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A map whose members are managed each by itself.
    Granular,
    /// One value, whatever it holds.
    Atomic,
    /// A list of different values.
    Set,
    /// A list whose items have these keys.
    Keyed(&'static [&'static str]),
}

impl Shape {
    /// The shape of what stands at a path; list items leave no trace in the path.
    pub(super) fn of(kind: &Kind, path: &[&str], value: &Value) -> Self {
        let last = path.last().copied().unwrap_or_default();
        let parent = path.len().checked_sub(2).map_or("", |at| path[at]);
        if !value.is_array() {
            let opaque = kind.plural == "controllerrevisions" && path == ["data"];
            let atomic = opaque
                || path == ["metadata", "ownerReferences"]
                || !kind.is_custom()
                    && matches!(
                        last,
                        "selector"
                            | "labelSelector"
                            | "namespaceSelector"
                            | "nodeSelector"
                            | "fieldRef"
                            | "resourceFieldRef"
                            | "secretKeyRef"
                            | "configMapKeyRef"
                    );
            return if atomic { Self::Atomic } else { Self::Granular };
        }
        match path {
            ["metadata", "finalizers"] => return Self::Set,
            ["metadata", "ownerReferences"] => return Self::Keyed(&["uid"]),
            ["status", "conditions"] => return Self::Keyed(&["type"]),
            _ if kind.is_custom() => return Self::Atomic,
            _ => {}
        }
        match last {
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "env"
            | "volumes"
            | "imagePullSecrets"
            | "resourceClaims"
            | "schedulingGates" => Self::Keyed(&["name"]),
            "ports" if parent.ends_with("ontainers") => Self::Keyed(&["containerPort", "protocol"]),
            "ports" if kind.is("", "services") => Self::Keyed(&["port", "protocol"]),
            "volumeMounts" => Self::Keyed(&["mountPath"]),
            "volumeDevices" => Self::Keyed(&["devicePath"]),
            "hostAliases" | "podIPs" => Self::Keyed(&["ip"]),
            "topologySpreadConstraints" => Self::Keyed(&["topologyKey", "whenUnsatisfiable"]),
            _ => Self::Atomic,
        }
    }
}

/// The name of an item of a list.
pub(super) fn item_name(shape: Shape, item: &Value) -> String {
    match shape {
        Shape::Keyed(keys) => {
            let value = |key: &str| match &item[key] {
                Value::Null if key == "protocol" => json!("TCP"),
                value => value.clone(),
            };
            let keys: Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), value(key))).collect();
            format!("k:{}", Value::Object(keys))
        }
        _ => format!("v:{item}"),
    }
}

/// What of the top of an object nobody manages.
pub(super) fn is_managed(path: &[&str], member: &str) -> bool {
    match path {
        [] => !matches!(member, "apiVersion" | "kind"),
        ["metadata"] => !matches!(
            member,
            "name"
                | "namespace"
                | "creationTimestamp"
                | "selfLink"
                | "uid"
                | "generation"
                | "managedFields"
                | "resourceVersion"
        ),
        _ => true,
    }
}

impl Fields {
    fn leaf() -> Self {
        Self { own: true, below: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.own && self.below.is_empty()
    }

    fn put(&mut self, name: String, fields: Self) {
        if !fields.is_empty() {
            self.below.insert(name, fields);
        }
    }

    /// All fields of an object; `marks` says whether maps and lists are fields beside what is in them.
    pub(super) fn of(kind: &Kind, object: &Value, marks: bool) -> Self {
        Self { own: false, ..Self::below(kind, &mut Vec::new(), object, marks) }
    }

    fn below<'a>(kind: &Kind, path: &mut Vec<&'a str>, value: &'a Value, marks: bool) -> Self {
        let mut fields = Self { own: marks, below: BTreeMap::new() };
        match (value, Shape::of(kind, path, value)) {
            (Value::Object(members), Shape::Granular) if !members.is_empty() => {
                for (name, value) in members {
                    if is_managed(path, name) {
                        path.push(name);
                        let inner = Self::below(kind, path, value, marks);
                        path.pop();
                        fields.put(format!("f:{name}"), inner);
                    }
                }
            }
            (Value::Array(items), shape @ (Shape::Set | Shape::Keyed(_))) => {
                for item in items {
                    let mut inner =
                        if shape == Shape::Set { Self::leaf() } else { Self::below(kind, path, item, marks) };
                    inner.own = true;
                    fields.put(item_name(shape, item), inner);
                }
            }
            _ => fields.own = true,
        }
        // Nobody manages the metadata as such.
        fields.own &= path.as_slice() != ["metadata"];
        fields
    }

    /// What is added or changed from one object to another, and what is gone.
    pub(super) fn between(kind: &Kind, old: &Value, new: &Value) -> (Self, Self) {
        Self::differ(kind, &mut Vec::new(), old, new)
    }

    fn differ<'a>(kind: &Kind, path: &mut Vec<&'a str>, old: &'a Value, new: &'a Value) -> (Self, Self) {
        let (mut changed, mut gone) = (Self::default(), Self::default());
        if old == new {
            return (changed, gone);
        }
        match (old, new, Shape::of(kind, path, new)) {
            (Value::Object(before), Value::Object(after), Shape::Granular) => {
                let gone_ones = before.iter().filter(|(name, _)| !after.contains_key(*name));
                for (name, value) in after.iter().chain(gone_ones) {
                    if !is_managed(path, name) {
                        continue;
                    }
                    path.push(name);
                    let (more, less) = match (before.get(name), after.get(name)) {
                        (Some(old), Some(new)) => Self::differ(kind, path, old, new),
                        (None, _) => (Self::below(kind, path, value, true), Self::default()),
                        (_, None) => (Self::default(), Self::below(kind, path, value, true)),
                    };
                    path.pop();
                    changed.put(format!("f:{name}"), more);
                    gone.put(format!("f:{name}"), less);
                }
            }
            (Value::Array(before), Value::Array(after), shape @ (Shape::Set | Shape::Keyed(_))) => {
                let named = |items: &'a [Value]| -> BTreeMap<String, &'a Value> {
                    items.iter().map(|item| (item_name(shape, item), item)).collect()
                };
                let (before, after) = (named(before), named(after));
                let item = |path: &mut Vec<&'a str>, value: &'a Value| match shape {
                    Shape::Set => Self::leaf(),
                    _ => Self { own: true, ..Self::below(kind, path, value, true) },
                };
                for (name, new) in &after {
                    if let Some(old) = before.get(name) {
                        let (more, less) = Self::differ(kind, path, old, new);
                        changed.put(name.clone(), more);
                        gone.put(name.clone(), less);
                    } else {
                        changed.put(name.clone(), item(path, new));
                    }
                }
                for (name, old) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
                    gone.put(name.clone(), item(path, old));
                }
            }
            _ => changed.own = true,
        }
        (changed, gone)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.own |= other.own;
        for (name, fields) in &other.below {
            self.below.entry(name.clone()).or_default().add(fields);
        }
    }

    pub(super) fn remove(&mut self, other: &Self) {
        self.own &= !other.own;
        for (name, fields) in &other.below {
            if let Some(inner) = self.below.get_mut(name) {
                inner.remove(fields);
                if inner.is_empty() {
                    self.below.remove(name);
                }
            }
        }
    }

    pub(super) fn shared(&self, other: &Self) -> Self {
        let mut fields = Self { own: self.own && other.own, below: BTreeMap::new() };
        for (name, inner) in &self.below {
            if let Some(others) = other.below.get(name) {
                fields.put(name.clone(), inner.shared(others));
            }
        }
        fields
    }

    /// The paths as people read them: `.spec.template.spec.containers[name="app"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.write_paths("", &mut all);
        all
    }

    fn write_paths(&self, prefix: &str, all: &mut Vec<String>) {
        // Of each level first the fields themselves, then what is in them.
        let mut below = Vec::new();
        for (name, inner) in &self.below {
            let step = match name.split_at(2) {
                ("f:", name) => format!(".{name}"),
                ("k:", keys) => {
                    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                    let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    format!("[{}]", keys.join(","))
                }
                (_, value) => format!("[={value}]"),
            };
            below.push((format!("{prefix}{step}"), inner));
        }
        all.extend(below.iter().filter(|(_, inner)| inner.own).map(|(path, _)| path.clone()));
        for (path, inner) in &below {
            inner.write_paths(path, all);
        }
    }

    fn to_value(&self) -> Value {
        let mut members: Map<_, _> =
            self.below.iter().map(|(name, fields)| (name.clone(), fields.to_value())).collect();
        if self.own && !members.is_empty() {
            members.insert(".".to_owned(), json!({}));
        }
        Value::Object(members)
    }

    fn read(value: &Value, top: bool) -> Self {
        let Some(members) = value.as_object() else { return Self::default() };
        let below = members.iter().filter(|(name, _)| *name != ".");
        Self {
            own: !top && (members.is_empty() || members.contains_key(".")),
            below: below.map(|(name, fields)| (name.clone(), Self::read(fields, false))).collect(),
        }
    }
}

/// What one manager holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) applies: bool,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: String,
    pub(super) fields: Fields,
}

impl Entry {
    /// As a conflict names it.
    pub(super) fn shown(&self) -> String {
        let part = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource \"{}\"", self.subresource)
        };
        let how = if self.applies { String::new() } else { format!(" using {} at {}", self.api_version, self.time) };
        format!("\"{}\"{part}{how}", self.manager)
    }

    pub(super) fn is(&self, manager: &str, applies: bool, subresource: &str) -> bool {
        self.manager == manager && self.applies == applies && self.subresource == subresource
    }

    fn to_value(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": if self.applies { "Apply" } else { "Update" },
            "apiVersion": self.api_version, "time": self.time, "fieldsType": "FieldsV1",
        });
        entry["fieldsV1"] = self.fields.to_value();
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }
}

/// The managers of an object.
pub(super) fn entries_of(object: &Value) -> Vec<Entry> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let all = all.filter(|entry| entry["fieldsV1"].is_object());
    all.map(|entry| Entry {
        manager: text(&entry["manager"]),
        applies: entry["operation"] == "Apply",
        api_version: text(&entry["apiVersion"]),
        subresource: text(&entry["subresource"]),
        time: text(&entry["time"]),
        fields: Fields::read(&entry["fieldsV1"], true),
    })
    .collect()
}

/// Writes the managers down; appliers first, then by time, as the real server sorts them.
pub(super) fn write_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    let key = |entry: &Entry| (!entry.applies, entry.time.clone(), entry.manager.clone(), entry.subresource.clone());
    entries.sort_by_cached_key(key);
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.iter().map(Entry::to_value).collect());
    }
}

/// Who writes, and how it is to be noted.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) manager: &'a str,
    pub(super) subresource: &'a str,
    pub(super) api_version: &'a str,
    pub(super) time: &'a str,
}

/// Notes what a create or an update changed as this writer's; `base` is who managed what before.
pub(super) fn record(kind: &Kind, base: Vec<Entry>, old: &Value, new: &mut Value, writer: Writer<'_>) {
    let (changed, gone) = Fields::between(kind, old, new);
    let mut entries = base;
    for entry in &mut entries {
        entry.fields.remove(&gone);
        if !entry.is(writer.manager, false, writer.subresource) {
            entry.fields.remove(&changed);
        }
    }
    if !changed.is_empty() {
        let mine = entries.iter_mut().find(|entry| entry.is(writer.manager, false, writer.subresource));
        if let Some(mine) = mine {
            mine.fields.add(&changed);
            writer.time.clone_into(&mut mine.time);
            writer.api_version.clone_into(&mut mine.api_version);
        } else {
            entries.push(Entry {
                manager: writer.manager.to_owned(),
                applies: false,
                api_version: writer.api_version.to_owned(),
                subresource: writer.subresource.to_owned(),
                time: writer.time.to_owned(),
                fields: changed,
            });
        }
    }
    write_entries(new, entries);
}
