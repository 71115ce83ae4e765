//! The usual stage of a story: an app that serves under load, its Rollout at rest, a sink for its alerts; and what has
//! to be true at the end of every story.
use crate::{
    figures::figure,
    load::{Apart, Load, Tally},
    objects::{self, APP, OnSigterm, Revision},
    records::{PodLife, Records},
    world::{Apply, Kind, World, now_ms, until},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The most pods that a story's app has at rest.
pub const REPLICAS: i32 = 3;

/// How a stage is set.
pub struct Setup {
    /// The revision that serves.
    pub stable: Revision,
    /// What the app does when it is told to end.
    pub on_sigterm: OnSigterm,
    /// The steps of the Rollout.
    pub steps: Vec<Value>,
    /// Which kind of provider is named.
    pub provider: &'static str,
    /// What is judged, where it is something else than errors and latency at the gateway: a change to `spec.analysis`.
    pub analysis: fn(&mut Value),
    /// Objects that are there from the beginning.
    pub besides: Vec<Value>,
    /// So many posts of each alert are answered 503.
    pub sink_fails_first: u32,
    /// How objects get to the cluster.
    pub apply: Apply,
    /// How long pods may be waited for.
    pub deadline: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            stable: Revision::new("v1").with("ERROR_RATE", "0.005"),
            on_sigterm: OnSigterm::Drains,
            steps: short_steps(),
            provider: "MetricProvider",
            analysis: |_| {},
            besides: Vec::new(),
            sink_fails_first: 0,
            apply: Apply::ServerSide,
            deadline: "15s",
        }
    }
}

impl Setup {
    /// An app whose pods may be taken away at any moment: each serves on until the slowest gateway must have heard.
    pub fn taken_away() -> Self {
        let stable = Revision::new("v1").with("ERROR_RATE", "0.005").with("DRAIN", DRAIN);
        Self { stable, on_sigterm: OnSigterm::Drains, ..Self::default() }
    }
}

/// How long a pod serves on that may be taken away at any moment. A busy gateway hears of it seconds late.
pub const DRAIN: &str = "15s";

/// Steps that a good release passes within a minute.
pub fn short_steps() -> Vec<Value> {
    vec![objects::step("warm", 0, "5s"), objects::step("twenty", 20, "10s"), objects::step("half", 50, "10s")]
}

/// Steps on which a bad release has the time to show itself.
pub fn long_steps() -> Vec<Value> {
    vec![objects::step("warm", 0, "5s"), objects::step("twenty", 20, "150s"), objects::step("half", 50, "90s")]
}

/// An app under load, held by its Rollout, at rest.
pub struct Stage<'a> {
    /// The namespace.
    pub world: &'a World,
    /// What happens in it.
    pub records: Records,
    /// The requests.
    pub load: Load,
    /// What Git holds.
    pub git: Vec<Value>,
    /// Its pods' template hash.
    pub stable_hash: String,
    /// Its pods when all began, by uid.
    pub stable_pods: BTreeMap<String, PodLife>,
    /// What is lost to the story itself.
    pub apart: Option<Apart>,
    /// The alerts that came before the release that is checked.
    pub told: Vec<&'static str>,
    on_sigterm: OnSigterm,
    from: f64,
}

