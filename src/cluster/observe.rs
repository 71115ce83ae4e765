//! Reads everything that one decision looks at, from the API server, side by side.
use super::{Cluster, Error, Key, key_of, kinds};
use crate::{
    api::{ActionOutcome, GROUP, HASH_LABEL, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Rollout, RolloutAction},
    plan::{Belt, Claim, Deployment, Found, Map, Observed, PendingAction, Pod, ReplicaSet, Route, Service, UNVERIFIED},
    traffic::{self, Ownership, RouteRef, Weights},
    vocab::{Pair, Weight},
};
use futures::future::{join_all, try_join_all};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;

/// So long an answered action is kept for people to read.
const ACTIONS_ARE_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long a probe of the belt is believed.
const BELT_IS_FRESH: Duration = Duration::from_secs(30);

impl Cluster {
    /// Reads everything. `None` when the Rollout is gone.
    ///
    /// # Errors
    /// When the API server does not answer, or the Rollout cannot be understood.
    pub async fn observe(&self, key: &Key) -> Result<Option<Observed>, Error> {
        let namespace = key.namespace.clone().unwrap_or_default();
        let Some(object) = self.get(&kinds::rollouts(), &namespace, &key.name).await? else { return Ok(None) };
        let raw = serde_json::to_value(&object).unwrap_or_default();
        let rollout: Rollout = serde_json::from_value(raw).map_err(|error| Error::Malformed(error.to_string()))?;
        let uid = rollout.uid().unwrap_or_default();
        let spec = &rollout.spec;
        let pair_names =
            spec.traffic.as_ref().and_then(|traffic| traffic.services.clone()).filter(|_| !spec.routes().is_empty());
        let deployment = self.get(&kinds::deployments(), &namespace, &spec.workload_ref.name).await?;
        let selector = deployment.as_ref().map(|deployment| selector_text(&deployment.data["spec"]["selector"]));
        let name = rollout.name_any();
        let (replica_sets, pods, stable_service, canary_service, other_services, (actions, expired), namespace_ending) =
            tokio::try_join!(
                self.replica_sets(&namespace, selector.as_deref(), &name),
                self.pods(&namespace, selector.as_deref()),
                self.service(&namespace, pair_names.as_ref().map(|names| names.stable.as_str()), &uid),
                self.service(&namespace, pair_names.as_ref().map(|names| names.canary.as_str()), &uid),
                self.other_services(&namespace, deployment.as_ref(), &rollout),
                self.actions(&namespace, &name),
                self.is_ending(&namespace),
            )?;
        let port = [&stable_service, &canary_service]
            .into_iter()
            .flatten()
            .find_map(|service| service.ports.first()?.get("port")?.as_u64())
            .or_else(|| other_services.iter().find_map(|service| service.ports.first()?.get("port")?.as_u64()))
            .and_then(|port| u16::try_from(port).ok());
        let pair = spec.pair(port.unwrap_or(80));
        let routes = join_all(spec.routes().iter().map(|route| self.route(&namespace, route, pair.as_ref(), &uid)));
        let routes = routes.await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut deployment = deployment.map(|object| deployment_of(&object, &uid));
        if let Some(deployment) = &mut deployment {
            deployment.claim = self.living(&namespace, std::mem::take(&mut deployment.claim)).await?;
        }
        let belt = self.belt(&rollout, deployment.as_ref()).await?;
        let provider = if rollout.spec.is_judged() { self.provider_problem(&rollout, &namespace).await } else { None };
        let now = self.now();
        let mut seen = Observed {
            now,
            epoch: self.epoch.load(Ordering::Relaxed),
            namespace_ending,
            deployment,
            replica_sets,
            pods,
            stable_service,
            canary_service,
            other_services,
            routes,
            belt,
            provider,
            actions,
            expired,
            measured: crate::plan::Measured::NotYet,
            delivered: BTreeSet::new(),
            rollout,
        };
        seen.measured = self.measured(&seen);
        seen.delivered = self.delivered(&key_of(&seen.rollout));
        Ok(Some(seen))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    pub(super) fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    pub(super) async fn get(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<DynamicObject>, Error> {
        let what = || format!("{} {namespace}/{name}", resource.kind);
        self.api(resource, namespace)
            .get_opt(name)
            .await
            .map_err(|source| Error::Read { what: what(), source: Box::new(source) })
    }

    async fn list(
        &self,
        resource: &ApiResource,
        namespace: &str,
        labels: Option<&str>,
    ) -> Result<Vec<DynamicObject>, Error> {
        let params = ListParams { label_selector: labels.map(str::to_owned), ..ListParams::default() };
        let list = self.api(resource, namespace).list(&params).await;
        list.map(|list| list.items).map_err(|source| Error::Read {
            what: format!("{} of {namespace}", resource.plural),
            source: Box::new(source),
        })
    }

    async fn replica_sets(
        &self,
        namespace: &str,
        selector: Option<&str>,
        rollout: &str,
    ) -> Result<Vec<ReplicaSet>, Error> {
        let kind = kinds::replica_sets();
        let ours = format!("{ROLLOUT_LABEL}={rollout}");
        let mut lists = vec![self.list(&kind, namespace, Some(&ours))];
        if let Some(selector) = selector {
            lists.push(self.list(&kind, namespace, Some(selector)));
        }
        let mut sets: Vec<_> =
            try_join_all(lists).await?.into_iter().flatten().map(|object| replica_set_of(&object)).collect();
        sets.sort_by(|one, other| one.name.cmp(&other.name));
        sets.dedup_by(|one, other| one.uid == other.uid);
        Ok(sets)
    }

    async fn pods(&self, namespace: &str, selector: Option<&str>) -> Result<Vec<Pod>, Error> {
        let Some(selector) = selector else { return Ok(Vec::new()) };
        let pods = self.list(&kinds::pods(), namespace, Some(selector)).await?;
        Ok(pods.iter().map(pod_of).collect())
    }

    async fn service(&self, namespace: &str, name: Option<&str>, uid: &str) -> Result<Option<Service>, Error> {
        let Some(name) = name else { return Ok(None) };
        let labels = format!("kubernetes.io/service-name={name}");
        let (services, slices) = (kinds::services(), kinds::slices());
        let (service, slices) =
            tokio::try_join!(self.get(&services, namespace, name), self.list(&slices, namespace, Some(&labels)))?;
        let Some(object) = service else { return Ok(None) };
        let mut service = Service { endpoints: endpoints_of(&slices), ..service_of(&object, uid) };
        if !service.ours && object.labels().contains_key(ROLLOUT_UID_LABEL) && !is_applied(&object) {
            let claim = Claim::of(object.labels(), uid);
            service.orphaned = self.living(namespace, claim).await? == Claim::Free;
        }
        Ok(Some(service))
    }

    /// Services beside ours that select the pods. Looked for only while no candidate has pods: the list grows with the namespace.
    async fn other_services(
        &self,
        namespace: &str,
        deployment: Option<&DynamicObject>,
        rollout: &Rollout,
    ) -> Result<Vec<Service>, Error> {
        let status = rollout.status.as_ref();
        let in_flight =
            status.and_then(|status| status.flight.as_ref()).is_some_and(|flight| flight.evidence_since.is_some());
        let at_rest = status.is_some_and(|status| {
            status.flight.is_none()
                && status.workload.as_ref().is_some_and(|workload| workload.stable_replica_set.is_some())
        });
        let changed = deployment.is_none_or(|deployment| {
            let seen =
                status.and_then(|status| status.workload.as_ref()).and_then(|workload| workload.observed_generation);
            seen != deployment.metadata.generation
        });
        let (Some(deployment), Some(traffic)) = (deployment, &rollout.spec.traffic) else { return Ok(Vec::new()) };
        if in_flight || (at_rest && !changed) || traffic.routes.is_empty() {
            return Ok(Vec::new());
        }
        let labels = strings(&deployment.data["spec"]["template"]["metadata"]["labels"]);
        let uid = rollout.uid().unwrap_or_default();
        let services = self.list(&kinds::services(), namespace, None).await?;
        let of_us =
            |name: &str| traffic.services.as_ref().is_some_and(|ours| ours.stable == name || ours.canary == name);
        Ok(services
            .iter()
            .map(|object| service_of(object, &uid))
            .filter(|service| !of_us(&service.name) && !service.selector.is_empty())
            .filter(|service| service.selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
            .collect())
    }

    /// The actions without an answer, oldest first, and one that was answered long ago.
    async fn actions(&self, namespace: &str, rollout: &str) -> Result<(Vec<PendingAction>, Option<String>), Error> {
        let api: Api<RolloutAction> = Api::namespaced(self.client.clone(), namespace);
        let of_rollout = ListParams::default().fields(&format!("spec.rollout={rollout}"));
        let list = match api.list(&of_rollout).await {
            // API servers before 1.32 cannot select by a field of a custom resource.
            Err(kube::Error::Api(status)) if status.code == 400 => api.list(&ListParams::default()).await,
            other => other,
        };
        let list =
            list.map_err(|source| Error::Read { what: format!("actions of {namespace}"), source: Box::new(source) })?;
        let of_rollout = list.items.into_iter().filter(|action| action.spec.rollout == rollout);
        let (answered, mut pending_ones): (Vec<_>, Vec<_>) =
            of_rollout.partition(|action| outcome_of(action).is_some());
        let now = self.now();
        let made = |action: &RolloutAction| action.metadata.creation_timestamp.clone().map(|at| at.0);
        let old = |action: &&RolloutAction| made(action).is_some_and(|at| now.duration_since(at) > ACTIONS_ARE_KEPT);
        let expired = answered.iter().find(old).map(ResourceExt::name_any);
        pending_ones.sort_by_key(|action| (made(action), action.name_any()));
        Ok((pending_ones.into_iter().map(pending).collect(), expired))
    }

    async fn is_ending(&self, namespace: &str) -> Result<bool, Error> {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let found = api
            .get_opt(namespace)
            .await
            .map_err(|source| Error::Read { what: format!("namespace {namespace}"), source: Box::new(source) })?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    async fn route(
        &self,
        namespace: &str,
        reference: &RouteRef,
        pair: Option<&Pair>,
        uid: &str,
    ) -> Result<Route, Error> {
        let made = |found| Ok(Route { reference: reference.clone(), found });
        let (Some(kind), Some(pair), Ok(router)) = (kinds::resource_of(reference), pair, reference.router()) else {
            return made(Found::NotServed);
        };
        let object = match self.api(&kind, namespace).get(&reference.name).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // A kind that is not served answers without details of an object.
                let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
                return made(if named { Found::Missing } else { Found::NotServed });
            }
            Err(source) => {
                return Err(Error::Read {
                    what: format!("{} {namespace}/{}", reference.kind, reference.name),
                    source: Box::new(source),
                });
            }
        };
        let claim = Claim::of(object.labels(), uid);
        let claim = self.living(namespace, claim).await?;
        let value = serde_json::to_value(&object).unwrap_or_default();
        let seen = router.read(&value, pair);
        let drifted = reference.ownership == Ownership::Operator
            && seen.as_ref().is_ok_and(|seen| {
                let weight = match seen.weight {
                    Weights::At(weight) => weight,
                    Weights::Mixed(_) => Weight::ZERO,
                };
                let whole = router.whole(reference, namespace, pair, weight);
                whole.is_ok_and(|wanted| traffic::renew(&value, &wanted).is_some())
            });
        made(Found::Object { claim, seen, drifted, backends: backends_of(&value) })
    }

    /// A claim of a Rollout that is gone, or of a former one of the same name, is none.
    async fn living(&self, namespace: &str, claim: Claim) -> Result<Claim, Error> {
        let Claim::Foreign(held) = claim else { return Ok(claim) };
        let (name, uid) = held.split_once('/').unwrap_or((&held, ""));
        let holder = self.get(&kinds::rollouts(), namespace, name).await?;
        let lives = holder.is_some_and(|holder| holder.uid().as_deref() == Some(uid));
        Ok(if lives { Claim::Foreign(name.to_owned()) } else { Claim::Free })
    }

    /// Asks the belt whether it holds, where the answer matters now.
    async fn belt(&self, rollout: &Rollout, deployment: Option<&Deployment>) -> Result<Belt, Error> {
        let Some(deployment) = deployment else { return Ok(Belt::NotYet) };
        let status = rollout.status.clone().unwrap_or_default();
        let Some(workload) = status.workload.filter(|workload| workload.uid == deployment.uid) else {
            return Ok(if self.has_belt().await? { Belt::NotYet } else { Belt::Absent });
        };
        let asked = workload.stable_replica_set.is_none() || deployment.paused;
        if workload.held_by == Some(crate::api::HeldBy::Paused) || !asked {
            return Ok(Belt::NotYet);
        }
        let known = self.belts.lock().ok().and_then(|belts| belts.get(&key_of(rollout)).cloned());
        if known.is_some_and(|(uid, at)| uid == deployment.uid && at.elapsed() < BELT_IS_FRESH) {
            return Ok(Belt::Armed);
        }
        if self.probe(rollout, deployment).await? {
            if let Ok(mut belts) = self.belts.lock() {
                belts.insert(key_of(rollout), (deployment.uid.clone(), Instant::now()));
            }
            return Ok(Belt::Armed);
        }
        Ok(if self.has_belt().await? { Belt::NotYet } else { Belt::Absent })
    }

    /// Whether there is a policy of that name at all; who may not look acts as if there were none, for pausing works everywhere.
    async fn has_belt(&self) -> Result<bool, Error> {
        let api: Api<k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy> =
            Api::all(self.client.clone());
        match api.get_opt(&self.settings.belt).await {
            Ok(found) => Ok(found.is_some()),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
            Err(source) => Err(Error::Read { what: "the admission policy".to_owned(), source: Box::new(source) }),
        }
    }

    /// Tries, without effect, to make what the belt must refuse.
    async fn probe(&self, rollout: &Rollout, deployment: &Deployment) -> Result<bool, Error> {
        let labels = json!({"bellwether.dev/probe": rollout.name_any()});
        let probe = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "generateName": "bellwether-probe-",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name, "uid": deployment.uid, "controller": true}],
            },
            "spec": {
                "replicas": 0, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "probe", "image": "probe"}]}},
            },
        });
        let Ok(probe) = serde_json::from_value::<DynamicObject>(probe) else { return Ok(false) };
        let namespace = rollout.namespace().unwrap_or_default();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        match self.api(&kinds::replica_sets(), &namespace).create(&dry, &probe).await {
            Ok(_) => Ok(false),
            Err(kube::Error::Api(status)) => Ok(status.message.contains("decides when this Deployment")),
            Err(source) => {
                Err(Error::Read { what: "the admission policy's answer".to_owned(), source: Box::new(source) })
            }
        }
    }
}

