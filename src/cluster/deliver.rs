//! Delivers what stands in the outbox, beside the looks: no receiver, however slow, holds up a rollout.
//!
//! The outbox itself is the Rollout's status, so an operator that dies delivers again, under the same delivery id. A receiver
//! gets the alerts of a Rollout in the order in which things happened: what is told last is how it stands. Only one that it
//! refuses for what the alert says holds up no other.
use super::{
    Cluster, Key, key_of, kinds,
    measure::{Wake, ended},
};
use crate::{
    api::{AlertReceiver, PendingAlert, Rollout},
    duration::Duration,
    notify::{Alert, outbox},
    outbound::{Body, Method, Peer, Request},
    plan::Tried,
    telemetry::AlertLabels,
};
use k8s_openapi::ByteString;
use serde::Deserialize as _;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Mutex,
};

/// A receiver's answer is not read beyond this.
const ANSWER_CAP: usize = 64 * 1024;

/// Why a try failed that took too long, or panicked.
const UNENDED: &str = "the try took too long and was given up";

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
    tried: BTreeMap<String, Tried>,
    /// Those that were refused for what they say.
    refused: BTreeSet<String>,
}

/// Why a try failed.
#[derive(Debug)]
struct Failed {
    why: String,
    /// Whether it is about this alert, and not about its receiver.
    of_this_alert: bool,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, of_this_alert: false }
    }
}

impl Slots {
    fn is_done(&self, id: &str) -> bool {
        matches!(self.tried.get(id), Some(Tried::Delivered | Tried::Abandoned(_)))
    }
}

impl Outbox {
    /// An outbox that wakes a Rollout when there is something new to say of one of its alerts.
    pub fn new(wake: Wake) -> Self {
        Self { slots: Mutex::default(), wake }
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, key: &Key) {
        if let Ok(mut slots) = self.slots.lock() {
            slots.remove(key);
        }
    }

    /// Those of the alerts, oldest first, whose delivery begins now. Of a Rollout that goes all do, for nobody comes back to
    /// those that wait.
    fn begin(&self, key: &Key, pending: &[PendingAlert], goes: bool) -> Vec<PendingAlert> {
        let Ok(mut slots) = self.slots.lock() else { return Vec::new() };
        if pending.is_empty() {
            slots.remove(key);
            return Vec::new();
        }
        let slots = slots.entry(key.clone()).or_default();
        let is_pending = |id: &String| pending.iter().any(|alert| alert.id == *id);
        slots.tried.retain(|id, _| is_pending(id));
        slots.refused.retain(is_pending);
        let mut busy = BTreeSet::new();
        let mut begun = Vec::new();
        for alert in pending {
            if slots.is_done(&alert.id) {
                continue;
            }
            let is_next = goes || !busy.contains(&alert.receiver);
            if is_next && slots.under_way.insert(alert.id.clone()) {
                begun.push(alert.clone());
            }
            if !slots.refused.contains(&alert.id) {
                busy.insert(&alert.receiver);
            }
        }
        begun
    }

    /// Whether the Rollout that an alert is about is still there.
    fn is_wanted(&self, key: &Key, id: &str) -> bool {
        let slots = self.slots.lock().ok();
        slots.as_ref().and_then(|slots| slots.get(key)).is_some_and(|slots| slots.under_way.contains(id))
    }

    /// Keeps that the receiver refuses what an alert says.
    fn refuse(&self, key: &Key, id: &str) {
        let Ok(mut slots) = self.slots.lock() else { return };
        if let Some(slots) = slots.get_mut(key) {
            slots.refused.insert(id.to_owned());
        }
    }

    /// Keeps what came of a try. The same again is nothing new, and wakes nobody.
    fn note(&self, key: &Key, id: &str, tried: Tried) {
        let Ok(mut slots) = self.slots.lock() else { return };
        let Some(slots) = slots.get_mut(key) else { return };
        if !matches!(tried, Tried::Failed(_)) {
            slots.under_way.remove(id);
        }
        if slots.tried.get(id) != Some(&tried) {
            slots.tried.insert(id.to_owned(), tried);
            (self.wake)(key.clone());
        }
    }
}

impl Cluster {
    /// What came of the tries to deliver a Rollout's alerts.
    pub(super) fn tried(&self, key: &Key) -> BTreeMap<String, Tried> {
        let slots = self.outbox.slots.lock().ok();
        slots.and_then(|slots| slots.get(key).map(|slots| slots.tried.clone())).unwrap_or_default()
    }

