"""The llama.cpp engine's process: `python -m headrace_worker.engines.llamacpp_server '{"model": …, "port": …}'`.

`xllamacpp` has no command of its own; creating its `Server` starts llama.cpp's native HTTP server in this process. The
process is the engine: it serves until SIGTERM.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import xllamacpp

_ENUMS: Mapping[str, tuple[str, Any, str]] = {
    "split_mode": ("split_mode", xllamacpp.llama_split_mode, "LLAMA_SPLIT_MODE_"),
    "flash_attn": ("flash_attn_type", xllamacpp.llama_flash_attn_type, "LLAMA_FLASH_ATTN_TYPE_"),
    "cache_type_k": ("cache_type_k", xllamacpp.ggml_type, "GGML_TYPE_"),
    "cache_type_v": ("cache_type_v", xllamacpp.ggml_type, "GGML_TYPE_"),
    "load_mode": ("load_mode", xllamacpp.llama_load_mode, "LLAMA_LOAD_MODE_"),
    "numa": ("numa", xllamacpp.ggml_numa_strategy, "GGML_NUMA_STRATEGY_"),
    "rope_scaling": ("rope_scaling_type", xllamacpp.llama_rope_scaling_type, "LLAMA_ROPE_SCALING_TYPE_"),
    "reasoning_format": ("reasoning_format", xllamacpp.common_reasoning_format, "COMMON_REASONING_FORMAT_"),
}
"""Option -> field, enumeration and the prefix of its members."""


def parameters(request: Mapping[str, Any]) -> Any:
    """`xllamacpp.CommonParams` for the server's model, alias, port and options (see `llamacpp_options`)."""
    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.model_alias = {request["alias"]}
    params.port = request["port"]
    params.use_jinja = True
    params.ui = False
    for name, value in request["options"].items():
        _set(params, name, value)
    return params


def _set(params: Any, name: str, value: Any) -> None:
    if name in _ENUMS:
        field, enum, prefix = _ENUMS[name]
        setattr(params, field, enum[prefix + value.upper()])
        return
    special = _special(params).get(name)
    if special:
        special(value)
    else:
        setattr(params, name, value)


def _special(params: Any) -> Mapping[str, Callable[[Any], None]]:
    """Options that are not one field of the same name."""

    def tensor_split(shares: list[float]) -> None:
        params.tensor_split = [*shares, *([0.0] * (len(params.tensor_split) - len(shares)))]

    return {
        "n_threads": lambda n: setattr(params.cpuparams, "n_threads", n),
        "n_threads_batch": lambda n: setattr(params.cpuparams_batch, "n_threads", n),
        "chat_template_kwargs": lambda kwargs: setattr(params, "default_template_kwargs", kwargs),
        "tensor_split": tensor_split,
    }


def main() -> None:
    """Load the model, serve until SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = xllamacpp.Server(parameters(json.loads(sys.argv[1])))
    sys.stderr.write(f"llama.cpp serves at {server.listening_address}\n")
    stopped.wait()


if __name__ == "__main__":
    main()
