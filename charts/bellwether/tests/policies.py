"""What the admission policies do on a real API server. Each function is a claim and has a namespace of its own."""
import contextlib
import copy
import json
import os
import subprocess
import sys
import time

from tools import CHART, check, fails, run, spoken, values_file

HOME = "bellwether-chart-test"
OPERATOR = f"system:serviceaccount:{HOME}:bellwether"
KINDS = ["rollouts", "rolloutactions", "metricproviders", "clustermetricproviders", "analysistemplates", "clusteranalysistemplates", "alertreceivers"]
API = "bellwether.dev/v1alpha1"
URL = "https://metrics.example.com"


# ---------------------------------------------------------------------------------------------------------------------
# Words of the stories.


class Namespace:
    """A namespace, and kubectl in it: as an administrator, unless somebody else is named."""

    def __init__(self, name):
        self.name = name

    def _command(self, arguments, by):
        return ["kubectl", "-n", self.name, *arguments, *(["--as", by] if by else [])]

    def run(self, *arguments, stdin=None, by=None):
        return run(*self._command(arguments, by), stdin=json.dumps(stdin) if stdin else None)

    def refused(self, words, *arguments, stdin=None, by=None):
        said = fails(*self._command(arguments, by), stdin=json.dumps(stdin) if stdin else None)
        assert words in said, f"refused with other words: {said}"

    def get(self, kind, name):
        return json.loads(self.run("get", kind, name, "-o", "json"))

    def create(self, thing, by=None, dry=False):
        out = self.run("create", "-o", "json", *(["--dry-run=server"] if dry else []), "-f", "-", stdin=thing, by=by)
        return json.loads(out)

    def cannot_create(self, thing, words, by=None):
        self.refused(words, "create", "--dry-run=server", "-f", "-", stdin=thing, by=by)

    def objection(self, thing, by=None):
        """What the API server says against creating it; empty when nothing."""
        command = self._command(["create", "--dry-run=server", "-f", "-"], by)
        done = subprocess.run(command, input=json.dumps(thing), text=True, capture_output=True)
        return done.stderr if done.returncode else ""

    def patch(self, kind, name, patch, by=None, how="merge", more=()):
        return self.run("patch", kind, name, f"--type={how}", "-p", json.dumps(patch), *more, by=by)

    def status(self, kind, name, status):
        self.patch(kind, name, {"status": status}, more=["--subresource=status"])

    def allow(self, user, *rights):
        """Rights as (group, resource, verbs, names)."""
        role = f"{user}-{len(rights)}"
        self.create({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": role}, "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": verbs.split(), "resourceNames": names.split()}
            for group, resource, verbs, names in rights]})
        self.run("create", "rolebinding", role, f"--role={role}", f"--user={user}")


def deployment(name="app", image="v1", **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template, **spec}}


def rollout(name="app", deployment="app", routes=(), **traffic):
    spec = {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}, "analysis": {"mode": "None"},
            "steps": [{"name": "first", "weight": 5, "observe": "1m"}]}
    if routes:
        spec["traffic"] = {"services": {"stable": "app-stable", "canary": "app-canary"}, "routes": [
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "name": name, **traffic} for kind, name in routes]}
    return {"apiVersion": API, "kind": "Rollout", "metadata": {"name": name}, "spec": spec}


def replica_set(owner, controller=True):
    labels = {"probe": "yes"}
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app", "uid": owner, "controller": controller}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"generateName": "probe-", "ownerReferences": [reference]},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "v1"}]}}}}


def held(ns, name="app"):
    """A Deployment that a Rollout holds."""
    uid = ns.create(deployment(name))["metadata"]["uid"]
    until(lambda: ns.get("deployment", name).get("status", {}).get("observedGeneration") == 1)
    ns.create(rollout(name, name))
    ns.status("rollout", name, {"phase": "Stable", "attempt": 0, "workload": {"uid": uid}})
    until(lambda: ns.objection(replica_set(uid)))
    return uid


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


