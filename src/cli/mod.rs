//! The verbs of `kubectl bellwether`: each is data in and requests out, with the rights of the person who runs it.
//!
//! Data goes to standard output; words, errors and hints go to standard error. What a verb ends with is an [`Exit`].
//! Deliberately absent: everything the operator decides. The plugin reads what the status says and adds no opinion.
mod act;
mod complete;
mod eject;
mod errors;
mod get;
mod history;
mod page;
mod reach;
mod release;
mod render;
mod status;
mod wait;

#[cfg(test)]
mod fake;

pub use eject::{eject_all, eject_from};
pub use render::Screen;

use crate::{
    api::{Action, GROUP, Rollout, lenient},
    duration::Duration,
};
use clap::{Parser, Subcommand, ValueEnum};
use errors::{Failure, Request};
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use reach::{connect, flags};
use serde_json::Value;
use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    path::PathBuf,
    process::ExitCode,
    sync::OnceLock,
};

const EXIT_CODES: &str = "\
Exit codes:
    0   done: the release is promoted, the command is accepted, the Deployment is given back
    1   something went wrong
    2   the release was aborted
    3   the release is blocked or invalid: a person must change something first
    4   not done, or not answered, within --timeout
    5   the release waits for a person (status --wait --fail-on-wait)
    6   the operator refused the command, or there was nothing to give it to
   64   wrong usage
  141   nobody reads the output any more";

/// See and steer releases.
///
/// A Rollout is a Deployment and the way its next revision reaches its users. This plugin shows where a release stands and
/// why, and gives commands to it, with your own rights in the cluster.
#[derive(Parser, Debug)]
#[command(name = "kubectl-bellwether", bin_name = "kubectl bellwether", version, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub struct Args {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(clap::Args, Debug, Default)]
pub struct Global {
    /// The namespace; without it the context's.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The kubeconfig's context; without it the current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig file; without it the variable KUBECONFIG, then ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Act as this person, as kubectl does; you need the right to impersonate.
    #[arg(long = "as", global = true, value_name = "NAME")]
    pub impersonate: Option<String>,
    /// Act as a member of this group; may be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "impersonate")]
    pub groups: Vec<String>,
    /// How data is printed; without it for people.
    #[arg(short, long, global = true, value_enum)]
    pub output: Option<Format>,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The object, as JSON.
    Json,
    /// The object, as YAML.
    Yaml,
    /// The object's name only, as kubectl takes it: rollout.bellwether.dev/checkout.
    Name,
    /// For people, with more of it.
    Wide,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List Rollouts.
    Get {
        /// Only these.
        #[arg(value_name = "NAME", value_parser = rollout_name)]
        names: Vec<String>,
        /// Only those with these labels: `team=pay,tier in (web, api),!legacy`.
        #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
        selector: Option<String>,
        /// The revisions of one instead: what serves, what is on trial, and the former ones that `undo` goes back to.
        #[arg(long, requires = "names")]
        history: bool,
        /// Those of all namespaces.
        #[arg(short = 'A', long, conflicts_with_all = ["names", "namespace"])]
        all_namespaces: bool,
    },
    /// Explain a Rollout: where it stands, what it waits for, what was measured, what can be done.
    #[command(after_help = EXIT_CODES)]
    Status {
        /// The Rollout.
        #[arg(value_parser = rollout_name)]
        name: String,
        /// Wait until the release of the Deployment's present template is decided. The exit code says how.
        #[arg(long)]
        wait: bool,
        /// How long to wait.
        #[arg(long, default_value = "10m", requires = "wait")]
        timeout: Duration,
        /// End with 5 as soon as the release waits for a person (approval, or paused), instead of waiting with it.
        #[arg(long, requires = "wait")]
        fail_on_wait: bool,
    },
    /// Watch a Rollout change, until Ctrl-C. A terminal shows the page of `status`; a file or pipe gets one line per change.
    Watch {
        /// The Rollout.
        #[arg(value_parser = rollout_name)]
        name: String,
        /// End when the release is decided, with the exit codes of `status --wait`.
        #[arg(long)]
        until_done: bool,
    },
    /// Leave the step that is held now; this is also the approval that a step may ask for.
    Promote {
        /// The command.
        #[command(flatten)]
        command: Command,
        /// Leave all steps: promote as soon as the canary's pods can carry everything.
        #[arg(long)]
        full: bool,
    },
    /// Take the canary out of traffic; stable goes on serving.
    Abort(Command),
    /// Try an aborted revision again, from the first step and with fresh evidence.
    Retry(Command),
    /// Stay at the present weight until `resume`.
    Pause(Command),
    /// Go on after a `pause`.
    Resume(Command),
    /// Enter another step of this release, forward or back. Its time starts anew; what was learned of the canary stays.
    SetStep {
        /// The command.
        #[command(flatten)]
        command: Command,
        /// The step, by its name.
        #[arg(value_name = "STEP")]
        to: String,
    },
    /// Go on with the steps that the Rollout's spec has now, instead of those that this release began with.
    AdoptSteps(Command),
    /// Put the template of a former revision back into the Deployment, with your own rights to change it. It is a release
    /// like every other, and takes the steps, unless the Rollout's rollbackWindow lets it return without.
    ///
    /// While another revision than the one that serves is in the Deployment, on trial or given up, the one that serves is
    /// put back.
    #[command(after_help = EXIT_CODES)]
    Undo {
        /// The change.
        #[command(flatten)]
        change: Change,
        /// The revision, as `get NAME --history` lists them; without it the one that served before.
        #[arg(long, value_name = "REVISION")]
        to_revision: Option<String>,
    },
    /// Replace all pods, as `kubectl rollout restart` does, with your own rights to change the Deployment. It is a release
    /// like every other, and takes the steps.
    #[command(after_help = EXIT_CODES)]
    Restart(Change),
    /// Change images in the Deployment, as `kubectl set image` does, with your own rights to change it. It is a release like
    /// every other, and takes the steps.
    #[command(after_help = EXIT_CODES)]
    SetImage {
        /// The change.
        #[command(flatten)]
        change: Change,
        /// Containers, and the images they shall run.
        #[arg(value_name = "CONTAINER=IMAGE", required = true, value_parser = release::image)]
        images: Vec<(String, String)>,
    },
    /// Give the Deployment back: delete the Rollout and wait until the Deployment is an ordinary one again.
    Eject(Eject),
}

