//! `LiteLLM`'s proxy, with its callback prometheus.
use super::{Kind, Place, Preset, Unit};

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "litellm/error-rate",
        about: "The share of requests that the proxy answered with a status of 500 or above. From \
                litellm_proxy_total_requests_metric_total.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "litellm_proxy_total_requests_metric_total",
        only: &[],
    },
    Preset {
        name: "litellm/latency",
        about: "How long a request took. From litellm_request_total_latency_metric, in seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "litellm_request_total_latency_metric_bucket",
        only: &[],
    },
    Preset {
        name: "litellm/time-to-first-token",
        about: "How long a streamed answer took to its first token. From \
                litellm_llm_api_time_to_first_token_metric, in seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "litellm_llm_api_time_to_first_token_metric_bucket",
        only: &[],
    },
];
