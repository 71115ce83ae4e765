//! Each product's counters as it exposes them, and what its presets make of them.
use super::{super::tests::subject, *};
use crate::vocab::Arm;
use std::collections::HashMap;

/// A line of the exposition format: the labels, the name among them.
fn line(text: &str) -> HashMap<String, String> {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let mut labels = HashMap::from([("__name__".to_owned(), name.to_owned())]);
    let mut rest = rest.trim_end_matches('}');
    while let Some((label, more)) = rest.split_once("=\"") {
        let (value, more) = more.split_once('"').unwrap();
        labels.insert(label.trim_start_matches(',').to_owned(), value.to_owned());
        rest = more;
    }
    labels
}

/// Whether a preset's selector for the canary finds a series.
pub(super) fn is_found(preset: &Preset, labels: &HashMap<String, String>) -> bool {
    let (name, mut matchers) = preset.selected();
    matchers.extend(name.map(|name| equal("__name__", &name)));
    if let Place::Proxy { backend, .. } = preset.place {
        let (subject, names) = (subject(), super::super::Labels::default());
        let of = Of {
            arm: Arm::Canary,
            labels: &names,
            namespace: &subject.namespace,
            names: &subject.canary,
            port: subject.port,
        };
        matchers.extend(backend(&of));
    }
    matchers.iter().all(|matcher| matcher.is_match(labels.get(&matcher.name).map_or("", String::as_str)))
}

