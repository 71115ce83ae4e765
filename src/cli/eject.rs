//! `eject`: Deployments are given back by deleting Rollouts, and it is done when they are gone.
use super::{
    Eject, Exit, Session,
    errors::{self, Failure, Request, full_name},
    page::revision_on_trial,
    render::{Answer, line, plain},
};
use crate::{
    api::{OnDelete, Rollout},
    duration::Duration,
};
use futures::{StreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};
use tokio::time::Instant;

/// Gives one Deployment back.
pub async fn eject(session: &mut Session<'_>, eject: &Eject) -> anyhow::Result<Exit> {
    let name = &eject.name;
    if session.objects().is_some() {
        return Err(Failure::new("eject prints words only, so it takes no -o").exit(Exit::Usage).into());
    }
    let rollout = session.rollout(name).await?;
    let choice = match (eject.go_on, eject.hold) {
        (true, _) => Some(OnDelete::Continue),
        (false, true) => Some(OnDelete::Hold),
        (false, false) => None,
    };
    let then = choice.unwrap_or(rollout.spec.on_delete);
    session.screen.say(&intention(&rollout, then, &session.flags))?;
    if !eject.yes && session.screen.ask("Go on?")? == Answer::No {
        session.screen.say("Nothing was changed.")?;
        return Ok(Exit::Error);
    }
    let api = session.rollouts();
    let namespace = session.namespace.clone();
    let uid = rollout.uid();
    let what = |verb| Request { verb, resource: "rollouts", name, namespace: &namespace };
    if rollout.metadata.deletion_timestamp.is_some() && then != rollout.spec.on_delete {
        session
            .screen
            .say("It is deleted already; what becomes of the release is changed as long as that is not decided.")?;
    }
    if then != rollout.spec.on_delete {
        let patch = json!({"metadata": {"uid": uid}, "spec": {"onDelete": then}});
        errors::ask(what("patch"), api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).await?;
    }
    let params = DeleteParams::background().preconditions(Preconditions { uid: uid.clone(), resource_version: None });
    errors::ask(what("delete"), delete(&api, name, &params)).await?;
    session
        .screen
        .say("The Rollout is deleted; the operator gives the Deployment back now, also without this command.")?;
    let api = session.rollouts();
    wait_until_gone(session, &api, &rollout, eject.timeout).await?;
    let words = what_stays(session, &rollout).await;
    session.screen.print(&words)?;
    Ok(Exit::Done)
}

