//! The comparison with stable: sequential tests whose promise holds at any moment of looking.
//!
//! The share of the errors that falls on the canary is compared with its share of the requests, so the rate of errors
//! that both arms have in common, which changes by the hour, cancels out. Under its hypothesis each test's evidence is a
//! supermartingale that starts at 1, so by Ville's inequality it ever exceeds `1/alpha` with probability `alpha` at most,
//! for any number of looks and any split. Which test counts is decided by what stable did before the release:
//! errors that come one by one are counted so, see [`super::odds`]; else bets on blocks of time are added, which no burst
//! within a block can fool, see [`super::shares`].
use super::{
    Bursts, Counts, Interval, Margins, Scores, ln_mean,
    means::{Means, Way},
    odds::{Harm, Mixture, Rates, Safe},
    percent, real,
    shares::Bets,
    thousands,
};
use crate::vocab::Verdict;

/// Where people say nothing else, errors on less than this share of the canary's requests never fail it, whatever stable
/// does.
pub const FLOOR: f64 = 0.001;

/// What a comparison takes for granted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How much worse is too much, and how sure to be.
    pub margins: Margins,
    /// How much errors come in bursts.
    pub bursts: Bursts,
    /// How many intervals make a block that is longer than a burst.
    pub block: usize,
}

/// What a comparison says, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Fail and Pass are proven, Continue is not, Unknown: there was no interval in which both arms had requests, and no
    /// ceiling is proven to be exceeded.
    pub verdict: Verdict,
    /// Natural logarithm of the greatest evidence so far that the canary is worse: it has never fallen. With a ceiling it is
    /// the mean of this evidence and of that against the ceiling.
    pub ln_m: f64,
    /// Natural logarithm of the present evidence that the canary is worse and that it matters: of the two proofs that a failure
    /// needs the weaker one, which is evidence against the hypothesis that either fails. With a ceiling it is the mean of this
    /// and of the evidence against the ceiling, which is evidence against the hypothesis that neither is wrong.
    pub ln_now: f64,
    /// Natural logarithm of the present evidence that the canary is good enough.
    pub ln_pass: f64,
    /// The canary's requests and bad ones; of a histogram, those slower than the edge that speaks loudest.
    pub canary: Counts,
    /// Stable's, of the same intervals.
    pub stable: Counts,
    /// Of a histogram: the edge that speaks loudest, in seconds.
    pub edge: Option<f64>,
    /// The reason in plain words.
    pub why: String,
}

/// One edge of a histogram: how many requests were slower.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The edge in seconds.
    pub seconds: f64,
    /// Whether a Pass needs this edge. Nothing passes unless some edge does.
    pub certifies: bool,
    /// How much slow requests come in bursts.
    pub bursts: Bursts,
    /// Requests and slower ones, of the same intervals for every edge of a comparison.
    pub intervals: Vec<Interval>,
}

/// Evidence that the canary is worse.
#[derive(Clone, Debug)]
pub(super) struct Worse {
    one_by_one: Harm,
    blocks: Option<Bets>,
}

impl Worse {
    pub fn new(rules: &Rules) -> Self {
        let Rules { margins, bursts, block } = *rules;
        Self {
            one_by_one: Harm::new(margins.tolerated, bursts.tempering()),
            blocks: (!bursts.one_by_one()).then(|| Bets::above(margins.tolerated, block)),
        }
    }

    pub fn add(&mut self, interval: &Interval) {
        self.one_by_one.add(interval);
        if let Some(blocks) = &mut self.blocks {
            blocks.add(interval);
        }
    }

    /// Of both tests the mean, which is a supermartingale again: counting one by one, however tempered, finds at once what
    /// is so bad that no burst explains it, and blocks the rest.
    pub fn ln(&self) -> f64 {
        let one_by_one = self.one_by_one.mixture.ln();
        self.blocks.as_ref().map_or(one_by_one, |blocks| ln_mean([one_by_one, blocks.ln()].into_iter()))
    }
}

/// Evidence that the canary is good enough.
#[derive(Clone, Debug)]
pub(super) enum Better {
    OneByOne(Safe),
    Blocks(Bets),
}

impl Better {
    pub fn new(rules: &Rules) -> Self {
        let Rules { margins, bursts, block } = *rules;
        if bursts.one_by_one() {
            Self::OneByOne(Safe::new(margins.excluded, bursts.tempering()))
        } else {
            Self::Blocks(Bets::below(margins.excluded, block))
        }
    }

    pub fn add(&mut self, interval: &Interval) {
        match self {
            Self::OneByOne(safe) => safe.add(interval),
            Self::Blocks(bets) => bets.add(interval),
        }
    }

