//! Presets: counters of both arms, read as raw samples, judged request by request.
//!
//! A look asks for the samples since a little before the evidence began and computes everything anew. Intervals are one
//! scrape long at a proxy and two at pods, and at least two seconds, and are judged once every sample in them must have
//! arrived.
use super::{
    Arrived, Ask, Metric, Outcome, Past, Prometheus, Seen, Subject,
    answer::{self, Part, Series, Trouble},
    batch::Selection,
    counters::{self, Beats, Grid, Increase, Pairs},
    latency,
    presets::{Bad, Kind, Place, Preset},
    prometheus::Times,
    ratio,
};
use crate::{
    duration,
    judge::{
        Bursts, Counts, Interval, Judgement, Rules, Traffic, compare, percent,
        range::{self, Range},
        real, thousands,
        threshold::{self, Allowed, Kept},
    },
    vocab::{Arm, Verdict},
};
use promql_parser::{
    label::{Matcher, Matchers},
    parser::{MatrixSelector, VectorSelector},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How far before the evidence the first samples are asked for at least, in milliseconds.
const MARGIN_MS: i64 = 30_000;
/// How long stable's latency is looked at before the evidence, to choose edges, in milliseconds.
pub(super) const HISTORY_MS: i64 = 600_000;
/// How long stable is looked at before the evidence, to learn whether its errors come in bursts, in milliseconds.
pub(super) const PAST_MS: i64 = 3_600_000;
/// The canary must have had a request within this time, in milliseconds, or within the metric's interval.
const RECENT_MS: i64 = 30_000;
/// A window with fewer requests of the canary is not held against a limit: one bad request would be 5 % and more.
pub(super) const FEWEST: u64 = 20;
/// For so many scrapes it is looked where requests arrive before anything is said of it.
const SCRAPES: i64 = 4;
/// And for so long, in milliseconds, for a data plane that is busy takes a share late.
const PATIENCE_MS: i64 = 15_000;

/// What was counted of one arm.
pub(super) struct Counted {
    pub series: Vec<Series>,
    pub beats: Beats,
    /// How many pods were scraped of late, where they are what is scraped.
    pub scraped: Option<u32>,
}

/// Everything that one look is about.
pub(super) struct Look<'a> {
    pub preset: &'a Preset,
    pub metric: &'a Metric,
    pub subject: &'a Subject,
    pub times: Times,
    /// Whether the arms are scraped at moments of their own.
    pub apart: bool,
}

/// What one kind of counting makes of both arms.
pub(super) struct Judged {
    /// The comparison, unless there is none or stable has no numbers.
    pub compared: Option<Judgement>,
    /// Between which ratios the truth lies, if that can be told.
    pub range: Option<Range>,
    /// The limit, unless there is none, and its words.
    pub limited: Option<(Kept, String)>,
    /// The canary's number.
    pub canary: String,
    /// Stable's number.
    pub stable: Option<String>,
    /// All requests of the canary since the evidence began.
    pub requests: Vec<Increase>,
    /// All requests of stable since then, if the two were compared.
    pub stable_requests: Vec<Increase>,
    /// Those of them that were judged.
    pub samples: u64,
}

