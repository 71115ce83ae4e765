//! `TorchServe`, with `metrics_mode=prometheus`. It has no histogram of latency, but sums of it.
use super::{Bad, Kind, Place, Preset, Ratio};

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "torchserve/error-rate",
        about: "The share of requests that were answered with a status of 500 or above among those with a \
                status of 200 to 299 and of 500 or above. From Requests2XX and Requests5XX.",
        kind: Kind::Errors(Bad::Beside("Requests5XX")),
        place: Place::Pods,
        series: "Requests2XX",
        only: &[],
    },
    Preset {
        name: "torchserve/mean-latency",
        about: "How long a request took in the mean, its time in the queue among it. From \
                ts_inference_latency_microseconds and ts_inference_requests_total.",
        kind: Kind::Ratio(Ratio { per: "ts_inference_requests_total", times: 1e-6 }),
        place: Place::Pods,
        series: "ts_inference_latency_microseconds",
        only: &[],
    },
    Preset {
        name: "torchserve/mean-queue-time",
        about: "How long a request waited in the mean before it was worked on. From ts_queue_latency_microseconds \
                and ts_inference_requests_total.",
        kind: Kind::Ratio(Ratio { per: "ts_inference_requests_total", times: 1e-6 }),
        place: Place::Pods,
        series: "ts_queue_latency_microseconds",
        only: &[],
    },
];
