//! Gateway API: weights on the backends of an `HTTPRoute` or a `GRPCRoute`.
//!
//! `spec.rules` is an atomic list, so no field manager can own a weight alone: the route is taken as it was read,
//! the weights of our two backends are rewritten where they stand, and the whole object goes back.
mod apart;
mod parents;

use super::{Acceptance, Apart, Capability, Resource, RouteSeen, Router, Share, Unsteerable, Weights};
use crate::{
    duration::Duration,
    vocab::{Pair, Weight},
};
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
/// without stable, a mirror) are refused.
///
/// Where the route is ours to write (`ownership: Operator`), a step's `match` becomes a rule before each managed one, with
/// that rule's filters and time-outs and the canary alone behind it, and `mirror` a filter of the managed rules.
///
/// A change counts as accepted when every `parentRef` of the spec is answered in `status.parents` with Accepted and
/// `ResolvedRefs` for the route's present generation. No field of the Gateway API tells when the proxies themselves
/// follow, so they are given 3 s more; `routes[].settle` changes that.
pub(super) struct GatewayApi;

const GROUP: &str = "gateway.networking.k8s.io";
/// The most that the API lets one backend weigh.
const HEAVIEST: u64 = 1_000_000;
/// How many rules a message lists before it stops.
const LISTED: usize = 4;

impl Router for GatewayApi {
    fn name(&self) -> &'static str {
        "gateway-api"
    }

    fn resources(&self) -> &'static [Resource] {
        &[
            Resource { group: GROUP, version: "v1", kind: "HTTPRoute", plural: "httproutes" },
            Resource { group: GROUP, version: "v1", kind: "GRPCRoute", plural: "grpcroutes" },
        ]
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::Weight, Capability::Match, Capability::Mirror]
    }

    fn settle(&self) -> Duration {
        Duration::seconds(3)
    }

    fn read(&self, route: &Value, pair: &Pair) -> Result<RouteSeen, Unsteerable> {
        let rules = managed(route, pair)?;
        let weight = match same_share(&rules) {
            Some(weight) => Weights::At(weight),
            None => Weights::Mixed(rules.iter().map(Managed::share).collect()),
        };
        Ok(RouteSeen { weight, apart: Apart::default(), accepted: parents::accepted(route) })
    }

    fn steer(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<Option<Value>, Unsteerable> {
        let mut edits = Vec::new();
        for rule in managed(route, pair)? {
            let wanted = rule.split(route, pair, canary)?;
            for (backend, weight) in [(&rule.stable, wanted.0), (&rule.canary, wanted.1)] {
                if backend.weight != weight {
                    edits.push((backend.path(rule.position), weight));
                }
            }
        }
        if edits.is_empty() {
            return Ok(None);
        }
        let mut steered = route.clone();
        for (path, weight) in edits {
            if let Some(backend) = steered.pointer_mut(&path).and_then(Value::as_object_mut) {
                backend.insert("weight".into(), weight.into());
            }
        }
        Ok(Some(steered))
    }

    fn apart(&self, route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
        apart::added(route, pair, apart)
    }

    fn accepted(&self, route: &Value) -> Acceptance {
        parents::accepted(route)
    }
}

/// A rule that names both Services, each once.
struct Managed {
    name: String,
    position: usize,
    stable: Backend,
    canary: Backend,
    /// Whether no other backend stands beside the two.
    alone: bool,
}

/// One of our two entries in a rule's `backendRefs`.
struct Backend {
    position: usize,
    weight: u64,
}

impl Managed {
    fn share(&self) -> Share {
        Share { rule: self.name.clone(), stable: self.stable.weight, canary: self.canary.weight }
    }

