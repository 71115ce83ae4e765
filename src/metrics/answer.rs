//! Answers of Prometheus' query API, and why one cannot be used.
use super::{
    NoReply, Outcome, Reply, Seen,
    native::{Bucket, Native},
};
use serde::{Deserialize, Deserializer, de};
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

/// A series: its labels, and its samples as milliseconds and value, oldest first. A sample is a number or a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    pub labels: HashMap<String, String>,
    pub samples: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, Native)>,
}

impl Series {
    /// Whether this is its name.
    pub fn is_called(&self, name: &str) -> bool {
        self.labels.get("__name__").is_some_and(|known| known == name)
    }
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answered, or the provider is not able to just now.
    Unreachable(String),
    /// The answer cannot be judged.
    Unusable(String),
}

impl From<Trouble> for Seen {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(why) => Self::nothing(Outcome::Unreachable, why),
            Trouble::Unusable(why) => Self::nothing(Outcome::Unusable, why),
        }
    }
}

/// What came back of one question: the reply to it, or its part of a reply to several.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// A reply to it alone.
    Reply(Reply),
    /// Its series of a reply to several.
    Series(Result<Vec<Series>, Trouble>),
}

impl Part {
    /// The reply, of a question that is asked alone.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Series(_) => None,
        }
    }
}

/// The series that a part has.
pub(super) fn series_of(part: Option<&Part>) -> Result<Vec<Series>, Trouble> {
    match part {
        Some(Part::Series(series)) => series.clone(),
        Some(Part::Reply(reply)) => series(Some(reply)),
        None => series(None),
    }
}

/// What to do about an answer that is too long, for it holds every sample of every series since evidence began.
const ASK_LESS: &str = "leave labels out where it is scraped that tell paths or clients apart, scrape more seldom, or measure by a \
     query that yields one series, like sum(...)";

/// The part of an answer around its data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    error: String,
    /// Parts that are missing, and doubts about the result. Mere hints come as `infos`.
    #[serde(default)]
    warnings: Vec<String>,
    /// What `VictoriaMetrics` says in their place.
    #[serde(default)]
    is_partial: bool,
}

/// The data of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Told>,
}

/// A series of a matrix as it is written.
#[derive(Deserialize)]
struct Told {
    metric: HashMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, Number)>,
    #[serde(default)]
    histograms: Vec<(f64, Histogram)>,
}

/// A number in quotes, for there may be infinite ones.
struct Number(f64);

/// A native histogram as it is written: of each bucket which edges are in it, the edges, and how many observations are.
#[derive(Deserialize)]
struct Histogram {
    count: Number,
    sum: Number,
    #[serde(default)]
    buckets: Vec<(u8, Number, Number, Number)>,
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Quoted;
        impl de::Visitor<'_> for Quoted {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Quoted)
    }
}

impl Told {
    fn read(self) -> Option<Series> {
        let numbers = self.values.into_iter().map(|(at, Number(value))| Some((millis(at)?, value)));
        let histograms = self.histograms.into_iter().map(|(at, histogram)| Some((millis(at)?, histogram.read())));
        let mut samples = numbers.collect::<Option<Vec<_>>>()?;
        let mut histograms = histograms.collect::<Option<Vec<_>>>()?;
        samples.sort_by_key(|(at, _)| *at);
        histograms.sort_by_key(|(at, _)| *at);
        Some(Series { labels: self.metric, samples, histograms })
    }
}

impl Histogram {
    fn read(self) -> Native {
        let bucket = |(_, lower, upper, count): (u8, Number, Number, Number)| Bucket {
            lower: lower.0,
            upper: upper.0,
            count: count.0,
        };
        let mut buckets: Vec<_> = self.buckets.into_iter().map(bucket).collect();
        buckets.sort_by(|one, other| one.upper.total_cmp(&other.upper));
        Native { count: self.count.0, sum: self.sum.0, buckets }
    }
}

