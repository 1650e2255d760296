"""Good documents of every form, with as many keys as they can have; fuzzing starts from them."""

from typing import Any

LLAMA_2 = {
    "system": "<<SYS>>\n{instruction}\n<</SYS>>\n\n",
    "assistant": " {instruction} </s><s>",
    "trailing_assistant": "",
    "user": "[INST] {system}{instruction} [/INST]",
    "system_in_user": True,
}
PLAIN = {
    "system": "{instruction}\n",
    "assistant": "### Response:\n{instruction}\n",
    "trailing_assistant": "### Response:\n",
    "user": "### Instruction:\n{instruction}\n",
    "default_system_message": "Below is an instruction.",
    "system_in_user": False,
    "add_system_tags_even_if_message_is_empty": False,
    "strip_whitespace": False,
}
PROMPT_FORMATS: list[dict[str, Any]] = [LLAMA_2, PLAIN, {}]
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": [{"type": "text", "text": "Germany?"}]},
]

_MIRROR = {
    "bucket_uri": "s3://b/m/",
    "s3_sync_args": ["--x"],
    "extra_files": [{"bucket_uri": "s3://b/e/", "destination_path": "/e"}],
}
_GENERATION = {
    "prompt_format": LLAMA_2,
    "generate_kwargs": {"temperature": 0.5},
    "stopping_sequences": ["### End", 2, [1, "x"]],
}
REGISTRY: list[dict[str, Any]] = [
    {
        "enabled": True,
        "deployment_config": {
            "autoscaling_config": {
                "min_replicas": 1,
                "initial_replicas": 1,
                "max_replicas": 8,
                "target_num_ongoing_requests_per_replica": 24.0,
                "metrics_interval_s": 10.0,
                "look_back_period_s": 30.0,
                "smoothing_factor": 0.5,
                "downscale_delay_s": 300.0,
                "upscale_delay_s": 15.0,
            },
            "max_concurrent_queries": 64,
            "ray_actor_options": {"resources": {"accelerator_type_a10": 0.01}},
        },
        "engine_config": {
            "model_id": "meta-llama/Llama-2-7b-chat-hf",
            "hf_model_id": "meta-llama/Llama-2-7b-chat-hf",
            "type": "VLLMEngine",
            "engine_kwargs": {"trust_remote_code": True, "max_num_seqs": 64, "pipeline_parallel_size": 2},
            "max_total_tokens": 4096,
            "runtime_env": {"env_vars": {"A": "b"}, "pip": ["x"]},
            "s3_mirror_config": _MIRROR,
            "generation": _GENERATION,
        },
        "scaling_config": {
            "num_workers": 2,
            "num_gpus_per_worker": 1,
            "num_cpus_per_worker": 8,
            "placement_strategy": "STRICT_PACK",
            "resources_per_worker": {"accelerator_type_a10": 0.01},
        },
    },
    {
        "engine_config": {"model_id": "e/m", "type": "EmbeddingEngine", "max_batch_size": 16, "optimize": "onnx"},
        "scaling_config": {"num_workers": 1},
    },
]
_LLM_CONFIG = {
    "model_loading_config": {"model_id": "qwen", "model_source": "Qwen/Qwen2-0.5B", "tokenizer_source": "t"},
    "llm_engine": "vLLM",
    "engine_kwargs": {"tensor_parallel_size": 2, "max_model_len": 8192},
    "accelerator_type": "A10G",
    "placement_group_config": {"bundles": [{"GPU": 1, "CPU": 1}, {"GPU": 1}], "strategy": "PACK"},
    "lora_config": {"dynamic_lora_loading_path": "s3://b", "max_num_adapters_per_replica": 4},
    "deployment_config": {"autoscaling_config": {"min_replicas": 1, "max_replicas": 2}, "max_ongoing_requests": 64},
    "runtime_env": {"env_vars": {"A": "b"}},
    "experimental_configs": {"x": 1},
    "log_engine_metrics": True,
}
RAY_SERVE_LLM: list[dict[str, Any]] = [
    _LLM_CONFIG,
    {"applications": [{"name": "llm", "args": {"llm_configs": [_LLM_CONFIG, "other.yaml"]}}]},
]
ENV: list[dict[str, Any]] = [
    {"diagnostics": True, "queue": {"url": "http://localhost:8080", "token": "t", "hostings": ["cloud"], "tags": ["a"]}}
]
CAP: list[dict[str, Any]] = [
    {
        "checkpoint_name": "luminous-base",
        "gpu_model_name": "A100-40GB",
        "checkpoint": {
            "type": "luminous",
            "tokenizer_filename": "tokenizer.json",
            "directory": "/path/to/checkpoint",
            "pipeline_parallel_size": 1,
            "tensor_parallel_size": 1,
        },
    }
]
EDITION_1: list[dict[str, Any]] = [
    {
        "edition": 1,
        "generator": {
            "type": "VLLMEngine",
            "model_id": "m",
            "engine_kwargs": {"max_num_seqs": 4},
            "max_total_tokens": 256,
            "generation": {"prompt_format": PLAIN, "stopping_sequences": ["x", 2, [1]]},
            "runtime_env": {"env_vars": {"A": "b"}},
            "unstable": {"skip_checkpoint_load": True},
        },
        "queue": {"url": "https://q", "checkpoint_name": "n", "tags": ["t"], "max_concurrent_queries": 3},
        "monitoring": {"metrics_port": 4000, "tcp_probes": [4001]},
    },
    {
        "edition": 1,
        "generator": {"type": "luminous", "weight_set_directories": ["/w"]},
        "queue": {"checkpoint_name": "n"},
    },
]
MANIFESTS: list[dict[str, Any]] = [
    {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": "m", "namespace": "models"},
        "spec": {
            "replicas": 2,
            "deployment": {"autoscaling": {"minReplicas": 0, "maxReplicas": 2}, "maxConcurrentQueries": 4},
            "engine": {
                "type": "VLLMEngine",
                "modelId": "m",
                "engineKwargs": {"max_num_seqs": 4},
                "generation": {
                    "promptFormat": {
                        "system": "{instruction}",
                        "assistant": "{instruction}",
                        "user": "{system}{instruction}",
                        "trailingAssistant": "",
                        "systemInUser": True,
                    },
                    "stoppingSequences": ["x", 2, [1]],
                },
                "runtimeEnv": {"envVars": {"A": "b"}},
                "memory": {"memorySafetyMargin": 0.1},
            },
            "scaling": {"numWorkers": 2, "numGpusPerWorker": 1, "resourcesPerWorker": {"a": 0.01}},
            "queue": {"url": "http://q", "tokenSecretRef": {"name": "s"}, "tags": ["t"]},
            "monitoring": {"metricsPort": 4000, "tcpProbes": [4001], "logLevel": "INFO"},
            "template": {"spec": {"nodeSelector": {"a": "b"}}},
        },
    }
]
