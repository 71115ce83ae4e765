//! Latency from the buckets of histograms: a request is slower than an edge, or it is not.
use super::{
    answer::Series,
    counters::{self, Increase},
    evidence::{self, Counted, HISTORY_MS, Judged, Look},
    native::{self, Gain},
    presets::Unit,
};
use crate::{
    judge::{Bursts, Counts, Edge, Traffic, compare, percent, range, real, thousands},
    vocab::Verdict,
};
use std::collections::BTreeMap;

/// The least number of requests in that time from which edges are chosen.
const LEAST_HISTORY: u64 = 200;
/// An edge certifies when so large a share of stable's requests was slower.
const SHARES: std::ops::RangeInclusive<f64> = 0.005..=0.5;
/// What a comparison says that can find harm and never the lack of it.
const NOTHING_CERTIFIES: &str = "; it cannot pass, for in the 10 minutes before stable had fewer than 200 requests, or there is \
     no edge that 0.5 % to 50 % of them were slower than: set compare: None and a limit, or let onInconclusive advance";
/// The shares of slower requests, near which edges are chosen: the median, and the 90th, 95th and 99th percentile.
const NEAR: [f64; 4] = [0.5, 0.1, 0.05, 0.01];
/// The most edges that are watched when none was chosen.
const MOST_EDGES: usize = 32;

/// Where edges of a grid are looked at, in seconds.
const GRID: std::ops::RangeInclusive<f64> = 0.000_9..=66.0;
/// So far from an edge of a grid, in seconds, a limit is taken to be on it: limits are written in whole milliseconds, and
/// most edges of a grid are not.
const WRITTEN: f64 = 0.000_5;

/// Where an arm's histograms have their edges.
struct Known {
    unit: Unit,
    /// The finite edges in seconds that every classic histogram has, if there are any; ascending.
    classic: Option<Vec<f64>>,
    /// What is known of the native ones, if there are any.
    native: Option<native::Edges>,
}

impl Known {
    fn of(series: &[Series], unit: Unit) -> Self {
        let (native, classic): (Vec<_>, Vec<_>) = series.iter().partition(|series| !series.histograms.is_empty());
        Self {
            unit,
            classic: (!classic.is_empty()).then(|| edges(&classic, unit)),
            native: (!native.is_empty()).then(|| native::Edges::of(native)),
        }
    }

    /// Whether all histograms tell which requests were slower than this, in seconds.
    fn tell(&self, seconds: f64) -> bool {
        let classic = self.classic.as_ref().is_none_or(|edges| edges.iter().any(|edge| is_on(*edge, seconds)));
        classic && self.native.as_ref().is_none_or(|edges| edges.tell(self.unit.edge(seconds)))
    }

    /// The edges worth a look, in seconds, ascending.
    fn all(&self) -> Vec<f64> {
        let mut all = match (&self.classic, &self.native) {
            (Some(edges), _) => edges.clone(),
            (None, Some(native)) => {
                let [low, high] = [*GRID.start(), *GRID.end()].map(|seconds| self.unit.edge(seconds));
                native.between(low, high).into_iter().map(|edge| self.unit.seconds(edge)).collect()
            }
            (None, None) => Vec::new(),
        };
        all.retain(|edge| self.tell(*edge));
        all
    }

    /// The edge that a limit is on, in seconds.
    fn on(&self, max: f64) -> Option<f64> {
        if self.tell(max) {
            return Some(max);
        }
        let edges = self.near(max).filter(|_| self.classic.is_none())?;
        edges.into_iter().find(|edge| (edge - max).abs() <= WRITTEN)
    }

    /// The edges of native histograms around a limit, in seconds, nearest first.
    fn near(&self, max: f64) -> Option<Vec<f64>> {
        let edges = self.native.as_ref()?.near(self.unit.edge(max));
        Some(edges.into_iter().map(|edge| self.unit.seconds(edge)).collect())
    }

    /// Whether edges may come to be known that have not been seen yet.
    fn are_custom(&self) -> bool {
        self.classic.is_none() && self.native.as_ref().is_some_and(native::Edges::are_custom)
    }
}

/// What an arm's histograms gained, added up.
struct Histogram {
    /// Requests.
    all: Vec<Increase>,
    /// By edge in seconds, ascending: requests that were no slower.
    fast: Vec<(f64, Vec<Increase>)>,
}

