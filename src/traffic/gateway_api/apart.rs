//! Rules beside the managed ones, in a route that is ours to write: requests that match go to the canary wholly, and copies
//! of stable's requests go there too.
use super::SHAPE;
use crate::{
    traffic::{
        Unsteerable,
        precedence::{self, Asked, Compared, Narrowed, Path, Robbed, Ties},
        split::{Apart, Comparison, Cookie, Mirror, NamedValue, PathComparison, RequestMatch},
        weighted::{Managed, describe, list, robs, rule_name, unmatched},
    },
    vocab::Pair,
};
use serde_json::{Map, Value, json};

/// The most rules that the API takes in a route.
const RULES: usize = 16;
/// The most matches that it takes in a rule, and in a route.
const MATCHES: usize = 64;
const ALL_MATCHES: usize = 128;
/// The most headers or query parameters that it takes in a match, and the most filters in a rule.
const OF_EACH: usize = 16;

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
    let rules = list(&route["spec"]["rules"]);
    let asked: Vec<Vec<Asked>> =
        rules.iter().map(|rule| matches(rule).iter().map(|own| asked(own, grpc)).collect()).collect();
    let narrowed = places.iter().filter_map(|place| Some((place.position, rules.get(place.position)?)));
    let narrowed = narrowed.flat_map(|(at, rule)| all_narrowed(at, rule, &apart.matches, grpc)).collect();
    let kept = precedence::kept(&asked, narrowed, Ties::ByPlace).map_err(|Robbed { rule, wanted }| {
        let name = rules.get(rule).map(|it| rule_name(it, &format!("/spec/rules/{rule}"))).unwrap_or_default();
        let cure = format!("write into {name} a match for requests that fit both, or let the step's match say less");
        impossible(&robs(wanted, &name, &cure))
    })?;
    if let Some(at) = precedence::unkept(&kept, apart.matches.len()) {
        return Err(impossible(&unmatched(
            "rule",
            at,
            "paths, methods, headers and queries, and which rule is asked first",
        )));
    }
    let (mut all, mut behind) = (Vec::new(), Vec::new());
    for (position, rule) in rules.iter().enumerate() {
        let mut rule = rule.clone();
        if let Some(place) = places.iter().find(|place| place.position == position) {
            let own: Vec<_> = kept.iter().filter(|it| it.rule == position).collect();
            // A name is one rule's own, so what a policy asks of this one by its name, a login say, would not be asked there.
            if let (Some(name), false) = (rule["name"].as_str(), own.is_empty()) {
                return Err(impossible(&format!(
                    "rule {name} has a name, and policies that are attached to it by that would not hold for the rule of the step's \
                     match: attach them to the whole route, and take the name out"
                )));
            }
            let by_path = |it: &&Narrowed| apart.matches.get(it.wanted).is_some_and(|wanted| wanted.path.is_some());
            // It is one prefix that is replaced: of a longer one less would be left, and of several none may.
            if replaces_prefix(&rule) && (own.len() > 1 || own.iter().any(by_path)) {
                return Err(impossible(
                    "a managed rule replaces its path's prefix, so a step's match there can be one alone, and none by path",
                ));
            }
            // Behind all rules, whose places stay: Envoy Gateway names what a rule sends to by its place, and for some
            // milliseconds answers 503 where a place comes or goes.
            let (ahead, more): (Vec<_>, Vec<_>) = own.into_iter().partition(|it| it.must_be_ahead());
            all.extend(to_canary(&rule, place, ahead));
            behind.extend(to_canary(&rule, place, more));
            if let Some(mirror) = apart.mirror {
                mirrored(&mut rule, place, pair, mirror);
            }
        }
        all.push(rule);
    }
    all.append(&mut behind);
    // A rule without a match has one that takes everything.
    let counts: Vec<_> = all.iter().map(|rule| matches(rule).len()).collect();
    if counts.iter().any(|count| *count > MATCHES) || counts.iter().sum::<usize>() > ALL_MATCHES || all.len() > RULES {
        return Err(impossible(
            "with the step's match it would have more than 16 rules, one of more than 64 matches, or more than 128 of them in all",
        ));
    }
    let is_long = |list_of: &Value| list(list_of).len() > OF_EACH;
    let asks_much =
        |rule: &Value| matches(rule).iter().any(|it| is_long(&it["headers"]) || is_long(&it["queryParams"]));
    if all.iter().any(|rule| is_long(&rule["filters"]) || asks_much(rule)) {
        return Err(impossible(
            "with what the step asks, one of its matches would have more than 16 headers or query parameters, or a rule more than 16 filters",
        ));
    }
    route["spec"]["rules"] = Value::Array(all);
    Ok(route)
}

