//! Weighted backends that do not stand in one list with their Services: in the text of an annotation, or under names that
//! stand for Services.
//!
//! A kind says what lists there are and where each weight stands; from then on they are lists as all others are.
use super::{
    Acceptance, Apart, Capability, Resource, RouteSeen, Router, Unsteerable, in_text,
    weighted::{self, Shape, all_fit, describe, untold, weights_only},
};
use crate::{
    duration::Duration,
    vocab::{Pair, Weight},
};
use serde_json::{Value, json};

/// A router of such kinds, whose objects tell nothing and take nothing but weights.
pub(super) struct Gathered {
    /// Its name.
    pub name: &'static str,
    /// The kinds that it steers.
    pub resources: &'static [Resource],
    /// What it can do.
    pub capabilities: &'static [Capability],
    /// How long the data plane is given.
    pub settle: Duration,
    /// What its lists are called, how much may stand there, and what to write; see [`shape`].
    pub shape: Shape,
    /// Finds them.
    pub lists: fn(&Value) -> Result<Vec<Listed>, Unsteerable>,
    /// Whether a Service has one number for all lists.
    pub one_number_each: bool,
}

/// A list of backends.
pub(super) struct Listed {
    /// What messages call it.
    pub name: String,
    /// Its entries.
    pub backends: Vec<Entry>,
}

/// An entry of such a list.
pub(super) struct Entry {
    /// The Service of the route's own namespace that it means.
    pub service: Option<String>,
    /// Its port.
    pub port: Value,
    /// What is written as its weight.
    pub weight: Value,
    /// Where that is written.
    pub place: Place,
}

/// Where a weight is written.
#[derive(Clone)]
pub(super) enum Place {
    /// In the object, as a member of what stands at this path.
    Member(String),
    /// In the text of JSON of this annotation, at this path.
    Annotation(String, Vec<String>),
    /// Nowhere: the only backend of its list takes everything.
    Nowhere,
}

/// The shape that all gathered lists have.
pub(super) const fn shape(backends: &'static str, heaviest: u64, lines: fn(&Pair) -> String) -> Shape {
    Shape {
        rules: &["/spec/lists/*"],
        backends,
        beside: &[],
        port: "/port",
        unset: 0,
        heaviest,
        service: |_, backend| backend["service"].as_str().map(str::to_owned),
        unfit: all_fit,
        elsewhere: |_, _| Vec::new(),
        lines,
    }
}

impl Gathered {
    /// The lists as rules of one object, with the place of every weight.
    fn view(&self, route: &Value) -> Result<(Value, Vec<Vec<Place>>), Unsteerable> {
        let (mut lists, mut places) = (Vec::new(), Vec::new());
        for Listed { name, backends } in (self.lists)(route)? {
            // A weight that is not written cannot be changed where it stands, so it is no number either.
            let written = |weight: &Value| if weight.is_null() { json!("not written") } else { weight.clone() };
            let entries: Vec<_> = backends
                .iter()
                .map(|entry| json!({"service": entry.service, "port": entry.port, "weight": written(&entry.weight)}))
                .collect();
            lists.push(json!({"name": name, self.shape.backends: entries}));
            places.push(backends.into_iter().map(|entry| entry.place).collect());
        }
        let metadata = json!({"name": route["metadata"]["name"], "namespace": route["metadata"]["namespace"]});
        Ok((json!({"kind": route["kind"], "metadata": metadata, "spec": {"lists": lists}}), places))
    }

    /// The same, where ours can be weighed without a change of what others share with one of them.
    fn fit(&self, route: &Value, pair: &Pair) -> Result<(Value, Vec<Vec<Place>>), Unsteerable> {
        let (view, places) = self.view(route)?;
        for list in weighted::list(&view["spec"]["lists"]).iter().filter(|_| self.one_number_each) {
            let entries = weighted::list(&list[self.shape.backends]);
            let has = |name: &str| entries.iter().any(|entry| entry["service"] == name);
            if entries.len() > 1 && has(&pair.stable) && !has(&pair.canary) {
                let Pair { stable, canary, .. } = pair;
                let name = list["name"].as_str().unwrap_or_default();
                return Err(Unsteerable::Unready {
                    route: describe(route),
                    why: format!("{name} names {stable} beside others, whose shares would change with its weight"),
                    lines: format!("name {canary} there too, or {stable} alone"),
                });
            }
        }
        Ok((view, places))
    }
}

impl Router for Gathered {
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
        let weight = self.shape.read(&self.fit(route, pair)?.0, pair)?;
        Ok(RouteSeen { weight, apart: Apart::default(), accepted: self.accepted(route) })
    }

    fn accepted(&self, route: &Value) -> Acceptance {
        untold(route)
    }

    fn services(&self, route: &Value) -> Vec<String> {
        self.view(route).map(|(view, _)| self.shape.services(&view)).unwrap_or_default()
    }

    fn port(&self, route: &Value) -> Option<u16> {
        self.shape.port_of(&self.view(route).ok()?.0)
    }

    fn steer(&self, route: &Value, pair: &Pair, canary: Weight) -> Result<Option<Value>, Unsteerable> {
        let (view, places) = self.fit(route, pair)?;
        let edits = self.shape.edits(&view, pair, canary)?;
        if edits.is_empty() {
            return Ok(None);
        }
        let mut steered = route.clone();
        for (path, weight) in edits {
            let mut steps = path.rsplit('/').filter_map(|part| part.parse::<usize>().ok());
            let (entry, list) = (steps.next(), steps.next());
            let place = list.and_then(|list| places.get(list)).zip(entry).and_then(|(list, entry)| list.get(entry));
            if !place.is_some_and(|place| write(&mut steered, place, weight)) {
                return Err(Unsteerable::Malformed { route: describe(route), field: path, expected: "to be written" });
            }
        }
        Ok(Some(steered))
    }

    fn apart(&self, route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
        weights_only(route, pair, apart)
    }
}

/// Writes a weight where it stands; whether that was possible.
fn write(route: &mut Value, place: &Place, weight: u64) -> bool {
    match place {
        Place::Member(path) => {
            let backend = route.pointer_mut(path).and_then(Value::as_object_mut);
            backend.map(|backend| backend.insert("weight".to_owned(), json!(weight))).is_some()
        }
        Place::Annotation(name, path) => {
            let annotation = &mut route["metadata"]["annotations"][name];
            let text = annotation.as_str().and_then(|text| in_text::replaced(text, path, &weight.to_string()));
            text.map(|text| *annotation = json!(text)).is_some()
        }
        Place::Nowhere => false,
    }
}
