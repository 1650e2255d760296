"""Adapters and memory with a real llama.cpp: each adapter answers as itself, and the cache is as large as was said."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headrace_api.wire import Credit, HandBack, Result, Serving
from tests.waiting import until
from tests.worker import lora_files
from tests.worker.scripted_queue import Connection, ScriptedQueue
from tests.worker.test_llamacpp_worker import ANSWER, GENERATOR, QUESTION, START_S
from tests.worker.worker_process import worker

pytestmark = pytest.mark.engine


async def answer_of(connection: Connection, job: int, model: str) -> str:
    await connection.ask(job, QUESTION, temperature=0, max_tokens=30, model=model)
    await connection.expect(Result)
    await connection.ack(f"request-{job}")
    await connection.expect(Credit)
    return str(json.loads(connection.answers[job])["choices"][0]["message"]["content"])


async def test_each_adapter_answers_as_itself_and_the_model_as_without(tmp_path: Path, queue: ScriptedQueue) -> None:
    paths = [lora_files.gguf(tmp_path / f"{name}.gguf", seed) for seed, name in ((1, "one"), (2, "two"))]
    adapters = [{"name": path.stem, "source": str(path)} for path in paths]
    generator: dict[str, Any] = {**GENERATOR, "adapters": adapters, "engine_kwargs": {"verbosity": 4}}
    async with worker(tmp_path, queue.url, generator) as process:
        connection = await queue.connection()
        register, _ = await connection.greet()
        assert register.models == ["public-name", "public-name:one", "public-name:two"]
        asked = ["public-name", "public-name:one", "public-name", "public-name:two", "public-name:one", "public-name"]
        said = [await answer_of(connection, job, model) for job, model in enumerate(asked)]
        assert said[0] == said[2] == said[5] == ANSWER
        assert said[1] == said[4]
        assert len({said[0], said[1], said[3]}) == 3
        await connection.ask(9, QUESTION, model="public-name:gone")
        assert "has no model 'public-name:gone'" in (await connection.expect(HandBack)).reason
        await connection.expect(Credit)
        assert 'headrace_worker_adapters{state="served"} 2.0' in (await process.probe("/metrics"))[1]

        log = process.log.read_text()
        chosen = re.search(r"4 slots of 256 tokens: ([\d.]+) MiB KV cache", log)
        reported = re.search(r"llama_kv_cache: size = +([\d.]+) MiB", log)
        assert chosen
        assert reported
        assert float(chosen[1]) == pytest.approx(float(reported[1]), rel=0.01)

        lora_files.gguf(tmp_path / "three.gguf", 3)
        config = tmp_path / "worker_config.toml"
        config.write_text(config.read_text().replace("two", "three"))
        assert (await connection.expect(Serving)).adapters == ["public-name:one"]
        await until(lambda: "an adapter waits for a restart of the worker" in process.log.read_text(), START_S)
        await until(lambda: "it needs a restart of the worker" in connection.reports[-1].detail, START_S)
        _, metrics = await process.probe("/metrics")
        assert 'headrace_worker_adapters{state="needs_restart"} 1.0' in metrics
        assert 'headrace_worker_adapters{state="failed"} 0.0' in metrics
        assert await answer_of(connection, 10, "public-name:one") == said[1]
