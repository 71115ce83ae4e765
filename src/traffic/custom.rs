//! Routes of any kind, whose settings say where the weights stand and how a share is written there.
mod place;
mod told;

use super::{
    Acceptance, Apart, Capability, Resource, RouteSeen, Router, Share, Unsteerable, Weights,
    weighted::{describe, weights_only},
};
use crate::{
    duration::Duration,
    formula::{Formula, Type},
    vocab::{Pair, Weight},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How objects of a kind that no router steers carry weights: it is a router by itself.
///
/// ```yaml
/// custom:
///   plural: trafficsplits
///   weights:
///   - {path: /spec/backends/service=checkout-stable/weight, value: stable}
///   - {path: /spec/backends/service=checkout-canary/weight, value: canary}
///   accepted: object.status.observedGeneration == object.metadata.generation
/// ```
///
/// An entry of a list is found by what it says of itself, a member and its value, wherever it stands: a place by number may
/// be somebody else's tomorrow, so it is refused unless the entries are bare numbers, which say nothing.
///
/// Only what stands at these paths is written. What is read back is the one percent for which all of them yield what stands
/// there; where there is none, the weights differ. Nothing is known of other ways to the canary in such an object. It is not
/// watched, so edits are seen when the Rollout is looked at the next time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Custom {
    /// Plural of the kind, as paths of the API server spell it.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub plural: String,
    /// Where the weights stand. Together they must tell every percent from every other.
    #[schemars(length(min = 1, max = 8))]
    pub weights: Vec<CustomWeight>,
    /// CEL over `object`, true when the data plane's controller has taken it as it stands. Without it only `settle` is
    /// waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub accepted: Option<String>,
    /// Where it names Services, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 256)))]
    pub services: Vec<String>,
}

/// One number of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomWeight {
    /// Where it stands, as a JSON pointer below /spec or /metadata/annotations. All but its last member must exist. An entry
    /// of a list is named by a member and its value, as in /spec/backends/service=shop-canary/weight; a member further below
    /// is written with ~1 for each slash, as in destination~1host=shop-canary.
    #[schemars(length(min = 2, max = 256), regex(pattern = "^/"))]
    pub path: String,
    /// What stands there, in CEL over `canary` and `stable`, the two shares in percent, like `canary * 10`.
    #[schemars(length(min = 1, max = 500))]
    pub value: String,
    /// How it is written. Default: a whole number, within a text where a text stands now.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Form {
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Float,
    /// A number within a text.
    String,
}

/// The names that a value is written with.
const NAMES: [&str; 2] = ["canary", "stable"];

impl Custom {
    /// What is wrong with the settings: the field below them, and the cure.
    ///
    /// # Errors
    /// The first complaint.
    pub fn check(&self) -> Result<(), (String, String)> {
        let mut paths = BTreeSet::new();
        let mut rows = Vec::new();
        for (at, CustomWeight { path, value, form }) in self.weights.iter().enumerate() {
            let field = |name: &str| format!("weights[{at}].{name}");
            let ours = path.starts_with("/spec/")
                || path.strip_prefix("/metadata/annotations/").is_some_and(|name| !name.starts_with("bellwether.dev"));
            if !ours || path.ends_with('/') {
                let cure = "must lie below /spec or be an annotation below /metadata/annotations, like /spec/backends/service=shop-canary/weight";
                return Err((field("path"), cure.to_owned()));
            }
            if !paths.insert(path) {
                return Err((field("path"), "is the path of another weight; take one of them out".to_owned()));
            }
            let formula =
                Formula::parse(value, &NAMES, Type::Number).map_err(|why| (field("value"), why.to_string()))?;
            let row: Vec<_> = percents().map(|weight| computed(&formula, weight)).collect();
            if let Some(percent) = row.iter().position(Option::is_none) {
                return Err((
                    field("value"),
                    format!("is no number at {percent} percent; it must be one from 0 to 100"),
                ));
            }
            let whole = matches!(form, None | Some(Form::Integer));
            if let Some(percent) = row.iter().flatten().position(|number| whole && number.fract() != 0.0) {
                let cure = "say as: Float or as: String, or round it by another value";
                return Err((field("value"), format!("is no whole number at {percent} percent; {cure}")));
            }
            rows.push(row);
        }
        let told_apart: BTreeSet<Vec<Option<u64>>> = (0..=100)
            .map(|percent| rows.iter().map(|row: &Vec<Option<f64>>| row[percent].map(f64::to_bits)).collect())
            .collect();
        if told_apart.len() != 101 {
            let cure = "the values are the same for several percents, so none could be read back; write every percent differently";
            return Err(("weights".to_owned(), cure.to_owned()));
        }
        if let Some(text) = &self.accepted {
            told::check(text).map_err(|why| ("accepted".to_owned(), why.to_string()))?;
        }
        let relative = self.services.iter().position(|path| !path.starts_with('/'));
        relative.map_or(Ok(()), |at| Err((format!("services[{at}]"), "is no JSON pointer: begin with /".to_owned())))
    }

