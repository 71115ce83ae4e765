//! What becomes of a write: create, replace and patch, in the order in which the real server checks, fills in and refuses.
use super::{
    Kind, Method, Status,
    admission::Operation,
    apply,
    call::PatchType,
    defaults,
    fields::Writer,
    managers::{known_before, managers, note, note_new, same_but_for_time},
    patch::patched,
    schema,
    serve::{Ask, item_of, scale_of},
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
        let mut object = ask.call.body.clone();
        decode(ask, &mut object)?;
        self.create_object(ask, object, false)
    }

    fn create_object(&mut self, ask: &Ask<'_>, mut object: Value, applied: bool) -> Result<Arc<Value>, Status> {
        let kind = &ask.kind;
        let leaves_empty = applied && has_empty(kind, &object);
        let prefix: String = object["metadata"].text("generateName").chars().take(GENERATED).collect();
        if object.name().is_empty() && !prefix.is_empty() {
            object["metadata"]["name"] = json!(format!("{prefix}{}", self.new_suffix()));
        }
        self.check_namespace(ask, object.name())?;
        let uid = self.new_uid();
        let Some(metadata) = object["metadata"].as_object_mut() else { return Err(Status::bad_request("no metadata")) };
        if ask.call.method == Method::Create || !ask.call.options.dry_run {
            metadata.remove("selfLink");
        }
        if ask.call.method == Method::Create {
            metadata.remove("deletionTimestamp");
            metadata.remove("deletionGracePeriodSeconds");
        }
        if metadata.get("resourceVersion").is_some_and(|version| version == "") {
            metadata.remove("resourceVersion");
        }
        metadata.insert("uid".to_owned(), json!(uid));
        metadata.insert("creationTimestamp".to_owned(), json!(ask.time()));
        if kind.has_generation() {
            metadata.insert("generation".to_owned(), json!(1));
        }
        defaults::begin(kind, &mut object);
        self.fill(kind, "", None, &mut object);
        if !applied && self.notes_managers_of(kind) && validate::type_of(kind, &object).is_ok() {
            note_new(ask, &mut object);
        }
        if self.mutate(ask, Operation::Create, None, &mut object) {
            set_type(kind, &mut object);
            self.fill(kind, "", None, &mut object);
        }
        validate::address(kind, &object, ask.call.options.dry_run)?;
        validate::check(kind, None, &object)?;
        self.review(ask, Operation::Create, None, &object)?;
        let is_posted = ask.call.method == Method::Create && !ask.call.options.dry_run;
        if is_posted && object.version().parse::<u64>().is_ok_and(|version| version != 0) {
            return Err(Status::unexpected("resourceVersion should not be set on objects to be created"));
        }
        if let Some(there) = self.get(ask.table, ask.namespace(), object.name()) {
            let mut refused = Status::exists(kind, object.name());
            if !object["metadata"].text("generateName").is_empty() {
                refused.message += ", the server was not able to generate a unique name for the object";
            }
            if there.is_ending() {
                refused.message = format!("object is being deleted: {}", refused.message);
            }
            return Err(refused);
        }
        if ask.call.options.dry_run {
            return Ok(Arc::new(object));
        }
        let place = (ask.table, object.namespace().to_owned(), object.name().to_owned());
        let made = self.commit(ask.user, None, ask.table, None, Some(object));
        if leaves_empty {
            self.outdated.insert(place);
        }
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
        if ask.call.part() == "scale" {
            let old = self.stored(ask)?;
            return self.rescale(ask, &old, &ask.call.body);
        }
        let mut new = body_of(ask);
        decode(ask, &mut new)?;
        match self.stored(ask) {
            Err(_) if ask.kind.is_created_by_updates() => {
                if !new.uid().is_empty() {
                    return Err(other_uid(ask, new.uid(), ""));
                }
                version_of(&new)?;
                self.create_object(ask, new, false)
            }
            old => self.replace(ask, &old?, new, false),
        }
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
        let subresource = ask.call.part();
        let live = self.get(ask.table, ask.namespace(), ask.name()).cloned();
        if live.is_none() && !subresource.is_empty() && !ask.kind.is_created_by_updates() {
            return Err(Status::not_found(&ask.kind, ask.name()));
        }
        let mut config = ask.call.body.clone();
        check_config(&ask.kind, &config)?;
        defaults::without_nulls(&mut config);
        config.as_object_mut().map(|members| members.entry("metadata").or_insert(json!({})));
        if subresource == "status" && !ask.kind.is_custom() {
            config.as_object_mut().map(|members| members.remove("spec"));
            if let Some(members) = config["metadata"].as_object_mut() {
                members.retain(|member, _| !kept_by_status(&ask.kind).contains(&member.as_str()));
            }
        } else if subresource == "status" {
            config = json!({"apiVersion": config["apiVersion"], "kind": config["kind"], "status": config["status"],
                "metadata": config["metadata"]});
            if let Some(members) = config["metadata"].as_object_mut() {
                members.retain(|member, _| matches!(member.as_str(), "name" | "namespace" | "uid" | "resourceVersion"));
            }
            defaults::without_nulls(&mut config);
        } else if ask.kind.status
            && let Some(members) = config.as_object_mut()
        {
            members.remove("status");
        }
        let (api_version, time) = (ask.kind.api_version(), ask.time());
        let writer = Writer { manager, subresource, api_version: &api_version, time: &time };
        let Some(live) = live else {
            self.authorize(ask, "create")?;
            if !config.uid().is_empty() {
                let uid = config.uid();
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Status::conflict(&ask.kind, ask.name(), &why));
            }
            let mut object = apply::apply(&ask.kind, None, &config, options.force, writer)?;
            check_place(ask, &mut object)?;
            version_of(&object)?;
            return self.create_object(ask, object, true);
        };
        let known = known_before(ask, &live);
        let mut object =
            apply::apply(&ask.kind, Some(known.as_ref().unwrap_or(&live)), &config, options.force, writer)?;
        check_place(ask, &mut object)?;
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
        check_versions(ask, old, &new)?;
        let said = validate::said(&kind, &new);
        let leaves_empty = applied && has_empty(&kind, &new);
        let notes = applied || self.notes_managers_of(&kind);
        // What is none of its kind has no fields that could be managed.
        let is_typed = !kind.is_custom() || validate::type_of(&kind, &new).is_ok();
        let base = if notes && is_typed { managers(ask, old, &new) } else { Vec::new() };
        carry_over(ask, old, &mut new);
        if ask.call.part() == "status" {
            let status = new.get_mut("status").map(Value::take);
            let managed = new["metadata"]["managedFields"].take();
            let metadata = new["metadata"].take();
            new = without_status(old);
            // Of a built-in kind it goes through: so the Deployment controller counts revisions without a new generation.
            if !kind.is_custom() {
                new["metadata"] = with_kept(&kind, old, metadata);
            }
            if let Some(members) = new.as_object_mut() {
                members.extend(status.filter(|status| !status.is_null()).map(|status| ("status".to_owned(), status)));
            }
            new["metadata"]["managedFields"] = managed;
        }
        self.fill(&kind, ask.call.part(), Some(old), &mut new);
        if notes && !applied {
            if base.is_empty() {
                // Whose fields nobody manages, by a reset or from the beginning, is managed from the next apply on.
                new["metadata"].as_object_mut().map(|members| members.remove("managedFields"));
            } else {
                note(ask, ask.manager(), base, old, &mut new);
            }
        }
        if self.mutate(ask, Operation::Update, Some(old), &mut new) {
            set_type(&kind, &mut new);
            self.fill(&kind, ask.call.part(), Some(old), &mut new);
        }
        count_generation(&kind, ask.call.part(), old, &mut new);
        let checked = validate::check(&kind, Some(old), &new);
        checked.map_err(|status| if kind.is_custom() { status.of_said(&said) } else { status })?;
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
        if new == **old && self.outdated.contains(&place) == leaves_empty {
            return Ok(Arc::new(new));
        }
        let made = self.commit(ask.user, part_of(ask), ask.table, Some(old.clone()), Some(new));
        if leaves_empty {
            self.outdated.insert(place);
        }
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
            items.push(item_of(&object, &ask.kind, ask.call.metadata_only));
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

