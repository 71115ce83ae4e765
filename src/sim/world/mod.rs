//! Everything around the operator: controllers, nodes, a gateway with requests, Prometheus, receivers of alerts.
//!
//! The world is a queue of events in virtual time. It reacts to what is committed to the API server, after delays that the
//! story's weather gives, and hands every commit to the checks.
pub mod deployments;
mod gateways;
pub mod hand;
pub mod plane;
pub mod pods;
pub mod prometheus;
mod restored;
mod tests;

use super::{
    api::{COLLECTOR, Commit, RESTORER, Server},
    checks::Checks,
    dice::Dice,
    json::{Read, seek},
};
use hand::Hand;
use plane::{Cause, Plane, Process};
use pods::Image;
use prometheus::Prometheus;
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::{Arc, Mutex},
};
use tokio::time::{Duration, Instant};

/// The namespace of all stories.
pub const NAMESPACE: &str = "shop";
/// Who the operator is to the API server.
pub const OPERATOR: &str = "system:serviceaccount:bellwether-system:bellwether";
const GATEWAY: &str = "system:serviceaccount:traefik:traefik";
const HASH: &str = "pod-template-hash";
/// How often pods are scraped, in milliseconds.
const SCRAPE: u64 = 2_000;
/// How often somebody who does not stop writes, in milliseconds.
const EDIT: u64 = 150;
/// The namespace of Rollouts that are nobody's concern in a story.
pub const MARKET: &str = "market";

/// How fast things are, in milliseconds.
#[derive(Clone, Debug)]
pub struct Weather {
    /// A controller's reaction.
    pub controller: (u64, u64),
    /// From a pod's creation to its start.
    pub start: (u64, u64),
    /// From a pod's start to its being ready.
    pub ready: (u64, u64),
    /// From a route's change to its status.
    pub accept: (u64, u64),
    /// From a route's status, or a slice's change, to the gateway's acting on it. The router's settling time is the bound.
    pub plane: (u64, u64),
    /// From a pod's deletion to its process's end.
    pub end: (u64, u64),
    /// The garbage collector's reaction.
    pub collect: (u64, u64),
    /// Requests a second.
    pub rate: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            controller: (5, 60),
            start: (200, 900),
            ready: (200, 1_500),
            accept: (20, 200),
            plane: (50, 900),
            end: (10, 400),
            collect: (50, 500),
            rate: 40.0,
        }
    }
}

/// What happens at a moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Deployment(String),
    Set(String),
    Endpoints(String),
    Accept(String),
    PlaneRoute(String, u64, Vec<(String, Vec<(String, u64)>)>),
    PlaneEndpoints(String, u64, BTreeSet<String>),
    PodStarts(String),
    PodReady(String, bool),
    PodCrashes(String),
    PodEnds(String),
    Collect,
    Scrape,
    /// Somebody writes a note on a Rollout, again and again until then.
    Edit(String, u64),
}

/// What the operator's requests to the outside reach.
#[derive(Clone, Default)]
pub struct Outside {
    pub prometheus: Prometheus,
    /// Delivery ids with the events they tell of, in order of arrival.
    pub alerts: Vec<(String, String)>,
    /// Whether receivers refuse.
    pub receivers_down: bool,
}

/// The world.
pub struct World {
    pub server: Server,
    pub outside: Arc<Mutex<Outside>>,
    pub plane: Plane,
    pub weather: Weather,
    pub checks: Checks,
    /// Whether the gateway writes statuses.
    pub gateway_writes: bool,
    base: jiff::Timestamp,
    begun: Instant,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    waiting: BTreeSet<Event>,
    sequence: u64,
    read: usize,
    names: u64,
    dice: Dice,
    hands: Hands,
    /// Who scaled a ReplicaSet last, by uid.
    scalers: BTreeMap<String, Cause>,
    restarts: BTreeMap<String, i64>,
    /// The version of each object that the gateway acts on.
    heard: BTreeMap<String, u64>,
    /// Nothing keeps the Deployment controller from acting by itself.
    pub unguarded: bool,
}

struct Hands {
    deployments: Hand,
    sets: Hand,
    kubelet: Hand,
    endpoints: Hand,
    gateway: Hand,
}

