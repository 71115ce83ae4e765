//! PagerDuty's Events API v2: an incident for each Rollout, which its next promotion resolves.
//! Source: developer.pagerduty.com, "Events API v2", "Send an Alert Event".
use super::{
    Alert, AlertEvent, Message, Notifier, SecretRef, Unsayable, delivery_id,
    hook::{InSecret, five_seconds, post, text},
    words,
};
use crate::duration::Duration;
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The longest summary that PagerDuty takes.
const LONGEST: usize = 1_024;

/// An alert is an event of PagerDuty's Events API v2. All alerts of one Rollout are one incident: Aborted, Blocked and
/// Waiting trigger it, and Promoted resolves it, for a receiver that is told of all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Where the integration's key is kept, which PagerDuty calls the routing key.
    pub routing_key_from: InSecret,
    /// Where events are posted. `https://events.eu.pagerduty.com/v2/enqueue` is that of the service region of the EU.
    #[serde(default = "everywhere")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://"))]
    pub url: String,
    /// How long one delivery may take, from 1s to 30s.
    #[serde(default = "five_seconds")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('30s')").message("timeout must be from 1s to 30s"))]
    pub timeout: Duration,
}

fn everywhere() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

impl Notifier for Spec {
    fn secret(&self) -> &SecretRef {
        &self.routing_key_from.secret_key_ref
    }

    fn message(&self, alert: &Alert, secret: &[u8], _: Timestamp) -> Result<Message, Unsayable> {
        let (action, severity) = match alert.event {
            AlertEvent::Promoted => ("resolve", "info"),
            AlertEvent::Waiting => ("trigger", "warning"),
            AlertEvent::Aborted => ("trigger", "error"),
            AlertEvent::Blocked => ("trigger", "critical"),
        };
        let body = json!({
            "routing_key": text(secret)?,
            "event_action": action,
            // At most 255 characters, and the same for all that is told of one Rollout.
            "dedup_key": delivery_id(&[&alert.uid, &alert.namespace, &alert.rollout]),
            "payload": {
                "summary": words::cut(&format!("{}: {}", words::title(alert), alert.message), LONGEST),
                "source": format!("{}/{}", alert.namespace, alert.rollout),
                "severity": severity,
                "timestamp": alert.at,
                "component": alert.workload,
                "group": alert.namespace,
                "class": alert.reason,
                "custom_details": alert,
            },
        });
        Ok(post(self.url.clone(), &body, None, self.timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::alert;
    use serde_json::Value;

    fn spec() -> Spec {
        serde_json::from_value(json!({"routingKeyFrom": {"secretKeyRef": {"name": "pager", "key": "key"}}})).unwrap()
    }

    fn body(alert: &Alert) -> Value {
        let message = spec().message(alert, b"0123456789abcdef0123456789abcdef\n", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(message.url, "https://events.pagerduty.com/v2/enqueue");
        serde_json::from_slice(&message.body).unwrap()
    }

    #[test]
    fn the_body_triggers_an_incident_with_the_whole_alert_in_it() {
        let alert = alert();
        assert_eq!(
            body(&alert),
            json!({
                "routing_key": "0123456789abcdef0123456789abcdef",
                "event_action": "trigger",
                "dedup_key": delivery_id(&["9c1d", "shop", "checkout"]),
                "payload": {
                    "summary": "shop/checkout: Aborted (MetricFailed): errors: 4.1 % against 0.3 % of stable",
                    "source": "shop/checkout",
                    "severity": "error",
                    "timestamp": "2026-11-21T08:30:00Z",
                    "component": "checkout",
                    "group": "shop",
                    "class": "MetricFailed",
                    "custom_details": alert,
                },
            })
        );
    }

    #[test]
    fn a_promotion_resolves_what_an_abort_has_triggered() {
        let aborted = body(&alert());
        let promoted = body(&Alert { event: AlertEvent::Promoted, revision: Some("next".into()), ..alert() });
        assert_eq!(promoted["event_action"], "resolve");
        assert_eq!(promoted["dedup_key"], aborted["dedup_key"]);
        let of_another_cluster = body(&Alert { uid: "other".into(), ..alert() });
        assert_ne!(of_another_cluster["dedup_key"], aborted["dedup_key"]);
    }

    #[test]
    fn a_summary_is_no_longer_than_pagerduty_takes() {
        let body = body(&Alert { message: "x".repeat(5_000), ..alert() });
        assert_eq!(body["payload"]["summary"].as_str().unwrap().chars().count(), LONGEST);
    }
}
