//! Words every module shares: numbers and names that cannot be wrong.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the name of an object is like, as a pattern of schemas.
pub const OBJECT_NAME: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";

/// A share of the traffic that goes to the canary, in whole percent from 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Weight(#[schemars(range(min = 0, max = 100))] u8);

impl Weight {
    /// Nothing reaches the canary.
    pub const ZERO: Self = Self(0);
    /// Everything reaches the canary.
    pub const FULL: Self = Self(100);

    /// A weight of so many percent; none above 100.
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// The share in percent.
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// What is left for stable.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(100 - self.0)
    }

    /// How many of `replicas` pods carry this share, rounded up.
    pub fn of(self, replicas: i32) -> i32 {
        let pods = (i64::from(replicas) * i64::from(self.0) + 99) / 100;
        i32::try_from(pods).unwrap_or(i32::MAX)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = u8::deserialize(deserializer)?;
        Self::new(percent).ok_or_else(|| serde::de::Error::custom("a weight is a whole number from 0 to 100"))
    }
}

/// The two Services that share a rollout's traffic, and the ports both serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Name of the Service that is home.
    pub stable: String,
    /// Name of the Service that is the trial.
    pub canary: String,
    /// The Services' port (not the pods') whose numbers are read.
    pub port: u16,
    /// Further ports of both Services, which routes may name as well.
    pub also: Vec<u16>,
}

impl Pair {
    /// The same two, of which it is known that both serve these ports.
    #[must_use]
    pub fn serving(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.also = ports.into_iter().filter(|port| *port != self.port).collect();
        self
    }

    /// Whether both serve this port.
    pub fn serves(&self, port: &serde_json::Value) -> bool {
        let number = port.as_u64().and_then(|port| u16::try_from(port).ok());
        number.is_some_and(|port| port == self.port || self.also.contains(&port))
    }

    /// The ports, for people.
    pub fn ports(&self) -> String {
        let all: Vec<_> = [self.port].iter().chain(&self.also).map(ToString::to_string).collect();
        all.join(" and ")
    }
}

/// One of the two sides of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Arm {
    /// The revision that serves.
    Stable,
    /// The revision on trial.
    Canary,
}

/// What a look at the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Proven good enough.
    Pass,
    /// Proven bad, or over a limit.
    Fail,
    /// Judged, and nothing proven yet.
    Continue,
    /// Not judged: no data, no requests, no answer. Neither healthy nor sick.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_pods_is_rounded_up() {
        let pods = |percent, replicas| Weight::new(percent).unwrap().of(replicas);
        assert_eq!([pods(0, 5), pods(1, 5), pods(20, 5), pods(21, 5), pods(100, 5)], [0, 1, 1, 2, 5]);
    }

    #[test]
    fn a_weight_above_100_does_not_parse() {
        assert!(serde_json::from_str::<Weight>("101").is_err());
        assert!(serde_json::from_str::<Weight>("-1").is_err());
        assert_eq!(serde_json::from_str::<Weight>("100").unwrap(), Weight::FULL);
    }
}