impl World {
    /// A world around this API server, at this time.
    pub fn new(server: Server, base: jiff::Timestamp, seed: u64, weather: Weather) -> Self {
        let hand = |user: &str| Hand::new(server.clone(), user);
        let hands = Hands {
            deployments: hand(deployments::USER),
            sets: hand(pods::REPLICA_SETS),
            kubelet: hand(pods::KUBELET),
            endpoints: hand(pods::ENDPOINTS),
            gateway: hand(GATEWAY),
        };
        let mut world = Self {
            outside: Arc::default(),
            plane: Plane::new(weather.rate, Dice::of(seed, "requests")),
            checks: Checks::default(),
            weather,
            gateway_writes: true,
            base,
            begun: Instant::now(),
            queue: BinaryHeap::new(),
            waiting: BTreeSet::new(),
            sequence: 0,
            read: 0,
            names: 0,
            dice: Dice::of(seed, "world"),
            hands,
            server,
            scalers: BTreeMap::new(),
            restarts: BTreeMap::new(),
            heard: BTreeMap::new(),
            unguarded: false,
        };
        world.after(SCRAPE, Event::Scrape);
        world
    }

    /// The same world, after so many milliseconds of its story, with chances of its own from here on.
    pub fn fork(&self, passed: u64, seed: u64) -> Self {
        let begun = Instant::now().checked_sub(Duration::from_millis(passed)).unwrap_or_else(Instant::now);
        let server = self.server.fork(clock(self.base, begun));
        let mut plane = self.plane.clone();
        plane.deal(Dice::of(seed, "requests"));
        let outside = self.outside.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Self {
            outside: Arc::new(Mutex::new(outside)),
            plane,
            checks: self.checks.clone(),
            gateway_writes: self.gateway_writes,
            begun,
            queue: self.queue.clone(),
            waiting: self.waiting.clone(),
            sequence: self.sequence,
            read: self.read,
            names: self.names,
            scalers: self.scalers.clone(),
            restarts: self.restarts.clone(),
            heard: self.heard.clone(),
            unguarded: self.unguarded,
            ..Self::new(server, self.base, seed, self.weather.clone())
        }
    }

    /// Milliseconds since the story began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time that clocks show.
    pub fn clock(&self) -> jiff::Timestamp {
        self.base + jiff::SignedDuration::from_millis(i64::try_from(self.now()).unwrap_or(0))
    }

    /// A hand of somebody.
    pub fn hand(&self, user: &str) -> Hand {
        Hand::new(self.server.clone(), user)
    }

    fn after(&mut self, wait: u64, event: Event) {
        // A controller has each object in its queue once.
        let once = matches!(
            event,
            Event::Deployment(_) | Event::Set(_) | Event::Endpoints(_) | Event::Accept(_) | Event::Collect
        );
        if once && !self.waiting.insert(event.clone()) {
            return;
        }
        self.sequence += 1;
        self.queue.push(Reverse((self.now() + wait, self.sequence, event)));
    }

    fn soon(&mut self, range: (u64, u64), event: Event) {
        let wait = self.dice.range(range.0, range.1);
        self.after(wait, event);
    }

