//! The operator under test: all of it but its outermost shell, which reads flags and opens sockets.
use super::{
    api::{Bare, Commit, EventFate, Hooks as _, Pace, Server, Wire},
    dice::Dice,
    faults::{Crash, Line, Trouble},
    json::Read as _,
    stage::NAME,
    world::{NAMESPACE, OPERATOR, Outside},
};
use crate::{
    cluster::{Clock, Cluster, Key, Settings, Tamper, lease::Terms},
    controller::{self, Care},
    outbound::{Answer, Failure, Request, Transport},
    telemetry::Telemetry,
};
use futures::{FutureExt, StreamExt, channel::mpsc, future::BoxFuture};
use kube::Client;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

/// The namespace that the operator runs in.
pub const HOME: &str = "bellwether-system";
/// How long the Lease is respected.
pub const LEASE: Duration = Duration::from_secs(6);

/// How a replica reaches the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// As it does: with watches, a Lease, and every request over HTTP.
    #[default]
    Http,
    /// The same, but that what a look asks is not written down and read again on its way.
    Watched,
    /// Its looks alone, one after the other, with objects as they are stored.
    Straight,
}

/// What a replica is told to do.
#[derive(Clone, Copy)]
pub struct Duty {
    pub way: Way,
    /// The Lease by which it leads.
    pub lease: &'static str,
    /// Which Rollouts are its own.
    pub selector: &'static str,
    /// So many Rollouts it looks at side by side.
    pub side_by_side: u16,
    /// Where its looks come one after the other: the least time between two that changes call for.
    pub crowd: Duration,
}

impl Default for Duty {
    fn default() -> Self {
        Self {
            way: Way::Http,
            lease: "bellwether",
            selector: "",
            side_by_side: Care::default().side_by_side,
            crowd: Duration::ZERO,
        }
    }
}

/// A replica, started again whenever its process ends.
pub struct Replica {
    name: String,
    duty: Duty,
    server: Server,
    outside: Arc<Mutex<Outside>>,
    clock: super::api::Clock,
    tamper: Option<Arc<dyn Tamper>>,
    line: Mutex<Arc<Line>>,
    told: Notify,
    /// What goes wrong for each process that is started.
    trouble: Mutex<Trouble>,
    state: Mutex<State>,
}

struct State {
    dice: Dice,
    crashes: Vec<(u64, Crash)>,
    skew: i64,
    starts: u64,
    /// How much the first process wrote until it ended.
    first: Option<u64>,
    /// How often a process ended at one of its writes.
    crashed: usize,
}

impl Replica {
    /// A replica of this name.
    pub fn new(
        name: &str,
        duty: Duty,
        server: Server,
        outside: Arc<Mutex<Outside>>,
        clock: super::api::Clock,
        dice: Dice,
        tamper: Option<Arc<dyn Tamper>>,
    ) -> Arc<Self> {
        let line = Line::new(server.clone(), dice.clone(), None, Trouble::default());
        Arc::new(Self {
            name: name.to_owned(),
            duty,
            server,
            outside,
            clock,
            tamper,
            line: Mutex::new(line),
            told: Notify::new(),
            trouble: Mutex::default(),
            state: Mutex::new(State { dice, crashes: Vec::new(), skew: 0, starts: 0, first: None, crashed: 0 }),
        })
    }

