"""What the operator may do: read from the chart, and compared with what it knows of the API."""

import pytest

from headrace_operator import kinds

pytestmark = pytest.mark.cluster  # helm is one of the cluster's programs

MODES = {"namespaced": "operator.namespaces={a,b}", "clusterwide": "operator.clusterWide=true"}
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
CHILD = {"get", "list", "watch", "create", "patch", "delete"}


def roles(objects):
    """The roles of the operator and of the hook, which no person has."""
    found = [item for item in objects if item["kind"] in {"Role", "ClusterRole"}]
    return [role for role in found if role not in for_people(objects)]


def for_people(objects):
    """The roles that Kubernetes adds to its own, by the name of that."""
    label = "rbac.authorization.k8s.io/aggregate-to-"
    return [item for item in objects if any(name.startswith(label) for name in item["metadata"].get("labels", {}))]


def lasting(objects):
    """Without the objects of hooks, which exist during an upgrade only."""
    return [item for item in objects if "helm.sh/hook" not in item["metadata"].get("annotations", {})]


def named(objects, name):
    return [item for item in roles(objects) if item["metadata"]["name"] == name]


def rights(role):
    """Every (group, resource, verb) of a role."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("webhook", ["true", "false"])
def test_no_rule_is_wide(rendered, mode, webhook):
    objects = rendered(mode, f"operator.webhook.enabled={webhook}", upgrade=True)
    assert roles(objects)
    for role in roles(objects):
        for group, resource, verb in rights(role):
            assert "*" not in group + resource + verb
            assert resource.split("/")[0] != "secrets", "Secrets are for the pods that mount them"
            assert resource not in {"pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers"}
            assert verb not in {"escalate", "bind", "impersonate", "deletecollection"}
            assert not (group == "rbac.authorization.k8s.io" and verb in WRITES)
            assert not (resource == "inferencemodels" and verb in WRITES), "specs belong to their authors"


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_the_rules_are_those_of_the_kinds_that_the_operator_works_with(rendered, mode):
    expected = {(kind.group, kind.plural, verb) for kind in (*kinds.CHILDREN, kinds.POD_MONITOR) for verb in CHILD}
    expected |= {(kinds.MODEL.group, kinds.MODEL.plural, verb) for verb in ("get", "list", "watch")}
    expected |= {(kinds.MODEL.group, f"{kinds.MODEL.plural}/status", "patch")}
    expected |= {(kinds.MODEL.group, f"{kinds.MODEL.plural}/finalizers", "update")}
    expected |= {("", "pods", verb) for verb in ("get", "list", "watch", "patch")} | {("", "events", "create")}
    found = named(rendered(mode), "release-operator") + named(rendered(mode), "release.here.operator")
    assert {role["kind"] for role in found} == {"ClusterRole" if mode == MODES["clusterwide"] else "Role"}
    for role in found:
        assert rights(role) == expected


def test_a_namespaced_operator_has_rights_where_it_watches_and_nowhere_else(rendered):
    objects = rendered(MODES["namespaced"], "operator.webhook.enabled=false", "operator.readNodes=false")
    assert not [item for item in lasting(objects) if item["kind"].startswith("ClusterRole")]
    assert {role["metadata"]["namespace"] for role in named(objects, "release-operator")} == {"a", "b"}
    assert {one["metadata"]["namespace"] for one in named(rendered(), "release-operator")} == {"here"}
    everywhere = rendered(MODES["clusterwide"])
    assert [role["kind"] for role in named(everywhere, "release.here.operator")] == ["ClusterRole"]
    assert not named(everywhere, "release-operator")


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_what_is_cluster_scoped_is_called_after_release_and_namespace(rendered, mode):
    """Two releases of one name in two namespaces would otherwise take it from each other."""
    objects = [item for item in rendered(mode, upgrade=True) if "namespace" not in item["metadata"]]
    for item in objects:
        assert item["kind"] == "CustomResourceDefinition" or item["metadata"]["name"].startswith("release.here.")
    assert {"ClusterRole", "ClusterRoleBinding", "ValidatingWebhookConfiguration"} <= {item["kind"] for item in objects}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_one_lease_of_its_own_and_no_other(rendered, mode):
    objects = rendered(mode)
    (lease,) = [item for item in objects if item["kind"] == "Lease"]
    assert "spec" not in lease, "the holder is the operators' own"
    for role in roles(objects):
        rules = [rule for rule in role["rules"] if "leases" in rule["resources"]]
        assert bool(rules) == (role["metadata"]["name"] == "release-operator-lease")
        for rule in rules:
            named_only = rule.get("resourceNames") == [lease["metadata"]["name"]]
            assert named_only or rule["verbs"] == ["create"], "create cannot be limited to a name"
            assert set(rule["verbs"]) <= {"get", "update", "create"}
            assert role["metadata"]["namespace"] == lease["metadata"]["namespace"] == "here"


def test_every_role_is_bound_to_the_operator_alone(rendered):
    for mode in MODES.values():
        objects = lasting(rendered(mode, upgrade=True))
        bindings = [item for item in objects if item["kind"].endswith("RoleBinding")]
        bound = {(one["roleRef"]["kind"], one["metadata"].get("namespace"), one["roleRef"]["name"]) for one in bindings}
        assert bound == {(r["kind"], r["metadata"].get("namespace"), r["metadata"]["name"]) for r in roles(objects)}
        for binding in bindings:
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "release-operator", "namespace": "here"}]


def test_the_hook_may_change_one_crd_while_it_runs(rendered):
    objects = rendered(upgrade=True)
    (role,) = [item for item in roles(objects) if item["metadata"]["name"].endswith(".crd-upgrade")]
    assert role not in lasting(objects)
    (rule,) = role["rules"]
    assert rule["resourceNames"] == ["inferencemodels.headrace.dev"]
    assert rule["verbs"] == ["get", "update"]
    for without in (rendered("crds.upgrade=false", upgrade=True), rendered()):
        assert lasting(without) == without, "an install has no CRD to upgrade; Argo CD renders each sync as one"


def test_who_may_view_or_edit_a_namespace_may_do_so_with_its_models(rendered):
    view, edit = for_people(rendered())
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    resource = (kinds.MODEL.group, kinds.MODEL.plural)
    assert rights(view) == {(*resource, verb) for verb in ("get", "list", "watch")}
    assert rights(edit) == {
        *((*resource, verb) for verb in ("create", "update", "patch", "delete", "deletecollection")),
        *((kinds.MODEL.group, f"{kinds.MODEL.plural}/scale", verb) for verb in ("get", "update", "patch")),
    }
    bound = [item["roleRef"]["name"] for item in rendered() if item["kind"].endswith("RoleBinding")]
    assert not {role["metadata"]["name"] for role in (view, edit)} & set(bound)


@pytest.mark.parametrize(
    ("values", "there"),
    [
        (("operator.webhook.enabled=false",), True),
        (("operator.readNodes=false",), True),
        (("operator.webhook.enabled=false", "operator.readNodes=false"), False),
        (("operator.webhook.enabled=false", "operator.readNodes=false", "operator.clusterWide=true"), True),
        (("rbac.aggregateToDefaultRoles=false",), False),
        (("operator.webhook.enabled=false", "operator.readNodes=false", "rbac.aggregateToDefaultRoles=true"), True),
    ],
)
def test_roles_for_people_come_where_cluster_roles_may(rendered, values, there):
    assert bool(for_people(rendered(*values))) == there


def test_the_three_values_of_an_install_without_cluster_roles(rendered):
    values = ("operator.webhook.enabled=false", "operator.readNodes=false", "crds.upgrade=false")
    for upgrade in (False, True):
        assert not [item for item in rendered(*values, upgrade=upgrade) if item["kind"].startswith("ClusterRole")]
