//! Our own kinds, by the definitions that are shipped.
use super::*;

fn refused(server: &Server, kind: &str, object: Value) -> String {
    let status = server.create("alice", kind, "n", object).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{status}");
    status.message.split_once(" is invalid: ").unwrap().1.to_owned()
}

/// A Rollout with one field changed.
fn with(place: &str, value: Value) -> Value {
    let mut object = rollout("shop");
    let (parent, member) = place.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[member] = value;
    object
}

#[test]
fn defaults_of_a_definition_are_filled_in_and_unknown_fields_dropped() {
    let server = server();
    let made = server.create("alice", "rollouts", "n", with("/spec/nonsense", json!(1))).unwrap();
    assert_eq!(made["spec"].get("nonsense"), None);
    assert_eq!((&made["spec"]["onDelete"], made.get("status")), (&json!("Hold"), None));
    let read: crate::api::Rollout = serde_json::from_value(made).unwrap();
    assert_eq!(read.spec.steps.len(), 1);
}

#[test]
fn what_a_definition_does_not_allow_is_refused() {
    let server = server();
    let rollouts = |place: &str, value: Value| refused(&server, "rollouts", with(place, value));
    assert_eq!(
        rollouts("/spec/steps", json!([])),
        "spec.steps: Invalid value: 0: spec.steps in body should have at least 1 items"
    );
    assert_eq!(
        rollouts("/spec/steps/0/weight", json!("5")),
        "spec.steps[0].weight: Invalid value: \"string\": spec.steps[0].weight in body must be of type integer: \"string\""
    );
    assert!(rollouts("/spec/steps/0/weight", json!(101)).contains("should be less than or equal to 100"));
    assert!(rollouts("/spec/steps/0/observe", json!("soon")).contains("in body should match"));
    assert!(rollouts("/spec/onDelete", json!("Explode")).contains("Unsupported value: \"Explode\": supported values:"));
    assert!(rollouts("/spec/workloadRef", json!({"kind": "Deployment", "name": "x"})).contains("apiVersion"));
    assert!(rollouts("/spec/workloadRef/kind", json!("StatefulSet")).contains("workloadRef must name a Deployment"));
    assert!(rollouts("/spec/steps/0/weight", json!(60)).contains("no step can be above weight 50"));
    let mut nothing = rollout("shop");
    nothing["spec"].as_object_mut().unwrap().remove("steps");
    assert_eq!(refused(&server, "rollouts", nothing), "spec.steps: Required value");
    let unread = json!({"metadata": {"name": "a"}, "spec": {"rollout": "shop", "action": "Promote"}});
    assert!(refused(&server, "rolloutactions", unread).contains("expect.revision is needed"));
}

#[test]
fn a_number_of_a_web_endpoint_is_one_source_and_has_a_limit() {
    let server = server();
    let judged = |metric: Value| {
        let provider = json!({"kind": "MetricProvider", "name": "scores"});
        let mut metric = metric;
        metric["name"] = "quality".into();
        with("/spec/analysis", json!({"provider": provider, "metrics": [metric]}))
    };
    let (web, limit) = (json!({"path": "/score"}), json!({"min": "0.8"}));
    for (metric, why) in [
        (
            json!({"web": web, "query": "up", "limit": limit}),
            "a metric has exactly one of preset, query, scores, web and job",
        ),
        (json!({"web": web}), "query and web need a limit"),
        (json!({"web": web, "limit": limit, "arm": "Pod"}), "arm and shared are for queries"),
        (json!({"web": web, "limit": limit, "compare": "Stable"}), "compare is for presets"),
        (json!({"web": web, "when": {}}), "when is for query, web, job and presets of ratios"),
        (json!({"web": {"path": "score"}, "limit": limit}), "in body should match"),
        (json!({"web": {"path": "/", "result": "$.a"}, "limit": limit}), "in body should match"),
    ] {
        let said = refused(&server, "rollouts", judged(metric));
        assert!(said.contains(why), "{said}");
    }
    server.create("alice", "rollouts", "n", judged(json!({"web": web, "when": {"fail": "canary < 1"}}))).unwrap();
    let provider = |spec: Value| json!({"metadata": {"name": "scores"}, "spec": spec});
    let url = "https://scores.example.com";
    for (spec, why) in [
        (
            json!({"web": {"url": url}, "prometheus": {"url": url}}),
            "a provider has exactly one source of: prometheus web",
        ),
        (json!({"web": {"url": url, "body": "{}"}}), "a body goes with method: POST"),
        (json!({"web": {"url": url, "method": "PUT"}}), "Unsupported value"),
    ] {
        let said = refused(&server, "metricproviders", provider(spec));
        assert!(said.contains(why), "{said}");
    }
    let posted = json!({"web": {"url": url, "method": "POST", "body": "{}"}});
    server.create("alice", "metricproviders", "n", provider(posted)).unwrap();
}

#[test]
fn what_never_changes_is_compared_with_what_was() {
    let server = server();
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    let moved = json!({"spec": {"workloadRef": {"name": "other"}}});
    let status = server.merge("alice", "rollouts", "n", "shop", moved).unwrap_err();
    assert!(status.message.contains("workloadRef cannot be changed"), "{status}");
    let stepped = json!({"spec": {"steps": [{"name": "b", "weight": 7, "observe": "1m"}]}});
    server.merge("alice", "rollouts", "n", "shop", stepped).unwrap();
}

#[test]
fn every_rule_and_pattern_of_every_definition_is_known() {
    fn walk(schema: &Value) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules::holds(rule.text("rule"), None, &json!({}));
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            regex::Regex::new(pattern).unwrap();
        }
        match schema {
            Value::Object(members) => members.values().for_each(walk),
            Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    for kind in kind::ours() {
        walk(&kind.custom.unwrap().schema);
    }
}

#[test]
fn the_examples_that_are_shipped_are_taken() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/examples");
    let mut taken = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for document in text.split("\n---") {
            let Ok(object) = serde_saphyr::from_str::<Value>(document) else { continue };
            let Some(kind) = kind::ours().into_iter().find(|kind| object["kind"] == kind.kind) else { continue };
            let mut object = object;
            if object["metadata"]["namespace"].is_string() {
                object["metadata"]["namespace"] = json!("n");
            }
            let namespace = if kind.namespaced { "n" } else { "" };
            server().create("alice", &kind.plural, namespace, object).unwrap();
            taken += 1;
        }
    }
    assert!(taken > 0);
}

#[test]
fn built_in_kinds_do_not_write_what_says_nothing() {
    let server = server();
    let made = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let commits = server.commit_count();
    let nothing = json!({
        "metadata": {"annotations": {}, "finalizers": []},
        "spec": {"paused": false, "minReadySeconds": 0, "template": {"spec": {"hostNetwork": false, "volumes": []}}},
    });
    assert_eq!(server.merge("bob", "deployments", "n", "shop", nothing).unwrap(), made);
    assert_eq!(server.commit_count(), commits);
}
