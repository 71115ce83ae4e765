//! Lists of weighted backends, which most kinds of route have in one place or another.
//!
//! A kind says by its [`Shape`] where such lists stand and how a backend names its Service; what a weight means, which rules
//! are ours, and what is refused is the same for all of them.
use super::{Acceptance, Apart, Capability, Resource, RouteSeen, Router, Share, Unsteerable, Weights};
use crate::{
    duration::Duration,
    vocab::{Pair, Weight},
};
use serde_json::Value;

/// A router of kinds that list weighted backends.
pub(super) struct Weighted {
    /// Its name.
    pub name: &'static str,
    /// The kinds that it steers, all of one shape.
    pub resources: &'static [Resource],
    /// What it can do.
    pub capabilities: &'static [Capability],
    /// How long the data plane is given.
    pub settle: Duration,
    /// Where the weights stand.
    pub shape: Shape,
    /// See [`Router::accepted`].
    pub accepted: fn(&Value) -> Acceptance,
    /// See [`Router::apart`].
    pub apart: fn(Value, &Pair, &Apart) -> Result<Value, Unsteerable>,
}

impl Router for Weighted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn resources(&self) -> &'static [Resource] {
        self.resources
    }

    fn capabilities(&self) -> &'static [Capability] {
        self.capabilities
    }

    fn settle(&self) -> Duration {
        self.settle
    }

    fn read(&self, route: &Value, pair: &Pair) -> Result<RouteSeen, Unsteerable> {
        let weight = self.shape.read(route, pair)?;
        Ok(RouteSeen { weight, apart: Apart::default(), accepted: (self.accepted)(route) })
    }

    fn accepted(&self, route: &Value) -> Acceptance {
        (self.accepted)(route)
    }

    fn services(&self, route: &Value) -> Vec<String> {
        self.shape.services(route)
    }

    fn port(&self, route: &Value) -> Option<u16> {
        self.shape.port_of(route)
    }

    fn steer(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<Option<Value>, Unsteerable> {
        self.shape.steer(route, pair, canary)
    }

    fn apart(&self, route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
        (self.apart)(route, pair, apart)
    }
}

/// Of kinds whose objects do not tell whether a data plane has taken them.
pub(super) fn untold(_: &Value) -> Acceptance {
    Acceptance::Untold
}

/// Of kinds whose every backend that names a Service can carry a weight.
pub(super) fn all_fit(_: &Value) -> Option<(&'static str, &'static str)> {
    None
}

/// Of kinds that nothing beside weights is written into.
pub(super) fn weights_only(route: Value, _: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
    if apart.is_empty() {
        return Ok(route);
    }
    let why = "routes of this kind can be asked for weights only".to_owned();
    Err(Unsteerable::CannotMatch { route: describe(&route), why })
}

/// Where objects of a kind have weighted backends, and how they are written there.
pub(super) struct Shape {
    /// Where rules stand: paths from the object's root, in which `*` is every entry of a list.
    pub rules: &'static [&'static str],
    /// The member of a rule that lists its backends.
    pub backends: &'static str,
    /// Other members of a rule that list what shares its requests with those backends.
    pub beside: &'static [&'static str],
    /// The path within a backend to the port of its Service.
    pub port: &'static str,
    /// What a backend without a weight has.
    pub unset: u64,
    /// The most that one backend may weigh.
    pub heaviest: u64,
    /// The name of the Service of the route's own namespace that a backend names, if it names one.
    pub service: fn(&Value, &Value) -> Option<String>,
    /// What of a backend that names one of ours keeps it from carrying a weight, and what should stand there.
    pub unfit: fn(&Value) -> Option<(&'static str, &'static str)>,
    /// What else in a rule sends requests somewhere: what it is, and the Service's name.
    pub elsewhere: fn(&Value, &Value) -> Vec<(String, String)>,
    /// What to write into a rule, in one line of YAML.
    pub lines: fn(&Pair) -> String,
}

/// How many rules a message lists before it stops.
const LISTED: usize = 4;

