"""`worker_config.toml`, edition 1: what the worker in the pod reads."""

from typing import Any

import tomli_w

from headrace_api import worker_config as wc
from headrace_api.inference_model import InferenceModelSpec


def generator(spec: InferenceModelSpec) -> wc.Generator:
    """The `[generator]` section of a model."""
    engine = spec.engine
    return wc.Generator(
        type=engine.type,
        model_id=engine.model_id,
        hf_model_id=engine.hf_model_id,
        engine_kwargs=engine.engine_kwargs,
        max_total_tokens=engine.max_total_tokens,
        runtime_env=wc.RuntimeEnv(env_vars=engine.runtime_env.env_vars),
        generation=wc.Generation(stopping_sequences=engine.generation.stopping_sequences),
        tensor_parallel_size=spec.scaling.num_workers // engine.pipeline_parallel_size,
        pipeline_parallel_size=engine.pipeline_parallel_size,
        tokenizer_path=engine.tokenizer_path,
        auto_memory_config=engine.memory.auto_memory_config,
        memory_safety_margin=engine.memory.memory_safety_margin,
        unstable=wc.Unstable(skip_checkpoint_load=engine.unstable.skip_checkpoint_load),
    )


def worker_config(spec: InferenceModelSpec, queue_url: str) -> wc.WorkerConfig:
    """The whole file as a model; the token is not in it, it reaches the pod from a Secret."""
    return wc.WorkerConfig(
        edition=1,
        generator=generator(spec),
        queue=wc.Queue(
            url=spec.queue.url or queue_url,
            checkpoint_name=spec.model_name,
            tags=spec.queue.tags,
            hostings=spec.queue.hostings,
            http_request_retries=spec.queue.http_request_retries,
            max_concurrent_queries=spec.deployment.max_concurrent_queries,
        ),
        monitoring=wc.Monitoring(metrics_port=spec.monitoring.metrics_port, tcp_probes=spec.monitoring.tcp_probes),
    )


def to_toml(config: wc.WorkerConfig) -> str:
    """The TOML text, without the keys that have no value (TOML has no null)."""
    return tomli_w.dumps(_without_none(config.model_dump(mode="json")))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
