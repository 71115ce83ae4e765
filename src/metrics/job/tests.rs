//! A Job that is run and read, look after look.
use super::{super::tests::subject_at, *};
use serde_json::json;

/// A metric by a Job, with these members beside it.
fn metric(more: &Value) -> Metric {
    let template = json!({"spec": {"containers": [{"name": "test", "image": "test:1"}]}});
    let mut metric = json!({"name": "smoke", "interval": "1m", "job": {"template": template}});
    for (key, value) in more.as_object().unwrap() {
        metric[key] = value.clone();
    }
    serde_json::from_value(metric).unwrap()
}

fn scored(more: &Value) -> Metric {
    let mut metric = metric(more);
    metric.job.as_mut().unwrap().result = JobResult::Score;
    metric
}

fn whose() -> Whose {
    let [rollout, uid, canary, stable] = ["shop", "uid", "2", "1"].map(str::to_owned);
    Whose { rollout, uid, canary, stable }
}

/// Jobs as an API server keeps them, and their pods.
#[derive(Default)]
struct Kept {
    jobs: Vec<Arc<Value>>,
    pods: BTreeMap<String, Vec<Arc<Value>>>,
}

impl Kept {
    fn look(&self, metric: &Metric, second: i64) -> Shown {
        self.stands(metric, second, Standing::Judged)
    }

    fn stands(&self, metric: &Metric, second: i64, standing: Standing) -> Shown {
        let (subject, whose) = (subject_at(second), whose());
        let runs = Runs::of(metric, &subject, &whose).unwrap();
        let wanted = runs.ended(&self.jobs);
        let pods = self.pods.iter().filter(|(name, _)| wanted.contains(*name));
        runs.look(&self.jobs, &pods.map(|(name, pods)| (name.clone(), pods.clone())).collect(), standing)
    }

    /// What a look wants to be made is made, at this second.
    fn made(&mut self, metric: &Metric, second: i64) -> Vec<String> {
        let create = self.look(metric, second).create;
        let names = create.iter().map(|job| text(job, "/metadata/name").to_owned()).collect();
        for mut job in create {
            assert!(self.jobs.iter().all(|known| known["metadata"]["name"] != job["metadata"]["name"]), "made once");
            job["metadata"]["creationTimestamp"] = json!(subject_at(second).now.to_string());
            job["metadata"]["uid"] = json!(format!("uid of {}", text(&job, "/metadata/name")));
            self.jobs.push(Arc::new(job));
        }
        names
    }

    fn ends(&mut self, name: &str, how: &str, reason: &str, pod: &Value) {
        let job = self.jobs.iter_mut().find(|job| job["metadata"]["name"] == name).unwrap();
        let condition = json!({"type": how, "status": "True", "reason": reason});
        Arc::make_mut(job)["status"] = json!({"conditions": [condition]});
        self.pods.insert(name.to_owned(), vec![Arc::new(json!({"status": pod}))]);
    }

    /// One run, from its beginning at this second to its end.
    fn run(&mut self, metric: &Metric, second: i64, how: &str, pod: &Value) -> String {
        let [name] = self.made(metric, second).try_into().unwrap();
        self.ends(&name, how, "", pod);
        name
    }
}

fn exited(code: i64) -> Value {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    json!({"phase": phase, "containerStatuses": [{"state": {"terminated": {"exitCode": code, "reason": "Error"}}}]})
}

fn said(message: &str) -> Value {
    json!({"phase": "Succeeded", "containerStatuses": [
        {"state": {"running": {}}}, {"state": {"terminated": {"exitCode": 0, "message": message}}},
    ]})
}

