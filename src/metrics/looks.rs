//! What is remembered of a source without a history: each look's number, as long as the operator lives.
use crate::duration::Duration;
use jiff::Timestamp;

/// So many looks are remembered; older ones have been judged by earlier looks.
const MOST: usize = 1_000;

/// The looks so far at one question, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looks {
    question: u64,
    all: Vec<Look>,
}

/// One look's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// When it was.
    pub at: Timestamp,
    /// The canary's number.
    pub canary: f64,
    /// Stable's number, if it was asked for.
    pub stable: Option<f64>,
}

impl Looks {
    /// Those of what is remembered that say something of this question, and of the time from `since` to `now`.
    pub(super) fn of(question: u64, known: Option<&Self>, since: Timestamp, now: Timestamp) -> Self {
        let known = known.filter(|known| known.question == question);
        let all =
            known.map(|known| known.all.iter().filter(|look| (since..=now).contains(&look.at)).copied().collect());
        Self { question, all: all.unwrap_or_default() }
    }

    /// Whether the last look was so long ago.
    pub(super) fn is_due(&self, now: Timestamp, interval: Duration) -> bool {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        self.all.last().is_none_or(|last| now.as_millisecond() - last.at.as_millisecond() >= interval)
    }

    /// Remembers one more.
    pub(super) fn push(&mut self, look: Look) {
        if self.all.len() >= MOST {
            self.all.drain(..=self.all.len() - MOST);
        }
        self.all.push(look);
    }

    /// The same looks, but for what this changes.
    #[cfg(test)]
    pub(crate) fn altered(&self, change: impl Fn(&Look) -> Look) -> Self {
        Self { question: self.question, all: self.all.iter().map(change).collect() }
    }

    /// All of them, oldest first.
    pub fn all(&self) -> &[Look] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn look(second: i64) -> Look {
        Look { at: at(second), canary: 1.0, stable: None }
    }

    fn looks(seconds: impl IntoIterator<Item = i64>) -> Looks {
        let mut looks = Looks { question: 7, all: Vec::new() };
        seconds.into_iter().for_each(|second| looks.push(look(second)));
        looks
    }

    #[test]
    fn another_question_or_another_time_is_not_remembered() {
        let known = looks([10, 20, 30]);
        let kept = |question, since, now| Looks::of(question, Some(&known), at(since), at(now)).all.len();
        assert_eq!((kept(7, 10, 30), kept(7, 11, 30), kept(7, 10, 29), kept(8, 10, 30)), (3, 2, 2, 0));
        assert!(Looks::of(7, None, at(0), at(1)).all().is_empty());
    }

    #[test]
    fn looks_are_an_interval_apart() {
        let due = |looks: Looks, now| looks.is_due(at(now), Duration::seconds(10));
        assert!(due(looks([]), 0));
        assert!(!due(looks([10]), 19) && due(looks([10]), 20) && due(looks([0, 10]), 20));
    }

    #[test]
    fn a_thousand_are_remembered_and_no_more() {
        let looks = looks(0..1_500);
        assert_eq!((looks.all().len(), looks.all()[0].at, looks.all()[999].at), (1_000, at(500), at(1_499)));
    }
}
