//! Verdicts over points in time, as Argo Rollouts counts them.
use crate::vocab::Verdict;

/// What one point says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// It was good.
    Good,
    /// It failed.
    Bad,
    /// It was neither.
    Open,
}

/// How points are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// So many failed points are forgiven: with 0 the first one fails the canary, with 3 the fourth.
    pub failures: u32,
    /// So many failed points in a row fail the canary, however many are forgiven; 0 for no such rule.
    pub in_a_row: u32,
    /// So many points that were neither are forgiven.
    pub open: u32,
    /// So many points are judged, no less for a Pass and no more at all; without it one is enough, and all are.
    pub most: Option<u32>,
}

/// Bounds of a number. Without `max` and `min` everything is good.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowed {
    /// A number above this has failed.
    pub max: Option<f64>,
    /// A number below this has failed.
    pub min: Option<f64>,
}

impl Allowed {
    /// What a number says; one that is not finite says nothing.
    pub fn point(&self, number: f64) -> Option<Point> {
        let is_out = self.max.is_some_and(|max| number > max) || self.min.is_some_and(|min| number < min);
        number.is_finite().then_some(if is_out { Point::Bad } else { Point::Good })
    }
}

/// What the points say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Fail when more points failed than are forgiven. Else Continue while too few were judged, or more were neither good
    /// nor bad than are forgiven; else Pass. Unknown when no point could be judged.
    pub verdict: Verdict,
    /// Points judged.
    pub judged: u32,
    /// Points that failed.
    pub failures: u32,
    /// Points that were neither.
    pub open: u32,
    /// Whether no more points will be judged.
    pub finished: bool,
}

/// Counts points, oldest first.
pub fn judge(points: impl IntoIterator<Item = Point>, counting: &Counting) -> Kept {
    let mut kept = Kept { verdict: Verdict::Unknown, judged: 0, failures: 0, open: 0, finished: false };
    let (mut row, mut longest) = (0_u32, 0_u32);
    let most = counting.most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    for point in points.into_iter().take(most) {
        kept.judged = kept.judged.saturating_add(1);
        match point {
            Point::Bad => {
                kept.failures = kept.failures.saturating_add(1);
                row = row.saturating_add(1);
                longest = longest.max(row);
            }
            Point::Good => row = 0,
            Point::Open => {
                kept.open = kept.open.saturating_add(1);
                row = 0;
            }
        }
    }
    kept.finished = counting.most.is_some_and(|most| kept.judged >= most);
    kept.verdict = if kept.judged == 0 {
        Verdict::Unknown
    } else if kept.failures > counting.failures || (counting.in_a_row > 0 && longest >= counting.in_a_row) {
        Verdict::Fail
    } else if kept.judged < counting.most.unwrap_or(1) || kept.open > counting.open {
        Verdict::Continue
    } else {
        Verdict::Pass
    };
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Continue, Fail, Pass, Unknown};

    fn verdict(numbers: &[f64], counting: Counting) -> Verdict {
        let allowed = Allowed { max: Some(1.0), min: Some(0.0) };
        judge(numbers.iter().filter_map(|number| allowed.point(*number)), &counting).verdict
    }

    fn forgiving(failures: u32) -> Counting {
        Counting { failures, ..Counting::default() }
    }

    #[test]
    fn a_failure_limit_of_0_means_the_first_failure_fails() {
        assert_eq!(verdict(&[0.5, 1.0, 0.0], forgiving(0)), Pass, "on the limit is within it");
        assert_eq!(verdict(&[0.5, 1.1], forgiving(0)), Fail);
        assert_eq!(verdict(&[0.5, -0.1], forgiving(0)), Fail);
    }

    #[test]
    fn a_failure_limit_of_3_forgives_3_failures_anywhere() {
        assert_eq!(verdict(&[2.0, 0.5, 2.0, 0.5, 2.0], forgiving(3)), Pass);
        assert_eq!(verdict(&[2.0, 0.5, 2.0, 0.5, 2.0, 2.0], forgiving(3)), Fail);
    }

    #[test]
    fn failures_in_a_row_fail_before_they_are_too_many() {
        let counting = Counting { failures: 100, in_a_row: 3, ..Counting::default() };
        assert_eq!(verdict(&[2.0, 2.0, 0.5, 2.0, 2.0], counting), Pass);
        assert_eq!(verdict(&[0.5, 2.0, 2.0, 2.0, 0.5], counting), Fail, "and a failure stays");
    }

    #[test]
    fn a_pass_takes_enough_points_and_few_open_ones() {
        let counting = Counting { most: Some(3), open: 1, ..Counting::default() };
        assert_eq!(verdict(&[0.5, 0.5], counting), Continue);
        assert_eq!(verdict(&[0.5, 0.5, 0.5], counting), Pass);
        let open = |points: &[Point]| judge(points.iter().copied(), &counting).verdict;
        assert_eq!(open(&[Point::Good, Point::Open, Point::Good]), Pass);
        assert_eq!(open(&[Point::Good, Point::Open, Point::Open]), Continue);
        assert_eq!(open(&[Point::Bad, Point::Open, Point::Open]), Fail);
    }

    #[test]
    fn what_comes_after_the_last_point_that_counts_changes_nothing() {
        let counting = Counting { most: Some(2), ..Counting::default() };
        assert_eq!(verdict(&[0.5, 0.5, 2.0, 2.0], counting), Pass);
        assert_eq!(verdict(&[0.5, 2.0, 0.5], counting), Fail);
        let finished = |points: usize| judge(std::iter::repeat_n(Point::Good, points), &counting).finished;
        assert_eq!([1, 2, 3].map(finished), [false, true, true]);
    }

    #[test]
    fn what_is_no_number_is_neither_good_nor_bad() {
        assert_eq!(verdict(&[], forgiving(0)), Unknown);
        assert_eq!(verdict(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY], forgiving(0)), Unknown);
        let allowed = Allowed { max: Some(1.0), min: None };
        let kept = judge([f64::NAN, 0.5, 7.0].into_iter().filter_map(|it| allowed.point(it)), &forgiving(0));
        assert_eq!(kept, Kept { verdict: Fail, judged: 2, failures: 1, open: 0, finished: false });
    }
}
