//! Copies of stable's requests, by a `TraefikService` that is ours to write.
use super::WEIGHTED;
use crate::{
    traffic::{
        Unsteerable,
        split::Apart,
        weighted::{Managed, describe, list},
    },
    vocab::Pair,
};
use serde_json::{Value, json};

/// The object, its weights in place, with a mirror in their stead where one is asked for.
pub(super) fn added(mut route: Value, pair: &Pair, apart: &Apart) -> Result<Value, Unsteerable> {
    let impossible = |why: &str| Err(Unsteerable::CannotMatch { route: describe(&route), why: why.to_owned() });
    if !apart.matches.is_empty() {
        return impossible("a TraefikService sees no requests; name the IngressRoute instead");
    }
    let Some(mirror) = apart.mirror else { return Ok(route) };
    let places = WEIGHTED.managed(&route, pair)?;
    let [place @ Managed { alone: true, .. }] = places.as_slice() else {
        return impossible("other backends stand beside the two Services, and a mirror has one main Service");
    };
    if place.canary.weight != 0 || place.stable.weight == 0 {
        return impossible("a TraefikService is a list of weights or a mirror, so the step must have weight 0");
    }
    let bare = |position: usize| {
        let mut entry = list(&route["spec"]["weighted"]["services"]).get(position).cloned().unwrap_or_default();
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("weight");
        }
        entry
    };
    let (mut mirroring, mut copy) = (bare(place.stable.position), bare(place.canary.position));
    copy["percent"] = json!(mirror.percent);
    mirroring["mirrors"] = json!([copy]);
    if let Some(spec) = route["spec"].as_object_mut() {
        spec.remove("weighted");
        spec.insert("mirroring".to_owned(), mirroring);
    }
    Ok(route)
}
