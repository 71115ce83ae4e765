//! One effect against an API server that never opens a socket: which calls are made, and what they carry.
mod routes;

use super::*;
use crate::{
    api::{Action, ActionOutcome, Handled, Rollout},
    plan::{Effect, Map, PendingAction, Target},
    traffic::RouteRef,
    vocab::{Pair, Weight},
};
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Mutex};

pub(super) type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// The client for requests to others, as it is where nothing is said of it.
pub(super) fn outbound() -> crate::outbound::Outbound {
    crate::outbound::Outbound::new(crate::outbound::Settings::default()).unwrap()
}

/// A clock that shows this now and goes with the runtime's.
pub(super) fn clock_from(start: jiff::Timestamp) -> Clock {
    let begun = Instant::now();
    Clock::new(move || start + begun.elapsed())
}

/// A cluster whose every call is recorded and answered by this function, by status and body.
pub(super) fn cluster(
    answer: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Cluster, Calls) {
    cluster_with(outbound(), answer)
}

/// One whose requests to others leave by this client.
pub(super) fn cluster_with(
    outbound: impl Transport + 'static,
    answer: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Cluster, Calls) {
    cluster_at(Clock::default(), outbound, answer)
}

/// One with a clock of its own.
pub(super) fn cluster_at(
    clock: Clock,
    outbound: impl Transport + 'static,
    answer: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Cluster, Calls) {
    let calls = Calls::default();
    let recorded = calls.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (recorded, answer) = (recorded.clone(), answer.clone());
        async move {
            let call = format!("{} {}", request.method(), request.uri().path());
            let bytes = request.into_body().collect_bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let (status, value) = answer(&call, &body);
            recorded.lock().unwrap().push((call, body));
            let text = serde_json::to_vec(&value).unwrap();
            Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(text)).unwrap())
        }
    });
    (cluster_behind(Client::new(service, "default"), clock, outbound), calls)
}

fn cluster_behind(client: Client, clock: Clock, outbound: impl Transport + 'static) -> Cluster {
    let settings = Settings {
        namespace: "system".to_owned(),
        identity: "me".to_owned(),
        belt: "belt".to_owned(),
        shard: Shard::default(),
        clock,
        tamper: None,
    };
    Cluster::new(client, settings, Telemetry::default(), outbound, |_| {})
}

fn accepts(call: &str, body: &Value) -> (u16, Value) {
    let kind = if call.contains("replicasets") { "ReplicaSet" } else { "Deployment" };
    let mut answer = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"}});
    if body.get("kind").is_some() {
        answer = body.clone();
    }
    (200, answer)
}

fn conflict() -> (u16, Value) {
    (
        409,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "somebody was faster", "code": 409}),
    )
}

fn rollout() -> Rollout {
    serde_json::from_value(json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "shop", "namespace": "n", "uid": "u", "resourceVersion": "7", "finalizers": ["other/one"]},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "steps": [{"name": "a", "weight": 5, "observe": "1m"}], "analysis": {"mode": "None"},
        },
    }))
    .unwrap()
}

fn target(name: &str) -> Target {
    Target { name: name.to_owned(), uid: format!("{name}-uid"), resource_version: "3".to_owned() }
}

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_pause_carries_the_uid_and_version_that_were_read_and_nothing_else() {
    let (cluster, calls) = cluster(accepts);
    cluster.perform(&rollout(), &Effect::Pause { deployment: target("shop"), paused: true }).await.unwrap();
    cluster.perform(&rollout(), &Effect::Pause { deployment: target("shop"), paused: false }).await.unwrap();
    let calls = calls.lock().unwrap();
    assert_eq!(calls[0].0, "PATCH /apis/apps/v1/namespaces/n/deployments/shop");
    assert_eq!(calls[0].1, json!({"metadata": {"uid": "shop-uid", "resourceVersion": "3"}, "spec": {"paused": true}}));
    assert_eq!(calls[1].1["spec"], json!({"paused": null}));
}

