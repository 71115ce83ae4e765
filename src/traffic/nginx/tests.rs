//! What is nginx's own: an Ingress beside another, and matches as annotations.
use super::*;
use crate::traffic::{RouteRef, RouteTemplate, Split, read_whole, renew};

fn pair() -> Pair {
    Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() }
}

fn ingress(annotations: &str, backend: &str) -> Value {
    let path = format!("{{path: /, pathType: Prefix, backend: {{service: {backend}}}}}");
    serde_saphyr::from_str(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: c, namespace: shop, annotations: {{{annotations}}}}}, \
         spec: {{rules: [{{host: a.example.com, http: {{paths: [{path}]}}}}]}}}}"
    ))
    .unwrap()
}

const ON: &str = "nginx.ingress.kubernetes.io/canary: 'true'";
const OURS: &str = "{name: canary, port: {number: 80}}";

fn with(annotations: &str) -> Result<Weights, Unsteerable> {
    Ok(Nginx.read(&ingress(&format!("{ON}{annotations}"), OURS), &pair())?.weight)
}

#[test]
fn the_weight_is_the_annotations_and_none_without_it() {
    let weight = |percent| Weights::At(Weight::new(percent).unwrap());
    assert_eq!(with(""), Ok(weight(0)));
    assert_eq!(with(", nginx.ingress.kubernetes.io/canary-weight: '30'"), Ok(weight(30)));
    let total =
        ", nginx.ingress.kubernetes.io/canary-weight-total: '1000', nginx.ingress.kubernetes.io/canary-weight: ";
    assert_eq!(with(&format!("{total}'50'")), Ok(weight(5)));
    assert_eq!(with(&format!("{total}'55'")).unwrap().at_most().percent(), 6);
}

#[test]
fn a_weight_is_written_in_parts_of_the_total() {
    let total = format!("{ON}, nginx.ingress.kubernetes.io/canary-weight-total: '1000'");
    let steered = Nginx.steer(&ingress(&total, OURS), &pair(), Weight::new(5).unwrap()).unwrap().unwrap();
    let wanted = ingress(&format!("{total}, nginx.ingress.kubernetes.io/canary-weight: '50'"), OURS);
    assert_eq!(steered, wanted);
}

#[test]
fn what_is_no_canary_ingress_is_refused_with_the_lines_to_write() {
    for (annotations, backend, why) in [
        ("", OURS, "it has no annotation nginx.ingress.kubernetes.io/canary: \"true\""),
        ("nginx.ingress.kubernetes.io/canary: 'false'", OURS, "it has no annotation"),
        (ON, "{name: stable, port: {number: 80}}", "spec.rules[0].http.paths[0] names stable instead of canary"),
        (ON, "{}", "spec.rules[0].http.paths[0] names no Service instead of canary"),
    ] {
        let refused = Nginx.read(&ingress(annotations, backend), &pair()).unwrap_err();
        let words = refused.to_string();
        assert_eq!(refused.category(), "RouteNotPrepared");
        assert!(words.contains(why), "{words}");
        assert!(words.contains("backend: {service: {name: canary, port: {number: 80}}}"), "{words}");
    }
    let mut several = ingress(ON, OURS);
    several["spec"]["defaultBackend"] = json!({"service": {"name": "other"}});
    let refused = Nginx.read(&several, &pair()).unwrap_err().to_string();
    assert!(refused.contains("spec.defaultBackend names other instead of canary"), "{refused}");
    let refused = Nginx.read(&ingress(ON, "{name: canary, port: {number: 81}}"), &pair()).unwrap_err();
    assert_eq!(refused.category(), "WrongPort");
    assert!(Nginx.read(&ingress(ON, "{name: canary, port: {name: http}}"), &pair()).is_ok());
}

#[test]
fn requests_past_the_weight_and_numbers_that_are_none_are_refused() {
    for (annotations, category) in [
        (", nginx.ingress.kubernetes.io/canary-by-header: x", "CanaryFiltered"),
        (", nginx.ingress.kubernetes.io/canary-by-cookie: x", "CanaryFiltered"),
        (", nginx.ingress.kubernetes.io/canary-weight-total: '250'", "RouteMalformed"),
        (", nginx.ingress.kubernetes.io/canary-weight-total: '0'", "RouteMalformed"),
        (", nginx.ingress.kubernetes.io/canary-weight: '101'", "RouteMalformed"),
        (", nginx.ingress.kubernetes.io/canary-weight: a few", "RouteMalformed"),
    ] {
        assert_eq!(with(annotations).unwrap_err().category(), category, "{annotations}");
    }
}

fn entry() -> RouteRef {
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "c", "router": "nginx", "ownership": "Operator",
        "template": {"annotations": {CANARY: "true"}, "spec": ingress(ON, OURS)["spec"]},
    }))
    .unwrap()
}

fn whole(apart: &str) -> Result<Value, Unsteerable> {
    let split = Split { weight: Weight::new(5).unwrap(), apart: serde_saphyr::from_str(apart).unwrap() };
    Nginx.whole(&entry(), "shop", &pair(), &split)
}

#[test]
fn a_header_and_a_cookie_are_annotations_beside_the_weight() {
    for (apart, wanted) in [
        ("{match: [{headers: [{name: x-beta, value: '1'}]}]}", vec![("header", "x-beta"), ("header-value", "1")]),
        (
            "{match: [{cookies: [{name: beta, value: always}]}, {headers: [{name: x-beta, value: a|b, type: RegularExpression}]}]}",
            vec![("cookie", "beta"), ("header", "x-beta"), ("header-pattern", "a|b")],
        ),
    ] {
        let whole = whole(apart).unwrap();
        assert_eq!(annotation(&whole, WEIGHT), "5");
        let prefix = "nginx.ingress.kubernetes.io/canary-by-";
        let annotations = whole["metadata"]["annotations"].as_object().unwrap();
        let by: Vec<_> =
            annotations.iter().filter_map(|(name, text)| Some((name.strip_prefix(prefix)?, text.as_str()?))).collect();
        assert_eq!(by, wanted);
    }
}

