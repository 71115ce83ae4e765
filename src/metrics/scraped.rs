//! What is remembered of pages that were scraped from pods: counters, added up by revision as they grow.
//!
//! A page has no history, so its increases are taken when it comes, by the rules that samples of a Prometheus are read by:
//! a value that falls, a series that was gone, and a container that was started again begin at 0. What is kept is one row
//! of sums for each class of series, so that it does not grow with the pods; it is judged as a Prometheus' answer is. Apart
//! from the rows is kept what a pod had counted when it was read again after rounds that read others of its arm alone: it
//! happened since the pod's own last page.
use super::{
    Metric,
    answer::Series,
    counters::{Beats, is_step_back},
    evidence::Counted,
    exposition::Sample,
    presets::{Bad, Kind, Preset},
    promql::Query,
};
use crate::{duration::Duration, vocab::Arm};
use jiff::Timestamp;
use promql_parser::label::Matcher;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// The most classes of series that one question keeps of a revision: edges of a histogram, or statuses.
const MOST_CLASSES: usize = 256;
/// The most series of one pod that one question counts.
const MOST_SERIES: usize = 10_000;
/// The most samples that are kept of one release, 16 bytes each. When there are more, the older half is forgotten, and
/// evidence begins anew.
const MOST_SAMPLES: usize = 1 << 20;

/// A clock that was put back by as much, in milliseconds, has told wrong times until then: what was read by it is forgotten.
const PUT_BACK: i64 = 10_000;

/// What was read no longer ago than so many times the interval was read of late.
const OF_LATE: i64 = 3;

/// A pod that had run for longer than this, in milliseconds, when its page was to be read for the first time, is not new.
const NEW: i64 = 60_000;

/// Labels in an order.
type Labels = Vec<(String, String)>;

/// What a metric counts on a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    names: Vec<String>,
    only: Vec<Matcher>,
    class: Class,
}

/// Which labels of a series tell what is done with it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    /// Those that say what went wrong.
    Bad(Bad),
    /// The edge of a bucket.
    Edge,
    /// None.
    Name,
}

impl Wanted {
    /// What a metric counts, in the order in which it is read; nothing of one that pods cannot answer.
    pub fn of(metric: &Metric) -> Vec<Self> {
        match (metric.preset.as_deref().and_then(super::presets::find), &metric.scores) {
            (Some(preset), _) => vec![Self::of_preset(preset)],
            (None, Some(scores)) => scores
                .selectors()
                .filter_map(|(_, text)| {
                    let (name, only) = Query::selector(text).ok()?.parts()?;
                    Some(Self { names: vec![name], only, class: Class::Name })
                })
                .collect(),
            (None, None) => Vec::new(),
        }
    }

    fn of_preset(preset: &Preset) -> Self {
        let class = match preset.kind {
            Kind::Errors(bad) => Class::Bad(bad),
            Kind::Latency(_) => Class::Edge,
            Kind::Ratio(_) => Class::Name,
        };
        // In text there are classic histograms alone; what is called like one as a whole is a summary.
        let names = preset.names().into_iter().filter(|name| !preset.is_histogram(name)).map(str::to_owned);
        Self { names: names.collect(), only: preset.matchers(), class }
    }

