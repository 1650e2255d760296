"""The rules about engine arguments, HR301 to HR307, and what the public RayLLM configurations give."""

import pytest

from headrace_api.engine_arguments import ENGINES, table
from headrace_api.engine_arguments.knowledge import KNOWLEDGE
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import arguments, chain

ENGINE = {"VLLMEngine": "m", "EmbeddingEngine": "m", "TRTLLMEngine": "m", "LlamaCppEngine": "/m.gguf", "luminous": "m"}


def findings(kind, kwargs, **engine):
    spec = {"engine": {"type": kind, "modelId": ENGINE[kind], "engineKwargs": kwargs, **engine}}
    found = chain.check(InferenceModelSpec.model_validate(spec))
    return [finding for finding in found if finding.code.startswith("HR3")]


ACCEPTED = [
    # as in the public RayLLM configurations
    ("VLLMEngine", {"trust_remote_code": True, "max_num_batched_tokens": 4096, "max_num_seqs": 64}),
    ("VLLMEngine", {"gpu_memory_utilization": 0.95, "quantization": "awq", "dtype": "auto", "enforce_eager": False}),
    # as vLLM's command line takes them
    ("VLLMEngine", {"max-num-seqs": "64", "max_num_batched_tokens": "16k", "gpu-memory-utilization": "0.5"}),
    ("VLLMEngine", {"max_model_len": -1, "gpu_memory_utilization": 1, "enable_prefix_caching": None}),
    ("VLLMEngine", {"compilation_config": {"cudagraph_mode": "NONE"}, "compilation_config.cache_dir": "/c"}),
    ("VLLMEngine", {"compilation-config": '{"cudagraph_mode": "NONE"}', "speculative_config": {"method": "ngram"}}),
    ("VLLMEngine", {"cudagraph_capture_sizes": [1, 2], "allowed_media_domains": "one", "max_lora_rank": 64}),
    ("VLLMEngine", {"moe_backend": "Deep-Gemm", "hf_overrides": {"rope_scaling": {"factor": 2.0}}, "seed": 7}),
    ("VLLMEngine", {"tokenizer": "/t", "chat_template": "x", "load_format": "dummy", "max_model_len": 10}),
    ("EmbeddingEngine", {"runner": "pooling", "pooler_config": {}}),
    ("LlamaCppEngine", {"n_parallel": 2, "flash_attn": "enabled", "tensor_split": [0.5, 0.5], "cache_type_k": "q8_0"}),
    ("LlamaCppEngine", {"chat_template_kwargs": {"enable_thinking": "false"}, "n_ctx": 4096, "warmup": None}),
    ("TRTLLMEngine", {"max_batch_size": 8, "kv_cache_config": {"free_gpu_memory_fraction": 0.9}}),
    ("TRTLLMEngine", {"tool_parser": "qwen3", "cuda_graph_config": None, "enable_chunked_prefill": True}),
    ("luminous", {"max_num_seqs": 4}),
    ("luminous", {"n_parallel": 4}),
]


@pytest.mark.parametrize(("kind", "kwargs"), ACCEPTED)
def test_accepted(kind, kwargs):
    assert findings(kind, kwargs) == []


