//! Requests at a constant rate, and whose fault it is when one is lost.
use crate::{
    objects,
    process::run,
    records::{PodLife, Records},
    world::{Kind, World, until},
};
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};

/// Requests a second.
pub const RATE: u32 = 50;
/// Requests a second, where many are wanted soon.
const BURST_RATE: u32 = 500;
/// For so long after a container ended by itself the gateway may still send requests to it: the kubelet must see that it
/// is gone, the endpoints must follow, and the gateway must take them.
const AFTERMATH_MS: f64 = 5_000.0;
/// Times of containers have no fractions of a second.
const COARSE_MS: f64 = 1_000.0;

/// One request, as the load generator writes it down.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// When it began, in Unix milliseconds.
    pub t: f64,
    /// How long it took.
    pub ms: f64,
    /// The answer's status; 0 is none.
    pub code: u16,
    /// The version that answered.
    pub version: String,
    /// Whether the app itself answered. If not, the request is lost.
    pub own: bool,
    /// Why there was no answer.
    #[serde(default)]
    #[expect(dead_code, reason = "read by people, in the words of a failure")]
    err: String,
    /// Its `X-Request-Id`.
    pub id: String,
}

/// A lost request, and what the gateway says of it.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "read by people, in the words of a failure")]
pub struct Lost {
    /// The request.
    request: Request,
    /// What the gateway's access log says, if it has the request.
    gateway: Option<Entry>,
    /// The pod that had the address.
    pod: Option<String>,
}

/// A line of the gateway's access log.
#[derive(Clone, Debug)]
struct Entry {
    /// The pod's address; empty when the gateway had none to send it to.
    sent_to: String,
    /// What the gateway answered.
    status: u64,
}

/// What came of all requests.
pub struct Tally {
    /// All of them, by when they began.
    pub requests: Vec<Request>,
    /// Lost, and nobody's fault but the machinery's.
    pub lost: Vec<Lost>,
    /// Lost at a candidate's pod that had just ended by itself: the release's own harm.
    pub harm: Vec<Lost>,
    /// How many were lost to what the story itself took away.
    pub apart: usize,
}

/// Tells the lost requests for which the story itself has taken away what would have answered them.
pub type Apart = Box<dyn Fn(&Request) -> bool>;

/// One who came without a cookie.
#[derive(Clone, Debug)]
pub struct Client {
    /// The version that answered.
    pub version: String,
    /// The cookie that came with the answer.
    pub cookie: String,
}

/// Where requests go in.
#[derive(Clone, Debug)]
pub struct Door {
    /// Namespace and name of the Service that takes them: a gateway's, or the app's own.
    pub service: (String, &'static str),
    /// The host that is asked for.
    pub host: String,
    /// The port of that Service.
    pub port: u16,
    /// The path that is asked for.
    pub path: &'static str,
    /// A header that each request has besides, as `name=value`.
    pub header: Option<String>,
    /// Requests a second.
    pub rate: u32,
    /// How they are sent; `bw-app load --help` says what there is.
    pub protocol: &'static str,
    /// How many of a hundred have a connection of their own.
    pub new_connections: u8,
}

impl Door {
    /// Traefik, by the name that the story's routes have.
    pub fn usual(world: &World) -> Self {
        Self {
            service: ("traefik".to_owned(), "traefik"),
            host: objects::host(&world.namespace, objects::APP),
            port: 80,
            path: "/",
            header: None,
            rate: RATE,
            protocol: "http1",
            new_connections: 50,
        }
    }

    /// The app's own Service, which chooses a pod for each connection: so each request has one of its own.
    pub fn of_app(world: &World) -> Self {
        Self { service: (world.namespace.clone(), objects::APP), new_connections: 100, ..Self::usual(world) }
    }

