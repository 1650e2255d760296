"""`type = "luminous"`: which engine a folder's files are for, and what is said where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace_api.worker_config import Generator, fingerprint
from headrace_worker.engines import check, choose, installed
from headrace_worker.engines.luminous import Listing, listing
from headrace_worker.engines.luminous import choose as choose_from
from headrace_worker.engines.protocol import EngineConfigError, Programs
from tests.worker.worker_process import SAMPLE_MODEL

ALL = ("LlamaCppEngine", "VLLMEngine", "TRTLLMEngine", "EmbeddingEngine")
TEXT = ("LlamaCppEngine", "VLLMEngine")
HUGGING_FACE = ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json")


def in_folder(*names: str, architectures: tuple[str, ...] = ("LlamaForCausalLM",)) -> Listing:
    return Listing("/w", tuple(sorted(names)), architectures if "config.json" in names else ())


@pytest.mark.parametrize(
    ("names", "available", "engine", "first_file"),
    [
        (("model.gguf", "tokenizer.json"), ALL, "LlamaCppEngine", "model.gguf"),
        (HUGGING_FACE, ALL, "VLLMEngine", "config.json"),
        (("config.json", "pytorch_model.bin"), ALL, "VLLMEngine", "config.json"),
        (("config.json", "rank0.engine"), ALL, "TRTLLMEngine", "rank0.engine"),
        ((*HUGGING_FACE, "modules.json"), ALL, "EmbeddingEngine", "modules.json"),
        ((*HUGGING_FACE, "model.gguf"), ALL, "VLLMEngine", "config.json"),
        ((*HUGGING_FACE, "model.gguf"), ("LlamaCppEngine",), "LlamaCppEngine", "model.gguf"),
        (("config.json", "rank0.engine", "model.gguf"), TEXT, "LlamaCppEngine", "model.gguf"),
    ],
)
def test_files_tell_the_engine(names: tuple[str, ...], available: Any, engine: str, first_file: str) -> None:
    found = choose_from(in_folder(*names), available)
    assert (found.engine, found.files[0]) == (engine, first_file)


@pytest.mark.parametrize(
    ("found_in", "says"),
    [
        (
            in_folder("tokenizer.json", "model.pt"),
            "'/w' holds no weights that an engine can load; found: model.pt, tokenizer",
        ),
        (in_folder(), "found: nothing; accepted: one .gguf file"),
        (in_folder("model.safetensors"), "found: model.safetensors; accepted"),
        (
            in_folder("config.json", "m.safetensors", architectures=()),
            "found: config.json without architectures, m.safe",
        ),
        (in_folder("config.json", "training_args.bin"), "found: config.json, training_args.bin; accepted"),
        (in_folder("rank0.engine"), "found: rank0.engine; accepted"),
        (in_folder(*(f"{n:02}.pt" for n in range(30))), "19.pt, 10 more; accepted"),
        (
            in_folder(*HUGGING_FACE, "modules.json"),
            "holds weights for an engine that this worker does not have; found: EmbeddingEngine (modules.json, ",
        ),
    ],
)
def test_a_folder_that_cannot_be_served_is_described(found_in: Listing, says: str) -> None:
    with pytest.raises(EngineConfigError) as caught:
        choose_from(found_in, TEXT)
    assert str(caught.value).startswith("generator.weight_set_directories: '/w' holds ")
    assert says in str(caught.value)


def luminous(folder: Path, **keys: Any) -> Generator:
    return Generator(type="luminous", weight_set_directories=[str(folder)], **keys)


def test_the_sample_models_folder_goes_to_the_engine_that_is_installed() -> None:
    generator = luminous(SAMPLE_MODEL, tokenizer_path=str(SAMPLE_MODEL / "tokenizer.json"))
    with_vllm = choose(generator, TEXT)
    assert (with_vllm.kind, with_vllm.generator.tokenizer_path) == ("VLLMEngine", generator.tokenizer_path)
    without = choose(generator, ("LlamaCppEngine",))
    assert (without.kind, without.generator.tokenizer_path) == ("LlamaCppEngine", None)
    assert "sample-chat-f16.gguf" in without.notes[0]
    assert "is not used: a GGUF file holds its tokenizer" in without.notes[1]
    assert fingerprint(generator) != fingerprint(without.generator)


def test_a_named_vllm_interpreter_is_believed_to_have_it() -> None:
    assert {"VLLMEngine", "EmbeddingEngine"} <= installed(Programs("/bin/python", vllm="/vllm/bin/python"))
    assert "sentence-transformers" in installed(Programs("/bin/python", "/bin/python", embeddings="/light/bin/python"))
    assert "VLLMEngine" not in installed(Programs("/bin/python", vllm="/bin/python"))


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "No such file"), (SAMPLE_MODEL / "config.json", "Not a directory")):
        with pytest.raises(EngineConfigError, match=f"cannot be read: {reason}.*accepted: the folder that holds"):
            choose(luminous(path), TEXT)
    with pytest.raises(EngineConfigError, match="weight_set_directories: missing; luminous"):
        choose(Generator(type="luminous"), TEXT)


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"architectures": 5}', "[" * 100_000, '{"architectures": [1]}'])
def test_a_config_without_architectures_is_no_model(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").touch()
    assert listing(str(tmp_path)).architectures == ()
    with pytest.raises(EngineConfigError, match=r"found: config\.json without architectures, model.safetensors"):
        choose(luminous(tmp_path), TEXT)


def test_a_check_needs_no_weights_but_looks_at_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(EngineConfigError, match="optimize: 'onnx' is not accepted with luminous"):
        check(luminous(tmp_path / "none", optimize="onnx"))
    assert check(luminous(tmp_path / "none")) == (
        f"'{tmp_path}/none' is not on this machine: whether an engine can load it is not checked",
    )
    with pytest.raises(EngineConfigError, match="found: nothing"):
        check(luminous(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (tmp_path / "model.safetensors").touch()
    assert "is served by VLLMEngine" in check(luminous(tmp_path))[0]
    with pytest.raises(EngineConfigError, match=r"engine_kwargs\.port"):
        check(luminous(tmp_path, engine_kwargs={"port": 1}))


@pytest.mark.parametrize("engine", TEXT)
@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"scheduler_policy": "MAX_UTILIZATION"}, "generator.scheduler_policy: 'MAX_UTILIZATION' .* only TRTLLMEngine"),
        ({"logger_level": "INFO"}, "generator.logger_level: 'INFO' .* set LOG_LEVEL in the environment"),
        ({"max_num_sequences": 8}, "generator.max_num_sequences: 8 .* use engine_kwargs.max_num_seqs with VLLMEngine"),
        ({"max_tokens_in_paged_kv_cache": 8}, "generator.max_tokens_in_paged_kv_cache: 8 is not accepted"),
        ({"kv_cache_free_gpu_mem_fraction": 0.5}, "kv_cache_free_gpu_mem_fraction: 0.5 .* use memory_safety_margin"),
        ({"enable_trt_overlap": False}, "generator.enable_trt_overlap: False is not accepted"),
        ({"max_batch_size": 8}, "generator.max_batch_size: 8 .* only EmbeddingEngine has it"),
        ({"batch_wait_timeout_s": 0.1}, "generator.batch_wait_timeout_s: 0.1 .* only EmbeddingEngine has it"),
        ({"optimize": "onnx"}, "generator.optimize: 'onnx' .* only EmbeddingEngine has it"),
        ({"model_type": "embedding"}, "generator.model_type: 'embedding' .* write 'text-generation'"),
        (
            {"runtime_env": {"conda": {}}},
            r"runtime_env.conda: not accepted: the engine runs in .*; write the pa",
        ),
        ({"generation": {"generate_kwargs": {"stream": True}}}, "generate_kwargs.stream: not accepted, because every"),
    ],
)
def test_keys_without_effect_are_refused(engine: Any, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineConfigError, match=says):
        choose(Generator(type=engine, model_id="m", **keys), TEXT)


def test_text_generation_is_what_both_engines_do() -> None:
    choose(Generator(type="VLLMEngine", model_id="m", model_type="text-generation"), TEXT)
