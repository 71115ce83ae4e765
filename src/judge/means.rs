//! The test for means of numbers between 0 and 1, such as the scores of a model evaluation.
//!
//! By Fan, Grama and Liu (2015), `E exp(l (y - mu) - psi(l) (y - guess)^2) <= 1` for any guess that the past alone has
//! made and `psi(l) = -ln(1 - l) - l`. A factor of the canary with `l` and one of stable with `l n_c / n_s` are multiplied, so
//! that the mean which both have in common, and which may drift, cancels out exactly.
use super::{ln_mean, real};
use crate::vocab::Verdict;

/// The stakes, weighed alike.
const STAKES: [f64; 7] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7];

/// What one arm scored in some span of time: how often, and the sums of the scores and of their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// How many.
    pub n: f64,
    /// Their sum, from 0 to `n`.
    pub sum: f64,
    /// The sum of their squares; `sum` where it is not known, which is never less.
    pub squares: f64,
}

impl Scores {
    /// Their mean; nothing without scores.
    pub fn mean(self) -> Option<f64> {
        (self.n > 0.0).then(|| self.sum / self.n)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// The sum of the squared distances from a guess.
    fn spread(self, guess: f64) -> f64 {
        (self.squares - 2.0 * guess * self.sum + self.n * guess * guess).max(0.0)
    }
}

/// Which way the canary's mean is said to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is more than stable's and `by`.
    More,
    /// It is less than stable's less `by`.
    Less,
}

/// Evidence that the canary's mean differs from stable's by more than `by`, against the hypothesis that it never does.
#[derive(Clone, Debug)]
pub(super) struct Means {
    way: Way,
    by: f64,
    stakes: [f64; 7],
    canary: Scores,
    stable: Scores,
}

impl Means {
    pub fn new(way: Way, by: f64) -> Self {
        Self { way, by, stakes: [0.0; 7], canary: Scores::default(), stable: Scores::default() }
    }

    /// What both arms scored in one interval. Without scores of both there is nothing to learn from it.
    pub fn add(&mut self, canary: Scores, stable: Scores) {
        let of_stable = self.stable.mean().unwrap_or(0.5);
        let of_canary = self.canary.mean().unwrap_or(of_stable);
        if let (Some(mean_c), Some(mean_s)) = (canary.mean(), stable.mean()) {
            let difference = match self.way {
                Way::More => mean_c - mean_s,
                Way::Less => mean_s - mean_c,
            } - self.by;
            let (spread_c, spread_s) = (canary.spread(of_canary), stable.spread(of_stable));
            let pays = paid((canary.n, spread_c), (stable.n, spread_s), difference);
            for (l, paid) in self.stakes.iter_mut().zip(pays) {
                *l += paid;
            }
        }
        self.canary.add(canary);
        self.stable.add(stable);
    }

    /// The evidence's logarithm.
    pub fn ln(&self) -> f64 {
        ln_mean(self.stakes.iter().copied())
    }
}

/// What each stake is paid, given how many scores of the canary and of stable there were and their spreads, when the
/// canary's mean differs by so much more than the hypothesis allows.
fn paid((canary, spread_c): (f64, f64), (stable, spread_s): (f64, f64), difference: f64) -> [f64; STAKES.len()] {
    STAKES.map(|stake| {
        // Both arms' stakes have to stay below 1.
        let stake = stake * (stable / canary).min(1.0);
        stake * canary * difference - psi(stake) * spread_c - psi(stake * canary / stable) * spread_s
    })
}

fn psi(stake: f64) -> f64 {
    -(-stake).ln_1p() - stake
}

/// How far a canary's mean score may be from stable's, and how sure to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreMargins {
    /// A canary whose mean is worse by this much at most is never failed but by bad luck, with scores from 0 to 1.
    pub tolerated: f64,
    /// A passed canary is proven to be worse by less than this.
    pub excluded: f64,
    /// The greatest probability that a canary within `tolerated` is ever failed.
    pub alpha: f64,
    /// The greatest probability that a canary at or beyond `excluded` is ever passed.
    pub beta: f64,
    /// Whether a lower score is the better one.
    pub lower_is_better: bool,
}

/// How many scores of the canary it probably takes until it passes, if it is as good as stable: for people, never for a
/// verdict. It follows from how far the scores of both have been from their means, and from how many each had.
pub fn scores_to_pass(canary: Scores, stable: Scores, margins: &ScoreMargins) -> Option<f64> {
    let known = |scores: Scores| Some((scores.n, scores.spread(scores.mean()?)));
    let most = paid(known(canary)?, known(stable)?, margins.excluded).into_iter().fold(0.0, f64::max);
    // The stakes share the start between them, and the best of them has to make up for all.
    let needed = real(STAKES.len() as u64).ln() - margins.beta.ln();
    (most > 0.0).then_some(needed / most * canary.n)
}

