//! Runs the Jobs that metrics are measured by, beside the looks like every question to a provider.
//!
//! Only who leads creates and deletes. A create that comes late, after a pause past the Lease's end, makes the Job that
//! the next leader would make under the same name, or one that the next look finds to be nobody's.
use super::{
    Cluster, Key, ask::locked, key_of, kinds, measure::subject_of, perform::rollout_owner, refusals::words_of,
};
use crate::{
    api::{ROLLOUT_LABEL, Rollout},
    metrics::{
        self, Metric, Outcome, Seen, Subject,
        job::{self, Runs, Standing, Whose},
    },
    plan::claim_labels,
    telemetry::WriteLabels,
};
use futures::future::{join_all, try_join_all};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

/// Which pods are a Job's, by the label that its controller gives them.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// The pods of Jobs that have ended, by their Job's uid and their own. Their node may go, or somebody tidies up, before the
/// next run keeps the result.
#[derive(Default)]
pub struct EndedPods(Mutex<HashMap<Key, ByJob>>);

type ByJob = HashMap<String, BTreeMap<String, Arc<Value>>>;

impl EndedPods {
    /// Of these pods those that are the Job's, and those of it that there were before.
    fn with(&self, key: &Key, job: &str, pods: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
        let is_its = |pod: &Arc<Value>| {
            pod["metadata"]["ownerReferences"].as_array().is_some_and(|it| it.iter().any(|it| it["uid"] == job))
        };
        let uid = |pod: &Arc<Value>| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let mut all = locked(&self.0);
        let known = all.entry(key.clone()).or_default().entry(job.to_owned()).or_default();
        known.extend(pods.into_iter().filter(is_its).map(|pod| (uid(&pod), pod)));
        known.values().cloned().collect()
    }

    /// Of a Rollout's Jobs there are these yet.
    fn keep(&self, key: &Key, jobs: &[Arc<Value>]) {
        let mut all = locked(&self.0);
        if let Some(known) = all.get_mut(key) {
            known.retain(|uid, _| jobs.iter().any(|job| job["metadata"]["uid"] == **uid));
        }
    }

    /// Nothing of a Rollout is wanted any more.
    pub fn forget(&self, key: &Key) {
        locked(&self.0).remove(key);
    }
}

impl Cluster {
    /// What the Jobs of the metrics say that are measured by Jobs; those that are due are begun, and those that nobody needs
    /// are deleted. Their pods stay apart from what these selectors mean.
    pub(super) async fn read_jobs(
        &self,
        rollout: &Rollout,
        subject: &Subject,
        selectors: &[Value],
    ) -> Vec<(String, Seen)> {
        let metrics: Vec<_> = rollout.spec.analysis.metrics.iter().filter(|metric| metric.job.is_some()).collect();
        if metrics.is_empty() {
            return Vec::new();
        }
        let jobs = match self.jobs_of(rollout).await {
            Ok(jobs) => jobs,
            Err(error) => {
                let why = format!("Jobs cannot be read: {}", told(&error));
                return metrics.iter().map(|metric| (metric.name.clone(), unreachable(why.clone()))).collect();
            }
        };
        self.ended_pods.keep(&key_of(rollout), &jobs);
        let whose = whose(rollout);
        let subjects: Vec<_> =
            metrics.iter().map(|metric| Subject { delay: metric.initial_delay, ..subject.clone() }).collect();
        let runs: Vec<_> =
            metrics.iter().zip(&subjects).filter_map(|(metric, subject)| Runs::of(metric, subject, &whose)).collect();
        let live = runs.iter().map(Runs::question).collect();
        let each = metrics.iter().zip(&runs).map(|(metric, runs)| async {
            (metric.name.clone(), self.read_runs(rollout, metric, runs, &jobs, selectors).await)
        });
        let seen = join_all(each).await;
        self.delete_surplus(rollout, &jobs, &live).await;
        seen
    }

    /// Nothing is on trial any more: what still runs is ended.
    pub(super) async fn end_jobs(&self, rollout: &Rollout) {
        self.ended_pods.forget(&key_of(rollout));
        match self.jobs_of(rollout).await {
            Ok(jobs) => self.delete_surplus(rollout, &jobs, &BTreeSet::new()).await,
            Err(error) => tracing::debug!(error = error.to_string(), "Jobs cannot be read; their deadlines end them"),
        }
    }

