//! Asks providers beside the looks, so that one that hangs holds up neither an abort nor anybody else.
use super::{Cluster, Key, about::About, key_of, providers::Asked, scrape};
use crate::{
    api::{ArmStatus, Flight, Rollout},
    metrics::{self, ArmNames, Batch, Bursts, Looks, Metric, OnTrial, Past, Seen, Subject, Unanswered},
    plan::{Measured, Observed},
    vocab::Verdict,
};
use futures::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;
use kube::ResourceExt;
use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    time::Instant,
};

/// Calls for a look at a Rollout.
pub type Wake = Arc<dyn Fn(Key) + Send + Sync>;

/// The time between two measurements of one candidate, where nothing else is known.
const PACE: Duration = Duration::from_secs(2);
/// The longest that a measurement may take; requests have their own, shorter limits.
const LONGEST: Duration = Duration::from_mins(1);

/// What is read of more bytes than this may take some milliseconds, and with a judge behind it some hundreds.
const MUCH: usize = 64 * 1_024;

/// Does what may take long, where there is so much to read, without holding up whatever else waits for this thread. On a
/// runtime of one thread, as in tests of virtual time, there is no other to go on, and it is done like everything else.
pub(super) fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if bytes > MUCH && matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// What is asked beside the looks; nothing if it takes too long. One that panics ends likewise, else it would be under way for
/// ever.
pub(super) async fn ended<T>(asking: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(tokio::time::timeout(LONGEST, asking)).catch_unwind().await.ok()?.ok()
}

/// The last measurement of each candidate on trial.
pub struct Measurements {
    slots: Mutex<HashMap<Key, Slot>>,
    wake: Wake,
}

/// One candidate's measurement. Its subject says of what: a new revision, or new evidence, is another.
struct Slot {
    subject: (String, Timestamp),
    /// What was asked at last, and what was asked for what has been read.
    asked: About,
    read_of: About,
    read: Measured,
    /// By metric, what the next look is told.
    known: HashMap<String, Known>,
    begun: Instant,
    /// Before this moment another measurement would show nothing new.
    due: Instant,
    under_way: bool,
}

/// What a measurement has to know of the objects around a release.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The port of the Services, where there are any.
    pub port: Option<u16>,
    /// The selectors by which the Deployment and Services know its pods.
    pub selectors: Vec<serde_json::Value>,
    /// The pods of both arms.
    pub on_trial: Vec<OnTrial>,
}

/// What earlier looks at a metric have learned.
#[derive(Clone, Default)]
struct Known {
    /// Stable's past, which does not change.
    past: Option<Past>,
    /// The looks at a source without a history.
    points: Option<Looks>,
    /// For how long there has been no usable answer.
    unanswered: Unanswered,
}

impl Measurements {
    /// None yet.
    pub fn new(wake: Wake) -> Self {
        Self { slots: Mutex::default(), wake }
    }

    /// Forgets a Rollout that has nothing on trial. Whether there was anything to forget.
    pub fn forget(&self, key: &Key) -> bool {
        self.slots.lock().is_ok_and(|mut slots| slots.remove(key).is_some())
    }

    /// Whether this is on trial still.
    pub(super) fn is_open(&self, key: &Key, subject: &(String, Timestamp)) -> bool {
        self.slots.lock().is_ok_and(|slots| slots.get(key).is_some_and(|slot| slot.subject == *subject))
    }

    fn last(&self, key: &Key, subject: &(String, Timestamp), about: &About) -> Measured {
        let slots = self.slots.lock().ok();
        let slot = slots.as_ref().and_then(|slots| slots.get(key)).filter(|slot| slot.subject == *subject);
        slot.map(|slot| slot.read_of.still(about, slot.read.clone())).unwrap_or_default()
    }

    /// What earlier looks have learned, by metric.
    fn known(&self, key: &Key, subject: &(String, Timestamp)) -> HashMap<String, Known> {
        let slots = self.slots.lock().ok();
        let slot = slots.as_ref().and_then(|slots| slots.get(key)).filter(|slot| slot.subject == *subject);
        slot.map(|slot| slot.known.clone()).unwrap_or_default()
    }

