//! Planted mistakes: the proof of the proof. Each was, or could have been, made in the decision or in what it is told; the
//! stories must find every one.
use super::{
    stage::{Policy, SECRET},
    story::Story,
    swarm,
};
use crate::{
    api::{HASH_LABEL, Phase},
    cluster::{Tamper, lease::Move},
    metrics::Seen,
    plan::{Belt, Claim, Effect, Found, Measured, Observed, Plan, Target, same_template},
    traffic::{Acceptance, Apart, RouteSeen, Weights},
    vocab::{Verdict, Weight},
};
use k8s_openapi::{
    api::coordination::v1::LeaseSpec,
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

type BeforeDecision = fn(&mut Observed);
type AfterDecision = fn(&Observed, &mut Plan);

/// One mistake.
#[derive(Clone, Copy)]
struct Mistake {
    name: &'static str,
    /// The plots in which it shows.
    plots: &'static [&'static str],
    seen: BeforeDecision,
    decided: AfterDecision,
}

impl std::fmt::Debug for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Tamper for Mistake {
    fn seen(&self, seen: &mut Observed) {
        (self.seen)(seen);
    }

    fn decided(&self, seen: &Observed, plan: &mut Plan) {
        (self.decided)(seen, plan);
    }
}

/// A copy is trusted for so long.
const OLD: jiff::SignedDuration = jiff::SignedDuration::from_secs(12);

/// What was seen a while ago is taken for what is.
#[derive(Debug, Default)]
struct Stale(Mutex<Option<Observed>>);

impl Tamper for Stale {
    fn seen(&self, seen: &mut Observed) {
        let fresh = seen.clone();
        let mut last = self.0.lock().unwrap();
        if let Some(old) = last.as_ref().filter(|old| old.rollout.metadata.uid == fresh.rollout.metadata.uid) {
            seen.pods.clone_from(&old.pods);
            seen.replica_sets.clone_from(&old.replica_sets);
            seen.routes.clone_from(&old.routes);
            seen.stable_service.clone_from(&old.stable_service);
            seen.canary_service.clone_from(&old.canary_service);
            seen.measured = old.measured.clone();
            // A write of what was read stays one: the version is today's.
            for set in &mut seen.replica_sets {
                if let Some(today) = fresh.replica_sets.iter().find(|today| today.uid == set.uid) {
                    set.resource_version.clone_from(&today.resource_version);
                }
            }
        }
        if last.as_ref().is_none_or(|last| fresh.now.duration_since(last.now) > OLD) {
            *last = Some(fresh);
        }
    }

    fn decided(&self, _: &Observed, _: &mut Plan) {}
}

/// A leader goes on after its Lease was lost.
#[derive(Debug)]
struct Outstays;

impl Tamper for Outstays {
    fn seen(&self, _: &mut Observed) {}

    fn decided(&self, _: &Observed, _: &mut Plan) {}

    fn outstays(&self) -> bool {
        true
    }
}

/// A replica takes a Lease for expired by the time that stands in it and its own clock.
#[derive(Debug)]
struct WallClock;

impl Tamper for WallClock {
    fn seen(&self, _: &mut Observed) {}

    fn decided(&self, _: &Observed, _: &mut Plan) {}

    fn lease(&self, lease: Option<&LeaseSpec>, next: Move, now: jiff::Timestamp) -> Move {
        let renewed = lease.and_then(|lease| lease.renew_time.as_ref());
        let time = lease.and_then(|lease| lease.lease_duration_seconds).map_or(0, i64::from);
        let is_held =
            lease.is_some_and(|lease| lease.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty()));
        match (next, renewed) {
            (Move::Yield | Move::Acquire, Some(renewed)) if is_held => {
                if now.duration_since(renewed.0).as_secs() > time { Move::Acquire } else { Move::Yield }
            }
            _ => next,
        }
    }
}

fn nothing(_: &mut Observed) {}
fn as_decided(_: &Observed, _: &mut Plan) {}

fn candidate(seen: &Observed) -> Option<String> {
    seen.rollout.status.as_ref()?.flight.as_ref().map(|flight| flight.candidate.clone())
}

