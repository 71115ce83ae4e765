//! What is given up stays given up: the latch, from the moment it is set until the template changes or somebody says Retry.
use super::{
    Deployment, ReplicaSet,
    observed::AlertEvent,
    turn::{Holds, Stop, Turn, fingerprint_of},
    workload::same_template,
};
use crate::api::{Latch, Phase, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

impl<'a> Turn<'a> {
    /// Whether this template was given up.
    pub fn is_latched(&self, deployment: &Deployment) -> bool {
        let latch = self.status.latch.as_ref();
        latch.is_some_and(|latch| {
            // What somebody changed as it was made is not the Deployment's template, and was made of it nevertheless.
            self.is_this(&latch.candidate, &latch.fingerprint, deployment)
                || latch.fingerprint == fingerprint_of(&deployment.template)
        })
    }

    /// Whether the Deployment's template is that of this candidate, which may be gone or not be there yet.
    pub fn is_this(&self, candidate: &str, fingerprint: &str, deployment: &Deployment) -> bool {
        match self.seen.ours().find(|set| set.name == candidate) {
            Some(set) => same_template(&set.template, &deployment.template),
            None => fingerprint == fingerprint_of(&deployment.template),
        }
    }

    /// The candidate was given up: home, and held there.
    pub fn given_up(&mut self, stable: &'a ReplicaSet) -> Holds {
        if self.status.flight.is_some() {
            self.home(stable, Phase::Aborting, false)?;
            self.status.flight = None;
            return Err(Stop::Again);
        }
        let message = self.status.latch.as_ref().map(|latch| {
            format!(
                "{}: {}; stable serves, and the Deployment is held until its template changes or somebody says Retry{}",
                latch.reason,
                latch.message,
                self.still_weighed()
            )
        });
        self.rest(stable, Phase::Aborted, message.unwrap_or_default())
    }

    /// Latches the abort. Nothing else happens in this look: the latch is in the status before its first effect.
    pub fn give_up(&mut self, reason: Reason, message: &str, by: Option<&str>) -> Stop {
        let Some(flight) = self.status.flight.clone() else { return Stop::Again };
        self.latched((flight.revision, flight.candidate, flight.fingerprint), reason, message, by);
        self.status.phase = Phase::Aborting;
        Stop::Again
    }

    /// Gives a template up whose trial has not begun, before it has a pod; false where there is none.
    pub fn give_up_untried(&mut self, message: &str, by: Option<&str>) -> bool {
        let (Ok(deployment), Ok(stable)) = (self.deployment(), self.stable()) else { return false };
        if self.status.flight.is_some() || same_template(&deployment.template, &stable.template) {
            return false;
        }
        let (revision, candidate) = self.names(self.known(deployment), deployment);
        let fingerprint = fingerprint_of(&deployment.template);
        // It counts as a try: its alert is not that of one before it, nor of one that a Retry follows.
        self.status.attempt = self.status.attempt.saturating_add(1);
        self.latched((revision, candidate, fingerprint), Reason::Commanded, message, by);
        true
    }

    fn latched(
        &mut self,
        (revision, candidate, fingerprint): (String, String, String),
        reason: Reason,
        message: &str,
        by: Option<&str>,
    ) {
        self.status.latch = Some(Latch {
            revision,
            candidate,
            fingerprint,
            attempt: self.status.attempt,
            reason,
            message: message.chars().take(1_000).collect(),
            at: Time(self.seen.now),
            by: by.map(str::to_owned),
        });
        self.note(Reason::Aborted, format!("{reason}: {message}"), by.map(str::to_owned));
        self.alert(AlertEvent::Aborted, reason, message, by);
    }
}