    /// Whether it is time to measure this; if so it is taken as begun.
    fn begin(&self, key: &Key, subject: &(String, Timestamp), about: About) -> bool {
        let Ok(mut slots) = self.slots.lock() else { return false };
        match slots.get_mut(key).filter(|slot| slot.subject == *subject) {
            Some(slot) if slot.under_way => false,
            Some(slot) if slot.asked.analysis == about.analysis && Instant::now() < slot.due => false,
            Some(slot) => {
                for (name, known) in &mut slot.known {
                    // Looks know their own question.
                    known.past = known.past.filter(|_| slot.asked.same(&about, name));
                }
                slot.asked = about;
                slot.under_way = true;
                slot.begun = Instant::now();
                true
            }
            None => {
                let slot = Slot {
                    subject: subject.clone(),
                    read_of: about.clone(),
                    asked: about,
                    read: Measured::NotYet,
                    known: HashMap::new(),
                    begun: Instant::now(),
                    due: Instant::now(),
                    under_way: true,
                };
                slots.insert(key.clone(), slot);
                true
            }
        }
    }

    fn finish(&self, key: &Key, subject: &(String, Timestamp), (mut read, pause): (Measured, Duration)) {
        if let Ok(mut slots) = self.slots.lock()
            && let Some(slot) = slots.get_mut(key).filter(|slot| slot.subject == *subject)
        {
            if let Measured::Read { metrics, .. } = &mut read {
                for (name, seen) in metrics {
                    let known = slot.known.entry(name.clone()).or_default();
                    known.past = seen.past.or(known.past);
                    known.unanswered = seen.unanswered;
                    known.points = seen.points.take().or(known.points.take());
                }
            }
            slot.read = read;
            slot.read_of = slot.asked.clone();
            slot.due = slot.begun + pause;
            slot.under_way = false;
        }
        (self.wake)(key.clone());
    }
}

pub(super) fn subject_of(rollout: &Rollout) -> Option<(String, Timestamp)> {
    let status = rollout.status.as_ref()?;
    // Once the stable Service has moved to the candidate, numbers by Service no longer tell the two apart.
    let apart = |flight: &&Flight| flight.promotion.as_ref().is_none_or(|promotion| !promotion.moved);
    let flight = status.flight.as_ref().filter(apart).filter(|_| status.latch.is_none())?;
    Some((flight.revision.clone(), flight.evidence_since.as_ref()?.0))
}

/// The same for Jobs, which begin when the candidate has settled, wherever a provider's history begins.
fn of_jobs(rollout: &Rollout, subject: &Subject) -> Subject {
    let flight = rollout.status.as_ref().and_then(|status| status.flight.as_ref());
    let settled = flight.and_then(|flight| Some(flight.settled_since.as_ref()?.0));
    Subject { evidence_since: settled.unwrap_or(subject.evidence_since), ..subject.clone() }
}

/// Whom the numbers are about.
fn subject(rollout: &Rollout, evidence_since: Timestamp, now: Timestamp, around: &Around) -> Option<Subject> {
    let canary = rollout.status.as_ref()?.canary.as_ref()?;
    subject_with(Some(canary), rollout, evidence_since, now, around.port)
}

