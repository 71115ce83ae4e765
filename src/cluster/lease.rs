//! Who acts: one replica, by a Lease. The others stay ready.
//!
//! Expiry is measured from when *we* saw the Lease change, on our own monotonic clock: no other machine's clock can make two leaders.
//! Leadership is a deadline, not a flag: who could not renew for two thirds of the Lease's time ends its process.
//! A process that was stopped past its deadline may still have one write under way for each object; those carry the version
//! that was read, and the next look corrects them.
use super::Clock;
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{PostParams, WatchEvent, WatchParams},
};
use std::time::Duration;
use tokio::time::Instant;

/// How the Lease is held.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// This replica.
    pub identity: String,
    /// How long a Lease that nobody renews is respected.
    pub duration: Duration,
    /// How often it is renewed, or looked at.
    pub renew: Duration,
}

/// A standby that cannot watch the Lease tries again after so long; it looks at the Lease all the same.
const WATCH_AGAIN: Duration = Duration::from_secs(10);
/// How long one watch lasts, in seconds.
const WATCH_LASTS: u32 = 290;
/// The longest that a Lease of another is respected, whatever stands in it.
const LONGEST_OF_OTHERS: Duration = Duration::from_mins(1);
/// The longest that giving the Lease back may take.
const RELEASE: Duration = Duration::from_secs(1);

/// What to do with the Lease as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It is free, or its holder has been silent for too long.
    Acquire,
    /// It is ours.
    Renew,
    /// It is another's.
    Yield,
}

/// What was last seen of the Lease, and when.
#[derive(Debug, Default)]
pub struct Watching {
    record: Option<(Option<String>, Option<MicroTime>, i32)>,
    since: Option<Instant>,
    /// The most often that it was ever seen to have changed hands: one that was deleted, or put back by a backup, counts on.
    changed_hands: i32,
}

/// What to do with a Lease. `now` is on the monotonic clock.
pub fn evaluate(
    watching: &mut Watching,
    spec: Option<&LeaseSpec>,
    identity: &str,
    duration: Duration,
    now: Instant,
) -> Move {
    let Some(spec) = spec else { return Move::Acquire };
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
    let record = (holder.clone(), spec.renew_time.clone(), spec.lease_transitions.unwrap_or(0));
    watching.changed_hands = watching.changed_hands.max(record.2);
    if watching.record.as_ref() != Some(&record) {
        watching.record = Some(record);
        watching.since = Some(now);
    }
    match holder {
        None => Move::Acquire,
        Some(holder) if holder == identity => Move::Renew,
        Some(_) => {
            let silent = watching.since.map_or(Duration::ZERO, |since| now.duration_since(since));
            // Its holder may have been given more time than we are.
            let theirs = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
            let theirs = Duration::from_secs(theirs).min(LONGEST_OF_OTHERS);
            if silent > duration.max(theirs) { Move::Acquire } else { Move::Yield }
        }
    }
}

/// A Lease, and what we know of it.
pub struct Elector {
    api: Api<Lease>,
    clock: Clock,
    terms: Terms,
    watching: Watching,
    /// When the try began by which it is ours.
    renewed: Instant,
    /// A mistake to live with.
    #[cfg(test)]
    pub tamper: Option<std::sync::Arc<dyn super::Tamper>>,
}

impl Elector {
    /// A candidate for this Lease.
    pub fn new(client: Client, terms: Terms, clock: Clock) -> Self {
        let api = Api::namespaced(client, &terms.namespace);
        Self {
            api,
            clock,
            terms,
            watching: Watching::default(),
            renewed: Instant::now(),
            #[cfg(test)]
            tamper: None,
        }
    }

