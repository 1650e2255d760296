"""The last line before an engine starts: the same checks of its arguments as for an InferenceModel."""

from collections.abc import Mapping
from typing import Any

from headrace_api.engine_arguments import check
from headrace_api.worker_config import EngineType, Generator
from headrace_worker.engines.protocol import EngineConfigError


def refuse_wrong(generator: Generator, engine: EngineType) -> None:
    """Check `engine_kwargs` for the engine that will run.

    Raises:
        EngineConfigError: the first argument that is unknown, set by Headrace itself, or of a wrong value.
    """
    for problem in check.problems(engine, generator.engine_kwargs, _given(generator)):
        raise EngineConfigError(f"generator.engine_kwargs.{problem.key}: {problem.message}; {problem.hint}")


def _given(generator: Generator) -> Mapping[str, Any]:
    same = ("max_total_tokens", "max_num_sequences", "kv_cache_free_gpu_mem_fraction", "logger_level")
    return {
        **{name: getattr(generator, name) for name in same},
        "tokenizer": generator.tokenizer_path or generator.tokenizer_id,
        "prompt_format": generator.generation.prompt_format is not None,
        "skip_checkpoint_load": generator.unstable.skip_checkpoint_load,
    }
