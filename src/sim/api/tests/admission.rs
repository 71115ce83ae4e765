//! The policies of the chart, as `charts/bellwether/tests/policies.py` tries them on a real server.
use super::*;
use std::time::Duration;

const OPERATOR: &str = "system:serviceaccount:bellwether-system:bellwether";

fn all() -> Policies {
    Policies::shipped(OPERATOR)
}

/// A Deployment that a Rollout holds.
fn held(server: &Server) -> Value {
    let made = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    hold(server, &made);
    made
}

fn hold(server: &Server, deployment: &Value) {
    let mut rollout = (*server.get("rollouts", "n", "shop").unwrap()).clone();
    rollout["status"] =
        json!({"phase": "Initializing", "workload": {"name": "shop", "uid": deployment.uid(), "heldBy": "Policy"}});
    server.replace_status(OPERATOR, "rollouts", "n", rollout).unwrap();
}

fn image(image: &str) -> Value {
    json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}])
}

#[test]
fn the_belt_refuses_new_sets_of_a_deployment_that_is_held() {
    let server = server();
    server.set_policies(all());
    let other = server.create("alice", "deployments", "n", deployment("other")).unwrap();
    let made = held(&server);
    let refused = server.create("kcm", "replicasets", "n", replica_set("shop-1", &made)).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"), "a policy without a reason is Invalid");
    assert_eq!(
        refused.message,
        "replicasets.apps \"shop-1\" is forbidden: ValidatingAdmissionPolicy 'bellwether-belt' with binding 'bellwether-belt' denied request: Rollout shop decides when this Deployment gets a new ReplicaSet"
    );
    server.create("kcm", "replicasets", "n", replica_set("other-1", &other)).unwrap();
    let mut plain = replica_set("shop-2", &made);
    plain["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    server.create(OPERATOR, "replicasets", "n", plain).unwrap();
    server.delete("alice", "rollouts", "n", "shop", Options::default()).unwrap();
    server.create("kcm", "replicasets", "n", replica_set("shop-1", &made)).unwrap();
}

#[test]
fn the_belt_is_no_more_than_its_object() {
    let server = server();
    server.set_policies(all());
    let made = held(&server);
    server.delete("alice", "validatingadmissionpolicies", "", "bellwether-belt", Options::default()).unwrap();
    server.create("kcm", "replicasets", "n", replica_set("shop-1", &made)).unwrap();
    server.set_policies(Policies::default());
    assert!(server.get("mutatingadmissionpolicies", "", "bellwether-hold").is_none());
}

#[test]
fn a_cluster_without_our_definitions_rolls_out_as_ever() {
    let server = server();
    server.set_policies(all());
    let made = held(&server);
    server.unregister("rollouts");
    assert_eq!(why(server.read("alice", "rollouts", "n", "shop")).0, 404);
    server.create("kcm", "replicasets", "n", replica_set("shop-1", &made)).unwrap();
    server.register_ours();
    assert!(server.read("alice", "rollouts", "n", "shop").is_ok());
    assert_eq!(why(server.create("kcm", "replicasets", "n", replica_set("shop-2", &made))).0, 422);
}

#[tokio::test(start_paused = true)]
async fn policies_see_rollouts_as_they_were() {
    let server = server();
    server.set_policies(Policies { lag: Duration::from_secs(3), armed_after: Some(Duration::from_secs(10)), ..all() });
    let made = held(&server);
    server.create("kcm", "replicasets", "n", replica_set("shop-1", &made)).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(why(server.create("kcm", "replicasets", "n", replica_set("shop-2", &made))).0, 422);
    server.delete("alice", "rollouts", "n", "shop", Options::default()).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(why(server.create("kcm", "replicasets", "n", replica_set("shop-2", &made))).0, 422, "it is still known");
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.create("kcm", "replicasets", "n", replica_set("shop-2", &made)).unwrap();
}

#[test]
fn the_hold_pauses_with_a_new_template_and_nobody_else_resumes() {
    let server = server();
    server.set_policies(all());
    held(&server);
    let paused = |change: Value, user: &str| {
        let after = server.json_patch(user, "deployments", "n", "shop", change).unwrap();
        after["spec"]["paused"] == true
    };
    let scaled = json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]);
    assert!(!paused(scaled, "alice"), "a size is no template");
    assert!(paused(image("shop:2"), "alice"));
    let resume = json!([{"op": "remove", "path": "/spec/paused"}]);
    assert!(paused(resume.clone(), "alice"));
    assert!(!paused(resume, OPERATOR));
    assert!(paused(image("shop:3"), OPERATOR), "so that it can try the hold by a dry run");
}

