//! What goes wrong between an operator and the API server.
use super::{
    api::{Call, EventFate, Fate, Hooks, Kind, Method, Server, Status},
    dice::Dice,
};
use bytes::Bytes;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// When an operator's process ends, relative to one of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The write never reaches the API server.
    Before,
    /// The write is applied, and its answer lost.
    Unanswered,
    /// The answer arrived, and nothing is asked for after it.
    After,
}

/// What goes wrong now. All times are virtual.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Requests are refused until then.
    pub outage: Option<Instant>,
    /// Requests and events are held back until then: the process is stopped, or its network is.
    pub frozen: Option<Instant>,
    /// Of a thousand requests so many are never applied, applied without an answer, refused with a conflict, or with 500.
    pub broken: u64,
    pub lost: u64,
    pub conflicts: u64,
    pub errors: u64,
    /// A request takes at the most so long, in milliseconds.
    pub latency: u64,
    /// Watch events are held back at the most so long, in milliseconds.
    pub watch_lag: u64,
    /// Of a thousand events so many end the watch, or say that its version is gone.
    pub closes: u64,
    pub gone: u64,
    /// Of a thousand events so many are left out where the same object changed again since, or come twice.
    pub blurred: u64,
    /// Writes of this kind are refused until then, with this code, by a webhook of somebody's.
    pub refused: Option<(&'static str, u16, Instant)>,
    /// Watches say nothing until then.
    pub stalled: Option<Instant>,
    /// Reads are answered from so many versions ago, by a replica that lags.
    pub behind: u64,
    /// Nobody answers what is asked about the Rollout of this name.
    pub silent: Option<&'static str>,
    /// The mistake with which everything is sent.
    pub bent: Option<fn(&mut Call)>,
}

/// A line between one process and the API server.
pub struct Line {
    state: Mutex<State>,
    /// Fires when the process is to end.
    pub died: Notify,
}

struct State {
    trouble: Trouble,
    dice: Dice,
    /// End the process at this write.
    crash: Option<(u64, Crash)>,
    writes: u64,
    dead: bool,
    /// The process ends when it asks for the next thing.
    dying: bool,
    crashed: bool,
    server: Server,
}

impl Line {
    /// A line to this API server; `crash` ends the process at its so manieth write.
    pub fn new(server: Server, dice: Dice, crash: Option<(u64, Crash)>, trouble: Trouble) -> Arc<Self> {
        let state = State { trouble, dice, crash, writes: 0, dead: false, dying: false, crashed: false, server };
        Arc::new(Self { state: Mutex::new(state), died: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what goes wrong.
    pub fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.state().trouble);
    }

    /// Nothing of this process reaches anybody any more.
    pub fn cut(&self) {
        self.state().dead = true;
    }

    /// Ends the process.
    pub fn kill_now(&self) {
        self.cut();
        self.died.notify_one();
    }

    /// Whether the process ended at the write that was asked for.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// It is counted elsewhere.
    pub fn forget_crash(&self) {
        self.state().crashed = false;
    }

    /// Whether reads are answered from before.
    pub fn is_behind(&self) -> bool {
        self.state().trouble.behind > 0
    }

    /// Whether the process has ended.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// How many writes went out, without those of the Lease and of events.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// How long until the process may go on.
    pub fn frozen(&self) -> Duration {
        let frozen = self.state().trouble.frozen;
        frozen.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

fn is_counted(call: &Call) -> bool {
    call.method.writes() && !call.options.dry_run && !matches!(call.plural.as_str(), "leases" | "events")
}

impl Hooks for Line {
    fn before(&self, call: &Call) -> Fate {
        let mut state = self.state();
        if state.dying {
            state.dead = true;
            self.died.notify_one();
        }
        if state.dead {
            return Fate::Hang;
        }
        let trouble = state.trouble.clone();
        if call.method == Method::Get
            && call.plural == "rollouts"
            && trouble.silent.is_some_and(|silent| call.name.as_deref() == Some(silent))
        {
            return Fate::Hang;
        }
        let now = Instant::now();
        let latency = state.dice.range(0, trouble.latency.max(1));
        let mut delay = Duration::from_millis(latency);
        if let Some(until) = trouble.frozen {
            delay += until.saturating_duration_since(now);
        }
        if trouble.outage.is_some_and(|until| until > now) {
            return Fate::Break { delay };
        }
        if is_counted(call) {
            state.writes += 1;
            if let Some((at, crash)) = state.crash
                && state.writes == at
            {
                state.crashed = true;
                if crash == Crash::After {
                    state.dying = true;
                    return Fate::PASS;
                }
                state.dead = true;
                self.died.notify_one();
                return if crash == Crash::Before { Fate::Hang } else { Fate::Lose { delay: Duration::ZERO } };
            }
        }
        if let Some((plural, code, until)) = trouble.refused
            && until > now
            && call.method.writes()
            && call.plural == plural
        {
            let why = "admission webhook \"policy.example\" denied the request: not today";
            let reason = if code == 403 { "Forbidden" } else { "InternalError" };
            return Fate::Fail { delay, status: Status::new(code, reason, why) };
        }
        let mut fate = |often: u64| state.dice.permille(often);
        if fate(trouble.broken) {
            Fate::Break { delay }
        } else if fate(trouble.lost) {
            Fate::Lose { delay }
        } else if fate(trouble.errors) {
            Fate::Fail { delay, status: Status::new(500, "InternalError", "etcdserver: request timed out") }
        } else if is_counted(call) && fate(trouble.conflicts) {
            Fate::Fail {
                delay,
                status: Status::new(
                    409,
                    "Conflict",
                    "the object has been modified; please apply your changes to the latest version and try again",
                ),
            }
        } else {
            Fate::Pass { delay }
        }
    }

    fn bend(&self, call: &mut Call) {
        let bent = self.state().trouble.bent;
        if let Some(bend) = bent {
            bend(call);
        }
    }

    fn after(&self, _call: &Call, _answer: &Result<Bytes, Status>) -> Duration {
        let mut state = self.state();
        let latency = state.trouble.latency;
        Duration::from_millis(state.dice.range(0, latency.max(1)))
    }

    fn event(&self, _kind: &Kind, _version: u64) -> EventFate {
        let mut state = self.state();
        let trouble = state.trouble.clone();
        if state.dead {
            return EventFate::Stall(Duration::from_secs(1_000_000));
        }
        let now = Instant::now();
        if let Some(until) = trouble.stalled.into_iter().chain(trouble.frozen).max()
            && until > now
        {
            return EventFate::Stall(until.saturating_duration_since(now));
        }
        if state.dice.permille(trouble.closes) {
            EventFate::Close
        } else if state.dice.permille(trouble.gone) {
            EventFate::Gone
        } else if state.dice.permille(trouble.blurred) {
            if state.dice.permille(500) { EventFate::Skip } else { EventFate::Twice }
        } else {
            EventFate::After(Duration::from_millis(state.dice.range(0, trouble.watch_lag.max(1))))
        }
    }

    fn read_version(&self, call: &Call) -> Option<u64> {
        let mut state = self.state();
        if state.trouble.behind == 0 || call.method.writes() {
            return None;
        }
        let newest = state.server.version();
        let behind = state.trouble.behind;
        let by = state.dice.range(0, behind);
        // A server that was made from a backup knows nothing from before.
        Some(newest.saturating_sub(by).max(state.server.restored()))
    }
}
