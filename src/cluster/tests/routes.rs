//! What is recorded beside every router, on a real API server: made, weighed and given back by the operator's own calls.
//!
//! Needs the cluster of KUBECONFIG, without Bellwether on it; `hack/test --e2e` runs it, after `hack/planes routers`. A kind
//! that the server does not have is defined for the test without a schema: then it is seen how objects are written, and not
//! whether their project takes them. The test says of each kind which it was, and takes away what it made.
use super::*;
use crate::{
    sim::api,
    traffic::{
        Apart, Mirror, NamedValue, Ownership, RequestMatch, Resource, RouteTemplate, Router, Split, Unsteerable,
        Weights,
        conformance::{CUSTOM, all, differences, is_ours, pair, percent, steered},
        read_whole,
    },
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, ListParams};
use std::{collections::BTreeSet, time::Duration};

/// What somebody else writes in the moment between our read and our write.
const RIVAL: &str = "example.com/rival";
/// Of definitions that are the test's.
const MADE: &str = "bellwether.dev/made-by-test";
/// What no router knows, and a route can tell of.
const UNKNOWN: Resource = Resource { group: "mesh.example.com", version: "v1", kind: "Split", plural: "splits" };
const WEIGHTS: [u8; 4] = [0, 1, 20, 100];

type Told<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($otherwise:tt)+) => {
        let holds: bool = $holds;
        if !holds {
            return Err(format!($($otherwise)+));
        }
    };
}

/// A real API server, in a namespace that is made for the test.
struct Server {
    cluster: Cluster,
    namespace: String,
    rollout: Rollout,
    /// What a rival is about to write, just before the next write of a whole object.
    rival: Arc<Mutex<Option<String>>>,
}

