//! Who failed how often in a row, each Rollout for itself, forgotten on success.
use crate::cluster::Key;
use std::{collections::HashMap, sync::Mutex, time::Duration};

/// The wait after a first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);

/// Failures in a row.
#[derive(Default)]
pub struct Backoff(Mutex<HashMap<Key, u32>>);

impl Backoff {
    /// Counts a failure, and says how long to wait after it.
    pub fn failed(&self, key: &Key) -> Duration {
        let Ok(mut failures) = self.0.lock() else { return LONGEST };
        let count = failures.entry(key.clone()).or_insert(0);
        let wait = FIRST.saturating_mul(1_u32.checked_shl(*count).unwrap_or(u32::MAX)).min(LONGEST);
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets all failures of this Rollout.
    pub fn succeeded(&self, key: &Key) {
        if let Ok(mut failures) = self.0.lock() {
            failures.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_for_one_and_not_for_others() {
        let backoff = Backoff::default();
        let (one, other) = (Key::new("one"), Key::new("other"));
        let waits: Vec<_> = (0..9).map(|_| backoff.failed(&one).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.failed(&other), FIRST);
        backoff.succeeded(&one);
        assert_eq!(backoff.failed(&one), FIRST);
    }

    #[test]
    fn no_count_overflows() {
        let backoff = Backoff::default();
        let key = Key::new("poison");
        assert_eq!((0..100).map(|_| backoff.failed(&key)).last(), Some(LONGEST));
    }
}
