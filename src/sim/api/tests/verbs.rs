//! Create, read, replace, patch and delete, and what is refused.
use super::*;

#[test]
fn a_new_object_has_a_uid_a_version_a_time_and_defaults() {
    let server = server();
    let made = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    assert_eq!((made.text("kind"), made.text("apiVersion")), ("Deployment", "apps/v1"));
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-09-21T14:13:20Z");
    assert!(made.uid().starts_with("00000000-0000-4000-8000-"));
    assert_eq!(made.version(), server.version().to_string());
    let spec = &made["spec"];
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxSurge": "25%", "maxUnavailable": "25%"}));
    let pod = &spec["template"]["spec"];
    assert_eq!((pod.text("restartPolicy"), pod.text("schedulerName")), ("Always", "default-scheduler"));
    assert_eq!(pod["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(pod["containers"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(server.get("deployments", "n", "shop").unwrap().as_ref(), &made);
}

#[test]
fn a_service_gets_an_address_of_its_own_and_keeps_it() {
    let server = server();
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    let one = server.create("alice", "services", "n", service("one")).unwrap();
    let two = server.create("alice", "services", "n", service("two")).unwrap();
    assert_ne!(one["spec"]["clusterIP"], two["spec"]["clusterIP"]);
    assert_eq!(one["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
    let again = server.replace("alice", "services", "n", service("one")).unwrap();
    assert_eq!(again, one, "what is not said stays");
    let moved = json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}});
    assert_eq!(why(server.merge("alice", "services", "n", "one", moved)), (422, "Invalid".to_owned()));
    let portless = json!({"metadata": {"name": "x"}, "spec": {}});
    assert_eq!(why(server.create("alice", "services", "n", portless)).0, 422);
}

#[test]
fn generated_names_differ() {
    let server = server();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut map = config_map("");
        map["metadata"] = json!({"generateName": "map-"});
        let made = server.create("alice", "configmaps", "n", map).unwrap();
        assert_eq!(made.name().len(), "map-".len() + 5);
        names.insert(made.name().to_owned());
    }
    assert_eq!(names.len(), 100);
}

#[test]
fn refusals_say_what_the_real_server_says() {
    let server = server();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let refused = server.create("alice", "deployments", "n", deployment("shop")).unwrap_err();
    assert_eq!(refused.to_string(), "409 AlreadyExists: deployments.apps \"shop\" already exists");
    let refused = server.read("alice", "deployments", "n", "none").unwrap_err();
    assert_eq!(refused.to_string(), "404 NotFound: deployments.apps \"none\" not found");
    assert_eq!(refused.details.unwrap()["name"], "none");
    let refused = server.create("alice", "deployments", "nowhere", deployment("shop")).unwrap_err();
    assert_eq!(refused.to_string(), "404 NotFound: namespaces \"nowhere\" not found");
    let refused = server.create("alice", "configmaps", "n", config_map("Big")).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert!(refused.message.starts_with(
        "ConfigMap \"Big\" is invalid: metadata.name: Invalid value: \"Big\": a lowercase RFC 1123 subdomain"
    ));
    let call = Call::new(Method::List, "apps/v1", "sheds", Some("n"), None);
    let refused = server.request("alice", call).unwrap_err();
    assert_eq!(refused.to_string(), "404 NotFound: the server could not find the requested resource");
    assert_eq!(refused.details.unwrap(), json!({}));
    let call = Call::new(Method::List, "nobody.dev/v1", "sheds", Some("n"), None);
    assert_eq!(server.request("alice", call).unwrap_err().message, "404 page not found\n");
    server.deny("bob", "patch", "deployments");
    let change = json!({"spec": {"paused": true}});
    let refused = server.merge("bob", "deployments", "n", "shop", change.clone()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "403 Forbidden: deployments.apps \"shop\" is forbidden: User \"bob\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"n\""
    );
    server.allow("bob", "patch", "deployments");
    server.merge("bob", "deployments", "n", "shop", change).unwrap();
}

