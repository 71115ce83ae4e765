//! The test that counts errors one by one: a mixture of likelihood ratios over 24 ratios from 1.25 to 32.
//!
//! Given an interval's totals, the canary's errors follow Fisher's noncentral hypergeometric law. That a factor's mean is
//! at most 1 under its hypothesis follows from Hoeffding (1956) and, for the other direction, from Cornfield's equation;
//! so the mixture is a supermartingale that starts at 1. Raised to a power below 1 (tempered) it stays one.
use super::{Counts, Interval, ln_mean, real};
use std::sync::LazyLock;

/// The number of ratios that a mixture weighs alike.
const RATIOS: usize = 24;

/// Twenty-four likelihood ratios, weighed alike, as logarithms.
#[derive(Clone, Debug)]
pub(super) struct Mixture([f64; RATIOS]);

impl Mixture {
    pub fn new() -> Self {
        Self([0.0; RATIOS])
    }

    /// The mixture's logarithm.
    pub fn ln(&self) -> f64 {
        ln_mean(self.0.iter().copied())
    }

    /// One arm's errors against the hypothesis of these rates.
    pub fn bernoulli(&mut self, counts: Counts, rates: &Rates, tempering: f64) {
        let (bad, good) = (real(counts.x.min(counts.n)), real(counts.n - counts.x.min(counts.n)));
        for (l, (of_bad, of_good)) in self.0.iter_mut().zip(rates.0) {
            *l += tempering * (bad * of_bad + good * of_good);
        }
    }
}

/// The hypothesis that errors hit a certain rate of the requests, against another rate for each ratio: what one request
/// that goes wrong, and one that goes well, adds to the logarithm of each.
#[derive(Clone, Debug)]
pub(super) struct Rates([(f64, f64); RATIOS]);

impl Rates {
    /// `rate` against `other` of each ratio.
    pub fn new(rate: f64, other: impl Fn(f64) -> f64) -> Self {
        Self(GRID.map(|(ratio, _)| ((other(ratio) / rate).ln(), ((1.0 - other(ratio)) / (1.0 - rate)).ln())))
    }

    /// `rate` against so many times it, but at most 99 % of the requests or, where `rate` is near that itself, what leaves half
    /// as many good ones: the other rate must be the greater one.
    pub fn above(rate: f64) -> Self {
        let most = 0.99_f64.max(1.0 - (1.0 - rate) / 2.0);
        Self::new(rate, |ratio| (rate * ratio).min(most))
    }
}

/// Evidence that the odds ratio is above `tolerated`, against the hypothesis that it never is.
#[derive(Clone, Debug)]
pub(super) struct Harm {
    pub mixture: Mixture,
    tolerated: f64,
    tempering: f64,
}

impl Harm {
    pub fn new(tolerated: f64, tempering: f64) -> Self {
        Self { mixture: Mixture::new(), tolerated, tempering }
    }

    /// With `theta(psi) = psi n_c / (psi n_c + n_s)`, each ratio r gains
    /// `x_c ln(theta(psi0 r)/theta(psi0)) + x_s ln((1-theta(psi0 r))/(1-theta(psi0)))`, written so that nothing cancels.
    pub fn add(&mut self, interval: &Interval) {
        let Some(Known { n_c, n_s, x_c, e }) = Known::of(interval) else { return };
        let ln_none = (self.tolerated * n_c + n_s).ln();
        for (l, (ratio, ln_ratio)) in self.mixture.0.iter_mut().zip(GRID.iter()) {
            let gain = x_c * ln_ratio + e * (ln_none - (self.tolerated * ratio * n_c + n_s).ln());
            *l += self.tempering * gain;
        }
    }
}

/// Evidence that the odds ratio is below `excluded`, against the hypothesis that it never is.
#[derive(Clone, Debug)]
pub(super) struct Safe {
    pub mixture: Mixture,
    excluded: f64,
    tempering: f64,
}

impl Safe {
    pub fn new(excluded: f64, tempering: f64) -> Self {
        Self { mixture: Mixture::new(), excluded, tempering }
    }

    /// The mirror image, from the least mean that the hypothesis allows.
    pub fn add(&mut self, interval: &Interval) {
        let Some(known) = Known::of(interval) else { return };
        let (x_c, e, mean) = (known.x_c, known.e, known.least_mean(self.excluded));
        if !(mean > 0.0 && mean < e) {
            return;
        }
        let odds = mean / (e - mean);
        for (l, (ratio, ln_ratio)) in self.mixture.0.iter_mut().zip(GRID.iter()) {
            *l += self.tempering * (e * ((1.0 + odds) / (1.0 + odds / ratio)).ln() - x_c * ln_ratio);
        }
    }
}

