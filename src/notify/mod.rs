//! Notifiers: how an alert becomes a message to the people, or the machines, who should know.
//!
//! A notifier is told and answers in data: it holds no client and asks no clock. Delivery is at least once, under one
//! delivery id: [`outbox`] says when to try again.
pub mod hook;
pub mod outbox;
mod words;

use crate::{
    duration::Duration,
    signature::hex,
    vocab::{Verdict, Weight},
};
use jiff::Timestamp;
use ring::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AlertEvent {
    /// A candidate was given up; stable serves.
    Aborted,
    /// Something is in the way that a person must clear, or stable is too sick to take all requests back.
    Blocked,
    /// A candidate has become stable.
    Promoted,
    /// A release waits for a person: its step wants an approval, or it is stuck and `onStuck` says `Pause`.
    Waiting,
}

/// What is told. It is kept in this form between tries, so that every try says the same.
///
/// Fields are only ever added: a receiver must ignore those it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// The delivery id: the same for every try of one event to one receiver. See [`delivery_id`].
    pub delivery: String,
    /// What happened.
    pub event: AlertEvent,
    /// When it happened.
    pub at: Timestamp,
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub rollout: String,
    /// The Rollout's uid, by which Rollouts of one name in several clusters are told apart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The Deployment's name.
    pub workload: String,
    /// The revision it is about, if there is one on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The revision that serves, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// How often the revision has been tried, from 1; 0 when none is on trial.
    #[serde(default)]
    pub attempt: u32,
    /// The step that was held, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<AlertStep>,
    /// Why, in one word, as in the Rollout's events and conditions.
    pub reason: String,
    /// Why, in plain words.
    pub message: String,
    /// Who commanded it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    /// What the judge saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// A step, as an alert names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStep {
    /// Its name.
    pub name: String,
    /// Its place, from 0.
    pub index: u32,
    /// The canary's share of the requests in percent, 0 to 100.
    pub weight: Weight,
}

/// Who commanded something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// The user name.
    pub name: String,
    /// Whether the name is only what the command claims: the cluster has not stamped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
}

/// What the judge saw of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The metric's name.
    pub metric: String,
    /// What the judge says.
    pub verdict: Verdict,
    /// The canary's number, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// Stable's number, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// How many of the canary's requests, or points, were judged.
    #[serde(default)]
    pub samples: u64,
    /// Why, in plain words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// An entry of a Secret in the receiver's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::vocab::OBJECT_NAME))]
    pub name: String,
    /// The key of the entry in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The parts of a request that delivers an alert, always by POST. Any answer of status 2xx is a receipt.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where to, absolute.
    pub url: String,
    /// Headers besides the content type.
    pub headers: Vec<(String, String)>,
    /// The body's content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// PEM certificates of the authorities to trust instead of the system's.
    pub ca_bundle: Option<String>,
    /// The longest that the whole delivery may take.
    pub timeout: Duration,
}