#[test]
fn a_replacement_of_an_older_version_is_a_conflict() {
    let server = server();
    let one = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let mut two = one.clone();
    two["spec"]["replicas"] = json!(2);
    let two = server.replace("alice", "deployments", "n", two).unwrap();
    assert_eq!(two["metadata"]["generation"], 2);
    let refused = server.replace("alice", "deployments", "n", one.clone()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "409 Conflict: Operation cannot be fulfilled on deployments.apps \"shop\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let mut unconditional = one;
    unconditional["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    server.replace("alice", "deployments", "n", unconditional).unwrap();
    let mut other = two;
    other["metadata"]["uid"] = json!("another");
    let refused = server.replace("alice", "deployments", "n", other).unwrap_err();
    assert!(refused.message.contains("Precondition failed: UID in precondition: another, UID in object meta:"));
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    let refused = server.replace("alice", "rollouts", "n", rollout("shop")).unwrap_err();
    assert_eq!(
        refused.message,
        "rollouts.bellwether.dev \"shop\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
    );
}

#[test]
fn a_write_that_changes_nothing_is_none() {
    let server = server();
    let made = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let commits = server.commit_count();
    assert_eq!(server.replace("bob", "deployments", "n", made.clone()).unwrap(), made);
    assert_eq!(server.merge("bob", "deployments", "n", "shop", json!({"spec": {"replicas": 1}})).unwrap(), made);
    assert_eq!(server.commit_count(), commits);
}

#[test]
fn a_generation_counts_what_was_asked_for() {
    let server = server();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let generation = || server.get("deployments", "n", "shop").unwrap()["metadata"]["generation"].clone();
    server.merge("a", "deployments", "n", "shop", json!({"metadata": {"labels": {"x": "y"}}})).unwrap();
    assert_eq!(generation(), 1);
    server.merge("a", "deployments", "n", "shop", json!({"metadata": {"annotations": {"x": "y"}}})).unwrap();
    assert_eq!(generation(), 2, "a Deployment's annotations go to its ReplicaSets");
    server.merge_status("a", "deployments", "n", "shop", json!({"status": {"replicas": 3}})).unwrap();
    assert_eq!(generation(), 2);
    server.merge("a", "deployments", "n", "shop", json!({"spec": {"paused": true}})).unwrap();
    assert_eq!(generation(), 3);
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    let patched = server.merge("a", "rollouts", "n", "shop", json!({"metadata": {"annotations": {"x": "y"}}}));
    assert_eq!(patched.unwrap()["metadata"]["generation"], 1);
}

#[test]
fn spec_and_status_are_written_apart() {
    let server = server();
    let made = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let mut both = made.clone();
    both["spec"]["replicas"] = json!(5);
    both["metadata"]["labels"]["x"] = json!("y");
    both["status"] = json!({"replicas": 4});
    let status = server.replace_status("kcm", "deployments", "n", both.clone()).unwrap();
    assert_eq!((&status["spec"]["replicas"], &status["status"]), (&json!(1), &json!({"replicas": 4})));
    assert_eq!(status["metadata"]["labels"], json!({"app": "shop"}));
    both["status"] = json!({"replicas": 7});
    both["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    let main = server.replace("alice", "deployments", "n", both.clone()).unwrap();
    assert_eq!((&main["spec"]["replicas"], &main["status"]), (&json!(5), &json!({"replicas": 4})));
    assert_eq!(why(server.replace_status("kcm", "deployments", "n", both)).0, 409, "of an older version");
}

#[test]
fn annotations_of_a_built_in_kind_go_through_with_its_status() {
    let server = server();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let change =
        json!({"metadata": {"labels": {"x": "y"}, "annotations": {"revision": "1"}}, "status": {"replicas": 1}});
    let after = server.merge_status("kcm", "deployments", "n", "shop", change.clone()).unwrap();
    assert_eq!(after["metadata"]["annotations"], json!({"revision": "1"}));
    assert_eq!((&after["metadata"]["labels"], &after["metadata"]["generation"]), (&json!({"app": "shop"}), &json!(1)));
    server.create("alice", "httproutes", "n", json!({"metadata": {"name": "r"}, "spec": {}})).unwrap();
    let after = server.merge_status("kcm", "httproutes", "n", "r", change).unwrap();
    assert_eq!(after["metadata"].get("annotations"), None);
}

#[test]
fn an_event_has_to_say_who_reports_what() {
    let server = server();
    let event = |action: &str, note: &str| {
        json!({
            "metadata": {"name": "shop.1"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": action, "note": note,
            "reportingController": "bellwether.dev/operator", "reportingInstance": "one", "reason": "Held", "type": "Normal",
            "regarding": {"kind": "Rollout", "name": "shop", "namespace": "n"},
        })
    };
    let events = "events.events.k8s.io";
    assert_eq!(why(server.create("op", events, "n", event("", "x"))).0, 422);
    assert_eq!(why(server.create("op", events, "n", event("Held", &"x".repeat(1025)))).0, 422);
    server.create("op", events, "n", event("Held", &"x".repeat(1024))).unwrap();
    assert_eq!((server.list(events, "n").len(), server.list("events", "n").len()), (1, 0));
}

#[test]
fn a_size_is_read_and_written_as_a_scale() {
    let server = server();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let call = server.call(Method::Get, "deployments", "n", Some("shop")).of("scale");
    let mut scale = server.request("hpa", call).unwrap();
    assert_eq!((scale.text("kind"), &scale["spec"]["replicas"]), ("Scale", &json!(1)));
    assert_eq!(scale["status"]["selector"], "app=shop");
    scale["spec"]["replicas"] = json!(7);
    let call = server.call(Method::Update, "deployments", "n", Some("shop")).of("scale");
    assert_eq!(server.request("hpa", call.clone().with_body(scale.clone())).unwrap()["spec"]["replicas"], 7);
    assert_eq!(why(server.request("hpa", call.with_body(scale))).0, 409);
    let to_zero = json!({"spec": {"replicas": 0}});
    let scale = server.patch("hpa", PatchType::Merge, ("deployments", "scale"), ("n", "shop"), to_zero).unwrap();
    assert_eq!(scale["spec"], json!({}));
    let last = server.commits(0).pop().unwrap();
    assert_eq!((last.subresource, last.user.as_str(), last.verb), (Some("scale"), "hpa", Verb::Update));
}

#[test]
fn metadata_that_the_server_owns_stays() {
    let server = server();
    let made = server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert_eq!(why(server.merge("a", "configmaps", "n", "a", ending)).0, 422);
    let older = json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}});
    assert_eq!(server.merge("a", "configmaps", "n", "a", older).unwrap(), made, "what it says of its age is ignored");
    let renamed = json!({"metadata": {"name": "b"}});
    assert_eq!(why(server.merge("a", "configmaps", "n", "a", renamed)).0, 400);
    let of_another = json!({"metadata": {"uid": "x"}, "data": {"a": "2"}});
    assert_eq!(
        server.merge("a", "configmaps", "n", "a", of_another).unwrap_err().message,
        "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable",
        "a patch has no preconditions"
    );
    let of_another = json!({"metadata": {"uid": "x", "resourceVersion": "1"}});
    assert_eq!(why(server.merge("a", "configmaps", "n", "a", of_another)), (409, "Conflict".to_owned()));
    let of_version = |version: &str| json!({"metadata": {"resourceVersion": version}, "data": {"a": "3"}});
    assert_eq!(why(server.merge("a", "configmaps", "n", "a", of_version("1"))).0, 409);
    server.merge("a", "configmaps", "n", "a", of_version(made.version())).unwrap();
}

#[test]
fn at_most_one_owner_controls_and_owners_are_named_in_full() {
    let server = server();
    let owner = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let mut set = replica_set("shop-1", &owner);
    let mut second = owner_of(&owner);
    second["uid"] = json!("other");
    set["metadata"]["ownerReferences"] = json!([owner_of(&owner), second]);
    let refused = server.create("kcm", "replicasets", "n", set.clone()).unwrap_err();
    assert!(refused.message.contains("Only one reference can have Controller set to true"), "{refused}");
    set["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}]);
    assert_eq!(why(server.create("kcm", "replicasets", "n", set)).0, 422);
}

#[test]
fn a_selector_fits_its_template_and_never_changes() {
    let server = server();
    let mut wrong = deployment("shop");
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let refused = server.create("alice", "deployments", "n", wrong).unwrap_err();
    assert!(refused.message.contains("`selector` does not match template `labels`"), "{refused}");
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let change = json!({"spec": {
        "selector": {"matchLabels": {"tier": "x"}}, "template": {"metadata": {"labels": {"tier": "x"}}},
    }});
    let refused = server.merge("alice", "deployments", "n", "shop", change).unwrap_err();
    assert!(refused.message.contains("field is immutable"), "{refused}");
    let negative = json!({"spec": {"replicas": -1}});
    assert_eq!(why(server.merge("alice", "deployments", "n", "shop", negative)).0, 422);
}

#[test]
fn a_kept_template_is_kept_as_it_is() {
    let server = server();
    let kept = json!({"metadata": {"name": "k"}, "revision": 1, "data": {"template": {"spec": {"volumes": [], "tty": false}}}});
    let made = server.create("op", "controllerrevisions", "n", kept.clone()).unwrap();
    assert_eq!(made["data"], kept["data"]);
    let change = json!({"data": {"template": {"spec": {"tty": true}}}});
    assert_eq!(why(server.merge("op", "controllerrevisions", "n", "k", change)).0, 422);
}

#[test]
fn a_label_that_is_too_long_is_refused() {
    let server = server();
    let change = |value: &str| json!({"metadata": {"labels": {"x": value}}});
    server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    server.merge("a", "configmaps", "n", "a", change(&"x".repeat(63))).unwrap();
    assert_eq!(why(server.merge("a", "configmaps", "n", "a", change(&"x".repeat(64)))).0, 422);
    assert_eq!(why(server.merge("a", "configmaps", "n", "a", change("-x"))).0, 422);
}

#[test]
fn operations_are_applied_in_order_and_a_test_that_fails_is_invalid() {
    let server = server();
    server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    let change =
        json!([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "2"}]);
    server.json_patch("a", "configmaps", "n", "a", change.clone()).unwrap();
    let refused = server.json_patch("a", "configmaps", "n", "a", change).unwrap_err();
    assert_eq!(refused.to_string(), "422 Invalid: the server rejected our request due to an error in our request");
    assert_eq!(server.get("configmaps", "n", "a").unwrap()["data"], json!({"a": "2"}));
    let call = server.call(Method::Patch(PatchType::Strategic), "rollouts", "n", Some("a"));
    server.create("alice", "rollouts", "n", rollout("a")).unwrap();
    assert_eq!(why(server.request("a", call.with_body(json!({})))).0, 415);
}

#[test]
fn a_strategic_merge_knows_lists_by_their_keys() {
    let server = server();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let patch = |change: Value| {
        let call = server.call(Method::Patch(PatchType::Strategic), "deployments", "n", Some("shop"));
        server.request("alice", call.with_body(change)).unwrap()["spec"]["template"]["spec"]["containers"].clone()
    };
    let containers = |items: Value| json!({"spec": {"template": {"spec": {"containers": items}}}});
    let all = patch(containers(json!([{"name": "app", "image": "shop:2"}, {"name": "side", "image": "side:1"}])));
    assert_eq!((&all[0]["image"], &all[0]["ports"][0]["containerPort"]), (&json!("shop:2"), &json!(80)));
    assert_eq!((all.as_array().unwrap().len(), &all[1]["name"]), (2, &json!("side")));
    let all = patch(containers(json!([{"name": "app", "$patch": "delete"}])));
    assert_eq!((all.as_array().unwrap().len(), &all[0]["name"]), (1, &json!("side")));
}

#[test]
fn a_dry_run_is_everything_but_done() {
    let server = server();
    let commits = server.commit_count();
    let mut call = server.call(Method::Create, "deployments", "n", None).with_body(deployment("shop"));
    call.options.dry_run = true;
    let made = server.request("alice", call.clone()).unwrap();
    assert_eq!((made["spec"]["replicas"].as_i64(), made.version()), (Some(1), ""));
    assert_eq!(server.commit_count(), commits);
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    assert_eq!(why(server.request("alice", call)).0, 409);
    let call = server.call(Method::Delete, "deployments", "n", Some("shop"));
    let dry = Options { dry_run: true, ..Options::default() };
    server.request("alice", Call { options: dry, ..call }).unwrap();
    assert!(server.get("deployments", "n", "shop").is_some());
}

#[test]
fn a_deletion_holds_to_its_preconditions() {
    let server = server();
    let made = server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    let of_uid = |uid: &str| Options { uid: Some(uid.to_owned()), ..Options::default() };
    let refused = server.delete("a", "configmaps", "n", "a", of_uid("x")).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert!(refused.message.starts_with(
        "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (x) does not match"
    ));
    let of_version = Options { at_version: Some("1".to_owned()), ..Options::default() };
    assert_eq!(why(server.delete("a", "configmaps", "n", "a", of_version)).0, 409);
    let gone = server.delete("a", "configmaps", "n", "a", of_uid(made.uid())).unwrap();
    assert_eq!((gone.text("kind"), gone.text("status")), ("Status", "Success"));
    assert_eq!(why(server.delete("a", "configmaps", "n", "a", Options::default())).0, 404);
}

#[test]
fn finalizers_keep_an_object_until_the_last_is_gone() {
    let server = server();
    let mut made = rollout("shop");
    made["metadata"]["finalizers"] = json!(["bellwether.dev/hand-back"]);
    server.create("alice", "rollouts", "n", made).unwrap();
    let ending = server.delete("alice", "rollouts", "n", "shop", deleting("Background")).unwrap();
    assert!(ending.is_ending());
    assert_eq!(
        (&ending["metadata"]["generation"], &ending["metadata"]["deletionGracePeriodSeconds"]),
        (&json!(2), &json!(0))
    );
    let commits = server.commit_count();
    server.delete("alice", "rollouts", "n", "shop", Options::default()).unwrap();
    assert_eq!(server.commit_count(), commits, "a second deletion changes nothing");
    let more = json!({"metadata": {"finalizers": ["bellwether.dev/hand-back", "x/y"]}});
    assert!(
        server
            .merge("a", "rollouts", "n", "shop", more)
            .unwrap_err()
            .message
            .contains("no new finalizers can be added")
    );
    server.merge("op", "rollouts", "n", "shop", json!({"metadata": {"finalizers": null}})).unwrap();
    assert!(server.get("rollouts", "n", "shop").is_none());
    let last = server.commits(0).pop().unwrap();
    assert_eq!((last.verb, last.user.as_str()), (Verb::Delete, "op"));
}

#[test]
fn a_pod_that_runs_ends_when_its_kubelet_says_so() {
    let server = server();
    let set = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    server.create("kcm", "pods", "n", pod("p", &set)).unwrap();
    let ending = server.delete("kcm", "pods", "n", "p", Options::default()).unwrap();
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(ending["metadata"]["deletionTimestamp"], "2026-09-21T14:13:50Z");
    let now = Options { grace_seconds: Some(0), ..Options::default() };
    let again = Options { grace_seconds: Some(60), ..Options::default() };
    assert_eq!(server.delete("kcm", "pods", "n", "p", again).unwrap(), ending, "it may only go sooner");
    assert!(
        server.create("kcm", "pods", "n", pod("p", &set)).unwrap_err().message.starts_with("object is being deleted: ")
    );
    server.delete("kubelet", "pods", "n", "p", now).unwrap();
    assert!(server.get("pods", "n", "p").is_none());
    let last: Vec<_> = server.commits(server.commit_count() - 2).into_iter().map(|commit| commit.verb).collect();
    assert_eq!(last, [Verb::Update, Verb::Delete]);
    let mut unscheduled = pod("q", &set);
    unscheduled["spec"].as_object_mut().unwrap().remove("nodeName");
    server.create("kcm", "pods", "n", unscheduled).unwrap();
    server.delete("kcm", "pods", "n", "q", Options::default()).unwrap();
    assert!(server.get("pods", "n", "q").is_none());
}

#[test]
fn a_list_comes_in_pages_of_one_version() {
    let server = server();
    for at in 0..5 {
        server.create("alice", "configmaps", "n", config_map(&format!("m{at}"))).unwrap();
    }
    let mut call = server.call(Method::List, "configmaps", "n", None);
    call.options.limit = Some(2);
    let one = server.request("a", call.clone()).unwrap();
    assert_eq!((one["items"].as_array().unwrap().len(), &one["metadata"]["remainingItemCount"]), (2, &json!(3)));
    assert_eq!(one.text("kind"), "ConfigMapList");
    assert_eq!(one["items"][0].get("kind"), None, "items of a built-in kind do not say it");
    server.delete("a", "configmaps", "n", "m2", Options::default()).unwrap();
    call.options.next = Some(one["metadata"].text("continue").to_owned());
    call.options.limit = None;
    let two = server.request("a", call.clone()).unwrap();
    let names: Vec<_> = two["items"].as_array().unwrap().iter().map(Meta::name).collect();
    assert_eq!(names, ["m2", "m3", "m4"], "as it was when the list began");
    assert_eq!(two["metadata"]["resourceVersion"], one["metadata"]["resourceVersion"]);
    server.compact();
    assert_eq!(why(server.request("a", call)), (410, "Expired".to_owned()));
}

#[test]
fn lists_are_selected_by_labels_and_fields() {
    let server = server();
    for (name, tier) in [("a", "x"), ("b", "y"), ("c", "z")] {
        let mut map = config_map(name);
        map["metadata"]["labels"] = json!({"tier": tier, name: "1"});
        server.create("alice", "configmaps", "n", map).unwrap();
    }
    let names = |labels: &str, fields: &str| {
        let mut call = server.call(Method::List, "configmaps", "n", None);
        call.options.labels = Some(labels.to_owned());
        call.options.fields = Some(fields.to_owned());
        let list = server.request("a", call).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item.name().to_owned()).collect::<String>()
    };
    assert_eq!(names("tier=x", ""), "a");
    assert_eq!(names("tier!=x", ""), "bc");
    assert_eq!(names("tier in (x, y)", ""), "ab");
    assert_eq!(names("tier notin (x,y)", ""), "c");
    assert_eq!(names("a", ""), "a");
    assert_eq!(names("!a,tier", ""), "bc");
    assert_eq!(names("tier in (x,y),b==1", ""), "b");
    assert_eq!(names("", "metadata.name=b"), "b");
    assert_eq!(names("", "metadata.name!=b"), "ac");
    let mut call = server.call(Method::List, "rolloutactions", "n", None);
    call.options.fields = Some("spec.rollout=shop".to_owned());
    server.request("a", call.clone()).unwrap();
    call.options.fields = Some("spec.action=Abort".to_owned());
    assert_eq!(why(server.request("a", call)).0, 400);
}

