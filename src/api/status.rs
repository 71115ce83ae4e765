//! `Rollout.status`: where a rollout stands, what it waits for, and every fact that must outlive the operator.
use super::{
    action::ActionOutcome,
    reason::Reason,
    rollout::{Step, Traffic},
};
use crate::{
    notify::AlertEvent,
    traffic::Apart,
    vocab::{Verdict, Weight},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a rollout stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in one word.
    #[serde(default)]
    pub phase: Phase,
    /// The state in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The Deployment that is held. Its uid arms the admission policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadStatus>,
    /// The revision that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<ArmStatus>,
    /// The revision on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<ArmStatus>,
    /// The step that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepStatus>,
    /// How traffic is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// What was measured at the last look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// What is waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<Waiting>,
    /// The last decisions, newest last; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// What the operator was about to do when it last wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// The traffic in force: what the spec said when nothing was on trial. An edit takes effect when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The facts of the revision on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flight: Option<Flight>,
    /// The candidate that was given up; it is not tried again without a `Retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latch: Option<Latch>,
    /// The former stable revision while its pods are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Past>,
    /// Revisions that served before, newest last; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Past>,
    /// How many candidates have been tried since stable last served alone: the number of the current try. One that was
    /// given up before its trial began counts.
    #[serde(default)]
    pub attempt: u32,
    /// The answers to the last actions, by uid; at most 20, and 60 while they cannot be written to the actions themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<Handled>,
    /// Alerts that are not delivered yet; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<PendingAlert>,
    /// `Ready`, `Reconciling` and `Stalled`, and `Underpowered` while there is too little traffic for the steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl Phase {
    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::Initializing,
        Self::Stable,
        Self::Progressing,
        Self::Paused,
        Self::AwaitingApproval,
        Self::Waiting,
        Self::Blocked,
        Self::Aborting,
        Self::Aborted,
        Self::Promoting,
        Self::Invalid,
    ];
}

impl RolloutStatus {
    /// Whether it waits for a person because its pods did not come, as `onStuck: Pause` wants it.
    pub fn is_stuck(&self) -> bool {
        self.waiting_for.iter().any(|wait| wait.reason == Reason::ProgressDeadlineExceeded)
    }

    /// Whether the operator cannot look, or its looks fail: then it says no more than that.
    pub fn is_unseen(&self) -> bool {
        self.waiting_for.iter().any(|wait| matches!(wait.reason, Reason::Unreadable | Reason::LookFailed))
    }

    /// Whether the Deployment has been taken over.
    pub fn is_held(&self) -> bool {
        self.workload.as_ref().is_some_and(|workload| workload.stable_replica_set.is_some())
    }

    /// The revision that commands and alerts are about: what is on trial, else what was given up.
    pub fn in_question(&self) -> Option<&str> {
        let given_up = || self.latch.as_ref().map(|latch| latch.revision.as_str());
        self.flight.as_ref().map(|flight| flight.revision.as_str()).or_else(given_up)
    }
}

/// The state in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The Deployment is being taken over, or has not been looked at yet.
    #[default]
    Initializing,
    /// One revision serves and none is on trial.
    Stable,
    /// A revision is on trial.
    Progressing,
    /// A person said `Pause`, or the candidate is stuck and `onStuck` is `Pause`.
    Paused,
    /// A step waits for a `Promote`.
    AwaitingApproval,
    /// Something is missing that may come by itself.
    Waiting,
    /// Something is in the way that a person must clear.
    Blocked,
    /// The candidate is being taken out.
    Aborting,
    /// The candidate is out; stable serves; the Deployment is held.
    Aborted,
    /// The candidate is taking over.
    Promoting,
    /// The spec cannot be carried out.
    Invalid,
}

/// The Deployment that is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// Its uid.
    pub uid: String,
    /// Its generation when it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The ReplicaSet whose pods serve; empty until it is adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_replica_set: Option<String>,
    /// What holds it: `Policy` (the admission policies answered a probe) or `Paused` (it is paused all the time).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<HeldBy>,
    /// When the probe first answered; adoption waits a moment after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed_at: Option<Time>,
}

/// What keeps the Deployment controller from rolling by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HeldBy {
    /// The admission policies; the Deployment is paused only in flight.
    Policy,
    /// The Deployment is paused all the time, for this cluster has no such policies.
    Paused,
}