    /// Each weight with where it stands in this object, and what it should be, for every percent.
    fn formulas(&self, route: &Value) -> Result<Vec<(&CustomWeight, String, Formula)>, Unsteerable> {
        let mut taken = BTreeSet::new();
        let each = self.weights.iter().map(|weight| {
            let formula = Formula::parse(&weight.value, &NAMES, Type::Number)
                .map_err(|_| malformed(route, "custom.weights", "CEL that yields a number"))?;
            let place = place::find(route, &weight.path)?;
            if !taken.insert(place.clone()) {
                return Err(malformed(
                    route,
                    &weight.path,
                    "a place of its own: another path of custom.weights leads there",
                ));
            }
            Ok((weight, place, formula))
        });
        each.collect()
    }
}

impl Router for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }

    /// None of this build's: which kind it is the route says itself.
    fn resources(&self) -> &'static [Resource] {
        &[]
    }

    fn capabilities(&self) -> &'static [Capability] {
        if self.accepted.is_some() { &[Capability::Weight, Capability::Status] } else { &[Capability::Weight] }
    }

    fn settle(&self) -> Duration {
        Duration::seconds(5)
    }

    fn read(&self, route: &Value, _: &Pair) -> Result<RouteSeen, Unsteerable> {
        let mut common: Option<BTreeSet<Weight>> = None;
        let mut shares = Vec::new();
        for (weight, place, formula) in self.formulas(route)? {
            let is = number_at(route, &place)?;
            let fits: BTreeSet<_> =
                percents().filter(|percent| is.is_some() && computed(&formula, *percent) == is).collect();
            // What stands for no percent may stand for all requests.
            let most = fits.last().copied().unwrap_or(Weight::FULL);
            let (stable, canary) = (most.rest().percent().into(), most.percent().into());
            shares.push(Share { rule: weight.path.clone(), stable, canary });
            common = Some(common.map_or(fits.clone(), |common| common.intersection(&fits).copied().collect()));
        }
        let common = common.unwrap_or_default();
        let weight = match (common.first(), common.len()) {
            (Some(weight), 1) => Weights::At(*weight),
            _ => Weights::Mixed(shares),
        };
        Ok(RouteSeen { weight, apart: Apart::default(), accepted: self.accepted(route) })
    }

    fn accepted(&self, route: &Value) -> Acceptance {
        self.accepted.as_ref().map_or(Acceptance::Untold, |text| told::accepted(text, route))
    }

    fn services(&self, route: &Value) -> Vec<String> {
        self.services.iter().filter_map(|path| Some(route.pointer(path)?.as_str()?.to_owned())).collect()
    }

    fn port(&self, _: &Value) -> Option<u16> {
        None
    }

    fn steer(&self, route: &Value, _: &Pair, canary: Weight) -> Result<Option<Value>, Unsteerable> {
        let mut steered = route.clone();
        for (CustomWeight { path, form, .. }, place, formula) in self.formulas(route)? {
            let is = number_at(route, &place)?;
            let wanted = computed(&formula, canary)
                .ok_or_else(|| malformed(route, path, "a number that custom.weights can compute"))?;
            let stands = route.pointer(&place);
            let form = form.unwrap_or(match stands {
                Some(Value::String(_)) => Form::String,
                _ => Form::Integer,
            });
            if is == Some(wanted) && stands.is_some_and(|stands| is_in(form, stands)) {
                continue;
            }
            let written = written(form, wanted).ok_or_else(|| {
                malformed(route, path, "a place for a number with a fraction; say as: Float or as: String")
            })?;
            let (parent, member) = place.rsplit_once('/').unwrap_or_default();
            match steered.pointer_mut(parent) {
                Some(Value::Object(members)) => drop(members.insert(place::unescaped(member), written)),
                _ => {
                    if let Some(place) = steered.pointer_mut(&place) {
                        *place = written;
                    }
                }
            }
        }
        Ok((steered != *route).then_some(steered))
    }

    fn apart(&self, route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
        weights_only(route, pair, apart)
    }
}

fn percents() -> impl Iterator<Item = Weight> {
    (0..=100).filter_map(Weight::new)
}

fn computed(formula: &Formula, canary: Weight) -> Option<f64> {
    let number = formula.number(&[canary.percent().into(), canary.rest().percent().into()])?;
    // Zero has no sign, and what JSON cannot hold is no weight.
    (number.is_finite() && number.abs() < 9.0e15).then_some(number + 0.0)
}

/// The number that stands at a place; none where the last member is not there yet.
fn number_at(route: &Value, place: &str) -> Result<Option<f64>, Unsteerable> {
    let Some(stands) = route.pointer(place) else { return Ok(None) };
    let number = match stands {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number
        .filter(|number: &f64| number.is_finite())
        .map(Some)
        .ok_or_else(|| malformed(route, place, "a number, or a text of one"))
}

fn is_in(form: Form, stands: &Value) -> bool {
    match form {
        Form::Integer => stands.is_i64() || stands.is_u64(),
        Form::Float => stands.is_number(),
        Form::String => stands.is_string(),
    }
}

/// A number as it is written; none where it has a fraction and may not.
fn written(form: Form, number: f64) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and far below the limit")]
    let whole = (number.fract() == 0.0).then_some(number as i64);
    match (form, whole) {
        (Form::Integer, whole) => whole.map(|whole| json!(whole)),
        (Form::Float, _) => Some(json!(number)),
        (Form::String, Some(whole)) => Some(json!(whole.to_string())),
        (Form::String, None) => Some(json!(number.to_string())),
    }
}

fn malformed(route: &Value, field: &str, expected: &'static str) -> Unsteerable {
    Unsteerable::Malformed { route: describe(route), field: field.to_owned(), expected }
}

#[cfg(test)]
mod tests;
