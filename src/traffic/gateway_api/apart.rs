//! Rules beside the managed ones, in a route that is ours to write: requests that match go to the canary wholly, and copies
//! of stable's requests go there too.
use super::SHAPE;
use crate::{
    traffic::{
        Unsteerable,
        split::{Apart, Comparison, Cookie, Mirror, NamedValue, PathComparison, RequestMatch},
        weighted::{Managed, describe, list, unmatched},
    },
    vocab::Pair,
};
use serde_json::{Map, Value, json};

/// The most rules that the API takes in a route.
const RULES: usize = 16;
/// The most matches that it takes in a rule, and in a route.
const MATCHES: usize = 64;
const ALL_MATCHES: usize = 128;

/// The route, its weights in place, with what reaches the canary beside them.
pub(super) fn added(mut route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
    if apart.is_empty() {
        return Ok(route);
    }
    let impossible = |why: &str| Unsteerable::CannotMatch { route: describe(&route), why: why.to_owned() };
    if let Some(why) = apart.header_twice() {
        return Err(impossible(&why));
    }
    let grpc = route["kind"] == "GRPCRoute";
    if grpc
        && apart
            .matches
            .iter()
            .any(|wanted| wanted.method.is_some() || wanted.path.is_some() || !wanted.query.is_empty())
    {
        return Err(impossible("a GRPCRoute can tell requests apart by headers and cookies only"));
    }
    let places = SHAPE.managed(&route, pair)?;
    let mut rules = list(&route["spec"]["rules"]).to_vec();
    let mut taken = Vec::new();
    for place in &places {
        let Some(rule) = rules.get(place.position) else { continue };
        let own = to_canary(rule, place, &apart.matches);
        let narrows_path = apart.matches.iter().any(|wanted| wanted.path.is_some());
        // It is one prefix that is replaced: of a longer one less would be left, and of several none may.
        if let Some(own) = own.as_ref().filter(|_| replaces_prefix(rule))
            && (narrows_path || list(&own["matches"]).len() > 1)
        {
            return Err(impossible(
                "a managed rule replaces its path's prefix, so a step's match there can be one alone, and none by path",
            ));
        }
        taken.extend(own);
    }
    let fits = |wanted: &RequestMatch| {
        let wanted = std::slice::from_ref(wanted);
        let mut all = places.iter().filter_map(|place| to_canary(rules.get(place.position)?, place, wanted));
        all.next().is_some()
    };
    if let Some(at) = apart.matches.iter().position(|wanted| !fits(wanted)) {
        return Err(impossible(&unmatched("rule", at, "paths, methods, headers and queries")));
    }
    let counts = |rules: &[Value]| rules.iter().map(|rule| list(&rule["matches"]).len()).collect::<Vec<_>>();
    let (new, old) = (counts(&taken), counts(&rules));
    // A rule without a match has one that takes everything.
    let all = new.iter().chain(&old).map(|count| (*count).max(1)).sum::<usize>();
    if new.iter().any(|count| *count > MATCHES) || all > ALL_MATCHES || rules.len() + taken.len() > RULES {
        return Err(impossible(
            "with the step's match it would have more than 16 rules, one of more than 64 matches, or more than 128 of them in all",
        ));
    }
    if let Some(mirror) = apart.mirror {
        for place in &places {
            if let Some(rule) = rules.get_mut(place.position) {
                mirrored(rule, place, pair, mirror);
            }
        }
    }
    // What is more special stands first, for gateways that take the first rule that fits.
    taken.append(&mut rules);
    route["spec"]["rules"] = Value::Array(taken);
    Ok(route)
}

/// The rule that takes what matches, with everything that the managed rule does to its requests; none where the two can
/// never match together.
fn to_canary(rule: &Value, place: &Managed, wanted: &[RequestMatch]) -> Option<Value> {
    let any = [json!({})];
    let own = Some(list(&rule["matches"])).filter(|own| !own.is_empty()).unwrap_or(&any);
    let both: Vec<Value> =
        own.iter().flat_map(|own| wanted.iter().filter_map(|wanted| narrowed(own, wanted))).collect();
    if both.is_empty() {
        return None;
    }
    let mut canary = list(&rule["backendRefs"]).get(place.canary.position)?.clone();
    canary["weight"] = json!(1);
    let mut taken = rule.clone();
    // A name must be one rule's own.
    taken.as_object_mut()?.remove("name");
    taken["matches"] = Value::Array(both);
    taken["backendRefs"] = json!([canary]);
    Some(taken)
}

