"""Engines behind one protocol: which there are, their command lines, and those of other distributions."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace_api.engine_arguments import table
from headrace_api.engine_arguments.argument import expected
from headrace_api.engine_arguments.knowledge import KNOWLEDGE
from headrace_api.worker_config import Generator
from headrace_worker import engines
from headrace_worker.engine_process import write_files
from headrace_worker.engines import OURS, gguf
from headrace_worker.engines.embedding import SENTENCE_TRANSFORMERS, Embedding
from headrace_worker.engines.protocol import Call, EngineCommand, EngineConfigError, EngineFacts, Programs
from headrace_worker.engines.trtllm import TensorRtLlm
from headrace_worker.engines.vllm import Vllm

PROGRAMS = Programs("/venv/bin/python", "/vllm/bin/python", "/light/bin/python", "/trt/bin/trtllm-serve")
FACTS = EngineFacts("/models/m", "public-name", 12345, PROGRAMS, folder="/run/e")
BUILT = replace(FACTS, names=frozenset({"rank0.engine", "config.json"}))
LIGHT = replace(FACTS, available=frozenset({"EmbeddingEngine", SENTENCE_TRANSFORMERS}))
BOTH = replace(FACTS, available=frozenset({"EmbeddingEngine", "VLLMEngine", SENTENCE_TRANSFORMERS}))


def generator(kind: Any, **keys: Any) -> Generator:
    return Generator(type=kind, model_id="m", **keys)


def trtllm(facts: EngineFacts = FACTS, **keys: Any) -> tuple[list[str], dict[str, Any]]:
    command = TensorRtLlm().command(generator("TRTLLMEngine", **keys), facts)
    assert command.argv[-2:] == ["--config", "/run/e/trtllm_options.yaml"]
    return command.argv[:-2], json.loads(command.files["/run/e/trtllm_options.yaml"])


def told(facts: EngineFacts, **keys: Any) -> dict[str, Any]:
    command = Embedding().command(generator("EmbeddingEngine", **keys), facts)
    assert command.argv[:2] == ["/light/bin/python", "-P"]
    assert Path(command.argv[2]).name == "embedding_server.py"
    found: dict[str, Any] = json.loads(command.argv[3])
    return found


def test_tensorrt_llm_with_nothing_but_a_model() -> None:
    argv, options = trtllm()
    start = ["/trt/bin/trtllm-serve", "/models/m", "--host", "127.0.0.1", "--port", "12345", "--backend"]
    assert argv == [*start, "pytorch"]
    assert options == {
        "kv_cache_config": {"free_gpu_memory_fraction": 0.95},
        "max_batch_size": 256,
        "pipeline_parallel_size": 1,
        "tensor_parallel_size": 1,
    }
    assert trtllm(BUILT)[0] == [*start, "tensorrt"]


def test_tensorrt_llm_with_everything() -> None:
    argv, options = trtllm(
        scheduler_policy="MAX_UTILIZATION",
        logger_level="INTERNAL_ERROR",
        max_num_sequences=64,
        max_tokens_in_paged_kv_cache=8192,
        kv_cache_free_gpu_mem_fraction=0.8,
        enable_trt_overlap=False,
        tensor_parallel_size=4,
        pipeline_parallel_size=2,
        max_total_tokens=4096,
        tokenizer_id="org/tokenizer",
        unstable={"skip_checkpoint_load": True},
        engine_kwargs={
            "kv_cache_config": {"dtype": "fp8", "max_tokens": 1},
            "enable_chunked_prefill": True,
            "tool_parser": "qwen3",
            "custom_module_dirs": ["/a", "/b"],
            "revision": None,
        },
    )
    assert argv[7:] == [
        *("pytorch", "--log_level", "internal_error", "--tokenizer", "org/tokenizer", "--tool_parser", "qwen3"),
        *("--custom_module_dirs", "/a", "--custom_module_dirs", "/b"),
    ]
    assert options == {
        "disable_overlap_scheduler": True,
        "enable_chunked_prefill": True,
        "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.8, "max_tokens": 8192},
        "load_format": "dummy",
        "max_batch_size": 64,
        "max_seq_len": 4096,
        "pipeline_parallel_size": 2,
        "scheduler_config": {"capacity_scheduler_policy": "MAX_UTILIZATION"},
        "tensor_parallel_size": 4,
    }


def test_tensorrt_llm_gets_a_share_of_memory_once() -> None:
    assert trtllm(engine_kwargs={"free_gpu_memory_fraction": 0.5})[1]["kv_cache_config"] == {
        "free_gpu_memory_fraction": 0.5
    }
    inside = {"kv_cache_config": {"free_gpu_memory_fraction": 0.4}}
    assert trtllm(engine_kwargs=inside)[1]["kv_cache_config"] == {"free_gpu_memory_fraction": 0.4}
    assert "kv_cache_config" not in trtllm(auto_memory_config=False)[1]


TENSORRT_LLM = table("tensorrt_llm").arguments
EVERYTHING: dict[str, Any] = {
    "logger_level": "INTERNAL_ERROR",
    "tokenizer_id": "a/b",
    "scheduler_policy": "MAX_UTILIZATION",
    "max_num_sequences": 8,
    "max_tokens_in_paged_kv_cache": 4096,
    "kv_cache_free_gpu_mem_fraction": 0.5,
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 2,
    "max_total_tokens": 2048,
    "generation": {
        "prompt_format": dict.fromkeys(("system", "user", "assistant", "trailing_assistant"), "{instruction}")
    },
}
CHECKPOINT = {"enable_trt_overlap": True, "unstable": {"skip_checkpoint_load": True}}


def is_known(options: dict[str, Any], *, on_the_command_line: bool) -> None:
    for name, value in options.items():
        argument = TENSORRT_LLM[name]
        # what is said twice, or set by the worker itself, is not refused here, but it has to be of the right kind
        assert expected(argument, value, text=on_the_command_line) == "", (name, value)
        assert argument.option or not on_the_command_line, name
        assert not (argument.server and not on_the_command_line), name
        assert not argument.keys or set(value) <= set(argument.keys), (name, value)


@pytest.mark.parametrize(
    ("facts", "keys"),
    [
        (FACTS, {}),
        (FACTS, EVERYTHING | CHECKPOINT),
        (BUILT, EVERYTHING | {"model_type": "V1"}),
        (FACTS, {"tokenizer_path": "/t", "engine_kwargs": {"backend": "trt", "free_gpu_memory_fraction": 0.4}}),
    ],
)
def test_every_option_for_tensorrt_llm_is_in_its_table(facts: EngineFacts, keys: dict[str, Any]) -> None:
    argv, options = trtllm(facts, **keys)
    words = argv[2:]
    is_known(
        dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True)), on_the_command_line=True
    )
    is_known(options, on_the_command_line=False)
    assert TENSORRT_LLM["config"].option


SAMPLES = {"boolean": True, "integer": 1, "number": 0.5, "string": "text", "object": {}, "json": [1]}


@pytest.mark.parametrize("name", sorted(TENSORRT_LLM.keys() - KNOWLEDGE["tensorrt_llm"].own.keys() - {"backend"}))
def test_every_argument_of_tensorrt_llm_has_its_place(name: str) -> None:
    argument = TENSORRT_LLM[name]
    value = argument.choices[0] if argument.choices else SAMPLES[argument.kind]
    value = [value] if argument.many else value
    facts = BUILT if argument.only == "tensorrt" else FACTS
    for spelling in (name, *argument.aliases):
        argv, options = trtllm(facts, engine_kwargs={spelling: value})
        if name == "free_gpu_memory_fraction":  # beside the file's kv_cache_config the option would be lost
            assert options["kv_cache_config"] == {name: value}
        elif argument.form == "flag":
            assert f"--{name}" in argv
        elif argument.server:
            text = value[0] if argument.many else value
            assert argv[argv.index(f"--{argument.target or name}") + 1] == (
                text if isinstance(text, str) else str(text)
            )
        else:
            merged = {"free_gpu_memory_fraction": 0.95} if name == "kv_cache_config" else {}
            assert options[name] == (value | merged if merged else value)
            assert f"--{name}" not in argv
    if argument.only:
        with pytest.raises(EngineConfigError, match=rf"engine_kwargs\.{name}: .* because only {argument.only} has it"):
            trtllm(FACTS if argument.only == "tensorrt" else BUILT, engine_kwargs={name: value})


@pytest.mark.parametrize(
    ("keys", "facts", "says"),
    [
        ({"enable_trt_overlap": True}, BUILT, "enable_trt_overlap: True is not accepted with a built engine"),
        ({"unstable": {"skip_checkpoint_load": True}}, BUILT, "skip_checkpoint_load: True is not accepted with a buil"),
        ({"model_type": "V1"}, FACTS, "model_type: 'V1' is not accepted; accepted: text-generation, Inflight"),
        ({"model_type": "x"}, BUILT, "model_type: 'x' is not accepted; accepted: text-generation, Inflight.*, V1"),
        ({"engine_kwargs": {"max_num_seq": 1}}, FACTS, "max_num_seq: unknown to TensorRT-LLM"),
        (
            {"engine_kwargs": {"enable_chunked_prefil": True}},
            FACTS,
            r"enable_chunked_prefil: unknown to TensorRT-LLM \S+ \(did you mean enable_chunked_prefill\?\)",
        ),
        (
            {"engine_kwargs": {"moe_config": {"backnd": "AUTO"}}},
            FACTS,
            r"moe_config: has no backnd \(did you mean backend",
        ),
        (
            {"engine_kwargs": {"tool_parser": "qwen"}},
            FACTS,
            "tool_parser: 'qwen' is not accepted; accepted: deepseek_v3",
        ),
        ({"engine_kwargs": {"grpc": True}}, FACTS, "grpc: True is not accepted, because Headrace sets it itself"),
        (
            {"engine_kwargs": {"extra_llm_api_options": "/f"}},
            FACTS,
            "extra_llm_api_options: '/f' is not accepted, becau",
        ),
        (
            {"engine_kwargs": {"max_batch_size": "many"}},
            FACTS,
            "max_batch_size: 'many' is not accepted; .* whole number",
        ),
        ({"tokenizer_id": "a/b", "tokenizer_path": "/t"}, FACTS, "tokenizer_id: 'a/b' is not accepted beside"),
    ],
)
def test_tensorrt_llm_refusals(keys: dict[str, Any], facts: EngineFacts, says: str) -> None:
    with pytest.raises(EngineConfigError, match=says):
        trtllm(facts, **keys)


def test_tensorrt_llm_batching_of_built_engines() -> None:
    assert trtllm(BUILT, model_type="InflightFusedBatching")[1]["batching_type"] == "INFLIGHT"
    assert trtllm(BUILT, model_type="V1")[1]["batching_type"] == "STATIC"
    assert "batching_type" not in trtllm(model_type="InflightFusedBatching")[1]


def test_embeddings_by_sentence_transformers() -> None:
    assert told(LIGHT, max_batch_size=8, batch_wait_timeout_s=0.05, max_total_tokens=128, tokenizer_id="a/b") == {
        "model": "/models/m",
        "served_name": "public-name",
        "port": 12345,
        "max_batch_size": 8,
        "batch_wait_timeout_s": 0.05,
        "max_total_tokens": 128,
        "backend": "torch",
        "tokenizer": "a/b",
        "skip_checkpoint_load": False,
        "options": {},
    }
    assert told(LIGHT, optimize="onnx", engine_kwargs={"dtype": "float32"})["options"] == {"dtype": "float32"}
    assert told(BOTH, optimize="onnx")["backend"] == "onnx"
    assert told(replace(BOTH, architectures=("NoSuchModel",)))["backend"] == "torch"


def test_embeddings_by_vllm() -> None:
    facts = replace(BOTH, architectures=("BertModel",))
    given = generator("EmbeddingEngine", max_batch_size=16, max_total_tokens=128)
    argv = Embedding().command(given, facts).argv
    assert argv == [
        *("/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/models/m"),
        *("--served-model-name", "public-name", "--host", "127.0.0.1", "--port", "12345", "--max-model-len", "128"),
        *("--runner", "pooling", "--max-num-seqs", "16", "--disable-uvicorn-access-log"),
    ]
    assert Embedding().slots(given) == 32
    given = generator("EmbeddingEngine", engine_kwargs={"max-num-seqs": 4})
    assert Embedding().slots(given) == 8
    assert "4" in Embedding().command(given, facts).argv


@pytest.mark.parametrize(
    ("keys", "facts", "says"),
    [
        ({}, FACTS, r"needs sentence-transformers, which is not installed \(there is no vLLM either\)"),
        (
            {"optimize": "onnx"},
            replace(FACTS, available=frozenset({"VLLMEngine"})),
            r"optimize: 'onnx' needs .* \(vLLM has no ONNX\): install headrace\[embeddings\]",
        ),
        (
            {},
            replace(FACTS, available=frozenset({"VLLMEngine"}), architectures=("XModel",)),
            r"vLLM has no embeddings of XModel",
        ),
        ({"engine_kwargs": {"seed": 1}}, LIGHT, "seed: 1 is not accepted .*takes dtype, trust_remote_code, revision"),
        ({"generation": {"generate_kwargs": {"n": 1}}}, LIGHT, "generate_kwargs: .* no text is generated"),
        ({"model_type": "text-generation"}, LIGHT, "model_type: 'text-generation' .* write embedding"),
        ({"pipeline_parallel_size": 2}, LIGHT, "pipeline_parallel_size: 2 is not accepted"),
        ({"tensor_parallel_size": 2}, LIGHT, "tensor_parallel_size: 2 is not accepted"),
    ],
)
def test_embedding_refusals(keys: dict[str, Any], facts: EngineFacts, says: str) -> None:
    with pytest.raises(EngineConfigError, match=says):
        Embedding().command(generator("EmbeddingEngine", **keys), facts)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"type": "VLLMEngine"}, True),
        ({"type": "VLLMEngine", "engine_kwargs": {"runner": "pooling"}}, False),
        ({"type": "VLLMEngine", "generation": {"prompt_format": {}}}, False),
        ({"type": "LlamaCppEngine"}, True),
        ({"type": "TRTLLMEngine"}, False),
        ({"type": "EmbeddingEngine"}, False),
        ({"type": "luminous"}, True),
        ({"type": "luminous", "generation": {"prompt_format": {}}}, False),
        ({"type": "unheard.Of"}, False),
    ],
)
def test_whether_an_answer_can_be_continued_is_known_at_once(keys: dict[str, Any], expected: bool) -> None:
    assert engines.continues(Generator(model_id="m", **keys)) is expected


def test_paths_metrics_and_adapters() -> None:
    apis = {kind: engine().api(generator(kind)) for kind, engine in OURS.items()}
    assert {kind: api.paths for kind, api in apis.items()} == {
        "EmbeddingEngine": ("/v1/embeddings", "/tokenize"),
        "LlamaCppEngine": ("/v1/chat/completions", "/v1/completions", "/tokenize"),
        "TRTLLMEngine": ("/v1/chat/completions", "/v1/completions"),
        "VLLMEngine": ("/v1/chat/completions", "/v1/completions", "/tokenize"),
    }
    assert all(api.warm.path in api.paths for api in apis.values())
    adapters = apis["VLLMEngine"].adapters
    assert adapters
    assert adapters.load("m:a", "/a") == Call("/v1/load_lora_adapter", {"lora_name": "m:a", "lora_path": "/a"})
    assert adapters.unload("m:a") == Call("/v1/unload_lora_adapter", {"lora_name": "m:a"})
    embeds = generator("LlamaCppEngine", engine_kwargs={"embedding": True})
    assert OURS["LlamaCppEngine"]().api(embeds).paths == ("/v1/embeddings", "/tokenize")
    assert Vllm().api(generator("VLLMEngine", engine_kwargs={"runner": "pooling"})).paths[0] == "/v1/embeddings"
    measured = generator("TRTLLMEngine", engine_kwargs={"return_perf_metrics": True})
    assert TensorRtLlm().api(measured).metrics_path == "/prometheus/metrics"
    assert apis["TRTLLMEngine"].metrics_path == ""


def parts(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))


SPLIT = parts("Q8_0/m-Q8_0", 3)
FILES = ("README.md", "m.Q4_K_M.gguf", "m.Q4_K_S.gguf", "m.q6_k.GGUF", "mmproj-m-f16.gguf", *SPLIT)
# File names as the repositories have them that most GGUF models come from.
THEBLOKE = (
    *(f"llama-2-7b.{quant}.gguf" for quant in ("Q2_K", "Q3_K_S", "Q4_0", "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q8_0")),
    "config.json",
)
BARTOWSKI = (
    *(f"google_gemma-3-27b-it-{quant}.gguf" for quant in ("IQ2_XXS", "IQ2_XS", "IQ4_NL", "Q4_0", "Q4_K_M", "Q4_K_L")),
    *(f"google_gemma-3-27b-it-{quant}.gguf" for quant in ("Q3_K_XL", "Q4_0_4_4", "Q8_0", "imatrix")),
    *parts("google_gemma-3-27b-it-bf16/google_gemma-3-27b-it-bf16", 2),
    *(
        "mmproj-google_gemma-3-27b-it-f16.gguf",
        "mmproj-google_gemma-3-27b-it-bf16.gguf",
        "google_gemma-3-27b-it.imatrix",
    ),
)
UNSLOTH = (
    *parts("BF16/Qwen3-235B-A22B-BF16", 10),
    *parts("Q4_K_M/Qwen3-235B-A22B-Q4_K_M", 3),
    *parts("UD-Q4_K_XL/Qwen3-235B-A22B-UD-Q4_K_XL", 3),
    *("Qwen3-235B-A22B-UD-IQ1_S.gguf", "Qwen3-235B-A22B-Q2_K.gguf", "Qwen3-235B-A22B-UD-Q2_K.gguf"),
    *("Qwen3-235B-A22B-UD-TQ1_0.gguf", "Qwen3-235B-A22B-MXFP4_MOE.gguf", "imatrix_unsloth.gguf", "mmproj-F16.gguf"),
)
MRADERMACHER = (
    *(
        "Cool.i1-Q4_K_M.gguf",
        "Cool.i1-IQ3_XXS.gguf",
        "Cool.imatrix.gguf",
        "Cool.mmproj-f16.gguf",
        "Cool.mmproj-Q8_0.gguf",
    ),
    *("Cool.i1-Q6_K.gguf.part1of2", "Cool.i1-Q6_K.gguf.part2of2"),
)
QWEN = (
    *parts("qwen2.5-7b-instruct-q4_k_m", 2),
    *parts("qwen2.5-7b-instruct-fp16", 4),
    *("qwen2.5-7b-instruct-q2_k.gguf", "qwen2.5-7b-instruct-q3_k_m.gguf"),
)
DRAFTS = ("Hy3-Q4_0.gguf", "mtp-Q4_0.gguf", "eagle3-Hy3-Q4_0.gguf", "Hy3-Q4_0-LoRA.gguf", "Hy3-IQ1_M-mtp.gguf")


@pytest.mark.parametrize(
    ("names", "quant", "files"),
    [
        (FILES, "Q4_K_M", ("m.Q4_K_M.gguf",)),
        (FILES, "q4_k_s", ("m.Q4_K_S.gguf",)),
        (FILES, "Q6_K", ("m.q6_k.GGUF",)),
        (reversed(FILES), "Q8_0", SPLIT),
        (("only.gguf", "mmproj-only.gguf"), None, ("only.gguf",)),
        (SPLIT, None, SPLIT),
        (THEBLOKE, "Q4_K_M", ("llama-2-7b.Q4_K_M.gguf",)),
        (THEBLOKE, "q4_0", ("llama-2-7b.Q4_0.gguf",)),
        (THEBLOKE, "llama-2-7b.Q2_K.gguf", ("llama-2-7b.Q2_K.gguf",)),
        (BARTOWSKI, "IQ2_XXS", ("google_gemma-3-27b-it-IQ2_XXS.gguf",)),
        (BARTOWSKI, "iq2_xs", ("google_gemma-3-27b-it-IQ2_XS.gguf",)),
        (BARTOWSKI, "Q4_0", ("google_gemma-3-27b-it-Q4_0.gguf",)),
        (BARTOWSKI, "Q3_K_XL", ("google_gemma-3-27b-it-Q3_K_XL.gguf",)),
        (BARTOWSKI, "BF16", parts("google_gemma-3-27b-it-bf16/google_gemma-3-27b-it-bf16", 2)),
        (UNSLOTH, "Q4_K_M", parts("Q4_K_M/Qwen3-235B-A22B-Q4_K_M", 3)),
        (UNSLOTH, "UD-Q4_K_XL", parts("UD-Q4_K_XL/Qwen3-235B-A22B-UD-Q4_K_XL", 3)),
        (UNSLOTH, "q4_k_xl", parts("UD-Q4_K_XL/Qwen3-235B-A22B-UD-Q4_K_XL", 3)),
        (UNSLOTH, "bf16", parts("BF16/Qwen3-235B-A22B-BF16", 10)),
        (UNSLOTH, "Q2_K", ("Qwen3-235B-A22B-Q2_K.gguf",)),
        (UNSLOTH, "UD-Q2_K", ("Qwen3-235B-A22B-UD-Q2_K.gguf",)),
        (UNSLOTH, "IQ1_S", ("Qwen3-235B-A22B-UD-IQ1_S.gguf",)),
        (UNSLOTH, "MXFP4_MOE", ("Qwen3-235B-A22B-MXFP4_MOE.gguf",)),
        (MRADERMACHER, "Q4_K_M", ("Cool.i1-Q4_K_M.gguf",)),
        (MRADERMACHER, "i1-Q4_K_M", ("Cool.i1-Q4_K_M.gguf",)),
        (MRADERMACHER, "IQ3_XXS", ("Cool.i1-IQ3_XXS.gguf",)),
        (QWEN, "Q4_K_M", parts("qwen2.5-7b-instruct-q4_k_m", 2)),
        (QWEN, "F16", parts("qwen2.5-7b-instruct-fp16", 4)),
        (QWEN, "fp16", parts("qwen2.5-7b-instruct-fp16", 4)),
        (
            ("Phi-3-mini-4k-instruct-q4.gguf", "Phi-3-mini-4k-instruct-fp16.gguf"),
            "Q4",
            ("Phi-3-mini-4k-instruct-q4.gguf",),
        ),
        (("gpt-oss-20b-mxfp4.gguf",), "MXFP4", ("gpt-oss-20b-mxfp4.gguf",)),
        (("M-IQ3_S-imat.gguf", "M-IQ3_M-imat.gguf"), "IQ3_S", ("M-IQ3_S-imat.gguf",)),
        (("M-IQ3_S-imat.gguf", "M-IQ3_M-imat.gguf"), "IQ3_S-imat", ("M-IQ3_S-imat.gguf",)),
        (("model_q8_0.gguf", "model_q4_k_m.gguf"), "Q8_0", ("model_q8_0.gguf",)),
        (DRAFTS, "Q4_0", ("Hy3-Q4_0.gguf",)),
        (DRAFTS, "IQ1_M", ("Hy3-IQ1_M-mtp.gguf",)),
    ],
)
def test_a_quantization_picks_its_file(names: Any, quant: str | None, files: tuple[str, ...]) -> None:
    assert gguf.choose_files(names, quant) == files


@pytest.mark.parametrize(
    ("names", "quant", "says"),
    [
        ((), None, "there is no .gguf file"),
        (FILES, None, "several .gguf files fit: .*quantizations: Q4_K_M, Q4_K_S, Q6_K, Q8_0; add the quantization"),
        (FILES, "Q4_K", "no .gguf file is quantized as 'Q4_K'; there are: .*m.Q4_K_M.gguf, .*; quantizations: Q4_K_M"),
        (FILES, "K_M", "no .gguf file is quantized as 'K_M'; there are: Q8_0/m-Q8_0-00001-of-00003.gguf, m"),
        (("a.Q8_0.gguf", "b.Q8_0.gguf"), "Q8_0", "several .gguf files fit: a.Q8_0.gguf, b.Q8_0.gguf.*; name the file"),
        ((SPLIT[0], SPLIT[2]), "Q8_0", "'Q8_0/m-Q8_0' is in 3 parts, of which number 2 is missing"),
        (UNSLOTH, "Q9", "quantizations: BF16, MXFP4_MOE, Q2_K, Q4_K_M, UD-IQ1_S, UD-Q2_K, UD-Q4_K_XL, UD-TQ1_0"),
        (MRADERMACHER, "Q6_K", "'Cool.i1-Q6_K.gguf.part1of2' are not read: join them"),
        (
            ("f.Q4_K_M.gguf-split-a", "f.Q4_K_M.gguf-split-b"),
            "Q4_K_M",
            "no .gguf file; parts like 'f.Q4_K_M.gguf-split-a'",
        ),
        (("mmproj-model-f16.gguf", "m-mmproj-F32.gguf", "imatrix.gguf"), None, "there is no .gguf file"),
    ],
)
def test_files_that_cannot_be_picked_are_listed(names: Any, quant: str | None, says: str) -> None:
    with pytest.raises(gguf.GgufError, match=says):
        gguf.choose_files(names, quant)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("TheBloke/CoolModelv2:Q4_K_M", ("TheBloke/CoolModelv2", "Q4_K_M")),
        ("TheBloke/CoolModelv2", ("TheBloke/CoolModelv2", None)),
        ("/models/m:Q8_0", ("/models/m", "Q8_0")),
        ("unsloth/Qwen3-GGUF:UD-Q4_K_XL", ("unsloth/Qwen3-GGUF", "UD-Q4_K_XL")),
        ("TheBloke/Llama-2-7B-GGUF:llama-2-7b.Q2_K.gguf", ("TheBloke/Llama-2-7B-GGUF", "llama-2-7b.Q2_K.gguf")),
        ("s3://bucket/folder", ("s3://bucket/folder", None)),
        ("C:/models", ("C:/models", None)),
    ],
)
def test_names_with_a_quantization(source: str, parts: tuple[str, str | None]) -> None:
    assert gguf.split_name(source) == parts


OTHER = """
from headrace_worker.engines.protocol import EngineCommand, text_api

