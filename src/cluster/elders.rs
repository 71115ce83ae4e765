//! Older Rollouts that name the same objects: of two that start at once the older one goes first.
//!
//! All Rollouts of a namespace are listed once for each that holds nothing yet, for nothing that is created later is older.
//! From then on only the few that were found are read.
use super::{Cluster, Error, Key, facts::name_of, kinds};
use crate::{
    api::{Rollout, RolloutStatus},
    plan::{Elder, identity},
};
use futures::future::try_join_all;
use kube::ResourceExt;
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

/// Names of older Rollouts that named the same objects, for each Rollout at this uid and generation.
#[derive(Default)]
pub(super) struct Elders(Mutex<HashMap<Key, (Version, Vec<String>)>>);

/// What a list was made for: another spec may name other objects.
type Version = (Option<String>, Option<i64>);

impl Elders {
    fn of(&self, key: &Key, version: &Version) -> Option<Vec<String>> {
        let known = self.0.lock().ok()?;
        known.get(key).filter(|(of, _)| of == version).map(|(_, names)| names.clone())
    }

    fn remember(&self, key: &Key, version: Version, names: Vec<String>) {
        if let Ok(mut known) = self.0.lock() {
            known.insert(key.clone(), (version, names));
        }
    }

    /// Forgets a Rollout that is gone, or holds its Deployment.
    pub fn forget(&self, key: &Key) {
        if let Ok(mut known) = self.0.lock() {
            known.remove(key);
        }
    }
}

impl Cluster {
    /// The older Rollouts that name what this one names too, the oldest first.
    pub(super) async fn elders(&self, key: &Key, rollout: &Rollout) -> Result<Vec<Elder>, Error> {
        if rollout.status.as_ref().is_some_and(RolloutStatus::is_held) {
            self.elders.forget(key);
            return Ok(Vec::new());
        }
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let version = (rollout.uid(), rollout.metadata.generation);
        let ours = objects_of(&serde_json::to_value(&rollout.spec).unwrap_or_default());
        let known = self.elders.of(key, &version);
        let kind = kinds::rollouts();
        let mut found = match &known {
            Some(names) => {
                let read = names.iter().map(|name| self.get(&kind, namespace, name));
                try_join_all(read).await?.into_iter().flatten().collect()
            }
            None => self.list(&kind, namespace, None).await?,
        };
        found.retain(|other| is_older(other, rollout) && objects_of(&other["spec"]).intersection(&ours).count() > 0);
        found.sort_by_cached_key(|other| age(other));
        if known.is_none() {
            self.elders.remember(key, version, found.iter().map(|other| name_of(other)).collect());
        }
        // One that is being deleted gives back what it holds, and takes nothing more.
        found.retain(|other| other["metadata"]["deletionTimestamp"].is_null());
        let elder = |other: &Value| Elder {
            name: name_of(other),
            objects: objects_of(&other["spec"]).intersection(&ours).cloned().collect(),
        };
        Ok(found.iter().map(|other| elder(other)).collect())
    }
}

/// Which is older: by the time of creation, which has seconds only, then by uid.
fn age(object: &Value) -> (Option<jiff::Timestamp>, Option<String>) {
    let metadata = &object["metadata"];
    let created = metadata["creationTimestamp"].as_str().and_then(|at| at.parse().ok());
    (created, metadata["uid"].as_str().map(str::to_owned))
}

fn is_older(other: &Value, rollout: &Rollout) -> bool {
    age(other) < (rollout.creation_timestamp().map(|at| at.0), rollout.uid())
}

/// What a spec names, each by its identity; of a spec that cannot be understood, what can be.
fn objects_of(spec: &Value) -> BTreeSet<String> {
    let routes = spec["traffic"]["routes"].as_array().into_iter().flatten();
    let objects = std::iter::once(&spec["workloadRef"]).chain(routes);
    let named = |object: &Value| {
        let text = |member: &str| object[member].as_str();
        Some(identity(text("apiVersion").unwrap_or_default(), text("kind")?, text("name")?))
    };
    objects.filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(name: &str, uid: &str, at: &str) -> serde_json::Value {
        json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": name, "namespace": "n", "uid": uid, "creationTimestamp": at},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "steps": [], "analysis": {"mode": "None"},
            },
        })
    }

    #[test]
    fn the_older_is_older_by_time_then_by_uid() {
        let early = "2026-01-01T00:00:00Z";
        let younger: Rollout = serde_json::from_value(made("b", "u-5", early)).unwrap();
        let older = |uid: &str, at: &str| is_older(&serde_json::from_value(made("a", uid, at)).unwrap(), &younger);
        assert!(older("u-9", "2025-12-31T23:59:59Z"));
        assert!(older("u-4", early));
        assert!(!older("u-5", early), "none is older than itself");
        assert!(!older("u-6", early));
        assert!(!older("u-1", "2026-01-01T00:00:01Z"));
    }

    #[test]
    fn a_spec_that_cannot_be_understood_still_names_its_objects() {
        let spec = json!({
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}, "steps": "none",
            "traffic": {"routes": [
                {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop"},
                {"apiVersion": "policy.linkerd.io/v1beta3", "kind": "HTTPRoute", "name": "shop"}, {"kind": 1},
            ]},
        });
        let named =
            ["Deployment.apps/shop", "HTTPRoute.gateway.networking.k8s.io/shop", "HTTPRoute.policy.linkerd.io/shop"];
        assert_eq!(objects_of(&spec).into_iter().collect::<Vec<_>>(), named);
        assert!(objects_of(&json!("nothing")).is_empty());
    }
}
