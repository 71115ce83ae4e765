//! A Job that is run for the canary, and for stable where its number is asked for: a smoke test, a model's evaluation.
//!
//! What is known of earlier runs stands in the Jobs themselves: each holds the results of those before it. So a restarted
//! operator reads the same history, and Jobs that were made already are not made again, for their names follow from what
//! they are run for.
use super::{ArmNames, Complaint, Metric, Outcome, Seen, Subject, held::Held, held::Noun, web};
use crate::{
    duration::Duration,
    judge::threshold::{self, Point},
    vocab::{Arm, Verdict},
};
use jiff::{SignedDuration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

mod ended;
mod template;

pub use template::{apart, matches};

/// Label of a Job: the metric that it is run for.
const METRIC_LABEL: &str = "bellwether.dev/metric";
/// Label of a Job: what tells runs of one question from those of another, as of another candidate.
const QUESTION_LABEL: &str = "bellwether.dev/question";
/// Label of a Job: its run's number, from 1 on.
const RUN_LABEL: &str = "bellwether.dev/run";
/// Label of a Job: for whom it is run.
const ARM_LABEL: &str = "bellwether.dev/arm";
/// Annotation of a Job: the results of the runs before it, oldest first; null is one without a result.
const EARLIER: &str = "bellwether.dev/earlier-runs";
/// The Jobs of so many runs of a metric are kept.
const KEPT: usize = 3;
/// So many runs in a row without a result are enough.
const TRIES: usize = 3;
/// So many results are remembered; older ones have been judged by earlier looks.
const MOST: usize = 1_000;
/// A Job's deadline is noticed so much later at most.
const SLACK: SignedDuration = SignedDuration::from_mins(1);
const RUNS: Noun = Noun { one: "run", many: "runs" };

/// A Job that is run against the canary, and against stable as well where `when` asks for stable's number.
///
/// It runs in the Rollout's namespace, by that namespace's rules. Whoever writes it into a Rollout or a template must be
/// allowed to create Jobs there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobOf {
    /// What says how a run went. Default `ExitCode`.
    #[serde(default)]
    pub result: JobResult,
    /// A run that takes longer is ended and has no result. From 1s to 24h, default 10m.
    #[serde(default = "ten_minutes")]
    pub deadline: Duration,
    /// How often a pod of a run is replaced that failed, at most 6. Default 0.
    #[serde(default)]
    #[schemars(range(max = 6), extend("format" = "int32"))]
    pub backoff_limit: u32,
    /// The pods: `metadata` with labels and annotations, and `spec`, at most 32 KiB together. The labels must not be those by
    /// which the Deployment or its Services know their pods. Each container gets these environment variables: the canary's
    /// or stable's `BELLWETHER_ARM`, `BELLWETHER_SERVICE` (empty without routes), `BELLWETHER_PORT`,
    /// `BELLWETHER_REPLICASET`, `BELLWETHER_POD_TEMPLATE_HASH` and `BELLWETHER_REVISION`; and `BELLWETHER_ROLLOUT`. In a
    /// template, arguments are filled into values of `env` only.
    #[schemars(schema_with = "any_object")]
    pub template: Map<String, Value>,
}

/// What says how a run of a Job went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JobResult {
    /// Its exit code: 0 is good, others have failed.
    #[default]
    ExitCode,
    /// The number in `{"score": 0.93}`, which one of its containers writes to its termination message, the file
    /// `/dev/termination-log`, before it exits with 0. It is held against `limit` or `when`.
    Score,
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn ten_minutes() -> Duration {
    Duration::seconds(600)
}

/// The Rollout that Jobs are run for, and its revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// Its name.
    pub rollout: String,
    /// Its uid.
    pub uid: String,
    /// The revision on trial.
    pub canary: String,
    /// The revision that is stable.
    pub stable: String,
}

/// Whether a metric is judged in the step that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is: Jobs are run.
    Judged,
    /// It is not: what has run is read.
    Idle,
}

/// The runs of one metric's Job against one candidate.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    metric: &'a Metric,
    of: &'a JobOf,
    subject: &'a Subject,
    whose: &'a Whose,
}

/// What one look at the Jobs has shown, and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// What they say.
    pub seen: Seen,
    /// Jobs to create, but for the labels and the owner that all objects of a Rollout have.
    pub create: Vec<Value>,
}

/// The numbers of one run: the canary's, and stable's where it is asked for; nothing where it had no result.
type Numbers = Option<(f64, Option<f64>)>;

