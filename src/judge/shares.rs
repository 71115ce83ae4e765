//! Bets on shares: tests that no burst of errors within a block of time can fool.
//!
//! Each block is one bet on one number between 0 and 1, the canary's share of the block's errors or of its own requests,
//! whatever their causes have in common. With `E[Y] <= theta` given the past, `1 + f (Y / theta - 1)` has a mean of at
//! most 1 for every stake `f` below 1; the mean over some stakes is a supermartingale that starts at 1.
use super::{Interval, ln_mean, odds::Known, real};

/// Stakes on a share above what is tolerated.
const ABOVE: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7];
/// Stakes on a share below what is excluded.
const BELOW: [f64; 7] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95];

/// The logarithm of what was made of each stake.
#[derive(Clone, Debug, Default)]
struct Stakes([f64; 7]);

impl Stakes {
    /// One block has paid `gain` for each unit at stake; never less than -1.
    fn paid(&mut self, stakes: &[f64; 7], gain: f64) {
        for (l, stake) in self.0.iter_mut().zip(stakes) {
            *l += (stake * gain).ln_1p();
        }
    }

    fn ln(&self) -> f64 {
        ln_mean(self.0.iter().copied())
    }
}

/// Adds intervals up to blocks.
#[derive(Clone, Debug)]
struct Blocks {
    length: usize,
    added: usize,
    sum: Interval,
}

impl Blocks {
    fn new(length: usize) -> Self {
        Self { length: length.max(1), added: 0, sum: Interval::default() }
    }

    /// The block that this interval ends, if it ends one.
    fn add(&mut self, interval: &Interval) -> Option<Interval> {
        self.sum.canary.add(interval.canary);
        self.sum.stable.add(interval.stable);
        self.added += 1;
        (self.added == self.length).then(|| {
            self.added = 0;
            std::mem::take(&mut self.sum)
        })
    }
}

/// What a share is bet on.
#[derive(Clone, Copy, Debug)]
enum On {
    /// The canary's share of the errors is more than odds of this ratio would make it.
    Above(f64),
    /// The canary's share of the errors is less than odds of this ratio would make it.
    Below(f64),
    /// The share of errors among the canary's own requests is more than this.
    Rate(f64),
}

/// Evidence from bets on blocks of so many intervals.
#[derive(Clone, Debug)]
pub(super) struct Bets {
    on: On,
    blocks: Blocks,
    stakes: Stakes,
}

impl Bets {
    fn new(on: On, block: usize) -> Self {
        Self { on, blocks: Blocks::new(block), stakes: Stakes::default() }
    }

    /// Evidence that the odds ratio is above `tolerated`.
    pub fn above(tolerated: f64, block: usize) -> Self {
        Self::new(On::Above(tolerated), block)
    }

    /// Evidence that the odds ratio is below `excluded`.
    pub fn below(excluded: f64, block: usize) -> Self {
        Self::new(On::Below(excluded), block)
    }

    /// Evidence that more than `rate` of the canary's requests go wrong.
    pub fn rate(rate: f64, block: usize) -> Self {
        Self::new(On::Rate(rate), block)
    }

    /// One interval more; a block that is not full is no bet yet.
    pub fn add(&mut self, interval: &Interval) {
        let Some(block) = self.blocks.add(interval) else { return };
        match self.on {
            On::Above(tolerated) => {
                let Some(Known { n_c, n_s, x_c, e }) = Known::of(&block) else { return };
                let theta = tolerated * n_c / (tolerated * n_c + n_s);
                self.stakes.paid(&ABOVE, x_c / e / theta - 1.0);
            }
            On::Below(excluded) => {
                let Some(known) = Known::of(&block) else { return };
                let theta = known.least_mean(excluded) / known.e;
                if theta > 0.0 && theta < 1.0 {
                    self.stakes.paid(&BELOW, (theta - known.x_c / known.e) / (1.0 - theta));
                }
            }
            On::Rate(rate) if block.canary.n > 0 => {
                let share = real(block.canary.x.min(block.canary.n)) / real(block.canary.n);
                self.stakes.paid(&ABOVE, share / rate - 1.0);
            }
            On::Rate(_) => {}
        }
    }

    /// The evidence's logarithm.
    pub fn ln(&self) -> f64 {
        self.stakes.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Counts, *};

    fn choose(n: u64, k: u64) -> f64 {
        (1..=k).map(|i| real(n - k + i) / real(i)).product()
    }

    /// Outcomes of one block, each with its probability.
    type Law = Vec<(Interval, f64)>;

    fn block(n_c: u64, x_c: u64, n_s: u64, x_s: u64) -> Interval {
        Interval { canary: Counts::new(n_c, x_c), stable: Counts::new(n_s, x_s) }
    }

    /// Single errors, `e` of both arms together: Fisher's law.
    fn singles(n_c: u64, n_s: u64, e: u64, odds: f64) -> Law {
        let weight = |x: u64| choose(n_c, x) * choose(n_s, e - x) * odds.powi(i32::try_from(x).unwrap());
        let outcomes = e.saturating_sub(n_s)..=e.min(n_c);
        let total: f64 = outcomes.clone().map(weight).sum();
        outcomes.map(|x| (block(n_c, x, n_s, e - x), weight(x) / total)).collect()
    }

