//! The comparison with stable: sequential tests whose promise holds at any moment of looking.
//!
//! The share of the errors that falls on the canary is compared with its share of the requests, so the rate of errors
//! that both arms have in common, which changes by the hour, cancels out. Under its hypothesis each test's evidence is a
//! supermartingale that starts at 1, so by Ville's inequality it ever exceeds `1/alpha` with probability `alpha` at most,
//! for any number of looks and any split. Which test counts is decided by what stable did before the release:
//! errors that come one by one are counted so, see [`super::odds`]; else bets on blocks of time are added, which no burst
//! within a block can fool, see [`super::shares`].
use super::{
    Bursts, Counts, Interval, Margins, ln_mean,
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
    /// Whether a proof that the canary is worse has to stand for one more interval. What befalls both arms may be seen of one
    /// of them first, where each is scraped at moments of its own.
    pub lasting: bool,
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
        let Rules { margins, bursts, block, .. } = *rules;
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
        let Rules { margins, bursts, block, .. } = *rules;
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

/// Evidence as far as it counts: at once, or where it has to last as much of it as there was an interval ago already. It is
/// never more than the evidence itself, so what is promised of that holds of it too.
#[derive(Clone, Copy, Debug)]
struct Lasting {
    is_wanted: bool,
    before: f64,
    now: f64,
}

impl Lasting {
    fn new(is_wanted: bool) -> Self {
        Self { is_wanted, before: 0.0, now: 0.0 }
    }

    fn add(&mut self, ln: f64) -> f64 {
        (self.before, self.now) = (self.now, ln);
        self.ln()
    }

    fn ln(&self) -> f64 {
        if self.is_wanted { self.before.min(self.now) } else { self.now }
    }
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
    worse_lasts: Lasting,
    /// That it is worse and that it matters.
    both_last: Lasting,
    /// The most of the weaker one of the two.
    ln_both: f64,
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
            worse_lasts: Lasting::new(rules.lasting),
            both_last: Lasting::new(rules.lasting),
            ln_both: 0.0,
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
        self.ln_worse = self.ln_worse.max(self.worse_lasts.add(worse));
        self.ln_both = self.ln_both.max(self.both_last.add(worse.min(self.above.ln())));
        self.ln_m = self.ln_m.max(self.either(self.worse_lasts.ln()));
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
        self.either(self.both_last.ln())
    }

    /// How sure each way to fail must be: a failure by any of them is a false alarm with probability `alpha` at most.
    fn sure(&self) -> f64 {
        let margins = &self.rules.margins;
        -(margins.alpha / margins.ways()).ln()
    }

    /// Whether it is, or was, proven that the canary is worse than stable, and in the same moment that it matters: what was the
    /// one once, and the other in an incident of both much later, is not both.
    fn is_worse(&self) -> bool {
        self.tally.paired && self.ln_both >= self.sure()
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
        let Self { tally, ln_worse, ln_both, ln_m, .. } = self;
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
                _ => format!("{}; {}", fell(), self.false_alarm(*ln_both)),
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
        let why = noted(why, verdict, self.rules.bursts.why("errors", "hour"));
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
    latency_among(edges, edges.len(), &Rules { margins, bursts: Bursts::Unseen, block, lasting: false })
}

/// Compares latency at edges that are some of `all`, of which others may come to be known later: those count as edges
/// that proved nothing, which is less than each of them may prove, so the promise holds whichever they are. How much slow
/// requests come in bursts each edge says for itself.
pub fn latency_among(edges: &[Edge], all: usize, rules: &Rules) -> Judgement {
    let Rules { margins, lasting, .. } = *rules;
    let known = f64::ln(real(edges.len() as u64) / real(all.max(edges.len()).max(1) as u64));
    let mut tests: Vec<_> = edges
        .iter()
        .map(|edge| {
            let rules = Rules { bursts: edge.bursts, ..*rules };
            (edge, Worse::new(&rules), Better::new(&rules), Tally::default())
        })
        .collect();
    let (mut ln_m, mut lasts) = (0.0_f64, Lasting::new(lasting));
    for at in 0..edges.iter().map(|edge| edge.intervals.len()).max().unwrap_or(0) {
        for (edge, worse, better, tally) in &mut tests {
            if let Some(interval) = edge.intervals.get(at) {
                tally.add(interval);
                worse.add(interval);
                better.add(interval);
            }
        }
        ln_m = ln_m.max(lasts.add(known + ln_mean(tests.iter().map(|(_, worse, ..)| worse.ln()))));
    }
    let ln_now = lasts.ln();
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
    let why = noted(why, verdict, edge.bursts.why("requests that slow", "10 minutes"));
    let (canary, stable) = (tally.canary, tally.stable);
    Judgement { verdict, ln_m, ln_now, ln_pass, canary, stable, edge: Some(edge.seconds), why }
}

/// A reason, with what has to be known about bursts where nothing is proven.
fn noted(why: String, verdict: Verdict, bursts: Option<String>) -> String {
    match bursts.filter(|_| verdict == Verdict::Continue) {
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
mod tests;
