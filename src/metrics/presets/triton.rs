//! NVIDIA Triton.
use super::{Bad, Kind, Only, Place, Preset, Ratio, Unit};

/// What a client cancelled is no failure of the server's.
const SERVED: &[Only] = &[Only::IsNot("reason", "CANCELED")];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "triton/error-rate",
        about: "The share of inference requests that failed, without those that a client cancelled and those \
                that the front end refused. From nv_inference_request_success and \
                nv_inference_request_failure.",
        kind: Kind::Errors(Bad::Beside("nv_inference_request_failure")),
        place: Place::Pods,
        series: "nv_inference_request_success",
        only: SERVED,
    },
    Preset {
        name: "triton/time-to-first-response",
        about: "How long it took to the first response. From nv_inference_first_response_histogram_ms, which \
                is there with --metrics-config histogram_latencies=true.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: Place::Pods,
        series: "nv_inference_first_response_histogram_ms_bucket",
        only: &[],
    },
    Preset {
        name: "triton/mean-latency",
        about: "How long a request took in the mean. From nv_inference_request_duration_us and \
                nv_inference_request_success, which are there without any setting.",
        kind: Kind::Ratio(Ratio { per: "nv_inference_request_success", times: 1e-6 }),
        place: Place::Pods,
        series: "nv_inference_request_duration_us",
        only: &[],
    },
    Preset {
        name: "triton/mean-queue-time",
        about: "How long a request waited in the mean before it was worked on. From nv_inference_queue_duration_us \
                and nv_inference_request_success.",
        kind: Kind::Ratio(Ratio { per: "nv_inference_request_success", times: 1e-6 }),
        place: Place::Pods,
        series: "nv_inference_queue_duration_us",
        only: &[],
    },
];
