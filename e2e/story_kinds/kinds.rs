//! The kinds of route that there are: what a team writes of each, and where its weight stands.
use crate::world::OPERATOR_NAMESPACE;
use serde_json::{Value, json};

/// A kind of route, and what a team writes of it for the app of this name, with these weights of stable and canary.
pub struct Route {
    /// What the app is called.
    pub name: &'static str,
    /// What its entry in the Rollout says beside the object's name, for the app of this name.
    pub entry: fn(&str) -> Value,
    pub object: fn(&str, [u64; 2]) -> Value,
    /// The canary's weight, where it stands in a list of two.
    pub weight: fn(&Value) -> Option<u64>,
    /// What a controller says of it in its status, where nobody here reads the kind: the story says it then.
    pub answer: Option<fn(&Value) -> Value>,
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

fn of_kuma(kind: &str, app: &str, rule: &Value) -> Value {
    let to = json!([{"targetRef": {"kind": "MeshService", "name": app}, "rules": [rule]}]);
    object("kuma.io/v1alpha1", kind, app, &json!({"targetRef": {"kind": "Mesh"}, "to": to}))
}

fn to_mesh_services(app: &str, weights: [u64; 2]) -> Value {
    let mut backends = weighted(app, weights);
    for backend in backends.as_array_mut().unwrap() {
        backend["kind"] = json!("MeshService");
    }
    json!({"backendRefs": backends})
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

/// The canary's weight in the one rule of a route of Kuma.
const IN_MESH: fn(&Value) -> Option<u64> =
    |route| route["spec"]["to"][0]["rules"][0]["default"]["backendRefs"][1]["weight"].as_u64();

/// What most kinds have in common.
const ROUTE: Route =
    Route { name: "", entry: |_| json!({}), object: |_, _| Value::Null, weight: |_| None, answer: None };

pub const ROUTES: [Route; 18] = [
    Route {
        name: "httproute",
        object: |app, weights| of_gateway_api("HTTPRoute", app, weights),
        weight: IN_RULE,
        ..ROUTE
    },
    Route {
        name: "grpcroute",
        object: |app, weights| of_gateway_api("GRPCRoute", app, weights),
        weight: IN_RULE,
        ..ROUTE
    },
    Route {
        name: "tlsroute",
        object: |app, weights| of_gateway_api("TLSRoute", app, weights),
        weight: IN_RULE,
        answer: Some(accepted),
        ..ROUTE
    },
    Route {
        name: "tcproute",
        object: |app, weights| of_gateway_api("TCPRoute", app, weights),
        weight: IN_RULE,
        answer: Some(accepted),
        ..ROUTE
    },
    Route {
        name: "virtualservice",
        object: |app, [stable, canary]| {
            let to =
                |arm: &str, weight: u64| json!({"destination": {"host": format!("{app}-{arm}")}, "weight": weight});
            let http = json!([{"route": [to("stable", stable), to("canary", canary)]}]);
            object("networking.istio.io/v1", "VirtualService", app, &json!({"hosts": ["kinds.test"], "http": http}))
        },
        weight: |route| route["spec"]["http"][0]["route"][1]["weight"].as_u64(),
        ..ROUTE
    },
    Route {
        name: "httpproxy",
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
        ..ROUTE
    },
    Route {
        name: "ingressroute",
        object: |app, weights| of_traefik("IngressRoute", "Host(`kinds.test`)", app, weights),
        weight: IN_ROUTE,
        ..ROUTE
    },
    Route {
        name: "ingressroutetcp",
        object: |app, weights| of_traefik("IngressRouteTCP", "HostSNI(`kinds.test`)", app, weights),
        weight: IN_ROUTE,
        ..ROUTE
    },
    Route {
        name: "traefikservice",
        object: |app, weights| {
            let spec = json!({"weighted": {"services": weighted(app, weights)}});
            object("traefik.io/v1alpha1", "TraefikService", app, &spec)
        },
        weight: |route| route["spec"]["weighted"]["services"][1]["weight"].as_u64(),
        ..ROUTE
    },
    Route {
        name: "nginx",
        entry: |_| json!({"router": "nginx"}),
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
        ..ROUTE
    },
    Route {
        name: "alb",
        entry: |_| json!({"router": "alb"}),
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
        ..ROUTE
    },
    Route {
        name: "skipper",
        entry: |_| json!({"router": "skipper"}),
        object: |app, [stable, canary]| {
            let (to_stable, to_canary) = (format!("{app}-stable"), format!("{app}-canary"));
            let port = json!({"number": 80});
            let weights = json!({&to_stable: stable, &to_canary: canary}).to_string();
            let backends = [(to_stable.as_str(), port.clone()), (to_canary.as_str(), port)];
            ingress("of-nobody", app, &backends, "zalando.org/backend-weights", &weights)
        },
        weight: |route| in_annotation(route, "backend-weights", "/skipper-canary"),
        ..ROUTE
    },
    Route {
        name: "routegroup",
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
        ..ROUTE
    },
    Route {
        name: "linkerd",
        object: |app, weights| {
            let spec = json!({"parentRefs": [service_of(app)], "rules": [{"backendRefs": weighted(app, weights)}]});
            object("policy.linkerd.io/v1beta3", "HTTPRoute", app, &spec)
        },
        weight: IN_RULE,
        ..ROUTE
    },
    Route {
        name: "meshhttproute",
        object: |app, weights| {
            let all = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
            of_kuma("MeshHTTPRoute", app, &json!({"matches": all, "default": to_mesh_services(app, weights)}))
        },
        weight: IN_MESH,
        ..ROUTE
    },
    Route {
        name: "meshtcproute",
        object: |app, weights| of_kuma("MeshTCPRoute", app, &json!({"default": to_mesh_services(app, weights)})),
        weight: IN_MESH,
        ..ROUTE
    },
    Route {
        name: "apisixroute",
        object: |app, weights| {
            let to = |(arm, weight): (&str, u64)| json!({"serviceName": format!("{app}-{arm}"), "servicePort": 80, "weight": weight});
            let backends: Vec<_> = ["stable", "canary"].into_iter().zip(weights).map(to).collect();
            let rule =
                json!({"name": "all", "match": {"hosts": ["kinds.test"], "paths": ["/*"]}, "backends": backends});
            object("apisix.apache.org/v2", "ApisixRoute", app, &json!({"http": [rule]}))
        },
        weight: |route| route["spec"]["http"][0]["backends"][1]["weight"].as_u64(),
        ..ROUTE
    },
    Route {
        name: "custom",
        entry: |app| {
            let weight = |arm: &str| json!({"path": format!("/spec/to/service={app}-{arm}/permille"), "value": format!("{arm} * 10")});
            json!({"custom": {"plural": "splits", "weights": [weight("stable"), weight("canary")]}})
        },
        object: |app, weights| {
            let to = |(arm, weight): (&str, u64)| json!({"service": format!("{app}-{arm}"), "permille": weight * 10});
            let to: Vec<_> = ["stable", "canary"].into_iter().zip(weights).map(to).collect();
            object("mesh.example.com/v1", "Split", app, &json!({"to": to}))
        },
        weight: |route| Some(route["spec"]["to"][1]["permille"].as_u64()? / 10),
        ..ROUTE
    },
];

/// Kinds of projects whose schemas cannot be had here, and one of nobody's: where the API server does not know them they are
/// defined for the story, without a schema.
pub const DEFINED: [[&str; 4]; 5] = [
    ["policy.linkerd.io", "v1beta3", "HTTPRoute", "httproutes"],
    ["kuma.io", "v1alpha1", "MeshHTTPRoute", "meshhttproutes"],
    ["kuma.io", "v1alpha1", "MeshTCPRoute", "meshtcproutes"],
    ["apisix.apache.org", "v2", "ApisixRoute", "apisixroutes"],
    ["mesh.example.com", "v1", "Split", "splits"],
];
/// Of definitions that a test has made.
pub const MADE: &str = "bellwether.dev/made-by-test";

/// A kind in which everything may stand.
pub fn definition([group, version, kind, plural]: [&str; 4]) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "labels": {MADE: ""}},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema}],
        },
    })
}

/// That the operator may write the kind of nobody's in this namespace, as the value `customRoutes` gives it everywhere.
pub fn rights(namespace: &str) -> [Value; 2] {
    let (api_version, name) = ("rbac.authorization.k8s.io/v1", "splits");
    let rule = json!({"apiGroups": ["mesh.example.com"], "resources": ["splits"], "verbs": ["get", "patch", "update"]});
    let operator = json!({"kind": "ServiceAccount", "name": "bellwether", "namespace": OPERATOR_NAMESPACE});
    [
        json!({"apiVersion": api_version, "kind": "Role", "metadata": {"name": name, "namespace": namespace}, "rules": [rule]}),
        json!({
            "apiVersion": api_version, "kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}, "subjects": [operator],
        }),
    ]
}