    pub fn ln(&self) -> f64 {
        match self {
            Self::OneByOne(safe) => safe.mixture.ln(),
            Self::Blocks(bets) => bets.ln(),
        }
    }
}

/// Evidence that errors hit more than a share of the canary's requests, whatever stable does.
#[derive(Clone, Debug)]
enum Above {
    OneByOne(Mixture, Box<Rates>, f64),
    Blocks(Bets),
}

impl Above {
    fn new(share: f64, rules: &Rules) -> Self {
        if rules.bursts.one_by_one() {
            Self::OneByOne(Mixture::new(), Box::new(Rates::above(share)), rules.bursts.tempering())
        } else {
            Self::Blocks(Bets::rate(share, rules.block))
        }
    }

    fn add(&mut self, interval: &Interval) {
        match self {
            Self::OneByOne(mixture, more, tempering) => mixture.bernoulli(interval.canary, more, *tempering),
            Self::Blocks(bets) => bets.add(interval),
        }
    }

    fn ln(&self) -> f64 {
        match self {
            Self::OneByOne(mixture, ..) => mixture.ln(),
            Self::Blocks(bets) => bets.ln(),
        }
    }
}

/// The ceiling: a way to fail that needs no stable.
#[derive(Clone, Debug)]
struct Ceiling {
    share: f64,
    above: Above,
    /// The logarithm of the greatest evidence so far.
    ln_m: f64,
    /// The canary's requests and bad ones up to then.
    until: Counts,
}

impl Ceiling {
    fn new(share: f64, rules: &Rules) -> Self {
        Self { share, above: Above::new(share, rules), ln_m: 0.0, until: Counts::default() }
    }

    /// One interval more, with which the canary has had so many requests and bad ones.
    fn add(&mut self, interval: &Interval, all: Counts) {
        self.above.add(interval);
        let ln = self.above.ln();
        if ln > self.ln_m {
            (self.ln_m, self.until) = (ln, all);
        }
    }

    /// What was seen when the evidence was greatest, of so many requests and bad ones by now.
    fn exceeded(&self, all: Counts) -> String {
        let (x, n) = (thousands(self.until.x), thousands(self.until.n));
        let wrong = if self.until == all {
            format!("{x} of {n} of the canary's requests went wrong")
        } else {
            format!("{x} of the canary's first {n} requests went wrong")
        };
        format!("{wrong}, more than the ceiling of {}", percent(self.share))
    }
}

/// Compares error rates.
///
/// Fails when the errors are proven to be worse than stable's by more than the margin and, by a test of its own, to
/// hit more than the floor of the canary's requests; a failure, once proven, stays. Passes while it is proven that the
/// odds are less than `excluded` times stable's or that less than the floor of the requests are hit: a weighted mean of
/// both proofs counts, and more errors later take a Pass away again.
///
/// With a ceiling it also fails when the errors are proven to hit more than that of the canary's requests, whatever stable
/// does. Each of the two ways to fail then has half of what may be wrong.
pub fn errors(intervals: &[Interval], rules: &Rules) -> Judgement {
    let mut errors = Errors::new(rules);
    for interval in intervals {
        errors.add(interval);
    }
    errors.judgement()
}

/// A comparison of error rates, interval by interval; what it has seen is not kept.
#[derive(Clone, Debug)]
pub struct Errors {
    rules: Rules,
    worse: Worse,
    above: Above,
    ceiling: Option<Ceiling>,
    better: Better,
    rare: Mixture,
    less: Rates,
    tally: Tally,
    ln_worse: f64,
    ln_above: f64,
    ln_m: f64,
}

impl Errors {
    /// Nothing seen yet.
    pub fn new(rules: &Rules) -> Self {
        let Margins { floor, ceiling, .. } = rules.margins;
        Self {
            rules: *rules,
            worse: Worse::new(rules),
            above: Above::new(floor, rules),
            ceiling: ceiling.map(|share| Ceiling::new(share, rules)),
            better: Better::new(rules),
            rare: Mixture::new(),
            less: Rates::new(floor, |ratio| floor / ratio),
            tally: Tally::default(),
            ln_worse: 0.0,
            ln_above: 0.0,
            ln_m: 0.0,
        }
    }

