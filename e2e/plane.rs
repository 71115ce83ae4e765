//! The ways to split traffic that there are here: a data plane each, and the objects that it reads.
use crate::{
    load::Door,
    objects::{self, APP},
    world::World,
};
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// The stable and the canary Service.
const STABLE: &str = "app-stable";
const CANARY: &str = "app-canary";

/// A way to split traffic.
pub struct Plane {
    /// What it is called.
    pub name: &'static str,
    /// Namespace and name of the gateway's Service.
    gateway: (&'static str, &'static str),
    /// What hosts end with.
    domain: &'static str,
    /// What a team writes, for this host, with all requests at stable.
    objects: fn(&str) -> Vec<Value>,
    /// The entry of `spec.traffic.routes`.
    pub route: fn() -> Value,
    /// The metrics that are compared.
    pub metrics: &'static [&'static str],
    /// How it is known that a weight was taken.
    pub proof: &'static str,
    /// How requests are sent.
    protocol: &'static str,
    /// The port at which connections come in that nobody looks into, whatever they carry.
    connections: Option<u16>,
}

impl Plane {
    /// Where requests go in.
    pub fn door(&self, world: &World, rate: u32) -> Door {
        let (namespace, name) = self.gateway;
        let service = (namespace.to_owned(), name);
        let mut door = Door { service, host: self.host(world), rate, protocol: self.protocol, ..Door::usual(world) };
        if let Some(port) = self.connections {
            (door.port, door.new_connections) = (port, 100);
        }
        door
    }

    /// The same for requests of another protocol, which the app counts.
    pub const fn speaking(self, protocol: &'static str) -> Self {
        Self { protocol, metrics: OF_APP, ..self }
    }

    /// The same for hosts below another domain.
    pub const fn at(self, domain: &'static str) -> Self {
        Self { domain, ..self }
    }

    /// The app's ordinary Service, which says what its pods speak where that is not HTTP/1.1, and where.
    pub fn service(&self) -> Value {
        let mut service = objects::service(APP);
        if ["h2c", "grpc"].contains(&self.protocol) {
            service["spec"]["ports"][0]["appProtocol"] = json!("kubernetes.io/h2c");
        }
        if self.protocol == "https" {
            service["spec"]["ports"][0]["targetPort"] = json!(8443);
        }
        service
    }

    fn host(&self, world: &World) -> String {
        format!("{APP}.{}.{}", world.namespace, self.domain)
    }

    /// What a team writes, with all requests at stable.
    pub fn objects(&self, world: &World) -> Vec<Value> {
        (self.objects)(&self.host(world))
    }

    /// The entry of `spec.traffic.routes` by which the operator writes the route itself, and what else a team writes.
    pub fn owned(&self, world: &World) -> (Value, Vec<Value>) {
        let mut route = (self.route)();
        let is_it = |object: &Value| object["kind"] == route["kind"] && object["metadata"]["name"] == route["name"];
        let (its, others): (Vec<_>, Vec<_>) = self.objects(world).into_iter().partition(is_it);
        let mut spec = its[0]["spec"].clone();
        without_weights(&mut spec);
        // A canary Ingress is like the one that takes all requests.
        let template = if route["router"] == "nginx" {
            json!({"like": APP, "annotations": its[0]["metadata"]["annotations"]})
        } else {
            json!({"spec": spec})
        };
        (route["ownership"], route["template"]) = (json!("Operator"), template);
        (route, others)
    }

    /// The resource that carries the weight.
    pub fn resource(&self) -> String {
        let kind = (self.route)()["kind"].as_str().unwrap().to_owned();
        ApiResource::from_gvk(&GroupVersionKind::gvk("", "", &kind)).plural
    }
}

fn named(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name})
}

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn without_weights(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("weight");
            fields.values_mut().for_each(without_weights);
        }
        Value::Array(items) => items.iter_mut().for_each(without_weights),
        _ => {}
    }
}

fn services() -> Value {
    json!([{"name": STABLE, "port": 80, "weight": 100}, {"name": CANARY, "port": 80, "weight": 0}])
}

fn http_route(host: &str, gateway: &Value) -> Vec<Value> {
    let spec = json!({"parentRefs": [gateway], "hostnames": [host], "rules": [{"backendRefs": services()}]});
    vec![object("gateway.networking.k8s.io/v1", "HTTPRoute", APP, &spec)]
}

/// By the name that is asked for within TLS, which goes on to the app as it came.
fn tls_route(host: &str, gateway: &Value) -> Vec<Value> {
    let mut route = tcp_route(gateway).remove(0);
    route["kind"] = json!("TLSRoute");
    route["spec"]["hostnames"] = json!([host]);
    vec![route]
}

