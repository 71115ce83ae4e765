//! Somebody's hand on the API server: short words for common calls.
use crate::sim::{
    api::{Call, Method, Options, PatchType, Server, Status},
    json::Read,
};
use serde_json::Value;
use std::sync::Arc;

/// A user of the API server.
#[derive(Clone)]
pub struct Hand {
    server: Server,
    user: String,
}

impl Hand {
    /// This user's hand.
    pub fn new(server: Server, user: &str) -> Self {
        Self { server, user: user.to_owned() }
    }

    /// One object as it is now.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.server.get(plural, namespace, name)
    }

    /// All objects of a kind in a namespace.
    pub fn list(&self, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        self.server.list(plural, namespace)
    }

    /// Creates an object.
    pub fn create(&self, plural: &str, namespace: &str, object: Value) -> Result<Arc<Value>, Status> {
        self.server.send(&self.user, self.server.call(Method::Create, plural, namespace, None).with_body(object))
    }

    /// Puts an object in the place of its stored one, at the version it has.
    pub fn replace(&self, plural: &str, object: Value) -> Result<Arc<Value>, Status> {
        let call = self.server.call(Method::Update, plural, object.namespace(), Some(object.name()));
        self.server.send(&self.user, call.with_body(object))
    }

    /// A merge patch, whatever the version is.
    pub fn merge(&self, plural: &str, object: &Value, change: Value) -> Result<Arc<Value>, Status> {
        self.patch(plural, "", object, change)
    }

    /// A merge patch of what was read: another version is a conflict.
    pub fn merge_at(&self, plural: &str, object: &Value, mut change: Value) -> Result<Arc<Value>, Status> {
        change["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        self.merge(plural, object, change)
    }

    /// A merge patch of the status.
    pub fn merge_status(&self, plural: &str, object: &Value, change: Value) -> Result<Arc<Value>, Status> {
        self.patch(plural, "status", object, change)
    }

    /// Deletes an object as `kubectl delete` does.
    pub fn delete(&self, plural: &str, object: &Value) -> Result<Arc<Value>, Status> {
        self.delete_by(plural, object, Options::default())
    }

    /// Deletes an object with this propagation: Foreground, Background or Orphan.
    pub fn delete_so(&self, plural: &str, object: &Value, propagation: &str) -> Result<Arc<Value>, Status> {
        let options = Options { propagation: Some(propagation.to_owned()), ..Options::default() };
        self.delete_by(plural, object, options)
    }

    /// Deletes a pod at once, as its kubelet does when its processes have ended.
    pub fn delete_now(&self, plural: &str, object: &Value) -> Result<Arc<Value>, Status> {
        let options = Options { grace_seconds: Some(0), ..Options::default() };
        self.delete_by(plural, object, options)
    }

    fn patch(&self, plural: &str, part: &str, object: &Value, change: Value) -> Result<Arc<Value>, Status> {
        let method = Method::Patch(PatchType::Merge);
        let call = self.server.call(method, plural, object.namespace(), Some(object.name()));
        self.server.send(&self.user, call.of(part).with_body(change))
    }

    fn delete_by(&self, plural: &str, object: &Value, options: Options) -> Result<Arc<Value>, Status> {
        let call = self.server.call(Method::Delete, plural, object.namespace(), Some(object.name()));
        self.server.send(&self.user, Call { options, ..call })
    }
}
