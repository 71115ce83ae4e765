//! Many shops and several operators: what one Rollout's trouble is to the others, whose a Rollout is, and how fast a standby
//! takes over.
use super::{
    api::{Call, Calm, EventFate, Fate, Hooks, Kind, Method, Server, Status, Wire},
    json::Read,
    operator::HOME,
    world::{NAMESPACE, Weather, World},
};
use crate::{
    cluster::{Clock, Cluster, Settings, Tamper, lease::Terms},
    controller::{self, Care, Ended},
    outbound::{Answer, Failure, Request, Transport},
    plan::{Observed, Plan},
    telemetry::Telemetry,
};
use futures::{channel::mpsc, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use kube::Resource;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};

/// Shops in one namespace, each with a Deployment, a Rollout and no route, in a world that does the rest.
struct Fleet {
    world: World,
    clock: super::api::Clock,
}

/// One process.
struct Process {
    told: Arc<Notify>,
    task: JoinHandle<Ended>,
}

/// How an operator differs from another.
#[derive(Clone)]
struct Kindred {
    user: &'static str,
    lease: &'static str,
    selector: &'static str,
    care: Care,
    tamper: Option<Arc<dyn Tamper>>,
    hooks: Arc<dyn Hooks>,
}

impl Default for Kindred {
    fn default() -> Self {
        Self {
            user: "one",
            lease: "bellwether",
            selector: "",
            care: Care::default(),
            tamper: None,
            hooks: Arc::new(Calm),
        }
    }
}

/// Nobody is outside.
struct Nobody;

impl Transport for Nobody {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move { Err(Failure::Timeout(request.timeout)) })
    }
}

fn deployment(name: &str, image: &str) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template},
    })
}

fn rollout(name: &str, workload: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload},
            "steps": [{"name": "half", "weight": 50, "observe": "10s"}], "analysis": {"mode": "None"},
        },
    })
}

impl Fleet {
    /// A namespace without shops.
    fn found(seed: u64) -> Self {
        fastrand::seed(seed);
        let base: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let begun = tokio::time::Instant::now();
        let clock: super::api::Clock = Arc::new(move || {
            base + SignedDuration::from_millis(i64::try_from(begun.elapsed().as_millis()).unwrap_or(0))
        });
        let server = Server::new(clock.clone());
        server.register_ours();
        let world = World::new(server, base, seed, Weather::default());
        for name in [NAMESPACE, HOME] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            world.hand("admin").create("namespaces", "", namespace).unwrap();
        }
        Self { world, clock }
    }

    /// So many shops, whose Deployments serve.
    async fn shops(seed: u64, count: usize) -> Self {
        let mut fleet = Self::found(seed);
        for index in 0..count {
            fleet.make("deployments", deployment(&format!("shop-{index}"), "app:v1"));
        }
        fleet.pass(20_000).await;
        fleet
    }

    fn server(&self) -> &Server {
        &self.world.server
    }

    fn make(&self, plural: &str, object: Value) -> Arc<Value> {
        self.world.hand("git").create(plural, NAMESPACE, object).unwrap()
    }

    /// Changes an object as Git does.
    fn change(&self, plural: &str, name: &str, change: Value) {
        let object = self.server().get(plural, NAMESPACE, name).unwrap();
        self.world.hand("git").merge(plural, &object, change).unwrap();
    }

    fn push(&self, name: &str, image: &str) {
        let containers = json!([{"name": "app", "image": image}]);
        self.change("deployments", name, json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    }

    async fn pass(&mut self, time: u64) {
        let end = self.world.now() + time;
        self.world.live_until(end).await;
    }

    async fn until(&mut self, longest: u64, holds: impl Fn(&Server) -> bool) -> bool {
        let end = self.world.now() + longest;
        while !holds(&self.world.server) {
            if self.world.now() >= end {
                return false;
            }
            self.pass(50).await;
        }
        true
    }

    /// Starts a process of an operator like this.
    fn start(&self, like: Kindred, identity: &str) -> Process {
        let story = self.clock.clone();
        let client = Wire::new(self.server().clone(), like.user, like.hooks).client(HOME);
        let settings = Settings {
            namespace: HOME.to_owned(),
            identity: identity.to_owned(),
            belt: "bellwether-belt".to_owned(),
            shard: like.selector.parse().unwrap(),
            clock: Clock::new(move || story()),
            tamper: like.tamper,
        };
        let (wake, wakes) = mpsc::unbounded();
        let cluster = Cluster::new(client, settings, Telemetry::default(), Nobody, move |key| {
            let _ = wake.unbounded_send(key);
        });
        let terms = Terms {
            namespace: HOME.to_owned(),
            name: like.lease.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(3),
            renew: Duration::from_secs(1),
        };
        let told = Arc::new(Notify::new());
        let stop = told.clone();
        let care = like.care;
        let task =
            tokio::spawn(async move { controller::lead(cluster, terms, care, wakes, || {}, stop.notified()).await });
        Process { told, task }
    }

    /// When each Rollout's release was promoted, in milliseconds from this place of the log on.
    fn promoted(&self, from: usize) -> BTreeMap<String, i64> {
        let commits = self.server().commits(from);
        let begun = commits.first().map_or_else(|| (self.clock)(), |commit| commit.at);
        let mut when = BTreeMap::new();
        for commit in commits.iter().filter(|commit| commit.kind.plural == "rollouts") {
            let Some(after) = &commit.after else { continue };
            let promoted = after.list("/status/decisions").iter().any(|it| it.text("/reason") == "Promoted");
            if promoted {
                when.entry(commit.name.clone()).or_insert(commit.at.as_millisecond() - begun.as_millisecond());
            }
        }
        when
    }

    fn holder(&self, lease: &str) -> String {
        let lease = self.server().get("leases", HOME, lease);
        lease.map_or_else(String::new, |lease| lease.text("/spec/holderIdentity").to_owned())
    }
}

