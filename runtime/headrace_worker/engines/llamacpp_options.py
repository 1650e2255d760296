"""The llama.cpp parameters that `engine_kwargs` may set, under llama.cpp's own names (those of `CommonParams`).

The table is short on purpose: parameters of the server's HTTP side (addresses, keys, user interface) are the worker's
business, and those of llama.cpp's other programs do nothing in a server.
"""

from collections.abc import Mapping
from typing import Any

from headrace_worker.engines.protocol import EngineConfigError

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

OPTIONS: Mapping[str, type | tuple[str, ...]] = {
    "n_parallel": int,
    "n_ctx": int,
    "n_batch": int,
    "n_ubatch": int,
    "n_threads": int,
    "n_threads_batch": int,
    "n_gpu_layers": int,
    "main_gpu": int,
    "split_mode": ("none", "layer", "row", "tensor"),
    "tensor_split": list,
    "flash_attn": ("auto", "enabled", "disabled"),
    "cache_type_k": CACHE_TYPES,
    "cache_type_v": CACHE_TYPES,
    "kv_unified": bool,
    "no_kv_offload": bool,
    "swa_full": bool,
    "ctx_shift": bool,
    "cache_prompt": bool,
    "cache_ram_mib": int,
    "n_cache_reuse": int,
    "n_predict": int,
    "n_keep": int,
    "load_mode": ("auto", "none", "mmap", "mlock", "mmap_mlock", "direct_io"),
    "numa": ("disabled", "distribute", "isolate", "numactl"),
    "rope_scaling": ("none", "linear", "yarn", "longrope"),
    "rope_freq_base": float,
    "rope_freq_scale": float,
    "yarn_orig_ctx": int,
    "chat_template": str,
    "chat_template_kwargs": dict,
    "reasoning_format": ("none", "auto", "deepseek", "deepseek_legacy"),
    "warmup": bool,
    "verbosity": int,
}
"""Each option's type, or the words that it accepts."""

_TYPE_NAMES: Mapping[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list of numbers",
    dict: "a table of text values",
}

_SET_BY_THE_WORKER = {
    "model": "hf_model_id or weight_set_directories names it",
    "model_alias": "queue.checkpoint_name or model_id is the name",
    "port": "the worker picks a free one",
    "hostnames": "the engine listens on loopback only",
    "use_jinja": "chat templates are always rendered with Jinja",
}


def checked(engine_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, each known and of an accepted value.

    Raises:
        EngineConfigError: the first one that is not; the message names it and what is accepted.
    """
    for name, value in engine_kwargs.items():
        _check(name, value)
    return dict(engine_kwargs)


def _check(name: str, value: Any) -> None:
    key = f"generator.engine_kwargs.{name}"
    if name in _SET_BY_THE_WORKER:
        raise EngineConfigError(f"{key}: the worker sets it itself: {_SET_BY_THE_WORKER[name]}")
    if name not in OPTIONS:
        raise EngineConfigError(f"{key}: unknown to LlamaCppEngine; accepted: {', '.join(sorted(OPTIONS))}")
    accepted = OPTIONS[name]
    if isinstance(accepted, tuple):
        good, words = value in accepted, " or ".join(accepted)
    else:
        good, words = _is_a(value, accepted), _TYPE_NAMES[accepted]
    if name == "n_parallel" and good:
        good, words = value >= 1, "a whole number from 1"
    if not good:
        raise EngineConfigError(f"{key}: {value!r} is not accepted; accepted: {words}")


def _is_a(value: Any, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(_is_a(item, float) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    if isinstance(value, bool):  # to Python a bool is an int, to a reader of the file it is not
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
