"""The operator with the chart's rights and no others, in both modes: the API server's log says what it asked for.

No request may be refused, and no right may be unused, but for those that this control plane gives no occasion to use.
"""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.election.installation import NAMESPACE, ROOT, Installation, Operator, installation, model, until

from embedded import local

pytestmark = pytest.mark.cluster  # the control plane's programs are built for it

MODES = {"namespaced": "operator.namespaces={a,b}", "clusterwide": "operator.clusterWide=true"}
NO_OCCASION = {
    ("headrace.dev", "inferencemodels/finalizers", "update"),  # asked for by OpenShift's API server only
    ("", "pods", "patch"),  # before a scale-down of workers with requests
    ("", "nodes", "list"),  # when the scheduler finds no place
    ("coordination.k8s.io", "leases", "create"),  # when somebody deleted it
    ("", "configmaps", "delete"),  # a revision that nothing refers to any more
    *(("monitoring.coreos.com", "podmonitors", verb) for verb in ("list", "watch", "patch", "delete")),  # no such kind
}


def logged_otherwise(right: tuple[str, str, str]) -> bool:
    """Whether the log never shows this right in use: a new object that is applied is a patch, and needs both rights.

    A child is read before it is written only when somebody else's object has its name.
    """
    _, resource, verb = right
    return verb in {"create", "get"} and resource not in {"leases", "events"}


@pytest.fixture(params=list(MODES))
def made(request: pytest.FixtureRequest, tmp_path: Path):
    with installation(tmp_path) as one:
        namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("a", "b")]
        one.plane.apply(*namespaces)
        one.install(MODES[request.param])
        yield one, MODES[request.param]


def granted(value):
    """The rights that the chart gives, as (group, resource, verb)."""
    values = f"{value},rbac.aggregateToDefaultRoles=false"  # which are for people
    command = [local.helm(), "template", "release", ROOT / "charts/headrace", "--namespace", NAMESPACE, "--set", values]
    text = subprocess.run([*command, "--no-hooks"], capture_output=True, text=True, check=True).stdout
    rules = [
        rule
        for item in yaml.safe_load_all(text)
        if item and item["kind"] in {"Role", "ClusterRole"}
        for rule in item["rules"]
    ]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(events):
    found = set()
    for event in events:
        what = event["objectRef"]
        if "resource" in what:  # discovery has none
            resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
            found.add((what.get("apiGroup", ""), resource, event["verb"]))
    return found


def exercise(made: Installation) -> None:
    """Create, edit, break, switch off and delete models in two namespaces."""
    plane = made.plane
    for namespace in ("a", "b"):
        plane.apply(model("m", namespace))

    def deployment() -> bool:
        return bool(plane.kubectl("get", "deployment", "m", "-n", "a", "--ignore-not-found", "-o", "name"))

    until("the model's objects are there", deployment)
    plane.kubectl("delete", "deployment", "m", "-n", "a")
    until("what was deleted is back", deployment)
    plane.apply(model("m", "a", enabled=False))
    until("what is switched off is gone", lambda: not deployment())
    engine = {"type": "TRTLLMEngine", "modelId": "m/wrong", "modelLocalPath": "/models/engine"}
    plane.apply(model("wrong", "b", engine=engine))  # the chart has no image for this engine

    def told() -> bool:
        found = plane.get("inferencemodels.headrace.dev", "-n", "b")["items"]
        return all(one.get("status", {}).get("conditions") for one in found)

    until("every model has a status", told)
    plane.kubectl("delete", "inferencemodels.headrace.dev", "m", "-n", "b")


def test_what_the_chart_grants_is_what_the_operator_uses(made: tuple[Installation, str]) -> None:
    one, value = made
    operator = Operator(one, "a")
    try:
        until("the operator is ready", operator.ready)
        exercise(one)
    finally:
        operator.end()
    events = one.events()
    refused = [event for event in events if event["responseStatus"]["code"] == 403]
    assert not refused, json.dumps(refused[0])
    asked, allowed = used(events), granted(value)
    assert asked <= allowed
    assert {right for right in allowed - asked if not logged_otherwise(right)} <= NO_OCCASION