fn phase(server: &Server, name: &str) -> String {
    server.get("rollouts", NAMESPACE, name).map_or_else(String::new, |it| it.text("/status/phase").to_owned())
}

fn all_are(server: &Server, phase_is: &str) -> bool {
    let all = server.list("rollouts", NAMESPACE);
    !all.is_empty() && all.iter().all(|rollout| rollout.text("/status/phase") == phase_is)
}

// ---- quarantine -----------------------------------------------------------------------------------------------------

/// A look at this Rollout panics, before the decision or after it, as long as it is poison.
#[derive(Debug)]
struct Poison {
    name: &'static str,
    after: bool,
    cured: AtomicBool,
    looks: AtomicUsize,
}

impl Poison {
    fn new(name: &'static str, after: bool) -> Arc<Self> {
        Arc::new(Self { name, after, cured: AtomicBool::new(false), looks: AtomicUsize::new(0) })
    }

    fn works(&self, seen: &Observed) -> bool {
        seen.rollout.meta().name.as_deref() == Some(self.name) && !self.cured.load(Ordering::Relaxed)
    }
}

impl Tamper for Poison {
    fn seen(&self, seen: &mut Observed) {
        if self.works(seen) {
            self.looks.fetch_add(1, Ordering::Relaxed);
            assert!(self.after, "poison in the decision");
        }
    }

    fn decided(&self, seen: &Observed, _: &mut Plan) {
        assert!(!self.works(seen), "poison in the hands");
    }
}

