//! What each write of the operator must not do, given everything that was committed before it.
use super::*;
use crate::sim::stage::SECRET;

/// The annotations of the Deployment controller that go with a ReplicaSet that it is given.
const CONTROLLERS: [&str; 3] = [
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
];

impl Checks {
    pub(super) fn operator_wrote(&mut self, commit: &Commit, plane: &Plane, at: u64) {
        if commit.after.as_ref().is_some_and(|object| says(object, SECRET)) {
            self.wrong("S15 no Secret is told", at, format!("{} {}", commit.kind.plural, commit.name));
        }
        match commit.kind.plural.as_str() {
            "deployments" => self.wrote_deployment(commit, at),
            "replicasets" => self.wrote_set(commit, plane, at),
            "services" => self.wrote_service(commit, plane, at),
            "httproutes" => self.wrote_route(commit, at),
            "pods" | "endpointslices" | "secrets" | "namespaces" | "nodes" => {
                self.wrong("S15 only what is ours is written", at, format!("{} {}", commit.kind.plural, commit.name));
            }
            _ => {}
        }
    }

    /// `spec.paused` and our labels, nothing else; and never unpaused at a template that is not the controlled one's.
    fn wrote_deployment(&mut self, commit: &Commit, at: u64) {
        let (Some(before), Some(after)) = (&commit.before, &commit.after) else {
            return self.wrong("S15 only what is ours is written", at, "a Deployment was created or deleted");
        };
        let bare = |object: &Value| {
            let mut bare = object.clone();
            if let Some(spec) = bare["spec"].as_object_mut() {
                spec.remove("paused");
            }
            for key in ["resourceVersion", "generation", "managedFields"] {
                bare["metadata"].as_object_mut().and_then(|it| it.remove(key));
            }
            let metadata = bare["metadata"].as_object_mut();
            if let Some(labels) = metadata.and_then(|it| it.get_mut("labels")).and_then(Value::as_object_mut) {
                labels.retain(|key, _| !key.starts_with("bellwether.dev/"));
            }
            if bare["metadata"].get("labels").is_some_and(|labels| *labels == serde_json::json!({})) {
                bare["metadata"].as_object_mut().and_then(|it| it.remove("labels"));
            }
            bare
        };
        if bare(before) != bare(after) {
            self.wrong("I5 of a Deployment only paused and our labels are written", at, format!("{before} -> {after}"));
        }
        if before.is("/spec/paused") && !after.is("/spec/paused") {
            let uid = after.uid().to_owned();
            let equal = self.of_kind("replicasets").any(|set| {
                set.controller() == Some(&uid)
                    && deployments::alike(&set["spec"]["template"], &after["spec"]["template"])
            });
            let rollouts: Vec<Arc<Value>> = self.of_kind("rollouts").cloned().collect();
            let continues =
                rollouts.iter().any(|rollout| rollout.is_ending() && rollout.text("/spec/onDelete") == "Continue");
            if !equal && !continues {
                self.wrong(
                    "I6 a Deployment is resumed at the template that it controls",
                    at,
                    "it was resumed at another",
                );
            }
        }
    }

    fn wrote_set(&mut self, commit: &Commit, plane: &Plane, at: u64) {
        let (before, after) = (&commit.before, &commit.after);
        let size = |set: &Option<Arc<Value>>| set.as_ref().map_or(0, |set| set.maybe("/spec/replicas").unwrap_or(1));
        if let Some(set) = after
            && before.is_none()
        {
            let uid = set.controller().unwrap_or_default().to_owned();
            let same = self
                .of_kind("replicasets")
                .filter(|other| {
                    other.controller() == Some(&uid)
                        && !other.is_ending()
                        && deployments::alike(&other["spec"]["template"], &set["spec"]["template"])
                })
                .count();
            // What served is made again by its own name, beside a twin for which the Deployment controller chose that name.
            let again = self
                .of_kind("rollouts")
                .any(|rollout| rollout.uid() == uid && rollout.text("/status/workload/stableReplicaSet") == set.name());
            if same > 1 && !again {
                self.wrong("S12 one ReplicaSet for each template", at, format!("{same} of the same template"));
            }
        }
        if let (Some(before), Some(after)) = (before, after) {
            self.changed_set(before, after, at);
        }
        let changed = size(before) != size(after);
        let controlled_by_deployment = before.as_ref().is_some_and(|set| {
            let uid = set.controller();
            self.of_kind("deployments").any(|deployment| Some(deployment.uid()) == uid)
        });
        if changed && controlled_by_deployment && after.is_some() {
            self.wrong("I7 replicas of the Deployment's ReplicaSet are never written", at, commit.name.clone());
        }
        // Behind one ordinary Service pods end as those of any Deployment do.
        let routed = self.of_kind("httproutes").next().is_some();
        // What nobody can reach any more may end.
        let routed = routed && !self.unguarded && !plane.is_excused(at) && self.of_kind("deployments").next().is_some();
        if size(after) < size(before) && routed {
            let hash = before
                .as_ref()
                .map(|set| set.text(&format!("/spec/template/metadata/labels/{HASH}")).to_owned())
                .unwrap_or_default();
            self.nobody_is_sent_to(&hash, size(after), plane, at);
        }
    }

