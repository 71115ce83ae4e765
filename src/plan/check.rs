//! What a spec must say beyond its schema, in words that name the field and the cure.
use crate::{
    api::{RolloutSpec, Step},
    duration::Duration,
    metrics,
    traffic::{self, Ownership},
    vocab::Weight,
};
use std::collections::BTreeSet;

/// Something in a spec that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Complaint {
    /// The field, as a path from the object's root.
    pub field: String,
    /// What is wrong, and the cure.
    pub problem: String,
}

impl Complaint {
    /// A complaint about this field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// The first thing in a spec that cannot be carried out.
///
/// The API server refuses most of these itself; this is the same for servers that did not, and all that a schema cannot say.
///
/// # Errors
/// The first complaint, with the field's path.
pub fn check(spec: &RolloutSpec) -> Result<(), Complaint> {
    steps(&spec.steps)?;
    routes(spec)?;
    analysis(spec)?;
    if spec.progress.deadline < Duration::seconds(1) {
        return Err(Complaint::new("spec.progress.deadline", "must be at least 1s"));
    }
    Ok(())
}

fn steps(steps: &[Step]) -> Result<(), Complaint> {
    if steps.is_empty() {
        return Err(Complaint::new("spec.steps", "a release needs at least one step"));
    }
    let mut names = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        if !names.insert(&step.name) {
            return Err(Complaint::new(
                format!("spec.steps[{index}].name"),
                format!("\"{}\" is the name of another step", step.name),
            ));
        }
        if step.observe.is_none() && step.approval.is_none() {
            return Err(Complaint::new(
                format!("spec.steps[{index}]"),
                "needs observe or approval, else it would be left at once",
            ));
        }
        if step.replicas.is_some_and(|replicas| replicas < 0) {
            return Err(Complaint::new(format!("spec.steps[{index}].replicas"), "cannot be negative"));
        }
    }
    Ok(())
}

fn routes(spec: &RolloutSpec) -> Result<(), Complaint> {
    let routes = spec.routes();
    if routes.is_empty() {
        let over = Weight::new(50);
        if let Some(index) = spec.steps.iter().position(|step| Some(step.weight) > over) {
            return Err(Complaint::new(
                format!("spec.steps[{index}].weight"),
                "without traffic.routes the share of pods is the share of requests and stable keeps all its pods, \
                 so no step can be above 50: name a route, or keep to 50",
            ));
        }
        return Ok(());
    }
    if spec.traffic.as_ref().is_none_or(|traffic| traffic.services.is_none()) {
        return Err(Complaint::new("spec.traffic.services", "routes weigh two Services: name stable and canary"));
    }
    for (index, route) in routes.iter().enumerate() {
        let field = format!("spec.traffic.routes[{index}]");
        if traffic::router_for(&route.api_version, &route.kind).is_none() {
            let known: Vec<_> =
                traffic::resources().map(|known| format!("{} {}", known.api_version(), known.kind)).collect();
            return Err(Complaint::new(
                field,
                format!(
                    "{} of {} is not a route that can be weighed; these are: {}",
                    route.kind,
                    route.api_version,
                    known.join(", ")
                ),
            ));
        }
        if (route.ownership == Ownership::Operator) != route.template.is_some() {
            return Err(Complaint::new(
                field,
                "ownership: Operator and template come together: the operator writes the whole route",
            ));
        }
        if routes.iter().take(index).any(|other| (&other.kind, &other.name) == (&route.kind, &route.name)) {
            return Err(Complaint::new(field, format!("{} {} is named twice", route.kind, route.name)));
        }
    }
    Ok(())
}

/// Whether a metric tells the arms apart by their Services.
fn needs_services(metric: &metrics::Metric) -> bool {
    let at_proxy = |name: &String| {
        let preset = metrics::presets::ALL.iter().find(|preset| preset.name == name);
        preset.is_some_and(|preset| preset.place == metrics::presets::Place::Traefik)
    };
    metric.preset.as_ref().is_some_and(at_proxy) || metric.arm == Some(metrics::ArmLabel::Service)
}

fn analysis(spec: &RolloutSpec) -> Result<(), Complaint> {
    let analysis = &spec.analysis;
    if analysis.mode.is_some() {
        if !analysis.metrics.is_empty() {
            return Err(Complaint::new(
                "spec.analysis.mode",
                "None says that nothing is judged: remove mode, or the metrics",
            ));
        }
        return Ok(());
    }
    if analysis.metrics.is_empty() {
        return Err(Complaint::new("spec.analysis.metrics", "name at least one metric, or say {mode: None} openly"));
    }
    if analysis.provider.is_none() {
        return Err(Complaint::new(
            "spec.analysis.provider",
            "metrics need a MetricProvider or a ClusterMetricProvider",
        ));
    }
    let mut names = BTreeSet::new();
    for (index, metric) in analysis.metrics.iter().enumerate() {
        let field = format!("spec.analysis.metrics[{index}]");
        if !names.insert(&metric.name) {
            return Err(Complaint::new(
                format!("{field}.name"),
                format!("\"{}\" is the name of another metric", metric.name),
            ));
        }
        metrics::check(metric).map_err(|complaint| Complaint::new(field, complaint.to_string()))?;
        let of_routes_only = spec.routes().is_empty() && needs_services(metric);
        if of_routes_only {
            return Err(Complaint::new(
                format!("spec.analysis.metrics[{index}]"),
                "tells the revisions apart by Service, and without traffic.routes both share one: use a metric of the pods",
            ));
        }
    }
    Ok(())
}
