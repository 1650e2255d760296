"""`type = "luminous"`: whichever engine can load what the checkpoint's folder holds, told from the names of its files.

The rule, in this order: a built TensorRT-LLM engine is TRTLLMEngine's; a sentence-transformers model is
EmbeddingEngine's; a Hugging Face model is VLLMEngine's; a GGUF file is LlamaCppEngine's. A folder that holds weights of
several kinds goes to the first of these engines that is installed.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

from headrace_api.worker_config import EngineType
from headrace_worker.engines.protocol import EngineConfigError

_KEY = "generator.weight_set_directories"
_ACCEPTED = (
    "one .gguf file (LlamaCppEngine); config.json with architectures, and *.safetensors or pytorch_model*.bin "
    "(VLLMEngine); rank0.engine and config.json (TRTLLMEngine); modules.json (EmbeddingEngine)"
)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_MOST_NAMES = 20


@dataclass(frozen=True)
class Listing:
    """What a folder holds."""

    folder: str
    names: tuple[str, ...]
    architectures: tuple[str, ...] = ()
    """Those in its config.json."""


@dataclass(frozen=True)
class Found:
    """An engine, and the files that it would load."""

    engine: EngineType
    files: tuple[str, ...]


def listing(folder: str) -> Listing:
    """Look into a folder.

    Raises:
        EngineConfigError: it is not there, is no folder, or cannot be read.
    """
    try:
        names = sorted(path.name for path in Path(folder).iterdir())
    except OSError as error:
        raise EngineConfigError(
            f"{_KEY}: {folder!r} cannot be read: {error.strerror}; accepted: the folder that holds the weights"
        ) from error
    return Listing(folder, tuple(names), _architectures(Path(folder) / "config.json"))


def choose(found_in: Listing, installed: Collection[str]) -> Found:
    """The engine for a folder. Pure.

    Raises:
        EngineConfigError: no engine can load what is there, or none that is installed; the message says what was found.
    """
    candidates = list(_candidates(found_in))
    for candidate in candidates:
        if candidate.engine in installed:
            return candidate
    if not candidates:
        raise EngineConfigError(
            f"{_KEY}: {found_in.folder!r} holds no weights that an engine can load; found: {_found(found_in)}; "
            f"accepted: {_ACCEPTED}"
        )
    held = "; ".join(f"{item.engine} ({', '.join(item.files[:3])})" for item in candidates)
    raise EngineConfigError(
        f"{_KEY}: {found_in.folder!r} holds weights for an engine that this worker does not have; found: {held}; "
        f"this worker has: {', '.join(sorted(set(installed) & set(get_args(EngineType)))) or 'none'}"
    )


def _candidates(found_in: Listing) -> Iterator[Found]:
    names = found_in.names
    if {"rank0.engine", "config.json"} <= set(names):
        yield Found("TRTLLMEngine", ("rank0.engine", "config.json"))
    weights = _matching(names, *_WEIGHTS)
    if "modules.json" in names:
        yield Found("EmbeddingEngine", ("modules.json", *weights))
    elif found_in.architectures and weights:
        yield Found("VLLMEngine", ("config.json", *weights))
    if files := _matching(names, "*.gguf"):
        yield Found("LlamaCppEngine", files)


def _matching(names: Collection[str], *patterns: str) -> tuple[str, ...]:
    return tuple(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))


def _found(found_in: Listing) -> str:
    names = [
        "config.json without architectures" if name == "config.json" and not found_in.architectures else name
        for name in found_in.names
    ]
    more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join(names[:_MOST_NAMES] + more) or "nothing"


def _architectures(config: Path) -> tuple[str, ...]:
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ()
    names = content.get("architectures") if isinstance(content, dict) else None
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
