//! What must be true when a story has come to rest.
use super::{
    checks::Violation,
    deeds::{Deed, RIVAL},
    json::Read,
    operator::Way,
    stage::{NAME, Policy, Stage, template},
    story::Ending,
    world::{NAMESPACE, deployments, plane::Cause, pods},
};
use serde_json::Value;

/// A Lease's time, a restart, and a look.
const LONGEST_WITHOUT_LEADER: u64 = 14_000;
/// From an abort's being noted to its being on the way.
const LONGEST_ABORT: u64 = 5_000;
/// From a change to a look at it, whatever ails other Rollouts.
const LONGEST_UNSEEN: u64 = 5_000;

impl Stage {
    /// What serves at the end, and what is left beside it.
    pub fn end(&self, phase: &str) -> String {
        let server = &self.world.server;
        let sets = server.list("replicasets", NAMESPACE);
        let live = sets.iter().filter(|set| set.number("/status/replicas") > 0);
        let live: Vec<_> =
            live.map(|set| format!("{} x {}", set.number("/status/replicas"), pods::image_of(set))).collect();
        let routes = server.list("httproutes", NAMESPACE);
        let weights: Vec<_> = routes.iter().flat_map(|route| super::json::weights_of(route)).collect();
        let services = ["checkout-stable", "checkout-canary"].map(|name| {
            let service = server.get("services", NAMESPACE, name);
            service.is_some_and(|service| !service.text("/spec/selector/pod-template-hash").is_empty())
        });
        format!("{phase}: {} {weights:?} pinned {services:?}", live.join(", "))
    }

