//! A world in one thread: what stands around the operator, simulated on virtual time, so that one seed is one story.
//!
//! Everything here is a test. It may import everything; nothing may import it.
pub mod api;
mod bugs;
mod checks;
mod conformance;
mod deeds;
mod dice;
mod end;
mod faults;
mod fleet;
mod json;
mod operator;
mod proof;
mod stage;
mod story;
mod swarm;
mod world;

/// A story allocates some millions of small things, most of them for a moment.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
