//! Routes beside the managed ones, in a `VirtualService` that is ours to write.
use super::SHAPE;
use crate::{
    traffic::{
        Unsteerable,
        split::{Apart, Comparison, Cookie, NamedValue, REWRITTEN, RequestMatch},
        weighted::{describe, list, unmatched},
    },
    vocab::Pair,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The route, its weights in place, with what reaches the canary beside them.
pub(super) fn added(mut route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
    if apart.is_empty() {
        return Ok(route);
    }
    let impossible = |why: &str| Unsteerable::CannotMatch { route: describe(&route), why: why.to_owned() };
    if let Some(why) = apart.header_twice() {
        return Err(impossible(&why));
    }
    let managed = SHAPE.managed(&route, pair)?;
    let at = |position| managed.iter().find(|rule| rule.path == format!("/spec/http/{position}"));
    let mut rules = Vec::new();
    let mut fitting = BTreeSet::new();
    for (position, rule) in list(&route["spec"]["http"]).iter().enumerate() {
        let mut rule = rule.clone();
        if let Some(place) = at(position) {
            let mut matches = Vec::new();
            for (at, wanted) in apart.matches.iter().enumerate() {
                let own = all_narrowed(&rule, wanted);
                if own.is_empty() {
                    continue;
                }
                if wanted.path.is_some() && !rule["rewrite"]["uri"].is_null() {
                    return Err(impossible(REWRITTEN));
                }
                fitting.insert(at);
                matches.extend(own);
            }
            // The first route that fits is taken, so ours stands right before the one that it is taken from.
            rules.extend(to_canary(&rule, place.canary.position, matches));
            if let Some(mirror) = apart.mirror {
                if !rule["mirror"].is_null() {
                    return Err(impossible(
                        "a managed route has a mirror of its own; write that as an entry of mirrors",
                    ));
                }
                mirrored(&mut rule, place.canary.position, mirror.percent);
            }
        }
        rules.push(rule);
    }
    if !managed.iter().any(|rule| rule.path.starts_with("/spec/http/")) {
        return Err(impossible(
            "only its http routes can tell requests apart or copy them, and none of those is managed",
        ));
    }
    if let Some(at) = (0..apart.matches.len()).find(|at| !fitting.contains(at)) {
        return Err(impossible(&unmatched("route", at, "paths, methods, headers and queries")));
    }
    route["spec"]["http"] = Value::Array(rules);
    Ok(route)
}

/// The matches of a managed route, narrowed by one of the step's, where the two can match together.
fn all_narrowed(rule: &Value, wanted: &RequestMatch) -> Vec<Value> {
    let any = [json!({})];
    let own = Some(list(&rule["match"])).filter(|own| !own.is_empty()).unwrap_or(&any);
    own.iter().flat_map(|own| narrowed(own, wanted)).collect()
}

/// The route that takes what matches, with everything that the managed one does to its requests; none where nothing does.
fn to_canary(rule: &Value, canary: usize, matches: Vec<Value>) -> Option<Value> {
    if matches.is_empty() {
        return None;
    }
    let mut destination = list(&rule["route"]).get(canary)?.clone();
    destination["weight"] = json!(100);
    let mut taken = rule.clone();
    taken["match"] = Value::Array(matches);
    taken["route"] = json!([destination]);
    Some(taken)
}

/// A match of the route, narrowed by one of the step's: one for each way to write the path.
fn narrowed(own: &Value, wanted: &RequestMatch) -> Vec<Value> {
    let Some(both) = without_path(own, wanted) else { return Vec::new() };
    let Some(path) = &wanted.path else { return vec![Value::Object(both)] };
    let with = |uri: Value| {
        let mut both = both.clone();
        both.insert("uri".to_owned(), uri);
        Value::Object(both)
    };
    path.exact_or_prefix().into_iter().filter(|uri| within(&own["uri"], uri)).map(with).collect()
}

/// All of it but the path; none where it asks for another value of the same name.
fn without_path(own: &Value, wanted: &RequestMatch) -> Option<Map<String, Value>> {
    let mut both = own.as_object()?.clone();
    if let Some(method) = &wanted.method {
        let method = json!({"exact": method});
        if both.get("method").is_some_and(|own| *own != method) {
            return None;
        }
        both.insert("method".to_owned(), method);
    }
    // Istio wants the names of headers in small letters.
    let headers = wanted.headers.iter().map(|header| (header.name.to_ascii_lowercase(), value(header)));
    let cookies = wanted.cookies.iter().map(|wanted| ("cookie".to_owned(), cookie(wanted)));
    let headers: Vec<_> = headers.chain(cookies).collect();
    if headers.iter().any(|(name, _)| !own["withoutHeaders"][name].is_null()) {
        return None;
    }
    extend(&mut both, "headers", headers)?;
    extend(&mut both, "queryParams", wanted.query.iter().map(|wanted| (wanted.name.clone(), value(wanted))).collect())?;
    Some(both)
}

/// Adds entries by name; none where another value stands under the same name.
fn extend(both: &mut Map<String, Value>, field: &str, wanted: Vec<(String, Value)>) -> Option<()> {
    if wanted.is_empty() {
        return Some(());
    }
    let mut entries = both.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in wanted {
        if entries.get(&name).is_some_and(|own| *own != value) {
            return None;
        }
        entries.insert(name, value);
    }
    both.insert(field.to_owned(), Value::Object(entries));
    Some(())
}

/// Whether every request at this path is one of the route's.
fn within(own: &Value, wanted: &Value) -> bool {
    let text = |of: &Value, how: &str| of[how].as_str().map(str::to_owned);
    if own.is_null() {
        return true;
    }
    let path = text(wanted, "exact").or_else(|| text(wanted, "prefix")).unwrap_or_default();
    if let Some(prefix) = text(own, "prefix") {
        return path.starts_with(&prefix);
    }
    // Nobody can tell here what an expression takes.
    text(own, "exact").is_some() && *own == *wanted
}

fn value(wanted: &NamedValue) -> Value {
    match wanted.how {
        Comparison::Exact => json!({"exact": wanted.value}),
        Comparison::RegularExpression => json!({"regex": wanted.value}),
    }
}

/// One cookie among others in the one header that carries them all (RFC 6265, 4.2.1).
fn cookie(wanted: &Cookie) -> Value {
    json!({"regex": format!("^(.*; ?)?{}={}(;.*)?$", wanted.name, wanted.value.replace('.', "\\."))})
}

/// Copies go where the route's own requests to the canary go.
fn mirrored(rule: &mut Value, canary: usize, percent: u8) {
    let destination = rule["route"][canary]["destination"].clone();
    let percentage = json!({"value": percent});
    if let Some(mirrors) = rule["mirrors"].as_array_mut() {
        mirrors.push(json!({"destination": destination, "percentage": percentage}));
    } else {
        rule["mirror"] = destination;
        rule["mirrorPercentage"] = percentage;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        traffic::{RouteRef, Split},
        vocab::Weight,
    };

    const SPEC: &str = "{hosts: [shop.example.com], http: [\
         {match: [{uri: {prefix: /shop/admin}}], route: [{destination: {host: admin}}]}, \
         {name: main, match: [{uri: {prefix: /shop}}], rewrite: {uri: /}, timeout: 5s, retries: {attempts: 2}, route: [\
          {destination: {host: stable, port: {number: 80}}}, {destination: {host: canary, port: {number: 80}}}]}]}";

    fn whole(spec: &str, apart: &str) -> Result<Value, Unsteerable> {
        let entry: RouteRef = serde_saphyr::from_str(&format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, name: r, ownership: Operator, template: {{spec: {spec}}}}}"
        ))
        .unwrap();
        let pair = Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() };
        let split = Split { weight: Weight::new(5).unwrap(), apart: serde_saphyr::from_str(apart).unwrap() };
        entry.router().unwrap().whole(&entry, "shop", &pair, &split)
    }

    fn rules(apart: &str) -> Vec<Value> {
        list(&whole(SPEC, apart).unwrap()["spec"]["http"]).to_vec()
    }

    #[test]
    fn what_matches_goes_to_the_canary_wholly_right_before_the_managed_route() {
        let rules = rules("{match: [{headers: [{name: X-Beta, value: '1'}]}, {method: GET}]}");
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0]["route"][0]["destination"]["host"], "admin");
        assert_eq!(
            rules[1],
            json!({
                "name": "main",
                "match": [
                    {"uri": {"prefix": "/shop"}, "headers": {"x-beta": {"exact": "1"}}},
                    {"uri": {"prefix": "/shop"}, "method": {"exact": "GET"}},
                ],
                "rewrite": {"uri": "/"}, "timeout": "5s", "retries": {"attempts": 2},
                "route": [{"destination": {"host": "canary", "port": {"number": 80}}, "weight": 100}],
            })
        );
        assert_eq!(rules[2]["route"][1]["weight"], 5);
    }

    #[test]
    fn a_path_is_written_as_istio_has_it_and_not_where_it_is_rewritten() {
        let wanted = "{match: [{path: {value: /shop/cart}}]}";
        let route = whole(&SPEC.replace("rewrite: {uri: /}, ", ""), wanted).unwrap();
        let both = json!([{"uri": {"exact": "/shop/cart"}}, {"uri": {"prefix": "/shop/cart/"}}]);
        assert_eq!(route["spec"]["http"][1]["match"], both);
        let words = whole(SPEC, wanted).unwrap_err().to_string();
        assert!(words.contains("rewrites the path that it matches"), "{words}");
    }

    #[test]
    fn each_match_has_a_route_that_takes_it() {
        let wanted = "{match: [{headers: [{name: x-beta, value: '1'}]}, {path: {value: /elsewhere}}]}";
        let words = whole(&SPEC.replace("rewrite: {uri: /}, ", ""), wanted).unwrap_err().to_string();
        assert!(words.contains("takes requests that match[1] of the step describes"), "{words}");
    }

    #[test]
    fn a_cookie_is_an_expression_on_its_header_and_a_query_a_parameter() {
        let rules = rules("{match: [{cookies: [{name: beta, value: v1.0}], query: [{name: q, value: a}]}]}");
        assert_eq!(rules[1]["match"][0]["headers"]["cookie"]["regex"], "^(.*; ?)?beta=v1\\.0(;.*)?$");
        assert_eq!(rules[1]["match"][0]["queryParams"]["q"], json!({"exact": "a"}));
    }

    #[test]
    fn two_cookies_are_refused_with_the_cause_and_the_cure() {
        let error = whole(SPEC, "{match: [{cookies: [{name: beta, value: a}, {name: team, value: b}]}]}").unwrap_err();
        let words = error.to_string();
        assert!(words.contains("two values of the header cookie") && words.contains("RegularExpression"), "{words}");
    }

    #[test]
    fn copies_are_a_mirror_of_the_managed_route_only() {
        let some = rules("{mirror: {percent: 10}}");
        assert_eq!(some[1]["mirror"], json!({"host": "canary", "port": {"number": 80}}));
        assert_eq!(some[1]["mirrorPercentage"], json!({"value": 10}));
        assert_eq!(some[0].get("mirror"), None);
        let spec = SPEC.replace("timeout: 5s", "mirrors: [{destination: {host: audit}}]");
        let several = whole(&spec, "{mirror: {percent: 10}}").unwrap();
        assert_eq!(several["spec"]["http"][1]["mirrors"][1]["percentage"], json!({"value": 10}));
        let spec = SPEC.replace("timeout: 5s", "mirror: {host: audit}");
        assert!(whole(&spec, "{mirror: {percent: 10}}").unwrap_err().to_string().contains("entry of mirrors"));
    }

    #[test]
    fn a_match_that_no_route_can_have_is_refused() {
        for (from, to, apart) in [
            ("", "", "{match: [{path: {value: /elsewhere}}]}"),
            ("{uri: {prefix: /shop}}", "{uri: {regex: '/shop.*'}}", "{match: [{path: {value: /shop}}]}"),
            ("{uri: {prefix: /shop}}", "{method: {exact: POST}}", "{match: [{method: GET}]}"),
            ("{uri: {prefix: /shop}}", "{withoutHeaders: {a: {}}}", "{match: [{headers: [{name: A, value: b}]}]}"),
            ("{uri: {prefix: /shop}}", "{headers: {a: {exact: c}}}", "{match: [{headers: [{name: A, value: b}]}]}"),
        ] {
            let error = whole(&SPEC.replace(from, to), apart).unwrap_err();
            assert_eq!(error.category(), "CannotMatch", "{apart}");
        }
    }

    #[test]
    fn routes_without_http_tell_nothing_apart() {
        let spec = "{tcp: [{route: [{destination: {host: stable}}, {destination: {host: canary}}]}]}";
        for apart in ["{mirror: {percent: 1}}", "{match: [{method: GET}]}"] {
            assert!(whole(spec, apart).unwrap_err().to_string().contains("only its http routes"));
        }
    }
}
