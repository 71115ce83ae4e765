//! Recorded routes, every refusal, and properties over random routes and over any JSON at all.
use super::{
    super::{Acceptance, Apart, RouteSeen, Router as _, Unsteerable, Weights},
    *,
};
use crate::vocab::Weight;
use proptest::{prelude::*, sample::select};
use serde_json::{Map, json};

const HTTP: &str = include_str!("recorded/http.yaml");
const GRPC: &str = include_str!("recorded/grpc.yaml");

fn recorded(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn pair() -> Pair {
    Pair { stable: "checkout-stable".into(), canary: "checkout-canary".into(), port: 8080, also: Vec::new() }
}

fn percent(percent: u8) -> Weight {
    Weight::new(percent).unwrap()
}

fn steer(route: &Value, weight: u8) -> Result<Option<Value>, Unsteerable> {
    ROUTER.steer(route, &pair(), percent(weight))
}

fn weights(route: &Value) -> Weights {
    ROUTER.read(route, &pair()).unwrap().weight
}

/// A route with these rules and nothing else.
fn route(rules: &Value) -> Value {
    json!({"kind": "HTTPRoute", "metadata": {"name": "checkout", "namespace": "shop"}, "spec": {"rules": rules}})
}

/// What is said of a route with these rules.
fn refused(rules: &Value) -> Unsteerable {
    let route = route(rules);
    let error = steer(&route, 5).unwrap_err();
    assert!(error.to_string().starts_with("HTTPRoute shop/checkout: "), "{error}");
    error
}

#[test]
fn only_our_weights_change() {
    let before = recorded(HTTP);
    let mut expected = before.clone();
    for (path, weight) in [
        ("/spec/rules/1/backendRefs/0", 80),
        ("/spec/rules/1/backendRefs/1", 20),
        ("/spec/rules/2/backendRefs/0", 240),
        ("/spec/rules/2/backendRefs/2", 60),
        ("/spec/rules/4/backendRefs/0", 80),
        ("/spec/rules/4/backendRefs/1", 20),
    ] {
        expected.pointer_mut(path).unwrap()["weight"] = json!(weight);
    }
    assert_eq!(steer(&before, 20).unwrap(), Some(expected));
}

#[test]
fn a_grpc_route_is_steered_like_any_other() {
    let before = recorded(GRPC);
    assert_eq!(weights(&before), Weights::At(Weight::ZERO));
    let after = steer(&before, 5).unwrap().unwrap();
    assert_eq!(weights(&after), Weights::At(percent(5)));
    assert_eq!(after["spec"]["rules"][1], before["spec"]["rules"][1]);
}

#[test]
fn nothing_is_written_when_nothing_differs() {
    let after = steer(&recorded(HTTP), 35).unwrap().unwrap();
    assert_eq!(steer(&after, 35), Ok(None));
    assert_eq!(steer(&recorded(GRPC), 0), Ok(None));
}

#[test]
fn every_managed_rule_is_read_and_the_share_is_the_canarys_of_the_two() {
    let mut route = recorded(HTTP);
    assert_eq!(
        ROUTER.read(&route, &pair()),
        Ok(RouteSeen { weight: Weights::At(Weight::ZERO), apart: Apart::default(), accepted: Acceptance::Yes })
    );
    route["spec"]["rules"][2]["backendRefs"][2]["weight"] = json!(100);
    assert_eq!(weights(&route).to_string(), "rule main 1:0, rule shared 300:100, rule mirrored 100:0");
    assert_eq!(weights(&route).at_most(), percent(25));
}

#[test]
fn a_weight_that_is_not_written_is_1() {
    let two = route(&json!([{"backendRefs": [{"name": "checkout-stable"}, {"name": "checkout-canary"}]}]));
    assert_eq!(weights(&two), Weights::At(percent(50)));
}

#[test]
fn two_weights_of_zero_are_mended_and_no_share() {
    let none = route(&json!([{"backendRefs": [
        {"name": "checkout-stable", "weight": 0}, {"name": "checkout-canary", "weight": 0}]}]));
    assert_eq!(weights(&none).to_string(), "rules[0] 0:0");
    assert_eq!(weights(&steer(&none, 0).unwrap().unwrap()), Weights::At(Weight::ZERO));
}

#[test]
fn beside_other_backends_both_zero_is_refused() {
    let rules = json!([{"backendRefs": [
        {"name": "checkout-stable", "weight": 0}, {"name": "legacy"}, {"name": "checkout-canary", "weight": 0}]}]);
    assert_eq!(refused(&rules).category(), "NoShare");
}

#[test]
fn beside_other_backends_our_sum_stays_or_the_cure_is_told() {
    let rules = |stable: u64| {
        json!([{"name": "main", "backendRefs": [{"name": "checkout-stable", "weight": stable},
            {"name": "legacy", "weight": 30}, {"name": "checkout-canary", "weight": 0}]}])
    };
    let error = refused(&rules(70));
    assert_eq!(
        error.to_string(),
        "HTTPRoute shop/checkout: in rule main both Services share 70 beside other backends, \
         and 5 % of that is no whole number; multiply every weight of this rule by 10"
    );
    for (sum, weight, canary) in [(70, 0, 0), (70, 100, 70), (70, 10, 7), (700, 5, 35), (1_000_000, 1, 10_000)] {
        let before = route(&rules(sum));
        let after = steer(&before, weight).unwrap().unwrap_or(before);
        let backends = &after["spec"]["rules"][0]["backendRefs"];
        assert_eq!(backends[2]["weight"], canary);
        assert_eq!(backends[0]["weight"], sum - canary);
        assert_eq!(backends[1]["weight"], 30);
    }
}

#[test]
fn beside_other_backends_more_than_one_may_weigh_is_refused() {
    let rules = json!([{"backendRefs": [{"name": "checkout-stable", "weight": 1_000_000}, {"name": "legacy"},
        {"name": "checkout-canary", "weight": 1}]}]);
    assert_eq!(refused(&rules).category(), "WeightsTooHeavy");
}

#[test]
fn a_route_that_is_not_prepared_is_told_the_very_line() {
    let error = refused(&json!([
        {"name": "main", "backendRefs": [{"name": "checkout", "port": 80}]},
        {"filters": [{"type": "RequestRedirect"}]},
    ]));
    assert_eq!(
        error.to_string(),
        "HTTPRoute shop/checkout: no rule names both Services (rule main names checkout; rules[1] names nothing); \
         write into each rule that should carry the rollout: backendRefs: \
         [{name: checkout-stable, port: 8080, weight: 100}, {name: checkout-canary, port: 8080, weight: 0}]"
    );
    assert_eq!(error.category(), "RouteNotPrepared");
    assert!(refused(&json!([])).to_string().contains("there is no rule"));
}

#[test]
fn the_line_that_is_told_prepares_the_route() {
    let Unsteerable::NotPrepared { lines, .. } = refused(&json!([])) else { panic!() };
    let rule: Value = serde_saphyr::from_str(&lines).unwrap();
    assert_eq!(weights(&route(&json!([rule]))), Weights::At(Weight::ZERO));
}

#[test]
fn a_message_lists_few_rules() {
    let many: Vec<_> = (0..16).map(|_| json!({"backendRefs": [{"name": "other"}]})).collect();
    let error = refused(&json!(many)).to_string();
    assert!(error.contains("rules[3] names other; and others)"), "{error}");
}

#[test]
fn a_service_of_another_kind_group_or_namespace_is_not_ours() {
    for foreign in [
        json!({"kind": "InferencePool"}),
        json!({"group": "inference.networking.k8s.io"}),
        json!({"namespace": "elsewhere"}),
    ] {
        let mut canary = foreign;
        canary["name"] = json!("checkout-canary");
        let rules = json!([{"backendRefs": [{"name": "checkout-stable"}, canary]}]);
        assert_eq!(refused(&rules).category(), "RouteNotPrepared");
    }
}

#[test]
fn what_clusters_export_as_the_canary_is_a_way_to_it_that_no_weight_counts() {
    let imported =
        |name: &str| json!({"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": name, "port": 8080});
    let both =
        json!({"backendRefs": [{"name": "checkout-stable", "weight": 100}, {"name": "checkout-canary", "weight": 0}]});
    let mirror = json!([{"type": "RequestMirror", "requestMirror": {"backendRef": imported("checkout-canary")}}]);
    for (rule, what) in [
        (json!({"backendRefs": [imported("checkout-canary")]}), "ServiceImport of rules[1]"),
        (json!({"filters": mirror, "backendRefs": [{"name": "legacy"}]}), "RequestMirror filter of rules[1]"),
    ] {
        let error = refused(&json!([both, rule]));
        assert_eq!(error.category(), "CanaryFiltered");
        assert!(
            error.to_string().contains(&format!("the {what} sends requests to Service checkout-canary")),
            "{error}"
        );
    }
    for foreign in [imported("checkout-stable"), with(&imported("checkout-canary"), "namespace", json!("elsewhere"))] {
        assert!(steer(&route(&json!([both, {"backendRefs": [foreign]}])), 5).is_ok());
    }
}

#[test]
fn a_service_named_twice_in_a_rule_is_refused_by_name() {
    for twice in ["checkout-stable", "checkout-canary"] {
        let rules = json!([{"name": "main", "backendRefs": [
            {"name": "checkout-stable"}, {"name": "checkout-canary"}, {"name": twice, "port": 8080}]}]);
        assert_eq!(
            refused(&rules),
            Unsteerable::Duplicate {
                route: "HTTPRoute shop/checkout".into(),
                rule: "rule main".into(),
                service: twice.into()
            }
        );
    }
}

#[test]
fn a_port_that_the_services_do_not_have_is_refused_by_name() {
    let rules = |stable: u16, canary: u16| {
        json!([{"backendRefs": [
            {"name": "checkout-stable", "port": stable}, {"name": "checkout-canary", "port": canary}]}])
    };
    assert_eq!(
        refused(&rules(9090, 9090)).to_string(),
        "HTTPRoute shop/checkout: rules[0] names port 9090 of Service checkout-stable, \
         and the two Services have 8080; name one of these"
    );
    assert_eq!(
        refused(&rules(8080, 9090)).to_string(),
        "HTTPRoute shop/checkout: rules[0] names port 8080 of the stable Service and 9090 of the canary's; make them equal"
    );
}

#[test]
fn rules_of_several_ports_are_steered_together() {
    let rule = |port: u16, weights: (u32, u32)| {
        json!({"backendRefs": [
            {"name": "checkout-stable", "port": port, "weight": weights.0},
            {"name": "checkout-canary", "port": port, "weight": weights.1}]})
    };
    let (before, pair) =
        (route(&json!([rule(8080, (100, 0)), rule(9090, (100, 0))])), pair().serving([8080, 9090, 9443]));
    let after = ROUTER.steer(&before, &pair, percent(20)).unwrap();
    assert_eq!(after, Some(route(&json!([rule(8080, (80, 20)), rule(9090, (80, 20))]))));
    let refused = ROUTER.read(&route(&json!([rule(9091, (100, 0))])), &pair).unwrap_err();
    assert!(
        refused.to_string().ends_with("the two Services have 8080 and 9090 and 9443; name one of these"),
        "{refused}"
    );
}

#[test]
fn a_rule_that_names_the_canary_alone_is_refused() {
    let both = json!({"backendRefs": [{"name": "checkout-stable"}, {"name": "checkout-canary"}]});
    let beta = json!({"name": "beta", "backendRefs": [{"name": "checkout-canary", "port": 9090}]});
    let error = refused(&json!([both, beta]));
    assert_eq!(error.category(), "CanaryElsewhere");
    assert!(error.to_string().contains("rule beta names Service checkout-canary"), "{error}");
}

#[test]
fn a_rule_that_names_stable_alone_is_nobodys_business() {
    let rules = json!([
        {"backendRefs": [
            {"name": "checkout-stable", "port": 9090, "weight": 7}, {"name": "checkout-stable", "port": 9091}]},
        {"backendRefs": [{"name": "checkout-stable"}, {"name": "checkout-canary"}]},
    ]);
    let after = steer(&route(&rules), 5).unwrap().unwrap();
    assert_eq!(after["spec"]["rules"][0], rules[0]);
}

#[test]
fn a_mirror_to_the_canary_is_refused_wherever_it_stands() {
    let mirror =
        json!([{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "checkout-canary", "port": 8080}}}]);
    let both = json!([{"name": "checkout-stable"}, {"name": "checkout-canary"}]);
    for rules in [
        json!([{"filters": mirror, "backendRefs": both}]),
        json!([{"backendRefs": both}, {"filters": mirror, "backendRefs": [{"name": "legacy"}]}]),
        json!([{"backendRefs": both}, {"backendRefs": [{"name": "legacy", "filters": mirror}]}]),
    ] {
        let error = refused(&rules);
        assert_eq!(error.category(), "CanaryFiltered");
        assert!(error.to_string().contains("the RequestMirror filter of rules["), "{error}");
    }
}

