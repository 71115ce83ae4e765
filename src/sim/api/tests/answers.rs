//! Answers to careless requests, and who is noted for what, each as a real server was seen to answer.
use super::*;

/// Sends a request about an object of the namespace `n`.
fn ask(server: &Server, method: Method, (kind, part): (&str, &str), name: &str, body: Value) -> Result<Value, Status> {
    let mut call = server.call(method, kind, "n", Some(name)).of(part).with_body(body);
    call.options.manager = Some("one".to_owned());
    server.request("alice", call)
}

const APPLY: Method = Method::Patch(PatchType::Apply);
const MERGE: Method = Method::Patch(PatchType::Merge);

fn managers(object: &Value) -> Vec<&str> {
    let all = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    all.map(|entry| entry["manager"].as_str().unwrap()).collect()
}

#[test]
fn a_body_is_read_before_its_object_is_looked_for_and_a_patch_after() {
    let server = server();
    let other = json!({"kind": "Another", "metadata": {"name": "a"}});
    assert_eq!(why(ask(&server, Method::Update, ("configmaps", ""), "a", other.clone())).0, 400);
    assert_eq!(why(ask(&server, MERGE, ("configmaps", ""), "a", other.clone())).0, 404);
    let of_status = json!({"metadata": {"name": "another"}, "status": {}});
    assert_eq!(why(ask(&server, APPLY, ("pods", "status"), "a", of_status)).0, 404);
    server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    let refused = ask(&server, MERGE, ("configmaps", ""), "a", json!({"kind": "Another"})).unwrap_err();
    assert_eq!((refused.code, &refused.details.unwrap()["causes"][0]["field"]), (422, &json!("patch")));
    let strategic = Method::Patch(PatchType::Strategic);
    assert_eq!(ask(&server, strategic, ("configmaps", ""), "a", other).unwrap()["kind"], "ConfigMap");
}

#[test]
fn a_custom_object_that_says_to_be_another_kind_is_invalid_under_that_name() {
    let server = server();
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    let refused = ask(&server, MERGE, ("rollouts", ""), "shop", json!({"kind": "Another"})).unwrap_err();
    let details = refused.details.unwrap();
    assert_eq!(details["kind"], "Another");
    assert_eq!(details["causes"][0]["field"], "kind");
    let refused = ask(&server, MERGE, ("rollouts", ""), "shop", json!({"apiVersion": "v9"})).unwrap_err();
    let details = refused.details.unwrap();
    assert_eq!(details["group"], Value::Null);
    assert_eq!(details["causes"][0]["field"], "apiVersion");
    let refused = ask(&server, MERGE, ("alertreceivers", "status"), "x", json!({})).unwrap_err();
    assert_eq!(refused.message, "alertreceivers.bellwether.dev \"x\" not found");
}

#[test]
fn what_is_applied_is_checked_in_this_order() {
    let server = server();
    server.create("bob", "rollouts", "n", rollout("shop")).unwrap();
    let apply = |body: Value| {
        let refused = ask(&server, APPLY, ("rollouts", ""), "shop", body).unwrap_err();
        (refused.code, refused.reason)
    };
    let mut body = rollout("shop");
    body["spec"]["steps"] = json!([{"name": "a", "weight": "5", "unknown": 1}]);
    body["metadata"]["name"] = json!("another");
    body["metadata"]["managedFields"] = json!([]);
    body["kind"] = json!("Another");
    assert_eq!(apply(body.clone()), (400, "BadRequest".to_owned()));
    body["kind"] = json!("Rollout");
    assert_eq!(apply(body.clone()), (400, "BadRequest".to_owned()));
    body["metadata"]["managedFields"] = Value::Null;
    assert_eq!(apply(body.clone()), (500, String::new()), "types come before conflicts");
    body["spec"]["steps"] = json!([{"name": "a", "weight": 7, "observe": "1m"}]);
    assert_eq!(apply(body.clone()), (409, "Conflict".to_owned()), "and conflicts before names");
    body["spec"] = json!({"onDelete": "Continue"});
    assert_eq!(apply(body.clone()).0, 409);
    body["spec"] = json!({"scaleDownDelay": "2m"});
    assert_eq!(apply(body).0, 409);
    assert_eq!(apply(json!({"metadata": {"name": "another"}})), (400, "BadRequest".to_owned()));
    let of_pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "another"}});
    let owner = server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    server.create("alice", "pods", "n", pod("p", &owner)).unwrap();
    assert_eq!(why(ask(&server, APPLY, ("pods", ""), "p", of_pod)).0, 400);
    let twice = json!([owner_of(&owner), owner_of(&owner)]);
    let twice = json!({"metadata": {"name": "a", "ownerReferences": twice}});
    assert_eq!(why(ask(&server, APPLY, ("configmaps", ""), "a", twice)).0, 500);
    let nameless = json!({"spec": {"onDelete": "Continue"}});
    assert_eq!(why(ask(&server, APPLY, ("rollouts", ""), "new", nameless)).0, 400);
}

