//! Presets: counters of both arms, read as raw samples, judged request by request.
//!
//! A look asks for the samples since a little before the evidence began and computes everything anew. Intervals are two
//! scrapes long and at least two seconds, and are judged once every sample in them must have arrived.
use super::{
    Ask, Metric, Outcome, Prometheus, Reply, Seen, Subject,
    answer::{self, Series, Trouble},
    arms::{ArmLabel, Told},
    counters::{self, Beats, Grid, Increase, Pods},
    latency,
    presets::{Kind, Place, Preset},
    prometheus::Times,
};
use crate::{
    duration,
    judge::{
        Counts, Interval, Judgement, compare, percent, thousands,
        threshold::{self, Allowed, Kept},
    },
    vocab::{Arm, Verdict},
};
use promql_parser::{
    label::Matchers,
    parser::{MatrixSelector, VectorSelector},
};
use std::time::Duration;

/// How far before the evidence the first samples are asked for at least, in milliseconds.
const MARGIN_MS: i64 = 30_000;
/// How long stable's latency is looked at before the evidence, to choose edges, in milliseconds.
pub(super) const HISTORY_MS: i64 = 600_000;
/// The canary must have had a request within this time, in milliseconds, or within the metric's interval.
const RECENT_MS: i64 = 30_000;
/// A window with fewer requests of the canary is not held against a limit: one bad request would be 5 % and more.
const FEWEST: u64 = 20;

/// What was counted of one arm.
pub(super) struct Counted {
    pub series: Vec<Series>,
    pub beats: Beats,
}

/// Everything that one look is about.
pub(super) struct Look<'a> {
    pub preset: &'a Preset,
    pub metric: &'a Metric,
    pub subject: &'a Subject,
    pub times: Times,
    pub pods: Pods<'a>,
}

/// What one kind of counting makes of both arms.
pub(super) struct Judged {
    /// The comparison, unless there is none or stable has no numbers.
    pub compared: Option<Judgement>,
    /// The limit, unless there is none, and its words.
    pub limited: Option<(Kept, String)>,
    /// The canary's number.
    pub canary: String,
    /// Stable's number.
    pub stable: Option<String>,
    /// All requests of the canary since the evidence began.
    pub requests: Vec<Increase>,
    /// Those of them that were judged.
    pub samples: u64,
}

pub(super) fn asks(preset: &Preset, metric: &Metric, prometheus: &Prometheus, subject: &Subject) -> Vec<Ask> {
    let times = Times::of(prometheus, subject);
    let told = told(preset);
    let since = times.now - times.start + (3 * times.scrape).max(MARGIN_MS) + times.fresh;
    let history = if preset.kind == Kind::Latency && metric.compares() { HISTORY_MS } else { 0 };
    let counters = |arm, lookback| selector(preset.series, told.matchers(&prometheus.labels, subject, arm), lookback);
    let beats = |arm, lookback| match preset.place {
        Place::Pods => selector("up", told.matchers(&prometheus.labels, subject, arm), lookback),
        Place::Traefik => selector(TRAEFIK_BEAT, Vec::new(), lookback),
    };
    let mut queries = match preset.place {
        Place::Pods => vec![counters(Arm::Canary, since), beats(Arm::Canary, since)],
        Place::Traefik => vec![counters(Arm::Canary, since), beats(Arm::Canary, since + history)],
    };
    if metric.compares() {
        queries.push(counters(Arm::Stable, since + history));
        if preset.place == Place::Pods {
            queries.push(beats(Arm::Stable, since + history));
        }
    }
    queries.into_iter().map(|query| prometheus.instant(query, times.now)).collect()
}

/// A series that every scrape of Traefik has.
const TRAEFIK_BEAT: &str = "traefik_config_reloads_total";

fn told(preset: &Preset) -> Told {
    match preset.place {
        Place::Pods => Told::By(ArmLabel::Pod),
        Place::Traefik => Told::ByTraefik,
    }
}

