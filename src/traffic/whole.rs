//! Routes that the operator writes whole: what they say, and whether the stored one still says it.
use super::{RouteRef, RouteSeen, Router, Split, Unsteerable, Weights};
use crate::vocab::Pair;
use serde_json::{Map, Value, json};

/// The label, and its value, of every route that the operator writes whole.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "bellwether");

/// The annotation that tells which template a route was written from.
///
/// A field that left the template looks in the stored route just like a default of the API server; by this it is told.
pub const TEMPLATE_FINGERPRINT: &str = "bellwether.dev/template";

/// The annotation that tells how such a route splits requests, as it was last written.
///
/// What stands in the rules follows from the template and from this; a route whose rules say something else was edited.
pub const SPLIT: &str = "bellwether.dev/split";

/// What our own annotations begin with.
const OWN_PREFIX: &str = "bellwether.dev";

/// What stands in a route that is ours to write, and whether it is anything else than its template and it itself say.
pub fn read_whole(
    router: &dyn Router,
    entry: &RouteRef,
    route: &Value,
    pair: &Pair,
) -> (Result<RouteSeen, Unsteerable>, bool) {
    let read = router.read(route, pair);
    let split = said(route).or_else(|| match &read.as_ref().ok()?.weight {
        Weights::At(weight) => Some(Split::from(*weight)),
        Weights::Mixed(_) => None,
    });
    let split = split.unwrap_or(Split::NONE);
    let namespace = route["metadata"]["namespace"].as_str().unwrap_or_default();
    match router.whole(entry, namespace, pair, &split) {
        Ok(wanted) if renew(router, route, &wanted, pair).is_some() => (read, true),
        Ok(_) => {
            let accepted = router.accepted(route);
            (Ok(RouteSeen { weight: Weights::At(split.weight), apart: split.apart, accepted }), false)
        }
        // What cannot be, somebody else wrote there; unless the template itself is at fault, it is written anew.
        Err(why) => (Err(why), router.whole(entry, namespace, pair, &Split::NONE).is_ok()),
    }
}

/// How a route that is ours to write says it splits requests.
fn said(route: &Value) -> Option<Split> {
    let written: Value = serde_json::from_str(route["metadata"]["annotations"][SPLIT].as_str()?).ok()?;
    let weight = serde_json::from_value(written["weight"].clone()).ok()?;
    Some(Split { weight, apart: serde_json::from_value(written["apart"].clone()).ok()? })
}

/// The object to send so that the stored route says all that `wanted` says; `None` when it does.
///
/// What the API server and other writers added to the stored metadata stays, and so does its `resourceVersion`.
/// Fields of the spec that only the stored route has count as defaults, unless by them the router reads another split or
/// something that it refuses, such as a mirror to the canary; they go when the spec is written.
/// Annotations are somebody else's unless they have the prefix of one that is wanted: of those all are ours to write.
///
/// Caveat: a field of the template that the route's schema does not know is pruned and would be missed on every
/// look. Send the object with `fieldValidation=Strict`, so that the API server refuses it by name.
pub fn renew(router: &dyn Router, stored: &Value, wanted: &Value, pair: &Pair) -> Option<Value> {
    let reads = |route: &Value| router.read(route, pair).map(|seen| (seen.weight, seen.apart));
    let unchanged =
        ["labels", "annotations"].iter().all(|part| covers(&stored["metadata"][part], &wanted["metadata"][part]))
            && covers(&stored["spec"], &wanted["spec"])
            && unwanted(stored, wanted).is_empty()
            && reads(stored) == reads(wanted);
    if unchanged {
        return None;
    }
    let gone = unwanted(stored, wanted);
    let (Some(stored), Some(wanted_metadata)) = (stored.as_object(), wanted["metadata"].as_object()) else {
        return Some(wanted.clone());
    };
    let mut renewed = stored.clone();
    let mut metadata = stored.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for part in ["labels", "annotations"] {
        let of =
            |metadata: &Map<String, Value>| metadata.get(part).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut entries = of(&metadata);
        if part == "annotations" {
            entries.retain(|name, _| !gone.contains(name));
        }
        entries.extend(of(wanted_metadata));
        metadata.insert(part.into(), Value::Object(entries));
    }
    renewed.insert("metadata".into(), Value::Object(metadata));
    renewed.insert("spec".into(), wanted["spec"].clone());
    Some(Value::Object(renewed))
}

/// The annotations of the stored route that would steer it beside those that are wanted.
fn unwanted(stored: &Value, wanted: &Value) -> Vec<String> {
    let names = |object: &Value| -> Vec<String> {
        object["metadata"]["annotations"].as_object().into_iter().flat_map(Map::keys).cloned().collect()
    };
    let wanted = names(wanted);
    // Claims are written beside the route.
    let prefixes: Vec<_> = wanted.iter().filter_map(|name| name.split_once('/')).map(|(prefix, _)| prefix).collect();
    let ours = |name: &String| {
        let prefix = name.split_once('/').map(|(prefix, _)| prefix).filter(|prefix| *prefix != OWN_PREFIX);
        prefix.is_some_and(|prefix| prefixes.contains(&prefix)) && !wanted.contains(name)
    };
    names(stored).into_iter().filter(ours).collect()
}

