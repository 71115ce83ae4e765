//! The data plane: a gateway that knows the routes and endpoints of a while ago, and the requests that it sends there.
use super::pods::Image;
use crate::sim::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};

/// By whose doing something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The operator's writes, and what followed from them.
    Machinery,
    /// The release itself, people, nodes, autoscalers.
    Others,
}

/// A process in a pod.
#[derive(Clone, Debug)]
pub struct Process {
    /// What it does.
    pub image: Image,
    /// Its pod's hash.
    pub hash: String,
    /// Requests that it answered, and those of them that failed.
    pub answered: u64,
    pub failed: u64,
    /// Since when it does not answer, and by whose doing.
    pub dead: Option<Cause>,
    /// When its pod ended, in milliseconds of the story, and by whose doing.
    pub died: Option<(u64, Cause)>,
    /// Parts of requests that are yet to make a whole one.
    pub owed: f64,
    /// Where it is scraped into.
    pub series: Option<[usize; 3]>,
}

/// Requests that got no answer.
#[derive(Clone, Debug)]
pub struct Loss {
    /// In milliseconds of the story.
    pub from: u64,
    pub to: u64,
    pub requests: f64,
    pub cause: Cause,
    pub what: String,
}

/// A gateway.
#[derive(Clone)]
pub struct Plane {
    /// Requests per second of each rule.
    pub rate: f64,
    /// Connections are kept, and weights below the whole change nothing.
    pub sticky: bool,
    /// The backends of each rule, as the gateway has them.
    rules: BTreeMap<String, Vec<(String, u64)>>,
    /// The endpoints of each Service, as the gateway has them.
    known: BTreeMap<String, BTreeSet<String>>,
    pub processes: BTreeMap<String, Process>,
    /// Whose pods are gone by others' doing.
    pub bereft: BTreeMap<String, Cause>,
    /// The last endpoints of each Service that were any, as the gateway had them.
    pub reached: BTreeMap<String, BTreeSet<String>>,
    /// Services that somebody else than the operator has deleted.
    pub taken: BTreeSet<String>,
    pub losses: Vec<Loss>,
    at: u64,
    /// Until then whatever is lost is lost by others' doing.
    excused: u64,
    dice: Dice,
}

impl Plane {
    /// A gateway with so many requests a second for each rule.
    pub fn new(rate: f64, dice: Dice) -> Self {
        Self {
            rate,
            sticky: false,
            rules: BTreeMap::new(),
            known: BTreeMap::new(),
            processes: BTreeMap::new(),
            bereft: BTreeMap::new(),
            reached: BTreeMap::new(),
            taken: BTreeSet::new(),
            losses: Vec::new(),
            at: 0,
            excused: 0,
            dice,
        }
    }

    /// From now on these dice are thrown.
    pub fn deal(&mut self, dice: Dice) {
        self.dice = dice;
    }

    /// Until then whatever is lost is lost by others' doing.
    pub fn excuse_until(&mut self, end: u64) {
        self.excused = end;
    }

    /// Whether what is lost now is lost by others' doing.
    pub fn is_excused(&self, at: u64) -> bool {
        at < self.excused
    }

    /// From now on this rule has these backends; none removes it.
    pub fn route(&mut self, rule: &str, backends: Option<Vec<(String, u64)>>) {
        match backends {
            Some(backends) => drop(self.rules.insert(rule.to_owned(), backends)),
            None => drop(self.rules.remove(rule)),
        }
    }

    /// Names of the rules that begin so.
    pub fn rules_of(&self, prefix: &str) -> Vec<String> {
        self.rules.keys().filter(|rule| rule.starts_with(prefix)).cloned().collect()
    }

    /// From now on this Service has these endpoints.
    pub fn endpoints(&mut self, service: &str, pods: BTreeSet<String>) {
        if !pods.is_empty() {
            self.reached.insert(service.to_owned(), pods.clone());
        }
        self.known.insert(service.to_owned(), pods);
    }

