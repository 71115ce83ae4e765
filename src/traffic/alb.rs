//! Ingresses as the AWS Load Balancer Controller reads them: the weights stand in JSON within annotations.
use super::{
    Capability, Unsteerable,
    gathered::{Entry, Gathered, Listed, Place, shape},
    ingress::{INGRESS, annotation, backends},
    weighted::{describe, list},
};
use crate::{duration::Duration, vocab::Pair};
use serde_json::{Map, Value, json};

/// Ingresses of an Application Load Balancer.
///
/// An annotation `alb.ingress.kubernetes.io/actions.NAME` says what becomes of the requests of every path whose backend is
/// `NAME` with the port `use-annotation`. Every such action that forwards to both Services is managed:
///
/// ```yaml
/// alb.ingress.kubernetes.io/actions.checkout: >
///   {"type": "forward", "forwardConfig": {"targetGroups": [
///   {"serviceName": "checkout-stable", "servicePort": 8080, "weight": 100},
///   {"serviceName": "checkout-canary", "servicePort": 8080, "weight": 0}]}}
/// ```
///
/// Both weights must stand there, 0 to 999; only these numbers are replaced in the text, which else keeps every sign. Target
/// groups that are named otherwise keep their weights. An action, or a path, that names the canary without stable is refused;
/// an action that no path refers to sends nothing anywhere and is left alone.
///
/// `targetGroupStickinessConfig` of an action keeps a client with the target group that answered it first.
///
/// Nothing in the cluster tells when the load balancer has taken a change: how its target groups are stands with AWS alone. A
/// `TargetGroupBinding`, which the controller writes for each target group, says in its status which generation the controller
/// has seen of it, and its spec has no weight: it changes with neither the weights nor the health of the targets, so it is not
/// read.
/// Pods are registered when the Services point at them, which is after they were made, so they have no readiness gate of the
/// controller's; and one that is registered gets requests when it has passed its health checks, two of them 15 s apart unless
/// the Ingress says otherwise. So 60 s are given, and whoever checks more slowly raises `routes[].settle`. Both Services should
/// be in the action before the first release, so that their target groups are there by then. With `target-type: instance`, its
/// default, the controller takes Services with node ports alone: ours have some where the Service that came before has.
pub(super) static ROUTER: Gathered = Gathered {
    name: "alb",
    resources: &[INGRESS],
    capabilities: &[
        Capability::Weight,
        Capability::Requests,
        Capability::Sessions,
        Capability::Ports,
        Capability::Nodes,
    ],
    settle: Duration::seconds(60),
    shape: shape("targetGroups", 999, lines),
    lists,
    one_number_each: false,
};

const ACTIONS: &str = "alb.ingress.kubernetes.io/actions.";
const FROM_ANNOTATION: &str = "use-annotation";

fn lists(route: &Value) -> Result<Vec<Listed>, Unsteerable> {
    let backends = backends(route);
    // What a path names by itself it sends everything to; what nobody refers to sends nothing anywhere.
    let (referring, plain): (Vec<_>, Vec<_>) =
        backends.into_iter().partition(|backend| backend.port_name() == Some(FROM_ANNOTATION));
    let used = |annotation: &&String| {
        annotation
            .strip_prefix(ACTIONS)
            .is_some_and(|name| referring.iter().any(|backend| backend.service() == Some(name)))
    };
    let mut found: Vec<_> = plain
        .into_iter()
        .map(|backend| Listed {
            backends: vec![Entry {
                service: backend.service().map(str::to_owned),
                port: backend.port().clone(),
                weight: json!(1),
                place: Place::Nowhere,
            }],
            name: backend.place,
        })
        .collect();
    let annotations = route["metadata"]["annotations"].as_object().into_iter().flat_map(Map::keys);
    for name in annotations.filter(used) {
        let text = annotation(route, name).as_str().unwrap_or_default();
        let action: Value = serde_json::from_str(text).map_err(|_| Unsteerable::Malformed {
            route: describe(route),
            field: format!("metadata.annotations[{name}]"),
            expected: "JSON",
        })?;
        found.push(forwarded(name, &action));
    }
    Ok(found)
}

/// The target groups of an action; none of one that forwards nothing.
fn forwarded(annotation: &str, action: &Value) -> Listed {
    let none = (String::new(), &Value::Null);
    let (config, written) = member(action, "forwardConfig").unwrap_or(none.clone());
    let (groups, written) = member(written, "targetGroups").unwrap_or(none);
    let backends = list(written).iter().enumerate().map(|(at, group)| {
        let of = |name| member(group, name).map_or((name.to_owned(), Value::Null), |(key, it)| (key, it.clone()));
        let (weight_key, weight) = of("weight");
        Entry {
            service: of("serviceName").1.as_str().map(str::to_owned),
            port: number(of("servicePort").1),
            weight,
            place: Place::Annotation(
                annotation.to_owned(),
                vec![config.clone(), groups.clone(), at.to_string(), weight_key],
            ),
        }
    });
    let name = format!("actions.{}", annotation.strip_prefix(ACTIONS).unwrap_or(annotation));
    Listed { name, backends: backends.collect() }
}

/// A member by its name, which the controller reads without regard to case.
fn member<'a>(value: &'a Value, name: &str) -> Option<(String, &'a Value)> {
    let members = value.as_object()?;
    let exact = members.get(name).map(|member| (name.to_owned(), member));
    exact.or_else(|| {
        let other = members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        other.map(|(key, member)| (key.clone(), member))
    })
}

