//! Latency by the edges of a histogram, and scores of model evaluations.
use crate::{
    run::{Experiment, Key, Outcome},
    worlds::{Dice, POLL, POLLS},
};
use bellwether::judge::{
    Bursts, Counts, Edge, Interval, ScoreMargins, Scores, Sensitivity, compare::latency, means::scores,
};
use rand_distr::{Beta, Distribution};

/// What the tables call the worlds of latency.
pub const LATENCY: &str = "latency, lognormal";
/// The one in which only some requests are late.
pub const LATE: &str = "latency, 5% of requests 500 ms later";
/// So many times slower.
pub const SLOWER: [f64; 6] = [1.0, 1.1, 1.2, 1.3, 1.5, 2.0];
/// What the tables call the world of scores.
pub const SCORES: &str = "scores, stable 0.80";
/// What the canary scores.
pub const MEANS: [f64; 6] = [0.80, 0.79, 0.78, 0.75, 0.70, 0.60];
/// The judge of scores that were exported without the sum of their squares.
pub const WITHOUT_SQUARES: &str = "policy, without squares";

/// Edges in seconds.
const EDGES: [f64; 5] = [0.1, 0.15, 0.2, 0.3, 0.5];
/// Stable's latency is lognormal: the median in seconds, and the deviation of its logarithm.
const MEDIAN: f64 = 0.080;
const SIGMA: f64 = 0.6;
/// How many get 500 ms more.
const LATE_SHARE: f64 = 0.05;

fn key(method: &str, world: &str, canary: &str, truth: f64) -> Key {
    Key { method: method.into(), world: world.into(), canary: canary.into(), truth }
}

/// Scores by Beta distributions of concentration 8: five a second, a fifth of them the canary's, looked at every minute.
pub fn all_scores(seed: u64, runs: u64) -> impl Iterator<Item = Experiment<'static>> {
    MEANS.into_iter().map(move |mean| Experiment {
        keys: vec![key("policy", SCORES, "20%", mean), key(WITHOUT_SQUARES, SCORES, "20%", mean)],
        runs,
        play: Box::new(move |number| {
            let mut dice = Dice::new(seed, SCORES, mean.to_bits(), number);
            let minutes: Vec<_> =
                (0..30).map(|_| (score(&mut dice, 60.0, mean), score(&mut dice, 240.0, 0.80))).collect();
            let bare = |scores: Scores| Scores { squares: scores.sum, ..scores };
            let without: Vec<_> = minutes.iter().map(|(canary, stable)| (bare(*canary), bare(*stable))).collect();
            vec![of_scores(&minutes), of_scores(&without)]
        }),
    })
}

fn score(dice: &mut Dice, many: f64, mean: f64) -> Scores {
    let beta = Beta::new(mean * 8.0, (1.0 - mean) * 8.0).expect("a mean between 0 and 1");
    let mut seen = Scores::default();
    for _ in 0..dice.poisson(many) {
        let score: f64 = beta.sample(&mut dice.0);
        seen.n += 1.0;
        seen.sum += score;
        seen.squares += score * score;
    }
    seen
}

fn of_scores(minutes: &[(Scores, Scores)]) -> Outcome {
    use bellwether::vocab::Verdict::{Fail, Pass};
    let margins = ScoreMargins { tolerated: 0.02, excluded: 0.05, alpha: 0.01, beta: 0.05, lower_is_better: false };
    let (mut abort, mut pass, mut requests) = (None, None, 0);
    for end in 1..=minutes.len() {
        let time = Some(end as u64 * 60);
        requests += count(minutes[end - 1].0.n);
        match scores(&minutes[..end], &margins).verdict {
            Fail => abort = time,
            Pass => pass = pass.or(time),
            _ => {}
        }
        if abort.is_some() {
            break;
        }
    }
    Outcome { abort, pass, requests }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count in a real number")]
fn count(n: f64) -> u64 {
    n as u64
}

/// Latency: 50 requests a second, a tenth of them the canary's.
pub fn all_latencies(seed: u64, runs: u64) -> impl Iterator<Item = Experiment<'static>> {
    let slower = SLOWER.into_iter().map(|factor| (LATENCY, factor, 0.0));
    slower.chain([(LATE, 1.0, LATE_SHARE)]).map(move |(world, factor, late)| Experiment {
        keys: vec![key("policy", world, "10%", factor)],
        runs,
        play: Box::new(move |number| {
            let mut dice = Dice::new(seed, world, factor.to_bits(), number);
            vec![of_latency(&edges(&mut dice, factor, late))]
        }),
    })
}

