//! Who is asked what: rights, kinds, reads, and the pages that say what is served.
use super::{
    Call, Kind, Method, Status,
    select::{self, Selector},
    store::{Meta as _, State},
    texts::{Form, Texts},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// A request that found its kind.
pub(super) struct Ask<'a> {
    pub(super) user: &'a str,
    pub(super) call: &'a Call,
    pub(super) kind: Arc<Kind>,
    pub(super) table: usize,
    pub(super) at: Timestamp,
    /// The version that reads are answered from.
    pub(super) version: Option<u64>,
}

impl Ask<'_> {
    pub(super) fn namespace(&self) -> &str {
        self.call.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.call.name.as_deref().unwrap_or_default()
    }

    /// Who the written fields belong to.
    pub(super) fn manager(&self) -> &str {
        self.call.options.manager.as_deref().unwrap_or_else(|| {
            // Actors of a world are known by the last part of their name.
            self.user.rsplit(':').next().unwrap_or(self.user)
        })
    }

    /// The time as objects carry it.
    pub(super) fn time(&self) -> String {
        time_text(self.at)
    }

    pub(super) fn selector(&self) -> Result<Selector, Status> {
        let options = &self.call.options;
        Selector::read(&self.kind, options.labels.as_deref(), options.fields.as_deref())
    }
}