/// A rule that names both Services, each once.
pub(super) struct Managed {
    /// Its name, or its place.
    pub name: String,
    /// Its path from the object's root.
    pub path: String,
    /// Its place in its list of rules.
    pub position: usize,
    /// Where stable stands among its backends, and what it weighs.
    pub stable: Backend,
    /// Where the canary does.
    pub canary: Backend,
    /// Whether nothing else shares the rule's requests with the two.
    pub alone: bool,
    /// Whether all backends are served alike, because none of them weighs anything.
    pub alike: bool,
}

/// One of our two entries among a rule's backends.
pub(super) struct Backend {
    /// Its place among them.
    pub position: usize,
    /// What it weighs.
    pub weight: u64,
}

impl Shape {
    /// The canary's share in all managed rules.
    pub fn read(&self, route: &Value, pair: &Pair) -> Result<Weights, Unsteerable> {
        let rules = self.managed(route, pair)?;
        Ok(match same_share(&rules) {
            Some(weight) => Weights::At(weight),
            None => Weights::Mixed(rules.iter().map(Managed::share).collect()),
        })
    }

    /// The route with the canary's share written into every managed rule; nothing when exactly these weights stand there.
    pub fn steer(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<Option<Value>, Unsteerable> {
        let edits = self.edits(route, pair, canary)?;
        if edits.is_empty() {
            return Ok(None);
        }
        let mut steered = route.clone();
        for (path, weight) in edits {
            if let Some(backend) = steered.pointer_mut(&path).and_then(Value::as_object_mut) {
                backend.insert("weight".into(), weight.into());
            }
        }
        Ok(Some(steered))
    }

    /// The paths of the backends that have another weight than they should, each with the one that it should have.
    pub fn edits(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<Vec<(String, u64)>, Unsteerable> {
        let mut edits = Vec::new();
        for rule in self.managed(route, pair)? {
            let wanted = self.split(&rule, route, pair, canary)?;
            for (backend, weight) in [(&rule.stable, wanted.0), (&rule.canary, wanted.1)] {
                if backend.weight != weight {
                    edits.push((format!("{}/{}/{}", rule.path, self.backends, backend.position), weight));
                }
            }
        }
        Ok(edits)
    }

    /// The Services of the route's own namespace that its rules name.
    pub fn services(&self, route: &Value) -> Vec<String> {
        let rules = self.rules_of(route);
        rules
            .iter()
            .flat_map(|(_, rule)| list(&rule[self.backends]))
            .filter_map(|it| (self.service)(route, it))
            .collect()
    }

    /// The first port by number that a backend names.
    pub fn port_of(&self, route: &Value) -> Option<u16> {
        let rules = self.rules_of(route);
        let mut backends = rules.iter().flat_map(|(_, rule)| list(&rule[self.backends]));
        backends.find_map(|backend| u16::try_from(backend.pointer(self.port)?.as_u64()?).ok())
    }

    /// All managed rules of the route, at least one; refused when requests could reach the canary past them.
    pub fn managed(&self, route: &Value, pair: &Pair) -> Result<Vec<Managed>, Unsteerable> {
        if !route["spec"].is_object() {
            return Err(Unsteerable::Malformed {
                route: describe(route),
                field: "spec".into(),
                expected: "an object; is this a route?",
            });
        }
        let mut found = Vec::new();
        for (path, rule) in self.rules_of(route) {
            let name = rule_name(rule, &path);
            let past = (self.elsewhere)(route, rule).into_iter().find(|(_, to)| *to == pair.canary);
            if let Some((filter, _)) = past {
                let (route, canary) = (describe(route), pair.canary.clone());
                return Err(Unsteerable::CanaryFiltered { route, rule: name, filter, canary });
            }
            let named = |service| self.named(route, rule, service);
            let (stable, canary) = match (named(&pair.stable).as_slice(), named(&pair.canary).as_slice()) {
                (_, []) => continue,
                ([], _) => {
                    return Err(Unsteerable::CanaryElsewhere {
                        route: describe(route),
                        rule: name,
                        stable: pair.stable.clone(),
                        canary: pair.canary.clone(),
                    });
                }
                ([stable], [canary]) => (*stable, *canary),
                (stable, _) => {
                    let service = if stable.len() > 1 { &pair.stable } else { &pair.canary };
                    let (route, service) = (describe(route), service.clone());
                    return Err(Unsteerable::Duplicate { route, rule: name, service });
                }
            };
            let port = |entry: (usize, &Value)| entry.1.pointer(self.port).and_then(Value::as_u64);
            if let (Some(one), Some(other)) = (port(stable), port(canary))
                && one != other
            {
                let (route, stable, canary) = (describe(route), one.to_string(), other.to_string());
                return Err(Unsteerable::PortsDiffer { route, rule: name, stable, canary });
            }
            found.push(Managed {
                stable: self.backend(route, pair, &name, stable)?,
                canary: self.backend(route, pair, &name, canary)?,
                alone: self.weighed(rule).count() == 2
                    && self.beside.iter().all(|member| list(&rule[member]).is_empty()),
                alike: self.unset == 0 && self.weighed(rule).all(weighs_nothing),
                name,
                position: path.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(0),
                path,
            });
        }
        if found.is_empty() { Err(self.not_prepared(route, pair)) } else { Ok(found) }
    }

    /// The backends that share a rule's requests; Contour's mirrors, which stand among them, get copies.
    fn weighed<'a>(&self, rule: &'a Value) -> impl Iterator<Item = &'a Value> {
        list(&rule[self.backends]).iter().filter(|backend| backend["mirror"] != true)
    }

