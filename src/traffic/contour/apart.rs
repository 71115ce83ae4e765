//! Routes beside the managed ones, in an `HTTPProxy` that is ours to write.
use super::SHAPE;
use crate::{
    traffic::{
        Unsteerable,
        split::{Apart, Comparison, Cookie, NamedValue, PathComparison, PathMatch, RequestMatch},
        weighted::{describe, list, unmatched},
    },
    vocab::Pair,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The members of a condition that are about the path; a route may have one of them.
const PATHS: [&str; 3] = ["prefix", "exact", "regex"];

/// The route, its weights in place, with what reaches the canary beside them.
pub(super) fn added(mut route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
    if apart.is_empty() {
        return Ok(route);
    }
    let impossible = |why: &str| Unsteerable::CannotMatch { route: describe(&route), why: why.to_owned() };
    if apart.matches.iter().any(|wanted| wanted.method.is_some()) {
        return Err(impossible("an HTTPProxy cannot tell requests apart by method"));
    }
    let managed = SHAPE.managed(&route, pair)?;
    let at = |position| managed.iter().find(|rule| rule.path == format!("/spec/routes/{position}"));
    if !managed.iter().any(|rule| rule.path.starts_with("/spec/routes/")) {
        return Err(impossible("a tcpproxy can neither tell requests apart nor copy them"));
    }
    let mut rules = Vec::new();
    let mut fitting = BTreeSet::new();
    for (position, rule) in list(&route["spec"]["routes"]).iter().enumerate() {
        let mut rule = rule.clone();
        if let Some(place) = at(position) {
            for (at, wanted) in apart.matches.iter().enumerate() {
                let Some(special) = to_canary(&rule, place.canary.position, wanted) else { continue };
                if wanted.path.is_some() && !rule["pathRewritePolicy"].is_null() {
                    return Err(impossible(
                        "a managed route rewrites the path that it matches, so a step's match there can be none by path",
                    ));
                }
                fitting.insert(at);
                rules.push(special);
            }
            if let Some(mirror) = apart.mirror {
                let services = rule["services"].as_array_mut().into_iter().flatten();
                if services.into_iter().any(|service| service["mirror"] == true) {
                    return Err(impossible("a managed route has a mirror of its own, and Contour knows one only"));
                }
                // Copies go as the route's own requests to the canary do; without a weight all requests are copied.
                let mut copies = rule["services"][place.canary.position].clone();
                (copies["mirror"], copies["weight"]) = (json!(true), json!(mirror.percent));
                if let Some(services) = rule["services"].as_array_mut() {
                    services.push(copies);
                }
            }
        }
        rules.push(rule);
    }
    if let Some(at) = (0..apart.matches.len()).find(|at| !fitting.contains(at)) {
        return Err(impossible(&unmatched("route", at, "conditions")));
    }
    route["spec"]["routes"] = Value::Array(rules);
    Ok(route)
}

/// The route that takes what matches, with everything that the managed one does to its requests; none where the two can
/// never match together. Contour prefers the one with more conditions, wherever it stands.
fn to_canary(rule: &Value, canary: usize, wanted: &RequestMatch) -> Option<Value> {
    let mut conditions = list(&rule["conditions"]).to_vec();
    if let Some(path) = &wanted.path {
        let own = conditions.iter().position(|condition| PATHS.iter().any(|how| !condition[how].is_null()));
        let narrow = condition(path);
        if !own.is_none_or(|own| within(&conditions[own], path)) {
            return None;
        }
        match own {
            Some(own) => conditions[own] = narrow,
            None => conditions.push(narrow),
        }
    }
    let headers = wanted.headers.iter().map(|it| json!({"header": named(it)}));
    let cookies = wanted.cookies.iter().map(|it| json!({"header": cookie(it)}));
    let query = wanted.query.iter().map(|it| json!({"queryParameter": named(it)}));
    for condition in headers.chain(cookies).chain(query) {
        if conditions.iter().any(|own| contradicts(own, &condition)) {
            return None;
        }
        if !conditions.contains(&condition) {
            conditions.push(condition);
        }
    }
    let mut service = list(&rule["services"]).get(canary)?.clone();
    service["weight"] = json!(100);
    let mut taken = rule.clone();
    let mirrors = list(&rule["services"]).iter().filter(|service| service["mirror"] == true).cloned();
    taken["services"] = Value::Array(std::iter::once(service).chain(mirrors).collect());
    taken["conditions"] = Value::Array(conditions);
    Some(taken)
}

fn condition(path: &PathMatch) -> Value {
    match path.how {
        PathComparison::Exact => json!({"exact": path.value}),
        PathComparison::PathPrefix => json!({"prefix": path.value}),
    }
}

/// Whether every request at this path is one of the condition's. A prefix of Contour's ends with an element of the path.
fn within(own: &Value, path: &PathMatch) -> bool {
    if let Some(prefix) = own["prefix"].as_str() {
        let rest = path.value.strip_prefix(prefix.trim_end_matches('/'));
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
    // Nobody can tell here what an expression takes.
    path.how == PathComparison::Exact && own["exact"] == path.value.as_str()
}

/// Whether both ask for exact values of the same header or parameter, and these differ, or one asks for its absence.
fn contradicts(own: &Value, wanted: &Value) -> bool {
    ["header", "queryParameter"].iter().any(|part| {
        let (own, wanted) = (&own[part], &wanted[part]);
        let name = |of: &Value| of["name"].as_str().map(str::to_ascii_lowercase);
        let exact = |of: &Value| of["exact"].as_str().map(str::to_owned);
        let differ = matches!((exact(own), exact(wanted)), (Some(own), Some(wanted)) if own != wanted);
        name(wanted).is_some() && name(own) == name(wanted) && (differ || own["notpresent"] == true)
    })
}

fn named(wanted: &NamedValue) -> Value {
    match wanted.how {
        Comparison::Exact => json!({"name": wanted.name, "exact": wanted.value}),
        Comparison::RegularExpression => json!({"name": wanted.name, "regex": wanted.value}),
    }
}

/// One cookie among others in the one header that carries them all (RFC 6265, 4.2.1).
fn cookie(wanted: &Cookie) -> Value {
    let value = wanted.value.replace('.', "\\.");
    json!({"name": "cookie", "regex": format!("^(.*; ?)?{}={value}(;.*)?$", wanted.name)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        traffic::{RouteRef, Split},
        vocab::Weight,
    };

    const SPEC: &str = "{virtualhost: {fqdn: shop.example.com}, routes: [\
         {conditions: [{prefix: /shop}], timeoutPolicy: {response: 5s}, services: [{name: stable, port: 80}, {name: canary, port: 80}]}, \
         {conditions: [{prefix: /old}], services: [{name: legacy, port: 80}]}]}";

    fn whole(spec: &str, apart: &str) -> Result<Value, Unsteerable> {
        let entry: RouteRef = serde_saphyr::from_str(&format!(
            "{{apiVersion: projectcontour.io/v1, kind: HTTPProxy, name: r, ownership: Operator, template: {{spec: {spec}}}}}"
        ))
        .unwrap();
        let pair = Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() };
        let split = Split { weight: Weight::new(5).unwrap(), apart: serde_saphyr::from_str(apart).unwrap() };
        entry.router().unwrap().whole(&entry, "shop", &pair, &split)
    }

    #[test]
    fn each_match_is_a_route_of_its_own_with_the_canary_alone() {
        let match_ = "{match: [{headers: [{name: x-beta, value: '1'}], query: [{name: q, value: a}]}, {path: {value: /shop/cart}}]}";
        let route = whole(SPEC, match_).unwrap();
        let rules = list(&route["spec"]["routes"]);
        assert_eq!(rules.len(), 4);
        assert_eq!(
            rules[0],
            json!({
                "conditions": [{"prefix": "/shop"}, {"header": {"name": "x-beta", "exact": "1"}},
                    {"queryParameter": {"name": "q", "exact": "a"}}],
                "timeoutPolicy": {"response": "5s"},
                "services": [{"name": "canary", "port": 80, "weight": 100}],
            })
        );
        assert_eq!(rules[1]["conditions"], json!([{"prefix": "/shop/cart"}]));
        assert_eq!(rules[2]["services"][1]["weight"], 5);
    }

    #[test]
    fn copies_go_to_a_mirroring_service_of_the_managed_route() {
        let route = whole(SPEC, "{mirror: {percent: 10}}").unwrap();
        let copies = json!({"name": "canary", "port": 80, "mirror": true, "weight": 10});
        assert_eq!(route["spec"]["routes"][0]["services"][2], copies);
        assert_eq!(route["spec"]["routes"][1]["services"], json!([{"name": "legacy", "port": 80}]));
        let audited =
            SPEC.replace("{name: canary, port: 80}", "{name: canary, port: 80}, {name: audit, port: 80, mirror: true}");
        let audited = audited.replace("{name: stable, port: 80}", "{name: stable, port: 80, weight: 100}");
        assert!(whole(&audited, "{mirror: {percent: 10}}").unwrap_err().to_string().contains("one only"));
        let weighed = audited.replace("mirror: true", "mirror: true, weight: 10").replace(", weight: 100}", "}");
        let route = whole(&weighed, "{}").unwrap();
        let weights: Vec<_> = list(&route["spec"]["routes"][0]["services"]).iter().map(|it| &it["weight"]).collect();
        assert_eq!(weights, [95, 5, 10], "a mirror has no part in what the others share");
        let sealed = SPEC.replace("{name: canary, port: 80}", "{name: canary, port: 80, protocol: h2c}");
        let route = whole(&sealed, "{mirror: {percent: 10}}").unwrap();
        assert_eq!(route["spec"]["routes"][0]["services"][2]["protocol"], "h2c");
        let beside = whole(&audited, "{match: [{headers: [{name: a, value: b}]}]}").unwrap();
        assert_eq!(beside["spec"]["routes"][0]["services"][1]["name"], "audit");
    }

    #[test]
    fn what_a_proxy_cannot_tell_apart_is_refused() {
        let tcp = "{tcpproxy: {services: [{name: stable, port: 80}, {name: canary, port: 80}]}}";
        for (spec, apart) in [
            (SPEC.to_owned(), "{match: [{method: GET}]}"),
            (SPEC.to_owned(), "{match: [{path: {value: /shopping}}]}"),
            (SPEC.to_owned(), "{match: [{headers: [{name: a, value: b}]}, {path: {value: /shopping}}]}"),
            (
                SPEC.replace("timeoutPolicy", "pathRewritePolicy: {replacePrefix: [{replacement: /}]}, timeoutPolicy"),
                "{match: [{path: {value: /shop/cart}}]}",
            ),
            (SPEC.replace("prefix: /shop", "regex: /shop.*"), "{match: [{path: {value: /shop}}]}"),
            (
                SPEC.replace("prefix: /shop", "header: {name: A, exact: c}"),
                "{match: [{headers: [{name: a, value: b}]}]}",
            ),
            (
                SPEC.replace("prefix: /shop", "header: {name: A, notpresent: true}"),
                "{match: [{headers: [{name: a, value: b}]}]}",
            ),
            (tcp.to_owned(), "{mirror: {percent: 1}}"),
        ] {
            assert_eq!(whole(&spec, apart).unwrap_err().category(), "CannotMatch", "{apart}");
        }
    }
}