    /// Whether a series of this name may be one of them.
    pub fn names(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    fn takes(&self, labels: &HashMap<String, String>) -> bool {
        let value = |label: &str| labels.get(label).map_or("", String::as_str);
        self.names(value("__name__")) && self.only.iter().all(|matcher| matcher.is_match(value(&matcher.name)))
    }

    /// The labels that matter, in which series are added up.
    fn class(&self, labels: &HashMap<String, String>) -> Labels {
        let kept: &[&str] = match &self.class {
            Class::Bad(Bad::Labelled { labels: wanted, .. }) => {
                let first = wanted.iter().find(|label| labels.contains_key(**label));
                first.map_or(&[][..], std::slice::from_ref)
            }
            Class::Bad(Bad::Marked(label) | Bad::Unanswered { label, .. }) => std::slice::from_ref(label),
            Class::Bad(Bad::Beside(_) | Bad::Among(_)) | Class::Name => &[],
            Class::Edge => &["le"],
        };
        // Of a mark it matters whether it is there.
        let value = |label: &str, value: &String| match self.class {
            Class::Bad(Bad::Marked(marked)) if marked == label && !value.is_empty() => "yes".to_owned(),
            _ => value.clone(),
        };
        std::iter::once(&"__name__")
            .chain(kept)
            .filter_map(|label| Some(((*label).to_owned(), value(label, labels.get(*label)?))))
            .collect()
    }

    fn is_count(&self, value: f64) -> bool {
        // Scores and sums have fractions; all else is counted one by one.
        let most = if self.class == Class::Name { f64::MAX } else { 9_007_199_254_740_992.0 };
        (0.0..=most).contains(&value)
    }
}

/// A page of one pod, read.
#[derive(Clone, Debug)]
pub struct Page {
    /// The pod's name.
    pub(super) pod: String,
    /// The pod's uid.
    pub(super) uid: String,
    /// Whose pod it is.
    pub(super) arm: Arm,
    /// When the pod was started, in milliseconds.
    pub(super) started: Option<i64>,
    /// When the container that serves the page was started, in milliseconds.
    pub(super) began: Option<i64>,
    /// What each question finds on it, or why it was not read.
    pub(super) read: Result<Finds, String>,
}

/// What each question finds on a page, or what stands there that cannot be counted.
type Finds = Vec<(Wanted, Result<Found, String>)>;

/// What a question finds on a page. A page has many series and their labels are long, so of each there is no more than what
/// is compared from page to page.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Of each series a number that stands for its labels, the place of its class, and its value.
    series: Vec<(u64, usize, f64)>,
    classes: Vec<Labels>,
    /// The edges that all its histograms have.
    edges: Option<BTreeSet<String>>,
}

/// A number that stands for these labels. That two of ten thousand series have the same is as likely as one in 10^11.
fn number_of<T: std::hash::Hash>(labels: &[T]) -> u64 {
    let mut hasher = DefaultHasher::new();
    labels.hash(&mut hasher);
    hasher.finish()
}

impl Found {
    /// # Errors
    /// What stands there that cannot be counted.
    pub fn of(wanted: &Wanted, samples: &[Sample]) -> Result<Self, String> {
        let (mut series, mut known) = (Vec::new(), HashSet::new());
        let mut classes: BTreeMap<Labels, usize> = BTreeMap::new();
        let mut histograms: HashMap<u64, BTreeSet<String>> = HashMap::new();
        for Sample { labels, value } in samples.iter().filter(|sample| wanted.takes(&sample.labels)) {
            if !wanted.is_count(*value) {
                return Err(format!("a counter has the value {value}"));
            }
            if known.len() >= MOST_SERIES {
                return Err(format!("a pod has more than {MOST_SERIES} series of {}", wanted.names.join(" and ")));
            }
            let mut key: Vec<(&str, String)> = labels
                .iter()
                .map(|(label, value)| (label.as_str(), if label == "le" { edge(value) } else { value.clone() }))
                .collect();
            key.sort_unstable();
            let number = number_of(&key);
            // Of one that is there twice the first counts, as Prometheus takes it.
            if !known.insert(number) {
                continue;
            }
            let mut class = wanted.class(labels);
            class.iter_mut().filter(|(label, _)| label == "le").for_each(|(_, value)| *value = edge(value));
            let next = classes.len();
            series.push((number, *classes.entry(class).or_insert(next), *value));
            if wanted.class == Class::Edge {
                let (edges, rest): (Vec<_>, Vec<_>) = key.into_iter().partition(|(label, _)| *label == "le");
                histograms.entry(number_of(&rest)).or_default().extend(edges.into_iter().map(|(_, edge)| edge));
            }
        }
        let mut places: Vec<_> = classes.into_iter().map(|(class, place)| (place, class)).collect();
        places.sort_unstable();
        let edges = histograms.into_values().reduce(|common, edges| &common & &edges);
        Ok(Self { series, classes: places.into_iter().map(|(_, class)| class).collect(), edges })
    }
}

/// What was scraped of the pods of a release.
#[derive(Debug, Default)]
pub struct Scrapes {
    /// By metric and what it counts.
    counters: BTreeMap<(String, String), Counter>,
    /// Why the last page of an arm was not read.
    troubles: BTreeMap<&'static str, String>,
    newest: Option<i64>,
    /// When the page of a pod was to be read for the first time, by uid.
    first: HashMap<String, i64>,
}

