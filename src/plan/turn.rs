//! One look: the list of conditions from the top, and the words for where it stopped.
use super::{
    Deployment, Effect, Observed, Plan, ReplicaSet, Service, Target,
    check::Complaint,
    observed::{AlertEvent, Tried},
    report::{self, News},
};
use crate::api::{
    ArmStatus, Decision, FINALIZER, Flight, Intent, Phase, Progress, Promotion, Reason, Rollout, RolloutSpec,
    RolloutStatus, Waiting,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::Value;

/// Where a look stopped.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a look makes one")]
pub enum Stop {
    /// At something to do.
    Do(Effect),
    /// At something to wait for.
    Wait(Phase, Wait),
    /// At a fact that must be in the status before anything follows from it.
    Again,
    /// At nothing: all is as it should be, until this long from now.
    Rest(Phase, String, Option<SignedDuration>),
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// Why.
    pub reason: Reason,
    /// The object, as Kind/name.
    pub object: String,
    /// In plain words, with the cure.
    pub message: String,
    /// When to look again at the latest.
    pub after: SignedDuration,
}

/// A condition holds, or the look stops at it.
pub type Holds = Result<(), Stop>;

/// A look in progress: what was seen, and the status that is being made of it.
pub struct Turn<'a> {
    /// What was seen.
    pub seen: &'a Observed,
    /// The status to write.
    pub status: RolloutStatus,
    /// What was newly decided.
    pub news: Vec<Decision>,
}

/// How soon to look again at what moves.
pub const SOON: SignedDuration = SignedDuration::from_secs(1);
/// How soon to look again at what a person or another controller must change, beside the watches.
pub const LATER: SignedDuration = SignedDuration::from_secs(10);
/// What is over within this long is told to nobody.
const PASSING: SignedDuration = SignedDuration::from_secs(30);
/// How soon to look again at what is at rest.
const AT_REST: SignedDuration = SignedDuration::from_mins(30);

/// What began later than now, by the clock of another leader, begins now: it would be waited for until this clock is there.
fn not_after(status: &mut RolloutStatus, now: Timestamp) {
    let seconds = |time: &mut Time| time.0 = time.0.min(now);
    let exact = |time: &mut MicroTime| time.0 = time.0.min(now);
    status.waiting_for.iter_mut().map(|waiting| &mut waiting.since).for_each(seconds);
    status.past.iter_mut().map(|past| &mut past.since).for_each(seconds);
    status.workload.iter_mut().filter_map(|workload| workload.armed_at.as_mut()).for_each(seconds);
    status.weights.iter_mut().filter_map(|weights| weights.pending_since.as_mut()).for_each(exact);
    if let Some(step) = &mut status.step {
        step.observed_at.iter_mut().chain(&mut step.full_at).chain(&mut step.shared_since).for_each(exact);
        let marks = |mark: &mut Progress| mark.short_since.iter_mut().chain(&mut mark.whole_since).for_each(seconds);
        step.progress.iter_mut().for_each(marks);
    }
    if let Some(flight) = &mut status.flight {
        flight.dark_since.iter_mut().chain(flight.settling.iter_mut().map(|it| &mut it.since)).for_each(exact);
        flight.quiet_since.iter_mut().chain(&mut flight.blind_since).for_each(exact);
        flight.evidence_since.iter_mut().chain(&mut flight.settled_since).for_each(exact);
        flight.reverted.iter_mut().for_each(seconds);
    }
}

/// What is given time was noted by another leader, whose clock may be another, and nobody may have looked since: it is given
/// its whole time by the clock of the one who acts on it.
fn not_before(status: &mut RolloutStatus, led_since: Option<Timestamp>) {
    let (Some(led_since), Some(flight)) = (led_since, &mut status.flight) else { return };
    let exact = |time: &mut MicroTime| time.0 = time.0.max(led_since);
    flight.dark_since.iter_mut().chain(flight.settling.iter_mut().map(|it| &mut it.since)).for_each(exact);
    flight.quiet_since.iter_mut().chain(&mut flight.blind_since).for_each(exact);
    let progress = status.step.as_mut().and_then(|step| step.progress.as_mut());
    progress.and_then(|mark| mark.short_since.as_mut()).into_iter().for_each(|time| time.0 = time.0.max(led_since));
}

impl<'a> Turn<'a> {
    /// A look at this.
    pub fn new(seen: &'a Observed) -> Self {
        let mut status = seen.rollout.status.clone().unwrap_or_default();
        not_after(&mut status, seen.now);
        not_before(&mut status, seen.led_since);
        Self { seen, status, news: Vec::new() }
    }

