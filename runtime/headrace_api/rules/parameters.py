"""How large a model is, from the dimensions in its Hugging Face `config.json`.

The counts follow the families' published architectures: a decoder of equal layers, each with attention (query, key,
value, output) and a feed-forward part, and token embeddings that are the output layer, too, where they are tied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "vocabulary": ("vocab_size",),
}
_TIED = frozenset({"gpt2", "gemma", "gemma2", "gemma3_text", "mpt", "opt", "falcon"})
"""Families whose output layer is the embedding unless config.json says otherwise."""
_PLAIN = frozenset({"gpt2", "mpt", "opt", "phi", "falcon", "gpt_neox", "gptj"})
"""Families with two feed-forward matrices in a layer; the others have a gate as a third."""
_POSITIONS = frozenset({"gpt2", "opt"})
"""Families that learn an embedding for each position."""
_BIASED = frozenset({"gpt2", "opt", "phi"})
"""Families with a bias on every matrix."""

_FULL_EVERY = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4}
"""Families in which one layer in so many sees all tokens, the others a window."""
_LAYER_KINDS = ("full_attention", "sliding_attention", "chunked_attention")
"""Those of `layer_types` that cache keys and values, and nothing else. Of what is attended to in chunks, engines keep
all (vLLM unless it is told otherwise)."""
_RECURRENT = (
    *("attn_layer_period", "attn_layer_indices", "hybrid_override_pattern", "layers_block_type"),
    *("full_attention_interval", "linear_attn_config", "mamba_d_state", "ssm_state_size", "ssm_cfg"),
)
"""Keys of models some of whose layers keep a state instead (Jamba, Bamba, Nemotron-H, Zamba, Qwen3-Next)."""
_UNEQUAL = ("global_head_dim", "num_kv_shared_layers", "block_configs", "index_head_dim")
"""Keys of models whose layers do not cache the same: another width (Gemma 4), that of an earlier layer (Gemma 3n), none
(Llama-Nemotron), or an index beside (DeepSeek-V3.2)."""
_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
    }
}
"""What published files of a family leave out, because it is what `transformers` takes then."""


@dataclass(frozen=True)
class Dimensions:
    """A decoder's dimensions."""

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    """The feed-forward part's width, of one expert where there are several."""
    experts: int
    """1 in a dense model."""
    vocabulary: int
    positions: int
    tied: bool
    latent: int = 0
    """Numbers per token and layer that multi-head latent attention caches instead of keys and values; 0: it is none."""
    cached_layers: int = 0
    """Layers that cache every token; the others cache the last `window` tokens. Where not all layers are understood,
    none is counted."""
    windowed_layers: int = 0
    """Layers with a sliding window."""
    window: int = 0
    """Its length in tokens; 0: there is none."""

    @property
    def parameters(self) -> int:
        """All weights."""
        query, pair = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = self.hidden * (2 * query + 2 * pair)
        matrices = 2 if self.family in _PLAIN else 3
        feed_forward = matrices * self.hidden * self.inner * self.experts
        router = self.hidden * self.experts if self.experts > 1 else 0
        layer = attention + feed_forward + router + self._small(query, pair)
        return self.layers * layer + self.embeddings

    @property
    def embeddings(self) -> int:
        """Those of them that embed tokens and positions, and put tokens out; quantization leaves them as they are."""
        tokens = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return tokens + (self.positions * self.hidden if self.family in _POSITIONS else 0)

    @property
    def kv_values_per_token(self) -> int:
        """Numbers that the KV cache holds for one token, windows left aside."""
        return self.layers * self.kv_values_per_layer

    @property
    def kv_values_per_layer(self) -> int:
        """Those of one layer: a key and a value for each key-value head, or the latent vector in their place."""
        return self.latent or 2 * self.kv_heads * self.head_size

    def cache_copies(self, tensor: int) -> float:
        """How often `tensor` GPUs hold the cache: the latent vector each, and key-value heads where they are fewer."""
        return float(tensor) if self.latent else max(tensor / self.kv_heads, 1)

    def _small(self, query: int, pair: int) -> int:
        """Norms and biases of one layer."""
        norms = 4 if self.family.startswith(("gemma2", "gemma3")) else 2
        if self.family in _BIASED:
            return query + 2 * pair + 2 * self.hidden + self.inner + 2 * norms * self.hidden
        return norms * self.hidden + (query + 2 * pair if self.family == "qwen2" else 0)


