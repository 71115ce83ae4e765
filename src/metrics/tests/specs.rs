//! What metrics and providers say: what is refused, and how their schemas are written.
use super::*;

fn complaint(metric: &serde_json::Value) -> String {
    let metric: Metric = serde_json::from_value(metric.clone()).unwrap();
    check(&metric).err().map_or_else(String::new, |complaint| complaint.to_string())
}

#[test]
fn every_complaint_names_the_field_and_the_cure() {
    use serde_json::json;
    let query = r#"sum(rate(x{arm="$arm"}[$window]))"#;
    let s = r#"x{arm="$arm"}"#;
    for (metric, words) in [
        (json!({}), "preset, query, scores, web, job: a metric has exactly one of them"),
        (
            json!({"preset": "app/latency", "query": query}),
            "preset, query, scores, web, job: a metric has exactly one of them",
        ),
        (json!({"preset": "app/errors"}), "preset: there is no \"app/errors\"; there are app/error-rate, app/latency"),
        (json!({"query": query}), "limit: without a comparison there must be one"),
        (json!({"query": query, "limit": {}}), "limit: without a comparison there must be one"),
        (
            json!({"query": query, "limit": {"max": "fast"}}),
            "limit.max: \"fast\" is no number, percentage or duration; write it like 0.01",
        ),
        (json!({"query": query, "limit": {"max": "1", "min": "2"}}), "limit.max: is less than limit.min"),
        (
            json!({"query": query, "limit": {"max": "1", "quantile": 0.9}}),
            "limit.quantile: only for a latency preset; leave it out",
        ),
        (
            json!({"query": query, "limit": {"max": "1"}, "compare": "Stable"}),
            "compare: only for a preset of errors or latency; leave it out",
        ),
        (
            json!({"query": "sum(x)", "limit": {"max": "1"}}),
            "query: x needs the matcher arm=\"$arm\", or list its name in shared",
        ),
        (json!({"query": query, "when": {"fail": "canary"}}), "when.fail: the whole wants a comparison"),
        (json!({"query": query, "when": {"pass": "p99 < 1"}}), "when.pass: there is no p99; there are canary"),
        (json!({"query": query, "when": {}}), "limit: without a comparison there must be one"),
        (
            json!({"preset": "app/latency", "when": {"fail": "canary > 1"}}),
            "when: only for a query, a web, a job or a preset of a ratio; leave it out",
        ),
        (json!({"preset": "app/latency", "initialDelay": "25h"}), "initialDelay: write at most 24h"),
        (json!({"preset": "app/latency", "count": 0}), "consecutiveFailures, inconclusiveLimit, count: write numbers"),
        (json!({"scores": {"count": "n", "sum": s}}), "scores.count: n needs the matcher arm"),
        (json!({"scores": {"count": format!("rate({s}[$window])"), "sum": s}}), "scores.count: is no plain selector"),
        (json!({"scores": {"count": s, "sum": s, "max": 0.0}}), "scores.max: write a number above 0"),
        (json!({"scores": {"count": s, "sum": s, "tolerated": 0.1}}), "scores.excluded: write a number above"),
        (json!({"scores": {"count": s, "sum": s, "tolerated": -0.1}}), "scores.tolerated: write a number from 0"),
        (json!({"scores": {"count": s, "sum": s}, "limit": {"max": "1"}}), "limit: only for a preset or a query"),
        (json!({"preset": "app/error-rate", "arm": "Pod"}), "arm: only for a query; leave it out"),
        (json!({"preset": "app/error-rate", "shared": ["x"]}), "shared: only for a query; leave it out"),
        (json!({"preset": "app/error-rate", "compare": "None"}), "limit: without a comparison there must be one"),
        (json!({"preset": "app/error-rate", "limit": {"min": "1%"}}), "limit.min: only for a query"),
        (json!({"preset": "app/error-rate", "limit": {"max": "1s"}}), "limit.max: write a share of requests, like 1%"),
        (
            json!({"preset": "app/error-rate", "limit": {"max": "5"}}),
            "limit.max: write a share of requests from 0% to 100%",
        ),
        (
            json!({"preset": "app/error-rate", "limit": {"max": "5%", "quantile": 0.9}}),
            "limit.quantile: only for a latency preset",
        ),
        (json!({"preset": "app/latency", "limit": {"max": "300ms"}}), "limit.quantile: missing"),
        (
            json!({"preset": "app/latency", "limit": {"max": "300ms", "quantile": 99.0}}),
            "limit.quantile: write a number between 0 and 1",
        ),
        (
            json!({"preset": "app/latency", "limit": {"max": "5%", "quantile": 0.99}}),
            "limit.max: write a duration, like 300ms",
        ),
        (json!({"preset": "app/latency", "interval": "100ms"}), "interval: write 1s to 1h"),
        (json!({"preset": "app/latency", "failureLimit": 5000}), "failureLimit: write 0 to 1000"),
        (json!({"preset": "app/latency"}), ""),
        (json!({"preset": "app/latency", "limit": {"max": "300ms", "quantile": 0.99}}), ""),
        (json!({"query": query, "limit": {"max": "1%"}, "arm": "PodHash", "interval": "1m", "failureLimit": 2}), ""),
    ] {
        let mut metric = metric;
        metric["name"] = "m".into();
        let seen = complaint(&metric);
        assert!(seen.starts_with(words) && (words.is_empty() == seen.is_empty()), "{metric}: {seen}");
        assert!(
            asks(&serde_json::from_value(metric).unwrap(), &provider(1), &subject()).is_empty() != words.is_empty()
        );
    }
}

