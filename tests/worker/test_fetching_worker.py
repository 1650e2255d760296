"""The whole worker with weights that it has to fetch from a real S3 server first."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_api.wire import Credit, Result
from tests.store import servers
from tests.worker.scripted_queue import ScriptedQueue
from tests.worker.test_llamacpp_worker import ANSWER, QUESTION, START_S, text_of
from tests.worker.worker_process import GGUF, worker

pytestmark = pytest.mark.engine


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[servers.S3]:
    with servers.s3(tmp_path) as server:
        yield server


async def test_a_worker_serves_what_it_has_fetched(tmp_path: Path, queue: ScriptedQueue, s3: servers.S3) -> None:
    s3.put("models", {"chat/sample.Q8_0.gguf": b"another", "chat/sample.F16.gguf": GGUF.read_bytes()})
    generator = {
        "type": "LlamaCppEngine",
        "model_id": "headrace/sample-chat:F16",
        "max_total_tokens": 256,
        "s3_mirror_config": {"bucket_uri": "s3://models/chat/", "s3_sync_args": ["--endpoint-url", s3.url]},
    }
    keys = {"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET, "AWS_REGION": "us-east-1"}
    async with worker(tmp_path, queue.url, generator, HF_HUB_CACHE=str(tmp_path / "hub"), **keys) as process:
        connection = await queue.connection()
        await connection.greet()
        await process.until_ready(START_S)
        await connection.ask(1, QUESTION, stream=True, temperature=0)
        await connection.expect(Result)
        await connection.ack("request-1")
        await connection.expect(Credit)
        metrics = (await process.probe("/metrics"))[1]

    assert text_of(connection.answers[1]) == ANSWER
    assert [path.name for path in (tmp_path / "hub").glob("models--headrace--sample-chat/snapshots/*/*")] == [
        "sample.F16.gguf"
    ]
    fetched = re.search(r"^headrace_worker_fetch_bytes (\S+)$", metrics, re.MULTILINE)
    assert fetched
    assert float(fetched[1]) == GGUF.stat().st_size


async def test_a_worker_that_cannot_fetch_fails_with_the_reason(
    tmp_path: Path, queue: ScriptedQueue, s3: servers.S3
) -> None:
    s3.bucket("models")
    mirror = {"bucket_uri": "s3://models/nothing/", "s3_sync_args": [f"--endpoint-url={s3.url}"]}
    generator = {"type": "VLLMEngine", "model_id": "org/model", "s3_mirror_config": mirror}
    keys = {"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET, "AWS_REGION": "us-east-1"}
    async with worker(tmp_path, queue.url, generator, HF_HUB_CACHE=str(tmp_path / "hub"), **keys) as process:
        assert await process.exit_status(START_S) == 1
        assert "s3://models/nothing: NoSuchKey" in process.termination_log.read_text()
