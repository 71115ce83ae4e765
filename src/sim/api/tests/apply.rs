//! Server-side apply, and who manages what.
use super::*;

fn managers(object: &Value) -> Vec<(String, String)> {
    let all = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    all.map(|entry| (entry.text("manager").to_owned(), entry.text("operation").to_owned())).collect()
}

fn fields<'a>(object: &'a Value, manager: &str, operation: &str) -> &'a Value {
    let all = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let mut mine = all.filter(|entry| entry["manager"] == manager && entry["operation"] == operation);
    &mine.next().unwrap()["fieldsV1"]
}

#[test]
fn an_apply_makes_the_object_and_owns_what_it_says() {
    let server = server();
    let made = server.apply("argo", ("argocd", false), "deployments", "n", deployment("shop")).unwrap();
    assert_eq!(managers(&made), [("argocd".to_owned(), "Apply".to_owned())]);
    let held = fields(&made, "argocd", "Apply");
    assert_eq!(held["f:metadata"], json!({"f:labels": {"f:app": {}}}));
    assert_eq!(held["f:spec"]["f:selector"], json!({}), "a selector is one value");
    let container = &held["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"app\"}"];
    assert_eq!(container["f:image"], json!({}));
    assert_eq!(container.get("f:imagePullPolicy"), None, "what the server fills in belongs to nobody");
    assert_eq!(container["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"]["f:containerPort"], json!({}));
    let commits = server.commit_count();
    let again = server.apply("argo", ("argocd", false), "deployments", "n", deployment("shop")).unwrap();
    assert_eq!((again, server.commit_count()), (made, commits), "nothing new");
}

