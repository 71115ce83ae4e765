//! Contour: weights on the services of an `HTTPProxy`.
mod apart;

use super::{
    Acceptance, Capability, Resource,
    weighted::{Shape, Weighted, all_fit, list},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::Value;

/// Weighted services of a Contour `HTTPProxy`, in its `routes` and its `tcpproxy`.
///
/// A *managed* route is one that names both Services with the rollout's port; other services keep their weights, and our
/// two share what they had together:
///
/// ```yaml
/// routes:
/// - conditions: [{prefix: /}]
///   services: [{name: checkout-stable, port: 8080, weight: 100}, {name: checkout-canary, port: 8080, weight: 0}]
/// ```
///
/// Where no service of a route has a weight, Contour shares its requests out evenly. A service with `mirror: true` gets
/// copies, so the canary as one is refused. An `HTTPProxy` that is included by another is named as the rollout's route itself.
///
/// Where the route is ours to write (`ownership: Operator`), a step's `match` becomes a route with further conditions beside
/// each managed one, and `mirror` a mirroring service of the managed routes. Contour tells requests apart by header, cookie,
/// query and path, not by method, and mirrors to one service only. It asks the route first that has the most conditions: where
/// another one would lose requests to such a route, the match is refused, with what to write. `HTTPProxies` that are included
/// beside this one are not looked at.
///
/// A change counts as accepted when the condition `Valid` is True for the present generation. Envoy follows within
/// moments; 3 s are given besides.
pub(super) static ROUTER: Weighted = Weighted {
    name: "contour",
    resources: &[Resource { group: "projectcontour.io", version: "v1", kind: "HTTPProxy", plural: "httpproxies" }],
    capabilities: &[
        Capability::Weight,
        Capability::Match,
        Capability::Mirror,
        Capability::Status,
        Capability::Requests,
        Capability::Ports,
    ],
    settle: Duration::seconds(3),
    shape: SHAPE,
    accepted,
    apart: apart::added,
};

const SHAPE: Shape = Shape {
    rules: &["/spec/routes/*", "/spec/tcpproxy"],
    backends: "services",
    beside: &[],
    port: "/port",
    unset: 0,
    heaviest: 1_000_000,
    service: |_, backend| Some(backend["name"].as_str()?.to_owned()).filter(|_| backend["mirror"] != true),
    unfit: all_fit,
    elsewhere: mirrors,
    lines,
};

/// Services of a route that get copies of its requests.
fn mirrors(_: &Value, rule: &Value) -> Vec<(String, String)> {
    let all = list(&rule["services"]).iter().filter(|service| service["mirror"] == true);
    all.filter_map(|service| Some(("mirror".to_owned(), service["name"].as_str()?.to_owned()))).collect()
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    format!("services: [{{name: {stable}, port: {port}, weight: 100}}, {{name: {canary}, port: {port}, weight: 0}}]")
}

/// What Contour says of the present generation.
fn accepted(route: &Value) -> Acceptance {
    let conditions = list(&route["status"]["conditions"]);
    let Some(valid) = conditions.iter().find(|condition| condition["type"] == "Valid") else {
        return Acceptance::Unknown("Contour has not answered yet".into());
    };
    let words = words(route, valid);
    if valid["observedGeneration"] != route["metadata"]["generation"] || valid["observedGeneration"].is_null() {
        return Acceptance::Unknown(format!("{words}, of an older generation"));
    }
    match valid["status"].as_str() {
        Some("True") => Acceptance::Yes,
        Some("False") => Acceptance::No(words),
        _ => Acceptance::Unknown(words),
    }
}

/// How many characters of Contour's own words go into a reason.
const LONGEST: usize = 256;

/// Contour's own words: what is wrong, as far as it says.
fn words(route: &Value, valid: &Value) -> String {
    let errors = list(&valid["errors"]).iter().map(|error| &error["message"]);
    let mut all = errors.chain([&valid["message"], &route["status"]["description"]]).filter_map(Value::as_str);
    let why: String = all.find(|text| !text.is_empty()).unwrap_or_default().chars().take(LONGEST).collect();
    format!("Valid is {}: {why}", valid["status"].as_str().unwrap_or("unknown"))
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

    fn recorded() -> Value {
        serde_saphyr::from_str(include_str!("contour/recorded/http.yaml")).unwrap()
    }

    fn route(services: &Value) -> Value {
        json!({"kind": "HTTPProxy", "metadata": {"name": "checkout", "namespace": "shop"},
            "spec": {"routes": [{"services": services}]}})
    }

    fn refused(services: &Value) -> Unsteerable {
        ROUTER.read(&route(services), &pair()).unwrap_err()
    }

    #[test]
    fn services_without_any_weight_have_equal_shares() {
        let bare = json!([{"name": "checkout-stable", "port": 8080}, {"name": "checkout-canary", "port": 8080}]);
        assert_eq!(ROUTER.read(&route(&bare), &pair()).unwrap().weight, Weights::At(Weight::new(50).unwrap()));
        let after = ROUTER.steer(&route(&bare), &pair(), Weight::ZERO).unwrap().unwrap();
        assert_eq!(after["spec"]["routes"][0]["services"][0]["weight"], 100);
        let some = json!([{"name": "checkout-stable", "weight": 7}, {"name": "checkout-canary"}]);
        assert_eq!(ROUTER.read(&route(&some), &pair()).unwrap().weight, Weights::At(Weight::ZERO));
    }

    #[test]
    fn the_canary_as_a_mirror_is_refused() {
        let services = json!([{"name": "checkout-stable"}, {"name": "checkout-canary"},
            {"name": "checkout-canary", "mirror": true}]);
        let error = refused(&services);
        assert_eq!(error.category(), "CanaryFiltered");
        assert!(error.to_string().contains("the mirror of routes[0]"), "{error}");
    }

    #[test]
    fn tcp_is_steered_like_http() {
        let mut route = route(&json!([]));
        route["spec"]["tcpproxy"] =
            json!({"services": [{"name": "checkout-stable", "weight": 1}, {"name": "checkout-canary"}]});
        let after = ROUTER.steer(&route, &pair(), Weight::new(5).unwrap()).unwrap().unwrap();
        assert_eq!(after["spec"]["tcpproxy"]["services"][1]["weight"], 5);
    }

    #[test]
    fn it_is_accepted_when_contour_says_so_of_the_present_generation() {
        let mut route = recorded();
        assert_eq!(accepted(&route), Acceptance::Yes);
        route["metadata"]["generation"] = json!(9);
        assert!(matches!(accepted(&route), Acceptance::Unknown(why) if why.contains("older generation")));
        route["status"] = json!({"currentStatus": "NotReconciled", "description": "Waiting for controller"});
        assert!(matches!(accepted(&route), Acceptance::Unknown(why) if why.contains("not answered")));
    }

    #[test]
    fn a_refusal_is_told_in_contours_words() {
        let mut route = recorded();
        route["status"]["conditions"][0]["status"] = json!("False");
        route["status"]["conditions"][0]["errors"] = json!([{"type": "ServiceError", "reason": "ServiceUnresolvedReference",
            "status": "True", "message": "Spec.Routes unresolved service reference: service \"shop/gone\" not found"}]);
        let Acceptance::No(why) = accepted(&route) else { panic!() };
        assert!(why.ends_with("service \"shop/gone\" not found"), "{why}");
    }

    #[test]
    fn the_line_that_is_told_prepares_the_route() {
        let rule: Value = serde_saphyr::from_str(&lines(&pair())).unwrap();
        assert_eq!(ROUTER.read(&route(&rule["services"]), &pair()).unwrap().weight, Weights::At(Weight::ZERO));
    }
}
