//! Every kind of route on a real API server, as the operator steers it in a release, whatever befalls it: a write that is
//! refused, somebody else's write, a deletion, and the end of the Rollout. No data plane reads most of them here, and no
//! request is sent.
use crate::{
    figures::figure,
    objects::{self, OnSigterm, Revision},
    process::kubectl,
    stage::{available, is_at_rest, waits_for},
    world::{Apply, Kind, OPERATOR_NAMESPACE, World, beside_others, now_ms, until, with_temp_ns},
};
use futures::{StreamExt, stream};
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

/// A kind of route, and what a team writes of it for the app of this name, with these weights of stable and canary.
struct Route {
    /// What the app is called.
    name: &'static str,
    /// The router, where several read the kind.
    router: Option<&'static str>,
    object: fn(&str, [u64; 2]) -> Value,
    /// The canary's weight, where it stands in a list of two.
    weight: fn(&Value) -> Option<u64>,
    /// What a controller says of it in its status, where nobody here reads the kind: the story says it then.
    answer: Option<fn(&Value) -> Value>,
}

fn object(api_version: &str, kind: &str, app: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": app}, "spec": spec})
}

/// Both Services of an app with a weight each, under the names that most kinds have.
fn weighted(app: &str, [stable, canary]: [u64; 2]) -> Value {
    json!([
        {"name": format!("{app}-stable"), "port": 80, "weight": stable},
        {"name": format!("{app}-canary"), "port": 80, "weight": canary},
    ])
}

fn of_gateway_api(kind: &str, app: &str, weights: [u64; 2]) -> Value {
    let is_http = ["HTTPRoute", "GRPCRoute"].contains(&kind);
    let parent = if is_http { json!({"name": "traefik", "namespace": "traefik"}) } else { service_of(app) };
    let mut spec = json!({"parentRefs": [parent], "rules": [{"backendRefs": weighted(app, weights)}]});
    if kind != "TCPRoute" {
        spec["hostnames"] = json!([format!("{app}.kinds.test")]);
    }
    object("gateway.networking.k8s.io/v1", kind, app, &spec)
}

/// An app's Service as the parent of a route, which no gateway here answers for.
fn service_of(app: &str) -> Value {
    json!({"group": "", "kind": "Service", "name": app, "port": 80})
}

/// Conditions that hold of an object as it stands.
fn holding(route: &Value, kinds: &[&str]) -> Value {
    let condition = |kind: &&str| {
        json!({
            "type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": "2026-11-29T00:00:00Z",
            "observedGeneration": route["metadata"]["generation"],
        })
    };
    kinds.iter().map(condition).collect()
}

fn accepted(route: &Value) -> Value {
    let parent = &route["spec"]["parentRefs"][0];
    let conditions = holding(route, &["Accepted", "ResolvedRefs"]);
    json!({"parents": [{"controllerName": "example.com/mesh", "parentRef": parent, "conditions": conditions}]})
}

fn valid(route: &Value) -> Value {
    json!({"currentStatus": "valid", "conditions": holding(route, &["Valid"])})
}

fn of_traefik(kind: &str, rule: &str, app: &str, weights: [u64; 2]) -> Value {
    let mut route = json!({"match": rule, "services": weighted(app, weights)});
    if kind == "IngressRoute" {
        route["kind"] = json!("Rule");
    }
    object("traefik.io/v1alpha1", kind, app, &json!({"entryPoints": ["of-nobody"], "routes": [route]}))
}

