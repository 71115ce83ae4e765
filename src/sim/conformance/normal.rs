//! Answers in words that are the same on both sides, and how two of them differ.
use super::{known::Known, side::Answer};
use serde_json::{Map, Value, json};

/// How one side's answers are read.
pub struct Eyes<'a> {
    pub known: &'a mut Known,
    pub namespace: &'a str,
    /// Whether nothing came of the request: new uids and versions are nobody's.
    pub dry: bool,
}

/// What every namespace of a real cluster has.
const OF_THE_CLUSTER: [&str; 2] = ["kube-root-ca.crt", "default"];

/// What admission plug-ins of a real server add to pods, and nobody here looks at.
const OF_PODS: [&str; 5] = ["serviceAccount", "serviceAccountName", "priority", "preemptionPolicy", "tolerations"];

impl Eyes<'_> {
    /// An answer.
    pub fn answer(&mut self, answer: &Answer) -> Value {
        if answer.code >= 400 {
            return self.refusal(answer);
        }
        answer.body()["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut self.known.next);
        let lines: Vec<_> =
            answer.lines.iter().filter(|line| !is_of_a_timer(line)).map(|line| self.value(line)).collect();
        json!({"code": answer.code, "body": lines})
    }

    /// Of a refusal: code, reason, what it is about, and the message where that is made of what was asked.
    fn refusal(&mut self, answer: &Answer) -> Value {
        let body = answer.body();
        let details = &body["details"];
        let name = details["name"].as_str().map(without_generated);
        let mut told = json!({
            "code": answer.code, "reason": body["reason"], "name": name, "kind": details["kind"],
            "group": details["group"],
        });
        let reason = body["reason"].as_str().unwrap_or_default();
        let causes = details["causes"].as_array().into_iter().flatten();
        let mut fields: Vec<_> = causes.filter_map(|cause| cause["field"].as_str()).map(str::to_owned).collect();
        fields.sort();
        fields.dedup();
        told["fields"] = json!(fields);
        let free = matches!(reason, "Invalid" | "BadRequest" | "UnsupportedMediaType" | "");
        let by_policy = body["message"].as_str().is_some_and(|message| message.contains("AdmissionPolicy"));
        if !free || by_policy {
            let message = without_numbers(&self.text(body["message"].as_str().unwrap_or_default()));
            told["message"] = json!(message.replace(" at #-#-#T#:#:#Z", ""));
        }
        self.value(&told)
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.replace(self.namespace, "<namespace>");
        for (uid, word) in &self.known.uids {
            if text.contains(uid.as_str()) {
                text = text.replace(uid.as_str(), word);
            }
        }
        text
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) if is_time(text) => json!("<time>"),
            Value::String(text) => json!(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) if members.get("type").is_some_and(|kind| kind == "BOOKMARK") => {
                let about = &value["object"];
                self.value(&json!({"mark": {"apiVersion": about["apiVersion"], "kind": about["kind"], "metadata": about["metadata"]}}))
            }
            Value::Object(members) => {
                let name = members.get("metadata").and_then(|metadata| metadata["name"].as_str());
                if let Some(name) = name.filter(|name| OF_THE_CLUSTER.contains(name)) {
                    return json!({"metadata": {"name": name}});
                }
                let members = members.iter().filter(|(name, _)| !OF_PODS.contains(&name.as_str()));
                members.map(|(name, value)| (self.text(name), self.member(name, value))).collect()
            }
            other => other.clone(),
        }
    }

    fn member(&mut self, name: &str, value: &Value) -> Value {
        match (name, value) {
            ("metadata", Value::Object(members)) => Value::Object(self.metadata(members)),
            ("clusterIP", Value::String(_)) => json!("<address>"),
            // Some lists without an item are null.
            ("items", Value::Array(all)) if all.is_empty() => Value::Null,
            ("clusterIPs", Value::Array(all)) => json!(vec!["<address>"; all.len()]),
            _ => self.value(value),
        }
    }

    fn metadata(&mut self, members: &Map<String, Value>) -> Map<String, Value> {
        let text = |member: &str| members.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (uid, version) = (text("uid"), text("resourceVersion"));
        let (name, prefix) = (text("name"), text("generateName"));
        let generated = !prefix.is_empty() && name.starts_with(&prefix);
        let name = if generated { format!("{prefix}<generated>") } else { name };
        let is_new = !uid.is_empty() && !self.known.uids.contains_key(&uid);
        let word = match uid.as_str() {
            "" => String::new(),
            _ if is_new && self.dry => "<nobody>".to_owned(),
            uid => self.known.uid(uid, &name),
        };
        let mut seen: Map<String, Value> =
            members.iter().map(|(member, value)| (member.clone(), self.value(value))).collect();
        if !uid.is_empty() {
            seen.insert("uid".to_owned(), json!(word));
        }
        if members.contains_key("name") {
            seen.insert("name".to_owned(), json!(name));
        }
        if members.contains_key("resourceVersion") {
            let known = self.known.versions.get(&uid).is_some_and(|all| all.contains(&version));
            let word = if uid.is_empty() || (self.dry && !known) {
                "<version>".to_owned()
            } else {
                self.known.version(&uid, &version)
            };
            seen.insert("resourceVersion".to_owned(), json!(word));
        }
        // Lists of custom kinds say it of the last page too.
        match text("continue").as_str() {
            "" => drop(seen.remove("continue")),
            _ => drop(seen.insert("continue".to_owned(), json!("<more>"))),
        }
        if let Some(managers) = seen.get_mut("managedFields").and_then(Value::as_array_mut) {
            // Those of one second have no order of their own.
            managers.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| drop(entry.remove("time")));
            managers
                .sort_by_key(|entry| format!("{} {} {}", entry["manager"], entry["operation"], entry["subresource"]));
        }
        seen
    }
}

