//! One effect, one API write. What was read a moment ago goes along as uid and resourceVersion: a lost race is a conflict.
use super::{
    Ask, Care, Cluster, Error, Key,
    facts::{HASH_ANNOTATION, is_apply, items},
    key_of, kinds,
    requests::MANAGER,
};
use crate::{
    api::{FINALIZER, GROUP, HASH_LABEL, REVISION_LABEL, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Rollout},
    plan::{Effect, Map, Target, claim_labels},
    telemetry::WriteLabels,
    traffic::{self, Ownership, RouteRef, Split, Unsteerable},
    vocab::Pair,
};
use futures::future::join_all;
use kube::{
    ResourceExt,
    api::{ApiResource, DeleteParams},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// So often a route's weights are written anew when somebody else wrote the route in between.
const TRIES: u32 = 4;

impl Cluster {
    /// Performs one effect.
    ///
    /// # Errors
    /// When the API server refuses it or does not answer; a conflict says that the look it came from is out of date.
    pub async fn perform(&self, rollout: &Rollout, effect: &Effect) -> Result<(), Error> {
        let done = self.write(rollout, effect).await;
        self.refusals.ended(&key_of(rollout), effect, &done);
        let done = done.map_err(|source| Error::Write {
            verb: effect.verb(),
            object: effect.object(),
            source: Box::new(source),
        });
        let outcome = match &done {
            Ok(()) => "ok",
            Err(error) if error.is_conflict() => "conflict",
            Err(_) => "error",
        };
        self.telemetry.api_writes.get_or_create(&WriteLabels { effect: effect.verb(), outcome }).inc();
        done
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each effect, and each arm is one call")]
    async fn write(&self, rollout: &Rollout, effect: &Effect) -> Result<(), kube::Error> {
        let namespace = rollout.namespace().unwrap_or_default();
        let uid = rollout.uid().unwrap_or_default();
        let claim = |claimed: bool| {
            let labels = claim_labels(&rollout.name_any(), &uid);
            labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), if claimed { json!(value) } else { Value::Null }))
                .collect::<Value>()
        };
        match effect {
            Effect::Finalize { present } => {
                let others = rollout.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned();
                let finalizers: Vec<String> = others.chain(present.then(|| FINALIZER.to_owned())).collect();
                let target = Target {
                    name: rollout.name_any(),
                    uid,
                    resource_version: rollout.resource_version().unwrap_or_default(),
                };
                self.patch(&kinds::rollouts(), &namespace, &target, json!({"metadata": {"finalizers": finalizers}}))
                    .await
            }
            Effect::ClaimWorkload { deployment, claimed } => {
                let change = json!({"metadata": {"labels": claim(*claimed)}});
                self.patch(&kinds::deployments(), &namespace, deployment, change).await
            }
            Effect::ClaimRoute { route, pair, claimed } => {
                let written = self.claim_route(&namespace, route, pair, claim(*claimed), *claimed).await;
                // What is let go waits for nobody, and a claim that stays behind holds nothing.
                if *claimed { written } else { self.or_left_aside(&key_of(rollout), route, written) }
            }
            Effect::CreateService { name, spec, deployment } => {
                let service = json!({
                    "apiVersion": "v1", "kind": "Service",
                    "metadata": {"name": name, "labels": claim(true), "ownerReferences": owners_of_service(rollout, deployment)},
                    "spec": spec,
                });
                self.create(&kinds::services(), &namespace, service).await
            }
            Effect::ClaimService { service, deployment } => {
                let mut metadata = json!({"labels": claim(true)});
                if let Some(deployment) = deployment {
                    metadata["ownerReferences"] = owners_of_service(rollout, deployment);
                }
                self.patch(&kinds::services(), &namespace, service, json!({"metadata": metadata})).await
            }
            Effect::Select { service, selector, from } => {
                let change = json!({"spec": {"selector": merge(from, selector)}});
                self.patch(&kinds::services(), &namespace, service, change).await
            }
            Effect::Pause { deployment, paused } => {
                let paused = if *paused { json!(true) } else { Value::Null };
                self.patch(&kinds::deployments(), &namespace, deployment, json!({"spec": {"paused": paused}})).await
            }
            Effect::TakeOut { set, labels, revision, deployment } => {
                let mut new: Map =
                    claim_labels(&rollout.name_any(), &uid).map(|(key, value)| (key.to_owned(), value)).into();
                new.insert(REVISION_LABEL.to_owned(), revision.clone());
                let owners = json!([rollout_owner(rollout, true), plain_owner(deployment)]);
                let change = json!({"metadata": {"labels": merge(labels, &new), "ownerReferences": owners}});
                self.patch(&kinds::replica_sets(), &namespace, set, change).await
            }
            Effect::HandIn { set, labels, annotations, deployment } => {
                let mut old: Map = claim_labels("", "").map(|(key, value)| (key.to_owned(), value)).into();
                old.insert(REVISION_LABEL.to_owned(), String::new());
                let owner = json!({
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name, "uid": deployment.uid,
                    "controller": true, "blockOwnerDeletion": true,
                });
                let change = json!({"metadata": {
                    "labels": merge(&old, labels), "annotations": annotations, "ownerReferences": [owner],
                }});
                self.patch(&kinds::replica_sets(), &namespace, set, change).await
            }
            Effect::CreateCandidate { name, replicas, revision, template, selector, min_ready_seconds, deployment } => {
                let (replicas, min_ready_seconds) = (*replicas, *min_ready_seconds);
                let candidate = Candidate { name, replicas, revision, template, selector, min_ready_seconds };
                self.create(&kinds::replica_sets(), &namespace, candidate.object(rollout, deployment, &claim(true)))
                    .await
            }
            Effect::Scale { set, replicas } => {
                self.patch(&kinds::replica_sets(), &namespace, set, json!({"spec": {"replicas": replicas}})).await
            }
            Effect::Delete { set } => {
                let params = DeleteParams {
                    preconditions: Some(kube::api::Preconditions {
                        uid: Some(set.uid.clone()),
                        resource_version: Some(set.resource_version.clone()),
                    }),
                    ..DeleteParams::background()
                };
                self.delete(&kinds::replica_sets(), &namespace, &set.name, params).await
            }
            Effect::SetWeights { split, pair, routes } => {
                let all = join_all(routes.iter().map(|route| self.weigh(&namespace, route, pair, split))).await;
                let (key, mut passing) = (key_of(rollout), None);
                for (route, written) in routes.iter().zip(all) {
                    match self.or_left_aside(&key, route, written) {
                        Err(kube::Error::Api(status)) if status.code == 409 => return Err(kube::Error::Api(status)),
                        Err(error) => passing = Some(error),
                        Ok(()) => {}
                    }
                }
                passing.map_or(Ok(()), Err)
            }
            Effect::WriteRoute { route, pair, split } => {
                let kind = kind_of(route)?;
                let router = route.router().map_err(unsteerable)?;
                let whole = router.whole(route, &namespace, pair, split).map_err(unsteerable)?;
                let written = self.create_strictly(&kind, &namespace, whole).await;
                self.or_left_aside(&key_of(rollout), route, written)
            }
            Effect::Expire { name, uid } => {
                let preconditions = Some(kube::api::Preconditions { uid: Some(uid.clone()), resource_version: None });
                let params = DeleteParams { preconditions, ..DeleteParams::default() };
                self.delete(&kinds::actions(), &namespace, name, params).await
            }
            Effect::KeepTemplate { name, hash, template, deployment } => {
                let copy = json!({
                    "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": {"template": template},
                    "metadata": {
                        "name": name, "labels": claim(true), "annotations": {HASH_ANNOTATION: hash},
                        "ownerReferences": [plain_owner(deployment), rollout_owner(rollout, false)],
                    },
                });
                match self.create(&kinds::controller_revisions(), &namespace, copy).await {
                    Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                        self.without_leftover(&namespace, name, rollout).await
                    }
                    done => done,
                }
            }
            Effect::ForgetTemplate { name } => {
                self.delete(&kinds::controller_revisions(), &namespace, name, DeleteParams::default()).await
            }
        }
    }

    /// The copy of a template that a Rollout has left which is no more is deleted; the next look makes ours.
    async fn without_leftover(&self, namespace: &str, name: &str, rollout: &Rollout) -> Result<(), kube::Error> {
        let kind = kinds::controller_revisions();
        let Some(copy) = self.ask_for(&kind, namespace, name).await? else { return Ok(()) };
        let labels = &copy["metadata"]["labels"];
        let holder = labels[ROLLOUT_LABEL].as_str().unwrap_or_default();
        let living = self.ask_for(&kinds::rollouts(), namespace, holder).await?;
        let of_living = living.is_some_and(|living| labels[ROLLOUT_UID_LABEL] == living["metadata"]["uid"]);
        let is_ours = labels[ROLLOUT_UID_LABEL].as_str() == rollout.uid().as_deref();
        if holder.is_empty() || (of_living && !is_ours) {
            return Err(kube::Error::Api(Box::new(
                kube::core::Status::failure(
                    &format!("ControllerRevision {name} is there already and is somebody else's: delete it"),
                    "Invalid",
                )
                .with_code(422),
            )));
        }
        self.delete(&kind, namespace, name, DeleteParams::default()).await
    }

    async fn create(&self, kind: &ApiResource, namespace: &str, object: Value) -> Result<(), kube::Error> {
        self.ask(kind, namespace, "", Ask::Create(object, Care::Plain)).await.map(|_| ())
    }

    /// Refused with a field that the API server does not know.
    pub(super) async fn create_strictly(
        &self,
        kind: &ApiResource,
        namespace: &str,
        object: Value,
    ) -> Result<(), kube::Error> {
        self.ask(kind, namespace, "", Ask::Create(object, Care::Strict)).await.map(|_| ())
    }

    /// That it is gone already is no mistake.
    pub(super) async fn delete(
        &self,
        kind: &ApiResource,
        namespace: &str,
        name: &str,
        params: DeleteParams,
    ) -> Result<(), kube::Error> {
        match self.ask(kind, namespace, name, Ask::Delete(Box::new(params))).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// A merge patch that only fits the object as it was read.
    async fn patch(
        &self,
        kind: &ApiResource,
        namespace: &str,
        target: &Target,
        mut change: Value,
    ) -> Result<(), kube::Error> {
        let metadata = change.as_object_mut().map(|change| change.entry("metadata").or_insert_with(|| json!({})));
        if let Some(metadata) = metadata {
            metadata["uid"] = json!(target.uid);
            metadata["resourceVersion"] = json!(target.resource_version);
        }
        self.ask(kind, namespace, &target.name, Ask::Merge(change)).await.map(|_| ())
    }

    /// A route that cannot be written is left aside in time: the next look knows, and goes on with what else there is to do.
    fn or_left_aside(&self, key: &Key, route: &RouteRef, written: Result<(), kube::Error>) -> Result<(), kube::Error> {
        match written {
            Err(kube::Error::Api(status)) if status.code == 409 => Err(kube::Error::Api(status)),
            Err(error) if self.refusals.route_failed(key, route, &error) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.refusals.route_written(key, route);
                Ok(())
            }
        }
    }

    /// The labels say whose the route is; the annotations tell the admission policy which weights are ours.
    async fn claim_route(
        &self,
        namespace: &str,
        route: &RouteRef,
        pair: &Pair,
        labels: Value,
        claimed: bool,
    ) -> Result<(), kube::Error> {
        let value = |text: &str| if claimed { json!(text) } else { Value::Null };
        let annotations = json!({
            format!("{GROUP}/stable-service"): value(&pair.stable),
            format!("{GROUP}/canary-service"): value(&pair.canary),
        });
        let change = json!({"metadata": {"labels": labels, "annotations": annotations}});
        self.ask(&kind_of(route)?, namespace, &route.name, Ask::Merge(change)).await.map(|_| ())
    }

    /// Reads the route, edits our weights where they stand, and sends it all back at the version that was read.
    pub(super) async fn weigh(
        &self,
        namespace: &str,
        route: &RouteRef,
        pair: &Pair,
        split: &Split,
    ) -> Result<(), kube::Error> {
        let kind = kind_of(route)?;
        let router = route.router().map_err(unsteerable)?;
        let mut tries = 0;
        loop {
            let edit = |stored: &Value| match route.ownership {
                Ownership::Fields => router.steer(stored, pair, split.weight),
                Ownership::Operator => router
                    .whole(route, namespace, pair, split)
                    .map(|wanted| traffic::renew(router, stored, &wanted, pair)),
            };
            let stored = self.ask(&kind, namespace, &route.name, Ask::Get).await?;
            let edited = edit(&stored);
            let Some(edited) = edited.map_err(unsteerable)? else { return Ok(()) };
            tries += 1;
            let care = match route.ownership {
                Ownership::Fields => Care::Plain,
                Ownership::Operator => Care::Strict,
            };
            let written = self.ask(&kind, namespace, &route.name, Ask::Replace(edited, care)).await;
            match written {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {}
                // Written again as it is, it would come out like this again.
                Ok(stored) if !matches!(edit(&stored), Ok(None)) => return Err(stored_otherwise()),
                Ok(stored) => {
                    self.own_nothing(&kind, namespace, stored).await;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lists of rules have one owner as a whole. Whoever applies the route on the server and changes something in them would be
    /// told of a conflict, with us, who only change two numbers: so we own nothing of what is somebody's to apply. Where that
    /// cannot be written the weight stands all the same.
    async fn own_nothing(&self, kind: &ApiResource, namespace: &str, mut stored: Arc<Value>) {
        let is_ours = |entry: &&Value| entry["manager"] == MANAGER && entry["operation"] == "Update";
        let name = stored["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        for _ in 0..TRIES {
            let entries = items(&stored["metadata"]["managedFields"]);
            let others: Vec<_> = entries.iter().filter(|entry| !is_ours(entry)).collect();
            if others.len() == entries.len() || !entries.iter().any(is_apply) {
                return;
            }
            let version = &stored["metadata"]["resourceVersion"];
            let change = json!({"metadata": {"resourceVersion": version, "managedFields": others}});
            let failed = match self.ask(kind, namespace, &name, Ask::Merge(change)).await {
                Ok(_) => return,
                // Its controller has written what it thinks of the weight.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    self.ask(kind, namespace, &name, Ask::Get).await.map(|read| stored = read).err()
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                tracing::debug!(route = name, error = error.to_string(), "its fields stay owned");
                return;
            }
        }
    }
}

struct Candidate<'a> {
    name: &'a str,
    replicas: i32,
    revision: &'a str,
    template: &'a Value,
    selector: &'a Value,
    min_ready_seconds: i32,
}

impl Candidate<'_> {
    /// The Deployment's template and selector as they are, with the hash label; owned by both, controlled by us, and with labels
    /// of its own that the Deployment's selector does not match, else the Deployment controller would take it.
    fn object(&self, rollout: &Rollout, deployment: &Target, claim: &Value) -> Value {
        let mut template = self.template.clone();
        let mut selector = self.selector.clone();
        template["metadata"]["labels"][HASH_LABEL] = json!(self.revision);
        selector["matchLabels"][HASH_LABEL] = json!(self.revision);
        let mut labels = claim.clone();
        labels[REVISION_LABEL] = json!(self.revision);
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": self.name, "labels": labels,
                "ownerReferences": [rollout_owner(rollout, true), plain_owner(deployment)],
            },
            "spec": {"replicas": self.replicas, "minReadySeconds": self.min_ready_seconds, "selector": selector, "template": template},
        })
    }
}

