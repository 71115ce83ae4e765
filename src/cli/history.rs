//! The revisions of a Rollout: what serves, what is on trial, and the former ones, whose ReplicaSets are with the Rollout.
use super::{
    Exit, Session,
    errors::{self, Failure, Request},
    render::{plain, span, table},
};
use crate::api::{HASH_LABEL, ROLLOUT_LABEL, ROLLOUT_UID_LABEL, Rollout};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;
use std::{cmp::Reverse, fmt};

/// The annotation in which Deployments count what has served.
const NUMBER: &str = "deployment.kubernetes.io/revision";

/// What a revision is to its Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its pods serve.
    Serves,
    /// It is on trial.
    OnTrial,
    /// It was given up.
    GivenUp,
    /// It has served.
    Served,
    /// It was tried and has never served.
    NeverServed,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serves => "serves",
            Self::OnTrial => "on trial",
            Self::GivenUp => "given up",
            Self::Served => "served before",
            Self::NeverServed => "tried, never served",
        })
    }
}

/// One revision.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Its name, as the status has it.
    pub name: String,
    /// Its ReplicaSet.
    pub set: String,
    /// What it is to its Rollout.
    pub standing: Standing,
    /// The Deployment's count when it came to serve.
    pub number: Option<u64>,
    /// Its template, without the hash label.
    pub template: Value,
    created: Option<Timestamp>,
}

/// All revisions there are, the latest that served first, then those that never did.
pub async fn revisions(session: &Session<'_>, rollout: &Rollout) -> Result<Vec<Revision>, Failure> {
    let resource = super::resource("apps", "v1", "ReplicaSet", "replicasets");
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), &session.namespace, &resource);
    let namespace = session.namespace.as_str();
    let ours = ListParams::default().labels(&format!("{ROLLOUT_LABEL}={}", rollout.name_any()));
    let what = Request { verb: "list", resource: "replicasets", name: "", namespace };
    let mut sets = errors::ask(what, api.list(&ours)).await?.items;
    let uid = rollout.uid();
    sets.retain(|set| set.labels().get(ROLLOUT_UID_LABEL) == uid.as_ref());
    // The one that serves is the Deployment's.
    let stable = rollout.status.as_ref().and_then(|status| status.workload.as_ref()?.stable_replica_set.clone());
    if let Some(name) = stable.filter(|name| !sets.iter().any(|set| set.name_any() == *name)) {
        let what = Request { verb: "get", resource: "replicasets", name: &name, namespace };
        sets.extend(errors::find(what, &api).await?);
    }
    let mut all: Vec<_> = sets.iter().map(|set| revision(rollout, set)).collect();
    all.sort_by_key(|revision| (Reverse(revision.number), Reverse(revision.created), revision.set.clone()));
    Ok(all)
}

fn revision(rollout: &Rollout, set: &DynamicObject) -> Revision {
    let status = rollout.status.clone().unwrap_or_default();
    let name = set.name_any();
    let number = set.annotations().get(NUMBER).and_then(|text| text.parse().ok());
    let stable = status.workload.and_then(|workload| workload.stable_replica_set);
    let standing = if stable.as_ref() == Some(&name) {
        Standing::Serves
    } else if status.latch.is_some_and(|latch| latch.candidate == name) {
        Standing::GivenUp
    } else if status.flight.is_some_and(|flight| flight.candidate == name) {
        Standing::OnTrial
    } else if number.is_some() || status.former.iter().any(|former| former.replica_set == name) {
        Standing::Served
    } else {
        Standing::NeverServed
    };
    let prefix = format!("{}-", rollout.spec.workload_ref.name);
    Revision {
        name: name.strip_prefix(&prefix).unwrap_or(&name).to_owned(),
        set: name.clone(),
        standing,
        number,
        template: without_hash(&set.data["spec"]["template"]),
        created: set.creation_timestamp().map(|at| at.0),
    }
}

/// A template without the label that tells its pods from others.
pub fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// What its containers run, in a line.
fn images(template: &Value) -> String {
    let containers = template["spec"]["containers"].as_array().into_iter().flatten();
    let word = |value: &Value| plain(value.as_str().unwrap_or_default());
    containers.map(|it| format!("{}={}", word(&it["name"]), word(&it["image"]))).collect::<Vec<_>>().join(" ")
}

