//! How a rollout names the routes that carry its weights.
use super::{Capability, Custom, ROUTERS, Router, Unsteerable, ingress, resources, routers_for};
use crate::{duration::Duration, vocab::Pair};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A route that carries the rollout's weights, in the rollout's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct RouteRef {
    /// Group and version of the route.
    #[schemars(length(max = 128), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/v[a-z0-9]+$"))]
    pub api_version: String,
    /// Kind of the route.
    #[schemars(length(max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,
    /// Name of the route.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::vocab::OBJECT_NAME))]
    pub name: String,
    /// Which router steers it, where several steer routes of this kind, each by its own fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "routers")]
    pub router: Option<String>,
    /// Who writes the route: with Fields the user does and only the weights are ours; with Operator we write the whole
    /// route from template, and Git must not hold it.
    #[serde(default)]
    pub ownership: Ownership,
    /// The route to write when ownership is Operator. Its weights are placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<RouteTemplate>,
    /// How a route of a kind that no router steers carries the weights. It is the user's, and not watched but looked at by
    /// time; the chart's value `customRoutes` lets the operator write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Box<Custom>>,
    /// How long the data plane is given after it accepted a change, such as 5s. Default: what the router needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Duration>,
}

impl RouteRef {
    /// The router that steers this route.
    pub fn router(&self) -> Result<&dyn Router, Unsteerable> {
        let route = self.to_string();
        let all: Vec<_> = routers_for(&self.api_version, &self.kind).collect();
        let known = || all.iter().map(|router| router.name()).collect::<Vec<_>>().join(", ");
        if let Some(custom) = &self.custom {
            return if all.is_empty() {
                Ok(custom.as_ref())
            } else {
                Err(Unsteerable::NotCustom { route, known: known() })
            };
        }
        match (all.as_slice(), &self.router) {
            ([], _) => {
                Err(Unsteerable::UnknownKind { route, api_version: self.api_version.clone(), known: known_kinds() })
            }
            ([one], None) => Ok(*one),
            (_, None) => Err(Unsteerable::WhichRouter { route, known: known() }),
            (_, Some(named)) => all
                .iter()
                .copied()
                .find(|router| router.name() == named)
                .ok_or_else(|| Unsteerable::WrongRouter { route, named: named.clone(), known: known() }),
        }
    }

    /// The same with the spec that follows from the object that the template names.
    #[must_use]
    pub fn following(&self, router: &dyn Router, main: &Value, pair: &Pair) -> Self {
        let mut followed = self.clone();
        if let Some(template) = &mut followed.template {
            template.spec = router.follow(main, pair);
            // The API server refuses both on one Ingress that is made.
            if let (Some(class), false) = (ingress::class(main), template.spec.contains_key("ingressClassName")) {
                template.annotations.entry(ingress::CLASS.to_owned()).or_insert_with(|| class.to_owned());
            }
        }
        followed
    }

    /// How long the data plane is given after it accepted a change: as written, else as the router needs, or longer where
    /// those who answer for this object do.
    pub fn settle_with(&self, router: &dyn Router, pace: Duration) -> Duration {
        self.settle.unwrap_or_else(|| router.settle().max(pace))
    }
}

impl std::fmt::Display for RouteRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Who writes a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ownership {
    /// The route is the user's; only the weights of the two Services in it are changed.
    #[default]
    Fields,
    /// The operator writes the whole route from the template, and Git does not hold it.
    Operator,
}

/// A route to be written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.spec) && has(self.like))",
    "message": "spec says what the route is, or like names the object that says it: write one of them",
}]))]
pub struct RouteTemplate {
    /// The route's whole spec, as its own kind defines it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub spec: Map<String, Value>,
    /// Instead of spec, and only with router nginx: the name of the Ingress that takes all requests. The canary Ingress has
    /// those of its paths that lead to stable, and follows it whenever it changes, also while a revision is on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::vocab::OBJECT_NAME))]
    pub like: Option<String>,
    /// Its annotations. Others in the route that have the same prefix, up to the slash, as one of these are removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts")]
    pub annotations: BTreeMap<String, String>,
    /// Of a route of the Gateway API: what its gateway can do although its class does not list it under
    /// status.supportedFeatures, as those of Istio, Contour and Envoy Gateway do not. One that cannot may answer users with errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub features: Vec<Feature>,
}

