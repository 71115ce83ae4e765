//! Which cluster a command goes to: the one to which kubectl would take it.
use super::{
    Global,
    errors::{self, Failure, Request},
};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The flags that lead to the same cluster and namespace, for the commands that a page suggests.
pub fn flags(global: &Global) -> String {
    let quoted = |text: &str| {
        let safe = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@".contains(letter);
        if text.chars().all(safe) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let kubeconfig = global.kubeconfig.as_ref().map(|file| file.to_string_lossy().into_owned());
    let one = [
        ("-n", &global.namespace),
        ("--context", &global.context),
        ("--kubeconfig", &kubeconfig),
        ("--as", &global.impersonate),
    ];
    let groups = global.groups.iter().map(|group| ("--as-group", group.as_str()));
    let all = one.into_iter().filter_map(|(flag, value)| Some((flag, value.as_deref()?))).chain(groups);
    all.flat_map(|(flag, value)| [" ".to_owned(), flag.to_owned(), " ".to_owned(), quoted(value)]).collect()
}

/// The cluster, and the namespace of what has none of its own.
///
/// # Errors
/// When no cluster is named, or what is named cannot be used.
pub async fn connect(global: &Global) -> Result<(Client, String), Failure> {
    let mut config = configured(global).await?;
    // A person waits for this one; the library's half minute is for programs.
    config.connect_timeout = Some(std::time::Duration::from_secs(10));
    if let Some(name) = &global.impersonate {
        config.auth_info.impersonate = Some(name.clone());
        config.auth_info.impersonate_groups = (!global.groups.is_empty()).then(|| global.groups.clone());
    }
    let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let anything = Request { verb: "reach", resource: "the cluster", name: "", namespace: &namespace };
    let client = Client::try_from(config).map_err(|error| errors::explain(anything, &error))?;
    Ok((client, namespace))
}

async fn configured(global: &Global) -> Result<Config, Failure> {
    let kubeconfig = match &global.kubeconfig {
        Some(file) => Some(read(file)?),
        None => found(
            std::env::var_os("KUBECONFIG"),
            std::env::home_dir().map(|home| home.join(".kube/config")).as_deref(),
        )?,
    };
    let Some(kubeconfig) = kubeconfig else {
        if let Some(context) = &global.context {
            return Err(Failure::new(format!("there is no context {context}, for there is no kubeconfig"))
                .hint("name one with --kubeconfig or the variable KUBECONFIG"));
        }
        // A program in a pod.
        return Config::incluster().map_err(|_| {
            Failure::new("cannot find out how to reach the cluster: there is no kubeconfig")
                .hint("name one with --kubeconfig or the variable KUBECONFIG")
        });
    };
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await;
    config.map_err(|error| errors::unusable(&error, Some(&kubeconfig)))
}

fn read(file: &Path) -> Result<Kubeconfig, Failure> {
    Kubeconfig::read_from(file).map_err(|error| errors::unusable(&error, None))
}

/// What this list of files says, of which those count that are there; without a list what the usual file says. Whoever has
/// named a kubeconfig is never led to the cluster of the pod in which the plugin happens to run.
fn found(list: Option<OsString>, usual: Option<&Path>) -> Result<Option<Kubeconfig>, Failure> {
    let named: Vec<PathBuf> = list
        .map(|list| std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    if named.is_empty() {
        return usual.filter(|file| file.exists()).map(read).transpose();
    }
    let mut there = named.iter().filter(|file| file.exists());
    let Some(first) = there.next() else {
        let all: Vec<_> = named.iter().map(|file| file.to_string_lossy()).collect();
        return Err(Failure::new(format!("none of the files is there that KUBECONFIG names: {}", all.join(", ")))
            .hint("correct the variable, or name a file with --kubeconfig"));
    };
    there
        .try_fold(read(first)?, |merged, file| {
            merged.merge(read(file)?).map_err(|error| errors::unusable(&error, None))
        })
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, context: &str) -> PathBuf {
        let file = std::env::temp_dir().join(format!("bellwether-{name}-{}", std::process::id()));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
             contexts: [{{name: {context}, context: {{cluster: c, user: u}}}}]\n"
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn files_that_are_not_there_are_passed_over_and_the_first_that_is_wins() {
        let (absent, one, two) = (PathBuf::from("/none/such"), file("one", "first"), file("two", "second"));
        let list = |files: &[&PathBuf]| Some(std::env::join_paths(files).unwrap());
        let chosen = |config: Option<Kubeconfig>| config.unwrap().current_context.unwrap();
        assert_eq!(chosen(found(list(&[&absent, &one, &two]), None).unwrap()), "first");
        let merged = found(list(&[&two, &absent, &one]), Some(&absent)).unwrap().unwrap();
        assert_eq!((merged.current_context.as_deref(), merged.contexts.len()), (Some("second"), 2));
        assert_eq!(chosen(found(None, Some(&one)).unwrap()), "first");
        assert_eq!(chosen(found(Some(OsString::new()), Some(&two)).unwrap()), "second");
        assert!(found(None, Some(&absent)).unwrap().is_none());
        let failure = found(list(&[&absent]), Some(&one)).unwrap_err();
        assert!(failure.words.contains("/none/such"), "{}", failure.words);
        for file in [one, two] {
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn suggested_commands_lead_to_the_same_place() {
        let global = Global {
            namespace: Some("shop".to_owned()),
            context: Some("my cluster's".to_owned()),
            kubeconfig: Some("/tmp/config".into()),
            impersonate: Some("jane".to_owned()),
            groups: vec!["on-call".to_owned(), "a b".to_owned()],
            output: None,
        };
        let wanted = r" -n shop --context 'my cluster'\''s' --kubeconfig /tmp/config --as jane --as-group on-call --as-group 'a b'";
        assert_eq!(flags(&global), wanted);
        assert_eq!(flags(&Global::default()), "");
    }
}
