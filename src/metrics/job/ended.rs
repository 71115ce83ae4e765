//! How a Job ended: what its conditions and its pods say.
//!
//! Only a program that ran and said how it went is evidence. Whatever kept it from that is not.
use super::{JobResult, text};
use serde_json::Value;
use std::sync::Arc;

/// Why a container ended by no doing of its program.
const NOT_ITS_OWN: [&str; 5] =
    ["OOMKilled", "ContainerCannotRun", "StartError", "ContainerStatusUnknown", "DeadlineExceeded"];

/// The condition that says that a Job has ended, and the reason it gives.
fn end(job: &Value) -> Option<(&str, &str)> {
    let conditions = job["status"]["conditions"].as_array()?;
    let mut ends = conditions.iter().filter(|it| it["status"] == "True");
    let end = ends.find(|it| matches!(text(it, "/type"), "Complete" | "Failed"))?;
    Some((text(end, "/type"), text(end, "/reason")))
}

/// Whether a Job has ended.
pub(super) fn has_ended(job: &Value) -> bool {
    end(job).is_some()
}

/// The number of a Job that has ended: its exit code or its score. Or why it says nothing.
pub(super) fn result(job: &Value, pods: &[Arc<Value>], wanted: JobResult) -> Option<Result<f64, String>> {
    let (how, reason) = end(job)?;
    Some(match (how, wanted) {
        ("Complete", JobResult::ExitCode) => Ok(0.0),
        ("Complete", JobResult::Score) => score(pods),
        (_, _) if reason == "DeadlineExceeded" => Err("was ended by its deadline".to_owned()),
        _ => failed(pods).and_then(|code| match wanted {
            #[expect(clippy::cast_precision_loss, reason = "an exit code fits")]
            JobResult::ExitCode => Ok(code as f64),
            JobResult::Score => Err(format!("ended with exit code {code}, and a score counts with exit code 0 only")),
        }),
    })
}

/// The exit code with which a program failed, or why none did.
fn failed(pods: &[Arc<Value>]) -> Result<i64, String> {
    let mut why = "failed, and has no pod that says how".to_owned();
    for pod in pods.iter().filter(|pod| pod["status"]["phase"] == "Failed") {
        match exit_code(pod) {
            Ok(code) => return Ok(code),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

fn exit_code(pod: &Value) -> Result<i64, String> {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let disrupted = conditions.iter().find(|it| it["type"] == "DisruptionTarget" && it["status"] == "True");
    let reason = disrupted.map(|it| text(it, "/reason")).or(Some(text(pod, "/status/reason")));
    if let Some(reason) = reason.filter(|reason| disrupted.is_some() || !reason.is_empty()) {
        return Err(format!("lost its pod: {}", words(reason)));
    }
    let ended = containers(pod).map(|status| &status["state"]["terminated"]);
    let mut failed = ended.filter_map(|ended| Some((ended["exitCode"].as_i64().filter(|code| *code != 0)?, ended)));
    match failed.next() {
        Some((_, ended)) if NOT_ITS_OWN.contains(&text(ended, "/reason")) => {
            Err(format!("was not ended by its program: {}", text(ended, "/reason")))
        }
        Some((code, _)) => Ok(code),
        None => Err("failed, and no container of its pod says how".to_owned()),
    }
}

/// The number that a termination message holds. What else it says is not shown.
fn score(pods: &[Arc<Value>]) -> Result<f64, String> {
    let done = pods.iter().filter(|pod| pod["status"]["phase"] == "Succeeded");
    let messages = done.flat_map(|pod| containers(pod)).map(|status| text(status, "/state/terminated/message"));
    let mut why = "wrote no termination message";
    for message in messages.filter(|message| !message.trim().is_empty()) {
        let read = serde_json::from_str::<Value>(message).unwrap_or_default();
        match read["score"].as_f64().filter(|score| score.is_finite()) {
            Some(score) => return Ok(score),
            None => why = "wrote a termination message that is no JSON object with a number as its score",
        }
    }
    Err(why.to_owned())
}

/// What is said of a pod's containers; those that prepare come last.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["containerStatuses", "initContainerStatuses"];
    lists.into_iter().filter_map(|list| pod["status"][list].as_array()).flatten()
}

fn words(reason: &str) -> String {
    let reason: String = reason.chars().filter(char::is_ascii_alphanumeric).take(63).collect();
    if reason.is_empty() { "for no reason that it gives".to_owned() } else { reason }
}
