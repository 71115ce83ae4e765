//! The Deployment controller, as kube-controller-manager has it: claims, three ways to scale, rolling updates, history.
//!
//! It finds "the new ReplicaSet" by template and not by name, gives a scaling event precedence over everything else, and
//! scales while it is paused.
use super::hand::Hand;
use crate::sim::json::{Read, seek};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The name that the API server knows it by.
pub const USER: &str = "system:serviceaccount:kube-system:deployment-controller";
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// It could not finish, and tries again later.
#[derive(Debug)]
pub struct Again;

type Set = Arc<Value>;

/// One look at one Deployment.
pub struct Sync<'a> {
    hand: &'a Hand,
    deployment: Arc<Value>,
    sets: Vec<Set>,
}

/// Brings one Deployment a write or more closer to what its spec says.
pub fn sync(hand: &Hand, namespace: &str, name: &str) -> Result<(), Again> {
    let Some(deployment) = hand.get("deployments", namespace, name) else { return Ok(()) };
    let sets = claim(hand, &deployment)?;
    let mut look = Sync { hand, deployment, sets };
    if look.deployment.is_ending() {
        return look.status(None);
    }
    if look.deployment.is("/spec/paused") || look.is_scaling_event() {
        let new = look.find_new(false)?;
        look.scale(new.as_ref())?;
        if look.deployment.is("/spec/paused") {
            look.clean_up(new.as_ref())?;
        }
        let new = look.refreshed(new);
        return look.status(new.as_ref());
    }
    if look.is_recreated() { look.recreate() } else { look.roll() }
}

/// The ReplicaSets that it controls; orphans that match are taken, those that match no longer are let go.
fn claim(hand: &Hand, deployment: &Value) -> Result<Vec<Set>, Again> {
    let selector = seek(deployment, "/spec/selector/matchLabels");
    let mut claimed = Vec::new();
    for set in hand.list("replicasets", deployment.namespace()) {
        let matches = set.matches(selector);
        match set.controller() {
            Some(uid) if uid == deployment.uid() && matches => claimed.push(set),
            Some(uid) if uid == deployment.uid() => {
                let owners: Vec<_> =
                    set.list("/metadata/ownerReferences").iter().filter(|owner| owner.text("/uid") != uid).collect();
                let change = json!({"metadata": {"uid": set.uid(), "ownerReferences": owners}});
                hand.merge("replicasets", &set, change).map_err(|_| Again)?;
            }
            None if matches && !set.is_ending() && !deployment.is_ending() => {
                let mut owners = set.list("/metadata/ownerReferences").to_vec();
                owners.push(owner(deployment));
                let change = json!({"metadata": {"uid": set.uid(), "ownerReferences": owners}});
                let taken = hand.merge("replicasets", &set, change).map_err(|_| Again)?;
                claimed.push(taken);
            }
            _ => {}
        }
    }
    claimed.sort_by(by_age);
    Ok(claimed)
}

fn owner(deployment: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name(), "uid": deployment.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

fn by_age(one: &Set, other: &Set) -> std::cmp::Ordering {
    let key = |set: &Set| (set.text("/metadata/creationTimestamp").to_owned(), set.name().to_owned());
    key(one).cmp(&key(other))
}

/// A template without the hash label.
pub fn plain(template: &Value) -> Value {
    let mut plain = template.clone();
    if let Some(labels) = plain.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    // What a newer API server fills in is no difference.
    if let Some(spec) = plain.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("brandNew");
    }
    plain
}

/// Whether two templates are the same but for the hash label, and for what a newer API server fills in.
pub fn alike(one: &Value, other: &Value) -> bool {
    let labels_alike = |one: &Value, other: &Value| same_but(one, other, HASH, |one, other| one == other);
    let metadata_alike = |one: &Value, other: &Value| {
        same_but(one, other, "labels", |one, other| one == other) && labels_alike(&one["labels"], &other["labels"])
    };
    metadata_alike(&one["metadata"], &other["metadata"])
        && same_but(&one["spec"], &other["spec"], "brandNew", |one, other| one == other)
}

