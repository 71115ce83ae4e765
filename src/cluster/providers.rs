//! Whom a Rollout's metrics ask: providers as people have named them, what is wrong with them, and with what they are asked.
use super::{
    Cluster,
    ask::{Line, Outcome, Question},
    key_of, kinds,
};
use crate::{
    api::{ProviderKind, ProviderRef, Rollout},
    metrics::{self, Ask, Auth, How, NoReply, ProviderSpec, Reach, Reply},
    outbound::{Body, Credentials, Failure, Method, Peer, Request},
    telemetry::QueryLabels,
};
use futures::{FutureExt, future::join_all};
use jiff::Timestamp;
use kube::ResourceExt;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize as _;
use std::{collections::BTreeMap, sync::Arc};

/// A provider, and what tells it from others and from what it was before.
pub(super) struct Provider {
    pub spec: ProviderSpec,
    pub identity: String,
}

/// A provider, and with what it is asked.
pub(super) struct Asked {
    pub provider: Provider,
    pub access: Access,
}

/// With what a provider is asked.
#[derive(Default)]
pub(super) struct Access {
    credentials: Option<Credentials>,
    signing: Option<SecretSlice<u8>>,
}

impl Cluster {
    /// One question to a provider, which others may ask as well.
    pub(super) async fn query(&self, provider: &ProviderSpec, line: &Arc<Line>, ask: &Ask, access: &Access) -> Reply {
        let reach = metrics::reach(provider).map_err(|complaint| NoReply::Unreachable(complaint.to_string()))?;
        let request = request(&reach, ask, access, self.now());
        let outbound = self.outbound.clone();
        let send = move || {
            let send = async move {
                let answer = outbound.send(request).await;
                let answer = answer.map(|answer| (answer.status, answer.body));
                answer.map_err(|failure| match failure {
                    Failure::TooLarge { cap } => NoReply::TooLong(cap),
                    failure => NoReply::Unreachable(failure.to_string()),
                })
            };
            send.boxed()
        };
        let (outcome, reply) = line.ask(Question::of(&ask.path, &ask.how), send).await;
        let outcome = match outcome {
            Outcome::Answered => "answered",
            Outcome::Unreachable => "unreachable",
            Outcome::Shared => "shared",
            Outcome::HeldBack => "held-back",
        };
        self.telemetry.queries.get_or_create(&QueryLabels { outcome }).inc();
        reply
    }

    /// What is wrong with the providers that the spec names, which may not be all of them where it could not be read as a whole.
    pub(super) async fn provider_problem(&self, rollout: &Rollout, namespace: &str, is_whole: bool) -> Option<String> {
        let namespace = &namespace;
        let each = named(rollout).into_iter().map(|(reference, field)| async move {
            let found = self.provider(reference, &field, namespace).await;
            (reference, field, found)
        });
        let each = join_all(each).await;
        let mut pods =
            each.iter().filter_map(|(_, field, found)| Some((field, found.as_ref().ok()?.spec.pods.as_ref()?)));
        let first = pods.next();
        // What has been read of pods is not forgotten because something else cannot be read for a moment.
        if first.is_some() || (is_whole && each.iter().all(|(.., found)| found.is_ok())) {
            self.scraping.note(&key_of(rollout), first.map(|(_, pods)| pods));
        }
        if let (Some((one, _)), Some((other, _))) = (first, pods.next()) {
            return Some(format!("{other}: reads pods, and so does {one}: name one provider of pods for all metrics"));
        }
        let problem = |(reference, field, found): (&ProviderRef, String, Result<Provider, String>)| match found {
            Ok(provider) => problem_of(rollout, reference, &field, &provider.spec),
            Err(problem) => Some(problem),
        };
        each.into_iter().find_map(problem)
    }

