//! Traffic routers: how a weight becomes an edit of a gateway's or a mesh's own objects.
//! A router takes objects and answers with objects; it has no client and knows no clock.
//! A new router is a new file here, its `mod` line and its line in [`ROUTERS`].
mod alb;
mod apisix;
#[cfg(test)]
pub(crate) mod conformance;
mod contour;
mod custom;
mod gateway_api;
mod gateway_api_l4;
mod gathered;
mod in_text;
mod ingress;
mod istio;
mod kuma;
mod linkerd;
mod nginx;
mod precedence;
mod reference;
mod skipper;
mod split;
mod traefik;
mod unsteerable;
mod weighted;
mod whole;

use crate::{
    duration::Duration,
    vocab::{Pair, Weight},
};
pub use custom::{Custom, CustomWeight, Form};
pub use gateway_api::parents::pace;
pub use reference::{Feature, Ownership, RouteRef, RouteTemplate, only_with};
use serde_json::{Map, Value};
pub use split::{Apart, Comparison, Cookie, Mirror, NamedValue, PathComparison, PathMatch, RequestMatch, Split};
use std::fmt;
pub use unsteerable::Unsteerable;
pub use whole::{MANAGED_BY, SPLIT, TEMPLATE_FINGERPRINT, read_whole, renew};

/// Every router of this build, one line each.
pub static ROUTERS: &[&dyn Router] = &[
    &gateway_api::ROUTER,
    &gateway_api_l4::ROUTER,
    &istio::ROUTER,
    &contour::ROUTER,
    &traefik::ROUTE,
    &traefik::TCP,
    &traefik::SERVICE,
    &nginx::Nginx,
    &alb::ROUTER,
    &skipper::WEIGHTS,
    &skipper::GROUPS,
    &linkerd::ROUTER,
    &kuma::HTTP,
    &kuma::TCP,
    &apisix::ROUTER,
];

/// Every kind of object that some router steers, each once, for RBAC, schemas and documentation.
pub fn resources() -> impl Iterator<Item = &'static Resource> {
    let all = || ROUTERS.iter().flat_map(|router| router.resources());
    all().enumerate().filter(move |(at, kind)| all().take(*at).all(|known| known != *kind)).map(|(_, kind)| kind)
}

/// The kinds that some router steers, each with all its versions, the newest first.
pub fn kinds() -> Vec<Vec<&'static Resource>> {
    let mut kinds: Vec<Vec<&Resource>> = Vec::new();
    for resource in resources() {
        match kinds
            .iter_mut()
            .find(|known| known.iter().all(|it| it.group == resource.group && it.kind == resource.kind))
        {
            Some(known) => known.push(resource),
            None => kinds.push(vec![resource]),
        }
    }
    kinds
}

/// The routers that steer objects of this `apiVersion` and `kind`; of most kinds there is one.
pub fn routers_for(api_version: &str, kind: &str) -> impl Iterator<Item = &'static dyn Router> {
    let steers = move |resource: &Resource| resource.kind == kind && resource.api_version() == api_version;
    ROUTERS.iter().copied().filter(move |router| router.resources().iter().any(steers))
}

/// What one data plane needs so that a weight reaches it.
pub trait Router: Sync {
    /// The name in status, metrics and documentation.
    fn name(&self) -> &'static str;

    /// The kinds of object it steers.
    fn resources(&self) -> &'static [Resource];

    /// What it can do beside being read.
    fn capabilities(&self) -> &'static [Capability];

    /// How long the data plane is given after a change was accepted, unless the route entry says otherwise.
    fn settle(&self) -> Duration;

    /// The weights that stand in the route, and whether the data plane's controller has accepted them.
    fn read(&self, route: &Value, pair: &Pair) -> Result<RouteSeen, Unsteerable>;

    /// Whether the data plane's controller has taken the route as it stands.
    ///
    /// Where nothing tells, [`Router::settle`] is all that is waited for.
    fn accepted(&self, route: &Value) -> Acceptance;

    /// The Services of the route's own namespace that it sends requests to.
    fn services(&self, route: &Value) -> Vec<String>;

    /// The first port by number that it names.
    fn port(&self, route: &Value) -> Option<u16>;

