//! Who judges: the comparison as it is shipped, and the rules of others.
use crate::{
    peers::{self, Baseline},
    run::Outcome,
    worlds::{POLL, POLLS, Release},
};
use bellwether::judge::{Bursts, Rules, Sensitivity, compare::Errors};

/// A rule that judges releases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// What is shipped, with all that the world lets be known.
    Policy,
    /// What is shipped, without a past.
    Unknown,
    /// What is shipped, with a sensitivity of its own.
    Sensitive(Sensitivity),
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
    pub const ALL: [Self; 14] = [
        Self::Policy,
        Self::Unknown,
        Self::Sensitive(Sensitivity::Low),
        Self::Sensitive(Sensitivity::High),
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

    /// As the tables call it.
    pub fn name(self) -> String {
        match self {
            Self::Policy => "policy".into(),
            Self::Unknown => "policy-unknown".into(),
            Self::Sensitive(sensitivity) => format!("policy, sensitivity {sensitivity:?}"),
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
        let (abort, pass) = match self {
            Self::Policy => policy(release, Sensitivity::Normal, release.bursts),
            Self::Unknown => policy(release, Sensitivity::Normal, Bursts::Unseen),
            Self::Sensitive(sensitivity) => policy(release, sensitivity, release.bursts),
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

/// The comparison with the margins of a sensitivity, looked at after every interval. Its intervals are as long as a block.
fn policy(release: &Release, sensitivity: Sensitivity, bursts: Bursts) -> (Option<u64>, Option<u64>) {
    let mut errors = Errors::new(&Rules { margins: sensitivity.margins(), bursts, block: 1 });
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
