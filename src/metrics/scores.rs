//! Scores of model evaluations: means of numbers between 0 and 1 of both arms, compared at any moment with a guarantee.
//!
//! An application or an evaluator counts how many answers it scored, and adds up the scores and their squares. Three
//! counters are enough for the test, whatever the number of scores; a gauge of the last score would not be.
use super::{
    Ask, Complaint, Metric, Outcome, Prometheus, Seen, Subject,
    answer::{self, Part, Series, Trouble},
    arms::{ArmLabel, Told},
    batch::Selection,
    counters::{self, Fall, Grid},
    prometheus::Times,
    promql::{BadQuery, Query},
};
use crate::{
    judge::{ScoreJudgement, ScoreMargins, Scores, compare, means, range, thousands},
    vocab::{Arm, Verdict},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Scores are compared in intervals of at least this length, in milliseconds.
const INTERVAL_MS: i64 = 10_000;
/// How far before the evidence the first samples are asked for at least, in milliseconds.
const MARGIN_MS: i64 = 60_000;
/// The canary must have been scored within this time, in milliseconds, or within the metric's interval.
const RECENT_MS: i64 = 60_000;

/// By so much a sum may be more than so many scores can have, for counters of one page are not of one moment.
const ODD: f64 = 0.02;

/// Counters of bounded scores, such as those of a model evaluation: each a plain selector with arm="$arm".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoresOf {
    /// Counts answers that were scored, like `eval_score_count{arm="$arm"}`.
    #[schemars(length(min = 1, max = 2000))]
    pub count: String,
    /// Adds up the scores.
    #[schemars(length(min = 1, max = 2000))]
    pub sum: String,
    /// Adds up the squares of the scores. Without it it takes several times as long to be sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub sum_of_squares: Option<String>,
    /// The greatest score there can be; the least is 0. Default 1.
    #[serde(default = "one")]
    pub max: f64,
    /// Which scores are the better ones.
    #[serde(default)]
    pub better: Better,
    /// A canary whose mean score is worse by this much at most is failed by bad luck alone. Default a fiftieth of `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerated: Option<f64>,
    /// A canary that passed is proven to be worse by less than this. Default a twentieth of `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<f64>,
}

/// Which scores are the better ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Better {
    /// Higher ones, as of quality.
    #[default]
    Higher,
    /// Lower ones, as of toxicity.
    Lower,
}

fn one() -> f64 {
    1.0
}

impl ScoresOf {
    fn tolerated(&self) -> f64 {
        self.tolerated.unwrap_or(self.max / 50.0)
    }

    fn excluded(&self) -> f64 {
        self.excluded.unwrap_or(self.max / 20.0)
    }

    /// The selectors that have to be there, and the one that may.
    pub(super) fn selectors(&self) -> impl Iterator<Item = (&'static str, &String)> {
        [("scores.count", &self.count), ("scores.sum", &self.sum)]
            .into_iter()
            .chain(self.sum_of_squares.iter().map(|squares| ("scores.sumOfSquares", squares)))
    }

    pub(super) fn check(&self) -> Result<(), Complaint> {
        let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
        for (field, selector) in self.selectors() {
            Query::selector(selector).map_err(|why| Complaint::Selector { field, why })?;
        }
        if !(self.max > 0.0 && self.max <= 1e6) {
            return value("scores.max", "write a number above 0 and at most 1000000");
        }
        if !(self.tolerated() >= 0.0 && self.tolerated() < self.max) {
            return value("scores.tolerated", "write a number from 0 to less than scores.max");
        }
        if !(self.excluded() > self.tolerated() && self.excluded() <= self.max) {
            return value("scores.excluded", "write a number above scores.tolerated and at most scores.max");
        }
        Ok(())
    }
}

pub(super) fn asks(scores: &ScoresOf, metric: &Metric, prometheus: &Prometheus, subject: &Subject) -> Vec<Ask> {
    let times = Times::of(prometheus, subject);
    let since = times.now - times.start + (3 * times.scrape).max(MARGIN_MS) + times.fresh;
    let range = Duration::from_millis(u64::try_from(since).unwrap_or(0).next_multiple_of(1_000));
    let told = Told::By(metric.arm.unwrap_or_default());
    let arms = [Arm::Canary, Arm::Stable].map(|arm| told.matchers(&prometheus.labels, subject, arm));
    let asks = arms.iter().flat_map(|arm| {
        scores.selectors().map(move |(_, selector)| {
            let selector = Query::selector(selector)?;
            let range_ms = i64::try_from(range.as_millis()).unwrap_or(i64::MAX);
            let selection = selector.parts().map(|(name, only)| Selection {
                names: vec![name],
                told: arm.clone(),
                only,
                at: times.now,
                range_ms,
                is_common: false,
            });
            Ok(prometheus.samples(selector.samples(arm, range)?, selection, times.now))
        })
    });
    asks.collect::<Result<Vec<_>, BadQuery>>().unwrap_or_default()
}

