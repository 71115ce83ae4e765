//! Gateway API: weights on the backends of an `HTTPRoute` or a `GRPCRoute`.
//!
//! `spec.rules` is an atomic list, so no field manager can own a weight alone: the route is taken as it was read,
//! the weights of our two backends are rewritten where they stand, and the whole object goes back.
mod apart;
pub(super) mod parents;

use super::{
    Capability, Resource,
    weighted::{Shape, Weighted, all_fit, list},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::Value;

/// Weighted backends of a Gateway API `HTTPRoute` or `GRPCRoute`, on any gateway or mesh that serves them.
///
/// A *managed* rule is one whose `backendRefs` name both Services with the rollout's port. Only the two weights of
/// such rules are written; other rules, filters, matches and fields unknown here are kept as they are:
///
/// ```yaml
/// rules:
/// - matches: [{path: {value: /}}]
///   backendRefs: [{name: checkout-stable, port: 8080, weight: 100}, {name: checkout-canary, port: 8080, weight: 0}]
/// ```
///
/// Where a managed rule names other backends too, those keep their weights and our two share what they had together,
/// which should be a multiple of 100. Requests that would reach the canary past the weights (a rule that names it
/// without stable, a mirror, a `ServiceImport` of its name) are refused.
///
/// Where the route is ours to write (`ownership: Operator`), a step's `match` becomes a rule before each managed one, with
/// that rule's filters and time-outs and the canary alone behind it, and `mirror` a filter of the managed rules.
///
/// A gateway asks the rule first that says the most about a request, so such a rule says more than its own. Where it would take
/// requests from another rule of the route, the match is refused, with what to write. Other routes of the same host are not
/// looked at: one of the same path that says more than the managed rule, and not more than rule and match together, would lose
/// requests that fit both.
///
/// `sessionPersistence` of a rule keeps a client with the Service that answered it first, where the implementation has it.
///
/// A change counts as accepted when every `parentRef` of the spec is answered in `status.parents` with Accepted and
/// `ResolvedRefs` for the route's present generation. Linkerd names no generation in its answers: it can refuse, and else
/// only time is waited for. Where a parent's answer has the condition `Programmed` too, as Application Gateway for Containers
/// writes it, that must be True likewise. No other field tells when the proxies themselves follow, so they are given 3 s more,
/// those that Istio configures 10 s, and load balancers of a cloud 60 s, which learn of endpoints by themselves;
/// `routes[].settle` changes that.
pub(super) static ROUTER: Weighted = Weighted {
    name: "gateway-api",
    resources: &[
        Resource { group: GROUP, version: "v1", kind: "HTTPRoute", plural: "httproutes" },
        Resource { group: GROUP, version: "v1", kind: "GRPCRoute", plural: "grpcroutes" },
    ],
    capabilities: &[
        Capability::Weight,
        Capability::Match,
        Capability::Mirror,
        Capability::Status,
        Capability::Requests,
        Capability::Sessions,
        Capability::Ports,
    ],
    settle: Duration::seconds(3),
    shape: SHAPE,
    accepted: parents::accepted,
    apart: apart::added,
};

pub(super) const GROUP: &str = "gateway.networking.k8s.io";

/// Where the weights of a route of the Gateway API stand.
pub(super) const SHAPE: Shape = Shape {
    rules: &["/spec/rules/*"],
    backends: "backendRefs",
    beside: &[],
    port: "/port",
    unset: 1,
    heaviest: 1_000_000,
    service: named_service,
    unfit: all_fit,
    elsewhere,
    lines,
};

/// The Service that a reference names in the route's own namespace.
fn named_service(route: &Value, reference: &Value) -> Option<String> {
    named(route, reference, ("", "Service"))
}

/// The Service of the route's own namespace that a reference means by what clusters export under its name (KEP-1645).
fn imported_service(route: &Value, reference: &Value) -> Option<String> {
    named(route, reference, ("multicluster.x-k8s.io", "ServiceImport"))
}

/// What a reference names in the route's own namespace, with the defaults of the API, if it is of this group and kind.
fn named(route: &Value, reference: &Value, (group, kind): (&str, &str)) -> Option<String> {
    let is = |field: &str, default, wanted| reference[field].as_str().unwrap_or(default) == wanted;
    let namespace = &reference["namespace"];
    let ours = is("group", "", group)
        && is("kind", "Service", kind)
        && (namespace.is_null() || *namespace == route["metadata"]["namespace"]);
    reference["name"].as_str().filter(|_| ours).map(str::to_owned)
}

/// Filters of a rule and of its backends that send requests somewhere, such as a mirror, and backends that reach a Service
/// past its own name.
fn elsewhere(route: &Value, rule: &Value) -> Vec<(String, String)> {
    let backends = list(&rule["backendRefs"]);
    let imported = backends.iter().filter_map(|it| Some(("ServiceImport".to_owned(), imported_service(route, it)?)));
    let of_backends = backends.iter().flat_map(|backend| list(&backend["filters"]));
    let all = list(&rule["filters"]).iter().chain(of_backends);
    let sends = all.flat_map(|filter| {
        let settings = filter.as_object().into_iter().flat_map(|filter| filter.values());
        settings.filter_map(move |setting| {
            let to = &setting["backendRef"];
            Some((filter, named_service(route, to).or_else(|| imported_service(route, to))?))
        })
    });
    let sends = sends.map(|(filter, to)| (format!("{} filter", filter["type"].as_str().unwrap_or("unnamed")), to));
    imported.chain(sends).collect()
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    format!("backendRefs: [{{name: {stable}, port: {port}, weight: 100}}, {{name: {canary}, port: {port}, weight: 0}}]")
}

#[cfg(test)]
mod tests;
