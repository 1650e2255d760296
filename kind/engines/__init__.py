"""Inference engines that are too big for an image: made once in the cache, then mounted into pods from the host."""

from engines.environments import embeddings, vllm_cpu

__all__ = ["embeddings", "vllm_cpu"]
