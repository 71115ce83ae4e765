//! Ray Serve.
use super::{Bad, Kind, Place, Preset, Unit};

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "ray-serve/error-rate",
        about: "The share of calls of deployments that ended with an exception. From \
                ray_serve_deployment_request_counter_total, which counts what succeeded, and \
                ray_serve_deployment_error_counter_total.",
        kind: Kind::Errors(Bad::Beside("ray_serve_deployment_error_counter_total")),
        place: Place::Pods,
        series: "ray_serve_deployment_request_counter_total",
        only: &[],
    },
    Preset {
        name: "ray-serve/latency",
        about: "How long a deployment took for a call. From ray_serve_deployment_processing_latency_ms.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: Place::Pods,
        series: "ray_serve_deployment_processing_latency_ms_bucket",
        only: &[],
    },
];
