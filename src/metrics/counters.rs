//! Counters: from raw samples to whole numbers of requests, on a grid of intervals that starts with the evidence.
//!
//! Increases are taken from the samples themselves and not from `increase()`, which extrapolates to the edges of its
//! window and yields fractions. Whether a series was there with 0 before it was first seen, and whether one that came
//! back began anew, is told by other series of the same target: its beats, one for each successful scrape.
//!
//! Each series is looked at for itself. When a process was started again, a series that within one scrape has passed what it
//! had before seems to have gone on, and too little is counted of it: less than it had before, and never too much. That
//! another series of the target fell in the same scrape is no proof, for libraries and proxies drop and remake single series;
//! were it taken for one, all that a series has ever counted would be of this one scrape.
//!
//! What a target counted between two of its scrapes is known to have happened between them, and no closer. So a comparison
//! waits for a target that misses a scrape or two, and takes all that happened meanwhile as one interval. One that is away
//! for longer is not waited for: the intervals are judged by the others. What it brings when it is back belongs to all of
//! that time and to none of those intervals, and neither its requests nor its errors are compared: beside what the other arm
//! did in the last of them, an incident that both arms had would be the one's alone. Where nobody else of its arm was scraped
//! either, nothing was judged without it, and it counts in the one interval that all of that time became. A limit, which
//! holds one arm's shares against a number, counts it when it comes.
use super::answer::Series;
use crate::judge::real;
use std::collections::{HashMap, HashSet};

/// For so many times as long as from scrape to scrape a target is waited for that is not scraped.
const AWAY: i64 = 3;

/// A target of Prometheus: its labels `job` and `instance`.
type Target = (String, String);

/// When each target was scraped, in milliseconds, oldest first: by each answer that tells of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Beats {
    times: HashMap<Target, Vec<Scraped>>,
    /// Between two scrapes.
    scrape: i64,
}

/// When a target was scraped, as one answer tells.
#[derive(Clone, Debug)]
struct Scraped {
    times: Vec<i64>,
    /// How long it usually takes from scrape to scrape.
    usual: i64,
}

