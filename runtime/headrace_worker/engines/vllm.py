"""vLLM: its OpenAI server, run by the interpreter that has it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace_api import engine_arguments, refusals
from headrace_api.worker_config import Generator
from headrace_worker.engines import arguments, in_vllm, prompt_formats, stops
from headrace_worker.engines.in_vllm import headrace_multiplexer
from headrace_worker.engines.protocol import (
    TOKENIZE_PATH,
    Call,
    Counting,
    EngineApi,
    EngineCommand,
    EngineConfigError,
    EngineFacts,
    embedding_api,
    text_api,
)

_DEFAULT_MAX_NUM_SEQS = 256
"""Requests in one batch. vLLM's own default depends on the GPU; it is always given, so that the worker takes no more
requests from the queue than its engine works on."""
_COMPLETION_TOKENS = 16
"""`max_tokens` of a completion that names none (`CompletionRequest`), as OpenAI has it."""
FOLDER = str(Path(in_vllm.__file__).parent)
"""What comes on the engine's PYTHONPATH."""
_MULTIPLEXER = f"{Path(headrace_multiplexer.__file__).stem}.{headrace_multiplexer.Multiplexer.__name__}"
"""Given last, so that it is outermost: the middleware of a configuration sees each request that it passes on."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "tekken.json")
_TOKENIZER_SUFFIXES = (".json", ".model")


class VllmAdapters:
    """vLLM's LoRA adapters; the server takes them where it was started for it (see `Vllm.command`)."""

    def load(self, name: str, path: str) -> Call:
        """See `AdapterDialect.load`."""
        return Call("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})

    def unload(self, name: str) -> Call:
        """See `AdapterDialect.unload`."""
        return Call("/v1/unload_lora_adapter", {"lora_name": name})


class Vllm:
    """`python -m vllm.entrypoints.openai.api_server`."""

    def __init__(self, runner: str | None = None) -> None:
        self._runner = runner

    def locate(self, generator: Generator) -> str:
        """The source itself: vLLM resolves paths and Hugging Face ids."""
        return generator.source

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        """See `Engine.command`: what the worker decides, then `engine_kwargs` by vLLM's rules for flags."""
        arguments.refuse_wrong(generator, "VLLMEngine")
        table = engine_arguments.table("vllm")
        own = _own_flags(generator, facts) | ({"runner": self._runner} if self._runner else {})
        kwargs = {table.canonical(name): value for name, value in generator.engine_kwargs.items()}
        kwargs["max_num_seqs"] = self.slots(generator)
        if self._multiplexed(generator):
            kwargs.setdefault("enable_prompt_tokens_details", True)  # the ledger has a column for them
            kwargs["middleware"] = [*_given(kwargs.get("middleware")), _MULTIPLEXER]
        flags = [part for name, value in {**own, **kwargs}.items() for part in _arguments(name, value)]
        # Without this, the answers to our own health checks would push the useful lines out of the log's tail.
        flags += [] if "disable_uvicorn_access_log" in kwargs else ["--disable-uvicorn-access-log"]
        argv = [facts.programs.vllm, "-m", "vllm.entrypoints.openai.api_server", *flags]
        python_path = FOLDER if self._multiplexed(generator) else ""
        return EngineCommand(argv, dict(generator.runtime_env.env_vars), python_path=python_path)

    def slots(self, generator: Generator) -> int:
        """As many requests as vLLM batches (`max_num_seqs`)."""
        arguments.refuse_wrong(generator, "VLLMEngine")
        kwargs = generator.engine_kwargs
        value = kwargs.get("max_num_seqs", kwargs.get("max-num-seqs"))
        return _DEFAULT_MAX_NUM_SEQS if value is None else int(value)

    def request_defaults(self, generator: Generator) -> Mapping[str, list[Any]]:
        """Text becomes `stop`, token ids become `stop_token_ids`; vLLM has no stop at several ids in a row."""
        return stops.texts_and_ids(generator.generation.stopping_sequences, "vLLM", refusals.vllm_stops_at)

    def api(self, generator: Generator) -> EngineApi:
        """A server that was told to be a pooling one embeds; any other generates text."""
        text = text_api(TOKENIZE_PATH)
        text = replace(text, adapters=VllmAdapters(), multiplexed=True, continues=True, counting=Counting())
        text = replace(text, completion_tokens=_COMPLETION_TOKENS)
        api = text if self._multiplexed(generator) else embedding_api()
        # Without statistics its page is there, too, but nothing on it moves: a busy engine would look like a hung one.
        table = engine_arguments.table("vllm")
        kwargs = {table.canonical(name): value for name, value in generator.engine_kwargs.items()}
        return api if kwargs.get("disable_log_stats") else replace(api, metrics_path="/metrics", metrics_prefix="vllm:")

    def _multiplexed(self, generator: Generator) -> bool:
        """Whether requests may share a WebSocket: those for text, whose many small pieces are what it saves on."""
        return (self._runner or generator.engine_kwargs.get("runner")) != "pooling"


def _given(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _own_flags(generator: Generator, facts: EngineFacts) -> dict[str, Any]:
    flags: dict[str, Any] = {
        "model": facts.weights,
        "served_model_name": facts.served_name,
        "host": "127.0.0.1",
        "port": facts.port,
    }
    if tokenizer := _tokenizer(generator):
        flags["tokenizer"] = tokenizer
    if generator.tensor_parallel_size > 1:
        flags["tensor_parallel_size"] = generator.tensor_parallel_size
    if generator.pipeline_parallel_size > 1:
        flags["pipeline_parallel_size"] = generator.pipeline_parallel_size
    if generator.max_total_tokens:
        flags["max_model_len"] = generator.max_total_tokens
    if generator.unstable.skip_checkpoint_load:
        flags["load_format"] = "dummy"
    if template := prompt_formats.template(generator):
        # "string": vLLM would otherwise guess from the template whether messages are texts or lists of parts.
        flags |= {"chat_template": template, "chat_template_content_format": "string"}
    return flags


def _tokenizer(generator: Generator) -> str | None:
    """The tokenizer as vLLM wants it: a folder or a Hugging Face id; in a folder it looks for certain names only."""
    path, hub_id = generator.tokenizer_path, generator.tokenizer_id
    if path and hub_id:
        raise EngineConfigError(
            f"generator.tokenizer_id: {hub_id!r} is not accepted beside tokenizer_path = {path!r}; give one of the two"
        )
    if not path:
        return hub_id
    folder, _, name = path.rpartition("/")
    if name in _TOKENIZER_FILES:
        return folder or ("/" if path.startswith("/") else ".")
    if name.endswith(_TOKENIZER_SUFFIXES):
        raise EngineConfigError(
            f"generator.tokenizer_path: {path!r} is not accepted, because vLLM reads a tokenizer under certain names "
            f"only; accepted: a folder, or a file called {', '.join(_TOKENIZER_FILES)} (a link with that name will do)"
        )
    return path


def _flag(name: str) -> str:
    head, dot, rest = name.partition(".")  # what follows a dot is a key in a map, not vLLM's own spelling
    return "--" + head.replace("_", "-") + dot + rest


def _arguments(name: str, value: Any) -> list[str]:
    """An argument as vLLM's command line has it; a null is the engine's default, so nothing."""
    argument = engine_arguments.table("vllm").arguments.get(name)
    form, many = (argument.form, argument.many) if argument else ("value", False)
    if value is None or (value is False and form == "flag"):
        return []
    if isinstance(value, bool) and form in {"switch", "flag"}:
        return [_flag(name if value else "no_" + name)]
    texts = [_text(item) for item in value] if many and isinstance(value, list) else [_text(value)]
    if form == "repeated":
        return [part for text in texts for part in (_flag(name), text)]
    return [_flag(name), *texts]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
