//! Stories by seed: what is done, and what goes wrong meanwhile, thrown with dice.
use super::{
    deeds::{DENIABLE, Deed},
    dice::Dice,
    faults::Crash,
    operator::Way,
    stage::{NAME, Policy, Setting, Terms},
    story::Story,
    world::{Weather, prometheus::Mood},
};
use serde_json::json;

/// What a story is about, before anything goes wrong.
pub const PLOTS: &[&str] = &[
    "good", "bad", "newer", "commands", "deleted", "scaled", "git", "revert", "broken", "idle", "rivals", "returns",
    "swap", "apart", "steps", "narrow", "history",
];

/// The faults, by name: each can be had alone, and stories mix them.
pub const FAULTS: &[&str] = &[
    "F01 crash-at-write",
    "F02 stale-cache",
    "F03 time-travel",
    "F04 unobserved-state",
    "F05 watch-stall",
    "F06 watch-410-relist",
    "F07 rbac-hole",
    "F08 api-outage",
    "F09 ambiguous-write",
    "F10 conflict-storm",
    "F11 gitops-revert",
    "F12 hpa-fight",
    "F13 split-brain",
    "F14 clock-skew",
    "F15 prom-down",
    "F16 prom-empty-nan",
    "F17 prom-lag-flap",
    "F18 counter-reset",
    "F19 no-traffic",
    "F20 route-lag",
    "F21 pods-never-ready",
    "F22 stable-degrades",
    "F23 revision-churn",
    "F24 command-race",
    "F25 delete-mid-step",
    "F26 admission-deny",
    "F27 hook-down",
    "F28 poison-object",
    "F29 promotion-fails",
    "F30 upgrade-mid-step",
    "F31 etcd-restore",
    "F32 slow-leak",
    "F33 hands-on",
    "F34 another-shard",
];

/// Releases one after the other, more than a Deployment keeps.
const RELEASES: &[&str] = &["app:v11", "app:v12", "app:v13", "app:v14", "app:v15", "app:v16", "app:v17", "app:v18"];

/// What a Deployment served before a Rollout named it: something plain, and a mistake that somebody rolled back.
const FORMER: &[&str] = &["app:v0", "app:v0-errors300"];

/// Where one route is not all.
const ROUTES: &[&str] = &[NAME, "checkout-api"];

/// What people say.
const COMMANDS: &[&str] =
    &["Promote", "PromoteFull", "Abort", "Retry", "Pause", "Resume", "SetStep half", "SetStep warm", "AdoptSteps"];

/// One story in so many is told with every request over HTTP.
const OVER_HTTP: u64 = 4;

/// So much sooner everything happens in a short story.
const SHORTER: u64 = 6;

/// The story of this seed.
pub fn story(seed: u64) -> Story {
    let mut dice = Dice::of(seed, "story");
    let plot = *dice.pick(PLOTS);
    let mut story = plotted(plot, seed);
    let faults = dice.range(0, 3);
    for _ in 0..faults {
        let fault = *dice.pick(FAULTS);
        add(&mut story, fault, &mut dice);
    }
    // Most begin where the Deployment is held; others tell how it came to that.
    story.setting.held = story.crashes.is_empty() && !dice.permille(150);
    story
}

