//! Metrics that a Rollout takes over from templates, with their arguments filled in.
use super::check::Complaint;
use crate::{
    api::{Analysis, Rollout, Shared, TemplateKind, TemplateRef},
    metrics::Metric,
};
use serde_json::Value;
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

/// A template by its kind and name.
pub type TemplateKey = (TemplateKind, String);
/// The templates that were looked for; nothing where there is none of the name.
pub type Templates = BTreeMap<TemplateKey, Option<Shared>>;

/// Templates may take over from templates, this many deep.
const DEEPEST: usize = 4;
/// So many are taken over in all, each as often as it is named.
const MOST_TAKEN: usize = 64;
/// No text is longer once its arguments are filled in, in bytes.
const LONGEST: usize = 16 * 1024;
/// Nor are all texts of all metrics together, in bytes.
const LONGEST_OF_ALL: usize = 512 * 1024;
/// The most metrics of a Rollout.
const MOST: usize = 16;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// All metrics: the Rollout's own first.
    Metrics(Vec<Metric>),
    /// These templates have to be looked for first.
    Wanted(BTreeSet<TemplateKey>),
}

/// The metrics of an analysis, its own and those of its templates.
///
/// # Errors
/// Names the field of the Rollout or the template, and the cure.
pub fn resolve(rollout: &Rollout, known: &Templates) -> Result<Resolved, Complaint> {
    let analysis: &Analysis = &rollout.spec.analysis;
    let mut walk = Walk {
        rollout,
        read: OnceCell::new(),
        known,
        wanted: BTreeSet::new(),
        metrics: analysis.metrics.clone(),
        from: BTreeMap::new(),
        taken: 0,
        left: LONGEST_OF_ALL,
    };
    for (index, template) in analysis.templates.iter().enumerate() {
        let field = format!("spec.analysis.templates[{index}]");
        walk.take(template, &field, &BTreeMap::new(), &mut Vec::new())?;
    }
    if !walk.wanted.is_empty() {
        return Ok(Resolved::Wanted(walk.wanted));
    }
    if walk.metrics.len() > MOST {
        return Err(too_many());
    }
    if walk.metrics.is_empty() && !analysis.templates.is_empty() {
        return Err(Complaint::new("spec.analysis.templates", "have no metric; name one, or say {mode: None} openly"));
    }
    Ok(Resolved::Metrics(walk.metrics))
}

fn too_many() -> Complaint {
    let what = format!("there are more than {MOST} metrics with those of the templates, and {MOST} is the most");
    Complaint::new("spec.analysis.templates", what)
}

struct Walk<'a> {
    rollout: &'a Rollout,
    /// The Rollout as its fields are named, once one of them is asked for.
    read: OnceCell<Value>,
    known: &'a Templates,
    wanted: BTreeSet<TemplateKey>,
    metrics: Vec<Metric>,
    /// Which template a metric is of, by its name.
    from: BTreeMap<String, TemplateKey>,
    /// How many templates were taken over, those among them that were so before.
    taken: usize,
    /// How many bytes of text may still be filled in.
    left: usize,
}

impl Walk<'_> {
    /// Takes over the metrics of a template; `args` are those of whoever names it, `path` the templates that led here.
    fn take(
        &mut self,
        template: &TemplateRef,
        field: &str,
        args: &BTreeMap<String, String>,
        path: &mut Vec<TemplateKey>,
    ) -> Result<(), Complaint> {
        let complain = |what: String| Err(Complaint::new(field, what));
        let key = (template.kind, template.name.clone());
        let (kind, name) = (template.kind, &template.name);
        if path.contains(&key) {
            return complain(format!("{kind:?} {name} takes over from itself; take out one of the references"));
        }
        if path.len() >= DEEPEST {
            return complain(format!(
                "templates take over from templates more than {DEEPEST} deep; name {name} directly"
            ));
        }
        self.taken += 1;
        if self.taken > MOST_TAKEN {
            return complain(format!(
                "more than {MOST_TAKEN} templates are taken over, each as often as it is named; name fewer"
            ));
        }
        if path.last().is_some_and(|(outer, _)| *outer > kind) {
            return complain(format!(
                "a ClusterAnalysisTemplate cannot take over from AnalysisTemplate {name}, which is of a namespace"
            ));
        }
        let shared = match self.known.get(&key) {
            None => {
                self.wanted.insert(key);
                return Ok(());
            }
            Some(None) => return complain(format!("there is no {kind:?} {name}; create it, or correct the name")),
            Some(Some(shared)) => shared.clone(),
        };
        let args = self.args(template, &shared, field, args)?;
        for metric in &shared.metrics {
            let metric = filled(metric, &args, &mut self.left)
                .map_err(|what| Complaint::new(field, format!("metric {} of {kind:?} {name}: {what}", metric.name)))?;
            match self.metrics.iter().position(|known| known.name == metric.name) {
                None => {
                    if self.metrics.len() >= MOST {
                        return Err(too_many());
                    }
                    self.from.insert(metric.name.clone(), key.clone());
                    self.metrics.push(metric);
                }
                // Whoever takes over has a metric of that name; two templates side by side must not, nor one of them twice
                // with other arguments.
                Some(at) => match self.from.get(&metric.name) {
                    Some(other) if *other == key && self.metrics[at] != metric => {
                        return complain(format!(
                            "{kind:?} {name} is named twice, and its metric {} is not the same both times; name it once, or give the \
                             Rollout a metric of that name",
                            metric.name
                        ));
                    }
                    Some(other) if !path.contains(other) && *other != key => {
                        return complain(format!(
                            "{} {} and {kind:?} {name} both have a metric {}; give the Rollout one of that name, or rename one",
                            kind_of(other),
                            other.1,
                            metric.name
                        ));
                    }
                    _ => {}
                },
            }
        }
        path.push(key);
        for inner in &shared.templates {
            self.take(inner, field, &args, path)?;
        }
        path.pop();
        Ok(())
    }

    fn fields(&self) -> &Value {
        self.read.get_or_init(|| serde_json::to_value(self.rollout).unwrap_or_default())
    }

    /// The values of a template's arguments.
    fn args(
        &self,
        template: &TemplateRef,
        shared: &Shared,
        field: &str,
        outer: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Complaint> {
        let (kind, name) = (template.kind, &template.name);
        let mut values: BTreeMap<String, String> =
            shared.args.iter().filter_map(|arg| Some((arg.name.clone(), arg.value.clone()?))).collect();
        for given in &template.args {
            let complain = |what: String| Complaint::new(format!("{field}.args"), what);
            if !shared.args.iter().any(|arg| arg.name == given.name) {
                let known: Vec<_> = shared.args.iter().map(|arg| arg.name.as_str()).collect();
                return Err(complain(format!("{kind:?} {name} has no argument {}; it has {known:?}", given.name)));
            }
            let value = match (&given.value, &given.value_from) {
                (Some(value), None) => fill(value, outer).map_err(complain)?,
                (None, Some(from)) => text_at(self.fields(), &from.field).map_err(complain)?,
                _ => return Err(complain(format!("{} has exactly one of value and valueFrom", given.name))),
            };
            values.insert(given.name.clone(), value);
        }
        let missing = shared.args.iter().find(|arg| !values.contains_key(&arg.name));
        missing.map_or(Ok(values), |arg| {
            let what = format!("{kind:?} {name} wants a value for its argument {}", arg.name);
            Err(Complaint::new(format!("{field}.args"), what))
        })
    }
}