impl Beats {
    /// The scrapes that the series of these answers tell of, one in `scrape`; `succeeded` says of a sample's value whether
    /// it did.
    pub fn of<'a>(
        answers: impl IntoIterator<Item = &'a [Series]>,
        scrape: i64,
        succeeded: impl Fn(f64) -> bool,
    ) -> Self {
        let mut beats: HashMap<Target, Vec<Scraped>> = HashMap::new();
        for answer in answers {
            let mut told: HashMap<Target, Vec<i64>> = HashMap::new();
            for Series { labels, samples, histograms } in answer {
                let times = samples.iter().filter(|(_, value)| succeeded(*value)).map(|(at, _)| *at);
                let times = times.chain(histograms.iter().map(|(at, _)| *at));
                told.entry(target(labels)).or_default().extend(times);
            }
            for (target, mut times) in told.into_iter().filter(|(_, times)| !times.is_empty()) {
                times.sort_unstable();
                times.dedup();
                let usual = usual(times.iter().copied()).map_or(scrape, |usual| usual.max(scrape));
                beats.entry(target).or_default().push(Scraped { times, usual });
            }
        }
        Self { times: beats, scrape }
    }

    /// Nothing is known but how often it was looked.
    pub fn unknown(scrape: i64) -> Self {
        Self { times: HashMap::new(), scrape }
    }

    fn all(&self) -> impl Iterator<Item = i64> {
        self.times.values().flatten().flat_map(|answer| answer.times.iter().copied())
    }

    /// The last scrape of any target.
    pub fn newest(&self) -> Option<i64> {
        self.all().max()
    }

    /// The first scrape of any target.
    pub fn oldest(&self) -> Option<i64> {
        self.all().min()
    }

    /// Up to when everything is known of each target, of those that were scraped at this moment or later: what a target
    /// had before its last scrape has been told, for it is scraped once at a time.
    pub fn known_until(&self, alive: i64) -> Option<i64> {
        let last = |answers: &Vec<Scraped>| answers.iter().filter_map(|answer| answer.times.last().copied()).max();
        let last = self.times.values().filter_map(last);
        last.filter(|last| *last >= alive).min()
    }

    /// The times between two scrapes of a target in which some have failed, and that since its last one until `end`, by when
    /// it should have been scraped. One that is away for longer is not waited for; when it comes by `settled`, that is known.
    fn gaps(&self, end: i64, settled: i64) -> impl Iterator<Item = (i64, i64)> {
        self.times.values().flatten().flat_map(move |Scraped { times, usual }| {
            let is_long = move |(from, to): &(i64, i64)| to - from > usual + usual / 2;
            let is_awaited = move |from: i64, to: i64| to - from <= AWAY * usual;
            let between = times.windows(2).map(|two| (two[0], two[1])).filter(is_long);
            let last = times.last().copied().filter(|last| *last < end && is_awaited(*last, settled));
            between.filter(move |(from, to)| is_awaited(*from, *to)).chain(last.map(|last| (last, end)))
        })
    }

    fn told(&self, target: &Target) -> impl Iterator<Item = &Vec<i64>> {
        self.times.get(target).into_iter().flatten().map(|answer| &answer.times)
    }

    /// Since when a target had not been scraped that was scraped at this moment, if it was not waited for.
    fn away(&self, target: &Target, at: i64) -> Option<i64> {
        let before = |Scraped { times, usual }: &Scraped| {
            let index = times.binary_search(&at).ok()?.checked_sub(1)?;
            Some((*times.get(index)?, *usual))
        };
        // One answer may have what another lacks.
        let (last, usual) = self.times.get(target)?.iter().filter_map(before).max()?;
        (at - last > AWAY * usual).then_some(last)
    }

    /// Whether the target was scraped before this scraped sample of one of its series, which then was not there yet. An
    /// answer that does not have this very scrape is of another replica, whose past is another; and of one that mixes what
    /// several have scraped nobody can tell whose scrapes those before were.
    fn before(&self, target: &Target, at: i64) -> bool {
        let is_mixed = |times: &[i64]| {
            let close = times.windows(2).filter(|two| is_step_back(two[1] - two[0], self.scrape)).count();
            4 * close >= times.len()
        };
        self.told(target).any(|times| times.binary_search(&at).is_ok_and(|index| index > 0) && !is_mixed(times))
    }

    /// Whether the target was scraped between two scraped samples of one of its series, which then had been gone. Samples
    /// that are not of these scrapes, but of another replica, tell nothing about the time between them.
    fn between(&self, target: &Target, from: i64, to: i64) -> bool {
        self.told(target).any(|times| match (times.binary_search(&from), times.binary_search(&to)) {
            (Ok(from), Ok(to)) => to > from + 1,
            _ => false,
        })
    }
}

/// So many more at this moment, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Increase {
    pub at: i64,
    pub by: u64,
    /// Since when its target had not been scraped, if it was not waited for.
    pub away: Option<i64>,
}

/// How far a value is below the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fall {
    /// Not at all.
    No,
    /// To no less than half.
    Slight,
    /// To less than half.
    Deep,
}

impl Fall {
    pub fn of(before: f64, value: f64) -> Self {
        match (before, value) {
            (before, value) if value >= before => Self::No,
            (before, value) if 2.0 * value >= before => Self::Slight,
            _ => Self::Deep,
        }
    }
}

/// From where the value of a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From the value before it.
    Last,
    /// From nothing: it began anew.
    Zero,
    /// From itself: what came before is not known.
    Here,
    /// It is older than the value before it, which stays.
    Older,
}

/// Goes along a series and says of each sample from where it counts.
///
/// Of a pair of Prometheus servers behind one address each has scraped at times of its own, and one question may be
/// answered by the first and the next by the second, or what both have by a store that mixes them. So a series was gone
/// only if what is missing is more than its own rhythm leaves out, and of two samples that are closer to each other than
/// scrapes are, one that is a little lower is the older one, however late it is stamped: its scrape took longer.
pub(super) struct Walk<'a> {
    beats: &'a Beats,
    target: Target,
    /// The usual time from sample to sample, if there are enough to say.
    usual: Option<i64>,
    seen: Option<i64>,
}

impl<'a> Walk<'a> {
    /// Along a series with samples at these times.
    pub fn along(labels: &HashMap<String, String>, times: impl Iterator<Item = i64>, beats: &'a Beats) -> Self {
        Self { beats, target: target(labels), usual: usual(times), seen: None }
    }

