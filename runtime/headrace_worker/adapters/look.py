"""What a fetched adapter is, by its files: the peft library's folder, or llama.cpp's GGUF file."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace_api.worker_config import Adapter
from headrace_worker.memory import gguf_header

_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")


class AdapterError(RuntimeError):
    """An adapter cannot be served; the message says why and, where that is known, what to do."""


class NeedsRestartError(AdapterError):
    """This engine has the adapters that it was started with, and will not have this one before it is started anew."""


def _nothing() -> None:
    """For files that nobody takes away."""


@dataclass(frozen=True)
class Here:
    """An adapter on this machine, in the form that the engine loads."""

    adapter: Adapter
    path: Path
    rank: int | None = None
    """Of its matrices, as far as it says."""
    close: Callable[[], None] = field(default=_nothing, compare=False)
    """Let go of its files: the engine does not need them any more."""


def look(adapter: Adapter, path: Path, engine: str, close: Callable[[], None] = _nothing) -> Here:
    """See whether the engine can load what is there.

    Args:
        adapter: what is asked for.
        path: where its files are.
        engine: the engine's name.
        close: see `Here.close`.

    Raises:
        AdapterError: it cannot.
    """
    if engine == "LlamaCppEngine":
        return Here(adapter, _gguf(path), close=close)
    return Here(adapter, path, _rank(path), close)


def _rank(folder: Path) -> int | None:
    try:
        config: Any = json.loads((folder / _CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise AdapterError(f"{str(folder)!r} is no LoRA adapter: {_CONFIG} cannot be read: {error}") from error
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise AdapterError(f"{str(folder)!r} is no LoRA adapter: it has none of {', '.join(_WEIGHTS)}")
    rank = config.get("r") if isinstance(config, dict) else None
    return rank if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 else None


def _gguf(path: Path) -> Path:
    files = sorted(path.glob("*.gguf")) if path.is_dir() else [path]
    if len(files) != 1:
        raise AdapterError(f"{str(path)!r} has {len(files)} .gguf files; llama.cpp needs the one of a LoRA adapter")
    try:
        kind = gguf_header.read(files[0]).get("general.type")
    except (OSError, ValueError) as error:
        raise AdapterError(f"{str(files[0])!r} is no GGUF LoRA adapter: {error}") from error
    if kind != "adapter":
        raise AdapterError(f"{str(files[0])!r} is no LoRA adapter: its general.type is {kind!r}")
    return files[0]
