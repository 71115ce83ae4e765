//! Nobody waits behind another: what changes is looked at soon, whatever ails the Rollouts beside it.
use super::{Checks, Commit, OPERATOR, Read};
use crate::sim::stage::NAME;

/// A change that was not looked at yet, and the longest that one was not.
#[derive(Clone, Default)]
pub(super) struct Unseen {
    since: Option<u64>,
    longest: u64,
}

impl Checks {
    /// Somebody changed what the Rollout says, or its Deployment.
    pub(super) fn called_for(&mut self, commit: &Commit, at: u64) {
        let is_ours = commit.name == NAME && matches!(commit.kind.plural.as_str(), "rollouts" | "deployments");
        let generation = |object: &Option<std::sync::Arc<serde_json::Value>>| {
            object.as_ref().map(|object| object.number("/metadata/generation"))
        };
        if !is_ours {
            return;
        }
        // Of what no Rollout names nobody is told, and what was not looked at before it went nobody looks at any more.
        if self.object("rollouts", NAME).is_none() {
            return self.looked(NAME, at);
        }
        if commit.user != OPERATOR && generation(&commit.before) != generation(&commit.after) {
            self.unseen.since.get_or_insert(at);
        }
    }

    /// A Rollout was looked at.
    pub fn looked(&mut self, name: &str, at: u64) {
        if name == NAME
            && let Some(since) = self.unseen.since.filter(|since| *since <= at)
        {
            self.unseen.longest = self.unseen.longest.max(at - since);
            self.unseen.since = None;
        }
    }

    /// The longest that a change was not looked at, until now.
    pub fn longest_unseen(&self, now: u64) -> u64 {
        self.unseen.longest.max(self.unseen.since.map_or(0, |since| now.saturating_sub(since)))
    }
}
