//! Ready-made metrics: one file for each product, and one line here.
use super::{
    answer::Series,
    arms::{Of, Told, equal, pattern, unlike},
};
use promql_parser::label::{MatchOp, Matcher};

mod app;
mod cilium;
mod contour;
mod grpc;
mod istio;
mod kserve;
mod linkerd;
mod litellm;
mod nginx;
mod opentelemetry;
mod python;
mod ray;
mod sglang;
mod spring;
mod tgi;
mod torchserve;
mod traefik;
mod triton;
mod vllm;

/// The presets of each product, in the order of the reference.
const PRODUCTS: &[&[Preset]] = &[
    traefik::ALL,
    istio::ALL,
    contour::ALL,
    nginx::ALL,
    linkerd::ALL,
    cilium::ALL,
    app::ALL,
    opentelemetry::ALL,
    grpc::ALL,
    spring::ALL,
    python::ALL,
    vllm::ALL,
    sglang::ALL,
    triton::ALL,
    tgi::ALL,
    torchserve::ALL,
    kserve::ALL,
    ray::ALL,
    litellm::ALL,
];

/// A metric whose series and labels are known.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What a Rollout calls it.
    pub name: &'static str,
    /// What it measures, for the reference.
    pub about: &'static str,
    /// What is counted.
    pub kind: Kind,
    /// Where it is counted.
    pub place: Place,
    /// The counters' name; of a histogram, that of its buckets.
    pub(super) series: &'static str,
    /// What every selector asks for beside the arm.
    pub(super) only: &'static [Only],
}

/// What a preset counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Requests, and those of them that went wrong.
    Errors(Bad),
    /// Requests by how long they took, in the buckets of a histogram.
    Latency(Unit),
    /// So much of one thing for each of another.
    Ratio(Ratio),
}

/// What one counter gained, for each that another gained. No test says how far two such numbers may differ by chance, for
/// nobody knows how much single requests add to them: they are held against limits and conditions, and not compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The counter that is divided by.
    pub per: &'static str,
    /// The result is so many times what was divided.
    pub times: f64,
}

/// Which requests went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Those whose label begins with one of the words: the first of the labels that a series has.
    Labelled {
        /// The labels.
        labels: &'static [&'static str],
        /// The words.
        begin: &'static [&'static str],
    },
    /// Those whose label begins with one of the words, and those without it, which ended before there was an answer. Where no
    /// series at all has the label, nothing tells one from the other.
    Unanswered {
        /// The label.
        label: &'static str,
        /// The words.
        begin: &'static [&'static str],
    },
    /// Those that have this label at all.
    Marked(&'static str),
    /// Another series counts them, and the first one does not.
    Beside(&'static str),
    /// Another series counts them, which the first one counts as well.
    Among(&'static str),
}

/// The unit of a histogram's edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
}

/// Where a preset counts.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// In a proxy in front of the pods, which also sees what a dying pod cannot report.
    Proxy {
        /// The proxy's name.
        name: &'static str,
        /// What tells an arm's numbers from others there.
        backend: fn(&Of<'_>) -> Vec<Matcher>,
        /// A series that every scrape of the proxy has; without one, the counters of both arms tell of the scrapes.
        beat: Option<&'static str>,
        /// Whether it is on every node, and counts on each what the pods of that node answered.
        is_apart: bool,
    },
    /// In the pods.
    Pods,
}

/// A condition on a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// It has this value.
    Is(&'static str, &'static str),
    /// It has another value.
    IsNot(&'static str, &'static str),
    /// It matches this regular expression.
    Like(&'static str, &'static str),
    /// It does not match this regular expression.
    Unlike(&'static str, &'static str),
}

/// Failed by a status code of 500 or above, whatever the label is called.
const BY_STATUS: Bad = Bad::Labelled { labels: &["code", "status", "status_code"], begin: &["5"] };

/// Paths of probes and scrapes, which are no requests of users.
const PROBES: &str = "/(health|healthz|health_generate|livez|readyz|ping|metrics)([/?].*)?";
/// gRPC's own services, which users do not call: what a label has that names the service, or the service and the method.
const GRPC_PROBES: &str = "grpc\\.(health|reflection)\\..*";

/// Every preset of this build, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    PRODUCTS.iter().copied().flatten()
}

/// The preset of this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    all().find(|preset| preset.name == name)
}

/// All names.
pub fn names() -> Vec<&'static str> {
    all().map(|preset| preset.name).collect()
}

/// What is nearest to a name that is none: the presets of its product, else those that everybody has.
pub fn like(name: &str) -> Vec<&'static str> {
    let product = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let alike: Vec<_> = all().map(|preset| preset.name).filter(|known| product(known) == product(name)).collect();
    if alike.is_empty() {
        all().map(|preset| preset.name).filter(|name| name.ends_with("/error-rate")).collect()
    } else {
        alike
    }
}

impl Preset {
    /// Whether it counts in the pods.
    pub fn is_of_pods(&self) -> bool {
        matches!(self.place, Place::Pods)
    }

