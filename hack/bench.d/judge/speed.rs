//! How fast it judges: fresh counts a second on one core, beside a plain limit on the same counts.
use crate::worlds::Cell;
use crate::{
    peers::real,
    worlds::{BURSTS, PLAIN, Share, World},
};
use bellwether::judge::{
    Bursts, Interval, Rules, Sensitivity,
    compare::Errors,
    threshold::{self, Allowed, Counting},
};
use std::{fmt::Write, hint::black_box, time::Instant};

/// Releases whose counts are judged over and over.
const RELEASES: u64 = 50;
/// Every rule is measured for so long.
const SECONDS: f64 = 2.0;

/// The table of speeds.
pub fn table(seed: u64) -> String {
    let single = releases(seed, PLAIN);
    let bursts = releases(seed, BURSTS);
    let limit = per_second(&single, limit);
    let mut text =
        "\n### speed on one core\n\n| what | updates a second | times as long as a limit |\n|---|---|---|\n".to_owned();
    let figures = [
        ("a limit", limit),
        ("policy, errors come one by one", per_second(&single, |release| compare(release, Bursts::Known(1.0)))),
        ("policy, errors come in bursts", per_second(&bursts, |release| compare(release, Bursts::Known(5.0)))),
    ];
    for (what, figure) in figures {
        writeln!(text, "| {what} | {figure:.0} | {:.1} |", limit / figure).expect("a text takes everything");
    }
    text
}

fn releases(seed: u64, world: World) -> Vec<Vec<Interval>> {
    let cell = Cell { world, share: Share::Percent(10), truth: 1 };
    let of = |number| cell.release(seed, number).polls.iter().map(|poll| poll.arms).collect();
    (0..RELEASES).map(of).collect()
}

fn per_second(releases: &[Vec<Interval>], judge: impl Fn(&[Interval])) -> f64 {
    let (start, mut updates) = (Instant::now(), 0);
    while start.elapsed().as_secs_f64() < SECONDS {
        for release in releases {
            judge(black_box(release));
            updates += release.len() as u64;
        }
    }
    real(updates) / start.elapsed().as_secs_f64()
}

/// Every update is a look: what it says is asked for.
fn compare(release: &[Interval], bursts: Bursts) {
    let mut errors = Errors::new(&Rules { margins: Sensitivity::Normal.margins(), bursts, block: 1, lasting: false });
    for interval in release {
        errors.add(black_box(interval));
        black_box(errors.fails());
    }
}

fn limit(release: &[Interval]) {
    let allowed = Allowed { max: Some(0.01), min: None };
    for interval in release {
        let point = black_box(interval).canary.share().and_then(|share| allowed.point(share));
        black_box(threshold::judge(point, &Counting::default()));
    }
}
