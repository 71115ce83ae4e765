//! How long a metric has had no usable answer, counted in its own intervals.
use super::{Metric, Outcome, Seen};
use jiff::Timestamp;

/// Intervals in a row in which a metric had no usable answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unanswered {
    row: u32,
    last: Option<Timestamp>,
}

impl Unanswered {
    /// After one look more: several within an interval count as one, and an answer that can be used ends the row, if it
    /// is only that there is nothing.
    #[must_use]
    pub fn after(self, metric: &Metric, seen: &Seen, now: Timestamp) -> Self {
        if !matches!(seen.outcome, Outcome::Unusable | Outcome::Unreachable) {
            return Self::default();
        }
        let is_next = self.last.is_none_or(|last| now.duration_since(last) >= metric.interval.signed());
        if is_next { Self { row: self.row.saturating_add(1), last: Some(now) } } else { self }
    }

    /// How many, if they are more than the metric lets pass.
    pub fn too_many(self, metric: &Metric) -> Option<u32> {
        metric.consecutive_error_limit.filter(|limit| self.row > *limit).map(|_| self.row)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{tests::named, unanswered},
        *,
    };

    #[test]
    fn intervals_without_an_answer_are_counted_and_an_answer_ends_the_row() {
        let metric = Metric { consecutive_error_limit: Some(1), ..named("errors") };
        let look = |row: Unanswered, second, outcome| {
            row.after(&metric, &unanswered(outcome, "why"), Timestamp::from_second(second).unwrap())
        };
        let mut row = Unanswered::default();
        for (second, outcome, too_many) in [
            (0, Outcome::Unreachable, None),
            (4, Outcome::Unreachable, None),
            (10, Outcome::Unusable, Some(2)),
            (12, Outcome::Empty, None),
            (14, Outcome::Unreachable, None),
            (24, Outcome::Unreachable, Some(2)),
            (40, Outcome::Unreachable, Some(3)),
        ] {
            row = look(row, second, outcome);
            assert_eq!(row.too_many(&metric), too_many, "{second}");
        }
        assert_eq!(row.too_many(&named("errors")), None, "who says nothing waits for onUnknown.after");
    }
}
