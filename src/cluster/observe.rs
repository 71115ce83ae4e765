//! Reads everything that one decision looks at, from the API server, side by side.
use super::{
    Ask, Cluster, Error, Key,
    facts::{
        budget_of, deployment_of, endpoints_of, is_applied, kept_of, labels_of, outcome_of, pending, pod_of, quota_of,
        replica_set_of, selector_text, service_of,
    },
    key_of, kinds,
    policies::AUTHOR_POLICY,
    refusals::words_of,
};
use crate::{
    api::{GROUP, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Rollout, RolloutAction, Shared, Step, TemplateKind, lenient},
    plan::{
        Claim, Crowd, Found, Kept, Observed, PendingAction, Pod, ReplicaSet, Route, Service, ports, same_template,
        strings,
        templates::{self, Resolved, Templates},
    },
    traffic::{self, Ownership, RouteRef, Router},
    vocab::Pair,
};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt,
    api::{ApiResource, ListParams},
};
use serde::Deserialize as _;
use serde_json::Value;
use std::sync::{Arc, atomic::Ordering};

/// So long an answered action is kept for people to read.
const ACTIONS_ARE_KEPT: SignedDuration = SignedDuration::from_hours(24);

impl Cluster {
    /// Reads everything. `None` when the Rollout is gone, or is another operator's.
    ///
    /// # Errors
    /// When the API server does not answer, or the Rollout cannot be understood.
    pub async fn observe(&self, key: &Key) -> Result<Option<Observed>, Error> {
        let namespace = key.namespace.clone().unwrap_or_default();
        let Some(object) = self.get(&kinds::rollouts(), &namespace, &key.name).await? else { return Ok(None) };
        if !self.settings.shard.has(&labels_of(&object)) {
            return Ok(None);
        }
        let (rollout, malformed) = lenient::read(&object).map_err(|error| Error::Malformed(error.to_string()))?;
        let uid = rollout.uid().unwrap_or_default();
        if self.is_ending(&namespace).await? {
            // Everything in it goes, and what we may still read there goes first.
            return Ok(Some(Observed { namespace_ending: true, malformed, ..Observed::of(rollout, self.now()) }));
        }
        let (kind, workload) = (kinds::deployments(), rollout.spec.workload_ref.name.clone());
        let (templated, deployment) =
            tokio::try_join!(self.with_templates(rollout, &namespace), self.get(&kind, &namespace, &workload))?;
        let (rollout, malformed) = match templated {
            (rollout, Some(why)) => (rollout, malformed.or(Some(why))),
            (rollout, None) => (rollout, malformed),
        };
        let spec = &rollout.spec;
        let traffic = rollout.traffic();
        let pair_names = traffic.and_then(|traffic| traffic.pair(0));
        let selector = deployment.as_ref().map(|deployment| selector_text(&deployment["spec"]["selector"]));
        let name = rollout.name_any();
        let (mut replica_sets, pods, stable_service, canary_service, mut other_services, (actions, expired), elders) =
            tokio::try_join!(
                self.replica_sets(&namespace, selector.as_deref(), &name),
                self.pods(&namespace, selector.as_deref()),
                self.service(&namespace, pair_names.as_ref().map(|names| names.stable.as_str()), &uid),
                self.service(&namespace, pair_names.as_ref().map(|names| names.canary.as_str()), &uid),
                self.other_services(&namespace, deployment.as_deref(), &rollout),
                self.actions(&namespace, &rollout),
                self.elders(key, &rollout),
            )?;
        self.add_namesake(&namespace, &rollout, &mut replica_sets).await?;
        // What is made anew is made after one of them.
        let is_missing = pair_names.is_some() && stable_service.is_none() && canary_service.is_none();
        if let (Some(deployment), true, true) = (&deployment, is_missing, other_services.is_empty()) {
            other_services = self.selecting(&namespace, deployment, &rollout).await?;
        }
        let mut services = stable_service.iter().chain(&canary_service).chain(&other_services);
        let port = services.find_map(Service::port);
        let ports = ports(stable_service.as_ref(), canary_service.as_ref(), &other_services);
        let pair = traffic.and_then(|traffic| traffic.pair(port.unwrap_or(80))).map(|pair| pair.serving(ports));
        // Asked when steps may come into force: at rest, and when somebody commands something.
        let may_begin = rollout.status.as_ref().is_none_or(|status| status.flight.is_none()) || !actions.is_empty();
        let steps = if may_begin { spec.steps.as_slice() } else { &[] };
        let routes = traffic.into_iter().flat_map(|traffic| &traffic.routes);
        let routes = try_join_all(routes.map(|route| self.route(key, route, pair.as_ref(), &uid, steps)));
        let stored = deployment;
        let mut deployment = stored.as_deref().map(|object| deployment_of(object, &uid));
        if let Some(deployment) = &mut deployment {
            deployment.claim = self.living(&namespace, std::mem::take(&mut deployment.claim)).await?;
        }
        let crowd = async { Ok(self.crowd(&rollout, stored.as_deref(), &replica_sets).await) };
        let (kept, routes, crowd, (belt, probe), (provider, unable)) = tokio::try_join!(
            self.kept(&rollout, stored.as_deref(), &replica_sets),
            routes,
            crowd,
            self.belt(&rollout, deployment.as_ref()),
            self.wanting(&rollout, &namespace, may_begin, malformed.is_none()),
        )?;
        let now = self.now();
        let mut seen = Observed {
            epoch: self.epoch.load(Ordering::Relaxed),
            led_since: self.acts_since(key, now),
            deployment,
            replica_sets,
            pods,
            stable_service,
            canary_service,
            other_services,
            routes,
            kept,
            crowd,
            belt,
            probe,
            refused: self.refusals.of(key),
            malformed,
            elders,
            provider,
            unable,
            actions,
            expired,
            ..Observed::of(rollout, now)
        };
        self.refusals.looked(key);
        seen.measured = self.measured(&seen);
        seen.pasts = self.pasts_of(&seen.rollout);
        seen.tried = self.tried(&key_of(&seen.rollout));
        Ok(Some(seen))
    }