    /// The whole route with the canary's weight written in and everything else as it was.
    ///
    /// `None` when exactly these weights stand there already. The answer keeps the `resourceVersion` that was read.
    fn steer(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<Option<Value>, Unsteerable>;

    /// Whether it can be asked for this.
    fn can(&self, what: Capability) -> bool {
        self.capabilities().contains(&what)
    }

    /// Whether objects of this group and kind are steered.
    fn serves(&self, group: &str, kind: &str) -> bool {
        self.resource(group, kind).is_some()
    }

    /// Version and plural of a kind that is steered.
    fn resource(&self, group: &str, kind: &str) -> Option<&'static Resource> {
        self.resources().iter().find(|resource| resource.group == group && resource.kind == kind)
    }

    /// The whole route that `ownership: Operator` wants: the template with the weights put in.
    ///
    /// To bring a route that exists to this state see [`renew`].
    fn whole(&self, entry: &RouteRef, namespace: &str, pair: &Pair, split: &Split) -> Result<Value, Unsteerable> {
        let route = whole::from_template(entry, namespace, split)?;
        let steered = self.steer(&route, pair, split.weight)?.unwrap_or(route);
        self.apart(steered, pair, &split.apart)
    }

    /// The spec of a route that is ours to write beside the user's own, which takes all requests; empty where nothing of that
    /// leads to stable. Asked only of those that can [`Capability::Follow`].
    fn follow(&self, _main: &Value, _pair: &Pair) -> Map<String, Value> {
        Map::new()
    }

    /// The route, which is ours to write whole, with what reaches the canary beside the weight.
    fn apart(&self, route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable>;
}

/// A kind of object as the API server names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group.
    pub group: &'static str,
    /// The version that is read and written.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural, as RBAC and paths spell it.
    pub plural: &'static str,
}

impl Resource {
    /// Group and version as an object carries them.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

/// Something a router can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// A share of all requests, in percent.
    Weight,
    /// Requests with a header, cookie, method, path or query of their own.
    Match,
    /// Copies of requests.
    Mirror,
    /// An answer in the object's status when the data plane's controller has taken a change.
    Status,
    /// A choice for every request, and not once for a connection.
    Requests,
    /// Clients that stay with the Service that answered them first, by a field or an annotation that is the user's.
    Sessions,
    /// Rules in one object for several ports of the two Services.
    Ports,
    /// A route of ours beside the user's own of the same kind, which it follows.
    Follow,
    /// Requests from outside of the cluster, which may come by the nodes' ports.
    Nodes,
}

/// What one look at a route found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSeen {
    /// The canary's share as it is written.
    pub weight: Weights,
    /// What reaches the canary beside that share.
    pub apart: Apart,
    /// Whether the data plane's controller has taken what is written.
    pub accepted: Acceptance,
}

/// The canary's share of what the two Services receive together, over all managed rules of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Every managed rule has this share.
    At(Weight),
    /// The rules differ, or a share is no whole percent, or no request reaches either Service.
    Mixed(Vec<Share>),
}

impl Weights {
    /// The largest share of the canary in any rule, rounded up.
    pub fn at_most(&self) -> Weight {
        match self {
            Self::At(weight) => *weight,
            Self::Mixed(shares) => shares.iter().map(Share::at_most).max().unwrap_or(Weight::ZERO),
        }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(weight) => weight.fmt(f),
            Self::Mixed(shares) => {
                for (position, Share { rule, stable, canary }) in shares.iter().enumerate() {
                    let separator = if position == 0 { "" } else { ", " };
                    write!(f, "{separator}{rule} {stable}:{canary}")?;
                }
                Ok(())
            }
        }
    }
}

/// The weights of one managed rule, as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The rule's name, or its position.
    pub rule: String,
    /// The stable Service's weight.
    pub stable: u64,
    /// The canary Service's weight.
    pub canary: u64,
}

impl Share {
    /// The canary's share where it is a whole percent.
    pub fn exactly(&self) -> Option<Weight> {
        let Self { stable, canary, .. } = self;
        let sum = stable.saturating_add(*canary);
        let hundredfold = canary.saturating_mul(100);
        if sum == 0 || hundredfold % sum != 0 {
            return None;
        }
        u8::try_from(hundredfold / sum).ok().and_then(Weight::new)
    }

