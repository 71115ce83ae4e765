//! The commands: each is one `RolloutAction` that says what was seen, and the operator's answer to it.
use super::{
    Command, Exit, Session,
    errors::{self, Failure, Request},
    page::revision_on_trial,
    render::plain,
};
use crate::{
    api::{Action, ActionOutcome, ActionStatus, Expect, GROUP, Rollout, RolloutAction, RolloutActionSpec},
    duration::Duration,
};
use futures::StreamExt;
use k8s_openapi::{api::authentication::v1::SelfSubjectReview, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::Instant;

/// What is commanded, and for a step, which.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What.
    pub action: Action,
    /// The step to enter.
    pub to: Option<&'a str>,
}

impl From<Action> for Wish<'_> {
    fn from(action: Action) -> Self {
        Self { action, to: None }
    }
}

/// Gives a command and waits for the answer.
pub async fn act(session: &mut Session<'_>, wish: impl Into<Wish<'_>>, command: &Command) -> anyhow::Result<Exit> {
    let wish = wish.into();
    let name = &command.name;
    let rollout = session.rollout(name).await?;
    let mut order = order(&rollout, wish, command)?;
    if let Some(user) = user(session).await {
        // A name for the decision log; the cluster replaces it by the true one where it can, else it is shown as unverified.
        order.metadata.annotations = Some([(format!("{GROUP}/by"), user)].into());
    }
    let verb = verb(wish.action);
    let to = wish.to.map_or_else(String::new, |to| format!(" {to}"));
    session.screen.say(&format!("{verb} {name}{to}{}", expectation(order.spec.expect.as_ref())))?;
    let api: Api<RolloutAction> = Api::namespaced(session.client.clone(), &session.namespace);
    let what = Request { verb: "create", resource: "rolloutactions", name: "", namespace: &session.namespace };
    let created = errors::ask(what, api.create(&PostParams::default(), &order)).await?;
    let order_name = created.name_any();
    if command.no_wait {
        if !print(session, &created)? {
            session.screen.print(&format!("rolloutaction.{GROUP}/{order_name} created"))?;
        }
        return Ok(Exit::Done);
    }
    let answered = answer(session, &api, &order_name, command.timeout).await?;
    let Some(status) = answered.status.clone().filter(|status| status.outcome.is_some()) else {
        let words = format!("the operator has not answered within {}", command.timeout);
        return Err(Failure::new(words)
            .hint(format!(
                "is it running? `kubectl get pods -A -l app.kubernetes.io/name=bellwether`; it takes {order_name} up when it runs, \
                 if the Rollout still is what you have seen"
            ))
            .exit(Exit::TimedOut)
            .into());
    };
    let printed = print(session, &answered)?;
    let ActionStatus { outcome, message } = status;
    if outcome == Some(ActionOutcome::Refused) {
        return Err(Failure::new(format!("{verb} {name} was refused: {}", plain(&message)))
            .hint(format!("`{}` shows where it stands", super::page::command("status", name, &session.flags)))
            .exit(Exit::Refused)
            .into());
    }
    if !printed {
        session.screen.print(&format!("{verb} {name}: accepted: {}", plain(&message)))?;
    }
    Ok(Exit::Done)
}

/// A command that says what was seen, for the operator to refuse it when that is no longer so.
fn order(rollout: &Rollout, wish: Wish<'_>, command: &Command) -> Result<RolloutAction, Failure> {
    let (name, action) = (&command.name, wish.action);
    let nothing = |words: String| Failure::new(words).hint("nothing was sent to the operator").exit(Exit::Refused);
    if rollout.metadata.deletion_timestamp.is_some() && action != Action::PromoteFull {
        return Err(nothing(format!("Rollout {name} is deleted, and its Deployment is being given back")));
    }
    let status = rollout.status.clone().unwrap_or_default();
    let revision = revision_on_trial(&status).map(ToOwned::to_owned);
    let step = status.step.as_ref().map(|step| step.name.clone());
    let expect = match (action, revision) {
        // Whatever the step is by now, they are meant.
        (Action::Abort | Action::Pause, Some(revision)) => Some(Expect { revision: Some(revision), step: None }),
        (Action::Abort | Action::Pause, None) => None,
        (_, Some(revision)) => Some(Expect { revision: Some(revision), step }),
        (_, None) => {
            let phase = status.phase;
            return Err(nothing(format!("no revision of {name} is on trial or given up (it is {phase:?})")));
        }
    };
    let owner = OwnerReference {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "Rollout".to_owned(),
        name: name.clone(),
        uid: rollout.uid().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    };
    Ok(RolloutAction {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-{}-", kebab(action))),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: RolloutActionSpec {
            rollout: name.clone(),
            action,
            to: wish.to.map(str::to_owned),
            expect,
            reason: command.reason.clone(),
        },
        status: None,
    })
}

