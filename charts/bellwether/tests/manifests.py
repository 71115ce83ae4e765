"""What the chart renders with several sets of values."""
import json
import pathlib
import re
import subprocess

from tools import CHART, WORK, check, fails, run, spoken, values_file

ALL_POLICIES = {"policies": {"validating": "Always", "mutating": "Always"}}
VALUES = {
    "default": {},
    "all policies": ALL_POLICIES,
    "some namespaces": {
        **ALL_POLICIES, "watchNamespaces": ["shop", "bank"], "secrets": {"named": {"shop": ["pager"]}}, "monitor": {"kind": "ServiceMonitor"},
    },
    "bare": {
        "crds": {"install": False}, "rbac": {"create": False, "aggregate": False}, "ejectOnUninstall": False,
        "serviceAccount": {"create": False, "name": "given"}, "podDisruptionBudget": {"enabled": False},
        "metrics": {"scrape": False}, "policies": {"validating": "Never", "mutating": "Never"},
    },
    "everything": {
        **ALL_POLICIES, "replicas": 3, "image": {"digest": "sha256:" + "0" * 64}, "imagePullSecrets": [{"name": "registry"}],
        "allowAddresses": ["prometheus.example.com:9090", "[fd00::7]:9090"], "log": {"format": "text", "level": "debug"},
        "secrets": {"clusterWide": True, "ownNamespace": False}, "serviceAccount": {"name": "shepherd", "annotations": {"a": "b"}},
        "podAnnotations": {"a": "b"}, "podLabels": {"team": "platform"}, "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}}, "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
        "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}],
        "eject": {"timeout": "1h1m30s500ms"}, "looks": {"concurrent": 4, "timeout": "1m"}, "leaseName": "mine",
        "customRoutes": [{"apiGroup": "mesh.example.com", "resource": "splits"}], "rbac": {"jobs": True},
        "monitor": {"kind": "PodMonitor", "labels": {"release": "prometheus"}, "interval": "15s"},
    },
    "another shard": {
        **ALL_POLICIES, "selector": "team in (pay, web),!legacy", "clusterObjects": False,
        "serviceAccount": {"create": False, "name": "bellwether"},
    },
    "rights by hand": {"rbac": {"create": False}},
}


def rendered(values, release="bellwether"):
    return run("helm", "template", release, str(CHART), "-n", "bellwether-system", "-f", values_file(values))


def parsed(manifests):
    """The objects of a YAML stream, read by helm: the standard library has no YAML."""
    chart = pathlib.Path(WORK.name, "parse")
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: parse\nversion: 0.0.0\n")
    (chart / "all").write_text(manifests)
    (chart / "templates/all.yaml").write_text(
        '{{- $all := list }}{{ range regexSplit "(?m)^---$" (.Files.Get "all") -1 }}{{ with fromYaml . }}{{ $all = append $all . }}'
        "{{ end }}{{ end }}apiVersion: v1\nkind: ConfigMap\nmetadata: {name: all}\ndata:\n  all: {{ $all | toJson | quote }}\n")
    line = next(line for line in run("helm", "template", str(chart)).splitlines() if line.startswith("  all: "))
    objects = json.loads(json.loads(line.removeprefix("  all: ")))
    assert not any("Error" in thing for thing in objects), objects
    return objects


def named(objects, kind, name=None):
    found = [thing for thing in objects if thing["kind"] == kind and name in (None, thing["metadata"]["name"])]
    assert found, f"no {kind} {name or ''}"
    return found[0] if name else found


def of_kind(objects, *kinds):
    return [thing for thing in objects if thing["kind"] in kinds]


def is_hook(thing):
    return "helm.sh/hook" in thing["metadata"].get("annotations", {})


def policies(objects):
    return of_kind(objects, "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy")


def rules(objects):
    return [(role, rule) for role in of_kind(objects, "ClusterRole", "Role") for rule in role["rules"]]


# ---------------------------------------------------------------------------------------------------------------------
# What is rendered. Each claim gets the objects of every set of values, by name.