REFUSED = [
    ("VLLMEngine", "max_num_seq", 4, "HR301", "unknown to vLLM 0.30.0 (did you mean max_num_seqs?)"),
    ("VLLMEngine", "n_gpu_layer", 4, "HR301", "leave it out"),
    ("VLLMEngine", "tp", 4, "HR301", "(did you mean tensor_parallel_size?)"),
    ("VLLMEngine", "no_enable_prefix_caching", True, "HR301", "write enable_prefix_caching: false"),
    ("VLLMEngine", "max_num_seqs.x", 1, "HR301", "unknown to vLLM"),
    ("VLLMEngine", "compilation_config", {"cudagraf_mode": 1}, "HR301", "(did you mean cudagraph_mode?)"),
    ("VLLMEngine", "compilation_config.levl", 3, "HR301", "has no levl"),
    ("VLLMEngine", "disable_log_requests", True, "HR302", "enable_log_requests"),
    ("VLLMEngine", "worker_use_ray", True, "HR302", "distributed_executor_backend: ray"),
    ("VLLMEngine", "num_tokenizer_workers", 2, "HR302", "no tokenizer pool any more"),
    ("VLLMEngine", "load_s3_path", "s3://b/", "HR302", "engine.s3Mirror"),
    ("VLLMEngine", "rope-scaling", {}, "HR302", "hf_overrides"),
    ("VLLMEngine", "quantization", "squeezellm", "HR302", "awq or gptq"),
    ("VLLMEngine", "enforce_eager", 1, "HR303", "accepted: true or false, without quotes"),
    ("VLLMEngine", "enforce_eager", "true", "HR303", "accepted: true or false, without quotes"),
    ("VLLMEngine", "max_num_seqs", True, "HR303", "accepted: a whole number"),
    ("VLLMEngine", "max_num_seqs", 1.5, "HR303", "accepted: a whole number"),
    ("VLLMEngine", "max_num_batched_tokens", "16 k", "HR303", "also with a unit as in 16k"),
    ("VLLMEngine", "quantization", True, "HR303", "accepted: text"),
    ("VLLMEngine", "dtype", "fp16", "HR303", "bfloat16 or"),
    ("VLLMEngine", "max_lora_rank", 63, "HR303", "accepted: 1 or 8 or 16"),
    ("VLLMEngine", "speculative_config", "ngram", "HR303", "accepted: a map"),
    ("VLLMEngine", "cudagraph_capture_sizes", [1, "x"], "HR303", "accepted: a list, of a whole number"),
    ("VLLMEngine", "cudagraph_capture_sizes", [], "HR303", "accepted: a list"),
    ("VLLMEngine", "gpu_memory_utilization", 0, "HR304", "more than 0 and at most 1"),
    ("VLLMEngine", "gpu_memory_utilization", 90, "HR304", "more than 0 and at most 1"),
    ("VLLMEngine", "max_num_seqs", 0, "HR304", "at least 1"),
    ("VLLMEngine", "max_num_seqs", "0", "HR304", "at least 1"),
    ("VLLMEngine", "max_model_len", -2, "HR304", "at least 1 or -1"),
    ("VLLMEngine", "model", "x", "HR305", "engine.hfModelId"),
    ("VLLMEngine", "served-model-name", "x", "HR305", "queue.checkpointName"),
    ("VLLMEngine", "tensor_parallel_size", 2, "HR305", "scaling.numWorkers"),
    ("VLLMEngine", "pipeline_parallel_size", 2, "HR305", "engine.pipelineParallelSize"),
    ("VLLMEngine", "port", 1, "HR305", "loopback"),
    ("VLLMEngine", "api_key", "x", "HR305", "queue"),
    ("VLLMEngine", "hf-token", "hf_abc", "HR305", "HF_TOKEN into the Secret that engine.credentialsSecretRef names"),
    ("EmbeddingEngine", "task", "embed", "HR302", "runner: pooling"),
    ("LlamaCppEngine", "n_paralel", 2, "HR301", "(did you mean n_parallel?)"),
    ("LlamaCppEngine", "n-parallel", 2, "HR301", "(did you mean n_parallel?)"),
    ("LlamaCppEngine", "ctx-size", 2, "HR302", "write n_ctx"),
    ("LlamaCppEngine", "ngl", 99, "HR302", "write n_gpu_layers"),
    ("LlamaCppEngine", "n-gpu-layers", 99, "HR301", "(did you mean n_gpu_layers?)"),
    ("LlamaCppEngine", "parallel", 2, "HR302", "write n_parallel"),
    ("LlamaCppEngine", "flash-attn", True, "HR301", "(did you mean flash_attn?)"),
    ("LlamaCppEngine", "flash_attn", True, "HR303", "auto or disabled or enabled"),
    ("LlamaCppEngine", "n_batch", "64", "HR303", "accepted: a whole number"),
    ("LlamaCppEngine", "tensor_split", 0.5, "HR303", "accepted: a list, of a number"),
    ("LlamaCppEngine", "chat_template_kwargs", {"a": 1}, "HR303", "accepted: a map of texts"),
    ("LlamaCppEngine", "n_parallel", 0, "HR304", "at least 1"),
    ("LlamaCppEngine", "hf_token", "hf_abc", "HR305", "engine.credentialsSecretRef"),
    ("LlamaCppEngine", "api_keys", ["x"], "HR305", "queue"),
    ("LlamaCppEngine", "port", 1, "HR305", "loopback"),
    ("TRTLLMEngine", "max_batchsize", 1, "HR301", "TensorRT-LLM 1.3.0rc3 (did you mean max_batch_size?)"),
    ("TRTLLMEngine", "kv_cache_config", {"max_token": 1}, "HR301", "(did you mean max_tokens?)"),
    ("TRTLLMEngine", "max_num_seqs", 1, "HR302", "write max_batch_size"),
    ("TRTLLMEngine", "guided_decoding_backend", "outlines", "HR303", "xgrammar or llguidance"),
    ("TRTLLMEngine", "free_gpu_memory_fraction", 2.0, "HR304", "more than 0 and at most 1"),
    ("TRTLLMEngine", "tp_size", 2, "HR305", "scaling.numWorkers"),
    ("luminous", "n_paralel", 4, "HR301", "unknown to"),
    ("luminous", "max_num_seqs", 0, "HR304", "at least 1"),
]


