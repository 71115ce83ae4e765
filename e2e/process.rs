//! Programs that are run, and processes of pods that are killed, stopped and resumed.
use std::{path::Path, process::Stdio};
use tokio::{io::AsyncWriteExt, process::Command};

/// The script that makes the cluster.
const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hack/cluster");

/// What a program said.
#[derive(Debug)]
pub struct Said {
    /// Whether it ended well.
    pub ok: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Its standard output, if it ended well.
    pub fn well(self, what: &str) -> String {
        assert!(self.ok, "{what} failed: {}{}", self.out, self.err);
        self.out
    }
}

/// Runs a program to its end, with this as its standard input.
pub async fn run(program: impl AsRef<Path>, args: &[&str], input: &str) -> Said {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
    let mut stdin = child.stdin.take().unwrap();
    // A program that has ended without reading everything says why by itself.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let done = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { ok: done.status.success(), out: text(done.stdout), err: text(done.stderr) }
}

/// Runs kubectl in a namespace.
pub async fn kubectl(namespace: &str, args: &[&str]) -> Said {
    run("kubectl", &[&["-n", namespace], args].concat(), "").await
}

/// Runs hack/cluster; returns what it said.
pub async fn cluster(args: &[&str]) -> String {
    run(CLUSTER, args, "").await.well(&format!("hack/cluster {}", args.join(" ")))
}

/// Runs our plugin in a namespace.
pub async fn plugin(namespace: &str, args: &[&str]) -> Said {
    run(env!("CARGO_BIN_EXE_kubectl-bellwether"), &[args, &["-n", namespace]].concat(), "").await
}

/// The one process of this pod whose command line has this word; the pause process of a pod has none of ours.
pub fn of_pod(pod_uid: &str, word: &str) -> u32 {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let found: Vec<u32> = pids
        .filter(|pid: &u32| {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("cgroup").contains(pod_uid) && read("cmdline").split('\0').any(|part| part.contains(word))
        })
        .collect();
    let [pid] = found.as_slice() else {
        panic!("one process of pod {pod_uid} with {word} was expected, not {found:?}")
    };
    *pid
}

/// Sends a signal to a process; it must be there.
pub async fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    run("sh", &["-c", r#"kill -"$0" "$1""#, name, &pid], "").await.well("kill");
}

/// A stopped process that goes on when this ends, however it ends.
pub struct Stopped(u32);

impl Stopped {
    /// Stops a process.
    pub async fn stop(pid: u32) -> Self {
        signal(pid, "STOP").await;
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let resumed = std::process::Command::new("sh").args(["-c", r#"kill -CONT "$0""#, &self.0.to_string()]).status();
        assert!(resumed.is_ok_and(|status| status.success()), "process {} could not be resumed", self.0);
    }
}

/// What happens to a daemon of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is killed, and started again.
    Killed,
    /// It is stopped, and goes on.
    Paused,
}

/// Daemons that do nothing until this ends, however it ends.
pub struct Outage {
    cures: Vec<Vec<&'static str>>,
}

impl Outage {
    /// Takes daemons of hack/cluster away.
    pub async fn begin(daemons: &[&'static str], fault: Fault) -> Self {
        let mut outage = Self { cures: Vec::new() };
        for daemon in daemons {
            let (verb, cure) = match fault {
                Fault::Killed => ("kill", vec!["up"]),
                Fault::Paused => ("pause", vec!["resume", daemon]),
            };
            outage.cures.push(cure);
            cluster(&[verb, daemon]).await;
        }
        // One `up` brings back all.
        outage.cures.dedup();
        outage
    }

    /// Brings them back, and waits until they are.
    pub async fn end(mut self) {
        for cure in std::mem::take(&mut self.cures) {
            cluster(&cure).await;
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        for cure in &self.cures {
            let cured = std::process::Command::new(CLUSTER).args(cure).stdin(Stdio::null()).status();
            assert!(cured.is_ok_and(|status| status.success()), "hack/cluster {} failed", cure.join(" "));
        }
    }
}
