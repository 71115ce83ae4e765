//! Stories: what people, machines and accidents do to a shop with an operator, and what must be true at the end.
use super::{
    api::Verb,
    checks::Violation,
    deeds::{DENIABLE, Deed, RIVAL},
    faults::Crash,
    json::Read as _,
    stage::{NAME, Policy, Setting, Stage, phase},
    world::{NAMESPACE, OPERATOR, World, plane::Cause, prometheus::Mood},
};
use crate::cluster::Tamper;
use std::{collections::BTreeMap, fmt, fmt::Write as _, sync::Arc};

/// The longest that a world may take to settle after the last deed and fault.
const LONGEST: u64 = 900_000;

/// What is told.
#[derive(Clone, Debug)]
pub struct Story {
    pub name: String,
    pub seed: u64,
    pub setting: Setting,
    /// When, in milliseconds after the Deployment was taken over, what is done.
    pub script: Vec<(u64, Deed)>,
    /// At which of its writes a process of the first replica ends, one process after the other.
    pub crashes: Vec<(u64, Crash)>,
}

/// How a story ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    pub violations: Vec<Violation>,
    /// Virtual seconds.
    pub seconds: u64,
    pub commits: usize,
    /// What the operators asked of the API server.
    pub requests: usize,
    /// At how many writes that were asked for a process of the first replica ended.
    pub crashed: usize,
    /// How the world is at the end, apart from names and times.
    pub end: String,
    /// How often the operator created, updated and deleted objects of each kind.
    pub written: BTreeMap<(String, Verb), usize>,
    /// The first process's writes until it was over.
    pub first_process: u64,
    pub phase: String,
    pub message: String,
    /// Requests lost by the operator's doing, and by others'.
    pub lost: f64,
    pub harm: f64,
    /// What was decided and written, with its time in milliseconds.
    pub told: Vec<(u64, String)>,
    /// A number that tells whether two runs were the same, bit for bit.
    pub print: u64,
}

/// With `BELLWETHER_LOG` the operator's own log is printed.
fn logged() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("BELLWETHER_LOG").is_some() {
            let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
        }
    });
}

impl Story {
    /// A story of this name and seed, in a plain setting.
    pub fn new(name: &str, seed: u64, script: Vec<(u64, Deed)>) -> Self {
        Self { name: name.to_owned(), seed, setting: Setting::default(), script, crashes: Vec::new() }
    }

    /// Tells it.
    pub fn tell(&self, tamper: Option<Arc<dyn Tamper>>) -> Ending {
        logged();
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(self.play(tamper))
    }

    async fn play(&self, tamper: Option<Arc<dyn Tamper>>) -> Ending {
        let mut stage = if self.setting.held {
            let stage = Stage::adopted(self.seed, &self.setting, tamper).await;
            stage.replicas[0].crash_at(self.crashes.clone());
            stage
        } else {
            let mut stage = Stage::set(self.seed, self.setting.clone(), tamper).await;
            stage.replicas[0].crash_at(self.crashes.clone());
            stage.adopt().await;
            stage
        };
        let adopted = phase(&stage.world).0 == "Stable";
        let begin = stage.world.now();
        stage.begun = begin;
        stage.world.checks.sharded = self.setting.sharded;
        let mut script = self.script.clone();
        script.sort_by_key(|(at, _)| *at);
        // Without policies, a write that drops `paused` lets the Deployment roll: nobody can hold what nobody guards.
        let lets_go = |deed: &Deed| matches!(deed, Deed::ReplaceDeployment(_) | Deed::ResumeDeployment);
        let unguarded = self.setting.policies == Policy::None && script.iter().any(|(_, deed)| lets_go(deed));
        stage.world.unguarded = unguarded;
        stage.world.checks.unguarded = unguarded;
        for (at, deed) in &script {
            stage.live_until(begin + at).await;
            if stage.is_enough() {
                return stage.ending();
            }
            let at = stage.world.now();
            stage.world.checks.told.push((at, format!("---- {deed:?}")));
            if *deed == Deed::AbortInSwap {
                stage.until_swap(60_000).await;
            }
            stage.doing(deed);
        }
        // What was begun goes on for its time, and only then there is an end to be seen.
        let over = script.iter().map(|(at, deed)| begin + at + deed.lasts()).max().unwrap_or(0);
        stage.live_until(over).await;
        stage.calm();
        let longest = if stage.planted { LONGEST / 6 } else { LONGEST };
        let settled = stage.settle(longest + stage.setting.quiet).await;
        let mut ending = stage.ending();
        if !adopted {
            let (phase, message) = phase(&stage.world);
            ending.violations.push(Violation {
                rule: "L01 it comes to rest",
                at: begin,
                what: format!("it was not taken over: {phase} {message}"),
            });
        }
        // What ends again and again is never at rest.
        let restless = |image: &str| image.contains("flaps") || image.contains("crash-after");
        let flaps = script.iter().any(|(_, deed)| matches!(deed, Deed::Image(image) if restless(image)));
        if !settled && !flaps {
            let words =
                ending.told.iter().rev().take(3).map(|(_, words)| words.clone()).collect::<Vec<_>>().join(" <- ");
            ending.violations.push(Violation {
                rule: "L01 it comes to rest",
                at: stage.world.now(),
                what: format!("{} {}: {words}", ending.phase, ending.message),
            });
        }
        stage.at_the_end(&mut ending, &script);
        ending
    }
}