/// The body of a refusal, of which only the words matter.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// The series of a range vector, or of a query over a range.
pub(super) fn series(reply: Option<&Reply>) -> Result<Vec<Series>, Trouble> {
    let body = match reply {
        None => return Err(Trouble::Unreachable("the provider was not asked".into())),
        Some(Err(NoReply::Unreachable(why))) => return Err(Trouble::Unreachable(short(why))),
        Some(Err(too_long @ NoReply::TooLong(_))) => return Err(Trouble::Unusable(format!("{too_long}: {ASK_LESS}"))),
        Some(Ok((200, body))) => body,
        Some(Ok((status, body))) => {
            let words = serde_json::from_slice::<Refusal>(body).map_or_else(|_| String::new(), |refusal| refusal.error);
            let why = match status {
                401 | 403 => format!("the provider refuses our credentials (HTTP {status}) {}", short(&words)),
                _ => format!("the provider answered HTTP {status} {}", short(&words)),
            };
            let why = why.trim_end().to_owned();
            let passing = matches!(status, 408 | 429) || *status >= 500;
            return Err(if passing { Trouble::Unreachable(why) } else { Trouble::Unusable(why) });
        }
    };
    let unusable = |why: String| Err(Trouble::Unusable(why));
    let answer: Envelope = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(error) => return unusable(format!("the answer is not understood: {}", short(&error.to_string()))),
    };
    if answer.status != "success" {
        return unusable(format!("the provider answered: {}", short(&answer.error)));
    }
    if answer.is_partial {
        return unusable("the provider says that its answer is partial".to_owned());
    }
    // Prometheus before 2.54 has its hints among the warnings, as that a name does not look like a counter's.
    if let Some(warning) = answer.warnings.iter().find(|warning| !warning.starts_with("PromQL info")) {
        return unusable(format!("the provider warns of its answer: {}", short(warning)));
    }
    match answer.data {
        Some(Data { result_type, result }) if result_type == "matrix" => {
            let all: Option<Vec<_>> = result.into_iter().map(Told::read).collect();
            all.map(once).ok_or_else(|| Trouble::Unusable("a sample has no possible time".into()))
        }
        _ => unusable("the answer is no matrix of series".into()),
    }
}

/// The labels by which a highly available pair of Prometheus tells its replicas apart. A plain `replica` is not one of
/// them: applications use it for themselves.
pub(super) const REPLICAS: [&str; 2] = ["prometheus_replica", "__replica__"];

/// Each series once: of those that have the same labels, or differ by the replica that scraped them alone, the one with the
/// most samples. Added up, every request would have been two.
fn once(all: Vec<Series>) -> Vec<Series> {
    let mut known: HashMap<Vec<(String, String)>, usize> = HashMap::with_capacity(all.len());
    let mut kept: Vec<Series> = Vec::with_capacity(all.len());
    for mut series in all {
        series.labels.retain(|label, _| !REPLICAS.contains(&label.as_str()));
        let mut key: Vec<_> = series.labels.iter().map(|(label, value)| (label.clone(), value.clone())).collect();
        key.sort_unstable();
        let length = |series: &Series| series.samples.len() + series.histograms.len();
        match known.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(kept.len());
                kept.push(series);
            }
            Entry::Occupied(entry) => {
                if let Some(other) = kept.get_mut(*entry.get()).filter(|other| length(other) < length(&series)) {
                    *other = series;
                }
            }
        }
    }
    kept
}

fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1_000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "far inside the range of both types")]
    (millis.abs() < 1e14).then_some(millis as i64)
}