    /// Runs down the list and says where it stopped.
    pub fn run(mut self) -> Plan {
        self.tick_off_alerts();
        let stop = match self.walk() {
            Ok(()) => Stop::Rest(Phase::Stable, String::new(), None),
            Err(stop) => stop,
        };
        self.conclude(stop)
    }

    fn walk(&mut self) -> Holds {
        self.describe();
        if self.seen.rollout.metadata.deletion_timestamp.is_some() {
            self.last_commands()?;
            return self.hand_back();
        }
        if self.seen.namespace_ending {
            let message = "the namespace is being deleted; nothing is decided any more";
            return Err(self.wait(Phase::Waiting, Reason::NamespaceEnding, "", message, LATER));
        }
        let legible = self.seen.malformed.clone().map_or(Ok(()), |why| Err(Complaint::new("spec", why)));
        let checked = legible.and_then(|()| super::check(self.spec()));
        let checked = checked.and_then(|()| super::check::jobs_apart(self.seen)).map_err(|complaint| {
            let phase = if self.status.flight.is_some() { Phase::Blocked } else { Phase::Invalid };
            self.wait(phase, Reason::InvalidSpec, "Rollout", complaint.to_string(), LATER)
        });
        // Commands and an abort that is under way do not wait for a spec that was broken meanwhile.
        if checked.is_err() && self.status.latch.is_none() && self.status.flight.is_none() {
            self.refuse_commands("the Rollout's spec is invalid")?;
            self.kept_whole()?;
            return checked;
        }
        if let Err(stop) = self.adopt() {
            // A finalizer that is put back, or the like, keeps nobody from a command.
            let held = self.status.workload.as_ref().filter(|_| self.status.is_held());
            if held.is_some_and(|held| self.seen.deployment.as_ref().is_some_and(|it| it.uid == held.uid)) {
                self.commands()?;
            } else {
                self.refuse_commands("the Deployment is not held yet; see the Rollout's status")?;
            }
            return Err(stop);
        }
        self.notice_edited_steps();
        self.commands()?;
        self.fly_or_rest(checked)
    }

    fn conclude(mut self, stop: Stop) -> Plan {
        let soon;
        let mut effect = None;
        match stop {
            Stop::Do(doing) => {
                self.status.intent =
                    Some(Intent { action: doing.verb().to_owned(), object: doing.object(), epoch: self.seen.epoch });
                self.say_refused(&doing);
                effect = Some(doing);
                soon = Some(SignedDuration::ZERO);
            }
            Stop::Again => soon = Some(SignedDuration::ZERO),
            Stop::Wait(phase, wait) => {
                self.status.intent = None;
                soon = Some(wait.after);
                self.waits(phase, wait);
            }
            Stop::Rest(phase, message, after) => {
                soon = after;
                self.status.intent = None;
                self.status.waiting_for.clear();
                self.status.phase = phase;
                self.status.message = message;
            }
        }
        // A watch may be silent without anybody noticing.
        let longest = if self.status.alerts.is_empty() { AT_REST } else { LATER };
        let look_again = soon.unwrap_or(longest).min(longest.max(LATER));
        let underpowered = self.underpowered();
        report::conditions(&mut self.status, &self.seen.rollout, self.seen.now, underpowered);
        Plan { status: self.status, effect, look_again, news: self.news }
    }

    /// A write that was refused for good is tried again, and people are told why nothing moves.
    fn say_refused(&mut self, doing: &Effect) {
        let known = self.seen.refused.as_ref();
        let Some(refused) = known.filter(|it| it.verb == doing.verb() && it.object == doing.object()) else { return };
        let message = format!("{} of {} is refused: {}", refused.verb, refused.object, refused.why);
        let wait = Wait { reason: Reason::WriteRefused, object: refused.object.clone(), message, after: SOON };
        self.waits(Phase::Blocked, wait);
    }

    fn waits(&mut self, phase: Phase, wait: Wait) {
        self.status.phase = phase;
        self.status.message.clone_from(&wait.message);
        let known = self.status.waiting_for.iter().find(|old| old.reason == wait.reason && old.object == wait.object);
        let since = known.map_or_else(|| Time(self.seen.now), |old| old.since.clone());
        self.alert_of_wait(phase, &wait);
        self.status.waiting_for =
            vec![Waiting { reason: wait.reason, object: wait.object, since, message: wait.message }];
    }

