//! What an Ingress says by itself. How requests are shared out it does not: each controller has annotations of its own.
use super::{Resource, weighted::list};
use serde_json::Value;

/// The kind that several routers steer.
pub(super) const INGRESS: Resource =
    Resource { group: "networking.k8s.io", version: "v1", kind: "Ingress", plural: "ingresses" };

/// A place of an Ingress that sends requests to a Service.
pub(super) struct Backend<'a> {
    /// Where it stands.
    pub place: String,
    /// The host and the path; neither for the default one.
    pub requests: (&'a Value, &'a Value),
    /// What stands there.
    written: &'a Value,
}

impl<'a> Backend<'a> {
    /// The Service that it names.
    pub fn service(&self) -> Option<&'a str> {
        self.written["service"]["name"].as_str()
    }

    /// The port by number; null for one by name.
    pub fn port(&self) -> &'a Value {
        &self.written["service"]["port"]["number"]
    }

    /// The port by name.
    pub fn port_name(&self) -> Option<&'a str> {
        self.written["service"]["port"]["name"].as_str()
    }
}

/// All backends of an Ingress.
pub(super) fn backends(route: &Value) -> Vec<Backend<'_>> {
    let spec = &route["spec"];
    let default = spec.get("defaultBackend").map(|written| Backend {
        place: "spec.defaultBackend".to_owned(),
        requests: (&Value::Null, &Value::Null),
        written,
    });
    let rules = list(&spec["rules"]).iter().enumerate();
    let paths = rules.flat_map(|(rule_at, rule)| {
        list(&rule["http"]["paths"]).iter().enumerate().map(move |(at, path)| Backend {
            place: format!("spec.rules[{rule_at}].http.paths[{at}]"),
            requests: (&rule["host"], &path["path"]),
            written: &path["backend"],
        })
    });
    default.into_iter().chain(paths).collect()
}

/// The annotation that named an Ingress' class before there was a field for it.
pub(super) const CLASS: &str = "kubernetes.io/ingress.class";

/// The class of an Ingress that says it by the annotation.
pub(super) fn class(route: &Value) -> Option<&str> {
    annotation(route, CLASS).as_str()
}

/// What stands in an annotation.
pub(super) fn annotation<'a>(route: &'a Value, name: &str) -> &'a Value {
    &route["metadata"]["annotations"][name]
}
