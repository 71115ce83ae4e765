//! How providers are asked on behalf of many Rollouts: what is asked alike is asked once, not too much at once, and one
//! that does not answer is left alone for a while.
//!
//! Nothing here is a measurement: who is not let through is told that the provider is unreachable, and why, which is no
//! verdict. With the first answer everything is as before.
use crate::metrics::{How, NoReply, Reply};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// So many requests of one namespace to one provider are under way at once. Others wait, first come first served.
const AT_ONCE: usize = 16;
/// And so many of all namespaces.
const AT_ONCE_OF_ALL: usize = 64;
/// So many requests in a row that are not answered, or with HTTP 429, 502, 503 or 504, and the provider is left alone.
const PATIENCE: u32 = 5;
/// How long it is left alone at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long at most.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// An answer for which nobody waits any more is not waited for longer than this.
const LOST: Duration = Duration::from_secs(30);
/// An answer is given to whoever asks the same within this time. It is shorter than the time that samples are waited for, so
/// nobody's numbers are older for it.
const LIFE: Duration = Duration::from_millis(500);
/// The longest answer that is kept for others, in bytes.
const KEPT: usize = 256 * 1_024;
/// A question that nobody waits for any more is forgotten after this time, and a provider that nobody asks.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// All providers that are asked.
#[derive(Default)]
pub struct Asks {
    lines: Mutex<HashMap<(String, String), Arc<Line>>>,
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The requests of one namespace to one provider, as its object was when it was read: what some ask for that it cannot answer
/// in time keeps no others from asking.
pub struct Line {
    turns: Semaphore,
    turns_of_all: Arc<Semaphore>,
    circuit: Mutex<Circuit>,
    known: Mutex<HashMap<Question, Asked>>,
    used: Mutex<Instant>,
}

/// What is asked: the path and the fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    path: String,
    fields: Vec<(String, String)>,
}

impl Question {
    /// One that others may ask alike.
    pub fn of(path: &str, how: &How) -> Option<Self> {
        let How::Form(fields) = how else { return None };
        Some(Self { path: path.to_owned(), fields: fields.clone() })
    }
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent, and answered.
    Answered,
    /// It was sent, and nothing came back.
    Unreachable,
    /// Another asked the same.
    Shared,
    /// It was not sent.
    HeldBack,
}

type Answer = Arc<(Outcome, Reply)>;

struct Asked {
    answer: Shared<BoxFuture<'static, Answer>>,
    begun: Instant,
    /// Until when it may be given to others, once it is there.
    until: Arc<OnceLock<Instant>>,
}

impl Asked {
    fn is_good(&self) -> bool {
        let now = Instant::now();
        self.until.get().map_or(now < self.begun + FORGOTTEN, |until| now < *until)
    }
}

/// Whether a provider is asked.
#[derive(Debug)]
enum Circuit {
    /// It is; so many requests in a row have failed.
    Closed(u32),
    /// It is asked once in a while; `probe` is when it was, as long as the answer is waited for.
    Open { next: Instant, pause: Duration, probe: Option<Instant>, why: String },
}

impl Circuit {
    /// Whether one more request may go out, or why not.
    fn enter(&mut self, now: Instant) -> Result<(), NoReply> {
        let Self::Open { next, probe, why, .. } = self else { return Ok(()) };
        // The one that finds out may take its time; should it never come back, another does.
        let next = probe.map_or(*next, |sent| (*next).max(sent + LOST));
        if now >= next {
            *probe = Some(now);
            return Ok(());
        }
        let left = next.duration_since(now).as_millis().div_ceil(1_000);
        Err(NoReply::Unreachable(format!("{why}; the provider is asked again within {left} s")))
    }

    fn leave(&mut self, sent: Instant, reply: &Reply, now: Instant) {
        match (&mut *self, failure(reply)) {
            (_, None) => *self = Self::Closed(0),
            (Self::Closed(failed), Some(why)) => {
                *failed += 1;
                if *failed >= PATIENCE {
                    *self = Self::Open { next: now + FIRST_PAUSE, pause: FIRST_PAUSE, probe: None, why };
                }
            }
            (Self::Open { next, pause, probe, why }, Some(again)) => {
                // Of those that were under way when it was given up nothing is new.
                if *probe == Some(sent) {
                    *pause = (*pause * 2).min(LAST_PAUSE);
                    (*next, *probe, *why) = (now + *pause, None, again);
                }
            }
        }
    }
}