    /// What is wrong with the provider, and what a gateway cannot do of the steps, where steps may begin.
    async fn wanting(
        &self,
        rollout: &Rollout,
        namespace: &str,
        may_begin: bool,
        is_whole: bool,
    ) -> Result<(Option<String>, Option<String>), Error> {
        let judged = rollout.spec.is_judged();
        let provider = async { if judged { self.provider_problem(rollout, namespace, is_whole).await } else { None } };
        let gateway = async { if may_begin { self.unable(rollout, namespace).await } else { Ok(None) } };
        let (provider, gateway) = futures::join!(provider, gateway);
        let gateway = gateway
            .map_err(|source| Error::Read { what: "the Gateway of a route".to_owned(), source: Box::new(source) })?;
        Ok((provider, gateway))
    }

    /// The Rollout with the metrics of its templates among its own, and what is wrong with them.
    async fn with_templates(&self, mut rollout: Rollout, namespace: &str) -> Result<(Rollout, Option<String>), Error> {
        if rollout.spec.analysis.templates.is_empty() || !rollout.spec.is_judged() {
            return Ok((rollout, None));
        }
        let mut known = Templates::new();
        loop {
            match templates::resolve(&rollout, &known) {
                Ok(Resolved::Metrics(metrics)) => {
                    rollout.spec.analysis.metrics = metrics;
                    return Ok((rollout, None));
                }
                Ok(Resolved::Wanted(wanted)) => {
                    for (kind, name) in wanted {
                        let namespace = if kind == TemplateKind::AnalysisTemplate { namespace } else { "" };
                        let found = self.get(&kinds::templates(kind), namespace, &name).await?;
                        let read = found.map(|found| Shared::deserialize(&found["spec"])).transpose();
                        match read {
                            Ok(shared) => drop(known.insert((kind, name), shared)),
                            Err(error) => {
                                return Ok((rollout, Some(format!("{kind:?} {name} cannot be read: {error}"))));
                            }
                        }
                    }
                }
                Err(complaint) => return Ok((rollout, Some(complaint.to_string()))),
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    pub(super) async fn get(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Error> {
        let found = self.ask_for(resource, namespace, name).await;
        found.map_err(|source| Error::Read {
            what: format!("{} {namespace}/{name}", resource.kind),
            source: Box::new(source),
        })
    }

    pub(super) async fn list(
        &self,
        resource: &ApiResource,
        namespace: &str,
        labels: Option<&str>,
    ) -> Result<Vec<Arc<Value>>, Error> {
        let params = ListParams { label_selector: labels.map(str::to_owned), ..ListParams::default() };
        self.ask_for_all(resource, namespace, &params).await.map_err(|source| Error::Read {
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

    /// A ReplicaSet that has the candidate's name and neither our label nor the Deployment's selector.
    async fn add_namesake(&self, namespace: &str, rollout: &Rollout, sets: &mut Vec<ReplicaSet>) -> Result<(), Error> {
        let flight = rollout.status.as_ref().and_then(|status| status.flight.as_ref());
        let Some(name) = flight.map(|flight| &flight.candidate) else { return Ok(()) };
        if !sets.iter().any(|set| set.name == *name) {
            let namesake = self.get(&kinds::replica_sets(), namespace, name).await?;
            sets.extend(namesake.as_deref().map(replica_set_of));
        }
        Ok(())
    }

    /// The copies of templates, where they may be needed: at rest, at the end, and when stable's ReplicaSet is gone.
    async fn kept(
        &self,
        rollout: &Rollout,
        deployment: Option<&Value>,
        sets: &[ReplicaSet],
    ) -> Result<Vec<Kept>, Error> {
        let Some(status) = &rollout.status else { return Ok(Vec::new()) };
        let Some(workload) = &status.workload else { return Ok(Vec::new()) };
        let same = deployment.is_some_and(|deployment| deployment["metadata"]["uid"] == workload.uid);
        let there = sets.iter().any(|set| Some(&set.name) == workload.stable_replica_set.as_ref());
        if same && there && status.flight.is_some() && rollout.metadata.deletion_timestamp.is_none() {
            return Ok(Vec::new());
        }
        let ours = format!("{ROLLOUT_LABEL}={}", rollout.name_any());
        let namespace = rollout.namespace().unwrap_or_default();
        let copies = self.list(&kinds::controller_revisions(), &namespace, Some(&ours)).await?;
        Ok(copies.iter().map(|copy| kept_of(copy)).collect())
    }

    /// What in the namespace counts pods of both revisions together, read once, when a flight may begin. What is not told, or
    /// may not be read, is no reason to hold anything up.
    async fn crowd(&self, rollout: &Rollout, deployment: Option<&Value>, sets: &[ReplicaSet]) -> Vec<Crowd> {
        let (Some(status), Some(deployment)) = (&rollout.status, deployment) else { return Vec::new() };
        let workload = status.workload.as_ref().and_then(|workload| workload.stable_replica_set.as_ref());
        let Some(stable) = sets.iter().find(|set| Some(&set.name) == workload) else { return Vec::new() };
        let at_rest = status.flight.is_none() && status.latch.is_none();
        if !at_rest || same_template(&deployment["spec"]["template"], &stable.template) {
            return Vec::new();
        }
        let namespace = rollout.namespace().unwrap_or_default();
        let (quotas, budgets) = (kinds::quotas(), kinds::budgets());
        let (quotas, budgets) =
            futures::join!(self.list(&quotas, &namespace, None), self.list(&budgets, &namespace, None));
        let quotas = quotas.unwrap_or_default();
        let budgets = budgets.unwrap_or_default();
        quotas.iter().flat_map(|quota| quota_of(quota)).chain(budgets.iter().map(|budget| budget_of(budget))).collect()
    }

    async fn pods(&self, namespace: &str, selector: Option<&str>) -> Result<Vec<Pod>, Error> {
        let Some(selector) = selector else { return Ok(Vec::new()) };
        let pods = self.list(&kinds::pods(), namespace, Some(selector)).await?;
        Ok(pods.iter().map(|pod| pod_of(pod)).collect())
    }

    async fn service(&self, namespace: &str, name: Option<&str>, uid: &str) -> Result<Option<Service>, Error> {
        let Some(name) = name else { return Ok(None) };
        let labels = format!("kubernetes.io/service-name={name}");
        let (services, slices) = (kinds::services(), kinds::slices());
        let (service, slices) =
            tokio::try_join!(self.get(&services, namespace, name), self.list(&slices, namespace, Some(&labels)))?;
        let Some(object) = service else { return Ok(None) };
        let mut service = Service { endpoints: endpoints_of(&slices), ..service_of(&object, uid) };
        if !service.ours && object["metadata"]["labels"].get(ROLLOUT_UID_LABEL).is_some() && !is_applied(&object) {
            let claim = Claim::of(&labels_of(&object), uid);
            service.orphaned = self.living(namespace, claim).await? == Claim::Free;
        }
        Ok(Some(service))
    }

    /// Services beside ours that select the pods. Looked for only while no candidate has pods: the list grows with the namespace.
    async fn other_services(
        &self,
        namespace: &str,
        deployment: Option<&Value>,
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
            seen != deployment["metadata"]["generation"].as_i64()
        });
        let Some(deployment) = deployment else { return Ok(Vec::new()) };
        let has_routes = rollout.spec.traffic.as_ref().is_some_and(|traffic| !traffic.routes.is_empty());
        if in_flight || (at_rest && !changed) || !has_routes {
            return Ok(Vec::new());
        }
        self.selecting(namespace, deployment, rollout).await
    }

    /// Services beside ours that select the Deployment's pods.
    async fn selecting(&self, namespace: &str, deployment: &Value, rollout: &Rollout) -> Result<Vec<Service>, Error> {
        let labels = strings(&deployment["spec"]["template"]["metadata"]["labels"]);
        let uid = rollout.uid().unwrap_or_default();
        let services = self.list(&kinds::services(), namespace, None).await?;
        let ours = rollout.spec.traffic.as_ref().and_then(|traffic| traffic.services.as_ref());
        let of_us = |name: &str| ours.is_some_and(|ours| ours.stable == name || ours.canary == name);
        Ok(services
            .iter()
            .map(|object| service_of(object, &uid))
            .filter(|service| !of_us(&service.name) && !service.selector.is_empty())
            .filter(|service| service.selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
            .collect())
    }

    /// The actions without an answer, oldest first, and one that is over since long ago.
    ///
    /// What was commanded before this Rollout was made went to another of its name, which may have obeyed: it is nobody's
    /// to answer any more.
    async fn actions(
        &self,
        namespace: &str,
        rollout: &Rollout,
    ) -> Result<(Vec<PendingAction>, Option<(String, String)>), Error> {
        let (kind, name) = (kinds::actions(), rollout.name_any());
        let of_rollout = ListParams::default().fields(&format!("spec.rollout={name}"));
        let list = match self.ask_for_all(&kind, namespace, &of_rollout).await {
            // API servers before 1.32 cannot select by a field of a custom resource.
            Err(kube::Error::Api(status)) if status.code == 400 => {
                self.ask_for_all(&kind, namespace, &ListParams::default()).await
            }
            other => other,
        };
        let list =
            list.map_err(|source| Error::Read { what: format!("actions of {namespace}"), source: Box::new(source) })?;
        // One that cannot be understood holds up no other.
        let readable = list.iter().filter_map(|action| RolloutAction::deserialize(&**action).ok());
        let made = |action: &RolloutAction| action.metadata.creation_timestamp.clone().map(|at| at.0);
        let begun = rollout.creation_timestamp().map(|at| at.0);
        let to_another = |action: &RolloutAction| made(action).zip(begun).is_some_and(|(said, begun)| said < begun);
        let (over, mut open): (Vec<_>, Vec<_>) = readable
            .filter(|action| action.spec.rollout == name)
            .partition(|action| outcome_of(action).is_some() || to_another(action));
        let now = self.now();
        let old = |action: &&RolloutAction| made(action).is_some_and(|at| now.duration_since(at) > ACTIONS_ARE_KEPT);
        let expired = over.iter().find(old).map(|action| (action.name_any(), action.uid().unwrap_or_default()));
        open.sort_by_key(|action| (made(action), action.name_any()));
        let vouched = !open.is_empty() && self.has_policy(AUTHOR_POLICY).await?;
        Ok((open.into_iter().map(|action| pending(action, vouched)).collect(), expired))
    }

    async fn is_ending(&self, namespace: &str) -> Result<bool, Error> {
        let found = self
            .ask_for(&kinds::namespaces(), "", namespace)
            .await
            .map_err(|source| Error::Read { what: format!("namespace {namespace}"), source: Box::new(source) })?;
        Ok(found.is_none_or(|namespace| !namespace["metadata"]["deletionTimestamp"].is_null()))
    }

    async fn route(
        &self,
        key: &Key,
        reference: &RouteRef,
        pair: Option<&Pair>,
        uid: &str,
        steps: &[Step],
    ) -> Result<Route, Error> {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let refused = self.refusals.of_route(key, reference);
        let seen_as = |reference: &RouteRef, found| {
            Ok(Route { reference: reference.clone(), found, refused: refused.clone(), unfit: None })
        };
        let (Some(kind), Some(pair), Ok(router)) = (kinds::resource_of(reference), pair, reference.router()) else {
            return seen_as(reference, Found::NotServed);
        };
        let unreadable = |what: &str, source: &kube::Error| {
            Found::Unreadable(format!("{} {what} cannot be read: {}", reference.kind, words_of(source)))
        };
        let followed = match reference.template.as_ref().and_then(|template| template.like.as_ref()) {
            None => None,
            Some(like) => match self.ask_for(&kind, namespace, like).await {
                Ok(main) => Some(reference.following(router, main.as_deref().unwrap_or(&Value::Null), pair)),
                Err(source) => return seen_as(reference, unreadable(like, &source)),
            },
        };
        let reference = followed.as_ref().unwrap_or(reference);
        let made = |found| seen_as(reference, found);
        let object = match self.ask(&kind, namespace, &reference.name, Ask::Get).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // A kind that is not served answers without details of an object.
                let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
                return made(if named { Found::Missing } else { Found::NotServed });
            }
            // The other routes of this Rollout do not wait for it.
            Err(source) => return made(unreadable(&reference.name, &source)),
        };
        let claim = self.living(namespace, Claim::of(&labels_of(&object), uid)).await?;
        let (seen, drifted) = match reference.ownership {
            Ownership::Fields => (router.read(&object, pair), false),
            Ownership::Operator => traffic::read_whole(router, reference, &object, pair),
        };
        let noted = |name: &str| object["metadata"]["annotations"][format!("{GROUP}/{name}")].as_str();
        let names_pair =
            noted("stable-service") == Some(&*pair.stable) && noted("canary-service") == Some(&*pair.canary);
        let unfit = seen.as_ref().ok().and_then(|_| unfit(steps, reference, router, &object, pair));
        let backends = router.services(&object);
        let pace = traffic::pace(&object);
        made(Found::Object { claim, names_pair, seen, drifted, backends, pace }).map(|route| Route { unfit, ..route })
    }

    /// A claim of a Rollout that is gone, or of a former one of the same name, is none.
    async fn living(&self, namespace: &str, claim: Claim) -> Result<Claim, Error> {
        let Claim::Foreign(held) = claim else { return Ok(claim) };
        let (name, uid) = held.split_once('/').unwrap_or((&held, ""));
        let holder = self.get(&kinds::rollouts(), namespace, name).await?;
        let lives = holder.is_some_and(|holder| holder["metadata"]["uid"] == uid);
        Ok(if lives { Claim::Foreign(name.to_owned()) } else { Claim::Free })
    }
}

/// The first step that a route cannot carry as it stands, and why. Steps that ask the same are tried once.
fn unfit(steps: &[Step], reference: &RouteRef, router: &dyn Router, route: &Value, pair: &Pair) -> Option<String> {
    let mut tried = Vec::new();
    steps.iter().find_map(|step| {
        let split = step.split();
        if tried.contains(&split) {
            return None;
        }
        let why = match reference.ownership {
            Ownership::Fields => router.steer(route, pair, split.weight).err(),
            Ownership::Operator => {
                let namespace = route["metadata"]["namespace"].as_str().unwrap_or_default();
                router.whole(reference, namespace, pair, &split).err()
            }
        };
        tried.push(split);
        why.map(|why| format!("spec.steps: the route cannot carry step {}: {why}", step.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_canary_ingress_of_ours_follows_the_one_that_takes_all_requests() {
        let backend = |host: &str, class: &str, service: &str| {
            let paths = json!([{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}]);
            json!({"ingressClassName": class, "rules": [{"host": host, "http": {"paths": paths}}]})
        };
        let entry: RouteRef = serde_json::from_value(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop-canary", "router": "nginx",
            "ownership": "Operator", "template": {"like": "shop", "annotations": {"nginx.ingress.kubernetes.io/canary": "true"}},
        }))
        .unwrap();
        let pair = Pair { stable: "s".into(), canary: "c".into(), port: 80, also: Vec::new() };
        let router = entry.router().unwrap();
        let main =
            |host, class| json!({"metadata": {"name": "shop", "namespace": "n"}, "spec": backend(host, class, "s")});
        let split = crate::traffic::Split::from(crate::vocab::Weight::new(20).unwrap());
        let stored = router.whole(&entry.following(router, &main("a.test", "one"), &pair), "n", &pair, &split).unwrap();
        let step: Step = serde_json::from_value(json!({"name": "few", "weight": 5, "observe": "1m"})).unwrap();
        for (now, drifts) in [
            (Some(main("a.test", "one")), Some(false)),
            (Some(main("b.test", "one")), Some(true)),
            (Some(main("a.test", "two")), Some(true)),
            (None, None),
        ] {
            let (there, canary) = (now.clone(), stored.clone());
            let (cluster, _) = super::super::tests::cluster(move |call, _| match &there {
                _ if call.ends_with("/ingresses/shop-canary") => (200, canary.clone()),
                Some(main) if call.ends_with("/ingresses/shop") => (200, main.clone()),
                _ => (
                    404,
                    json!({"kind": "Status", "code": 404, "reason": "NotFound", "status": "Failure", "message": "", "details": {"name": "shop"}}),
                ),
            });
            let key = Key::new("shop").within("n");
            let route = cluster.route(&key, &entry, Some(&pair), "uid", std::slice::from_ref(&step)).await.unwrap();
            let Found::Object { seen, drifted, .. } = route.found else { panic!("{now:?}") };
            match drifts {
                Some(drifts) => {
                    assert_eq!((seen.is_ok(), drifted, route.unfit), (true, drifts, None), "{now:?}");
                    let written = router.whole(&route.reference, "n", &pair, &split).unwrap();
                    let main = &now.unwrap()["spec"];
                    assert_eq!(
                        written["spec"],
                        backend(
                            main["rules"][0]["host"].as_str().unwrap(),
                            main["ingressClassName"].as_str().unwrap(),
                            "c"
                        )
                    );
                }
                None => assert!(seen.unwrap_err().to_string().contains("names Ingress shop, which is not there")),
            }
        }
    }

    #[test]
    fn a_step_that_a_route_cannot_carry_is_found_before_it_begins_and_named() {
        let backends = |stable| json!([{"name": "s", "port": 80, "weight": stable}, {"name": "c", "port": 80, "weight": 0}, {"name": "other", "port": 80, "weight": 30}]);
        let route = |stable: u32| {
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop", "namespace": "n"},
                "spec": {"rules": [{"backendRefs": backends(stable)}]},
            })
        };
        let steps: Vec<Step> = serde_json::from_value(json!([
            {"name": "warm", "weight": 0, "observe": "1m"}, {"name": "ten", "weight": 10, "observe": "1m"},
            {"name": "few", "weight": 5, "observe": "1m"}, {"name": "again", "weight": 5, "observe": "1m"},
        ]))
        .unwrap();
        let pair = Pair { stable: "s".into(), canary: "c".into(), port: 80, also: Vec::new() };
        let reference = |ownership: &str, stable: u32| -> RouteRef {
            let mut entry = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop", "ownership": ownership});
            if ownership == "Operator" {
                entry["template"] = json!({"spec": route(stable)["spec"]});
            }
            serde_json::from_value(entry).unwrap()
        };
        for ownership in ["Fields", "Operator"] {
            let found = |stable| {
                let entry = reference(ownership, stable);
                unfit(&steps, &entry, entry.router().unwrap(), &route(stable), &pair)
            };
            let why = found(70).unwrap();
            assert!(why.contains("step few:") && why.contains("multiply every weight of this rule by 10"), "{why}");
            assert_eq!(found(700), None);
        }
    }
}
