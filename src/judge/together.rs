//! What the comparisons of a release say together, and which of them are guilty.
//!
//! A weighted mean of e-processes is one again, however they depend on each other: if none of the comparisons' hypotheses
//! is wrong, the mean ever reaches `1/alpha` with probability `alpha` at most. With the weight `w` a comparison that alone
//! reaches `1/(w alpha)` lifts the mean to `1/alpha` by itself, so failing by the mean and failing by a single one are
//! wrong with probability `alpha` at most both together, and nothing is to be shared out between the two.
//!
//! Only what is known at one moment may be added up, never each one's greatest.
use super::ln_mean;

/// What one comparison says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its weight; all comparisons' weights are 1 together, also of those that say nothing at this moment.
    pub part: f64,
    /// Natural logarithm of its present evidence.
    pub ln: f64,
}

impl Said<'_> {
    fn weighed(&self) -> f64 {
        self.part.ln() + self.ln
    }
}

/// What all that say something say, the strongest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Together<'a>(Vec<Said<'a>>);

impl<'a> Together<'a> {
    /// Of these. One that says nothing may be left out: that is less than whatever it would say.
    pub fn of(said: impl IntoIterator<Item = Said<'a>>) -> Self {
        let mut said: Vec<_> = said.into_iter().collect();
        said.sort_by(|one, other| other.weighed().total_cmp(&one.weighed()));
        Self(said)
    }

    /// The fewest whose evidence is enough by itself, and its logarithm; nothing where that of all is not.
    pub fn enough(&self, alpha: f64) -> Option<(&[Said<'a>], f64)> {
        let mut all = (1..=self.0.len()).map(|count| (&self.0[..count], sum(&self.0[..count])));
        let (enough, _) = all.find(|(_, ln)| *ln >= -alpha.ln())?;
        Some((enough, sum(&self.0)))
    }

    /// Those that are worse: among those named so by mistake there is a share of `alpha` at most on average. The `k`
    /// strongest, for the greatest `k` of which each has weighed evidence of `1 / (k alpha)` (weighted e-BH, Wang and Ramdas
    /// 2022).
    pub fn guilty(&self, alpha: f64) -> &[Said<'a>] {
        let reaches = |(at, said): (usize, &Said)| {
            let k = f64::from(u32::try_from(at + 1).unwrap_or(u32::MAX));
            said.weighed() >= -(k * alpha).ln()
        };
        let count = self.0.iter().enumerate().filter(|it| reaches(*it)).map(|(at, _)| at + 1).max().unwrap_or(0);
        &self.0[..count]
    }
}

/// The logarithm of the sum of the weighed evidence.
fn sum(said: &[Said]) -> f64 {
    let count = f64::from(u32::try_from(said.len()).unwrap_or(u32::MAX));
    ln_mean(said.iter().map(Said::weighed)) + count.ln()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Bursts, Counts, Interval, Rules, Sensitivity, compare::Errors},
        *,
    };
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
    use rand_distr::{Binomial, Distribution};

    const NAMES: [&str; 3] = ["errors", "latency", "score"];
    const ALPHA: f64 = 0.01;

    fn said(ln: [f64; 3]) -> Together<'static> {
        Together::of(NAMES.iter().zip(ln).map(|(name, ln)| Said { name, part: 1.0 / 3.0, ln }))
    }

    fn names(said: &[Said<'static>]) -> Vec<&'static str> {
        said.iter().map(|said| said.name).collect()
    }

    #[test]
    fn what_one_says_beyond_doubt_all_say_and_the_fewest_that_are_enough_are_named() {
        let alone = said([300.1_f64.ln(), 0.0, 0.0]);
        assert_eq!(names(alone.enough(ALPHA).unwrap().0), ["errors"]);
        assert_eq!(names(alone.guilty(ALPHA)), ["errors"]);
        let two = said([160.0_f64.ln(), -9.0, 152.0_f64.ln()]);
        let (enough, ln) = two.enough(ALPHA).unwrap();
        assert_eq!((names(enough), names(two.guilty(ALPHA))), (vec!["errors", "score"], vec!["errors", "score"]));
        assert!((ln.exp() - 312.0 / 3.0).abs() < 0.01, "{}", ln.exp());
        assert_eq!(said([140.0_f64.ln(), 100.0_f64.ln(), 0.0]).enough(ALPHA), None);
        assert_eq!(Together::of([]).enough(ALPHA), None);
        assert_eq!(Together::of([]).guilty(ALPHA), []);
    }

    #[test]
    fn all_may_be_enough_together_and_no_one_guilty() {
        let three = said([290.0_f64.ln(), 140.0_f64.ln(), 90.0_f64.ln()]);
        assert_eq!(names(three.enough(ALPHA).unwrap().0), ["errors", "latency"]);
        assert_eq!(names(three.guilty(ALPHA)), [""; 0]);
    }

    #[test]
    fn weight_is_a_part_of_what_may_be_wrong() {
        let weighed = |part: f64| {
            let errors = Said { name: "errors", part, ln: 150.0_f64.ln() };
            Together::of([errors, Said { name: "latency", part: 1.0 - part, ln: 0.0 }]).enough(ALPHA).is_some()
        };
        assert_eq!([weighed(0.5), weighed(0.75)], [false, true]);
    }

    /// After how many looks at three metrics, of which the canary has so many times stable's errors, a release fails by one of
    /// them alone, and by all together.
    fn looks(times: f64, seed: u64, most: usize) -> [usize; 2] {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut margins = Sensitivity::High.margins();
        margins.alpha /= 3.0;
        let mut metrics =
            [(); 3].map(|()| Errors::new(&Rules { margins, bursts: Bursts::Known(1.0), block: 1, lasting: false }));
        let (mut alone, mut together) = (None, None);
        for look in 1..=most {
            // The three depend on each other: some of the errors of a look have a common cause.
            let cause = chance.random_range(0.5..1.5);
            let mut arm = |n, rate: f64| Counts::new(n, Binomial::new(n, rate * cause).unwrap().sample(&mut chance));
            for metric in &mut metrics {
                metric.add(&Interval { canary: arm(50, 0.02 * times), stable: arm(150, 0.02) });
            }
            let said = NAMES.iter().zip(&metrics);
            let said = said.map(|(name, metric)| Said { name, part: 1.0 / 3.0, ln: metric.ln_now() });
            if Together::of(said).enough(ALPHA).is_some() {
                together = together.or(Some(look));
            }
            if metrics.iter().any(Errors::fails) {
                alone = alone.or(Some(look));
            }
            if alone.is_some() && together.is_some() {
                break;
            }
        }
        [alone, together].map(|look| look.unwrap_or(usize::MAX))
    }

    #[test]
    fn a_release_that_is_a_little_worse_in_three_metrics_fails_never_later_and_at_times_earlier_than_by_any_of_them() {
        let all: Vec<_> = (0..40).map(|seed| looks(1.4, seed, 2_000)).collect();
        assert!(all.iter().all(|[alone, together]| together <= alone), "never later: {all:?}");
        let earlier = all.iter().filter(|[alone, together]| together < alone).count();
        assert!(earlier >= 5, "{earlier} of 40: {all:?}");
    }

    #[test]
    fn equal_releases_fail_at_most_as_often_as_is_promised() {
        let failed = (0..300).filter(|seed| looks(1.0, *seed, 150)[1] < usize::MAX).count();
        assert!(failed <= 3, "{failed} of 300");
    }
}