    /// What the status says of pods and weights, whatever else happens.
    fn describe(&mut self) {
        self.status.observed_generation = self.seen.rollout.metadata.generation;
        if let (Some(deployment), Some(workload)) = (&self.seen.deployment, &mut self.status.workload)
            && deployment.uid == workload.uid
        {
            workload.observed_generation = Some(deployment.generation);
        }
        let stable = self.status.workload.as_ref().and_then(|workload| workload.stable_replica_set.clone());
        self.status.stable = stable.as_deref().and_then(|name| self.arm(name)).or(self.status.stable.take());
        let candidate = self.status.flight.as_ref().map(|flight| flight.candidate.clone());
        let latched = self.status.latch.as_ref().map(|latch| latch.candidate.clone());
        self.status.canary = candidate.or(latched).as_deref().and_then(|name| self.arm(name));
    }

    fn arm(&self, set: &str) -> Option<ArmStatus> {
        let set = self.seen.replica_set(set)?;
        Some(ArmStatus {
            revision: self.revision_name(set),
            replica_set: set.name.clone(),
            pod_template_hash: set.hash.clone(),
            replicas: set.replicas,
            ready: set.ready,
        })
    }

    /// The name of the revision that a ReplicaSet holds: what follows the Deployment's name in its own.
    pub fn revision_name(&self, set: &ReplicaSet) -> String {
        let prefix = format!("{}-", self.spec().workload_ref.name);
        set.name.strip_prefix(&prefix).unwrap_or(&set.name).chars().take(63).collect()
    }

    // ---- words -------------------------------------------------------------------------------------------------

    /// The spec.
    pub fn spec(&self) -> &'a RolloutSpec {
        &self.seen.rollout.spec
    }

    /// The Rollout.
    pub fn rollout(&self) -> &'a Rollout {
        &self.seen.rollout
    }

    /// The candidate's facts; only where a flight is known to exist.
    pub fn flight(&mut self) -> Result<&mut Flight, Stop> {
        self.status.flight.as_mut().ok_or(Stop::Again)
    }

    /// How far what is on trial has taken over, where its steps are passed.
    pub fn promotion(&self) -> Option<&Promotion> {
        self.status.flight.as_ref()?.promotion.as_ref()
    }

    /// The Deployment; only where it is known to exist.
    pub fn deployment(&self) -> Result<&'a Deployment, Stop> {
        self.seen.deployment.as_ref().ok_or_else(|| {
            let name = &self.spec().workload_ref.name;
            self.wait(
                Phase::Waiting,
                Reason::WorkloadMissing,
                &format!("Deployment/{name}"),
                format!(
                    "spec.workloadRef: there is no Deployment {name} in this namespace; create it, or correct the name"
                ),
                LATER,
            )
        })
    }

    /// A stop at something that is waited for.
    #[expect(clippy::unused_self, reason = "reads as a sentence at every call")]
    pub fn wait(
        &self,
        phase: Phase,
        reason: Reason,
        object: &str,
        message: impl Into<String>,
        after: SignedDuration,
    ) -> Stop {
        Stop::Wait(phase, Wait { reason, object: object.to_owned(), message: message.into(), after })
    }

    /// How long ago that was.
    pub fn ago(&self, since: Timestamp) -> SignedDuration {
        self.seen.now.duration_since(since)
    }

    /// Writes a line of the decision log.
    pub fn note(&mut self, reason: Reason, message: impl Into<String>, by: Option<String>) {
        let decision = Decision {
            at: Time(self.seen.now),
            reason,
            message: message.into().chars().take(1_000).collect(),
            revision: self.status.flight.as_ref().map(|flight| flight.revision.clone()),
            step: self.status.step.as_ref().map(|step| step.name.clone()),
            by,
        };
        self.news.push(decision.clone());
        self.status.decisions.push(decision);
        let surplus = self.status.decisions.len().saturating_sub(20);
        self.status.decisions.drain(..surplus);
    }

    /// Puts an alert into the outbox of everybody who asked for it.
    pub fn alert(&mut self, event: AlertEvent, reason: Reason, message: &str, by: Option<&str>) {
        let seen = self.seen;
        report::tell(&seen.rollout, &mut self.status, seen.now, &News { event, reason, message, by });
    }

    /// Takes out of the outbox what needs no further try, and says of the rest why it is still there.
    fn tick_off_alerts(&mut self) {
        for mut alert in std::mem::take(&mut self.status.alerts) {
            match self.seen.tried.get(&alert.id) {
                Some(Tried::Delivered) => continue,
                Some(Tried::Abandoned(why)) => {
                    let message = format!("{:?} could not be told to {}: {why}", alert.event, alert.receiver);
                    self.note(Reason::AlertUndelivered, message, None);
                    continue;
                }
                Some(Tried::Failed(why)) => alert.failure = Some(why.chars().take(500).collect()),
                None => {}
            }
            self.status.alerts.push(alert);
        }
    }

    fn alert_of_wait(&mut self, phase: Phase, wait: &Wait) {
        let old = self.status.waiting_for.iter().find(|old| old.reason == wait.reason && old.object == wait.object);
        let since = old.map(|old| old.since.0);
        // What follows from measurements gives way to other waits, as when the operator begins anew, and comes back.
        let is_once = match wait.reason {
            Reason::ApprovalRequired | Reason::WeightIgnored | Reason::RouteContested | Reason::EvidenceOverdue => true,
            Reason::RouteNotAccepted | Reason::RouteMissing | Reason::RouteUnreadable => phase == Phase::Blocked,
            Reason::Inconclusive => phase == Phase::Waiting,
            _ => false,
        };
        let step = self.status.step.as_mut().filter(|_| is_once);
        let was = step.map_or(since.is_some(), |step| {
            let was = step.told.contains(&wait.reason);
            if !was {
                step.told.push(wait.reason);
            }
            was
        });
        // A pod that was evicted is back within seconds; a stable that stays too sick to take its requests back is nothing
        // that passes by itself.
        let stays = since.filter(|since| wait.reason == Reason::StableShrunk && self.ago(*since) >= PASSING);
        let is_news = |since| !self.status.decisions.iter().any(|it| it.reason == wait.reason && it.at.0 >= since);
        if (phase == Phase::Blocked && !was) || stays.is_some_and(is_news) {
            self.note(wait.reason, wait.message.clone(), None);
            self.alert(AlertEvent::Blocked, wait.reason, &wait.message, None);
        }
        // Who paused it knows.
        let wants_person = match wait.reason {
            Reason::ApprovalRequired | Reason::ProgressDeadlineExceeded => phase != Phase::Blocked,
            Reason::Inconclusive => phase == Phase::Waiting,
            _ => false,
        };
        if wants_person && !was {
            self.alert(AlertEvent::Waiting, wait.reason, &wait.message, None);
        }
    }

    /// The words for an object that another Rollout holds.
    pub fn claimed_by(&self, other: &str, reason: Reason, object: &str) -> Stop {
        let message = format!(
            "{object} is held by Rollout {other}; one object can be in one Rollout only: delete one of the two"
        );
        self.wait(Phase::Blocked, reason, object, message, LATER)
    }

    /// The words for an object that an older Rollout names too.
    pub fn left_to(&self, elder: &str, reason: Reason, object: &str) -> Stop {
        let message = format!(
            "{object} is named by Rollout {elder} as well, which is older and goes first; one object can be in one Rollout only: \
             delete one of the two"
        );
        self.wait(Phase::Blocked, reason, object, message, LATER)
    }

    /// Our finalizer is there, or is not.
    pub fn finalizer(&self, present: bool) -> Holds {
        let there = self.rollout().metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
        if there == present { Ok(()) } else { Err(Stop::Do(Effect::Finalize { present })) }
    }

    /// A ReplicaSet of ours wants so many pods.
    #[expect(clippy::unused_self, reason = "reads as a condition among the others")]
    pub fn scaled(&self, set: &ReplicaSet, replicas: i32) -> Holds {
        if set.replicas == replicas { Ok(()) } else { Err(Stop::Do(Effect::Scale { set: target(set), replicas })) }
    }
}

