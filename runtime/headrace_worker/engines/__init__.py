"""The engines that this worker can start, by their names in the configuration."""

import importlib.util
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from headrace_api.worker_config import EngineType, Generator
from headrace_worker import memory
from headrace_worker.engines import generate_kwargs, luminous, unsupported
from headrace_worker.engines.llamacpp import LlamaCpp
from headrace_worker.engines.protocol import Engine, EngineConfigError, EngineFacts
from headrace_worker.engines.vllm import Vllm

SERVED: tuple[EngineType, ...] = ("LlamaCppEngine", "VLLMEngine")


@dataclass(frozen=True)
class Chosen:
    """The engine for a generator section."""

    kind: EngineType
    engine: Engine
    generator: Generator
    """The section as the engine shall read it: `luminous` replaced by what was found."""
    notes: tuple[str, ...] = ()
    """How it was chosen, and what of the section has no effect; for the log."""


def engine_for(kind: EngineType) -> Engine:
    """The engine of a configuration's `generator.type`.

    Raises:
        EngineConfigError: this worker does not serve it.
    """
    engines: dict[str, Engine] = {"LlamaCppEngine": LlamaCpp(), "VLLMEngine": Vllm()}
    if kind not in engines:
        raise EngineConfigError(
            f"generator.type: this worker does not serve {kind!r}; it serves: {', '.join(sorted(engines))}, and "
            "luminous where the folder holds weights for one of them"
        )
    return engines[kind]


def installed(vllm_python: str) -> tuple[EngineType, ...]:
    """The engines that can be started here; an interpreter that was named for vLLM is believed to have it."""
    there = {
        "LlamaCppEngine": importlib.util.find_spec("xllamacpp") is not None,
        "VLLMEngine": vllm_python != sys.executable or importlib.util.find_spec("vllm") is not None,
    }
    return tuple(kind for kind in SERVED if there[kind])


def choose(generator: Generator, available: Collection[EngineType]) -> Chosen:
    """The engine for a generator section; for `luminous` the first of `available` that can load what is there.

    Raises:
        EngineConfigError: there is none, or it cannot do what the section asks.
    """
    if generator.type != "luminous":
        chosen = Chosen(generator.type, engine_for(generator.type), generator)
    else:
        chosen = _luminous(generator, available)
    _refuse(chosen.generator)
    chosen.engine.request_defaults(chosen.generator)
    return chosen


def check(generator: Generator) -> tuple[str, ...]:
    """Check a generator section as far as that needs neither weights nor an installed engine; returns notes.

    Raises:
        EngineConfigError: as in `choose`, and where the engine's arguments are not accepted.
    """
    if generator.type == "luminous" and not Path(generator.source or "/").exists():
        _refuse(generator)
        return (f"{generator.source!r} is not on this machine: whether an engine can load it is not checked",)
    chosen = choose(generator, SERVED)
    facts = EngineFacts(weights=generator.source, served_name="", port=0, python="", vllm_python="")
    chosen.engine.command(chosen.generator, facts)
    return (*chosen.notes, *_memory_notes(chosen))


def _memory_notes(chosen: Chosen) -> tuple[str, ...]:
    """What would be chosen on this machine, which need not be the one that it is checked for."""
    weights = Path(chosen.generator.source or "/nowhere")
    if not weights.exists():
        return ()
    found = chosen.engine.locate(chosen.generator)
    try:
        return memory.fitted(chosen.generator, chosen.kind, found, {}).reasons
    except EngineConfigError as error:
        return (f"on this machine: {error}",)


def _refuse(generator: Generator) -> None:
    unsupported.refuse(generator)
    generate_kwargs.check(generator.generation.generate_kwargs)


def _luminous(generator: Generator, available: Collection[EngineType]) -> Chosen:
    if not generator.source:
        raise EngineConfigError(
            "generator.weight_set_directories: missing; luminous is served from the folder that holds the weights"
        )
    found = luminous.choose(luminous.listing(generator.source), available)
    kind = found.engine
    changed: dict[str, str | None] = {"type": kind}
    notes = [f"luminous: {generator.source!r} is served by {kind}, which loads {', '.join(found.files[:3])}"]
    if kind == "LlamaCppEngine" and generator.tokenizer_path:
        changed["tokenizer_path"] = None
        notes.append(f"tokenizer_path {generator.tokenizer_path!r} is not used: a GGUF file holds its tokenizer")
    return Chosen(kind, engine_for(kind), generator.model_copy(update=changed), tuple(notes))
