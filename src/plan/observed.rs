//! Everything a decision may look at, read once, with `now` among it.
//!
//! Objects travel here as the few facts that matter; templates as raw JSON, so that no field is lost for being unknown.
use crate::{
    api::{Action, Expect, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Reason, Rollout},
    duration::Duration,
    metrics::{self, Whereabouts},
    notify,
    traffic::{RouteRef, RouteSeen, Unsteerable},
};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Labels, selectors, annotations.
pub type Map = BTreeMap<String, String>;

/// The texts of a JSON object, like labels; whatever else stands in it is left out.
pub fn strings(value: &Value) -> Map {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// When.
    pub now: Timestamp,
    /// How often leadership has changed hands.
    pub epoch: i32,
    /// Since when the leader that looks leads and has this Rollout, by the clock that says `now`.
    pub led_since: Option<Timestamp>,
    /// The Rollout as it was read.
    pub rollout: Rollout,
    /// Whether its namespace is being deleted.
    pub namespace_ending: bool,
    /// The Deployment it names.
    pub deployment: Option<Deployment>,
    /// Its ReplicaSets: those that its selector matches, and those with our label.
    pub replica_sets: Vec<ReplicaSet>,
    /// The pods that its selector matches.
    pub pods: Vec<Pod>,
    /// The Service that is home.
    pub stable_service: Option<Service>,
    /// The Service that is the trial.
    pub canary_service: Option<Service>,
    /// Other Services whose selector matches the pods.
    pub other_services: Vec<Service>,
    /// The routes in force, in their order.
    pub routes: Vec<Route>,
    /// Copies of templates that are kept for this Rollout; looked for only at rest, and when stable's ReplicaSet is gone.
    pub kept: Vec<Kept>,
    /// What holds the Deployment controller back.
    pub belt: Belt,
    /// What else than the belt refuses its probe, in its words.
    pub probe: Option<String>,
    /// The last write of this Rollout that the API server refused for good.
    pub refused: Option<Refused>,
    /// What is wrong with the spec, so that it cannot even be read; then the rest of it is the little that could be.
    pub malformed: Option<String>,
    /// What in the namespace counts the pods of both revisions together.
    pub crowd: Vec<Crowd>,
    /// Older Rollouts that name what this one names too; looked for only until it holds its Deployment.
    pub elders: Vec<Elder>,
    /// What a gateway cannot do of what the steps ask.
    pub unable: Option<String>,
    /// What is wrong with the provider that the spec names, if anything is to be judged.
    pub provider: Option<String>,
    /// Actions without an answer, oldest first.
    pub actions: Vec<PendingAction>,
    /// An action that was answered long ago, by name and uid.
    pub expired: Option<(String, String)>,
    /// The last measurement of this candidate.
    pub measured: Measured,
    /// What stable did of late, by metric, if it is known; asked for only at rest.
    pub pasts: Option<Vec<(String, metrics::Past)>>,
    /// What came of the alerts that this operator has tried to deliver, by delivery id.
    pub tried: BTreeMap<String, Tried>,
}

/// What came of the tries to deliver an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The receiver has it.
    Delivered,
    /// Not yet, and why the last try failed.
    Failed(String),
    /// It is not tried again, and why the last try failed.
    Abandoned(String),
}

/// The Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// The generation of its spec.
    pub generation: i64,
    /// The generation that its controller has seen.
    pub observed_generation: i64,
    /// Whether it is paused.
    pub paused: bool,
    /// D: the pods it wants.
    pub replicas: i32,
    /// Its template, as it is.
    pub template: Value,
    /// Its selector, as it is.
    pub selector: Value,
    /// `RollingUpdate` or `Recreate`.
    pub strategy: String,
    /// Pods it may have above D while rolling.
    pub max_surge: i32,
    /// Pods it may lack while rolling.
    pub max_unavailable: i32,
    /// ReplicaSets it keeps.
    pub history_limit: i32,
    /// `minReadySeconds`.
    pub min_ready_seconds: i32,
    /// Pods by its status.
    pub status_replicas: i32,
    /// Pods of the newest template by its status.
    pub updated: i32,
    /// Available pods by its status.
    pub available: i32,
    /// Whose it is.
    pub claim: Claim,
}