impl Stage {
    /// Lets time pass until the Deployment controls no ReplicaSet, which takes a look or two.
    async fn until_swap(&mut self, longest: u64) {
        let end = self.world.now() + longest;
        let controls_some = |world: &World| {
            let deployment = world.server.get("deployments", NAMESPACE, NAME);
            let uid = deployment.map(|deployment| deployment.uid().to_owned());
            let sets = world.server.list("replicasets", NAMESPACE);
            sets.iter().any(|set| set.controller() == uid.as_deref())
        };
        while self.world.now() < end && controls_some(&self.world) {
            self.pass(4).await;
        }
    }

    /// Everything that went wrong goes right from now on.
    fn calm(&mut self) {
        for replica in &self.replicas {
            replica.set_right();
            replica.trouble(|trouble| {
                *trouble = super::faults::Trouble { latency: trouble.latency, bent: trouble.bent, ..Default::default() }
            });
        }
        let server = &self.world.server;
        for (verb, plural) in DENIABLE {
            server.allow(OPERATOR, verb, plural);
        }
        {
            let mut outside = self.outside();
            outside.prometheus.mood = Mood::Well;
            outside.receivers_down = false;
        }
        self.world.plane.sticky = false;
        self.world.plane.rate = self.setting.weather.rate;
        if !self.world.gateway_writes {
            self.world.gateway_writes = true;
            self.look_at_routes();
        }
    }

    /// Waits until nothing is written any more but the Lease, or what is seen while a person is waited for. Whether it came to
    /// that.
    async fn settle(&mut self, longest: u64) -> bool {
        let end = self.world.now() + longest;
        let mut last = (self.busy(), self.world.now());
        let mut asks = (String::new(), self.world.now());
        while self.world.now() < end && !self.is_enough() {
            self.pass(2_000).await;
            let busy = self.busy();
            if busy != last.0 {
                last = (busy, self.world.now());
            } else if self.world.now() - last.1 >= self.longest_silence() {
                return true;
            }
            let asked = self.asked_of_people();
            if asked != asks.0 {
                asks = (asked, self.world.now());
            } else if !asks.0.is_empty() && self.world.now() - asks.1 >= self.longest_silence() {
                return true;
            }
        }
        false
    }

    /// Which step a person has to say something of, and why; what is judged is never at rest meanwhile.
    fn asked_of_people(&self) -> String {
        // When the first is gone, the second one may have the Deployment.
        let named = |name| self.world.server.get("rollouts", NAMESPACE, name);
        let rollout = named(NAME).or_else(|| named(RIVAL)).unwrap_or_default();
        let (phase, why) = (rollout.text("/status/phase"), rollout.text("/status/waitingFor/0/reason"));
        let asks = matches!((phase, why), ("Paused" | "AwaitingApproval", _) | ("Waiting", "Inconclusive"));
        let asks = asks && rollout["status"]["intent"].is_null();
        if asks { format!("{phase} {why} {}", rollout.text("/status/step/name")) } else { String::new() }
    }