/// The story of this seed, told of the decisions alone: every look is the operator's own, with everything around it that
/// makes a watch, a Lease or a page of HTTP left out; fewer pods, fewer steps, less waiting.
pub fn short(seed: u64) -> Story {
    let mut story = story(seed);
    let mut dice = Dice::of(seed, "short");
    story.name.push_str(", short");
    let setting = &mut story.setting;
    setting.way = Way::Straight;
    (setting.replicas_of_operator, setting.sharded) = (1, false);
    setting.replicas = i64::try_from(dice.range(1, 3)).unwrap_or(2);
    let steps = dice
        .pick(&[
            json!([{"name": "warm", "weight": 0, "observe": "1s"}, {"name": "half", "weight": 50, "observe": "2s"}]),
            json!([{"name": "all", "weight": 50, "replicas": 2, "observe": "2s"}]),
        ])
        .clone();
    if setting.narrow {
        setting.replicas += 1;
        setting.steps = json!([{"name": "half", "weight": 50, "observe": "2s"}]);
    } else if !setting.owned {
        setting.steps = steps;
    }
    if setting.scale_down_delay == "20s" {
        setting.scale_down_delay = "1s";
    }
    (setting.deadline, setting.quiet) = ("10s", 16_000);
    // Long enough for what is bad to be found at a tenth of the requests by the most unlucky ones, so that it is no draw.
    setting.inconclusive = "12s";
    // Most begin where the Deployment is held; those with a crash, and some others, tell how it came to that.
    setting.held = story.crashes.is_empty() && !dice.permille(30);
    for (at, deed) in &mut story.script {
        *at /= SHORTER;
        match deed {
            Deed::Outage(_, time)
            | Deed::Freeze(_, time)
            | Deed::StallWatches(_, time)
            | Deed::WatchLag(_, time)
            | Deed::Crowd(time)
            | Deed::Restore(time)
            | Deed::Refuse(.., time) => *time /= SHORTER,
            // A short flight has to be longer than what is to be seen in it.
            Deed::Image(image) if image.contains("crash-after") => *image = "app:v2-crash-after2",
            _ => {}
        }
    }
    for (at, _) in &mut story.crashes {
        *at = *at / 2 + 1;
    }
    // How much has changed from one look to the next is as different as API servers are.
    story.setting.crowd = *Dice::of(seed, "crowd").pick(&[40, 120, 250, 500, 900]);
    story
}

/// The faults of this name, which may be the number or the word alone; all of them without one.
pub fn faults_called(name: Option<&str>) -> Result<Vec<&'static str>, String> {
    let Some(name) = name else { return Ok(FAULTS.to_vec()) };
    let is_called =
        |fault: &&&str| **fault == name || fault.split(' ').any(|word| word.eq_ignore_ascii_case(name.trim()));
    match FAULTS.iter().find(is_called) {
        Some(fault) => Ok(vec![fault]),
        None => Err(format!("no fault is called {name}; there are {}", FAULTS.join(", "))),
    }
}

/// A story of this plot in which nothing goes wrong but this fault.
pub fn with_fault(plot: &str, fault: &str, seed: u64) -> Story {
    let mut story = plotted(plot, seed);
    add(&mut story, fault, &mut Dice::of(seed, fault));
    story
}

/// A story in which nothing goes wrong.
pub fn plotted(plot: &str, seed: u64) -> Story {
    let mut dice = Dice::of(seed, "plot");
    let script = script(plot, &mut dice);
    let mut story = Story::new(plot, seed, script);
    story.setting = setting(&mut dice);
    // What HTTP adds to a request is the same at each of them.
    let over_http = Dice::of(seed, "way").range(1, OVER_HTTP) == 1;
    story.setting.way = if over_http { Way::Http } else { Way::Watched };
    if Dice::of(seed, "starting").permille(150) {
        story.setting.starting = 1;
    }
    if Dice::of(seed, "ready").permille(150) {
        story.setting.ready_seconds = 2;
    }
    if Dice::of(seed, "routes").permille(200) {
        story.setting.routes = ROUTES;
    }
    if plot == "history" || Dice::of(seed, "former").permille(150) {
        story.setting.former = FORMER;
    }
    if plot == "apart" {
        story.setting.owned = true;
        story.setting.routed = true;
        story.setting.steps = json!([
            {"name": "shadow", "weight": 0, "mirror": {"percent": 50}, "observe": "3s"},
            {"name": "beta", "weight": 5, "match": [{"headers": [{"name": "x-beta", "value": "1"}]}], "observe": "4s"},
            {"name": "half", "weight": 50, "observe": "5s"},
        ]);
    }
    story.setting.terms = terms(seed);
    if story.setting.terms.approval.is_some() && !Dice::of(seed, "agrees").permille(200) {
        let mut dice = Dice::of(seed, "agreed");
        for round in 1..7 {
            story.script.push((round * 22_000 + dice.range(0, 9_000), Deed::Act("Promote", dice.permille(700))));
        }
    }
    if plot == "narrow" {
        let setting = &mut story.setting;
        (setting.narrow, setting.routed, setting.steps) = (true, true, Setting::default().steps);
        setting.replicas = setting.replicas.max(2);
        // What is traded ends as the pods of any Deployment do when it is made smaller: it has to drain.
        setting.weather.end = (8_000, 9_000);
    }
    story
}

