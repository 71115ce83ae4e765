//! What people write in CEL over numbers: read, and its types checked, before it is ever evaluated.
//!
//! What is let through is comparisons, arithmetic and logic over a few named numbers, so nothing here can take long. Whole
//! numbers are read as numbers with a fraction, so that `2 * stable` is no error.
use cel::{
    Context, IdedExpr, Program, Value,
    common::{
        ast::{Expr, LiteralValue, operators as op},
        types::CelDouble,
    },
};

/// The greatest length in characters.
const LONGEST: usize = 500;
/// The greatest number of signs one within the other, for reading is recursive.
const DEEPEST: usize = 32;

/// Why a text is refused, and the cure.
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
    #[error("there is no {0}; there are {1}")]
    Unknown(String, String),
    /// It uses what is not let through.
    #[error("{0} is not for conditions, which have numbers, + - * /, comparisons, && || ! and ?:")]
    Refused(String),
    /// A number where a truth is wanted, or the other way round.
    #[error("{0} wants {1}")]
    Type(String, &'static str),
}

/// What an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number.
    Number,
    /// True or false.
    Truth,
}

/// An expression that was read and found fit.
#[derive(Debug)]
pub struct Formula {
    expression: IdedExpr,
    names: &'static [&'static str],
    asked: Vec<String>,
}

impl Formula {
    /// Reads and checks an expression of this type over these numbers.
    ///
    /// # Errors
    /// What is wrong with the text, and the cure.
    pub fn parse(text: &str, names: &'static [&'static str], wanted: Type) -> Result<Self, BadCondition> {
        let mut formula = Self { expression: parsed(text)?, names, asked: Vec::new() };
        let is = check(&mut formula.expression.expr, names, &mut formula.asked)?;
        let cure = match wanted {
            Type::Truth => "a comparison, like canary > 0.01",
            Type::Number => "a number, like canary * 10",
        };
        if is == wanted { Ok(formula) } else { Err(BadCondition::Type("the whole".into(), cure)) }
    }

    /// Whether it asks for this number.
    pub fn asks_for(&self, name: &str) -> bool {
        self.asked.iter().any(|asked| asked == name)
    }

    /// Whether it is true of these numbers, which are in the order of their names.
    pub fn holds(&self, numbers: &[f64]) -> Option<bool> {
        match self.value(numbers) {
            Some(Value::Bool(holds)) => Some(holds),
            _ => None,
        }
    }

    /// The number that it yields of these numbers.
    pub fn number(&self, numbers: &[f64]) -> Option<f64> {
        match self.value(numbers) {
            Some(Value::Float(number)) => Some(number),
            _ => None,
        }
    }

    fn value(&self, numbers: &[f64]) -> Option<Value> {
        let mut context = Context::default();
        for (name, value) in self.names.iter().zip(numbers) {
            context.add_variable_from_value(*name, Value::Float(*value));
        }
        Value::resolve(&self.expression, &context).ok()
    }
}

/// The text as an expression, of which nothing is checked but its size.
///
/// # Errors
/// That it is too long, or no CEL.
pub fn parsed(text: &str) -> Result<IdedExpr, BadCondition> {
    if text.chars().count() > LONGEST || is_deep(text) {
        return Err(BadCondition::TooLong);
    }
    // A parser that breaks off has understood as little as one that complains.
    match std::panic::catch_unwind(|| Program::compile(text)) {
        Ok(Ok(program)) => Ok(program.expression().clone()),
        Ok(Err(errors)) => {
            let words = errors.to_string();
            let words = words.lines().next().unwrap_or_default();
            Err(BadCondition::Unreadable(words.chars().filter(|c| !c.is_control()).take(200).collect()))
        }
        Err(_) => Err(BadCondition::Unreadable("it broke off".into())),
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
fn check(expr: &mut Expr, names: &[&str], asked: &mut Vec<String>) -> Result<Type, BadCondition> {
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
        Expr::Ident(name) if names.contains(&name.as_str()) => {
            asked.push(name.clone());
            Ok(Type::Number)
        }
        Expr::Ident(name) => Err(BadCondition::Unknown(name.chars().take(40).collect(), listed(names))),
        Expr::Call(call) if call.target.is_none() => {
            let name = call.func_name.clone();
            let mut types = Vec::with_capacity(call.args.len());
            for arg in &mut call.args {
                types.push(check(&mut arg.expr, names, asked)?);
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

/// Names as a sentence has them.
fn listed(names: &[&str]) -> String {
    match names {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        names => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_that_is_let_through_fits_a_small_stack() {
        let texts = [
            format!("{}canary{} > 1", "(".repeat(DEEPEST), ")".repeat(DEEPEST)),
            format!("{}true", "!".repeat(4 * DEEPEST)),
            format!("canary{} > 1", "+1".repeat(4 * DEEPEST - 1)),
        ];
        let read = move || texts.iter().filter_map(|text| Formula::parse(text, &["canary"], Type::Truth).ok()).count();
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(read).unwrap();
        assert_eq!(thread.join().unwrap(), 3);
    }

    #[test]
    fn numbers_are_computed_and_names_are_told() {
        let formula =
            Formula::parse("canary > 50 ? 10 * canary : canary", &["canary", "stable"], Type::Number).unwrap();
        assert_eq!(formula.number(&[60.0, 40.0]), Some(600.0));
        assert!(formula.asks_for("canary") && !formula.asks_for("stable"));
        let refused = |text, wanted| Formula::parse(text, &["canary", "stable"], wanted).unwrap_err().to_string();
        assert_eq!(refused("canary > 1", Type::Number), "the whole wants a number, like canary * 10");
        assert_eq!(refused("weight", Type::Number), "there is no weight; there are canary and stable");
    }
}
