"""The decision: what of an engine's memory, sequences and context to set, and why. Pure.

What the configuration sets stays as it is, and the rest is fitted around it. What cannot fit is refused before the
engine starts, with what is needed, what is there and what would help: an engine would say less, minutes later.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace_api.worker_config import Generator
from headrace_worker.memory import llamacpp, tensorrt_llm, vllm
from headrace_worker.memory.machine import Machine
from headrace_worker.memory.model import Model
from headrace_worker.memory.setting import Setting

_BY_ENGINE: Mapping[str, Callable[[Generator, Model | None, Machine], Setting]] = {
    "VLLMEngine": vllm.choose,
    "LlamaCppEngine": llamacpp.choose,
    "TRTLLMEngine": tensorrt_llm.choose,
}
"""The other engines keep no cache: a batch of texts takes what it takes."""


@dataclass(frozen=True)
class Fit:
    """A generator section with chosen values."""

    generator: Generator
    reasons: tuple[str, ...] = ()
    """What was chosen and why, for the log; one sentence each."""
    cache_tokens: int | None = None
    """Tokens that the KV cache is expected to hold; None: not known."""


def fit(generator: Generator, kind: str, model: Model | None, machine: Machine) -> Fit:
    """Choose for an engine.

    Args:
        generator: the section as the engine reads it; with `auto_memory_config = false` it comes back as it is.
        kind: the engine.
        model: what is known of the model; None: nothing.
        machine: what there is.

    Raises:
        EngineConfigError: the model cannot fit, or what the configuration sets cannot.
    """
    choose = _BY_ENGINE.get(kind)
    if not generator.auto_memory_config or choose is None:
        return Fit(generator)
    setting = choose(generator, model, machine)
    tokens = setting.cache_tokens
    held = (f"the KV cache is expected to hold {tokens} tokens",) if tokens else ()
    return Fit(_with(generator, setting), (*setting.reasons, *held), tokens)


def _with(generator: Generator, setting: Setting) -> Generator:
    environment = generator.runtime_env.model_copy(
        update={"env_vars": {**generator.runtime_env.env_vars, **setting.environment}}
    )
    return generator.model_copy(
        update={
            **setting.fields,
            "engine_kwargs": {**generator.engine_kwargs, **setting.arguments},
            "runtime_env": environment,
        }
    )
