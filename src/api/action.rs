//! `RolloutAction`: how people and machines command a Rollout.
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A command to a Rollout: written once, never changed, answered in its status.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellwether.dev",
    version = "v1alpha1",
    kind = "RolloutAction",
    namespaced,
    status = "ActionStatus",
    doc = "A command to a Rollout: written once, never changed, answered in its status.",
    derive = "PartialEq",
    shortname = "bwa",
    category = "bellwether",
    selectable = ".spec.rollout",
    printcolumn(name = "Rollout", type_ = "string", json_path = ".spec.rollout"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "By", type_ = "string", json_path = ".metadata.annotations.bellwether\\.dev/by"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("an action is never changed: create another"))]
#[x_kube(validation = Rule::new("self.action in ['Abort', 'Pause'] || (has(self.expect) && has(self.expect.revision))").message("expect.revision is needed for every action but Abort and Pause: it says which candidate you have seen"))]
#[x_kube(validation = Rule::new("(self.action == 'SetStep') == has(self.to)").message("SetStep and to come together: to names the step"))]
#[serde(rename_all = "camelCase")]
pub struct RolloutActionSpec {
    /// The Rollout's name, in the same namespace.
    #[schemars(length(min = 1, max = 200))]
    pub rollout: String,
    /// What to do.
    pub action: Action,
    /// The step to enter, by its name: with `SetStep`, and only with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub to: Option<String>,
    /// What the Rollout must still look like; the action is refused when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// Why, for those who read the decision log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub reason: Option<String>,
}

/// What can be commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Leave the current step now: its approval is given and the rest of its time is waived.
    Promote,
    /// Leave all steps: promote as soon as the candidate's pods can carry everything. One that was given up takes over
    /// too, as long as stable's ready pods cannot take its requests back.
    PromoteFull,
    /// Take the candidate out of traffic, or do not begin its trial, and do not try it again.
    Abort,
    /// Try an aborted revision again, from the first step and with fresh evidence.
    Retry,
    /// Stay at the current weight until `Resume`.
    Pause,
    /// Go on after a `Pause`.
    Resume,
    /// Enter the step that `to` names, forward or back: its time starts anew, and what was learned of the candidate stays.
    SetStep,
    /// Go on with the steps that the spec has now, instead of those that the release began with.
    AdoptSteps,
}

/// What the Rollout must still look like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Expect {
    /// The candidate's revision, as `status.canary.revision` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub revision: Option<String>,
    /// The step's name, as `status.step.name` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub step: Option<String>,
}

/// What became of the command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionStatus {
    /// Whether it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ActionOutcome>,
    /// Why, or what follows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Whether a command was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActionOutcome {
    /// It is carried out.
    Accepted,
    /// It is not, and never will be.
    Refused,
}