async fn delete(api: &Api<DynamicObject>, name: &str, params: &DeleteParams) -> Result<(), kube::Error> {
    match api.delete(name, params).await {
        Err(error) if errors::is_absent(&error) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// What will happen, before it does.
fn intention(rollout: &Rollout, then: OnDelete, flags: &str) -> String {
    let deployment = &rollout.spec.workload_ref.name;
    let status = rollout.status.clone().unwrap_or_default();
    let revision = revision_on_trial(&status).unwrap_or("the new one");
    let happens = match (&status.flight, &status.latch, then) {
        (_, Some(_), _) => format!(
            "Revision {revision} was given up: stable goes on serving, and the Deployment stays paused at that template. Put another \
             one into it, then `kubectl rollout resume deployment/{deployment}{flags}`."
        ),
        (Some(_), None, OnDelete::Hold) => format!(
            "Revision {revision} is on trial: its requests go back to stable and its pods end. The Deployment stays paused at the \
             new template; `kubectl rollout resume deployment/{deployment}{flags}` then rolls it."
        ),
        (Some(_), None, OnDelete::Continue) => format!(
            "Revision {revision} is on trial and goes on unjudged: the Deployment rolls on from its pods by itself."
        ),
        (None, None, _) => "No release is on trial; no pod is touched and no request is moved.".to_owned(),
    };
    format!("Rollout {} is deleted and Deployment {deployment} is given back.\n{happens}", full_name(rollout))
}

/// What is left when the Rollout is gone.
async fn what_stays(session: &Session<'_>, rollout: &Rollout) -> String {
    let name = &rollout.spec.workload_ref.name;
    let deployment = match session.deployment(name).await {
        Ok(Some(deployment)) if is_paused(&deployment) => format!(
            "Deployment {name} is given back, paused: it holds a template that was not proven. \
             `kubectl rollout resume deployment/{name}{flags}` rolls it.",
            flags = session.flags
        ),
        Ok(None) => format!("Rollout {} is gone; so is Deployment {name}.", rollout.name_any()),
        Ok(Some(_)) => format!("Deployment {name} is an ordinary Deployment again."),
        Err(failure) => format!("The Rollout is gone. Whether Deployment {name} is paused is not known: {failure}"),
    };
    let services = rollout.spec.traffic.as_ref().and_then(|traffic| traffic.services.as_ref());
    let services = services.map_or_else(String::new, |services| {
        format!(
            "\nThe Services {} and {} stay, and both select its pods: routes that name them go on working. Take them out of the \
             routes before you delete them.",
            services.stable, services.canary
        )
    });
    format!("{deployment}{services}")
}

async fn wait_until_gone(
    session: &mut Session<'_>,
    api: &Api<DynamicObject>,
    rollout: &Rollout,
    timeout: Duration,
) -> anyhow::Result<()> {
    let name = rollout.name_any();
    let namespace = session.namespace.clone();
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(api.clone(), config).default_backoff().boxed();
    let deadline = Instant::now() + timeout.std();
    let mut last = String::new();
    let mut there = false;
    loop {
        let Ok(event) = tokio::time::timeout_at(deadline, events.next()).await else {
            let words =
                format!("Rollout {name} is still there after {timeout}{}", if last.is_empty() { "" } else { ": " });
            return Err(Failure::new(format!("{words}{last}"))
                .hint(format!(
                    "it goes when the operator has given the Deployment back; is it running? \
                     `kubectl get pods -A -l app.kubernetes.io/name=bellwether`; `{}` says what it waits for",
                    super::page::command("status", &name, &session.flags)
                ))
                .exit(Exit::TimedOut)
                .into());
        };
        match event {
            Some(Ok(watcher::Event::Init)) => there = false,
            Some(Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) => {
                there = true;
                if object.metadata.uid != rollout.metadata.uid {
                    let words = format!("a new Rollout {name} is there already, and takes the Deployment over again");
                    return Err(Failure::new(words)
                        .hint("something, like Git, creates it again: take it out there first, then eject it")
                        .into());
                }
                let message = progress_of(&object);
                if !message.is_empty() && message != last {
                    session.screen.say(&format!("{name}: {message}"))?;
                    last = message;
                }
            }
            Some(Ok(watcher::Event::Delete(_))) => return Ok(()),
            Some(Ok(watcher::Event::InitDone)) if !there => return Ok(()),
            Some(Ok(watcher::Event::InitDone)) => {}
            Some(Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)))
                if errors::is_final(&error) =>
            {
                let what = Request { verb: "watch", resource: "rollouts", name: &name, namespace: &namespace };
                return Err(errors::explain(what, &error).into());
            }
            Some(Err(error)) => session.screen.say(&format!("The connection to the cluster is made again: {error}"))?,
            None => return Err(Failure::new("the watch ended by itself").into()),
        }
    }
}

/// What a Rollout that is on its way out says of itself; nothing until the operator has seen that it is.
fn progress_of(object: &DynamicObject) -> String {
    let status = &object.data["status"];
    let is_seen = status["observedGeneration"].as_i64() == object.metadata.generation;
    if object.metadata.deletion_timestamp.is_none() || !is_seen {
        return String::new();
    }
    let decided = status["decisions"].as_array().and_then(|decisions| decisions.last());
    let given_back = decided.filter(|decision| decision["reason"] == "HandedBack");
    let message = given_back.map_or(&status["waitingFor"][0]["message"], |decision| &decision["message"]);
    plain(message.as_str().unwrap_or_default())
}

