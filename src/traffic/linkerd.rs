//! Linkerd: weights on the backends of the `HTTPRoute` of its own policy group.
use super::{
    Capability, Resource,
    gateway_api::SHAPE,
    weighted::{Weighted, untold, weights_only},
};
use crate::duration::Duration;

/// Weighted backends of an `HTTPRoute` of `policy.linkerd.io`, whose parent is the Service that clients of the mesh call.
///
/// They stand where those of the Gateway API's own route stand, and mean the same:
///
/// ```yaml
/// parentRefs: [{group: core, kind: Service, name: checkout, port: 8080}]
/// rules:
/// - backendRefs: [{name: checkout-stable, port: 8080, weight: 100}, {name: checkout-canary, port: 8080, weight: 0}]
/// ```
///
/// Only clients with a proxy of Linkerd heed the route: where they have none, status shows that hardly a request reaches the
/// canary. What Linkerd answers in status names no generation, so it says nothing of the last change; its proxies are told of a
/// change at once and are given 3 s.
pub(super) static ROUTER: Weighted = Weighted {
    name: "linkerd",
    resources: &[Resource { group: "policy.linkerd.io", version: "v1beta3", kind: "HTTPRoute", plural: "httproutes" }],
    capabilities: &[Capability::Weight, Capability::Requests, Capability::Ports],
    settle: Duration::seconds(3),
    shape: SHAPE,
    accepted: untold,
    apart: weights_only,
};

#[cfg(test)]
mod tests {
    use super::{
        super::{Acceptance, Router as _, Weights},
        *,
    };
    use crate::vocab::{Pair, Weight};
    use serde_json::Value;

    #[test]
    fn the_apex_service_is_the_parent_and_what_status_says_is_of_no_generation() {
        let route: Value = serde_saphyr::from_str(include_str!("linkerd/recorded/http.yaml")).unwrap();
        let pair =
            Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() };
        let seen = ROUTER.read(&route, &pair).unwrap();
        assert_eq!((seen.weight, seen.accepted), (Weights::At(Weight::new(25).unwrap()), Acceptance::Untold));
        let after = ROUTER.steer(&route, &pair, Weight::ZERO).unwrap().unwrap();
        assert_eq!(after["spec"]["parentRefs"], route["spec"]["parentRefs"]);
        assert_eq!(ROUTER.services(&route), ["checkout-stable", "checkout-canary", "docs"]);
    }
}
