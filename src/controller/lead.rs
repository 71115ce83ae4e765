//! The life of a replica: it waits for the Lease, looks at Rollouts while it holds it, and gives it back when it is told to stop.
use super::Care;
use crate::cluster::{
    Cluster, Key,
    lease::{Elector, Terms},
};
use futures::Stream;
use std::time::Duration;

/// So long the looks that are under way may take to end when the replica is told to stop. One that is cut off is as one
/// that crashed: the next leader's look mends it.
const LAST_LOOKS: Duration = Duration::from_secs(1);

/// How a replica's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody told it to stop; the Lease is given back.
    Told,
    /// Another replica may be acting by now. Nothing may be written any more.
    LeaseLost,
    /// All watches ended, which they never do by themselves.
    LooksEnded,
}

/// Lives until `stop` ends or the Lease is lost.
///
/// `seen` is called with every answer to the question whose the Lease is.
pub async fn lead(
    cluster: Cluster,
    terms: Terms,
    care: Care,
    wakes: impl Stream<Item = Key> + Send + 'static,
    seen: impl Fn(),
    stop: impl Future<Output = ()>,
) -> Ended {
    let mut stop = std::pin::pin!(stop);
    let mut elector = Elector::new(cluster.client(), terms, cluster.clock());
    #[cfg(test)]
    {
        elector.tamper = cluster.tamper().cloned();
    }
    let epoch = tokio::select! {
        biased;
        () = &mut stop => return Ended::Told,
        epoch = elector.acquire(seen) => epoch,
    };
    tracing::info!(epoch, "leading");
    cluster.lead(epoch);
    cluster.telemetry().leader.set(1);
    let resigned = cluster.clone();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let mut looks = Box::pin(super::run(cluster, care, wakes, async move {
        let _ = ended.await;
    }));
    tokio::select! {
        biased;
        () = lost(&mut elector, &resigned) => {
            resigned.resign();
            return Ended::LeaseLost;
        }
        () = &mut stop => {}
        () = &mut looks => return Ended::LooksEnded,
    }
    tracing::info!("stopping");
    let _ = end.send(());
    // What is under way ends while the Lease is still held, or goes no further; then another replica may begin at once.
    tokio::select! {
        biased;
        () = elector.hold() => {}
        () = &mut looks => {}
        () = tokio::time::sleep(LAST_LOOKS) => {}
    }
    // Looks are tasks of their own; what has not ended is cut off before the Lease is free, not after.
    drop(looks);
    resigned.resign();
    // One that is another's by now is left alone.
    elector.release().await;
    Ended::Told
}

/// Ends when the Lease is lost.
#[cfg_attr(not(test), expect(unused_variables, reason = "for planted mistakes"))]
async fn lost(elector: &mut Elector, cluster: &Cluster) {
    elector.hold().await;
    #[cfg(test)]
    if cluster.tamper().is_some_and(|tamper| tamper.outstays()) {
        std::future::pending::<()>().await;
    }
}