pub(super) fn rollout_owner(rollout: &Rollout, controller: bool) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "Rollout", "name": rollout.name_any(), "uid": rollout.uid(),
        "controller": controller, "blockOwnerDeletion": false,
    })
}

/// The second owner: what it owns survives the Rollout, whoever deletes it and how.
fn plain_owner(deployment: &Target) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name, "uid": deployment.uid,
        "controller": false, "blockOwnerDeletion": false,
    })
}

/// A Service belongs to both, and goes when neither is left.
fn owners_of_service(rollout: &Rollout, deployment: &Target) -> Value {
    json!([plain_owner(deployment), rollout_owner(rollout, false)])
}

/// A map for a merge patch: what is wanted, and null for what was there and is not.
fn merge(from: &Map, to: &Map) -> Value {
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    gone.chain(to.iter().map(|(key, value)| (key.clone(), json!(value)))).collect()
}

fn kind_of(route: &RouteRef) -> Result<ApiResource, kube::Error> {
    kinds::resource_of(route).ok_or_else(|| {
        kube::Error::Service(format!("{} of {} cannot be weighed", route.kind, route.api_version).into())
    })
}

/// Something changes it on its way into the store, each time.
fn stored_otherwise() -> kube::Error {
    let words = "it is stored otherwise than it is written: something in the API server changes it, such as a mutating webhook or a \
                 policy, or drops what the route's template says";
    kube::Error::Api(kube::core::Status::failure(words, "StoredOtherwise").with_code(500).boxed())
}

/// A route that cannot be weighed was another one a moment ago.
fn unsteerable(why: Unsteerable) -> kube::Error {
    kube::Error::Service(why.into())
}