#[test]
fn a_job_knows_whom_it_is_run_against_and_has_a_name_that_follows_from_it() {
    let metric = metric(&json!({}));
    let create = Kept::default().look(&metric, 10).create;
    let [job] = create.as_slice() else { panic!("{create:?}") };
    let name = text(job, "/metadata/name");
    assert!(name.starts_with("shop-smoke-2-") && name.ends_with("-1") && name.len() <= 63, "{name}");
    assert_eq!(Kept::default().look(&metric, 500).create, create, "at whatever time");
    assert_eq!(job["spec"]["backoffLimit"], 0);
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 600);
    assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "Never");
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|it| it["name"] == name).map(|it| it["value"].as_str().unwrap());
    let subject = subject_at(10);
    assert_eq!(value("BELLWETHER_ARM"), Some("canary"));
    assert_eq!(value("BELLWETHER_SERVICE"), Some(subject.canary.service.as_str()));
    assert_eq!(value("BELLWETHER_REPLICASET"), Some(subject.canary.replica_set.as_str()));
    assert_eq!((value("BELLWETHER_REVISION"), value("BELLWETHER_ROLLOUT")), (Some("2"), Some("shop")));
    let long = Whose { rollout: "r.".repeat(31), canary: "9".repeat(63), ..whose() };
    let named = Metric { name: "m".repeat(63), ..metric };
    let (subject, jobs, pods) = (subject_at(10), Vec::new(), BTreeMap::new());
    let shown = Runs::of(&named, &subject, &long).unwrap().look(&jobs, &pods, Standing::Judged);
    assert!(text(&shown.create[0], "/metadata/name").len() <= 63);
}

#[test]
fn what_a_job_asks_is_asked_anew_of_another_candidate_and_after_an_edit() {
    let question = |metric: &Metric, subject: &Subject| Runs::of(metric, subject, &whose()).unwrap().question();
    let plain = metric(&json!({}));
    let mut edited = plain.clone();
    edited.job.as_mut().unwrap().deadline = Duration::seconds(5);
    let mut other = subject_at(10);
    other.canary.replica_set = "other".into();
    let again = Subject { evidence_since: subject_at(10).now, ..subject_at(10) };
    let first = question(&plain, &subject_at(10));
    assert_eq!(
        first,
        question(&Metric { failure_limit: 3, ..plain.clone() }, &subject_at(99)),
        "what counts may change"
    );
    for (metric, subject) in [(&edited, subject_at(10)), (&plain, other), (&plain, again)] {
        assert_ne!(question(metric, &subject), first);
    }
}

#[test]
fn a_run_is_waited_for_with_time_running_and_its_exit_code_is_the_verdict() {
    for (code, verdict) in [(0, Verdict::Pass), (3, Verdict::Fail)] {
        let (metric, mut kept) = (metric(&json!({})), Kept::default());
        let [name] = kept.made(&metric, 1).try_into().unwrap();
        let running = kept.look(&metric, 5);
        assert_eq!((running.seen.verdict, running.seen.usable, running.create.len()), (Verdict::Unknown, true, 0));
        assert_eq!(running.seen.why, format!("Job {name} is running"));
        kept.ends(&name, if code == 0 { "Complete" } else { "Failed" }, "BackoffLimitExceeded", &exited(code));
        let Shown { seen, create } = kept.look(&metric, 100);
        assert_eq!((seen.verdict, seen.samples, seen.usable), (verdict, 1, true), "{seen:?}");
        assert_eq!(create, [] as [Value; 0], "count is 1");
        assert!(seen.why.contains(&format!("exit code {code}")), "{}", seen.why);
    }
}

#[test]
fn what_kept_a_program_from_saying_anything_is_no_evidence() {
    let terminated = |reason: &str| json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": reason}}}]});
    let disrupted = json!({
        "phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 143, "reason": "Error"}}}],
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}],
    });
    for (reason, pod, why) in [
        ("DeadlineExceeded", exited(1), "was ended by its deadline"),
        ("", json!({"phase": "Failed", "reason": "Evicted"}), "lost its pod: Evicted"),
        ("", disrupted, "lost its pod: EvictionByEvictionAPI"),
        ("", terminated("OOMKilled"), "was not ended by its program: OOMKilled"),
        ("", terminated("StartError"), "was not ended by its program: StartError"),
        ("", json!({"phase": "Failed"}), "failed, and no container of its pod says how"),
        ("", json!({"phase": "Pending"}), "failed, and has no pod that says how"),
    ] {
        let (metric, mut kept) = (metric(&json!({})), Kept::default());
        let [name] = kept.made(&metric, 1).try_into().unwrap();
        kept.ends(&name, "Failed", reason, &pod);
        let shown = kept.look(&metric, 30);
        assert_eq!((shown.seen.verdict, shown.create.len()), (Verdict::Unknown, 0), "{why}");
        assert!(shown.seen.why.contains(why), "{}: {why}", shown.seen.why);
        let [next] = kept.made(&metric, 61).try_into().unwrap();
        assert!(next.ends_with("-2"), "another takes its place: {next}");
    }
}