/// What one question has counted.
#[derive(Debug, Default)]
struct Counter {
    stable: Sums,
    canary: Sums,
    /// By pod.
    pods: HashMap<String, Known>,
}

/// The last page of a pod.
#[derive(Debug, Default)]
struct Known {
    at: i64,
    /// By the number of their labels.
    values: HashMap<u64, f64>,
    /// When its container had been started.
    began: Option<i64>,
    /// Whether a value has fallen since, so that the news of a start only says once more what is known.
    fell: bool,
}

impl Known {
    /// Whether the container was started again since, by the word of its node, whose clock may be another: what is no news
    /// does not count.
    fn is_over(&self, page: &Page) -> bool {
        let is_news = self.began.zip(page.began).is_some_and(|(before, began)| began > before && began > self.at);
        is_news && !self.fell
    }
}

/// Sums of one arm.
#[derive(Debug, Default)]
struct Sums {
    beats: Vec<i64>,
    /// Those of each pod, by uid.
    pods: BTreeMap<String, Vec<i64>>,
    classes: BTreeMap<Labels, (f64, Vec<(i64, f64)>)>,
    /// What pods had counted when they were read again.
    late: Vec<Late>,
    /// The edges that every histogram of the arm has had.
    edges: Option<BTreeSet<String>>,
}

/// What a pod had counted in rounds that read others of its arm and not this one.
#[derive(Debug)]
struct Late {
    uid: String,
    /// When it had been read before.
    from: i64,
    at: i64,
    gained: BTreeMap<Labels, f64>,
}

/// One metric of a round.
pub(super) struct Asked<'a> {
    pub metric: &'a str,
    pub wanted: Wanted,
    /// When its evidence begins, in milliseconds, if that is known yet.
    pub start: Option<i64>,
}

pub(super) fn word(arm: Arm) -> &'static str {
    match arm {
        Arm::Stable => "stable",
        Arm::Canary => "the canary",
    }
}

