//! Discord's webhooks. The body is a `content` of at most 2,000 characters in which nobody is mentioned.
//! Source: discord.com/developers/docs, "Execute Webhook" and "Allowed Mentions Object".
use super::{Alert, Message, Notifier, SecretRef, Unsayable, hook::Hook, words};
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The longest content that Discord takes.
const LONGEST: usize = 2_000;

/// An alert is posted to a webhook of a Discord channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Spec {
    /// Where to.
    #[serde(flatten)]
    pub hook: Hook,
}

/// A text without Discord's markdown.
fn escaped(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\*_~`|>#[]<".contains(letter) {
            whole.push('\\');
        }
        whole.push(letter);
    }
    whole
}

impl Notifier for Spec {
    fn secret(&self) -> &SecretRef {
        &self.hook.url_from.secret_key_ref
    }

    fn message(&self, alert: &Alert, secret: &[u8], _: Timestamp) -> Result<Message, Unsayable> {
        let mut text = format!("**{}**", escaped(&words::title(alert)));
        for line in words::lines(alert) {
            text.push('\n');
            text.push_str(&escaped(&line));
        }
        // A mention stays a text, whatever a message says.
        let body = json!({"content": words::cut(&text, LONGEST), "allowed_mentions": {"parse": []}});
        self.hook.post(secret, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{hook::tests::hook, tests::alert};
    use serde_json::Value;

    fn body(alert: &Alert) -> Value {
        let message = Spec { hook: hook() }.message(alert, b"https://discord.com/api/webhooks/1/x", Timestamp::UNIX_EPOCH);
        serde_json::from_slice(&message.unwrap().body).unwrap()
    }

    #[test]
    fn the_body_is_a_content_that_mentions_nobody() {
        let content = "**shop/checkout: Aborted (MetricFailed)**\n\
                       errors: 4.1 % against 0.3 % of stable\n\
                       Revision checkout-6f9, attempt 1, step more at 20 %. checkout-5d8 is stable. Commanded by ada (unverified).\n\
                       errors: Fail, 4.1 % against 0.3 % of stable: one in 9000 healthy canaries would look this bad";
        assert_eq!(body(&alert()), json!({"content": content, "allowed_mentions": {"parse": []}}));
    }

    #[test]
    fn a_message_is_no_markdown_and_no_longer_than_discord_takes() {
        let message = format!("rate_of_5xx *is* high <@1> {}", "#".repeat(5_000));
        let body = body(&Alert { message, ..alert() });
        let content = body["content"].as_str().unwrap();
        assert!(content.contains("rate\\_of\\_5xx \\*is\\* high \\<@1\\> \\#"), "{content}");
        assert_eq!(content.chars().count(), LONGEST);
    }
}
