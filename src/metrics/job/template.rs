//! The pods of a Job: what may be said of them, and what the operator adds.
use super::super::Complaint;
use serde_json::{Map, Value, json};

/// A template is no longer than so many bytes of JSON.
const LONGEST: usize = 32 * 1024;
/// Variables of these names are the operator's.
const OURS: &str = "BELLWETHER_";
/// The lists of containers that get them.
const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// What is wrong with a template by itself.
pub(super) fn check(template: &Map<String, Value>) -> Result<(), Complaint> {
    let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
    if let Some(other) = template.keys().find(|key| !matches!(key.as_str(), "metadata" | "spec")) {
        let other: String = other.chars().take(63).collect();
        return value("job.template", &format!("has metadata and spec; take out \"{other}\""));
    }
    if serde_json::to_string(template).map_or(0, |text| text.len()) > LONGEST {
        return value("job.template", "is longer than 32 KiB; put data into a ConfigMap or an image, and mount it");
    }
    let metadata = template.get("metadata").unwrap_or(&Value::Null);
    let of_metadata = |key: &String| !matches!(key.as_str(), "labels" | "annotations");
    if !(metadata.is_null() || metadata.is_object())
        || metadata.as_object().is_some_and(|it| it.keys().any(of_metadata))
    {
        return value("job.template.metadata", "has labels and annotations, and nothing else");
    }
    for (field, texts) in [
        ("job.template.metadata.labels", &metadata["labels"]),
        ("job.template.metadata.annotations", &metadata["annotations"]),
    ] {
        let texts_only = texts.as_object().is_some_and(|texts| texts.values().all(Value::is_string));
        if !texts.is_null() && !texts_only {
            return value(field, "has texts as values; put them in quotes");
        }
    }
    let is_taken = |key: &String| key.starts_with("bellwether.dev/") || key == "pod-template-hash";
    if labels(template).is_some_and(|labels| labels.keys().any(is_taken)) {
        return value(
            "job.template.metadata.labels",
            "bellwether.dev/... and pod-template-hash are not for people to write",
        );
    }
    check_spec(template.get("spec").unwrap_or(&Value::Null))
}

fn check_spec(spec: &Value) -> Result<(), Complaint> {
    let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        return value("job.template.spec.containers", "write at least one container");
    }
    if !(spec["restartPolicy"].is_null() || spec["restartPolicy"] == "Never") {
        return value("job.template.spec.restartPolicy", "leave it out: it is Never, so that each pod ends once");
    }
    for list in CONTAINERS {
        let containers = spec[list].as_array().map_or(&[][..], Vec::as_slice);
        if !(spec[list].is_null() || spec[list].is_array()) || !containers.iter().all(Value::is_object) {
            return value("job.template.spec", "containers and initContainers are lists of containers");
        }
        for env in containers.iter().map(|container| &container["env"]) {
            if !(env.is_null() || env.is_array()) {
                return value("job.template.spec", "env of a container is a list of {name, value}");
            }
            let is_ours = |entry: &Value| entry["name"].as_str().is_some_and(|name| name.starts_with(OURS));
            if env.as_array().is_some_and(|env| env.iter().any(is_ours)) {
                return value(
                    "job.template.spec",
                    "variables that begin with BELLWETHER_ are set by the operator; leave them out",
                );
            }
        }
    }
    Ok(())
}

fn labels(template: &Map<String, Value>) -> Option<&Map<String, Value>> {
    template.get("metadata")?.get("labels")?.as_object()
}

/// Whether a Job's pods stay apart from those that these selectors mean, as a Deployment and Services write them.
///
/// # Errors
/// Names the field and the cure.
pub fn apart(template: &Map<String, Value>, selectors: &[Value]) -> Result<(), Complaint> {
    let none = Map::new();
    let labels = labels(template).unwrap_or(&none);
    if selectors.iter().any(|selector| matches(selector, labels)) {
        let cure = "are those by which the Deployment or one of its Services knows its pods, and would give the Job requests; take one out";
        return Err(Complaint::Value { field: "job.template.metadata.labels", cure: cure.into() });
    }
    Ok(())
}

/// Whether a label selector means an object with these labels. One that asks for nothing means none here.
pub fn matches(selector: &Value, labels: &Map<String, Value>) -> bool {
    let wanted = selector["matchLabels"].as_object();
    let expressions = selector["matchExpressions"].as_array().map_or(&[][..], Vec::as_slice);
    if wanted.is_none_or(Map::is_empty) && expressions.is_empty() {
        return false;
    }
    let holds = |expression: &Value| {
        let found = expression["key"].as_str().and_then(|key| labels.get(key));
        let listed =
            || expression["values"].as_array().is_some_and(|values| found.is_some_and(|it| values.contains(it)));
        match expression["operator"].as_str() {
            Some("In") => listed(),
            Some("NotIn") => !listed(),
            Some("Exists") => found.is_some(),
            Some("DoesNotExist") => found.is_none(),
            // Of what is not understood the worst is assumed.
            _ => true,
        }
    };
    wanted.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) && expressions.iter().all(holds)
}

/// The template with these variables in every container, before its own, so that those may refer to them.
pub(super) fn filled(template: &Map<String, Value>, variables: &[(&str, String)]) -> Value {
    let mut filled = Value::Object(template.clone());
    filled["spec"]["restartPolicy"] = json!("Never");
    let ours: Vec<_> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    for list in CONTAINERS {
        let containers = filled["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|container| container.is_object()) {
            let own = container["env"].as_array().cloned().unwrap_or_default();
            container["env"] = Value::Array(ours.iter().cloned().chain(own).collect());
        }
    }
    filled
}
