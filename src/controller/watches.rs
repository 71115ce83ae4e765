//! Watches of several namespaces as one.
//!
//! A list that begins anew replaces everything that the runtime's store holds, so a store that several watches fill would
//! keep what the last of them has listed. Here each watch says for itself what its new list has changed, and the store
//! never hears of lists: it begins empty, and one namespace that cannot be read keeps nothing from the others.
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use kube::{
    ResourceExt,
    runtime::watcher::{Event, Result},
};
use std::collections::{HashMap, HashSet};

/// All that these watches tell.
pub fn together<K>(
    watches: impl IntoIterator<Item = BoxStream<'static, Result<Event<K>>>>,
) -> BoxStream<'static, Result<Event<K>>>
where
    K: ResourceExt + Clone + Send + 'static,
{
    let empty = stream::iter([Ok(Event::Init), Ok(Event::InitDone)]);
    empty.chain(stream::select_all(watches.into_iter().map(|watch| changes(watch).boxed()))).boxed()
}

/// What a watch tells, without lists.
fn changes<K: ResourceExt + Clone>(
    watch: impl Stream<Item = Result<Event<K>>>,
) -> impl Stream<Item = Result<Event<K>>> {
    let mut known = Known { objects: HashMap::new(), listed: HashSet::new() };
    watch.flat_map(move |told| {
        stream::iter(match told {
            Ok(event) => known.changed_by(event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    })
}

type Place = (Option<String>, String);

/// What a watch has told of.
struct Known<K> {
    objects: HashMap<Place, K>,
    /// What the list has that is under way.
    listed: HashSet<Place>,
}

impl<K: ResourceExt + Clone> Known<K> {
    fn changed_by(&mut self, event: Event<K>) -> Vec<Event<K>> {
        let place = |object: &K| (object.namespace(), object.name_any());
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::Apply(object) | Event::InitApply(object) => {
                self.listed.insert(place(&object));
                self.objects.insert(place(&object), object.clone());
                vec![Event::Apply(object)]
            }
            Event::Delete(object) => {
                self.objects.remove(&place(&object));
                vec![Event::Delete(object)]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = self.objects.extract_if(|place, _| !listed.contains(place));
                gone.map(|(_, object)| Event::Delete(object)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::{WatchStreamExt, reflector};
    use std::collections::BTreeSet;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        (object.metadata.namespace, object.metadata.name) = (Some(namespace.to_owned()), Some(name.to_owned()));
        object
    }

    /// What a store holds after these events of two watches, told by turns, and whose changes were seen.
    fn held(shop: Vec<Event<ConfigMap>>, bank: Vec<Event<ConfigMap>>) -> (BTreeSet<String>, Vec<String>) {
        let (reader, writer) = reflector::store();
        let watches = [shop, bank].map(|events| stream::iter(events.into_iter().map(Ok)).boxed());
        let seen = together(watches).reflect(writer).touched_objects();
        let seen = seen.map(|object| object.unwrap().name_any()).collect::<Vec<_>>().now_or_never().unwrap();
        (reader.state().iter().map(|object| object.name_any()).collect(), seen)
    }

    fn listed(namespace: &str, names: &[&str]) -> Vec<Event<ConfigMap>> {
        let each = names.iter().map(|name| Event::InitApply(object(namespace, name)));
        [Event::Init].into_iter().chain(each).chain([Event::InitDone]).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn no_list_replaces_what_another_watch_has_listed() {
        let (held, seen) = held(listed("shop", &["a", "b"]), listed("bank", &["c"]));
        assert_eq!(held, set(&["a", "b", "c"]));
        assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), held);
    }

    #[test]
    fn what_a_new_list_has_no_more_is_gone_and_only_that() {
        let shop = [listed("shop", &["a", "b"]), listed("shop", &["b", "d"])].concat();
        let (held, seen) = held(shop, listed("bank", &["c"]));
        assert_eq!(held, set(&["b", "c", "d"]));
        assert_eq!(seen.iter().filter(|name| *name == "a").count(), 2, "that it is gone is a change");
    }

    #[test]
    fn what_is_told_between_lists_is_kept_and_what_is_deleted_is_not() {
        let later = vec![Event::Apply(object("shop", "e")), Event::Delete(object("shop", "a"))];
        let shop = [listed("shop", &["a"]), later, listed("shop", &["e"])].concat();
        assert_eq!(held(shop, Vec::new()).0, set(&["e"]));
    }
}
