//! The hands: the only module that holds a client of the API server.
//!
//! Every decision is made from objects read for it from the API server itself; watches only say when to look.
mod about;
mod ask;
mod clock;
mod deliver;
mod elders;
mod facts;
mod gateways;
mod jobs;
mod kinds;
pub mod lease;
mod measure;
mod newest;
mod observe;
mod past;
mod perform;
mod policies;
mod providers;
mod refusals;
mod report;
mod requests;
mod scrape;
mod shard;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use kinds::{actions, resource_named};
pub use measure::{Around, Measurements};
pub use requests::{Ask, Care};
#[cfg(test)]
pub use requests::{Listed, Straight};
pub use scrape::on_trial;
pub use shard::{NoSelector, Shard};

use crate::{
    api::{Reason, Rollout},
    outbound::Transport,
    telemetry::{ReasonLabels, Telemetry},
};
use ask::Asks;
use deliver::Outbox;
use elders::Elders;
use kube::{Client, ResourceExt, runtime::reflector::ObjectRef};
use newest::Newest;
use past::Pasts;
use refusals::Refusals;
use requests::Door;
use scrape::Scraping;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::AtomicI32},
};
use tokio::time::Instant;

/// Which Rollout.
pub type Key = ObjectRef<Rollout>;

/// What went wrong between us and the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A read was not answered as it should.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// A write was refused.
    #[error("cannot {verb} {object}")]
    Write {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        object: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Rollout itself cannot be read as one, not even in parts.
    #[error("the Rollout cannot be understood: {0}")]
    Malformed(String),
    /// A look panicked.
    #[error("a look at this Rollout panicked: {0}")]
    Panicked(String),
    /// A look took too long.
    #[error("a look at this Rollout took longer than {0}s")]
    TooSlow(u64),
}

impl Error {
    /// A short word that stays the same, for events and numbers.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Malformed(_) => "malformed",
            Self::Panicked(_) => "panicked",
            Self::TooSlow(_) => "too-slow",
        }
    }

    /// Whether somebody else was faster: the next look decides anew.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Write { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409)
            }
            _ => false,
        }
    }

    /// Whether the fault is the operator's own, so that nobody's change is likely to mend it.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Panicked(_) | Self::TooSlow(_))
    }

    /// The whole chain in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(inner) = source {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        text
    }
}

/// A planted mistake: what is seen, or what is decided, is made wrong on its way.
#[cfg(test)]
pub trait Tamper: Send + Sync + std::fmt::Debug {
    /// Before the decision.
    fn seen(&self, seen: &mut crate::plan::Observed);
    /// After it.
    fn decided(&self, seen: &crate::plan::Observed, plan: &mut crate::plan::Plan);
    /// Whether a leader goes on whose Lease was lost.
    fn outstays(&self) -> bool {
        false
    }
    /// What is done with a Lease of which this was to be done.
    fn lease(
        &self,
        _: Option<&k8s_openapi::api::coordination::v1::LeaseSpec>,
        next: lease::Move,
        _: jiff::Timestamp,
    ) -> lease::Move {
        next
    }
}

/// What the operator is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's own namespace, in which cluster providers' Secrets are.
    pub namespace: String,
    /// This replica's name, for events and the Lease.
    pub identity: String,
    /// Name of the policy that is the belt.
    pub belt: String,
    /// Which Rollouts are this operator's.
    pub shard: Shard,
    /// What time it is.
    pub clock: Clock,
    /// A mistake to live with, for the proof that proofs find mistakes.
    #[cfg(test)]
    pub tamper: Option<Arc<dyn Tamper>>,
}

/// The API server as the operator sees it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    door: Door,
    settings: Arc<Settings>,
    telemetry: Telemetry,
    outbound: Arc<dyn Transport>,
    measurements: Arc<Measurements>,
    pasts: Arc<Pasts>,
    asks: Arc<Asks>,
    scraping: Arc<Scraping>,
    outbox: Arc<Outbox>,
    refusals: Arc<Refusals>,
    newest: Arc<Newest>,
    elders: Arc<Elders>,
    belts: Arc<Mutex<HashMap<Key, (String, Instant)>>>,
    ended_pods: Arc<jobs::EndedPods>,
    epoch: Arc<AtomicI32>,
    /// Since when this process leads, by its own clock.
    led_since: Arc<Mutex<Option<clock::Since>>>,
    /// Since when it looks at each Rollout.
    taken_up: Arc<Mutex<HashMap<Key, clock::Since>>>,
}

