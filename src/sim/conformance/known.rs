//! What a side has said so far: the objects as they were read last, and which uids and versions there were.
use serde_json::Value;
use std::collections::BTreeMap;

/// The memory of one side.
#[derive(Default)]
pub struct Known {
    /// Objects as they were read last, by `PLURAL/NAME`.
    pub objects: BTreeMap<String, Value>,
    /// Words for uids.
    pub uids: BTreeMap<String, String>,
    /// The versions of each uid, in the order in which they were seen.
    pub versions: BTreeMap<String, Vec<String>>,
    /// Where the last page ended.
    pub next: String,
    /// How many uids there were of each name.
    incarnations: BTreeMap<String, usize>,
}

impl Known {
    /// The word for a uid, made when it is new.
    pub fn uid(&mut self, uid: &str, name: &str) -> String {
        if let Some(known) = self.uids.get(uid) {
            return known.clone();
        }
        let count = self.incarnations.entry(name.to_owned()).or_default();
        *count += 1;
        let word = format!("<{name} {count}>");
        self.uids.insert(uid.to_owned(), word.clone());
        word
    }

    /// The word for a version of a uid.
    pub fn version(&mut self, uid: &str, version: &str) -> String {
        let versions = self.versions.entry(uid.to_owned()).or_default();
        let at = versions.iter().position(|known| known == version).unwrap_or_else(|| {
            versions.push(version.to_owned());
            versions.len() - 1
        });
        format!("<version {at}>")
    }

    fn meta(&self, about: &str, member: &str) -> String {
        let object = self.objects.get(about);
        object.and_then(|object| object["metadata"][member].as_str()).unwrap_or("00000000-none").to_owned()
    }

    /// A version that is not the newest of an object.
    fn stale(&self, about: &str) -> String {
        let (uid, now) = (self.meta(about, "uid"), self.meta(about, "resourceVersion"));
        let older = self.versions.get(&uid).into_iter().flatten().find(|version| **version != now);
        older.map_or_else(|| "1".to_owned(), Clone::clone)
    }

    fn word(&self, word: &str, namespace: &str) -> String {
        match word.split_once(':') {
            Some(("uid", about)) => self.meta(about, "uid"),
            Some(("rv", about)) => {
                // An object that is not there has no version; any number does.
                let version = self.meta(about, "resourceVersion");
                if version.starts_with("00000000") { "77".to_owned() } else { version }
            }
            Some(("stale", about)) => self.stale(about),
            _ if word == "next" => self.next.clone(),
            _ => namespace.to_owned(),
        }
    }
}

/// A text with the words of both sides replaced by those of this one.
pub fn filled(text: &str, known: &Known, namespace: &str) -> String {
    let mut rest = text;
    let mut filled = String::new();
    while let Some((before, after)) = rest.split_once("$(") {
        let (word, after) = after.split_once(')').expect("a word ends");
        filled.push_str(before);
        filled.push_str(&known.word(word, namespace));
        rest = after;
    }
    filled + rest
}
