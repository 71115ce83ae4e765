//! Watches, as the runtime of the operator uses them.
use super::*;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{WatchEvent, WatchParams},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use std::{collections::BTreeMap, pin::Pin, sync::Mutex, time::Duration};

/// Events have the fate that is next in line; then they come at once.
#[derive(Default)]
struct Fates(Mutex<Vec<EventFate>>);

impl Hooks for Fates {
    fn before(&self, _: &Call) -> Fate {
        Fate::PASS
    }

    fn after(&self, _: &Call, _: &Result<bytes::Bytes, Status>) -> Duration {
        Duration::ZERO
    }

    fn event(&self, _: &Kind, _: u64) -> EventFate {
        let mut fates = self.0.lock().unwrap();
        if fates.is_empty() { EventFate::After(Duration::ZERO) } else { fates.remove(0) }
    }

    fn read_version(&self, _: &Call) -> Option<u64> {
        None
    }
}

fn maps(server: &Server, fates: Vec<EventFate>) -> Api<ConfigMap> {
    let hooks = Arc::new(Fates(Mutex::new(fates)));
    Api::namespaced(Wire::new(server.clone(), "alice", hooks).client("n"), "n")
}

fn put(server: &Server, name: &str, value: &str) {
    if server.get("configmaps", "n", name).is_none() {
        server.create("bob", "configmaps", "n", config_map(name)).unwrap();
    }
    server.merge("bob", "configmaps", "n", name, json!({"data": {"a": value}})).unwrap();
}

type Events<T> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<T>>> + Send>>;

async fn watch(api: &Api<ConfigMap>, params: WatchParams, version: &str) -> Events<ConfigMap> {
    api.watch(&params, version).await.unwrap().boxed()
}

