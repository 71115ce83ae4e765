//! Delivers what stands in the outbox, beside the looks: no receiver, however slow, holds up a rollout.
//!
//! The outbox itself is the Rollout's status, so an operator that dies delivers again, under the same delivery id.
use super::{Cluster, Key, key_of, kinds, measure::Wake};
use crate::{
    api::{AlertReceiver, PendingAlert, Rollout},
    duration::Duration,
    notify::{Alert, outbox},
    outbound::{Body, Method, Peer, Request},
    telemetry::AlertLabels,
};
use k8s_openapi::ByteString;
use serde::Deserialize as _;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

/// A receiver's answer is not read beyond this.
const ANSWER_CAP: usize = 64 * 1024;

/// So many tries, about a minute, has an alert of a Rollout that is gone.
const TRIES_FOR_NOBODY: u32 = 6;

/// What is being delivered, and what was.
pub struct Outbox {
    slots: Mutex<HashMap<Key, Slots>>,
    wake: Wake,
}

#[derive(Default)]
struct Slots {
    under_way: BTreeSet<String>,
    done: BTreeSet<String>,
}

impl Outbox {
    /// An outbox that wakes a Rollout when one of its alerts is done.
    pub fn new(wake: Wake) -> Self {
        Self { slots: Mutex::default(), wake }
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, key: &Key) {
        if let Ok(mut slots) = self.slots.lock() {
            slots.remove(key);
        }
    }

    fn begin(&self, key: &Key, pending: &[PendingAlert]) -> Vec<PendingAlert> {
        let Ok(mut slots) = self.slots.lock() else { return Vec::new() };
        if pending.is_empty() {
            slots.remove(key);
            return Vec::new();
        }
        let slots = slots.entry(key.clone()).or_default();
        slots.done.retain(|id| pending.iter().any(|alert| alert.id == *id));
        pending
            .iter()
            .filter(|alert| !slots.done.contains(&alert.id) && slots.under_way.insert(alert.id.clone()))
            .cloned()
            .collect()
    }

    /// Whether the Rollout that an alert is about is still there.
    fn is_wanted(&self, key: &Key, id: &str) -> bool {
        let slots = self.slots.lock().ok();
        slots.as_ref().and_then(|slots| slots.get(key)).is_some_and(|slots| slots.under_way.contains(id))
    }

    fn finish(&self, key: &Key, id: &str) {
        let Ok(mut slots) = self.slots.lock() else { return };
        let Some(slots) = slots.get_mut(key) else { return };
        slots.under_way.remove(id);
        slots.done.insert(id.to_owned());
        (self.wake)(key.clone());
    }
}

impl Cluster {
    /// The alerts of a Rollout that need no further try.
    pub(super) fn delivered(&self, key: &Key) -> BTreeSet<String> {
        self.outbox
            .slots
            .lock()
            .ok()
            .and_then(|slots| slots.get(key).map(|slots| slots.done.clone()))
            .unwrap_or_default()
    }

