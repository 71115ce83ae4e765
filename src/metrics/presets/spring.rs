//! Spring Boot, as Micrometer counts.
use super::{Kind, Only, Place, Preset, Unit};

/// Probes and scrapes are no requests of users.
const USERS: &[Only] = &[Only::Unlike("uri", "/actuator.*")];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "spring/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above. From \
                http_server_requests_seconds_count.",
        kind: Kind::Errors(super::BY_STATUS),
        place: Place::Pods,
        series: "http_server_requests_seconds_count",
        only: USERS,
    },
    Preset {
        name: "spring/latency",
        about: "How long the pods took to answer. From http_server_requests_seconds_bucket, which is there \
                with management.metrics.distribution.percentiles-histogram.http.server.requests=true.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "http_server_requests_seconds_bucket",
        only: USERS,
    },
];