/// Why a reply is as good as none, if it is: by these statuses the provider, or who stands before it, says that it is not
/// able to answer just now.
fn failure(reply: &Reply) -> Option<String> {
    match reply {
        Ok((status @ (429 | 502..=504), _)) => Some(format!("the provider answered HTTP {status}")),
        // Who answers at length is there.
        Ok(_) | Err(NoReply::TooLong(_)) => None,
        Err(NoReply::Unreachable(why)) => Some(why.clone()),
    }
}

pub(super) fn locked<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Asks {
    /// The requests of a namespace to a provider, by the uid and the version of its object.
    pub fn line(&self, provider: &str, namespace: &str) -> Arc<Line> {
        let mut lines = locked(&self.lines);
        lines.retain(|_, line| locked(&line.used).elapsed() < FORGOTTEN);
        let mut turns = locked(&self.turns);
        turns.retain(|_, turns| Arc::strong_count(turns) > 1);
        let of_all = turns.entry(provider.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_OF_ALL)));
        let of_namespace = lines.entry((provider.to_owned(), namespace.to_owned()));
        let line = of_namespace.or_insert_with(|| Arc::new(Line { turns_of_all: of_all.clone(), ..Line::default() }));
        *locked(&line.used) = Instant::now();
        line.clone()
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            turns_of_all: Arc::new(Semaphore::new(AT_ONCE_OF_ALL)),
            circuit: Mutex::new(Circuit::Closed(0)),
            known: Mutex::default(),
            used: Mutex::new(Instant::now()),
        }
    }
}

impl Line {
    /// Asks, unless somebody else asks the same at this moment or nobody is to ask now.
    pub async fn ask(
        self: &Arc<Self>,
        question: Option<Question>,
        send: impl FnOnce() -> BoxFuture<'static, Reply>,
    ) -> (Outcome, Reply) {
        let Some(question) = question else { return Self::asked(self.clone(), send()).await };
        let (answer, outcome) = {
            let mut known = locked(&self.known);
            known.retain(|_, asked| asked.is_good());
            if let Some(asked) = known.get(&question) {
                (asked.answer.clone(), Some(Outcome::Shared))
            } else {
                let until = Arc::new(OnceLock::new());
                let (line, good, request, of) = (self.clone(), until.clone(), send(), question.clone());
                let answer = async move {
                    let (outcome, reply) = Self::asked(line.clone(), request).await;
                    if reply.as_ref().is_ok_and(|(_, body)| body.len() <= KEPT) {
                        let _ = good.set(Instant::now() + LIFE);
                    } else {
                        // Who waits has it; nobody else keeps it in memory.
                        let mut known = locked(&line.known);
                        if known.get(&of).is_some_and(|asked| Arc::ptr_eq(&asked.until, &good)) {
                            known.remove(&of);
                        }
                    }
                    Arc::new((outcome, reply))
                };
                let answer = answer.boxed().shared();
                // Who asked may have gone before it comes: nobody's turn is held by a request that nobody drives on.
                tokio::spawn(answer.clone());
                known.insert(question, Asked { answer: answer.clone(), begun: Instant::now(), until });
                (answer, None)
            }
        };
        let answer = answer.await;
        let told = if answer.0 == Outcome::HeldBack { Outcome::HeldBack } else { outcome.unwrap_or(answer.0) };
        (told, Arc::try_unwrap(answer).map_or_else(|shared| shared.1.clone(), |(_, reply)| reply))
    }

