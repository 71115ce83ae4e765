//! The operator loses the right to write routes in the middle of a release. It says which right it lacks, goes on when it
//! has it again, and can take a candidate out without it.
use crate::{
    figures::figure,
    objects::{APP, OnSigterm, Revision},
    process::{kubectl, plugin, run},
    stage::{Setup, Stage, lost_nothing, waits_for},
    world::{OPERATOR_NAMESPACE, World, alone, now_ms, until, with_temp_ns},
};
use serde_json::{Value, json};
use std::process::Command;

/// What the chart calls the operator's rights.
const ROLE: &str = "bellwether";
/// What it may not write for a while.
const ROUTES: &str = "httproutes";

/// The operator's rights without that to write routes, which comes back when this ends, however it ends.
struct Without<'a> {
    world: &'a World,
    /// All of its rights.
    rules: Option<Value>,
}

fn patch(rules: &Value) -> String {
    json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string()
}

impl<'a> Without<'a> {
    /// Takes the right away, and waits until the API server knows it.
    async fn right_to_write_routes(world: &'a World) -> Self {
        let role = kubectl(&world.namespace, &["get", "clusterrole", ROLE, "-o", "json"]).await.well("kubectl get");
        let rules = serde_json::from_str::<Value>(&role).unwrap()["rules"].clone();
        let mut fewer = rules.clone();
        for rule in fewer.as_array_mut().unwrap() {
            if rule["resources"].as_array().is_some_and(|resources| resources.iter().any(|it| it == ROUTES)) {
                rule["verbs"] = json!(["get", "list", "watch"]);
            }
        }
        assert_ne!(fewer, rules, "the role has no right to write {ROUTES}");
        let without = Self { world, rules: Some(rules) };
        let said = run("kubectl", &["patch", "clusterrole", ROLE, "--type=json", "-p", &patch(&fewer)], "").await;
        said.well("kubectl patch");
        without.until_may("no").await;
        without
    }

    async fn until_may(&self, answer: &str) {
        let account = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:bellwether");
        let resource = format!("{ROUTES}.gateway.networking.k8s.io");
        until(&format!("may the operator write routes: {answer}"), 30, async || {
            let args = ["auth", "can-i", "update", &resource, "--as", &account];
            let said = kubectl(&self.world.namespace, &args).await;
            if said.out.trim() == answer { Ok(()) } else { Err(said.out + &said.err) }
        })
        .await;
    }

    /// Gives it back, and waits until the API server knows it.
    async fn given_back(mut self) {
        self.give_back();
        self.until_may("yes").await;
    }

    fn give_back(&mut self) {
        let Some(rules) = self.rules.take() else { return };
        let patched =
            Command::new("kubectl").args(["patch", "clusterrole", ROLE, "--type=json", "-p", &patch(&rules)]).status();
        assert!(patched.is_ok_and(|status| status.success()), "ClusterRole {ROLE} could not be put back: {rules}");
    }
}

impl Drop for Without<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[test]
fn alone_without_the_right_to_write_routes_a_release_waits_and_says_so_and_is_called_back_all_the_same() {
    let _right = alone();
    with_temp_ns("rights", async |world| {
        let stage = Stage::set(world, Setup { on_sigterm: OnSigterm::Dies, ..Setup::default() }).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let without = Without::right_to_write_routes(world).await;
        let blocked = stage.records.until("the refused write is said", 60, |it| waits_for(it, "WriteRefused")).await;
        assert_eq!(blocked["status"]["phase"], "Blocked");
        let words = blocked["status"]["message"].as_str().unwrap_or_default();
        for part in ["HTTPRoute/app", "system:serviceaccount:bellwether-system:bellwether", "cannot ", "\"httproutes\""]
        {
            assert!(words.contains(part), "it says which right is missing: {words}");
        }
        let given_at = now_ms();
        without.given_back().await;
        stage.until_served("half", 50, "v2").await;
        let went_on = (now_ms() - given_at) / 1000.0;

        // Taken away once more, and now the candidate has to go.
        let without = Without::right_to_write_routes(world).await;
        let called_at = now_ms();
        plugin(&world.namespace, &["abort", APP]).await.well("kubectl bellwether abort");
        let aborted = stage.until_aborted(60, &["Commanded"]).await;
        let took = (now_ms() - called_at) / 1000.0;
        let candidate = aborted["status"]["canary"]["podTemplateHash"].as_str().unwrap();
        let left: Vec<_> =
            stage.records.pods_of(candidate).into_values().filter(|pod| pod.ending_at.is_none()).collect();
        assert!(left.is_empty(), "pods of the aborted release are left: {left:?}");
        // Half of the requests go on to the canary Service, which reaches stable's pods.
        assert_eq!(stage.records.weights(), [0, 20, 50], "the route could not be written");
        let before = stage.load.requests().len();
        stage.load.until_answered("requests are answered", before + 100, 30, |it| it.own).await;
        without.given_back().await;

        // The next candidate gets no Service before the route's weight is home.
        stage.push(&Revision::new("v3").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v3").await;
        assert_eq!(stage.records.weights(), [0, 20, 50, 0, 20], "the route's weights");
        stage.stable_is_untouched(None);
        let tally = stage.end_load().await;
        figure(
            "rights_taken_away",
            &format!(
                "went on {went_on:.1} s after the right was back; without it called back within {took:.1} s; {tally}"
            ),
        );
        lost_nothing(&tally);
        assert!(tally.harm.is_empty(), "a release that was called back did harm: {:?}", tally.harm);
    });
}