def backends(stable, canary, **others):
    """backendRefs with these weights."""
    return [{"name": name.replace("_", "-"), "port": 8080, "weight": weight}
            for name, weight in {"app_stable": stable, "app_canary": canary, **others}.items()]


def rule(path, refs, **more):
    return {"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": refs, **more}


def route(*rules, name="app", **more):
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
            "spec": {"rules": list(rules), **more}}


def weights(thing):
    return [[ref["weight"] for ref in rule["backendRefs"]] for rule in thing["spec"]["rules"]]


def claimed(ns, git, *stored):
    """A route from Git that a Rollout has claimed, with these weights written by the operator."""
    name = git["metadata"]["name"]
    uid = ns.create(rollout(name, routes=[("HTTPRoute", name)]))["metadata"]["uid"]
    ns.run("apply", "-f", "-", stdin=git)
    ns.patch(git["kind"], name, {"metadata": {
        "labels": {"bellwether.dev/rollout": name, "bellwether.dev/rollout-uid": uid},
        "annotations": {"bellwether.dev/stable-service": "app-stable", "bellwether.dev/canary-service": "app-canary"}}}, by=OPERATOR)
    now = ns.get(git["kind"], name)
    for written, refs in zip(now["spec"]["rules"], stored):
        for ref, weight in zip(written["backendRefs"], refs):
            ref["weight"] = weight
    ns.run("replace", "-f", "-", stdin=now, by=OPERATOR)
    assert weights(ns.get(git["kind"], name)) == [list(refs) for refs in stored], "the operator's own write went wrong"
    # The policy knows a new Rollout a moment later.
    trial = copy.deepcopy(now)
    del trial["metadata"]["resourceVersion"]
    stable, canary = trial["spec"]["rules"][0]["backendRefs"][:2]
    stable["weight"], canary["weight"] = canary["weight"], stable["weight"]
    asked = ["replace", "--dry-run=server", "-o", "json", "-f", "-"]
    until(lambda: weights(json.loads(ns.run(*asked, stdin=trial))) == [list(refs) for refs in stored])


def action(what, name="app", annotations=None):
    spec = {"rollout": name, "action": what}
    if what not in ("Abort", "Pause"):
        spec["expect"] = {"revision": "abc"}
    if what == "SetStep":
        spec["to"] = "first"
    metadata = {"generateName": "do-", **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": API, "kind": "RolloutAction", "metadata": metadata, "spec": spec}


def provider(kind, auth=()):
    said = {} if auth == () else {"auth": auth}
    return {"apiVersion": API, "kind": kind, "metadata": {"name": "app"}, "spec": {"prometheus": {"url": URL, **said}}}


# ---------------------------------------------------------------------------------------------------------------------
# The belt and the hold.


def a_held_deployment_gets_no_replica_set(ns):
    uid = held(ns)
    ns.cannot_create(replica_set(uid), "Rollout app decides when this Deployment gets a new ReplicaSet")
    ns.create(replica_set(uid, controller=False), dry=True)
    ns.create(replica_set(ns.create(deployment("other"))["metadata"]["uid"]), dry=True)
    ns.run("delete", "rollout", "app")
    until(lambda: not ns.objection(replica_set(uid)))


def a_new_template_is_paused_in_the_same_write(ns):
    held(ns)
    for writer in (None, OPERATOR):
        patched = ns.patch("deployment", "app", deployment(image="v2"), by=writer, more=["--dry-run=server", "-o", "json"])
        assert json.loads(patched)["spec"]["paused"] is True
    ns.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=deployment(image="v2", replicas=3, paused=False))
    now = ns.get("deployment", "app")["spec"]
    assert now["paused"] and now["replicas"] == 3 and now["template"]["spec"]["containers"][0]["image"] == "v2"
    assert len(json.loads(ns.run("get", "replicasets", "-o", "json"))["items"]) == 1