/// Whether something empty is applied to a custom object's metadata: it is stored, though nobody is shown it, and who
/// writes the same object without it changes what is stored.
fn has_empty(kind: &Kind, object: &Value) -> bool {
    let is_empty = |member: &Value| {
        member.as_array().is_some_and(Vec::is_empty) || member.as_object().is_some_and(serde_json::Map::is_empty)
    };
    kind.is_custom()
        && ["labels", "annotations", "finalizers", "ownerReferences"]
            .iter()
            .any(|member| object["metadata"].get(*member).is_some_and(is_empty))
}

/// What a policy has changed is of its kind, whatever it said before.
fn set_type(kind: &Kind, object: &mut Value) {
    object["kind"] = json!(kind.kind);
    object["apiVersion"] = json!(kind.api_version());
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
    check_type(ask, object)?;
    let api_version = kind.api_version();
    for (member, empty) in [("metadata", json!({})), ("kind", json!(kind.kind)), ("apiVersion", json!(api_version))] {
        object.as_object_mut().map(|members| members.entry(member).or_insert(empty));
    }
    let is_misshapen = kind.is("", "pods") && object["spec"].get("containers").is_some_and(|all| !all.is_array());
    if is_misshapen || !object["metadata"].is_object() || object.get("spec").is_some_and(|spec| !spec.is_object()) {
        return Err(Status::bad_request(format!("{} cannot be handled: json: cannot unmarshal", kind.kind)));
    }
    check_place(ask, object)
}

