//! A Prometheus that scrapes the pods, and answers the range selectors that the operator asks for.
use promql_parser::parser::{self, Expr, VectorSelector};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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

#[derive(Clone)]
struct Series {
    name: String,
    labels: Labels,
    samples: Vec<(i64, f64)>,
}

/// What was scraped.
#[derive(Clone, Default)]
pub struct Prometheus {
    pub mood: Mood,
    series: Vec<Series>,
    /// So many queries were answered.
    pub asked: u64,
}

impl Prometheus {
    /// A series of this name and these labels, to add samples to.
    pub fn begin(&mut self, name: &str, labels: &[(&str, &str)]) -> usize {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.series.push(Series { name: name.to_owned(), labels, samples: Vec::new() });
        self.series.len() - 1
    }

    /// One sample of a series, in milliseconds since 1970.
    pub fn sample(&mut self, series: usize, at: i64, value: f64) {
        if let Some(series) = self.series.get_mut(series) {
            series.samples.push((at, value));
        }
    }

    /// All history is lost.
    pub fn forget(&mut self) {
        self.series.iter_mut().for_each(|series| series.samples.clear());
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
        let Some((selector, range)) = read(query) else { return Vec::new() };
        let from = at - i64::try_from(range.as_millis()).unwrap_or(i64::MAX);
        let to = if let Mood::Late(by) = mood { at - i64::try_from(by).unwrap_or(0) } else { at };
        let name = selector.name.clone().unwrap_or_default();
        let mut found = Vec::new();
        for Series { labels, samples, .. } in self.series.iter().filter(|series| series.name == name) {
            let value = |label: &str| labels.get(label).map_or("", String::as_str);
            if !selector.matchers.matchers.iter().all(|matcher| matcher.is_match(value(&matcher.name))) {
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

/// A range selector: what it selects, which is read once for all stories, and how far it reaches back.
fn read(query: &str) -> Option<(Arc<VectorSelector>, Duration)> {
    static KNOWN: Mutex<BTreeMap<String, Arc<VectorSelector>>> = Mutex::new(BTreeMap::new());
    let (selected, range) = query.rsplit_once('[')?;
    let Ok(Expr::MatrixSelector(bare)) = parser::parse(&format!("x[{range}")) else { return None };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if !known.contains_key(selected) {
        let Ok(Expr::VectorSelector(selector)) = parser::parse(selected) else { return None };
        known.insert(selected.to_owned(), Arc::new(selector));
    }
    Some((known.get(selected)?.clone(), bare.range))
}