    /// Every rule with its path.
    pub fn rules_of<'a>(&self, route: &'a Value) -> Vec<(String, &'a Value)> {
        let mut found = Vec::new();
        for place in self.rules {
            let mut here = vec![(String::new(), route)];
            for part in place.split('/').skip(1) {
                here = here.into_iter().flat_map(|(path, value)| below(&path, value, part)).collect();
            }
            found.append(&mut here);
        }
        found
    }

    /// The entries of a rule's backends that name this Service, with their positions.
    fn named<'a>(&self, route: &Value, rule: &'a Value, service: &str) -> Vec<(usize, &'a Value)> {
        let backends = list(&rule[self.backends]).iter().enumerate();
        backends.filter(|(_, backend)| (self.service)(route, backend).as_deref() == Some(service)).collect()
    }

    /// One of our entries, its port and weight checked.
    fn backend(&self, route: &Value, pair: &Pair, rule: &str, entry: (usize, &Value)) -> Result<Backend, Unsteerable> {
        let (position, reference) = entry;
        if let Some((field, expected)) = (self.unfit)(reference) {
            let field = format!("{rule}: {}[{position}].{field}", self.backends);
            return Err(Unsteerable::Malformed { route: describe(route), field, expected });
        }
        let port = reference.pointer(self.port).unwrap_or(&Value::Null);
        // A port by name is the Service's own affair: both have the same ports.
        if port.is_number() && !pair.serves(port) {
            return Err(Unsteerable::WrongPort {
                route: describe(route),
                rule: rule.to_owned(),
                service: (self.service)(route, reference).unwrap_or_default(),
                found: port.to_string(),
                ports: pair.ports(),
            });
        }
        let weight = match &reference["weight"] {
            Value::Null => Some(self.unset),
            written => written.as_u64().filter(|weight| *weight <= self.heaviest),
        };
        let weight = weight.ok_or_else(|| Unsteerable::Malformed {
            route: describe(route),
            field: format!("{rule}: {}[{position}].weight", self.backends),
            expected: "a whole number that this kind allows",
        })?;
        Ok(Backend { position, weight })
    }

    /// The weights of stable and canary that give the canary this share of what the two have together.
    fn split(&self, rule: &Managed, route: &Value, pair: &Pair, canary: Weight) -> Result<(u64, u64), Unsteerable> {
        if rule.alone {
            return Ok((canary.rest().percent().into(), canary.percent().into()));
        }
        let (route, name) = (|| describe(route), || rule.name.clone());
        let (sum, percent) = (rule.stable.weight + rule.canary.weight, u64::from(canary.percent()));
        if sum == 0 {
            return Err(Unsteerable::NoShare { route: route(), rule: name(), stable: pair.stable.clone() });
        }
        if sum > self.heaviest {
            return Err(Unsteerable::TooHeavy { route: route(), rule: name(), sum, max: self.heaviest });
        }
        if !(sum * percent).is_multiple_of(100) {
            let factor = 100 / greatest_common_divisor(sum, 100);
            return Err(Unsteerable::Indivisible {
                route: route(),
                rule: name(),
                sum,
                percent: canary.percent(),
                factor,
            });
        }
        let canary = sum * percent / 100;
        Ok((sum - canary, canary))
    }

    fn not_prepared(&self, route: &Value, pair: &Pair) -> Unsteerable {
        let rules = self.rules_of(route);
        let mut seen: Vec<_> = rules
            .iter()
            .map(|(path, rule)| {
                let names: Vec<_> =
                    list(&rule[self.backends]).iter().filter_map(|it| (self.service)(route, it)).take(LISTED).collect();
                let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
                format!("{} names {names}", rule_name(rule, path))
            })
            .take(LISTED + 1)
            .collect();
        if seen.len() > LISTED {
            seen[LISTED] = "and others".into();
        }
        Unsteerable::NotPrepared {
            route: describe(route),
            seen: if seen.is_empty() { "there is no rule".into() } else { seen.join("; ") },
            lines: (self.lines)(pair),
        }
    }
}

