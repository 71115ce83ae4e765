//! What holds for every router, tried on objects as they are written and stored in clusters.
//!
//! They lie in `recorded/` beside each router, with content that is none of ours; every kind has at least one that is steered.
use super::{
    Apart, Custom, Mirror, NamedValue, ROUTERS, RequestMatch, Resource, Router, Unsteerable, Weights, weighted::list,
};
use crate::vocab::{Pair, Weight};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

/// A router that the route brings along.
pub static CUSTOM: LazyLock<Custom> = LazyLock::new(|| {
    let settings = "{plural: splits, weights: [{path: /spec/backends/service=checkout-stable/weight, value: stable * 10}, \
        {path: /spec/backends/service=checkout-canary/weight, value: canary * 10}]}";
    serde_saphyr::from_str(settings).unwrap()
});

/// Every router there is.
pub fn all() -> Vec<&'static dyn Router> {
    let custom: &dyn Router = &*CUSTOM;
    ROUTERS.iter().copied().chain([custom]).collect()
}

pub fn pair() -> Pair {
    Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() }
}

pub fn percent(percent: u8) -> Weight {
    Weight::new(percent).unwrap()
}

/// Every recorded object of a router, with the file's name.
fn recorded(router: &dyn Router) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/traffic").join(router.name().replace('-', "_"));
    let files = fs::read_dir(folder.join("recorded")).unwrap_or_else(|_| panic!("{} has no recorded/", router.name()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: &Path| serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let all = files.iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(path)));
    // Of one name there may be several routers, each with kinds of its own.
    let kinds = router.resources();
    let is_its = |object: &Value| kinds.is_empty() || kinds.iter().any(|resource| object["kind"] == resource.kind);
    all.filter(|(_, object)| is_its(object)).collect()
}

/// Those of them that carry weights.
pub fn steered(router: &dyn Router) -> Vec<(String, Value)> {
    recorded(router).into_iter().filter(|(_, object)| router.read(object, &pair()).is_ok()).collect()
}

