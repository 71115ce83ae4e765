//! What a real server was seen to do where this one once did something else.
use super::*;
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;

/// Sends a request over HTTP; the code, and the body.
fn sent(server: &Server, method: &str, path: &str, content: &str, body: &Value) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Wire::new(server.clone(), "jane", Arc::new(Calm)).client("n");
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let answer = client.send(request.body(Body::from(body.to_string().into_bytes())).unwrap()).await.unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    })
}

const APPLY: &str = "application/apply-patch+yaml";
const MAPS: &str = "/api/v1/namespaces/n/configmaps";

#[test]
fn an_apply_that_creates_answers_201_and_who_applies_says_who_they_are() {
    let server = server();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}});
    assert_eq!(sent(&server, "PATCH", &format!("{MAPS}/a?fieldManager=git"), APPLY, &map).0, 201);
    assert_eq!(sent(&server, "PATCH", &format!("{MAPS}/a?fieldManager=git"), APPLY, &map).0, 200);
    let (code, refused) = sent(&server, "PATCH", &format!("{MAPS}/a"), APPLY, &map);
    assert_eq!((code, refused["details"]["causes"][0]["field"].as_str()), (422, Some("fieldManager")));
}

#[test]
fn over_http_an_object_of_a_custom_kind_says_what_it_is() {
    let server = server();
    let path = "/apis/bellwether.dev/v1alpha1/namespaces/n/rollouts";
    let mut object = rollout("r");
    assert_eq!(sent(&server, "POST", path, "application/json", &object).0, 400);
    object["kind"] = json!("Rollout");
    object["apiVersion"] = json!("bellwether.dev/v1alpha1");
    assert_eq!(sent(&server, "POST", path, "application/json", &object).0, 201);
}

#[test]
fn a_strategic_patch_of_a_custom_kind_is_refused_whether_it_is_there_or_not() {
    let server = server();
    let patch = server.patch("jane", PatchType::Strategic, ("rollouts", ""), ("n", "absent"), json!({}));
    assert_eq!(why(patch).0, 415);
}

#[test]
fn a_lease_is_created_by_a_replacement_and_a_map_is_not() {
    let server = server();
    server.replace("jane", "leases", "n", json!({"metadata": {"name": "a"}, "spec": {}})).unwrap();
    assert_eq!(why(server.replace("jane", "configmaps", "n", config_map("a"))).0, 404);
}

#[test]
fn owners_and_revisions_are_managed_whole_and_what_is_always_there_is_nobodys() {
    let server = server();
    let fields = |object: &Value| object["metadata"]["managedFields"][0]["fieldsV1"].clone();
    let bare = server.create("jane", "configmaps", "n", json!({"metadata": {"name": "bare"}})).unwrap();
    assert_eq!(bare["metadata"].get("managedFields"), None);
    let mut owned = config_map("owned");
    owned["metadata"]["ownerReferences"] = json!([owner_of(&bare)]);
    let owned = server.create("jane", "configmaps", "n", owned).unwrap();
    let key = format!("k:{}", json!({"uid": bare.uid()}));
    assert_eq!(fields(&owned)["f:metadata"]["f:ownerReferences"][key], json!({}));
    let revision = json!({"metadata": {"name": "r"}, "revision": 1, "data": {"a": 1}});
    assert_eq!(fields(&server.create("jane", "controllerrevisions", "n", revision).unwrap())["f:data"], json!({}));
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let service = fields(&server.create("jane", "services", "n", service).unwrap());
    assert_eq!((service["f:spec"].get("."), service["f:spec"].get("f:clusterIP")), (None, None));
    let set = fields(&server.create("jane", "deployments", "n", deployment("d")).unwrap());
    assert_eq!(set["f:spec"]["f:template"]["f:spec"]["f:containers"].get("."), None);
}

#[test]
fn version_0_is_no_version_and_what_is_no_number_is_a_bad_request() {
    let server = server();
    let mut map = config_map("a");
    map["metadata"]["resourceVersion"] = json!("0");
    server.create("jane", "configmaps", "n", map).unwrap();
    let mut list = server.call(Method::List, "configmaps", "n", None);
    list.options.version = Some("x".to_owned());
    assert_eq!(why(server.request("jane", list)), (400, "BadRequest".to_owned()));
    let mut list = server.call(Method::List, "configmaps", "n", None);
    list.options.labels = Some("tier in one".to_owned());
    assert_eq!(why(server.request("jane", list)).0, 400);
}

#[test]
fn what_small_kinds_may_not_say_is_refused() {
    let server = server();
    let create = |kind: &str, object: Value| why(server.create("jane", kind, "n", object)).0;
    assert_eq!(create("configmaps", json!({"metadata": {"name": "a"}, "data": {"no good": "x"}})), 422);
    assert_eq!(create("pods", json!({"metadata": {"name": "a"}, "spec": {"containers": []}})), 422);
    assert_eq!(create("leases", json!({"metadata": {"name": "a"}, "spec": {"leaseTransitions": -1}})), 422);
    assert_eq!(create("leases", json!({"metadata": {"name": "a"}, "spec": {"leaseDurationSeconds": 0}})), 422);
    let sideways = server.delete("jane", "configmaps", "n", "absent", deleting("Sideways"));
    assert_eq!(why(sideways), (422, "Invalid".to_owned()));
}
