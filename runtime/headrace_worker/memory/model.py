"""What a model needs of memory, read from its own files: config.json and the weights' sizes, or a GGUF header."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_api.rules import number_sizes
from headrace_api.rules.parameters import dimensions
from headrace_worker.memory import gguf_header, gguf_windows

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.pt", "rank*.engine")
"""In this order; the first kind that is there is what an engine loads."""
_SECOND_COPY = "consolidated"
"""Files of the same weights in the form of their authors, beside those that engines load."""
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
"""How llama.cpp names the parts of a model in several files."""
_CACHE_TYPES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_0": 22 / 32,
    "q5_1": 24 / 32,
    "q4_0": 18 / 32,
    "q4_1": 20 / 32,
    "iq4_nl": 18 / 32,
}
"""llama.cpp's types of cache, in bytes per number: a block of 32 with its scales."""
_NOT_ONLY_KEYS_AND_VALUES = (
    *("ssm.", "wkv.", "shortconv.", "full_attention_interval", "kda."),
    *("attention.key_length_swa", "attention.shared_kv_layers", "attention.indexer."),
)
"""How keys of a GGUF header begin where layers keep a state instead (Jamba, Nemotron-H, Qwen3-Next), or do not cache
the same (Gemma 4, Gemma 3n, DeepSeek-V3.2)."""


@dataclass(frozen=True)
class Model:
    """Sizes in bytes, of the whole model on all GPUs together."""

    weights: int
    """As loaded."""
    cache_per_token: float = 0.0
    """KV cache of one token in the layers that keep every token; 0 here and in the next: not known."""
    windowed_per_token: float = 0.0
    """The same in layers with a sliding window, which keep the last `window` tokens."""
    full_layers: int = 0
    """Layers that keep every token."""
    windowed_layers: int = 0
    window: int = 0
    """As the model has it; engines keep some tokens more."""
    longest: int | None = None
    """Tokens that the model was made for."""
    layers: int = 0
    hidden: int = 0
    inner: int = 0
    """Width of the feed-forward part."""
    vocabulary: int = 0
    number: float = 2.0
    """Bytes of a number between layers."""
    kv_heads: int = 1
    latent: bool = False
    """Whether each GPU holds the whole cache (multi-head latent attention)."""

    def copies(self, tensor: int) -> float:
        """How often `tensor` GPUs hold the cache."""
        return float(tensor) if self.latent else max(tensor / self.kv_heads, 1.0)

    def cache(self, tokens: int) -> float:
        """Bytes that the cache of one sequence of so many tokens takes."""
        return self.cache_per_token * tokens + self.windowed_per_token * min(tokens, self.window)

    def tokens(self, room: float) -> int:
        """The longest sequence whose cache fits into `room` bytes."""
        both = self.cache_per_token + self.windowed_per_token
        if not both or room <= 0:
            return 0
        if room <= both * self.window or not self.windowed_per_token:
            return int(room / both)
        rest = room - self.windowed_per_token * self.window
        return int(rest / self.cache_per_token) if self.cache_per_token else 2**31


def read(weights: str, kwargs: Mapping[str, Any]) -> Model | None:
    """The model at a path, as an engine with these arguments loads it; None where it is not on this machine."""
    path = Path(weights)
    if path.is_file() and path.suffix == ".gguf":
        return _of_gguf(path, kwargs)
    return _of_folder(path, kwargs) if path.is_dir() else None


def _of_folder(folder: Path, kwargs: Mapping[str, Any]) -> Model | None:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        config = {}
    config = config if isinstance(config, dict) else {}
    return of_config(config, _bytes_on_disk(folder), kwargs)


def of_config(config: Mapping[str, Any], on_disk: int, kwargs: Mapping[str, Any]) -> Model | None:
    """The model of a config.json whose weights' files have so many bytes, 0 where they are not there.

    Weights are loaded as another type than they are stored in where the arguments say so.
    """
    size = dimensions(config)
    stored = number_sizes.stored(config)
    plain = number_sizes.of_plain_weights(kwargs)
    loaded = on_disk * plain / stored if stored and not kwargs.get("quantization") else on_disk
    if size is None:
        return Model(weights=int(loaded), number=plain) if on_disk else None
    per_layer = size.kv_values_per_layer * number_sizes.of_cache(kwargs)
    return Model(
        weights=int(loaded or number_sizes.of_all_weights(size, kwargs, config)),
        cache_per_token=per_layer * size.cached_layers,
        windowed_per_token=per_layer * size.windowed_layers,
        full_layers=size.cached_layers,
        windowed_layers=size.windowed_layers,
        window=size.window,
        longest=size.positions or None,
        layers=size.layers,
        hidden=size.hidden,
        inner=size.inner,
        vocabulary=size.vocabulary,
        number=plain,
        kv_heads=size.kv_heads,
        latent=size.latent > 0,
    )


def _bytes_on_disk(folder: Path) -> int:
    for pattern in _WEIGHTS:
        files = sorted(folder.glob(pattern))
        first = [file for file in files if not file.name.startswith(_SECOND_COPY)] or files
        if first:
            return sum(file.stat().st_size for file in first)
    return 0


def _of_gguf(path: Path, kwargs: Mapping[str, Any]) -> Model | None:
    try:
        header = gguf_header.read(path)
    except (OSError, ValueError):
        return None  # the engine says what is wrong with the file
    parts = (
        path.parent.glob(path.name.replace(found[0], "-*-of-*.gguf")) if (found := _PART.search(path.name)) else [path]
    )
    return of_gguf(header, sum(part.stat().st_size for part in parts), kwargs)


def of_gguf(header: Mapping[str, Any], on_disk: int, kwargs: Mapping[str, Any]) -> Model:
    """The model of a GGUF header, as llama.cpp caches it; the names are the format's own."""
    family = str(header.get("general.architecture"))
    said = {key.removeprefix(f"{family}."): value for key, value in header.items()}
    layers, hidden, heads = (_whole(said, name) for name in ("block_count", "embedding_length", "attention.head_count"))
    if not (layers and hidden and heads) or any(key.startswith(_NOT_ONLY_KEYS_AND_VALUES) for key in said):
        return Model(weights=on_disk, longest=said.get("context_length"))
    kv_heads = said.get("attention.head_count_kv") or heads
    by_layer = kv_heads if isinstance(kv_heads, list) else [kv_heads] * layers
    key, value = (_whole(said, f"attention.{one}_length") or hidden // heads for one in ("key", "value"))
    if said.get("attention.key_length_mla"):  # multi-head latent attention: values are part of the keys
        value = 0
    per_head = key * _cache_type(kwargs, "cache_type_k") + value * _cache_type(kwargs, "cache_type_v")
    window = gguf_windows.of(family, said, layers)
    windowed = [count for count, has in zip(by_layer, window.layers, strict=False) if has]
    return Model(
        weights=on_disk,
        cache_per_token=(sum(by_layer) - sum(windowed)) * per_head,
        windowed_per_token=sum(windowed) * per_head,
        full_layers=len(by_layer) - len(windowed),
        windowed_layers=len(windowed),
        window=window.tokens,
        longest=said.get("context_length"),
        layers=layers,
        hidden=hidden,
        kv_heads=max(by_layer),
    )


def _whole(said: Mapping[str, Any], name: str) -> int:
    """A whole number of the header; 0 where it is not there, or differs by layer."""
    value = said.get(name)
    return value if isinstance(value, int) else 0


def _cache_type(kwargs: Mapping[str, Any], name: str) -> float:
    return _CACHE_TYPES.get(str(kwargs.get(name) or "f16"), 2.0)
