//! How objects go: at once, after their finalizers, or, for pods, when their time is over.
use super::{
    Kind, Status,
    serve::{Ask, time_text},
    store::{Meta as _, State},
    write::part_of,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Finalizer: dependents go first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer: dependents are let go.
pub(super) const ORPHAN: &str = "orphan";

impl State {
    pub(super) fn delete(&mut self, ask: &Ask<'_>) -> Result<Arc<Value>, Status> {
        if !ask.call.part().is_empty() {
            return Err(Status::not_allowed());
        }
        if let Some(other) = ask.call.options.propagation.as_deref()
            && !matches!(other, "Foreground" | "Background" | "Orphan")
        {
            let why = format!("Unsupported value: \"{other}\"");
            return Err(Status::option("DeleteOptions", "propagationPolicy", &why));
        }
        let old = self.get(ask.table, ask.namespace(), ask.name()).cloned();
        let old = old.ok_or_else(|| Status::not_found(&ask.kind, ask.name()))?;
        self.delete_object(ask, &old)
    }

    pub(super) fn delete_object(&mut self, ask: &Ask<'_>, old: &Arc<Value>) -> Result<Arc<Value>, Status> {
        let (kind, options) = (&ask.kind, &ask.call.options);
        let name = old.name();
        if kind.is("", "namespaces") && matches!(name, "default" | "kube-system" | "kube-public") {
            return Err(Status::forbidden(kind, name, "this namespace may not be deleted"));
        }
        check_preconditions(ask, old)?;
        let is_pod = kind.is("", "pods");
        let before = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        let grace = match options.grace_seconds {
            _ if !is_pod => 0,
            None if old.is_ending() => before,
            Some(asked) if old.is_ending() => asked.max(0),
            asked => grace_of(old, asked),
        };
        if is_pod && old.is_ending() && before > 0 && grace >= before {
            return Ok(old.clone());
        }
        let mut old = old.clone();
        let mut new = (*old).clone();
        set_finalizers(&mut new, options.propagation.as_deref());
        let waits = grace > 0 || !new.finalizers().is_empty() || kind.is("", "namespaces");
        let is_marked = old.is_ending() && before == 0;
        if is_pod && !waits && !options.dry_run && !is_marked {
            // A pod that goes at once is marked before it goes: watches see both.
            mark(ask, &old, &mut new, 0);
            let marked = self.commit(ask.user, None, ask.table, Some(old.clone()), Some(new.clone()));
            old = marked.unwrap_or(old);
        }
        if waits {
            let old = &old;
            mark(ask, old, &mut new, grace);
            if new == **old || options.dry_run {
                return Ok(Arc::new(new));
            }
            let made = self.commit(ask.user, part_of(ask), ask.table, Some(old.clone()), Some(new));
            return Ok(made.unwrap_or_default());
        }
        if !options.dry_run {
            self.commit(ask.user, None, ask.table, Some(old.clone()), None);
        }
        if kind.answers_with_deleted() {
            let mut gone = (*old).clone();
            if !options.dry_run {
                gone["metadata"]["resourceVersion"] = json!(self.rv.to_string());
            }
            return Ok(Arc::new(gone));
        }
        let mut details = json!({"name": name, "kind": kind.plural, "uid": old.uid()});
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        Ok(Arc::new(status))
    }
}

/// The real server names the kind here where it names the resource elsewhere.
fn check_preconditions(ask: &Ask<'_>, old: &Value) -> Result<(), Status> {
    let (kind, options) = (&ask.kind, &ask.call.options);
    let conflict = |why: String| {
        let named = Kind { plural: kind.kind.clone(), ..(**kind).clone() };
        Err(Status::conflict(&named, old.name(), &why))
    };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != old.uid()) {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            old.uid()
        ));
    }
    if let Some(version) = options.at_version.as_deref().filter(|version| *version != old.version()) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            old.version()
        ));
    }
    Ok(())
}

/// Marks an object as one that is to go; an earlier mark stays, but for a pod that is to go sooner.
fn mark(ask: &Ask<'_>, old: &Value, new: &mut Value, grace: i64) {
    if old.is_ending() {
        let before = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if grace >= before {
            return;
        }
        let at = old["metadata"].text("deletionTimestamp").parse::<jiff::Timestamp>().unwrap_or(ask.at);
        let earlier = at.checked_sub(jiff::SignedDuration::from_secs(before - grace)).unwrap_or(at);
        new["metadata"]["deletionTimestamp"] = json!(time_text(earlier));
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        return;
    }
    let at = ask.at.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(ask.at);
    new["metadata"]["deletionTimestamp"] = json!(time_text(at));
    if ask.kind.is("", "namespaces") {
        new["status"]["phase"] = json!("Terminating");
        return;
    }
    new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    if let Some(generation) = old["metadata"]["generation"].as_i64().filter(|generation| *generation > 0) {
        new["metadata"]["generation"] = json!(generation + 1);
    }
}

/// What becomes of dependents is said by two finalizers; who says nothing leaves them as they are.
fn set_finalizers(object: &mut Value, propagation: Option<&str>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> =
        object.finalizers().into_iter().filter(|one| *one != FOREGROUND && *one != ORPHAN).map(str::to_owned).collect();
    match propagation {
        "Foreground" => finalizers.push(FOREGROUND.to_owned()),
        "Orphan" => finalizers.push(ORPHAN.to_owned()),
        _ => {}
    }
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), json!(finalizers));
    }
}

/// How long a pod may take: what is asked for, else what it says; one that runs nowhere takes no time.
fn grace_of(pod: &Value, asked: Option<i64>) -> i64 {
    let spec = &pod["spec"];
    if spec.text("nodeName").is_empty() || matches!(pod["status"].text("phase"), "Succeeded" | "Failed") {
        return 0;
    }
    asked.or(spec["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30).max(0)
}