    /// Since when the target had not been scraped before this sample, if it was not waited for.
    pub fn away(&self, at: i64) -> Option<i64> {
        self.beats.away(&self.target, at)
    }

    /// From where the next sample counts.
    pub fn next(&mut self, at: i64, fall: Fall) -> Origin {
        let Some(seen) = self.seen.replace(at) else {
            return if self.beats.before(&self.target, at) { Origin::Zero } else { Origin::Here };
        };
        let apart = at - seen;
        let is_gone =
            self.usual.is_some_and(|usual| apart > usual + usual / 2) && self.beats.between(&self.target, seen, at);
        match fall {
            _ if is_gone => Origin::Zero,
            Fall::No => Origin::Last,
            Fall::Slight if is_step_back(apart, self.beats.scrape) => Origin::Older,
            Fall::Slight | Fall::Deep => Origin::Zero,
        }
    }
}

/// Whether two samples are closer to each other than scrapes of one server are.
pub(super) fn is_step_back(apart: i64, scrape: i64) -> bool {
    4 * apart < 3 * scrape
}

/// The median of the times between samples, the lower one of two; nothing without two such times.
fn usual(times: impl Iterator<Item = i64>) -> Option<i64> {
    let mut apart: Vec<i64> = Vec::new();
    let mut last = None;
    for at in times {
        apart.extend(last.map(|last| at - last));
        last = Some(at);
    }
    let middle = apart.len().checked_sub(1)? / 2;
    (middle > 0 || apart.len() > 1).then(|| *apart.select_nth_unstable(middle).1)
}

/// What a counter gained after `start`.
///
/// Its value at the start is its last sample then or before. A series first seen later counts from 0 when its target
/// had been scraped without it; else its first sample is where it starts, that of a new pod too: when a pod was started
/// is no longer known once it is gone. A value that falls, and a series that was gone while its target was scraped, began
/// again at 0; see [`Walk`] for what is no fall.
///
/// # Errors
/// A sample that no counter can have.
pub(super) fn increases(series: &Series, beats: &Beats, start: i64) -> Result<Vec<Increase>, String> {
    let whole = |value: f64| whole(value).ok_or_else(|| odd(value));
    let gained = gains(series, beats, start, |value| whole(value).map(real))?;
    let target = target(&series.labels);
    gained.into_iter().map(|(at, by)| Ok(Increase { at, by: whole(by)?, away: beats.away(&target, at) })).collect()
}

/// What a counter of fractions, like one of seconds, gained after `start`: as [`increases`], but not rounded.
///
/// # Errors
/// A sample that no counter can have.
pub(super) fn fractions(series: &Series, beats: &Beats, start: i64) -> Result<Vec<(i64, f64)>, String> {
    let is_one = |value: f64| value.is_finite() && value >= 0.0;
    gains(series, beats, start, |value| is_one(value).then_some(value).ok_or_else(|| odd(value)))
}

fn gains(
    series: &Series,
    beats: &Beats,
    start: i64,
    checked: impl Fn(f64) -> Result<f64, String>,
) -> Result<Vec<(i64, f64)>, String> {
    let times = series.samples.iter().map(|(at, _)| *at);
    let mut walk = Walk::along(&series.labels, times, beats);
    let mut gained = Vec::with_capacity(series.samples.len());
    let mut last = 0.0;
    for &(at, value) in &series.samples {
        let value = checked(value)?;
        let by = match walk.next(at, Fall::of(last, value)) {
            Origin::Last => value - last,
            Origin::Zero => value,
            Origin::Here => 0.0,
            Origin::Older => continue,
        };
        if at > start && by > 0.0 {
            gained.push((at, by));
        }
        last = value;
    }
    Ok(gained)
}

fn odd(value: f64) -> String {
    format!("a counter has the value {value}")
}

/// Intervals of one length that follow each other from the start; the last one has been over for long enough that
/// every sample in it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    start: i64,
    step: i64,
    closed: usize,
    settled: i64,
}

impl Grid {
    /// Intervals `(start + k step, start + (k + 1) step]` that end by `settled`; times in milliseconds.
    pub fn new(start: i64, step: i64, settled: i64) -> Self {
        let step = step.max(1);
        let closed = usize::try_from(settled.saturating_sub(start) / step).unwrap_or(0);
        Self { start, step, closed, settled }
    }

