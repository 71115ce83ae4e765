//! A namespace that lasts as long as a story, and waiting for what should come about in it.
use crate::process::{kubectl, run};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams},
};
use serde_json::{Value, json};
use std::{
    panic::AssertUnwindSafe,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Two of a name may begin within the same millisecond.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Where the operator lives.
pub const OPERATOR_NAMESPACE: &str = "bellwether-system";
/// Where Prometheus lives.
pub const MONITORING: &str = "monitoring";
/// How every namespace of a story begins.
pub const PREFIX: &str = "e2e-";

/// What all stories share: the operator, the gateway, Prometheus. Who disturbs them holds this alone.
static SHARED: RwLock<()> = RwLock::new(());

/// A story's right to count on what all share.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    SHARED.read().unwrap_or_else(PoisonError::into_inner)
}

/// A story's right to disturb what all share.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    SHARED.write().unwrap_or_else(PoisonError::into_inner)
}

/// That Rollouts rest while others disturb what they share. Who would wake them, whatever happens, holds this alone.
static REST: RwLock<()> = RwLock::new(());

/// A story's right to count on it that nothing happens to its Rollouts.
pub fn at_rest() -> RwLockReadGuard<'static, ()> {
    REST.read().unwrap_or_else(PoisonError::into_inner)
}

/// A story's right to wake every Rollout there is.
pub fn nobody_rests() -> RwLockWriteGuard<'static, ()> {
    REST.write().unwrap_or_else(PoisonError::into_inner)
}

/// A namespace on a real cluster.
pub struct World {
    /// The client, with an administrator's rights.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// When it was made, in Unix milliseconds.
    pub since: f64,
}

/// Runs a story in a namespace that is made for it and removed afterwards.
///
/// When the story fails, what can be seen of it is printed first. A namespace that does not end is a failure too, for
/// the operator's finalizer is the only thing that could hold it.
pub fn with_temp_ns(name: &str, story: impl AsyncFnOnce(&World)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        // kube and reqwest share one TLS provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World::make(name).await;
        let result = AssertUnwindSafe(story(&world)).catch_unwind().await;
        if let Err(panic) = result {
            world.dump().await;
            if std::env::var_os("BELLWETHER_KEEP").is_none() {
                world.remove().await;
            }
            std::panic::resume_unwind(panic);
        }
        world.remove().await;
        world.until_gone().await;
    });
}

impl World {
    async fn make(name: &str) -> Self {
        let client = Client::try_default().await.expect("a cluster: run this inside `hack/cluster exec`");
        let since = now_ms();
        let namespace = format!("{PREFIX}{name}-{:.0}-{}", since % 1e8, NEXT.fetch_add(1, Ordering::Relaxed));
        let world = Self { client, namespace, since };
        world.create().await;
        world
    }