#[test]
fn what_is_no_longer_applied_goes_unless_another_holds_it() {
    let server = server();
    let mut wanted = deployment("shop");
    wanted["metadata"]["labels"]["mine"] = json!("1");
    wanted["metadata"]["labels"]["shared"] = json!("1");
    wanted["spec"]["replicas"] = json!(5);
    wanted["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "side", "image": "side:1"}));
    server.apply("argo", ("argocd", false), "deployments", "n", wanted).unwrap();
    let other = json!({"metadata": {"name": "shop", "labels": {"shared": "1"}}});
    server.apply("bob", ("bob", false), "deployments", "n", other).unwrap();
    let after = server.apply("argo", ("argocd", false), "deployments", "n", deployment("shop")).unwrap();
    assert_eq!(after["metadata"]["labels"], json!({"app": "shop", "shared": "1"}));
    assert_eq!(after["spec"]["replicas"], 1, "the server fills in what nobody says");
    assert_eq!(after["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1);
}

#[test]
fn what_another_holds_is_a_conflict_until_it_is_forced() {
    let server = server();
    let mut wanted = deployment("shop");
    wanted["spec"]["replicas"] = json!(3);
    server.apply("argo", ("argocd", false), "deployments", "n", wanted.clone()).unwrap();
    let mut call = server.call(Method::Patch(PatchType::Merge), "deployments", "n", Some("shop"));
    call.options.manager = Some("kubectl-edit".to_owned());
    let edited = server.request("bob", call.with_body(json!({"spec": {"replicas": 7}}))).unwrap();
    assert_eq!(fields(&edited, "kubectl-edit", "Update"), &json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields(&edited, "argocd", "Apply")["f:spec"].get("f:replicas"), None, "an update takes what it changes");
    let refused = server.apply("argo", ("argocd", false), "deployments", "n", wanted.clone()).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using apps/v1 at 2026-09-21T14:13:20Z: .spec.replicas"
    );
    assert_eq!(refused.details.unwrap()["causes"][0]["field"], ".spec.replicas");
    let forced = server.apply("argo", ("argocd", true), "deployments", "n", wanted.clone()).unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
    assert_eq!(managers(&forced), [("argocd".to_owned(), "Apply".to_owned())]);
    let refused = server.apply("bob", ("flux", false), "deployments", "n", {
        wanted["spec"]["replicas"] = json!(4);
        wanted["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop:2");
        wanted
    });
    assert_eq!(
        refused.unwrap_err().message,
        "Apply failed with 2 conflicts: conflicts with \"argocd\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"app\"].image"
    );
}

#[test]
fn rules_of_a_route_are_one_value() {
    let server = server();
    let route = |weight: u64| json!({"metadata": {"name": "r"}, "spec": {"rules": [{"backendRefs": [{"name": "s", "port": 80, "weight": weight}]}]}});
    server.apply("argo", ("argocd", false), "httproutes", "n", route(1)).unwrap();
    let change = json!([{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 9}]);
    let steered = server.json_patch("op", "httproutes", "n", "r", change).unwrap();
    assert_eq!(fields(&steered, "op", "Update"), &json!({"f:spec": {"f:rules": {}}}));
    let refused = server.apply("argo", ("argocd", false), "httproutes", "n", route(1)).unwrap_err();
    assert!(refused.message.ends_with(": .spec.rules"), "{refused}");
    let forced = server.apply("argo", ("argocd", true), "httproutes", "n", route(1)).unwrap();
    assert_eq!(forced["spec"]["rules"][0]["backendRefs"][0]["weight"], 1);
    assert_eq!(forced["spec"]["rules"][0]["matches"][0]["path"]["value"], "/");
}

#[test]
fn labels_of_another_survive_an_apply() {
    let server = server();
    server.apply("argo", ("argocd", false), "deployments", "n", deployment("shop")).unwrap();
    server
        .merge("op", "deployments", "n", "shop", json!({"metadata": {"labels": {"bellwether.dev/rollout": "shop"}}}))
        .unwrap();
    let mut next = deployment("shop");
    next["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop:2");
    let next = server.apply("argo", ("argocd", false), "deployments", "n", next).unwrap();
    assert_eq!(next["metadata"]["labels"]["bellwether.dev/rollout"], "shop");
    assert_eq!(next["metadata"]["generation"], 2);
}

#[test]
fn status_is_applied_and_noted_apart() {
    let server = server();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let condition = |kind: &str| json!([{"type": kind, "status": "True"}]);
    let apply = |manager: &str, kind: &str| {
        let call = server.call(Method::Patch(PatchType::Apply), "deployments", "n", Some("shop")).of("status");
        let mut call = call.with_body(json!({"metadata": {"name": "shop"}, "status": {"conditions": condition(kind)}}));
        call.options.manager = Some(manager.to_owned());
        server.request("kcm", call).unwrap()
    };
    apply("one", "A");
    let both = apply("two", "B");
    assert_eq!(both["status"]["conditions"].as_array().unwrap().len(), 2, "each has its own");
    let entry = both["metadata"]["managedFields"].as_array().unwrap().iter().find(|entry| entry["manager"] == "two");
    assert_eq!(entry.unwrap()["subresource"], "status");
}

#[test]
fn an_apply_needs_a_manager_and_no_list_of_them() {
    let server = server();
    let call =
        server.call(Method::Patch(PatchType::Apply), "deployments", "n", Some("shop")).with_body(deployment("shop"));
    assert_eq!(why(server.request("argo", call)).0, 422);
    server.deny("argo", "create", "deployments");
    assert_eq!(why(server.apply("argo", ("argocd", false), "deployments", "n", deployment("shop"))).0, 403);
    let made = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    assert_eq!(managers(&made), [("alice".to_owned(), "Update".to_owned())]);
    assert_eq!(why(server.apply("argo", ("argocd", false), "deployments", "n", made)).0, 400);
}

#[test]
fn order_of_a_list_is_the_appliers() {
    let server = server();
    let with = |names: &[&str]| {
        let mut wanted = deployment("shop");
        let containers: Vec<_> = names.iter().map(|name| json!({"name": name, "image": "x:1"})).collect();
        wanted["spec"]["template"]["spec"]["containers"] = json!(containers);
        let made = server.apply("argo", ("argocd", false), "deployments", "n", wanted).unwrap();
        let all = made["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
        all.iter().map(|container| container.text("name").to_owned()).collect::<String>()
    };
    assert_eq!(with(&["a", "b"]), "ab");
    assert_eq!(with(&["b", "a"]), "ba");
    assert_eq!(with(&["c", "b"]), "cb");
}
