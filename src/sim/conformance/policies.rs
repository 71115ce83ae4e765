//! The chart's policies: what they let several users do to a Deployment and a route that a Rollout holds, all as dry runs.
use super::{
    cluster::until,
    kinds,
    normal::Eyes,
    run::{Found, Pair},
    side::{Answer, BOB, JANE, Request, Side, USERS},
};
use crate::sim::{dice::Dice, world::OPERATOR};
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";
const OURS: &str = "/apis/bellwether.dev/v1alpha1/namespaces/$(ns)";
const APPS: &str = "/apis/apps/v1/namespaces/$(ns)";
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/$(ns)/httproutes";

/// A namespace with a held Deployment and a claimed route, and many requests that the policies have to do with.
pub fn requests(seed: u64, count: usize) -> Found {
    let mut pair = Pair::new(&format!("policies-{seed}"));
    let mut dice = Dice::of(seed, "policies");
    let weights = [dice.range(0, 100), dice.range(0, 100)];
    for side in [&mut pair.memory, &mut pair.real.0] {
        furnish(side, weights);
    }
    for _ in 0..count {
        let request = next(&mut dice).asking("dryRun", "All");
        let (memory, real) = (told(&mut pair.memory, &request), told(&mut pair.real.0, &request));
        pair.note(&request, &memory, &real);
    }
    pair.found
}

fn make(side: &mut Side, path: &str, object: Value) {
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let plural = path.rsplit('/').next().unwrap();
    let answer = side.ask(&Request::new("POST", path).with(object));
    assert_eq!(answer.code, 201, "{:?}", answer.lines);
    side.read(&format!("{path}/{name}"), &format!("{plural}/{name}"));
}

fn template(image: &str) -> Value {
    let container = json!({"name": "app", "image": image});
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"schedulerName": "nobody", "containers": [container]}})
}

fn deployment(name: &str, paused: bool) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": 0, "paused": paused, "selector": {"matchLabels": {"app": "web"}}, "template": template("app:v1"),
    }})
}

fn set(name: &str, owners: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "web"}, "ownerReferences": owners}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template("app:v1"),
    }})
}

fn route(weights: [u64; 2]) -> Value {
    json!([{"backendRefs": [{"name": "s", "port": 80, "weight": weights[0]}, {"name": "c", "port": 80, "weight": weights[1]}]}])
}

fn owner(of: &str, controls: bool) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": of, "uid": format!("$(uid:deployments/{of})"), "controller": controls})
}

fn furnish(side: &mut Side, weights: [u64; 2]) {
    make(side, &format!("{APPS}/deployments"), deployment("web", false));
    make(side, &format!("{APPS}/deployments"), deployment("paused", true));
    make(side, &format!("{APPS}/deployments"), deployment("free", false));
    for name in ["web", "paused"] {
        make(side, &format!("{OURS}/rollouts"), kinds::rollout(name));
        let held = json!({"status": {"workload": {"uid": format!("$(uid:deployments/{name})")}}});
        let answer = side.ask(&Request::patch(format!("{OURS}/rollouts/{name}/status"), MERGE, held).by(OPERATOR));
        assert_eq!(answer.code, 200, "{:?}", answer.lines);
    }
    make(
        side,
        &format!("{OURS}/rolloutactions"),
        json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": "RolloutAction", "metadata": {"name": "made"}, "spec": {"rollout": "web", "action": "Pause"}}),
    );
    let mut claimed = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {
            "name": "claimed", "labels": {"bellwether.dev/rollout": "web", "bellwether.dev/rollout-uid": "$(uid:rollouts/web)"},
            "annotations": {"bellwether.dev/stable-service": "s", "bellwether.dev/canary-service": "c"},
        },
        "spec": {"rules": route(weights)},
    });
    make(side, ROUTES, claimed.clone());
    claimed["metadata"] = json!({"name": "free"});
    make(side, ROUTES, claimed);
    // What policies look at comes to be known a moment later.
    let probe = |name: &str| {
        Request::new("POST", format!("{APPS}/replicasets"))
            .with(set("probe", &json!([owner(name, true)])))
            .asking("dryRun", "All")
    };
    let hold = |name: &str| {
        Request::patch(
            format!("{APPS}/deployments/{name}"),
            MERGE,
            json!({"spec": {"template": template("app:probe"), "paused": false}}),
        )
        .asking("dryRun", "All")
    };
    for name in ["web", "paused"] {
        until("the belt knows the Deployment", || side.ask(&probe(name)).code == 422);
        until("the hold knows the Deployment", || side.ask(&hold(name)).body()["spec"]["paused"] == true);
    }
    let steer =
        Request::patch(format!("{ROUTES}/claimed"), MERGE, json!({"spec": {"rules": route([weights[0] + 1, 7])}}))
            .asking("dryRun", "All");
    until("the weights know the Rollout", || {
        side.ask(&steer).body()["spec"]["rules"][0]["backendRefs"][0]["weight"] == weights[0]
    });
}

