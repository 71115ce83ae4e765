//! The real side is made ready: our definitions, the policies as the chart ships them, users with rights; and cleared again.
use super::side::{BOB, JANE, Request, Sent, Side};
use crate::sim::world::OPERATOR;
use serde_json::{Value, json};
use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// What Bob may not do, verb and plural; `RIGHTS` says the rest.
pub const BOB_MAY_NOT: [(&str, &str); 16] = [
    ("create", "deployments"),
    ("update", "deployments"),
    ("patch", "deployments"),
    ("delete", "deployments"),
    ("patch", "deployments/scale"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "secrets"),
    ("promote", "rollouts"),
    ("promote-full", "rollouts"),
    ("abort", "rollouts"),
    ("retry", "rollouts"),
    ("create", "httproutes"),
    ("delete", "httproutes"),
    ("create", "services"),
    ("create", "jobs"),
];

/// What Bob may: groups, resources, verbs.
const RIGHTS: [(&str, &str, &str); 5] = [
    ("apps", "deployments", "get list watch"),
    ("apps", "replicasets", "*"),
    ("bellwether.dev", "rollouts", "get list watch create update patch delete pause resume"),
    (
        "bellwether.dev",
        "rolloutactions metricproviders clustermetricproviders alertreceivers analysistemplates clusteranalysistemplates rollouts/status",
        "*",
    ),
    ("gateway.networking.k8s.io", "httproutes", "get list watch update patch"),
];

/// A cluster on which everything is ready, for as long as somebody holds it.
pub struct Cluster {
    /// What was made, by its path.
    made: Vec<String>,
}

fn own() -> Side {
    Side::as_oneself("default")
}

