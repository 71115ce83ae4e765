//! How a provider is reached: where it is, who asks, whom it must be, and how long that may take.
use super::{Ask, How};
use crate::{
    duration::Duration,
    signature::{SIGNATURE_HEADER, TIMESTAMP_HEADER, sign},
};
use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How long one request may take, where nothing is said.
pub(super) const TIMEOUT: Duration = Duration::seconds(5);
/// The longest that one request may take.
pub(super) const LONGEST: Duration = Duration::seconds(30);

/// What all requests to a provider have in common.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// The URL, to which the path of an [`Ask`] is appended.
    pub url: &'a str,
    /// Credentials that each request carries.
    pub auth: Option<&'a Auth>,
    /// Headers that each request carries besides its own.
    pub headers: &'a [Header],
    /// The key that each request is signed with.
    pub hmac: Option<&'a SigningKey>,
    /// Certificates in PEM that the server's must descend from, instead of those of the system.
    pub ca_bundle: Option<&'a str>,
    /// How long one request may take.
    pub timeout: Duration,
    /// The longest answer that is read, in bytes.
    pub answer_cap: usize,
}

impl Reach<'_> {
    /// Where a request goes.
    pub fn target(&self, ask: &Ask) -> String {
        format!("{}{}", self.url.trim_end_matches('/'), ask.path)
    }

    /// The headers that sign a request; [`super::Web::hmac`] says how.
    pub fn signature(&self, ask: &Ask, key: &[u8], now: Timestamp) -> Vec<(String, String)> {
        let target = self.target(ask);
        let (_, behind) = target.split_once("://").unwrap_or(("", &target));
        let path = behind.find('/').map_or("/", |at| &behind[at..]);
        let (method, body) = match &ask.how {
            How::Get => ("GET", ""),
            How::Form(_) => ("POST", ""),
            How::Post(body) => ("POST", body.as_deref().unwrap_or_default()),
        };
        let timestamp = now.as_second().to_string();
        let signature = sign(key, &[&timestamp, method, path], body.as_bytes());
        vec![(TIMESTAMP_HEADER.to_owned(), timestamp), (SIGNATURE_HEADER.to_owned(), signature)]
    }
}

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name: any but Authorization, Host, those that begin with Content- or X-Bellwether-, and those of the connection.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 1024), regex(pattern = "^[ -~]*$"))]
    pub value: String,
}

/// Credentials: exactly one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.bearer) != has(self.basic)").message("auth has exactly one of bearer and basic"))]
pub struct Auth {
    /// A token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Bearer>,
    /// A user's name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
}

/// A token, sent as `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bearer {
    /// The Secret that holds the token.
    pub secret_ref: SecretKey,
}

/// A name and a password, sent as `Authorization: Basic`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// The Secret that holds both.
    pub secret_ref: BasicSecret,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key. Default token.
    #[serde(default = "token")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Two keys of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicSecret {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of the user's name. Default username.
    #[serde(default = "username")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// The key of the password. Default password.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A key of a Secret, whose bytes requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn token() -> String {
    "token".into()
}

fn username() -> String {
    "username".into()
}

fn password() -> String {
    "password".into()
}

/// The cure, if a URL is none that requests can be sent below.
pub(super) fn bad_url(url: &str) -> Option<&'static str> {
    let Ok(uri) = http::Uri::try_from(url) else { return Some("is no URL") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
        return Some("write http:// or https://, a host and perhaps a path");
    }
    if url.contains(['?', '#']) {
        return Some("leave out the ? or # and what follows it");
    }
    let has_credentials = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    has_credentials.then_some("credentials go into a Secret that auth names")
}

/// The cure, if credentials are of no kind or of two.
pub(super) fn bad_auth(auth: Option<&Auth>) -> Option<&'static str> {
    let is_bad = auth.is_some_and(|auth| auth.bearer.is_some() == auth.basic.is_some());
    is_bad.then_some("write exactly one of bearer and basic")
}

/// The cure, if a time-out is out of its bounds.
pub(super) fn bad_timeout(timeout: Duration) -> Option<&'static str> {
    (timeout == Duration::ZERO || timeout > LONGEST).then_some("write more than 0s and at most 30s")
}

