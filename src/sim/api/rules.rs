//! The rules that our definitions write in CEL, one by one, in Rust. A rule that is not here fails loudly.
use super::store::Meta as _;
use crate::traffic::{Capability, RouteRef};
use serde::Deserialize as _;
use serde_json::Value;

/// Whether a rule holds for a value, and for what it was before.
///
/// # Panics
/// When the rule is not known here: whoever writes a new one into a definition writes it down here too.
pub(super) fn holds(rule: &str, old: Option<&Value>, new: &Value) -> bool {
    let has = |member: &str| new.get(member).is_some();
    let items = |member: &str| items(new, member);
    let routes = new["traffic"]["routes"].as_array().map_or(0, Vec::len);
    if let Some(holds) = of_analysis(rule, new) {
        return holds;
    }
    match rule {
        "self == oldSelf" => old.is_none_or(|old| old == new),
        "duration(self) <= duration('720h')" => {
            new.as_str().is_some_and(|text| text.parse::<crate::duration::Duration>().is_ok())
        }
        "duration(self) >= duration('1s') && duration(self) <= duration('30s')" => {
            let parsed = new.as_str().and_then(|text| text.parse::<crate::duration::Duration>().ok());
            parsed.is_some_and(|duration| (1_000..=30_000).contains(&duration.as_millis()))
        }
        "[false, has(self.prometheus), has(self.web), has(self.pods)].exists_one(one, one)" => {
            ["prometheus", "web", "pods"].into_iter().filter(|source| has(source)).count() == 1
        }
        "!(has(self.scheme) && self.scheme == 'HTTPS') ? !has(self.caBundle) && !has(self.insecure) : has(self.caBundle) != has(self.insecure)" => {
            if new["scheme"] == "HTTPS" {
                has("caBundle") != has("insecure")
            } else {
                !has("caBundle") && !has("insecure")
            }
        }
        "!has(self.body) || (has(self.method) && self.method == 'POST')" => !has("body") || new["method"] == "POST",
        "has(self.bearer) != has(self.basic)" => has("bearer") != has("basic"),
        "self.action in ['Abort', 'Pause'] || (has(self.expect) && has(self.expect.revision))" => {
            matches!(new.text("action"), "Abort" | "Pause") || new["expect"].get("revision").is_some()
        }
        "(self.action == 'SetStep') == has(self.to)" => (new["action"] == "SetStep") == has("to"),
        "has(self.traffic) && has(self.traffic.routes) && self.traffic.routes.size() > 0 || self.steps.all(s, s.weight <= 50)" => {
            routes > 0 || items("steps").iter().all(|step| step["weight"].as_i64() <= Some(50))
        }
        "!has(self.traffic) || !has(self.traffic.routes) || self.traffic.routes.size() == 0 || has(self.traffic.services)" => {
            routes == 0 || new["traffic"].get("services").is_some()
        }
        "!has(self.traffic) || has(self.traffic.routes) && self.traffic.routes.size() > 0 || !has(self.traffic.services)" => {
            routes > 0 || new["traffic"].get("services").is_none()
        }
        "self.steps.all(s, !has(s.match) && !has(s.mirror)) || has(self.traffic) && has(self.traffic.routes) && self.traffic.routes.size() > 0 && self.traffic.routes.all(r, has(r.ownership) && r.ownership == 'Operator')" =>
        {
            let apart = |step: &Value| step.get("match").is_some() || step.get("mirror").is_some();
            let all = new["traffic"]["routes"].as_array().map_or(&[][..], Vec::as_slice);
            let ours = routes > 0 && all.iter().all(|route| route["ownership"] == "Operator");
            ours || !items("steps").iter().any(apart)
        }
        "has(self.headers) && self.headers.size() > 0 || has(self.cookies) && self.cookies.size() > 0 || has(self.method) || has(self.path) || has(self.query) && self.query.size() > 0" =>
        {
            let some = |member: &str| !items(member).is_empty();
            some("headers") || some("cookies") || some("query") || has("method") || has("path")
        }
        "self.steps.all(s, self.steps.exists_one(t, t.name == s.name))" => names_differ(new, "steps"),
        "!has(self.then) || self.then != 'AdvanceAfter' || has(self.after)" => {
            new["then"] != "AdvanceAfter" || has("after")
        }
        "has(self.observe) || has(self.approval)" => has("observe") || has("approval"),
        "!has(self.mirror) || self.weight == 0" => !has("mirror") || new["weight"] == 0,
        "(has(self.ownership) && self.ownership == 'Operator') == has(self.template)" => {
            (new["ownership"] == "Operator") == has("template")
        }
        "!(has(self.spec) && has(self.like))" => !(has("spec") && has("like")),
        // This list and the next two follow from the registry of routers.
        known if known.starts_with("has(self.custom) != (self.apiVersion + ' ' + self.kind in [") => {
            let steered = crate::traffic::resources()
                .any(|known| new["kind"] == known.kind && new["apiVersion"] == known.api_version());
            has("custom") != steered
        }
        known if known.starts_with("self.steps.all(s, !has(s.match)) || ") => all_can(new, "match", Capability::Match),
        known if known.starts_with("self.steps.all(s, !has(s.mirror)) || ") => {
            all_can(new, "mirror", Capability::Mirror)
        }
        "self.kind != 'Ingress' || has(self.router)" => new["kind"] != "Ingress" || has("router"),
        "self.metadata.name.size() <= 63" => new.name().len() <= 63,
        "self.stable != self.canary" => new["stable"] != new["canary"],
        "self.apiVersion == 'apps/v1' && self.kind == 'Deployment'" => {
            new["apiVersion"] == "apps/v1" && new["kind"] == "Deployment"
        }
        unknown => panic!("a definition has a rule that sim/api/rules.rs does not know: {unknown}"),
    }
}

