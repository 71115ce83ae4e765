//! A cluster for tests: it answers what it was told to answer, and panics at every other request.
use super::{Format, Screen, Session};
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Where Rollouts of the namespace are.
pub const ROLLOUTS: &str = "/apis/bellwether.dev/v1alpha1/namespaces/shop/rollouts";
/// Where commands of the namespace are.
pub const ACTIONS: &str = "/apis/bellwether.dev/v1alpha1/namespaces/shop/rolloutactions";
/// Where Deployments of the namespace are.
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
/// Where `ReplicaSets` of the namespace are.
pub const SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
/// Who asks.
pub const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// What is answered to one request, once.
struct Told {
    method: &'static str,
    path: String,
    answer: Answer,
}

enum Answer {
    Object(u16, Value),
    Text(u16, &'static str),
    /// Events after so many seconds each; then the watch stays silent.
    Events(Vec<(u64, Value)>),
}

/// The cluster.
#[derive(Clone, Default)]
pub struct Fake {
    told: Arc<Mutex<Vec<Told>>>,
    sent: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Fake {
    fn tell(self, method: &'static str, path: impl Into<String>, answer: Answer) -> Self {
        self.told.lock().unwrap().push(Told { method, path: path.into(), answer });
        self
    }

    /// Answers a request of this method and path with this object; a path may have a part of the query that is to be asked.
    pub fn on(self, method: &'static str, path: impl Into<String>, object: Value) -> Self {
        self.tell(method, path, Answer::Object(200, object))
    }

    /// Answers with an error of the API.
    pub fn refuse(
        self,
        method: &'static str,
        path: impl Into<String>,
        code: u16,
        details: &Value,
        message: &str,
    ) -> Self {
        let reason = match code {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            _ => "Invalid",
        };
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code});
        self.tell(method, path, Answer::Object(code, status))
    }

    /// Answers with plain text, as what stands before the API does.
    pub fn on_text(self, method: &'static str, path: impl Into<String>, code: u16, text: &'static str) -> Self {
        self.tell(method, path, Answer::Text(code, text))
    }

    /// Answers a list with these objects, and the watch that follows with these events.
    pub fn on_watch(self, path: impl Into<String>, objects: &[Value], events: Vec<(u64, Value)>) -> Self {
        let path = path.into();
        self.on("GET", path.clone(), list(objects)).tell("WATCH", path, Answer::Events(events))
    }

    /// The bodies that were sent by this method to this path.
    pub fn sent(&self, what: &str) -> Vec<Value> {
        self.sent.lock().unwrap().iter().filter(|(to, _)| to == what).map(|(_, body)| body.clone()).collect()
    }

    /// A client of this cluster.
    pub fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        Client::new(service, "shop")
    }

    async fn answer(self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
        let method = if is_watch { "WATCH".to_owned() } else { parts.method.to_string() };
        let body = body.collect().await.unwrap().to_bytes();
        if parts.method != Method::GET {
            let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            self.sent.lock().unwrap().push((format!("{method} {path}"), value));
        }
        let mut told = self.told.lock().unwrap();
        let asked = parts.uri.query().unwrap_or_default();
        let index = told.iter().position(|told| {
            let (at, query) = told.path.split_once('?').unwrap_or((&told.path, ""));
            told.method == method && at == path && asked.contains(query)
        });
        let Some(index) = index else { panic!("nobody expected {method} {}", parts.uri) };
        match told.remove(index).answer {
            Answer::Text(code, text) => Response::builder().status(code).body(Body::from(text)).unwrap(),
            Answer::Object(code, object) => {
                Response::builder().status(code).body(Body::from(object.to_string())).unwrap()
            }
            Answer::Events(events) => {
                let lines = stream::iter(events).then(|(seconds, event)| async move {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    Ok::<_, Infallible>(Bytes::from(format!("{event}\n")))
                });
                Response::new(Body::from_stream(lines.chain(stream::pending())))
            }
        }
    }

    /// Everything that was told was asked for.
    pub fn done(&self) {
        let left: Vec<_> =
            self.told.lock().unwrap().iter().map(|told| format!("{} {}", told.method, told.path)).collect();
        assert_eq!(left, Vec::<String>::new(), "nobody asked for these");
    }
}

fn list(objects: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "100"}, "items": objects})
}

/// An event of a watch.
pub fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

/// The moment in which tests live: 2026-11-21T08:00:00Z.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_795_248_000).unwrap()
}

/// So many seconds before that moment.
pub fn ago(seconds: i64) -> String {
    Timestamp::from_second(now().as_second() - seconds).unwrap().to_string()
}

/// A session with a cluster, printing to these.
pub fn session<'a>(cluster: &Fake, out: &'a mut Vec<u8>, err: &'a mut Vec<u8>, output: Option<Format>) -> Session<'a> {
    Session {
        client: cluster.client(),
        namespace: "shop".to_owned(),
        flags: " -n shop".to_owned(),
        output,
        clock: now,
        unread: std::sync::OnceLock::new(),
        screen: Screen::plain(out, err),
    }
}

/// What was printed.
pub fn text(printed: &[u8]) -> &str {
    std::str::from_utf8(printed).unwrap()
}