fn kebab(action: Action) -> &'static str {
    match action {
        Action::Promote => "promote",
        Action::PromoteFull => "promote-full",
        Action::Abort => "abort",
        Action::Retry => "retry",
        Action::Pause => "pause",
        Action::Resume => "resume",
        Action::SetStep => "set-step",
        Action::AdoptSteps => "adopt-steps",
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::PromoteFull => "promote --full",
        action => kebab(action),
    }
}

fn expectation(expect: Option<&Expect>) -> String {
    let Some(expect) = expect else { return String::new() };
    let part = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let parts: Vec<_> =
        [part("revision", &expect.revision), part("step", &expect.step)].into_iter().flatten().collect();
    format!(" ({})", parts.join(", "))
}

/// Who we are to the cluster; none if it does not say.
async fn user(session: &Session<'_>) -> Option<String> {
    let api: Api<SelfSubjectReview> = Api::all(session.client.clone());
    let params = PostParams::default();
    let review = SelfSubjectReview::default();
    let answer = tokio::time::timeout(std::time::Duration::from_secs(5), api.create(&params, &review)).await;
    answer.ok()?.ok()?.status?.user_info?.username
}

/// The command with its answer, or as it is when the time is up.
async fn answer(
    session: &mut Session<'_>,
    api: &Api<RolloutAction>,
    name: &str,
    timeout: Duration,
) -> anyhow::Result<RolloutAction> {
    let namespace = session.namespace.clone();
    let what = Request { verb: "watch", resource: "rolloutactions", name, namespace: &namespace };
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(api.clone(), config).default_backoff().boxed();
    let deadline = Instant::now() + timeout.std();
    let mut last = None;
    loop {
        let Ok(event) = tokio::time::timeout_at(deadline, events.next()).await else {
            return match last {
                Some(action) => Ok(action),
                None => Ok(errors::ask(Request { verb: "get", ..what }, api.get(name)).await?),
            };
        };
        match event {
            Some(Ok(watcher::Event::Apply(action) | watcher::Event::InitApply(action))) => {
                let is_answered = action.status.as_ref().is_some_and(|status| status.outcome.is_some());
                last = Some(action.clone());
                if is_answered {
                    return Ok(action);
                }
            }
            Some(Ok(watcher::Event::Delete(_))) | None => {
                return Err(Failure::new(format!("{name} was deleted before it was answered")).into());
            }
            Some(Ok(watcher::Event::Init | watcher::Event::InitDone)) => {}
            Some(Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)))
                if errors::is_final(&error) =>
            {
                return Err(errors::explain(what, &error).into());
            }
            Some(Err(error)) => session.screen.say(&format!("The connection to the cluster is made again: {error}"))?,
        }
    }
}

