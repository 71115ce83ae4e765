//! Where stories begin: a shop that serves, an operator in two replicas, and a Rollout that has taken the shop over.
use super::{
    api::{Call, Policies, Server},
    checks,
    deeds::Deed,
    dice::Dice,
    json::Read,
    operator::{Duty, HOME, Replica, Way},
    world::{self, NAMESPACE, OPERATOR, Weather, World, hand::Hand},
};
use crate::cluster::Tamper;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The names of the stories' objects.
pub const NAME: &str = "checkout";
/// Who applies what is in Git.
pub const GIT: &str = "git";
/// A person.
pub const USER: &str = "jane";
/// What nobody may be told, and the same as it is stored.
pub const SECRET: (&str, &str) =
    ("secret-that-is-long-enough-for-an-hmac", "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLWhtYWM=");

/// What the API server and the Rollout are like in a story.
#[derive(Clone, Debug)]
pub struct Setting {
    pub replicas: i64,
    pub policies: Policy,
    pub steps: Value,
    pub judged: bool,
    /// Whether what is judged is in a template.
    pub templated: bool,
    pub routed: bool,
    /// Whether the routes are the operator's to write.
    pub owned: bool,
    /// The routes that share out the requests, by their names.
    pub routes: &'static [&'static str],
    /// Whether there is no room for twice the pods.
    pub narrow: bool,
    /// How many pods may be starting at once; 0 where nobody says so.
    pub starting: i64,
    /// For so many seconds a pod has to be ready before it counts.
    pub ready_seconds: i64,
    /// What the Rollout says of what most say nothing of.
    pub terms: Terms,
    pub on_delete: &'static str,
    pub scale_down_delay: &'static str,
    pub weather: Weather,
    pub replicas_of_operator: usize,
    /// How the operator reaches the API server.
    pub way: Way,
    /// How long a settled world has to stay as it is, in milliseconds.
    pub quiet: u64,
    /// Whether the story begins with the Deployment held already.
    pub held: bool,
    /// How long a candidate may take to become ready.
    pub deadline: &'static str,
    /// How long a comparison that proves nothing is waited for.
    pub inconclusive: &'static str,
    /// So many former ReplicaSets the Deployment keeps.
    pub history: i64,
    /// What the Deployment rolled by itself, one image after the other, before anybody told the operator of it.
    pub former: &'static [&'static str],
    /// Whether the replicas are two operators, each with Rollouts of its own.
    pub sharded: bool,
    /// So many Rollouts are looked at side by side.
    pub side_by_side: u16,
    /// Where looks come one after the other: the least time between two that changes call for, in milliseconds.
    pub crowd: u64,
    /// The mistake with which the operator sends its requests.
    pub bent: Option<fn(&mut Call)>,
}

/// What a Rollout may say of people's part, and of what is stuck, unproven and unseen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// The step that a person has to agree to, by its place from the first on.
    pub approval: Option<usize>,
    /// Whether there is a last step in which the candidate gets everything.
    pub full: bool,
    /// Whether a candidate that is stuck waits for a person.
    pub pauses: bool,
    /// Whether a candidate of which nothing is seen is given up.
    pub gives_up: bool,
    /// Whether what is not proven waits for a person.
    pub waits: bool,
    /// Whether a step without requests is left.
    pub unjudged: bool,
    /// Whether no former revision returns without steps.
    pub forgets: bool,
    /// Whether the Deployment may be made smaller while a release is on trial.
    pub sinks: bool,
}

impl Terms {
    /// The steps with what is to be said of them.
    pub fn of_steps(&self, steps: &Value, may_be_full: bool) -> Value {
        let mut steps: Vec<Value> = steps.as_array().cloned().unwrap_or_default();
        if self.full && may_be_full {
            steps.push(json!({"name": "full", "weight": 100, "observe": "3s"}));
        }
        let count = steps.len().max(1);
        if let Some(step) = self.approval.and_then(|at| steps.get_mut(at % count)) {
            step["approval"] = json!("Required");
        }
        json!(steps)
    }
}

