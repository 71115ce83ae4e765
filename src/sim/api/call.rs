//! One request, apart from how it came: method, path, options and body; and how a request over HTTP is read as one.
use super::Status;
use http::request::Parts;
use serde_json::Value;
use std::borrow::Cow;

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatchType {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
    /// The merge that knows the lists of built-in kinds by their keys.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// One object.
    Get,
    /// All of them.
    List,
    /// What changes from now on.
    Watch,
    /// A new object.
    Create,
    /// An object anew.
    Update,
    /// A part of an object anew.
    Patch(PatchType),
    /// That an object be gone.
    Delete,
    /// That all of them be gone.
    DeleteCollection,
    /// Which kinds there are.
    Discover,
}

impl Method {
    /// The verb that a role names.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Get | Self::Discover => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch(_) => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Whether it may change something.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch | Self::Discover)
    }
}

/// What stands in the query of a request, and in the options of a deletion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Everything as if, and nothing done.
    pub dry_run: bool,
    /// Who the fields belong to that are written.
    pub manager: Option<String>,
    /// Whether an apply takes fields from other managers.
    pub force: bool,
    /// Only objects with these labels.
    pub labels: Option<String>,
    /// Only objects with these fields.
    pub fields: Option<String>,
    /// At most so many at once.
    pub limit: Option<usize>,
    /// Where the last page ended.
    pub next: Option<String>,
    /// From which version on.
    pub version: Option<String>,
    /// How the version is meant: `Exact` or `NotOlderThan`.
    pub version_match: Option<String>,
    /// After how many seconds a watch ends.
    pub timeout_seconds: Option<u64>,
    /// Whether a watch tells where it stands when nothing happens.
    pub bookmarks: bool,
    /// Whether a watch begins with what there is.
    pub initial_events: Option<bool>,
    /// What becomes of dependents: `Background`, `Foreground` or `Orphan`.
    pub propagation: Option<String>,
    /// How long a pod may take to end.
    pub grace_seconds: Option<i64>,
    /// Delete only what has this uid.
    pub uid: Option<String>,
    /// Delete only what has this version.
    pub at_version: Option<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is asked for.
    pub method: Method,
    /// `apps/v1`, or `v1`; for a discovery the whole path.
    pub api_version: String,
    /// Which kind, by its name in paths.
    pub plural: String,
    /// In which namespace; `None` for kinds of the cluster, and for all namespaces.
    pub namespace: Option<String>,
    /// Which object.
    pub name: Option<String>,
    /// Which part of it, as `status` or `scale`.
    pub subresource: Option<String>,
    /// The options.
    pub options: Options,
    /// The body; `Null` where there is none.
    pub body: Value,
    /// Whether the answer is to carry metadata only.
    pub metadata_only: bool,
}

impl Call {
    /// A request without options and body.
    pub fn new(method: Method, api_version: &str, plural: &str, namespace: Option<&str>, name: Option<&str>) -> Self {
        Self {
            method,
            api_version: api_version.to_owned(),
            plural: plural.to_owned(),
            namespace: namespace.filter(|namespace| !namespace.is_empty()).map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: None,
            options: Options::default(),
            body: Value::Null,
            metadata_only: false,
        }
    }

    /// The same with a body.
    pub fn with_body(self, body: Value) -> Self {
        Self { body, ..self }
    }

    /// The same for a part of the object; empty is the object itself.
    pub fn of(self, subresource: &str) -> Self {
        Self { subresource: (!subresource.is_empty()).then(|| subresource.to_owned()), ..self }
    }