def dimensions(config: Mapping[str, Any]) -> Dimensions | None:
    """The dimensions; None where config.json lacks one that is needed."""
    inside = config.get("text_config")
    if isinstance(inside, Mapping) and "hidden_size" in inside:
        config = inside
    config = {**_DEFAULTS.get(str(config.get("model_type")), {}), **config}
    found = {name: _whole(config, *keys) for name, keys in _NAMES.items()}
    hidden, layers, heads, vocabulary = (found[name] for name in _NAMES)
    if not hidden or not layers or not heads or not vocabulary:
        return None
    family = str(config.get("model_type", ""))
    window, windowed, cached = _windows(config, family, layers)
    tied = config.get("tie_word_embeddings")
    return Dimensions(
        family=family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=_kv_heads(config, family, heads),
        head_size=_whole(config, "head_dim") or hidden // heads,
        inner=_inner(config, family, hidden),
        experts=_whole(config, "num_local_experts", "num_experts") or 1,
        vocabulary=vocabulary,
        positions=_whole(config, "max_position_embeddings", "n_positions", "max_seq_len") or 0,
        tied=tied if isinstance(tied, bool) else family in _TIED,
        latent=_latent(config),
        cached_layers=cached,
        windowed_layers=windowed,
        window=window,
    )


def _latent(config: Mapping[str, Any]) -> int:
    """DeepSeek's attention caches one compressed vector and the rotated part of one key."""
    rank = _whole(config, "kv_lora_rank")
    return rank + (_whole(config, "qk_rope_head_dim") or 0) if rank else 0


def _windows(config: Mapping[str, Any], family: str, layers: int) -> tuple[int, int, int]:
    """The sliding window, the layers that have it, and the layers that cache every token."""
    if any(config.get(key) for key in (*_RECURRENT, *_UNEQUAL)):
        return 0, 0, 0
    window = _whole(config, "sliding_window") or 0
    if config.get("use_sliding_window") is False:
        window = 0
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and kinds:
        windowed = kinds.count("sliding_attention") if window else 0
        return (window, windowed, len(kinds) - windowed) if all(kind in _LAYER_KINDS for kind in kinds) else (0, 0, 0)
    if not window:
        return 0, 0, layers
    every = _whole(config, "sliding_window_pattern") or _FULL_EVERY.get(family, 0)
    full = layers // every if every else 0
    return window, layers - full, full


def _kv_heads(config: Mapping[str, Any], family: str, heads: int) -> int:
    if family == "falcon" and not config.get("new_decoder_architecture"):
        return 1 if config.get("multi_query", True) else heads
    attention = config.get("attn_config")
    nested = _whole(attention, "kv_n_heads") if isinstance(attention, Mapping) else None
    return _whole(config, "num_key_value_heads", "num_kv_heads") or nested or heads


def _inner(config: Mapping[str, Any], family: str, hidden: int) -> int:
    if family.endswith("_moe") and (expert := _whole(config, "moe_intermediate_size")):
        return expert
    given = _whole(config, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
    if given:
        return given
    ratio = _whole(config, "expansion_ratio") or 4
    return ratio * hidden


def _whole(config: Mapping[str, Any], *keys: str) -> int | None:
    """The first of the keys that holds a positive whole number."""
    given = (config.get(key) for key in keys)
    return next((one for one in given if isinstance(one, int) and not isinstance(one, bool) and 0 < one < 2**40), None)
