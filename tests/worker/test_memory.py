"""What is chosen of an engine's memory, from published models' dimensions and real files."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.worker_config import Generator
from headrace_worker import memory
from headrace_worker.engines.protocol import EngineConfigError
from headrace_worker.memory import gguf_header, machine, model, vllm_steps
from headrace_worker.memory.machine import GpuMemory, Machine
from headrace_worker.memory.model import Model
from tests.worker.worker_process import GGUF, SAMPLE_MODEL

GIB = 2**30
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "dtype": "bfloat16",
}
GEMMA_3 = LLAMA_8B | {
    "model_type": "gemma3_text",
    "head_dim": 256,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "sliding_window": 1024,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 4 + ["sliding_attention"] * 2,
}
DEEPSEEK_V3 = LLAMA_8B | {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
}
WEIGHTS_8B = int(16.06e9)


def gpus(count: int = 1, gib: float = 80, free: float | None = None) -> Machine:
    one = GpuMemory("NVIDIA H100", int(gib * GIB), int((gib if free is None else free) * GIB))
    return Machine((one,) * count, main=200 * GIB)


def generator(kind: str = "VLLMEngine", **more: Any) -> Generator:
    return Generator.model_validate({"type": kind, "model_id": "m", **more})


def llama(**kwargs: Any) -> Model:
    found = model.of_config(LLAMA_8B, WEIGHTS_8B, kwargs)
    assert found
    return found


def fit(section: Generator, found: Model | None, there: Machine) -> memory.Fit:
    return memory.fit(section, section.type, found, there)


def test_a_token_takes_what_is_published() -> None:
    assert llama().cache_per_token == 128 * 1024  # 2 x 32 layers x 8 heads x 128 x 2 bytes
    assert llama(kv_cache_dtype="fp8").cache_per_token == 64 * 1024
    assert llama(dtype="float32").weights == 2 * WEIGHTS_8B
    gemma = model.of_config(GEMMA_3, 1, {})
    assert gemma
    assert (gemma.cache_per_token, gemma.windowed_per_token) == (4 * 4096, 22 * 4096)
    assert (gemma.full_layers, gemma.windowed_layers, gemma.window) == (4, 22, 1024)
    latent = model.of_config(DEEPSEEK_V3, 1, {})
    assert latent
    assert latent.cache_per_token == 61 * 576 * 2
    assert latent.copies(8) == 8
    assert llama().copies(8) == 1
    assert llama().copies(16) == 2


def test_random_weights_are_as_large_as_the_dimensions_say() -> None:
    found = model.of_config(LLAMA_8B, 0, {})
    assert found
    assert found.weights == pytest.approx(WEIGHTS_8B, rel=0.01)


def test_a_large_gpu_takes_the_whole_context() -> None:
    found = fit(generator(), llama(), gpus())
    kwargs = found.generator.engine_kwargs
    assert kwargs == {"gpu_memory_utilization": 0.95, "max_num_seqs": 256}
    assert found.generator.max_total_tokens is None
    assert found.cache_tokens
    # 76 GiB, less 15 GiB of weights, some GiB for steps, in 128 KiB each
    assert 55 * 8192 < found.cache_tokens < 60 * 8192
    assert "gpu_memory_utilization is 0.95: what is free less a margin of 4.00 GiB" in found.reasons[0]


def test_a_small_gpu_gets_a_shorter_context_and_fewer_sequences() -> None:
    found = fit(generator(), llama(), gpus(gib=22.5))
    assert found.generator.max_total_tokens
    assert 16_000 < found.generator.max_total_tokens < 40_000
    assert found.generator.engine_kwargs["max_num_seqs"] < 40
    assert any("the model's own 131072 do not fit the KV cache" in reason for reason in found.reasons)


def test_what_others_use_is_left_to_them() -> None:
    found = fit(generator(memory_safety_margin=0.1), llama(), gpus(free=40))
    assert found.generator.engine_kwargs["gpu_memory_utilization"] == pytest.approx(0.4)


def test_what_is_configured_is_kept() -> None:
    kwargs = {"gpu_memory_utilization": 0.5, "max-num-seqs": 7}
    found = fit(generator(engine_kwargs=kwargs, max_total_tokens=5000), llama(), gpus())
    assert found.generator.engine_kwargs == kwargs
    assert found.generator.max_total_tokens == 5000
    assert "as configured" in found.reasons[0]
    off = generator(auto_memory_config=False)
    assert fit(off, llama(), gpus(gib=1)).generator == off


@pytest.mark.parametrize(
    ("section", "there", "words"),
    [
        ({}, gpus(gib=16), r"14\.96 GiB for weights \+ .* and each GPU \(NVIDIA H100: 16\.00 GiB of 16\.00 GiB free\)"),
        (
            {"max_total_tokens": 131072},
            gpus(gib=24),
            r"the KV cache of 131072 tokens .* lower max_total_tokens to \d+ or",
        ),
        ({"engine_kwargs": {"max_model_len": 131072}}, gpus(gib=24), "the KV cache of 131072 tokens"),
        ({"tensor_parallel_size": 4}, gpus(2), "tensor_parallel_size: 4 x pipeline_parallel_size 1 needs 4 GPUs, and "),
        ({}, gpus(free=2), "memory_safety_margin: the model does not fit"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_sum(section: dict[str, Any], there: Machine, words: str) -> None:
    with pytest.raises(EngineConfigError, match=words) as refused:
        fit(generator(**section), llama(), there)
    assert "\n" not in str(refused.value)


def test_weights_and_cache_are_divided() -> None:
    alone = fit(generator(), llama(), gpus()).cache_tokens
    four = fit(generator(tensor_parallel_size=4), llama(), gpus(4)).cache_tokens
    assert alone
    assert four
    assert four > 4 * alone


def test_of_an_unknown_model_only_the_share_is_chosen() -> None:
    found = fit(generator(), None, gpus())
    assert found.generator.engine_kwargs == {"gpu_memory_utilization": 0.95}
    assert found.cache_tokens is None
    assert "the model's size is not known" in found.reasons[0]


def test_vllm_on_cpu_gets_whole_gib() -> None:
    asked = generator(max_total_tokens=8192, engine_kwargs={"max_num_seqs": 4})
    found = fit(asked, llama(), Machine(main=64 * GIB, cpu_only=True))
    assert found.generator.runtime_env.env_vars == {"VLLM_CPU_KVCACHE_SPACE": "4"}
    found = fit(generator(max_total_tokens=8192), llama(), Machine(main=24 * GIB, cpu_only=True))
    assert found.generator.runtime_env.env_vars == {"VLLM_CPU_KVCACHE_SPACE": "4"}
    set_ = generator(runtime_env={"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "2"}})
    assert fit(set_, llama(), Machine(main=64 * GIB, cpu_only=True)).generator.runtime_env == set_.runtime_env
    with pytest.raises(EngineConfigError, match=r"3\.00 GiB for vLLM's processes .* this machine has 18\.00 GiB"):
        fit(generator(), llama(), Machine(main=18 * GIB, cpu_only=True))


def test_vllm_that_is_not_known_to_be_for_cpus_chooses_by_itself() -> None:
    for there in (Machine(main=16 * GIB), Machine(main=16 * GIB, gpus_without_memory=1)):
        found = fit(generator(), llama(), there)  # 15 GiB of weights: on a CPU it would be refused
        assert found.generator == generator()
        assert found.reasons == ("the GPU's memory is not known: vLLM chooses by itself",)


GEMMA_3_27B = LLAMA_8B | {
    "model_type": "gemma3_text",
    "hidden_size": 5376,
    "head_dim": 128,
    "num_hidden_layers": 62,
    "num_key_value_heads": 16,
    "sliding_window": 1024,
}
A_LAYER = 2 * 16 * 128 * 2
"""Bytes of a token in one layer of it."""


def windowed(**kwargs: Any) -> tuple[float, float]:
    """What a token takes in Gemma 3's layers that keep all, and tokens that its other 52, in groups of 10, keep."""
    found = model.of_config(GEMMA_3_27B, 50 * GIB, kwargs)
    assert found
    section = generator(pipeline_parallel_size=kwargs.pop("pipeline_parallel_size", 1))
    there = gpus().gpus[0]
    kept = vllm_steps.kept(found, section, kwargs, vllm_steps.batched_tokens(kwargs, there, 1))
    return kept.cache_per_token / A_LAYER, kept.cache(131072) / A_LAYER - kept.cache_per_token / A_LAYER * 131072