/// The cure, if one of the headers is not for people to write.
pub(super) fn bad_headers(headers: &[Header]) -> Option<String> {
    /// Headers that say where a request goes, where it ends and who sends it.
    const RESERVED: [&str; 9] = [
        "authorization",
        "connection",
        "expect",
        "host",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if headers.len() > 16 {
        return Some("write at most 16".into());
    }
    let mut names = BTreeSet::new();
    for Header { name, value } in headers {
        let lower = name.to_ascii_lowercase();
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            return Some(format!("\"{shown}\" is no name: it has 1 to 64 letters, digits, - and _"));
        }
        if matches!(lower.as_str(), "authorization" | "proxy-authorization") {
            return Some(format!("{shown} goes into a Secret that auth names"));
        }
        let is_ours = ["content-", "x-bellwether-"].into_iter().any(|ours| lower.starts_with(ours));
        if is_ours || RESERVED.contains(&lower.as_str()) {
            return Some(format!("{shown} is set by the operator; leave it out"));
        }
        if value.len() > 1_024 || !value.chars().all(|c| (' '..='~').contains(&c)) {
            return Some(format!("the value of {shown} has characters that are no ASCII, or more than 1024 of them"));
        }
        if !names.insert(lower) {
            return Some(format!("{shown} is there twice"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_secrets_have_defaults() {
        let basic: Basic = serde_json::from_str(r#"{"secretRef":{"name":"s"}}"#).unwrap();
        assert_eq!((basic.secret_ref.username_key.as_str(), basic.secret_ref.key.as_str()), ("username", "password"));
        let bearer: Bearer = serde_json::from_str(r#"{"secretRef":{"name":"s"}}"#).unwrap();
        assert_eq!(bearer.secret_ref.key, "token");
        assert!(serde_json::from_str::<SigningKey>(r#"{"name":"s"}"#).is_err());
    }

    #[test]
    fn nothing_can_be_sent_below_a_query_a_fragment_or_a_password() {
        assert_eq!(bad_url("https://scores.example.com:8443/v1"), None);
        for url in ["", "host:80", "ftp://h", "http://", "http://a b", "http://h/?x", "http://h/#x", "http://u:p@h"] {
            assert!(bad_url(url).is_some(), "{url}");
        }
    }

    fn ask(how: How) -> Ask {
        Ask { path: "/score?rs=shop-1&at=1795249805".into(), headers: Vec::new(), how, selection: None, holds: 1 }
    }

    fn reach(url: &str) -> Reach<'_> {
        Reach { url, auth: None, headers: &[], hmac: None, ca_bundle: None, timeout: TIMEOUT, answer_cap: 1 }
    }

    /// The signatures were computed by another program, in Python.
    #[test]
    fn a_request_is_signed_as_documented() {
        let now = "2026-11-21T08:30:05.900Z".parse().unwrap();
        let signed = |url, how| reach(url).signature(&ask(how), b"a key of the endpoint", now);
        let get = signed("https://scores.example.com/v1/", How::Get);
        assert_eq!(get[0], ("X-Bellwether-Timestamp".into(), "1795249805".into()));
        assert_eq!(
            get[1],
            (
                "X-Bellwether-Signature".into(),
                "v1=b78993914395f3d02e4ed17f256b4d5d0405838d0809c03811c8b36d26aa7189".into()
            )
        );
        let post = signed("https://scores.example.com", How::Post(Some(r#"{"a":1}"#.into())));
        assert_eq!(post[1].1, "v1=2b81f77cacbe373b044657b3f04cd52803de655670703d6a8f340dfc13409f3a");
    }

    #[test]
    fn method_path_time_and_body_are_all_signed() {
        let signed = |url: &str, how, at| reach(url).signature(&ask(how), b"k", Timestamp::from_second(at).unwrap());
        let url = "https://h";
        let first = signed(url, How::Get, 1);
        assert_eq!(first, signed("http://other", How::Get, 1), "the host is not: it may be behind a proxy");
        for other in [
            signed("https://h/v1", How::Get, 1),
            signed(url, How::Post(None), 1),
            signed(url, How::Post(Some("{}".into())), 1),
            signed(url, How::Get, 2),
        ] {
            assert_ne!(other[1], first[1]);
        }
    }
}