/// An Ingress of these paths' Services and ports, with one annotation.
fn ingress(class: &str, app: &str, backends: &[(&str, Value)], key: &str, text: &str) -> Value {
    let paths: Vec<_> = backends
        .iter()
        .map(|(name, port)| json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": port}}}))
        .collect();
    let rule = json!({"host": format!("{app}.kinds.test"), "http": {"paths": paths}});
    let mut ingress =
        object("networking.k8s.io/v1", "Ingress", app, &json!({"ingressClassName": class, "rules": [rule]}));
    ingress["metadata"]["annotations"] = json!({ key: text });
    ingress
}

/// The number at this place of the JSON in an annotation, whose key ends so.
fn in_annotation(ingress: &Value, end: &str, place: &str) -> Option<u64> {
    let annotations = ingress["metadata"]["annotations"].as_object()?;
    let (_, text) = annotations.iter().find(|(key, _)| key.contains(end))?;
    serde_json::from_str::<Value>(text.as_str()?).ok()?.pointer(place)?.as_u64()
}

/// The canary's weight in the one rule of a route of the Gateway API.
const IN_RULE: fn(&Value) -> Option<u64> = |route| route["spec"]["rules"][0]["backendRefs"][1]["weight"].as_u64();
/// The canary's weight in the one route of those that list Services.
const IN_ROUTE: fn(&Value) -> Option<u64> = |route| route["spec"]["routes"][0]["services"][1]["weight"].as_u64();

const ROUTES: [Route; 13] = [
    Route {
        name: "httproute",
        router: None,
        object: |app, weights| of_gateway_api("HTTPRoute", app, weights),
        weight: IN_RULE,
        answer: None,
    },
    Route {
        name: "grpcroute",
        router: None,
        object: |app, weights| of_gateway_api("GRPCRoute", app, weights),
        weight: IN_RULE,
        answer: None,
    },
    Route {
        name: "tlsroute",
        router: None,
        object: |app, weights| of_gateway_api("TLSRoute", app, weights),
        weight: IN_RULE,
        answer: Some(accepted),
    },
    Route {
        name: "tcproute",
        router: None,
        object: |app, weights| of_gateway_api("TCPRoute", app, weights),
        weight: IN_RULE,
        answer: Some(accepted),
    },
    Route {
        name: "virtualservice",
        router: None,
        object: |app, [stable, canary]| {
            let to =
                |arm: &str, weight: u64| json!({"destination": {"host": format!("{app}-{arm}")}, "weight": weight});
            let http = json!([{"route": [to("stable", stable), to("canary", canary)]}]);
            object("networking.istio.io/v1", "VirtualService", app, &json!({"hosts": ["kinds.test"], "http": http}))
        },
        weight: |route| route["spec"]["http"][0]["route"][1]["weight"].as_u64(),
        answer: None,
    },
    Route {
        name: "httpproxy",
        router: None,
        object: |app, weights| {
            let routes = json!([{"services": weighted(app, weights)}]);
            let host = json!({"fqdn": format!("{app}.kinds.test")});
            object(
                "projectcontour.io/v1",
                "HTTPProxy",
                app,
                &json!({"ingressClassName": "of-nobody", "virtualhost": host, "routes": routes}),
            )
        },
        weight: IN_ROUTE,
        answer: Some(valid),
    },
    Route {
        name: "ingressroute",
        router: None,
        object: |app, weights| of_traefik("IngressRoute", "Host(`kinds.test`)", app, weights),
        weight: IN_ROUTE,
        answer: None,
    },
    Route {
        name: "ingressroutetcp",
        router: None,
        object: |app, weights| of_traefik("IngressRouteTCP", "HostSNI(`kinds.test`)", app, weights),
        weight: IN_ROUTE,
        answer: None,
    },
    Route {
        name: "traefikservice",
        router: None,
        object: |app, weights| {
            let spec = json!({"weighted": {"services": weighted(app, weights)}});
            object("traefik.io/v1alpha1", "TraefikService", app, &spec)
        },
        weight: |route| route["spec"]["weighted"]["services"][1]["weight"].as_u64(),
        answer: None,
    },
    Route {
        name: "nginx",
        router: Some("nginx"),
        object: |app, [_, canary]| {
            let to = format!("{app}-canary");
            let key = "nginx.ingress.kubernetes.io/canary-weight";
            let mut object = ingress("of-nobody", app, &[(&to, json!({"number": 80}))], key, &canary.to_string());
            object["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary"] = json!("true");
            object
        },
        weight: |route| {
            route["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"].as_str()?.parse().ok()
        },
        answer: None,
    },
    Route {
        name: "alb",
        router: Some("alb"),
        object: |app, weights| {
            let groups: Vec<_> = ["stable", "canary"]
                .iter()
                .zip(weights)
                .map(
                    |(arm, weight)| json!({"serviceName": format!("{app}-{arm}"), "servicePort": 80, "weight": weight}),
                )
                .collect();
            let action = json!({"type": "forward", "forwardConfig": {"targetGroups": groups}}).to_string();
            let key = "alb.ingress.kubernetes.io/actions.split";
            ingress("of-nobody", app, &[("split", json!({"name": "use-annotation"}))], key, &action)
        },
        weight: |route| in_annotation(route, "actions.split", "/forwardConfig/targetGroups/1/weight"),
        answer: None,
    },
    Route {
        name: "skipper",
        router: Some("skipper"),
        object: |app, [stable, canary]| {
            let (to_stable, to_canary) = (format!("{app}-stable"), format!("{app}-canary"));
            let port = json!({"number": 80});
            let weights = json!({&to_stable: stable, &to_canary: canary}).to_string();
            let backends = [(to_stable.as_str(), port.clone()), (to_canary.as_str(), port)];
            ingress("of-nobody", app, &backends, "zalando.org/backend-weights", &weights)
        },
        weight: |route| in_annotation(route, "backend-weights", "/skipper-canary"),
        answer: None,
    },
    Route {
        name: "routegroup",
        router: None,
        object: |app, [stable, canary]| {
            let to = |arm: &str| json!({"name": arm, "type": "service", "serviceName": format!("{app}-{arm}"), "servicePort": 80});
            let spec = json!({
                "hosts": [format!("{app}.kinds.test")],
                "backends": [to("stable"), to("canary")],
                "defaultBackends": [{"backendName": "stable", "weight": stable}, {"backendName": "canary", "weight": canary}],
            });
            object("zalando.org/v1", "RouteGroup", app, &spec)
        },
        weight: |route| route["spec"]["defaultBackends"][1]["weight"].as_u64(),
        answer: None,
    },
];

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
        let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
        let (resource, _) = discovery::pinned_kind(&world.client, &kind).await.ok()?;
        Some(Self { world, route, resource })
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
        if let Some(router) = self.route.router {
            entry["router"] = json!(router);
        }
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
            let args =
                ["annotate", &self.resource.plural, app, "example.com/asked=no", "--overwrite", "--dry-run=server"];
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
        self.kubectl(&["delete", &self.resource.plural, app]).await;
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
        // Some come with the test bed, and the rest with `hack/planes routers`.
        let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
        for Route { name, .. } in &ROUTES {
            assert!(names.contains(name), "{name} was not told: {names:?}");
        }
        let slowest = told.iter().map(|(_, back)| *back).fold(0.0, f64::max);
        figure(
            "kinds",
            &format!(
                "{} kinds of route: refused, written by others, deleted, given back; the weight was back after {slowest:.0} ms at the most: {}",
                told.len(),
                told.iter().map(|(name, back)| format!("{name} {back:.0}")).collect::<Vec<_>>().join(", "),
            ),
        );
    });
}
