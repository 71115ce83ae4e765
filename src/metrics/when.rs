//! Conditions that people write: CEL over the numbers of one interval.
//!
//! What is let through is comparisons, arithmetic and logic over four numbers, so nothing here can take long. It is read,
//! and its types are checked, before anything is asked of a provider; whole numbers are read as numbers with a fraction,
//! so that `2 * stable` is no error.
pub use crate::formula::BadCondition;
use crate::{
    formula::{Formula, Type},
    judge::threshold::Point,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a condition may name.
const NAMES: [&str; 4] = ["canary", "stable", "samples", "result"];

/// Conditions on an interval, in CEL: `canary` and `result` are the canary's number, `stable` is stable's, `samples` is how
/// many intervals there have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct When {
    /// The interval has failed when this is true, like `canary > 1.2 * stable && canary > 0.01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub fail: Option<String>,
    /// The interval was good when this is true; one that neither failed nor was good is inconclusive. Without it whatever
    /// has not failed was good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub pass: Option<String>,
}

/// The numbers of one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numbers {
    pub canary: f64,
    pub stable: Option<f64>,
    /// How many numbers of the canary there have been, with this one.
    pub samples: f64,
}

/// A condition that was read and found fit.
#[derive(Debug)]
pub(super) struct Condition(Formula);

impl Condition {
    /// Reads and checks a condition.
    pub fn parse(text: &str) -> Result<Self, BadCondition> {
        Formula::parse(text, &NAMES, Type::Truth).map(Self)
    }

    /// Whether it is true of an interval; nothing where a number that it names is missing.
    pub fn holds(&self, numbers: &Numbers) -> Option<bool> {
        let stable = match numbers.stable {
            Some(stable) => stable,
            None if self.names_stable() => return None,
            None => 0.0,
        };
        self.0.holds(&[numbers.canary, stable, numbers.samples, numbers.canary])
    }

    fn names_stable(&self) -> bool {
        self.0.asks_for("stable")
    }
}

/// The two conditions of a metric.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub fail: Option<Condition>,
    pub pass: Option<Condition>,
}

impl Conditions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fail.is_none() && self.pass.is_none()
    }

    /// Whether any asks for stable's number.
    pub fn names_stable(&self) -> bool {
        [&self.fail, &self.pass].into_iter().flatten().any(Condition::names_stable)
    }

    /// What they say of an interval; nothing where a number that one names is missing.
    pub fn point(&self, numbers: &Numbers) -> Option<Point> {
        let holds = |condition: &Option<Condition>| condition.as_ref().map(|condition| condition.holds(numbers));
        match (holds(&self.fail), holds(&self.pass)) {
            (Some(Some(true)), _) => Some(Point::Bad),
            (Some(None), _) | (_, Some(None)) => None,
            (_, Some(Some(false))) => Some(Point::Open),
            _ => Some(Point::Good),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(text: &str, canary: f64, stable: impl Into<Option<f64>>) -> Option<bool> {
        Condition::parse(text).unwrap().holds(&Numbers { canary, stable: stable.into(), samples: 12.0 })
    }

    #[test]
    fn numbers_of_both_sides_are_compared() {
        assert_eq!(holds("canary > 1.2 * stable", 0.13, 0.1), Some(true));
        assert_eq!(holds("canary > 1.2 * stable", 0.11, 0.1), Some(false));
        assert_eq!(holds("canary > 2 * stable && samples >= 10", 3.0, 1.0), Some(true), "whole numbers are numbers");
        assert_eq!(holds("result >= 1 || !(canary < 5)", 0.5, None), Some(false));
        assert_eq!(holds("(stable == 0 ? canary : canary / stable) > 1.5", 3.0, 0.0), Some(true));
        assert_eq!(holds("-canary + 3 - 1 <= 2", 0.0, None), Some(true));
        assert_eq!(holds("true", 1.0, None), Some(true));
    }

    #[test]
    fn what_names_a_missing_number_says_nothing() {
        assert_eq!(holds("canary > stable", 1.0, None), None);
        assert_eq!(holds("canary > 0", 1.0, None), Some(true));
        assert_eq!(holds("canary > stable", 1.0, f64::NAN), None, "and neither does what is no number");
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (text, words) in [
            ("canary", "the whole wants a comparison"),
            ("canary > ", "is not understood: "),
            ("canary >", "is not understood: "),
            ("latency > 1", "there is no latency; there are canary, stable, samples and result"),
            ("canary > 'x'", "text is not for conditions"),
            ("canary && stable", "&& wants comparisons on both sides"),
            ("canary > (stable > 1)", "> wants numbers"),
            ("[1, 2].exists(x, x > 1)", "a macro is not for conditions"),
            ("size([1]) > 0", "a list, a map or an object is not for conditions"),
            ("canary.x > 0", ".x is not for conditions"),
            ("canary in [1.0]", "a list, a map or an object"),
            ("max(canary, 1) > 2", "max is not for conditions"),
            ("canary % 2 == 0", "_%_ is not for conditions"),
            ("true ? canary : true", "?: wants a comparison in front"),
        ] {
            let refused = Condition::parse(text).unwrap_err().to_string();
            assert!(refused.starts_with(words), "{text}: {refused}");
        }
        let deep = format!("{}canary{} > 1", "(".repeat(33), ")".repeat(33));
        for text in [deep.as_str(), &"!".repeat(200), &"1+".repeat(300)] {
            assert_eq!(Condition::parse(text).unwrap_err(), BadCondition::TooLong);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~]{0,60}") {
            let numbers = Numbers { canary: 1.0, stable: Some(2.0), samples: 3.0 };
            let _ = Condition::parse(&text).map(|condition| condition.holds(&numbers));
        }

        #[test]
        fn what_looks_like_a_condition_does_not_panic(
            parts in proptest::collection::vec(
                prop_oneof![Just("canary"), Just("stable"), Just("1"), Just("2.5"), Just(">"), Just("&&"), Just("("), Just(")"), Just("!"), Just("*"), Just("?"), Just(":")],
                0..20,
            ),
        ) {
            let _ = Condition::parse(&parts.join(" "));
        }
    }
}
