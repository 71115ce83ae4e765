//! Reads the pages of metrics of a release's pods, and remembers what stood on them as long as the operator lives.
//!
//! Most pages are short and are read side by side. One that turns out to be long is read again, out of a budget that the
//! long pages of all releases share, so that no number of pods is the end of the operator's memory.
use super::{Cluster, Key, measure::aside};
use crate::{
    api::{Flight, Rollout},
    metrics::{Metric, OnTrial, Page, Pods, Scheme, Scrapes, Target},
    outbound::{Answer, Body, Failure, Method, Peer, Request},
    plan::{Pod, ReplicaSet},
    telemetry::QueryLabels,
    vocab::Arm,
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// So many pages are read at once, of all releases together.
const AT_ONCE: usize = 128;
/// So many of them are of one release: pods that hang hold up their own.
const OF_ONE: usize = 32;
/// A page is long from so many bytes on.
const LONG: usize = 256 * 1_024;
/// So many bytes may the long pages have that are read at once, of all releases together. It is more than any one may have.
const BUDGET: usize = 64 * 1_024 * 1_024;
/// In what the budget is counted, in bytes.
const UNIT: usize = 1_024;

/// What was read of each release.
pub(super) struct Scraping {
    releases: Mutex<HashMap<Key, Release>>,
    turns: Semaphore,
    /// What is left of the budget of long pages.
    room: Semaphore,
}

/// What is known of a Rollout whose provider reads pods.
#[derive(Default)]
struct Release {
    revision: String,
    /// Where the pages are: those of another place are other pages.
    place: String,
    /// How often they are read.
    interval: Duration,
    scrapes: Arc<Mutex<Scrapes>>,
    /// Where long pages are.
    long: Arc<Mutex<BTreeSet<String>>>,
    /// When pages were last read before there was evidence.
    ahead: Option<Instant>,
    /// Whether such a reading is under way.
    is_reading: Arc<AtomicBool>,
}

/// Of a reading that is under way, until it ends, however it ends.
pub(super) struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Default for Scraping {
    fn default() -> Self {
        Self { releases: Mutex::default(), turns: Semaphore::new(AT_ONCE), room: Semaphore::new(BUDGET / UNIT) }
    }
}

impl Scraping {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Key, Release>) -> T) -> T {
        change(&mut self.releases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what kind of provider a Rollout has.
    pub fn note(&self, key: &Key, pods: Option<&Pods>) {
        self.with(|releases| match pods {
            Some(pods) => releases.entry(key.clone()).or_default().interval = pods.interval.std(),
            None => drop(releases.remove(key)),
        });
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, key: &Key) {
        self.with(|releases| releases.remove(key));
    }

    /// Forgets what was read of a release that is over.
    pub fn end(&self, key: &Key) {
        self.with(|releases| {
            releases.get_mut(key).map(|release| *release = Release { interval: release.interval, ..Release::default() })
        });
    }

    /// What was read of a revision at the place that a provider says, and where its long pages are.
    fn of(&self, key: &Key, revision: &str, provider: &Pods) -> (Arc<Mutex<Scrapes>>, Arc<Mutex<BTreeSet<String>>>) {
        let (place, interval) = (provider.place(), provider.interval.std());
        self.with(|releases| {
            let release = releases.entry(key.clone()).or_default();
            if release.revision != revision || release.place != place {
                *release = Release { revision: revision.to_owned(), place, ..Release::default() };
            }
            release.interval = interval;
            (release.scrapes.clone(), release.long.clone())
        })
    }

    /// Whether pages are to be read before there is evidence: stable's, so that its history shows which latencies are worth
    /// a look, and the canary's, so that its counters have a beginning. If so that is begun; one at a time.
    pub fn ahead(&self, key: &Key) -> Option<Reading> {
        self.with(|releases| {
            let release = releases.get_mut(key)?;
            let is_due = release.ahead.is_none_or(|ahead| ahead.elapsed() >= release.interval);
            if !is_due || release.is_reading.swap(true, Ordering::Relaxed) {
                return None;
            }
            release.ahead = Some(Instant::now());
            Some(Reading(release.is_reading.clone()))
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
    /// Reads the pages of one round, unless it is too soon for another one, and returns what is remembered with them, and of
    /// when the newest are.
    pub(super) async fn scrape(
        &self,
        (key, revision): (&Key, &str),
        provider: &Pods,
        metrics: &[Metric],
        since: Option<Timestamp>,
        pods: &[OnTrial],
    ) -> (Timestamp, Arc<Mutex<Scrapes>>) {
        let at = self.now();
        let (scrapes, long) = self.scraping.of(key, revision, provider);
        let long = &*long;
        // Other sources of the same release may be asked more often.
        let known = || scrapes.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = known().newest_before(at, provider.interval, since);
        if let Some(newest) = newest {
            return (newest, scrapes);
        }
        let pages = provider.targets(pods).into_iter().map(|target| async move {
            match target {
                Ok(target) => self.page(provider, metrics, &target, long).await,
                Err((arm, why)) => Page::unread(arm, why),
            }
        });
        let pages: Vec<_> = stream::iter(pages).buffered(OF_ONE).collect().await;
        known().remember(at, metrics, since, &pages, pods);
        (at, scrapes)
    }

    async fn page(&self, provider: &Pods, metrics: &[Metric], target: &Target, long: &Mutex<BTreeSet<String>>) -> Page {
        let cap = provider.page_reach().cap;
        let known = || long.lock().unwrap_or_else(PoisonError::into_inner);
        let is_long = known().contains(&target.url);
        if !is_long {
            // It is never closed.
            let _turn = self.scraping.turns.acquire().await;
            match self.read_page(provider, target, cap.min(LONG)).await {
                Err(Failure::TooLarge { .. }) if cap > LONG => _ = known().insert(target.url.clone()),
                answer => return read(target, metrics, answer),
            }
        }
        let room = u32::try_from(cap.div_ceil(UNIT).min(BUDGET / UNIT)).unwrap_or(u32::MAX);
        let waited = tokio::time::timeout(provider.page_reach().timeout.std(), self.scraping.room.acquire_many(room));
        let Ok(_room) = waited.await else { return target.page(metrics, Err(no_room())) };
        read(target, metrics, self.read_page(provider, target, cap).await)
    }

    /// Asks for a page of no more than so many bytes.
    async fn read_page(&self, provider: &Pods, target: &Target, cap: usize) -> Result<Answer, Failure> {
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
            body_cap: cap,
        };
        let answer = self.outbound.send(request).await;
        let is_there = matches!(answer, Ok(_) | Err(Failure::TooLarge { .. }));
        let outcome = if is_there { "answered" } else { "unreachable" };
        self.telemetry.queries.get_or_create(&QueryLabels { outcome }).inc();
        answer
    }
}

/// What an answer says.
fn read(target: &Target, metrics: &[Metric], answer: Result<Answer, Failure>) -> Page {
    let answer = answer.map(|answer| (answer.status, answer.body)).map_err(|failure| failure.to_string());
    aside(answer.as_ref().map_or(0, |(_, body)| body.len()), || target.page(metrics, answer))
}

fn no_room() -> String {
    format!(
        "the long pages of all pods have no more than {} MiB at once, and others had them: let the pods tell less on their \
         pages, or lower the provider's pods.pageCap, pods.canaryPods and pods.stablePods",
        BUDGET >> 20
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Clock,
            tests::{clock_from, cluster_at},
        },
        *,
    };
    use crate::{metrics::Whereabouts, outbound::Transport};
    use futures::{
        FutureExt,
        future::{BoxFuture, join_all},
    };
    use serde_json::{Value, json};
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        time::Duration,
    };

    /// Pods whose pages have so many bytes and take so long.
    #[derive(Clone, Default)]
    struct Pages {
        bytes: usize,
        takes: Duration,
        asked: Arc<AtomicUsize>,
        held: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl Transport for Pages {
        fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, Failure>> {
            async move {
                self.asked.fetch_add(1, Relaxed);
                let held = self.held.fetch_add(request.body_cap, Relaxed) + request.body_cap;
                self.most.fetch_max(held, Relaxed);
                tokio::time::sleep(self.takes).await;
                self.held.fetch_sub(request.body_cap, Relaxed);
                if self.bytes >= request.body_cap {
                    return Err(Failure::TooLarge { cap: request.body_cap });
                }
                let line = "http_requests_total{code=\"200\"} 1\n";
                let body = line.to_owned() + &format!("# {}\n", "x".repeat(997)).repeat(self.bytes / 1_000);
                Ok(Answer { status: 200, body: body.into_bytes() })
            }
            .boxed()
        }
    }

    /// A clock that goes with the runtime's.
    fn clock() -> Clock {
        clock_from(Timestamp::from_second(1_800_000_000).unwrap())
    }

    fn provider(spec: Value) -> Pods {
        serde_json::from_value(spec).unwrap()
    }

    fn errors() -> Metric {
        serde_json::from_value(json!({"name": "errors", "preset": "app/error-rate"})).unwrap()
    }

    fn pod(number: u8) -> OnTrial {
        let at = Whereabouts {
            uid: number.to_string(),
            address: Some([10, 0, 0, number].into()),
            running: true,
            ..Whereabouts::default()
        };
        OnTrial { arm: Arm::Canary, name: format!("c{number}"), started: None, at }
    }

    /// Three rounds of so many pods in each of so many releases, and what is said of a canary then.
    async fn rounds(pages: &Pages, releases: u8, pods: u8) -> String {
        let (cluster, _) = cluster_at(clock(), pages.clone(), |_: &str, _: &Value| (404, json!({})));
        let provider = provider(json!({"port": 80, "canaryPods": 100}));
        let (pods, metrics) = ((0..pods).map(pod).collect::<Vec<_>>(), [errors()]);
        let keys: Vec<_> = (0..releases).map(|number| Key::new(&format!("shop-{number}"))).collect();
        let round = || join_all(keys.iter().map(|key| cluster.scrape((key, "1"), &provider, &metrics, None, &pods)));
        for _ in 0..2 {
            round().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let trouble = |scrapes: &Mutex<Scrapes>| scrapes.lock().unwrap().trouble(Arm::Canary).map(str::to_owned);
        round().await.iter().find_map(|(_, scrapes)| trouble(scrapes)).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_is_of_its_beginning_and_is_not_repeated_too_soon_and_pages_of_another_place_are_others() {
        let pages = Pages { takes: Duration::from_secs(6), ..Pages::default() };
        let clock = clock();
        let (cluster, _) = cluster_at(clock.clone(), pages.clone(), |_: &str, _: &Value| (404, json!({})));
        let (key, pods, begun) = (Key::new("shop"), [pod(1)], clock.now());
        let at = |path: &str| provider(json!({"port": 80, "path": path, "interval": "10s", "timeout": "10s"}));
        let (metrics, other) = (at("/metrics"), at("/other"));
        let round = async |provider: &Pods, since| {
            let (of, scrapes) = cluster.scrape((&key, "1"), provider, &[errors()], since, &pods).await;
            (of.duration_since(begun).as_secs(), pages.asked.load(Relaxed), scrapes)
        };
        let (of, asked, first) = round(&metrics, None).await;
        assert_eq!((of, asked), (0, 1), "its page took six seconds");
        let (of, asked, again) = round(&metrics, None).await;
        assert_eq!((of, asked), (0, 1), "others of this release are asked more often");
        assert!(Arc::ptr_eq(&first, &again));
        let (of, asked, _) = round(&metrics, Some(clock.now())).await;
        assert_eq!((of, asked), (6, 2), "evidence begins");
        let (of, asked, elsewhere) = round(&other, None).await;
        assert_eq!((of, asked), (12, 3));
        assert!(!Arc::ptr_eq(&first, &elsewhere), "what was not on one page has not been counted on another since");
    }

    #[tokio::test(start_paused = true)]
    async fn long_pages_have_no_more_than_their_budget_together_and_short_ones_are_not_held_up() {
        let takes = Duration::from_millis(20);
        let short = Pages { bytes: 20_000, takes, ..Pages::default() };
        assert_eq!((rounds(&short, 1, 100).await.as_str(), short.asked.load(Relaxed)), ("", 300));
        assert!(short.most.load(Relaxed) <= 100 * LONG);
        let long = Pages { bytes: 300_000, takes, ..Pages::default() };
        assert_eq!(
            (rounds(&long, 1, 100).await.as_str(), long.asked.load(Relaxed)),
            ("", 400),
            "the first round asks twice"
        );
        assert!(long.most.load(Relaxed) <= BUDGET + AT_ONCE * LONG, "{}", long.most.load(Relaxed));
        let slow = Pages { bytes: 300_000, takes: Duration::from_millis(1_900), ..Pages::default() };
        let why = rounds(&slow, 3, 100).await;
        assert!(why.contains("have no more than 64 MiB at once") && why.contains("pods.pageCap"), "{why}");
        let endless = Pages { bytes: 5_000_000, takes, ..Pages::default() };
        let why = rounds(&endless, 1, 1).await;
        assert!(why.ends_with("cannot be read: the answer is longer than 4194304 bytes"), "{why}");
    }
}
