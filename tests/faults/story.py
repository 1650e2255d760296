"""A random life of many models, from a seed alone: what people, other controllers and bad luck do to them."""

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.faults.api import Object
from tests.faults.misbehaviour import AWAY, BROKEN, CONFLICT, THROTTLED, Delay, Drop, Fate, RequestFault, WatchFault

Verb = Literal[
    *("create", "edit", "scale", "toggle", "spoil", "delete", "recreate"),
    *("edit child", "delete child", "annotate child", "kill", "trouble", "stale", "rest"),
]
_WEIGHTS: dict[Verb, int] = {
    "create": 6,
    "edit": 6,
    "scale": 4,
    "toggle": 3,
    "spoil": 1,
    "delete": 3,
    "recreate": 2,
    "edit child": 6,
    "delete child": 6,
    "annotate child": 3,
    "kill": 3,
    "trouble": 4,
    "stale": 3,
    "rest": 2,
}
CHILDREN = ("ConfigMap", "Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy")
"""Kinds of children that are broken."""
_TROUBLES: tuple[RequestFault, ...] = (
    *(Fate.KILL_BEFORE, Fate.KILL_AFTER, Fate.CUT_BEFORE, Fate.CUT_AFTER),
    *(CONFLICT, THROTTLED, BROKEN, AWAY),
)
SPOILT: Object = {"type": "LlamaCppEngine", "modelId": "org/model", "engineKwargs": {"no_such_argument": 1}}
"""An engine that the schema accepts and the rules refuse."""
_STALE: tuple[WatchFault, ...] = (Delay(1.0), Drop(0.5, "gone"), Drop(0.5, "close"))


@dataclass(frozen=True)
class Action:
    """One thing that happens."""

    verb: Verb
    model: str = ""
    detail: Any = None
    pause_seconds: float = 0.0
    """How long until the next one."""


@dataclass
class Story:
    """Endless actions; the same seed tells the same ones."""

    seed: int
    models: int = 6
    _specs: dict[str, Object] = field(default_factory=dict)
    _spoilt: set[str] = field(default_factory=set)

    def actions(self) -> Iterator[Action]:
        """One after the other."""
        dice = random.Random(self.seed)  # noqa: S311  # to be repeatable
        while True:
            (verb,) = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            pause = dice.choice((0.0, 0.0, 0.1, 0.5, 1.5))
            if action := self._action(dice, verb, pause):
                yield action

    def _action(self, dice: random.Random, verb: Verb, pause: float) -> Action | None:
        if verb in {"kill", "rest"}:
            return Action(verb, pause_seconds=pause)
        if verb in {"trouble", "stale"}:
            fault = dice.choice(_TROUBLES if verb == "trouble" else _STALE)
            return Action(verb, detail=(dice.randint(1, 6), fault), pause_seconds=pause)
        model = f"m{dice.randrange(self.models)}"
        if (model in self._specs) == (verb == "create"):
            return None
        if verb.endswith("child"):
            # of a model whose spec cannot be rendered nothing is changed, so nothing is mended either
            return None if model in self._spoilt else Action(verb, model, dice.choice(CHILDREN), pause)
        return Action(verb, model, self._changed(dice, verb, model), pause)

    def _changed(self, dice: random.Random, verb: Verb, model: str) -> Object | None:
        """The spec after the action, remembered."""
        before = self._specs.pop(model, None)
        self._spoilt.discard(model)
        if verb == "delete":
            return None
        after = copy.deepcopy(before) if before and verb != "recreate" else _random_spec(dice)
        if verb == "spoil":
            self._specs[model] = after
            self._spoilt.add(model)
            return {**after, "engine": SPOILT}
        if verb == "edit":
            after = {**_random_spec(dice), "replicas": after["replicas"]}
        elif verb == "scale":
            after["replicas"] = dice.randint(0, 3)
        elif verb == "toggle":
            after["enabled"] = not after.get("enabled", True)
        self._specs[model] = after
        return copy.deepcopy(after)


def _random_spec(dice: random.Random) -> Object:
    engine = {
        "type": "LlamaCppEngine",
        "modelId": f"org/model-{dice.randrange(3)}",
        "engineKwargs": {"n_ctx": dice.choice((1024, 2048, 4096))},
    }
    spec: Object = {"replicas": dice.randint(0, 3), "engine": engine}
    if dice.random() < 0.3:
        spec["monitoring"] = {"metricsPort": dice.choice((4001, 4002)), "logLevel": "DEBUG"}
    if dice.random() < 0.3:
        spec["template"] = {"metadata": {"annotations": {"example.com/team": dice.choice(("a", "b"))}}}
    return spec