    /// The providers of all metrics, or why one cannot be asked.
    pub(super) async fn providers<'a>(&self, rollout: &'a Rollout) -> BTreeMap<&'a ProviderRef, Result<Asked, String>> {
        let namespace = rollout.namespace().unwrap_or_default();
        let each = named(rollout).into_iter().map(|(reference, field)| {
            let namespace = &namespace;
            async move {
                let asked = async {
                    let provider = self.provider(reference, &field, namespace).await?;
                    let access = self.access(reference, namespace, &provider.spec).await?;
                    Ok(Asked { provider, access })
                };
                (reference, asked.await)
            }
        });
        join_all(each).await.into_iter().collect()
    }

    async fn provider(&self, reference: &ProviderRef, field: &str, namespace: &str) -> Result<Provider, String> {
        let name = &reference.name;
        let namespace = if reference.kind == ProviderKind::MetricProvider { namespace } else { "" };
        let found = self.ask_for(&kinds::providers(reference.kind), namespace, name).await;
        let unreadable = |error: &dyn std::fmt::Display| format!("{:?} {name} cannot be read: {error}", reference.kind);
        let found = found.map_err(|error| unreadable(&error))?;
        let read = |found: Arc<serde_json::Value>| {
            let text = |field: &str| found["metadata"][field].as_str().unwrap_or_default().to_owned();
            let version = format!("{}/{}", text("uid"), text("resourceVersion"));
            let identity = format!("{:?}/{namespace}/{name}/{version}", reference.kind);
            ProviderSpec::deserialize(&found["spec"]).map(|spec| Provider { spec, identity })
        };
        let found = found.map(read).transpose();
        let found = found.map_err(|error| unreadable(&error))?;
        found.ok_or_else(|| format!("{field}: there is no {:?} {name}; create it, or correct the name", reference.kind))
    }

    /// Reads the Secrets that a provider names.
    async fn access(
        &self,
        reference: &ProviderRef,
        namespace: &str,
        provider: &ProviderSpec,
    ) -> Result<Access, String> {
        let Ok(Reach { auth, hmac, .. }) = metrics::reach(provider) else { return Ok(Access::default()) };
        let of_cluster = reference.kind == ProviderKind::ClusterMetricProvider;
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

/// The providers that the spec names, each with the first field that does.
fn named(rollout: &Rollout) -> BTreeMap<&ProviderRef, String> {
    let analysis = &rollout.spec.analysis;
    let mut named = BTreeMap::new();
    for (index, metric) in analysis.metrics.iter().enumerate() {
        let Some(reference) = analysis.provider_of(metric) else { continue };
        let field = match metric.provider {
            Some(_) => format!("spec.analysis.metrics[{index}].provider"),
            None => "spec.analysis.provider".to_owned(),
        };
        named.entry(reference).or_insert(field);
    }
    named
}

/// What is wrong with a provider, by itself or for the metrics that it is asked for.
fn problem_of(rollout: &Rollout, reference: &ProviderRef, field: &str, provider: &ProviderSpec) -> Option<String> {
    if let Err(complaint) = metrics::check_provider(provider) {
        return Some(format!("{field}: {complaint}"));
    }
    let mut asked = rollout.spec.analysis.metrics_of(reference);
    asked.find_map(|(index, metric)| {
        let complaint = metrics::fits(metric, provider).err()?;
        Some(format!("spec.analysis.metrics[{index}].{complaint}"))
    })
}

/// A question as the client sends it.
fn request(reach: &Reach<'_>, ask: &Ask, access: &Access, now: Timestamp) -> Request {
    let url = reach.target(ask);
    let signature = access.signing.as_ref().map(|key| reach.signature(ask, key.expose_secret(), now));
    let (method, body) = match &ask.how {
        How::Get => (Method::Get, Body::Empty),
        How::Form(fields) => (Method::Post, Body::Form(fields.clone())),
        How::Post(None) => (Method::Post, Body::Empty),
        How::Post(Some(json)) => (Method::Post, Body::Bytes(json.clone().into_bytes(), "application/json")),
    };
    let always = reach.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
    Request {
        method,
        url,
        headers: ask.headers.iter().cloned().chain(always).chain(signature.into_iter().flatten()).collect(),
        body,
        credentials: access.credentials.clone(),
        ca_bundle: reach.ca_bundle.map(str::to_owned),
        peer: Peer::Named,
        timeout: reach.timeout,
        body_cap: reach.answer_cap.saturating_mul(ask.holds),
    }
}

fn text(data: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(data).map_err(|_| "a credential is not text".to_owned())?;
    Ok(text.trim_end().to_owned())
}