pub(super) fn asks(preset: &Preset, metric: &Metric, prometheus: &Prometheus, subject: &Subject) -> Vec<Ask> {
    let times = Times::of(prometheus, subject);
    let told = preset.told();
    let since = times.now - times.start + (3 * times.scrape).max(MARGIN_MS) + times.fresh;
    let history = if matches!(preset.kind, Kind::Latency(_)) && metric.compares() { HISTORY_MS } else { 0 };
    // Where a scrape tells that a series was not there yet, the series must be asked for as far back.
    let lookback = since + history;
    let select = |names: Vec<String>, told, only| {
        let range_ms = whole_seconds(lookback);
        Selection { names, told, only, at: times.now, range_ms, is_common: false }
    };
    let counters = |arm| {
        let (name, matchers) = counted(preset, prometheus, subject, arm);
        let names = preset.names().into_iter().map(str::to_owned).collect();
        let told = told.matchers(&prometheus.labels, subject, arm);
        (selector(name, matchers, lookback), select(names, told, preset.matchers()))
    };
    let beats = |arm| match preset.place {
        Place::Pods => {
            let told = told.matchers(&prometheus.labels, subject, arm);
            let query = selector(Some("up".into()), told.clone(), lookback);
            Some((query, select(vec!["up".into()], told, Vec::new())))
        }
        Place::Proxy { beat: Some(beat), .. } if arm == Arm::Canary => {
            let told: Vec<_> = prometheus.labels.constants().collect();
            let query = selector(Some(beat.into()), told.clone(), lookback);
            let selection = select(vec![beat.into()], told, Vec::new());
            Some((query, Selection { is_common: true, ..selection }))
        }
        Place::Proxy { .. } => None,
    };
    let mut queries = vec![counters(Arm::Canary)];
    queries.extend(beats(Arm::Canary));
    if wants_stable(metric) {
        queries.push(counters(Arm::Stable));
        queries.extend(beats(Arm::Stable));
    }
    let ask = |(query, selection)| prometheus.samples(query, Some(selection), times.now);
    let mut asks: Vec<_> = queries.into_iter().map(ask).collect();
    if wants_past(preset, metric, subject) {
        asks.push(before(preset, prometheus, subject, &times, times.start - PAST_MS));
    }
    asks
}

/// What selects an arm's counters.
fn counted(preset: &Preset, prometheus: &Prometheus, subject: &Subject, arm: Arm) -> (Option<String>, Vec<Matcher>) {
    let (name, mut matchers) = preset.selected();
    matchers.extend(preset.told().matchers(&prometheus.labels, subject, arm));
    (name, matchers)
}

/// Asks for stable's counters from this moment until the evidence begins. Values at the ends of blocks are enough, however
/// often it was scraped.
pub(super) fn before(preset: &Preset, prometheus: &Prometheus, subject: &Subject, times: &Times, from: i64) -> Ask {
    let (name, matchers) = counted(preset, prometheus, subject, Arm::Stable);
    let query = VectorSelector::new(name, Matchers::new(matchers)).to_string();
    prometheus.range(query, from, times.start, times.block(preset))
}

/// Whether stable's numbers are asked for: to compare with, or because a condition names them.
pub(super) fn wants_stable(metric: &Metric) -> bool {
    metric.compares() || metric.names_stable()
}

/// Whether stable's past says how the canary is compared with it.
pub(super) fn has_past(preset: &Preset, metric: &Metric) -> bool {
    matches!(preset.kind, Kind::Errors(_)) && metric.compares()
}

/// Whether stable's past is still to be looked at.
fn wants_past(preset: &Preset, metric: &Metric, subject: &Subject) -> bool {
    has_past(preset, metric) && subject.past.is_none()
}

fn selector(name: Option<String>, matchers: Vec<Matcher>, lookback_ms: i64) -> String {
    let vs = VectorSelector::new(name, Matchers::new(matchers));
    let range = Duration::from_millis(u64::try_from(whole_seconds(lookback_ms)).unwrap_or(0));
    MatrixSelector { vs, range }.to_string()
}

/// A length in milliseconds, rounded up.
fn whole_seconds(millis: i64) -> i64 {
    let up = u64::try_from(millis).unwrap_or(0).next_multiple_of(1_000);
    i64::try_from(up).unwrap_or(i64::MAX)
}

pub(super) fn read(
    preset: &Preset,
    metric: &Metric,
    prometheus: &Prometheus,
    subject: &Subject,
    parts: &[Part],
) -> Seen {
    if !preset.told().tells(&prometheus.labels, subject) {
        return Seen::invalid(format!(
            "preset: {} cannot tell the arms apart, for their names are the same",
            preset.name
        ));
    }
    let times = Times::of(prometheus, subject);
    let mut look = Look { preset, metric, subject, times, apart: preset.is_apart() };
    let seen = look.read(parts, &prometheus.labels.pod).unwrap_or_else(Seen::from);
    times.bounded(seen)
}