#[tokio::test]
async fn a_replica_set_that_is_taken_out_loses_its_labels_and_keeps_two_owners() {
    let (cluster, calls) = cluster(accepts);
    let effect = Effect::TakeOut {
        set: target("shop-1"),
        labels: map(&[("app", "shop"), ("pod-template-hash", "1")]),
        revision: "1".to_owned(),
        deployment: target("shop"),
    };
    cluster.perform(&rollout(), &effect).await.unwrap();
    let (call, body) = calls.lock().unwrap()[0].clone();
    assert_eq!(call, "PATCH /apis/apps/v1/namespaces/n/replicasets/shop-1");
    let metadata = &body["metadata"];
    assert_eq!((&metadata["labels"]["app"], &metadata["labels"]["pod-template-hash"]), (&Value::Null, &Value::Null));
    assert!(metadata["labels"].as_object().unwrap().contains_key("app"), "null takes a label away; absence leaves it");
    assert_eq!(metadata["labels"]["bellwether.dev/rollout"], "shop");
    let owners = metadata["ownerReferences"].as_array().unwrap();
    assert_eq!((owners.len(), &owners[0]["kind"], &owners[0]["controller"]), (2, &json!("Rollout"), &json!(true)));
    assert_eq!((&owners[1]["kind"], &owners[1]["controller"]), (&json!("Deployment"), &json!(false)));
}

#[tokio::test]
async fn a_candidate_has_the_template_as_it_is_and_labels_that_the_deployment_does_not_select() {
    let (cluster, calls) = cluster(accepts);
    let template =
        json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [], "fieldOfTomorrow": {"x": 1}}});
    let effect = Effect::CreateCandidate {
        name: "shop-abc".to_owned(),
        replicas: 0,
        revision: "abc".to_owned(),
        template,
        selector: json!({"matchLabels": {"app": "shop"}}),
        min_ready_seconds: 2,
        deployment: target("shop"),
    };
    cluster.perform(&rollout(), &effect).await.unwrap();
    let (call, body) = calls.lock().unwrap()[0].clone();
    assert_eq!(call, "POST /apis/apps/v1/namespaces/n/replicasets");
    assert_eq!(body["spec"]["template"]["spec"]["fieldOfTomorrow"], json!({"x": 1}));
    assert_eq!(body["spec"]["template"]["metadata"]["labels"], json!({"app": "shop", "pod-template-hash": "abc"}));
    assert_eq!(body["spec"]["selector"]["matchLabels"], json!({"app": "shop", "pod-template-hash": "abc"}));
    assert_eq!(body["spec"]["replicas"], 0);
    assert_eq!(body["metadata"]["labels"].get("app"), None);
}

#[tokio::test]
async fn a_copy_of_a_template_that_a_rollout_has_left_which_is_no_more_gives_way_and_no_other_does() {
    let keep = Effect::KeepTemplate {
        name: "shop-1".to_owned(),
        hash: "1".to_owned(),
        template: json!({}),
        deployment: target("shop"),
    };
    let with = |labels: Value, living: Option<&'static str>| {
        move |call: &str, _: &Value| match call {
            "POST /apis/apps/v1/namespaces/n/controllerrevisions" => (
                409,
                json!({"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409, "message": "there"}),
            ),
            "GET /apis/apps/v1/namespaces/n/controllerrevisions/shop-1" => (
                200,
                json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "shop-1", "labels": labels}}),
            ),
            "GET /apis/bellwether.dev/v1alpha1/namespaces/n/rollouts/other" => match living {
                Some(uid) => (
                    200,
                    json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "other", "uid": uid}}),
                ),
                None => (
                    404,
                    json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "none"}),
                ),
            },
            other => {
                assert_eq!(other, "DELETE /apis/apps/v1/namespaces/n/controllerrevisions/shop-1");
                (200, json!({"kind": "Status", "status": "Success"}))
            }
        }
    };
    let theirs = json!({"bellwether.dev/rollout": "other", "bellwether.dev/rollout-uid": "old"});
    for (labels, living, gives_way) in [
        (theirs.clone(), None, true),
        (theirs.clone(), Some("new"), true),
        (theirs, Some("old"), false),
        (json!({}), None, false),
    ] {
        let (cluster, calls) = cluster(with(labels, living));
        let done = cluster.perform(&rollout(), &keep).await;
        let deleted = calls.lock().unwrap().iter().any(|(call, _)| call.starts_with("DELETE"));
        assert_eq!((done.is_ok(), deleted), (gives_way, gives_way), "{living:?} {done:?}");
        // What is nobody's to delete is said, and is no lost race.
        assert!(done.is_ok() || !done.unwrap_err().is_conflict());
    }
}

