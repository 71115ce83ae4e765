//! Where a path of the settings leads in an object, whose lists may have been written anew since.
use crate::traffic::{Unsteerable, weighted::describe};
use serde_json::Value;

/// The JSON pointer to what the path means in this object. Its last member need not be there.
pub(super) fn find(route: &Value, path: &str) -> Result<String, Unsteerable> {
    let (mut at, mut found) = (route, String::new());
    let unready =
        |why: String, lines: &str| Unsteerable::Unready { route: describe(route), why, lines: lines.to_owned() };
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let nothing = || {
            let lines = "write the object with all but the last member of each path";
            unready(format!("there is nothing at {found}/{part}, where custom.weights writes {path}"), lines)
        };
        let (part, below) = match at {
            Value::Array(entries) => {
                let place = one(entries, part).map_err(|what| {
                    let lines = "name an entry by a member that says whose it is and its value, as in /spec/backends/service=shop-canary/weight";
                    unready(format!("custom.weights writes {path}, and {found} has {what}"), lines)
                })?;
                let place = place.ok_or_else(nothing)?;
                (place.to_string(), entries.get(place))
            }
            Value::Object(members) => (part.to_owned(), members.get(&unescaped(part))),
            _ => return Err(nothing()),
        };
        at = match below {
            Some(below) => below,
            None if parts.peek().is_none() => &Value::Null,
            None => return Err(nothing()),
        };
        found.extend(["/", &part]);
    }
    Ok(found)
}

/// The place of the entry that is meant, if there is one; refused where it cannot be told.
fn one(entries: &[Value], part: &str) -> Result<Option<usize>, String> {
    let Some((member, value)) = part.split_once('=') else {
        let place = part.parse().ok().filter(|place: &usize| *place < entries.len());
        return match place.and_then(|place| entries.get(place)) {
            Some(entry) if entry.is_object() || entry.is_array() => {
                Err(format!("at {part} whatever stands there today"))
            }
            _ => Ok(place),
        };
    };
    let (member, value) = (format!("/{}", unescaped(member)), unescaped(value));
    let says = |entry: &Value| match entry.pointer(&member) {
        Some(Value::String(text)) => *text == value,
        Some(Value::Number(number)) => format!("{number}") == value,
        _ => false,
    };
    let mut all = entries.iter().enumerate().filter(|(_, entry)| says(entry)).map(|(place, _)| place);
    match (all.next(), all.next()) {
        (Some(place), None) => Ok(Some(place)),
        (None, _) => Err(format!("no entry that says {part}")),
        _ => Err(format!("several entries that say {part}")),
    }
}

/// A member's name without the escapes of a JSON pointer (RFC 6901, 4).
pub(super) fn unescaped(member: &str) -> String {
    member.replace("~1", "/").replace("~0", "~")
}