fn next(dice: &mut Dice) -> Request {
    let user = *dice.pick(&USERS);
    let request = match dice.range(0, 6) {
        0 => belt(dice),
        1 => hold(dice),
        2 | 3 => steer(dice),
        4 => command(dice),
        5 => rollout(dice),
        _ => provider(dice),
    };
    request.by(user)
}

fn belt(dice: &mut Dice) -> Request {
    let of = *dice.pick(&["web", "paused", "free"]);
    let mut owners = vec![owner(of, dice.permille(700))];
    if dice.permille(200) {
        owners.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x", "controller": owners[0]["controller"] != true}));
    }
    if dice.permille(100) {
        owners[0]["kind"] = json!("StatefulSet");
    }
    Request::new("POST", format!("{APPS}/replicasets")).with(set("new", &json!(owners)))
}

fn hold(dice: &mut Dice) -> Request {
    let of = *dice.pick(&["web", "paused", "free"]);
    let mut spec = json!({});
    if dice.permille(500) {
        spec["template"] = template(dice.pick::<&str>(&["app:v1", "app:v2"]));
    }
    if dice.permille(500) {
        spec["paused"] = dice.pick(&[json!(true), json!(false), Value::Null]).clone();
    }
    if dice.permille(300) {
        spec["replicas"] = json!(3);
    }
    let part = if dice.permille(100) { "/scale" } else { "" };
    Request::patch(format!("{APPS}/deployments/{of}{part}"), MERGE, json!({"spec": spec}))
}

fn backends(dice: &mut Dice) -> Value {
    let mut all = Vec::new();
    for name in ["s", "c", "other"] {
        if dice.permille(if name == "other" { 250 } else { 900 }) {
            let mut backend = json!({"name": name, "port": 80});
            if dice.permille(850) {
                backend["weight"] = json!(dice.range(0, 100));
            }
            if dice.permille(60) {
                backend["namespace"] = dice.pick(&[json!("$(ns)"), json!("elsewhere")]).clone();
            }
            all.push(backend);
        }
    }
    if dice.permille(400) {
        all.reverse();
    }
    if dice.permille(60) {
        all.extend(all.first().cloned());
    }
    json!(all)
}

fn steer(dice: &mut Dice) -> Request {
    let mut rules = Vec::new();
    for _ in 0..dice.range(1, 3) {
        let mut rule = json!({"backendRefs": backends(dice)});
        if dice.permille(400) {
            rule["matches"] = json!([{"path": {"type": "PathPrefix", "value": *dice.pick(&["/", "/new", "/a"])}}]);
        }
        rules.push(rule);
    }
    let mut patch = json!({"spec": {"rules": rules}});
    if dice.permille(300) {
        patch["metadata"] = dice
            .pick(&[
                json!({"labels": null}),
                json!({"annotations": null}),
                json!({"labels": {"bellwether.dev/rollout-uid": "other"}}),
                json!({"labels": {"bellwether.dev/rollout": null}, "annotations": {"bellwether.dev/canary-service": "x"}}),
            ])
            .clone();
    }
    let of = *dice.pick(&["claimed", "claimed", "free"]);
    if dice.permille(150) {
        let mut config =
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": of}});
        config["spec"] = patch["spec"].clone();
        let request = Request::patch(format!("{ROUTES}/{of}"), "application/apply-patch+yaml", config);
        return request.asking("fieldManager", "git").asking("force", "true");
    }
    Request::patch(format!("{ROUTES}/{of}"), MERGE, patch)
}

fn command(dice: &mut Dice) -> Request {
    let mut said = json!({});
    if dice.permille(400) {
        said["bellwether.dev/by"] = json!(*dice.pick(&[JANE, BOB, "root"]));
    }
    if dice.permille(300) {
        said["bellwether.dev/by-verified"] = json!("true");
    }
    if dice.permille(300) {
        let patch = json!({"metadata": {"annotations": said, "labels": {"tier": "one"}}});
        return Request::patch(format!("{OURS}/rolloutactions/made"), MERGE, patch);
    }
    let action = *dice.pick(&["Promote", "PromoteFull", "Abort", "Retry", "Pause", "Resume", "Sing"]);
    let mut object = json!({"metadata": {"name": "new"}, "spec": {"rollout": *dice.pick(&["web", "absent"]), "action": action, "expect": {"revision": "1"}}});
    object["apiVersion"] = json!("bellwether.dev/v1alpha1");
    object["kind"] = json!("RolloutAction");
    if said != json!({}) {
        object["metadata"]["annotations"] = said;
    }
    Request::new("POST", format!("{OURS}/rolloutactions")).with(object)
}

