//! Writes that the API server refused a moment ago, so that people can be told and others of the same Rollout do not wait.
use super::Key;
use crate::{
    plan::{Effect, Refused},
    traffic::RouteRef,
};
use std::{collections::HashMap, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// A refused write is tried again after so long.
const AGAIN: Duration = Duration::from_secs(10);
/// A route whose writes fail for reasons that may be gone in a moment is tried for so long before it is left aside, and so
/// many times: of two in a row one may have been slow.
const PATIENCE: Duration = Duration::from_secs(3);
const TRIES: u32 = 3;
/// Failures that lie further apart have nothing to do with each other; one alone may take as long as a webhook may.
const APART: Duration = Duration::from_mins(1);

/// What was refused, for each Rollout.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<Key, Slot>>);

#[derive(Default)]
struct Slot {
    last: Option<Refused>,
    routes: HashMap<String, Failing>,
    answers: HashMap<String, Instant>,
    said: Option<(Instant, String)>,
    failure: Option<String>,
}

/// A route that could not be written.
struct Failing {
    since: Instant,
    last: Instant,
    tries: u32,
    why: String,
    /// Whether the rest of its Rollout goes on without it.
    is_left_aside: bool,
}

fn route_name(route: &RouteRef) -> String {
    format!("{} {}/{}", route.api_version, route.kind, route.name)
}

/// Whether the API server would refuse the same write again.
fn is_for_good(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 405 | 413 | 422))
}

/// What the API server said, without the rest of its answer.
pub(super) fn words_of(error: &kube::Error) -> String {
    let words = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    words.chars().take(500).collect()
}

impl Refusals {
    fn with<T: Default>(&self, key: &Key, what: impl FnOnce(&mut Slot) -> T) -> T {
        self.0.lock().map(|mut slots| what(slots.entry(key.clone()).or_default())).unwrap_or_default()
    }

    /// Remembers how an effect ended.
    pub fn ended(&self, key: &Key, effect: &Effect, result: &Result<(), kube::Error>) {
        let refused = result.as_ref().err().filter(|error| is_for_good(error)).map(|error| Refused {
            verb: effect.verb().to_owned(),
            object: effect.object(),
            why: words_of(error),
        });
        self.with(key, |slot| slot.last = refused);
    }

    /// Remembers that a route could not be written. Says whether the rest of its Rollout goes on without it: at once where
    /// the same write would be refused again, else when it has failed for a while.
    pub fn route_failed(&self, key: &Key, route: &RouteRef, error: &kube::Error) -> bool {
        let (name, now) = (route_name(route), Instant::now());
        self.with(key, |slot| {
            let before = slot.routes.remove(&name).filter(|before| now - before.last < APART);
            let since = before.as_ref().map_or(now, |before| before.since);
            let tries = before.as_ref().map_or(0, |before| before.tries).saturating_add(1);
            let is_over = now - since >= PATIENCE && tries >= TRIES;
            let is_left_aside = is_for_good(error) || is_over || before.is_some_and(|before| before.is_left_aside);
            slot.routes.insert(name, Failing { since, last: now, tries, why: words_of(error), is_left_aside });
            is_left_aside
        })
    }

    /// A route was written.
    pub fn route_written(&self, key: &Key, route: &RouteRef) {
        self.with(key, |slot| drop(slot.routes.remove(&route_name(route))));
    }

    /// Whether to answer this action now: at once, and then not again for a while.
    pub fn may_answer(&self, key: &Key, action: &str) -> bool {
        self.with(key, |slot| {
            let now = Instant::now();
            slot.answers.retain(|_, at| now.duration_since(*at) < AGAIN);
            slot.answers.insert(action.to_owned(), now).is_none()
        })
    }

    /// Whether this is news. Of several things that cannot be read each look meets another one first: it is said of one.
    pub fn may_say(&self, key: &Key, words: &str) -> bool {
        self.with(key, |slot| {
            let is_news = slot.said.as_ref().is_none_or(|(at, said)| said != words && at.elapsed() >= AGAIN);
            if is_news {
                slot.said = Some((Instant::now(), words.to_owned()));
            }
            is_news
        })
    }

    /// What was said of a look that failed is true no longer.
    pub fn looked(&self, key: &Key) {
        self.with(key, |slot| slot.said = None);
    }

    /// Whether this failure of ours was said already.
    pub fn has_said_failure(&self, key: &Key, words: &str) -> bool {
        self.with(key, |slot| slot.failure.as_deref() == Some(words))
    }

    /// This failure of ours stands on the Rollout; without one, a look succeeded.
    pub fn failure_is(&self, key: &Key, words: Option<&str>) {
        self.with(key, |slot| slot.failure = words.map(str::to_owned));
    }

    /// The last effect of this Rollout, if it was refused for good.
    pub fn of(&self, key: &Key) -> Option<Refused> {
        self.with(key, |slot| slot.last.clone())
    }

    /// Why a route is left aside, which could not be written a moment ago.
    pub fn of_route(&self, key: &Key, route: &RouteRef) -> Option<String> {
        self.with(key, |slot| {
            let failing = slot.routes.get(&route_name(route)).filter(|failing| failing.is_left_aside)?;
            (failing.last.elapsed() < AGAIN).then(|| failing.why.clone())
        })
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, key: &Key) {
        if let Ok(mut slots) = self.0.lock() {
            slots.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn error(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure("no", "No").with_code(code)))
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_that_cannot_be_read_one_is_said_until_a_look_succeeds() {
        let (refusals, key) = (Refusals::default(), Key::new("checkout"));
        assert!(refusals.may_say(&key, "no pods"));
        assert!(!refusals.may_say(&key, "no pods") && !refusals.may_say(&key, "no services"));
        refusals.looked(&key);
        assert!(refusals.may_say(&key, "no services"));
        tokio::time::advance(AGAIN).await;
        assert!(refusals.may_say(&key, "no pods") && !refusals.may_say(&key, "no services"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_route_is_left_aside_when_it_is_refused_or_fails_for_a_while() {
        let (refusals, key) = (Refusals::default(), Key::new("checkout"));
        let route =
            serde_json::json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop"});
        let route: RouteRef = serde_json::from_value(route).unwrap();
        assert!(!refusals.route_failed(&key, &route, &error(500)), "that may be gone in a moment");
        assert_eq!(refusals.of_route(&key, &route), None);
        tokio::time::advance(PATIENCE / 2).await;
        refusals.route_written(&key, &route);
        tokio::time::advance(PATIENCE / 2).await;
        assert!(!refusals.route_failed(&key, &route, &error(500)), "it was written meanwhile");
        tokio::time::advance(PATIENCE).await;
        assert!(!refusals.route_failed(&key, &route, &error(500)), "two in a row may be one that was slow");
        tokio::time::advance(AGAIN).await;
        assert!(refusals.route_failed(&key, &route, &error(500)), "each took as long as a webhook may");
        assert_eq!(refusals.of_route(&key, &route).as_deref(), Some("no"));
        tokio::time::advance(AGAIN).await;
        assert_eq!(refusals.of_route(&key, &route), None, "it is tried again");
        assert!(refusals.route_failed(&key, &route, &error(403)), "refused is refused");
    }
}
