//! Each invariant can be broken: a shop in good order is fed one write that breaks it and nothing else.
use super::*;
use crate::sim::{
    api::Kind,
    dice::Dice,
    operator::LEASE,
    stage::{SECRET, template},
};
use serde_json::json;

const DEPLOYMENT: &str = "deployment-uid";
const ROLLOUT: &str = "rollout-uid";
const STABLE: &str = "checkout-one";
const CANDIDATE: &str = "checkout-two";

/// A shop that is held, and a candidate beside what serves.
struct Shop {
    checks: Checks,
    plane: Plane,
    at: u64,
}

fn owner(kind: &str, uid: &str, controls: bool) -> Value {
    json!({"kind": kind, "uid": uid, "controller": controls})
}

fn deployment(image: &str, paused: bool) -> Value {
    json!({
        "metadata": {"name": NAME, "uid": DEPLOYMENT, "labels": {"app": NAME}},
        "spec": {"replicas": 2, "paused": paused, "selector": {"matchLabels": {"app": NAME}}, "template": template(image)},
    })
}

fn set(name: &str, image: &str, owners: &[Value]) -> Value {
    let ours = owners[0]["uid"] == ROLLOUT;
    let labels = if ours { json!({"bellwether.dev/rollout": NAME}) } else { json!({"app": NAME, HASH: name}) };
    json!({
        "metadata": {"name": name, "uid": name, "labels": labels, "ownerReferences": owners},
        "spec": {"replicas": 2, "template": template(image)},
    })
}

fn stable() -> Value {
    set(STABLE, "app:v1", &[owner("Deployment", DEPLOYMENT, true)])
}

fn candidate() -> Value {
    set(CANDIDATE, "app:v2", &[owner("Rollout", ROLLOUT, true), owner("Deployment", DEPLOYMENT, false)])
}

/// The same with one field changed.
fn but(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[field] = value;
    object
}

impl Shop {
    /// It is held, by these policies.
    fn held(policies: &[(&str, &str)]) -> Self {
        let plane = Plane::new(0.0, Dice::new(1));
        let mut shop = Self { checks: Checks::default(), plane, at: 60_000 };
        for (plural, name) in policies {
            shop.write("helm", plural, json!({"metadata": {"name": name, "uid": name}}));
        }
        let by = if policies.is_empty() { "Paused" } else { "Policy" };
        shop.write("deployment-controller", "replicasets", stable());
        shop.write("git", "deployments", deployment("app:v1", policies.is_empty()));
        let rollout = json!({
            "metadata": {"name": NAME, "uid": ROLLOUT, "generation": 1}, "spec": {"workloadRef": {"name": NAME}},
            "status": {"workload": {"uid": DEPLOYMENT, "stableReplicaSet": STABLE, "heldBy": by}},
        });
        shop.write(OPERATOR, "rollouts", rollout);
        shop.write(OPERATOR, "replicasets", candidate());
        assert_eq!(shop.told(), Vec::<&str>::new(), "in good order");
        shop
    }

    fn write(&mut self, user: &str, plural: &str, object: Value) -> &mut Self {
        self.at += 1;
        let name = object.name().to_owned();
        let before = self.checks.object(plural, &name).cloned();
        let commit = Commit {
            index: 0,
            rv: self.at,
            at: jiff::Timestamp::UNIX_EPOCH,
            user: user.to_owned(),
            verb: if before.is_some() { Verb::Update } else { Verb::Create },
            subresource: None,
            kind: Arc::new(Kind::new("", "v1", plural, plural)),
            namespace: "shop".to_owned(),
            name,
            before,
            after: Some(Arc::new(object)),
        };
        self.checks.commit(&commit, &self.plane, self.at);
        self
    }

    fn rollout(&self) -> Value {
        (**self.checks.object("rollouts", NAME).unwrap()).clone()
    }

    /// The rules that were broken.
    fn told(&self) -> Vec<&'static str> {
        self.checks.violations.iter().map(|violation| violation.rule).collect()
    }
}

const BELT: (&str, &str) = ("validatingadmissionpolicies", "bellwether-belt");
const HOLD: (&str, &str) = ("mutatingadmissionpolicies", "bellwether-hold");
const NOTHING: [&str; 0] = [];

