"""Sizes of models against their published parameter counts, and the sum that is shown."""

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import memory
from headrace_api.rules.document import check_model
from headrace_api.rules.finding import Facts
from headrace_api.rules.parameters import dimensions

SAMPLE = Path(__file__).resolve().parents[2] / "runtime" / "sample_model" / "sample-chat"


def decoder(  # noqa: PLR0917 - a row of a table
    model_type, hidden, layers, heads, kv_heads, inner, vocabulary, **more
):
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        **more,
    }


LLAMA_7B = decoder("llama", 4096, 32, 32, 32, 11008, 32000)
LLAMA_70B = decoder("llama", 8192, 80, 64, 8, 28672, 32000)
PUBLISHED = {
    "Llama-2-7b": (LLAMA_7B, 6.738e9),
    "Llama-2-70b": (LLAMA_70B, 68.977e9),
    "Llama-3-8B": (decoder("llama", 4096, 32, 32, 8, 14336, 128256), 8.030e9),
    "Mistral-7B": (decoder("mistral", 4096, 32, 32, 8, 14336, 32000), 7.242e9),
    "Mixtral-8x7B": (decoder("mixtral", 4096, 32, 32, 8, 14336, 32000, num_local_experts=8), 46.703e9),
    "Qwen2.5-7B": (decoder("qwen2", 3584, 28, 28, 4, 18944, 152064), 7.616e9),
    "Qwen2.5-0.5B": (decoder("qwen2", 896, 24, 14, 2, 4864, 151936, tie_word_embeddings=True), 0.494e9),
    "Qwen3-8B": (decoder("qwen3", 4096, 36, 32, 8, 12288, 151936, head_dim=128), 8.191e9),
    "Qwen3-30B-A3B": (
        decoder("qwen3_moe", 2048, 48, 32, 4, 6144, 151936, head_dim=128, num_experts=128, moe_intermediate_size=768),
        30.532e9,
    ),
    "Gemma-2-9b": (decoder("gemma2", 3584, 42, 16, 8, 14336, 256000, head_dim=256), 9.242e9),
    "Phi-2": (decoder("phi", 2560, 32, 32, 32, 10240, 51200), 2.780e9),
    "GPT-2": (
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
        124.4e6,
    ),
    "MPT-7B": ({"model_type": "mpt", "d_model": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": 50432}, 6.649e9),
    "OPT-1.3B": (
        {
            "model_type": "opt",
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "ffn_dim": 8192,
            "vocab_size": 50272,
            "max_position_embeddings": 2048,
        },
        1.3158e9,
    ),
    "Falcon-7B": (
        {
            "model_type": "falcon",
            "hidden_size": 4544,
            "num_hidden_layers": 32,
            "num_attention_heads": 71,
            "multi_query": True,
            "vocab_size": 65024,
        },
        6.922e9,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_published(name):
    config, published = PUBLISHED[name]
    assert dimensions(config).parameters == pytest.approx(published, rel=0.005)


def test_parameters_are_those_of_the_sample_models_file():
    raw = (SAMPLE / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    real = sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    config = json.loads((SAMPLE / "config.json").read_text())
    # all but the last norm
    assert dimensions(config).parameters == real - config["hidden_size"]


def findings(config, gib, engine_kwargs=(), engine="VLLMEngine", **more):
    spec = {"engine": {"type": engine, "modelId": "m", "engineKwargs": dict(engine_kwargs)}, **more}
    facts = Facts(gpu_memory_gib=gib, model_config=config)
    return [one for one in check_model({"metadata": {"name": "m"}, "spec": spec}, facts) if one.code[:3] == "HR5"]


def test_the_sum_is_shown_by_term():
    (finding,) = findings(LLAMA_7B, 24, {"max_num_seqs": 64})
    assert (finding.code, finding.severity) == ("HR502", "warning")
    # 6.74e9 x 2 bytes; 2 x 32 layers x 4096 x 2 bytes = 0.5 MiB a token, of 64 x 4096
    for part in ("12.6 GiB for weights (6.74 billion", "128.0 GiB for the KV cache of 64 sequences of 4096", "1.2 GiB"):
        assert part in finding.message
    assert "= 141.8 GiB, and has 24.0 GiB" in finding.message


@pytest.mark.parametrize(
    ("config", "gib", "kwargs", "workers", "code"),
    [
        (LLAMA_7B, 24, {"max_num_seqs": 4}, 1, None),
        (LLAMA_7B, 8, {"max_num_seqs": 1}, 1, "HR501"),
        (LLAMA_7B, 8, {"max_num_seqs": 1, "quantization": "awq"}, 1, None),
        (LLAMA_7B, 24, {"max_num_seqs": 4, "dtype": "float32"}, 1, "HR501"),
        (LLAMA_7B, 24, {"max_num_seqs": 8}, 1, "HR502"),
        (LLAMA_7B, 24, {"max_num_seqs": 8, "kv_cache_dtype": "fp8"}, 1, None),
        (LLAMA_70B, 80, {"max_num_seqs": 8}, 1, "HR501"),
        (LLAMA_70B, 80, {"max_num_seqs": 8}, 2, None),
        ({**LLAMA_7B, "quantization_config": {"bits": 4}}, 8, {"max_num_seqs": 1}, 1, None),
    ],
)
def test_what_fits(config, gib, kwargs, workers, code):
    codes = [one.code for one in findings(config, gib, kwargs, scaling={"numWorkers": workers})]
    assert codes == ([code] if code else [])


def test_the_hint_counts_the_gpus():
    (finding,) = findings(LLAMA_70B, 80, {"max_num_seqs": 1})
    assert "numWorkers to 2 or more" in finding.hint


JUNK = st.none() | st.booleans() | st.integers(-2, 2**70) | st.text(max_size=3) | st.floats() | st.just({})


@given(st.dictionaries(st.sampled_from([*LLAMA_7B, "text_config", "quantization_config", "attn_config"]), JUNK))
def test_any_config_is_read_without_an_exception(config):
    spec = InferenceModelSpec.model_validate({"engine": {"type": "VLLMEngine", "modelId": "m"}})
    memory.needed(spec, Facts(gpu_memory_gib=24, model_config={**LLAMA_7B, **config}))
    findings({**LLAMA_7B, **config}, 24)
