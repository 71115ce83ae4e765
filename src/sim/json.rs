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

/// What stands at a pointer. Other than `Value::pointer` it knows no escapes, and so copies nothing.
pub fn seek<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A number made of all that a value holds: equal values have equal numbers.
pub fn digest(value: &Value, sum: u64) -> u64 {
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    let text = |sum: u64, text: &str| {
        let chunks = text.as_bytes().chunks(8);
        let words = chunks.map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        words.fold(mix(sum, text.len() as u64), mix)
    };
    match value {
        Value::Null => mix(sum, 1),
        Value::Bool(set) => mix(sum, 2 + u64::from(*set)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => mix(sum, whole.cast_unsigned()),
            (None, broken) => mix(sum, broken.unwrap_or_default().to_bits()),
        },
        Value::String(word) => text(sum, word),
        Value::Array(items) => items.iter().fold(mix(sum, items.len() as u64), |sum, item| digest(item, sum)),
        Value::Object(members) => {
            members.iter().fold(mix(sum, members.len() as u64), |sum, (name, member)| digest(member, text(sum, name)))
        }
    }
}

impl Read for Value {
    fn text(&self, pointer: &str) -> &str {
        seek(self, pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> i64 {
        self.maybe(pointer).unwrap_or(0)
    }

    fn maybe(&self, pointer: &str) -> Option<i64> {
        seek(self, pointer).and_then(Value::as_i64)
    }

    fn is(&self, pointer: &str) -> bool {
        seek(self, pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        seek(self, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
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

/// The backends of each rule, with their weights.
pub fn weights_of(route: &Value) -> Vec<Vec<(String, u64)>> {
    let rules = route.list("/spec/rules").iter();
    let backends = rules.map(|rule| {
        let all = rule.list("/backendRefs").iter();
        all.map(|backend| {
            let weight = u64::try_from(backend.maybe("/weight").unwrap_or(1)).unwrap_or(0);
            (backend.text("/name").to_owned(), weight)
        })
        .collect()
    });
    backends.collect()
}

/// The most that a rule of a route sends to the canary.
pub fn canary_of(route: &Value) -> u64 {
    let all = weights_of(route).into_iter().flatten();
    all.filter(|(name, _)| name.ends_with("-canary")).map(|(_, weight)| weight).max().unwrap_or(0)
}

/// How long a value is when it is written down, or nearly.
pub fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(size).sum::<usize>() + items.len() + 2,
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + 4 + size(member)).sum::<usize>() + 2,
        Value::String(text) => text.len() + 2,
        _ => 6,
    }
}
