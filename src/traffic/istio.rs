//! Istio: weights on the destinations of a `VirtualService`.
mod apart;

use super::{
    Capability, Resource,
    weighted::{Shape, Weighted, list, untold},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::Value;

/// Weighted destinations of an Istio `VirtualService`, in its `http`, `tls` and `tcp` routes.
///
/// A *managed* route is one that names both Services as hosts, by the short name or by the full one
/// (`NAME.NAMESPACE.svc.DOMAIN`); other destinations keep their weights, and our two share what they had together:
///
/// ```yaml
/// http:
/// - route:
///   - {destination: {host: checkout-stable, port: {number: 8080}}, weight: 100}
///   - {destination: {host: checkout-canary, port: {number: 8080}}, weight: 0}
/// ```
///
/// A `delegate` is a `VirtualService` of its own: name the one that holds the destinations as the rollout's route.
///
/// In ambient mode a waypoint shares requests out, by an `HTTPRoute` whose parent is the Service: name that one, for Istio calls
/// `VirtualService`s beside waypoints alpha.
///
/// A destination of ours with a `subset` is refused. A subset is labels in a `DestinationRule`; they would have to move
/// to other pods while the subset carries traffic, and until every proxy knows, requests meet pods that are none of its.
/// The two Services move only while they carry none: name them as hosts, and leave `subset` out.
///
/// Where the route is ours to write (`ownership: Operator`), a step's `match` becomes an HTTP route right before each managed
/// one, with all that this one does to its requests, and `mirror` a mirror of the managed routes.
///
/// Istio writes a status into a `VirtualService` only where it is told to (`PILOT_ENABLE_STATUS`), so none is waited for.
/// Istiod gathers changes for at most 10 s while they keep coming before it tells the proxies; that time is given.
pub(super) static ROUTER: Weighted = Weighted {
    name: "istio",
    resources: &[Resource {
        group: "networking.istio.io",
        version: "v1",
        kind: "VirtualService",
        plural: "virtualservices",
    }],
    capabilities: &[Capability::Weight, Capability::Match, Capability::Mirror, Capability::Requests, Capability::Ports],
    settle: Duration::seconds(10),
    shape: SHAPE,
    accepted: untold,
    apart: apart::added,
};

const SHAPE: Shape = Shape {
    rules: &["/spec/http/*", "/spec/tls/*", "/spec/tcp/*"],
    backends: "route",
    beside: &[],
    port: "/destination/port/number",
    unset: 0,
    heaviest: i32::MAX as u64,
    service: |route, backend| named_service(route, &backend["destination"]),
    unfit,
    elsewhere: mirrors,
    lines,
};

/// The Service of the route's own namespace that a destination names, however its host is spelled.
fn named_service(route: &Value, destination: &Value) -> Option<String> {
    let host = destination["host"].as_str()?;
    let Some((name, rest)) = host.split_once('.') else { return Some(host.to_owned()) };
    let rest = rest.strip_prefix(route["metadata"]["namespace"].as_str()?)?;
    (rest.is_empty() || rest == ".svc" || rest.starts_with(".svc.")).then(|| name.to_owned())
}

/// Why a destination that names a Service of ours cannot carry a weight.
fn unfit(backend: &Value) -> Option<(&'static str, &'static str)> {
    let destination = &backend["destination"];
    let host = destination["host"].as_str().unwrap_or_default();
    if !destination["subset"].is_null() {
        return Some((
            "destination.subset",
            "left out: its labels would have to move while it carries requests; the two Services as hosts tell the \
             revisions apart",
        ));
    }
    if host.contains('.') && !host.contains(".svc.") {
        return Some((
            "destination.host",
            "the short name or NAME.NAMESPACE.svc.cluster.local: Istio takes any other name with dots as it is, and knows no \
             such host",
        ));
    }
    None
}

/// Mirrors of a route.
fn mirrors(route: &Value, rule: &Value) -> Vec<(String, String)> {
    let several = list(&rule["mirrors"]).iter().map(|mirror| &mirror["destination"]);
    let all = std::iter::once(&rule["mirror"]).chain(several);
    all.filter_map(|destination| Some(("mirror".to_owned(), named_service(route, destination)?))).collect()
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    let one = |host, weight| format!("{{destination: {{host: {host}, port: {{number: {port}}}}}, weight: {weight}}}");
    format!("route: [{}, {}]", one(stable, 100), one(canary, 0))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Router as _, Unsteerable, Weights},
        *,
    };
    use crate::vocab::Weight;
    use serde_json::json;

    fn pair() -> Pair {
        Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() }
    }

    fn route(spec: &Value) -> Value {
        json!({"kind": "VirtualService", "metadata": {"name": "checkout", "namespace": "shop"}, "spec": spec})
    }

    fn to(host: &str, weight: u64) -> Value {
        json!({"destination": {"host": host}, "weight": weight})
    }

    fn refused(spec: &Value) -> Unsteerable {
        ROUTER.read(&route(spec), &pair()).unwrap_err()
    }

    #[test]
    fn a_host_is_ours_by_its_short_name_or_in_the_routes_namespace() {
        let route = route(&json!({}));
        for (host, name) in [
            ("checkout-canary", Some("checkout-canary")),
            ("checkout-canary.shop.svc.cluster.local", Some("checkout-canary")),
            ("checkout-canary.shop.svc.example.internal", Some("checkout-canary")),
            ("checkout-canary.shop", Some("checkout-canary")),
            ("checkout-canary.shopping.svc.cluster.local", None),
            ("checkout-canary.other.svc.cluster.local", None),
            ("checkout-canary.example.com", None),
        ] {
            assert_eq!(named_service(&route, &json!({"host": host})).as_deref(), name, "{host}");
        }
    }

    #[test]
    fn routes_of_all_three_kinds_are_steered_together() {
        let both = json!([{"route": [to("checkout-stable", 90), to("checkout-canary.shop.svc.cluster.local", 10)]}]);
        let before = route(&json!({"http": both, "tls": both, "tcp": both}));
        let after = ROUTER.steer(&before, &pair(), Weight::new(20).unwrap()).unwrap().unwrap();
        for kind in ["http", "tls", "tcp"] {
            assert_eq!(after["spec"][kind][0]["route"][1]["weight"], 20, "{kind}");
        }
    }

    #[test]
    fn destinations_of_which_none_weighs_anything_count_as_halves() {
        let bare = json!([{"destination": {"host": "checkout-stable"}}, {"destination": {"host": "checkout-canary"}}]);
        let before = route(&json!({"http": [{"route": bare}]}));
        assert_eq!(ROUTER.read(&before, &pair()).unwrap().weight.at_most().percent(), 50);
        for weight in [0, 1, 50] {
            let after = ROUTER.steer(&before, &pair(), Weight::new(weight).unwrap()).unwrap().unwrap();
            let canary = &after["spec"]["http"][0]["route"][1];
            assert_eq!(canary["weight"].as_u64().unwrap_or(0), u64::from(weight));
        }
    }

    #[test]
    fn a_subset_of_ours_is_refused_with_the_cure() {
        let mut stable = to("checkout-stable", 100);
        stable["destination"]["subset"] = json!("v1");
        let error = refused(&json!({"http": [{"name": "main", "route": [stable, to("checkout-canary", 0)]}]}));
        let said = error.to_string();
        assert!(said.contains("rule main: route[0].destination.subset is not left out"), "{said}");
        assert!(said.contains("the two Services as hosts"), "{said}");
    }

    #[test]
    fn a_host_that_istio_does_not_resolve_is_refused() {
        let error = refused(&json!({"http": [{"route": [to("checkout-stable", 1), to("checkout-canary.shop", 0)]}]}));
        assert!(error.to_string().contains("http[0]: route[1].destination.host is not the short name"), "{error}");
    }

    #[test]
    fn a_mirror_to_the_canary_is_refused_in_either_spelling() {
        let both = json!([to("checkout-stable", 100), to("checkout-canary", 0)]);
        for rule in [
            json!({"route": both, "mirror": {"host": "checkout-canary"}}),
            json!({"route": both, "mirrors": [{"destination": {"host": "audit"}}, {"destination": {"host": "checkout-canary.shop.svc.cluster.local"}}]}),
        ] {
            let error = refused(&json!({"http": [rule]}));
            assert_eq!(error.category(), "CanaryFiltered");
            assert!(error.to_string().contains("the mirror of http[0]"), "{error}");
        }
    }

    #[test]
    fn a_route_that_only_delegates_is_told_what_to_write_and_where() {
        let error = refused(&json!({"http": [{"delegate": {"name": "checkout-routes", "namespace": "shop"}}]}));
        assert_eq!(error.category(), "RouteNotPrepared");
    }

    #[test]
    fn the_line_that_is_told_prepares_the_route() {
        let rule: Value = serde_saphyr::from_str(&lines(&pair())).unwrap();
        assert_eq!(ROUTER.read(&route(&json!({"http": [rule]})), &pair()).unwrap().weight, Weights::At(Weight::ZERO));
    }
}
