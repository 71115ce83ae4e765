//! The judge: numbers in, verdict and evidence out. It reads no clock, asks nobody and remembers nothing.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod bursts;
pub mod compare;
pub mod means;
mod odds;
mod power;
pub mod range;
mod shares;
pub mod threshold;
pub mod together;
#[cfg(test)]
mod traces;

pub use bursts::{Bursts, ENOUGH};
pub use compare::{Edge, Judgement, Rules};
pub use means::{ScoreJudgement, ScoreMargins, Scores};
pub use power::Traffic;

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
        Margins { tolerated, alpha: 0.01, excluded: 2.0, beta: 0.05, floor: compare::FLOOR, ceiling: None }
    }
}

/// Margins in numbers, for those who know. What is left out follows from `sensitivity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnMargins {
    /// So many times stable's odds of an error are tolerated, from 1 to 10: a canary up to here is failed by bad luck alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub tolerated: Option<f64>,
    /// The greatest probability that a release within `tolerated` is aborted by its comparisons, all of them together and
    /// however often one looks, from 0.000001 to 0.2. Default 0.01. A release that is judged for longer than a day has it in
    /// each half day anew, for older samples are let go. Each has a part of it by its `weight`; those with `dryRun`
    /// abort nothing and have none. A release is also aborted when several metrics together are this sure that it is worse,
    /// although none of them is sure enough by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 0.2))]
    pub false_abort: Option<f64>,
    /// A canary that passed is proven to stay under so many times stable's odds, more than `tolerated` and at most 100.
    /// Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub excluded: Option<f64>,
    /// The greatest probability that a canary at or beyond `excluded` ever passes, from 0.000001 to 0.5. Default 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 0.5))]
    pub false_pass: Option<f64>,
    /// Errors on less than this share of the canary's requests never fail it by comparison and let it pass, whatever stable
    /// does, from 0.000001 to 0.5. Latency and scores have no such share. Default 0.001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 0.5))]
    pub floor: Option<f64>,
    /// A comparison of errors also fails when more than this share of the canary's requests are proven to go wrong, whatever
    /// stable does: in an incident of both, and where stable gets no requests. It is more than `floor` and at most 0.999999;
    /// there is none unless one is given. With one, being worse than stable and being above the ceiling have half each of what
    /// the comparison may be wrong. Stable's counters must be there, though they need not rise: without them nothing is
    /// judged. Latency and scores have no such share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 0.999_999))]
    pub ceiling: Option<f64>,
    /// The mean number of errors of one cause, from 1 (they come one by one) to 1000, instead of what stable's past hour
    /// shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub bursts: Option<f64>,
}

impl OwnMargins {
    /// The margins that result, in place of these.
    pub fn over(&self, margins: Margins) -> Margins {
        Margins {
            tolerated: self.tolerated.unwrap_or(margins.tolerated),
            alpha: self.false_abort.unwrap_or(margins.alpha),
            excluded: self.excluded.unwrap_or(margins.excluded),
            beta: self.false_pass.unwrap_or(margins.beta),
            floor: self.floor.unwrap_or(margins.floor),
            ceiling: self.ceiling.or(margins.ceiling),
        }
    }

    /// What cannot be carried out: the field, and what to write.
    pub fn complaint(&self, margins: Margins) -> Option<(&'static str, &'static str)> {
        let all = self.over(margins);
        let within = |value: f64, low: f64, high: f64| value >= low && value <= high;
        if !within(all.tolerated, 1.0, 10.0) {
            return Some(("tolerated", "write a number from 1 to 10"));
        }
        if !within(all.alpha, 1e-6, 0.2) {
            return Some(("falseAbort", "write a probability from 0.000001 to 0.2"));
        }
        if !within(all.beta, 1e-6, 0.5) {
            return Some(("falsePass", "write a probability from 0.000001 to 0.5"));
        }
        if !within(all.floor, 1e-6, 0.5) {
            return Some(("floor", "write a share of requests from 0.000001 to 0.5"));
        }
        if all.ceiling.is_some_and(|ceiling| !(ceiling > all.floor && ceiling <= 0.999_999)) {
            return Some((
                "ceiling",
                "write a share of requests above floor, which is 0.001 unless given, and at most 0.999999",
            ));
        }
        if !(all.excluded > all.tolerated && all.excluded <= 100.0) {
            return Some((
                "excluded",
                "write a number above tolerated, which is 1.5 with sensitivity Low, 1.25 with Normal and 1 with High, and at most 100",
            ));
        }
        (!within(self.bursts.unwrap_or(1.0), 1.0, 1_000.0)).then_some(("bursts", "write a number from 1 to 1000"))
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
    /// The share of the canary's requests below which errors never fail it.
    pub floor: f64,
    /// The share of the canary's requests above which errors fail it, whatever stable does; it is above the floor.
    pub ceiling: Option<f64>,
}

impl Margins {
    /// In how many ways error rates can fail: by the comparison, and by the ceiling if there is one. Each may be wrong with
    /// an equal part of `alpha`.
    fn ways(&self) -> f64 {
        if self.ceiling.is_some() { 2.0 } else { 1.0 }
    }
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

/// A length of time in the unit that people would use.
pub(crate) fn length(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3_600.0),
    }
}

