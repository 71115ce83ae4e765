//! A backup of etcd is put back: the cluster is what it was then, and the world outside it is not.
use super::{
    Server,
    store::{Meta as _, State},
    write::read_anew,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Who puts backups back.
pub const RESTORER: &str = "etcd";

impl Server {
    /// Everything is as it was at this version, and has the versions that it had then. New ones go on above all that were
    /// ever given, and what is older is compacted, as `etcdutl snapshot restore --bump-revision --mark-compacted` does it:
    /// watches end, and begin anew with what there is.
    pub fn restore(&self, version: u64) {
        self.state().restore(version);
    }

    /// The version at which a backup was put back last.
    pub fn restored(&self) -> u64 {
        self.state().restored
    }
}

impl State {
    fn restore(&mut self, version: u64) {
        for table in 0..self.tables.len() {
            let then: BTreeMap<(String, String), Arc<Value>> =
                self.list_at(table, None, version).into_iter().map(|object| (place_of(&object), object)).collect();
            let gone: Vec<_> =
                self.tables[table].all(None).filter(|object| !then.contains_key(&place_of(object))).cloned().collect();
            for object in gone {
                self.put(RESTORER, None, table, Some(object), None);
            }
            for ((namespace, name), object) in then {
                let now = self.get(table, &namespace, &name).cloned();
                if now.as_ref().is_none_or(|now| now.version() != object.version()) {
                    // It was stored by the server of then, and is read by the one of now.
                    let anew = read_anew(&self.tables[table].kind, &object, &self.extra_defaults).map(Arc::new);
                    let is_outdated = anew.is_some();
                    self.put(RESTORER, None, table, now, Some(anew.unwrap_or(object)));
                    if is_outdated {
                        self.outdated.insert((table, namespace, name));
                    }
                }
            }
        }
        (self.floor, self.restored, self.collected) = (self.rv, self.rv, None);
        for table in &self.tables {
            table.news.send_modify(|_| {});
        }
        self.news.send_modify(|_| {});
    }
}

fn place_of(object: &Value) -> (String, String) {
    (object.namespace().to_owned(), object.name().to_owned())
}
