//! The simulator held against a real kube-apiserver and kube-controller-manager: the same requests, the same answers; the
//! same stories of Deployments, the same ends.
//!
//! These tests need the cluster of KUBECONFIG with the Gateway API and without Bellwether; `hack/test --e2e` runs them. They
//! make namespaces of their own, our definitions and the chart's policies, and take away what they made.
//! `BELLWETHER_CONFORMANCE` is how many runs there are of each part, `BELLWETHER_CONFORMANCE_SEED` the first seed, and
//! `BELLWETHER_CONFORMANCE_PARTS` names some of `requests,policies,owners,stories`.
//!
//! What is not compared: the texts of what is invalid; times; uids, versions and generated names but for which are the
//! same; the size of versions; what admission plug-ins add to pods; when a silent watch says where it stands, and what an
//! empty object looks like there; which versions are too old for a watch, for that depends on when a real server was
//! started; nulls in custom kinds, which the one in memory takes for nothing. `owners` says which deletions are a race.
#![allow(clippy::similar_names, reason = "a path and a patch, a side and a seed, a probe and what it proves")]

mod cluster;
mod kinds;
mod known;
mod normal;
mod owners;
mod policies;
mod requests;
mod run;
mod side;
mod stories;

use cluster::Cluster;
use run::Found;
use std::{sync::Mutex, time::Instant};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What a story found. What differs is a difference if it does so again: the ones in memory do the same each time, and the
/// real ones race with each other.
fn told(what: &str, seed: u64, one: impl Fn(u64) -> Found) -> Found {
    let tell = |run: Found| {
        run.differences.iter().for_each(|told| eprintln!("{what}, seed {seed}: {told}\n"));
        run
    };
    let first = tell(one(seed));
    if first.differences.is_empty() {
        return first;
    }
    let again = tell(one(seed));
    if again.differences.is_empty() {
        eprintln!("{what}, seed {seed}: told again, nothing differs: a race of the real ones\n");
    }
    again
}

/// Tells all stories of a sort, several at a time, and what they found.
fn compare(what: &str, count: u64, at_once: usize, one: impl Fn(u64) -> Found + Sync) -> usize {
    let parts = std::env::var("BELLWETHER_CONFORMANCE_PARTS").unwrap_or_default();
    if !parts.is_empty() && parts.split(',').all(|part| part != what) {
        return 0;
    }
    let first = number("BELLWETHER_CONFORMANCE_SEED", 1);
    let count = number("BELLWETHER_CONFORMANCE", count);
    eprintln!("{what}: seeds {first} to {}", first + count - 1);
    let begun = Instant::now();
    let seeds = Mutex::new(first..first + count);
    let found = Mutex::new((0, 0));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().unwrap().next() else { return };
                    let run = told(what, seed, &one);
                    let mut found = found.lock().unwrap();
                    found.0 += run.compared;
                    found.1 += run.differences.len();
                }
            });
        }
    });
    let (compared, differences) = found.into_inner().unwrap();
    eprintln!("{what}: {compared} comparisons in {:.1} s, {differences} differ", begun.elapsed().as_secs_f64());
    differences
}

/// One test and not several, for they share what has to be on the cluster.
#[test]
#[ignore = "needs a cluster; hack/test --e2e runs it"]
fn the_simulator_does_what_the_real_one_does() {
    let _cluster = Cluster::make();
    let differences = std::thread::scope(|scope| {
        let parts = [
            scope.spawn(|| compare("requests", 52, 6, |seed| run::requests(seed, 60))),
            scope.spawn(|| compare("policies", 3, 1, |seed| policies::requests(seed, 120))),
            scope.spawn(|| compare("owners", 12, 2, owners::deletions)),
            scope.spawn(|| compare("stories", 24, 8, |seed| stories::deployments(seed, 12))),
        ];
        parts.map(|part| part.join().expect("a part came to its end")).iter().sum::<usize>()
    });
    assert_eq!(differences, 0, "they are told above");
}
