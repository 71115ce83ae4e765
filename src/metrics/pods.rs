//! Pods: their own pages of metrics, read by the operator itself every few seconds, without a Prometheus.
//!
//! Nothing but addresses is dialled that the API server has reported for pods of exactly the two ReplicaSets, and none
//! of a pod in its node's network: there the same port may be somebody else's. A page has no history: what was read is
//! remembered as long as the operator lives, and afterwards evidence begins anew. Of stable's past nothing is known.
use super::{
    ArmLabel, Complaint, Metric, Outcome, Past, Reach, Scrapes, Seen, Source, Subject,
    answer::Part,
    evidence,
    exposition::{self, BadPage},
    presets,
    prometheus::Times,
    reach,
    scores,
    scraped::{Asked, Found, Page, Wanted, word},
};
use crate::{duration::Duration, vocab::Arm};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// A page is not read beyond so many bytes.
const PAGE_CAP: usize = 4 * 1024 * 1024;
/// The longest that one page may take.
const LONGEST: Duration = Duration::seconds(10);

/// The pods' own pages of metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.scheme) && self.scheme == 'HTTPS') ? !has(self.caBundle) && !has(self.insecure) : has(self.caBundle) != has(self.insecure)").message("with scheme: HTTPS write either caBundle or insecure: true, and without it neither"))]
pub struct Pods {
    /// The port of the page: its number, or the name that a container's port has.
    pub port: IntOrString,
    /// The path of the page. Default /metrics.
    #[serde(default = "path")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/[!$-~]*$"))]
    pub path: String,
    /// How it is spoken to pods. Default HTTP, as most pages are served.
    #[serde(default)]
    pub scheme: Scheme,
    /// Certificates in PEM, one of which the pod's must descend from, whatever name it has: pods have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// true: any certificate will do. Who can answer in a pod's place can then say what he likes of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// How often pages are read, from 1s to 30s. Default 2s.
    #[serde(default = "interval")]
    pub interval: Duration,
    /// How long one page may take, at most 10s. Default 2s.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// So many pods of the new revision are read, the first by name, from 1 to 100. Default 30.
    #[serde(default = "canary_pods")]
    #[schemars(range(min = 1, max = 100), extend("format" = "int32"))]
    pub canary_pods: u32,
    /// So many pods of the revision that serves are read, the first by name, from 1 to 100: a sample, so that a release of
    /// many pods costs no more than one of few. Default 10.
    #[serde(default = "stable_pods")]
    #[schemars(range(min = 1, max = 100), extend("format" = "int32"))]
    pub stable_pods: u32,
    /// A page is not read beyond so many bytes, from 1024 to 16777216. Default 4194304.
    #[serde(default = "page_cap")]
    #[schemars(range(min = 1_024, max = 16_777_216), extend("format" = "int32"))]
    pub page_cap: u32,
}

/// How pods are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plainly.
    #[default]
    Http,
    /// With TLS.
    Https,
}


fn path() -> String {
    "/metrics".into()
}

fn interval() -> Duration {
    Duration::seconds(2)
}

fn timeout() -> Duration {
    Duration::seconds(2)
}

fn canary_pods() -> u32 {
    30
}

fn stable_pods() -> u32 {
    10
}

fn page_cap() -> u32 {
    4 * 1024 * 1024
}

/// What of a pod has to be known to read its page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its uid.
    pub uid: String,
    /// The uid of the ReplicaSet that controls it.
    pub owner: String,
    /// Its address, as the API server reports it.
    pub address: Option<IpAddr>,
    /// Whether it is in its node's network.
    pub host_network: bool,
    /// Whether its containers have been started, and have not all ended.
    pub running: bool,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its ports, by name and number.
    pub ports: Vec<(String, u16)>,
    /// When it was last started.
    pub began: Option<Timestamp>,
}

/// A pod of a release.
#[derive(Clone, Debug)]
pub struct OnTrial {
    /// Whose it is.
    pub arm: Arm,
    /// Its name.
    pub name: String,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// Where it is.
    pub at: Whereabouts,
}

