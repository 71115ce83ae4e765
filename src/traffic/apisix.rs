//! Apache APISIX: weights on the backends of an `ApisixRoute`.
use super::{
    Capability, Resource,
    weighted::{Shape, Weighted, untold, weights_only},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::Value;

/// Weighted backends of the HTTP rules of an `ApisixRoute`:
///
/// ```yaml
/// backends:
/// - {serviceName: checkout-stable, servicePort: 8080, weight: 100}
/// - {serviceName: checkout-canary, servicePort: 8080, weight: 0}
/// ```
///
/// A backend without a weight has 100. One of ours with a `subset` is refused: its labels, in an `ApisixUpstream`, would have to move
/// while it carries requests. `upstreams` of a rule, which name hosts outside the cluster, share its requests with the backends:
/// beside them our two keep what they have together, as beside other backends. The controller writes whether it has taken a
/// route, and not always of which generation, so that is not waited for; it pushes changes every second, and 5 s are given.
///
/// A rule of `spec.stream`, for TCP and UDP, has one backend and no weight, so it shares nothing out: it keeps stable, and one
/// that names the canary is refused.
pub(super) static ROUTER: Weighted = Weighted {
    name: "apisix",
    resources: &[Resource { group: "apisix.apache.org", version: "v2", kind: "ApisixRoute", plural: "apisixroutes" }],
    capabilities: &[Capability::Weight, Capability::Requests, Capability::Ports],
    settle: Duration::seconds(5),
    shape: SHAPE,
    accepted: untold,
    apart: weights_only,
};

const SHAPE: Shape = Shape {
    rules: &["/spec/http/*", "/spec/stream/*"],
    backends: "backends",
    beside: &["upstreams"],
    port: "/servicePort",
    unset: 100,
    heaviest: 1_000_000,
    service: |_, backend| backend["serviceName"].as_str().map(str::to_owned),
    unfit,
    elsewhere: |_, rule| one_backend(rule).into_iter().collect(),
    lines,
};

/// What a rule of a stream sends all of its connections to.
fn one_backend(rule: &Value) -> Option<(String, String)> {
    Some(("backend".to_owned(), rule["backend"]["serviceName"].as_str()?.to_owned()))
}

fn unfit(backend: &Value) -> Option<(&'static str, &'static str)> {
    let cure =
        "left out: its labels would have to move while it carries requests; the two Services tell the revisions apart";
    (!backend["subset"].is_null()).then_some(("subset", cure))
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    let backend = |name: &str, weight: u8| format!("{{serviceName: {name}, servicePort: {port}, weight: {weight}}}");
    format!(
        "backends: [{}, {}]; it must be one of spec.http, for those of spec.stream have no weights",
        backend(stable, 100),
        backend(canary, 0)
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Router as _, Weights, weighted::list},
        *,
    };
    use crate::vocab::Weight;

    fn recorded() -> Value {
        serde_saphyr::from_str(include_str!("apisix/recorded/http.yaml")).unwrap()
    }

    fn pair() -> Pair {
        Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() }
    }

    #[test]
    fn a_backend_without_a_weight_has_a_hundred() {
        let mut route = recorded();
        for backend in route["spec"]["http"][0]["backends"].as_array_mut().unwrap() {
            backend.as_object_mut().unwrap().remove("weight");
        }
        assert_eq!(ROUTER.read(&route, &pair()).unwrap().weight, Weights::At(Weight::new(50).unwrap()));
    }

    #[test]
    fn upstreams_keep_their_share_as_other_backends_do() {
        let before = recorded();
        let after = ROUTER.steer(&before, &pair(), Weight::new(20).unwrap()).unwrap().unwrap();
        let weights = |route: &Value, member: &str| -> Vec<_> {
            list(&route["spec"]["http"][0][member]).iter().map(|entry| entry["weight"].as_u64()).collect()
        };
        assert_eq!(weights(&before, "backends"), [Some(900), Some(100)]);
        assert_eq!(weights(&after, "backends"), [Some(800), Some(200)]);
        assert_eq!(weights(&after, "upstreams"), [Some(50)]);
    }

    #[test]
    fn a_stream_shares_nothing_out_and_may_not_lead_to_the_canary() {
        let with = |service: &str| {
            let mut route = recorded();
            route["spec"]["stream"] = serde_json::json!([{"name": "tcp", "protocol": "TCP", "match": {"ingressPort": 9100},
                "backend": {"serviceName": service, "servicePort": 8080}}]);
            route
        };
        let past = ROUTER.read(&with("checkout-canary"), &pair()).unwrap_err();
        assert_eq!(past.category(), "CanaryFiltered");
        assert!(past.to_string().contains("the backend of rule tcp"), "{past}");
        let stable = ROUTER.steer(&with("checkout-stable"), &pair(), Weight::new(20).unwrap()).unwrap().unwrap();
        assert_eq!(stable["spec"]["stream"], with("checkout-stable")["spec"]["stream"]);
        let mut alone = with("checkout-stable");
        alone["spec"].as_object_mut().unwrap().remove("http");
        let said = ROUTER.read(&alone, &pair()).unwrap_err().to_string();
        assert!(said.ends_with("those of spec.stream have no weights"), "{said}");
    }

    #[test]
    fn a_subset_is_refused_with_the_cure() {
        let mut route = recorded();
        route["spec"]["http"][0]["backends"][1]["subset"] = "v2".into();
        let error = ROUTER.read(&route, &pair()).unwrap_err().to_string();
        assert!(error.contains("subset") && error.contains("left out"), "{error}");
    }
}