/// The same with this canary, or without one.
pub(super) fn subject_with(
    canary: Option<&ArmStatus>,
    rollout: &Rollout,
    evidence_since: Timestamp,
    now: Timestamp,
    port: Option<u16>,
) -> Option<Subject> {
    let status = rollout.status.as_ref()?;
    let pair = rollout.traffic().and_then(|traffic| traffic.pair(port.unwrap_or(80)));
    let names = |arm: &ArmStatus, service: Option<&String>| ArmNames {
        replica_set: arm.replica_set.clone(),
        pod_template_hash: arm.pod_template_hash.clone(),
        service: service.cloned().unwrap_or_default(),
    };
    let analysis = &rollout.spec.analysis;
    Some(Subject {
        namespace: rollout.namespace().unwrap_or_default(),
        stable: names(status.stable.as_ref()?, pair.as_ref().map(|pair| &pair.stable)),
        canary: canary.map(|arm| names(arm, pair.as_ref().map(|pair| &pair.canary))).unwrap_or_default(),
        port: pair.as_ref().map_or(80, |pair| pair.port),
        margins: analysis.margins(),
        bursts: analysis.margins.and_then(|margins| margins.bursts).map(Bursts::Known),
        past: None,
        points: None,
        evidence_since,
        shared_since: status.step.as_ref().and_then(|step| Some(step.shared_since.as_ref()?.0)),
        delay: crate::duration::Duration::ZERO,
        now,
    })
}

impl Cluster {
    /// The last measurement of the candidate that is on trial.
    pub(super) fn measured(&self, seen: &Observed) -> Measured {
        let Some(subject) = subject_of(&seen.rollout) else { return Measured::NotYet };
        self.measurements.last(&key_of(&seen.rollout), &subject, &About::of(&seen.rollout))
    }

    /// Begins a measurement of the candidate on trial, unless one is under way or would show nothing new yet. Where nothing is
    /// on trial, stable's past is asked for.
    pub fn measure(&self, rollout: &Rollout, around: impl FnOnce() -> Around) {
        let key = key_of(rollout);
        let judged = rollout.spec.is_judged();
        let Some(subject) = subject_of(rollout).filter(|_| judged) else {
            if self.measurements.forget(&key) && rollout.spec.analysis.runs_jobs() {
                let (cluster, rollout) = (self.clone(), rollout.clone());
                tokio::spawn(async move { ended(cluster.end_jobs(&rollout)).await });
            }
            if let Some(flight) = scrape::ahead(rollout).filter(|_| judged) {
                if let Some(reading) = self.scraping.ahead(&key) {
                    self.scrape_ahead(rollout, flight.revision.clone(), around().on_trial, reading);
                }
            } else {
                self.scraping.end(&key);
                self.ask_for_past(rollout, || around().port);
            }
            return;
        };
        self.pasts.forget(&key);
        if !self.measurements.begin(&key, &subject, About::of(rollout)) {
            return;
        }
        let (cluster, rollout, around) = (self.clone(), rollout.clone(), around());
        let known = self.measurements.known(&key, &subject);
        tokio::spawn(async move {
            let read = ended(cluster.read_metrics(&rollout, &subject, &around, known)).await;
            cluster.measurements.finish(&key, &subject, read.unwrap_or_else(|| (Measured::default(), PACE)));
        });
    }

    /// Reads pods before there is evidence, for those whose provider does.
    fn scrape_ahead(&self, rollout: &Rollout, revision: String, pods: Vec<OnTrial>, reading: scrape::Reading) {
        let (cluster, rollout) = (self.clone(), rollout.clone());
        let read = async move {
            let providers = cluster.providers(&rollout).await;
            let mut known = providers.iter().filter_map(|(reference, asked)| Some((reference, asked.as_ref().ok()?)));
            let of_pods = known.find_map(|(reference, asked)| Some((*reference, asked.provider.spec.pods.as_ref()?)));
            let Some((reference, provider)) = of_pods else { return };
            let mine: Vec<_> = rollout.spec.analysis.metrics_of(reference).map(|(_, metric)| metric.clone()).collect();
            cluster.scrape((&key_of(&rollout), &revision), provider, &mine, None, &pods).await;
        };
        tokio::spawn(async move {
            let _reading = reading;
            ended(read).await;
        });
    }