impl Scrapes {
    /// When the newest round was, where another one at this moment would be too soon for pages that are read so often. The
    /// first one with evidence is not.
    pub fn newest_before(&self, at: Timestamp, interval: Duration, since: Option<Timestamp>) -> Option<Timestamp> {
        let newest = Timestamp::from_millisecond(self.newest?).ok()?;
        let apart = at.as_millisecond() - newest.as_millisecond();
        let is_soon = apart >= 0 && is_step_back(apart, i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        (is_soon && since.is_none_or(|since| newest >= since)).then_some(newest)
    }

    /// Adds the pages of one round, in milliseconds since 1970. `living` are the uids of all pods there are: what is known
    /// of others is forgotten.
    pub(super) fn add(&mut self, at: i64, asked: &[Asked<'_>], pages: &[Page], living: &BTreeSet<&str>) {
        if let Some(newest) = self.newest.filter(|newest| *newest >= at) {
            if newest - at < PUT_BACK {
                return;
            }
            *self = Self::default();
        }
        self.newest = Some(at);
        self.troubles.clear();
        self.first.retain(|uid, _| living.contains(uid.as_str()));
        for page in pages {
            self.first.entry(page.uid.clone()).or_insert(at);
        }
        let key = |asked: &Asked<'_>| (asked.metric.to_owned(), format!("{:?}", asked.wanted));
        let keys: BTreeSet<_> = asked.iter().map(key).collect();
        self.counters.retain(|key, _| keys.contains(key));
        for page in pages {
            if let Err(why) = &page.read {
                self.troubles.entry(word(page.arm)).or_insert_with(|| why.clone());
            }
        }
        for asked in asked {
            let counter = self.counters.entry(key(asked)).or_default();
            counter.pods.retain(|uid, _| living.contains(uid.as_str()));
            if let Err((arm, why)) = counter.add(at, asked, pages, &self.first) {
                self.troubles.insert(word(arm), why);
            }
        }
        self.shrink();
    }

    /// What was counted of an arm, of which pages are read so often, in milliseconds.
    pub(super) fn counted(&self, metric: &str, wanted: &Wanted, arm: Arm, scrape: i64) -> Counted {
        let key = (metric.to_owned(), format!("{wanted:?}"));
        let Some(counter) = self.counters.get(&key) else {
            return Counted { series: Vec::new(), beats: Beats::unknown(scrape), scraped: None };
        };
        let sums = counter.sums(arm);
        let beats = |uid: &str, times: &[i64]| Series {
            labels: [("instance".to_owned(), uid.to_owned())].into(),
            samples: times.iter().map(|at| (*at, 1.0)).collect(),
            histograms: Vec::new(),
        };
        // The sums are of no pod.
        let all = std::iter::once(("", &sums.beats)).chain(sums.pods.iter().map(|(uid, times)| (uid.as_str(), times)));
        let beats: Vec<Series> = all.map(|(uid, times)| beats(uid, times)).collect();
        let common = |labels: &Labels| {
            let edge = labels.iter().find(|(label, _)| label == "le").map(|(_, edge)| edge);
            edge.zip(sums.edges.as_ref()).is_none_or(|(edge, common)| common.contains(edge))
        };
        let series = |labels: &Labels, samples| Series {
            labels: labels.iter().cloned().collect(),
            samples,
            histograms: Vec::new(),
        };
        let rows = sums.classes.iter().map(|(labels, (_, samples))| (labels, series(labels, samples.clone())));
        let late = sums.late.iter().flat_map(|late| {
            late.gained.iter().map(|(labels, by)| {
                let mut series = series(labels, vec![(late.from, 0.0), (late.at, *by)]);
                series.labels.insert("instance".to_owned(), late.uid.clone());
                (labels, series)
            })
        });
        let series = rows.chain(late).filter(|(labels, _)| common(labels)).map(|(_, series)| series);
        let last = |times: &Vec<i64>| times.last().copied().unwrap_or(i64::MIN);
        let newest = sums.pods.values().map(last).max().unwrap_or(i64::MIN);
        let of_late = sums.pods.values().filter(|times| last(times) >= newest.saturating_sub(OF_LATE * scrape)).count();
        let scraped = Some(u32::try_from(of_late).unwrap_or(u32::MAX));
        Counted { series: series.collect(), beats: Beats::of([&beats[..]], scrape, |_| true), scraped }
    }

    /// Why the last pages of an arm were not read, where one was not.
    pub(crate) fn trouble(&self, arm: Arm) -> Option<&str> {
        self.troubles.get(word(arm)).map(String::as_str)
    }

    fn all(&self) -> impl Iterator<Item = &Sums> {
        self.counters.values().flat_map(|counter| [&counter.stable, &counter.canary])
    }

    fn len(&self) -> usize {
        self.all().map(Sums::len).sum()
    }

    /// How much there is to read, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * size_of::<(i64, f64)>()
    }

    /// Forgets the older half when there is too much.
    fn shrink(&mut self) {
        if self.len() <= MOST_SAMPLES {
            return;
        }
        let longest = self.all().map(|sums| &sums.beats).max_by_key(|beats| beats.len());
        let Some(cut) = longest.and_then(|beats| beats.get(beats.len() / 2)).copied() else { return };
        for counter in self.counters.values_mut() {
            for sums in [&mut counter.stable, &mut counter.canary] {
                for times in std::iter::once(&mut sums.beats).chain(sums.pods.values_mut()) {
                    times.retain(|at| *at >= cut);
                }
                sums.classes.values_mut().for_each(|(_, row)| row.retain(|(at, _)| *at >= cut));
                sums.late.retain(|late| late.from >= cut);
            }
        }
    }
}

impl Counter {
    fn sums(&self, arm: Arm) -> &Sums {
        match arm {
            Arm::Stable => &self.stable,
            Arm::Canary => &self.canary,
        }
    }

