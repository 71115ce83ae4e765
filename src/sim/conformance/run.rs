//! Runs of requests: each is sent to both sides, and the answers, and what is stored then, are held against each other.
use super::{
    cluster::Namespace,
    kinds::Sort,
    normal::differences,
    requests::Asker,
    side::{Request, Side},
};
use serde_json::{Value, json};

/// A run that found so many differences is over.
const MOST: usize = 8;

/// What a run found.
#[derive(Default)]
pub struct Found {
    /// So many answers and states were compared.
    pub compared: usize,
    /// What differed, with what was asked before.
    pub differences: Vec<String>,
}

/// The two sides of a run.
pub struct Pair {
    pub memory: Side,
    pub real: Namespace,
    pub found: Found,
    /// What was asked so far.
    story: Vec<String>,
}

impl Pair {
    /// Two sides, each with a namespace that holds what a real cluster puts into every one.
    pub fn new(name: &str) -> Self {
        let memory = Side::in_memory();
        for (path, object) in [
            ("/api/v1/namespaces", json!({"metadata": {"name": "$(ns)"}})),
            ("/api/v1/namespaces/$(ns)/configmaps", json!({"metadata": {"name": "kube-root-ca.crt"}})),
            ("/api/v1/namespaces/$(ns)/serviceaccounts", json!({"metadata": {"name": "default"}})),
        ] {
            assert_eq!(memory.ask(&Request::new("POST", path).with(object)).code, 201);
        }
        Self { memory, real: Namespace::new(name), found: Found::default(), story: Vec::new() }
    }

    /// Sends a request to both; whether they agree.
    pub fn ask(&mut self, request: &Request) -> bool {
        self.story.push(request.to_string());
        let (memory, real) = (self.memory.tell(request), self.real.0.tell(request));
        self.agree("the answer", &memory, &real)
    }

    /// Notes that a request was sent, and whether what was told of it is the same.
    pub fn note(&mut self, request: &Request, memory: &Value, real: &Value) -> bool {
        self.tell(&request.to_string(), memory, real)
    }

    /// The same for what is no single request.
    pub fn tell(&mut self, what: &str, memory: &Value, real: &Value) -> bool {
        self.story.push(what.to_owned());
        self.agree("the answer", memory, real)
    }

    /// Reads an object on both sides; whether it is the same.
    pub fn read(&mut self, path: &str, about: &str) -> bool {
        let (memory, real) = (self.memory.read(path, about), self.real.0.read(path, about));
        self.agree(&format!("what is stored of {about}"), &memory, &real)
    }

    /// Takes an object away on both sides, whoever wants to keep it.
    fn forget(&mut self, path: &str, about: &str) {
        for side in [&mut self.memory, &mut self.real.0] {
            let free = json!({"metadata": {"finalizers": null}});
            side.ask(&Request::patch(path, "application/merge-patch+json", free));
            side.ask(&Request::new("DELETE", path).with(json!({"gracePeriodSeconds": 0})));
            side.read(path, about);
        }
    }

    /// Whether two things that were told are the same; else it is noted.
    pub fn agree(&mut self, what: &str, memory: &Value, real: &Value) -> bool {
        self.found.compared += 1;
        let found = differences(memory, real);
        if !found.is_empty() {
            let before = self.story.len().saturating_sub(12);
            let told = format!(
                "{what} differs:\n    {}\n  after\n    {}",
                found.join("\n    "),
                self.story[before..].join("\n    ")
            );
            self.found.differences.push(told);
        }
        found.is_empty()
    }
}

/// One run of random requests about a few objects, until its end or the first difference.
pub fn requests(seed: u64, count: usize) -> Found {
    let mut pair = Pair::new(&format!("requests-{seed}"));
    let mut asker = Asker::new(seed);
    let anchor = "/api/v1/namespaces/$(ns)/configmaps/anchor";
    let made = Request::new("POST", anchor.trim_end_matches("/anchor")).with(json!({"metadata": {"name": "anchor"}}));
    if !pair.ask(&made) || !pair.read(anchor, "configmaps/anchor") {
        return pair.found;
    }
    for _ in 0..count {
        let request = asker.next();
        // As long as the same is stored, the next request has the same ground.
        pair.ask(&request);
        if pair.found.differences.len() > MOST {
            return pair.found;
        }
        if let Some((plural, name)) = request.about.split_once('/').filter(|_| request.method != "GET") {
            let sort = asker.sorts().iter().find(|sort| sort.plural == plural).unwrap();
            let path = format!("/{}/namespaces/$(ns)/{plural}/{name}", sort.api);
            if !name.ends_with('-') && !pair.read(&path, &request.about) {
                // From an object that differs nothing could be learnt any more.
                pair.forget(&path, &request.about);
            }
        }
    }
    for sort in asker.sorts() {
        if !pages(&mut pair, sort) || !watches(&mut pair, sort) {
            break;
        }
    }
    pair.found
}

/// All objects, at once and page by page.
fn pages(pair: &mut Pair, sort: &Sort) -> bool {
    let path = format!("/{}/namespaces/$(ns)/{}", sort.api, sort.plural);
    if !pair.ask(&Request::new("GET", &path)) {
        return false;
    }
    let mut page = Request::new("GET", &path).asking("limit", "1");
    loop {
        if !pair.ask(&page) {
            return false;
        }
        if pair.real.0.known.next.is_empty() {
            return true;
        }
        page = Request::new("GET", &path).asking("limit", "1").asking("continue", "$(next)");
    }
}

/// What watches tell of everything since the run began, to several who ask in several ways.
fn watches(pair: &mut Pair, sort: &Sort) -> bool {
    let path = format!("/{}/namespaces/$(ns)/{}", sort.api, sort.plural);
    let watch = || Request::new("GET", &path).asking("watch", "1").asking("timeoutSeconds", "1");
    let since = || watch().asking("resourceVersion", "$(rv:configmaps/anchor)");
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    pair.ask(&since())
        && pair.ask(&since().asking("labelSelector", "tier=one"))
        && pair.ask(&since().asking("fieldSelector", "metadata.name=a"))
        && pair.ask(&Request { accept: metadata, ..since() })
        && pair.ask(&watch())
        && pair.ask(
            &watch()
                .asking("sendInitialEvents", "true")
                .asking("resourceVersionMatch", "NotOlderThan")
                .asking("allowWatchBookmarks", "true"),
        )
}
