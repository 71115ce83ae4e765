//! Writes what was decided where people look: the status, and events.
use super::{Ask, Care, Cluster, Error, Key, key_of, kinds};
use crate::{
    api::{Decision, Handled, Phase, Reason, Rollout, RolloutStatus, Sort, lenient},
    notify::AlertEvent,
    plan::{self, News, PendingAction},
    telemetry::{PhaseLabels, WriteLabels},
};
use jiff::Timestamp;
use kube::{ResourceExt, api::ObjectMeta};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::time::Duration;

/// So long a try to say something of a failure may take.
const SAYING: Duration = Duration::from_secs(10);

/// And so long the reading before it.
const READING: Duration = Duration::from_secs(3);

/// The API server takes no longer words of an event, in bytes.
const LONGEST_NOTE: usize = 1_024;
/// How what is said of something that cannot be read begins.
const UNREADABLE: &str = "the operator cannot read";

/// The Rollout that an event is about.
struct Subject<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: Option<String>,
}

/// A status of which only what people look at first is written anew.
fn stalled(reason: Reason, message: &str, now: Timestamp) -> Value {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now});
    json!({"status": {
        "phase": "Blocked", "message": message,
        "waitingFor": [{"reason": reason, "since": now, "message": message}],
        "conditions": [condition("Ready", "False"), condition("Reconciling", "False"), condition("Stalled", "True")],
    }})
}

fn phase_labels(namespace: &str, rollout: &str, phase: Phase) -> PhaseLabels {
    PhaseLabels { namespace: namespace.to_owned(), rollout: rollout.to_owned(), phase: format!("{phase:?}") }
}

