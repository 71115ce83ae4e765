//! The garbage collector and the end of namespaces.
use super::*;

/// Collects until nothing changes; how many passes did something.
fn settle(server: &Server) -> usize {
    (0..50).take_while(|_| server.collect() > 0).count()
}

fn family(server: &Server) -> Value {
    let top = server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    let set = server.create("kcm", "replicasets", "n", replica_set("shop-1", &top)).unwrap();
    server.create("kcm", "pods", "n", pod("p", &set)).unwrap();
    assert_eq!(settle(server), 0);
    top
}

#[test]
fn what_nobody_owns_any_more_goes() {
    let server = server();
    family(&server);
    server.delete("alice", "deployments", "n", "shop", deleting("Background")).unwrap();
    assert!(server.get("deployments", "n", "shop").is_none(), "at once");
    assert!(settle(&server) > 0);
    assert!(server.get("replicasets", "n", "shop-1").is_none());
    assert!(server.get("pods", "n", "p").unwrap().is_ending(), "its kubelet ends it");
    assert!(server.commits(0).iter().any(|commit| commit.user == COLLECTOR));
}

#[test]
fn a_namesake_of_an_owner_is_not_the_owner() {
    let server = server();
    family(&server);
    server.delete("alice", "deployments", "n", "shop", deleting("Background")).unwrap();
    server.create("alice", "deployments", "n", deployment("shop")).unwrap();
    settle(&server);
    assert!(server.get("replicasets", "n", "shop-1").is_none());
}

#[test]
fn who_has_another_owner_stays_and_forgets_the_one_that_is_gone() {
    let server = server();
    let one = server.create("alice", "deployments", "n", deployment("one")).unwrap();
    let two = server.create("alice", "rollouts", "n", rollout("two")).unwrap();
    let mut set = replica_set("set", &two);
    let mut plain = owner_of(&one);
    plain["controller"] = json!(false);
    set["metadata"]["ownerReferences"].as_array_mut().unwrap().push(plain.clone());
    server.create("op", "replicasets", "n", set).unwrap();
    server.delete("alice", "rollouts", "n", "two", deleting("Background")).unwrap();
    settle(&server);
    assert_eq!(server.get("replicasets", "n", "set").unwrap().owners(), [plain]);
    server.delete("alice", "deployments", "n", "one", deleting("Background")).unwrap();
    settle(&server);
    assert!(server.get("replicasets", "n", "set").is_none());
}

#[test]
fn in_the_foreground_dependents_go_first() {
    let server = server();
    family(&server);
    let ending = server.delete("alice", "deployments", "n", "shop", deleting("Foreground")).unwrap();
    assert_eq!(ending.finalizers(), ["foregroundDeletion"]);
    settle(&server);
    assert!(server.get("deployments", "n", "shop").is_some(), "a pod still blocks");
    assert_eq!(server.get("replicasets", "n", "shop-1").unwrap().finalizers(), ["foregroundDeletion"]);
    server.delete("kubelet", "pods", "n", "p", Options { grace_seconds: Some(0), ..Options::default() }).unwrap();
    settle(&server);
    assert!(server.get("replicasets", "n", "shop-1").is_none());
    assert!(server.get("deployments", "n", "shop").is_none());
}

#[test]
fn in_the_foreground_an_owner_that_lives_keeps_its_dependents() {
    let server = server();
    let one = server.create("alice", "deployments", "n", deployment("one")).unwrap();
    let two = server.create("alice", "rollouts", "n", rollout("two")).unwrap();
    let mut set = replica_set("set", &two);
    let mut plain = owner_of(&one);
    plain["controller"] = json!(false);
    set["metadata"]["ownerReferences"].as_array_mut().unwrap().push(plain);
    server.create("op", "replicasets", "n", set).unwrap();
    server.delete("alice", "rollouts", "n", "two", deleting("Foreground")).unwrap();
    settle(&server);
    assert!(server.get("rollouts", "n", "two").is_none());
    assert_eq!(server.get("replicasets", "n", "set").unwrap().owners().len(), 1);
}

#[test]
fn orphans_are_let_go() {
    let server = server();
    family(&server);
    server.delete("alice", "deployments", "n", "shop", deleting("Orphan")).unwrap();
    settle(&server);
    assert!(server.get("deployments", "n", "shop").is_none());
    assert!(server.get("replicasets", "n", "shop-1").unwrap().owners().is_empty());
    assert!(!server.get("pods", "n", "p").unwrap().is_ending());
}

#[test]
fn a_namespace_ends_when_everything_in_it_has() {
    let server = server();
    let mut held = rollout("shop");
    held["metadata"]["finalizers"] = json!(["bellwether.dev/hand-back"]);
    server.create("alice", "rollouts", "n", held).unwrap();
    family(&server);
    server.delete("alice", "namespaces", "", "n", Options::default()).unwrap();
    assert_eq!(server.get("namespaces", "", "n").unwrap()["status"]["phase"], "Terminating");
    let refused = server.create("alice", "configmaps", "n", config_map("a")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "403 Forbidden: configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    assert_eq!(refused.details.unwrap()["causes"][0]["reason"], "NamespaceTerminating");
    settle(&server);
    assert!(server.get("pods", "n", "p").unwrap().is_ending());
    assert!(server.get("deployments", "n", "shop").is_some(), "pods go first");
    server.delete("kubelet", "pods", "n", "p", Options { grace_seconds: Some(0), ..Options::default() }).unwrap();
    settle(&server);
    assert!(server.get("deployments", "n", "shop").is_none());
    assert!(server.get("rollouts", "n", "shop").unwrap().is_ending());
    server.merge("op", "rollouts", "n", "shop", json!({"metadata": {"finalizers": null}})).unwrap();
    settle(&server);
    assert!(server.get("namespaces", "", "n").is_none());
    assert_eq!(why(server.create("alice", "configmaps", "n", config_map("a"))).0, 404);
}

#[test]
fn an_owner_that_a_backup_puts_back_in_the_place_of_its_namesake_keeps_what_it_owns() {
    let server = server();
    let top = family(&server);
    let then = server.commits(0).last().unwrap().rv;
    server.delete("jane", "replicasets", "n", "shop-1", deleting("Background")).unwrap();
    settle(&server);
    server.create("op", "replicasets", "n", replica_set("shop-1", &top)).unwrap();
    server.restore(then);
    assert_eq!(settle(&server), 0, "everybody has an owner");
    assert!(!server.get("pods", "n", "p").unwrap().is_ending());
}
