//! The figures as tables in Markdown.
use crate::{
    methods::Method,
    other_metrics::{LATE, LATENCY, MEANS, SCORES, SLOWER, WITHOUT_SQUARES},
    run::{Results, Tally},
    worlds::{BURSTS, HEAVY_BURSTS, INCIDENT, PLAIN, Share, TRAFFIC, UNSEEN, UNSEEN_BURSTS, WORSE},
};
use std::fmt::Write;

/// Splits of the traffic.
pub const SHARES: [Share; 4] = [Share::Percent(5), Share::Percent(10), Share::Percent(20), Share::Ramp];
/// Truths about the canary.
pub const TRUTHS: [u32; 4] = [1, 2, 5, 10];
/// So many times stable's errors are all requests.
pub const ALWAYS: u32 = 200;
/// Splits with which a canary that always fails is judged.
pub const SHARES_OF_ALWAYS: [Share; 3] = [Share::Percent(5), Share::Percent(20), Share::Percent(50)];
/// What most begin with, where the traffic is more or less than usual.
pub const FIXED: Method = Method::Argo(0.99, 60, 0);
/// The split of the other worlds.
pub const TENTH: Share = Share::Percent(10);

/// All tables.
pub fn all(results: &Results) -> String {
    let mut text = String::new();
    for share in SHARES {
        found(&mut text, results, share);
    }
    certificates(&mut text, results);
    first_decisions(&mut text, results);
    robustness(&mut text, results);
    bursts(&mut text, results);
    traffic(&mut text, results);
    always(&mut text, results);
    other_metrics(&mut text, results);
    text
}

