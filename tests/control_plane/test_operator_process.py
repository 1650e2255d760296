"""The operator as a process against a real control plane: it undoes, it survives, it stays quiet."""

import time

import pytest

from headrace_operator.kinds import CHILDREN

pytestmark = pytest.mark.cluster  # the control plane's programs are built for it

LABEL = "--selector=app.kubernetes.io/managed-by=headrace-operator,headrace.dev/model="
ALL = ",".join(kind.plural for kind in CHILDREN)


def model(name, **spec):
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 0, "engine": {"type": "LlamaCppEngine", "modelId": name}, **spec},
    }


def children(plane, name):
    return plane.get(ALL, LABEL + name)["items"]


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


def ready(plane, name):
    conditions = plane.get("inferencemodel", name).get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.fixture
def made(plane, operator):
    """A model, scaled to zero, with all its children."""
    assert operator.poll() is None
    plane.apply(model("made"))
    until(lambda: ready(plane, "made"))
    yield children(plane, "made")
    plane.kubectl("delete", "inferencemodel", "made", "--wait=true")
    until(lambda: not children(plane, "made"))


def test_every_kind_is_made(made):
    assert {item["kind"] for item in made} == {kind.name for kind in CHILDREN}


def test_every_child_that_is_deleted_by_hand_comes_back(plane, made):
    for item in made:
        plane.kubectl("delete", item["kind"], item["metadata"]["name"], "--wait=true")
    before = {item["metadata"]["uid"] for item in made}
    back = until(lambda: len(found := children(plane, "made")) == len(made) and found)
    assert not before & {item["metadata"]["uid"] for item in back}
    until(lambda: ready(plane, "made"))


def test_every_child_that_lost_its_labels_by_hand_gets_them_again(plane, made):
    for item in made:
        plane.kubectl("label", item["kind"], item["metadata"]["name"], "app.kubernetes.io/managed-by-")
    back = until(lambda: len(found := children(plane, "made")) == len(made) and found)
    assert {item["metadata"]["uid"] for item in back} == {item["metadata"]["uid"] for item in made}


def test_an_edit_by_hand_is_undone_and_foreign_annotations_stay(plane, made):
    plane.kubectl("annotate", "deployment", "made", "example.com/other=kept")
    plane.kubectl("scale", "deployment", "made", "--replicas=3")
    until(lambda: plane.get("deployment", "made")["spec"]["replicas"] == 0)
    assert plane.get("deployment", "made")["metadata"]["annotations"]["example.com/other"] == "kept"
    assert len(made) == len(CHILDREN)


def test_a_name_that_is_taken_is_said_and_nothing_is_taken_over(plane, operator):
    assert operator.poll() is None
    theirs = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "taken", "namespace": "default"}}
    plane.apply(theirs)
    before = plane.get("serviceaccount", "taken")
    plane.apply(model("taken"))

    def reason():
        conditions = plane.get("inferencemodel", "taken").get("status", {}).get("conditions", [])
        return next((one["reason"] for one in conditions if one["type"] == "Ready"), None)

    assert until(reason) == "NameTaken"
    assert plane.get("serviceaccount", "taken") == before
    plane.kubectl("delete", "inferencemodel", "taken")
    plane.kubectl("delete", "serviceaccount", "taken")


def test_an_api_server_that_was_away_is_worked_with_again_by_the_same_process(plane, operator, made):
    plane.stop_api()
    time.sleep(5)
    plane.start_api()
    plane.kubectl("delete", "deployment", "made", "--wait=true")
    plane.apply(model("afterwards"))
    until(lambda: ready(plane, "afterwards"), seconds=60)
    until(lambda: len(children(plane, "made")) == len(made))
    assert operator.poll() is None
    plane.kubectl("delete", "inferencemodel", "afterwards")


def versions(items):
    return [item["metadata"]["resourceVersion"] for item in items]


def family(plane):
    return [plane.get("inferencemodel", "made"), *children(plane, "made")]


def settled(plane):
    """The versions of the model and its children, once Kubernetes' own controllers have written their statuses."""
    items = family(plane)
    theirs = [item for item in items if item["kind"] in {"Deployment", "PodDisruptionBudget"}]
    seen = [item["metadata"]["generation"] == item.get("status", {}).get("observedGeneration") for item in theirs]
    before = versions(items)
    time.sleep(2)
    return before if len(seen) == 2 and all(seen) and versions(family(plane)) == before else None


def test_at_rest_nothing_is_written(plane, made):
    before = until(lambda: settled(plane))
    time.sleep(5)
    assert versions(family(plane)) == before
    assert len(made) + 1 == len(before)
