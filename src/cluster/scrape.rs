//! Reads the pages of metrics of a release's pods, and remembers what stood on them as long as the operator lives.
use super::{Cluster, Key};
use crate::{
    api::{Flight, Rollout},
    metrics::{Metric, OnTrial, Page, Pods, Scheme, Scrapes, Target},
    outbound::{Body, Method, Peer, Request},
    plan::{Pod, ReplicaSet},
    telemetry::QueryLabels,
    vocab::Arm,
};
use futures::future::join_all;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{sync::Semaphore, time::Instant};

/// So many pages are read at once, of all releases together.
const AT_ONCE: usize = 128;

/// What was read of each release.
pub(super) struct Scraping {
    releases: Mutex<HashMap<Key, Release>>,
    turns: Semaphore,
}

/// What is known of a Rollout whose provider reads pods.
#[derive(Default)]
struct Release {
    revision: String,
    scrapes: Arc<Mutex<Scrapes>>,
    /// When pages were last read before there was evidence.
    ahead: Option<Instant>,
}

impl Default for Scraping {
    fn default() -> Self {
        Self { releases: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Scraping {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Key, Release>) -> T) -> T {
        change(&mut self.releases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what kind of provider a Rollout has.
    pub fn note(&self, key: &Key, pods: Option<&Pods>) {
        self.with(|releases| match pods {
            Some(_) => drop(releases.entry(key.clone()).or_default()),
            None => drop(releases.remove(key)),
        });
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, key: &Key) {
        self.with(|releases| releases.remove(key));
    }

    /// Forgets what was read of a release that is over.
    pub fn end(&self, key: &Key) {
        self.with(|releases| releases.get_mut(key).map(|release| *release = Release::default()));
    }

    /// What was read of a revision.
    fn of(&self, key: &Key, revision: &str) -> Arc<Mutex<Scrapes>> {
        self.with(|releases| {
            let release = releases.entry(key.clone()).or_default();
            if release.revision != revision {
                *release = Release { revision: revision.to_owned(), ..Release::default() };
            }
            release.scrapes.clone()
        })
    }

    /// Whether pages are to be read before there is evidence: stable's, so that its history shows which latencies are worth
    /// a look, and the canary's, so that its counters have a beginning. If so that is taken as begun.
    pub fn is_ahead(&self, key: &Key) -> bool {
        const PACE: std::time::Duration = std::time::Duration::from_secs(2);
        self.with(|releases| {
            let Some(release) = releases.get_mut(key) else { return false };
            let due = release.ahead.is_none_or(|ahead| ahead.elapsed() >= PACE);
            if due {
                release.ahead = Some(Instant::now());
            }
            due
        })
    }
}

/// The release that is on its way and has no evidence yet.
pub(super) fn ahead(rollout: &Rollout) -> Option<&Flight> {
    let status = rollout.status.as_ref().filter(|status| status.latch.is_none())?;
    status.flight.as_ref().filter(|flight| flight.evidence_since.is_none())
}

/// The pods of the two ReplicaSets of a release, by whom controls them: a label can be put on any pod.
pub fn on_trial(rollout: &Rollout, sets: &[ReplicaSet], pods: &[Pod]) -> Vec<OnTrial> {
    let Some(status) = &rollout.status else { return Vec::new() };
    let uid = |name: Option<&String>| sets.iter().find(|set| Some(&set.name) == name).map(|set| set.uid.as_str());
    let stable = uid(status.stable.as_ref().map(|stable| &stable.replica_set));
    let canary = uid(status.flight.as_ref().map(|flight| &flight.candidate));
    let arm_of = |pod: &Pod| match Some(pod.at.owner.as_str()).filter(|owner| !owner.is_empty()) {
        owner @ Some(_) if owner == canary => Some(Arm::Canary),
        owner @ Some(_) if owner == stable => Some(Arm::Stable),
        _ => None,
    };
    let known = |pod: &Pod| {
        Some(OnTrial { arm: arm_of(pod)?, name: pod.name.clone(), started: pod.started, at: pod.at.clone() })
    };
    pods.iter().filter_map(known).collect()
}

impl Cluster {
    /// Reads the pages of one round, and returns what is remembered with them.
    pub(super) async fn scrape(
        &self,
        (key, revision): (&Key, &str),
        provider: &Pods,
        metrics: &[Metric],
        since: Option<Timestamp>,
        pods: &[OnTrial],
    ) -> Arc<Mutex<Scrapes>> {
        let at = self.now();
        let pages = provider.targets(pods).into_iter().map(|target| async move {
            match target {
                Ok(target) => self.page(provider, metrics, &target).await,
                Err((arm, why)) => Page::unread(arm, why),
            }
        });
        let pages = join_all(pages).await;
        let scrapes = self.scraping.of(key, revision);
        scrapes.lock().unwrap_or_else(PoisonError::into_inner).remember(at, metrics, since, &pages, pods);
        scrapes
    }

    async fn page(&self, provider: &Pods, metrics: &[Metric], target: &Target) -> Page {
        let reach = provider.page_reach();
        let request = Request {
            method: Method::Get,
            url: target.url.clone(),
            headers: vec![("Accept".to_owned(), "text/plain;version=0.0.4, text/plain;q=0.5, */*;q=0.1".to_owned())],
            body: Body::Empty,
            credentials: None,
            ca_bundle: reach.ca_bundle.map(str::to_owned),
            peer: if provider.scheme == Scheme::Https && provider.ca_bundle.is_none() {
                Peer::AnyPod
            } else {
                Peer::Pod
            },
            timeout: reach.timeout,
            body_cap: reach.cap,
        };
        // It is never closed.
        let _turn = self.scraping.turns.acquire().await;
        let answer = self.outbound.send(request).await;
        let answer = answer.map(|answer| (answer.status, answer.body)).map_err(|failure| failure.to_string());
        let outcome = if answer.is_ok() { "answered" } else { "unreachable" };
        self.telemetry.queries.get_or_create(&QueryLabels { outcome }).inc();
        target.page(metrics, answer)
    }
}
