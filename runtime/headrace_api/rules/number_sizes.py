"""Bytes of one number in an engine's memory, from its arguments and the model's config.json: for rules and workers."""

from collections.abc import Mapping
from typing import Any

from headrace_api.rules.parameters import Dimensions

_BYTES = {"float32": 4.0, "float": 4.0, "float16": 2.0, "half": 2.0, "bfloat16": 2.0, "float64": 8.0}
_QUANTIZED = {
    "awq": 0.5,
    "awq_marlin": 0.5,
    "gptq": 0.5,
    "gptq_marlin": 0.5,
    "squeezellm": 0.5,
    "bitsandbytes": 0.5,
    "fp8": 1.0,
    "deepspeedfp": 1.0,
    "experts_int8": 1.0,
    "mxfp4": 0.5,
}
"""Bytes of a weight by method of quantization; the scales beside them are in the margin."""


def of_all_weights(size: Dimensions, kwargs: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """Bytes of all weights once they are loaded: what is quantized, and the embeddings, which are not."""
    layers = (size.parameters - size.embeddings) * of_weights(kwargs, config)
    return layers + size.embeddings * of_plain_weights(kwargs)


def of_weights(kwargs: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """Bytes of a weight of a layer once it is loaded."""
    stored = config.get("quantization_config")
    method = kwargs.get("quantization")
    if isinstance(stored, Mapping):
        bits = stored.get("bits") or _compressed(stored)
        if isinstance(bits, int) and 1 <= bits <= 16:
            return bits / 8
        method = method or stored.get("quant_method")
    if isinstance(method, str) and method in _QUANTIZED:
        return _QUANTIZED[method]
    return of_plain_weights(kwargs)


def _compressed(stored: Mapping[str, Any]) -> Any:
    """Bits of a weight where config.json is by `compressed-tensors`, which has them by groups of layers."""
    groups = stored.get("config_groups")
    groups = groups.values() if isinstance(groups, Mapping) else ()
    found = (group.get("weights") for group in groups if isinstance(group, Mapping))
    return next((weights.get("num_bits") for weights in found if isinstance(weights, Mapping)), None)


def of_plain_weights(kwargs: Mapping[str, Any]) -> float:
    """Bytes of an unquantized number; like vLLM, half of a float32 checkpoint's where dtype is auto."""
    asked = kwargs.get("dtype", "auto")
    return _BYTES.get(asked, 2.0) if isinstance(asked, str) else 2.0


def of_cache(kwargs: Mapping[str, Any]) -> float:
    """Bytes of a number in the KV cache."""
    kind = kwargs.get("kv_cache_dtype", "auto")
    if kind == "fp8_ds_mla":  # 512 bytes, four scales of 4 bytes, and the 64 rotated numbers in 2 bytes each
        return 656 / 576
    if isinstance(kind, str) and kind.startswith(("fp8", "int8")):
        return 1.0
    return _BYTES.get(kind, of_plain_weights(kwargs)) if isinstance(kind, str) else 2.0


def stored(config: Mapping[str, Any]) -> float | None:
    """Bytes of a number in the checkpoint's files; None where they are quantized or it is not said."""
    inside = config.get("text_config")
    kind = config.get("dtype") or config.get("torch_dtype")
    if kind is None and isinstance(inside, Mapping):
        kind = inside.get("dtype") or inside.get("torch_dtype")
    quantized = config.get("quantization_config")
    return None if quantized or not isinstance(kind, str) else _BYTES.get(kind)
