//! What may come next on the command line. kubectl asks an executable for it that is called `kubectl_complete-bellwether`,
//! with the words behind `kubectl bellwether`, the last of which is being typed; so the plugin answers under that name.
//!
//! Source: kubernetes.io, "Extend kubectl with plugins"; the last line is a directive of cobra, which completes kubectl.
use super::{Args, Global, Session, history, render::plain};
use clap::{Arg, ArgAction, Command, CommandFactory};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
    config::Kubeconfig,
};
use std::{ffi::OsStr, path::Path, time::Duration};

/// The name under which the plugin completes.
const NAME: &str = "kubectl_complete-bellwether";
/// So long may the cluster take: a person holds a key down.
const PATIENCE: Duration = Duration::from_secs(2);
/// Cobra's directives: files are completed, or nothing else is.
const FILES: &str = ":0";
const NOTHING_ELSE: &str = ":4";

/// Whether the process was called to complete.
pub fn is_asked_for(called: &OsStr) -> bool {
    Path::new(called).file_stem().is_some_and(|name| name == NAME)
}

/// What may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// One of these, each with what it means.
    Words(Vec<(String, String)>),
    /// The name of a Rollout.
    Rollout,
    /// A step of this Rollout.
    Step(String),
    /// A former revision of this Rollout.
    Revision(String),
    /// A container of this Rollout's Deployment, and its image.
    Image(String),
    /// A namespace.
    Namespace,
    /// A context of the kubeconfig.
    Context,
    /// A file.
    File,
    /// Something that nobody can know.
    Free,
}

/// A command line that is being typed.
pub struct Line {
    /// Which cluster and namespace it names so far.
    pub global: Global,
    typed: String,
    next: Next,
}

impl Line {
    /// Reads the words, the last of which is being typed.
    pub fn read(words: &[String]) -> Self {
        let mut root = Args::command();
        root.build();
        let (typed, before) = words.split_last().map_or((String::new(), words), |(last, rest)| (last.clone(), rest));
        let mut global = Global::default();
        let (mut here, mut named, mut flag): (&Command, Vec<&str>, Option<&Arg>) = (&root, Vec::new(), None);
        for word in before {
            if let Some(flag) = flag.take() {
                note(&mut global, flag, word);
            } else if let Some((of, value)) = flag_of(here, word) {
                match value {
                    Some(value) => note(&mut global, of, value),
                    None => flag = Some(of).filter(|of| takes_value(of)),
                }
            } else if !word.starts_with('-') {
                match here.find_subcommand(word) {
                    Some(verb) => here = verb,
                    None => named.push(word),
                }
            }
        }
        let next = match flag {
            Some(flag) => value_of(flag, &named),
            None if typed.starts_with('-') => Next::Words(flags_of(here)),
            None if here.has_subcommands() => Next::Words(verbs_of(here)),
            None => {
                let last = here.get_positionals().last().filter(|arg| matches!(arg.get_action(), ArgAction::Append));
                here.get_positionals().nth(named.len()).or(last).map_or(Next::Free, |arg| value_of(arg, &named))
            }
        };
        Self { global, typed, next }
    }

    /// Whether the cluster must be asked.
    pub fn asks_the_cluster(&self) -> bool {
        !matches!(self.next, Next::Words(_) | Next::Context | Next::File | Next::Free)
    }