/// Something that not every gateway can do, as the conformance tests of the Gateway API name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Feature {
    /// It copies all requests.
    #[serde(rename = "HTTPRouteRequestMirror")]
    Mirror,
    /// It copies a share of the requests.
    #[serde(rename = "HTTPRouteRequestPercentageMirror")]
    MirrorOfShare,
    /// It copies calls of gRPC.
    #[serde(rename = "GRPCRouteRequestMirror")]
    MirrorOfCalls,
    /// It tells requests by their method.
    #[serde(rename = "HTTPRouteMethodMatching")]
    Methods,
    /// It tells requests by what they ask for.
    #[serde(rename = "HTTPRouteQueryParamMatching")]
    Queries,
}

impl Feature {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mirror => "HTTPRouteRequestMirror",
            Self::MirrorOfShare => "HTTPRouteRequestPercentageMirror",
            Self::MirrorOfCalls => "GRPCRouteRequestMirror",
            Self::Methods => "HTTPRouteMethodMatching",
            Self::Queries => "HTTPRouteQueryParamMatching",
        }
    }
}

fn known_kinds() -> String {
    let names: Vec<_> = resources().map(|resource| format!("{} {}", resource.api_version(), resource.kind)).collect();
    names.join(", ")
}

/// What a schema cannot say.
fn rules() -> Value {
    let known: Vec<_> = resources().map(|known| format!("'{} {}'", known.api_version(), known.kind)).collect();
    json!([{
        "rule": "(has(self.ownership) && self.ownership == 'Operator') == has(self.template)",
        "message": "ownership: Operator needs a template, and only that has one",
    }, {
        "rule": "self.kind != 'Ingress' || has(self.router)",
        "message": "an Ingress is steered in several ways: say which in router",
    }, {
        "rule": format!("has(self.custom) != (self.apiVersion + ' ' + self.kind in [{}])", known.join(", ")),
        "message": format!("say in custom how a route of this kind carries weights, or name one of {}; those need no custom", known_kinds()),
    }])
}

/// A rule in CEL over a Rollout's spec: its steps say `member` only where every route is of a kind, or has a router, that can.
///
/// Which can follows from the registry. A kind that several routers steer is known only together with the name of one.
pub fn only_with(member: &str, what: Capability) -> String {
    let mut known = Vec::new();
    for router in ROUTERS.iter().filter(|router| router.can(what)) {
        for resource in router.resources() {
            let (api_version, kind) = (resource.api_version(), resource.kind);
            if routers_for(&api_version, kind).count() == 1 {
                known.push(format!("'{api_version} {kind}'"));
            }
            known.push(format!("'{api_version} {kind} {}'", router.name()));
        }
    }
    format!(
        "self.steps.all(s, !has(s.{member})) || !has(self.traffic) || !has(self.traffic.routes) || self.traffic.routes.all(r, \
         (r.apiVersion + ' ' + r.kind + (has(r.router) ? ' ' + r.router : '')) in [{}])",
        known.join(", ")
    )
}

fn routers(_: &mut SchemaGenerator) -> Schema {
    one_of(ROUTERS.iter().map(|router| router.name().to_owned()).collect())
}

fn one_of(mut names: Vec<String>) -> Schema {
    names.sort();
    names.dedup();
    json_schema!({"type": "string", "enum": names})
}

