//! Conditions that people write: CEL over the numbers of one interval.
//!
//! What is let through is comparisons, arithmetic and logic over four numbers, so nothing here can take long. It is read,
//! and its types are checked, before anything is asked of a provider; whole numbers are read as numbers with a fraction,
//! so that `2 * stable` is no error.
use crate::judge::threshold::Point;
use cel::{
    Context, IdedExpr, Program, Value,
    common::{
        ast::{Expr, LiteralValue, operators as op},
        types::CelDouble,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The greatest length of a condition in characters.
const LONGEST: usize = 500;
/// The greatest number of signs one within the other, for reading is recursive.
const DEEPEST: usize = 32;
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

/// Why a condition is refused, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    /// It is longer or deeper than the limit.
    #[error(
        "is longer than {LONGEST} characters, or has more than {DEEPEST} signs one within the other; write it shorter"
    )]
    TooLong,
    /// It is no CEL.
    #[error("is not understood: {0}")]
    Unreadable(String),
    /// It names what is not there.
    #[error("there is no {0}; there are canary, stable, samples and result")]
    Unknown(String),
    /// It uses what is not let through.
    #[error("{0} is not for conditions, which have numbers, + - * /, comparisons, && || ! and ?:")]
    Refused(String),
    /// A number where a truth is wanted, or the other way round.
    #[error("{0} wants {1}")]
    Type(String, &'static str),
}

/// What an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Number,
    Truth,
}

/// The numbers of one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numbers {
    pub canary: f64,
    pub stable: Option<f64>,
    pub samples: f64,
}

/// A condition that was read and found fit.
#[derive(Debug)]
pub(super) struct Condition {
    expression: IdedExpr,
    names_stable: bool,
}

impl Condition {
    /// Reads and checks a condition.
    pub fn parse(text: &str) -> Result<Self, BadCondition> {
        if text.chars().count() > LONGEST || is_deep(text) {
            return Err(BadCondition::TooLong);
        }
        // A parser that breaks off has understood as little as one that complains.
        let parsed = std::panic::catch_unwind(|| Program::compile(text));
        let program = match parsed {
            Ok(Ok(program)) => program,
            Ok(Err(errors)) => {
                let words = errors.to_string();
                let words = words.lines().next().unwrap_or_default();
                return Err(BadCondition::Unreadable(words.chars().filter(|c| !c.is_control()).take(200).collect()));
            }
            Err(_) => return Err(BadCondition::Unreadable("it broke off".into())),
        };
        let mut condition = Self { expression: program.expression().clone(), names_stable: false };
        match check(&mut condition.expression.expr, &mut condition.names_stable)? {
            Type::Truth => Ok(condition),
            Type::Number => Err(BadCondition::Type("the whole".into(), "a comparison, like canary > 0.01")),
        }
    }

    /// Whether it is true of an interval; nothing where a number that it names is missing.
    pub fn holds(&self, numbers: &Numbers) -> Option<bool> {
        let stable = match numbers.stable {
            Some(stable) => stable,
            None if self.names_stable => return None,
            None => 0.0,
        };
        let mut context = Context::default();
        for (name, value) in NAMES.into_iter().zip([numbers.canary, stable, numbers.samples, numbers.canary]) {
            context.add_variable_from_value(name, Value::Float(value));
        }
        match Value::resolve(&self.expression, &context) {
            Ok(Value::Bool(holds)) => Some(holds),
            _ => None,
        }
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
        [&self.fail, &self.pass].into_iter().flatten().any(|condition| condition.names_stable)
    }

    /// What they say of an interval; nothing where a number that one names is missing.
    pub fn point(&self, numbers: &Numbers) -> Option<Point> {
        let holds = |condition: &Option<Condition>| condition.as_ref().map(|condition| condition.holds(numbers));
        match (holds(&self.fail), holds(&self.pass)) {
            (Some(None), _) | (_, Some(None)) => None,
            (Some(Some(true)), _) => Some(Point::Bad),
            (_, Some(Some(false))) => Some(Point::Open),
            _ => Some(Point::Good),
        }
    }
}

