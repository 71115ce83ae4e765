//! The application's own counters, by the names that most client libraries' guides use.
use super::{Kind, Place, Preset, Unit};

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
];