fn outcome_of(action: &RolloutAction) -> Option<ActionOutcome> {
    action.status.as_ref().and_then(|status| status.outcome)
}

fn pending(action: RolloutAction) -> PendingAction {
    let annotation = |name: &str| action.annotations().get(&format!("{GROUP}/{name}")).cloned();
    let verified = annotation("by-verified").is_some_and(|value| value == "true");
    let by = annotation("by").map(|by| if verified { by } else { format!("{by}{UNVERIFIED}") });
    PendingAction {
        name: action.name_any(),
        uid: action.uid().unwrap_or_default(),
        by,
        answered: outcome_of(&action),
        action: action.spec.action,
        expect: action.spec.expect,
        reason: action.spec.reason,
    }
}

fn strings(value: &Value) -> Map {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}

/// A label selector as the list call takes it.
fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<String> =
        strings(&selector["matchLabels"]).iter().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<_> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

fn claim_of(object: &DynamicObject, uid: &str) -> Claim {
    Claim::of(object.labels(), uid)
}

fn deployment_of(object: &DynamicObject, uid: &str) -> Deployment {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let replicas = spec["replicas"].as_i64().map_or(1, |_| number(&spec["replicas"]));
    Deployment {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(0),
        observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
        paused: spec["paused"].as_bool().unwrap_or(false),
        replicas,
        template: spec["template"].clone(),
        selector: spec["selector"].clone(),
        strategy: spec["strategy"]["type"].as_str().unwrap_or("RollingUpdate").to_owned(),
        max_surge: surge(&spec["strategy"]["rollingUpdate"]["maxSurge"], replicas),
        history_limit: spec["revisionHistoryLimit"].as_i64().map_or(10, |_| number(&spec["revisionHistoryLimit"])),
        min_ready_seconds: number(&spec["minReadySeconds"]),
        status_replicas: number(&status["replicas"]),
        updated: number(&status["updatedReplicas"]),
        available: number(&status["availableReplicas"]),
        claim: claim_of(object, uid),
    }
}

