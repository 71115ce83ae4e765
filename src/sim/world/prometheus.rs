//! A Prometheus that scrapes the pods, and answers the range selectors that the operator asks for.
use promql_parser::parser::{self, Expr, VectorSelector};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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
    /// Those that are lost. Who was told of them before may speak of them yet.
    lost: Vec<(i64, f64)>,
}

/// A moment for which somebody asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// In milliseconds since 1970.
    pub at: i64,
    pub mood: Mood,
    /// Whether nobody can have the same answers again: it was in the future, or the mood changed between two questions.
    pub once: bool,
}

/// What was scraped.
#[derive(Clone, Default)]
pub struct Prometheus {
    pub mood: Mood,
    series: Vec<Series>,
    /// The last moments for which somebody asked, oldest first.
    pub asked: VecDeque<Asked>,
    /// The ReplicaSets whose pods an answer was about, of each answer since somebody looked.
    pub told_of: Vec<BTreeSet<String>>,
    /// Whether it was ever not as it should be.
    pub unwell: bool,
}

/// So many moments are remembered.
const REMEMBERED: usize = 4;

impl Prometheus {
    /// A series of this name and these labels, to add samples to.
    pub fn begin(&mut self, name: &str, labels: &[(&str, &str)]) -> usize {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.series.push(Series { name: name.to_owned(), labels, samples: Vec::new(), lost: Vec::new() });
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
        for series in &mut self.series {
            series.lost.append(&mut series.samples);
        }
        self.asked.clear();
        self.unwell = true;
    }

    /// Whether this is the first question about a moment.
    pub fn is_new(&self, at: i64) -> bool {
        self.asked.back().is_none_or(|last| last.at != at)
    }

    /// Remembers a moment for which somebody asks.
    pub fn remember(&mut self, at: i64, now: i64) {
        self.unwell |= self.mood != Mood::Well;
        self.asked.push_back(Asked { at, mood: self.mood, once: at > now });
        if self.asked.len() > REMEMBERED {
            self.asked.pop_front();
        }
    }

    /// How much the series of a ReplicaSet's pods have counted after a moment, a process that begins anew from 0 on; with
    /// what is lost since.
    pub fn counted(&self, set: &str, from: i64) -> f64 {
        let of_set = |series: &&Series| {
            series.name == "http_requests_total" && series.labels.get("pod").and_then(|pod| set_of(pod)) == Some(set)
        };
        let mut sum = 0.0;
        for Series { samples, lost, .. } in self.series.iter().filter(of_set) {
            let mut last = 0.0;
            for (at, value) in lost.iter().chain(samples) {
                if *at > from {
                    sum += if *value >= last { value - last } else { *value };
                }
                last = *value;
            }
        }
        sum
    }

    /// The answer to an instant query at this time, by status and body. `None` never comes.
    pub fn answer(&mut self, query: &str, at: i64) -> Option<(u16, Value)> {
        if let Some(last) = self.asked.back_mut() {
            last.once |= last.at == at && last.mood != self.mood;
        }
        let (answer, sets) = self.answer_in(self.mood, query, at)?;
        self.told_of.push(sets);
        Some(answer)
    }

    /// The answer that it gives in this mood, and the ReplicaSets whose pods it is about.
    pub fn answer_in(&self, mood: Mood, query: &str, at: i64) -> Option<((u16, Value), BTreeSet<String>)> {
        let mut sets = BTreeSet::new();
        let answer = self.answer_about(mood, query, at, &mut sets)?;
        Some((answer, sets))
    }

    fn answer_about(&self, mood: Mood, query: &str, at: i64, sets: &mut BTreeSet<String>) -> Option<(u16, Value)> {
        let success = |result: Value| json!({"status": "success", "data": result});
        let matrix = |series: Vec<Value>| success(json!({"resultType": "matrix", "result": series}));
        match mood {
            Mood::Down | Mood::Hangs => None,
            Mood::Unavailable => Some((503, json!("upstream connect error"))),
            Mood::Empty => Some((200, matrix(Vec::new()))),
            Mood::Garbage => Some((200, json!(["not", "an", "answer"]))),
            Mood::Scalar => Some((200, success(json!({"resultType": "scalar", "result": [0, "1"]})))),
            mood => Some((200, matrix(self.select(query, at, mood, sets)))),
        }
    }

    fn select(&self, query: &str, at: i64, mood: Mood, sets: &mut BTreeSet<String>) -> Vec<Value> {
        let Some((selector, range)) = read(query) else { return Vec::new() };
        let from = at - i64::try_from(range.as_millis()).unwrap_or(i64::MAX);
        let to = if let Mood::Late(by) = mood { at - i64::try_from(by).unwrap_or(0) } else { at };
        let mut found = Vec::new();
        let is_named = |series: &&Series| selector.name.as_ref().is_none_or(|name| series.name == *name);
        for Series { name, labels, samples, .. } in self.series.iter().filter(is_named) {
            let value = |label: &str| {
                let value = if label == "__name__" { Some(name) } else { labels.get(label) };
                value.map_or("", String::as_str)
            };
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
            if let Some(set) = set_of(value("pod"))
                && !sets.contains(set)
            {
                sets.insert(set.to_owned());
            }
            let mut metric = labels.clone();
            metric.insert("__name__".to_owned(), name.clone());
            found.push(json!({"metric": metric, "values": values}));
        }
        found
    }
}

/// The ReplicaSet of a pod, by its name.
fn set_of(pod: &str) -> Option<&str> {
    pod.rsplit_once('-').map(|(set, _)| set)
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
