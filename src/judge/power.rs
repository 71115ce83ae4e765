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
        let longer = if bursts.one_by_one() { 1.0 / bursts.tempering() } else { BLOCKS };
        let seconds = longer * (1.5 - error.ln()) / (errors * divergence);
        if seconds.is_finite() && seconds > 0.0 { seconds } else { f64::INFINITY }
    }
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
    fn bursts_take_longer() {
        let margins = Sensitivity::Normal.margins();
        let known = BUSY.seconds_to_fail(0.1, 10.0, margins, Bursts::Known(1.0));
        assert!(BUSY.seconds_to_fail(0.1, 10.0, margins, Bursts::Unseen) > 3.0 * known);
    }
}