/// A command to a Rollout.
#[derive(clap::Args, Debug, Clone)]
pub struct Command {
    /// The Rollout.
    #[arg(value_parser = rollout_name)]
    pub name: String,
    /// Why, for those who read the decisions; at most 512 letters.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// How long to wait for the operator's answer.
    #[arg(long, default_value = "30s")]
    pub timeout: Duration,
    /// Do not wait for the operator's answer.
    #[arg(long)]
    pub no_wait: bool,
}

/// A change of the Deployment that a Rollout holds.
#[derive(clap::Args, Debug, Clone)]
pub struct Change {
    /// The Rollout.
    #[arg(value_parser = rollout_name)]
    pub name: String,
    /// Have the cluster check the change, and change nothing.
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Wait until the release is decided. The exit code says how.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "10m", requires = "wait")]
    pub timeout: Duration,
}

/// How a Deployment is given back.
#[derive(clap::Args, Debug, Clone)]
pub struct Eject {
    /// The Rollout.
    #[arg(value_parser = rollout_name)]
    pub name: String,
    /// A release that is under way goes on, unjudged: the Deployment rolls on from the canary's pods.
    #[arg(long = "continue", conflicts_with = "hold")]
    pub go_on: bool,
    /// A release that is under way stops: stable serves, and the Deployment stays paused at the new template. Without
    /// this and --continue, the Rollout's spec.onDelete says which.
    #[arg(long)]
    pub hold: bool,
    /// How long to wait.
    #[arg(long, default_value = "5m")]
    pub timeout: Duration,
    /// Do not ask whether this is meant; without a terminal nobody is asked.
    #[arg(short, long)]
    pub yes: bool,
}

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, promoted, accepted.
    Done = 0,
    /// Something went wrong.
    Error = 1,
    /// The release was aborted.
    Aborted = 2,
    /// A person must change something first.
    Blocked = 3,
    /// Not done, or not answered, in time.
    TimedOut = 4,
    /// The release waits for a person.
    WaitsForPerson = 5,
    /// The command was refused.
    Refused = 6,
    /// Wrong usage, as sysexits.h has it; 2, which is usual, has a meaning here.
    Usage = 64,
    /// Nobody reads the output any more; what a shell says of a process that SIGPIPE ended.
    BrokenPipe = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A Rollout's name, as people write it: `checkout`, `rollout/checkout` or `bwr/checkout`.
