//! The Deployment is given back: traffic home, history in, and plain Kubernetes stays, serving.
use super::{
    Belt, Claim, Deployment, Effect, Found, ReplicaSet,
    routes::keeps_claim,
    turn::{Holds, SOON, Stop, Turn, target},
    workload::same_template,
};
use crate::api::{HeldBy, OnDelete, Phase, Reason};

impl<'a> Turn<'a> {
    /// The Rollout is being deleted.
    pub fn hand_back(&mut self) -> Holds {
        let deployment = self.seen.deployment.as_ref();
        let held = self.status.workload.clone();
        let alive = deployment.filter(|deployment| held.as_ref().is_none_or(|held| held.uid == deployment.uid));
        let Some(deployment) = alive.filter(|_| !self.seen.namespace_ending) else {
            if let Some(another) = deployment.filter(|_| !self.seen.namespace_ending) {
                self.relieved_by(another)?;
            }
            self.delete_ours()?;
            return self.finalizer(false);
        };
        if self.status.is_held() {
            self.leave(deployment)?;
        }
        for route in &self.seen.routes {
            self.let_go(route)?;
        }
        self.kept_only(None)?;
        if held.is_some() {
            let nothing_serves = self.seen.controlled().next().is_none();
            // What is on trial and has no ReplicaSet to go on from is rolled from the beginning.
            let continues = self.status.flight.is_some() && self.wants_to_continue();
            if deployment.paused && (nothing_serves || continues || self.is_made(deployment)) {
                return Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: false }));
            }
            let left = if deployment.paused {
                "it stays paused at a template that was not proven; `kubectl rollout resume` rolls it"
            } else {
                "it is an ordinary Deployment again"
            };
            let behind: String = self.seen.routes.iter().filter_map(keeps_claim).collect();
            self.note(
                Reason::HandedBack,
                format!("Deployment {} is given back: {left}{behind}", deployment.name),
                None,
            );
            self.status.workload = None; // disarms the policies, else a person's `kubectl rollout resume` would be undone
            self.status.flight = None;
            return Err(Stop::Again);
        }
        if deployment.claim == Claim::Ours {
            return Err(Stop::Do(Effect::ClaimWorkload { deployment: target(deployment), claimed: false }));
        }
        self.finalizer(false)
    }

    /// Traffic home, the candidate away or handed on, history in.
    fn leave(&mut self, deployment: &'a Deployment) -> Holds {
        if self.past_the_point() {
            return self.finish();
        }
        // The route goes on to name it when nobody makes it again any more. Where that is impossible, nothing waits for it.
        let named =
            self.seen.routes.iter().any(|route| matches!(route.found, Found::Object { claim: Claim::Ours, .. }));
        if named {
            self.stable_made(deployment)?;
        }
        // Not `stable()`: from here on history comes back under the Deployment's control.
        let known = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.clone());
        let controlled = self.seen.controlled().find(|set| Some(&set.name) == known.as_ref());
        let Some(stable) = controlled.or_else(|| self.traded()) else {
            return self.leave_without_stable(deployment);
        };
        // At no replicas nobody has anything to carry, and nothing to wait for.
        if self.rolls_forward() && deployment.replicas > 0 {
            if let Err(doing @ Stop::Do(_)) = self.services(deployment) {
                return Err(doing);
            }
            return self.goes_forward(deployment, stable);
        }
        let candidate = self.status.flight.as_ref().map(|flight| flight.candidate.clone());
        let is_known = |set: &&ReplicaSet| set.name == stable.name || Some(&set.name) == candidate.as_ref();
        let rolled = self.seen.controlled().filter(|set| !is_known(set) && !set.is_empty());
        let rolled: Vec<_> = rolled.map(|set| set.name.clone()).collect();
        if !rolled.is_empty() && candidate.is_some() {
            // Stable's pods go by what the Deployment does, and would be waited for without end.
            return Err(self.outrun(deployment, &rolled));
        }
        let wanted = self.wants_to_continue();
        let held_by_policy = self.status.workload.as_ref().is_some_and(|held| held.held_by == Some(HeldBy::Policy));
        // Going on needs the belt: without it the Deployment would make a third ReplicaSet before it gets the candidate.
        let continues = wanted && held_by_policy && self.seen.belt != Belt::Absent;
        if self.status.flight.is_some() {
            self.home(stable, Phase::Waiting, continues)?;
        }
        // What was not tried stays behind a pause when the policies hold it no longer, unless the Deployment rolls it already.
        if !wanted && !self.is_made(deployment) {
            self.held(deployment)?;
        }
        let candidate = candidate.and_then(|name| self.seen.replica_set(&name)).filter(|_| continues);
        // What else has pods ends while no Service selects them.
        for set in self.seen.ours().filter(|set| Some(&set.name) != candidate.map(|candidate| &candidate.name)) {
            self.ends(set, Phase::Waiting)?;
        }
        self.widened()?;
        if let Some(candidate) = candidate {
            if deployment.paused && self.seen.belt == Belt::Armed {
                return Err(Stop::Do(Effect::Pause { deployment: target(deployment), paused: false }));
            }
            if deployment.paused {
                let message = "the Deployment goes on from the candidate when the admission policy answers a probe";
                return Err(self.wait(Phase::Waiting, Reason::PolicyNotArmed, "", message, SOON));
            }
            if candidate.controller.as_deref() != Some(&deployment.uid) {
                return Err(self.hand_in(candidate, deployment));
            }
        }
        let Some(set) = self.seen.ours().next() else { return Ok(()) };
        let untested =
            same_template(&set.template, &deployment.template) && !same_template(&set.template, &stable.template);
        // The newest ReplicaSet is what a Deployment scales up from nothing, whatever its template.
        let would_rise = deployment.replicas == 0
            && set.created > stable.created
            && !same_template(&deployment.template, &stable.template);
        if untested || would_rise {
            return Err(Stop::Do(Effect::Delete { set: target(set) }));
        }
        Err(self.hand_in(set, deployment))
    }

    /// Whether what is on trial is rolled on although the Rollout goes.
    fn wants_to_continue(&self) -> bool {
        self.spec().on_delete == OnDelete::Continue && self.status.latch.is_none()
    }

    /// Stable's ReplicaSet was deleted by somebody: it is made again where its template was kept. Else whatever pods there
    /// are serve through widened Services until the Deployment, no longer held, has made its own.
    fn leave_without_stable(&mut self, deployment: &'a Deployment) -> Holds {
        let known = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.as_ref());
        let can_be_made = known.is_some_and(|known| {
            self.template_of(known, deployment).is_some() || self.seen.ours().any(|set| set.name == *known)
        });
        if can_be_made {
            return Err(self.restored(deployment));
        }
        self.widened()?;
        if let Some(set) = self.seen.ours().find(|set| same_template(&set.template, &deployment.template)) {
            return Err(self.hand_in(set, deployment));
        }
        Ok(())
    }
}