/// A time in whole seconds.
pub(super) fn time_text(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

impl State {
    /// Finds the kind that is meant, and whether the user may.
    pub(super) fn ask<'a>(&self, user: &'a str, call: &'a Call, version: Option<u64>) -> Result<Ask<'a>, Status> {
        let table = self.table_at(&call.api_version, &call.plural)?;
        let kind = self.tables[table].kind.clone();
        let ask = Ask { user, call, kind, table, at: self.now(), version };
        self.authorize(&ask, call.method.verb())?;
        match call.part() {
            "" => {}
            "status" if ask.kind.status => {}
            "scale" if ask.kind.scale => {}
            // Of a kind that a definition made it is the object that is said to be missing.
            _ if ask.kind.is_custom() => return Err(Status::not_found(&ask.kind, ask.name())),
            _ => return Err(Status::not_served()),
        }
        let needs_namespace = !matches!(call.method, Method::List | Method::Watch | Method::DeleteCollection);
        if ask.kind.namespaced != call.namespace.is_some() && (needs_namespace || !ask.kind.namespaced) {
            return Err(Status::not_served());
        }
        Ok(ask)
    }

    pub(super) fn is_denied(&self, user: &str, verb: &str, resource: &str) -> bool {
        !self.denied.is_empty()
            && ["*", verb].iter().any(|verb| {
                ["*", resource].iter().any(|resource| {
                    self.denied.contains(&(user.to_owned(), (*verb).to_owned(), (*resource).to_owned()))
                })
            })
    }

    pub(super) fn authorize(&self, ask: &Ask<'_>, verb: &str) -> Result<(), Status> {
        let resource = ask.call.resource();
        if !self.is_denied(ask.user, verb, &resource) {
            return Ok(());
        }
        let place = match &ask.call.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let why = format!(
            "User \"{}\" cannot {verb} resource \"{resource}\" in API group \"{}\" {place}",
            ask.user, ask.kind.group
        );
        Err(Status::forbidden(&ask.kind, ask.name(), &why))
    }

    /// One request.
    pub(super) fn answer(&mut self, user: &str, call: &Call, version: Option<u64>) -> Result<Arc<Value>, Status> {
        if call.method == Method::Discover || call.plural.is_empty() {
            return self.discover(call).map(Arc::new);
        }
        let ask = self.ask(user, call, version)?;
        let answer = match call.method {
            Method::Get => self.read_one(&ask),
            Method::List => self.read_all(&ask).map(|list| Arc::new(list.into_value(&ask))),
            Method::Create => self.create(&ask),
            Method::Update => self.update(&ask),
            Method::Patch(how) => self.patch(&ask, how),
            Method::Delete => self.delete(&ask),
            Method::DeleteCollection => self.delete_all(&ask),
            Method::Watch | Method::Discover => Err(Status::not_allowed()),
        }?;
        Ok(if call.metadata_only && !matches!(call.method, Method::List | Method::DeleteCollection) {
            Arc::new(metadata_of(&answer))
        } else {
            answer
        })
    }

    /// One request, counted.
    pub(super) fn counted(&mut self, user: &str, call: &Call, version: Option<u64>) -> Result<Arc<Value>, Status> {
        self.count(call);
        self.answer(user, call, version)
    }

    fn count(&mut self, call: &Call) {
        self.asked += 1;
        if call.method == Method::Get
            && call.plural == "rollouts"
            && let Some(name) = &call.name
        {
            self.looks.push((name.clone(), self.now()));
        }
    }

    /// The objects of a list.
    pub(super) fn select(&mut self, user: &str, call: &Call, version: Option<u64>) -> Result<Vec<Arc<Value>>, Status> {
        self.asked += 1;
        let ask = self.ask(user, call, version)?;
        self.read_all(&ask).map(|list| list.items)
    }

    /// One request, answered as it is sent.
    pub(super) fn page(&mut self, user: &str, call: &Call, version: Option<u64>) -> Result<Bytes, Status> {
        self.count(call);
        match call.method {
            Method::List => {
                let ask = self.ask(user, call, version)?;
                let list = self.read_all(&ask)?;
                Ok(list.into_text(&ask, &mut self.texts))
            }
            Method::Get if !call.metadata_only && call.part() != "scale" => {
                let ask = self.ask(user, call, version)?;
                let object = self.read_one(&ask)?;
                Ok(self.texts.of(&object, Form::Whole))
            }
            _ => {
                let answer = self.answer(user, call, version)?;
                Ok(serde_json::to_vec(&*answer).unwrap_or_default().into())
            }
        }
    }

    fn read_one(&self, ask: &Ask<'_>) -> Result<Arc<Value>, Status> {
        self.check_version(ask)?;
        let found = match ask.version {
            Some(version) => self.get_at(ask.table, ask.namespace(), ask.name(), version),
            None => self.get(ask.table, ask.namespace(), ask.name()).cloned(),
        };
        let object = found.ok_or_else(|| Status::not_found(&ask.kind, ask.name()))?;
        Ok(if ask.call.part() == "scale" { Arc::new(scale_of(&object)) } else { object })
    }

    fn check_version(&self, ask: &Ask<'_>) -> Result<u64, Status> {
        let Some(text) = &ask.call.options.version else { return Ok(0) };
        let version: u64 = text.parse().map_err(|_| {
            let why = format!("Invalid value: \"{text}\": must be an unsigned integer");
            Status::invalid(&ask.kind, "", "resourceVersion", &why)
        })?;
        if version > self.rv { Err(Status::too_new(version, self.rv)) } else { Ok(version) }
    }

    fn read_all(&self, ask: &Ask<'_>) -> Result<List, Status> {
        let selector = ask.selector()?;
        let options = &ask.call.options;
        let asked = self.check_version(ask).map_err(|status| match status.code {
            422 => Status::bad_request(status.message),
            _ => status,
        })?;
        let mut version = ask.version.unwrap_or(self.rv);
        let mut after = None;
        if let Some(token) = &options.next {
            let (from, place) =
                token.split_once(':').ok_or_else(|| Status::bad_request("continue key is not valid"))?;
            version = from.parse().map_err(|_| Status::bad_request("continue key is not valid"))?;
            after = place.split_once('/');
            if version < self.floor {
                return Err(Status::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
                ));
            }
        } else if options.version_match.as_deref() == Some("Exact") {
            if asked < self.floor {
                return Err(Status::expired("The resourceVersion for the provided list is too old."));
            }
            version = asked;
        }
        let all = self.list_at(ask.table, ask.call.namespace.as_deref(), version);
        let mut found: Vec<_> = all
            .iter()
            .filter(|object| after.is_none_or(|after| (object.namespace(), object.name()) > after))
            .filter(|object| selector.takes(object))
            .collect();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        // Where any version will do, all is answered from memory at once.
        let is_limited = options.next.is_some() || options.version.as_deref() != Some("0");
        if let Some(limit) = options.limit.filter(|limit| is_limited && found.len() >= *limit) {
            let last = found.get(limit - 1).map(|object| (object.namespace(), object.name()));
            // What follows is not looked at: there may be more of what was asked for, or not.
            if all.last().is_none_or(|object| Some((object.namespace(), object.name())) == last) {
                return Ok(List { metadata, items: found.into_iter().cloned().collect() });
            }
            if selector.is_all() {
                metadata["remainingItemCount"] = json!(found.len() - limit);
            }
            found.truncate(limit);
            if let Some(last) = found.last() {
                metadata["continue"] = json!(format!("{version}:{}/{}", last.namespace(), last.name()));
            }
        }
        Ok(List { metadata, items: found.into_iter().cloned().collect() })
    }

    fn discover(&self, call: &Call) -> Result<Value, Status> {
        let group_of = |api_version: &str| api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        match call.api_version.as_str() {
            "version" => Ok(json!({
                "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "0", "gitTreeState": "clean",
                "buildDate": "2026-04-22T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64",
            })),
            "api" => Ok(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
            "apis" => {
                let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
                for api_version in self.paths.keys().filter(|api_version| api_version.contains('/')) {
                    let version = api_version.rsplit('/').next();
                    let entry = json!({"groupVersion": api_version, "version": version});
                    groups.entry(group_of(api_version)).or_default().push(entry);
                }
                let groups = groups.into_iter().map(
                    |(name, versions)| json!({"name": name, "preferredVersion": versions[0], "versions": versions}),
                );
                Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()}))
            }
            path => {
                let api_version = path.strip_prefix("apis/").or_else(|| path.strip_prefix("api/")).unwrap_or(path);
                let tables = self.paths.get(api_version).ok_or_else(Status::no_page)?;
                let resources = tables.values().flat_map(|table| resources_of(&self.tables[*table].kind));
                Ok(json!({
                    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version,
                    "resources": resources.collect::<Vec<_>>(),
                }))
            }
        }
    }
}