#[test]
fn a_weight_that_is_none_is_refused() {
    for weight in [json!("80"), json!(-1), json!(1_000_001), json!(0.5)] {
        let rules =
            json!([{"backendRefs": [{"name": "checkout-stable", "weight": weight}, {"name": "checkout-canary"}]}]);
        assert_eq!(refused(&rules).category(), "RouteMalformed");
    }
}

#[test]
fn what_is_no_route_is_refused_with_words() {
    for value in [json!(null), json!([]), json!("route"), json!({}), json!({"spec": []})] {
        assert_eq!(steer(&value, 5).unwrap_err().category(), "RouteMalformed");
        assert_eq!(ROUTER.read(&value, &pair()).unwrap_err().category(), "RouteMalformed");
    }
}

/// Members that routes carry and nobody here reads.
fn extras() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({"name": "main", "timeouts": {"request": "10s"}}),
        json!({"matches": [{"path": {"value": "/v1"}}], "sessionPersistence": {"type": "Cookie"}}),
        json!({"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "audit"}}}]}),
        json!({"retry": {"attempts": 3}, "later": [1, null, {"than": "us"}]}),
    ])
}

fn with(extras: &Value, key: &str, value: Value) -> Value {
    let mut object = extras.clone();
    object[key] = value;
    object
}