#[tokio::test]
async fn our_finalizer_leaves_those_of_others_alone() {
    let (cluster, calls) = cluster(|_, _| (200, serde_json::to_value(rollout()).unwrap()));
    cluster.perform(&rollout(), &Effect::Finalize { present: true }).await.unwrap();
    cluster.perform(&rollout(), &Effect::Finalize { present: false }).await.unwrap();
    let calls = calls.lock().unwrap();
    assert_eq!(calls[0].1["metadata"]["finalizers"], json!(["other/one", "bellwether.dev/hand-back"]));
    assert_eq!(calls[1].1["metadata"]["finalizers"], json!(["other/one"]));
    assert_eq!(calls[1].1["metadata"]["resourceVersion"], "7");
}

fn route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "n", "resourceVersion": "41", "generation": 1},
        "spec": {"rules": [{"filters": [{"type": "X"}], "backendRefs": [
            {"name": "s", "port": 80, "weight": 100}, {"name": "c", "port": 80, "weight": 0},
        ]}]},
    })
}

fn weigh() -> Effect {
    let route: RouteRef = serde_json::from_value(
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop"}),
    )
    .unwrap();
    let pair = Pair { stable: "s".to_owned(), canary: "c".to_owned(), port: 80, also: Vec::new() };
    Effect::SetWeights { split: Weight::new(20).unwrap().into(), pair, routes: vec![route] }
}

