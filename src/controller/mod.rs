//! Watches and wakes in, looks out: when to look at which Rollout. What is decided there is `plan`'s business.
//!
//! Watches carry metadata only, and only of objects that bear our label, so their size follows what is held, not what the cluster has.
mod backoff;
mod lead;
mod reconcile;
mod watches;

pub use lead::{Ended, lead};
pub use reconcile::reconcile;

use crate::{
    api::{ROLLOUT_LABEL, Rollout},
    cluster::{self, Cluster, Error, Key},
};
use backoff::Backoff;
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Service,
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Config},
        reflector,
        reflector::ObjectRef,
        watcher,
    },
};
use std::{fmt::Debug, sync::Arc, time::Duration};

/// A Rollout as the watch shows it: its name is enough, for each look reads the rest.
pub type Root = PartialObjectMeta<Rollout>;

/// What a watch of metadata tells.
type Metadata<K> = BoxStream<'static, watcher::Result<watcher::Event<PartialObjectMeta<K>>>>;

/// Which Rollouts are looked at, and how.
#[derive(Clone, Debug)]
pub struct Care {
    /// The namespaces that are watched; none is all of them.
    pub namespaces: Vec<String>,
    /// So many Rollouts are looked at side by side at the most; 0 is no limit.
    pub side_by_side: u16,
    /// A look that takes longer is given up, so that its place is free for others.
    pub longest_look: Duration,
}

impl Default for Care {
    fn default() -> Self {
        Self { namespaces: Vec::new(), side_by_side: 16, longest_look: Duration::from_secs(30) }
    }
}

/// What every look needs.
pub struct Context {
    /// The hands.
    pub cluster: Cluster,
    /// Who failed how often in a row.
    pub backoff: Backoff,
    /// A look that takes longer is given up.
    pub longest_look: Duration,
}

/// No wait at all. Each watch waits by itself before it is tried again; the runtime's own wait is for all watches together,
/// which would leave every change unseen while one of them is broken.
struct AtOnce;

impl Iterator for AtOnce {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl kube::runtime::utils::Backoff for AtOnce {
    fn reset(&mut self) {}
}

/// Looks at Rollouts whenever something of theirs changes or is due, until `stop` ends.
pub async fn run(
    cluster: Cluster,
    care: Care,
    wakes: impl Stream<Item = Key> + Send + 'static,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let Care { namespaces, side_by_side, longest_look } = care;
    let scope = Scope { cluster: cluster.clone(), namespaces };
    let (reader, writer) = reflector::store();
    let config = watcher::Config::default();
    // One that loses the label is for this watch one that was deleted.
    let config = cluster.shard().selector().map_or_else(|| config.clone(), |selector| config.clone().labels(&selector));
    // Who wrote which field of them is nothing that a store should hold.
    let small = |watch: Metadata<Rollout>| watch.modify(|root| root.managed_fields_mut().clear()).boxed();
    let roots = watches::together(scope.metadata::<Rollout>(&config).into_iter().map(small));
    let roots = roots.reflect(writer).touched_objects();
    let mut controller = Controller::for_stream(roots, reader)
        .with_config(Config::default().concurrency(side_by_side))
        .trigger_backoff(AtOnce)
        .watches_stream(scope.labelled::<Deployment>(), by_label)
        .watches_stream(scope.labelled::<ReplicaSet>(), by_label)
        .watches_stream(scope.labelled::<Service>(), by_label)
        // The EndpointSlice controller copies a Service's labels.
        .watches_stream(scope.labelled::<EndpointSlice>(), by_label)
        .watches_stream_with(scope.dynamic(&cluster::actions(), false), by_spec, cluster::actions())
        .reconcile_on(wakes.map(|key| ObjectRef::<Root>::new(&key.name).within(&key.namespace.unwrap_or_default())))
        .graceful_shutdown_on(stop);
    for versions in crate::traffic::kinds() {
        let versions: Vec<_> = versions.into_iter().map(cluster::resource_named).collect();
        let Some(kind) = versions.first().cloned() else { continue };
        controller = controller.watches_stream_with(scope.routes(versions), by_label_of, kind);
    }
    let context = Arc::new(Context { cluster, backoff: Backoff::default(), longest_look });
    controller
        .run(reconcile, on_error, context.clone())
        .for_each(|result| async {
            match result {
                Ok(_) | Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                // Gone, or another operator's: nothing of it is kept here.
                Err(kube::runtime::controller::Error::ObjectNotFound(gone)) => {
                    let key = Key::new(&gone.name).within(&gone.namespace.unwrap_or_default());
                    context.backoff.succeeded(&key);
                    reconcile::forget(&context.cluster, &key);
                }
                Err(error) => tracing::warn!(%error, "a watch was interrupted"),
            }
        })
        .await;
}

/// When to look again at a Rollout whose look failed: others do not wait for it.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
fn on_error(root: Arc<Root>, error: &Error, context: Arc<Context>) -> Action {
    Action::requeue(after_failure(&key_of(&root), root.metadata.generation, error, &context))
}

/// How long to wait after a look that failed.
fn after_failure(key: &Key, generation: Option<i64>, error: &Error, context: &Context) -> Duration {
    if error.is_conflict() {
        tracing::debug!(rollout = %key, error = error.chain(), "somebody else was faster; looking again");
        return context.backoff.raced(key);
    }
    let errors = &context.cluster.telemetry().errors;
    errors.get_or_create(&crate::telemetry::ErrorLabels { category: error.category() }).inc();
    let wait = match error {
        Error::Panicked(_) => context.backoff.quarantine(key, generation),
        Error::TooSlow(_) => context.backoff.short_quarantine(key, generation),
        _ => context.backoff.failed(key),
    };
    tracing::warn!(rollout = %key, error = error.chain(), again_in_ms = wait.as_millis(), "a look failed");
    wait
}

/// One look, without a controller around it, and when to look again.
#[cfg(test)]
pub async fn look(key: &Key, context: &Context) -> Option<Duration> {
    match reconcile::guarded(context, key).await {
        Ok(again) => again,
        Err(error) => Some(after_failure(key, None, &error, context)),
    }
}

/// The key of a Rollout as the watch shows it.
pub fn key_of(root: &Root) -> Key {
    Key::new(&root.name_any()).within(&root.namespace().unwrap_or_default())
}

#[derive(Clone)]
struct Scope {
    cluster: Cluster,
    namespaces: Vec<String>,
}

impl Scope {
    fn apis<K>(&self) -> Vec<Api<PartialObjectMeta<K>>>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        if self.namespaces.is_empty() {
            return vec![Api::all(self.cluster.client())];
        }
        self.namespaces.iter().map(|namespace| Api::namespaced(self.cluster.client(), namespace)).collect()
    }

