//! The two sides: the API server in memory, and the real one. Both are asked over HTTP, by the same client, in the same words.
use super::{
    known::{Known, filled},
    normal::Eyes,
};
use crate::sim::{
    api::{Calm, Policies, Server, Wire},
    world::{OPERATOR, Weather, World},
};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::runtime::Runtime;

/// Somebody who may do everything.
pub const JANE: &str = "jane";
/// Somebody who may do little.
pub const BOB: &str = "bob";
/// The two above and the operator have what they need; nobody else is known.
pub const USERS: [&str; 3] = [JANE, BOB, OPERATOR];

/// What is sent as a body.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// This, with the words for what differs from side to side filled in.
    This(Value),
    /// The object as it was read last, with these members set, or taken away where null is said.
    Edited(String, Vec<(String, Value)>),
}

/// One request, in words that are the same on both sides: `$(ns)`, `$(uid:PLURAL/NAME)`, `$(rv:PLURAL/NAME)`,
/// `$(stale:PLURAL/NAME)`, `$(next)` stand for what each side knows them as.
#[derive(Clone, Debug)]
pub struct Request {
    pub user: &'static str,
    pub method: &'static str,
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub content: &'static str,
    pub accept: &'static str,
    pub sent: Sent,
    /// The object that it is about, as `PLURAL/NAME`.
    pub about: String,
}