/// Series of a product, by the documentation and the sources of each: good, bad, of a histogram, and not to be counted.
const SERIES: &[(&str, &str)] = &[
    (
        "good",
        r#"traefik_service_requests_total{service="demo-app-canary-http-80@kubernetesgateway",code="200",method="GET"}"#,
    ),
    (
        "bad",
        r#"traefik_service_requests_total{service="demo-app-canary-http-80@kubernetesgateway",code="502",method="GET"}"#,
    ),
    (
        "not",
        r#"traefik_service_requests_total{service="demo-app-canary-http-80@kubernetesgateway",code="5",method="POST",protocol="grpc"}"#,
    ),
    (
        "not",
        r#"traefik_service_requests_total{service="demo-app-stable-http-80@kubernetesgateway",code="502",method="GET"}"#,
    ),
    (
        "0.3",
        r#"traefik_service_request_duration_seconds_bucket{service="demo-app-canary-http-80@kubernetesgateway",le="0.3"}"#,
    ),
    (
        "good",
        r#"istio_requests_total{reporter="source",destination_service="app-canary.demo.svc.cluster.local",response_code="200",response_flags="-"}"#,
    ),
    (
        "good",
        r#"istio_requests_total{reporter="source",destination_service="app-canary.demo.svc.cluster.local",response_code="0",response_flags="DC"}"#,
    ),
    (
        "bad",
        r#"istio_requests_total{reporter="source",destination_service="app-canary.demo.svc.cluster.local",destination_workload="unknown",destination_service_namespace="unknown",response_code="503",response_flags="UH"}"#,
    ),
    (
        "not",
        r#"istio_requests_total{reporter="source",destination_service="app.demo.svc.cluster.local",response_code="503"}"#,
    ),
    (
        "bad",
        r#"istio_requests_total{reporter="waypoint",destination_service="app-canary.demo.svc.cluster.local",response_code="500"}"#,
    ),
    ("bad", r#"istio_requests_total{reporter="destination",destination_workload="app",response_code="500"}"#),
    (
        "0.025",
        r#"istio_request_duration_milliseconds_bucket{reporter="source",destination_service="app-canary.demo.svc.cluster.local",le="25"}"#,
    ),
    (
        "0.025",
        r#"istio_request_duration_milliseconds_bucket{reporter="waypoint",destination_service="app-canary.demo.svc.cluster.local",le="25.0"}"#,
    ),
    ("1", r#"istio_request_duration_milliseconds_bucket{reporter="destination",le="1000"}"#),
    ("good", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="demo_app-canary_80"}"#),
    ("bad", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="demo_app-canary_80"}"#),
    ("not", r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="demo_app-canary_8080"}"#),
    ("0.05", r#"envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="demo_app-canary_80",le="50"}"#),
    (
        "good",
        r#"nginx_ingress_controller_requests{canary="demo-app-canary-80",controller_class="k8s.io/ingress-nginx",host="shop.example",ingress="app",method="GET",namespace="demo",path="/",service="app-stable",status="200"}"#,
    ),
    (
        "bad",
        r#"nginx_ingress_controller_requests{canary="demo-app-canary-http",ingress="app",namespace="demo",path="/",service="app-stable",status="503"}"#,
    ),
    (
        "not",
        r#"nginx_ingress_controller_requests{canary="",ingress="app",namespace="demo",path="/",service="app-stable",status="503"}"#,
    ),
    (
        "0.25",
        r#"nginx_ingress_controller_request_duration_seconds_bucket{canary="demo-app-canary-80",ingress="app",namespace="demo",service="app-stable",status="200",le="0.25"}"#,
    ),
    (
        "good",
        r#"response_total{direction="inbound",target_port="8080",status_code="200",classification="success",grpc_status="",error=""}"#,
    ),
    (
        "bad",
        r#"response_total{direction="inbound",target_port="8080",status_code="503",classification="failure",grpc_status="",error=""}"#,
    ),
    ("not", r#"response_total{direction="inbound",target_port="8080",classification="success",route_name="probe"}"#),
    ("not", r#"response_total{direction="inbound",target_port="4191",status_code="200",classification="success"}"#),
    ("not", r#"response_total{direction="outbound",target_port="8080",status_code="500",classification="failure"}"#),
    ("0.05", r#"response_latency_ms_bucket{direction="inbound",target_port="8080",status_code="200",le="50"}"#),
    (
        "bad",
        r#"outbound_http_route_backend_response_statuses_total{parent_name="app",route_name="app",backend_namespace="demo",backend_name="app-canary",error="FAIL_FAST"}"#,
    ),
    (
        "good",
        r#"outbound_http_route_backend_response_statuses_total{parent_name="app",route_name="app",backend_namespace="demo",backend_name="app-canary",error="CANCEL"}"#,
    ),
    (
        "bad",
        r#"outbound_http_route_backend_response_statuses_total{parent_name="app",route_name="app",backend_namespace="demo",backend_name="app-canary",http_status="500",error=""}"#,
    ),
    (
        "good",
        r#"outbound_http_route_backend_response_statuses_total{parent_name="app",route_name="app",backend_namespace="demo",backend_name="app-canary",http_status="204",error=""}"#,
    ),
    (
        "0.1",
        r#"outbound_http_route_backend_response_duration_seconds_bucket{backend_namespace="demo",backend_name="app-canary",le="0.1"}"#,
    ),
    (
        "bad",
        r#"hubble_http_requests_total{destination_namespace="demo",destination_pod="app-7c9f-x2k9p",method="GET",reporter="server",status="500"}"#,
    ),
    (
        "not",
        r#"hubble_http_requests_total{destination_namespace="demo",destination_pod="app-7c9f-x2k9p",method="GET",reporter="client",status="500"}"#,
    ),
    (
        "0.05",
        r#"hubble_http_request_duration_seconds_bucket{destination_namespace="demo",destination_pod="app-7c9f-x2k9p",reporter="server",le="0.05"}"#,
    ),
    ("good", r#"http_requests_total{code="200",method="get"}"#),
    ("bad", r#"http_requests_total{handler="/v1/completions",method="POST",status="5xx"}"#),
    ("not", r#"http_requests_total{handler="/healthz",method="GET",status="5xx"}"#),
    ("0.5", r#"http_request_duration_seconds_bucket{handler="/pay",le="0.5",method="GET"}"#),
    ("bad", r#"http_request_duration_seconds_count{status_code="500",method="GET",path="/pay"}"#),
    (
        "good",
        r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/pay"}"#,
    ),
    (
        "bad",
        r#"http_server_request_duration_seconds_count{error_type="500",http_request_method="GET",http_response_status_code="500",http_route="/pay"}"#,
    ),
    (
        "bad",
        r#"http_server_request_duration_seconds_count{error_type="ValueError",http_request_method="GET",http_route="/pay"}"#,
    ),
    ("bad", r#"http_server_request_duration_seconds_count{http_request_method="GET",http_route="/pay"}"#),
    ("not", r#"http_server_request_duration_seconds_count{http_response_status_code="503",http_route="/healthz"}"#),
    ("0.1", r#"http_server_request_duration_seconds_bucket{http_route="/pay",le="0.1"}"#),
    ("0.1", r#"http_server_duration_milliseconds_bucket{http_route="/pay",le="100"}"#),
    (
        "good",
        r#"rpc_server_call_duration_seconds_count{rpc_method="shop.Checkout/Pay",rpc_response_status_code="OK",rpc_system_name="grpc"}"#,
    ),
    ("bad", r#"rpc_server_call_duration_seconds_count{error_type="INTERNAL",rpc_response_status_code="INTERNAL"}"#),
    (
        "not",
        r#"rpc_server_call_duration_seconds_count{rpc_method="grpc.health.v1.Health/Check",rpc_response_status_code="UNAVAILABLE"}"#,
    ),
    ("0.1", r#"rpc_server_call_duration_seconds_bucket{rpc_method="shop.Checkout/Pay",le="0.1"}"#),
    (
        "good",
        r#"gen_ai_server_request_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_request_model="llama"}"#,
    ),
    (
        "bad",
        r#"gen_ai_server_request_duration_seconds_count{error_type="_OTHER",gen_ai_operation_name="chat",gen_ai_request_model="llama"}"#,
    ),
    ("2.56", r#"gen_ai_server_request_duration_seconds_bucket{gen_ai_operation_name="chat",le="2.56"}"#),
    ("0.25", r#"gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_operation_name="chat",le="0.25"}"#),
    ("0.05", r#"gen_ai_server_time_per_output_token_seconds_bucket{gen_ai_operation_name="chat",le="0.05"}"#),
    (
        "good",
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Pay",grpc_service="shop.Checkout",grpc_type="unary"}"#,
    ),
    (
        "good",
        r#"grpc_server_handled_total{grpc_code="NotFound",grpc_method="Pay",grpc_service="shop.Checkout",grpc_type="unary"}"#,
    ),
    (
        "bad",
        r#"grpc_server_handled_total{grpc_code="Internal",grpc_method="Pay",grpc_service="shop.Checkout",grpc_type="unary"}"#,
    ),
    (
        "not",
        r#"grpc_server_handled_total{grpc_code="Unavailable",grpc_method="Check",grpc_service="grpc.health.v1.Health"}"#,
    ),
    ("0.1", r#"grpc_server_handling_seconds_bucket{grpc_method="Pay",grpc_service="shop.Checkout",le="0.1"}"#),
    (
        "bad",
        r#"grpc_server_handled_total{grpc_code="INTERNAL",grpc_method="Pay",grpc_service="shop.Checkout",grpc_type="UNARY"}"#,
    ),
    (
        "good",
        r#"grpc_server_handled_total{grpc_code="UNAUTHENTICATED",grpc_method="Pay",grpc_service="shop.Checkout",grpc_type="UNARY"}"#,
    ),
    ("good", r#"http_server_requests_seconds_count{error="none",outcome="SUCCESS",status="200",uri="/pay"}"#),
    ("bad", r#"http_server_requests_seconds_count{outcome="SERVER_ERROR",status="500",uri="/pay"}"#),
    ("not", r#"http_server_requests_seconds_count{outcome="SERVER_ERROR",status="503",uri="/actuator/health"}"#),
    ("0.1", r#"http_server_requests_seconds_bucket{outcome="SUCCESS",status="200",uri="/pay",le="0.1"}"#),
    ("bad", r#"django_http_responses_total_by_status_total{status="500"}"#),
    ("0.1", r#"django_http_requests_latency_including_middlewares_seconds_bucket{le="0.1"}"#),
    ("bad", r#"flask_http_request_total{method="GET",status="500"}"#),
    ("0.1", r#"flask_http_request_duration_seconds_bucket{le="0.1",method="GET",path="/pay",status="200"}"#),
    ("good", r#"vllm:request_success_total{engine="0",finished_reason="stop",model_name="llama"}"#),
    ("good", r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="llama"}"#),
    ("bad", r#"vllm:request_success_total{engine="0",finished_reason="error",model_name="llama"}"#),
    ("0.25", r#"vllm:time_to_first_token_seconds_bucket{engine="0",le="0.25",model_name="llama"}"#),
    ("0.05", r#"vllm:inter_token_latency_seconds_bucket{engine="0",le="0.05",model_name="llama"}"#),
    ("2.5", r#"vllm:e2e_request_latency_seconds_bucket{engine="0",le="2.5",model_name="llama"}"#),
    ("0.3", r#"vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="llama"}"#),
    ("good", r#"sglang:http_responses_total{endpoint="/v1/chat/completions",method="POST",status_code="200"}"#),
    ("bad", r#"sglang:http_responses_total{endpoint="/v1/chat/completions",method="POST",status_code="503"}"#),
    ("not", r#"sglang:http_responses_total{endpoint="/health",method="GET",status_code="503"}"#),
    ("0.4", r#"sglang:time_to_first_token_seconds_bucket{le="0.4",model_name="qwen"}"#),
    ("0.02", r#"sglang:inter_token_latency_seconds_bucket{le="0.02",model_name="qwen"}"#),
    ("1", r#"sglang:e2e_request_latency_seconds_bucket{le="1.0",model_name="qwen"}"#),
    ("1", r#"sglang:queue_time_seconds_bucket{le="1",model_name="qwen"}"#),
    ("good", r#"nv_inference_request_success{model="ranker",version="1"}"#),
    ("bad", r#"nv_inference_request_failure{model="ranker",reason="BACKEND",version="1"}"#),
    ("not", r#"nv_inference_request_failure{model="ranker",reason="CANCELED",version="1"}"#),
    ("0.5", r#"nv_inference_first_response_histogram_ms_bucket{model="ranker",version="1",le="500"}"#),
    ("good", r"tgi_request_count{}"),
    ("only bad", r#"tgi_request_failure{err="overloaded"}"#),
    ("not", r#"tgi_request_failure{err="validation"}"#),
    ("0.5", r#"tgi_request_duration_bucket{method="generate",le="0.5"}"#),
    ("0.5", r#"tgi_request_queue_duration_bucket{le="0.5"}"#),
    ("0.5", r#"tgi_request_mean_time_per_token_duration_bucket{le="0.5"}"#),
    ("good", r#"Requests2XX{Level="Host",Hostname="ts-canary-6fbc676dc6-tcd7h"}"#),
    ("bad", r#"Requests5XX{Level="Host",Hostname="ts-canary-6fbc676dc6-tcd7h"}"#),
    ("0.1", r#"request_predict_seconds_bucket{le="0.1",model_name="ranker"}"#),
    ("good", r#"ray_serve_deployment_request_counter_total{application="shop",deployment="Ranker",route="/rank"}"#),
    (
        "bad",
        r#"ray_serve_deployment_error_counter_total{application="shop",deployment="Ranker",exception_type="RuntimeError",route="/rank"}"#,
    ),
    ("0.1", r#"ray_serve_deployment_processing_latency_ms_bucket{application="shop",deployment="Ranker",le="100.0"}"#),
    (
        "good",
        r#"litellm_proxy_total_requests_metric_total{requested_model="llama",route="/chat/completions",status_code="200"}"#,
    ),
    (
        "bad",
        r#"litellm_proxy_total_requests_metric_total{requested_model="llama",route="/chat/completions",status_code="500"}"#,
    ),
    ("5", r#"litellm_request_total_latency_metric_bucket{le="5.0",model="llama"}"#),
    ("0.5", r#"litellm_llm_api_time_to_first_token_metric_bucket{le="0.5",model="llama"}"#),
    ("over", r#"vllm:request_generation_tokens_sum{engine="0",model_name="llama"}"#),
    ("under", r#"vllm:request_decode_time_seconds_sum{engine="0",model_name="llama"}"#),
    ("over", r#"sglang:generation_tokens_total{model_name="qwen"}"#),
    ("under", r#"sglang:e2e_request_latency_seconds_sum{model_name="qwen"}"#),
    ("over", r"tgi_request_generated_tokens_sum{}"),
    ("under", r#"tgi_request_inference_duration_sum{method="generate"}"#),
    ("over", r#"nv_inference_request_duration_us{model="ranker",version="1"}"#),
    ("over", r#"nv_inference_queue_duration_us{model="ranker",version="1"}"#),
    ("over", r#"ts_inference_latency_microseconds{model_name="ranker",model_version="1.0",hostname="ts"}"#),
    ("over", r#"ts_queue_latency_microseconds{model_name="ranker",model_version="1.0",hostname="ts"}"#),
    ("under", r#"ts_inference_requests_total{model_name="ranker",model_version="1.0",hostname="ts"}"#),
    ("over", r#"litellm_spend_metric_total{model="llama",team="search"}"#),
    ("under", r#"litellm_total_tokens_metric_total{model="llama",team="search"}"#),
    ("over", r#"litellm_output_tokens_metric_total{model="llama",team="search"}"#),
    ("under", r#"litellm_llm_api_latency_metric_sum{model="llama"}"#),
    ("over", r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_token_type="output"}"#),
    ("not", r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_token_type="input"}"#),
    ("under", r#"gen_ai_client_operation_duration_seconds_sum{gen_ai_operation_name="chat"}"#),
    ("good", r#"http_server_duration_milliseconds_count{http_method="GET",http_status_code="200"}"#),
    ("bad", r#"http_server_duration_milliseconds_count{http_method="GET",http_status_code="503"}"#),
    ("bad", r#"http_server_duration_milliseconds_count{http_method="GET",http_flavor="1.1"}"#),
    ("not", r#"http_server_duration_milliseconds_count{http_route="/readyz",http_status_code="503"}"#),
    ("not", r#"http_server_duration_milliseconds_count{http_status_code="503",http_target="/healthz"}"#),
    ("good", r#"rpc_server_duration_milliseconds_count{rpc_grpc_status_code="5",rpc_service="shop.Checkout"}"#),
    ("bad", r#"rpc_server_duration_milliseconds_count{rpc_grpc_status_code="13",rpc_service="shop.Checkout"}"#),
    (
        "bad",
        r#"rpc_server_duration_milliseconds_count{rpc_response_status_code="INTERNAL",rpc_service="shop.Checkout"}"#,
    ),
    ("not", r#"rpc_server_duration_milliseconds_count{rpc_grpc_status_code="14",rpc_service="grpc.health.v1.Health"}"#),
    ("0.1", r#"rpc_server_duration_milliseconds_bucket{rpc_service="shop.Checkout",le="100"}"#),
    ("good", r#"starlette_requests_total{app_name="shop",method="GET",path="/pay",status_code="200"}"#),
    ("bad", r#"starlette_requests_total{app_name="shop",method="GET",path="/pay",status_code="500"}"#),
    ("not", r#"starlette_requests_total{app_name="shop",method="GET",path="/metrics",status_code="200"}"#),
    ("0.1", r#"starlette_request_duration_seconds_bucket{app_name="shop",path="/pay",status_code="200",le="0.1"}"#),
    ("good", r#"axum_http_requests_total{method="GET",endpoint="/pay",status="200"}"#),
    ("bad", r#"axum_http_requests_total{method="GET",endpoint="/pay",status="500"}"#),
    ("0.1", r#"axum_http_requests_duration_seconds_bucket{method="GET",endpoint="/pay",status="200",le="0.1"}"#),
    ("bad", r#"http_server_requests_total{code="500",method="get",path="/pay"}"#),
    ("0.1", r#"http_server_request_duration_seconds_bucket{method="get",path="/pay",le="0.1"}"#),
];

#[test]
fn names_are_unique_and_found() {
    for preset in all() {
        assert_eq!(find(preset.name).map(|found| found.about), Some(preset.about));
        assert!(preset.about.ends_with('.'), "{}", preset.name);
        // Rules of the definition tell the kinds apart by their names.
        assert_eq!(preset.name.ends_with("error-rate"), matches!(preset.kind, Kind::Errors(_)), "{}", preset.name);
        assert_eq!(preset.name.contains("/mean-"), preset.is_ratio(), "{}", preset.name);
        assert_eq!(preset.series.ends_with("_bucket"), matches!(preset.kind, Kind::Latency(_)), "{}", preset.name);
    }
    assert!(find("traefik/errors").is_none());
}

#[test]
fn every_preset_finds_its_series_and_tells_good_ones_from_bad_ones() {
    let mut seen: HashMap<&str, Vec<&str>> = HashMap::new();
    for (is, text) in SERIES {
        let labels = line(text);
        for preset in all().filter(|preset| is_found(preset, &labels)) {
            seen.entry(preset.name).or_default().push(is);
            match preset.kind {
                Kind::Latency(unit) => {
                    let edge = unit.seconds(labels["le"].parse().unwrap());
                    assert!((edge - is.parse::<f64>().unwrap()).abs() < 1e-12, "{} {text}", preset.name);
                }
                Kind::Ratio(Ratio { per, .. }) => {
                    assert!(*is != "not", "{} counts {text}", preset.name);
                    assert_eq!(labels["__name__"] != per, *is == "over", "{} {text}", preset.name);
                }
                Kind::Errors(bad) => {
                    let expected = match *is {
                        "good" => (true, false),
                        "bad" => (true, true),
                        "only bad" => (false, true),
                        _ => panic!("{} counts {text}", preset.name),
                    };
                    assert_eq!(bad.sorts(&labels), expected, "{} {text}", preset.name);
                    let unanswered = matches!(bad, Bad::Unanswered { label, .. } if !labels.contains_key(label));
                    assert_eq!(bad.missing(&labels).is_some(), unanswered, "{} {text}", preset.name);
                }
            }
        }
    }
    for preset in all() {
        let found = seen.get(preset.name).map_or(&[][..], Vec::as_slice);
        let wanted = match preset.kind {
            Kind::Latency(_) => "",
            Kind::Ratio(_) => "over",
            Kind::Errors(_) => "bad",
        };
        assert!(found.iter().any(|is| is.contains(wanted)), "{} found {found:?}", preset.name);
    }
}
