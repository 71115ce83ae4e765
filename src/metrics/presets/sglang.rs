//! `SGLang`, with --enable-metrics.
use super::{Kind, Only, PROBES, Place, Preset, Ratio, Unit};

/// The server counts probes and the reads of its own page too.
const USERS: &[Only] = &[Only::Unlike("endpoint", PROBES)];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "sglang/error-rate",
        about: "The share of requests that were answered with a status of 500 or above. From \
                sglang:http_responses_total. Probes and scrapes do not count.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "sglang:http_responses_total",
        only: USERS,
    },
    Preset {
        name: "sglang/time-to-first-token",
        about: "How long it took to the first token. From sglang:time_to_first_token_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "sglang:time_to_first_token_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "sglang/time-per-output-token",
        about: "How long it took from token to token. From sglang:inter_token_latency_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "sglang:inter_token_latency_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "sglang/latency",
        about: "How long a request took from its arrival to its last token. From \
                sglang:e2e_request_latency_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "sglang:e2e_request_latency_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "sglang/queue-time",
        about: "How long a request waited before it was worked on. From sglang:queue_time_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "sglang:queue_time_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "sglang/mean-tokens-per-second",
        about: "How many tokens a request was given a second, from its arrival on. From sglang:generation_tokens_total \
                and sglang:e2e_request_latency_seconds.",
        kind: Kind::Ratio(Ratio { per: "sglang:e2e_request_latency_seconds_sum", times: 1.0 }),
        place: Place::Pods,
        series: "sglang:generation_tokens_total",
        only: &[],
    },
];