    /// Measures once, and says how long nothing new can be seen.
    async fn read_metrics(
        &self,
        rollout: &Rollout,
        of: &(String, Timestamp),
        around: &Around,
        mut known: HashMap<String, Known>,
    ) -> (Measured, Duration) {
        let Some(subject) = subject(rollout, of.1, self.now(), around) else { return (Measured::NotYet, PACE) };
        let of_jobs = of_jobs(rollout, &subject);
        let jobs = self.read_jobs(rollout, &of_jobs, &around.selectors);
        let (providers, jobs) = futures::join!(self.providers(rollout), jobs);
        // Where nobody can be asked, that is what there is to say.
        if jobs.is_empty() && providers.values().all(Result::is_err) {
            let why = providers.into_values().find_map(Result::err);
            return (Measured::NoProvider(why.unwrap_or_else(|| "no provider is named".to_owned())), PACE);
        }
        let analysis = &rollout.spec.analysis;
        let groups = providers.iter().map(|(reference, asked)| {
            let mine = analysis.metrics_of(reference).map(|(_, metric)| {
                let known = known.entry(metric.name.clone()).or_default();
                (metric.clone(), known.past, known.points.take())
            });
            let mine: Vec<_> = mine.collect();
            async move {
                match asked {
                    Ok(asked) => self.read_group(rollout, of, around, asked, mine).await,
                    Err(why) => {
                        let unanswered = |(metric, ..): (Metric, _, _)| {
                            (metric.name, metrics::unanswered(metrics::Outcome::Unreachable, why))
                        };
                        (mine.into_iter().map(unanswered).collect(), PACE)
                    }
                }
            }
        });
        let step = rollout.status.as_ref().and_then(|status| status.step.as_ref());
        let decides = |name: &String| {
            let metric = analysis.metrics.iter().find(|metric| metric.name == *name && !metric.dry_run);
            metric.is_some_and(|metric| step.is_none_or(|step| rollout.spec.counts_in(metric, &step.name)))
        };
        let mut pauses = Vec::from_iter((!jobs.is_empty()).then_some(PACE));
        let mut seen: HashMap<String, Seen> = jobs.into_iter().collect();
        let mut groups: FuturesUnordered<_> = groups.collect();
        while let Some((group, pause)) = groups.next().await {
            let is_decided = group.iter().any(|(name, seen)| seen.verdict == Verdict::Fail && decides(name));
            seen.extend(group);
            pauses.push(pause);
            if is_decided {
                // What one provider proves waits for no other.
                break;
            }
        }
        let pause = pauses.into_iter().min().unwrap_or(PACE);
        let at = self.now();
        let counted = |metric: &Metric| {
            let (name, seen) = seen.remove_entry(&metric.name)?;
            let so_far = known.get(&name).map_or_else(Unanswered::default, |known| known.unanswered);
            Some((name, Seen { unanswered: so_far.after(metric, &seen, at), ..seen }))
        };
        let metrics = analysis.metrics.iter().filter_map(counted).collect();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a float")]
        self.telemetry.last_measured.set(at.as_second() as f64);
        (Measured::Read { at, metrics }, pause)
    }

