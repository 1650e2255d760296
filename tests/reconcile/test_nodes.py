"""What is known of nodes: listed at the start and when asked, never watched."""

import asyncio
import contextlib

import pytest

from headrace_operator import nodes
from headrace_operator.kinds import watched
from headrace_operator.nodes import Nodes, node
from headrace_operator.observed import Capacity, Node
from headrace_operator.root_cause.capacity import used
from headrace_operator.world import SeenWorld

KEY = ("models", "sample")
GPU = "nvidia.com/gpu"


def listed(name, gpus=8, heartbeat="1"):
    condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}
    allocatable = {"cpu": "15800m", "memory": "1Gi", GPU: str(gpus), "hugepages-2Mi": "0"}
    status = {"allocatable": allocatable, "conditions": [condition]}
    return {"metadata": {"name": name, "labels": {"gpu": "a100"}, "resourceVersion": heartbeat}, "status": status}


class Lists:
    """A cluster's nodes, and how often they were asked for."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def list_nodes(self):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        for item in answer:
            yield item


@pytest.fixture
def impatient(monkeypatch):
    """Lists are old at once."""
    monkeypatch.setattr(nodes, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(nodes, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(nodes, "_REFUSED_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def running(part):
    task = asyncio.create_task(part.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


def test_only_what_decisions_need_is_kept():
    assert node(listed("node-1")) == Node("node-1", {"gpu": "a100"}, {GPU: 8})
    assert node({"metadata": {"name": "bare"}}) == Node("bare")
    taints = [{"key": "kept", "value": "others", "effect": "NoSchedule"}, {"key": "a", "effect": "PreferNoSchedule"}]
    assert node({**listed("node-1"), "spec": {"taints": taints}}).taints == (("kept", "others", "NoSchedule"),)


@pytest.mark.usefixtures("impatient")
async def test_listed_once_at_the_start_and_again_only_when_asked():
    lists, woken = Lists([listed("node-2"), listed("node-1")]), []
    part = Nodes(lists, woken.append)
    async with running(part):
        await turns()
        assert lists.asked == 1
        assert [one.name for one in part.seen] == ["node-1", "node-2"]
        part.ask(KEY)
        await turns()
        assert lists.asked == 2
    assert woken == []


@pytest.mark.usefixtures("impatient")
async def test_who_asked_is_woken_by_news_but_not_by_heartbeats():
    lists = Lists([listed("node-1")], [listed("node-1", heartbeat="2")], [listed("node-1", gpus=4)])
    woken = []
    part = Nodes(lists, woken.append)
    async with running(part):
        await turns()
        part.ask(KEY)
        await turns()
        assert (lists.asked, woken) == (2, [])
        part.ask(KEY)
        await turns()
        assert (lists.asked, woken) == (3, [KEY])


@pytest.mark.usefixtures("impatient")
async def test_without_the_right_nothing_is_known_and_nothing_fails():
    lists, woken = Lists(PermissionError("nodes is forbidden")), []
    part = Nodes(lists, woken.append)
    async with running(part):
        await turns()
        part.ask(KEY)
        await turns()
        assert lists.asked == 2
    assert part.seen is None
    assert woken == []


@pytest.mark.usefixtures("impatient")
async def test_a_list_that_fails_is_made_again_for_those_who_asked():
    lists, woken = Lists(OSError("away"), OSError("away"), [listed("node-1")]), []
    part = Nodes(lists, woken.append)
    part.ask(KEY)
    async with running(part):
        await turns()
    assert lists.asked == 3
    assert woken == [KEY]


class Known:
    """Nodes that are known, or not."""

    def __init__(self, seen):
        self.seen = seen
        self.asked = []

    def ask(self, key):
        self.asked.append(key)


def metadata(name, **labels):
    stamp = {"creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1"}
    return {"name": name, "namespace": "models", "uid": f"uid-of-{name}", "labels": labels, **stamp}


def pod(name, node_name=None):
    container = {"name": "worker", "resources": {"limits": {GPU: "2"}}}
    condition = {"type": "PodScheduled", "status": "True" if node_name else "False"}
    spec = {"containers": [container], **({"nodeName": node_name} if node_name else {})}
    return {"metadata": metadata(name), "spec": spec, "status": {"conditions": [condition]}}


def world(pods, known):
    seen = SeenWorld(watched(pod_monitors=False))
    model = {"metadata": metadata("sample"), "spec": {}}
    indices = {kind.index: {} for kind in seen.kinds}
    indices["inferencemodels"] = {KEY: [model]}
    indices["pods"] = {KEY: pods, ("models", "other"): [pod("theirs", "node-1")]}
    seen.bind(indices)
    seen.set_nodes(known)
    return seen


def test_the_world_tells_of_room_only_where_a_worker_has_no_place():
    known = Known((Node("node-1", {}, {GPU: 8}),))
    placed = world([pod("a", "node-1")], known)
    assert placed.observe(KEY).capacity is None
    assert known.asked == []
    waits = world([pod("a", "node-1"), pod("b")], known)
    room = waits.observe(KEY).capacity
    assert room == Capacity(known.seen, {("node-1", GPU): 4})
    assert known.asked == [KEY]
    assert waits.observe(KEY).capacity is room
    known.seen = None
    assert waits.observe(KEY).capacity is None


def test_pods_are_counted_anew_when_one_with_a_node_changes_and_not_for_each_that_waits(monkeypatch):
    counted = []
    monkeypatch.setattr("headrace_operator.world.used", lambda pods: counted.append(1) or used(pods))
    known = Known((Node("node-1", {}, {GPU: 8}),))
    pods = [pod("a", "node-1"), pod("b")]
    waits = world(pods, known)
    for _ in range(3):
        waits.heard(KEY, {**pod("b"), "kind": "Pod"}, gone=False)
        waits.observe(KEY)
    assert len(counted) == 1
    pods.append(pod("c", "node-1"))
    waits.heard(KEY, {**pod("c", "node-1"), "kind": "Pod"}, gone=False)
    assert waits.observe(KEY).capacity.used == {("node-1", GPU): 6}
    del pods[0]
    waits.heard(KEY, {**pod("a", "node-1"), "kind": "Pod"}, gone=True)
    assert waits.observe(KEY).capacity.used == {("node-1", GPU): 4}
    pods.pop()
    waits.bury({"uid-of-c"})
    assert waits.observe(KEY).capacity.used == {("node-1", GPU): 2}
