//! Short words for reading objects as JSON.
use serde_json::Value;

/// What actors and checks read most in objects.
pub trait Read {
    /// Text at a pointer, or none.
    fn text(&self, pointer: &str) -> &str;
    /// A number at a pointer, or 0.
    fn number(&self, pointer: &str) -> i64;
    /// A number at a pointer, or none.
    fn maybe(&self, pointer: &str) -> Option<i64>;
    /// Whether true stands at a pointer.
    fn is(&self, pointer: &str) -> bool;
    /// The entries of a list.
    fn list(&self, pointer: &str) -> &[Value];
    /// The object's name.
    fn name(&self) -> &str {
        self.text("/metadata/name")
    }
    /// Its namespace.
    fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }
    /// Its uid.
    fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }
    /// Whether it is being deleted.
    fn is_ending(&self) -> bool {
        !self.text("/metadata/deletionTimestamp").is_empty()
    }
    /// A label's value.
    fn label(&self, key: &str) -> Option<&str>;
    /// The uid of what controls it.
    fn controller(&self) -> Option<&str>;
    /// Whether a selector of equalities matches its labels.
    fn matches(&self, selector: Option<&Value>) -> bool;
}

impl Read for Value {
    fn text(&self, pointer: &str) -> &str {
        self.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> i64 {
        self.maybe(pointer).unwrap_or(0)
    }

    fn maybe(&self, pointer: &str) -> Option<i64> {
        self.pointer(pointer).and_then(Value::as_i64)
    }

    fn is(&self, pointer: &str) -> bool {
        self.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    fn controller(&self) -> Option<&str> {
        let owner = self.list("/metadata/ownerReferences").iter().find(|owner| owner.is("/controller"))?;
        Some(owner.text("/uid"))
    }

    fn matches(&self, selector: Option<&Value>) -> bool {
        let Some(selector) = selector.and_then(Value::as_object).filter(|selector| !selector.is_empty()) else {
            return false;
        };
        selector.iter().all(|(key, value)| self.label(key) == value.as_str())
    }
}
