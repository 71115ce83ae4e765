//! Asks providers beside the looks, so that one that hangs holds up neither an abort nor anybody else.
use super::{Cluster, Key, key_of, kinds};
use crate::{
    api::{ArmStatus, Flight, ProviderKind, Rollout},
    metrics::{self, ArmNames, Ask, Metric, ProviderSpec, Reply, Subject},
    outbound::{Body, Credentials, Method, Request},
    plan::{Measured, Observed},
    telemetry::QueryLabels,
};
use futures::{FutureExt, future::join_all};
use jiff::Timestamp;
use kube::ResourceExt;
use secrecy::SecretString;
use serde::Deserialize as _;
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

/// Calls for a look at a Rollout.
pub type Wake = Arc<dyn Fn(Key) + Send + Sync>;

/// A provider's answer is not read beyond this.
const ANSWER_CAP: usize = 16 * 1024 * 1024;
/// The least time between two measurements of one candidate.
const PACE: Duration = Duration::from_secs(2);
/// The longest that a measurement may take; requests have their own, shorter limits.
const LONGEST: Duration = Duration::from_mins(1);

/// The last measurement of each candidate on trial.
pub struct Measurements {
    slots: Mutex<HashMap<Key, Slot>>,
    wake: Wake,
}

/// One candidate's measurement. Its subject says of what: a new revision, or new evidence, is another.
struct Slot {
    subject: (String, Timestamp),
    read: Measured,
    begun: Instant,
    under_way: bool,
}

impl Measurements {
    /// None yet.
    pub fn new(wake: Wake) -> Self {
        Self { slots: Mutex::default(), wake }
    }

    /// Forgets a Rollout that has nothing on trial.
    pub fn forget(&self, key: &Key) {
        if let Ok(mut slots) = self.slots.lock() {
            slots.remove(key);
        }
    }

    fn last(&self, key: &Key, subject: &(String, Timestamp)) -> Measured {
        let slots = self.slots.lock().ok();
        let slot = slots.as_ref().and_then(|slots| slots.get(key)).filter(|slot| slot.subject == *subject);
        slot.map(|slot| slot.read.clone()).unwrap_or_default()
    }

    /// Whether it is time to measure this; if so it is taken as begun.
    fn begin(&self, key: &Key, subject: &(String, Timestamp)) -> bool {
        let Ok(mut slots) = self.slots.lock() else { return false };
        match slots.get_mut(key).filter(|slot| slot.subject == *subject) {
            Some(slot) if slot.under_way || slot.begun.elapsed() < PACE => false,
            Some(slot) => {
                slot.under_way = true;
                slot.begun = Instant::now();
                true
            }
            None => {
                let slot =
                    Slot { subject: subject.clone(), read: Measured::NotYet, begun: Instant::now(), under_way: true };
                slots.insert(key.clone(), slot);
                true
            }
        }
    }

    fn finish(&self, key: &Key, subject: &(String, Timestamp), read: Measured) {
        if let Ok(mut slots) = self.slots.lock()
            && let Some(slot) = slots.get_mut(key).filter(|slot| slot.subject == *subject)
        {
            slot.read = read;
            slot.under_way = false;
        }
        (self.wake)(key.clone());
    }
}

fn subject_of(rollout: &Rollout) -> Option<(String, Timestamp)> {
    let status = rollout.status.as_ref()?;
    // Once the stable Service has moved to the candidate, numbers by Service no longer tell the two apart.
    let apart = |flight: &&Flight| flight.promotion.as_ref().is_none_or(|promotion| !promotion.moved);
    let flight = status.flight.as_ref().filter(apart).filter(|_| status.latch.is_none())?;
    Some((flight.revision.clone(), flight.evidence_since.as_ref()?.0))
}

/// Whom the numbers are about.
fn subject(
    rollout: &Rollout,
    evidence_since: Timestamp,
    now: Timestamp,
    port: Option<u16>,
    pods_started: Vec<(String, Timestamp)>,
) -> Option<Subject> {
    let status = rollout.status.as_ref()?;
    let pair = rollout.traffic().and_then(|traffic| traffic.pair(port.unwrap_or(80)));
    let names = |arm: &ArmStatus, service: Option<&String>| ArmNames {
        replica_set: arm.replica_set.clone(),
        pod_template_hash: arm.pod_template_hash.clone(),
        service: service.cloned().unwrap_or_default(),
    };
    Some(Subject {
        namespace: rollout.namespace().unwrap_or_default(),
        stable: names(status.stable.as_ref()?, pair.as_ref().map(|pair| &pair.stable)),
        canary: names(status.canary.as_ref()?, pair.as_ref().map(|pair| &pair.canary)),
        port: pair.as_ref().map_or(80, |pair| pair.port),
        sensitivity: rollout.spec.analysis.sensitivity,
        evidence_since,
        now,
        pods_started,
    })
}

impl Cluster {
    /// The last measurement of the candidate that is on trial.
    pub(super) fn measured(&self, seen: &Observed) -> Measured {
        let Some(subject) = subject_of(&seen.rollout) else { return Measured::NotYet };
        self.measurements.last(&key_of(&seen.rollout), &subject)
    }

    /// Begins a measurement of the candidate on trial, unless one is under way or was a moment ago.
    ///
    /// `port` is that of the Services, where there are any.
    pub fn measure(
        &self,
        rollout: &Rollout,
        port: Option<u16>,
        pods_started: impl FnOnce() -> Vec<(String, Timestamp)>,
    ) {
        let key = key_of(rollout);
        let Some(subject) = subject_of(rollout).filter(|_| rollout.spec.is_judged()) else {
            self.measurements.forget(&key);
            return;
        };
        if !self.measurements.begin(&key, &subject) {
            return;
        }
        let (cluster, rollout, started) = (self.clone(), rollout.clone(), pods_started());
        tokio::spawn(async move {
            let reading = cluster.read_metrics(&rollout, subject.1, port, started);
            // One that panics ends as one that was not answered, else it would be under way for ever.
            let reading = AssertUnwindSafe(tokio::time::timeout(LONGEST, reading)).catch_unwind();
            let read = reading.await.unwrap_or_else(|_| Ok(Measured::default())).unwrap_or_default();
            cluster.measurements.finish(&key, &subject, read);
        });
    }