/// The matches of a rule, of which one without any has the one that takes everything.
fn matches(rule: &Value) -> Vec<Value> {
    let own = list(&rule["matches"]);
    if own.is_empty() { vec![json!({})] } else { own.to_vec() }
}

/// Each match of a managed rule with each of the step's, where the two can match together.
fn all_narrowed(rule_at: usize, rule: &Value, all: &[RequestMatch], grpc: bool) -> Vec<Narrowed> {
    let each = |own: Value| {
        let one = |(at, wanted): (usize, &RequestMatch)| {
            let written = narrowed(&own, wanted)?;
            Some(Narrowed { rule: rule_at, wanted: at, own: asked(&own, grpc), asked: asked(&written, grpc), written })
        };
        all.iter().enumerate().filter_map(one).collect::<Vec<_>>()
    };
    matches(rule).into_iter().flat_map(each).collect()
}

/// The rule that takes what matches, with everything that the managed rule does to its requests; none where nothing does.
fn to_canary(rule: &Value, place: &Managed, matches: Vec<&Narrowed>) -> Option<Value> {
    if matches.is_empty() {
        return None;
    }
    let matches = matches.into_iter().map(|it| it.written.clone()).collect();
    let mut canary = list(&rule["backendRefs"]).get(place.canary.position)?.clone();
    canary["weight"] = json!(1);
    let mut taken = rule.clone();
    taken["matches"] = Value::Array(matches);
    taken["backendRefs"] = json!([canary]);
    Some(taken)
}

/// What a match asks, with the defaults of the API.
fn asked(own: &Value, grpc: bool) -> Asked {
    let text = |of: &Value, field: &str, default: &str| of[field].as_str().unwrap_or(default).to_owned();
    let compared = |entry: &Value, name: String| {
        let (how, value) = (text(entry, "type", "Exact"), text(entry, "value", ""));
        Compared { name, written: format!("{how} {value}"), exact: (how == "Exact").then_some(value) }
    };
    let names = |field: &str| list(&own[field]).iter().map(|entry| (entry, text(entry, "name", "")));
    let (path, method) =
        if grpc { (called(&own["method"]), None) } else { (path(&own["path"]), own["method"].as_str()) };
    Asked {
        path,
        method: method.map(str::to_owned),
        headers: names("headers").map(|(entry, name)| compared(entry, name.to_ascii_lowercase())).collect(),
        query: names("queryParams").map(|(entry, name)| compared(entry, name)).collect(),
    }
}

fn path(own: &Value) -> Path {
    let value = own["value"].as_str().unwrap_or("/").to_owned();
    match own["type"].as_str().unwrap_or("PathPrefix") {
        "PathPrefix" => Path::Prefix(value),
        "Exact" => Path::Exact(value),
        _ => Path::Expression(own.to_string()),
    }
}

