"""Refuses what a generator section may say but this worker cannot act on: ignoring it would look like obeying it."""

from collections.abc import Mapping
from typing import Any

from headrace_api.worker_config import EngineType, Generator
from headrace_worker.engines.protocol import EngineConfigError

_REASONS: Mapping[str, str] = {
    "scheduler_policy": "only TRTLLMEngine has it; leave it out",
    "logger_level": "only TRTLLMEngine has it; set LOG_LEVEL in the environment for the worker's own log",
    "max_num_sequences": "only TRTLLMEngine has it; use engine_kwargs.max_num_seqs with VLLMEngine, and "
    "engine_kwargs.n_parallel with LlamaCppEngine",
    "max_tokens_in_paged_kv_cache": "only TRTLLMEngine has it; leave it out",
    "kv_cache_free_gpu_mem_fraction": "only TRTLLMEngine has it; use memory_safety_margin",
    "enable_trt_overlap": "only TRTLLMEngine has it; leave it out",
    "max_batch_size": "only EmbeddingEngine has it; leave it out",
    "batch_wait_timeout_s": "only EmbeddingEngine has it; leave it out",
    "optimize": "only EmbeddingEngine has it; leave it out",
}
_TEXT_GENERATION = "text-generation"


def refuse(generator: Generator) -> None:
    """Check the keys that no engine of this worker, or not this one, acts on.

    Raises:
        EngineConfigError: one of them is set; the message names it and what to do instead.
    """
    for key, reason in _REASONS.items():
        _refuse_set(key, getattr(generator, key), generator.type, reason)
    if generator.model_type != _TEXT_GENERATION:
        reason = f"this worker's engines generate text; leave it out or write {_TEXT_GENERATION!r}"
        _refuse_set("model_type", generator.model_type, generator.type, reason)
    for key in generator.runtime_env.model_extra or {}:
        raise EngineConfigError(
            f"generator.runtime_env.{key}: not accepted, because the worker starts its engine in the image as it is; "
            "accepted: env_vars"
        )
    if len(generator.weight_set_directories) > 1:
        raise EngineConfigError(
            f"generator.weight_set_directories: {generator.weight_set_directories!r} is not accepted; accepted: one "
            "folder"
        )


def _refuse_set(key: str, value: Any, engine: EngineType, reason: str) -> None:
    if value is not None:
        written = "a table" if hasattr(value, "model_dump") else repr(value)
        raise EngineConfigError(f"generator.{key}: {written} is not accepted with {engine}: {reason}")
