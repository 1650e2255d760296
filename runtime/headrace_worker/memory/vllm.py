"""vLLM's memory: `gpu_memory_utilization`, `max_model_len`, `max_num_seqs`; on CPU `VLLM_CPU_KVCACHE_SPACE`.

vLLM takes a share of a GPU's whole memory, loads the weights, measures one step at its largest, and gives what is left
to the KV cache. It refuses to start when the share is more than is free. On CPU the cache has a size of its own.
"""

from dataclasses import dataclass, replace
from math import floor
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.memory import vllm_steps
from headrace_worker.memory.machine import GpuMemory, Machine
from headrace_worker.memory.model import Model
from headrace_worker.memory.setting import (
    GIB,
    RUNTIME,
    SHORTEST,
    USUAL,
    Setting,
    arguments,
    gib,
    number,
    refuse,
    tightest,
)

CPU_SPACE = "VLLM_CPU_KVCACHE_SPACE"
_CPU_PROCESSES = 3 * GIB
"""What vLLM's own processes take on CPU, without weights and cache: torch in each of them."""
_MOST_SEQUENCES = 256
_LARGE_STEP = 8192
"""The estimate of what a step computes in is made for so many tokens at least: vLLM does not start where the estimate
was too low for the context that was chosen by it."""


@dataclass(frozen=True)
class _Asked:
    """What the configuration says itself."""

    kwargs: dict[str, Any]
    length: int | None
    sequences: int | None
    length_is_set: bool
    """Also where it is in words that only vLLM understands."""

    @classmethod
    def of(cls, generator: Generator) -> "_Asked":
        kwargs = arguments(generator)
        length = generator.max_total_tokens or number(kwargs.get("max_model_len"))
        is_set = bool(generator.max_total_tokens) or "max_model_len" in kwargs
        return cls(kwargs, length, number(kwargs.get("max_num_seqs")), is_set)


def choose(generator: Generator, model: Model | None, machine: Machine) -> Setting:
    """Choose for vLLM; see `fit`."""
    asked = _Asked.of(generator)
    if machine.cpu_only and machine.main is not None:
        return _on_cpu(generator, asked, model, machine.main)
    if not machine.gpus:
        return Setting(reasons=("the GPU's memory is not known: vLLM chooses by itself",))
    return _on_gpus(generator, asked, model, tightest(generator, machine))


def _on_gpus(generator: Generator, asked: _Asked, model: Model | None, gpu: GpuMemory) -> Setting:
    name = f"each GPU ({gpu.name}: {gib(gpu.free)} of {gib(gpu.total)} free)"
    margin = generator.memory_safety_margin * gpu.total
    given = asked.kwargs.get("gpu_memory_utilization")
    share = float(given) if given is not None else floor((gpu.free - margin) / gpu.total * 1e4) / 1e4
    if share <= 0:
        raise refuse(".memory_safety_margin", {"the margin": margin}, name, gpu.free, "free the GPU for this engine")
    chosen: dict[str, Any] = {} if given is not None else {"gpu_memory_utilization": share}
    why = f"gpu_memory_utilization is {share:g}"
    why += ", as configured" if given is not None else f": what is free less a margin of {gib(margin)}"
    if model is None:
        return Setting(chosen, reasons=(f"{why}, on {name}; the model's size is not known before it is fetched",))
    batched = vllm_steps.batched_tokens(asked.kwargs, gpu, 1)
    terms = _fixed(generator, asked, model, batched)
    own = number(asked.kwargs.get("kv_cache_memory_bytes"))
    room = own or share * gpu.total - sum(terms.values())
    per_gpu = _on_one_gpu(generator, vllm_steps.kept(model, generator, asked.kwargs, batched))
    setting = _lengths(asked, per_gpu, room, terms, (name, share * gpu.total))
    parts = ", ".join(f"{gib(size)} {what}" for what, size in terms.items())
    reasons = (f"{why}, on {name}", f"of {gib(share * gpu.total)}: {parts}, {gib(max(room, 0))} KV cache")
    return replace(setting, arguments={**chosen, **setting.arguments}, reasons=(*reasons, *setting.reasons))


