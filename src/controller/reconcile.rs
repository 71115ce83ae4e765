//! One look at one Rollout: observe, decide, write what was decided, perform.
use super::{Context, Root, key_of};
use crate::{
    api::{Rollout, RolloutStatus},
    cluster::{Around, Cluster, Error, Key, on_trial},
    plan,
    telemetry::{ReasonLabels, RolloutLabels, WeightLabels},
    vocab::Verdict,
};
use futures::FutureExt;
use kube::{ResourceExt, runtime::controller::Action};
use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::Instant;

/// One look, from whose errors and panics nobody else suffers: one that fails by our own fault is not begun again before
/// its quarantine is over, whatever wakes it.
///
/// # Errors
/// What kept it from its end; the caller decides when to look again.
pub async fn reconcile(root: Arc<Root>, context: Arc<Context>) -> Result<Action, Error> {
    let key = key_of(&root);
    if let Some(left) = context.backoff.left(&key, root.metadata.generation) {
        return Ok(Action::requeue(left));
    }
    Ok(guarded(&context, &key).await?.map_or_else(Action::await_change, Action::requeue))
}

/// The same by name, and when to look again.
///
/// # Errors
/// What kept it from its end; the caller decides when to look again.
pub async fn guarded(context: &Context, key: &Key) -> Result<Option<Duration>, Error> {
    let begun = Instant::now();
    let look = AssertUnwindSafe(Box::pin(look(&context.cluster, key))).catch_unwind();
    let result = match tokio::time::timeout(context.longest_look, look).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(Error::Panicked(words_of(panic.as_ref()))),
        Err(_) => Err(Error::TooSlow(context.longest_look.as_secs())),
    };
    context.cluster.telemetry().reconcile.observe(begun.elapsed().as_secs_f64());
    match &result {
        Ok(look) => {
            context.cluster.looked_well(key);
            if look.as_ref().is_some_and(|look| look.is_in_vain) {
                let wait = context.backoff.raced(key);
                return Ok(look.map(|look| look.again.max(wait)));
            }
            context.backoff.succeeded(key);
        }
        // A single slow look is the API server's, and over before anybody could act on it.
        Err(Error::TooSlow(_)) if !context.backoff.has_failed(key) => {}
        Err(error) if error.is_ours() => context.cluster.say_failed(key, error),
        Err(_) => {}
    }
    Ok(result?.map(|look| look.again))
}

/// How a look ended.
#[derive(Clone, Copy)]
struct Ended {
    /// When to look again.
    again: Duration,
    /// Whether it does what the last one did, or wrote what was not kept, or did nothing and wants to look at once. Once more it
    /// would end the same, and it is not to be done as fast as the API server lets it.
    is_in_vain: bool,
}