/// Lists the revisions of a Rollout.
pub async fn list(session: &mut Session<'_>, name: &str) -> anyhow::Result<Exit> {
    if session.objects().is_some() {
        let words = "--history prints a table only, so it takes no -o; `kubectl get replicasets -l \
                     bellwether.dev/rollout=NAME` has the objects";
        return Err(Failure::new(words).exit(Exit::Usage).into());
    }
    let rollout = session.rollout(name).await?;
    let all = revisions(session, &rollout).await?;
    if all.is_empty() {
        session.screen.say(&format!("Rollout {name} has no revisions yet: its Deployment is not held."))?;
        return Ok(Exit::Done);
    }
    let now = (session.clock)();
    let mut rows = vec![["REVISION", "NUMBER", "AGE", "STANDING", "IMAGES"].map(Into::into).to_vec()];
    rows.extend(all.iter().map(|revision| {
        let number = revision.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let age = revision.created.map_or_else(|| "-".to_owned(), |at| span(at, now));
        let cells = [revision.name.clone(), number, age, revision.standing.to_string(), images(&revision.template)];
        cells.map(Into::into).to_vec()
    }));
    let text = table(&rows, "", session.screen.paint);
    session.screen.print(&text)?;
    Ok(Exit::Done)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::fake::{Fake, ROLLOUTS, SETS, ago, at_rest, in_flight, replica_set, session, text, with},
        *,
    };
    use serde_json::json;

    /// A ReplicaSet that is with the Rollout, and came to serve as this number, if it did.
    pub fn former(hash: &str, image: &str, number: Option<u64>, age: i64) -> Value {
        let number = number.map(|number| number.to_string());
        with(
            replica_set(hash, image),
            &json!({"metadata": {
                "labels": {"bellwether.dev/rollout": "checkout", "bellwether.dev/rollout-uid": "u-1"},
                "annotations": {NUMBER: number}, "creationTimestamp": ago(age)}}),
        )
    }

    /// What serves.
    pub fn serving() -> Value {
        let made = json!({"metadata": {"annotations": {NUMBER: "7"}, "creationTimestamp": ago(86_400)}});
        with(replica_set("6c9f7d5b44", "app:v7"), &made)
    }

    /// A cluster that has this Rollout, and these ReplicaSets beside the one that serves.
    pub fn cluster(rollout: Value, sets: &[Value]) -> Fake {
        Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), rollout)
            .on("GET", SETS, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": sets}))
            .on("GET", format!("{SETS}/checkout-6c9f7d5b44"), serving())
    }

    #[tokio::test]
    async fn the_revisions_are_listed_with_what_they_are() {
        let of_another = with(
            former("stranger", "x", Some(9), 1),
            &json!({"metadata": {"labels": {"bellwether.dev/rollout-uid": "u-0"}}}),
        );
        let sets = [
            former("old", "app:v5", Some(5), 864_000),
            former("tkz4bnq2xw", "app:v8", None, 720),
            former("older", "app:v4", Some(4), 8_640_000),
            former("bad", "app:v6", None, 172_800),
            of_another,
        ];
        let cluster = cluster(in_flight(), &sets);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        list(&mut session(&cluster, &mut out, &mut err, None), "checkout").await.unwrap();
        assert_eq!(
            text(&out),
            "\
REVISION     NUMBER   AGE    STANDING              IMAGES
6c9f7d5b44   7        24h    serves                app=app:v7
old          5        10d    served before         app=app:v5
older        4        100d   served before         app=app:v4
tkz4bnq2xw   -        12m    on trial              app=app:v8
bad          -        2d     tried, never served   app=app:v6
"
        );
        cluster.done();
    }

    #[tokio::test]
    async fn nothing_is_listed_for_what_is_not_held() {
        let nothing = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []});
        let cluster = Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), with(at_rest(), &json!({"status": null})))
            .on("GET", SETS, nothing);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        list(&mut session(&cluster, &mut out, &mut err, None), "checkout").await.unwrap();
        assert_eq!(text(&err), "Rollout checkout has no revisions yet: its Deployment is not held.\n");
    }
}