    /// The weights of stable and canary that give the canary this share of what the two have together.
    fn split(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<(u64, u64), Unsteerable> {
        if self.alone {
            return Ok((canary.rest().percent().into(), canary.percent().into()));
        }
        let (route, rule) = (|| describe(route), || self.name.clone());
        let (sum, percent) = (self.stable.weight + self.canary.weight, u64::from(canary.percent()));
        if sum == 0 {
            return Err(Unsteerable::NoShare { route: route(), rule: rule(), stable: pair.stable.clone() });
        }
        if sum > HEAVIEST {
            return Err(Unsteerable::TooHeavy { route: route(), rule: rule(), sum, max: HEAVIEST });
        }
        if !(sum * percent).is_multiple_of(100) {
            let factor = 100 / greatest_common_divisor(sum, 100);
            return Err(Unsteerable::Indivisible {
                route: route(),
                rule: rule(),
                sum,
                percent: canary.percent(),
                factor,
            });
        }
        let canary = sum * percent / 100;
        Ok((sum - canary, canary))
    }
}

impl Backend {
    fn path(&self, rule: usize) -> String {
        format!("/spec/rules/{rule}/backendRefs/{}", self.position)
    }
}

/// All managed rules of the route, at least one; refused when requests could reach the canary past them.
fn managed(route: &Value, pair: &Pair) -> Result<Vec<Managed>, Unsteerable> {
    if !route["spec"].is_object() {
        return Err(Unsteerable::Malformed {
            route: describe(route),
            field: "spec".into(),
            expected: "an object; is this a Gateway API route?",
        });
    }
    let mut found = Vec::new();
    for (position, rule) in list(&route["spec"]["rules"]).iter().enumerate() {
        let name = rule_name(rule, position);
        refuse_filters(route, pair, rule, &name)?;
        let (stable, canary) = (named(route, rule, &pair.stable), named(route, rule, &pair.canary));
        let (stable, canary) = match (stable.as_slice(), canary.as_slice()) {
            (_, []) => continue,
            ([], _) => {
                return Err(Unsteerable::CanaryElsewhere {
                    route: describe(route),
                    rule: name,
                    stable: pair.stable.clone(),
                    canary: pair.canary.clone(),
                });
            }
            ([stable], [canary]) => (*stable, *canary),
            (stable, _) => {
                let service = if stable.len() > 1 { &pair.stable } else { &pair.canary };
                let (route, service) = (describe(route), service.clone());
                return Err(Unsteerable::Duplicate { route, rule: name, service });
            }
        };
        found.push(Managed {
            position,
            stable: backend(route, pair, &name, stable)?,
            canary: backend(route, pair, &name, canary)?,
            alone: list(&rule["backendRefs"]).len() == 2,
            name,
        });
    }
    if found.is_empty() { Err(not_prepared(route, pair)) } else { Ok(found) }
}

/// Refuses filters of a rule and of its backends that send requests to the canary, such as a mirror.
fn refuse_filters(route: &Value, pair: &Pair, rule: &Value, name: &str) -> Result<(), Unsteerable> {
    let of_backends = list(&rule["backendRefs"]).iter().flat_map(|backend| list(&backend["filters"]));
    for filter in list(&rule["filters"]).iter().chain(of_backends) {
        let settings = filter.as_object().into_iter().flat_map(|filter| filter.values());
        if settings.map(|setting| &setting["backendRef"]).any(|to| is_service(route, to, &pair.canary)) {
            return Err(Unsteerable::CanaryFiltered {
                route: describe(route),
                rule: name.to_owned(),
                filter: filter["type"].as_str().unwrap_or("unnamed").to_owned(),
                canary: pair.canary.clone(),
            });
        }
    }
    Ok(())
}

/// The entries of a rule's `backendRefs` that name this Service, with their positions.
fn named<'a>(route: &Value, rule: &'a Value, service: &str) -> Vec<(usize, &'a Value)> {
    let backends = list(&rule["backendRefs"]).iter().enumerate();
    backends.filter(|(_, backend)| is_service(route, backend, service)).collect()
}

/// Whether a reference names this Service in the route's own namespace, with the defaults of the API.
fn is_service(route: &Value, reference: &Value, service: &str) -> bool {
    let or = |field: &str, default| reference[field].as_str().unwrap_or(default) == default;
    let namespace = &reference["namespace"];
    reference["name"].as_str() == Some(service)
        && or("group", "")
        && or("kind", "Service")
        && (namespace.is_null() || *namespace == route["metadata"]["namespace"])
}

/// One of our entries, its port and weight checked.
fn backend(route: &Value, pair: &Pair, rule: &str, entry: (usize, &Value)) -> Result<Backend, Unsteerable> {
    let (position, reference) = entry;
    let port = &reference["port"];
    if !port.is_null() && port.as_u64() != Some(pair.port.into()) {
        return Err(Unsteerable::WrongPort {
            route: describe(route),
            rule: rule.to_owned(),
            service: reference["name"].as_str().unwrap_or_default().to_owned(),
            found: port.to_string(),
            port: pair.port,
        });
    }
    let weight = match &reference["weight"] {
        Value::Null => Some(1),
        written => written.as_u64().filter(|weight| *weight <= HEAVIEST),
    };
    let weight = weight.ok_or_else(|| Unsteerable::Malformed {
        route: describe(route),
        field: format!("{rule}: backendRefs[{position}].weight"),
        expected: "a whole number from 0 to 1000000",
    })?;
    Ok(Backend { position, weight })
}

fn not_prepared(route: &Value, pair: &Pair) -> Unsteerable {
    let Pair { stable, canary, port } = pair;
    let rules = list(&route["spec"]["rules"]).iter().enumerate();
    let mut seen: Vec<_> = rules
        .map(|(position, rule)| {
            let names = list(&rule["backendRefs"]).iter().filter_map(|backend| backend["name"].as_str());
            let names: Vec<_> = names.take(LISTED).collect();
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            format!("{} names {names}", rule_name(rule, position))
        })
        .take(LISTED + 1)
        .collect();
    if seen.len() > LISTED {
        seen[LISTED] = "and others".into();
    }
    Unsteerable::NotPrepared {
        route: describe(route),
        seen: if seen.is_empty() { "there is no rule".into() } else { seen.join("; ") },
        lines: format!(
            "backendRefs: [{{name: {stable}, port: {port}, weight: 100}}, {{name: {canary}, port: {port}, weight: 0}}]"
        ),
    }
}

/// The share that all rules have, where it is one and the same whole percent.
fn same_share(rules: &[Managed]) -> Option<Weight> {
    let mut shares = rules.iter().map(|rule| rule.share().exactly());
    let first = shares.next()??;
    shares.all(|share| share == Some(first)).then_some(first)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Kind, namespace and name, as messages spell them.
fn describe(route: &Value) -> String {
    let kind = route["kind"].as_str().unwrap_or("route");
    let name = route["metadata"]["name"].as_str().unwrap_or("without a name");
    match route["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn rule_name(rule: &Value, position: usize) -> String {
    rule["name"].as_str().map_or_else(|| format!("rules[{position}]"), |name| format!("rule {name}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
