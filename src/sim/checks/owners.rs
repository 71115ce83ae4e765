//! Who owns which ReplicaSet, and what a Deployment may come to by itself: of all that was committed, whoever wrote it.
use super::{Checks, Commit, Read, Value, deployments, seek};
use std::sync::Arc;

impl Checks {
    /// A Deployment was taken over, or let go, by what its Rollout says.
    pub(super) fn taken_over(&mut self, commit: &Commit, at: u64) {
        let workload = |rollout: &Option<Arc<Value>>| {
            rollout.as_ref().map_or(Value::Null, |rollout| rollout["status"]["workload"].clone())
        };
        if workload(&commit.before) != workload(&commit.after) {
            self.ownership(commit, at);
        }
    }

    /// A held Deployment controls one ReplicaSet at the most, and what is ours is nothing that its selector matches.
    pub(super) fn ownership(&mut self, commit: &Commit, at: u64) {
        let rollouts: Vec<Arc<Value>> = self.of_kind("rollouts").cloned().collect();
        for rollout in rollouts {
            let held = rollout.text("/status/workload/uid").to_owned();
            let adopted = !rollout.text("/status/workload/stableReplicaSet").is_empty();
            let Some(deployment) = self.object("deployments", rollout.text("/spec/workloadRef/name")).cloned() else {
                continue;
            };
            if !adopted || deployment.uid() != held {
                continue;
            }
            let sets: Vec<Arc<Value>> = self.of_kind("replicasets").filter(|set| !set.is_ending()).cloned().collect();
            if !rollout.is_ending() && !self.unguarded {
                let controlled: Vec<_> =
                    sets.iter().filter(|set| set.controller() == Some(deployment.uid())).cloned().collect();
                self.one_controlled(&rollout, &controlled, at);
                if let [one] = controlled.as_slice() {
                    self.held_back(commit, &rollout, &deployment, one, at);
                }
            }
            for set in sets.iter().filter(|set| set.controller() == Some(rollout.uid())) {
                self.ours(set, &deployment, at);
            }
        }
    }

    fn one_controlled(&mut self, rollout: &Value, controlled: &[Arc<Value>], at: u64) {
        // One that no policy could refuse counts as soon as it was taken over.
        let taken = rollout.text("/status/workload/stableReplicaSet");
        let counts = |set: &&Arc<Value>| set.name() == taken || !self.rolled.contains(set.uid());
        let names: Vec<_> = controlled.iter().filter(counts).map(|set| set.name()).collect();
        if names.len() > 1 {
            self.wrong("I2 the Deployment controls one ReplicaSet", at, format!("it controls {names:?}"));
        }
    }

    /// Nothing comes of a new template by itself: the Deployment is paused, or at least refused a ReplicaSet. Where a policy
    /// pauses it in the same write it always is, once that policy knows of the Rollout.
    fn held_back(&mut self, commit: &Commit, rollout: &Value, deployment: &Value, one: &Value, at: u64) {
        let uid = deployment.uid();
        if deployment.is("/spec/paused")
            || deployments::alike(&one["spec"]["template"], &deployment["spec"]["template"])
        {
            self.loose.remove(uid);
            return;
        }
        let there = |plural: &str, name: &str| self.object(plural, name).is_some();
        let belt = there("validatingadmissionpolicies", "bellwether-belt")
            && rollout.text("/status/workload/heldBy") == "Policy";
        let pauses = belt && there("mutatingadmissionpolicies", "bellwether-hold");
        // A race that the template won is of before the policy knew.
        let unseen = at <= self.unaware || pauses && commit.kind.plural == "rollouts";
        if unseen || belt && !pauses {
            self.loose.insert(uid.to_owned());
        }
        if !self.loose.contains(uid) {
            let what = format!("nothing keeps {} from rolling its new template", deployment.name());
            self.wrong("I1 a Deployment with a new template is held", at, what);
        }
    }

    /// One of ours: the Deployment's selector does not match it, and with pods it outlives the Rollout.
    fn ours(&mut self, set: &Value, deployment: &Value, at: u64) {
        if set.matches(seek(deployment, "/spec/selector/matchLabels")) {
            self.wrong("I4 what is ours does not match the Deployment's selector", at, set.name());
        }
        let has_pods = set.number("/spec/replicas") > 0 || set.number("/status/replicas") > 0;
        let outlives = set.list("/metadata/ownerReferences").iter().any(|owner| owner.text("/uid") == deployment.uid());
        // One that is deleted alone leaves its pods to whoever is there.
        if has_pods && !outlives && !deployment.is_ending() {
            self.wrong("I3 a ReplicaSet with pods has an owner beside the Rollout", at, set.name());
        }
    }
}