#[test]
fn the_past_can_be_read() {
    let server = server();
    server.create("alice", "configmaps", "n", config_map("a")).unwrap();
    let one = server.version();
    server.merge("a", "configmaps", "n", "a", json!({"data": {"a": "2"}})).unwrap();
    server.create("alice", "configmaps", "n", config_map("b")).unwrap();
    let two = server.version();
    server.delete("a", "configmaps", "n", "a", Options::default()).unwrap();
    assert_eq!(server.get_at("configmaps", "n", "a", one).unwrap()["data"]["a"], "1");
    assert_eq!(server.get_at("configmaps", "n", "a", two).unwrap()["data"]["a"], "2");
    assert!(server.get("configmaps", "n", "a").is_none());
    assert_eq!(server.list_at("configmaps", "n", one).len(), 1);
    assert_eq!(server.list_at("configmaps", "n", two).len(), 2);
    assert_eq!(server.list("configmaps", "").len(), 1);
    let page = server.page("a", &server.call(Method::List, "configmaps", "n", None), Some(one)).unwrap();
    let page: Value = serde_json::from_slice(&page).unwrap();
    assert_eq!(page["metadata"]["resourceVersion"], one.to_string());
}

#[test]
fn an_upgraded_server_shows_new_defaults_without_a_new_version() {
    let server = server();
    let made = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    server.set_extra_defaults(json!({"spec": {"newField": "x", "containers": [{"newerField": 1}]}}));
    let seen = server.read("alice", "deployments", "n", "shop").unwrap();
    assert_eq!(seen["spec"]["template"]["spec"]["newField"], "x");
    assert_eq!(seen["spec"]["template"]["spec"]["containers"][0]["newerField"], 1);
    assert_eq!((seen.version(), &seen["metadata"]["generation"]), (made.version(), &json!(1)));
    let written = server.replace("alice", "deployments", "n", seen.clone()).unwrap();
    assert_ne!(written.version(), made.version(), "the bytes differ from those that are stored");
    assert_eq!(written["metadata"]["generation"], 1);
    let again = server.replace("alice", "deployments", "n", written.clone()).unwrap();
    assert_eq!(again.version(), written.version());
}

#[test]
fn discovery_tells_what_is_served() {
    let server = server();
    let page = |path: &str| server.request("a", Call::new(Method::Discover, path, "", None, None));
    let apps = page("apis/apps/v1").unwrap();
    let names: Vec<_> = apps["resources"].as_array().unwrap().iter().map(|kind| kind.text("name")).collect();
    assert_eq!(names[1..4], ["deployments", "deployments/status", "deployments/scale"]);
    assert_eq!(page("apis").unwrap().text("kind"), "APIGroupList");
    assert_eq!(page("version").unwrap()["minor"], "36");
    assert_eq!(page("apis/nobody.dev/v1").unwrap_err().code, 404);
    server.unregister("httproutes");
    assert_eq!(page("apis/gateway.networking.k8s.io/v1").unwrap()["resources"].as_array().unwrap().len(), 6);
}
