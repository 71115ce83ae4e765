//! What people and machines command, and whether it still fits what they saw.
use super::{
    PendingAction,
    steps::steps_hash,
    turn::{Holds, Stop, Turn},
};
use crate::api::{Action, ActionOutcome, Handled, Phase, Reason, RolloutSpec, RolloutStatus, Step, StepStatus, Undo};

/// What the status says while the spec's steps are not those of the release on trial.
pub const STEPS_EDITED: &str =
    "the spec's steps were edited; this release goes on with those it began with; AdoptSteps takes the new ones";

/// So many answers stand in the status.
const ANSWERS: usize = 20;
/// So many stand there when they cannot be written to their actions.
const MOST_ANSWERS: usize = 60;

impl<'a> Turn<'a> {
    /// The oldest action is taken or refused. What was decided is in the status before the action itself is answered, and
    /// the answer is written beside the looks: one that cannot be written holds up nothing.
    pub fn commands(&mut self) -> Holds {
        self.answered(|turn, action| turn.expected(action).and_then(|()| turn.obey(action)))
    }

    /// Actions for a Rollout that cannot take any are refused, so that nobody waits for an answer.
    pub fn refuse_commands(&mut self, why: &str) -> Holds {
        self.answered(|_, _| Err(why.to_owned()))
    }

    /// What is being deleted goes home and takes no more commands, but the one that helps where stable cannot take its
    /// requests back.
    pub fn last_commands(&mut self) -> Holds {
        self.answered(|turn, action| {
            turn.expected(action)?;
            let helps = action.action == Action::PromoteFull && !turn.past_the_point();
            let forward = if helps { turn.roll_forward() } else { None };
            forward.ok_or_else(|| "the Rollout is being deleted, and its Deployment is being given back".to_owned())
        })
    }

    /// The oldest action has this answer, if there is one that waits for it.
    fn answered(&mut self, answer: impl FnOnce(&mut Self, &'a PendingAction) -> Result<String, String>) -> Holds {
        let Some(action) = self.unanswered() else { return Ok(()) };
        let result = answer(self, action);
        Err(self.decided(action, result))
    }

    fn unanswered(&self) -> Option<&'a PendingAction> {
        let known = |action: &PendingAction| self.status.handled.iter().any(|handled| handled.uid == action.uid);
        // What could not be remembered would be taken again; only an abort may be.
        let full = self.status.handled.len() >= MOST_ANSWERS;
        self.seen.actions.iter().find(|action| !known(action) && (!full || action.action == Action::Abort))
    }

    fn decided(&mut self, action: &PendingAction, result: Result<String, String>) -> Stop {
        let (outcome, message) = match result {
            Ok(message) => (ActionOutcome::Accepted, message),
            Err(message) => (ActionOutcome::Refused, message),
        };
        let reason = match outcome {
            ActionOutcome::Accepted => Reason::ActionAccepted,
            ActionOutcome::Refused => Reason::ActionRefused,
        };
        let why = action.reason.as_deref().map_or_else(String::new, |why| format!(" ({why})"));
        self.note(reason, format!("{:?}: {message}{why}", action.action), action.by.clone());
        self.status.handled.push(Handled { uid: action.uid.clone(), outcome, message });
        // An action whose answer is not written yet is taken again by whoever forgets that it was taken.
        let open = |handled: &Handled| self.seen.actions.iter().any(|action| action.uid == handled.uid);
        while self.status.handled.len() > ANSWERS
            && let Some(oldest) = self.status.handled.iter().position(|handled| !open(handled))
        {
            self.status.handled.remove(oldest);
        }
        let surplus = self.status.handled.len().saturating_sub(MOST_ANSWERS);
        self.status.handled.drain(..surplus);
        Stop::Again
    }

    fn expected(&self, action: &PendingAction) -> Result<(), String> {
        let Some(expect) = &action.expect else { return Ok(()) };
        let revision = self.status.in_question();
        if let Some(wanted) = expect.revision.as_deref()
            && revision != Some(wanted)
        {
            return Err(format!("expected revision {wanted}, and on trial is {}", revision.unwrap_or("none")));
        }
        let step = self.status.step.as_ref().map(|step| step.name.as_str());
        if let Some(wanted) = expect.step.as_deref()
            && step != Some(wanted)
        {
            return Err(format!("expected step {wanted}, and held is {}", step.unwrap_or("none")));
        }
        Ok(())
    }