    /// Adds what one question finds on the pages. A page on which it finds what no counter can have counts for nothing.
    fn add(
        &mut self,
        at: i64,
        asked: &Asked<'_>,
        pages: &[Page],
        first: &HashMap<String, i64>,
    ) -> Result<(), (Arm, String)> {
        let mut trouble = Ok(());
        let mut beaten = [false; 2];
        for page in pages {
            let Ok(found) = &page.read else { continue };
            let Some((_, found)) = found.iter().find(|(wanted, _)| *wanted == asked.wanted) else { continue };
            let sums = match page.arm {
                Arm::Stable => &mut self.stable,
                Arm::Canary => &mut self.canary,
            };
            let found = match found {
                Ok(found) => found,
                Err(why) => {
                    trouble = Err((page.arm, format!("pod {}: {why}", page.pod)));
                    continue;
                }
            };
            let known = self.pods.get(&page.uid);
            let first = first.get(&page.uid).copied().unwrap_or(at);
            match sums.take(at, asked, page, found, known, first) {
                Ok(fell) => {
                    beaten[usize::from(page.arm == Arm::Canary)] = true;
                    sums.pods.entry(page.uid.clone()).or_default().push(at);
                    let is_same = known.is_some_and(|known| known.began == page.began);
                    let fell = fell || (is_same && known.is_some_and(|known| known.fell));
                    let values = found.series.iter().map(|(number, _, value)| (*number, *value)).collect();
                    self.pods.insert(page.uid.clone(), Known { at, values, began: page.began, fell });
                }
                Err(why) => trouble = Err((page.arm, format!("pod {}: {why}", page.pod))),
            }
        }
        for (sums, _) in [&mut self.stable, &mut self.canary].into_iter().zip(beaten).filter(|(_, beaten)| *beaten) {
            sums.beats.push(at);
            sums.classes.values_mut().for_each(|(sum, row)| row.push((at, *sum)));
        }
        trouble
    }
}

impl Sums {
    /// How many moments and numbers there are.
    fn len(&self) -> usize {
        let beats: usize = self.pods.values().map(Vec::len).sum();
        let late: usize = self.late.iter().map(|late| 2 * late.gained.len()).sum();
        self.beats.len() + beats + late + self.classes.values().map(|(_, row)| row.len()).sum::<usize>()
    }

    /// Adds what a page has gained, and says whether a value has fallen.
    fn take(
        &mut self,
        at: i64,
        asked: &Asked<'_>,
        page: &Page,
        found: &Found,
        known: Option<&Known>,
        first: i64,
    ) -> Result<bool, String> {
        let new = found.classes.iter().filter(|class| !self.classes.contains_key(*class)).count();
        if self.classes.len() + new > MOST_CLASSES {
            return Err(format!("there are more than {MOST_CLASSES} kinds of {}", asked.wanted.names.join(" and ")));
        }
        // Of a pod that was never read the first value is where it starts, unless all of it is of this evidence.
        // One that had run for a while then had others read in its place.
        let runs = page.began.or(page.started).map(|began| first.saturating_sub(began));
        let is_new = runs.is_some_and(|runs| runs <= NEW)
            && asked.start.zip(page.started).is_some_and(|(start, started)| started > start && started <= at);
        let away = known.map(|known| known.at).filter(|at| self.beats.last().is_some_and(|last| last > at));
        let known = known.map(|known| (known, known.is_over(page)));
        let (mut fell, mut gained) = (false, vec![0.0; found.classes.len()]);
        for (number, class, value) in &found.series {
            let by = match known.map(|(known, is_over)| known.values.get(number).filter(|_| !is_over)) {
                Some(Some(last)) if value >= last => value - last,
                Some(Some(_)) => {
                    fell = true;
                    *value
                }
                // It was not there before.
                Some(None) => *value,
                None if is_new => *value,
                None => 0.0,
            };
            if let Some(sum) = gained.get_mut(*class) {
                *sum += by;
            }
        }
        for (class, by) in found.classes.iter().zip(&gained) {
            let sum = &mut self.classes.entry(class.clone()).or_default().0;
            *sum += if away.is_some() { 0.0 } else { *by };
        }
        let gained = || found.classes.iter().cloned().zip(gained.iter().copied()).collect();
        self.late.extend(away.map(|from| Late { uid: page.uid.clone(), from, at, gained: gained() }));
        // The edges that these histograms have too are kept.
        if let Some(edges) = &found.edges {
            self.edges = Some(self.edges.take().map_or_else(|| edges.clone(), |common| &common & edges));
        }
        Ok(fell)
    }
}

/// An edge, written in one way: "1.0" of one library is "1" of another.
fn edge(text: &str) -> String {
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |edge| edge.to_string())
}

#[cfg(test)]
mod tests;