/// The logarithm of the mean of what these are logarithms of; 0, no evidence, of none.
pub(crate) fn ln_mean(ln: impl Iterator<Item = f64> + Clone) -> f64 {
    let greatest = ln.clone().fold(f64::NEG_INFINITY, f64::max);
    if greatest == f64::NEG_INFINITY {
        return 0.0;
    }
    let (sum, count) = ln.fold((0.0, 0.0), |(sum, count), l| (sum + (l - greatest).exp(), count + 1.0));
    greatest + f64::ln(sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interval of the canary's requests and bad ones, and stable's.
    pub(super) fn interval((n_c, x_c, n_s, x_s): (u64, u64, u64, u64)) -> Interval {
        Interval { canary: Counts::new(n_c, x_c), stable: Counts::new(n_s, x_s) }
    }

    /// A canary that gets worse as time goes by.
    pub(super) const LATE: [(u64, u64, u64, u64); 7] = [
        (25, 1, 475, 2),
        (30, 0, 470, 4),
        (22, 2, 480, 0),
        (0, 0, 500, 3),
        (28, 4, 460, 3),
        (24, 0, 476, 0),
        (26, 5, 474, 2),
    ];

    #[test]
    fn numbers_are_written_for_people() {
        let shares = [0.0, 0.000_04, 0.000_5, 0.005_2, 0.01, 0.052, 0.5, 1.0];
        let texts = ["0 %", "0.004 %", "0.05 %", "0.52 %", "1 %", "5.2 %", "50 %", "100 %"];
        assert_eq!(shares.map(percent), texts);
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn margins_that_cannot_be_kept_are_refused_by_name_and_the_rest_follows_from_sensitivity() {
        let own = OwnMargins::default();
        for (wrong, field) in [
            (OwnMargins { tolerated: Some(0.99), ..own }, "tolerated"),
            (OwnMargins { tolerated: Some(10.1), excluded: Some(50.0), ..own }, "tolerated"),
            (OwnMargins { tolerated: Some(f64::NAN), ..own }, "tolerated"),
            (OwnMargins { false_abort: Some(0.0), ..own }, "falseAbort"),
            (OwnMargins { false_abort: Some(0.21), ..own }, "falseAbort"),
            (OwnMargins { false_pass: Some(0.0), ..own }, "falsePass"),
            (OwnMargins { false_pass: Some(0.51), ..own }, "falsePass"),
            (OwnMargins { excluded: Some(1.25), ..own }, "excluded"),
            (OwnMargins { tolerated: Some(2.0), ..own }, "excluded"),
            (OwnMargins { excluded: Some(101.0), ..own }, "excluded"),
            (OwnMargins { excluded: Some(f64::INFINITY), ..own }, "excluded"),
            (OwnMargins { floor: Some(0.0), ..own }, "floor"),
            (OwnMargins { floor: Some(0.6), ..own }, "floor"),
            (OwnMargins { floor: Some(f64::NAN), ..own }, "floor"),
            (OwnMargins { ceiling: Some(0.0), ..own }, "ceiling"),
            (OwnMargins { ceiling: Some(compare::FLOOR), ..own }, "ceiling"),
            (OwnMargins { ceiling: Some(0.05), floor: Some(0.06), ..own }, "ceiling"),
            (OwnMargins { ceiling: Some(1.0), ..own }, "ceiling"),
            (OwnMargins { ceiling: Some(f64::NAN), ..own }, "ceiling"),
            (OwnMargins { bursts: Some(0.9), ..own }, "bursts"),
            (OwnMargins { bursts: Some(1_001.0), ..own }, "bursts"),
        ] {
            let complaint = wrong.complaint(Sensitivity::Normal.margins());
            assert!(complaint.is_some_and(|(name, cure)| name == field && cure.starts_with("write ")), "{wrong:?}");
        }
        // Within what Normal tolerates, and beyond what High does.
        let near = OwnMargins { excluded: Some(1.2), ..own };
        let of = |sensitivity: Sensitivity| near.complaint(sensitivity.margins()).map(|(field, _)| field);
        assert_eq!([Sensitivity::High, Sensitivity::Normal].map(of), [None, Some("excluded")]);
        let all = [Some(10.0), Some(0.2), Some(100.0), Some(0.5), Some(1_000.0)];
        let [tolerated, false_abort, excluded, false_pass, bursts] = all;
        let [floor, ceiling] = [Some(0.5), Some(0.999_999)];
        let most = OwnMargins { tolerated, false_abort, excluded, false_pass, floor, ceiling, bursts };
        assert_eq!(most.complaint(Sensitivity::Normal.margins()), None);
        assert_eq!(
            near.over(Sensitivity::High.margins()),
            Margins { tolerated: 1.0, alpha: 0.01, excluded: 1.2, beta: 0.05, floor: compare::FLOOR, ceiling: None }
        );
        let least = OwnMargins { floor: Some(0.000_1), ceiling: Some(0.000_2), ..own };
        assert_eq!(least.complaint(Sensitivity::Normal.margins()), None);
        assert_eq!(least.over(Sensitivity::Normal.margins()).ceiling, Some(0.000_2));
    }

    #[test]
    fn more_errors_than_requests_are_cut_to_the_requests() {
        assert_eq!(Counts::new(3, 5), Counts { n: 3, x: 3 });
        assert_eq!(Counts { n: 2, x: 7 }.share(), Some(1.0));
        assert_eq!(Counts::default().share(), None);
    }
}
