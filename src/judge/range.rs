//! Between which numbers the truth lies, for people to read: whatever the judge's own tests do not refute.
//!
//! A number is refuted once the evidence that the truth is above it, or that it is below, exceeds `2 / 0.05`. What is left
//! is a confidence sequence: the truth is outside of it with a probability of 5 % at most, however often one looks. It
//! decides nothing.
use super::{
    Bursts, Interval, Margins, Rules, Sensitivity,
    compare::{Better, Worse},
    means::{Means, Scores, Way},
};

/// One in so many is 5 %, half of it on each side.
const SURE: f64 = 40.0;

/// The ratios that are tried, ten to each decade.
const RATIOS: [f64; 25] = [
    0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3,
    8.0, 10.0, 13.0, 16.0,
];

/// The differences of means that are tried, as shares of the greatest score.
const DIFFERENCES: [f64; 27] = [
    -0.5, -0.4, -0.3, -0.2, -0.15, -0.1, -0.08, -0.06, -0.05, -0.04, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04,
    0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
];

/// What is not refuted. An end that is missing could not be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The truth is more than this.
    pub low: Option<f64>,
    /// The truth is less than this.
    pub high: Option<f64>,
}

impl Range {
    /// As a ratio: "0.8x to 1.6x".
    pub fn ratio(self) -> String {
        self.words(|times| format!("{times}x"))
    }

    /// As a difference of numbers up to `most`: "0.03 less to 0.01 more".
    pub fn difference(self, most: f64) -> String {
        self.words(|by| {
            let size = (by.abs() * most * 1e4).round() / 1e4;
            format!("{size} {}", if by < 0.0 { "less" } else { "more" })
        })
    }

    fn words(self, end: impl Fn(f64) -> String) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("{} to {}", end(low), end(high)),
            (Some(low), None) => format!("above {}", end(low)),
            (None, high) => format!("below {}", end(high.unwrap_or(f64::INFINITY))),
        }
    }

    /// Among numbers in rising order. Nothing is known where both sides say nothing, or where the truth has moved so far
    /// that each contradicts the other.
    fn among(all: &[f64], is_above: impl Fn(f64) -> bool, is_below: impl Fn(f64) -> bool) -> Option<Self> {
        let low = all.partition_point(|number| is_above(*number)).checked_sub(1).map(|at| all[at]);
        let high = all.get(all.partition_point(|number| !is_below(*number))).copied();
        let is_told = match (low, high) {
            (None, None) => false,
            (Some(low), Some(high)) => low < high,
            _ => true,
        };
        is_told.then_some(Self { low, high })
    }
}

/// How many times stable's the canary's odds of a bad request are, which is shown because it stands out among so many.
pub fn odds(intervals: &[Interval], bursts: Bursts, block: usize, among: u32) -> Option<Range> {
    let sure = (SURE * f64::from(among)).ln();
    let swapped: Vec<_> = intervals.iter().map(|it| Interval { canary: it.stable, stable: it.canary }).collect();
    let rules = |ratio: f64| {
        let margins = Margins { tolerated: ratio, excluded: ratio, ..Sensitivity::Normal.margins() };
        Rules { margins, bursts, block, lasting: false }
    };
    let is_more = |intervals: &[Interval], ratio: f64| {
        let mut test = Worse::new(&rules(ratio));
        for interval in intervals {
            test.add(interval);
        }
        test.ln() >= sure
    };
    let is_less = |intervals: &[Interval], ratio: f64| {
        let mut test = Better::new(&rules(ratio));
        for interval in intervals {
            test.add(interval);
        }
        test.ln() >= sure
    };
    // Both tests hold for ratios of 1 and more. For less the arms change places.
    let is_above = |ratio: f64| if ratio >= 1.0 { is_more(intervals, ratio) } else { is_less(&swapped, 1.0 / ratio) };
    let is_below = |ratio: f64| if ratio >= 1.0 { is_less(intervals, ratio) } else { is_more(&swapped, 1.0 / ratio) };
    Range::among(&RATIOS, is_above, is_below)
}