fn ours(name: &'static str) -> impl Strategy<Value = Value> {
    let written = prop_oneof![Just(json!({})), (0_u32..500).prop_map(|weight| json!({"weight": weight}))];
    let namespace = prop_oneof![Just(None), Just(Some("shop"))];
    (written, namespace, any::<bool>()).prop_map(move |(mut backend, namespace, port)| {
        backend["name"] = json!(name);
        if let Some(namespace) = namespace {
            backend["namespace"] = json!(namespace);
        }
        if port {
            backend["port"] = json!(8080);
        }
        backend
    })
}

fn foreign() -> impl Strategy<Value = Value> {
    let name = select(vec!["legacy", "audit", "checkout"]);
    (name, 0_u32..300, extras()).prop_map(
        |(name, weight, extras)| json!({"name": name, "weight": weight, "filters": extras["filters"].clone()}),
    )
}

/// A rule that names both Services, alone or beside others with a sum that every percent divides.
fn shared() -> impl Strategy<Value = Value> {
    let hundreds = (1_u64..9, 0_u64..=100).prop_map(|(hundreds, share)| (hundreds * (100 - share), hundreds * share));
    let alone = (ours("checkout-stable"), ours("checkout-canary")).prop_map(|(stable, canary)| vec![stable, canary]);
    let beside = (hundreds, ours("checkout-stable"), ours("checkout-canary"), prop::collection::vec(foreign(), 1..4))
        .prop_map(|((stable_weight, canary_weight), stable, canary, others)| {
            let mut backends =
                vec![with(&stable, "weight", json!(stable_weight)), with(&canary, "weight", json!(canary_weight))];
            backends.extend(others);
            backends
        });
    let backends = prop_oneof![alone, beside].prop_shuffle();
    (backends, extras()).prop_map(|(backends, extras)| with(&extras, "backendRefs", json!(backends)))
}