    async fn read_metrics(
        &self,
        rollout: &Rollout,
        evidence_since: Timestamp,
        port: Option<u16>,
        pods_started: Vec<(String, Timestamp)>,
    ) -> Measured {
        let namespace = rollout.namespace().unwrap_or_default();
        let provider = match self.provider(rollout, &namespace).await {
            Ok(provider) => provider,
            Err(why) => return Measured::NoProvider(why),
        };
        let Some(subject) = subject(rollout, evidence_since, self.now(), port, pods_started) else {
            return Measured::NotYet;
        };
        let credentials = match self.credentials(rollout, &namespace, &provider).await {
            Ok(credentials) => credentials,
            Err(why) => return Measured::NoProvider(why),
        };
        let each = rollout.spec.analysis.metrics.iter().map(|metric| {
            let (provider, subject, credentials) = (&provider, &subject, credentials.as_ref());
            async move { (metric.name.clone(), self.read_metric(metric, provider, subject, credentials).await) }
        });
        let metrics = join_all(each).await;
        let at = self.now();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a float")]
        self.telemetry.last_measured.set(at.as_second() as f64);
        Measured::Read { at, metrics }
    }

    async fn read_metric(
        &self,
        metric: &Metric,
        provider: &ProviderSpec,
        subject: &Subject,
        credentials: Option<&Credentials>,
    ) -> metrics::Seen {
        let asks = metrics::asks(metric, provider, subject);
        let replies = join_all(asks.into_iter().map(|ask| self.query(provider, ask, credentials))).await;
        metrics::read(metric, provider, subject, &replies)
    }

    async fn query(&self, provider: &ProviderSpec, ask: Ask, credentials: Option<&Credentials>) -> Reply {
        let Some(prometheus) = &provider.prometheus else {
            return Err(metrics::Unreachable("the provider names no source".to_owned()));
        };
        let request = Request {
            method: Method::Post,
            url: format!("{}{}", prometheus.url.trim_end_matches('/'), ask.path),
            headers: Vec::new(),
            body: Body::Form(ask.form),
            credentials: credentials.cloned(),
            ca_bundle: prometheus.ca_bundle.clone(),
            timeout: metrics::timeout(provider),
            body_cap: ANSWER_CAP,
        };
        let answer = self.outbound.send(request).await;
        let outcome = if answer.is_ok() { "answered" } else { "unreachable" };
        self.telemetry.queries.get_or_create(&QueryLabels { outcome }).inc();
        answer.map(|answer| (answer.status, answer.body)).map_err(|failure| metrics::Unreachable(failure.to_string()))
    }

    /// What is wrong with the provider that the spec names.
    pub(super) async fn provider_problem(&self, rollout: &Rollout, namespace: &str) -> Option<String> {
        match self.provider(rollout, namespace).await {
            Ok(provider) => {
                metrics::check_provider(&provider).err().map(|complaint| format!("spec.analysis.provider: {complaint}"))
            }
            Err(problem) => Some(problem),
        }
    }

    async fn provider(&self, rollout: &Rollout, namespace: &str) -> Result<ProviderSpec, String> {
        let reference = rollout.spec.analysis.provider.as_ref().ok_or("spec.analysis.provider is missing")?;
        let name = &reference.name;
        let namespace = if reference.kind == ProviderKind::MetricProvider { namespace } else { "" };
        let found = self.ask_for(&kinds::providers(reference.kind), namespace, name).await;
        let unreadable = |error: &dyn std::fmt::Display| format!("{:?} {name} cannot be read: {error}", reference.kind);
        let found = found.map_err(|error| unreadable(&error))?;
        let found = found.map(|found| ProviderSpec::deserialize(&found["spec"])).transpose();
        let found = found.map_err(|error| unreadable(&error))?;
        found.ok_or_else(|| {
            format!("spec.analysis.provider: there is no {:?} {name}; create it, or correct the name", reference.kind)
        })
    }

    async fn credentials(
        &self,
        rollout: &Rollout,
        namespace: &str,
        provider: &ProviderSpec,
    ) -> Result<Option<Credentials>, String> {
        let Some(auth) = provider.prometheus.as_ref().and_then(|prometheus| prometheus.auth.as_ref()) else {
            return Ok(None);
        };
        let of_cluster =
            rollout.spec.analysis.provider.as_ref().is_some_and(|it| it.kind == ProviderKind::ClusterMetricProvider);
        let namespace = if of_cluster { &self.settings.namespace } else { namespace };
        if let Some(bearer) = &auth.bearer {
            let token = text(self.secret(namespace, &bearer.secret_ref.name, &bearer.secret_ref.key).await?)?;
            return Ok(Some(Credentials::Bearer(SecretString::from(token))));
        }
        let Some(basic) = &auth.basic else { return Ok(None) };
        let username = text(self.secret(namespace, &basic.secret_ref.name, &basic.secret_ref.username_key).await?)?;
        let password = text(self.secret(namespace, &basic.secret_ref.name, &basic.secret_ref.key).await?)?;
        Ok(Some(Credentials::Basic { username, password: SecretString::from(password) }))
    }
}

fn text(data: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(data).map_err(|_| "a credential is not text".to_owned())?;
    Ok(text.trim_end().to_owned())
}
