"""docs/engines.md: every field has the effect that the table says with every engine, or is refused."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest

from headrace_api.registry import EngineConfig
from headrace_api.worker_config import Generator
from headrace_worker import engines
from headrace_worker.adapters import at_start
from headrace_worker.adapters.look import Here
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines import prompt_formats
from headrace_worker.engines.embedding import SENTENCE_TRANSFORMERS
from headrace_worker.engines.protocol import (
    CHAT_PATH,
    EngineApi,
    EngineCommand,
    EngineConfigError,
    EngineFacts,
    Programs,
    text_api,
)
from headrace_worker.engines.vllm import VllmAdapters
from headrace_worker.memory.fit import fit
from headrace_worker.memory.machine import GpuMemory, Machine
from headrace_worker.memory.model import Model
from tests.worker.worker_process import ROOT

FACTS = EngineFacts("", "public-name", 1, Programs("python", "vllm-python"), nvidia_gpus=1, folder="/run/e")
VENDOR = "vendor.Name"
GIB = 1 << 30
MACHINE = Machine((GpuMemory("GPU", 40 * GIB, 39 * GIB),) * 2, main=32 * GIB)
MODEL = Model(16 * GIB, 1 << 17, longest=1 << 17, layers=32, hidden=4096, inner=14336, vocabulary=128256, kv_heads=8)
LIGHT = frozenset({"EmbeddingEngine", SENTENCE_TRANSFORMERS})
COLUMNS: dict[str, tuple[str, EngineFacts]] = {
    "VLLMEngine": ("VLLMEngine", FACTS),
    "LlamaCppEngine": ("LlamaCppEngine", FACTS),
    "EmbeddingEngine, sentence-transformers": ("EmbeddingEngine", replace(FACTS, available=LIGHT)),
    "EmbeddingEngine, vLLM": ("EmbeddingEngine", replace(FACTS, available=LIGHT | {"VLLMEngine"})),
    "TRTLLMEngine": ("TRTLLMEngine", FACTS),
    VENDOR: (VENDOR, FACTS),
}
KWARGS = {
    "VLLMEngine": {"seed": 5},
    "LlamaCppEngine": {"n_batch": 5},
    "EmbeddingEngine": {"dtype": "float32"},
    "TRTLLMEngine": {"max_num_tokens": 5},
    VENDOR: {"anything": 5},
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
    "tokenizer_path": "/another",
    "weight_set_directories": ["/another"],
    "adapters": [{"name": "one", "source": "/one"}],
    "auto_memory_config": False,
    "memory_safety_margin": 0.27,
    "unstable.skip_checkpoint_load": True,
}
NOT_AN_ENGINES = {
    *("type", "s3_mirror_config", "gcs_mirror_config", "model_url", "model_description", "env_vars_to_propogate"),
    "adapters_file",
}
WITH_ROWS_WITHIN = ("generation", "unstable")


class Recording:
    """An engine of another distribution: it is told the whole section."""

    def locate(self, generator: Generator) -> str:
        return generator.source

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        return EngineCommand([VENDOR, facts.weights, generator.model_dump_json()])

    def slots(self, _generator: Generator) -> int:
        return 1

    def request_defaults(self, _generator: Generator) -> Mapping[str, list[Any]]:
        return {}

    def api(self, _generator: Generator) -> EngineApi:
        return replace(text_api(), adapters=VllmAdapters())


@pytest.fixture(autouse=True)
def vendors_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(load=lambda: Recording, value="vendor:Name")
    monkeypatch.setattr(engines, "registered", lambda: {VENDOR: point})


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
    here = [Here(adapter, Path(adapter.source)) for adapter in section.adapters]
    section = fit(at_start.prepared(chosen.generator, chosen.kind, here), chosen.kind, MODEL, MACHINE).generator
    facts = replace(facts, weights=section.source, served_name=section.model_id or "")
    facts = replace(facts, adapters=tuple(str(one.path) for one in here))
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


def test_every_field_has_a_row() -> None:
    known = {*EngineConfig.model_fields, *Generator.model_fields} - NOT_AN_ENGINES
    for section in WITH_ROWS_WITHIN:
        inner = Generator.model_fields[section].annotation
        known |= {f"{section}.{name}" for name in cast("Any", inner).model_fields}
    assert set(rows()) == known - set(WITH_ROWS_WITHIN)
    assert set(VALUES) | {"engine_kwargs"} == set(rows())


def test_every_engine_has_a_column() -> None:
    assert {kind for kind, _ in COLUMNS.values()} == {*engines.OURS, VENDOR}


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
