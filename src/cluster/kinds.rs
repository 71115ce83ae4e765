//! The kinds that are read and written as raw objects, so that no field is lost for being unknown.
use super::Cluster;
use crate::{
    api::{GROUP, ProviderKind, TemplateKind},
    traffic::{Resource, RouteRef},
};
use kube::api::ApiResource;
use std::time::Duration;

/// So long after it was not served, or nobody could say, a kind is asked for again.
const ASKED_AGAIN: Duration = Duration::from_mins(1);

impl Cluster {
    /// The first of a kind's versions that is served, as soon as one is.
    pub async fn served(&self, versions: &[ApiResource]) -> ApiResource {
        let mut waited = false;
        loop {
            for kind in versions {
                let served = self.client().list_api_group_resources(&kind.api_version).await;
                if served.is_ok_and(|list| list.resources.iter().any(|resource| resource.kind == kind.kind)) {
                    if waited {
                        tracing::info!(kind = kind.kind, version = kind.api_version, "served by now, so watched");
                    }
                    return kind.clone();
                }
            }
            if let Some(kind) = versions.first().filter(|_| !waited) {
                tracing::debug!(
                    kind = kind.kind,
                    "not served yet; routes of this kind are looked at by time until it is"
                );
            }
            waited = true;
            tokio::time::sleep(ASKED_AGAIN).await;
        }
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Rollouts.
pub fn rollouts() -> ApiResource {
    resource(GROUP, "v1alpha1", "Rollout", "rollouts")
}

/// Actions.
pub fn actions() -> ApiResource {
    resource(GROUP, "v1alpha1", "RolloutAction", "rolloutactions")
}

/// Deployments.
pub fn deployments() -> ApiResource {
    resource("apps", "v1", "Deployment", "deployments")
}

/// `ReplicaSets`.
pub fn replica_sets() -> ApiResource {
    resource("apps", "v1", "ReplicaSet", "replicasets")
}

/// Copies of templates.
pub fn controller_revisions() -> ApiResource {
    resource("apps", "v1", "ControllerRevision", "controllerrevisions")
}

/// Pods.
pub fn pods() -> ApiResource {
    resource("", "v1", "Pod", "pods")
}

/// Jobs.
pub fn jobs() -> ApiResource {
    resource("batch", "v1", "Job", "jobs")
}

/// Services.
pub fn services() -> ApiResource {
    resource("", "v1", "Service", "services")
}

/// `EndpointSlices`.
pub fn slices() -> ApiResource {
    resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
}

/// Gateways, which carry routes.
pub fn gateways() -> ApiResource {
    resource("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
}

/// What gateways of a class can do.
pub fn gateway_classes() -> ApiResource {
    resource("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses")
}

/// Quotas.
pub fn quotas() -> ApiResource {
    resource("", "v1", "ResourceQuota", "resourcequotas")
}

/// Budgets for disruptions.
pub fn budgets() -> ApiResource {
    resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
}

/// Namespaces.
pub fn namespaces() -> ApiResource {
    resource("", "v1", "Namespace", "namespaces")
}

/// Secrets.
pub fn secrets() -> ApiResource {
    resource("", "v1", "Secret", "secrets")
}

/// Events.
pub fn events() -> ApiResource {
    resource("events.k8s.io", "v1", "Event", "events")
}

/// Policies that validate.
pub fn validating_policies() -> ApiResource {
    resource("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
}

/// Receivers of alerts.
pub fn receivers() -> ApiResource {
    resource(GROUP, "v1alpha1", "AlertReceiver", "alertreceivers")
}

/// Providers of a namespace, or of the whole cluster.
pub fn providers(kind: ProviderKind) -> ApiResource {
    match kind {
        ProviderKind::MetricProvider => resource(GROUP, "v1alpha1", "MetricProvider", "metricproviders"),
        ProviderKind::ClusterMetricProvider => {
            resource(GROUP, "v1alpha1", "ClusterMetricProvider", "clustermetricproviders")
        }
    }
}

/// Templates of metrics of a namespace, or of the whole cluster.
pub fn templates(kind: TemplateKind) -> ApiResource {
    match kind {
        TemplateKind::AnalysisTemplate => resource(GROUP, "v1alpha1", "AnalysisTemplate", "analysistemplates"),
        TemplateKind::ClusterAnalysisTemplate => {
            resource(GROUP, "v1alpha1", "ClusterAnalysisTemplate", "clusteranalysistemplates")
        }
    }
}

/// A kind of route.
pub fn resource_named(known: &Resource) -> ApiResource {
    resource(known.group, known.version, known.kind, known.plural)
}

/// The kind of a route, where some router steers it.
pub fn resource_of(route: &RouteRef) -> Option<ApiResource> {
    if let Some(custom) = &route.custom {
        let (group, version) = route.api_version.rsplit_once('/')?;
        return Some(resource(group, version, &route.kind, &custom.plural));
    }
    let steered = |known: &&Resource| known.kind == route.kind && known.api_version() == route.api_version;
    crate::traffic::resources().find(steered).map(resource_named)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::cluster, *};
    use serde_json::json;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_installed_later_is_found_in_the_version_that_is_served() {
        let versions = ["v1", "v1alpha3"].map(|version| resource("example.com", version, "TLSRoute", "tlsroutes"));
        let asked = Arc::new(AtomicUsize::new(0));
        let (cluster, calls) = cluster(move |call, _| {
            let served = json!({"kind": "APIResourceList", "groupVersion": "example.com/v1alpha3", "resources": [
                {"name": "tlsroutes", "singularName": "", "namespaced": true, "kind": "TLSRoute", "verbs": ["get"]}]});
            // First nobody can say, then nobody serves it, then there is another kind of its version alone.
            match (asked.fetch_add(1, Ordering::Relaxed) / 2, call.ends_with("v1alpha3")) {
                (0, _) => (500, json!({})),
                (2, true) => {
                    (200, json!({"kind": "APIResourceList", "groupVersion": "example.com/v1alpha3", "resources": []}))
                }
                (3, true) => (200, served),
                _ => (404, json!({})),
            }
        });
        let begun = tokio::time::Instant::now();
        let found = cluster.served(&versions).await;
        assert_eq!((found, begun.elapsed()), (versions[1].clone(), 3 * ASKED_AGAIN));
        assert_eq!(calls.lock().unwrap().len(), 8);
    }
}