def every_container_is_confined(sets):
    for objects in sets.values():
        for thing in of_kind(objects, "Deployment", "Job"):
            pod = thing["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
            assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "volumes"))
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "privileged": False,
                    "readOnlyRootFilesystem": True, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
                }, container
                assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]


def no_right_is_a_wildcard_or_a_way_to_more_rights(sets):
    for objects in sets.values():
        for role, rule in rules(objects):
            words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert "*" not in words and not {"escalate", "bind", "impersonate", "deletecollection"} & set(words), (role["metadata"], rule)
            assert not {"nodes", "serviceaccounts", "serviceaccounts/token", "pods/exec"} & set(rule["resources"]), rule
            if "rbac.authorization.k8s.io" in rule["apiGroups"] or "admissionregistration.k8s.io" in rule["apiGroups"]:
                assert rule["verbs"] == ["get"] and rule["resourceNames"], rule


def secrets_are_never_listed(sets):
    for name, objects in sets.items():
        for role, rule in rules(objects):
            if "secrets" in rule["resources"]:
                assert rule["resources"] == ["secrets"] and rule["verbs"] == ["get"], rule
                wide = role["kind"] == "ClusterRole" or role["metadata"]["name"].endswith("-steers")
                assert not wide or name == "everything", f"{name}: Secrets of all namespaces"
    role = named(sets["some namespaces"], "Role", "bellwether-secrets")
    assert role["metadata"]["namespace"] == "shop" and role["rules"][0]["resourceNames"] == ["pager"]


def with_named_namespaces_almost_nothing_is_cluster_wide(sets):
    objects = sets["some namespaces"]
    for rule in named(objects, "ClusterRole", "bellwether")["rules"]:
        # A namespace that ends loses its RoleBindings first, and its Rollouts have to be let go all the same.
        lets_go = (rule["resources"], rule["verbs"]) in [(["rollouts"], ["get", "patch"]), (["rollouts/status"], ["update"])]
        shared = rule["verbs"] == ["get"] and rule["resources"] in (["clustermetricproviders", "clusteranalysistemplates"], ["gateways", "gatewayclasses"])
        assert rule.get("resourceNames") or lets_go or shared, rule
    roles = [role for role in named(objects, "Role") if role["metadata"]["name"] == "bellwether-steers"]
    assert [role["metadata"]["namespace"] for role in roles] == ["shop", "bank"]
    everywhere = named(sets["default"], "ClusterRole", "bellwether")["rules"]
    assert all(rule in everywhere for rule in roles[0]["rules"])
    args = named(objects, "Deployment", "bellwether")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--watch-namespace=shop" in args and "--watch-namespace=bank" in args


def a_policy_whose_parameter_is_ours_ignores_failure(sets):
    for objects in sets.values():
        for policy in policies(objects):
            ours = policy["spec"].get("paramKind", {}).get("apiVersion", "").startswith("bellwether.dev/")
            assert policy["spec"]["failurePolicy"] == ("Ignore" if ours else "Fail"), policy["metadata"]["name"]
            binding = named(objects, policy["kind"] + "Binding", policy["metadata"]["name"])["spec"]
            assert binding["policyName"] == policy["metadata"]["name"]
            assert binding.get("paramRef") == ({"selector": {}, "parameterNotFoundAction": "Allow"} if ours else None)


def the_operator_may_look_at_the_policies_that_it_goes_by(sets):
    objects = sets["all policies"]
    names = {"bellwether-belt", "bellwether-action-author"}
    plural = "validatingadmissionpolicies"
    readable = [rule["resourceNames"] for _, rule in rules(objects) if plural in rule["resources"]]
    assert set(readable[0]) == names <= {policy["metadata"]["name"] for policy in named(objects, "ValidatingAdmissionPolicy")}


