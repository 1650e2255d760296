"""The same model as a GGUF file, llama.cpp's format, written from a saved folder with the `gguf` package."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sample_model.chat_tokenizer import SPECIAL

Weights = NDArray[Any]

_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def export(folder: Path, target: Path) -> None:
    """Write the Llama in `folder` (transformers' files) to `target`: matrices in f16, norms in f32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(target, "llama")
    _describe(writer, config)
    _vocabulary(writer, folder)
    for name, weights in sorted(load_file(folder / "model.safetensors").items()):
        weights = _rotated(name, weights, config)
        writer.add_tensor(_gguf_name(name), weights.astype(np.float32 if weights.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(weights: Weights, heads: int) -> Weights:
    """The rows of a query or key projection, in llama.cpp's order.

    transformers rotates the first half of a head against its second half, llama.cpp's `llama` architecture each even
    row against the odd one after it; its own converter reorders the rows the same way.
    """
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _rotated(name: str, weights: Weights, config: dict[str, Any]) -> Weights:
    if "q_proj" in name:
        return interleaved(weights, config["num_attention_heads"])
    if "k_proj" in name:
        return interleaved(weights, config["num_key_value_heads"])
    return weights


def _gguf_name(name: str) -> str:
    """`blk.0.attn_q.weight` for `model.layers.0.self_attn.q_proj.weight`, and so on."""
    outside = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in outside:
        return outside[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{_NAMES[rest.removesuffix('.weight')]}.weight"


def _describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_name("sample-chat")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_int32("general.sampling.top_k", 1)  # llama.cpp's default sampling, as generation_config.json is vLLM's


def _vocabulary(writer: gguf.GGUFWriter, folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    tokens = sorted(ids, key=lambda token: ids[token])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(ids[settings["eos_token"]])
    writer.add_pad_token_id(ids[settings["pad_token"]])
    writer.add_add_bos_token(False)
    writer.add_chat_template(settings["chat_template"])
