//! Ingresses as ingress-nginx reads them: the share of requests is an annotation of an Ingress of its own.
mod apart;

use super::{
    Acceptance, Apart, Capability, Resource, RouteSeen, Router, Share, Unsteerable, Weights,
    ingress::{INGRESS, annotation, backends},
    weighted::describe,
};
use crate::{
    duration::Duration,
    vocab::{Pair, Weight},
};
use serde_json::{Map, Value, json};

/// Canary Ingresses, for ingress-nginx and for the `kubernetesIngressNGINX` provider of Traefik.
///
/// Beside the Ingress that takes all requests and names the stable Service, which is the user's and is not touched, stands a
/// second one with the same hosts and paths. It is the one that a Rollout names, and all its backends are the canary Service:
///
/// ```yaml
/// metadata:
///   annotations: {nginx.ingress.kubernetes.io/canary: "true", nginx.ingress.kubernetes.io/canary-weight: "0"}
/// ```
///
/// Only the annotation `canary-weight` is written: without it no request is split off. `canary-weight-total`, 100 unless it is
/// written, must be a multiple of 100. An Ingress that sends requests to the canary by header or cookie is refused unless it
/// is ours to write.
///
/// Where it is (`ownership: Operator`), a step's `match` can be one header and one cookie, either of which is enough: the
/// header becomes `canary-by-header` with its value or pattern, the cookie `canary-by-cookie`, whose value nginx wants to be
/// `always`. With `never` in that cookie a request stays with stable. A header with characters that nginx passes over in an
/// annotation is refused. There is no mirror.
///
/// Its template may name the Ingress that takes all requests (`template.like`) instead of a spec. Then it has the class and the
/// TLS of that one, and those of its paths that name stable, with the canary in its place: paths of other Services are none of
/// the rollout's. What is changed there is followed at the next look. A spec of one's own, and a canary Ingress of one's own,
/// are compared with nothing. ingress-nginx splits by the Service and port that stable has behind a host and path which both
/// Ingresses name, and then for each host and path that leads to that Service and port, also in other Ingresses: to spare one,
/// give it a Service of its own. While stable has no endpoint at all, it asks the canary for nothing either.
///
/// A client stays with the Service that answered it first where the user's Ingress says `affinity: cookie`, unless its
/// `affinity-canary-behavior` is `legacy`.
///
/// No status tells when the proxies have taken a change. They load it within about a second; 5 s are given.
pub(super) struct Nginx;

const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
const TOTAL: &str = "nginx.ingress.kubernetes.io/canary-weight-total";
/// What sends requests to the canary past the weight.
const BY: [&str; 2] = ["nginx.ingress.kubernetes.io/canary-by-header", "nginx.ingress.kubernetes.io/canary-by-cookie"];

impl Router for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn resources(&self) -> &'static [Resource] {
        &[INGRESS]
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[
            Capability::Weight,
            Capability::Match,
            Capability::Requests,
            Capability::Sessions,
            Capability::Ports,
            Capability::Follow,
        ]
    }

    fn settle(&self) -> Duration {
        Duration::seconds(5)
    }

    fn read(&self, route: &Value, pair: &Pair) -> Result<RouteSeen, Unsteerable> {
        let share = share(route, pair)?;
        let weight = share.exactly().map_or_else(|| Weights::Mixed(vec![share]), Weights::At);
        Ok(RouteSeen { weight, apart: Apart::default(), accepted: self.accepted(route) })
    }

    fn accepted(&self, _: &Value) -> Acceptance {
        Acceptance::Untold
    }

    fn services(&self, route: &Value) -> Vec<String> {
        backends(route).into_iter().filter_map(|backend| Some(backend.service()?.to_owned())).collect()
    }

    fn port(&self, route: &Value) -> Option<u16> {
        backends(route).iter().find_map(|backend| u16::try_from(backend.port().as_u64()?).ok())
    }

    fn steer(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<Option<Value>, Unsteerable> {
        let share = share(route, pair)?;
        let total = share.stable + share.canary;
        let weight = total / 100 * u64::from(canary.percent());
        if share.canary == weight {
            return Ok(None);
        }
        let mut steered = route.clone();
        steered["metadata"]["annotations"][WEIGHT] = json!(weight.to_string());
        Ok(Some(steered))
    }

    fn follow(&self, main: &Value, pair: &Pair) -> Map<String, Value> {
        followed(main, pair)
    }

    fn apart(&self, route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
        apart::added(route, pair, apart)
    }
}

