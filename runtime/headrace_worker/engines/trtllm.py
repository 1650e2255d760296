"""TensorRT-LLM: `trtllm-serve`, told by a few options and a file with everything else.

Checked against its public source, `tensorrt_llm/commands/serve.py` and `llmapi/llm_args.py`, from which the table
`headrace_api.engine_arguments.tensorrt_llm` is generated (it says of which version); not run: it needs NVIDIA's
libraries and a GPU.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from headrace_api import engine_arguments, refusals
from headrace_api.worker_config import Generator
from headrace_worker.engines import arguments, prompt_formats, stops
from headrace_worker.engines.protocol import EngineApi, EngineCommand, EngineConfigError, EngineFacts, text_api

_DEFAULT_SEQUENCES = 256
"""Requests in one batch. Always given, so that the worker takes no more requests than its engine works on."""
_BUILT = "rank0.engine"
"""What a folder with a built engine holds; anything else is a checkpoint, for the PyTorch backend."""
_BACKENDS = ("pytorch", "tensorrt")
_SHARE = "free_gpu_memory_fraction"
_BATCHING = {"inflightfusedbatching": "INFLIGHT", "inflightbatching": "INFLIGHT", "v1": "STATIC"}
"""`model_type` in the words of the Triton backend's configuration, which the registry has."""


class TensorRtLlm:
    """`trtllm-serve MODEL --config FILE`; the file is JSON, which is YAML as well."""

    def locate(self, generator: Generator) -> str:
        """The source itself: `trtllm-serve` takes a built engine, a checkpoint's folder or a Hugging Face id."""
        return generator.source

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        """See `Engine.command`."""
        arguments.refuse_wrong(generator, "TRTLLMEngine")
        table = engine_arguments.table("tensorrt_llm").arguments
        kwargs = _kwargs(generator)
        backend = kwargs.pop("backend", "tensorrt" if _BUILT in facts.names else "pytorch")
        backend = "tensorrt" if backend == "trt" else backend
        _refuse_other_backends(kwargs, backend)
        options = {
            "host": "127.0.0.1",
            "port": facts.port,
            "backend": backend,
            **_own_options(generator),
            **{
                name: value for name, value in kwargs.items() if name in table and table[name].server and name != _SHARE
            },
        }
        file = _merged(
            {name: value for name, value in kwargs.items() if name not in table or not table[name].server},
            _file(generator, built=backend == "tensorrt") | {"max_batch_size": self.slots(generator)},
        )
        path = str(PurePath(facts.folder) / "trtllm_options.yaml")
        words = [word for name, value in options.items() for word in _words(name, value)]
        argv = [facts.programs.trtllm_serve, facts.weights, *words, "--config", path]
        text = json.dumps(file, indent=2, sort_keys=True) + "\n"
        return EngineCommand(argv, dict(generator.runtime_env.env_vars), {path: text})

    def slots(self, generator: Generator) -> int:
        """`max_num_sequences`, else `engine_kwargs.max_batch_size`, else 256."""
        value = generator.max_num_sequences or generator.engine_kwargs.get("max_batch_size")
        return _DEFAULT_SEQUENCES if value is None else int(value)

    def request_defaults(self, generator: Generator) -> Mapping[str, list[Any]]:
        """Text becomes `stop`, token ids become `stop_token_ids`."""
        return stops.texts_and_ids(generator.generation.stopping_sequences, "TensorRT-LLM", refusals.vllm_stops_at)

    def api(self, generator: Generator) -> EngineApi:
        """Prometheus metrics exist where `return_perf_metrics` asks for them; LoRA adapters come with the requests."""
        measured = generator.engine_kwargs.get("return_perf_metrics") is True
        path = "/prometheus/metrics" if measured else ""
        return replace(text_api(), metrics_path=path, metrics_prefix="trtllm_")


def _kwargs(generator: Generator) -> dict[str, Any]:
    table = engine_arguments.table("tensorrt_llm")
    return {table.canonical(name): value for name, value in generator.engine_kwargs.items() if value is not None}


