//! The kinds that are served, and what is known of each: its names, its subresources, its habits.
use super::schema::Shape;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// A kind of objects.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_field_names, reason = "a kind has a name that objects call their kind")]
pub struct Kind {
    /// Its group; empty for the core.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its name in paths.
    pub plural: String,
    /// Its name in objects.
    pub kind: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether it has the subresource `status`.
    pub status: bool,
    /// Whether it has the subresource `scale`.
    pub scale: bool,
    /// What is known of a kind that a definition made.
    pub custom: Option<Arc<Custom>>,
}

/// What a definition says of its kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Custom {
    /// Fields that lists can be asked by, as `spec.rollout`.
    pub selectable: Vec<String>,
    /// The schema; `Null` where everything is taken as it is.
    pub schema: Value,
    /// What it drops and fills in.
    pub(super) shape: Shape,
}

impl Kind {
    /// A built-in kind in namespaces, without subresources.
    pub fn new(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
            status: false,
            scale: false,
            custom: None,
        }
    }

    /// A kind that a definition made, with status and without a schema.
    pub fn custom(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Self { custom: Some(Arc::default()), ..Self::new(group, version, plural, kind).with_status() }
    }

    /// The same with the subresource `status`.
    pub fn with_status(self) -> Self {
        Self { status: true, ..self }
    }

    /// The same with the subresource `scale`.
    pub fn with_scale(self) -> Self {
        Self { scale: true, ..self }
    }

    /// The same, but of the whole cluster.
    pub fn of_cluster(self) -> Self {
        Self { namespaced: false, ..self }
    }

    /// The same with fields that lists can be asked by.
    pub fn selectable(self, fields: &[&str]) -> Self {
        let mut custom = self.custom.as_deref().cloned().unwrap_or_default();
        custom.selectable.extend(fields.iter().map(|field| (*field).to_owned()));
        Self { custom: Some(Arc::new(custom)), ..self }
    }

    /// The kind that a definition makes, with its schema.
    pub fn defined(definition: &CustomResourceDefinition) -> Option<Self> {
        let spec = &definition.spec;
        let version = spec.versions.first()?;
        let subresources = version.subresources.as_ref();
        let selectable = version.selectable_fields.iter().flatten();
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema).unwrap_or_default();
        Some(Self {
            group: spec.group.clone(),
            version: version.name.clone(),
            plural: spec.names.plural.clone(),
            kind: spec.names.kind.clone(),
            namespaced: spec.scope == "Namespaced",
            status: subresources.is_some_and(|all| all.status.is_some()),
            scale: subresources.is_some_and(|all| all.scale.is_some()),
            custom: Some(Arc::new(Custom {
                selectable: selectable.map(|field| field.json_path.trim_start_matches('.').to_owned()).collect(),
                shape: Shape::of(&schema),
                schema,
            })),
        })
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether a definition made it.
    pub const fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    pub(super) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// Whether its objects count their generations.
    pub(super) fn has_generation(&self) -> bool {
        self.is_custom()
            || matches!(
                self.plural.as_str(),
                "deployments"
                    | "replicasets"
                    | "pods"
                    | "endpointslices"
                    | "poddisruptionbudgets"
                    | "statefulsets"
                    | "daemonsets"
                    | "validatingadmissionpolicies"
                    | "mutatingadmissionpolicies"
            )
    }

    /// Whether a replacement may come without the version that it replaces.
    pub(super) fn takes_unconditional_updates(&self) -> bool {
        !self.is_custom() && self.plural != "leases" && !self.plural.ends_with("policies")
    }

    /// Whether a replacement of what is not there creates it.
    pub(super) fn is_created_by_updates(&self) -> bool {
        !self.is_custom() && matches!(self.plural.as_str(), "services" | "leases" | "events")
    }

    /// Whether a deletion answers with the object that was.
    pub(super) fn answers_with_deleted(&self) -> bool {
        self.group.is_empty() && matches!(self.plural.as_str(), "pods" | "services" | "serviceaccounts")
    }
}

/// The kinds that every API server has, as far as the operator and its world look at them.
pub fn built_in() -> Vec<Kind> {
    let core = |plural, kind| Kind::new("", "v1", plural, kind);
    let admission = |plural, kind| Kind::new("admissionregistration.k8s.io", "v1", plural, kind).of_cluster();
    vec![
        core("namespaces", "Namespace").of_cluster().with_status(),
        core("nodes", "Node").of_cluster().with_status(),
        core("pods", "Pod").with_status(),
        core("services", "Service").with_status(),
        core("configmaps", "ConfigMap"),
        core("secrets", "Secret"),
        core("serviceaccounts", "ServiceAccount"),
        core("events", "Event"),
        core("endpoints", "Endpoints"),
        Kind::new("apps", "v1", "deployments", "Deployment").with_status().with_scale(),
        Kind::new("apps", "v1", "replicasets", "ReplicaSet").with_status().with_scale(),
        Kind::new("apps", "v1", "controllerrevisions", "ControllerRevision"),
        Kind::new("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler").with_status(),
        Kind::new("gateway.networking.k8s.io", "v1", "gateways", "Gateway").with_status(),
        Kind::new("gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass").of_cluster().with_status(),
        Kind::new("coordination.k8s.io", "v1", "leases", "Lease"),
        Kind::new("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
        Kind::new("events.k8s.io", "v1", "events", "Event"),
        Kind::new("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget").with_status(),
        admission("validatingadmissionpolicies", "ValidatingAdmissionPolicy").with_status(),
        admission("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
        admission("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
        admission("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
    ]
}

/// The routes of the Gateway API.
pub fn routes() -> Vec<Kind> {
    let group = "gateway.networking.k8s.io";
    vec![
        Kind::custom(group, "v1", "gateways", "Gateway"),
        Kind::custom(group, "v1", "httproutes", "HTTPRoute"),
        Kind::custom(group, "v1", "grpcroutes", "GRPCRoute"),
    ]
}

/// Our own kinds, from the definitions that are shipped.
pub fn ours() -> Vec<Kind> {
    // Schemas take long to write down, and every story's server needs them.
    static OURS: OnceLock<Vec<Kind>> = OnceLock::new();
    OURS.get_or_init(|| crate::api::definitions().iter().filter_map(Kind::defined).collect()).clone()
}
