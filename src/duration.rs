//! Durations as people write them: "90s", "5m", "1h30m", "300ms".
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};

/// A span of time in whole milliseconds. What is written is parsed with checked arithmetic and may be at most 30 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADuration {
    /// The text has another form.
    #[error("\"{0}\" is not a duration: write numbers with ms, s, m or h, like 90s or 1h30m")]
    Form(String),
    /// The text says more than 30 days.
    #[error("\"{0}\" is longer than 30 days")]
    TooLong(String),
}

impl Duration {
    /// The longest that may be written.
    pub const MAX: Self = Self(30 * 24 * 3_600_000);
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    /// In whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// In seconds, with a fraction.
    #[expect(clippy::cast_precision_loss, reason = "30 days in milliseconds fit a float exactly")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// As the standard library has it.
    pub const fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// As the time library has it.
    pub fn signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_millis(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let form = || NotADuration::Form(text.chars().take(40).collect());
        let too_long = || NotADuration::TooLong(text.chars().take(40).collect());
        let mut rest = text;
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(form());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
            let (number, tail) = rest.split_at(digits);
            if number.is_empty() {
                return Err(form());
            }
            let number: u64 = number.parse().map_err(|_| too_long())?;
            let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
            let millis: u64 = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(form()),
            };
            total = number.checked_mul(millis).and_then(|n| total.checked_add(n)).ok_or_else(too_long)?;
            rest = tail;
        }
        if total > Self::MAX.0 { Err(too_long()) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut left = self.0;
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if left >= millis {
                write!(f, "{}{unit}", left / millis)?;
                left %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "maxLength": 20, "pattern": "^([0-9]{1,8}(ms|s|m|h)){1,4}$",
            "x-kubernetes-validations": [
                {"rule": "duration(self) <= duration('720h')", "message": "it is longer than 720h, which are 30 days"},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_is_understood() {
        for (text, millis) in
            [("0s", 0), ("300ms", 300), ("90s", 90_000), ("1h30m", 5_400_000), ("720h", 2_592_000_000)]
        {
            assert_eq!(text.parse(), Ok(Duration::millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_words() {
        for text in ["", "5", "m", "5 m", "-5s", "5d", "1.5s", "s5", "99999999999999999999h", "721h", "5mm"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Duration>();
        }

        #[test]
        fn what_is_shown_reads_back(millis in 0..=Duration::MAX.as_millis()) {
            let duration = Duration::millis(millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
