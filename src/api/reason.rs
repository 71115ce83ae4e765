//! Why: one enum, from which events, conditions, metrics, alerts and the plugin take their words.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $Variant:ident $kind:ident,)+) => {
        /// Why something was decided, or is waited for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Reason { $($(#[doc = $doc])+ $Variant,)+ }

        impl Reason {
            /// All there are, for the reference.
            pub const ALL: &'static [Self] = &[$(Self::$Variant,)+];

            /// The word, as events and metrics carry it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Variant => stringify!($Variant),)+ }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$Variant => concat!($($doc),+),)+ }
            }

            /// What sort of thing it is.
            pub const fn kind(self) -> Sort {
                match self { $(Self::$Variant => Sort::$kind,)+ }
            }
        }
    };
}

/// What sort of thing a reason is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Something went its way.
    News,
    /// The candidate was, or is to be, given up.
    Harm,
    /// Something is missing that may come by itself.
    Wait,
    /// Something is in the way that a person must clear.
    Block,
}

reasons! {
    /// The Deployment is held; its pods were not touched.
    Adopted News,
    /// Both Services exist; routes may name them.
    ServicesReady News,
    /// A new revision goes on trial.
    FlightStarted News,
    /// The next step is entered.
    StepEntered News,
    /// All steps are passed; the candidate takes over.
    Promoting News,
    /// The candidate serves and is the stable revision now.
    Promoted News,
    /// A step was left although a comparison had proven nothing, as the spec says.
    Unproven News,
    /// A step was left although the canary had no requests, as the spec says.
    Unjudged News,
    /// A former stable revision returns, without steps.
    Returning News,
    /// Something in the Deployment or its namespace may stand in the way of a second revision's pods.
    Preflight News,
    /// Git went back to stable's template.
    Reverted News,
    /// A newer revision replaces the one on trial.
    Superseded News,
    /// A person or machine gave a command.
    ActionAccepted News,
    /// A command did not fit what it was given for.
    ActionRefused News,
    /// The candidate is tried again.
    Retried News,
    /// The spec's steps were edited while a release was on trial, which goes on with those it began with.
    StepsEdited News,
    /// The spec's traffic was edited, and is in force now.
    TrafficChanged News,
    /// The stable ReplicaSet was gone, and is made again.
    StableRestored News,
    /// The Deployment is given back.
    HandedBack News,
    /// The numbers' history began anew, and so does the evidence.
    EvidenceRestarted News,
    /// The candidate is out of traffic.
    Aborted Harm,
    /// A comparison or a limit says that the candidate is worse.
    AnalysisFailed Harm,
    /// The candidate's pods did not become ready in time.
    ProgressDeadlineExceeded Harm,
    /// The candidate's containers end again and again.
    CandidateCrashing Harm,
    /// There was no usable evidence for too long, and the spec says to abort then.
    EvidenceMissing Harm,
    /// A person or machine said so.
    Commanded Harm,
    /// The Deployment does not exist.
    WorkloadMissing Wait,
    /// The Deployment is in the middle of an update of its own.
    WorkloadNotSettled Wait,
    /// The admission policy has not been seen to answer yet.
    PolicyNotArmed Wait,
    /// A route does not exist.
    RouteMissing Wait,
    /// A route does not name both Services yet.
    RouteNotPrepared Wait,
    /// A route cannot be read at this moment.
    RouteUnreadable Wait,
    /// A gateway has not accepted the weights yet.
    RouteNotAccepted Wait,
    /// No Service tells which ports the stable and canary Services should have.
    ServiceSourceMissing Wait,
    /// Pods are not ready yet.
    PodsNotReady Wait,
    /// The candidate's image cannot be pulled.
    ImageNotPulled Wait,
    /// No node takes the candidate's pods.
    Unschedulable Wait,
    /// The namespace's quota leaves no room for the candidate's pods.
    QuotaExceeded Wait,
    /// The API server or an admission webhook refuses the candidate's pods.
    PodsRefused Wait,
    /// The candidate's containers cannot be made: a `ConfigMap`, a Secret or a volume is missing.
    ContainersNotMade Wait,
    /// A Service's endpoints are not the ready pods of the revision it selects yet.
    EndpointsNotReady Wait,
    /// The data plane is given time to take a change.
    Settling Wait,
    /// The step's time is not full yet.
    Observing Wait,
    /// The canary gets no requests.
    NoRequests Wait,
    /// The provider answers nothing that can be judged.
    NoEvidence Wait,
    /// The provider does not exist.
    ProviderMissing Wait,
    /// Nothing is proven yet.
    Inconclusive Wait,
    /// A person must say `Promote`.
    ApprovalRequired Wait,
    /// A person said `Pause`, or the candidate is stuck and waits for a person.
    PausedByRequest Wait,
    /// Too few of stable's pods are ready to take back what the candidate carries.
    StableShrunk Wait,
    /// The Deployment has no replicas, so nothing can be tried.
    NoReplicas Wait,
    /// The namespace is being deleted, and everything in it.
    NamespaceEnding Wait,
    /// Something else than a stable and a canary Service sends requests to the pods.
    UnroutedService Block,
    /// A Service of that name exists and is somebody else's.
    ServiceContested Block,
    /// Somebody else keeps writing a route's weights.
    RouteContested Block,
    /// A route cannot carry the weights as it is.
    RouteUnsteerable Block,
    /// The data plane does not do what the routes say: hardly a request reaches the canary, and stable gets them.
    WeightIgnored Block,
    /// Another Rollout holds the Deployment.
    WorkloadClaimed Block,
    /// Another Rollout holds a route.
    RouteClaimed Block,
    /// The Deployment cannot be held safely as it is.
    WorkloadUnsupported Block,
    /// The Deployment controls other ReplicaSets than the stable one.
    WorkloadContested Block,
    /// `capacity.maxPods` leaves no room for what the candidate needs.
    NoRoom Block,
    /// The stable ReplicaSet is gone.
    StableMissing Block,
    /// There has been no usable evidence for a long time.
    EvidenceOverdue Block,
    /// The spec says something that cannot be carried out.
    InvalidSpec Block,
    /// The operator cannot read what a decision needs.
    Unreadable Block,
    /// The operator itself fails at this Rollout, or takes too long over it, and leaves everything as it is.
    LookFailed Block,
    /// The API server refuses a write, and will until somebody changes something.
    WriteRefused Block,
    /// An alert could not be delivered for a day, and is not tried again.
    AlertUndelivered Block,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
