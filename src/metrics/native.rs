//! Native histograms: each sample is a whole histogram, whose buckets bring their own edges.
//!
//! Prometheus writes only the buckets that have something in them. Where edges are powers of a root of 2, the rest of the
//! grid follows from any one of them; where they are custom (schema -53) only those are known that were seen, and beside
//! them any number that lies in no bucket: what is at or below it can be counted exactly. See the specification of native
//! histograms, <https://prometheus.io/docs/specs/native_histograms/>.
use super::{
    answer::Series,
    counters::{self, Beats, Fall, Origin, Walk},
};
use crate::judge::real;

/// One sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Native {
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Those buckets that are not empty, ascending.
    pub buckets: Vec<Bucket>,
}

/// One bucket, in the histogram's own unit. What is as great as the upper edge is in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub count: f64,
}

/// Edges, relatively, are the same up to this.
const SAME: f64 = 1e-9;
/// The finest grid that is looked at by itself: four edges in each doubling.
const FINEST: i32 = 2;
/// The finest and the coarsest grid there are.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

impl Native {
    /// How many observations are at most as great as each of some edges, ascending as the buckets are.
    fn until(&self, edges: &[f64]) -> Vec<f64> {
        let mut buckets = self.buckets.iter().peekable();
        let mut sum = 0.0;
        let one = |edge: &f64| {
            while let Some(bucket) = buckets.next_if(|bucket| bucket.upper <= edge + SAME * edge.abs()) {
                sum += bucket.count;
            }
            sum
        };
        edges.iter().map(one).collect()
    }
}

/// What is known of where some histograms have their edges.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Edges {
    /// Of a grid of roots of 2: that the coarsest of them has `2^schema` edges in each doubling.
    schema: Option<i32>,
    /// Whether some have edges that are on no such grid.
    custom: bool,
    /// Buckets that were seen, each once.
    buckets: Vec<(f64, f64)>,
}

impl Edges {
    /// Of all samples of these series.
    pub fn of<'a>(series: impl IntoIterator<Item = &'a Series>) -> Self {
        let samples = series.into_iter().flat_map(|series| &series.histograms);
        let mut buckets: Vec<_> =
            samples.flat_map(|(_, sample)| sample.buckets.iter().map(|bucket| (bucket.lower, bucket.upper))).collect();
        buckets.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
        buckets.dedup();
        // The bucket around zero is in both kinds, and says nothing.
        let schemas: Vec<_> =
            buckets.iter().filter(|(lower, _)| *lower > 0.0 || *lower == f64::NEG_INFINITY).map(schema).collect();
        let custom = schemas.iter().any(Option::is_none);
        Self { schema: schemas.into_iter().flatten().min().filter(|_| !custom), custom, buckets }
    }

    /// Whether it can be told, now and later, how many observations are at most this.
    pub fn tell(&self, edge: f64) -> bool {
        match self.schema {
            Some(schema) => is_on_grid(schema, edge),
            None => self.buckets.iter().all(|(lower, upper)| !is_inside(edge, *lower, *upper)),
        }
    }

    /// The edges between these two that are worth a look, ascending: of a grid those of it that do not depend on what
    /// was seen, of custom ones those that were.
    pub fn between(&self, low: f64, high: f64) -> Vec<f64> {
        if let Some(schema) = self.schema {
            return grid(schema.min(FINEST), low, high);
        }
        let mut edges: Vec<_> = self.buckets.iter().flat_map(|(lower, upper)| [*lower, *upper]).collect();
        edges.retain(|edge| edge.is_finite() && *edge > 0.0 && self.tell(*edge));
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        edges
    }

    /// The two edges around a number, nearest first, as far as they are known.
    pub fn near(&self, number: f64) -> Vec<f64> {
        let mut edges = match self.schema {
            Some(schema) => grid(schema, number / width(schema), number * width(schema)),
            None => self.between(0.0, f64::INFINITY),
        };
        let far = |edge: &f64| (edge.ln() - number.ln()).abs();
        edges.sort_by(|one, other| far(one).total_cmp(&far(other)));
        edges
    }

    /// Whether only edges are known that were seen.
    pub fn are_custom(&self) -> bool {
        self.custom
    }
}

/// From one edge of a grid to the next, as a factor.
fn width(schema: i32) -> f64 {
    (-f64::from(schema)).exp2().exp2()
}

/// The edges of a grid from `low` to `high`.
fn grid(schema: i32, low: f64, high: f64) -> Vec<f64> {
    let steps = f64::from(schema).exp2();
    #[expect(clippy::cast_possible_truncation, reason = "logarithms of finite numbers are small")]
    let [first, last] = [(low.log2() * steps).ceil() as i32, (high.log2() * steps).floor() as i32];
    (first..=last.min(first.saturating_add(1_000))).map(|index| (f64::from(index) / steps).exp2()).collect()
}

fn is_on_grid(schema: i32, edge: f64) -> bool {
    let place = edge.log2() * f64::from(schema).exp2();
    edge > 0.0 && edge.is_finite() && (place - place.round()).abs() * width(schema).ln() <= SAME
}

/// How fine the grid is that a bucket is on, if it is on one.
fn schema((lower, upper): &(f64, f64)) -> Option<i32> {
    let exact = -(upper / lower).log2().log2();
    SCHEMAS.into_iter().find(|schema| (exact - f64::from(*schema)).abs() < 1e-6 && is_on_grid(*schema, *upper))
}

/// Whether a number is neither of two edges, but between them.
fn is_inside(number: f64, lower: f64, upper: f64) -> bool {
    let slack = SAME * number.abs();
    number > lower + slack && number < upper - slack
}

