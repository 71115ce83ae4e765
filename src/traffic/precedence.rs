//! Where the rule that says the most about a request is asked first, wherever it stands, a rule that is narrowed for the canary
//! can come before rules that its own stood behind. What is said here of two matches is what the Gateway API and Contour say:
//! an exact path before a prefix, a longer prefix before a shorter one, then a method, more headers, more parameters.
use serde_json::Value;
use std::cmp::Ordering;

/// What a match asks of a request: all of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// Where it goes.
    pub path: Path,
    /// By which method.
    pub method: Option<String>,
    /// Headers, their names in small letters.
    pub headers: Vec<Compared>,
    /// Parameters of the query.
    pub query: Vec<Compared>,
}

/// A path as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Path {
    /// It is this one.
    Exact(String),
    /// It begins with these elements.
    Prefix(String),
    /// It begins with these letters, also in the middle of an element.
    Start(String),
    /// Nobody can tell here what this takes, and each gateway has its own place for it among the others.
    Expression(String),
}

/// A header or a parameter and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compared {
    /// Its name.
    pub name: String,
    /// The one value that it must have, where there is one.
    pub exact: Option<String>,
    /// What is asked of it, so that two that ask the same are equal.
    pub written: String,
}

/// A match of a managed rule that was narrowed by one of the step's.
pub(super) struct Narrowed {
    /// The rule's place.
    pub rule: usize,
    /// The place of the step's match.
    pub wanted: usize,
    /// What the rule's own match asks.
    pub own: Asked,
    /// What is asked now.
    pub asked: Asked,
    /// That in the words of the route.
    pub written: Value,
}

impl Narrowed {
    /// Whether its rule has to stand right before the one that it was made of: it says nothing more. All others may stand
    /// behind all rules, for they say more than their own.
    pub fn must_be_ahead(&self) -> bool {
        self.own == self.asked
    }
}

/// Which of two matches comes first that say as much as each other.
#[derive(Clone, Copy)]
pub(super) enum Ties {
    /// The one whose rule stands first.
    ByPlace,
    /// Nobody knows.
    Untold,
}

/// A rule beside the managed ones would lose requests to the canary.
#[derive(Debug, PartialEq)]
pub(super) struct Robbed {
    /// Its place.
    pub rule: usize,
    /// The place of the step's match.
    pub wanted: usize,
}

/// The narrowed matches that get requests at all. Each gets only such as its rule's own match got before.
///
/// Assumes that a rule for the canary stands where [`Narrowed::must_be_ahead`] says, among others in the order of theirs.
pub(super) fn kept(rules: &[Vec<Asked>], all: Vec<Narrowed>, ties: Ties) -> Result<Vec<Narrowed>, Robbed> {
    let originals = || rules.iter().enumerate().flat_map(|(at, asked)| asked.iter().map(move |asked| (asked, at)));
    let first = |(one, rule): (&Asked, usize), other: (&Asked, usize)| comes_first((one, rule), other, ties);
    // What other rules were asked for before stays theirs.
    let gets = |it: &Narrowed| {
        let is_ahead = |other: &(&Asked, usize)| other.1 != it.rule && first((&it.own, it.rule), *other) == Some(false);
        !originals().filter(is_ahead).any(|(other, _)| other.has(&it.asked))
    };
    let kept: Vec<_> = all.into_iter().filter(gets).collect();
    let place = |it: &Narrowed| if it.must_be_ahead() { it.rule } else { rules.len() + it.rule };
    for it in &kept {
        let Narrowed { rule, wanted, own, asked, .. } = it;
        let others = || originals().filter(|(_, at)| at != rule);
        let guards = |both: &Asked| {
            let added = kept.iter().filter(|other| other.rule != *rule).map(|other| (&other.asked, place(other)));
            others().chain(added).any(|other| other.0.has(both) && first((asked, place(it)), other) == Some(false))
        };
        let loses = |other: &(&Asked, usize)| {
            // Where paths alone decide, and none was narrowed, nothing changes.
            let is_decided = own.path == asked.path && own.path != other.0.path && own.order(other.0).is_none();
            own != asked
                && !is_decided
                && other.0.meets(asked)
                && first((own, *rule), *other) != Some(true)
                && first((asked, place(it)), *other) != Some(false)
                && !other.0.and(asked).is_some_and(|both| guards(&both))
        };
        if let Some((_, rule)) = others().find(loses) {
            return Err(Robbed { rule, wanted: *wanted });
        }
    }
    Ok(kept)
}