/// A body has to say that it is of the kind that the path names; one of a built-in kind may leave it out. What a patch has
/// made of a custom kind is only invalid.
fn check_type(ask: &Ask<'_>, object: &Value) -> Result<(), Status> {
    let (kind, said) = (&ask.kind, object.text("kind"));
    let (version, api_version) = (object.text("apiVersion"), kind.api_version());
    let is_patched = matches!(ask.call.method, Method::Patch(_));
    if kind.is_custom() {
        return match () {
            () if is_patched => Ok(()),
            () if said.is_empty() => Err(Status::bad_request(format!("Object 'Kind' is missing in '{object}'"))),
            () if version != api_version => Err(Status::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({api_version})"
            ))),
            () => Ok(()),
        };
    }
    if (said.is_empty() || said == kind.kind) && (version.is_empty() || version == api_version) {
        return Ok(());
    }
    let why = format!("no kind \"{said}\" is registered for version \"{version}\"");
    if is_patched {
        return Err(Status::no_object(&why));
    }
    Err(Status::bad_request(format!("{said} in version \"{version}\" cannot be handled as a {}: {why}", kind.kind)))
}

/// What is applied is of the very kind, says nothing of managers, and has the types of the kind's fields.
fn check_config(kind: &Kind, config: &Value) -> Result<(), Status> {
    if config.text("kind") != kind.kind || config.text("apiVersion") != kind.api_version() {
        let why = format!("invalid object type: {}, Kind={}", config.text("apiVersion"), config.text("kind"));
        return Err(Status::bad_request(why));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let owners = config.owners();
    let is_twice = |at: usize| owners[..at].iter().any(|other| other["uid"] == owners[at]["uid"]);
    if (0..owners.len()).any(is_twice) {
        return Err(Status::unexpected(
            "failed to create typed patch object: .metadata.ownerReferences: duplicate entries",
        ));
    }
    schema::typed(kind, config)
        .map_err(|path| Status::unexpected(format!("failed to create typed patch object: {path}: not of its type")))
}

/// An object is where the path says, or says nothing of it.
fn check_place(ask: &Ask<'_>, object: &mut Value) -> Result<(), Status> {
    let kind = &ask.kind;
    if !ask.name().is_empty() {
        let name = object.name();
        if name.is_empty() {
            let why = format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                ask.name()
            );
            return Err(Status::bad_request(why));
        }
        if name != ask.name() {
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

/// Another object was meant than the one that is stored.
fn other_uid(ask: &Ask<'_>, meant: &str, stored: &str) -> Status {
    let kind = &ask.kind;
    let folder = match kind.plural.as_str() {
        plural if kind.is_custom() => format!("{}/{plural}", kind.group),
        "services" => "services/specs".to_owned(),
        plural => plural.to_owned(),
    };
    let namespace = if kind.namespaced { format!("{}/", ask.namespace()) } else { String::new() };
    let root = if ask.call.options.dry_run { "" } else { "/registry" };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {root}/{folder}/{namespace}{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {meant}, UID in object meta: {stored}",
        ask.name()
    );
    Status::conflict(kind, ask.name(), &why)
}

/// The version that an object says it has; 0 where it says none.
fn version_of(object: &Value) -> Result<u64, Status> {
    match object.version() {
        "" => Ok(0),
        text => text
            .parse()
            .map_err(|_| Status::unexpected(format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"))),
    }
}

/// A replacement of another object is a conflict at once; a patch of another finds out later that uids never change.
fn check_versions(ask: &Ask<'_>, old: &Value, new: &Value) -> Result<(), Status> {
    let kind = &*ask.kind;
    if ask.call.method == Method::Update && !new.uid().is_empty() && new.uid() != old.uid() {
        return Err(other_uid(ask, new.uid(), old.uid()));
    }
    if version_of(new)? == 0 {
        if !kind.takes_unconditional_updates() {
            // The real server puts the name of the resource where the kind belongs.
            let resource = Kind { kind: kind.plural.clone(), ..kind.clone() };
            let why = "Invalid value: 0x0: must be specified for an update";
            return Err(Status::invalid(&resource, old.name(), "metadata.resourceVersion", why));
        }
    } else if new.version() != old.version() {
        return Err(Status::modified(kind, old.name()));
    }
    Ok(())
}

/// The metadata that comes with a status; a few kinds keep a member of it.
fn with_kept(kind: &Kind, old: &Value, mut metadata: Value) -> Value {
    for member in kept_by_status(kind) {
        metadata[*member] = old["metadata"][*member].clone();
    }
    defaults::without_nulls(&mut metadata);
    metadata
}

fn kept_by_status(kind: &Kind) -> &'static [&'static str] {
    match kind.plural.as_str() {
        "deployments" => &["labels"],
        "pods" => &["ownerReferences", "deletionTimestamp"],
        _ => &[],
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
    // It is dropped where it would be stored.
    if !ask.call.options.dry_run {
        keep("selfLink");
    }
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