/// A page to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub url: String,
    name: String,
    uid: String,
    arm: Arm,
    started: Option<i64>,
    began: Option<i64>,
}

/// How a page is reached.
#[derive(Clone, Copy, Debug)]
pub struct PageReach<'a> {
    /// The certificates that the pod's must descend from.
    pub ca_bundle: Option<&'a str>,
    /// How long it may take.
    pub timeout: Duration,
    /// The longest page that is read, in bytes.
    pub cap: usize,
}

impl Pods {
    /// The pages that one round reads, and why those of other pods are not.
    pub fn targets(&self, pods: &[OnTrial]) -> Vec<Result<Target, (Arm, String)>> {
        let mut sorted: Vec<_> = pods.iter().filter(|pod| pod.at.running).collect();
        sorted.sort_by(|one, other| one.name.cmp(&other.name));
        let of = |arm, most: u32| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            sorted.iter().filter(move |pod| pod.arm == arm).take(most).map(|pod| self.target(pod))
        };
        of(Arm::Canary, self.canary_pods).chain(of(Arm::Stable, self.stable_pods)).collect()
    }

    fn target(&self, pod: &OnTrial) -> Result<Target, (Arm, String)> {
        let wrong = |why: String| Err((pod.arm, format!("pod {}: {why}", pod.name)));
        let at = &pod.at;
        if at.host_network {
            return wrong("is in its node's network, where the port may be another's: it is not read".into());
        }
        let Some(address) = at.address else { return wrong("has no address yet".into()) };
        let Some((port, container)) = self.port_of(at) else {
            return wrong(format!("has no port {}: correct pods.port of the provider", shown(&self.port)));
        };
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        Ok(Target {
            url: format!("{scheme}://{}{}", SocketAddr::new(address, port), self.path),
            name: pod.name.clone(),
            uid: at.uid.clone(),
            arm: pod.arm,
            started: millis(pod.started),
            began: millis(container.and_then(|container| container.began)),
        })
    }

    /// The port's number, and the container that serves it, if that is known.
    fn port_of<'a>(&self, at: &'a Whereabouts) -> Option<(u16, Option<&'a Container>)> {
        let named = |name: &str| {
            let ports = at.containers.iter().flat_map(|it| it.ports.iter().map(move |port| (port, it)));
            ports.into_iter().find(|((known, _), _)| known == name).map(|((_, number), it)| (*number, Some(it)))
        };
        match &self.port {
            IntOrString::String(name) => named(name),
            IntOrString::Int(number) => {
                let number = u16::try_from(*number).ok().filter(|number| *number > 0)?;
                let serves = |it: &&Container| it.ports.iter().any(|(_, port)| *port == number);
                let alone = if let [only] = at.containers.as_slice() { Some(only) } else { None };
                Some((number, at.containers.iter().find(serves).or(alone)))
            }
        }
    }

    /// How pages are reached.
    pub fn page_reach(&self) -> PageReach<'_> {
        PageReach {
            ca_bundle: self.ca_bundle.as_deref(),
            timeout: self.timeout.min(LONGEST),
            cap: usize::try_from(self.page_cap).unwrap_or(PAGE_CAP),
        }
    }

    /// Where the pages are, in a word: what is read elsewhere are other numbers.
    pub fn place(&self) -> String {
        format!("{:?} {:?} {}", self.scheme, self.port, self.path)
    }

    fn times(&self, subject: &Subject) -> Times {
        Times::new(self.interval, Duration::ZERO, subject).settled_at_once()
    }
}

fn shown(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.chars().filter(|c| !c.is_control()).take(15).collect(),
    }
}

