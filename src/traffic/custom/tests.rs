//! Settings that are refused, shares that are written and read back, and objects that tell.
use super::*;
use proptest::prelude::*;

fn pair() -> Pair {
    Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() }
}

fn custom(settings: &str) -> Custom {
    serde_saphyr::from_str(&format!("{{plural: splits, {settings}}}")).unwrap()
}

fn object() -> Value {
    json!({
        "apiVersion": "mesh.example.com/v1", "kind": "Split", "metadata": {"name": "s", "namespace": "shop", "generation": 2,
            "annotations": {"mesh.example.com/share": "0"}},
        "spec": {"backends": [{"service": "stable", "weight": 1000}, {"service": "canary", "weight": 0}], "ratio": 0.0, "empty": {}},
        "status": {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
    })
}

const BOTH: &str = "weights: [{path: /spec/backends/service=stable/weight, value: stable * 10}, {path: /spec/backends/service=canary/weight, value: 10 * canary}, \
    {path: /spec/ratio, value: canary / 100, as: Float}, {path: /metadata/annotations/mesh.example.com~1share, value: canary}]";

fn at(percent: u8) -> Weight {
    Weight::new(percent).unwrap()
}

#[test]
fn every_percent_is_written_as_what_stands_there_and_read_back() {
    let custom = custom(BOTH);
    assert_eq!(custom.check(), Ok(()));
    assert_eq!(custom.read(&object(), &pair()).unwrap().weight, Weights::At(Weight::ZERO));
    assert_eq!(custom.steer(&object(), &pair(), Weight::ZERO), Ok(None));
    for percent in 1..=100 {
        let steered = custom.steer(&object(), &pair(), at(percent)).unwrap().unwrap();
        assert_eq!(custom.read(&steered, &pair()).unwrap().weight, Weights::At(at(percent)));
        assert_eq!(custom.steer(&steered, &pair(), at(percent)), Ok(None));
        assert_eq!(custom.steer(&steered, &pair(), Weight::ZERO).unwrap().unwrap(), object());
    }
    let steered = custom.steer(&object(), &pair(), at(5)).unwrap().unwrap();
    let mut wanted = object();
    wanted["spec"]["backends"][0]["weight"] = json!(950);
    wanted["spec"]["backends"][1]["weight"] = json!(50);
    wanted["spec"]["ratio"] = json!(0.05);
    wanted["metadata"]["annotations"]["mesh.example.com/share"] = json!("5");
    assert_eq!(steered, wanted);
}

#[test]
fn weights_that_do_not_agree_are_mixed_and_count_as_the_most_that_they_may_be() {
    let custom = custom(BOTH);
    let mut edited = custom.steer(&object(), &pair(), at(5)).unwrap().unwrap();
    edited["spec"]["ratio"] = json!(0.2);
    assert_eq!(custom.read(&edited, &pair()).unwrap().weight.at_most(), at(20));
    edited["spec"]["ratio"] = json!(0.123);
    assert_eq!(custom.read(&edited, &pair()).unwrap().weight.at_most(), Weight::FULL);
}

#[test]
fn a_last_member_is_made_and_nothing_else() {
    let made = custom("weights: [{path: /spec/empty/weight, value: canary, as: String}]");
    let steered = made.steer(&object(), &pair(), at(7)).unwrap().unwrap();
    assert_eq!(steered["spec"]["empty"], json!({"weight": "7"}));
    assert_eq!(made.read(&object(), &pair()).unwrap().weight.at_most(), Weight::FULL);
    for (path, category) in [
        ("/spec/nothing/weight", "RouteNotPrepared"),
        ("/spec/backends/2", "RouteNotPrepared"),
        ("/spec/backends/2/weight", "RouteNotPrepared"),
        ("/spec/empty", "RouteMalformed"),
        ("/spec/backends/service=stable/service", "RouteMalformed"),
    ] {
        let custom = custom(&format!("weights: [{{path: {path}, value: canary}}]"));
        assert_eq!(custom.steer(&object(), &pair(), at(7)).unwrap_err().category(), category, "{path}");
        assert_eq!(custom.read(&object(), &pair()).unwrap_err().category(), category, "{path}");
    }
}

#[test]
fn an_entry_of_a_list_is_found_by_what_it_says_wherever_it_stands() {
    let mut turned = object();
    turned["spec"]["backends"].as_array_mut().unwrap().insert(0, json!({"service": "audit", "weight": 7}));
    turned["spec"]["backends"].as_array_mut().unwrap().reverse();
    let steered = custom(BOTH).steer(&turned, &pair(), at(5)).unwrap().unwrap();
    let weights: Vec<_> = steered["spec"]["backends"].as_array().unwrap().iter().map(|it| &it["weight"]).collect();
    assert_eq!(weights, [50, 950, 7]);
    let nested = json!({"spec": {"to": [{"destination": {"host": "a/b"}, "id": 1}, {"destination": {"host": "canary"}, "id": 2}]}});
    for (found, canary) in [("destination~1host=canary", 1), ("id=2", 1), ("destination~1host=a~1b", 0)] {
        let custom = custom(&format!("weights: [{{path: /spec/to/{found}/weight, value: canary}}]"));
        let steered = custom.steer(&nested, &pair(), at(5)).unwrap().unwrap();
        assert_eq!(steered["spec"]["to"][canary]["weight"], 5, "{found}");
    }
    let bare = json!({"spec": {"shares": [95, 5]}});
    let by_number = custom("weights: [{path: /spec/shares/1, value: canary}]");
    assert_eq!(by_number.steer(&bare, &pair(), at(7)).unwrap().unwrap()["spec"]["shares"], json!([95, 7]));
}

#[test]
fn an_entry_that_is_another_one_by_now_is_not_written() {
    let both = |path: &str| custom(&format!("weights: [{{path: {path}, value: canary}}]"));
    let mut renamed = object();
    renamed["spec"]["backends"][1]["service"] = json!("somebody-else");
    let mut doubled = object();
    doubled["spec"]["backends"][0]["service"] = json!("canary");
    for (object, path, words) in [
        (&renamed, "/spec/backends/service=canary/weight", "no entry that says service=canary"),
        (&doubled, "/spec/backends/service=canary/weight", "several entries that say service=canary"),
        (&object(), "/spec/backends/1/weight", "at 1 whatever stands there today"),
    ] {
        let error = both(path).steer(object, &pair(), at(7)).unwrap_err();
        assert_eq!((error.category(), both(path).read(object, &pair())), ("RouteNotPrepared", Err(error.clone())));
        let said = error.to_string();
        assert!(said.contains(words) && said.contains("as in /spec/backends/service=shop-canary/weight"), "{said}");
    }
    let twice = "weights: [{path: /spec/backends/service=canary/weight, value: canary}, {path: /spec/backends/weight=0/weight, value: stable}]";
    assert!(custom(twice).steer(&object(), &pair(), at(7)).unwrap_err().to_string().contains("leads there"));
}

#[test]
fn a_fraction_is_not_written_where_a_whole_number_stands() {
    let custom = custom("weights: [{path: /spec/backends/service=canary/weight, value: canary / 3}]");
    assert!(custom.steer(&object(), &pair(), at(7)).unwrap_err().to_string().contains("say as: Float"));
    assert!(custom.steer(&object(), &pair(), at(6)).unwrap().is_some());
}

#[test]
fn settings_that_cannot_be_carried_out_are_refused_with_field_and_cure() {
    for (settings, field, words) in [
        ("weights: [{path: /status/weight, value: canary}]", "weights[0].path", "below /spec"),
        ("weights: [{path: /metadata/finalizers, value: canary}]", "weights[0].path", "below /spec"),
        (
            "weights: [{path: /metadata/annotations/bellwether.dev~1split, value: canary}]",
            "weights[0].path",
            "below /spec",
        ),
        (
            "weights: [{path: /spec/a, value: canary}, {path: /spec/a, value: stable}]",
            "weights[1].path",
            "another weight",
        ),
        ("weights: [{path: /spec/a, value: canary >}]", "weights[0].value", "is not understood"),
        ("weights: [{path: /spec/a, value: canary > 5}]", "weights[0].value", "the whole wants a number"),
        (
            "weights: [{path: /spec/a, value: weight}]",
            "weights[0].value",
            "there is no weight; there are canary and stable",
        ),
        ("weights: [{path: /spec/a, value: 'object.spec'}]", "weights[0].value", ".spec is not for conditions"),
        ("weights: [{path: /spec/a, value: 1 / canary}]", "weights[0].value", "is no number at 0 percent"),
        (
            "weights: [{path: /spec/a, value: canary / 2, as: Integer}]",
            "weights[0].value",
            "is no whole number at 1 percent",
        ),
        ("weights: [{path: /spec/a, value: canary / 2}]", "weights[0].value", "say as: Float or as: String"),
        ("weights: [{path: /spec/a, value: 'canary > 50 ? 1 : 0'}]", "weights", "the same for several percents"),
        ("weights: [{path: /spec/a, value: canary}], services: [spec/a]", "services[0]", "begin with /"),
    ] {
        let (at, why) = custom(settings).check().unwrap_err();
        assert_eq!(at, field, "{settings}: {why}");
        assert!(why.contains(words), "{settings}: {why}");
    }
}

fn tells(text: &str) -> Acceptance {
    let custom = custom(&format!("weights: [{{path: /spec/ratio, value: canary}}], accepted: \"{text}\""));
    assert_eq!(custom.check(), Ok(()), "{text}");
    custom.accepted(&object())
}

#[test]
fn an_object_tells_that_it_was_taken() {
    for text in [
        "object.status.observedGeneration == object.metadata.generation",
        "object.status.observedGeneration >= object.metadata.generation - 0",
        "object.metadata.generation + 1 > object.status.observedGeneration",
        "object.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
        "object.status.conditions[0].status == 'True' && has(object.status.conditions)",
        "object.spec.backends.all(b, b.service in ['stable', 'canary'])",
        "object.status.conditions.exists_one(c, c.status == 'True')",
        "size(object.spec.backends) == 2 && object.kind.startsWith('Sp')",
    ] {
        assert_eq!(tells(text), Acceptance::Yes, "{text}");
    }
    for text in ["object.status.observedGeneration > 2", "object.status.phase == 'Ready'", "has(object.status.phase)"] {
        assert!(matches!(tells(text), Acceptance::Unknown(_)), "{text}");
    }
    assert_eq!(custom(BOTH).accepted(&json!({})), Acceptance::Untold);
}

#[test]
fn questions_that_could_take_long_or_mean_nothing_are_refused() {
    for text in [
        "object.status",
        "true",
        "status.ready == true",
        "object.spec.backends.all(a, object.spec.backends.all(b, a == b))",
        "object.spec.backends.map(b, b.weight) == [1]",
        "[1, 2].exists(x, x > 1)",
        "object.name.matches('a+')",
        "{'a': 1} == object.spec",
    ] {
        let custom = custom(&format!("weights: [{{path: /spec/ratio, value: canary}}], accepted: \"{text}\""));
        assert_eq!(custom.check().unwrap_err().0, "accepted", "{text}");
        assert!(matches!(custom.accepted(&object()), Acceptance::Unknown(_)), "{text}");
    }
}

proptest! {
    #[test]
    fn no_object_panics(place in "/(spec|metadata|status|spec/backends|spec/backends/1/weight|spec/ratio)?", leaf in 0..6_usize) {
        let mut object = object();
        let value = [json!(null), json!("text"), json!([1]), json!({"a": []}), json!(-1), json!(1e300)][leaf].clone();
        if let Some(part) = object.pointer_mut(place.trim_end_matches('/')) {
            *part = value;
        }
        let custom = custom(&format!("{BOTH}, accepted: 'object.status.conditions.exists(c, c.status == object.kind)'"));
        let _ = (custom.read(&object, &pair()), custom.services(&object));
        if let Ok(Some(after)) = custom.steer(&object, &pair(), at(20)) {
            prop_assert_eq!(custom.read(&after, &pair()).unwrap().weight, Weights::At(at(20)));
        }
    }
}
