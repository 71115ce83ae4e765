//! Absolute limits over points in time, as Argo Rollouts counts them.
use crate::vocab::Verdict;

/// What is allowed. Without `max` and `min` everything is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowed {
    /// A point above this has failed.
    pub max: Option<f64>,
    /// A point below this has failed.
    pub min: Option<f64>,
    /// So many failed points are forgiven: with 0 the first one fails the canary, with 3 the fourth.
    pub failures: u32,
}

/// What the points say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Fail when more points failed than are forgiven, else Pass, and Unknown when no point could be judged.
    pub verdict: Verdict,
    /// Points judged. Those that are not finite numbers are not.
    pub judged: u32,
    /// Points that failed.
    pub failures: u32,
}

/// Counts the points that fail, in any order.
pub fn judge(points: impl IntoIterator<Item = f64>, allowed: &Allowed) -> Kept {
    let (mut judged, mut failures) = (0_u32, 0_u32);
    for point in points.into_iter().filter(|point| point.is_finite()) {
        judged = judged.saturating_add(1);
        if allowed.max.is_some_and(|max| point > max) || allowed.min.is_some_and(|min| point < min) {
            failures = failures.saturating_add(1);
        }
    }
    let verdict = match (judged, failures) {
        (0, _) => Verdict::Unknown,
        (_, failures) if failures > allowed.failures => Verdict::Fail,
        _ => Verdict::Pass,
    };
    Kept { verdict, judged, failures }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Fail, Pass, Unknown};

    fn verdict(points: &[f64], failures: u32) -> Verdict {
        judge(points.iter().copied(), &Allowed { max: Some(1.0), min: Some(0.0), failures }).verdict
    }

    #[test]
    fn a_failure_limit_of_0_means_the_first_failure_fails() {
        assert_eq!(verdict(&[0.5, 1.0, 0.0], 0), Pass, "on the limit is within it");
        assert_eq!(verdict(&[0.5, 1.1], 0), Fail);
        assert_eq!(verdict(&[0.5, -0.1], 0), Fail);
    }

    #[test]
    fn a_failure_limit_of_3_forgives_3_failures_anywhere() {
        assert_eq!(verdict(&[2.0, 0.5, 2.0, 0.5, 2.0], 3), Pass);
        assert_eq!(verdict(&[2.0, 0.5, 2.0, 0.5, 2.0, 2.0], 3), Fail);
    }

    #[test]
    fn what_is_no_number_is_neither_good_nor_bad() {
        assert_eq!(verdict(&[], 0), Unknown);
        assert_eq!(verdict(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY], 0), Unknown);
        let kept = judge([f64::NAN, 0.5, 7.0], &Allowed { max: Some(1.0), min: None, failures: 0 });
        assert_eq!(kept, Kept { verdict: Fail, judged: 2, failures: 1 });
    }
}
