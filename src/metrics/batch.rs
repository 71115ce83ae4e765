//! Questions asked together: what all metrics of a release ask of a Prometheus, in as few requests as can be.
//!
//! Raw samples of several series, of both revisions, are one selector with more alternatives. The answer is taken apart
//! again by the matchers and the range of each question, so each gets what it would have got alone. What every release
//! asks alike, as when a gateway was scraped, is asked in the same words by all, so that one request can answer all.
use super::{
    Ask, Metric, ProviderSpec, Reply, Seen, Subject,
    answer::{self, Part, REPLICAS, Series, Trouble},
    arms::{escape, pattern},
    asks, read_parts,
};
use promql_parser::{
    label::{MatchOp, Matcher, Matchers},
    parser::{MatrixSelector, VectorSelector},
};
use std::{collections::BTreeSet, time::Duration};

/// What is asked alike by all is asked for up to the end of such a span, in milliseconds.
const MOMENT_MS: i64 = 1_000;
/// The least range of it, in milliseconds; longer ones are powers of two of it.
const LEAST_MS: i64 = 64_000;
/// The most answers that one may be as long as.
const MOST_HELD: usize = 4;

/// The samples of some series behind a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// What the series may be called.
    pub names: Vec<String>,
    /// What tells whose they are.
    pub told: Vec<Matcher>,
    /// What is asked for beside that.
    pub only: Vec<Matcher>,
    /// The moment, in milliseconds since 1970.
    pub at: i64,
    /// How far it reaches back, in milliseconds.
    pub range_ms: i64,
    /// Whether every release asks for it.
    pub is_common: bool,
}

impl Selection {
    /// Its part of an answer that has it among others.
    fn part_of(&self, all: &[Series]) -> Vec<Series> {
        let is_within = |at: i64| at > self.at.saturating_sub(self.range_ms) && at <= self.at;
        let parts = all.iter().filter(|series| self.takes(series)).map(|series| Series {
            labels: series.labels.clone(),
            samples: series.samples.iter().filter(|(at, _)| is_within(*at)).copied().collect(),
            histograms: series.histograms.iter().filter(|(at, _)| is_within(*at)).cloned().collect(),
        });
        parts.filter(|series| !series.samples.is_empty() || !series.histograms.is_empty()).collect()
    }

    fn takes(&self, series: &Series) -> bool {
        let value = |label: &str| series.labels.get(label).map_or("", String::as_str);
        self.names.iter().any(|name| name == value("__name__"))
            && self
                .told
                .iter()
                .chain(&self.only)
                // By what tells replicas apart the server has chosen, and it is not kept.
                .all(|matcher| REPLICAS.contains(&matcher.name.as_str()) || matcher.is_match(value(&matcher.name)))
    }
}

/// Selections that are asked for at once.
struct Group {
    names: BTreeSet<String>,
    /// What tells whose they are: of each label what it may be.
    told: Vec<(Matcher, BTreeSet<String>)>,
    /// What all of them ask for beside that, and nothing if they differ.
    only: Vec<Matcher>,
    at: i64,
    range_ms: i64,
    /// How many questions it answers.
    holds: usize,
    /// Whether every release asks for it.
    is_common: bool,
    first: Ask,
}

impl Group {
    fn of(selection: &Selection, ask: &Ask) -> Self {
        let told = selection.told.iter().map(|matcher| (matcher.clone(), BTreeSet::from([alternative(matcher)])));
        Self {
            names: selection.names.iter().cloned().collect(),
            told: told.collect(),
            only: selection.only.clone(),
            at: selection.at,
            range_ms: selection.range_ms,
            holds: 1,
            is_common: selection.is_common,
            first: ask.clone(),
        }
    }

    /// Whether it takes this one in: what tells whose the series are may differ in one label of all, else the group would
    /// select what nobody has asked for.
    fn takes(&mut self, selection: &Selection) -> bool {
        let alike = self.told.len() == selection.told.len()
            && self.at == selection.at
            && self.is_common == selection.is_common
            && (!self.is_common || selection.names.iter().all(|name| self.names.contains(name)));
        let pairs = || self.told.iter().zip(&selection.told);
        if !alike || !pairs().all(|((known, _), other)| known.name == other.name) {
            return false;
        }
        let differing =
            |((known, all), other): &(&(Matcher, BTreeSet<String>), &Matcher)| all.len() > 1 || known != *other;
        let open: Vec<_> = pairs().filter(differing).collect();
        let can = |matcher: &Matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Re(_));
        if open.len() > usize::from(!self.is_common) || !open.iter().all(|((known, _), other)| can(known) && can(other))
        {
            return false;
        }
        self.names.extend(selection.names.iter().cloned());
        for ((_, all), other) in self.told.iter_mut().zip(&selection.told) {
            all.insert(alternative(other));
        }
        if self.only != selection.only {
            self.only.clear();
        }
        self.range_ms = self.range_ms.max(selection.range_ms);
        self.holds += 1;
        true
    }

    fn ask(&self) -> Ask {
        if self.holds == 1 && !self.is_common {
            return self.first.clone();
        }
        let mut matchers = self.only.clone();
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        let name = if let [only] = names.as_slice() { Some((*only).to_owned()) } else { None };
        if name.is_none() {
            let names: Vec<_> = names.iter().map(|name| escape(name)).collect();
            matchers.push(pattern("__name__", &names.join("|")));
        }
        matchers.extend(self.told.iter().map(|(matcher, all)| {
            let all: Vec<_> = all.iter().map(String::as_str).collect();
            if all.len() > 1 { pattern(&matcher.name, &all.join("|")) } else { matcher.clone() }
        }));
        let (at, range_ms) = if self.is_common { self.in_common() } else { (self.at, self.range_ms) };
        Ask { holds: self.holds.min(MOST_HELD), ..self.first.for_samples(name, matchers, at, range_ms) }
    }

    /// The moment and the range for which every release asks.
    fn in_common(&self) -> (i64, i64) {
        let at = self.at.saturating_add(MOMENT_MS - 1) / MOMENT_MS * MOMENT_MS;
        let range = self.range_ms.saturating_add(at - self.at).max(LEAST_MS);
        let times = u64::try_from((range + LEAST_MS - 1) / LEAST_MS).unwrap_or(1).next_power_of_two();
        (at, i64::try_from(times).unwrap_or(1).saturating_mul(LEAST_MS))
    }
}

