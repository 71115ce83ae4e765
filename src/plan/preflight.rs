//! What may stand in the way of a second revision's pods, said when a flight begins; nothing here stops one.
use super::{
    Deployment,
    observed::{Crowd, Map, strings},
    turn::Turn,
};
use crate::api::Reason;
use serde_json::Value;

impl Turn<'_> {
    /// Notes what in the Deployment or its namespace counts both revisions' pods together.
    pub fn preflight(&mut self, deployment: &Deployment) {
        let twice = deployment.replicas.saturating_mul(2);
        let most = self.most_pods(deployment).map_or(twice, |most| most.min(twice));
        let mut told = of_template(deployment, most);
        let more = most.saturating_sub(deployment.replicas);
        told.extend(self.seen.crowd.iter().filter_map(|crowd| of_namespace(crowd, deployment, more)));
        for message in told {
            self.note(Reason::Preflight, message, None);
        }
    }
}

/// What the template says of the places of its pods.
fn of_template(deployment: &Deployment, most: i32) -> Vec<String> {
    let spec = &deployment.template["spec"];
    let labels: Map = strings(&deployment.template["metadata"]["labels"]);
    let mut told = Vec::new();
    for constraint in list(&spec["topologySpreadConstraints"]) {
        let strict = constraint["whenUnsatisfiable"].as_str().unwrap_or("DoNotSchedule") == "DoNotSchedule";
        let apart = list(&constraint["matchLabelKeys"]).iter().any(|key| key == crate::api::HASH_LABEL);
        if strict && !apart && selects(&constraint["labelSelector"], &labels) {
            let key = constraint["topologyKey"].as_str().unwrap_or_default();
            told.push(format!(
                "topologySpreadConstraints over {key} counts the pods of both revisions together, so some may find no node or end \
                 up uneven; add matchLabelKeys: [pod-template-hash]"
            ));
        }
    }
    for term in list(&spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]) {
        if selects(&term["labelSelector"], &labels) {
            let key = term["topologyKey"].as_str().unwrap_or_default();
            told.push(format!(
                "podAntiAffinity keeps the pods of both revisions apart over {key}: up to {most} of them are needed at once"
            ));
        }
    }
    let ports = list(&spec["containers"]).iter().flat_map(|container| list(&container["ports"]));
    if let Some(port) = ports.filter_map(|port| port["hostPort"].as_u64()).find(|port| *port > 0) {
        told.push(format!(
            "hostPort {port} lets one pod of either revision on a node: up to {most} nodes are needed at once"
        ));
    }
    told
}

/// What a quota or a budget of the namespace says.
fn of_namespace(crowd: &Crowd, deployment: &Deployment, more: i32) -> Option<String> {
    match crowd {
        Crowd::Quota { name, resource, hard, used } => {
            let left = hard.saturating_sub(*used);
            (left < i64::from(more)).then(|| {
                format!("ResourceQuota {name} leaves room for {left} of {resource}, and the release needs up to {more} more")
            })
        }
        Crowd::Budget { name, selector, strict } => (*strict && selects(selector, &strings(&deployment.template["metadata"]["labels"])))
            .then(|| {
                format!("PodDisruptionBudget {name} lets no pod be evicted, of either revision: nodes cannot be drained in the meantime")
            }),
    }
}

/// Whether a label selector takes these labels; one that is absent takes none.
fn selects(selector: &Value, labels: &Map) -> bool {
    let Some(selector) = selector.as_object() else { return false };
    let equal = selector.get("matchLabels").map(strings).unwrap_or_default();
    let expressions = selector.get("matchExpressions").map(list).unwrap_or_default();
    equal.iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.iter().all(|expression| {
            let has = expression["key"].as_str().and_then(|key| labels.get(key));
            let listed = has.is_some_and(|value| list(&expression["values"]).iter().any(|one| one == value));
            match expression["operator"].as_str().unwrap_or_default() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => has.is_some(),
                "DoesNotExist" => has.is_none(),
                _ => false,
            }
        })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(spec: &Value) -> Deployment {
        let template = json!({"metadata": {"labels": {"app": "shop"}}, "spec": spec});
        Deployment { replicas: 4, template, ..Deployment::default() }
    }

    #[test]
    fn what_counts_both_revisions_together_is_told() {
        let spread = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "shop"}}});
        let told = of_template(&deployment(&json!({"topologySpreadConstraints": [spread]})), 8);
        assert!(told[0].contains("matchLabelKeys"), "{told:?}");
        let anti = json!({"topologyKey": "host", "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop"]}]}});
        let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [anti]}});
        assert!(of_template(&deployment(&json!({"affinity": affinity})), 8)[0].contains("up to 8"));
        let ports = json!([{"ports": [{"hostPort": 8080}]}]);
        assert!(of_template(&deployment(&json!({"containers": ports})), 8)[0].contains("hostPort 8080"));
    }

    #[test]
    fn what_tells_the_revisions_apart_or_means_others_is_no_matter() {
        for spread in [
            json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "shop"}}, "matchLabelKeys": ["pod-template-hash"]}),
            json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "other"}}}),
            json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "shop"}}, "whenUnsatisfiable": "ScheduleAnyway"}),
        ] {
            assert_eq!(
                of_template(&deployment(&json!({"topologySpreadConstraints": [spread]})), 8),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn a_quota_without_room_is_told_and_one_with_room_is_not() {
        let quota = |used| Crowd::Quota { name: "q".into(), resource: "pods".into(), hard: 10, used };
        let deployment = deployment(&json!({}));
        assert!(of_namespace(&quota(7), &deployment, 4).unwrap().contains("room for 3 of pods"));
        assert_eq!(of_namespace(&quota(6), &deployment, 4), None);
    }

    #[test]
    fn a_budget_that_lets_nothing_go_is_told() {
        let budget =
            |strict, app| Crowd::Budget { name: "b".into(), selector: json!({"matchLabels": {"app": app}}), strict };
        let deployment = deployment(&json!({}));
        assert!(of_namespace(&budget(true, "shop"), &deployment, 4).is_some());
        assert_eq!(of_namespace(&budget(false, "shop"), &deployment, 4), None);
        assert_eq!(of_namespace(&budget(true, "other"), &deployment, 4), None);
    }
}
