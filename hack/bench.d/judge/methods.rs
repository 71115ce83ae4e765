//! Who judges: the comparison as it is shipped, and the rules of others.
use crate::{
    peers::{self, Baseline},
    run::Outcome,
    worlds::{POLL, POLLS, Release},
};
use bellwether::judge::{Bursts, Margins, Rules, Sensitivity, compare::Errors};

/// What is changed of what is shipped, to show what it is there for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Errors are counted one by one, whatever stable's past says about bursts.
    NoBursts,
    /// Single errors count, however few requests they hit.
    NoFloor,
    /// A pass only excludes three times stable's odds.
    Thrice,
    /// And so many of the canary's requests may fail, whatever stable does: a quarter more than stable's, in most worlds.
    Ceiling,
}

/// A rule that judges releases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// What is shipped, with all that the world lets be known.
    Policy,
    /// What is shipped, without a past.
    Unknown,
    /// What is shipped, with a sensitivity of its own.
    Sensitive(Sensitivity),
    /// What is shipped, with one thing of it changed.
    Changed(Change),
    /// Argo Rollouts: success, seconds, failure limit.
    Argo(f64, u64, u32),
    /// Flagger: success, seconds, threshold.
    Flagger(f64, u64, u32),
    /// Kayenta.
    Kayenta(Baseline),
    /// A z-test every so many seconds.
    Naive(u64),
}

impl Method {
    /// All, as the tables list them.
    pub const ALL: [Self; 18] = [
        Self::Policy,
        Self::Unknown,
        Self::Sensitive(Sensitivity::Low),
        Self::Sensitive(Sensitivity::High),
        Self::Changed(Change::NoBursts),
        Self::Changed(Change::NoFloor),
        Self::Changed(Change::Thrice),
        Self::Changed(Change::Ceiling),
        Self::Argo(0.99, 60, 0),
        Self::Argo(0.99, 60, 1),
        Self::Argo(0.99, 60, 3),
        // By hand, for just this rate of errors and this traffic.
        Self::Argo(0.97, 60, 1),
        // As its documentation shows.
        Self::Argo(0.95, 300, 3),
        Self::Flagger(0.99, 60, 5),
        Self::Kayenta(Baseline::Stable),
        Self::Kayenta(Baseline::Twin),
        Self::Naive(10),
        Self::Naive(60),
    ];

    /// What is shipped, in all its forms.
    pub const OURS: [Self; 4] =
        [Self::Policy, Self::Unknown, Self::Sensitive(Sensitivity::Low), Self::Sensitive(Sensitivity::High)];

    /// Whether it has a test of its own for passing.
    pub fn certifies(self) -> bool {
        matches!(self, Self::Policy | Self::Unknown | Self::Sensitive(_) | Self::Changed(_))
    }

    /// As the tables call it.
    pub fn name(self) -> String {
        match self {
            Self::Policy => "policy".into(),
            Self::Unknown => "policy-unknown".into(),
            Self::Sensitive(sensitivity) => format!("policy, sensitivity {sensitivity:?}"),
            Self::Changed(Change::NoBursts) => "policy, errors taken to come one by one".into(),
            Self::Changed(Change::NoFloor) => "policy, no floor".into(),
            Self::Changed(Change::Thrice) => "policy, a pass excludes 3x".into(),
            Self::Changed(Change::Ceiling) => "policy, ceiling of 0.625%".into(),
            Self::Argo(success, every, limit) => {
                format!("argo >={:.0}% {every}s failureLimit {limit}", success * 100.0)
            }
            Self::Flagger(success, every, threshold) => {
                format!("flagger >={:.0}% {every}s threshold {threshold}", success * 100.0)
            }
            Self::Kayenta(Baseline::Stable) => "kayenta 5m, against stable".into(),
            Self::Kayenta(Baseline::Twin) => "kayenta 5m, against as many pods".into(),
            Self::Naive(every) => format!("naive z p<.05 every {every}s"),
        }
    }

    /// What it decides about this release. The others have no test for passing: they pass what they did not abort.
    pub fn judge(self, release: &Release) -> Outcome {
        let polls = &release.polls;
        let normal = Sensitivity::Normal.margins();
        let (abort, pass) = match self {
            Self::Policy => policy(release, normal, release.bursts),
            Self::Unknown => policy(release, normal, Bursts::Unseen),
            Self::Sensitive(sensitivity) => policy(release, sensitivity.margins(), release.bursts),
            Self::Changed(Change::NoBursts) => policy(release, normal, Bursts::Known(1.0)),
            Self::Changed(Change::NoFloor) => policy(release, Margins { floor: 1e-6, ..normal }, release.bursts),
            Self::Changed(Change::Thrice) => policy(release, Margins { excluded: 3.0, ..normal }, release.bursts),
            Self::Changed(Change::Ceiling) => {
                policy(release, Margins { ceiling: Some(0.006_25), ..normal }, release.bursts)
            }
            Self::Argo(success, every, limit) => others(peers::argo(polls, success, every, limit)),
            Self::Flagger(success, every, threshold) => others(peers::flagger(polls, success, every, threshold)),
            Self::Kayenta(baseline) => others(peers::kayenta(polls, baseline)),
            Self::Naive(every) => others(peers::naive(polls, every)),
        };
        let until = abort.unwrap_or(POLLS as u64 * POLL) / POLL;
        let requests = (0..until).zip(polls).map(|(_, poll)| poll.arms.canary.n).sum();
        Outcome { abort, pass, requests }
    }
}

/// The comparison with these margins, looked at after every interval. Its intervals are as long as a block.
fn policy(release: &Release, margins: Margins, bursts: Bursts) -> (Option<u64>, Option<u64>) {
    let mut errors = Errors::new(&Rules { margins, bursts, block: 1, lasting: false });
    let mut pass = None;
    for (poll, time) in release.polls.iter().zip((1..).map(|at| at * POLL)) {
        errors.add(&poll.arms);
        if errors.fails() {
            return (Some(time), pass);
        }
        pass = pass.or_else(|| errors.passes().then_some(time));
    }
    (None, pass)
}

fn others(abort: Option<u64>) -> (Option<u64>, Option<u64>) {
    (abort, abort.is_none().then_some(POLLS as u64 * POLL))
}
