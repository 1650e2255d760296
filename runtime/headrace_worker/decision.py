"""What to start: looked at (`prepared`, which reads what files and the driver say), then decided (`decide`, pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker import engines, memory
from headrace_worker.adapters import at_start
from headrace_worker.adapters.look import Here
from headrace_worker.adapters.routes import Routes, routes
from headrace_worker.engine_process import free_port
from headrace_worker.engines import Chosen
from headrace_worker.engines.protocol import (
    Engine,
    EngineApi,
    EngineCommand,
    EngineConfigError,
    EngineFacts,
    Programs,
    text_api,
)
from headrace_worker.memory import build


@dataclass(frozen=True)
class OnMachine:
    """What this machine is, as far as an engine's start depends on it."""

    programs: Programs
    environment: Mapping[str, str]
    """What an engine inherits."""
    nvidia_gpus: int = 0


@dataclass(frozen=True)
class Decision:
    """What is started, and why."""

    engine: Engine
    generator: Generator
    """The section as the engine reads it."""
    command: EngineCommand
    port: int
    slots: int
    """Requests that the engine works on at a time."""
    routes: Routes | None = None
    """How requests ask for the model, and what is known of its adapters."""
    request_defaults: Mapping[str, list[Any]] = field(default_factory=dict)
    """See `Engine.request_defaults`."""
    api: EngineApi = field(default_factory=text_api)
    """What it serves over HTTP."""
    notes: tuple[str, ...] = ()
    """For the log: how the engine was chosen, and what of the section has no effect."""


async def prepared(
    chosen: Chosen, served_name: str, machine: OnMachine, here: Sequence[Here]
) -> tuple[Chosen, EngineFacts]:
    """Look where exactly the weights are, and what this machine has for them.

    Args:
        chosen: the engine.
        served_name: the model's name.
        machine: what the environment and the driver say.
        here: adapters that are on this machine.

    Raises:
        EngineConfigError: the weights are not there, it is not clear which files are meant, or they cannot fit.
    """
    weights = chosen.engine.locate(chosen.generator)
    section = at_start.prepared(chosen.generator, chosen.kind, here)
    fit = await _fitted(replace(chosen, generator=section), weights, machine)
    facts = engines.facts(weights, served_name, free_port(), machine.programs, machine.nvidia_gpus)
    told = replace(chosen, generator=fit.generator, notes=(*chosen.notes, *fit.reasons))
    return told, replace(facts, adapters=tuple(str(one.path) for one in here))


async def on_this_machine(generator: Generator, machine: OnMachine) -> tuple[str, ...]:
    """What would be chosen of the memory here, where the weights are, too; it need not be the machine that is meant."""
    if not _is_here(generator.source):
        return ()
    chosen = engines.choose(generator, engines.SERVED)
    try:
        return (await _fitted(chosen, chosen.engine.locate(chosen.generator), machine)).reasons
    except EngineConfigError as error:
        return (f"on this machine: {error}",)


def _is_here(source: str) -> bool:
    return Path(source or "/nowhere").exists()


async def _fitted(chosen: Chosen, weights: str, machine: OnMachine) -> memory.Fit:
    """The section with what fits; the engine is asked what it was built for only where that matters."""
    generator, kind = chosen.generator, chosen.kind
    inherited = {**machine.environment, **generator.runtime_env.env_vars}
    cpu_only = generator.auto_memory_config and await build.cpu_only(
        kind, machine.programs, inherited, machine.nvidia_gpus
    )
    return memory.fitted(generator, kind, weights, machine.environment, cpu_only=cpu_only)


def decide(chosen: Chosen, facts: EngineFacts, /) -> Decision:
    """Decide what to start.

    Raises:
        EngineConfigError: the engine cannot do what the configuration asks.
    """
    engine, generator = chosen.engine, chosen.generator
    api = engine.api(generator)
    return Decision(
        engine=engine,
        generator=generator,
        command=engine.command(generator, facts),
        port=facts.port,
        slots=engine.slots(generator),
        routes=routes(
            facts.served_name,
            takes_adapters=generator.has_adapters or bool(facts.adapters),
            started_with=facts.adapters,
            dialect=api.adapters,
        ),
        request_defaults=engine.request_defaults(generator),
        api=api,
        notes=chosen.notes,
    )
