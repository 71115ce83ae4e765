//! An alert in words, for people: one title, one story, and one line for each metric.
use super::{Alert, AlertEvent, Evidence};
use std::fmt::Write as _;

/// How much somebody should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Good,
    Warning,
    Bad,
}

pub(super) fn weight(event: AlertEvent) -> Weight {
    match event {
        AlertEvent::Promoted => Weight::Good,
        AlertEvent::Waiting => Weight::Warning,
        AlertEvent::Aborted | AlertEvent::Blocked => Weight::Bad,
    }
}

/// Which Rollout, and what happened to it.
pub(super) fn title(alert: &Alert) -> String {
    format!("{}/{}: {:?} ({})", alert.namespace, alert.rollout, alert.event, alert.reason)
}

/// Which revision, how far it came, what serves, and who commanded it.
pub(super) fn whereabouts(alert: &Alert) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    if let Some(revision) = &alert.revision {
        let _ = write!(text, "Revision {revision}, attempt {}", alert.attempt);
        if let Some(step) = &alert.step {
            let _ = write!(text, ", step {} at {}", step.name, step.weight);
        }
        text.push_str(". ");
    }
    if let Some(stable) = &alert.stable_revision {
        let _ = write!(text, "{stable} is stable. ");
    }
    if let Some(by) = by(alert) {
        let _ = write!(text, "Commanded by {by}.");
    }
    text.trim_end().to_owned()
}

/// Who commanded it.
pub(super) fn by(alert: &Alert) -> Option<String> {
    let by = alert.by.as_ref()?;
    Some(format!("{}{}", by.name, if by.unverified { " (unverified)" } else { "" }))
}

/// What the judge saw of one metric.
pub(super) fn seen(evidence: &Evidence) -> String {
    let mut text = format!("{:?}", evidence.verdict);
    match (&evidence.canary, &evidence.stable) {
        (Some(canary), Some(stable)) => {
            let _ = write!(text, ", {canary} against {stable} of stable");
        }
        (Some(canary), None) => {
            let _ = write!(text, ", {canary}");
        }
        (None, _) => {}
    }
    if !evidence.why.is_empty() {
        let _ = write!(text, ": {}", evidence.why);
    }
    text
}

/// All but the title, a line each.
pub(super) fn lines(alert: &Alert) -> Vec<String> {
    let metrics = alert.evidence.iter().map(|evidence| format!("{}: {}", evidence.metric, seen(evidence)));
    [alert.message.clone(), whereabouts(alert)].into_iter().chain(metrics).filter(|line| !line.is_empty()).collect()
}

/// A text of at most so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{Person, tests::alert};

    #[test]
    fn an_alert_is_told_in_a_title_and_lines() {
        assert_eq!(title(&alert()), "shop/checkout: Aborted (MetricFailed)");
        assert_eq!(
            lines(&alert()),
            [
                "errors: 4.1 % against 0.3 % of stable",
                "Revision checkout-6f9, attempt 1, step more at 20 %. checkout-5d8 is stable. Commanded by ada (unverified).",
                "errors: Fail, 4.1 % against 0.3 % of stable: one in 9000 healthy canaries would look this bad",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let bare = Alert { revision: None, stable_revision: None, step: None, by: None, evidence: vec![], ..alert() };
        assert_eq!(lines(&bare), ["errors: 4.1 % against 0.3 % of stable"]);
        let by = Some(Person { name: "ada".into(), unverified: false });
        assert_eq!(lines(&Alert { by, ..bare })[1], "Commanded by ada.");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(cut("größer", 5), "größ…");
    }
}
