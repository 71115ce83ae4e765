//! What a team keeps in Git: the app and everything around it, as objects.
use serde_json::{Value, json};

/// The name of the app, of its Deployment, ordinary Service, route and Rollout.
pub const APP: &str = "app";
/// Where the operator's account is; see the chart.
const OPERATOR: (&str, &str) = (crate::world::OPERATOR_NAMESPACE, "bellwether");
/// The app's image.
pub const IMAGE: &str = "localhost/bw-app:1";
/// What alerts are signed with.
const SIGNING_KEY: &str = "a key that only the sink and the Secret hold";

/// A revision of the app: a version and how it behaves, which is what becomes of its environment.
#[derive(Clone, Debug)]
pub struct Revision {
    /// What its answers say.
    pub version: &'static str,
    env: Vec<(&'static str, &'static str)>,
}

impl Revision {
    /// A version that behaves well.
    pub fn new(version: &'static str) -> Self {
        Self { version, env: Vec::new() }
    }

    /// And has this in its environment; `bw-app serve --help` says what there is.
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }
}

/// What an app does when it is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSigterm {
    /// It is gone at once, and what still comes to it is lost.
    Dies,
    /// It goes on serving for a while.
    Drains,
}

impl OnSigterm {
    fn env(self) -> &'static str {
        match self {
            Self::Dies => "die",
            Self::Drains => "drain",
        }
    }
}

/// The environment of a revision's container.
pub fn env(revision: &Revision, on_sigterm: OnSigterm) -> Value {
    let own = [("VERSION", revision.version), ("ON_SIGTERM", on_sigterm.env()), ("TLS_PORT", "8443")];
    own.iter().chain(&revision.env).map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// The app's Deployment.
pub fn deployment(name: &str, replicas: i32, env: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {
                    "labels": {"app": name},
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
                },
                "spec": {"containers": [{
                    "name": "app", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve"], "env": env,
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    })
}

/// An ordinary Service.
pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

/// The host name under which a namespace's app is reached.
pub fn host(namespace: &str, name: &str) -> String {
    format!("{name}.{namespace}.test")
}

/// A route to these backends of port 80, each with its weight.
pub fn route(namespace: &str, name: &str, backends: &[(&str, i32)]) -> Value {
    let refs: Vec<_> =
        backends.iter().map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight})).collect();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
        "spec": {
            "parentRefs": [{"name": "traefik", "namespace": "traefik"}],
            "hostnames": [host(namespace, name)],
            "rules": [{"backendRefs": refs}],
        },
    })
}

/// A step with a weight that is watched for so long.
pub fn step(name: &str, weight: u8, observe: &str) -> Value {
    json!({"name": name, "weight": weight, "observe": observe})
}

/// The app's Rollout, with short deadlines.
pub fn rollout(name: &str, steps: &[Value], analysis: &Value) -> Value {
    let (stable, canary) = (format!("{name}-stable"), format!("{name}-canary"));
    json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "traffic": {
                "services": {"stable": stable, "canary": canary},
                "routes": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": name}],
                // The ordinary Service stays, as it does for most teams; here nobody uses it any more.
                "unrouted": [name],
            },
            "steps": steps,
            "progress": {"deadline": "15s"},
            "scaleDownDelay": "5s",
            "analysis": analysis,
            "alerts": [{"receiver": {"name": "sink"}, "on": ["Aborted", "Blocked", "Promoted"]}],
        },
    })
}

/// Errors and latency as the gateway sees them, compared with stable; unproven steps are left soon.
pub fn analysis(provider_kind: &str, provider: &str) -> Value {
    json!({
        "provider": {"kind": provider_kind, "name": provider},
        "onInconclusive": {"after": "1s", "then": "Advance"},
        "metrics": [
            {"name": "errors", "preset": "traefik/error-rate"},
            {"name": "latency", "preset": "traefik/latency"},
        ],
    })
}

/// A page of a pod's app, through the API server.
pub fn page_of(namespace: &str, pod: &str, page: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy/{page}")
}

/// A page of a namespace's sink, through the API server.
pub fn page_of_sink(namespace: &str, page: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/services/sink:80/proxy/{page}")
}

/// The Prometheus of the test bed, for one namespace or for all.
pub fn provider(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": kind, "metadata": {"name": name},
        "spec": {"prometheus": {"url": "http://prometheus.monitoring.svc", "scrapeInterval": "1s"}},
    })
}

/// A receiver of alerts, the key they are signed with, the operator's right to read it, and the sink behind it, which
/// answers 503 to so many posts of each delivery.
pub fn sink(namespace: &str, fail_first: u32) -> Vec<Value> {
    let (operator_namespace, operator) = OPERATOR;
    let key = json!({"name": "sink", "key": "hmac"});
    vec![
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sink"}, "stringData": {"hmac": SIGNING_KEY}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "read-sink"},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["sink"], "verbs": ["get"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "read-sink"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read-sink"},
            "subjects": [{"kind": "ServiceAccount", "name": operator, "namespace": operator_namespace}],
        }),
        json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "AlertReceiver", "metadata": {"name": "sink"},
            "spec": {"webhook": {"url": format!("http://sink.{namespace}.svc/hook"), "secretRef": key}},
        }),
        service("sink"),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "sink"},
            "spec": {
                "selector": {"matchLabels": {"app": "sink"}},
                "template": {"metadata": {"labels": {"app": "sink"}}, "spec": {"containers": [{
                    "name": "sink", "image": IMAGE, "imagePullPolicy": "Never", "args": ["sink"],
                    "env": [
                        {"name": "HMAC_KEY", "valueFrom": {"secretKeyRef": key}},
                        {"name": "FAIL_FIRST", "value": fail_first.to_string()},
                    ],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                }]}},
            },
        }),
    ]
}