    /// The answer to kubectl. What cannot be had in time is left out: a completion is a help, and no place for errors.
    pub async fn answer(&self, session: Option<&Session<'_>>) -> String {
        let found = async {
            match &self.next {
                Next::Words(words) => words.clone(),
                Next::Context => contexts(&self.global),
                Next::File | Next::Free => Vec::new(),
                from_cluster => match session {
                    Some(session) => asked(from_cluster, session).await.unwrap_or_default(),
                    None => Vec::new(),
                },
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await.unwrap_or_default();
        let mut text = String::new();
        for (word, about) in found.iter().filter(|(word, _)| word.starts_with(&self.typed)) {
            text.push_str(&plain(word));
            if !about.is_empty() {
                text.push('\t');
                text.push_str(&plain(about));
            }
            text.push('\n');
        }
        text + if self.next == Next::File { FILES } else { NOTHING_ELSE } + "\n"
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The flag that a word is, and the value if it is in the same word.
fn flag_of<'a, 'w>(here: &'a Command, word: &'w str) -> Option<(&'a Arg, Option<&'w str>)> {
    let mut known = here.get_arguments();
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        return Some((known.find(|arg| arg.get_long() == Some(name))?, value));
    }
    let mut short = word.strip_prefix('-')?.chars();
    let letter = short.next()?;
    let value = Some(short.as_str().trim_start_matches('=')).filter(|value| !value.is_empty());
    Some((known.find(|arg| arg.get_short() == Some(letter))?, value))
}

fn note(global: &mut Global, flag: &Arg, value: &str) {
    match flag.get_id().as_str() {
        "namespace" => global.namespace = Some(value.to_owned()),
        "context" => global.context = Some(value.to_owned()),
        "kubeconfig" => global.kubeconfig = Some(value.into()),
        _ => {}
    }
}

fn value_of(arg: &Arg, named: &[&str]) -> Next {
    let of_first = |next: fn(String) -> Next| named.first().map_or(Next::Free, |name| next(bare(name)));
    match arg.get_id().as_str() {
        "name" | "names" => Next::Rollout,
        "to" => of_first(Next::Step),
        "to_revision" => of_first(Next::Revision),
        "images" => of_first(Next::Image),
        "namespace" => Next::Namespace,
        "context" => Next::Context,
        "kubeconfig" => Next::File,
        _ => match arg.get_possible_values() {
            values if values.is_empty() => Next::Free,
            values => Next::Words(values.iter().map(|value| pair(value.get_name(), value.get_help())).collect()),
        },
    }
}

fn bare(name: &str) -> String {
    super::rollout_name(name).unwrap_or_default()
}

fn pair(word: &str, about: Option<&clap::builder::StyledStr>) -> (String, String) {
    (word.to_owned(), about.map_or_else(String::new, ToString::to_string))
}

fn flags_of(here: &Command) -> Vec<(String, String)> {
    let flags = here.get_arguments().filter(|arg| !arg.is_hide_set());
    flags.filter_map(|arg| Some(pair(&format!("--{}", arg.get_long()?), arg.get_help()))).collect()
}

fn verbs_of(here: &Command) -> Vec<(String, String)> {
    here.get_subcommands().map(|verb| pair(verb.get_name(), verb.get_about())).collect()
}

fn contexts(global: &Global) -> Vec<(String, String)> {
    let read = global.kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    read.map(|config| config.contexts.into_iter().map(|it| (it.name, String::new())).collect()).unwrap_or_default()
}

async fn asked(next: &Next, session: &Session<'_>) -> anyhow::Result<Vec<(String, String)>> {
    let alone = |word: String| (word, String::new());
    Ok(match next {
        Next::Rollout => {
            let all = session.rollouts().list(&ListParams::default().limit(500)).await?;
            let phase = |it: &DynamicObject| it.data["status"]["phase"].as_str().unwrap_or_default().to_owned();
            all.iter().map(|it| (it.name_any(), phase(it))).collect()
        }
        Next::Step(name) => {
            let rollout = session.rollout(name).await?;
            let steps = rollout.status.and_then(|status| status.flight).map_or(rollout.spec.steps, |it| it.steps);
            steps.into_iter().map(|step| (step.name, step.weight.to_string())).collect()
        }
        Next::Revision(name) => {
            let all = history::revisions(session, &session.rollout(name).await?).await?;
            all.into_iter().map(|revision| (revision.name, revision.standing.to_string())).collect()
        }
        Next::Image(name) => {
            let workload = session.rollout(name).await?.spec.workload_ref.name;
            let deployment = session.deployment(&workload).await?;
            let spec = deployment.map(|it| it.data["spec"]["template"]["spec"].clone()).unwrap_or_default();
            let containers = ["containers", "initContainers"].into_iter().filter_map(|list| spec[list].as_array());
            let names = containers.flatten().filter_map(|container| container["name"].as_str());
            names.map(|name| alone(format!("{name}="))).collect()
        }
        Next::Namespace => {
            let api: Api<Namespace> = Api::all(session.client.clone());
            let all = api.list_metadata(&ListParams::default().limit(500)).await?;
            all.iter().map(|it| alone(it.name_any())).collect()
        }
        Next::Words(_) | Next::Context | Next::File | Next::Free => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fake::{Fake, ROLLOUTS, at_rest, deployment, in_flight, session},
            history::tests::{cluster, former},
        },
        *,
    };
    use serde_json::json;

    fn line(typed: &str) -> Line {
        Line::read(&typed.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    async fn answered(typed: &str, cluster: &Fake) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        line(typed).answer(Some(&session(cluster, &mut out, &mut err, None))).await
    }

    async fn alone(typed: &str) -> String {
        line(typed).answer(None).await
    }

    #[tokio::test]
    async fn verbs_and_flags_are_completed_with_what_they_mean() {
        let verbs = alone("pro").await;
        assert!(verbs.starts_with("promote\tLeave the step that is held now;") && verbs.ends_with(":4\n"), "{verbs}");
        assert_eq!(verbs.lines().count(), 2);
        assert_eq!(alone("").await.lines().count(), 1 + Args::command().get_subcommands().count());
        assert_eq!(
            alone("promote checkout --fu").await,
            "--full\tLeave all steps: promote as soon as the canary's pods can carry everything\n:4\n"
        );
        assert!(alone("-n shop status --k").await.starts_with("--kubeconfig\t"));
        assert_eq!(alone("get -o js").await, "json\tThe object, as JSON\n:4\n");
        assert_eq!(alone("get --kubeconfig ").await, ":0\n", "files are the shell's to complete");
        assert_eq!(alone("abort checkout --reason b").await, ":4\n");
        assert_eq!(alone("abort checkout ").await, ":4\n", "nothing follows");
    }

    #[tokio::test]
    async fn names_are_those_of_the_cluster_that_the_line_names() {
        let typed = line("--context prod -n=pay status --kubeconfig /k ch");
        assert_eq!(typed.next, Next::Rollout);
        let global = &typed.global;
        assert_eq!((global.namespace.as_deref(), global.context.as_deref()), (Some("pay"), Some("prod")));
        assert_eq!(global.kubeconfig.as_deref(), Some(Path::new("/k")));
        assert_eq!(line("-npay get ").global.namespace.as_deref(), Some("pay"));
        let cart = json!({"metadata": {"name": "cart"}});
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": [at_rest(), cart]});
        let all = || Fake::default().on("GET", ROLLOUTS, list.clone());
        assert_eq!(answered("status ", &all()).await, "checkout\tStable\ncart\n:4\n");
        assert_eq!(answered("promote --full ch", &all()).await, "checkout\tStable\n:4\n");
        let namespaces =
            json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": [{"metadata": {"name": "shop"}}]});
        let namespaces = Fake::default().on("GET", "/api/v1/namespaces", namespaces);
        assert_eq!(answered("status -n ", &namespaces).await, "shop\n:4\n");
        let nobody = Fake::default().refuse("GET", ROLLOUTS, 403, &json!({}), "no");
        assert_eq!(answered("status ", &nobody).await, ":4\n");
    }

    #[tokio::test]
    async fn steps_revisions_and_containers_are_those_of_the_rollout() {
        let one = || Fake::default().on("GET", format!("{ROLLOUTS}/checkout"), in_flight());
        assert_eq!(answered("set-step rollout/checkout ", &one()).await, "warm\t0 %\nmore\t20 %\nhalf\t50 %\n:4\n");
        let with_past = cluster(at_rest(), &[former("old", "app:v6", Some(6), 172_800)]);
        let revisions = "6c9f7d5b44\tserves\nold\tserved before\n:4\n";
        assert_eq!(answered("undo checkout --to-revision ", &with_past).await, revisions);
        let held = || one().on("GET", "/apis/apps/v1/namespaces/shop/deployments/checkout", deployment(7, "app:v7"));
        assert_eq!(answered("set-image checkout ", &held()).await, "app=\n:4\n");
        assert_eq!(answered("set-image checkout side=x a", &held()).await, "app=\n:4\n", "there may be several");
    }

    #[test]
    fn every_name_that_a_verb_takes_can_be_completed() {
        let mut root = Args::command();
        root.build();
        for verb in root.get_subcommands() {
            for arg in verb.get_positionals() {
                assert_ne!(value_of(arg, &["checkout"]), Next::Free, "{} of {}", arg.get_id(), verb.get_name());
            }
        }
    }

    #[test]
    fn the_plugin_completes_under_the_name_that_kubectl_asks() {
        assert!(is_asked_for(OsStr::new("/usr/local/bin/kubectl_complete-bellwether")));
        assert!(!is_asked_for(OsStr::new("/usr/local/bin/kubectl-bellwether")));
    }
}
