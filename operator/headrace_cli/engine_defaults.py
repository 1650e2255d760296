"""The engine arguments that a model leaves to its engine, with the engine's defaults."""

from typing import Any

from headrace_api.engine_arguments import Table, table, tables_of
from headrace_api.engine_arguments.knowledge import KNOWLEDGE
from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.provenance import Row

ENGINE_DEFAULT = "engine default"

_WORKER_DECIDES = {
    "vllm": {"max_num_seqs", "gpu_memory_utilization", "disable_uvicorn_access_log"},
    "llamacpp": {"n_parallel"},
}
"""What the worker decides where the model does not, at start and on its own machine."""


def engine_defaults(spec: InferenceModelSpec) -> list[Row]:
    """A row for each argument that nobody sets: null is a default that is not a plain value, or none."""
    return [row for name in tables_of(spec.engine.type) for row in _rows(spec, name)]


def _rows(spec: InferenceModelSpec, name: str) -> list[Row]:
    arguments, knowledge = table(name), KNOWLEDGE[name]
    rivals = {key for key, (setting, _) in knowledge.rivals.items() if _says(spec, setting)}
    decided = knowledge.own.keys() | rivals | _WORKER_DECIDES.get(name, set()) | _given(spec, arguments)
    return [
        Row(
            f"{arguments.engine} {arguments.version}",
            key,
            argument.default,
            ENGINE_DEFAULT,
            (f"spec.engine.engineKwargs.{key}",),
        )
        for key, argument in arguments.arguments.items()
        if key not in decided
    ]


def _given(spec: InferenceModelSpec, arguments: Table) -> set[str]:
    given = {key for key, value in spec.engine.engine_kwargs.items() if value is not None}
    return {arguments.canonical(key).partition(".")[0] for key in given}


def _says(spec: InferenceModelSpec, setting: str) -> bool:
    """Whether the spec has a setting of `Knowledge.rivals`, which are in the words of the worker's file."""
    engine = spec.engine
    values: dict[str, Any] = {
        "tokenizer": engine.tokenizer_path or engine.tokenizer_id,
        "prompt_format": engine.generation.prompt_format,
        "skip_checkpoint_load": engine.unstable.skip_checkpoint_load,
    }
    return bool(values[setting] if setting in values else getattr(engine, setting))
