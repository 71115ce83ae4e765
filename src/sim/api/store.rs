//! What is stored: objects by kind, namespace and name, and the log of everything that was ever committed.
//!
//! The log is the only history there is: watches follow it, and an older version is read by undoing its end.
use super::{Clock, Kind, Policies, Status, texts::Texts};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::watch;

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// There was none before.
    Create,
    /// It was another one before.
    Update,
    /// There is none any more.
    Delete,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its place in the log.
    pub index: usize,
    /// The version that it made.
    pub rv: u64,
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub user: String,
    /// What it did.
    pub verb: Verb,
    /// By which subresource.
    pub subresource: Option<&'static str>,
    /// To which kind of object.
    pub kind: Arc<Kind>,
    /// In which namespace; empty for kinds of the cluster.
    pub namespace: String,
    /// To which one.
    pub name: String,
    /// The object before.
    pub before: Option<Arc<Value>>,
    /// The object after.
    pub after: Option<Arc<Value>>,
}

/// What every object has.
pub trait Meta {
    /// The text of a member; empty without one.
    fn text(&self, member: &str) -> &str;
    /// The name.
    fn name(&self) -> &str;
    /// The namespace; empty for kinds of the cluster.
    fn namespace(&self) -> &str;
    /// The uid.
    fn uid(&self) -> &str;
    /// The version.
    fn version(&self) -> &str;
    /// Whether its deletion was asked for.
    fn is_ending(&self) -> bool;
    /// What must be done before it is gone.
    fn finalizers(&self) -> Vec<&str>;
    /// Who owns it.
    fn owners(&self) -> &[Value];
}

impl Meta for Value {
    fn text(&self, member: &str) -> &str {
        self[member].as_str().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self["metadata"].text("name")
    }

    fn namespace(&self) -> &str {
        self["metadata"].text("namespace")
    }

    fn uid(&self) -> &str {
        self["metadata"].text("uid")
    }

    fn version(&self) -> &str {
        self["metadata"].text("resourceVersion")
    }

    fn is_ending(&self) -> bool {
        self["metadata"]["deletionTimestamp"].is_string()
    }

    fn finalizers(&self) -> Vec<&str> {
        self["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Self::as_str).collect()
    }

    fn owners(&self) -> &[Value] {
        self["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// Where an object is: its kind's table, its namespace, its name.
pub(super) type Place = (usize, String, String);

/// All objects of a kind.
pub(super) struct Table {
    pub(super) kind: Arc<Kind>,
    pub(super) objects: BTreeMap<String, BTreeMap<String, Arc<Value>>>,
    /// The places in the log of what was done to this kind.
    pub(super) log: Vec<usize>,
    pub(super) news: watch::Sender<usize>,
}

impl Table {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(namespace)?.get(name)
    }

    /// All objects of one namespace, or of all.
    pub(super) fn all<'a>(&'a self, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Value>> + 'a {
        let one = namespace.map(|namespace| self.objects.get(namespace).into_iter());
        let all = namespace.is_none().then(|| self.objects.values());
        one.into_iter().flatten().chain(all.into_iter().flatten()).flat_map(BTreeMap::values)
    }
}

/// Everything that the server knows.
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) tables: Vec<Table>,
    pub(super) paths: BTreeMap<String, BTreeMap<String, usize>>,
    pub(super) log: Vec<Arc<Commit>>,
    pub(super) news: watch::Sender<usize>,
    /// The newest version.
    pub(super) rv: u64,
    /// Watches and pages from before this version are refused.
    pub(super) floor: u64,
    pub(super) living: BTreeMap<String, Place>,
    pub(super) made: Counters,
    pub(super) denied: BTreeSet<(String, String, String)>,
    pub(super) policies: Policies,
    /// Since when a policy is there, by its plural and name.
    pub(super) policies_since: BTreeMap<String, Timestamp>,
    pub(super) extra_defaults: Vec<Value>,
    /// Objects that are stored without the newest defaults: writing one back changes its bytes.
    pub(super) outdated: BTreeSet<Place>,
    /// How long the log was when there was nothing left to collect.
    pub(super) collected: Option<usize>,
    /// The kinds whose fields' managers are noted; none is all of them.
    pub(super) managed: Option<BTreeSet<String>>,
    pub(super) texts: Texts,
    /// How much was asked over wires.
    pub(super) asked: usize,
    /// Rollouts that were read by name, and when.
    pub(super) looks: Vec<(String, Timestamp)>,
    /// The version at which a backup was put back last; watches from before have ended.
    pub(super) restored: u64,
}

