//! The one HTTP client: whatever leaves the operator for a URL that somebody wrote into a manifest goes through here.
//!
//! What it will not do is the point: it follows no redirect, asks no proxy of its environment, dials no address that
//! leads back to the operator, its node or a metadata service, reads no more than it was told to, waits no longer
//! than it was told to, and repeats nothing of an answer or a URL in an error.
mod policy;

use crate::duration::Duration;
use futures::{FutureExt, future::BoxFuture};
use reqwest::{
    Certificate, Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{self, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::VecDeque,
    error::Error,
    fmt, io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

pub use policy::{HostPort, NotAHostPort, Refused, Settings};

/// The longest that looking up the name, connecting and agreeing on TLS may take.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);
/// How long a connection is kept for the next request: metrics are asked for every few seconds.
const IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// How many clients are kept, each with the certificates it trusts and its connections.
const CLIENTS_KEPT: usize = 32;
/// Headers that belong to the client: they say where the request goes, where it ends and who sends it.
const RESERVED: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The client. One is enough for a process; it keeps connections and may be shared.
pub struct Outbound {
    settings: Settings,
    clients: Mutex<VecDeque<(Trust, Client)>>,
}

/// The addresses of hosts, each an address, perhaps in brackets, or a name. One that cannot be resolved has none.
pub async fn addresses_of(hosts: impl IntoIterator<Item = String>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for host in hosts {
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => addresses.push(address),
            Err(_) => match tokio::net::lookup_host((host.as_str(), 0)).await {
                Ok(found) => addresses.extend(found.map(|address| address.ip())),
                Err(error) => {
                    tracing::warn!(host, error = error.to_string(), "a host that is not to be dialled is unknown");
                }
            },
        }
    }
    addresses
}

/// What sends requests: [`Outbound`], or a test's world.
pub trait Transport: Send + Sync {
    /// Sends one request and reads the answer, once.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, Failure>>;
}

impl Transport for Outbound {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, Failure>> {
        Outbound::send(self, request).boxed()
    }
}

/// One request.
#[derive(Clone)]
pub struct Request {
    /// How it is asked.
    pub method: Method,
    /// Where to, absolute; checked before it is sent.
    pub url: String,
    /// Headers besides those of the body and the credentials.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// PEM certificates of the authorities that are trusted for this request instead of the system's.
    pub ca_bundle: Option<String>,
    /// Who answers at the URL.
    pub peer: Peer,
    /// The longest that everything may take, from the look-up of the name to the last byte of the answer.
    pub timeout: Duration,
    /// The longest body that is accepted, in bytes.
    pub body_cap: usize,
}

/// Who answers at a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Whom somebody has named in a manifest.
    #[default]
    Named,
    /// A pod, at the address that the API server has reported for it and nobody has written: plain http is spoken to it, and
    /// of its certificate it matters whom it descends from, for a pod has no name. Addresses that are never dialled stay
    /// so.
    Pod,
    /// The same, and any certificate will do.
    AnyPod,
}

/// How a request is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// To read.
    Get,
    /// To tell, or to ask with a long question.
    Post,
}

/// What a request carries.
#[derive(Clone)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Fields: in the query of a `Get`, form-encoded in the body of a `Post`.
    Form(Vec<(String, String)>),
    /// Bytes and their content type.
    Bytes(Vec<u8>, &'static str),
}

/// Who asks. Neither form prints its secret.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A token. Line breaks at its end, which files tend to have, are not sent.
    Bearer(SecretString),
    /// A user and a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
}

/// An answer, of whatever status: redirects and errors of the server are answers too.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, from 100 to 999.
    pub status: u16,
    /// The body, no longer than the request's cap.
    pub body: Vec<u8>,
}

