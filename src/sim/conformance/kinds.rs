//! The kinds that are tried, each with an object, and with changes of it: such as are made, and such as are refused.
use serde_json::{Map, Value, json};

/// One kind.
pub struct Sort {
    pub api: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub status: bool,
    /// Everything but its metadata.
    pub body: Value,
    /// Members, and what they could be instead.
    pub edits: Vec<(&'static str, Value)>,
    /// The same for its status.
    pub status_edits: Vec<(&'static str, Value)>,
}

impl Sort {
    /// `apps/v1`.
    pub fn api_version(&self) -> &'static str {
        self.api.split_once('/').map_or(self.api, |(_, version)| version)
    }

    fn new(api: &'static str, plural: &'static str, kind: &'static str, body: Value) -> Self {
        Self { api, plural, kind, status: false, body, edits: Vec::new(), status_edits: Vec::new() }
    }

    fn changing(self, edits: Value) -> Self {
        Self { edits: pairs(edits), ..self }
    }

    fn with_status(self, edits: Value) -> Self {
        Self { status: true, status_edits: pairs(edits), ..self }
    }
}

/// From `[["/a/b", value], ...]`.
fn pairs(edits: Value) -> Vec<(&'static str, Value)> {
    let Value::Array(edits) = edits else { unreachable!("a list") };
    let pair = |edit: Value| {
        let path: &'static str = edit[0].as_str().unwrap().to_owned().leak();
        (path, edit[1].clone())
    };
    edits.into_iter().map(pair).collect()
}

/// Changes that every kind takes, or refuses.
pub fn common() -> Vec<(&'static str, Value)> {
    pairs(json!([
        ["/metadata/labels/tier", "one"], ["/metadata/labels/tier", "two"], ["/metadata/labels/tier", null],
        ["/metadata/labels/example.com~1way", "there"], ["/metadata/labels", null], ["/metadata/labels", {}],
        ["/metadata/labels/tier", ""], ["/metadata/labels/tier", "no good"], ["/metadata/labels/no good", "x"],
        ["/metadata/annotations/note", "a"], ["/metadata/annotations/note", "b"], ["/metadata/annotations/note", null],
        ["/metadata/annotations", null], ["/metadata/annotations/Note", ""], ["/metadata/annotations/no good", "x"],
        ["/metadata/finalizers", ["example.com/one"]], ["/metadata/finalizers", ["example.com/one", "example.com/two"]],
        ["/metadata/finalizers", null], ["/metadata/finalizers", []], ["/metadata/finalizers", ["example.com/no good"]],
        ["/metadata/ownerReferences", null],
        ["/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "$(uid:configmaps/anchor)"}]],
        ["/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "$(uid:configmaps/anchor)", "controller": true, "blockOwnerDeletion": true}]],
        ["/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "$(uid:configmaps/anchor)"}, {"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "$(uid:configmaps/anchor)"}]],
        ["/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "$(uid:configmaps/anchor)", "controller": true}, {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "22222222-0000-4000-8000-000000000000", "controller": true}]],
        ["/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "", "uid": "$(uid:configmaps/anchor)"}]],
        ["/metadata/uid", "11111111-0000-4000-8000-000000000000"], ["/metadata/creationTimestamp", "2020-01-01T00:00:00Z"],
        ["/metadata/deletionTimestamp", "2020-01-01T00:00:00Z"], ["/metadata/generation", 77], ["/metadata/name", "another"],
        ["/metadata/namespace", "default"], ["/metadata/managedFields", []], ["/metadata/managedFields", [{}]],
        ["/metadata/resourceVersion", ""], ["/metadata/resourceVersion", "0"], ["/metadata/resourceVersion", "x"], ["/metadata/generateName", "gen-"],
        ["/metadata/selfLink", "/somewhere"], ["/kind", "Another"], ["/apiVersion", "v9"],
    ]))
}

/// A Rollout of the Deployment of its name.
pub fn rollout(name: &str) -> Value {
    json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "steps": [{"name": "a", "weight": 5, "observe": "1m"}], "analysis": {"mode": "None"},
        },
    })
}

fn body_of(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
    }
    object
}