/// Who holds an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// Nobody.
    #[default]
    Free,
    /// This Rollout.
    Ours,
    /// Another Rollout that lives.
    Foreign(String),
}

/// A ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaSet {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// When it was made.
    pub created: Timestamp,
    /// How often its spec was written; 1 as it was made.
    pub generation: i64,
    /// Uid of the controlling owner.
    pub controller: Option<String>,
    /// Its own labels.
    pub labels: Map,
    /// Its annotations.
    pub annotations: Map,
    /// Pods wanted.
    pub replicas: i32,
    /// Pods there are.
    pub status_replicas: i32,
    /// Pods ready.
    pub ready: i32,
    /// Pods available.
    pub available: i32,
    /// Why its pods cannot be made, in the words of who refuses them.
    pub refused: Option<Stuck>,
    /// Its template without the hash label.
    pub template: Value,
    /// The hash label of its template.
    pub hash: String,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The hash label.
    pub hash: String,
    /// Whether it is ready and not on its way out.
    pub ready: bool,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When one of its containers last ended.
    pub ended: Option<Timestamp>,
    /// How often the one of its containers has ended by itself that did so most, if it did not live long: a node that is
    /// started again ends each once, and what ends once a day does not end again and again.
    /// Containers that only prepare it do not count.
    pub restarts: i32,
    /// What keeps it from running.
    pub stuck: Option<Stuck>,
    /// Where it is, for those who read its page of metrics.
    pub at: Whereabouts,
}

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The sort of it.
    pub cause: Reason,
    /// In the words of the kubelet, the scheduler or the API server.
    pub text: String,
}

/// Something in the namespace that counts pods of both revisions together; looked for only when a flight may begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Crowd {
    /// A quota.
    Quota {
        /// Its name.
        name: String,
        /// What it counts.
        resource: String,
        /// So many there may be.
        hard: i64,
        /// So many there are.
        used: i64,
    },
    /// A budget for disruptions.
    Budget {
        /// Its name.
        name: String,
        /// What it selects.
        selector: Value,
        /// Whether it lets no pod go.
        strict: bool,
    },
}

/// A Service and what it reaches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// What it selects.
    pub selector: Map,
    /// When it was made, in whole seconds.
    pub created: Timestamp,
    /// Its ports, as they are.
    pub ports: Vec<Value>,
    /// Its whole spec, as it is.
    pub spec: Value,
    /// Whether this Rollout made it, and nobody holds it in Git.
    pub ours: bool,
    /// Whether a Rollout that is gone made it.
    pub orphaned: bool,
    /// The uids of its owners.
    pub owners: BTreeSet<String>,
    /// Names of the pods behind it that are ready.
    pub endpoints: BTreeSet<String>,
}

/// A route of the spec.
#[derive(Clone, Debug)]
pub struct Route {
    /// As the spec names it.
    pub reference: RouteRef,
    /// What was found.
    pub found: Found,
    /// Why the last write of it was refused, if that was a moment ago.
    pub refused: Option<String>,
    /// Which of the spec's steps it cannot carry, and why; looked for only while steps may come into force.
    pub unfit: Option<String>,
}

/// An older Rollout, and which of our objects it names too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elder {
    /// Its name.
    pub name: String,
    /// The objects, each by its [`identity`].
    pub objects: BTreeSet<String>,
}

/// What tells an object of a namespace from all others, whichever version of its group names it: Kind.group/name.
pub fn identity(api_version: &str, kind: &str, name: &str) -> String {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    format!("{kind}.{group}/{name}")
}

