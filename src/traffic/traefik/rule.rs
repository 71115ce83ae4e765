//! Requests that are told apart, by routes of an `IngressRoute` that is ours to write: a rule in the syntax of Traefik 3.
use super::ROUTES;
use crate::{
    traffic::{
        Unsteerable,
        split::{Apart, Comparison, NamedValue, PathMatch, RequestMatch},
        weighted::{describe, list},
    },
    vocab::Pair,
};
use serde_json::{Value, json};

/// The route, its weights in place, with one more for each managed one, which takes what matches.
pub(super) fn added(mut route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
    let impossible = |why: String| Unsteerable::CannotMatch { route: describe(&route), why };
    if apart.mirror.is_some() {
        return Err(impossible("an IngressRoute copies no requests; name a TraefikService instead".to_owned()));
    }
    if apart.matches.is_empty() {
        return Ok(route);
    }
    let wanted: Option<Vec<_>> = apart.matches.iter().map(condition).collect();
    let Some(wanted) = wanted else {
        return Err(impossible(
            "a value has a ` or a sign that is not printed, which no rule of Traefik can".to_owned(),
        ));
    };
    let wanted = wanted.join(" || ");
    let rules = list(&route["spec"]["routes"]);
    let mut taken = Vec::new();
    for place in ROUTES.managed(&route, pair)? {
        let Some(rule) = rules.get(place.position) else { continue };
        let own = rule["match"].as_str().filter(|own| !own.is_empty()).ok_or_else(|| Unsteerable::Malformed {
            route: describe(&route),
            field: format!("{}: match", place.name),
            expected: "a rule",
        })?;
        if rule["syntax"] == "v2" {
            return Err(impossible(format!(
                "{} has the rules of Traefik 2; write its match for syntax v3",
                place.name
            )));
        }
        let priority = priority(rule).saturating_add(1);
        if rules.iter().any(|other| self::priority(other) == priority) {
            let cure = "write a priority with room above it";
            return Err(impossible(format!(
                "another route has priority {priority}, just above {}: {cure}",
                place.name
            )));
        }
        let mut canary = list(&rule["services"]).get(place.canary.position).cloned().unwrap_or_default();
        canary["weight"] = json!(1);
        let mut narrowed = rule.clone();
        narrowed["match"] = json!(format!("({own}) && ({wanted})"));
        narrowed["priority"] = json!(priority);
        // Twice, for of a Service that stands alone Traefik counts requests under the rule's name, and nobody could tell whose
        // they were.
        narrowed["services"] = json!([canary, canary]);
        taken.push(narrowed);
    }
    if let Some(routes) = route["spec"]["routes"].as_array_mut() {
        routes.append(&mut taken);
    }
    Ok(route)
}

/// What a route's rule is weighed with among all of a gateway: the greater goes first, and without one its length counts.
///
/// The new route must stand just above its own, for what stood above that already takes its requests first.
fn priority(rule: &Value) -> i64 {
    let length = rule["match"].as_str().map_or(0, str::len);
    rule["priority"].as_i64().filter(|own| *own != 0).unwrap_or_else(|| i64::try_from(length).unwrap_or(i64::MAX))
}

/// A step's match as a condition of a rule; none where a value cannot be written there.
fn condition(wanted: &RequestMatch) -> Option<String> {
    let RequestMatch { headers, cookies, method, path, query } = wanted;
    let mut parts = Vec::new();
    for header in headers {
        parts.push(named("Header", header)?);
    }
    for cookie in cookies {
        parts.push(format!("HeaderRegexp(`Cookie`, {})", quoted(&cookie.expression())?));
    }
    if let Some(method) = method {
        parts.push(format!("Method({})", quoted(method)?));
    }
    if let Some(path) = path {
        parts.push(within(path)?);
    }
    for parameter in query {
        parts.push(named("Query", parameter)?);
    }
    Some(format!("({})", parts.join(" && ")))
}

fn named(matcher: &str, wanted: &NamedValue) -> Option<String> {
    let how = match wanted.how {
        Comparison::Exact => "",
        Comparison::RegularExpression => "Regexp",
    };
    Some(format!("{matcher}{how}({}, {})", quoted(&wanted.name)?, quoted(&wanted.value)?))
}

/// Traefik's `PathPrefix` compares letters; a prefix here is of whole elements.
fn within(path: &PathMatch) -> Option<String> {
    let said = |matcher: &str, path: String| Some(format!("{matcher}({})", quoted(&path)?));
    Some(match path.by_letters() {
        (Some(path), Some(start)) => format!("({} || {})", said("Path", path)?, said("PathPrefix", start)?),
        (Some(path), None) => said("Path", path)?,
        (None, start) => said("PathPrefix", start?)?,
    })
}

fn quoted(text: &str) -> Option<String> {
    (!text.contains(|c: char| c == '`' || c.is_control())).then(|| format!("`{text}`"))
}
