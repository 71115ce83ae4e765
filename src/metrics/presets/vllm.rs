//! vLLM, with its engine of version 1.
use super::{Bad, Kind, Only, Place, Preset, Ratio, Unit};

/// An abort is the client's; what the engine could not do is an error.
const FAILED: Bad = Bad::Labelled { labels: &["finished_reason"], begin: &["error"] };
/// The API server counts its own pages too.
const USERS: &[Only] = &[Only::Like("handler", "/v1/.*")];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "vllm/error-rate",
        about: "The share of requests that the API server answered with a status of 500 or above, from \
                http_requests_total with a handler below /v1. An answer that breaks off in its middle had \
                status 200 before: see vllm/engine-error-rate.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_requests_total",
        only: USERS,
    },
    Preset {
        name: "vllm/engine-error-rate",
        about: "The share of requests that the engine ended with an error, those included that had begun to \
                answer. From vllm:request_success_total, which counts by finished_reason.",
        kind: Kind::Errors(FAILED),
        place: Place::Pods,
        series: "vllm:request_success_total",
        only: &[],
    },
    Preset {
        name: "vllm/time-to-first-token",
        about: "How long it took to the first token. From vllm:time_to_first_token_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "vllm:time_to_first_token_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "vllm/time-per-output-token",
        about: "How long it took from token to token. From vllm:inter_token_latency_seconds, since 0.11.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "vllm:inter_token_latency_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "vllm/latency",
        about: "How long a request took from its arrival to its last token. From \
                vllm:e2e_request_latency_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "vllm:e2e_request_latency_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "vllm/queue-time",
        about: "How long a request waited before it was worked on. From vllm:request_queue_time_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "vllm:request_queue_time_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "vllm/mean-tokens-per-second",
        about: "How many tokens a request was given a second once it had its first. From \
                vllm:request_generation_tokens and vllm:request_decode_time_seconds.",
        kind: Kind::Ratio(Ratio { per: "vllm:request_decode_time_seconds_sum", times: 1.0 }),
        place: Place::Pods,
        series: "vllm:request_generation_tokens_sum",
        only: &[],
    },
];
