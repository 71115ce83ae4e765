//! The admission policies of the chart, by the same rules as `charts/bellwether/templates/policies` writes them in CEL.
use super::{
    Status,
    serve::{Ask, time_text},
    store::{Meta as _, State},
    weights,
};
use crate::api::GROUP;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Which policies are installed, and how long it takes until they and what they look at are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    /// No new ReplicaSet for a Deployment that a Rollout holds.
    pub belt: bool,
    /// A Deployment that a Rollout holds is paused with every new template.
    pub hold: bool,
    /// While a Rollout tries a revision, its Deployment does not shrink below what it was.
    pub floor: bool,
    /// The split of a claimed route stays as it is stored.
    pub route_weights: bool,
    /// Who commands is written down by the server.
    pub action_author: bool,
    /// Who commands, or tells the operator to write or read, must be allowed to.
    pub rights: bool,
    /// The operator's user name.
    pub operator: String,
    /// How long after its creation a policy begins to work.
    pub armed_after: Option<Duration>,
    /// Policies see Rollouts as they were so long ago.
    pub lag: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Update,
}

const VALIDATING: &str = "validatingadmissionpolicies";
const MUTATING: &str = "mutatingadmissionpolicies";

impl Policies {
    /// All that the chart ships, for an operator of this user name.
    pub fn shipped(operator: &str) -> Self {
        Self {
            belt: true,
            hold: true,
            floor: true,
            route_weights: true,
            action_author: true,
            rights: true,
            operator: operator.to_owned(),
            armed_after: None,
            lag: Duration::ZERO,
        }
    }

    fn all(&self) -> [(&'static str, &'static str, bool); 10] {
        [
            (VALIDATING, "bellwether-belt", self.belt),
            (VALIDATING, "bellwether-action-author", self.action_author),
            (VALIDATING, "bellwether-action-rights", self.rights),
            (VALIDATING, "bellwether-rollout-rights", self.rights),
            (VALIDATING, "bellwether-secret-rights", self.rights),
            (VALIDATING, "bellwether-job-rights", self.rights),
            (MUTATING, "bellwether-hold", self.hold),
            (MUTATING, "bellwether-floor", self.floor),
            (MUTATING, "bellwether-action-author", self.action_author),
            (MUTATING, "bellwether-route-weights", self.route_weights),
        ]
    }
}