/// What a comparison of scores says.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreJudgement {
    /// Fail and Pass are proven, Continue is not, Unknown: there was no interval in which both arms had scores.
    pub verdict: Verdict,
    /// Natural logarithm of the greatest evidence so far that the canary is worse.
    pub ln_m: f64,
    /// Natural logarithm of the present evidence that the canary is worse.
    pub ln_now: f64,
    /// Natural logarithm of the present evidence that the canary is good enough.
    pub ln_pass: f64,
    /// What the canary scored.
    pub canary: Scores,
    /// What stable scored.
    pub stable: Scores,
}

/// Compares the means of scores between 0 and 1. Every pair is what the canary and stable scored in one interval.
///
/// Fails when the canary's mean is proven to be worse by more than `tolerated`; a failure stays. Passes while it is proven
/// that it is worse by less than `excluded`.
pub fn scores(intervals: &[(Scores, Scores)], margins: &ScoreMargins) -> ScoreJudgement {
    let (worse, better) = if margins.lower_is_better { (Way::More, Way::Less) } else { (Way::Less, Way::More) };
    let (mut harm, mut safe) = (Means::new(worse, margins.tolerated), Means::new(better, -margins.excluded));
    let (mut canary, mut stable) = (Scores::default(), Scores::default());
    let (mut ln_m, mut paired) = (0.0_f64, false);
    for (of_canary, of_stable) in intervals {
        harm.add(*of_canary, *of_stable);
        safe.add(*of_canary, *of_stable);
        canary.add(*of_canary);
        stable.add(*of_stable);
        paired |= of_canary.n > 0.0 && of_stable.n > 0.0;
        ln_m = ln_m.max(harm.ln());
    }
    let (ln_now, ln_pass) = (harm.ln(), safe.ln());
    let verdict = if !paired {
        Verdict::Unknown
    } else if ln_m >= -margins.alpha.ln() {
        Verdict::Fail
    } else if ln_pass >= -margins.beta.ln() {
        Verdict::Pass
    } else {
        Verdict::Continue
    };
    ScoreJudgement { verdict, ln_m, ln_now, ln_pass, canary, stable }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that can happen, each with its probability.
    type Law = Vec<(f64, f64)>;

    fn mean(law: &Law) -> f64 {
        law.iter().map(|(score, probability)| score * probability).sum()
    }

    /// Every outcome of so many scores, with its probability.
    fn outcomes(law: &Law, n: u32) -> Vec<(Scores, f64)> {
        let mut all = vec![(Scores::default(), 1.0)];
        for _ in 0..n {
            let one_more = |(seen, so_far): &(Scores, f64)| -> Vec<_> {
                let next = |(score, probability): &(f64, f64)| {
                    let mut seen = *seen;
                    seen.add(Scores { n: 1.0, sum: *score, squares: score * score });
                    (seen, so_far * probability)
                };
                law.iter().map(next).collect()
            };
            all = all.iter().flat_map(one_more).collect();
        }
        all
    }

    /// Distributions on one, two and three points with this mean.
    fn laws(mean: f64) -> [Law; 4] {
        let off = mean.min(1.0 - mean) / 2.0;
        [
            vec![(mean, 1.0)],
            vec![(0.0, 1.0 - mean), (1.0, mean)],
            vec![(mean - off, 0.5), (mean + off, 0.5)],
            vec![(0.0, 0.3 * (1.0 - mean)), (mean, 0.7), (1.0, 0.3 * mean)],
        ]
    }

    /// The means of the factors of one interval with so many scores of each arm.
    fn means(test: &Means, of_canary: (&Law, u32), of_stable: (&Law, u32)) -> [f64; 7] {
        let stable = outcomes(of_stable.0, of_stable.1);
        let mut means = [0.0; 7];
        for (seen, probability) in outcomes(of_canary.0, of_canary.1) {
            for (other, other_probability) in &stable {
                let mut after = test.clone();
                after.add(seen, *other);
                for (mean, (now, before)) in means.iter_mut().zip(after.stakes.into_iter().zip(test.stakes)) {
                    *mean += probability * other_probability * (now - before).exp();
                }
            }
        }
        means
    }

    /// A test whose guesses are these, by what one arm scored while the other did not.
    fn guessing(way: Way, by: f64, guesses: Option<(f64, f64)>) -> Means {
        let mut test = Means::new(way, by);
        if let Some((of_canary, of_stable)) = guesses {
            let scored = |mean: f64| Scores { n: 5.0, sum: 5.0 * mean, squares: 5.0 * mean * mean };
            test.add(scored(of_canary), Scores::default());
            test.add(Scores::default(), scored(of_stable));
        }
        assert!(test.ln().abs() < 1e-12, "one arm alone is no evidence");
        test
    }

    #[test]
    fn no_factor_has_a_mean_above_1_under_its_hypothesis() {
        let mut greatest = 0.0_f64;
        for by in [0.02, 0.0, -0.05] {
            for (way, of_stable) in [(Way::More, 0.8), (Way::More, 0.3), (Way::Less, 0.8), (Way::Less, 0.3)] {
                let of_canary = if way == Way::More { of_stable + by } else { of_stable - by };
                for guesses in [None, Some((of_canary, of_stable)), Some((0.1, 0.9)), Some((1.0, 0.0))] {
                    let test = guessing(way, by, guesses);
                    for canary in &laws(of_canary) {
                        for stable in &laws(of_stable) {
                            assert!((mean(canary) - of_canary).abs() + (mean(stable) - of_stable).abs() < 1e-12);
                            for (n_c, n_s) in [(1, 1), (1, 3), (2, 2), (3, 1)] {
                                let factors = means(&test, (canary, n_c), (stable, n_s));
                                greatest = factors.into_iter().fold(greatest, f64::max);
                            }
                        }
                    }
                }
            }
        }
        assert!(greatest <= 1.0 + 1e-12, "{greatest}");
        assert!(greatest > 0.999, "on the edge of the hypothesis hardly anything is given away: {greatest}");
    }

    #[test]
    fn a_difference_beyond_the_margin_pays() {
        let test = guessing(Way::Less, 0.02, Some((0.5, 0.8)));
        let factors = means(&test, (&laws(0.5)[2], 2), (&laws(0.8)[2], 3));
        assert!(factors.into_iter().fold(0.0, f64::max) > 1.02, "{factors:?}");
    }

    fn scored(n: u32, mean: f64) -> Scores {
        let n = f64::from(n);
        Scores { n, sum: n * mean, squares: n * (mean * mean + 0.02) }
    }

    const SCORES: ScoreMargins =
        ScoreMargins { tolerated: 0.02, excluded: 0.05, alpha: 0.01, beta: 0.05, lower_is_better: false };

    #[test]
    fn a_drop_of_scores_beyond_the_margin_fails_and_one_within_it_passes() {
        let judge = |canary, times| scores(&vec![(scored(60, canary), scored(240, 0.8)); times], &SCORES).verdict;
        assert_eq!(judge(0.70, 10), Verdict::Fail);
        assert_eq!(judge(0.79, 30), Verdict::Pass);
        assert_eq!(judge(0.79, 1), Verdict::Continue);
        assert_eq!(judge(0.90, 30), Verdict::Pass, "better is no harm");
        assert_eq!(scores(&[(scored(0, 0.0), scored(9, 0.5))], &SCORES).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_pass_comes_about_when_it_is_expected() {
        let exact = |of_20: u32| Scores { n: 20.0, sum: f64::from(of_20), squares: f64::from(of_20) };
        for (canary, stable) in
            [(scored(20, 0.8), scored(80, 0.8)), (scored(20, 0.8), scored(20, 0.8)), (exact(18), exact(18))]
        {
            let looks = (1..1_000).map(|times| scores(&vec![(canary, stable); times], &SCORES));
            let passed = looks.into_iter().find(|look| look.verdict == Verdict::Pass).unwrap().canary;
            let expected = scores_to_pass(canary, stable, &SCORES).unwrap();
            let off = passed.n / expected;
            assert!((0.7..1.4).contains(&off), "{expected} were expected, and it took {}", passed.n);
        }
        assert_eq!(scores_to_pass(Scores::default(), scored(9, 0.5), &SCORES), None);
        assert_eq!(scores_to_pass(scored(9, 0.5), Scores::default(), &SCORES), None);
    }

    #[test]
    fn where_less_is_better_more_is_worse() {
        let margins = ScoreMargins { lower_is_better: true, ..SCORES };
        let judge = |canary| scores(&[(scored(60, canary), scored(240, 0.5)); 30], &margins).verdict;
        assert_eq!((judge(0.6), judge(0.4)), (Verdict::Fail, Verdict::Pass));
    }

    #[test]
    fn a_failure_by_scores_stays() {
        let mut seen = vec![(scored(60, 0.6), scored(240, 0.8)); 10];
        seen.extend([(scored(600, 0.9), scored(240, 0.8)); 50]);
        assert_eq!(scores(&seen, &SCORES).verdict, Verdict::Fail);
    }
}
