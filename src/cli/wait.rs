//! Waiting for a release to be decided, from watches: which state is an end, and which only looks like one.
//!
//! A status is an answer only to what the operator had seen when it wrote it. So an end counts when the status is of the
//! newest spec and the newest Deployment, nothing is under way, and it has stayed so for a moment; and a release counts as
//! promoted only when the template that serves is the Deployment's.
use super::{
    Exit, Session,
    errors::{self, Failure, Request},
    page::summary,
    render::Screen,
};
use crate::{
    api::{HASH_LABEL, Phase, Rollout, RolloutStatus},
    duration::Duration,
};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::Value;
use std::{borrow::Cow, io, pin::Pin};
use tokio::time::Instant;

/// So long an end must stay one: the operator's looks follow each other at once while it has something to do.
const STEADY: std::time::Duration = std::time::Duration::from_secs(1);

/// What ends the waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The release is promoted, aborted or blocked.
    Decision,
    /// That, or it waits for a person.
    DecisionOrPerson,
    /// Nothing but an error.
    Never,
}

/// What is known while waiting.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The Rollout as it is.
    pub object: DynamicObject,
    /// The Rollout, understood.
    pub rollout: Rollout,
    /// The Deployment.
    pub deployment: Sight,
}

/// Whether the Deployment was seen.
#[derive(Clone, Debug)]
pub enum Sight {
    /// It has not been looked at yet.
    NotYet,
    /// There is none.
    Missing,
    /// As it is.
    There(Box<DynamicObject>),
}

impl Seen {
    /// The Deployment's generation, if it was seen.
    pub fn generation(&self) -> Option<i64> {
        match &self.deployment {
            Sight::There(deployment) => deployment.metadata.generation,
            Sight::NotYet | Sight::Missing => None,
        }
    }
}

/// How the waiting ended.
#[derive(Debug)]
pub struct Ending {
    /// What the process ends with.
    pub exit: Exit,
    /// In words.
    pub words: String,
    /// What was seen last.
    pub seen: Seen,
}

/// The end that this status is, if it is one.
///
/// `generation` is the Deployment's. Before the Deployment is held there is nothing to compare it with, and what is in the
/// way is in the way of every template.
pub fn end(rollout: &Rollout, generation: Option<i64>) -> Option<Exit> {
    let status = rollout.status.as_ref()?;
    let workload = status.workload.as_ref();
    let of_spec = status.observed_generation.is_some() && status.observed_generation == rollout.metadata.generation;
    let of_template = workload
        .is_some_and(|workload| workload.observed_generation.is_some() && workload.observed_generation == generation);
    // A phase is the last one that was reached; an effect that is under way leads to another.
    let settled = of_spec && status.intent.is_none();
    let (current, before_holding) = (settled && of_template, settled && workload.is_none());
    let gone = rollout.metadata.deletion_timestamp.is_some();
    if gone {
        return None;
    }
    let RolloutStatus { flight, latch, .. } = status;
    match status.phase {
        Phase::Stable => (current && flight.is_none() && latch.is_none()).then_some(Exit::Done),
        Phase::Aborted => (current && flight.is_none() && latch.is_some()).then_some(Exit::Aborted),
        // Where the operator cannot look, it says no more than that.
        Phase::Blocked if status.is_unseen() => of_spec.then_some(Exit::Blocked),
        Phase::Blocked | Phase::Invalid => (current || before_holding).then_some(Exit::Blocked),
        Phase::Paused | Phase::AwaitingApproval => current.then_some(Exit::WaitsForPerson),
        Phase::Initializing | Phase::Progressing | Phase::Waiting | Phase::Aborting | Phase::Promoting => None,
    }
}

fn words(exit: Exit, rollout: &Rollout) -> String {
    let title = match exit {
        Exit::Done => "the Deployment's template serves",
        Exit::Aborted => "the release was aborted",
        Exit::Blocked => "the release cannot go on until somebody changes something",
        Exit::WaitsForPerson => "the release waits for a person",
        _ => "not decided yet",
    };
    format!("{title} ({})", summary(rollout))
}

