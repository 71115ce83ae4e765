//! Slack's incoming webhooks, and what takes the same: Mattermost and Rocket.Chat.
//!
//! The body is a `text` alone, in Slack's mrkdwn, for that is what all of them read. Its three control characters are
//! escaped, so that nothing in a message becomes a link or calls a whole channel.
//! Sources: docs.slack.dev, "Sending messages using incoming webhooks" and "Formatting message text".
use super::{Alert, Message, Notifier, SecretRef, Unsayable, hook::Hook, words};
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What Slack shows of a text whole: it advises 4,000 characters at most.
const LONGEST: usize = 3_500;

/// An alert is posted to an incoming webhook of Slack, or of Mattermost or Rocket.Chat, which read the same. It goes to the
/// channel that the webhook belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Spec {
    /// Where to.
    #[serde(flatten)]
    pub hook: Hook,
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Notifier for Spec {
    fn secret(&self) -> &SecretRef {
        &self.hook.url_from.secret_key_ref
    }

    fn message(&self, alert: &Alert, secret: &[u8], _: Timestamp) -> Result<Message, Unsayable> {
        let mut lines = words::lines(alert).into_iter();
        let first = lines.next().unwrap_or_default();
        let text = lines.fold(first, |text, line| format!("{text}\n{line}"));
        let text = words::cut(&text, LONGEST);
        let text = format!("*{}*\n{}", escaped(&words::title(alert)), escaped(&text));
        self.hook.post(secret, &json!({"text": text}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{hook::tests::hook, tests::alert};
    use serde_json::Value;

    fn body(alert: &Alert) -> Value {
        let message = Spec { hook: hook() }.message(alert, b"https://hooks.slack.com/x", Timestamp::UNIX_EPOCH);
        serde_json::from_slice(&message.unwrap().body).unwrap()
    }

    #[test]
    fn the_body_is_a_text_in_mrkdwn() {
        let text = "*shop/checkout: Aborted (MetricFailed)*\n\
                    errors: 4.1 % against 0.3 % of stable\n\
                    Revision checkout-6f9, attempt 1, step more at 20 %. checkout-5d8 is stable. Commanded by ada (unverified).\n\
                    errors: Fail, 4.1 % against 0.3 % of stable: one in 9000 healthy canaries would look this bad";
        assert_eq!(body(&alert()), json!({"text": text}));
    }

    #[test]
    fn nothing_in_a_message_calls_a_channel_or_becomes_a_link() {
        let message = "<!channel> 1 < 2 & <https://evil.example|here>".to_owned();
        let body = body(&Alert { message, evidence: vec![], ..alert() });
        let text = body["text"].as_str().unwrap();
        assert!(text.contains("&lt;!channel&gt; 1 &lt; 2 &amp; &lt;https://evil.example|here&gt;"), "{text}");
        assert!(!text.contains(['<', '>']), "{text}");
    }

    #[test]
    fn a_long_message_is_cut_before_it_is_escaped() {
        let body = body(&Alert { message: "<".repeat(10_000), ..alert() });
        let text = body["text"].as_str().unwrap();
        assert!(text.ends_with("&lt;…") && text.matches("&lt;").count() == LONGEST - 1, "{}", text.len());
    }
}
