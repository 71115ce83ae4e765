//! The real client of the operator over the wire: every verb, and every fault on the way.
use super::*;
use crate::{
    api::{Rollout, RolloutAction},
    cluster::Clock,
};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::PartialObjectMeta,
};
use std::{sync::Mutex, time::Duration};

fn client(server: &Server) -> Client {
    Wire::new(server.clone(), "alice", Arc::new(Calm)).client("n")
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn code<T: std::fmt::Debug>(answer: kube::Result<T>) -> u16 {
    match answer.unwrap_err() {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_can_do_everything_to_a_deployment() {
    let server = server();
    let api: Api<Deployment> = Api::namespaced(client(&server), "n");
    let made = api.create(&PostParams::default(), &typed(deployment("shop"))).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(code(api.create(&PostParams::default(), &typed(deployment("shop"))).await), 409);
    assert_eq!(api.get("shop").await.unwrap(), made);
    assert!(api.get_opt("none").await.unwrap().is_none());
    let list = api.list(&ListParams::default().labels("app=shop")).await.unwrap();
    assert_eq!((list.items.len(), list.metadata.resource_version), (1, Some(server.version().to_string())));
    let mut changed = made.clone();
    changed.spec.as_mut().unwrap().paused = Some(true);
    let paused = api.replace("shop", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(code(api.replace("shop", &PostParams::default(), &changed).await), 409);
    let params = PatchParams { field_manager: Some("ours".to_owned()), ..PatchParams::default() };
    let patched = api.patch("shop", &params, &Patch::Merge(json!({"spec": {"paused": null}}))).await.unwrap();
    assert_eq!(patched.spec.as_ref().unwrap().paused, None);
    assert_ne!(patched.resource_version(), paused.resource_version());
    let status = json!({"status": {"replicas": 3}});
    let patched = api.patch_status("shop", &params, &Patch::Merge(status)).await.unwrap();
    assert_eq!(patched.status.unwrap().replicas, Some(3));
    let change: json_patch::Patch = typed(json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]));
    let patched = api.patch("shop", &params, &Patch::Json::<()>(change)).await.unwrap();
    assert_eq!(patched.labels()["x"], "y");
    let scale = api.get_scale("shop").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(1));
    let scale = json!({"spec": {"replicas": 4}});
    api.patch_scale("shop", &params, &Patch::Merge(scale)).await.unwrap();
    let applied = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "labels": {"from": "git"}},
    });
    let applied = api.patch("shop", &PatchParams::apply("git"), &Patch::Apply(applied)).await.unwrap();
    assert!(applied.managed_fields().iter().any(|entry| entry.operation.as_deref() == Some("Apply")));
    let metadata = api.get_metadata("shop").await.unwrap();
    assert_eq!(metadata.labels()["from"], "git");
    let uid = Some("other".to_owned());
    let wrong = DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::background()
    };
    assert_eq!(code(api.delete("shop", &wrong).await), 409);
    let gone = api.delete("shop", &DeleteParams::background()).await.unwrap();
    assert!(gone.right().unwrap().is_success());
    assert_eq!(code(api.delete("shop", &DeleteParams::default()).await), 404);
}