    /// The share of a Service's weight in percent, over all rules the most.
    pub fn weight(&self, service: &str) -> u64 {
        let share = |backends: &Vec<(String, u64)>| {
            let all: u64 = backends.iter().map(|(_, weight)| weight).sum();
            let own: u64 = backends.iter().filter(|(name, _)| name == service).map(|(_, weight)| weight).sum();
            if all == 0 { 0 } else { (own * 100).div_ceil(all) }
        };
        self.rules.values().map(share).max().unwrap_or(0)
    }

    /// The Services that get requests, with the endpoints that the gateway knows of each.
    pub fn served(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        let names: BTreeSet<&str> =
            self.rules.values().flatten().filter(|(_, weight)| *weight > 0).map(|(name, _)| name.as_str()).collect();
        names.into_iter().map(|name| (name, self.known.get(name).unwrap_or(&NONE)))
    }

    /// Sends the requests of the time until now, in milliseconds of the story.
    pub fn advance(&mut self, now: u64) {
        let from = self.at;
        let passed = now.saturating_sub(from);
        self.at = self.at.max(now);
        if passed == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a story")]
        let requests = self.rate * passed as f64 / 1_000.0;
        let rules = std::mem::take(&mut self.rules);
        for backends in rules.values() {
            let all: u64 = backends.iter().map(|(_, weight)| weight).sum();
            if all == 0 {
                self.lose(from, now, requests, Cause::Machinery, "no backend has a weight".to_owned());
                continue;
            }
            let most = backends.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
            let kept = |weight: u64| !self.sticky || weight == most;
            let chosen: Vec<_> = backends.iter().filter(|(_, weight)| *weight > 0 && kept(*weight)).collect();
            let all: u64 = chosen.iter().map(|(_, weight)| weight).sum();
            for (service, weight) in chosen {
                #[expect(clippy::cast_precision_loss, reason = "weights are small")]
                let share = requests * *weight as f64 / all as f64;
                self.send(service, share, from, now);
            }
        }
        self.rules = rules;
    }

    fn send(&mut self, service: &str, requests: f64, from: u64, to: u64) {
        let Some(pods) = self.known.get_mut(service).filter(|pods| !pods.is_empty()).map(std::mem::take) else {
            let cause = self.bereft.get(service).copied().unwrap_or(Cause::Machinery);
            self.lose(from, to, requests, cause, format!("Service {service} has weight and no endpoint"));
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "few pods")]
        let each = requests / pods.len() as f64;
        for pod in &pods {
            match self.processes.get(pod).map(|process| process.dead) {
                None => self.lose(from, to, each, Cause::Machinery, format!("{pod} of {service} is gone")),
                Some(Some(cause)) => self.lose(from, to, each, cause, format!("{pod} of {service} does not answer")),
                Some(None) => self.answer(pod, each),
            }
        }
        self.known.insert(service.to_owned(), pods);
    }

    fn answer(&mut self, pod: &str, requests: f64) {
        let Some(process) = self.processes.get_mut(pod) else { return };
        process.owed += requests;
        let whole = process.owed.floor();
        process.owed -= whole;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let whole = whole as u64;
        let permille = match process.image {
            Image::Serves { permille } => permille,
            _ => 5,
        };
        process.answered += whole;
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
        let failed = self.dice.of_many(whole, permille as f64 / 1_000.0);
        process.failed += failed;
    }

    fn lose(&mut self, from: u64, to: u64, requests: f64, cause: Cause, what: String) {
        let cause = if from < self.excused { Cause::Others } else { cause };
        if let Some(last) =
            self.losses.last_mut().filter(|last| last.what == what && last.to == from && last.cause == cause)
        {
            last.to = to;
            last.requests += requests;
            return;
        }
        self.losses.push(Loss { from, to, requests, cause, what });
    }
}
