//! Owners and what they own: the same graphs, the same deletions, and then the same objects are left.
use super::{
    run::{Found, Pair},
    side::{Request, Side},
};
use crate::sim::dice::Dice;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const MAPS: &str = "/api/v1/namespaces/$(ns)/configmaps";
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// One graph, and several deletions in it.
pub fn deletions(seed: u64) -> Found {
    let mut pair = Pair::new(&format!("owners-{seed}"));
    let mut dice = Dice::of(seed, "owners");
    // Who is deleted in the foreground waits for dependents that hold it up. What becomes of others depends on whether the
    // collector looks at them before or after their owner has gone, and on a real one that is a race: they may be deleted in
    // the foreground too or not, and lose an owner that something else keeps or not. So either nobody waits, or all hold up
    // and have no two owners of one family, of which one may wait before the other does.
    let waits = dice.permille(600);
    let mut families: Vec<BTreeSet<usize>> = Vec::new();
    for (at, name) in NAMES.into_iter().enumerate() {
        let mut owners = Vec::new();
        let mut family = BTreeSet::from([at]);
        for (above, owner) in NAMES[..at].iter().enumerate() {
            if dice.permille(350) && (!waits || family.is_disjoint(&families[above])) {
                family.extend(&families[above]);
                owners.push(json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": format!("$(uid:configmaps/{owner})"),
                    "blockOwnerDeletion": waits || dice.permille(500),
                }));
            }
        }
        families.push(family);
        let finalizers = if dice.permille(250) { json!(["example.com/wait"]) } else { json!([]) };
        let object = json!({"metadata": {"name": name, "ownerReferences": owners, "finalizers": finalizers}});
        let made = Request::new("POST", MAPS).with(object).about("configmaps", name);
        if !pair.ask(&made) || !pair.read(&format!("{MAPS}/{name}"), &made.about) {
            return pair.found;
        }
    }
    // Who collects has to have heard of everything: it acts on what it knows.
    pair.real.0.pass(Duration::from_millis(700));
    for _ in 0..5 {
        let name = *dice.pick(&NAMES);
        let path = format!("{MAPS}/{name}");
        let request = if dice.permille(250) {
            Request::patch(path, "application/merge-patch+json", json!({"metadata": {"finalizers": null}}))
        } else {
            let first = if waits { "Foreground" } else { "Background" };
            let how = *dice.pick(&[first, "Background", "Orphan", first]);
            Request::new("DELETE", path).with(json!({"propagationPolicy": how}))
        };
        let (memory, real) = (code_of(&mut pair.memory, &request), code_of(&mut pair.real.0, &request));
        if !pair.note(&request, &memory, &real) || !settle(&mut pair) {
            return pair.found;
        }
    }
    // And it stays so.
    pair.real.0.pass(Duration::from_secs(1));
    settle(&mut pair);
    pair.found
}

fn code_of(side: &mut Side, request: &Request) -> Value {
    let answer = side.ask(request);
    json!({"code": answer.code, "reason": answer.body()["reason"]})
}

/// Waits until the real side is where the one in memory is; what differs after a while is noted.
fn settle(pair: &mut Pair) -> bool {
    pair.memory.collect();
    let wanted = left(&pair.memory);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let real = left(&pair.real.0);
        if real == wanted || Instant::now() > end {
            return pair.agree("what is left", &wanted, &real);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All maps with their owners and finalizers.
fn left(side: &Side) -> Value {
    let all = side.list("api/v1", "configmaps").into_iter();
    let told = all.filter(|map| map["metadata"]["name"] != "kube-root-ca.crt").map(|map| {
        let metadata = &map["metadata"];
        let owners = metadata["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|owner| json!([owner["name"], owner["blockOwnerDeletion"]]));
        json!({
            "name": metadata["name"], "owners": owners.collect::<Vec<_>>(), "finalizers": metadata["finalizers"],
            "ending": metadata["deletionTimestamp"].is_string(),
        })
    });
    told.collect()
}