impl Server {
    async fn behind(real: Client) -> Self {
        let rival = Arc::<Mutex<Option<String>>>::default();
        let due = rival.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (real, due) = (real.clone(), due.clone());
            async move {
                let due = if request.method() == "PUT" { due.lock().unwrap().take() } else { None };
                if let Some(text) = due {
                    let change = json!({"metadata": {"annotations": {RIVAL: text}}}).to_string();
                    let patch =
                        Request::patch(request.uri().path()).header("content-type", "application/merge-patch+json");
                    real.request::<Value>(patch.body(change.into_bytes()).unwrap()).await?;
                }
                real.send(request).await
            }
        });
        let namespace = format!("routes-{}", std::process::id());
        let cluster = cluster_behind(Client::new(service, "default"), Clock::default(), outbound());
        let mut rollout = rollout();
        rollout.metadata.namespace = Some(namespace.clone());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        cluster.ask(&kinds::namespaces(), "", "", Ask::Create(object, Care::Plain)).await.expect("a namespace");
        Self { cluster, namespace, rollout, rival }
    }

    async fn serves(&self, kind: &ApiResource) -> Told<bool> {
        match self.cluster.ask_for_all(kind, &self.namespace, &ListParams::default()).await {
            Ok(_) => Ok(true),
            // Of a group that nobody serves no server speaks in words of the API.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(format!("cannot be listed: {error}")),
        }
    }

    /// Who says what an object of this kind may have in it; nobody, where the kind has to be defined first.
    async fn schema(&self, resource: &Resource) -> Told<&'static str> {
        let kind = kinds::resource_named(resource);
        let name = format!("{}.{}", resource.plural, resource.group);
        if !self.serves(&kind).await? {
            let made = self.cluster.ask(&definitions(), "", "", Ask::Create(definition(resource), Care::Plain)).await;
            made.map_err(|error| format!("cannot be defined: {error}"))?;
            let end = tokio::time::Instant::now() + Duration::from_secs(30);
            while !self.serves(&kind).await? {
                ensure!(tokio::time::Instant::now() < end, "not served 30 s after it was defined");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let found = self.cluster.ask_for(&definitions(), "", &name).await.map_err(|error| error.to_string())?;
        Ok(match found {
            None => "validated by Kubernetes itself",
            Some(definition) if !definition["metadata"]["labels"][MADE].is_null() => "schema-less",
            Some(_) => "validated by the project's own schema",
        })
    }

    async fn get(&self, entry: &RouteRef) -> Told<Value> {
        let kind = kinds::resource_of(entry).unwrap();
        let found = self.cluster.ask(&kind, &self.namespace, &entry.name, Ask::Get).await;
        found.map(|found| (*found).clone()).map_err(|error| format!("cannot be read: {error}"))
    }

    async fn weigh(&self, entry: &RouteRef, split: &Split) -> Told {
        let written = self.cluster.weigh(&self.namespace, entry, &pair(), split).await;
        written.map_err(|error| format!("cannot be weighed: {error}"))
    }

    async fn perform(&self, effect: Effect) -> Told {
        self.cluster.perform(&self.rollout, &effect).await.map_err(|error| error.chain())
    }

    async fn delete(&self, kind: &ApiResource, namespace: &str, name: &str) -> Told {
        let gone = self.cluster.delete(kind, namespace, name, DeleteParams::background()).await;
        gone.map_err(|error| format!("cannot be deleted: {error}"))
    }

    /// The same again writes nothing.
    async fn rests(&self, entry: &RouteRef, split: &Split) -> Told {
        let before = self.get(entry).await?;
        self.weigh(entry, split).await?;
        let after = self.get(entry).await?;
        // A controller of the cluster may have had its say meanwhile.
        let is_same = version(&before) == version(&after) || before["status"] != after["status"];
        ensure!(is_same, "at {split} it is written again though it is so already");
        Ok(())
    }

    /// A route of the user's: all weights, each in spite of a rival; then it is given back.
    async fn fields(&self, router: &dyn Router, object: &Value) -> Told {
        let entry = entry(router, object);
        let kind = kinds::resource_of(&entry).unwrap();
        let made = self.cluster.create_strictly(&kind, &self.namespace, object.clone()).await;
        made.map_err(|error| format!("cannot be made: {error}"))?;
        let made = self.get(&entry).await?;
        let claim = |claimed| Effect::ClaimRoute { route: entry.clone(), pair: pair(), claimed };
        self.perform(claim(true)).await?;
        for weight in WEIGHTS.map(percent) {
            let before = self.get(&entry).await?;
            let wanted = match router.steer(&before, &pair(), weight) {
                Err(Unsteerable::Indivisible { .. }) => continue,
                other => other.map_err(|why| why.to_string())?,
            };
            *self.rival.lock().unwrap() = wanted.is_some().then(|| weight.to_string());
            let weighed = self.weigh(&entry, &Split::from(weight)).await;
            self.rival.lock().unwrap().take();
            weighed?;
            let after = self.get(&entry).await?;
            let read = router.read(&after, &pair()).map(|seen| seen.weight).map_err(|why| why.to_string())?;
            ensure!(read == Weights::At(weight), "at {weight} the server has {read}");
            let others = others(&before, &after);
            ensure!(others.is_empty(), "at {weight} there changed too {others:?}");
            self.rests(&entry, &Split::from(weight)).await?;
            if wanted.is_none() {
                continue;
            }
            let annotation = &after["metadata"]["annotations"][RIVAL];
            ensure!(*annotation == weight.to_string(), "at {weight} what a rival wrote is lost: {annotation}");
            let stale = self.cluster.ask(&kind, &self.namespace, &entry.name, Ask::Replace(before, Care::Plain)).await;
            let refused = matches!(&stale, Err(kube::Error::Api(status)) if status.code == 409);
            ensure!(refused, "a write of an old version is no conflict: {stale:?}");
        }
        self.weigh(&entry, &Split::NONE).await?;
        self.perform(claim(false)).await?;
        let others = others(&made, &self.get(&entry).await?);
        ensure!(others.is_empty(), "given back it differs in {others:?}");
        Ok(())
    }

    /// A route that the operator writes whole: what the server makes of it is what was wanted, whatever is asked for.
    async fn whole(&self, router: &dyn Router, object: &Value) -> Told {
        let mut entry = entry(router, object);
        entry.ownership = Ownership::Operator;
        let annotations = serde_json::from_value(object["metadata"]["annotations"].clone()).unwrap();
        entry.template = Some(RouteTemplate {
            spec: object["spec"].as_object().unwrap().clone(),
            annotations,
            ..RouteTemplate::default()
        });
        let beta = RequestMatch { headers: vec![NamedValue::exact("x-beta", "1")], ..RequestMatch::default() };
        let apart = [
            Apart { matches: vec![beta], mirror: None },
            Apart { matches: Vec::new(), mirror: Some(Mirror { percent: 10 }) },
        ];
        let splits = WEIGHTS.map(percent).map(Split::from).into_iter();
        let mut is_there = false;
        for split in splits.chain(apart.map(|apart| Split { weight: percent(0), apart })) {
            // What a router or an object has no place for is refused before anything is written.
            if router.whole(&entry, &self.namespace, &pair(), &split).is_err() {
                continue;
            }
            if is_there {
                self.weigh(&entry, &split).await?;
            } else {
                let write = Effect::WriteRoute { route: entry.clone(), pair: pair(), split: split.clone() };
                self.perform(write).await?;
                is_there = true;
            }
            let (read, edited) = read_whole(router, &entry, &self.get(&entry).await?, &pair());
            let read = read.map_err(|why| why.to_string())?;
            ensure!(!edited, "written whole at {split} it looks like edited by somebody");
            let as_wanted = read.weight == Weights::At(split.weight) && read.apart == split.apart;
            ensure!(as_wanted, "written whole at {split} the server has {} and {:?}", read.weight, read.apart);
            self.rests(&entry, &split).await?;
        }
        Ok(())
    }

    /// Both stories of an object, and how they failed.
    async fn tell(&self, router: &dyn Router, object: &Value) -> Vec<String> {
        let entry = entry(router, object);
        let kind = kinds::resource_of(&entry).unwrap();
        let fields = self.fields(router, object).await;
        let gone = self.delete(&kind, &self.namespace, &entry.name).await;
        let whole = self.whole(router, object).await;
        let gone_again = self.delete(&kind, &self.namespace, &entry.name).await;
        [fields, gone, whole, gone_again].into_iter().filter_map(Told::err).collect()
    }

    /// Takes away everything that the test made.
    async fn clear(&self) -> Told {
        let params = ListParams::default().labels(MADE);
        let made = self.cluster.ask_for_all(&definitions(), "", &params).await.map_err(|error| error.to_string())?;
        for definition in made {
            self.delete(&definitions(), "", definition["metadata"]["name"].as_str().unwrap_or_default()).await?;
        }
        self.delete(&kinds::namespaces(), "", &self.namespace).await
    }
}

