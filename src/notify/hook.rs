//! What receivers have in common whose URL is the secret: where their messages go, whom they trust, how long they take.
use super::{Message, SecretRef, Unsayable};
use crate::duration::Duration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const SHORTEST: Duration = Duration::seconds(1);
const LONGEST: Duration = Duration::seconds(30);

/// Where messages go, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Where the URL is kept that messages are posted to; who knows it can post there too. It is https, or http to an
    /// in-cluster Service. Redirects are not followed.
    pub url_from: InSecret,
    /// Whom it trusts, and how long it takes.
    #[serde(flatten)]
    pub delivery: Delivery,
}

/// Whom a delivery trusts, and how long it may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// PEM certificates of the authorities that are trusted for this URL, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// How long one delivery may take, from 1s to 30s.
    #[serde(default = "five_seconds")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('30s')").message("timeout must be from 1s to 30s"))]
    pub timeout: Duration,
}

/// Where a text is kept that not everybody may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InSecret {
    /// The entry of a Secret in the receiver's namespace. A line break at its end is none of the text.
    pub secret_key_ref: SecretRef,
}

/// How long a delivery may take where nothing is said.
pub(super) fn five_seconds() -> Duration {
    Duration::seconds(5)
}

/// A timeout as it is used: objects may be older than the rule.
pub(super) fn bounded(timeout: Duration) -> Duration {
    timeout.clamp(SHORTEST, LONGEST)
}

/// The text of a Secret's entry.
pub(super) fn text(entry: &[u8]) -> Result<String, Unsayable> {
    let text = std::str::from_utf8(entry).map_err(|_| Unsayable::Entry)?.trim();
    if text.is_empty() { Err(Unsayable::Entry) } else { Ok(text.to_owned()) }
}

/// A post of JSON.
pub(super) fn post(url: String, body: &Value, ca_bundle: Option<&String>, timeout: Duration) -> Message {
    Message {
        url,
        headers: Vec::new(),
        content_type: "application/json",
        body: body.to_string().into_bytes(),
        ca_bundle: ca_bundle.cloned(),
        timeout: bounded(timeout),
    }
}

impl Hook {
    /// This as a message, with the URL that the Secret holds.
    pub(super) fn post(&self, url: &[u8], body: &Value) -> Result<Message, Unsayable> {
        Ok(post(text(url)?, body, self.delivery.ca_bundle.as_ref(), self.delivery.timeout))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// What every receiver says whose URL is the secret.
    pub(crate) fn hook() -> Hook {
        serde_json::from_value(json!({"urlFrom": {"secretKeyRef": {"name": "chat", "key": "url"}}})).unwrap()
    }

    #[test]
    fn the_url_is_what_the_secret_holds_without_the_line_break_of_its_file() {
        let message = hook().post(b"https://hooks.example.com/T0/B0/x\n", &json!({"text": "hello"})).unwrap();
        assert_eq!(message.url, "https://hooks.example.com/T0/B0/x");
        assert_eq!((message.body, message.content_type), (br#"{"text":"hello"}"#.to_vec(), "application/json"));
        assert_eq!((message.headers, message.timeout), (vec![], Duration::seconds(5)));
    }

    #[test]
    fn an_entry_that_is_no_text_is_said_and_not_shown() {
        for entry in [&b""[..], b" \n", b"\xff\xfe"] {
            let refused = hook().post(entry, &json!({})).err().unwrap();
            assert_eq!(refused.to_string(), "the entry of the Secret is empty, or is no text");
        }
    }

    #[test]
    fn a_timeout_out_of_bounds_is_brought_back() {
        for (written, used) in [(0, 1), (1, 1), (5, 5), (30, 30), (3_600, 30)] {
            assert_eq!(bounded(Duration::seconds(written)), Duration::seconds(used));
        }
    }
}
