//! Which provider a metric's numbers come from.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reference to a provider: of the Rollout's namespace, or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ProviderRef {
    /// Which kind.
    pub kind: ProviderKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The two kinds of providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ProviderKind {
    /// In the Rollout's namespace, with Secrets of that namespace.
    MetricProvider,
    /// Of the cluster, with Secrets of the operator's namespace.
    ClusterMetricProvider,
}

impl std::fmt::Display for ProviderRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}/{}", self.kind, self.name)
    }
}
