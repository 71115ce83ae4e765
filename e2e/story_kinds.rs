//! Every kind of route on a real API server, as the operator steers it in a release, whatever befalls it: a write that is
//! refused, somebody else's write, a deletion, and the end of the Rollout. No data plane reads most of them here, and no
//! request is sent.
mod kinds;

use crate::{
    figures::figure,
    objects::{self, OnSigterm, Revision},
    process::kubectl,
    stage::{available, is_at_rest, waits_for},
    world::{Apply, Kind, OPERATOR_NAMESPACE, World, beside_others, now_ms, until, with_temp_ns},
};
use futures::{StreamExt, stream};
use kinds::{DEFINED, MADE, ROUTES, Route, definition, rights};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    discovery,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The share of the one step.
const SHARE: u64 = 20;
/// So many kinds at a time: each has pods of its own.
const AT_ONCE: usize = 5;

/// What the API server knows of a kind.
async fn known(world: &World, [group, version, kind]: [&str; 3]) -> Option<ApiResource> {
    let (resource, _) =
        discovery::pinned_kind(&world.client, &GroupVersionKind::gvk(group, version, kind)).await.ok()?;
    Some(resource)
}

/// Defines the kinds that the API server does not know, and gives the operator its rights.
async fn define(world: &World) {
    for defined @ [group, version, kind, _] in DEFINED {
        if known(world, [group, version, kind]).await.is_none() {
            world.applied(Apply::ServerSide, &[definition(defined)]).await;
            until(&format!("{kind} of {group} is known"), 60, async || {
                known(world, [group, version, kind]).await.map(drop).ok_or_else(|| "not yet".to_owned())
            })
            .await;
        }
    }
    world.applied(Apply::ServerSide, &rights(&world.namespace)).await;
}

/// An app whose route is of one kind.
struct App<'a> {
    world: &'a World,
    route: &'a Route,
    resource: ApiResource,
}