/// How the newest run stands.
enum Newest {
    /// There is none yet.
    None,
    /// Jobs of these arms are missing: whoever made the others was interrupted.
    Partial { number: u32, missing: Vec<Arm> },
    /// This Job has not ended.
    Running { job: String, created: Timestamp },
    /// It has ended, and began then; without numbers, for this reason.
    Ended { number: u32, created: Timestamp, why: Option<String> },
}

impl JobOf {
    pub(super) fn check(&self) -> Result<(), Complaint> {
        let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
        if !(Duration::seconds(1)..=Duration::seconds(86_400)).contains(&self.deadline) {
            return value("job.deadline", "write 1s to 24h");
        }
        if self.backoff_limit > 6 {
            return value("job.backoffLimit", "write 0 to 6");
        }
        template::check(&self.template)
    }
}

impl<'a> Runs<'a> {
    /// The runs of a metric, if a Job is what it is measured by.
    pub fn of(metric: &'a Metric, subject: &'a Subject, whose: &'a Whose) -> Option<Self> {
        Some(Self { metric, of: metric.job.as_ref()?, subject, whose })
    }

    /// A name for what is asked: this Job, of this candidate, since evidence began.
    pub fn question(&self) -> String {
        let names_stable = self.metric.names_stable();
        let stable = names_stable.then_some(&self.subject.stable.replica_set);
        let since = self.subject.evidence_since.as_millisecond();
        let whom = (&self.whose.uid, &self.metric.name, &self.subject.canary.replica_set, stable, since);
        short(&json!([whom, self.of]).to_string())
    }

    /// The names of Jobs that have ended and whose pods say how.
    pub fn ended(&self, jobs: &[Arc<Value>]) -> Vec<String> {
        let newest = self.mine(jobs).map(|(number, _)| number).max();
        let of_newest = self.mine(jobs).filter(|(number, _)| Some(*number) == newest);
        of_newest
            .filter(|(_, job)| ended::has_ended(job))
            .map(|(_, job)| text(job, "/metadata/name").to_owned())
            .collect()
    }

    /// What the Jobs say, given the pods of those that have ended, and which are to be made.
    pub fn look(&self, jobs: &[Arc<Value>], pods: &BTreeMap<String, Vec<Arc<Value>>>, standing: Standing) -> Shown {
        let nothing = |seen| Shown { seen, create: Vec::new() };
        if let Err(complaint) = self.metric.check() {
            return nothing(Seen::invalid(complaint.to_string()));
        }
        if self.subject.now < web::since(self.subject) {
            return nothing(Seen::nothing(Outcome::Empty, "the evidence of this metric has not begun yet"));
        }
        let (results, newest) = self.read(jobs, pods);
        let Held { kept, why, unit, .. } = self.judge(&results);
        let shown = results.iter().rev().flatten().next();
        let seen = Seen {
            canary: shown.map(|(canary, _)| unit.show(*canary)),
            stable: shown.and_then(|(_, stable)| *stable).map(|stable| unit.show(stable)),
            samples: u64::from(kept.judged),
            failures: kept.failures,
            ..Seen::nothing(Outcome::Measured, why)
        };
        if kept.verdict == Verdict::Fail || kept.finished {
            return nothing(Seen { verdict: kept.verdict, usable: true, ..seen });
        }
        self.go_on(&results, &newest, standing, &seen)
    }

    /// More runs are wanted.
    fn go_on(&self, results: &[Numbers], newest: &Newest, standing: Standing, seen: &Seen) -> Shown {
        let now = self.subject.now;
        let dark = |why: String| Shown {
            seen: Seen { verdict: Verdict::Unknown, outcome: Outcome::Unusable, why, ..seen.clone() },
            create: Vec::new(),
        };
        // Time for which something runs is time in which something is seen; without any result nothing follows from it.
        let under_way = |why: String, create| {
            let (verdict, outcome) = if seen.samples > 0 {
                (Verdict::Continue, Outcome::Measured)
            } else {
                (Verdict::Unknown, Outcome::Empty)
            };
            let why = if seen.samples > 0 { format!("{}; {why}", seen.why) } else { why };
            Shown { seen: Seen { verdict, outcome, usable: true, under_way: true, why, ..seen.clone() }, create }
        };
        let next = match newest {
            Newest::Running { job, created } => {
                let deadline = self.of.deadline.signed().saturating_add(SLACK);
                let overdue = now.duration_since(*created) > deadline;
                return if overdue {
                    dark(format!("Job {job} has not ended, and its deadline of {} is over", self.of.deadline))
                } else {
                    under_way(format!("Job {job} is running"), Vec::new())
                };
            }
            Newest::Partial { number, missing } => {
                let earlier = results.to_vec();
                let create = missing.iter().map(|arm| self.job(*number, *arm, &earlier)).collect();
                return under_way(format!("run {number} begins"), create);
            }
            Newest::Ended { number, created, why } => {
                let lost = results.iter().rev().take_while(|result| result.is_none()).count();
                let why = why.clone().unwrap_or_default();
                if lost >= TRIES {
                    return dark(format!(
                        "{lost} runs in a row had no result, and no more are tried until the job is changed: {why}"
                    ));
                }
                if now.duration_since(*created) < self.metric.interval.signed() {
                    let after = if lost > 0 { format!(" after {why}") } else { String::new() };
                    return under_way(
                        format!("run {} waits for its time{after}", number.saturating_add(1)),
                        Vec::new(),
                    );
                }
                number.saturating_add(1)
            }
            Newest::None => 1,
        };
        if standing == Standing::Idle {
            return dark("it is not run in this step".to_owned());
        }
        let create = self.arms().iter().map(|arm| self.job(next, *arm, results)).collect();
        under_way(format!("run {next} begins"), create)
    }