/// What the Rollout of this seed says beside what all say.
fn terms(seed: u64) -> Terms {
    let mut dice = Dice::of(seed, "terms");
    let mut may = |permille: u64| dice.permille(permille);
    Terms {
        full: may(200),
        pauses: may(150),
        gives_up: may(100),
        waits: may(100),
        unjudged: may(100),
        forgets: may(100),
        sinks: may(150),
        approval: may(120).then(|| usize::try_from(dice.range(0, 2)).unwrap_or(0)),
    }
}

fn setting(dice: &mut Dice) -> Setting {
    let mut setting = Setting { replicas: i64::try_from(dice.range(1, 6)).unwrap_or(4), ..Setting::default() };
    setting.policies = *dice.pick(&[Policy::All, Policy::All, Policy::All, Policy::Validating, Policy::None]);
    setting.judged = dice.permille(750);
    setting.templated = dice.permille(250);
    setting.on_delete = *dice.pick(&["Hold", "Hold", "Continue"]);
    setting.scale_down_delay = *dice.pick(&["0s", "3s", "20s"]);
    if dice.permille(250) {
        setting.steps = json!([{"name": "all", "weight": 50, "replicas": 2, "observe": "4s"}]);
    }
    if dice.permille(300) {
        setting.weather = Weather {
            controller: (5, dice.range(60, 3_000)),
            start: (200, dice.range(900, 6_000)),
            ready: (200, dice.range(1_500, 8_000)),
            accept: (20, dice.range(200, 5_000)),
            plane: (50, 2_500),
            end: (10, dice.range(100, 3_000)),
            collect: (50, dice.range(500, 5_000)),
            ..Weather::default()
        };
    }
    if dice.permille(120) {
        setting.routed = false;
        // Without a gateway between, an application has to drain, as with any Deployment.
        setting.weather = Weather { end: (8_000, 9_000), ..Weather::default() };
    }
    setting
}

