//! Writes what was decided where people look: the status, and events.
use super::{Cluster, Error, Key, kinds};
use crate::{
    api::{Decision, Reason, Rollout, RolloutStatus, Sort},
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

    /// Says on a Rollout that cannot even be read as one what is wrong with it.
    ///
    /// # Errors
    /// When the API server refuses it or does not answer.
    pub async fn write_malformed(&self, key: &Key, why: &str) -> Result<(), Error> {
        let namespace = key.namespace.clone().unwrap_or_default();
        let api = self.api(&kinds::rollouts(), &namespace);
        let message: String = why.chars().take(1_000).collect();
        let Some(known) = self.get(&kinds::rollouts(), &namespace, &key.name).await? else { return Ok(()) };
        if known.data["status"]["message"] == json!(message) {
            return Ok(());
        }
        let now = self.now();
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": Reason::InvalidSpec, "message": message, "lastTransitionTime": now});
        let status = json!({"status": {
            "phase": "Invalid", "message": message, "observedGeneration": known.metadata.generation,
            "conditions": [condition("Ready", "False"), condition("Reconciling", "False"), condition("Stalled", "True")],
        }});
        let done = api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(status)).await;
        done.map(|_| ()).map_err(|source| Error::Write {
            verb: "write the status of",
            object: format!("Rollout/{}", key.name),
            source: Box::new(source),
        })
    }

    /// Publishes a decision as an event. That it cannot be published changes nothing.
    pub async fn publish(&self, rollout: &Rollout, decision: &Decision) {
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
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::debug!(rollout = %rollout.name_any(), %error, "an event could not be published");
        }
    }
}
