//! Gateways: they look at a route, take it, and say so in its status, some time after it was written.
use super::*;

impl World {
    pub(super) fn accept(&mut self, name: &str) {
        let Some(route) = self.server.get("httproutes", NAMESPACE, name) else {
            self.happen(Event::PlaneRoute(name.to_owned(), self.server.version(), Vec::new()));
            return;
        };
        let rules: Vec<_> = route
            .list("/spec/rules")
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                let backends = rule.list("/backendRefs").iter();
                let backends = backends.map(|backend| {
                    let weight = backend.maybe("/weight").unwrap_or(1);
                    (backend.text("/name").to_owned(), u64::try_from(weight).unwrap_or(0))
                });
                (index.to_string(), backends.collect::<Vec<_>>())
            })
            .chain(copies_of(&route))
            .collect();
        let range = self.weather.plane;
        self.soon(range, Event::PlaneRoute(name.to_owned(), self.server.version(), rules));
        if !self.gateway_writes {
            return;
        }
        let generation = route.number("/metadata/generation");
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": generation, "lastTransitionTime": self.clock().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
        let parents: Vec<_> = route
            .list("/spec/parentRefs")
            .iter()
            .map(|parent| json!({"parentRef": parent, "controllerName": "traefik.io/gateway-controller", "conditions": [condition("Accepted"), condition("ResolvedRefs")]}))
            .collect();
        if self.hands.gateway.merge_status("httproutes", &route, json!({"status": {"parents": parents}})).is_err() {
            let range = self.weather.accept;
            self.soon(range, Event::Accept(name.to_owned()));
        }
    }

    /// The gateway looks at a route again.
    pub fn look_at_route(&mut self, name: &str) {
        let range = self.weather.accept;
        self.soon(range, Event::Accept(name.to_owned()));
    }
}

/// The mirrors of a route, each as a rule of its own: copies want an answer like any request, and to lose them counts.
fn copies_of(route: &Value) -> impl Iterator<Item = (String, Vec<(String, u64)>)> {
    let filters = route.list("/spec/rules").iter().flat_map(|rule| rule.list("/filters"));
    let mirrors = filters.filter(|filter| filter.text("/type") == "RequestMirror");
    mirrors.enumerate().map(|(index, filter)| {
        let service = filter.text("/requestMirror/backendRef/name").to_owned();
        (format!("copies {index}"), vec![(service, 1)])
    })
}