/// The template as an object, its weights still placeholders.
pub(super) fn from_template(entry: &RouteRef, namespace: &str, split: &Split) -> Result<Value, Unsteerable> {
    let Some(template) = &entry.template else {
        return Err(Unsteerable::NoTemplate { route: format!("{} {namespace}/{}", entry.kind, entry.name) });
    };
    if let (Some(main), true) = (&template.like, template.spec.is_empty()) {
        let kind = &entry.kind;
        return Err(Unsteerable::Unready {
            route: format!("{kind} {namespace}/{}", entry.name),
            why: format!("template.like names {kind} {main}, which is not there or leads to stable nowhere"),
            lines: "name the one that takes all requests and sends them to the stable Service".to_owned(),
        });
    }
    let spec = Value::Object(template.spec.clone());
    let (label, value) = MANAGED_BY;
    let mut annotations: Map<String, Value> =
        template.annotations.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    annotations.insert(TEMPLATE_FINGERPRINT.to_owned(), json!(fingerprint(&spec.to_string())));
    annotations.insert(SPLIT.to_owned(), json!(json!({"weight": split.weight, "apart": split.apart}).to_string()));
    Ok(json!({
        "apiVersion": entry.api_version,
        "kind": entry.kind,
        "metadata": {
            "name": entry.name,
            "namespace": namespace,
            "labels": {label: value},
            "annotations": annotations,
        },
        "spec": spec,
    }))
}

/// Whether `stored` says everything that `wanted` says. Lists must match one by one; null says nothing.
fn covers(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (_, Value::Null) => true,
        // What is empty may be left out by the API server.
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Null, Value::String(wanted)) => wanted.is_empty(),
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| covers(stored.get(key).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(|(stored, wanted)| covers(stored, wanted))
        }
        _ => stored == wanted,
    }
}

