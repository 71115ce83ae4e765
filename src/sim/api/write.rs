//! What becomes of a write: create, replace and patch, in the order in which the real server checks, fills in and refuses.
use super::{
    Kind, Method, Status,
    admission::Operation,
    apply,
    call::PatchType,
    defaults,
    fields::{self, Entry, Writer, entries_of},
    patch::patched,
    serve::{Ask, metadata_of, scale_of},
    store::{Meta as _, State},
    validate,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest beginning of a generated name.
const GENERATED: usize = 58;

impl State {
    pub(super) fn create(&mut self, ask: &Ask<'_>) -> Result<Arc<Value>, Status> {
        if !ask.call.part().is_empty() {
            return Err(Status::not_allowed());
        }
        self.create_object(ask, ask.call.body.clone(), false)
    }

    fn create_object(&mut self, ask: &Ask<'_>, mut object: Value, applied: bool) -> Result<Arc<Value>, Status> {
        let kind = &ask.kind;
        decode(ask, &mut object)?;
        if !matches!(object.version(), "" | "0") {
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        let prefix: String = object["metadata"].text("generateName").chars().take(GENERATED).collect();
        if object.name().is_empty() && !prefix.is_empty() {
            object["metadata"]["name"] = json!(format!("{prefix}{}", self.new_suffix()));
        }
        self.check_namespace(ask, object.name())?;
        let uid = self.new_uid();
        let Some(metadata) = object["metadata"].as_object_mut() else { return Err(Status::bad_request("no metadata")) };
        for member in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            metadata.remove(member);
        }
        metadata.insert("uid".to_owned(), json!(uid));
        metadata.insert("creationTimestamp".to_owned(), json!(ask.time()));
        if kind.has_generation() {
            metadata.insert("generation".to_owned(), json!(1));
        } else {
            metadata.remove("generation");
        }
        defaults::begin(kind, &mut object);
        self.fill(kind, "", None, &mut object);
        if !applied && self.notes_managers_of(kind) {
            note_new(ask, &mut object);
        }
        if self.mutate(ask, Operation::Create, None, &mut object) {
            self.fill(kind, "", None, &mut object);
        }
        validate::check(kind, None, &object)?;
        self.review(ask, Operation::Create, None, &object)?;
        if let Some(there) = self.get(ask.table, ask.namespace(), object.name()) {
            let mut refused = Status::exists(kind, object.name());
            if there.is_ending() {
                refused.message = format!("object is being deleted: {}", refused.message);
            }
            return Err(refused);
        }
        if ask.call.options.dry_run {
            return Ok(Arc::new(object));
        }
        let made = self.commit(ask.user, None, ask.table, None, Some(object));
        Ok(made.unwrap_or_default())
    }

    /// New content needs a namespace that is there and stays.
    fn check_namespace(&self, ask: &Ask<'_>, name: &str) -> Result<(), Status> {
        if !ask.kind.namespaced {
            return Ok(());
        }
        let Some(namespaces) = self.table_of("namespaces") else { return Ok(()) };
        match self.get(namespaces, "", ask.namespace()) {
            None => Err(Status::not_found(&self.tables[namespaces].kind, ask.namespace())),
            Some(found) if found.is_ending() => Err(Status::terminating(&ask.kind, name, ask.namespace())),
            Some(_) => Ok(()),
        }
    }

    fn notes_managers_of(&self, kind: &Kind) -> bool {
        self.managed.as_ref().is_none_or(|managed| managed.contains(&kind.plural))
    }

    fn fill(&mut self, kind: &Kind, part: &str, old: Option<&Value>, object: &mut Value) {
        defaults::fill(kind, part, object, &self.extra_defaults);
        if kind.is("", "services") {
            defaults::address(object, old, &mut self.made.address);
        }
    }

    fn stored(&self, ask: &Ask<'_>) -> Result<Arc<Value>, Status> {
        let found = self.get(ask.table, ask.namespace(), ask.name()).cloned();
        found.ok_or_else(|| Status::not_found(&ask.kind, ask.name()))
    }

    pub(super) fn update(&mut self, ask: &Ask<'_>) -> Result<Arc<Value>, Status> {
        let old = match self.stored(ask) {
            Err(_) if ask.call.part().is_empty() && ask.kind.is_created_by_updates() => {
                return self.create_object(ask, ask.call.body.clone(), false);
            }
            found => found?,
        };
        if ask.call.part() == "scale" {
            return self.rescale(ask, &old, &ask.call.body);
        }
        let mut new = body_of(ask);
        decode(ask, &mut new)?;
        self.replace(ask, &old, new, false)
    }

    pub(super) fn patch(&mut self, ask: &Ask<'_>, how: PatchType) -> Result<Arc<Value>, Status> {
        if how == PatchType::Apply {
            return self.apply(ask);
        }
        if how == PatchType::Strategic && ask.kind.is_custom() {
            return Err(no_strategy());
        }
        let old = self.stored(ask)?;
        if ask.call.part() == "scale" {
            let scale = patched(&ask.kind, how, &scale_of(&old), &ask.call.body)?;
            return self.rescale(ask, &old, &scale);
        }
        let mut new = patched(&ask.kind, how, &old, &ask.call.body)?;
        decode(ask, &mut new)?;
        self.replace(ask, &old, new, false)
    }

    fn rescale(&mut self, ask: &Ask<'_>, old: &Arc<Value>, scale: &Value) -> Result<Arc<Value>, Status> {
        let mut new = (**old).clone();
        for member in ["uid", "resourceVersion"] {
            let wanted = &scale["metadata"][member];
            new["metadata"][member] = if wanted.is_null() { old["metadata"][member].clone() } else { wanted.clone() };
        }
        new["spec"]["replicas"] = json!(scale["spec"]["replicas"].as_i64().unwrap_or(0));
        self.replace(ask, old, new, false).map(|object| Arc::new(scale_of(&object)))
    }

    fn apply(&mut self, ask: &Ask<'_>) -> Result<Arc<Value>, Status> {
        let options = &ask.call.options;
        let manager = options.manager.as_deref().unwrap_or_default();
        if manager.is_empty() {
            return Err(Status::option("PatchOptions", "fieldManager", "Required value: is required for apply patch"));
        }
        let mut config = ask.call.body.clone();
        if config["metadata"]["managedFields"].as_array().is_some_and(|all| !all.is_empty()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        decode(ask, &mut config)?;
        let subresource = ask.call.part();
        if subresource == "status" {
            config = json!({"apiVersion": config["apiVersion"], "kind": config["kind"], "status": config["status"],
                "metadata": {"name": config["metadata"]["name"], "namespace": config["metadata"]["namespace"]}});
            defaults::without_nulls(&mut config);
        } else if ask.kind.status
            && let Some(members) = config.as_object_mut()
        {
            members.remove("status");
        }
        let (api_version, time) = (ask.kind.api_version(), ask.time());
        let writer = Writer { manager, subresource, api_version: &api_version, time: &time };
        let live = self.get(ask.table, ask.namespace(), ask.name()).cloned();
        let Some(live) = live else {
            if !subresource.is_empty() {
                return Err(Status::not_found(&ask.kind, ask.name()));
            }
            self.authorize(ask, "create")?;
            if !config.uid().is_empty() {
                let uid = config.uid();
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Status::conflict(&ask.kind, ask.name(), &why));
            }
            let mut object = apply::apply(&ask.kind, None, &config, options.force, writer)?;
            object["metadata"]["name"] = json!(ask.name());
            return self.create_object(ask, object, true);
        };
        let object = apply::apply(&ask.kind, Some(&live), &config, options.force, writer)?;
        self.replace(ask, &live, object, true)
    }

    /// Puts a new object in the place of the old one, as far as the request may.
    fn replace(
        &mut self,
        ask: &Ask<'_>,
        old: &Arc<Value>,
        mut new: Value,
        applied: bool,
    ) -> Result<Arc<Value>, Status> {
        let kind = ask.kind.clone();
        check_versions(&kind, ask.call.method, old, &new)?;
        let notes = applied || self.notes_managers_of(&kind);
        let base = if notes { managers(old, &new) } else { Vec::new() };
        carry_over(ask, old, &mut new);
        if ask.call.part() == "status" {
            let status = new.get_mut("status").map(Value::take);
            let managed = new["metadata"]["managedFields"].take();
            let annotations = new["metadata"]["annotations"].take();
            new = without_status(old);
            // Of a built-in kind they go through: so the Deployment controller counts revisions without a new generation.
            if !kind.is_custom() && annotations.is_object() {
                new["metadata"]["annotations"] = annotations;
            }
            if let Some(members) = new.as_object_mut() {
                members.extend(status.filter(|status| !status.is_null()).map(|status| ("status".to_owned(), status)));
            }
            new["metadata"]["managedFields"] = managed;
        }
        self.fill(&kind, ask.call.part(), Some(old), &mut new);
        if notes && !applied {
            note(ask, base, old, &mut new);
        }
        if self.mutate(ask, Operation::Update, Some(old), &mut new) {
            self.fill(&kind, ask.call.part(), Some(old), &mut new);
        }
        count_generation(&kind, ask.call.part(), old, &mut new);
        validate::check(&kind, Some(old), &new)?;
        self.review(ask, Operation::Update, Some(old), &new)?;
        if notes && same_but_for_time(old, &new) {
            new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
            defaults::without_nulls(&mut new["metadata"]);
        }
        let is_over = new.is_ending()
            && new.finalizers().is_empty()
            && new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
            && (!kind.is("", "namespaces") || new["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty));
        if ask.call.options.dry_run {
            return Ok(Arc::new(new));
        }
        if is_over {
            self.commit(ask.user, part_of(ask), ask.table, Some(old.clone()), None);
            return Ok(Arc::new(new));
        }
        let place = (ask.table, ask.namespace().to_owned(), ask.name().to_owned());
        if new == **old && !self.outdated.contains(&place) {
            return Ok(Arc::new(new));
        }
        let made = self.commit(ask.user, part_of(ask), ask.table, Some(old.clone()), Some(new));
        Ok(made.unwrap_or_default())
    }

    /// A newer server reads what an older one stored, and fills in what it knows.
    pub(super) fn set_extra_defaults(&mut self, template: Value) {
        self.extra_defaults.push(template);
        for at in 0..self.tables.len() {
            let kind = self.tables[at].kind.clone();
            for rows in self.tables[at].objects.values_mut() {
                for object in rows.values_mut() {
                    if let Some(new) = read_anew(&kind, object, &self.extra_defaults) {
                        self.outdated.insert((at, new.namespace().to_owned(), new.name().to_owned()));
                        *object = Arc::new(new);
                    }
                }
            }
        }
    }

    /// All of a selection, deleted one by one.
    pub(super) fn delete_all(&mut self, ask: &Ask<'_>) -> Result<Arc<Value>, Status> {
        let selector = ask.selector()?;
        let namespace = ask.call.namespace.as_deref();
        let all: Vec<_> =
            self.tables[ask.table].all(namespace).filter(|object| selector.takes(object)).cloned().collect();
        let mut items = Vec::new();
        for object in all {
            self.delete_object(ask, &object)?;
            items.push(if ask.call.metadata_only { metadata_of(&object) } else { (*object).clone() });
        }
        Ok(Arc::new(json!({
            "apiVersion": ask.kind.api_version(), "kind": format!("{}List", ask.kind.kind),
            "metadata": {"resourceVersion": self.rv.to_string()}, "items": items,
        })))
    }
}

/// An object as a newer server reads it, where it was stored without something that is filled in now.
pub(super) fn read_anew(kind: &Kind, object: &Value, extra: &[Value]) -> Option<Value> {
    if extra.is_empty() || !(kind.group == "apps" || kind.is("", "pods")) {
        return None;
    }
    let mut new = object.clone();
    defaults::fill(kind, "", &mut new, extra);
    (new != *object).then_some(new)
}

pub(super) fn no_strategy() -> Status {
    Status::unknown_format("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
}

/// Notes a new object as its sender's. What the real server compares it with is not nothing, but a new object of the kind:
/// of built-in ones, parts that are always there are nobody's.
fn note_new(ask: &Ask<'_>, object: &mut Value) {
    let mut noted = object.clone();
    let mut bare = json!({"metadata": {}});
    if let Some(members) = noted.as_object_mut() {
        members.remove("status");
    }
    if !ask.kind.is_custom() && noted["spec"].is_object() {
        bare["spec"] =
            json!({"template": {"metadata": {}, "spec": {"containers": []}}, "strategy": {}, "containers": []});
        if let Some(spec) = bare["spec"].as_object_mut() {
            spec.retain(|member, _| noted["spec"].get(member).is_some());
        }
        // Given out after it was noted who asked for what.
        if let Some(spec) = noted["spec"].as_object_mut() {
            for (member, asked) in
                ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"].map(|it| (it, &ask.call.body["spec"][it]))
            {
                if asked.is_null() {
                    spec.remove(member);
                }
            }
        }
    }
    note(ask, Vec::new(), &bare, &mut noted);
    object["metadata"] = noted["metadata"].take();
}

/// Notes what the request changed as its sender's.
fn note(ask: &Ask<'_>, base: Vec<Entry>, old: &Value, new: &mut Value) {
    let api_version = ask.kind.api_version();
    let time = ask.time();
    let subresource = ask.call.part();
    let writer = Writer { manager: ask.manager(), subresource, api_version: &api_version, time: &time };
    fields::record(&ask.kind, base, old, new, writer);
}

pub(super) fn part_of(ask: &Ask<'_>) -> Option<&'static str> {
    match ask.call.part() {
        "status" => Some("status"),
        "scale" => Some("scale"),
        _ => None,
    }
}

/// The body of a replacement. Of a status's, what it says of the spec is not read.
fn body_of(ask: &Ask<'_>) -> Value {
    let Some(members) = ask.call.body.as_object().filter(|_| ask.call.part() == "status") else {
        return ask.call.body.clone();
    };
    let read = members.iter().filter(|(name, member)| *name != "spec" || !member.is_object());
    read.map(|(name, member)| (name.clone(), member.clone())).collect()
}

fn without_status(object: &Value) -> Value {
    let members = object.as_object().into_iter().flatten().filter(|(name, _)| *name != "status");
    members.map(|(name, member)| (name.clone(), member.clone())).collect()
}

/// Reads a body as an object of the kind that the path names.
fn decode(ask: &Ask<'_>, object: &mut Value) -> Result<(), Status> {
    let kind = &ask.kind;
    if !object.is_object() {
        return Err(Status::bad_request(format!("the body is not a {}", kind.kind)));
    }
    defaults::without_nulls(object);
    once_each(object);
    if kind.is_custom() && (object.text("kind").is_empty() || object.text("apiVersion").is_empty()) {
        let missing = if object.text("kind").is_empty() { "Kind" } else { "apiVersion" };
        return Err(Status::bad_request(format!("Object '{missing}' is missing in '{object}'")));
    }
    let (said, api_version) = (object.text("kind"), kind.api_version());
    if !said.is_empty() && said != kind.kind
        || !object.text("apiVersion").is_empty() && object.text("apiVersion") != api_version
    {
        return Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: the kind or the API version in the data does not match the expected one ({api_version})",
            said,
            object.text("apiVersion"),
            kind.kind
        )));
    }
    for (member, empty) in [("metadata", json!({})), ("kind", json!(kind.kind)), ("apiVersion", json!(api_version))] {
        object.as_object_mut().map(|members| members.entry(member).or_insert(empty));
    }
    if !object["metadata"].is_object() || object.get("spec").is_some_and(|spec| !spec.is_object()) {
        return Err(Status::bad_request(format!("{} cannot be handled: json: cannot unmarshal", kind.kind)));
    }
    if !ask.name().is_empty() {
        let name = object.name();
        if name.is_empty() {
            object["metadata"]["name"] = json!(ask.name());
        } else if name != ask.name() {
            let why = format!("the name of the object ({name}) does not match the name on the URL ({})", ask.name());
            return Err(Status::bad_request(why));
        }
    }
    if kind.namespaced {
        let namespace = object.namespace();
        if namespace.is_empty() {
            object["metadata"]["namespace"] = json!(ask.namespace());
        } else if namespace != ask.namespace() {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    } else if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    Ok(())
}

/// An owner that is named twice is named once.
fn once_each(object: &mut Value) {
    let Some(owners) = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) else { return };
    for at in (1..owners.len()).rev() {
        if owners[..at].contains(&owners[at]) {
            owners.remove(at);
        }
    }
}

/// A replacement of another object is a conflict at once; a patch of another finds out later that uids never change.
fn check_versions(kind: &Kind, method: Method, old: &Value, new: &Value) -> Result<(), Status> {
    if method == Method::Update && !new.uid().is_empty() && new.uid() != old.uid() {
        let why = format!("Precondition failed: UID in precondition: {}, UID in object meta: {}", new.uid(), old.uid());
        return Err(Status::conflict(kind, old.name(), &why));
    }
    if matches!(new.version(), "" | "0") {
        if !kind.takes_unconditional_updates() {
            // The real server puts the name of the resource where the kind belongs.
            let resource = Kind { kind: kind.plural.clone(), ..kind.clone() };
            let why = "Invalid value: 0x0: must be specified for an update";
            return Err(Status::invalid(&resource, old.name(), "metadata.resourceVersion", why));
        }
    } else if new.version() != "0" && new.version() != old.version() {
        return Err(Status::modified(kind, old.name()));
    }
    Ok(())
}

/// Who managed what before this write: as stored, unless the writer sends another list or an empty one.
fn managers(old: &Value, new: &Value) -> Vec<Entry> {
    match new["metadata"]["managedFields"].as_array() {
        Some(sent) if sent.len() == 1 && sent[0].as_object().is_some_and(serde_json::Map::is_empty) => Vec::new(),
        Some(sent) if !sent.is_empty() => entries_of(new),
        _ => entries_of(old),
    }
}

/// What a write does not say stays; what it may not say is refused later.
fn carry_over(ask: &Ask<'_>, old: &Value, new: &mut Value) {
    let Some(metadata) = new["metadata"].as_object_mut() else { return };
    let stored = &old["metadata"];
    let mut keep = |member: &str| match stored.get(member) {
        Some(value) => {
            metadata.insert(member.to_owned(), value.clone());
        }
        None => {
            metadata.remove(member);
        }
    };
    keep("resourceVersion");
    keep("generation");
    keep("creationTimestamp");
    keep("selfLink");
    if old.is_ending() {
        keep("deletionTimestamp");
        keep("deletionGracePeriodSeconds");
    }
    if let Some(uid) = stored.get("uid") {
        metadata.entry("uid").or_insert_with(|| uid.clone());
    }
    let keeps_status = ask.kind.status && ask.call.part() != "status";
    if let Some(members) = new.as_object_mut().filter(|_| keeps_status) {
        members.remove("status");
        members.extend(old.get("status").map(|status| ("status".to_owned(), status.clone())));
    }
}

/// A generation is what an owner asked for; what is found out about it is none.
fn count_generation(kind: &Kind, part: &str, old: &Value, new: &mut Value) {
    if !kind.has_generation() || part == "status" {
        return;
    }
    let differs = if kind.is("apps", "deployments") {
        old["spec"] != new["spec"] || old["metadata"]["annotations"] != new["metadata"]["annotations"]
    } else {
        let is_wanted = |name: &String| *name != "metadata" && !(kind.status && *name == "status");
        let rest = |object: &'_ Value, other: &Value| {
            let members = object.as_object().into_iter().flatten();
            members.filter(|(name, _)| is_wanted(name)).any(|(name, value)| other.get(name) != Some(value))
        };
        rest(old, new) || rest(new, old)
    };
    if differs {
        new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
    }
}

/// Whether nothing differs but when who wrote.
fn same_but_for_time(old: &Value, new: &Value) -> bool {
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
