//! Metrics of templates, and what is refused.
use super::*;
use crate::{
    api::{Shared, TemplateKind},
    metrics::Metric,
    plan::templates::{Resolved, Templates, resolve},
};

fn query(name: &str, limit: &str) -> Value {
    json!({"name": name, "query": r#"sum(rate(x{arm="$arm",path="{{args.path}}"}[$window]))"#, "limit": {"max": limit}})
}

/// A Rollout with these references, and templates by name; names that begin with `cluster` are of the cluster.
fn resolved(templates: Value, known: &[(&str, Value)]) -> Result<Vec<Metric>, String> {
    let mut known: Templates = known
        .iter()
        .map(|(name, shared)| {
            let kind = if name.starts_with("cluster") {
                TemplateKind::ClusterAnalysisTemplate
            } else {
                TemplateKind::AnalysisTemplate
            };
            ((kind, (*name).to_owned()), Some(serde_json::from_value::<Shared>(shared.clone()).unwrap()))
        })
        .collect();
    let rollout = rollout(|value| {
        judged(value);
        value["metadata"]["labels"] = json!({"team": "web"});
        value["spec"]["analysis"]["templates"] = templates;
    });
    loop {
        match resolve(&rollout, &known).map_err(|complaint| complaint.to_string())? {
            Resolved::Metrics(metrics) => return Ok(metrics),
            Resolved::Wanted(wanted) => known.extend(wanted.into_iter().map(|key| (key, None))),
        }
    }
}

fn names(metrics: &[Metric]) -> Vec<&str> {
    metrics.iter().map(|metric| metric.name.as_str()).collect()
}

#[test]
fn a_templates_metrics_come_after_the_rollouts_own_with_their_arguments_filled_in() {
    let shared =
        json!({"args": [{"name": "path"}, {"name": "max", "value": "5%"}], "metrics": [query("slow", "{{args.max}}")]});
    let given = json!([{"name": "web", "args": [{"name": "path", "value": "/pay"}]}]);
    let metrics = resolved(given, &[("web", shared.clone())]).unwrap();
    assert_eq!(names(&metrics), ["errors", "slow"]);
    assert!(metrics[1].query.as_ref().unwrap().contains(r#"path="/pay""#));
    assert_eq!(metrics[1].limit.as_ref().unwrap().max.as_deref(), Some("5%"));
    let from = json!([{"name": "web", "args": [{"name": "path", "valueFrom": {"field": "metadata.labels['team']"}}]}]);
    assert!(resolved(from, &[("web", shared)]).unwrap()[1].query.as_ref().unwrap().contains(r#"path="web""#));
}

#[test]
fn the_placeholders_of_a_web_endpoint_are_left_for_each_look() {
    let web = json!({"path": "/{{args.suite}}?of={replicaSet}", "result": "/{{args.suite}}/mean"});
    let metric = json!({"name": "quality", "web": web, "limit": {"min": "0.8"}});
    let shared = json!({"args": [{"name": "suite"}], "metrics": [metric]});
    let given = |suite: &str| json!([{"name": "evals", "args": [{"name": "suite", "value": suite}]}]);
    let metrics = resolved(given("math"), &[("evals", shared.clone())]).unwrap();
    let web = metrics[1].web.as_ref().unwrap();
    assert_eq!((web.path.as_str(), web.result.as_str()), ("/math?of={replicaSet}", "/math/mean"));
    assert_eq!(crate::metrics::check(&metrics[1]), Ok(()));
    let metrics = resolved(given("../admin"), &[("evals", shared)]).unwrap();
    let refused = crate::metrics::check(&metrics[1]).unwrap_err().to_string();
    assert!(
        refused.starts_with("web.path: leads out of the provider's URL"),
        "an argument leads nowhere else: {refused}"
    );
}

#[test]
fn a_template_takes_over_from_another_and_the_nearer_metric_of_a_name_counts() {
    let base =
        json!({"args": [{"name": "path"}], "metrics": [query("slow", "1"), query("cost", "1"), query("errors", "1")]});
    let team = json!({
        "args": [{"name": "path", "value": "/team"}],
        "templates": [{"kind": "ClusterAnalysisTemplate", "name": "cluster-base", "args": [{"name": "path", "value": "{{args.path}}/x"}]}],
        "metrics": [query("cost", "7")],
    });
    let metrics = resolved(json!([{"name": "team"}]), &[("team", team), ("cluster-base", base)]).unwrap();
    assert_eq!(names(&metrics), ["errors", "cost", "slow"]);
    assert!(metrics[0].preset.is_some(), "the Rollout's own");
    assert_eq!(metrics[1].limit.as_ref().unwrap().max.as_deref(), Some("7"));
    assert!(metrics[2].query.as_ref().unwrap().contains("/team/x"));
}

#[test]
fn what_cannot_be_taken_over_is_refused_by_name_and_with_the_cure() {
    let plain = json!({"args": [{"name": "path", "value": "/"}], "metrics": [query("slow", "1")]});
    let wants = json!({"args": [{"name": "path"}], "metrics": [query("slow", "1")]});
    let itself = json!({"templates": [{"name": "loop"}], "metrics": []});
    let inward = json!({"templates": [{"name": "plain"}]});
    let odd = json!({"metrics": [query("slow", "1")]});
    let known = [
        ("plain", plain.clone()),
        ("twin", plain),
        ("wants", wants),
        ("loop", itself),
        ("cluster-in", inward),
        ("odd", odd),
    ];
    for (given, words) in [
        (json!([{"name": "none"}]), "spec.analysis.templates[0]: there is no AnalysisTemplate none; create it"),
        (
            json!([{"name": "wants"}]),
            "spec.analysis.templates[0].args: AnalysisTemplate wants wants a value for its argument path",
        ),
        (
            json!([{"name": "plain", "args": [{"name": "pfad", "value": "x"}]}]),
            "spec.analysis.templates[0].args: AnalysisTemplate plain has no argument pfad; it has [\"path\"]",
        ),
        (json!([{"name": "loop"}]), "spec.analysis.templates[0]: AnalysisTemplate loop takes over from itself"),
        (
            json!([{"kind": "ClusterAnalysisTemplate", "name": "cluster-in"}]),
            "spec.analysis.templates[0]: a ClusterAnalysisTemplate cannot take over from AnalysisTemplate plain",
        ),
        (
            json!([{"name": "plain"}, {"name": "twin"}]),
            "spec.analysis.templates[1]: AnalysisTemplate plain and AnalysisTemplate twin both have a metric slow",
        ),
        (
            json!([
                {"name": "wants", "args": [{"name": "path", "value": "/a"}]},
                {"name": "wants", "args": [{"name": "path", "value": "/b"}]},
            ]),
            "spec.analysis.templates[1]: AnalysisTemplate wants is named twice, and its metric slow is not the same both times",
        ),
        (
            json!([{"name": "odd"}]),
            "spec.analysis.templates[0]: metric slow of AnalysisTemplate odd: there is no {{args.path}}; there are []",
        ),
        (
            json!([{"name": "wants", "args": [{"name": "path", "valueFrom": {"field": "metadata.annotations['x']"}}]}]),
            "spec.analysis.templates[0].args: the Rollout has no metadata.annotations['x']",
        ),
        (
            json!([{"name": "wants", "args": [{"name": "path", "valueFrom": {"field": "spec..x"}}]}]),
            "spec.analysis.templates[0].args: spec..x is no path",
        ),
    ] {
        let refused = resolved(given.clone(), &known).unwrap_err();
        assert!(refused.starts_with(words), "{given}: {refused}");
    }
}

#[test]
fn what_arguments_would_make_endlessly_long_or_many_is_refused() {
    let long = "{{args.text}}".repeat(100);
    let one = json!({"args": [{"name": "text"}], "metrics": [query("slow", &long)]});
    let passes = |to: &str| json!({"args": [{"name": "text"}], "metrics": [], "templates": [{"name": to, "args": [{"name": "text", "value": long}]}]});
    let known = [("one", one), ("two", passes("one")), ("three", passes("two"))];
    for name in ["one", "two", "three"] {
        let args = json!([{"name": "text", "value": "x".repeat(200)}]);
        let why = resolved(json!([{"name": name, "args": args}]), &known).unwrap_err();
        assert!(why.contains("longer than 16384 bytes; shorten args.text"), "{name}: {why}");
    }
    let eight = |to: &str| json!({"metrics": [], "templates": vec![json!({"name": to}); 8]});
    let known = [
        ("leaf", json!({"args": [{"name": "path", "value": "/"}], "metrics": [query("slow", "1")]})),
        ("inner", eight("leaf")),
        ("outer", eight("inner")),
    ];
    let why = resolved(json!([{"name": "outer"}]), &known).unwrap_err();
    assert!(why.contains("more than 64 templates are taken over"), "{why}");
}