    /// Lives until this time in milliseconds of the story.
    pub async fn live_until(&mut self, end: u64) {
        loop {
            self.absorb();
            let next = self.queue.peek().map_or(end, |Reverse((at, ..))| *at).min(end);
            if next <= self.now() {
                if self.now() >= end && self.queue.peek().is_none_or(|Reverse((at, ..))| *at > self.now()) {
                    return;
                }
                if let Some(Reverse((_, _, event))) = self.queue.pop() {
                    self.waiting.remove(&event);
                    self.plane.advance(self.now());
                    self.happen(event);
                }
                continue;
            }
            let mut changed = self.server.changed();
            let deadline = self.begun + Duration::from_millis(next);
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Looks at everything that was committed since the last time.
    pub fn absorb(&mut self) {
        loop {
            let commits = self.server.commits(self.read);
            if commits.is_empty() {
                return;
            }
            self.read += commits.len();
            for commit in commits {
                self.plane.advance(self.now());
                let now = self.now();
                self.checks.commit(&commit, &self.plane, now);
                if commit.user == OPERATOR && commit.kind.plural == "rollouts" {
                    let mut outside = self.outside.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    self.checks.evidence(&commit, &mut outside.prometheus, now);
                }
                self.react(&commit);
            }
            self.looked();
        }
    }

    /// Tells the checks when the Rollout was looked at.
    fn looked(&mut self) {
        for (name, at) in self.server.take_looks() {
            let at = u64::try_from(at.duration_since(self.base).as_millis()).unwrap_or(0);
            self.checks.looked(&name, at);
        }
    }

    fn react(&mut self, commit: &Commit) {
        let name = commit.name.clone();
        let weather = self.weather.clone();
        let Some(object) = commit.after.as_ref().or(commit.before.as_ref()).cloned() else { return };
        if commit.user == RESTORER {
            self.put_back(commit);
        }
        match commit.kind.plural.as_str() {
            "deployments" => self.soon(weather.controller, Event::Deployment(name)),
            "replicasets" => {
                self.scaled(commit);
                self.soon(weather.controller, Event::Set(name));
                for owner in
                    object.list("/metadata/ownerReferences").iter().filter(|it| it.text("/kind") == "Deployment")
                {
                    self.soon(weather.controller, Event::Deployment(owner.text("/name").to_owned()));
                }
                for deployment in self.server.list("deployments", NAMESPACE) {
                    if object.matches(seek(&deployment, "/spec/selector/matchLabels")) {
                        self.soon(weather.controller, Event::Deployment(deployment.name().to_owned()));
                    }
                }
            }
            "pods" => self.pod_changed(commit, &object),
            "services" => {
                if commit.after.is_none() && commit.user != OPERATOR {
                    self.plane.taken.insert(name.clone());
                } else {
                    self.plane.taken.remove(&name);
                }
                self.soon(weather.controller, Event::Endpoints(name));
            }
            "endpointslices" => {
                let service = pods::service_of(&object).to_owned();
                let pods = commit
                    .after
                    .as_ref()
                    .map_or_else(BTreeSet::new, |slice| pods::endpoints_of(slice).into_iter().collect());
                if commit.after.is_none() {
                    // The garbage collector took that of a Service that was made again meanwhile.
                    self.soon(weather.controller, Event::Endpoints(service.clone()));
                }
                self.soon(weather.plane, Event::PlaneEndpoints(service, commit.rv, pods));
            }
            "httproutes" => {
                let spec = |object: Option<&Arc<Value>>| object.map(|object| object["spec"].clone());
                if spec(commit.before.as_ref()) != spec(commit.after.as_ref()) {
                    self.soon(weather.accept, Event::Accept(name));
                }
            }
            _ => {}
        }
        if commit.after.is_none() || object.is_ending() {
            self.soon(weather.collect, Event::Collect);
        }
    }

    /// Remembers by whose doing a ReplicaSet became smaller.
    fn scaled(&mut self, commit: &Commit) {
        let size = |object: Option<&Arc<Value>>| object.map(|object| object.maybe("/spec/replicas").unwrap_or(1));
        let (before, after) = (size(commit.before.as_ref()), size(commit.after.as_ref()));
        let Some(uid) = commit.after.as_ref().or(commit.before.as_ref()).map(|set| set.uid().to_owned()) else {
            return;
        };
        if before == after {
            return;
        }
        let is_off = || {
            let deployment = self.server.get("deployments", NAMESPACE, super::stage::NAME);
            deployment.is_some_and(|it| it.maybe("/spec/replicas") == Some(0))
        };
        let cause = match commit.user.as_str() {
            _ if self.unguarded || !self.is_held() => Cause::Others,
            // It follows the Deployment, as the Deployment's own would.
            OPERATOR if is_off() || after.is_some_and(|after| after > 0) && self.checks.shrank(self.now()) => {
                Cause::Others
            }
            OPERATOR => Cause::Machinery,
            // It follows a number that somebody wrote, or rolls; only the first is nobody's fault.
            deployments::USER => {
                let owner = commit.after.as_ref().and_then(|set| set.controller().map(str::to_owned));
                let all = self.server.list("deployments", NAMESPACE);
                let wanted =
                    all.iter().find(|it| Some(it.uid()) == owner.as_deref()).and_then(|it| it.maybe("/spec/replicas"));
                if wanted == after { Cause::Others } else { Cause::Machinery }
            }
            COLLECTOR => return,
            _ => Cause::Others,
        };
        self.scalers.insert(uid, cause);
    }

    fn pod_changed(&mut self, commit: &Commit, pod: &Arc<Value>) {
        let weather = self.weather.clone();
        let name = pod.name().to_owned();
        match (&commit.before, &commit.after) {
            (None, Some(_)) => match Image::of(pods::image_of(pod)) {
                Image::NoRoom => pods::say_no_room(&self.hands.kubelet, pod),
                _ => self.soon(weather.start, Event::PodStarts(name.clone())),
            },
            (Some(before), Some(after)) if after.is_ending() && !before.is_ending() => {
                let owner = after.controller().unwrap_or_default().to_owned();
                let cause = match commit.user.as_str() {
                    pods::REPLICA_SETS => self.scalers.get(&owner).copied().unwrap_or(Cause::Others),
                    COLLECTOR => self.scalers.get(&owner).copied().unwrap_or(Cause::Machinery),
                    _ => Cause::Others,
                };
                let now = self.now();
                self.checks.ending(&name, now, cause);
                self.soon(weather.end, Event::PodEnds(name.clone()));
            }
            _ => {}
        }
        if let Some(owner) = pod.list("/metadata/ownerReferences").first() {
            self.soon(weather.controller, Event::Set(owner.text("/name").to_owned()));
        }
        for service in self.server.list("services", NAMESPACE) {
            if pod.matches(seek(&service, "/spec/selector")) {
                self.soon(weather.controller, Event::Endpoints(service.name().to_owned()));
            }
        }
    }

    /// The ReplicaSet controller looks at one ReplicaSet, and again when another of its pods will count.
    fn sync_set(&mut self, name: String, retry: (u64, u64)) {
        let (mut count, now) = (self.names, self.clock());
        let done = pods::sync_set(&self.hands.sets, NAMESPACE, &name, now, || {
            count += 1;
            suffix(count)
        });
        self.names = count;
        match done {
            Ok(None) => {}
            Ok(Some(due)) => {
                let wait = u64::try_from(due.duration_since(now).as_millis()).unwrap_or(0);
                self.after(wait + 1, Event::Set(name));
            }
            Err(_) => self.soon(retry, Event::Set(name)),
        }
    }

    fn happen(&mut self, event: Event) {
        let retry = (100, 1_500);
        match event {
            Event::Deployment(name) => {
                if deployments::sync(&self.hands.deployments, NAMESPACE, &name).is_err() {
                    self.soon(retry, Event::Deployment(name));
                }
            }
            Event::Set(name) => self.sync_set(name, retry),
            Event::Endpoints(name) => {
                if pods::sync_endpoints(&self.hands.endpoints, NAMESPACE, &name).is_err() {
                    self.soon(retry, Event::Endpoints(name));
                }
            }
            Event::Accept(name) => self.accept(&name),
            Event::PlaneRoute(route, version, rules) => {
                if !self.is_news(&format!("route {route}"), version) {
                    return;
                }
                for old in self.plane.rules_of(&format!("{route}/")) {
                    self.plane.route(&old, None);
                }
                for (rule, backends) in rules {
                    self.plane.route(&format!("{route}/{rule}"), Some(backends));
                }
            }
            Event::PlaneEndpoints(service, version, pods) => {
                if !self.is_news(&format!("endpoints of {service}"), version) {
                    return;
                }
                let cause = if pods.is_empty() { self.whose_doing(&service) } else { None };
                match cause {
                    Some(cause) => drop(self.plane.bereft.insert(service.clone(), cause)),
                    None => drop(self.plane.bereft.remove(&service)),
                }
                self.plane.endpoints(&service, pods);
            }
            Event::PodStarts(name) => self.pod_starts(&name),
            Event::PodReady(name, ready) => self.pod_ready(&name, ready),
            Event::PodCrashes(name) => self.pod_crashes(&name),
            Event::PodEnds(name) => {
                let now = self.now();
                let pod = self.server.get("pods", NAMESPACE, &name);
                if pod.as_ref().is_some_and(|pod| !pod.is_ending()) {
                    // A backup says that it lives, so its kubelet starts it again.
                    self.fails(&name);
                    let range = self.weather.start;
                    return self.soon(range, Event::PodStarts(name));
                }
                let cause = self.checks.cause_of(&name);
                if let Some(process) = self.plane.processes.get_mut(&name) {
                    process.dead = process.dead.or(Some(cause));
                    process.died = Some((now, cause));
                }
                if let Some(pod) = pod {
                    let _ = self.hands.kubelet.delete_now("pods", &pod);
                }
            }
            Event::Collect => {
                if self.server.collect() > 0 {
                    let range = self.weather.collect;
                    self.soon(range, Event::Collect);
                }
            }
            Event::Scrape => {
                self.scrape();
                self.after(SCRAPE, Event::Scrape);
            }
            Event::Edit(name, until) => {
                if let Some(rollout) = self.server.get("rollouts", MARKET, &name) {
                    let note = json!({"metadata": {"annotations": {"note": self.now().to_string()}}});
                    let _ = self.hand("busy").merge("rollouts", &rollout, note);
                }
                if self.now() < until {
                    self.after(EDIT, Event::Edit(name, until));
                }
            }
        }
    }

    /// Somebody writes on this Rollout of the market for so long, and does not stop.
    pub fn pester(&mut self, name: &str, time: u64) {
        self.after(EDIT, Event::Edit(name.to_owned(), self.now() + time));
    }

    /// A gateway hears of one object's changes in their order.
    fn is_news(&mut self, object: &str, version: u64) -> bool {
        let known = self.heard.entry(object.to_owned()).or_default();
        let news = version >= *known;
        *known = version.max(*known);
        news
    }

    /// By whose doing a Service has no endpoint: somebody deleted it, its pods are there and not ready, which is the release's own, or they are
    /// gone by the doing of who ended the last of them.
    fn whose_doing(&self, service: &str) -> Option<Cause> {
        if !self.is_held() {
            return Some(Cause::Others);
        }
        if self.plane.taken.contains(service) {
            return Some(Cause::Others);
        }
        let service = self.server.get("services", NAMESPACE, service)?;
        let selector = seek(&service, "/spec/selector");
        let deployment = self.server.get("deployments", NAMESPACE, super::stage::NAME)?;
        let wanted = deployment.maybe("/spec/replicas") != Some(0);
        if !wanted || self.server.list("pods", NAMESPACE).iter().any(|pod| !pod.is_ending() && pod.matches(selector)) {
            return Some(Cause::Others);
        }
        let hash = service.text(&format!("/spec/selector/{HASH}")).to_owned();
        // A selector without a hash also matches pods that this Service never led to, as those of a candidate given up.
        let reached = self.plane.reached.get(service.name());
        let of_hash = |(pod, process): &(&String, &Process)| {
            if hash.is_empty() { reached.is_none_or(|pods| pods.contains(*pod)) } else { process.hash == hash }
        };
        // It takes no requests from when it begins to end, which may be long before its process has ended.
        let ended = |(pod, process): (&String, &Process)| self.checks.ended(pod).or(process.died);
        let last = self.plane.processes.iter().filter(of_hash).filter_map(ended).max_by_key(|(at, _)| *at);
        Some(last.map_or(Cause::Others, |(_, cause)| cause))
    }

    /// Whether the operator answers for the Deployment.
    fn is_held(&self) -> bool {
        let namespace = self.server.get("namespaces", "", NAMESPACE);
        let rollout = self.server.get("rollouts", NAMESPACE, super::stage::NAME);
        let deployment = self.server.get("deployments", NAMESPACE, super::stage::NAME);
        let held = rollout.as_ref().map(|it| it.text("/status/workload/uid").to_owned()).unwrap_or_default();
        // Resumed by a Rollout that goes and wants it so, it rolls as any Deployment does.
        let rolls = |deployment: &Value| deployment["spec"]["paused"] != true;
        let goes_on = rollout.is_some_and(|it| it.is_ending() && it.text("/spec/onDelete") == "Continue");
        namespace.is_some_and(|it| !it.is_ending())
            && deployment.is_some_and(|it| !it.is_ending() && it.uid() == held && !(goes_on && rolls(&it)))
    }

    fn pod_starts(&mut self, name: &str) {
        let Some(pod) = self.server.get("pods", NAMESPACE, name).filter(|pod| !pod.is_ending()) else { return };
        let image = Image::of(pods::image_of(&pod));
        let ready = self.weather.ready;
        let now = self.clock();
        match image {
            Image::Missing => {
                pods::say(&self.hands.kubelet, &pod, false, false, 0, Some("ImagePullBackOff"), now);
            }
            Image::Crashes => {
                pods::say(&self.hands.kubelet, &pod, true, false, 0, None, now);
                self.soon((500, 1_500), Event::PodCrashes(name.to_owned()));
            }
            Image::NeverReady => pods::say(&self.hands.kubelet, &pod, true, false, 0, None, now),
            Image::OnlyFirst { pods } if self.alive(pod.label(HASH).unwrap_or_default()) >= pods => {
                pods::say(&self.hands.kubelet, &pod, true, false, 0, None, now);
            }
            _ => {
                pods::say(&self.hands.kubelet, &pod, true, false, 0, None, now);
                self.soon(ready, Event::PodReady(name.to_owned(), true));
            }
        }
    }

    /// How many pods of a hash have become ready and not ended.
    fn alive(&self, hash: &str) -> u64 {
        let alive = |process: &&Process| process.hash == hash && process.died.is_none();
        self.plane.processes.values().filter(alive).count() as u64
    }

    fn pod_ready(&mut self, name: &str, ready: bool) {
        let Some(pod) = self.server.get("pods", NAMESPACE, name).filter(|pod| !pod.is_ending()) else { return };
        let image = Image::of(pods::image_of(&pod));
        let restarts = self.restarts.get(name).copied().unwrap_or(0);
        let now = self.clock();
        pods::say(&self.hands.kubelet, &pod, true, ready, restarts, None, now);
        let hash = pod.label(HASH).unwrap_or_default().to_owned();
        let process = self.plane.processes.entry(name.to_owned()).or_insert(Process {
            image,
            hash,
            answered: 0,
            failed: 0,
            dead: None,
            died: None,
            owed: 0.0,
            series: None,
        });
        if ready {
            process.dead = None;
        }
        match image {
            Image::CrashesAfter { seconds } if ready => self.after(seconds * 1_000, Event::PodCrashes(name.to_owned())),
            Image::Flaps { seconds } => self.after(seconds * 1_000, Event::PodReady(name.to_owned(), !ready)),
            _ => {}
        }
    }

    fn pod_crashes(&mut self, name: &str) {
        let Some(pod) = self.server.get("pods", NAMESPACE, name).filter(|pod| !pod.is_ending()) else { return };
        let restarts = self.restarts.entry(name.to_owned()).or_default();
        *restarts += 1;
        let restarts = *restarts;
        if let Some(process) = self.plane.processes.get_mut(name) {
            process.dead = Some(Cause::Others);
            // A new process counts from 0.
            process.answered = 0;
            process.failed = 0;
        }
        let now = self.clock();
        pods::say(&self.hands.kubelet, &pod, true, false, restarts, Some("CrashLoopBackOff"), now);
        let wait = 2_000_u64 << restarts.min(6);
        match Image::of(pods::image_of(&pod)) {
            Image::CrashesAfter { .. } => self.after(wait, Event::PodReady(name.to_owned(), true)),
            _ => self.after(wait, Event::PodCrashes(name.to_owned())),
        }
    }

    fn scrape(&mut self) {
        let at = self.clock().as_millisecond();
        let mut outside = self.outside.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (pod, process) in &mut self.plane.processes {
            let series = process.series.get_or_insert_with(|| {
                let instance = format!("{pod}:8080");
                let target = [("job", "pods"), ("instance", instance.as_str()), ("namespace", NAMESPACE), ("pod", pod)];
                let requests = |code| [target[0], target[1], target[2], target[3], ("code", code)];
                let prometheus = &mut outside.prometheus;
                [
                    prometheus.begin("up", &target),
                    prometheus.begin("http_requests_total", &requests("200")),
                    prometheus.begin("http_requests_total", &requests("500")),
                ]
            });
            let up = if process.dead.is_none() { 1.0 } else { 0.0 };
            outside.prometheus.sample(series[0], at, up);
            if process.dead.is_some() {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "counts of a story")]
            for (series, count) in [(series[1], process.answered - process.failed), (series[2], process.failed)] {
                outside.prometheus.sample(series, at, count as f64);
            }
        }
    }
}

/// The clock of a story that began then.
pub fn clock(base: jiff::Timestamp, begun: Instant) -> super::api::Clock {
    Arc::new(move || base + jiff::SignedDuration::from_millis(i64::try_from(begun.elapsed().as_millis()).unwrap_or(0)))
}

/// The end of a pod's name: five letters, each name once.
fn suffix(count: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rest = count;
    let mut name = [b'b'; 5];
    for place in name.iter_mut().rev() {
        *place = LETTERS[usize::try_from(rest % LETTERS.len() as u64).unwrap_or(0)];
        rest /= LETTERS.len() as u64;
    }
    String::from_utf8_lossy(&name).into_owned()
}
