//! Who failed how often in a row, each Rollout for itself, forgotten on success.
//!
//! A failure that somebody else may mend is tried again soon, and at every change that is seen. One that is the
//! operator's own, a panic or a look without end, puts the Rollout into quarantine: until its time is over, or its spec is
//! another, nothing wakes it, for each look costs a place that others wait for.
use crate::cluster::Key;
use std::{collections::HashMap, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// The wait after a first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The wait after somebody else was faster, at first and at most: two who write in turns soon miss each other, and what looks
/// like a race and is none must not become a loop.
const RACE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);
/// The longest wait in quarantine.
const LONGEST_QUARANTINE: Duration = Duration::from_mins(5);
/// The same after a look without end: mostly it was the API server that did not answer in time, and once it does, nobody
/// should have to wait for an abort.
const LONGEST_SHORT_QUARANTINE: Duration = Duration::from_secs(20);

/// Failures in a row.
#[derive(Default)]
pub struct Backoff(Mutex<HashMap<Key, Row>>);

#[derive(Default)]
struct Row {
    failures: u32,
    races: u32,
    quarantine: Option<Quarantine>,
}

struct Quarantine {
    until: Instant,
    generation: Option<i64>,
}

impl Backoff {
    /// Counts a failure, and says how long to wait after it.
    pub fn failed(&self, key: &Key) -> Duration {
        self.counted(key, LONGEST, |_| None)
    }

    /// Counts a failure of our own at the spec of this generation, and says how long nothing wakes this Rollout.
    pub fn quarantine(&self, key: &Key, generation: Option<i64>) -> Duration {
        self.counted(key, LONGEST_QUARANTINE, |wait| Some(Quarantine { until: Instant::now() + wait, generation }))
    }

    /// The same where the fault may as well be another's.
    pub fn short_quarantine(&self, key: &Key, generation: Option<i64>) -> Duration {
        let quarantine = |wait| Some(Quarantine { until: Instant::now() + wait, generation });
        self.counted(key, LONGEST_SHORT_QUARANTINE, quarantine)
    }

    /// Counts a look in which somebody else was faster, and says how long to wait after it.
    pub fn raced(&self, key: &Key) -> Duration {
        let (first, longest) = RACE;
        let Ok(mut rows) = self.0.lock() else { return longest };
        let row = rows.entry(key.clone()).or_default();
        let wait = doubled(first, row.races, longest);
        row.races = row.races.saturating_add(1);
        wait
    }

    fn counted(
        &self,
        key: &Key,
        longest: Duration,
        quarantine: impl FnOnce(Duration) -> Option<Quarantine>,
    ) -> Duration {
        let Ok(mut rows) = self.0.lock() else { return longest };
        let row = rows.entry(key.clone()).or_default();
        let wait = doubled(FIRST, row.failures, longest);
        row.failures = row.failures.saturating_add(1);
        row.quarantine = quarantine(wait);
        wait
    }

    /// Whether the last look failed too.
    pub fn has_failed(&self, key: &Key) -> bool {
        self.0.lock().is_ok_and(|rows| rows.get(key).is_some_and(|row| row.failures > 0))
    }

    /// How long this Rollout is still in quarantine, at the spec of this generation.
    pub fn left(&self, key: &Key, generation: Option<i64>) -> Option<Duration> {
        let rows = self.0.lock().ok()?;
        let quarantine = rows.get(key)?.quarantine.as_ref().filter(|it| it.generation == generation)?;
        let left = quarantine.until.saturating_duration_since(Instant::now());
        (left > Duration::ZERO).then_some(left)
    }

    /// Forgets all failures of this Rollout.
    pub fn succeeded(&self, key: &Key) {
        if let Ok(mut rows) = self.0.lock() {
            rows.remove(key);
        }
    }
}

/// A wait that has been doubled so often, and is no longer than this.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(longest)
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
    fn races_are_tried_again_soon_and_never_without_a_pause() {
        let backoff = Backoff::default();
        let key = Key::new("shop");
        let waits: Vec<_> = (0..7).map(|_| backoff.raced(&key).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert!(!backoff.has_failed(&key));
        assert_eq!((0..100).map(|_| backoff.raced(&key)).last(), Some(RACE.1));
        backoff.succeeded(&key);
        assert_eq!(backoff.raced(&key), RACE.0);
    }

    #[test]
    fn no_count_overflows() {
        let backoff = Backoff::default();
        let key = Key::new("poison");
        assert_eq!((0..100).map(|_| backoff.failed(&key)).last(), Some(LONGEST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quarantine_grows_to_some_minutes_and_ends_by_time_by_success_or_with_another_spec() {
        let backoff = Backoff::default();
        let key = Key::new("poison");
        assert_eq!(backoff.left(&key, Some(1)), None);
        assert_eq!(backoff.quarantine(&key, Some(1)), FIRST);
        assert_eq!(backoff.left(&key, Some(1)), Some(FIRST));
        assert_eq!(backoff.left(&key, Some(2)), None, "whoever mends the spec does not wait");
        tokio::time::advance(FIRST).await;
        assert_eq!(backoff.left(&key, Some(1)), None);
        assert_eq!((0..20).map(|_| backoff.quarantine(&key, Some(1))).last(), Some(LONGEST_QUARANTINE));
        assert_eq!(backoff.left(&Key::new("other"), Some(1)), None);
        backoff.succeeded(&key);
        assert_eq!(backoff.left(&key, Some(1)), None);
        assert_eq!((0..20).map(|_| backoff.short_quarantine(&key, Some(1))).last(), Some(LONGEST_SHORT_QUARANTINE));
        assert_eq!(backoff.left(&key, Some(1)), Some(LONGEST_SHORT_QUARANTINE));
        backoff.succeeded(&key);
        backoff.quarantine(&key, Some(1));
        backoff.failed(&key);
        assert_eq!(backoff.left(&key, Some(1)), None, "another failure may be mended by anybody");
    }
}
