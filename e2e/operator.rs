//! The operator itself: which of its replicas leads, and the release of its chart.
use crate::{
    process::{self, kubectl, run},
    world::{OPERATOR_NAMESPACE, World, until},
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::Api;
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// The chart's release, and where the chart is.
const RELEASE: &str = "bellwether";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/bellwether");

/// The replica that leads.
pub struct Leader {
    /// Its process' name, which begins with its pod's.
    pub holder: String,
    /// Its pod.
    pub pod: String,
    /// When it got the Lease, in Unix milliseconds.
    pub since: f64,
    /// Its process.
    pub pid: u32,
}

impl Leader {
    /// Who leads now.
    pub async fn now(world: &World) -> Self {
        Self::other_than(world, "").await
    }

    /// Waits until another process than this one leads.
    pub async fn other_than(world: &World, first: &str) -> Self {
        let leases: Api<Lease> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
        let (holder, since) = until("a replica leads", 30, async || {
            let spec = leases.get("bellwether").await.unwrap().spec.unwrap();
            let holder = spec.holder_identity.filter(|holder| !holder.is_empty() && holder != first);
            holder.zip(spec.acquire_time).ok_or_else(|| "the Lease is nobody's, or still the first's".to_owned())
        })
        .await;
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
        let pod = holder.split('_').next().unwrap().to_owned();
        let uid = pods.get(&pod).await.unwrap().metadata.uid.unwrap();
        let pid = process::of_pod(&uid, "--identity=");
        Self { holder, pod, since: since.0.as_duration().as_secs_f64() * 1000.0, pid }
    }
}

/// Waits until all replicas of the operator are ready, and only those that the chart's release asks for are there.
pub async fn all_replicas() {
    let args = ["rollout", "status", "deployment/bellwether", "--timeout=90s"];
    kubectl(OPERATOR_NAMESPACE, &args).await.well("the operator's replicas");
}

/// The chart's release as it was found, which is put back when this ends, however it ends.
pub struct Release {
    values: String,
    changed: bool,
}

impl Release {
    /// The release as it is.
    pub async fn found() -> Self {
        let args = ["-n", OPERATOR_NAMESPACE, "get", "values", RELEASE, "-o", "json"];
        Self { values: run("helm", &args, "").await.well("helm get values"), changed: false }
    }

    /// The image's repository.
    pub fn repository(&self) -> String {
        let values: serde_json::Value = serde_json::from_str(&self.values).unwrap();
        values["image"]["repository"].as_str().unwrap().to_owned()
    }

    /// Upgrades to the image with this tag, and waits until it runs.
    pub async fn upgrade(&mut self, tag: &str) {
        self.changed = true;
        let tag = format!("image.tag={tag}");
        let args = ["-n", OPERATOR_NAMESPACE, "upgrade", RELEASE, CHART, "--reuse-values", "--set-string", &tag];
        run("helm", &args, "").await.well("helm upgrade");
        all_replicas().await;
    }

    /// Uninstalls the chart.
    pub async fn uninstall(&mut self) {
        self.changed = true;
        run("helm", &["-n", OPERATOR_NAMESPACE, "uninstall", RELEASE], "").await.well("helm uninstall");
    }

    /// Installs or upgrades to what was found, and waits until it runs.
    pub async fn restore(mut self) {
        run("helm", &Self::back(), &self.values).await.well("helm upgrade --install");
        self.changed = false;
        all_replicas().await;
    }

    fn back() -> [&'static str; 8] {
        ["-n", OPERATOR_NAMESPACE, "upgrade", "--install", RELEASE, CHART, "-f", "-"]
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if !self.changed {
            return;
        }
        let mut helm = Command::new("helm").args(Self::back()).stdin(Stdio::piped()).spawn().unwrap();
        helm.stdin.take().unwrap().write_all(self.values.as_bytes()).unwrap();
        assert!(helm.wait().is_ok_and(|status| status.success()), "the release could not be put back");
    }
}