#[test]
fn a_deployment_that_nobody_holds_is_its_owners() {
    let server = server();
    server.set_policies(all());
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let after = server.json_patch("alice", "deployments", "n", "shop", image("shop:2")).unwrap();
    assert_eq!(after["spec"].get("paused"), None);
}

fn route(weights: [u64; 2]) -> Value {
    json!({
        "metadata": {"name": "r"},
        "spec": {"rules": [{"backendRefs": [
            {"name": "s", "port": 80, "weight": weights[0]}, {"name": "c", "port": 80, "weight": weights[1]},
        ]}]},
    })
}

fn claimed(server: &Server, weights: [u64; 2]) {
    let rollout = server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    let mut claimed = route(weights);
    claimed["metadata"]["labels"] =
        json!({"bellwether.dev/rollout": "shop", "bellwether.dev/rollout-uid": rollout.uid()});
    claimed["metadata"]["annotations"] =
        json!({"bellwether.dev/stable-service": "s", "bellwether.dev/canary-service": "c"});
    server.create(OPERATOR, "httproutes", "n", claimed).unwrap();
}

fn weights_of(route: &Value, rule: usize) -> Vec<i64> {
    let backends = route["spec"]["rules"][rule]["backendRefs"].as_array().unwrap();
    backends.iter().map(|backend| backend["weight"].as_i64().unwrap()).collect()
}

/// Replaces the route as somebody who read it a moment ago would.
fn rewrite(server: &Server, user: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut new = route([100, 0]);
    change(&mut new);
    new["metadata"]["resourceVersion"] = json!(server.get("httproutes", "n", "r").unwrap().version());
    server.replace(user, "httproutes", "n", new).unwrap()
}

#[test]
fn the_split_and_the_claim_of_a_route_stay_whoever_writes_it() {
    let server = server();
    server.set_policies(all());
    claimed(&server, [80, 20]);
    let after = rewrite(&server, "argo", |route| route["spec"]["rules"][0]["filters"] = json!([{"type": "X"}]));
    assert_eq!(weights_of(&after, 0), [80, 20]);
    assert_eq!(after["metadata"]["labels"]["bellwether.dev/rollout"], "shop");
    assert_eq!(after["metadata"]["annotations"]["bellwether.dev/canary-service"], "c");
    assert_eq!(after["spec"]["rules"][0]["filters"], json!([{"type": "X"}]), "all else goes through");
    let steered = rewrite(&server, OPERATOR, |_| {});
    assert_eq!(weights_of(&steered, 0), [100, 0], "the operator steers");
}

#[test]
fn rules_pair_by_name_or_matches_and_new_ones_take_the_first_split() {
    let server = server();
    server.set_policies(all());
    claimed(&server, [80, 20]);
    let after = rewrite(&server, "argo", |route| {
        let mut second = route["spec"]["rules"][0].clone();
        second["matches"] = json!([{"path": {"type": "PathPrefix", "value": "/new"}}]);
        route["spec"]["rules"].as_array_mut().unwrap().push(second);
    });
    assert_eq!((weights_of(&after, 0), weights_of(&after, 1)), (vec![80, 20], vec![80, 20]));
}