/// The first of so many matches of a step of which nothing was kept.
pub(super) fn unkept(kept: &[Narrowed], wanted: usize) -> Option<usize> {
    (0..wanted).find(|at| !kept.iter().any(|it| it.wanted == *at))
}

/// Whether the first of two matches, each with its rule's place, is asked before the second; none where nobody can tell.
fn comes_first(one: (&Asked, usize), other: (&Asked, usize), ties: Ties) -> Option<bool> {
    match (one.0.order(other.0)?, ties) {
        (Ordering::Greater, _) => Some(true),
        (Ordering::Less, _) => Some(false),
        (Ordering::Equal, Ties::ByPlace) => Some(one.1 < other.1),
        (Ordering::Equal, Ties::Untold) => None,
    }
}

impl Path {
    /// Whether every request at the other is at this.
    pub fn has(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(prefix), Self::Prefix(path) | Self::Exact(path)) => {
                let rest = path.strip_prefix(prefix.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (Self::Prefix(prefix), Self::Start(path)) => {
                path.strip_prefix(prefix.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
            }
            (Self::Start(start), Self::Start(path) | Self::Exact(path) | Self::Prefix(path)) => path.starts_with(start),
            (one, other) => one == other,
        }
    }

    /// What it counts among others.
    fn rank(&self) -> Option<(bool, usize)> {
        match self {
            Self::Exact(path) => Some((true, path.len())),
            Self::Prefix(path) | Self::Start(path) => Some((false, path.len())),
            Self::Expression(_) => None,
        }
    }

    /// The path of requests that are at both.
    fn and(&self, other: &Self) -> Option<Self> {
        let narrower = if self.has(other) { Some(other) } else { Some(self).filter(|path| other.has(path)) };
        narrower.cloned()
    }

    fn meets(&self, other: &Self) -> bool {
        self.rank().is_none() || other.rank().is_none() || self.and(other).is_some()
    }
}

impl Asked {
    /// Which says more; none where nobody can tell.
    fn order(&self, other: &Self) -> Option<Ordering> {
        let paths = if self.path == other.path { Ordering::Equal } else { self.path.rank()?.cmp(&other.path.rank()?) };
        let rest = |it: &Self| (it.method.is_some(), it.headers.len(), it.query.len());
        Some(paths.then(rest(self).cmp(&rest(other))))
    }

    /// Whether it takes every request that the other takes.
    fn has(&self, other: &Self) -> bool {
        let all = |ours: &[Compared], theirs: &[Compared]| ours.iter().all(|ours| theirs.contains(ours));
        self.path.has(&other.path)
            && (self.method.is_none() || self.method == other.method)
            && all(&self.headers, &other.headers)
            && all(&self.query, &other.query)
    }

    /// Whether there may be a request that both take.
    fn meets(&self, other: &Self) -> bool {
        let methods = self.method.is_none() || other.method.is_none() || self.method == other.method;
        let meet = |ours: &[Compared], theirs: &[Compared]| {
            let differ = |one: &Compared, other: &Compared| {
                one.name == other.name && one.exact.is_some() && other.exact.is_some() && one.exact != other.exact
            };
            !ours.iter().any(|one| theirs.iter().any(|other| differ(one, other)))
        };
        methods
            && self.path.meets(&other.path)
            && meet(&self.headers, &other.headers)
            && meet(&self.query, &other.query)
    }