    /// Bursts of these sizes, each of them on one arm as a whole.
    fn bursts(n_c: u64, n_s: u64, sizes: &[u64], odds: f64) -> Law {
        let on_canary = odds * real(n_c) / (odds * real(n_c) + real(n_s));
        let all: u64 = sizes.iter().sum();
        (0..1_u32 << sizes.len())
            .map(|arms| {
                let (mut x, mut probability) = (0, 1.0);
                for (at, size) in sizes.iter().enumerate() {
                    let hit = arms >> at & 1 == 1;
                    x += if hit { *size } else { 0 };
                    probability *= if hit { on_canary } else { 1.0 - on_canary };
                }
                (block(n_c, x, n_s, all - x), probability)
            })
            .collect()
    }

    /// The greatest mean of the factors of one block.
    fn greatest(law: &Law, bets: impl Fn() -> Bets) -> f64 {
        let total: f64 = law.iter().map(|(_, probability)| probability).sum();
        assert!((total - 1.0).abs() < 1e-9, "{total}");
        let mut means = [0.0; 7];
        for (seen, probability) in law {
            let mut bets = bets();
            bets.add(seen);
            for (mean, l) in means.iter_mut().zip(bets.stakes.0) {
                *mean += probability * l.exp();
            }
        }
        means.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Everything that can happen in a block when the odds ratio is this one.
    fn laws(odds: f64) -> Vec<Law> {
        let mut laws = Vec::new();
        for (n_c, n_s) in [(5, 20), (8, 8), (3, 40), (20, 5), (25, 475)] {
            laws.extend([1, 2, 3, 5, 8].map(|e| singles(n_c, n_s, e, odds)));
            let all: [&[u64]; 5] = [&[1], &[3, 1], &[2, 2, 2], &[1, 1, 1, 1], &[3, 2]];
            laws.extend(
                all.iter()
                    .filter(|sizes| sizes.iter().sum::<u64>() <= n_c.min(n_s))
                    .map(|sizes| bursts(n_c, n_s, sizes, odds)),
            );
        }
        laws.extend(
            [&[40_u64][..], &[1, 60], &[10; 8], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]
                .map(|sizes| bursts(100, 300, sizes, odds)),
        );
        laws
    }

    #[test]
    fn no_bet_on_a_share_has_a_mean_above_1_whatever_comes_in_bursts() {
        let (mut above, mut below) = (0.0_f64, 0.0_f64);
        for psi in [1.0, 1.25, 1.5, 2.0, 3.0] {
            for law in [psi, psi * 0.7].into_iter().flat_map(laws) {
                above = above.max(greatest(&law, || Bets::above(psi, 1)));
            }
            for law in [psi, psi * 1.4].into_iter().flat_map(laws) {
                below = below.max(greatest(&law, || Bets::below(psi, 1)));
            }
        }
        assert!((above - 1.0).abs() < 1e-9, "{above}");
        assert!((below - 1.0).abs() < 1e-9, "{below}");
    }

    #[test]
    fn no_bet_on_a_rate_has_a_mean_above_1_whatever_comes_in_bursts() {
        for (n, rate) in [(1, 0.3_f64), (7, 0.001), (40, 0.05)] {
            let hit = |x: u64| block(n, x, 1, 0);
            let all_at_once = vec![(hit(n), rate), (hit(0), 1.0 - rate)];
            let singles = (0..=n)
                .map(|x| {
                    let [bad, good] = [x, n - x].map(|count| i32::try_from(count).unwrap());
                    (hit(x), choose(n, x) * rate.powi(bad) * (1.0 - rate).powi(good))
                })
                .collect();
            for law in [all_at_once, singles] {
                let mean = greatest(&law, || Bets::rate(rate, 1));
                assert!((mean - 1.0).abs() < 1e-9, "{mean}");
            }
        }
    }

    #[test]
    fn a_worse_canary_makes_bets_pay() {
        let of = |odds| greatest(&singles(25, 475, 5, odds), || Bets::above(1.25, 1));
        assert!(of(5.0) > 1.5, "{}", of(5.0));
        let of = |odds| greatest(&singles(25, 475, 5, odds), || Bets::below(2.0, 1));
        assert!(of(1.0) > 1.02, "{}", of(1.0));
    }

    #[test]
    fn a_block_that_is_not_full_is_no_bet() {
        let mut bets = Bets::above(1.25, 3);
        for (looks, is_bet) in [(1, false), (2, false), (3, true)] {
            bets.add(&block(25, 6, 475, 0));
            assert_eq!(bets.ln() > 0.0, is_bet, "after {looks}");
        }
        let mut whole = Bets::above(1.25, 1);
        whole.add(&block(75, 18, 1425, 0));
        assert_eq!(bets.ln().to_bits(), whole.ln().to_bits(), "a block is one bet, however many intervals it has");
    }
}
