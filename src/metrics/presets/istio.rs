//! Istio: at gateways and clients by Service, at waypoints of the ambient mode likewise, at the pods' own sidecars by pod.
use super::{Bad, Kind, Only, Place, Preset, Unit};
use crate::metrics::arms::{Of, escape, pattern};
use promql_parser::label::Matcher;

/// A client that went away leaves 0 behind, which is no error of the pods.
const FAILED: Bad = Bad::Labelled { labels: &["response_code"], begin: &["5"] };
/// What the sender's proxy counted; never to be added to what others did.
const SENT: &[Only] = &[Only::Is("reporter", "source")];
const AT_WAYPOINT: &[Only] = &[Only::Is("reporter", "waypoint")];
const AT_SIDECAR: &[Only] = &[Only::Is("reporter", "destination")];
const ISTIO: Place = Place::Proxy { name: "Istio", backend, beat: None, is_apart: false };

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "istio/error-rate",
        about: "The share of requests that ended with a status of 500 or above for each of the two Services, \
                as gateways and clients' sidecars see it, those included that reached no pod. From \
                istio_requests_total with reporter source. A call of gRPC that fails has status 200 all the same: take \
                grpc/error-rate or opentelemetry-rpc/error-rate.",
        kind: Kind::Errors(FAILED),
        place: ISTIO,
        series: "istio_requests_total",
        only: SENT,
    },
    Preset {
        name: "istio/latency",
        about: "How long gateways and clients' sidecars waited for each of the two Services. From \
                istio_request_duration_milliseconds with reporter source.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: ISTIO,
        series: "istio_request_duration_milliseconds_bucket",
        only: SENT,
    },
    Preset {
        name: "istio-waypoint/error-rate",
        about: "The same at the waypoints of the ambient mode.",
        kind: Kind::Errors(FAILED),
        place: ISTIO,
        series: "istio_requests_total",
        only: AT_WAYPOINT,
    },
    Preset {
        name: "istio-waypoint/latency",
        about: "The same at the waypoints of the ambient mode.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: ISTIO,
        series: "istio_request_duration_milliseconds_bucket",
        only: AT_WAYPOINT,
    },
    Preset {
        name: "istio-sidecar/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above, as their own \
                sidecars see it. From istio_requests_total with reporter destination, told apart by the pod \
                that was scraped. A call of gRPC that fails has status 200 all the same.",
        kind: Kind::Errors(FAILED),
        place: Place::Pods,
        series: "istio_requests_total",
        only: AT_SIDECAR,
    },
    Preset {
        name: "istio-sidecar/latency",
        about: "How long the pods took to answer, as their own sidecars see it. From \
                istio_request_duration_milliseconds with reporter destination.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: Place::Pods,
        series: "istio_request_duration_milliseconds_bucket",
        only: AT_SIDECAR,
    },
];

/// The Service's full name: its namespace has a label of its own that is unknown for a request that reached no pod.
fn backend(of: &Of<'_>) -> Vec<Matcher> {
    let name = format!("{}.{}.svc.", of.names.service, of.namespace);
    vec![pattern("destination_service", &(escape(&name) + ".+"))]
}
