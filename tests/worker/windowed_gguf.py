"""A tiny model with sliding windows as a GGUF file, all of equal weights: it says nothing, and loads like real ones."""

import struct
from math import prod
from pathlib import Path
from typing import Any

from headrace_worker.memory import gguf_header
from tests.worker.worker_process import GGUF

WIDTH, LAYERS, INNER, HEADS, KV_HEADS, VOCABULARY, WINDOW = 64, 5, 128, 4, 2, 512, 1000
HEAD = WIDTH // HEADS


def write(path: Path) -> None:
    """An OLMo 2: every fourth of its layers keeps all tokens, which the header does not say."""
    about = {
        "context_length": 32768,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.sliding_window": WINDOW,
        "rope.freq_base": 1e4,
    }
    words = {key: value for key, value in gguf_header.read(GGUF).items() if key.startswith("tokenizer.ggml")}
    keys = {"general.architecture": "olmo2", **{f"olmo2.{key}": value for key, value in about.items()}, **words}
    tensors = _tensors()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_text(key) + _value(value) for key, value in keys.items())
    data = b""
    for name, shape in tensors.items():
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += _aligned(struct.pack("<f", 0.01) * prod(shape))
    path.write_bytes(_aligned(head) + data)


def _tensors() -> dict[str, tuple[int, ...]]:
    outside = {"token_embd": (WIDTH, VOCABULARY), "output_norm": (WIDTH,), "output": (WIDTH, VOCABULARY)}
    of_layer = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (WIDTH, KV_HEADS * HEAD),
        "attn_v": (WIDTH, KV_HEADS * HEAD),
        "attn_output": (WIDTH, WIDTH),
        "attn_q_norm": (WIDTH,),
        "attn_k_norm": (KV_HEADS * HEAD,),
        "post_attention_norm": (WIDTH,),
        "ffn_gate": (WIDTH, INNER),
        "ffn_up": (WIDTH, INNER),
        "ffn_down": (INNER, WIDTH),
        "post_ffw_norm": (WIDTH,),
    }
    layers = {f"blk.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in of_layer.items()}
    return {f"{name}.weight": shape for name, shape in (outside | layers).items()}


def _value(value: Any) -> bytes:
    """A value with its type, by the format's numbers."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _aligned(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 32)