/// Deletes all Rollouts of all namespaces and waits until none is left; new ones that come meanwhile are deleted too.
/// Says which Deployments are given back paused, for nothing will roll those by itself.
///
/// # Errors
/// When Rollouts cannot be listed or deleted, or some are left when the time is up: then it names them.
pub async fn eject_all(client: Client, timeout: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    eject_from(client, &[], None, timeout, out).await
}

/// As [`eject_all`], in these namespaces only, and those whose labels match; no namespace is all of them.
///
/// # Errors
/// As [`eject_all`].
pub async fn eject_from(
    client: Client,
    namespaces: &[String],
    selector: Option<&str>,
    timeout: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let resource = super::rollouts();
    let listed = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() };
    let config = watcher::Config { label_selector: selector.map(str::to_owned), ..watcher::Config::default() };
    let api = |namespace: &str| match namespace {
        "" => Api::<DynamicObject>::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let everywhere = [String::new()];
    let places = if namespaces.is_empty() { &everywhere } else { namespaces };
    let deadline = Instant::now() + timeout.std();
    let mut left: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut books = Books::default();
    for place in places {
        let what = Request { verb: "list", resource: "rollouts", name: "", namespace: place };
        let request = async {
            match api(place).list(&listed).await {
                // Without the kind there is nothing of it.
                Err(error) if errors::is_unknown_kind(&error) => Ok(Vec::new()),
                other => other.map(|list| list.items),
            }
        };
        for object in errors::ask(what, request).await? {
            books.expect(&object);
            left.extend([key(&object)]);
        }
    }
    if left.is_empty() {
        line(out, "There are no Rollouts.")?;
        return Ok(());
    }
    line(out, &format!("{} to give back.", rollouts_in_words(left.len())))?;
    let watches = places.iter().map(|place| {
        let place = place.clone();
        watcher(api(&place), config.clone()).default_backoff().map(move |event| (place.clone(), event)).boxed()
    });
    let mut events = stream::select_all(watches);
    // Places whose watch has not told all there is yet.
    let mut untold: BTreeSet<String> = places.iter().cloned().collect();
    while !left.is_empty() || !untold.is_empty() {
        let Ok(event) = tokio::time::timeout_at(deadline, events.next()).await else {
            if !books.paused.is_empty() {
                line(out, &books.still_paused())?;
            }
            return Err(overdue(&left, timeout).into());
        };
        let Some((place, event)) = event else { return Err(Failure::new("the watch ended by itself").into()) };
        match event {
            Ok(watcher::Event::Init) => {
                left.retain(|(namespace, _), _| !place.is_empty() && *namespace != place);
                untold.insert(place);
            }
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                end(&client, &object, out).await?;
                books.expect(&object);
                let (key, message) = key(&object);
                left.insert(key, message);
            }
            Ok(watcher::Event::Delete(object)) => {
                left.remove(&key(&object).0);
            }
            Ok(watcher::Event::InitDone) => {
                untold.remove(&place);
            }
            Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error))
                if errors::is_final(&error) =>
            {
                let what = Request { verb: "watch", resource: "rollouts", name: "", namespace: &place };
                return Err(errors::explain(what, &error).into());
            }
            Err(error) => line(out, &format!("The connection to the cluster is made again: {error}"))?,
        }
        let is_told = |namespace: &str| !untold.contains("") && !untold.contains(namespace);
        let gone: Vec<_> =
            books.expected.keys().filter(|key| !left.contains_key(key) && is_told(&key.0)).cloned().collect();
        for gone in gone {
            books.close(&client, &gone, left.len(), out).await?;
        }
    }
    line(out, "All Deployments are given back.")?;
    if !books.paused.is_empty() {
        line(out, &books.still_paused())?;
    }
    Ok(())
}

/// Which Deployments are to be given back, and which of those that were are paused.
#[derive(Default)]
struct Books {
    /// By the Rollout's namespace and name, the Deployment's name.
    expected: BTreeMap<(String, String), String>,
    /// Deployments by namespace and name.
    paused: BTreeSet<(String, String)>,
}

