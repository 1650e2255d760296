"""docs/engines.md: every field of the registry has the effect that the table says with every engine, or is refused."""

import json
import re
from dataclasses import replace
from typing import Any, cast

import aiohttp
import pytest

from headrace_api.registry import EngineConfig
from headrace_api.worker_config import Generator
from headrace_worker import engines
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines import prompt_formats
from headrace_worker.engines.embedding import SENTENCE_TRANSFORMERS
from headrace_worker.engines.protocol import CHAT_PATH, EngineConfigError, EngineFacts, Programs
from tests.worker.worker_process import ROOT

FACTS = EngineFacts("", "public-name", 1, Programs("python", "vllm-python"), nvidia_gpus=1, folder="/run/e")
LIGHT = frozenset({"EmbeddingEngine", SENTENCE_TRANSFORMERS})
COLUMNS: dict[str, tuple[str, EngineFacts]] = {
    "VLLMEngine": ("VLLMEngine", FACTS),
    "LlamaCppEngine": ("LlamaCppEngine", FACTS),
    "EmbeddingEngine, sentence-transformers": ("EmbeddingEngine", replace(FACTS, available=LIGHT)),
    "EmbeddingEngine, vLLM": ("EmbeddingEngine", replace(FACTS, available=LIGHT | {"VLLMEngine"})),
    "TRTLLMEngine": ("TRTLLMEngine", FACTS),
}
KWARGS = {
    "VLLMEngine": {"seed": 5},
    "LlamaCppEngine": {"n_batch": 5},
    "EmbeddingEngine": {"dtype": "float32"},
    "TRTLLMEngine": {"max_num_tokens": 5},
}
VALUES: dict[str, Any] = {
    "model_id": "another",
    "hf_model_id": "another",
    "model_local_path": "/another",
    "tokenizer_id": "another",
    "model_type": "of-another-kind",
    "max_total_tokens": 77,
    "runtime_env": {"env_vars": {"ANOTHER": "1"}},
    "generation.prompt_format": dict.fromkeys(("system", "user", "assistant"), "<{instruction}>")
    | {"trailing_assistant": ">"},
    "generation.generate_kwargs": {"temperature": 0.77},
    "generation.stopping_sequences": ["another"],
    "scheduler_policy": "MAX_UTILIZATION",
    "logger_level": "ERROR",
    "max_num_sequences": 77,
    "max_tokens_in_paged_kv_cache": 77,
    "kv_cache_free_gpu_mem_fraction": 0.77,
    "enable_trt_overlap": False,
    "max_batch_size": 77,
    "batch_wait_timeout_s": 0.77,
    "optimize": "onnx",
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 2,
}
NOT_AN_ENGINES = {
    *("type", "s3_mirror_config", "gcs_mirror_config", "model_url", "model_description", "env_vars_to_propogate"),
    "generation",  # its fields have rows of their own
}


def rows() -> dict[str, dict[str, str]]:
    """The table of the page: cells by field and column."""
    text = (ROOT / "docs" / "engines.md").read_text()
    table = re.search(r"\n\| Field \|(.*)\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    assert table
    head = [cell.strip() for cell in table[1].strip(" |").split("|")]
    assert head == list(COLUMNS)
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table[2].splitlines()]
    return {name.strip("`"): dict(zip(head, cells, strict=True)) for name, *cells in lines}


CELLS = [(field, column, cell) for field, cells in rows().items() for column, cell in cells.items()]


def generator(kind: str, field: str, value: Any) -> Generator:
    section, _, inner = field.partition(".")
    given = {section: {inner: value}} if inner else {field: value}
    return Generator.model_validate({"type": kind, "model_id": "m", **given})


def outcome(section: Generator, facts: EngineFacts) -> str:
    """Everything that an engine would see: command, environment, files, how many requests, and each request."""
    chosen = engines.choose(section, ())
    engine = chosen.engine
    facts = replace(facts, weights=section.source, served_name=section.model_id or "")
    command = engine.command(section, facts)
    defaults, generation = engine.request_defaults(section), section.generation
    client = EngineClient(
        cast("aiohttp.ClientSession", None),
        "",
        Dialect(facts.served_name, defaults, generation, engine.api(section)),
    )
    request: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
    if generation.prompt_format is not None:
        request = prompt_formats.formatted(generation.prompt_format, request)
    sent = client.prepared(CHAT_PATH, request)
    files = [json.loads(text) for text in command.files.values()]
    told = json.dumps([command.env, files, engine.slots(section), sent])
    return "\n".join([*command.argv, told])


def test_every_field_of_the_registry_has_a_row() -> None:
    known = set(EngineConfig.model_fields) - NOT_AN_ENGINES
    nested = {"generation.prompt_format", "generation.generate_kwargs", "generation.stopping_sequences"}
    assert set(rows()) == known | nested | {"tensor_parallel_size", "pipeline_parallel_size"}
    assert set(VALUES) | {"engine_kwargs"} == set(rows())


@pytest.mark.parametrize(("field", "column", "cell"), CELLS, ids=[f"{field}-{column}" for field, column, _ in CELLS])
def test_the_table_says_what_a_field_does(field: str, column: str, cell: str) -> None:
    kind, facts = COLUMNS[column]
    value = KWARGS[kind] if field == "engine_kwargs" else VALUES[field]
    changed = generator(kind, field, value)
    without = outcome(Generator(type=cast("Any", kind), model_id="m"), facts)
    if cell.startswith(("refused", "only ")):
        key = re.escape(f"generator.{field}")
        with pytest.raises(EngineConfigError, match=f"^{key}: .*accepted"):
            outcome(changed, facts)
        if cell.startswith("only"):
            right = cell.split("`")[1]
            assert outcome(generator(kind, field, right), facts) == without
        return
    after = outcome(changed, facts)
    if cell.startswith("none: "):
        assert after == without
        return
    assert after != without
    for word in re.findall("`(.*?)`", cell):
        if not (field == "generation.stopping_sequences" and word == '"stop_token_ids"'):
            assert word in after
    if field == "generation.stopping_sequences" and "stop_token_ids" in cell:
        assert '"stop_token_ids": [7]' in outcome(generator(kind, field, [7]), facts)


def test_a_built_engine_refuses_what_it_has_no_setting_for() -> None:
    built = replace(FACTS, names=frozenset({"rank0.engine"}))
    with pytest.raises(EngineConfigError, match=r"^generator\.enable_trt_overlap: False is not accepted with a built"):
        outcome(generator("TRTLLMEngine", "enable_trt_overlap", False), built)
    assert "INFLIGHT" in outcome(generator("TRTLLMEngine", "model_type", "InflightFusedBatching"), built)