/// Which admission policies are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All of them, as from Kubernetes 1.36 on.
    All,
    /// Only those that validate, as before.
    Validating,
    /// None.
    None,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            replicas: 4,
            policies: Policy::All,
            steps: json!([
                {"name": "warm", "weight": 0, "observe": "3s"},
                {"name": "some", "weight": 20, "observe": "8s"},
                {"name": "half", "weight": 50, "observe": "8s"},
            ]),
            judged: true,
            templated: false,
            routed: true,
            owned: false,
            routes: &[NAME],
            narrow: false,
            starting: 0,
            ready_seconds: 0,
            terms: Terms::default(),
            on_delete: "Hold",
            scale_down_delay: "5s",
            weather: Weather::default(),
            replicas_of_operator: 2,
            way: Way::Http,
            quiet: 40_000,
            held: false,
            deadline: "30s",
            inconclusive: "20s",
            history: 10,
            former: &[],
            sharded: false,
            side_by_side: 16,
            crowd: 120,
            bent: None,
        }
    }
}

impl Setting {
    fn policies(&self, seed: u64) -> Policies {
        Policies {
            belt: self.policies != Policy::None,
            hold: self.policies == Policy::All,
            floor: self.policies == Policy::All,
            route_weights: self.policies == Policy::All,
            action_author: self.policies == Policy::All,
            operator: OPERATOR.to_owned(),
            lag: Duration::from_millis(Dice::of(seed, "policies").range(0, checks::HEARSAY)),
            ..Policies::default()
        }
    }

    /// The setting of its past: what can be changed later is as always.
    fn of_past(&self) -> Self {
        Self {
            replicas: self.replicas,
            policies: self.policies,
            judged: self.judged,
            routed: self.routed,
            owned: self.owned,
            routes: self.routes,
            ready_seconds: self.ready_seconds,
            history: self.history,
            former: self.former,
            weather: if self.routed { Weather::default() } else { self.weather.clone() },
            way: Way::Straight,
            replicas_of_operator: 1,
            ..Self::default()
        }
    }
}

/// A stage with everything on it.
pub struct Stage {
    pub world: World,
    pub replicas: Vec<Arc<Replica>>,
    pub setting: Setting,
    /// When what is told began, in milliseconds.
    pub begun: u64,
    /// Whether a mistake is planted: then the first thing that is wrong is enough.
    pub planted: bool,
    pub jane: Hand,
    pub git: Hand,
}

/// The Deployment's template with this image.
pub fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": NAME}},
        "spec": {"containers": [{"name": "app", "image": image, "ports": [{"containerPort": 8080}]}]},
    })
}

impl Stage {
    /// A shop that serves; the operator has not been told of it yet.
    pub async fn set(seed: u64, setting: Setting, tamper: Option<Arc<dyn Tamper>>) -> Self {
        let base: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = world::clock(base, tokio::time::Instant::now());
        let server = Server::new(clock.clone());
        server.register_ours();
        // Of no other kind does anybody ask who wrote what.
        server.note_managers_of(&["services", "httproutes"]);
        server.set_policies(setting.policies(seed));
        let world = World::new(server.clone(), base, seed, setting.weather.clone());
        let mut stage = Self::around(world, seed, setting, tamper.as_ref());
        stage.open().await;
        stage
    }

    /// People and an operator around a world.
    fn around(world: World, seed: u64, setting: Setting, tamper: Option<&Arc<dyn Tamper>>) -> Self {
        let (server, clock) = (world.server.clone(), world.server.clock());
        let replica = |index: usize| {
            let dice = Dice::of(seed, &format!("replica {index}"));
            let name = format!("bellwether-{index}");
            let (server, outside) = (server.clone(), world.outside.clone());
            let shard = match (setting.sharded, index) {
                (false, _) => Duty::default(),
                (true, 0) => Duty { lease: "bellwether-pay", selector: "team!=web", ..Duty::default() },
                (true, _) => Duty { lease: "bellwether-web", selector: "team=web", ..Duty::default() },
            };
            let crowd = Duration::from_millis(setting.crowd);
            let duty = Duty { way: setting.way, side_by_side: setting.side_by_side, crowd, ..shard };
            Replica::new(&name, duty, server, outside, clock.clone(), dice, tamper.cloned())
        };
        let replicas: Vec<Arc<Replica>> = (0..setting.replicas_of_operator).map(replica).collect();
        for replica in &replicas {
            replica.trouble(|trouble| trouble.bent = setting.bent);
        }
        let (jane, git) = (world.hand(USER), world.hand(GIT));
        Self { world, replicas, setting, begun: 0, planted: tamper.is_some(), jane, git }
    }

