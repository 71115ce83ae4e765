//! The ways back to a revision that served before: by its template in Git, or by an abort that came too late for anything else.
use super::{
    ReplicaSet,
    observed::AlertEvent,
    turn::{Turn, fingerprint_of},
};
use crate::api::{Flight, Latch, Past, Promotion, Reason, Undo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// So many former revisions are remembered.
const REMEMBERED: usize = 10;

impl Turn<'_> {
    /// Whether this ReplicaSet served so lately that it may take over again without steps.
    pub fn may_return(&self, set: &ReplicaSet) -> bool {
        let window = &self.spec().rollback_window;
        let revisions = usize::try_from(window.revisions).unwrap_or(usize::MAX);
        let mut lately = self.status.former.iter().rev().take(revisions);
        lately.any(|former| former.replica_set == set.name && self.ago(former.since.0) <= window.duration.signed())
    }

    /// Remembers that `from` served until `to` took over. One that was left for its predecessor has to show itself again.
    pub fn served(&mut self, from: &str, to: &str, returned: bool) {
        let since = Time(self.seen.now);
        let former = &mut self.status.former;
        former.retain(|known| known.replica_set != to && known.replica_set != from);
        if !returned {
            former.push(Past { replica_set: from.to_owned(), since });
        }
        let surplus = former.len().saturating_sub(REMEMBERED);
        former.drain(..surplus);
    }

    /// Whether a former revision returns by command, whatever the Deployment's template says meanwhile.
    pub fn goes_back(&self) -> bool {
        let (Some(flight), Some(latch)) = (&self.status.flight, &self.status.latch) else { return false };
        flight.returns && flight.candidate != latch.candidate
    }

    /// Whether a candidate that was on its way out takes over by command.
    pub fn rolls_forward(&self) -> bool {
        self.status.latch.is_none() && self.promotion().is_some_and(|promotion| promotion.forward)
    }

    /// Whether what is on trial takes over by command, whatever the Deployment's template says meanwhile.
    pub fn is_commanded(&self) -> bool {
        self.goes_back() || self.rolls_forward()
    }

    /// Lets a candidate take over that was on its way out, if stable cannot take its requests back; nothing if it can.
    pub fn roll_forward(&mut self) -> Option<String> {
        let (flight, deployment) = (self.status.flight.as_ref()?, self.seen.deployment.as_ref()?);
        let goes_out = self.status.latch.is_some()
            || self.rollout().metadata.deletion_timestamp.is_some()
            || !self.is_this(&flight.candidate, &flight.fingerprint, deployment);
        if !goes_out || self.is_commanded() {
            return None;
        }
        let stable = self.stable().ok().filter(|stable| self.is_needed(stable))?;
        let message = "stable cannot take its requests back, so the candidate takes over after all";
        self.takes_over(stable, message).ok()?;
        self.progress_anew();
        self.status.flight.as_mut()?.promotion.as_mut()?.forward = true;
        self.status.latch = None;
        Some(message.to_owned())
    }

    /// What has just been promoted is given up, and the one before it takes over again.
    pub fn go_back(&mut self, promoted: Flight, from: &str, undo: Undo) {
        let Some(former) = self.seen.replica_set(from) else {
            let message = format!("the abort cannot be carried out: ReplicaSet {from} is gone");
            self.note(Reason::ActionRefused, message, undo.by);
            return;
        };
        let message: String = undo.message.chars().take(1_000).collect();
        let now = Time(self.seen.now);
        self.status.flight = Some(promoted.clone());
        self.note(Reason::Aborted, format!("{}: {message}", Reason::Commanded), undo.by.clone());
        self.alert(AlertEvent::Aborted, Reason::Commanded, &message, undo.by.as_deref());
        self.status.metrics.clear();
        self.status.latch = Some(Latch {
            revision: promoted.revision.clone(),
            candidate: promoted.candidate.clone(),
            fingerprint: promoted.fingerprint.clone(),
            attempt: self.status.attempt,
            reason: Reason::Commanded,
            message,
            at: now.clone(),
            by: undo.by,
        });
        self.status.past = None;
        self.status.flight = Some(Flight {
            revision: self.revision_name(former),
            candidate: former.name.clone(),
            fingerprint: fingerprint_of(&former.template),
            started_at: now.clone(),
            promotion: Some(Promotion::begun(now, &promoted.candidate)),
            returns: true,
            evidence_since: None,
            settled_since: None,
            dark_since: None,
            quiet_since: None,
            blind_since: None,
            paused: false,
            held: false,
            settling: None,
            reverted: Vec::new(),
            ..promoted
        });
        self.note(Reason::Returning, format!("{} takes over again", former.name), None);
        self.progress_anew();
        self.never_bereft();
    }
}
