//! Everything that happens to a story's objects, written down as the API server tells it.
use crate::{
    objects::page_of,
    world::{Kind, World, ms_of, now_ms},
};
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

/// What is written down.
const KINDS: [Kind; 3] = [Kind::Rollout, Kind::Pod, Kind::HttpRoute];

/// One change.
#[derive(Clone)]
struct Change {
    at: f64,
    kind: Kind,
    object: Arc<Value>,
    gone: bool,
}

/// What has happened so far. It is written on while it is held.
pub struct Records {
    changes: Arc<Mutex<Vec<Change>>>,
    count: watch::Receiver<usize>,
    _watches: JoinSet<()>,
}

/// A route's weights at some moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// When they were seen, in Unix milliseconds.
    pub at: f64,
    /// The canary's weight, of 100.
    pub canary: i64,
    /// Whether the gateway has accepted the route as it stands.
    pub accepted: bool,
}

/// What became of a pod.
#[derive(Clone, Debug, Default)]
pub struct PodLife {
    /// Its name.
    pub name: String,
    /// The label `app`.
    pub app: String,
    /// The label `pod-template-hash`.
    pub hash: String,
    /// Its address, once it had one.
    pub ip: String,
    /// When it was first seen, in Unix milliseconds.
    pub first_at: f64,
    /// When it was told to end, if it was.
    pub ending_at: Option<f64>,
    /// Whether it is gone.
    pub gone: bool,
    /// How often its container was started again.
    pub restarts: i64,
    /// When its container ended by itself, to the second.
    pub crashes: Vec<f64>,
    /// Whether it is ready.
    pub ready: bool,
    /// When it was last seen to become so, in Unix milliseconds.
    pub ready_at: f64,
    /// When it was first called not ready although it had been and was not told to end, to the second.
    pub dark_at: Option<f64>,
}

impl Records {
    /// Begins to write.
    pub fn begin(world: &World) -> Self {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let (told, count) = watch::channel(0);
        let mut watches = JoinSet::new();
        for kind in KINDS {
            let mut events = watcher_of(world.api(kind), kind);
            let mut writer = Writer { changes: changes.clone(), told: told.clone(), kind, known: BTreeMap::new() };
            watches.spawn(async move {
                let mut listed = BTreeSet::new();
                while let Some(event) = events.next().await {
                    match event {
                        Ok(watcher::Event::Apply(object)) => drop(writer.there(&object)),
                        Ok(watcher::Event::InitApply(object)) => drop(listed.insert(writer.there(&object))),
                        Ok(watcher::Event::Delete(object)) => {
                            let uid = writer.there(&object);
                            writer.gone(&uid);
                        }
                        Ok(watcher::Event::Init) => listed.clear(),
                        // An interrupted watch begins again with all there is; what is not among it went meanwhile.
                        Ok(watcher::Event::InitDone) => writer.only(&listed),
                        Err(_) => {}
                    }
                }
            });
        }
        Self { changes, count, _watches: watches }
    }

    fn of(&self, kind: Kind) -> Vec<Change> {
        self.changes.lock().unwrap().iter().filter(|change| change.kind == kind).cloned().collect()
    }

    /// All versions of the Rollout, with when they were seen.
    pub fn rollouts(&self) -> Vec<(f64, Arc<Value>)> {
        self.of(Kind::Rollout).into_iter().map(|change| (change.at, change.object)).collect()
    }

    /// The last version of the Rollout, unless it is gone.
    pub fn rollout(&self) -> Option<Arc<Value>> {
        self.of(Kind::Rollout).last().filter(|change| !change.gone).map(|change| change.object.clone())
    }

    /// How often each of these reasons was written down.
    pub fn times(&self, reasons: &[&str]) -> Vec<usize> {
        let decisions = self.decisions();
        reasons.iter().map(|reason| decisions.iter().filter(|it| it == reason).count()).collect()
    }

    /// When a version of the Rollout was first seen of which this holds, in Unix milliseconds.
    pub fn when(&self, holds: impl Fn(&Value) -> bool) -> Option<f64> {
        self.rollouts().into_iter().find(|(_, rollout)| holds(rollout)).map(|(at, _)| at)
    }