pub(super) fn read(
    scores: &ScoresOf,
    metric: &Metric,
    prometheus: &Prometheus,
    subject: &Subject,
    parts: &[Part],
) -> Seen {
    if !Told::By(metric.arm.unwrap_or_default()).tells(&prometheus.labels, subject) {
        return Seen::invalid("arm: by this label both arms have the same name; choose another");
    }
    let look = Look { scores, metric, subject, times: Times::of(prometheus, subject) };
    look.times.bounded(look.read(parts).unwrap_or_else(Seen::from))
}

/// The same of counters of the canary and of stable that somebody else has read, each in the order of the selectors.
pub(super) fn of_counted(
    scores: &ScoresOf,
    metric: &Metric,
    subject: &Subject,
    times: Times,
    [canary, stable]: [Vec<Vec<Series>>; 2],
) -> Seen {
    let look = Look { scores, metric, subject, times };
    times.bounded(look.judged(&canary, &stable).unwrap_or_else(Seen::from))
}

struct Look<'a> {
    scores: &'a ScoresOf,
    metric: &'a Metric,
    subject: &'a Subject,
    times: Times,
}

/// What one arm's counters gained, by interval.
struct Counted {
    intervals: Vec<Scores>,
    /// How many scores were given of late.
    recent: f64,
    /// When they were last counted.
    newest: Option<i64>,
}