fn rollout_name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        Some(("rollout" | "rollouts" | "rollouts.bellwether.dev" | "rollout.bellwether.dev" | "bwr", name)) => name,
        Some(_) => return Err("only Rollouts can be named here, as NAME or rollout/NAME".to_owned()),
        None => text,
    };
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-' || letter == '.';
    if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
        return Err("a name has small letters, digits, - and . only".to_owned());
    }
    Ok(name.to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    let most = 512;
    if text.chars().count() > most { Err(format!("longer than {most} letters")) } else { Ok(text.to_owned()) }
}

/// A verb's surroundings: the cluster as the person reaches it, and the screen.
pub struct Session<'a> {
    /// The cluster.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// The flags with which the plugin finds the same cluster and namespace again, with a blank before each.
    pub flags: String,
    /// How data is printed.
    pub output: Option<Format>,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// What a newer operator says that this plugin cannot read, if there was something.
    pub unread: OnceLock<String>,
    /// Where it is printed.
    pub screen: Screen<'a>,
}

/// Rollouts as the cluster names them; read raw, so that no field is lost for being unknown.
fn rollouts() -> ApiResource {
    resource(GROUP, "v1alpha1", "Rollout", "rollouts")
}

fn deployments(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource("apps", "v1", "Deployment", "deployments"))
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = format!("{group}/{version}");
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// A raw object as a Rollout.
fn understood(object: &DynamicObject) -> Result<Rollout, Failure> {
    let parsed = shown(object, "Rollout").and_then(serde_json::from_value);
    parsed.map_err(|error| {
        Failure::new(format!("Rollout {} cannot be understood: {error}", object.name_any()))
            .hint("the plugin and the operator should be of the same version; `kubectl bellwether get NAME -o yaml` shows it as it is")
    })
}

/// A raw object as a Rollout, as far as it can be read, and what cannot.
fn understood_in_part(object: &DynamicObject) -> Result<(Rollout, Option<String>), Failure> {
    let read = shown(object, "Rollout").and_then(|object| lenient::read(&object));
    read.map_err(|error| Failure::new(format!("Rollout {} cannot be understood: {error}", object.name_any())))
}

/// A raw object as it is printed: with its kind, which lists leave out, and without the bookkeeping of field owners.
fn shown(object: &DynamicObject, kind: &str) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    if object.types.is_none() {
        value["apiVersion"] = format!("{GROUP}/v1alpha1").into();
        value["kind"] = kind.into();
    }
    Ok(without_owners(value))
}

/// An object of the cluster without the bookkeeping of field owners, which nobody reads.
fn without_owners(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

impl Session<'_> {
    /// How objects are printed, where they shall be and not words for people.
    fn objects(&self) -> Option<Format> {
        self.output.filter(|format| *format != Format::Wide)
    }

    fn rollouts(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &rollouts())
    }

    /// A Rollout as it is; one that is not there is an error that says what is there.
    async fn object(&self, name: &str) -> Result<DynamicObject, Failure> {
        let namespace = self.namespace.as_str();
        let what = Request { verb: "get", resource: "rollouts", name, namespace };
        match errors::find(what, &self.rollouts()).await? {
            Some(object) => Ok(object),
            None => Err(errors::missing(&self.client, namespace, name).await),
        }
    }

    fn deployments(&self) -> Api<DynamicObject> {
        deployments(&self.client, &self.namespace)
    }

    /// A Deployment, if it is there.
    async fn deployment(&self, name: &str) -> Result<Option<DynamicObject>, Failure> {
        let what = Request { verb: "get", resource: "deployments", name, namespace: &self.namespace };
        errors::find(what, &self.deployments()).await
    }

    /// A Rollout, understood as far as can be: the operator may know words that the plugin does not.
    async fn rollout(&self, name: &str) -> Result<Rollout, Failure> {
        self.understand(&self.object(name).await?)
    }

    fn understand(&self, object: &DynamicObject) -> Result<Rollout, Failure> {
        let (rollout, unread) = understood_in_part(object)?;
        if let Some(unread) = unread {
            self.unread.get_or_init(|| unread);
        }
        Ok(rollout)
    }
}

