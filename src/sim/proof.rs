//! Stories told by the hundred: what went wrong in them, made as short as it still goes wrong, and what was covered.
use super::{
    api::Verb,
    deeds::Deed,
    faults::Crash,
    stage::Terms,
    story::{Ending, Story},
    swarm::{FAULTS, PLOTS, faults_called, plotted, short, story, with_fault},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

/// One story; that it panicked is a violation as well.
fn told(story: &Story) -> Result<Ending, String> {
    std::panic::catch_unwind(|| story.tell(None)).map_err(|_| "it panicked".to_owned())
}

/// The rules that were broken in a story that was told.
fn rules_of(ending: &Ending) -> BTreeSet<&'static str> {
    ending.violations.iter().map(|violation| violation.rule).collect()
}

fn broken(story: &Story) -> BTreeSet<&'static str> {
    told(story).map(|ending| rules_of(&ending)).unwrap_or_default()
}

/// The story without every deed, crash and setting that is not needed for one of the same rules to be broken.
fn shrunk(story: &Story) -> Story {
    let rules = broken(story);
    let is_wrong = |story: &Story| !broken(story).is_disjoint(&rules);
    let mut least = story.clone();
    let mut at = 0;
    while at < least.script.len() {
        let mut fewer = least.clone();
        fewer.script.remove(at);
        if is_wrong(&fewer) { least = fewer } else { at += 1 }
    }
    let mut at = 0;
    while at < least.crashes.len() {
        let mut fewer = least.clone();
        fewer.crashes.remove(at);
        if is_wrong(&fewer) { least = fewer } else { at += 1 }
    }
    let plainer: [fn(&mut Story); 4] = [
        |story| story.setting.weather = super::world::Weather { end: story.setting.weather.end, ..Default::default() },
        |story| story.setting.replicas = 1,
        |story| story.setting.judged = false,
        |story| story.setting.policies = super::stage::Policy::All,
    ];
    for change in plainer {
        let mut plain = least.clone();
        change(&mut plain);
        if is_wrong(&plain) {
            least = plain;
        }
    }
    least
}

fn title(story: &Story) -> String {
    let mut script = story.script.clone();
    script.sort_by_key(|(at, _)| *at);
    let mut text = format!("{} of seed {}, crashes {:?}, {:?}\n", story.name, story.seed, story.crashes, story.setting);
    for (at, deed) in script {
        let _ = writeln!(text, "  after {at} ms: {deed:?}");
    }
    text
}

/// What went wrong in stories that are told side by side, in the order of their numbers; `seen` sees every ending.
fn tell_all(count: u64, story: impl Fn(u64) -> Story + Sync, seen: impl Fn(u64, &Ending) + Sync) -> Vec<(u64, String)> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (next, wrong) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let sums: [AtomicU64; 3] = Default::default();
    let rules: Mutex<BTreeMap<&'static str, Vec<u64>>> = Mutex::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let story = story(at);
                    let text = match told(&story) {
                        Ok(ending) => {
                            seen(at, &ending);
                            let counts = [ending.seconds, ending.commits as u64, ending.requests as u64];
                            for (sum, count) in sums.iter().zip(counts) {
                                sum.fetch_add(count, Ordering::Relaxed);
                            }
                            if ending.violations.is_empty() {
                                continue;
                            }
                            for rule in rules_of(&ending) {
                                rules.lock().unwrap().entry(rule).or_default().push(story.seed);
                            }
                            ending.to_string()
                        }
                        Err(text) => text,
                    };
                    wrong.lock().unwrap().push((at, text));
                }
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    show(&wrong, story);
    for (rule, mut seeds) in rules.into_inner().unwrap() {
        seeds.sort_unstable();
        println!("{rule}: {} ({:?})", seeds.len(), &seeds[..seeds.len().min(12)]);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let rate = count as f64 / took;
    let [seconds, commits, requests] = sums.map(|sum| sum.into_inner() / count.max(1));
    println!("of each on average: {seconds} s of its time, {commits} commits, {requests} requests of operators");
    println!("{count} stories, {} with violations, {took:.1} s, {rate:.1} stories a second", wrong.len());
    wrong
}