def nobody_but_the_operator_resumes(ns):
    held(ns)
    ns.patch("deployment", "app", {"spec": {"template": deployment(image="v2")["spec"]["template"]}})
    ns.run("replace", "-f", "-", stdin=deployment(image="v2"))
    assert ns.get("deployment", "app")["spec"]["paused"], "after a replace that does not name it"
    ns.run("rollout", "resume", "deployment/app")
    assert ns.get("deployment", "app")["spec"]["paused"], "after kubectl rollout resume"
    ns.patch("deployment", "app", {"spec": {"paused": False}}, by=OPERATOR)
    assert "paused" not in ns.get("deployment", "app")["spec"]


def scaling_and_other_deployments_are_not_touched(ns):
    held(ns)
    ns.run("scale", "deployment/app", "--replicas=2")
    ns.patch("deployment", "app", {"metadata": {"labels": {"team": "shop"}}})
    ns.create(deployment("other"))
    ns.patch("deployment", "other", {"spec": {"template": deployment("other", "v2")["spec"]["template"]}})
    for name in ("app", "other"):
        assert "paused" not in ns.get("deployment", name)["spec"], name


def in_flight_a_deployment_does_not_shrink(ns):
    uid = held(ns)
    size = lambda: ns.get("deployment", "app")["spec"]["replicas"]
    scale = lambda to: (ns.run("scale", "deployment/app", f"--replicas={to}"), size())[1]
    assert [scale(5), scale(4)] == [5, 4], "nothing is on trial"
    flight = {"revision": "b", "candidate": "app-b", "replicas": 3, "startedAt": "2026-01-01T00:00:00Z",
              "steps": [{"name": "first", "weight": 5, "observe": "1m"}]}
    ns.status("rollout", "app", {"phase": "Progressing", "attempt": 1, "workload": {"uid": uid}, "flight": flight})
    until(lambda: scale(4) == 4 and scale(2) == 3)
    ns.patch("deployment", "app", {"spec": {"replicas": 1}})
    assert size() == 3, "by a write of the Deployment itself"
    assert [scale(6), scale(0), scale(2), scale(1)] == [6, 0, 2, 2], "0 is let through, and growing from there"
    ns.patch("rollout", "app", {"spec": {"capacity": {"floor": "None"}}})
    until(lambda: scale(4) == 4 and scale(1) == 1)


# ---------------------------------------------------------------------------------------------------------------------
# The weights.

HEADER = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-new", "value": "1"}]}}


def every_way_of_writing_keeps_the_weights(ns):
    git = route(rule("/", backends(100, 0)), hostnames=["a.example"])
    claimed(ns, git, [80, 20])
    git["spec"]["rules"][0]["filters"] = [HEADER]
    git["spec"]["hostnames"] = ["b.example"]
    for way in (["apply", "--server-side", "--force-conflicts", "--field-manager=git"], ["apply"], ["replace"]):
        ns.run(*way, "-f", "-", stdin=git)
        now = ns.get("httproute", "app")
        assert weights(now) == [[80, 20]], way
        assert now["spec"]["rules"][0]["filters"] == [HEADER] and now["spec"]["hostnames"] == ["b.example"], way
    for path, value in [("/spec/rules/0/backendRefs", backends(1, 99)), ("/spec/rules/0/backendRefs/1/weight", 100)]:
        ns.patch("httproute", "app", [{"op": "replace", "path": path, "value": value}], how="json")
        assert weights(ns.get("httproute", "app")) == [[80, 20]], path
    ns.patch("httproutes.v1beta1.gateway.networking.k8s.io", "app", {"spec": {"rules": [rule("/", backends(50, 50))]}})
    assert weights(ns.get("httproute", "app")) == [[80, 20]], "v1beta1"


def the_operator_writes_what_it_likes(ns):
    claimed(ns, route(rule("/", backends(100, 0))), [80, 20])
    ns.patch("httproute", "app", {"spec": {"rules": [rule("/", backends(60, 40))]}}, by=OPERATOR)
    assert weights(ns.get("httproute", "app")) == [[60, 40]]


