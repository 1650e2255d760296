"""llama.cpp's memory: the context of each slot, the number of slots, and the layers that go to GPUs.

llama.cpp reserves the cache of all slots at their full length when it starts; layers with a sliding window keep that
and one step. The weights are mapped from the file.
"""

from dataclasses import replace
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.memory.machine import Machine
from headrace_worker.memory.model import Model
from headrace_worker.memory.setting import GIB, RUNTIME, SHORTEST, Setting, arguments, gib, number, refuse

SLOTS = 4
_BUFFERS = GIB // 2
"""What one step of llama.cpp computes in, and its process."""
_CACHE_SHARE = 0.5
"""Of main memory that is left: what a cache whose size nobody asked for may take."""
_STEP = 256
"""llama.cpp rounds the context of a slot up to this."""
_UBATCH = 512
"""Tokens of one step where nothing says otherwise."""


def choose(generator: Generator, model: Model | None, machine: Machine) -> Setting:
    """Choose for llama.cpp; see `fit`."""
    kwargs = arguments(generator)
    if model is None or not (model.cache_per_token or model.windowed_per_token):
        return Setting()
    if not machine.main:
        return Setting(reasons=("the memory is not known: llama.cpp chooses by itself",))
    model = _kept(model, kwargs)
    margin = generator.memory_safety_margin
    gpus = sum(max(int(gpu.free - margin * gpu.total) - RUNTIME, 0) for gpu in machine.gpus)
    available = int(machine.main * (1 - margin)) + gpus
    terms: dict[str, float] = {"weights": model.weights, "buffers": _BUFFERS}
    left = available - sum(terms.values())
    length, count = _lengths(generator, model, kwargs, left)
    cache = _cache(model, length, count)
    terms[f"the KV cache of {count} x {length} tokens"] = cache
    if cache > left:
        help_ = f"lower max_total_tokens (now {length}), n_parallel (now {count}), or take a smaller quantization"
        raise refuse("", terms, "this machine", available, help_)
    return _setting(generator, model, kwargs, (length, count), (gpus, available))


def _kept(model: Model, kwargs: dict[str, Any]) -> Model:
    """The model with what layers with a window really keep of each slot: a step beside the window, in whole units."""
    if kwargs.get("swa_full"):
        return replace(model, window=2**31)
    return replace(model, window=_cells(model.window + (number(kwargs.get("n_ubatch")) or _UBATCH)))


def _lengths(generator: Generator, model: Model, kwargs: dict[str, Any], left: float) -> tuple[int, int]:
    """Tokens of a slot, and slots."""
    slots = number(kwargs.get("n_parallel"))
    count = slots or SLOTS
    given = number(kwargs.get("n_ctx"))
    asked = generator.max_total_tokens or (-(-given // count) if given else None)
    if asked:
        while slots is None and not given and count > 1 and _cache(model, asked, count) > left:
            count -= 1
        return asked, count
    fits = model.tokens(left * _CACHE_SHARE / count) // _STEP * _STEP
    return max(min(model.longest or fits, fits), min(SHORTEST, model.longest or SHORTEST)), count


def _cache(model: Model, length: int, count: int) -> float:
    return model.cache(_cells(length)) * count


def _cells(length: int) -> int:
    return -(-length // _STEP) * _STEP


def _setting(
    generator: Generator, model: Model, kwargs: dict[str, Any], chosen: tuple[int, int], room: tuple[int, int]
) -> Setting:
    (length, count), (gpus, available) = chosen, room
    fields: dict[str, Any] = {}
    added: dict[str, Any] = {}
    cache = _cache(model, length, count)
    reasons = [
        f"{count} slots of {length} tokens: {gib(cache)} KV cache and {gib(model.weights)} weights in {gib(available)}"
    ]
    if not generator.max_total_tokens and "n_ctx" not in kwargs:
        fields["max_total_tokens"] = length
        reasons.append(f"max_total_tokens is {length}; the model's own length is {model.longest}")
    if "n_parallel" not in kwargs:
        added["n_parallel"] = count
    if gpus > 0 and "n_gpu_layers" not in kwargs:
        layers = model.layers + 1  # and the output layer
        fitting = min(layers, int(gpus / ((model.weights + cache) / layers)))
        added["n_gpu_layers"] = fitting
        reasons.append(f"n_gpu_layers is {fitting} of {layers}: {gib(gpus)} are free on GPUs")
    return Setting(added, fields, reasons=tuple(reasons), cache_tokens=_cells(length) * count)
