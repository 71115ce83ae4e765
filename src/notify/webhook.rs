//! A webhook: the alert as JSON, signed with a key that only the receiver and the Secret hold.
use super::{
    Alert, Message, Notifier, SecretRef, Unsayable,
    hook::{Delivery, bounded},
};
use crate::signature::{SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The delivery id.
pub const DELIVERY_HEADER: &str = "X-Bellwether-Delivery";

/// An alert is posted as JSON. Its header `X-Bellwether-Signature` is
/// `v1=hex(HMAC-SHA256(key, timestamp + "." + delivery + "." + hex(SHA-256(body))))`, with the timestamp (seconds since
/// 1970) and the delivery id of the headers `X-Bellwether-Timestamp` and `X-Bellwether-Delivery`. The receiver computes
/// the same, compares in constant time, refuses what is older than 300 s, and ignores a delivery id that it has seen:
/// an alert is sent again, up to 24 hours long, until the answer's status is 2xx.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Where alerts are posted: https, or http to an in-cluster Service like `http://alerts.monitoring.svc/bellwether`.
    /// Redirects are not followed.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://"))]
    pub url: String,
    /// The Secret's entry with the key that alerts are signed with: its bytes as they are, a line break at the end
    /// included. 32 random bytes or more are advised.
    pub secret_ref: SecretRef,
    /// Whom it trusts, and how long it takes.
    #[serde(flatten)]
    pub delivery: Delivery,
}

impl Notifier for Spec {
    fn secret(&self) -> &SecretRef {
        &self.secret_ref
    }

    fn message(&self, alert: &Alert, key: &[u8], now: Timestamp) -> Result<Message, Unsayable> {
        if key.is_empty() {
            return Err(Unsayable::SigningKey);
        }
        let body = serde_json::to_vec(alert).map_err(Unsayable::Body)?;
        let timestamp = now.as_second().to_string();
        let signature = sign(key, &[&timestamp, &alert.delivery], &body);
        Ok(Message {
            url: self.url.clone(),
            headers: vec![
                (TIMESTAMP_HEADER.to_owned(), timestamp),
                (DELIVERY_HEADER.to_owned(), alert.delivery.clone()),
                (SIGNATURE_HEADER.to_owned(), signature),
            ],
            content_type: "application/json",
            body,
            ca_bundle: self.delivery.ca_bundle.clone(),
            timeout: bounded(self.delivery.timeout),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use super::super::hook::five_seconds;
    use crate::{duration::Duration, notify::tests::alert};

    const KEY: &[u8] = b"a key of the receiver";

    fn spec(timeout: Duration) -> Spec {
        Spec {
            url: "https://hooks.example.com/a".into(),
            secret_ref: SecretRef { name: "hooks".into(), key: "hmac".into() },
            delivery: Delivery { ca_bundle: None, timeout },
        }
    }

    fn message(alert: &Alert, key: &[u8], now: &str) -> Message {
        spec(five_seconds()).message(alert, key, now.parse().unwrap()).unwrap()
    }

    /// The body and the signature were computed by another program, in Python.
    #[test]
    fn a_message_is_signed_as_documented() {
        let message = message(&alert(), KEY, "2026-11-21T08:30:05.900Z");
        let body = concat!(
            r#"{"delivery":"1ecf07be-dd34-8895-bc38-d2b9566b2fa3","event":"Aborted","#,
            r#""at":"2026-11-21T08:30:00Z","namespace":"shop","rollout":"checkout","#,
            r#""uid":"9c1d","workload":"checkout","revision":"checkout-6f9","stableRevision":"checkout-5d8","#,
            r#""attempt":1,"step":{"name":"more","index":2,"weight":20},"reason":"MetricFailed","#,
            r#""message":"errors: 4.1 % against 0.3 % of stable","by":{"name":"ada","unverified":true},"#,
            r#""evidence":[{"metric":"errors","verdict":"Fail","canary":"4.1 %","stable":"0.3 %","#,
            r#""samples":812,"why":"one in 9000 healthy canaries would look this bad"}]}"#,
        );
        assert_eq!(String::from_utf8(message.body).unwrap(), body);
        let headers: Vec<(&str, &str)> = message.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            headers,
            [
                ("X-Bellwether-Timestamp", "1795249805"),
                ("X-Bellwether-Delivery", "1ecf07be-dd34-8895-bc38-d2b9566b2fa3"),
                ("X-Bellwether-Signature", "v1=e43f68c44e72e6b07b40169fb58fcf35b185331a12368ee3a38e67af245bd714"),
            ]
        );
    }

    #[test]
    fn another_try_has_the_same_delivery_and_body_under_a_new_signature() {
        let first = message(&alert(), KEY, "2026-11-21T08:30:05Z");
        let again = message(&alert(), KEY, "2026-11-21T08:31:05Z");
        assert_eq!((&first.body, &first.headers[1]), (&again.body, &again.headers[1]));
        assert_ne!(first.headers[2], again.headers[2]);
    }

    #[test]
    fn key_time_delivery_and_body_are_all_signed() {
        let of = |key, timestamp, delivery, body: &str| sign(key, &[timestamp, delivery], body.as_bytes());
        let signed = of(KEY, "1", "a", "{}");
        assert_eq!(of(KEY, "1", "a", "{}"), signed);
        for other in [of(b"other", "1", "a", "{}"), of(KEY, "2", "a", "{}"), of(KEY, "1", "b", "{}"), of(KEY, "1", "a", "")] {
            assert_ne!(other, signed);
        }
    }

    #[test]
    fn an_empty_key_signs_nothing() {
        let refused = spec(five_seconds()).message(&alert(), b"", Timestamp::UNIX_EPOCH).err();
        assert!(matches!(refused, Some(Unsayable::SigningKey)));
    }

    #[test]
    fn a_timeout_that_is_not_written_is_five_seconds() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "url": "https://hooks.example.com/a",
            "secretRef": {"name": "hooks", "key": "hmac"}
        }))
        .unwrap();
        assert_eq!(spec, self::spec(Duration::seconds(5)));
    }
}