    /// What requests have that both take, if the two meet.
    fn and(&self, other: &Self) -> Option<Self> {
        let all = |ours: &[Compared], theirs: &[Compared]| {
            let more = theirs.iter().filter(|it| !ours.contains(it));
            ours.iter().chain(more).cloned().collect()
        };
        Some(Self {
            path: self.path.and(&other.path)?,
            method: self.method.clone().or_else(|| other.method.clone()),
            headers: all(&self.headers, &other.headers),
            query: all(&self.query, &other.query),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A request, as matches see it.
    #[derive(Debug)]
    struct Request {
        path: &'static str,
        method: &'static str,
        headers: [u8; 2],
        query: u8,
    }

    const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/c"];
    const METHODS: [&str; 2] = ["GET", "POST"];

    fn takes(asked: &Asked, request: &Request) -> bool {
        let at = match &asked.path {
            Path::Exact(path) => path == request.path,
            prefix => prefix.has(&Path::Exact(request.path.to_owned())),
        };
        let has = |it: &Compared, value: u8| it.exact.as_deref() == Some(&*value.to_string());
        let header = |it: &Compared| has(it, request.headers[usize::from(it.name == "b")]);
        at && asked.method.as_ref().is_none_or(|method| method == request.method)
            && asked.headers.iter().all(header)
            && asked.query.iter().all(|it| has(it, request.query))
    }

    /// The rule that a gateway gives a request to, of rules in their order.
    fn asked_first(rules: &[Vec<Asked>], request: &Request) -> Option<usize> {
        let mut best: Option<(usize, &Asked)> = None;
        for (at, asked) in rules.iter().enumerate().flat_map(|(at, all)| all.iter().map(move |it| (at, it))) {
            let better = best.is_none_or(|(_, best)| asked.order(best) == Some(Ordering::Greater));
            if better && takes(asked, request) {
                best = Some((at, asked));
            }
        }
        best.map(|(at, _)| at)
    }

    fn compared(name: &str, value: u8) -> Compared {
        Compared { name: name.to_owned(), exact: Some(value.to_string()), written: format!("Exact {value}") }
    }

    fn an_asked() -> impl Strategy<Value = Asked> {
        let path = (any::<bool>(), 0..PATHS.len()).prop_map(|(exact, at)| {
            let path = PATHS[at].to_owned();
            if exact { Path::Exact(path) } else { Path::Prefix(path) }
        });
        let value = || prop::option::weighted(0.3, 0..2_u8);
        (path, prop::option::weighted(0.3, 0..METHODS.len()), value(), value(), value()).prop_map(
            |(path, method, a, b, query)| {
                let headers = [("a", a), ("b", b)].into_iter().filter_map(|(name, value)| Some(compared(name, value?)));
                Asked {
                    path,
                    method: method.map(|at| METHODS[at].to_owned()),
                    headers: headers.collect(),
                    query: query.into_iter().map(|value| compared("q", value)).collect(),
                }
            },
        )
    }

    fn requests() -> impl Iterator<Item = Request> {
        let values = (0..3_u8).flat_map(|a| (0..3).flat_map(move |b| (0..3).map(move |query| ([a, b], query))));
        let all = values.flat_map(|(headers, query)| {
            let at = PATHS.iter().chain(&["/a/b/c", "/ab", "/d"]);
            at.flat_map(move |path| METHODS.map(|method| Request { path, method, headers, query }))
        });
        all.collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn what_gets_no_requests_guards_nobodys() {
        let asked = |path: Path, method: Option<&str>, query: Option<u8>| Asked {
            path,
            method: method.map(str::to_owned),
            headers: Vec::new(),
            query: query.into_iter().map(|value| compared("q", value)).collect(),
        };
        let prefix = |path: &str| Path::Prefix(path.to_owned());
        let rules = [
            vec![asked(prefix("/c"), Some("GET"), None)],
            vec![asked(prefix("/"), None, Some(0))],
            vec![asked(prefix("/c"), None, Some(0))],
        ];
        let narrowed = (1..3).map(|rule| Narrowed {
            rule,
            wanted: 0,
            own: rules[rule][0].clone(),
            asked: asked(Path::Exact("/c".to_owned()), None, Some(0)),
            written: Value::Null,
        });
        // The one of the second rule would have stood before the one of the third, and has no requests.
        assert_eq!(kept(&rules, narrowed.collect(), Ties::ByPlace).err(), Some(Robbed { rule: 0, wanted: 0 }));
    }

    #[test]
    fn of_two_matches_that_become_the_same_the_one_that_gets_requests_is_kept() {
        let asked = |path: &str, method: Option<&str>| Asked {
            path: Path::Prefix(path.to_owned()),
            method: method.map(str::to_owned),
            headers: Vec::new(),
            query: Vec::new(),
        };
        let rules = [vec![asked("/", Some("GET"))], vec![asked("/", None), asked("/c", None)]];
        let narrowed = rules[1].iter().map(|own| Narrowed {
            rule: 1,
            wanted: 0,
            own: own.clone(),
            asked: asked("/c", Some("GET")),
            written: Value::Null,
        });
        // Requests to GET / were the other rule's before, and those to GET /c were not.
        let kept = kept(&rules, narrowed.collect(), Ties::ByPlace).unwrap();
        assert_eq!(kept.iter().map(|it| &it.own).collect::<Vec<_>>(), [&rules[1][1]]);
    }

    proptest! {
        #[test]
        fn the_canary_gets_requests_of_its_own_rule_alone_and_all_of_those_that_match(
            rules in prop::collection::vec((any::<bool>(), prop::collection::vec(an_asked(), 1..3)), 1..4),
            wanted in an_asked(),
            by_letters in any::<bool>(),
        ) {
            let by_letters = |mut asked: Asked| {
                if let (true, Path::Prefix(path)) = (by_letters, &asked.path) {
                    asked.path = Path::Start(path.clone());
                }
                asked
            };
            let wanted = by_letters(wanted);
            let rules = rules.into_iter().map(|(managed, all)| (managed, all.into_iter().map(by_letters).collect()));
            let (managed, rules): (Vec<_>, Vec<Vec<_>>) = rules.unzip();
            let narrow = |rule: usize, own: &Asked| own.and(&wanted).filter(|_| own.meets(&wanted)).map(|asked| Narrowed {
                rule, wanted: 0, own: own.clone(), asked, written: Value::Null,
            });
            let ours = rules.iter().enumerate().filter(|(at, _)| managed[*at]);
            let narrowed = ours.flat_map(|(at, all)| all.iter().filter_map(move |own| narrow(at, own))).collect();
            if let Ok(kept) = kept(&rules, narrowed, Ties::ByPlace) {
                let of = |rule: usize, ahead: bool| {
                    let its = kept.iter().filter(|it| it.rule == rule && it.must_be_ahead() == ahead);
                    (rule, true, its.map(|it| it.asked.clone()).collect())
                };
                let all = rules.iter().enumerate().flat_map(|(at, own)| [of(at, true), (at, false, own.clone())]);
                let after: Vec<(_, _, Vec<_>)> = all.chain((0..rules.len()).map(|at| of(at, false))).collect();
                let matches: Vec<_> = after.iter().map(|(_, _, matches)| matches.clone()).collect();
                for request in requests() {
                    let before = asked_first(&rules, &request);
                    let after = asked_first(&matches, &request).map(|at| (after[at].0, after[at].1));
                    let to_canary = before.is_some_and(|at| managed[at]) && takes(&wanted, &request);
                    prop_assert_eq!(after, before.map(|at| (at, to_canary)), "{:?}", request);
                }
            }
        }
    }
}