impl<'a> Stage<'a> {
    /// Sets the stage as a team would: the app serves first, then comes the Rollout, which says what to write into the
    /// route; that is written, and the Deployment is held. All under load.
    pub async fn set(world: &'a World, setup: Setup) -> Self {
        let namespace = &world.namespace;
        let env = objects::env(&setup.stable, setup.on_sigterm);
        let app = [objects::deployment(APP, REPLICAS, &env), objects::service(APP)];
        let plain = objects::route(namespace, APP, &[(APP, 1)]);
        let provider_name = if setup.provider == "MetricProvider" { "prometheus" } else { namespace };
        let provider = vec![objects::provider(setup.provider, provider_name)];
        let around = [objects::sink(namespace, setup.sink_fails_first), provider, setup.besides];
        let records = Records::begin(world);
        world.applied(setup.apply, &[&around.concat()[..], &app, std::slice::from_ref(&plain)].concat()).await;
        for (name, replicas) in [("sink", 1), (APP, REPLICAS)] {
            available(world, name, replicas).await;
        }
        let load = Load::begin(world).await;
        let from = now_ms();

        let mut rollout = objects::rollout(APP, &setup.steps, &objects::analysis(setup.provider, provider_name));
        rollout["spec"]["progress"]["deadline"] = json!(setup.deadline);
        (setup.analysis)(&mut rollout["spec"]["analysis"]);
        world.applied(setup.apply, std::slice::from_ref(&rollout)).await;
        let waiting = records.until("the Rollout asks for the route", 30, |it| waits_for(it, "RouteNotPrepared")).await;
        let words = waiting["status"]["message"].as_str().unwrap_or_default();
        assert!(words.contains("app-stable") && words.contains("app-canary"), "both Services should be named: {words}");
        let prepared = objects::route(namespace, APP, &[("app-stable", 100), ("app-canary", 0)]);
        world.applied(setup.apply, std::slice::from_ref(&prepared)).await;
        let held = records.until("the Deployment is held, and nothing is on trial", 60, is_at_rest).await;
        let git = [app.to_vec(), vec![prepared, rollout], around.concat()].concat();

        let stable_hash = held["status"]["stable"]["podTemplateHash"].as_str().unwrap().to_owned();
        let stable_pods = records.pods_of(&stable_hash);
        let uids: BTreeSet<_> = stable_pods.keys().collect();
        assert_eq!(uids.len(), count(REPLICAS), "being held changed the pods: {stable_pods:?}");
        let on_sigterm = setup.on_sigterm;
        let told = Vec::new();
        Self { world, records, load, git, stable_hash, stable_pods, apart: None, told, on_sigterm, from }
    }

    /// Pushes a revision: the Deployment gets another template, as from a pipeline.
    pub async fn push(&self, revision: &Revision) {
        push(self.world, revision, self.on_sigterm).await;
    }

    /// Waits until the gateway has accepted this weight for this step and so many requests have come to the version.
    pub async fn until_served(&self, step: &str, weight: u8, version: &str) {
        let what = format!("step {step} is held at {weight} %");
        self.records
            .until(&what, 90, |it| {
                it["status"]["step"]["name"] == step
                    && it["status"]["weights"]["accepted"] == weight
                    && is_observing(it)
            })
            .await;
        let what = format!("{version} serves requests at {weight} %");
        self.load.until_answered(&what, 10, 30, |request| request.own && request.version == version).await;
    }

    /// Waits until the candidate has been given up and is out, for one of these reasons, and nothing is left to do.
    pub async fn until_aborted(&self, seconds: u64, reasons: &[&str]) -> Arc<Value> {
        let aborted =
            self.records.until("the release is aborted", seconds, |it| it["status"]["phase"] == "Aborted").await;
        let latch = &aborted["status"]["latch"];
        let reason = latch["reason"].as_str().unwrap_or_default();
        assert!(reasons.contains(&reason), "aborted for another reason than {reasons:?}: {latch}");
        aborted
    }

    /// Waits until the candidate serves as the only revision, and its predecessor's pods are gone.
    pub async fn until_promoted(&self, seconds: u64) -> Arc<Value> {
        let old = self.stable_hash.as_str();
        let promoted = self
            .records
            .until("the release is promoted", seconds, |it| {
                assert!(it["status"]["latch"].is_null(), "a good release was given up: {}", it["status"]["latch"]);
                is_at_rest(it) && it["status"]["stable"]["podTemplateHash"] != old && it["status"]["past"].is_null()
            })
            .await;
        until("the old pods are gone", 60, async || {
            let left = self.records.pods_of(old).into_values().filter(|pod| !pod.gone).count();
            if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
        })
        .await;
        promoted
    }

    /// What must be true after an abort. Ends the load.
    pub async fn check_aborted(self, story: &str, version: &str) -> Tally {
        let last = self.records.splits().last().copied();
        assert!(last.is_some_and(|split| split.canary == 0 && split.accepted), "the weight is not 0: {last:?}");
        let deployment = self.world.get(Kind::Deployment, APP).await;
        assert_eq!(deployment["spec"]["paused"], true, "the Deployment is held");
        let rollout = self.records.rollout().unwrap();
        let hash = rollout["status"]["canary"]["podTemplateHash"].as_str().unwrap_or_default();
        assert_ne!(hash, self.stable_hash);
        let left: Vec<_> = self.records.pods_of(hash).into_values().filter(|pod| pod.ending_at.is_none()).collect();
        assert!(left.is_empty(), "pods of the aborted release are left: {left:?}");
        self.stable_is_untouched(None);
        self.alerted(&["Aborted"]).await;

        let Self { world, records, load, from, apart, .. } = self;
        let tally = load.end(world, &records, from, apart.as_ref()).await;
        tell_aborted(story, version, &records, &tally);
        lost_nothing(&tally);
        tally
    }