    /// The Jobs that were made for this Rollout.
    async fn jobs_of(&self, rollout: &Rollout) -> Result<Vec<Arc<Value>>, kube::Error> {
        let labels = format!("{ROLLOUT_LABEL}={}", rollout.name_any());
        let params = ListParams::default().labels(&labels);
        let jobs = self.ask_for_all(&kinds::jobs(), &rollout.namespace().unwrap_or_default(), &params).await?;
        let uid = rollout.uid().unwrap_or_default();
        let is_owner = |owner: &Value| owner["uid"] == uid && owner["kind"] == "Rollout";
        let is_ours =
            |job: &Arc<Value>| job["metadata"]["ownerReferences"].as_array().is_some_and(|it| it.iter().any(is_owner));
        Ok(jobs.into_iter().filter(is_ours).collect())
    }

    async fn read_runs(
        &self,
        rollout: &Rollout,
        metric: &Metric,
        runs: &Runs<'_>,
        jobs: &[Arc<Value>],
        selectors: &[Value],
    ) -> Seen {
        let namespace = rollout.namespace().unwrap_or_default();
        let template = metric.job.as_ref().map(|job| &job.template);
        if let Some(complaint) = template.and_then(|template| job::apart(template, selectors).err()) {
            return metrics::refused(&complaint);
        }
        let key = key_of(rollout);
        let pods = runs.ended(jobs).into_iter().map(|name| {
            let (namespace, key) = (&namespace, &key);
            async move {
                let params = ListParams::default().labels(&format!("{JOB_NAME}={name}"));
                let pods = self.ask_for_all(&kinds::pods(), namespace, &params).await?;
                let job = jobs.iter().find(|job| job["metadata"]["name"] == *name);
                let uid = job.and_then(|job| job["metadata"]["uid"].as_str()).unwrap_or_default();
                Ok::<_, kube::Error>((name, self.ended_pods.with(key, uid, pods)))
            }
        });
        let pods: BTreeMap<_, _> = match try_join_all(pods).await {
            Ok(pods) => pods.into_iter().collect(),
            Err(error) => return unreachable(format!("the pods of a Job cannot be read: {}", told(&error))),
        };
        let step = rollout.status.as_ref().and_then(|status| status.step.as_ref());
        let counts = step.is_none_or(|step| rollout.spec.counts_in(metric, &step.name));
        let standing = if counts { Standing::Judged } else { Standing::Idle };
        let shown = runs.look(jobs, &pods, standing);
        for object in shown.create {
            if let Err(error) = self.begin_job(rollout, &namespace, object).await {
                let why = format!("a Job cannot be created: {}", told(&error));
                return Seen { canary: shown.seen.canary, samples: shown.seen.samples, ..unreachable(why) };
            }
        }
        shown.seen
    }

    /// Creates a Job, unless it is there, or somebody else may lead by now.
    async fn begin_job(&self, rollout: &Rollout, namespace: &str, mut object: Value) -> Result<(), kube::Error> {
        for (key, value) in claim_labels(&rollout.name_any(), &rollout.uid().unwrap_or_default()) {
            object["metadata"]["labels"][key] = json!(value);
        }
        object["metadata"]["ownerReferences"] = json!([rollout_owner(rollout, true)]);
        let is_over = subject_of(rollout).is_some_and(|of| !self.measurements.is_open(&key_of(rollout), &of));
        if is_over || !self.leads() {
            return Ok(());
        }
        let made = self.create_strictly(&kinds::jobs(), namespace, object).await;
        let made = match made {
            // It was made before, by whoever was interrupted then.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other,
        };
        self.count("create-job", &made);
        made
    }

    /// Deletes what nobody needs, with its pods. What cannot be deleted is tried again by the next measurement.
    async fn delete_surplus(&self, rollout: &Rollout, jobs: &[Arc<Value>], live: &BTreeSet<String>) {
        let namespace = rollout.namespace().unwrap_or_default();
        for (name, uid) in job::surplus(jobs, live) {
            if !self.leads() {
                return;
            }
            let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
            let params = DeleteParams { preconditions, ..DeleteParams::background() };
            let deleted = self.delete(&kinds::jobs(), &namespace, &name, params).await;
            self.count("delete-job", &deleted);
            if let Err(error) = deleted {
                tracing::debug!(job = name, error = error.to_string(), "a Job cannot be deleted");
            }
        }
    }

