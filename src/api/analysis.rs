//! `AnalysisTemplate` and `ClusterAnalysisTemplate`: metrics that several Rollouts share.
use crate::metrics::Metric;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Metrics for Rollouts of its namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellwether.dev",
    version = "v1alpha1",
    kind = "AnalysisTemplate",
    namespaced,
    doc = "Metrics for Rollouts of its namespace.",
    derive = "PartialEq",
    category = "bellwether",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct AnalysisTemplateSpec {
    /// The metrics.
    #[serde(flatten)]
    pub shared: Shared,
}

/// Metrics for Rollouts of every namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellwether.dev",
    version = "v1alpha1",
    kind = "ClusterAnalysisTemplate",
    doc = "Metrics for Rollouts of every namespace.",
    derive = "PartialEq",
    category = "bellwether",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ClusterAnalysisTemplateSpec {
    /// The metrics.
    #[serde(flatten)]
    pub shared: Shared,
}

/// Metrics with arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shared {
    /// What whoever uses the template says: `{{args.NAME}}` in any text of a metric, but its name, becomes the value. Of the
    /// pods of a job only values of `env` are such texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub args: Vec<Arg>,
    /// Templates whose metrics are taken over. Of two metrics of one name, the one of whoever takes over counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub templates: Vec<TemplateRef>,
    /// What is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<Metric>,
}

/// An argument of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Arg {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z][-_a-zA-Z0-9]*$"))]
    pub name: String,
    /// What it is when nothing is said. Without it, something has to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub value: Option<String>,
}

/// A template, and what is said to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateRef {
    /// Which kind.
    #[serde(default)]
    pub kind: TemplateKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::vocab::OBJECT_NAME))]
    pub name: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub args: Vec<GivenArg>,
}

/// The two kinds of templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TemplateKind {
    /// Of the Rollout's namespace.
    #[default]
    AnalysisTemplate,
    /// Of the cluster. A template of the cluster takes over from templates of the cluster alone.
    ClusterAnalysisTemplate,
}

/// An argument as it is given: exactly one of value and valueFrom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)").message("an argument has exactly one of value and valueFrom"))]
pub struct GivenArg {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What it is. In a template, `{{args.NAME}}` of that template's own arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub value: Option<String>,
    /// Where it is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// A field of the Rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValueFrom {
    /// The field's path, like `metadata.name`, `spec.workloadRef.name` or `metadata.labels['team']`. It holds a text, a
    /// number or a truth.
    #[schemars(length(min = 1, max = 253))]
    pub field: String,
}