    async fn url(&self, world: &World) -> String {
        let (namespace, name) = &self.service;
        let service = Api::namespaced_with(world.client.clone(), namespace, &Kind::Service.resource());
        let service: kube::api::DynamicObject = service.get(name).await.expect("a gateway: hack/planes");
        let scheme = if self.protocol == "https" { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", service.data["spec"]["clusterIP"].as_str().unwrap(), self.port, self.path)
    }

    /// The versions that answer some requests of this method for what stands below the door's path, with these headers, each
    /// over a connection of its own; calls of gRPC have one method, and one header at most.
    pub async fn answers(&self, world: &World, method: &str, below: &str, headers: &[(&str, &str)]) -> Vec<String> {
        if self.protocol == "grpc" {
            assert!(below.is_empty() && headers.len() < 2, "not a call of the app: {below} {headers:?}");
            let header = headers.first().map(|(name, value)| format!("{name}={value}"));
            let calls = Self { header, ..self.clone() }.burst(world, 20).await;
            return calls.into_iter().map(|it| if it.own { it.version } else { it.code.to_string() }).collect();
        }
        let (url, method) = (self.url(world).await + below, method.parse::<reqwest::Method>().unwrap());
        let client = apart();
        let mut versions = Vec::new();
        for _ in 0..20 {
            let request = client.request(method.clone(), &url).header("host", &self.host);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            versions.push(version(&request.send().await.unwrap()));
        }
        versions
    }

    /// So many who come without a cookie, and are given one.
    pub async fn clients(&self, world: &World, count: usize) -> Vec<Client> {
        let url = self.url(world).await;
        let mut clients = Vec::new();
        for _ in 0..count {
            let answer = apart().get(&url).header("host", &self.host).send().await.unwrap();
            let cookie = answer.headers().get("set-cookie").map(|it| it.to_str().unwrap().to_owned());
            let cookie = cookie.unwrap_or_else(|| panic!("no cookie came with {answer:?}"));
            let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
            clients.push(Client { version: version(&answer), cookie });
        }
        clients
    }

    async fn command(&self, world: &World, file: &Path) -> Command {
        let url = self.url(world).await;
        let share = (f64::from(self.new_connections) / 100.0).to_string();
        let mut command = Command::new("bw-app");
        command.args(["load", "-url", &url, "-host", &self.host, "-protocol", self.protocol]);
        if let Some(header) = &self.header {
            command.args(["-header", header]);
        }
        command.args(["-new-connections", &share, "-out"]).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    /// So many requests within some seconds, and what came of each.
    pub async fn burst(&self, world: &World, count: u32) -> Vec<Request> {
        let file = std::env::temp_dir().join(format!("{}-burst.jsonl", world.namespace));
        let mut command = self.command(world, &file).await;
        // Sessions of a second are many at once, and each greeting within TLS is work; the last request begins just before
        // the end.
        let rate = if ["websocket", "https"].contains(&self.protocol) { BURST_RATE / 4 } else { BURST_RATE };
        let millis = 1000 * count / rate - 1;
        command.args(["-rate", &rate.to_string(), "-duration", &format!("{millis}ms")]);
        assert!(command.status().await.unwrap().success(), "the load generator failed");
        let requests = read(&file);
        let _ = std::fs::remove_file(&file);
        requests
    }
}

/// Sends each request over a connection of its own.
fn apart() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap()
}

/// The version that answered; else the status.
fn version(answer: &reqwest::Response) -> String {
    let version = answer.headers().get("x-app-version").map(|it| it.to_str().unwrap_or_default().to_owned());
    version.unwrap_or_else(|| answer.status().to_string())
}

/// A load generator at work.
pub struct Load {
    child: Child,
    file: PathBuf,
}

impl Load {
    /// Begins to send requests to the namespace's app through the usual gateway.
    pub async fn begin(world: &World) -> Self {
        Self::through(world, &Door::usual(world)).await
    }

