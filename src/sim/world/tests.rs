//! What the controllers do, as claims; `sim::conformance` holds their ends against those of real ones.
use super::*;

const SET: &str = "replicasets";

/// A world with one Deployment of this spec.
async fn world(spec: Value) -> World {
    let base: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let begun = Instant::now();
    let server = Server::new(Arc::new(move || base + jiff::SignedDuration::try_from(begun.elapsed()).unwrap()));
    let mut world = World::new(server, base, 1, Weather::default());
    let admin = world.hand("admin");
    admin.create("namespaces", "", json!({"metadata": {"name": NAMESPACE}})).unwrap();
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "app:v1"}]}});
    let mut whole = json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    json_patch::merge(&mut whole, &spec);
    admin
        .create(
            "deployments",
            NAMESPACE,
            json!({"metadata": {"name": "web", "annotations": {"note": "a"}}, "spec": whole}),
        )
        .unwrap();
    pass(&mut world).await;
    world
}

async fn pass(world: &mut World) {
    let end = world.now() + 30_000;
    world.live_until(end).await;
}

async fn change(world: &mut World, change: Value) {
    let deployment = world.server.get("deployments", NAMESPACE, "web").unwrap();
    world.hand("jane").merge("deployments", &deployment, change).unwrap();
    pass(world).await;
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
}

/// Sizes of the ReplicaSets by their images.
fn sizes(world: &World) -> BTreeMap<String, i64> {
    let sets = world.server.list(SET, NAMESPACE);
    sets.iter().map(|set| (pods::image_of(set).to_owned(), set.number("/spec/replicas"))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_recreated_has_no_new_pod_beside_an_old_one() {
    let mut world = world(json!({"strategy": {"type": "Recreate"}})).await;
    change(&mut world, image("app:v2-never")).await;
    assert_eq!(sizes(&world), BTreeMap::from([("app:v1".to_owned(), 0), ("app:v2-never".to_owned(), 3)]));
    let images = |pod: &Value| pods::image_of(pod).to_owned();
    let together = world.server.commits(0).iter().any(|commit| {
        let then = world.server.list_at("pods", NAMESPACE, commit.rv);
        let all: BTreeSet<_> = then.iter().map(|pod| images(pod)).collect();
        all.len() > 1
    });
    assert!(!together, "pods of both versions at one time");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_says_its_revision_and_its_newest_set_says_its_annotations() {
    let mut world = world(json!({})).await;
    change(&mut world, image("app:v2")).await;
    let deployment = world.server.get("deployments", NAMESPACE, "web").unwrap();
    let revision = &deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    assert_eq!((revision.as_str(), deployment.number("/metadata/generation")), (Some("2"), 2));
    let sets = world.server.list(SET, NAMESPACE);
    assert!(sets.iter().all(|set| set["metadata"]["annotations"]["note"] == "a"));
    change(&mut world, json!({"metadata": {"annotations": {"note": "b"}}})).await;
    let sets = world.server.list(SET, NAMESPACE);
    let newest = sets.iter().find(|set| pods::image_of(set) == "app:v2").unwrap();
    assert_eq!(newest["metadata"]["annotations"]["note"], "b");
}