impl Managed {
    fn share(&self) -> Share {
        let (stable, canary) = if self.alike { (1, 1) } else { (self.stable.weight, self.canary.weight) };
        Share { rule: self.name.clone(), stable, canary }
    }
}

/// Why a step's match can be in none of these.
pub(super) fn unmatched(what: &str, at: usize, of: &str) -> String {
    format!("no managed {what} takes requests that match[{at}] of the step describes; compare their {of}")
}

/// Why a step's match may not be written that would come before a rule that comes before the managed one.
pub(super) fn robs(at: usize, rule: &str, cure: &str) -> String {
    format!(
        "match[{at}] of the step would take requests from {rule}, for what says the most about a request is asked first, \
         wherever it stands; {cure}"
    )
}

/// Whether no weight is written for a backend, or 0.
fn weighs_nothing(backend: &Value) -> bool {
    backend["weight"].as_u64().unwrap_or(0) == 0
}

/// What stands below a value: all entries of a list, or one member.
fn below<'a>(path: &str, value: &'a Value, part: &str) -> Vec<(String, &'a Value)> {
    if part == "*" {
        return list(value).iter().enumerate().map(|(at, entry)| (format!("{path}/{at}"), entry)).collect();
    }
    value.get(part).map(|member| (format!("{path}/{part}"), member)).into_iter().collect()
}

/// The share that all rules have, where it is one and the same whole percent.
fn same_share(rules: &[Managed]) -> Option<Weight> {
    let mut shares = rules.iter().map(|rule| rule.share().exactly());
    let first = shares.next()??;
    shares.all(|share| share == Some(first)).then_some(first)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Kind, namespace and name, as messages spell them.
pub(super) fn describe(route: &Value) -> String {
    let kind = route["kind"].as_str().unwrap_or("route");
    let name = route["metadata"]["name"].as_str().unwrap_or("without a name");
    match route["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// A rule's own name, or its place below the spec, as in `rules[0]`.
pub(super) fn rule_name(rule: &Value, path: &str) -> String {
    if let Some(name) = rule["name"].as_str() {
        return format!("rule {name}");
    }
    let mut name = String::new();
    for part in path.split('/').skip(2) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            name.extend(["[", part, "]"]);
        } else {
            name.push_str(if name.is_empty() { "" } else { "." });
            name.push_str(part);
        }
    }
    name
}

/// The entries of a list; none where there is no list.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