def _fixed(generator: Generator, asked: _Asked, model: Model, batched: int) -> dict[str, float]:
    """What each GPU needs beside the cache."""
    gpus = generator.tensor_parallel_size * generator.pipeline_parallel_size
    step = number(asked.kwargs.get("max_num_batched_tokens")) or max(batched, _LARGE_STEP)
    sequences = asked.sequences or _MOST_SEQUENCES
    # the widest moment of a layer: its gate and its up projection, and the stream it is added to, twice
    widest = 2 * model.inner / generator.tensor_parallel_size + 4 * model.hidden
    logits = sequences * model.vocabulary * 2 * 4  # in float32, and a copy that is sorted
    return {"weights": model.weights / gpus, "one step": step * widest * model.number + logits, "CUDA": RUNTIME}


def _on_one_gpu(generator: Generator, model: Model) -> Model:
    tensor = generator.tensor_parallel_size
    share = model.copies(tensor) / tensor / generator.pipeline_parallel_size
    return replace(
        model,
        cache_per_token=model.cache_per_token * share,
        windowed_per_token=model.windowed_per_token * share,
    )


def _lengths(
    asked: _Asked, model: Model, room: float, terms: dict[str, float], available: tuple[str, float]
) -> Setting:
    """Context and sequences for a cache of `room` bytes."""
    most = model.tokens(room - vllm_steps.reserve(model))
    fits = most // vllm_steps.BLOCK * vllm_steps.BLOCK
    wanted = asked.length or model.longest
    known = bool(model.cache_per_token or model.windowed_per_token)
    if room <= 0 or (known and most < min(asked.length or SHORTEST, wanted or SHORTEST)):
        least = asked.length or min(SHORTEST, wanted or SHORTEST)
        help_ = 'use more or larger GPUs, a quantized model, or kv_cache_dtype = "fp8"'
        if asked.length and fits >= SHORTEST:
            help_ = f"lower max_total_tokens to {fits} or less, or {help_}"
        raise refuse("", {**terms, f"the KV cache of {least} tokens": model.cache(least)}, *available, help_)
    if not known:
        return Setting(reasons=("the model's dimensions are not known: vLLM chooses context and sequences by itself",))
    fields: dict[str, Any] = {}
    reasons: list[str] = []
    length = asked.length or min(wanted or fits, fits)
    if not asked.length_is_set and wanted and length < wanted:
        fields["max_total_tokens"] = length
        reasons.append(f"max_total_tokens is {length}: the model's own {wanted} do not fit the KV cache")
    chosen: dict[str, Any] = {}
    if asked.sequences is None:
        usual = min(length, USUAL)
        chosen["max_num_seqs"] = max(1, min(_MOST_SEQUENCES, int(room / model.cache(usual))))
        reasons.append(
            f"max_num_seqs is {chosen['max_num_seqs']}: room for {usual} tokens each, {_MOST_SEQUENCES} at most"
        )
    return Setting(chosen, fields, reasons=tuple(reasons), cache_tokens=int(room // (model.cache(length) / length)))


def _on_cpu(generator: Generator, asked: _Asked, model: Model | None, main: int) -> Setting:
    environment = generator.runtime_env.env_vars
    if "gpu_memory_utilization" in asked.kwargs or model is None:
        return Setting()
    terms = {"weights": float(model.weights), "vLLM's processes": float(_CPU_PROCESSES)}
    own = number(environment.get(CPU_SPACE))
    given = own * GIB if own else number(asked.kwargs.get("kv_cache_memory_bytes"))
    gpus = generator.tensor_parallel_size * generator.pipeline_parallel_size
    batched = vllm_steps.batched_tokens(asked.kwargs, None, gpus)
    model = vllm_steps.kept(model, generator, asked.kwargs, batched)
    terms["the margin"] = main * generator.memory_safety_margin
    left = main - sum(terms.values())
    room = given or _whole_gib(asked, model, left)
    setting = _lengths(asked, model, room, terms, ("this machine", main))
    if given:
        return setting
    space = int(room // GIB)
    why = f"{CPU_SPACE} is {space} GiB: of {gib(main)} main memory, {gib(left)} are left beside the rest"
    return replace(setting, environment={CPU_SPACE: str(space)}, reasons=(why, *setting.reasons))


def _whole_gib(asked: _Asked, model: Model, left: float) -> int:
    """Whole GiB, as vLLM wants them: what all sequences need at their full length, if there is so much."""
    length = asked.length or model.longest or SHORTEST
    needed = model.cache(length) * (asked.sequences or _MOST_SEQUENCES)
    return max(0, min(int(left // GIB), max(1, int(-(-needed // GIB))))) * GIB
