//! Whether every gateway and mesh that serves a route has taken it as it stands now.
use super::{super::Acceptance, GROUP, list};
use crate::duration::Duration;
use serde_json::Value;
use std::fmt;

/// Conditions that have to be True.
const NEEDED: [&str; 2] = ["Accepted", "ResolvedRefs"];
/// The condition by which some controllers say that their proxies have it. Where one is written it has to be True as well.
const PROGRAMMED: &str = "Programmed";
/// The condition that says, when True, that some rules are not served as they are written.
const PARTIAL: &str = "PartiallyInvalid";
/// How many characters of a controller's own words go into a reason.
const LONGEST: usize = 256;

/// Whether all parents of the route's spec have accepted its present generation.
///
/// A refusal goes before a missing answer. Answers of parents that the spec no longer names do not count, nor do those that
/// say nothing about the route itself: policies note there whom they affect. A route without parents, to which another route
/// delegates, is accepted by whoever answers for it.
pub(in crate::traffic) fn accepted(route: &Value) -> Acceptance {
    let (spec, status) = (list(&route["spec"]["parentRefs"]), list(&route["status"]["parents"]));
    let answers: Vec<_> = status.iter().filter(|answer| is_of_the_route(answer)).collect();
    if answers.is_empty() {
        let why = match spec {
            [] => "the route has no parentRefs, and nobody answers for it in its status",
            _ => "no gateway has answered yet",
        };
        return Acceptance::Unknown(why.to_owned());
    }
    let parents: Vec<_> = match spec {
        [] => answers.iter().map(|answer| Parent::of(&answer["parentRef"], route)).collect(),
        _ => spec.iter().map(|reference| Parent::of(reference, route)).collect(),
    };
    let mut accepted = Acceptance::Yes;
    for parent in parents {
        let mut answered = false;
        for answer in answers.iter().filter(|answer| Parent::of(&answer["parentRef"], route) == parent) {
            answered = true;
            accepted = worse(accepted, one(answer, &parent, &route["metadata"]["generation"]));
        }
        if !answered {
            accepted = worse(accepted, Acceptance::Unknown(format!("{parent} has not answered yet")));
        }
    }
    accepted
}

/// Whether an answer says anything about the route as its gateway sees it.
fn is_of_the_route(answer: &Value) -> bool {
    let tells = |condition: &Value| {
        let kind = condition["type"].as_str().unwrap_or_default();
        NEEDED.contains(&kind) || [PROGRAMMED, PARTIAL].contains(&kind)
    };
    list(&answer["conditions"]).iter().any(tells)
}

/// Controllers that say that a route is taken before those who serve it do what it says, or know new endpoints, and how long
/// that may take. GKE's load balancers were seen to take 8 s for a weight and 36 s for endpoints
/// (argoproj/argo-rollouts 4710), those of AWS check a target before they use it, and Istio gathers changes for up to 10 s.
const SLOW: [(&str, Duration); 4] = [
    ("networking.gke.io/", Duration::seconds(60)),
    ("gateway.k8s.aws/", Duration::seconds(60)),
    ("application-networking.k8s.aws/", Duration::seconds(60)),
    ("istio.io/", Duration::seconds(10)),
];

/// How long those who answer for a route take to do what it says, where they are known to be slow.
pub fn pace(route: &Value) -> Duration {
    let names = list(&route["status"]["parents"]).iter().filter_map(|answer| answer["controllerName"].as_str());
    let known = names.filter_map(|name| SLOW.iter().find(|(prefix, _)| name.starts_with(prefix)));
    known.map(|(_, pace)| *pace).max().unwrap_or(Duration::ZERO)
}

/// What one controller says for one parent.
fn one(answer: &Value, parent: &Parent, generation: &Value) -> Acceptance {
    let find = |kind: &str| list(&answer["conditions"]).iter().find(|condition| condition["type"] == kind);
    let mut accepted = Acceptance::Yes;
    let programmed = find(PROGRAMMED).map(|_| PROGRAMMED);
    let by = answer["controllerName"].as_str().unwrap_or("its controller");
    for kind in NEEDED.into_iter().chain(programmed) {
        let said = match find(kind) {
            Some(condition) => match condition["status"].as_str() {
                Some("True") => current(answer, condition, parent, generation, Acceptance::Yes),
                // What is not there yet is no refusal.
                Some("False") if kind != PROGRAMMED => {
                    current(answer, condition, parent, generation, Acceptance::No(words(condition, parent)))
                }
                _ => Acceptance::Unknown(words(condition, parent)),
            },
            None => Acceptance::Unknown(format!("{by} has not said {kind} for {parent} yet")),
        };
        accepted = worse(accepted, said);
    }
    match find(PARTIAL).filter(|condition| condition["status"] == "True") {
        Some(condition) => {
            let refusal = Acceptance::No(words(condition, parent));
            worse(accepted, current(answer, condition, parent, generation, refusal))
        }
        None => accepted,
    }
}