fn other() -> impl Strategy<Value = Value> {
    let backend = prop_oneof![foreign(), ours("checkout-stable")];
    (prop::collection::vec(backend, 0..3), extras())
        .prop_map(|(backends, extras)| with(&extras, "backendRefs", json!(backends)))
}

fn prepared_route() -> impl Strategy<Value = Value> {
    (prop::collection::vec(shared(), 1..4), prop::collection::vec(other(), 0..4)).prop_flat_map(|(shared, other)| {
        Just([shared, other].concat()).prop_shuffle().prop_map(|rules| route(&json!(rules)))
    })
}

/// The route with the weights of both Services taken out of rules that name both.
fn masked(route: &Value) -> Value {
    let mut masked = route.clone();
    for rule in masked["spec"]["rules"].as_array_mut().unwrap() {
        let names: Vec<_> = list(&rule["backendRefs"]).iter().map(|backend| backend["name"].clone()).collect();
        if !["checkout-stable", "checkout-canary"].iter().all(|service| names.contains(&json!(service))) {
            continue;
        }
        for backend in rule["backendRefs"].as_array_mut().unwrap() {
            if backend["name"] == "checkout-stable" || backend["name"] == "checkout-canary" {
                backend.as_object_mut().unwrap().remove("weight");
            }
        }
    }
    masked
}