impl Target {
    /// What an answer says, for these metrics.
    pub fn page(&self, metrics: &[Metric], answer: Result<(u16, Vec<u8>), String>) -> Page {
        let wanted: Vec<_> = metrics.iter().flat_map(Wanted::of).collect();
        let read = match answer {
            Ok((200, body)) => exposition::read(&body, |name| wanted.iter().any(|wanted| wanted.names(name)))
                .map_err(|bad: BadPage| format!("its page of metrics {bad}")),
            Ok((status @ 300..=399, _)) => Err(format!("answers HTTP {status}: redirects are not followed")),
            Ok((status, _)) => Err(format!("answers HTTP {status} at its page of metrics")),
            Err(why) => Err(format!("cannot be read: {why}")),
        };
        let found = |samples: Vec<_>| wanted.iter().map(|wanted| (wanted.clone(), Found::of(wanted, &samples))).collect();
        let read = read.map(found).map_err(|why| format!("pod {}: {why}", self.name));
        Page {
            pod: self.name.clone(),
            uid: self.uid.clone(),
            arm: self.arm,
            started: self.started,
            began: self.began,
            read,
        }
    }
}

impl Scrapes {
    /// Remembers one round of pages. `since` is when evidence begins, if it has; `pods` are all there are of the release.
    pub fn remember(
        &mut self,
        at: Timestamp,
        metrics: &[Metric],
        since: Option<Timestamp>,
        pages: &[Page],
        pods: &[OnTrial],
    ) {
        let start = |metric: &Metric| {
            let delay = i64::try_from(metric.initial_delay.as_millis()).unwrap_or(0);
            since.map(|since| since.as_millisecond().saturating_add(delay))
        };
        let asked: Vec<_> = metrics
            .iter()
            .flat_map(|metric| {
                let start = start(metric);
                let asked = move |wanted| Asked { metric: &metric.name, wanted, start };
                Wanted::of(metric).into_iter().map(asked)
            })
            .collect();
        let living: BTreeSet<_> = pods.iter().map(|pod| pod.at.uid.as_str()).collect();
        self.add(at.as_millisecond(), &asked, pages, &living);
    }
}

impl Page {
    /// A pod that was not asked, and why.
    pub fn unread(arm: Arm, why: String) -> Self {
        Self { pod: String::new(), uid: String::new(), arm, started: None, began: None, read: Err(why) }
    }
}

impl Source for Pods {
    fn check(&self) -> Result<(), Complaint> {
        let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
        let is_port = match &self.port {
            IntOrString::Int(number) => (1..=65_535).contains(number),
            IntOrString::String(name) => {
                (1..=15).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            }
        };
        if !is_port {
            return value("pods.port", "write a number from 1 to 65535, or the name of a container's port");
        }
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '\\' | '"');
        if !self.path.starts_with('/') || self.path.len() > 256 || !self.path.chars().all(is_plain) {
            return value("pods.path", "write a path like /metrics, perhaps with a query");
        }
        let verified = (self.ca_bundle.is_some(), self.insecure == Some(true));
        match (self.scheme, verified, self.insecure) {
            (Scheme::Http, (false, _), None) | (Scheme::Https, (true, false), None) | (Scheme::Https, (false, true), _) => {}
            (Scheme::Http, ..) => return value("pods.scheme", "caBundle and insecure go with scheme: HTTPS"),
            (Scheme::Https, ..) => return value("pods.scheme", "with HTTPS write either caBundle or insecure: true"),
        }
        if !(Duration::seconds(1)..=Duration::seconds(30)).contains(&self.interval) {
            return value("pods.interval", "write 1s to 30s");
        }
        if self.timeout == Duration::ZERO || self.timeout > LONGEST {
            return value("pods.timeout", "write more than 0s and at most 10s");
        }
        if ![self.canary_pods, self.stable_pods].iter().all(|most| (1..=100).contains(most)) {
            return value("pods.canaryPods, pods.stablePods", "write 1 to 100");
        }
        if !(1_024..=16_777_216).contains(&self.page_cap) {
            return value("pods.pageCap", "write 1024 to 16777216");
        }
        Ok(())
    }

    fn fits(&self, metric: &Metric) -> Result<(), Complaint> {
        let value = |field, cure: String| Err(Complaint::Value { field, cure });
        if metric.query.is_some() || metric.web.is_some() {
            let field = if metric.query.is_some() { "query" } else { "web" };
            let cure = "the provider reads the pods' own pages, and those answer no questions: write preset or scores, \
                        or name a provider that has prometheus or web";
            return value(field, cure.into());
        }
        if metric.scores.is_some() && metric.arm == Some(ArmLabel::Service) {
            return value("arm", "the provider reads the pods' own pages: leave it out".into());
        }
        if metric.scores.iter().flat_map(super::scores::ScoresOf::selectors).count() > Wanted::of(metric).len()
            && metric.scores.is_some()
        {
            return value("scores", "the provider reads the pods' own pages: write each counter's name".into());
        }
        match metric.preset.as_deref().and_then(presets::find).map(|preset| preset.place) {
            Some(presets::Place::Proxy { name, .. }) => value(
                "preset",
                format!(
                    "it is counted at {name}, and the provider reads the pods' own pages: choose one that pods count, \
                     like app/error-rate, or name a provider that has prometheus"
                ),
            ),
            _ => Ok(()),
        }
    }

    fn asks(&self, _: &Metric, _: &Subject) -> Vec<super::Ask> {
        Vec::new()
    }

    fn read(&self, _: &Metric, _: &Subject, _: &[Part]) -> Seen {
        Seen::nothing(Outcome::Unreachable, "the pods' pages have not been read yet")
    }

    fn reach(&self) -> Reach<'_> {
        Reach {
            url: "",
            auth: None,
            headers: &[],
            hmac: None,
            ca_bundle: None,
            timeout: self.timeout.min(reach::LONGEST),
            answer_cap: PAGE_CAP,
        }
    }
}