fn tcp_route(gateway: &Value) -> Vec<Value> {
    let spec = json!({"parentRefs": [gateway], "rules": [{"backendRefs": services()}]});
    vec![object("gateway.networking.k8s.io/v1", "TCPRoute", APP, &spec)]
}

fn grpc_route(host: &str, gateway: &Value) -> Vec<Value> {
    let mut route = http_route(host, gateway).remove(0);
    route["kind"] = json!("GRPCRoute");
    vec![route]
}

fn ingress_route(host: &str, services: &Value) -> Value {
    let spec = json!({
        "entryPoints": ["web"], "routes": [{"kind": "Rule", "match": format!("Host(`{host}`)"), "services": services}],
    });
    object("traefik.io/v1alpha1", "IngressRoute", APP, &spec)
}

fn ingress(host: &str, name: &str, service: &str, annotations: &Value) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let spec = json!({"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]});
    let mut ingress = object("networking.k8s.io/v1", "Ingress", name, &spec);
    ingress["metadata"]["annotations"] = annotations.clone();
    ingress
}

const OF_TRAEFIK: &[&str] = &["traefik/error-rate", "traefik/latency"];
const OF_APP: &[&str] = &["app/error-rate", "app/latency"];
const GATEWAY_API: fn() -> Value = || named("gateway.networking.k8s.io/v1", "HTTPRoute", APP);

/// Traefik, by the Gateway API.
pub const TRAEFIK_GATEWAY_API: Plane = Plane {
    name: "Traefik, HTTPRoute",
    gateway: ("traefik", "traefik"),
    domain: "test",
    objects: |host| http_route(host, &json!({"name": "traefik", "namespace": "traefik"})),
    route: GATEWAY_API,
    metrics: OF_TRAEFIK,
    proof: "Status",
    protocol: "http1",
    connections: None,
};

/// Traefik, by its `IngressRoute`.
pub const TRAEFIK_INGRESS_ROUTE: Plane = Plane {
    name: "Traefik, IngressRoute",
    gateway: ("traefik", "traefik"),
    domain: "test",
    objects: |host| vec![ingress_route(host, &services())],
    route: || named("traefik.io/v1alpha1", "IngressRoute", APP),
    metrics: OF_TRAEFIK,
    proof: "Delay",
    protocol: "http1",
    connections: None,
};

/// Traefik, by a `TraefikService` behind an `IngressRoute`.
pub const TRAEFIK_SERVICE: Plane = Plane {
    name: "Traefik, TraefikService",
    objects: |host| {
        let weighted =
            object("traefik.io/v1alpha1", "TraefikService", APP, &json!({"weighted": {"services": services()}}));
        vec![weighted, ingress_route(host, &json!([{"kind": "TraefikService", "name": APP}]))]
    },
    route: || named("traefik.io/v1alpha1", "TraefikService", APP),
    ..TRAEFIK_INGRESS_ROUTE
};

/// The same, with a cookie that names the Service which answered first.
pub const TRAEFIK_SERVICE_STICKY: Plane = Plane {
    name: "Traefik, TraefikService with a cookie",
    objects: |host| {
        let mut objects = (TRAEFIK_SERVICE.objects)(host);
        objects[0]["spec"]["weighted"]["sticky"] = json!({"cookie": {"name": "met"}});
        objects
    },
    ..TRAEFIK_SERVICE
};

/// Traefik, by connections that come in at a port of their own, whatever they carry.
pub const TRAEFIK_TCP: Plane = Plane {
    name: "Traefik, IngressRouteTCP",
    objects: |_| {
        let routes = json!([{"match": "HostSNI(`*`)", "services": services()}]);
        let spec = json!({"entryPoints": ["tcp"], "routes": routes});
        vec![object("traefik.io/v1alpha1", "IngressRouteTCP", APP, &spec)]
    },
    route: || named("traefik.io/v1alpha1", "IngressRouteTCP", APP),
    metrics: OF_APP,
    connections: Some(9000),
    ..TRAEFIK_INGRESS_ROUTE
};

/// Traefik, by annotations of ingress-nginx.
pub const TRAEFIK_NGINX: Plane = Plane {
    name: "Traefik, annotations of ingress-nginx",
    objects: |host| {
        let canary = json!({
            "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "0",
        });
        vec![ingress(host, APP, STABLE, &json!({})), ingress(host, CANARY, CANARY, &canary)]
    },
    route: || {
        let mut route = named("networking.k8s.io/v1", "Ingress", CANARY);
        route["router"] = json!("nginx");
        route
    },
    // Traefik gives such a canary the name of the other Service.
    metrics: OF_APP,
    ..TRAEFIK_INGRESS_ROUTE
};

/// Contour with Envoy, by `HTTPProxy`.
pub const CONTOUR: Plane = Plane {
    name: "Contour, HTTPProxy",
    gateway: ("projectcontour", "envoy"),
    domain: "test",
    objects: |host| {
        let spec = json!({"virtualhost": {"fqdn": host}, "routes": [{"conditions": [{"prefix": "/"}], "services": services()}]});
        vec![object("projectcontour.io/v1", "HTTPProxy", APP, &spec)]
    },
    route: || named("projectcontour.io/v1", "HTTPProxy", APP),
    metrics: &["contour/error-rate", "contour/latency"],
    proof: "Status",
    protocol: "http1",
    connections: None,
};

/// Contour with Envoy, by an `HTTPProxy` of the name that is asked for within TLS, which goes on to the app as it came.
pub const CONTOUR_TLS: Plane = Plane {
    name: "Contour, HTTPProxy",
    objects: |host| {
        let virtual_host = json!({"fqdn": host, "tls": {"passthrough": true}});
        let spec = json!({"virtualhost": virtual_host, "tcpproxy": {"services": services()}});
        vec![object("projectcontour.io/v1", "HTTPProxy", APP, &spec)]
    },
    connections: Some(9443),
    ..CONTOUR.speaking("https")
};

/// Contour with Envoy, by the Gateway API.
pub const CONTOUR_GATEWAY_API: Plane = Plane {
    name: "Contour, HTTPRoute",
    objects: |host| http_route(host, &json!({"name": "contour", "namespace": "projectcontour"})),
    route: GATEWAY_API,
    ..CONTOUR
};

/// A `VirtualService` for the gateway of Istio, with one list of routes of this kind, which match so.
fn virtual_service(host: &str, list: &str, matches: &Value) -> Vec<Value> {
    let to = |service: &str, weight: u32| json!({"destination": {"host": service, "port": {"number": 80}}, "weight": weight});
    let mut route = json!({"route": [to(STABLE, 100), to(CANARY, 0)]});
    if !matches.is_null() {
        route["match"] = matches.clone();
    }
    let hosts = if list == "tcp" { json!(["*"]) } else { json!([host]) };
    let spec = json!({"hosts": hosts, "gateways": ["istio-system/gateway"], list: [route]});
    vec![object("networking.istio.io/v1", "VirtualService", APP, &spec)]
}

/// Istio with Envoy, by `VirtualService`.
pub const ISTIO: Plane = Plane {
    name: "Istio, VirtualService",
    gateway: ("istio-system", "gateway"),
    domain: "vs.test",
    objects: |host| virtual_service(host, "http", &Value::Null),
    route: || named("networking.istio.io/v1", "VirtualService", APP),
    metrics: OF_APP,
    proof: "Delay",
    protocol: "http1",
    connections: None,
};

/// Istio with Envoy, by a `VirtualService` of connections, whatever they carry.
pub const ISTIO_TCP: Plane = Plane {
    name: "Istio, VirtualService of connections",
    objects: |host| virtual_service(host, "tcp", &json!([{"port": 9000}])),
    connections: Some(9000),
    ..ISTIO
};

/// Istio with Envoy, by a `VirtualService` of the name that is asked for within TLS.
pub const ISTIO_TLS: Plane = Plane {
    name: "Istio, VirtualService",
    objects: |host| virtual_service(host, "tls", &json!([{"port": 9443, "sniHosts": [host]}])),
    connections: Some(9443),
    ..ISTIO.speaking("https")
};

/// Istio with Envoy, by the Gateway API.
pub const ISTIO_GATEWAY_API: Plane = Plane {
    name: "Istio, HTTPRoute",
    gateway: ("istio-system", "gateway"),
    objects: |host| http_route(host, &json!({"name": "istio", "namespace": "istio-system"})),
    metrics: OF_APP,
    ..TRAEFIK_GATEWAY_API
};

/// The sidecar of a client that calls the app's Service, by a `VirtualService` of the mesh.
pub const ISTIO_SIDECAR: Plane = Plane {
    name: "Istio's sidecar, VirtualService",
    gateway: ("client", "sidecar"),
    domain: "svc.cluster.local",
    objects: |host| {
        let mut service = (ISTIO.objects)(host).remove(0);
        service["spec"].as_object_mut().unwrap().remove("gateways");
        vec![service]
    },
    ..ISTIO
};

/// The same sidecar, by a route of the Gateway API whose parent is the app's Service.
pub const ISTIO_SIDECAR_GATEWAY_API: Plane = Plane {
    name: "Istio's sidecar, HTTPRoute",
    objects: |_| {
        let parent = json!({"group": "", "kind": "Service", "name": APP, "port": 80});
        let spec = json!({"parentRefs": [parent], "rules": [{"backendRefs": services()}]});
        vec![object("gateway.networking.k8s.io/v1", "HTTPRoute", APP, &spec)]
    },
    route: GATEWAY_API,
    proof: "Status",
    ..ISTIO_SIDECAR
};

const GRPC: fn() -> Value = || named("gateway.networking.k8s.io/v1", "GRPCRoute", APP);

/// Traefik, by a `GRPCRoute`.
pub const TRAEFIK_GRPC: Plane = Plane {
    name: "Traefik, GRPCRoute",
    objects: |host| grpc_route(host, &json!({"name": "traefik", "namespace": "traefik"})),
    route: GRPC,
    ..TRAEFIK_GATEWAY_API.speaking("grpc")
};

const TLS: fn() -> Value = || named("gateway.networking.k8s.io/v1", "TLSRoute", APP);

/// Traefik, by a `TLSRoute`.
pub const TRAEFIK_TLS: Plane = Plane {
    name: "Traefik, TLSRoute",
    objects: |host| tls_route(host, &json!({"name": "traefik", "namespace": "traefik", "sectionName": "tls"})),
    route: TLS,
    connections: Some(9443),
    ..TRAEFIK_GATEWAY_API.speaking("https")
};

/// Contour with Envoy, by a `GRPCRoute`.
pub const CONTOUR_GRPC: Plane = Plane {
    name: "Contour, GRPCRoute",
    objects: |host| grpc_route(host, &json!({"name": "contour", "namespace": "projectcontour"})),
    route: GRPC,
    ..CONTOUR_GATEWAY_API.speaking("grpc")
};

/// Istio with Envoy, by a `GRPCRoute`.
pub const ISTIO_GRPC: Plane = Plane {
    name: "Istio, GRPCRoute",
    objects: |host| grpc_route(host, &json!({"name": "istio", "namespace": "istio-system"})),
    route: GRPC,
    ..ISTIO_GATEWAY_API.speaking("grpc")
};

/// Envoy Gateway, by the Gateway API. It counts by rule of a route, whichever Service a request goes to.
pub const ENVOY_GATEWAY: Plane = Plane {
    name: "Envoy Gateway, HTTPRoute",
    gateway: ("envoy-gateway-system", "envoy"),
    objects: |host| http_route(host, &json!({"name": "envoy", "namespace": "envoy-gateway-system"})),
    metrics: OF_APP,
    ..TRAEFIK_GATEWAY_API
};

/// The same, with a cookie that names the pod which answered first.
pub const ENVOY_GATEWAY_STICKY: Plane = Plane {
    name: "Envoy Gateway, HTTPRoute with a cookie",
    objects: |host| {
        let mut objects = (ENVOY_GATEWAY.objects)(host);
        objects[0]["spec"]["rules"][0]["sessionPersistence"] = json!({"sessionName": "met", "type": "Cookie"});
        objects
    },
    ..ENVOY_GATEWAY
};

/// Envoy Gateway, by a `GRPCRoute`.
pub const ENVOY_GATEWAY_GRPC: Plane = Plane {
    name: "Envoy Gateway, GRPCRoute",
    objects: |host| grpc_route(host, &json!({"name": "envoy", "namespace": "envoy-gateway-system"})),
    route: GRPC,
    ..ENVOY_GATEWAY.speaking("grpc")
};

/// Envoy Gateway, by a `TCPRoute`.
pub const ENVOY_GATEWAY_TCP: Plane = Plane {
    name: "Envoy Gateway, TCPRoute",
    objects: |_| tcp_route(&json!({"name": "envoy", "namespace": "envoy-gateway-system", "sectionName": "tcp"})),
    route: || named("gateway.networking.k8s.io/v1", "TCPRoute", APP),
    connections: Some(9000),
    ..ENVOY_GATEWAY
};

/// Envoy Gateway, by a `TLSRoute`.
pub const ENVOY_GATEWAY_TLS: Plane = Plane {
    name: "Envoy Gateway, TLSRoute",
    objects: |host| {
        tls_route(host, &json!({"name": "envoy", "namespace": "envoy-gateway-system", "sectionName": "tls"}))
    },
    route: TLS,
    connections: Some(9443),
    ..ENVOY_GATEWAY.speaking("https")
};
