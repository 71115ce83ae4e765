//! Latency as Traefik sees it for each backend of a Gateway API route.
use super::{Kind, Place, Preset};

pub(super) const PRESET: Preset = Preset {
    name: "traefik/latency",
    about: "How long Traefik waited for each of the two Services of a Gateway API route. From \
            traefik_service_request_duration_seconds; its edges are Traefik's setting metrics.prometheus.buckets, without it \
            100ms, 300ms, 1200ms and 5s. A limit lies on one of them.",
    kind: Kind::Latency,
    place: Place::Traefik,
    series: "traefik_service_request_duration_seconds_bucket",
};