    /// Waits until this holds of the Rollout as it is.
    pub async fn until(&self, what: &str, seconds: u64, holds: impl Fn(&Value) -> bool) -> Arc<Value> {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut count = self.count.clone();
        loop {
            count.mark_unchanged();
            let rollout = self.rollout();
            if let Some(rollout) = rollout.as_ref().filter(|rollout| holds(rollout)) {
                return rollout.clone();
            }
            if tokio::time::timeout_at(end, count.changed()).await.is_err() {
                let words = rollout.map_or_else(|| "there is no Rollout".to_owned(), |rollout| in_words(&rollout));
                panic!("not within {seconds} s: {what}; instead: {words}");
            }
        }
    }

    /// Waits until the Rollout is gone.
    pub async fn until_gone(&self, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut count = self.count.clone();
        loop {
            count.mark_unchanged();
            let Some(rollout) = self.rollout() else { return };
            let still = tokio::time::timeout_at(end, count.changed()).await.is_err();
            assert!(!still, "not within {seconds} s: the Rollout is gone; instead: {}", in_words(&rollout));
        }
    }

    /// All pods that ever were, by uid.
    pub fn pods(&self) -> BTreeMap<String, PodLife> {
        let mut lives: BTreeMap<String, PodLife> = BTreeMap::new();
        for Change { at, object, gone, .. } in self.of(Kind::Pod) {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let life =
                lives.entry(text("/metadata/uid")).or_insert_with(|| PodLife { first_at: at, ..PodLife::default() });
            life.name = text("/metadata/name");
            life.app = text("/metadata/labels/app");
            life.hash = text("/metadata/labels/pod-template-hash");
            life.gone = gone;
            if let Some(ip) = object.pointer("/status/podIP").and_then(Value::as_str) {
                ip.clone_into(&mut life.ip);
            }
            if object.pointer("/metadata/deletionTimestamp").is_some() || gone {
                life.ending_at.get_or_insert(at);
            }
            let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
            if let Some(ready) = conditions.into_iter().find(|it| it["type"] == "Ready") {
                match (life.ready, ready["status"] == "True") {
                    // A kubelet that did not hear of the doubt says that it has been ready all the time.
                    (false, true) => life.ready_at = at,
                    (true, false) if life.ending_at.is_none() => {
                        life.dark_at.get_or_insert(ready["lastTransitionTime"].as_str().map_or(at, ms_of));
                    }
                    _ => {}
                }
                life.ready = ready["status"] == "True";
            }
            let container = &object["status"]["containerStatuses"][0];
            life.restarts = life.restarts.max(container["restartCount"].as_i64().unwrap_or(0));
            for state in ["state", "lastState"] {
                let ended = &container[state]["terminated"];
                let by_itself = life.ending_at.is_none();
                if let Some(at) = ended["finishedAt"].as_str().map(ms_of)
                    && by_itself
                    && !life.crashes.contains(&at)
                {
                    life.crashes.push(at);
                }
            }
        }
        lives
    }

    /// The app's pods of this template hash, by uid.
    pub fn pods_of(&self, hash: &str) -> BTreeMap<String, PodLife> {
        self.pods().into_iter().filter(|(_, life)| life.app == crate::objects::APP && life.hash == hash).collect()
    }

    /// How many requests the ready pods of this template hash have answered, as they count themselves.
    pub async fn counted(&self, world: &World, hash: &str) -> usize {
        let mut count = 0;
        for pod in self.pods_of(hash).values().filter(|pod| pod.ready && pod.ending_at.is_none()) {
            let page = page_of(&world.namespace, &pod.name, "metrics");
            let request = http::Request::get(page).body(Vec::new()).unwrap();
            let page = world.client.request_text(request).await.unwrap();
            let lines = page.lines().filter(|line| line.starts_with("http_requests_total{"));
            count += lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum::<usize>();
        }
        count
    }

    /// The route's weights as they changed; a repetition is left out.
    pub fn splits(&self) -> Vec<Split> {
        let mut splits: Vec<Split> = self.of(Kind::HttpRoute).iter().filter_map(split_of).collect();
        splits.dedup_by_key(|split| (split.canary, split.accepted));
        splits
    }

    /// The canary's weights in the order in which they were written.
    pub fn weights(&self) -> Vec<i64> {
        let mut weights: Vec<_> = self.splits().iter().map(|split| split.canary).collect();
        weights.dedup();
        weights
    }

