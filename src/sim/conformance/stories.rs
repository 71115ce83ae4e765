//! Stories of one Deployment: what people, autoscalers, Git and Bellwether do to it and its ReplicaSets, and what its
//! controller has made of that when everything has settled.
//!
//! There is no kubelet for these pods: on the real side they are said to be ready here, in memory the world says it.
use super::{
    normal::Eyes,
    run::{Found, Pair},
    side::{Answer, Request, Side},
};
use crate::sim::dice::Dice;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MERGE: &str = "application/merge-patch+json";
const APPS: &str = "/apis/apps/v1/namespaces/$(ns)";
const SHOP: &str = "/apis/apps/v1/namespaces/$(ns)/deployments/web";
const HASH: &str = "pod-template-hash";

/// What happens. A ReplicaSet is named by its place in the order of their creation.
#[derive(Clone, Debug)]
enum Event {
    /// The Deployment is made.
    Create(Value),
    /// A merge patch of the Deployment.
    Change(Value),
    /// The subresource of autoscalers.
    Scale(u64),
    /// A ReplicaSet is taken out of the Deployment's control.
    Out(usize),
    /// A ReplicaSet is handed in, as Bellwether promotes.
    In(usize),
    /// Somebody scales a ReplicaSet.
    ScaleSet(usize, u64),
    /// A ReplicaSet of the Deployment's template is made, controlled by another.
    Candidate,
    /// A ReplicaSet loses its owners, or the labels by which it is known.
    Orphan(usize),
    Unlabel(usize),
    /// A ReplicaSet is deleted.
    DeleteSet(usize),
    /// The Deployment is deleted and leaves its ReplicaSets.
    Leave,
}

fn template(image: &str) -> Value {
    let container = json!({"name": "app", "image": image, "ports": [{"containerPort": 80}]});
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [container]},
    })
}

