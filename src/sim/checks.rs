//! What must hold after every committed write, whatever happened before it.
//!
//! The checks know the API server's objects as they were at each commit, what the gateway acts on, and nothing of how the
//! operator came to its decisions. Each is called what it is told by:
//!
//! | rule | what must hold | where |
//! |---|---|---|
//! | I1 | a Deployment with a new template is paused, or the belt refuses it a ReplicaSet | `owners` |
//! | I2 | a held Deployment controls one ReplicaSet, and none only while it is swapped for another | `owners`, `writes`; at rest `end` |
//! | I3 | a ReplicaSet of ours with pods is owned by its Deployment as well | `owners` |
//! | I4 | a ReplicaSet of ours does not match the Deployment's selector | `owners` |
//! | I5 | of a Deployment we write `paused` and our labels, of a ReplicaSet its size, owners, labels and three annotations | `writes`; at rest `end` |
//! | I6 | a Deployment is resumed at the template of what it controls | `writes` |
//! | I7 | a ReplicaSet that the Deployment controls is never scaled by us | `writes` |
//! | S01 | weights add up | `writes` |
//! | S02 | a weight rises when its pods are ready | `writes` |
//! | S03 | pods end when nobody is sent to them | `writes` |
//! | S04 | what was given up gets no weight and is not promoted | `writes`, here |
//! | S05 | an abort is for good | here |
//! | S06 | no step twice, none left out | here |
//! | S07 | a step has its time | here |
//! | S08 | what failed is not promoted | here; at rest `end` |
//! | S09 | unknown is no success | here |
//! | S10 | a command is obeyed once, and one for another revision is refused | `answers` |
//! | S11 | no write of a former leader, and a Lease is taken only from who is silent | here, `leases` |
//! | S12 | one ReplicaSet for each template | `writes` |
//! | S13 | evidence is of one revision | `evidence` |
//! | S14 | evidence is counted once | `evidence` |
//! | S15 | only what is ours is written, of a route only weights, and no Secret is told | `writes` |
//! | S16 | a selector moves only at weight 0; at rest a healthy copy serves | `writes`, `end` |
//! | S17 | an honest status | here |
//! | L01 | it comes to rest, and is there what it says | `story`, `end` |
//! | L02 | an abort is fast | `end` |
//! | L03 | a deletion comes to its end | `end` |
//! | L04 | nobody waits behind another | `looks`, `end` |
//! | L05 | bounded chatter | here |
//! | L06 | another replica takes over | `leases`, `end` |
//! | F32 | what is kept, and what a status holds, is bounded | here, `end` |
//!
//! Beside these: no request is lost by the machinery, no alert is lost or comes under another id, and a second Rollout of
//! a Deployment moves nothing.
mod answers;
mod evidence;
mod leases;
mod looks;
mod owners;
mod restored;
#[cfg(test)]
mod tests;
mod writes;

use super::{
    api::{Commit, RESTORER, Verb},
    deeds::RIVAL,
    json::{Read, canary_of, digest, seek, size, weights_of},
    stage::NAME,
    world::{
        OPERATOR, deployments,
        plane::{Cause, Plane},
        pods,
    },
};
use answers::Answers;
use evidence::Evidence;
use leases::Leases;
use looks::Unseen;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

const HASH: &str = "pod-template-hash";
/// So many writes within a minute are too many, with whatever befalls what is in flight. A candidate of six pods that flap
/// every four seconds, whose weight follows each of them, needs 241.
const MOST_WRITES: usize = 300;
/// But where releases follow each other within seconds, each may have so many from its first pod to the end, one more for
/// each of its pods, and so many more are for what is around them: a Deployment that is taken over, claimed again or given
/// back.
const WRITES_OF_RELEASE: usize = 32;
/// A status larger than this grows with something.
const LARGEST_STATUS: usize = 48 * 1024;
/// For so many milliseconds it is remembered what a number was.
const REMEMBERED: u64 = 120_000;
const UID_LABEL: &str = "bellwether.dev/rollout-uid";
/// The policies see Rollouts as they were so long ago at the most, in milliseconds.
pub const HEARSAY: u64 = 400;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The rule's name.
    pub rule: &'static str,
    /// When, in milliseconds of the story.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