impl Cluster {
    /// Makes everything ready.
    pub fn make() -> Self {
        let side = own();
        let installed = side.ask(&Request::new("GET", "/api/v1/namespaces/bellwether-system"));
        assert_eq!(installed.code, 404, "a cluster without Bellwether is needed, for its policies are tried here");
        let mut cluster = Self { made: Vec::new() };
        for definition in crate::api::definitions() {
            let definition = serde_json::to_value(definition).unwrap();
            cluster.create(&side, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition);
        }
        for plural in [
            "rollouts",
            "rolloutactions",
            "metricproviders",
            "clustermetricproviders",
            "alertreceivers",
            "analysistemplates",
            "clusteranalysistemplates",
        ] {
            let served = Request::new("GET", format!("/apis/bellwether.dev/v1alpha1/{plural}"));
            until("our definitions are served", || side.ask(&served).code == 200);
        }
        // A server remembers versions of a kind from its first watch of it on.
        for sort in super::kinds::all() {
            let watched = Request::new("GET", format!("/{}/{}", sort.api, sort.plural)).asking("watch", "1");
            let watched = watched.asking("timeoutSeconds", "1").asking("resourceVersion", "0");
            until("all kinds are watched", || side.ask(&watched).code == 200);
        }
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let rules = RIGHTS.map(|(group, resources, verbs)| {
            let all = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            json!({"apiGroups": [group], "resources": all(resources), "verbs": all(verbs)})
        });
        let role = json!({"metadata": {"name": "conformance-bob"}, "rules": rules});
        cluster.create(&side, &format!("{rbac}/clusterroles"), role);
        for (name, role, user) in
            [("jane", "cluster-admin", JANE), ("operator", "cluster-admin", OPERATOR), ("bob", "conformance-bob", BOB)]
        {
            let binding = json!({
                "metadata": {"name": format!("conformance-{name}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            });
            cluster.create(&side, &format!("{rbac}/clusterrolebindings"), binding);
        }
        for policy in policies() {
            let plural = match policy["kind"].as_str().unwrap_or_default() {
                kind if kind.ends_with("Policy") => format!("{}ies", kind.trim_end_matches('y').to_lowercase()),
                kind => format!("{}s", kind.to_lowercase()),
            };
            cluster.create(&side, &format!("/apis/admissionregistration.k8s.io/v1/{plural}"), policy);
        }
        cluster.prove();
        cluster
    }

    /// What is there already is used, and left.
    fn create(&mut self, side: &Side, path: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let request = Request::new("POST", path).with(object);
        let mut answer = side.ask(&request);
        until("what an earlier test left is gone", || {
            let leaving = answer.body()["message"].as_str().is_some_and(|message| message.contains("being deleted"));
            if leaving {
                answer = side.ask(&request);
            }
            !leaving
        });
        match answer.code {
            201 => self.made.push(format!("{path}/{name}")),
            409 => {}
            _ => panic!("{path}/{name}: {:?}", answer.lines),
        }
    }

    /// Waits until belt, hold and weights are seen to work: policies, and what they look at, come to be known a while after
    /// they are made.
    fn prove(&mut self) {
        let namespace = format!("conformance-probe-{}", std::process::id());
        let mut side = Side::in_cluster(&namespace);
        self.create(&own(), "/api/v1/namespaces", json!({"metadata": {"name": namespace}}));
        let labels = json!({"app": "probe"});
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:v1"}]}});
        let deployment = json!({"metadata": {"name": "probe"}, "spec": {"replicas": 0, "paused": true, "selector": {"matchLabels": labels}, "template": template}});
        let deployments = "/apis/apps/v1/namespaces/$(ns)/deployments";
        let make = Request::new("POST", deployments).with(deployment);
        until("rights are known", || side.ask(&make).code == 201);
        side.read(&format!("{deployments}/probe"), "deployments/probe");
        let rollouts = "/apis/bellwether.dev/v1alpha1/namespaces/$(ns)/rollouts";
        let rollout = super::kinds::rollout("probe");
        assert_eq!(side.ask(&Request::new("POST", rollouts).with(rollout)).code, 201);
        let status = json!({"status": {"workload": {"uid": "$(uid:deployments/probe)"}}});
        let merge = "application/merge-patch+json";
        let held = side.ask(&Request::patch(format!("{rollouts}/probe/status"), merge, status));
        assert_eq!(held.code, 200, "{:?}", held.lines);
        let mut set = json!({"metadata": {"name": "probe", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "probe", "uid": "$(uid:deployments/probe)", "controller": true}]}});
        set["spec"] = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
        let belt = Request::new("POST", "/apis/apps/v1/namespaces/$(ns)/replicasets").with(set).asking("dryRun", "All");
        until("the belt works", || side.ask(&belt).code == 422);
        let resume = json!({"spec": {"paused": false}});
        let hold = Request::patch(format!("{deployments}/probe"), merge, resume).asking("dryRun", "All");
        until("the hold works", || side.ask(&hold).body()["spec"]["paused"] == true);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let side = own();
        for path in self.made.iter().rev() {
            let mut request = Request::new("DELETE", path);
            request.sent = Sent::This(json!({"propagationPolicy": "Background"}));
            side.ask(&request);
        }
    }
}

/// A namespace of the real side, made for one test and taken away with everything in it.
pub struct Namespace(pub Side);

impl Namespace {
    /// A new one, once the cluster's controllers have put into it what they put into every one.
    pub fn new(name: &str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let side = Side::in_cluster(&format!("conformance-{name}-{}-{number}", std::process::id()));
        let made = side.ask(&Request::new("POST", "/api/v1/namespaces").with(json!({"metadata": {"name": "$(ns)"}})));
        assert_eq!(made.code, 201, "{:?}", made.lines);
        until("the namespace is furnished", || {
            side.ask(&Request::new("GET", "/api/v1/namespaces/$(ns)/configmaps/kube-root-ca.crt")).code == 200
                && side.ask(&Request::new("GET", "/api/v1/namespaces/$(ns)/serviceaccounts/default")).code == 200
        });
        Self(side)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What still waits for somebody would keep the namespace for ever.
        for sort in super::kinds::all() {
            let path = format!("/{}/namespaces/$(ns)/{}", sort.api, sort.plural);
            let found = self.0.ask(&Request::new("GET", &path));
            for object in found.body()["items"].as_array().into_iter().flatten() {
                if object["metadata"]["finalizers"].is_array() {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    let free = json!({"metadata": {"finalizers": null}});
                    self.0.ask(&Request::patch(format!("{path}/{name}"), "application/merge-patch+json", free));
                }
            }
        }
        self.0.ask(&Request::new("DELETE", "/api/v1/namespaces/$(ns)"));
    }
}

/// Waits for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < end, "it took too long until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The policies and their bindings, as the chart renders them.
fn policies() -> Vec<Value> {
    let chart = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/bellwether");
    let mut helm = Command::new("helm");
    helm.args(["template", "bellwether"]).arg(chart).args(["--namespace", "bellwether-system"]);
    for kind in ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"] {
        helm.args(["--api-versions", &format!("admissionregistration.k8s.io/v1/{kind}")]);
    }
    let done = helm.output().expect("helm in PATH, as inside hack/cluster exec");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let found: Vec<_> =
        all.into_iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.contains("AdmissionPolicy"))).collect();
    let bindings = found.iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding"))).count();
    assert!(bindings > 0 && bindings * 2 == found.len(), "{bindings} bindings of {} objects", found.len());
    found
}