    fn metadata<K>(&self, config: &watcher::Config) -> Vec<Metadata<K>>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + 'static,
        K: serde::de::DeserializeOwned,
    {
        let apis = self.apis::<K>();
        apis.into_iter().map(|api| watcher(api, config.clone()).default_backoff().boxed()).collect()
    }

    fn labelled<K>(&self) -> BoxStream<'static, watcher::Result<PartialObjectMeta<K>>>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + 'static,
        K: serde::de::DeserializeOwned,
    {
        let watches = self.metadata::<K>(&watcher::Config::default().labels(ROLLOUT_LABEL));
        stream::select_all(watches).touched_objects().boxed()
    }

    fn dynamic(&self, kind: &ApiResource, labelled: bool) -> BoxStream<'static, watcher::Result<DynamicObject>> {
        let config =
            if labelled { watcher::Config::default().labels(ROLLOUT_LABEL) } else { watcher::Config::default() };
        let apis: Vec<Api<DynamicObject>> = if self.namespaces.is_empty() {
            vec![Api::all_with(self.cluster.client(), kind)]
        } else {
            self.namespaces
                .iter()
                .map(|namespace| Api::namespaced_with(self.cluster.client(), namespace, kind))
                .collect()
        };
        let streams =
            apis.into_iter().map(|api| watcher(api, config.clone()).default_backoff().touched_objects().boxed());
        stream::select_all(streams).boxed()
    }

    /// Routes of a kind that has these versions, from when one of them is served.
    fn routes(&self, versions: Vec<ApiResource>) -> BoxStream<'static, watcher::Result<DynamicObject>> {
        let scope = self.clone();
        let watched = async move { scope.dynamic(&scope.cluster.served(&versions).await, true) };
        stream::once(watched).flatten().boxed()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
fn by_label<K: ResourceExt>(object: K) -> Option<ObjectRef<Root>> {
    let name = object.labels().get(ROLLOUT_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
fn by_label_of(object: DynamicObject) -> Option<ObjectRef<Root>> {
    let name = object.labels().get(ROLLOUT_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
fn by_spec(action: DynamicObject) -> Option<ObjectRef<Root>> {
    let name = action.data.get("spec")?.get("rollout")?.as_str()?;
    Some(ObjectRef::new(name).within(&action.namespace()?))
}
