//! Worlds whose truth is known: what an operator reads of both arms every 10 s, drawn at random by exact laws.
use crate::peers::real;
use bellwether::judge::{Bursts, Counts, Interval};
use rand::{SeedableRng, rngs::ChaCha8Rng};
use rand_distr::{Binomial, Distribution, Geometric, Poisson};

/// Seconds from one look to the next.
pub const POLL: u64 = 10;
/// Looks in the half hour that a release lasts.
pub const POLLS: usize = 180;
/// Requests of both arms together in a second, where a world says nothing else.
const RATE: u32 = 50;
/// Pods of stable, and looks at them, in the hour before the release.
const PAST: (usize, usize) = (4, 360);

/// What is true of both arms.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// As the tables call it.
    pub name: &'static str,
    /// Requests of both arms together in a second, in the mean.
    pub rate: u32,
    /// The share of stable's requests that fail.
    pub base: f64,
    /// The mean number of errors of one cause, geometrically distributed.
    pub burst: f64,
    /// From second, to second: this share fails, on both arms.
    pub incident: Option<(u64, u64, f64)>,
    /// Whether the operator can read the hour before the release.
    pub past: Past,
}

/// What is known of the hour before the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Everything.
    Measured,
    /// Nothing.
    Unseen,
}

/// Single errors, 0.5 % of the requests.
pub const PLAIN: World =
    World { name: "single errors", rate: RATE, base: 0.005, burst: 1.0, incident: None, past: Past::Measured };
/// Both arms suffer for two minutes.
pub const INCIDENT: World = World { name: "shared incident", incident: Some((600, 720, 0.03)), ..PLAIN };
/// Three times as many errors on both arms.
pub const WORSE: World = World { name: "base rate 1.5%", base: 0.015, ..PLAIN };
/// Errors come by threes.
pub const BURSTS: World = World { name: "bursts of 3", burst: 3.0, ..PLAIN };
/// They do, and nobody knows.
pub const UNSEEN_BURSTS: World = World { name: "bursts of 3, past not known", past: Past::Unseen, ..BURSTS };
/// Errors come by tens.
pub const HEAVY_BURSTS: World = World { name: "bursts of 10", burst: 10.0, ..PLAIN };
/// Single errors, and nothing known of the past.
pub const UNSEEN: World = World { name: "single errors, past not known", past: Past::Unseen, ..PLAIN };
/// From hardly any traffic to plenty.
pub const TRAFFIC: [World; 7] = [
    World { name: "1 request a second", rate: 1, ..PLAIN },
    World { name: "2 requests a second", rate: 2, ..PLAIN },
    World { name: "5 requests a second", rate: 5, ..PLAIN },
    World { name: "10 requests a second", rate: 10, ..PLAIN },
    World { name: "20 requests a second", rate: 20, ..PLAIN },
    World { name: "200 requests a second", rate: 200, ..PLAIN },
    World { name: "1000 requests a second", rate: 1_000, ..PLAIN },
];

/// The canary's share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The same all the time, in percent.
    Percent(u32),
    /// 5, 10 and 20 %, for ten minutes each.
    Ramp,
}

impl Share {
    fn at(self, poll: usize) -> f64 {
        let percent = match self {
            Self::Percent(percent) => percent,
            Self::Ramp => [5, 10, 20][poll * 3 / POLLS],
        };
        f64::from(percent) / 100.0
    }

    /// As the tables call it.
    pub fn name(self) -> String {
        match self {
            Self::Percent(percent) => format!("{percent}%"),
            Self::Ramp => "ramp 5/10/20%".to_owned(),
        }
    }
}

/// One world, one split and one truth about the canary.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// What is true of both arms.
    pub world: World,
    /// How much the canary gets.
    pub share: Share,
    /// How many times as often as stable's the canary's requests fail; all of them at most.
    pub truth: u32,
}

/// What is read in one look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Poll {
    /// The canary and stable.
    pub arms: Interval,
    /// Other pods of stable with as many requests as the canary, for rules that want such.
    pub twin: Counts,
}

/// One release.
#[derive(Clone, Debug)]
pub struct Release {
    /// What is read in its half hour.
    pub polls: Vec<Poll>,
    /// What the hour before it says about bursts.
    pub bursts: Bursts,
}

impl Cell {
    /// The release of this number.
    pub fn release(&self, seed: u64, number: u64) -> Release {
        let name = format!("{} {}", self.world.name, self.share.name());
        let mut dice = Dice::new(seed, &name, u64::from(self.truth), number);
        let polls = (0..POLLS).map(|poll| self.poll(&mut dice, poll)).collect();
        let bursts = match self.world.past {
            Past::Measured => self.past(&mut dice),
            Past::Unseen => Bursts::Unseen,
        };
        Release { polls, bursts }
    }

    fn poll(&self, dice: &mut Dice, poll: usize) -> Poll {
        let World { base, burst, incident, .. } = self.world;
        let (share, time) = (self.share.at(poll), poll as u64 * POLL);
        let rate = match incident {
            Some((from, to, rate)) if (from..to).contains(&time) => rate,
            _ => base,
        };
        let requests = f64::from(self.world.rate) * real(POLL);
        let all = dice.poisson(requests);
        let canary = dice.binomial(all, share);
        let equally_many = dice.poisson(requests);
        let twin = dice.binomial(equally_many, share);
        let rate_of_canary = (rate * f64::from(self.truth)).min(1.0);
        let mut errors = |n, rate| Counts::new(n, dice.errors(n, rate, burst));
        let arms = Interval { canary: errors(canary, rate_of_canary), stable: errors(all - canary, rate) };
        Poll { arms, twin: errors(twin, rate) }
    }

    /// An hour of stable's pods beside each other, read as the operator reads it.
    fn past(&self, dice: &mut Dice) -> Bursts {
        let (pods, looks) = PAST;
        let each = f64::from(self.world.rate) * real(POLL) / real(pods as u64);
        Bursts::of((0..looks).map(|_| {
            let pod = |_| {
                let n = dice.poisson(each);
                Counts::new(n, dice.errors(n, self.world.base, self.world.burst))
            };
            (0..pods).map(pod).collect::<Vec<_>>()
        }))
    }
}

/// Random numbers of one release.
pub struct Dice(pub ChaCha8Rng);

impl Dice {
    /// A stream of its own for every seed, name, truth and number.
    pub fn new(seed: u64, name: &str, truth: u64, number: u64) -> Self {
        // FNV-1a: names need different keys, not secret ones.
        let key = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |key, byte| (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip([seed, key, truth, number]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(bytes))
    }

    /// So many, with this mean.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, drawn as a real number")]
    pub fn poisson(&mut self, mean: f64) -> u64 {
        Poisson::new(mean).expect("a positive mean").sample(&mut self.0) as u64
    }

    /// So many of `n`.
    pub fn binomial(&mut self, n: u64, share: f64) -> u64 {
        Binomial::new(n, share).expect("a share from 0 to 1").sample(&mut self.0)
    }

    /// So many of `n` requests fail, `burst` of one cause in the mean.
    fn errors(&mut self, n: u64, rate: f64, burst: f64) -> u64 {
        let causes = self.binomial(n, rate / burst);
        let further = Geometric::new(1.0 / burst).expect("a mean of 1 or more");
        (causes + (0..causes).map(|_| further.sample(&mut self.0)).sum::<u64>()).min(n)
    }
}
