//! JSON of the user's own, for receivers that have no notifier here.
//!
//! The body is read as JSON first and filled afterwards, text by text, so that nothing of an alert can end a text early.
use super::{Alert, Message, Notifier, SecretRef, Unsayable, hook::Hook, words};
use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an alert is posted as is written by yourself, for receivers that are not among the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Spec {
    /// Where to.
    #[serde(flatten)]
    pub hook: Hook,
    /// What is posted: JSON, in whose texts words in braces stand for parts of the alert: `{title}`, `{text}` (title,
    /// message, revision and metrics in lines), `{event}`, `{reason}`, `{message}`, `{namespace}`, `{rollout}`, `{workload}`,
    /// `{revision}`, `{stableRevision}`, `{attempt}`, `{step}`, `{weight}`, `{by}`, `{at}` and `{delivery}`. What is not known
    /// is empty.
    #[schemars(length(min = 1, max = 8192))]
    pub body: String,
}

const KNOWN: &str = "{title}, {text}, {event}, {reason}, {message}, {namespace}, {rollout}, {workload}, {revision}, \
                     {stableRevision}, {attempt}, {step}, {weight}, {by}, {at}, {delivery}";

fn value(alert: &Alert, word: &str) -> Option<String> {
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(match word {
        "title" => words::title(alert),
        "text" => [vec![words::title(alert)], words::lines(alert)].concat().join("\n"),
        "event" => format!("{:?}", alert.event),
        "reason" => alert.reason.clone(),
        "message" => alert.message.clone(),
        "namespace" => alert.namespace.clone(),
        "rollout" => alert.rollout.clone(),
        "workload" => alert.workload.clone(),
        "revision" => or_nothing(&alert.revision),
        "stableRevision" => or_nothing(&alert.stable_revision),
        "attempt" => alert.attempt.to_string(),
        "step" => alert.step.as_ref().map_or_else(String::new, |step| step.name.clone()),
        "weight" => alert.step.as_ref().map_or_else(String::new, |step| step.weight.to_string()),
        "by" => or_nothing(&words::by(alert)),
        "at" => alert.at.to_string(),
        "delivery" => alert.delivery.clone(),
        _ => return None,
    })
}

/// A text with parts of the alert in place of words in braces. Braces around anything but a word are text.
fn filled(text: &str, alert: &Alert) -> Result<String, Unsayable> {
    let (mut whole, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find('{') {
        let behind = &rest[open + 1..];
        let length = behind.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(behind.len());
        whole.push_str(&rest[..open]);
        if length > 0 && behind[length..].starts_with('}') {
            let word = &behind[..length];
            let value = value(alert, word);
            whole.push_str(&value.ok_or_else(|| Unsayable::Word { word: words::cut(word, 40), known: KNOWN })?);
            rest = &behind[length + 1..];
        } else {
            whole.push('{');
            rest = behind;
        }
    }
    whole.push_str(rest);
    Ok(whole)
}

fn fill(value: &mut Value, alert: &Alert) -> Result<(), Unsayable> {
    match value {
        Value::String(text) => *text = filled(text, alert)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, alert))?,
        Value::Object(members) => members.values_mut().try_for_each(|member| fill(member, alert))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

impl Notifier for Spec {
    fn secret(&self) -> &SecretRef {
        &self.hook.url_from.secret_key_ref
    }

    fn message(&self, alert: &Alert, secret: &[u8], _: Timestamp) -> Result<Message, Unsayable> {
        let mut body = serde_json::from_str(&self.body).map_err(Unsayable::Template)?;
        fill(&mut body, alert)?;
        self.hook.post(secret, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{hook::tests::hook, tests::alert};
    use serde_json::json;

    fn said(body: &str, alert: &Alert) -> Result<Value, String> {
        let spec = Spec { hook: hook(), body: body.to_owned() };
        let message = spec.message(alert, b"https://chat.example.com/x", Timestamp::UNIX_EPOCH);
        message.map(|message| serde_json::from_slice(&message.body).unwrap()).map_err(|refused| refused.to_string())
    }

    #[test]
    fn words_in_braces_stand_for_parts_of_the_alert() {
        let body = r#"[{"labels": {"alertname": "Rollout{event}", "of": "{namespace}/{rollout}"}, "n": 1, "ok": true,
                        "a": "{message} {step} {weight} {by} {at} {attempt}", "b": "{revision} {stableRevision} {workload}",
                        "c": ["{reason}", "{delivery}", "{title}"]}]"#;
        assert_eq!(
            said(body, &alert()),
            Ok(json!([{
                "labels": {"alertname": "RolloutAborted", "of": "shop/checkout"}, "n": 1, "ok": true,
                "a": "errors: 4.1 % against 0.3 % of stable more 20 % ada (unverified) 2026-11-21T08:30:00Z 1",
                "b": "checkout-6f9 checkout-5d8 checkout",
                "c": ["MetricFailed", "1ecf07be-dd34-8895-bc38-d2b9566b2fa3", "shop/checkout: Aborted (MetricFailed)"],
            }]))
        );
        let text = said(r#"{"text": "{text}"}"#, &alert()).unwrap();
        assert!(text["text"].as_str().unwrap().starts_with("shop/checkout: Aborted (MetricFailed)\nerrors: 4.1 %"), "{text}");
    }

    #[test]
    fn nothing_of_an_alert_ends_a_text_or_is_filled_again() {
        let message = "\"}, {\"evil\": \"{reason}\\".to_owned();
        let alert = Alert { message: message.clone(), ..alert() };
        assert_eq!(said(r#"{"text": "{message}"}"#, &alert), Ok(json!({"text": message})));
    }

    #[test]
    fn other_braces_are_text_and_unknown_words_are_named() {
        assert_eq!(said(r#"{"text": "{} {a b} { {{event}} {"}"#, &alert()), Ok(json!({"text": "{} {a b} { {Aborted} {"})));
        let refused = said(r#"{"text": "{verdict}"}"#, &alert()).unwrap_err();
        assert!(refused.starts_with("custom.body: there is no {verdict}; there are {title}, "), "{refused}");
        let refused = said(r#"{"text": {message}}"#, &alert()).unwrap_err();
        assert_eq!(refused, "custom.body is no JSON at line 1, column 11; words in braces go into quotes");
    }

    #[test]
    fn every_word_that_is_named_stands_for_something() {
        for word in KNOWN.split(", ") {
            assert_ne!(said(&format!("\"{word}\""), &alert()), Ok(json!(word)), "{word}");
            let described = serde_json::to_value(schemars::schema_for!(Spec)).unwrap();
            let described = described["properties"]["body"]["description"].as_str().unwrap().to_owned();
            assert!(described.contains(&format!("`{word}`")), "{word} is not in {described}");
        }
    }
}
