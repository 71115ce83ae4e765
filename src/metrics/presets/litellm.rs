//! `LiteLLM`'s proxy, with its callback prometheus.
use super::{Kind, Place, Preset, Ratio, Unit};

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
    Preset {
        name: "litellm/mean-cost-per-1000-tokens",
        about: "What a thousand tokens cost, those of questions and of answers. From litellm_spend_metric_total and \
                litellm_total_tokens_metric_total.",
        kind: Kind::Ratio(Ratio { per: "litellm_total_tokens_metric_total", times: 1_000.0 }),
        place: Place::Pods,
        series: "litellm_spend_metric_total",
        only: &[],
    },
    Preset {
        name: "litellm/mean-tokens-per-second",
        about: "How many tokens of answers the models gave a second of their time. From \
                litellm_output_tokens_metric_total and litellm_llm_api_latency_metric.",
        kind: Kind::Ratio(Ratio { per: "litellm_llm_api_latency_metric_sum", times: 1.0 }),
        place: Place::Pods,
        series: "litellm_output_tokens_metric_total",
        only: &[],
    },
];
