//! An API server in memory, as real as the operator and its world can notice: same codes, same reasons, same races.
//!
//! It has no clock, no randomness and no thread of its own: what was asked in the same order at the same times is
//! answered the same.
#![allow(dead_code, reason = "it serves what a world may ask for, and not every test asks for all of it")]

mod admission;
mod apply;
mod call;
mod collect;
mod defaults;
mod delete;
mod fields;
pub mod kind;
mod managers;
mod patch;
mod restore;
mod rules;
mod schema;
mod select;
mod serve;
mod status;
mod store;
mod straight;
mod texts;
mod validate;
mod watch;
mod weights;
mod wire;
mod write;

#[cfg(test)]
mod tests;

pub use admission::Policies;
pub use call::{Call, Method, Options, PatchType};
pub use kind::Kind;
pub use restore::RESTORER;
pub use status::Status;
pub use store::{Commit, Meta, Verb};
pub use straight::{Bare, Pace};
pub use wire::{Calm, EventFate, Fate, Hooks, Wire};

use bytes::Bytes;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard};
use store::State;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// The user that collects garbage.
pub const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
/// The user that ends namespaces.
pub const NAMESPACES: &str = "system:serviceaccount:kube-system:namespace-controller";

/// An API server.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    /// A server with the built-in kinds and the namespaces that are always there.
    pub fn new(clock: Clock) -> Self {
        let server = Self(Arc::new(Mutex::new(State::new(clock))));
        for kind in kind::built_in() {
            server.register(kind);
        }
        for name in ["default", "kube-system"] {
            let namespace = serde_json::json!({"metadata": {"name": name}});
            let made = server.create("system:apiserver", "namespaces", "", namespace);
            made.expect("an empty server takes its first namespaces");
        }
        server
    }

    /// What time it is.
    pub fn clock(&self) -> Clock {
        self.state().clock.clone()
    }

    /// Another server with the same past, and a future of its own.
    pub fn fork(&self, clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(self.state().fork(clock))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the state has failed; others read what it left.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Serves one more kind.
    pub fn register(&self, kind: Kind) {
        self.state().register(kind);
    }

    /// Serves our kinds, with their schemas, and the routes of the Gateway API.
    pub fn register_ours(&self) {
        kind::ours().into_iter().chain(kind::routes()).for_each(|kind| self.register(kind));
    }

    /// Serves a kind no longer; what was stored of it is out of reach until it is registered again.
    pub fn unregister(&self, plural: &str) {
        let mut state = self.state();
        let Some(table) = state.table_of(plural) else { return };
        let kind = state.tables[table].kind.clone();
        if let Some(served) = state.paths.get_mut(&kind.api_version()) {
            served.remove(&kind.plural);
        }
        state.paths.retain(|_, served| !served.is_empty());
    }

    /// Installs the admission policies that the chart ships, or takes them away.
    pub fn set_policies(&self, policies: Policies) {
        self.state().set_policies(policies);
    }

    /// From now on a user may not do this: a verb, or `*`, to a plural, as `deployments` or `rollouts/status`, or `*`.
    pub fn deny(&self, user: &str, verb: &str, plural: &str) {
        self.state().denied.insert((user.to_owned(), verb.to_owned(), plural.to_owned()));
    }

    /// The user may do it again.
    pub fn allow(&self, user: &str, verb: &str, plural: &str) {
        self.state().denied.remove(&(user.to_owned(), verb.to_owned(), plural.to_owned()));
    }

    /// The server is upgraded to one that fills in more fields of pod templates, as `{"spec": {"newField": 1}}`; the
    /// first item of a list is meant for every item. Objects show the new fields at once, without a new version.
    pub fn set_extra_defaults(&self, template: Value) {
        self.state().set_extra_defaults(template);
    }

    /// One request, as the API server would answer it. `user` is the authenticated user name.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn request(&self, user: &str, call: Call) -> Result<Value, Status> {
        self.send(user, call).map(Arc::unwrap_or_clone)
    }

    /// The same, without a copy of an answer that is an object as it is stored.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn send(&self, user: &str, mut call: Call) -> Result<Arc<Value>, Status> {
        let mut state = self.state();
        // Over HTTP an object of a custom kind has to say what it is; here the path is enough.
        if matches!(call.method, Method::Create | Method::Update | Method::Patch(PatchType::Apply))
            && call.body.is_object()
            && let Ok(table) = state.table_at(&call.api_version, &call.plural)
        {
            let kind = &state.tables[table].kind;
            for (member, said) in [("kind", kind.kind.clone()), ("apiVersion", kind.api_version())] {
                call.body.as_object_mut().map(|body| body.entry(member).or_insert(said.into()));
            }
        }
        state.answer(user, &call, None)
    }

    /// The same as it is sent over the wire, with reads from an older version.
    pub(crate) fn page(&self, user: &str, call: &Call, version: Option<u64>) -> Result<Bytes, Status> {
        self.state().page(user, call, version)
    }

    /// The same as it is stored.
    pub(crate) fn answer(&self, user: &str, call: &Call, version: Option<u64>) -> Result<Arc<Value>, Status> {
        self.state().counted(user, call, version)
    }

    /// What a list finds.
    pub(crate) fn select(&self, user: &str, call: &Call, version: Option<u64>) -> Result<Vec<Arc<Value>>, Status> {
        self.state().select(user, call, version)
    }

    /// From now on the managers of fields are noted for these kinds only.
    pub fn note_managers_of(&self, plurals: &[&str]) {
        self.state().managed = Some(plurals.iter().map(|plural| (*plural).to_owned()).collect());
    }

    /// Whether what a request is about is there.
    pub(crate) fn knows(&self, call: &Call) -> bool {
        let state = self.state();
        let Ok(table) = state.table_at(&call.api_version, &call.plural) else { return false };
        let (namespace, name) = (call.namespace.as_deref(), call.name.as_deref());
        state.get(table, namespace.unwrap_or_default(), name.unwrap_or_default()).is_some()
    }

    /// Everything committed, in order, from this place on.
    pub fn commits(&self, from: usize) -> Vec<Arc<Commit>> {
        self.state().log.get(from..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// How much was committed.
    pub fn commit_count(&self) -> usize {
        self.state().log.len()
    }

    /// How much was asked over wires, beside watches.
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// The Rollouts that were read by name over wires since the last time that somebody asked, and when.
    pub fn take_looks(&self) -> Vec<(String, jiff::Timestamp)> {
        std::mem::take(&mut self.state().looks)
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.state().rv
    }

    /// The newest version of a moment in the past.
    pub fn version_at(&self, moment: jiff::Timestamp) -> u64 {
        self.state().version_at(moment)
    }

    /// Changes with every commit, to how much was committed.
    pub fn changed(&self) -> tokio::sync::watch::Receiver<usize> {
        self.state().news.subscribe()
    }

    /// Forgets what watches and pages could still ask for.
    pub fn compact(&self) {
        let mut state = self.state();
        state.floor = state.rv;
    }

    /// One pass of those who clean up: the garbage collector and the end of namespaces. Returns how much it changed.
    pub fn collect(&self) -> usize {
        self.state().collect()
    }

    /// An object as it is stored.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let state = self.state();
        state.get(state.table_of(kind)?, namespace, name).cloned()
    }

    /// An object as it was stored at a version.
    pub fn get_at(&self, kind: &str, namespace: &str, name: &str, version: u64) -> Option<Arc<Value>> {
        let state = self.state();
        state.get_at(state.table_of(kind)?, namespace, name, version)
    }

    /// All objects of a kind as they are stored; an empty namespace is all of them.
    pub fn list(&self, kind: &str, namespace: &str) -> Vec<Arc<Value>> {
        self.list_at(kind, namespace, u64::MAX)
    }

    /// All objects of a kind as they were stored at a version.
    pub fn list_at(&self, kind: &str, namespace: &str, version: u64) -> Vec<Arc<Value>> {
        let state = self.state();
        let Some(table) = state.table_of(kind) else { return Vec::new() };
        state.list_at(table, Some(namespace).filter(|namespace| !namespace.is_empty()), version)
    }

    /// A request for an object by its kind's plural.
    ///
    /// # Panics
    /// When no kind of that name is known.
    pub fn call(&self, method: Method, kind: &str, namespace: &str, name: Option<&str>) -> Call {
        let state = self.state();
        let table = state.table_of(kind).unwrap_or_else(|| panic!("no kind is called {kind}"));
        let known = state.tables[table].kind.clone();
        Call::new(method, &known.api_version(), &known.plural, Some(namespace), name)
    }

    /// Reads an object as a user.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn read(&self, user: &str, kind: &str, namespace: &str, name: &str) -> Result<Value, Status> {
        self.request(user, self.call(Method::Get, kind, namespace, Some(name)))
    }

    /// Creates an object.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn create(&self, user: &str, kind: &str, namespace: &str, object: Value) -> Result<Value, Status> {
        self.request(user, self.call(Method::Create, kind, namespace, None).with_body(object))
    }

    /// Replaces an object; with a version in it, only that one.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn replace(&self, user: &str, kind: &str, namespace: &str, object: Value) -> Result<Value, Status> {
        let name = object.name().to_owned();
        self.request(user, self.call(Method::Update, kind, namespace, Some(&name)).with_body(object))
    }

    /// Replaces the status of an object.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn replace_status(&self, user: &str, kind: &str, namespace: &str, object: Value) -> Result<Value, Status> {
        let name = object.name().to_owned();
        self.request(user, self.call(Method::Update, kind, namespace, Some(&name)).of("status").with_body(object))
    }

    /// Patches an object, or the part of it that `subresource` names.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn patch(
        &self,
        user: &str,
        how: PatchType,
        (kind, subresource): (&str, &str),
        (namespace, name): (&str, &str),
        change: Value,
    ) -> Result<Value, Status> {
        let call = self.call(Method::Patch(how), kind, namespace, Some(name));
        self.request(user, call.of(subresource).with_body(change))
    }

    /// Patches an object by a merge.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn merge(&self, user: &str, kind: &str, namespace: &str, name: &str, change: Value) -> Result<Value, Status> {
        self.patch(user, PatchType::Merge, (kind, ""), (namespace, name), change)
    }

    /// Patches the status of an object by a merge.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn merge_status(
        &self,
        user: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        change: Value,
    ) -> Result<Value, Status> {
        self.patch(user, PatchType::Merge, (kind, "status"), (namespace, name), change)
    }

    /// Patches an object by operations.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn json_patch(
        &self,
        user: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        change: Value,
    ) -> Result<Value, Status> {
        self.patch(user, PatchType::Json, (kind, ""), (namespace, name), change)
    }

    /// Applies an object on the server's side; `force` takes fields from others.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn apply(
        &self,
        user: &str,
        (manager, force): (&str, bool),
        kind: &str,
        namespace: &str,
        object: Value,
    ) -> Result<Value, Status> {
        let name = object.name().to_owned();
        let mut call = self.call(Method::Patch(PatchType::Apply), kind, namespace, Some(&name)).with_body(object);
        call.options.manager = Some(manager.to_owned());
        call.options.force = force;
        self.request(user, call)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn delete(
        &self,
        user: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        options: Options,
    ) -> Result<Value, Status> {
        let mut call = self.call(Method::Delete, kind, namespace, Some(name));
        call.options = options;
        self.request(user, call)
    }
}