/// An interval from which something can be learned: both arms had requests, and something went wrong.
pub(super) struct Known {
    pub n_c: f64,
    pub n_s: f64,
    pub x_c: f64,
    pub e: f64,
}

impl Known {
    pub fn of(interval: &Interval) -> Option<Self> {
        let Interval { canary, stable } = interval;
        let (x_c, x_s) = (real(canary.x.min(canary.n)), real(stable.x.min(stable.n)));
        let known = Self { n_c: real(canary.n), n_s: real(stable.n), x_c, e: x_c + x_s };
        (canary.n > 0 && stable.n > 0 && known.e > 0.0).then_some(known)
    }

    /// The least mean of the canary's errors if the odds ratio is `psi` or more: the smaller root of
    /// `(psi-1) mu^2 - (n_s + psi n_c + (psi-1) e) mu + psi n_c e = 0` (Cornfield).
    pub fn least_mean(&self, psi: f64) -> f64 {
        let (a, c) = (psi - 1.0, psi * self.n_c * self.e);
        let b = self.n_s + psi * self.n_c + a * self.e;
        2.0 * c / (b + (b * b - 4.0 * a * c).max(0.0).sqrt())
    }
}

/// The ratios of the mixture, evenly spaced logarithms from 1.25 to 32, each with its logarithm.
static GRID: LazyLock<[(f64, f64); RATIOS]> = LazyLock::new(|| {
    let (low, high) = (1.25_f64.ln(), 32.0_f64.ln());
    let step = (high - low) / real(RATIOS as u64 - 1);
    std::array::from_fn(|g| {
        let ln = low + real(g as u64) * step;
        (ln.exp(), ln)
    })
});

#[cfg(test)]
mod tests {
    use super::{
        super::{
            compare::FLOOR,
            tests::{LATE, interval},
        },
        *,
    };

    fn choose(n: u64, k: u64) -> f64 {
        (1..=k).map(|i| real(n - k + i) / real(i)).product()
    }

    /// The mean of every ratio's factor when the canary's errors follow Fisher's law with this odds ratio.
    fn means(n_c: u64, n_s: u64, e: u64, odds: f64, gain: impl Fn(&Interval) -> Mixture) -> Vec<f64> {
        let law = |x: u64| choose(n_c, x) * choose(n_s, e - x) * odds.powi(i32::try_from(x).unwrap());
        let outcomes = e.saturating_sub(n_s)..=e.min(n_c);
        let total: f64 = outcomes.clone().map(law).sum();
        let mut means = vec![0.0; RATIOS];
        for x in outcomes {
            let mixture = gain(&interval((n_c, x, n_s, e - x)));
            for (mean, l) in means.iter_mut().zip(mixture.0) {
                *mean += law(x) / total * l.exp();
            }
        }
        means
    }

    #[test]
    fn no_factor_has_a_mean_above_1_under_its_hypothesis() {
        let (mut worst_harm, mut worst_safe) = (0.0_f64, 0.0_f64);
        for (n_c, n_s) in [(5, 20), (8, 8), (3, 40), (20, 5), (25, 475)] {
            for e in [1, 2, 3, 5, 8] {
                for psi in [1.0, 1.25, 1.5, 2.0, 3.0] {
                    for odds in [psi, psi * 0.7] {
                        let gain = |seen: &Interval| {
                            let mut harm = Harm::new(psi, 1.0);
                            harm.add(seen);
                            harm.mixture
                        };
                        worst_harm = means(n_c, n_s, e, odds, gain).into_iter().fold(worst_harm, f64::max);
                    }
                    for odds in [psi, psi * 1.4] {
                        let gain = |seen: &Interval| {
                            let mut safe = Safe::new(psi, 1.0);
                            safe.add(seen);
                            safe.mixture
                        };
                        worst_safe = means(n_c, n_s, e, odds, gain).into_iter().fold(worst_safe, f64::max);
                    }
                }
            }
        }
        assert!((worst_harm - 1.0).abs() < 1e-9, "{worst_harm}");
        assert!((worst_safe - 1.0).abs() < 1e-9, "{worst_safe}");
    }

    /// The greatest mean of the ratios' factors when errors hit this share of so many requests.
    fn greatest_of_rates(n: u64, truth: f64, rates: &Rates, tempering: f64) -> f64 {
        let mut means = [0.0; RATIOS];
        for x in 0..=n {
            let [bad, good] = [x, n - x].map(|count| i32::try_from(count).unwrap());
            let probability = choose(n, x) * truth.powi(bad) * (1.0 - truth).powi(good);
            let mut seen = Mixture::new();
            seen.bernoulli(Counts::new(n, x), rates, tempering);
            for (mean, l) in means.iter_mut().zip(seen.0) {
                *mean += probability * l.exp();
            }
        }
        means.into_iter().fold(0.0, f64::max)
    }

