//! What a route is asked for: a share of all requests, and beside it requests that are told apart or copied.
use crate::vocab::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

/// Why a step's match by path fits no rule that rewrites paths: what is rewritten follows from what is matched.
pub(super) const REWRITTEN: &str =
    "a managed route rewrites the path that it matches, so a step's match there can be none by path";

/// How requests are split between the two Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The canary's share of the requests that no match takes.
    pub weight: Weight,
    /// What reaches the canary whatever the weight.
    pub apart: Apart,
}

/// Requests that reach the canary whatever the weight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Apart {
    /// Requests that match one of these go to the canary wholly.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub matches: Vec<RequestMatch>,
    /// A share of stable's requests is sent to the canary too, and its answers are thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

/// What a request must have: everything that is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.headers) && self.headers.size() > 0 || has(self.cookies) && self.cookies.size() > 0 || has(self.method) || has(self.path) || has(self.query) && self.query.size() > 0",
    "message": "a match needs headers, cookies, method, path or query, else it would take every request",
}]))]
pub struct RequestMatch {
    /// Headers, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers: Vec<NamedValue>,
    /// Cookies, all of them. Gateways read them as a regular expression on the header `cookie`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub cookies: Vec<Cookie>,
    /// The method, like `GET`. Not for gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = "^(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)$"))]
    pub method: Option<String>,
    /// The path. It must lie within the path of the rule that it is taken from. Not for gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Parameters of the query, all of them. Not for gRPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub query: Vec<NamedValue>,
}

/// A header or a query parameter by name and value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedValue {
    /// Its name.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+\\-.^_`|~]+$"))]
    pub name: String,
    /// What it must be.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
    /// How the value is compared.
    #[serde(default, rename = "type")]
    pub how: Comparison,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Comparison {
    /// It is this value.
    #[default]
    Exact,
    /// It matches this expression, in the dialect of the gateway.
    RegularExpression,
}

/// A cookie by name and value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub name: String,
    /// What it must be, exactly.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9_.=-]+$"))]
    pub value: String,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathMatch {
    /// Where it begins, or what it is.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub value: String,
    /// How it is compared.
    #[serde(default, rename = "type")]
    pub how: PathComparison,
}

impl PathMatch {
    /// What it is where prefixes end anywhere, and not with an element: the one path, how others begin, or either.
    pub(super) fn by_letters(&self) -> (Option<String>, Option<String>) {
        let elements = self.value.trim_end_matches('/');
        match self.how {
            PathComparison::Exact => (Some(self.value.clone()), None),
            PathComparison::PathPrefix if elements.is_empty() => (None, Some("/".to_owned())),
            PathComparison::PathPrefix => (Some(elements.to_owned()), Some(format!("{elements}/"))),
        }
    }

    /// The same as matches, of which one holds where this does: so Contour and Istio write them.
    pub(super) fn exact_or_prefix(&self) -> Vec<Value> {
        let (exact, prefix) = self.by_letters();
        let exact = exact.map(|path| json!({"exact": path}));
        exact.into_iter().chain(prefix.map(|path| json!({"prefix": path}))).collect()
    }
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathComparison {
    /// It begins with these elements.
    #[default]
    PathPrefix,
    /// It is this path.
    Exact,
}

/// Copies of requests for the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The share of stable's requests that is copied, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub percent: u8,
}

impl Split {
    /// Nothing reaches the canary.
    pub const NONE: Self = Self { weight: Weight::ZERO, apart: Apart { matches: Vec::new(), mirror: None } };

    /// Whether no answer of the canary reaches anybody, and no copy of a request reaches it.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Whether more reaches the canary by this than by the other, or something else.
    pub fn adds_to(&self, other: &Self) -> bool {
        self.weight > other.weight || (self.apart != other.apart && !self.apart.is_empty())
    }
}

impl From<Weight> for Split {
    fn from(weight: Weight) -> Self {
        Self { weight, apart: Apart::default() }
    }
}

#[cfg(test)]
impl NamedValue {
    /// A name that has exactly this value.
    pub fn exact(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), how: Comparison::Exact }
    }
}

impl Cookie {
    /// It among others, as an expression on the one header that carries them all (RFC 6265, 4.2.1).
    pub(super) fn expression(&self) -> String {
        format!("^(.*; ?)?{}={}(;.*)?$", self.name, self.value.replace('.', "\\."))
    }
}

impl Apart {
    /// Why no route that compares each header once can have these matches: one of them asks for two values of a header.
    pub(super) fn header_twice(&self) -> Option<String> {
        self.matches.iter().find_map(|wanted| {
            let headers =
                wanted.headers.iter().map(|it| (it.name.to_ascii_lowercase(), (it.value.clone(), it.how)));
            let cookies = wanted
                .cookies
                .iter()
                .map(|cookie| ("cookie".to_owned(), (cookie.expression(), Comparison::RegularExpression)));
            let mut asked = BTreeMap::new();
            let (name, _) = headers.chain(cookies).find(|(name, value)| {
                asked.insert(name.clone(), value.clone()).is_some_and(|before| before != *value)
            })?;
            Some(format!(
                "a match asks for two values of the header {name} (each cookie is a value of the header cookie), and routes of \
                 this kind compare a header once; leave one, or write both as one header {name} with type: RegularExpression"
            ))
        })
    }

    /// Whether there is nothing beside the weight.
    pub fn is_empty(&self) -> bool {
        self.matches.is_empty() && self.mirror.is_none()
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.weight.fmt(f)?;
        if !self.apart.matches.is_empty() {
            f.write_str(" and what matches")?;
        }
        if let Some(Mirror { percent }) = self.apart.mirror {
            write!(f, " and {percent} % mirrored")?;
        }
        Ok(())
    }
}
