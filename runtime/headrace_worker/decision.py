"""What to start: looked at (`survey`, which reads names of files), then decided (`decide`, pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker import engines
from headrace_worker.engine_process import free_port
from headrace_worker.engines import Chosen
from headrace_worker.engines.protocol import Engine, EngineApi, EngineCommand, EngineFacts, Programs, text_api


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
    request_defaults: Mapping[str, list[Any]] = field(default_factory=dict)
    """See `Engine.request_defaults`."""
    api: EngineApi = field(default_factory=text_api)
    """What it serves over HTTP."""
    notes: tuple[str, ...] = ()
    """For the log: how the engine was chosen, and what of the section has no effect."""


def survey(generator: Generator, served_name: str, programs: Programs, nvidia_gpus: int) -> tuple[Chosen, EngineFacts]:
    """See which engine can load what is there, and where exactly it is.

    Raises:
        EngineConfigError: there is none, the weights are not there, or it is not clear which files are meant.
    """
    chosen = engines.choose(generator, engines.installed(programs))
    weights = chosen.engine.locate(chosen.generator)
    facts = engines.facts(weights, served_name, free_port(), programs, nvidia_gpus)
    return chosen, facts


def decide(chosen: Chosen, facts: EngineFacts, /) -> Decision:
    """Decide what to start.

    Raises:
        EngineConfigError: the engine cannot do what the configuration asks.
    """
    engine, generator = chosen.engine, chosen.generator
    return Decision(
        engine=engine,
        generator=generator,
        command=engine.command(generator, facts),
        port=facts.port,
        slots=engine.slots(generator),
        request_defaults=engine.request_defaults(generator),
        api=engine.api(generator),
        notes=chosen.notes,
    )
