//! Gateway API below HTTP: weights on the backends of a `TLSRoute` or a `TCPRoute`.
use super::{
    Capability, Resource,
    gateway_api::{GROUP, SHAPE, parents},
    weighted::{Weighted, weights_only},
};
use crate::duration::Duration;

/// Weighted backends of a Gateway API `TLSRoute` or `TCPRoute`.
///
/// They are written, read and accepted as those of an `HTTPRoute` are, in the version that the Rollout names; a cluster serves
/// one or several of those that its Gateway API has come through. What is shared out is connections and not requests:
/// one that is open stays where it is until somebody closes it, whatever the weight is meanwhile. Nothing in a connection can
/// be told apart, so there is neither `match` nor `mirror`.
pub(super) static ROUTER: Weighted = Weighted {
    name: "gateway-api-l4",
    resources: &[
        Resource { version: "v1", ..TLS },
        Resource { version: "v1alpha3", ..TLS },
        Resource { version: "v1alpha2", ..TLS },
        Resource { version: "v1", ..TCP },
        Resource { version: "v1alpha2", ..TCP },
    ],
    capabilities: &[Capability::Weight, Capability::Status, Capability::Ports],
    settle: Duration::seconds(3),
    shape: SHAPE,
    accepted: parents::accepted,
    apart: weights_only,
};

const TLS: Resource = Resource { group: GROUP, version: "v1", kind: "TLSRoute", plural: "tlsroutes" };
const TCP: Resource = Resource { group: GROUP, version: "v1", kind: "TCPRoute", plural: "tcproutes" };

#[cfg(test)]
mod tests {
    use super::{
        super::{Acceptance, Apart, Mirror, Router as _},
        *,
    };
    use crate::vocab::{Pair, Weight};
    use serde_json::{Value, json};

    fn recorded(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn backends_of_other_kinds_groups_and_namespaces_keep_their_weights() {
        let before = recorded(include_str!("gateway_api_l4/recorded/tls.yaml"));
        let pair =
            Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() };
        let after = ROUTER.steer(&before, &pair, Weight::new(20).unwrap()).unwrap().unwrap();
        let weights = |route: &Value| -> Vec<u64> {
            let backends = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
            backends.iter().map(|backend| backend["weight"].as_u64().unwrap_or(1)).collect()
        };
        assert_eq!(weights(&before), [300, 0, 50, 50]);
        assert_eq!(weights(&after), [240, 60, 50, 50]);
        assert_eq!(ROUTER.services(&before), ["checkout-stable", "checkout-canary"]);
    }

    #[test]
    fn a_service_as_the_parent_answers_like_a_gateway() {
        let mut route = recorded(include_str!("gateway_api_l4/recorded/tcp.yaml"));
        assert_eq!(route["spec"]["parentRefs"][0]["kind"], "Service");
        assert_eq!(ROUTER.accepted(&route), Acceptance::Yes);
        route["status"]["parents"][0]["conditions"][0]["observedGeneration"] = json!(1);
        assert!(
            matches!(ROUTER.accepted(&route), Acceptance::Unknown(why) if why.starts_with("Service shop/checkout"))
        );
    }

    #[test]
    fn connections_are_not_copied() {
        let route = recorded(include_str!("gateway_api_l4/recorded/tcp.yaml"));
        let pair =
            Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() };
        let apart = Apart { matches: Vec::new(), mirror: Some(Mirror { percent: 10 }) };
        assert_eq!(ROUTER.apart(route, &pair, &apart).unwrap_err().category(), "CannotMatch");
    }
}
