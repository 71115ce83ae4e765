//! The operator under test: all of it but its outermost shell, which reads flags and opens sockets.
use super::{
    api::{Server, Wire},
    dice::Dice,
    faults::{Crash, Line, Trouble},
    world::{OPERATOR, Outside},
};
use crate::{
    cluster::{Clock, Cluster, Settings, Shard, Tamper, lease::Terms},
    controller::{self, Care},
    outbound::{Answer, Failure, Request, Transport},
    telemetry::Telemetry,
};
use futures::{FutureExt, channel::mpsc, future::BoxFuture};
use kube::Client;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};

/// The namespace that the operator runs in.
pub const HOME: &str = "bellwether-system";
/// How long the Lease is respected.
const LEASE: Duration = Duration::from_secs(3);

/// A replica, started again whenever its process ends.
pub struct Replica {
    name: String,
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
}

impl Replica {
    /// A replica of this name.
    pub fn new(
        name: &str,
        server: Server,
        outside: Arc<Mutex<Outside>>,
        clock: super::api::Clock,
        dice: Dice,
        tamper: Option<Arc<dyn Tamper>>,
    ) -> Arc<Self> {
        let line = Line::new(server.clone(), dice.clone(), None, Trouble::default());
        Arc::new(Self {
            name: name.to_owned(),
            server,
            outside,
            clock,
            tamper,
            line: Mutex::new(line),
            told: Notify::new(),
            trouble: Mutex::default(),
            state: Mutex::new(State { dice, crashes: Vec::new(), skew: 0, starts: 0, first: None }),
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

    /// Its clock is so many milliseconds ahead.
    pub fn skew(&self, by: i64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).skew = by;
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
            self.state.lock().unwrap_or_else(PoisonError::into_inner).first.get_or_insert(line.writes());
            line.cut();
            sleep(Duration::from_millis(restart)).await;
        }
    }

    fn process(&self, line: Arc<Line>, skew: i64, starts: u64) -> BoxFuture<'_, controller::Ended> {
        // The clock of all is the story's; this process sees it askew.
        let story = self.clock.clone();
        let clock = Clock::new(move || story() + jiff::SignedDuration::from_millis(skew));
        let client = Client::new(Wire::new(self.server.clone(), OPERATOR, line.clone()), HOME);
        let settings = Settings {
            namespace: HOME.to_owned(),
            identity: self.name.clone(),
            belt: "bellwether-belt".to_owned(),
            shard: Shard::default(),
            clock,
            tamper: self.tamper.clone(),
        };
        let (wake, wakes) = mpsc::unbounded();
        let outbound = World { outside: self.outside.clone(), line, clock: self.clock.clone() };
        let cluster = Cluster::new(client, settings, Telemetry::default(), outbound, move |key| {
            let _ = wake.unbounded_send(key);
        });
        let terms = Terms {
            namespace: HOME.to_owned(),
            name: "bellwether".to_owned(),
            identity: format!("{}_{starts}", self.name),
            duration: LEASE,
            renew: Duration::from_secs(1),
        };
        controller::lead(cluster, terms, Care::default(), wakes, || {}, self.told.notified()).boxed()
    }
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
