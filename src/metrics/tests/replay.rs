//! An operator that is restarted sees to the last bit what one sees that was not: the history of both arms is drawn at random,
//! with pods that begin anew, scrapes that fail and samples that arrive late.
use super::*;
use promql_parser::parser::{Expr, VectorSelector, parse};
use proptest::{prelude::*, sample::Index};
use std::collections::HashMap;

/// How long before the evidence stable's pods began, in milliseconds.
const BEFORE: i64 = 3_700_000;
/// How long the release is looked at, in milliseconds.
const LENGTH: i64 = 180_000;
/// Edges of the histogram in seconds, and so many requests of a hundred are no slower.
const EDGES: [(&str, u32); 4] = [("0.1", 40), ("0.5", 85), ("1", 98), ("+Inf", 100)];

/// When a sample was taken and when it had arrived, in milliseconds after [`START`], and its value.
type Sample = (i64, i64, f64);

/// A Prometheus and all that it has of both arms.
#[derive(Debug)]
struct History {
    scrape: i64,
    lag: i64,
    series: Vec<(HashMap<String, String>, Vec<Sample>)>,
}

impl History {
    /// Two pods of stable, and two of a canary that has so many times as many errors, the second one later.
    fn drawn(seed: u64, scrape: i64, lag: i64, times: f64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut history = Self { scrape, lag, series: Vec::new() };
        for (name, from, rate, bad) in [
            ("app-6d5b-ccccc", -BEFORE, 12, 0.02),
            ("app-6d5b-ddddd", -BEFORE, 9, 0.02),
            ("app-7c9f-aaaaa", -20_000, 3, 0.02 * times),
            ("app-7c9f-bbbbb", LENGTH / 3, 3, 0.02 * times),
        ] {
            history.pod(&mut dice, name, from, (rate, bad));
        }
        history
    }

