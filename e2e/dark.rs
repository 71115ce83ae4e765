//! When Kubernetes calls the node not ready, it calls all of its pods not ready too: then no Service has endpoints, and no
//! gateway on earth can answer, though every process lives.
use crate::stage::Stage;

/// So long a gateway may need to hear what became of pods.
const HEARD_MS: f64 = 3_000.0;
/// Times of conditions have no fractions of a second.
const COARSE_MS: f64 = 1_000.0;

/// What is lost while all of stable's pods are called not ready is counted apart, from now on; returns for how many
/// seconds they were, if they were.
pub fn apart(stage: &mut Stage<'_>) -> Option<f64> {
    let stable = stage.records.pods_of(&stage.stable_hash);
    let dark = stable.values().filter_map(|pod| pod.dark_at).reduce(f64::min)?;
    let light = stable.values().map(|pod| pod.ready_at).fold(dark, f64::max);
    let (begin, end) = (dark - COARSE_MS, light + HEARD_MS);
    stage.apart = Some(Box::new(move |request| request.t < end && request.t + request.ms > begin));
    Some((light - dark) / 1000.0)
}