/// Says of a limit that is on no edge of the histograms which edges there are.
pub(super) fn complaint(look: &Look<'_>, unit: Unit, counted: &Counted) -> Option<String> {
    let max = look.metric.limit.as_ref()?.max().ok()??.value;
    let (known, name) = (Known::of(&counted.series, unit), look.preset.series);
    if known.on(max).is_some() {
        return None;
    }
    let shown = compare::seconds(max);
    if known.classic.as_ref().is_some_and(Vec::is_empty) {
        return Some(format!("preset: {name} has no finite buckets here"));
    }
    let listed = |edges: &[f64]| edges.iter().map(|edge| compare::seconds(*edge)).collect::<Vec<_>>().join(", ");
    match known.near(max).filter(|_| known.classic.is_none()) {
        Some(near) if !known.are_custom() => {
            let mut near: Vec<_> = near.iter().map(|edge| (edge * 1_000.0).round() / 1_000.0).collect();
            near.retain(|edge| *edge > 0.0);
            near.sort_by(f64::total_cmp);
            near.dedup();
            let name = name.trim_end_matches("_bucket");
            Some(format!(
                "limit.max: {shown} is no edge of the native histogram {name}; the nearest are {}",
                listed(&near)
            ))
        }
        _ => {
            let edges: Vec<_> = known.all().into_iter().take(MOST_EDGES).collect();
            Some(format!("limit.max: {shown} is no edge of {name}; choose one of {}", listed(&edges)))
        }
    }
}

pub(super) fn judge(look: &Look<'_>, unit: Unit, canary: &Counted, stable: Option<&Counted>) -> Result<Judged, String> {
    let start = look.times.start;
    let known = Known::of(&canary.series, unit);
    let limit = look.metric.limit.as_ref().and_then(|limit| Some((limit.max().ok()??.value, limit.quantile?)));
    let limit = limit.and_then(|(max, quantile)| Some((known.on(max)?, quantile)));
    let (mut compared, mut range) = (None, None);
    let mut shown = None;
    let mut stable_requests = Vec::new();
    let mut watched = Vec::new();
    let stable = stable.filter(|stable| !stable.series.is_empty());
    let before = stable.map(|stable| before(look, &known, stable)).transpose()?;
    if let Some(before) = &before {
        watched.clone_from(&before.watched);
    }
    let seen = histogram(unit, canary, &with(watched, limit.map(|(edge, _)| edge)), start)?;
    if let (Some(stable), Some(Before { history, watched, certify, among })) = (stable, &before) {
        let other = histogram(unit, stable, watched, start)?;
        let pairs = look.grid().pairs(&canary.beats, &stable.beats);
        let (all, other_all) = (pairs.sums(&seen.all), pairs.sums(&other.all));
        let tests: Vec<_> = other
            .fast
            .iter()
            .filter_map(|(edge, other_fast)| {
                let fast = seen.fast.iter().find(|(seconds, _)| is_on(*seconds, *edge))?;
                let (slow, other_slow) =
                    (slower(&all, &pairs.sums(&fast.1)), slower(&other_all, &pairs.sums(other_fast)));
                let intervals = evidence::intervals([all.clone(), slow, other_all.clone(), other_slow]);
                let bursts = look.subject.bursts.unwrap_or_else(|| bursts(look, history, *edge));
                Some(Edge { seconds: *edge, certifies: *certify, bursts, intervals })
            })
            .collect();
        if tests.is_empty() {
            return Err("the histograms of the two arms have no edge in common".into());
        }
        let mut judged = compare::latency_among(&tests, *among, &look.rules(Bursts::Unseen));
        judged.why.extend(look.expected(&judged, |share| {
            let margins = look.subject.margins;
            let seconds = tests.iter().filter(|edge| edge.certifies).filter_map(|edge| {
                Some(traffic(history, edge.seconds, start)?.seconds_to_pass(share, margins, edge.bursts))
            });
            // A canary passes when it does at every edge.
            seconds.reduce(f64::max)
        }));
        if !certify && judged.verdict == Verdict::Continue {
            judged.why.push_str(NOTHING_CERTIFIES);
        }
        judged.why.extend(evidence::left_out(&pairs, [&seen.all, &other.all]));
        let loudest = tests.iter().find(|edge| Some(edge.seconds) == judged.edge);
        let all_edges = u32::try_from(*among).unwrap_or(u32::MAX);
        range = loudest.and_then(|edge| range::odds(&edge.intervals, edge.bursts, look.block(), all_edges));
        shown = Some((judged.canary, judged.stable, judged.edge));
        compared = Some(judged);
        stable_requests = other.all;
    }
    let windows = look.windows();
    let all = windows.sums(&seen.all);
    let mut limited = None;
    let mut kept = None;
    if let Some((max, quantile)) = limit
        && let Some((edge, fast)) = seen.fast.iter().find(|(edge, _)| is_on(*edge, max))
    {
        let counts: Vec<_> = evidence::counts(&all, &slower(&all, &windows.sums(fast))).collect();
        let mut total = Counts::default();
        for window in &counts {
            total.add(*window);
        }
        let over = format!("more than {} slower than {}", percent(1.0 - quantile), compare::seconds(*edge));
        limited = Some(look.limited(&counts, 1.0 - quantile, &over));
        kept = Some((total, *edge));
    }
    let text = |counts: Counts, edge: f64| {
        let share = counts.share().map_or_else(|| "no request judged yet".into(), percent);
        format!("{share} of {} slower than {}", thousands(counts.n), compare::seconds(edge))
    };
    let (canary, stable, samples) = match (shown, kept) {
        (Some((canary, stable, Some(edge))), _) => (text(canary, edge), Some(text(stable, edge)), canary.n),
        (_, Some((total, edge))) => (text(total, edge), None, total.n),
        _ => ("no request judged yet".into(), None, 0),
    };
    Ok(Judged { compared, range, limited, canary, stable, requests: seen.all, stable_requests, samples })
}

