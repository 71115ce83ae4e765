//! Kuma: weights on the backends of a `MeshHTTPRoute` or a `MeshTCPRoute`.
use super::{
    Capability, Resource,
    weighted::{Shape, Weighted, all_fit, list, untold, weights_only},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::Value;

/// Weighted backends of a Kuma `MeshHTTPRoute`, in the rules of each of its destinations.
///
/// A backend of ours is a `MeshService` of the Service's own name, as Kuma makes one of each Service, in the route's namespace:
///
/// ```yaml
/// default:
///   backendRefs:
///   - {kind: MeshService, name: checkout-stable, port: 8080, weight: 100}
///   - {kind: MeshService, name: checkout-canary, port: 8080, weight: 0}
/// ```
///
/// It may be named by labels as well, which is the only way from Kuma 3 on: `kuma.io/display-name` with its name and nothing
/// else, or with `k8s.kuma.io/namespace` of the route. One by other labels, or a `MeshServiceSubset`, is none of ours and keeps
/// its weight: what they mean may move while it carries requests. No status tells when the proxies have taken a change; Kuma
/// brings them up to date every second, and they are given 5 s.
pub(super) static HTTP: Weighted = Weighted {
    name: NAME,
    resources: &[Resource { group: GROUP, version: "v1alpha1", kind: "MeshHTTPRoute", plural: "meshhttproutes" }],
    capabilities: &[Capability::Weight, Capability::Requests, Capability::Ports],
    settle: SETTLE,
    shape: SHAPE,
    accepted: untold,
    apart: weights_only,
};

/// The same below HTTP: what is shared out is connections, and one that stands stays where it is until it is closed.
pub(super) static TCP: Weighted = Weighted {
    name: NAME,
    resources: &[Resource { group: GROUP, version: "v1alpha1", kind: "MeshTCPRoute", plural: "meshtcproutes" }],
    capabilities: &[Capability::Weight, Capability::Ports],
    settle: SETTLE,
    shape: SHAPE,
    accepted: untold,
    apart: weights_only,
};

const NAME: &str = "kuma";
const GROUP: &str = "kuma.io";
const DISPLAY_NAME: &str = "kuma.io/display-name";
const NAMESPACE: &str = "k8s.kuma.io/namespace";
const SETTLE: Duration = Duration::seconds(5);

const SHAPE: Shape = Shape {
    rules: &["/spec/to/*/rules/*/default"],
    backends: "backendRefs",
    beside: &[],
    port: "/port",
    unset: 1,
    heaviest: 1_000_000,
    service: named_service,
    unfit: all_fit,
    elsewhere: mirrors,
    lines,
};

fn named_service(route: &Value, reference: &Value) -> Option<String> {
    let labels = &reference["labels"];
    let of_labels = || {
        let others = labels.as_object()?.keys().any(|name| ![DISPLAY_NAME, NAMESPACE].contains(&name.as_str()));
        labels[DISPLAY_NAME].as_str().filter(|_| !others)
    };
    let name = reference["name"].as_str().or_else(of_labels)?;
    let home = &route["metadata"]["namespace"];
    let is_home = |namespace: &Value| namespace.is_null() || namespace == home;
    let is_ours = reference["kind"] == "MeshService" && is_home(&reference["namespace"]) && is_home(&labels[NAMESPACE]);
    is_ours.then(|| name.to_owned())
}

/// Filters that copy requests.
fn mirrors(route: &Value, rule: &Value) -> Vec<(String, String)> {
    let all = list(&rule["filters"]).iter();
    let to = |filter: &Value| named_service(route, &filter["requestMirror"]["backendRef"]);
    all.filter_map(|filter| Some(("RequestMirror filter".to_owned(), to(filter)?))).collect()
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    let backend =
        |name: &str, weight: u8| format!("{{kind: MeshService, name: {name}, port: {port}, weight: {weight}}}");
    format!("backendRefs: [{}, {}]", backend(stable, 100), backend(canary, 0))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Router as _, Weights},
        *,
    };
    use crate::vocab::Weight;
    use serde_json::json;

    #[test]
    fn backends_by_labels_and_of_other_namespaces_keep_their_weights() {
        let route: Value = serde_saphyr::from_str(include_str!("kuma/recorded/http.yaml")).unwrap();
        let pair =
            Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() };
        let after = HTTP.steer(&route, &pair, Weight::new(20).unwrap()).unwrap().unwrap();
        let weights = |route: &Value| -> Vec<_> {
            let backends = list(&route["spec"]["to"][0]["rules"][0]["default"]["backendRefs"]).iter();
            backends.map(|backend| backend["weight"].as_u64()).collect()
        };
        assert_eq!(weights(&route), [Some(75), Some(25), Some(10), None]);
        assert_eq!(weights(&after), [Some(80), Some(20), Some(10), None]);
        assert_eq!(HTTP.services(&route), ["checkout-stable", "checkout-canary", "checkout-legacy", "docs"]);
    }

    #[test]
    fn a_backend_may_be_named_by_its_labels() {
        let mut route: Value = serde_saphyr::from_str(include_str!("kuma/recorded/http.yaml")).unwrap();
        let pair =
            Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() };
        let backends = route["spec"]["to"][0]["rules"][0]["default"]["backendRefs"].as_array_mut().unwrap();
        backends.truncate(2);
        for (backend, more) in backends.iter_mut().zip([json!({}), json!({NAMESPACE: "shop"})]) {
            backend["labels"] = more;
            backend["labels"][DISPLAY_NAME] = backend["name"].take();
            backend.as_object_mut().unwrap().remove("name");
        }
        let after = HTTP.steer(&route, &pair, Weight::new(20).unwrap()).unwrap().unwrap();
        assert_eq!(HTTP.read(&after, &pair).unwrap().weight, Weights::At(Weight::new(20).unwrap()));
        for foreign in [json!({NAMESPACE: "bank"}), json!({"kuma.io/zone": "west"})] {
            let mut route = route.clone();
            let canary = &mut route["spec"]["to"][0]["rules"][0]["default"]["backendRefs"][1];
            canary["labels"] = foreign;
            canary["labels"][DISPLAY_NAME] = json!("checkout-canary");
            assert_eq!(HTTP.read(&route, &pair).unwrap_err().category(), "RouteNotPrepared");
        }
    }

    #[test]
    fn the_canary_as_a_mirror_is_refused() {
        let mut route: Value = serde_saphyr::from_str(include_str!("kuma/recorded/http.yaml")).unwrap();
        let mirror = serde_json::json!([{"type": "RequestMirror", "requestMirror": {"backendRef": {
            "kind": "MeshService", "name": "checkout-canary", "port": 8080}}}]);
        route["spec"]["to"][0]["rules"][0]["default"]["filters"] = mirror;
        let pair =
            Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() };
        let error = HTTP.read(&route, &pair).unwrap_err();
        assert_eq!(error.category(), "CanaryFiltered");
    }
}