/// Why an alert cannot be put into a message.
#[derive(Debug, thiserror::Error)]
pub enum Unsayable {
    /// The Secret's entry is empty.
    #[error("the key in the Secret is empty: anybody could sign with it")]
    SigningKey,
    /// The Secret's entry is no text.
    #[error("the entry of the Secret is empty, or is no text")]
    Entry,
    /// A body that was written by the user is no JSON.
    #[error("custom.body is no JSON at line {}, column {}; words in braces go into quotes", .0.line(), .0.column())]
    Template(#[source] serde_json::Error),
    /// A body that was written by the user asks for something that no alert has.
    #[error("custom.body: there is no {{{word}}}; there are {known}")]
    Word {
        /// What it asks for.
        word: String,
        /// What there is.
        known: &'static str,
    },
    /// The alert has no JSON form.
    #[error("the alert cannot be written as JSON")]
    Body(#[source] serde_json::Error),
}

/// A notifier, told and answering in data: no client, no clock.
pub trait Notifier {
    /// The Secret's entry whose bytes [`Notifier::message`] asks for: a key, or the URL itself.
    fn secret(&self) -> &SecretRef;

    /// The alert as a message. The same arguments make the same message, byte for byte.
    ///
    /// # Errors
    ///
    /// [`Unsayable`], when trying again makes sense only with another Secret or another receiver.
    fn message(&self, alert: &Alert, secret: &[u8], now: Timestamp) -> Result<Message, Unsayable>;
}

macro_rules! notifiers {
    ($($module:ident => $Variant:ident),+ $(,)?) => {
        $(pub mod $module;)+

        /// How alerts reach their receiver: exactly one of the members.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        #[expect(missing_docs, reason = "a member's description in the schema is that of its Spec, unless it has its own")]
        pub enum ReceiverSpec {
            $($Variant($module::Spec),)+
        }

        impl ReceiverSpec {
            /// Every notifier this build knows.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module)),+];

            /// The notifier of this receiver.
            pub fn notifier(&self) -> &dyn Notifier {
                match self {
                    $(Self::$Variant(spec) => spec,)+
                }
            }
        }
    };
}

notifiers! {
    webhook => Webhook,
    slack => Slack,
    teams => Teams,
    discord => Discord,
    pagerduty => Pagerduty,
    custom => Custom,
}

/// The id of one event for one receiver, made of what tells it from all others, in a fixed order: whoever computes it
/// again, after a crash too, gets the same.
///
/// The form is a version 8 UUID (RFC 9562, 5.8) of the SHA-256 of the parts, each after its length in bytes.
pub fn delivery_id(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_ref()[..16]);
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    let id = hex(&id);
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kube::{CustomResource, CustomResourceExt, KubeSchema};
    use serde_json::{Value, json};

    /// An alert with everything in it.
    pub(crate) fn alert() -> Alert {
        Alert {
            delivery: delivery_id(&["2f4c", "Aborted", "checkout-6f9"]),
            event: AlertEvent::Aborted,
            at: "2026-11-21T08:30:00Z".parse().unwrap(),
            namespace: "shop".into(),
            rollout: "checkout".into(),
            uid: "9c1d".into(),
            workload: "checkout".into(),
            revision: Some("checkout-6f9".into()),
            stable_revision: Some("checkout-5d8".into()),
            attempt: 1,
            step: Some(AlertStep { name: "more".into(), index: 2, weight: Weight::new(20).unwrap() }),
            reason: "MetricFailed".into(),
            message: "errors: 4.1 % against 0.3 % of stable".into(),
            by: Some(Person { name: "ada".into(), unverified: true }),
            evidence: vec![Evidence {
                metric: "errors".into(),
                verdict: Verdict::Fail,
                canary: Some("4.1 %".into()),
                stable: Some("0.3 %".into()),
                samples: 812,
                why: "one in 9000 healthy canaries would look this bad".into(),
            }],
        }
    }

    /// A resource that holds a receiver the way ours does: beside fields of its own.
    #[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
    #[kube(group = "bellwether.dev", version = "v1alpha1", kind = "Held", namespaced)]
    struct HeldSpec {
        #[serde(flatten)]
        target: ReceiverSpec,
    }

    fn schema() -> Value {
        let crd = serde_json::to_value(Held::crd()).unwrap();
        crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
    }

    #[test]
    fn a_receiver_has_exactly_one_member_by_schema() {
        let schema = schema();
        let required: Vec<Value> = ReceiverSpec::NAMES.iter().map(|name| json!({"required": [name]})).collect();
        assert_eq!(schema["oneOf"], Value::from(required), "{schema:#}");
    }

    #[test]
    fn the_schema_bounds_the_timeout_and_says_how_alerts_are_signed() {
        let schema = schema();
        for name in ReceiverSpec::NAMES {
            let timeout = &schema["properties"][name]["properties"]["timeout"];
            assert_eq!(timeout["default"], "5s", "{name}");
            assert!(timeout["x-kubernetes-validations"][0]["rule"].is_string(), "{name}: {timeout:#}");
        }
        let webhook = &schema["properties"]["webhook"];
        assert!(webhook["description"].as_str().unwrap().contains("HMAC-SHA256"), "{webhook:#}");
    }

    #[test]
    fn every_text_and_list_of_a_receiver_is_bounded_and_described() {
        fn walk(at: &str, schema: &Value) {
            match schema["type"].as_str() {
                Some("string") => assert!(schema["maxLength"].is_u64() || schema["enum"].is_array(), "{at}: {schema}"),
                Some("array") => assert!(schema["maxItems"].is_u64(), "{at}: {schema}"),
                _ => {}
            }
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                let at = format!("{at}.{name}");
                assert!(inner["description"].is_string(), "{at} has no description");
                walk(&at, inner);
            }
        }
        walk("spec", &schema());
    }

