//! What a spec must say beyond its schema, in words that name the field and the cure.
use super::{
    Observed,
    capacity::{more_than_all, percent},
    observed::identity,
};
use crate::{
    api::{GROUP, RolloutSpec, Step},
    duration::Duration,
    metrics,
    traffic::{self, Capability, Ownership, RouteRef},
    vocab::Weight,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
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
    apart(spec)?;
    analysis(spec)?;
    let bad_share = match &spec.capacity.max_starting {
        Some(IntOrString::Int(pods)) => *pods < 1,
        Some(IntOrString::String(text)) => percent(text).is_none(),
        None => false,
    };
    if bad_share {
        return Err(Complaint::new(
            "spec.capacity.maxStarting",
            "write a number of pods from 1 on, or a share like 25%",
        ));
    }
    room(spec)?;
    if spec.progress.deadline < Duration::seconds(1) {
        return Err(Complaint::new("spec.progress.deadline", "must be at least 1s"));
    }
    Ok(())
}

/// The steps fit into what there may be of pods, as far as that can be told without the Deployment's replicas.
fn room(spec: &RolloutSpec) -> Result<(), Complaint> {
    let field = "spec.capacity.maxPods";
    let share = match &spec.capacity.max_pods {
        None => return Ok(()),
        Some(IntOrString::Int(pods)) if *pods >= 2 => return Ok(()),
        Some(IntOrString::Int(_)) => None,
        Some(IntOrString::String(text)) => more_than_all(text),
    };
    let Some(share) = share else {
        let problem = "write a number of pods from 2 on, or a share above the Deployment's replicas, 101% to 1000%";
        return Err(Complaint::new(field, problem));
    };
    let beside = share.saturating_sub(100);
    let needs = |step: &Step| u16::from(step.weight.percent());
    if spec.routes().is_empty() {
        return Ok(());
    }
    match spec.steps.iter().position(|step| needs(step) > beside) {
        None => Ok(()),
        Some(index) => Err(Complaint::new(
            format!("spec.steps[{index}].weight"),
            format!(
                "stable stays whole until the promotion, and {field} leaves room for {beside} % beside it: raise that, or \
                 keep to {beside}"
            ),
        )),
    }
}

/// The pods of Jobs are not taken for the Deployment's.
///
/// # Errors
/// The first complaint, with the field's path.
pub(super) fn jobs_apart(seen: &Observed) -> Result<(), Complaint> {
    let analysis = &seen.rollout.spec.analysis;
    let jobs = analysis.metrics.iter().enumerate().filter_map(|(index, metric)| Some((index, metric.job.as_ref()?)));
    for (index, job) in jobs.filter(|_| seen.rollout.spec.is_judged()) {
        metrics::job::apart(&job.template, &seen.selectors())
            .map_err(|complaint| Complaint::new(format!("spec.analysis.metrics[{index}]"), complaint.to_string()))?;
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
        if let Err(why) = route.router() {
            return Err(Complaint::new(field, why.to_string()));
        }
        if let Some(custom) = &route.custom {
            if let Err((below, why)) = custom.check() {
                return Err(Complaint::new(format!("{field}.custom.{below}"), why));
            }
            let group = route.api_version.split('/').next().unwrap_or_default();
            if !group.contains('.') || group == GROUP {
                return Err(Complaint::new(
                    format!("{field}.apiVersion"),
                    "custom is for kinds of resource definitions of others, whose group has a dot, like mesh.example.com/v1",
                ));
            }
            if route.ownership == Ownership::Operator {
                return Err(Complaint::new(
                    format!("{field}.ownership"),
                    "a custom route is the user's: take ownership and template out",
                ));
            }
        }
        if (route.ownership == Ownership::Operator) != route.template.is_some() {
            return Err(Complaint::new(
                field,
                "ownership: Operator and template come together: the operator writes the whole route",
            ));
        }
        if let (Some(template), Ok(router)) = (&route.template, route.router()) {
            let field = format!("{field}.template");
            match &template.like {
                None if template.spec.is_empty() => {
                    return Err(Complaint::new(format!("{field}.spec"), "say what to write: the route's whole spec"));
                }
                Some(_) if !template.spec.is_empty() => {
                    return Err(Complaint::new(format!("{field}.like"), "is instead of spec: take one of them out"));
                }
                Some(_) if !router.can(Capability::Follow) => {
                    let what = format!("is nothing that {} can do: write spec", router.name());
                    return Err(Complaint::new(format!("{field}.like"), what));
                }
                Some(like) if *like == route.name => {
                    let what = "is the name of the route itself: name the Ingress that takes all requests";
                    return Err(Complaint::new(format!("{field}.like"), what));
                }
                _ => {}
            }
        }
        let named = |route: &RouteRef| identity(&route.api_version, &route.kind, &route.name);
        if routes.iter().take(index).any(|other| named(other) == named(route)) {
            return Err(Complaint::new(field, format!("{route} is named twice")));
        }
    }
    Ok(())
}

