"""The arguments that the engines take: tables of the pinned versions, and what Headrace knows beside them.

The tables are data, one module per engine, imported when first asked for. crds/engine_arguments.py generates them:
vLLM's and llama.cpp's from the engines themselves, TensorRT-LLM's from its source.
"""

from importlib import import_module

from headrace_api.engine_arguments.argument import Argument, Table
from headrace_api.worker_config import EngineType

__all__ = ["ENGINES", "Argument", "Table", "table", "tables_of"]

ENGINES: dict[EngineType, tuple[str, ...]] = {
    "VLLMEngine": ("vllm",),
    "EmbeddingEngine": ("vllm",),  # vLLM's pooling runner
    "LlamaCppEngine": ("llamacpp",),
    "TRTLLMEngine": ("tensorrt_llm",),
    "luminous": ("vllm", "llamacpp"),
}
"""Whose arguments an engine of the configuration takes; `luminous` is whichever of the two loads the weights."""


def tables_of(engine: str) -> tuple[str, ...]:
    """The names of an engine's tables; none for an engine of another distribution, which checks its own arguments."""
    return next((names for known, names in ENGINES.items() if known == engine), ())


def table(name: str) -> Table:
    """The table `vllm`, `llamacpp` or `tensorrt_llm`."""
    loaded: Table = import_module(f"{__name__}.{name}").TABLE
    return loaded