    /// Reads the metrics that one provider answers, and says how long it shows nothing new.
    async fn read_group(
        &self,
        rollout: &Rollout,
        of: &(String, Timestamp),
        around: &Around,
        Asked { provider, access }: &Asked,
        mine: Vec<(Metric, Option<Past>, Option<Looks>)>,
    ) -> (Vec<(String, Seen)>, Duration) {
        let scrapes = match &provider.spec.pods {
            Some(pods) => {
                let metrics: Vec<_> = mine.iter().map(|(metric, ..)| metric.clone()).collect();
                Some(self.scrape((&key_of(rollout), &of.0), pods, &metrics, Some(of.1), &around.on_trial).await)
            }
            None => None,
        };
        let Some(subject) = subject(rollout, of.1, self.now(), around) else { return (Vec::new(), PACE) };
        let each = mine.into_iter().map(|(metric, past, points)| {
            let (delay, margins) = (metric.initial_delay, rollout.spec.analysis.margins_of(&metric));
            (metric, Subject { margins, past, points, delay, ..subject.clone() })
        });
        let each: Vec<_> = each.collect();
        let seen: Vec<_> = if let Some(scrapes) = scrapes {
            let scrapes = scrapes.lock().unwrap_or_else(PoisonError::into_inner);
            let read = |(metric, subject): &(Metric, Subject)| {
                metrics::read_scraped(metric, &provider.spec, subject, &scrapes)
            };
            aside(scrapes.bytes(), || each.iter().map(read).collect())
        } else {
            let batch = Batch::of(&each, &provider.spec);
            let line = self.asks.line(&provider.identity, &subject.namespace);
            let asks = batch.asks().iter().map(|ask| self.query(&provider.spec, &line, ask, access));
            let replies = join_all(asks).await;
            let bytes = replies.iter().flatten().map(|(_, body)| body.len()).sum();
            aside(bytes, || batch.read(&each, &provider.spec, &replies))
        };
        let own = BuildHasherDefault::<DefaultHasher>::default().hash_one(key_of(rollout));
        let pause = metrics::pause(&provider.spec, &each, own).std();
        (each.into_iter().map(|(metric, _)| metric.name).zip(seen).collect(), pause)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Clock,
            tests::{cluster_at, cluster_with},
        },
        *,
    };
    use crate::{
        outbound::{
            Answer, Failure, Request, Transport,
            tests::{outbound, servers},
        },
        signature,
    };
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    fn rollout(metrics: &Value) -> Rollout {
        let arm =
            |set: &str| json!({"revision": set, "replicaSet": set, "podTemplateHash": set, "replicas": 1, "ready": 1});
        serde_json::from_value(json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop", "namespace": "n"},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "steps": [{"name": "a", "weight": 5, "observe": "1m"}],
                "analysis": {"provider": {"kind": "ClusterMetricProvider", "name": "scores"}, "metrics": metrics},
            },
            "status": {"stable": arm("shop-1"), "canary": arm("shop-2")},
        }))
        .unwrap()
    }

    fn quality() -> Value {
        json!([{
            "name": "quality", "failureLimit": 1, "interval": "1s", "limit": {"min": "0.8"},
            "web": {"path": "/score?of={replicaSet}", "result": "/data/score"},
        }])
    }

    /// An API server with this provider and the Secret that it names.
    fn answers(provider: Value) -> impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static {
        move |call, _| {
            if call.ends_with("/clustermetricproviders/scores") {
                let kind = "ClusterMetricProvider";
                let metadata = json!({"name": "scores"});
                return (
                    200,
                    json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": provider}),
                );
            }
            assert_eq!(call, "GET /api/v1/namespaces/system/secrets/scores");
            // "token" and "signing key".
            let data = json!({"token": "dG9rZW4=", "key": "c2lnbmluZyBrZXk="});
            (200, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scores"}, "data": data}))
        }
    }

    fn old() -> (String, Timestamp) {
        ("2".to_owned(), Timestamp::UNIX_EPOCH)
    }

    fn header<'a>(asked: &'a str, name: &str) -> &'a str {
        asked.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim_start_matches(": ")
    }

    #[tokio::test]
    async fn a_web_endpoint_is_asked_with_credentials_and_a_signature_and_its_answers_are_remembered() {
        let answer = |score: &str| {
            let body = format!(r#"{{"data":{{"score":{score}}}}}"#);
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let (port, asked) = servers(vec![answer("0.5"), answer("\"0.6\"")]).await;
        let provider = json!({"web": {
            "url": format!("http://127.0.0.1:{port}/v1"), "method": "POST", "body": r#"{"of":"{podTemplateHash}"}"#,
            "headers": [{"name": "X-Team", "value": "shop"}],
            "auth": {"bearer": {"secretRef": {"name": "scores"}}}, "hmac": {"secretRef": {"name": "scores", "key": "key"}},
        }});
        let (cluster, _) = cluster_with(outbound(port), answers(provider));
        let rollout = rollout(&quality());
        let subject = ("2".to_owned(), Timestamp::UNIX_EPOCH);
        let key = key_of(&rollout);
        assert!(cluster.measurements.begin(&key, &subject, About::of(&rollout)));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let known = cluster.measurements.known(&key, &subject);
            let read = cluster.read_metrics(&rollout, &subject, &Around::default(), known).await;
            let Measured::Read { metrics, .. } = &read.0 else { panic!("{read:?}") };
            seen.push(metrics[0].1.clone());
            cluster.measurements.finish(&key, &subject, read);
            assert!(
                matches!(cluster.measurements.last(&key, &subject, &About::of(&rollout)), Measured::Read { metrics, .. } if metrics[0].1.points.is_none())
            );
            // A look is due when an interval is over.
            let mut slots = cluster.measurements.slots.lock().unwrap();
            let points = &mut slots.get_mut(&key).unwrap().known.get_mut("quality").unwrap().points;
            let past =
                |look: &metrics::Look| metrics::Look { at: look.at - jiff::SignedDuration::from_secs(5), ..*look };
            *points = points.as_ref().map(|points| points.altered(past));
        }
        assert_eq!((seen[0].verdict, seen[0].failures, seen[0].samples), (Verdict::Pass, 1, 1), "{seen:?}");
        assert_eq!((seen[1].verdict, seen[1].failures, seen[1].samples), (Verdict::Fail, 2, 2), "{seen:?}");
        assert_eq!(seen[1].why, "2 of 2 looks failed, the last with 0.6: wanted is at least 0.8; failureLimit is 1");
        for asked in asked.await.unwrap() {
            assert!(asked.starts_with("POST /v1/score?of=shop-2 HTTP/1.1\r\n"), "{asked}");
            assert!(asked.ends_with("\r\n\r\n{\"of\":\"shop-2\"}"), "{asked}");
            let said = ["authorization", "x-team", "content-type", "accept"].map(|name| header(&asked, name));
            assert_eq!(said, ["Bearer token", "shop", "application/json", "application/json"]);
            let told = [header(&asked, "x-bellwether-timestamp"), "POST", "/v1/score?of=shop-2"];
            let signature = signature::sign(b"signing key", &told, br#"{"of":"shop-2"}"#);
            assert_eq!(header(&asked, "x-bellwether-signature"), signature);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_takes_long_to_read_holds_up_nothing_else_of_its_thread() {
        let others = Arc::new(AtomicUsize::new(0));
        let seen = others.clone();
        let read = tokio::spawn(async move {
            let other = seen.clone();
            tokio::spawn(async move { other.store(1, Relaxed) });
            aside(MUCH + 1, || {
                let begun = std::time::Instant::now();
                while seen.load(Relaxed) == 0 && begun.elapsed() < Duration::from_secs(20) {
                    std::thread::yield_now();
                }
                seen.load(Relaxed)
            })
        });
        assert_eq!(read.await.unwrap(), 1, "it goes on meanwhile");
    }

    #[tokio::test]
    async fn where_there_is_one_thread_all_is_done_in_its_turn() {
        assert_eq!(aside(usize::MAX, || 7), 7);
    }

    #[test]
    fn where_a_providers_history_begins_is_nothing_to_jobs() {
        let since = |at: &str| at.parse::<Timestamp>().unwrap();
        let [settled, later] = ["2026-11-21T00:01:00Z", "2026-11-21T00:09:00Z"];
        let begun = |flight: Value| {
            let mut rollout = rollout(&quality());
            let mut status = serde_json::to_value(&rollout.status).unwrap();
            status["flight"] = json!({"revision": "2", "candidate": "shop-2", "startedAt": settled, "steps": []});
            status["flight"].as_object_mut().unwrap().extend(flight.as_object().unwrap().clone());
            rollout.status = Some(serde_json::from_value(status).unwrap());
            let (_, evidence) = subject_of(&rollout).unwrap();
            let subject = subject(&rollout, evidence, since(later), &Around::default()).unwrap();
            (subject.evidence_since, of_jobs(&rollout, &subject).evidence_since)
        };
        assert_eq!(begun(json!({"evidenceSince": "2026-11-21T00:01:00.000000Z"})), (since(settled), since(settled)));
        let restarted =
            json!({"evidenceSince": "2026-11-21T00:09:00.000000Z", "settledSince": "2026-11-21T00:01:00.000000Z"});
        assert_eq!(begun(restarted), (since(later), since(settled)));
    }

    #[tokio::test]
    async fn an_endpoint_that_nobody_answers_at_is_unreachable() {
        let (port, closed) = servers(Vec::new()).await;
        closed.await.unwrap();
        let provider = json!({"web": {"url": format!("http://127.0.0.1:{port}")}});
        let (cluster, _) = cluster_with(outbound(port), answers(provider));
        let rollout = rollout(&quality());
        let read = cluster.read_metrics(&rollout, &old(), &Around::default(), HashMap::new()).await.0;
        let Measured::Read { metrics, .. } = read else { panic!("{read:?}") };
        assert_eq!((metrics[0].1.outcome, metrics[0].1.verdict), (metrics::Outcome::Unreachable, Verdict::Unknown));
        assert_eq!(metrics[0].1.why, "of the canary: no connection could be made");
    }

    #[tokio::test]
    async fn an_empty_signing_key_signs_nothing() {
        let provider = json!({"web": {"url": "https://h", "hmac": {"secretRef": {"name": "scores", "key": "empty"}}}});
        let known = answers(provider);
        let (cluster, _) = cluster_with(outbound(1), move |call, body| {
            let (status, mut answer) = known(call, body);
            answer["data"]["empty"] = "".into();
            (status, answer)
        });
        let rollout = rollout(&quality());
        let read = cluster.read_metrics(&rollout, &old(), &Around::default(), HashMap::new()).await.0;
        assert!(matches!(&read, Measured::NoProvider(why) if why.contains("anybody could sign")), "{read:?}");
    }

    #[tokio::test]
    async fn a_metric_that_the_provider_cannot_answer_is_a_problem_with_its_place() {
        let rollout = rollout(&json!([{"name": "errors", "preset": "app/error-rate"}]));
        let (cluster, _) = cluster_with(outbound(1), answers(json!({"web": {"url": "https://h"}})));
        let problem = cluster.provider_problem(&rollout, "n", true).await.unwrap();
        assert!(problem.starts_with("spec.analysis.metrics[0].preset: the provider is a web endpoint"), "{problem}");
        let (cluster, _) = cluster_with(outbound(1), answers(json!({"prometheus": {"url": "https://h"}})));
        assert_eq!(cluster.provider_problem(&rollout, "n", true).await, None);
    }

    /// A Prometheus that answers that there is nothing, or not at all, and counts.
    #[derive(Clone, Default)]
    struct Prometheus {
        asked: Arc<AtomicUsize>,
        under_way: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        down: Arc<AtomicBool>,
    }

    impl Transport for Prometheus {
        fn send(&self, request: Request) -> futures::future::BoxFuture<'_, Result<Answer, Failure>> {
            async move {
                self.asked.fetch_add(1, Relaxed);
                assert!(request.headers.contains(&("X-Scope-OrgID".to_owned(), "shop".to_owned())));
                let under_way = self.under_way.fetch_add(1, Relaxed) + 1;
                self.most.fetch_max(under_way, Relaxed);
                let is_down = self.down.load(Relaxed);
                let takes = if is_down { request.timeout.std() } else { Duration::from_millis(20) };
                tokio::time::sleep(takes).await;
                self.under_way.fetch_sub(1, Relaxed);
                let body = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
                if is_down {
                    Err(Failure::Timeout(request.timeout))
                } else {
                    Ok(Answer { status: 200, body: body.to_vec() })
                }
            }
            .boxed()
        }
    }

    /// Asks every question of one look at a release by itself.
    async fn ask_one_by_one(cluster: &Cluster, rollout: &Rollout) {
        let (_, since) = subject_of(rollout).unwrap();
        let subject = subject(rollout, since, cluster.now(), &Around::default()).unwrap();
        let subject = Subject { past: Some(Past::default()), ..subject };
        let providers = cluster.providers(rollout).await;
        let Asked { provider, access } = providers.values().next().unwrap().as_ref().unwrap();
        for metric in &rollout.spec.analysis.metrics {
            for ask in metrics::asks(metric, &provider.spec, &subject) {
                cluster.query(&provider.spec, &Arc::default(), &ask, access).await.unwrap();
            }
        }
    }

    /// So many releases, begun one after the other, each looked at every second; says how often the provider was asked in
    /// each of these minutes, in the second of which it is down, how often at once at the most, and how often in one look
    /// at all of them when each asks every question by itself.
    async fn minutes(releases: usize, metrics: &Value, scrape: &str) -> (Vec<usize>, usize, usize) {
        let begun = Instant::now();
        let start = Timestamp::from_second(1_795_246_800).unwrap();
        let clock = Clock::new(move || start + begun.elapsed());
        let prometheus = Prometheus::default();
        let tenant = json!([{"name": "X-Scope-OrgID", "value": "shop"}]);
        let url = "http://prometheus.monitoring.svc";
        let provider = json!({"prometheus": {"url": url, "scrapeInterval": scrape, "headers": tenant}});
        let (cluster, _) = cluster_at(clock, prometheus.clone(), answers(provider));
        let each = (0..releases).map(|at| {
            let mut rollout = rollout(metrics);
            rollout.metadata.name = Some(format!("shop-{at}"));
            let mut status = serde_json::to_value(&rollout.status).unwrap();
            let since = start - jiff::SignedDuration::from_millis(i64::try_from(60_000 + at * 37 % 600_000).unwrap());
            status["flight"] = json!({
                "revision": "2", "candidate": "shop-2", "startedAt": "2026-11-21T00:00:00Z", "steps": [],
                "evidenceSince": since.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            });
            rollout.status = Some(serde_json::from_value(status).unwrap());
            rollout
        });
        let each: Vec<_> = each.collect();
        let mut counts = Vec::new();
        for minute in 0..4 {
            let before = prometheus.asked.load(Relaxed);
            prometheus.down.store(minute == 1, Relaxed);
            for _ in 0..60 {
                for rollout in &each {
                    cluster.measure(rollout, Around::default);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            counts.push(prometheus.asked.load(Relaxed) - before);
        }
        let most = prometheus.most.load(Relaxed);
        let before = prometheus.asked.load(Relaxed);
        for rollout in &each {
            ask_one_by_one(&cluster, rollout).await;
        }
        (counts, most, prometheus.asked.load(Relaxed) - before)
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_releases_ask_a_prometheus_some_thousand_times_a_minute_and_one_that_is_down_some_times() {
        let at_gateway = json!([{"name": "errors", "preset": "traefik/error-rate"}, {"name": "latency", "preset": "traefik/latency"}]);
        let at_pods =
            json!([{"name": "errors", "preset": "app/error-rate"}, {"name": "latency", "preset": "app/latency"}]);
        for (releases, metrics, scrape, most) in
            [(1_000, &at_gateway, "15s", 10_000), (1_000, &at_pods, "15s", 9_000), (250, &at_gateway, "1s", 9_000)]
        {
            let (asked, at_once, one_look) = minutes(releases, metrics, scrape).await;
            // With a look every two seconds.
            let (down, well, alone) = (asked[1], asked[3], 30 * one_look);
            println!(
                "{releases} releases, scrapes of {scrape}: {alone} requests a minute one by one, {well} together, {down} while it is down"
            );
            assert!(well <= most && well >= 3 * releases, "{asked:?}");
            assert!(alone >= 5 * well, "{alone} and {well}");
            assert!(down <= 100, "{asked:?}");
            assert!(at_once <= 16, "{at_once}");
        }
    }
}