def the_claim_cannot_be_dropped(ns):
    git = route(rule("/", backends(100, 0)))
    claimed(ns, git, [80, 20])
    before = ns.get("httproute", "app")["metadata"]
    ns.run("replace", "-f", "-", stdin=git)
    now = ns.get("httproute", "app")["metadata"]
    assert now["labels"] == before["labels"]
    assert {key: value for key, value in now["annotations"].items() if "bellwether" in key} == {
        "bellwether.dev/stable-service": "app-stable", "bellwether.dev/canary-service": "app-canary"}
    ns.patch("httproute", "app", {"metadata": {"labels": {"bellwether.dev/rollout-uid": "other", "team": "shop"}}})
    assert ns.get("httproute", "app")["metadata"]["labels"] == {**before["labels"], "team": "shop"}


def rules_are_found_where_they_went(ns):
    plain = [{"name": "app-stable", "port": 8080}]
    git = route(rule("/a", backends(100, 0)), rule("/b", backends(100, 0), name="b"), rule("/static", plain))
    claimed(ns, git, [80, 20], [70, 30], [1])
    a, b, static = git["spec"]["rules"]
    new = rule("/new", backends(0, 0, else_where=1)[2:])
    b["matches"] = [{"path": {"type": "Exact", "value": "/elsewhere"}}]
    ns.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=route(new, static, b, a))
    assert weights(ns.get("httproute", "app")) == [[1], [1], [70, 30], [80, 20]]
    a["matches"] = [{"path": {"type": "Exact", "value": "/unknown"}}]
    a["backendRefs"].reverse()
    ns.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=route(a, b))
    assert weights(ns.get("httproute", "app")) == [[30, 70], [70, 30]], "a rule that pairs with none takes the first split"


def beside_other_backends_only_the_split_is_ours(ns):
    git = route(rule("/", backends(40, 0, other=60)))
    claimed(ns, git, [30, 10, 60])
    ns.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=git)
    assert weights(ns.get("httproute", "app")) == [[30, 10, 60]]
    git["spec"]["rules"][0]["backendRefs"] = backends(80, 0, other=20)
    ns.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=git)
    assert weights(ns.get("httproute", "app")) == [[60, 20, 20]]


def a_grpc_route_is_kept_as_well(ns):
    method = {"method": {"type": "Exact", "service": "shop.Checkout"}}
    git = {**route({"matches": [method], "backendRefs": backends(100, 0)}, {"backendRefs": backends(100, 0)}), "kind": "GRPCRoute"}
    claimed(ns, git, [80, 20], [60, 40])
    ns.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=git)
    assert weights(ns.get("grpcroute", "app")) == [[80, 20], [60, 40]]


def the_largest_route_is_kept(ns):
    """16 rules of 16 backends are the most that the API takes; the policy must stay in the budget of its expressions."""
    def large(stable, canary):
        others = {f"other_{n}": 1 for n in range(14)}
        rules = []
        for n in range(16):
            matches = [{"path": {"type": "PathPrefix", "value": f"/{n}/{m}"}, "headers": [{"name": "x", "value": "1"}]}
                       for m in range(8)]
            rules.append({"matches": matches, "backendRefs": backends(stable, canary, **others)})
        return route(*rules)
    stored = [[80, 20] + [1] * 14] * 16
    claimed(ns, large(100, 0), *stored)
    ns.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=large(100, 0))
    assert weights(ns.get("httproute", "app")) == stored


def routes_without_a_living_claim_are_not_touched(ns):
    git = route(rule("/", backends(100, 0)))
    claimed(ns, git, [80, 20])
    ns.run("apply", "-f", "-", stdin=route(rule("/", backends(50, 50)), name="free"))
    ns.run("apply", "-f", "-", stdin=route(rule("/", backends(90, 10)), name="free"))
    assert weights(ns.get("httproute", "free")) == [[90, 10]]
    ns.run("delete", "rollout", "app")
    trial = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "json", "-f", "-"]
    until(lambda: weights(json.loads(ns.run(*trial, stdin=git))) == [[100, 0]])


# ---------------------------------------------------------------------------------------------------------------------
# Actions.


