"""EmbeddingEngine: vLLM's pooling runner where there is a vLLM that knows the model, else sentence-transformers.

The second is `embedding_server`, a small server of our own: it is light, runs on CPUs, and can run a model as ONNX.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.engines import arguments
from headrace_worker.engines.protocol import (
    EngineApi,
    EngineCommand,
    EngineConfigError,
    EngineFacts,
    embedding_api,
)
from headrace_worker.engines.vllm import Vllm

SENTENCE_TRANSFORMERS = "sentence-transformers"
"""In `EngineFacts.available`: there is an interpreter that has it."""

VLLM_EMBEDS = frozenset(
    {
        *("BertModel", "BgeM3EmbeddingModel", "DeepseekV3BidirectionalModel", "Gemma2Model", "Gemma3TextModel"),
        *("GteModel", "GteNewModel", "JinaEmbeddingsV5Model", "LlamaBidirectionalModel", "LlamaModel", "MistralModel"),
        *("ModernBertModel", "NomicBertModel", "Qwen2Model", "Qwen2ForCausalLM", "RobertaForMaskedLM", "RobertaModel"),
        *("VoyageQwen3BidirectionalEmbedModel", "XLMRobertaModel", "LlamaForCausalLM", "MistralForCausalLM"),
        *("Phi3ForCausalLM", "BertForMaskedLM"),
    }
)
"""Architectures of text whose embeddings vLLM knows (vllm/model_executor/models/registry.py of 0.32.0)."""

_SERVER = Path(__file__).with_name("embedding_server.py")
_DEFAULT_BATCH = 32
_TAKEN = {"dtype": "dtype", "trust_remote_code": "trust_remote_code", "revision": "revision"}
"""`engine_kwargs` that mean something to sentence-transformers, by vLLM's names."""


class Embedding:
    """Embeddings of texts: `/v1/embeddings`."""

    def locate(self, generator: Generator) -> str:
        """The source itself: both programs take a folder or a Hugging Face id."""
        return generator.source

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        """See `Engine.command`."""
        arguments.refuse_wrong(generator, "EmbeddingEngine")
        _refuse_what_embeddings_lack(generator)
        if _on_vllm(generator, facts):
            return Vllm(runner="pooling").command(_for_vllm(generator, self.slots(generator)), facts)
        return _sentence_transformers(generator, facts)

    def slots(self, generator: Generator) -> int:
        """Two batches (`max_batch_size`, 32 when absent): one that is worked on and one that fills up meanwhile."""
        return 2 * _batch(generator)

    def request_defaults(self, generator: Generator) -> Mapping[str, list[Any]]:
        """None: nothing is generated, so that nothing stops it."""
        if generator.generation.stopping_sequences:
            _refuse("generation.stopping_sequences", generator.generation.stopping_sequences, "no text is generated")
        return {}

    def api(self, generator: Generator) -> EngineApi:
        """The same for both programs, but for the names of their metrics."""
        del generator
        return replace(embedding_api(), metrics_path="/metrics", metrics_prefix=("vllm:", "embeddings_"))


def _on_vllm(generator: Generator, facts: EngineFacts) -> bool:
    """Which of the two programs.

    Raises:
        EngineConfigError: neither can do it here.
    """
    known = not facts.architectures or bool(VLLM_EMBEDS.intersection(facts.architectures))
    vllm, light = "VLLMEngine" in facts.available, SENTENCE_TRANSFORMERS in facts.available
    if generator.optimize is None and vllm and known:
        return True
    if light:
        return False
    why = (
        "vLLM has no ONNX"
        if generator.optimize
        else f"vLLM has no embeddings of {', '.join(facts.architectures)}"
        if vllm
        else "there is no vLLM either"
    )
    key = f"optimize: {generator.optimize!r}" if generator.optimize else "type: 'EmbeddingEngine'"
    raise EngineConfigError(
        f"generator.{key} needs sentence-transformers, which is not installed ({why}): install headrace[embeddings], "
        "or name an interpreter that has it in HEADRACE_EMBEDDINGS_PYTHON"
    )


def _for_vllm(generator: Generator, slots: int) -> Generator:
    """The same as vLLM shall read it; vLLM never waits for a batch, so that no `batch_wait_timeout_s` is passed."""
    kwargs = generator.engine_kwargs
    if generator.max_batch_size is None and "max_num_seqs" in {name.replace("-", "_") for name in kwargs}:
        return generator
    return generator.model_copy(update={"engine_kwargs": {**kwargs, "max_num_seqs": slots // 2}})


def _sentence_transformers(generator: Generator, facts: EngineFacts) -> EngineCommand:
    known = {name.replace("-", "_"): value for name, value in generator.engine_kwargs.items() if value is not None}
    for name, value in known.items():
        if name not in _TAKEN and name != "max_num_seqs":
            reason = f"sentence-transformers, which runs this model, takes {', '.join([*_TAKEN, 'max_num_seqs'])} only"
            _refuse(f"engine_kwargs.{name}", value, reason)
    if generator.tensor_parallel_size > 1:
        _refuse("tensor_parallel_size", generator.tensor_parallel_size, "sentence-transformers runs on one device")
    told = {
        "model": facts.weights,
        "served_name": facts.served_name,
        "port": facts.port,
        "max_batch_size": _batch(generator),
        "batch_wait_timeout_s": generator.batch_wait_timeout_s or 0.0,
        "max_total_tokens": generator.max_total_tokens,
        "backend": generator.optimize or "torch",
        "tokenizer": generator.tokenizer_path or generator.tokenizer_id,
        "skip_checkpoint_load": generator.unstable.skip_checkpoint_load,
        "options": {name: value for name, value in known.items() if name in _TAKEN},
    }
    # -P: the folder of this file is no place to import from, as it has modules called like their engines
    argv = [facts.programs.embeddings or facts.programs.python, "-P", str(_SERVER), json.dumps(told)]
    return EngineCommand(argv, dict(generator.runtime_env.env_vars))


def _batch(generator: Generator) -> int:
    kwargs = generator.engine_kwargs
    given = generator.max_batch_size or kwargs.get("max_num_seqs") or kwargs.get("max-num-seqs")
    return int(given) if given else _DEFAULT_BATCH


def _refuse_what_embeddings_lack(generator: Generator) -> None:
    if generator.generation.prompt_format is not None:
        _refuse("generation.prompt_format", "a table", "texts are embedded as they are")
    if generator.generation.generate_kwargs:
        _refuse("generation.generate_kwargs", generator.generation.generate_kwargs, "no text is generated")
    if generator.model_type not in {None, "embedding", "text-embedding"}:
        _refuse("model_type", generator.model_type, "this engine embeds; write embedding")
    if generator.pipeline_parallel_size > 1:
        _refuse("pipeline_parallel_size", generator.pipeline_parallel_size, "embedding models are small")


def _refuse(key: str, value: Any, reason: str) -> None:
    raise EngineConfigError(f"generator.{key}: {value!r} is not accepted with EmbeddingEngine: {reason}; leave it out")
