"""Sets each property of the CRD to valid, odd and invalid values and back: after Acto (SOSP '23).

Many models are changed side by side. After a change the cluster must be what the new spec says, or somebody must have
refused it in words that name the property, with the same workload as before; after the way back it must be as at the
beginning, object by object.
"""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace_api.crd import custom_resource_definition
from headrace_operator.status import ready_reason
from tests.faults import oracle
from tests.faults.api import ApiError, Object, is_model
from tests.faults.lane import CONFIG, Lane
from tests.faults.schema_values import Trial, applied, trials

SCHEMA: Object = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
_ENGINES = ("TRTLLMEngine", "EmbeddingEngine")
_REFUSALS = frozenset({400, 413, 422})


@dataclass
class Findings:
    """What was wrong, and how the changes ended."""

    wrong: list[str] = field(default_factory=list)
    converged: int = 0
    refused_by_schema: int = 0
    refused_by_operator: int = 0


def all_trials() -> list[Trial]:
    """Every trial for the CRD."""
    return trials(SCHEMA)


def base(trial: Trial) -> Object:
    """The spec that a trial begins and ends with: of the engine that the property is for."""
    engine = next((name for name in _ENGINES if f"{name}:" in _description(trial)), "LlamaCppEngine")
    return {"replicas": 1, "engine": {"type": engine, "modelId": "org/model"}}


def _description(trial: Trial) -> str:
    schema = SCHEMA
    for step in trial.path:
        schema = schema["items"] if isinstance(step, int) else schema["properties"][step]
    return str(schema.get("description", ""))


async def walk(lane: Lane, chosen: Sequence[Trial], side_by_side: int = 16) -> Findings:
    """Try `chosen`, that many at a time."""
    findings = Findings()
    for engine, group in itertools.groupby(
        sorted(chosen, key=lambda one: str(base(one))), key=lambda one: base(one)["engine"]["type"]
    ):
        await _group(lane, engine, list(group), side_by_side, findings)
    return findings


async def _group(lane: Lane, engine: str, chosen: list[Trial], width: int, findings: Findings) -> None:
    models = [f"{engine.lower()}-{number}" for number in range(min(width, len(chosen)))]
    await asyncio.gather(*(lane.create(name, base(chosen[0])) for name in models))
    await lane.converged()
    beginning = await lane.content()
    waiting = iter(chosen)
    while batch := await _change(lane, models, waiting, findings):
        await _judge(lane, batch, findings)
        await asyncio.gather(*(lane.api.replace_spec(lane.model(name), base(trial)) for name, trial in batch.items()))
        await _back(lane, batch, beginning, findings)
    await asyncio.gather(*(lane.api.delete(lane.model(name)) for name in models))
    await lane.converged()


async def _change(lane: Lane, models: Sequence[str], waiting: Any, findings: Findings) -> dict[str, Trial]:
    """Give each model the next trial that the API server accepts."""
    batch: dict[str, Trial] = {}
    for name in models:
        for trial in waiting:
            if await _accepted(lane, name, trial, findings):
                batch[name] = trial
                break
    return batch


async def _accepted(lane: Lane, name: str, trial: Trial, findings: Findings) -> bool:
    try:
        await lane.api.replace_spec(lane.model(name), applied(base(trial), SCHEMA, trial))
    except ApiError as error:
        findings.refused_by_schema += 1
        if error.status not in _REFUSALS:
            findings.wrong.append(f"{trial}: refused with status {error.status}: {error.message[:200]}")
        elif trial.property not in error.message:
            findings.wrong.append(f"{trial}: the refusal does not name the property: {error.message[:300]}")
        return False
    return True


async def _judge(lane: Lane, batch: dict[str, Trial], findings: Findings) -> None:
    """Wait until each change has come to its end, and see what that is."""
    try:
        await lane.converged(ready=False)
    except AssertionError as error:
        findings.wrong.append(f"{_named(batch, str(error))}: {error}")
    live = await lane.api.snapshot(lane.namespace)
    for item in (item for key, item in live.items() if is_model(key)):
        trial = batch.get(item["metadata"]["name"])
        if trial is None:
            continue
        _, reason, message = ready_reason(item.get("status") or {})
        if oracle.is_valid(item, CONFIG) and reason != oracle.APPLY_REFUSED:
            findings.converged += 1
            continue
        findings.refused_by_operator += 1
        if trial.property not in message and str(trial.path[0]) not in message:
            findings.wrong.append(f"{trial}: {reason} does not name the property: {message[:300]}")


async def _back(lane: Lane, batch: dict[str, Trial], beginning: dict[str, Any], findings: Findings) -> None:
    try:
        await lane.converged()
        left = oracle.content_differences(beginning, await lane.content())
    except AssertionError as error:
        left = [str(error)]
    if left:
        findings.wrong.append(f"traces of {_named(batch, str(left))}: {left}")


def _named(batch: dict[str, Trial], text: str) -> str:
    """The trials of the models that the first lines speak of."""
    names = [name for name in batch if name in text.split("last writes:", maxsplit=1)[0]]
    return "; ".join(f"{name}: {batch[name]}" for name in names)
