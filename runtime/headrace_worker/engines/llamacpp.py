"""llama.cpp: the native server inside `xllamacpp`, run as a child process by `llamacpp_server`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace_api import refusals
from headrace_api.worker_config import Generator
from headrace_worker.engines import arguments, gguf, prompt_formats
from headrace_worker.engines.protocol import (
    TOKENIZE_PATH,
    Counting,
    EngineApi,
    EngineCommand,
    EngineConfigError,
    EngineFacts,
    embedding_api,
    text_api,
)

_DEFAULT_SLOTS = 4


class LlamaCpp:
    """llama.cpp's server with a GGUF model."""

    def locate(self, generator: Generator) -> str:
        """The GGUF file: `source` itself, or the one meant in the folder `source` (see `gguf.choose_files`)."""
        if Path(generator.source).is_file():
            return generator.source
        name, quant = gguf.split_name(generator.source)
        folder = Path(name)
        if not folder.is_dir():
            raise EngineConfigError(
                f"generator: {name!r} is neither a file nor a folder; llama.cpp needs the path of a .gguf file, or of "
                "a folder with one (or with several: then name:Q4_K_M says which), in weight_set_directories, "
                "hf_model_id or model_id"
            )
        try:
            files = gguf.choose_files((str(path.relative_to(folder)) for path in folder.rglob("*")), quant)
        except gguf.GgufError as error:
            raise EngineConfigError(f"generator: in the folder {name!r}: {error}") from error
        return str(folder / files[0])

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        """See `Engine.command`: `llamacpp_server` gets the parameters as one JSON argument."""
        _refuse_what_llamacpp_lacks(generator)
        arguments.refuse_wrong(generator, "LlamaCppEngine")
        parameters = {
            "model": facts.weights,
            "alias": facts.served_name,
            "port": facts.port,
            **({"adapters": list(facts.adapters)} if facts.adapters else {}),
            "options": {"endpoint_metrics": True}
            | {name: value for name, value in generator.engine_kwargs.items() if value is not None}
            | {"n_parallel": self.slots(generator)}
            | _context(generator, self.slots(generator))
            | _chat_template(generator),
        }
        argv = [facts.programs.python, "-m", "headrace_worker.engines.llamacpp_server", json.dumps(parameters)]
        return EngineCommand(argv, dict(generator.runtime_env.env_vars))

    def slots(self, generator: Generator) -> int:
        """`engine_kwargs.n_parallel`, 4 when absent."""
        arguments.refuse_wrong(generator, "LlamaCppEngine")
        value = generator.engine_kwargs.get("n_parallel")
        return _DEFAULT_SLOTS if value is None else int(value)

    def request_defaults(self, generator: Generator) -> Mapping[str, list[Any]]:
        """Text becomes `stop`; llama.cpp's server has no stop at token ids."""
        sequences = generator.generation.stopping_sequences
        for sequence in sequences:
            if not refusals.llamacpp_stops_at(sequence):
                raise EngineConfigError(
                    f"generator.generation.stopping_sequences: {sequence!r} is not accepted, because llama.cpp cannot "
                    "stop at token ids; accepted: text (the model's own end tokens always stop it)"
                )
        return {"stop": list(sequences)} if sequences else {}

    def api(self, generator: Generator) -> EngineApi:
        """With `engine_kwargs.embedding` it embeds; otherwise it generates text."""
        embeds = generator.engine_kwargs.get("embedding") is True
        return replace(
            embedding_api() if embeds else text_api(TOKENIZE_PATH),
            metrics_path="" if generator.engine_kwargs.get("endpoint_metrics") is False else "/metrics",
            metrics_prefix="llamacpp:",
            continues=not embeds,
            counting=None if embeds else Counting("/apply-template", {"add_special": True, "parse_special": True}),
            renamed={TOKENIZE_PATH: {"prompt": "content"}},
        )


def _context(generator: Generator, slots: int) -> dict[str, int]:
    """llama.cpp shares `n_ctx` out among its slots, so a slot's own length is multiplied."""
    return {"n_ctx": generator.max_total_tokens * slots} if generator.max_total_tokens else {}


def _chat_template(generator: Generator) -> dict[str, str]:
    template = prompt_formats.template(generator)
    return {"chat_template": template} if template else {}


def _refuse_what_llamacpp_lacks(generator: Generator) -> None:
    refused = {
        "tensor_parallel_size": (generator.tensor_parallel_size, 1, "use engine_kwargs.split_mode and tensor_split"),
        "pipeline_parallel_size": (generator.pipeline_parallel_size, 1, "use engine_kwargs.split_mode"),
        "tokenizer_path": (generator.tokenizer_path, None, "a GGUF file holds its tokenizer"),
        "tokenizer_id": (generator.tokenizer_id, None, "a GGUF file holds its tokenizer"),
        "unstable.skip_checkpoint_load": (generator.unstable.skip_checkpoint_load, False, "it always loads the model"),
    }
    for key, (value, accepted, why) in refused.items():
        if value != accepted:
            raise EngineConfigError(
                f"generator.{key}: {value!r} is not accepted with LlamaCppEngine: {why}; leave it out"
            )
