//! The operator's leader dies, is stopped, is told to end, or is replaced by another build, and nobody notices but its Lease.
use crate::{
    audit::{Audit, Write},
    figures::figure,
    objects::{OnSigterm, Revision, step},
    operator::{Leader, Release, all_replicas},
    process::{self, Stopped, cluster, kubectl},
    stage::{Setup, Stage},
    world::{OPERATOR_NAMESPACE, World, alone, now_ms, until, with_temp_ns},
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// The leader is stopped for so long: several times the Lease, and less than the kubelet needs to lose patience.
const STOPPED: Duration = Duration::from_secs(9);
/// A leader that was told to end is followed within so many milliseconds.
const HANDOVER_MS: f64 = 2_000.0;
/// What the chart runs as.
const USER: &str = "65532";
/// Whom it trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt:etc/ssl/certs/ca-certificates.crt";

/// Kills the leader's process. With `for_good` its pod is deleted too, so that it cannot come back.
async fn kill(world: &World, for_good: bool) -> String {
    let leader = Leader::now(world).await;
    process::signal(leader.pid, "KILL").await;
    if for_good {
        let delete = ["delete", "pod", &leader.pod, "--grace-period=0", "--force", "--wait=false"];
        kubectl(OPERATOR_NAMESPACE, &delete).await.well("kubectl delete pod");
    }
    leader.holder
}

fn steps() -> Vec<Value> {
    vec![step("warm", 0, "5s"), step("twenty", 20, "15s"), step("half", 50, "15s")]
}

/// Nothing was decided twice.
fn decided_once(stage: &Stage<'_>) {
    assert_eq!(stage.records.weights(), [0, 20, 50, 100, 0], "the route's weights");
    let reasons = ["FlightStarted", "StepEntered", "Promoting", "Promoted"];
    assert_eq!(stage.records.times(&reasons), [1, 2, 1, 1], "{reasons:?} in {:?}", stage.records.decisions());
}

#[test]
fn alone_the_standby_goes_on_when_the_leader_is_killed_at_twenty_percent_and_no_step_is_repeated() {
    let _right = alone();
    with_temp_ns("leader", async |world| {
        let setup = Setup { steps: steps(), on_sigterm: OnSigterm::Dies, ..Setup::default() };
        let stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let killed_at = now_ms();
        let first = kill(world, true).await;
        let second = Leader::other_than(world, &first).await;

        // And once more a step later, this time with the container coming back in the same pod.
        stage.until_served("half", 50, "v2").await;
        let again = kill(world, false).await;
        assert_eq!(again, second.holder, "leadership changed in between");
        stage.until_promoted(180).await;
        let led = (second.since - killed_at) / 1000.0;
        figure("leader_killed", &format!("the standby led {led:.1} s after SIGKILL"));
        decided_once(&stage);
        stage.check_promoted("leader_killed", "v2", 3, &["warm", "twenty", "half"]).await;
        all_replicas().await;
    });
}

#[test]
fn alone_a_leader_stopped_past_its_lease_does_no_harm_when_it_wakes_and_one_told_to_end_is_followed_in_two_seconds() {
    let _right = alone();
    with_temp_ns("handover", async |world| {
        let setup = Setup { steps: steps(), on_sigterm: OnSigterm::Dies, ..Setup::default() };
        let stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;

        let first = Leader::now(world).await;
        let mut audit = Audit::from_now().await;
        let stopped_at = now_ms();
        let stopped = Stopped::stop(first.pid).await;
        let second = Leader::other_than(world, &first.holder).await;
        tokio::time::sleep(STOPPED).await;
        drop(stopped);
        stage.until_served("half", 50, "v2").await;
        let late = late_writes(&mut audit, &first.pod, stopped_at);
        let twice: Vec<_> = late.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "after its Lease it wrote more than once: {twice:?}");
        figure(
            "leader_stopped",
            &format!(
                "the standby led {:.1} s after SIGSTOP; stopped for {:.0} s the first wrote to {} objects when it woke",
                (second.since - stopped_at) / 1000.0,
                STOPPED.as_secs_f64(),
                late.len()
            ),
        );

        let second = Leader::now(world).await;
        let mut audit = Audit::from_now().await;
        let told_at = now_ms();
        process::signal(second.pid, "TERM").await;
        let third = Leader::other_than(world, &second.holder).await;
        let next = next_write(&mut audit, world, &second, third.since).await;
        let led = third.since - told_at;
        figure(
            "leader_told_to_end",
            &format!(
                "the standby led {:.2} s after SIGTERM and wrote to {} {:.2} s after it",
                led / 1000.0,
                next.object(),
                (next.at() - told_at) / 1000.0
            ),
        );
        assert!(led < HANDOVER_MS, "the standby led {led:.0} ms after SIGTERM");
        stage.until_promoted(180).await;
        decided_once(&stage);
        stage.check_promoted("leader_stopped_and_told_to_end", "v2", 3, &["warm", "twenty", "half"]).await;
        all_replicas().await;
    });
}

/// What a pod has written since then beside the Lease, and how often.
fn late_writes(audit: &mut Audit, pod: &str, since: f64) -> BTreeMap<String, usize> {
    let mut late = BTreeMap::new();
    let writes = audit.writes();
    for write in writes.iter().filter(|write| write.pod() == pod && write.at() > since && write.is_taken()) {
        if !write.is_lease() && !write.is_dry_run() {
            *late.entry(write.object()).or_default() += 1;
        }
    }
    late
}

/// The first write of the new leader in this namespace.
async fn next_write(audit: &mut Audit, world: &World, before: &Leader, since: f64) -> Write {
    until("the new leader writes", 60, async || {
        let next = audit.writes().into_iter().find(|write| {
            write.namespace() == world.namespace
                && write.pod() != before.pod
                && write.at() >= since
                && write.is_taken()
                && !write.is_dry_run()
        });
        next.ok_or_else(|| "nothing was written".to_owned())
    })
    .await
}

#[test]
fn alone_another_build_and_back_again_in_mid_step_no_step_is_repeated() {
    let _right = alone();
    with_temp_ns("upgrade", async |world| {
        let mut release = Release::found().await;
        // What these tests were built with: the same tree, without optimisation.
        let other = format!("{}:other-build", release.repository());
        let binary = concat!(env!("CARGO_BIN_EXE_bellwether"), ":bellwether");
        cluster(&["image", "--user", USER, &other, "/bellwether", binary, AUTHORITIES]).await;
        let setup = Setup { steps: steps(), on_sigterm: OnSigterm::Dies, ..Setup::default() };
        let stage = Stage::set(world, setup).await;
        stage.push(&Revision::new("v2").with("ERROR_RATE", "0.005")).await;
        stage.until_served("twenty", 20, "v2").await;
        let mut audit = Audit::from_now().await;
        let first = Leader::now(world).await;
        release.upgrade("other-build").await;
        let second = Leader::other_than(world, &first.holder).await;
        stage.until_served("half", 50, "v2").await;
        release.restore().await;
        Leader::other_than(world, &second.holder).await;
        let silence = longest_silence(&mut audit);
        stage.until_promoted(180).await;
        figure("upgraded_and_back", &format!("the Lease was silent for {:.1} s at the longest", silence / 1000.0));
        decided_once(&stage);
        stage.check_promoted("upgraded_and_back", "v2", 3, &["warm", "twenty", "half"]).await;
    });
}

/// The longest time between two writes of the Lease, in milliseconds.
fn longest_silence(audit: &mut Audit) -> f64 {
    let writes = audit.writes();
    let times: Vec<f64> = writes.iter().filter(|write| write.is_lease() && write.is_taken()).map(Write::at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}