    /// What must be true after a promotion through all these steps. Ends the load.
    pub async fn check_promoted(self, story: &str, version: &str, replicas: i32, steps: &[&str]) -> Tally {
        self.took(steps);
        let rollout = self.records.rollout().unwrap();
        let pods = self.records.pods_of(rollout["status"]["stable"]["podTemplateHash"].as_str().unwrap());
        let unlucky: Vec<_> = pods.values().filter(|pod| pod.ending_at.is_some() || pod.restarts > 0).collect();
        assert!(unlucky.is_empty(), "the promoted pods are not the tested ones: {unlucky:?}");
        assert_eq!(pods.len(), count(replicas), "pods of the promoted revision");
        self.stable_is_untouched(self.promoted_at());
        self.check_home(story, version, replicas, &format!("the same {replicas} pods by uid")).await
    }

    /// The revision that serves took all these steps, each once and in this order.
    pub fn took(&self, steps: &[&str]) {
        let rollout = self.records.rollout().unwrap();
        let revision = rollout["status"]["stable"]["revision"].as_str().unwrap();
        let taken: Vec<_> =
            self.records.steps().into_iter().filter(|(of, _)| of == revision).map(|(_, step)| step).collect();
        assert_eq!(taken, steps, "every step once, in order");
    }

    /// When the revision that serves became the stable one.
    fn promoted_at(&self) -> Option<f64> {
        let rollout = self.records.rollout()?;
        let hash = &rollout["status"]["stable"]["podTemplateHash"];
        self.records.when(|it| it["status"]["stable"]["podTemplateHash"] == *hash)
    }

    /// What must be true after a promotion, whatever has happened to pods on the way. Ends the load.
    pub async fn check_serves(self, story: &str, version: &str, replicas: i32) -> Tally {
        self.check_home(story, version, replicas, &format!("{replicas} pods")).await
    }

    async fn check_home(self, story: &str, version: &str, replicas: i32, pods: &str) -> Tally {
        let deployment = self.world.get(Kind::Deployment, APP).await;
        assert_ne!(deployment["spec"]["paused"], true, "the Deployment is an ordinary one again");
        assert_eq!(deployment["status"]["updatedReplicas"], replicas);
        let last = self.records.splits().last().copied();
        assert!(last.is_some_and(|split| split.canary == 0 && split.accepted), "the weight is not home: {last:?}");
        self.alerted(&["Promoted"]).await;
        let promoted_at = self.promoted_at();
        let tally = self.end_load().await;
        let span = tally.span(version).map_or(0.0, |(first, _)| promoted_at.unwrap_or(first) - first);
        figure(story, &format!("promoted {:.1} s after the candidate's first request; {pods}; {tally}", span / 1000.0));
        lost_nothing(&tally);
        assert!(tally.harm.is_empty(), "a good release did harm: {:?}", tally.harm);
        tally
    }

    /// No pod of the revision that served at first was started again or told to end, before this moment at least.
    pub fn stable_is_untouched(&self, until: Option<f64>) {
        let pods = self.records.pods_of(&self.stable_hash);
        for (uid, then) in &self.stable_pods {
            let now = &pods[uid];
            assert_eq!(now.restarts, then.restarts, "stable pod {} was started again", now.name);
            if let Some(ending) = now.ending_at {
                assert!(until.is_some_and(|until| until < ending), "stable pod {} was told to end", now.name);
            }
        }
    }

    /// Exactly these alerts came after those that had come before, each verified and under one delivery id.
    pub async fn alerted(&self, events: &[&str]) {
        let events = [&self.told[..], events].concat();
        let path = objects::page_of_sink(&self.world.namespace, "deliveries");
        let deliveries = until(&format!("alerts {events:?}"), 30, async || {
            let request = http::Request::get(&path).body(Vec::new()).unwrap();
            let text = self.world.client.request_text(request).await.map_err(|error| error.to_string())?;
            let list: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let done = list.iter().filter(|one| one["status"] == 200).count();
            if done >= events.len() { Ok(list) } else { Err(text) }
        })
        .await;
        let mut told = Vec::new();
        for delivery in &deliveries {
            let body: Value = serde_json::from_str(delivery["body"].as_str().unwrap()).unwrap();
            assert_eq!(delivery["verified"], true, "a signature is wrong: {delivery}");
            assert_eq!(body["delivery"], delivery["delivery"], "the body names its delivery: {delivery}");
            assert_eq!(body["rollout"], APP);
            told.push(body["event"].as_str().unwrap().to_owned());
        }
        assert_eq!(told, events, "one delivery id for each event: {deliveries:?}");
    }