    /// Begins to deliver what is not yet under way.
    pub fn deliver(&self, rollout: &Rollout, pending: &[PendingAlert]) {
        let key = key_of(rollout);
        for alert in self.outbox.begin(&key, pending) {
            let (cluster, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                cluster.keep_trying(&key, &alert).await;
                cluster.outbox.finish(&key, &alert.id);
            });
        }
    }

    async fn keep_trying(&self, key: &Key, alert: &PendingAlert) {
        let count = |outcome| self.telemetry.alerts.get_or_create(&AlertLabels { outcome }).inc();
        for attempts in 1_u32.. {
            if attempts > TRIES_FOR_NOBODY && !self.outbox.is_wanted(key, &alert.id) {
                return;
            }
            match self.try_once(key, alert).await {
                Ok(()) => {
                    count("delivered");
                    tracing::info!(rollout = %key, alert = %alert.id, event = ?alert.event, attempts, "alert delivered");
                    return;
                }
                Err(why) => {
                    count("failed");
                    tracing::warn!(rollout = %key, alert = %alert.id, event = ?alert.event, attempts, why, "alert not delivered");
                }
            }
            let age = u64::try_from(self.now().duration_since(alert.at.0).as_millis()).unwrap_or(0);
            match outbox::next_try(attempts, Duration::millis(age)) {
                outbox::Next::After(wait) => tokio::time::sleep(wait.std()).await,
                outbox::Next::GiveUp => break,
            }
        }
        count("abandoned");
        tracing::error!(rollout = %key, alert = %alert.id, event = ?alert.event, "alert abandoned");
    }

    async fn try_once(&self, key: &Key, pending: &PendingAlert) -> Result<(), String> {
        let namespace = key.namespace.clone().unwrap_or_default();
        let receiver = self.ask_for(&kinds::receivers(), &namespace, &pending.receiver).await;
        let receiver = receiver.map_err(|error| error.to_string())?.map(|found| AlertReceiver::deserialize(&*found));
        let receiver = receiver.transpose().map_err(|error| error.to_string())?;
        let receiver = receiver.ok_or_else(|| format!("there is no AlertReceiver {}", pending.receiver))?;
        let target = receiver.spec.target;
        let secret = target.notifier().secret().clone();
        let signing = self.secret(&namespace, &secret.name, &secret.key).await?;
        let alert: Alert = serde_json::from_str(&pending.body).map_err(|error| error.to_string())?;
        let message = target.notifier().message(&alert, &signing, self.now()).map_err(|error| error.to_string())?;
        let request = Request {
            method: Method::Post,
            url: message.url,
            headers: message.headers,
            body: Body::Bytes(message.body, message.content_type),
            credentials: None,
            ca_bundle: message.ca_bundle,
            peer: Peer::Named,
            timeout: message.timeout,
            body_cap: ANSWER_CAP,
        };
        let answer = self.outbound.send(request).await.map_err(|failure| failure.to_string())?;
        if outbox::is_delivered(answer.status) {
            Ok(())
        } else {
            Err(format!("the receiver answered {}", answer.status))
        }
    }

    /// One key of a Secret, read when it is needed and kept nowhere.
    pub(super) async fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<Vec<u8>, String> {
        let secret = self.ask_for(&kinds::secrets(), namespace, name).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 403 => {
                format!("the operator may not read Secret {namespace}/{name}: give it a Role with get on that name")
            }
            other => format!("Secret {namespace}/{name} cannot be read: {other}"),
        })?;
        let secret = secret.ok_or_else(|| format!("there is no Secret {namespace}/{name}"))?;
        let data = ByteString::deserialize(&secret["data"][key]).ok();
        data.map(|data| data.0).ok_or_else(|| format!("Secret {name} has no key {key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::AlertEvent;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use std::sync::Arc;

    fn alert(id: &str) -> PendingAlert {
        let at = Time(jiff::Timestamp::UNIX_EPOCH);
        PendingAlert {
            id: id.to_owned(),
            receiver: "r".to_owned(),
            event: AlertEvent::Aborted,
            at,
            body: String::new(),
        }
    }

    #[test]
    fn an_alert_is_under_way_once_and_done_once() {
        let woken = Arc::new(Mutex::new(0));
        let count = woken.clone();
        let outbox = Outbox::new(Arc::new(move |_| *count.lock().unwrap() += 1));
        let key = Key::new("shop");
        assert_eq!(outbox.begin(&key, &[alert("a")]).len(), 1);
        assert_eq!(outbox.begin(&key, &[alert("a"), alert("b")]), [alert("b")]);
        outbox.finish(&key, "a");
        assert_eq!(*woken.lock().unwrap(), 1);
        assert!(outbox.begin(&key, &[alert("a"), alert("b")]).is_empty(), "neither is begun again");
        assert!(outbox.begin(&key, &[]).is_empty());
        assert!(outbox.slots.lock().unwrap().is_empty(), "nothing is kept for a Rollout without alerts");
    }
}