    fn judge(&self, results: &[Numbers]) -> Held {
        let numbers = results.iter().flatten().copied();
        match self.of.result {
            JobResult::Score => super::held::judge(self.metric, RUNS, numbers),
            JobResult::ExitCode => by_exit_code(self.metric, numbers.map(|(code, _)| code)),
        }
    }

    /// The results of all runs that have ended, oldest first, and how the newest stands.
    fn read(&self, jobs: &[Arc<Value>], pods: &BTreeMap<String, Vec<Arc<Value>>>) -> (Vec<Numbers>, Newest) {
        let Some(number) = self.mine(jobs).map(|(number, _)| number).max() else { return (Vec::new(), Newest::None) };
        let run: Vec<_> = self.mine(jobs).filter(|(other, _)| *other == number).map(|(_, job)| job).collect();
        let earlier = run.iter().find_map(|job| {
            let text = job["metadata"]["annotations"][EARLIER].as_str()?;
            serde_json::from_str::<Vec<Numbers>>(text).ok()
        });
        let mut results = earlier.unwrap_or_default();
        let of_arm = |arm: Arm| run.iter().find(|job| label(job, ARM_LABEL) == word(arm));
        let missing: Vec<_> = self.arms().iter().copied().filter(|arm| of_arm(*arm).is_none()).collect();
        if !missing.is_empty() {
            return (results, Newest::Partial { number, missing });
        }
        let created = run.iter().map(|job| self.created(job)).min().unwrap_or(self.subject.now);
        let mut numbers = Vec::new();
        let mut why = None;
        for job in self.arms().iter().filter_map(|arm| of_arm(*arm)) {
            let name = text(job, "/metadata/name").to_owned();
            let pods = pods.get(&name).map_or(&[][..], Vec::as_slice);
            match ended::result(job, pods, self.of.result) {
                None => return (results, Newest::Running { job: name, created }),
                Some(Ok(number)) => numbers.push(number),
                Some(Err(reason)) => why = why.or(Some(format!("Job {name} {reason}"))),
            }
        }
        let canary = numbers.first().filter(|_| why.is_none());
        results.push(canary.map(|canary| (*canary, numbers.get(1).copied())));
        results.drain(..results.len().saturating_sub(MOST));
        (results, Newest::Ended { number, created, why })
    }

