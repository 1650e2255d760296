"""The llama.cpp engine's process: `python -m headrace_worker.engines.llamacpp_server '{"model": …, "port": …}'`.

`xllamacpp` has no command of its own; creating its `Server` starts llama.cpp's native HTTP server in this process. The
process is the engine: it serves until SIGTERM.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import xllamacpp

from headrace_api.engine_arguments import table


def parameters(request: Mapping[str, Any]) -> Any:
    """`xllamacpp.CommonParams` for the model, its alias, the port and options (see `headrace_api.engine_arguments`)."""
    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.model_alias = {request["alias"]}
    params.port = request["port"]
    params.lora_adapters = [_adapter(path) for path in request.get("adapters", ())]
    params.use_jinja = True
    params.ui = False
    for name, value in request["options"].items():
        _set(params, name, value)
    return params


def _adapter(path: str) -> Any:
    """An adapter that is loaded but not used, unless a request asks for it."""
    info = xllamacpp.CommonAdapterLoraInfo()
    info.path, info.scale = path, 0.0
    return info


def _set(params: Any, name: str, value: Any) -> None:
    *path, field = (table("llamacpp").arguments[name].target or name).split(".")
    for part in path:
        params = getattr(params, part)
    now = getattr(params, field)
    if isinstance(now, IntEnum):
        value = _member(type(now), value)
    elif isinstance(now, list) and now and isinstance(now[0], float):  # of a fixed length: tensor_split
        value = [*value, *([0.0] * (len(now) - len(value)))]
    setattr(params, field, value)


def _member(enum: type[IntEnum], word: str) -> IntEnum:
    """The member whose name, without what all of them begin with, is the word: `none` is LLAMA_SPLIT_MODE_NONE."""
    prefix = next(iter(enum.__members__))
    for name in enum.__members__:
        while not name.startswith(prefix):
            prefix = prefix[:-1]
    return enum[prefix[: prefix.rindex("_") + 1] + word.upper()]


def main() -> None:
    """Load the model, serve until SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = xllamacpp.Server(parameters(json.loads(sys.argv[1])))
    sys.stderr.write(f"llama.cpp serves at {server.listening_address}\n")
    stopped.wait()
    # Not by an ordinary end: llama.cpp waits for its own loop then, for ever if that has not begun yet.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
