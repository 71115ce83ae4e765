//! Requests that are told apart by a canary Ingress that is ours to write.
use super::BY;
use crate::{
    traffic::{
        Unsteerable,
        split::{Apart, Comparison, Cookie, NamedValue, RequestMatch},
        weighted::describe,
    },
    vocab::Pair,
};
use serde_json::{Value, json};

/// What an annotation may have beside letters and digits.
const PLAIN: &str = "-._~/:";

/// What a step's match can be here: either is enough.
#[derive(Default)]
struct Told<'a> {
    header: Option<&'a NamedValue>,
    cookie: Option<&'a Cookie>,
}

/// The Ingress, its weight in place, with the annotations that tell requests apart.
pub(super) fn added(mut route: Value, _: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
    if apart.is_empty() {
        return Ok(route);
    }
    let told = told(apart).map_err(|why| Unsteerable::CannotMatch { route: describe(&route), why: why.to_owned() })?;
    let [by_header, by_cookie] = BY;
    let mut added = Vec::new();
    if let Some(NamedValue { name, value, how }) = told.header {
        let suffix = match how {
            Comparison::Exact => "value",
            Comparison::RegularExpression => "pattern",
        };
        added.extend([(by_header.to_owned(), name), (format!("{by_header}-{suffix}"), value)]);
    }
    added.extend(told.cookie.map(|cookie| (by_cookie.to_owned(), &cookie.name)));
    for (name, value) in added {
        route["metadata"]["annotations"][name] = json!(value);
    }
    Ok(route)
}

fn told(apart: &Apart) -> Result<Told<'_>, &'static str> {
    if apart.mirror.is_some() {
        return Err("a canary Ingress copies no requests; take mirror out of the step");
    }
    let mut told = Told::default();
    for wanted in &apart.matches {
        let RequestMatch { headers, cookies, method, path, query } = wanted;
        if method.is_some() || path.is_some() || !query.is_empty() {
            return Err("a canary Ingress tells requests apart by headers and cookies only");
        }
        match (headers.as_slice(), cookies.as_slice()) {
            ([header], []) if told.header.is_none() => {
                can_be_written(header)?;
                told.header = Some(header);
            }
            ([], [cookie]) if told.cookie.is_none() => {
                if cookie.value != "always" {
                    return Err(
                        "a cookie of a canary Ingress takes a request by the value always; write that as its value",
                    );
                }
                told.cookie = Some(cookie);
            }
            _ => {
                return Err(
                    "a canary Ingress can have one header and one cookie, each in an entry of match of its own",
                );
            }
        }
    }
    Ok(told)
}

/// ingress-nginx passes over an annotation with other characters, and goes on without it: who is meant would stay with stable.
fn can_be_written(header: &NamedValue) -> Result<(), &'static str> {
    let consists_of = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let value = match header.how {
        Comparison::Exact => PLAIN.to_owned(),
        Comparison::RegularExpression => format!("{PLAIN}^$[](){{}}*+?|&=\\"),
    };
    if !consists_of(&header.name, PLAIN) {
        return Err(
            "ingress-nginx ignores the name of a header that has other characters than letters, digits and -._~",
        );
    }
    if !consists_of(&header.value, &value) {
        return Err(
            "ingress-nginx ignores the value of a header that has other characters than letters, digits and -._~/:, \
                    and of a RegularExpression also ^$[](){}*+?|&=\\",
        );
    }
    Ok(())
}
