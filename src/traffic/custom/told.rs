//! Whether an object tells that it has been taken: CEL over the whole object.
//!
//! What is let through are fields, comparisons, logic, parts of texts, and `all`, `exists` and `exists_one` over lists within
//! the object. One of them within the other must be over a list of what the outer one looks at, so that nothing is looked at
//! more often than it is deep.
use crate::{
    formula::{self, BadCondition},
    traffic::Acceptance,
};
use cel::{
    Context, Value as Cel,
    common::ast::{Expr, operators as op},
    objects::Map,
};
use serde_json::Value;
use std::sync::Arc;

/// The most macros one within the other.
const DEEPEST: usize = 3;
/// The functions beside the operators.
const FUNCTIONS: [&str; 4] = ["size", "startsWith", "endsWith", "contains"];
const OPERATORS: [&str; 16] = [
    op::CONDITIONAL,
    op::LOGICAL_AND,
    op::LOGICAL_OR,
    op::LOGICAL_NOT,
    op::NOT_STRICTLY_FALSE,
    op::EQUALS,
    op::NOT_EQUALS,
    op::GREATER,
    op::GREATER_EQUALS,
    op::LESS,
    op::LESS_EQUALS,
    op::IN,
    op::INDEX,
    op::ADD,
    op::SUBSTRACT,
    op::NEGATE,
];
/// Those of them that yield a truth.
const TRUTHS: [&str; 14] = [
    op::LOGICAL_AND,
    op::LOGICAL_OR,
    op::LOGICAL_NOT,
    op::NOT_STRICTLY_FALSE,
    op::EQUALS,
    op::NOT_EQUALS,
    op::GREATER,
    op::GREATER_EQUALS,
    op::LESS,
    op::LESS_EQUALS,
    op::IN,
    "startsWith",
    "endsWith",
    "contains",
];

/// Whether a text is fit to be asked of objects.
pub(super) fn check(text: &str) -> Result<(), BadCondition> {
    let parsed = formula::parsed(text)?;
    walk(&parsed.expr, &mut vec!["object".to_owned()], 0)?;
    match &parsed.expr {
        Expr::Call(call) if TRUTHS.contains(&call.func_name.as_str()) => Ok(()),
        Expr::Select(select) if select.test => Ok(()),
        Expr::Comprehension(_) => Ok(()),
        _ => Err(BadCondition::Type(
            "the whole".into(),
            "a comparison, like object.status.observedGeneration == object.metadata.generation",
        )),
    }
}

/// What an object says when it is asked.
pub(super) fn accepted(text: &str, object: &Value) -> Acceptance {
    let unknown = |why: &str| Acceptance::Unknown(format!("custom.accepted {why}"));
    if check(text).is_err() {
        return unknown("is not understood");
    }
    let asked = std::panic::catch_unwind(|| {
        let parsed = formula::parsed(text).ok()?;
        let mut context = Context::default();
        context.add_variable_from_value("object", signed(cel::to_value(object).ok()?));
        Cel::resolve(&parsed, &context).ok()
    });
    match asked {
        Ok(Some(Cel::Bool(true))) => Acceptance::Yes,
        Ok(Some(Cel::Bool(false))) => unknown("is not true yet"),
        _ => unknown("asks for what the object does not have yet"),
    }
}

/// Whole numbers as CEL has those of JSON: with a sign, like those that are written in the text.
fn signed(value: Cel) -> Cel {
    match value {
        Cel::UInt(number) => i64::try_from(number).map_or(value, Cel::Int),
        Cel::List(items) => Cel::List(Arc::new(items.iter().cloned().map(signed).collect())),
        Cel::Map(fields) => {
            let fields = fields.map.iter().map(|(name, field)| (name.clone(), signed(field.clone())));
            Cel::Map(Map { map: Arc::new(fields.collect()) })
        }
        other => other,
    }
}

/// Goes through an expression. `bound` are the names that may be used, the innermost last; `depth` counts macros.
fn walk(expr: &Expr, bound: &mut Vec<String>, depth: usize) -> Result<(), BadCondition> {
    let refused = |what: &str| {
        let what: String = what.chars().take(40).collect();
        Err(BadCondition::Refused(what))
    };
    match expr {
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if bound.contains(name) => Ok(()),
        Expr::Ident(name) => Err(BadCondition::Unknown(name.chars().take(40).collect(), "object alone".to_owned())),
        Expr::Select(select) => walk(&select.operand.expr, bound, depth),
        Expr::List(list) => list.elements.iter().try_for_each(|element| walk(&element.expr, bound, depth)),
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            if !OPERATORS.contains(&name) && !FUNCTIONS.contains(&name) {
                return refused(name);
            }
            let all = call.target.iter().map(AsRef::as_ref).chain(&call.args);
            all.map(|part| &part.expr).try_for_each(|part| walk(part, bound, depth))
        }
        Expr::Comprehension(macro_) => {
            if depth == DEEPEST {
                return refused("a macro within three others");
            }
            let root = root(&macro_.iter_range.expr);
            if root.is_none() || root != bound.last().map(String::as_str) {
                return refused("a macro over anything but a list of the object, or of what the outer macro looks at");
            }
            if matches!(macro_.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
                return refused("map or filter");
            }
            let before = bound.len();
            bound.push(macro_.accu_var.clone());
            bound.push(macro_.iter_var.clone());
            let parts = [&macro_.loop_cond, &macro_.loop_step, &macro_.result];
            let done = parts.into_iter().try_for_each(|part| walk(&part.expr, bound, depth + 1));
            bound.truncate(before);
            done
        }
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => refused("a map or an object"),
    }
}

/// The name at the root of a path of fields.
fn root(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Ident(name) => Some(name),
        Expr::Select(select) if !select.test => root(&select.operand.expr),
        Expr::Call(call) if call.func_name == op::INDEX => root(&call.args.first()?.expr),
        _ => None,
    }
}