def what_is_only_read_by_name_is_never_listed(sets):
    by_name = {"metricproviders", "analysistemplates", "alertreceivers", "clustermetricproviders", "clusteranalysistemplates", "namespaces"}
    operator = named(sets["default"], "ClusterRole", "bellwether")["rules"]
    read = {resource: rule["verbs"] for rule in operator for resource in rule["resources"] if resource in by_name}
    assert read == {resource: ["get"] for resource in by_name}, read


def without_rbac_nobody_of_ours_is_given_rights(sets):
    roles = of_kind(sets["rights by hand"], "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding")
    assert {role["metadata"]["name"] for role in roles} == {"bellwether-view", "bellwether-edit", "bellwether-operator-on-call"}
    named(sets["rights by hand"], "Job", "bellwether-eject")


def policies_know_the_operator_by_its_account(sets):
    for name, account in [("all policies", "bellwether"), ("everything", "shepherd")]:
        named(sets[name], "ServiceAccount", account)
        users = set(re.findall(r"system:serviceaccount:[-a-z:]+", json.dumps(policies(sets[name]))))
        assert users == {f"system:serviceaccount:bellwether-system:{account}"}, users


def policies_are_rendered_where_they_are_served(sets):
    assert not policies(sets["default"]) and len(policies(sets["all policies"])) == 10
    served = ["--api-versions=admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"]
    objects = parsed(run("helm", "template", "bellwether", str(CHART), *served))
    assert {policy["kind"] for policy in policies(objects)} == {"ValidatingAdmissionPolicy"}


def definitions_are_kept_and_otherwise_as_generated(sets):
    sources = list((CHART / "files/crds").glob("*.yaml"))
    kinds = {"alertreceivers", "analysistemplates", "clusteranalysistemplates", "clustermetricproviders", "metricproviders", "rolloutactions", "rollouts"}
    assert {source.stem for source in sources} == kinds
    manifests = rendered({})
    for source in sources:
        text = source.read_text().removeprefix("---\n").strip()
        kept = text.replace("\nmetadata:\n", "\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n", 1)
        assert kept in manifests, f"{source.name} is not in the manifests as it is"
    for definition in named(sets["default"], "CustomResourceDefinition"):
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not of_kind(sets["bare"], "CustomResourceDefinition")


def schema_of(objects, kind):
    definition = next(d for d in named(objects, "CustomResourceDefinition") if d["spec"]["names"]["kind"] == kind)
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def every_action_has_its_verb(sets):
    objects = sets["all policies"]
    actions = schema_of(objects, "RolloutAction")["action"]["enum"]
    verbs = {action: re.sub(r"(?<!^)([A-Z])", r"-\1", action).lower() for action in actions}
    policy = named(objects, "ValidatingAdmissionPolicy", "bellwether-action-rights")["spec"]["variables"][0]["expression"]
    assert dict(re.findall(r"'(\w+)': '([-\w]+)'", policy)) == verbs
    on_call = named(objects, "ClusterRole", "bellwether-operator-on-call")["rules"][1]["verbs"]
    assert on_call == ["get", "list", "watch", *verbs.values()]


def every_secret_that_can_be_named_is_guarded(sets):
    def references(schema, path):
        for name, field in schema.get("properties", {}).items():
            if name in ("secretRef", "secretKeyRef"):
                yield path + name
            yield from references(field, path + name + ".")

    guard = named(sets["all policies"], "ValidatingAdmissionPolicy", "bellwether-secret-rights")["spec"]
    guarded = {path.replace(".?", ".") for path in re.findall(r"object\.(spec\.\?[.?\w]+)", guard["variables"][1]["expression"])}
    found, kinds = set(), set()
    for definition in named(sets["all policies"], "CustomResourceDefinition"):
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for path in references(schema, "spec."):
            found.add(path)
            kinds.add(definition["spec"]["names"]["plural"])
    assert found == guarded, found ^ guarded
    assert kinds == set(guard["matchConstraints"]["resourceRules"][0]["resources"])