/// What a condition of the answer says, if it says it about the present generation.
///
/// A condition without `observedGeneration`, or with 0 as some controllers leave it, may be older than the route: it
/// can refuse, but not accept. Of a controller that writes it nowhere, as Linkerd's and APISIX', no better one is waited for:
/// its consent tells nothing of the last change.
fn current(answer: &Value, condition: &Value, parent: &Parent, generation: &Value, said: Acceptance) -> Acceptance {
    let observed = &condition["observedGeneration"];
    if observed == generation && !generation.is_null() {
        return said;
    }
    let words = words(condition, parent);
    match (observed.as_i64(), said) {
        (None | Some(0), Acceptance::No(why)) => Acceptance::No(why),
        (None | Some(0), _) if list(&answer["conditions"]).iter().all(says_no_generation) => Acceptance::Untold,
        (None | Some(0), _) => {
            Acceptance::Unknown(format!("{words}, without observedGeneration, so perhaps of an older route"))
        }
        (Some(observed), _) => {
            Acceptance::Unknown(format!("{words}, of generation {observed} and the route is at {generation}"))
        }
    }
}

fn says_no_generation(condition: &Value) -> bool {
    condition["observedGeneration"].as_i64().is_none_or(|observed| observed == 0)
}

/// The condition as a reason: who, what and why.
fn words(condition: &Value, parent: &Parent) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    let mut words = format!("{parent}: {} is {}", text("type"), text("status"));
    for part in ["reason", "message"].map(text).into_iter().filter(|part| !part.is_empty()) {
        words.push_str(": ");
        words.extend(part.chars().take(LONGEST));
    }
    words
}

/// The one of two that says less: a refusal before a missing answer before one that tells nothing before consent.
fn worse(first: Acceptance, second: Acceptance) -> Acceptance {
    let rank = |acceptance: &Acceptance| match acceptance {
        Acceptance::Yes => 0,
        Acceptance::Untold => 1,
        Acceptance::Unknown(_) => 2,
        Acceptance::No(_) => 3,
    };
    if rank(&second) > rank(&first) { second } else { first }
}

/// A parent of a route, with the defaults of the API filled in so that spec and status compare.
#[derive(PartialEq)]
struct Parent<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    section: &'a str,
    port: i64,
}

