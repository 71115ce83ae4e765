//! `KServe`'s model server, which counts no failures: they are seen at the route, or at the mesh.
use super::{Kind, Place, Preset, Unit};

/// Its presets.
pub(super) const ALL: &[Preset] = &[Preset {
    name: "kserve/latency",
    about: "How long a model took to predict. From request_predict_seconds.",
    kind: Kind::Latency(Unit::Seconds),
    place: Place::Pods,
    series: "request_predict_seconds_bucket",
    only: &[],
}];
