//! A Prometheus that scrapes the pods, and answers the range selectors that the operator asks for.
use promql_parser::parser::{self, Expr};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// How it behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// Refuses connections.
    Down,
    /// Answers 503.
    Unavailable,
    /// Never answers.
    Hangs,
    /// Answers without results.
    Empty,
    /// Answers what is no answer.
    Garbage,
    /// Answers NaN for every sample.
    NotANumber,
    /// Answers a scalar.
    Scalar,
    /// Every sample is there twice.
    Doubled,
    /// Samples arrive so many milliseconds late.
    Late(u64),
    /// A replica that scraped half the pods only.
    Half,
}

type Labels = BTreeMap<String, String>;

/// What was scraped.
#[derive(Default)]
pub struct Prometheus {
    pub mood: Mood,
    series: BTreeMap<(String, Labels), VecDeque<(i64, f64)>>,
    /// So many queries were answered.
    pub asked: u64,
}

impl Prometheus {
    /// One sample, in milliseconds since 1970.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], at: i64, value: f64) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.series.entry((name.to_owned(), labels)).or_default().push_back((at, value));
    }

    /// All history is lost.
    pub fn forget(&mut self) {
        self.series.clear();
    }

    /// The answer to an instant query at this time, by status and body. `None` never comes.
    pub fn answer(&mut self, query: &str, at: i64) -> Option<(u16, Value)> {
        self.asked += 1;
        let success = |result: Value| json!({"status": "success", "data": result});
        let matrix = |series: Vec<Value>| success(json!({"resultType": "matrix", "result": series}));
        match self.mood {
            Mood::Down | Mood::Hangs => None,
            Mood::Unavailable => Some((503, json!("upstream connect error"))),
            Mood::Empty => Some((200, matrix(Vec::new()))),
            Mood::Garbage => Some((200, json!(["not", "an", "answer"]))),
            Mood::Scalar => Some((200, success(json!({"resultType": "scalar", "result": [0, "1"]})))),
            mood => Some((200, matrix(self.select(query, at, mood)))),
        }
    }

    fn select(&self, query: &str, at: i64, mood: Mood) -> Vec<Value> {
        let Ok(Expr::MatrixSelector(selector)) = parser::parse(query) else { return Vec::new() };
        let from = at - i64::try_from(selector.range.as_millis()).unwrap_or(i64::MAX);
        let to = if let Mood::Late(by) = mood { at - i64::try_from(by).unwrap_or(0) } else { at };
        let name = selector.vs.name.unwrap_or_default();
        let mut found = Vec::new();
        for ((series, labels), samples) in self.series.range((name.clone(), Labels::new())..) {
            if *series != name {
                break;
            }
            let value = |label: &str| labels.get(label).map_or("", String::as_str);
            if !selector.vs.matchers.matchers.iter().all(|matcher| matcher.is_match(value(&matcher.name))) {
                continue;
            }
            if mood == Mood::Half && value("pod").bytes().last().is_some_and(|last| last % 2 == 0) {
                continue;
            }
            let times = if mood == Mood::Doubled { 2 } else { 1 };
            let values: Vec<Value> = samples
                .iter()
                .filter(|(time, _)| *time > from && *time <= to)
                .flat_map(|sample| std::iter::repeat_n(sample, times))
                .map(|(time, value)| {
                    let text = if mood == Mood::NotANumber { "NaN".to_owned() } else { value.to_string() };
                    #[expect(clippy::cast_precision_loss, reason = "times have milliseconds")]
                    let seconds = *time as f64 / 1_000.0;
                    json!([seconds, text])
                })
                .collect();
            if values.is_empty() {
                continue;
            }
            let mut metric = labels.clone();
            metric.insert("__name__".to_owned(), name.clone());
            found.push(json!({"metric": metric, "values": values}));
        }
        found
    }
}
