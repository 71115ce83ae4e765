//! The comparison with stable: sequential tests whose promise holds at any moment of looking.
//!
//! The share of the errors that falls on the canary is compared with its share of the requests, so the rate of errors
//! that both arms have in common, which changes by the hour, cancels out. Each test is a mixture of likelihood ratios
//! over 24 ratios from 1.25 to 32. Under its hypothesis the mixture is a supermartingale that starts at 1, so by Ville's
//! inequality it ever exceeds `1/alpha` with probability `alpha` at most, for any number of looks and any split.
//! Given an interval's totals, the canary's errors follow Fisher's noncentral hypergeometric law; that a factor's
//! mean is at most 1 under it follows from Hoeffding (1956) and, for the other direction, from Cornfield's equation.
use super::{Counts, Interval, Sensitivity, percent, real, thousands};
use crate::vocab::Verdict;

/// Errors on fewer than this share of the canary's requests never fail it, whatever stable does.
pub const FLOOR: f64 = 0.001;

/// The number of ratios that a mixture weighs alike.
const RATIOS: usize = 24;

/// What a comparison says, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Fail and Pass are proven, Continue is not, Unknown: there was no interval in which both arms had requests.
    pub verdict: Verdict,
    /// Natural logarithm of the greatest evidence so far that the canary is worse: it has never fallen.
    pub ln_m: f64,
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
    /// Requests and slower ones, of the same intervals for every edge of a comparison.
    pub intervals: Vec<Interval>,
}

/// Compares error rates.
///
/// Fails when the errors are proven to be worse than stable's by more than the margin and, by a test of its own, to
/// hit more than [`FLOOR`] of the canary's requests; a failure, once proven, stays. Passes while it is proven that the
/// odds are less than `excluded` times stable's or that less than [`FLOOR`] of the requests are hit: the mean of both
/// proofs counts, and more errors later take a Pass away again.
pub fn errors(intervals: &[Interval], sensitivity: Sensitivity) -> Judgement {
    let margins = sensitivity.margins();
    let sure = -margins.alpha.ln();
    let (mut harm, mut ceiling) = (Harm::new(margins.tolerated), Mixture::new());
    let (mut safe, mut rare) = (Safe::new(margins.excluded), Mixture::new());
    let mut tally = Tally::default();
    let (mut ln_harm, mut ln_ceiling) = (0.0_f64, 0.0_f64);
    for interval in intervals {
        tally.add(interval);
        harm.add(interval);
        safe.add(interval);
        ceiling.bernoulli(interval.canary, |ratio| (FLOOR * ratio).min(0.99));
        rare.bernoulli(interval.canary, |ratio| FLOOR / ratio);
        ln_harm = ln_harm.max(harm.0.ln());
        ln_ceiling = ln_ceiling.max(ceiling.ln());
    }
    let ln_pass = ln_mean([safe.0.ln(), rare.ln()].into_iter());
    let verdict = if !tally.paired {
        Verdict::Unknown
    } else if ln_harm >= sure && ln_ceiling >= sure {
        Verdict::Fail
    } else if ln_pass >= -margins.beta.ln() {
        Verdict::Pass
    } else {
        Verdict::Continue
    };
    let why = match verdict {
        Verdict::Unknown => "there was no interval in which both arms had requests".into(),
        Verdict::Fail => format!("{}; chance of a false alarm below 1 in {}", tally.fell("errors"), one_in(ln_harm)),
        Verdict::Pass => format!("{}; chance of being wrong below 1 in {}", tally.fell("errors"), one_in(ln_pass)),
        Verdict::Continue if ln_harm >= sure => {
            format!("{}; that this hits more than {} of requests is not proven", tally.fell("errors"), percent(FLOOR))
        }
        Verdict::Continue => format!("{}; nothing is proven yet", tally.fell("errors")),
    };
    Judgement { verdict, ln_m: ln_harm, ln_pass, canary: tally.canary, stable: tally.stable, edge: None, why }
}