/// Any JSON, with the words of a route in it more often than chance would have them.
fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "kind",
        "metadata",
        "namespace",
        "generation",
        "spec",
        "rules",
        "backendRefs",
        "backendRef",
        "filters",
        "name",
        "weight",
        "port",
        "parentRefs",
        "status",
        "parents",
        "parentRef",
        "conditions",
        "type",
        "Accepted",
        "True",
        "observedGeneration",
        "checkout-stable",
        "checkout-canary",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
        ".{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 60, 4, move |inner| {
        let entry = (prop_oneof![4 => select(words.to_vec()).prop_map(str::to_owned), 1 => ".{0,5}"], inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(entry, 0..5).prop_map(|entries| Value::Object(Map::from_iter(entries))),
        ]
    })
}

/// A prepared and accepted route with any JSON put in one place.
fn damaged_route() -> impl Strategy<Value = Value> {
    let places = vec![
        "/metadata",
        "/metadata/generation",
        "/metadata/namespace",
        "/spec",
        "/spec/parentRefs",
        "/spec/parentRefs/0",
        "/spec/rules",
        "/spec/rules/1",
        "/spec/rules/1/filters",
        "/spec/rules/1/filters/0",
        "/spec/rules/1/backendRefs",
        "/spec/rules/1/backendRefs/0",
        "/spec/rules/1/backendRefs/0/port",
        "/spec/rules/1/backendRefs/0/weight",
        "/spec/rules/2/backendRefs/2/weight",
        "/status",
        "/status/parents",
        "/status/parents/0",
        "/status/parents/0/parentRef",
        "/status/parents/0/conditions",
        "/status/parents/0/conditions/0",
        "/status/parents/0/conditions/0/observedGeneration",
    ];
    (select(places), any_json()).prop_map(|(place, value)| {
        let mut route = recorded(HTTP);
        *route.pointer_mut(place).unwrap() = value;
        route
    })
}

proptest! {
    #[test]
    fn steering_changes_our_weights_only_and_reads_back(route in prepared_route(), weight in 0_u8..=100) {
        let steered = steer(&route, weight).unwrap();
        prop_assert_eq!(steered.as_ref() == Some(&route), false, "a write that changes nothing");
        let steered = steered.unwrap_or_else(|| route.clone());
        prop_assert_eq!(masked(&steered), masked(&route));
        prop_assert_eq!(weights(&steered), Weights::At(percent(weight)));
        prop_assert_eq!(steer(&steered, weight), Ok(None));
    }

    #[test]
    fn other_backends_keep_their_part_of_the_rule(route in prepared_route(), weight in 0_u8..=100) {
        let steered = steer(&route, weight).unwrap().unwrap_or_else(|| route.clone());
        for (before, after) in SHAPE.managed(&route, &pair()).unwrap().iter().zip(SHAPE.managed(&steered, &pair()).unwrap()) {
            let sum = |rule: &crate::traffic::weighted::Managed| rule.stable.weight + rule.canary.weight;
            prop_assert_eq!(sum(&after), if after.alone { 100 } else { sum(before) });
        }
    }

    #[test]
    fn no_json_panics(value in prop_oneof![any_json(), damaged_route()], weight in 0_u8..=100) {
        let _ = ROUTER.read(&value, &pair());
        if let Ok(Some(steered)) = steer(&value, weight) {
            prop_assert_eq!(steer(&steered, weight), Ok(None));
        }
    }
}