impl Books {
    fn expect(&mut self, rollout: &DynamicObject) {
        let deployment = rollout.data["spec"]["workloadRef"]["name"].as_str().unwrap_or_default();
        self.expected.insert(key(rollout).0, deployment.to_owned());
    }

    /// Looks at the Deployment of a Rollout that is gone. That it cannot be read is said and holds up nothing.
    async fn close(
        &mut self,
        client: &Client,
        rollout: &(String, String),
        left: usize,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let Some(name) = self.expected.remove(rollout) else { return Ok(()) };
        let (namespace, rollout) = rollout;
        let what = Request { verb: "get", resource: "deployments", name: &name, namespace };
        let state = match errors::find(what, &super::deployments(client, namespace)).await {
            Ok(Some(deployment)) if is_paused(&deployment) => {
                self.paused.insert((namespace.clone(), name));
                ", still paused".to_owned()
            }
            Ok(_) => String::new(),
            Err(failure) => format!(" (whether it is paused is not known: {failure})"),
        };
        line(out, &format!("{namespace}/{rollout} is given back{state}; {left} left."))?;
        Ok(())
    }

    fn still_paused(&self) -> String {
        let cures = self.paused.iter().map(|(namespace, name)| {
            format!("  {namespace}/{name}: kubectl rollout resume deployment/{name} -n {namespace}")
        });
        let head =
            "Still paused, most likely at a template that was not proven. Put another into them, or roll it with:";
        [head.to_owned()].into_iter().chain(cures).collect::<Vec<_>>().join("\n")
    }
}

fn is_paused(deployment: &DynamicObject) -> bool {
    deployment.data["spec"]["paused"] == json!(true)
}

/// Asks for a Rollout's end, once.
async fn end(client: &Client, object: &DynamicObject, out: &mut dyn Write) -> anyhow::Result<()> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api = Api::namespaced_with(client.clone(), &namespace, &super::rollouts());
    let what = Request { verb: "delete", resource: "rollouts", name: &name, namespace: &namespace };
    errors::ask(what, delete(&api, &name, &DeleteParams::background())).await?;
    line(out, &format!("{} is deleted.", full_name(object)))?;
    Ok(())
}

fn key(object: &DynamicObject) -> ((String, String), String) {
    ((object.namespace().unwrap_or_default(), object.name_any()), progress_of(object))
}

fn rollouts_in_words(number: usize) -> String {
    if number == 1 { "1 Rollout".to_owned() } else { format!("{number} Rollouts") }
}