    /// The resource as a role names it: `deployments` or `deployments/status`.
    pub fn resource(&self) -> Cow<'_, str> {
        match &self.subresource {
            Some(part) => Cow::Owned(format!("{}/{part}", self.plural)),
            None => Cow::Borrowed(&self.plural),
        }
    }

    pub fn part(&self) -> &str {
        self.subresource.as_deref().unwrap_or_default()
    }

    /// Reads a request as it came over HTTP.
    pub(super) fn read(parts: &Parts, body: &[u8]) -> Result<Self, Status> {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let accept = header(http::header::ACCEPT);
        let mut options = Options::default();
        let mut watching = false;
        for (name, value) in pairs(parts.uri.query().unwrap_or_default()) {
            take(&mut options, &mut watching, &name, &value);
        }
        if options.manager.is_none() {
            let agent = header(http::header::USER_AGENT);
            let first = agent.split('/').next().unwrap_or_default();
            options.manager = Some(if first.is_empty() { "unknown".to_owned() } else { first.to_owned() });
        }
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| Status::bad_request(error.to_string()))?
        };
        let path = parts.uri.path();
        let mut call = Self::new(Method::Discover, path.trim_matches('/'), "", None, None).with_body(body);
        call.metadata_only = accept.contains("as=PartialObjectMetadata");
        let pieces: Vec<&str> = path.split('/').filter(|piece| !piece.is_empty()).collect();
        let rest = match pieces.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                (*version).clone_into(&mut call.api_version);
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                call.api_version = format!("{group}/{version}");
                rest
            }
            _ => {
                call.options = options;
                return Ok(call);
            }
        };
        let rest = match rest {
            // A namespace itself, and parts of it, are paths below `namespaces` too.
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
                call.namespace = Some(decoded(namespace));
                rest
            }
            rest => rest,
        };
        let [plural, object @ ..] = rest else { return Err(Status::not_served()) };
        call.plural = decoded(plural);
        call.name = object.first().map(|name| decoded(name));
        call.subresource = object.get(1).map(|part| decoded(part));
        call.method = match (&parts.method, &call.name) {
            (&http::Method::GET, _) if watching => Method::Watch,
            (&http::Method::GET, Some(_)) => Method::Get,
            (&http::Method::GET, None) => Method::List,
            (&http::Method::POST, None) => Method::Create,
            (&http::Method::PUT, Some(_)) => Method::Update,
            (&http::Method::DELETE, Some(_)) => Method::Delete,
            (&http::Method::DELETE, None) => Method::DeleteCollection,
            (&http::Method::PATCH, Some(_)) => Method::Patch(match header(http::header::CONTENT_TYPE) {
                "application/merge-patch+json" => PatchType::Merge,
                "application/json-patch+json" => PatchType::Json,
                "application/strategic-merge-patch+json" => PatchType::Strategic,
                "application/apply-patch+yaml" => PatchType::Apply,
                _ => {
                    return Err(Status::unknown_format(
                        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                    ));
                }
            }),
            _ => return Err(Status::not_allowed()),
        };
        if call.method == Method::Watch
            && let Some(name) = call.name.take()
        {
            options.fields = Some(format!("metadata.name={name}"));
        }
        if call.method == Method::Patch(PatchType::Apply)
            && !parts.uri.query().unwrap_or_default().contains("fieldManager=")
        {
            // Who applies has to say who they are.
            options.manager = Some(String::new());
        }
        call.options = options;
        if matches!(call.method, Method::Delete | Method::DeleteCollection) {
            call.take_delete_options();
        }
        Ok(call)
    }

    /// The body of a deletion holds its options.
    pub(super) fn take_delete_options(&mut self) {
        let body = std::mem::take(&mut self.body);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let options = &mut self.options;
        options.dry_run |= body["dryRun"].as_array().is_some_and(|all| !all.is_empty());
        options.grace_seconds = body["gracePeriodSeconds"].as_i64().or(options.grace_seconds);
        options.propagation = text(&body["propagationPolicy"]).or(options.propagation.take());
        options.uid = text(&body["preconditions"]["uid"]).or(options.uid.take());
        options.at_version = text(&body["preconditions"]["resourceVersion"]).or(options.at_version.take());
    }
}

fn take(options: &mut Options, watching: &mut bool, name: &str, value: &str) {
    let text = || Some(value.to_owned());
    let is_true = matches!(value, "true" | "1" | "");
    match name {
        "dryRun" => options.dry_run |= value == "All",
        "fieldManager" => options.manager = text(),
        "force" => options.force = is_true,
        "labelSelector" => options.labels = text(),
        "fieldSelector" => options.fields = text(),
        "limit" => options.limit = value.parse().ok().filter(|limit| *limit > 0),
        "continue" => options.next = text().filter(|next| !next.is_empty()),
        "resourceVersion" => options.version = text().filter(|version| !version.is_empty()),
        "resourceVersionMatch" => options.version_match = text(),
        "timeoutSeconds" => options.timeout_seconds = value.parse().ok(),
        "allowWatchBookmarks" => options.bookmarks = is_true,
        "sendInitialEvents" => options.initial_events = Some(is_true),
        "propagationPolicy" => options.propagation = text(),
        "gracePeriodSeconds" => options.grace_seconds = value.parse().ok(),
        "watch" => *watching = is_true,
        _ => {}
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
    })
}

/// A piece of a URL without its percent signs.
fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