    /// Begins to send requests to the namespace's app.
    pub async fn through(world: &World, door: &Door) -> Self {
        let path = door.path.trim_end_matches('/').replace('/', "-");
        let file = std::env::temp_dir().join(format!("{}{path}.jsonl", world.namespace));
        let mut command = door.command(world, &file).await;
        let child = command.args(["-rate", &door.rate.to_string(), "-duration", "1h"]).spawn().unwrap();
        let load = Self { child, file };
        load.until_answered("the gateway knows the route", 0, 60, |request| request.own).await;
        load
    }

    /// Waits until one more than `known` requests of this sort are there; returns how many there are.
    pub async fn until_answered(
        &self,
        what: &str,
        known: usize,
        seconds: u64,
        sort: impl Fn(&Request) -> bool,
    ) -> usize {
        until(what, seconds, async || {
            let requests = self.requests();
            let count = requests.iter().filter(|request| sort(request)).count();
            if count > known { Ok(count) } else { Err(format!("{count} of {} requests", requests.len())) }
        })
        .await
    }

    /// What has been answered so far, by when it began. What is being written is left out.
    pub fn requests(&self) -> Vec<Request> {
        read(&self.file)
    }

    /// Ends the load, waits for what is under way, and says whose fault every lost request is.
    ///
    /// `from` leaves out what began before: until a gateway has heard of a route nobody promises anything. What is lost
    /// and `apart` is only counted.
    pub async fn end(mut self, world: &World, records: &Records, from: f64, apart: Option<&Apart>) -> Tally {
        if let Some(pid) = self.child.id() {
            run("sh", &["-c", r#"kill "$0""#, &pid.to_string()], "").await.well("kill");
        }
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), self.child.wait()).await;
        assert!(ended.expect("the load ends").unwrap().success(), "the load generator failed");
        let requests: Vec<_> = self.requests().into_iter().filter(|request| request.t >= from).collect();
        assert!(requests.len() > 100, "only {} requests were sent", requests.len());
        let lost = requests.iter().filter(|request| !request.own).cloned();
        let (apart, lost): (Vec<_>, Vec<_>) = lost.partition(|request| apart.is_some_and(|apart| apart(request)));
        let (lost, harm) = judge_lost(world, records, lost).await;
        Tally { requests, lost, harm, apart: apart.len() }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Another load for the same app must not find its answers.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// How many of these requests this version answered, which has to be this share of all: no further from it than five
/// standard deviations of chance.
pub fn answered_share(what: &str, requests: &[Request], version: &str, share: f64) -> usize {
    let got = requests.iter().filter(|request| request.own && request.version == version).count();
    is_share(what, got, requests.len(), share);
    got
}

/// So many of all are this share of them: no further from it than five standard deviations of chance.
pub fn is_share(what: &str, got: usize, all: usize, share: f64) {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap());
    let off = (count(got) - share * count(all)).abs();
    let most = 5.0 * (count(all) * share * (1.0 - share)).sqrt();
    assert!(off <= most, "{what}: {got} of {all} requests at {:.0} %", share * 100.0);
}

impl Tally {
    /// The requests that this version answered itself.
    pub fn of<'a>(&'a self, version: &'a str) -> impl Iterator<Item = &'a Request> {
        self.requests.iter().filter(move |request| request.own && request.version == version)
    }

    /// How many of these requests this version failed itself.
    pub fn failed(&self, version: &str) -> usize {
        self.of(version).filter(|request| request.code >= 500).count()
    }

    /// How long the slowest answer of the app took, in milliseconds.
    pub fn slowest_answer(&self) -> f64 {
        self.requests.iter().filter(|request| request.own).map(|request| request.ms).fold(0.0, f64::max)
    }