    /// A stage on which the Deployment is held already. Its past is told once for all stories of such a shop; chances, weather
    /// and what else the Rollout says are the story's own from here on.
    pub async fn adopted(seed: u64, setting: &Setting, tamper: Option<Arc<dyn Tamper>>) -> Self {
        let past = Past::of(setting);
        let mut world = past.world.fork(past.passed, seed);
        world.weather = setting.weather.clone();
        world.server.set_policies(setting.policies(seed));
        let mut stage = Self::around(world, seed, setting.clone(), tamper.as_ref());
        let (stored, wanted) = (stage.world.server.get("rollouts", NAMESPACE, NAME), stage.rollout());
        if let Some(stored) = stored {
            let _ = stage.git.merge("rollouts", &stored, json!({"spec": wanted["spec"]}));
        }
        stage.begin();
        stage.pass(1_000).await;
        stage
    }

    /// The operator's processes begin to live.
    fn begin(&self) {
        for replica in &self.replicas {
            tokio::spawn(replica.clone().live());
        }
    }

    async fn open(&mut self) {
        let admin = self.world.hand("admin");
        for name in [NAMESPACE, HOME] {
            admin
                .create("namespaces", "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
                .unwrap();
        }
        let (gateways, name) = ("gateway.networking.k8s.io/v1", "gateway");
        let class = json!({
            "apiVersion": gateways, "kind": "GatewayClass", "metadata": {"name": name}, "spec": {"controllerName": "example.com/gateway"},
            "status": {"supportedFeatures": [{"name": "HTTPRoute"}, {"name": "HTTPRouteRequestPercentageMirror"}]},
        });
        let gateway = json!({
            "apiVersion": gateways, "kind": "Gateway", "metadata": {"name": name},
            "spec": {"gatewayClassName": name, "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}]},
        });
        admin.create("gatewayclasses", "", class.clone()).unwrap();
        self.world.server.replace_status("admin", "gatewayclasses", "", class).unwrap();
        admin.create("gateways", NAMESPACE, gateway).unwrap();
        let provider = json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "ClusterMetricProvider", "metadata": {"name": "prometheus"},
            "spec": {"prometheus": {"url": "http://prometheus.monitoring.svc:9090", "scrapeInterval": "2s"}},
        });
        admin.create("clustermetricproviders", "", provider).unwrap();
        admin.create("analysistemplates", NAMESPACE, Self::template_of_analysis()).unwrap();
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "on-call"}, "data": {"key": SECRET.1}});
        admin.create("secrets", NAMESPACE, secret).unwrap();
        let receiver = json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "AlertReceiver", "metadata": {"name": "on-call"},
            "spec": {"webhook": {"url": "https://alerts.example", "secretRef": {"name": "on-call", "key": "key"}}},
        });
        admin.create("alertreceivers", NAMESPACE, receiver).unwrap();
        let images = self.setting.former.iter().copied().chain(["app:v1"]);
        let first = images.clone().next().unwrap_or_default();
        self.git.create("deployments", NAMESPACE, self.deployment(first)).unwrap();
        self.git.create("services", NAMESPACE, Self::service()).unwrap();
        if self.setting.routed && !self.setting.owned {
            for name in self.setting.routes {
                self.git.create("httproutes", NAMESPACE, Self::route(name, &[(NAME, 100)])).unwrap();
            }
        }
        self.world.plane.rate = 0.0;
        self.until(60_000, serves).await;
        for image in images.skip(1) {
            self.doing(&Deed::Image(image));
            self.pass(1_000).await;
            self.until(240_000, serves).await;
        }
        self.pass(3_000).await;
        if !self.setting.routed {
            self.world.plane.route("direct/0", Some(vec![(NAME.to_owned(), 100)]));
        }
        self.world.plane.rate = self.setting.weather.rate;
    }

    /// The operator starts, the Rollout is made, the route is prepared: from here on the Deployment is held.
    pub async fn adopt(&mut self) {
        self.begin();
        self.git.create("rollouts", NAMESPACE, self.rollout()).unwrap();
        if self.setting.routed && !self.setting.owned {
            self.until(120_000, |world| phase(world).1.contains("backendRefs")).await;
            self.pass(3_000).await;
            for name in self.setting.routes {
                let route = Self::route_home(name);
                let stored = self.world.server.get("httproutes", NAMESPACE, name).unwrap();
                self.git.merge("httproutes", &stored, json!({"spec": route["spec"]})).unwrap();
            }
        }
        self.until(120_000, |world| phase(world).0 == "Stable").await;
        self.pass(2_000).await;
    }

    /// The Deployment as it is in Git.
    pub fn deployment(&self, image: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"replicas": self.setting.replicas, "minReadySeconds": self.setting.ready_seconds, "revisionHistoryLimit": self.setting.history, "selector": {"matchLabels": {"app": NAME}}, "template": template(image)},
        })
    }

    fn service() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"selector": {"app": NAME}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        })
    }

    /// A route as it is in Git, with all requests at stable.
    pub fn route_home(name: &str) -> Value {
        Self::route(name, &[("checkout-stable", 100), ("checkout-canary", 0)])
    }

    /// A route of this name with these backends.
    fn route(name: &str, backends: &[(&str, u64)]) -> Value {
        let backends: Vec<_> =
            backends.iter().map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight})).collect();
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gateway"}],
                "hostnames": [format!("{name}.example")],
                "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends}],
            },
        })
    }

    /// What is measured, as a template.
    pub fn template_of_analysis() -> Value {
        json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "shop"},
            "spec": {"args": [{"name": "interval"}], "metrics": [{"name": "errors", "preset": "app/error-rate"}]},
        })
    }

    /// The Rollout as it is in Git.
    pub fn rollout(&self) -> Value {
        let terms = &self.setting.terms;
        let analysis = if self.setting.judged {
            let (metrics, templates) = if self.setting.templated {
                (json!([]), json!([{"name": "shop", "args": [{"name": "interval", "value": "10s"}]}]))
            } else {
                (json!([{"name": "errors", "preset": "app/error-rate"}]), json!([]))
            };
            json!({
                "provider": {"kind": "ClusterMetricProvider", "name": "prometheus"},
                "metrics": metrics, "templates": templates,
                // The shop has no past from which to learn that its errors come one by one.
                "margins": {"bursts": 1},
                "onInconclusive": {"after": self.setting.inconclusive, "then": if terms.waits { "Wait" } else { "Advance" }},
                "onUnknown": if terms.gives_up { json!({"after": "9s", "then": "Abort"}) } else { json!({}) },
                "whenNoTraffic": if terms.unjudged { json!({"after": "9s", "then": "AdvanceAfter"}) } else { json!({}) },
            })
        } else {
            json!({"mode": "None"})
        };
        let traffic = if self.setting.routed {
            let route = |name: &&str| {
                let mut route =
                    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": name});
                if self.setting.owned {
                    route["ownership"] = json!("Operator");
                    let equal = Self::route(name, &[("checkout-stable", 1), ("checkout-canary", 1)]);
                    route["template"] = json!({"spec": equal["spec"]});
                }
                route
            };
            let routes: Vec<_> = self.setting.routes.iter().map(route).collect();
            json!({
                "services": {"stable": "checkout-stable", "canary": "checkout-canary"}, "port": 80,
                "routes": routes, "unrouted": [NAME],
            })
        } else {
            json!({"unrouted": [NAME]})
        };
        let mut capacity = if self.setting.narrow { json!({"maxPods": "150%"}) } else { json!({}) };
        if self.setting.starting > 0 {
            capacity["maxStarting"] = json!(self.setting.starting);
        }
        if terms.sinks {
            capacity["floor"] = json!("None");
        }
        let steps = terms.of_steps(&self.setting.steps, self.setting.routed && !self.setting.narrow);
        json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
                "traffic": traffic, "steps": steps, "progress": {"deadline": self.setting.deadline, "onStuck": if terms.pauses { "Pause" } else { "Abort" }},
                "rollbackWindow": if terms.forgets { json!({"revisions": 0}) } else { json!({}) },
                "scaleDownDelay": self.setting.scale_down_delay, "onDelete": self.setting.on_delete, "analysis": analysis, "capacity": capacity,
                "alerts": [{"receiver": {"name": "on-call"}, "on": ["Aborted", "Blocked", "Promoted"]}],
            },
        })
    }

    /// The gateway looks at every route again, as after it was silent.
    pub fn look_at_routes(&mut self) {
        for name in self.setting.routes {
            self.world.look_at_route(name);
        }
    }

    /// Lets so many milliseconds pass.
    pub async fn pass(&mut self, time: u64) {
        let end = self.world.now() + time;
        self.world.live_until(end).await;
    }

    /// Whether the planted mistake is found.
    pub fn is_enough(&self) -> bool {
        self.planted && !self.world.checks.violations.is_empty()
    }

    /// Lets time pass until this millisecond of the story.
    pub async fn live_until(&mut self, end: u64) {
        while self.planted && self.world.now() + 2_000 < end && !self.is_enough() {
            self.pass(2_000).await;
        }
        if !self.is_enough() {
            self.world.live_until(end).await;
        }
    }

    /// Lets time pass until this holds, at the most so many milliseconds. Whether it came to hold.
    pub async fn until(&mut self, longest: u64, holds: impl Fn(&World) -> bool) -> bool {
        let end = self.world.now() + longest;
        while !holds(&self.world) {
            if self.world.now() >= end || self.is_enough() {
                return false;
            }
            self.pass(200).await;
        }
        true
    }
}