fn selector(name: &str, matchers: Vec<promql_parser::label::Matcher>, lookback_ms: i64) -> String {
    let vs = VectorSelector::new(Some(name.into()), Matchers::new(matchers));
    let range = Duration::from_millis(u64::try_from(lookback_ms).unwrap_or(0).next_multiple_of(1_000));
    MatrixSelector { vs, range }.to_string()
}

pub(super) fn read(
    preset: &Preset,
    metric: &Metric,
    prometheus: &Prometheus,
    subject: &Subject,
    replies: &[Reply],
) -> Seen {
    if !told(preset).tells(&prometheus.labels, subject) {
        return Seen::invalid(format!(
            "preset: {} cannot tell the arms apart, for their names are the same",
            preset.name
        ));
    }
    let started = subject.pods_started.iter().map(|(pod, at)| (pod.as_str(), at.as_millisecond())).collect();
    let pods = Pods { label: &prometheus.labels.pod, started };
    let look = Look { preset, metric, subject, times: Times::of(prometheus, subject), pods };
    let mut seen = look.read(replies).unwrap_or_else(Seen::from);
    let restart = look.times.restart.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    seen.history_from = seen.history_from.or(restart);
    seen
}

impl Look<'_> {
    fn read(&self, replies: &[Reply]) -> Result<Seen, Trouble> {
        let series = |at: usize| answer::series(replies.get(at));
        let beats = |at: usize| {
            let is_up = |value: f64| self.preset.place == Place::Traefik || value > 0.5;
            Ok(Beats::of(&series(at)?, is_up))
        };
        let canary = Counted { series: series(0)?, beats: beats(1)? };
        let stable = if self.metric.compares() {
            let at = if self.preset.place == Place::Pods { 3 } else { 1 };
            Some(Counted { series: series(2)?, beats: beats(at)? })
        } else {
            None
        };
        let arms = [Some(("the canary", &canary)), stable.as_ref().map(|stable| ("stable", stable))];
        for (name, counted) in arms.into_iter().flatten() {
            if let Some(seen) = self.is_old(name, counted) {
                return Ok(seen);
            }
        }
        if let Some(seen) = self.lost([Some(&canary), stable.as_ref()]) {
            return Ok(seen);
        }
        let known = if canary.series.is_empty() { stable.as_ref() } else { Some(&canary) };
        if let Some(complaint) = known.filter(|arm| !arm.series.is_empty()).and_then(|arm| self.complaint(arm)) {
            return Ok(Seen::invalid(complaint));
        }
        if canary.series.is_empty() {
            let series = self.preset.series;
            let why = match self.preset.place {
                Place::Traefik => format!("no {series} of the canary's Service: it has had no request yet"),
                Place::Pods => {
                    format!("no {series} of the canary: its pods have had no request yet, or do not count them")
                }
            };
            return Ok(Seen { no_requests: true, ..Seen::nothing(Outcome::Empty, why) });
        }
        let judged = match self.preset.kind {
            Kind::Errors => self.errors(&canary, stable.as_ref()),
            Kind::Latency => latency::judge(self, &canary, stable.as_ref()),
        };
        Ok(self.seen(judged.map_err(Trouble::Unusable)?, stable.as_ref()))
    }

    /// Whether an arm's numbers are missing or stale, so that nothing can be said.
    fn is_old(&self, arm: &str, counted: &Counted) -> Option<Seen> {
        let what = match self.preset.place {
            Place::Pods => "up with value 1",
            Place::Traefik => TRAEFIK_BEAT,
        };
        match counted.beats.newest() {
            None if counted.series.is_empty() => {
                let why = match self.preset.place {
                    Place::Pods => format!("no {what} of {arm}'s pods: Prometheus does not scrape them"),
                    Place::Traefik => format!("no {what}: Prometheus does not scrape Traefik"),
                };
                Some(Seen::nothing(Outcome::Empty, why))
            }
            None => {
                let why = format!("there are numbers of {arm} but no {what}, which says what was scraped when");
                Some(Seen::nothing(Outcome::Unusable, why))
            }
            Some(newest) if self.times.now - newest > self.times.fresh => {
                let age = (self.times.now - newest) / 1_000;
                let why = format!("the newest numbers of {arm} are {age} s old");
                Some(Seen::nothing(Outcome::Unusable, why))
            }
            Some(_) => None,
        }
    }

    /// Whether the provider has no history from when the evidence began.
    fn lost(&self, arms: [Option<&Counted>; 2]) -> Option<Seen> {
        let oldest = arms
            .into_iter()
            .flatten()
            .flat_map(|arm| {
                let samples = arm.series.iter().filter_map(|series| series.samples.first().map(|(at, _)| *at));
                samples.chain(arm.beats.oldest())
            })
            .min()?;
        if oldest <= self.times.start + 2 * self.times.scrape {
            return None;
        }
        let from = jiff::Timestamp::from_millisecond(oldest).ok()?;
        let why = format!("the provider's history begins at {from}, after the evidence");
        Some(Seen { history_from: Some(from), ..Seen::nothing(Outcome::Unusable, why) })
    }

    /// What the metric asks of these numbers that they do not have.
    fn complaint(&self, counted: &Counted) -> Option<String> {
        match self.preset.kind {
            Kind::Errors => counted.series.iter().all(|series| class(series).is_none()).then(|| {
                format!("preset: {} has no label code or status here; use a query with a limit", self.preset.series)
            }),
            Kind::Latency => latency::complaint(self, counted),
        }
    }

    fn errors(&self, canary: &Counted, stable: Option<&Counted>) -> Result<Judged, String> {
        let gains = |arm: &Counted| {
            let (mut all, mut bad) = (Vec::new(), Vec::new());
            for series in &arm.series {
                let gained = counters::increases(series, &arm.beats, &self.pods, self.times.start)?;
                if class(series) == Some(b'5') {
                    bad.extend_from_slice(&gained);
                }
                all.extend(gained);
            }
            Ok::<_, String>((all, bad))
        };
        let (requests, bad) = gains(canary)?;
        let compared = match stable.filter(|stable| !stable.series.is_empty()) {
            None => None,
            Some(stable) => {
                let (stable_all, stable_bad) = gains(stable)?;
                let grid = self.grid();
                let pairs = grid.pairs(&canary.beats, &stable.beats);
                let sums = |gained: &[Increase]| counters::merge(&grid.sums(gained), &pairs);
                let intervals = intervals([sums(&requests), sums(&bad), sums(&stable_all), sums(&stable_bad)]);
                Some(compare::errors(&intervals, self.subject.sensitivity))
            }
        };
        let windows = self.windows();
        let counts: Vec<_> = counts(&windows.sums(&requests), &windows.sums(&bad)).collect();
        let mut total = Counts::default();
        for window in &counts {
            total.add(*window);
        }
        let limit = self.metric.limit.as_ref().and_then(|limit| limit.max().ok().flatten());
        let limited =
            limit.map(|max| self.limited(&counts, max.value, &format!("errors above {}", percent(max.value))));
        let (total, shown) = compared.as_ref().map_or((total, None), |judged| (judged.canary, share(judged.stable)));
        Ok(Judged {
            canary: share(total).unwrap_or_else(|| "no request judged yet".into()),
            stable: shown,
            samples: total.n,
            compared,
            limited,
            requests,
        })
    }

    /// The intervals of the comparison.
    pub fn grid(&self) -> Grid {
        Grid::new(self.times.start, (2 * self.times.scrape).max(2_000), self.times.settled)
    }

    /// The windows of the limit.
    pub fn windows(&self) -> Grid {
        Grid::new(self.times.start, self.window_ms(), self.times.settled)
    }

    fn window_ms(&self) -> i64 {
        let interval = i64::try_from(self.metric.interval.as_millis()).unwrap_or(i64::MAX);
        interval.max(2 * self.times.scrape)
    }

    /// Holds windows against the greatest share of bad requests that is allowed; `over` are the words for more.
    pub fn limited(&self, windows: &[Counts], max: f64, over: &str) -> (Kept, String) {
        let points = windows.iter().filter(|window| window.n >= FEWEST).filter_map(|window| window.share());
        let allowed = Allowed { max: Some(max + 1e-9), min: None, failures: self.metric.failure_limit };
        let kept = threshold::judge(points, &allowed);
        let length = duration::Duration::millis(u64::try_from(self.window_ms()).unwrap_or(0));
        let why = match (kept.judged, kept.failures) {
            (0, _) => format!("no interval of {length} has had {FEWEST} requests of the canary yet"),
            (judged, 0) => format!("none of {judged} intervals of {length} had {over}"),
            (judged, failures) => {
                format!("{failures} of {judged} intervals of {length} had {over}; failureLimit is {}", allowed.failures)
            }
        };
        (kept, why)
    }

    fn seen(&self, judged: Judged, stable: Option<&Counted>) -> Seen {
        let Judged { compared, limited, canary, stable: stable_shown, requests, samples } = judged;
        let interval = i64::try_from(self.metric.interval.as_millis()).unwrap_or(i64::MAX);
        let recent = counters::since(&requests, self.times.now - interval.max(RECENT_MS));
        let wanted = self.metric.compares();
        let alone = wanted && compared.is_none();
        let verdict = together(
            wanted.then(|| compared.as_ref().map_or(Verdict::Unknown, |judged| judged.verdict)),
            limited.as_ref().map(|(kept, _)| kept.verdict),
        );
        let lonely = || format!("no {} of stable to compare with", self.preset.series);
        let words = [
            compared.as_ref().map(|judged| judged.why.clone()),
            stable.filter(|_| alone).map(|_| lonely()),
            limited.as_ref().map(|(_, why)| why.clone()),
            (recent == 0).then(|| "the canary has had no request of late".into()),
        ];
        let why = words.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let outcome = if alone && verdict != Verdict::Fail { Outcome::Empty } else { Outcome::Measured };
        Seen {
            verdict: if outcome == Outcome::Measured { verdict } else { Verdict::Unknown },
            usable: outcome == Outcome::Measured && recent > 0,
            no_requests: recent == 0,
            canary: Some(canary),
            stable: stable_shown,
            samples,
            evidence: compared.map(|judged| judged.ln_m),
            failures: limited.map_or(0, |(kept, _)| kept.failures),
            ..Seen::nothing(outcome, why)
        }
    }
}