def a_command_takes_its_verb(ns):
    ns.allow("jane", ("bellwether.dev", "rolloutactions", "create", ""), ("bellwether.dev", "rollouts", "abort promote-full", "app"))
    ns.create(action("Abort"), by="jane")
    ns.create(action("PromoteFull"), by="jane", dry=True)
    words = "jane may not promote Rollout app: this takes the verb promote on rollouts.bellwether.dev in namespace " + ns.name
    ns.cannot_create(action("Promote"), words, by="jane")
    ns.cannot_create(action("Abort", "cart"), "jane may not abort Rollout cart", by="jane")
    for what in ("Promote", "PromoteFull", "Abort", "Retry", "Pause", "Resume", "SetStep", "AdoptSteps"):
        ns.create(action(what), dry=True)
    ns.cannot_create(action("AdoptSteps"), "this takes the verb adopt-steps on rollouts.bellwether.dev", by="jane")
    ns.run("create", "rolebinding", "on-call", "--clusterrole=bellwether-operator-on-call", "--user=otto")
    ns.run("create", "rolebinding", "edit", "--clusterrole=edit", "--user=edith")
    for what in ("Promote", "Resume"):
        for user in ("otto", "edith"):
            ns.create(action(what), by=user, dry=True)


def the_author_is_who_sent_it(ns):
    ns.allow("jane", ("bellwether.dev", "rolloutactions", "create patch get", ""), ("bellwether.dev", "rollouts", "abort", ""))
    forged = {"bellwether.dev/by": "mallory", "bellwether.dev/by-verified": "perhaps", "note": "kept"}
    for thing in (action("Abort", annotations=forged), action("Abort")):
        written = ns.create(thing, by="jane")["metadata"]
        assert written["annotations"]["bellwether.dev/by"] == "jane"
        assert written["annotations"]["bellwether.dev/by-verified"] == "true"
    change = json.dumps({"metadata": {"annotations": {"bellwether.dev/by": "mallory"}}})
    for user in ("jane", None):
        ns.refused("never changed", "patch", "rolloutaction", written["name"], "--type=merge", "-p", change, by=user)
    ns.patch("rolloutaction", written["name"], {"metadata": {"annotations": {"note": "changed"}}})
    ns.status("rolloutaction", written["name"], {"outcome": "Accepted"})


# ---------------------------------------------------------------------------------------------------------------------
# Rollouts.


def a_rollout_takes_the_right_to_what_it_names(ns):
    ns.allow("jane", ("bellwether.dev", "rollouts", "create patch get", ""))
    ns.cannot_create(rollout(), "jane may not update Deployment app", by="jane")
    ns.allow("jane", ("apps", "deployments", "update", "app"), ("gateway.networking.k8s.io", "httproutes", "update", "app"))
    ns.create(rollout(), by="jane")
    ns.create(rollout("second", routes=[("HTTPRoute", "app")]), by="jane")
    ns.cannot_create(rollout("third", "other"), "jane may not update Deployment other", by="jane")
    two = rollout("third", routes=[("HTTPRoute", "app"), ("HTTPRoute", "else")])
    ns.cannot_create(two, "jane may not write HTTPRoute else", by="jane")
    ns.cannot_create(rollout("third", routes=[("GRPCRoute", "app")]), "jane may not write GRPCRoute app", by="jane")
    whole = rollout("third", routes=[("HTTPRoute", "app")], ownership="Operator", template={"spec": {}})
    ns.cannot_create(whole, "jane may not write HTTPRoute app", by="jane")
    routes = rollout(routes=[("HTTPRoute", "else")])["spec"]
    change = ["patch", "rollout", "app", "--type=merge", "-p", json.dumps({"spec": routes})]
    ns.refused("jane may not write HTTPRoute else", *change, by="jane")


def a_rollout_may_name_as_many_routes_as_it_can(ns):
    """An expression that asks for too many rights is stopped, and then nobody may create the Rollout."""
    ns.allow("jane", ("bellwether.dev", "rollouts", "create", ""), ("apps", "deployments", "update", ""),
             ("gateway.networking.k8s.io", "httproutes", "update create", ""))
    most = rollout(routes=[("HTTPRoute", f"r{at}") for at in range(8)], ownership="Operator", template={"spec": {}})
    ns.create(most, by="jane", dry=True)
    most["spec"]["traffic"]["routes"][7]["kind"] = "GRPCRoute"
    ns.cannot_create(most, "jane may not write GRPCRoute r7", by="jane")