    /// Waits until the Lease is ours; `seen` is called with every answer of the API server. Returns how often it has changed hands.
    ///
    /// It is looked at each time that it would be renewed, and at once when a watch tells that it was given back.
    pub async fn acquire(&mut self, seen: impl Fn()) -> i32 {
        let mut freed = std::pin::pin!(freed(self.api.clone(), &self.terms.name));
        loop {
            // What is written holds from before it was sent, however late the answer comes.
            self.renewed = Instant::now();
            // A connection that hangs must not keep a standby from taking over.
            match tokio::time::timeout(self.terms.duration, self.step()).await {
                Ok(Ok(Some(epoch))) => {
                    seen();
                    return epoch;
                }
                Ok(Ok(None)) => seen(),
                Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be read or written"),
                Err(_) => tracing::warn!("the API server does not answer about the Lease"),
            }
            tokio::select! {
                biased;
                _ = freed.next() => {}
                () = tokio::time::sleep(self.terms.renew) => {}
            }
        }
    }

    /// Renews the Lease for as long as that works. Returns when it is lost.
    pub async fn hold(&mut self) {
        let deadline = self.terms.duration * 2 / 3;
        let mut begun = self.renewed;
        loop {
            // Counted from the last try's beginning: a slow answer must not eat up the next one's time.
            tokio::time::sleep_until(begun + self.terms.renew).await;
            let left = deadline.saturating_sub(self.renewed.elapsed());
            begun = Instant::now();
            // A connection that hangs leaves time for another try, where there is more than one.
            let patience = left.min(self.terms.renew.max(left / 2));
            match tokio::time::timeout(patience, self.step()).await {
                Ok(Ok(Some(_))) => self.renewed = begun,
                Ok(Ok(None)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "the Lease was not renewed"),
                Err(_) => {}
            }
            if self.renewed.elapsed() >= deadline {
                return;
            }
        }
    }

    /// Gives the Lease back, so that another replica need not wait for its end.
    pub async fn release(&mut self) {
        if tokio::time::timeout(RELEASE, self.give_back()).await.is_err() {
            tracing::warn!("the Lease was not given back in time");
        }
    }

