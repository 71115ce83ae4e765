//! Errors as the application counts them.
use super::{Kind, Place, Preset};

pub(super) const PRESET: Preset = Preset {
    name: "app/error-rate",
    about: "The share of requests that the pods answered with a status of 500 or above. From http_requests_total with a \
            label code or status, whose value begins with 5 for an error. Probes count as requests if the application \
            counts them.",
    kind: Kind::Errors,
    place: Place::Pods,
    series: "http_requests_total",
};
