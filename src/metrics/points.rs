//! A query held against its limit: one number of the canary at each of a row of moments, counted afresh at each look.
use super::{
    Ask, Metric, Outcome, Prometheus, Reply, Seen, Subject,
    answer::{self, Trouble},
    arms::Told,
    limit::Bound,
    prometheus::Times,
    promql::Query,
};
use crate::{
    judge::threshold::{self, Allowed},
    vocab::{Arm, Verdict},
};
use std::time::Duration;

/// The most points that are judged; older ones have been judged by earlier looks.
const MOST_POINTS: i64 = 1_000;

/// Moments at which the query is asked for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    first: i64,
    last: i64,
    step: i64,
    window: i64,
}

impl Row {
    /// The moments for this look, or nothing before two scrapes have been made.
    ///
    /// Each window lies behind its moment and after the start of evidence. While the evidence is shorter than a window
    /// there is one moment, now, and its window is what there is.
    fn of(metric: &Metric, times: &Times) -> Option<Self> {
        let two_scrapes = times.scrape.saturating_mul(2);
        let step = i64::try_from(metric.interval.as_millis()).unwrap_or(i64::MAX).max(two_scrapes).max(1_000);
        // Whole seconds, so that the same second is the same question.
        let past = times.settled.saturating_sub(times.start) / 1_000 * 1_000;
        if past < two_scrapes.max(1_000) {
            return None;
        }
        let end = times.start.saturating_add(past);
        if past < step {
            return Some(Self { first: end, last: end, step, window: past });
        }
        let last = times.start.saturating_add(past / step * step);
        let first = times.start.saturating_add(step).max(last.saturating_sub((MOST_POINTS - 1) * step));
        Some(Self { first, last, step, window: step })
    }
}

pub(super) fn asks(metric: &Metric, prometheus: &Prometheus, subject: &Subject) -> Vec<Ask> {
    let Some(row) = Row::of(metric, &Times::of(prometheus, subject)) else { return Vec::new() };
    let arm = told(metric).matchers(&prometheus.labels, subject, Arm::Canary);
    let window = Duration::from_millis(u64::try_from(row.window).unwrap_or(1_000));
    let query = metric.query.as_deref().unwrap_or_default();
    let Ok(query) = Query::parse(query, &metric.shared).and_then(|query| query.written(&arm, window)) else {
        return Vec::new();
    };
    vec![prometheus.range(query, row.first, row.last, row.step)]
}

pub(super) fn read(metric: &Metric, prometheus: &Prometheus, subject: &Subject, replies: &[Reply]) -> Seen {
    let Some(row) = Row::of(metric, &Times::of(prometheus, subject)) else {
        return Seen::nothing(Outcome::Empty, "two scrapes have not been made yet since evidence began");
    };
    if !told(metric).tells(&prometheus.labels, subject) {
        return Seen::invalid("arm: by this label both arms have the same name; choose PodHash or Service");
    }
    judge(metric, row, replies).unwrap_or_else(Seen::from)
}

fn told(metric: &Metric) -> Told {
    Told::By(metric.arm.unwrap_or_default())
}

fn judge(metric: &Metric, row: Row, replies: &[Reply]) -> Result<Seen, Trouble> {
    let mut series = answer::series(replies.first())?;
    let points = match (series.pop(), series.len()) {
        (None, _) => return Ok(Seen::nothing(Outcome::Empty, "the query yields nothing for the canary")),
        (Some(only), 0) => only.samples,
        (Some(_), more) => {
            let why = format!("the query yields {} series where one is wanted; wrap it in sum(...)", more + 1);
            return Err(Trouble::Unusable(why));
        }
    };
    // The limit has been checked; one that cannot be read allows everything here and is Invalid elsewhere.
    let limit = metric.limit.clone().unwrap_or_default();
    let (max, min) = (limit.max().ok().flatten(), limit.min().ok().flatten());
    let allowed = Allowed {
        max: max.map(|bound| bound.value),
        min: min.map(|bound| bound.value),
        failures: metric.failure_limit,
    };
    let kept = threshold::judge(points.iter().map(|(_, value)| *value), &allowed);
    let newest = points.last().filter(|(at, _)| *at >= row.last);
    let usable = newest.is_some_and(|(_, value)| value.is_finite());
    let wanted = bounds(max, min);
    let why = match (kept.failures, kept.judged) {
        (0, 1) => format!("the one interval so far was {wanted}"),
        (0, judged) => format!("all {judged} intervals were {wanted}"),
        (failures, judged) => {
            format!("{failures} of {judged} intervals were not {wanted}; failureLimit is {}", metric.failure_limit)
        }
    };
    let unit = max.or(min).map_or(super::limit::Unit::Plain, |bound| bound.unit);
    let shown = points.iter().rev().find(|(_, value)| value.is_finite()).map(|(_, value)| unit.show(*value));
    if !usable && kept.verdict != Verdict::Fail {
        let why = match newest {
            Some((_, value)) => format!("the query's newest result is {value}, which is no number to judge"),
            None => "the query has no result for the newest interval".into(),
        };
        return Ok(Seen { canary: shown, failures: kept.failures, ..Seen::nothing(Outcome::Unusable, why) });
    }
    Ok(Seen {
        verdict: kept.verdict,
        usable,
        canary: shown,
        samples: u64::from(kept.judged),
        failures: kept.failures,
        ..Seen::nothing(Outcome::Measured, why)
    })
}

fn bounds(max: Option<Bound>, min: Option<Bound>) -> String {
    match (max, min) {
        (Some(max), Some(min)) => format!("between {min} and {max}"),
        (Some(max), None) => format!("at most {max}"),
        (None, Some(min)) => format!("at least {min}"),
        (None, None) => "allowed".into(),
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
        &ask.form.iter().find(|(key, _)| key == name).unwrap().1
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
        assert_eq!(row, ["1795246830.500", "1795246890.500", "30.000"]);
    }

    #[test]
    fn before_two_scrapes_nothing_is_asked_and_before_a_whole_interval_a_shorter_one_is() {
        assert_eq!(crate::metrics::asks(&metric(0), &provider(15), &subject_at(44)), []);
        let slow = Metric { interval: duration::Duration::seconds(60), ..metric(0) };
        let asks = crate::metrics::asks(&slow, &provider(15), &subject_at(58));
        assert!(field(&asks[0], "query").contains("[43s]"));
        let seen = crate::metrics::read(&slow, &provider(15), &subject_at(20), &[]);
        assert_eq!((seen.verdict, seen.outcome), (Verdict::Unknown, Outcome::Empty));
    }

    #[test]
    fn a_long_flight_asks_for_no_more_points_than_are_judged() {
        let asks = crate::metrics::asks(&metric(0), &provider(1), &subject_at(1_000_000));
        let number = |name| field(&asks[0], name).parse::<f64>().unwrap();
        assert!((number("end") - number("start") - 9_990.0).abs() < 1e-6);
    }

    #[test]
    fn failures_beyond_the_limit_fail() {
        let points: &[(i64, &str)] = &[(30_000, "0.02"), (60_000, "0.005"), (90_000, "0.03")];
        let failed = seen(1, &[points]);
        assert_eq!((failed.verdict, failed.failures, failed.usable), (Verdict::Fail, 2, true));
        assert_eq!(failed.why, "2 of 3 intervals were not at most 1 %; failureLimit is 1");
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
        let two = seen(0, &[&[(90_000, "1")], &[(90_000, "1")]]);
        assert_eq!(two.outcome, Outcome::Unusable);
        assert!(two.why.contains("2 series where one is wanted"));
    }
}
