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
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
    /// How many have begun.
    begun: AtomicU64,
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
    /// The number of the measurement that is under way.
    under_way: Option<u64>,
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
        Self { slots: Mutex::default(), begun: AtomicU64::new(0), wake }
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

    /// Whether it is time to measure this; if so it is taken as begun, under this number.
    fn begin(&self, key: &Key, subject: &(String, Timestamp), about: About) -> Option<u64> {
        let mut slots = self.slots.lock().ok()?;
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        match slots.get_mut(key).filter(|slot| slot.subject == *subject) {
            Some(slot) if slot.under_way.is_some() => return None,
            Some(slot) if slot.asked.analysis == about.analysis && Instant::now() < slot.due => return None,
            Some(slot) => {
                for (name, known) in &mut slot.known {
                    // Looks know their own question.
                    known.past = known.past.filter(|_| slot.asked.same(&about, name));
                }
                slot.asked = about;
                slot.under_way = Some(number);
                slot.begun = Instant::now();
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
                    under_way: Some(number),
                };
                slots.insert(key.clone(), slot);
            }
        }
        Some(number)
    }

    /// Ends the measurement of this number. One that was forgotten meanwhile answers a question that nobody asks any more.
    fn finish(&self, key: &Key, number: u64, (mut read, pause): (Measured, Duration)) {
        if let Ok(mut slots) = self.slots.lock()
            && let Some(slot) = slots.get_mut(key).filter(|slot| slot.under_way == Some(number))
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
            slot.under_way = None;
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
        let Some(number) = self.measurements.begin(&key, &subject, About::of(rollout)) else { return };
        let (cluster, rollout, around) = (self.clone(), rollout.clone(), around());
        let known = self.measurements.known(&key, &subject);
        tokio::spawn(async move {
            let read = ended(cluster.read_metrics(&rollout, &subject, &around, known)).await;
            cluster.measurements.finish(&key, number, read.unwrap_or_else(|| (Measured::default(), PACE)));
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
        // Pages are judged by the time at which they were asked for, however long one of them took.
        let now = scrapes.as_ref().map_or_else(|| self.now(), |(at, _)| *at);
        let Some(subject) = subject(rollout, of.1, now, around) else { return (Vec::new(), PACE) };
        let each = mine.into_iter().map(|(metric, past, points)| {
            let (delay, margins) = (metric.initial_delay, rollout.spec.analysis.margins_of(&metric));
            (metric, Subject { margins, past, points, delay, ..subject.clone() })
        });
        let each: Vec<_> = each.collect();
        let seen: Vec<_> = if let Some((_, scrapes)) = scrapes {
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
mod tests;
