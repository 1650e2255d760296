"""Run by vLLM's interpreter: the bytes that its own start check wants for the models that standard input lists."""

import json
import sys
from types import SimpleNamespace

import torch
from vllm.v1.core import kv_cache_utils
from vllm.v1.kv_cache_interface import FullAttentionSpec, MLAAttentionSpec, SlidingWindowSpec


def specs(model):
    common = {"block_size": 16, "num_kv_heads": model["kv_heads"], "head_size": model["head"], "dtype": torch.bfloat16}
    if model["latent"]:
        return {f"layer.{n}": MLAAttentionSpec(**common) for n in range(model["full"])}
    full = {f"full.{n}": FullAttentionSpec(**common) for n in range(model["full"])}
    windowed = range(model["windowed"])
    return full | {f"sw.{n}": SlidingWindowSpec(**common, sliding_window=model["window"]) for n in windowed}


class Layout:
    is_block_outermost = False


def config(model):
    return SimpleNamespace(
        max_in_flight_tokens=model["in_flight"],
        model_config=SimpleNamespace(max_model_len=model["length"]),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        cache_config=SimpleNamespace(get_resolved_kv_cache_layout=Layout, num_gpu_blocks_override=None),
        attention_config=SimpleNamespace(hisparse_config=None),
        speculative_config=None,
    )


def needed(model):
    """With the block that stays empty."""
    about = config(model)
    groups = kv_cache_utils.get_kv_cache_groups(about, specs(model))
    empty = kv_cache_utils._pool_bytes_per_block(about, groups)
    return kv_cache_utils._max_memory_usage_bytes_from_groups(about, groups) + empty


sys.stdout.write(f"NEEDED {json.dumps([needed(model) for model in json.load(sys.stdin)])}\n")
