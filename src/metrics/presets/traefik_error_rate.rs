//! Errors as Traefik counts them for each backend of a Gateway API route.
use super::{Kind, Place, Preset};

pub(super) const PRESET: Preset = Preset {
    name: "traefik/error-rate",
    about: "The share of requests that Traefik answered with a status of 500 or above for each of the two Services of a \
            Gateway API route, those included that it could not deliver. From traefik_service_requests_total.",
    kind: Kind::Errors,
    place: Place::Traefik,
    series: "traefik_service_requests_total",
};
