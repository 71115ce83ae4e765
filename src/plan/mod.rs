//! The decision: what is seen, and now, in; what to do, out. Total, pure, and the only place that decides.
//!
//! A look runs down one list of conditions that must hold, and the first that does not is either mended by one effect or waited for.
//! So a crash at any moment, or anybody's edit, is mended by the next look, from the same list.
mod back;
mod capacity;
mod check;
mod command;
mod effect;
mod flight;
mod home;
mod latch;
mod leave;
mod observed;
mod pair;
mod power;
mod preflight;
mod progress;
mod report;
mod routes;
mod steps;
pub mod templates;
mod trade;
mod turn;
mod verdict;
mod workload;

#[cfg(test)]
mod tests;

pub use check::check;
pub use command::STEPS_EDITED;
pub use effect::{Effect, Target};
pub use observed::{
    Belt, Claim, Crowd, Deployment, Elder, Found, Kept, Map, Measured, Observed, PendingAction, Pod, Refused,
    ReplicaSet, Route, Service, Stuck, Tried, identity, ports, strings,
};
pub use power::UNDERPOWERED;
pub use report::{News, UNVERIFIED, tell};
pub use turn::revision_of;
pub use workload::{claim_labels, same_template};

use crate::api::{Decision, RolloutStatus};
use jiff::SignedDuration;

/// What one look asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write, before anything is done.
    pub status: RolloutStatus,
    /// The one thing to do, after the status is written.
    pub effect: Option<Effect>,
    /// When to look again at the latest, if nothing changes before.
    pub look_again: SignedDuration,
    /// What was newly decided, for events.
    pub news: Vec<Decision>,
}

/// Decides.
///
/// # Expected flow
/// The status is written if it differs, then the effect is performed, then everything is looked at again.
///
/// # Guarantees
/// * At most one effect. The weight rises only while the pods behind it are ready and the routers have accepted what was before.
/// * A Service moves to other pods only while it carries no weight.
/// * An abort is in the status before its first effect.
/// * The same look gives the same plan; a look at a settled world gives the status that is already there, and no effect.
pub fn decide(seen: &Observed) -> Plan {
    turn::Turn::new(seen).run()
}
