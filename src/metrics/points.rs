//! A query held against its limit: one number of the canary at each of a row of moments, counted afresh at each look.
use super::{
    Ask, Metric, Outcome, Prometheus, Seen, Subject,
    answer::{self, Part, Trouble},
    arms::Told,
    held::{self, Held, Noun},
    prometheus::Times,
    promql::Query,
};
use crate::vocab::{Arm, Verdict};
use std::{collections::BTreeMap, time::Duration};

/// The most points that are judged; older ones have been judged by earlier looks.
const MOST_POINTS: i64 = 1_000;
const INTERVALS: Noun = Noun { one: "interval", many: "intervals" };

/// Moments at which the query is asked for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    first: i64,
    last: i64,
    step: i64,
    window: i64,
    /// Whether the window is a whole interval.
    is_over: bool,
}

impl Row {
    /// The moments for this look, or nothing before two scrapes have been made.
    ///
    /// Each window lies behind its moment and after the start of evidence. Moments are multiples of the step, for some who
    /// answer in a Prometheus' stead move others to where they would have them. While no window fits there is one moment,
    /// now, and its window is what there is; it is shown, and fails nobody.
    fn of(metric: &Metric, times: &Times) -> Option<Self> {
        let two_scrapes = times.scrape.saturating_mul(2);
        let step = i64::try_from(metric.interval.as_millis()).unwrap_or(i64::MAX).max(two_scrapes).max(1_000);
        // Whole seconds, so that the same second is the same question.
        let end = times.settled.div_euclid(1_000).saturating_mul(1_000);
        let past = end.saturating_sub(times.start) / 1_000 * 1_000;
        if past < two_scrapes.max(1_000) {
            return None;
        }
        let step = (step.saturating_add(999) / 1_000).saturating_mul(1_000);
        let before = times.start.saturating_sub(1).div_euclid(step);
        let origin = before.saturating_add(1).saturating_mul(step);
        let over = end.saturating_sub(origin) / step;
        if over < 1 {
            return Some(Self { first: end, last: end, step: 1_000, window: past, is_over: false });
        }
        // A metric that is finished after some intervals has its first ones judged, whatever follows.
        let intervals = if metric.count.is_some() { over.min(MOST_POINTS) } else { over };
        let last = origin.saturating_add(intervals * step);
        let first = origin.saturating_add(step).max(last.saturating_sub((MOST_POINTS - 1) * step));
        Some(Self { first, last, step, window: step, is_over: true })
    }
}

pub(super) fn asks(metric: &Metric, prometheus: &Prometheus, subject: &Subject) -> Vec<Ask> {
    let Some(row) = Row::of(metric, &Times::of(prometheus, subject)) else { return Vec::new() };
    let window = Duration::from_millis(u64::try_from(row.window).unwrap_or(1_000));
    let query = metric.query.as_deref().unwrap_or_default();
    let arms = if metric.names_stable() { &[Arm::Canary, Arm::Stable][..] } else { &[Arm::Canary] };
    let written = |arm: &Arm| {
        let arm = told(metric).matchers(&prometheus.labels, subject, *arm);
        Query::parse(query, &metric.shared).and_then(|query| query.written(&arm, window))
    };
    let queries: Result<Vec<_>, _> = arms.iter().map(written).collect();
    let range = |query| prometheus.range(query, row.first, row.last, row.step);
    queries.map_or_else(|_| Vec::new(), |queries| queries.into_iter().map(range).collect())
}

pub(super) fn read(metric: &Metric, prometheus: &Prometheus, subject: &Subject, parts: &[Part]) -> Seen {
    let times = Times::of(prometheus, subject);
    let Some(row) = Row::of(metric, &times) else {
        return Seen::nothing(Outcome::Empty, "two scrapes have not been made yet since evidence began");
    };
    if !told(metric).tells(&prometheus.labels, subject) {
        return Seen::invalid("arm: by this label both arms have the same name; choose PodHash or Service");
    }
    times.bounded(judge(metric, row, parts).unwrap_or_else(Seen::from))
}

fn told(metric: &Metric) -> Told {
    Told::By(metric.arm.unwrap_or_default())
}