#[tokio::test]
async fn weights_go_back_in_the_route_as_it_was_read() {
    let (cluster, calls) = cluster(|call, sent| (200, if call.starts_with("PUT") { sent.clone() } else { route() }));
    cluster.perform(&rollout(), &weigh()).await.unwrap();
    let calls = calls.lock().unwrap();
    assert_eq!(calls.iter().map(|call| &call.0[..3]).collect::<Vec<_>>(), ["GET", "PUT"]);
    let mut wanted = route();
    wanted["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(80);
    wanted["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(20);
    assert_eq!(calls[1].1, wanted);
}

#[tokio::test]
async fn of_a_route_that_somebody_applies_on_the_server_nothing_is_owned() {
    let entry = |manager: &str, how: &str| json!({"manager": manager, "operation": how, "fieldsType": "FieldsV1"});
    for (owners, asked) in [
        (json!([entry("helm", "Apply"), entry("bellwether", "Update")]), &["GET", "PUT", "PAT", "GET", "PAT"][..]),
        (json!([entry("kubectl-client-side-apply", "Update"), entry("bellwether", "Update")]), &["GET", "PUT"]),
        (json!([entry("helm", "Apply")]), &["GET", "PUT"]),
    ] {
        let stored = owners.clone();
        let patched = Arc::new(Mutex::new(0));
        let (cluster, calls) = cluster(move |call, sent| {
            let mut answer = if call.starts_with("PUT") { sent.clone() } else { route() };
            answer["metadata"]["managedFields"] = stored.clone();
            let mut patched = patched.lock().unwrap();
            *patched += i32::from(call.starts_with("PATCH"));
            if call.starts_with("PATCH") && *patched == 1 { conflict() } else { (200, answer) }
        });
        cluster.perform(&rollout(), &weigh()).await.unwrap();
        let calls = calls.lock().unwrap();
        assert_eq!(calls.iter().map(|call| &call.0[..3]).collect::<Vec<_>>(), asked, "{owners}");
        for (_, patch) in calls.iter().filter(|(call, _)| call.starts_with("PATCH")) {
            assert_eq!(patch["metadata"]["managedFields"], json!([entry("helm", "Apply")]));
            assert!(patch["metadata"]["resourceVersion"].is_string(), "{patch}");
        }
    }
}

#[tokio::test]
async fn a_route_that_changed_in_between_is_read_again() {
    let puts = Arc::new(Mutex::new(0));
    let count = puts.clone();
    let (cluster, calls) = cluster(move |call, sent| {
        let mut count = count.lock().unwrap();
        let is_put = call.starts_with("PUT");
        *count += i32::from(is_put);
        match (is_put, *count) {
            (true, 1) => conflict(),
            (true, _) => (200, sent.clone()),
            (false, _) => (200, route()),
        }
    });
    cluster.perform(&rollout(), &weigh()).await.unwrap();
    assert_eq!(calls.lock().unwrap().len(), 4, "read, refused, read, taken");
    assert_eq!(*puts.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_route_that_is_stored_otherwise_is_a_failure_with_words_and_no_success() {
    // A webhook brings the old weights back in the same write.
    let (cluster, calls) = cluster(|_, _| (200, route()));
    let failed = cluster.perform(&rollout(), &weigh()).await.unwrap_err();
    assert!(failed.chain().contains("it is stored otherwise than it is written"), "{}", failed.chain());
    assert_eq!(calls.lock().unwrap().len(), 2, "not tried again at once");
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_had_no_time_for_is_asked_again_when_it_says() {
    let busy = || {
        (
            429,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "reason": "TooManyRequests",
            "message": "later", "details": {"retryAfterSeconds": 2}}),
        )
    };
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let (cluster, _) = cluster(move |call, sent| {
        *count.lock().unwrap() += 1;
        match (*count.lock().unwrap(), call.starts_with("PUT")) {
            (1 | 3, _) => busy(),
            (_, true) => (200, sent.clone()),
            (_, false) => (200, route()),
        }
    });
    let begun = tokio::time::Instant::now();
    cluster.perform(&rollout(), &weigh()).await.unwrap();
    assert_eq!((*asked.lock().unwrap(), begun.elapsed().as_secs()), (4, 4));
}

#[tokio::test]
async fn a_route_that_may_not_be_let_go_is_left_aside_and_one_that_may_not_be_taken_is_a_failure() {
    let forbidden = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403});
    let (cluster, _) = cluster(move |_, _| (403, forbidden.clone()));
    let Effect::SetWeights { pair, routes, .. } = weigh() else { panic!("no weights") };
    let route = routes[0].clone();
    let claim = |claimed| Effect::ClaimRoute { route: route.clone(), pair: pair.clone(), claimed };
    let why = || cluster.refusals.of_route(&key_of(&rollout()), &route);
    assert!(cluster.perform(&rollout(), &claim(true)).await.is_err());
    assert_eq!(why(), None);
    cluster.perform(&rollout(), &claim(false)).await.unwrap();
    assert_eq!(why().as_deref(), Some("no"), "the next look goes on without it");
}

#[tokio::test]
async fn nothing_is_written_when_the_weights_are_there_already() {
    let (cluster, calls) = cluster(|_, _| {
        let mut route = route();
        route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(80);
        route["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(20);
        (200, route)
    });
    cluster.perform(&rollout(), &weigh()).await.unwrap();
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_race_is_a_conflict_and_not_a_failure() {
    let (cluster, _) = cluster(|_, _| conflict());
    let error = cluster.perform(&rollout(), &Effect::Scale { set: target("shop-1"), replicas: 3 }).await.unwrap_err();
    assert!(error.is_conflict());
    assert!(error.chain().contains("cannot scale ReplicaSet/shop-1"), "{}", error.chain());
}

#[tokio::test]
async fn an_answer_goes_to_the_actions_status() {
    let (cluster, calls) = cluster(|_, _| {
        (200, json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": "RolloutAction", "metadata": {"name": "a"}}))
    });
    let action = PendingAction {
        name: "a".to_owned(),
        uid: "u".to_owned(),
        resource_version: "7".to_owned(),
        action: Action::Abort,
        expect: None,
        to: None,
        reason: None,
        by: None,
    };
    let decided = [Handled { uid: "u".to_owned(), outcome: ActionOutcome::Refused, message: "no".to_owned() }];
    cluster.answer(&rollout(), std::slice::from_ref(&action), &decided);
    cluster.answer(&rollout(), &[action], &decided);
    while calls.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 1, "one that is not taken up is not repeated at once");
    let (call, body) = calls[0].clone();
    assert_eq!(call, "PATCH /apis/bellwether.dev/v1alpha1/namespaces/n/rolloutactions/a/status");
    let named = json!({"resourceVersion": "7"});
    assert_eq!(body, json!({"metadata": named, "status": {"outcome": "Refused", "message": "no"}}));
}

#[tokio::test]
async fn what_may_not_be_read_is_told_to_whom_blocks_are_told_once() {
    let stored = Arc::new(Mutex::new({
        let mut rollout = serde_json::to_value(rollout()).unwrap();
        rollout["metadata"]["generation"] = json!(3);
        rollout["spec"]["alerts"] = json!([
            {"receiver": {"name": "on-call"}, "on": ["Blocked"]}, {"receiver": {"name": "chat"}, "on": ["Promoted"]},
        ]);
        rollout
    }));
    let known = stored.clone();
    let (cluster, calls) = cluster(move |call, body| {
        let mut stored = known.lock().unwrap();
        if call.contains("/pods") {
            let why = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no pods", "code": 403});
            return (403, why);
        }
        if call.starts_with("PATCH") {
            stored["status"] = body["status"].clone();
        }
        if call.contains("/rollouts/") { (200, stored.clone()) } else { (404, json!({"kind": "Status", "code": 404})) }
    });
    let key = key_of(&rollout());
    let error = cluster.list(&kinds::pods(), "n", None).await.unwrap_err();
    cluster.say_unreadable(&key, &error).await;
    // A restarted operator says it again, and tells nobody anew.
    cluster.refusals.looked(&key);
    cluster.say_unreadable(&key, &error).await;
    let told: Vec<_> = calls.lock().unwrap().iter().filter(|(call, _)| call.starts_with("PATCH")).cloned().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (call, body) in &told {
        assert!(call.ends_with("/rollouts/shop/status"), "{call}");
        let alerts = body["status"]["alerts"].as_array().unwrap();
        assert_eq!(
            (alerts.len(), &alerts[0]["receiver"], &alerts[0]["event"]),
            (1, &json!("on-call"), &json!("Blocked"))
        );
        assert_eq!(alerts[0]["id"], told[0].1["status"]["alerts"][0]["id"]);
        assert_eq!(body["metadata"], json!({"resourceVersion": "7"}), "nothing that is told meanwhile is lost");
        // So that whoever waits knows that this is about the spec as it is.
        assert_eq!(body["status"]["observedGeneration"], 3);
        assert!(body["status"]["conditions"].as_array().unwrap().iter().all(|it| it["observedGeneration"] == 3));
    }
    let page = cluster.telemetry().text();
    assert!(page.contains(r#"rollout_phase{namespace="n",rollout="shop",phase="Blocked"} 1"#), "{page}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_up_a_rollout_acts_for_it_from_then_on() {
    let base = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let clock = clock_from(base);
    let (cluster, _) = cluster_at(clock.clone(), outbound(), accepts);
    let (shop, blog) = (Key::new("shop").within("web"), Key::new("blog").within("web"));
    let after = |key: &Key| cluster.acts_since(key, clock.now()).map(|at| at.duration_since(base).as_secs());
    assert_eq!(after(&shop), None, "it does not lead");
    cluster.lead(1);
    assert_eq!(after(&shop), Some(0));
    tokio::time::advance(std::time::Duration::from_mins(1)).await;
    assert_eq!((after(&shop), after(&blog)), (Some(0), Some(60)));
    cluster.forget(&shop);
    tokio::time::advance(std::time::Duration::from_mins(1)).await;
    assert_eq!((after(&shop), after(&blog)), (Some(120), Some(60)), "another had it meanwhile");
}
