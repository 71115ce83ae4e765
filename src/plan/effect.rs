//! The few things the hands can be asked to do. One of them is one API write (one for each route, side by side, for weights).
//!
//! Every effect that could be wrong a moment later carries the uid and resourceVersion of what was read: a lost race is a conflict, and the next look decides anew.
use super::observed::Map;
use crate::{
    traffic::{RouteRef, Split},
    vocab::Pair,
};
use serde_json::Value;

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put our finalizer on the Rollout, or take it off.
    Finalize {
        /// Whether it shall be there.
        present: bool,
    },
    /// Put our claim on the Deployment, or take it off.
    ClaimWorkload {
        /// The Deployment.
        deployment: Target,
        /// Whether it shall be there.
        claimed: bool,
    },
    /// Put our claim on a route, or take it off.
    ClaimRoute {
        /// The route.
        route: RouteRef,
        /// The Services whose weights are ours.
        pair: Pair,
        /// Whether it shall be there.
        claimed: bool,
    },
    /// Make a Service.
    CreateService {
        /// Its name.
        name: String,
        /// Its spec.
        spec: Value,
        /// The Deployment that owns it as well.
        deployment: Target,
    },
    /// Put our claim on a Service that a Rollout which is gone had made, or that a Deployment which is gone had owned.
    ClaimService {
        /// The Service.
        service: Target,
        /// The Deployment that owns it as well, if there is one.
        deployment: Option<Target>,
    },
    /// Move a Service to other pods.
    Select {
        /// The Service.
        service: Target,
        /// What it shall select.
        selector: Map,
        /// What it selects now.
        from: Map,
    },
    /// Pause the Deployment, or go on.
    Pause {
        /// The Deployment.
        deployment: Target,
        /// Whether it shall be paused.
        paused: bool,
    },
    /// Take a ReplicaSet out of the Deployment's control into ours.
    TakeOut {
        /// The ReplicaSet.
        set: Target,
        /// The labels it shall lose.
        labels: Map,
        /// The name of the revision it holds.
        revision: String,
        /// The Deployment.
        deployment: Target,
    },
    /// Give a ReplicaSet of ours to the Deployment.
    HandIn {
        /// The ReplicaSet.
        set: Target,
        /// The labels it shall have: its template's.
        labels: Map,
        /// The annotations that the Deployment controller expects.
        annotations: Map,
        /// The Deployment.
        deployment: Target,
    },
    /// Make the candidate's ReplicaSet, without pods.
    CreateCandidate {
        /// How many pods it wants at once: those that are there already and would be its own.
        replicas: i32,
        /// Its name.
        name: String,
        /// The revision it holds, which is also its hash label.
        revision: String,
        /// The template, as the Deployment has it.
        template: Value,
        /// The selector, as the Deployment has it.
        selector: Value,
        /// `minReadySeconds`.
        min_ready_seconds: i32,
        /// The Deployment.
        deployment: Target,
    },
    /// Give a ReplicaSet of ours so many pods.
    Scale {
        /// The ReplicaSet.
        set: Target,
        /// Pods wanted.
        replicas: i32,
    },
    /// Delete a ReplicaSet of ours that has no pods.
    Delete {
        /// The ReplicaSet.
        set: Target,
    },
    /// Set the canary's weight in all routes, side by side.
    SetWeights {
        /// What reaches the canary.
        split: Split,
        /// The Services.
        pair: Pair,
        /// The routes.
        routes: Vec<RouteRef>,
    },
    /// Write the whole of a route that is ours.
    WriteRoute {
        /// The route.
        route: RouteRef,
        /// The Services.
        pair: Pair,
        /// What reaches the canary.
        split: Split,
    },
    /// Keep a copy of stable's template apart from its ReplicaSet.
    KeepTemplate {
        /// The ReplicaSet's name, and the copy's.
        name: String,
        /// The ReplicaSet's hash.
        hash: String,
        /// The template, without the hash label.
        template: Value,
        /// The Deployment.
        deployment: Target,
    },
    /// Delete the copy of a template.
    ForgetTemplate {
        /// The copy's name.
        name: String,
    },
    /// Delete an action that was answered long ago.
    Expire {
        /// The action's name.
        name: String,
        /// And its uid: another may have its name by now.
        uid: String,
    },
}

impl Effect {
    /// What it does, in a word, for logs, metrics and the write-ahead note.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Finalize { .. } => "finalize",
            Self::ClaimWorkload { .. } => "claim-workload",
            Self::ClaimRoute { .. } => "claim-route",
            Self::CreateService { .. } => "create-service",
            Self::ClaimService { .. } => "claim-service",
            Self::Select { .. } => "select",
            Self::Pause { .. } => "pause",
            Self::TakeOut { .. } => "take-out",
            Self::HandIn { .. } => "hand-in",
            Self::CreateCandidate { .. } => "create-candidate",
            Self::Scale { .. } => "scale",
            Self::Delete { .. } => "delete",
            Self::SetWeights { .. } => "set-weights",
            Self::WriteRoute { .. } => "write-route",
            Self::KeepTemplate { .. } => "keep-template",
            Self::ForgetTemplate { .. } => "forget-template",
            Self::Expire { .. } => "expire",
        }
    }

    /// The object it is about, as Kind/name.
    pub fn object(&self) -> String {
        match self {
            Self::Finalize { .. } => "Rollout".to_owned(),
            Self::ClaimWorkload { deployment, .. } | Self::Pause { deployment, .. } => {
                format!("Deployment/{}", deployment.name)
            }
            Self::ClaimRoute { route, .. } | Self::WriteRoute { route, .. } => format!("{}/{}", route.kind, route.name),
            Self::CreateService { name, .. } => format!("Service/{name}"),
            Self::ClaimService { service, .. } | Self::Select { service, .. } => format!("Service/{}", service.name),
            Self::TakeOut { set, .. } | Self::HandIn { set, .. } | Self::Scale { set, .. } | Self::Delete { set } => {
                format!("ReplicaSet/{}", set.name)
            }
            Self::CreateCandidate { name, .. } => format!("ReplicaSet/{name}"),
            Self::SetWeights { split, routes, .. } => {
                let names: Vec<_> = routes.iter().map(|route| format!("{}/{}", route.kind, route.name)).collect();
                format!("{} at {split}", names.join(", "))
            }
            Self::KeepTemplate { name, .. } | Self::ForgetTemplate { name } => format!("ControllerRevision/{name}"),
            Self::Expire { name, .. } => format!("RolloutAction/{name}"),
        }
    }
}