/// What of the Ingress that takes all requests leads to stable, with the canary in its place.
fn followed(main: &Value, pair: &Pair) -> Map<String, Value> {
    let mut spec = main["spec"].as_object().cloned().unwrap_or_default();
    let to_canary = |backend: &mut Value| {
        let leads = backend["service"]["name"] == pair.stable.as_str();
        if leads {
            backend["service"]["name"] = json!(pair.canary);
        }
        leads
    };
    let default = spec.get_mut("defaultBackend").is_some_and(to_canary);
    if !default {
        spec.remove("defaultBackend");
    }
    if let Some(rules) = spec.get_mut("rules").and_then(Value::as_array_mut) {
        rules.retain_mut(|rule| {
            let Some(paths) = rule["http"]["paths"].as_array_mut() else { return false };
            paths.retain_mut(|path| to_canary(&mut path["backend"]));
            !paths.is_empty()
        });
        if rules.is_empty() {
            spec.remove("rules");
        }
    }
    if default || spec.contains_key("rules") { spec } else { Map::new() }
}

/// The share that is written, of an Ingress that is fit for it.
fn share(route: &Value, pair: &Pair) -> Result<Share, Unsteerable> {
    let unready = |why: String| Unsteerable::Unready { route: describe(route), why, lines: lines(pair) };
    if annotation(route, CANARY) != "true" {
        return Err(unready(format!("it has no annotation {CANARY}: \"true\", so it is no canary Ingress")));
    }
    let backends = backends(route);
    if backends.is_empty() {
        return Err(unready("it has no backend".to_owned()));
    }
    for backend in backends {
        let service = backend.service().unwrap_or("no Service");
        if service != pair.canary {
            return Err(unready(format!("{} names {service} instead of {}", backend.place, pair.canary)));
        }
        let port = backend.port();
        if !port.is_null() && !pair.serves(port) {
            let (service, found) = (service.to_owned(), port.to_string());
            return Err(Unsteerable::WrongPort {
                route: describe(route),
                rule: backend.place,
                service,
                found,
                ports: pair.ports(),
            });
        }
    }
    if let Some(by) = BY.into_iter().find(|by| !annotation(route, by).is_null()) {
        return Err(Unsteerable::CanaryFiltered {
            route: describe(route),
            rule: "the canary Ingress".to_owned(),
            filter: format!("annotation {by}"),
            canary: pair.canary.clone(),
        });
    }
    let number = |name: &str, unset: u64| match annotation(route, name) {
        Value::Null => Some(unset),
        written => written.as_str().and_then(|text| text.parse().ok()),
    };
    let malformed = |name: &str, expected| Unsteerable::Malformed {
        route: describe(route),
        field: format!("metadata.annotations[{name}]"),
        expected,
    };
    let total: u64 = number(TOTAL, 100)
        .filter(|total| (100..=1_000_000_000).contains(total) && total.is_multiple_of(100))
        .ok_or_else(|| malformed(TOTAL, "a multiple of 100, by which every percent could be written"))?;
    let canary = number(WEIGHT, 0)
        .filter(|weight| *weight <= total)
        .ok_or_else(|| malformed(WEIGHT, "a whole number up to canary-weight-total"))?;
    Ok(Share { rule: "canary-weight".to_owned(), stable: total - canary, canary })
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    format!(
        "leave the Ingress that names {stable} as it is, and name a second one with the same hosts and paths, of which each has \
         backend: {{service: {{name: {canary}, port: {{number: {port}}}}}}}, and with metadata.annotations: \
         {{{CANARY}: \"true\", {WEIGHT}: \"0\"}}"
    )
}

#[cfg(test)]
mod tests;