impl Request {
    /// A request by Jane without a body.
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            user: JANE,
            method,
            path: path.into(),
            query: Vec::new(),
            content: "application/json",
            accept: "application/json",
            sent: Sent::Nothing,
            about: String::new(),
        }
    }

    /// The same with a body.
    pub fn with(self, body: Value) -> Self {
        Self { sent: Sent::This(body), ..self }
    }

    /// The same by another.
    pub fn by(self, user: &'static str) -> Self {
        Self { user, ..self }
    }

    /// The same with one more word in its query.
    pub fn asking(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// The same about an object.
    pub fn about(self, plural: &str, name: &str) -> Self {
        Self { about: format!("{plural}/{name}"), ..self }
    }

    /// A patch.
    pub fn patch(path: impl Into<String>, content: &'static str, body: Value) -> Self {
        Self { content, ..Self::new("PATCH", path) }.with(body)
    }

    /// Whether nothing is to come of it.
    pub fn is_dry(&self) -> bool {
        let in_body = match &self.sent {
            Sent::This(body) => body["dryRun"].is_array(),
            _ => false,
        };
        in_body || self.query.iter().any(|(name, _)| *name == "dryRun")
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let query: Vec<_> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        write!(f, "{} {}?{} by {} as {}", self.method, self.path, query.join("&"), self.user, self.content)?;
        match &self.sent {
            Sent::Nothing => Ok(()),
            Sent::This(body) => write!(f, "\n      {body}"),
            Sent::Edited(of, edits) => write!(f, "\n      {of} with {edits:?}"),
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub code: u16,
    /// The values of the body; one, but for a watch.
    pub lines: Vec<Value>,
}

impl Answer {
    /// The body of an answer that is no watch.
    pub fn body(&self) -> &Value {
        self.lines.first().unwrap_or(&Value::Null)
    }
}

/// What stands behind a side.
enum Behind {
    Memory { server: Server, world: Box<World> },
    Cluster,
}

/// One of the two.
pub struct Side {
    behind: Behind,
    runtime: Runtime,
    clients: BTreeMap<&'static str, kube::Client>,
    pub namespace: String,
    pub known: Known,
}

impl Side {
    /// The one in memory, with everything of ours in it.
    pub fn in_memory() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (server, world) = runtime.block_on(async {
            let base: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let begun = tokio::time::Instant::now();
            let passed = move || jiff::SignedDuration::try_from(begun.elapsed()).unwrap();
            let server = Server::new(Arc::new(move || base + passed()));
            server.register_ours();
            server.set_policies(Policies::shipped(OPERATOR));
            let world = World::new(server.clone(), base, 1, Weather::default());
            (server, world)
        });
        for (verb, plural) in super::cluster::BOB_MAY_NOT {
            server.deny(BOB, verb, plural);
        }
        let client = |user: &'static str| {
            let _inside = runtime.enter();
            (user, Wire::new(server.clone(), user, Arc::new(Calm)).client("default"))
        };
        let clients = USERS.into_iter().map(client).collect();
        Self {
            behind: Behind::Memory { server, world: Box::new(world) },
            runtime,
            clients,
            namespace: crate::sim::world::NAMESPACE.to_owned(),
            known: Known::default(),
        }
    }

    /// The one of KUBECONFIG, in a namespace of this name.
    pub fn in_cluster(namespace: &str) -> Self {
        Self::connected(namespace, |user| Some(user.to_owned()))
    }

    /// The same, whoever asks, as the user of KUBECONFIG.
    pub fn as_oneself(namespace: &str) -> Self {
        Self::connected(namespace, |_| None)
    }

    fn connected(namespace: &str, name: impl Fn(&str) -> Option<String>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clients = runtime.block_on(async {
            let config = kube::Config::infer().await.expect("a cluster: set KUBECONFIG");
            let client = |user: &'static str| {
                let mut config = config.clone();
                config.auth_info.impersonate = name(user);
                // A watch is silent while nothing happens.
                config.read_timeout = Some(Duration::from_mins(1));
                (user, kube::Client::try_from(config).expect("a client"))
            };
            USERS.into_iter().map(client).collect()
        });
        Self { behind: Behind::Cluster, runtime, clients, namespace: namespace.to_owned(), known: Known::default() }
    }

    /// Sends a request and waits for the whole answer.
    pub fn ask(&self, request: &Request) -> Answer {
        let text = |text: &str| filled(text, &self.known, &self.namespace);
        let query: Vec<_> =
            request.query.iter().map(|(name, value)| format!("{name}={}", encoded(&text(value)))).collect();
        let body = match &request.sent {
            Sent::Nothing => Vec::new(),
            Sent::This(body) => text(&body.to_string()).into_bytes(),
            Sent::Edited(of, edits) => {
                let mut body = self.known.objects.get(of).cloned().unwrap_or_else(|| json!({}));
                for (path, value) in edits {
                    let value = serde_json::from_str(&text(&value.to_string())).unwrap();
                    super::kinds::set(&mut body, path, value);
                }
                body.to_string().into_bytes()
            }
        };
        let request = http::Request::builder()
            .method(request.method)
            .uri(format!("{}?{}", text(&request.path), query.join("&")))
            .header(http::header::CONTENT_TYPE, request.content)
            .header(http::header::ACCEPT, request.accept)
            .header(http::header::USER_AGENT, "conformance/1")
            .body(Body::from(body))
            .map(|http| (request.user, http));
        let (user, request) = request.unwrap();
        let client = self.clients[user].clone();
        let (code, body) = self.runtime.block_on(async move {
            let answer = client.send(request).await.expect("an answer");
            let code = answer.status().as_u16();
            (code, answer.into_body().collect().await.expect("the whole answer").to_bytes())
        });
        // Of a refusal a value may take several lines, and a page that is no JSON is one text.
        let lines: Result<Vec<_>, _> = serde_json::Deserializer::from_slice(&body).into_iter().collect();
        Answer { code, lines: lines.unwrap_or_else(|_| vec![json!(String::from_utf8_lossy(&body))]) }
    }

    /// Sends a request, remembers what it says of objects, and tells it in the words of both sides.
    pub fn tell(&mut self, request: &Request) -> Value {
        let answer = self.ask(request);
        let mut eyes = Eyes { known: &mut self.known, namespace: &self.namespace, dry: request.is_dry() };
        eyes.answer(&answer)
    }

    /// Reads an object, and remembers it as it is.
    pub fn read(&mut self, path: &str, about: &str) -> Value {
        let request = Request::new("GET", path);
        let answer = self.ask(&request);
        if answer.code == 200 {
            self.known.objects.insert(about.to_owned(), answer.body().clone());
        } else {
            self.known.objects.remove(about);
        }
        Eyes { known: &mut self.known, namespace: &self.namespace, dry: false }.answer(&answer)
    }

    /// All objects of a kind in the namespace, as they are.
    pub fn list(&self, api: &str, plural: &str) -> Vec<Value> {
        let answer = self.ask(&Request::new("GET", format!("/{api}/namespaces/$(ns)/{plural}")));
        assert_eq!(answer.code, 200, "{plural}: {:?}", answer.lines);
        answer.body()["items"].as_array().cloned().unwrap_or_default()
    }

    /// Lets time pass: in memory the world's, where everything is done by then; else so much of our own.
    pub fn pass(&mut self, time: Duration) {
        match &mut self.behind {
            Behind::Memory { world, .. } => {
                // Outside of the runtime it would be another time.
                self.runtime.block_on(async {
                    let end = world.now() + u64::try_from(time.as_millis()).unwrap();
                    world.live_until(end).await;
                });
            }
            Behind::Cluster => std::thread::sleep(time),
        }
    }

    /// In memory: one pass after the other of those who clean up, until there is nothing left.
    pub fn collect(&self) {
        if let Behind::Memory { server, .. } = &self.behind {
            while server.collect() > 0 {}
        }
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