    /// How long a world that is not at rest may be silent, or one of which only a backup says that it is, or a status from
    /// before the Rollout or its Deployment was changed, deleted or looked at, or one in which something is about to be done:
    /// a look that failed often is tried again after a minute, and a route that somebody else writes after two, and four.
    fn longest_silence(&self) -> u64 {
        let (server, rollouts) = (&self.world.server, self.world.server.list("rollouts", NAMESPACE));
        let rests = |rollout: &Arc<serde_json::Value>| {
            rollout["status"]["intent"].is_null() && matches!(rollout.text("/status/phase"), "Stable" | "Aborted")
        };
        let is_seen = |rollout: &Arc<serde_json::Value>| {
            let version = rollout.text("/metadata/resourceVersion").parse::<u64>();
            let of_backup = version.is_ok_and(|version| version <= server.restored());
            let generation = rollout.number("/metadata/generation");
            let deployment = server.get("deployments", NAMESPACE, NAME);
            let is_other = deployment.is_some_and(|deployment| {
                let generation = deployment.number("/metadata/generation");
                rollout.number("/status/workload/observedGeneration") != generation
            });
            let is_current = rollout.number("/status/observedGeneration") == generation && !is_other;
            !of_backup && !rollout.is_ending() && is_current
        };
        let told = rollouts.iter().find(|rollout| rollout.name() == NAME);
        if told.is_some_and(|rollout| rollout.text("/status/waitingFor/0/reason") == "RouteContested") {
            return 260_000;
        }
        let at_rest = match told {
            Some(rollout) => rests(rollout) && is_seen(rollout),
            // One that had to wait for it may be waiting out its own failures.
            None => rollouts.iter().all(rests),
        };
        if at_rest { self.setting.quiet } else { self.setting.quiet.max(70_000) }
    }

    /// How much was committed beside Leases, and statuses that only say how long something has been watched.
    fn busy(&self) -> usize {
        self.world.checks.busy
    }