    /// When this version's first and last request began, harmed ones included.
    pub fn span(&self, version: &str) -> Option<(f64, f64)> {
        let harmed = self.harm.iter().map(|lost| lost.request.t);
        let times: Vec<f64> = self.of(version).map(|request| request.t).chain(harmed).collect();
        let first = times.iter().copied().reduce(f64::min)?;
        Some((first, times.iter().copied().reduce(f64::max)?))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, lost, harm, apart } = self;
        write!(f, "{} requests in all, lost by the machinery {}, harm {}", requests.len(), lost.len(), harm.len())?;
        if *apart > 0 {
            write!(f, ", and {apart} to what the story took away")?;
        }
        Ok(())
    }
}

fn read(file: &Path) -> Vec<Request> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut requests: Vec<Request> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    requests.sort_by(|one, other| one.t.total_cmp(&other.t));
    requests
}

/// Parts lost requests into those that the machinery lost and those that the candidate's own pods lost by ending.
async fn judge_lost(world: &World, records: &Records, lost: Vec<Request>) -> (Vec<Lost>, Vec<Lost>) {
    if lost.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let ids = lost.iter().map(|request| request.id.as_str()).collect();
    let log = gateway_log(world, &ids).await;
    let pods = records.pods();
    let of_app = || pods.values().filter(|pod| pod.app == objects::APP);
    let first = of_app().min_by(|one, other| one.first_at.total_cmp(&other.first_at));
    let stable = first.map(|pod| pod.hash.as_str()).unwrap_or_default();
    let judge = |request: &Request, entry: Option<&Entry>| {
        let (begin, end) = (request.t, request.t + request.ms);
        let crashed = |pod: &PodLife| {
            let soon = |at: f64| end >= at - COARSE_MS && begin <= at + COARSE_MS + AFTERMATH_MS;
            pod.hash != stable && pod.app == objects::APP && pod.crashes.iter().any(|at| soon(*at))
        };
        match entry {
            // Nobody knows where it was lost.
            None => (None, false),
            // The Service it was meant for had no pod. Stable's pods were there all the time, so it was the candidate's.
            Some(entry) if entry.sent_to.is_empty() => {
                let unharmed = of_app().filter(|pod| pod.hash == stable).all(|pod| pod.crashes.is_empty() && !pod.gone);
                (None, entry.status == 503 && unharmed && of_app().any(crashed))
            }
            Some(entry) => {
                let ip = entry.sent_to.split(':').next().unwrap_or_default();
                // Addresses are used again.
                let had_it = pods.values().filter(|pod| pod.ip == ip && pod.first_at <= end);
                let pod = had_it.max_by(|one, other| one.first_at.total_cmp(&other.first_at));
                (pod.map(|pod| pod.name.clone()), pod.is_some_and(crashed))
            }
        }
    };
    let judged = lost.into_iter().map(|request| {
        let entry = log.get(&request.id);
        let (pod, own_fault) = judge(&request, entry);
        (Lost { request, gateway: entry.cloned(), pod }, own_fault)
    });
    let (harm, lost): (Vec<_>, Vec<_>) = judged.partition(|(_, own_fault)| *own_fault);
    let only = |list: Vec<(Lost, bool)>| list.into_iter().map(|(lost, _)| lost).collect();
    (only(lost), only(harm))
}

/// What the gateway's access log says of these requests, by id.
async fn gateway_log(world: &World, ids: &BTreeSet<&str>) -> BTreeMap<String, Entry> {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "traefik");
    let mut entries = BTreeMap::new();
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this century")]
    let since = jiff::Timestamp::from_millisecond(world.since as i64).unwrap();
    for pod in pods.list(&ListParams::default().labels("app=traefik")).await.unwrap() {
        let params = LogParams { since_time: Some(since), ..LogParams::default() };
        let log = pods.log_stream(&pod.metadata.name.unwrap_or_default(), &params).await.unwrap();
        let mut lines = log.lines();
        while let Some(line) = lines.try_next().await.unwrap() {
            let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            let id = text("request_X-Request-Id");
            if ids.contains(id.as_str()) {
                let status = entry["DownstreamStatus"].as_u64().unwrap_or(0);
                entries.insert(id, Entry { sent_to: text("ServiceAddr"), status });
            }
        }
    }
    entries
}
