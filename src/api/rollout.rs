//! `Rollout`: a Deployment and the way its next revision reaches its users.
use crate::{
    duration::Duration,
    judge,
    metrics::{Metric, ProviderRef},
    notify::AlertEvent,
    traffic::{self, Apart, Capability, Mirror, RequestMatch, RouteRef, Split},
    vocab::{Pair, Weight},
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use super::{analysis::TemplateRef, status::RolloutStatus};

/// A Deployment and the way its next revision reaches its users, step by step, judged, and undone by itself.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellwether.dev",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    status = "RolloutStatus",
    doc = "A Deployment and the way its next revision reaches its users, step by step, judged, and undone by itself.",
    derive = "PartialEq",
    shortname = "bwr",
    category = "bellwether",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step.name"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weights.accepted"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable.revision"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canary.revision"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(self.traffic) && has(self.traffic.routes) && self.traffic.routes.size() > 0 || self.steps.all(s, s.weight <= 50)").message("without traffic.routes the share of pods is the share of traffic, and stable keeps all its pods: no step can be above weight 50; name a route, or keep steps at 50 and below"))]
#[x_kube(validation = Rule::new("!has(self.traffic) || !has(self.traffic.routes) || self.traffic.routes.size() == 0 || has(self.traffic.services)").message("traffic.routes needs traffic.services: name the stable and the canary Service that the routes weigh"))]
#[x_kube(validation = Rule::new("!has(self.traffic) || has(self.traffic.routes) && self.traffic.routes.size() > 0 || !has(self.traffic.services)").message("traffic.services are weighed by routes: name a route in traffic.routes, or leave services out for the ratio of pods"))]
#[x_kube(validation = Rule::new("self.steps.all(s, !has(s.match) && !has(s.mirror)) || has(self.traffic) && has(self.traffic.routes) && self.traffic.routes.size() > 0 && self.traffic.routes.all(r, has(r.ownership) && r.ownership == 'Operator')").message("match and mirror need rules of their own, so every route must be the operator's to write: say ownership: Operator and give its template"))]
#[x_kube(validation = Rule::new(traffic::only_with("match", Capability::Match)).message("match is nothing that the router of one of traffic.routes can do: take it out of the steps, or name a route of another kind"))]
#[x_kube(validation = Rule::new(traffic::only_with("mirror", Capability::Mirror)).message("mirror is nothing that the router of one of traffic.routes can do: take it out of the steps, or name a route of another kind"))]
#[x_kube(validation = Rule::new("!has(self.analysis.metrics) || self.analysis.metrics.all(m, !has(m.steps) || m.steps.all(n, self.steps.exists(s, s.name == n)))").message("analysis.metrics[].steps has names of steps"))]
#[x_kube(validation = Rule::new("self.steps.all(s, self.steps.exists_one(t, t.name == s.name))").message("every step needs a name of its own"))]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// The Deployment whose releases are steered. It stays the owner of its pods, its replicas and its template.
    #[x_kube(validation = Rule::new("self == oldSelf").message("workloadRef cannot be changed: delete the Rollout, which hands the Deployment back, and create another"))]
    pub workload_ref: WorkloadRef,
    /// How requests reach the two revisions. Without routes, the ratio of pods behind the Deployment's ordinary Services is all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The way from nothing to everything. Each step is a whole state, held until what it asks for is met; after the last one the revision is promoted.
    #[schemars(length(min = 1, max = 32))]
    pub steps: Vec<Step>,
    /// When a candidate whose pods do not become ready is given up.
    #[serde(default)]
    pub progress: ProgressRule,
    /// How long the old pods are kept after a promotion. Default 30s.
    #[serde(default = "half_a_minute")]
    pub scale_down_delay: Duration,
    /// Which former revisions may return without steps.
    #[serde(default)]
    pub rollback_window: RollbackWindow,
    /// How the candidate's pods come.
    #[serde(default)]
    pub capacity: Capacity,
    /// What becomes of an unfinished release when the Rollout is deleted.
    #[serde(default)]
    pub on_delete: OnDelete,
    /// How the candidate is judged. `{mode: None}` says openly that nothing is.
    pub analysis: Analysis,
    /// Who is told of what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub alerts: Vec<AlertRule>,
}

fn half_a_minute() -> Duration {
    Duration::seconds(30)
}

/// A reference to the Deployment, in the Rollout's namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.apiVersion == 'apps/v1' && self.kind == 'Deployment'").message("workloadRef must name a Deployment of apps/v1"))]
pub struct WorkloadRef {
    /// `apps/v1`.
    #[schemars(length(max = 63))]
    pub api_version: String,
    /// `Deployment`.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// The Deployment's name.
    #[schemars(length(min = 1, max = 200), regex(pattern = crate::vocab::OBJECT_NAME))]
    pub name: String,
}

