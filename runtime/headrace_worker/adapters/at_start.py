"""What an engine has to be told when it starts, so that it can take adapters. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.adapters.look import Here
from headrace_worker.engines.protocol import EngineConfigError

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for `max_lora_rank`: it reserves so much for each slot."""
_USUAL_RANK = 16
_MOST_AT_ONCE = 4
"""Different adapters in one step of vLLM, each of which takes GPU memory from the start; more take turns."""
_IN_MAIN_MEMORY = 16
_WITHOUT = ("TRTLLMEngine", "EmbeddingEngine")
_UPDATES = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}


def prepared(generator: Generator, engine: str, here: Sequence[Here]) -> Generator:
    """The section with what the engine needs; as it is where no adapters are asked for.

    Args:
        generator: the section as the engine reads it.
        engine: its name.
        here: the adapters that are known when it starts; others may follow.

    Raises:
        EngineConfigError: the engine takes no adapters.
    """
    if not generator.has_adapters and len(generator.weight_set_directories) < 2:
        return generator
    if engine == "LlamaCppEngine":
        return _with(generator, _llamacpp(generator, here), {})
    if engine == "VLLMEngine":
        return _with(generator, _vllm(generator, here), _UPDATES)
    if engine in _WITHOUT:
        raise EngineConfigError(
            f"generator.adapters: not accepted with {engine}, which takes none here; leave them out, or use VLLMEngine"
        )
    return generator  # another distribution's engine: its own command line is made of the section


def _vllm(generator: Generator, here: Sequence[Here]) -> dict[str, Any]:
    given = {name.replace("-", "_") for name in generator.engine_kwargs}
    largest = max((one.rank or _USUAL_RANK for one in here), default=_USUAL_RANK)
    at_once = min(max(len(here), 1), _MOST_AT_ONCE)
    chosen = {
        "enable_lora": True,
        "max_lora_rank": next((rank for rank in _RANKS if rank >= max(largest, _USUAL_RANK)), _RANKS[-1]),
        "max_loras": at_once,
        "max_cpu_loras": max(len(here), _IN_MAIN_MEMORY, _number(generator.engine_kwargs, "max_loras")),
    }
    return {name: value for name, value in chosen.items() if name not in given}


def _llamacpp(generator: Generator, here: Sequence[Here]) -> dict[str, Any]:
    """Without its store of finished prompts, which it searches by text alone: one adapter's would serve another."""
    return {"cache_ram_mib": 0} if here and "cache_ram_mib" not in generator.engine_kwargs else {}


def _number(kwargs: Mapping[str, Any], name: str) -> int:
    value = kwargs.get(name, kwargs.get(name.replace("_", "-")))
    return value if isinstance(value, int) else 1


def _with(generator: Generator, arguments: Mapping[str, Any], variables: Mapping[str, str]) -> Generator:
    environment = {**variables, **generator.runtime_env.env_vars}
    return generator.model_copy(
        update={
            "engine_kwargs": {**generator.engine_kwargs, **arguments},
            "runtime_env": generator.runtime_env.model_copy(update={"env_vars": environment}),
        }
    )
