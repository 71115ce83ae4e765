//! The application's own counters, by the names that most client libraries' guides use.
use super::{Kind, Only, PROBES, Place, Preset, Unit};

/// Where probes and scrapes are counted, one of these labels tells them, if any does.
const USERS: &[Only] = &[Only::Unlike("handler", PROBES), Only::Unlike("path", PROBES), Only::Unlike("route", PROBES)];
const BY_ENDPOINT: &[Only] = &[Only::Unlike("endpoint", PROBES)];
const BY_PATH: &[Only] = &[Only::Unlike("path", PROBES)];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "app/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                http_requests_total with a label code, status or status_code, whose value begins with 5 for \
                an error, as in 500 and 5xx: Go's promhttp, prometheus-fastapi-instrumentator, prom-client \
                by its guide. Probes do not count where a label handler, path or route tells them.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_requests_total",
        only: USERS,
    },
    Preset {
        name: "app/latency",
        about: "How long the pods took to answer. From the classic histogram http_request_duration_seconds: \
                Go's promhttp, express-prom-bundle, prometheus-fastapi-instrumentator. Probes do not count where a \
                label handler, path or route tells them.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "http_request_duration_seconds_bucket",
        only: USERS,
    },
    Preset {
        name: "express/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                http_request_duration_seconds_count with a label status_code: express-prom-bundle. Probes do not \
                count where a label handler, path or route tells them.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_request_duration_seconds_count",
        only: USERS,
    },
    Preset {
        name: "axum/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                axum_http_requests_total: axum-prometheus.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "axum_http_requests_total",
        only: BY_ENDPOINT,
    },
    Preset {
        name: "axum/latency",
        about: "How long the pods took to answer. From axum_http_requests_duration_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "axum_http_requests_duration_seconds_bucket",
        only: BY_ENDPOINT,
    },
    Preset {
        name: "rack/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                http_server_requests_total: the middleware of Ruby's prometheus-client.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_server_requests_total",
        only: BY_PATH,
    },
    Preset {
        name: "rack/latency",
        about: "How long the pods took to answer. From http_server_request_duration_seconds without a label of \
                OpenTelemetry's: the same middleware.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "http_server_request_duration_seconds_bucket",
        only: &[Only::Is("http_request_method", ""), Only::Unlike("path", PROBES)],
    },
];