/// How requests reach the two revisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// The two Services that the routes weigh. They are created, and owned by the Deployment as well, when absent; Git must not hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,
    /// The port of both Services whose numbers are read where a proxy counts by port. Routes may name each port that both
    /// Services have, which are those that the Service had which the route named when they were made; its only one is the
    /// default here. What changes in that Service's ports later is not followed: write it into both by hand, which is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The objects that carry the weights. The router follows from group and kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub routes: Vec<RouteRef>,
    /// Services that select the Deployment's pods without passing a router, accepted by name: each sends the candidate its share of pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    pub unrouted: Vec<String>,
}

/// The names of the two Services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.stable != self.canary").message("stable and canary must be two Services"))]
pub struct Services {
    /// Home: what serves.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub stable: String,
    /// The trial.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub canary: String,
}

/// One state on the way, and what must hold before it may be left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.observe) || has(self.approval)").message("a step needs observe or approval, else it would be left at once"))]
#[x_kube(validation = Rule::new("!has(self.mirror) || self.weight == 0").message("mirror copies stable's requests, so the step's weight must be 0"))]
pub struct Step {
    /// What the step is called, once in a Rollout.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z0-9]([-_a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub name: String,
    /// The canary's share of the requests in percent, 0 to 100.
    pub weight: Weight,
    /// Requests that go to the candidate wholly, beside its weight: those that match one of these. Needs routes with `ownership: Operator`,
    /// and of the Gateway API rules without a name: a policy that is attached to one by its name would not hold for them.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub matches: Vec<RequestMatch>,
    /// Copies of stable's requests for the candidate, whose answers are thrown away. Needs weight 0 and routes with
    /// `ownership: Operator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// At least so many candidate pods, whatever the weight needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// How long the candidate is watched here: time with usable evidence where there is something to judge, plain time with pods ready otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<Duration>,
    /// `Required`: the step is left only after a RolloutAction `Promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// Whether a person must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// The step waits for a `Promote`.
    Required,
}

/// When a candidate whose pods do not become ready is given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressRule {
    /// So long without one more ready pod than ever before in this step. Pods that were missing and are back have to stay for as
    /// long as they were missing in all, at most so long, before requests return to them. Default 10m.
    #[serde(default = "ten_minutes")]
    pub deadline: Duration,
    /// What happens then.
    #[serde(default)]
    pub on_stuck: OnStuck,
}

fn ten_minutes() -> Duration {
    Duration::seconds(600)
}

impl Default for ProgressRule {
    fn default() -> Self {
        Self { deadline: ten_minutes(), on_stuck: OnStuck::Abort }
    }
}

/// What happens to a candidate that is stuck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnStuck {
    /// It is aborted.
    #[default]
    Abort,
    /// It is paused, for a person to look at; it goes on by itself when its pods are there and stay.
    Pause,
}

/// Which former revisions may return without steps: their template in Git again, and they take over as soon as their pods
/// carry everything; at once while those still run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackWindow {
    /// The last so many that served before this one; 0 lets none return without steps. Default 3.
    #[serde(default = "three")]
    #[schemars(range(max = 10))]
    pub revisions: u32,
    /// That were replaced at most so long ago. Default 24h.
    #[serde(default = "a_day")]
    pub duration: Duration,
}

fn three() -> u32 {
    3
}

fn a_day() -> Duration {
    Duration::seconds(86_400)
}

impl Default for RollbackWindow {
    fn default() -> Self {
        Self { revisions: three(), duration: a_day() }
    }
}

/// How the candidate's pods come. Stable stays whole until the promotion, so at its peak a release has twice the Deployment's
/// pods, unless `maxPods` says that there is no room for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// At most so many of the candidate's pods are starting at once: a number, or a share of the Deployment's replicas like
    /// `25%`, rounded up. Default: all that a step needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_starting: Option<IntOrString>,
    /// At most so many pods of both revisions together, those that are told to end not counted: a number, or a share of the
    /// Deployment's replicas above them like `125%`, rounded up. Steps have to fit into it beside a whole stable. In the
    /// promotion, when all steps are passed, stable's pods are traded for the candidate's: some end as soon as the requests
    /// that they carried are at the candidate, and the candidate's come in their place, until it has all; for that there may be
    /// one more than the Deployment asks for by then. Meanwhile the Deployment reports no replicas of its own, and an abort
    /// trades them back. Default: no limit, and nothing is traded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<IntOrString>,
    /// Whether the Deployment may be scaled below what it had when the release began, where the admission policy is served.
    #[serde(default)]
    pub floor: Floor,
}