#[test]
fn after_three_runs_in_a_row_without_a_result_nothing_is_seen_and_nothing_begun() {
    let (metric, mut kept) = (metric(&json!({"count": 2})), Kept::default());
    kept.run(&metric, 1, "Complete", &exited(0));
    for run in 1..=3 {
        kept.run(&metric, 1 + run * 60, "Failed", &json!({"phase": "Failed", "reason": "Evicted"}));
    }
    let Shown { seen, create } = kept.look(&metric, 900);
    assert_eq!((seen.verdict, seen.usable, create.len()), (Verdict::Unknown, false, 0));
    assert!(seen.why.starts_with("3 runs in a row had no result"), "{}", seen.why);
}

#[test]
fn runs_are_an_interval_apart_and_count_many_and_their_results_outlive_their_jobs() {
    let (metric, mut kept) = (metric(&json!({"count": 5, "failureLimit": 2})), Kept::default());
    for run in 0..4 {
        let (how, code) = if run % 2 == 0 { ("Complete", 0) } else { ("Failed", 1) };
        kept.run(&metric, 1 + run * 60, how, &exited(code));
        assert_eq!(kept.look(&metric, 40 + run * 60).create.len(), 0, "not before its time");
        let live = BTreeSet::from([Runs::of(&metric, &subject_at(1), &whose()).unwrap().question()]);
        let gone: Vec<_> = surplus(&kept.jobs, &live).into_iter().map(|(name, _)| name).collect();
        assert_eq!(gone.len(), usize::from(run == 3));
        kept.jobs.retain(|job| !gone.iter().any(|name| job["metadata"]["name"] == **name));
    }
    assert_eq!(kept.jobs.len(), 3);
    let seen = kept.look(&metric, 200).seen;
    assert_eq!((seen.verdict, seen.samples, seen.failures, seen.usable), (Verdict::Continue, 4, 2, true));
    kept.run(&metric, 241, "Complete", &exited(0));
    let Shown { seen, create } = kept.look(&metric, 900);
    assert_eq!((seen.verdict, seen.samples, create.len()), (Verdict::Pass, 5, 0));
    assert_eq!(seen.why, "2 of 5 runs failed, the last with exit code 1; failureLimit is 2");
}