/// All requests of an arm.
pub(super) fn requests(look: &Look<'_>, unit: Unit, arm: &Counted) -> Result<Vec<Increase>, String> {
    Ok(histogram(unit, arm, &[], look.times.start)?.all)
}

/// What stable did before the evidence, and at which edges the arms are compared.
struct Before {
    history: Histogram,
    watched: Vec<f64>,
    /// Whether they were chosen by stable's history, so that a Pass may rest on them.
    certify: bool,
    /// Of so many edges they are some.
    among: usize,
}

fn before(look: &Look<'_>, canarys: &Known, stable: &Counted) -> Result<Before, String> {
    let (unit, start) = (canarys.unit, look.times.start);
    let stables = Known::of(&stable.series, unit);
    let is_custom = canarys.are_custom() || stables.are_custom();
    let mut both = canarys.all();
    // What has had no request yet has shown no edge.
    if is_custom || both.is_empty() {
        both.extend(stables.all());
        both.sort_by(f64::total_cmp);
        both.dedup_by(|one, other| is_on(*one, *other));
    }
    both.retain(|edge| canarys.tell(*edge) && stables.tell(*edge));
    let history = histogram(unit, stable, &both, start - HISTORY_MS)?;
    let chosen = chosen(&history, start);
    let certify = !chosen.is_empty();
    let watched = if certify { chosen } else { thinned(both) };
    let among = if is_custom && !certify { MOST_EDGES.max(watched.len()) } else { watched.len() };
    Ok(Before { history, watched, certify, among })
}

/// Edges with one more among them.
fn with(mut edges: Vec<f64>, more: Option<f64>) -> Vec<f64> {
    edges.extend(more.filter(|more| !edges.iter().any(|edge| is_on(*edge, *more))));
    edges.sort_by(f64::total_cmp);
    edges
}

/// How much requests slower than an edge came in bursts before the evidence.
fn bursts(look: &Look<'_>, before: &Histogram, edge: f64) -> Bursts {
    let Some((_, fast)) = before.fast.iter().find(|(known, _)| is_on(*known, edge)) else { return Bursts::Unseen };
    let grid = look.past(HISTORY_MS);
    let (all, fast) = (grid.sums(&before.all), grid.sums(fast));
    evidence::bursts(&[evidence::counts(&all, &slower(&all, &fast)).collect()])
}

/// How much traffic there was before the evidence, and how much of it was slower than an edge.
fn traffic(before: &Histogram, edge: f64, start: i64) -> Option<Traffic> {
    let (_, fast) = before.fast.iter().find(|(known, _)| is_on(*known, edge))?;
    let first = before.all.iter().map(|gained| gained.at).min().filter(|first| *first < start)?;
    let all = until(&before.all, start);
    #[expect(clippy::cast_precision_loss, reason = "ten minutes")]
    let seconds = (start - first) as f64 / 1_000.0;
    Some(Traffic { rate: real(all) / seconds, bad: Counts::new(all, all.saturating_sub(until(fast, start))).share()? })
}

