//! Whether the gateways of routes that are ours to write can do what the steps ask of them.
//!
//! A gateway may accept a route with a filter that it does not know, and answer its requests with errors from then on; or
//! without a condition that it does not know, and send everybody's requests where those of a few should go. What it can do its
//! class lists, or the route's template where the class keeps silent, and what is listed nowhere is not asked for.
//!
//! A mesh, which answers for routes whose parent is a Service, has no class, and nothing in the cluster lists what it can do.
//! Of it it is assumed that it refuses what it cannot do in the route's status, which the weight waits for where it tells.
use super::{Cluster, kinds};
use crate::{
    api::{Rollout, Step},
    traffic::{Feature, Ownership, RouteRef},
};
use kube::api::ApiResource;
use serde_json::Value;
use std::sync::Arc;

impl Cluster {
    /// Why the steps cannot be carried out by a gateway of the spec's routes, if there is a reason.
    ///
    /// # Errors
    /// When the API server does not tell what a gateway can do: nobody is told what may be different in a moment, and no release
    /// begins meanwhile.
    pub(super) async fn unable(&self, rollout: &Rollout, namespace: &str) -> Result<Option<String>, kube::Error> {
        let is_of_gateways = |route: &&RouteRef| route.api_version.starts_with(GROUP);
        let ours = rollout.spec.routes().iter().filter(|route| route.ownership == Ownership::Operator);
        let ours = ours.filter(is_of_gateways);
        for (route, template) in ours.filter_map(|route| Some((route, route.template.as_ref()?))) {
            let steps = rollout.spec.steps.iter();
            let mut asked: Vec<_> =
                steps.flat_map(|step| needed(&route.kind, step).into_iter().map(|need| (need, &*step.name))).collect();
            asked.retain(|(need, _)| !template.features.contains(&need.feature));
            // Of steps that need the same the first is named.
            asked.sort_by_key(|(need, _)| *need);
            asked.dedup_by_key(|(need, _)| *need);
            let parents = template.spec.get("parentRefs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if let (true, Some((Need { field, feature, harm }, step))) = (parents.is_empty(), asked.first()) {
                let feature = feature.name();
                return Ok(Some(format!(
                    "spec.steps: step {step} says {field}, and nothing tells whether what serves {route}, which has no parentRefs, has \
                     {feature}: it could {harm}; take {field} out of the steps, name the Gateway in parentRefs, or, where you know \
                     that it has it, list it in template.features of the route"
                )));
            }
            for parent in parents {
                let text = |field: &str, unset| parent[field].as_str().unwrap_or(unset);
                let (kind, place, name) = (text("kind", "Gateway"), text("namespace", namespace), text("name", ""));
                let is_gateway = match (text("group", GROUP), kind) {
                    (GROUP, "Gateway") => true,
                    ("" | "core", "Service") => continue,
                    _ => false,
                };
                // Of a gateway whom nothing is asked for nothing is read.
                let asks = is_gateway && !asked.is_empty();
                let listed = if asks { self.listed(place, name).await? } else { Value::Null };
                for (Need { field, feature, harm }, step) in &asked {
                    let feature = feature.name();
                    if !is_gateway {
                        return Ok(Some(format!(
                            "spec.steps: step {step} says {field}, and nothing tells whether what serves {kind} {place}/{name} \
                             has {feature}: it could {harm}; take {field} out of the steps, name the Gateway itself, or, where \
                             you know that it has it, list it in template.features of the route"
                        )));
                    }
                    if !lists(&listed, feature) {
                        return Ok(Some(format!(
                            "spec.steps: step {step} says {field}, and the class of Gateway {place}/{name} does not list \
                             {feature} in status.supportedFeatures: it could {harm}; take {field} out of \
                             the steps, use a gateway that lists it, or, where you know that this one has it, list it in \
                             template.features of the route"
                        )));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The features that a gateway's class lists. What is not there, or may not be read, lists nothing.
    ///
    /// # Errors
    /// When the API server does not answer.
    async fn listed(&self, namespace: &str, name: &str) -> Result<Value, kube::Error> {
        let Some(gateway) = self.allowed(&kinds::gateways(), namespace, name).await? else { return Ok(Value::Null) };
        let class = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
        let class = self.allowed(&kinds::gateway_classes(), "", class).await?;
        Ok(class.map_or(Value::Null, |class| class["status"]["supportedFeatures"].clone()))
    }

    async fn allowed(
        &self,
        kind: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, kube::Error> {
        match self.ask_for(kind, namespace, name).await {
            // For good: a name that is none, or a right that is missing.
            Err(kube::Error::BuildRequest(_)) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            other => other,
        }
    }
}

/// Whether a feature is among those that are listed. Before Gateway API 1.2 one was a text of its own.
fn lists(listed: &Value, feature: &str) -> bool {
    listed.as_array().into_iter().flatten().any(|known| known == feature || known["name"] == feature)
}

const GROUP: &str = "gateway.networking.k8s.io";

/// Something that a step needs of a route's gateway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    /// What of the step.
    field: &'static str,
    /// What of the gateway.
    feature: Feature,
    /// What a gateway may do that has not got it.
    harm: &'static str,
}

/// What a step needs of the gateways of a route of this kind.
///
/// Matches by header every gateway has. Copies of calls over gRPC have a feature of their own, and copies of a share of them
/// none: there the one for HTTP says whether the filter's percentage is heeded.
fn needed(kind: &str, step: &Step) -> Vec<Need> {
    let mirror = |feature| Need { field: "mirror", feature, harm: "answer users with errors" };
    let told_by = |field, feature| Need { field, feature, harm: "send the candidate requests that do not match" };
    let a_share = step.mirror.is_some_and(|mirror| mirror.percent < 100);
    let copies = match (kind, step.mirror.is_some()) {
        (_, false) => vec![],
        ("GRPCRoute", _) => vec![Feature::MirrorOfCalls],
        _ if a_share => vec![],
        _ => vec![Feature::Mirror],
    };
    let share = a_share.then_some(Feature::MirrorOfShare);
    let by_method = step.matches.iter().any(|wanted| wanted.method.is_some());
    let by_query = step.matches.iter().any(|wanted| !wanted.query.is_empty());
    let methods = by_method.then(|| told_by("match.method", Feature::Methods));
    let queries = by_query.then(|| told_by("match.query", Feature::Queries));
    copies.into_iter().chain(share).map(mirror).chain(methods).chain(queries).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{self, Calls},
        *,
    };
    use serde_json::json;

    /// A cluster with one gateway, whose class lists these features.
    fn cluster(features: &[&str]) -> (Cluster, Calls) {
        let class = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "c"},
            "status": {"supportedFeatures": features.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()}});
        let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "web"},
            "spec": {"gatewayClassName": "c"}});
        tests::cluster(move |call, _| {
            (200, if call.contains("gatewayclasses") { class.clone() } else { gateway.clone() })
        })
    }

    /// A Rollout whose one route has this kind and this parent, with these steps, each named by its place.
    fn rollout(kind: &str, parent: &Value, steps: &Value) -> Rollout {
        let mut steps = steps.clone();
        for (at, step) in steps.as_array_mut().unwrap().iter_mut().enumerate() {
            step["name"] = json!(format!("step-{at}"));
            (step["weight"], step["observe"]) = (json!(0), json!("1m"));
        }
        serde_json::from_value(json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop", "namespace": "n"},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "traffic": {
                    "services": {"stable": "stable", "canary": "canary"},
                    "routes": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "name": "r",
                        "ownership": "Operator", "template": {"spec": {"parentRefs": [parent]}}}],
                },
                "steps": steps, "analysis": {"mode": "None"},
            },
        }))
        .unwrap()
    }

    async fn said(kind: &str, parent: &Value, steps: &Value, features: &[&str]) -> Option<String> {
        cluster(features).0.unable(&rollout(kind, parent, steps), "n").await.unwrap()
    }

    const MIRROR: &str = "HTTPRouteRequestMirror";
    const PERCENTAGE: &str = "HTTPRouteRequestPercentageMirror";
    const GRPC: &str = "GRPCRouteRequestMirror";

    #[tokio::test]
    async fn each_kind_of_copies_and_matches_needs_a_feature_of_its_own() {
        let copies = |percent: u8| json!({"mirror": {"percent": percent}});
        let matched = |wanted: Value| json!({"match": [{"headers": [{"name": "a", "value": "b"}]}, wanted]});
        let (get, query) = (json!({"method": "GET"}), json!({"query": [{"name": "a", "value": "b"}]}));
        for (kind, steps, features, missing) in [
            ("HTTPRoute", json!([copies(100)]), &[MIRROR][..], None),
            ("HTTPRoute", json!([copies(20)]), &[PERCENTAGE][..], None),
            ("HTTPRoute", json!([copies(20)]), &[MIRROR, GRPC][..], Some((PERCENTAGE, 0))),
            ("HTTPRoute", json!([copies(100), copies(20)]), &[MIRROR][..], Some((PERCENTAGE, 1))),
            ("HTTPRoute", json!([copies(20), copies(100)]), &[PERCENTAGE][..], Some((MIRROR, 1))),
            ("HTTPRoute", json!([]), &[][..], None),
            ("GRPCRoute", json!([copies(100)]), &[MIRROR, PERCENTAGE][..], Some((GRPC, 0))),
            ("GRPCRoute", json!([copies(100)]), &[GRPC][..], None),
            ("GRPCRoute", json!([copies(20)]), &[GRPC][..], Some((PERCENTAGE, 0))),
            ("GRPCRoute", json!([copies(20)]), &[GRPC, PERCENTAGE][..], None),
            ("HTTPRoute", json!([matched(json!({"path": {"value": "/a"}}))]), &[][..], None),
            ("HTTPRoute", json!([matched(get.clone())]), &["HTTPRouteMethodMatching"][..], None),
            ("HTTPRoute", json!([{}, matched(get)]), &[MIRROR][..], Some(("HTTPRouteMethodMatching", 1))),
            ("HTTPRoute", json!([matched(query)]), &[MIRROR][..], Some(("HTTPRouteQueryParamMatching", 0))),
        ] {
            let said = said(kind, &json!({"name": "web"}), &steps, features).await;
            match missing {
                None => assert_eq!(said, None, "{kind} {steps}"),
                Some((feature, step)) => {
                    let said = said.unwrap();
                    assert!(said.contains(&format!("step step-{step} says m")), "{said}");
                    assert!(said.contains(&format!("Gateway n/web does not list {feature} in")), "{said}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_mesh_is_asked_for_nothing_and_what_is_neither_is_refused() {
        let steps = json!([{"mirror": {"percent": 100}}]);
        for group in ["", "core"] {
            let mesh = json!({"group": group, "kind": "Service", "name": "web"});
            assert_eq!(said("HTTPRoute", &mesh, &steps, &[]).await, None, "{group}");
        }
        for (parent, words) in [
            (json!({"kind": "ListenerSet", "name": "web"}), "ListenerSet n/web has HTTPRouteRequestMirror"),
            (json!({"group": "example.com", "kind": "Gateway", "name": "web", "namespace": "o"}), "Gateway o/web has"),
            (json!({"kind": "Service", "name": "web"}), "Service n/web has"),
        ] {
            let said = said("HTTPRoute", &parent, &steps, &[MIRROR]).await.unwrap();
            let cure = "take mirror out of the steps, name the Gateway itself, or, where you know that it has it, list it in \
                        template.features of the route";
            assert!(said.contains(words) && said.ends_with(cure), "{said}");
        }
        let set = json!({"kind": "ListenerSet", "name": "web"});
        assert_eq!(said("HTTPRoute", &set, &json!([{}]), &[]).await, None, "nothing is asked of it");
        // Another route may delegate to it.
        for (steps, refused) in [(&steps, true), (&json!([{}]), false)] {
            let mut rollout = rollout("HTTPRoute", &set, steps);
            let template = rollout.spec.traffic.as_mut().unwrap().routes[0].template.as_mut().unwrap();
            template.spec.remove("parentRefs");
            let said = cluster(&[MIRROR]).0.unable(&rollout, "n").await.unwrap();
            assert_eq!(said.is_some(), refused);
            assert!(
                said.is_none_or(
                    |said| said.contains("HTTPRoute r, which has no parentRefs, has HTTPRouteRequestMirror")
                )
            );
            // What no Gateway serves needs none of its features.
            let route = &mut rollout.spec.traffic.as_mut().unwrap().routes[0];
            (route.api_version, route.kind) = ("traefik.io/v1alpha1".to_owned(), "TraefikService".to_owned());
            assert_eq!(cluster(&[]).0.unable(&rollout, "n").await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_the_class_keeps_silent_about_the_template_may_say() {
        let steps = json!([{"mirror": {"percent": 20}, "match": [{"method": "GET"}]}]);
        for (features, missing) in [
            (json!([]), Some("HTTPRouteMethodMatching")),
            (json!(["HTTPRouteMethodMatching"]), Some("HTTPRouteRequestPercentageMirror")),
            (json!(["HTTPRouteRequestPercentageMirror", "HTTPRouteMethodMatching"]), None),
        ] {
            for parent in [json!({"name": "web"}), json!({"kind": "ListenerSet", "name": "web"})] {
                let mut rollout = serde_json::to_value(rollout("HTTPRoute", &parent, &steps)).unwrap();
                rollout["spec"]["traffic"]["routes"][0]["template"]["features"] = features.clone();
                let said = cluster(&[]).0.unable(&serde_json::from_value(rollout).unwrap(), "n").await.unwrap();
                assert_eq!(said.is_some(), missing.is_some(), "{said:?}");
                assert!(missing.is_none_or(|missing| said.as_ref().unwrap().contains(missing)), "{said:?}");
                assert!(said.is_none_or(|said| said.ends_with("list it in template.features of the route")));
            }
        }
    }
}
