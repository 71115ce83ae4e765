//! The wall clock: the only place of the operator that asks it, so that a test can have another.
use jiff::{SignedDuration, Timestamp};
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// A wall clock that goes apart by more than this was set.
const APART: SignedDuration = SignedDuration::from_secs(1);

/// A clock. All times in statuses, events, questions and alerts are its.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that shows what this function says.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "here the world's time becomes a fact among others")]
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

/// A moment, on a wall clock that may be set meanwhile: by it just as much has passed since as has.
#[derive(Debug)]
pub struct Since {
    begun: Instant,
    at: Timestamp,
}

impl Since {
    /// This moment.
    pub fn now(clock: &Clock) -> Self {
        Self { begun: Instant::now(), at: clock.now() }
    }

    /// When it was, by the clock that shows `now` now.
    pub fn at(&mut self, now: Timestamp) -> Timestamp {
        let passed = SignedDuration::try_from(self.begun.elapsed()).unwrap_or(SignedDuration::MAX);
        let at = now.checked_sub(passed).unwrap_or(Timestamp::MIN);
        if at.duration_since(self.at).abs() > APART {
            self.at = at;
        }
        self.at
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_takes_the_moment_with_it() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut since = Since::now(&Clock::new(move || at(3_600)));
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        assert_eq!(since.at(at(3_610)), at(3_600));
        let by_little = at(3_610) + SignedDuration::from_millis(400);
        assert_eq!(since.at(by_little), at(3_600), "two clocks never go alike, and nothing is written for that");
        assert_eq!(since.at(at(10)), at(0), "it had been an hour ahead");
        assert_eq!(since.at(at(7_210)), at(7_200));
    }
}