#[expect(clippy::too_many_lines, reason = "one arm for each plot")]
fn script(plot: &str, dice: &mut Dice) -> Vec<(u64, Deed)> {
    let mut at = |low: u64, high: u64| dice.range(low, high);
    match plot {
        "bad" => vec![(0, Deed::Image("app:v2-errors300"))],
        "newer" => vec![(0, Deed::Image("app:v2")), (at(1, 90_000), Deed::Image("app:v3"))],
        "commands" => {
            let mut script = vec![(0, Deed::Image("app:v2"))];
            for _ in 0..at(1, 4) {
                let time = at(500, 80_000);
                let action = COMMANDS[usize::try_from(at(0, COMMANDS.len() as u64 - 1)).unwrap_or(0)];
                if action == "AdoptSteps" {
                    script.push((time / 2, Deed::EditSteps));
                }
                script.push((time, Deed::Act(action, at(0, 1) == 1)));
            }
            script.push((120_000, Deed::Act("Resume", true)));
            script
        }
        "deleted" => {
            let how = ["Background", "Foreground", "Orphan"][usize::try_from(at(0, 2)).unwrap_or(0)];
            let mut script = vec![(0, Deed::Image("app:v2")), (at(1, 100_000), Deed::DeleteRollout(how))];
            if at(0, 2) == 0 {
                script.push((130_000, Deed::ApplyRollout));
            }
            script
        }
        "scaled" => {
            let mut script = vec![(0, Deed::Image("app:v2"))];
            for _ in 0..at(1, 3) {
                let to = [0, 1, 2, 3, 5, 8, 12][usize::try_from(at(0, 6)).unwrap_or(0)];
                script.push((at(500, 80_000), Deed::Scale(to)));
            }
            script.push((100_000, Deed::Scale(i64::try_from(at(1, 6)).unwrap_or(3))));
            script
        }
        "git" => {
            let every = at(2_000, 15_000);
            let server_side = at(0, 1) == 1;
            let mut script = vec![(0, Deed::Image("app:v2"))];
            script.extend((1..=8).map(|round| (round * every, Deed::ApplyRoute { server_side })));
            script.extend((1..=4).map(|round| (round * every + 700, Deed::ReplaceDeployment("app:v2"))));
            script
        }
        "revert" => vec![(0, Deed::Image("app:v2")), (at(500, 130_000), Deed::Image("app:v1"))],
        "broken" => {
            let image = [
                "app:v2-crash",
                "app:v2-never",
                "app:v2-missing",
                "app:v2-no-room",
                "app:v2-crash-after8",
                "app:v2-flaps4",
            ][usize::try_from(at(0, 5)).unwrap_or(0)];
            vec![(0, Deed::Image(image))]
        }
        "rivals" => {
            let (begins, ends) = (at(0, 40_000), at(41_000, 120_000));
            vec![(0, Deed::Image("app:v2")), (begins, Deed::Rival), (ends, Deed::DeleteRollout("Background"))]
        }
        "returns" => vec![
            (0, Deed::Image("app:v2")),
            (at(90_000, 200_000), Deed::Image("app:v1")),
            (at(230_000, 300_000), Deed::Image("app:v2")),
        ],
        "swap" => vec![
            (0, Deed::Image("app:v2")),
            (1, Deed::AbortInSwap),
            (at(60_000, 100_000), Deed::Image(["app:v3", "app:v1", "app:v2"][usize::try_from(at(0, 2)).unwrap_or(0)])),
        ],
        "steps" => {
            let mut script = vec![(0, Deed::Image("app:v2"))];
            for _ in 0..at(2, 4) {
                let to = ["SetStep half", "SetStep warm", "SetStep some", "SetStep nowhere"];
                let to = to[usize::try_from(at(0, 3)).unwrap_or(0)];
                script.push((at(2_000, 40_000), Deed::Act(to, at(0, 1) == 1)));
            }
            let edited = at(4_000, 30_000);
            script.push((edited, Deed::EditSteps));
            script.push((edited + at(10, 9_000), Deed::Act("AdoptSteps", at(0, 1) == 1)));
            script
        }
        "narrow" => {
            let mut script = vec![(0, Deed::Image("app:v2"))];
            let (time, to, which) = (at(20_000, 90_000), at(1, 8).cast_signed(), at(0, 6));
            script.extend(into_a_trade(which, to).map(|deed| (time, deed)));
            script
        }
        "history" => {
            // Down and up again in mid-flight, and back to what served long ago.
            let (down, to) = (at(1_000, 60_000), usize::try_from(at(0, 2)).unwrap_or(0));
            vec![
                (0, Deed::Image(["app:v2", "app:v2-errors300"][usize::try_from(at(0, 1)).unwrap_or(0)])),
                (down, Deed::Scale(0)),
                (down + at(500, 9_000), Deed::Scale(i64::try_from(at(1, 5)).unwrap_or(3))),
                (at(90_000, 200_000), Deed::Image([FORMER[0], FORMER[1], "app:v1"][to])),
            ]
        }
        "idle" => Vec::new(),
        _ => vec![(0, Deed::Image("app:v2"))],
    }
}

/// What somebody does while pods are traded.
fn into_a_trade(which: u64, replicas: i64) -> Option<Deed> {
    match which {
        0 => Some(Deed::Act("Abort", true)),
        1 => Some(Deed::Image("app:v3")),
        2 => Some(Deed::Image("app:v1")),
        3 => Some(Deed::Scale(replicas)),
        4 => Some(Deed::DeleteRollout("Background")),
        _ => None,
    }
}