    fn obey(&mut self, action: &PendingAction) -> Result<String, String> {
        let nothing = || "no revision is on trial; `kubectl bellwether undo` brings the former one back".to_owned();
        if action.action == Action::Retry {
            let latch = self.status.latch.take().ok_or("nothing was given up, so there is nothing to retry")?;
            if self.status.flight.is_some() {
                self.status.latch = Some(latch);
                return Err("the candidate is still on its way out; retry when the phase is Aborted".to_owned());
            }
            self.note(Reason::Retried, format!("{} is tried again", latch.revision), action.by.clone());
            return Ok("it is tried again, from the first step".to_owned());
        }
        if action.action == Action::PromoteFull
            && !self.past_the_point()
            && let Some(message) = self.roll_forward()
        {
            return Ok(message);
        }
        let why = || action.reason.clone().unwrap_or_else(|| "somebody said Abort".to_owned());
        // As it was when the command was read: this look's own waits are not there yet.
        let is_stuck = self.seen.rollout.status.as_ref().is_some_and(RolloutStatus::is_stuck);
        let open = self.status.flight.is_some() && !self.past_the_point();
        let waits = is_stuck && open;
        if action.action == Action::Resume && waits && (self.status.latch.is_none() || self.goes_back()) {
            self.set_paused(false);
            self.progress_anew();
            return Ok("its pods have progress.deadline once more".to_owned());
        }
        // An abort that is said twice ends no return but one that is stuck, or that something keeps from going on.
        let blocked = self.seen.rollout.status.as_ref().is_some_and(|status| status.phase == Phase::Blocked);
        if action.action == Action::Abort && open && (is_stuck || blocked) && self.goes_back() {
            self.give_up(Reason::Commanded, &why(), action.by.as_deref());
            return Ok("the former revision does not take over again; the one that was promoted serves".to_owned());
        }
        if self.status.latch.is_some() {
            return match action.action {
                Action::Abort => Ok("it was given up already".to_owned()),
                _ => Err("the candidate was given up; Retry tries it again".to_owned()),
            };
        }
        if self.past_the_point() {
            return self.undone(action);
        }
        if action.action == Action::Abort && self.give_up_untried(&why(), action.by.as_deref()) {
            return Ok("its trial does not begin; stable serves".to_owned());
        }
        let promoting = self.status.flight.as_ref().ok_or_else(nothing)?.promotion.is_some();
        match action.action {
            Action::Abort => {
                self.give_up(Reason::Commanded, &why(), action.by.as_deref());
                Ok("requests go back to stable".to_owned())
            }
            _ if promoting => Err("the candidate is already taking over; Abort is the only way back".to_owned()),
            Action::Pause => {
                self.set_paused(true);
                Ok(format!("it stays at {} until Resume", self.accepted_split()))
            }
            Action::Resume => {
                if self.status.flight.as_ref().is_some_and(|flight| !flight.paused) {
                    return Err("it is not paused".to_owned());
                }
                self.set_paused(false);
                Ok("it goes on".to_owned())
            }
            Action::Promote => {
                let step = self.status.step.as_mut().ok_or_else(nothing)?;
                step.approved = true;
                let message = format!("step {} is left as soon as its state is there", step.name);
                self.set_paused(false);
                Ok(message)
            }
            Action::PromoteFull => {
                let stable =
                    self.stable().map_err(|_| "the stable ReplicaSet is not known at this moment".to_owned())?;
                self.start_promotion(stable).map_err(|_| nothing())?;
                self.progress_anew();
                Ok("all steps are left; the candidate takes over as soon as its pods carry everything".to_owned())
            }
            Action::SetStep => self.set_step(action.to.as_deref()),
            Action::AdoptSteps => self.adopt_steps(),
            Action::Retry => Err("nothing was given up".to_owned()),
        }
    }

    /// What is half handed over is handed over, and then the former revision returns.
    fn undone(&mut self, action: &PendingAction) -> Result<String, String> {
        let promotion = self.status.flight.as_mut().and_then(|flight| flight.promotion.as_mut());
        match (action.action, promotion) {
            (Action::Abort, Some(promotion)) if self.seen.replica_set(&promotion.from).is_none() => Err(format!(
                "ReplicaSet {} is gone, so it cannot take over again; bring its template back in the Deployment",
                promotion.from
            )),
            (Action::Abort, Some(promotion)) => {
                let message = action.reason.clone().unwrap_or_else(|| "somebody said Abort".to_owned());
                promotion.undo = Some(Undo { message, by: action.by.clone() });
                Ok("the ReplicaSets are changing hands; as soon as they have, the former revision returns".to_owned())
            }
            _ => Err("the candidate is taking over and past the point of return; Abort brings the former one back"
                .to_owned()),
        }
    }

