//! Traefik, for each backend of a route of the Gateway API, an `IngressRoute` or a `TraefikService`.
use super::{Kind, Only, Place, Preset, Unit};
use crate::metrics::arms::{Of, escape, pattern};
use promql_parser::label::Matcher;

const TRAEFIK: Place =
    Place::Proxy { name: "Traefik", backend, beat: Some("traefik_config_reloads_total"), is_apart: false };

/// Its presets.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "traefik/error-rate",
        about: "The share of requests that Traefik answered with a status of 500 or above for each of the \
                two Services of a route of the Gateway API, an IngressRoute or a TraefikService, those included \
                that it could not deliver. From traefik_service_requests_total. Calls of gRPC do not count, whose \
                status Traefik may not know: take grpc/error-rate or opentelemetry-rpc/error-rate.",
        kind: Kind::Errors(super::BY_STATUS),
        place: TRAEFIK,
        series: "traefik_service_requests_total",
        only: &[Only::Unlike("protocol", "grpc.*")],
    },
    Preset {
        name: "traefik/latency",
        about: "How long Traefik waited for each of the two Services of a route of the Gateway API, an IngressRoute \
                or a TraefikService. From traefik_service_request_duration_seconds; its edges are Traefik's setting \
                metrics.prometheus.buckets, without it 100ms, 300ms, 1200ms and 5s. A limit lies on one of \
                them.",
        kind: Kind::Latency(Unit::Seconds),
        place: TRAEFIK,
        series: "traefik_service_request_duration_seconds_bucket",
        only: &[],
    },
];

/// The name of a port that is one word; `a-1` of Service `a` must not be taken for its port.
const NAMED: &str = "[0-9]*[a-z][a-z0-9]*";

/// The name that Traefik gives a Service behind a Gateway API route: since 3.7
/// `httproute-NAMESPACE-ROUTE-gw-...-ep-...-RULE-HASH-svc-NAMESPACE-SERVICE-INDEX`, before `NAMESPACE-SERVICE-http-PORT`.
/// The hash of twenty hex digits and the number at the end keep Service `a` from matching `a-canary`. Behind its own kinds,
/// which name the port by its number or its name, it is `NAMESPACE-SERVICE-PORT`, and with its setting `safeNaming` the same
/// with `_` between. A port's name of several words is not looked for: it could be the end of another Service's name. Behind an Ingress a canary has the name of the other Service, so there is nothing to tell it by.
pub(in crate::metrics) fn backend(of: &Of<'_>) -> Vec<Matcher> {
    let (namespace, service, port) = (normal(of.namespace), normal(&of.names.service), of.port);
    let name = format!(
        "(?:http|grpc)route-{namespace}-.+-[0-9a-f]{{20}}-svc-{namespace}-{service}-[0-9]+@kubernetesgateway\
         |{namespace}-{service}-(?:http|grpc)-{port}@kubernetesgateway\
         |(?:{namespace}-{service}-(?:{port}|{NAMED})|{}_{}_(?:{port}|{NAMED}))@kubernetescrd",
        escape(of.namespace),
        escape(&of.names.service),
    );
    vec![pattern(&of.labels.service, &name)]
}

/// Traefik joins the letters and digits of a name with single dashes.
fn normal(name: &str) -> String {
    let parts: Vec<_> = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{Labels, Subject, tests::subject},
        vocab::Arm,
    };

    #[test]
    fn traefiks_names_are_matched_whole() {
        let mut subject = subject();
        let labels = Labels::default();
        let is = |subject: &Subject, name: &str| {
            let of = Of {
                arm: Arm::Canary,
                labels: &labels,
                namespace: &subject.namespace,
                names: &subject.canary,
                port: subject.port,
            };
            let name = if name.contains('@') { name.to_owned() } else { format!("{name}@kubernetesgateway") };
            backend(&of).iter().all(|matcher| matcher.is_match(&name))
        };
        let route = "httproute-demo-demo-gw-traefik-traefik-ep-web-0-806fab2393777a48bd97";
        assert!(is(&subject, &format!("{route}-svc-demo-app-canary-1")), "as Traefik 3.7 writes it");
        assert!(is(&subject, "demo-app-canary-http-80"), "as it was written before");
        assert!(!is(&subject, "demo-app-canary-http-8080"), "another port");
        assert!(!is(&subject, &format!("{route}-svc-other-app-canary-1")), "another namespace");
        for own in ["demo-app-canary-80", "demo_app-canary_80", "demo-app-canary-http", "demo_app-canary_h2c"] {
            assert!(is(&subject, &format!("{own}@kubernetescrd")), "behind its own kinds: {own}");
            assert!(!is(&subject, own) && !is(&subject, &format!("{own}-x-80@kubernetescrd")), "{own}");
        }
        subject.canary.service = "app".into();
        assert!(!is(&subject, "demo-app-canary-80@kubernetescrd"), "another Service");
        assert!(is(&subject, &format!("{route}-svc-demo-app-0")));
        for other in ["app-canary-1", "my-app-0", "app-1-0", "app-0-wrr", "x-svc-demo-app-0"] {
            assert!(!is(&subject, &format!("{route}-svc-demo-{other}")), "{other}");
        }
        assert!(!is(&subject, &format!("{route}-svc-x-svc-demo-app-0")), "Service svc-demo-app in namespace x");
        assert!(!is(&subject, "demo-app-http-http-80"), "Service app-http");
    }
}