/// One revision's pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmStatus {
    /// Its name, given once.
    pub revision: String,
    /// The ReplicaSet that holds it.
    pub replica_set: String,
    /// The value of the pods' label `pod-template-hash`.
    pub pod_template_hash: String,
    /// Pods wanted.
    pub replicas: i32,
    /// Pods ready.
    pub ready: i32,
}

/// The step that is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Its place, from 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The hash of all the steps this flight runs on.
    pub hash: String,
    /// When it was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Seconds of `observe` that are full.
    #[serde(default)]
    pub observed_seconds: u64,
    /// When seconds were last added; none while there is nothing to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<MicroTime>,
    /// When `observe` was full, for what happens some time after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_at: Option<MicroTime>,
    /// What whom `alerts` names was told of this step, and is not told again when it comes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub told: Vec<Reason>,
    /// Whether a `Promote` was given for this step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// Since when requests are shared out as the step says, as far as the routes tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_since: Option<MicroTime>,
    /// The most ready candidate pods seen in this step, and for how long there have been too few since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// A high-water mark of ready pods, and how long they have fallen short since it was set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// So many were ready at once.
    pub ready: i32,
    /// Seconds for which fewer were ready than the step needs; pods that come and go add up here.
    #[serde(default)]
    pub short_seconds: u64,
    /// Since when too few are ready; none while there are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_since: Option<Time>,
    /// Since when there are enough again; once that is as long as the deadline, `shortSeconds` begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_since: Option<Time>,
}

impl Flight {
    /// There is something to judge, or nobody asks for it now. Whether it was dark until then.
    pub fn lit(&mut self) -> bool {
        (self.quiet_since, self.blind_since) = (None, None);
        self.dark_since.take().is_some()
    }

    /// There is nothing usable to judge at this moment, for want of requests alone or of more. Since when there has been
    /// nothing, and since when for the same want. A quiet time goes on after it could not be seen for less than `patience`.
    pub fn darkened(&mut self, quiet: bool, now: &MicroTime, patience: jiff::SignedDuration) -> (MicroTime, MicroTime) {
        let of_this = if quiet {
            let unseen = self.blind_since.take();
            if unseen.is_some_and(|since| now.0.duration_since(since.0) >= patience) {
                self.quiet_since = None;
            }
            &mut self.quiet_since
        } else {
            &mut self.blind_since
        };
        let for_this = of_this.get_or_insert_with(|| now.clone()).clone();
        (self.dark_since.get_or_insert_with(|| now.clone()).clone(), for_this)
    }
}

impl Progress {
    /// So many are ready, and it has just begun.
    pub fn of(ready: i32) -> Self {
        Self { ready, short_seconds: 0, short_since: None, whole_since: None }
    }
}

/// How traffic is split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// The canary's share that the step wants, in percent.
    pub desired: Weight,
    /// The canary's share that the routers have accepted, in percent.
    pub accepted: Weight,
    /// What the routers have accepted that reaches the canary beside its share.
    #[serde(default, skip_serializing_if = "Apart::is_empty")]
    pub apart: Apart,
    /// How that is known: every route's `Status` says so, or a `Delay` alone where routes do not tell, or the ratio of `Pods`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Since when it is asked for and not known to be in every route and accepted by every gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<MicroTime>,
    /// The canary's share of the requests of both revisions, as the metrics of this step tell, like `19 % of 1,000 requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
}

/// What was measured at the last look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// The metric's name.
    pub name: String,
    /// What the judge says.
    pub verdict: Verdict,
    /// Whether it is only shown, and decides nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The canary's number, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// Stable's number, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// How many of the canary's requests, or points, were judged.
    #[serde(default)]
    pub samples: u64,
    /// The evidence against the canary: one in so many healthy canaries would look this bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Between so many times stable's odds of a bad request the canary's lie, "0.8x to 1.6x"; of scores, by how much its
    /// mean differs, "0.03 less to 0.01 more". The truth is outside with a probability of 5 % at most, however often one
    /// looks. For people: it decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// Why, in plain words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Why.
    pub reason: Reason,
    /// The object, as Kind/name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// Since when.
    pub since: Time,
    /// In plain words, with the cure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One line of the decision log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// When.
    pub at: Time,
    /// What.
    pub reason: Reason,
    /// In plain words.
    pub message: String,
    /// The candidate it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The step it was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Who said so, when a person or machine did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What the operator was about to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    /// What.
    pub action: String,
    /// To which object.
    pub object: String,
    /// Which leader: the number of hand-overs of its Lease.
    pub epoch: i32,
}

