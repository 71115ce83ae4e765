#![doc = include_str!("ARCHITECTURE.md")]

pub mod duration;
pub mod formula;
pub mod signature;
pub mod vocab;

pub mod judge;
pub mod metrics;
pub mod notify;
pub mod traffic;

pub mod api;
pub mod plan;

pub mod cli;
pub mod cluster;
pub mod controller;
pub mod outbound;
pub mod serve;
pub mod telemetry;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tidy;
