//! Stories on a real cluster: a real control plane, a real gateway, a real Prometheus, and a load generator that hides
//! no lost request.
//!
//! `hack/test --e2e` brings up what they need and runs them. By hand, after `hack/cluster up`, `hack/planes`,
//! `hack/install` and `hack/cluster image localhost/bw-app:1 /bw-app "$(hack/build --path)/bw-app"`:
//!
//! ```text
//! cargo test --features e2e --test e2e --no-run
//! hack/cluster exec cargo test --offline --features e2e --test e2e -- --skip alone_ --test-threads 4
//! hack/cluster exec cargo test --offline --features e2e --test e2e -- alone_ --test-threads 2
//! ```
//!
//! Stories run side by side, each in a namespace of its own. Those whose names begin with `alone_` disturb what all
//! share (they kill the operator's leader, take the API server or a right away, or count every write), so they come
//! afterwards; a lock keeps them apart from each other and from all else. Two threads let the ten minutes at rest pass
//! beside them; those that would wake what is at rest come last, and wait for its end.
//!
//! * `BELLWETHER_FIGURES=FILE` appends the lines `FIGURE STORY: ...`, which are printed in any case, to a file.
//! * `BELLWETHER_IDLE_SECONDS=N` is how long nothing may be written at rest (600).
//! * `BELLWETHER_KEEP=1` leaves the namespaces of failed stories as they are.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "everything here is a test: it may fail loudly and say what it saw"
)]

mod audit;
mod bench_loop;
mod dark;
mod figures;
mod load;
mod objects;
mod operator;
mod plane;
mod process;
mod records;
mod stage;
mod world;

mod story_autoscaled;
mod story_bad_input;
mod story_broken;
mod story_commands;
mod story_deleted;
mod story_endpoint;
mod story_evicted;
mod story_git;
mod story_idle;
mod story_job;
mod story_judged;
mod story_kinds;
mod story_operator;
mod story_outage;
mod story_planes;
mod story_pods;
mod story_prometheus;
mod story_recipes;
mod story_rights;
mod story_routes;
mod story_scaled;
mod story_scarce;
mod story_scores;
mod story_stopped_node;
mod story_stuck;
mod story_superseded;
mod story_uninstalled;
