"""What Headrace knows of engine arguments beside the tables: which it sets itself, older names, bounds, contradictions.

Hints name the InferenceModel's fields, with the worker file's key in brackets where it has another.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Bounds(NamedTuple):
    """The accepted numbers."""

    low: float
    high: float = float("inf")
    open_low: bool = False
    """The lowest itself is not accepted."""
    also: tuple[float, ...] = ()
    """Numbers outside that mean something."""

    def hold(self, number: float) -> bool:
        """Whether a number is accepted."""
        above = number > self.low if self.open_low else number >= self.low
        return (above and number <= self.high) or number in self.also

    @property
    def words(self) -> str:
        """The bounds as a sentence has them."""
        text = f"more than {self.low:g}" if self.open_low else f"at least {self.low:g}"
        text += "" if self.high == float("inf") else f" and at most {self.high:g}"
        return " or ".join([text, *(f"{number:g}" for number in self.also)])


class Knowledge(NamedTuple):
    """Of one table."""

    own: Mapping[str, str]
    """What Headrace always sets, and what to write instead."""
    older: Mapping[str, str]
    """Names of older versions or of other programs, and what to write instead."""
    bounds: Mapping[str, Bounds]
    rivals: Mapping[str, tuple[str, str]]
    """Argument -> the generator's key that already says it, and that key in an InferenceModel."""
    older_values: Mapping[tuple[str, str], str] = {}
    secrets: Mapping[str, str] = {}
    """What is secret, and so has no place in a configuration, which is shown, logged and kept in a ConfigMap; and what
    to do instead. Messages leave the value out."""


_NUM_WORKERS = "set scaling.numWorkers (worker file: tensor_parallel_size)"
_PIPELINE = "set engine.pipelineParallelSize (worker file: pipeline_parallel_size)"
_MODEL = "engine.hfModelId or engine.weightSetDirectories names the model"
_SERVED_NAME = "queue.checkpointName or engine.modelId is the name"
_LOOPBACK = "the engine listens on loopback only, at a port that the worker picks"
_DIRECT = "clients talk to the queue, which has keys and TLS; the engine answers its own worker only"
_HF = "put HF_TOKEN into the Secret that engine.credentialsSecretRef names (lab machine: into the environment)"
_MIRROR = "name the bucket in engine.s3Mirror"
_LEAVE_OUT = "leave it out"
_SPECULATIVE = "write speculative_config: {model: ..., num_speculative_tokens: ...}"
_STRUCTURED = "write structured_outputs_config: {backend: ...}"
_NO_TOKENIZER_POOL = "vLLM has no tokenizer pool any more: leave it out (renderer_num_workers is nearest)"
_CAPTURE = "write max_cudagraph_capture_size, which counts tokens in a batch, or leave it out"
_NO_PROMPT_ADAPTERS = "vLLM has no prompt adapters any more: leave it out"

_ONE_UP, _NOT_NEGATIVE, _SHARE = Bounds(1), Bounds(0), Bounds(0, 1, open_low=True)