/// Words of others, cut to what a status can carry.
fn short(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(status: u16, body: &str) -> Result<Vec<Series>, Trouble> {
        series(Some(&Ok((status, body.as_bytes().to_vec()))))
    }

    #[test]
    fn what_two_replicas_scraped_is_counted_once() {
        let of = |replica: &str, code: &str, samples: &str| {
            format!(
                r#"{{"metric":{{"__name__":"x","code":"{code}","prometheus_replica":"{replica}"}},"values":[{samples}]}}"#
            )
        };
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{},{},{}]}}}}"#,
            of("a", "200", r#"[1,"1"],[2,"2"]"#),
            of("b", "200", r#"[1.5,"1"],[2.5,"2"],[3.5,"3"]"#),
            of("a", "500", r#"[1,"1"]"#),
        );
        let series = read(200, &body).unwrap();
        let seen: Vec<_> = series.iter().map(|series| (series.labels["code"].as_str(), series.samples.len())).collect();
        assert_eq!(seen, [("200", 3), ("500", 1)]);
        assert!(series.iter().all(|series| !series.labels.contains_key("prometheus_replica")));
    }

    fn why(status: u16, body: &str) -> String {
        match read(status, body) {
            Err(Trouble::Unusable(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_recorded_matrix_is_read_with_its_fractions_of_seconds() {
        let series = read(200, include_str!("fixtures/traefik-requests.json")).unwrap();
        assert_eq!(series.len(), 2);
        assert_eq!(series[0].labels["code"], "200");
        assert_eq!(series[0].samples[0].0 % 1_000, 127, "scrapes fall on fractions");
        assert!(series.iter().all(|s| s.samples.is_sorted_by_key(|(at, _)| at)));
    }

    #[test]
    fn an_error_is_told_in_the_providers_words() {
        assert!(why(400, include_str!("fixtures/bad-query.json")).contains("parse error"));
        assert_eq!(why(403, "<html>"), "the provider refuses our credentials (HTTP 403)");
        assert!(
            why(200, r#"{"status":"error","errorType":"execution","error":"too many samples"}"#)
                .contains("too many samples")
        );
    }

    #[test]
    fn a_provider_that_is_down_is_unreachable_and_not_wrong() {
        for status in [500, 502, 503, 504, 429, 408] {
            assert!(matches!(read(status, ""), Err(Trouble::Unreachable(_))), "{status}");
        }
        let timed_out = Err(NoReply::Unreachable("timed out".into()));
        assert!(matches!(series(Some(&timed_out)), Err(Trouble::Unreachable(_))));
        assert!(matches!(series(None), Err(Trouble::Unreachable(_))));
    }

    #[test]
    fn an_answer_that_is_too_long_is_said_with_its_length_and_the_cure_and_is_an_answer() {
        let Err(Trouble::Unusable(why)) = series(Some(&Err(NoReply::TooLong(64 << 20)))) else {
            panic!("somebody answers")
        };
        assert!(why.starts_with("the answer is longer than 64 MiB: leave labels out") && why.len() < 300, "{why}");
    }

    #[test]
    fn a_part_of_the_numbers_is_not_taken_for_the_whole() {
        let warned = r#"{"status":"success","data":{"resultType":"matrix","result":[]},"warnings":["partial response: store-3"]}"#;
        assert!(why(200, warned).ends_with("partial response: store-3"));
        let partial = r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#;
        assert!(why(200, partial).ends_with("its answer is partial"));
        let hint = r#"{"status":"success","data":{"resultType":"matrix","result":[]},"infos":["metric might not be a counter"]}"#;
        assert_eq!(read(200, hint), Ok(vec![]));
    }

    #[test]
    fn other_types_and_other_texts_are_unusable() {
        for body in [
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"1"]}}"#,
            r#"{"status":"success","data":{"resultType":"string","result":[1435781451.781,"x"]}}"#,
            r#"{"status":"success"}"#,
            "",
            "null",
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1e300,"1"]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,2]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{}]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{"count":"1","sum":"1","buckets":[["0","1","2"]]}]]}]}}"#,
        ] {
            assert!(!why(200, body).is_empty(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(status: u16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = series(Some(&Ok((status, body))));
        }

        #[test]
        fn no_broken_answer_panics(cut in 0usize..1_400, with in "[\\[\\]{}\",0-9a-z]{0,4}") {
            let body = include_str!("fixtures/traefik-requests.json");
            let cut = cut.min(body.len());
            let _ = read(200, &format!("{}{with}{}", &body[..cut], &body[cut..]));
            let _ = read(200, &format!("{}{with}", &body[..cut]));
        }
    }
}