fn promoting(seen: &Observed) -> bool {
    let flight = seen.rollout.status.as_ref().and_then(|status| status.flight.as_ref());
    flight.is_some_and(|flight| flight.promotion.is_some())
}

/// The routes look as if they had this weight.
fn pretend(seen: &mut Observed, weight: Weight) {
    for route in &mut seen.routes {
        if let Found::Object { seen, .. } = &mut route.found {
            *seen = Ok(RouteSeen { weight: Weights::At(weight), apart: Apart::default(), accepted: Acceptance::Yes });
        }
    }
}

/// The metrics look as if all had this verdict.
fn judged(seen: &mut Observed, from: Verdict, to: Verdict) {
    if let Measured::Read { metrics, .. } = &mut seen.measured {
        for (_, one) in metrics.iter_mut().filter(|(_, one)| one.verdict == from) {
            *one = Seen { verdict: to, usable: true, invalid: None, no_requests: false, ..one.clone() };
        }
    }
}

fn target_of(seen: &Observed, name: &str) -> Option<Target> {
    let set = seen.replica_set(name)?;
    let (name, uid, resource_version) = (set.name.clone(), set.uid.clone(), set.resource_version.clone());
    Some(Target { name, uid, resource_version })
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "an abort does not latch",
        plots: &["bad", "broken"],
        seen: nothing,
        decided: |_, plan| plan.status.latch = None,
    },
    Mistake {
        name: "weight before ready",
        plots: &["good", "broken"],
        seen: |seen| {
            let Some(name) = candidate(seen) else { return };
            let hash = seen.replica_set(&name).map(|set| set.hash.clone()).unwrap_or_default();
            let of_hash = seen.pods.iter_mut().filter(|pod| pod.hash == hash);
            let names = of_hash.map(|pod| {
                pod.ready = true;
                pod.name.clone()
            });
            let names = names.collect();
            if let Some(service) = seen.canary_service.as_mut().filter(|service| service.hash() == Some(&hash)) {
                service.endpoints = names;
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "a selector is moved under weight",
        plots: &["good"],
        seen: |seen| {
            if promoting(seen) {
                pretend(seen, Weight::FULL);
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "requests return before the stable Service has moved",
        plots: &["good"],
        seen: nothing,
        decided: |_, plan| {
            if let Some(promotion) = plan.status.flight.as_mut().and_then(|flight| flight.promotion.as_mut()) {
                (promotion.moved, promotion.home) = (true, true);
            }
        },
    },
    Mistake {
        name: "candidate in before old stable out",
        plots: &["good"],
        seen: |seen| {
            let flight = seen.rollout.status.as_ref().and_then(|status| status.flight.as_ref());
            let from =
                flight.and_then(|flight| flight.promotion.as_ref()).filter(|it| it.home).map(|it| it.from.clone());
            if let Some(from) = from {
                seen.replica_sets.retain(|set| set.name != from);
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "a template is unpaused before the candidate is in",
        plots: &["good", "bad"],
        seen: nothing,
        decided: |_, plan| {
            if let Some(Effect::CreateCandidate { deployment, .. }) = &plan.effect {
                plan.effect = Some(Effect::Pause { deployment: deployment.clone(), paused: false });
            }
        },
    },
    Mistake {
        name: "pods end under traffic",
        plots: &["bad", "newer", "revert"],
        seen: nothing,
        decided: |seen, plan| {
            if let (Some(Effect::SetWeights { split, .. }), Some(name)) = (&plan.effect, candidate(seen))
                && split.is_none()
                && let Some(set) = target_of(seen, &name)
            {
                plan.effect = Some(Effect::Scale { set, replicas: 0 });
            }
        },
    },
    Mistake {
        name: "unknown is a pass",
        plots: &["blind"],
        seen: |seen| {
            judged(seen, Verdict::Unknown, Verdict::Pass);
            if matches!(seen.measured, Measured::NotYet | Measured::NoProvider(_)) {
                seen.measured = Measured::Read { at: seen.now, metrics: Vec::new() };
            }
        },
        decided: |_, plan| {
            // The status goes on saying what was measured.
            for metric in &mut plan.status.metrics {
                metric.verdict = Verdict::Unknown;
            }
        },
    },
    Mistake {
        name: "a failure is a pass",
        plots: &["bad"],
        seen: |seen| judged(seen, Verdict::Fail, Verdict::Pass),
        decided: as_decided,
    },
    Mistake {
        name: "the data plane is given no time",
        plots: &["good", "bad", "slow"],
        seen: |seen| {
            let flight = seen.rollout.status.as_mut().and_then(|status| status.flight.as_mut());
            if let Some(settling) = flight.and_then(|flight| flight.settling.as_mut()) {
                settling.since = MicroTime(jiff::Timestamp::UNIX_EPOCH);
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "a step begins again at every look",
        plots: &["good"],
        seen: nothing,
        decided: |seen, plan| {
            if let Some(step) = plan.status.step.as_mut().filter(|_| seen.now.as_second() % 7 == 0) {
                step.started_at = Some(Time(seen.now));
            }
        },
    },
    Mistake {
        name: "a step is left out",
        plots: &["good"],
        seen: nothing,
        decided: |_, plan| {
            let steps = plan.status.flight.as_ref().map_or(0, |flight| flight.steps.len());
            if let Some(step) = plan.status.step.as_mut().filter(|step| step.index == 1 && steps > 2) {
                step.index = 2;
            }
        },
    },
    Mistake {
        name: "a step's time is not waited for",
        plots: &["unjudged"],
        seen: nothing,
        decided: |_, plan| {
            if let Some(step) = plan.status.step.as_mut() {
                step.observed_seconds = 3_600;
            }
        },
    },
    Mistake {
        name: "the finalizer goes first",
        plots: &["deleted"],
        seen: nothing,
        decided: |seen, plan| {
            if seen.rollout.metadata.deletion_timestamp.is_some() {
                plan.effect = Some(Effect::Finalize { present: false });
            }
        },
    },
    Mistake {
        name: "a deletion is not looked at",
        plots: &["deleted"],
        seen: |seen| seen.rollout.metadata.deletion_timestamp = None,
        decided: as_decided,
    },
    Mistake {
        name: "everything at once",
        plots: &["good"],
        seen: nothing,
        decided: |_, plan| {
            if let Some(Effect::SetWeights { split, .. }) = &mut plan.effect
                && split.weight > Weight::ZERO
            {
                split.weight = Weight::FULL;
            }
        },
    },
    Mistake {
        name: "what was given up is tried again unasked",
        plots: &["bad", "broken"],
        seen: |seen| {
            if let Some(status) = seen.rollout.status.as_mut().filter(|status| status.phase == Phase::Aborted) {
                status.latch = None;
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "the Deployment's own ReplicaSet is scaled",
        plots: &["good", "bad"],
        seen: nothing,
        decided: |seen, plan| {
            if let Some(Effect::CreateCandidate { .. }) = &plan.effect
                && let Some(set) = seen.controlled().next()
                && let Some(target) = target_of(seen, &set.name)
            {
                plan.effect = Some(Effect::Scale { set: target, replicas: set.replicas + 1 });
            }
        },
    },
    Mistake {
        name: "what is taken out keeps the Deployment's labels",
        plots: &["good"],
        seen: nothing,
        decided: |_, plan| {
            if let Some(Effect::TakeOut { labels, .. }) = &mut plan.effect {
                labels.clear();
            }
        },
    },
    Mistake {
        name: "a Service stays where it was",
        plots: &["bad", "revert"],
        seen: |seen| {
            let latched = seen.rollout.status.as_ref().is_some_and(|status| status.latch.is_some());
            if let Some(service) = seen.canary_service.as_mut().filter(|_| latched) {
                service.selector.remove(HASH_LABEL);
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "the Deployment is never released",
        plots: &["good", "revert"],
        seen: |seen| {
            let held = seen.rollout.status.as_ref().is_some_and(crate::api::RolloutStatus::is_held);
            if held && seen.belt == Belt::Armed {
                seen.belt = Belt::NotYet;
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "promoted with too few pods",
        plots: &["good"],
        seen: |seen| {
            if promoting(seen)
                && let Some(deployment) = &mut seen.deployment
            {
                deployment.replicas = 1;
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "a candidate of another name at every look",
        plots: &["good"],
        seen: nothing,
        decided: |seen, plan| {
            if let Some(Effect::Scale { set, .. }) = &plan.effect
                && Some(&set.name) == candidate(seen).as_ref()
                && let (Some(deployment), Some(known)) = (&seen.deployment, seen.replica_set(&set.name))
                && seen.ours().count() < 4
            {
                let revision = format!("again{}", seen.replica_sets.len());
                plan.effect = Some(Effect::CreateCandidate {
                    name: format!("{}-{revision}", deployment.name),
                    replicas: 0,
                    revision,
                    template: known.template.clone(),
                    selector: deployment.selector.clone(),
                    min_ready_seconds: 0,
                    deployment: Target {
                        name: deployment.name.clone(),
                        uid: deployment.uid.clone(),
                        resource_version: deployment.resource_version.clone(),
                    },
                });
            }
        },
    },
    Mistake {
        name: "an alert has another name at every look",
        plots: &["bad", "good"],
        seen: nothing,
        decided: |seen, plan| {
            for alert in &mut plan.status.alerts {
                alert.id = format!("{}{}", alert.id.chars().take(20).collect::<String>(), seen.now.as_millisecond());
            }
        },
    },
    Mistake {
        name: "a status grows with every look",
        plots: &["good", "bad"],
        seen: nothing,
        decided: |_, plan| {
            if let Some(last) = plan.status.decisions.last().cloned() {
                plan.status.decisions.push(last);
            }
        },
    },
    Mistake {
        name: "another Rollout's claim is not looked at",
        plots: &["rivals"],
        seen: |seen| {
            if let Some(deployment) = &mut seen.deployment {
                deployment.claim = Claim::Ours;
            }
            for route in &mut seen.routes {
                if let Found::Object { claim, .. } = &mut route.found {
                    *claim = Claim::Ours;
                }
            }
            for service in seen.stable_service.iter_mut().chain(&mut seen.canary_service) {
                service.ours = true;
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "history is left with the Deployment",
        plots: &["history"],
        // What has no pods is not looked at, when a Deployment is taken over and after.
        seen: |seen| {
            let Some(deployment) = &seen.deployment else { return };
            let (uid, template) = (deployment.uid.clone(), deployment.template.clone());
            let stable = seen.rollout.status.as_ref().and_then(|status| status.workload.as_ref());
            let stable = stable.and_then(|workload| workload.stable_replica_set.clone());
            seen.replica_sets.retain(|set| {
                let serves = match &stable {
                    Some(stable) => *stable == set.name,
                    None => same_template(&set.template, &template),
                };
                set.controller.as_ref() != Some(&uid) || !set.is_empty() || serves
            });
        },
        decided: as_decided,
    },
    Mistake {
        name: "a Deployment is taken for held by a policy that is not there",
        plots: &["unguarded"],
        seen: |seen| {
            if seen.belt == Belt::Absent {
                seen.belt = Belt::Armed;
            }
        },
        decided: as_decided,
    },
    Mistake {
        name: "what serves is taken out and nothing put in its place",
        plots: &["good", "bad"],
        seen: nothing,
        decided: |seen, plan| {
            if let (Some(Effect::CreateCandidate { .. }), Some(deployment)) = (&plan.effect, &seen.deployment)
                && let Some(set) = seen.controlled().next()
                && let Some(target) = target_of(seen, &set.name)
            {
                plan.effect = Some(Effect::TakeOut {
                    set: target,
                    labels: set.labels.clone(),
                    revision: set.hash.clone(),
                    deployment: Target {
                        name: deployment.name.clone(),
                        uid: deployment.uid.clone(),
                        resource_version: deployment.resource_version.clone(),
                    },
                });
            }
        },
    },
    Mistake {
        name: "a candidate is owned by the Rollout alone",
        plots: &["good"],
        seen: nothing,
        decided: |seen, plan| {
            if let Some(Effect::CreateCandidate { deployment, .. }) = &mut plan.effect {
                deployment.uid = seen.rollout.metadata.uid.clone().unwrap_or_default();
            }
        },
    },
    Mistake {
        name: "what is handed in gets an annotation of ours",
        plots: &["good"],
        seen: nothing,
        decided: |_, plan| {
            if let Some(Effect::HandIn { annotations, .. }) = &mut plan.effect {
                annotations.insert("bellwether.dev/promoted".to_owned(), "true".to_owned());
            }
        },
    },
    Mistake {
        name: "a Secret is told",
        plots: &["good"],
        seen: nothing,
        decided: |_, plan| plan.status.message = format!("told with {}", SECRET.0),
    },
    Mistake {
        name: "every look writes",
        plots: &["good", "bad"],
        seen: nothing,
        decided: |seen, plan| {
            plan.status.message = format!("looked at {}", seen.now.as_millisecond());
            plan.look_again = jiff::SignedDuration::from_millis(100);
        },
    },
    Mistake {
        name: "an abort takes its time",
        plots: &["bad"],
        seen: nothing,
        decided: |seen, plan| {
            if plan.status.latch.is_some()
                && matches!(&plan.effect, Some(Effect::SetWeights { split, .. }) if split.weight == Weight::ZERO)
                && seen.now.as_second() % 20 > 1
            {
                plan.effect = None;
                plan.look_again = jiff::SignedDuration::from_secs(1);
            }
        },
    },
    Mistake {
        name: "old pods are never ended",
        plots: &["bad", "revert", "good"],
        seen: nothing,
        decided: |_, plan| {
            if matches!(&plan.effect, Some(Effect::Scale { replicas: 0, .. })) {
                plan.effect = None;
                plan.look_again = jiff::SignedDuration::from_secs(5);
            }
        },
    },
];

fn plotted(plot: &str, seed: u64) -> Story {
    match plot {
        "blind" => {
            let mut story = swarm::with_fault("good", "F15 prom-down", seed);
            story.setting.judged = true;
            story.script.retain(|(at, _)| *at == 0);
            story.script.push((12_000, super::deeds::Deed::Prometheus(super::world::prometheus::Mood::Empty)));
            story
        }
        "slow" => {
            let mut story = swarm::plotted("good", seed);
            story.setting.weather.plane = (1_500, 2_500);
            story
        }
        "paused leader" => swarm::with_fault("good", "F13 split-brain", seed),
        "wrong clock" => swarm::with_fault("good", "F14 clock-skew", seed),
        "unguarded" => {
            let mut story = swarm::plotted("good", seed);
            story.setting.policies = Policy::None;
            story
        }
        "unjudged" => swarm::plotted("good", seed),
        plot => swarm::plotted(plot, seed),
    }
}

/// So many stories a mistake may take.
const STORIES: u64 = 24;

/// With how many stories a mistake is found, and what it breaks first, or none.
fn found(plots: &[&str], tamper: &Arc<dyn Tamper>) -> Option<(u64, &'static str)> {
    (1..=STORIES).find_map(|at| {
        let plot = plots[usize::try_from(at).unwrap() % plots.len()];
        let mut story = plotted(plot, 9_000 + at);
        // The plain settings show most: routes, policies, judgement.
        (story.setting.routed, story.setting.judged) = (true, plot != "unjudged");
        story.setting.replicas = story.setting.replicas.max(3);
        let broken = story.tell(Some(tamper.clone())).violations.into_iter().next();
        broken.map(|violation| (at, violation.rule))
    })
}

#[test]
fn every_planted_mistake_is_found() {
    let stale: Arc<dyn Tamper> = Arc::new(Stale::default());
    let plots: &[&str] = &["good", "bad", "newer", "revert", "scaled"];
    let mut all: Vec<(&str, &[&str], Arc<dyn Tamper>)> = vec![
        ("yesterday's copy is trusted", plots, stale),
        ("a leader goes on without its Lease", &["paused leader"], Arc::new(Outstays)),
        ("a Lease is over by the wall clock", &["wrong clock"], Arc::new(WallClock)),
    ];
    all.extend(MISTAKES.iter().map(|it| (it.name, it.plots, Arc::new(*it) as Arc<dyn Tamper>)));
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((name, plots, tamper)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some((stories, rule)) = found(plots, tamper) {
                        println!("{name}: found with {stories} stories, by {rule}");
                    } else {
                        println!("{name}: NOT FOUND");
                        missed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    assert!(missed.lock().unwrap().is_empty(), "{missed:?}");
}