/// By how much the canary's mean of scores between 0 and 1 is more than stable's.
pub fn difference(intervals: &[(Scores, Scores)]) -> Option<Range> {
    let proves = |way: Way, by: f64| {
        let mut test = Means::new(way, by);
        for (canary, stable) in intervals {
            test.add(*canary, *stable);
        }
        test.ln() >= SURE.ln()
    };
    Range::among(&DIFFERENCES, |by| proves(Way::More, by), |by| proves(Way::Less, -by))
}

#[cfg(test)]
mod tests {
    use super::{super::Counts, *};

    const ONE_BY_ONE: Bursts = Bursts::Known(1.0);

    /// So many intervals of requests, at these rates of errors.
    fn told(seed: u64, count: usize, (n_c, p_c): (u64, f64), (n_s, p_s): (u64, f64)) -> Vec<Interval> {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut arm = |n: u64, p: f64| Counts::new(n, (0..n).filter(|_| dice.f64() < p).count() as u64);
        (0..count).map(|_| Interval { canary: arm(n_c, p_c), stable: arm(n_s, p_s) }).collect()
    }

    #[test]
    fn the_truth_is_outside_in_one_story_of_twenty_at_most_however_often_one_looks() {
        for (bad, stable) in [(0.02, 0.02), (0.06, 0.02), (0.005, 0.02), (0.4, 0.2)] {
            let truth = bad / (1.0 - bad) / (stable / (1.0 - stable));
            let misses = (0..200)
                .filter(|seed| {
                    let intervals = told(*seed, 60, (50, bad), (200, stable));
                    (5..=60).step_by(5).any(|until| {
                        odds(&intervals[..until], ONE_BY_ONE, 1, 1).is_some_and(|range| {
                            range.low.is_some_and(|low| low >= truth) || range.high.is_some_and(|high| high <= truth)
                        })
                    })
                })
                .count();
            assert!(misses <= 16, "odds {truth}: {misses} of 200");
        }
    }

    #[test]
    fn the_range_narrows_around_the_truth() {
        let width = |count: usize| {
            let Range { low, high } = odds(&told(1, count, (100, 0.03), (400, 0.01)), ONE_BY_ONE, 1, 1).unwrap();
            (low.unwrap_or(0.0), high.unwrap_or(f64::INFINITY))
        };
        let (early, late) = (width(10), width(200));
        assert!(early.0 <= late.0 && late.1 <= early.1, "{early:?}, {late:?}");
        assert!(late.0 >= 2.0 && late.1 <= 5.0, "{late:?} is around 3");
        let both = odds(&told(2, 300, (100, 0.01), (100, 0.03)), ONE_BY_ONE, 1, 1).unwrap();
        assert!(both.low.unwrap() >= 0.2 && both.high.unwrap() <= 0.5, "{both:?} is around a third");
    }

    #[test]
    fn nothing_is_said_of_what_has_no_errors_or_has_changed_sides() {
        assert_eq!(odds(&told(1, 100, (100, 0.0), (400, 0.0)), ONE_BY_ONE, 1, 1), None);
        assert_eq!(odds(&[], Bursts::Unseen, 1, 1), None);
        assert_eq!(Range::among(&[1.0, 2.0], |_| true, |_| true), None);
    }

    #[test]
    fn bursts_make_it_wider() {
        let width = |bursts| -> f64 {
            let of = |seed| {
                let range = odds(&told(seed, 40, (100, 0.03), (400, 0.01)), bursts, 1, 1);
                range.map_or(6.0, |it| (it.high.unwrap_or(20.0) / it.low.unwrap_or(0.05)).ln())
            };
            (0..20).map(of).sum()
        };
        let (alone, some) = (width(ONE_BY_ONE), width(Bursts::Known(1.4)));
        assert!(alone < some, "{alone}, {some}");
    }

    #[test]
    fn means_of_scores_are_told_apart_on_both_sides() {
        let scored = |mean: f64, n: f64| Scores { n, sum: n * mean, squares: n * (mean * mean + 0.01) };
        let intervals = vec![(scored(0.7, 20.0), scored(0.8, 80.0)); 200];
        let range = difference(&intervals).unwrap();
        assert!(range.low.unwrap() >= -0.15 && range.low.unwrap() < -0.1 - 1e-9, "{range:?}");
        assert!(range.high.unwrap() <= -0.06 && range.high.unwrap() > -0.1, "{range:?}");
        assert_eq!(difference(&intervals[..1]).and_then(|range| range.low), None);
    }
}