@pytest.mark.parametrize(
    ("kwargs", "kept"),
    [
        ({}, 60 * (1024 + 2 * 8192)),
        ({"max_num_batched_tokens": 2048}, 60 * (1024 + 2 * 2048)),
        ({"max_num_batched_tokens": 2048, "async_scheduling": False}, 60 * (1024 + 2048)),
        ({"max_num_batched_tokens": 2048, "pipeline_parallel_size": 2}, 60 * (1024 + 3 * 2048)),
        ({"performance_mode": "throughput"}, 60 * (1024 + 2 * 16384)),
        ({"enable_chunked_prefill": False}, 60 * 131072),
        ({"disable_hybrid_kv_cache_manager": True}, 52 * 131072),
    ],
)
def test_vllm_keeps_the_window_and_what_is_under_way(kwargs: dict[str, Any], kept: int) -> None:
    assert windowed(**kwargs) == (10, kept)


@pytest.mark.parametrize(
    ("name", "gib", "tokens"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, 8192),
        ("NVIDIA A100-SXM4-80GB", 79.2, 2048),
        ("NVIDIA L4", 22.5, 2048),
        ("NVIDIA B200", 178.4, 16384),
    ],
)
def test_tokens_of_a_step_follow_from_the_gpu(name: str, gib: float, tokens: int) -> None:
    assert vllm_steps.batched_tokens({}, GpuMemory(name, int(gib * GIB), 0), 4) == tokens
    assert vllm_steps.batched_tokens({}, None, 2) == 4096