impl<'a> App<'a> {
    /// `None` where the API server does not know the kind.
    async fn of(world: &'a World, route: &'a Route) -> Option<App<'a>> {
        let object = (route.object)(route.name, [100, 0]);
        let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
        let resource = known(world, [group, version, object["kind"].as_str().unwrap()]).await?;
        Some(Self { world, route, resource })
    }

    /// The kind as kubectl is told it.
    fn plural(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }

    fn written(&self, weights: [u64; 2]) -> Value {
        (self.route.object)(self.route.name, weights)
    }

    fn api(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.world.client.clone(), &self.world.namespace, &self.resource)
    }

    async fn found(&self) -> Option<Value> {
        let found = self.api().get_opt(self.route.name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    /// Says of the route what its controller would, whenever it was changed.
    async fn answers(&self) {
        let Some(answer) = self.route.answer else { return std::future::pending().await };
        let mut answered = (Value::Null, Value::Null);
        loop {
            if let Some(route) = self.found().await {
                let version = (route["metadata"]["uid"].clone(), route["metadata"]["generation"].clone());
                let change = Patch::Merge(json!({"status": answer(&route)}));
                // It may have gone meanwhile.
                if version != answered
                    && self.api().patch_status(self.route.name, &PatchParams::default(), &change).await.is_ok()
                {
                    answered = version;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&self.world.namespace, args).await.well(&format!("{}: kubectl {}", self.route.name, args.join(" ")))
    }

    /// Waits until the canary's weight is this; returns how long that took, in milliseconds.
    async fn until_weighs(&self, percent: u64) -> f64 {
        let begun = now_ms();
        let is = async || self.found().await.as_ref().and_then(self.route.weight);
        until(&format!("{} has {percent} % for the canary", self.route.name), 150, async || match is().await {
            Some(weight) if weight == percent => Ok(()),
            other => Err(format!("{other:?}; {}", self.rollout().await["status"])),
        })
        .await;
        now_ms() - begun
    }

    async fn rollout(&self) -> Value {
        self.world.find(Kind::Rollout, self.route.name).await.unwrap_or_default()
    }

    async fn until_says(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{}: {what}", self.route.name), 90, async || {
            let rollout = self.rollout().await;
            if holds(&rollout) { Ok(rollout) } else { Err(rollout["status"].to_string()) }
        })
        .await
    }

    /// Nobody but people may change objects of this kind here, until it is let go.
    fn policy(&self) -> [Value; 2] {
        let name = format!("{}-{}", self.world.namespace, self.route.name);
        let resource = json!({
            "apiGroups": [self.resource.group], "apiVersions": ["*"], "resources": [self.resource.plural],
            "operations": ["UPDATE"], "resourceNames": [self.route.name],
        });
        let namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": self.world.namespace}});
        let machine = format!("request.userInfo.username.startsWith('system:serviceaccount:{OPERATOR_NAMESPACE}:')");
        let version = "admissionregistration.k8s.io/v1";
        [
            json!({
                "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": {"resourceRules": [resource], "namespaceSelector": namespace},
                    "validations": [{"expression": format!("!{machine}"), "message": "the freeze is on"}],
                },
            }),
            json!({
                "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
                "spec": {"policyName": name, "validationActions": ["Deny"]},
            }),
        ]
    }

    /// What has to be as it was: all but what the API server and other controllers keep.
    fn left_alone(route: &Value) -> Value {
        let metadata = &route["metadata"];
        json!({"labels": metadata["labels"], "annotations": metadata["annotations"], "spec": route["spec"]})
    }

    /// The whole story; returns how long the operator took to put its weight back.
    async fn story(&self) -> f64 {
        let (world, app) = (self.world, self.route.name);
        let kind = self.written([100, 0])["kind"].as_str().unwrap().to_owned();
        let deployment = objects::deployment(app, 1, &objects::env(&Revision::new("v1"), OnSigterm::Dies));
        let mut rollout = objects::rollout(
            app,
            &[json!({"name": "some", "weight": SHARE, "approval": "Required"})],
            &json!({"mode": "None"}),
        );
        let mut entry =
            json!({"apiVersion": self.written([100, 0])["apiVersion"], "kind": kind, "name": app, "settle": "1s"});
        let more = (self.route.entry)(app);
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rollout["spec"]["traffic"]["routes"] = json!([entry]);
        rollout["spec"]["alerts"] = json!([]);
        let all = [deployment, objects::service(app), rollout, self.written([100, 0])];
        world.applied(Apply::ServerSide, &all[3..]).await;
        let made = Self::left_alone(&self.found().await.unwrap());
        world.applied(Apply::ServerSide, &all[..3]).await;
        available(world, app, 1).await;
        self.until_says("the Deployment is held", is_at_rest).await;

        // A write that somebody's policy refuses is said with its words, and tried until it is taken.
        let policy = self.policy();
        world.applied(Apply::ServerSide, &policy).await;
        until(&format!("{app}: the policy is in force"), 60, async || {
            let operator = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:bellwether");
            let args = ["annotate", &self.plural(), app, "example.com/asked=no", "--overwrite", "--dry-run=server"];
            let said = kubectl(&world.namespace, &[&args[..], &["--as", &operator]].concat()).await;
            if said.err.contains("the freeze is on") { Ok(()) } else { Err(said.out + &said.err) }
        })
        .await;
        self.kubectl(&["set", "env", &format!("deployment/{app}"), "VERSION=v2"]).await;
        let frozen = self.until_says("the refused write is said", |it| waits_for(it, "WriteRefused")).await;
        let words = frozen["status"]["message"].as_str().unwrap().to_owned();
        assert!(words.contains(&kind) && words.contains("the freeze is on"), "{app}: {words}");
        assert_eq!((self.route.weight)(&self.found().await.unwrap()), Some(0), "{app}");

        // It is deleted in the middle of the step, and made again; then writes are taken.
        self.kubectl(&["delete", &self.plural(), app]).await;
        let missing = self.until_says("the missing route is said", |it| waits_for(it, "RouteMissing")).await;
        let words = missing["status"]["message"].as_str().unwrap();
        assert!(words.contains(&kind) && words.contains(app), "{app}: {words}");
        world.applied(Apply::ServerSide, &[self.written([100, 0])]).await;
        let name = policy[0]["metadata"]["name"].as_str().unwrap();
        self.kubectl(&["delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name]).await;
        self.until_weighs(SHARE).await;

        // Git applies it as it has it, and with it the weights of a day without a release.
        world.applied(Apply::ServerSide, &[self.written([100, 0])]).await;
        let back = self.until_weighs(SHARE).await;

        // And given back as it was made.
        self.kubectl(&["delete", "rollout", app]).await;
        self.until_says("the Rollout is gone", Value::is_null).await;
        self.until_weighs(0).await;
        assert_eq!(Self::left_alone(&self.found().await.unwrap()), made, "{app} is given back as it was");
        back
    }
}

#[test]
fn every_kind_of_route_is_steered_in_spite_of_refusals_other_hands_and_deletions_and_given_back() {
    let _right = beside_others();
    with_temp_ns("kinds", async |world| {
        define(world).await;
        let told: Vec<_> = stream::iter(&ROUTES)
            .map(async |route| {
                let app = App::of(world, route).await?;
                tokio::select! {
                    back = app.story() => Some((route.name, back)),
                    () = app.answers() => None,
                }
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(async |told| told)
            .collect()
            .await;
        kubectl(&world.namespace, &["delete", "customresourcedefinition", "--selector", MADE, "--wait=false"])
            .await
            .well("the definitions go");
        // Some come with the test bed, and the rest with `hack/planes routers`.
        let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
        for Route { name, .. } in &ROUTES {
            assert!(names.contains(name), "{name} was not told: {names:?}");
        }
        // The operator may not watch what only the user knows: it sees it when it looks.
        let watched = told.iter().filter(|(name, _)| *name != "custom");
        let slowest = watched.map(|(_, back)| *back).fold(0.0, f64::max);
        figure(
            "kinds",
            &format!(
                "{} kinds of route: refused, written by others, deleted, given back; the weight was back after {slowest:.0} ms at the most where the kind is watched: {}",
                told.len(),
                told.iter().map(|(name, back)| format!("{name} {back:.0}")).collect::<Vec<_>>().join(", "),
            ),
        );
    });
}