/// The next event as text; `-` where the stream ends, and `?` where nothing comes for an hour.
async fn next(events: &mut Events<ConfigMap>) -> String {
    let Ok(event) = tokio::time::timeout(Duration::from_hours(1), events.next()).await else {
        return "?".to_owned();
    };
    let shown = |sign: &str, map: &ConfigMap| format!("{sign}{}={}", map.name_any(), map.data.as_ref().unwrap()["a"]);
    match event {
        None => "-".to_owned(),
        Some(Ok(WatchEvent::Added(map))) => shown("+", &map),
        Some(Ok(WatchEvent::Modified(map))) => shown("~", &map),
        Some(Ok(WatchEvent::Deleted(map))) => shown("x", &map),
        Some(Ok(WatchEvent::Bookmark(_))) => "|".to_owned(),
        Some(Ok(WatchEvent::Error(status))) => format!("{}", status.code),
        Some(Err(error)) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_changes_after_a_version() {
    let server = server();
    put(&server, "a", "2");
    let mut events = watch(&maps(&server, vec![]), WatchParams::default(), &server.version().to_string()).await;
    put(&server, "a", "3");
    put(&server, "b", "1");
    server.delete("bob", "configmaps", "n", "a", Options::default()).unwrap();
    assert_eq!(next(&mut events).await, "~a=3");
    assert_eq!(next(&mut events).await, "+b=1");
    let Some(Ok(WatchEvent::Deleted(gone))) = events.next().await else { panic!() };
    assert_eq!(gone.resource_version(), Some(server.version().to_string()), "the version of the deletion");
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_nowhere_begins_with_what_there_is() {
    let server = server();
    put(&server, "a", "1");
    put(&server, "b", "2");
    let mut events = watch(&maps(&server, vec![]), WatchParams::default(), "0").await;
    assert_eq!((next(&mut events).await, next(&mut events).await), ("+a=1".to_owned(), "+b=2".to_owned()));
    put(&server, "a", "9");
    assert_eq!(next(&mut events).await, "~a=9");
}

#[tokio::test(start_paused = true)]
async fn who_stops_matching_is_deleted_and_who_begins_to_is_added() {
    let server = server();
    put(&server, "a", "1");
    let label = |value: &str| {
        let change = json!({"metadata": {"labels": {"x": value}}});
        server.merge("bob", "configmaps", "n", "a", change).unwrap();
    };
    let params = WatchParams::default().labels("x=y");
    let mut events = watch(&maps(&server, vec![]), params, &server.version().to_string()).await;
    label("y");
    put(&server, "a", "2");
    label("z");
    put(&server, "a", "3");
    server.delete("bob", "configmaps", "n", "a", Options::default()).unwrap();
    put(&server, "b", "1");
    assert_eq!(next(&mut events).await, "+a=1");
    assert_eq!(next(&mut events).await, "~a=2");
    assert_eq!(next(&mut events).await, "x=2".replace('x', "xa"));
    assert_eq!(next(&mut events).await, "|", "nothing more of it");
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_says_where_it_stands_and_ends_when_its_time_is_up() {
    let server = server();
    let begun = tokio::time::Instant::now();
    let params = WatchParams::default().timeout(150);
    let mut events = watch(&maps(&server, vec![]), params, &server.version().to_string()).await;
    server.create("bob", "secrets", "n", config_map("s")).unwrap();
    let Some(Ok(WatchEvent::Bookmark(mark))) = events.next().await else { panic!() };
    assert_eq!(mark.metadata.resource_version, server.version().to_string());
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert_eq!(next(&mut events).await, "|");
    assert_eq!((next(&mut events).await, next(&mut events).await), ("|".to_owned(), "-".to_owned()));
    assert_eq!(begun.elapsed().as_secs(), 150);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_version_that_is_forgotten_is_gone() {
    let server = server();
    put(&server, "a", "1");
    let old = server.version().to_string();
    put(&server, "a", "2");
    server.compact();
    let mut events = watch(&maps(&server, vec![]), WatchParams::default(), &old).await;
    assert_eq!((next(&mut events).await, next(&mut events).await), ("410".to_owned(), "-".to_owned()));
    let newest = server.version().to_string();
    let mut events = watch(&maps(&server, vec![]), WatchParams::default(), &newest).await;
    assert_eq!(next(&mut events).await, "|");
}

#[tokio::test(start_paused = true)]
async fn events_are_held_back_and_keep_their_order() {
    let server = server();
    let fates = vec![EventFate::After(Duration::from_secs(5)), EventFate::After(Duration::ZERO)];
    let mut events = watch(&maps(&server, fates), WatchParams::default(), &server.version().to_string()).await;
    let begun = tokio::time::Instant::now();
    server.create("bob", "configmaps", "n", config_map("a")).unwrap();
    server.create("bob", "configmaps", "n", config_map("b")).unwrap();
    assert_eq!((next(&mut events).await, next(&mut events).await), ("+a=1".to_owned(), "+b=1".to_owned()));
    assert_eq!(begun.elapsed().as_secs(), 5);
}

/// What a watcher has come to know, whatever happened on the way.
async fn known(server: &Server, fates: Vec<EventFate>, config: watcher::Config) -> BTreeMap<String, String> {
    let (reader, writer) = kube::runtime::reflector::store();
    let api = maps(server, fates);
    let stream = watcher(api, config).default_backoff().reflect(writer);
    let watching = tokio::spawn(stream.for_each(|_| std::future::ready(())));
    put(server, "a", "1");
    reader.wait_until_ready().await.unwrap();
    for value in ["2", "3", "4"] {
        tokio::time::sleep(Duration::from_secs(20)).await;
        put(server, "a", value);
        put(server, "b", value);
        if value == "3" {
            server.delete("bob", "configmaps", "n", "b", Options::default()).unwrap();
            server.compact();
        }
    }
    tokio::time::sleep(Duration::from_mins(20)).await;
    watching.abort();
    let all = reader.state();
    all.iter().map(|map| (map.name_any(), map.data.as_ref().unwrap()["a"].clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watcher_survives_whatever_happens_to_its_events() {
    let all: BTreeMap<_, _> = [("a", "4"), ("b", "4")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let stall = EventFate::Stall(Duration::from_mins(10));
    let soon = EventFate::After(Duration::from_secs(1));
    for fates in [
        vec![],
        vec![EventFate::Close; 6],
        vec![EventFate::Gone; 6],
        vec![stall],
        vec![soon, stall, EventFate::Gone, soon, EventFate::Close],
    ] {
        assert_eq!(known(&server(), fates.clone(), watcher::Config::default()).await, all, "{fates:?}");
        let streaming = watcher::Config::default().streaming_lists();
        assert_eq!(known(&server(), fates.clone(), streaming).await, all, "streaming, {fates:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_metadata_carries_nothing_else() {
    let server = server();
    put(&server, "a", "1");
    let wire = Wire::new(server.clone(), "alice", Arc::new(Calm));
    let api: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(wire.client("n"), "n");
    let mut events = watcher(api, watcher::Config::default()).boxed();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match events.next().await.unwrap().unwrap() {
            watcher::Event::Init => seen.push("init".to_owned()),
            watcher::Event::InitApply(map) => {
                assert_eq!(map.types.as_ref().unwrap().kind, "PartialObjectMetadata");
                seen.push(map.name_any());
            }
            watcher::Event::InitDone => {
                seen.push("done".to_owned());
                put(&server, "b", "1");
            }
            watcher::Event::Apply(map) => seen.push(map.name_any()),
            watcher::Event::Delete(_) => panic!(),
        }
    }
    assert_eq!(seen, ["init", "a", "done", "b"]);
}