/// How what was seen is shown; called at every change and, on a terminal, every second.
pub type Show<'a> = &'a mut dyn FnMut(&mut Screen<'_>, &Seen, Timestamp) -> io::Result<()>;

/// Follows a Rollout until the goal is reached or the time is up.
///
/// # Errors
/// When the Rollout is deleted, cannot be understood, or may not be watched. A connection that is lost is made again.
pub async fn follow(
    session: &mut Session<'_>,
    rollout: Rollout,
    goal: Goal,
    timeout: Option<Duration>,
    show: Show<'_>,
) -> anyhow::Result<Ending> {
    let name = rollout.name_any();
    let deadline = timeout.map(|timeout| Instant::now() + timeout.std());
    let mut changes = changes(session, &rollout, goal);
    let mut seen: Option<Seen> = None;
    let mut since: Option<(Exit, Instant)> = None;
    let mut lost = false;
    loop {
        if let Some(seen) = &seen {
            show(&mut session.screen, seen, (session.clock)())?;
            since = steady(since, reached(seen, goal));
            if let Some((exit, at)) = since
                && at.elapsed() >= STEADY
            {
                if exit != Exit::Done || serves(session, seen).await? {
                    return Ok(Ending { exit, words: words(exit, &seen.rollout), seen: seen.clone() });
                }
                // The operator has not compared the templates yet; the next look will.
                since = None;
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let seen = match seen {
                Some(seen) => seen,
                None => Seen { object: session.object(&name).await?, rollout, deployment: Sight::NotYet },
            };
            let after = timeout.unwrap_or_default();
            let words = format!("not decided within {after} ({}){}", summary(&seen.rollout), unseen(&seen));
            return Ok(Ending { exit: Exit::TimedOut, words, seen });
        }
        // Once a second, for ages that are shown and ends that must stay.
        let wake = (Instant::now() + STEADY).min(deadline.unwrap_or_else(|| Instant::now() + STEADY));
        tokio::select! {
            biased;
            change = changes.next() => match change {
                Some(Change::Lost(error)) => {
                    if !std::mem::replace(&mut lost, true) {
                        session.screen.say(&format!("The connection to the cluster was lost and is made again: {error}"))?;
                    }
                }
                Some(Change::Refused(failure)) => return Err(failure.into()),
                Some(change) => {
                    lost = false;
                    seen = Some(apply(seen, change, &rollout, &name)?);
                }
                None => return Err(Failure::new("the watch ended by itself").into()),
            },
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

fn reached(seen: &Seen, goal: Goal) -> Option<Exit> {
    let end = end(&seen.rollout, seen.generation())?;
    match goal {
        Goal::Never => None,
        Goal::Decision if end == Exit::WaitsForPerson => None,
        Goal::Decision | Goal::DecisionOrPerson => Some(end),
    }
}

fn steady(since: Option<(Exit, Instant)>, end: Option<Exit>) -> Option<(Exit, Instant)> {
    let end = end?;
    since.filter(|(exit, _)| *exit == end).or_else(|| Some((end, Instant::now())))
}

/// Why nothing came, when nothing did.
fn unseen(seen: &Seen) -> &'static str {
    let status = seen.rollout.status.as_ref();
    let looked = status.is_some_and(|status| status.observed_generation == seen.rollout.metadata.generation);
    let looked_at =
        status.and_then(|status| status.workload.as_ref()).and_then(|workload| workload.observed_generation);
    match &seen.deployment {
        Sight::Missing => "; there is no such Deployment",
        _ if status.is_none() => "; is it running?",
        _ if !looked => "; the operator has not looked at the newest spec: is it running?",
        Sight::There(deployment) if looked_at.is_some() && looked_at != deployment.metadata.generation => {
            "; the operator has not looked at the newest change of the Deployment: is it running?"
        }
        _ => "",
    }
}

/// What a watch brought.
enum Change {
    Rollout(Option<Box<DynamicObject>>),
    Deployment(Option<Box<DynamicObject>>),
    Lost(watcher::Error),
    Refused(Failure),
}

fn apply(seen: Option<Seen>, change: Change, first: &Rollout, name: &str) -> Result<Seen, Failure> {
    let deployment = |seen: Option<&Seen>| seen.map_or(Sight::NotYet, |seen| seen.deployment.clone());
    match change {
        Change::Rollout(Some(object)) if object.metadata.uid == first.metadata.uid => {
            let deployment = deployment(seen.as_ref());
            Ok(Seen { rollout: super::understood_in_part(&object)?.0, object: *object, deployment })
        }
        Change::Rollout(_) => Err(Failure::new(format!("Rollout {name} was deleted"))),
        Change::Deployment(found) => {
            let deployment = found.map_or(Sight::Missing, Sight::There);
            let seen = seen.map_or_else(|| first_sight(first), Ok)?;
            Ok(Seen { deployment, ..seen })
        }
        Change::Lost(_) | Change::Refused(_) => seen.map_or_else(|| first_sight(first), Ok),
    }
}

/// The Rollout as it was read before the watch began.
fn first_sight(rollout: &Rollout) -> Result<Seen, Failure> {
    let object = serde_json::to_value(rollout).and_then(serde_json::from_value);
    let object = object.map_err(|error| Failure::new(format!("the Rollout cannot be shown: {error}")))?;
    Ok(Seen { object, rollout: rollout.clone(), deployment: Sight::NotYet })
}

/// What changes of a Rollout and, where an end is waited for, of its Deployment.
fn changes(session: &Session<'_>, rollout: &Rollout, goal: Goal) -> Pin<Box<dyn Stream<Item = Change> + Send>> {
    let (name, workload) = (rollout.name_any(), &rollout.spec.workload_ref.name);
    let rollouts = watch(session.rollouts(), &name, ("rollouts", session), Change::Rollout);
    if goal == Goal::Never {
        return rollouts;
    }
    let deployments = watch(session.deployments(), workload, ("deployments", session), Change::Deployment);
    stream::select(rollouts, deployments).boxed()
}

fn watch(
    api: Api<DynamicObject>,
    name: &str,
    (resource, session): (&'static str, &Session<'_>),
    change: fn(Option<Box<DynamicObject>>) -> Change,
) -> Pin<Box<dyn Stream<Item = Change> + Send>> {
    let (namespace, name) = (session.namespace.clone(), name.to_owned());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(api, config)
        .default_backoff()
        // Whether the object was there in this list: a watch that begins anew does not say what went away meanwhile.
        .scan(false, |there, event| {
            match &event {
                Ok(watcher::Event::Init) => *there = false,
                Ok(watcher::Event::InitApply(_)) => *there = true,
                _ => {}
            }
            futures::future::ready(Some((*there, event)))
        })
        .filter_map(move |(there, event)| {
            let what = Request { verb: "watch", resource, name: &name, namespace: &namespace };
            let change = match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    Some(change(Some(Box::new(object))))
                }
                Ok(watcher::Event::Delete(_)) => Some(change(None)),
                Ok(watcher::Event::InitDone) => (!there).then(|| change(None)),
                Ok(watcher::Event::Init) => None,
                Err(error) => Some(troubled(what, error)),
            };
            futures::future::ready(change)
        })
        .boxed()
}

/// Whether a watch that failed will be tried again.
fn troubled(what: Request<'_>, error: watcher::Error) -> Change {
    match &error {
        watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source)
            if errors::is_final(source) =>
        {
            Change::Refused(errors::explain(what, source))
        }
        _ => Change::Lost(error),
    }
}

/// The Deployment's generation, for a person's eyes; none if it cannot be had.
pub async fn generation(session: &Session<'_>, name: &str) -> Option<i64> {
    let patience = std::time::Duration::from_secs(5);
    let answer = tokio::time::timeout(patience, session.deployments().get_metadata(name)).await;
    answer.ok()?.ok()?.metadata.generation
}

/// Whether the template that serves is the Deployment's: compared, both as the cluster has them, without the hash label.
async fn serves(session: &Session<'_>, seen: &Seen) -> Result<bool, Failure> {
    let Sight::There(deployment) = &seen.deployment else { return Ok(false) };
    let status = seen.rollout.status.as_ref();
    let stable =
        status.and_then(|status| status.workload.as_ref()).and_then(|workload| workload.stable_replica_set.as_deref());
    let Some(name) = stable else { return Ok(false) };
    let resource: ApiResource = super::resource("apps", "v1", "ReplicaSet", "replicasets");
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), &session.namespace, &resource);
    let what = Request { verb: "get", resource: "replicasets", name, namespace: &session.namespace };
    let Some(stable) = errors::find(what, &api).await? else { return Ok(false) };
    let template = |object: &'_ DynamicObject| object.data["spec"]["template"].clone();
    Ok(unhashed(&template(&stable)) == unhashed(&template(deployment)))
}

