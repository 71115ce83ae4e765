//! Releases by the thousand on all cores, counted: the same numbers however many cores there are.
use crate::peers::real;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What became of one release.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// When it was aborted, in seconds.
    pub abort: Option<u64>,
    /// When it passed, if it did before it was aborted.
    pub pass: Option<u64>,
    /// Requests, or scores, of the canary until it was aborted.
    pub requests: u64,
}

/// Whose figures, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Who judged.
    pub method: String,
    /// In which world.
    pub world: String,
    /// With which share of the requests.
    pub canary: String,
    /// The truth about the canary: so many times stable's errors or latency, or its mean score.
    pub truth: f64,
}

/// Figures of one key, as JSON has them.
#[derive(Serialize)]
pub struct Row<'a> {
    method: &'a str,
    world: &'a str,
    canary: &'a str,
    truth: f64,
    /// The probability of an abort within half an hour.
    abort: f64,
    /// The median time of the aborts.
    median_s: Option<u64>,
    /// The canary's requests until it was aborted, in the mean.
    canary_requests: f64,
    /// The probability that it passes before an abort.
    pass: f64,
}

impl<'a> Row<'a> {
    fn of(Key { method, world, canary, truth }: &'a Key, tally: &Tally) -> Self {
        Self {
            method,
            world,
            canary,
            truth: *truth,
            abort: tally.abort(),
            median_s: tally.median_abort(),
            canary_requests: tally.requests(),
            pass: tally.pass(),
        }
    }
}

/// What everybody decides about the release of a number.
pub type Play<'a> = Box<dyn Fn(u64) -> Vec<Outcome> + Sync + 'a>;

/// A world in which several judge the same releases.
pub struct Experiment<'a> {
    /// Who judges.
    pub keys: Vec<Key>,
    /// So many releases.
    pub runs: u64,
    /// The release of a number: what each of them decides.
    pub play: Play<'a>,
}

/// Outcomes, counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    runs: u64,
    aborts: BTreeMap<u64, u64>,
    passes: BTreeMap<u64, u64>,
    aborts_without_pass: u64,
    requests: u64,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.requests += outcome.requests;
        if let Some(time) = outcome.abort {
            *self.aborts.entry(time).or_default() += 1;
            self.aborts_without_pass += u64::from(outcome.pass.is_none());
        }
        if let Some(time) = outcome.pass {
            *self.passes.entry(time).or_default() += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.requests += other.requests;
        self.aborts_without_pass += other.aborts_without_pass;
        for (of, from) in [(&mut self.aborts, other.aborts), (&mut self.passes, other.passes)] {
            for (time, count) in from {
                *of.entry(time).or_default() += count;
            }
        }
    }

    fn share(&self, count: u64) -> f64 {
        real(count) / real(self.runs.max(1))
    }

    /// The probability of an abort, passed before or not.
    pub fn abort(&self) -> f64 {
        self.share(self.aborts.values().sum())
    }

    /// The probability that the first decision is an abort.
    pub fn abort_first(&self) -> f64 {
        self.share(self.aborts_without_pass)
    }

    /// The probability that the first decision is a pass.
    pub fn pass(&self) -> f64 {
        self.share(self.passes.values().sum())
    }

    /// The median time of the aborts.
    pub fn median_abort(&self) -> Option<u64> {
        median(&self.aborts, self.aborts.values().sum())
    }

    /// The median time to an abort of all releases; nothing where fewer than half were aborted.
    pub fn median_of_all(&self) -> Option<u64> {
        median(&self.aborts, self.runs)
    }

    /// The median time of the passes.
    pub fn median_pass(&self) -> Option<u64> {
        median(&self.passes, self.passes.values().sum())
    }

    /// The canary's requests until it was aborted, in the mean.
    pub fn requests(&self) -> f64 {
        self.share(self.requests)
    }
}

/// The time at which half of so many are reached; of an even number the later one of the middle.
fn median(times: &BTreeMap<u64, u64>, of: u64) -> Option<u64> {
    let mut seen = 0;
    times
        .iter()
        .find(|(_, count)| {
            seen += **count;
            seen > of / 2
        })
        .map(|(time, _)| *time)
}

/// All figures.
pub struct Results(Vec<(Key, Tally)>);

impl Results {
    /// The figures of a key; there are none when nobody measured it.
    pub fn get(&self, method: &str, world: &str, canary: &str, truth: f64) -> Option<&Tally> {
        let is_it = |key: &Key| {
            key.method == method && key.world == world && key.canary == canary && (key.truth - truth).abs() < 1e-9
        };
        self.0.iter().find(|(key, _)| is_it(key)).map(|(_, tally)| tally)
    }

    /// As JSON has them.
    pub fn rows(&self) -> Vec<Row<'_>> {
        self.0.iter().map(|(key, tally)| Row::of(key, tally)).collect()
    }
}

/// So many releases are played in one go.
const TOGETHER: u64 = 25;

/// Plays all experiments.
pub fn run(experiments: &[Experiment]) -> Results {
    let jobs: Vec<(usize, u64)> = experiments
        .iter()
        .enumerate()
        .flat_map(|(at, experiment)| (0..experiment.runs.div_ceil(TOGETHER)).map(move |part| (at, part)))
        .collect();
    let tallies: Vec<_> =
        experiments.iter().map(|experiment| Mutex::new(vec![Tally::default(); experiment.keys.len()])).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((at, part)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let experiment = &experiments[*at];
            let mut counted = vec![Tally::default(); experiment.keys.len()];
            for number in part * TOGETHER..((part + 1) * TOGETHER).min(experiment.runs) {
                for (tally, outcome) in counted.iter_mut().zip((experiment.play)(number)) {
                    tally.count(outcome);
                }
            }
            let mut tallies = tallies[*at].lock().expect("no thread panics while it counts");
            for (tally, counted) in tallies.iter_mut().zip(counted) {
                tally.merge(counted);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
    let tallies = tallies.into_iter().map(|tallies| tallies.into_inner().expect("no thread panics while it counts"));
    let keys = experiments.iter().map(|experiment| experiment.keys.clone());
    Results(keys.zip(tallies).flat_map(|(keys, tallies)| keys.into_iter().zip(tallies)).collect())
}
