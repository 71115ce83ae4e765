//! Chance that can be had again: one seed, one story.

/// A small generator (SplitMix64): fast, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for one purpose, so that one part of a story that throws more does not change another.
    pub fn of(seed: u64, purpose: &str) -> Self {
        let mixed = purpose.bytes().fold(seed, |mixed, byte| (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut dice = Self(mixed);
        dice.next();
        dice
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.saturating_sub(low) + 1)
    }

    /// True so often in a thousand.
    pub fn permille(&mut self, often: u64) -> bool {
        self.next() % 1_000 < often
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.next() % from.len().max(1) as u64).unwrap_or(0);
        &from[at]
    }

    /// How many of `n` come to pass, each by itself with this chance. Exact for small `n`, close for others.
    pub fn of_many(&mut self, n: u64, chance: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "chances")]
        let often = (chance.clamp(0.0, 1.0) * 1_000_000.0) as u64;
        (0..n).filter(|_| self.next() % 1_000_000 < often).count() as u64
    }
}