    /// What must be true when everything has come to rest.
    #[expect(clippy::too_many_lines, reason = "one block for each thing that must be true")]
    pub fn at_the_end(&self, ending: &mut Ending, script: &[(u64, Deed)]) {
        let at = self.world.now();
        let mut wrong = |rule: &'static str, what: String| ending.violations.push(Violation { rule, at, what });
        let did = |deed: fn(&Deed) -> bool| script.iter().any(|(_, done)| deed(done));
        if ending.lost >= 0.5 {
            let worst = self
                .world
                .plane
                .losses
                .iter()
                .filter(|loss| loss.cause == Cause::Machinery)
                .max_by(|one, other| one.requests.total_cmp(&other.requests));
            wrong("no request is lost by the machinery", format!("{:.1} in all, the most: {worst:?}", ending.lost));
        }
        let server = &self.world.server;
        if did(|deed| matches!(deed, Deed::DeleteNamespace)) {
            // A backup from before that is put back has it again.
            let returned = did(|deed| matches!(deed, Deed::Restore(_)));
            if server.get("namespaces", "", NAMESPACE).is_some() && !returned {
                wrong("L03 a deletion comes to its end", "the namespace is still there".to_owned());
            }
            return;
        }
        self.alerts_at_the_end(&mut wrong, script);
        self.in_time(&mut wrong, script);
        self.bounded(&mut wrong);
        let Some(deployment) = server.get("deployments", NAMESPACE, NAME) else { return };
        if let Some(rival) = server.get("rollouts", NAMESPACE, RIVAL)
            && !did(|deed| matches!(deed, Deed::DeleteRollout(_) | Deed::DropFinalizer | Deed::DeleteDeployment(_)))
            && rival.text("/status/phase") != "Blocked"
        {
            let what = format!("{}: {}", rival.text("/status/phase"), rival.text("/status/message"));
            wrong("a second Rollout of a Deployment is Blocked", what);
        }
        let wanted = deployment.maybe("/spec/replicas").unwrap_or(1);
        let sets = server.list("replicasets", NAMESPACE);
        let controlled: Vec<_> = sets.iter().filter(|set| set.controller() == Some(deployment.uid())).collect();
        let pods_of = |set: &Value| set.number("/status/replicas");
        let routes = server.list("httproutes", NAMESPACE);
        let Some(rollout) = server.get("rollouts", NAMESPACE, NAME) else {
            // Among others, a third may be older than the second.
            let waits = did(|deed| *deed == Deed::Rival) && !did(|deed| *deed == Deed::Poison);
            if let Some(rival) = server.get("rollouts", NAMESPACE, RIVAL).filter(|_| waits) {
                // A Deployment that was left paused with a template of its own is held, and taken over when somebody resumes it.
                let claimed = deployment.label("bellwether.dev/rollout-uid") == Some(rival.uid());
                if !claimed || rival.text("/status/phase") == "Blocked" {
                    let what = format!("{}: {}", rival.text("/status/phase"), rival.text("/status/message"));
                    wrong("when the first Rollout goes, the second takes over", what);
                }
                return;
            }
            // Given back, or taken by force.
            let others: Vec<_> = sets
                .iter()
                .filter(|set| set.controller() != Some(deployment.uid()) && pods_of(set) > 0)
                .map(|set| set.name())
                .collect();
            if !others.is_empty() && !did(|deed| matches!(deed, Deed::DropFinalizer)) {
                wrong("L03 a deletion comes to its end", format!("{others:?} have pods and nobody who is responsible"));
            }
            for name in ["checkout-stable", "checkout-canary"] {
                let service = server.get("services", NAMESPACE, name);
                if service.is_some_and(|it| !it.text("/spec/selector/pod-template-hash").is_empty())
                    && !did(|deed| matches!(deed, Deed::DropFinalizer))
                {
                    wrong("L03 a deletion comes to its end", format!("{name} is left pinned"));
                }
            }
            return;
        };
        let stable = controlled.iter().find(|set| set.name() == rollout.text("/status/workload/stableReplicaSet"));
        let on_trial = rollout.text("/status/flight/candidate");
        let candidate = sets.iter().find(|set| set.name() == on_trial);
        // Its pods do not stay ready, and too few of them are at once to take everything back.
        let waits_for_sick_stable = rollout.text("/status/waitingFor/0/reason") == "StableShrunk"
            && stable.is_some_and(|set| is_broken(pods::image_of(set)));
        if rollout.is_ending() {
            // The candidate serves meanwhile, until stable is well or PromoteFull lets it take over.
            if waits_for_sick_stable {
                return;
            }
            wrong("L03 a deletion comes to its end", format!("{} {}", ending.phase, ending.message));
            return;
        }
        let is_gone = |name: &&str| server.get("httproutes", NAMESPACE, name).is_none();
        let is_routeless = self.setting.routed && self.setting.routes.iter().any(is_gone);
        let (terms, waits_for) = (&self.setting.terms, rollout.text("/status/waitingFor/0/reason"));
        let same =
            stable.is_some_and(|set| deployments::alike(&set["spec"]["template"], &deployment["spec"]["template"]));
        match ending.phase.as_str() {
            "Stable" => {
                if !same {
                    wrong("L01 it comes to rest", "Stable, and the Deployment's template is not stable's".to_owned());
                }
                if deployment.is("/spec/paused") && self.setting.policies != Policy::None {
                    wrong("L01 it comes to rest", "Stable, and the Deployment is paused".to_owned());
                }
            }
            "Aborted" => {
                let candidate = sets
                    .iter()
                    .filter(|set| set.controller() == Some(rollout.uid()))
                    .map(|set| pods_of(set))
                    .sum::<i64>();
                if candidate > 0 {
                    wrong("L01 it comes to rest", format!("Aborted, and {candidate} pods beside stable's"));
                }
            }
            "Waiting" | "Blocked" if wanted == 0 || is_routeless => {}
            "Initializing"
                if did(|deed| matches!(deed, Deed::DeleteRollout(_)))
                    && did(|deed| matches!(deed, Deed::ApplyRollout)) =>
            {
                return;
            }
            "Paused" if did(|deed| matches!(deed, Deed::Act("Pause", _))) => return,
            "AwaitingApproval" if terms.approval.is_some() => return,
            // By command a candidate takes over whatever the Deployment's template says meanwhile.
            "Paused"
                if terms.pauses
                    && (is_broken(pods::image_of(&deployment))
                        || candidate.is_some_and(|set| is_broken(pods::image_of(set))))
                    && waits_for == "ProgressDeadlineExceeded" =>
            {
                return;
            }
            "Waiting" if terms.waits && waits_for == "Inconclusive" => return,
            // Let roll by somebody's write, to an image that never gets ready.
            "Initializing"
                if self.world.unguarded && did(|deed| matches!(deed, Deed::Image(image) if is_broken(image))) =>
            {
                return;
            }
            // It came back when another had taken over what it left.
            "Blocked" if did(|deed| *deed == Deed::Poison) && did(|deed| *deed == Deed::ApplyRollout) => return,
            "Aborting" | "Progressing" | "Waiting" if waits_for_sick_stable => {}
            phase => wrong("L01 it comes to rest", format!("it rests in {phase}: {}", ending.message)),
        }
        // One that is not held, or not yet, has its history.
        let held = rollout.text("/status/workload/uid") == deployment.uid()
            && !rollout.text("/status/workload/stableReplicaSet").is_empty();
        if held && controlled.len() != 1 {
            wrong("I2 the Deployment controls one ReplicaSet", format!("{} at rest", controlled.len()));
        }
        let available = stable.map_or(0, |set| set.number("/status/availableReplicas"));
        let is_well = !did(
            |deed| matches!(deed, Deed::Image(image) if ["flaps", "crash-after", "only"].iter().any(|it| image.contains(it))),
        );
        if available != wanted && is_well && stable.is_some() {
            wrong("S16 a healthy copy serves", format!("{available} of {wanted} pods of stable at rest"));
        }
        if self.setting.routed && ["Stable", "Aborted"].contains(&ending.phase.as_str()) {
            let canary: u64 = routes
                .iter()
                .flat_map(|route| super::json::weights_of(route))
                .flatten()
                .filter(|(name, _)| name == "checkout-canary")
                .map(|(_, weight)| weight)
                .sum();
            // One that was out of reach keeps its weight, and both Services reach stable.
            if canary != 0 && !self.world.checks.out_of_reach {
                wrong("L01 it comes to rest", format!("the canary has weight {canary} at rest"));
            }
            for name in ["checkout-stable", "checkout-canary"] {
                let service = server.get("services", NAMESPACE, name).unwrap_or_default();
                if !service.text("/spec/selector/pod-template-hash").is_empty() {
                    wrong(
                        "L01 it comes to rest",
                        format!("{name} is pinned to {} at rest", service.text("/spec/selector/pod-template-hash")),
                    );
                }
            }
        }
        let latched = rollout.text("/status/latch/reason");
        let image = pods::image_of(&deployment);
        let bad = image.contains("errors")
            || image.contains("crash")
            || image.contains("never")
            || image.contains("missing")
            || image.contains("no-room");
        // One that is deleted and made anew knows nothing of what failed.
        let anew = did(|deed| matches!(deed, Deed::DeleteRollout(_))) && did(|deed| *deed == Deed::ApplyRollout);
        // So is what a person let roll where no policy holds it.
        // And pods that are taken away between their crashes, or that last longer than the steps, have not crashed again
        // and again.
        let spared = image.contains("crash-after15")
            || image.contains("crash") && did(|deed| matches!(deed, Deed::Evict { stable: false, .. }));
        let forced = spared
            || anew
            || self.world.unguarded
            || terms.unjudged
            || did(|deed| matches!(deed, Deed::Act("PromoteFull" | "Promote", _)));
        if ending.phase == "Stable" && bad && !forced && image != "app:v1" && self.setting.judged {
            wrong("S08 what failed is not promoted", format!("{image} serves"));
        }
        let stopped = did(|deed| matches!(deed, Deed::Act("Abort", _) | Deed::AbortInSwap));
        if ending.phase == "Aborted"
            && !bad
            && !image.contains("only")
            && !stopped
            && !matches!(latched, "AnalysisFailed" | "ProgressDeadlineExceeded")
            && (latched != "EvidenceMissing" || !terms.gives_up)
        {
            wrong("L01 it comes to rest", format!("{image} was given up for {latched}"));
        }
        if deployments::plain(&deployment["spec"]["template"])["spec"]["containers"][0]["image"]
            != template(image)["spec"]["containers"][0]["image"]
        {
            wrong("I5 of a Deployment only paused and our labels are written", "its template".to_owned());
        }
    }
}