/// A copy of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The ReplicaSet that had it.
    pub replica_set: String,
    /// The ReplicaSet's hash.
    pub hash: String,
    /// The template.
    pub template: Value,
}

/// A write that the API server refused, and would again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The effect's verb.
    pub verb: String,
    /// Its object.
    pub object: String,
    /// In the API server's words.
    pub why: String,
}

/// What was found where a route should be.
#[derive(Clone, Debug)]
pub enum Found {
    /// Nothing.
    Missing,
    /// The API server does not serve its kind.
    NotServed,
    /// It could not be read, for this reason.
    Unreadable(String),
    /// An object.
    Object {
        /// Whose it is.
        claim: Claim,
        /// Whether its annotations name the two Services for the admission policy.
        names_pair: bool,
        /// What its router reads in it.
        seen: Result<RouteSeen, Unsteerable>,
        /// Whether it is ours to write and is not as its template says.
        drifted: bool,
        /// The Services that it names, for the ports of ours.
        backends: Vec<String>,
        /// How long those who answer for it take to do what it says, where they are known to be slow.
        pace: Duration,
    },
}

/// What holds the Deployment controller back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Belt {
    /// Nobody asked yet, or the policy is there and has not refused a probe.
    #[default]
    NotYet,
    /// The policy refused a probe with our words.
    Armed,
    /// There is no such policy.
    Absent,
}

/// An action without an answer.
#[derive(Clone, Debug)]
pub struct PendingAction {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its version, as it was read.
    pub resource_version: String,
    /// What to do.
    pub action: Action,
    /// What the Rollout must look like.
    pub expect: Option<Expect>,
    /// The step to enter.
    pub to: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who, and whether the API server vouches for it.
    pub by: Option<String>,
}

/// The last measurement.
#[derive(Clone, Debug, Default)]
pub enum Measured {
    /// None of this candidate.
    #[default]
    NotYet,
    /// The provider cannot be asked.
    NoProvider(String),
    /// Numbers.
    Read {
        /// When.
        at: Timestamp,
        /// In the order of the spec, with each metric's name.
        metrics: Vec<(String, metrics::Seen)>,
    },
}

impl ReplicaSet {
    /// Whether its pods are all gone, and none is wanted.
    pub fn is_empty(&self) -> bool {
        self.replicas == 0 && self.status_replicas == 0
    }
}

impl Deployment {
    /// Whether it ends all old pods before it makes new ones.
    pub fn recreates(&self) -> bool {
        self.strategy == "Recreate"
    }

    /// The labels that its selector asks for, if it asks by equality.
    pub fn match_labels(&self) -> Option<&serde_json::Map<String, Value>> {
        self.selector.get("matchLabels").and_then(Value::as_object).filter(|labels| !labels.is_empty())
    }
}

/// The ports that both Services have, or of the only one that there is, or of the one that they are going to copy.
pub fn ports(stable: Option<&Service>, canary: Option<&Service>, others: &[Service]) -> Vec<u16> {
    let ours: Vec<_> = stable.into_iter().chain(canary).collect();
    let Some(first) = ours.first().copied().or(others.first()) else { return Vec::new() };
    let of_all = |port: &u16| ours.iter().all(|service| service.numbers().any(|other| other == *port));
    first.numbers().filter(of_all).collect()
}

impl Service {
    /// Its first port.
    pub fn port(&self) -> Option<u16> {
        self.numbers().next()
    }

    /// Its ports.
    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().filter_map(|port| u16::try_from(port.get("port")?.as_u64()?).ok())
    }

    /// The hash it selects, when it is narrowed to one revision.
    pub fn hash(&self) -> Option<&str> {
        self.selector.get(crate::api::HASH_LABEL).map(String::as_str)
    }
}