    /// The Jobs of this question that stay, with the numbers of their runs.
    fn mine<'j>(&self, jobs: &'j [Arc<Value>]) -> impl Iterator<Item = (u32, &'j Value)> {
        let question = self.question();
        let mine =
            jobs.iter().map(|job| &**job).filter(move |job| label(job, QUESTION_LABEL) == question && !is_ending(job));
        mine.filter_map(|job| Some((label(job, RUN_LABEL).parse().ok()?, job)))
    }

    fn created(&self, job: &Value) -> Timestamp {
        text(job, "/metadata/creationTimestamp").parse().unwrap_or(self.subject.now)
    }

    fn arms(&self) -> &'static [Arm] {
        if self.metric.names_stable() { &[Arm::Canary, Arm::Stable] } else { &[Arm::Canary] }
    }

    /// One Job of a run.
    fn job(&self, number: u32, arm: Arm, earlier: &[Numbers]) -> Value {
        let question = self.question();
        let (names, revision) = match arm {
            Arm::Canary => (&self.subject.canary, &self.whose.canary),
            Arm::Stable => (&self.subject.stable, &self.whose.stable),
        };
        let begin = |name: &str, most| name.chars().take(most).collect::<String>().replace('.', "-");
        let (rollout, metric) = (begin(&self.whose.rollout, 16), begin(&self.metric.name, 16));
        let end = if arm == Arm::Stable { "-s" } else { "" };
        let name = format!("{rollout}-{metric}-{}-{question}-{number}{end}", begin(&self.whose.canary, 10));
        let labels = json!({
            METRIC_LABEL: self.metric.name, QUESTION_LABEL: question, RUN_LABEL: number.to_string(), ARM_LABEL: word(arm),
        });
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "labels": labels, "annotations": {EARLIER: json!(earlier).to_string()}},
            "spec": {
                "backoffLimit": self.of.backoff_limit,
                "activeDeadlineSeconds": (self.of.deadline.as_millis() / 1_000).max(1),
                "template": template::filled(&self.of.template, &self.variables(arm, names, revision)),
            },
        })
    }

    fn variables(&self, arm: Arm, names: &ArmNames, revision: &str) -> [(&'static str, String); 7] {
        [
            ("BELLWETHER_ARM", word(arm).to_owned()),
            ("BELLWETHER_SERVICE", names.service.clone()),
            ("BELLWETHER_PORT", self.subject.port.to_string()),
            ("BELLWETHER_REPLICASET", names.replica_set.clone()),
            ("BELLWETHER_POD_TEMPLATE_HASH", names.pod_template_hash.clone()),
            ("BELLWETHER_ROLLOUT", self.whose.rollout.clone()),
            ("BELLWETHER_REVISION", revision.to_owned()),
        ]
    }
}

/// Of a Rollout's Jobs those that nobody needs, by their names and uids: running ones of another question than these, and
/// all but those of the last runs of each metric.
pub fn surplus(jobs: &[Arc<Value>], live: &BTreeSet<String>) -> Vec<(String, String)> {
    let staying = jobs.iter().filter(|job| !is_ending(job));
    let is_live = |job: &Value| live.contains(label(job, QUESTION_LABEL));
    let (ours, strays): (Vec<_>, Vec<_>) = staying.partition(|job| ended::has_ended(job) || is_live(job));
    let run = |job: &Value| {
        let number: u32 = label(job, RUN_LABEL).parse().unwrap_or(0);
        let created = text(job, "/metadata/creationTimestamp").parse::<Timestamp>().unwrap_or_default();
        (is_live(job), created, label(job, QUESTION_LABEL).to_owned(), number)
    };
    let mut runs: BTreeMap<_, BTreeMap<_, Vec<&Arc<Value>>>> = BTreeMap::new();
    for job in &ours {
        // Both Jobs of a run were made within a moment, but not always within a second.
        let (is_live, created, question, number) = run(job);
        let of_metric = runs.entry(label(job, METRIC_LABEL)).or_default();
        let key = of_metric.keys().find(|(_, _, other, same)| (other, *same) == (&question, number)).cloned();
        of_metric.entry(key.unwrap_or((is_live, created, question, number))).or_default().push(job);
    }
    let old = runs.into_values().flat_map(|runs| runs.into_values().rev().skip(KEPT).flatten());
    let named = |job: &Arc<Value>| (text(job, "/metadata/name").to_owned(), text(job, "/metadata/uid").to_owned());
    strays.into_iter().chain(old).map(named).collect()
}

/// Exit codes held against 0.
fn by_exit_code(metric: &Metric, codes: impl Iterator<Item = f64> + Clone) -> Held {
    let failed = |code: f64| code != 0.0;
    let points = codes.clone().map(|code| if failed(code) { Point::Bad } else { Point::Good });
    let kept = threshold::judge(points, &metric.counting());
    let why = match (kept.failures, kept.judged) {
        (0, 1) => "the one run so far ended with exit code 0".to_owned(),
        (0, judged) => format!("all {judged} runs ended with exit code 0"),
        (failures, judged) => {
            let last = codes.filter(|code| failed(*code)).last().unwrap_or_default();
            let limit = metric.failure_limit;
            format!("{failures} of {judged} runs failed, the last with exit code {last}; failureLimit is {limit}")
        }
    };
    Held { kept, is_judged: true, why, unit: super::limit::Unit::Plain }
}

const fn word(arm: Arm) -> &'static str {
    match arm {
        Arm::Canary => "canary",
        Arm::Stable => "stable",
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"]["labels"][name].as_str().unwrap_or_default()
}

fn is_ending(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Eight letters for a text: any spread will do, for the Rollout, the metric and the revision stand beside it.
fn short(text: &str) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let letters = (0..8).map(|_| {
        let letter = LETTERS[usize::try_from(hash % 27).unwrap_or(0)];
        hash /= 27;
        char::from(letter)
    });
    letters.collect()
}

#[cfg(test)]
mod tests;