/// All kinds that nothing but requests changes.
pub fn all() -> Vec<Sort> {
    let ours = "apis/bellwether.dev/v1alpha1";
    let mut all = core();
    all.push(
        Sort::new(ours, "rollouts", "Rollout", body_of(rollout("web")))
            .changing(json!([
                ["/spec/steps", [{"name": "a", "weight": 5, "observe": "1m"}, {"name": "b", "weight": 50, "approval": "Required"}]],
                ["/spec/steps", [{"name": "a", "weight": 80, "observe": "1m"}]], ["/spec/steps", []], ["/spec/steps", null],
                ["/spec/steps", [{"name": "a", "weight": 5, "observe": null, "approval": "Required", "unknown": 1}]],
                ["/spec/steps", [{"name": "a", "weight": 5, "observe": "1m"}, {"name": "a", "weight": 6, "observe": "1m"}]],
                ["/spec/steps", [{"name": "a", "weight": 5}]], ["/spec/steps", [{"name": "a", "weight": "5", "observe": "1m"}]],
                ["/spec/steps", [{"name": "-", "weight": 101, "observe": "soon"}]], ["/spec/steps", "none"],
                ["/spec/onDelete", "Continue"], ["/spec/onDelete", "Never"], ["/spec/onDelete", null], ["/spec/scaleDownDelay", "2m"],
                ["/spec/scaleDownDelay", 7], ["/spec/scaleDownDelay", "a while"], ["/spec/progress", {"deadline": "3m"}],
                ["/spec/progress/onStuck", "Pause"], ["/spec/progress", null], ["/spec/workloadRef/name", "another"],
                ["/spec/workloadRef/kind", "StatefulSet"], ["/spec/unknown", true], ["/spec/traffic", null], ["/spec/analysis/mode", null],
                ["/spec/traffic", {"port": 80, "services": {"stable": "s", "canary": "c"}, "unrouted": ["old"]}],
                ["/spec/traffic", {"services": {"stable": "s", "canary": "s"}}], ["/spec/traffic/services", null],
                ["/spec/traffic", {"routes": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "r"}]}],
                ["/spec/analysis", {"provider": {"kind": "MetricProvider", "name": "p"}, "metrics": [{"name": "errors", "preset": "app/error-rate"}]}],
                ["/spec/analysis", {"metrics": [{"name": "errors", "preset": "app/error-rate"}]}],
                ["/spec/analysis/exploreUpTo", 500], ["/spec/alerts", [{"receiver": {"name": "x"}, "on": ["Aborted"]}]],
                ["/spec/alerts", [{"receiver": {"name": "x"}, "on": ["Never"]}]], ["/spec", null], ["/spec", {}],
                ["/status", {"phase": "Stable"}],
            ]))
            .with_status(json!([
                ["/status/phase", "Stable"], ["/status/phase", "Paused"], ["/status/phase", "Lost"], ["/status/message", "words"],
                ["/status/message", null], ["/status/observedGeneration", 3], ["/status/workload", {"uid": "x", "heldBy": "Policy"}],
                ["/status/workload", null], ["/status/workload/stableReplicaSet", "s"], ["/status/workload/stableReplicaSet", null],
                ["/status/conditions", [{"type": "Ready", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]],
                ["/status/conditions", [{"type": "Ready", "status": "False", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}, {"type": "Stalled", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]],
                ["/status/conditions", [{"type": "Ready"}]], ["/status/conditions", []], ["/status/attempt", 2], ["/status/attempt", -2],
                ["/status/weights", {"desired": 5, "accepted": 0}],
                ["/status/handled", [{"uid": "u", "outcome": "Accepted"}]], ["/status", null], ["/status", {}], ["/status/unknown", 1],
                ["/spec/onDelete", "Continue"], ["/metadata/labels/tier", "by-status"], ["/metadata/annotations/note", "by-status"],
            ])),
    );
    let action = json!({"spec": {"rollout": "web", "action": "Pause"}});
    all.push(
        Sort::new(ours, "rolloutactions", "RolloutAction", action)
            .changing(json!([
                ["/spec/action", "Abort"], ["/spec/action", "Promote"], ["/spec/action", "Sing"], ["/spec/expect", {"revision": "1"}],
                ["/spec/reason", "because"], ["/spec/rollout", ""], ["/spec/rollout", "other"], ["/spec/reason", null],
                ["/metadata/annotations/bellwether.dev~1by", "root"], ["/metadata/annotations/bellwether.dev~1by", null],
            ]))
            .with_status(json!([
                ["/status", {"outcome": "Accepted", "message": "m"}], ["/status/outcome", "Refused"], ["/status/outcome", "Lost"],
                ["/status/outcome", null], ["/status", null],
            ])),
    );
    let prometheus = json!({"spec": {"prometheus": {"url": "https://prometheus.example.com"}}});
    all.push(Sort::new(ours, "metricproviders", "MetricProvider", prometheus).changing(json!([
        ["/spec/prometheus/timeout", "2s"], ["/spec/prometheus/labels", {"pod": "p"}], ["/spec/prometheus/labels", null],
        ["/spec/prometheus/labels/pod", "0"], ["/spec/prometheus/url", "ftp://x"], ["/spec/prometheus", null],
        ["/spec/prometheus/auth", {"bearer": {"secretRef": {"name": "s"}}}], ["/spec/prometheus/auth", {}],
        ["/spec/prometheus/auth", {"bearer": {"secretRef": {"name": "s"}}, "basic": {"secretRef": {"name": "s"}}}],
        ["/spec/prometheus/auth", null], ["/spec/other", {}], ["/spec/web", {"url": "https://x"}],
        ["/spec", {"web": {"url": "https://scores.example.com"}}], ["/spec/web/url", "ftp://x"], ["/spec/web/method", "PUT"],
        ["/spec/web/body", "{}"], ["/spec/web", {"url": "https://x", "method": "POST", "body": "[]"}], ["/spec/web/method", null],
        ["/spec/web/headers", [{"name": "a b", "value": "c"}]], ["/spec/web/headers", [{"name": "a", "value": "c"}]],
        ["/spec/web/hmac", {"secretRef": {"name": "s"}}], ["/spec/web/hmac", {"secretRef": {"name": "s", "key": "k"}}],
    ])));
    let webhook =
        json!({"spec": {"webhook": {"url": "https://alerts.example.com", "secretRef": {"name": "s", "key": "k"}}}});
    all.push(Sort::new(ours, "alertreceivers", "AlertReceiver", webhook).changing(json!([
        ["/spec/webhook/timeout", "2s"], ["/spec/webhook/timeout", "2m"], ["/spec/webhook/timeout", "0s"], ["/spec/webhook/url", ""],
        ["/spec/webhook/secretRef", {"name": "t"}], ["/spec/webhook/caBundle", "x"], ["/spec/webhook", null],
        ["/spec", {"slack": {"urlFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}], ["/spec/slack", {"urlFrom": {}}],
        ["/spec", {"pagerduty": {"routingKeyFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}], ["/spec/pagerduty/timeout", "2m"],
        ["/spec", {"custom": {"urlFrom": {"secretKeyRef": {"name": "s", "key": "k"}}, "body": "{}"}}], ["/spec/custom/body", ""],
    ])));
    all
}

fn core() -> Vec<Sort> {
    let service = json!({"spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}});
    let lease = json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}});
    let pod = json!({"spec": {"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [{"name": "app", "image": "app:v1"}]}});
    let route = json!({"spec": {"rules": [{"backendRefs": [{"name": "s", "port": 80, "weight": 90}, {"name": "c", "port": 80, "weight": 10}]}]}});
    let accepted = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let parent =
        json!({"parentRef": {"name": "gateway"}, "controllerName": "example.com/gateway", "conditions": [accepted]});
    vec![
        Sort::new("api/v1", "configmaps", "ConfigMap", json!({"data": {"a": "1"}})).changing(json!([
            ["/data/a", "2"], ["/data/b", "1"], ["/data/a", null], ["/data", null], ["/data", {}], ["/data/a", ""], ["/data/no good", "x"],
            ["/immutable", false],
        ])),
        Sort::new("api/v1", "secrets", "Secret", json!({"data": {"key": "c2VjcmV0"}})).changing(json!([
            ["/data/key", "b3RoZXI="], ["/data/more", "b3RoZXI="], ["/data", null],
        ])),
        Sort::new("api/v1", "services", "Service", service).changing(json!([
            ["/spec/selector", {"app": "other"}], ["/spec/selector/pod-template-hash", "abc"], ["/spec/selector", null],
            ["/spec/ports", [{"name": "http", "port": 80, "targetPort": 8080}]], ["/spec/ports", [{"port": 0}]], ["/spec/ports", []],
            ["/spec/ports", [{"name": "a", "port": 80}, {"name": "b", "port": 81, "protocol": "UDP"}]], ["/spec/ports", [{"port": 80}, {"port": 81}]],
            ["/spec/clusterIP", "10.11.12.13"], ["/spec/publishNotReadyAddresses", true], ["/spec/publishNotReadyAddresses", false],
            ["/spec/type", "NodePorts"], ["/spec/sessionAffinity", "ClientIP"],
        ])),
        Sort::new("apis/apps/v1", "controllerrevisions", "ControllerRevision", json!({"revision": 1, "data": {"a": {"b": []}}})).changing(json!([
            ["/revision", 2], ["/revision", -1], ["/data", {"other": 1}], ["/revision", null],
        ])),
        Sort::new("apis/coordination.k8s.io/v1", "leases", "Lease", lease).changing(json!([
            ["/spec/holderIdentity", "other"], ["/spec/holderIdentity", ""], ["/spec/holderIdentity", null], ["/spec/leaseTransitions", 1],
            ["/spec/leaseTransitions", -1], ["/spec/leaseDurationSeconds", 0], ["/spec/leaseDurationSeconds", 20], ["/spec", null],
            ["/spec/renewTime", "2026-01-01T00:00:01.000000Z"],
        ])),
        Sort::new("api/v1", "pods", "Pod", pod)
            .changing(json!([["/spec/containers/0/image", "app:v2"], ["/spec/nodeName", "one"], ["/spec/containers", []], ["/spec/terminationGracePeriodSeconds", 5]]))
            .with_status(json!([["/status/phase", "Running"], ["/status/conditions", [{"type": "Ready", "status": "True"}]], ["/status/message", "m"]])),
        Sort::new("apis/gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute", route)
            .changing(json!([
                ["/spec/rules/0/backendRefs", [{"name": "s", "port": 80, "weight": 0}, {"name": "c", "port": 80}]],
                ["/spec/rules", [{"matches": [{"path": {"value": "/a"}}], "backendRefs": [{"name": "s", "port": 80}]}]],
                ["/spec/rules", [{"matches": [{"headers": [{"name": "x", "value": "y"}]}], "backendRefs": [{"name": "s", "port": 80, "weight": 5}]}]],
                ["/spec/rules", null], ["/spec/parentRefs", [{"name": "gateway"}]], ["/spec/parentRefs", null], ["/spec/hostnames", ["a.example"]],
                ["/spec/rules", [{"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m", "port": 80}}}]}]],
            ]))
            .with_status(json!([["/status", {"parents": [parent]}], ["/status", {"parents": []}]])),
    ]
}

/// Steps of a path: names without escapes.
pub fn steps(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// Sets a member, or takes it away where null is said; what is on the way is made.
pub fn set(object: &mut Value, path: &str, value: Value) {
    let steps = steps(path);
    let Some((last, way)) = steps.split_last() else { return };
    let mut here = object;
    for step in way {
        here = match here {
            Value::Array(items) => match items.get_mut(step.parse::<usize>().unwrap_or(0)) {
                Some(item) => item,
                None => return,
            },
            other => {
                if !other.is_object() {
                    *other = json!({});
                }
                other.as_object_mut().unwrap().entry(step.clone()).or_insert(json!({}))
            }
        };
    }
    match here {
        Value::Array(items) => {
            if let Some(item) = items.get_mut(last.parse::<usize>().unwrap_or(0)) {
                *item = value;
            }
        }
        other => {
            if !other.is_object() {
                *other = json!({});
            }
            let members = other.as_object_mut().unwrap();
            if value.is_null() { drop(members.remove(last)) } else { drop(members.insert(last.clone(), value)) }
        }
    }
}

/// The change as a merge patch: nested, with nulls. Through a list there is no way, so the list's own member is said.
pub fn merge_of(path: &str, value: &Value) -> Value {
    let mut patch = value.clone();
    for step in steps(path).into_iter().rev() {
        patch =
            if step.parse::<usize>().is_ok() { json!([patch]) } else { Value::Object(Map::from_iter([(step, patch)])) };
    }
    patch
}
