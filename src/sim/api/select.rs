//! Selectors of labels and of fields.
use super::{Kind, Status, store::Meta as _};
use serde_json::Value;

/// Which objects are meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selector {
    labels: Vec<(String, Wanted)>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads both selectors of a request for this kind.
    pub(super) fn read(kind: &Kind, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Status> {
        let labels = requirements(labels.unwrap_or_default())?;
        let mut all = Vec::new();
        for term in fields.unwrap_or_default().split(',').filter(|term| !term.is_empty()) {
            let (path, wanted, value) = if let Some((path, value)) = term.split_once("!=") {
                (path, false, value)
            } else if let Some((path, value)) = term.split_once('=') {
                (path, true, value.trim_start_matches('='))
            } else {
                return Err(Status::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'")));
            };
            if !is_selectable(kind, path) {
                return Err(Status::bad_request(format!("field label not supported: {path}")));
            }
            all.push((format!("/{}", path.replace('.', "/")), wanted, value.to_owned()));
        }
        Ok(Self { labels, fields: all })
    }

    /// Whether everything is meant.
    pub(super) fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether this object is meant.
    pub(super) fn takes(&self, object: &Value) -> bool {
        let of_object = &object["metadata"]["labels"];
        let label = |key: &str| of_object.get(key).and_then(Value::as_str);
        self.labels.iter().all(|(key, wanted)| match wanted {
            Wanted::In(values) => label(key).is_some_and(|is| values.iter().any(|value| value == is)),
            Wanted::NotIn(values) => label(key).is_none_or(|is| values.iter().all(|value| value != is)),
            Wanted::Exists => label(key).is_some(),
            Wanted::Absent => label(key).is_none(),
        }) && self.fields.iter().all(|(path, wanted, value)| {
            let is = object.pointer(path);
            let same = match is {
                Some(Value::String(text)) => text == value,
                Some(Value::Bool(is)) => is.to_string() == *value,
                Some(Value::Number(is)) => is.to_string() == *value,
                _ => value.is_empty(),
            };
            same == *wanted
        })
    }
}

fn is_selectable(kind: &Kind, path: &str) -> bool {
    if path == "metadata.name" || (path == "metadata.namespace" && kind.namespaced) {
        return true;
    }
    if let Some(custom) = &kind.custom {
        return custom.selectable.iter().any(|known| known == path);
    }
    match kind.plural.as_str() {
        "pods" => matches!(
            path,
            "spec.nodeName"
                | "spec.restartPolicy"
                | "spec.schedulerName"
                | "spec.serviceAccountName"
                | "status.phase"
                | "status.podIP"
        ),
        "namespaces" => path == "status.phase",
        "nodes" => path == "spec.unschedulable",
        "secrets" => path == "type",
        "replicasets" => path == "status.replicas",
        "events" => {
            path.starts_with("involvedObject.") || path.starts_with("regarding.") || path == "reason" || path == "type"
        }
        _ => false,
    }
}

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
fn requirements(text: &str) -> Result<Vec<(String, Wanted)>, Status> {
    let mut terms = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    let mut found = Vec::new();
    for term in terms.into_iter().map(str::trim).filter(|term| !term.is_empty()) {
        let listed = |word: &str| term.split_once(word).is_none_or(|(_, list)| list.trim_start().starts_with('('));
        if !listed(" in ") || !listed(" notin ") {
            return Err(Status::bad_request(format!("unable to parse requirement: found '{term}', expected: '('")));
        }
        let (key, wanted) = requirement(term);
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || "()=!".contains(c)) {
            return Err(Status::bad_request(format!(
                "unable to parse requirement: found '{term}', expected: identifier"
            )));
        }
        found.push((key.to_owned(), wanted));
    }
    Ok(found)
}

fn requirement(term: &str) -> (&str, Wanted) {
    let one = |value: &str| vec![value.trim().to_owned()];
    let many = |list: &str| {
        let inner = list.trim().trim_start_matches('(').trim_end_matches(')');
        inner.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>()
    };
    if let Some((key, list)) = term.split_once(" notin ") {
        return (key.trim(), Wanted::NotIn(many(list)));
    }
    if let Some((key, list)) = term.split_once(" in ") {
        return (key.trim(), Wanted::In(many(list)));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return (key.trim(), Wanted::NotIn(one(value)));
    }
    if let Some((key, value)) = term.split_once('=') {
        return (key.trim(), Wanted::In(one(value.trim_start_matches('='))));
    }
    match term.strip_prefix('!') {
        Some(key) => (key.trim(), Wanted::Absent),
        None => (term, Wanted::Exists),
    }
}

/// The selector of an object as text, as the subresource `scale` tells it.
pub(super) fn text_of(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression.text("key");
        let values: Vec<_> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression.text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

/// Whether the selector of an object takes these labels.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    let requirements = requirements(&text_of(selector)).unwrap_or_default();
    let object = serde_json::json!({"metadata": {"labels": labels}});
    Selector { labels: requirements, fields: Vec::new() }.takes(&object)
}
