"""Hours of a fleet in minutes: random actions, a killed operator, API servers that restart, and at the end the oracle.

`python -m tests.faults.soak --minutes 30 --seed 1` does it on a control plane of its own; the same seed does the same.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import plane as planes
from tests.faults import oracle
from tests.faults.api import ApiError, Object
from tests.faults.lane import Lane
from tests.faults.story import Action, Story

_CHECK_EVERY = 40
"""Actions between two looks at whether everything is as the specs say."""
_PATIENCE_SECONDS = 150.0
"""More than the operator's regular look at everything, which finds what a broken watch has hidden."""


@dataclass
class Soak:
    """One soak on one lane."""

    lane: Lane
    plane: planes.Plane
    done: Counter[str] = field(default_factory=Counter)

    async def run(self, seconds: float, seed: int, restarts: int) -> None:
        """Act for so long, with so many restarts of the API server, and compare at the end.

        Raises:
            AssertionError: the cluster is not what the specs say; the message holds the last actions.
        """
        self.lane.patience_seconds = _PATIENCE_SECONDS
        await self.lane.converged()
        beginning = await self.lane.content()
        began = time.monotonic()
        due = [began + seconds * (number + 1) / (restarts + 1) for number in range(restarts)]
        for count, action in enumerate(Story(seed).actions(), 1):
            if time.monotonic() - began > seconds:
                break
            if due and time.monotonic() > due[0]:
                due.pop(0)
                await self._restart_api()
            await self._act(action)
            if count % _CHECK_EVERY == 0:
                await self._check(f"after {count} actions of seed {seed}")
        await self._check(f"at the end of seed {seed}")
        await self._empty(beginning)

    async def _act(self, action: Action) -> None:
        self.done[action.verb] += 1
        if not self.lane.operator.running:
            self.lane.operator.start()
        try:
            await _perform(self.lane, action)
        except ApiError as error:
            # what is broken by hand may have gone meanwhile, or may not be changed at all
            if not action.verb.endswith("child"):
                raise AssertionError(f"{action}: {error}") from error
        await asyncio.sleep(action.pause_seconds)

    async def _restart_api(self) -> None:
        self.done["API server restarted"] += 1
        await asyncio.to_thread(self.plane.stop_api)
        await asyncio.sleep(3)
        await asyncio.to_thread(self.plane.start_api)

    async def _check(self, when: str) -> None:
        self.lane.proxy.arm()
        try:
            await self.lane.converged()
        except AssertionError as error:
            raise AssertionError(f"{when}: {dict(self.done)}: {error}") from None
        self.done["compared"] += 1

    async def _empty(self, beginning: dict[str, Any]) -> None:
        """Delete every model: nothing may be left."""
        path = self.lane.api.path(self.lane.model("x")).rsplit("/", 1)[0]
        await self.lane.api.request("DELETE", path)
        await self.lane.converged()
        left = oracle.content_differences(beginning, await self.lane.content())
        assert not left, f"left after all models: {left}"


async def _perform(lane: Lane, action: Action) -> None:
    model = lane.model(action.model)
    match action.verb:
        case "create":
            await lane.create(action.model, action.detail)
        case "edit" | "scale" | "toggle" | "spoil":
            if action.verb == "spoil":
                await lane.converged()  # so that it is known what goes on running
            await lane.api.replace_spec(model, action.detail)
        case "delete" | "recreate":
            await lane.api.delete(model)
            if action.verb == "recreate":
                await lane.create(action.model, action.detail)
        case "edit child" | "delete child" | "annotate child":
            await _break(lane, action)
        case _:
            _misbehave(lane, action)


def _misbehave(lane: Lane, action: Action) -> None:
    """At once, or at a write or an event that is still to come."""
    if action.verb == "rest":
        return
    if action.verb == "kill":
        lane.operator.kill()
        return
    number, fault = action.detail
    if action.verb == "trouble":
        lane.proxy.arm(on_call=lambda call: fault if call.number == number else None)
    else:
        lane.proxy.arm(on_event=lambda seen: fault if seen == number else None)


async def _break(lane: Lane, action: Action) -> None:
    """Something by hand to the model's first child of a kind, if there is one."""
    child = await _child(lane, action.model, action.detail)
    if child is None:
        return
    if action.verb == "delete child":
        await lane.api.delete(child)
    elif action.verb == "annotate child":
        await lane.note(child)
    else:
        await lane.api.merge(child, _VANDALISM[action.detail])


async def _child(lane: Lane, model: str, kind: str) -> Object | None:
    live = await lane.api.snapshot(lane.namespace)
    owned = [item for key, item in sorted(live.items()) if key[1] == kind and _owner(item) == model]
    return owned[0] if owned else None


def _owner(item: Object) -> str | None:
    return next((one["name"] for one in item["metadata"].get("ownerReferences", [])), None)


_VANDALISM: dict[str, Object] = {
    "ConfigMap": {"data": {"worker_config.toml": "spoilt by hand"}},
    "Deployment": {
        "spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "worker", "image": "example.com/x"}]}}}
    },
    "Service": {"metadata": {"labels": {"headrace.dev/model": None}}, "spec": {"selector": {"app": "other"}}},
    "ServiceAccount": {"automountServiceAccountToken": True},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": None, "minAvailable": 3}},
    "NetworkPolicy": {"spec": {"egress": [{}]}, "metadata": {"annotations": {"headrace.dev/hash": "no"}}},
}
"""A merge patch for each kind of child, of the fields that the operator renders."""


def main() -> int:
    """Run from the command line; 0 when the cluster was what the specs said."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "kind"))
    from tests.faults.setup import lanes_on_a_plane  # noqa: PLC0415  # needs the line above

    async def run() -> Counter[str]:
        async with lanes.open("soak") as lane:
            soak = Soak(lane, lanes.plane)
            await soak.run(options.minutes * 60, options.seed, restarts=2)
            soak.done["operator starts"] = lane.operator.starts
            soak.done["operator writes"] = len(lane.proxy.writes)
            return soak.done

    with lanes_on_a_plane() as lanes:
        try:
            done = asyncio.run(run())
        except AssertionError as error:
            print(f"FAILED: {error}")  # noqa: T201
            return 1
    print(f"the cluster is what the specs say; seed {options.seed}: {dict(done)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