/// Prints the first stories that went wrong, as short as they still do.
fn show(wrong: &[(u64, String)], story: impl Fn(u64) -> Story) {
    let most = usize::try_from(number("BELLWETHER_SHOW", 2)).unwrap_or(2);
    for (at, text) in wrong.iter().take(most) {
        let whole = story(*at);
        let least = shrunk(&whole);
        match told(&least) {
            Ok(ending) if !ending.violations.is_empty() => {
                println!("\n======== of {} deeds these are needed: {}{ending}", whole.script.len(), title(&least));
            }
            _ => println!("\n======== {}{text}", title(&whole)),
        }
    }
}

/// `hack/simulate` runs this with other numbers.
#[test]
fn stories_of_all_kinds_violate_nothing() {
    let (from, count) = (number("BELLWETHER_FIRST_SEED", 1), number("BELLWETHER_SEEDS", 30));
    println!("seeds {from} to {}", from + count - 1);
    assert!(tell_all(count, |at| story(from + at), |_, _| {}).is_empty());
}

/// `hack/simulate --decisions` runs this with other numbers.
#[test]
fn decisions_of_all_kinds_violate_nothing() {
    let (from, count) = (number("BELLWETHER_FIRST_SEED", 1), number("BELLWETHER_DECISIONS", 40));
    println!("seeds {from} to {}", from + count - 1);
    assert!(tell_all(count, |at| short(from + at), |_, _| {}).is_empty());
}

/// Every fault by itself, over the plots that it can hurt most; `hack/simulate --faults` tells more of each, or of the one
/// that `--fault` names.
#[test]
fn each_fault_alone_violates_nothing() {
    const PLOTS: [&str; 4] = ["good", "bad", "newer", "commands"];
    let (from, each) = (number("BELLWETHER_FIRST_SEED", 7_000), number("BELLWETHER_FAULT_STORIES", 1));
    let faults = faults_called(std::env::var("BELLWETHER_FAULT").ok().as_deref()).unwrap();
    let count = faults.len() as u64 * each;
    let fault = |at: u64| faults[usize::try_from(at / each).unwrap()];
    let wrong = tell_all(
        count,
        |at| {
            let plot = PLOTS[usize::try_from((from + at) % 4).unwrap()];
            let mut story = with_fault(plot, fault(at), from + at);
            story.setting.held = story.crashes.is_empty();
            story
        },
        |_, _| {},
    );
    println!("{:<24}{:>9}{:>12}", "fault", "stories", "violations");
    for name in faults.iter().copied() {
        let with = wrong.iter().filter(|(at, _)| fault(*at) == name).count();
        println!("{name:<24}{each:>9}{with:>12}");
    }
    assert!(wrong.is_empty());
}

/// With one replica, whose every write is counted.
fn alone(plot: &str, seed: u64) -> Story {
    let mut story = plotted(plot, seed);
    story.setting.replicas_of_operator = 1;
    story
}

/// Every write of a story, and each way in which a process can end at it; `cargo test` takes some of them.
#[test]
fn a_crash_at_any_write_violates_nothing() {
    const WAYS: [Crash; 3] = [Crash::Before, Crash::Unanswered, Crash::After];
    let every = number("BELLWETHER_CRASH_EVERY", 83);
    let mut all = Vec::new();
    let mut writes: BTreeMap<&str, u64> = BTreeMap::new();
    for (plot, seed) in PLOTS.iter().copied().zip(11..) {
        let count = alone(plot, seed).tell(None).first_process;
        assert!(count > 10, "{plot} has {count} writes");
        writes.insert(plot, count);
        all.extend((1..=count).flat_map(|at| WAYS.map(|how| (plot, seed, at, how))));
    }
    let all: Vec<_> = all.into_iter().step_by(usize::try_from(every).unwrap()).collect();
    let reached: Mutex<BTreeMap<(&str, u64), usize>> = Mutex::default();
    let wrong = tell_all(
        all.len() as u64,
        |at| {
            let (plot, seed, write, how) = all[usize::try_from(at).unwrap()];
            Story { crashes: vec![(write, how)], ..alone(plot, seed) }
        },
        |at, ending| {
            let (plot, _, write, _) = all[usize::try_from(at).unwrap()];
            *reached.lock().unwrap().entry((plot, write)).or_default() += ending.crashed.min(1);
        },
    );
    let reached = reached.into_inner().unwrap();
    for (plot, count) in writes {
        let covered = reached.iter().filter(|((of, _), ways)| *of == plot && **ways == WAYS.len()).count();
        if every == 1 {
            println!("{plot}: {covered} of {count} writes before, at and after");
        }
        assert!(every > 1 || covered as u64 == count, "a write of {plot} was not reached");
    }
    assert!(wrong.is_empty());
}