/// What an object needs to have for an effect on it.
pub trait Versioned {
    /// Name, uid, version.
    fn parts(&self) -> (&str, &str, &str);
}

impl Versioned for Deployment {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.name, &self.uid, &self.resource_version)
    }
}

impl Versioned for ReplicaSet {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.name, &self.uid, &self.resource_version)
    }
}

impl Versioned for Service {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.name, &self.uid, &self.resource_version)
    }
}

/// The object as it was read.
pub fn target(object: &impl Versioned) -> Target {
    let (name, uid, resource_version) = object.parts();
    Target { name: name.to_owned(), uid: uid.to_owned(), resource_version: resource_version.to_owned() }
}

/// What a template's name would be if no other had it: tells the template again.
pub fn fingerprint_of(template: &Value) -> String {
    revision_of(template, |_| false)
}

/// A name for a template that no ReplicaSet has yet. It is given once and never computed again to decide anything.
pub fn revision_of(template: &Value, taken: impl Fn(&str) -> bool) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = template.to_string();
    // There are fewer ReplicaSets in any namespace than names tried here.
    (0_u64..1_000_000)
        .map(|salt| {
            // FNV-1a: any spread will do, for collisions are looked for.
            let seed = 0xcbf2_9ce4_8422_2325 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut hash =
                text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            (0..10)
                .map(|_| {
                    let letter = LETTERS[usize::try_from(hash % 27).unwrap_or(0)];
                    hash /= 27;
                    char::from(letter)
                })
                .collect::<String>()
        })
        .find(|name| !taken(name))
        .unwrap_or_default()
}
