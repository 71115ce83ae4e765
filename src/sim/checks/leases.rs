//! One replica leads: it takes the Lease from who has been silent for its whole time, by nobody's clock but the story's.
use super::{Checks, Commit, Read, Value};
use crate::sim::operator::LEASE;
use std::{collections::BTreeMap, sync::Arc};

/// What was seen of Leases.
#[derive(Clone, Default)]
pub(super) struct Leases {
    /// When each was written last, by name.
    written: BTreeMap<String, u64>,
    /// The longest that one was not.
    longest: u64,
    /// Until then what a backup put back may be taken for what it was.
    recounted: u64,
}

impl Checks {
    /// A Lease was taken, renewed or given back.
    pub(super) fn leased(&mut self, commit: &Commit, at: u64) {
        let count = |lease: Option<&Arc<Value>>| lease.map(|lease| lease.number("/spec/leaseTransitions"));
        let taken = count(commit.after.as_ref()).filter(|now| count(commit.before.as_ref()) != Some(*now));
        if let Some(epoch) = taken
            && std::mem::take(&mut self.recounts)
        {
            // Nobody who knows how far it had counted need be alive; until now nobody else could lead.
            self.epoch = self.epoch.min(epoch);
        }
        let Some(last) = self.leases.written.insert(commit.name.clone(), at) else { return };
        let silent = at - last;
        self.leases.longest = self.leases.longest.max(silent);
        let holder = |lease: &Option<Arc<Value>>| {
            let holder = lease.as_ref().map(|lease| lease.text("/spec/holderIdentity").to_owned());
            holder.filter(|holder| !holder.is_empty())
        };
        if let (Some(from), Some(to)) = (holder(&commit.before), holder(&commit.after))
            && from != to
            && u128::from(silent) < LEASE.as_millis()
            && at > self.leases.recounted
        {
            let what = format!("{to} takes it from {from}, who wrote it {silent} ms ago");
            self.wrong("S11 a Lease is taken from who is silent", at, what);
        }
    }

    /// A backup put a Lease back.
    pub(super) fn lease_put_back(&mut self, at: u64) {
        // Who led may write until its term ends; who takes it next knows only what the backup knows.
        self.recounts = true;
        self.leases.recounted = at + u64::try_from(LEASE.as_millis()).unwrap_or(0);
    }

    /// The longest that nobody led.
    pub fn longest_lease(&self) -> u64 {
        self.leases.longest
    }
}