/// What befalls an operator, its process, its watches and its requests, is not to be seen in what it leaves.
#[test]
fn what_befalls_the_operator_changes_nothing_at_the_end() {
    const BEFALLS: &[&str] = &["F01", "F02", "F04", "F05", "F06", "F09", "F10", "F13"];
    let rounds = number("BELLWETHER_DIFFERENCES", 6);
    let shop = |seed: u64| {
        let mut story = plotted(["good", "bad"][usize::try_from(seed % 2).unwrap()], 20_000 + seed / 2);
        // A race between a judgement that proves nothing and one that comes late is no difference of the operator's.
        story.setting.judged = seed % 2 == 1;
        story
    };
    let fault = |at: u64| {
        let wanted = BEFALLS[usize::try_from(at).unwrap() % BEFALLS.len()];
        FAULTS.iter().find(|fault| fault.starts_with(wanted)).copied().unwrap_or_default()
    };
    let endings: Mutex<BTreeMap<u64, Ending>> = Mutex::default();
    let wrong = tell_all(
        rounds * 2,
        |at| {
            let mut story = shop(at / 2);
            if at % 2 == 1 {
                let mut faulty = with_fault("idle", fault(at / 2), 30_000 + at);
                faulty.script.retain(|(_, deed)| !matches!(deed, Deed::Image(_)));
                story.script.extend(faulty.script);
                story.crashes = faulty.crashes;
            }
            story
        },
        |at, ending| drop(endings.lock().unwrap().insert(at, ending.clone())),
    );
    let endings = endings.into_inner().unwrap();
    let mut differ = Vec::new();
    for round in 0..rounds {
        let (calm, rough) = (&endings[&(round * 2)], &endings[&(round * 2 + 1)]);
        if calm.end != rough.end {
            differ.push(format!("{round} {}: {} and {}", fault(round), calm.end, rough.end));
        }
        for ((kind, verb), count) in &rough.written {
            let calm = calm.written.get(&(kind.clone(), *verb)).copied().unwrap_or(0);
            let is_object = matches!(kind.as_str(), "replicasets" | "services" | "controllerrevisions");
            if is_object && *verb != Verb::Update && *count > calm {
                differ.push(format!("{round} {}: {count} {verb:?} of {kind}, and {calm} without", fault(round)));
            }
        }
    }
    println!("{} differences in {rounds} pairs", differ.len());
    assert!(wrong.is_empty() && differ.is_empty(), "{differ:#?}");
}

/// `hack/simulate --plots` runs this with other numbers.
#[test]
fn each_plot_without_a_fault_violates_nothing() {
    let each = number("BELLWETHER_SEEDS", 2);
    let plot = |at: u64| PLOTS[usize::try_from(at / each).unwrap()];
    let wrong = tell_all(PLOTS.len() as u64 * each, |at| plotted(plot(at), 9_000 + at % each), |_, _| {});
    assert!(wrong.is_empty());
}

#[test]
fn one_seed_is_one_story() {
    for story in [story(3), story(17), short(3), short(17)] {
        let (one, other) = (story.tell(None), story.tell(None));
        assert_eq!((one.print, one.commits, one.told), (other.print, other.commits, other.told), "{}", story.seed);
    }
}

/// A story that goes wrong goes wrong with less, and no more is left of it than is needed.
#[test]
fn what_is_shown_is_as_short_as_it_still_goes_wrong() {
    let mut story = short(1);
    (story.setting.held, story.setting.judged) = (true, true);
    // Nobody is asked for approval, who would stop it.
    story.setting.terms = Terms::default();
    story.crashes.clear();
    // An image whose name says that it is bad and that is not: nobody can find that out.
    let wrong = (200, Deed::Image("app:v2-errors0"));
    story.script =
        vec![(0, Deed::Scale(2)), wrong.clone(), (400, Deed::Receivers { down: true }), (600, Deed::Compact)];
    assert!(!broken(&story).is_empty());
    assert_eq!(shrunk(&story).script, [wrong]);
}
