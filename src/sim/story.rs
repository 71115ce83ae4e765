//! Stories: what people, machines and accidents do to a shop with an operator, and what must be true at the end.
use super::{
    checks::Violation,
    faults::Crash,
    json::Read,
    stage::{NAME, Policy, Setting, Stage, phase, template},
    world::{NAMESPACE, OPERATOR, World, deployments, plane::Cause, pods, prometheus::Mood},
};
use crate::cluster::Tamper;
use serde_json::{Value, json};
use std::{fmt, fmt::Write as _, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a settled world has to stay as it is.
const QUIET: u64 = 40_000;
/// The longest that a world may take to settle after the last deed and fault.
const LONGEST: u64 = 900_000;

/// Something that somebody does, or that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Git, or a person, changes the image.
    Image(&'static str),
    /// Somebody, or an autoscaler, changes the replicas.
    Scale(i64),
    /// A command, as `SetStep half` with the step it is about; the second says whether it expects what it saw.
    Act(&'static str, bool),
    /// An abort in the moment in which the ReplicaSets change hands, if that comes within a minute.
    AbortInSwap,
    /// The Rollout is deleted, with this propagation.
    DeleteRollout(&'static str),
    /// It is applied again.
    ApplyRollout,
    /// Git applies the route as it is there, by a forced server-side apply or from the client.
    ApplyRoute {
        server_side: bool,
    },
    /// Git applies the Deployment with this image, by a replace that drops what it does not know.
    ReplaceDeployment(&'static str),
    /// The route is deleted, or made again.
    DeleteRoute,
    CreateRoute,
    /// So many pods are evicted: of the stable revision, or of the candidate.
    Evict {
        stable: bool,
        count: usize,
    },
    /// Stable's ReplicaSet is deleted by hand.
    DeleteStableSet,
    /// A Service of ours is deleted.
    DeleteService {
        stable: bool,
    },
    /// A Service's selector loses its hash by somebody's hand.
    WidenService {
        stable: bool,
    },
    /// The Deployment is deleted.
    DeleteDeployment,
    /// The namespace is deleted.
    DeleteNamespace,
    /// The Rollout's traffic, or its steps, are edited.
    EditTraffic,
    EditSteps,
    /// Prometheus is in this mood from now on, or loses its history.
    Prometheus(Mood),
    ForgetHistory,
    /// Receivers of alerts refuse from now on, or not.
    Receivers {
        down: bool,
    },
    /// The gateway writes statuses from now on, or not.
    Gateway {
        writes: bool,
    },
    /// A replica is killed, stopped for so long, or told to stop.
    Kill(usize),
    Freeze(usize, u64),
    Tell(usize),
    /// The API server is out of reach of a replica for so long.
    Outage(usize, u64),
    /// Watches say nothing for so long, are compacted, or read from the past.
    StallWatches(usize, u64),
    Compact,
    /// Requests of a replica go wrong: of a thousand so many broken, lost, in conflict, in error.
    Rough(usize, [u64; 4]),
    /// Reads are answered from so many versions ago.
    Behind(usize, u64),
    /// The operator may not do this for a while.
    Deny(&'static str, &'static str),
    Allow(&'static str, &'static str),
    /// Watches of a replica tell everything so many milliseconds late at the most.
    WatchLag(usize, u64),
    /// The operator's clock jumps by so many milliseconds, with its next start.
    Skew(usize, i64),
    /// The API server fills in a new field of templates.
    UpgradeServer,
    /// Somebody resumes the Deployment by hand.
    ResumeDeployment,
    /// Somebody drops the Rollout's finalizer.
    DropFinalizer,
}

/// What is told.
#[derive(Clone, Debug)]
pub struct Story {
    pub name: String,
    pub seed: u64,
    pub setting: Setting,
    /// When, in milliseconds after the Deployment was taken over, what is done.
    pub script: Vec<(u64, Deed)>,
    /// At which of its writes a process of the first replica ends, one process after the other.
    pub crashes: Vec<(u64, Crash)>,
}

/// How a story ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    pub violations: Vec<Violation>,
    /// Virtual seconds.
    pub seconds: u64,
    pub commits: usize,
    /// The first process's writes until it was over.
    pub first_process: u64,
    pub phase: String,
    pub message: String,
    /// Requests lost by the operator's doing, and by others'.
    pub lost: f64,
    pub harm: f64,
    /// What was decided and written, with its time in milliseconds.
    pub told: Vec<(u64, String)>,
    /// A number that tells whether two runs were the same, bit for bit.
    pub print: u64,
}

impl Story {
    /// A story of this name and seed, in a plain setting.
    pub fn new(name: &str, seed: u64, script: Vec<(u64, Deed)>) -> Self {
        Self { name: name.to_owned(), seed, setting: Setting::default(), script, crashes: Vec::new() }
    }

    /// Tells it.
    pub fn tell(&self, tamper: Option<Arc<dyn Tamper>>) -> Ending {
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(self.play(tamper))
    }

    async fn play(&self, tamper: Option<Arc<dyn Tamper>>) -> Ending {
        // With a planted mistake the first thing that is wrong is enough.
        let longest = if tamper.is_some() { LONGEST / 6 } else { LONGEST };
        let mut stage = Stage::set(self.seed, self.setting.clone(), tamper).await;
        stage.replicas[0].crash_at(self.crashes.clone());
        stage.adopt().await;
        let adopted = phase(&stage.world).0 == "Stable";
        let begin = stage.world.now();
        let mut script = self.script.clone();
        script.sort_by_key(|(at, _)| *at);
        // Without policies, a write that drops `paused` lets the Deployment roll: nobody can hold what nobody guards.
        let lets_go = |deed: &Deed| matches!(deed, Deed::ReplaceDeployment(_) | Deed::ResumeDeployment);
        let unguarded = self.setting.policies == Policy::None && script.iter().any(|(_, deed)| lets_go(deed));
        stage.world.unguarded = unguarded;
        stage.world.checks.unguarded = unguarded;
        for (at, deed) in &script {
            stage.world.live_until(begin + at).await;
            let at = stage.world.now();
            stage.world.checks.told.push((at, format!("---- {deed:?}")));
            if *deed == Deed::AbortInSwap {
                stage.until_swap(60_000).await;
            }
            stage.doing(deed);
        }
        stage.calm();
        let settled = stage.settle(longest).await;
        let mut ending = stage.ending();
        if !adopted {
            let (phase, message) = phase(&stage.world);
            ending.violations.push(Violation {
                rule: "L01 it comes to rest",
                at: begin,
                what: format!("it was not taken over: {phase} {message}"),
            });
        }
        let flaps = script.iter().any(|(_, deed)| matches!(deed, Deed::Image(image) if image.contains("flaps")));
        if !settled && !flaps {
            let words =
                ending.told.iter().rev().take(3).map(|(_, words)| words.clone()).collect::<Vec<_>>().join(" <- ");
            ending.violations.push(Violation {
                rule: "L01 it comes to rest",
                at: stage.world.now(),
                what: format!("{} {}: {words}", ending.phase, ending.message),
            });
        }
        stage.at_the_end(&mut ending, &script);
        ending
    }
}

impl Stage {
    /// Lets time pass until the Deployment controls no ReplicaSet, which takes a look or two.
    async fn until_swap(&mut self, longest: u64) {
        let end = self.world.now() + longest;
        let controls_some = |world: &World| {
            let deployment = world.server.get("deployments", NAMESPACE, NAME);
            let uid = deployment.map(|deployment| deployment.uid().to_owned());
            let sets = world.server.list("replicasets", NAMESPACE);
            sets.iter().any(|set| set.controller() == uid.as_deref())
        };
        while self.world.now() < end && controls_some(&self.world) {
            self.pass(4).await;
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each deed")]
    fn doing(&mut self, deed: &Deed) {
        let server = self.world.server.clone();
        let get = |kind: &str, name: &str| server.get(kind, NAMESPACE, name);
        let replica = |at: usize| self.replicas[at.min(self.replicas.len() - 1)].clone();
        match deed {
            Deed::Image(image) => {
                if let Some(deployment) = get("deployments", NAME) {
                    let mut changed = deployment["spec"]["template"].clone();
                    changed["spec"]["containers"][0]["image"] = json!(image);
                    let change = json!({"spec": {"template": changed}});
                    let _ = self.git.merge("deployments", &deployment, change);
                }
            }
            Deed::Scale(replicas) => {
                if let Some(deployment) = get("deployments", NAME) {
                    let _ = self.jane.merge("deployments", &deployment, json!({"spec": {"replicas": replicas}}));
                }
            }
            Deed::AbortInSwap => self.doing(&Deed::Act("Abort", false)),
            Deed::Act(action, expects) => {
                let rollout = get("rollouts", NAME);
                let (action, to) = action.split_once(' ').map_or((*action, None), |(action, to)| (action, Some(to)));
                let mut spec = json!({"rollout": NAME, "action": action});
                if let Some(to) = to {
                    spec["to"] = json!(to);
                }
                if let Some(rollout) = rollout.filter(|_| *expects) {
                    let revision = match rollout.text("/status/flight/revision") {
                        "" => rollout.text("/status/latch/revision"),
                        revision => revision,
                    };
                    if !revision.is_empty() {
                        spec["expect"] = json!({"revision": revision});
                    }
                }
                let command = json!({
                    "apiVersion": "bellwether.dev/v1alpha1", "kind": "RolloutAction",
                    "metadata": {"generateName": "action-"}, "spec": spec,
                });
                // People click twice.
                for _ in 0..2 {
                    let _ = self.jane.create("rolloutactions", NAMESPACE, command.clone());
                }
            }
            Deed::DeleteRollout(propagation) => {
                if let Some(rollout) = get("rollouts", NAME) {
                    let _ = self.git.delete_so("rollouts", &rollout, propagation);
                }
            }
            Deed::ApplyRollout => {
                if get("rollouts", NAME).is_none() {
                    let _ = self.git.create("rollouts", NAMESPACE, self.rollout());
                }
            }
            Deed::ApplyRoute { .. } | Deed::CreateRoute if !self.setting.routed || self.setting.owned => {}
            Deed::ApplyRoute { server_side } => {
                let route = Self::route(&[("checkout-stable", 100), ("checkout-canary", 0)]);
                if *server_side {
                    let _ = server.apply("git", ("git", true), "httproutes", NAMESPACE, route);
                } else if let Some(stored) = get("httproutes", NAME) {
                    let _ = self.git.merge("httproutes", &stored, json!({"spec": route["spec"]}));
                }
            }
            Deed::ReplaceDeployment(image) => {
                if let Some(stored) = get("deployments", NAME) {
                    let mut whole = self.deployment(image);
                    whole["spec"]["replicas"] = stored["spec"]["replicas"].clone();
                    let _ = self.git.replace("deployments", whole);
                }
            }
            Deed::DeleteRoute => {
                if let Some(route) = get("httproutes", NAME) {
                    let _ = self.jane.delete("httproutes", &route);
                }
            }
            Deed::CreateRoute => {
                let route = Self::route(&[("checkout-stable", 100), ("checkout-canary", 0)]);
                let _ = self.git.create("httproutes", NAMESPACE, route);
            }
            Deed::Evict { stable, count } => {
                let rollout = get("rollouts", NAME).unwrap_or_default();
                let arm = if *stable { "stable" } else { "canary" };
                let hash = rollout.text(&format!("/status/{arm}/podTemplateHash")).to_owned();
                let pods = server.list("pods", NAMESPACE);
                let of_arm =
                    pods.iter().filter(|pod| !hash.is_empty() && pod.label("pod-template-hash") == Some(&hash));
                for pod in of_arm.filter(|pod| !pod.is_ending()).take(*count) {
                    let _ = self.jane.delete("pods", pod);
                }
            }
            Deed::DeleteStableSet => {
                let rollout = get("rollouts", NAME).unwrap_or_default();
                if let Some(set) = get("replicasets", rollout.text("/status/stable/replicaSet")) {
                    let _ = self.jane.delete_so("replicasets", &set, "Background");
                }
            }
            Deed::DeleteService { stable } => {
                if let Some(service) = get("services", service_name(*stable)) {
                    let _ = self.jane.delete("services", &service);
                }
            }
            Deed::WidenService { stable } => {
                if let Some(service) = get("services", service_name(*stable)) {
                    let _ = self.jane.merge(
                        "services",
                        &service,
                        json!({"spec": {"selector": {"pod-template-hash": null}}}),
                    );
                }
            }
            Deed::DeleteDeployment => {
                if let Some(deployment) = get("deployments", NAME) {
                    let _ = self.jane.delete_so("deployments", &deployment, "Background");
                }
            }
            Deed::DeleteNamespace => {
                if let Some(namespace) = server.get("namespaces", "", NAMESPACE) {
                    let _ = self.jane.delete("namespaces", &namespace);
                }
            }
            Deed::EditTraffic => {
                if let Some(rollout) = get("rollouts", NAME) {
                    let _ = self.git.merge(
                        "rollouts",
                        &rollout,
                        json!({"spec": {"traffic": {"unrouted": [NAME, "another"]}}}),
                    );
                }
            }
            Deed::EditSteps => {
                if let Some(rollout) = get("rollouts", NAME) {
                    let steps = json!([{"name": "warm", "weight": 0, "observe": "2s"}, {"name": "new", "weight": 10, "observe": "4s"}]);
                    let _ = self.git.merge("rollouts", &rollout, json!({"spec": {"steps": steps}}));
                }
            }
            Deed::Prometheus(mood) => self.outside().prometheus.mood = *mood,
            Deed::ForgetHistory => self.outside().prometheus.forget(),
            Deed::Receivers { down } => self.outside().receivers_down = *down,
            Deed::Gateway { writes } => {
                self.world.gateway_writes = *writes;
                if *writes {
                    self.world.look_at_route(NAME);
                }
            }
            Deed::Kill(at) => replica(*at).line().kill_now(),
            Deed::Freeze(at, time) => {
                let until = Instant::now() + Duration::from_millis(*time);
                replica(*at).line().trouble(|trouble| trouble.frozen = Some(until));
            }
            Deed::Tell(at) => replica(*at).tell_to_stop(),
            Deed::Outage(at, time) => {
                let until = Instant::now() + Duration::from_millis(*time);
                replica(*at).trouble(|trouble| trouble.outage = Some(until));
            }
            Deed::StallWatches(at, time) => {
                let until = Instant::now() + Duration::from_millis(*time);
                replica(*at).trouble(|trouble| trouble.stalled = Some(until));
            }
            Deed::Compact => server.compact(),
            Deed::Rough(at, [broken, lost, conflicts, errors]) => replica(*at).trouble(|trouble| {
                (trouble.broken, trouble.lost) = (*broken, *lost);
                (trouble.conflicts, trouble.errors) = (*conflicts, *errors);
            }),
            Deed::Behind(at, versions) => replica(*at).trouble(|trouble| trouble.behind = *versions),
            Deed::Deny(verb, plural) => {
                server.deny(OPERATOR, verb, plural);
                self.world.checks.out_of_reach |= *plural == "httproutes";
            }
            Deed::Allow(verb, plural) => server.allow(OPERATOR, verb, plural),
            Deed::WatchLag(at, lag) => replica(*at).trouble(|trouble| trouble.watch_lag = *lag),
            Deed::Skew(at, by) => replica(*at).skew(*by),
            Deed::UpgradeServer => server.set_extra_defaults(json!({"spec": {"brandNew": true}})),
            Deed::ResumeDeployment => {
                if let Some(deployment) = get("deployments", NAME) {
                    let _ = self.jane.merge("deployments", &deployment, json!({"spec": {"paused": null}}));
                }
            }
            Deed::DropFinalizer => {
                if let Some(rollout) = get("rollouts", NAME) {
                    let _ = self.jane.merge("rollouts", &rollout, json!({"metadata": {"finalizers": []}}));
                }
            }
        }
    }

    fn outside(&self) -> std::sync::MutexGuard<'_, super::world::Outside> {
        self.world.outside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Everything that went wrong goes right from now on.
    fn calm(&mut self) {
        for replica in &self.replicas {
            replica.trouble(|trouble| {
                *trouble = super::faults::Trouble { latency: trouble.latency, ..Default::default() }
            });
        }
        let server = &self.world.server;
        for (verb, plural) in DENIABLE {
            server.allow(OPERATOR, verb, plural);
        }
        {
            let mut outside = self.outside();
            outside.prometheus.mood = Mood::Well;
            outside.receivers_down = false;
        }
        if !self.world.gateway_writes {
            self.world.gateway_writes = true;
            self.world.look_at_route(NAME);
        }
    }

    /// Waits until nothing is written any more but the Lease. Whether it came to that.
    async fn settle(&mut self, longest: u64) -> bool {
        let end = self.world.now() + longest;
        let mut last = (self.busy(), self.world.now());
        let enough = |stage: &Self| longest < LONGEST && !stage.world.checks.violations.is_empty();
        while self.world.now() < end && !enough(self) {
            self.pass(2_000).await;
            let busy = self.busy();
            if busy != last.0 {
                last = (busy, self.world.now());
            } else if self.world.now() - last.1 >= QUIET {
                return true;
            }
        }
        false
    }

    /// How much was committed beside Leases, and statuses that only say how long something has been watched.
    fn busy(&self) -> usize {
        self.world.checks.busy
    }

    fn ending(&mut self) -> Ending {
        self.world.absorb();
        let (phase, message) = phase(&self.world);
        let lost = |cause: Cause| {
            self.world.plane.losses.iter().filter(|loss| loss.cause == cause).map(|loss| loss.requests).sum()
        };
        let checks = &self.world.checks;
        let mut told = checks.told.clone();
        for loss in &self.world.plane.losses {
            told.push((
                loss.from,
                format!("!!!! {:.1} requests lost until {}: {} ({:?})", loss.requests, loss.to, loss.what, loss.cause),
            ));
        }
        told.sort_by_key(|(at, _)| *at);
        Ending {
            violations: checks.violations.clone(),
            seconds: self.world.now() / 1_000,
            commits: self.world.server.commit_count(),
            first_process: self.replicas[0].first_writes(),
            phase,
            message,
            lost: lost(Cause::Machinery),
            harm: lost(Cause::Others),
            print: checks.print,
            told,
        }
    }

    /// What must be true when everything has come to rest.
    #[expect(clippy::too_many_lines, reason = "one block for each thing that must be true")]
    fn at_the_end(&self, ending: &mut Ending, script: &[(u64, Deed)]) {
        let at = self.world.now();
        let mut wrong = |rule: &'static str, what: String| ending.violations.push(Violation { rule, at, what });
        let did = |deed: fn(&Deed) -> bool| script.iter().any(|(_, done)| deed(done));
        if ending.lost >= 0.5 {
            let worst = self
                .world
                .plane
                .losses
                .iter()
                .filter(|loss| loss.cause == Cause::Machinery)
                .max_by(|one, other| one.requests.total_cmp(&other.requests));
            wrong("no request is lost by the machinery", format!("{:.1} in all, the most: {worst:?}", ending.lost));
        }
        let server = &self.world.server;
        if did(|deed| matches!(deed, Deed::DeleteNamespace)) {
            if server.get("namespaces", "", NAMESPACE).is_some() {
                wrong("L03 a deletion comes to its end", "the namespace is still there".to_owned());
            }
            return;
        }
        let Some(deployment) = server.get("deployments", NAMESPACE, NAME) else { return };
        let wanted = deployment.maybe("/spec/replicas").unwrap_or(1);
        let sets = server.list("replicasets", NAMESPACE);
        let controlled: Vec<_> = sets.iter().filter(|set| set.controller() == Some(deployment.uid())).collect();
        let pods_of = |set: &Value| set.number("/status/replicas");
        let route = server.get("httproutes", NAMESPACE, NAME);
        let Some(rollout) = server.get("rollouts", NAMESPACE, NAME) else {
            // Given back, or taken by force.
            let others: Vec<_> = sets
                .iter()
                .filter(|set| set.controller() != Some(deployment.uid()) && pods_of(set) > 0)
                .map(|set| set.name())
                .collect();
            if !others.is_empty() && !did(|deed| matches!(deed, Deed::DropFinalizer)) {
                wrong("L03 a deletion comes to its end", format!("{others:?} have pods and nobody who is responsible"));
            }
            for name in ["checkout-stable", "checkout-canary"] {
                let service = server.get("services", NAMESPACE, name);
                if service.is_some_and(|it| !it.text("/spec/selector/pod-template-hash").is_empty())
                    && !did(|deed| matches!(deed, Deed::DropFinalizer))
                {
                    wrong("L03 a deletion comes to its end", format!("{name} is left pinned"));
                }
            }
            return;
        };
        if rollout.is_ending() {
            wrong("L03 a deletion comes to its end", format!("{} {}", ending.phase, ending.message));
            return;
        }
        let stable = controlled.iter().find(|set| set.name() == rollout.text("/status/workload/stableReplicaSet"));
        let same = stable.is_some_and(|set| {
            deployments::plain(&set["spec"]["template"]) == deployments::plain(&deployment["spec"]["template"])
        });
        match ending.phase.as_str() {
            "Stable" => {
                if !same {
                    wrong("L01 it comes to rest", "Stable, and the Deployment's template is not stable's".to_owned());
                }
                if deployment.is("/spec/paused") && self.setting.policies != Policy::None {
                    wrong("L01 it comes to rest", "Stable, and the Deployment is paused".to_owned());
                }
            }
            "Aborted" => {
                let candidate = sets
                    .iter()
                    .filter(|set| set.controller() == Some(rollout.uid()))
                    .map(|set| pods_of(set))
                    .sum::<i64>();
                if candidate > 0 {
                    wrong("L01 it comes to rest", format!("Aborted, and {candidate} pods beside stable's"));
                }
            }
            "Waiting" | "Blocked"
                if did(|deed| matches!(deed, Deed::DeleteRoute | Deed::Scale(0) | Deed::DeleteDeployment)) => {}
            "Initializing"
                if did(|deed| matches!(deed, Deed::DeleteRollout(_)))
                    && did(|deed| matches!(deed, Deed::ApplyRollout)) =>
            {
                return;
            }
            "Paused" if did(|deed| matches!(deed, Deed::Act("Pause", _))) => return,
            "AwaitingApproval" => return,
            phase => wrong("L01 it comes to rest", format!("it rests in {phase}: {}", ending.message)),
        }
        if controlled.len() != 1 {
            wrong("I2 the Deployment controls one ReplicaSet", format!("{} at rest", controlled.len()));
        }
        let available = stable.map_or(0, |set| set.number("/status/availableReplicas"));
        if available != wanted && !did(|deed| matches!(deed, Deed::Image(image) if image.contains("flaps"))) {
            wrong("S16 a healthy copy serves", format!("{available} of {wanted} pods of stable at rest"));
        }
        if self.setting.routed && ["Stable", "Aborted"].contains(&ending.phase.as_str()) {
            let canary: u64 = route
                .iter()
                .flat_map(|route| super::checks::weights_of(route))
                .flatten()
                .filter(|(name, _)| name == "checkout-canary")
                .map(|(_, weight)| weight)
                .sum();
            // One that was out of reach keeps its weight, and both Services reach stable.
            if canary != 0 && !self.world.checks.out_of_reach {
                wrong("L01 it comes to rest", format!("the canary has weight {canary} at rest"));
            }
            for name in ["checkout-stable", "checkout-canary"] {
                let service = server.get("services", NAMESPACE, name).unwrap_or_default();
                if !service.text("/spec/selector/pod-template-hash").is_empty() {
                    wrong(
                        "L01 it comes to rest",
                        format!("{name} is pinned to {} at rest", service.text("/spec/selector/pod-template-hash")),
                    );
                }
            }
        }
        let latched = rollout.text("/status/latch/reason");
        let image = pods::image_of(&deployment);
        let bad = image.contains("errors")
            || image.contains("crash")
            || image.contains("never")
            || image.contains("missing")
            || image.contains("no-room");
        let forced = did(|deed| matches!(deed, Deed::Act("PromoteFull" | "Promote", _)));
        if ending.phase == "Stable" && bad && !forced && image != "app:v1" && self.setting.judged {
            wrong("S08 what failed is not promoted", format!("{image} serves"));
        }
        let stopped = did(|deed| matches!(deed, Deed::Act("Abort", _) | Deed::AbortInSwap));
        if ending.phase == "Aborted"
            && !bad
            && !stopped
            && !matches!(latched, "AnalysisFailed" | "ProgressDeadlineExceeded")
        {
            wrong("L01 it comes to rest", format!("{image} was given up for {latched}"));
        }
        if deployments::plain(&deployment["spec"]["template"])["spec"]["containers"][0]["image"]
            != template(image)["spec"]["containers"][0]["image"]
        {
            wrong("I5 of a Deployment only paused and our labels are written", "its template".to_owned());
        }
    }
}

/// What the operator can be kept from doing.
pub const DENIABLE: &[(&str, &str)] = &[
    ("update", "httproutes"),
    ("patch", "httproutes"),
    ("get", "httproutes"),
    ("patch", "replicasets"),
    ("create", "replicasets"),
    ("list", "replicasets"),
    ("patch", "services"),
    ("get", "services"),
    ("patch", "deployments"),
    ("get", "deployments"),
    ("list", "pods"),
    ("list", "endpointslices"),
    ("list", "rolloutactions"),
    ("patch", "rolloutactions/status"),
    ("update", "rollouts/status"),
    ("get", "rollouts"),
    ("get", "clustermetricproviders"),
    ("create", "events"),
    ("watch", "replicasets"),
    ("watch", "rollouts"),
];

fn service_name(stable: bool) -> &'static str {
    if stable { "checkout-stable" } else { "checkout-canary" }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (at, words) in &self.told {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a story")]
            let seconds = *at as f64 / 1_000.0;
            let _ = writeln!(text, "{seconds:9.3}  {words}");
        }
        for violation in &self.violations {
            let _ = writeln!(text, "WRONG at {}: {}: {}", violation.at, violation.rule, violation.what);
        }
        let _ = writeln!(
            text,
            "{} {} ({} commits, {} s, lost {:.1}, harm {:.1})",
            self.phase, self.message, self.commits, self.seconds, self.lost, self.harm
        );
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged() {
        if std::env::var_os("BELLWETHER_LOG").is_some() {
            let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
        }
    }

    #[test]
    fn a_good_release_is_promoted_and_a_bad_one_is_not() {
        logged();
        let good = Story::new("good", 1, vec![(0, Deed::Image("app:v2"))]).tell(None);
        println!("{good}");
        assert!(good.violations.is_empty());
        let bad = Story::new("bad", 2, vec![(0, Deed::Image("app:v2-errors300"))]).tell(None);
        println!("{bad}");
        assert!(bad.violations.is_empty());
        assert_eq!(bad.phase, "Aborted");
    }

    #[test]
    fn steps_are_set_and_adopted_in_the_middle_of_a_release_and_no_request_is_lost() {
        for seed in 0..8 {
            let at = seed * 900;
            let script = vec![
                (0, Deed::Image("app:v2")),
                (5_000 + at, Deed::Act("SetStep half", true)),
                (14_000 + at, Deed::Act("SetStep some", true)),
                (18_000 + at, Deed::Act("SetStep nowhere", true)),
                (20_000 + at, Deed::EditSteps),
                (23_000 + at, Deed::Act("AdoptSteps", true)),
            ];
            let ending = Story::new("steps", seed, script).tell(None);
            println!("{ending}");
            assert_eq!((ending.violations.len(), ending.phase.as_str()), (0, "Stable"), "seed {seed}");
            let told = |words: &str| ending.told.iter().filter(|(_, line)| line.contains(words)).count();
            assert!(told("step half at 50 %") > 0, "seed {seed}");
            assert!(told("step new at 10 %") > 0, "seed {seed}: the new steps are taken");
        }
    }
}
