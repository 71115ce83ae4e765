//! Microsoft Teams: a workflow that posts to a channel when a webhook request is received. The body is an adaptive card.
//! Sources: learn.microsoft.com, "Create incoming webhooks with Workflows"; adaptivecards.io, version 1.2.
use super::{Alert, Message, Notifier, SecretRef, Unsayable, hook::Hook, words};
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Teams takes 28 KB in all; so many characters of each text, and so many metrics, leave room for the rest.
const LONGEST: usize = 1_000;
const MOST: usize = 10;

/// An alert is posted as an adaptive card to a workflow of Microsoft Teams that begins with "When a Teams webhook request is
/// received". Its URL carries the signature with which anybody may post.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Spec {
    /// Where to.
    #[serde(flatten)]
    pub hook: Hook,
}

/// A text without the markdown that cards read.
fn plain(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for letter in words::cut(text, LONGEST).chars() {
        if "\\*_[]".contains(letter) {
            whole.push('\\');
        }
        whole.push(letter);
    }
    whole
}

fn card(alert: &Alert) -> Value {
    let color = match words::weight(alert.event) {
        words::Weight::Good => "Good",
        words::Weight::Warning => "Warning",
        words::Weight::Bad => "Attention",
    };
    let title = plain(&words::title(alert));
    let mut body = vec![
        json!({"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "color": color, "wrap": true}),
        json!({"type": "TextBlock", "text": plain(&alert.message), "wrap": true}),
    ];
    let whereabouts = words::whereabouts(alert);
    if !whereabouts.is_empty() {
        body.push(json!({"type": "TextBlock", "text": plain(&whereabouts), "isSubtle": true, "wrap": true}));
    }
    let metrics = alert.evidence.iter().take(MOST);
    let facts: Vec<_> =
        metrics.map(|seen| json!({"title": plain(&seen.metric), "value": plain(&words::seen(seen))})).collect();
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": body,
    })
}

impl Notifier for Spec {
    fn secret(&self) -> &SecretRef {
        &self.hook.url_from.secret_key_ref
    }

    fn message(&self, alert: &Alert, secret: &[u8], _: Timestamp) -> Result<Message, Unsayable> {
        let card = json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card(alert)});
        self.hook.post(secret, &json!({"type": "message", "attachments": [card]}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{AlertEvent, Evidence, hook::tests::hook, tests::alert};

    fn message(alert: &Alert) -> Message {
        let url = b"https://prod-01.example.logic.azure.com/workflows/1/triggers/manual/paths/invoke?sig=x";
        Spec { hook: hook() }.message(alert, url, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn the_body_is_a_message_with_an_adaptive_card() {
        let body: Value = serde_json::from_slice(&message(&alert()).body).unwrap();
        let content = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "body": [
                {"type": "TextBlock", "text": "shop/checkout: Aborted (MetricFailed)", "weight": "Bolder", "size": "Medium",
                    "color": "Attention", "wrap": true},
                {"type": "TextBlock", "text": "errors: 4.1 % against 0.3 % of stable", "wrap": true},
                {"type": "TextBlock", "text": "Revision checkout-6f9, attempt 1, step more at 20 %. checkout-5d8 is stable. \
                    Commanded by ada (unverified).", "isSubtle": true, "wrap": true},
                {"type": "FactSet", "facts": [{"title": "errors", "value": "Fail, 4.1 % against 0.3 % of stable: one in 9000 \
                    healthy canaries would look this bad"}]},
            ],
        });
        let attachment =
            json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": content});
        assert_eq!(body, json!({"type": "message", "attachments": [attachment]}));
    }

    #[test]
    fn the_longest_alert_fits_into_what_teams_takes() {
        let long = "*".repeat(5_000);
        let evidence = Evidence { metric: "m".repeat(63), why: "x".repeat(5_000), ..alert().evidence[0].clone() };
        let body = message(&Alert { message: long, evidence: vec![evidence; 64], ..alert() }).body;
        assert!(body.len() < 28_000, "{}", body.len());
    }

    #[test]
    fn good_news_look_good() {
        let color = |event| card(&Alert { event, ..alert() })["body"][0]["color"].clone();
        assert_eq!(color(AlertEvent::Promoted), "Good");
        assert_eq!(color(AlertEvent::Waiting), "Warning");
        assert_eq!(color(AlertEvent::Blocked), "Attention");
    }
}