/// Matches and mirrors need rules of their own, which only a route that is ours to write can have.
fn apart(spec: &RolloutSpec) -> Result<(), Complaint> {
    for (index, step) in spec.steps.iter().enumerate() {
        let asked = [
            ("match", !step.matches.is_empty(), Capability::Match),
            ("mirror", step.mirror.is_some(), Capability::Mirror),
        ];
        let asked: Vec<_> = asked.into_iter().filter(|(_, asked, _)| *asked).collect();
        let Some((name, ..)) = asked.first() else { continue };
        let field = format!("spec.steps[{index}].{name}");
        let routes = spec.routes();
        let steered = routes.iter().filter_map(|route| Some((route, route.router().ok()?)));
        for (route, router) in steered {
            if let Some((name, ..)) = asked.iter().find(|(.., what)| !router.can(*what)) {
                return Err(Complaint::new(
                    format!("spec.steps[{index}].{name}"),
                    format!(
                        "{name} is nothing that {} can do, which steers {route}: take it out of the step, or name a route of another kind",
                        router.name()
                    ),
                ));
            }
        }
        if routes.is_empty() || routes.iter().any(|route| route.ownership != Ownership::Operator) {
            return Err(Complaint::new(
                field,
                "needs rules of its own, so every route must be the operator's to write: say ownership: Operator and give its template",
            ));
        }
        if step.mirror.is_some_and(|mirror| mirror.percent == 0 || mirror.percent > 100) {
            return Err(Complaint::new(format!("{field}.percent"), "write a share of requests from 1 to 100"));
        }
        if step.mirror.is_some() && step.weight > Weight::ZERO {
            // By the rule that shares requests out its own would be copied to it as well.
            let what = "copies stable's requests, so the step's weight must be 0: make two steps of it";
            return Err(Complaint::new(format!("spec.steps[{index}].mirror"), what));
        }
        for route in routes {
            let (Ok(steers), Some(traffic)) = (route.router(), &spec.traffic) else { continue };
            let port = route.template.as_ref().and_then(|template| steers.port(&json!({"spec": template.spec})));
            let Some(pair) = traffic.pair(port.unwrap_or(80)) else { continue };
            let follows = route.template.as_ref().is_some_and(|template| template.like.is_some());
            let anything = json!({"spec": {"defaultBackend": {"service": {"name": pair.stable}}}});
            let followed = follows.then(|| route.following(steers, &anything, &pair));
            let route = followed.as_ref().unwrap_or(route);
            if let Err(why @ traffic::Unsteerable::CannotMatch { .. }) = steers.whole(route, "", &pair, &step.split()) {
                return Err(Complaint::new(field, why.to_string()));
            }
        }
    }
    Ok(())
}

fn analysis(spec: &RolloutSpec) -> Result<(), Complaint> {
    let analysis = &spec.analysis;
    if analysis.mode.is_some() {
        if !(analysis.metrics.is_empty() && analysis.templates.is_empty()) {
            return Err(Complaint::new(
                "spec.analysis.mode",
                "None says that nothing is judged: remove mode, or the metrics and templates",
            ));
        }
        return Ok(());
    }
    if analysis.metrics.is_empty() && analysis.templates.is_empty() {
        return Err(Complaint::new("spec.analysis.metrics", "name at least one metric, or say {mode: None} openly"));
    }
    let margins = analysis.margins.unwrap_or_default();
    if let Some((field, cure)) = margins.complaint(analysis.sensitivity.margins()) {
        return Err(Complaint::new(format!("spec.analysis.margins.{field}"), cure));
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
        metrics::check(metric).map_err(|complaint| Complaint::new(&field, complaint.to_string()))?;
        if metric.asks_a_provider() && analysis.provider_of(metric).is_none() {
            return Err(Complaint::new(
                "spec.analysis.provider",
                format!(
                    "metric \"{}\" needs a MetricProvider or a ClusterMetricProvider: name one here for all metrics, or as {field}.provider for this one",
                    metric.name
                ),
            ));
        }
        if let Some(at) = metric.steps.iter().position(|name| spec.steps.iter().all(|step| step.name != *name)) {
            let known: Vec<_> = spec.steps.iter().map(|step| step.name.as_str()).collect();
            return Err(Complaint::new(
                format!("{field}.steps[{at}]"),
                format!("there is no step \"{}\"; there are {}", metric.steps[at], known.join(", ")),
            ));
        }
        if spec.routes().is_empty() && !metric.is_of_pods() {
            return Err(Complaint::new(
                field,
                "tells the revisions apart by Service, and without traffic.routes both share one: use a metric of the pods",
            ));
        }
    }
    Ok(())
}