@pytest.mark.parametrize(("kind", "key", "value", "code", "says"), REFUSED)
def test_refused(kind, key, value, code, says):
    [finding] = findings(kind, {key: value})
    assert (finding.code, finding.path) == (code, ("spec", "engine", "engineKwargs", key))
    assert says in finding.text
    assert finding.severity == "error"


@pytest.mark.parametrize(
    ("kind", "key"), [("VLLMEngine", "hf_token"), ("VLLMEngine", "api-key"), ("luminous", "hf_token")]
)
def test_secrets_are_not_repeated(kind, key):
    [finding] = findings(kind, {key: "hf_secretword"})
    assert "secretword" not in finding.text
    assert "others would read it" in finding.text


def test_one_argument_in_two_spellings():
    [finding] = findings("VLLMEngine", {"max_num_seqs": 1, "max-num-seqs": 1})
    assert (finding.code, finding.path[-1]) == ("HR306", "max-num-seqs")
    assert "give one of the two, as max_num_seqs" in finding.text


@pytest.mark.parametrize(
    ("kind", "key", "value", "field"),
    [
        ("VLLMEngine", "max_model_len", 5, {"maxTotalTokens": 5}),
        ("VLLMEngine", "tokenizer", "t", {"tokenizerPath": "/t"}),
        ("VLLMEngine", "tokenizer", "t", {"tokenizerId": "t"}),
        ("VLLMEngine", "chat_template", "t", {"generation": {"promptFormat": {}}}),
        ("VLLMEngine", "load_format", "auto", {"unstable": {"skipCheckpointLoad": True}}),
        ("LlamaCppEngine", "n_ctx", 5, {"maxTotalTokens": 5}),
        ("TRTLLMEngine", "max_seq_len", 5, {"maxTotalTokens": 5}),
        ("TRTLLMEngine", "max_batch_size", 5, {"maxNumSequences": 5}),
    ],
)
def test_said_by_another_field_too(kind, key, value, field):
    [finding] = findings(kind, {key: value}, **field)
    assert (finding.code, finding.path[-1]) == ("HR307", key)
    assert "is not accepted beside engine." in finding.text


def test_every_hint_names_arguments_that_there_are():
    for name, knowledge in KNOWLEDGE.items():
        known = table(name).arguments
        assert not knowledge.older.keys() & known.keys()
        assert knowledge.bounds.keys() <= known.keys()
        assert knowledge.rivals.keys() <= known.keys()
        for hint in knowledge.older.values():
            words = hint.removeprefix("write ").replace(":", " ").replace(",", " ").split()
            if hint.startswith("write "):
                assert words[0] in known, hint


def test_rules_have_their_codes():
    assert [rule.code for rule in arguments.RULES] == [f"HR30{number}" for number in range(1, 8)]
    assert {rule.code for rule in arguments.RULES} <= {rule.code for rule in chain.CHAIN}
    assert set(ENGINES) == set(ENGINE)
