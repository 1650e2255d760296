"""Refuses what a generator section may say but this worker cannot act on: ignoring it would look like obeying it."""

from collections.abc import Mapping
from typing import Any

from headrace_api import runtime_env
from headrace_api.worker_config import EngineType, Generator
from headrace_worker.engines.protocol import EngineConfigError

_OF_ONE: Mapping[str, tuple[EngineType, str]] = {
    "scheduler_policy": ("TRTLLMEngine", "leave it out"),
    "logger_level": ("TRTLLMEngine", "set LOG_LEVEL in the environment for the worker's own log"),
    "max_num_sequences": (
        "TRTLLMEngine",
        "use engine_kwargs.max_num_seqs with VLLMEngine, and engine_kwargs.n_parallel with LlamaCppEngine",
    ),
    "max_tokens_in_paged_kv_cache": ("TRTLLMEngine", "leave it out"),
    "kv_cache_free_gpu_mem_fraction": ("TRTLLMEngine", "use memory_safety_margin"),
    "enable_trt_overlap": ("TRTLLMEngine", "leave it out"),
    "max_batch_size": ("EmbeddingEngine", "leave it out"),
    "batch_wait_timeout_s": ("EmbeddingEngine", "leave it out"),
    "optimize": ("EmbeddingEngine", "leave it out"),
}
"""Keys that one engine only has, and what to do with the others."""
_OF_TEXT = ("LlamaCppEngine", "VLLMEngine")
_WITHOUT_ADAPTERS = ("TRTLLMEngine", "EmbeddingEngine")
_TEXT_GENERATION = "text-generation"


def refuse(generator: Generator) -> None:
    """Check the keys that no engine of this worker, or not this one, acts on.

    Raises:
        EngineConfigError: one of them is set; the message names it and what to do instead.
    """
    for key, (engine, instead) in _OF_ONE.items():
        if generator.type != engine:
            _refuse_set(key, getattr(generator, key), generator.type, f"only {engine} has it; {instead}")
    if generator.type in _OF_TEXT and generator.model_type != _TEXT_GENERATION:
        reason = f"it generates text; leave it out or write {_TEXT_GENERATION!r}"
        _refuse_set("model_type", generator.model_type, generator.type, reason)
    for wrong in runtime_env.refused(generator.runtime_env.model_extra or {}):
        raise EngineConfigError(f"generator.runtime_env.{wrong.key}: not accepted: {wrong.reason}; {wrong.hint}")
    if generator.type in _WITHOUT_ADAPTERS and (generator.has_adapters or len(generator.weight_set_directories) > 1):
        key = "adapters" if generator.has_adapters else "weight_set_directories"
        raise EngineConfigError(
            f"generator.{key}: not accepted with {generator.type}, which serves one set of weights; "
            "accepted: none, and one folder"
        )


def _refuse_set(key: str, value: Any, engine: str, reason: str) -> None:
    if value is not None:
        written = "a table" if hasattr(value, "model_dump") else repr(value)
        raise EngineConfigError(f"generator.{key}: {written} is not accepted with {engine}: {reason}")