    fn ending(&mut self) -> Ending {
        self.world.absorb();
        let (phase, message) = phase(&self.world);
        let lost = |cause: Cause| {
            self.world.plane.losses.iter().filter(|loss| loss.cause == cause).map(|loss| loss.requests).sum()
        };
        let checks = &self.world.checks;
        let mut told = checks.told.clone();
        for loss in &self.world.plane.losses {
            told.push((
                loss.from,
                format!("!!!! {:.1} requests lost until {}: {} ({:?})", loss.requests, loss.to, loss.what, loss.cause),
            ));
        }
        told.sort_by_key(|(at, _)| *at);
        Ending {
            violations: checks.violations.clone(),
            seconds: self.world.now() / 1_000,
            commits: self.world.server.commit_count(),
            requests: self.world.server.asked(),
            first_process: self.replicas[0].first_writes(),
            crashed: self.replicas[0].crashed(),
            end: self.end(&phase),
            written: checks.written.clone(),
            phase,
            message,
            lost: lost(Cause::Machinery),
            harm: lost(Cause::Others),
            print: checks.print,
            told,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (at, words) in &self.told {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a story")]
            let seconds = *at as f64 / 1_000.0;
            let _ = writeln!(text, "{seconds:9.3}  {words}");
        }
        for violation in &self.violations {
            let _ = writeln!(text, "WRONG at {}: {}: {}", violation.at, violation.rule, violation.what);
        }
        let _ = writeln!(
            text,
            "{} {} ({} commits, {} s, lost {:.1}, harm {:.1})",
            self.phase, self.message, self.commits, self.seconds, self.lost, self.harm
        );
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_release_is_promoted_and_a_bad_one_is_not() {
        let good = Story::new("good", 1, vec![(0, Deed::Image("app:v2"))]).tell(None);
        println!("{good}");
        assert!(good.violations.is_empty());
        let bad = Story::new("bad", 2, vec![(0, Deed::Image("app:v2-errors300"))]).tell(None);
        println!("{bad}");
        assert!(bad.violations.is_empty());
        assert_eq!(bad.phase, "Aborted");
    }

    #[test]
    fn what_goes_wrong_last_is_not_over_at_once() {
        let out_of_reach = |replica| (0, Deed::Outage(replica, 20_000));
        let script = vec![out_of_reach(0), out_of_reach(1), (100, Deed::Image("app:v2"))];
        let mut story = Story::new("outage", 1, script);
        (story.setting.held, story.setting.judged) = (true, false);
        let ending = story.tell(None);
        println!("{ending}");
        let at = |words: &str| ending.told.iter().find(|(_, line)| line.contains(words)).map(|(at, _)| *at).unwrap();
        let waited = at("Create: 0 pods") - at("---- Image");
        assert!(ending.violations.is_empty() && waited > 19_000, "{waited} ms");
    }

    #[test]
    fn a_stable_service_that_reaches_nobody_is_moved_back_at_once() {
        let script = vec![(0, Deed::Image("app:v2-crash-after8")), (6_480, Deed::Act("PromoteFull", true))];
        let mut seen = 0;
        for seed in 0..6 {
            let mut story = Story::new("home", seed, script.clone());
            (story.setting.replicas, story.setting.judged, story.setting.held) = (1, false, true);
            let ending = story.tell(None);
            println!("{ending}");
            assert!(ending.violations.is_empty(), "seed {seed}");
            let at = |words: &str, from: u64| {
                let found = ending.told.iter().find(|(at, line)| *at >= from && line.contains(words));
                found.map(|(at, _)| *at)
            };
            // Both Services are the candidate's by then, and it is gone.
            let Some(moved) = at("the stable Service on the candidate", 0) else { continue };
            let Some(aborted) = at("status: Aborting", moved) else { continue };
            let back = at("Service checkout-stable selects", aborted).unwrap();
            assert!(back - aborted < 500, "seed {seed}: {} ms", back - aborted);
            seen += 1;
        }
        assert!(seen > 0, "no story came that far");
    }

    #[test]
    fn a_rollout_that_waits_for_a_look_is_not_at_rest() {
        // The last deed changes nothing, so nothing wakes an operator that has failed for a minute.
        let deleted =
            vec![(0, Deed::Outage(0, 200_000)), (100, Deed::DeleteRollout("Background")), (70_000, Deed::ApplyRollout)];
        let anew = vec![
            (0, Deed::DeleteRollout("Background")),
            (10_000, Deed::Outage(0, 200_000)),
            (10_100, Deed::ApplyRollout),
            (80_000, Deed::Act("Resume", true)),
        ];
        for script in [deleted, anew] {
            let mut story = Story::new("unseen", 1, script);
            (story.setting.held, story.setting.judged, story.setting.replicas_of_operator) = (true, false, 1);
            story.setting.way = super::super::operator::Way::Straight;
            let ending = story.tell(None);
            println!("{ending}");
            assert!(ending.violations.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_again_when_a_backup_forgot_it() {
        let script = vec![
            (0, Deed::Image("app:v2")),
            (2_000, Deed::Deny("list", "pods")),
            (8_000, Deed::Restore(12_000)),
            (40_000, Deed::Scale(4)),
        ];
        let mut story = Story::new("forgotten", 1, script);
        (story.setting.held, story.setting.judged) = (true, false);
        let ending = story.tell(None);
        println!("{ending}");
        let said = |it: &&(u64, String)| it.1.contains("status: Blocked") && it.1.contains("cannot read pods");
        let at: Vec<_> = ending.told.iter().filter(said).map(|(at, _)| *at).collect();
        let restored = ending.told.iter().find(|(_, line)| line.contains("---- Restore")).map(|(at, _)| *at);
        assert!(at.iter().any(|at| Some(*at) > restored), "{at:?}");
        assert_eq!(at.iter().filter(|at| **at < 50_000).count(), 2, "and no more often");
    }

    #[test]
    fn what_was_commanded_of_a_rollout_that_is_gone_is_not_answered_by_the_next_one() {
        let script = vec![
            (0, Deed::Deny("patch", "rolloutactions/status")),
            (1_000, Deed::Late("PromoteFull")),
            (5_000, Deed::DeleteRollout("Background")),
            (60_000, Deed::ApplyRollout),
        ];
        let mut story = Story::new("deleted", 1, script);
        (story.setting.held, story.setting.judged) = (true, false);
        let ending = story.tell(None);
        println!("{ending}");
        assert!(ending.violations.is_empty());
        assert_eq!(ending.phase, "Stable");
    }

    #[test]
    fn steps_are_set_and_adopted_in_the_middle_of_a_release_and_no_request_is_lost() {
        for seed in 0..8 {
            let at = seed * 900;
            let script = vec![
                (0, Deed::Image("app:v2")),
                (5_000 + at, Deed::Act("SetStep half", true)),
                (19_000 + at, Deed::Act("SetStep some", true)),
                (23_000 + at, Deed::Act("SetStep nowhere", true)),
                (25_000 + at, Deed::EditSteps),
                (28_000 + at, Deed::Act("AdoptSteps", true)),
            ];
            let ending = Story::new("steps", seed, script).tell(None);
            println!("{ending}");
            assert_eq!((ending.violations.len(), ending.phase.as_str()), (0, "Stable"), "seed {seed}");
            let told = |words: &str| ending.told.iter().filter(|(_, line)| line.contains(words)).count();
            assert!(told("step half at 50 %") > 0, "seed {seed}");
            assert!(told("step new at 10 %") > 0, "seed {seed}: the new steps are taken");
        }
    }
}
