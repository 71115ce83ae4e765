//! Asks what stable did of late while nothing is on trial, so that too little traffic for the steps is said before a release
//! begins.
//!
//! Nothing is decided by it. A Prometheus is asked one question for each comparison of errors, and again about once an hour;
//! no other provider is, no Job runs, and no pod's page is read.
use super::{
    Cluster, Key, key_of,
    measure::{self, Wake},
    providers::Asked,
};
use crate::{
    api::{Rollout, RolloutStatus},
    metrics::{self, Metric, Past},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// So long what was told is good. Looks at rest are half an hour apart, so that every second one asks.
const GOOD: Duration = Duration::from_mins(50);
/// How long to wait after a try that was not answered; the next look asks again.
const PAUSE: Duration = Duration::from_mins(1);
/// So many Rollouts ask at once: after a restart all of them want to.
const AT_ONCE: usize = 4;
/// So long a revision that went through steps must have had all requests, for its past to tell how many there are.
const ALONE: SignedDuration = SignedDuration::from_mins(20);

/// What is known of stable's past, of Rollouts at rest.
pub(super) struct Pasts {
    slots: Mutex<HashMap<Key, Slot>>,
    turns: Semaphore,
    wake: Wake,
}

/// What one Rollout was told.
struct Slot {
    of: Rest,
    /// By metric, if somebody answered.
    known: Option<Vec<(String, Past)>>,
    /// Before this moment it is not asked again.
    due: Instant,
    under_way: bool,
}

/// Whose past it is, and for which spec: of another it is asked for anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rest {
    uid: Option<String>,
    generation: Option<i64>,
    stable: String,
}