    /// The canary's share in percent, rounded up; 0 where neither Service has any.
    pub fn at_most(&self) -> Weight {
        let sum = self.stable.saturating_add(self.canary).max(1);
        let percent = self.canary.saturating_mul(100).div_ceil(sum);
        u8::try_from(percent).ok().and_then(Weight::new).unwrap_or(Weight::FULL)
    }
}

/// Whether the controller of a data plane has taken the route as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Everyone who serves the route has.
    Yes,
    /// Nobody tells whether the present state is taken, so only time is left to wait for.
    Untold,
    /// Somebody refuses, for this reason.
    No(String),
    /// Somebody has not said so yet, for this reason. Neither taken nor refused.
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(stable: u64, canary: u64) -> Share {
        Share { rule: "main".into(), stable, canary }
    }

    #[test]
    fn every_kind_is_served_by_routers_of_different_names() {
        for resource in resources() {
            let serving: Vec<_> =
                ROUTERS.iter().filter(|router| router.serves(resource.group, resource.kind)).collect();
            let names: std::collections::BTreeSet<_> = serving.iter().map(|router| router.name()).collect();
            assert!(!names.is_empty() && names.len() == serving.len(), "{resource:?}");
            assert_eq!(routers_for(&resource.api_version(), resource.kind).count(), names.len());
        }
    }

    #[test]
    fn every_kind_has_the_plural_that_the_policy_of_rights_gives_it() {
        for Resource { kind, plural, .. } in resources() {
            let kind = kind.to_ascii_lowercase();
            let spelled = match kind.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None if kind.ends_with('s') => format!("{kind}es"),
                None => format!("{kind}s"),
            };
            assert_eq!(*plural, spelled);
        }
    }

    #[test]
    fn a_router_is_found_by_group_version_and_kind() {
        let name = |api_version, kind| routers_for(api_version, kind).next().map(Router::name);
        assert_eq!(name("gateway.networking.k8s.io/v1", "HTTPRoute"), Some("gateway-api"));
        assert_eq!(name("gateway.networking.k8s.io/v1", "GRPCRoute"), Some("gateway-api"));
        for (api_version, kind) in [
            ("gateway.networking.k8s.io/v1", "TLSRoute"),
            ("gateway.networking.k8s.io/v1alpha3", "TLSRoute"),
            ("gateway.networking.k8s.io/v1alpha2", "TLSRoute"),
            ("gateway.networking.k8s.io/v1", "TCPRoute"),
            ("gateway.networking.k8s.io/v1alpha2", "TCPRoute"),
        ] {
            assert_eq!(name(api_version, kind), Some("gateway-api-l4"), "{api_version} {kind}");
        }
        for (api_version, kind) in [
            ("gateway.networking.k8s.io/v1beta1", "HTTPRoute"),
            ("gateway.networking.k8s.io/v1alpha3", "TCPRoute"),
            ("gateway.networking.k8s.io/v1", "Gateway"),
            ("v1", "Service"),
            ("", ""),
        ] {
            assert_eq!(name(api_version, kind), None);
        }
    }

    #[test]
    fn a_share_is_exact_or_rounded_up() {
        for (stable, canary, exactly, at_most) in
            [(1, 1, Some(50), 50), (2, 1, None, 34), (1000, 1, None, 1), (100, 0, Some(0), 0), (0, 7, Some(100), 100)]
        {
            let share = share(stable, canary);
            assert_eq!(share.exactly().map(Weight::percent), exactly, "{share:?}");
            assert_eq!(share.at_most().percent(), at_most, "{share:?}");
        }
    }

    #[test]
    fn rules_without_any_weight_have_no_share() {
        assert_eq!(share(0, 0).exactly(), None);
        assert_eq!(share(0, 0).at_most(), Weight::ZERO);
    }

    #[test]
    fn mixed_weights_show_every_rule_and_the_largest_share() {
        let mixed = Weights::Mixed(vec![share(80, 20), share(2, 1)]);
        assert_eq!(mixed.to_string(), "main 80:20, main 2:1");
        assert_eq!(mixed.at_most().percent(), 34);
    }
}