def test_a_windowed_models_context_is_one_that_vllm_starts_with() -> None:
    found = model.of_config(GEMMA_3_27B, 50 * GIB, {})
    small = fit(generator(), found, gpus(gib=70))
    assert small.generator.max_total_tokens
    said = re.search(r"([\d.]+) GiB KV cache", small.reasons[1])
    assert said
    # what windows and steps need is not there for the context: of the 15 GiB, half
    for_context = float(said[1]) * GIB - 60 * (1024 + 2 * 8192) * A_LAYER
    assert for_context - 0.1 * GIB < small.generator.max_total_tokens * 10 * A_LAYER < for_context


def test_tensorrt_llm_gets_a_share_of_what_is_left() -> None:
    found = fit(generator("TRTLLMEngine"), llama(), gpus())
    share = found.generator.kv_cache_free_gpu_mem_fraction
    assert share
    assert 0.9 < share < 0.95
    assert found.generator.max_num_sequences == 256
    short = fit(generator("TRTLLMEngine", kv_cache_free_gpu_mem_fraction=0.5), llama(), gpus(gib=24)).generator
    assert short.kv_cache_free_gpu_mem_fraction == 0.5
    assert short.max_total_tokens
    assert short.max_total_tokens < 35_000
    own = {"kv_cache_config": {"free_gpu_memory_fraction": 0.5}, "max_seq_len": 2048, "max_batch_size": 8}
    kept = generator("TRTLLMEngine", engine_kwargs=own)
    assert fit(kept, llama(), gpus(gib=24)).generator == kept
    with pytest.raises(EngineConfigError, match="the KV cache of 131072 tokens"):
        fit(generator("TRTLLMEngine", max_total_tokens=131072), llama(), gpus(gib=24))