fn overdue(left: &BTreeMap<(String, String), String>, timeout: Duration) -> Failure {
    let name = |((namespace, name), message): (&(String, String), &String)| match message.as_str() {
        "" => format!("{namespace}/{name}"),
        message => format!("{namespace}/{name} ({message})"),
    };
    let names: Vec<_> = left.iter().map(name).collect();
    Failure::new(format!("{} left after {timeout}: {}", rollouts_in_words(left.len()), names.join(", ")))
        .hint("a Rollout goes when the operator has given its Deployment back: is it running?")
        .exit(Exit::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::{
        super::fake::{DEPLOYMENTS, Fake, ROLLOUTS, ago, at_rest, deployment, event, in_flight, session, text, with},
        *,
    };
    use serde_json::Value;

    const EVERYWHERE: &str = "/apis/bellwether.dev/v1alpha1/rollouts";

    fn of(name: &str) -> Eject {
        Eject { name: name.to_owned(), go_on: false, hold: false, timeout: Duration::seconds(300), yes: false }
    }

    fn leaving(rollout: &Value, reason: &str, message: &str) -> Value {
        with(
            rollout.clone(),
            // Its deletion is a new generation.
            &json!({"metadata": {"deletionTimestamp": ago(0), "generation": 4},
                "status": {"observedGeneration": 4, "waitingFor": [{"reason": reason, "object": "", "since": ago(0), "message": message}]}}),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_that_is_to_go_on_is_said_before_the_deletion() {
        let path = format!("{ROLLOUTS}/checkout");
        let settling = leaving(&in_flight(), "Settling", "the data plane is given 3s to take: weight 0");
        let cluster = Fake::default()
            .on("GET", path.clone(), in_flight())
            .on("PATCH", path.clone(), in_flight())
            .on("DELETE", path.clone(), settling.clone())
            .on_watch(
                ROLLOUTS,
                &[in_flight()],
                vec![(1, event("MODIFIED", &settling)), (3, event("DELETED", &settling))],
            )
            .on("GET", format!("{DEPLOYMENTS}/checkout"), deployment(11, "app:2"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut answers = &b"y\n"[..];
        let mut session = session(&cluster, &mut out, &mut err, None);
        session.screen = session.screen.answered(&mut answers);
        let exit = eject(&mut session, &Eject { go_on: true, ..of("checkout") }).await.unwrap();
        assert_eq!(exit, Exit::Done);
        assert_eq!(
            text(&err),
            "\
Rollout shop/checkout is deleted and Deployment checkout is given back.
Revision tkz4bnq2xw is on trial and goes on unjudged: the Deployment rolls on from its pods by itself.
Go on? [y/N] The Rollout is deleted; the operator gives the Deployment back now, also without this command.
checkout: the data plane is given 3s to take: weight 0
"
        );
        assert_eq!(
            text(&out),
            "\
Deployment checkout is an ordinary Deployment again.
The Services checkout-stable and checkout-canary stay, and both select its pods: routes that name them go on working. Take them out of the routes before you delete them.
"
        );
        assert_eq!(
            cluster.sent(&format!("PATCH {path}")),
            [json!({"metadata": {"uid": "u-1"}, "spec": {"onDelete": "Continue"}})]
        );
        let deletion = json!({"propagationPolicy": "Background", "preconditions": {"uid": "u-1"}});
        assert_eq!(cluster.sent(&format!("DELETE {path}")), [deletion]);
        cluster.done();
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_changes_nothing() {
        let cluster = Fake::default().on("GET", format!("{ROLLOUTS}/checkout"), at_rest());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut answers = &b"\n"[..];
        let mut session = session(&cluster, &mut out, &mut err, None);
        session.screen = session.screen.answered(&mut answers);
        assert_eq!(eject(&mut session, &of("checkout")).await.unwrap(), Exit::Error);
        assert!(text(&err).ends_with("Nothing was changed.\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollout_that_stays_is_a_time_out_with_what_it_waits_for() {
        let path = format!("{ROLLOUTS}/checkout");
        let stuck = leaving(&at_rest(), "RouteMissing", "HTTPRoute/checkout is gone");
        let cluster = Fake::default().on("GET", path.clone(), at_rest()).on("DELETE", path, stuck.clone()).on_watch(
            ROLLOUTS,
            &[stuck],
            vec![],
        );
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let order = Eject { timeout: Duration::seconds(60), ..of("checkout") };
        let error = eject(&mut session(&cluster, &mut out, &mut err, None), &order).await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.exit, Exit::TimedOut);
        assert_eq!(failure.words, "Rollout checkout is still there after 1m: HTTPRoute/checkout is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_deployment_is_not_called_ordinary() {
        let path = format!("{ROLLOUTS}/checkout");
        let cluster = Fake::default()
            .on("GET", path.clone(), in_flight())
            .refuse("DELETE", path, 404, &json!({"name": "checkout"}), "gone")
            .on_watch(ROLLOUTS, &[], vec![])
            .on(
                "GET",
                format!("{DEPLOYMENTS}/checkout"),
                with(deployment(11, "app:2"), &json!({"spec": {"paused": true}})),
            );
        let (mut out, mut err) = (Vec::new(), Vec::new());
        eject(&mut session(&cluster, &mut out, &mut err, None), &Eject { yes: true, ..of("checkout") }).await.unwrap();
        assert!(
            text(&out)
                .starts_with("Deployment checkout is given back, paused: it holds a template that was not proven.")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_deployment_that_cannot_be_read_or_is_held_again_is_not_called_ordinary() {
        let path = format!("{ROLLOUTS}/checkout");
        let begun = || {
            Fake::default().on("GET", path.clone(), in_flight()).refuse(
                "DELETE",
                path.clone(),
                404,
                &json!({"name": "checkout"}),
                "gone",
            )
        };
        let there = format!("{DEPLOYMENTS}/checkout");
        let unread = begun().on_watch(ROLLOUTS, &[], vec![]).refuse("GET", there, 403, &json!({}), "forbidden");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        eject(&mut session(&unread, &mut out, &mut err, None), &Eject { yes: true, ..of("checkout") }).await.unwrap();
        let why = "Whether Deployment checkout is paused is not known: you may not get deployments/checkout in namespace shop";
        assert!(text(&out).contains(why), "{}", text(&out));
        let anew = with(at_rest(), &json!({"metadata": {"uid": "another"}}));
        let again = begun().on_watch(ROLLOUTS, &[anew], vec![]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = eject(&mut session(&again, &mut out, &mut err, None), &Eject { yes: true, ..of("checkout") }).await;
        let failure = done.unwrap_err().downcast::<Failure>().unwrap();
        assert_eq!(failure.words, "a new Rollout checkout is there already, and takes the Deployment over again");
        assert_eq!(text(&out), "");
    }

    fn named(namespace: &str, name: &str) -> Value {
        with(at_rest(), &json!({"metadata": {"namespace": namespace, "name": name}}))
    }

    fn path_of(namespace: &str, name: &str) -> String {
        format!("/apis/bellwether.dev/v1alpha1/namespaces/{namespace}/rollouts/{name}")
    }

    fn deployment_of(namespace: &str) -> String {
        format!("/apis/apps/v1/namespaces/{namespace}/deployments/checkout")
    }

    fn list(items: &[Value]) -> Value {
        json!({"kind": "RolloutList", "apiVersion": "bellwether.dev/v1alpha1", "metadata": {"resourceVersion": "9"}, "items": items})
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_ejected_also_one_that_comes_meanwhile() {
        let (one, two, three) = (named("shop", "checkout"), named("pay", "ledger"), named("pay", "late"));
        let both = [one.clone(), two.clone()];
        let cluster = Fake::default()
            .on("GET", EVERYWHERE, list(&both))
            .on_watch(
                EVERYWHERE,
                &both,
                vec![
                    (1, event("MODIFIED", &leaving(&one, "Settling", "x"))),
                    (1, event("DELETED", &one)),
                    (1, event("ADDED", &three)),
                    (1, event("DELETED", &two)),
                    (1, event("DELETED", &three)),
                ],
            )
            .on("DELETE", path_of("shop", "checkout"), one)
            .on("DELETE", path_of("pay", "ledger"), two)
            .on("DELETE", path_of("pay", "late"), three)
            .on("GET", deployment_of("shop"), deployment(11, "app:2"))
            .refuse("GET", deployment_of("pay"), 404, &json!({"name": "checkout"}), "gone")
            .refuse("GET", deployment_of("pay"), 403, &json!({}), "not yours");
        let mut out = Vec::new();
        eject_all(cluster.client(), Duration::seconds(120), &mut out).await.unwrap();
        assert_eq!(
            text(&out),
            "\
2 Rollouts to give back.
shop/checkout is deleted.
pay/ledger is deleted.
shop/checkout is given back; 1 left.
pay/late is deleted.
pay/ledger is given back; 1 left.
pay/late is given back (whether it is paused is not known: you may not get deployments/checkout in namespace pay: not yours); 0 left.
All Deployments are given back.
"
        );
        cluster.done();
    }

    #[tokio::test(start_paused = true)]
    async fn deployments_that_stay_paused_are_named_with_the_cure() {
        let (one, two) = (named("shop", "checkout"), named("pay", "ledger"));
        let both = [one.clone(), two.clone()];
        let paused = || with(deployment(11, "app:2"), &json!({"spec": {"paused": true}}));
        let cluster = Fake::default()
            .on("GET", EVERYWHERE, list(&both))
            // One is gone before the watch begins, and no event tells of it.
            .on_watch(EVERYWHERE, std::slice::from_ref(&two), vec![(1, event("DELETED", &two))])
            .on("DELETE", path_of("pay", "ledger"), two)
            .on("GET", deployment_of("shop"), paused())
            .on("GET", deployment_of("pay"), paused());
        let mut out = Vec::new();
        eject_all(cluster.client(), Duration::seconds(120), &mut out).await.unwrap();
        assert_eq!(
            text(&out),
            "\
2 Rollouts to give back.
pay/ledger is deleted.
shop/checkout is given back, still paused; 1 left.
pay/ledger is given back, still paused; 0 left.
All Deployments are given back.
Still paused, most likely at a template that was not proven. Put another into them, or roll it with:
  pay/checkout: kubectl rollout resume deployment/checkout -n pay
  shop/checkout: kubectl rollout resume deployment/checkout -n shop
"
        );
        cluster.done();
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_paused_is_said_also_when_others_are_left() {
        let (one, two) = (named("shop", "checkout"), named("pay", "ledger"));
        let both = [one.clone(), two.clone()];
        let cluster = Fake::default()
            .on("GET", EVERYWHERE, list(&both))
            .on_watch(EVERYWHERE, &both, vec![(1, event("DELETED", &one))])
            .on("DELETE", path_of("shop", "checkout"), one)
            .on("DELETE", path_of("pay", "ledger"), two)
            .on("GET", deployment_of("shop"), with(deployment(11, "app:2"), &json!({"spec": {"paused": true}})));
        let mut out = Vec::new();
        let error = eject_all(cluster.client(), Duration::seconds(120), &mut out).await.unwrap_err();
        assert_eq!(error.to_string(), "1 Rollout left after 2m: pay/ledger");
        assert!(text(&out).ends_with("  shop/checkout: kubectl rollout resume deployment/checkout -n shop\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_left_are_named() {
        let (one, two) =
            (named("shop", "checkout"), leaving(&named("pay", "ledger"), "Settling", "waits for the route"));
        let cluster = Fake::default()
            .on("GET", EVERYWHERE, list(&[one.clone(), two.clone()]))
            .on_watch(EVERYWHERE, &[one.clone(), two], vec![])
            .on("DELETE", path_of("shop", "checkout"), one);
        let error = eject_all(cluster.client(), Duration::seconds(120), &mut Vec::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "2 Rollouts left after 2m: pay/ledger (waits for the route), shop/checkout");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_without_the_kind_has_nothing_to_eject() {
        let cluster = Fake::default().refuse(
            "GET",
            EVERYWHERE,
            404,
            &json!({}),
            "the server could not find the requested resource",
        );
        let mut out = Vec::new();
        eject_all(cluster.client(), Duration::seconds(120), &mut out).await.unwrap();
        assert_eq!(text(&out), "There are no Rollouts.\n");
    }

    #[tokio::test(start_paused = true)]
    async fn with_namespaces_only_those_are_asked() {
        let one = named("shop", "checkout");
        let pay = "/apis/bellwether.dev/v1alpha1/namespaces/pay/rollouts";
        let cluster = Fake::default()
            .on("GET", ROLLOUTS, list(std::slice::from_ref(&one)))
            .on("GET", pay, list(&[]))
            .on_watch(ROLLOUTS, std::slice::from_ref(&one), vec![(1, event("DELETED", &one))])
            .on_watch(pay, &[], vec![])
            .on("DELETE", path_of("shop", "checkout"), one)
            .on("GET", deployment_of("shop"), deployment(11, "app:2"));
        let places = ["shop".to_owned(), "pay".to_owned()];
        eject_from(cluster.client(), &places, None, Duration::seconds(120), &mut Vec::new()).await.unwrap();
    }
}
