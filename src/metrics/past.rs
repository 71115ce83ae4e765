//! Stable's past while there is no canary: the same hour that a comparison of errors looks at before its evidence begins, up to
//! now. It tells how much traffic there is, and judges nobody.
use super::{
    Ask, Metric, Past, Prometheus, Reply, Subject, answer,
    evidence::{self, Look, PAST_MS},
    presets::{Kind, Preset},
    prometheus::Times,
};

/// From when it is looked at, and the times of this look: up to when every sample has arrived.
fn span(prometheus: &Prometheus, subject: &Subject) -> (i64, Times) {
    let times = Times::of(prometheus, subject);
    (times.start.max(times.settled - PAST_MS), Times { start: times.settled, ..times })
}

/// The one question, of a metric that has a past, where there is time enough to look at.
pub(super) fn ask(preset: &Preset, metric: &Metric, prometheus: &Prometheus, subject: &Subject) -> Option<Ask> {
    let (from, times) = span(prometheus, subject);
    let has_past = evidence::has_past(preset, metric) && from < times.start;
    has_past.then(|| evidence::before(preset, prometheus, subject, &times, from))
}

/// What the reply says; nothing where nobody answered.
pub(super) fn read(
    preset: &Preset,
    metric: &Metric,
    prometheus: &Prometheus,
    subject: &Subject,
    reply: &Reply,
) -> Option<Past> {
    let Kind::Errors(bad) = preset.kind else { return None };
    let (_, times) = span(prometheus, subject);
    Look { preset, metric, subject, times, apart: preset.is_apart() }.told_past(
        bad,
        answer::series(Some(reply)),
        &prometheus.labels.pod,
    )
}