/// What the pages say that have been read.
pub(super) fn read(pods: &Pods, metric: &Metric, subject: &Subject, scrapes: &Scrapes) -> Seen {
    // Of stable's pods some are read, so nothing is known of the share.
    let subject = &Subject { shared_since: None, ..subject.clone() };
    let (wanted, times) = (Wanted::of(metric), pods.times(subject));
    let counted = |wanted, arm| scrapes.counted(&metric.name, wanted, arm, times.scrape);
    let counted = |arm| wanted.iter().map(|wanted| counted(wanted, arm)).collect::<Vec<_>>();
    let (canary, stable) = (counted(Arm::Canary), counted(Arm::Stable));
    for (arm, all) in [(Arm::Canary, &canary), (Arm::Stable, &stable)] {
        let is_needed = arm == Arm::Canary || evidence::wants_stable(metric);
        if is_needed && all.iter().all(|counted| counted.beats.newest().is_none()) {
            let name = word(arm);
            let why = scrapes.trouble(arm).map_or_else(|| format!("no pod of {name} runs"), str::to_owned);
            return Seen::nothing(Outcome::Unreachable, format!("no page of {name} was read: {why}"));
        }
    }
    let seen = match (metric.preset.as_deref().and_then(presets::find), &metric.scores) {
        (Some(preset), _) => {
            let (mut canary, mut stable) = (canary.into_iter(), stable.into_iter());
            let Some(canary) = canary.next() else { return Seen::invalid("preset: counts nothing") };
            let stable = stable.next().filter(|_| evidence::wants_stable(metric));
            // No page tells of stable's past, so the judge takes care that no burst fools it.
            let past = Past::default();
            evidence::of_counted(preset, metric, subject, times, (canary, stable), past)
        }
        (None, Some(of)) => {
            let series = |all: Vec<evidence::Counted>| all.into_iter().map(|counted| counted.series).collect();
            scores::of_counted(of, metric, subject, times, [series(canary), series(stable)])
        }
        (None, None) => Seen::invalid("preset, scores: the provider reads the pods' own pages"),
    };
    // A part of the pods is a sample, and worth saying.
    let part = [Arm::Canary, Arm::Stable].into_iter().find_map(|arm| scrapes.trouble(arm));
    let why = match part {
        Some(part) => format!("{}; {part}", seen.why),
        None => seen.why.clone(),
    };
    Seen { why, ..seen }
}

#[cfg(test)]
mod tests;