def every_kind_of_route_is_covered(sets):
    objects = sets["all policies"]
    route = schema_of(objects, "Rollout")["traffic"]["properties"]["routes"]["items"]
    known = next(rule["rule"] for rule in route["x-kubernetes-validations"] if "self.custom" in rule["rule"])
    kinds = re.findall(r"'(\S+) (\w+)'", known)
    assert ("gateway.networking.k8s.io/v1", "HTTPRoute") in kinds, known
    # as the policy of rollout rights makes them
    plural = lambda kind: re.sub("ys$", "ies", re.sub("sss$", "sses", kind.lower() + "s"))
    wanted = {(version.rpartition("/")[0], plural(kind)) for version, kind in kinds}
    given = {(group, resource, verb) for _, rule in rules(objects) for group in rule["apiGroups"]
             for resource in rule["resources"] for verb in rule["verbs"]}
    verbs = ["get", "list", "watch", "create", "patch", "update"]
    missing = {(*kind, verb) for kind in wanted for verb in verbs} - given
    assert not missing, missing
    plurals = {resource for _, resource in wanted}
    steered = {(group, resource) for _, rule in rules(objects) if "update" in rule["verbs"]
               for group in rule["apiGroups"] for resource in rule["resources"] if resource in plurals}
    assert {resource for _, resource in steered} == plurals, steered
    guarded = named(objects, "MutatingAdmissionPolicy", "bellwether-route-weights")["spec"]["matchConstraints"]["resourceRules"]
    # Lists of rules with backendRefs are what that policy can read.
    of_gateways = {(group, resource) for group, resource in steered if group == "gateway.networking.k8s.io"}
    assert of_gateways == {(group, resource) for rule in guarded for group in rule["apiGroups"] for resource in rule["resources"]}


def jobs_are_made_where_a_value_says_so(sets):
    of = lambda name: [rule["verbs"] for _, rule in rules(sets[name]) if "batch" in rule["apiGroups"] and "create" in rule["verbs"]]
    assert of("everything") == [["list", "create", "delete"]] and of("default") == []
    unasked = {"rbac": {"jobs": True}, "policies": {"validating": "Never"}}
    assert "policies.validating" in fails("helm", "template", str(CHART), "-f", values_file(unasked))


def kinds_that_users_describe_are_written_where_a_value_says_so(sets):
    of = lambda name: [rule["verbs"] for _, rule in rules(sets[name]) if "mesh.example.com" in rule["apiGroups"]]
    assert of("everything") == [["get", "patch", "update"]] and of("default") == []
    for route in [{"apiGroup": "apps", "resource": "deployments"}, {"apiGroup": "*", "resource": "splits"},
                  {"apiGroup": "mesh.example.com", "resource": "*"}, {"apiGroup": "mesh.example.com"}]:
        assert "schema" in fails("helm", "template", str(CHART), "-f", values_file({"customRoutes": [route]})), route


def every_namespaced_object_says_its_namespace(sets):
    for objects in sets.values():
        for thing in objects:
            wide = thing["kind"].startswith(("Cluster", "Custom", "Flow", "Validating", "Mutating"))
            assert wide != ("namespace" in thing["metadata"]), thing["metadata"]


def rollouts_are_ejected_before_anything_is_uninstalled(sets):
    hooks = [thing for thing in sets["default"] if is_hook(thing)]
    weights = {thing["kind"]: int(thing["metadata"]["annotations"]["helm.sh/hook-weight"]) for thing in hooks}
    assert weights["ServiceAccount"] < weights["Job"] and weights["ClusterRole"] < weights["ClusterRoleBinding"] < weights["Job"]
    assert {thing["metadata"]["annotations"]["helm.sh/hook"] for thing in hooks} == {"pre-delete"}
    assert not any(is_hook(thing) for thing in sets["bare"])
    rights = {tuple(rule["resources"]): rule["verbs"] for rule in named(hooks, "ClusterRole", "bellwether-eject")["rules"]}
    assert rights == {("rollouts",): ["list", "watch", "delete"], ("deployments",): ["get"]}, rights


