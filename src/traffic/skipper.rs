//! Skipper's own kind, `RouteGroup`, and Ingresses as Skipper reads them.
use super::{
    Capability, Resource, Unsteerable,
    gathered::{Entry, Gathered, Listed, Place, shape},
    ingress::{INGRESS, annotation, backends},
    weighted::{describe, list},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::{Value, json};

/// Ingresses: an annotation says how several Services of one path share its requests.
///
/// Each managed path stands there twice, once with each Service, and the annotation is a map of JSON:
///
/// ```yaml
/// metadata: {annotations: {zalando.org/backend-weights: '{"checkout-stable": 100, "checkout-canary": 0}'}}
/// ```
///
/// Both numbers must stand there, and only they are replaced in the text, which else keeps every sign. They count in every path
/// of the Ingress. A path that names the canary without stable is refused, and so is one that names stable beside others and
/// without the canary, for it would share its requests out otherwise whenever the numbers change.
///
/// Nothing tells when Skipper has taken a change; it looks every 3 s by default (`-source-poll-timeout`), so 5 s are given.
pub(super) static WEIGHTS: Gathered = Gathered {
    name: NAME,
    resources: &[INGRESS],
    capabilities: &[Capability::Weight, Capability::Requests, Capability::Ports],
    settle: SETTLE,
    shape: shape("weights", HEAVIEST, ingress_lines),
    lists: of_ingress,
    one_number_each: true,
};

/// `RouteGroup`s: backends have names, and lists of names have weights.
///
/// Managed are `defaultBackends` and the `backends` of every route that mean both Services, by backends of type `service`:
///
/// ```yaml
/// backends:
/// - {name: stable, type: service, serviceName: checkout-stable, servicePort: 8080}
/// - {name: canary, type: service, serviceName: checkout-canary, servicePort: 8080}
/// defaultBackends: [{backendName: stable, weight: 100}, {backendName: canary, weight: 0}]
/// ```
///
/// Both weights must be written, for without any Skipper shares requests out evenly. It is given the same time as above.
pub(super) static GROUPS: Gathered = Gathered {
    name: NAME,
    resources: &[Resource { group: "zalando.org", version: "v1", kind: "RouteGroup", plural: "routegroups" }],
    capabilities: &[Capability::Weight, Capability::Requests, Capability::Ports],
    settle: SETTLE,
    shape: shape("backends", HEAVIEST, group_lines),
    lists: of_group,
    one_number_each: false,
};

const NAME: &str = "skipper";
const SETTLE: Duration = Duration::seconds(5);
/// Weights are 32-bit integers at the least.
const HEAVIEST: u64 = 2_147_483_647;
const ANNOTATION: &str = "zalando.org/backend-weights";

fn of_ingress(route: &Value) -> Result<Vec<Listed>, Unsteerable> {
    let weights = match annotation(route, ANNOTATION) {
        Value::Null => json!({}),
        written => written
            .as_str()
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .filter(Value::is_object)
            .ok_or_else(|| Unsteerable::Malformed {
                route: describe(route),
                field: format!("metadata.annotations[{ANNOTATION}]"),
                expected: "a map of JSON, from Services to weights",
            })?,
    };
    let mut groups: Vec<((&Value, &Value), Listed)> = Vec::new();
    for backend in backends(route) {
        let service = backend.service().unwrap_or_default();
        let entry = Entry {
            service: Some(service.to_owned()),
            port: backend.port().clone(),
            weight: weights[service].clone(),
            place: Place::Annotation(ANNOTATION.to_owned(), vec![service.to_owned()]),
        };
        match groups.iter_mut().find(|(requests, _)| *requests == backend.requests) {
            Some((_, group)) => group.backends.push(entry),
            None => groups.push((backend.requests, Listed { name: backend.place, backends: vec![entry] })),
        }
    }
    let mut groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    // One map is for all paths: of Services that share one of them with others, all paths keep what they have together.
    let shared = groups.iter().filter(|group| group.backends.len() > 2).flat_map(|group| &group.backends);
    let shared: Vec<_> = shared.map(|entry| entry.service.clone()).collect();
    for group in groups.iter_mut().filter(|group| group.backends.len() == 2) {
        if group.backends.iter().any(|entry| shared.contains(&entry.service)) {
            group.backends.push(Entry { service: None, port: Value::Null, weight: json!(0), place: Place::Nowhere });
        }
    }
    Ok(groups)
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is the router's")]
fn of_group(route: &Value) -> Result<Vec<Listed>, Unsteerable> {
    let spec = &route["spec"];
    let named = |name: &str| list(&spec["backends"]).iter().find(|backend| backend["name"] == name);
    let listed = |name: String, path: String, backends: &Value| {
        let entries = list(backends).iter().enumerate().map(|(at, reference)| {
            let backend = reference["backendName"].as_str().and_then(named);
            let service = backend.filter(|backend| backend["type"] == "service");
            Entry {
                service: service.and_then(|it| Some(it["serviceName"].as_str()?.to_owned())),
                port: service.map(|it| it["servicePort"].clone()).unwrap_or_default(),
                weight: reference["weight"].clone(),
                place: Place::Member(format!("{path}/{at}")),
            }
        });
        Listed { name, backends: entries.collect() }
    };
    let routes = list(&spec["routes"]).iter().enumerate();
    let own = routes.filter(|(_, own)| own.get("backends").is_some());
    let own =
        own.map(|(at, own)| listed(format!("routes[{at}]"), format!("/spec/routes/{at}/backends"), &own["backends"]));
    let default = listed("defaultBackends".to_owned(), "/spec/defaultBackends".to_owned(), &spec["defaultBackends"]);
    Ok(std::iter::once(default).chain(own).collect())
}

fn ingress_lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    let backend = |service: &str| format!("backend: {{service: {{name: {service}, port: {{number: {port}}}}}}}");
    format!(
        r#"metadata.annotations: {{{ANNOTATION}: '{{"{stable}": 100, "{canary}": 0}}'}}, and each path twice, with {} and with {}"#,
        backend(stable),
        backend(canary)
    )
}

fn group_lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    let backend = |name: &str, service: &str| {
        format!("{{name: {name}, type: service, serviceName: {service}, servicePort: {port}}}")
    };
    format!(
        "backends: [{}, {}], and as defaultBackends or as a route's backends: [{{backendName: stable, weight: 100}}, {{backendName: canary, weight: 0}}]",
        backend("stable", stable),
        backend("canary", canary)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        traffic::{Router, Weights},
        vocab::Weight,
    };

    fn pair() -> Pair {
        Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() }
    }

    fn ingress(weights: &str, paths: &[(&str, &str)]) -> Value {
        let path = |(path, service): &(&str, &str)| json!({"path": path, "backend": {"service": {"name": service, "port": {"number": 80}}}});
        json!({"kind": "Ingress", "metadata": {"name": "i", "annotations": {"zalando.org/backend-weights": weights}},
            "spec": {"rules": [{"host": "a", "http": {"paths": paths.iter().map(path).collect::<Vec<_>>()}}]}})
    }

    const BOTH: [(&str, &str); 3] = [("/", "stable"), ("/", "canary"), ("/api", "stable")];

    fn at(percent: u8) -> Weight {
        Weight::new(percent).unwrap()
    }

    #[test]
    fn the_map_keeps_its_order_and_its_spaces() {
        let route = ingress("{ \"stable\":  100,\n\"canary\": 0, \"other\": 3 }", &BOTH);
        let steered = WEIGHTS.steer(&route, &pair(), at(5)).unwrap().unwrap();
        assert_eq!(annotation(&steered, ANNOTATION), "{ \"stable\":  95,\n\"canary\": 5, \"other\": 3 }");
    }

    #[test]
    fn every_path_of_both_services_counts_and_others_keep_their_share() {
        let three = [("/", "stable"), ("/", "canary"), ("/", "other"), ("/x", "stable"), ("/x", "canary")];
        let route = ingress(r#"{"stable":100,"canary":100,"other":50}"#, &three);
        assert_eq!(WEIGHTS.read(&route, &pair()).unwrap().weight, Weights::At(at(50)));
        let steered = WEIGHTS.steer(&route, &pair(), at(25)).unwrap().unwrap();
        assert_eq!(annotation(&steered, ANNOTATION), r#"{"stable":150,"canary":50,"other":50}"#);
        assert_eq!(WEIGHTS.steer(&steered, &pair(), at(25)), Ok(None));
    }

    #[test]
    fn paths_of_others_alone_do_not_count() {
        let paths = [("/", "stable"), ("/", "canary"), ("/x", "a"), ("/x", "b"), ("/x", "c"), ("/api", "stable")];
        let route = ingress(r#"{"stable":7,"canary":0,"a":1,"b":1,"c":1}"#, &paths);
        let steered = WEIGHTS.steer(&route, &pair(), at(5)).unwrap().unwrap();
        assert_eq!(annotation(&steered, ANNOTATION), r#"{"stable":95,"canary":5,"a":1,"b":1,"c":1}"#);
    }

    #[test]
    fn a_path_whose_shares_would_change_with_ours_is_refused() {
        let paths = [("/", "stable"), ("/", "canary"), ("/x", "stable"), ("/x", "other")];
        let route = ingress(r#"{"stable":100,"canary":0,"other":100}"#, &paths);
        let refused = WEIGHTS.steer(&route, &pair(), at(50)).unwrap_err();
        assert_eq!((refused.category(), WEIGHTS.read(&route, &pair())), ("RouteNotPrepared", Err(refused.clone())));
        let said = refused.to_string();
        assert!(said.contains("spec.rules[0].http.paths[2] names stable beside others"), "{said}");
        assert!(said.ends_with("name canary there too, or stable alone"), "{said}");
        let own = group(
            "defaultBackends: [{backendName: s, weight: 90}, {backendName: c, weight: 10}], \
             routes: [{path: /x, backends: [{backendName: s, weight: 1}, {backendName: gone, weight: 1}]}]",
        );
        assert!(GROUPS.steer(&own, &pair(), at(50)).is_ok(), "a RouteGroup has a number for each of its lists");
    }

    #[test]
    fn lists_of_a_group_are_weighed_for_each_port() {
        let spec = "backends: [{name: s, type: service, serviceName: stable, servicePort: 80}, \
             {name: c, type: service, serviceName: canary, servicePort: 80}, \
             {name: s2, type: service, serviceName: stable, servicePort: 90}, \
             {name: c2, type: service, serviceName: canary, servicePort: 90}], \
             defaultBackends: [{backendName: s, weight: 100}, {backendName: c, weight: 0}], \
             routes: [{path: /x, backends: [{backendName: s2, weight: 100}, {backendName: c2, weight: 0}]}]";
        let spec: Value = serde_saphyr::from_str(&format!("{{{spec}}}")).unwrap();
        let route = json!({"kind": "RouteGroup", "metadata": {"name": "g"}, "spec": spec});
        let both = Pair { also: vec![90], ..pair() };
        let steered = GROUPS.steer(&route, &both, at(20)).unwrap().unwrap();
        assert_eq!(steered["spec"]["defaultBackends"][1]["weight"], 20);
        assert_eq!(steered["spec"]["routes"][0]["backends"][1]["weight"], 20);
    }

    #[test]
    fn what_the_annotation_does_not_share_out_is_refused() {
        for (weights, paths, category) in [
            ("{", &BOTH[..], "RouteMalformed"),
            ("[]", &BOTH[..], "RouteMalformed"),
            (r#"{"stable":100}"#, &BOTH[..], "RouteMalformed"),
            (r#"{"stable":100,"canary":0.5}"#, &BOTH[..], "RouteMalformed"),
            (r#"{"stable":100,"canary":0}"#, &[("/", "stable"), ("/new", "canary")][..], "CanaryElsewhere"),
            (r#"{"stable":100,"canary":0}"#, &[("/", "stable")][..], "RouteNotPrepared"),
        ] {
            assert_eq!(WEIGHTS.read(&ingress(weights, paths), &pair()).unwrap_err().category(), category, "{weights}");
        }
    }

    fn group(spec: &str) -> Value {
        let spec: Value = serde_saphyr::from_str(&format!(
            "{{backends: [{{name: s, type: service, serviceName: stable, servicePort: 80}}, \
             {{name: c, type: service, serviceName: canary, servicePort: 80}}, {{name: gone, type: shunt}}], {spec}}}"
        ))
        .unwrap();
        json!({"kind": "RouteGroup", "metadata": {"name": "g"}, "spec": spec})
    }

    #[test]
    fn names_of_backends_stand_for_services() {
        let route =
            group("defaultBackends: [{backendName: s, weight: 90}, {backendName: c, weight: 10}], routes: [{path: /}]");
        assert_eq!(GROUPS.read(&route, &pair()).unwrap().weight, Weights::At(at(10)));
        assert_eq!(GROUPS.services(&route), ["stable", "canary"]);
        assert_eq!(GROUPS.port(&route), Some(80));
        let steered = GROUPS.steer(&route, &pair(), at(20)).unwrap().unwrap();
        assert_eq!(steered["spec"]["defaultBackends"][1], json!({"backendName": "c", "weight": 20}));
    }

    #[test]
    fn groups_that_share_nothing_out_are_refused() {
        for (spec, category) in [
            ("defaultBackends: [{backendName: s}, {backendName: c}]", "RouteMalformed"),
            ("defaultBackends: [{backendName: s, weight: 1}]", "RouteNotPrepared"),
            ("routes: [{path: /, backends: [{backendName: c, weight: 1}]}]", "CanaryElsewhere"),
            ("defaultBackends: [{backendName: s, weight: 1}, {backendName: nobody, weight: 1}]", "RouteNotPrepared"),
        ] {
            assert_eq!(GROUPS.read(&group(spec), &pair()).unwrap_err().category(), category, "{spec}");
        }
    }
}
