//! What has to be reached, and what was measured.
use crate::{
    methods::Method,
    other_metrics::{LATE, LATENCY, SCORES, WITHOUT_SQUARES},
    run::{Results, Tally},
    tables::{ALWAYS, SHARES, SHARES_OF_ALWAYS, TENTH},
    worlds::{BURSTS, HEAVY_BURSTS, INCIDENT, PLAIN, Past, Share, TRAFFIC, UNSEEN, UNSEEN_BURSTS, WORSE, World},
};
use std::fmt::Write;

/// Which side of a bar is the good one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    AtMost,
    AtLeast,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Percent,
    Seconds,
}

struct Bar {
    what: String,
    side: Side,
    limit: f64,
    unit: Unit,
    /// Nothing where there was nothing to measure, or where less than half of the releases were decided.
    measured: Option<f64>,
}

impl Bar {
    fn holds(&self) -> bool {
        self.measured.is_some_and(|measured| match self.side {
            Side::AtMost => measured <= self.limit,
            Side::AtLeast => measured >= self.limit,
        })
    }

    fn figure(&self, figure: f64) -> String {
        match self.unit {
            Unit::Percent => format!("{:.2}%", figure * 100.0),
            Unit::Seconds => format!("{figure:.0} s"),
        }
    }
}

/// All bars as a table, and how many were missed.
pub fn all(results: &Results) -> (String, usize) {
    let mut bars = of_equal_canaries(results);
    bars.extend(of_delays(results));
    bars.extend(of_passes(results));
    bars.extend(of_scores(results));
    bars.extend(of_latencies(results));
    let mut text = "\n### bars\n\n| what | bar | measured | |\n|---|---|---|---|\n".to_owned();
    for bar in &bars {
        let side = if bar.side == Side::AtMost { "at most" } else { "at least" };
        let measured = bar.measured.map_or_else(|| "never".to_owned(), |measured| bar.figure(measured));
        let end = if bar.holds() { "ok" } else { "MISSED" };
        writeln!(text, "| {} | {side} {} | {measured} | {end} |", bar.what, bar.figure(bar.limit))
            .expect("a text takes everything");
    }
    let missed = bars.iter().filter(|bar| !bar.holds()).count();
    (text, missed)
}

fn policy(results: &Results, world: World, share: Share, truth: u32) -> Option<&Tally> {
    of(results, Method::Policy, world, share, truth)
}

fn of(results: &Results, method: Method, world: World, share: Share, truth: u32) -> Option<&Tally> {
    results.get(&method.name(), world.name, &share.name(), f64::from(truth))
}

/// Nothing may be aborted or passed wrongly, whether the past is known or not, and how sensitive it may be.
fn everywhere() -> impl Iterator<Item = (Method, World, Share)> {
    let of = |method: Method| {
        let usual = |world: &World| world.past == Past::Measured && world.rate == PLAIN.rate;
        let known = places().filter(move |(world, _)| method == Method::Policy || usual(world));
        known.map(move |(world, share)| (method, world, share))
    };
    Method::OURS.into_iter().flat_map(of)
}

fn percent(what: String, side: Side, bar: f64, measured: Option<f64>) -> Bar {
    Bar { what, side, limit: bar / 100.0, unit: Unit::Percent, measured }
}

fn delay(what: String, bar: f64, tally: Option<&Tally>) -> Bar {
    let measured = tally.and_then(Tally::median_of_all).and_then(|time| u32::try_from(time).ok()).map(f64::from);
    Bar { what, side: Side::AtMost, limit: bar, unit: Unit::Seconds, measured }
}

/// Every world, with every split that it is measured with.
fn places() -> impl Iterator<Item = (World, Share)> {
    let others = [INCIDENT, WORSE, BURSTS, UNSEEN_BURSTS, HEAVY_BURSTS].into_iter().chain(TRAFFIC);
    let others = others.map(|world| (world, TENTH));
    SHARES.map(|share| (PLAIN, share)).into_iter().chain(others)
}

fn of_equal_canaries(results: &Results) -> Vec<Bar> {
    everywhere()
        .map(|(method, world, share)| {
            let what = format!("{}: an equal canary of {} is aborted, {}", method.name(), share.name(), world.name);
            percent(what, Side::AtMost, 1.0, of(results, method, world, share, 1).map(Tally::abort))
        })
        .collect()
}

