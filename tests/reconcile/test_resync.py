"""What the watches missed is found by listing."""

import asyncio

import pytest
from tests.waiting import until

from headrace_operator.kinds import watched
from headrace_operator.resync import Resync
from headrace_operator.world import SeenWorld

KEY = ("models", "sample")


def item(uid, **metadata):
    both = {"namespace": "models", "name": "sample", "uid": uid, "resourceVersion": "1", "creationTimestamp": "t"}
    return {"metadata": {**both, **metadata}}


LABELS = {"headrace.dev/model": "sample"}
OWNER = {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "name": "sample", "controller": True}


class Lists:
    def __init__(self):
        self.items = {"InferenceModel": [item("m")], "Deployment": [item("d", ownerReferences=[OWNER])]}
        self.fail = False
        self.made = 0

    async def list_metadata(self, kind, namespace):
        assert namespace == "models"
        self.made += kind.name == "InferenceModel"
        if self.fail:
            raise ConnectionError("no API server")
        for one in self.items.get(kind.name, []):
            yield one


@pytest.fixture
async def running(monkeypatch):
    monkeypatch.setattr("headrace_operator.resync._STARTING_SECONDS", 0.01)
    monkeypatch.setattr("headrace_operator.resync._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("headrace_operator.resync._LIST_AGAIN_SECONDS", 0.05)
    world, lists, woken = SeenWorld(watched(pod_monitors=False)), Lists(), []
    resync = Resync(world, lists, ("models",), 0.02, woken.append)
    task = asyncio.create_task(resync.run())
    yield world, lists, woken, resync
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_not_ready_before_everything_is_seen(running):
    world, lists, woken, resync = running
    world.bind({"inferencemodels": {KEY: [item("m")]}, "deployments": {}})
    await asyncio.sleep(0.1)
    assert not resync.ready.is_set()
    world.bind({"inferencemodels": {KEY: [item("m")]}, "deployments": {KEY: [item("d")]}})
    # an object that looks like ours and is nobody's is not waited for
    lists.items["ConfigMap"] = [item("stray")]
    await until(resync.ready.is_set)
    await until(lambda: KEY in woken)


async def test_what_went_away_unseen_is_buried(running):
    world, lists, _, resync = running
    world.bind({"inferencemodels": {KEY: [item("m")]}, "deployments": {KEY: [item("d")]}})
    await until(resync.ready.is_set)
    assert world.observe(KEY).children
    lists.items["Deployment"] = []
    await until(lambda: not world.observe(KEY).children)
    lists.items["InferenceModel"] = []
    await until(lambda: world.observe(KEY) is None)
    assert world.models() == []


async def test_an_api_server_that_does_not_answer_is_asked_again(running):
    world, lists, _, resync = running
    lists.fail = True
    await asyncio.sleep(0.1)  # longer than a first list may be waited for
    world.bind({"inferencemodels": {KEY: [item("m")]}, "deployments": {KEY: [item("d")]}})
    await asyncio.sleep(0.05)
    assert not resync.ready.is_set()
    lists.fail = False
    await until(resync.ready.is_set)


async def test_what_went_away_before_its_watch_began_is_not_waited_for(running):
    world, lists, _, resync = running
    world.bind({"inferencemodels": {KEY: [item("m")]}})
    await asyncio.sleep(0.03)
    assert not resync.ready.is_set()
    lists.items["Deployment"] = []
    await until(resync.ready.is_set)


async def test_the_first_list_is_not_made_again_while_the_watches_go_on_telling(monkeypatch):
    monkeypatch.setattr("headrace_operator.resync._STARTING_SECONDS", 0.01)
    monkeypatch.setattr("headrace_operator.resync._LIST_AGAIN_SECONDS", 0.05)
    world, lists, told, made = SeenWorld(watched(pod_monitors=False)), Lists(), [], []
    lists.items = {"Deployment": [item(f"d{number}", ownerReferences=[OWNER]) for number in range(30)]}

    def one_more():  # each look sees one more, the last at times long after the list; d29 was gone before its watch
        told.append(f"d{len(told)}")
        made.append(lists.made)
        return set(told[:29])

    monkeypatch.setattr(world, "uids", one_more)
    resync = Resync(world, lists, ("models",), 3600, lambda _: None)
    task = asyncio.create_task(resync.run())
    try:
        await until(lambda: len(told) > 28)
        assert not resync.ready.is_set()
        assert max(made[:29]) == 1
        del lists.items["Deployment"][29]
        await until(resync.ready.is_set)
        assert lists.made > 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_listed_and_not_seen_is_counted_only_while_lists_answer(running):
    world, lists, _, resync = running
    world.bind({"inferencemodels": {KEY: [item("m")]}, "deployments": {KEY: [item("d")]}})
    await until(resync.ready.is_set)
    assert resync.deaf_seconds() == 0
    lists.items["Pod"] = [item("p", labels={"app.kubernetes.io/managed-by": "headrace-operator", **LABELS})]
    await until(lambda: resync.deaf_seconds() > 0.05)
    lists.fail = True
    await asyncio.sleep(0.05)
    then = resync.deaf_seconds()
    await asyncio.sleep(0.1)
    assert resync.deaf_seconds() == then
    lists.fail, lists.items["Pod"] = False, []
    await until(lambda: resync.deaf_seconds() == 0)


async def test_a_watch_that_begins_anew_has_everything_compared_at_once(monkeypatch):
    monkeypatch.setattr("headrace_operator.resync._GATHER_SECONDS", 0.01)
    world, lists, looks = SeenWorld(watched(pod_monitors=False)), Lists(), []
    world.bind({"inferencemodels": {KEY: [item("m")]}, "deployments": {KEY: [item("d")]}})
    resync = Resync(world, lists, ("models",), 3600, lambda _: None, looks.append)
    resync.listed_anew()  # the first lists are no news
    task = asyncio.create_task(resync.run())
    try:
        await until(resync.ready.is_set)
        assert looks == [0]
        del lists.items["Deployment"]
        for _ in range(5):
            resync.listed_anew()
        await until(lambda: len(looks) > 1)
        await asyncio.sleep(0.1)
        assert looks == [0, 1]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert world.observe(KEY).children == ()