/// Whether a rule about what is measured holds; nothing if it is about something else.
fn of_analysis(rule: &str, new: &Value) -> Option<bool> {
    let has = |member: &str| new.get(member).is_some();
    let items = |member: &str| items(new, member);
    let is_ratio = || has("preset") && new.text("preset").contains("/mean-");
    Some(match rule {
        "has(self.mode) && self.mode == 'None' ? (!has(self.metrics) || self.metrics.size() == 0) && (!has(self.templates) || self.templates.size() == 0) : ((has(self.metrics) && self.metrics.size() > 0 || has(self.templates) && self.templates.size() > 0) && (has(self.provider) || !has(self.metrics) || self.metrics.all(m, has(m.provider) || has(m.job))))" =>
        {
            let judged = !items("metrics").is_empty() || !items("templates").is_empty();
            let has_its_own = |metric: &Value| metric.get("provider").is_some() || metric.get("job").is_some();
            let provided = has("provider") || items("metrics").iter().all(has_its_own);
            if new["mode"] == "None" { !judged } else { judged && provided }
        }
        "!has(self.analysis.metrics) || self.analysis.metrics.all(m, !has(m.steps) || m.steps.all(n, self.steps.exists(s, s.name == n)))" =>
        {
            let metrics = new["analysis"]["metrics"].as_array().map_or(&[][..], Vec::as_slice);
            let named = metrics.iter().filter_map(|metric| metric["steps"].as_array()).flatten();
            named.into_iter().all(|name| items("steps").iter().any(|step| step["name"] == *name))
        }
        "has(self.value) != has(self.valueFrom)" => has("value") != has("valueFrom"),
        "!has(self.metrics) || self.metrics.all(m, self.metrics.exists_one(n, n.name == m.name))" => {
            names_differ(new, "metrics")
        }
        "[has(self.preset), has(self.query), has(self.scores), has(self.web), has(self.job)].exists_one(one, one)" => {
            ["preset", "query", "scores", "web", "job"].into_iter().filter(|source| has(source)).count() == 1
        }
        "!has(self.when) || ((has(self.query) || has(self.web) || has(self.job) || (has(self.preset) && self.preset.contains('/mean-'))) && (has(self.when.fail) || has(self.when.pass)))" =>
        {
            let said = ["fail", "pass"].into_iter().any(|condition| new["when"].get(condition).is_some());
            !has("when") || ((has("query") || has("web") || has("job") || is_ratio()) && said)
        }
        "!has(self.preset) || !self.preset.contains('/mean-') || ((has(self.limit) || has(self.when)) && !has(self.compare))" => {
            !is_ratio() || ((has("limit") || has("when")) && !has("compare"))
        }
        "!has(self.job) || (has(self.job.result) && self.job.result == 'Score') == (has(self.limit) || has(self.when))" => {
            !has("job") || (new["job"]["result"] == "Score") == (has("limit") || has("when"))
        }
        "!has(self.job) || !has(self.provider)" => !has("job") || !has("provider"),
        "!has(self.scores) || !(has(self.limit) || has(self.shared))" => {
            !has("scores") || !(has("limit") || has("shared"))
        }
        "!(has(self.query) || has(self.web)) || has(self.limit) || has(self.when)" => {
            !(has("query") || has("web")) || has("limit") || has("when")
        }
        "!has(self.compare) || has(self.preset)" => !has("compare") || has("preset"),
        "!(has(self.preset) || has(self.web) || has(self.job)) || !(has(self.arm) || has(self.shared))" => {
            !(has("preset") || has("web") || has("job")) || !(has("arm") || has("shared"))
        }
        "!has(self.limit) || !has(self.limit.quantile) || (has(self.preset) && !self.preset.endsWith('error-rate') && !self.preset.contains('/mean-'))" =>
        {
            let is_latency = || has("preset") && !new.text("preset").ends_with("error-rate") && !is_ratio();
            new["limit"].get("quantile").is_none() || is_latency()
        }
        "!has(self.compare) || self.compare != 'None' || has(self.limit)" => new["compare"] != "None" || has("limit"),
        _ => return None,
    })
}

/// Whether no step has this member, or the router of every route can do what it asks.
fn all_can(spec: &Value, member: &str, what: Capability) -> bool {
    let can = |route: &Value| {
        RouteRef::deserialize(route).is_ok_and(|route| route.router().is_ok_and(|router| router.can(what)))
    };
    items(spec, "steps").iter().all(|step| step.get(member).is_none())
        || items(&spec["traffic"], "routes").iter().all(can)
}

fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

fn names_differ(value: &Value, member: &str) -> bool {
    let items = items(value, member);
    items.iter().all(|one| items.iter().filter(|other| other["name"] == one["name"]).count() == 1)
}
