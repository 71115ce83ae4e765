//! The rules of others on the same numbers, each as its own source has it: when it aborts, in seconds, if it does.
use crate::worlds::{POLL, POLLS, Poll};
use bellwether::judge::Counts;

fn sum(counts: impl Iterator<Item = Counts>) -> Counts {
    counts.fold(Counts::default(), |a, b| Counts { n: a.n + b.n, x: a.x + b.x })
}

/// Looks in so many seconds.
fn looks(seconds: u64) -> usize {
    usize::try_from(seconds / POLL).expect("some minutes")
}

fn time(windows: usize, every: u64) -> u64 {
    windows as u64 * every
}

/// Argo Rollouts: every so often the success of the time since then is measured, and the release is aborted when more
/// measurements failed than `limit`, whenever that was. A window without requests is not counted.
pub fn argo(polls: &[Poll], success: f64, every: u64, limit: u32) -> Option<u64> {
    let mut failed = 0;
    for (at, window) in polls.chunks(looks(every)).enumerate() {
        let errors = sum(window.iter().map(|poll| poll.arms.canary)).share();
        failed += u32::from(errors.is_some_and(|errors| 1.0 - errors < success));
        if failed > limit {
            return Some(time(at + 1, every));
        }
    }
    None
}

/// Flagger: a failed check counts, and so does one without requests; with `threshold` of them it rolls back at the start
/// of the next check.
pub fn flagger(polls: &[Poll], success: f64, every: u64, threshold: u32) -> Option<u64> {
    let mut failed = 0;
    for (at, window) in polls.chunks(looks(every)).enumerate() {
        let errors = sum(window.iter().map(|poll| poll.arms.canary)).share();
        failed += u32::from(errors.is_none_or(|errors| 1.0 - errors < success));
        if failed >= threshold {
            return Some(time(at + 2, every)).filter(|at| *at <= POLLS as u64 * POLL);
        }
    }
    None
}

/// The z-test of every introduction, looked at again and again: the pooled one-sided test of all counts so far at 5 %.
pub fn naive(polls: &[Poll], every: u64) -> Option<u64> {
    let (mut canary, mut stable) = (Counts::default(), Counts::default());
    for (at, window) in polls.chunks(looks(every)).enumerate() {
        canary = sum([canary].into_iter().chain(window.iter().map(|poll| poll.arms.canary)));
        stable = sum([stable].into_iter().chain(window.iter().map(|poll| poll.arms.stable)));
        let (Some(of_canary), Some(of_stable)) = (canary.share(), stable.share()) else { continue };
        let pooled = sum([canary, stable].into_iter()).share().unwrap_or_default();
        let error = (pooled * (1.0 - pooled) * (1.0 / real(canary.n) + 1.0 / real(stable.n))).sqrt();
        if error > 0.0 && (of_canary - of_stable) / error > 1.644_853_6 {
            return Some(time(at + 1, every));
        }
    }
    None
}

/// With whom Kayenta compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// All of stable.
    Stable,
    /// Pods of stable with as many requests as the canary.
    Twin,
}

/// Kayenta's judge: every five minutes the rates of errors of all minutes so far are compared.
pub fn kayenta(polls: &[Poll], baseline: Baseline) -> Option<u64> {
    const MINUTE: u64 = 60;
    let minutes = |of: fn(&Poll) -> Counts| -> Vec<Option<f64>> {
        polls.chunks(looks(MINUTE)).map(|window| sum(window.iter().map(of)).share()).collect()
    };
    let canary = minutes(|poll| poll.arms.canary);
    let other = match baseline {
        Baseline::Stable => minutes(|poll| poll.arms.stable),
        Baseline::Twin => minutes(|poll| poll.twin),
    };
    (5..=canary.len()).step_by(5).find_map(|end| {
        let points = |series: &[Option<f64>]| series[..end].iter().flatten().copied().collect::<Vec<_>>();
        is_high(&points(&canary), &points(&other)).then_some(time(end, MINUTE))
    })
}

/// Mann and Whitney's test as `NetflixACAJudge` has it: the lower end of the 98 % interval has to be above a quarter of the
/// estimated difference (Hodges and Lehmann's), and the canary's mean not below the other's.
fn is_high(canary: &[f64], other: &[f64]) -> bool {
    if canary.is_empty() || other.is_empty() || sorted(canary) == sorted(other) {
        return false;
    }
    let differences: Vec<_> = canary.iter().flat_map(|x| other.iter().map(move |y| x - y)).collect();
    let tolerated = 0.25 * median(differences).abs();
    let (m, n) = (real(canary.len() as u64), real(other.len() as u64));
    let values: Vec<_> = canary.iter().map(|x| x - tolerated).chain(other.iter().copied()).collect();
    let (ranks, ties) = ranks(&values);
    let above = ranks[..canary.len()].iter().sum::<f64>() - m * (m + 1.0) / 2.0 - m * n / 2.0;
    let deviation = (m * n / 12.0 * ((m + n + 1.0) - ties / ((m + n) * (m + n - 1.0)))).sqrt();
    let corrected = if above == 0.0 { 0.0 } else { above - above.signum() * 0.5 };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / real(values.len() as u64);
    deviation > 0.0 && corrected / deviation > 2.326_347_9 && (mean(other) == 0.0 || mean(canary) / mean(other) >= 1.0)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn median(mut values: Vec<f64>) -> f64 {
    let (middle, is_even) = (values.len() / 2, values.len().is_multiple_of(2));
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().max_by(f64::total_cmp).filter(|_| is_even);
    f64::midpoint(lower.unwrap_or(*upper), *upper)
}

/// Ranks from 1, equal values sharing the mean of theirs, and the sum of `t^3 - t` over `t` equal values.
fn ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut ties, mut before) = (vec![0.0; values.len()], 0.0, 0);
    #[expect(clippy::float_cmp, reason = "equal values share a rank, nearly equal ones do not")]
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let count = real(equal.len() as u64);
        for at in equal {
            ranks[*at] = real(before) + f64::midpoint(1.0, count);
        }
        ties += count.powi(3) - count;
        before += equal.len() as u64;
    }
    (ranks, ties)
}

#[expect(clippy::cast_precision_loss, reason = "counts of half an hour")]
pub fn real(count: u64) -> f64 {
    count as f64
}
