//! `AlertReceiver`: who is told when something happens that a person should know.
use crate::notify::ReceiverSpec;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Who is told when a Rollout aborts, blocks or promotes. Secrets are read from its namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellwether.dev",
    version = "v1alpha1",
    kind = "AlertReceiver",
    namespaced,
    doc = "Who is told when a Rollout aborts, blocks or promotes. Secrets are read from its namespace.",
    derive = "PartialEq",
    category = "bellwether",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.webhook.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct AlertReceiverSpec {
    /// The receiver.
    #[serde(flatten)]
    pub target: ReceiverSpec,
}