impl Claim {
    /// Reads the claim from an object's labels. A foreign one is `name/uid` until somebody has looked whether that Rollout lives.
    pub fn of(labels: &Map, rollout_uid: &str) -> Self {
        match (labels.get(ROLLOUT_LABEL), labels.get(ROLLOUT_UID_LABEL)) {
            (Some(_), Some(uid)) if uid == rollout_uid => Self::Ours,
            (Some(name), Some(uid)) => Self::Foreign(format!("{name}/{uid}")),
            _ => Self::Free,
        }
    }
}

impl Observed {
    /// A Rollout of which nothing else was looked at.
    pub fn of(rollout: Rollout, now: Timestamp) -> Self {
        Self {
            now,
            epoch: 0,
            led_since: None,
            rollout,
            namespace_ending: false,
            deployment: None,
            replica_sets: Vec::new(),
            pods: Vec::new(),
            stable_service: None,
            canary_service: None,
            other_services: Vec::new(),
            routes: Vec::new(),
            kept: Vec::new(),
            belt: Belt::NotYet,
            probe: None,
            refused: None,
            malformed: None,
            crowd: Vec::new(),
            elders: Vec::new(),
            provider: None,
            unable: None,
            actions: Vec::new(),
            expired: None,
            measured: Measured::NotYet,
            pasts: None,
            tried: BTreeMap::new(),
        }
    }

    /// The ReplicaSets that the Deployment controls.
    pub fn controlled(&self) -> impl Iterator<Item = &ReplicaSet> {
        let uid = self.deployment.as_ref().map(|deployment| deployment.uid.as_str());
        self.replica_sets.iter().filter(move |set| uid.is_some() && set.controller.as_deref() == uid)
    }

    /// The ReplicaSets that are ours. When the Rollout is deleted in the foreground, the garbage collector takes its name
    /// from what has another owner beside it, and only our label tells whose that is.
    pub fn ours(&self) -> impl Iterator<Item = &ReplicaSet> {
        let uid = self.rollout.metadata.uid.as_deref();
        self.replica_sets.iter().filter(move |set| {
            let label = set.labels.get(ROLLOUT_UID_LABEL).map(String::as_str);
            uid.is_some() && (set.controller.as_deref() == uid || (set.controller.is_none() && label == uid))
        })
    }

    /// The port of the two Services, by either of them.
    pub fn port(&self) -> Option<u16> {
        let mut services = self.stable_service.iter().chain(&self.canary_service);
        services.find_map(Service::port)
    }

    /// The ports that both Services have, or of the only one that there is, or of the one that they are going to copy.
    pub fn ports(&self) -> Vec<u16> {
        ports(self.stable_service.as_ref(), self.canary_service.as_ref(), &self.other_services)
    }

    /// The selectors by which the Deployment knows its pods, and Services those that they send requests to.
    pub fn selectors(&self) -> Vec<Value> {
        let services = self.stable_service.iter().chain(&self.canary_service).chain(&self.other_services);
        let of_service = |service: &Service| {
            let labels: serde_json::Map<_, _> = service
                .selector
                .iter()
                .filter(|(key, _)| key.as_str() != crate::api::HASH_LABEL)
                .map(|(key, value)| (key.clone(), Value::from(value.clone())))
                .collect();
            serde_json::json!({"matchLabels": labels})
        };
        let deployment = self.deployment.iter().map(|deployment| deployment.selector.clone());
        deployment.chain(services.map(of_service)).collect()
    }

    /// A ReplicaSet by name.
    pub fn replica_set(&self, name: &str) -> Option<&ReplicaSet> {
        self.replica_sets.iter().find(|set| set.name == name)
    }

    /// Names of the ready pods with this hash.
    pub fn ready_pods(&self, hash: &str) -> BTreeSet<String> {
        self.pods.iter().filter(|pod| pod.hash == hash && pod.ready).map(|pod| pod.name.clone()).collect()
    }
}

/// What is to be told to people who asked for it.
pub type AlertEvent = notify::AlertEvent;