/// Whether brackets or signs in front lie deeper than is read.
fn is_deep(text: &str) -> bool {
    let (mut depth, mut deepest, mut signs) = (0_usize, 0, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' | '?' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        signs += usize::from(matches!(c, '!' | '-' | '?' | '+' | '*' | '/' | '%' | '<' | '>' | '=' | '&' | '|' | '.'));
        deepest = deepest.max(depth);
    }
    deepest > DEEPEST || signs > 4 * DEEPEST
}

/// The type of an expression that is let through; whole numbers in it become numbers with a fraction.
fn check(expr: &mut Expr, names_stable: &mut bool) -> Result<Type, BadCondition> {
    let refused = |what: &str| Err(BadCondition::Refused(what.chars().take(40).collect()));
    match expr {
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(_) => Ok(Type::Truth),
            LiteralValue::Double(_) => Ok(Type::Number),
            LiteralValue::Int(whole) => {
                #[expect(clippy::cast_precision_loss, reason = "what people write by hand is far smaller")]
                let value = *whole.inner() as f64;
                *literal = LiteralValue::Double(CelDouble::from(value));
                Ok(Type::Number)
            }
            LiteralValue::UInt(_) => refused("a number with u"),
            LiteralValue::Bytes(_) | LiteralValue::String(_) => refused("text"),
            LiteralValue::Null => refused("null"),
        },
        Expr::Ident(name) if NAMES.contains(&name.as_str()) => {
            *names_stable |= name == "stable";
            Ok(Type::Number)
        }
        Expr::Ident(name) => Err(BadCondition::Unknown(name.chars().take(40).collect())),
        Expr::Call(call) if call.target.is_none() => {
            let name = call.func_name.clone();
            let mut types = Vec::with_capacity(call.args.len());
            for arg in &mut call.args {
                types.push(check(&mut arg.expr, names_stable)?);
            }
            let sign = || name.trim_matches('_').replace('_', " ");
            let all = |wanted: Type, of: &[Type]| of.iter().all(|is| *is == wanted);
            let wants = |wanted| {
                let words = if wanted == Type::Number { "numbers" } else { "comparisons on both sides" };
                Err(BadCondition::Type(sign(), words))
            };
            match (name.as_str(), types.as_slice()) {
                (op::CONDITIONAL, [Type::Truth, one, other]) if one == other => Ok(*one),
                (op::CONDITIONAL, _) => {
                    Err(BadCondition::Type("?:".into(), "a comparison in front, and two of a kind behind"))
                }
                (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, types) if all(Type::Truth, types) => {
                    Ok(Type::Truth)
                }
                (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, _) => wants(Type::Truth),
                (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::NEGATE, types) => {
                    if all(Type::Number, types) { Ok(Type::Number) } else { wants(Type::Number) }
                }
                (
                    op::GREATER | op::GREATER_EQUALS | op::LESS | op::LESS_EQUALS | op::EQUALS | op::NOT_EQUALS,
                    types,
                ) => {
                    if all(Type::Number, types) {
                        Ok(Type::Truth)
                    } else {
                        wants(Type::Number)
                    }
                }
                (other, _) => refused(other),
            }
        }
        Expr::Call(call) => refused(&call.func_name.clone()),
        Expr::Comprehension(_) => refused("a macro"),
        Expr::Select(select) => refused(&format!(".{}", select.field)),
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => refused("a list, a map or an object"),
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

    #[test]
    fn the_deepest_that_is_let_through_fits_a_small_stack() {
        let texts = [
            format!("{}canary{} > 1", "(".repeat(DEEPEST), ")".repeat(DEEPEST)),
            format!("{}true", "!".repeat(4 * DEEPEST)),
            format!("canary{} > 1", "+1".repeat(4 * DEEPEST - 1)),
        ];
        let read = move || texts.iter().filter_map(|text| Condition::parse(text).ok()).count();
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(read).unwrap();
        assert_eq!(thread.join().unwrap(), 3);
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
