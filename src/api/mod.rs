//! The resources: every kind of the group `bellwether.dev`, as data.
//!
//! A plug-in's own fields live beside its behaviour in `traffic`, `metrics` and `notify`; this module adds them up.
//! Kinds grow by adding optional fields only: what a field means never changes.
mod action;
mod alert;
mod analysis;
pub(crate) mod lenient;
mod provider;
mod reason;
mod rollout;
mod status;

pub use crate::metrics::{ProviderKind, ProviderRef};
pub use action::{Action, ActionOutcome, ActionStatus, Expect, RolloutAction, RolloutActionSpec};
pub use alert::AlertReceiver;
pub use analysis::{
    AnalysisTemplate, Arg, ClusterAnalysisTemplate, GivenArg, Shared, TemplateKind, TemplateRef, ValueFrom,
};
pub use provider::{ClusterMetricProvider, MetricProvider};
pub use reason::{Reason, Sort};
pub use rollout::{
    AlertRule, Analysis, AnalysisMode, Approval, Capacity, Floor, Named, NoTraffic, OnDelete, OnInconclusive, OnStuck,
    OnUnknown, ProgressRule, RollbackWindow, Rollout, RolloutSpec, Services, Step, Then, ThenNoTraffic, ThenUnknown,
    Traffic, WhenIgnored, WorkloadRef,
};
pub use status::{
    ArmStatus, Decision, Flight, Handled, HeldBy, Intent, Latch, MetricStatus, Past, PendingAlert, Phase, Progress,
    Promotion, RolloutStatus, Settling, StepStatus, Undo, Waiting, Weights, WorkloadStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, ValidationRule};
use kube::CustomResourceExt;

/// The API group of all kinds.
pub const GROUP: &str = "bellwether.dev";

/// Label on everything a Rollout has claimed or made: the Rollout's name.
pub const ROLLOUT_LABEL: &str = "bellwether.dev/rollout";
/// Label beside [`ROLLOUT_LABEL`]: the Rollout's uid, so that a namesake is not taken for it.
pub const ROLLOUT_UID_LABEL: &str = "bellwether.dev/rollout-uid";
/// Label on a ReplicaSet that is not the Deployment's: the revision it holds.
pub const REVISION_LABEL: &str = "bellwether.dev/revision";
/// The label that tells one ReplicaSet's pods from another's.
pub const HASH_LABEL: &str = "pod-template-hash";
/// Finalizer of a Rollout that holds a Deployment.
pub const FINALIZER: &str = "bellwether.dev/hand-back";

/// The definitions of all kinds, in the order of the reference.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        with_label_sized_names(Rollout::crd()),
        RolloutAction::crd(),
        MetricProvider::crd(),
        ClusterMetricProvider::crd(),
        AnalysisTemplate::crd(),
        ClusterAnalysisTemplate::crd(),
        AlertReceiver::crd(),
    ]
}

/// A Rollout's name goes into labels.
fn with_label_sized_names(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            schema.x_kubernetes_validations.get_or_insert_default().push(ValidationRule {
                rule: "self.metadata.name.size() <= 63".to_owned(),
                message: Some("a Rollout's name is used in labels and can have at most 63 characters".to_owned()),
                ..ValidationRule::default()
            });
        }
    }
    definition
}

/// A definition as it is written to `crds/`.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn definition_text(definition: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let mut definition = serde_json::to_value(definition).unwrap_or_default();
    without_unsigned_formats(&mut definition);
    let text = serde_saphyr::to_string(&definition)?;
    Ok(format!("# Written by `bellwether crds --out crds`; a test keeps it in step with the code.\n{text}"))
}

/// The API server knows no formats for unsigned numbers, and warns; their bounds say the same.
fn without_unsigned_formats(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(members) => {
            if members
                .get("format")
                .and_then(serde_json::Value::as_str)
                .is_some_and(|format| format.starts_with("uint"))
            {
                members.remove("format");
            }
            members.values_mut().for_each(without_unsigned_formats);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_unsigned_formats),
        _ => {}
    }
}
