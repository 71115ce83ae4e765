//! gRPC servers that count with go-grpc-prometheus, go-grpc-middleware or py-grpc-prometheus.
use super::{Bad, GRPC_PROBES, Kind, Only, Place, Preset, Unit};

/// What is the server's fault, in the spelling of Go's libraries and in that of Python's.
const FAULTS: Bad = Bad::Labelled {
    labels: &["grpc_code"],
    begin: &[
        "Unknown",
        "DeadlineExceeded",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unimplemented",
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNIMPLEMENTED",
    ],
};
/// Probes are no calls of users.
const USERS: &[Only] = &[Only::Unlike("grpc_service", GRPC_PROBES)];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "grpc/error-rate",
        about: "The share of calls that ended with Unknown, DeadlineExceeded, Internal, Unavailable, \
                DataLoss or Unimplemented, in capitals or not. From grpc_server_handled_total. Calls of the \
                health and reflection services do not count.",
        kind: Kind::Errors(FAULTS),
        place: Place::Pods,
        series: "grpc_server_handled_total",
        only: USERS,
    },
    Preset {
        name: "grpc/latency",
        about: "How long the pods took to answer a call. From grpc_server_handling_seconds, which a server \
                has to switch on.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "grpc_server_handling_seconds_bucket",
        only: USERS,
    },
];
