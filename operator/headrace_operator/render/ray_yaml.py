"""`model.yaml`: the model in the Ray-style three sections of the model registry, for people and tools that read it."""

from typing import Any

import yaml

from headrace_api.inference_model import InferenceModelSpec


def registry_document(spec: InferenceModelSpec) -> dict[str, Any]:
    """The registry's document: `deployment_config`, `engine_config`, `scaling_config`."""
    return {
        "enabled": spec.enabled,
        "deployment_config": _deployment_config(spec),
        "engine_config": _engine_config(spec),
        "scaling_config": _scaling_config(spec),
    }


def to_yaml(document: dict[str, Any]) -> str:
    """The YAML text, keys in the registry's order."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _deployment_config(spec: InferenceModelSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "autoscaling_config": {
            "min_replicas": spec.replicas,
            "initial_replicas": spec.replicas,
            "max_replicas": spec.replicas,
        }
    }
    if spec.deployment.max_concurrent_queries is not None:
        config["max_concurrent_queries"] = spec.deployment.max_concurrent_queries
    return config


def _engine_config(spec: InferenceModelSpec) -> dict[str, Any]:
    engine = spec.engine
    config: dict[str, Any] = {
        "type": engine.type,
        "model_id": engine.model_id,
        "hf_model_id": engine.hf_model_id or engine.model_id,
        "engine_kwargs": engine.engine_kwargs,
        "runtime_env": {"env_vars": engine.runtime_env.env_vars},
        "generation": {"stopping_sequences": engine.generation.stopping_sequences},
    }
    if engine.max_total_tokens is not None:
        config["max_total_tokens"] = engine.max_total_tokens
    return config


def _scaling_config(spec: InferenceModelSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "num_workers": spec.scaling.num_workers,
        "num_gpus_per_worker": spec.gpus // spec.scaling.num_workers,
        "resources_per_worker": spec.scaling.resources_per_worker,
    }
    if spec.scaling.num_cpus_per_worker is not None:
        config["num_cpus_per_worker"] = spec.scaling.num_cpus_per_worker
    return config