#[test]
fn beside_another_backend_only_the_split_between_the_two_is_kept() {
    let server = server();
    server.set_policies(all());
    claimed(&server, [80, 20]);
    let after = rewrite(&server, "argo", |route| {
        route["spec"]["rules"][0]["backendRefs"] = json!([
            {"name": "other", "port": 80, "weight": 50}, {"name": "c", "port": 80, "weight": 0}, {"name": "s", "port": 80, "weight": 50},
        ]);
    });
    assert_eq!(weights_of(&after, 0), [50, 10, 40]);
}

#[test]
fn a_route_of_a_rollout_that_is_gone_is_free() {
    let server = server();
    server.set_policies(all());
    claimed(&server, [80, 20]);
    server.delete("alice", "rollouts", "n", "shop", Options::default()).unwrap();
    assert_eq!(weights_of(&rewrite(&server, "argo", |_| {}), 0), [100, 0]);
}

fn action(action: &str) -> Value {
    json!({"metadata": {"name": "act"}, "spec": {"rollout": "shop", "action": action, "expect": {"revision": "1"}}})
}

#[test]
fn who_commands_is_written_down_and_stays() {
    let server = server();
    server.set_policies(all());
    let mut lying = action("Pause");
    lying["metadata"]["annotations"] = json!({"bellwether.dev/by": "root"});
    let made = server.create("bob", "rolloutactions", "n", lying).unwrap();
    assert_eq!(
        made["metadata"]["annotations"],
        json!({"bellwether.dev/by": "bob", "bellwether.dev/by-verified": "true"})
    );
    let change = json!({"metadata": {"annotations": {"bellwether.dev/by": "root"}}});
    let refused = server.merge("bob", "rolloutactions", "n", "act", change).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
    assert!(refused.message.ends_with("who commanded is written down once and never changed"), "{refused}");
}

#[test]
fn commands_rollouts_and_secrets_take_rights() {
    let server = server();
    server.set_policies(all());
    server.deny("bob", "promote-full", "rollouts");
    assert_eq!(why(server.create("bob", "rolloutactions", "n", action("PromoteFull"))).0, 403);
    server.create("bob", "rolloutactions", "n", action("Pause")).unwrap();
    server.deny("bob", "update", "deployments");
    let refused = server.create("bob", "rollouts", "n", rollout("shop")).unwrap_err();
    assert!(refused.message.contains("bob may not update Deployment shop"), "{refused}");
    server.create("alice", "rollouts", "n", rollout("shop")).unwrap();
    server.deny("bob", "get", "secrets");
    let provider = json!({"metadata": {"name": "p"}, "spec": {"prometheus": {
        "url": "https://prometheus.monitoring:9090", "auth": {"bearer": {"secretRef": {"name": "token"}}},
    }}});
    let refused = server.create("bob", "metricproviders", "n", provider).unwrap_err();
    assert!(refused.message.contains("bob may not read Secret token in namespace n"), "{refused}");
    server.deny("bob", "create", "jobs");
    let metrics =
        json!([{"name": "eval", "job": {"template": {"spec": {"containers": [{"name": "eval", "image": "eval"}]}}}}]);
    for (kind, home) in [("analysistemplates", "namespace n"), ("clusteranalysistemplates", "every namespace")] {
        let namespace = if kind.starts_with("cluster") { "" } else { "n" };
        let template = json!({"metadata": {"name": "t"}, "spec": {"metrics": metrics}});
        let refused = server.create("bob", kind, namespace, template).unwrap_err();
        assert!(refused.message.contains(&format!("bob may not create Jobs in {home}")), "{refused}");
    }
    let secret = json!({"secretRef": {"name": "token", "key": "k"}});
    for named in [json!({"auth": {"basic": secret}}), json!({"auth": {"bearer": secret}}), json!({"hmac": secret})] {
        let mut web = json!({"url": "https://scores.example.com"});
        web.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
        let provider = json!({"metadata": {"name": "w"}, "spec": {"web": web}});
        let refused = server.create("bob", "metricproviders", "n", provider).unwrap_err();
        assert!(refused.message.contains("bob may not read Secret token in namespace n"), "{refused}");
    }
    let url = json!({"urlFrom": {"secretKeyRef": {"name": "token", "key": "url"}}});
    let receivers = [
        ("webhook", json!({"url": "https://alerts.example.com", "secretRef": {"name": "token", "key": "k"}})),
        ("slack", url.clone()),
        ("teams", url.clone()),
        ("discord", url.clone()),
        ("pagerduty", json!({"routingKeyFrom": {"secretKeyRef": {"name": "token", "key": "key"}}})),
        ("custom", json!({"urlFrom": url["urlFrom"], "body": "{}"})),
    ];
    assert_eq!(receivers.each_ref().map(|(name, _)| *name), *crate::notify::ReceiverSpec::NAMES, "each is tried");
    for (name, spec) in receivers {
        let receiver = json!({"metadata": {"name": "r"}, "spec": {name: spec}});
        let refused = server.create("bob", "alertreceivers", "n", receiver).unwrap_err();
        assert!(refused.message.contains("bob may not read Secret token in namespace n"), "{name}: {refused}");
    }
}

