//! Asks providers beside the looks, so that one that hangs holds up neither an abort nor anybody else.
use super::{Cluster, Key, key_of, kinds};
use crate::{
    api::{ArmStatus, Flight, ProviderKind, Rollout},
    metrics::{self, ArmNames, Ask, Auth, Bursts, How, Looks, Metric, Past, ProviderSpec, Reach, Reply, Subject},
    outbound::{Body, Credentials, Method, Request},
    plan::{Measured, Observed},
    telemetry::QueryLabels,
};
use futures::{FutureExt, future::join_all};
use jiff::Timestamp;
use kube::ResourceExt;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
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
    /// By metric, what the next look is told.
    known: HashMap<String, Known>,
    begun: Instant,
    under_way: bool,
}

/// What earlier looks at a metric have learned.
#[derive(Clone, Default)]
struct Known {
    /// Stable's past, which does not change.
    past: Option<Past>,
    /// The looks at a source without a history.
    points: Option<Looks>,
}

/// With what a provider is asked.
#[derive(Default)]
struct Access {
    credentials: Option<Credentials>,
    signing: Option<SecretSlice<u8>>,
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

    /// What earlier looks have learned, by metric.
    fn known(&self, key: &Key, subject: &(String, Timestamp)) -> HashMap<String, Known> {
        let slots = self.slots.lock().ok();
        let slot = slots.as_ref().and_then(|slots| slots.get(key)).filter(|slot| slot.subject == *subject);
        slot.map(|slot| slot.known.clone()).unwrap_or_default()
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
                let slot = Slot {
                    subject: subject.clone(),
                    read: Measured::NotYet,
                    known: HashMap::new(),
                    begun: Instant::now(),
                    under_way: true,
                };
                slots.insert(key.clone(), slot);
                true
            }
        }
    }

    fn finish(&self, key: &Key, subject: &(String, Timestamp), mut read: Measured) {
        if let Ok(mut slots) = self.slots.lock()
            && let Some(slot) = slots.get_mut(key).filter(|slot| slot.subject == *subject)
        {
            if let Measured::Read { metrics, .. } = &mut read {
                for (name, seen) in metrics {
                    let known = slot.known.entry(name.clone()).or_default();
                    known.past = seen.past.or(known.past);
                    known.points = seen.points.take().or(known.points.take());
                }
            }
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
    let analysis = &rollout.spec.analysis;
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
        margins: analysis.margins(),
        bursts: analysis.margins.and_then(|margins| margins.bursts).map(Bursts::Known),
        past: None,
        points: None,
        evidence_since,
        delay: crate::duration::Duration::ZERO,
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
        let known = self.measurements.known(&key, &subject);
        tokio::spawn(async move {
            let reading = cluster.read_metrics(&rollout, subject.1, port, started, known);
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
        mut known: HashMap<String, Known>,
    ) -> Measured {
        let namespace = rollout.namespace().unwrap_or_default();
        let provider = match self.provider(rollout, &namespace).await {
            Ok(provider) => provider,
            Err(why) => return Measured::NoProvider(why),
        };
        let Some(subject) = subject(rollout, evidence_since, self.now(), port, pods_started) else {
            return Measured::NotYet;
        };
        let access = match self.access(rollout, &namespace, &provider).await {
            Ok(access) => access,
            Err(why) => return Measured::NoProvider(why),
        };
        let each = rollout.spec.analysis.metrics.iter().map(|metric| {
            let (provider, access) = (&provider, &access);
            let Known { past, points } = known.remove(&metric.name).unwrap_or_default();
            let subject = Subject { past, points, delay: metric.initial_delay, ..subject.clone() };
            async move { (metric.name.clone(), self.read_metric(metric, provider, &subject, access).await) }
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
        access: &Access,
    ) -> metrics::Seen {
        let asks = metrics::asks(metric, provider, subject);
        let replies = join_all(asks.into_iter().map(|ask| self.query(provider, ask, access))).await;
        metrics::read(metric, provider, subject, &replies)
    }

    async fn query(&self, provider: &ProviderSpec, ask: Ask, access: &Access) -> Reply {
        let reach = metrics::reach(provider).map_err(|complaint| metrics::Unreachable(complaint.to_string()))?;
        let request = request(&reach, ask, access, self.now());
        let answer = self.outbound.send(request).await;
        let outcome = if answer.is_ok() { "answered" } else { "unreachable" };
        self.telemetry.queries.get_or_create(&QueryLabels { outcome }).inc();
        answer.map(|answer| (answer.status, answer.body)).map_err(|failure| metrics::Unreachable(failure.to_string()))
    }

    /// What is wrong with the provider that the spec names.
    pub(super) async fn provider_problem(&self, rollout: &Rollout, namespace: &str) -> Option<String> {
        match self.provider(rollout, namespace).await {
            Ok(provider) => problem_of(rollout, &provider),
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

    /// Reads the Secrets that a provider names.
    async fn access(&self, rollout: &Rollout, namespace: &str, provider: &ProviderSpec) -> Result<Access, String> {
        let Ok(Reach { auth, hmac, .. }) = metrics::reach(provider) else { return Ok(Access::default()) };
        let of_cluster =
            rollout.spec.analysis.provider.as_ref().is_some_and(|it| it.kind == ProviderKind::ClusterMetricProvider);
        let namespace = if of_cluster { &self.settings.namespace } else { namespace };
        let credentials = match auth {
            Some(auth) => self.credentials(namespace, auth).await?,
            None => None,
        };
        let signing = match hmac {
            Some(key) => Some(SecretSlice::from(self.secret(namespace, &key.name, &key.key).await?)),
            None => None,
        };
        if signing.as_ref().is_some_and(|key| key.expose_secret().is_empty()) {
            return Err("the signing key in the Secret is empty: anybody could sign with it".to_owned());
        }
        Ok(Access { credentials, signing })
    }

    async fn credentials(&self, namespace: &str, auth: &Auth) -> Result<Option<Credentials>, String> {
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

/// What is wrong with a provider, by itself or for these metrics.
fn problem_of(rollout: &Rollout, provider: &ProviderSpec) -> Option<String> {
    if let Err(complaint) = metrics::check_provider(provider) {
        return Some(format!("spec.analysis.provider: {complaint}"));
    }
    let mut each = rollout.spec.analysis.metrics.iter().enumerate();
    each.find_map(|(index, metric)| {
        let complaint = metrics::fits(metric, provider).err()?;
        Some(format!("spec.analysis.metrics[{index}].{complaint}"))
    })
}

/// A question as the client sends it.
fn request(reach: &Reach<'_>, ask: Ask, access: &Access, now: Timestamp) -> Request {
    let url = reach.target(&ask);
    let signature = access.signing.as_ref().map(|key| reach.signature(&ask, key.expose_secret(), now));
    let (method, body) = match ask.how {
        How::Get => (Method::Get, Body::Empty),
        How::Form(fields) => (Method::Post, Body::Form(fields)),
        How::Post(None) => (Method::Post, Body::Empty),
        How::Post(Some(json)) => (Method::Post, Body::Bytes(json.into_bytes(), "application/json")),
    };
    Request {
        method,
        url,
        headers: ask.headers.into_iter().chain(signature.into_iter().flatten()).collect(),
        body,
        credentials: access.credentials.clone(),
        ca_bundle: reach.ca_bundle.map(str::to_owned),
        timeout: reach.timeout,
        body_cap: reach.answer_cap,
    }
}

fn text(data: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(data).map_err(|_| "a credential is not text".to_owned())?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::cluster_with, *};
    use crate::{
        outbound::tests::{outbound, servers},
        signature,
        vocab::Verdict,
    };
    use serde_json::{Value, json};

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
        assert!(cluster.measurements.begin(&key, &subject));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let known = cluster.measurements.known(&key, &subject);
            let read = cluster.read_metrics(&rollout, subject.1, None, Vec::new(), known).await;
            let Measured::Read { metrics, .. } = &read else { panic!("{read:?}") };
            seen.push(metrics[0].1.clone());
            cluster.measurements.finish(&key, &subject, read);
            assert!(
                matches!(cluster.measurements.last(&key, &subject), Measured::Read { metrics, .. } if metrics[0].1.points.is_none())
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
        assert_eq!(seen[1].why, "2 of 2 looks were not at least 0.8; failureLimit is 1");
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

    #[tokio::test]
    async fn an_endpoint_that_nobody_answers_at_is_unreachable() {
        let (port, closed) = servers(Vec::new()).await;
        closed.await.unwrap();
        let provider = json!({"web": {"url": format!("http://127.0.0.1:{port}")}});
        let (cluster, _) = cluster_with(outbound(port), answers(provider));
        let rollout = rollout(&quality());
        let read = cluster.read_metrics(&rollout, Timestamp::UNIX_EPOCH, None, Vec::new(), HashMap::new()).await;
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
        let read = cluster.read_metrics(&rollout, Timestamp::UNIX_EPOCH, None, Vec::new(), HashMap::new()).await;
        assert!(matches!(&read, Measured::NoProvider(why) if why.contains("anybody could sign")), "{read:?}");
    }

    #[tokio::test]
    async fn a_metric_that_the_provider_cannot_answer_is_a_problem_with_its_place() {
        let rollout = rollout(&json!([{"name": "errors", "preset": "app/error-rate"}]));
        let (cluster, _) = cluster_with(outbound(1), answers(json!({"web": {"url": "https://h"}})));
        let problem = cluster.provider_problem(&rollout, "n").await.unwrap();
        assert!(problem.starts_with("spec.analysis.metrics[0].preset: the provider is a web endpoint"), "{problem}");
        let (cluster, _) = cluster_with(outbound(1), answers(json!({"prometheus": {"url": "https://h"}})));
        assert_eq!(cluster.provider_problem(&rollout, "n").await, None);
    }
}