fn unhashed(template: &Value) -> Cow<'_, Value> {
    let mut template = Cow::Borrowed(template);
    if template.pointer("/metadata/labels").is_some_and(|labels| labels.get(HASH_LABEL).is_some())
        && let Some(labels) = template.to_mut().pointer_mut("/metadata/labels").and_then(Value::as_object_mut)
    {
        labels.remove(HASH_LABEL);
    }
    template
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fake::{
                DEPLOYMENTS, Fake, ROLLOUTS, SETS, aborted, ago, at_rest, deployment, event, in_flight, replica_set,
                session, text, with,
            },
            status,
        },
        *,
    };
    use serde_json::json;

    fn end_of(rollout: Value, generation: i64) -> Option<Exit> {
        end(&serde_json::from_value(rollout).unwrap(), Some(generation))
    }

    #[test]
    fn every_phase_has_its_exit_code() {
        let in_phase = |phase: &str| end_of(with(in_flight(), &json!({"status": {"phase": phase}})), 9);
        for phase in ["Initializing", "Progressing", "Waiting", "Aborting", "Promoting"] {
            assert_eq!(in_phase(phase), None, "{phase}");
        }
        for phase in ["Paused", "AwaitingApproval"] {
            assert_eq!(in_phase(phase), Some(Exit::WaitsForPerson), "{phase}");
        }
        for phase in ["Blocked", "Invalid"] {
            assert_eq!(in_phase(phase), Some(Exit::Blocked), "{phase}");
        }
        assert_eq!(end_of(at_rest(), 7), Some(Exit::Done));
        assert_eq!(end_of(aborted(), 9), Some(Exit::Aborted));
    }

    #[test]
    fn a_push_that_the_operator_has_not_seen_is_no_end() {
        for rollout in [at_rest(), aborted(), with(in_flight(), &json!({"status": {"phase": "Blocked"}}))] {
            let seen = rollout["status"]["workload"]["observedGeneration"].as_i64().unwrap();
            assert!(end_of(rollout.clone(), seen).is_some());
            assert_eq!(end_of(rollout.clone(), seen + 1), None);
            assert_eq!(end_of(with(rollout, &json!({"metadata": {"generation": 4}})), seen), None, "nor a spec");
        }
    }

    #[test]
    fn a_phase_that_is_about_to_change_is_no_end() {
        let intent = json!({"status": {"intent": {"action": "pause", "object": "Deployment/checkout", "epoch": 1}}});
        assert_eq!(end_of(with(at_rest(), &intent), 7), None, "an effect is under way");
        let flight = json!({"status": {"flight": in_flight()["status"]["flight"]}});
        assert_eq!(end_of(with(at_rest(), &flight), 7), None, "a trial has begun under the old phase");
        assert_eq!(end_of(with(aborted(), &json!({"status": {"latch": null}})), 9), None, "it is tried again");
        assert_eq!(end_of(with(at_rest(), &json!({"metadata": {"deletionTimestamp": ago(1)}})), 7), None);
    }

    #[test]
    fn what_blocks_before_the_deployment_is_held_is_an_end() {
        let rollout = with(at_rest(), &json!({"status": {"phase": "Blocked", "workload": null}}));
        assert_eq!(end_of(rollout, 42), Some(Exit::Blocked));
    }

    /// What `status --wait` ends with, prints and says.
    async fn waited(cluster: &Fake, goal: Goal, timeout: u64) -> (anyhow::Result<Exit>, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut session = session(cluster, &mut out, &mut err, None);
        let exit = status::wait(&mut session, "checkout", Duration::seconds(timeout), goal).await;
        (exit, text(&out).to_owned(), text(&err).to_owned())
    }

    fn cluster(first: &Value, rollouts: Vec<(u64, Value)>, deployment: &Value) -> Fake {
        Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), first.clone())
            .on_watch(ROLLOUTS, std::slice::from_ref(first), rollouts)
            .on_watch(DEPLOYMENTS, std::slice::from_ref(deployment), vec![])
    }

    fn modified(rollout: &Value) -> Value {
        event("MODIFIED", rollout)
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_is_followed_to_its_promotion() {
        let promoted = with(
            at_rest(),
            &json!({"status": {"workload": {"observedGeneration": 9, "stableReplicaSet": "checkout-tkz4bnq2xw"}}}),
        );
        let pushed = with(at_rest(), &json!({"status": {"workload": {"observedGeneration": 8}}}));
        let cluster = cluster(
            &pushed,
            vec![(5, modified(&in_flight())), (60, modified(&promoted))],
            &deployment(9, "app:2"),
        )
        .on("GET", format!("{SETS}/checkout-tkz4bnq2xw"), replica_set("tkz4bnq2xw", "app:2"));
        let (exit, out, err) = waited(&cluster, Goal::Decision, 600).await;
        assert_eq!(exit.unwrap(), Exit::Done, "{err}");
        assert!(out.starts_with("Rollout shop/checkout: Stable\n"), "{out}");
        assert_eq!(
            err,
            "\
checkout: Stable: one revision serves and none is on trial
checkout: Progressing: step more at 20 %: watched for 63s of 5m
checkout: Stable: one revision serves and none is on trial
checkout: the Deployment's template serves (Stable: one revision serves and none is on trial)
"
        );
        cluster.done();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stable_status_whose_template_is_another_is_not_done() {
        let cluster = (0..4).fold(cluster(&at_rest(), vec![], &deployment(7, "app:2")), |cluster, _| {
            cluster.on("GET", format!("{SETS}/checkout-6c9f7d5b44"), replica_set("6c9f7d5b44", "app:1"))
        });
        let (exit, _, err) = waited(&cluster, Goal::Decision, 3).await;
        assert_eq!(exit.unwrap(), Exit::TimedOut, "{err}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_abort_has_its_own_exit_code() {
        let cluster = cluster(&in_flight(), vec![(9, modified(&aborted()))], &deployment(9, "app:2"));
        let (exit, out, err) = waited(&cluster, Goal::Decision, 600).await;
        assert_eq!(exit.unwrap(), Exit::Aborted);
        assert!(out.contains("Given up    tkz4bnq2xw"), "{out}");
        assert!(err.ends_with("checkout: the release was aborted (Aborted: AnalysisFailed: errors: 4.1 % against 0.4 %; stable serves, and the Deployment is held until its template changes or somebody says Retry)\n"), "{err}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_that_goes_away_at_once_is_not_an_end() {
        let blocked = with(in_flight(), &json!({"status": {"phase": "Blocked"}}));
        let events = vec![(5, modified(&blocked)), (0, modified(&in_flight())), (5, modified(&aborted()))];
        let cluster = cluster(&in_flight(), events, &deployment(9, "app:2"));
        assert_eq!(waited(&cluster, Goal::Decision, 600).await.0.unwrap(), Exit::Aborted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_is_waited_for_unless_that_is_to_end_it() {
        let approval = with(in_flight(), &json!({"status": {"phase": "AwaitingApproval"}}));
        let asked = |goal| {
            let cluster = cluster(&approval, vec![], &deployment(9, "app:2"));
            async move { waited(&cluster, goal, 60).await.0.unwrap() }
        };
        assert_eq!(asked(Goal::Decision).await, Exit::TimedOut);
        assert_eq!(asked(Goal::DecisionOrPerson).await, Exit::WaitsForPerson);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_out_says_that_nobody_looked() {
        let cluster = cluster(&at_rest(), vec![], &deployment(8, "app:2"));
        let (exit, _, err) = waited(&cluster, Goal::Decision, 60).await;
        assert_eq!(exit.unwrap(), Exit::TimedOut);
        assert!(err.contains("not decided within 1m (Stable: one revision serves and none is on trial); the operator has not looked at the newest change of the Deployment: is it running?"), "{err}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollout_that_is_deleted_ends_the_waiting() {
        let cluster = cluster(&in_flight(), vec![(1, event("DELETED", &in_flight()))], &deployment(9, "app:2"));
        let (exit, ..) = waited(&cluster, Goal::Decision, 60).await;
        assert_eq!(exit.unwrap_err().to_string(), "Rollout checkout was deleted");
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_not_watch_is_told_so_at_once() {
        let cluster = Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), in_flight())
            .on_watch(ROLLOUTS, &[in_flight()], vec![])
            .refuse("GET", DEPLOYMENTS, 403, &json!({}), "no");
        let (exit, ..) = waited(&cluster, Goal::Decision, 60).await;
        assert_eq!(exit.unwrap_err().to_string(), "you may not watch deployments/checkout in namespace shop: no");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_gets_one_line_per_change() {
        let later = with(in_flight(), &json!({"status": {"message": "step more at 20 %: watched for 68s of 5m"}}));
        let events = vec![(5, modified(&later)), (5, modified(&later)), (5, modified(&aborted()))];
        let cluster = cluster(&in_flight(), events, &deployment(9, "app:2"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut session = session(&cluster, &mut out, &mut err, None);
        assert_eq!(status::watch(&mut session, "checkout", Goal::Decision).await.unwrap(), Exit::Aborted);
        let lines: Vec<_> = text(&out).lines().map(|line| line.chars().take(75).collect::<String>()).collect();
        assert_eq!(
            lines,
            [
                "2026-11-21T08:00:00Z   checkout   Progressing: step more at 20 %: watched f",
                "2026-11-21T08:00:00Z   checkout   Progressing: step more at 20 %: watched f",
                "2026-11-21T08:00:00Z   checkout   Aborted: AnalysisFailed: errors: 4.1 % ag",
            ]
        );
    }
}