fn head(text: &mut String, title: &str, columns: &[&str]) {
    line(text, &format!("\n### {title}\n"));
    line(text, &format!("| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len())));
}

fn row(text: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<_> = cells.into_iter().collect();
    line(text, &format!("| {} |", cells.join(" | ")));
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a text takes everything");
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn cell(tally: Option<&Tally>, write: impl Fn(&Tally) -> String) -> String {
    tally.map_or_else(|| "-".to_owned(), write)
}

fn seconds(time: Option<u64>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{time}s"))
}

fn aborts(tally: Option<&Tally>) -> String {
    cell(tally, |tally| percent(tally.abort()))
}

fn passes(tally: Option<&Tally>) -> String {
    cell(tally, |tally| percent(tally.pass()))
}

fn detection(tally: Option<&Tally>) -> String {
    cell(tally, |tally| {
        format!("{} / {} / {:.0}", percent(tally.abort()), seconds(tally.median_abort()), tally.requests())
    })
}

fn found(text: &mut String, results: &Results, share: Share) {
    let title = format!(
        "canary {}: aborted though equal | found in 30 min / median time / requests that the canary served until then",
        share.name()
    );
    head(text, &title, &["method", "equal", "2x", "5x", "10x"]);
    for method in Method::ALL {
        let name = method.name();
        let of = |truth| results.get(&name, PLAIN.name, &share.name(), truth);
        row(text, [name.clone(), aborts(of(1.0)), detection(of(2.0)), detection(of(5.0)), detection(of(10.0))]);
    }
}

fn certificates(text: &mut String, results: &Results) {
    head(
        text,
        "passes: of an equal canary / median time | wrongly, of one that is worse",
        &["method", "world", "canary", "equal", "2x", "5x", "10x"],
    );
    let worlds = SHARES.map(|share| (PLAIN, share)).into_iter();
    let others = [INCIDENT, WORSE, BURSTS, UNSEEN_BURSTS, HEAVY_BURSTS].map(|world| (world, TENTH));
    for (world, share) in worlds.chain(others) {
        for method in Method::ALL.into_iter().filter(|method| method.certifies()) {
            let name = method.name();
            let of = |truth| results.get(&name, world.name, &share.name(), truth);
            if of(1.0).is_none() {
                continue;
            }
            let equal = cell(of(1.0), |tally| format!("{} / {}", percent(tally.pass()), seconds(tally.median_pass())));
            let worse = [2.0, 5.0, 10.0].map(|truth| passes(of(truth)));
            row(text, [name.clone(), world.name.into(), share.name(), equal].into_iter().chain(worse));
        }
    }
}

fn first_decisions(text: &mut String, results: &Results) {
    head(
        text,
        "the first decision within 30 min: abort / pass / neither, so the release is held",
        &["method", "canary", "equal", "2x", "5x", "10x"],
    );
    for method in Method::OURS {
        for share in SHARES {
            let name = method.name();
            let decided = TRUTHS.map(|truth| {
                cell(results.get(&name, PLAIN.name, &share.name(), f64::from(truth)), |tally| {
                    let (abort, pass) = (tally.abort_first(), tally.pass());
                    let held = (1.0 - abort - pass).max(0.0);
                    [abort, pass, held].map(percent).join(" / ")
                })
            });
            row(text, [name.clone(), share.name()].into_iter().chain(decided));
        }
    }
}

fn robustness(text: &mut String, results: &Results) {
    let worlds = [INCIDENT, WORSE, BURSTS, UNSEEN_BURSTS, HEAVY_BURSTS].map(|world| world.name);
    let columns: Vec<_> = std::iter::once("method").chain(worlds).collect();
    head(text, "an equal canary of 10% in other worlds: aborted", &columns);
    for method in Method::ALL {
        let name = method.name();
        let figures = worlds.map(|world| aborts(results.get(&name, world, &TENTH.name(), 1.0)));
        row(text, std::iter::once(name.clone()).chain(figures));
    }
}

fn bursts(text: &mut String, results: &Results) {
    for world in [BURSTS, UNSEEN_BURSTS, HEAVY_BURSTS] {
        let title = format!("{}, canary 10%: found in 30 min / median time / requests until then", world.name);
        head(text, &title, &["method", "2x", "5x", "10x"]);
        for method in Method::ALL {
            let name = method.name();
            let of = |truth| results.get(&name, world.name, &TENTH.name(), truth);
            if of(2.0).is_some() {
                row(text, [name.clone(), detection(of(2.0)), detection(of(5.0)), detection(of(10.0))]);
            }
        }
    }
}

fn traffic(text: &mut String, results: &Results) {
    head(
        text,
        "more and less traffic, canary 10%: aborted though equal | passed / median time | found in 30 min / median time / \
         requests until then | aborted by a fixed threshold though equal",
        &["traffic", "equal", "equal passes", "2x", "10x", &FIXED.name()],
    );
    let policy = Method::Policy.name();
    let (few, plenty) = TRAFFIC.split_at(5);
    for world in few.iter().chain([&PLAIN]).chain(plenty) {
        let of = |truth| results.get(&policy, world.name, &TENTH.name(), truth);
        let pass = cell(of(1.0), |tally| format!("{} / {}", percent(tally.pass()), seconds(tally.median_pass())));
        let fixed = results.get(&FIXED.name(), world.name, &TENTH.name(), 1.0);
        let name = format!("{} a second", world.rate);
        row(text, [name, aborts(of(1.0)), pass, detection(of(2.0)), detection(of(10.0)), aborts(fixed)]);
    }
}

fn always(text: &mut String, results: &Results) {
    head(
        text,
        "a canary that fails every request: found / median time / requests until then",
        &["method", "world", "5%", "20%", "50%"],
    );
    for world in [PLAIN, UNSEEN] {
        let name = Method::Policy.name();
        let of = |share: Share| detection(results.get(&name, world.name, &share.name(), f64::from(ALWAYS)));
        row(text, [name.clone(), world.name.into()].into_iter().chain(SHARES_OF_ALWAYS.map(of)));
    }
}

fn other_metrics(text: &mut String, results: &Results) {
    let title =
        "scores from 0 to 1, stable 0.80, one of the canary's a second: aborted / median time | passed / median time";
    head(text, title, &["canary", "abort", "pass", "abort without squares"]);
    let timed = |share, time| format!("{} / {}", percent(share), seconds(time));
    let abort = |tally: &Tally| timed(tally.abort(), tally.median_abort());
    for mean in MEANS {
        let of = |method| results.get(method, SCORES, "20%", mean);
        let pass = cell(of("policy"), |tally| timed(tally.pass(), tally.median_pass()));
        row(text, [format!("{mean:.2}"), cell(of("policy"), abort), pass, cell(of(WITHOUT_SQUARES), abort)]);
    }
    let title = "latency at five edges, canary 10%: aborted / median time / requests until then | passed at the end";
    head(text, title, &["canary", "abort", "pass"]);
    let slower = SLOWER.map(|factor| (format!("{factor} times slower"), LATENCY, factor));
    for (name, world, truth) in slower.into_iter().chain([(LATE.to_owned(), LATE, 1.0)]) {
        let tally = results.get("policy", world, "10%", truth);
        row(text, [name, detection(tally), passes(tally)]);
    }
}
