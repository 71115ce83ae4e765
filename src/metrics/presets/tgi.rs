//! Hugging Face's Text Generation Inference.
use super::{Bad, Kind, Only, Place, Preset, Ratio, Unit};

/// What was refused as malformed, or given up by a client, is no failure of the server's.
const SERVED: &[Only] = &[Only::Unlike("err", "validation|dropped")];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "tgi/error-rate",
        about: "The share of requests that failed, without those refused as malformed and those that a \
                client gave up. From tgi_request_count and tgi_request_failure.",
        kind: Kind::Errors(Bad::Among("tgi_request_failure")),
        place: Place::Pods,
        series: "tgi_request_count",
        only: SERVED,
    },
    Preset {
        name: "tgi/latency",
        about: "How long a request took. From tgi_request_duration, in seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "tgi_request_duration_bucket",
        only: &[],
    },
    Preset {
        name: "tgi/queue-time",
        about: "How long a request waited before it was worked on. From tgi_request_queue_duration, in \
                seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "tgi_request_queue_duration_bucket",
        only: &[],
    },
    Preset {
        name: "tgi/time-per-output-token",
        about: "The mean time that a request took for each token. From \
                tgi_request_mean_time_per_token_duration, in seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "tgi_request_mean_time_per_token_duration_bucket",
        only: &[],
    },
    Preset {
        name: "tgi/mean-tokens-per-second",
        about: "How many tokens a request was given a second while it was worked on. From \
                tgi_request_generated_tokens and tgi_request_inference_duration.",
        kind: Kind::Ratio(Ratio { per: "tgi_request_inference_duration_sum", times: 1.0 }),
        place: Place::Pods,
        series: "tgi_request_generated_tokens_sum",
        only: &[],
    },
];