/// What happened until a Deployment was held.
struct Past {
    world: World,
    passed: u64,
}

impl Past {
    /// The past of a setting.
    fn of(setting: &Setting) -> Arc<Self> {
        static KNOWN: Mutex<BTreeMap<String, Arc<Past>>> = Mutex::new(BTreeMap::new());
        let setting = setting.of_past();
        let name = format!("{setting:?}");
        let known = |name: &str| KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(past) = known(&name) {
            return past;
        }
        let seed = name.bytes().fold(7, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // In a time of its own: a runtime cannot begin within another.
        let told = std::thread::spawn(move || {
            fastrand::seed(seed);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.unwrap().block_on(async {
                let mut stage = Stage::set(seed, setting, None).await;
                stage.adopt().await;
                stage.world.absorb();
                Self { passed: stage.world.now(), world: stage.world }
            })
        });
        let past = Arc::new(told.join().unwrap());
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(name, past.clone());
        past
    }
}

/// Whether the Deployment has all its pods, all of its template.
fn serves(world: &World) -> bool {
    let Some(deployment) = world.server.get("deployments", NAMESPACE, NAME) else { return false };
    let wanted = deployment.number("/spec/replicas");
    let counts = ["replicas", "updatedReplicas", "availableReplicas"];
    let seen = deployment.number("/status/observedGeneration") == deployment.number("/metadata/generation");
    wanted > 0 && seen && counts.iter().all(|count| deployment.number(&format!("/status/{count}")) == wanted)
}

/// The Rollout's phase and message.
pub fn phase(world: &World) -> (String, String) {
    let rollout = world.server.get("rollouts", NAMESPACE, NAME);
    rollout.map_or_else(Default::default, |rollout| {
        (rollout.text("/status/phase").to_owned(), rollout.text("/status/message").to_owned())
    })
}
