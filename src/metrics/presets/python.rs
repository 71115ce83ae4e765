//! Django, Flask and Starlette, by their usual exporters.
use super::{Kind, Only, PROBES, Place, Preset, Unit};

/// The exporter counts the reads of its own page.
const USERS: &[Only] = &[Only::Unlike("path", PROBES)];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "django/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                django_http_responses_total_by_status_total: django-prometheus.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "django_http_responses_total_by_status_total",
        only: &[],
    },
    Preset {
        name: "django/latency",
        about: "How long the pods took to answer, middlewares included. From \
                django_http_requests_latency_including_middlewares_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "django_http_requests_latency_including_middlewares_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "flask/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                flask_http_request_total: prometheus_flask_exporter.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "flask_http_request_total",
        only: &[],
    },
    Preset {
        name: "flask/latency",
        about: "How long the pods took to answer. From flask_http_request_duration_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "flask_http_request_duration_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "starlette/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                starlette_requests_total: starlette_exporter. Probes and scrapes do not count.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "starlette_requests_total",
        only: USERS,
    },
    Preset {
        name: "starlette/latency",
        about: "How long the pods took to answer. From starlette_request_duration_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "starlette_request_duration_seconds_bucket",
        only: USERS,
    },
];
