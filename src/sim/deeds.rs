//! What people, machines and accidents do in a story.
use super::{
    json::Read,
    stage::{NAME, Stage},
    world::{MARKET, NAMESPACE, OPERATOR, prometheus::Mood},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The name of a second Rollout of the same Deployment.
pub const RIVAL: &str = "rival";

/// Rollouts of the market: one about which nobody answers, and one that somebody does not stop to write on.
const SILENT: &str = "silent";
const BUSY: &str = "busy";

/// Something that somebody does, or that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Git, or a person, changes the image.
    Image(&'static str),
    /// Somebody, or an autoscaler, changes the replicas.
    Scale(i64),
    /// A command, as `SetStep half` with the step it is about; the second says whether it expects what it saw.
    Act(&'static str, bool),
    /// A command that comes late: it expects the revision that serves, and not the one on trial.
    Late(&'static str),
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
    /// The Deployment is deleted, with this propagation.
    DeleteDeployment(&'static str),
    /// The namespace is deleted.
    DeleteNamespace,
    /// The Rollout's traffic, or its steps, are edited.
    EditTraffic,
    EditSteps,
    /// What is measured has another name from now on, and may be explored further.
    EditAnalysis,
    /// The template of what is measured is deleted, or made again.
    DeleteTemplate,
    CreateTemplate,
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
    /// Of a thousand events of a replica's watches so many are left out or come twice.
    Blur(usize, u64),
    /// Connections are kept whatever the weights say, from now on or not; so many requests a second arrive.
    Sticky(bool),
    Rate(u64),
    /// Writes of this kind are refused with this code by somebody's webhook, for so long.
    Refuse(usize, &'static str, u16, u64),
    /// Rollouts that the definition takes and nobody can carry out.
    Poison,
    /// A second Rollout that names the same Deployment, Services and route.
    Rival,
    /// For so long there are Rollouts in another namespace that take their time, and one that is never let alone.
    Crowd(u64),
    /// The cluster is put back to what it was so many milliseconds ago; Prometheus is not.
    Restore(u64),
    /// The Rollout's label changes, and with it whose it is where there are several operators.
    Relabel(&'static str),
}

impl Deed {
    /// How long what it begins goes on by itself, in milliseconds.
    pub fn lasts(&self) -> u64 {
        match self {
            Self::StallWatches(_, time)
            | Self::WatchLag(_, time)
            | Self::Freeze(_, time)
            | Self::Outage(_, time)
            | Self::Refuse(.., time)
            | Self::Crowd(time) => *time,
            _ => 0,
        }
    }
}

impl Stage {
    /// Does it.
    #[expect(clippy::too_many_lines, reason = "one arm for each deed")]
    pub fn doing(&mut self, deed: &Deed) {
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
                let rollout = get("rollouts", NAME).filter(|_| *expects).unwrap_or_default();
                let revision = match rollout.text("/status/flight/revision") {
                    "" => rollout.text("/status/latch/revision"),
                    revision => revision,
                };
                self.command(action, revision);
            }
            Deed::Late(action) => {
                let rollout = get("rollouts", NAME).unwrap_or_default();
                self.command(action, rollout.text("/status/stable/revision"));
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
                for name in self.setting.routes {
                    let route = Self::route_home(name);
                    if *server_side {
                        let _ = server.apply("git", ("git", true), "httproutes", NAMESPACE, route);
                    } else if let Some(stored) = get("httproutes", name) {
                        let _ = self.git.merge("httproutes", &stored, json!({"spec": route["spec"]}));
                    }
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
                let _ = self.git.create("httproutes", NAMESPACE, Self::route_home(NAME));
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
            Deed::DeleteDeployment(propagation) => {
                if let Some(deployment) = get("deployments", NAME) {
                    let _ = self.jane.delete_so("deployments", &deployment, propagation);
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
            Deed::EditAnalysis => {
                if let Some(rollout) = get("rollouts", NAME).filter(|_| self.setting.judged && !self.setting.templated)
                {
                    let analysis =
                        json!({"exploreUpTo": 60, "metrics": [{"name": "failures", "preset": "app/error-rate"}]});
                    let _ = self.git.merge("rollouts", &rollout, json!({"spec": {"analysis": analysis}}));
                }
            }
            Deed::DeleteTemplate => {
                if let Some(template) = get("analysistemplates", "shop") {
                    let _ = self.jane.delete("analysistemplates", &template);
                }
            }
            Deed::CreateTemplate => drop(self.git.create("analysistemplates", NAMESPACE, Self::template_of_analysis())),
            Deed::EditSteps => {
                if let Some(rollout) = get("rollouts", NAME) {
                    let steps = json!([{"name": "warm", "weight": 0, "observe": "2s"}, {"name": "new", "weight": 10, "observe": "4s"}]);
                    let steps = self.setting.terms.of_steps(&steps, self.setting.routed && !self.setting.narrow);
                    let _ = self.git.merge("rollouts", &rollout, json!({"spec": {"steps": steps}}));
                }
            }
            Deed::Prometheus(mood) => self.outside().prometheus.mood = *mood,
            Deed::ForgetHistory => self.outside().prometheus.forget(),
            Deed::Receivers { down } => self.outside().receivers_down = *down,
            Deed::Gateway { writes } => {
                self.world.gateway_writes = *writes;
                if *writes {
                    self.look_at_routes();
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
            Deed::Skew(at, by) => {
                self.world.checks.skewed = true;
                replica(*at).skew(*by);
            }
            Deed::Crowd(time) => self.crowd(*time),
            Deed::Restore(back) => self.restore(*back),
            Deed::Relabel(team) => {
                if let Some(rollout) = get("rollouts", NAME) {
                    let _ = self.git.merge("rollouts", &rollout, json!({"metadata": {"labels": {"team": team}}}));
                }
            }
            Deed::UpgradeServer => server.set_extra_defaults(json!({"spec": {"brandNew": true}})),
            Deed::ResumeDeployment => {
                if let Some(deployment) = get("deployments", NAME) {
                    let _ = self.jane.merge("deployments", &deployment, json!({"spec": {"paused": null}}));
                }
            }
            Deed::Blur(at, often) => replica(*at).trouble(|trouble| trouble.blurred = *often),
            Deed::Sticky(sticky) => self.world.plane.sticky = *sticky,
            #[expect(clippy::cast_precision_loss, reason = "few requests")]
            Deed::Rate(rate) => self.world.plane.rate = *rate as f64,
            Deed::Refuse(at, plural, code, time) => {
                let until = Instant::now() + Duration::from_millis(*time);
                replica(*at).trouble(|trouble| trouble.refused = Some((plural, *code, until)));
                self.world.checks.out_of_reach |= *plural == "httproutes";
            }
            Deed::Poison => self.poison(),
            Deed::Rival => {
                let mut rival = self.rollout();
                rival["metadata"]["name"] = json!(RIVAL);
                let _ = self.git.create("rollouts", NAMESPACE, rival);
            }
            Deed::DropFinalizer => {
                if let Some(rollout) = get("rollouts", NAME) {
                    let _ = self.jane.merge("rollouts", &rollout, json!({"metadata": {"finalizers": []}}));
                }
            }
        }
    }

    /// Rollouts that the API server takes, each absurd in its own way.
    fn poison(&self) {
        let mut nobody = self.rollout();
        nobody["metadata"] =
            json!({"name": "poison", "namespace": NAMESPACE, "annotations": {"note": "x".repeat(200_000)}});
        nobody["spec"]["workloadRef"]["name"] = json!("nobody");
        nobody["spec"]["steps"] =
            (0..16).map(|at| json!({"name": format!("step-{at}"), "weight": at % 2 * 99, "observe": "720h"})).collect();
        let mut rival = self.rollout();
        rival["metadata"]["name"] = json!(RIVAL);
        let mut no_name = self.rollout();
        no_name["metadata"]["name"] = json!("x".repeat(63));
        no_name["spec"]["workloadRef"]["name"] = json!("-.-");
        for poison in [nobody, rival, no_name] {
            let _ = self.jane.create("rollouts", NAMESPACE, poison);
        }
    }

    /// A command, as `SetStep half`, that expects this revision, if any.
    fn command(&self, action: &str, revision: &str) {
        let (action, to) = action.split_once(' ').map_or((action, None), |(action, to)| (action, Some(to)));
        let mut spec = json!({"rollout": NAME, "action": action});
        if let Some(to) = to {
            spec["to"] = json!(to);
        }
        if !revision.is_empty() {
            spec["expect"] = json!({"revision": revision});
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

    /// Rollouts in another namespace: nobody answers about one of them, and somebody writes on another all the time.
    fn crowd(&mut self, time: u64) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MARKET}});
        let _ = self.jane.create("namespaces", "", namespace);
        for name in [SILENT, BUSY] {
            let mut rollout = self.rollout();
            rollout["metadata"] = json!({"name": name, "namespace": MARKET, "labels": {"team": "web"}});
            rollout["spec"]["workloadRef"]["name"] = json!(name);
            // Nobody is there who could be told.
            rollout["spec"]["alerts"] = json!([]);
            let _ = self.jane.create("rollouts", MARKET, rollout);
        }
        for replica in &self.replicas {
            replica.trouble(|trouble| trouble.silent = Some(SILENT));
        }
        self.world.pester(BUSY, time);
    }

    /// The cluster is as it was; no further back than to where the story began.
    fn restore(&mut self, back: u64) {
        let then = self.world.now().saturating_sub(back).max(self.begun);
        let before = i64::try_from(self.world.now() - then).unwrap_or(0);
        let moment = self.world.clock() - jiff::SignedDuration::from_millis(before);
        let server = &self.world.server;
        server.restore(server.version_at(moment));
        self.outside().prometheus.asked.clear();
    }

    /// What is outside, as it is now.
    pub fn outside(&self) -> std::sync::MutexGuard<'_, super::world::Outside> {
        self.world.outside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
    ("get", "analysistemplates"),
    ("create", "events"),
    ("watch", "replicasets"),
    ("watch", "rollouts"),
];

fn service_name(stable: bool) -> &'static str {
    if stable { "checkout-stable" } else { "checkout-canary" }
}