    /// One interval more.
    pub fn add(&mut self, interval: &Interval) {
        self.tally.add(interval);
        self.worse.add(interval);
        self.better.add(interval);
        self.above.add(interval);
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.add(interval, self.tally.canary);
        }
        self.rare.bernoulli(interval.canary, &self.less, self.rules.bursts.tempering_of_rare());
        let worse = self.worse.ln();
        self.ln_worse = self.ln_worse.max(worse);
        self.ln_above = self.ln_above.max(self.above.ln());
        self.ln_m = self.ln_m.max(self.either(worse));
    }

    /// Whether it is proven that the canary is too bad.
    pub fn fails(&self) -> bool {
        self.is_worse() || self.ceiling.as_ref().is_some_and(|ceiling| ceiling.ln_m >= self.sure())
    }

    /// Whether it is proven that the canary is good enough.
    pub fn passes(&self) -> bool {
        self.tally.paired && !self.fails() && self.ln_pass() >= -self.rules.margins.beta.ln()
    }

    /// The weaker one of the two proofs that a failure by comparison needs, as they are now; with a ceiling the mean of this
    /// and of what is known against the ceiling.
    pub(super) fn ln_now(&self) -> f64 {
        self.either(self.worse.ln().min(self.above.ln()))
    }

    /// How sure each way to fail must be: a failure by any of them is a false alarm with probability `alpha` at most.
    fn sure(&self) -> f64 {
        let margins = &self.rules.margins;
        -(margins.alpha / margins.ways()).ln()
    }

    /// Whether it is proven that the canary is worse than stable, and that it matters.
    fn is_worse(&self) -> bool {
        self.tally.paired && self.ln_worse >= self.sure() && self.ln_above >= self.sure()
    }

    /// The mean of this evidence of the comparison and of the present evidence against the ceiling, if there is one: either
    /// that is sure lifts it to `1/alpha` by itself.
    fn either(&self, compared: f64) -> f64 {
        match &self.ceiling {
            None => compared,
            Some(ceiling) => ln_mean([compared, ceiling.above.ln()].into_iter()),
        }
    }

    /// How seldom a failure of which one way is this sure is a false alarm: each way has a part of what may be wrong.
    fn false_alarm(&self, ln: f64) -> String {
        format!("chance of a false alarm below 1 in {}", one_in(ln - self.rules.margins.ways().ln()))
    }

    /// Three parts of four are for the comparison, by which most services pass: halves would cost those as much time as
    /// is saved where errors are rare.
    fn ln_pass(&self) -> f64 {
        let better = self.better.ln();
        ln_mean([better, better, better, self.rare.ln()].into_iter())
    }

    /// What it says so far.
    pub fn judgement(&self) -> Judgement {
        let Self { tally, ln_worse, ln_m, .. } = self;
        let ln_pass = self.ln_pass();
        let verdict = if self.fails() {
            Verdict::Fail
        } else if !tally.paired {
            Verdict::Unknown
        } else if self.passes() {
            Verdict::Pass
        } else {
            Verdict::Continue
        };
        let fell = || tally.fell("errors");
        let why = match verdict {
            Verdict::Unknown => "there was no interval in which both arms had requests".into(),
            Verdict::Fail => match &self.ceiling {
                Some(ceiling) if !self.is_worse() => {
                    format!("{}; {}", ceiling.exceeded(tally.canary), self.false_alarm(ceiling.ln_m))
                }
                _ => format!("{}; {}", fell(), self.false_alarm(*ln_worse)),
            },
            Verdict::Pass => format!("{}; chance of being wrong below 1 in {}", fell(), one_in(ln_pass)),
            Verdict::Continue if *ln_worse >= self.sure() => {
                format!(
                    "{}; that this hits more than {} of requests is not proven",
                    fell(),
                    percent(self.rules.margins.floor)
                )
            }
            Verdict::Continue => format!("{}; nothing is proven yet", fell()),
        };
        let why = noted(why, verdict, self.rules.bursts);
        let ln_now = self.ln_now();
        let (canary, stable) = (tally.canary, tally.stable);
        Judgement { verdict, ln_m: *ln_m, ln_now, ln_pass, canary, stable, edge: None, why }
    }
}

/// Compares latency at the edges of a histogram.
///
/// Fails when the mean of the edges' evidence proves that the odds of being slower than some edge are more than the
/// margin above stable's; a failure stays. Passes while every edge that certifies proves the contrary. There is neither a floor
/// nor a ceiling.
pub fn latency(edges: &[Edge], margins: Margins, block: usize) -> Judgement {
    latency_among(edges, edges.len(), margins, block)
}