fn rollout(dice: &mut Dice) -> Request {
    let mut named = Vec::new();
    for _ in 0..dice.range(0, 8) {
        let kind = *dice.pick(&["HTTPRoute", "GRPCRoute"]);
        let mut route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "name": "r"});
        if kind == "HTTPRoute" && dice.permille(400) {
            route["ownership"] = json!("Operator");
            route["template"] = json!({"spec": {}});
        }
        named.push(route);
    }
    let traffic = json!({"services": {"stable": "s", "canary": "c"}, "routes": named});
    match dice.range(0, 3) {
        0 => Request::patch(format!("{OURS}/rollouts/web"), MERGE, json!({"metadata": {"labels": {"tier": "one"}}})),
        1 => Request::patch(
            format!("{OURS}/rollouts/web"),
            MERGE,
            json!({"spec": {"scaleDownDelay": "2m", "traffic": traffic}}),
        ),
        2 => Request::patch(format!("{OURS}/rollouts/web/status"), MERGE, json!({"status": {"message": "x"}})),
        _ => {
            let mut object = kinds::rollout("new");
            object["spec"]["traffic"] = traffic;
            Request::new("POST", format!("{OURS}/rollouts")).with(object)
        }
    }
}

fn provider(dice: &mut Dice) -> Request {
    let mut prometheus = json!({"url": "https://prometheus.example.com"});
    if dice.permille(700) {
        let how = *dice.pick(&["bearer", "basic"]);
        prometheus["auth"] = json!({how: {"secretRef": {"name": "token"}}});
    }
    let mut web = json!({"url": "https://scores.example.com"});
    if dice.permille(700) {
        let how = *dice.pick(&["auth", "hmac"]);
        let secret = json!({"secretRef": {"name": "token", "key": "k"}});
        web[how] = if how == "auth" { json!({"bearer": secret}) } else { secret };
    }
    let (path, kind, spec) = match dice.range(0, 5) {
        0 => (format!("{OURS}/metricproviders"), "MetricProvider", json!({"prometheus": prometheus})),
        1 => (
            "/apis/bellwether.dev/v1alpha1/clustermetricproviders".to_owned(),
            "ClusterMetricProvider",
            json!({"prometheus": prometheus}),
        ),
        2 => (format!("{OURS}/metricproviders"), "MetricProvider", json!({"web": web})),
        3 => (format!("{OURS}/analysistemplates"), "AnalysisTemplate", json!({"metrics": [measured(dice)]})),
        4 => (
            "/apis/bellwether.dev/v1alpha1/clusteranalysistemplates".to_owned(),
            "ClusterAnalysisTemplate",
            json!({"metrics": [measured(dice)]}),
        ),
        _ => {
            let webhook = json!({"url": "https://alerts.example.com", "secretRef": {"name": "token", "key": "k"}});
            (format!("{OURS}/alertreceivers"), "AlertReceiver", json!({"webhook": webhook}))
        }
    };
    Request::new("POST", path).with(json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": kind, "metadata": {"name": "conformance-new"}, "spec": spec,
    }))
}

fn measured(dice: &mut Dice) -> Value {
    if dice.permille(300) {
        return json!({"name": "errors", "preset": "app/error-rate"});
    }
    json!({"name": "eval", "job": {"template": {"spec": {"containers": [{"name": "eval", "image": "eval"}]}}}})
}

/// The answer, as far as policies have a say in it: of an object its spec, labels and annotations.
fn told(side: &mut Side, request: &Request) -> Value {
    let answer = side.ask(request);
    let body = answer.body();
    let mut eyes = Eyes { known: &mut side.known, namespace: &side.namespace, dry: true };
    if answer.code >= 400 {
        return eyes.answer(&answer);
    }
    let mut metadata = json!({"labels": body["metadata"]["labels"], "annotations": body["metadata"]["annotations"]});
    if let Some(annotations) = metadata["annotations"].as_object_mut() {
        annotations.retain(|name, _| name.starts_with("bellwether"));
        if annotations.is_empty() {
            metadata["annotations"] = Value::Null;
        }
    }
    let part = json!({"metadata": metadata, "spec": body["spec"]});
    eyes.answer(&Answer { code: answer.code, lines: vec![part] })
}