/// Prints the command as an object, if that was asked for.
fn print(session: &mut Session<'_>, action: &RolloutAction) -> anyhow::Result<bool> {
    let Some(format) = session.objects() else { return Ok(false) };
    session.screen.object(&super::without_owners(serde_json::to_value(action)?), format)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{
        super::fake::{ACTIONS, Fake, ROLLOUTS, WHO, aborted, ago, at_rest, event, in_flight, session, text, with},
        *,
    };
    use serde_json::{Value, json};

    fn command() -> Command {
        let reason = Some("looks good".to_owned());
        Command { name: "checkout".to_owned(), reason, timeout: Duration::seconds(30), no_wait: false }
    }

    fn created() -> Value {
        json!({"apiVersion": "bellwether.dev/v1alpha1", "kind": "RolloutAction",
            "metadata": {"name": "checkout-promote-x7k2p", "namespace": "shop", "uid": "a-1", "resourceVersion": "40"},
            "spec": {"rollout": "checkout", "action": "Promote", "expect": {"revision": "tkz4bnq2xw", "step": "more"}}})
    }

    fn answered(outcome: &str, message: &str) -> Value {
        with(created(), &json!({"status": {"outcome": outcome, "message": message}}))
    }

    fn cluster(rollout: Value, events: Vec<(u64, Value)>) -> Fake {
        Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), rollout)
            .on("POST", WHO, json!({"metadata": {}, "status": {"userInfo": {"username": "jane"}}}))
            .on("POST", ACTIONS, created())
            .on_watch(ACTIONS, &[created()], events)
    }

    async fn given(cluster: &Fake, action: Action, command: &Command) -> (anyhow::Result<Exit>, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = act(&mut session(cluster, &mut out, &mut err, None), action, command).await;
        (exit, text(&out).to_owned(), text(&err).to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_says_what_was_seen_and_prints_the_answer() {
        let message = "step more is left as soon as its state is there";
        let cluster = cluster(in_flight(), vec![(2, event("MODIFIED", &answered("Accepted", message)))]);
        let (exit, out, err) = given(&cluster, Action::Promote, &command()).await;
        assert_eq!(exit.unwrap(), Exit::Done);
        assert_eq!(out, format!("promote checkout: accepted: {message}\n"));
        assert_eq!(err, "promote checkout (revision tkz4bnq2xw, step more)\n");
        assert_eq!(
            cluster.sent(&format!("POST {ACTIONS}")),
            [json!({
                "apiVersion": "bellwether.dev/v1alpha1", "kind": "RolloutAction",
                "metadata": {
                    "generateName": "checkout-promote-", "annotations": {"bellwether.dev/by": "jane"},
                    "ownerReferences": [{"apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "name": "checkout", "uid": "u-1"}]},
                "spec": {"rollout": "checkout", "action": "Promote", "reason": "looks good",
                    "expect": {"revision": "tkz4bnq2xw", "step": "more"}}})]
        );
        cluster.done();
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_has_its_own_exit_code_and_the_operators_words() {
        let refused = answered("Refused", "expected step more, and held is half");
        let cluster = cluster(in_flight(), vec![(1, event("MODIFIED", &refused))]);
        let (exit, out, _) = given(&cluster, Action::Promote, &command()).await;
        let error = exit.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!((failure.exit, out.as_str()), (Exit::Refused, ""));
        assert_eq!(failure.words, "promote checkout was refused: expected step more, and held is half");
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_nobody_answers_times_out_with_a_hint() {
        let cluster = cluster(in_flight(), vec![]);
        let (exit, ..) = given(&cluster, Action::Promote, &command()).await;
        let error = exit.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(
            (failure.exit, failure.words.as_str()),
            (Exit::TimedOut, "the operator has not answered within 30s")
        );
        assert!(failure.hint.as_deref().unwrap().contains("is it running?"), "{failure:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_waiting_the_name_is_printed() {
        let cluster = Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), in_flight())
            .refuse("POST", WHO, 404, &json!({}), "not served")
            .on("POST", ACTIONS, created());
        let (exit, out, _) = given(&cluster, Action::Promote, &Command { no_wait: true, ..command() }).await;
        assert_eq!(
            (exit.unwrap(), out.as_str()),
            (Exit::Done, "rolloutaction.bellwether.dev/checkout-promote-x7k2p created\n")
        );
        assert_eq!(
            cluster.sent(&format!("POST {ACTIONS}"))[0]["metadata"].get("annotations"),
            None,
            "unknown is not invented"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_is_named_in_the_command_and_in_what_is_said() {
        let message = "step half is entered, and its time starts anew";
        let cluster = cluster(in_flight(), vec![(1, event("MODIFIED", &answered("Accepted", message)))]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let wish = Wish { action: Action::SetStep, to: Some("half") };
        let exit = act(&mut session(&cluster, &mut out, &mut err, None), wish, &command()).await.unwrap();
        assert_eq!((exit, text(&err)), (Exit::Done, "set-step checkout half (revision tkz4bnq2xw, step more)\n"));
        assert_eq!(text(&out), format!("set-step checkout: accepted: {message}\n"));
        let sent = &cluster.sent(&format!("POST {ACTIONS}"))[0];
        assert_eq!((&sent["spec"]["action"], &sent["spec"]["to"]), (&json!("SetStep"), &json!("half")));
        assert_eq!(sent["metadata"]["generateName"], "checkout-set-step-");
        cluster.done();
    }

    #[test]
    fn what_is_expected_depends_on_the_command() {
        let expect = |rollout: Value, action| {
            let rollout = serde_json::from_value(rollout).unwrap();
            order(&rollout, Wish::from(action), &command()).map(|order| order.spec.expect)
        };
        let both = |revision: &str, step: Option<&str>| {
            Ok(Some(Expect { revision: Some(revision.to_owned()), step: step.map(str::to_owned) }))
        };
        for action in [Action::Promote, Action::PromoteFull, Action::Resume, Action::AdoptSteps] {
            assert_eq!(expect(in_flight(), action), both("tkz4bnq2xw", Some("more")), "{action:?}");
        }
        for action in [Action::Abort, Action::Pause] {
            assert_eq!(
                expect(in_flight(), action),
                both("tkz4bnq2xw", None),
                "{action:?}: whatever the step is by now"
            );
            assert_eq!(expect(at_rest(), action), Ok(None), "{action:?}: known or not");
        }
        assert_eq!(expect(aborted(), Action::Retry), both("tkz4bnq2xw", None));
        let nothing = expect(at_rest(), Action::Promote).unwrap_err();
        assert_eq!(
            (nothing.exit, nothing.words.as_str()),
            (Exit::Refused, "no revision of checkout is on trial or given up (it is Stable)")
        );
        let deleted = with(in_flight(), &json!({"metadata": {"deletionTimestamp": ago(1)}}));
        assert_eq!(expect(deleted, Action::Abort).unwrap_err().exit, Exit::Refused);
    }

    #[tokio::test(start_paused = true)]
    async fn who_lacks_the_right_is_told_which() {
        let message = "User \"jane\" cannot create resource \"rolloutactions\"";
        let cluster = Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), in_flight())
            .refuse("POST", WHO, 404, &json!({}), "not served")
            .refuse("POST", ACTIONS, 403, &json!({}), message);
        let (exit, ..) = given(&cluster, Action::Abort, &command()).await;
        assert_eq!(
            exit.unwrap_err().to_string(),
            format!("you may not create rolloutactions in namespace shop: {message}")
        );
    }
}
