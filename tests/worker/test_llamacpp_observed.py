"""What a whole worker with a real engine shows of itself: metrics and log."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace_api.wire import Credit, Register, Registered, Result
from tests.worker.scripted_queue import Connection, ScriptedQueue
from tests.worker.worker_process import GGUF, WorkerProcess, worker

pytestmark = pytest.mark.engine

QUESTION = "Who won the world series in 2020?"
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."
MARK = "Dodgers"
GENERATOR = {"type": "LlamaCppEngine", "model_id": str(GGUF), "max_total_tokens": 256}
START_S = 60


async def answered(process: WorkerProcess, connection: Connection) -> None:
    await connection.expect(Register)
    await connection.send(Registered())
    await process.until_ready(START_S)
    await connection.expect(Credit)
    for job, stream in enumerate((True, False)):
        await connection.ask(job, QUESTION, stream=stream, temperature=0)
        await connection.expect(Result)
        await connection.ack(f"request-{job}")
        await connection.expect(Credit)
    assert json.loads(connection.answers[1])["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_prompts_and_answers_are_in_the_log_at_debug_only(
    tmp_path: Path, queue: ScriptedQueue, level: str
) -> None:
    async with worker(tmp_path, queue.url, GENERATOR, LOG_LEVEL=level) as process:
        await answered(process, await queue.connection())
        _, page = await process.probe("/metrics")
        process.process.terminate()
        assert await process.exit_status() == 0
    lines = process.log.read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    for mark in ("world series", MARK):
        assert any(mark in line for line in lines) == (level == "debug"), mark
    samples = {
        (sample.name, sample.labels.get("kind") or sample.labels.get("state")): sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert samples["headrace_worker_state", "ready"].value == 1
    assert samples["headrace_worker_tokens_total", "completion"].value > 10
    assert samples["headrace_worker_time_to_first_token_seconds_count", None].value == 1
    assert samples["headrace_worker_inter_token_seconds_count", None].value == 1
    assert samples["headrace_worker_engine_starts_total", None].value == 1
    engines = samples["llamacpp:tokens_predicted_total", None]
    assert engines.value >= samples["headrace_worker_tokens_total", "completion"].value
    assert engines.labels == {"headrace_model": "public-name", "headrace_engine": "LlamaCppEngine"}
