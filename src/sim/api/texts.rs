//! Objects as they are sent: each version of an object is written out once, however often it is read.
use super::serve::metadata_of;
use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// In which form an object is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Whole,
    /// As an item of a list of a built-in kind, which says once for all what they are.
    Item,
    /// Its metadata only.
    Metadata,
}

/// What was written out, by where the object is in memory; it stays there, for the entry holds it.
#[derive(Default)]
pub(super) struct Texts(HashMap<usize, Entry>);

struct Entry {
    _object: Arc<Value>,
    forms: [Option<Bytes>; 3],
}

struct Item<'a>(&'a Value);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = self.0.as_object().into_iter().flatten();
        let mut map = serializer.serialize_map(None)?;
        for (name, member) in members.filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind")) {
            map.serialize_entry(name, member)?;
        }
        map.end()
    }
}

fn written(object: &Value, form: Form) -> Bytes {
    let text = match form {
        Form::Whole => serde_json::to_vec(object),
        Form::Item => serde_json::to_vec(&Item(object)),
        Form::Metadata => serde_json::to_vec(&metadata_of(object)),
    };
    text.unwrap_or_default().into()
}

impl Texts {
    /// A stored object, written out.
    pub(super) fn of(&mut self, object: &Arc<Value>, form: Form) -> Bytes {
        let entry = self
            .0
            .entry(Arc::as_ptr(object).addr())
            .or_insert_with(|| Entry { _object: object.clone(), forms: [const { None }; 3] });
        entry.forms[form as usize].get_or_insert_with(|| written(object, form)).clone()
    }
}
