"""The engines that this worker can start, by their names in the configuration."""

import importlib.util
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from headrace_api.worker_config import EngineType, Generator
from headrace_worker.engines import generate_kwargs, luminous, unsupported
from headrace_worker.engines.embedding import SENTENCE_TRANSFORMERS, Embedding
from headrace_worker.engines.llamacpp import LlamaCpp
from headrace_worker.engines.protocol import Engine, EngineConfigError, EngineFacts, Programs
from headrace_worker.engines.trtllm import TensorRtLlm
from headrace_worker.engines.vllm import Vllm

ENTRY_POINTS = "headrace.engines"
"""The group in which other distributions name their engines: `vendor.Name = module:Class`; called without arguments, it
gives an `Engine`. The name has a dot, so that it is never one of ours."""

OURS: Mapping[str, Callable[[], Engine]] = {
    "EmbeddingEngine": Embedding,
    "LlamaCppEngine": LlamaCpp,
    "TRTLLMEngine": TensorRtLlm,
    "VLLMEngine": Vllm,
}
SERVED: tuple[EngineType, ...] = ("EmbeddingEngine", "LlamaCppEngine", "TRTLLMEngine", "VLLMEngine")


@dataclass(frozen=True)
class Chosen:
    """The engine for a generator section."""

    kind: str
    engine: Engine
    generator: Generator
    """The section as the engine shall read it: `luminous` replaced by what was found."""
    notes: tuple[str, ...] = ()
    """How it was chosen, and what of the section has no effect; for the log."""


def registered() -> dict[str, EntryPoint]:
    """The engines of other distributions that are installed here, not loaded yet."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in OURS}


def engine_for(kind: str) -> Engine:
    """The engine of a configuration's `generator.type`.

    Raises:
        EngineConfigError: there is none of this name, or it cannot be loaded.
    """
    if kind in OURS:
        return OURS[kind]()
    others = registered()
    if kind not in others:
        names = ", ".join(sorted({*OURS, *others}))
        raise EngineConfigError(
            f"generator.type: this worker does not serve {kind!r}; it serves: {names}, and luminous where the folder "
            "holds weights for one of them"
        )
    try:
        engine: Engine = others[kind].load()()
    except Exception as error:
        module = others[kind].value
        raise EngineConfigError(f"generator.type: {kind!r} cannot be loaded from {module!r}: {error}") from error
    return engine


def installed(programs: Programs) -> frozenset[str]:
    """The engines that can be started here; a program that the environment names is believed to be there."""
    vllm = programs.vllm != programs.python or _has("vllm")
    light = programs.embeddings not in {"", programs.python} or _has("sentence_transformers")
    there = {
        "LlamaCppEngine": _has("xllamacpp"),
        "VLLMEngine": vllm,
        "EmbeddingEngine": vllm or light,
        SENTENCE_TRANSFORMERS: light,
        "TRTLLMEngine": shutil.which(programs.trtllm_serve) is not None,
    }
    return frozenset(kind for kind, is_there in there.items() if is_there)


def facts(weights: str, served_name: str, port: int, programs: Programs, nvidia_gpus: int = 0) -> EngineFacts:
    """What a command line needs, with a look at the weights where they are a folder on this machine."""
    found = luminous.listing(weights) if Path(weights).is_dir() else luminous.Listing(weights, ())
    return EngineFacts(
        weights,
        served_name,
        port,
        programs,
        nvidia_gpus,
        available=installed(programs),
        names=frozenset(found.names),
        architectures=found.architectures,
        folder=str(Path(tempfile.gettempdir()) / f"headrace-engine-{secrets.token_hex(8)}"),
    )


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def choose(generator: Generator, available: Collection[str]) -> Chosen:
    """The engine for a generator section; for `luminous` the first of `available` that can load what is there.

    Raises:
        EngineConfigError: there is none, or it cannot do what the section asks.
    """
    if generator.type != "luminous":
        chosen = Chosen(generator.type, engine_for(generator.type), generator)
    else:
        chosen = _luminous(generator, available)
    _refuse(chosen.generator)
    _refuse_adapters(chosen)
    chosen.engine.request_defaults(chosen.generator)
    return chosen


def continues(generator: Generator) -> bool:
    """Whether its engine can say the rest of an answer, as far as that is known before the weights are here."""
    if generator.generation.prompt_format is not None:
        return False  # RayLLM's have no place for a beginning
    if generator.type == "luminous":
        return True
    try:
        return engine_for(generator.type).api(generator).continues
    except EngineConfigError:
        return False  # the worker ends because of it, and says so


def check(generator: Generator) -> tuple[str, ...]:
    """Check a generator section as far as that needs neither weights nor an installed engine; returns notes.

    Raises:
        EngineConfigError: as in `choose`, and where the engine's arguments are not accepted.
    """
    if generator.type == "luminous" and not Path(generator.source or "/").exists():
        _refuse(generator)
        return (f"{generator.source!r} is not on this machine: whether an engine can load it is not checked",)
    chosen = choose(generator, SERVED)
    everything = frozenset({*SERVED, SENTENCE_TRANSFORMERS})
    known = EngineFacts(generator.source, "", 0, Programs(python="", vllm=""), available=everything)
    chosen.engine.command(chosen.generator, known)
    return chosen.notes


def _refuse(generator: Generator) -> None:
    unsupported.refuse(generator)
    generate_kwargs.check(generator.generation.generate_kwargs)


def _refuse_adapters(chosen: Chosen) -> None:
    """Of another distribution's engine it is known only by asking whether it takes adapters."""
    asked = chosen.generator.has_adapters or len(chosen.generator.weight_set_directories) > 1
    if asked and chosen.kind not in OURS and chosen.engine.api(chosen.generator).adapters is None:
        raise EngineConfigError(
            f"generator.adapters: not accepted with {chosen.kind}, whose engine does not say how it takes them; "
            "leave them out, or use VLLMEngine"
        )


def _luminous(generator: Generator, available: Collection[str]) -> Chosen:
    if not generator.source:
        raise EngineConfigError(
            "generator.weight_set_directories: missing; luminous is served from the folder that holds the weights"
        )
    found = luminous.choose(luminous.listing(generator.source), available)
    kind = found.engine
    changed: dict[str, Any] = {"type": kind}
    notes = [f"luminous: {generator.source!r} is served by {kind}, which loads {', '.join(found.files[:3])}"]
    if kind == "LlamaCppEngine" and generator.tokenizer_path:
        changed["tokenizer_path"] = None
        notes.append(f"tokenizer_path {generator.tokenizer_path!r} is not used: a GGUF file holds its tokenizer")
    return Chosen(kind, engine_for(kind), generator.model_copy(update=changed), tuple(notes))