impl Cluster {
    /// Writes the status at the version of the Rollout that was read, so that a leader of yesterday cannot. What comes back is
    /// as it is stored then, but for the spec, which is as it was seen: with the metrics of its templates among its own.
    ///
    /// # Errors
    /// When the API server refuses it or does not answer; a conflict says that the look it came from is out of date.
    pub async fn write_status(&self, rollout: Rollout, status: &RolloutStatus) -> Result<Rollout, Error> {
        let name = rollout.name_any();
        let done = self.put_status(Rollout { status: Some(status.clone()), ..rollout }).await;
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

    async fn put_status(&self, rollout: Rollout) -> Result<Rollout, kube::Error> {
        let object = serde_json::to_value(&rollout).map_err(kube::Error::SerdeError)?;
        let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
        let stored = self.ask(&kinds::rollouts(), &namespace, &name, Ask::ReplaceStatus(object)).await?;
        let metadata = ObjectMeta::deserialize(&stored["metadata"]).map_err(kube::Error::SerdeError)?;
        let status = Option::deserialize(&stored["status"]).map_err(kube::Error::SerdeError)?;
        Ok(Rollout { metadata, status, ..rollout })
    }

    /// Says on a Rollout what keeps the operator from looking at it, as long as it does. The next look that succeeds
    /// writes the rest of the status anew.
    pub async fn say_unreadable(&self, key: &Key, error: &Error) {
        let Error::Read { what, source } = error else { return };
        let why = match source.as_ref() {
            // An API server that is busy, or a version that it has no more, passes by itself.
            kube::Error::Api(answer)
                if (400..500).contains(&answer.code) && ![408, 410, 429].contains(&answer.code) =>
            {
                answer.message.clone()
            }
            // A name that is none, of which no request can be made.
            kube::Error::BuildRequest(error) => error.to_string(),
            _ => return,
        };
        let words = format!("{UNREADABLE} {what}: {why}");
        let message: String = words.chars().take(1_000).collect();
        if !self.refusals.may_say(key, &message) && self.is_said_unreadable(key).await {
            return;
        }
        let said = self.stall(key, Reason::Unreadable, &message).await;
        self.count_status(said.is_ok());
    }

    /// Says on a Rollout why nothing goes on, to whom it tells of blocks as well, and as an event.
    async fn stall(&self, key: &Key, reason: Reason, message: &str) -> Result<(), kube::Error> {
        let (kind, namespace) = (kinds::rollouts(), key.namespace.as_deref().unwrap_or_default());
        let mut status = stalled(reason, message, self.now());
        // Who is told stands in what may be the very thing that cannot be read.
        let stored = tokio::time::timeout(READING, self.ask(&kind, namespace, &key.name, Ask::Get)).await;
        let read = stored.ok().and_then(Result::ok).and_then(|stored| Some(lenient::read(&stored).ok()?.0));
        let told = read.map(|rollout| {
            let mut told = rollout.status.clone().unwrap_or_default();
            if told.waiting_for.first().is_none_or(|wait| wait.reason != reason) {
                plan::tell(
                    &rollout,
                    &mut told,
                    self.now(),
                    &News { event: AlertEvent::Blocked, reason, message, by: None },
                );
            }
            (rollout, told.alerts)
        });
        if let Some((rollout, alerts)) = &told {
            let generation = json!(rollout.metadata.generation);
            status["status"]["observedGeneration"] = generation.clone();
            for condition in status["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["observedGeneration"] = generation.clone();
            }
            // Nothing that is told meanwhile is lost.
            status["metadata"] = json!({"resourceVersion": rollout.metadata.resource_version});
            status["status"]["alerts"] = serde_json::to_value(alerts).map_err(kube::Error::SerdeError)?;
        }
        self.ask(&kind, namespace, &key.name, Ask::MergeStatus(status)).await?;
        self.number_phase(namespace, &key.name, Phase::Blocked);
        if let Some((rollout, alerts)) = &told {
            self.deliver(rollout, alerts);
        }
        let uid = told.and_then(|(rollout, _)| rollout.uid());
        self.tell(&Subject { namespace, name: &key.name, uid }, reason, message);
        Ok(())
    }

    /// Whether it still stands there: a backup that was put back knows nothing of it.
    async fn is_said_unreadable(&self, key: &Key) -> bool {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let stored = self.ask(&kinds::rollouts(), namespace, &key.name, Ask::Get).await;
        stored.map_or(true, |rollout| {
            rollout["status"]["message"].as_str().is_some_and(|said| said.starts_with(UNREADABLE))
        })
    }

    /// Says in the operator's numbers which phase a Rollout is in, and that it is in no other.
    pub fn number_phase(&self, namespace: &str, rollout: &str, phase: Phase) {
        for other in Phase::ALL {
            let gauge = self.telemetry.phase.get_or_create(&phase_labels(namespace, rollout, other)).clone();
            gauge.set(i64::from(other == phase));
        }
    }

    /// Leaves a Rollout that is gone out of them.
    pub fn forget_phase(&self, namespace: &str, rollout: &str) {
        for phase in Phase::ALL {
            self.telemetry.phase.remove(&phase_labels(namespace, rollout, phase));
        }
    }

    fn count_status(&self, is_written: bool) {
        let outcome = if is_written { "ok" } else { "error" };
        self.telemetry.api_writes.get_or_create(&WriteLabels { effect: "status", outcome }).inc();
    }

    /// Says on a Rollout, and as an event, that the operator itself fails at it. Beside the looks, for the place of one that
    /// failed is free for others; once for each failure, until a look succeeds.
    pub fn say_failed(&self, key: &Key, error: &Error) {
        let words = format!(
            "{error}; everything stays as it is, and it is tried again within some minutes, and at once when the spec changes"
        );
        let message: String = words.chars().take(1_000).collect();
        if self.refusals.has_said_failure(key, &message) {
            return;
        }
        let (cluster, key) = (self.clone(), key.clone());
        tokio::spawn(async move {
            let said = tokio::time::timeout(SAYING, cluster.stall(&key, Reason::LookFailed, &message)).await;
            cluster.count_status(matches!(said, Ok(Ok(()))));
            match said {
                Ok(Ok(())) => cluster.refusals.failure_is(&key, Some(&message)),
                Ok(Err(error)) => tracing::warn!(rollout = %key, %error, "a failure could not be said"),
                Err(_) => tracing::warn!(rollout = %key, "a failure could not be said in time"),
            }
        });
    }

    /// What was said of looks that failed by our own fault is true no longer.
    pub fn looked_well(&self, key: &Key) {
        self.refusals.failure_is(key, None);
    }

    /// Answers the actions that were decided on, beside the looks: the decision itself stands in the Rollout's status.
    pub fn answer(&self, rollout: &Rollout, open: &[PendingAction], decided: &[Handled]) {
        let key = key_of(rollout);
        for action in open {
            let Some(handled) = decided.iter().find(|handled| handled.uid == action.uid) else { continue };
            if !self.refusals.may_answer(&key, &action.uid) {
                continue;
            }
            // Another of the same name has another answer.
            let status = json!({
                "metadata": {"resourceVersion": action.resource_version},
                "status": {"outcome": handled.outcome, "message": handled.message},
            });
            let (cluster, key, name) = (self.clone(), key.clone(), action.name.clone());
            tokio::spawn(async move {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                let done = cluster.ask(&kinds::actions(), namespace, &name, Ask::MergeStatus(status)).await;
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
        let subject = Subject { namespace: &namespace, name: &rollout.name_any(), uid: rollout.uid() };
        self.tell(&subject, decision.reason, &decision.message);
    }

    fn tell(&self, about: &Subject<'_>, reason: Reason, message: &str) {
        let kind = match reason.kind() {
            Sort::News | Sort::Wait => "Normal",
            Sort::Harm | Sort::Block => "Warning",
        };
        // An event's time has microseconds; its name must be new.
        let at = self.now();
        let name: String = about.name.chars().take(200).collect();
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": format!("{name}.{:x}.{}", at.as_nanosecond(), reason.as_str().to_lowercase()), "namespace": about.namespace},
            "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "reportingController": "bellwether.dev/operator", "reportingInstance": self.settings.identity,
            "action": reason, "reason": reason, "type": kind,
            "regarding": {
                "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "name": about.name, "namespace": about.namespace, "uid": about.uid,
            },
            "note": &message[..message.floor_char_boundary(LONGEST_NOTE)],
        });
        let (cluster, name, namespace) = (self.clone(), about.name.to_owned(), about.namespace.to_owned());
        tokio::spawn(async move {
            let event = Ask::Create(event, Care::Plain);
            if let Err(error) = cluster.ask(&kinds::events(), &namespace, "", event).await {
                tracing::debug!(rollout = name, %error, "an event could not be published");
            }
        });
    }
}