fn judge(metric: &Metric, row: Row, parts: &[Part]) -> Result<Seen, Trouble> {
    let points = one_series(parts.first())?;
    if points.is_empty() {
        return Ok(Seen::nothing(Outcome::Empty, "the query yields nothing for the canary"));
    }
    let stable: BTreeMap<i64, f64> = if metric.names_stable() {
        one_series(parts.get(1))?.into_iter().filter(|(_, value)| value.is_finite()).collect()
    } else {
        BTreeMap::new()
    };
    let numbers = points.iter().map(|(at, value)| (*value, stable.get(at).copied()));
    let Held { kept, is_judged, why, unit } = held::judge(metric, INTERVALS, numbers);
    if !row.is_over && kept.verdict != Verdict::Unknown {
        // The last number of this interval is what counts: to hold each look's against the limit would be to take the worst.
        let value = points.last().map(|(_, value)| unit.show(*value));
        let so_far = format!("the first interval is not over; so far, {why}");
        return Ok(match kept.verdict {
            Verdict::Fail => Seen { canary: value, ..Seen::nothing(Outcome::Empty, so_far) },
            _ => Seen {
                verdict: Verdict::Continue,
                usable: is_judged,
                canary: value,
                ..Seen::nothing(Outcome::Measured, so_far)
            },
        });
    }
    let newest = points.last().filter(|(at, _)| *at >= row.last);
    let usable = kept.finished || (newest.is_some() && is_judged);
    let shown = points.iter().rev().find(|(_, value)| value.is_finite()).map(|(_, value)| unit.show(*value));
    if !usable && kept.verdict != Verdict::Fail {
        let why = match newest {
            Some((_, value)) if value.is_finite() => "the query has no newest result for stable".into(),
            Some((_, value)) => format!("the query's newest result is {value}, which is no number to judge"),
            None => "the query has no result for the newest interval".into(),
        };
        return Ok(Seen { canary: shown, failures: kept.failures, ..Seen::nothing(Outcome::Unusable, why) });
    }
    Ok(Seen {
        verdict: kept.verdict,
        usable,
        canary: shown,
        stable: stable.last_key_value().map(|(_, value)| unit.show(*value)),
        samples: u64::from(kept.judged),
        failures: kept.failures,
        ..Seen::nothing(Outcome::Measured, why)
    })
}