    /// Ends its processes at these of their writes, one process after the other.
    pub fn crash_at(&self, crashes: Vec<(u64, Crash)>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).crashes = crashes;
    }

    /// How much the first process wrote, until now or its end.
    pub fn first_writes(&self) -> u64 {
        let ended = self.state.lock().unwrap_or_else(PoisonError::into_inner).first;
        ended.unwrap_or_else(|| self.line().writes())
    }

    /// Its clock is so many milliseconds ahead, from its next start on.
    pub fn skew(&self, by: i64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).skew = by;
    }

    /// Its clock is right again, from its next start on, which is now if it was not.
    pub fn set_right(&self) {
        let was = std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).skew);
        if was != 0 {
            self.line().kill_now();
        }
    }

    /// At how many of the writes that were asked for a process ended.
    pub fn crashed(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.crashed + usize::from(self.line().has_crashed())
    }

    /// The line of the process that lives now.
    pub fn line(&self) -> Arc<Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what goes wrong, for this process and the next.
    pub fn trouble(&self, change: impl Fn(&mut Trouble)) {
        change(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
        self.line().trouble(change);
    }

    /// SIGTERM: it gives the Lease back, ends, and is started again.
    pub fn tell_to_stop(&self) {
        self.told.notify_one();
    }

    /// Lives, and lives again.
    pub async fn live(self: Arc<Self>) {
        loop {
            let (line, skew, starts, restart) = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.starts += 1;
                let crash = if state.crashes.is_empty() { None } else { Some(state.crashes.remove(0)) };
                let dice = Dice::new(state.dice.next());
                let restart = state.dice.range(300, 3_000);
                let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let line = Line::new(self.server.clone(), dice, crash, trouble);
                *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line.clone();
                (line, state.skew, state.starts, restart)
            };
            let process = self.process(line.clone(), skew, starts);
            tokio::select! {
                biased;
                () = line.died.notified() => {}
                _ = process => {}
            }
            // Nothing of it may act any more, whatever tasks it left behind.
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.first.get_or_insert(line.writes());
                state.crashed += usize::from(line.has_crashed());
                line.forget_crash();
            }
            line.cut();
            sleep(Duration::from_millis(restart)).await;
        }
    }

    fn process(&self, line: Arc<Line>, skew: i64, starts: u64) -> BoxFuture<'_, controller::Ended> {
        // The clock of all is the story's; this process sees it askew.
        let story = self.clock.clone();
        let clock = Clock::new(move || story() + jiff::SignedDuration::from_millis(skew));
        let wire = Wire::new(self.server.clone(), OPERATOR, line.clone());
        let client = Client::new(wire.clone(), HOME);
        let settings = Settings {
            namespace: HOME.to_owned(),
            identity: self.name.clone(),
            belt: "bellwether-belt".to_owned(),
            shard: self.duty.selector.parse().unwrap(),
            clock,
            tamper: self.tamper.clone(),
        };
        let (wake, wakes) = mpsc::unbounded();
        let outbound = World { outside: self.outside.clone(), line: line.clone(), clock: self.clock.clone() };
        let cluster = Cluster::new(client, settings, Telemetry::default(), outbound, move |key| {
            let _ = wake.unbounded_send(key);
        });
        let cluster = match self.duty.way {
            Way::Http => cluster,
            Way::Watched => cluster.straight(Arc::new(Bare::new(wire, Pace::Same))),
            Way::Straight => {
                let cluster = cluster.straight(Arc::new(Bare::new(wire, Pace::Hasty)));
                cluster.lead(i32::try_from(starts).unwrap_or(i32::MAX));
                let (server, told) = (self.server.clone(), self.told.notified());
                return looks(cluster, wakes, server, line, self.duty.crowd, told).boxed();
            }
        };
        let care = Care { side_by_side: self.duty.side_by_side, ..Care::default() };
        let terms = Terms {
            namespace: HOME.to_owned(),
            name: self.duty.lease.to_owned(),
            identity: format!("{}_{starts}", self.name),
            duration: LEASE,
            renew: Duration::from_secs(2),
        };
        controller::lead(cluster, terms, care, wakes, || {}, self.told.notified()).boxed()
    }
}

/// The kinds whose changes call for a look.
const LOOKED_AT: &[&str] =
    &["rollouts", "deployments", "replicasets", "services", "endpointslices", "rolloutactions", "httproutes"];
/// The least time between two looks.
const PACE: Duration = Duration::from_millis(5);