/// A match of the rule, narrowed by one of the step's.
fn narrowed(own: &Value, wanted: &RequestMatch) -> Option<Value> {
    let mut both = own.as_object()?.clone();
    if let Some(method) = &wanted.method {
        if both.get("method").is_some_and(|own| own != method) {
            return None;
        }
        both.insert("method".to_owned(), json!(method));
    }
    if let Some(path) = &wanted.path {
        let exact = path.how == PathComparison::Exact;
        if !within(both.get("path").unwrap_or(&Value::Null), &path.value, exact) {
            return None;
        }
        both.insert(
            "path".to_owned(),
            json!({"type": if exact { "Exact" } else { "PathPrefix" }, "value": path.value}),
        );
    }
    let cookies = wanted.cookies.iter().map(cookie);
    extend(&mut both, "headers", wanted.headers.iter().map(named).chain(cookies))?;
    extend(&mut both, "queryParams", wanted.query.iter().map(named))?;
    Some(Value::Object(both))
}

/// Whether every request at this path is one of the rule's.
fn within(own: &Value, path: &str, exact: bool) -> bool {
    let value = own["value"].as_str().unwrap_or("/");
    match own["type"].as_str().unwrap_or("PathPrefix") {
        "PathPrefix" => {
            let prefix = value.trim_end_matches('/');
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        "Exact" => exact && path == value,
        // Nobody can tell here what an expression takes.
        _ => false,
    }
}

/// Adds entries to a list whose names must differ; none where the rule asks for another value of the same name.
fn extend(both: &mut Map<String, Value>, field: &str, wanted: impl Iterator<Item = Value>) -> Option<()> {
    let mut entries = both.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    for entry in wanted {
        let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_ascii_lowercase();
        match entries.iter().find(|own| name(own) == name(&entry)) {
            Some(own) if own["value"] == entry["value"] => {}
            Some(_) => return None,
            None => entries.push(entry),
        }
    }
    if !entries.is_empty() {
        both.insert(field.to_owned(), Value::Array(entries));
    }
    Some(())
}

fn named(wanted: &NamedValue) -> Value {
    let how = match wanted.how {
        Comparison::Exact => "Exact",
        Comparison::RegularExpression => "RegularExpression",
    };
    json!({"type": how, "name": wanted.name, "value": wanted.value})
}

fn cookie(wanted: &Cookie) -> Value {
    json!({"type": "RegularExpression", "name": "cookie", "value": wanted.expression()})
}

fn replaces_prefix(rule: &Value) -> bool {
    let mut rewrites =
        list(&rule["filters"]).iter().flat_map(|filter| [&filter["urlRewrite"], &filter["requestRedirect"]]);
    rewrites.any(|rewrite| rewrite["path"]["type"] == "ReplacePrefixMatch")
}

/// Copies go to the port that the rule's own requests go to.
fn mirrored(rule: &mut Value, place: &Managed, pair: &Pair, mirror: Mirror) {
    let port = rule["backendRefs"][place.canary.position]["port"].clone();
    let port = if port.is_null() { json!(pair.port) } else { port };
    let mut copy = json!({"backendRef": {"name": pair.canary, "port": port}});
    if mirror.percent < 100 {
        copy["percent"] = json!(mirror.percent);
    }
    let filter = json!({"type": "RequestMirror", "requestMirror": copy});
    match rule["filters"].as_array_mut() {
        Some(filters) => filters.push(filter),
        None => rule["filters"] = json!([filter]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        traffic::{RouteRef, Split},
        vocab::Weight,
    };

    const SPEC: &str = "{parentRefs: [{name: web}], rules: [\
         {name: main, matches: [{path: {type: PathPrefix, value: /shop}}], timeouts: {request: 5s}, \
          backendRefs: [{name: stable, port: 80}, {name: canary, port: 80}]}, \
         {matches: [{path: {value: /old}}], backendRefs: [{name: legacy, port: 80}]}]}";

    fn whole(kind: &str, spec: &str, apart: &str) -> Result<Value, Unsteerable> {
        let entry: RouteRef = serde_saphyr::from_str(&format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, name: r, ownership: Operator, template: {{spec: {spec}}}}}"
        ))
        .unwrap();
        let pair = Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() };
        let split = Split { weight: Weight::new(5).unwrap(), apart: serde_saphyr::from_str(apart).unwrap() };
        entry.router().unwrap().whole(&entry, "shop", &pair, &split)
    }

    fn rules(apart: &str) -> Vec<Value> {
        list(&whole("HTTPRoute", SPEC, apart).unwrap()["spec"]["rules"]).to_vec()
    }

    #[test]
    fn what_matches_goes_to_the_canary_wholly_and_first() {
        let rules =
            rules("{match: [{headers: [{name: x-beta, value: '1'}]}, {method: GET, path: {value: /shop/cart}}]}");
        assert_eq!(rules.len(), 3);
        assert_eq!(
            rules[0],
            json!({
                "matches": [
                    {"path": {"type": "PathPrefix", "value": "/shop"}, "headers": [{"type": "Exact", "name": "x-beta", "value": "1"}]},
                    {"path": {"type": "PathPrefix", "value": "/shop/cart"}, "method": "GET"},
                ],
                "timeouts": {"request": "5s"},
                "backendRefs": [{"name": "canary", "port": 80, "weight": 1}],
            })
        );
        assert_eq!(rules[1]["name"], "main");
        assert_eq!(rules[1]["backendRefs"][1], json!({"name": "canary", "port": 80, "weight": 5}));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let rules = rules("{match: [{cookies: [{name: beta, value: v1.0}]}]}");
        let expression = rules[0]["matches"][0]["headers"][0]["value"].as_str().unwrap();
        let expression = regex::Regex::new(expression).unwrap();
        for (cookies, fits) in [
            ("beta=v1.0", true),
            ("a=b; beta=v1.0", true),
            ("a=b;beta=v1.0; c=d", true),
            ("beta=v1x0", false),
            ("alphabeta=v1.0", false),
            ("beta=v1.01", false),
        ] {
            assert_eq!(expression.is_match(cookies), fits, "{cookies}");
        }
    }

    #[test]
    fn copies_of_stables_requests_are_a_filter_of_the_managed_rule() {
        let some = rules("{mirror: {percent: 10}}");
        let copy = json!({"backendRef": {"name": "canary", "port": 80}, "percent": 10});
        assert_eq!(some[0]["filters"], json!([{"type": "RequestMirror", "requestMirror": copy}]));
        assert_eq!(some[1].get("filters"), None);
        assert_eq!(rules("{mirror: {percent: 100}}")[0]["filters"][0]["requestMirror"].get("percent"), None);
    }

    #[test]
    fn a_match_that_no_rule_can_have_is_refused() {
        for apart in ["{match: [{path: {value: /elsewhere}}]}", "{match: [{path: {value: /shopping}}]}"] {
            let error = whole("HTTPRoute", SPEC, apart).unwrap_err();
            assert_eq!(error.category(), "CannotMatch", "{apart}");
        }
        let spec = SPEC.replace("path: {type: PathPrefix, value: /shop}", "method: POST");
        assert!(whole("HTTPRoute", &spec, "{match: [{method: GET}]}").is_err());
        let spec = SPEC.replace("path: {type: PathPrefix, value: /shop}", "headers: [{name: X-Beta, value: '2'}]");
        assert!(whole("HTTPRoute", &spec, "{match: [{headers: [{name: x-beta, value: '1'}]}]}").is_err());
    }

    #[test]
    fn two_values_of_one_header_are_refused_with_the_cause_and_the_cure() {
        let two = "{match: [{cookies: [{name: beta, value: a}, {name: team, value: b}]}]}";
        let spec = "{rules: [{backendRefs: [{name: stable, port: 80}, {name: canary, port: 80}]}]}";
        for (kind, apart, name) in [
            ("HTTPRoute", two, "cookie"),
            ("GRPCRoute", two, "cookie"),
            (
                "HTTPRoute",
                "{match: [{headers: [{name: Cookie, value: x}], cookies: [{name: beta, value: a}]}]}",
                "cookie",
            ),
            ("HTTPRoute", "{match: [{headers: [{name: x-a, value: x}, {name: X-A, value: y}]}]}", "x-a"),
        ] {
            let error = whole(kind, spec, apart).unwrap_err();
            assert_eq!(error.category(), "CannotMatch", "{apart}");
            let words = error.to_string();
            assert!(words.contains(&format!("two values of the header {name}")), "{words}");
            assert!(words.ends_with(&format!("one header {name} with type: RegularExpression")), "{words}");
        }
        let one_each = "{match: [{cookies: [{name: beta, value: a}]}, {cookies: [{name: team, value: b}]}]}";
        let same_twice = "{match: [{cookies: [{name: beta, value: a}, {name: beta, value: a}]}]}";
        let as_one = "{match: [{headers: [{name: cookie, type: RegularExpression, value: '.*beta=a.*team=b.*'}]}]}";
        for apart in [one_each, same_twice, as_one] {
            assert!(whole("HTTPRoute", spec, apart).is_ok(), "{apart}");
        }
    }

    #[test]
    fn grpc_tells_requests_apart_by_headers_only() {
        let spec = "{rules: [{backendRefs: [{name: stable, port: 80}, {name: canary, port: 80}]}]}";
        assert!(whole("GRPCRoute", spec, "{match: [{headers: [{name: a, value: b}]}]}").is_ok());
        assert!(whole("GRPCRoute", spec, "{match: [{method: GET}]}").is_err());
    }

    #[test]
    fn too_many_matches_are_refused_before_the_api_server_does() {
        let matches: Vec<_> = (0..9).map(|index| format!("{{path: {{value: /shop/{index}}}}}")).collect();
        let spec = SPEC.replace(
            "{path: {type: PathPrefix, value: /shop}}",
            &["{path: {type: PathPrefix, value: /shop}}"; 8].join(", "),
        );
        let error = whole("HTTPRoute", &spec, &format!("{{match: [{}]}}", matches.join(", "))).unwrap_err();
        assert!(error.to_string().contains("64"), "{error}");
    }

    #[test]
    fn where_a_prefix_is_replaced_no_path_and_no_second_match_is_written() {
        let filters =
            "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], ";
        let spec = SPEC.replace("timeouts:", &format!("{filters}timeouts:"));
        let one = "{headers: [{name: x-beta, value: '1'}]}";
        assert!(whole("HTTPRoute", &spec, &format!("{{match: [{one}]}}")).is_ok());
        for more in
            ["{path: {value: /shop/cart}}".to_owned(), format!("{one}, {{cookies: [{{name: beta, value: '1'}}]}}")]
        {
            let words = whole("HTTPRoute", &spec, &format!("{{match: [{more}]}}")).unwrap_err().to_string();
            assert!(words.contains("replaces its path's prefix"), "{words}");
        }
    }

    #[test]
    fn each_match_has_a_rule_that_takes_it_and_all_of_them_have_room() {
        let wanted = "{match: [{headers: [{name: x-beta, value: '1'}]}, {path: {value: /elsewhere}}]}";
        let words = whole("HTTPRoute", SPEC, wanted).unwrap_err().to_string();
        assert!(words.contains("takes requests that match[1] of the step describes"), "{words}");
        let headers: Vec<_> = (0..4).map(|at| format!("{{headers: [{{name: x-{at}, value: '1'}}]}}")).collect();
        let own: Vec<_> = (0..14).map(|at| format!("{{path: {{value: /{at}}}}}")).collect();
        let rule = format!(
            "{{matches: [{}], backendRefs: [{{name: stable, port: 80}}, {{name: canary, port: 80}}]}}",
            own.join(", ")
        );
        let spec = format!("{{rules: [{rule}, {rule}]}}");
        let words = whole("HTTPRoute", &spec, &format!("{{match: [{}]}}", headers.join(", "))).unwrap_err().to_string();
        assert!(words.contains("more than 128 of them in all"), "{words}");
    }

    #[test]
    fn copies_go_to_the_port_of_the_rule() {
        let entry: RouteRef = serde_saphyr::from_str(&format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, name: r, ownership: Operator, template: {{spec: {}}}}}",
            SPEC.replace("name: stable, port: 80", "name: stable, port: 9090").replace("name: canary, port: 80", "name: canary, port: 9090")
        ))
        .unwrap();
        let pair = Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: vec![9090] };
        let apart = serde_saphyr::from_str("{mirror: {percent: 10}}").unwrap();
        let split = Split { weight: Weight::new(5).unwrap(), apart };
        let route = entry.router().unwrap().whole(&entry, "shop", &pair, &split).unwrap();
        assert_eq!(route["spec"]["rules"][0]["filters"][0]["requestMirror"]["backendRef"]["port"], 9090);
    }
}