fn of_delays(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (truth, times) in [(10, [60.0, 40.0, 30.0]), (5, [180.0, 110.0, 80.0])] {
        for (share, bar) in SHARES.into_iter().zip(times) {
            let what = format!("policy: median time until {truth}x is aborted, canary {}", share.name());
            bars.push(delay(what, bar, policy(results, PLAIN, share, truth)));
        }
    }
    let what = format!("policy: median time until 10x is aborted, canary {}, {}", TENTH.name(), BURSTS.name);
    bars.push(delay(what, 150.0, policy(results, BURSTS, TENTH, 10)));
    // A canary with 5 % has 25 errors in one look, which could be two bursts as far as anybody knows.
    for (world, times) in [(PLAIN, [10.0, 10.0, 10.0]), (UNSEEN, [20.0, 10.0, 10.0])] {
        for (share, bar) in SHARES_OF_ALWAYS.into_iter().zip(times) {
            let what = format!(
                "policy: median time until a canary of {} that always fails is aborted, {}",
                share.name(),
                world.name
            );
            bars.push(delay(what, bar, policy(results, world, share, ALWAYS)));
        }
    }
    bars
}

fn of_passes(results: &Results) -> Vec<Bar> {
    let with_worse = |world: &World| ![INCIDENT.name, WORSE.name].contains(&world.name);
    let wrong = everywhere().filter(|(_, world, _)| with_worse(world)).map(|(method, world, share)| {
        let what = format!("{}: 2x of {} passes, {}", method.name(), share.name(), world.name);
        percent(what, Side::AtMost, 5.0, of(results, method, world, share, 2).map(Tally::pass))
    });
    let right = SHARES.into_iter().zip([75.0, 95.0, 99.0]).map(|(share, bar)| {
        let what = format!("policy: an equal canary of {} passes", share.name());
        percent(what, Side::AtLeast, bar, policy(results, PLAIN, share, 1).map(Tally::pass))
    });
    wrong.chain(right).collect()
}

/// Equal ones and those within the margin are kept, a drop of 0.1 is found, and what is excluded does not pass.
fn of_scores(results: &Results) -> Vec<Bar> {
    let of = |method, mean| results.get(method, SCORES, "20%", mean);
    let kept = ["policy", WITHOUT_SQUARES].into_iter().flat_map(|method| {
        [0.80, 0.79, 0.78].map(|mean| {
            let what = format!("{method}: a model that scores {mean:.2} against 0.80 is aborted");
            percent(what, Side::AtMost, 1.0, of(method, mean).map(Tally::abort))
        })
    });
    let found = |mean: f64, bar: f64| {
        let what = format!("policy: median time until a model that scores {mean:.2} is aborted");
        delay(what, bar, of("policy", mean))
    };
    let passes = |mean: f64, side, bar| {
        let what = format!("policy: a model that scores {mean:.2} passes");
        percent(what, side, bar, of("policy", mean).map(Tally::pass))
    };
    let sure = [passes(0.80, Side::AtLeast, 99.0), passes(0.75, Side::AtMost, 5.0), passes(0.70, Side::AtMost, 5.0)];
    kept.chain([found(0.70, 300.0), found(0.60, 120.0)]).chain(sure).collect()
}

fn of_latencies(results: &Results) -> Vec<Bar> {
    let of = |world, slower| results.get("policy", world, "10%", slower);
    let found = |name: &str, world, slower, bar| {
        delay(format!("policy: median time until a canary is aborted {name}"), bar, of(world, slower))
    };
    let equal = of(LATENCY, 1.0);
    vec![
        percent("policy: a canary that is as fast is aborted".into(), Side::AtMost, 1.0, equal.map(Tally::abort)),
        percent("policy: a canary that is as fast passes".into(), Side::AtLeast, 95.0, equal.map(Tally::pass)),
        found("that is half as slow again", LATENCY, 1.5, 60.0),
        found("that takes twice as long", LATENCY, 2.0, 30.0),
        found("of which one request in 20 is 500 ms late", LATE, 1.0, 60.0),
    ]
}
