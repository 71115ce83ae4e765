//! Latency as the application measures it.
use super::{Kind, Place, Preset};

pub(super) const PRESET: Preset = Preset {
    name: "app/latency",
    about: "How long the pods took to answer. From the classic histogram http_request_duration_seconds. Probes count as \
            requests if the application counts them.",
    kind: Kind::Latency,
    place: Place::Pods,
    series: "http_request_duration_seconds_bucket",
};
