//! Watches: what there is, then what changes, line by line, until time is up or the connection breaks.
use super::{
    Call, EventFate, Hooks, Kind, Server, Status, Verb,
    select::Selector,
    serve::metadata_of,
    store::Commit,
    texts::{Form, Texts},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How often a silent watch says where it stands.
const BOOKMARK: Duration = Duration::from_mins(1);
/// How long before its end a watch says where it stands.
const BEFORE_THE_END: Duration = Duration::from_secs(2);
/// How long a watch lasts that does not say.
const LASTS: Duration = Duration::from_mins(30);

/// One watch.
pub(super) struct Feed {
    server: Server,
    hooks: Arc<dyn Hooks>,
    kind: Arc<Kind>,
    table: usize,
    namespace: Option<String>,
    selector: Selector,
    metadata_only: bool,
    bookmarks: bool,
    /// Everything up to here was looked at.
    seen: u64,
    lines: VecDeque<Line>,
    news: watch::Receiver<usize>,
    deadline: Instant,
    bookmark: Instant,
    /// The backup that had been put back last when it began.
    restored: u64,
    over: bool,
}

struct Line {
    text: Bytes,
    /// Of an event: which version, and when it was.
    event: Option<(u64, Timestamp)>,
}

/// A while later, or shortly before the end, where that comes first; one that begins later than that says nothing more.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let last = deadline.checked_sub(BEFORE_THE_END).filter(|last| *last > now);
    last.map_or(now + BOOKMARK, |last| last.min(now + BOOKMARK))
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(object.len() + 40);
    text.extend_from_slice(br#"{"type":""#);
    text.extend_from_slice(kind.as_bytes());
    text.extend_from_slice(br#"","object":"#);
    text.extend_from_slice(object);
    text.extend_from_slice(b"}\n");
    text.into()
}

impl Feed {
    /// Begins a watch, from the version that was asked for, or with what there is.
    pub(super) fn begin(
        server: &Server,
        hooks: &Arc<dyn Hooks>,
        user: &str,
        call: &Call,
        version: Option<u64>,
    ) -> Result<Self, Status> {
        let mut state = server.state();
        let ask = state.ask(user, call, version)?;
        let options = &call.options;
        let asked = options.version.as_deref().unwrap_or("0");
        let asked: u64 = asked.parse().map_err(|_| {
            let why = format!("Invalid value: \"{asked}\": strconv.ParseUint: parsing \"{asked}\": invalid syntax");
            Status::invalid(&ask.kind, "", "resourceVersion", &why)
        })?;
        let lasts = options.timeout_seconds.filter(|seconds| *seconds > 0).map_or(LASTS, Duration::from_secs);
        let now = Instant::now();
        let deadline = now + lasts;
        let mut feed = Self {
            server: server.clone(),
            hooks: hooks.clone(),
            selector: ask.selector()?,
            kind: ask.kind,
            table: ask.table,
            namespace: call.namespace.clone(),
            metadata_only: call.metadata_only,
            bookmarks: options.bookmarks,
            seen: asked,
            lines: VecDeque::new(),
            news: state.tables[ask.table].news.subscribe(),
            deadline,
            bookmark: next_bookmark(now, deadline),
            restored: state.restored,
            over: false,
        };
        let begins = options.initial_events.unwrap_or(asked == 0);
        if begins {
            feed.seen = version.unwrap_or(state.rv);
            for object in state.list_at(feed.table, feed.namespace.as_deref(), feed.seen) {
                if feed.selector.takes(&object) {
                    let text = feed.line("ADDED", &object, &mut state.texts);
                    feed.lines.push_back(Line { text, event: None });
                }
            }
            if options.initial_events == Some(true) && options.bookmarks {
                feed.push_bookmark(true);
            }
        } else if asked < state.floor && asked > 0 {
            feed.push_error(&Status::too_old(asked, state.floor));
        }
        Ok(feed)
    }

    fn line(&self, kind: &str, object: &Arc<Value>, texts: &mut Texts) -> Bytes {
        line(kind, &texts.of(object, if self.metadata_only { Form::Metadata } else { Form::Whole }))
    }

    fn unstored(&self, kind: &str, object: &Value) -> Bytes {
        let text = if self.metadata_only { metadata_of(object).to_string() } else { object.to_string() };
        line(kind, text.as_bytes())
    }

    fn push_error(&mut self, status: &Status) {
        self.lines.push_back(Line { text: line("ERROR", status.to_value().to_string().as_bytes()), event: None });
        self.over = true;
    }

    fn push_bookmark(&mut self, of_initial: bool) {
        let mut object = json!({
            "apiVersion": self.kind.api_version(), "kind": self.kind.kind,
            "metadata": {"resourceVersion": self.seen.to_string()},
        });
        if of_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let text = self.unstored("BOOKMARK", &object);
        self.lines.push_back(Line { text, event: None });
        self.bookmark = next_bookmark(Instant::now(), self.deadline);
    }

    /// The line of a commit, where this watch is about it.
    fn read(&self, commit: &Commit, texts: &mut Texts) -> Option<Bytes> {
        if self.namespace.as_ref().is_some_and(|namespace| *namespace != commit.namespace) {
            return None;
        }
        let takes = |object: &Option<Arc<Value>>| object.as_ref().filter(|object| self.selector.takes(object)).cloned();
        let last = |object: &Value| {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = json!(commit.rv.to_string());
            self.unstored("DELETED", &object)
        };
        match (takes(&commit.before), takes(&commit.after), commit.verb) {
            (None, Some(after), _) => Some(self.line("ADDED", &after, texts)),
            (Some(_), Some(after), _) => Some(self.line("MODIFIED", &after, texts)),
            (Some(before), None, Verb::Create | Verb::Update | Verb::Delete) => Some(last(&before)),
            (None, None, _) => None,
        }
    }

    /// Looks at everything that was committed since.
    fn look(&mut self) {
        self.news.borrow_and_update();
        let server = self.server.clone();
        let mut state = server.state();
        if state.restored != self.restored {
            // The server that served it is no more.
            self.over = true;
            return;
        }
        let commits: Vec<_> = state.commits_after(self.table, self.seen).cloned().collect();
        for commit in commits {
            if let Some(text) = self.read(&commit, &mut state.texts) {
                self.lines.push_back(Line { text, event: Some((commit.rv, commit.at)) });
            }
        }
        self.seen = self.seen.max(state.rv);
    }

    /// The next line, when it is due. `None` is the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                let Some((rv, at)) = line.event else { return Some(line.text) };
                return self.hold(rv, at, line.text).await;
            }
            if self.over {
                return None;
            }
            self.look();
            if self.over || !self.lines.is_empty() {
                continue;
            }
            let now = Instant::now();
            if now >= self.deadline {
                self.over = true;
                continue;
            }
            if self.bookmarks && now >= self.bookmark {
                self.push_bookmark(false);
                continue;
            }
            let until = if self.bookmarks { self.deadline.min(self.bookmark) } else { self.deadline };
            tokio::select! {
                biased;
                changed = self.news.changed() => if changed.is_err() { self.over = true },
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Holds an event back for as long as it should be.
    async fn hold(&mut self, rv: u64, at: Timestamp, text: Bytes) -> Option<Bytes> {
        match self.hooks.event(&self.kind, rv) {
            EventFate::After(delay) => {
                if !delay.is_zero() {
                    let due = at.checked_add(SignedDuration::try_from(delay).ok()?).ok()?;
                    let left = due.duration_since(self.server.state().now());
                    let until = Instant::now() + Duration::try_from(left).unwrap_or_default();
                    tokio::time::sleep_until(until.min(self.deadline)).await;
                    if until > self.deadline {
                        self.end();
                        return None;
                    }
                }
                self.bookmark = next_bookmark(Instant::now(), self.deadline);
                Some(text)
            }
            EventFate::Stall(delay) => {
                tokio::time::sleep(delay).await;
                Some(text)
            }
            EventFate::Skip if self.is_past(rv) => Some(Bytes::new()),
            EventFate::Skip => Some(text),
            EventFate::Twice => Some([&*text, &*text].concat().into()),
            EventFate::Close => {
                self.end();
                None
            }
            EventFate::Gone => {
                self.lines.clear();
                self.over = true;
                let status = Status::too_old(rv, self.seen);
                Some(line("ERROR", status.to_value().to_string().as_bytes()))
            }
        }
    }

    /// Whether the object that was changed by this version was changed again.
    fn is_past(&self, rv: u64) -> bool {
        let state = self.server.state();
        let mut since = state.commits_after(self.table, rv - 1);
        let Some(changed) = since.next() else { return false };
        since.any(|later| later.name == changed.name && later.namespace == changed.namespace)
    }

    fn end(&mut self) {
        self.lines.clear();
        self.over = true;
    }
}