/// Why there is no answer. The texts may be shown to the author of a manifest; the sources are for the log.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The URL, or the address behind it, is not one that requests are sent to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No client could be made that trusts the system's certificate authorities.
    #[error("the system's CA certificates cannot be loaded")]
    SystemTrust(#[source] reqwest::Error),
    /// No client could be made that trusts the CA bundle.
    #[error("the CA bundle cannot be used: it must hold PEM certificates, and whole ones")]
    CaBundle(#[source] Option<reqwest::Error>),
    /// A header's name or value is not one that HTTP can carry, or that may be set.
    #[error("the header \"{name}\" cannot be sent: HTTP does not allow it, or it is set by the client itself")]
    Header {
        /// The header's name, at most 64 characters of it.
        name: String,
    },
    /// A credential has characters that HTTP cannot carry.
    #[error("the credentials cannot be sent: they hold line breaks or other characters that a header cannot carry")]
    Credentials(#[source] reqwest::Error),
    /// The host's name did not resolve.
    #[error("the host's name cannot be resolved")]
    Resolve(#[source] reqwest::Error),
    /// No connection came about, or not within 3 seconds.
    #[error("no connection could be made")]
    Connect(#[source] reqwest::Error),
    /// The two sides did not agree on TLS.
    #[error(
        "TLS failed: the certificate is not trusted, not for this host or not valid now, or the port speaks no TLS"
    )]
    Tls(#[source] reqwest::Error),
    /// The time was over.
    #[error("there was no complete answer within {0}")]
    Timeout(Duration),
    /// The body is longer than it may be.
    #[error("the answer is longer than {cap} bytes")]
    TooLarge {
        /// The longest that was accepted, in bytes.
        cap: usize,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the exchange broke off before the answer was complete")]
    Exchange(#[source] reqwest::Error),
}

impl Outbound {
    /// A client under these settings.
    ///
    /// Makes `ring` the process's TLS provider if there is none yet, for reqwest asks the process and not its caller.
    ///
    /// # Errors
    ///
    /// [`Failure::SystemTrust`] when the system has no CA certificates.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // It fails only if another thread was faster, and then there is one.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let outbound = Self { settings, clients: Mutex::default() };
        outbound.client(Trust { ca_bundle: None, any_address: false, peer: Peer::Named })?;
        Ok(outbound)
    }

    /// Sends one request and reads the answer, once; trying again is for the caller.
    ///
    /// # Errors
    ///
    /// [`Failure`], whose text is safe to show.
    pub async fn send(&self, request: Request) -> Result<Answer, Failure> {
        let timeout = request.timeout;
        tokio::time::timeout(timeout.std(), self.exchange(request)).await.unwrap_or(Err(Failure::Timeout(timeout)))
    }

    async fn exchange(&self, request: Request) -> Result<Answer, Failure> {
        let policy::Target { url, is_exempt } = match request.peer {
            Peer::Named => self.settings.target(&request.url)?,
            Peer::Pod | Peer::AnyPod => self.settings.pod(&request.url)?,
        };
        let trust = Trust { ca_bundle: request.ca_bundle.clone(), any_address: is_exempt, peer: request.peer };
        let client = self.client(trust)?;
        let cap = request.body_cap;
        let prepared = prepare(&client, url, request)?;
        let response = client.execute(prepared).await.map_err(Failure::of)?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: read(response, cap).await? })
    }

    /// The client that trusts so, made if it was not used lately.
    fn client(&self, trust: Trust) -> Result<Client, Failure> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = clients.iter().position(|(of, _)| *of == trust).and_then(|place| clients.remove(place));
        let client = match kept {
            Some((_, client)) => client,
            None => trust.client(&self.settings.deny)?,
        };
        clients.push_back((trust, client.clone()));
        if clients.len() > CLIENTS_KEPT {
            clients.pop_front();
        }
        Ok(client)
    }
}

impl Failure {
    /// What the library's error means. The URL is taken out of it: people write tokens into queries.
    fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if let Some(refused) = cause::<Refused>(&error) {
            Self::Refused(*refused)
        } else if cause::<rustls::Error>(&error).is_some() {
            Self::Tls(error)
        } else if error.is_dns() {
            Self::Resolve(error)
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Exchange(error)
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL, the headers and the body may hold secrets.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("timeout", &self.timeout)
            .field("body_cap", &self.body_cap)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

/// What one client trusts; requests that trust alike share connections.
#[derive(PartialEq, Eq)]
struct Trust {
    /// PEM certificates instead of the system's.
    ca_bundle: Option<String>,
    /// Whether the rules for addresses are lifted.
    any_address: bool,
    /// How certificates are checked.
    peer: Peer,
}

impl Trust {
    fn client(&self, deny: &[IpAddr]) -> Result<Client, Failure> {
        let mut builder = Client::builder()
            .user_agent(concat!("bellwether/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(4);
        if !self.any_address {
            builder = builder.dns_resolver(Guard { deny: deny.to_vec() });
        }
        builder = match self.peer {
            Peer::Pod if self.ca_bundle.is_some() => builder.tls_danger_accept_invalid_hostnames(true),
            Peer::Named | Peer::Pod => builder,
            Peer::AnyPod => builder.tls_danger_accept_invalid_certs(true),
        };
        let Some(pem) = &self.ca_bundle else {
            return builder.build().map_err(Failure::SystemTrust);
        };
        let certificates =
            Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| Failure::CaBundle(Some(error)))?;
        if certificates.is_empty() {
            return Err(Failure::CaBundle(None));
        }
        builder.tls_certs_only(certificates).build().map_err(|error| Failure::CaBundle(Some(error)))
    }
}

/// Resolves names to the addresses that may be dialled, and to no others.
struct Guard {
    deny: Vec<IpAddr>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let deny = self.deny.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Addrs = Box::new(policy::dialable(found, &deny)?.into_iter());
            Ok(addresses)
        })
    }
}

/// The request as the library has it.
fn prepare(client: &Client, mut url: Url, request: Request) -> Result<reqwest::Request, Failure> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
    };
    if let (Method::Get, Body::Form(fields)) = (request.method, &request.body) {
        url.query_pairs_mut().extend_pairs(fields);
    }
    let mut builder = client.request(method, url);
    for (name, value) in &request.headers {
        let (name, value) = header(name, value)?;
        builder = builder.header(name, value);
    }
    builder = match (request.method, request.body) {
        (_, Body::Empty) | (Method::Get, Body::Form(_)) => builder,
        (Method::Post, Body::Form(fields)) => builder.form(&fields),
        (_, Body::Bytes(bytes, content_type)) => builder.header(header::CONTENT_TYPE, content_type).body(bytes),
    };
    builder = match &request.credentials {
        None => builder,
        Some(Credentials::Bearer(token)) => builder.bearer_auth(token.expose_secret().trim_end_matches(['\r', '\n'])),
        Some(Credentials::Basic { username, password }) => builder.basic_auth(username, Some(password.expose_secret())),
    };
    // All else was checked before.
    builder.build().map_err(|error| Failure::Credentials(error.without_url()))
}

/// A header that somebody wrote, if it is one.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let failure = || Failure::Header { name: name.chars().take(64).collect() };
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| failure())?;
    if RESERVED.contains(&header) {
        return Err(failure());
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| failure())?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// The body, as long as it stays under the cap: what is too long is not read to its end.
async fn read(mut response: reqwest::Response, cap: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |length| length > cap)) {
        return Err(Failure::TooLarge { cap });
    }
    while let Some(chunk) = response.chunk().await.map_err(Failure::of)? {
        if chunk.len() > cap - body.len() {
            return Err(Failure::TooLarge { cap });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The first error of this type among an error's causes, those wrapped in an `io::Error` included.
fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
pub(crate) mod tests;