fn deployment(dice: &mut Dice) -> Value {
    let mut spec = json!({
        "replicas": dice.range(0, 6), "selector": {"matchLabels": {"app": "web"}}, "template": template("app:v1"),
    });
    match dice.range(0, 5) {
        0 => spec["strategy"] = json!({"type": "Recreate"}),
        1 => {
            spec["strategy"] =
                json!({"rollingUpdate": {"maxSurge": dice.range(0, 3), "maxUnavailable": dice.range(1, 2)}});
        }
        2 => spec["strategy"] = json!({"rollingUpdate": {"maxSurge": "40%", "maxUnavailable": "0%"}}),
        _ => {}
    }
    if dice.permille(400) {
        spec["revisionHistoryLimit"] = json!(dice.range(0, 2));
    }
    if dice.permille(100) {
        spec["paused"] = json!(true);
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn next(dice: &mut Dice) -> Event {
    let images = ["app:v1", "app:v2", "app:v3", "app:v4-never", "app:v5-never"];
    let at = usize::try_from(dice.range(0, 5)).unwrap();
    let image = *dice.pick(&images);
    match dice.range(0, 29) {
        0..=6 => Event::Change(json!({"spec": {"template": template(image)}})),
        7..=9 => Event::Change(json!({"spec": {"template": template(image), "replicas": dice.range(0, 6)}})),
        10..=12 => Event::Scale(dice.range(0, 7)),
        13 => Event::Change(json!({"spec": {"replicas": dice.range(0, 7)}})),
        14 | 15 => Event::Change(json!({"spec": {"paused": true}})),
        16 | 17 => Event::Change(json!({"spec": {"paused": null}})),
        18 => Event::Change(json!({"spec": {"paused": true, "template": template(image)}})),
        19 => Event::Change(json!({"spec": {"revisionHistoryLimit": dice.range(0, 3)}})),
        20 => Event::Change(json!({"metadata": {"annotations": {"note": dice.range(0, 9).to_string()}}})),
        21 | 22 => Event::Out(at),
        23 | 24 => Event::In(at),
        25 => Event::ScaleSet(at, dice.range(0, 4)),
        26 => Event::Candidate,
        27 => Event::Orphan(at),
        28 => Event::Unlabel(at),
        _ => match dice.range(0, 2) {
            0 => Event::Leave,
            1 => Event::Create(deployment(dice)),
            _ => Event::DeleteSet(at),
        },
    }
}

/// One story.
pub fn deployments(seed: u64, count: usize) -> Found {
    let mut pair = Pair::new(&format!("stories-{seed}"));
    let mut dice = Dice::of(seed, "stories");
    let anchor = "/api/v1/namespaces/$(ns)/configmaps";
    for side in [&mut pair.memory, &mut pair.real.0] {
        side.ask(&Request::new("POST", anchor).with(json!({"metadata": {"name": "anchor"}})));
        side.read(&format!("{anchor}/anchor"), "configmaps/anchor");
    }
    let mut event = Event::Create(deployment(&mut dice));
    for _ in 0..count {
        let (memory, real) = (happen(&mut pair.memory, &event), happen(&mut pair.real.0, &event));
        if !pair.tell(&format!("{event:?}"), &memory, &real) || !settle(&mut pair) {
            break;
        }
        event = next(&mut dice);
    }
    pair.found
}

fn sets(side: &Side) -> Vec<Value> {
    let mut sets = side.list("apis/apps/v1", "replicasets");
    let key = |set: &Value| (set["metadata"]["creationTimestamp"].to_string(), set["metadata"]["name"].to_string());
    sets.sort_by_key(key);
    sets
}

/// One event, and what was answered, if anything was asked.
fn happen(side: &mut Side, event: &Event) -> Value {
    side.read(SHOP, "deployments/web");
    let shop = side.known.objects.get("deployments/web").cloned();
    let request = match (event, shop) {
        (Event::Create(deployment), _) => {
            Some(Request::new("POST", format!("{APPS}/deployments")).with(deployment.clone()))
        }
        (Event::Change(change), _) => Some(Request::patch(SHOP, MERGE, change.clone())),
        (Event::Scale(to), _) => {
            Some(Request::patch(format!("{SHOP}/scale"), MERGE, json!({"spec": {"replicas": to}})))
        }
        (Event::Leave, _) => Some(Request::new("DELETE", SHOP).with(json!({"propagationPolicy": "Orphan"}))),
        (Event::Candidate, Some(shop)) => {
            Some(Request::new("POST", format!("{APPS}/replicasets")).with(candidate(&shop)))
        }
        (Event::Candidate, None) => None,
        (event, shop) => of_set(side, event, shop.as_ref()),
    };
    request.map_or(Value::Null, |request| {
        let answer = side.ask(&request);
        json!({"code": answer.code, "reason": answer.body()["reason"]})
    })
}

fn of_set(side: &Side, event: &Event, shop: Option<&Value>) -> Option<Request> {
    let at = match event {
        Event::Out(at)
        | Event::In(at)
        | Event::ScaleSet(at, _)
        | Event::Orphan(at)
        | Event::Unlabel(at)
        | Event::DeleteSet(at) => *at,
        _ => return None,
    };
    let sets = sets(side);
    let set = sets.get(at % sets.len().max(1))?;
    let name = set["metadata"]["name"].as_str()?;
    let path = format!("{APPS}/replicasets/{name}");
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    let change = match event {
        Event::Out(_) => {
            json!({"metadata": {"labels": {"app": null, HASH: null, "held": "yes"}, "ownerReferences": ours(shop)}})
        }
        Event::In(_) => {
            let shop = shop?;
            let replicas = shop["spec"]["replicas"].as_i64()?.to_string();
            let highest = sets
                .iter()
                .filter_map(|set| {
                    set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str()?.parse::<u64>().ok()
                })
                .max();
            let annotations = json!({
                "deployment.kubernetes.io/revision": (highest.unwrap_or(0) + 1).to_string(),
                "deployment.kubernetes.io/desired-replicas": replicas, "deployment.kubernetes.io/max-replicas": replicas,
            });
            let mut labels = labels.clone();
            labels["held"] = Value::Null;
            json!({"metadata": {"labels": labels, "annotations": annotations, "ownerReferences": [owner(shop, true)]}})
        }
        Event::ScaleSet(_, to) => json!({"spec": {"replicas": to}}),
        Event::Orphan(_) => json!({"metadata": {"ownerReferences": null}}),
        Event::Unlabel(_) => json!({"metadata": {"labels": {"app": "other"}}}),
        _ => return Some(Request::new("DELETE", path).with(json!({"propagationPolicy": "Background"}))),
    };
    Some(Request::patch(path, MERGE, change))
}

fn owner(shop: &Value, controls: bool) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": shop["metadata"]["uid"], "controller": controls,
        "blockOwnerDeletion": controls,
    })
}

/// Controlled by another, with the Deployment as a plain owner.
fn ours(shop: Option<&Value>) -> Value {
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": "$(uid:configmaps/anchor)", "controller": true});
    let plain = shop.map(|shop| owner(shop, false));
    json!([Some(other), plain].into_iter().flatten().collect::<Vec<_>>())
}

