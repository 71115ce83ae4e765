//! How long a proof is likely to take: for plans and for people, never for a verdict.
use super::{Bursts, Margins};

/// How much traffic there is, and how much of it goes wrong on stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests a second, of both arms together.
    pub rate: f64,
    /// The share of stable's that goes wrong, above 0.
    pub bad: f64,
}

/// Blocks of time take so many times as long as single errors, by simulation.
const BLOCKS: f64 = 4.0;

impl Traffic {
    /// Seconds until a canary with this share of the requests and so many times stable's errors has probably failed; about
    /// half of all such canaries have by then. Infinite for one that is within the margin.
    pub fn seconds_to_fail(self, share: f64, times: f64, margins: Margins, bursts: Bursts) -> f64 {
        if times <= margins.tolerated {
            return f64::INFINITY;
        }
        self.seconds(share, times, margins.tolerated, margins.alpha / margins.ways(), bursts)
    }

    /// Seconds until a canary with this share of the requests and so many times stable's errors has probably failed by the
    /// ceiling. Infinite for one that is below it, and where there is none.
    pub fn seconds_to_exceed(self, share: f64, times: f64, margins: Margins, bursts: Bursts) -> f64 {
        let Some(ceiling) = margins.ceiling else { return f64::INFINITY };
        let is = (self.bad * times).min(0.99);
        let divergence = is * (is / ceiling).ln() + (1.0 - is) * ((1.0 - is) / (1.0 - ceiling)).ln();
        let requests = if is > ceiling { self.rate * share.clamp(0.0, 1.0) } else { 0.0 };
        proven(requests * divergence, margins.alpha / margins.ways(), bursts)
    }

    /// Seconds until a canary that is as good as stable has probably passed.
    pub fn seconds_to_pass(self, share: f64, margins: Margins, bursts: Bursts) -> f64 {
        self.seconds(share, 1.0, margins.excluded, margins.beta, bursts)
    }

    /// `(ln(1/a) + 1.5) / (errors a second * KL)`: the test's evidence grows by the divergence of where the errors fall from
    /// where the hypothesis has them fall, and 1.5 is what the mixture of ratios costs.
    fn seconds(self, share: f64, times: f64, hypothesis: f64, error: f64, bursts: Bursts) -> f64 {
        let (canary, stable) = (share.clamp(0.0, 1.0), 1.0 - share.clamp(0.0, 1.0));
        let on_canary = |odds: f64| odds * canary / (odds * canary + stable);
        let (is, would) = (on_canary(times), on_canary(hypothesis));
        let divergence = is * (is / would).ln() + (1.0 - is) * ((1.0 - is) / (1.0 - would)).ln();
        let errors = self.rate * self.bad * (stable + canary * times);
        proven(errors * divergence, error, bursts)
    }
}

/// Seconds until evidence that grows so fast is enough.
fn proven(a_second: f64, error: f64, bursts: Bursts) -> f64 {
    let longer = if bursts.one_by_one() { 1.0 / bursts.tempering() } else { BLOCKS };
    let seconds = longer * (1.5 - error.ln()) / a_second;
    if seconds.is_finite() && seconds > 0.0 { seconds } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::{super::Sensitivity, *};

    /// 50 requests a second, of which one in 200 goes wrong.
    const BUSY: Traffic = Traffic { rate: 50.0, bad: 0.005 };

    fn fails(share: f64, times: f64) -> f64 {
        BUSY.seconds_to_fail(share, times, Sensitivity::Normal.margins(), Bursts::Known(1.0))
    }

    #[test]
    fn expectations_are_near_the_simulated_medians() {
        // Medians of simulations with a look each 10 s.
        for (share, times, median) in
            [(0.05, 10.0, 50.0), (0.1, 10.0, 30.0), (0.2, 10.0, 20.0), (0.05, 5.0, 150.0), (0.2, 5.0, 60.0)]
        {
            let expected = fails(share, times);
            assert!((expected - median).abs() < 0.15 * median + 10.0, "{share} {times}: {expected}");
        }
        let passes = BUSY.seconds_to_pass(0.1, Sensitivity::Normal.margins(), Bursts::Known(1.0));
        assert!((300.0..700.0).contains(&passes), "{passes}");
    }

    #[test]
    fn what_cannot_be_proven_takes_for_ever() {
        for seconds in [fails(0.1, 1.0), fails(0.1, 1.25), fails(0.0, 10.0), fails(1.0, 10.0)] {
            assert!(seconds.is_infinite(), "{seconds}");
        }
        let none = Traffic { rate: 0.0, bad: 0.005 };
        let margins = Sensitivity::Normal.margins();
        assert!(none.seconds_to_fail(0.1, 10.0, margins, Bursts::Unseen).is_infinite());
    }

    #[test]
    fn a_ceiling_is_exceeded_about_when_the_judge_says_so() {
        use super::super::compare::{Errors, Rules};
        let margins = super::super::Margins { ceiling: Some(0.02), ..Sensitivity::Normal.margins() };
        let bursts = Bursts::Known(1.0);
        let expected = BUSY.seconds_to_exceed(0.1, 10.0, margins, bursts);
        // Five requests a second on the canary, of which one in twenty goes wrong: evenly, second by second.
        let mut errors = Errors::new(&Rules { margins, bursts, block: 1, lasting: false });
        let seconds = (1_u64..10_000).find(|second| {
            errors.add(&super::super::tests::interval((5, u64::from(second % 4 == 0), 0, 0)));
            errors.fails()
        });
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let seconds = seconds.unwrap() as f64;
        assert!((expected - seconds).abs() < 0.25 * seconds, "{expected} and {seconds}");
        assert!(BUSY.seconds_to_exceed(0.1, 4.0, margins, bursts).is_infinite(), "it is not above it");
        assert!(BUSY.seconds_to_exceed(0.1, 10.0, Sensitivity::Normal.margins(), bursts).is_infinite());
        assert!(BUSY.seconds_to_exceed(0.0, 10.0, margins, bursts).is_infinite());
    }

    #[test]
    fn bursts_take_longer() {
        let margins = Sensitivity::Normal.margins();
        let known = BUSY.seconds_to_fail(0.1, 10.0, margins, Bursts::Known(1.0));
        assert!(BUSY.seconds_to_fail(0.1, 10.0, margins, Bursts::Unseen) > 3.0 * known);
    }
}
