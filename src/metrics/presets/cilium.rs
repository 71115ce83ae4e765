//! Cilium's Hubble, which tells pods apart when its labelsContext says so.
use super::{Bad, Kind, Only, Place, Preset, Unit};
use crate::metrics::arms::{Of, equal, pattern, pods_of};
use promql_parser::label::Matcher;

const FAILED: Bad = Bad::Labelled { labels: &["status"], begin: &["5"] };
/// Both nodes may have seen a request; the one that answers counts.
const AT_SERVER: &[Only] = &[Only::Is("reporter", "server")];
const HUBBLE: Place = Place::Proxy { name: "Hubble", backend, beat: None, is_apart: true };

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "cilium/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above, as Hubble sees \
                it. From hubble_http_requests_total with metrics \
                httpV2:labelsContext=destination_namespace,destination_pod. A call of gRPC that fails has status 200 \
                all the same: take grpc/error-rate or opentelemetry-rpc/error-rate.",
        kind: Kind::Errors(FAILED),
        place: HUBBLE,
        series: "hubble_http_requests_total",
        only: AT_SERVER,
    },
    Preset {
        name: "cilium/latency",
        about: "How long the pods took to answer, as Hubble sees it. From \
                hubble_http_request_duration_seconds, with the same labels.",
        kind: Kind::Latency(Unit::Seconds),
        place: HUBBLE,
        series: "hubble_http_request_duration_seconds_bucket",
        only: AT_SERVER,
    },
];

fn backend(of: &Of<'_>) -> Vec<Matcher> {
    vec![equal("destination_namespace", of.namespace), pattern("destination_pod", &pods_of(&of.names.replica_set))]
}