type Objects = BTreeMap<(String, String), Arc<Value>>;

/// What a Rollout did with one try at one revision.
#[derive(Clone, Debug, Default)]
struct Trial {
    step: i64,
    started: BTreeMap<i64, String>,
    entered: BTreeMap<i64, u64>,
    failed: Option<String>,
    aborted: bool,
}

/// The checks, and what they remember.
#[derive(Clone, Default)]
pub struct Checks {
    objects: Objects,
    /// Nothing keeps the Deployment controller from acting by itself.
    pub unguarded: bool,
    /// Until then the policies see Rollouts as they were before a backup was put back.
    unaware: u64,
    /// ReplicaSets that the Deployment controller could make meanwhile, by uid.
    rolled: BTreeSet<String>,
    /// Deployments whose new template nothing holds, and no policy could, by uid.
    loose: BTreeSet<String>,
    /// The operator cannot reach the route, and moving the Service is all that is left to do.
    pub out_of_reach: bool,
    /// When a pod began to end, and by whose doing.
    endings: BTreeMap<String, (u64, Cause)>,
    trials: BTreeMap<(String, String, i64), Trial>,
    /// What was known of the revision on trial at each version of its Rollout, by uid and version.
    tried: BTreeMap<(String, String), Trial>,
    epoch: i64,
    /// A backup put the Lease back, and nobody has taken it since.
    recounts: bool,
    /// The selectors that the operator wrote last.
    selectors: BTreeMap<String, Value>,
    /// When each set had how many ready pods, most lately.
    ready: BTreeMap<String, Vec<(u64, i64)>>,
    /// How many replicas the Deployment wanted, and since when.
    wanted: Vec<(u64, i64)>,
    /// Commands that were given: promotions excuse a step's short time.
    commands: BTreeSet<String>,
    /// Alerts that stood in the status, by delivery id.
    pub promised: BTreeMap<String, String>,
    /// Those of them that a backup took away, so that they may arrive or not.
    pub undone: BTreeSet<String>,
    answers: Answers,
    evidence: Evidence,
    unseen: Unseen,
    /// Two operators share the story, each with a Lease of its own.
    pub sharded: bool,
    /// The operator's clock is, or was, not the story's.
    pub skewed: bool,
    /// How often the operator created, updated and deleted objects of each kind.
    pub written: BTreeMap<(String, Verb), usize>,
    /// When the operator wrote within the last minute, and whether a release began with it.
    writes: VecDeque<(u64, bool)>,
    /// Since when an abort could take the canary's weight back while the route has some, and how long it had at the most.
    latched: Option<u64>,
    pub longest_abort: u64,
    leases: Leases,
    pub violations: Vec<Violation>,
    /// How much was committed beside Leases and Events.
    pub busy: usize,
    /// A sum over everything that was committed, in order.
    pub print: u64,
    /// Time and words of what was decided, for the story's telling.
    pub told: Vec<(u64, String)>,
}

impl Checks {
    /// A pod begins to end by this doing.
    pub fn ending(&mut self, pod: &str, at: u64, cause: Cause) {
        self.endings.insert(pod.to_owned(), (at, cause));
    }

    /// When a pod began to end, and by whose doing.
    pub fn ended(&self, pod: &str) -> Option<(u64, Cause)> {
        self.endings.get(pod).copied()
    }

    /// By whose doing a pod ended.
    pub fn cause_of(&self, pod: &str) -> Cause {
        self.ended(pod).map_or(Cause::Others, |(_, cause)| cause)
    }