impl State {
    pub(super) fn set_policies(&mut self, policies: Policies) {
        let now = self.now();
        for (plural, name, wanted) in policies.all() {
            let Some(table) = self.table_of(plural) else { continue };
            let stored = self.get(table, "", name).cloned();
            if wanted == stored.is_some() {
                continue;
            }
            let object = wanted.then(|| {
                self.policies_since.insert(format!("{plural}/{name}"), now);
                json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": self.tables[table].kind.kind,
                    "metadata": {"name": name, "uid": self.new_uid(), "creationTimestamp": time_text(now), "generation": 1},
                    "spec": {"failurePolicy": "Fail"},
                })
            });
            self.commit("helm", None, table, stored, object);
        }
        self.policies = policies;
    }

    /// Whether a policy is there and has begun to work.
    fn is_armed(&self, plural: &str, name: &str) -> bool {
        let Some(table) = self.table_of(plural) else { return false };
        if self.get(table, "", name).is_none() {
            return false;
        }
        let Some(since) = self.policies_since.get(&format!("{plural}/{name}")) else { return false };
        let after = self.policies.armed_after.unwrap_or_default();
        self.now().duration_since(*since) >= jiff::SignedDuration::try_from(after).unwrap_or(jiff::SignedDuration::MAX)
    }

    /// The Rollouts of a namespace as the policies know them.
    fn parameters(&self, ask: &Ask<'_>) -> Vec<Arc<Value>> {
        // Without its definition there is no parameter, and the policies say Ignore.
        let Ok(table) = self.table_at("bellwether.dev/v1alpha1", "rollouts") else { return Vec::new() };
        if self.policies.lag.is_zero() {
            return self.tables[table].all(Some(ask.namespace())).cloned().collect();
        }
        let lag = jiff::SignedDuration::try_from(self.policies.lag).unwrap_or_default();
        let version = self.version_at(ask.at.checked_sub(lag).unwrap_or(ask.at));
        self.list_at(table, Some(ask.namespace()), version)
    }

    /// Lets the mutating policies change a write; whether they did.
    pub(super) fn mutate(&self, ask: &Ask<'_>, operation: Operation, old: Option<&Value>, new: &mut Value) -> bool {
        let kept = self.keep_floor(ask, operation, old, new);
        if !ask.call.part().is_empty() {
            return kept;
        }
        self.mutate_whole(ask, operation, old, new) || kept
    }

    /// Keeps a Deployment from shrinking while a revision is on trial.
    fn keep_floor(&self, ask: &Ask<'_>, operation: Operation, old: Option<&Value>, new: &mut Value) -> bool {
        let deployments = (ask.kind.group.as_str(), ask.kind.plural.as_str()) == ("apps", "deployments");
        let (Some(old), Operation::Update) = (old.filter(|_| deployments), operation) else { return false };
        let replicas = |object: &Value| object["spec"]["replicas"].as_i64().unwrap_or(0);
        let wanted = replicas(new);
        if !matches!(ask.call.part(), "" | "scale") || wanted <= 0 || wanted >= replicas(old) {
            return false;
        }
        if !self.is_armed(MUTATING, "bellwether-floor") {
            return false;
        }
        let of_it = |rollout: &&Arc<Value>| rollout["status"]["workload"].text("uid") == old.uid();
        let floor = |rollout: &Arc<Value>| match rollout["spec"]["capacity"].text("floor") {
            "" | "FlightStart" => rollout["status"]["flight"]["replicas"].as_i64().unwrap_or(0),
            _ => 0,
        };
        let kept = self.parameters(ask).iter().filter(of_it).map(floor).max().unwrap_or(0).min(replicas(old));
        if wanted < kept {
            new["spec"]["replicas"] = json!(kept);
        }
        wanted < kept
    }

    fn mutate_whole(&self, ask: &Ask<'_>, operation: Operation, old: Option<&Value>, new: &mut Value) -> bool {
        let (kind, by_operator) = (&ask.kind, ask.user == self.policies.operator);
        match (kind.group.as_str(), kind.plural.as_str(), operation, old) {
            ("apps", "deployments", Operation::Update, Some(old)) => {
                let changed = old["spec"]["template"] != new["spec"]["template"];
                let paused = |object: &Value| object["spec"]["paused"] == true;
                if paused(new) || !(changed || paused(old)) || !self.is_armed(MUTATING, "bellwether-hold") {
                    return false;
                }
                let holds = |rollout: &Arc<Value>| rollout["status"]["workload"].text("uid") == old.uid();
                let holds_it = (changed || !by_operator) && self.parameters(ask).iter().any(holds);
                if holds_it {
                    new["spec"]["paused"] = json!(true);
                }
                holds_it
            }
            (
                "gateway.networking.k8s.io",
                "httproutes" | "grpcroutes" | "tlsroutes" | "tcproutes",
                Operation::Update,
                Some(old),
            ) => {
                let claim = old["metadata"]["labels"].text(crate::api::ROLLOUT_UID_LABEL);
                if by_operator || claim.is_empty() || !self.is_armed(MUTATING, "bellwether-route-weights") {
                    return false;
                }
                let claimed = self.parameters(ask).iter().any(|rollout| rollout.uid() == claim);
                if claimed {
                    weights::put_back(ask.namespace(), old, new);
                }
                claimed
            }
            (GROUP, "rolloutactions", Operation::Create, _) if self.is_armed(MUTATING, "bellwether-action-author") => {
                if !new["metadata"]["annotations"].is_object() {
                    new["metadata"]["annotations"] = json!({});
                }
                new["metadata"]["annotations"]["bellwether.dev/by"] = json!(ask.user);
                new["metadata"]["annotations"]["bellwether.dev/by-verified"] = json!("true");
                true
            }
            _ => false,
        }
    }

    /// What the validating policies say to a write.
    pub(super) fn review(
        &self,
        ask: &Ask<'_>,
        operation: Operation,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), Status> {
        if !ask.call.part().is_empty() {
            return Ok(());
        }
        let armed = |name| self.is_armed(VALIDATING, name);
        match (ask.kind.group.as_str(), ask.kind.plural.as_str()) {
            ("apps", "replicasets") if operation == Operation::Create && armed("bellwether-belt") => {
                self.review_belt(ask, new)
            }
            (GROUP, "rolloutactions") => {
                if armed("bellwether-action-author") {
                    review_author(ask, old, new)?;
                }
                if operation == Operation::Create && armed("bellwether-action-rights") {
                    self.review_command(ask, new)?;
                }
                Ok(())
            }
            (GROUP, "rollouts") if ask.user != self.policies.operator => {
                let says_something = old.is_none_or(|old| old["spec"] != new["spec"]);
                if says_something && armed("bellwether-rollout-rights") {
                    self.review_rollout(ask, new)?;
                }
                if says_something && armed("bellwether-job-rights") {
                    self.review_jobs(ask, new)?;
                }
                Ok(())
            }
            (GROUP, "analysistemplates" | "clusteranalysistemplates") if ask.user != self.policies.operator => {
                let says_something = old.is_none_or(|old| old["spec"] != new["spec"]);
                if says_something && armed("bellwether-job-rights") {
                    self.review_jobs(ask, new)?;
                }
                Ok(())
            }
            (GROUP, "metricproviders" | "clustermetricproviders" | "alertreceivers") => {
                let says_something = old.is_none_or(|old| old["spec"] != new["spec"]);
                if says_something && armed("bellwether-secret-rights") {
                    self.review_secrets(ask, new)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn review_belt(&self, ask: &Ask<'_>, new: &Value) -> Result<(), Status> {
        let of_deployment = |owner: &&Value| owner["kind"] == "Deployment" && owner["controller"] == true;
        let owners: Vec<_> = new.owners().iter().filter(of_deployment).map(|owner| owner.text("uid")).collect();
        if owners.is_empty() {
            return Ok(());
        }
        let rollouts = self.parameters(ask);
        let holder = rollouts.iter().find(|rollout| owners.contains(&rollout["status"]["workload"].text("uid")));
        match holder {
            None => Ok(()),
            Some(rollout) => {
                let why = format!("Rollout {} decides when this Deployment gets a new ReplicaSet", rollout.name());
                Err(Status::denied(&ask.kind, new.name(), "bellwether-belt", "Invalid", &why))
            }
        }
    }

    fn review_command(&self, ask: &Ask<'_>, new: &Value) -> Result<(), Status> {
        let (verb, rollout) = (verb_of(new["spec"].text("action")), new["spec"].text("rollout"));
        if !self.is_denied(ask.user, verb, "rollouts") {
            return Ok(());
        }
        let why = format!(
            "{} may not {verb} Rollout {rollout}: this takes the verb {verb} on rollouts.bellwether.dev in namespace {}",
            ask.user,
            ask.namespace()
        );
        Err(Status::denied(&ask.kind, new.name(), "bellwether-action-rights", "Forbidden", &why))
    }

    fn review_rollout(&self, ask: &Ask<'_>, new: &Value) -> Result<(), Status> {
        let denied = |why: &str| Status::denied(&ask.kind, new.name(), "bellwether-rollout-rights", "Forbidden", why);
        if self.is_denied(ask.user, "update", "deployments") {
            return Err(denied(&format!(
                "{} may not update Deployment {}, and so may not tell the operator to do it by a Rollout",
                ask.user,
                new["spec"]["workloadRef"].text("name")
            )));
        }
        let routes = new["spec"]["traffic"]["routes"].as_array().map_or(&[][..], Vec::as_slice);
        let may_write = |route: &Value| {
            let plural = plural_of(route);
            !self.is_denied(ask.user, "update", &plural)
                && (route.text("ownership") != "Operator" || !self.is_denied(ask.user, "create", &plural))
        };
        let Some(route) = routes.iter().find(|route| !may_write(route)) else { return Ok(()) };
        Err(denied(&format!(
            "{} may not write {} {}, and so may not tell the operator to do it by a Rollout",
            ask.user,
            route.text("kind"),
            route.text("name")
        )))
    }

    fn review_jobs(&self, ask: &Ask<'_>, new: &Value) -> Result<(), Status> {
        let metrics =
            ["/spec/analysis/metrics", "/spec/metrics"].into_iter().filter_map(|place| new.pointer(place)?.as_array());
        let runs_jobs = metrics.flatten().any(|metric| metric.get("job").is_some());
        if !runs_jobs || !self.is_denied(ask.user, "create", "jobs") {
            return Ok(());
        }
        let home =
            if ask.kind.namespaced { format!("namespace {}", ask.namespace()) } else { "every namespace".to_owned() };
        let why = format!(
            "{} may not create Jobs in {home}, and so may not tell the operator to do it by a metric",
            ask.user
        );
        Err(Status::denied(&ask.kind, new.name(), "bellwether-job-rights", "Forbidden", &why))
    }

    fn review_secrets(&self, ask: &Ask<'_>, new: &Value) -> Result<(), Status> {
        let places = [
            "/spec/prometheus/auth/basic/secretRef",
            "/spec/prometheus/auth/bearer/secretRef",
            "/spec/web/auth/basic/secretRef",
            "/spec/web/auth/bearer/secretRef",
            "/spec/web/hmac/secretRef",
            "/spec/webhook/secretRef",
            "/spec/slack/urlFrom/secretKeyRef",
            "/spec/teams/urlFrom/secretKeyRef",
            "/spec/discord/urlFrom/secretKeyRef",
            "/spec/pagerduty/routingKeyFrom/secretKeyRef",
            "/spec/custom/urlFrom/secretKeyRef",
        ];
        let names: Vec<_> =
            places.iter().filter_map(|place| new.pointer(place)).map(|secret| secret.text("name")).collect();
        if names.is_empty() || !self.is_denied(ask.user, "get", "secrets") {
            return Ok(());
        }
        let home = if ask.kind.namespaced { ask.namespace() } else { "bellwether-system" };
        let why = format!(
            "{} may not read Secret {} in namespace {home}, and so may not have the operator send it somewhere",
            ask.user,
            names.join(", ")
        );
        Err(Status::denied(&ask.kind, new.name(), "bellwether-secret-rights", "Forbidden", &why))
    }
}

fn review_author(ask: &Ask<'_>, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let said = |object: &Value, what: &str| object["metadata"]["annotations"][format!("bellwether.dev/{what}")].clone();
    let denied = |why: &str| Err(Status::denied(&ask.kind, new.name(), "bellwether-action-author", "Forbidden", why));
    match old {
        None if !said(new, "by-verified").is_null() && said(new, "by") != ask.user => {
            denied("the annotation bellwether.dev/by names somebody else than the sender")
        }
        Some(old) if ["by", "by-verified"].iter().any(|what| said(old, what) != said(new, what)) => {
            denied("who commanded is written down once and never changed")
        }
        _ => Ok(()),
    }
}

fn verb_of(action: &str) -> &'static str {
    match action {
        "Promote" => "promote",
        "PromoteFull" => "promote-full",
        "Abort" => "abort",
        "Retry" => "retry",
        "Pause" => "pause",
        "SetStep" => "set-step",
        "AdoptSteps" => "adopt-steps",
        _ => "resume",
    }
}

/// The resource that a route's kind is, as the policy spells it.
fn plural_of(route: &Value) -> String {
    let kind = route.text("kind").to_ascii_lowercase();
    match (route["custom"]["plural"].as_str(), kind.strip_suffix('y')) {
        (Some(plural), _) => plural.to_owned(),
        (None, Some(stem)) => format!("{stem}ies"),
        (None, None) if kind.ends_with('s') => format!("{kind}es"),
        (None, None) => format!("{kind}s"),
    }
}