def test_llamacpp_takes_fewer_slots_and_what_layers_fit() -> None:
    header = gguf_header.read(GGUF)
    small = model.of_gguf(header, GGUF.stat().st_size, {})
    found = fit(generator("LlamaCppEngine"), small, Machine(main=8 * GIB))
    assert found.generator.engine_kwargs == {"n_parallel": 4}
    assert found.generator.max_total_tokens == 1024
    large = Model(weights=16 * GIB, cache_per_token=128 * 1024, longest=131072, layers=32)
    long = generator("LlamaCppEngine", max_total_tokens=32768)
    assert fit(long, large, Machine(main=28 * GIB)).generator.engine_kwargs == {"n_parallel": 2}
    with pytest.raises(
        EngineConfigError, match=r"the KV cache of 1 x 32768 tokens .* lower max_total_tokens \(now 32768\)"
    ):
        fit(long, large, Machine(main=19 * GIB))
    there = Machine((GpuMemory("NVIDIA L4", 24 * GIB, 12 * GIB),), main=64 * GIB)
    layers = fit(long, large, there).generator.engine_kwargs["n_gpu_layers"]
    assert 8 < layers < 20
    assert fit(long, large, gpus()).generator.engine_kwargs["n_gpu_layers"] == 33
    full = GpuMemory("NVIDIA L4", 24 * GIB, 0)
    assert fit(long, large, replace(there, gpus=(*there.gpus, full))).generator.engine_kwargs["n_gpu_layers"] == layers


def gguf(family: str, layers: int, **more: Any) -> Model:
    header = {"block_count": layers, "embedding_length": 2048, "context_length": 131072, "attention.head_count": 16}
    header |= {"attention.head_count_kv": 4, "attention.key_length": 128, "attention.value_length": 128}
    named = {f"{family}.{key}": value for key, value in (header | more).items()}
    return model.of_gguf({"general.architecture": family, **named}, 4 * GIB, {})


PER_LAYER = 2 * 4 * 128 * 2.0
WINDOW = {"attention.sliding_window": 1024}


@pytest.mark.parametrize(
    ("family", "layers", "more", "full"),
    [
        ("llama", 32, {}, 32),
        ("gemma3", 34, WINDOW, 5),
        ("gemma3", 34, {**WINDOW, "attention.sliding_window_pattern": 4}, 8),
        ("gemma2", 42, WINDOW, 21),
        ("gpt-oss", 24, WINDOW, 12),
        ("cohere2moe", 10, WINDOW, 3),
        ("mimo2", 4, {**WINDOW, "attention.sliding_window_pattern": [True, False, True, True]}, 1),
        ("phi3", 32, WINDOW, 32),  # llama.cpp does not use its window
        ("no-such-family", 32, WINDOW, 32),
    ],
)
def test_windows_of_gguf_models(family: str, layers: int, more: dict[str, Any], full: int) -> None:
    found = gguf(family, layers, **more)
    assert (found.cache_per_token, found.windowed_per_token) == (full * PER_LAYER, (layers - full) * PER_LAYER)
    assert (found.full_layers, found.windowed_layers) == (full, layers - full)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("jamba", {"ssm.state_size": 16, "attention.head_count_kv": [0, 8, 0, 0]}),
        ("nemotron_h", {"ssm.state_size": 128}),
        ("qwen3next", {"ssm.state_size": 128, "full_attention_interval": 4}),
        ("gemma4", {**WINDOW, "attention.key_length_swa": 256}),
        ("lfm2", {"shortconv.l_cache": 3}),
        ("nemotron_nas", {"attention.head_count": [16, 0]}),
    ],
)
def test_of_a_gguf_model_that_is_not_understood_the_cache_is_not_known(family: str, more: dict[str, Any]) -> None:
    found = gguf(family, 4, **more)
    assert (found.cache_per_token, found.windowed_per_token, found.weights) == (0, 0, 4 * GIB)
    section = generator("LlamaCppEngine")
    assert fit(section, found, Machine(main=64 * GIB)).generator == section


