//! Custom kinds by their schema: what is dropped, what is filled in, what is refused.
use super::{Kind, Status, rules, store::Meta as _};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What a schema drops and fills in, made ready once: it is asked at every write.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shape {
    /// By name, in order.
    members: Vec<(String, Shape)>,
    /// Of members that have no shape of their own.
    others: Option<Box<Shape>>,
    items: Option<Box<Shape>>,
    /// Whether members that nobody knows stay.
    keeps: bool,
    default: Option<Value>,
}

impl Shape {
    /// The shape of what a schema describes.
    pub(super) fn of(schema: &Value) -> Self {
        let others = &schema["additionalProperties"];
        let inner = |schema: &Value| schema.is_object().then(|| Box::new(Self::of(schema)));
        let known = schema["properties"].as_object().into_iter().flatten().filter(|(_, schema)| !schema.is_null());
        let mut members: Vec<_> = known.map(|(name, schema)| (name.clone(), Self::of(schema))).collect();
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self {
            members,
            others: inner(others),
            items: inner(&schema["items"]),
            keeps: schema["x-kubernetes-preserve-unknown-fields"] == true || others.is_object() || *others == true,
            default: schema.get("default").cloned(),
        }
    }

    fn member(&self, name: &str) -> Option<&Self> {
        let at = self.members.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.members[at].1)
    }
}

/// Drops what the shape does not know, and fills in what it has a default for.
pub(super) fn complete(object: &mut Value, shape: &Shape, part: &str) {
    let Some(members) = object.as_object_mut() else { return };
    members
        .retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata") || shape.member(name).is_some());
    // What is stored is complete already.
    let asked = |name: &str| name != "metadata" && (part.is_empty() || name == part);
    for (name, shape) in shape.members.iter().filter(|(name, _)| asked(name)) {
        fill_in(members, name, shape);
        if let Some(member) = members.get_mut(name) {
            walk(member, shape);
        }
    }
}

fn fill_in(members: &mut Map<String, Value>, name: &str, shape: &Shape) {
    if let Some(default) = &shape.default
        && !members.contains_key(name)
    {
        members.insert(name.to_owned(), default.clone());
    }
}

fn walk(value: &mut Value, shape: &Shape) {
    match value {
        Value::Object(members) => {
            if !shape.keeps && members.keys().any(|name| shape.member(name).is_none()) {
                members.retain(|name, _| shape.member(name).is_some());
            }
            for (name, shape) in &shape.members {
                fill_in(members, name, shape);
            }
            for (name, member) in members.iter_mut() {
                if let Some(shape) = shape.member(name) {
                    walk(member, shape);
                }
                if let Some(others) = &shape.others {
                    walk(member, others);
                }
            }
        }
        Value::Array(items) => {
            if let Some(shape) = &shape.items {
                for item in items {
                    walk(item, shape);
                }
            }
        }
        _ => {}
    }
}

/// Whether everything in an object is of the type that the schema says, and known to it; else where it is not. An apply has
/// to know that before it can merge.
pub(super) fn typed(kind: &Kind, object: &Value) -> Result<(), String> {
    let Some(schema) = kind.custom.as_ref().map(|custom| &custom.schema).filter(|schema| schema.is_object()) else {
        return Ok(());
    };
    for (member, value) in object.as_object().into_iter().flatten() {
        if !matches!(member.as_str(), "apiVersion" | "kind" | "metadata") {
            is_typed(Path { above: None, step: Step::Member(member) }, value, &schema["properties"][member])?;
        }
    }
    Ok(())
}

fn is_typed(path: Path<'_>, value: &Value, schema: &Value) -> Result<(), String> {
    if !schema.is_object() {
        return Err(path.to_string());
    }
    let is_free = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let is_either = schema["x-kubernetes-int-or-string"] == true && (value.is_i64() || value.is_string());
    if value.is_null() || is_either {
        return Ok(());
    }
    if !has_type(value, schema) {
        return Err(path.to_string());
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let known = schema["properties"].get(name).or(schema.get("additionalProperties"));
                match known.filter(|known| known.is_object()) {
                    Some(known) => is_typed(Path { above: Some(&path), step: Step::Member(name) }, value, known)?,
                    None if is_free => {}
                    None => return Err(format!("{path}.{name}")),
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (at, item) in items.iter().enumerate() {
                is_typed(Path { above: Some(&path), step: Step::Item(at) }, item, &schema["items"])?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses what the schema does not allow. What was stored already and did not change is not asked again.
pub(super) fn check(kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let Some(schema) = kind.custom.as_ref().map(|custom| &custom.schema).filter(|schema| schema.is_object()) else {
        return Ok(());
    };
    let refuse = |(path, why): (String, String)| Status::invalid(kind, new.name(), &path, &why);
    for member in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if new.get(member).is_none() {
            return Err(refuse((member.to_owned(), "Required value".to_owned())));
        }
    }
    // No rule is asked of what has not the form that it speaks of.
    for part in [fits, obeys] {
        for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = new.get(member).filter(|_| member != "metadata") {
                let path = Path { above: None, step: Step::Member(member) };
                part(path, old.and_then(|old| old.get(member)), value, schema).map_err(refuse)?;
            }
        }
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if !rules::holds(rule.text("rule"), old, new) {
            return Err(refuse(("<nil>".to_owned(), format!("Invalid value: {}", rule.text("message")))));
        }
    }
    Ok(())
}

type Wrong = (String, String);

/// Where a value is; written out only when something is wrong with it.
#[derive(Clone, Copy)]
struct Path<'a> {
    above: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match (self.above, self.step) {
            (None, Step::Member(name)) => f.write_str(name),
            (Some(_), Step::Member(name)) => write!(f, ".{name}"),
            (_, Step::Item(at)) => write!(f, "[{at}]"),
        }
    }
}