/// What a list found.
struct List {
    metadata: Value,
    items: Vec<Arc<Value>>,
}

impl List {
    fn names(ask: &Ask<'_>) -> (String, String) {
        if ask.call.metadata_only {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
        } else {
            (ask.kind.api_version(), format!("{}List", ask.kind.kind))
        }
    }

    fn into_value(self, ask: &Ask<'_>) -> Value {
        let items = self.items.into_iter().map(|object| item_of(&object, &ask.kind, ask.call.metadata_only));
        let items = Value::Array(items.collect());
        let (api_version, kind) = Self::names(ask);
        let mut list = json!({"apiVersion": api_version, "kind": kind, "metadata": self.metadata});
        // Moved and not copied, as the macro would.
        list["items"] = items;
        list
    }

    fn into_text(self, ask: &Ask<'_>, texts: &mut Texts) -> Bytes {
        let form = match (ask.call.metadata_only, ask.kind.is_custom()) {
            (true, _) => Form::Metadata,
            (false, true) => Form::Whole,
            (false, false) => Form::Item,
        };
        let (api_version, kind) = Self::names(ask);
        let mut text = format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","items":["#).into_bytes();
        for (at, object) in self.items.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&texts.of(object, form));
        }
        text.extend_from_slice(format!(r#"],"metadata":{}}}"#, self.metadata).as_bytes());
        text.into()
    }
}

fn resources_of(kind: &Kind) -> Vec<Value> {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let part = |part: &str, of: &str| {
        json!({
            "name": format!("{}/{part}", kind.plural), "singularName": "", "namespaced": kind.namespaced, "kind": of,
            "verbs": ["get", "patch", "update"],
        })
    };
    let mut all = vec![json!({
        "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": verbs,
    })];
    all.extend(kind.status.then(|| part("status", &kind.kind)));
    all.extend(kind.scale.then(|| part("scale", "Scale")));
    all
}

/// An object as an item of a list: one of a built-in kind says the kind once.
pub(super) fn item_of(object: &Value, kind: &Kind, metadata_only: bool) -> Value {
    if metadata_only {
        return metadata_of(object);
    }
    let mut item = object.clone();
    if let Some(members) = item.as_object_mut().filter(|_| !kind.is_custom()) {
        members.remove("apiVersion");
        members.remove("kind");
    }
    item
}

/// An object without everything but its metadata.
pub(super) fn metadata_of(object: &Value) -> Value {
    if object["kind"] == "Status" {
        return object.clone();
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// The size of an object, as the subresource `scale` shows it.
pub(super) fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"]},
        "spec": {}, "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    // As everywhere, 0 is not written.
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    let selector = select::text_of(&object["spec"]["selector"]);
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}
