//! Limits as people write them: "1%", "0.01", "300ms".
use super::Complaint;
use crate::{duration::Duration, judge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds of a number. Each is written as a number, a percentage (1% is 0.01) or a duration (300ms is 0.3).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The number may be this at most: the share of errors, the latency that `quantile` of the requests must keep (it
    /// must be an edge of the histogram), or the result of the query, of the web endpoint or of the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub max: Option<String>,
    /// The result of the query, of the web endpoint or of the Job must be this at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub min: Option<String>,
    /// The share of requests, between 0 and 1, that must be no slower than `max`. Only with a latency preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub quantile: Option<f64>,
}

/// A bound, read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    /// As a plain number; seconds of a duration, 0.01 of 1%.
    pub value: f64,
    /// How it was written.
    pub unit: Unit,
}

/// How a bound was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// As a number.
    Plain,
    /// As a percentage.
    Share,
    /// As a duration.
    Seconds,
}

/// A bound that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no number, percentage or duration; write it like 0.01, 1% or 300ms")]
pub struct BadBound(String);

impl Limit {
    pub(super) fn max(&self) -> Result<Option<Bound>, Complaint> {
        Self::bound("max", self.max.as_deref())
    }

    pub(super) fn min(&self) -> Result<Option<Bound>, Complaint> {
        Self::bound("min", self.min.as_deref())
    }

    fn bound(field: &'static str, text: Option<&str>) -> Result<Option<Bound>, Complaint> {
        text.map(Bound::parse).transpose().map_err(|why| Complaint::Bound { field, why })
    }
}

impl Bound {
    fn parse(text: &str) -> Result<Self, BadBound> {
        let bad = || BadBound(text.chars().take(20).collect());
        let plain = |text: &str| match text.parse::<f64>() {
            Ok(value) if value.is_finite() && text.len() <= 20 => Ok(value),
            _ => Err(bad()),
        };
        if let Some(percent) = text.strip_suffix('%') {
            return Ok(Self { value: plain(percent.trim_end())? / 100.0, unit: Unit::Share });
        }
        if let Ok(duration) = text.parse::<Duration>() {
            return Ok(Self { value: duration.as_secs_f64(), unit: Unit::Seconds });
        }
        Ok(Self { value: plain(text)?, unit: Unit::Plain })
    }
}

impl Unit {
    /// A number as a bound of this unit would be written.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => judge::percent(value),
            Self::Seconds => judge::compare::seconds(value),
            Self::Plain if value != 0.0 && !(1e-3..1e9).contains(&value.abs()) => format!("{value:.3e}"),
            Self::Plain => ((value * 1e4).round() / 1e4).to_string(),
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.unit.show(self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_percentages_and_durations_are_understood() {
        for (text, value, shown) in [
            ("0.01", 0.01, "0.01"),
            ("-3", -3.0, "-3"),
            ("1%", 0.01, "1 %"),
            ("0.5 %", 0.005, "0.5 %"),
            ("300ms", 0.3, "300 ms"),
            ("2s", 2.0, "2 s"),
            ("0", 0.0, "0"),
            ("1e12", 1e12, "1.000e12"),
        ] {
            let bound = Bound::parse(text).unwrap();
            assert!((bound.value - value).abs() < 1e-12, "{text}");
            assert_eq!(bound.to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_cure() {
        for text in ["", "%", "fast", "1 s", "NaN", "inf", "1e999", "1%%", "999h", "0x10"] {
            let words = Bound::parse(text).unwrap_err().to_string();
            assert!(words.ends_with("write it like 0.01, 1% or 300ms"), "{text}: {words}");
        }
    }

    proptest! {
        #[test]
        fn no_bound_panics(text in ".{0,30}") {
            let _ = Bound::parse(&text).map(|bound| bound.to_string());
        }
    }
}