fn candidate(shop: &Value) -> Value {
    let mut template = shop["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = json!("candidate");
    json!({
        "metadata": {"name": "web-candidate", "labels": {"held": "yes"}, "ownerReferences": ours(Some(shop))},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web", HASH: "candidate"}}, "template": template},
    })
}

/// Waits until both sides have settled, and compares where. The real one has when nothing changes any more and everything
/// has been seen by who has to see it.
fn settle(pair: &mut Pair) -> bool {
    pair.memory.pass(Duration::from_mins(1));
    let wanted = seen(&mut pair.memory);
    let begun = Instant::now();
    let (mut last, mut since) = (Value::Null, Instant::now());
    loop {
        let moved = tend(&pair.real.0);
        let real = seen(&mut pair.real.0);
        if moved || real != last || !is_observed(&pair.real.0) {
            (last, since) = (real, Instant::now());
        } else {
            // What is as it should be has a shorter time to prove that it stays so.
            let stays = if real == wanted { Duration::from_millis(400) } else { Duration::from_secs(4) };
            if since.elapsed() > stays {
                // What is made in one second has no order.
                std::thread::sleep(Duration::from_millis(1_050).saturating_sub(since.elapsed()));
                return pair.agree("where it has settled", &wanted, &real);
            }
        }
        if begun.elapsed() > Duration::from_secs(40) {
            return pair.agree("what never settled", &wanted, &last);
        }
        std::thread::sleep(Duration::from_millis(60));
    }
}

/// What a kubelet does: pods become ready, but for those of an image that never does. Whether it did anything.
fn tend(side: &Side) -> bool {
    let mut moved = false;
    for pod in side.list("api/v1", "pods") {
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let ready = pod["status"]["conditions"].as_array().into_iter().flatten().any(|it| it["type"] == "Ready");
        if ready || image.contains("never") || pod["metadata"]["deletionTimestamp"].is_string() {
            continue;
        }
        let name = pod["metadata"]["name"].as_str().unwrap();
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}});
        side.ask(&Request::patch(format!("/api/v1/namespaces/$(ns)/pods/{name}/status"), MERGE, status));
        moved = true;
    }
    moved
}

/// Whether controllers have seen the newest of what they look at.
fn is_observed(side: &Side) -> bool {
    let observed = |object: &Value| object["metadata"]["generation"] == object["status"]["observedGeneration"];
    let full =
        |set: &Value| set["status"]["replicas"].as_i64().unwrap_or(0) == set["spec"]["replicas"].as_i64().unwrap_or(0);
    side.list("apis/apps/v1", "deployments").iter().all(observed)
        && sets(side).iter().all(|set| observed(set) && full(set))
}

/// The Deployment and its ReplicaSets, as they are, in words of both sides.
fn seen(side: &mut Side) -> Value {
    let deployments = side.list("apis/apps/v1", "deployments");
    let sets = sets(side);
    let mut seen: Vec<Value> = deployments.iter().chain(&sets).map(part_of).collect();
    let pods = side.list("api/v1", "pods");
    let of = |set: &Value| {
        pods.iter()
            .filter(|pod| {
                pod["metadata"]["ownerReferences"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|owner| owner["uid"] == set["metadata"]["uid"])
            })
            .count()
    };
    seen.push(json!({"pods": sets.iter().map(of).collect::<Vec<_>>()}));
    let mut eyes = Eyes { known: &mut side.known, namespace: &side.namespace, dry: false };
    let mut told = eyes.answer(&Answer { code: 200, lines: seen });
    // Names and labels that are made of a template's sum.
    let mut text = told.to_string();
    for set in &sets {
        if let Some(hash) = set["spec"]["selector"]["matchLabels"][HASH].as_str() {
            text = text.replace(&format!("\"{hash}\""), "\"<hash>\"").replace(&format!("web-{hash}"), "web-<hash>");
        }
    }
    told = serde_json::from_str(&text).unwrap();
    told
}

fn part_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove("deployment.kubernetes.io/revision-history");
    }
    let mut status = object["status"].clone();
    if let Some(status) = status.as_object_mut() {
        for member in ["conditions", "observedGeneration", "terminatingReplicas"] {
            status.remove(member);
        }
    }
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten().map(|owner| {
        json!([owner["kind"], owner["name"], owner["controller"] == true, owner["blockOwnerDeletion"] == true])
    });
    json!({
        "spec": object["spec"], "status": status,
        "metadata": {"name": metadata["name"], "labels": metadata["labels"], "annotations": annotations, "finalizers": metadata["finalizers"]},
        "owners": owners.collect::<Vec<_>>(), "ending": metadata["deletionTimestamp"].is_string(),
    })
}
