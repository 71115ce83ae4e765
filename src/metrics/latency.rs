//! Latency from the buckets of classic histograms: a request is slower than an edge, or it is not.
use super::{
    answer::Series,
    counters::{self, Increase},
    evidence::{self, Counted, HISTORY_MS, Judged, Look},
    presets::Unit,
};
use crate::judge::{Bursts, Counts, Edge, compare, percent, thousands};
use std::collections::BTreeMap;

/// The least number of requests in that time from which edges are chosen.
const LEAST_HISTORY: u64 = 200;
/// An edge certifies when so large a share of stable's requests was slower.
const SHARES: std::ops::RangeInclusive<f64> = 0.005..=0.5;
/// The shares of slower requests, near which edges are chosen: the median, and the 90th, 95th and 99th percentile.
const NEAR: [f64; 4] = [0.5, 0.1, 0.05, 0.01];
/// The most edges that are watched when none was chosen.
const MOST_EDGES: usize = 32;

/// What an arm's histograms gained, added up.
struct Histogram {
    /// Requests.
    all: Vec<Increase>,
    /// By edge in seconds, ascending: requests that were no slower.
    fast: Vec<(f64, Vec<Increase>)>,
}

/// Says of a limit that is on no edge of the histograms which edges there are.
pub(super) fn complaint(look: &Look<'_>, unit: Unit, counted: &Counted) -> Option<String> {
    let max = look.metric.limit.as_ref()?.max().ok()??;
    let edges = edges(&counted.series, unit);
    if edges.is_empty() {
        return Some(format!("preset: {} has no finite buckets here", look.preset.series));
    }
    if edges.iter().any(|edge| is_on(*edge, max.value)) {
        return None;
    }
    let known = edges.iter().take(MOST_EDGES).map(|edge| compare::seconds(*edge)).collect::<Vec<_>>().join(", ");
    let max = compare::seconds(max.value);
    Some(format!("limit.max: {max} is no edge of {}; choose one of {known}", look.preset.series))
}

pub(super) fn judge(look: &Look<'_>, unit: Unit, canary: &Counted, stable: Option<&Counted>) -> Result<Judged, String> {
    let start = look.times.start;
    let seen = histogram(look, unit, canary, &edges(&canary.series, unit), start)?;
    let mut compared = None;
    let mut shown = None;
    if let Some(stable) = stable.filter(|stable| !stable.series.is_empty()) {
        let theirs = edges(&stable.series, unit);
        let both: Vec<_> =
            seen.fast.iter().map(|(edge, _)| *edge).filter(|edge| theirs.iter().any(|e| is_on(*e, *edge))).collect();
        let before = histogram(look, unit, stable, &both, start - HISTORY_MS)?;
        let chosen = chosen(&before, start);
        let watched = if chosen.is_empty() { thinned(both) } else { chosen.clone() };
        let other = histogram(look, unit, stable, &watched, start)?;
        let grid = look.grid();
        let pairs = grid.pairs(&canary.beats, &stable.beats);
        let sums = |gained: &[Increase]| counters::merge(&grid.sums(gained), &pairs);
        let (all, other_all) = (sums(&seen.all), sums(&other.all));
        let tests: Vec<_> = other
            .fast
            .iter()
            .filter_map(|(edge, other_fast)| {
                let fast = seen.fast.iter().find(|(seconds, _)| is_on(*seconds, *edge))?;
                let (slow, other_slow) = (slower(&all, &sums(&fast.1)), slower(&other_all, &sums(other_fast)));
                let intervals = evidence::intervals([all.clone(), slow, other_all.clone(), other_slow]);
                let bursts = look.subject.bursts.unwrap_or_else(|| bursts(look, &before, *edge));
                Some(Edge { seconds: *edge, certifies: !chosen.is_empty(), bursts, intervals })
            })
            .collect();
        if tests.is_empty() {
            return Err("the histograms of the two arms have no edge in common".into());
        }
        let judged = compare::latency(&tests, look.subject.margins, look.block());
        shown = Some((judged.canary, judged.stable, judged.edge));
        compared = Some(judged);
    }
    let windows = look.windows();
    let all = windows.sums(&seen.all);
    let limit = look.metric.limit.as_ref().and_then(|limit| Some((limit.max().ok()??.value, limit.quantile?)));
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
    Ok(Judged { compared, limited, canary, stable, requests: seen.all, samples })
}

/// How much requests slower than an edge came in bursts before the evidence.
fn bursts(look: &Look<'_>, before: &Histogram, edge: f64) -> Bursts {
    let Some((_, fast)) = before.fast.iter().find(|(known, _)| is_on(*known, edge)) else { return Bursts::Unseen };
    let grid = look.past(HISTORY_MS);
    let (all, fast) = (grid.sums(&before.all), grid.sums(fast));
    evidence::bursts(&[evidence::counts(&all, &slower(&all, &fast)).collect()])
}

/// Edges of a history that are near the quantiles of interest and have some requests on either side.
fn chosen(before: &Histogram, start: i64) -> Vec<f64> {
    let sum = |gained: &[Increase]| counters::since(gained, i64::MIN) - counters::since(gained, start);
    let all = sum(&before.all);
    if all < LEAST_HISTORY {
        return Vec::new();
    }
    let shares: Vec<_> = before
        .fast
        .iter()
        .filter_map(|(edge, fast)| Some((*edge, Counts::new(all, all.saturating_sub(sum(fast))).share()?)))
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
fn edges(series: &[Series], unit: Unit) -> Vec<f64> {
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

fn histogram(look: &Look<'_>, unit: Unit, arm: &Counted, edges: &[f64], start: i64) -> Result<Histogram, String> {
    let mut histogram = Histogram { all: Vec::new(), fast: edges.iter().map(|edge| (*edge, Vec::new())).collect() };
    for series in &arm.series {
        let Some(edge) = edge(series, unit) else { continue };
        let into = if edge == f64::INFINITY {
            Some(&mut histogram.all)
        } else {
            histogram.fast.iter_mut().find(|(known, _)| is_on(*known, edge)).map(|(_, gained)| gained)
        };
        if let Some(into) = into {
            into.extend(counters::increases(series, &arm.beats, &look.pods, start)?);
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
