//! A Rollout that cannot be read as a whole: an older operator or plugin meets words of a newer operator, or a definition was
//! changed by hand.
//!
//! What can be read is kept, so that a revision on trial can still be taken out and a deletion come to its end.
use super::Rollout;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

/// The Rollout, and what is wrong with it. What cannot be read of its status and its spec is missing in it, so that a release
/// is judged and its people are told as far as can be; of steps all are missing, if one cannot be read.
///
/// # Errors
/// When not even the metadata can be read, which the API server would not have stored.
pub(crate) fn read(object: &Value) -> Result<(Rollout, Option<String>), serde_json::Error> {
    let error = match Rollout::deserialize(object) {
        Ok(rollout) => return Ok((rollout, None)),
        Err(error) => error.to_string(),
    };
    let without = |spec: &Value, status: &Value| {
        let object = json!({
            "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": object["metadata"],
            "spec": spec, "status": status,
        });
        serde_json::from_value::<Rollout>(object)
    };
    let least = json!({
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": object["spec"]["workloadRef"]["name"].as_str().unwrap_or("-")},
        "onDelete": if object["spec"]["onDelete"] == "Continue" { "Continue" } else { "Hold" },
        "steps": [], "analysis": {"mode": "None"},
    });
    let fields = object["status"].as_object().into_iter().flatten();
    let status: Map<String, Value> = fields
        .filter(|(key, value)| without(&least, &json!({key.as_str(): value})).is_ok())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let status = Value::Object(status);
    let reads = |spec: &Value| without(spec, &Value::Null).is_ok();
    let spec = if reads(&object["spec"]) { object["spec"].clone() } else { kept(&object["spec"], least, &reads) };
    Ok((without(&spec, &status)?, Some(error.chars().take(500).collect())))
}

/// These members, and of the others what can be read beside them.
fn kept(all: &Value, mut kept: Value, reads: &dyn Fn(&Value) -> bool) -> Value {
    for (name, value) in all.as_object().into_iter().flatten() {
        let with = |value: Value| {
            let mut with = kept.clone();
            with[name] = value;
            reads(&with).then_some(with)
        };
        let parts = || match value {
            Value::Array(entries) if name != "steps" => {
                let entries = entries.iter().filter(|entry| with(json!([entry])).is_some());
                with(entries.cloned().collect())
            }
            Value::Object(_) => with(self::kept(value, json!({}), &|inner| with(inner.clone()).is_some())),
            _ => None,
        };
        if let Some(with) = with(value.clone()).or_else(parts) {
            kept = with;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "shop", "namespace": "n", "uid": "u", "finalizers": ["bellwether.dev/hand-back"]},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "steps": [{"name": "a", "weight": 5, "observe": "1m"}], "analysis": {"mode": "None"}, "onDelete": "Continue",
            },
            "status": {"phase": "Stable", "workload": {"uid": "d", "stableReplicaSet": "shop-1"}, "attempt": 2},
        })
    }

    #[test]
    fn what_can_be_read_as_a_whole_is() {
        let (rollout, wrong) = read(&object()).unwrap();
        assert_eq!((rollout.spec.steps.len(), wrong), (1, None));
    }

    #[test]
    fn a_word_of_a_newer_operator_costs_one_field_of_the_status() {
        let mut newer = object();
        newer["status"]["phase"] = json!("Levitating");
        let (rollout, wrong) = read(&newer).unwrap();
        let status = rollout.status.unwrap();
        assert!(wrong.unwrap().contains("Levitating"));
        assert_eq!((status.attempt, status.is_held(), rollout.spec.steps.len()), (2, true, 1));
    }

    #[test]
    fn a_spec_that_cannot_be_read_leaves_the_deployment_and_what_is_held() {
        let mut wrong = object();
        wrong["spec"]["steps"][0]["observe"] = json!("9999999h");
        let (rollout, why) = read(&wrong).unwrap();
        assert!(why.unwrap().contains("longer than 30 days"));
        assert_eq!(rollout.spec.workload_ref.name, "shop");
        assert_eq!(rollout.spec.on_delete, crate::api::OnDelete::Continue);
        assert!(rollout.status.unwrap().is_held());
        assert_eq!(rollout.metadata.finalizers.unwrap().len(), 1);
        assert!(rollout.spec.steps.is_empty(), "of steps all or none");
    }

    #[test]
    fn one_word_that_cannot_be_read_takes_neither_the_judge_nor_the_alerts_from_a_release() {
        let mut wrong = object();
        wrong["spec"]["rollbackWindow"] = json!({"duration": "2160h"});
        wrong["spec"]["alerts"] = json!([{"receiver": {"name": "r"}, "on": ["Aborted"]}]);
        wrong["spec"]["analysis"] = json!({
            "provider": {"kind": "ClusterMetricProvider", "name": "p"},
            "metrics": [
                {"name": "errors", "preset": "app/error-rate"},
                {"name": "odd", "preset": "app/latency", "interval": "9999999h"},
            ],
        });
        let (rollout, why) = read(&wrong).unwrap();
        assert!(why.is_some());
        assert!(rollout.spec.is_judged() && rollout.spec.steps.len() == 1 && rollout.spec.alerts.len() == 1);
        let names: Vec<_> = rollout.spec.analysis.metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["errors"]);
        assert!(rollout.spec.analysis.provider.is_some());
    }
}
