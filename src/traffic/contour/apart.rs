//! Routes beside the managed ones, in an `HTTPProxy` that is ours to write.
use super::SHAPE;
use crate::{
    traffic::{
        Unsteerable,
        precedence::{self, Asked, Compared, Narrowed, Path, Robbed, Ties},
        split::{Apart, Comparison, Cookie, NamedValue, REWRITTEN, RequestMatch},
        weighted::{describe, list, robs, unmatched},
    },
    vocab::Pair,
};
use serde_json::{Value, json};

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
    let routes = list(&route["spec"]["routes"]);
    let narrowed = routes.iter().enumerate().filter(|(position, _)| at(*position).is_some());
    let narrowed = narrowed.flat_map(|(position, rule)| all_narrowed(position, rule, &apart.matches)).collect();
    let asked: Vec<_> = routes.iter().map(|rule| vec![asked(list(&rule["conditions"]))]).collect();
    // Of conditions that are as many Contour takes the one first whose names are, whatever the place.
    let kept = precedence::kept(&asked, narrowed, Ties::Untold).map_err(|Robbed { rule, wanted }| {
        let cure = format!(
            "write a route with the services of routes[{rule}] for requests that fit both, or let the step's match say less"
        );
        impossible(&robs(wanted, &format!("routes[{rule}]"), &cure))
    })?;
    if let Some(at) = precedence::unkept(&kept, apart.matches.len()) {
        return Err(impossible(&unmatched("route", at, "conditions, and which route is asked first")));
    }
    let mut rules = Vec::new();
    for (position, rule) in routes.iter().enumerate() {
        let mut rule = rule.clone();
        if let Some(place) = at(position) {
            for own in kept.iter().filter(|it| it.rule == position) {
                let by_path = apart.matches.get(own.wanted).is_some_and(|wanted| wanted.path.is_some());
                if by_path && !rule["pathRewritePolicy"].is_null() {
                    return Err(impossible(REWRITTEN));
                }
                rules.extend(to_canary(&rule, place.canary.position, own.written.clone()));
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
    route["spec"]["routes"] = Value::Array(rules);
    Ok(route)
}

/// The conditions of a managed route with each of the step's matches, where the two can match together.
fn all_narrowed(position: usize, rule: &Value, all: &[RequestMatch]) -> Vec<Narrowed> {
    let own = list(&rule["conditions"]);
    let one = |wanted_at, wanted: &RequestMatch, path| {
        let both = narrowed(own, wanted, path)?;
        let asked = (asked(own), asked(&both));
        Some(Narrowed { rule: position, wanted: wanted_at, own: asked.0, asked: asked.1, written: Value::Array(both) })
    };
    let each = all.iter().enumerate().flat_map(|(at, wanted)| {
        let paths = wanted
            .path
            .as_ref()
            .map_or_else(|| vec![None], |path| path.exact_or_prefix().into_iter().map(Some).collect());
        paths.into_iter().map(move |path| (at, wanted, path))
    });
    each.filter_map(|(at, wanted, path)| one(at, wanted, path)).collect()
}

/// What a route's conditions ask.
fn asked(conditions: &[Value]) -> Asked {
    let of =
        |part: &str| -> Vec<&Value> { conditions.iter().map(|it| &it[part]).filter(|it| it.is_object()).collect() };
    let compared = |condition: &Value, name: String| {
        let mut rest = condition.as_object().cloned().unwrap_or_default();
        rest.remove("name");
        let exact = condition["exact"].as_str().filter(|_| rest.len() == 1).map(str::to_owned);
        Compared { name, exact, written: Value::Object(rest).to_string() }
    };
    let name = |condition: &Value| condition["name"].as_str().unwrap_or_default().to_owned();
    Asked {
        path: conditions.iter().find_map(path).unwrap_or_else(|| Path::Start("/".to_owned())),
        method: None,
        headers: of("header").into_iter().map(|it| compared(it, name(it).to_ascii_lowercase())).collect(),
        query: of("queryParameter").into_iter().map(|it| compared(it, name(it))).collect(),
    }
}

/// What a condition says of the path, if it says something. A prefix of an `HTTPProxy` ends anywhere, as in Envoy.
fn path(condition: &Value) -> Option<Path> {
    let text = |how: &str| condition[how].as_str().map(str::to_owned);
    let prefix = text("prefix").map(Path::Start);
    prefix.or_else(|| text("exact").map(Path::Exact)).or_else(|| text("regex").map(Path::Expression))
}

/// The conditions with those of the step's match, of whose path this is one way to say it; none where the two can never
/// match together.
fn narrowed(own: &[Value], wanted: &RequestMatch, narrow: Option<Value>) -> Option<Vec<Value>> {
    let mut conditions = own.to_vec();
    if let Some(narrow) = narrow {
        match conditions.iter_mut().find(|condition| path(condition).is_some()) {
            Some(own) if path(own)?.has(&path(&narrow)?) => *own = narrow,
            Some(_) => return None,
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
    Some(conditions)
}

/// The route that takes what matches, with everything that the managed one does to its requests.
fn to_canary(rule: &Value, canary: usize, conditions: Value) -> Option<Value> {
    let mut service = list(&rule["services"]).get(canary)?.clone();
    service["weight"] = json!(100);
    let mut taken = rule.clone();
    let mirrors = list(&rule["services"]).iter().filter(|service| service["mirror"] == true).cloned();
    taken["services"] = Value::Array(std::iter::once(service).chain(mirrors).collect());
    taken["conditions"] = conditions;
    Some(taken)
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
        assert_eq!(rules.len(), 5);
        assert_eq!(
            rules[0],
            json!({
                "conditions": [{"prefix": "/shop"}, {"header": {"name": "x-beta", "exact": "1"}},
                    {"queryParameter": {"name": "q", "exact": "a"}}],
                "timeoutPolicy": {"response": "5s"},
                "services": [{"name": "canary", "port": 80, "weight": 100}],
            })
        );
        // Elsewhere a prefix ends with an element of the path; here /shop/cartoons would begin with it.
        assert_eq!(rules[1]["conditions"], json!([{"exact": "/shop/cart"}]));
        assert_eq!(rules[2]["conditions"], json!([{"prefix": "/shop/cart/"}]));
        assert_eq!(rules[3]["services"][1]["weight"], 5);
    }

    /// A managed route of everything, and behind it one of others with these conditions.
    fn beside(others: &str, wanted: &str) -> Result<Value, Unsteerable> {
        let routes: Vec<_> = others
            .split(" | ")
            .map(|conditions| format!("{{conditions: [{conditions}], services: [{{name: legacy, port: 80}}]}}"))
            .collect();
        let managed = "{conditions: [{prefix: /}], services: [{name: stable, port: 80}, {name: canary, port: 80}]}";
        whole(&format!("{{routes: [{managed}, {}]}}", routes.join(", ")), &format!("{{match: [{wanted}]}}"))
    }

    const BETA: &str = "{headers: [{name: x-beta, value: '1'}]}";

    #[test]
    fn a_match_that_could_take_requests_from_a_route_beside_the_managed_one_is_refused() {
        for (others, wanted) in [
            ("{header: {name: x-team, exact: a}}", BETA),
            ("{queryParameter: {name: v, exact: a}}", BETA),
            ("{header: {name: x-beta, contains: '1'}}", BETA),
            ("{header: {name: x-beta, exact: '2', ignoreCase: true}}", BETA),
            ("{prefix: /shop}, {header: {name: x-team, exact: a}}", "{path: {value: /shop/cart}}"),
            ("{prefix: /shop}, {header: {name: x-team, exact: a}}", "{path: {value: /shopping}}"),
            ("{regex: '/s.*'}", "{path: {value: /shop}}"),
        ] {
            let error = beside(others, wanted).unwrap_err();
            assert_eq!(error.category(), "CannotMatch", "{others} {wanted}");
            let said = error.to_string();
            assert!(said.contains("match[0] of the step would take requests from routes[1]"), "{said}");
            assert!(said.contains("a route with the services of routes[1] for requests that fit both"), "{said}");
        }
        let said = beside("{prefix: /shop}", "{path: {value: /shop/cart}}").unwrap_err().to_string();
        assert!(said.contains("no managed route takes requests that match[0] of the step describes"), "{said}");
    }

    #[test]
    fn routes_that_stay_before_the_canarys_or_never_meet_it_are_no_obstacle() {
        for (others, wanted) in [
            ("{prefix: /shop}", BETA),
            ("{exact: /shop}, {header: {name: x-team, exact: a}}", "{path: {value: /cart}}"),
            ("{header: {name: X-Beta, exact: '2'}}", BETA),
            ("{header: {name: x-a, exact: a}}, {header: {name: x-b, exact: b}}", BETA),
            ("{regex: '/s.*'}", BETA),
            ("{header: {name: x-team, exact: a}}", "{query: [{name: v, value: a}]}"),
            // The cure that is told.
            (
                "{header: {name: x-team, exact: a}} | {header: {name: x-team, exact: a}}, {header: {name: x-beta, exact: '1'}}",
                BETA,
            ),
        ] {
            assert_eq!(beside(others, wanted).map(drop), Ok(()), "{others} {wanted}");
        }
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
            (SPEC.to_owned(), "{match: [{path: {value: /elsewhere}}]}"),
            (SPEC.to_owned(), "{match: [{headers: [{name: a, value: b}]}, {path: {value: /elsewhere}}]}"),
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
