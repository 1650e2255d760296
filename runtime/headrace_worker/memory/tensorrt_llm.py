"""TensorRT-LLM's memory: the share, of what is free once the model is loaded, that the KV cache takes."""

from dataclasses import replace
from math import floor
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.memory.machine import Machine
from headrace_worker.memory.model import Model
from headrace_worker.memory.setting import RUNTIME, SHORTEST, USUAL, Setting, arguments, gib, number, refuse, tightest

_SHARE = "free_gpu_memory_fraction"
_BATCH = 256
_STEP_TOKENS = 8192
"""Tokens of a step where nothing says otherwise: the default of `max_num_tokens`."""


def choose(generator: Generator, model: Model | None, machine: Machine) -> Setting:
    """Choose for TensorRT-LLM; see `fit`."""
    if not machine.gpus or model is None:
        return Setting()
    gpu = tightest(generator, machine)
    name = f"each GPU ({gpu.name}: {gib(gpu.free)} of {gib(gpu.total)} free)"
    gpus = generator.tensor_parallel_size * generator.pipeline_parallel_size
    widest = 2 * model.inner / generator.tensor_parallel_size + 4 * model.hidden
    terms = {"weights": model.weights / gpus, "one step": _STEP_TOKENS * widest * model.number, "CUDA": float(RUNTIME)}
    loaded = gpu.free - sum(terms.values())
    margin = generator.memory_safety_margin * gpu.total
    given = _share(generator)
    share = given if given is not None else floor((loaded - margin) / loaded * 1e4) / 1e4 if loaded > margin else 0.0
    if share <= 0:
        help_ = "use more or larger GPUs, or a quantized model"
        raise refuse("", {**terms, "the margin": margin}, name, gpu.free, help_)
    fields: dict[str, Any] = {} if given is not None else {"kv_cache_free_gpu_mem_fraction": share}
    room = share * loaded
    reason = f"kv_cache_free_gpu_mem_fraction is {share:g}: {gib(max(room, 0))} for the KV cache on {name}"
    setting = Setting(fields=fields, reasons=(reason,))
    return _lengths(generator, model, room, setting, (terms, name, gpu.free)) if model.cache_per_token else setting


def _share(generator: Generator) -> float | None:
    """The share that the configuration says, in either place."""
    kwargs = arguments(generator)
    inside = kwargs.get("kv_cache_config")
    found = inside.get(_SHARE) if isinstance(inside, dict) else kwargs.get(_SHARE)
    share = generator.kv_cache_free_gpu_mem_fraction or found
    return float(share) if isinstance(share, int | float) else None


def _lengths(
    generator: Generator, model: Model, room: float, setting: Setting, known: tuple[dict[str, float], str, float]
) -> Setting:
    tensor = generator.tensor_parallel_size
    each = model.copies(tensor) / tensor / generator.pipeline_parallel_size
    fits = model.tokens(room / each)
    terms, name, available = known
    kwargs = arguments(generator)
    asked = generator.max_total_tokens or number(kwargs.get("max_seq_len"))
    least = asked or min(SHORTEST, model.longest or SHORTEST)
    if fits < least:
        help_ = f"lower max_total_tokens to {fits} or less, use more or larger GPUs, or a quantized model"
        raise refuse(
            "", {**terms, f"the KV cache of {least} tokens": model.cache(least) * each}, name, available, help_
        )
    fields, reasons = dict(setting.fields), [*setting.reasons]
    length = asked or min(model.longest or fits, fits)
    if not asked and length < (model.longest or 0):
        fields["max_total_tokens"] = length
        reasons.append(f"max_total_tokens is {length}: the model's own {model.longest} do not fit the KV cache")
    if generator.max_num_sequences is None and "max_batch_size" not in kwargs:
        usual = min(length, USUAL)
        fields["max_num_sequences"] = max(1, min(_BATCH, int(room / each / model.cache(usual))))
        reasons.append(f"max_num_sequences is {fields['max_num_sequences']}: room for {usual} tokens each")
    return replace(setting, fields=fields, reasons=tuple(reasons), cache_tokens=fits)