/// A port, which may be a number in a text.
fn number(port: Value) -> Value {
    port.as_str().and_then(|text| text.parse::<u16>().ok()).map_or(port, |number| json!(number))
}

fn lines(pair: &Pair) -> String {
    let Pair { stable, canary, port, .. } = pair;
    let group =
        |service: &str, weight| format!(r#"{{"serviceName":"{service}","servicePort":{port},"weight":{weight}}}"#);
    format!(
        r#"metadata.annotations: {{{ACTIONS}NAME: '{{"type":"forward","forwardConfig":{{"targetGroups":[{},{}]}}}}'}}, and as its path's backend: {{service: {{name: NAME, port: {{name: {FROM_ANNOTATION}}}}}}}"#,
        group(stable, 100),
        group(canary, 0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        traffic::{Router, Weights},
        vocab::Weight,
    };

    fn pair() -> Pair {
        Pair { stable: "stable".into(), canary: "canary".into(), port: 80, also: Vec::new() }
    }

    fn ingress(action: &str, backend: &Value) -> Value {
        json!({"kind": "Ingress", "metadata": {"name": "i", "namespace": "shop", "annotations": {
            "alb.ingress.kubernetes.io/actions.app": action}},
            "spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": {"service": backend}}]}}]}})
    }

    fn used() -> Value {
        json!({"name": "app", "port": {"name": "use-annotation"}})
    }

    const ACTION: &str = "{ \"Type\":\"forward\",\n \"ForwardConfig\": {\"TargetGroups\": [ {\"ServiceName\":\"canary\",\"ServicePort\":\"80\",\"Weight\": 5 },\n\t\
        {\"ServiceName\":\"stable\",\"ServicePort\":\"http\",\"Weight\":95}] , \"TargetGroupStickinessConfig\":{\"Enabled\":true}}}";

    #[test]
    fn the_numbers_change_where_they_stand_and_no_other_sign() {
        let route = ingress(ACTION, &used());
        let steered = ROUTER.steer(&route, &pair(), Weight::new(20).unwrap()).unwrap().unwrap();
        let text = annotation(&steered, "alb.ingress.kubernetes.io/actions.app").as_str().unwrap();
        assert_eq!(text, ACTION.replace("5 }", "20 }").replace(":95", ":80"));
    }

    #[test]
    fn actions_are_weighed_for_each_port() {
        let mut route = ingress(ACTION, &used());
        let other = ACTION.replace("\"80\"", "\"90\"");
        route["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.other"] = json!(other);
        route["spec"]["defaultBackend"] = json!({"service": {"name": "other", "port": {"name": "use-annotation"}}});
        let both = Pair { also: vec![90], ..pair() };
        let steered = ROUTER.steer(&route, &both, Weight::new(20).unwrap()).unwrap().unwrap();
        for name in ["app", "other"] {
            let text = annotation(&steered, &format!("{ACTIONS}{name}")).as_str().unwrap();
            assert!(text.contains("20 }"), "{text}");
        }
    }

    #[test]
    fn an_action_that_no_path_refers_to_carries_nothing() {
        let refused = ROUTER.read(&ingress(ACTION, &json!({"name": "stable", "port": {"number": 80}})), &pair());
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("rule spec.rules[0].http.paths[0] names stable"), "{words}");
        assert!(words.contains("port: {name: use-annotation}"), "{words}");
        let refused =
            ROUTER.read(&ingress(ACTION, &json!({"name": "other", "port": {"name": "use-annotation"}})), &pair());
        assert_eq!(refused.unwrap_err().category(), "RouteNotPrepared", "a path refers to another action");
    }

    #[test]
    fn ways_to_the_canary_past_the_weights_are_refused() {
        let mut route = ingress(ACTION, &used());
        route["spec"]["defaultBackend"] = json!({"service": {"name": "canary", "port": {"number": 80}}});
        assert_eq!(ROUTER.read(&route, &pair()).unwrap_err().category(), "CanaryElsewhere");
        let mut route = ingress(ACTION, &used());
        let alone =
            r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"canary","servicePort":80}]}}"#;
        route["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.other"] = json!(alone);
        assert_eq!(
            ROUTER.read(&route, &pair()).unwrap().weight,
            Weights::At(Weight::new(5).unwrap()),
            "it is not used"
        );
        route["spec"]["defaultBackend"] = json!({"service": {"name": "other", "port": {"name": "use-annotation"}}});
        assert_eq!(ROUTER.read(&route, &pair()).unwrap_err().category(), "CanaryElsewhere");
    }

    #[test]
    fn texts_that_are_not_understood_are_refused_by_name() {
        for (action, words) in [
            ("{", "metadata.annotations[alb.ingress.kubernetes.io/actions.app] is not JSON"),
            (&ACTION.replace(",\"Weight\": 5", ""), "rule actions.app: targetGroups[0].weight is not a whole number"),
            (&ACTION.replace("95", "1000"), "rule actions.app: targetGroups[1].weight is not a whole number"),
            (&ACTION.replace("\"80\"", "81"), "rule actions.app names port 81 of Service canary"),
        ] {
            let said = ROUTER.read(&ingress(action, &used()), &pair()).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
        let others = r#"{"type":"fixed-response","fixedResponseConfig":{"statusCode":"503"}}"#;
        let mut route = ingress(ACTION, &used());
        route["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.other"] = json!(others);
        route["spec"]["defaultBackend"] = json!({"service": {"name": "other", "port": {"name": "use-annotation"}}});
        assert_eq!(ROUTER.read(&route, &pair()).unwrap().weight, Weights::At(Weight::new(5).unwrap()));
    }
}