#[test]
fn matches_that_no_annotation_tells_are_refused() {
    for apart in [
        "{match: [{method: GET}]}",
        "{match: [{path: {value: /a}}]}",
        "{match: [{query: [{name: a, value: b}]}]}",
        "{match: [{cookies: [{name: beta, value: 'yes'}]}]}",
        "{match: [{headers: [{name: a, value: b}], cookies: [{name: beta, value: always}]}]}",
        "{match: [{headers: [{name: a, value: b}, {name: c, value: d}]}]}",
        "{match: [{headers: [{name: a, value: b}]}, {headers: [{name: c, value: d}]}]}",
        "{match: [{headers: [{name: a, value: 'b c'}]}]}",
        "{match: [{headers: [{name: a, value: 'b|c'}]}]}",
        "{match: [{headers: [{name: a, value: '\"b', type: RegularExpression}]}]}",
        "{match: [{headers: [{name: 'a!', value: b}]}]}",
        "{mirror: {percent: 5}}",
    ] {
        assert_eq!(whole(apart).unwrap_err().category(), "CannotMatch", "{apart}");
    }
}

#[test]
fn a_match_leaves_with_its_step_and_one_by_hand_is_undone() {
    let (beta, plain) = (whole("{match: [{headers: [{name: x-beta, value: '1'}]}]}").unwrap(), whole("{}").unwrap());
    let (seen, edited) = read_whole(&Nginx, &entry(), &beta, &pair());
    assert!(!edited && seen.unwrap().apart.matches.len() == 1);
    let renewed = renew(&Nginx, &beta, &plain, &pair()).unwrap();
    assert_eq!(renewed["metadata"]["annotations"], plain["metadata"]["annotations"]);
    let mut by_hand = plain.clone();
    by_hand["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-by-header"] = json!("x-all");
    assert!(read_whole(&Nginx, &entry(), &by_hand, &pair()).1);
}

#[test]
fn a_canary_ingress_that_follows_another_has_its_paths_to_stable_and_no_others() {
    let main: Value = serde_saphyr::from_str(
        "{spec: {ingressClassName: inner, tls: [{hosts: [a.example.com], secretName: a}], \
         defaultBackend: {service: {name: other, port: {number: 80}}}, rules: [ \
         {host: a.example.com, http: {paths: [ \
          {path: /, pathType: Prefix, backend: {service: {name: stable, port: {name: http}}}}, \
          {path: /docs, pathType: Prefix, backend: {service: {name: docs, port: {number: 80}}}}]}}, \
         {host: docs.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: docs}}}]}}, \
         {host: bare.example.com}]}}",
    )
    .unwrap();
    let wanted: Value = serde_saphyr::from_str(
        "{ingressClassName: inner, tls: [{hosts: [a.example.com], secretName: a}], rules: [{host: a.example.com, \
         http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: canary, port: {name: http}}}}]}}]}",
    )
    .unwrap();
    assert_eq!(Value::Object(Nginx.follow(&main, &pair())), wanted);
    let annotations = [(CANARY.to_owned(), "true".to_owned())].into();
    let template = RouteTemplate { annotations, like: Some("main".to_owned()), ..RouteTemplate::default() };
    let entry = RouteRef { template: Some(template), ..entry() };
    let whole = Nginx.whole(&entry.following(&Nginx, &main, &pair()), "shop", &pair(), &Split::NONE).unwrap();
    assert_eq!((&whole["spec"], &whole["metadata"]["annotations"][CANARY]), (&wanted, &json!("true")));
    // A class by its old annotation goes with it, unless the template says another.
    let class = crate::traffic::ingress::CLASS;
    let mut by_annotation = main.clone();
    by_annotation["spec"].as_object_mut().unwrap().remove("ingressClassName");
    by_annotation["metadata"]["annotations"][class] = json!("old");
    let mut other = entry.clone();
    other.template.as_mut().unwrap().annotations.insert(class.to_owned(), "other".to_owned());
    for (entry, main, wanted) in
        [(&entry, &by_annotation, json!("old")), (&other, &by_annotation, json!("other")), (&entry, &main, Value::Null)]
    {
        let whole = Nginx.whole(&entry.following(&Nginx, main, &pair()), "shop", &pair(), &Split::NONE).unwrap();
        assert_eq!(whole["metadata"]["annotations"][class], wanted);
    }
    for nothing in ["{spec: {rules: []}}", "{spec: {defaultBackend: {service: {name: docs}}}}", "{}"] {
        let nothing: Value = serde_saphyr::from_str(nothing).unwrap();
        let refused =
            Nginx.whole(&entry.following(&Nginx, &nothing, &pair()), "shop", &pair(), &Split::NONE).unwrap_err();
        assert_eq!(refused.category(), "RouteNotPrepared");
        assert!(refused.to_string().contains("template.like names Ingress main, which is not there"), "{refused}");
    }
    let default: Value = serde_saphyr::from_str("{spec: {defaultBackend: {service: {name: stable}}}}").unwrap();
    assert_eq!(Nginx.follow(&default, &pair())["defaultBackend"]["service"]["name"], "canary");
}
