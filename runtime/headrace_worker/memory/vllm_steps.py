"""What vLLM has under way at a time, and what its cache therefore keeps: as vLLM decides it where nothing says more.

Layers with a sliding window keep that and all tokens of the steps under way, because blocks are freed once a step is
done: vLLM does not start without so much (its `SlidingWindowSpec`). And it shares the cache among groups of as many
layers each, so some groups have room for layers that are not there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.memory.machine import GpuMemory
from headrace_worker.memory.model import Model
from headrace_worker.memory.setting import GIB, number

BLOCK = 128
"""Tokens in the largest blocks of the cache that an attention backend asks for; most have 16."""
_LARGEST_STEP = ((160 * GIB, 16384), (70 * GIB, 8192))
"""Tokens of one step of a server by a GPU's memory, and what all others take:"""
_STEP = 2048
_ALL = 2**31


def batched_tokens(kwargs: Mapping[str, Any], gpu: GpuMemory | None, gpus: int) -> int:
    """Tokens of one step (`max_num_batched_tokens`).

    Args:
        kwargs: what the configuration says.
        gpu: the GPU; None on CPU.
        gpus: among how many processes the model is divided.
    """
    if given := number(kwargs.get("max_num_batched_tokens")):
        return given
    default = _STEP * gpus if gpu is None else _STEP
    if gpu and "a100" not in gpu.name.lower():
        default = next((tokens for size, tokens in _LARGEST_STEP if gpu.total >= size), _STEP)
    return default * 2 if kwargs.get("performance_mode") == "throughput" else default


def kept(model: Model, generator: Generator, kwargs: Mapping[str, Any], batched: int) -> Model:
    """The model with what its cache really keeps of a sequence.

    Args:
        model: as it is.
        generator: the section.
        kwargs: its engine's arguments.
        batched: tokens of one step.
    """
    if not model.windowed_per_token:
        return model
    both = model.full_layers and model.windowed_layers
    if both and (kwargs.get("disable_hybrid_kv_cache_manager") or kwargs.get("kv_transfer_config")):
        return replace(model, window=_ALL)  # the latter for the connectors that vLLM turns the manager off for
    whole = kwargs.get("enable_chunked_prefill") is False
    steps = generator.pipeline_parallel_size + (kwargs.get("async_scheduling") is not False)
    window = _ALL if whole else _round(model.window - 1 + steps * batched)
    return _in_groups(replace(model, window=window)) if both else replace(model, window=window)


def reserve(model: Model) -> float:
    """Bytes of the cache that no token gets: a block that stays empty, and where windows begin in the middle of one."""
    return BLOCK * (model.windowed_per_token + (model.cache_per_token or model.windowed_per_token))


def _in_groups(model: Model) -> Model:
    few, many = sorted((model.full_layers, model.windowed_layers))
    group = many if many < 1.5 * few else few

    def padded(layers: int) -> float:
        return -(-layers // group) * group / layers

    return replace(
        model,
        cache_per_token=model.cache_per_token * padded(model.full_layers),
        windowed_per_token=model.windowed_per_token * padded(model.windowed_layers),
    )


def _round(tokens: int) -> int:
    return -(-tokens // BLOCK) * BLOCK