    async fn give_back(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.terms.name).await else { return };
        let Some(spec) = &mut lease.spec else { return };
        if spec.holder_identity.as_deref() == Some(&self.terms.identity) {
            // Absent, not empty: newer API servers refuse an empty one.
            spec.holder_identity = None;
            if let Err(error) = self.api.replace(&self.terms.name, &PostParams::default(), &lease).await {
                tracing::warn!(%error, "the Lease was not given back");
            }
        }
    }

    /// One look at the Lease; the epoch, if it is ours now.
    async fn step(&mut self) -> Result<Option<i32>, kube::Error> {
        let lease = self.api.get_opt(&self.terms.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let next = evaluate(&mut self.watching, spec, &self.terms.identity, self.terms.duration, Instant::now());
        #[cfg(test)]
        let next = self.tamper.as_ref().map_or(next, |tamper| tamper.lease(spec, next, self.clock.now()));
        let at = MicroTime(self.clock.now());
        let before = self.watching.changed_hands;
        let wanted = |transitions: i32, acquired: Option<MicroTime>| LeaseSpec {
            holder_identity: Some(self.terms.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.terms.duration.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: acquired,
            renew_time: Some(at.clone()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        let (epoch, spec) = match next {
            Move::Yield => return Ok(None),
            Move::Renew => (before, wanted(before, spec.and_then(|spec| spec.acquire_time.clone()))),
            Move::Acquire => (before.saturating_add(1), wanted(before.saturating_add(1), Some(at.clone()))),
        };
        let written = if let Some(lease) = lease {
            // The version that was read goes along: of two that acquire, one gets a conflict.
            let lease = Lease { spec: Some(spec), ..lease };
            self.api.replace(&self.terms.name, &PostParams::default(), &lease).await
        } else {
            let mut lease = Lease { spec: Some(spec), ..Lease::default() };
            lease.metadata.name = Some(self.terms.name.clone());
            self.api.create(&PostParams::default(), &lease).await
        };
        match written {
            Ok(_) => Ok(Some(epoch)),
            // Who renews may have met a try of its own that arrived late, and looks again.
            Err(kube::Error::Api(status)) if status.code == 409 && next != Move::Renew => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Tells when the Lease was given back, or deleted. Where it cannot be watched it tells nothing, and never ends.
fn freed(api: Api<Lease>, name: &str) -> impl Stream<Item = ()> + use<> {
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH_LASTS);
    stream::unfold(None, move |mut events: Option<BoxStream<'static, kube::Result<WatchEvent<Lease>>>>| {
        let (api, params) = (api.clone(), params.clone());
        async move {
            loop {
                let Some(open) = &mut events else {
                    match api.watch(&params, "0").await {
                        Ok(stream) => events = Some(stream.boxed()),
                        Err(error) => {
                            tracing::debug!(%error, "the Lease cannot be watched; it is looked at from time to time");
                            tokio::time::sleep(WATCH_AGAIN).await;
                        }
                    }
                    continue;
                };
                match open.next().await {
                    Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease))) if is_free(&lease) => {
                        return Some(((), events));
                    }
                    Some(Ok(WatchEvent::Deleted(_))) => return Some(((), events)),
                    Some(Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_))) => {}
                    Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => {
                        events = None;
                        // Not in a circle: a server that is overrun ends watches at once.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    })
}

fn is_free(lease: &Lease) -> bool {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    holder.is_none_or(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_that_was_put_back_or_deleted_counts_on() {
        let (mut watching, now) = (Watching::default(), Instant::now());
        let counted = |holder: &str, count| LeaseSpec { lease_transitions: Some(count), ..held_by(holder, 0) };
        assert_eq!(evaluate(&mut watching, Some(&counted("other", 3)), "me", LEASE, now), Move::Yield);
        // A backup from when somebody led who is long gone.
        assert_eq!(evaluate(&mut watching, Some(&counted("gone", 1)), "me", LEASE, now), Move::Yield);
        let later = now + LEASE * 2;
        assert_eq!(evaluate(&mut watching, Some(&counted("gone", 1)), "me", LEASE, later), Move::Acquire);
        assert_eq!(watching.changed_hands, 3);
        assert_eq!(evaluate(&mut watching, None, "me", LEASE, later), Move::Acquire);
        assert_eq!(watching.changed_hands, 3);
    }

    #[test]
    fn a_lease_expires_by_when_it_was_seen_to_change() {
        let mut watching = Watching::default();
        let begin = Instant::now();
        let mut look = |spec: &LeaseSpec, after: u64| {
            evaluate(&mut watching, Some(spec), "me", LEASE, begin + Duration::from_secs(after))
        };
        // Its clock says 1970; that is nobody's business.
        assert_eq!(look(&held_by("other", 0), 0), Move::Yield);
        assert_eq!(look(&held_by("other", 1), 3), Move::Yield);
        assert_eq!(look(&held_by("other", 1), 6), Move::Yield);
        assert_eq!(look(&held_by("other", 1), 7), Move::Acquire);
    }

    #[test]
    fn a_lease_is_respected_for_as_long_as_its_holder_asked_and_not_for_ever() {
        let begin = Instant::now();
        for (asked, from, to) in [(15, 15, 16), (1, 3, 4), (-1, 3, 4), (i32::MAX, 60, 61)] {
            let mut watching = Watching::default();
            let spec = LeaseSpec { lease_duration_seconds: Some(asked), ..held_by("other", 0) };
            let mut after =
                |seconds| evaluate(&mut watching, Some(&spec), "me", LEASE, begin + Duration::from_secs(seconds));
            assert_eq!((after(0), after(from), after(to)), (Move::Yield, Move::Yield, Move::Acquire), "{asked} s");
        }
    }

    #[test]
    fn a_free_lease_is_taken_and_ours_is_renewed() {
        let mut watching = Watching::default();
        let now = Instant::now();
        assert_eq!(evaluate(&mut watching, None, "me", LEASE, now), Move::Acquire);
        assert_eq!(evaluate(&mut watching, Some(&held_by("", 0)), "me", LEASE, now), Move::Acquire);
        assert_eq!(evaluate(&mut watching, Some(&held_by("me", 0)), "me", LEASE, now), Move::Renew);
    }
}