/// What is counted instead of drawn.
#[derive(Clone, Default)]
pub(super) struct Counters {
    pub(super) uid: u64,
    pub(super) suffix: u64,
    pub(super) address: u64,
}

impl State {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            tables: Vec::new(),
            paths: BTreeMap::new(),
            log: Vec::new(),
            news: watch::Sender::new(0),
            rv: 1,
            floor: 1,
            living: BTreeMap::new(),
            made: Counters::default(),
            denied: BTreeSet::new(),
            policies: Policies::default(),
            policies_since: BTreeMap::new(),
            extra_defaults: Vec::new(),
            outdated: BTreeSet::new(),
            collected: None,
            managed: None,
            texts: Texts::default(),
            asked: 0,
            looks: Vec::new(),
            restored: 0,
        }
    }

    /// Another server with the same past, and a future of its own.
    pub(super) fn fork(&self, clock: Clock) -> Self {
        let table = |table: &Table| Table {
            kind: table.kind.clone(),
            objects: table.objects.clone(),
            log: table.log.clone(),
            news: watch::Sender::new(*table.news.borrow()),
        };
        Self {
            clock,
            tables: self.tables.iter().map(table).collect(),
            paths: self.paths.clone(),
            log: self.log.clone(),
            news: watch::Sender::new(self.log.len()),
            rv: self.rv,
            floor: self.floor,
            living: self.living.clone(),
            made: self.made.clone(),
            denied: self.denied.clone(),
            policies: self.policies.clone(),
            policies_since: self.policies_since.clone(),
            extra_defaults: self.extra_defaults.clone(),
            outdated: self.outdated.clone(),
            collected: self.collected,
            managed: self.managed.clone(),
            texts: Texts::default(),
            asked: 0,
            looks: Vec::new(),
            restored: self.restored,
        }
    }

    pub(super) fn register(&mut self, kind: Kind) {
        let served = self.paths.entry(kind.api_version()).or_default();
        let same = |table: &Table| table.kind.is(&kind.group, &kind.plural) && table.kind.version == kind.version;
        if let Some(known) = self.tables.iter().position(same) {
            served.insert(kind.plural.clone(), known);
            self.tables[known].kind = Arc::new(kind);
            return;
        }
        served.insert(kind.plural.clone(), self.tables.len());
        self.tables.push(Table {
            kind: Arc::new(kind),
            objects: BTreeMap::new(),
            log: Vec::new(),
            news: watch::Sender::new(0),
        });
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The table of a path.
    pub(super) fn table_at(&self, api_version: &str, plural: &str) -> Result<usize, Status> {
        let group = self.paths.get(api_version).ok_or_else(Status::no_page)?;
        group.get(plural).copied().ok_or_else(Status::not_served)
    }

    /// The table of a plural, as `pods` or `events.events.k8s.io`; of several, the one that was registered first.
    pub(super) fn table_of(&self, plural: &str) -> Option<usize> {
        self.tables.iter().position(|table| {
            table.kind.plural == plural
                || plural.strip_prefix(table.kind.plural.as_str()).and_then(|rest| rest.strip_prefix('.'))
                    == Some(table.kind.group.as_str())
        })
    }

    pub(super) fn get(&self, table: usize, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.tables[table].get(namespace, name)
    }

    /// The commits to a kind after a version.
    pub(super) fn commits_after(&self, table: usize, rv: u64) -> impl DoubleEndedIterator<Item = &Arc<Commit>> {
        let log = &self.tables[table].log;
        let first = log.partition_point(|at| self.log[*at].rv <= rv);
        log[first..].iter().map(|at| &self.log[*at])
    }

    /// An object as it was at a version.
    pub(super) fn get_at(&self, table: usize, namespace: &str, name: &str, rv: u64) -> Option<Arc<Value>> {
        let later = self
            .commits_after(table, rv)
            .find(|commit| commit.name == name && commit.namespace == namespace)
            .map(|commit| commit.before.clone());
        later.unwrap_or_else(|| self.get(table, namespace, name).cloned())
    }

    /// All objects of a kind as they were at a version.
    pub(super) fn list_at(&self, table: usize, namespace: Option<&str>, rv: u64) -> Vec<Arc<Value>> {
        let mut later = self.commits_after(table, rv).rev().peekable();
        if later.peek().is_none() {
            return self.tables[table].all(namespace).cloned().collect();
        }
        let now = self.tables[table].all(namespace);
        let mut then: BTreeMap<_, _> =
            now.map(|object| ((object.namespace(), object.name()), object.clone())).collect();
        for commit in later.filter(|commit| namespace.is_none_or(|namespace| namespace == commit.namespace)) {
            let key = (commit.namespace.as_str(), commit.name.as_str());
            match &commit.before {
                Some(before) => then.insert(key, before.clone()),
                None => then.remove(&key),
            };
        }
        then.into_values().collect()
    }

    /// The newest version of this moment.
    pub(super) fn version_at(&self, moment: Timestamp) -> u64 {
        let later = self.log.partition_point(|commit| commit.at <= moment);
        if later == self.log.len() { self.rv } else { self.log[later].rv - 1 }
    }

    pub(super) fn new_uid(&mut self) -> String {
        self.made.uid += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.made.uid)
    }

    /// Five characters, as a generated name ends; the alphabet of the real one, counted through.
    pub(super) fn new_suffix(&mut self) -> String {
        const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        self.made.suffix += 1;
        // Neighbours should not look alike, and none may come twice: a multiplier that has no factor in common with 27^5.
        let mut rest = self.made.suffix.wrapping_mul(7_368_787) % 14_348_907;
        let mut suffix = String::new();
        for _ in 0..5 {
            let at = usize::try_from(rest % 27).unwrap_or(0);
            suffix.push(char::from(ALPHABET[at]));
            rest /= 27;
        }
        suffix
    }

    /// Writes one change down, and tells those who wait.
    pub(super) fn commit(
        &mut self,
        user: &str,
        subresource: Option<&'static str>,
        table: usize,
        before: Option<Arc<Value>>,
        after: Option<Value>,
    ) -> Option<Arc<Value>> {
        let version = self.rv + 1;
        let after = after.map(|mut after| {
            after["metadata"]["resourceVersion"] = json!(version.to_string());
            Arc::new(after)
        });
        self.put(user, subresource, table, before, after)
    }

    /// The same with an object that keeps the version it has.
    pub(super) fn put(
        &mut self,
        user: &str,
        subresource: Option<&'static str>,
        table: usize,
        before: Option<Arc<Value>>,
        after: Option<Arc<Value>>,
    ) -> Option<Arc<Value>> {
        self.rv += 1;
        let object = after.as_ref().or(before.as_ref())?;
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        let place = (table, namespace.clone(), name.clone());
        self.outdated.remove(&place);
        let rows = self.tables[table].objects.entry(namespace.clone()).or_default();
        let verb = match (&before, &after) {
            (None, Some(after)) => {
                self.living.insert(after.uid().to_owned(), place);
                rows.insert(name.clone(), after.clone());
                Verb::Create
            }
            (Some(before), Some(after)) => {
                // A backup puts an object back in the place of a namesake.
                if before.uid() != after.uid() {
                    self.living.remove(before.uid());
                    self.living.insert(after.uid().to_owned(), place);
                }
                rows.insert(name.clone(), after.clone());
                Verb::Update
            }
            (before, None) => {
                if let Some(before) = before {
                    self.living.remove(before.uid());
                }
                rows.remove(&name);
                Verb::Delete
            }
        };
        let index = self.log.len();
        self.log.push(Arc::new(Commit {
            index,
            rv: self.rv,
            at: (self.clock)(),
            user: user.to_owned(),
            verb,
            subresource,
            kind: self.tables[table].kind.clone(),
            namespace,
            name,
            before,
            after: after.clone(),
        }));
        self.tables[table].log.push(index);
        self.tables[table].news.send_replace(index + 1);
        self.news.send_replace(index + 1);
        after
    }
}