def a_field_of_null_is_no_field(ns):
    thing = rollout()
    thing["spec"]["traffic"] = None
    ns.create(thing)
    ns.create(provider("MetricProvider", None))


def what_names_a_secret_takes_the_right_to_read_it(ns):
    kinds = ("metricproviders", "clustermetricproviders", "alertreceivers")
    ns.allow("jane", *(("bellwether.dev", kind, "create patch get", "") for kind in kinds))
    secret = {"secretRef": {"name": "token", "key": "token"}}
    kept = {"secretKeyRef": {"name": "token", "key": "token"}}
    kinds_of_receivers = {
        "webhook": {"url": URL, **secret}, "slack": {"urlFrom": kept}, "teams": {"urlFrom": kept}, "discord": {"urlFrom": kept},
        "pagerduty": {"routingKeyFrom": kept}, "custom": {"urlFrom": kept, "body": "{}"}}
    receivers = [{"apiVersion": API, "kind": "AlertReceiver", "metadata": {"name": "app"}, "spec": {kind: spec}}
                 for kind, spec in kinds_of_receivers.items()]
    denied = f"jane may not read Secret token in namespace {ns.name}, and so may not have the operator send it somewhere"
    for thing in (*receivers, provider("MetricProvider", {"basic": secret}), provider("MetricProvider", {"bearer": secret})):
        ns.cannot_create(thing, denied, by="jane")
    ns.create(provider("MetricProvider"), by="jane")
    named = json.dumps({"spec": {"prometheus": {"auth": {"bearer": secret}}}})
    change = ["patch", "metricprovider", "app", "--type=merge", "-p", named]
    ns.refused(denied, *change, by="jane")
    ns.allow("jane", ("", "secrets", "get", "token"), ("", "services", "get", ""))
    ns.create(receivers[0], by="jane")
    ns.run(*change, by="jane")
    ns.run("create", "clusterrole", "jane-chart-test", "--verb=create", "--resource=clustermetricproviders.bellwether.dev")
    ns.run("create", "clusterrolebinding", "jane-chart-test", "--clusterrole=jane-chart-test", "--user=jane")
    try:
        cluster_wide = provider("ClusterMetricProvider", {"basic": secret})
        until(lambda: "forbidden: User" not in ns.objection(cluster_wide, "jane"))
        ns.cannot_create(cluster_wide, f"jane may not read Secret token in namespace {HOME}", by="jane")
        ns.create(cluster_wide, dry=True)
    finally:
        ns.run("delete", "clusterrolebinding,clusterrole", "jane-chart-test")


def what_runs_a_job_takes_the_right_to_create_jobs(ns):
    pods = {"spec": {"containers": [{"name": "eval", "image": "eval"}]}}
    metric = {"name": "eval", "job": {"template": pods}}
    plain = {"name": "errors", "preset": "app/error-rate"}
    def template(kind, metric):
        return {"apiVersion": API, "kind": kind, "metadata": {"name": "app"}, "spec": {"metrics": [metric]}}
    judged = rollout()
    judged["spec"]["analysis"] = {"metrics": [metric]}
    kinds = ("rollouts", "analysistemplates")
    ns.allow("jane", *(("bellwether.dev", kind, "create patch get", "") for kind in kinds), ("apps", "deployments", "update", ""),
             ("gateway.networking.k8s.io", "httproutes", "update create", ""))
    denied = f"jane may not create Jobs in namespace {ns.name}, and so may not tell the operator to do it by a metric"
    ns.cannot_create(judged, denied, by="jane")
    ns.cannot_create(template("AnalysisTemplate", metric), denied, by="jane")
    ns.create(template("AnalysisTemplate", plain), by="jane")
    change = ["patch", "analysistemplate", "app", "--type=merge", "-p", json.dumps({"spec": {"metrics": [metric]}})]
    ns.refused(denied, *change, by="jane")
    ns.run("create", "clusterrole", "jane-chart-test", "--verb=create", "--resource=clusteranalysistemplates.bellwether.dev")
    ns.run("create", "clusterrolebinding", "jane-chart-test", "--clusterrole=jane-chart-test", "--user=jane")
    ns.allow("jane", ("batch", "jobs", "create", ""))
    try:
        ns.create(judged, by="jane")
        ns.run(*change, by="jane")
        of_cluster = template("ClusterAnalysisTemplate", metric)
        until(lambda: "forbidden: User" not in ns.objection(of_cluster, "jane"))
        ns.cannot_create(of_cluster, "jane may not create Jobs in every namespace", by="jane")
        ns.create(template("ClusterAnalysisTemplate", plain), by="jane", dry=True)
    finally:
        ns.run("delete", "clusterrolebinding,clusterrole", "jane-chart-test")