/// Compares latency at the edges of a histogram.
///
/// Fails when the mean of the edges' evidence proves that the odds of being slower than some edge are more than the
/// margin above stable's; a failure stays. Passes while every edge that certifies proves the contrary. There is no floor.
pub fn latency(edges: &[Edge], sensitivity: Sensitivity) -> Judgement {
    let margins = sensitivity.margins();
    let mut tests: Vec<_> = edges
        .iter()
        .map(|edge| (edge, Harm::new(margins.tolerated), Safe::new(margins.excluded), Tally::default()))
        .collect();
    let mut ln_m = 0.0_f64;
    for at in 0..edges.iter().map(|edge| edge.intervals.len()).max().unwrap_or(0) {
        for (edge, harm, safe, tally) in &mut tests {
            if let Some(interval) = edge.intervals.get(at) {
                tally.add(interval);
                harm.add(interval);
                safe.add(interval);
            }
        }
        ln_m = ln_m.max(ln_mean(tests.iter().map(|(_, harm, ..)| harm.0.ln())));
    }
    let certifying = || tests.iter().filter(|(edge, ..)| edge.certifies).map(|(_, _, safe, _)| safe.0.ln());
    let ln_pass = if certifying().next().is_some() { certifying().fold(f64::INFINITY, f64::min) } else { 0.0 };
    let loudest = tests.iter().max_by(|(_, a, ..), (_, b, ..)| a.0.ln().total_cmp(&b.0.ln()));
    let Some((edge, _, _, tally)) = loudest.filter(|(.., tally)| tally.paired) else {
        return Judgement {
            verdict: Verdict::Unknown,
            ln_m,
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
    Judgement { verdict, ln_m, ln_pass, canary: tally.canary, stable: tally.stable, edge: Some(edge.seconds), why }
}

/// An edge as people read it: "300 ms", "2.5 s".
pub(crate) fn seconds(seconds: f64) -> String {
    let (number, unit) = if seconds < 1.0 { (seconds * 1_000.0, "ms") } else { (seconds, "s") };
    let rounded = (number * 1_000.0).round() / 1_000.0;
    format!("{rounded} {unit}")
}

/// Twenty-four likelihood ratios, weighed alike, as logarithms.
#[derive(Clone, Debug)]
struct Mixture([f64; RATIOS]);

impl Mixture {
    fn new() -> Self {
        Self([0.0; RATIOS])
    }

    /// The mixture's logarithm.
    fn ln(&self) -> f64 {
        ln_mean(self.0.iter().copied())
    }

    /// One arm's errors against the hypothesis that they hit [`FLOOR`] of its requests; `other` is each ratio's rate.
    fn bernoulli(&mut self, counts: Counts, other: impl Fn(f64) -> f64) {
        let (bad, good) = (real(counts.x.min(counts.n)), real(counts.n - counts.x.min(counts.n)));
        for (l, ratio) in self.0.iter_mut().zip(ratios()) {
            let rate = other(ratio);
            *l += bad * (rate / FLOOR).ln() + good * ((1.0 - rate) / (1.0 - FLOOR)).ln();
        }
    }
}

/// Evidence that the odds ratio is above `tolerated`, against the hypothesis that it never is.
struct Harm(Mixture, f64);

impl Harm {
    fn new(tolerated: f64) -> Self {
        Self(Mixture::new(), tolerated)
    }

    /// With `theta(psi) = psi n_c / (psi n_c + n_s)`, each ratio r gains
    /// `x_c ln(theta(psi0 r)/theta(psi0)) + x_s ln((1-theta(psi0 r))/(1-theta(psi0)))`, written so that nothing cancels.
    fn add(&mut self, interval: &Interval) {
        let Some(Known { n_c, n_s, x_c, e }) = Known::of(interval) else { return };
        let ln_none = (self.1 * n_c + n_s).ln();
        for (l, ratio) in self.0.0.iter_mut().zip(ratios()) {
            *l += x_c * ratio.ln() + e * (ln_none - (self.1 * ratio * n_c + n_s).ln());
        }
    }
}

/// Evidence that the odds ratio is below `excluded`, against the hypothesis that it never is.
struct Safe(Mixture, f64);

impl Safe {
    fn new(excluded: f64) -> Self {
        Self(Mixture::new(), excluded)
    }

    /// The mirror image. The least mean that the hypothesis allows for the canary's errors is the smaller root of
    /// `(psi-1) mu^2 - (n_s + psi n_c + (psi-1) e) mu + psi n_c e = 0` (Cornfield).
    fn add(&mut self, interval: &Interval) {
        let Some(Known { n_c, n_s, x_c, e }) = Known::of(interval) else { return };
        let (a, c) = (self.1 - 1.0, self.1 * n_c * e);
        let b = n_s + self.1 * n_c + a * e;
        let mean = 2.0 * c / (b + (b * b - 4.0 * a * c).max(0.0).sqrt());
        if !(mean > 0.0 && mean < e) {
            return;
        }
        let odds = mean / (e - mean);
        for (l, ratio) in self.0.0.iter_mut().zip(ratios()) {
            *l += e * ((1.0 + odds) / (1.0 + odds / ratio)).ln() - x_c * ratio.ln();
        }
    }
}

/// An interval from which something can be learned: both arms had requests, and something went wrong.
struct Known {
    n_c: f64,
    n_s: f64,
    x_c: f64,
    e: f64,
}

impl Known {
    fn of(interval: &Interval) -> Option<Self> {
        let Interval { canary, stable } = interval;
        let (x_c, x_s) = (real(canary.x.min(canary.n)), real(stable.x.min(stable.n)));
        let known = Self { n_c: real(canary.n), n_s: real(stable.n), x_c, e: x_c + x_s };
        (canary.n > 0 && stable.n > 0 && known.e > 0.0).then_some(known)
    }
}

/// Sums for the words.
#[derive(Default)]
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

/// The ratios of the mixture: evenly spaced logarithms from 1.25 to 32.
fn ratios() -> impl Iterator<Item = f64> {
    let (low, high) = (1.25_f64.ln(), 32.0_f64.ln());
    let step = (high - low) / real(RATIOS as u64 - 1);
    (0..RATIOS as u64).map(move |g| (low + real(g) * step).exp())
}

/// The logarithm of the mean of what these are logarithms of; 0, no evidence, of none.
fn ln_mean(ln: impl Iterator<Item = f64> + Clone) -> f64 {
    let greatest = ln.clone().fold(f64::NEG_INFINITY, f64::max);
    if greatest == f64::NEG_INFINITY {
        return 0.0;
    }
    let (sum, count) = ln.fold((0.0, 0.0), |(sum, count), l| (sum + (l - greatest).exp(), count + 1.0));
    greatest + f64::ln(sum / count)
}

/// `exp(evidence)` rounded down to one digit, at most a thousand millions.
fn one_in(evidence: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10^9")]
    let times = evidence.clamp(0.0, 20.7233).exp() as u64;
    let unit = 10_u64.pow(times.max(1).ilog10());
    thousands(times / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval((n_c, x_c, n_s, x_s): (u64, u64, u64, u64)) -> Interval {
        Interval { canary: Counts::new(n_c, x_c), stable: Counts::new(n_s, x_s) }
    }

    fn choose(n: u64, k: u64) -> f64 {
        (1..=k).map(|i| real(n - k + i) / real(i)).product()
    }

    /// The mean of every ratio's factor when the canary's errors follow Fisher's law with this odds ratio.
    fn means(n_c: u64, n_s: u64, e: u64, odds: f64, gain: impl Fn(&Interval) -> Mixture) -> Vec<f64> {
        let law = |x: u64| choose(n_c, x) * choose(n_s, e - x) * odds.powi(i32::try_from(x).unwrap());
        let outcomes = e.saturating_sub(n_s)..=e.min(n_c);
        let total: f64 = outcomes.clone().map(law).sum();
        let mut means = vec![0.0; RATIOS];
        for x in outcomes {
            let mixture = gain(&interval((n_c, x, n_s, e - x)));
            for (mean, l) in means.iter_mut().zip(mixture.0) {
                *mean += law(x) / total * l.exp();
            }
        }
        means
    }

    #[test]
    fn no_factor_has_a_mean_above_1_under_its_hypothesis() {
        let (mut worst_harm, mut worst_safe) = (0.0_f64, 0.0_f64);
        for (n_c, n_s) in [(5, 20), (8, 8), (3, 40), (20, 5), (25, 475)] {
            for e in [1, 2, 3, 5, 8] {
                for psi in [1.0, 1.25, 1.5, 2.0, 3.0] {
                    for odds in [psi, psi * 0.7] {
                        let gain = |seen: &Interval| {
                            let mut harm = Harm::new(psi);
                            harm.add(seen);
                            harm.0
                        };
                        worst_harm = means(n_c, n_s, e, odds, gain).into_iter().fold(worst_harm, f64::max);
                    }
                    for odds in [psi, psi * 1.4] {
                        let gain = |seen: &Interval| {
                            let mut safe = Safe::new(psi);
                            safe.add(seen);
                            safe.0
                        };
                        worst_safe = means(n_c, n_s, e, odds, gain).into_iter().fold(worst_safe, f64::max);
                    }
                }
            }
        }
        assert!((worst_harm - 1.0).abs() < 1e-9, "{worst_harm}");
        assert!((worst_safe - 1.0).abs() < 1e-9, "{worst_safe}");
    }

    const LATE: [(u64, u64, u64, u64); 7] = [
        (25, 1, 475, 2),
        (30, 0, 470, 4),
        (22, 2, 480, 0),
        (0, 0, 500, 3),
        (28, 4, 460, 3),
        (24, 0, 476, 0),
        (26, 5, 474, 2),
    ];

    /// Runs a test over [`LATE`] and holds its path against one computed by an independent implementation.
    fn agrees(path: &str, mut next: impl FnMut(&Interval) -> f64) {
        for (counts, expected) in LATE.into_iter().zip(path.split_whitespace()) {
            let (seen, expected) = (next(&interval(counts)), expected.parse::<f64>().unwrap());
            assert!((seen - expected).abs() < 1e-9, "{counts:?}: {seen} and not {expected}");
        }
    }

    #[test]
    fn evidence_agrees_with_the_reference_to_nine_digits() {
        for (psi, path) in [
            (
                1.0,
                "0.913246298083 -0.178770394310 2.767012791791 2.767012791791 8.865410345812 8.865410345812 18.473366571306",
            ),
            (
                1.25,
                "0.737366759032 -0.399588632730 2.221206758451 2.221206758451 7.542422387946 7.542422387946 16.163569814611",
            ),
            (
                1.5,
                "0.588567816634 -0.580091369823 1.786293570101 1.786293570101 6.488268470333 6.488268470333 14.299897389075",
            ),
        ] {
            let mut harm = Harm::new(psi);
            agrees(path, |seen| {
                harm.add(seen);
                harm.0.ln()
            });
        }
        for (psi, path) in [
            (
                2.0,
                "-1.240771872921 -0.965561151239 -2.438775189811 -2.438775189811 -3.828357553240 -3.828357553240 -5.115981828871",
            ),
            (
                3.0,
                "-1.164838220324 -0.759649885500 -2.280271021536 -2.280271021536 -3.630122676806 -3.630122676806 -4.882800544158",
            ),
        ] {
            let mut safe = Safe::new(psi);
            agrees(path, |seen| {
                safe.add(seen);
                safe.0.ln()
            });
        }
        let mut ceiling = Mixture::new();
        agrees(
            "1.902962554312 1.502088767893 6.576353048262 6.576353048262 18.771317585179 18.121370349134 34.304283064628",
            |seen| {
                ceiling.bernoulli(seen.canary, |ratio| (FLOOR * ratio).min(0.99));
                ceiling.ln()
            },
        );
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
        let many = [interval((100, 0, 900, 0)); 50];
        let judged = errors(&many, Sensitivity::Normal);
        assert_eq!(judged.verdict, Verdict::Pass);
        assert_eq!(judged.why, "no errors on either side; chance of being wrong below 1 in 30");
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
        Edge { seconds, certifies, intervals: vec![interval(counts); times] }
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
            let judged = errors(&intervals, Sensitivity::Normal);
            prop_assert!(judged.ln_m.is_finite() && judged.ln_pass.is_finite(), "{judged:?}");
            let judged = latency(&[Edge { seconds: 0.1, certifies: true, intervals }], Sensitivity::Low);
            prop_assert!(judged.ln_m.is_finite() && judged.ln_pass.is_finite(), "{judged:?}");
        }
    }
}
