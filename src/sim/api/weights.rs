//! The policy `bellwether-route-weights`: whoever writes a claimed route, its stored split and its claim stay.
use super::store::Meta as _;
use crate::api::{ROLLOUT_LABEL, ROLLOUT_UID_LABEL};
use serde_json::{Value, json};

const STABLE: &str = "bellwether.dev/stable-service";
const CANARY: &str = "bellwether.dev/canary-service";

/// A rule that names both Services, each once.
struct Rule<'a> {
    at: usize,
    name: &'a str,
    matches: &'a Value,
    /// Whether it names no other backend.
    alone: bool,
    /// Where the two stand, which they are, and what they weigh.
    ours: [(usize, &'a str, i64); 2],
}

impl Rule<'_> {
    fn weight_of(&self, service: &str) -> i64 {
        self.ours.iter().find(|(_, name, _)| *name == service).map_or(0, |(_, _, weight)| *weight)
    }
}

fn rules<'a>(namespace: &str, route: &'a Value, pair: [&str; 2]) -> Vec<Rule<'a>> {
    let is_ours = |backend: &Value| {
        let or = |member: &str, default: &str| backend[member].as_str().unwrap_or(default).to_owned();
        pair.contains(&backend.text("name"))
            && or("group", "").is_empty()
            && or("kind", "Service") == "Service"
            && or("namespace", namespace) == namespace
    };
    let all = route["spec"]["rules"].as_array().into_iter().flatten().enumerate();
    all.filter_map(|(at, rule)| {
        let backends = rule["backendRefs"].as_array().map_or(&[][..], Vec::as_slice);
        let ours: Vec<_> = backends
            .iter()
            .enumerate()
            .filter(|(_, backend)| is_ours(backend))
            .map(|(at, backend)| (at, backend.text("name"), backend["weight"].as_i64().unwrap_or(1)))
            .collect();
        let [one, other] = ours.as_slice() else { return None };
        (one.1 != other.1).then_some(Rule {
            at,
            name: rule.text("name"),
            matches: &rule["matches"],
            alone: backends.len() == 2,
            ours: [*one, *other],
        })
    })
    .collect()
}

/// Puts the stored split back into the new route, and the claim.
pub(super) fn put_back(namespace: &str, old: &Value, new: &mut Value) {
    let said = |name: &str| old["metadata"]["annotations"].text(name).to_owned();
    let (stable, canary) = (said(STABLE), said(CANARY));
    let was = rules(namespace, old, [&stable, &canary]);
    let mut changes = Vec::new();
    for rule in rules(namespace, new, [&stable, &canary]) {
        let same = |known: &&Rule<'_>| {
            if rule.name.is_empty() || known.name.is_empty() {
                known.matches == rule.matches
            } else {
                known.name == rule.name
            }
        };
        let Some(known) = was.iter().find(same).or(was.first()) else { continue };
        let whole = known.weight_of(&stable) + known.weight_of(&canary);
        let (sum, to_canary) = if rule.alone {
            (whole, known.weight_of(&canary))
        } else {
            let sum = rule.ours[0].2 + rule.ours[1].2;
            (sum, if whole == 0 { 0 } else { sum * known.weight_of(&canary) / whole })
        };
        for (at, name, weight) in rule.ours {
            let wanted = if name == canary { to_canary } else { sum - to_canary };
            if wanted != weight {
                changes.push((rule.at, at, wanted));
            }
        }
    }
    for (rule, backend, weight) in changes {
        new["spec"]["rules"][rule]["backendRefs"][backend]["weight"] = json!(weight);
    }
    for (map, keys) in [("labels", [ROLLOUT_LABEL, ROLLOUT_UID_LABEL]), ("annotations", [STABLE, CANARY])] {
        for key in keys {
            let stored = &old["metadata"][map][key];
            if !stored.is_null() && new["metadata"][map][key] != *stored {
                new["metadata"][map][key] = stored.clone();
            }
        }
    }
}
