"""LoRA adapters of the sample model with random weights, in the forms that engines load."""

import json
import random
import struct
from pathlib import Path

LAYERS, HIDDEN, KV, RANK = 3, 128, 64, 4
ALPHA = 64.0
SHAPES = {"v_proj": (KV, HIDDEN), "o_proj": (HIDDEN, HIDDEN)}
_GGUF_NAMES = {"v_proj": "attn_v", "o_proj": "attn_output"}
_F32 = 0
_ALIGNMENT = 32

Tensor = tuple[tuple[int, int], bytes]
"""Rows and columns, and the numbers in float32, row by row."""


def pairs(seed: int) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
    """For each layer and matrix A (rank x input) and B (output x rank): strong enough to change what is said."""
    dice = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def tensor(rows: int, columns: int) -> Tensor:
        numbers = [dice.gauss(0, 0.3) for _ in range(rows * columns)]
        return (rows, columns), struct.pack(f"<{len(numbers)}f", *numbers)

    return {
        (layer, name): (tensor(RANK, columns), tensor(rows, RANK))
        for layer in range(LAYERS)
        for name, (rows, columns) in SHAPES.items()
    }


def folder(where: Path, seed: int = 1) -> Path:
    """As the peft library saves one."""
    where.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "sample-chat",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": sorted(SHAPES),
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    (where / "adapter_config.json").write_text(json.dumps(config))
    found = {
        f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_{letter}.weight": one
        for (layer, name), pair in pairs(seed).items()
        for letter, one in zip("AB", pair, strict=True)
    }
    header, data = {}, b""
    for name, (shape, numbers) in found.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header).encode()
    (where / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return where


def gguf(where: Path, seed: int = 1) -> Path:
    """As llama.cpp's converter writes one."""
    values = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    head = b"".join(_text(key) + struct.pack("<I", 8) + _text(value) for key, value in values.items())
    head += _text("adapter.lora.alpha") + struct.pack("<If", 6, ALPHA)
    found = {
        f"blk.{layer}.{_GGUF_NAMES[name]}.weight.lora_{letter}": one
        for (layer, name), pair in pairs(seed).items()
        for letter, one in zip("ab", pair, strict=True)
    }
    infos, data = b"", b""
    for name, ((rows, columns), numbers) in found.items():
        data += b"\0" * (-len(data) % _ALIGNMENT)
        infos += _text(name) + struct.pack("<IQQIQ", 2, columns, rows, _F32, len(data))
        data += numbers
    start = b"GGUF" + struct.pack("<IQQ", 3, len(found), len(values) + 1) + head + infos
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(start + b"\0" * (-len(start) % _ALIGNMENT) + data)
    return where


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
