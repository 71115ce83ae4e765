//! What is asked together is answered as if each had been asked alone.
use super::{
    super::{read, tests::*},
    *,
};

fn each(names: &[&str], seconds: i64) -> Vec<(Metric, Subject)> {
    let metric = |name: &str| Metric { preset: Some(name.into()), ..named(&name.replace('/', "-")) };
    names.iter().map(|name| (metric(name), subject_at(seconds))).collect()
}

fn queries(batch: &Batch) -> Vec<&str> {
    batch.asks().iter().map(|ask| ask.fields()[0].1.as_str()).collect()
}

/// A Prometheus with these series, that answers range selectors by the letter.
struct Fake(Vec<(String, Vec<(i64, String)>)>);

impl Fake {
    fn reply(&self, ask: &Ask) -> (u16, Vec<u8>) {
        use promql_parser::parser::{Expr, parse};
        let field = |name: &str| ask.fields().iter().find(|(key, _)| key == name).unwrap().1.clone();
        let Ok(Expr::MatrixSelector(asked)) = parse(&field("query")) else { panic!("{}", field("query")) };
        let at: i64 = field("time").replace('.', "").parse().unwrap();
        let from = at - i64::try_from(asked.range.as_millis()).unwrap();
        let mut found = Vec::new();
        for (labels, samples) in &self.0 {
            let known: std::collections::HashMap<String, String> = serde_json::from_str(labels).unwrap();
            let value = |label: &str| known.get(label).map_or("", String::as_str);
            let named = asked.vs.name.as_ref().is_none_or(|name| value("__name__") == name);
            if !named || !asked.vs.matchers.matchers.iter().all(|matcher| matcher.is_match(value(&matcher.name))) {
                continue;
            }
            let within = samples.iter().filter(|(offset, _)| (from + 1..=at).contains(&(START + offset)));
            let samples: Vec<_> = within.map(|(offset, value)| (*offset, value.as_str())).collect();
            if !samples.is_empty() {
                found.push((labels.as_str(), samples));
            }
        }
        (200, matrix(&found))
    }
}

fn series(labels: &str, from: u32, each: u32, seconds: u32) -> (String, Vec<(i64, String)>) {
    let samples = (0..=seconds).map(|i| (i64::from(i) * 1_000 - 700_000, (from + each * i).to_string()));
    (labels.to_owned(), samples.collect())
}