/// What was gained before the evidence.
fn until(gained: &[Increase], start: i64) -> u64 {
    counters::since(gained, i64::MIN) - counters::since(gained, start)
}

/// Edges of a history that are near the quantiles of interest and have some requests on either side.
fn chosen(before: &Histogram, start: i64) -> Vec<f64> {
    let all = until(&before.all, start);
    if all < LEAST_HISTORY {
        return Vec::new();
    }
    let shares: Vec<_> = before
        .fast
        .iter()
        .filter_map(|(edge, fast)| Some((*edge, Counts::new(all, all.saturating_sub(until(fast, start))).share()?)))
        .filter(|(_, share)| SHARES.contains(share))
        .collect();
    let far = |share: f64, from: f64| (share.ln() - from.ln()).abs();
    let mut chosen: Vec<f64> = NEAR
        .iter()
        .filter_map(|near| shares.iter().min_by(|(_, a), (_, b)| far(*a, *near).total_cmp(&far(*b, *near))))
        .map(|(edge, _)| *edge)
        .collect();
    chosen.sort_by(f64::total_cmp);
    chosen.dedup();
    chosen
}

fn thinned(edges: Vec<f64>) -> Vec<f64> {
    let nth = edges.len().div_ceil(MOST_EDGES).max(1);
    edges.into_iter().step_by(nth).collect()
}

fn slower(all: &[u64], fast: &[u64]) -> Vec<u64> {
    all.iter().zip(fast).map(|(all, fast)| all.saturating_sub(*fast)).collect()
}

/// The finite edges that every histogram of an arm has, ascending. One that some lack would make fast requests slow.
fn edges(series: &[&Series], unit: Unit) -> Vec<f64> {
    let mut groups: BTreeMap<Vec<(&str, &str)>, Vec<f64>> = BTreeMap::new();
    for series in series {
        let Some(edge) = edge(series, unit) else { continue };
        let mut key: Vec<_> =
            series.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).filter(|(k, _)| *k != "le").collect();
        key.sort_unstable();
        groups.entry(key).or_default().push(edge);
    }
    let mut groups = groups.into_values();
    let mut common = groups.next().unwrap_or_default();
    for group in groups {
        common.retain(|edge| group.iter().any(|other| is_on(*other, *edge)));
    }
    common.retain(|edge| edge.is_finite());
    common.sort_by(f64::total_cmp);
    common.dedup();
    common
}

fn histogram(unit: Unit, arm: &Counted, edges: &[f64], start: i64) -> Result<Histogram, String> {
    let mut histogram = Histogram { all: Vec::new(), fast: edges.iter().map(|edge| (*edge, Vec::new())).collect() };
    let own: Vec<_> = edges.iter().map(|edge| unit.edge(*edge)).collect();
    for series in &arm.series {
        if !series.histograms.is_empty() {
            for Gain { at, away, all, until } in native::gains(series, &own, &arm.beats, start)? {
                histogram.all.push(Increase { at, by: all, away });
                for ((_, fast), by) in histogram.fast.iter_mut().zip(until) {
                    fast.extend((by > 0).then_some(Increase { at, by, away }));
                }
            }
            continue;
        }
        let Some(edge) = edge(series, unit) else { continue };
        let into = if edge == f64::INFINITY {
            Some(&mut histogram.all)
        } else {
            histogram.fast.iter_mut().find(|(known, _)| is_on(*known, edge)).map(|(_, gained)| gained)
        };
        if let Some(into) = into {
            into.extend(counters::increases(series, &arm.beats, start)?);
        }
    }
    Ok(histogram)
}

/// The edge of a bucket in seconds, which may be infinite.
fn edge(series: &Series, unit: Unit) -> Option<f64> {
    let edge: f64 = series.labels.get("le")?.parse().ok()?;
    (!edge.is_nan()).then(|| unit.seconds(edge))
}

/// Whether two edges are the same, however they are written.
fn is_on(edge: f64, other: f64) -> bool {
    edge.total_cmp(&other).is_eq() || (edge - other).abs() <= 1e-9 * edge.abs()
}
