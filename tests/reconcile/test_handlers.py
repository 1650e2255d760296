"""The index of what the watches told, and which model an event wakes."""

import pytest

from headrace_operator.handlers import Index, registry
from headrace_operator.kinds import watched
from headrace_operator.world import SeenWorld

KEY, OTHER = ("models", "one"), ("models", "other")


def item(uid, version="1"):
    return {"metadata": {"uid": uid, "resourceVersion": version}}


def test_the_newest_state_of_each_object_is_kept_by_model():
    index = Index()
    index.put(KEY, item("a"))
    index.put(KEY, item("b"))
    index.put(KEY, item("a", "2"))
    assert index.by_key == {KEY: (item("b"), item("a", "2"))}


def test_what_is_gone_or_belongs_to_another_is_dropped():
    index = Index()
    index.put(KEY, item("a"))
    index.put(OTHER, item("a"))
    assert index.by_key == {OTHER: (item("a"),)}
    index.drop("a")
    index.drop("a")
    assert index.by_key == {}


OURS = {"app.kubernetes.io/managed-by": "headrace-operator", "headrace.dev/model": "one"}
OWNER = {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "name": "one", "uid": "m", "controller": True}


@pytest.fixture
def service():
    """Tell the operator's handler of Services of one that is labelled as ours; returns the world and who was woken."""
    world, woken = SeenWorld(watched(pod_monitors=False)), []
    doors = registry(world, lambda key, _, gone: woken.append((key, gone)), lambda: None)
    (handler,) = (one for one in doors._watching.get_all_handlers() if one.id == "services")

    async def tell(labels=OURS, event="MODIFIED", **metadata):
        both = {"namespace": "models", "name": "one", "uid": "s", "resourceVersion": "2", "creationTimestamp": "t"}
        await handler.fn(body={"kind": "Service", "metadata": {**both, "labels": labels, **metadata}}, type=event)

    return tell, world, woken


async def test_a_child_whose_owner_was_taken_away_wakes_its_model_and_is_not_observed(service):
    tell, world, woken = service
    await tell(ownerReferences=[OWNER])
    assert world.uids() == {"s"}
    await tell()
    assert world.uids() == set()
    assert woken == [(KEY, False), (KEY, False)]
    await tell(event="DELETED")
    assert woken[2:] == [(KEY, True)]


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"headrace.dev/model": "one"}},
        {"labels": {"app.kubernetes.io/managed-by": "headrace-operator"}},
        {"labels": None},
        {"ownerReferences": [{**OWNER, "apiVersion": "apps/v1", "kind": "ReplicaSet"}]},
    ],
)
async def test_what_belongs_to_others_wakes_nobody(service, metadata):
    tell, world, woken = service
    await tell(**metadata)
    assert (world.uids(), woken) == (set(), [])