impl Look<'_> {
    fn read(&self, parts: &[Part]) -> Result<Seen, Trouble> {
        let each = self.scores.selectors().count();
        let mut series = parts.iter().take(2 * each).map(|part| answer::series_of(Some(part)));
        let mut arm = || {
            let all = series.by_ref().take(each).collect::<Result<Vec<_>, _>>()?;
            if all.len() == each { Ok(all) } else { Err(Trouble::Unreachable("the provider was not asked".into())) }
        };
        self.judged(&arm()?, &arm()?)
    }

    fn judged(&self, canary: &[Vec<Series>], stable: &[Vec<Series>]) -> Result<Seen, Trouble> {
        let missing = self.missing(canary, stable);
        // What a Service's name has counted may be of the releases before.
        let is_its_own = self.metric.arm.unwrap_or_default() != ArmLabel::Service;
        let canary = self.counted(canary, is_its_own)?;
        let stable = self.counted(stable, false)?;
        for (name, arm) in [("the canary", &canary), ("stable", &stable)] {
            let Some(newest) = arm.newest else {
                let why = format!("there is no {} of {name}", self.scores.count);
                return Ok(Seen { no_requests: name == "the canary", ..Seen::nothing(Outcome::Empty, why) });
            };
            if self.times.now - newest > self.times.fresh {
                let age = (self.times.now - newest) / 1_000;
                return Ok(Seen::nothing(Outcome::Unusable, format!("the newest scores of {name} are {age} s old")));
            }
        }
        if let Some((field, selector)) = missing {
            let why = format!("{field}: there is no {selector} of either, though both have scores");
            return Ok(Seen::nothing(Outcome::Unusable, why));
        }
        let pairs: Vec<_> = canary.intervals.iter().copied().zip(stable.intervals.iter().copied()).collect();
        let range = range::difference(&pairs).map(|range| range.difference(self.scores.max));
        Ok(Seen { range, ..self.seen(&means::scores(&pairs, &self.margins()), canary.recent > 0.0) })
    }

    /// A counter that neither arm has: of scores without a sum both means would be 0, and no two means are more alike. One
    /// that only the canary lacks is 0, for it may never have grown.
    fn missing(&self, canary: &[Vec<Series>], stable: &[Vec<Series>]) -> Option<(&'static str, &String)> {
        let is_there = |series: &Vec<Series>| series.iter().any(|series| !series.samples.is_empty());
        let arms = canary.iter().zip(stable);
        let mut counters = self.scores.selectors().zip(arms);
        let missing = counters.find(|(_, (canary, stable))| !is_there(canary) && !is_there(stable));
        missing.map(|(selector, _)| selector)
    }

    fn margins(&self) -> ScoreMargins {
        ScoreMargins {
            tolerated: self.scores.tolerated() / self.scores.max,
            excluded: self.scores.excluded() / self.scores.max,
            alpha: self.subject.margins.alpha,
            beta: self.subject.margins.beta,
            lower_is_better: self.scores.better == Better::Lower,
        }
    }

    fn seen(&self, judged: &ScoreJudgement, recent: bool) -> Seen {
        let shown = |scores: Scores| {
            let mean = scores.mean()? * self.scores.max;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, never below 0")]
            let count = thousands(scores.n.round() as u64);
            Some(format!("{} in {count} scores", (mean * 1e4).round() / 1e4))
        };
        let tolerated = (self.scores.tolerated() * 1e4).round() / 1e4;
        let said = match judged.verdict {
            Verdict::Unknown => "there was no interval in which both arms were scored".to_owned(),
            Verdict::Fail => format!(
                "the canary's mean score is worse than stable's by more than {tolerated}; chance of a false alarm below 1 in {}",
                compare::one_in(judged.ln_m)
            ),
            Verdict::Pass => format!(
                "the canary's mean score is worse than stable's by less than {}; chance of being wrong below 1 in {}",
                self.scores.excluded(),
                compare::one_in(judged.ln_pass)
            ),
            Verdict::Continue => {
                let expected = self.expected(judged).unwrap_or_default();
                format!("nothing is proven yet of a difference of {tolerated} in the mean score{expected}")
            }
        };
        let why = if recent { said } else { format!("{said}; the canary has had no score of late") };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, never below 0")]
        let samples = judged.canary.n.round() as u64;
        Seen {
            verdict: judged.verdict,
            usable: recent,
            no_requests: !recent,
            canary: Some(shown(judged.canary).unwrap_or_else(|| "no score judged yet".into())),
            stable: shown(judged.stable),
            samples,
            evidence: Some(judged.ln_m),
            evidence_now: Some(judged.ln_now),
            ..Seen::nothing(Outcome::Measured, why)
        }
    }

    /// When a proof is to be expected, as often as the canary has been scored so far.
    fn expected(&self, judged: &ScoreJudgement) -> Option<String> {
        let needed = means::scores_to_pass(judged.canary, judged.stable, &self.margins())?;
        // Scores of the interval that is not over yet are not among them.
        let step = Duration::from_millis(u64::try_from(step_ms(&self.times)).unwrap_or(0)).as_secs_f64();
        let counted = (self.times.over() / step).floor() * step;
        self.times.expected(needed / judged.canary.n * counted, "at this pace")
    }

    /// Adds an arm's counters up. What they had when they were first seen belongs to it where their labels are its own, and else
    /// is the past.
    fn counted(&self, selected: &[Vec<Series>], from_0: bool) -> Result<Counted, Trouble> {
        let grid = Grid::new(self.times.start, step_ms(&self.times), self.times.settled);
        let late = self.times.late(self.metric.interval, RECENT_MS);
        let mut intervals = vec![Scores::default(); grid.len()];
        let (mut recent, mut newest) = (0.0, None);
        for (at, all) in selected.iter().enumerate() {
            for series in all {
                if at == 0 {
                    newest = newest.max(series.samples.last().map(|(at, _)| *at));
                }
                for (time, by) in increases(series, self.times.start, self.times.scrape, from_0)? {
                    recent += if at == 0 && time > late { by } else { 0.0 };
                    let Some(scores) = grid.index(time).and_then(|index| intervals.get_mut(index)) else { continue };
                    match at {
                        0 => scores.n += by,
                        1 => scores.sum += by / self.scores.max,
                        _ => scores.squares += by / self.scores.max.powi(2),
                    }
                }
            }
        }
        let has_squares = self.scores.sum_of_squares.is_some();
        // A page may be read between two of its counters, and a restart show in one of them alone: that is some scores in an
        // interval, and not a mean of all.
        let all = intervals.iter().fold(Scores::default(), |all, it| Scores {
            n: all.n + it.n,
            sum: all.sum + it.sum,
            ..all
        });
        if all.sum > all.n * (1.0 + ODD) {
            let mean = all.mean().unwrap_or(f64::INFINITY) * self.scores.max;
            let why = format!("scores have a mean of {mean}, which is more than scores.max: {}", self.scores.max);
            return Err(Trouble::Unusable(why));
        }
        for scores in &mut intervals {
            scores.sum = scores.sum.min(scores.n);
            // A square of a number from 0 to 1 is no more than the number, and no mean is greater than that of squares.
            scores.squares = if has_squares { scores.squares.min(scores.sum) } else { scores.sum };
        }
        Ok(Counted { intervals, recent, newest })
    }
}

/// The length of an interval of a comparison, in milliseconds.
pub(super) fn step_ms(times: &Times) -> i64 {
    INTERVAL_MS.max(2 * times.scrape)
}

/// What a counter of fractions gained after `start`.
fn increases(series: &Series, start: i64, scrape: i64, from_0: bool) -> Result<Vec<(i64, f64)>, Trouble> {
    let mut gained = Vec::new();
    let mut last: Option<(i64, f64)> = None;
    for &(at, value) in &series.samples {
        if !(value >= 0.0 && value.is_finite()) {
            return Err(Trouble::Unusable(format!("a counter has the value {value}")));
        }
        let by = match last {
            Some((seen, before)) => match Fall::of(before, value) {
                Fall::No => value - before,
                Fall::Slight if counters::is_step_back(at - seen, scrape) => continue,
                Fall::Slight | Fall::Deep => value,
            },
            None if from_0 => value,
            None => 0.0,
        };
        if at > start && by > 0.0 {
            gained.push((at, by));
        }
        last = Some((at, value));
    }
    Ok(gained)
}