/// What a comparison and a limit say together: either fails, both must pass, and what only one could judge is open.
fn together(compared: Option<Verdict>, limited: Option<Verdict>) -> Verdict {
    use Verdict::{Continue, Fail, Pass, Unknown};
    match (compared, limited) {
        (Some(Fail), _) | (_, Some(Fail)) => Fail,
        (Some(Pass), Some(Unknown)) => Continue,
        (Some(verdict), _) | (None, Some(verdict)) => verdict,
        (None, None) => Unknown,
    }
}

/// The first digit of the status code, as a character.
fn class(series: &Series) -> Option<u8> {
    let code = series.labels.get("code").or_else(|| series.labels.get("status"))?;
    code.bytes().next()
}

/// "0.52 % of 812".
fn share(counts: Counts) -> Option<String> {
    counts.share().map(|share| format!("{} of {}", percent(share), thousands(counts.n)))
}

/// Requests and bad ones, side by side.
pub(super) fn counts(all: &[u64], bad: &[u64]) -> impl Iterator<Item = Counts> {
    all.iter().zip(bad).map(|(n, x)| Counts::new(*n, *x))
}

/// Intervals of the canary's requests and bad ones, and stable's.
pub(super) fn intervals([all, bad, stable_all, stable_bad]: [Vec<u64>; 4]) -> Vec<Interval> {
    let arms = counts(&all, &bad).zip(counts(&stable_all, &stable_bad));
    arms.map(|(canary, stable)| Interval { canary, stable }).collect()
}