VLLM = Knowledge(
    own={
        "model": _MODEL,
        "served_model_name": _SERVED_NAME,
        "host": _LOOPBACK,
        "port": _LOOPBACK,
        "uds": _LOOPBACK,
        "grpc": "the worker talks HTTP to the engine",
        "headless": "the worker talks HTTP to the engine",
        "config": "write its contents into engine.engineKwargs",
        "ssl_keyfile": _DIRECT,
        "ssl_certfile": _DIRECT,
        "ssl_ca_certs": _DIRECT,
        "ssl_cert_reqs": _DIRECT,
        "root_path": _DIRECT,
        "tensor_parallel_size": _NUM_WORKERS,
        "pipeline_parallel_size": _PIPELINE,
    },
    older={
        "disable_log_requests": "requests are logged only with enable_log_requests: true; leave it out",
        "worker_use_ray": "write distributed_executor_backend: ray, or leave it out",
        "engine_use_ray": _LEAVE_OUT,
        "num_tokenizer_workers": _NO_TOKENIZER_POOL,
        "tokenizer_pool_size": _NO_TOKENIZER_POOL,
        "tokenizer_pool_type": _NO_TOKENIZER_POOL,
        "tokenizer_pool_extra_config": _NO_TOKENIZER_POOL,
        "load_s3_path": _MIRROR,
        "swap_space": "vLLM does not swap any more: leave it out (kv_offloading_size is nearest)",
        "preemption_mode": "vLLM always recomputes: leave it out",
        "num_scheduler_steps": "leave it out (async_scheduling is nearest)",
        "multi_step_stream_outputs": _LEAVE_OUT,
        "scheduler_delay_factor": _LEAVE_OUT,
        "max_num_partial_prefills": _LEAVE_OUT,
        "max_long_partial_prefills": _LEAVE_OUT,
        "max_paddings": _LEAVE_OUT,
        "use_v2_block_manager": _LEAVE_OUT,
        "disable_async_output_proc": _LEAVE_OUT,
        "disable_frontend_multiprocessing": _LEAVE_OUT,
        "num_lookahead_slots": _SPECULATIVE,
        "speculative_model": _SPECULATIVE,
        "num_speculative_tokens": _SPECULATIVE,
        "guided_decoding_backend": _STRUCTURED,
        "guided_decoding_disable_fallback": _STRUCTURED,
        "enable_reasoning": "reasoning_parser alone turns it on; leave it out",
        "rope_scaling": "write hf_overrides: {rope_scaling: {...}}",
        "rope_theta": "write hf_overrides: {rope_theta: ...}",
        "task": "write runner: pooling, and convert: embed or classify, or leave it out",
        "override_pooler_config": "write pooler_config",
        "device": "the image decides it; leave it out",
        "max_context_len_to_capture": _CAPTURE,
        "max_seq_len_to_capture": _CAPTURE,
        "cuda_graph_sizes": "write cudagraph_capture_sizes",
        "disable_mm_preprocessor_cache": "write mm_processor_cache_gb: 0",
        "enable_multimodal_encoder_data_parallel": "write mm_encoder_tp_mode: data",
        "num_redundant_experts": "write eplb_config: {num_redundant_experts: ...}",
        "quantization_param_path": "scales are read from the checkpoint; leave it out",
        "calculate_kv_scales": _LEAVE_OUT,
        "long_lora_scaling_factors": _LEAVE_OUT,
        "lora_extra_vocab_size": _LEAVE_OUT,
        "qlora_adapter_name_or_path": "write lora_modules",
        "enable_prompt_adapter": _NO_PROMPT_ADAPTERS,
        "max_prompt_adapters": _NO_PROMPT_ADAPTERS,
        "max_prompt_adapter_token": _NO_PROMPT_ADAPTERS,
        "n_parallel": "write max_num_seqs",
        "n_ctx": "write max_model_len, or set engine.maxTotalTokens",
    },
    bounds={
        "gpu_memory_utilization": _SHARE,
        "max_num_seqs": _ONE_UP,
        "max_num_batched_tokens": _ONE_UP,
        "max_model_len": Bounds(1, also=(-1,)),
        "max_loras": _ONE_UP,
        "block_size": _ONE_UP,
        "stream_interval": _ONE_UP,
        "data_parallel_size": _ONE_UP,
        "max_logprobs": Bounds(-1),
        "cpu_offload_gb": _NOT_NEGATIVE,
        "mm_processor_cache_gb": _NOT_NEGATIVE,
        "kv_cache_memory_bytes": _ONE_UP,
    },
    rivals={
        "max_model_len": ("max_total_tokens", "engine.maxTotalTokens"),
        "tokenizer": ("tokenizer", "engine.tokenizerPath or engine.tokenizerId"),
        "chat_template": ("prompt_format", "engine.generation.promptFormat"),
        "chat_template_content_format": ("prompt_format", "engine.generation.promptFormat"),
        "load_format": ("skip_checkpoint_load", "engine.unstable.skipCheckpointLoad"),
    },
    older_values={
        (
            "quantization",
            "squeezellm",
        ): "vLLM dropped squeezellm: use another quantization of the model, e.g. awq or gptq",
        ("quantization", "deepspeedfp"): "vLLM dropped deepspeedfp: use another quantization, e.g. fp8",
    },
    secrets={"hf_token": _HF, "api_key": _DIRECT},
)

_N_CTX = "write n_ctx, or set engine.maxTotalTokens"
_MEMORY_MAP = "write load_mode: mmap, mlock, mmap_mlock, direct_io or none"

