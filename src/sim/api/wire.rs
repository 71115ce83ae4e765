//! The wire between a client and the server: HTTP without a socket, and the place where faults are put in.
use super::{Call, Kind, Method, Server, Status, watch::Feed};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use std::{
    io::{Error, ErrorKind},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower::{BoxError, Service};

/// The body of an answer.
pub type Page = UnsyncBoxBody<Bytes, BoxError>;

/// What becomes of a request on its way.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It arrives.
    Pass {
        /// After so long.
        delay: Duration,
    },
    /// Something before the server answers in its place.
    Fail {
        /// After so long.
        delay: Duration,
        /// What it answers.
        status: Status,
    },
    /// The connection breaks before the server has seen it.
    Break {
        /// After so long.
        delay: Duration,
    },
    /// The server does it, and the connection breaks before the answer.
    Lose {
        /// It arrives after so long.
        delay: Duration,
    },
    /// Nobody ever answers, and nothing arrives.
    Hang,
}

impl Fate {
    /// It arrives at once.
    pub const PASS: Self = Self::Pass { delay: Duration::ZERO };
}

/// What becomes of an event of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFate {
    /// It comes so long after it happened; those after it come later.
    After(Duration),
    /// The connection ends in its place.
    Close,
    /// The server says in its place that the watch is too old.
    Gone,
    /// From here on the connection is silent for so long.
    Stall(Duration),
    /// It does not come, if the same object changed again since.
    Skip,
    /// It comes twice.
    Twice,
}

/// Where faults are put in.
pub trait Hooks: Send + Sync {
    /// What becomes of a request before the server sees it.
    fn before(&self, call: &Call) -> Fate;
    /// How long an answer takes.
    fn after(&self, call: &Call, answer: &Result<Bytes, Status>) -> Duration;
    /// What becomes of an event of a watch.
    fn event(&self, kind: &Kind, rv: u64) -> EventFate;
    /// What the request becomes that was meant, where whoever sends it makes a mistake.
    fn bend(&self, _call: &mut Call) {}
    /// The older version from which a read is answered, or a watch begun, as by a replica that lags behind.
    fn read_version(&self, call: &Call) -> Option<u64>;
}

/// Nothing ever goes wrong, and nothing takes time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calm;

impl Hooks for Calm {
    fn before(&self, _: &Call) -> Fate {
        Fate::PASS
    }

    fn after(&self, _: &Call, _: &Result<Bytes, Status>) -> Duration {
        Duration::ZERO
    }

    fn event(&self, _: &Kind, _: u64) -> EventFate {
        EventFate::After(Duration::ZERO)
    }

    fn read_version(&self, _: &Call) -> Option<u64> {
        None
    }
}

/// What a client takes for its connection.
#[derive(Clone)]
pub struct Wire {
    server: Server,
    user: Arc<str>,
    hooks: Arc<dyn Hooks>,
}

impl Wire {
    /// A wire of this user to this server.
    pub fn new(server: Server, user: &str, hooks: Arc<dyn Hooks>) -> Self {
        Self { server, user: user.into(), hooks }
    }

    /// A client at the end of this wire.
    pub fn client(&self, namespace: &str) -> kube::Client {
        kube::Client::new(self.clone(), namespace)
    }

    async fn carry(self, request: Request<Body>) -> Result<Response<Page>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let mut call = match Call::read(&parts, &body) {
            Ok(call) => call,
            Err(status) => return Ok(refused(&status)),
        };
        self.hooks.bend(&mut call);
        let (delay, lost) = match self.hooks.before(&call) {
            Fate::Pass { delay } => (delay, false),
            Fate::Lose { delay } => (delay, true),
            Fate::Fail { delay, status } => {
                wait(delay).await;
                return Ok(refused(&status));
            }
            Fate::Break { delay } => {
                wait(delay).await;
                return Err(Error::new(ErrorKind::ConnectionReset, "the connection broke before the request").into());
            }
            Fate::Hang => std::future::pending().await,
        };
        if call.method == Method::Watch {
            wait(delay).await;
            return if lost { Err(cut_off()) } else { Ok(self.watch(&call)) };
        }
        let known =
            matches!(call.method, Method::Patch(super::PatchType::Apply) | Method::Update) && self.server.knows(&call);
        let answer = if call.method.writes() && !delay.is_zero() {
            // What was sent arrives, whatever becomes of the sender.
            let (wire, sent) = (self.clone(), call.clone());
            let arrives = tokio::spawn(async move {
                wait(delay).await;
                wire.ask(&sent)
            });
            arrives.await?
        } else {
            wait(delay).await;
            self.ask(&call)
        };
        wait(self.hooks.after(&call, &answer)).await;
        if lost {
            return Err(cut_off());
        }
        Ok(match answer {
            Ok(text) => {
                let creates = match call.method {
                    Method::Create => true,
                    Method::Patch(super::PatchType::Apply) | Method::Update => !known,
                    _ => false,
                };
                page(if creates { 201 } else { 200 }, text)
            }
            Err(status) => refused(&status),
        })
    }

    fn ask(&self, call: &Call) -> Result<Bytes, Status> {
        self.server.page(&self.user, call, self.version_for(call))
    }

    pub(super) fn version_for(&self, call: &Call) -> Option<u64> {
        if call.method.writes() { None } else { self.hooks.read_version(call) }
    }

    pub(super) fn hooks(&self) -> &dyn Hooks {
        &*self.hooks
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    fn watch(&self, call: &Call) -> Response<Page> {
        let feed = Feed::begin(&self.server, &self.hooks, &self.user, call, self.hooks.read_version(call));
        let feed = match feed {
            Ok(feed) => feed,
            Err(status) => return refused(&status),
        };
        let lines = stream::unfold(feed, |mut feed| async move { Some((feed.next().await?, feed)) });
        let frames = lines.map(|line| Ok::<_, BoxError>(Frame::data(line)));
        response(200, "application/json", StreamBody::new(frames).boxed_unsync())
    }
}

pub(super) async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn cut_off() -> BoxError {
    Error::new(ErrorKind::ConnectionReset, "the connection broke before the answer").into()
}

fn response(code: u16, content: &str, body: Page) -> Response<Page> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content) = content.parse() {
        response.headers_mut().insert(http::header::CONTENT_TYPE, content);
    }
    response
}

fn whole(bytes: impl Into<Bytes>) -> Page {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn page(code: u16, text: impl Into<Bytes>) -> Response<Page> {
    response(code, "application/json", whole(text))
}

fn refused(status: &Status) -> Response<Page> {
    if *status == Status::no_page() {
        return response(404, "text/plain; charset=utf-8", whole(status.message.clone().into_bytes()));
    }
    page(status.code, status.to_value().to_string())
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Page>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().carry(request))
    }
}