#[test]
fn a_new_template_that_nothing_holds_is_told_by_i1() {
    const RULE: &str = "I1 a Deployment with a new template is held";
    let told = |policies: &[(&str, &str)], paused| {
        Shop::held(policies).write("git", "deployments", deployment("app:v2", paused)).told()
    };
    assert_eq!(told(&[], false), [RULE]);
    assert_eq!(told(&[BELT, HOLD], false), [RULE], "with the policy that pauses it always is");
    assert_eq!(told(&[BELT], false), NOTHING, "the belt refuses it a ReplicaSet");
    assert_eq!(told(&[], true), NOTHING);
    // Whoever took it for held by a policy that is not there.
    let mut shop = Shop::held(&[]);
    let believed = but(shop.rollout(), "/status/workload/heldBy", json!("Policy"));
    shop.write(OPERATOR, "rollouts", believed).write("git", "deployments", deployment("app:v2", false));
    assert_eq!(shop.told(), [RULE]);
}

#[test]
fn two_controlled_replica_sets_and_history_among_them_are_told_by_i2() {
    const RULE: &str = "I2 the Deployment controls one ReplicaSet";
    let old = but(set("checkout-old", "app:v0", &[owner("Deployment", DEPLOYMENT, true)]), "/spec/replicas", json!(0));
    let mut shop = Shop::held(&[BELT]);
    assert_eq!(shop.write("deployment-controller", "replicasets", old.clone()).told(), [RULE]);
    // It was there before, and is left when the Deployment is taken over.
    let mut shop = Shop::held(&[BELT]);
    let workload = shop.rollout()["status"]["workload"].clone();
    let free = but(shop.rollout(), "/status/workload", Value::Null);
    shop.write(OPERATOR, "rollouts", free.clone()).write("deployment-controller", "replicasets", old);
    assert_eq!(shop.told(), NOTHING);
    assert_eq!(shop.write(OPERATOR, "rollouts", but(free, "/status/workload", workload)).told(), [RULE]);
}

#[test]
fn the_last_one_leaves_only_in_a_swap_or_is_told_by_i2() {
    let out = set(STABLE, "app:v1", &[owner("Rollout", ROLLOUT, true), owner("Deployment", DEPLOYMENT, false)]);
    let mut shop = Shop::held(&[BELT]);
    let told = shop.write(OPERATOR, "replicasets", out.clone()).told();
    assert_eq!(told, ["I2 the Deployment controls one ReplicaSet"]);
    let mut shop = Shop::held(&[BELT]);
    let promoting = but(shop.rollout(), "/status/flight", json!({"promotion": {"from": STABLE}}));
    shop.write(OPERATOR, "rollouts", promoting).write(OPERATOR, "replicasets", out);
    assert_eq!(shop.told(), NOTHING);
}

#[test]
fn pods_that_would_go_with_the_rollout_are_told_by_i3() {
    const RULE: &str = "I3 a ReplicaSet with pods has an owner beside the Rollout";
    let alone = [owner("Rollout", ROLLOUT, true)];
    let beside_the_dead = [owner("Rollout", ROLLOUT, true), owner("Deployment", "of-before", false)];
    for owners in [&alone[..], &beside_the_dead[..]] {
        let of_these = but(candidate(), "/metadata/ownerReferences", json!(owners));
        let mut shop = Shop::held(&[BELT]);
        assert_eq!(shop.write("anybody", "replicasets", of_these.clone()).told(), [RULE]);
        let mut shop = Shop::held(&[BELT]);
        assert_eq!(shop.write("anybody", "replicasets", but(of_these, "/spec/replicas", json!(0))).told(), NOTHING);
    }
}

#[test]
fn a_candidate_that_the_deployment_would_adopt_is_told_by_i4() {
    let matching = but(candidate(), "/metadata/labels/app", json!(NAME));
    let told = Shop::held(&[BELT]).write(OPERATOR, "replicasets", matching).told();
    assert_eq!(told, ["I4 what is ours does not match the Deployment's selector"]);
}