    /// The steps that were entered, in order, each as revision and name. A step that is entered twice is there twice.
    pub fn steps(&self) -> Vec<(String, String)> {
        let mut steps: Vec<(String, String, String)> = Vec::new();
        for (_, rollout) in self.rollouts() {
            let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            let step = (text("/status/flight/revision"), text("/status/step/name"), text("/status/step/startedAt"));
            if let (Some(revision), Some(name), Some(started)) = step {
                steps.push((revision, name, started));
            }
        }
        steps.dedup();
        steps.into_iter().map(|(revision, name, _)| (revision, name)).collect()
    }

    /// The reasons of the decision log, in order.
    pub fn decisions(&self) -> Vec<String> {
        let mut seen: Vec<Value> = Vec::new();
        for (_, rollout) in self.rollouts() {
            for decision in rollout.pointer("/status/decisions").and_then(Value::as_array).into_iter().flatten() {
                if !seen.contains(decision) {
                    seen.push(decision.clone());
                }
            }
        }
        seen.iter().map(|decision| decision["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Who writes down what becomes of the objects of a kind.
struct Writer {
    changes: Arc<Mutex<Vec<Change>>>,
    told: watch::Sender<usize>,
    kind: Kind,
    /// What is there, by uid.
    known: BTreeMap<String, Arc<Value>>,
}

impl Writer {
    fn write(&self, object: Arc<Value>, gone: bool) {
        self.changes.lock().unwrap().push(Change { at: now_ms(), kind: self.kind, object, gone });
        self.told.send_modify(|count| *count += 1);
    }

    /// Returns the object's uid.
    fn there(&mut self, object: &kube::api::DynamicObject) -> String {
        let uid = object.metadata.uid.clone().unwrap();
        let object = Arc::new(serde_json::to_value(object).unwrap());
        self.known.insert(uid.clone(), object.clone());
        self.write(object, false);
        uid
    }

    fn gone(&mut self, uid: &str) {
        if let Some(object) = self.known.remove(uid) {
            self.write(object, true);
        }
    }

    fn only(&mut self, listed: &BTreeSet<String>) {
        let gone: Vec<_> = self.known.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for uid in gone {
            self.gone(&uid);
        }
    }
}

/// So soon an interrupted watch is tried again: what happens meanwhile is told late.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(300))
    }
}

impl kube::runtime::utils::Backoff for Soon {
    fn reset(&mut self) {}
}

type Events = futures::stream::BoxStream<'static, Result<watcher::Event<kube::api::DynamicObject>, watcher::Error>>;

fn watcher_of(api: kube::Api<kube::api::DynamicObject>, kind: Kind) -> Events {
    // Only the one Rollout and route of a story are followed, but all pods.
    let config = match kind {
        Kind::Pod => watcher::Config::default(),
        _ => watcher::Config::default().fields(&format!("metadata.name={}", crate::objects::APP)),
    };
    watcher(api, config).backoff(Soon).boxed()
}

fn split_of(change: &Change) -> Option<Split> {
    let route = &change.object;
    let backends = route.pointer("/spec/rules/0/backendRefs")?.as_array()?;
    let weight = |end: &str| {
        let backend =
            backends.iter().find(|backend| backend["name"].as_str().is_some_and(|name| name.ends_with(end)))?;
        Some(backend["weight"].as_i64().unwrap_or(1))
    };
    let (canary, stable) = (weight("-canary")?, weight("-stable")?);
    let generation = &route["metadata"]["generation"];
    let parents = route.pointer("/status/parents").and_then(Value::as_array);
    let accepted = parents.into_iter().flatten().any(|parent| {
        let conditions = parent["conditions"].as_array().into_iter().flatten();
        conditions
            .into_iter()
            .any(|it| it["type"] == "Accepted" && it["status"] == "True" && it["observedGeneration"] == *generation)
    });
    Some(Split { at: change.at, canary: canary * 100 / (canary + stable).max(1), accepted })
}

/// Where a Rollout stands, in one line.
fn in_words(rollout: &Value) -> String {
    let status = &rollout["status"];
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    format!(
        "phase {}, step {}, weight {} of {}: {}",
        text(&status["phase"]),
        text(&status["step"]["name"]),
        status["weights"]["accepted"],
        status["weights"]["desired"],
        text(&status["message"])
    )
}