/// The same of counters of both arms that somebody else has read, with what is known of stable's past.
pub(super) fn of_counted(
    preset: &Preset,
    metric: &Metric,
    subject: &Subject,
    times: Times,
    (canary, stable): (Counted, Option<Counted>),
    past: Past,
) -> Seen {
    // They are read at the same moments.
    let look = Look { preset, metric, subject, times, apart: false };
    times.bounded(look.judged(&canary, stable.as_ref(), || Some(past)).unwrap_or_else(Seen::from))
}

impl Look<'_> {
    fn read(&mut self, parts: &[Part], pod_label: &str) -> Result<Seen, Trouble> {
        let mut answers = parts.iter();
        let mut next = || answer::series_of(answers.next());
        let is_up = |value: f64| !self.preset.is_of_pods() || value > 0.5;
        let series = self.counted(next()?);
        let scrape = self.times.scrape;
        let alive = self.times.now - self.times.fresh;
        let (told, scraped) = match self.preset.place {
            Place::Pods | Place::Proxy { beat: Some(_), .. } => {
                let up = next()?;
                let scraped = self.preset.is_of_pods().then(|| counters::pods_since(&up, &series, pod_label, alive));
                (Some(Beats::of([up.as_slice()], scrape, is_up)), scraped)
            }
            Place::Proxy { beat: None, .. } => (None, None),
        };
        let theirs = if wants_stable(self.metric) { Some(self.counted(next()?)) } else { None };
        // What a proxy counts for one arm tells of scrapes that the other's series were in as well.
        let beats = told
            .unwrap_or_else(|| Beats::of([series.as_slice(), theirs.as_deref().unwrap_or_default()], scrape, is_up));
        let stable = match theirs {
            Some(series) if self.preset.is_of_pods() => {
                Some(Counted { series, beats: Beats::of([next()?.as_slice()], scrape, is_up), scraped: None })
            }
            theirs => theirs.map(|series| Counted { series, beats: beats.clone(), scraped: None }),
        };
        let canary = Counted { series, beats, scraped };
        let known =
            [Some(&canary), stable.as_ref()].into_iter().flatten().map(|arm| arm.beats.known_until(alive)).min();
        self.times = self.times.known_until(known.flatten());
        // Before all of it has arrived, nothing of the evidence has either.
        let has_arrived = self.times.settled >= self.times.start;
        let past = || match self.preset.kind {
            Kind::Errors(bad) if has_arrived && wants_past(self.preset, self.metric, self.subject) => {
                self.told_past(bad, answer::series_of(parts.last()), pod_label)
            }
            _ => None,
        };
        self.judged(&canary, stable.as_ref(), past)
    }

    /// What the counters of both arms say; `past` is asked when there is something to judge.
    fn judged(
        &self,
        canary: &Counted,
        stable: Option<&Counted>,
        past: impl FnOnce() -> Option<Past>,
    ) -> Result<Seen, Trouble> {
        let arms = [Some(("the canary", canary)), stable.map(|stable| ("stable", stable))];
        for (name, counted) in arms.into_iter().flatten() {
            if let Some(seen) = self.is_old(name, counted) {
                return Ok(seen);
            }
        }
        if let Some(seen) = self.lost([Some(canary), stable]) {
            return Ok(seen);
        }
        if let Some(complaint) = self.complaint(canary, stable) {
            return Ok(Seen::invalid(complaint));
        }
        if canary.series.is_empty() {
            let series = self.preset.series;
            let why = if self.preset.is_of_pods() {
                format!("no {series} of the canary: its pods have had no request yet, or do not count them")
            } else if stable.is_some_and(|stable| stable.series.is_empty()) {
                format!(
                    "no {series} of either Service: neither has had a request yet, or their label has another name here, like \
                     exported_service where a ServiceMonitor finds the proxy: write that into prometheus.labels of the provider"
                )
            } else {
                format!("no {series} of the canary's Service: it has had no request yet")
            };
            let theirs = stable.map(|stable| self.requests(stable)).transpose().map_err(Trouble::Unusable)?;
            let arrived = self.arrived(&[], &theirs.unwrap_or_default());
            let past = past();
            return Ok(Seen { no_requests: true, arrived, past, ..Seen::nothing(Outcome::Empty, why) });
        }
        let past = past().or(self.subject.past);
        let judged = match self.preset.kind {
            Kind::Errors(bad) => self.errors(bad, canary, stable, past),
            Kind::Latency(unit) => latency::judge(self, unit, canary, stable),
            Kind::Ratio(ratio) => {
                let seen = ratio::judge(self, &ratio, canary, stable).map_err(Trouble::Unusable)?;
                return Ok(Seen { scraped: canary.scraped, ..seen });
            }
        };
        let seen = self.seen(judged.map_err(Trouble::Unusable)?, stable);
        Ok(Seen { past, scraped: canary.scraped, ..seen })
    }

    /// The series of an answer that count, each once: a histogram that is there in both forms counts in its classic one.
    /// What is no histogram's by its name is none; where a plain counter is wanted, a native histogram becomes one.
    fn counted(&self, mut all: Vec<Series>) -> Vec<Series> {
        let is_named =
            |series: &Series| series.labels.get("__name__").is_some_and(|name| self.preset.is_histogram(name));
        all.retain(|series| !series.histograms.is_empty() || !is_named(series));
        if all.iter().all(|series| series.histograms.is_empty()) {
            return all;
        }
        let key = |series: &Series| {
            let labels = series.labels.iter().filter(|(label, _)| !["__name__", "le"].contains(&label.as_str()));
            labels.map(|(label, value)| (label.clone(), value.clone())).collect::<BTreeMap<_, _>>()
        };
        let (native, mut classic): (Vec<_>, Vec<_>) = all.into_iter().partition(|series| !series.histograms.is_empty());
        let known: BTreeSet<_> = classic.iter().map(key).collect();
        for series in native.into_iter().filter(|series| !known.contains(&key(series))) {
            match self.preset.kind {
                Kind::Latency(_) => classic.push(series),
                Kind::Errors(_) | Kind::Ratio(_) => classic.extend(self.preset.counters_of(&series)),
            }
        }
        classic
    }

    /// What an answer says of stable's past. One that cannot be told is not known, which is no reason not to judge. Where
    /// nobody answered, it is asked for again.
    pub fn told_past(&self, bad: Bad, answer: Result<Vec<Series>, Trouble>, pod_label: &str) -> Option<Past> {
        match answer {
            Ok(series) => Some(self.stables_past(bad, &self.counted(series), pod_label).unwrap_or_default()),
            Err(Trouble::Unusable(_)) => Some(Past::default()),
            Err(Trouble::Unreachable(_)) => None,
        }
    }

    /// What stable did in the hour before this canary.
    fn stables_past(&self, bad: Bad, series: &[Series], pod_label: &str) -> Result<Past, String> {
        let start = self.times.start - PAST_MS;
        let grid = self.past(PAST_MS);
        let looked = Beats::unknown(self.times.block(self.preset));
        let mut pods: BTreeMap<&str, [Vec<u64>; 2]> = BTreeMap::new();
        for series in series {
            // The pod of a proxy's series is the proxy's, beside which errors of one cause would seem to be of many.
            let pod = series.labels.get(pod_label).filter(|_| self.preset.is_of_pods()).map_or("", String::as_str);
            // What a series had when it was first seen belongs to no interval.
            let gained = counters::increases(series, &looked, start)?;
            let sums = grid.sums(&gained);
            let into = pods.entry(pod).or_insert_with(|| [vec![0; sums.len()], vec![0; sums.len()]]);
            let (counts, is_bad) = bad.sorts(&series.labels);
            for (sum, _) in into.iter_mut().zip([counts, is_bad]).filter(|(_, belongs)| *belongs) {
                counters::add(sum, &sums);
            }
        }
        let pods: Vec<Vec<Counts>> = pods.into_values().map(|[all, bad]| counts(&all, &bad).collect()).collect();
        let mut total = Counts::default();
        pods.iter().flatten().for_each(|counts| total.add(*counts));
        let times = || series.iter().flat_map(|series| series.samples.iter().map(|(at, _)| *at));
        let span = times().max().zip(times().min()).map_or(0, |(last, first)| last - first);
        #[expect(clippy::cast_precision_loss, reason = "at most an hour")]
        let traffic = (total.n > 0 && span > 0).then(|| Traffic {
            rate: real(total.n) / (span as f64 / 1_000.0),
            // Where nothing went wrong, half an error is likelier than none for ever.
            bad: real(total.x).max(0.5) / real(total.n),
        });
        Ok(Past { bursts: bursts(&pods), traffic })
    }

    /// Blocks of so long a time, in milliseconds, before the evidence.
    pub fn past(&self, length: i64) -> Grid {
        Grid::new(self.times.start - length, self.times.block(self.preset), self.times.start)
    }

    /// How many intervals make a block.
    pub fn block(&self) -> usize {
        usize::try_from(self.times.block(self.preset) / self.times.step(self.preset)).unwrap_or(1)
    }

    /// Whether an arm's numbers are missing or stale, so that nothing can be said.
    fn is_old(&self, arm: &str, counted: &Counted) -> Option<Seen> {
        let what = match self.preset.place {
            Place::Pods => "up with value 1",
            Place::Proxy { beat, .. } => beat.unwrap_or(self.preset.series),
        };
        match counted.beats.newest() {
            None if counted.series.is_empty() => {
                let (why, no_requests) = match self.preset.place {
                    Place::Pods => (format!("no {what} of {arm}'s pods: Prometheus does not scrape them"), false),
                    Place::Proxy { name, beat: Some(_), .. } => {
                        (format!("no {what}: Prometheus does not scrape {name}"), false)
                    }
                    Place::Proxy { name, beat: None, .. } => {
                        let why = format!("no {what}: there has been no request, or Prometheus does not scrape {name}");
                        (why, true)
                    }
                };
                Some(Seen { no_requests, ..Seen::nothing(Outcome::Empty, why) })
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

    /// Whether the provider has no history from when the evidence began. Of a proxy that tells of its scrapes by what it counts
    /// for the two arms nobody can say whether there was a history without them or a time without requests.
    fn lost(&self, arms: [Option<&Counted>; 2]) -> Option<Seen> {
        if matches!(self.preset.place, Place::Proxy { beat: None, .. }) {
            return None;
        }
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
    fn complaint(&self, canary: &Counted, stable: Option<&Counted>) -> Option<String> {
        let counted = if canary.series.is_empty() { stable? } else { canary };
        match self.preset.kind {
            Kind::Errors(bad) => {
                // What only one arm has shows that the other might.
                let besides = stable.filter(|_| matches!(bad, Bad::Unanswered { .. }));
                let all = counted.series.iter().chain(besides.iter().flat_map(|stable| &stable.series));
                let missing: Option<Vec<_>> = all.map(|series| bad.missing(&series.labels)).collect();
                let labels = missing?.into_iter().next()?;
                Some(format!("preset: {} has no label {labels} here; use a query with a limit", self.preset.series))
            }
            Kind::Latency(unit) => latency::complaint(self, unit, counted),
            Kind::Ratio(_) => None,
        }
    }

    fn errors(
        &self,
        bad: Bad,
        canary: &Counted,
        stable: Option<&Counted>,
        past: Option<Past>,
    ) -> Result<Judged, String> {
        let bursts = self.subject.bursts.or(past.map(|past| past.bursts)).unwrap_or_default();
        let traffic = past.and_then(|past| past.traffic);
        let uncounted = bad.uncounted(canary.series.iter().chain(stable.iter().flat_map(|stable| &stable.series)));
        let (requests, wrong) = self.gains(bad, canary)?;
        let (mut stable_requests, mut range) = (Vec::new(), None);
        let compared = match stable.filter(|stable| !stable.series.is_empty()) {
            None => None,
            Some(stable) => {
                let (stable_all, stable_bad) = self.gains(bad, stable)?;
                let pairs = self.grid().pairs(&canary.beats, &stable.beats);
                let gained = [&requests, &wrong, &stable_all, &stable_bad];
                let intervals = intervals(gained.map(|gained| pairs.sums(gained)));
                let rules = self.rules(bursts);
                let mut judged = compare::errors(&intervals, &rules);
                judged.why.extend(
                    self.expected(&judged, |share| Some(traffic?.seconds_to_pass(share, rules.margins, rules.bursts))),
                );
                judged.why.extend(left_out(&pairs, [&requests, &stable_all]));
                judged.why.extend(uncounted.clone());
                range = range::odds(&intervals, bursts, self.block(), 1);
                stable_requests = stable_all;
                Some(judged)
            }
        };
        let windows = self.windows();
        let counts: Vec<_> = counts(&windows.sums(&requests), &windows.sums(&wrong)).collect();
        let mut total = Counts::default();
        for window in &counts {
            total.add(*window);
        }
        let limit = self.metric.limit.as_ref().and_then(|limit| limit.max().ok().flatten());
        let limited =
            limit.map(|max| self.limited(&counts, max.value, &format!("errors above {}", percent(max.value))));
        let limited = limited
            .map(|(kept, why)| (kept, why + uncounted.filter(|_| compared.is_none()).as_deref().unwrap_or_default()));
        let (total, shown) = compared.as_ref().map_or((total, None), |judged| (judged.canary, share(judged.stable)));
        Ok(Judged {
            canary: share(total).unwrap_or_else(|| "no request judged yet".into()),
            stable: shown,
            samples: total.n,
            compared,
            range,
            limited,
            requests,
            stable_requests,
        })
    }

    /// All requests of an arm, and the bad ones.
    fn gains(&self, bad: Bad, arm: &Counted) -> Result<(Vec<Increase>, Vec<Increase>), String> {
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        for series in &arm.series {
            let gained = counters::increases(series, &arm.beats, self.times.start)?;
            let (counts, is_bad) = bad.sorts(&series.labels);
            if is_bad {
                wrong.extend_from_slice(&gained);
            }
            if counts {
                all.extend(gained);
            }
        }
        Ok((all, wrong))
    }

    /// All requests of an arm.
    fn requests(&self, arm: &Counted) -> Result<Vec<Increase>, String> {
        match self.preset.kind {
            Kind::Errors(bad) => Ok(self.gains(bad, arm)?.0),
            Kind::Latency(unit) => latency::requests(self, unit, arm),
            Kind::Ratio(_) => Ok(Vec::new()),
        }
    }

    /// Where requests arrived since they are shared out as they are now, once it was looked for some scrapes: those of the
    /// two arms are not at the same moment.
    fn arrived(&self, canary: &[Increase], stable: &[Increase]) -> Option<Arrived> {
        let from = self.subject.shared_since?.as_millisecond().max(self.times.start) + self.times.scrape;
        let until = self.times.settled;
        if !wants_stable(self.metric) || until - from < (SCRAPES * self.times.scrape).max(PATIENCE_MS) {
            return None;
        }
        let within = |gained: &[Increase]| {
            let is_within = |gained: &Increase| gained.away.unwrap_or(gained.at) > from && gained.at <= until;
            gained.iter().filter(|gained| is_within(gained)).fold(0_u64, |sum, gained| sum.saturating_add(gained.by))
        };
        Some(Arrived { canary: within(canary), stable: within(stable) })
    }

    /// When a proof is to be expected, of what has proven nothing yet: how many seconds it takes at a canary's share.
    pub fn expected(&self, judged: &Judgement, whole: impl FnOnce(f64) -> Option<f64>) -> Option<String> {
        let open = Some(judged).filter(|judged| judged.verdict == Verdict::Continue)?;
        let both = open.canary.n.saturating_add(open.stable.n);
        let whole = whole(Counts::new(both, open.canary.n).share()?)?;
        self.times.expected(whole, "at this share")
    }

    /// The intervals of the comparison.
    pub fn grid(&self) -> Grid {
        Grid::new(self.times.start, self.times.step(self.preset), self.times.settled)
    }

    /// The windows of the limit.
    pub fn windows(&self) -> Grid {
        Grid::new(self.times.start, self.window_ms(), self.times.settled)
    }

    pub fn window_ms(&self) -> i64 {
        let interval = i64::try_from(self.metric.interval.as_millis()).unwrap_or(i64::MAX);
        interval.max(2 * self.times.scrape)
    }

    /// Holds windows against the greatest share of bad requests that is allowed; `over` are the words for more.
    pub fn limited(&self, windows: &[Counts], max: f64, over: &str) -> (Kept, String) {
        let allowed = Allowed { max: Some(max + 1e-9), min: None };
        let shares = windows.iter().filter(|window| window.n >= FEWEST).filter_map(|window| window.share());
        let counting = self.metric.counting();
        let kept = threshold::judge(shares.filter_map(|share| allowed.point(share)), &counting);
        let length = duration::Duration::millis(u64::try_from(self.window_ms()).unwrap_or(0));
        let why = match (kept.judged, kept.failures) {
            (0, _) => format!("no interval of {length} has had {FEWEST} requests of the canary yet"),
            (judged, 0) => format!("none of {judged} intervals of {length} had {over}"),
            (judged, failures) => {
                format!(
                    "{failures} of {judged} intervals of {length} had {over}; failureLimit is {}",
                    counting.failures
                )
            }
        };
        (kept, why)
    }

    /// What a comparison takes for granted here.
    pub fn rules(&self, bursts: Bursts) -> Rules {
        Rules { margins: self.subject.margins, bursts, block: self.block(), lasting: self.apart }
    }

    /// What was counted after this moment, in milliseconds, was counted of late.
    pub fn late(&self) -> i64 {
        self.times.late(self.metric.interval, RECENT_MS)
    }

    fn seen(&self, judged: Judged, stable: Option<&Counted>) -> Seen {
        let Judged { compared, range, limited, canary, stable: stable_shown, requests, stable_requests, samples } =
            judged;
        let recent = counters::since(&requests, self.late());
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
            arrived: self.arrived(&requests, &stable_requests),
            range: range.map(Range::ratio),
            evidence: compared.as_ref().map(|judged| judged.ln_m),
            evidence_now: compared.map(|judged| judged.ln_now),
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
        (Some(Pass), Some(Unknown | Continue)) => Continue,
        (Some(verdict), _) | (None, Some(verdict)) => verdict,
        (None, None) => Unknown,
    }
}

/// How much errors come in bursts: of some pods beside each other, and of one that had all requests, as after its
/// predecessor's end, in intervals that follow each other.
pub(super) fn bursts(pods: &[Vec<Counts>]) -> Bursts {
    let intervals = pods.iter().map(Vec::len).max().unwrap_or(0);
    let busy = |at: usize| {
        let counts = pods.iter().enumerate().filter_map(|(pod, counts)| Some((pod, *counts.get(at)?)));
        counts.filter(|(_, counts)| counts.n > 0).collect::<Vec<_>>()
    };
    Bursts::of((0..intervals).step_by(2).flat_map(|at| match (&busy(at)[..], &busy(at + 1)[..]) {
        ([(one, before)], [(other, after)]) if one == other => vec![vec![*before, *after]],
        both => [both.0, both.1].map(|row| row.iter().map(|(_, counts)| *counts).collect()).to_vec(),
    }))
}

/// Words for requests that the comparison leaves out.
pub(super) fn left_out(pairs: &Pairs, arms: [&Vec<Increase>; 2]) -> Option<String> {
    let requests = arms.iter().fold(0_u64, |sum, gained| sum.saturating_add(pairs.left_out(gained)));
    let requests = Some(requests).filter(|requests| *requests > 0).map(thousands)?;
    Some(format!("; not compared: {requests} requests to targets that were not scraped meanwhile"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_of_pods_that_took_turns_is_as_good_as_that_of_one() {
        // Now one error in ten seconds, now none: of neighbours it is as likely on either.
        let busy = |at: usize| Counts::new(500, at as u64 % 2);
        let idle = Counts::default();
        let one: Vec<_> = (0..600).map(busy).collect();
        let before: Vec<_> = (0..600).map(|at| if at < 300 { busy(at) } else { idle }).collect();
        let after: Vec<_> = (0..600).map(|at| if at < 300 { idle } else { busy(at) }).collect();
        assert_eq!(bursts(std::slice::from_ref(&one)), Bursts::Known(1.0));
        assert_eq!(bursts(&[before, after]), Bursts::Known(1.0));
        assert_eq!(bursts(&[vec![idle; 600], one.clone()]), Bursts::Known(1.0));
        // Beside each other all are compared, an odd last one too.
        assert_eq!(bursts(&[one[..599].to_vec(), one[1..].to_vec()]), Bursts::Known(1.0));
        assert_eq!(bursts(&[]), Bursts::Unknown(0));
    }
}