#[tokio::test(start_paused = true)]
async fn lists_of_all_sorts_are_read() {
    let server = server();
    let owner = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    server.create("alice", "pods", "n", pod("p", &owner)).unwrap();
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    let action = json!({
        "metadata": {"generateName": "shop-"}, "spec": {"rollout": "shop", "action": "Pause"},
    });
    server.create("alice", "rolloutactions", "n", action).unwrap();
    let client = client(&server);
    let pods: Api<Pod> = Api::all(client.clone());
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items[0].name_any(), "p");
    let metadata: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), "n");
    assert_eq!(metadata.list(&ListParams::default()).await.unwrap().items[0].name_any(), "p");
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), "n");
    assert_eq!(rollouts.list(&ListParams::default()).await.unwrap().items[0].spec.steps.len(), 1);
    let actions: Api<RolloutAction> = Api::namespaced(client.clone(), "n");
    let of = |rollout: &str| ListParams::default().fields(&format!("spec.rollout={rollout}"));
    assert_eq!(actions.list(&of("shop")).await.unwrap().items.len(), 1);
    assert_eq!(actions.list(&of("other")).await.unwrap().items.len(), 0);
    let kind = crate::cluster::resource_named(crate::traffic::resources().next().unwrap());
    let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), "n", &kind);
    assert_eq!(routes.list(&ListParams::default()).await.unwrap().items.len(), 0);
    let gateway = client.list_api_group_resources("gateway.networking.k8s.io/v1").await.unwrap();
    assert!(gateway.resources.iter().any(|resource| resource.kind == "HTTPRoute"));
    assert!(client.list_api_group_resources("nobody.dev/v1").await.is_err());
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
    let unserved = kube::api::ApiResource { plural: "sheds".to_owned(), ..kind };
    let sheds: Api<DynamicObject> = Api::namespaced_with(client.clone(), "n", &unserved);
    let kube::Error::Api(status) = sheds.get("x").await.unwrap_err() else { panic!() };
    assert_eq!((status.code, status.details.map(|details| details.name)), (404, Some(String::new())));
    let policies: Api<k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy> = Api::all(client);
    assert!(policies.get_opt("bellwether-belt").await.unwrap().is_none());
    server.set_policies(Policies { belt: true, ..Policies::default() });
    assert!(policies.get_opt("bellwether-belt").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_operators_own_lease_is_taken_and_held() {
    let server = server();
    let terms = crate::cluster::lease::Terms {
        namespace: "n".to_owned(),
        name: "bellwether".to_owned(),
        identity: "one".to_owned(),
        duration: Duration::from_secs(3),
        renew: Duration::from_secs(1),
    };
    let mut one = crate::cluster::lease::Elector::new(client(&server), terms.clone(), Clock::default());
    assert_eq!(one.acquire(|| {}).await, 1);
    let other = crate::cluster::lease::Terms { identity: "two".to_owned(), ..terms };
    let mut two = crate::cluster::lease::Elector::new(client(&server), other, Clock::default());
    tokio::select! {
        () = one.hold() => panic!("it was lost"),
        _ = two.acquire(|| {}) => panic!("it was stolen"),
        () = tokio::time::sleep(Duration::from_secs(20)) => {}
    }
    assert_eq!(two.acquire(|| {}).await, 2, "nobody renews it any more");
    let leases: Api<Lease> = Api::namespaced(client(&server), "n");
    assert_eq!(leases.get("bellwether").await.unwrap().spec.unwrap().holder_identity.as_deref(), Some("two"));
}

/// Every request has the fate that is next in line; then all is calm.
struct Fates(Mutex<Vec<Fate>>, Option<u64>);

impl Hooks for Fates {
    fn before(&self, _: &Call) -> Fate {
        let mut fates = self.0.lock().unwrap();
        if fates.is_empty() { Fate::PASS } else { fates.remove(0) }
    }

    fn after(&self, _: &Call, _: &Result<bytes::Bytes, Status>) -> Duration {
        Duration::from_millis(10)
    }

    fn event(&self, _: &Kind, _: u64) -> EventFate {
        EventFate::After(Duration::ZERO)
    }

    fn read_version(&self, _: &Call) -> Option<u64> {
        self.1
    }
}

fn faulty(server: &Server, fates: Vec<Fate>) -> Api<Deployment> {
    let hooks = Arc::new(Fates(Mutex::new(fates), None));
    Api::namespaced(Wire::new(server.clone(), "alice", hooks).client("n"), "n")
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_delay_is_time_that_passes() {
    let server = server();
    let api = faulty(&server, vec![Fate::Pass { delay: SECOND }]);
    let begun = tokio::time::Instant::now();
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert_eq!(begun.elapsed(), Duration::from_millis(1_010));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_a_write_that_was_made() {
    let server = server();
    let api = faulty(&server, vec![Fate::Break { delay: SECOND }, Fate::Lose { delay: SECOND }]);
    let shop: Deployment = typed(deployment("shop"));
    assert!(matches!(api.create(&PostParams::default(), &shop).await, Err(kube::Error::Service(_))));
    assert!(server.get("deployments", "n", "shop").is_none());
    assert!(matches!(api.create(&PostParams::default(), &shop).await, Err(kube::Error::Service(_))));
    assert!(server.get("deployments", "n", "shop").is_some());
}

#[tokio::test(start_paused = true)]
async fn somebody_else_may_answer_or_nobody() {
    let server = server();
    let status = Status::new(503, "ServiceUnavailable", "the server is currently unable to handle the request");
    let api = faulty(&server, vec![Fate::Fail { delay: SECOND, status }, Fate::Hang]);
    assert_eq!(code(api.get("shop").await), 503);
    assert!(tokio::time::timeout(Duration::from_hours(1), api.get("shop")).await.is_err());
    assert_eq!(code(api.get("shop").await), 404);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_sent_arrives_though_its_sender_is_gone() {
    let server = server();
    let api = faulty(&server, vec![Fate::Pass { delay: SECOND }]);
    let shop: Deployment = typed(deployment("shop"));
    let sent = tokio::time::timeout(SECOND / 2, api.create(&PostParams::default(), &shop)).await;
    assert!(sent.is_err() && server.get("deployments", "n", "shop").is_none());
    tokio::time::sleep(SECOND).await;
    assert!(server.get("deployments", "n", "shop").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_answers_with_yesterday() {
    let server = server();
    let then = server.version();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let hooks = Arc::new(Fates(Mutex::default(), Some(then)));
    let api: Api<Deployment> = Api::namespaced(Wire::new(server.clone(), "alice", hooks).client("n"), "n");
    assert_eq!(code(api.get("shop").await), 404);
    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!((list.items.len(), list.metadata.resource_version), (0, Some(then.to_string())));
    let change = Patch::Merge(json!({"spec": {"paused": true}}));
    api.patch("shop", &PatchParams::default(), &change).await.unwrap();
}
