"""What all engines' choices have in common: their shape, their units in words, and the refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.engines.protocol import EngineConfigError
from headrace_worker.memory.machine import GpuMemory, Machine

GIB = 2**30
RUNTIME = 3 * GIB // 4
"""Bytes that CUDA's context, its libraries and communication take on each GPU."""
SHORTEST = 256
"""Tokens of context below which a model is of no use: less is refused, not chosen."""
USUAL = 1024
"""Tokens of a usual request. Room for so many each is what the number of sequences is chosen by: few are as long as
they may be, and those that outgrow the cache wait."""
TRY_ANYWAY = "set auto_memory_config = false to start it all the same"


@dataclass(frozen=True)
class Setting:
    """Values to be put into a generator section."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of `engine_kwargs`."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the section itself."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of `runtime_env.env_vars`."""
    reasons: tuple[str, ...] = ()
    cache_tokens: int | None = None


def gib(size: float) -> str:
    """Bytes in words."""
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / 2**20:.2f} MiB"


def number(value: Any) -> int | None:
    """A positive whole number, also as text; None for all else."""
    try:
        found = int(value) if not isinstance(value, bool) else 0
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found > 0 else None


def arguments(generator: Generator) -> dict[str, Any]:
    """`engine_kwargs` by the names that Python has for them, without nulls."""
    return {name.replace("-", "_"): value for name, value in generator.engine_kwargs.items() if value is not None}


def tightest(generator: Generator, machine: Machine) -> GpuMemory:
    """Of the GPUs that the model is divided over, the one with the least room.

    Raises:
        EngineConfigError: the machine has fewer than it is divided over.
    """
    wanted = generator.tensor_parallel_size * generator.pipeline_parallel_size
    if len(machine.gpus) < wanted:
        raise EngineConfigError(
            f"generator.tensor_parallel_size: {generator.tensor_parallel_size} x pipeline_parallel_size "
            f"{generator.pipeline_parallel_size} needs {wanted} GPUs, and there are {len(machine.gpus)}; accepted: a "
            "product of at most that"
        )
    return min(machine.gpus[:wanted], key=lambda gpu: gpu.free)


def refuse(key: str, terms: Mapping[str, float], there: str, available: float, help_: str) -> EngineConfigError:
    """The error for what does not fit.

    Args:
        key: the part of the section that is to change.
        terms: what needs memory, in bytes, by words for it.
        there: whose memory it is: `GPU 'NVIDIA L4'`.
        available: bytes of it.
        help_: what to do.
    """
    listed = " + ".join(f"{gib(size)} for {what}" for what, size in terms.items())
    return EngineConfigError(
        f"generator{key}: the model does not fit the memory: it needs {listed} = {gib(sum(terms.values()))}, and "
        f"{there} has {gib(available)}; {help_}; or {TRY_ANYWAY}"
    )
