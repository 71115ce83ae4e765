//! A number within a text of JSON, replaced where it stands: spaces, order and everything else of the text stay as they are.
use serde::de::IgnoredAny;
use std::ops::Range;

/// The text with another value at the path; nothing where nothing stands there, or where the text is no JSON.
pub(super) fn replaced(text: &str, path: &[String], value: &str) -> Option<String> {
    // The whole is read first, so what follows sees no text that is broken.
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut start = after_space(text, 0);
    for part in path {
        start = member(text, start, part)?;
    }
    let Range { start, end } = start..end_of(text, start)?;
    Some(format!("{}{value}{}", text.get(..start)?, text.get(end..)?))
}

/// Where a member of an object, or an entry of a list, begins. Of members of the same name the last one counts, as for all
/// who read it.
fn member(text: &str, start: usize, part: &str) -> Option<usize> {
    let is_object = match text.as_bytes().get(start)? {
        b'{' => true,
        b'[' => false,
        _ => return None,
    };
    let (mut at, mut found) = (after_space(text, start + 1), None);
    for index in 0.. {
        if matches!(text.as_bytes().get(at)?, b'}' | b']') {
            break;
        }
        let fits = if is_object {
            let end = end_of(text, at)?;
            let name: String = serde_json::from_str(text.get(at..end)?).ok()?;
            // Behind the colon.
            at = after_space(text, after_space(text, end) + 1);
            name == part
        } else {
            part.parse() == Ok(index)
        };
        if fits {
            found = Some(at);
        }
        at = after_space(text, end_of(text, at)?);
        if text.as_bytes().get(at) == Some(&b',') {
            at = after_space(text, at + 1);
        }
    }
    found
}

/// Behind the value that begins here.
fn end_of(text: &str, start: usize) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text.get(start..)?).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(start + values.byte_offset())
}

fn after_space(text: &str, start: usize) -> usize {
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn at(text: &str, path: &[&str]) -> Option<String> {
        replaced(text, &path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>(), "7")
    }

    #[test]
    fn only_the_number_changes() {
        let text = "\n{ \"b\" : [ {\"w\":1 , \"ä\\n\": \"}\"},\t{\"w\" :20}], \"a\":{}, \"b c\": 1.5e3 }\n";
        for (path, was, is) in [
            (vec!["b", "1", "w"], ":20}", ":7}"),
            (vec!["b", "0", "w"], ":1 ,", ":7 ,"),
            (vec!["b c"], "1.5e3", "7"),
            (vec!["b", "0", "ä\n"], "\"}\"", "7"),
            (vec!["a"], "{}", "7"),
        ] {
            assert_eq!(at(text, &path), Some(text.replace(was, is)), "{path:?}");
        }
        assert_eq!(at("[]", &[]), Some("7".into()));
    }

    #[test]
    fn of_the_same_names_the_last_one_is_written() {
        assert_eq!(at(r#"{"a":1,"a":2}"#, &["a"]), Some(r#"{"a":1,"a":7}"#.into()));
    }

    #[test]
    fn what_is_not_there_is_not_written() {
        for (text, path) in
            [("{}", "a"), ("[1]", "1"), ("[1]", "a"), ("3", "a"), ("{\"a\":", "a"), ("", "a"), ("{\"a\":1}x", "a")]
        {
            assert_eq!(at(text, &[path]), None, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(at(&deep, &["0"]), Some("[7]".into()), "depth is no matter");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[\[\]{}:,"a1 \\]{0,24}"#, path in prop::collection::vec("[a0]", 0..3)) {
            if let Some(after) = replaced(&text, &path, "7") {
                prop_assert!(serde_json::from_str::<Value>(&after).is_ok());
            }
        }
    }
}