    fn wrong(&mut self, rule: &'static str, at: u64, what: impl Into<String>) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { rule, at, what: what.into() });
        }
    }

    /// Looks at one commit.
    pub fn commit(&mut self, commit: &Commit, plane: &Plane, at: u64) {
        let kind = commit.kind.plural.clone();
        if !matches!(kind.as_str(), "leases" | "events") {
            self.busy += 1;
        }
        let words = [commit.user.as_str(), kind.as_str(), commit.name.as_str()];
        let who = words.iter().flat_map(|word| word.bytes());
        let sum = who.fold(self.print ^ at, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        self.print = commit.after.as_ref().map_or(sum, |object| digest(object, sum));
        // An abort takes back no more than stable's ready pods carry: its time begins when there are enough of them.
        if self.latched.is_some() && self.is_stable_short() {
            self.latched = Some(at);
        }
        let key = (kind.clone(), commit.name.clone());
        match &commit.after {
            Some(object) => drop(self.objects.insert(key, object.clone())),
            None => drop(self.objects.remove(&key)),
        }
        if commit.user == RESTORER {
            return self.put_back(commit, at);
        }
        self.called_for(commit, at);
        if commit.user == OPERATOR {
            self.tell(commit, at);
            self.chatter(commit, at);
            self.operator_wrote(commit, plane, at);
        }
        match kind.as_str() {
            "rollouts" => {
                self.answered(commit, at);
                self.rollout(commit, at);
                self.taken_over(commit, at);
            }
            "replicasets" => {
                if let Some(set) = commit.after.as_ref().filter(|_| commit.before.is_none())
                    && commit.user == deployments::USER
                    && at <= self.unaware
                {
                    self.rolled.insert(set.uid().to_owned());
                }
                self.ownership(commit, at);
            }
            "leases" => self.leased(commit, at),
            "httproutes" if !self.of_kind("httproutes").any(|route| canary_of(route) > 0) => {
                let since = self.latched.take().map_or(0, |since| at - since);
                self.longest_abort = self.longest_abort.max(since);
            }
            "pods" => self.remember_ready(commit, at),
            "deployments" => {
                let wanted = commit.after.as_ref().map_or(0, |it| it.maybe("/spec/replicas").unwrap_or(1));
                remember(&mut self.wanted, at, wanted);
                self.ownership(commit, at);
            }
            "rolloutactions" => {
                if let Some(action) = commit.after.as_ref().filter(|_| commit.before.is_none()) {
                    self.commands.insert(action.text("/spec/action").to_owned());
                }
                self.replied(commit, at);
            }
            _ => {}
        }
    }

    /// The operator never writes for the sake of writing.
    fn chatter(&mut self, commit: &Commit, at: u64) {
        if matches!(commit.kind.plural.as_str(), "leases" | "events") {
            return;
        }
        *self.written.entry((commit.kind.plural.clone(), commit.verb)).or_default() += 1;
        let begins = commit.kind.plural == "replicasets" && commit.verb == Verb::Create;
        self.writes.push_back((at, begins));
        while self.writes.front().is_some_and(|(first, _)| first + 60_000 < at) {
            self.writes.pop_front();
        }
        let releases = self.writes.iter().filter(|(_, begins)| *begins).count();
        let pods = self.wanted.iter().filter_map(|(_, wanted)| usize::try_from(*wanted).ok()).max().unwrap_or(0);
        if self.writes.len() > MOST_WRITES.max((releases + 1) * (WRITES_OF_RELEASE + pods)) {
            self.wrong("L05 bounded chatter", at, format!("{} writes within a minute", self.writes.len()));
            self.writes.clear();
        }
    }

    fn tell(&mut self, commit: &Commit, at: u64) {
        let kind = commit.kind.plural.as_str();
        if matches!(kind, "leases" | "events") {
            return;
        }
        let words = match (kind, &commit.after) {
            ("rollouts", Some(rollout)) => {
                let status = &rollout["status"];
                let step = status.text("/step/name");
                format!(
                    "status: {} {}{} w{}/{} {}",
                    status.text("/phase"),
                    if step.is_empty() { String::new() } else { format!("step {step} ") },
                    status.text("/intent/action"),
                    status.number("/weights/desired"),
                    status.number("/weights/accepted"),
                    status.text("/message")
                )
            }
            (_, Some(object)) => match kind {
                "replicasets" => format!(
                    "ReplicaSet {} {:?}: {} pods, controlled by {}",
                    commit.name,
                    commit.verb,
                    object.number("/spec/replicas"),
                    object.controller().unwrap_or("nobody")
                ),
                "deployments" => format!("Deployment {}: paused {}", commit.name, object.is("/spec/paused")),
                "services" => format!("Service {} selects {}", commit.name, object["spec"]["selector"]),
                "httproutes" => format!("route {}: {:?}", commit.name, weights_of(object)),
                _ => format!("{kind} {} {:?}", commit.name, commit.verb),
            },
            (_, None) => format!("{kind} {} deleted", commit.name),
        };
        if self.told.last().is_none_or(|(_, last)| *last != words) {
            self.told.push((at, words));
        }
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
        let from = (kind.to_owned(), String::new());
        self.objects.range(from..).take_while(move |((known, _), _)| known == kind).map(|(_, object)| object)
    }

    fn object(&self, kind: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(&(kind.to_owned(), name.to_owned()))
    }

    /// How many pods of a template are ready and stay.
    fn ready_of(&self, hash: &str) -> i64 {
        let of_hash = |pod: &&Arc<Value>| pod.label(HASH) == Some(hash) && pods::is_ready(pod) && !pod.is_ending();
        i64::try_from(self.of_kind("pods").filter(of_hash).count()).unwrap_or(0)
    }

    fn remember_ready(&mut self, commit: &Commit, at: u64) {
        let Some(pod) = commit.after.as_ref().or(commit.before.as_ref()) else { return };
        let hash = pod.label(HASH).unwrap_or_default().to_owned();
        let ready = self.ready_of(&hash);
        remember(self.ready.entry(hash).or_default(), at, ready);
    }

    /// Whether stable's ready pods are too few to take everything back from a candidate that has some: as many may be
    /// missing as the Deployment says for its own updates.
    fn is_stable_short(&self) -> bool {
        let (Some(rollout), Some(deployment)) = (self.object("rollouts", NAME), self.object("deployments", NAME))
        else {
            return false;
        };
        let ready = |arm: &str| self.ready_of(rollout.text(&format!("/status/{arm}/podTemplateHash")));
        let replicas = deployment.maybe("/spec/replicas").unwrap_or(1);
        let wanted = rollout.maybe("/status/flight/replicas").map_or(replicas, |began| replicas.min(began));
        let missing = seek(deployment, "/spec/strategy/rollingUpdate/maxUnavailable");
        let enough = (wanted - deployments::share(missing, replicas, false)).max(wanted.min(1));
        ready("stable") < enough && ready("canary") > 0
    }

    /// Whether the Deployment was made smaller a moment ago.
    pub fn shrank(&self, at: u64) -> bool {
        let lately = self.wanted.iter().filter(|(time, _)| at.saturating_sub(*time) <= REMEMBERED);
        let most = lately.map(|(_, wanted)| *wanted).max();
        self.wanted.last().is_some_and(|(_, now)| most.is_some_and(|most| most > *now))
    }

    /// The most ready pods that a hash had within the last seconds.
    fn ready_lately(&self, hash: &str, at: u64) -> i64 {
        let Some(known) = self.ready.get(hash) else { return 0 };
        let lately = known.iter().filter(|(time, _)| at.saturating_sub(*time) <= 5_000).map(|(_, ready)| *ready).max();
        lately.into_iter().chain(known.last().map(|(_, ready)| *ready)).max().unwrap_or(0)
    }

    // ---- what the operator wrote ---------------------------------------------------------------------------------

    /// What a status lists is bounded, and what stands in its outbox keeps its name.
    fn bounded(&mut self, commit: &Commit, status: &Value, at: u64) {
        for alert in status.list("/alerts") {
            let known =
                self.promised.entry(alert.text("/id").to_owned()).or_insert_with(|| alert.text("/event").to_owned());
            if known != alert.text("/event") {
                let what = format!("{} is {known} and {}", alert.text("/id"), alert.text("/event"));
                self.wrong("an alert has one delivery id", at, what);
            }
        }
        let logs =
            ["/decisions", "/alerts", "/handled", "/waitingFor", "/conditions"].map(|list| status.list(list).len());
        if logs.iter().any(|length| *length > 64) || commit.user == OPERATOR && size(status) > LARGEST_STATUS {
            self.wrong("F32 a status is bounded", at, format!("{logs:?} entries, {} bytes", size(status)));
        }
    }

    /// Who wrote it, and of what.
    fn led(&mut self, commit: &Commit, rollout: &Value, old: &Value, at: u64) {
        let status = &rollout["status"];
        let epoch = status.number("/intent/epoch");
        if commit.user == OPERATOR && epoch != 0 && !self.sharded {
            if epoch < self.epoch {
                self.wrong("S11 no write of a former leader", at, format!("epoch {epoch} after {}", self.epoch));
            }
            self.epoch = self.epoch.max(epoch);
        }
        if status.number("/observedGeneration") > rollout.number("/metadata/generation") {
            self.wrong("S17 an honest status", at, "observedGeneration is ahead of the generation");
        }
        // Where the first one was deleted meanwhile, and made again, it is the second.
        let first_holds = || self.object("rollouts", NAME).is_some_and(|first| !first["status"]["workload"].is_null());
        if commit.name == RIVAL && !status["flight"].is_null() && first_holds() {
            self.wrong("a second Rollout moves nothing", at, "it has a revision on trial");
        }
        if commit.name == NAME && !status["latch"].is_null() && old["latch"].is_null() {
            // Once it is being promoted the way back is another one, and takes its time.
            let on_trial = status["flight"]["promotion"].is_null();
            let has_weight = on_trial && self.of_kind("httproutes").any(|route| canary_of(route) > 0);
            self.latched = has_weight.then_some(at);
        }
    }

    fn rollout(&mut self, commit: &Commit, at: u64) {
        let Some(after) = commit.after.clone() else { return };
        let status = &after["status"];
        let before = commit.before.clone().unwrap_or_default();
        let old = &before["status"];
        self.bounded(commit, status, at);
        self.led(commit, &after, old, at);
        let revision = status.text("/flight/revision").to_owned();
        let attempt = status.number("/attempt");
        if revision.is_empty() {
            return;
        }
        let flight = format!("{revision} {}", status.text("/flight/startedAt"));
        let key = (after.uid().to_owned(), flight.clone(), attempt);
        let judged: Vec<String> = status
            .list("/metrics")
            .iter()
            .filter(|metric| metric.text("/verdict") == "Fail")
            .map(|metric| metric.text("/name").to_owned())
            .collect();
        let promoting = !status["flight"]["promotion"].is_null();
        let was_promoting = !old["flight"]["promotion"].is_null() && old.text("/flight/revision") == revision;
        let trial = self.trials.entry(key).or_default().clone();
        let mut trial = trial;
        let goes_on = |status: &Value| status.is("/flight/promotion/forward") && !given_up(status);
        if goes_on(status) && !goes_on(old) {
            (trial.aborted, self.latched) = (false, None);
            if !self.commands.contains("PromoteFull") {
                self.wrong(
                    "S05 an abort is for good",
                    at,
                    format!("{revision} takes over after all, and nobody said so"),
                );
            }
        }
        if given_up(status) {
            trial.aborted = true;
        } else if trial.aborted {
            self.wrong(
                "S05 an abort is for good",
                at,
                format!("{revision} was given up, and the latch is gone in the same attempt"),
            );
        }
        if let Some(name) = judged.first()
            && !promoting
        {
            trial.failed = Some(name.clone());
        }
        if promoting && !was_promoting {
            let forced = self.commands.contains("PromoteFull");
            if let Some(name) = &trial.failed
                && !forced
            {
                self.wrong("S08 what failed is not promoted", at, format!("{revision}: {name} had failed"));
            }
            if trial.aborted {
                self.wrong("S04 no promotion of what was given up", at, revision.clone());
            }
        }
        // One that served before returns without steps.
        let step = status.maybe("/step/index").filter(|_| !status.is("/flight/returns"));
        // Somebody may send a release forward and back, or give it other steps.
        let sent = self.commands.contains("SetStep") || self.commands.contains("AdoptSteps");
        if let Some(index) = step {
            let started = status.text("/step/startedAt").to_owned();
            if let Some(known) = trial.started.get(&index)
                && *known != started
                && !sent
            {
                self.wrong(
                    "S06 no step twice",
                    at,
                    format!("{revision}: step {index} began at {known} and at {started}"),
                );
            }
            if !trial.started.contains_key(&index) && index > 0 && trial.step + 1 != index && !sent {
                self.wrong("S06 no step left out", at, format!("{revision}: from step {} to {index}", trial.step));
            }
            self.dwelt(&after, old, &trial, index, at);
            trial.started.entry(index).or_insert(started);
            trial.entered.entry(index).or_insert(at);
            trial.step = index;
        }
        let version = after.text("/metadata/resourceVersion").to_owned();
        self.tried.insert((after.uid().to_owned(), version), trial.clone());
        self.trials.insert((after.uid().to_owned(), flight, attempt), trial);
    }

    /// A step was left: its time was full by our own clock, and nothing was unknown.
    fn dwelt(&mut self, rollout: &Value, old: &Value, trial: &Trial, index: i64, at: u64) {
        let left = old.maybe("/step/index").filter(|old| *old + 1 == index);
        let Some(left) = left else { return };
        if old.text("/flight/revision") != rollout.text("/status/flight/revision") {
            return;
        }
        let commanded = self.commands.contains("Promote")
            || self.commands.contains("PromoteFull")
            || self.commands.contains("SetStep")
            || self.commands.contains("AdoptSteps");
        let at_index = usize::try_from(left).unwrap_or(0);
        let wanted = rollout["status"]["flight"]["steps"]
            .get(at_index)
            .map(|step| step.text("/observe").to_owned())
            .unwrap_or_default();
        let wanted = wanted.parse().map_or(0, crate::duration::Duration::as_millis);
        let stayed = trial.entered.get(&left).map_or(0, |entered| at.saturating_sub(*entered));
        if !commanded && stayed + 1_000 < wanted {
            self.wrong("S07 a step has its time", at, format!("step {left} was left after {stayed} ms of {wanted}"));
        }
        let unknown: Vec<_> = rollout
            .list("/status/metrics")
            .iter()
            .filter(|metric| metric.text("/verdict") == "Unknown")
            .map(|metric| metric.text("/name").to_owned())
            .collect();
        let said = rollout.list("/status/decisions").iter().any(|decision| decision.text("/reason") == "Unjudged");
        if !unknown.is_empty()
            && !commanded
            && !said
            && !rollout["spec"]["analysis"]["mode"].is_string()
            && rollout["status"]["flight"]["steps"][at_index].number("/weight") > 0
        {
            self.wrong("S09 unknown is no success", at, format!("step {left} was left with {unknown:?} unknown"));
        }
    }
}

/// Remembers what a number is from now on; what it was until now counts until now.
fn remember(known: &mut Vec<(u64, i64)>, at: u64, number: i64) {
    if let Some((_, until_now)) = known.last().copied() {
        known.push((at, until_now));
    }
    known.push((at, number));
    known.retain(|(time, _)| at.saturating_sub(*time) <= REMEMBERED);
}

/// Whether what is on trial was given up; a former revision may return while another is.
fn given_up(status: &Value) -> bool {
    let (latch, flight) = (&status["latch"], &status["flight"]);
    let another = status.is("/flight/returns") && latch["candidate"] != flight["candidate"];
    !latch.is_null() && !another
}