/// Runs the plugin with these arguments, the first of which is its name.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.peek().is_some_and(|name| complete::is_asked_for(name)) {
        let words: Vec<_> = arguments.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        return complete(&words).await.into();
    }
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // That it cannot be printed changes nothing about what was wrong.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let (mut out, mut err, mut input) = (io::stdout(), io::stderr(), io::stdin().lock());
    let connected = connect(&args.global).await;
    let mut screen = Screen::new(&mut out, &mut err, &mut input);
    match connected {
        Ok((client, namespace)) => {
            let flags = flags(&args.global);
            let output = args.global.output;
            let mut session = Session { client, namespace, flags, output, clock: now, unread: OnceLock::new(), screen };
            let done = obey(&mut session, args.verb).await;
            if let Some(unread) = session.unread.take() {
                // With nobody to tell, what was done is done.
                let _ = session.screen.say(&format!(
                    "what this plugin cannot read of the Rollout is left out ({unread}); the operator may be newer: update the plugin"
                ));
            }
            conclude(&mut session.screen, done).into()
        }
        Err(failure) => conclude(&mut screen, Err(failure.into())).into(),
    }
}

/// Tells kubectl what may come next on the command line.
async fn complete(words: &[String]) -> Exit {
    let line = complete::Line::read(words);
    let connected = if line.asks_the_cluster() { connect(&line.global).await.ok() } else { None };
    let (mut nowhere, mut silent) = (io::sink(), io::sink());
    let session = connected.map(|(client, namespace)| Session {
        client,
        namespace,
        flags: String::new(),
        output: None,
        clock: now,
        unread: OnceLock::new(),
        screen: Screen::plain(&mut nowhere, &mut silent),
    });
    let text = line.answer(session.as_ref()).await;
    render::line(&mut io::stdout(), &text).map_or(Exit::Error, |()| Exit::Done)
}

async fn obey(session: &mut Session<'_>, verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Get { names, history: true, .. } => match names.as_slice() {
            [name] => history::list(session, name).await,
            _ => Err(Failure::new("--history is that of one Rollout: name one").exit(Exit::Usage).into()),
        },
        Verb::Get { names, selector, all_namespaces, .. } => {
            let which = match (selector, all_namespaces) {
                _ if !names.is_empty() => get::Which::Named(names),
                (selector, true) => get::Which::All(get::Scope::Cluster, selector),
                (selector, false) => get::Which::All(get::Scope::Namespace, selector),
            };
            get::get(session, &which).await
        }
        Verb::Status { name, wait: false, .. } => status::status(session, &name).await,
        Verb::Status { name, wait: true, timeout, fail_on_wait } => {
            let goal = if fail_on_wait { wait::Goal::DecisionOrPerson } else { wait::Goal::Decision };
            status::wait(session, &name, timeout, goal).await
        }
        Verb::Watch { name, until_done } => {
            let goal = if until_done { wait::Goal::Decision } else { wait::Goal::Never };
            status::watch(session, &name, goal).await
        }
        Verb::Promote { command, full: false } => act::act(session, Action::Promote, &command).await,
        Verb::Promote { command, full: true } => act::act(session, Action::PromoteFull, &command).await,
        Verb::Abort(command) => act::act(session, Action::Abort, &command).await,
        Verb::Retry(command) => act::act(session, Action::Retry, &command).await,
        Verb::Pause(command) => act::act(session, Action::Pause, &command).await,
        Verb::Resume(command) => act::act(session, Action::Resume, &command).await,
        Verb::SetStep { command, to } => {
            let wish = act::Wish { action: Action::SetStep, to: Some(&to) };
            act::act(session, wish, &command).await
        }
        Verb::AdoptSteps(command) => act::act(session, Action::AdoptSteps, &command).await,
        Verb::Undo { change, to_revision } => Box::pin(release::undo(session, &change, to_revision.as_deref())).await,
        Verb::Restart(change) => Box::pin(release::restart(session, &change)).await,
        Verb::SetImage { change, images } => Box::pin(release::set_image(session, &change, &images)).await,
        Verb::Eject(eject) => eject::eject(session, &eject).await,
    }
}

/// Says what went wrong, if anything did, and what the process ends with.
fn conclude(screen: &mut Screen<'_>, done: anyhow::Result<Exit>) -> Exit {
    let error = match done {
        Ok(exit) => return exit,
        Err(error) => error,
    };
    let broken = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken) {
        return Exit::BrokenPipe;
    }
    let failure = error.downcast_ref::<Failure>();
    // With nobody to tell, the exit code still says it.
    let _ = screen.fail(&format!("{error:#}"), failure.and_then(|failure| failure.hint.as_deref()));
    failure.map_or(Exit::Error, |failure| failure.exit)
}

