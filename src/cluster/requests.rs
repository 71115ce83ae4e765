//! What is asked of the API server, one request each. Objects travel as raw JSON: no field is lost for being unknown, and
//! none is read twice.
use super::Cluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::{
    Client, Error, Resource as _,
    api::{ApiResource, DeleteParams, DynamicObject, GetParams, ListParams, Patch, PatchParams, PostParams},
    core::Request,
};
use serde::Deserialize;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// So often a request is repeated that the API server had no time for.
const RETRIES: u32 = 1;
/// So many seconds it is waited for at the most, each time: a look has a time limit, and others wait for its place.
const LONGEST_PAUSE: u64 = 2;

/// What is done to one object, by its name.
#[derive(Clone, Debug)]
pub enum Ask {
    /// It is read.
    Get,
    /// It is made.
    Create(Value, Care),
    /// Another is put in its place.
    Replace(Value, Care),
    /// Its status is put in the place of the one it had.
    ReplaceStatus(Value),
    /// It is changed by a merge patch.
    Merge(Value),
    /// Its status is changed by a merge patch.
    MergeStatus(Value),
    /// It is deleted.
    Delete(Box<DeleteParams>),
}

/// How a new object is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// As always: what the API server does not know of is dropped.
    Plain,
    /// What the API server does not know of is refused: a misspelt template would else lose that field in silence, and be
    /// written again at every look.
    Strict,
    /// Nothing is done, and answered as if.
    Dry,
}

/// Where the API server is.
#[derive(Clone)]
pub(super) enum Door {
    /// At the other end of a client.
    Http(Client),
    /// In this process.
    #[cfg(test)]
    Straight(Arc<dyn Straight>),
}

/// An API server without HTTP, for stories.
#[cfg(test)]
pub trait Straight: Send + Sync {
    /// One request about one object.
    fn ask<'a>(
        &'a self,
        kind: &'a ApiResource,
        namespace: &'a str,
        name: &'a str,
        ask: Ask,
    ) -> futures::future::BoxFuture<'a, Result<Arc<Value>, Error>>;
    /// All objects that are meant.
    fn list<'a>(
        &'a self,
        kind: &'a ApiResource,
        namespace: &'a str,
        params: &'a ListParams,
    ) -> futures::future::BoxFuture<'a, Result<Listed, Error>>;
}

/// The objects of a list, and the version of the store that it shows.
#[cfg(test)]
pub type Listed = (Vec<Arc<Value>>, String);

/// What is of interest of a list.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    items: Vec<Value>,
}

fn request_to(kind: &ApiResource, namespace: &str) -> Request {
    Request::new(DynamicObject::url_path(kind, Some(namespace).filter(|namespace| !namespace.is_empty())))
}

/// As whom the API server writes down who changed what.
pub(super) const MANAGER: &str = "bellwether";

fn post(care: Care) -> PostParams {
    PostParams { dry_run: care == Care::Dry, field_manager: Some(MANAGER.to_owned()) }
}

/// A request, written down.
fn written(request: &Request, name: &str, ask: &Ask) -> Result<http::Request<Vec<u8>>, Error> {
    let bytes = |object: &Value| serde_json::to_vec(object).map_err(Error::SerdeError);
    let patch = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let made = match ask {
        Ask::Get => request.get(name, &GetParams::default()),
        Ask::Create(object, care) => request.create(&post(*care), bytes(object)?),
        Ask::Replace(object, care) => request.replace(name, &post(*care), bytes(object)?),
        Ask::ReplaceStatus(object) => request.replace_subresource("status", name, &post(Care::Plain), bytes(object)?),
        Ask::Merge(change) => request.patch(name, &patch, &Patch::Merge(change)),
        Ask::MergeStatus(change) => request.patch_subresource("status", name, &patch, &Patch::Merge(change)),
        Ask::Delete(params) => request.delete(name, params),
    };
    let mut made = made.map_err(Error::BuildRequest)?;
    if let Ask::Create(_, Care::Strict) | Ask::Replace(_, Care::Strict) = ask {
        let uri = made.uri().to_string();
        let joint = if uri.contains('?') { '&' } else { '?' };
        let strict = format!("{uri}{joint}fieldValidation=Strict").parse();
        *made.uri_mut() = strict.map_err(http::Error::from).map_err(Error::HttpError)?;
    }
    Ok(made)
}

/// Asks again where the API server had no time to begin: it says when to come back, and what was not begun may be repeated,
/// whatever it is. The rest of a look need not be asked again for it.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(mut ask: impl FnMut() -> F) -> Result<T, Error> {
    for _ in 0..RETRIES {
        match ask().await {
            Err(Error::Api(status)) if status.code == 429 => {
                let wanted = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                tokio::time::sleep(Duration::from_secs(u64::from(wanted).clamp(1, LONGEST_PAUSE))).await;
            }
            done => return done,
        }
    }
    ask().await
}

impl Cluster {
    /// One request about one object; an empty namespace is that of the whole cluster.
    pub(super) async fn ask(
        &self,
        kind: &ApiResource,
        namespace: &str,
        name: &str,
        ask: Ask,
    ) -> Result<Arc<Value>, Error> {
        let answer: Arc<Value> = match &self.door {
            Door::Http(client) => {
                let request = || written(&request_to(kind, namespace), name, &ask);
                patiently(|| async { client.request(request()?).await }).await.map(Arc::new)?
            }
            #[cfg(test)]
            Door::Straight(server) => server.ask(kind, namespace, name, ask).await?,
        };
        if let Some(version) = answer["metadata"]["resourceVersion"].as_str() {
            self.newest.saw(kind, version);
        }
        Ok(answer)
    }

    /// One object, if it is there.
    pub(super) async fn ask_for(
        &self,
        kind: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Error> {
        match self.ask(kind, namespace, name, Ask::Get).await {
            Ok(object) => Ok(Some(object)),
            Err(Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects that are meant, as they are now.
    pub(super) async fn ask_for_all(
        &self,
        kind: &ApiResource,
        namespace: &str,
        params: &ListParams,
    ) -> Result<Vec<Arc<Value>>, Error> {
        let least = self.newest.of(kind);
        let (items, version) = match &self.door {
            Door::Http(client) => {
                let request = || request_to(kind, namespace).list(params).map_err(Error::BuildRequest);
                let list: List = patiently(|| async { client.request(request()?).await }).await?;
                let version = list.metadata.resource_version.unwrap_or_default();
                (list.items.into_iter().map(Arc::new).collect(), version)
            }
            #[cfg(test)]
            Door::Straight(server) => server.list(kind, namespace, params).await?,
        };
        self.newest.listed(kind, &version, least, self.now()).map_err(|outdated| Error::Service(outdated.into()))?;
        Ok(items)
    }
}