    /// Begins to deliver what is not yet under way.
    pub fn deliver(&self, rollout: &Rollout, pending: &[PendingAlert]) {
        let key = key_of(rollout);
        let goes = rollout.metadata.deletion_timestamp.is_some();
        for alert in self.outbox.begin(&key, pending, goes) {
            let (cluster, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                if let Some(tried) = cluster.keep_trying(&key, &alert).await {
                    cluster.outbox.note(&key, &alert.id, tried);
                }
            });
        }
    }

    /// How it ended; nothing when the Rollout is gone.
    async fn keep_trying(&self, key: &Key, alert: &PendingAlert) -> Option<Tried> {
        let count = |outcome| self.telemetry.alerts.get_or_create(&AlertLabels { outcome }).inc();
        for attempts in 1_u32.. {
            if attempts > TRIES_FOR_NOBODY && !self.outbox.is_wanted(key, &alert.id) {
                return None;
            }
            let tried = ended(self.try_once(key, alert)).await;
            let Failed { why, of_this_alert } = match tried.unwrap_or_else(|| Err(UNENDED.to_owned().into())) {
                Ok(()) => {
                    count("delivered");
                    tracing::info!(rollout = %key, alert = %alert.id, event = ?alert.event, attempts, "alert delivered");
                    return Some(Tried::Delivered);
                }
                Err(failed) => failed,
            };
            if of_this_alert {
                self.outbox.refuse(key, &alert.id);
            }
            count("failed");
            tracing::warn!(rollout = %key, alert = %alert.id, event = ?alert.event, attempts, why, "alert not delivered");
            let age = u64::try_from(self.now().duration_since(alert.at.0).as_millis()).unwrap_or(0);
            match outbox::next_try(attempts, Duration::millis(age)) {
                outbox::Next::After(wait) => {
                    self.outbox.note(key, &alert.id, Tried::Failed(why));
                    tokio::time::sleep(wait.std()).await;
                }
                outbox::Next::GiveUp => {
                    count("abandoned");
                    tracing::error!(rollout = %key, alert = %alert.id, event = ?alert.event, "alert abandoned");
                    return Some(Tried::Abandoned(why));
                }
            }
        }
        None
    }

    async fn try_once(&self, key: &Key, pending: &PendingAlert) -> Result<(), Failed> {
        let namespace = key.namespace.clone().unwrap_or_default();
        let receiver = self.ask_for(&kinds::receivers(), &namespace, &pending.receiver).await;
        let receiver = receiver.map_err(|error| error.to_string())?.map(|found| AlertReceiver::deserialize(&*found));
        let receiver = receiver.transpose().map_err(|error| error.to_string())?;
        let receiver = receiver.ok_or_else(|| format!("there is no AlertReceiver {}", pending.receiver))?;
        let target = receiver.spec.target;
        let secret = target.notifier().secret().clone();
        let secret = self.secret(&namespace, &secret.name, &secret.key).await?;
        let alert: Alert = serde_json::from_str(&pending.body)
            .map_err(|error| Failed { why: error.to_string(), of_this_alert: true })?;
        let message = target.notifier().message(&alert, &secret, self.now()).map_err(|error| error.to_string())?;
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
            let why = format!("the receiver answered {}", answer.status);
            Err(Failed { why, of_this_alert: outbox::is_of_this_alert(answer.status) })
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
    use super::{super::tests::cluster_with, *};
    use crate::{
        notify::AlertEvent,
        outbound::{Answer, Failure, Transport},
    };
    use futures::{FutureExt, future::BoxFuture};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn alert(id: &str) -> PendingAlert {
        let at = Time(jiff::Timestamp::UNIX_EPOCH);
        PendingAlert {
            id: id.to_owned(),
            receiver: "r".to_owned(),
            event: AlertEvent::Aborted,
            at,
            body: String::new(),
            failure: None,
        }
    }

    #[test]
    fn an_alert_is_under_way_once_and_done_once() {
        let woken = Arc::new(Mutex::new(0));
        let count = woken.clone();
        let outbox = Outbox::new(Arc::new(move |_| *count.lock().unwrap() += 1));
        let key = Key::new("shop");
        assert_eq!(outbox.begin(&key, &[alert("a")], false).len(), 1);
        let elsewhere = PendingAlert { receiver: "other".to_owned(), ..alert("b") };
        let both = [alert("a"), elsewhere];
        assert_eq!(outbox.begin(&key, &both, false), both[1..]);
        let failed = || Tried::Failed("the receiver answered 503".to_owned());
        outbox.note(&key, "a", failed());
        outbox.note(&key, "a", failed());
        assert_eq!(*woken.lock().unwrap(), 1, "the same again is nothing new");
        assert!(outbox.begin(&key, &both, false).is_empty(), "it is still under way");
        outbox.note(&key, "a", Tried::Delivered);
        assert_eq!(*woken.lock().unwrap(), 2);
        assert!(outbox.begin(&key, &both, false).is_empty(), "neither is begun again");
        assert!(outbox.begin(&key, &[], false).is_empty());
        assert!(outbox.slots.lock().unwrap().is_empty(), "nothing is kept for a Rollout without alerts");
    }

    #[test]
    fn a_receiver_gets_the_alerts_of_a_rollout_in_their_order() {
        let outbox = Outbox::new(Arc::new(|_| ()));
        let key = Key::new("shop");
        let all = ["aborted", "promoted", "blocked"].map(alert);
        assert_eq!(outbox.begin(&key, &all, false), all[..1]);
        outbox.note(&key, "aborted", Tried::Failed("the receiver answered 503".to_owned()));
        assert!(outbox.begin(&key, &all, false).is_empty(), "what happened later waits for it");
        let other = Key::new("bank");
        assert_eq!(outbox.begin(&other, &all, false).len(), 1);
        assert_eq!(outbox.begin(&other, &all, true), all[1..], "of a Rollout that goes nothing waits");
        outbox.note(&key, "aborted", Tried::Delivered);
        assert_eq!(outbox.begin(&key, &all, false), all[1..2], "also before the status says so");
        // What nobody takes for what it says holds up nothing.
        outbox.refuse(&key, "promoted");
        outbox.note(&key, "promoted", Tried::Failed("the receiver answered 400".to_owned()));
        assert_eq!(outbox.begin(&key, &all[1..], false), all[2..]);
        outbox.note(&key, "blocked", Tried::Delivered);
        assert!(outbox.begin(&key, &all[1..2], false).is_empty());
        assert_eq!(outbox.slots.lock().unwrap()[&key].refused.len(), 1);
        let later = [alert("later")];
        assert_eq!(outbox.begin(&key, &later, false), later);
        assert!(outbox.slots.lock().unwrap()[&key].refused.is_empty(), "of what is gone nothing is kept");
    }

    /// Answers by turns what it is told to, and keeps what it was asked.
    #[derive(Clone, Default)]
    struct Chat(Arc<Mutex<(Vec<Request>, Vec<u16>)>>);

    impl Transport for Chat {
        fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, Failure>> {
            let mut chat = self.0.lock().unwrap();
            chat.0.push(request);
            let status = chat.1.remove(0);
            async move { Ok(Answer { status, body: Vec::new() }) }.boxed()
        }
    }

    fn told(at: jiff::Timestamp) -> PendingAlert {
        let body = serde_json::to_string(&crate::notify::tests::alert()).unwrap();
        PendingAlert { at: Time(at), body, ..alert("a") }
    }

    fn rollout() -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "checkout", "namespace": "shop"},
            "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "steps": [],
                "analysis": {"mode": "None"}}
        }))
        .unwrap()
    }

    /// An API server that has a receiver in Slack, and its Secret if it may be read.
    fn api(secret: u16) -> impl Fn(&str, &Value) -> (u16, Value) + Clone {
        move |call, _| match call {
            "GET /apis/bellwether.dev/v1alpha1/namespaces/shop/alertreceivers/r" => {
                let from = json!({"secretKeyRef": {"name": "chat", "key": "url"}});
                (200, json!({"metadata": {"name": "r"}, "spec": {"slack": {"urlFrom": from}}}))
            }
            "GET /api/v1/namespaces/shop/secrets/chat" if secret == 200 => {
                (200, json!({"metadata": {"name": "chat"}, "data": {"url": "aHR0cHM6Ly9ob29rcy5zbGFjay5jb20veAo="}}))
            }
            "GET /api/v1/namespaces/shop/secrets/chat" => (
                secret,
                json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": secret}),
            ),
            other => panic!("nobody expected {other}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_to_slack_goes_to_the_url_in_the_secret_and_says_why_it_is_not_there_yet() {
        let chat = Chat::default();
        chat.0.lock().unwrap().1 = vec![404, 404, 200];
        let (cluster, calls) = cluster_with(chat.clone(), api(200));
        let key = key_of(&rollout());
        cluster.deliver(&rollout(), &[told(cluster.now())]);
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let failed = Tried::Failed("the receiver answered 404".to_owned());
        assert_eq!(cluster.tried(&key), BTreeMap::from([("a".to_owned(), failed)]));
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert_eq!(cluster.tried(&key), BTreeMap::from([("a".to_owned(), Tried::Delivered)]));
        let chat = chat.0.lock().unwrap();
        assert_eq!(chat.0.len(), 3);
        for request in &chat.0 {
            assert_eq!((request.url.as_str(), request.method), ("https://hooks.slack.com/x", Method::Post));
            let Body::Bytes(body, "application/json") = &request.body else { panic!("no JSON") };
            let body: Value = serde_json::from_slice(body).unwrap();
            assert!(body["text"].as_str().unwrap().starts_with("*shop/checkout: Aborted"), "{body}");
        }
        assert_eq!(calls.lock().unwrap().len(), 6, "each try reads the receiver and its Secret anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_may_not_be_read_is_what_the_alert_says() {
        let (cluster, _) = cluster_with(Chat::default(), api(403));
        cluster.deliver(&rollout(), &[told(cluster.now())]);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let why = "the operator may not read Secret shop/chat: give it a Role with get on that name".to_owned();
        assert_eq!(cluster.tried(&key_of(&rollout()))["a"], Tried::Failed(why));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_day_an_alert_is_abandoned_with_its_cause() {
        let chat = Chat::default();
        chat.0.lock().unwrap().1 = vec![500];
        let (cluster, _) = cluster_with(chat, api(200));
        cluster.deliver(&rollout(), &[told(cluster.now() - jiff::SignedDuration::from_hours(25))]);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let why = "the receiver answered 500".to_owned();
        assert_eq!(cluster.tried(&key_of(&rollout()))["a"], Tried::Abandoned(why));
    }
}