impl Pasts {
    /// None yet.
    pub fn new(wake: Wake) -> Self {
        Self { slots: Mutex::default(), turns: Semaphore::new(AT_ONCE), wake }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Key, Slot>) -> T) -> T {
        change(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets a Rollout that has something on trial, or is gone.
    pub fn forget(&self, key: &Key) {
        self.with(|slots| slots.remove(key));
    }

    fn known(&self, key: &Key, of: &Rest) -> Option<Vec<(String, Past)>> {
        self.with(|slots| slots.get(key).filter(|slot| slot.of == *of)?.known.clone())
    }

    /// Whether it is time to ask; if so that is taken as begun.
    fn begin(&self, key: &Key, of: &Rest) -> bool {
        self.with(|slots| match slots.get_mut(key).filter(|slot| slot.of == *of) {
            Some(slot) if slot.under_way || Instant::now() < slot.due => false,
            Some(slot) => {
                slot.under_way = true;
                true
            }
            None => {
                slots.insert(key.clone(), Slot { of: of.clone(), known: None, due: Instant::now(), under_way: true });
                true
            }
        })
    }

    /// Remembers what was told. A look is called for only if that is new.
    fn finish(&self, key: &Key, of: &Rest, told: Option<Vec<(String, Past)>>) {
        let is_new = self.with(|slots| {
            let Some(slot) = slots.get_mut(key).filter(|slot| slot.of == *of) else { return false };
            slot.under_way = false;
            slot.due = Instant::now() + if told.is_some() { GOOD } else { PAUSE };
            let is_new = told.is_some() && told != slot.known;
            if is_new {
                slot.known = told;
            }
            is_new
        });
        if is_new {
            (self.wake)(key.clone());
        }
    }
}

/// What is asked about, of a Rollout that is at rest with something to compare.
fn rest_of(rollout: &Rollout, now: Timestamp) -> Option<Rest> {
    let status = rollout.status.as_ref()?;
    let held = status.workload.as_ref()?.stable_replica_set.as_ref()?;
    let stable = status.stable.as_ref().filter(|stable| stable.replica_set == *held)?;
    let at_rest = status.flight.is_none() && status.latch.is_none() && rollout.metadata.deletion_timestamp.is_none();
    let has_past = rollout.spec.is_judged() && rollout.spec.analysis.metrics.iter().any(Metric::has_past);
    let is_alone = now.duration_since(alone_since(status)) >= ALONE;
    (at_rest && has_past && is_alone).then(|| Rest {
        uid: rollout.metadata.uid.clone(),
        generation: rollout.metadata.generation,
        stable: stable.replica_set.clone(),
    })
}

/// Since when stable has had all requests: until it took over, its predecessor had some.
fn alone_since(status: &RolloutStatus) -> Timestamp {
    status.former.last().map_or(Timestamp::UNIX_EPOCH, |former| former.since.0)
}

impl Cluster {
    /// What stable did of late, by metric, of a Rollout at rest; nothing where it is not known.
    pub(super) fn pasts_of(&self, rollout: &Rollout) -> Option<Vec<(String, Past)>> {
        self.pasts.known(&key_of(rollout), &rest_of(rollout, self.now())?)
    }

    /// Begins to ask for it, where nothing is on trial, unless it was asked for a moment ago.
    pub(super) fn ask_for_past(&self, rollout: &Rollout, port: impl FnOnce() -> Option<u16>) {
        let key = key_of(rollout);
        let Some(of) = rest_of(rollout, self.now()) else {
            self.pasts.forget(&key);
            return;
        };
        if !self.pasts.begin(&key, &of) {
            return;
        }
        let (cluster, mut rollout, port) = (self.clone(), rollout.clone(), port());
        // The providers of others are not even read.
        rollout.spec.analysis.metrics.retain(Metric::has_past);
        tokio::spawn(async move {
            // It is never closed.
            let _turn = cluster.pasts.turns.acquire().await;
            let told = measure::ended(cluster.told_past(&rollout, port)).await;
            cluster.pasts.finish(&key, &of, told.flatten());
        });
    }

    /// Asks once; nothing where somebody did not answer.
    async fn told_past(&self, rollout: &Rollout, port: Option<u16>) -> Option<Vec<(String, Past)>> {
        let since = alone_since(rollout.status.as_ref()?);
        let subject = measure::subject_with(None, rollout, since, self.now(), port)?;
        let mut told = Vec::new();
        for (reference, asked) in self.providers(rollout).await {
            let Asked { provider, access } = asked.ok()?;
            // In a line of its own: no release waits behind it, or is held back because it was not answered.
            let line = self.asks.line(&format!("{} at rest", provider.identity), &subject.namespace);
            let mine: Vec<_> = rollout.spec.analysis.metrics_of(reference).map(|(_, metric)| metric).collect();
            for metric in mine {
                let Some(ask) = metrics::ask_past(metric, &provider.spec, &subject) else { continue };
                let reply = self.query(&provider.spec, &line, &ask, &access).await;
                let bytes = reply.as_ref().map_or(0, |(_, body)| body.len());
                let past = measure::aside(bytes, || metrics::read_past(metric, &provider.spec, &subject, &reply));
                told.push((metric.name.clone(), past?));
            }
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Around,
            tests::{Calls, clock_from, cluster_at},
        },
        *,
    };
    use crate::{
        api,
        outbound::{Answer, Body, Failure, Request, Transport},
    };
    use futures::{FutureExt as _, future::BoxFuture};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    };

    /// A Rollout at rest.
    fn rollout(provider: &str, metrics: &Value) -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "shop", "namespace": "n", "uid": "u", "generation": 1},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "steps": [{"name": "a", "weight": 5, "observe": "1m"}],
                "analysis": {"provider": {"kind": "ClusterMetricProvider", "name": provider}, "metrics": metrics},
            },
            "status": {
                "workload": {"uid": "d", "stableReplicaSet": "shop-1"},
                "stable": {"revision": "1", "replicaSet": "shop-1", "podTemplateHash": "1", "replicas": 1, "ready": 1},
            },
        }))
        .unwrap()
    }

    fn errors() -> Value {
        json!([{"name": "errors", "preset": "app/error-rate"}])
    }

    /// Its stable revision is this one from this moment on.
    fn promoted(rollout: &mut Rollout, set: &str, at: Timestamp) {
        let status = rollout.status.as_mut().unwrap();
        let from = status.workload.as_mut().unwrap().stable_replica_set.replace(set.to_owned()).unwrap();
        status.stable.as_mut().unwrap().replica_set = set.to_owned();
        status.former.push(api::Past { replica_set: from, since: Time(at) });
    }

    fn provider(call: &str, _: &Value) -> (u16, Value) {
        let name = call.rsplit('/').next().unwrap_or_default();
        let spec = match name {
            "prometheus" => json!({"prometheus": {"url": "http://prometheus.monitoring.svc"}}),
            "pods" => json!({"pods": {"port": 8080}}),
            _ => panic!("{call}"),
        };
        let kind = "ClusterMetricProvider";
        let metadata = json!({"name": name, "uid": name});
        (200, json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}))
    }

    /// A Prometheus that has always counted half a request a second, of which one in fifteen went wrong, and notes what it is
    /// asked for, and of how many seconds.
    #[derive(Clone, Default)]
    struct Prometheus {
        asked: Arc<Mutex<Vec<(String, f64)>>>,
        down: Arc<AtomicBool>,
    }

    impl Prometheus {
        fn asked(&self) -> usize {
            self.asked.lock().unwrap().len()
        }

        fn last(&self) -> (String, f64) {
            self.asked.lock().unwrap().last().cloned().unwrap()
        }
    }

    impl Transport for Prometheus {
        fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, Failure>> {
            let Body::Form(fields) = &request.body else { panic!("{} is asked", request.url) };
            let field =
                |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap();
            let [start, end, step] = ["start", "end", "step"].map(|name| field(name).parse::<f64>().unwrap());
            self.asked.lock().unwrap().push((field("query"), (end - start).round()));
            let series = |code: &str, each: i32| {
                let all = (0..1_000_i32).map(|at| (start + step * f64::from(at), (at * each).to_string()));
                let values: Vec<_> = all.take_while(|(at, _)| *at <= end).collect();
                json!({"metric": {"job": "pods", "pod": "shop-1-x2k9p", "code": code}, "values": values})
            };
            // A block is two scrapes of 15 s long.
            let result = json!([series("200", 14), series("503", 1)]);
            let body = json!({"status": "success", "data": {"resultType": "matrix", "result": result}});
            let (timeout, is_down) = (request.timeout, self.down.load(Relaxed));
            async move {
                if is_down {
                    Err(Failure::Timeout(timeout))
                } else {
                    Ok(Answer { status: 200, body: serde_json::to_vec(&body).unwrap() })
                }
            }
            .boxed()
        }
    }

    fn world() -> (Cluster, Prometheus, Calls) {
        let prometheus = Prometheus::default();
        let clock = clock_from(Timestamp::from_second(1_795_246_800).unwrap());
        let (cluster, calls) = cluster_at(clock, prometheus.clone(), provider);
        (cluster, prometheus, calls)
    }

    /// Looks every second for so many seconds.
    async fn looks(cluster: &Cluster, rollout: &Rollout, seconds: u32) {
        for _ in 0..seconds {
            cluster.measure(rollout, Around::default);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn at_rest_one_question_is_asked_for_each_comparison_of_errors_and_nobody_else_is() {
        let metrics = json!([
            {"name": "errors", "preset": "app/error-rate"},
            {"name": "latency", "preset": "app/latency"},
            {"name": "share", "query": "sum(rate(x{arm=\"$arm\"}[$window]))", "limit": {"max": "1"}},
            {
                "name": "quality", "interval": "1s", "limit": {"min": "0.8"},
                "provider": {"kind": "ClusterMetricProvider", "name": "scores"},
                "web": {"path": "/score?of={replicaSet}", "result": "/data/score"},
            },
            {"name": "smoke", "interval": "1m", "job": {"template": {"spec": {"containers": [{"name": "t", "image": "t:1"}]}}}},
        ]);
        let rollout = rollout("prometheus", &metrics);
        let (cluster, prometheus, calls) = world();
        looks(&cluster, &rollout, 60).await;
        let all = prometheus.asked.lock().unwrap().clone();
        let probes = "/(health|healthz|health_generate|livez|readyz|ping|metrics)([/?].*)?";
        let query = format!(
            r#"http_requests_total{{handler!~"{probes}",namespace="n",path!~"{probes}",pod=~"shop-1-[a-z0-9]{{5}}",route!~"{probes}"}}"#
        );
        assert_eq!(all, [(query, 3_600.0)]);
        let read = |(call, _): &(String, Value)| call.ends_with("/clustermetricproviders/prometheus");
        assert!(calls.lock().unwrap().iter().all(read), "{calls:?}");
        let told = cluster.pasts_of(&rollout).unwrap();
        assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["errors"]);
        let traffic = told[0].1.traffic.unwrap();
        assert!((traffic.rate - 0.5).abs() < 0.01 && (traffic.bad - 1.0 / 15.0).abs() < 0.01, "{traffic:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_of_another_spec_or_stable_and_about_once_an_hour_and_never_in_a_release() {
        let mut rollout = rollout("prometheus", &errors());
        let (cluster, prometheus, _) = world();
        looks(&cluster, &rollout, 5).await;
        rollout.metadata.generation = Some(2);
        assert_eq!(cluster.pasts_of(&rollout), None, "of another spec nothing is known");
        looks(&cluster, &rollout, 60).await;
        assert_eq!(prometheus.asked(), 2);
        tokio::time::sleep(GOOD).await;
        looks(&cluster, &rollout, 60).await;
        assert_eq!(prometheus.asked(), 3);
        promoted(&mut rollout, "shop-2", cluster.now());
        looks(&cluster, &rollout, 60).await;
        assert_eq!((prometheus.asked(), cluster.pasts_of(&rollout)), (3, None), "it has shared its requests until now");
        tokio::time::sleep(Duration::from_mins(20)).await;
        looks(&cluster, &rollout, 60).await;
        let (query, seconds) = prometheus.last();
        assert_eq!(prometheus.asked(), 4);
        assert!(query.contains("shop-2-") && (1_200.0..1_300.0).contains(&seconds), "{query} of {seconds} s");
        assert!(cluster.pasts_of(&rollout).is_some());
        let flight = json!({"revision": "3", "candidate": "shop-3", "startedAt": "2026-11-21T00:00:00Z", "steps": []});
        rollout.status.as_mut().unwrap().flight = Some(serde_json::from_value(flight).unwrap());
        tokio::time::sleep(GOOD).await;
        looks(&cluster, &rollout, 60).await;
        assert_eq!((prometheus.asked(), cluster.pasts_of(&rollout)), (4, None));
    }

    #[tokio::test(start_paused = true)]
    async fn pods_have_no_past_and_are_not_read_for_it() {
        let rollout = rollout("pods", &errors());
        let (cluster, prometheus, _) = world();
        looks(&cluster, &rollout, 60).await;
        assert_eq!((prometheus.asked(), cluster.pasts_of(&rollout)), (0, Some(Vec::new())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_prometheus_that_is_down_says_nothing_and_is_asked_once_a_minute() {
        let rollout = rollout("prometheus", &errors());
        let (cluster, prometheus, _) = world();
        prometheus.down.store(true, Relaxed);
        looks(&cluster, &rollout, 150).await;
        assert!((2..=3).contains(&prometheus.asked()), "{}", prometheus.asked());
        assert_eq!(cluster.pasts_of(&rollout), None);
        prometheus.down.store(false, Relaxed);
        looks(&cluster, &rollout, 70).await;
        let known = cluster.pasts_of(&rollout);
        assert!(known.is_some());
        prometheus.down.store(true, Relaxed);
        tokio::time::sleep(GOOD).await;
        looks(&cluster, &rollout, 5).await;
        assert_eq!(cluster.pasts_of(&rollout), known, "what was told is not forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_called_for_by_what_is_new_and_by_nothing_else() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let pasts = Pasts::new(Arc::new(move |_| {
            count.fetch_add(1, Relaxed);
        }));
        let key = Key::new("shop").within("n");
        let rest = |generation| Rest { uid: None, generation: Some(generation), stable: "shop-1".to_owned() };
        let told = Some(vec![("errors".to_owned(), Past::default())]);
        assert!(pasts.begin(&key, &rest(1)) && !pasts.begin(&key, &rest(1)), "one is under way");
        pasts.finish(&key, &rest(1), None);
        assert_eq!((woken.load(Relaxed), pasts.begin(&key, &rest(1))), (0, false));
        tokio::time::advance(PAUSE).await;
        assert!(pasts.begin(&key, &rest(1)));
        pasts.finish(&key, &rest(1), told.clone());
        assert_eq!((woken.load(Relaxed), pasts.begin(&key, &rest(1))), (1, false));
        tokio::time::advance(GOOD).await;
        assert!(pasts.begin(&key, &rest(1)));
        pasts.finish(&key, &rest(1), told.clone());
        assert_eq!(woken.load(Relaxed), 1, "the same again is nothing new");
        assert!(pasts.begin(&key, &rest(2)));
        pasts.finish(&key, &rest(1), told);
        assert_eq!((woken.load(Relaxed), pasts.known(&key, &rest(2))), (1, None), "too late");
    }
}