/// The facts of the revision on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flight {
    /// The candidate's revision.
    pub revision: String,
    /// The candidate's ReplicaSet.
    pub candidate: String,
    /// What its template's name would be if no other had it: tells the template again when the ReplicaSet is gone.
    #[serde(default)]
    pub fingerprint: String,
    /// The Deployment's replicas when it began.
    #[serde(default)]
    pub replicas: i32,
    /// The most of stable's pods that were ready at once since.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub stable_ready: i32,
    /// When it began.
    pub started_at: Time,
    /// The steps it runs on, as they were when it began.
    #[schemars(length(max = 32))]
    pub steps: Vec<Step>,
    /// How far it has taken over; absent while its steps are not passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// Whether it served before and returns without steps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returns: bool,
    /// Since when the canary Service points at this candidate and has settled; evidence begins here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_since: Option<MicroTime>,
    /// What `evidenceSince` was before a provider's history made it later: Jobs, which have no provider, go by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_since: Option<MicroTime>,
    /// Since when there has been nothing usable to judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dark_since: Option<MicroTime>,
    /// Since when it has been so for want of requests alone, but for short times in which more was missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_since: Option<MicroTime>,
    /// Since when more than requests has been missing, without a look at which only they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<MicroTime>,
    /// Whether a person said `Pause`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Whether `Pause` was said before the step had what it asks for: until `Resume` nothing more goes to the candidate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// What the data plane is given time for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settling: Option<Settling>,
    /// The hash of the spec's steps as they are now, while they are others than those that this flight runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_steps: Option<String>,
    /// When another writer undid our weights; at most the last twelve times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reverted: Vec<Time>,
}

/// How a promotion came to be, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// Since when.
    pub since: Time,
    /// The ReplicaSet that serves until then.
    pub from: String,
    /// Whether the stable Service has been, or is about to be, moved to the candidate; without routes, whether the
    /// ReplicaSets are about to change hands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// Whether stable's pods are, or are about to be, traded for the candidate's, out of the Deployment's control.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trading: bool,
    /// Whether requests have returned to the stable Service, which selects the candidate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub home: bool,
    /// Whether it takes over although it was on its way out, because stable could not take its requests back. It does so
    /// whatever the Deployment's template says meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forward: bool,
    /// An abort that came when there was only forward: it is carried out as a return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

impl Promotion {
    /// One of which nothing is done yet.
    pub fn begun(since: Time, from: &str) -> Self {
        Self { since, from: from.to_owned(), moved: false, trading: false, home: false, forward: false, undo: None }
    }
}

/// An abort that came too late for the way back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// Why.
    pub message: String,
    /// Who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A change that the data plane is given time for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settling {
    /// Which change.
    pub what: String,
    /// Since when it has been accepted.
    pub since: MicroTime,
}

/// The candidate that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latch {
    /// The candidate's revision.
    pub revision: String,
    /// The candidate's ReplicaSet, whose template is compared with the Deployment's.
    pub candidate: String,
    /// What its template's name would be if no other had it: tells the template again when the ReplicaSet is gone.
    #[serde(default)]
    pub fingerprint: String,
    /// Which try.
    pub attempt: u32,
    /// Why.
    pub reason: Reason,
    /// In plain words.
    pub message: String,
    /// When.
    pub at: Time,
    /// Who said so, when a person or machine did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A former stable revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// Its ReplicaSet.
    pub replica_set: String,
    /// Since when it is no longer stable.
    pub since: Time,
}

/// The answer to an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Handled {
    /// The action's uid.
    pub uid: String,
    /// Whether it was taken.
    pub outcome: ActionOutcome,
    /// Why, or what follows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// An alert that is not delivered yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PendingAlert {
    /// The delivery id, the same for every try.
    pub id: String,
    /// The AlertReceiver.
    pub receiver: String,
    /// What is told.
    pub event: AlertEvent,
    /// When it happened.
    pub at: Time,
    /// The message as it was composed then, in JSON.
    pub body: String,
    /// Why the last try did not deliver it, once one has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_none_yet(count: &i32) -> bool {
    *count == 0
}