def _refuse_other_backends(kwargs: Mapping[str, Any], backend: str) -> None:
    """Refuse what only the other of TensorRT-LLM's two classes of options has: the engine would not start."""
    table = engine_arguments.table("tensorrt_llm").arguments
    for name, value in kwargs.items():
        only = table[name].only if name in table else ""
        if only and backend in _BACKENDS and only != backend:
            raise EngineConfigError(
                f"generator.engine_kwargs.{name}: {value!r} is not accepted with the {backend} backend, because only "
                f"{only} has it; leave it out, or set engine_kwargs.backend to {only!r}"
            )


def _own_options(generator: Generator) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if generator.logger_level:
        options["log_level"] = generator.logger_level.lower()
    if generator.tokenizer_path and generator.tokenizer_id:
        raise EngineConfigError(
            f"generator.tokenizer_id: {generator.tokenizer_id!r} is not accepted beside tokenizer_path = "
            f"{generator.tokenizer_path!r}; give one of the two"
        )
    if tokenizer := generator.tokenizer_path or generator.tokenizer_id:
        options["tokenizer"] = tokenizer
    if template := prompt_formats.template(generator):
        options["chat_template"] = template
    return options


def _file(generator: Generator, *, built: bool) -> dict[str, Any]:
    given = {
        "tensor_parallel_size": generator.tensor_parallel_size,
        "pipeline_parallel_size": generator.pipeline_parallel_size,
        "max_seq_len": generator.max_total_tokens,
        "kv_cache_config": _kv_cache(generator),
        "scheduler_config": {"capacity_scheduler_policy": generator.scheduler_policy},
        **_overlap(generator, built=built),
        **_batching(generator, built=built),
        **_random_weights(generator, built=built),
    }
    return {name: value for name, value in _without_nothing(given).items() if value not in (None, {})}


def _kv_cache(generator: Generator) -> dict[str, Any]:
    """In the file, because the file's `kv_cache_config` counts before what the options say of it."""
    kwargs = _kwargs(generator)
    share = generator.kv_cache_free_gpu_mem_fraction or kwargs.get(_SHARE)
    inside = kwargs.get("kv_cache_config") or {}
    if share is None and generator.auto_memory_config and _SHARE not in inside:
        share = round(1 - generator.memory_safety_margin, 6)
    return {_SHARE: share, "max_tokens": generator.max_tokens_in_paged_kv_cache}


def _overlap(generator: Generator, *, built: bool) -> dict[str, Any]:
    if generator.enable_trt_overlap is None:
        return {}
    if built:
        raise EngineConfigError(
            f"generator.enable_trt_overlap: {generator.enable_trt_overlap!r} is not accepted with a built engine, "
            "whose runtime has no such setting any more; leave it out, or serve the checkpoint"
        )
    return {"disable_overlap_scheduler": not generator.enable_trt_overlap}


def _batching(generator: Generator, *, built: bool) -> dict[str, Any]:
    word = (generator.model_type or "").replace("_", "").lower()
    if word in {"", "textgeneration", "text-generation"}:
        return {}
    batching = _BATCHING.get(word)
    if batching is None or (batching == "STATIC" and not built):
        accepted = "text-generation, InflightFusedBatching" + (", V1" if built else "")
        raise EngineConfigError(f"generator.model_type: {generator.model_type!r} is not accepted; accepted: {accepted}")
    return {"batching_type": batching} if built else {}


def _random_weights(generator: Generator, *, built: bool) -> dict[str, Any]:
    if not generator.unstable.skip_checkpoint_load:
        return {}
    if built:
        raise EngineConfigError(
            "generator.unstable.skip_checkpoint_load: True is not accepted with a built engine, which holds its "
            "weights; leave it out"
        )
    return {"load_format": "dummy"}


def _without_nothing(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nothing(inner) if isinstance(inner, dict) else inner
        for key, inner in value.items()
        if inner is not None
    }


def _merged(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Both; of a map in both, the keys of both; what the generator section itself says counts."""
    result = {**given}
    for key, value in own.items():
        there = result.get(key)
        result[key] = {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value
    return result


def _words(name: str, value: Any) -> list[str]:
    """An option as click has it: repeated for a list; a flag without its value, and left out when false."""
    argument = engine_arguments.table("tensorrt_llm").arguments[name]
    if argument.form == "flag":
        return [f"--{argument.target or name}"] if value else []
    if isinstance(value, list):
        return [word for item in value for word in _words(name, item)]
    return [f"--{argument.target or name}", value if isinstance(value, str) else json.dumps(value)]