def the_job_ends_while_helm_still_waits(sets):
    for name, seconds in [("default", 270), ("everything", 2 * 3690 + 1 + 30)]:
        assert named(sets[name], "Job", "bellwether-eject")["spec"]["activeDeadlineSeconds"] == seconds, name
    assert named(sets["default"], "Job", "bellwether-eject")["spec"]["activeDeadlineSeconds"] < 300, "Helm waits five minutes"


def leases_that_the_operator_would_refuse_are_refused(_):
    for duration, renew, word in [("1s", "300ms", "at least 2s"), ("3s", "2s", "a third"), ("3s", "0s", "more than 0")]:
        lease = {"lease": {"duration": duration, "renew": renew}}
        assert word in fails("helm", "template", str(CHART), "-f", values_file(lease)), lease
    run("helm", "template", str(CHART), "-f", values_file({"lease": {"duration": "1m30s", "renew": "30s"}}))


def arguments(objects, kind="Deployment", name="bellwether"):
    return named(objects, kind, name)["spec"]["template"]["spec"]["containers"][0]["args"]


def a_shard_steers_and_ejects_its_own_rollouts_alone(sets):
    shard = "--selector=team in (pay, web),!legacy"
    assert shard in arguments(sets["another shard"]) and shard in arguments(sets["another shard"], "Job", "bellwether-eject")
    assert not any("--selector" in word for word in arguments(sets["default"]) + arguments(sets["default"], "Job", "bellwether-eject"))


def shards_have_leases_of_their_own(sets):
    leases = {}
    for name in ("default", "another shard", "everything", "some namespaces"):
        leases[name] = next(word.removeprefix("--lease-name=") for word in arguments(sets[name]) if word.startswith("--lease-name="))
        allowed = [rule for _, rule in rules(sets[name]) if rule["resources"] == ["leases"] and "resourceNames" in rule]
        assert [rule["resourceNames"] for rule in allowed] == [[leases[name]]], allowed
        assert allowed[0]["verbs"] == ["get", "update", "watch"], "a standby watches, so that it takes over at once"
    assert leases["default"] == "bellwether" and leases["everything"] == "mine"
    for part in ("another shard", "some namespaces"):
        assert re.fullmatch("bellwether-[0-9a-f]{8}", leases[part])
    assert leases["another shard"] != leases["some namespaces"]


def what_a_cluster_has_once_is_brought_once(sets):
    first, second = ({(t["kind"], t["metadata"]["name"]) for t in sets[name] if "namespace" not in t["metadata"] and not is_hook(t)}
                     for name in ("all policies", "another shard"))
    people = {("ClusterRole", "bellwether-view"), ("ClusterRole", "bellwether-edit"), ("ClusterRole", "bellwether-operator-on-call")}
    assert people <= first and ("FlowSchema", "bellwether-leases") in first and second == {("ClusterRole", "bellwether"), ("ClusterRoleBinding", "bellwether")}, second
    said = fails("helm", "template", str(CHART), "-f", values_file({"clusterObjects": False}))
    assert "serviceAccount.create=false" in said, said
    beside = {"clusterObjects": False, "serviceAccount": {"create": False, "name": "bellwether"}}
    said = fails("helm", "template", str(CHART), "-f", values_file(beside))
    assert "selector or watchNamespaces" in said, said
    run("helm", "template", str(CHART), "-f", values_file({**beside, "watchNamespaces": ["shop"]}))