fn kind_of(key: &TemplateKey) -> String {
    format!("{:?}", key.0)
}

/// A metric with its arguments filled in.
fn filled(metric: &Metric, args: &BTreeMap<String, String>, left: &mut usize) -> Result<Metric, String> {
    fn walk(value: &mut Value, args: &BTreeMap<String, String>, left: &mut usize) -> Result<(), String> {
        match value {
            Value::String(text) => {
                *text = fill(text, args)?;
                *left = left.checked_sub(text.len()).ok_or_else(|| {
                    format!(
                        "with its arguments all metrics together are longer than {LONGEST_OF_ALL} bytes; shorten them"
                    )
                })?;
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| walk(item, args, left))?,
            Value::Object(members) => members.values_mut().try_for_each(|member| walk(member, args, left))?,
            _ => {}
        }
        Ok(())
    }
    let mut value = serde_json::to_value(metric).map_err(|error| error.to_string())?;
    // A Job's programs are not written anew: what they are told they are told by their variables.
    let mut pods = value.pointer_mut("/job/template").map(Value::take);
    walk(&mut value, args, left)?;
    for list in ["initContainers", "containers"] {
        let containers = pods.as_mut().and_then(|pods| pods.pointer_mut(&format!("/spec/{list}")));
        let containers = containers.and_then(Value::as_array_mut).into_iter().flatten();
        let variables = containers.filter_map(|container| container.get_mut("env")?.as_array_mut()).flatten();
        variables.filter_map(|variable| variable.get_mut("value")).try_for_each(|value| walk(value, args, left))?;
    }
    if let (Some(place), Some(pods)) = (value.pointer_mut("/job/template"), pods) {
        *place = pods;
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A text with `{{args.NAME}}` filled in. What an argument says is not looked at again.
fn fill(text: &str, args: &BTreeMap<String, String>) -> Result<String, String> {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, after)) = after.split_once("}}") else {
            return Err("a {{ is not closed by }}".to_owned());
        };
        let name = inside.trim().strip_prefix("args.");
        let value = name.and_then(|name| args.get(name)).ok_or_else(|| {
            let known: Vec<_> = args.keys().map(|name| format!("args.{name}")).collect();
            format!("there is no {{{{{}}}}}; there are {known:?}", inside.trim())
        })?;
        if filled.len() + before.len() + value.len() > LONGEST {
            return Err(format!("with its arguments a text is longer than {LONGEST} bytes; shorten {}", inside.trim()));
        }
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// What a field of the Rollout says, by a path like `metadata.labels['team']`.
fn text_at(rollout: &Value, path: &str) -> Result<String, String> {
    let unreadable = || format!("{path} is no path; write it like metadata.name or metadata.labels['team']");
    let (mut at, mut rest) = (rollout, path);
    while !rest.is_empty() {
        let (member, after) = if let Some(quoted) = rest.strip_prefix("['") {
            let (member, after) = quoted.split_once("']").ok_or_else(unreadable)?;
            (member, after.strip_prefix('.').unwrap_or(after))
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let after = &rest[end..];
            (&rest[..end], after.strip_prefix('.').unwrap_or(after))
        };
        if member.is_empty() {
            return Err(unreadable());
        }
        at = at.get(member).ok_or_else(|| format!("the Rollout has no {path}"))?;
        rest = after;
    }
    match at {
        Value::String(text) if text.len() > LONGEST => Err(format!("{path} is longer than {LONGEST} bytes")),
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(at.to_string()),
        _ => Err(format!("{path} is neither text nor number nor truth")),
    }
}