/// Whether two objects have the same members, one of them apart.
fn same_but(one: &Value, other: &Value, but: &str, same: impl Fn(&Value, &Value) -> bool) -> bool {
    let members =
        |value: &Value| value.as_object().map_or(0, |members| members.keys().filter(|key| *key != but).count());
    let differs =
        |(key, value): (&String, &Value)| key != but && !other.get(key).is_some_and(|other| same(value, other));
    members(one) == members(other) && !one.as_object().into_iter().flatten().any(differs)
}

const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name for a template, as stable as the text it is made of.
fn hash_of(template: &Value, collisions: i64) -> String {
    let text = format!("{}{collisions}", plain(template));
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut rest = u64::from(hash) | 1 << 33;
    let mut name = String::new();
    for _ in 0..9 {
        name.push(char::from(LETTERS[usize::try_from(rest % LETTERS.len() as u64).unwrap_or(0)]));
        rest = rest / LETTERS.len() as u64 + 7;
    }
    name
}

fn spec_replicas(set: &Value) -> i64 {
    set.maybe("/spec/replicas").unwrap_or(1)
}

fn annotated(set: &Value, key: &str) -> Option<i64> {
    set.get("metadata")?.get("annotations")?.get(key)?.as_str()?.parse().ok()
}

/// A number, or a share of `of`.
pub fn share(value: Option<&Value>, of: i64, up: bool) -> i64 {
    match value {
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(25);
            if up { (of * percent + 99) / 100 } else { of * percent / 100 }
        }
        Some(value) => value.as_i64().unwrap_or(0),
        None if up => (of * 25 + 99) / 100,
        None => of * 25 / 100,
    }
}

