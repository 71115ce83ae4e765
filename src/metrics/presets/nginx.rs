//! ingress-nginx, which says of each request which canary got it.
use super::{Kind, Place, Preset, Unit};
use crate::{
    metrics::arms::{Of, equal, escape, pattern},
    vocab::Arm,
};
use promql_parser::label::Matcher;

const NGINX: Place = Place::Proxy {
    name: "ingress-nginx",
    backend,
    beat: Some("nginx_ingress_controller_config_last_reload_successful"),
    is_apart: false,
};

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "nginx/error-rate",
        about: "The share of requests that ingress-nginx answered with a status of 500 or above for each of the \
                two Services, those included that reached no pod. From nginx_ingress_controller_requests with \
                its label canary, which is there since version 1.1. Where Prometheus calls the controller's own labels \
                exported_namespace and exported_service, the provider's labels say so. A call of gRPC that fails has \
                status 200 all the same: take grpc/error-rate or opentelemetry-rpc/error-rate.",
        kind: Kind::Errors(super::BY_STATUS),
        place: NGINX,
        series: "nginx_ingress_controller_requests",
        only: &[],
    },
    Preset {
        name: "nginx/latency",
        about: "How long requests took at ingress-nginx for each of the two Services. From \
                nginx_ingress_controller_request_duration_seconds with its label canary.",
        kind: Kind::Latency(Unit::Seconds),
        place: NGINX,
        series: "nginx_ingress_controller_request_duration_seconds_bucket",
        only: &[],
    },
];

/// A request belongs to the Service of the Ingress that was asked for; the label `canary` says that another one got it, as
/// `NAMESPACE-SERVICE-PORT` with the port's number or name.
fn backend(of: &Of<'_>) -> Vec<Matcher> {
    match of.arm {
        Arm::Stable => vec![
            equal(&of.labels.namespace, of.namespace),
            equal(&of.labels.service, &of.names.service),
            equal("canary", ""),
        ],
        Arm::Canary => {
            let (namespace, service, port) = (escape(of.namespace), escape(&of.names.service), of.port);
            vec![pattern("canary", &format!("{namespace}-{service}-(?:{port}|[0-9]*[a-z][a-z0-9]*)"))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Labels, tests::subject};

    #[test]
    fn each_request_is_of_one_arm_and_of_no_service_with_a_longer_name() {
        let (subject, labels) = (subject(), Labels::default());
        let is = |arm: Arm, namespace: &str, service: &str, canary: &str| {
            let names = if arm == Arm::Stable { &subject.stable } else { &subject.canary };
            let of = Of { arm, labels: &labels, namespace: &subject.namespace, names, port: 80 };
            let value = |name: &str| match name {
                "canary" => canary,
                "service" => service,
                _ => namespace,
            };
            backend(&of).iter().all(|matcher| matcher.is_match(value(&matcher.name)))
        };
        let (stable, canary) = (subject.stable.service.as_str(), subject.canary.service.as_str());
        assert!(is(Arm::Stable, "demo", stable, ""));
        assert!(!is(Arm::Stable, "demo", stable, &format!("demo-{canary}-80")), "the canary got it");
        assert!(!is(Arm::Stable, "shop", stable, "") && !is(Arm::Stable, "demo", "other", ""));
        for got in ["80", "http"] {
            assert!(is(Arm::Canary, "demo", stable, &format!("demo-{canary}-{got}")));
        }
        for other in ["", "demo-other-80", &format!("demo-{canary}-8080"), &format!("demo-{canary}-two-80")] {
            assert!(!is(Arm::Canary, "demo", stable, other), "{other}");
        }
    }
}