LLAMACPP = Knowledge(
    own={
        "model": _MODEL,
        "model_alias": _SERVED_NAME,
        "alias": _SERVED_NAME,
        "port": _LOOPBACK,
        "hostnames": _LOOPBACK,
        "host": _LOOPBACK,
        "reuse_port": _LOOPBACK,
        "api_prefix": _DIRECT,
        "ssl_file_cert": _DIRECT,
        "ssl_file_key": _DIRECT,
        "use_jinja": "chat templates are always rendered with Jinja",
        "jinja": "chat templates are always rendered with Jinja",
        "ui": "the engine's web page is off",
    },
    older={
        "ctx_size": _N_CTX,
        "c": _N_CTX,
        "max_model_len": _N_CTX,
        "parallel": "write n_parallel",
        "np": "write n_parallel",
        "max_num_seqs": "write n_parallel",
        "ngl": "write n_gpu_layers",
        "gpu_layers": "write n_gpu_layers",
        "threads": "write n_threads",
        "t": "write n_threads",
        "threads_batch": "write n_threads_batch",
        "tb": "write n_threads_batch",
        "batch_size": "write n_batch",
        "ubatch_size": "write n_ubatch",
        "predict": "write n_predict",
        "keep": "write n_keep",
        "fa": "write flash_attn: enabled, disabled or auto",
        "ctk": "write cache_type_k",
        "ctv": "write cache_type_v",
        "sm": "write split_mode",
        "ts": "write tensor_split",
        "mg": "write main_gpu",
        "cache_ram": "write cache_ram_mib",
        "cache_reuse": "write n_cache_reuse",
        "mlock": _MEMORY_MAP,
        "mmap": _MEMORY_MAP,
        "no_mmap": _MEMORY_MAP,
        "use_mmap": _MEMORY_MAP,
        "use_mlock": _MEMORY_MAP,
        "context_shift": "write ctx_shift",
        "kv_offload": "write no_kv_offload with the opposite value",
        "yarn_orig_ctx_size": "write yarn_orig_ctx",
    },
    bounds={
        "n_parallel": _ONE_UP,
        "n_ctx": _NOT_NEGATIVE,
        "n_batch": _ONE_UP,
        "n_ubatch": _ONE_UP,
        "main_gpu": _NOT_NEGATIVE,
        "n_cache_reuse": _NOT_NEGATIVE,
    },
    rivals={
        "n_ctx": ("max_total_tokens", "engine.maxTotalTokens"),
        "chat_template": ("prompt_format", "engine.generation.promptFormat"),
    },
    secrets={"hf_token": _HF, "api_keys": _DIRECT},
)

TENSORRT_LLM = Knowledge(
    own={
        "model": _MODEL,
        "host": _LOOPBACK,
        "port": _LOOPBACK,
        "config": "write its contents into engine.engineKwargs",
        "grpc": "the worker talks HTTP to the engine",
        "tensor_parallel_size": _NUM_WORKERS,
        "pipeline_parallel_size": _PIPELINE,
    },
    older={
        "decoding_config": "write speculative_config",
        "kv_cache_dtype": "write kv_cache_config: {dtype: ...}",
        "use_cuda_graph": "write cuda_graph_config",
        "enable_trtllm_sampler": "write sampler_type: TRTLLMSampler",
        "enable_mixed_sampler": "write sampler_type: TorchSampler",
        "max_num_seqs": "write max_batch_size",
        "max_model_len": "write max_seq_len, or set engine.maxTotalTokens",
        "gpu_memory_utilization": "set engine.kvCacheFreeGpuMemFraction (worker file: kv_cache_free_gpu_mem_fraction)",
        "max_num_batched_tokens": "write max_num_tokens",
    },
    bounds={
        "max_batch_size": _ONE_UP,
        "max_num_tokens": _ONE_UP,
        "max_seq_len": _ONE_UP,
        "max_input_len": _ONE_UP,
        "max_beam_width": _ONE_UP,
        "stream_interval": _ONE_UP,
        "num_postprocess_workers": _NOT_NEGATIVE,
        "perf_metrics_max_requests": _NOT_NEGATIVE,
        "batch_wait_timeout_ms": _NOT_NEGATIVE,
        "batch_wait_timeout_iters": _NOT_NEGATIVE,
        "batch_wait_max_tokens_ratio": Bounds(0, 1),
        "free_gpu_memory_fraction": _SHARE,
    },
    rivals={
        "max_seq_len": ("max_total_tokens", "engine.maxTotalTokens"),
        "tokenizer": ("tokenizer", "engine.tokenizerPath or engine.tokenizerId"),
        "max_batch_size": ("max_num_sequences", "engine.maxNumSequences"),
        "free_gpu_memory_fraction": ("kv_cache_free_gpu_mem_fraction", "engine.kvCacheFreeGpuMemFraction"),
        "log_level": ("logger_level", "engine.loggerLevel"),
        "chat_template": ("prompt_format", "engine.generation.promptFormat"),
        "load_format": ("skip_checkpoint_load", "engine.unstable.skipCheckpointLoad"),
    },
)

KNOWLEDGE: Mapping[str, Knowledge] = {"vllm": VLLM, "llamacpp": LLAMACPP, "tensorrt_llm": TENSORRT_LLM}