impl Sync<'_> {
    fn replicas(&self) -> i64 {
        self.deployment.maybe("/spec/replicas").unwrap_or(1)
    }

    fn max_surge(&self) -> i64 {
        if self.is_recreated() {
            return 0;
        }
        share(seek(&self.deployment, "/spec/strategy/rollingUpdate/maxSurge"), self.replicas(), true)
    }

    fn is_recreated(&self) -> bool {
        self.deployment.text("/spec/strategy/type") == "Recreate"
    }

    fn max_unavailable(&self) -> i64 {
        let share =
            share(seek(&self.deployment, "/spec/strategy/rollingUpdate/maxUnavailable"), self.replicas(), false);
        if share == 0 && self.max_surge() == 0 { 1 } else { share }
    }

    fn is_new(&self, set: &Value) -> bool {
        alike(&set["spec"]["template"], &self.deployment["spec"]["template"])
    }

    fn old(&self, new: Option<&Set>) -> Vec<Set> {
        let new = new.map(|set| set.uid().to_owned());
        self.sets.iter().filter(|set| Some(set.uid()) != new.as_deref()).cloned().collect()
    }

    fn is_scaling_event(&self) -> bool {
        let active = self.sets.iter().filter(|set| spec_replicas(set) > 0);
        active.filter_map(|set| annotated(set, DESIRED)).any(|desired| desired != self.replicas())
    }

    /// What of the Deployment's annotations its newest ReplicaSet has too.
    fn annotations(&self) -> Map<String, Value> {
        let all = self.deployment.pointer("/metadata/annotations").and_then(Value::as_object).cloned();
        let mut all = all.unwrap_or_default();
        all.retain(|key, _| {
            !key.starts_with("deployment.kubernetes.io/") && key != "kubectl.kubernetes.io/last-applied-configuration"
        });
        all
    }

    /// The ReplicaSet of the template; made when there is none and `create` says so.
    fn find_new(&mut self, create: bool) -> Result<Option<Set>, Again> {
        let existing = self.sets.iter().find(|set| self.is_new(set)).cloned();
        let old = self.old(existing.as_ref());
        let newest = old.iter().filter_map(|set| annotated(set, REVISION)).max().unwrap_or(0);
        if let Some(set) = existing {
            let mut annotations = self.annotations();
            annotations.retain(|key, value| set["metadata"]["annotations"].get(key) != Some(value));
            if annotated(&set, REVISION).unwrap_or(0) <= newest {
                annotations.insert(REVISION.to_owned(), json!((newest + 1).to_string()));
            }
            let wait = self.deployment.number("/spec/minReadySeconds");
            if annotations.is_empty() && set.number("/spec/minReadySeconds") == wait {
                return Ok(Some(set));
            }
            let change = json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": wait}});
            let changed = self.hand.merge_at("replicasets", &set, change).map_err(|_| Again)?;
            return Ok(Some(self.put(changed)));
        }
        if !create {
            return Ok(None);
        }
        let collisions = self.deployment.number("/status/collisionCount");
        let template = &self.deployment["spec"]["template"];
        let hash = hash_of(template, collisions);
        let mut labels = template["metadata"]["labels"].clone();
        labels[HASH] = json!(hash);
        let mut template = template.clone();
        template["metadata"]["labels"] = labels.clone();
        let mut selector = self.deployment["spec"]["selector"].clone();
        selector["matchLabels"][HASH] = json!(hash);
        let all: i64 = self.sets.iter().map(|set| spec_replicas(set)).sum();
        let most = self.replicas() + self.max_surge();
        let replicas = (most - all).clamp(0, self.replicas());
        let name = format!("{}-{hash}", self.deployment.name());
        let mut annotations = self.annotations();
        for (key, number) in [(REVISION, newest + 1), (DESIRED, self.replicas()), (MAX, most)] {
            annotations.insert(key.to_owned(), json!(number.to_string()));
        }
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": self.deployment.namespace(), "labels": labels, "ownerReferences": [owner(&self.deployment)],
                "annotations": annotations,
            },
            "spec": {
                "replicas": replicas, "selector": selector, "template": template,
                "minReadySeconds": self.deployment.number("/spec/minReadySeconds"),
            },
        });
        match self.hand.create("replicasets", self.deployment.namespace(), set) {
            Ok(made) => Ok(Some(self.put(made))),
            Err(status) if status.reason == "AlreadyExists" => {
                let taken = self.hand.get("replicasets", self.deployment.namespace(), &name).ok_or(Again)?;
                if taken.controller() != Some(self.deployment.uid()) || !self.is_new(&taken) {
                    let change = json!({"status": {"collisionCount": collisions + 1}});
                    let _ = self.hand.merge_status("deployments", &self.deployment, change);
                }
                Err(Again)
            }
            Err(_) => {
                // It says so in its status, and tries again.
                self.status(None)?;
                Err(Again)
            }
        }
    }

    /// Remembers a ReplicaSet as it was answered.
    fn put(&mut self, set: Set) -> Set {
        match self.sets.iter_mut().find(|known| known.uid() == set.uid()) {
            Some(known) => *known = set.clone(),
            None => self.sets.push(set.clone()),
        }
        set
    }

    fn refreshed(&self, new: Option<Set>) -> Option<Set> {
        let uid = new.map(|set| set.uid().to_owned());
        self.sets.iter().find(|set| Some(set.uid()) == uid.as_deref()).cloned()
    }

    fn scale_to(&mut self, set: &Set, replicas: i64) -> Result<Set, Again> {
        let desired = self.replicas();
        let most = desired + self.max_surge();
        if spec_replicas(set) == replicas
            && annotated(set, DESIRED) == Some(desired)
            && annotated(set, MAX) == Some(most)
        {
            return Ok(set.clone());
        }
        let change = json!({
            "metadata": {"annotations": {DESIRED: desired.to_string(), MAX: most.to_string()}},
            "spec": {"replicas": replicas},
        });
        let changed = self.hand.merge_at("replicasets", set, change).map_err(|_| Again)?;
        Ok(self.put(changed))
    }

    /// Its three branches: one active or none; the new one saturated; in proportion.
    fn scale(&mut self, new: Option<&Set>) -> Result<(), Again> {
        let desired = self.replicas();
        let mut old = self.old(new);
        old.sort_by(|one, other| by_age(other, one));
        let active: Vec<Set> = old.iter().chain(new).filter(|set| spec_replicas(set) > 0).cloned().collect();
        let single = match active.as_slice() {
            [] => new.or(old.first()).cloned(),
            [one] => Some(one.clone()),
            _ => None,
        };
        if let Some(single) = single {
            if spec_replicas(&single) != desired {
                self.scale_to(&single, desired)?;
            }
            return Ok(());
        }
        let saturated = new.is_some_and(|new| {
            spec_replicas(new) == desired
                && annotated(new, DESIRED) == Some(desired)
                && new.number("/status/availableReplicas") == desired
        });
        if saturated {
            for set in old.iter().filter(|set| spec_replicas(set) > 0) {
                self.scale_to(set, 0)?;
            }
            return Ok(());
        }
        if self.is_recreated() {
            return Ok(());
        }
        let total: i64 = active.iter().map(|set| spec_replicas(set)).sum();
        let allowed = if desired > 0 { desired + self.max_surge() } else { 0 };
        let to_add = allowed - total;
        let mut sets = active;
        // By size, largest first; the newest first when there is something to add.
        sets.sort_by(|one, other| {
            let age = if to_add > 0 { by_age(other, one) } else { by_age(one, other) };
            spec_replicas(other).cmp(&spec_replicas(one)).then(age)
        });
        let mut added = 0;
        let mut sizes: Vec<i64> = Vec::new();
        for set in &sets {
            let size = spec_replicas(set);
            let part = if to_add == 0 { 0 } else { self.proportion(set, allowed, to_add, added) };
            added += part;
            sizes.push(size + part);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (set, size) in sets.iter().zip(sizes) {
            self.scale_to(set, size)?;
        }
        Ok(())
    }

    fn clean_up(&mut self, new: Option<&Set>) -> Result<(), Again> {
        let Some(limit) = self.deployment.maybe("/spec/revisionHistoryLimit") else { return Ok(()) };
        let mut old: Vec<Set> = self.old(new).into_iter().filter(|set| !set.is_ending()).collect();
        old.sort_by_key(|set| annotated(set, REVISION).unwrap_or(0));
        let surplus = usize::try_from(i64::try_from(old.len()).unwrap_or(0) - limit).unwrap_or(0);
        for set in old.into_iter().take(surplus) {
            let idle = set.number("/status/replicas") == 0
                && spec_replicas(&set) == 0
                && set.number("/metadata/generation") <= set.number("/status/observedGeneration");
            if idle {
                self.hand.delete("replicasets", &set).map_err(|_| Again)?;
                self.sets.retain(|known| known.uid() != set.uid());
            }
        }
        Ok(())
    }

    /// The strategy Recreate: nothing of the new one before everything of the old ones is gone.
    fn recreate(&mut self) -> Result<(), Again> {
        let new = self.find_new(false)?;
        let old = self.old(new.as_ref());
        let active: Vec<_> = old.iter().filter(|set| spec_replicas(set) > 0).collect();
        for set in &active {
            self.scale_to(set, 0)?;
        }
        let pods = self.hand.list("pods", self.deployment.namespace());
        let of_old = |pod: &Arc<Value>| old.iter().any(|set| pod.controller() == Some(set.uid()));
        if !active.is_empty() || old.iter().any(|set| set.number("/status/replicas") > 0) || pods.iter().any(of_old) {
            let new = self.refreshed(new);
            self.status(new.as_ref())?;
            return Err(Again);
        }
        let Some(set) = self.find_new(true)? else { return Err(Again) };
        let set = self.scale_up(&set)?;
        self.finish(&set)
    }

    fn scale_up(&mut self, set: &Set) -> Result<Set, Again> {
        let desired = self.replicas();
        if spec_replicas(set) == desired { Ok(set.clone()) } else { self.scale_to(set, desired) }
    }

    fn roll(&mut self) -> Result<(), Again> {
        let new = self.find_new(true)?;
        let Some(set) = new.clone() else { return Err(Again) };
        let desired = self.replicas();
        let size = spec_replicas(&set);
        let all: i64 = self.sets.iter().map(|set| spec_replicas(set)).sum();
        if size != desired {
            let wanted = if size > desired {
                desired
            } else {
                size + (desired + self.max_surge() - all).clamp(0, desired - size)
            };
            if wanted != size {
                let set = self.scale_to(&set, wanted)?;
                return self.status(Some(&set));
            }
        }
        if self.scale_old_down(&set)? {
            let new = self.refreshed(new);
            return self.status(new.as_ref());
        }
        self.finish(&set)
    }

    /// Nothing is left to scale: history is cleaned up when everything is as it should be.
    fn finish(&mut self, new: &Set) -> Result<(), Again> {
        let desired = self.replicas();
        let complete = ["/status/updatedReplicas", "/status/replicas", "/status/availableReplicas"]
            .iter()
            .all(|pointer| self.deployment.number(pointer) == desired);
        if complete {
            self.clean_up(Some(new))?;
        }
        let new = self.refreshed(Some(new.clone()));
        self.status(new.as_ref())
    }

    fn scale_old_down(&mut self, new: &Set) -> Result<bool, Again> {
        let desired = self.replicas();
        let mut old: Vec<Set> = self.old(Some(new)).into_iter().filter(|set| spec_replicas(set) > 0).collect();
        if old.is_empty() {
            return Ok(false);
        }
        old.sort_by(by_age);
        let all: i64 = self.sets.iter().map(|set| spec_replicas(set)).sum();
        let least = desired - self.max_unavailable();
        let unavailable = spec_replicas(new) - new.number("/status/availableReplicas");
        let mut spare = all - least - unavailable;
        if spare <= 0 {
            return Ok(false);
        }
        let mut moved = false;
        for set in &mut old {
            let unhealthy = spec_replicas(set) - set.number("/status/availableReplicas");
            let fewer = unhealthy.clamp(0, spare);
            if fewer > 0 {
                *set = self.scale_to(set, spec_replicas(set) - fewer)?;
                spare -= fewer;
                moved = true;
            }
        }
        let available: i64 = self.sets.iter().map(|set| set.number("/status/availableReplicas")).sum();
        let mut total = (available - least).max(0);
        for set in &old {
            let fewer = spec_replicas(set).min(total);
            if fewer > 0 {
                self.scale_to(set, spec_replicas(set) - fewer)?;
                total -= fewer;
                moved = true;
            }
        }
        Ok(moved)
    }

    fn status(&self, new: Option<&Set>) -> Result<(), Again> {
        let sum = |pointer: &str| -> i64 { self.sets.iter().map(|set| set.number(pointer)).sum() };
        let available = sum("/status/availableReplicas");
        let replicas = sum("/status/replicas");
        let status = json!({
            "observedGeneration": self.deployment.number("/metadata/generation"),
            "replicas": replicas,
            "updatedReplicas": new.map_or(0, |new| new.number("/status/replicas")),
            "readyReplicas": sum("/status/readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": (self.sets.iter().map(|set| spec_replicas(set)).sum::<i64>() - available).max(0),
        });
        // Which revision it is at, the Deployment says too.
        let revision = new.and_then(|new| annotated(new, REVISION)).map(|revision| revision.to_string());
        let told = self.deployment["metadata"]["annotations"].get(REVISION).and_then(Value::as_str);
        let known = &self.deployment["status"];
        // What is 0 is not written.
        let same = |(key, value): (&String, &Value)| known.get(key).unwrap_or(&json!(0)) == value;
        if status.as_object().into_iter().flatten().all(same) && (revision.is_none() || revision.as_deref() == told) {
            return Ok(());
        }
        let mut change = json!({"status": status});
        if revision.is_some() {
            change["metadata"]["annotations"][REVISION] = json!(revision);
        }
        self.hand.merge_status("deployments", &self.deployment, change).map(|_| ()).map_err(|_| Again)
    }

    /// The part of what is to be added that falls on one ReplicaSet, by its share of what was allowed before.
    fn proportion(&self, set: &Value, allowed: i64, to_add: i64, added: i64) -> i64 {
        let size = spec_replicas(set);
        let before = annotated(set, MAX).filter(|most| *most > 0).unwrap_or(self.deployment.number("/status/replicas"));
        let fraction = match (self.replicas(), before) {
            (0, _) => -size,
            (_, 0) => 0,
            // Rounded half away from zero, as Go's math.Round.
            _ => (2 * size * allowed + before) / (2 * before) - size,
        };
        let left = to_add - added;
        match (size, to_add > 0) {
            (0, _) => 0,
            (_, true) => fraction.clamp(0, left.max(0)),
            (_, false) => fraction.clamp(left.min(0), 0),
        }
    }
}