    /// Whether each arm is counted on pages of its own, which are scraped at moments of their own.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.place, Place::Pods | Place::Proxy { is_apart: true, .. })
    }

    /// What tells the arms apart.
    pub(super) fn told(&self) -> Told {
        match self.place {
            Place::Pods => Told::By(super::ArmLabel::Pod),
            Place::Proxy { backend, .. } => Told::ByBackend(backend),
        }
    }

    /// Whether it is a ratio, which is not compared.
    pub fn is_ratio(&self) -> bool {
        matches!(self.kind, Kind::Ratio(_))
    }

    /// The names of the series that it counts by, those of native histograms among them.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let second = match self.kind {
            Kind::Errors(Bad::Beside(other) | Bad::Among(other)) => Some(other),
            Kind::Ratio(Ratio { per, .. }) => Some(per),
            _ => None,
        };
        let mut names: Vec<_> = std::iter::once(self.series).chain(second).collect();
        for name in self.histograms() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The names of the histograms that its counters belong to: a native one has no other name.
    fn histograms(&self) -> impl Iterator<Item = &'static str> {
        let (first, second) = match self.kind {
            // What fails has a series of its own: these are plain counters.
            Kind::Errors(Bad::Beside(_) | Bad::Among(_)) => (None, None),
            Kind::Errors(_) | Kind::Latency(_) => (base(self.series), None),
            Kind::Ratio(Ratio { per, .. }) => (base(self.series), base(per)),
        };
        first.into_iter().chain(second)
    }

    /// Whether a native histogram may be called so.
    pub(super) fn is_histogram(&self, name: &str) -> bool {
        self.histograms().any(|histogram| histogram == name)
    }

    /// The plain counters of this preset that a series of native histograms stands for.
    pub(super) fn counters_of(&self, series: &Series) -> Vec<Series> {
        let name = series.labels.get("__name__").map(String::as_str);
        let wanted = self.names().into_iter().filter_map(|counter| Some((counter, base(counter)?)));
        let plain = |(counter, _): (&'static str, _)| {
            let mut labels = series.labels.clone();
            labels.insert("__name__".to_owned(), counter.to_owned());
            let number =
                |sample: &super::native::Native| if counter.ends_with("_sum") { sample.sum } else { sample.count };
            let samples = series.histograms.iter().map(|(at, sample)| (*at, number(sample))).collect();
            Series { labels, samples, ..Series::default() }
        };
        wanted.filter(|(_, histogram)| name.is_none_or(|name| name == *histogram)).map(plain).collect()
    }

    /// What every selector asks for beside the name and the arm.
    pub(super) fn matchers(&self) -> Vec<Matcher> {
        self.only.iter().map(Only::matcher).collect()
    }

    /// A selector's name, where there is one series, and what it asks for beside the arm.
    pub(super) fn selected(&self) -> (Option<String>, Vec<Matcher>) {
        let names = self.names();
        let mut matchers = self.matchers();
        match names.as_slice() {
            [only] => (Some((*only).to_owned()), matchers),
            names => {
                matchers.push(pattern("__name__", &names.join("|")));
                (None, matchers)
            }
        }
    }
}

/// The histogram that a counter is a part of.
fn base(counter: &'static str) -> Option<&'static str> {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|end| counter.strip_suffix(end))
}

impl Only {
    fn matcher(&self) -> Matcher {
        match *self {
            Self::Is(label, value) => equal(label, value),
            Self::IsNot(label, value) => Matcher::new(MatchOp::NotEqual, label, value),
            Self::Like(label, regex) => pattern(label, regex),
            Self::Unlike(label, regex) => unlike(label, regex),
        }
    }
}

impl Bad {
    /// Whether requests that a series counts are among all, and whether they went wrong.
    pub(super) fn sorts(self, labels: &std::collections::HashMap<String, String>) -> (bool, bool) {
        let name = || labels.get("__name__").map_or("", String::as_str);
        match self {
            Self::Labelled { labels: wanted, begin } => {
                let value = wanted.iter().find_map(|label| labels.get(*label));
                (true, value.is_some_and(|value| begin.iter().any(|begin| value.starts_with(begin))))
            }
            Self::Unanswered { label, begin } => {
                (true, labels.get(label).is_none_or(|value| begin.iter().any(|begin| value.starts_with(begin))))
            }
            Self::Marked(label) => (true, labels.get(label).is_some_and(|value| !value.is_empty())),
            Self::Beside(other) => (true, name() == other),
            Self::Among(other) => (name() != other, name() == other),
        }
    }

    /// Words for failures that neither arm counts, where a series of their own counts them: one that has never failed may not
    /// have it, and one that calls it otherwise never will.
    pub(super) fn uncounted<'a>(self, mut all: impl Iterator<Item = &'a Series>) -> Option<String> {
        let (Self::Beside(other) | Self::Among(other)) = self else { return None };
        let is_there = all.any(|series| series.is_called(other));
        (!is_there).then(|| format!("; nobody counts {other}, which is taken for no failure"))
    }

    /// What is missing of series that should say which requests went wrong.
    pub(super) fn missing(self, labels: &std::collections::HashMap<String, String>) -> Option<String> {
        match self {
            Self::Labelled { labels: wanted, .. } if !wanted.iter().any(|label| labels.contains_key(*label)) => {
                Some(wanted.join(" or "))
            }
            Self::Unanswered { label, .. } if !labels.contains_key(label) => Some(label.to_owned()),
            _ => None,
        }
    }
}

impl Unit {
    /// An edge in seconds.
    pub(super) fn seconds(self, edge: f64) -> f64 {
        match self {
            Self::Seconds => edge,
            Self::Milliseconds => edge / 1_000.0,
        }
    }

    /// So many seconds as an edge.
    pub(super) fn edge(self, seconds: f64) -> f64 {
        match self {
            Self::Seconds => seconds,
            Self::Milliseconds => seconds * 1_000.0,
        }
    }
}

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
