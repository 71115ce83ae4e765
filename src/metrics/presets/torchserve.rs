//! `TorchServe`, with `metrics_mode=prometheus`. It has no histogram of latency.
use super::{Bad, Kind, Place, Preset};

/// Its presets.
pub(super) const ALL: &[Preset] = &[Preset {
    name: "torchserve/error-rate",
    about: "The share of requests that were answered with a status of 500 or above among those with a \
                status of 200 to 299 and of 500 or above. From Requests2XX and Requests5XX.",
    kind: Kind::Errors(Bad::Beside("Requests5XX")),
    place: Place::Pods,
    series: "Requests2XX",
    only: &[],
}];