def a_monitor_finds_the_port_of_metrics_where_a_value_asks_for_one(sets):
    assert not any(of_kind(objects, "PodMonitor", "ServiceMonitor") for name, objects in sets.items() if name not in ("everything", "some namespaces"))
    monitor = named(sets["everything"], "PodMonitor", "bellwether")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    pods = named(sets["everything"], "Deployment", "bellwether")["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    ports = {port["name"] for port in pods["spec"]["containers"][0]["ports"]}
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "http", "path": "/metrics", "interval": "15s"}] and "http" in ports
    of_service = named(sets["some namespaces"], "ServiceMonitor", "bellwether")
    service = named(sets["some namespaces"], "Service", "bellwether")
    assert of_service["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert of_service["spec"]["endpoints"] == [{"port": "http", "path": "/metrics"}]
    assert "http" in {port["name"] for port in service["spec"]["ports"]}


def a_look_has_a_time_limit_that_the_operator_takes(sets):
    assert {"--concurrent-looks=16", "--look-timeout=30s"} <= set(arguments(sets["default"]))
    assert {"--concurrent-looks=4", "--look-timeout=1m"} <= set(arguments(sets["everything"]))
    assert "at least 5s" in fails("helm", "template", str(CHART), "-f", values_file({"looks": {"timeout": "4s"}}))


def other_values_reach_the_pods(sets):
    container = named(sets["everything"], "Deployment", "bellwether")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "bellwether@sha256:" + "0" * 64
    assert {"--log-format=text", "--allow-address=[fd00::7]:9090"} <= set(container["args"])
    assert container["args"][0] == "run"


def typos_are_refused(_):
    typos = [{"replica": 2}, {"lease": {"renewal": "1s"}}, {"policies": {"validating": "Maybe"}}, {"watchNamespaces": ["Shop"]}]
    for values in typos:
        assert "schema" in fails("helm", "template", str(CHART), "-f", values_file(values)), values


CLAIMS = [
    every_container_is_confined, no_right_is_a_wildcard_or_a_way_to_more_rights, secrets_are_never_listed,
    with_named_namespaces_almost_nothing_is_cluster_wide, a_policy_whose_parameter_is_ours_ignores_failure,
    the_operator_may_look_at_the_policies_that_it_goes_by, what_is_only_read_by_name_is_never_listed,
    without_rbac_nobody_of_ours_is_given_rights, policies_know_the_operator_by_its_account,
    policies_are_rendered_where_they_are_served, definitions_are_kept_and_otherwise_as_generated, every_action_has_its_verb,
    every_secret_that_can_be_named_is_guarded, every_kind_of_route_is_covered,
    jobs_are_made_where_a_value_says_so, kinds_that_users_describe_are_written_where_a_value_says_so, every_namespaced_object_says_its_namespace,
    rollouts_are_ejected_before_anything_is_uninstalled, the_job_ends_while_helm_still_waits, other_values_reach_the_pods,
    a_shard_steers_and_ejects_its_own_rollouts_alone, shards_have_leases_of_their_own, what_a_cluster_has_once_is_brought_once,
    a_monitor_finds_the_port_of_metrics_where_a_value_asks_for_one,
    a_look_has_a_time_limit_that_the_operator_takes, leases_that_the_operator_would_refuse_are_refused, typos_are_refused,
]


def answers():
    return subprocess.run(["kubectl", "version", "--request-timeout=3s"], capture_output=True).returncode == 0


def the_api_server_would_take_it(values):
    """In another namespace: a dry run needs one that exists."""
    objects = parsed(rendered({**values, "monitor": {"kind": "None"}}))  # whose definitions are not ours
    for thing in objects:
        if "namespace" in thing["metadata"]:
            thing["metadata"]["namespace"] = "default"
    for definition in of_kind(objects, "CustomResourceDefinition"):
        assert len(json.dumps(definition)) < 256 * 1024, f"{definition['metadata']['name']} is too large to be applied"
    manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    run("kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=manifests)


def test_manifests(_):
    run("helm", "lint", "--strict", str(CHART))
    sets = {}
    for name, values in VALUES.items():
        run("helm", "lint", "--strict", str(CHART), "-f", values_file(values))
        sets[name] = parsed(rendered(values))
    passed = [check(spoken(claim), claim, sets) for claim in CLAIMS]
    if answers():
        for name, values in VALUES.items():
            passed.append(check(f"the API server would take it: {name}", the_api_server_would_take_it, values))
    else:
        print("        no cluster answers: what the API server would say was not asked")
    return all(passed)
