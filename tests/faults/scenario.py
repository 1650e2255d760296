"""The life of one model, as operations that each lead from one resting state to the next."""

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.api import Object
from tests.faults.lane import Lane

NAME = "m"
SPEC: Object = {
    "replicas": 2,
    "engine": {"type": "LlamaCppEngine", "modelId": "org/model", "engineKwargs": {"n_ctx": 2048}},
}


def changed(**fields: object) -> Object:
    """The spec with other top-level fields."""
    return {**copy.deepcopy(SPEC), **fields}


EDITED = changed(engine={**SPEC["engine"], "engineKwargs": {"n_ctx": 4096}})

Act = Callable[[Lane], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """What somebody does to the model."""

    name: str
    act: Act
    taken_back: bool = False
    """Whether it ends where it began, so that nothing of it may remain."""


async def _create(lane: Lane) -> None:
    await lane.create(NAME, SPEC)


async def _annotate(lane: Lane) -> None:
    """Another controller annotates the workload, and an operator that heals must not undo it."""
    await lane.note(_deployment(lane))


def _replace(spec: Object) -> Act:
    async def act(lane: Lane) -> None:
        await lane.api.replace_spec(lane.model(NAME), spec)

    return act


async def _scale(lane: Lane) -> None:
    path = f"{lane.api.path(lane.model(NAME))}/scale"
    await lane.api.request("PATCH", path, {"spec": {"replicas": 3}}, "application/merge-patch+json")


async def _edit_and_revert(lane: Lane) -> None:
    await _replace(EDITED)(lane)
    await _replace(SPEC)(lane)


async def _break(lane: Lane) -> None:
    """By hand: another image and number, as somebody does who does not know that there is an operator."""
    container = {"name": "worker", "image": "example.com/other:2"}
    change = {"spec": {"replicas": 5, "template": {"spec": {"containers": [container]}}}}
    await lane.api.merge(_deployment(lane), change)


async def _remove_child(lane: Lane) -> None:
    await lane.api.delete(_deployment(lane))


async def _delete(lane: Lane) -> None:
    await lane.api.delete(lane.model(NAME))


async def _create_and_delete(lane: Lane) -> None:
    await _create(lane)
    await _delete(lane)


async def _replace_model(lane: Lane) -> None:
    """Deleted and made again under the same name, before the objects of the first are collected."""
    await _delete(lane)
    await lane.create(NAME, EDITED)


def _deployment(lane: Lane) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME, "namespace": lane.namespace}}


LIFE = (
    Operation("create", _create),
    Operation("annotate a child", _annotate),
    Operation("edit", _replace(EDITED)),
    Operation("edit back", _replace(SPEC)),
    Operation("scale", _scale),
    Operation("scale back", _replace(SPEC)),
    Operation("edit and take back", _edit_and_revert, taken_back=True),
    Operation("change a child by hand", _break, taken_back=True),
    Operation("delete a child", _remove_child),
    Operation("disable", _replace(changed(enabled=False))),
    Operation("enable", _replace(SPEC)),
    Operation("delete and create anew", _replace_model),
    Operation("delete", _delete),
    Operation("create and take back", _create_and_delete, taken_back=True),
)
"""Begins and ends with nothing."""