    /// Of a ReplicaSet its size, owners, labels and three annotations, nothing else; and the last one that a Deployment
    /// controls leaves it only to be swapped for another.
    fn changed_set(&mut self, before: &Value, after: &Value, at: u64) {
        let bare = |set: &Value| {
            let mut bare = set.clone();
            bare["spec"]["template"] = deployments::plain(&set["spec"]["template"]);
            bare["spec"].as_object_mut().and_then(|spec| spec.remove("replicas"));
            for key in ["labels", "ownerReferences", "resourceVersion", "generation", "managedFields"] {
                bare["metadata"].as_object_mut().and_then(|metadata| metadata.remove(key));
            }
            let annotations = bare["metadata"].as_object_mut().and_then(|metadata| metadata.remove("annotations"));
            let mut annotations = annotations.unwrap_or_default();
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.retain(|key, _| !CONTROLLERS.contains(&key.as_str()));
            }
            let some = annotations.as_object().is_some_and(|annotations| !annotations.is_empty());
            (bare, some.then_some(annotations))
        };
        if bare(before) != bare(after) {
            let rule = "I5 of a ReplicaSet only size, owners, labels and three annotations are written";
            self.wrong(rule, at, format!("{before} -> {after}"));
        }
        let Some(uid) = before.controller().filter(|uid| after.controller() != Some(*uid)) else { return };
        let left = self.of_kind("replicasets").any(|set| set.controller() == Some(uid) && !set.is_ending());
        let swaps = |rollout: &Arc<Value>| {
            let promoted = !rollout["status"]["flight"]["promotion"].is_null();
            rollout.text("/status/workload/uid") == uid && (promoted || rollout.is_ending())
        };
        let is_deployment = self.of_kind("deployments").any(|deployment| deployment.uid() == uid);
        if is_deployment && !left && !self.unguarded && at > self.unaware && !self.of_kind("rollouts").any(swaps) {
            let what = format!("{} was the last, and nothing takes its place", after.name());
            self.wrong("I2 the Deployment controls one ReplicaSet", at, what);
        }
    }

    /// A hash loses pods only while no request goes to it.
    fn nobody_is_sent_to(&mut self, hash: &str, left: i64, plane: &Plane, at: u64) {
        let mut sent = Vec::new();
        for (service, pods) in plane.served() {
            let with_hash = pods
                .iter()
                .filter(|pod| plane.processes.get(*pod).is_some_and(|it| it.hash == hash && it.dead.is_none()))
                .count();
            if with_hash > 0 && left == 0 {
                sent.push(format!("{service} sends requests to {with_hash} of them"));
            }
        }
        // A crashed or never ready pod gets none.
        if !sent.is_empty() {
            self.wrong(
                "S03 no pods end under traffic",
                at,
                format!("ReplicaSet of {hash} to {left}: {}", sent.join(", ")),
            );
        }
    }

    /// A selector moves only while its Service carries no weight, or gains pods.
    fn wrote_service(&mut self, commit: &Commit, plane: &Plane, at: u64) {
        let Some(after) = &commit.after else { return };
        let to = &after["spec"]["selector"];
        let Some(before) = &commit.before else {
            self.selectors.insert(commit.name.clone(), to.clone());
            return;
        };
        let from = &before["spec"]["selector"];
        if from == to {
            return;
        }
        let ready = |selector: &Value| -> BTreeSet<String> {
            self.of_kind("pods")
                .filter(|pod| pod.matches(Some(selector)) && pods::is_ready(pod) && !pod.is_ending())
                .map(|pod| pod.name().to_owned())
                .collect()
        };
        let lost: Vec<_> = ready(from).difference(&ready(to)).cloned().collect();
        let weight = plane.weight(&commit.name);
        // To put back what somebody else changed is no move.
        let restored = self.selectors.insert(commit.name.clone(), to.clone()).is_some_and(|last| last == *to);
        // After a backup was put back the status tells of a data plane that there was.
        let knows = !self.out_of_reach && !self.unguarded && !plane.is_excused(at);
        if weight > 0 && !lost.is_empty() && !restored && knows {
            self.wrong(
                "S16 a selector moves only at weight 0",
                at,
                format!("Service {} from {from} to {to} at {weight} %, losing {}", commit.name, lost.join(", ")),
            );
        }
    }

    fn wrote_route(&mut self, commit: &Commit, at: u64) {
        let (Some(before), Some(after)) = (&commit.before, &commit.after) else { return };
        let bare = |object: &Value| {
            let mut spec = object["spec"].clone();
            for rule in spec["rules"].as_array_mut().into_iter().flatten() {
                for backend in rule["backendRefs"].as_array_mut().into_iter().flatten() {
                    backend.as_object_mut().and_then(|it| it.remove("weight"));
                }
            }
            spec
        };
        // What is ours to write follows from its template and says how it splits requests.
        let owned = !after["metadata"]["annotations"]["bellwether.dev/split"].is_null();
        if !owned && bare(before) != bare(after) {
            self.wrong("S15 of a route only weights are written", at, format!("{before} -> {after}"));
        }
        let split = |route: &Value| -> (Vec<_>, Vec<_>) {
            let shared = |rule: &Vec<(String, u64)>| !owned || rule.iter().any(|(name, _)| name.ends_with("-stable"));
            weights_of(route).into_iter().partition(shared)
        };
        let ((was, _), (is, apart)) = (split(before), split(after));
        if !apart.is_empty() {
            // Whatever matches is few enough for one pod, or the step says how many it takes.
            self.raised(commit, 1, at);
        }
        for (index, rule) in is.iter().enumerate() {
            let all: u64 = rule.iter().map(|(_, weight)| weight).sum();
            let ours: Vec<_> =
                rule.iter().filter(|(name, _)| name.ends_with("-stable") || name.ends_with("-canary")).collect();
            let ours_sum: u64 = ours.iter().map(|(_, weight)| weight).sum();
            if ours.len() == 2 && ours.len() == rule.len() && all != 100 {
                self.wrong("S01 weights add up", at, format!("rule {index}: {rule:?}"));
            }
            let share = |rule: &[(String, u64)]| {
                rule.iter().find(|(name, _)| name.ends_with("-canary")).map_or(0, |(_, weight)| *weight)
            };
            let (old, new) = (was.get(index).map_or(0, |rule| share(rule)), share(rule));
            if new > old && ours_sum > 0 {
                self.raised(commit, new * 100 / ours_sum, at);
            }
        }
    }

    /// The canary's weight rose: its pods are there, and it was not given up.
    fn raised(&mut self, commit: &Commit, percent: u64, at: u64) {
        let Some(route) = &commit.after else { return };
        let uid = route.label(UID_LABEL).unwrap_or_default().to_owned();
        let Some(rollout) = self.of_kind("rollouts").find(|rollout| rollout.uid() == uid).cloned() else { return };
        let status = &rollout["status"];
        let canary = status.text("/canary/podTemplateHash").to_owned();
        let back = status.is("/flight/promotion/moved");
        // What somebody else takes from it on the way home, while stable cannot carry it, it gets back.
        let stable = status.text("/stable/podTemplateHash");
        let carried = status["weights"]["accepted"].as_u64().is_some_and(|accepted| percent <= accepted);
        let ready_now = self.ready.get(stable).and_then(|known| known.last()).map_or(0, |(_, ready)| *ready);
        let returned = carried && self.wanted.last().is_some_and(|(_, wanted)| ready_now < *wanted);
        if given_up(status) && !back && !returned {
            self.wrong("S04 no weight for what was given up", at, format!("{percent} % although {}", status["latch"]));
        }
        let lately =
            self.wanted.iter().filter(|(time, _)| at.saturating_sub(*time) <= 5_000).map(|(_, wanted)| *wanted);
        let Some(wanted) = lately.chain(self.wanted.last().map(|(_, wanted)| *wanted)).min() else { return };
        let needed = (wanted * i64::try_from(percent).unwrap_or(100) + 99) / 100;
        let service = self.object("services", rollout.text("/spec/traffic/services/canary"));
        let selected =
            service.map(|service| service.text(&format!("/spec/selector/{HASH}")).to_owned()).unwrap_or_default();
        let ready = self.ready_lately(if selected.is_empty() { &canary } else { &selected }, at);
        let hash_of = |name: &str| {
            let service = self.object("services", name);
            service.map(|service| service.text(&format!("/spec/selector/{HASH}")).to_owned()).unwrap_or_default()
        };
        // Where both Services lead to the same pods, a weight moves nothing.
        let same = !selected.is_empty() && hash_of(rollout.text("/spec/traffic/services/stable")) == selected;
        // Where stable's ReplicaSet was deleted, what is ready serves more than what is ending.
        let alone = ready > 0 && !self.of_kind("replicasets").any(|set| set.label(HASH) == Some(stable));
        if ready < needed && !same && !alone {
            self.wrong(
                "S02 pods before requests",
                at,
                format!("{percent} % of {wanted} needs {needed} pods, {ready} were ready"),
            );
        }
    }

    // ---- what the Rollout says ------------------------------------------------------------------------------------
}

/// Whether a text, or the same in base64 as it is stored, stands anywhere in an object.
fn says(object: &Value, (plain, stored): (&str, &str)) -> bool {
    match object {
        Value::String(text) => text.contains(plain) || text.contains(stored),
        Value::Array(items) => items.iter().any(|item| says(item, (plain, stored))),
        Value::Object(members) => members.values().any(|member| says(member, (plain, stored))),
        _ => false,
    }
}
