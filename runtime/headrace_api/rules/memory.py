"""Whether the model fits the GPU's memory: a sum that is shown term by term, as a warning.

An estimate to within some percent: activations and the engine's own buffers are in the safety margin.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import number_sizes
from headrace_api.rules.finding import Facts, Finding, Rule, at
from headrace_api.rules.parameters import Dimensions, dimensions

_GIB = 2**30
_SEQUENCES = 256
"""Sequences at a time where nothing says otherwise: vLLM's default."""


@dataclass(frozen=True)
class Sum:
    """GiB that one GPU needs, by term."""

    weights: float
    kv_cache: float
    margin: float

    @property
    def total(self) -> float:
        """All terms."""
        return self.weights + self.kv_cache + self.margin


def needed(spec: InferenceModelSpec, facts: Facts) -> Sum | None:
    """What one GPU of the model's needs; None where the model's size, the GPU or the lengths are not known."""
    size = dimensions(facts.model_config or {})
    share = spec.scaling.num_gpus_per_worker
    # a share above 1 or below 1 is what another rule speaks of; here it is whether there are GPUs
    gpus = spec.scaling.num_workers if share is None or share > 0 else 0
    memory = facts.gpu_memory(spec)
    if size is None or memory is None or not gpus:
        return None
    config = facts.model_config or {}
    tensor = max(gpus // spec.engine.pipeline_parallel_size, 1)
    kwargs, copies = spec.engine.engine_kwargs, size.cache_copies(tensor)
    return Sum(
        weights=number_sizes.of_all_weights(size, kwargs, config) / gpus / _GIB,
        kv_cache=_tokens(spec, config)
        * size.kv_values_per_token
        * number_sizes.of_cache(kwargs)
        * copies
        / gpus
        / _GIB,
        margin=memory * spec.engine.memory.memory_safety_margin,
    )


def _fits(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    total, have = needed(spec, facts), facts.gpu_memory(spec)
    size = dimensions(facts.model_config or {})
    if total is None or size is None or have is None or total.total <= have or spec.engine.type == "LlamaCppEngine":
        return
    message = (
        f"each GPU needs {total.weights:.1f} GiB for weights ({_billions(size)}) + {total.kv_cache:.1f} GiB for the KV "
        f"cache of {_lengths(spec, facts)} + {total.margin:.1f} GiB margin = {total.total:.1f} GiB, and has "
        f"{have:.1f} GiB"
    )
    if total.weights + total.margin > have:
        least = next(
            (n for n in range(2, 65) if total.weights * spec.scaling.num_workers / n + total.margin < have), None
        )
        more = f"numWorkers to {least} or more, or " if least else ""
        hint = f"the weights alone do not fit: set {more}use a quantized model"
        yield Finding("HR501", "warning", at("scaling.numWorkers"), message, hint)
    else:
        hint = "lower maxTotalTokens or engineKwargs.max_num_seqs; else long requests wait for each other"
        yield Finding("HR502", "warning", at("engine.maxTotalTokens"), message, hint)


def _weights_fit(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    yield from (finding for finding in _fits(spec, facts) if finding.code == "HR501")


def _cache_fits(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    yield from (finding for finding in _fits(spec, facts) if finding.code == "HR502")


def _billions(size: Dimensions) -> str:
    return f"{size.parameters / 1e9:.2f} billion parameters"


def _lengths(spec: InferenceModelSpec, facts: Facts) -> str:
    sequences = _sequences(spec)
    return f"{sequences} sequences of {_tokens(spec, facts.model_config or {}) // sequences} tokens"


def _tokens(spec: InferenceModelSpec, config: Mapping[str, Any]) -> int:
    """Tokens in the KV cache when all sequences are as long as they may be."""
    given = spec.engine.max_total_tokens or _positive(spec.engine.engine_kwargs.get("max_model_len"))
    longest = given or next((n for key in _LENGTHS if (n := _positive(config.get(key)))), 0)
    return longest * _sequences(spec)


_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")


def _sequences(spec: InferenceModelSpec) -> int:
    asked = _positive(spec.engine.engine_kwargs.get("max_num_seqs")) or spec.engine.max_num_sequences or _SEQUENCES
    return min(asked, spec.deployment.max_concurrent_queries or asked)


def _positive(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


RULES = (
    Rule("HR501", "warning", "the weights fit the memory of the GPUs they are divided over", _weights_fit),
    Rule("HR502", "warning", "the KV cache of all sequences at full length fits beside the weights", _cache_fits),
)
