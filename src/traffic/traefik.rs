//! Traefik's own kinds: `IngressRoute` and `IngressRouteTCP`, whose routes list weighted Services, and `TraefikService`, which
//! is such a list by itself.
mod mirroring;
mod rule;

use super::{
    Capability, Resource,
    weighted::{Shape, Weighted, all_fit, list, untold, weights_only},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::Value;

/// Routes of HTTP.
///
/// A *managed* route is an entry of `spec.routes` whose `services` name both Services with the rollout's port; only their two
/// weights are written, and everything else is kept as it is:
///
/// ```yaml
/// routes:
/// - match: Host(`checkout.example.com`)
///   kind: Rule
///   services: [{name: checkout-stable, port: 8080, weight: 100}, {name: checkout-canary, port: 8080, weight: 0}]
/// ```
///
/// Entries of kind `TraefikService`, and of other namespaces, are none of ours. What is said of other backends in a rule of
/// the Gateway API holds here as well.
///
/// Where the route is ours to write (`ownership: Operator`), a step's `match` becomes a route with the managed route's own
/// rule, narrowed in the syntax of Traefik 3, its middlewares, and a priority that is greater by one. Copies of requests are
/// an affair of a `TraefikService`.
///
/// No status tells when Traefik has taken a change. It gathers changes for 2 s by default (`providersThrottleDuration`), so
/// it is given 3 s; whoever raised that raises `routes[].settle`.
pub(super) static ROUTE: Weighted = Weighted {
    name: NAME,
    resources: &[Resource { group: GROUP, version: "v1alpha1", kind: "IngressRoute", plural: "ingressroutes" }],
    capabilities: &[Capability::Weight, Capability::Match, Capability::Requests, Capability::Ports],
    settle: SETTLE,
    shape: ROUTES,
    accepted: untold,
    apart: rule::added,
};

/// Routes of TCP: the weights count connections, and one that stands stays where it is until it is closed.
///
/// Otherwise they are as those of HTTP, without matches.
pub(super) static TCP: Weighted = Weighted {
    name: NAME,
    resources: &[Resource { group: GROUP, version: "v1alpha1", kind: "IngressRouteTCP", plural: "ingressroutetcps" }],
    capabilities: &[Capability::Weight, Capability::Ports],
    settle: SETTLE,
    shape: ROUTES,
    accepted: untold,
    apart: weights_only,
};

/// A list of weighted Services under a name of its own, which routes of Traefik name as their backend.
///
/// ```yaml
/// weighted:
///   services: [{name: checkout-stable, port: 8080, weight: 100}, {name: checkout-canary, port: 8080, weight: 0}]
/// ```
///
/// `weighted.sticky` keeps a client with the Service that answered it first.
///
/// Where it is ours to write (`ownership: Operator`), a step's `mirror` turns it into `spec.mirroring` with stable as its main
/// Service and the canary as its mirror. It is either a list of weights or a mirror, so that step must have weight 0.
pub(super) static SERVICE: Weighted = Weighted {
    name: NAME,
    resources: &[Resource { group: GROUP, version: "v1alpha1", kind: "TraefikService", plural: "traefikservices" }],
    capabilities: &[Capability::Weight, Capability::Mirror, Capability::Requests, Capability::Sessions],
    settle: SETTLE,
    shape: WEIGHTED,
    accepted: untold,
    apart: mirroring::added,
};

const NAME: &str = "traefik";
const GROUP: &str = "traefik.io";
const SETTLE: Duration = Duration::seconds(3);
/// Weights are integers of unstated size; this much is read by every build of Traefik.
const HEAVIEST: u64 = 2_147_483_647;

/// Where the weights of a route stand.
const ROUTES: Shape = Shape {
    rules: &["/spec/routes/*"],
    backends: "services",
    beside: &[],
    port: "/port",
    unset: 1,
    heaviest: HEAVIEST,
    service: named_service,
    unfit: all_fit,
    elsewhere: |_, _| Vec::new(),
    lines,
};

/// Where those of a `TraefikService` stand.
const WEIGHTED: Shape = Shape { rules: &["/spec/weighted"], elsewhere: mirrors, ..ROUTES };

/// The Service that an entry names in the route's own namespace.
fn named_service(route: &Value, entry: &Value) -> Option<String> {
    let namespace = &entry["namespace"];
    let ours = entry["kind"].as_str().unwrap_or("Service") == "Service"
        && (namespace.is_null() || *namespace == route["metadata"]["namespace"]);
    entry["name"].as_str().filter(|_| ours).map(str::to_owned)
}

/// The Services of a mirror that somebody wrote beside the weights.
fn mirrors(route: &Value, _: &Value) -> Vec<(String, String)> {
    let mirroring = &route["spec"]["mirroring"];
    let all = std::iter::once(mirroring).chain(list(&mirroring["mirrors"]));
    all.filter_map(|entry| Some(("mirroring".to_owned(), named_service(route, entry)?))).collect()
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    format!("services: [{{name: {stable}, port: {port}, weight: 100}}, {{name: {canary}, port: {port}, weight: 0}}]")
}

#[cfg(test)]
mod tests;