/// `maxSurge` in pods: a number, or a share of the replicas rounded up.
fn surge(value: &Value, replicas: i32) -> i32 {
    match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(25);
            i32::try_from(i64::from(replicas).saturating_mul(percent.clamp(0, 10_000)).saturating_add(99) / 100)
                .unwrap_or(i32::MAX)
        }
        Value::Number(_) => number(value),
        _ => surge(&json!("25%"), replicas),
    }
}

fn replica_set_of(object: &DynamicObject) -> ReplicaSet {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let mut template = spec["template"].clone();
    let labels = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
    let hash = labels.and_then(|labels| labels.remove(HASH_LABEL)).and_then(|hash| Some(hash.as_str()?.to_owned()));
    ReplicaSet {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        created: object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
        controller: object
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone()),
        labels: object.labels().clone(),
        annotations: object.annotations().clone(),
        replicas: spec["replicas"].as_i64().map_or(1, |_| number(&spec["replicas"])),
        status_replicas: number(&status["replicas"]),
        ready: number(&status["readyReplicas"]),
        available: number(&status["availableReplicas"]),
        template,
        hash: hash.unwrap_or_default(),
    }
}

fn pod_of(object: &DynamicObject) -> Pod {
    let status = &object.data["status"];
    let condition = |kind: &str| {
        let conditions = status["conditions"].as_array();
        conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind)).cloned().unwrap_or_default()
    };
    let containers = || {
        ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(|list| status[list].as_array()).flatten()
    };
    let waiting = containers().find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str()?;
        let harmless = matches!(reason, "ContainerCreating" | "PodInitializing");
        (!harmless).then(|| format!("{reason} {}", waiting["message"].as_str().unwrap_or_default()).trim().to_owned())
    });
    let scheduled = condition("PodScheduled");
    let unscheduled = (scheduled["status"] == "False").then(|| {
        format!(
            "{} {}",
            scheduled["reason"].as_str().unwrap_or_default(),
            scheduled["message"].as_str().unwrap_or_default()
        )
    });
    Pod {
        name: object.name_any(),
        hash: object.labels().get(HASH_LABEL).cloned().unwrap_or_default(),
        ready: condition("Ready")["status"] == "True" && object.metadata.deletion_timestamp.is_none(),
        started: status["startTime"].as_str().and_then(|text| text.parse().ok()),
        restarts: containers().map(|container| number(&container["restartCount"])).sum(),
        stuck: waiting.or(unscheduled).map(|text| text.chars().take(200).collect()),
    }
}