fn fits(path: Path<'_>, old: Option<&Value>, new: &Value, schema: &Value) -> Result<(), Wrong> {
    if old == Some(new) {
        return Ok(());
    }
    let wrong = |why: String| Err((path.to_string(), why));
    if !has_type(new, schema) {
        let (is, wanted) = (type_of(new), schema.text("type"));
        return wrong(format!("Invalid value: \"{is}\": {path} in body must be of type {wanted}: \"{is}\""));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(new)
    {
        let values: Vec<_> = values.iter().filter(|value| !value.is_null()).map(ToString::to_string).collect();
        return wrong(format!("Unsupported value: {new}: supported values: {}", values.join(", ")));
    }
    match new {
        Value::String(text) => text_fits(path, text, schema)?,
        Value::Number(number) => {
            let limit = |name: &str| schema[name].as_f64();
            if limit("minimum").is_some_and(|least| number.as_f64() < Some(least)) {
                let least = &schema["minimum"];
                return wrong(format!(
                    "Invalid value: {new}: {path} in body should be greater than or equal to {least}"
                ));
            }
            if limit("maximum").is_some_and(|most| number.as_f64() > Some(most)) {
                let most = &schema["maximum"];
                return wrong(format!("Invalid value: {new}: {path} in body should be less than or equal to {most}"));
            }
        }
        Value::Array(items) => {
            let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
            if let Some(most) = limit("maxItems").filter(|most| items.len() > *most) {
                return wrong(format!("Too many: {}: must have at most {most} items", items.len()));
            }
            if let Some(least) = limit("minItems").filter(|least| items.len() < *least) {
                return wrong(format!(
                    "Invalid value: {}: {path} in body should have at least {least} items",
                    items.len()
                ));
            }
            let inner = &schema["items"];
            for (at, item) in items.iter().enumerate() {
                fits(Path { above: Some(&path), step: Step::Item(at) }, None, item, inner)?;
            }
        }
        Value::Object(members) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    return Err((format!("{path}.{name}"), "Required value".to_owned()));
                }
            }
            for (name, value) in members {
                let known = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                fits(
                    Path { above: Some(&path), step: Step::Member(name) },
                    old.and_then(|old| old.get(name)),
                    value,
                    known,
                )?;
            }
            let alternatives = schema["oneOf"].as_array();
            if let Some(alternatives) = alternatives
                && alternatives.iter().filter(|one| has_all(members, one)).count() != 1
            {
                if let ([one], Some(missing)) = (alternatives.as_slice(), alternatives[0]["required"][0].as_str())
                    && !has_all(members, one)
                {
                    return Err((format!("{path}.{missing}"), "Required value".to_owned()));
                }
                // A real server names no field of it.
                let why = format!("Invalid value: \"\": \"{path}\" must validate one and only one schema (oneOf)");
                return Err(("<nil>".to_owned(), why));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether the rules hold of a value and of all that is in it.
fn obeys(path: Path<'_>, old: Option<&Value>, new: &Value, schema: &Value) -> Result<(), Wrong> {
    if old == Some(new) {
        return Ok(());
    }
    match new {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                obeys(Path { above: Some(&path), step: Step::Item(at) }, None, item, &schema["items"])?;
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let known = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                let old = old.and_then(|old| old.get(name));
                obeys(Path { above: Some(&path), step: Step::Member(name) }, old, value, known)?;
            }
        }
        _ => {}
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if !rules::holds(rule.text("rule"), old, new) {
            return Err((path.to_string(), format!("Invalid value: {}", rule.text("message"))));
        }
    }
    Ok(())
}

fn has_all(members: &Map<String, Value>, schema: &Value) -> bool {
    let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    required.all(|name| members.contains_key(name))
}

fn has_type(value: &Value, schema: &Value) -> bool {
    match schema.text("type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Null => "null",
    }
}

fn text_fits(path: Path<'_>, text: &str, schema: &Value) -> Result<(), Wrong> {
    let wrong = |why: String| Err((path.to_string(), why));
    let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
    let length = text.chars().count();
    if let Some(most) = limit("maxLength").filter(|most| length > *most) {
        return wrong(format!("Too long: may not be more than {most} bytes"));
    }
    if let Some(least) = limit("minLength").filter(|least| length < *least) {
        return wrong(format!("Invalid value: \"{text}\": {path} in body should be at least {least} chars long"));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !matches(pattern, text)
    {
        return wrong(format!("Invalid value: \"{text}\": {path} in body should match '{pattern}'"));
    }
    if schema["format"] == json!("date-time") && text.parse::<jiff::Timestamp>().is_err() {
        return wrong(format!("Invalid value: \"{text}\": {path} in body must be of type date-time: \"{text}\""));
    }
    Ok(())
}

/// Whether a text matches a pattern; each pattern is read once.
fn matches(pattern: &str, text: &str) -> bool {
    static KNOWN: Mutex<BTreeMap<String, Arc<regex::Regex>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let regex = known.entry(pattern.to_owned()).or_insert_with(|| {
        Arc::new(regex::Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern} is no pattern: {error}")))
    });
    regex.is_match(text)
}