def test_latent_attention_in_gguf_caches_no_values() -> None:
    latent = {"attention.head_count_kv": 1, "attention.key_length": 576, "attention.value_length": 512}
    found = gguf("deepseek2", 61, **latent, **{"attention.key_length_mla": 192, "attention.value_length_mla": 128})
    assert found.cache_per_token == 61 * 576 * 2


def test_llamacpp_keeps_the_window_and_one_step() -> None:
    section = generator("LlamaCppEngine", max_total_tokens=32768, engine_kwargs={"n_parallel": 2})
    found = fit(section, gguf("gemma3", 34, **WINDOW), Machine(main=64 * GIB))
    cache = 2 * PER_LAYER * (5 * 32768 + 29 * (1024 + 512))
    assert f"{cache / GIB:.2f} GiB KV cache" in found.reasons[0]
    whole = section.model_copy(update={"engine_kwargs": {"n_parallel": 2, "swa_full": True}})
    found = fit(whole, gguf("gemma3", 34, **WINDOW), Machine(main=64 * GIB))
    assert f"{2 * PER_LAYER * 34 * 32768 / GIB:.2f} GiB KV cache" in found.reasons[0]


SIZES = st.floats(0.5, 200)


@given(
    gib=SIZES, taken=st.floats(0, 1), length=st.none() | st.integers(1, 200_000), seqs=st.none() | st.integers(1, 999)
)
def test_what_is_chosen_fits(gib: float, taken: float, length: int | None, seqs: int | None) -> None:
    there = gpus(gib=gib, free=gib * taken)
    section = generator(max_total_tokens=length, engine_kwargs={} if seqs is None else {"max_num_seqs": seqs})
    try:
        found = fit(section, llama(), there)
    except EngineConfigError:
        return
    kwargs = found.generator.engine_kwargs
    assert kwargs["gpu_memory_utilization"] * there.gpus[0].total <= there.gpus[0].free
    assert found.cache_tokens
    chosen = found.generator.max_total_tokens or 131072
    assert chosen <= found.cache_tokens
    assert length in {None, chosen}
    assert kwargs["max_num_seqs"] == seqs or seqs is None


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (None, ([0, 1, 2], 0)),
        ("1", ([1], 0)),
        ("2,0", ([2, 0], 0)),
        ("GPU-b", ([1], 0)),
        ("0,9,1", ([0], 0)),
        ("", ([], 0)),
        ("-1", ([], 0)),
        ("NoDevFiles", ([], 0)),
        ("MIG-3c5f,MIG-77aa", ([], 2)),
        ("1,MIG-3c5f", ([1], 1)),
    ],
)
def test_visible_gpus(selection: str | None, left: tuple[list[int], int]) -> None:
    assert machine.visible(selection, ["GPU-aa", "GPU-bb", "GPU-cc"]) == left


def test_this_machine_is_read() -> None:
    found = machine.read({})
    assert found.main
    assert GIB // 4 < found.main < 2**50
    assert list(machine._limits([Path("/nowhere")])) == []


def test_the_sample_model_is_read() -> None:
    found = model.read(str(SAMPLE_MODEL), {"dtype": "float32"})
    assert found
    assert found.weights == 2 * (SAMPLE_MODEL / "model.safetensors").stat().st_size
    assert found.cache_per_token == 2 * 3 * 2 * 32 * 4
    assert found.longest == 1024
    of_gguf = model.read(str(GGUF), {"cache_type_k": "q8_0"})
    assert of_gguf
    assert of_gguf.cache_per_token == 3 * 2 * 32 * (34 / 32 + 2)
    assert model.read("meta-llama/Llama-3-8B", {}) is None


def test_a_second_copy_of_the_weights_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    for name in ("model-1.safetensors", "model-2.safetensors", "consolidated.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"x" * 10)
    found = model.read(str(tmp_path), {})
    assert found
    assert found.weights == 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing", "is not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 9), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "ends in the middle"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "claims to have"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "too long"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 77), "damaged"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        gguf_header.read(path)
    assert model.read(str(path), {}) is None
