//! What is Traefik's own: rules, priorities and mirrors.
use super::*;
use crate::{
    traffic::{RouteRef, Router, Split, Unsteerable},
    vocab::Weight,
};
use serde_json::json;

fn whole(kind: &str, spec: &str, weight: u8, apart: &str) -> Result<Value, Unsteerable> {
    let entry: RouteRef = serde_saphyr::from_str(&format!(
        "{{apiVersion: traefik.io/v1alpha1, kind: {kind}, name: r, ownership: Operator, template: {{spec: {spec}}}}}"
    ))
    .unwrap();
    let split = Split { weight: Weight::new(weight).unwrap(), apart: serde_saphyr::from_str(apart).unwrap() };
    entry.router().unwrap().whole(&entry, "shop", &pair(), &split)
}

fn pair() -> Pair {
    Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() }
}

const BOTH: &str = "[{name: stable, port: 80}, {name: canary, port: 80, scheme: h2c}]";

fn routes(managed: &str, apart: &str) -> Result<Vec<Value>, Unsteerable> {
    let spec = format!(
        "{{routes: [{{kind: Rule, {managed}, middlewares: [{{name: auth}}], services: {BOTH}}}, \
         {{kind: Rule, match: 'PathPrefix(`/api`)', services: [{{name: api, port: 80}}]}}]}}"
    );
    Ok(list(&whole("IngressRoute", &spec, 5, apart)?["spec"]["routes"]).to_vec())
}

const MATCH: &str = "match: 'PathPrefix(`/`)'";

#[test]
fn what_matches_has_the_managed_rule_narrowed_and_stands_just_above_it() {
    let routes = routes(MATCH, "{match: [{headers: [{name: x-beta, value: '1'}], method: GET}, {query: [{name: v, value: b.*, type: RegularExpression}]}]}").unwrap();
    assert_eq!(routes.len(), 3);
    assert_eq!(routes[0]["services"][1]["weight"], 5);
    assert_eq!(
        routes[2],
        json!({
            "kind": "Rule",
            "match": "(PathPrefix(`/`)) && ((Header(`x-beta`, `1`) && Method(`GET`)) || (QueryRegexp(`v`, `b.*`)))",
            "priority": 16,
            "middlewares": [{"name": "auth"}],
            // Of one alone Traefik would count requests under the rule's name.
            "services": [
                {"name": "canary", "port": 80, "scheme": "h2c", "weight": 1},
                {"name": "canary", "port": 80, "scheme": "h2c", "weight": 1},
            ],
        })
    );
    // Below the route of the API, which took its requests before and takes them now.
    assert!("PathPrefix(`/api`)".len() > 16);
}

#[test]
fn paths_are_of_whole_elements_and_cookies_stand_among_others() {
    for (wanted, rule) in [
        ("path: {value: /cart/}", "((Path(`/cart`) || PathPrefix(`/cart/`)))"),
        ("path: {value: /cart, type: Exact}", "(Path(`/cart`))"),
        ("path: {value: /}", "(PathPrefix(`/`))"),
        ("cookies: [{name: beta, value: v1.0}]", "(HeaderRegexp(`Cookie`, `^(.*; ?)?beta=v1\\.0(;.*)?$`))"),
    ] {
        let routes = routes(MATCH, &format!("{{match: [{{{wanted}}}]}}")).unwrap();
        assert_eq!(routes[2]["match"], format!("(PathPrefix(`/`)) && ({rule})"));
    }
}

#[test]
fn rules_that_cannot_be_narrowed_are_refused_with_the_cure() {
    let beta = "{match: [{headers: [{name: x-beta, value: '1'}]}]}";
    for (managed, apart, words) in [
        (
            "match: 'PathPrefix(`/`)', priority: 17",
            beta,
            "another route has priority 18, just above routes[0]: write a priority",
        ),
        ("match: 'PathPrefix(`/`)', syntax: v2", beta, "write its match for syntax v3"),
        ("priority: 3", beta, "routes[0]: match is not a rule"),
        (MATCH, "{match: [{headers: [{name: x, value: 'a`b'}]}]}", "a value has a `"),
        (MATCH, "{mirror: {percent: 5}}", "name a TraefikService instead"),
    ] {
        let said = routes(managed, apart).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(routes("match: 'PathPrefix(`/`)', priority: 7", beta).unwrap()[2]["priority"], 8);
}

#[test]
fn a_mirror_takes_the_place_of_the_weights() {
    let spec = format!("{{weighted: {{services: {BOTH}}}}}");
    let whole = |weight, apart| whole("TraefikService", &spec, weight, apart);
    let mirrored = whole(0, "{mirror: {percent: 10}}").unwrap();
    let copy = json!({"name": "canary", "port": 80, "scheme": "h2c", "percent": 10});
    assert_eq!(mirrored["spec"], json!({"mirroring": {"name": "stable", "port": 80, "mirrors": [copy]}}));
    assert!(whole(5, "{mirror: {percent: 10}}").unwrap_err().to_string().contains("must have weight 0"));
    assert!(whole(0, "{match: [{method: GET}]}").unwrap_err().to_string().contains("name the IngressRoute"));
}

#[test]
fn a_mirror_beside_the_weights_is_refused() {
    let with = |mirroring: Value| {
        let both: Value = serde_saphyr::from_str(BOTH).unwrap();
        json!({"kind": "TraefikService", "metadata": {"name": "r", "namespace": "shop"},
            "spec": {"weighted": {"services": both}, "mirroring": mirroring}})
    };
    let said = SERVICE.read(&with(json!({"name": "stable", "mirrors": [{"name": "canary"}]})), &pair()).unwrap_err();
    assert_eq!(said.category(), "CanaryFiltered");
    assert!(SERVICE.read(&with(json!({"name": "other"})), &pair()).is_ok());
}

#[test]
fn services_of_other_kinds_and_namespaces_are_none_of_ours() {
    for entry in ["{name: canary, kind: TraefikService}", "{name: canary, namespace: other, port: 80}"] {
        let spec = format!("{{routes: [{{match: a, services: [{{name: stable, port: 80}}, {entry}]}}]}}");
        assert_eq!(whole("IngressRoute", &spec, 5, "{}").unwrap_err().category(), "RouteNotPrepared", "{entry}");
    }
}