/// Whether the Deployment may shrink while a release is on trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Floor {
    /// Not below its replicas at the start: the candidate's pods dilute the load that an autoscaler sees, and stable must be
    /// able to take everything back. Scaling to 0 is let through.
    #[default]
    FlightStart,
    /// It may.
    None,
}

/// What becomes of an unfinished release when the Rollout is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDelete {
    /// Stable goes on serving and the Deployment is left paused at the new template; `kubectl rollout resume` rolls it.
    #[default]
    Hold,
    /// The Deployment controller goes on from the candidate's pods by itself.
    Continue,
}

/// How the candidate is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.mode) && self.mode == 'None' ? (!has(self.metrics) || self.metrics.size() == 0) && (!has(self.templates) || self.templates.size() == 0) : ((has(self.metrics) && self.metrics.size() > 0 || has(self.templates) && self.templates.size() > 0) && (has(self.provider) || !has(self.metrics) || self.metrics.all(m, has(m.provider) || has(m.job))))").message("analysis needs at least one metric or template, and a provider for metrics that name none, or {mode: None} to say openly that nothing is judged"))]
#[x_kube(validation = Rule::new("!has(self.metrics) || self.metrics.all(m, self.metrics.exists_one(n, n.name == m.name))").message("every metric needs a name of its own"))]
pub struct Analysis {
    /// `None`: nothing is judged, and `observe` is plain time with pods ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AnalysisMode>,
    /// Where the numbers of all metrics come from that name no provider of their own and are no Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderRef>,
    /// How much worse than stable is too much, and how sure the judge must be.
    #[serde(default)]
    pub sensitivity: judge::Sensitivity,
    /// The same in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margins: Option<judge::OwnMargins>,
    /// Up to this weight a step may be left although nothing is proven yet. Default 20.
    #[serde(default = "explore_up_to")]
    pub explore_up_to: Weight,
    /// What happens above `exploreUpTo` and before promotion when a step's time is full and a comparison has proven nothing.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
    /// What happens when there is no usable evidence.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// What happens when the canary gets no requests although its weight says so.
    #[serde(default)]
    pub when_no_traffic: NoTraffic,
    /// What happens when stable gets requests and hardly one of them reaches the canary, less than a tenth of its share, whatever
    /// the routes say. It is seen in the counters of both, where every request is shared out by itself.
    #[serde(default)]
    pub when_ignored: WhenIgnored,
    /// Templates whose metrics are measured as well. Of a metric that is here and there, the one here counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub templates: Vec<TemplateRef>,
    /// What is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<Metric>,
}

impl Analysis {
    /// The margins of all comparisons together.
    pub fn margins(&self) -> judge::Margins {
        self.margins.unwrap_or_default().over(self.sensitivity.margins())
    }

    /// The margins of one comparison: of what all may be wrong together it has its part.
    pub fn margins_of(&self, metric: &Metric) -> judge::Margins {
        let margins = self.margins();
        judge::Margins { alpha: margins.alpha * self.part_of(metric), ..margins }
    }

    /// The part of one comparison; those that can fail a release are 1 together.
    pub fn part_of(&self, metric: &Metric) -> f64 {
        let counting = self.metrics.iter().filter(|metric| metric.compares() && !metric.dry_run);
        metric.weight() / counting.map(Metric::weight).sum::<f64>().max(metric.weight())
    }

    /// The provider that is asked for a metric: its own, else that of all.
    pub fn provider_of<'a>(&'a self, metric: &'a Metric) -> Option<&'a ProviderRef> {
        metric.provider.as_ref().or(self.provider.as_ref()).filter(|_| metric.asks_a_provider())
    }

    /// The metrics that this provider is asked for, each with its place.
    pub fn metrics_of(&self, provider: &ProviderRef) -> impl Iterator<Item = (usize, &Metric)> {
        self.metrics.iter().enumerate().filter(move |(_, metric)| self.provider_of(metric) == Some(provider))
    }

    /// Whether a metric is measured by Jobs.
    pub fn runs_jobs(&self) -> bool {
        self.metrics.iter().any(|metric| metric.job.is_some())
    }

    /// What people are shown as the source of the numbers, as Kind/name: the provider, where there is only one.
    pub fn source(&self) -> String {
        let all: BTreeSet<_> = self.metrics.iter().filter_map(|metric| self.provider_of(metric)).collect();
        let mut all = all.into_iter().chain(self.provider.as_ref().filter(|_| self.metrics.is_empty()));
        all.next().filter(|_| all.next().is_none()).map(ToString::to_string).unwrap_or_default()
    }
}

fn explore_up_to() -> Weight {
    Weight::new(20).unwrap_or(Weight::ZERO)
}