#[test]
fn who_gives_up_all_of_the_metadata_does_not_give_up_the_name() {
    let server = server();
    let mine = json!({"metadata": {"name": "a", "labels": {"tier": "one"}}, "data": {"a": "1"}});
    ask(&server, APPLY, ("configmaps", ""), "a", mine).unwrap();
    let less = json!({"metadata": {"name": "a"}, "data": {"a": "1"}});
    let left = ask(&server, APPLY, ("configmaps", ""), "a", less).unwrap();
    assert_eq!((left.name(), &left["metadata"]["labels"]), ("a", &Value::Null));
    let mine = json!({"metadata": {"name": "a", "labels": {"tier": "one"}}});
    ask(&server, APPLY, ("configmaps", ""), "a", mine).unwrap();
    let other = json!({"metadata": {"name": "another"}});
    assert_eq!(why(ask(&server, APPLY, ("configmaps", ""), "a", other)).0, 400);
}

#[test]
fn a_version_that_is_no_number_is_an_error_of_the_servers_own_but_not_of_a_new_object() {
    let server = server();
    let mut odd = config_map("a");
    odd["metadata"]["resourceVersion"] = json!("x");
    server.create("alice", "configmaps", "n", odd.clone()).unwrap();
    assert_eq!(why(ask(&server, Method::Update, ("configmaps", ""), "a", odd.clone())), (500, String::new()));
    assert_eq!(why(ask(&server, MERGE, ("configmaps", ""), "a", odd)), (500, String::new()));
    let numbered = json!({"metadata": {"name": "b", "resourceVersion": "77"}});
    assert_eq!(why(server.create("alice", "configmaps", "n", numbered.clone())), (500, String::new()));
    ask(&server, APPLY, ("configmaps", ""), "b", numbered).unwrap();
}

#[test]
fn who_resets_the_managers_leaves_an_object_that_nobody_manages_until_somebody_applies() {
    let server = server();
    server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    let reset = json!({"metadata": {"managedFields": [{}]}, "data": {"b": "1"}});
    let reset = ask(&server, MERGE, ("configmaps", ""), "a", reset).unwrap();
    assert!(managers(&reset).is_empty());
    let changed = ask(&server, MERGE, ("configmaps", ""), "a", json!({"data": {"c": "1"}})).unwrap();
    assert!(managers(&changed).is_empty());
    let mine = json!({"metadata": {"name": "a"}, "data": {"d": "1"}});
    let applied = ask(&server, APPLY, ("configmaps", ""), "a", mine).unwrap();
    assert_eq!(managers(&applied), ["one", "before-first-apply"]);
    let theirs = json!({"metadata": {"name": "a"}, "data": {"a": "2"}});
    let refused = ask(&server, APPLY, ("configmaps", ""), "a", theirs).unwrap_err();
    assert!(refused.message.contains("conflict with \"before-first-apply\" using v1"), "{}", refused.message);
}

#[test]
fn an_operation_replaces_a_member_that_is_not_there_but_not_one_of_nothing() {
    let server = server();
    server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    let replace = |path: &str| json!([{"op": "replace", "path": path, "value": "x"}]);
    let changed = server.json_patch("alice", "configmaps", "n", "a", replace("/data/new")).unwrap();
    assert_eq!(changed["data"]["new"], "x");
    assert_eq!(why(server.json_patch("alice", "configmaps", "n", "a", replace("/metadata/labels/tier"))).0, 422);
}

