//! Somebody's hand on the API server: short words for common calls.
use crate::sim::{
    api::{Options, Server, Status},
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
    pub fn create(&self, plural: &str, namespace: &str, object: Value) -> Result<Value, Status> {
        self.server.create(&self.user, plural, namespace, object)
    }

    /// Puts an object in the place of its stored one, at the version it has.
    pub fn replace(&self, plural: &str, object: Value) -> Result<Value, Status> {
        let namespace = object.namespace().to_owned();
        self.server.replace(&self.user, plural, &namespace, object)
    }

    /// A merge patch, whatever the version is.
    pub fn merge(&self, plural: &str, object: &Value, change: Value) -> Result<Value, Status> {
        self.server.merge(&self.user, plural, object.namespace(), object.name(), change)
    }

    /// A merge patch of what was read: another version is a conflict.
    pub fn merge_at(&self, plural: &str, object: &Value, mut change: Value) -> Result<Value, Status> {
        change["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        self.merge(plural, object, change)
    }

    /// A merge patch of the status.
    pub fn merge_status(&self, plural: &str, object: &Value, change: Value) -> Result<Value, Status> {
        self.server.merge_status(&self.user, plural, object.namespace(), object.name(), change)
    }

    /// Deletes an object as `kubectl delete` does.
    pub fn delete(&self, plural: &str, object: &Value) -> Result<Value, Status> {
        self.server.delete(&self.user, plural, object.namespace(), object.name(), Options::default())
    }

    /// Deletes an object with this propagation: Foreground, Background or Orphan.
    pub fn delete_so(&self, plural: &str, object: &Value, propagation: &str) -> Result<Value, Status> {
        let options = Options { propagation: Some(propagation.to_owned()), ..Options::default() };
        self.server.delete(&self.user, plural, object.namespace(), object.name(), options)
    }

    /// Deletes a pod at once, as its kubelet does when its processes have ended.
    pub fn delete_now(&self, plural: &str, object: &Value) -> Result<Value, Status> {
        let options = Options { grace_seconds: Some(0), ..Options::default() };
        self.server.delete(&self.user, plural, object.namespace(), object.name(), options)
    }
}