fn definitions() -> ApiResource {
    ApiResource::erase::<CustomResourceDefinition>(&())
}

/// A kind in which everything may stand.
fn definition(resource: &Resource) -> Value {
    let Resource { group, version, kind, plural } = resource;
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"), "labels": {MADE: ""},
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema}],
        },
    })
}

fn entry(router: &dyn Router, object: &Value) -> RouteRef {
    let mut entry =
        json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"]});
    if object["kind"] == UNKNOWN.kind {
        entry["custom"] = json!(*CUSTOM);
    } else {
        entry["router"] = json!(router.name());
    }
    serde_json::from_value(entry).unwrap()
}

/// A recorded object as somebody would apply it in this namespace.
fn fresh(recorded: &Value, namespace: &str) -> Value {
    let text = recorded.to_string().replace("\"shop\"", &format!("\"{namespace}\""));
    let mut object: Value = serde_json::from_str(&text.replace(".shop.svc", &format!(".{namespace}.svc"))).unwrap();
    let metadata = object["metadata"].take();
    object["metadata"] = json!({
        "name": metadata["name"], "namespace": namespace, "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    // Members that are there before us, so that single ones differ and not the whole.
    object["metadata"]["labels"]["example.com/kept"] = json!("yes");
    object["metadata"]["annotations"][RIVAL] = json!("");
    object.as_object_mut().unwrap().remove("status");
    // Recorded with the experimental channel of the Gateway API; the standard one does not have it yet.
    let rules = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        rule.remove("sessionPersistence");
    }
    object
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

/// The places that are neither ours nor the server's own, and differ.
fn others(before: &Value, after: &Value) -> Vec<String> {
    let mut found = BTreeSet::new();
    differences("", before, after, &mut found);
    let servers = ["/metadata/resourceVersion", "/metadata/generation", "/metadata/managedFields", "/status"];
    let rivals = format!("/metadata/annotations/{}", RIVAL.replace('/', "~1"));
    let of_others = |path: &String| {
        let known = *path == rivals || servers.iter().any(|servers| path.starts_with(servers));
        !known && !is_ours(path, before, after)
    };
    found.into_iter().filter(of_others).collect()
}

/// Of each kind who says what may stand in it, and what failed.
async fn tell_all(server: &Server) -> (Vec<String>, Vec<String>) {
    let (mut schemas, mut failures) = (Vec::new(), Vec::new());
    for router in all() {
        let unknown = [UNKNOWN];
        let resources = if router.resources().is_empty() { &unknown } else { router.resources() };
        for resource in resources {
            let its = |(_, object): &&(String, Value)| {
                object["apiVersion"] == resource.api_version() && object["kind"] == resource.kind
            };
            let steered = steered(router);
            let mut recorded = steered.iter().filter(its).peekable();
            // Of a kind that has several versions one is recorded.
            if recorded.peek().is_none() {
                continue;
            }
            let what = format!("{} {}", router.name(), resource.kind);
            match server.schema(resource).await {
                Ok(schema) => schemas.push(format!("{what}: {schema}")),
                Err(why) => {
                    failures.push(format!("{what} {why}"));
                    continue;
                }
            }
            for (file, object) in recorded {
                let failed = server.tell(router, &fresh(object, &server.namespace)).await;
                failures.extend(failed.into_iter().map(|why| format!("{what}, {file}: {why}")));
            }
        }
    }
    (schemas, failures)
}

#[tokio::test]
#[ignore = "needs a cluster; hack/test --e2e runs it"]
async fn every_router_writes_its_weights_and_nothing_else_to_a_real_server() {
    let server = Server::behind(Client::try_default().await.expect("a cluster: set KUBECONFIG")).await;
    let (schemas, mut failures) = tell_all(&server).await;
    failures.extend(server.clear().await.err());
    eprintln!("{}", schemas.join("\n"));
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[tokio::test]
async fn every_router_writes_its_weights_and_nothing_else_to_the_server_in_memory() {
    let memory = api::Server::new(Arc::new(jiff::Timestamp::default));
    for Resource { group, version, kind, plural } in crate::traffic::resources().chain([&UNKNOWN]) {
        memory.register(api::Kind::custom(group, version, plural, kind));
    }
    let definitions =
        api::Kind::custom("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition");
    memory.register(definitions.of_cluster());
    let client = api::Wire::new(memory, "operator", Arc::new(api::Calm)).client("default");
    let (_, failures) = tell_all(&Server::behind(client).await).await;
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