/// Compares latency at edges that are some of `all`, of which others may come to be known later: those count as edges
/// that proved nothing, which is less than each of them may prove, so the promise holds whichever they are.
pub fn latency_among(edges: &[Edge], all: usize, margins: Margins, block: usize) -> Judgement {
    let known = f64::ln(real(edges.len() as u64) / real(all.max(edges.len()).max(1) as u64));
    let mut tests: Vec<_> = edges
        .iter()
        .map(|edge| {
            let rules = Rules { margins, bursts: edge.bursts, block };
            (edge, Worse::new(&rules), Better::new(&rules), Tally::default())
        })
        .collect();
    let (mut ln_m, mut ln_now) = (0.0_f64, 0.0);
    for at in 0..edges.iter().map(|edge| edge.intervals.len()).max().unwrap_or(0) {
        for (edge, worse, better, tally) in &mut tests {
            if let Some(interval) = edge.intervals.get(at) {
                tally.add(interval);
                worse.add(interval);
                better.add(interval);
            }
        }
        ln_now = known + ln_mean(tests.iter().map(|(_, worse, ..)| worse.ln()));
        ln_m = ln_m.max(ln_now);
    }
    let certifying = || tests.iter().filter(|(edge, ..)| edge.certifies).map(|(_, _, better, _)| better.ln());
    let ln_pass = if certifying().next().is_some() { certifying().fold(f64::INFINITY, f64::min) } else { 0.0 };
    let loudest = tests.iter().max_by(|(_, a, ..), (_, b, ..)| a.ln().total_cmp(&b.ln()));
    let Some((edge, _, _, tally)) = loudest.filter(|(.., tally)| tally.paired) else {
        return Judgement {
            verdict: Verdict::Unknown,
            ln_m,
            ln_now,
            ln_pass,
            canary: Counts::default(),
            stable: Counts::default(),
            edge: None,
            why: "there was no interval in which both arms had requests".into(),
        };
    };
    let slow = tally.fell(&format!("requests slower than {}", seconds(edge.seconds)));
    let (verdict, why) = if ln_m >= -margins.alpha.ln() {
        (Verdict::Fail, format!("{slow}; chance of a false alarm below 1 in {}", one_in(ln_m)))
    } else if ln_pass >= -margins.beta.ln() {
        (Verdict::Pass, format!("{slow}; chance of being wrong below 1 in {}", one_in(ln_pass)))
    } else {
        (Verdict::Continue, format!("{slow}; nothing is proven yet"))
    };
    let (canary, stable) = (tally.canary, tally.stable);
    Judgement { verdict, ln_m, ln_now, ln_pass, canary, stable, edge: Some(edge.seconds), why }
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

/// A reason, with what has to be known about bursts where nothing is proven.
fn noted(why: String, verdict: Verdict, bursts: Bursts) -> String {
    match bursts.why().filter(|_| verdict == Verdict::Continue) {
        Some(note) => format!("{why}; {note}"),
        None => why,
    }
}

/// An edge as people read it: "300 ms", "2.5 s".
pub(crate) fn seconds(seconds: f64) -> String {
    let (number, unit) = if seconds < 1.0 { (seconds * 1_000.0, "ms") } else { (seconds, "s") };
    let rounded = (number * 1_000.0).round() / 1_000.0;
    format!("{rounded} {unit}")
}

/// Sums for the words.
#[derive(Clone, Debug, Default)]
struct Tally {
    canary: Counts,
    stable: Counts,
    paired: bool,
}

impl Tally {
    fn add(&mut self, interval: &Interval) {
        self.canary.add(interval.canary);
        self.stable.add(interval.stable);
        self.paired |= interval.canary.n > 0 && interval.stable.n > 0;
    }

    fn fell(&self, what: &str) -> String {
        let bad = self.canary.x.saturating_add(self.stable.x);
        let traffic = Counts::new(self.canary.n.saturating_add(self.stable.n), self.canary.n).share().unwrap_or(0.0);
        let (x, all, traffic) = (thousands(self.canary.x), thousands(bad), percent(traffic));
        if bad == 0 {
            format!("no {what} on either side")
        } else {
            format!("{x} of {all} {what} fell on {traffic} of the traffic")
        }
    }
}

/// `exp(evidence)` rounded down to one digit, at most a thousand millions.
pub(crate) fn one_in(evidence: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10^9")]
    let times = evidence.clamp(0.0, 20.7233).exp() as u64;
    let unit = 10_u64.pow(times.max(1).ilog10());
    thousands(times / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Sensitivity,
            tests::{LATE, interval},
        },
        *,
    };
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha8Rng};
    use rand_distr::{Binomial, Distribution};

    fn rules(sensitivity: Sensitivity, bursts: Bursts) -> Rules {
        Rules { margins: sensitivity.margins(), bursts, block: 1 }
    }

    /// Judges where errors are known to come one by one.
    fn errors(intervals: &[Interval], sensitivity: Sensitivity) -> Judgement {
        super::errors(intervals, &rules(sensitivity, Bursts::Known(1.0)))
    }

    fn latency(edges: &[Edge], sensitivity: Sensitivity) -> Judgement {
        super::latency(edges, sensitivity.margins(), 1)
    }

    #[test]
    fn three_of_four_errors_on_5_percent_of_the_traffic_fail() {
        let judged = errors(&[interval((25, 3, 475, 1))], Sensitivity::Normal);
        assert_eq!(judged.verdict, Verdict::Fail);
        assert!((judged.ln_m - 5.000_468_160_583).abs() < 1e-9);
        assert_eq!(judged.why, "3 of 4 errors fell on 5 % of the traffic; chance of a false alarm below 1 in 100");
        assert_eq!(errors(&[interval((25, 2, 475, 2))], Sensitivity::Normal).verdict, Verdict::Continue);
    }

    #[test]
    fn a_failure_once_proven_stays() {
        let mut intervals: Vec<_> = LATE.map(interval).to_vec();
        assert_eq!(errors(&intervals, Sensitivity::Normal).verdict, Verdict::Fail);
        intervals.extend([interval((500, 0, 500, 40)); 20]);
        let judged = errors(&intervals, Sensitivity::Normal);
        assert_eq!(judged.verdict, Verdict::Fail);
        assert!((judged.ln_m - 16.163_569_814_611).abs() < 1e-9, "the greatest evidence is kept");
    }

    #[test]
    fn a_shared_incident_is_not_the_canarys_fault() {
        let intervals = [interval((50, 10, 450, 90)); 60];
        assert_ne!(errors(&intervals, Sensitivity::Normal).verdict, Verdict::Fail);
    }

    #[test]
    fn a_canary_under_the_floor_is_not_failed_for_being_worse_than_a_perfect_stable() {
        let judged = errors(&[interval((1_000, 1, 9_000, 0)); 5], Sensitivity::Normal);
        assert!(judged.ln_m > 4.6, "worse than stable beyond doubt: {}", judged.ln_m);
        assert_eq!(judged.verdict, Verdict::Continue, "{}", judged.why);
        assert!(judged.why.ends_with("that this hits more than 0.1 % of requests is not proven"), "{}", judged.why);
    }

    #[test]
    fn another_floor_fails_what_the_usual_one_lets_be_and_the_other_way_round() {
        let judge = |floor, bursts, intervals: &[Interval]| {
            let margins = Margins { floor, ..Sensitivity::Normal.margins() };
            super::errors(intervals, &Rules { margins, bursts, block: 1 })
        };
        for bursts in [Bursts::Known(1.0), Bursts::Known(5.0)] {
            let few = [interval((1_000, 1, 9_000, 0)); 60];
            assert_ne!(judge(FLOOR, bursts, &few).verdict, Verdict::Fail);
            assert_eq!(judge(0.000_05, bursts, &few).verdict, Verdict::Fail);
            let many = [interval((1_000, 30, 9_000, 90)); 60];
            assert_eq!(judge(FLOOR, bursts, &many).verdict, Verdict::Fail);
            assert_ne!(judge(0.05, bursts, &many).verdict, Verdict::Fail);
        }
        let words = judge(0.03, Bursts::Known(1.0), &[interval((1_000, 30, 9_000, 90)); 2]).why;
        assert!(words.ends_with("that this hits more than 3 % of requests is not proven"), "{words}");
    }

    /// Errors that come one by one, in bursts of five, and nobody knows how.
    const WAYS_TO_COME: [Bursts; 3] = [Bursts::Known(1.0), Bursts::Known(5.0), Bursts::Unseen];

    fn with_ceiling(ceiling: Option<f64>, bursts: Bursts) -> Rules {
        Rules { margins: Margins { ceiling, ..Sensitivity::Normal.margins() }, bursts, block: 1 }
    }

    #[test]
    fn errors_above_the_ceiling_fail_although_stable_has_as_many() {
        for bursts in WAYS_TO_COME {
            let incident = [interval((100, 10, 900, 90)); 40];
            let judge = |ceiling| super::errors(&incident, &with_ceiling(ceiling, bursts));
            let judged = judge(Some(0.05));
            assert_eq!(judged.verdict, Verdict::Fail, "{judged:?}");
            assert!(judged.ln_m >= 100.0_f64.ln() && judged.ln_now >= 100.0_f64.ln(), "{judged:?}");
            for ceiling in [None, Some(0.2)] {
                let judged = judge(ceiling);
                assert!(matches!(judged.verdict, Verdict::Continue | Verdict::Pass), "{judged:?}");
            }
        }
    }

    #[test]
    fn errors_below_the_ceiling_never_fail_an_equal_canary() {
        for bursts in WAYS_TO_COME {
            let mut errors = Errors::new(&with_ceiling(Some(0.05), bursts));
            for at in 0..500 {
                errors.add(&interval((100, 2, 900, 18)));
                assert!(!errors.fails(), "{bursts:?} after {at}");
            }
            assert!(errors.passes(), "{bursts:?}");
        }
    }

    #[test]
    fn the_ceiling_needs_no_requests_of_stable_and_what_is_below_it_is_not_known_without_them() {
        for bursts in WAYS_TO_COME {
            let judge = |bad, ceiling| super::errors(&[interval((100, bad, 0, 0)); 20], &with_ceiling(ceiling, bursts));
            let judged = judge(30, Some(0.05));
            assert_eq!(judged.verdict, Verdict::Fail, "{judged:?}");
            assert!(judged.why.starts_with("600 of 2,000 of the canary's requests went wrong"), "{}", judged.why);
            assert!(judged.ln_now <= judged.ln_m && judged.ln_m >= 100.0_f64.ln(), "{judged:?}");
            for judged in [judge(30, None), judge(1, Some(0.05))] {
                assert_eq!(judged.verdict, Verdict::Unknown, "{judged:?}");
                assert_eq!(judged.why, "there was no interval in which both arms had requests");
            }
        }
    }

    #[test]
    fn a_failure_by_the_ceiling_stays_and_says_what_was_seen_then() {
        let rules = with_ceiling(Some(0.05), Bursts::Known(1.0));
        let mut intervals = vec![interval((200, 31, 1_800, 279))];
        let first = super::errors(&intervals, &rules);
        assert_eq!(
            first.why,
            "31 of 200 of the canary's requests went wrong, more than the ceiling of 5 %; chance of a false alarm below 1 in \
             200,000"
        );
        intervals.extend([interval((200, 0, 1_800, 0)); 5]);
        let later = super::errors(&intervals, &rules);
        assert_eq!((later.verdict, later.ln_m.to_bits()), (Verdict::Fail, first.ln_m.to_bits()));
        assert!(later.ln_now < first.ln_now, "{later:?}");
        assert_eq!(
            later.why,
            "31 of the canary's first 200 requests went wrong, more than the ceiling of 5 %; chance of a false alarm below 1 \
             in 200,000"
        );
    }

    #[test]
    fn a_ceiling_takes_half_of_what_the_comparison_may_be_wrong() {
        let judge = |times, ceiling| {
            let intervals = vec![interval((25, 3, 475, 1)); times];
            super::errors(&intervals, &with_ceiling(ceiling, Bursts::Known(1.0)))
        };
        // Its evidence is 148: more than 100, and less than 200.
        assert_eq!([None, Some(0.5)].map(|ceiling| judge(1, ceiling).verdict), [Verdict::Fail, Verdict::Continue]);
        for (ceiling, words) in [(None, "40,000"), (Some(0.5), "20,000")] {
            let words = format!("6 of 8 errors fell on 5 % of the traffic; chance of a false alarm below 1 in {words}");
            assert_eq!(judge(2, ceiling).why, words);
        }
    }

    #[test]
    fn what_is_known_at_present_is_the_mean_of_both_ways_to_fail() {
        let mut errors = Errors::new(&with_ceiling(Some(0.05), Bursts::Known(1.0)));
        for look in LATE {
            errors.add(&interval(look));
            let compared = errors.worse.ln().min(errors.above.ln());
            let against_ceiling = errors.ceiling.as_ref().unwrap().above.ln();
            let mean = f64::midpoint(compared.exp(), against_ceiling.exp());
            assert!((errors.ln_now() - mean.ln()).abs() < 1e-9, "{look:?}");
        }
    }

    #[test]
    fn a_canary_at_the_ceiling_that_is_as_good_as_stable_fails_at_most_as_often_as_is_promised() {
        for (size, bursts) in [(1, Bursts::Known(1.0)), (5, Bursts::Known(5.0))] {
            let rules = with_ceiling(Some(0.05), bursts);
            let rules = Rules { margins: Margins { alpha: 0.1, ..rules.margins }, ..rules };
            // By one way or the other, or by both together as several metrics are judged.
            let fails = |seed, times: f64| {
                let mut chance = ChaCha8Rng::seed_from_u64(seed);
                let causes = Binomial::new(100 / size, 0.05 * times).unwrap();
                let mut errors = Errors::new(&rules);
                (0..30).any(|_| {
                    let mut arm = || Counts::new(100, size * causes.sample(&mut chance));
                    errors.add(&Interval { canary: arm(), stable: arm() });
                    errors.fails() || errors.ln_now() >= 10.0_f64.ln()
                })
            };
            let failed = (0..2_000).filter(|seed| fails(*seed, 1.0)).count();
            assert!(failed <= 200, "{bursts:?}: {failed} of 2,000");
            let failed = (0..20).filter(|seed| fails(*seed, 4.0)).count();
            assert_eq!(failed, 20, "{bursts:?}");
        }
    }

    #[test]
    fn an_equal_canary_passes_and_new_errors_take_the_pass_away() {
        let mut intervals = [interval((100, 0, 900, 5)), interval((100, 1, 900, 4))].repeat(60);
        let judged = errors(&intervals, Sensitivity::Normal);
        assert_eq!(judged.verdict, Verdict::Pass, "{}", judged.why);
        intervals.extend([interval((100, 6, 900, 5)); 12]);
        assert_ne!(errors(&intervals, Sensitivity::Normal).verdict, Verdict::Pass);
    }

    #[test]
    fn a_service_without_errors_passes_by_the_number_of_its_requests() {
        let few = [interval((10, 0, 90, 0)); 100];
        assert_eq!(errors(&few, Sensitivity::Normal).verdict, Verdict::Continue);
        let many = [interval((100, 0, 900, 0)); 60];
        let judged = errors(&many, Sensitivity::Normal);
        assert_eq!(judged.verdict, Verdict::Pass);
        assert_eq!(judged.why, "no errors on either side; chance of being wrong below 1 in 40");
    }

    #[test]
    fn an_arm_without_requests_proves_nothing() {
        for intervals in [vec![], vec![interval((0, 0, 500, 9))], vec![interval((500, 9, 0, 0)); 9]] {
            let judged = errors(&intervals, Sensitivity::High);
            assert_eq!((judged.verdict, judged.ln_m), (Verdict::Unknown, 0.0));
        }
        assert_eq!(latency(&[], Sensitivity::High).verdict, Verdict::Unknown);
    }

    #[test]
    fn higher_sensitivity_never_sees_less() {
        let seen =
            [Sensitivity::Low, Sensitivity::Normal, Sensitivity::High].map(|s| errors(&LATE.map(interval), s).ln_m);
        assert!(seen.is_sorted(), "{seen:?}");
    }

    fn edge(seconds: f64, certifies: bool, counts: (u64, u64, u64, u64), times: usize) -> Edge {
        Edge { seconds, certifies, bursts: Bursts::Known(1.0), intervals: vec![interval(counts); times] }
    }

    #[test]
    fn one_slow_edge_among_four_fails_and_is_named() {
        let mut edges = [0.05, 0.1, 0.5].map(|seconds| edge(seconds, true, (50, 3, 450, 27), 12)).to_vec();
        edges.push(edge(0.25, true, (50, 10, 450, 9), 12));
        let judged = latency(&edges, Sensitivity::Normal);
        assert_eq!(judged.verdict, Verdict::Fail);
        assert!(judged.why.starts_with("120 of 228 requests slower than 250 ms fell on 10 %"), "{}", judged.why);
        assert_eq!(judged.canary, Counts::new(600, 120));
    }

    #[test]
    fn edges_that_are_not_known_yet_count_as_if_they_proved_nothing() {
        let edges = [edge(0.25, true, (50, 10, 450, 9), 12)];
        let margins = Sensitivity::Normal.margins();
        let (one, of_many) = (super::latency(&edges, margins, 1), latency_among(&edges, 32, margins, 1));
        assert!((one.ln_m - of_many.ln_m - 32_f64.ln()).abs() < 1e-9);
        assert_eq!(latency_among(&[], 32, margins, 1).verdict, Verdict::Unknown);
    }

    #[test]
    fn every_edge_that_certifies_must_be_proven() {
        let good = |seconds| edge(seconds, true, (100, 5, 900, 45), 60);
        assert_eq!(latency(&[good(0.1), good(0.3)], Sensitivity::Normal).verdict, Verdict::Pass);
        let thin = edge(1.0, true, (100, 0, 900, 0), 60);
        assert_eq!(latency(&[good(0.1), thin.clone()], Sensitivity::Normal).verdict, Verdict::Continue);
        let watched = Edge { certifies: false, ..thin };
        assert_eq!(latency(&[good(0.1), watched.clone()], Sensitivity::Normal).verdict, Verdict::Pass);
        assert_eq!(latency(&[watched], Sensitivity::Normal).verdict, Verdict::Continue, "nothing certifies");
    }

    #[test]
    fn one_burst_fails_nobody_whose_past_is_not_known_or_full_of_bursts() {
        let burst = [interval((25, 0, 475, 2)), interval((25, 6, 475, 0)), interval((25, 0, 475, 2))];
        assert_eq!(errors(&burst, Sensitivity::Normal).verdict, Verdict::Fail, "six single errors would be too many");
        for bursts in [Bursts::Unseen, Bursts::Unknown(12), Bursts::Known(5.0)] {
            let judged = super::errors(&burst, &rules(Sensitivity::Normal, bursts));
            assert_eq!(judged.verdict, Verdict::Continue, "{}", judged.why);
            assert!(judged.why.contains("blocks of 10 s are compared"), "{}", judged.why);
        }
    }

    #[test]
    fn a_canary_that_always_fails_is_found_at_once_whatever_is_known() {
        for share in [(25, 475), (250, 250)] {
            let all = [interval((share.0, share.0, share.1, 0)); 2];
            let judged = super::errors(&all, &rules(Sensitivity::Normal, Bursts::Unseen));
            assert_eq!(judged.verdict, Verdict::Fail, "{judged:?}");
        }
    }

    #[test]
    fn two_bursts_of_a_dozen_errors_fail_nobody_whose_past_is_not_known() {
        let bursts = [interval((50, 12, 450, 0)); 2];
        for unknown in [Bursts::Unseen, Bursts::Unknown(150)] {
            let judged = super::errors(&bursts, &rules(Sensitivity::Normal, unknown));
            assert_eq!(judged.verdict, Verdict::Continue, "{judged:?}");
        }
    }

    #[test]
    fn the_second_way_to_pass_costs_the_first_one_little() {
        let seen = [interval((100, 0, 900, 5)), interval((100, 1, 900, 4))].repeat(30);
        let mut errors = Errors::new(&rules(Sensitivity::Normal, Bursts::Known(1.0)));
        for interval in &seen {
            errors.add(interval);
        }
        let cost = errors.better.ln() - errors.ln_pass();
        assert!(cost > 0.0 && cost < 0.29, "{cost}");
    }

    #[test]
    fn bursts_that_go_on_fail_in_the_end_and_what_is_equal_passes() {
        let rules = rules(Sensitivity::Normal, Bursts::Known(5.0));
        let worse = [interval((50, 5, 450, 4)); 30];
        assert_eq!(super::errors(&worse, &rules).verdict, Verdict::Fail);
        let equal = [interval((250, 3, 250, 3)); 200];
        assert_eq!(super::errors(&equal, &rules).verdict, Verdict::Pass);
    }

    fn scored(n: u32, mean: f64) -> Scores {
        let n = f64::from(n);
        Scores { n, sum: n * mean, squares: n * (mean * mean + 0.02) }
    }

    const SCORES: ScoreMargins =
        ScoreMargins { tolerated: 0.02, excluded: 0.05, alpha: 0.01, beta: 0.05, lower_is_better: false };

    #[test]
    fn a_drop_of_scores_beyond_the_margin_fails_and_one_within_it_passes() {
        let judge =
            |canary, times| super::scores(&vec![(scored(60, canary), scored(240, 0.8)); times], &SCORES).verdict;
        assert_eq!(judge(0.70, 10), Verdict::Fail);
        assert_eq!(judge(0.79, 30), Verdict::Pass);
        assert_eq!(judge(0.79, 1), Verdict::Continue);
        assert_eq!(judge(0.90, 30), Verdict::Pass, "better is no harm");
        assert_eq!(super::scores(&[(scored(0, 0.0), scored(9, 0.5))], &SCORES).verdict, Verdict::Unknown);
    }

    #[test]
    fn where_less_is_better_more_is_worse() {
        let margins = ScoreMargins { lower_is_better: true, ..SCORES };
        let judge = |canary| super::scores(&[(scored(60, canary), scored(240, 0.5)); 30], &margins).verdict;
        assert_eq!((judge(0.6), judge(0.4)), (Verdict::Fail, Verdict::Pass));
    }

    #[test]
    fn a_failure_by_scores_stays() {
        let mut seen = vec![(scored(60, 0.6), scored(240, 0.8)); 10];
        seen.extend([(scored(600, 0.9), scored(240, 0.8)); 50]);
        assert_eq!(super::scores(&seen, &SCORES).verdict, Verdict::Fail);
    }

    #[test]
    fn edges_are_written_for_people() {
        assert_eq!([0.3, 0.005, 2.5, 10.0].map(seconds), ["300 ms", "5 ms", "2.5 s", "10 s"]);
    }

    proptest! {
        #[test]
        fn any_counts_are_judged_with_finite_evidence(
            counts in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..20),
        ) {
            let intervals: Vec<_> = counts.into_iter()
                .map(|(n_c, x_c, n_s, x_s)| Interval { canary: Counts { n: n_c, x: x_c }, stable: Counts { n: n_s, x: x_s } })
                .collect();
            for bursts in [Bursts::Known(1.0), Bursts::Known(7.0), Bursts::Unseen] {
                for ceiling in [None, Some(0.05), Some(0.999_999)] {
                    let judged = super::errors(&intervals, &with_ceiling(ceiling, bursts));
                    prop_assert!(judged.ln_m.is_finite() && judged.ln_pass.is_finite(), "{judged:?}");
                    prop_assert!(judged.ln_now <= judged.ln_m, "{judged:?}");
                }
            }
            let judged = latency(&[Edge { seconds: 0.1, certifies: true, bursts: Bursts::Unseen, intervals }], Sensitivity::Low);
            prop_assert!(judged.ln_m.is_finite() && judged.ln_pass.is_finite(), "{judged:?}");
        }
    }
}