#[test]
fn a_score_is_held_against_the_limit_and_what_is_none_is_no_evidence() {
    for (message, verdict) in [
        (r#"{"score": 0.9, "of": 200}"#, Verdict::Pass),
        (r#"{"score": 0.7}"#, Verdict::Fail),
        (r#"{"score": "0.9"}"#, Verdict::Unknown),
        (r#"{"scores": 1}"#, Verdict::Unknown),
        ("0.9", Verdict::Unknown),
        ("", Verdict::Unknown),
        ("{\"score\": 0.9", Verdict::Unknown),
    ] {
        let (metric, mut kept) = (scored(&json!({"limit": {"min": "0.8"}})), Kept::default());
        kept.run(&metric, 1, "Complete", &said(message));
        assert_eq!(kept.look(&metric, 30).seen.verdict, verdict, "{message}");
    }
    let (metric, mut kept) = (scored(&json!({"limit": {"min": "0.8"}})), Kept::default());
    kept.run(&metric, 1, "Failed", &exited(1));
    assert_eq!(kept.look(&metric, 30).seen.verdict, Verdict::Unknown, "a score counts with exit code 0 only");
}

#[test]
fn a_condition_that_names_stable_runs_a_job_for_it_too_and_an_interrupted_run_is_completed() {
    let metric = scored(&json!({"when": {"fail": "canary < 0.9 * stable"}}));
    assert_eq!(crate::metrics::check(&metric), Ok(()));
    let mut kept = Kept::default();
    let [canary, stable] = kept.made(&metric, 1).try_into().unwrap();
    assert_eq!(stable, format!("{canary}-s"));
    let lost = kept.jobs.pop().unwrap();
    let again = kept.look(&metric, 2).create;
    assert_eq!(again[0]["metadata"]["name"], lost["metadata"]["name"], "the operator ended in between");
    kept.jobs.push(lost);
    kept.ends(&canary, "Complete", "", &said(r#"{"score": 0.8}"#));
    assert_eq!(kept.look(&metric, 20).seen.why, format!("Job {stable} is running"));
    kept.ends(&stable, "Complete", "", &said(r#"{"score": 0.9}"#));
    let seen = kept.look(&metric, 30).seen;
    assert_eq!(
        (seen.verdict, seen.canary.as_deref(), seen.stable.as_deref()),
        (Verdict::Fail, Some("0.8"), Some("0.9"))
    );
    let env = kept.jobs[1]["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!(env[0], json!({"name": "BELLWETHER_ARM", "value": "stable"}));
}

#[test]
fn a_job_that_nobody_runs_is_in_the_dark_after_its_deadline() {
    let (metric, mut kept) = (metric(&json!({})), Kept::default());
    kept.made(&metric, 1);
    assert!(kept.look(&metric, 600).seen.usable);
    let Shown { seen, create } = kept.look(&metric, 700);
    assert_eq!((seen.usable, create.len()), (false, 0), "{}", seen.why);
}

#[test]
fn outside_its_steps_nothing_is_begun_and_what_was_found_stays_found() {
    let (metric, mut kept) = (metric(&json!({})), Kept::default());
    assert_eq!(kept.stands(&metric, 1, Standing::Idle).create.len(), 0);
    kept.run(&metric, 1, "Complete", &exited(0));
    assert_eq!(kept.stands(&metric, 30, Standing::Idle).seen.verdict, Verdict::Pass);
}

#[test]
fn a_job_that_is_being_deleted_is_gone_and_evidence_begins_as_late_as_it_says() {
    let (metric, mut kept) = (metric(&json!({})), Kept::default());
    let name = kept.run(&metric, 1, "Complete", &exited(0));
    Arc::make_mut(&mut kept.jobs[0])["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(kept.look(&metric, 30).create[0]["metadata"]["name"], name);
    let subject = Subject { delay: Duration::seconds(60), ..subject_at(30) };
    let shown = Runs::of(&metric, &subject, &whose()).unwrap().look(&[], &BTreeMap::new(), Standing::Judged);
    assert_eq!((shown.create.len(), shown.seen.outcome), (0, Outcome::Empty));
}

#[test]
fn what_runs_for_nobody_is_surplus_and_of_what_ended_three_runs_are_kept() {
    let job = |name: &str, question: &str, run: u32, second: i64, ended: &str| {
        let conditions = json!([{"type": ended, "status": "True"}]);
        let labels = json!({METRIC_LABEL: "smoke", QUESTION_LABEL: question, RUN_LABEL: run.to_string()});
        let created = subject_at(second).now.to_string();
        Arc::new(json!({
            "metadata": {"name": name, "uid": name, "labels": labels, "creationTimestamp": created},
            "status": {"conditions": conditions},
        }))
    };
    let jobs = [
        job("old-1", "old", 1, 1, "Complete"),
        job("old-2", "old", 2, 2, "Failed"),
        job("old-2-s", "old", 2, 3, "Complete"),
        job("old-3", "old", 3, 4, "Complete"),
        job("old-4", "old", 4, 5, "Suspended"),
        job("new-1", "new", 1, 6, "Suspended"),
    ];
    let gone = |live: &[&str]| {
        let gone = surplus(&jobs, &live.iter().map(|it| (*it).to_owned()).collect());
        gone.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(gone(&["new"]), ["old-4", "old-1"], "a run of two Jobs is one run");
    assert_eq!(gone(&[]), ["old-4", "new-1"]);
}

#[test]
fn what_cannot_be_run_is_refused_with_its_field_and_the_cure() {
    let spec = |more: Value| {
        let mut spec = json!({"containers": [{"name": "test", "image": "test:1"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"job": {"template": {"spec": spec}}})
    };
    let metadata = |metadata: Value| json!({"job": {"template": {"metadata": metadata, "spec": {"containers": [{}]}}}});
    let ours = json!([{"name": "test", "env": [{"name": "BELLWETHER_ARM", "value": "x"}]}]);
    for (more, field) in [
        (json!({"job": {"template": {}}}), "job.template.spec.containers"),
        (json!({"job": {"template": {"spec": "text"}}}), "job.template.spec.containers"),
        (json!({"job": {"template": {"spec": {"containers": [1]}}}}), "job.template.spec:"),
        (json!({"job": {"template": {"kind": "Pod"}}}), "job.template: has metadata and spec"),
        (json!({"job": {"template": {}, "deadline": "0s"}}), "job.deadline"),
        (json!({"job": {"template": {}, "backoffLimit": 7}}), "job.backoffLimit"),
        (spec(json!({"restartPolicy": "OnFailure"})), "job.template.spec.restartPolicy"),
        (spec(json!({"initContainers": {}})), "job.template.spec:"),
        (spec(json!({"containers": ours})), "job.template.spec: variables"),
        (spec(json!({"nodeName": "x".repeat(40_000)})), "job.template: is longer"),
        (metadata(json!({"name": "x"})), "job.template.metadata:"),
        (metadata(json!([1])), "job.template.metadata:"),
        (metadata(json!({"labels": {"a": 1}})), "job.template.metadata.labels"),
        (metadata(json!({"annotations": ["a"]})), "job.template.metadata.annotations"),
        (metadata(json!({"labels": {"pod-template-hash": "1"}})), "job.template.metadata.labels"),
        (json!({"limit": {"min": "1"}}), "limit: only for a job with result: Score"),
        (json!({"when": {"fail": "canary > 1"}}), "when: only for a job"),
        (json!({"provider": {"kind": "MetricProvider", "name": "x"}}), "provider: only for"),
        (json!({"shared": ["x"]}), "shared: only for a query"),
    ] {
        let metric = metric(&more);
        let words = crate::metrics::check(&metric).unwrap_err().to_string();
        assert!(words.starts_with(field), "{words}");
        let shown = Kept::default().look(&metric, 1);
        assert!(shown.create.is_empty() && shown.seen.invalid.is_some());
    }
    assert!(crate::metrics::check(&scored(&json!({}))).unwrap_err().to_string().starts_with("limit"));
}

#[test]
fn pods_of_a_job_are_never_those_of_the_deployment() {
    let template = json!({"metadata": {"labels": {"app": "shop", "tier": "test"}}});
    let refused = |selector: Value| apart(template.as_object().unwrap(), &[selector]).is_err();
    let by = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "tier", "operator": operator, "values": values}]});
    assert!(refused(json!({"matchLabels": {"app": "shop"}})));
    assert!(!refused(json!({"matchLabels": {"app": "shop", "tier": "web"}})));
    assert!(!refused(json!({"matchLabels": {}})) && !refused(json!({})));
    assert!(refused(by("In", json!(["test"]))) && !refused(by("In", json!(["web"]))));
    assert!(refused(by("NotIn", json!(["web"]))) && !refused(by("NotIn", json!(["test"]))));
    assert!(refused(by("Exists", json!([]))) && !refused(by("DoesNotExist", json!([]))));
    assert!(refused(by("Resembles", json!([]))), "of what is not understood the worst is assumed");
    assert!(apart(&Map::new(), &[json!({"matchLabels": {"app": "shop"}})]).is_ok());
}