/// One look after the other, whenever something changed or is due.
async fn looks(
    cluster: Cluster,
    mut wakes: mpsc::UnboundedReceiver<Key>,
    server: Server,
    line: Arc<Line>,
    crowd: Duration,
    told: impl Future<Output = ()>,
) -> controller::Ended {
    let mut told = std::pin::pin!(told);
    let key = Key::new(NAME).within(NAMESPACE);
    #[expect(clippy::default_trait_access, reason = "its type is the controller's own")]
    let context =
        controller::Context { cluster, backoff: Default::default(), longest_look: Care::default().longest_look };
    let mut changed = server.changed();
    let mut read = server.commit_count();
    loop {
        let begun = Instant::now();
        let mut again = controller::look(&key, &context).await;
        for other in
            server.list("rollouts", NAMESPACE).iter().map(|rollout| rollout.name()).filter(|name| *name != NAME)
        {
            let other = controller::look(&Key::new(other).within(NAMESPACE), &context).await;
            again = again.into_iter().chain(other).min();
        }
        // What follows from a write follows at once; what comes from outside comes in crowds.
        let least = begun + if again == Some(Duration::ZERO) { PACE } else { crowd };
        let mut due = Instant::now() + again.unwrap_or(Duration::from_hours(1));
        if line.is_behind() {
            // What a replica that lags has not said yet it says a moment later.
            due = due.min(Instant::now() + Duration::from_secs(2));
        }
        loop {
            tokio::select! {
                biased;
                () = &mut told => return controller::Ended::Told,
                Some(_) = wakes.next() => due = Instant::now(),
                _ = changed.changed() => {
                    let commits = server.commits(read);
                    read += commits.len();
                    for (at, commit) in commits.iter().enumerate() {
                        if commit.user == OPERATOR || !LOOKED_AT.contains(&commit.kind.plural.as_str()) {
                            continue;
                        }
                        let late = match line.event(&commit.kind, commit.rv) {
                            EventFate::After(late) | EventFate::Stall(late) => late,
                            EventFate::Close | EventFate::Gone => Duration::from_secs(1),
                            EventFate::Skip if commits[at + 1..].iter().any(|later| is_again(later, commit)) => {
                                continue;
                            }
                            EventFate::Skip | EventFate::Twice => Duration::ZERO,
                        };
                        due = due.min(Instant::now() + late);
                    }
                }
                () = sleep_until(due.max(least)) => break,
            }
        }
    }
}

/// Whether somebody changed the same object again, which is told in its turn: a watch never leaves out the last change.
fn is_again(later: &Commit, commit: &Commit) -> bool {
    later.user != OPERATOR
        && later.kind.plural == commit.kind.plural
        && (&later.namespace, &later.name) == (&commit.namespace, &commit.name)
}

/// What the operator's own requests reach.
struct World {
    outside: Arc<Mutex<Outside>>,
    line: Arc<Line>,
    clock: super::api::Clock,
}

impl Transport for World {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, Failure>> {
        async move {
            if self.line.is_dead() {
                return std::future::pending().await;
            }
            sleep(self.line.frozen() + Duration::from_millis(20)).await;
            let timeout = request.timeout;
            let answer = {
                let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
                if request.url.contains("prometheus") {
                    outside.asked(&request, (self.clock)())
                } else {
                    Some(outside.told(&request))
                }
            };
            if let Some((status, body)) = answer {
                return Ok(Answer { status, body: serde_json::to_vec(&body).unwrap_or_default() });
            }
            sleep(timeout.std()).await;
            Err(Failure::Timeout(timeout))
        }
        .boxed()
    }
}

impl Outside {
    fn asked(&mut self, request: &Request, now: jiff::Timestamp) -> Option<(u16, serde_json::Value)> {
        let crate::outbound::Body::Form(form) = &request.body else { return Some((400, serde_json::Value::Null)) };
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let at = field("time").replace('.', "").parse().unwrap_or(now.as_millisecond());
        if self.prometheus.is_new(at) && !field("time").is_empty() {
            self.prometheus.remember(at, now.as_millisecond());
        }
        self.prometheus.answer(field("query"), at)
    }

    fn told(&mut self, request: &Request) -> (u16, serde_json::Value) {
        let crate::outbound::Body::Bytes(bytes, _) = &request.body else { return (400, serde_json::Value::Null) };
        if self.receivers_down {
            return (503, serde_json::Value::Null);
        }
        let body: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        self.alerts.push((word("delivery"), word("event")));
        (200, serde_json::Value::Null)
    }
}
