//! When the next look can show something new: between two scrapes there is nothing to ask for.
use super::{Metric, ProviderSpec, Subject, presets, prometheus::Times, scores};
use crate::duration::Duration;

/// The least time between two looks at a provider with a history, in milliseconds.
const LEAST_MS: i64 = 2_000;
/// The longest: what is measured less often would be taken for the past.
const LONGEST_MS: i64 = 15_000;
/// So long after a moment its samples are asked for, in milliseconds: a busy Prometheus is not done at once.
const LATE_MS: i64 = 200;
/// Looks of many releases that began at once are spread over so long a time, in milliseconds.
const SPREAD_MS: i64 = 1_000;

/// How long after this look the next one is worth its questions. `spread` is any number that is a release's own.
///
/// A verdict changes when an interval ends and its samples have arrived. Looks lie on a grid of half a scrape that meets
/// these moments, and one more is taken at each end of an interval that lies beside the grid. So a release is looked at no
/// more often than there are new samples, and no verdict is later for it than by some tenths of a second and the spread.
pub fn pause(provider: &ProviderSpec, each: &[(Metric, Subject)], spread: u64) -> Duration {
    let least = Duration::millis(LEAST_MS.unsigned_abs());
    if let Some(pods) = &provider.pods {
        return pods.interval.clamp(Duration::seconds(1), Duration::seconds(30));
    }
    let Some(prometheus) = &provider.prometheus else { return least };
    let next = each.iter().filter_map(|(metric, subject)| {
        let times = Times::of(prometheus, subject);
        let pace = (times.scrape / 2).clamp(LEAST_MS, LONGEST_MS);
        let spread = i64::try_from(spread).unwrap_or(i64::MAX) % SPREAD_MS.min(pace / 4);
        let arrived = times.start + (times.now - times.settled) + LATE_MS + spread;
        let after = |from: i64, step: i64| {
            let over = from.saturating_sub(arrived).max(0);
            arrived.saturating_add((over / step + 1).saturating_mul(step))
        };
        let grid = after(times.now + pace / 2, pace);
        let end = |step| after(times.now, step).max(times.now + LEAST_MS);
        let ends = ends(metric, &times).into_iter().flatten().map(end);
        ends.chain([grid]).min().map(|next| next - times.now)
    });
    let next = next.min().unwrap_or(LEAST_MS).clamp(LEAST_MS / 2, LONGEST_MS + LEAST_MS);
    Duration::millis(next.unsigned_abs())
}

/// The lengths of the intervals that a metric is judged by, in milliseconds.
fn ends(metric: &Metric, times: &Times) -> [Option<i64>; 2] {
    let interval = i64::try_from(metric.interval.as_millis()).unwrap_or(i64::MAX);
    let window = interval.max(2 * times.scrape).max(1_000);
    let compared = match (&metric.scores, metric.compares()) {
        (Some(_), _) => Some(scores::step_ms(times)),
        (None, true) => metric.preset.as_deref().and_then(presets::find).map(|preset| times.step(preset)),
        (None, false) => None,
    };
    let limited = metric.limit.is_some() || metric.when.is_some();
    [compared, limited.then_some(window)]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Limit, tests::*},
        *,
    };
    use proptest::prelude::*;

    /// When looks are taken in so many seconds, in milliseconds after the evidence began.
    fn looks(scrape: u64, metric: &Metric, spread: u64, seconds: i64) -> Vec<i64> {
        let mut all = vec![0];
        while let Some(last) = all.last().copied().filter(|last| *last < seconds * 1_000) {
            let subject = Subject { now: at(last), ..subject_at(0) };
            let pause = pause(&provider(scrape), &[(metric.clone(), subject)], spread);
            all.push(last + i64::try_from(pause.as_millis()).unwrap());
        }
        all
    }

    /// How late the ends of these intervals are seen, at the most.
    fn lateness(looks: &[i64], first: i64, step: i64) -> i64 {
        let ends = (1..).map(|k| first + k * step).take_while(|end| *end < *looks.last().unwrap());
        ends.map(|end| looks.iter().find(|look| **look >= end).unwrap() - end).max().unwrap()
    }

    #[test]
    fn looks_are_half_a_scrape_apart_and_meet_the_ends_of_intervals() {
        let errors = preset("traefik/error-rate");
        let looks = looks(15, &errors, 700, 600);
        assert!((75..=90).contains(&looks.len()), "{} in ten minutes of scrapes of 15 s", looks.len());
        assert_eq!(lateness(&looks, 15_000, 30_000), 900, "some tenths of a second and the spread");
    }

    #[test]
    fn releases_that_began_at_once_are_not_looked_at_in_the_same_moments() {
        let errors = preset("traefik/error-rate");
        let later = |spread| looks(15, &errors, spread, 300).into_iter().skip(2).collect::<Vec<_>>();
        let apart =
            |spread| -> Vec<_> { later(spread).iter().zip(later(0)).map(|(look, of_other)| look - of_other).collect() };
        assert!(apart(400).iter().all(|apart| *apart == 400), "{:?}", apart(400));
        assert_eq!(apart(1_700), apart(700), "and never by more than a second");
    }

    #[test]
    fn an_end_beside_the_grid_is_met_too() {
        let limit = Some(Limit { max: Some("1%".into()), ..Limit::default() });
        let limited = Metric { limit, interval: Duration::seconds(40), ..preset("traefik/error-rate") };
        let looks = looks(15, &limited, 0, 600);
        assert!(lateness(&looks, 15_000, 40_000) <= 2_200, "{looks:?}");
        assert!(looks.len() <= 110, "{}", looks.len());
    }

    #[test]
    fn fast_scrapes_are_looked_at_every_two_seconds_and_slow_ones_often_enough_to_be_the_present() {
        let errors = preset("traefik/error-rate");
        assert!((28..=33).contains(&looks(1, &errors, 0, 60).len()));
        let slow = looks(300, &errors, 0, 3_600);
        assert!(slow.windows(2).all(|pair| pair[1] - pair[0] <= LONGEST_MS + LEAST_MS), "{slow:?}");
    }

    proptest! {
        #[test]
        fn no_two_looks_are_closer_than_a_second_and_no_end_is_missed(
            scrape in 1u64..=60, interval in 1u64..=120, spread: u64,
        ) {
            let limit = Some(Limit { max: Some("1%".into()), ..Limit::default() });
            let metric = Metric { limit, interval: Duration::seconds(interval), ..preset("traefik/error-rate") };
            let looks = looks(scrape, &metric, spread, 600);
            prop_assert!(looks.windows(2).all(|pair| pair[1] - pair[0] >= LEAST_MS / 2), "{:?}", looks);
            let scrape = i64::try_from(scrape * 1_000).unwrap();
            let late = lateness(&looks, scrape, (2 * scrape).max(2_000));
            prop_assert!(late <= LEAST_MS + LATE_MS + SPREAD_MS, "{late}");
        }
    }
}