def what_does_not_change_what_a_rollout_says_takes_no_more(ns):
    ns.create(rollout())
    ns.allow("jane", ("bellwether.dev", "rollouts", "patch get", ""))
    ns.patch("rollout", "app", {"metadata": {"labels": {"team": "shop"}}}, by="jane")
    ns.patch("rollout", "app", {"metadata": {"finalizers": ["bellwether.dev/hand-back"]}}, by=OPERATOR)
    ns.patch("rollout", "app", {"metadata": {"finalizers": []}}, by=OPERATOR)


CLAIMS = [
    a_held_deployment_gets_no_replica_set, a_new_template_is_paused_in_the_same_write, nobody_but_the_operator_resumes,
    scaling_and_other_deployments_are_not_touched, in_flight_a_deployment_does_not_shrink, every_way_of_writing_keeps_the_weights, the_operator_writes_what_it_likes,
    the_claim_cannot_be_dropped, rules_are_found_where_they_went, beside_other_backends_only_the_split_is_ours,
    a_grpc_route_is_kept_as_well, the_largest_route_is_kept, routes_without_a_living_claim_are_not_touched,
    a_command_takes_its_verb, the_author_is_who_sent_it, a_rollout_takes_the_right_to_what_it_names,
    a_rollout_may_name_as_many_routes_as_it_can, what_does_not_change_what_a_rollout_says_takes_no_more,
    a_field_of_null_is_no_field, what_names_a_secret_takes_the_right_to_read_it,
    what_runs_a_job_takes_the_right_to_create_jobs,
]


# ---------------------------------------------------------------------------------------------------------------------


def in_a_namespace(claim):
    name = f"{HOME}-{os.getpid()}-{CLAIMS.index(claim)}"  # a namespace takes longer to end than the next run to begin
    run("kubectl", "create", "namespace", name)
    try:
        claim(Namespace(name))
    finally:
        run("kubectl", "delete", "namespace", name, "--wait=false")


@contextlib.contextmanager
def installed():
    """The chart without pods. Its policies bind the whole cluster, so it is not put beside another installation."""
    definitions = [f"crd/{kind}.bellwether.dev" for kind in KINDS]
    if run("kubectl", "get", "--ignore-not-found", "-o", "name", *definitions):
        sys.exit("the definitions are on this cluster already: uninstall the chart and delete them, or use another cluster")
    values = values_file({"replicas": 0, "image": {"repository": "none"}})
    try:
        run("helm", "install", "bellwether", str(CHART), "-n", HOME, "--create-namespace", "-f", values)
        run("kubectl", "wait", "--for=condition=Established", "--timeout=30s", *definitions)
        run("helm", "upgrade", "bellwether", str(CHART), "-n", HOME, "-f", values)
        yield
        run("helm", "uninstall", "bellwether", "-n", HOME, "--no-hooks")
        run("kubectl", "get", *definitions)  # uninstalling keeps them
    finally:
        run("helm", "uninstall", "bellwether", "-n", HOME, "--no-hooks", "--ignore-not-found")
        run("kubectl", "delete", "--ignore-not-found", *definitions, f"namespace/{HOME}")


def test_policies(words=""):
    with installed():
        return all([check(spoken(claim), in_a_namespace, claim) for claim in CLAIMS if words in spoken(claim)])