async fn look(cluster: &Cluster, key: &Key) -> Result<Option<Ended>, Error> {
    let seen = match Box::pin(cluster.observe(key)).await {
        Ok(Some(seen)) => seen,
        Ok(None) => {
            forget(cluster, key);
            return Ok(None);
        }
        Err(error) => {
            cluster.say_unreadable(key, &error).await;
            return Err(error);
        }
    };
    #[cfg(test)]
    let mut seen = seen;
    #[cfg(test)]
    if let Some(tamper) = cluster.tamper() {
        tamper.seen(&mut seen);
    }
    #[cfg_attr(not(test), expect(unused_mut, reason = "only a planted mistake changes it"))]
    let mut plan = plan::decide(&seen);
    #[cfg(test)]
    if let Some(tamper) = cluster.tamper() {
        tamper.decided(&seen, &mut plan);
    }
    // Only the pods of Jobs have to be told from others.
    let selectors = if seen.rollout.spec.analysis.runs_jobs() { seen.selectors() } else { Vec::new() };
    let port = seen.port();
    let mut rollout = seen.rollout;
    let last = rollout.status.as_ref().and_then(|status| status.intent.as_ref());
    let mut is_in_vain = plan.effect.is_some() && last == plan.status.intent.as_ref();
    if rollout.status.as_ref() != Some(&plan.status) {
        let version = rollout.resource_version();
        rollout = cluster.write_status(rollout, &plan.status).await?;
        if rollout.resource_version() == version {
            tracing::warn!(rollout = %key, "nothing of a status is kept: the definitions are older than this operator");
            is_in_vain = true;
        }
    } else if plan.effect.is_none() && !plan.look_again.is_positive() {
        is_in_vain = true;
    }
    for decision in &plan.news {
        tracing::info!(rollout = %key, reason = %decision.reason, message = decision.message, by = decision.by, "decided");
        cluster.telemetry().decisions.get_or_create(&ReasonLabels { reason: decision.reason.as_str() }).inc();
        cluster.publish(&rollout, decision);
    }
    cluster.answer(&rollout, &seen.actions, &plan.status.handled);
    let (pods, sets) = (&seen.pods, &seen.replica_sets);
    cluster.measure(&rollout, || Around { port, selectors, on_trial: on_trial(&rollout, sets, pods) });
    cluster.deliver(&rollout, &plan.status.alerts);
    numbers(cluster, &rollout, &plan.status);
    if let Some(effect) = &plan.effect {
        tracing::info!(rollout = %key, effect = effect.verb(), object = effect.object(), "performing");
        cluster.perform(&rollout, effect).await?;
    }
    Ok(Some(Ended { again: Duration::try_from(plan.look_again).unwrap_or_default(), is_in_vain }))
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}

fn numbers(cluster: &Cluster, rollout: &Rollout, status: &RolloutStatus) {
    let telemetry = cluster.telemetry();
    let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
    cluster.number_phase(&namespace, &name, status.phase);
    let labels = RolloutLabels { namespace: namespace.clone(), rollout: name.clone() };
    let step = status.step.as_ref();
    telemetry.step.get_or_create(&labels).set(step.map_or(0, |step| i64::from(step.index)));
    let observed = step.map_or(0, |step| i64::try_from(step.observed_seconds).unwrap_or(i64::MAX));
    telemetry.observed_seconds.get_or_create(&labels).set(observed);
    let weights = status.weights.clone().unwrap_or_default();
    for (weight, value) in [("desired", weights.desired), ("accepted", weights.accepted)] {
        let labels = WeightLabels { namespace: namespace.clone(), rollout: name.clone(), weight };
        telemetry.weight.get_or_create(&labels).set(i64::from(value.percent()));
    }
    // Those of templates stand in the status alone.
    let unknown = rollout.spec.analysis.metrics.iter().map(|metric| (metric.name.as_str(), -2));
    let judged = status.metrics.iter().map(|seen| {
        let verdict = match seen.verdict {
            Verdict::Pass => 1,
            Verdict::Continue => 0,
            Verdict::Fail => -1,
            Verdict::Unknown => -2,
        };
        (seen.name.as_str(), verdict)
    });
    telemetry.verdicts(&namespace, &name, &unknown.chain(judged).collect());
}

/// Nothing is kept of a Rollout that is gone, or is another operator's.
pub fn forget(cluster: &Cluster, key: &Key) {
    cluster.forget(key);
    forget_numbers(cluster, key);
}

fn forget_numbers(cluster: &Cluster, key: &Key) {
    let telemetry = cluster.telemetry();
    let (namespace, rollout) = (key.namespace.clone().unwrap_or_default(), key.name.clone());
    cluster.forget_phase(&namespace, &rollout);
    for weight in ["desired", "accepted"] {
        telemetry.weight.remove(&WeightLabels { namespace: namespace.clone(), rollout: rollout.clone(), weight });
    }
    telemetry.verdicts(&namespace, &rollout, &BTreeMap::new());
    let labels = RolloutLabels { namespace, rollout };
    telemetry.step.remove(&labels);
    telemetry.observed_seconds.remove(&labels);
}
