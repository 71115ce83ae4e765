//! The status as other tools read it: its conditions, and alerts for those who asked.
use super::observed::AlertEvent;
use crate::{
    api::{PendingAlert, Phase, Reason, Rollout, RolloutStatus},
    notify::{self, Alert},
    vocab::Weight,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

/// What follows the name of somebody for whom the API server does not vouch.
pub const UNVERIFIED: &str = " (unverified)";

/// Rewrites all conditions; the time of one changes only with its status.
///
/// `Ready`: what Git says is what serves. `Reconciling`: something is under way that will end by itself or by its rules.
/// `Stalled`: a person must do something first. `Underpowered`, when it is known, in a release and before it: why there is
/// too little traffic for what the steps are to find.
pub fn conditions(status: &mut RolloutStatus, rollout: &Rollout, now: Timestamp, underpowered: Option<String>) {
    let (ready, reconciling, stalled) = match status.phase {
        Phase::Stable => (true, false, false),
        Phase::Initializing
        | Phase::Progressing
        | Phase::Waiting
        | Phase::Aborting
        | Phase::Promoting
        | Phase::Paused
        | Phase::AwaitingApproval => (false, true, false),
        Phase::Blocked | Phase::Aborted | Phase::Invalid => (false, false, true),
    };
    let waiting = status.waiting_for.first().map(|waiting| waiting.reason.to_string());
    let latched = status.latch.as_ref().map(|latch| latch.reason.to_string());
    let reason = waiting.or(latched).unwrap_or_else(|| format!("{:?}", status.phase));
    let old = std::mem::take(&mut status.conditions);
    let message: String = status.message.chars().take(2_000).collect();
    let phases = [("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)];
    let phases = phases.map(|(type_, holds)| (type_, holds, reason.clone(), message.clone()));
    let power = underpowered.map(|why| (super::power::UNDERPOWERED, true, "TooLittleTraffic".to_owned(), why));
    status.conditions = phases
        .into_iter()
        .chain(power)
        .map(|(type_, holds, reason, message)| {
            let value = if holds { "True" } else { "False" };
            let since = old.iter().find(|old| old.type_ == type_ && old.status == value);
            Condition {
                type_: type_.to_owned(),
                status: value.to_owned(),
                reason,
                message,
                observed_generation: rollout.metadata.generation,
                last_transition_time: since.map_or(Time(now), |old| old.last_transition_time.clone()),
            }
        })
        .collect();
}

/// Something to tell.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// What happened.
    pub event: AlertEvent,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in plain words.
    pub message: &'a str,
    /// Who commanded it, if somebody did.
    pub by: Option<&'a str>,
}

/// Puts an alert into the outbox of everybody who asked for it.
pub fn tell(rollout: &Rollout, status: &mut RolloutStatus, now: Timestamp, news: &News<'_>) {
    for rule in rollout.spec.alerts.iter().filter(|rule| rule.on.contains(&news.event)) {
        let alert = alert(rollout, status, now, news, &rule.receiver.name);
        if status.alerts.iter().all(|known| known.id != alert.id) {
            status.alerts.push(alert);
        }
    }
    let surplus = status.alerts.len().saturating_sub(32);
    status.alerts.drain(..surplus);
}

/// An alert as it goes into the outbox. Its delivery id follows from what happened and when: it is written together with the
/// fact itself, so that a crash makes no second one, and the same fact of another day is another.
fn alert(
    rollout: &Rollout,
    status: &RolloutStatus,
    now: Timestamp,
    &News { event, reason, message, by }: &News<'_>,
    receiver: &str,
) -> PendingAlert {
    let uid = rollout.uid().unwrap_or_default();
    let revision = status.in_question().map(str::to_owned);
    let (name, when) = (format!("{event:?}"), now.to_string());
    let parts = [uid.as_str(), receiver, &name, reason.as_str(), revision.as_deref().unwrap_or(""), &when];
    let id = notify::delivery_id(&parts);
    let body = Alert {
        delivery: id.clone(),
        event,
        namespace: rollout.namespace().unwrap_or_default(),
        rollout: rollout.name_any(),
        uid: rollout.uid().unwrap_or_default(),
        workload: rollout.spec.workload_ref.name.clone(),
        revision,
        stable_revision: status.stable.as_ref().map(|stable| stable.revision.clone()),
        step: status.step.as_ref().map(|step| notify::AlertStep {
            name: step.name.clone(),
            index: step.index,
            weight: status.weights.as_ref().map_or(Weight::ZERO, |weights| weights.accepted),
        }),
        reason: reason.to_string(),
        message: message.to_owned(),
        by: by.map(|by| {
            let name = by.strip_suffix(UNVERIFIED);
            notify::Person { name: name.unwrap_or(by).to_owned(), unverified: name.is_some() }
        }),
        evidence: status
            .metrics
            .iter()
            .map(|metric| notify::Evidence {
                metric: metric.name.clone(),
                verdict: metric.verdict,
                canary: metric.canary.clone(),
                stable: metric.stable.clone(),
                samples: metric.samples,
                why: metric.why.clone(),
            })
            .collect(),
        at: now,
        attempt: status.attempt,
    };
    PendingAlert {
        id,
        receiver: receiver.to_owned(),
        event,
        at: Time(now),
        body: serde_json::to_string(&body).unwrap_or_default(),
        failure: None,
    }
}
