//! Whether the gateways of routes that are ours to write can do what the steps ask of them.
//!
//! A gateway may accept a route with a filter that it does not know, and answer its requests with errors from then on. What
//! it can do its class lists, and what is not listed there is not asked for.
use super::{Cluster, kinds};
use crate::{
    api::Rollout,
    traffic::{Mirror, Ownership},
};
use serde_json::Value;

/// The feature that copies of all requests need, as Gateway API names it.
const MIRROR: &str = "HTTPRouteRequestMirror";
/// The one that copies of a share of them need.
const PERCENTAGE: &str = "HTTPRouteRequestPercentageMirror";

impl Cluster {
    /// Why the steps cannot be carried out by a gateway of the spec's routes, if there is a reason.
    pub(super) async fn unable(&self, rollout: &Rollout, namespace: &str) -> Option<String> {
        let asks = |feature: &'static str| {
            let step = rollout.spec.steps.iter().find(|step| step.mirror.is_some_and(|it| needed(it) == feature))?;
            Some((feature, step.name.as_str()))
        };
        let asked: Vec<_> = [MIRROR, PERCENTAGE].into_iter().filter_map(asks).collect();
        let ours = rollout.spec.routes().iter().filter(|route| route.ownership == Ownership::Operator);
        for template in ours.filter_map(|route| route.template.as_ref()) {
            let parents = template.spec.get("parentRefs").and_then(Value::as_array).into_iter().flatten();
            for parent in parents.filter(|parent| parent["kind"].as_str().unwrap_or("Gateway") == "Gateway") {
                let (place, name) =
                    (parent["namespace"].as_str().unwrap_or(namespace), parent["name"].as_str().unwrap_or_default());
                for (feature, step) in &asked {
                    if !self.gateway_lists(place, name, feature).await {
                        return Some(format!(
                            "spec.steps: step {step} says mirror, and the class of Gateway {place}/{name} does not list \
                             {feature} in status.supportedFeatures: it could answer users with errors; take mirror out of \
                             the steps, or use a gateway that lists it"
                        ));
                    }
                }
            }
        }
        None
    }

    /// Whether a gateway's class lists this feature. What cannot be read lists nothing.
    async fn gateway_lists(&self, namespace: &str, name: &str, feature: &str) -> bool {
        let Ok(Some(gateway)) = self.get(&kinds::gateways(), namespace, name).await else { return false };
        let class = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
        let Ok(Some(class)) = self.get(&kinds::gateway_classes(), "", class).await else { return false };
        let features = class["status"]["supportedFeatures"].as_array().into_iter().flatten();
        // Before Gateway API 1.2 a feature was a text of its own.
        features.into_iter().any(|listed| listed == feature || listed["name"] == feature)
    }
}

/// The feature that these copies need.
fn needed(mirror: Mirror) -> &'static str {
    if mirror.percent < 100 { PERCENTAGE } else { MIRROR }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Calls, cluster_with},
        *,
    };
    use crate::outbound::{Outbound, Settings};
    use serde_json::json;

    /// A cluster with one gateway, whose class lists these features.
    fn cluster(features: &[&str]) -> (Cluster, Calls) {
        let class = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "c"},
            "status": {"supportedFeatures": features.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()}});
        let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "web"},
            "spec": {"gatewayClassName": "c"}});
        let outbound = Outbound::new(Settings::default()).unwrap();
        cluster_with(outbound, move |call, _| {
            (200, if call.contains("gatewayclasses") { class.clone() } else { gateway.clone() })
        })
    }

    fn rollout(percents: &[u8]) -> Rollout {
        let steps: Vec<_> = percents
            .iter()
            .map(|percent| json!({"name": format!("at-{percent}"), "weight": 0, "mirror": {"percent": percent}, "observe": "1m"}))
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop", "namespace": "n"},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "traffic": {
                    "services": {"stable": "stable", "canary": "canary"},
                    "routes": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "r",
                        "ownership": "Operator", "template": {"spec": {"parentRefs": [{"name": "web"}]}}}],
                },
                "steps": steps, "analysis": {"mode": "None"},
            },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn copies_of_a_share_need_a_feature_of_their_own() {
        for (percents, features, missing) in [
            (&[100][..], &[MIRROR][..], None),
            (&[20][..], &[PERCENTAGE][..], None),
            (&[20][..], &[MIRROR][..], Some((PERCENTAGE, "at-20"))),
            (&[100, 20][..], &[MIRROR][..], Some((PERCENTAGE, "at-20"))),
            (&[20, 100][..], &[PERCENTAGE][..], Some((MIRROR, "at-100"))),
            (&[][..], &[][..], None),
        ] {
            let (cluster, _) = cluster(features);
            let said = cluster.unable(&rollout(percents), "n").await;
            match missing {
                None => assert_eq!(said, None, "{percents:?}"),
                Some((feature, step)) => {
                    let said = said.unwrap();
                    assert!(said.contains(&format!("step {step} says mirror")), "{said}");
                    assert!(said.contains(&format!("Gateway n/web does not list {feature} in")), "{said}");
                }
            }
        }
    }
}
