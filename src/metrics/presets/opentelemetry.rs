//! OpenTelemetry's conventions for servers, as Prometheus stores their names.
use super::{Bad, GRPC_PROBES, Kind, Only, PROBES, Place, Preset, Ratio, Unit};

/// A server that broke off before it had a status has an error type alone, and some libraries have not even that.
const HTTP: Bad = Bad::Unanswered { label: "http_response_status_code", begin: &["5"] };
/// As the convention names what is the server's fault.
const RPC: Bad = Bad::Labelled {
    labels: &["rpc_response_status_code", "grpc_status"],
    begin: &["UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNIMPLEMENTED"],
};
const HTTP_OLD: Bad = Bad::Unanswered { label: "http_status_code", begin: &["5"] };
/// The same as numbers, of which none of the others begins with these; and as words, which Go's library has come to write
/// where it keeps the old names.
const RPC_OLD: Bad = Bad::Labelled {
    labels: &["rpc_grpc_status_code", "rpc_response_status_code"],
    begin: &[
        "2",
        "4",
        "12",
        "13",
        "14",
        "15",
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNIMPLEMENTED",
    ],
};
/// Tokens of questions are not given by anybody; durations have no such label.
const ANSWERS: &[Only] = &[Only::Like("gen_ai_token_type", "output|completion|")];
/// A model that answered without an error has no error type.
const GENAI: Bad = Bad::Marked("error_type");
/// Probes and scrapes are no requests of users.
const USERS: &[Only] = &[Only::Unlike("http_route", PROBES)];
/// The route has another name in Python's libraries, which write it where the target was.
const USERS_OLD: &[Only] = &[Only::Unlike("http_route", PROBES), Only::Unlike("http_target", PROBES)];
/// The service has a label of its own, or stands before the method.
const CALLERS: &[Only] = &[Only::Unlike("rpc_service", GRPC_PROBES), Only::Unlike("rpc_method", GRPC_PROBES)];

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "opentelemetry-http/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above, or not at all. From \
                http_server_request_duration_seconds_count with the label http_response_status_code: \
                OpenTelemetry's HTTP convention since 1.23, ASP.NET Core since .NET 8.",
        kind: Kind::Errors(HTTP),
        place: Place::Pods,
        series: "http_server_request_duration_seconds_count",
        only: USERS,
    },
    Preset {
        name: "opentelemetry-http/latency",
        about: "How long the pods took to answer. From the histogram http_server_request_duration_seconds of \
                the same convention.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "http_server_request_duration_seconds_bucket",
        only: USERS,
    },
    Preset {
        name: "opentelemetry-http-old/latency",
        about: "How long the pods took to answer, by OpenTelemetry's HTTP convention before 1.23. From the \
                histogram http_server_duration_milliseconds.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: Place::Pods,
        series: "http_server_duration_milliseconds_bucket",
        only: USERS_OLD,
    },
    Preset {
        name: "opentelemetry-rpc/error-rate",
        about: "The share of calls that ended with a status that is the server's fault. From \
                rpc_server_call_duration_seconds_count with the label rpc_response_status_code: \
                OpenTelemetry's RPC convention. Calls of the health and reflection services do not count.",
        kind: Kind::Errors(RPC),
        place: Place::Pods,
        series: "rpc_server_call_duration_seconds_count",
        only: CALLERS,
    },
    Preset {
        name: "opentelemetry-rpc/latency",
        about: "How long the pods took to answer a call. From the histogram rpc_server_call_duration_seconds \
                of the same convention.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "rpc_server_call_duration_seconds_bucket",
        only: CALLERS,
    },
    Preset {
        name: "opentelemetry-genai/error-rate",
        about: "The share of requests to a model that ended with an error. From \
                gen_ai_server_request_duration_seconds_count, whose label error_type is there when one did: \
                OpenTelemetry's convention for generative models.",
        kind: Kind::Errors(GENAI),
        place: Place::Pods,
        series: "gen_ai_server_request_duration_seconds_count",
        only: &[],
    },
    Preset {
        name: "opentelemetry-genai/latency",
        about: "How long a model took to answer in full. From gen_ai_server_request_duration_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "gen_ai_server_request_duration_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "opentelemetry-genai/time-to-first-token",
        about: "How long a model took to its first token. From gen_ai_server_time_to_first_token_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "gen_ai_server_time_to_first_token_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "opentelemetry-genai/time-per-output-token",
        about: "How long a model took for each token after the first. From \
                gen_ai_server_time_per_output_token_seconds.",
        kind: Kind::Latency(Unit::Seconds),
        place: Place::Pods,
        series: "gen_ai_server_time_per_output_token_seconds_bucket",
        only: &[],
    },
    Preset {
        name: "opentelemetry-genai/mean-tokens-per-second",
        about: "How many tokens a model answered a second, as the application that asks it sees it. From \
                gen_ai_client_token_usage with the type output, and gen_ai_client_operation_duration_seconds.",
        kind: Kind::Ratio(Ratio { per: "gen_ai_client_operation_duration_seconds_sum", times: 1.0 }),
        place: Place::Pods,
        series: "gen_ai_client_token_usage_sum",
        only: ANSWERS,
    },
    Preset {
        name: "opentelemetry-http-old/error-rate",
        about: "The share of requests that the pods answered with a status of 500 or above, or not at all, by \
                OpenTelemetry's HTTP convention before 1.23. From http_server_duration_milliseconds_count with \
                the label http_status_code. Probes do not count where http_route or http_target tells them.",
        kind: Kind::Errors(HTTP_OLD),
        place: Place::Pods,
        series: "http_server_duration_milliseconds_count",
        only: USERS_OLD,
    },
    Preset {
        name: "opentelemetry-rpc-old/error-rate",
        about: "The share of calls that ended with a status that is the server's fault, by OpenTelemetry's RPC \
                convention before it was stable. From rpc_server_duration_milliseconds_count with the label \
                rpc_grpc_status_code or rpc_response_status_code. Calls of the health and reflection services do \
                not count.",
        kind: Kind::Errors(RPC_OLD),
        place: Place::Pods,
        series: "rpc_server_duration_milliseconds_count",
        only: CALLERS,
    },
    Preset {
        name: "opentelemetry-rpc-old/latency",
        about: "How long the pods took to answer a call, by the same convention. From the histogram \
                rpc_server_duration_milliseconds.",
        kind: Kind::Latency(Unit::Milliseconds),
        place: Place::Pods,
        series: "rpc_server_duration_milliseconds_bucket",
        only: CALLERS,
    },
];