/// The only series of an answer; no points where there is none.
fn one_series(part: Option<&Part>) -> Result<Vec<(i64, f64)>, Trouble> {
    let mut series = answer::series_of(part)?;
    match (series.pop(), series.len()) {
        (None, _) => Ok(Vec::new()),
        (Some(only), 0) if !only.histograms.is_empty() => {
            let why =
                "the query yields native histograms where a number is wanted; wrap it in histogram_quantile(0.99, ...)";
            Err(Trouble::Unusable(why.into()))
        }
        (Some(only), 0) => Ok(only.samples),
        (Some(_), more) => {
            let why = format!("the query yields {} series where one is wanted; wrap it in sum(...)", more + 1);
            Err(Trouble::Unusable(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Limit, tests::*},
        *,
    };
    use crate::duration;

    fn metric(failure_limit: u32) -> Metric {
        let query = r#"sum(rate(errors_total{arm="$arm"}[$window])) / sum(rate(requests_total{arm="$arm"}[$window]))"#;
        Metric {
            query: Some(query.into()),
            limit: Some(Limit { max: Some("1%".into()), ..Limit::default() }),
            failure_limit,
            ..named("ratio")
        }
    }

    fn field<'a>(ask: &'a Ask, name: &str) -> &'a str {
        &ask.fields().iter().find(|(key, _)| key == name).unwrap().1
    }

    fn seen(failure_limit: u32, series: &[&[(i64, &str)]]) -> Seen {
        let body = matrix(&series.iter().map(|samples| ("{}", samples.to_vec())).collect::<Vec<_>>());
        crate::metrics::read(&metric(failure_limit), &provider(15), &subject_at(130), &[Ok((200, body))])
    }

    #[test]
    fn windows_follow_each_other_from_the_start_of_evidence() {
        // Scrapes of 15 s make the interval of 10 s one of 30 s; 130 s on, 115 s are settled.
        let asks = crate::metrics::asks(&metric(0), &provider(15), &subject_at(130));
        assert_eq!(asks.len(), 1);
        assert_eq!(asks[0].path, "/api/v1/query_range");
        assert!(field(&asks[0], "query").contains(r#"{namespace="demo",pod=~"app-7c9f-[a-z0-9]{5}"}[30s]"#));
        let row = ["start", "end", "step"].map(|name| field(&asks[0], name));
        assert_eq!(row, ["1795246860.000", "1795246890.000", "30.000"], "the evidence begins at 800.500");
    }

    #[test]
    fn before_two_scrapes_nothing_is_asked_and_before_a_whole_interval_a_shorter_one_is() {
        assert_eq!(crate::metrics::asks(&metric(0), &provider(15), &subject_at(45)), []);
        let slow = Metric { interval: duration::Duration::seconds(60), ..metric(0) };
        let asks = crate::metrics::asks(&slow, &provider(15), &subject_at(58));
        assert!(field(&asks[0], "query").contains("[42s]"));
        let seen = crate::metrics::read(&slow, &provider(15), &subject_at(20), &[]);
        assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Empty));
    }

    #[test]
    fn the_first_interval_fails_nobody_before_it_is_over() {
        let slow = Metric { interval: duration::Duration::seconds(60), ..metric(0) };
        let look = |value: &str| {
            let asks = crate::metrics::asks(&slow, &provider(15), &subject_at(58));
            let (seconds, fraction) = field(&asks[0], "end").split_once('.').unwrap();
            let at = format!("{seconds}{fraction}").parse::<i64>().unwrap();
            crate::metrics::read(
                &slow,
                &provider(15),
                &subject_at(58),
                &[Ok((200, matrix(&[("{}", vec![(at - START, value)])])))],
            )
        };
        let bad = look("0.9");
        assert_eq!((bad.verdict, bad.outcome, bad.usable), (Verdict::Unknown, Outcome::Empty, false), "{}", bad.why);
        assert!(bad.why.starts_with("the first interval is not over; so far, "), "{}", bad.why);
        let good = look("0.01");
        assert_eq!((good.verdict, good.usable), (Verdict::Continue, true), "{}", good.why);
    }

    #[test]
    fn a_long_flight_asks_for_no_more_points_than_are_judged() {
        let asks = crate::metrics::asks(&metric(0), &provider(1), &subject_at(1_000_000));
        let number = |name| field(&asks[0], name).parse::<f64>().unwrap();
        assert!((number("end") - number("start") - 9_990.0).abs() < 1e-6);
    }

    /// Points of both arms, under conditions.
    fn judged(
        when: serde_json::Value,
        change: impl Fn(&mut Metric),
        canary: &[(i64, &str)],
        stable: &[(i64, &str)],
    ) -> Seen {
        let mut metric = Metric { limit: None, when: Some(serde_json::from_value(when).unwrap()), ..metric(0) };
        change(&mut metric);
        assert_eq!(crate::metrics::check(&metric), Ok(()));
        let names_stable = metric.conditions().unwrap().names_stable();
        let asks = crate::metrics::asks(&metric, &provider(15), &subject_at(130));
        assert_eq!(asks.len(), 1 + usize::from(names_stable));
        let replies = [canary, stable].map(|points| Ok((200, matrix(&[("{}", points.to_vec())]))));
        crate::metrics::read(&metric, &provider(15), &subject_at(130), &replies)
    }

    const CANARY: &[(i64, &str)] = &[(30_000, "0.10"), (60_000, "0.13"), (90_000, "0.10")];
    const STABLE: &[(i64, &str)] = &[(30_000, "0.10"), (60_000, "0.10"), (90_000, "0.10")];

    #[test]
    fn conditions_hold_the_canarys_intervals_against_stables() {
        let when = serde_json::json!({"fail": "canary > 1.2 * stable"});
        let failed = judged(when.clone(), |_| {}, CANARY, STABLE);
        assert_eq!((failed.verdict, failed.failures), (Verdict::Fail, 1));
        assert_eq!(
            failed.why,
            "1 of 3 intervals failed, with 0.13 against stable's 0.1: wanted is not canary > 1.2 * stable; failureLimit is 0"
        );
        assert_eq!((failed.canary.as_deref(), failed.stable.as_deref()), (Some("0.1"), Some("0.1")));
        assert_eq!(judged(when.clone(), |metric| metric.failure_limit = 1, CANARY, STABLE).verdict, Verdict::Pass);
        let row = |metric: &mut Metric| (metric.failure_limit, metric.consecutive_failures) = (9, 1);
        assert_eq!(judged(when.clone(), row, CANARY, STABLE).verdict, Verdict::Fail);
        assert_eq!(judged(when, |metric| metric.count = Some(9), CANARY, CANARY).verdict, Verdict::Continue, "too few");
    }

    #[test]
    fn what_neither_fails_nor_passes_is_inconclusive() {
        let when = serde_json::json!({"fail": "canary > 2 * stable", "pass": "canary <= 1.1 * stable"});
        let open = judged(when.clone(), |_| {}, CANARY, STABLE);
        assert_eq!((open.verdict, open.usable), (Verdict::Continue, true), "{}", open.why);
        assert_eq!(judged(when, |metric| metric.inconclusive_limit = 1, CANARY, STABLE).verdict, Verdict::Pass);
    }

    #[test]
    fn an_interval_that_stable_has_no_number_of_is_not_judged() {
        let when = serde_json::json!({"fail": "canary > 1.2 * stable"});
        let seen = judged(when.clone(), |_| {}, CANARY, &STABLE[..1]);
        assert_eq!((seen.verdict, seen.usable, seen.outcome), (Verdict::Unknown, false, Outcome::Unusable), "{seen:?}");
        let alone = serde_json::json!({"pass": "canary < 0.2 && samples >= 1"});
        assert_eq!(judged(alone, |_| {}, CANARY, &[]).verdict, Verdict::Pass);
    }

    #[test]
    fn samples_count_the_intervals_in_which_the_canary_had_a_number() {
        let points: &[(i64, &str)] = &[(30_000, "NaN"), (60_000, "0.1"), (90_000, "0.1")];
        let failures =
            |when: &str| judged(serde_json::json!({"fail": when}), |metric| metric.failure_limit = 9, points, &[]);
        assert_eq!([1, 2, 3].map(|count| failures(&format!("samples == {count}")).failures), [1, 1, 0]);
    }

    #[test]
    fn evidence_of_a_metric_begins_later_where_it_says_so() {
        let late = Metric { initial_delay: duration::Duration::seconds(60), ..metric(0) };
        let subject = |seconds| Subject { delay: late.initial_delay, ..subject_at(seconds) };
        assert_eq!(crate::metrics::asks(&late, &provider(15), &subject(100)), []);
        let asks = crate::metrics::asks(&late, &provider(15), &subject(190));
        assert_eq!(field(&asks[0], "start"), "1795246920.000", "the first whole window begins after 60 s");
    }

    #[test]
    fn failures_beyond_the_limit_fail() {
        let points: &[(i64, &str)] = &[(30_000, "0.02"), (60_000, "0.005"), (90_000, "0.03")];
        let failed = seen(1, &[points]);
        assert_eq!((failed.verdict, failed.failures, failed.usable), (Verdict::Fail, 2, true));
        assert_eq!(failed.why, "2 of 3 intervals failed, the last with 3 %: wanted is at most 1 %; failureLimit is 1");
        assert_eq!(failed.canary.as_deref(), Some("3 %"));
        assert_eq!(seen(2, &[points]).verdict, Verdict::Pass);
    }

    #[test]
    fn what_is_no_number_is_not_judged_and_when_newest_not_usable() {
        let gone = seen(0, &[&[(30_000, "0.005"), (60_000, "NaN"), (90_000, "0.005")]]);
        assert_eq!((gone.verdict, gone.samples, gone.usable), (Verdict::Pass, 2, true));
        for newest in
            [&[(30_000, "0.005"), (90_000, "NaN")][..], &[(30_000, "0.005"), (90_000, "+Inf")], &[(60_000, "0.005")]]
        {
            let seen = seen(0, &[newest]);
            assert_eq!(
                (seen.verdict, seen.outcome, seen.usable),
                (Verdict::Unknown, Outcome::Unusable, false),
                "{newest:?}"
            );
        }
        let failed = seen(0, &[&[(30_000, "0.5"), (90_000, "NaN")]]);
        assert_eq!((failed.verdict, failed.usable), (Verdict::Fail, false), "what failed stays failed");
    }

    #[test]
    fn nothing_is_empty_and_two_series_are_unusable() {
        assert_eq!(seen(0, &[]).outcome, Outcome::Empty);
        let one = |pod: &str| (format!(r#"{{"pod":"{pod}"}}"#), vec![(90_000, "1")]);
        let (a, b) = (one("a"), one("b"));
        let body = matrix(&[(a.0.as_str(), a.1), (b.0.as_str(), b.1)]);
        let two = crate::metrics::read(&metric(0), &provider(15), &subject_at(130), &[Ok((200, body))]);
        assert_eq!(two.outcome, Outcome::Unusable);
        assert!(two.why.contains("2 series where one is wanted"));
    }
}