    /// Ends the load of a story that checks by itself what follows.
    pub async fn end_load(self) -> Tally {
        self.load.end(self.world, &self.records, self.from, self.apart.as_ref()).await
    }
}

/// The app's Deployment gets the template of this revision, as from a pipeline.
pub async fn push(world: &World, revision: &Revision, on_sigterm: OnSigterm) {
    let env = objects::env(revision, on_sigterm);
    let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/env", "value": env}]);
    let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).unwrap());
    world.api(Kind::Deployment).patch(APP, &PatchParams::default(), &patch).await.unwrap();
}

/// An app that drains serves, with all around it but a route and a Rollout.
pub async fn serving(world: &World) -> Records {
    serving_as(world, &Revision::new("v1").with("ERROR_RATE", "0.005"), objects::service(APP)).await
}

/// The same of this revision behind this Service.
pub async fn serving_as(world: &World, revision: &Revision, service: Value) -> Records {
    let app = [objects::deployment(APP, REPLICAS, &objects::env(revision, OnSigterm::Drains)), service];
    let around = [objects::sink(&world.namespace, 0), vec![objects::provider("MetricProvider", "prometheus")]].concat();
    let records = Records::begin(world);
    world.applied(Apply::ServerSide, &[&around[..], &app].concat()).await;
    available(world, APP, REPLICAS).await;
    records
}

/// The machinery lost nothing.
pub fn lost_nothing(tally: &Tally) {
    let few = &tally.lost[..tally.lost.len().min(5)];
    assert!(
        few.is_empty(),
        "{} of {} requests were lost by the machinery (those that were answered took up to {:.0} ms; where that is \
         seconds, this computer is too busy for its answers to mean much), the first of them: {few:#?}",
        tally.lost.len(),
        tally.requests.len(),
        tally.slowest_answer()
    );
}

fn tell_aborted(story: &str, version: &str, records: &Records, tally: &Tally) {
    let text = match tally.span(version) {
        None => "no request came to the candidate".to_owned(),
        Some((first, last)) => {
            // That it is 0 and accepted has been checked.
            let zero = records.splits().last().map_or(f64::NAN, |split| split.at);
            format!(
                "weight 0 accepted {:.1} s and the last request {:.1} s after the candidate's first; it served {}, failed {}",
                (zero - first) / 1000.0,
                (last - first) / 1000.0,
                tally.of(version).count(),
                tally.failed(version)
            )
        }
    };
    let latched = records.rollout().map(|it| it["status"]["latch"]["reason"].clone()).unwrap_or_default();
    figure(story, &format!("{text}; aborted for {}; {tally}", latched.as_str().unwrap_or("nothing")));
}

/// Waits until a Deployment is at rest with so many pods.
pub async fn available(world: &World, name: &str, replicas: i32) {
    until(&format!("{replicas} pods of Deployment {name} are available"), 90, async || {
        let deployment = world.get(Kind::Deployment, name).await;
        let status = &deployment["status"];
        let counts =
            ["replicas", "updatedReplicas", "availableReplicas"].map(|field| status[field].as_i64().unwrap_or(0));
        let seen = status["observedGeneration"] == deployment["metadata"]["generation"];
        if seen && counts == [i64::from(replicas); 3] { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

/// Whether one revision serves and none is on trial.
pub fn is_at_rest(rollout: &Value) -> bool {
    rollout["status"]["phase"] == "Stable" && rollout["status"]["flight"].is_null()
}

/// Whether a Rollout waits for this.
pub fn waits_for(rollout: &Value, reason: &str) -> bool {
    rollout["status"]["waitingFor"][0]["reason"] == reason
}

fn is_observing(rollout: &Value) -> bool {
    ["Observing", "ApprovalRequired", "NoEvidence", "Inconclusive", "NoRequests"]
        .iter()
        .any(|reason| waits_for(rollout, reason))
}

fn count(replicas: i32) -> usize {
    usize::try_from(replicas).unwrap()
}