/// Whether anything is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AnalysisMode {
    /// Nothing is.
    None,
}

/// What happens when a comparison has proven nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnInconclusive {
    /// How long beyond the step's `observe` to go on judging. Default 15m.
    #[serde(default = "quarter_of_an_hour")]
    pub after: Duration,
    /// What then.
    #[serde(default)]
    pub then: Then,
}

fn quarter_of_an_hour() -> Duration {
    Duration::seconds(900)
}

impl Default for OnInconclusive {
    fn default() -> Self {
        Self { after: quarter_of_an_hour(), then: Then::Wait }
    }
}

/// What to do with an open question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Then {
    /// Stay, and tell who is told of `Waiting`.
    #[default]
    Wait,
    /// Go on; the decision is recorded as unproven.
    Advance,
}

/// What happens when there is no usable evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnUnknown {
    /// How long without usable evidence: since there was none, or since the first interval of what is missing should have been
    /// over; and of what has no verdict for want of requests since the step's time was full. Default 5m.
    #[serde(default = "five_minutes")]
    pub after: Duration,
    /// What then.
    #[serde(default)]
    pub then: ThenUnknown,
}

fn five_minutes() -> Duration {
    Duration::seconds(300)
}

impl Default for OnUnknown {
    fn default() -> Self {
        Self { after: five_minutes(), then: ThenUnknown::Wait }
    }
}

/// What to do without evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ThenUnknown {
    /// Stay, and tell who is told of `Blocked`.
    #[default]
    Wait,
    /// Take the candidate out, unless all that is missing is requests.
    Abort,
}

/// What happens when the canary gets no requests although its weight says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.then) || self.then != 'AdvanceAfter' || has(self.after)").message("whenNoTraffic.then: AdvanceAfter needs after, like after: 30m"))]
pub struct NoTraffic {
    /// What then.
    #[serde(default)]
    pub then: ThenNoTraffic,
    /// How long a step without requests is held before `AdvanceAfter` leaves it, recorded as unjudged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Duration>,
}

/// What to do without requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ThenNoTraffic {
    /// Stay, and after `onUnknown.after` tell who is told of `Blocked`.
    #[default]
    Wait,
    /// Go on after `after`; the decision is recorded as unjudged.
    AdvanceAfter,
}

/// What to do with a share that the data plane does not heed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenIgnored {
    /// Go no further, and tell who is told of `Blocked`.
    #[default]
    Block,
    /// Go on; status shows what was seen. For traffic that mostly passes the routes by.
    Continue,
}

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertRule {
    /// An AlertReceiver of the Rollout's namespace.
    pub receiver: Named,
    /// What is told.
    #[schemars(length(min = 1, max = 8))]
    pub on: Vec<AlertEvent>,
}

/// A reference by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    /// The name.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::vocab::OBJECT_NAME))]
    pub name: String,
}

impl Traffic {
    /// The Services by name, where routes weigh them, with the port that is known only when it is written.
    pub fn pair(&self, default_port: u16) -> Option<Pair> {
        let services = self.services.as_ref().filter(|_| !self.routes.is_empty())?;
        Some(Pair {
            stable: services.stable.clone(),
            canary: services.canary.clone(),
            port: self.port.unwrap_or(default_port),
            also: Vec::new(),
        })
    }
}

impl Step {
    /// What reaches the candidate in this step.
    pub fn split(&self) -> Split {
        Split { weight: self.weight, apart: Apart { matches: self.matches.clone(), mirror: self.mirror } }
    }
}

impl Rollout {
    /// The traffic in force: the spec's until the Deployment is held, then what was taken over from it when nothing was on trial.
    pub fn traffic(&self) -> Option<&Traffic> {
        let held = self.status.as_ref().filter(|status| status.is_held());
        held.map_or(self.spec.traffic.as_ref(), |status| status.traffic.as_ref())
    }
}

impl RolloutSpec {
    /// The routes that carry weights; none means the ratio of pods.
    pub fn routes(&self) -> &[RouteRef] {
        self.traffic.as_ref().map_or(&[], |traffic| &traffic.routes)
    }

    /// Whether anything is judged.
    pub fn is_judged(&self) -> bool {
        let analysis = &self.analysis;
        analysis.mode.is_none() && !(analysis.metrics.is_empty() && analysis.templates.is_empty())
    }

    /// Whether a metric counts in the step of this name. Where the steps in force have other names than those of the spec,
    /// the spec says nothing of them, and every metric counts.
    pub fn counts_in(&self, metric: &Metric, step: &str) -> bool {
        let named = metric.steps.is_empty() || metric.steps.iter().any(|name| name == step);
        named || self.steps.iter().all(|known| known.name != step)
    }
}
