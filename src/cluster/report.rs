//! Writes what was decided where people look: the status, and events.
use super::{Cluster, Error, Key, key_of, kinds};
use crate::{
    api::{Decision, Handled, Reason, Rollout, RolloutStatus, Sort},
    plan::PendingAction,
    telemetry::WriteLabels,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

impl Cluster {
    /// Writes the status at the version of the Rollout that was read, so that a leader of yesterday cannot.
    ///
    /// # Errors
    /// When the API server refuses it or does not answer; a conflict says that the look it came from is out of date.
    pub async fn write_status(&self, rollout: &Rollout, status: &RolloutStatus) -> Result<Rollout, Error> {
        let api: Api<Rollout> = Api::namespaced(self.client.clone(), &rollout.namespace().unwrap_or_default());
        let object = Rollout { status: Some(status.clone()), ..rollout.clone() };
        let name = rollout.name_any();
        let done = api.replace_status(&name, &PostParams::default(), &object).await;
        let outcome = match &done {
            Ok(_) => "ok",
            Err(kube::Error::Api(status)) if status.code == 409 => "conflict",
            Err(_) => "error",
        };
        self.telemetry.api_writes.get_or_create(&WriteLabels { effect: "status", outcome }).inc();
        done.map_err(|source| Error::Write {
            verb: "write the status of",
            object: format!("Rollout/{name}"),
            source: Box::new(source),
        })
    }

    /// Says on a Rollout what keeps the operator from looking at it, as long as it does. The next look that succeeds
    /// writes the rest of the status anew.
    pub async fn say_unreadable(&self, key: &Key, error: &Error) {
        let Error::Read { what, source } = error else { return };
        let kube::Error::Api(answer) = source.as_ref() else { return };
        let api = self.api(&kinds::rollouts(), key.namespace.as_deref().unwrap_or_default());
        let words = format!("the operator cannot read {what}: {}", answer.message);
        let message: String = words.chars().take(1_000).collect();
        if !(400..500).contains(&answer.code) || !self.refusals.may_say(key, &message) {
            return;
        }
        let (now, reason) = (self.now(), Reason::Unreadable);
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now});
        let status = json!({"status": {
            "phase": "Blocked", "message": message,
            "waitingFor": [{"reason": reason, "since": now, "message": message}],
            "conditions": [condition("Ready", "False"), condition("Reconciling", "False"), condition("Stalled", "True")],
        }});
        let done = api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(status)).await;
        let outcome = if done.is_ok() { "ok" } else { "error" };
        self.telemetry.api_writes.get_or_create(&WriteLabels { effect: "status", outcome }).inc();
    }

    /// Answers the actions that were decided on, beside the looks: the decision itself stands in the Rollout's status.
    pub fn answer(&self, rollout: &Rollout, open: &[PendingAction], decided: &[Handled]) {
        let key = key_of(rollout);
        for action in open {
            let Some(handled) = decided.iter().find(|handled| handled.uid == action.uid) else { continue };
            if !self.refusals.may_answer(&key, &action.uid) {
                continue;
            }
            let status = json!({"status": {"outcome": handled.outcome, "message": handled.message}});
            let (cluster, key, name) = (self.clone(), key.clone(), action.name.clone());
            tokio::spawn(async move {
                let api = cluster.api(&kinds::actions(), key.namespace.as_deref().unwrap_or_default());
                let done = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
                let outcome = if done.is_ok() { "ok" } else { "error" };
                cluster.telemetry.api_writes.get_or_create(&WriteLabels { effect: "answer", outcome }).inc();
                if let Err(error) = done {
                    tracing::warn!(rollout = %key, action = name, %error, "an action could not be answered");
                }
            });
        }
    }

    /// Publishes a decision as an event, beside the looks. That it cannot be published changes nothing.
    pub fn publish(&self, rollout: &Rollout, decision: &Decision) {
        let namespace = rollout.namespace().unwrap_or_default();
        let kind = match decision.reason.kind() {
            Sort::News | Sort::Wait => "Normal",
            Sort::Harm | Sort::Block => "Warning",
        };
        // An event's time has microseconds; its name must be new.
        let at = self.now();
        let name: String = rollout.name_any().chars().take(200).collect();
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": format!("{name}.{:x}.{}", at.as_nanosecond(), decision.reason.as_str().to_lowercase()), "namespace": namespace},
            "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "reportingController": "bellwether.dev/operator", "reportingInstance": self.settings.identity,
            "action": decision.reason, "reason": decision.reason, "type": kind,
            "regarding": {
                "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "name": rollout.name_any(), "namespace": namespace, "uid": rollout.uid(),
            },
            "note": decision.message.chars().take(1_000).collect::<String>(),
        });
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), &namespace);
        let Ok(event) = serde_json::from_value(event) else { return };
        let name = rollout.name_any();
        tokio::spawn(async move {
            if let Err(error) = events.create(&PostParams::default(), &event).await {
                tracing::debug!(rollout = name, %error, "an event could not be published");
            }
        });
    }
}