    /// Creates the namespace, also once more when it is gone.
    pub async fn create(&self) {
        let labels = json!({"bellwether.dev/e2e": "true"});
        let object = json!({"metadata": {"name": self.namespace, "labels": labels}});
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Deletes the namespace, and what the story may have made outside of it.
    pub async fn remove(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        if let Err(error) = namespaces.delete(&self.namespace, &DeleteParams::default()).await {
            eprintln!("namespace {} cannot be deleted: {error}", self.namespace);
        }
        // All that it may have made there has its name.
        for (namespace, kinds) in [("", "clustermetricproviders"), (MONITORING, "deployments,services")] {
            let said = kubectl(namespace, &["delete", kinds, &self.namespace, "--ignore-not-found"]).await;
            if !said.ok {
                eprintln!("{}", said.err);
            }
        }
    }

    /// Waits until the namespace has ended.
    pub async fn until_gone(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        // Another story may have taken the API server away for a moment.
        until("the story's namespace ends", 120, async || match namespaces.get_opt(&self.namespace).await {
            Ok(None) => Ok(()),
            Ok(Some(left)) => Err(json!(left.status).to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    /// Prints what a person would look at first.
    async fn dump(&self) {
        let namespace = &self.namespace;
        eprintln!("==== {namespace}: what is there after the failure");
        for args in [
            &["get", "rollouts", "-o", "yaml"][..],
            &["get", "deployments,replicasets,pods,services,endpointslices", "-o", "wide", "--show-labels"],
            &["get", "httproutes", "-o", "yaml"],
            &["get", "rolloutactions", "-o", "yaml"],
            &["get", "events.events.k8s.io", "--sort-by=.metadata.creationTimestamp"],
        ] {
            let said = kubectl(namespace, args).await;
            eprintln!("---- kubectl {}\n{}{}", args.join(" "), said.out, said.err);
        }
        let logs = ["logs", "-l", "app.kubernetes.io/name=bellwether", "--prefix", "--tail=20000"];
        let said = kubectl(OPERATOR_NAMESPACE, &logs).await;
        let lines: Vec<_> = said.out.lines().filter(|line| line.contains(namespace.as_str())).collect();
        eprintln!("---- the operator's log\n{}\n{}", lines[lines.len().saturating_sub(120)..].join("\n"), said.err);
    }

    /// Applies objects to the namespace as people and Git tools do. Returns what kubectl said.
    pub async fn apply(&self, how: Apply, objects: &[Value]) -> crate::process::Said {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        run("kubectl", &[&["-n", &self.namespace, "apply", "-f", "-"], how.flags()].concat(), &list).await
    }

    /// Applies objects that must be taken.
    pub async fn applied(&self, how: Apply, objects: &[Value]) {
        self.apply(how, objects).await.well("kubectl apply");
    }

    /// Objects of a kind in the namespace.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// An object of the namespace, if it is there.
    pub async fn find(&self, kind: Kind, name: &str) -> Option<Value> {
        let found = self.api(kind).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    /// An object of the namespace.
    pub async fn get(&self, kind: Kind, name: &str) -> Value {
        self.find(kind, name).await.unwrap_or_else(|| panic!("there is no {kind:?} {name} in {}", self.namespace))
    }
}

/// How objects are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// On the server, with force, as Flux and Argo CD do.
    ServerSide,
    /// On the server, and conflicts are errors, as Helm 4 does.
    Gently,
    /// By three-way merge in kubectl.
    ClientSide,
    /// By kubectl, and nobody looks for misspelt fields, as many Git tools do it.
    Unvalidated,
}

impl Apply {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::ServerSide => &["--server-side", "--force-conflicts", "--field-manager=git"],
            Self::Gently => &["--server-side", "--field-manager=git"],
            Self::ClientSide => &[],
            Self::Unvalidated => &["--validate=false"],
        }
    }
}

/// The kinds that stories look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Rollout,
    /// The workload.
    Deployment,
    /// Its pods' keeper.
    ReplicaSet,
    /// A pod.
    Pod,
    /// A Service.
    Service,
    /// What carries the weights.
    HttpRoute,
}

impl Kind {
    /// As the API server names it.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Self::Rollout => ("bellwether.dev", "v1alpha1", "Rollout"),
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet"),
            Self::Pod => ("", "v1", "Pod"),
            Self::Service => ("", "v1", "Service"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    }
}

/// Waits until `look` finds something; it says what is there instead while it does not.
pub async fn until<T>(what: &str, seconds: u64, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        let instead = match look().await {
            Ok(found) => return found,
            Err(instead) => instead,
        };
        assert!(tokio::time::Instant::now() < end, "not within {seconds} s: {what}; instead: {instead}");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// The wall clock, in Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "stories are told in the world's time")]
pub fn now_ms() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0
}

/// A time as the API server writes it, in Unix milliseconds.
pub fn ms_of(text: &str) -> f64 {
    let time: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text} is no time: {error}"));
    time.as_duration().as_secs_f64() * 1000.0
}