/// A matcher's value as one alternative of a regular expression.
fn alternative(matcher: &Matcher) -> String {
    if matcher.op == MatchOp::Equal { escape(&matcher.value) } else { matcher.value.clone() }
}

impl Ask {
    /// The same question for other samples.
    fn for_samples(&self, name: Option<String>, matchers: Vec<Matcher>, at: i64, range_ms: i64) -> Self {
        let vs = VectorSelector::new(name, Matchers::new(matchers));
        let range = Duration::from_millis(u64::try_from(range_ms).unwrap_or(0));
        let query = MatrixSelector { vs, range }.to_string();
        let fields = self.fields().iter().map(|(name, value)| {
            let value = match name.as_str() {
                "query" => query.clone(),
                "time" => format!("{}.{:03}", at / 1_000, at.rem_euclid(1_000)),
                _ => value.clone(),
            };
            (name.clone(), value)
        });
        Self { how: super::How::Form(fields.collect()), selection: None, ..self.clone() }
    }
}

/// All questions of one look.
#[derive(Debug)]
pub struct Batch {
    asks: Vec<Ask>,
    /// Of each metric, which reply has the answer to each of its questions, and which part of it.
    parts: Vec<Vec<(usize, Option<Selection>)>>,
}

impl Batch {
    /// What these metrics ask a provider, each of its subject.
    pub fn of(each: &[(Metric, Subject)], provider: &ProviderSpec) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        // What is asked alone follows behind the groups, whose number is not known yet.
        let mut alone: Vec<Ask> = Vec::new();
        let mut parts = Vec::with_capacity(each.len());
        for (metric, subject) in each {
            let mut own = Vec::new();
            for ask in asks(metric, provider, subject) {
                let place = if let Some(selection) = &ask.selection {
                    let known = groups.iter_mut().position(|group| group.takes(selection));
                    Ok(known.unwrap_or_else(|| {
                        groups.push(Group::of(selection, &ask));
                        groups.len() - 1
                    }))
                } else {
                    alone.push(ask.clone());
                    Err(alone.len() - 1)
                };
                own.push((place, ask.selection));
            }
            parts.push(own);
        }
        let together = groups.len();
        let place = |place: Result<usize, usize>| place.unwrap_or_else(|at| together + at);
        let parts = parts.into_iter().map(|own| own.into_iter().map(|(at, it)| (place(at), it)).collect()).collect();
        Self { asks: groups.iter().map(Group::ask).chain(alone).collect(), parts }
    }

    /// The requests to make, in any order or at once.
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// What the replies say, in the order of the requests, to the metrics that the batch was made of.
    pub fn read(&self, each: &[(Metric, Subject)], provider: &ProviderSpec, replies: &[Reply]) -> Vec<Seen> {
        // One that is a whole is read where it is, and once.
        let mut known: Vec<Option<Result<Vec<Series>, Trouble>>> = vec![None; replies.len()];
        let mut part = |at: usize, selection: Option<&Selection>| {
            let (reply, known) = (replies.get(at)?, known.get_mut(at)?);
            let Some(selection) = selection else { return Some(Part::Reply(reply.clone())) };
            let series = known.get_or_insert_with(|| answer::series(Some(reply)));
            Some(Part::Series(series.as_ref().map(|all| selection.part_of(all)).map_err(Clone::clone)))
        };
        let mut seen = Vec::with_capacity(each.len());
        for ((metric, subject), own) in each.iter().zip(&self.parts) {
            let parts: Vec<_> = own.iter().filter_map(|(at, selection)| part(*at, selection.as_ref())).collect();
            seen.push(read_parts(metric, provider, subject, &parts));
        }
        seen
    }
}

#[cfg(test)]
mod tests;
