//! Linkerd: at the pods' own proxies, and at clients for each backend of an HTTPRoute of a Service.
use super::{Bad, Kind, Only, Place, Preset, Unit};
use crate::metrics::arms::{Of, equal};
use promql_parser::label::Matcher;

const FAILED: Bad = Bad::Labelled { labels: &["classification"], begin: &["failure"] };
/// What has no status says by its error why; a client that went away has cancelled, which is no fault of the backend.
const BY_ROUTE: Bad = Bad::Labelled {
    labels: &["http_status", "error"],
    begin: &[
        "5",
        "FAIL_FAST",
        "LOAD_SHED",
        "REQUEST_TIMEOUT",
        "RESPONSE_",
        "IDLE_TIMEOUT",
        "REFUSED",
        "ENHANCE_YOUR_CALM",
        "RESET",
        "GO_AWAY",
        "IO",
        "UNKNOWN",
    ],
};
/// What came in, without the scrapes of the proxy itself and the kubelet's probes.
const IN: &[Only] =
    &[Only::Is("direction", "inbound"), Only::IsNot("target_port", "4191"), Only::IsNot("route_name", "probe")];
const ROUTE: Place = Place::Proxy { name: "Linkerd", backend, beat: None, is_apart: false };

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "linkerd/error-rate",
        about: "The share of requests that the pods failed, by Linkerd's classification, as their own \
                proxies see it. From response_total with direction inbound.",
        kind: Kind::Errors(FAILED),
        place: Place::Pods,
        series: "response_total",
        only: IN,
    },
    Preset {
        name: "linkerd/latency",
        about: "How long the pods took to the first byte of an answer. From response_latency_ms with \
                direction inbound.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: Place::Pods,
        series: "response_latency_ms_bucket",
        only: IN,
    },
    Preset {
        name: "linkerd-route/error-rate",
        about: "The share of requests that ended with a status of 500 or above, or with none, for each of the two backends \
                of an HTTPRoute whose parent is a Service, as meshed clients see it. From \
                outbound_http_route_backend_response_statuses_total, since 2.16.",
        kind: Kind::Errors(BY_ROUTE),
        place: ROUTE,
        series: "outbound_http_route_backend_response_statuses_total",
        only: &[],
    },
    Preset {
        name: "linkerd-route/latency",
        about: "How long meshed clients waited for each of the two backends. From \
                outbound_http_route_backend_response_duration_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: ROUTE,
        series: "outbound_http_route_backend_response_duration_seconds_bucket",
        only: &[],
    },
];

fn backend(of: &Of<'_>) -> Vec<Matcher> {
    vec![equal("backend_namespace", of.namespace), equal("backend_name", &of.names.service)]
}
