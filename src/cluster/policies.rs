//! What the chart's admission policies do at this moment: whether the belt holds, and who vouches for a command's sender.
use super::{Ask, Care, Cluster, Error, key_of, kinds};
use crate::{
    api::{HeldBy, Rollout},
    plan::{Belt, Deployment},
};
use kube::ResourceExt;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The policy that lets nobody write another's name on a command.
pub(super) const AUTHOR_POLICY: &str = "bellwether-action-author";
/// How long a probe of the belt is believed.
const BELT_IS_FRESH: Duration = Duration::from_secs(30);

impl Cluster {
    /// Asks the belt whether it holds, where the answer matters now; and what else refuses the question, if something does.
    pub(super) async fn belt(
        &self,
        rollout: &Rollout,
        deployment: Option<&Deployment>,
    ) -> Result<(Belt, Option<String>), Error> {
        let Some(deployment) = deployment else { return Ok((Belt::NotYet, None)) };
        let status = rollout.status.clone().unwrap_or_default();
        let Some(workload) = status.workload.filter(|workload| workload.uid == deployment.uid) else {
            let there = self.has_policy(&self.settings.belt).await?;
            return Ok((if there { Belt::NotYet } else { Belt::Absent }, None));
        };
        if workload.stable_replica_set.is_some() && !deployment.paused {
            // At rest it is only asked whether it is there at all: without it, what it held has to be paused.
            let is_held_by_it = status.flight.is_none() && workload.held_by == Some(HeldBy::Policy);
            let is_gone = is_held_by_it && !self.has_policy(&self.settings.belt).await?;
            return Ok((if is_gone { Belt::Absent } else { Belt::NotYet }, None));
        }
        // One that is paused all the time could be let go at rest, where the policies have come since.
        let is_paused_for_good = workload.held_by == Some(HeldBy::Paused);
        if is_paused_for_good && (status.flight.is_some() || !self.has_policy(&self.settings.belt).await?) {
            return Ok((Belt::NotYet, None));
        }
        let known = self.belts.lock().ok().and_then(|belts| belts.get(&key_of(rollout)).cloned());
        if known.is_some_and(|(uid, at)| uid == deployment.uid && at.elapsed() < BELT_IS_FRESH) {
            return Ok((Belt::Armed, None));
        }
        match self.probe(rollout, deployment).await? {
            Probe::Refused => {
                if let Ok(mut belts) = self.belts.lock() {
                    belts.insert(key_of(rollout), (deployment.uid.clone(), Instant::now()));
                }
                Ok((Belt::Armed, None))
            }
            Probe::Passed if !is_paused_for_good && !self.has_policy(&self.settings.belt).await? => {
                Ok((Belt::Absent, None))
            }
            Probe::Passed => Ok((Belt::NotYet, None)),
            Probe::Other(why) => Ok((Belt::NotYet, Some(why))),
        }
    }

    /// Whether there is a policy of that name at all; who may not look acts as if there were none.
    pub(super) async fn has_policy(&self, name: &str) -> Result<bool, Error> {
        match self.ask_for(&kinds::validating_policies(), "", name).await {
            Ok(found) => Ok(found.is_some()),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
            Err(source) => Err(Error::Read { what: format!("admission policy {name}"), source: Box::new(source) }),
        }
    }

    /// Tries, without effect, to make what the belt must refuse: in all but its owner what the Deployment's own would be, so
    /// that whatever lets those pass lets this pass.
    async fn probe(&self, rollout: &Rollout, deployment: &Deployment) -> Result<Probe, Error> {
        let probe = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "generateName": format!("{}-probe-", deployment.name), "labels": deployment.template["metadata"]["labels"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name, "uid": deployment.uid, "controller": true}],
            },
            "spec": {"replicas": 0, "selector": deployment.selector, "template": deployment.template},
        });
        let namespace = rollout.namespace().unwrap_or_default();
        match self.ask(&kinds::replica_sets(), &namespace, "", Ask::Create(probe, Care::Dry)).await {
            Ok(_) => Ok(Probe::Passed),
            Err(kube::Error::Api(status)) if status.message.contains("decides when this Deployment") => {
                Ok(Probe::Refused)
            }
            Err(kube::Error::Api(status)) => Ok(Probe::Other(status.message.chars().take(300).collect())),
            Err(source) => {
                Err(Error::Read { what: "the admission policy's answer".to_owned(), source: Box::new(source) })
            }
        }
    }
}

/// What became of a probe.
enum Probe {
    /// The belt refused it.
    Refused,
    /// Nothing did.
    Passed,
    /// Something else did, in these words.
    Other(String),
}