impl<'a> Parent<'a> {
    fn of(reference: &'a Value, route: &'a Value) -> Self {
        let text = |field: &str, default| reference[field].as_str().unwrap_or(default);
        // Linkerd spells the group of a Service `core`, in its answer too where the route leaves it empty.
        let group = Some(text("group", GROUP)).filter(|group| *group != "core").unwrap_or_default();
        Self {
            group,
            kind: text("kind", "Gateway"),
            namespace: text("namespace", route["metadata"]["namespace"].as_str().unwrap_or_default()),
            name: text("name", ""),
            section: text("sectionName", ""),
            port: reference["port"].as_i64().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Parent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group: _, kind, namespace, name, section, port } = self;
        write!(f, "{kind} {namespace}/{name}")?;
        if !section.is_empty() {
            write!(f, " section {section}")?;
        }
        if *port != 0 {
            write!(f, " port {port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recorded(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    fn accepted_route() -> Value {
        recorded(include_str!("recorded/http.yaml"))
    }

    fn no(accepted: Acceptance) -> String {
        let Acceptance::No(why) = accepted else { panic!("{accepted:?}") };
        why
    }

    fn unknown(accepted: Acceptance) -> String {
        let Acceptance::Unknown(why) = accepted else { panic!("{accepted:?}") };
        why
    }

    #[test]
    fn a_route_is_accepted_when_all_its_parents_say_so() {
        assert_eq!(accepted(&accepted_route()), Acceptance::Yes);
        assert_eq!(accepted(&recorded(include_str!("recorded/grpc.yaml"))), Acceptance::Yes);
    }

    #[test]
    fn a_refusal_is_told_in_the_controllers_words() {
        assert_eq!(
            no(accepted(&recorded(include_str!("recorded/missing-backend.yaml")))),
            "Gateway shop/web: ResolvedRefs is False: BackendNotFound: \
             Cannot load HTTPBackendRef shop/gone: getting service: service \"gone\" not found"
        );
        assert_eq!(
            no(accepted(&recorded(include_str!("recorded/wrong-listener.yaml")))),
            "Gateway shop/web section nope: Accepted is False: NoMatchingParent"
        );
    }

    #[test]
    fn an_answer_to_an_older_generation_is_no_answer() {
        let mut route = accepted_route();
        route["metadata"]["generation"] = json!(2);
        assert_eq!(
            unknown(accepted(&route)),
            "Gateway shop/web section http: Accepted is True: Accepted, of generation 1 and the route is at 2"
        );
        let stale_refusal = unknown(accepted(&recorded(include_str!("recorded/stale.yaml"))));
        assert!(stale_refusal.contains("of generation 1 and the route is at 2"), "{stale_refusal}");
    }

    #[test]
    fn an_answer_without_a_generation_can_refuse_but_not_accept() {
        for absent in [json!(null), json!(0)] {
            let mut route = accepted_route();
            route["status"]["parents"][1]["conditions"][1]["observedGeneration"] = absent;
            let why = unknown(accepted(&route));
            assert!(why.contains("Gateway shop/internal: ResolvedRefs") && why.contains("observedGeneration"), "{why}");
            route["status"]["parents"][1]["conditions"][1]["status"] = json!("False");
            no(accepted(&route));
        }
        let mut route = accepted_route();
        route["metadata"]["generation"] = json!(null);
        route["status"]["parents"][0]["conditions"][0]["observedGeneration"] = json!(null);
        assert!(unknown(accepted(&route)).starts_with("Gateway shop/web section http: Accepted is True"));
    }

    #[test]
    fn load_balancers_of_clouds_and_istio_are_slower_than_they_say() {
        let mut route = accepted_route();
        assert_eq!(pace(&route), Duration::ZERO);
        for (name, seconds) in [("istio.io/gateway-controller", 10), ("networking.gke.io/gateway", 60)] {
            route["status"]["parents"][0]["controllerName"] = json!(name);
            assert_eq!(pace(&route), Duration::seconds(seconds));
        }
        route["status"]["parents"][1]["controllerName"] = json!("istio.io/gateway-controller");
        assert_eq!(pace(&route), Duration::seconds(60), "the slowest counts");
    }

    #[test]
    fn who_names_no_generation_ever_tells_nothing_by_consent_and_may_refuse() {
        let mut route = recorded(include_str!("recorded/linkerd.yaml"));
        assert_eq!(accepted(&route), Acceptance::Untold);
        route["spec"]["parentRefs"][0]["group"] = json!("");
        assert_eq!(accepted(&route), Acceptance::Untold, "the same Service in the other spelling");
        route["status"]["parents"][0]["conditions"][1]["status"] = json!("False");
        assert!(no(accepted(&route)).starts_with("Service shop/checkout port 8080: ResolvedRefs is False"));
        route["status"]["parents"][0]["conditions"][1]["status"] = json!("True");
        for condition in route["status"]["parents"][0]["conditions"].as_array_mut().unwrap() {
            condition["observedGeneration"] = json!(0);
        }
        assert_eq!(accepted(&route), Acceptance::Untold, "0 is none");
        route["status"]["parents"][0]["conditions"][0]["observedGeneration"] = json!(3);
        assert!(unknown(accepted(&route)).contains("without observedGeneration"));
    }

    #[test]
    fn a_gateway_beside_linkerd_still_has_to_say_so() {
        let mut route = accepted_route();
        let linkerd = recorded(include_str!("recorded/linkerd.yaml"));
        for path in ["/spec/parentRefs", "/status/parents"] {
            let more = list(linkerd.pointer(path).unwrap()).to_vec();
            route.pointer_mut(path).and_then(Value::as_array_mut).unwrap().extend(more);
        }
        assert_eq!(accepted(&route), Acceptance::Untold);
        route["metadata"]["generation"] = json!(2);
        assert!(unknown(accepted(&route)).contains("of generation 1 and the route is at 2"));
    }

    #[test]
    fn silence_is_neither_consent_nor_refusal() {
        let mut route = accepted_route();
        for status in [json!(null), json!({}), json!({"parents": []}), json!({"parents": [{"conditions": []}]})] {
            route["status"] = status;
            assert_eq!(unknown(accepted(&route)), "no gateway has answered yet");
        }
        route["spec"]["parentRefs"] = json!([]);
        assert!(unknown(accepted(&route)).contains("no parentRefs"));
    }

    #[test]
    fn a_route_without_parents_is_accepted_by_whoever_answers_for_it() {
        let mut route = accepted_route();
        route["spec"]["parentRefs"] = json!(null);
        assert_eq!(accepted(&route), Acceptance::Yes);
        route["metadata"]["generation"] = json!(2);
        assert!(unknown(accepted(&route)).contains("of generation 1 and the route is at 2"));
    }

    #[test]
    fn policies_that_note_in_a_routes_status_whom_they_affect_are_no_gateways() {
        let mut route = accepted_route();
        let mut policy = route["status"]["parents"][0].clone();
        policy["controllerName"] = json!("kuadrant.io/policy-controller");
        policy["conditions"] =
            json!([{"type": "kuadrant.io/AuthPolicyAffected", "status": "True", "reason": "Accepted"}]);
        route["status"]["parents"].as_array_mut().unwrap().push(policy.clone());
        assert_eq!(accepted(&route), Acceptance::Yes);
        route["status"]["parents"] = json!([policy]);
        assert_eq!(unknown(accepted(&route)), "no gateway has answered yet");
    }

    #[test]
    fn every_parent_of_the_spec_has_to_answer() {
        let mut route = accepted_route();
        route["status"]["parents"].as_array_mut().unwrap().pop();
        assert_eq!(unknown(accepted(&route)), "Gateway shop/internal has not answered yet");
    }

    #[test]
    fn a_controller_that_wrote_no_condition_has_not_answered() {
        let mut route = accepted_route();
        let mut silent = route["status"]["parents"][0].clone();
        silent["controllerName"] = json!("example.com/another");
        silent["conditions"] = json!([]);
        route["status"]["parents"].as_array_mut().unwrap().push(silent);
        assert_eq!(accepted(&route), Acceptance::Yes);
        route["status"]["parents"][0]["conditions"] = json!([]);
        assert_eq!(unknown(accepted(&route)), "Gateway shop/web section http has not answered yet");
    }

    #[test]
    fn a_parent_that_left_the_spec_is_not_asked() {
        let mut route = accepted_route();
        let mut gone = route["status"]["parents"][0].clone();
        gone["parentRef"]["sectionName"] = json!("https");
        gone["conditions"][0]["status"] = json!("False");
        route["status"]["parents"].as_array_mut().unwrap().push(gone);
        assert_eq!(accepted(&route), Acceptance::Yes);
    }

    #[test]
    fn a_second_controller_of_the_same_parent_may_refuse() {
        let mut route = accepted_route();
        let mut second = route["status"]["parents"][0].clone();
        second["conditions"][0]["status"] = json!("False");
        route["status"]["parents"].as_array_mut().unwrap().push(second);
        no(accepted(&route));
    }

    #[test]
    fn a_refusal_goes_before_a_missing_answer() {
        let mut route = accepted_route();
        route["status"]["parents"][0]["conditions"] = json!([]);
        route["status"]["parents"][1]["conditions"][0]["status"] = json!("False");
        no(accepted(&route));
    }

    #[test]
    fn defaults_of_the_api_do_not_tell_parents_apart() {
        let mut route = accepted_route();
        route["spec"]["parentRefs"] =
            json!([{"name": "web", "namespace": "shop", "sectionName": "http"}, {"name": "internal", "port": null}]);
        assert_eq!(accepted(&route), Acceptance::Yes);
        route["spec"]["parentRefs"][0]["kind"] = json!("Service");
        assert!(unknown(accepted(&route)).starts_with("Service shop/web"));
    }

    #[test]
    fn a_condition_that_is_unknown_or_missing_is_waited_for() {
        let mut route = accepted_route();
        route["status"]["parents"][0]["conditions"][0]["status"] = json!("Unknown");
        assert!(unknown(accepted(&route)).contains("Accepted is Unknown"));
        route["status"]["parents"][0]["conditions"].as_array_mut().unwrap().remove(0);
        assert_eq!(
            unknown(accepted(&route)),
            "traefik.io/gateway-controller has not said Accepted for Gateway shop/web section http yet"
        );
    }

    #[test]
    fn where_a_controller_says_that_it_is_programmed_that_is_waited_for_too() {
        let mut route = accepted_route();
        let programmed = json!({"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
            "observedGeneration": 1});
        route["status"]["parents"][0]["conditions"].as_array_mut().unwrap().push(programmed);
        assert_eq!(accepted(&route), Acceptance::Yes);
        for (status, generation, words) in [
            ("False", 1, "Programmed is False: Programmed"),
            ("Unknown", 1, "Programmed is Unknown: Programmed"),
            ("True", 0, "Programmed is True: Programmed, without observedGeneration"),
        ] {
            let condition = &mut route["status"]["parents"][0]["conditions"][2];
            condition["status"] = json!(status);
            condition["observedGeneration"] = json!(generation);
            assert!(unknown(accepted(&route)).contains(words), "{words}");
        }
    }

    #[test]
    fn a_route_served_in_part_is_not_accepted() {
        let mut route = accepted_route();
        let partial = json!({"type": "PartiallyInvalid", "status": "True", "reason": "UnsupportedValue",
            "message": "Dropped Rule 1", "observedGeneration": 1});
        route["status"]["parents"][0]["conditions"].as_array_mut().unwrap().push(partial);
        assert!(no(accepted(&route)).ends_with("PartiallyInvalid is True: UnsupportedValue: Dropped Rule 1"));
    }
}
