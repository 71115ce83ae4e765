//! Contour's Envoy, which has a cluster for each Service and port.
use super::{Bad, Kind, Place, Preset, Unit};
use crate::metrics::arms::{Of, equal};
use promql_parser::label::Matcher;

/// Envoy writes the class as a bare digit.
const FAILED: Bad = Bad::Labelled { labels: &["envoy_response_code_class"], begin: &["5"] };
const CONTOUR: Place = Place::Proxy { name: "Contour", backend, beat: None, is_apart: false };

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "contour/error-rate",
        about: "The share of requests that ended with a status of 500 or above for each of the two Services. \
                From envoy_cluster_upstream_rq_xx. A call of gRPC that fails has status 200 all the same: take \
                grpc/error-rate or opentelemetry-rpc/error-rate.",
        kind: Kind::Errors(FAILED),
        place: CONTOUR,
        series: "envoy_cluster_upstream_rq_xx",
        only: &[],
    },
    Preset {
        name: "contour/latency",
        about: "How long Envoy waited for each of the two Services. From envoy_cluster_upstream_rq_time, in \
                milliseconds.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: CONTOUR,
        series: "envoy_cluster_upstream_rq_time_bucket",
        only: &[],
    },
];

/// `NAMESPACE_SERVICE_PORT`.
fn backend(of: &Of<'_>) -> Vec<Matcher> {
    vec![equal("envoy_cluster_name", &format!("{}_{}_{}", of.namespace, of.names.service, of.port))]
}