    /// How many closed intervals there are.
    pub fn len(self) -> usize {
        self.closed
    }

    /// Which closed interval a moment falls into.
    pub fn index(&self, at: i64) -> Option<usize> {
        let past = at.checked_sub(self.start).filter(|past| *past > 0)?;
        usize::try_from((past - 1) / self.step).ok().filter(|index| *index < self.closed)
    }

    /// Sums by interval.
    pub fn sums(&self, increases: &[Increase]) -> Vec<u64> {
        let mut sums = vec![0_u64; self.closed];
        for increase in increases {
            if let Some(sum) = self.index(increase.at).and_then(|index| sums.get_mut(index)) {
                *sum = sum.saturating_add(increase.by);
            }
        }
        sums
    }

    /// The intervals in which both arms were scraped. What fell into another one is carried into the next of these.
    ///
    /// What a target counted while its scrapes failed is read later than it happened, and belongs beside all that
    /// happened meanwhile: an incident of both arms would else be the canary's alone.
    pub fn pairs(self, canary: &Beats, stable: &Beats) -> Pairs {
        let scraped = |beats: &Beats| {
            let mut marks = vec![false; self.closed];
            for at in beats.all() {
                if let Some(mark) = self.index(at).and_then(|index| marks.get_mut(index)) {
                    *mark = true;
                }
            }
            let end = self.start.saturating_add(self.step.saturating_mul(i64::try_from(self.closed).unwrap_or(0)));
            for (from, to) in beats.gaps(end, self.settled).filter(|(_, to)| *to > self.start) {
                let index = |at| if at <= self.start { 0 } else { self.index(at).unwrap_or(self.closed) };
                let to = if to == end { self.closed } else { index(to) };
                marks[index(from)..to].fill(false);
            }
            marks
        };
        let both = scraped(canary).into_iter().zip(scraped(stable)).map(|(canary, stable)| canary && stable);
        Pairs { grid: self, are: both.collect() }
    }
}

/// Which intervals of a grid are pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pairs {
    grid: Grid,
    are: Vec<bool>,
}

impl Pairs {
    /// Sums by pair, each with those of the intervals before it that are none; what is left over is for a later look.
    pub fn sums(&self, increases: &[Increase]) -> Vec<u64> {
        let mine: Vec<_> = increases.iter().filter(|increase| !self.is_of_many(increase)).copied().collect();
        let mut merged = Vec::with_capacity(self.are.len());
        let mut carried = 0_u64;
        for (sum, is_pair) in self.grid.sums(&mine).into_iter().zip(&self.are) {
            carried = carried.saturating_add(sum);
            if *is_pair {
                merged.push(std::mem::take(&mut carried));
            }
        }
        merged
    }

    /// The sum of what belongs to no pair.
    pub fn left_out(&self, increases: &[Increase]) -> u64 {
        let of_many = increases.iter().filter(|increase| self.is_of_many(increase));
        of_many.fold(0, |sum, increase| sum.saturating_add(increase.by))
    }

    /// Whether it was counted in a time of which a part is judged without it.
    fn is_of_many(&self, increase: &Increase) -> bool {
        let Some((away, last)) = increase.away.zip(self.grid.index(increase.at)) else { return false };
        let first = self.grid.index(away).map_or(0, |index| index + 1);
        self.are.get(first..last).is_some_and(|between| between.contains(&true))
    }
}