    /// Enters the step of this name. What was learned of the candidate stays; whether it is paused, too.
    fn set_step(&mut self, to: Option<&str>) -> Result<String, String> {
        let flight = self.status.flight.as_ref().ok_or("no revision is on trial")?;
        let names = flight.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ");
        let to = to.ok_or_else(|| format!("spec.to is missing: name one of the steps {names}"))?;
        let Some(index) = flight.steps.iter().position(|step| step.name == to) else {
            return Err(format!("this release has no step {to}; its steps are {names}"));
        };
        let then = if flight.paused { "and it stays paused there" } else { "and its time starts anew" };
        self.enter(index).map_err(|_| "no revision is on trial".to_owned())?;
        Ok(format!("step {to} is entered, {then}"))
    }

    /// Goes on with the steps that the spec has now: in the step of the same name, else in the first that has no less weight
    /// than the candidate has already, else in the last.
    fn adopt_steps(&mut self) -> Result<String, String> {
        let nothing = "no revision is on trial";
        if let Some(why) = &self.seen.malformed {
            return Err(format!("the spec cannot be read: {why}"));
        }
        // The steps have to fit the traffic in force: an edit of that waits until nothing is on trial.
        let spec = RolloutSpec { traffic: self.status.traffic.clone(), ..self.spec().clone() };
        super::check(&spec).map_err(|complaint| format!("the spec cannot be carried out: {complaint}"))?;
        if let Some((_, why)) = self.unable() {
            return Err(why.to_owned());
        }
        let fits = self.seen.deployment.as_ref().map_or(Ok(()), |deployment| self.fits(deployment));
        if let Err(Stop::Wait(_, why)) = fits {
            return Err(why.message);
        }
        let held = self.status.step.clone().ok_or(nothing)?;
        let accepted = self.accepted();
        let flight = self.status.flight.as_mut().ok_or(nothing)?;
        if flight.steps == spec.steps {
            return Err("this release runs on the spec's steps already".to_owned());
        }
        let former = std::mem::replace(&mut flight.steps, spec.steps);
        flight.edited_steps = None;
        let steps = &flight.steps;
        let Some(index) = steps.iter().position(|step| step.name == held.name) else {
            let enough = steps.iter().position(|step| step.weight >= accepted);
            let index = enough.unwrap_or(steps.len().saturating_sub(1));
            let name = steps.get(index).map(|step| step.name.clone()).unwrap_or_default();
            self.enter(index).map_err(|_| nothing.to_owned())?;
            return Ok(format!("there is no step {} any more, so it goes on in step {name}", held.name));
        };
        let same = former.iter().find(|step| step.name == held.name) == steps.get(index);
        let place = StepStatus { index: u32::try_from(index).unwrap_or(u32::MAX), hash: steps_hash(steps), ..held };
        let name = place.name.clone();
        let split = |steps: &[Step]| steps.iter().find(|step| step.name == name).map(Step::split);
        if split(&former) != split(steps) {
            // Nothing was seen yet of what goes to the candidate now.
            self.enter(index).map_err(|_| nothing.to_owned())?;
            return Ok(format!("it goes on in step {name} of the new steps, whose time starts anew"));
        }
        // Approval was given to another step, and its high-water mark and its end were another's too.
        let place = if same { place } else { StepStatus { approved: false, full_at: None, progress: None, ..place } };
        self.status.step = Some(place);
        Ok(format!("it goes on in step {name} of the new steps"))
    }

    /// Says, once for each edit, that the steps of the spec are no longer those of the release on trial.
    pub fn notice_edited_steps(&mut self) {
        let wanted = &self.spec().steps;
        if self.status.latch.is_some() || self.seen.malformed.is_some() {
            return;
        }
        let Some(flight) = self.status.flight.as_mut().filter(|flight| flight.promotion.is_none()) else { return };
        let edited = (flight.steps != *wanted).then(|| steps_hash(wanted));
        if flight.edited_steps == edited {
            return;
        }
        flight.edited_steps.clone_from(&edited);
        if edited.is_some() {
            self.note(Reason::StepsEdited, STEPS_EDITED, None);
        }
    }

    fn set_paused(&mut self, paused: bool) {
        let waits = paused
            && self.pair().is_some()
            && self.step().is_ok_and(|step| step.split().adds_to(&self.accepted_split()));
        if let Some(flight) = &mut self.status.flight {
            (flight.paused, flight.held) = (paused, waits && (flight.held || !flight.paused));
        }
    }
}