    fn count(&self, effect: &'static str, done: &Result<(), kube::Error>) {
        let outcome = match done {
            Ok(()) => "ok",
            Err(kube::Error::Api(status)) if status.code == 409 => "conflict",
            Err(_) => "error",
        };
        self.telemetry.api_writes.get_or_create(&WriteLabels { effect, outcome }).inc();
    }
}

fn whose(rollout: &Rollout) -> Whose {
    let status = rollout.status.as_ref();
    let revision = |arm: Option<&crate::api::ArmStatus>| arm.map(|arm| arm.revision.clone()).unwrap_or_default();
    Whose {
        rollout: rollout.name_any(),
        uid: rollout.uid().unwrap_or_default(),
        canary: revision(status.and_then(|status| status.canary.as_ref())),
        stable: revision(status.and_then(|status| status.stable.as_ref())),
    }
}

fn unreachable(why: String) -> Seen {
    metrics::unanswered(Outcome::Unreachable, why)
}

/// What the API server said, and the cure where the operator lacks a right.
fn told(error: &kube::Error) -> String {
    let words = words_of(error);
    match error {
        kube::Error::Api(status) if status.code == 403 && words.contains("cannot ") => {
            format!("{words}; the chart's value rbac.jobs gives the operator that right")
        }
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::tests::{self, Calls},
        judge::Sensitivity,
        metrics::ArmNames,
    };
    use jiff::Timestamp;

    const JOBS: &str = "/apis/batch/v1/namespaces/n/jobs";

    fn rollout() -> Rollout {
        let container = json!({"name": "smoke", "image": "smoke:1"});
        let metric = json!({"name": "smoke", "job": {"template": {"spec": {"containers": [container]}}}});
        serde_json::from_value(json!({
            "apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "shop", "namespace": "n", "uid": "u"},
            "spec": {
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "steps": [{"name": "a", "weight": 5, "observe": "1m"}], "analysis": {"metrics": [metric]},
            },
        }))
        .unwrap()
    }

    fn subject() -> Subject {
        let arm = |name: &str| ArmNames {
            replica_set: format!("shop-{name}"),
            pod_template_hash: name.to_owned(),
            service: format!("shop-{name}"),
        };
        Subject {
            namespace: "n".to_owned(),
            stable: arm("stable"),
            canary: arm("canary"),
            port: 80,
            margins: Sensitivity::Normal.margins(),
            bursts: None,
            past: None,
            points: None,
            evidence_since: Timestamp::UNIX_EPOCH,
            shared_since: None,
            delay: crate::duration::Duration::ZERO,
            now: Timestamp::from_second(60).unwrap(),
        }
    }

    /// A leader's cluster with these Jobs, which answers whatever else is asked with this.
    fn cluster(jobs: &[Value], other: (u16, Value)) -> (Cluster, Calls) {
        let list = json!({"kind": "JobList", "apiVersion": "batch/v1", "metadata": {}, "items": jobs});
        let (cluster, calls) =
            tests::cluster(
                move |call, _| {
                    if call == format!("GET {JOBS}") { (200, list.clone()) } else { other.clone() }
                },
            );
        cluster.lead(1);
        (cluster, calls)
    }

    fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code});
        (code, status)
    }

    /// What was asked but for the list.
    fn written(calls: &Calls) -> Vec<(String, Value)> {
        calls.lock().unwrap().iter().filter(|(call, _)| !call.starts_with("GET")).cloned().collect()
    }

    async fn looked(cluster: &Cluster) -> Seen {
        let mut seen = cluster.read_jobs(&rollout(), &subject(), &[]).await;
        assert_eq!(seen.len(), 1);
        seen.remove(0).1
    }

    fn job(uid: &str, owner: &str) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "shop-smoke-old", "namespace": "n", "uid": uid,
                "labels": {ROLLOUT_LABEL: "shop", "bellwether.dev/question": "another"},
                "ownerReferences": [{"apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "name": "shop", "uid": owner}],
            },
        })
    }

    #[tokio::test]
    async fn a_job_is_created_once_with_its_owner_and_one_that_is_there_already_is_no_failure() {
        let (cluster, calls) = cluster(&[], (201, json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": {}})));
        assert_eq!(looked(&cluster).await.outcome, Outcome::Empty);
        let made = written(&calls);
        assert_eq!((made.len(), made[0].0.as_str()), (1, "POST /apis/batch/v1/namespaces/n/jobs"));
        let metadata = &made[0].1["metadata"];
        assert_eq!(metadata["labels"][ROLLOUT_LABEL], "shop");
        assert_eq!(
            (&metadata["ownerReferences"][0]["uid"], &metadata["ownerReferences"][0]["kind"]),
            (&json!("u"), &json!("Rollout"))
        );
        // Its answer was lost: the next look does not see it yet, and meets it.
        let (cluster, calls) = self::cluster(&[], status(409, "AlreadyExists", "it exists"));
        let seen = looked(&cluster).await;
        assert_eq!((seen.outcome, written(&calls).len()), (Outcome::Empty, 1), "{}", seen.why);
        assert_eq!(written(&calls)[0].1["metadata"]["name"], metadata["name"], "under the same name");
    }

    #[tokio::test]
    async fn what_is_on_trial_no_more_begins_no_job() {
        let (cluster, calls) = cluster(&[], (201, json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": {}})));
        let mut over = serde_json::to_value(rollout()).unwrap();
        over["status"] = json!({
            "phase": "Progressing",
            "flight": {
                "revision": "2", "candidate": "shop-2", "fingerprint": "f", "startedAt": "2026-01-01T00:00:00Z", "steps": [],
                "evidenceSince": "2026-01-01T00:00:00.000000Z",
            },
        });
        let over: Rollout = serde_json::from_value(over).unwrap();
        assert!(subject_of(&over).is_some());
        cluster.read_jobs(&over, &subject(), &[]).await;
        assert!(written(&calls).is_empty(), "its measurement was forgotten while it was under way");
    }

    #[tokio::test]
    async fn a_right_that_is_missing_is_told_with_the_value_that_gives_it() {
        let words = "jobs.batch is forbidden: User \"x\" cannot create resource \"jobs\" in API group \"batch\"";
        let (cluster, _) = cluster(&[], status(403, "Forbidden", words));
        let seen = looked(&cluster).await;
        assert_eq!(seen.outcome, Outcome::Unreachable);
        assert!(seen.why.contains("rbac.jobs") && seen.why.contains("cannot create"), "{}", seen.why);
    }

    #[test]
    fn what_a_pod_has_said_stays_known_while_its_job_is_there_and_nobody_elses_pod_speaks_for_it() {
        let (ended, key) = (EndedPods::default(), key_of(&rollout()));
        let pod =
            |uid: &str, owner: &str| Arc::new(json!({"metadata": {"uid": uid, "ownerReferences": [{"uid": owner}]}}));
        let job = |uid: &str| Arc::new(json!({"metadata": {"uid": uid}}));
        let known = |pods: Vec<Arc<Value>>| ended.with(&key, "job", pods).len();
        assert_eq!(known(vec![pod("a", "job"), pod("b", "another"), Arc::new(json!({"metadata": {"uid": "c"}}))]), 1);
        assert_eq!((known(vec![]), known(vec![pod("a", "job"), pod("d", "job")])), (1, 2));
        ended.keep(&key, &[job("job"), job("another")]);
        assert_eq!(known(vec![]), 2);
        ended.keep(&key, &[job("another")]);
        assert_eq!(known(vec![]), 0);
    }

    #[tokio::test]
    async fn who_does_not_lead_any_more_neither_creates_nor_deletes() {
        let (cluster, calls) = cluster(&[job("1", "u")], (200, json!({})));
        cluster.resign();
        let _ = looked(&cluster).await;
        cluster.end_jobs(&rollout()).await;
        assert_eq!(written(&calls), []);
    }

    #[tokio::test]
    async fn what_nobody_needs_is_deleted_by_its_uid_with_its_pods_and_what_is_anothers_is_left() {
        let (cluster, calls) = cluster(&[job("1", "u"), job("2", "another Rollout")], (200, json!({"kind": "Status"})));
        cluster.end_jobs(&rollout()).await;
        let deleted = written(&calls);
        assert_eq!(
            (deleted.len(), deleted[0].0.as_str()),
            (1, "DELETE /apis/batch/v1/namespaces/n/jobs/shop-smoke-old")
        );
        assert_eq!(deleted[0].1["preconditions"], json!({"uid": "1"}));
        assert_eq!(deleted[0].1["propagationPolicy"], "Background");
    }
}