/// 64-bit FNV-1a (draft-eastlake-fnv), the same in every build.
fn fingerprint(text: &str) -> String {
    let (basis, prime) = (0xcbf2_9ce4_8422_2325_u64, 0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(basis, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(prime)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        traffic::{Apart, Ownership},
        vocab::{Pair, Weight},
    };
    use proptest::prelude::*;

    /// What the API server made of the route written from the template below with weight 0.
    fn stored() -> Value {
        serde_saphyr::from_str(include_str!("gateway_api/recorded/whole.yaml")).unwrap()
    }

    fn entry(spec: &str) -> RouteRef {
        serde_saphyr::from_str(&format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, name: whole, ownership: Operator, \
             template: {{spec: {spec}}}}}"
        ))
        .unwrap()
    }

    const SPEC: &str = "{parentRefs: [{name: web}], rules: [\
         {matches: [{path: {value: /v1}}], timeouts: {request: 5s}, \
          backendRefs: [{name: checkout-stable, port: 8080}, {name: checkout-canary, port: 8080}]}, \
         {matches: [{path: {value: /old}}], backendRefs: [{name: legacy, port: 80}]}]}";

    fn pair() -> Pair {
        Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() }
    }

    fn renew(stored: &Value, wanted: &Value) -> Option<Value> {
        super::renew(entry(SPEC).router().unwrap(), stored, wanted, &pair())
    }

    fn wanted(spec: &str, weight: u8) -> Value {
        let entry = entry(spec);
        assert_eq!(entry.ownership, Ownership::Operator);
        entry.router().unwrap().whole(&entry, "shop", &pair(), &Weight::new(weight).unwrap().into()).unwrap()
    }

    #[test]
    fn a_whole_route_has_the_templates_spec_our_weights_and_our_label() {
        let whole = wanted(SPEC, 5);
        assert_eq!(whole["metadata"]["namespace"], "shop");
        assert_eq!(whole["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "bellwether"}));
        let mut spec: Value = serde_saphyr::from_str(SPEC).unwrap();
        spec["rules"][0]["backendRefs"][0]["weight"] = json!(95);
        spec["rules"][0]["backendRefs"][1]["weight"] = json!(5);
        assert_eq!(whole["spec"], spec);
    }

    #[test]
    fn defaults_of_the_api_server_are_no_difference() {
        assert_eq!(renew(&stored(), &wanted(SPEC, 0)), None);
    }

    #[test]
    fn a_new_weight_is_sent_with_the_metadata_that_was_read() {
        let mut stored = stored();
        stored["metadata"]["labels"]["added"] = json!("by somebody");
        stored["metadata"]["finalizers"] = json!(["example.com/kept"]);
        let renewed = renew(&stored, &wanted(SPEC, 20)).unwrap();
        assert_eq!(renewed["spec"], wanted(SPEC, 20)["spec"]);
        stored["metadata"]["annotations"][SPLIT] = renewed["metadata"]["annotations"][SPLIT].clone();
        assert_eq!(renewed["metadata"], stored["metadata"]);
        assert_eq!(renew(&renewed, &wanted(SPEC, 20)), None);
    }

    #[test]
    fn a_field_that_left_the_template_leaves_the_route() {
        let without = SPEC.replace("timeouts: {request: 5s}, ", "");
        let renewed = renew(&stored(), &wanted(&without, 0)).unwrap();
        assert_eq!(renewed["spec"]["rules"][0].get("timeouts"), None);
        assert_eq!(renew(&renewed, &wanted(&without, 0)), None);
    }

    #[test]
    fn an_edit_by_others_is_undone() {
        for (path, value) in [
            ("/spec/rules/0/matches/0/path/value", json!("/v2")),
            ("/spec/rules/0/timeouts", json!({})),
            ("/spec/rules", json!([])),
            ("/metadata/labels", json!({})),
            ("/metadata/annotations", json!(null)),
        ] {
            let mut stored = stored();
            *stored.pointer_mut(path).unwrap() = value;
            let renewed = renew(&stored, &wanted(SPEC, 0)).unwrap();
            assert_eq!(renew(&renewed, &wanted(SPEC, 0)), None, "{path}");
        }
    }

    #[test]
    fn what_is_added_for_the_canary_is_undone_and_what_the_split_put_there_is_not() {
        let entry = entry(SPEC);
        let router = entry.router().unwrap();
        let mirror = json!([{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "checkout-canary"}}}]);
        for rule in ["/spec/rules/0", "/spec/rules/1"] {
            let mut edited = stored();
            edited.pointer_mut(rule).unwrap()["filters"] = mirror.clone();
            assert!(read_whole(router, &entry, &edited, &pair()).1, "{rule}");
            let renewed = renew(&edited, &wanted(SPEC, 0)).unwrap();
            assert!(!renewed["spec"].to_string().contains("RequestMirror"), "{rule}");
        }
        let apart: Apart = serde_json::from_value(json!({"mirror": {"percent": 100}})).unwrap();
        let split = Split { weight: Weight::ZERO, apart };
        let ours = router.whole(&entry, "shop", &pair(), &split).unwrap();
        let (seen, edited) = read_whole(router, &entry, &ours, &pair());
        assert_eq!((seen.unwrap().apart, edited), (split.apart, false));
    }

    #[test]
    fn a_split_that_somebody_wrote_into_a_route_of_ours_is_undone() {
        let entry = entry(SPEC);
        let router = entry.router().unwrap();
        let read = |route: &Value| read_whole(router, &entry, route, &pair());
        let ours = wanted(SPEC, 20);
        let (seen, edited) = read(&ours);
        assert_eq!((seen.unwrap().weight, edited), (Weights::At(Weight::new(20).unwrap()), false));
        for text in
            ["", "{}", r#"{"weight":7,"apart":{}}"#, r#"{"weight":0,"apart":{"match":[{"path":{"value":"/no"}}]}}"#]
        {
            let mut route = ours.clone();
            route["metadata"]["annotations"][SPLIT] = json!(text);
            assert!(read(&route).1, "{text}");
        }
    }

    #[test]
    fn annotations_of_the_templates_prefixes_are_ours_to_write() {
        let mut entry = entry(SPEC);
        entry.template.as_mut().unwrap().annotations.insert("proxy.example.com/timeout".to_owned(), "5s".to_owned());
        let wanted = entry.router().unwrap().whole(&entry, "shop", &pair(), &Split::NONE).unwrap();
        assert_eq!(wanted["metadata"]["annotations"]["proxy.example.com/timeout"], "5s");
        let mut edited = wanted.clone();
        for name in ["proxy.example.com/mirror", "example.com/owner", "bellwether.dev/stable-service", "plain"] {
            edited["metadata"]["annotations"][name] = json!("added");
        }
        let renewed = renew(&edited, &wanted).unwrap();
        edited["metadata"]["annotations"].as_object_mut().unwrap().remove("proxy.example.com/mirror");
        assert_eq!(renewed["metadata"], edited["metadata"]);
        assert_eq!(renew(&renewed, &wanted), None);
    }

    #[test]
    fn without_a_template_nothing_can_be_written() {
        let entry = RouteRef { template: None, ..entry(SPEC) };
        assert_eq!(
            from_template(&entry, "shop", &Split::NONE).unwrap_err().to_string(),
            "HTTPRoute shop/whole: ownership is Operator, so template.spec has to say what to write"
        );
    }

    #[test]
    fn the_fingerprint_is_the_published_function() {
        assert_eq!([fingerprint(""), fingerprint("a")], ["cbf29ce484222325", "af63dc4c8601ec8c"]);
    }

    proptest! {
        #[test]
        fn nothing_stored_panics(place in "/(metadata|spec|metadata/labels|spec/rules)?", leaf in 0..4_usize) {
            let value = [json!(null), json!("text"), json!([1]), json!({"a": []})][leaf].clone();
            let mut stored = stored();
            if let Some(part) = stored.pointer_mut(place.trim_end_matches('/')) {
                *part = value;
            }
            let wanted = wanted(SPEC, 0);
            if let Some(renewed) = renew(&stored, &wanted) {
                prop_assert_eq!(renew(&renewed, &wanted), None);
            }
        }
    }
}