/// The share of requests that are slower than each edge.
fn shares(factor: f64, late: f64) -> [f64; EDGES.len()] {
    // Half a second more is slower than every edge.
    EDGES.map(|edge| late + (1.0 - late) * above(((edge / MEDIAN).ln() - factor.ln()) / SIGMA))
}

/// The share of a normal distribution that lies above so many deviations: Simpson's rule up to where nothing is left.
fn above(deviations: f64) -> f64 {
    const STEPS: u32 = 1_000;
    let width = (10.0 - deviations) / f64::from(STEPS);
    let density = |step: u32| (-(deviations + f64::from(step) * width).powi(2) / 2.0).exp();
    let weight = |step: u32| f64::from(if step.is_multiple_of(STEPS) { 1 } else { 2 + 2 * (step % 2) });
    (0..=STEPS).map(|step| weight(step) * density(step)).sum::<f64>() * width / 3.0 / std::f64::consts::TAU.sqrt()
}

/// Requests and, of them, those slower than each edge: of those slower than the edge before, so many.
fn slower(dice: &mut Dice, n: u64, shares: &[f64; EDGES.len()]) -> [Counts; EDGES.len()] {
    let mut before = (n, 1.0);
    shares.map(|share| {
        before = (dice.binomial(before.0, share / before.1), share);
        Counts { n, x: before.0 }
    })
}

/// Half an hour of both arms at every edge, and what the hour before says of bursts there.
fn edges(dice: &mut Dice, factor: f64, late: f64) -> Vec<Edge> {
    let mut edges: Vec<_> =
        EDGES.map(|seconds| Edge { seconds, certifies: false, bursts: Bursts::Unseen, intervals: Vec::new() }).to_vec();
    let (of_canary, of_stable) = (shares(factor, late), shares(1.0, 0.0));
    for _ in 0..POLLS {
        let all = dice.poisson(500.0);
        let n = dice.binomial(all, 0.1);
        let arms = slower(dice, n, &of_canary).into_iter().zip(slower(dice, all - n, &of_stable));
        for (edge, (canary, stable)) in edges.iter_mut().zip(arms) {
            edge.intervals.push(Interval { canary, stable });
        }
    }
    let mut past = EDGES.map(|_| Vec::new());
    for _ in 0..360 {
        let pods: Vec<_> = (0..4)
            .map(|_| {
                let n = dice.poisson(125.0);
                slower(dice, n, &of_stable)
            })
            .collect();
        for (at, rows) in past.iter_mut().enumerate() {
            rows.push(pods.iter().map(|pod| pod[at]).collect::<Vec<_>>());
        }
    }
    for (edge, rows) in edges.iter_mut().zip(past) {
        let slow: u64 = rows.iter().flatten().map(|pod: &Counts| pod.x).sum();
        let all: u64 = rows.iter().flatten().map(|pod| pod.n).sum();
        // As the operator chooses those by which a canary passes.
        edge.certifies = Counts::new(all, slow).share().is_some_and(|share| share >= 0.005);
        edge.bursts = Bursts::of(rows);
    }
    edges
}

/// When it is aborted. A failure stays, so the first look with one is found by halving.
fn of_latency(edges: &[Edge]) -> Outcome {
    use bellwether::vocab::Verdict::{Fail, Pass};
    let judge = |looks: usize| {
        let until = |edge: &Edge| Edge { intervals: edge.intervals[..looks].to_vec(), ..edge.clone() };
        latency(&edges.iter().map(until).collect::<Vec<_>>(), Sensitivity::Normal.margins(), 1).verdict
    };
    let time = |looks: usize| looks as u64 * POLL;
    let requests = |looks: usize| edges[0].intervals[..looks].iter().map(|seen| seen.canary.n).sum();
    let mut failed = 1;
    while failed < POLLS && judge(failed) != Fail {
        failed = (failed * 2).min(POLLS);
    }
    let at_the_end = judge(failed);
    if at_the_end != Fail {
        let pass = (at_the_end == Pass).then_some(time(POLLS));
        return Outcome { abort: None, pass, requests: requests(POLLS) };
    }
    let mut fine = failed / 2;
    while failed - fine > 1 {
        let middle = usize::midpoint(fine, failed);
        if judge(middle) == Fail { failed = middle } else { fine = middle }
    }
    Outcome { abort: Some(time(failed)), pass: None, requests: requests(failed) }
}