/// Two pods of each arm that count with the words of an app, one of them also as a model server does, and others' series.
fn apps() -> Fake {
    let mut all = Vec::new();
    for (pod, good, bad) in [
        ("app-7c9f-aaaaa", 9, 1),
        ("app-7c9f-bbbbb", 8, 0),
        ("app-6d5b-ccccc", 90, 0),
        ("app-6d5b-ddddd", 80, 1),
        ("other-1-eeeee", 70, 70),
    ] {
        let labels = |name: &str, more: &str| {
            let target = format!(r#""namespace":"demo","pod":"{pod}","job":"pods","instance":"{pod}:80""#);
            format!(r#"{{"__name__":"{name}",{target}{more}}}"#)
        };
        let request =
            |code: &str, path: &str| labels("http_requests_total", &format!(r#","code":"{code}","handler":"{path}""#));
        all.push(series(&request("200", "/v1/chat"), 100, good, 760));
        all.push(series(&request("500", "/v1/chat"), 7, bad, 760));
        all.push(series(&request("200", "/metrics"), 7, 1, 760));
        for (le, n) in [("0.1", good), ("0.5", good + bad), ("+Inf", good + bad)] {
            all.push(series(&labels("http_request_duration_seconds_bucket", &format!(r#","le":"{le}""#)), 5, n, 760));
        }
        all.push(series(&labels("up", ""), 1, 0, 760));
        all.push(series(&labels("something_else", ""), 1, 0, 760));
    }
    Fake(all)
}

#[test]
fn all_that_an_app_counts_is_one_question_and_every_metric_gets_its_own_answer() {
    let (provider, fake) = (provider(1), apps());
    let each = each(&["app/error-rate", "app/latency", "vllm/error-rate"], 59);
    let alone: Vec<_> = each.iter().map(|(metric, subject)| asks(metric, &provider, subject)).collect();
    assert_eq!(alone.iter().map(Vec::len).sum::<usize>(), 12);
    let batch = Batch::of(&each, &provider);
    assert_eq!(batch.asks().len(), 1, "{:?}", queries(&batch));
    assert_eq!(batch.asks()[0].holds, MOST_HELD);
    let query = queries(&batch)[0];
    assert!(query.contains(r#"pod=~"app-6d5b-[a-z0-9]{5}|app-7c9f-[a-z0-9]{5}""#), "{query}");
    assert!(query.contains("http_requests_total|up") && !query.contains("handler"), "{query}");
    let replies: Vec<_> = batch.asks().iter().map(|ask| Ok(fake.reply(ask))).collect();
    let together = batch.read(&each, &provider, &replies);
    for (((metric, subject), asks), together) in each.iter().zip(&alone).zip(together) {
        let replies: Vec<_> = asks.iter().map(|ask| Ok(fake.reply(ask))).collect();
        assert_eq!(together, read(metric, &provider, subject, &replies), "{:?}", metric.preset);
        assert!(together.samples > 0, "{together:?}");
    }
}

#[test]
fn of_a_pair_of_servers_the_one_that_the_provider_names_is_heard() {
    let mut provider = provider(1);
    let named = provider.prometheus.as_mut().unwrap();
    named.labels.constant.insert("prometheus_replica".to_owned(), "prometheus-0".to_owned());
    let of = |replica: &str, labels: &str| labels.replacen('{', &format!(r#"{{"prometheus_replica":"{replica}","#), 1);
    let both = |(labels, samples): (String, Vec<_>)| {
        ["prometheus-0", "prometheus-1"].map(|replica| (of(replica, &labels), samples.clone()))
    };
    let fake = Fake(apps().0.into_iter().flat_map(both).collect());
    let each = each(&["app/error-rate", "app/latency"], 59);
    let batch = Batch::of(&each, &provider);
    let replies: Vec<_> = batch.asks().iter().map(|ask| Ok(fake.reply(ask))).collect();
    for seen in batch.read(&each, &provider, &replies) {
        assert!(seen.usable && seen.samples > 0, "{seen:?}");
    }
}

#[test]
fn what_no_answer_came_to_has_failed_where_others_have_a_status() {
    let count = "http_server_request_duration_seconds_count";
    let of = |pod: &str, status: &str, each| {
        let labels = format!(
            r#"{{"__name__":"{count}","namespace":"demo","pod":"{pod}","job":"pods","instance":"{pod}:80"{status}}}"#
        );
        series(&labels, 0, each, 760)
    };
    let up = |pod: &str| {
        let labels =
            format!(r#"{{"__name__":"up","namespace":"demo","pod":"{pod}","job":"pods","instance":"{pod}:80"}}"#);
        series(&labels, 1, 0, 760)
    };
    let (canary, stable) = ("app-7c9f-aaaaa", "app-6d5b-ccccc");
    let ok = r#","http_response_status_code":"200""#;
    let seen = |all: Vec<(String, Vec<(i64, String)>)>| {
        let fake = Fake(all.into_iter().chain([up(canary), up(stable)]).collect());
        let (provider, each) = (provider(1), each(&["opentelemetry-http/error-rate"], 59));
        let batch = Batch::of(&each, &provider);
        let replies: Vec<_> = batch.asks().iter().map(|ask| Ok(fake.reply(ask))).collect();
        batch.read(&each, &provider, &replies).remove(0)
    };
    let throws = seen(vec![of(canary, "", 10), of(stable, ok, 90)]);
    assert_eq!((throws.invalid.as_deref(), throws.canary.as_deref()), (None, Some("100 % of 580")), "{throws:?}");
    let unlabelled = seen(vec![of(canary, "", 10), of(stable, "", 90)]);
    assert!(unlabelled.invalid.is_some_and(|why| why.contains("has no label http_response_status_code")));
}

#[test]
fn a_gateways_scrapes_are_asked_for_in_the_same_words_by_all() {
    let provider = provider(1);
    let names = ["traefik/error-rate", "traefik/latency"];
    let one = each(&names, 200);
    let batch = Batch::of(&one, &provider);
    assert_eq!(batch.asks().len(), 2, "{:?}", queries(&batch));
    // Another release, which began some seconds later and looks a little later.
    let mut other = each(&names, 190);
    for (_, subject) in &mut other {
        subject.namespace = "other".into();
        (subject.evidence_since, subject.now) = (at(13_000), at(200_400));
    }
    let (one, other) = (Batch::of(&one, &provider), Batch::of(&other, &provider));
    assert_ne!(one.asks()[0], other.asks()[0]);
    assert_eq!(one.asks()[1], other.asks()[1]);
    let common = &one.asks()[1];
    assert_eq!(common.fields()[0].1, "traefik_config_reloads_total[17m4s]");
    assert_eq!(common.fields()[2].1, "1795247001.000", "up to the end of the second");
}

#[test]
fn what_tells_the_arms_apart_by_more_than_one_label_is_not_joined() {
    let mut groups = Vec::new();
    let told = |a: &str, b: &str| vec![super::super::arms::equal("a", a), super::super::arms::equal("b", b)];
    for (a, b) in [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("2", "2")] {
        let told = told(a, b);
        let selection =
            Selection { names: vec!["x".into()], told, only: vec![], at: 0, range_ms: 1_000, is_common: false };
        let ask = Ask::form("/api/v1/query", vec![("query".into(), String::new())]);
        if !groups.iter_mut().any(|group: &mut Group| group.takes(&selection)) {
            groups.push(Group::of(&selection, &ask));
        }
    }
    let queries: Vec<_> = groups.iter().map(|group| group.ask().fields()[0].1.clone()).collect();
    assert_eq!(queries, [r#"x{a="1",b=~"1|2|3"}[1s]"#, r#"x{a="2",b=~"1|2"}[1s]"#]);
}

#[test]
fn what_is_no_selection_of_samples_is_asked_as_it_is() {
    let query = serde_json::json!({
        "name": "ratio", "query": r#"sum(rate(x{arm="$arm"}[$window]))"#, "limit": {"max": "1"},
    });
    let query: Metric = serde_json::from_value(query).unwrap();
    let mut each = each(&["traefik/error-rate"], 130);
    each[0].1.past = None;
    each.push((query.clone(), subject_at(130)));
    let batch = Batch::of(&each, &provider(1));
    let paths: Vec<_> = batch.asks().iter().map(|ask| ask.path.as_str()).collect();
    assert_eq!(paths, ["/api/v1/query", "/api/v1/query", "/api/v1/query_range", "/api/v1/query_range"]);
    let alone = asks(&query, &provider(1), &subject_at(130));
    assert_eq!(batch.asks()[3..], alone);
}

#[test]
fn one_reply_that_is_none_is_none_for_all() {
    let each = each(&["app/error-rate", "app/latency"], 59);
    let batch = Batch::of(&each, &provider(1));
    let seen = batch.read(&each, &provider(1), &[Err(super::super::NoReply::Unreachable("refused".into()))]);
    assert!(seen.iter().all(|seen| seen.outcome == super::super::Outcome::Unreachable && seen.why == "refused"));
    let seen = batch.read(&each, &provider(1), &[]);
    assert!(seen.iter().all(|seen| seen.outcome == super::super::Outcome::Unreachable), "{seen:?}");
}
