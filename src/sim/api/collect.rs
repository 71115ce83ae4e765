//! Those who clean up: the garbage collector, which knows owners by uid, and the end of namespaces.
use super::{
    COLLECTOR, Method, NAMESPACES, Options, PatchType,
    call::Call,
    delete::{FOREGROUND, ORPHAN},
    store::{Meta as _, Place, State},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// What the owners of an object are to it.
#[derive(Default)]
struct Owners {
    solid: usize,
    dangling: Vec<String>,
    waiting: Vec<String>,
}

impl State {
    /// One pass over everything, in order of kinds, namespaces and names.
    pub(super) fn collect(&mut self) -> usize {
        if self.collected == Some(self.log.len()) {
            return 0;
        }
        let before = self.log.len();
        let mut dependents: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        let mut places = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            for object in table.all(None) {
                let place = (at, object.namespace().to_owned(), object.name().to_owned());
                for owner in object.owners() {
                    dependents.entry(owner.text("uid").to_owned()).or_default().push(place.clone());
                }
                if !object.owners().is_empty() || object.is_ending() {
                    places.push(place);
                }
            }
        }
        for place in places {
            self.visit(&place, &dependents);
        }
        self.end_namespaces();
        let changes = self.log.len() - before;
        self.collected = (changes == 0).then_some(before);
        changes
    }

    fn at(&self, (table, namespace, name): &Place) -> Option<Arc<Value>> {
        self.get(*table, namespace, name).cloned()
    }

    fn of<'a>(&self, dependents: &'a BTreeMap<String, Vec<Place>>, uid: &str) -> Vec<(&'a Place, Arc<Value>)> {
        let places = dependents.get(uid).into_iter().flatten();
        let found = places.filter_map(|place| Some((place, self.at(place)?)));
        // What was let go in this pass is no dependent any more.
        found.filter(|(_, object)| object.owners().iter().any(|owner| owner.text("uid") == uid)).collect()
    }

    fn visit(&mut self, place: &Place, dependents: &BTreeMap<String, Vec<Place>>) {
        let Some(object) = self.at(place) else { return };
        if object.is_ending() {
            let finalizers = object.finalizers();
            if finalizers.contains(&ORPHAN) {
                for (place, dependent) in self.of(dependents, object.uid()) {
                    self.let_go(place, &dependent, &[object.uid().to_owned()]);
                }
                self.without_finalizer(place, ORPHAN);
            } else if finalizers.contains(&FOREGROUND) {
                let blocks = |dependent: &Value| {
                    let owners = dependent.owners().iter();
                    owners
                        .filter(|owner| owner.text("uid") == object.uid())
                        .any(|owner| owner["blockOwnerDeletion"] == true)
                };
                let all = self.of(dependents, object.uid());
                if all.iter().any(|(_, dependent)| blocks(dependent)) {
                    for (place, _) in all {
                        self.attempt(place, dependents);
                    }
                } else {
                    self.without_finalizer(place, FOREGROUND);
                }
            }
            return;
        }
        self.attempt(place, dependents);
    }

    /// Deletes an object that nobody owns any more, or lets go of the owners that are gone.
    fn attempt(&mut self, place: &Place, dependents: &BTreeMap<String, Vec<Place>>) {
        let Some(object) = self.at(place).filter(|object| !object.is_ending()) else { return };
        let mut owners = Owners::default();
        for owner in object.owners() {
            let uid = owner.text("uid").to_owned();
            match self.living.get(&uid).and_then(|place| self.at(place)) {
                None => owners.dangling.push(uid),
                Some(owner) if owner.is_ending() && owner.finalizers().contains(&FOREGROUND) => {
                    owners.waiting.push(uid);
                }
                Some(_) => owners.solid += 1,
            }
        }
        if owners.solid > 0 {
            let gone: Vec<_> = owners.dangling.into_iter().chain(owners.waiting).collect();
            if !gone.is_empty() {
                self.let_go(place, &object, &gone);
            }
            return;
        }
        if owners.dangling.is_empty() && owners.waiting.is_empty() {
            return;
        }
        let has_dependents = !self.of(dependents, object.uid()).is_empty();
        let finalizers = object.finalizers();
        let propagation = if !owners.waiting.is_empty() && has_dependents || finalizers.contains(&FOREGROUND) {
            "Foreground"
        } else if finalizers.contains(&ORPHAN) {
            "Orphan"
        } else {
            "Background"
        };
        let options = Options {
            propagation: Some(propagation.to_owned()),
            uid: Some(object.uid().to_owned()),
            ..Options::default()
        };
        self.send(COLLECTOR, Method::Delete, place, options, Value::Null);
    }

    fn let_go(&mut self, place: &Place, object: &Value, gone: &[String]) {
        let kept = object.owners().iter().filter(|owner| !gone.iter().any(|gone| gone == owner.text("uid")));
        let kept: Vec<_> = kept.cloned().collect();
        let owners = if kept.is_empty() { Value::Null } else { json!(kept) };
        let change = json!({"metadata": {"uid": object.uid(), "ownerReferences": owners}});
        self.send(COLLECTOR, Method::Patch(PatchType::Merge), place, Options::default(), change);
    }

    fn without_finalizer(&mut self, place: &Place, finalizer: &str) {
        let Some(object) = self.at(place) else { return };
        let kept: Vec<_> = object.finalizers().into_iter().filter(|one| *one != finalizer).collect();
        let finalizers = if kept.is_empty() { Value::Null } else { json!(kept) };
        let change = json!({"metadata": {"resourceVersion": object.version(), "finalizers": finalizers}});
        self.send(COLLECTOR, Method::Patch(PatchType::Merge), place, Options::default(), change);
    }

    fn send(&mut self, user: &str, method: Method, place: &Place, options: Options, body: Value) {
        let kind = self.tables[place.0].kind.clone();
        let call = Call::new(method, &kind.api_version(), &kind.plural, Some(&place.1), Some(&place.2));
        // Who cleans up comes back; what is refused now is tried again at the next pass.
        let _ = self.answer(user, &Call { options, body, ..call }, None);
    }

    /// Empties namespaces that end, pods first, and ends those that are empty.
    fn end_namespaces(&mut self) {
        let Some(namespaces) = self.table_of("namespaces") else { return };
        let ending: Vec<_> =
            self.tables[namespaces].all(None).filter(|namespace| namespace.is_ending()).cloned().collect();
        for namespace in ending {
            let name = namespace.name();
            let mut inside: Vec<(Place, bool)> = Vec::new();
            for (at, table) in self.tables.iter().enumerate() {
                let objects = table.all(Some(name)).filter(|_| table.kind.namespaced);
                inside.extend(
                    objects.map(|object| ((at, name.to_owned(), object.name().to_owned()), object.is_ending())),
                );
            }
            if inside.is_empty() {
                if namespace.finalizers().is_empty() {
                    self.commit(NAMESPACES, None, namespaces, Some(namespace), None);
                }
                continue;
            }
            let is_pod = |place: &Place, state: &Self| state.tables[place.0].kind.is("", "pods");
            let has_pods = inside.iter().any(|(place, _)| is_pod(place, self));
            for (place, is_ending) in inside {
                if !is_ending && is_pod(&place, self) == has_pods {
                    self.send(NAMESPACES, Method::Delete, &place, Options::default(), Value::Null);
                }
            }
        }
    }
}
