//! The application's own counters, by the names that most client libraries' guides use.
use super::{Kind, Only, Place, Preset, Unit};

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "app/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                http_requests_total with a label code, status or status_code, whose value begins with 5 for \
                an error, as in 500 and 5xx: Go's promhttp, prometheus-fastapi-instrumentator, prom-client \
                by its guide. Probes count as requests if the application counts them.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_requests_total",
        only: &[],
    },
    Preset {
        name: "app/latency",
        about: "How long the pods took to answer. From the classic histogram http_request_duration_seconds: \
                Go's promhttp, express-prom-bundle, prometheus-fastapi-instrumentator. Probes count as \
                requests if the application counts them.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "http_request_duration_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "express/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                http_request_duration_seconds_count with a label status_code: express-prom-bundle.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_request_duration_seconds_count",
        only: &[],
    },
    Preset {
        name: "axum/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                axum_http_requests_total: axum-prometheus.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "axum_http_requests_total",
        only: &[],
    },
    Preset {
        name: "axum/latency",
        about: "How long the pods took to answer. From axum_http_requests_duration_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "axum_http_requests_duration_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "rack/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                http_server_requests_total: the middleware of Ruby's prometheus-client.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_server_requests_total",
        only: &[],
    },
    Preset {
        name: "rack/latency",
        about: "How long the pods took to answer. From http_server_request_duration_seconds without a label of \
                OpenTelemetry's: the same middleware.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "http_server_request_duration_seconds_bucket",
        only: &[Only::Is("http_request_method", "")],
    },
];