#[test]
fn what_is_not_the_operators_to_write_is_told_by_i5() {
    let written = |plural: &str, object: Value| Shop::held(&[BELT]).write(OPERATOR, plural, object).told();
    let deployments = "I5 of a Deployment only paused and our labels are written";
    let shop = || deployment("app:v1", false);
    for (pointer, value) in [
        ("/spec/replicas", json!(3)),
        ("/spec/strategy", json!({"rollingUpdate": {"maxSurge": 5}})),
        ("/metadata/labels/team", json!("shop")),
        ("/status", json!({"replicas": 2})),
    ] {
        assert_eq!(written("deployments", but(shop(), pointer, value)), [deployments], "{pointer}");
    }
    assert_eq!(written("deployments", but(shop(), "/spec/paused", json!(true))), NOTHING);
    let mut claimed = shop();
    claimed["metadata"]["labels"]["bellwether.dev/rollout"] = json!(NAME);
    assert_eq!(written("deployments", claimed), NOTHING);
    let sets = "I5 of a ReplicaSet only size, owners, labels and three annotations are written";
    for (pointer, value) in [
        ("/spec/minReadySeconds", json!(5)),
        ("/spec/template", template("app:v3")),
        ("/metadata/annotations", json!({"bellwether.dev/promoted": "true"})),
        ("/status", json!({"replicas": 2})),
    ] {
        assert_eq!(written("replicasets", but(candidate(), pointer, value)), [sets], "{pointer}");
    }
    let annotated = json!({"deployment.kubernetes.io/revision": "2"});
    assert_eq!(written("replicasets", but(candidate(), "/metadata/annotations", annotated)), NOTHING);
    assert_eq!(written("replicasets", but(candidate(), "/spec/replicas", json!(5))), NOTHING);
}

#[test]
fn a_deployment_that_is_resumed_at_another_template_is_told_by_i6() {
    let mut shop = Shop::held(&[BELT]);
    shop.write("git", "deployments", deployment("app:v2", true));
    let told = shop.write(OPERATOR, "deployments", deployment("app:v2", false)).told();
    assert_eq!(told, ["I6 a Deployment is resumed at the template that it controls"]);
    let mut shop = Shop::held(&[BELT]);
    shop.write("git", "deployments", deployment("app:v1", true));
    assert_eq!(shop.write(OPERATOR, "deployments", deployment("app:v1", false)).told(), NOTHING);
}

#[test]
fn the_deployments_own_replica_set_that_is_scaled_is_told_by_i7() {
    let larger = || but(stable(), "/spec/replicas", json!(3));
    let told = |user: &str| Shop::held(&[BELT]).write(user, "replicasets", larger()).told();
    assert_eq!(told(OPERATOR), ["I7 replicas of the Deployment's ReplicaSet are never written"]);
    assert_eq!(told("deployment-controller"), NOTHING);
}

#[test]
fn a_lease_that_is_taken_from_who_renews_it_is_told_by_s11() {
    let lease = |holder: Option<&str>| json!({"metadata": {"name": "bellwether"}, "spec": {"holderIdentity": holder}});
    let term = u64::try_from(LEASE.as_millis()).unwrap();
    let told = |holders: [Option<&str>; 2], after: u64| {
        let mut shop = Shop::held(&[BELT]);
        shop.write(OPERATOR, "leases", lease(holders[0]));
        shop.at += after;
        shop.write(OPERATOR, "leases", lease(holders[1])).told()
    };
    assert_eq!(told([Some("one"), Some("two")], 2_000), ["S11 a Lease is taken from who is silent"]);
    assert_eq!(told([Some("one"), Some("two")], term), NOTHING);
    assert_eq!(told([Some("one"), Some("one")], 2_000), NOTHING);
    assert_eq!(told([None, Some("two")], 2_000), NOTHING, "it was given back");
}

#[test]
fn a_secret_that_is_told_is_told_by_s15() {
    for secret in [SECRET.0, SECRET.1] {
        let mut shop = Shop::held(&[BELT]);
        let tells = but(shop.rollout(), "/status/message", json!(format!("401 with {secret}")));
        assert_eq!(shop.write(OPERATOR, "rollouts", tells).told(), ["S15 no Secret is told"]);
    }
}