class Fast:
    def locate(self, generator): return generator.source
    def command(self, generator, facts):
        return EngineCommand(["fast", facts.weights, str(facts.port), str(self.slots(generator))])
    def slots(self, generator): return generator.engine_kwargs.get("lanes", 1)
    def request_defaults(self, generator): return {}
    def api(self, generator): return text_api("/fast")
"""


@pytest.fixture
def other_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "acme_fast-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-fast\nVersion: 1.0\n")
    points = "acme.Fast = acme_fast_engine:Fast\nacme.Gone = acme_gone:Engine\nVLLMEngine = acme_fast_engine:Fast\n"
    (info / "entry_points.txt").write_text(f"[headrace.engines]\n{points}")
    (tmp_path / "acme_fast_engine.py").write_text(OTHER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_fast_engine", raising=False)


@pytest.mark.usefixtures("other_distribution")
def test_another_distribution_adds_an_engine() -> None:
    given = generator("acme.Fast", engine_kwargs={"lanes": 3})
    chosen = engines.choose(given, ())
    assert chosen.engine.command(chosen.generator, FACTS).argv == ["fast", "/models/m", "12345", "3"]
    assert chosen.engine.api(given).paths[-1] == "/fast"
    assert engines.check(given) == ()
    assert isinstance(engines.engine_for("VLLMEngine"), Vllm)
    with pytest.raises(EngineConfigError, match=r"'acme.Gone' cannot be loaded from 'acme_gone:Engine': No module"):
        engines.engine_for("acme.Gone")
    with pytest.raises(EngineConfigError, match=r"'acme.Slow'; it serves: .*VLLMEngine, acme.Fast, acme.Gone"):
        engines.engine_for("acme.Slow")


def test_a_commands_files_are_the_workers_own(tmp_path: Path) -> None:
    path = tmp_path / "engine" / "options.yaml"
    command = EngineCommand(["x"], files={str(path): "{}\n"})
    write_files(command)
    assert path.read_text() == "{}\n"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(FileExistsError):
        write_files(command)