/// What is called over gRPC, as the path that it is on the wire.
fn called(method: &Value) -> Path {
    match (method["service"].as_str(), method["method"].as_str()) {
        _ if method["type"].as_str().unwrap_or("Exact") != "Exact" => Path::Expression(method.to_string()),
        (None, None) => Path::Prefix("/".to_owned()),
        (None, Some(_)) => Path::Expression(method.to_string()),
        (Some(service), None) => Path::Prefix(format!("/{service}")),
        (Some(service), Some(method)) => Path::Prefix(format!("/{service}/{method}")),
    }
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
    if let Some(wanted) = &wanted.path {
        let narrow = json!({"type": if wanted.how == PathComparison::Exact { "Exact" } else { "PathPrefix" }, "value": wanted.value});
        if !path(&own["path"]).has(&path(&narrow)) {
            return None;
        }
        both.insert("path".to_owned(), narrow);
    }
    let cookies = wanted.cookies.iter().map(cookie);
    extend(&mut both, "headers", wanted.headers.iter().map(named).chain(cookies))?;
    extend(&mut both, "queryParams", wanted.query.iter().map(named))?;
    Some(Value::Object(both))
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
    let of_backends = list(&rule["backendRefs"]).iter().flat_map(|backend| list(&backend["filters"]));
    let filters = list(&rule["filters"]).iter().chain(of_backends);
    let mut rewrites = filters.flat_map(|filter| [&filter["urlRewrite"], &filter["requestRedirect"]]);
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
         {matches: [{path: {type: PathPrefix, value: /shop}}], timeouts: {request: 5s}, \
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
    fn what_matches_goes_to_the_canary_wholly_and_leaves_every_rule_its_place() {
        let rules =
            rules("{match: [{headers: [{name: x-beta, value: '1'}]}, {method: GET, path: {value: /shop/cart}}]}");
        assert_eq!(rules.len(), 3);
        assert_eq!(
            rules[2],
            json!({
                "matches": [
                    {"path": {"type": "PathPrefix", "value": "/shop"}, "headers": [{"type": "Exact", "name": "x-beta", "value": "1"}]},
                    {"path": {"type": "PathPrefix", "value": "/shop/cart"}, "method": "GET"},
                ],
                "timeouts": {"request": "5s"},
                "backendRefs": [{"name": "canary", "port": 80, "weight": 1}],
            })
        );
        assert_eq!(rules[0]["backendRefs"][1], json!({"name": "canary", "port": 80, "weight": 5}));
        assert_eq!(rules[1]["backendRefs"][0]["name"], "legacy");
    }

    #[test]
    fn what_asks_the_same_as_its_rule_comes_before_it() {
        let rules = rules("{match: [{path: {value: /shop}}, {path: {value: /shop/cart}}]}");
        let to: Vec<_> =
            rules.iter().map(|rule| (&rule["matches"][0]["path"]["value"], list(&rule["backendRefs"]).len())).collect();
        assert_eq!(to, [(&json!("/shop"), 1), (&json!("/shop"), 2), (&json!("/old"), 1), (&json!("/shop/cart"), 1)]);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let rules = rules("{match: [{cookies: [{name: beta, value: v1.0}]}]}");
        let expression = rules[2]["matches"][0]["headers"][0]["value"].as_str().unwrap();
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

    /// A managed rule of everything, and beside it one of others with these matches, before it or behind.
    fn beside(kind: &str, [before, behind]: [&str; 2], wanted: &str) -> Result<Value, Unsteerable> {
        let others = |matches: &str, name: &str| match matches {
            "" => String::new(),
            matches => format!("{{name: {name}, matches: [{matches}], backendRefs: [{{name: legacy, port: 80}}]}}, "),
        };
        let managed = "{timeouts: {request: 5s}, backendRefs: [{name: stable, port: 80}, {name: canary, port: 80}]}, ";
        let spec = format!("{{rules: [{}{managed}{}]}}", others(before, "before"), others(behind, "behind"));
        whole(kind, &spec, &format!("{{match: [{wanted}]}}"))
    }

    const BETA: &str = "{headers: [{name: x-beta, value: '1'}]}";

    #[test]
    fn a_match_that_would_take_requests_from_a_rule_beside_the_managed_one_is_refused() {
        let by_team = "{headers: [{name: x-team, value: a}]}";
        let two = "{headers: [{name: x-beta, value: '1'}, {name: x-user, value: b}]}";
        for (kind, before, behind, wanted) in [
            ("HTTPRoute", by_team, "", two),
            ("HTTPRoute", "", by_team, two),
            ("HTTPRoute", "{queryParams: [{name: v, value: a}]}", "", BETA),
            ("HTTPRoute", by_team, "", "{method: POST}"),
            ("HTTPRoute", "{path: {value: /shop}, method: GET}", "", "{path: {value: /shop/cart}}"),
            (
                "HTTPRoute",
                "{path: {value: /shop, type: Exact}, headers: [{name: x-team, value: a}]}",
                "",
                "{path: {value: /shop, type: Exact}, method: GET}",
            ),
            ("HTTPRoute", "{path: {value: '/s.*', type: RegularExpression}}", "", "{path: {value: /shop}}"),
            ("HTTPRoute", "{headers: [{name: x-beta, value: '[12]', type: RegularExpression}]}", "", two),
            ("GRPCRoute", "", by_team, two),
        ] {
            let error = beside(kind, [before, behind], wanted).unwrap_err();
            assert_eq!(error.category(), "CannotMatch", "{before}{behind} {wanted}");
            let (said, name) = (error.to_string(), if before.is_empty() { "behind" } else { "before" });
            assert!(said.contains(&format!("match[0] of the step would take requests from rule {name}")), "{said}");
            assert!(said.contains(&format!("write into rule {name} a match for requests that fit both")), "{said}");
        }
    }

    #[test]
    fn rules_that_stay_before_the_canarys_or_never_meet_it_are_no_obstacle() {
        let by_team = "{headers: [{name: x-team, value: a}]}";
        for (kind, before, behind, wanted) in [
            ("HTTPRoute", by_team, "", BETA),
            ("HTTPRoute", "", by_team, BETA),
            ("GRPCRoute", "", by_team, BETA),
            ("HTTPRoute", "", "{path: {value: /shop}}", BETA),
            ("HTTPRoute", "", "{method: GET}", BETA),
            ("HTTPRoute", "", "{headers: [{name: X-Beta, value: '2'}]}", BETA),
            ("HTTPRoute", "", "{headers: [{name: x-a, value: a}, {name: x-b, value: b}]}", BETA),
            ("HTTPRoute", "", "{path: {value: '/s.*', type: RegularExpression}}", BETA),
            ("HTTPRoute", "{path: {value: /shop}}", "", "{path: {value: /cart}}"),
            ("HTTPRoute", "{method: GET, path: {value: /shop}}", "", "{method: POST, path: {value: /shop}}"),
            // The cure that is told.
            (
                "HTTPRoute",
                "",
                "{headers: [{name: x-team, value: a}]}, \
                 {headers: [{name: x-beta, value: '1'}, {name: x-user, value: b}, {name: x-team, value: a}]}",
                "{headers: [{name: x-beta, value: '1'}, {name: x-user, value: b}]}",
            ),
            ("GRPCRoute", "", "{method: {service: shop.Cart}}", BETA),
            ("GRPCRoute", "", "{method: {service: 'shop.*', type: RegularExpression}}", BETA),
        ] {
            let route =
                beside(kind, [before, behind], wanted).unwrap_or_else(|why| panic!("{before}{behind} {wanted}: {why}"));
            let rules = list(&route["spec"]["rules"]);
            let canary = rules
                .iter()
                .position(|rule| list(&rule["backendRefs"]).len() == 1 && rule["backendRefs"][0]["name"] == "canary");
            let main = rules.iter().position(|rule| list(&rule["backendRefs"]).len() == 2);
            assert!(main < canary && canary == Some(rules.len() - 1), "it stands behind all that were there");
        }
    }

    #[test]
    fn what_another_rule_takes_anyway_is_not_written() {
        let said =
            beside("HTTPRoute", ["", "{path: {value: /shop}}"], "{path: {value: /shop/cart}}").unwrap_err().to_string();
        assert!(said.contains("no managed rule takes requests that match[0] of the step describes"), "{said}");
        let both = "backendRefs: [{name: stable, port: 80}, {name: canary, port: 80}]";
        let spec = format!(
            "{{rules: [{{name: all, timeouts: {{request: 1s}}, {both}}}, {{matches: [{{path: {{value: /shop}}}}], {both}}}]}}"
        );
        let route = whole("HTTPRoute", &spec, "{match: [{path: {value: /shop/cart}}]}").unwrap();
        let rules = list(&route["spec"]["rules"]);
        assert_eq!((rules.len(), &rules[0]["name"], list(&rules[1]["backendRefs"]).len()), (3, &json!("all"), 2));
        assert_eq!((rules[2].get("timeouts"), &rules[2]["backendRefs"][0]["name"]), (None, &json!("canary")));
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
    fn where_a_backend_alone_replaces_a_prefix_it_is_the_same() {
        let rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}";
        let spec =
            SPEC.replace("{name: canary, port: 80}", &format!("{{name: canary, port: 80, filters: [{rewrite}]}}"));
        let words = whole("HTTPRoute", &spec, "{match: [{path: {value: /shop/cart}}]}").unwrap_err().to_string();
        assert!(words.contains("replaces its path's prefix"), "{words}");
    }

    #[test]
    fn a_rule_with_a_name_is_not_narrowed_for_its_policies_would_not_hold() {
        let spec = SPEC.replace("{matches: [{path: {type", "{name: login, matches: [{path: {type");
        let error = whole("HTTPRoute", &spec, "{match: [{headers: [{name: x-beta, value: '1'}]}]}").unwrap_err();
        assert_eq!(error.category(), "CannotMatch");
        assert!(error.to_string().contains("rule login has a name, and policies"), "{error}");
        assert!(whole("HTTPRoute", &spec, "{mirror: {percent: 5}}").is_ok(), "copies go by the rule itself");
    }

    #[test]
    fn more_headers_or_filters_than_the_api_takes_are_refused_before_it_does() {
        let many =
            |what: &str| (0..16).map(|at| format!("{{name: {what}-{at}, value: a}}")).collect::<Vec<_>>().join(", ");
        let one = format!("{{matches: [{{headers: [{}]}}], ", many("own"));
        let spec = SPEC.replace("{matches: [{path: {type: PathPrefix, value: /shop}}], ", &one);
        let error = whole("HTTPRoute", &spec, "{match: [{headers: [{name: x-beta, value: '1'}]}]}").unwrap_err();
        assert!(error.to_string().contains("more than 16 headers"), "{error}");
        let filters = ["{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}"; 16].join(", ");
        let spec = SPEC.replace("timeouts:", &format!("filters: [{filters}], timeouts:"));
        assert!(whole("HTTPRoute", &spec, "{mirror: {percent: 5}}").unwrap_err().to_string().contains("16 filters"));
    }

    #[test]
    fn each_match_has_a_rule_that_takes_it_and_all_of_them_have_room() {
        let wanted = "{match: [{headers: [{name: x-beta, value: '1'}]}, {path: {value: /elsewhere}}]}";
        let words = whole("HTTPRoute", SPEC, wanted).unwrap_err().to_string();
        assert!(words.contains("takes requests that match[1] of the step describes"), "{words}");
        let headers: Vec<_> = (0..4).map(|at| format!("{{headers: [{{name: x-{at}, value: '1'}}]}}")).collect();
        let rule = |name: &str| {
            let own: Vec<_> = (0..14).map(|at| format!("{{path: {{value: /{name}{at}}}}}")).collect();
            let own = own.join(", ");
            format!("{{matches: [{own}], backendRefs: [{{name: stable, port: 80}}, {{name: canary, port: 80}}]}}")
        };
        let spec = format!("{{rules: [{}, {}]}}", rule("a"), rule("b"));
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
