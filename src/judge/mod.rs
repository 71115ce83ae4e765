//! The judge: numbers in, verdict and evidence out. It reads no clock, asks nobody and remembers nothing.
//!
//! Deliberately absent so far: tempering for errors that come in bursts (over-dispersion), the test that bets on shares
//! of errors instead of single errors, the test for bounded means such as evaluation scores, and conditions written as
//! expressions. Until the first two are here, errors that come in bursts make a false alarm more likely than promised.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod compare;
pub mod threshold;

pub use compare::{Edge, Judgement};

/// How much worse than stable is too much, and how sure the judge is before it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sensitivity {
    /// Half as many errors again are tolerated: odds up to 1.5 times stable's.
    Low,
    /// A quarter more errors are tolerated: odds up to 1.25 times stable's.
    #[default]
    Normal,
    /// Nothing is tolerated that is proven to be worse than stable.
    High,
}

impl Sensitivity {
    /// The numbers behind the word.
    pub const fn margins(self) -> Margins {
        let tolerated = match self {
            Self::Low => 1.5,
            Self::Normal => 1.25,
            Self::High => 1.0,
        };
        Margins { tolerated, alpha: 0.01, excluded: 2.0, beta: 0.05 }
    }
}

/// Margins and error probabilities of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margins {
    /// psi0: the odds ratio of canary to stable up to which a canary is never failed but by bad luck.
    pub tolerated: f64,
    /// The greatest probability that a canary within `tolerated` is ever failed, however often one looks.
    pub alpha: f64,
    /// The odds ratio that a passed canary is proven to stay under.
    pub excluded: f64,
    /// The greatest probability that a canary at or above `excluded` is ever passed, however often one looks.
    pub beta: f64,
}

/// What one arm did in some span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub n: u64,
    /// Those of them that went wrong: errors, or requests slower than an edge. More than `n` are read as `n`.
    pub x: u64,
}

impl Counts {
    /// Both, with the bad ones cut to what there is.
    pub fn new(n: u64, x: u64) -> Self {
        Self { n, x: x.min(n) }
    }

    /// The share of bad ones, from 0 to 1; nothing without requests.
    pub fn share(self) -> Option<f64> {
        (self.n > 0).then(|| real(self.x.min(self.n)) / real(self.n))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.n = self.n.saturating_add(other.n);
        self.x = self.x.saturating_add(other.x.min(other.n));
    }
}

/// What both arms did in the same span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// The canary's side.
    pub canary: Counts,
    /// Stable's side.
    pub stable: Counts,
}

/// A count as a real number. Counts above 2^53 lose their last digits, which no test here would notice.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 requests")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// A share as people read it: "0 %", "0.52 %", "12 %".
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = match percent {
        p if p <= 0.0 || p >= 99.95 => 0,
        p if p < 0.1 => 3,
        p if p < 1.0 => 2,
        p if p < 10.0 => 1,
        _ => 0,
    };
    let text = format!("{percent:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// A whole number as people read it: "4,000".
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let shares = [0.0, 0.000_04, 0.000_5, 0.005_2, 0.01, 0.052, 0.5, 1.0];
        let texts = ["0 %", "0.004 %", "0.05 %", "0.52 %", "1 %", "5.2 %", "50 %", "100 %"];
        assert_eq!(shares.map(percent), texts);
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn more_errors_than_requests_are_cut_to_the_requests() {
        assert_eq!(Counts::new(3, 5), Counts { n: 3, x: 3 });
        assert_eq!(Counts { n: 2, x: 7 }.share(), Some(1.0));
        assert_eq!(Counts::default().share(), None);
    }
}