#[test]
fn what_cannot_be_carried_out_is_seen_as_invalid() {
    let seen = read(&named("m"), &provider(1), &subject(), &[]);
    assert_eq!(
        (seen.outcome, seen.invalid.as_deref()),
        (Outcome::Unusable, Some("preset, query, scores, web, job: a metric has exactly one of them"))
    );
    assert!(read(&preset("app/latency"), &ProviderSpec::default(), &subject(), &[]).invalid.is_some());
}

#[test]
fn every_text_in_the_schema_is_bounded_and_every_field_described() {
    fn walk(schema: &serde_json::Value, path: &str, wrong: &mut Vec<String>) {
        match schema["type"].as_str() {
            Some("string") if schema["enum"].is_null() && schema["maxLength"].is_null() => {
                wrong.push(format!("{path}: maxLength"));
            }
            Some("array") if schema["maxItems"].is_null() => wrong.push(format!("{path}: maxItems")),
            _ => {}
        }
        walk_into(&schema["items"], path, wrong);
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"].is_null() {
                wrong.push(format!("{path}: description"));
            }
            walk(field, &path, wrong);
        }
    }
    fn walk_into(items: &serde_json::Value, path: &str, wrong: &mut Vec<String>) {
        if items.is_object() {
            walk(items, path, wrong);
        }
    }
    let settings = schemars::generate::SchemaSettings::openapi3().with(|s| {
        s.inline_subschemas = true;
        s.transforms = vec![
            Box::new(kube::core::schema::StructuralSchemaRewriter),
            Box::new(kube::core::schema::OptionalEnum),
            Box::new(kube::core::schema::OptionalIntOrString),
        ];
    });
    let mut wrong = Vec::new();
    for schema in [
        settings.clone().into_generator().into_root_schema_for::<Metric>(),
        settings.into_generator().into_root_schema_for::<ProviderSpec>(),
    ] {
        walk(schema.as_value(), "", &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_metric_is_written_as_it_was_read() {
    let yaml = serde_json::json!({
        "name": "cost", "query": "x", "limit": {"max": "1%"}, "interval": "1m", "consecutiveFailures": 3, "count": 4, "dryRun": true, "inconclusiveLimit": 5, "initialDelay": "1m", "failureLimit": 2, "shared": ["y"], "arm": "Pod"
    });
    let metric: Metric = serde_json::from_value(yaml.clone()).unwrap();
    assert_eq!(serde_json::to_value(&metric).unwrap(), yaml);
    assert!(preset("app/latency").compares() && !metric.compares());
    assert_eq!(reach(&provider(1)).unwrap().timeout, crate::duration::Duration::seconds(5));
}
