//! What the checks remember, after a backup was put back: of what was undone only that it had failed.
use super::{Checks, Commit, HEARSAY, NAME, Read, Value, given_up};

impl Checks {
    /// One object is as it was.
    pub(super) fn put_back(&mut self, commit: &Commit, at: u64) {
        self.unaware = at + HEARSAY;
        match commit.kind.plural.as_str() {
            "pods" => self.remember_ready(commit, at),
            "services" => {
                let selector = commit.after.as_ref().map(|service| service["spec"]["selector"].clone());
                self.selectors.insert(commit.name.clone(), selector.unwrap_or_default());
            }
            "leases" => self.lease_put_back(at),
            "deployments" => {
                let wanted = commit.after.as_ref().map_or(0, |it| it.maybe("/spec/replicas").unwrap_or(1));
                self.wanted.push((at, wanted));
            }
            "rollouts" if commit.name == NAME => {
                let rollout = commit.after.clone().unwrap_or_default();
                self.rollout_put_back(&rollout);
            }
            _ => {}
        }
    }

    fn rollout_put_back(&mut self, rollout: &Value) {
        let status = &rollout["status"];
        // An abort that was undone is not late.
        self.latched = None;
        self.epoch = status.number("/intent/epoch");
        let stands: Vec<_> = status.list("/alerts").iter().map(|alert| alert.text("/id")).collect();
        let gone = self.promised.keys().filter(|id| !stands.contains(&id.as_str()));
        self.undone.extend(gone.cloned());
        self.answers_put_back(status);
        let now = format!("{} {}", status.text("/flight/revision"), status.text("/flight/startedAt"));
        let key = (rollout.uid().to_owned(), now, status.number("/attempt"));
        let mut flight = self.trials.iter().filter(|(known, _)| (&known.0, &known.1) == (&key.0, &key.1));
        let failed = flight.find_map(|(_, trial)| trial.failed.clone());
        self.trials.retain(|known, _| known.0 != key.0 || *known == key);
        let version = (rollout.uid().to_owned(), rollout.text("/metadata/resourceVersion").to_owned());
        if let Some(mut trial) = self.tried.get(&version).cloned() {
            trial.aborted = given_up(status);
            // Prometheus still knows what failed.
            trial.failed = trial.failed.take().or(failed);
            self.trials.insert(key, trial);
        }
    }
}