/// The paths of all leaves in which two objects differ.
pub fn differences(path: &str, one: &Value, other: &Value, found: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                let (one, other) = (one.get(key).unwrap_or(&Value::Null), other.get(key).unwrap_or(&Value::Null));
                let key = key.replace('~', "~0").replace('/', "~1");
                differences(&format!("{path}/{key}"), one, other, found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}/{at}"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

/// The annotations that routers write, as paths begin.
const ANNOTATIONS: [&str; 3] = [
    "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight",
    "/metadata/annotations/alb.ingress.kubernetes.io~1actions.",
    "/metadata/annotations/zalando.org~1backend-weights",
];

/// Whether a changed leaf is a weight beside the name of one of our Services, or the numbers in an annotation.
pub fn is_ours(path: &str, before: &Value, after: &Value) -> bool {
    if path.starts_with("/metadata/annotations/") {
        let text = |object: &Value| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let but_numbers = |object: &Value| text(object).replace(|c: char| c.is_ascii_digit(), "");
        return ANNOTATIONS
            .iter()
            .any(|known| if known.ends_with('.') { path.starts_with(known) } else { path == *known })
            && but_numbers(before) == but_numbers(after);
    }
    let (backend, leaf) = path.rsplit_once('/').unwrap();
    let text = before.pointer(backend).unwrap().to_string();
    leaf == "weight" && [pair().stable, pair().canary].iter().any(|name| text.contains(name.as_str()))
}

#[test]
fn every_kind_has_been_recorded() {
    for router in ROUTERS {
        let seen = steered(*router);
        for Resource { kind, .. } in router.resources() {
            let versions = || router.resources().iter().filter(|known| known.kind == *kind);
            let is_one = |object: &Value| versions().any(|known| object["apiVersion"] == known.api_version());
            let recorded = seen.iter().any(|(_, object)| object["kind"] == *kind && is_one(object));
            assert!(recorded, "no {kind} for {}", router.name());
        }
    }
}

#[test]
fn every_share_is_written_read_and_written_once() {
    for router in all() {
        for (file, before) in steered(router) {
            for weight in [0, 1, 5, 20, 50, 99, 100].map(percent) {
                let what = format!("{} {file} at {weight}", router.name());
                let after = match router.steer(&before, &pair(), weight) {
                    Ok(after) => after.unwrap_or_else(|| before.clone()),
                    // Beside others a share may be no whole number, which is said with the cure.
                    Err(Unsteerable::Indivisible { .. }) => continue,
                    Err(why) => panic!("{what}: {why}"),
                };
                assert_eq!(router.read(&after, &pair()).unwrap().weight, Weights::At(weight), "{what}");
                assert_eq!(router.steer(&after, &pair(), weight), Ok(None), "{what}");
            }
        }
    }
}

#[test]
fn only_our_weights_change_and_the_way_back_leads_to_the_same_bytes() {
    for router in all() {
        for (file, before) in steered(router) {
            let what = format!("{} {file}", router.name());
            let Ok(Some(after)) = router.steer(&before, &pair(), percent(50)) else { continue };
            let mut changed = BTreeSet::new();
            differences("", &before, &after, &mut changed);
            assert!(!changed.is_empty(), "{what}");
            for path in &changed {
                assert!(is_ours(path, &before, &after), "{what}: {path}");
            }
            let Weights::At(weight) = router.read(&before, &pair()).unwrap().weight else { continue };
            let back = router.steer(&after, &pair(), weight).unwrap().unwrap();
            let mut left = BTreeSet::new();
            differences("", &before, &back, &mut left);
            // A weight that was not written stands there now, and weights of another sum are percents now.
            assert!(left.is_subset(&changed), "{what}: {left:?}");
            assert_eq!(router.steer(&back, &pair(), weight), Ok(None), "{what}");
            assert_eq!(router.steer(&back, &pair(), percent(50)).unwrap().unwrap(), after, "{what}");
        }
    }
}

/// The object with the JSON in its annotations as what it says.
fn opened(object: &Value) -> Value {
    let mut opened = object.clone();
    for text in opened["metadata"]["annotations"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        if let Some(said) = text.as_str().and_then(|text| serde_json::from_str(text).ok()) {
            *text = said;
        }
    }
    opened
}

/// The object with texts as its annotations again.
fn closed(opened: &Value) -> Value {
    let mut closed = opened.clone();
    for said in closed["metadata"]["annotations"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        if !said.is_string() {
            *said = json!(said.to_string());
        }
    }
    closed
}

/// The paths of our weights in an object, by the list or the map that they stand in. One alone shares nothing out.
fn weighed(none: &Value, whole: &Value) -> BTreeMap<String, Vec<String>> {
    let (mut weights, mut lists) = (BTreeSet::new(), BTreeMap::<String, Vec<String>>::new());
    differences("", none, whole, &mut weights);
    for weight in weights {
        let (entry, leaf) = weight.rsplit_once('/').unwrap();
        let list = if leaf.eq_ignore_ascii_case("weight") { entry.rsplit_once('/').unwrap().0 } else { entry };
        lists.entry(list.to_owned()).or_default().push(weight);
    }
    lists.retain(|_, ours| ours.len() == 2);
    lists
}

/// Whether others weigh in this list or map, or in another list of the same rule.
fn is_shared(object: &Value, place: &str) -> bool {
    let weights = object.pointer(place).unwrap();
    let (rule, _) = place.rsplit_once('/').unwrap();
    let beside = object.pointer(rule).and_then(Value::as_object).into_iter().flat_map(|members| members.values());
    let mut beside = beside.filter(|member| *member != weights).flat_map(list);
    weights.as_array().map_or(0, Vec::len) > 2
        || weights.as_object().map_or(0, serde_json::Map::len) > 2
        || beside.any(|entry| entry["weight"].is_u64())
}

#[test]
fn what_others_weigh_beside_ours_stays_their_share() {
    for router in ROUTERS {
        let mut tried = 0;
        for (file, before) in steered(*router) {
            let what = format!("{} {file}", router.name());
            let at = |object: &Value, share| {
                let steered =
                    router.steer(object, &pair(), percent(share)).unwrap_or_else(|why| panic!("{what}: {why}"));
                steered.unwrap_or_else(|| object.clone())
            };
            let none = at(&before, 0);
            let lists = weighed(&opened(&none), &opened(&at(&none, 100)));
            // As they were recorded, and with one more in each list; in both ours have together what is no hundred.
            for joined in [false, true] {
                let mut heavy = opened(&none);
                for (place, ours) in &lists {
                    for path in ours {
                        if let Some(weight) = heavy.pointer_mut(path) {
                            *weight = json!(weight.as_u64().unwrap() * 3);
                        }
                    }
                    if let Some(entries) = heavy.pointer_mut(place).and_then(Value::as_array_mut).filter(|_| joined) {
                        let canary = entries.iter().map(Value::to_string).find(|text| text.contains(&pair().canary));
                        let other = canary.unwrap().replace(&pair().canary, "legacy");
                        entries.push(serde_json::from_str(&other).unwrap());
                    }
                }
                let after = opened(&at(&closed(&heavy), 20));
                for (place, ours) in lists.iter().filter(|(place, _)| is_shared(&heavy, place)) {
                    let weight =
                        |object: &Value, path: &String| object.pointer(path).map_or(0, |it| it.as_u64().unwrap());
                    let sum = |object: &Value| ours.iter().map(|path| weight(object, path)).sum::<u64>();
                    assert_eq!(sum(&heavy), sum(&after), "{what}: {place}");
                    tried += 1;
                }
            }
        }
        // The share of a canary Ingress stands beside no other.
        assert_eq!(tried > 0, router.name() != "nginx", "{}", router.name());
    }
}

/// The object with a member that nobody knows in everything that has members, and an annotation with signs of all sorts.
fn strewn(object: &Value) -> Value {
    let (mut strewn, mut found) = (object.clone(), Vec::new());
    paths("", object, &mut found);
    for path in found.iter().filter(|path| !path.starts_with("/metadata/annotations")) {
        if let Some(members) = strewn.pointer_mut(path).and_then(Value::as_object_mut) {
            members.insert("unheardOf".to_owned(), json!({"weight": 7, "list": [null, {"name": "checkout"}]}));
        }
    }
    let text = "# no comment\n{\"weight\": 10,\n\t\"a\" : [ 1.0 ]}\r\n'\\u0023' # ä\n\n";
    strewn["metadata"]["annotations"]["example.com/text"] = json!(text);
    strewn
}

#[test]
fn what_nobody_here_knows_stays_at_every_level_and_annotations_sign_by_sign() {
    for router in all() {
        let mut tried = 0;
        for (file, before) in steered(router) {
            let Ok(Some(after)) = router.steer(&before, &pair(), percent(50)) else { continue };
            let what = format!("{} {file}", router.name());
            assert_eq!(router.steer(&strewn(&before), &pair(), percent(50)), Ok(Some(strewn(&after))), "{what}");
            tried += 1;
        }
        assert!(tried > 0, "{}", router.name());
    }
}

#[test]
fn other_rollouts_services_in_the_same_route_stay() {
    let theirs = Pair { stable: "theirs-stable".into(), canary: "theirs-canary".into(), port: 8080, also: Vec::new() };
    for router in ROUTERS {
        for (file, before) in steered(*router) {
            let said = router.steer(&before, &theirs, percent(50));
            assert!(said.is_err(), "{} {file}", router.name());
        }
    }
}

#[test]
fn what_is_missing_is_told_with_the_lines_to_write() {
    for router in ROUTERS {
        for (file, before) in steered(*router) {
            let text = before.to_string().replace("checkout-stable", "checkout").replace("checkout-canary", "else");
            let bare: Value = serde_json::from_str(&text).unwrap();
            let what = format!("{} {file}", router.name());
            let said = router.steer(&bare, &pair(), percent(5)).unwrap_err().to_string();
            assert!(said.contains("checkout-stable") && said.contains("checkout-canary"), "{what}: {said}");
        }
    }
}

#[test]
fn what_a_router_cannot_do_it_refuses() {
    let matched = || vec![RequestMatch { headers: vec![NamedValue::exact("x-beta", "1")], ..RequestMatch::default() }];
    for router in all() {
        for (file, before) in steered(router) {
            let what = format!("{} {file}", router.name());
            let with = |apart: &Apart| router.apart(before.clone(), &pair(), apart);
            assert_eq!(with(&Apart::default()).unwrap(), before, "{what}");
            for (capability, apart) in [
                (super::Capability::Match, Apart { matches: matched(), mirror: None }),
                (super::Capability::Mirror, Apart { matches: Vec::new(), mirror: Some(Mirror { percent: 10 }) }),
            ] {
                let done = with(&apart);
                if router.can(capability) {
                    // An object may be one that has no place for it, which is said.
                    assert!(
                        done.as_ref().map_or(true, |done| *done != before),
                        "{what}: {capability:?} changes nothing"
                    );
                } else {
                    assert!(done.is_err(), "{what}: {capability:?}");
                }
            }
        }
    }
}

/// The object with an entry of one of its lists doubled, for the port 9090 and other hosts.
fn with_more_ports(object: &Value, is_rule: impl Fn(&str) -> bool) -> Vec<Value> {
    let mut all = Vec::new();
    paths("", object, &mut all);
    let lists = all.iter().filter_map(|path| Some((path, object.pointer(path)?.as_array()?)));
    let rules = lists.flat_map(|(path, entries)| entries.iter().map(move |entry| (path, entry.to_string())));
    let rules = rules.filter(|(_, text)| is_rule(text));
    let doubled = rules.map(|(path, text)| {
        let mut doubled = object.clone();
        let text = text.replace("8080", "9090").replace(".example.com", ".example.org");
        doubled.pointer_mut(path).unwrap().as_array_mut().unwrap().push(serde_json::from_str(&text).unwrap());
        doubled
    });
    doubled.collect()
}

#[test]
fn an_object_has_rules_for_several_ports_where_that_is_said() {
    let also = Pair { also: vec![9090], ..pair() };
    for router in ROUTERS {
        let resource = router.resources()[0];
        // Theirs stand under names of their own; see their own tests.
        if router.name() == "alb" || resource.kind == "RouteGroup" {
            continue;
        }
        let is_rule = |text: &str| {
            let stable = router.name() == "nginx" || text.contains(&pair().stable);
            stable && text.contains(&pair().canary) && text.contains("8080")
        };
        let takes = |object: &Value| {
            let seen = router.steer(object, &also, percent(20)).ok().flatten();
            seen.is_some_and(|after| {
                router.read(&after, &also).is_ok_and(|seen| seen.weight == Weights::At(percent(20)))
            }) && router.read(object, &pair()).is_err_and(|why| why.category() == "WrongPort")
        };
        let doubled = steered(*router).into_iter().flat_map(|(_, object)| with_more_ports(&object, is_rule));
        assert_eq!(doubled.into_iter().any(|it| takes(&it)), router.can(super::Capability::Ports), "{resource:?}");
    }
}

/// Whatever stands in an object, nothing panics; what is steered is read again.
fn try_all(router: &dyn Router, object: &Value) {
    let _ = (router.accepted(object), router.services(object), router.port(object), router.read(object, &pair()));
    let _ = router.apart(object.clone(), &pair(), &Apart { matches: Vec::new(), mirror: Some(Mirror { percent: 1 }) });
    if let Ok(Some(after)) = router.steer(object, &pair(), percent(20)) {
        assert_eq!(router.read(&after, &pair()).unwrap().weight, Weights::At(percent(20)));
        assert_eq!(router.steer(&after, &pair(), percent(20)), Ok(None));
    }
}

/// All paths of an object.
fn paths(path: &str, value: &Value, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            paths(&format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), value, found);
        }),
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(at, value)| paths(&format!("{path}/{at}"), value, found));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn nothing_that_somebody_writes_panics(router in 0..=ROUTERS.len(), file in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize), 1..4)) {
        let router = all()[router];
        let all = recorded(router);
        let mut object = file.get(&all).1.clone();
        for (place, leaf) in places {
            let mut found = Vec::new();
            paths("", &object, &mut found);
            let value = [
                json!(null), json!("text"), json!([1]), json!({"a": []}), json!(-1), json!(1e9), json!(u64::MAX), json!(""),
            ][leaf].clone();
            *object.pointer_mut(place.get(found.as_slice()).as_str()).unwrap() = value;
        }
        try_all(router, &object);
    }
}
