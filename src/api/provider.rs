//! `MetricProvider` and `ClusterMetricProvider`: where numbers come from, and with whose credentials.
use crate::metrics::ProviderSpec;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A source of numbers for Rollouts of its namespace. Secrets are read from that namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellwether.dev",
    version = "v1alpha1",
    kind = "MetricProvider",
    namespaced,
    doc = "A source of numbers for Rollouts of its namespace. Secrets are read from that namespace.",
    derive = "PartialEq",
    category = "bellwether",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.prometheus.url"),
    printcolumn(name = "Web", type_ = "string", json_path = ".spec.web.url"),
    printcolumn(name = "Pods", type_ = "string", json_path = ".spec.pods.port"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct MetricProviderSpec {
    /// The source.
    #[serde(flatten)]
    pub source: ProviderSpec,
}

/// A source of numbers for Rollouts of every namespace. Secrets are read from the operator's namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellwether.dev",
    version = "v1alpha1",
    kind = "ClusterMetricProvider",
    doc = "A source of numbers for Rollouts of every namespace. Secrets are read from the operator's namespace.",
    derive = "PartialEq",
    category = "bellwether",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.prometheus.url"),
    printcolumn(name = "Web", type_ = "string", json_path = ".spec.web.url"),
    printcolumn(name = "Pods", type_ = "string", json_path = ".spec.pods.port"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ClusterMetricProviderSpec {
    /// The source.
    #[serde(flatten)]
    pub source: ProviderSpec,
}