/// What a series of histograms gained: when, how much in all, and how much at most as great as each of some edges.
pub(super) struct Gain {
    pub at: i64,
    /// Since when its target had not been scraped, if it was not waited for.
    pub away: Option<i64>,
    pub all: u64,
    pub until: Vec<u64>,
}

/// What a series of histograms gained after `start`, by the rules of [`counters::increases`]: all its buckets begin anew
/// together.
///
/// # Errors
/// A sample that no histogram of requests can have.
pub(super) fn gains(series: &Series, edges: &[f64], beats: &Beats, start: i64) -> Result<Vec<Gain>, String> {
    let times = series.histograms.iter().map(|(at, _)| *at);
    let mut walk = Walk::along(&series.labels, times, beats);
    let mut gained = Vec::with_capacity(series.histograms.len());
    let mut last = vec![0_u64; edges.len() + 1];
    for (at, sample) in &series.histograms {
        let counts = std::iter::once(sample.count).chain(sample.until(edges));
        let counts: Option<Vec<u64>> = counts.map(counters::whole).collect();
        let counts = counts.ok_or_else(|| format!("a histogram has the count {}", sample.count))?;
        let from = match walk.next(*at, fall(&last, &counts)) {
            Origin::Last => Some(std::mem::replace(&mut last, counts.clone())),
            Origin::Zero => {
                last.clone_from(&counts);
                Some(vec![0; counts.len()])
            }
            Origin::Here => {
                last.clone_from(&counts);
                None
            }
            Origin::Older => None,
        };
        let Some(from) = from.filter(|_| *at > start) else { continue };
        let mut more = counts.iter().zip(&from).map(|(now, before)| now.saturating_sub(*before));
        let all = more.next().unwrap_or(0);
        if all > 0 {
            gained.push(Gain { at: *at, away: walk.away(*at), all, until: more.collect() });
        }
    }
    Ok(gained)
}

/// How far any of the counts fell.
fn fall(before: &[u64], counts: &[u64]) -> Fall {
    let falls = before.iter().zip(counts).any(|(before, now)| now < before);
    match (before.first(), counts.first()) {
        (Some(before), Some(now)) if falls && Fall::of(real(*before), real(*now)) == Fall::Deep => Fall::Deep,
        _ if falls => Fall::Slight,
        _ => Fall::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(buckets: &[(f64, f64, f64)]) -> Native {
        let count = buckets.iter().map(|(.., count)| count).sum();
        let buckets =
            buckets.iter().map(|(lower, upper, count)| Bucket { lower: *lower, upper: *upper, count: *count });
        Native { count, sum: 0.0, buckets: buckets.collect() }
    }

    fn series(samples: &[(i64, Native)]) -> Series {
        Series { histograms: samples.to_vec(), ..Series::default() }
    }

    fn gained(samples: &[(i64, Native)], edges: &[f64]) -> Vec<(i64, u64, Vec<u64>)> {
        let gains = gains(&series(samples), edges, &Beats::unknown(1_000), 1_000).unwrap();
        gains.into_iter().map(|Gain { at, all, until, .. }| (at, all, until)).collect()
    }

    #[test]
    fn a_grid_follows_from_one_of_its_buckets_and_the_coarsest_one_counts() {
        let fine = sample(&[(0.25, 0.25 * 2_f64.powf(0.125), 3.0)]);
        let coarse = sample(&[(0.5, 1.0, 1.0), (-1e-9, 1e-9, 2.0)]);
        let one = Edges::of([&series(&[(1, fine.clone())])]);
        assert!(one.tell(0.25 * 2_f64.powf(0.875)) && !one.tell(0.3));
        let both = Edges::of([&series(&[(1, fine), (2, coarse)])]);
        assert!(both.tell(0.25) && !both.tell(0.25 * 2_f64.powf(0.125)) && !both.are_custom());
        assert_eq!(both.between(0.2, 2.0), [0.25, 0.5, 1.0, 2.0]);
        assert_eq!(both.near(0.3), [0.25, 0.5]);
    }

    #[test]
    fn buckets_begin_anew_together() {
        let seen = [
            (900, sample(&[(0.5, 1.0, 5.0), (1.0, 2.0, 95.0)])),
            (1_900, sample(&[(0.5, 1.0, 6.0), (1.0, 2.0, 96.0)])),
            // More fast ones than before, yet fewer in all: it began anew.
            (2_900, sample(&[(0.5, 1.0, 10.0), (1.0, 2.0, 2.0)])),
        ];
        assert_eq!(gained(&seen, &[1.0]), [(1_900, 2, vec![1]), (2_900, 12, vec![10])]);
    }

    #[test]
    fn a_coarser_grid_is_no_restart() {
        let seen = [
            (900, sample(&[(0.5, 0.5 * 2_f64.sqrt(), 4.0), (0.5 * 2_f64.sqrt(), 1.0, 3.0)])),
            (1_900, sample(&[(0.5, 1.0, 9.0)])),
        ];
        assert_eq!(gained(&seen, &[0.5, 1.0]), [(1_900, 2, vec![0, 2])]);
    }

    proptest! {
        #[test]
        fn any_buckets_are_read(
            buckets in proptest::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 0..9),
            edge in any::<f64>(),
        ) {
            let seen = series(&[(0, sample(&buckets)), (2_000, sample(&buckets))]);
            let edges = Edges::of([&seen]);
            let _ = (edges.tell(edge), edges.between(0.001, 60.0), edges.near(edge));
            let _ = gains(&seen, &[0.1, edge.abs()], &Beats::unknown(0), 0);
        }
    }
}