    #[test]
    fn a_receiver_reads_back_beside_other_fields() {
        let secret = json!({"secretKeyRef": {"name": "hooks", "key": "url"}});
        let hook = json!({"urlFrom": secret, "timeout": "10s"});
        let webhook = json!({
            "url": "https://hooks.example.com/a",
            "secretRef": {"name": "hooks", "key": "hmac"},
            "timeout": "10s"
        });
        let all = json!({
            "webhook": webhook, "slack": hook, "teams": hook, "discord": hook,
            "pagerduty": {"routingKeyFrom": secret, "url": "https://events.eu.pagerduty.com/v2/enqueue", "timeout": "10s"},
            "custom": {"urlFrom": secret, "timeout": "10s", "body": "{}"},
        });
        for name in ReceiverSpec::NAMES {
            let written = json!({*name: all[name]});
            let held: HeldSpec = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&held).unwrap(), written);
            assert!(!held.target.notifier().secret().key.is_empty());
        }
        for wrong in [json!({}), json!({"pager": {}}), json!({"webhook": {"url": "https://hooks.example.com/a"}})] {
            assert!(serde_json::from_value::<HeldSpec>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_alert_that_was_kept_reads_back() {
        let full = alert();
        let bare = Alert {
            revision: None,
            stable_revision: None,
            attempt: 0,
            step: None,
            by: None,
            evidence: Vec::new(),
            ..alert()
        };
        for alert in [full, bare] {
            let kept = serde_json::to_string(&alert).unwrap();
            assert_eq!(serde_json::from_str::<Alert>(&kept).unwrap(), alert, "{kept}");
        }
    }

    #[test]
    fn an_alert_is_written_in_the_words_of_the_status() {
        let json = serde_json::to_value(alert()).unwrap();
        assert_eq!(json["event"], "Aborted");
        assert_eq!(json["at"], "2026-11-21T08:30:00Z");
        assert_eq!(json["stableRevision"], "checkout-5d8");
        assert_eq!(json["step"], json!({"name": "more", "index": 2, "weight": 20}));
        assert_eq!(json["by"], json!({"name": "ada", "unverified": true}));
        assert_eq!(json["evidence"][0]["verdict"], "Fail");
    }

    #[test]
    fn one_event_has_one_delivery_id() {
        let id = delivery_id(&["uid", "Aborted", "checkout-6f9", "1"]);
        assert_eq!(id, "887bd2a7-8166-8262-8a72-3463f499c5d7");
        assert_eq!(delivery_id(&["uid", "Aborted", "checkout-6f9", "1"]), id);
    }

    #[test]
    fn other_parts_make_another_delivery_id() {
        let ids = [
            delivery_id(&["uid", "Aborted"]),
            delivery_id(&["uidA", "borted"]),
            delivery_id(&["uid", "Aborted", ""]),
            delivery_id(&["Aborted", "uid"]),
            delivery_id(&["uidAborted"]),
            delivery_id(&[]),
        ];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        for id in ids {
            assert_eq!((id.len(), &id[14..15]), (36, "8"), "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }
}
