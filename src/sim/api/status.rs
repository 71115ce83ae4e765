//! Refusals, in the words of the real API server: code, reason, message and details.
use super::Kind;
use serde_json::{Value, json};

/// Why a request was refused, as an API server says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The HTTP code.
    pub code: u16,
    /// The reason in one word.
    pub reason: String,
    /// The reason in a sentence.
    pub message: String,
    /// What it is about, where the server says so.
    pub details: Option<Value>,
}

impl Status {
    /// A refusal.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: None }
    }

    /// The same with what it is about.
    pub fn about(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// As it is sent.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            value["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            value["details"] = details.clone();
        }
        value
    }

    fn of(kind: &Kind, name: &str) -> Value {
        let mut details = json!({"kind": kind.plural});
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        details
    }

    fn caused(details: Value, causes: Vec<Value>) -> Value {
        let mut details = details;
        details["causes"] = Value::Array(causes);
        details
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource())).about(Self::of(kind, name))
    }

    /// No such resource: without details of an object.
    pub(super) fn not_served() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").about(json!({}))
    }

    /// No such group: not even a Status, but a page of plain text.
    pub(super) fn no_page() -> Self {
        Self::new(404, "", "404 page not found\n")
    }

    pub(super) fn exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Self::new(409, "AlreadyExists", message).about(Self::of(kind, name))
    }

    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::new(409, "Conflict", message).about(Self::of(kind, name))
    }

    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// `field: why`, for one field.
    pub(super) fn invalid(kind: &Kind, name: &str, field: &str, why: &str) -> Self {
        let resource = if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
        let message = format!("{resource} \"{name}\" is invalid: {field}: {why}");
        let mut details = json!({"kind": kind.kind});
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        let cause = if why.starts_with("Required") {
            "FieldValueRequired"
        } else if why.starts_with("Forbidden") {
            "FieldValueForbidden"
        } else {
            "FieldValueInvalid"
        };
        let causes = vec![json!({"reason": cause, "message": why, "field": field})];
        Self::new(422, "Invalid", message).about(Self::caused(details, causes))
    }

    /// What is invalid, under the kind that the object says it is.
    pub(super) fn of_said(mut self, said: &Kind) -> Self {
        if let Some(details) = self.details.as_mut().and_then(Value::as_object_mut).filter(|_| self.code == 422) {
            details.insert("kind".to_owned(), json!(said.kind));
            details.remove("group");
            if !said.group.is_empty() {
                details.insert("group".to_owned(), json!(said.group));
            }
        }
        self
    }

    /// A patch that leaves an object which is none of its kind.
    pub(super) fn no_object(why: &str) -> Self {
        let cause =
            json!({"reason": "FieldValueInvalid", "message": format!("Invalid value: {why}"), "field": "patch"});
        Self::new(422, "Invalid", format!(" \"\" is invalid: patch: Invalid value: {why}"))
            .about(Self::caused(json!({}), vec![cause]))
    }

    /// What the real server did not expect itself: no reason, and nothing that it is about.
    pub(super) fn unexpected(why: impl Into<String>) -> Self {
        Self::new(500, "", why)
    }

    /// An option of a request that may not be so; `why` as of fields.
    pub(super) fn option(kind: &str, field: &str, why: &str) -> Self {
        let cause = json!({"reason": "FieldValueInvalid", "message": why, "field": field});
        Self::new(422, "Invalid", format!("{kind}.meta.k8s.io \"\" is invalid: {field}: {why}"))
            .about(Self::caused(json!({"group": "meta.k8s.io", "kind": kind}), vec![cause]))
    }

    pub(super) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let named = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        let message = format!("{}{named} is forbidden: {why}", kind.resource());
        Self::new(403, "Forbidden", message).about(Self::of(kind, name))
    }

    /// What may not be made in a namespace that ends.
    pub(super) fn terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Self::forbidden(kind, name, &why);
        let cause = json!({
            "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        });
        status.details = status.details.map(|details| Self::caused(details, vec![cause]));
        status
    }

    /// What an admission policy says; without a reason of its own it is Invalid, in the words of Forbidden.
    pub(super) fn denied(kind: &Kind, name: &str, policy: &str, reason: &str, why: &str) -> Self {
        let why = format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}");
        let mut status = Self::forbidden(kind, name, &why);
        reason.clone_into(&mut status.reason);
        status.code = if reason == "Forbidden" { 403 } else { 422 };
        status.details = status.details.map(|details| Self::caused(details, vec![json!({"message": why})]));
        status
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }

    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(super) fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    pub(super) fn too_new(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let causes = vec![json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"})];
        Self::new(504, "Timeout", format!("Timeout: {message}"))
            .about(Self::caused(json!({"retryAfterSeconds": 1}), causes))
    }

    pub(super) fn not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .about(json!({}))
    }

    pub(super) fn unknown_format(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// Of several managers of fields, each with the paths it holds.
    pub(super) fn apply_conflict(conflicts: &[(String, Vec<String>)]) -> Self {
        let all: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
        let message = match conflicts {
            [(manager, paths)] if paths.len() == 1 => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths[0])
            }
            _ => {
                let each = conflicts.iter().map(|(manager, paths)| {
                    let paths: Vec<_> = paths.iter().map(|path| format!("- {path}")).collect();
                    format!("conflicts with {manager}:\n{}", paths.join("\n"))
                });
                format!("Apply failed with {all} conflicts: {}", each.collect::<Vec<_>>().join("\n"))
            }
        };
        let causes = conflicts.iter().flat_map(|(manager, paths)| {
            paths.iter().map(move |path| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
            })
        });
        Self::new(409, "Conflict", message).about(Self::caused(json!({}), causes.collect()))
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Status {}