#[test]
fn of_a_pod_that_is_there_only_images_change_and_by_its_status_its_metadata() {
    let server = server();
    let owner = server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    server.create("alice", "pods", "n", pod("p", &owner)).unwrap();
    let refused = ask(&server, MERGE, ("pods", ""), "p", json!({"spec": {"nodeName": "two"}})).unwrap_err();
    assert_eq!((refused.code, &refused.details.unwrap()["causes"][0]["field"]), (422, &json!("spec")));
    let image = json!({"spec": {"containers": [{"name": "app", "image": "shop:2"}]}});
    let strategic = Method::Patch(PatchType::Strategic);
    ask(&server, strategic, ("pods", ""), "p", image).unwrap();
    let unnamed = json!({"spec": {"containers": [{"image": "shop:2"}]}});
    assert_eq!(why(ask(&server, strategic, ("pods", ""), "p", unnamed)).0, 500);
    let change = json!({"metadata": {"labels": {"tier": "one"}, "ownerReferences": null}, "spec": {"nodeName": "two"}});
    let changed = ask(&server, MERGE, ("pods", "status"), "p", change).unwrap();
    assert_eq!(changed["metadata"]["labels"]["tier"], "one");
    assert_eq!(changed["spec"]["nodeName"], "one");
    assert_eq!(changed.owners().len(), 1);
}

#[test]
fn a_service_has_a_known_type_and_an_address_of_the_cluster() {
    let server = server();
    let service = |spec: Value| {
        let mut service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
        service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        server.create("alice", "services", "n", service)
    };
    let field = |refused: Status| refused.details.unwrap()["causes"][0]["field"].clone();
    assert_eq!(field(service(json!({"type": "NodePorts"})).unwrap_err()), "spec.type");
    assert_eq!(field(service(json!({"clusterIP": "10.11.12.13"})).unwrap_err()), "spec.clusterIPs");
    let made = service(json!({"sessionAffinity": "ClientIP"})).unwrap();
    assert_eq!(made["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10_800);
    let gone = server.delete("alice", "services", "n", "s", Options::default()).unwrap();
    assert_eq!(gone.version(), server.version().to_string(), "it is told with the version at which it went");
}

#[test]
fn a_list_of_any_version_has_no_pages() {
    let server = server();
    for name in ["a", "b"] {
        server.create("alice", "configmaps", "n", config_map(name)).unwrap();
    }
    let mut call = server.call(Method::List, "configmaps", "n", None);
    call.options.limit = Some(1);
    assert_eq!(server.request("alice", call.clone()).unwrap()["items"].as_array().unwrap().len(), 1);
    call.options.version = Some("0".to_owned());
    let all = server.request("alice", call).unwrap();
    assert_eq!((all["items"].as_array().unwrap().len(), &all["metadata"]["continue"]), (2, &Value::Null));
}

#[test]
fn a_full_page_says_that_there_may_be_more_without_looking() {
    let server = server();
    for name in ["a", "b"] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"tier": name});
        server.create("alice", "configmaps", "n", object).unwrap();
    }
    let page = |labels: &str| {
        let mut call = server.call(Method::List, "configmaps", "n", None);
        call.options.limit = Some(1);
        call.options.labels = Some(labels.to_owned());
        server.request("alice", call).unwrap()["metadata"]["continue"].is_string()
    };
    assert!(page("tier=a"));
    assert!(!page("tier=b"));
    let gone = server.request("alice", server.call(Method::DeleteCollection, "configmaps", "n", None)).unwrap();
    assert_eq!(gone["items"][0]["kind"], Value::Null, "a list says it once");
}

#[test]
fn a_conflict_names_the_fields_of_a_level_before_those_below() {
    let server = server();
    let webhook = json!({"url": "https://alerts.example.com", "timeout": "5s", "secretRef": {"name": "s", "key": "k"}});
    let receiver = json!({"metadata": {"name": "a"}, "spec": {"webhook": webhook}});
    server.create("bob", "alertreceivers", "n", receiver).unwrap();
    let mine = json!({"metadata": {"name": "a"}, "spec": {"webhook": {"timeout": "2s", "secretRef": {"name": "t"}}}});
    let refused = ask(&server, APPLY, ("alertreceivers", ""), "a", mine).unwrap_err();
    let (first, second) = (".spec.webhook.timeout", ".spec.webhook.secretRef.name");
    assert!(refused.message.find(first) < refused.message.find(second), "{}", refused.message);
    assert!(refused.message.contains(first));
}