/// A bookmark that a watch sends when it thinks that it is time; the one after what was there at the beginning is none.
fn is_of_a_timer(line: &Value) -> bool {
    line["type"] == "BOOKMARK" && line["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] != "true"
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok()
}

/// A name that ends as the server makes such ends is one that it made.
fn without_generated(name: &str) -> String {
    let is_made = |end: &str| end.len() == 5 && end.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c));
    match name.rsplit_once('-') {
        Some((prefix, end)) if is_made(end) => format!("{prefix}-<generated>"),
        _ => name.to_owned(),
    }
}

fn without_numbers(text: &str) -> String {
    let mut told = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            told.push(c);
        } else if !told.ends_with('#') {
            told.push('#');
        }
    }
    told
}

/// What differs, place by place.
pub fn differences(memory: &Value, real: &Value) -> Vec<String> {
    let mut all = Vec::new();
    differ("", memory, real, &mut all);
    all
}

fn differ(path: &str, memory: &Value, real: &Value, all: &mut Vec<String>) {
    match (memory, real) {
        (Value::Object(one), Value::Object(other)) => {
            // Of what is invalid the one in memory says the first, the real one says all.
            if path.ends_with("/fields") {
                return;
            }
            let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for name in names {
                let of = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or(Value::Null);
                differ(&format!("{path}/{name}"), &of(one), &of(other), all);
            }
        }
        (Value::Array(one), Value::Array(other)) if path == "/fields" => {
            let missing: Vec<_> = one.iter().filter(|field| !other.contains(field)).collect();
            if !missing.is_empty() || one.is_empty() != other.is_empty() {
                all.push(format!("{path}: in memory {memory}, real {real}"));
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (memory, real)) in one.iter().zip(other).enumerate() {
                differ(&format!("{path}/{at}"), memory, real, all);
            }
        }
        _ if memory == real => {}
        _ => all.push(format!("{path}: in memory {memory}, real {real}")),
    }
}