/// A merge patch (RFC 7396), for fixtures that differ in little.
pub fn with(mut object: Value, change: &Value) -> Value {
    fn merge(object: &mut Value, change: &Value) {
        let Value::Object(change) = change else {
            object.clone_from(change);
            return;
        };
        if !object.is_object() {
            *object = json!({});
        }
        for (key, value) in change {
            if value.is_null() {
                object.as_object_mut().unwrap().remove(key);
            } else {
                merge(&mut object[key], value);
            }
        }
    }
    merge(&mut object, change);
    object
}

/// A Rollout whose Deployment is at rest.
pub fn at_rest() -> Value {
    json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u-1", "resourceVersion": "10", "generation": 3,
            "creationTimestamp": ago(86_400 * 3), "managedFields": [{"manager": "kubectl"}]},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "traffic": {"services": {"stable": "checkout-stable", "canary": "checkout-canary"},
                "routes": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "checkout"}]},
            "steps": [
                {"name": "warm", "weight": 0, "replicas": 1, "observe": "30s"},
                {"name": "more", "weight": 20, "observe": "5m"},
                {"name": "half", "weight": 50, "observe": "5m", "approval": "Required"}],
            "analysis": {"mode": "None"}},
        "status": {
            "observedGeneration": 3, "phase": "Stable", "message": "one revision serves and none is on trial",
            "workload": {"uid": "d-1", "observedGeneration": 7, "stableReplicaSet": "checkout-6c9f7d5b44", "heldBy": "Policy"},
            "stable": {"revision": "6c9f7d5b44", "replicaSet": "checkout-6c9f7d5b44", "podTemplateHash": "6c9f7d5b44",
                "replicas": 5, "ready": 5},
            "attempt": 0}
    })
}

/// The same with a release in its second step.
pub fn in_flight() -> Value {
    let steps = at_rest()["spec"]["steps"].clone();
    with(
        at_rest(),
        &json!({"status": {
            "phase": "Progressing", "message": "step more at 20 %: watched for 63s of 5m",
            "workload": {"observedGeneration": 9},
            "canary": {"revision": "tkz4bnq2xw", "replicaSet": "checkout-tkz4bnq2xw", "podTemplateHash": "tkz4bnq2xw",
                "replicas": 1, "ready": 1},
            "step": {"index": 1, "name": "more", "hash": "h", "startedAt": ago(130), "observedSeconds": 63},
            "weights": {"desired": 20, "accepted": 20, "by": "Status"},
            "metrics": [
                {"name": "errors", "verdict": "Continue", "canary": "0.41 %", "stable": "0.39 %", "samples": 12034,
                    "range": "0.63x to 1.6x", "evidence": "1 in 1.3", "why": "nothing is proven yet"},
                {"name": "latency", "verdict": "Unknown", "why": "no series with these labels"}],
            "waitingFor": [{"reason": "Observing", "since": ago(63), "message": "step more at 20 %: watched for 63s of 5m"}],
            "decisions": [
                {"at": ago(720), "reason": "FlightStarted", "message": "a new revision goes on trial against checkout-6c9f7d5b44",
                    "revision": "tkz4bnq2xw", "step": "warm"},
                {"at": ago(130), "reason": "StepEntered", "message": "step more at 20 %", "revision": "tkz4bnq2xw", "step": "more"}],
            "flight": {"revision": "tkz4bnq2xw", "candidate": "checkout-tkz4bnq2xw", "startedAt": ago(720), "steps": steps},
            "attempt": 1,
            "alerts": [{"id": "a", "receiver": "on-call", "event": "Aborted", "at": ago(9), "body": "{}"}]
        }}),
    )
}

/// The same after the release was given up.
pub fn aborted() -> Value {
    with(
        in_flight(),
        &json!({"status": {
            "phase": "Aborted",
            "message": "AnalysisFailed: errors: 4.1 % against 0.4 %; stable serves, and the Deployment is held until its template \
                        changes or somebody says Retry",
            "canary": {"replicas": 0, "ready": 0},
            "step": null, "weights": null, "metrics": null, "waitingFor": null, "flight": null, "alerts": null,
            "latch": {"revision": "tkz4bnq2xw", "candidate": "checkout-tkz4bnq2xw", "attempt": 1, "reason": "AnalysisFailed",
                "message": "errors: 4.1 % against 0.4 %", "at": ago(300)}
        }}),
    )
}

/// A Deployment of this generation, whose pods run this image.
pub fn deployment(generation: i64, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "d-1", "resourceVersion": "20", "generation": generation},
        "spec": {"replicas": 5, "template": template(image, None)}})
}

/// A `ReplicaSet` whose pods run this image.
pub fn replica_set(hash: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("checkout-{hash}"), "namespace": "shop", "uid": "r-1", "resourceVersion": "30"},
        "spec": {"template": template(image, Some(hash))}})
}

fn template(image: &str, hash: Option<&str>) -> Value {
    let mut labels = json!({"app": "checkout"});
    if let Some(hash) = hash {
        labels["pod-template-hash"] = hash.into();
    }
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}})
}