/// Adds a fault, at some moment of the story.
#[expect(clippy::too_many_lines, reason = "one arm for each fault")]
fn add(story: &mut Story, fault: &str, dice: &mut Dice) {
    let at = dice.range(0, 90_000);
    let long = dice.range(2_000, 40_000);
    let which = usize::try_from(dice.range(0, 1)).unwrap_or(0);
    let mut push = |at: u64, deed: Deed| story.script.push((at, deed));
    match fault.split(' ').next().unwrap_or_default() {
        "F01" => {
            let crash = *dice.pick(&[Crash::Before, Crash::Unanswered, Crash::After]);
            let second = *dice.pick(&[Crash::Before, Crash::Unanswered]);
            story.crashes = vec![(dice.range(1, 60), crash), (dice.range(1, 30), second)];
        }
        "F02" => {
            push(at, Deed::WatchLag(which, dice.range(1_000, 60_000)));
        }
        "F03" => {
            push(at, Deed::Behind(which, dice.range(1, 30)));
            push(at + long.min(15_000), Deed::Behind(which, 0));
        }
        "F04" => {
            push(at, Deed::Blur(which, dice.range(50, 600)));
            push(at, Deed::WatchLag(which, dice.range(0, 4_000)));
            push(at + long, Deed::Blur(which, 0));
        }
        "F19" => {
            let deed = if dice.permille(500) { Deed::Sticky(true) } else { Deed::Rate(dice.range(0, 1)) };
            push(at, deed);
            push(at + long, Deed::Sticky(false));
            push(at + long, Deed::Rate(40));
        }
        "F26" => {
            let plural = *dice.pick(&["httproutes", "replicasets", "rollouts", "services", "deployments"]);
            let code = *dice.pick(&[403, 500]);
            push(at, Deed::Refuse(0, plural, code, long));
            push(at, Deed::Refuse(1, plural, code, long));
        }
        "F28" => push(at, if dice.permille(500) { Deed::Poison } else { Deed::Crowd(long) }),
        "F29" => {
            let image: &&'static str = dice.pick(&["app:v4-only1", "app:v4-only2"]);
            push(at, Deed::Image(image));
        }
        "F05" => push(at, Deed::StallWatches(which, long * 3)),
        "F06" => {
            push(at, Deed::Compact);
            push(at + 10, Deed::StallWatches(which, 4_000));
            push(at + 3_000, Deed::Compact);
        }
        "F07" => {
            let (verb, plural) = *dice.pick(DENIABLE);
            push(at, Deed::Deny(verb, plural));
            push(at + long, Deed::Allow(verb, plural));
        }
        "F08" => {
            push(at, Deed::Outage(0, long));
            push(at, Deed::Outage(1, long));
        }
        "F09" | "F10" => {
            let rough = if fault.starts_with("F09") { [20, 80, 0, 20] } else { [0, 0, 250, 0] };
            push(at, Deed::Rough(which, rough));
            push(at + long, Deed::Rough(which, [0; 4]));
        }
        "F11" => {
            for round in 0..4 {
                push(at + round * long / 4, Deed::ApplyRoute { server_side: dice.permille(500) });
            }
        }
        "F12" => {
            for round in 0..3 {
                push(at + round * long / 3, Deed::Scale(i64::try_from(dice.range(1, 9)).unwrap_or(3)));
            }
        }
        "F13" => {
            push(at, Deed::Freeze(0, long));
            push(at + long / 2, Deed::Freeze(1, 3_500));
        }
        "F14" => {
            push(at, Deed::Skew(which, i64::try_from(dice.range(0, 1_200_000)).unwrap_or(0) - 600_000));
            push(at + 10, Deed::Kill(which));
            // Until somebody sets it right.
            push(at + 4_000 + long, Deed::Skew(which, 0));
            push(at + 4_010 + long, Deed::Kill(which));
        }
        "F15" => {
            let mood = *dice.pick(&[Mood::Down, Mood::Unavailable, Mood::Hangs]);
            push(at, Deed::Prometheus(mood));
            push(at + long, Deed::Prometheus(Mood::Well));
        }
        "F16" => {
            let mood = *dice.pick(&[Mood::Empty, Mood::Garbage, Mood::NotANumber, Mood::Scalar]);
            push(at, Deed::Prometheus(mood));
            push(at + long, Deed::Prometheus(Mood::Well));
            if dice.permille(300) {
                push(at + long / 2, Deed::ForgetHistory);
            }
        }
        "F17" => {
            let mood = *dice.pick(&[Mood::Late(8_000), Mood::Doubled, Mood::Half]);
            push(at, Deed::Prometheus(mood));
            push(at + long, Deed::Prometheus(Mood::Well));
        }
        "F18" => push(0, Deed::Image("app:v2-crash-after15")),
        "F20" => {
            push(at, Deed::Gateway { writes: false });
            push(at + long, Deed::Gateway { writes: true });
        }
        "F21" => {
            let image: &&'static str = dice.pick(&["app:v4-never", "app:v4-crash", "app:v4-missing"]);
            push(at, Deed::Image(image));
        }
        "F22" => {
            push(at, Deed::Evict { stable: true, count: usize::try_from(dice.range(1, 4)).unwrap_or(1) });
            push(at + long, Deed::Evict { stable: false, count: 2 });
            if dice.permille(300) {
                // Somebody gives up just then what stable cannot take back, and thinks again.
                push(at, Deed::Act("Abort", true));
                push(at + dice.range(300, 6_000), Deed::Act("PromoteFull", true));
                if dice.permille(400) {
                    push(at + dice.range(100, 20_000), Deed::Image(dice.pick::<&str>(&["app:v3", "app:v1"])));
                }
            }
        }
        "F23" => {
            push(at, Deed::Image("app:v5"));
            push(at + dice.range(100, 9_000), Deed::Image("app:v1"));
            push(at + long, Deed::Image("app:v2"));
            if dice.permille(400) {
                push(at + 500, Deed::EditSteps);
            }
        }
        "F24" => {
            for _ in 0..4 {
                let action = *dice.pick(COMMANDS);
                push(at + dice.range(0, 2_000), Deed::Act(action, dice.permille(500)));
            }
            push(at + dice.range(0, 2_000), Deed::Late(dice.pick::<&str>(COMMANDS)));
            if dice.permille(250) {
                // Nobody is answered, however many ask.
                push(at, Deed::Deny("patch", "rolloutactions/status"));
                for _ in 0..9 {
                    push(at + dice.range(0, 9_000), Deed::Act(["Pause", "Resume"][which], true));
                }
                push(at + long, Deed::Allow("patch", "rolloutactions/status"));
            }
            push(at + 30_000, Deed::Act("Resume", true));
        }
        "F25" => {
            let deed = match dice.range(0, 4) {
                0 => Deed::DeleteNamespace,
                1 => Deed::DeleteDeployment(dice.pick::<&str>(&["Background", "Background", "Orphan"])),
                2 => Deed::DropFinalizer,
                3 => Deed::DeleteRoute,
                _ => Deed::DeleteRollout("Foreground"),
            };
            let again = deed == Deed::DeleteRoute;
            push(at, deed);
            if again {
                push(at + long, Deed::CreateRoute);
            }
        }
        "F27" => {
            push(at, Deed::Receivers { down: true });
            push(at + long, Deed::Receivers { down: false });
        }
        "F30" => {
            push(at, Deed::Tell(0));
            push(at + 500, Deed::UpgradeServer);
            push(at + long, Deed::Tell(1));
        }
        "F31" => {
            for replica in 0..2 {
                push(at, Deed::Outage(replica, 3_000));
            }
            push(at + 1_500, Deed::Restore(dice.range(500, 90_000)));
        }
        "F32" => {
            let setting = &mut story.setting;
            (setting.history, setting.judged, setting.owned) = (dice.range(1, 3).cast_signed(), false, false);
            (setting.scale_down_delay, setting.weather) =
                ("0s", Weather { end: setting.weather.end, ..Weather::default() });
            setting.steps = json!([{"name": "half", "weight": 50, "observe": "1s"}]);
            for (round, image) in (1..).zip(RELEASES) {
                let time = round * 35_000 + dice.range(0, 5_000);
                story.script.push((time, Deed::Image(image)));
                if dice.permille(300) {
                    story.script.push((time + dice.range(500, 20_000), Deed::Act(dice.pick::<&str>(COMMANDS), true)));
                }
            }
            story.script.push((350_000, Deed::Act("Resume", true)));
        }
        "F34" => {
            push(at, Deed::Relabel("web"));
            if dice.permille(500) {
                push(at + long, Deed::Relabel("pay"));
            }
            story.setting.sharded = true;
        }
        "F33" => {
            let deed = match dice.range(0, 6) {
                5 => Deed::EditAnalysis,
                6 => Deed::DeleteTemplate,
                0 => Deed::DeleteStableSet,
                1 => Deed::DeleteService { stable: dice.permille(500) },
                2 => Deed::WidenService { stable: dice.permille(500) },
                3 => Deed::ResumeDeployment,
                _ => Deed::EditTraffic,
            };
            let again = deed == Deed::DeleteTemplate;
            push(at, deed);
            if again {
                push(at + long, Deed::CreateTemplate);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names of everything that can be done.
    fn deeds() -> BTreeSet<&'static str> {
        let text = include_str!("deeds.rs");
        let (_, of_enum) = text.split_once("pub enum Deed {").unwrap();
        let (of_enum, _) = of_enum.split_once("\n}").unwrap();
        let lines = of_enum.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
        let names = lines.map(|line| line.trim().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default());
        names.filter(|name| !name.is_empty()).collect()
    }

    #[test]
    fn everything_that_can_be_done_is_done_in_some_story() {
        let mut seen = BTreeSet::new();
        let mut words = BTreeSet::new();
        for seed in 1..4_000 {
            for (_, deed) in story(seed).script {
                let text = format!("{deed:?}");
                seen.insert(text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned());
                words.insert(text);
            }
        }
        let unseen: Vec<_> = deeds().into_iter().filter(|deed| !seen.contains(*deed)).collect();
        assert_eq!(unseen, Vec::<&str>::new());
        for command in COMMANDS {
            assert!(words.iter().any(|word| word.contains(&format!("\"{command}\""))), "{command}");
        }
    }

    #[test]
    fn each_fault_is_reached_by_its_name_and_an_unknown_one_is_told_which_there_are() {
        assert_eq!(faults_called(None).unwrap(), FAULTS);
        for fault in FAULTS {
            let (number, word) = fault.split_once(' ').unwrap();
            for name in [fault, number, word, &number.to_lowercase()] {
                assert_eq!(faults_called(Some(name)).unwrap(), [*fault], "{name}");
            }
        }
        for name in ["F35", "F1", "crash", ""] {
            let error = faults_called(Some(name)).unwrap_err();
            assert!(FAULTS.iter().all(|fault| error.contains(fault)), "{error}");
        }
    }

    /// With a story's last deed everything goes right again: what begins there would be over at once.
    #[test]
    fn a_fault_alone_lasts() {
        let begins = |deed: &Deed| {
            let rough = |all: &[u64; 4]| *all != [0; 4];
            matches!(
                deed,
                Deed::Blur(_, 1..)
                    | Deed::Behind(_, 1..)
                    | Deed::Receivers { down: true }
                    | Deed::Gateway { writes: false }
                    | Deed::Sticky(true)
                    | Deed::Deny(..)
            ) || matches!(deed, Deed::Rough(_, all) if rough(all))
                || matches!(deed, Deed::Skew(_, by) if *by != 0)
                || matches!(deed, Deed::Prometheus(mood) if *mood != Mood::Well)
        };
        for (fault, seed) in FAULTS.iter().flat_map(|fault| (1..30).map(move |seed| (fault, seed))) {
            let story = with_fault("idle", fault, seed);
            assert!(!story.script.is_empty() || !story.crashes.is_empty(), "{fault} does nothing");
            let over = story.script.iter().map(|(at, deed)| at + deed.lasts()).max().unwrap_or(0);
            let soon = |(at, deed): &&(u64, Deed)| begins(deed) && over < at + 2_000;
            assert_eq!(story.script.iter().find(soon), None, "{fault} of seed {seed}");
        }
    }

    #[test]
    fn every_setting_is_that_of_some_story() {
        let settings: Vec<_> = (1..2_000).map(|seed| story(seed).setting).collect();
        let some = |is: fn(&Setting) -> bool| settings.iter().any(is) && settings.iter().any(|setting| !is(setting));
        assert!(some(|it| it.sharded) && some(|it| it.templated) && some(|it| it.owned) && some(|it| it.routed));
        assert!(some(|it| it.narrow));
        assert!(some(|it| it.terms.approval.is_some()) && some(|it| it.terms.full) && some(|it| it.terms.pauses));
        assert!(some(|it| it.terms.gives_up) && some(|it| it.terms.waits) && some(|it| it.terms.unjudged));
        assert!(some(|it| it.terms.forgets) && some(|it| it.terms.sinks));
        assert!(some(|it| it.held) && some(|it| it.judged) && some(|it| it.history < 10));
        assert!(some(|it| it.former.is_empty()));
        assert!(some(|it| it.way == Way::Http) && some(|it| it.way == Way::Watched));
        assert!(
            [Policy::All, Policy::Validating, Policy::None]
                .iter()
                .all(|policy| settings.iter().any(|it| it.policies == *policy))
        );
    }
}