/// The wall clock, for ages on the page.
#[expect(clippy::disallowed_methods, reason = "ages are shown to a person; nothing is decided from them")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("kubectl-bellwether").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_rollout_is_named_as_kubectl_names_things() {
        for line in [
            "status checkout",
            "status rollout/checkout",
            "status bwr/checkout",
            "status rollouts.bellwether.dev/checkout",
        ] {
            let Verb::Status { name, .. } = parse(line).unwrap().verb else { panic!("{line}") };
            assert_eq!(name, "checkout", "{line}");
        }
        // Which no other kind of Rollout has: those of Argo are `ro`.
        let short = <Rollout as kube::CustomResourceExt>::crd().spec.names.short_names.unwrap();
        assert_eq!(short, ["bwr"]);
        for line in ["status pod/checkout", "status Checkout", "status ../secrets", "status", "status rollout/"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn global_flags_go_before_and_after_the_verb() {
        for line in ["-n shop -o json get", "get -n shop -o json"] {
            let args = parse(line).unwrap();
            assert_eq!((args.global.namespace.as_deref(), args.global.output), (Some("shop"), Some(Format::Json)));
        }
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for line in [
            "get -A checkout",
            "get -A -n shop",
            "get checkout -l team=pay",
            "eject checkout --continue --hold",
            "status checkout --timeout 5m",
            "status x --fail-on-wait",
            "promote checkout --timeout 5",
            "get --history",
            "set-step checkout",
            "undo checkout --timeout 5m",
            "restart checkout --dry-run --wait",
            "set-image checkout",
            "set-image checkout app",
            "set-image checkout =v2",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse(&format!("abort checkout --reason {}", "x".repeat(513))).is_err());
    }

    #[test]
    fn what_is_not_given_has_a_default() {
        let Verb::Status { timeout, wait: true, fail_on_wait: false, .. } =
            parse("status checkout --wait").unwrap().verb
        else {
            panic!()
        };
        assert_eq!(timeout, Duration::seconds(600));
        let Verb::Promote { command, full: true } = parse("promote checkout --full").unwrap().verb else { panic!() };
        assert_eq!((command.timeout, command.no_wait), (Duration::seconds(30), false));
        let Verb::SetImage { change, images } = parse("set-image checkout app=v2 b=r:1").unwrap().verb else {
            panic!()
        };
        assert_eq!((change.name.as_str(), images.len(), change.wait), ("checkout", 2, false));
        let Verb::SetStep { command, to } = parse("set-step checkout half --no-wait").unwrap().verb else { panic!() };
        assert_eq!((command.name.as_str(), to.as_str(), command.no_wait), ("checkout", "half", true));
        let Verb::Eject(eject) = parse("eject checkout").unwrap().verb else { panic!() };
        assert_eq!((eject.timeout, eject.yes), (Duration::seconds(300), false));
    }

    #[tokio::test]
    async fn wrong_usage_is_not_taken_for_an_abort() {
        let exit = run(["kubectl-bellwether", "promot"].map(OsString::from)).await;
        assert_eq!(format!("{exit:?}"), format!("{:?}", ExitCode::from(64)));
    }

    #[test]
    fn every_exit_code_is_explained() {
        for exit in [
            Exit::Done,
            Exit::Error,
            Exit::Aborted,
            Exit::Blocked,
            Exit::TimedOut,
            Exit::WaitsForPerson,
            Exit::Refused,
            Exit::Usage,
            Exit::BrokenPipe,
        ] {
            assert!(EXIT_CODES.contains(&format!("\n  {:>3}  ", exit as u8)), "{exit:?}");
        }
        let help = Args::command().find_subcommand_mut("status").unwrap().render_help().to_string();
        assert!(help.contains(EXIT_CODES));
    }

    #[test]
    fn an_error_is_one_line_and_a_hint() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::plain(&mut out, &mut err);
        let failure = Failure::new("there is no Rollout x").hint("did you mean y?").exit(Exit::Refused);
        assert_eq!(conclude(&mut screen, Err(failure.into())), Exit::Refused);
        assert_eq!(String::from_utf8(err).unwrap(), "error: there is no Rollout x\nhint: did you mean y?\n");
        assert!(out.is_empty());
    }

    #[test]
    fn a_reader_that_left_is_no_error_to_talk_about() {
        struct Left;
        impl io::Write for Left {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut left, mut err) = (Left, Vec::new());
        let mut screen = Screen::plain(&mut left, &mut err);
        let done = screen.print("text").map(|()| Exit::Done).map_err(anyhow::Error::from);
        assert_eq!(conclude(&mut screen, done), Exit::BrokenPipe);
        assert!(err.is_empty());
    }
}