impl Cluster {
    /// The API server behind this client. `wake` is called with a Rollout that should be looked at again.
    pub fn new(
        client: Client,
        settings: Settings,
        telemetry: Telemetry,
        outbound: impl Transport + 'static,
        wake: impl Fn(Key) + Send + Sync + 'static,
    ) -> Self {
        let wake: measure::Wake = Arc::new(wake);
        for reason in Reason::ALL {
            // What is counted for the first time has to grow from 0, or no rule about its growth sees it.
            drop(telemetry.decisions.get_or_create(&ReasonLabels { reason: reason.as_str() }));
        }
        Self {
            door: Door::Http(client.clone()),
            client,
            settings: Arc::new(settings),
            telemetry,
            outbound: Arc::new(outbound),
            measurements: Arc::new(Measurements::new(wake.clone())),
            pasts: Arc::new(Pasts::new(wake.clone())),
            asks: Arc::default(),
            scraping: Arc::default(),
            outbox: Arc::new(Outbox::new(wake)),
            refusals: Arc::default(),
            newest: Arc::default(),
            elders: Arc::default(),
            belts: Arc::default(),
            ended_pods: Arc::default(),
            epoch: Arc::default(),
            led_since: Arc::default(),
            taken_up: Arc::default(),
        }
    }

    /// The same API server, reached without HTTP by all but watches and the Lease.
    #[cfg(test)]
    #[must_use]
    pub fn straight(mut self, server: Arc<dyn Straight>) -> Self {
        self.door = Door::Straight(server);
        self
    }

    /// Remembers how often leadership has changed hands.
    pub fn lead(&self, epoch: i32) {
        self.epoch.store(epoch, std::sync::atomic::Ordering::Relaxed);
        if let Ok(mut since) = self.led_since.lock() {
            *since = Some(clock::Since::now(&self.settings.clock));
        }
    }

    /// Another replica may be acting from now on: what goes on beside the looks writes nothing any more.
    pub fn resign(&self) {
        if let Ok(mut since) = self.led_since.lock() {
            *since = None;
        }
    }

    /// Whether this process leads, as far as it knows.
    fn leads(&self) -> bool {
        self.led_since.lock().is_ok_and(|since| since.is_some())
    }

    /// Since when this process acts for a Rollout, by the clock that shows `now` now: it leads, and looks at this one, which
    /// was another operator's before if its labels changed.
    fn acts_since(&self, key: &Key, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let led = self.led_since.lock().ok()?.as_mut()?.at(now);
        let mut taken_up = self.taken_up.lock().ok()?;
        let since = taken_up.entry(key.clone()).or_insert_with(|| clock::Since::now(&self.settings.clock));
        Some(since.at(now).max(led))
    }

    /// The client, for watches.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// What time it is.
    pub fn clock(&self) -> Clock {
        self.settings.clock.clone()
    }

    /// Which Rollouts are this operator's.
    pub fn shard(&self) -> &Shard {
        &self.settings.shard
    }

    /// The planted mistake.
    #[cfg(test)]
    pub fn tamper(&self) -> Option<&Arc<dyn Tamper>> {
        self.settings.tamper.as_ref()
    }

    /// The numbers.
    pub const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Forgets what is kept in memory for a Rollout that is gone.
    pub fn forget(&self, key: &Key) {
        self.measurements.forget(key);
        self.pasts.forget(key);
        self.scraping.forget(key);
        self.outbox.forget(key);
        self.refusals.forget(key);
        self.elders.forget(key);
        self.ended_pods.forget(key);
        if let Ok(mut belts) = self.belts.lock() {
            belts.remove(key);
        }
        if let Ok(mut taken_up) = self.taken_up.lock() {
            taken_up.remove(key);
        }
    }
}

/// The key of a Rollout.
pub fn key_of(rollout: &Rollout) -> Key {
    ObjectRef::new(&rollout.name_any()).within(&rollout.namespace().unwrap_or_default())
}