/// Adds sums, interval by interval.
pub(super) fn add(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

/// The sum of what was gained after a moment.
pub(super) fn since(increases: &[Increase], after: i64) -> u64 {
    increases.iter().filter(|increase| increase.at > after).fold(0, |sum, increase| sum.saturating_add(increase.by))
}

/// How many pods were up at this moment or later, each by its label or else by its target. A pod may be scraped for several
/// things: only jobs count that have some of these series, if any is known to.
pub(super) fn pods_since(up: &[Series], counted: &[Series], pod_label: &str, alive: i64) -> u32 {
    let jobs: HashSet<_> = counted.iter().filter_map(|series| series.labels.get("job")).collect();
    let counts = |series: &&Series| jobs.is_empty() || series.labels.get("job").is_some_and(|job| jobs.contains(job));
    let is_alive = |series: &&Series| series.samples.iter().any(|(at, value)| *at >= alive && *value > 0.5);
    let pod = |series: &Series| series.labels.get(pod_label).cloned().ok_or_else(|| target(&series.labels));
    let pods: HashSet<_> = up.iter().filter(is_alive).filter(counts).map(pod).collect();
    u32::try_from(pods.len()).unwrap_or(u32::MAX)
}

fn target(labels: &HashMap<String, String>) -> Target {
    let label = |name| labels.get(name).cloned().unwrap_or_default();
    (label("job"), label("instance"))
}

pub(super) fn whole(value: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^53")]
    (0.0..=9_007_199_254_740_992.0).contains(&value).then(|| value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(samples: &[(i64, f64)]) -> Series {
        let labels = [("job", "pods"), ("instance", "10.0.0.1:80"), ("pod", "app-1")];
        let labels = labels.map(|(name, value)| (name.into(), value.into())).into();
        Series { labels, samples: samples.to_vec(), ..Series::default() }
    }

    fn beats(times: impl IntoIterator<Item = i64>) -> Beats {
        let samples: Vec<_> = times.into_iter().map(|at| (at, 1.0)).collect();
        Beats::of([&[series(&samples)][..]], 1_000, |up| up > 0.5)
    }

    fn gained(samples: &[(i64, f64)], beats: &Beats) -> Vec<(i64, u64)> {
        let increases = increases(&series(samples), beats, 1_000).unwrap();
        increases.into_iter().map(|Increase { at, by, .. }| (at, by)).collect()
    }

    #[test]
    fn pods_are_counted_and_not_what_of_them_is_scraped() {
        let of = |job: &str, instance: &str, pod: &str, up: f64| {
            let labels = [("job", job), ("instance", instance), ("pod", pod)];
            let labels = labels.map(|(name, value)| (name.into(), value.into())).into();
            Series { labels, samples: vec![(1_000, up)], ..Series::default() }
        };
        let up = [
            of("pods", "10.0.0.1:80", "app-1", 1.0),
            of("pods", "10.0.0.1:81", "app-1", 1.0),
            of("pods", "10.0.0.2:80", "app-2", 0.0),
            of("mesh", "10.0.0.1:15090", "app-1", 1.0),
            of("mesh", "10.0.0.2:15090", "app-2", 1.0),
        ];
        assert_eq!(pods_since(&up, &[series(&[])], "pod", 500), 1, "the sidecar of the other tells nothing of the app");
        assert_eq!(pods_since(&up, &[], "pod", 500), 2, "nobody knows which job has the series");
        assert_eq!(pods_since(&up, &[], "kubernetes_pod_name", 500), 4, "targets, where pods have no name");
        assert_eq!(pods_since(&up, &[], "pod", 1_500), 0);
    }

    #[test]
    fn the_start_is_the_last_sample_then_or_before() {
        let seen = [(500, 7.0), (900, 10.0), (1_900, 12.0), (2_900, 12.0), (3_900, 15.0)];
        assert_eq!(gained(&seen, &beats([500, 900, 1_900, 2_900, 3_900])), [(1_900, 2), (3_900, 3)]);
    }

    #[test]
    fn a_fall_is_a_restart_from_0() {
        assert_eq!(
            gained(&[(900, 10.0), (1_900, 4.0), (2_900, 6.0)], &beats([900, 1_900, 2_900])),
            [(1_900, 4), (2_900, 2)]
        );
    }

    #[test]
    fn a_late_series_counts_from_0_when_its_target_had_been_scraped_without_it() {
        assert_eq!(gained(&[(2_900, 3.0), (3_900, 5.0)], &beats([900, 1_900, 2_900, 3_900])), [(2_900, 3), (3_900, 2)]);
    }

    #[test]
    fn a_late_series_of_a_late_target_starts_at_its_first_sample() {
        assert_eq!(gained(&[(2_900, 300.0), (3_900, 305.0)], &beats([2_900, 3_900])), [(3_900, 5)]);
    }

    #[test]
    fn a_series_that_was_gone_while_its_target_was_scraped_began_anew() {
        let seen = [(900, 10.0), (1_900, 12.0), (4_900, 20.0)];
        assert_eq!(gained(&seen, &beats([900, 1_900, 2_900, 3_900, 4_900])), [(1_900, 2), (4_900, 20)]);
    }

    #[test]
    fn scrapes_that_failed_are_no_restart() {
        let seen = [(900, 10.0), (1_900, 12.0), (4_900, 20.0)];
        assert_eq!(gained(&seen, &beats([900, 1_900, 4_900])), [(1_900, 2), (4_900, 8)]);
    }

    #[test]
    fn beats_of_another_replica_prove_no_restart() {
        let seen = [(900, 10.0), (1_900, 12.0), (2_900, 20.0)];
        assert_eq!(gained(&seen, &beats([500, 1_400, 2_400])), [(1_900, 2), (2_900, 8)]);
    }

    #[test]
    fn what_one_server_scraped_says_nothing_of_when_a_series_of_the_other_began() {
        let answers = [900, 5_900].map(|first| series(&[(first, 1.0), (first + 4_000, 1.0)]));
        let beats = Beats::of(answers.iter().map(std::slice::from_ref), 4_000, |_| true);
        assert_eq!(gained(&[(5_900, 300.0), (9_900, 305.0)], &beats), [(9_900, 5)], "its own past begins there");
        assert_eq!(gained(&[(4_900, 3.0)], &beats), [(4_900, 3)]);
    }

    #[test]
    fn a_scrape_of_the_other_server_between_two_samples_is_no_gap() {
        let answers = [vec![(900, 1.0), (1_900, 1.0), (2_900, 1.0)], vec![(1_400, 1.0), (2_400, 1.0)]];
        let all = series(&answers.concat());
        let beats = Beats::of([&[all][..]], 1_000, |_| true);
        assert_eq!(gained(&[(900, 10.0), (1_900, 12.0), (2_900, 15.0)], &beats), [(1_900, 2), (2_900, 3)]);
    }

    #[test]
    fn a_little_less_a_moment_later_is_older_and_no_restart() {
        let seen = [(900, 1_000.0), (1_200, 990.0), (1_900, 1_010.0), (2_200, 1_004.0), (2_900, 3.0)];
        assert_eq!(gained(&seen, &beats([])), [(1_900, 10), (2_900, 3)]);
        let whole_scrape = [(900, 1_000.0), (1_900, 990.0)];
        assert_eq!(gained(&whole_scrape, &beats([])), [(1_900, 990)], "no scrape takes that long");
    }

    #[test]
    fn values_that_no_counter_has_are_refused() {
        for value in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            let refused = increases(&series(&[(2_000, value)]), &Beats::default(), 1_000);
            assert!(refused.unwrap_err().starts_with("a counter has the value"));
        }
    }

    #[test]
    fn an_interval_takes_what_comes_after_its_beginning_and_by_its_end() {
        let grid = Grid::new(1_000, 2_000, 6_900);
        assert_eq!(grid.closed, 2);
        let at = [1_000, 1_001, 3_000, 3_001, 5_000, 5_001].map(|at| Increase { at, by: 1, away: None });
        assert_eq!(grid.sums(&at), [2, 2], "what is at the start or not settled yet is not in it");
    }

    #[test]
    fn an_interval_that_only_one_arm_has_is_carried_into_the_next() {
        let grid = Grid::new(0, 1_000, 5_000);
        let pairs = grid.pairs(&beats([500, 1_500, 2_500, 3_500, 4_500, 5_500]), &beats([500, 2_500, 3_500, 4_500]));
        assert_eq!(pairs.are, [false, false, true, true, false], "what was read at 2.5 s is of two seconds");
        let gained: Vec<_> = (1..=5).map(|at| Increase { at: 1_000 * at, by: at.unsigned_abs(), away: None }).collect();
        assert_eq!(pairs.sums(&gained), [6, 4]);
    }

    #[test]
    fn what_a_target_counted_while_its_scrapes_failed_belongs_beside_all_that_happened_meanwhile() {
        let grid = Grid::new(0, 1_000, 8_000);
        let stable = beats((0..18).map(|at| 500 * at));
        let other = Series { labels: [("instance".to_owned(), "10.0.0.2:80".to_owned())].into(), ..series(&[]) };
        let canary = |failed: std::ops::Range<i64>| {
            let times = (0..18).filter(|at| !failed.contains(at)).map(|at| (500 * at + 200, 1.0)).collect();
            let all = [
                series(&(0..18).map(|at| (500 * at + 100, 1.0)).collect::<Vec<_>>()),
                Series { samples: times, ..other.clone() },
            ];
            Beats::of([&all[..]], 500, |_| true)
        };
        assert_eq!(grid.pairs(&canary(0..0), &stable).are, [true; 8]);
        let pairs = grid.pairs(&canary(5..7), &stable).are;
        assert_eq!(pairs, [true, true, false, true, true, true, true, true], "from 2.2 s to 3.7 s");
        let pairs = grid.pairs(&canary(14..18), &stable).are;
        assert_eq!(pairs, [true, true, true, true, true, true, false, false], "it may come back soon");
        assert_eq!(grid.pairs(&canary(5..18), &stable).are, [true; 8], "one that does not come back is not waited for");
        let later = Grid::new(0, 1_000, 8_900);
        assert_eq!(later.pairs(&canary(14..18), &stable).are, [true; 8], "nor once it would have to be back by now");
        // However seldom it is really scraped.
        let seldom = beats((0..6).map(|at| 2_000 * at + 100));
        assert_eq!(grid.pairs(&seldom, &seldom).are.iter().filter(|pair| **pair).count(), 4);
    }

    #[test]
    fn what_a_target_brings_that_was_not_waited_for_is_of_no_interval_unless_all_of_them_wait_for_it() {
        let grid = Grid::new(0, 1_000, 8_000);
        let all = || (0..18).map(|at| 500 * at);
        let (other, stable) = (beats(all()), beats(all()));
        let away = series(&all().filter(|at| !(2_500..5_500).contains(at)).map(|at| (at, 1.0)).collect::<Vec<_>>());
        let away = Series { labels: [("instance".to_owned(), "10.0.0.2:80".to_owned())].into(), ..away };
        let counter = |samples: &[(i64, f64)]| Series { samples: samples.to_vec(), ..away.clone() };
        let alone = Beats::of([&[away.clone()][..]], 500, |_| true);
        let mut both = alone.clone();
        both.times.extend(other.times.clone());
        let grown = counter(&[(1_500, 4.0), (2_000, 5.0), (5_500, 40.0), (6_000, 41.0)]);
        let gained = increases(&grown, &both, 0).unwrap();
        assert_eq!(gained.iter().map(|gained| gained.away).collect::<Vec<_>>(), [None, None, Some(2_000), None]);
        let pairs = grid.pairs(&both, &stable);
        assert_eq!((pairs.sums(&gained), pairs.left_out(&gained)), (vec![0, 5, 0, 0, 0, 1, 0, 0], 35));
        // A status that was not there before is of the same time.
        let new = increases(&counter(&[(5_500, 30.0), (6_000, 31.0)]), &both, 0).unwrap();
        assert_eq!((pairs.sums(&new), pairs.left_out(&new)), (vec![0, 0, 0, 0, 0, 1, 0, 0], 30));
        // Nobody was judged meanwhile.
        let pairs = grid.pairs(&alone, &stable);
        assert_eq!((pairs.sums(&gained), pairs.left_out(&gained)), (vec![0, 5, 36, 0, 0], 0));
    }

    proptest! {
        #[test]
        fn any_samples_are_counted_or_refused(
            samples in proptest::collection::vec((any::<i32>(), any::<f64>()), 0..30),
            start in any::<i32>(), step in any::<i64>(), settled in -1_000_000i64..1_000_000,
        ) {
            let mut samples: Vec<_> = samples.into_iter().map(|(at, value)| (i64::from(at), value)).collect();
            samples.sort_by_key(|(at, _)| *at);
            let start = i64::from(start).max(settled - 1_000_000);
            if let Ok(gained) = increases(&series(&samples), &beats([0, 5]), start) {
                let grid = Grid::new(start, step, settled);
                prop_assert!(grid.sums(&gained).len() == grid.closed);
            }
        }

        #[test]
        fn a_counter_that_only_grows_gains_its_growth(steps in proptest::collection::vec(0u32..1_000, 1..50)) {
            let mut value = 5.0;
            let mut samples = vec![(1_000, value)];
            for (i, step) in (1_i64..).zip(&steps) {
                value += f64::from(*step);
                samples.push((1_000 + i * 1_000, value));
            }
            let sum: u64 = gained(&samples, &beats(samples.iter().map(|(at, _)| *at))).iter().map(|(_, by)| by).sum();
            prop_assert_eq!(sum, steps.iter().map(|step| u64::from(*step)).sum::<u64>());
        }
    }
}