fn texts(_: &mut SchemaGenerator) -> Schema {
    let text = json!({"type": "string", "maxLength": 4096});
    json_schema!({"type": "object", "maxProperties": 32, "additionalProperties": text})
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(more: &Value) -> RouteRef {
        let mut written =
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "checkout"});
        for (key, value) in more.as_object().unwrap() {
            written[key] = value.clone();
        }
        serde_json::from_value(written).unwrap()
    }

    #[test]
    fn a_route_is_the_users_unless_it_says_otherwise() {
        assert_eq!(entry(&json!({})).ownership, Ownership::Fields);
        assert_eq!(entry(&json!({"ownership": "Operator"})).ownership, Ownership::Operator);
    }

    #[test]
    fn the_settling_time_is_the_routers_unless_written() {
        let settle = |more| {
            let entry = entry(&more);
            entry.settle_with(entry.router().unwrap(), Duration::ZERO)
        };
        assert_eq!(settle(json!({})), Duration::seconds(3));
        assert_eq!(settle(json!({"settle": "0s"})), Duration::ZERO);
        let slow = |more| entry(&more).settle_with(entry(&json!({})).router().unwrap(), Duration::seconds(60));
        assert_eq!(slow(json!({})), Duration::seconds(60));
        assert_eq!(slow(json!({"settle": "90s"})), Duration::seconds(90));
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_known_ones() {
        let error = entry(&json!({"kind": "Gateway"})).router().err().unwrap();
        assert_eq!(error.category(), "UnknownKind");
        assert!(error.to_string().contains("gateway.networking.k8s.io/v1 GRPCRoute"), "{error}");
    }

    #[test]
    fn the_schema_offers_only_what_is_steered() {
        let schema = schemars::schema_for!(RouteRef).to_value();
        let rule = schema["x-kubernetes-validations"][2]["rule"].as_str().unwrap();
        assert!(rule.contains("'gateway.networking.k8s.io/v1 HTTPRoute'") && !rule.contains("v1 Gateway'"), "{rule}");
        assert!(rule.contains("'networking.k8s.io/v1 Ingress'"), "{rule}");
        assert_eq!(
            schema["$defs"]["RouteTemplate"]["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"],
            true
        );
    }

    #[test]
    fn who_steers_an_ingress_is_said() {
        let of = |router: Value| {
            let entry = entry(&json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "router": router}));
            entry.router().map(Router::name).map_err(|why| (why.category(), why.to_string()))
        };
        assert_eq!(of(json!("nginx")), Ok("nginx"));
        let (category, words) = of(json!(null)).unwrap_err();
        assert_eq!(category, "WhichRouter");
        assert!(words.contains("nginx") && words.ends_with("say which in router"), "{words}");
        let (category, words) = of(json!("traefik")).unwrap_err();
        assert_eq!(category, "WrongRouter");
        assert!(words.contains("router traefik does not steer"), "{words}");
        assert_eq!(entry(&json!({"router": "nginx"})).router().err().unwrap().category(), "WrongRouter");
    }

    #[test]
    fn a_kind_that_nobody_steers_is_steered_by_its_own_settings() {
        let custom = json!({"plural": "splits", "weights": [{"path": "/spec/share", "value": "canary"}]});
        let route = entry(&json!({"apiVersion": "mesh.example.com/v1", "kind": "Split", "custom": custom}));
        let router = route.router().unwrap();
        assert_eq!((router.name(), route.settle_with(router, Duration::ZERO)), ("custom", Duration::seconds(5)));
        let known = entry(&json!({"custom": custom}));
        assert_eq!(known.router().err().unwrap().category(), "NotCustom");
    }

    #[test]
    fn the_rule_of_matches_and_mirrors_knows_what_each_router_can() {
        for (member, what) in [("match", Capability::Match), ("mirror", Capability::Mirror)] {
            let rule = cel::Program::compile(&only_with(member, what)).unwrap();
            let holds = |steps: Value, routes: &[&Value]| {
                let mut context = cel::Context::default();
                context.add_variable("self", json!({"steps": steps, "traffic": {"routes": routes}})).unwrap();
                rule.execute(&context).unwrap() == cel::Value::Bool(true)
            };
            let able = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"});
            let custom = json!({"apiVersion": "mesh.example.com/v1", "kind": "Split"});
            assert!(!holds(json!([{"name": "a"}, {member: {}}]), &[&able, &custom]));
            assert!(holds(json!([{"name": "a"}]), &[&able, &custom]));
            for (router, resource) in ROUTERS.iter().flat_map(|it| it.resources().iter().map(move |of| (it, of))) {
                let mut route = json!({"apiVersion": resource.api_version(), "kind": resource.kind});
                let alone = routers_for(&resource.api_version(), resource.kind).count() == 1;
                let without = holds(json!([{member: {}}]), &[&able, &route]);
                assert_eq!(without, alone && router.can(what), "{resource:?} {member}");
                route["router"] = json!(router.name());
                assert_eq!(holds(json!([{member: {}}]), &[&able, &route]), router.can(what), "{route} {member}");
            }
        }
    }

    #[test]
    fn a_feature_is_called_as_it_is_written() {
        use Feature::{Methods, Mirror, MirrorOfCalls, MirrorOfShare, Queries};
        for feature in [Mirror, MirrorOfShare, MirrorOfCalls, Methods, Queries] {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.name());
        }
    }

    #[test]
    fn a_template_keeps_fields_that_nobody_here_knows() {
        let template = json!({"spec": {"rules": [], "later": {"than": "us"}}});
        let entry = entry(&json!({"ownership": "Operator", "template": template}));
        assert_eq!(serde_json::to_value(entry.template).unwrap(), template);
    }
}