    fn pod(&mut self, dice: &mut fastrand::Rng, pod: &str, from: i64, (rate, bad): (i64, f64)) {
        let labels = |name: &str, more: &[(&str, &str)]| {
            let instance = format!("{pod}:80");
            let of_all =
                [("__name__", name), ("namespace", "demo"), ("pod", pod), ("job", "pods"), ("instance", &instance)];
            of_all.iter().chain(more).map(|(label, value)| ((*label).into(), (*value).into())).collect()
        };
        let mut all = vec![labels("up", &[])];
        all.extend(["200", "503"].map(|code| labels("http_requests_total", &[("code", code)])));
        all.extend(EDGES.map(|(le, _)| labels("http_request_duration_seconds_bucket", &[("le", le)])));
        all.extend(["score_count", "score_sum", "score_squares"].map(|name| labels(name, &[])));
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); all.len()];
        let mut counters = vec![0.0; all.len() - 1];
        for at in (from..LENGTH).step_by(usize::try_from(self.scrape).unwrap()).map(|at| at + from % 1_777) {
            if dice.u32(0..300) == 0 {
                counters.fill(0.0);
            }
            for _ in 0..dice.i64(0..=2 * rate * self.scrape / 1_000) {
                // Now and then one cause makes two errors: so what stable did before decides how much an error counts.
                let is_bad = dice.f64() < bad;
                counters[usize::from(is_bad)] += if is_bad && dice.u32(0..5) == 0 { 2.0 } else { 1.0 };
                let (speed, score) = (dice.u32(0..100), f64::from(dice.u32(5..=10)) / 10.0);
                for (counter, (_, within)) in counters[2..].iter_mut().zip(EDGES) {
                    *counter += if speed < within { 1.0 } else { 0.0 };
                }
                for (counter, more) in counters[6..].iter_mut().zip([1.0, score, score * score]) {
                    *counter += more;
                }
            }
            let arrives = at + dice.i64(0..400) + self.lag;
            let succeeds = dice.u32(0..30) > 0;
            samples[0].push((at, arrives, if succeeds { 1.0 } else { 0.0 }));
            for (samples, value) in samples[1..].iter_mut().zip(&counters).filter(|_| succeeds) {
                samples.push((at, arrives, *value));
            }
        }
        self.series.extend(all.into_iter().zip(samples));
    }

    /// What it answers at a moment.
    fn reply(&self, ask: &Ask, now: i64) -> Reply {
        let field = |name: &str| &ask.fields().iter().find(|(key, _)| key == name).unwrap().1;
        let millis = |name: &str| field(name).replace('.', "").parse::<i64>().unwrap();
        let found: Vec<_> = match parse(field("query")) {
            Ok(Expr::MatrixSelector(asked)) => {
                let at = millis("time") - START;
                let from = at - i64::try_from(asked.range.as_millis()).unwrap();
                let within = |samples: &[Sample]| -> Vec<_> {
                    let known =
                        samples.iter().filter(|(taken, arrived, _)| (from + 1..=at).contains(taken) && *arrived <= now);
                    known.map(|(taken, _, value)| (*taken, value.to_string())).collect()
                };
                self.selected(&asked.vs).map(|(labels, samples)| (labels, within(samples))).collect()
            }
            Ok(Expr::VectorSelector(asked)) => {
                let steps = (millis("start")..=millis("end")).step_by(usize::try_from(millis("step")).unwrap());
                let last = |samples: &[Sample], at: i64| {
                    let known =
                        |(taken, arrived, _): &&Sample| (at - 300_000 + 1..=at).contains(taken) && *arrived <= now;
                    samples.iter().rev().find(known).map(|(.., value)| (at, value.to_string()))
                };
                let row = |samples: &[Sample]| steps.clone().filter_map(|at| last(samples, at - START)).collect();
                self.selected(&asked).map(|(labels, samples)| (labels, row(samples))).collect()
            }
            _ => panic!("{}", field("query")),
        };
        body(&found.into_iter().filter(|(_, samples)| !samples.is_empty()).collect::<Vec<_>>())
    }

    fn selected(&self, by: &VectorSelector) -> impl Iterator<Item = (String, &[Sample])> {
        let by = by.clone();
        let selects = move |labels: &HashMap<String, String>| {
            let value = |label: &str| labels.get(label).map_or("", String::as_str);
            let is_named = by.name.as_ref().is_none_or(|name| value("__name__") == name);
            is_named && by.matchers.matchers.iter().all(|matcher| matcher.is_match(value(&matcher.name)))
        };
        let of = self.series.iter().filter(move |(labels, _)| selects(labels));
        of.map(|(labels, samples)| (serde_json::to_string(labels).unwrap(), samples.as_slice()))
    }

    /// What an operator sees that looks first at this moment, in milliseconds after [`START`], and is restarted before these
    /// looks.
    fn seen(&self, first: i64, restarts: impl Fn(usize) -> bool) -> Vec<(i64, Vec<Seen>)> {
        let provider: ProviderSpec = serde_json::from_value(serde_json::json!({"prometheus": {
            "url": "http://p", "scrapeInterval": format!("{}ms", self.scrape), "lag": format!("{}ms", self.lag),
        }}))
        .unwrap();
        let of = |name: &str| format!(r#"{name}{{arm="$arm"}}"#);
        let scores = serde_json::json!({
            "name": "scores",
            "scores": {"count": of("score_count"), "sum": of("score_sum"), "sumOfSquares": of("score_squares")},
        });
        let metrics = [preset("app/error-rate"), preset("app/latency"), serde_json::from_value(scores).unwrap()];
        let mut known = [None; 3];
        let (mut all, mut now) = (Vec::new(), first);
        while now < LENGTH {
            if restarts(all.len()) {
                known = [None; 3];
            }
            let subject = |past| Subject { past, now: at(now), ..subject_at(0) };
            let each: Vec<_> = metrics.iter().cloned().zip(known.map(subject)).collect();
            let batch = Batch::of(&each, &provider);
            let replies: Vec<_> = batch.asks().iter().map(|ask| self.reply(ask, now)).collect();
            let seen = batch.read(&each, &provider, &replies);
            for (known, seen) in known.iter_mut().zip(&seen) {
                *known = seen.past.or(*known);
            }
            all.push((now, seen));
            now += i64::try_from(pause(&provider, &each, 0).as_millis()).unwrap();
        }
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_restarted_operator_sees_to_the_last_bit_what_one_sees_that_was_not(
        seed: u64,
        scrape in prop_oneof![Just(2_000_i64), Just(5_000)],
        lag in prop_oneof![Just(0_i64), Just(10_000)],
        times in prop_oneof![Just(1.0), Just(4.0)],
        first in 500_i64..10_000,
        restarts in proptest::collection::vec(any::<Index>(), 20),
    ) {
        let history = History::drawn(seed, scrape, lag, times);
        let steady = history.seen(first, |_| false);
        let restarts: Vec<_> = restarts.iter().map(|at| at.index(steady.len())).collect();
        let restarted = history.seen(first, |look| restarts.contains(&look));
        let measured = steady.iter().filter(|(_, seen)| seen.iter().all(|seen| seen.outcome == Outcome::Measured));
        prop_assert!(2 * measured.count() > steady.len(), "{:?}", steady.last());
        prop_assert_eq!(steady.len(), restarted.len());
        let mut greatest = [0.0_f64; 3];
        for ((now, steady), (_, restarted)) in steady.iter().zip(&restarted) {
            for (at, (steady, restarted)) in steady.iter().zip(restarted).enumerate() {
                let bits = |seen: &Seen| seen.evidence.map(f64::to_bits);
                prop_assert_eq!(bits(steady), bits(restarted), "{} ms: {:?} and {:?}", now, steady, restarted);
                let [steady, restarted] = [steady, restarted].map(|seen| Seen { past: None, ..seen.clone() });
                prop_assert_eq!(&steady, &restarted, "{} ms", now);
                if let Some(evidence) = steady.evidence {
                    prop_assert!(evidence >= greatest[at], "{} ms: of {} to {:?}", now, greatest[at], steady);
                    greatest[at] = evidence;
                }
            }
        }
    }
}