/// The policies were translated by hand: who changes one there changes it here, and then writes its new sum down.
#[test]
fn the_policies_are_those_that_were_translated() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/bellwether/templates/policies");
    let sum = |file: &str| {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines
            .flat_map(str::bytes)
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let known = [
        ("action-author.yaml", 0x6731_a5e0_242c_f555_u64),
        ("action-rights.yaml", 0xb5bd_bfac_e22f_c484_u64),
        ("belt.yaml", 0xca03_ebee_ef85_e684_u64),
        ("hold.yaml", 0x6d89_6b3b_f7c0_d93b_u64),
        ("job-rights.yaml", 0x4bdc_1a68_4260_9618_u64),
        ("rollout-rights.yaml", 0x1a1_a6c2_0e5f_135b_u64),
        ("route-weights.yaml", 0x6f2f_1403_1399_1735_u64),
        ("secret-rights.yaml", 0xd85b_4bd3_03fe_ed4b_u64),
    ];
    let changed: Vec<_> = known.iter().filter(|(file, known)| sum(file) != *known).collect();
    assert!(changed.is_empty(), "{:#?}", known.map(|(file, _)| (file, format!("{:#x}", sum(file)))));
}

#[test]
fn while_a_revision_is_on_trial_its_deployment_does_not_shrink() {
    let server = server();
    server.set_policies(all());
    let made = held(&server);
    let scale = |replicas: i64| {
        let stored = server.get("deployments", "n", "shop").unwrap();
        let mut wanted = (*stored).clone();
        wanted["spec"]["replicas"] = json!(replicas);
        server.replace("hpa", "deployments", "n", wanted).unwrap()["spec"]["replicas"].as_i64()
    };
    assert_eq!(scale(5), Some(5));
    assert_eq!(scale(4), Some(4), "nothing is on trial");
    let mut rollout = (*server.get("rollouts", "n", "shop").unwrap()).clone();
    rollout["status"] = json!({"phase": "Progressing", "workload": {"uid": made.uid()}, "flight": {
        "revision": "b", "candidate": "shop-b", "replicas": 3, "startedAt": "2026-01-01T00:00:00Z", "steps": []}});
    server.replace_status(OPERATOR, "rollouts", "n", rollout.clone()).unwrap();
    assert_eq!(scale(1), Some(3));
    assert_eq!(scale(6), Some(6));
    assert_eq!(scale(0), Some(0), "to nothing is let through");
    assert_eq!(scale(1), Some(1), "what grows is let alone");
    let mut stored = (*server.get("rollouts", "n", "shop").unwrap()).clone();
    stored["spec"]["capacity"] = json!({"floor": "None"});
    server.replace("alice", "rollouts", "n", stored).unwrap();
    assert_eq!(scale(4), Some(4));
    assert_eq!(scale(1), Some(1), "the Rollout says so");
}
