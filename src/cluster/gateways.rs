//! Whether the gateways of routes that are ours to write can do what the steps ask of them.
//!
//! A gateway may accept a route with a filter that it does not know, and answer its requests with errors from then on. What
//! it can do its class lists, and what is not listed there is not asked for.
use super::{Cluster, kinds};
use crate::{api::Rollout, traffic::Ownership};
use serde_json::Value;

/// The feature that copies of requests need, as Gateway API names it.
const MIRROR: &str = "HTTPRouteRequestMirror";

impl Cluster {
    /// Why the steps cannot be carried out by a gateway of the spec's routes, if there is a reason.
    pub(super) async fn unable(&self, rollout: &Rollout, namespace: &str) -> Option<String> {
        let mirrors = rollout.spec.steps.iter().find(|step| step.mirror.is_some())?;
        let ours = rollout.spec.routes().iter().filter(|route| route.ownership == Ownership::Operator);
        for template in ours.filter_map(|route| route.template.as_ref()) {
            let parents = template.spec.get("parentRefs").and_then(Value::as_array).into_iter().flatten();
            for parent in parents.filter(|parent| parent["kind"].as_str().unwrap_or("Gateway") == "Gateway") {
                let (place, name) =
                    (parent["namespace"].as_str().unwrap_or(namespace), parent["name"].as_str().unwrap_or_default());
                if !self.gateway_lists(place, name, MIRROR).await {
                    return Some(format!(
                        "spec.steps: step {} says mirror, and the class of Gateway {place}/{name} does not list {MIRROR} in \
                         status.supportedFeatures: it could answer users with errors; take mirror out of the steps, or use a \
                         gateway that lists it",
                        mirrors.name
                    ));
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