fn service_of(object: &DynamicObject, uid: &str) -> Service {
    let spec = &object.data["spec"];
    Service {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        selector: strings(&spec["selector"]),
        ports: spec["ports"].as_array().cloned().unwrap_or_default(),
        spec: spec.clone(),
        ours: object.labels().get(ROLLOUT_UID_LABEL).is_some_and(|label| label == uid) && !is_applied(object),
        orphaned: false,
        endpoints: BTreeSet::new(),
    }
}

/// Whether somebody holds the object in Git: it bears the marks of an apply, and we never apply.
fn is_applied(object: &DynamicObject) -> bool {
    object.annotations().contains_key("kubectl.kubernetes.io/last-applied-configuration")
        || object.managed_fields().iter().any(|entry| entry.operation.as_deref() == Some("Apply"))
}

/// The pods that slices list as ready.
fn endpoints_of(slices: &[DynamicObject]) -> BTreeSet<String> {
    let all = slices.iter().filter_map(|slice| slice.data["endpoints"].as_array()).flatten();
    all.filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true))
        .filter_map(|endpoint| Some(endpoint["targetRef"]["name"].as_str()?.to_owned()))
        .collect()
}

fn backends_of(route: &Value) -> Vec<String> {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    let backends = rules.filter_map(|rule| rule["backendRefs"].as_array()).flatten();
    backends.filter_map(|backend| Some(backend["name"].as_str()?.to_owned())).collect()
}