impl Stage {
    /// An abort took the requests off the candidate at once, and a replica that ended was replaced, where nothing but people,
    /// pods and Prometheus was in the way.
    fn in_time(&self, wrong: &mut impl FnMut(&'static str, String), script: &[(u64, Deed)]) {
        let checks = &self.world.checks;
        let hampers = |deed: &Deed| {
            matches!(
                deed,
                Deed::Outage(..)
                    | Deed::Freeze(..)
                    | Deed::StallWatches(..)
                    | Deed::Rough(..)
                    | Deed::Behind(..)
                    | Deed::Deny(..)
                    | Deed::Refuse(..)
                    | Deed::Skew(..)
                    | Deed::Restore(_)
                    | Deed::Relabel(_)
                    | Deed::DeleteRoute
                    | Deed::DeleteNamespace
            )
        };
        if script.iter().any(|(_, deed)| hampers(deed)) {
            return;
        }
        if checks.longest_lease() > LONGEST_WITHOUT_LEADER && !checks.sharded {
            wrong("L06 another replica takes over", format!("nobody led for {} ms", checks.longest_lease()));
        }
        let ends = |deed: &Deed| matches!(deed, Deed::Kill(_) | Deed::Tell(_));
        if self.replicas[0].crashed() == 0
            && !script.iter().any(|(_, deed)| ends(deed))
            && checks.longest_abort > LONGEST_ABORT
        {
            wrong("L02 an abort is fast", format!("the route had weight for {} ms after it", checks.longest_abort));
        }
        let unseen = checks.longest_unseen(self.world.now());
        let late = |deed: &Deed| matches!(deed, Deed::WatchLag(..) | Deed::Blur(..));
        // What another Rollout holds does not wake this one.
        let stored = self.world.server.get("rollouts", NAMESPACE, NAME);
        let is_anothers = stored.is_some_and(|it| it.text("/status/waitingFor/0/reason") == "WorkloadClaimed");
        if self.replicas[0].crashed() == 0
            && !script.iter().any(|(_, deed)| ends(deed) || late(deed))
            && self.setting.way != Way::Straight
            && unseen > LONGEST_UNSEEN
            && !is_anothers
        {
            wrong("L04 nobody waits behind another", format!("a change was not looked at for {unseen} ms"));
        }
    }

    /// However much was released, no more is kept of it than the Deployment says, and what is on trial or was given up.
    fn bounded(&self, wrong: &mut impl FnMut(&'static str, String)) {
        let server = &self.world.server;
        let of_shop = |plural: &str| {
            let all = server.list(plural, NAMESPACE);
            all.iter().filter(|object| object.name().starts_with(NAME) && !object.is_ending()).count()
        };
        let most = usize::try_from(self.setting.history).unwrap_or(0) + 3;
        for (plural, most) in [("replicasets", most), ("controllerrevisions", 2)] {
            let count = of_shop(plural);
            if count > most {
                wrong("F32 what is kept is bounded", format!("{count} {plural}, and at most {most} are of use"));
            }
        }
    }

    /// What was put into the outbox has arrived, under the id that it had there, and nothing else has.
    fn alerts_at_the_end(&self, wrong: &mut impl FnMut(&'static str, String), script: &[(u64, Deed)]) {
        let arrived: Vec<(String, String)> = self.outside().alerts.clone();
        let promised = &self.world.checks.promised;
        for (id, event) in &arrived {
            if promised.get(id) != Some(event) {
                wrong("an alert has one delivery id", format!("{event} arrived as {id}, and the outbox has another"));
            }
        }
        // Who deletes a Rollout, or hides its receiver, is not told for ever.
        let gone = |deed: &Deed| {
            matches!(
                deed,
                Deed::DeleteRollout(_) | Deed::DropFinalizer | Deed::DeleteNamespace | Deed::Receivers { .. }
            )
        };
        if script.iter().any(|(_, deed)| gone(deed)) {
            return;
        }
        for (id, event) in promised.iter().filter(|(id, _)| !arrived.iter().any(|(known, _)| known == *id)) {
            if self.world.checks.undone.contains(id) {
                continue;
            }
            wrong("no alert is lost", format!("{event} {id} never arrived"));
        }
    }
}

/// Whether pods of this image never are, or do not stay, ready.
fn is_broken(image: &str) -> bool {
    ["crash", "never", "missing", "no-room", "only", "flaps"].iter().any(|word| image.contains(word))
}