/// Nobody ever answers what is asked about this Rollout.
struct Silence(&'static str);

impl Hooks for Silence {
    fn before(&self, call: &Call) -> Fate {
        let silent = call.plural == "rollouts" && call.name.as_deref() == Some(self.0) && call.method == Method::Get;
        if silent { Fate::Hang } else { Fate::PASS }
    }

    fn after(&self, _: &Call, _: &Result<bytes::Bytes, Status>) -> Duration {
        Duration::ZERO
    }

    fn event(&self, _: &Kind, _: u64) -> EventFate {
        EventFate::After(Duration::ZERO)
    }

    fn read_version(&self, _: &Call) -> Option<u64> {
        None
    }
}

/// Twenty shops are adopted, and all get a release in the same moment; when each was promoted, and the fleet then.
async fn twenty(like: &Kindred, poisoned_from: impl Fn()) -> (BTreeMap<String, i64>, Fleet) {
    let mut fleet = Fleet::shops(7, 20).await;
    for index in 0..20 {
        let name = format!("shop-{index}");
        fleet.make("rollouts", rollout(&name, &name, &json!({})));
    }
    fleet.start(like.clone(), "one");
    fleet
        .until(120_000, |server| {
            server.list("rollouts", NAMESPACE).iter().filter(|it| it.text("/status/phase") == "Stable").count() >= 19
        })
        .await;
    fleet.pass(5_000).await;
    poisoned_from();
    let from = fleet.server().commit_count();
    for index in 0..20 {
        fleet.push(&format!("shop-{index}"), "app:v2");
    }
    fleet.pass(120_000).await;
    (fleet.promoted(from), fleet)
}

fn slowest(promoted: &BTreeMap<String, i64>, but: &str) -> i64 {
    promoted.iter().filter(|(name, _)| *name != but).map(|(_, at)| *at).max().unwrap_or(i64::MAX)
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_panics_delays_nobody_and_says_so_and_is_back_when_its_spec_is_mended() {
    let healthy = twenty(&Kindred::default(), || {}).await.0;
    assert_eq!(healthy.len(), 20);
    for after in [false, true] {
        let poison = Poison::new("shop-7", after);
        poison.cured.store(true, Ordering::Relaxed);
        let like = Kindred { tamper: Some(poison.clone()), ..Kindred::default() };
        let (promoted, mut fleet) = twenty(&like, || poison.cured.store(false, Ordering::Relaxed)).await;
        assert_eq!(promoted.len(), 19, "all but the poison");
        let (with, without) = (slowest(&promoted, "shop-7"), slowest(&healthy, "shop-7"));
        println!("slowest of 19: {with} ms beside one that panics, {without} ms without it");
        assert!((with - without).abs() <= 1_000, "{with} ms beside a poison one, {without} ms without");

        fleet.pass(600_000).await;
        let looks = poison.looks.load(Ordering::Relaxed);
        println!("{looks} looks at the poison one in 12 minutes");
        assert!((5..=14).contains(&looks), "backed off to some minutes: {looks} looks in 12 minutes");
        let rollout = fleet.server().get("rollouts", NAMESPACE, "shop-7").unwrap();
        let stalled = rollout.list("/status/conditions").iter().find(|it| it.text("/type") == "Stalled").unwrap();
        assert_eq!((stalled.text("/status"), stalled.text("/reason")), ("True", "LookFailed"));
        assert!(stalled.text("/message").contains("panicked: poison in the"), "{stalled}");
        let events = fleet.server().list("events.events.k8s.io", NAMESPACE);
        let told = events.iter().filter(|it| it.text("/reason") == "LookFailed").count();
        assert_eq!(told, 1, "said once, not at each look");

        poison.cured.store(true, Ordering::Relaxed);
        fleet.change("rollouts", "shop-7", json!({"spec": {"scaleDownDelay": "1s"}}));
        assert!(fleet.until(60_000, |server| phase(server, "shop-7") == "Stable").await, "{}", rollout["status"]);
        let rollout = fleet.server().get("rollouts", NAMESPACE, "shop-7").unwrap();
        let stalled = rollout.list("/status/conditions").iter().find(|it| it.text("/type") == "Stalled").unwrap();
        assert_eq!(stalled.text("/status"), "False", "forgotten on success");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_nobody_answers_holds_no_place_for_ever() {
    let care = Care { side_by_side: 2, longest_look: Duration::from_secs(10), ..Care::default() };
    let healthy = twenty(&Kindred { care: care.clone(), ..Kindred::default() }, || {}).await.0;
    assert_eq!(healthy.len(), 20);
    let hooks = Arc::new(Silence("shop-7"));
    let (promoted, fleet) = twenty(&Kindred { care, hooks, ..Kindred::default() }, || {}).await;
    assert_eq!(promoted.len(), 19, "all but the one that is not answered");
    let (with, without) = (slowest(&promoted, "shop-7"), slowest(&healthy, "shop-7"));
    println!("two places, slowest of 19: {with} ms beside one that hangs, {without} ms without it");
    assert!(with - without <= 2_000, "{with} ms beside one that hangs, {without} ms without");
    let rollout = fleet.server().get("rollouts", NAMESPACE, "shop-7").unwrap();
    assert!(rollout.text("/status/message").contains("took longer than 10s"), "{}", rollout["status"]);
}

#[tokio::test(start_paused = true)]
async fn rollouts_of_several_namespaces_are_all_looked_at() {
    // The watch of the second namespace lists nothing, and what the first has listed stays.
    for namespaces in [[NAMESPACE, HOME], [HOME, NAMESPACE]] {
        let care = Care { namespaces: namespaces.map(str::to_owned).into(), ..Care::default() };
        let mut fleet = Fleet::shops(7, 3).await;
        for name in ["shop-0", "shop-1", "shop-2"] {
            fleet.make("rollouts", rollout(name, name, &json!({})));
        }
        fleet.start(Kindred { care, ..Kindred::default() }, "one");
        assert!(fleet.until(60_000, |server| all_are(server, "Stable")).await, "{namespaces:?}");
        let from = fleet.server().commit_count();
        fleet.push("shop-1", "app:v2");
        fleet.pass(60_000).await;
        assert_eq!(fleet.promoted(from).len(), 1, "{namespaces:?}");
    }
}

// ---- shards ---------------------------------------------------------------------------------------------------------

/// What this user wrote that is about this shop, from this place of the log on.
fn written(fleet: &Fleet, user: &str, shop: &str, from: usize) -> Vec<String> {
    let of_shop =
        |name: &str| name == shop || name.starts_with(&format!("{shop}-")) || name.starts_with(&format!("{shop}."));
    let commits = fleet.server().commits(from).into_iter();
    commits
        .filter(|commit| commit.user == user && commit.namespace == NAMESPACE && of_shop(&commit.name))
        .map(|commit| format!("{} {} {}", commit.at, commit.kind.plural, commit.name))
        .collect()
}

const PAY: Shardling = ("pay-operator", "bellwether-pay", "team=pay");
const REST: Shardling = ("rest-operator", "bellwether-rest", "team!=pay");
type Shardling = (&'static str, &'static str, &'static str);

fn of_shard((user, lease, selector): Shardling) -> Kindred {
    Kindred { user, lease, selector, ..Kindred::default() }
}

async fn two_shards() -> Fleet {
    let mut fleet = Fleet::shops(3, 6).await;
    for index in 0..6 {
        let name = format!("shop-{index}");
        let team = if index < 3 { "pay" } else { "web" };
        fleet.make("rollouts", rollout(&name, &name, &json!({"team": team})));
    }
    fleet.start(of_shard(PAY), "pay-0");
    fleet.start(of_shard(REST), "rest-0");
    assert!(fleet.until(120_000, |server| all_are(server, "Stable")).await);
    fleet
}

#[tokio::test(start_paused = true)]
async fn two_operators_share_a_cluster_and_touch_only_their_own() {
    let mut fleet = two_shards().await;
    assert_eq!((fleet.holder("bellwether-pay"), fleet.holder("bellwether-rest")), ("pay-0".into(), "rest-0".into()));
    let from = fleet.server().commit_count();
    for index in 0..6 {
        fleet.push(&format!("shop-{index}"), "app:v2");
    }
    fleet.pass(90_000).await;
    assert_eq!(fleet.promoted(from).len(), 6);
    for index in 0..6 {
        let shop = format!("shop-{index}");
        let (own, other) = if index < 3 { (PAY.0, REST.0) } else { (REST.0, PAY.0) };
        assert!(!written(&fleet, own, &shop, 0).is_empty(), "{shop} by {own}");
        assert_eq!(written(&fleet, other, &shop, 0), Vec::<String>::new(), "{shop} by {other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_whose_label_changes_is_let_go_of_and_taken_up_at_every_moment() {
    let mut most = 0;
    for at in (0..24_000).step_by(4_000) {
        let mut fleet = two_shards().await;
        let begun = fleet.server().commit_count();
        fleet.push("shop-0", "app:v2");
        fleet.pass(at).await;
        let before = fleet.promoted(begun).len();
        fleet.change("rollouts", "shop-0", json!({"metadata": {"labels": {"team": "web"}}}));
        let from = fleet.server().commit_count();
        fleet.pass(60_000).await;
        // One that was on its way already at most, and only events of what was decided before.
        let late: Vec<_> =
            written(&fleet, PAY.0, "shop-0", from).into_iter().filter(|it| !it.contains("events")).collect();
        assert!(late.len() <= 1, "after {at} ms: {late:?}");
        most = most.max(late.len());
        assert_eq!(fleet.promoted(begun).len(), 1, "after {at} ms: {before} before");
        assert_eq!(phase(fleet.server(), "shop-0"), "Stable");
        let own = written(&fleet, REST.0, "shop-0", from);
        assert!(before == 1 || !own.is_empty(), "after {at} ms the other shard goes on");
    }
    println!("late writes after the label changed, at the most: {most}");
}

#[tokio::test(start_paused = true)]
async fn what_no_shard_has_is_touched_by_nobody() {
    let mut fleet = Fleet::shops(5, 2).await;
    for (name, team) in [("shop-0", "pay"), ("shop-1", "web")] {
        fleet.make("rollouts", rollout(name, name, &json!({"team": team})));
    }
    fleet.start(of_shard(PAY), "pay-0");
    assert!(fleet.until(60_000, |server| phase(server, "shop-0") == "Stable").await);
    fleet.push("shop-1", "app:v2");
    fleet.pass(30_000).await;
    assert_eq!(written(&fleet, PAY.0, "shop-1", 0), Vec::<String>::new());
    let deployment = fleet.server().get("deployments", NAMESPACE, "shop-1").unwrap();
    assert_eq!(deployment.number("/status/updatedReplicas"), 2, "it is plain Kubernetes");
}

// ---- two that name one ----------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn of_two_rollouts_that_name_one_deployment_the_older_has_it_and_the_other_follows() {
    for (elder, younger) in [("aaa", "zzz"), ("zzz", "aaa")] {
        for apart in [0, 2_000] {
            let mut fleet = Fleet::shops(11, 1).await;
            let first = fleet.make("rollouts", rollout(elder, "shop-0", &json!({})));
            fleet.pass(apart).await;
            let second = fleet.make("rollouts", rollout(younger, "shop-0", &json!({})));
            let age = |made: &Value| (made.text("/metadata/creationTimestamp").to_owned(), made.uid().to_owned());
            let (elder, younger) = if age(&first) < age(&second) { (elder, younger) } else { (younger, elder) };
            fleet.start(Kindred::default(), "one");
            assert!(fleet.until(60_000, |server| phase(server, elder) == "Stable").await);
            fleet.pass(2_000).await;
            let blocked = fleet.server().get("rollouts", NAMESPACE, younger).unwrap();
            assert_eq!(blocked.text("/status/phase"), "Blocked", "{}", blocked["status"]);
            assert!(blocked.text("/status/message").contains(&format!("Rollout {elder}")), "{}", blocked["status"]);
            let from = fleet.server().commit_count();
            fleet.push("shop-0", "app:v2");
            fleet.pass(60_000).await;
            assert_eq!(fleet.promoted(from).keys().collect::<Vec<_>>(), [elder]);

            let object = fleet.server().get("rollouts", NAMESPACE, elder).unwrap();
            fleet.world.hand("git").delete("rollouts", &object).unwrap();
            assert!(fleet.until(60_000, |server| phase(server, younger) == "Stable").await, "the second takes over");
            let from = fleet.server().commit_count();
            fleet.push("shop-0", "app:v3");
            fleet.pass(60_000).await;
            assert_eq!(fleet.promoted(from).keys().collect::<Vec<_>>(), [younger]);
        }
    }
}

// ---- hand-over ------------------------------------------------------------------------------------------------------

/// A standby may not watch the Lease.
struct NoWatch;

impl Hooks for NoWatch {
    fn before(&self, call: &Call) -> Fate {
        if call.plural == "leases" && call.method == Method::Watch {
            let status = Status::new(403, "Forbidden", "leases is forbidden: cannot watch");
            return Fate::Fail { delay: Duration::ZERO, status };
        }
        Fate::PASS
    }

    fn after(&self, _: &Call, _: &Result<bytes::Bytes, Status>) -> Duration {
        Duration::from_millis(20)
    }

    fn event(&self, _: &Kind, _: u64) -> EventFate {
        EventFate::After(Duration::ZERO)
    }

    fn read_version(&self, _: &Call) -> Option<u64> {
        None
    }
}

/// How long, in milliseconds, from the word to stop in the middle of releases until the standby holds the Lease; and that
/// nothing is lost by it.
async fn handed_over(seed: u64, after: u64, hooks: Arc<dyn Hooks>, silent: BTreeSet<&str>) -> u64 {
    let mut fleet = Fleet::shops(seed, 5).await;
    for index in 0..5 {
        let name = format!("shop-{index}");
        fleet.make("rollouts", rollout(&name, &name, &json!({})));
    }
    let like = Kindred { hooks, ..Kindred::default() };
    let first = fleet.start(like.clone(), "first");
    fleet.pass(1_000).await;
    fleet.start(like, "second");
    fleet.pass(30_000).await;
    assert_eq!(fleet.holder("bellwether"), "first");
    let from = fleet.server().commit_count();
    for index in 0..5 {
        fleet.push(&format!("shop-{index}"), "app:v2");
    }
    fleet.pass(after).await;
    let told = fleet.world.now();
    first.told.notify_one();
    while fleet.holder("bellwether") != "second" {
        assert!(fleet.world.now() < told + 10_000, "nobody took over");
        fleet.pass(10).await;
    }
    let took = fleet.world.now() - told;
    assert_eq!(first.task.await.unwrap(), Ended::Told);
    fleet.pass(60_000).await;
    let promoted = fleet.promoted(from);
    assert_eq!(promoted.len(), 5 - silent.len(), "{promoted:?}");
    took
}

#[tokio::test(start_paused = true)]
async fn a_standby_leads_at_once_when_the_leader_is_told_to_stop() {
    let mut worst = (0, 0, 0);
    for seed in 0..4 {
        let calm = handed_over(seed, 500 + 4_300 * seed, Arc::new(Calm), BTreeSet::new()).await;
        let polled = handed_over(seed, 500 + 4_300 * seed, Arc::new(NoWatch), BTreeSet::new()).await;
        let hanging = handed_over(seed, 500 + 4_300 * seed, Arc::new(Silence("shop-3")), ["shop-3"].into()).await;
        worst = (worst.0.max(calm), worst.1.max(polled), worst.2.max(hanging));
    }
    println!(
        "hand-over at the worst: {} ms; without a watch {} ms; beside a look that hangs {} ms",
        worst.0, worst.1, worst.2
    );
    assert!(worst.0 < 200, "with a watch at once: {} ms", worst.0);
    assert!(worst.1 < 2_000, "without one, by looking each second: {} ms", worst.1);
    assert!(worst.2 < 2_000, "one look that hangs is not waited for: {} ms", worst.2);
}

/// Writes take their time on the way, and the answer about the Lease on its way back.
struct Slow;

impl Hooks for Slow {
    fn before(&self, call: &Call) -> Fate {
        let delay = if call.plural == "rollouts" && call.method.writes() { 1_500 } else { 0 };
        Fate::Pass { delay: Duration::from_millis(delay) }
    }

    fn after(&self, call: &Call, _: &Result<bytes::Bytes, Status>) -> Duration {
        Duration::from_millis(if call.plural == "leases" && call.method.writes() { 900 } else { 0 })
    }

    fn event(&self, _: &Kind, _: u64) -> EventFate {
        EventFate::After(Duration::ZERO)
    }

    fn read_version(&self, _: &Call) -> Option<u64> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn who_gave_the_lease_back_begins_no_write() {
    for seed in 0..6 {
        let mut fleet = Fleet::shops(seed, 4).await;
        for index in 0..4 {
            let name = format!("shop-{index}");
            fleet.make("rollouts", rollout(&name, &name, &json!({})));
        }
        let process = fleet.start(Kindred { hooks: Arc::new(Slow), ..Kindred::default() }, "first");
        fleet.pass(60_000).await;
        for index in 0..4 {
            fleet.push(&format!("shop-{index}"), "app:v2");
        }
        fleet.pass(5_000 + 330 * seed).await;
        process.told.notify_one();
        assert!(
            fleet
                .until(5_000, |server| {
                    let lease = server.get("leases", HOME, "bellwether").unwrap();
                    lease.text("/spec/holderIdentity").is_empty()
                })
                .await
        );
        let from = fleet.server().commit_count();
        fleet.pass(10_000).await;
        assert_eq!(process.task.await.unwrap(), Ended::Told);
        for index in 0..4 {
            let late = written(&fleet, "one", &format!("shop-{index}"), from);
            let late: Vec<_> = late.into_iter().filter(|it| !it.contains("events")).collect();
            // What was on its way arrives; nothing follows from it.
            let sent_before = late.len() <= 1 && late.iter().all(|it| it.contains(" rollouts "));
            assert!(sent_before, "seed {seed}: {late:?}");
        }
    }
}