    async fn asked(line: Arc<Self>, sent: BoxFuture<'static, Reply>) -> (Outcome, Reply) {
        // They are never closed.
        let _turn = line.turns.acquire().await;
        let _of_all = line.turns_of_all.acquire().await;
        let begun = Instant::now();
        if let Err(unreachable) = locked(&line.circuit).enter(begun) {
            return (Outcome::HeldBack, Err(unreachable));
        }
        let reply = sent.await;
        locked(&line.circuit).leave(begun, &reply, Instant::now());
        let is_there = !matches!(reply, Err(NoReply::Unreachable(_)));
        (if is_there { Outcome::Answered } else { Outcome::Unreachable }, reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{advance, sleep};

    fn question(query: &str) -> Option<Question> {
        Question::of("/api/v1/query", &How::Form(vec![("query".into(), query.into())]))
    }

    /// A provider that takes so long, answers or not, and counts.
    #[derive(Clone, Default)]
    struct Fake {
        sent: Arc<AtomicUsize>,
        now: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        down: Arc<Mutex<bool>>,
    }

    impl Fake {
        fn send(&self) -> BoxFuture<'static, Reply> {
            let fake = self.clone();
            async move {
                fake.sent.fetch_add(1, Ordering::Relaxed);
                let now = fake.now.fetch_add(1, Ordering::Relaxed) + 1;
                fake.most.fetch_max(now, Ordering::Relaxed);
                sleep(Duration::from_millis(100)).await;
                fake.now.fetch_sub(1, Ordering::Relaxed);
                if *locked(&fake.down) {
                    Err(NoReply::Unreachable("refused".into()))
                } else {
                    Ok((200, b"{}".to_vec()))
                }
            }
            .boxed()
        }

        fn sent(&self) -> usize {
            self.sent.load(Ordering::Relaxed)
        }
    }

    async fn ask(line: &Arc<Line>, fake: &Fake, query: &str) -> (Outcome, Reply) {
        line.ask(question(query), || fake.send()).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_alike_within_a_moment_is_asked_once() {
        let (line, fake) = (Arc::new(Line::default()), Fake::default());
        let all = join_all((0..100).map(|_| ask(&line, &fake, "up"))).await;
        assert_eq!((fake.sent(), all.iter().filter(|(outcome, _)| *outcome == Outcome::Shared).count()), (1, 99));
        assert!(all.iter().all(|(_, reply)| *reply == Ok((200, b"{}".to_vec()))));
        advance(LIFE / 2).await;
        assert_eq!(ask(&line, &fake, "up").await.0, Outcome::Shared);
        assert_eq!(ask(&line, &fake, "down").await.0, Outcome::Answered, "another question is another");
        advance(LIFE).await;
        assert_eq!((ask(&line, &fake, "up").await.0, fake.sent()), (Outcome::Answered, 3));
        assert_eq!(Question::of("/", &How::Get), None, "what is not a question to a Prometheus is never shared");
    }

    #[tokio::test(start_paused = true)]
    async fn an_asker_that_leaves_takes_the_answer_from_nobody() {
        let (line, fake) = (Arc::new(Line::default()), Fake::default());
        let first = tokio::time::timeout(Duration::from_millis(10), ask(&line, &fake, "up"));
        let (first, second) = futures::join!(first, ask(&line, &fake, "up"));
        assert!(first.is_err());
        assert_eq!((second.0, second.1.is_ok(), fake.sent()), (Outcome::Shared, true, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn sixteen_are_under_way_at_once_and_all_have_their_turn() {
        let (line, fake) = (Arc::new(Line::default()), Fake::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let all = (0..200).map(|at| {
            let (line, fake, order) = (line.clone(), fake.clone(), order.clone());
            async move {
                ask(&line, &fake, &at.to_string()).await.1.unwrap();
                locked(&order).push(at / AT_ONCE);
            }
        });
        join_all(all).await;
        assert_eq!((fake.sent(), fake.most.load(Ordering::Relaxed)), (200, AT_ONCE));
        assert!(locked(&order).is_sorted(), "who comes first is served first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_down_is_asked_once_in_a_while_and_all_others_are_told_at_once() {
        let (line, fake) = (Arc::new(Line::default()), Fake::default());
        *locked(&fake.down) = true;
        for at in 0..PATIENCE {
            assert_eq!(ask(&line, &fake, &at.to_string()).await.0, Outcome::Unreachable);
        }
        let begun = Instant::now();
        let (outcome, reply) = ask(&line, &fake, "held back").await;
        assert_eq!((outcome, begun.elapsed()), (Outcome::HeldBack, Duration::ZERO));
        let why = reply.unwrap_err().to_string();
        assert_eq!(why, "refused; the provider is asked again within 1 s");
        // A minute of a hundred questions a second.
        let before = fake.sent();
        for at in 0..6_000 {
            ask(&line, &fake, &format!("q{at}")).await.1.unwrap_err();
            sleep(Duration::from_millis(10)).await;
        }
        let probes = fake.sent() - before;
        assert!((6..=12).contains(&probes), "{probes} probes in a minute");
        // It is back: the next probe opens the door for all.
        *locked(&fake.down) = false;
        let begun = Instant::now();
        let mut at = 0;
        while ask(&line, &fake, &format!("back{at}")).await.1.is_err() {
            at += 1;
            sleep(Duration::from_millis(100)).await;
        }
        assert!(begun.elapsed() <= LAST_PAUSE + Duration::from_secs(1), "{:?}", begun.elapsed());
        let all = (0..50).map(|at| line.ask(question(&format!("all{at}")), || fake.send()));
        assert!(join_all(all).await.iter().all(|(outcome, _)| *outcome == Outcome::Answered));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_behind_a_provider_that_hangs_do_not_wait_for_it_one_by_one() {
        let line = Arc::new(Line::default());
        let hangs = || sleep(Duration::from_secs(5)).map(|()| Err(NoReply::Unreachable("timed out".into()))).boxed();
        let begun = Instant::now();
        let all = join_all((0..1_000).map(|at| line.ask(question(&at.to_string()), hangs))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(5), "1000 questions, 16 at once, of 5 s each");
        let held_back = all.iter().filter(|(outcome, _)| *outcome == Outcome::HeldBack).count();
        assert_eq!(held_back, 1_000 - AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_refuses_is_an_answer_and_single_failures_are_forgiven() {
        let (line, fake) = (Arc::new(Line::default()), Fake::default());
        for at in 0..50 {
            *locked(&fake.down) = at % PATIENCE != 0;
            let (outcome, _) = ask(&line, &fake, &at.to_string()).await;
            assert_ne!(outcome, Outcome::HeldBack, "{at}");
        }
        for status in [400, 401, 404, 422, 500] {
            let refuses = || std::future::ready(Ok((status, Vec::new()))).boxed();
            for at in 0..10 {
                assert_eq!(line.ask(question(&format!("{status} {at}")), refuses).await.0, Outcome::Answered);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_too_long_keep_nobody_from_asking() {
        let (line, fake) = (Arc::new(Line::default()), Fake::default());
        let long = || std::future::ready(Err(NoReply::TooLong(1 << 24))).boxed();
        for at in 0..2 * PATIENCE {
            let (outcome, reply) = line.ask(question(&format!("long {at}")), long).await;
            assert_eq!((outcome, reply), (Outcome::Answered, Err(NoReply::TooLong(1 << 24))));
        }
        assert_eq!(ask(&line, &fake, "up").await.0, Outcome::Answered);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_says_it_is_overloaded_is_left_alone_until_it_answers() {
        for status in [429, 502, 503, 504] {
            let line = Arc::new(Line::default());
            let busy = || std::future::ready(Ok((status, Vec::new()))).boxed();
            for at in 0..PATIENCE {
                let (outcome, reply) = line.ask(question(&at.to_string()), busy).await;
                assert_eq!((outcome, reply), (Outcome::Answered, Ok((status, Vec::new()))), "what it says is told");
            }
            let (outcome, reply) = line.ask(question("held back"), busy).await;
            let why = format!("the provider answered HTTP {status}; the provider is asked again within 1 s");
            assert_eq!((outcome, reply), (Outcome::HeldBack, Err(NoReply::Unreachable(why))));
            advance(FIRST_PAUSE).await;
            let fake = Fake::default();
            for query in ["probe", "next"] {
                assert_eq!(ask(&line, &fake, query).await.0, Outcome::Answered);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_provider_has_a_line_for_each_namespace_until_nobody_asks_it() {
        let asks = Asks::default();
        let one = asks.line("uid/1", "n");
        let is_one = |provider, namespace| Arc::ptr_eq(&one, &asks.line(provider, namespace));
        assert!(is_one("uid/1", "n") && !is_one("uid/2", "n") && !is_one("uid/1", "m"));
        advance(FORGOTTEN + Duration::from_secs(1)).await;
        assert!(!is_one("uid/1", "n"));
        assert_eq!((locked(&asks.lines).len(), locked(&asks.turns).len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_namespace_asks_for_in_vain_keeps_no_other_from_asking() {
        let (asks, well) = (Asks::default(), Fake::default());
        let (greedy, other) = (asks.line("uid/1", "greedy"), asks.line("uid/1", "other"));
        // A hundred questions that take ten seconds each, and then none of them is answered.
        let slow = || {
            async {
                sleep(Duration::from_secs(10)).await;
                Ok((503, Vec::new()))
            }
            .boxed()
        };
        let greed = join_all((0..100).map(|at| greedy.ask(question(&at.to_string()), slow)));
        let begun = Instant::now();
        let (_, answered) = futures::join!(greed, async {
            sleep(Duration::from_secs(1)).await;
            (ask(&other, &well, "up").await, begun.elapsed())
        });
        assert_eq!((answered.0.0, answered.1), (Outcome::Answered, Duration::from_millis(1_100)));
        assert_eq!(greedy.ask(question("more"), slow).await.0, Outcome::HeldBack);
        assert_eq!(ask(&other, &well, "down").await.0, Outcome::Answered);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_is_nobodys_once_it_was_given() {
        let line = Arc::new(Line::default());
        let long = || async { Ok((200, vec![b' '; KEPT + 1])) }.boxed();
        line.ask(question("long"), long).await.1.unwrap();
        assert!(locked(&line.known).is_empty());
    }
}
