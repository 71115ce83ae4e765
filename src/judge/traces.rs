//! Paths of the judge's tests on traces of all sorts, held against a second implementation that was written down from the
//! formulas alone, in another language: `hack/bench.d/traces.py` draws the traces and says what comes out.
use super::{
    Bursts, Counts, Interval, Margins, Rules, Scores, Sensitivity,
    compare::{Better, Worse},
    means::{Means, Way},
    odds::{Harm, Safe},
    real,
    shares::Bets,
};
use serde::Deserialize;

/// The logarithm of a test's evidence after half of the looks and after all of them.
type Ends = [f64; 2];

/// One release, as a line has it.
#[derive(Deserialize)]
struct Trace {
    tolerated: f64,
    excluded: f64,
    block: usize,
    /// Requests and errors of stable's pods, row by row.
    past: Vec<Vec<[u64; 2]>>,
    /// Requests and errors of the canary, and stable's.
    looks: Vec<[u64; 4]>,
    dispersion: f64,
    harm: Ends,
    safe: Ends,
    above: Ends,
    below: Ends,
    rate: Ends,
    more: Ends,
    less: Ends,
    /// Single errors, or blocks where they come in bursts.
    either: Ends,
    /// The same, or of blocks and single errors the mean.
    worse: Ends,
    better: Ends,
}

impl Trace {
    fn looks(&self) -> Vec<Interval> {
        let look = |[n_c, x_c, n_s, x_s]: &[u64; 4]| super::tests::interval((*n_c, *x_c, *n_s, *x_s));
        self.looks.iter().map(look).collect()
    }

    /// Every bad request scores 1, every good one so much.
    fn scores(&self, good: f64) -> Vec<(Scores, Scores)> {
        let arm = |counts: Counts| {
            let (n, bad) = (real(counts.n), real(counts.x));
            Scores { n, sum: bad + (n - bad) * good, squares: bad + (n - bad) * good * good }
        };
        self.looks().into_iter().map(|look| (arm(look.canary), arm(look.stable))).collect()
    }

    fn rules(&self) -> Rules {
        let margins = Margins { tolerated: self.tolerated, excluded: self.excluded, ..Sensitivity::Normal.margins() };
        let rows = self.past.iter().map(|row| row.iter().map(|[n, x]| Counts::new(*n, *x)).collect::<Vec<_>>());
        Rules { margins, bursts: Bursts::of(rows), block: self.block, lasting: false }
    }
}

fn traces() -> Vec<Trace> {
    let all: Vec<Trace> = serde_json::from_str(include_str!("traces.json")).unwrap();
    assert_eq!(all.len(), 100);
    all
}

fn is_close(seen: f64, expected: f64, what: &str) {
    assert!((seen - expected).abs() < 1e-9 * expected.abs().max(1.0), "{what}: {seen} and not {expected}");
}

/// Holds what a test says on the way through these looks against what is to come out.
fn agrees<Look>(what: &str, looks: &[Look], expected: Ends, next: impl FnMut(&Look) -> f64) {
    let seen: Vec<_> = looks.iter().map(next).collect();
    for (at, expected) in [looks.len() / 2 - 1, looks.len() - 1].into_iter().zip(expected) {
        is_close(seen[at], expected, what);
    }
}

/// A test as what it says after each look.
macro_rules! says {
    ($test:expr, |$name:ident| $ln:expr) => {{
        let mut $name = $test;
        move |look: &Interval| {
            $name.add(look);
            $ln
        }
    }};
}

#[test]
fn errors_one_by_one_agree_with_a_second_implementation_on_100_traces() {
    for (at, trace) in traces().iter().enumerate() {
        let looks = trace.looks();
        let harm = says!(Harm::new(trace.tolerated, 1.0), |harm| harm.mixture.ln());
        agrees(&format!("harm of {at}"), &looks, trace.harm, harm);
        let safe = says!(Safe::new(trace.excluded, 1.0), |safe| safe.mixture.ln());
        agrees(&format!("safe of {at}"), &looks, trace.safe, safe);
    }
}

#[test]
fn bets_on_shares_agree_with_a_second_implementation_on_100_traces() {
    for (at, trace) in traces().iter().enumerate() {
        let looks = trace.looks();
        let above = says!(Bets::above(trace.tolerated, trace.block), |bets| bets.ln());
        agrees(&format!("above of {at}"), &looks, trace.above, above);
        let below = says!(Bets::below(trace.excluded, trace.block), |bets| bets.ln());
        agrees(&format!("below of {at}"), &looks, trace.below, below);
        let rate = says!(Bets::rate(0.01, trace.block), |bets| bets.ln());
        agrees(&format!("rate of {at}"), &looks, trace.rate, rate);
    }
}

#[test]
fn the_test_for_means_agrees_with_a_second_implementation_on_100_traces() {
    let says = |mut means: Means| {
        move |(canary, stable): &(Scores, Scores)| {
            means.add(*canary, *stable);
            means.ln()
        }
    };
    for (at, trace) in traces().iter().enumerate() {
        agrees(&format!("more of {at}"), &trace.scores(0.0), trace.more, says(Means::new(Way::More, 0.002)));
        agrees(&format!("less of {at}"), &trace.scores(0.5), trace.less, says(Means::new(Way::Less, -0.05)));
    }
}

#[test]
fn bursts_and_the_test_that_is_chosen_by_them_agree_with_a_second_implementation_on_100_traces() {
    let mut one_by_one = 0;
    for (at, trace) in traces().iter().enumerate() {
        let (looks, rules) = (trace.looks(), trace.rules());
        let Bursts::Known(dispersion) = rules.bursts else { panic!("trace {at} has errors enough") };
        is_close(dispersion, trace.dispersion, &format!("dispersion of {at}"));
        if rules.bursts.one_by_one() {
            one_by_one += 1;
            let harm = Harm::new(trace.tolerated, rules.bursts.tempering());
            agrees(&format!("tempered of {at}"), &looks, trace.either, says!(harm, |harm| harm.mixture.ln()));
        } else {
            let above = Bets::above(trace.tolerated, trace.block);
            agrees(&format!("blocks of {at}"), &looks, trace.either, says!(above, |bets| bets.ln()));
        }
        agrees(&format!("worse of {at}"), &looks, trace.worse, says!(Worse::new(&rules), |test| test.ln()));
        agrees(&format!("better of {at}"), &looks, trace.better, says!(Better::new(&rules), |test| test.ln()));
    }
    assert!((20..80).contains(&one_by_one), "{one_by_one} of both kinds");
}
