//! Random requests: what people, controllers and careless clients ask of an API server.
use super::{
    kinds::{self, Sort, merge_of, set, steps},
    side::{Request, Sent},
};
use crate::sim::dice::Dice;
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// The names of the objects of a run: few, so that requests meet.
const NAMES: [&str; 3] = ["a", "b", "c"];

type Edit = (&'static str, Value);

/// Makes requests about a few kinds.
pub struct Asker {
    dice: Dice,
    sorts: Vec<Sort>,
    common: Vec<Edit>,
    generated: usize,
}

impl Asker {
    /// Of one or two kinds that the seed chooses.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::of(seed, "requests");
        let mut all = kinds::all();
        let count = usize::try_from(dice.range(1, 2)).unwrap();
        let mut sorts = Vec::new();
        for round in 0..count {
            // Seeds one after the other go through all kinds.
            let at =
                if round == 0 { usize::try_from(seed).unwrap() } else { usize::try_from(dice.next() % 97).unwrap() };
            sorts.push(all.swap_remove(at % all.len()));
        }
        Self { dice, sorts, common: kinds::common(), generated: 0 }
    }

    /// The kinds that are asked about.
    pub fn sorts(&self) -> &[Sort] {
        &self.sorts
    }

    /// The next request.
    pub fn next(&mut self) -> Request {
        let sort = usize::try_from(self.dice.next()).unwrap_or(usize::MAX) % self.sorts.len();
        let name = *self.dice.pick(&NAMES);
        let mut request = match self.dice.range(0, 99) {
            0..=19 => self.create(sort, name),
            20..=23 => self.get(sort, name),
            24..=29 => self.list(sort),
            30..=43 => self.update(sort, name),
            44..=59 => self.merge(sort, name),
            60..=71 => self.operations(sort, name),
            72..=76 => self.strategic(sort, name),
            77..=90 => self.apply(sort, name),
            91..=98 => self.delete(sort, name),
            _ => self.delete_all(sort),
        };
        let writes = request.method != "GET";
        if writes && request.method != "DELETE" && self.dice.permille(120) {
            request = request.asking("dryRun", "All");
        }
        if writes && request.content != APPLY && request.method != "DELETE" && self.dice.permille(300) {
            let manager = *self.dice.pick(&["one", "two"]);
            request = request.asking("fieldManager", manager);
        }
        request
    }

    fn path(&self, sort: usize) -> String {
        format!("/{}/namespaces/$(ns)/{}", self.sorts[sort].api, self.sorts[sort].plural)
    }

    /// An object's path, or sometimes that of its status; and whether it is that.
    fn object(&mut self, sort: usize, name: &str) -> (String, bool) {
        let often = if self.sorts[sort].status { 250 } else { 15 };
        let path = format!("{}/{name}", self.path(sort));
        if self.dice.permille(often) { (format!("{path}/status"), true) } else { (path, false) }
    }

    /// A few changes.
    fn edits(&mut self, sort: usize, of_status: bool, most: u64) -> Vec<Edit> {
        let count = self.dice.range(1, most);
        let mut edits: Vec<Edit> = Vec::new();
        for _ in 0..count {
            let own = if of_status { &self.sorts[sort].status_edits } else { &self.sorts[sort].edits };
            let from = if own.is_empty() || self.dice.permille(400) { &self.common } else { own };
            let edit = self.dice.pick(from).clone();
            // Two changes of one member would depend on their order.
            if edits.iter().all(|(path, _)| !path.starts_with(edit.0) && !edit.0.starts_with(path)) {
                edits.push(edit);
            }
        }
        edits
    }

    fn whole(&self, sort: usize, name: &str) -> Value {
        let sort = &self.sorts[sort];
        let mut object = sort.body.clone();
        object["apiVersion"] = json!(sort.api_version());
        object["kind"] = json!(sort.kind);
        object["metadata"] = json!({"name": name});
        object
    }

    fn create(&mut self, sort: usize, name: &'static str) -> Request {
        let mut object = self.whole(sort, name);
        if self.dice.permille(450) {
            for (path, value) in self.edits(sort, false, 2) {
                set(&mut object, path, value);
            }
        }
        let mut about = name.to_owned();
        if self.dice.permille(60) {
            self.generated += 1;
            about = format!("g{}-", self.generated);
            object["metadata"].as_object_mut().unwrap().remove("name");
            object["metadata"]["generateName"] = json!(about);
        }
        if self.dice.permille(60) {
            let left_out = *self.dice.pick(&["apiVersion", "kind", "metadata", "spec"]);
            object.as_object_mut().unwrap().remove(left_out);
        }
        Request::new("POST", self.path(sort)).with(object).about(self.sorts[sort].plural, &about)
    }

    fn get(&mut self, sort: usize, name: &str) -> Request {
        let (path, _) = self.object(sort, name);
        let mut request = Request::new("GET", path);
        if self.dice.permille(300) {
            request.accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        }
        request
    }

    fn list(&mut self, sort: usize) -> Request {
        let mut request = Request::new("GET", self.path(sort));
        let labels = [
            "tier=one",
            "tier==two",
            "tier!=one",
            "tier in (one,two)",
            "tier notin (one)",
            "tier",
            "!tier",
            "tier=one,tier",
            "a b",
            "=x",
            "tier in ()",
            "tier in one",
        ];
        if self.dice.permille(500) {
            request = request.asking("labelSelector", *self.dice.pick(&labels));
        }
        let fields = [
            "metadata.name=a",
            "metadata.name!=a",
            "metadata.namespace=$(ns)",
            "metadata.uid=x",
            "spec.rollout=web",
            "status.phase=Pending",
            "spec.nodeName=",
            "nonsense",
            "metadata.name=a,metadata.name=b",
            "type=Opaque",
        ];
        if self.dice.permille(300) {
            request = request.asking("fieldSelector", *self.dice.pick(&fields));
        }
        if self.dice.permille(300) {
            request = request.asking("limit", self.dice.range(1, 2).to_string());
        }
        if self.dice.permille(200) {
            request = request.asking("resourceVersion", *self.dice.pick(&["0", "x", "-1"]));
        }
        if self.dice.permille(50) {
            request = request.asking("continue", "garbage");
        }
        if self.dice.permille(200) {
            request.accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        }
        request
    }

    fn update(&mut self, sort: usize, name: &'static str) -> Request {
        let (path, of_status) = self.object(sort, name);
        let plural = self.sorts[sort].plural;
        let about = format!("{plural}/{name}");
        let mut edits: Vec<_> = if self.dice.permille(150) { Vec::new() } else { self.edits(sort, of_status, 2) };
        match self.dice.range(0, 9) {
            0 | 1 => edits.push(("/metadata/resourceVersion", Value::Null)),
            2 => edits.push(("/metadata/resourceVersion", json!(format!("$(stale:{about})")))),
            3 => edits.push(("/metadata/uid", Value::Null)),
            4 => edits.push(("/metadata/managedFields", Value::Null)),
            5 => edits.extend([
                ("/metadata/resourceVersion", Value::Null),
                ("/metadata/uid", Value::Null),
                ("/metadata/creationTimestamp", Value::Null),
            ]),
            _ => {}
        }
        let mut edits: Vec<_> = edits.into_iter().map(|(path, value)| (path.to_owned(), value)).collect();
        // So that what was never there is an object all the same.
        edits.push(("/metadata/name".to_owned(), json!(name)));
        if self.dice.permille(900) {
            edits.push(("/kind".to_owned(), json!(self.sorts[sort].kind)));
            edits.push(("/apiVersion".to_owned(), json!(self.sorts[sort].api_version())));
        }
        Request { sent: Sent::Edited(about, edits), ..Request::new("PUT", path).about(plural, name) }
    }

    /// One change after the other, laid over each other.
    fn laid(&mut self, sort: usize, name: &str, of_status: bool) -> Value {
        let mut patch = json!({});
        for (path, value) in self.edits(sort, of_status, 2) {
            let change = merge_of(path, &value);
            lay(&mut patch, change);
        }
        let about = format!("{}/{name}", self.sorts[sort].plural);
        let guard = match self.dice.range(0, 19) {
            0 => json!({"metadata": {"resourceVersion": format!("$(rv:{about})")}}),
            1 => json!({"metadata": {"resourceVersion": format!("$(stale:{about})")}}),
            2 => json!({"metadata": {"uid": format!("$(uid:{about})"), "resourceVersion": format!("$(rv:{about})")}}),
            3 => json!({"metadata": {"uid": "33333333-0000-4000-8000-000000000000"}}),
            4 => json!({"metadata": {"resourceVersion": null, "uid": null}}),
            _ => json!({}),
        };
        lay(&mut patch, guard);
        patch
    }

    fn merge(&mut self, sort: usize, name: &'static str) -> Request {
        let (path, of_status) = self.object(sort, name);
        let patch = match self.dice.range(0, 29) {
            0 => json!({}),
            1 => json!(["not", "an", "object"]),
            _ => self.laid(sort, name, of_status),
        };
        Request::patch(path, MERGE, patch).about(self.sorts[sort].plural, name)
    }

    fn strategic(&mut self, sort: usize, name: &'static str) -> Request {
        let (path, of_status) = self.object(sort, name);
        let patch = self.laid(sort, name, of_status);
        Request::patch(path, STRATEGIC, patch).about(self.sorts[sort].plural, name)
    }

    fn operations(&mut self, sort: usize, name: &'static str) -> Request {
        let (path, of_status) = self.object(sort, name);
        let about = format!("{}/{name}", self.sorts[sort].plural);
        let mut all = Vec::new();
        match self.dice.range(0, 9) {
            0 => {
                all.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": format!("$(rv:{about})")}));
            }
            1 => all
                .push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": format!("$(stale:{about})")})),
            2 => all.push(json!({"op": "test", "path": "/metadata/uid", "value": format!("$(uid:{about})")})),
            3 => all.push(json!({"op": "test", "path": "/metadata/labels/tier", "value": "one"})),
            _ => {}
        }
        for (place, value) in self.edits(sort, of_status, 2) {
            all.push(if value.is_null() {
                json!({"op": "remove", "path": place})
            } else {
                json!({"op": *self.dice.pick(&["add", "add", "add", "replace"]), "path": place, "value": value})
            });
        }
        let patch = if self.dice.permille(20) { json!({"op": "add"}) } else { Value::Array(all) };
        Request::patch(path, JSON, patch).about(self.sorts[sort].plural, name)
    }

    fn apply(&mut self, sort: usize, name: &'static str) -> Request {
        let (path, of_status) = self.object(sort, name);
        let mut config = if of_status || self.dice.permille(500) {
            json!({"apiVersion": self.sorts[sort].api_version(), "kind": self.sorts[sort].kind, "metadata": {"name": name}})
        } else {
            self.whole(sort, name)
        };
        for (path, value) in self.edits(sort, of_status, 3) {
            // A path through a list would say half an item.
            if !value.is_null() && !steps(path).iter().any(|step| step.parse::<usize>().is_ok()) {
                set(&mut config, path, value);
            }
        }
        if self.dice.permille(30) {
            config.as_object_mut().unwrap().remove(*self.dice.pick(&["apiVersion", "kind", "metadata"]));
        }
        let mut request = Request::patch(path, APPLY, config).about(self.sorts[sort].plural, name);
        if !self.dice.permille(30) {
            request = request.asking("fieldManager", *self.dice.pick(&["one", "two", "three"]));
        }
        if self.dice.permille(300) { request.asking("force", "true") } else { request }
    }

    fn delete(&mut self, sort: usize, name: &'static str) -> Request {
        let plural = self.sorts[sort].plural;
        let about = format!("{plural}/{name}");
        let mut options = json!({});
        match self.dice.range(0, 11) {
            0 => options["preconditions"] = json!({"uid": format!("$(uid:{about})")}),
            1 => options["preconditions"] = json!({"uid": "44444444-0000-4000-8000-000000000000"}),
            2 => options["preconditions"] = json!({"resourceVersion": format!("$(stale:{about})")}),
            3 => {
                options["preconditions"] =
                    json!({"uid": format!("$(uid:{about})"), "resourceVersion": format!("$(rv:{about})")});
            }
            4 => options["propagationPolicy"] = json!("Background"),
            5 => options["gracePeriodSeconds"] = json!(0),
            6 => {
                options["dryRun"] = json!(["All"]);
                options["propagationPolicy"] = json!(*self.dice.pick(&["Foreground", "Orphan", "Background"]));
            }
            7 => options["propagationPolicy"] = json!("Sideways"),
            _ => {}
        }
        let request = Request::new("DELETE", format!("{}/{name}", self.path(sort))).about(plural, name);
        if options == json!({}) { request } else { request.with(options) }
    }

    fn delete_all(&mut self, sort: usize) -> Request {
        Request::new("DELETE", self.path(sort)).asking("labelSelector", *self.dice.pick(&["tier=one", "tier"]))
    }
}

/// Lays one patch over another, nulls and all.
fn lay(patch: &mut Value, over: Value) {
    match (patch, over) {
        (Value::Object(patch), Value::Object(over)) => {
            for (name, value) in over {
                lay(patch.entry(name).or_insert(json!({})), value);
            }
        }
        (patch, over) => *patch = over,
    }
}