    #[test]
    fn no_factor_of_a_rate_has_a_mean_above_1_under_its_hypothesis() {
        for (n, rate) in [(1, 0.3), (12, FLOOR), (40, 0.05), (200, FLOOR), (200, 0.02)] {
            let more = Rates::above(rate);
            let less = Rates::new(rate, |ratio| rate / ratio);
            for tempering in [1.0, 0.5, 1.0 / 15.0] {
                for (truth, rates) in [(rate, &more), (0.6 * rate, &more), (rate, &less), (1.7 * rate, &less)] {
                    let mean = greatest_of_rates(n, truth, rates, tempering);
                    assert!(mean <= 1.0 + 1e-9, "{n} {rate} {truth} {tempering}: {mean}");
                }
            }
            let edge = [&more, &less].map(|rates| greatest_of_rates(n, rate, rates, 1.0));
            assert!(edge.iter().all(|mean| (mean - 1.0).abs() < 1e-9), "{edge:?}");
            assert!(
                greatest_of_rates(n, 2.0 * rate, &more, 1.0) > 1.0
                    && greatest_of_rates(n, 0.5 * rate, &less, 1.0) > 1.0
            );
        }
    }

    #[test]
    fn no_factor_of_a_rate_near_1_has_a_mean_above_1_under_its_hypothesis_either() {
        for (n, rate) in [(40, 0.9), (12, 0.98), (12, 0.995), (5, 0.999_999)] {
            let more = Rates::above(rate);
            for (truth, tempering) in [(rate, 1.0), (0.99 * rate, 1.0), (0.5 * rate, 1.0), (rate, 1.0 / 15.0)] {
                let mean = greatest_of_rates(n, truth, &more, tempering);
                assert!(mean <= 1.0 + 1e-9, "{n} {rate} {truth} {tempering}: {mean}");
            }
            let half_as_good = greatest_of_rates(n, 1.0 - (1.0 - rate) / 2.0, &more, 1.0);
            assert!(half_as_good > 1.0, "{n} {rate}: {half_as_good}");
        }
    }

    /// Runs a test over [`LATE`] and holds its path against one computed by an independent implementation.
    fn agrees(path: &str, mut next: impl FnMut(&Interval) -> f64) {
        for (counts, expected) in LATE.into_iter().zip(path.split_whitespace()) {
            let (seen, expected) = (next(&interval(counts)), expected.parse::<f64>().unwrap());
            assert!((seen - expected).abs() < 1e-9, "{counts:?}: {seen} and not {expected}");
        }
    }

    #[test]
    fn evidence_agrees_with_the_reference_to_nine_digits() {
        for (psi, path) in [
            (
                1.0,
                "0.913246298083 -0.178770394310 2.767012791791 2.767012791791 8.865410345812 8.865410345812 18.473366571306",
            ),
            (
                1.25,
                "0.737366759032 -0.399588632730 2.221206758451 2.221206758451 7.542422387946 7.542422387946 16.163569814611",
            ),
            (
                1.5,
                "0.588567816634 -0.580091369823 1.786293570101 1.786293570101 6.488268470333 6.488268470333 14.299897389075",
            ),
        ] {
            let mut harm = Harm::new(psi, 1.0);
            agrees(path, |seen| {
                harm.add(seen);
                harm.mixture.ln()
            });
        }
        for (psi, path) in [
            (
                2.0,
                "-1.240771872921 -0.965561151239 -2.438775189811 -2.438775189811 -3.828357553240 -3.828357553240 -5.115981828871",
            ),
            (
                3.0,
                "-1.164838220324 -0.759649885500 -2.280271021536 -2.280271021536 -3.630122676806 -3.630122676806 -4.882800544158",
            ),
        ] {
            let mut safe = Safe::new(psi, 1.0);
            agrees(path, |seen| {
                safe.add(seen);
                safe.mixture.ln()
            });
        }
        let mut ceiling = Mixture::new();
        agrees(
            "1.902962554312 1.502088767893 6.576353048262 6.576353048262 18.771317585179 18.121370349134 34.304283064628",
            |seen| {
                ceiling.bernoulli(seen.canary, &Rates::above(FLOOR), 1.0);
                ceiling.ln()
            },
        );
    }
}
