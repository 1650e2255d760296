"""The worker's life at its edges: a signal before it has begun, an engine that hangs."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_api.wire import Drain, HandBack, Result
from headrace_api.worker_config import Generator, Monitoring, Queue, WorkerConfig
from headrace_worker import app, health, settings
from headrace_worker.decision import Decision
from headrace_worker.engine_process import free_port
from headrace_worker.engines import Chosen
from headrace_worker.engines.protocol import EngineCommand, EngineFacts
from headrace_worker.parts import Parts
from tests.worker import hanging_engine
from tests.worker.scripted_queue import ScriptedQueue


async def test_sigterm_before_anything_has_begun(tmp_path: Path) -> None:
    config = tmp_path / "worker_config.toml"
    os.mkfifo(config)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "headrace_worker", "--config", str(config))
    # Opening a pipe waits for the other side: here, for the worker to read its configuration.
    writing = await asyncio.wait_for(asyncio.to_thread(os.open, config, os.O_WRONLY), 20)
    try:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0
    finally:
        os.close(writing)


def test_nothing_is_loaded_before_signals_are_heard() -> None:
    program = "import sys, headrace_worker.__main__; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert not {"aiohttp", "asyncio", "pydantic", "structlog", "typer"} & set(done.stdout.split())


async def test_a_hung_engine_is_killed(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "EVERY_S", 0.05)
    monkeypatch.setattr(health, "TIMEOUT_S", 0.2)
    termination_log = tmp_path / "termination-log"
    config = WorkerConfig(
        edition=1,
        generator=Generator(type="VLLMEngine", model_id="m"),
        queue=Queue(url=queue.url),
        monitoring=Monitoring(metrics_port=free_port()),
    )

    def decide(chosen: Chosen, facts: EngineFacts) -> Decision:
        argv = [sys.executable, hanging_engine.__file__, str(facts.port)]
        return Decision(chosen.engine, chosen.generator, EngineCommand(argv), facts.port, slots=4)

    environment = settings.read({**os.environ, "HEADRACE_TERMINATION_LOG": str(termination_log)})
    running = asyncio.create_task(app.run(config, environment, None, Parts(decide=decide)))
    connection = await queue.connection()
    await connection.greet()
    await connection.ask(1, "hello", stream=True)
    await connection.first_piece()
    await connection.ask(2, "hello", stream=True)
    await connection.expect(Drain)
    ends = [await asyncio.wait_for(connection.messages.get(), 15) for _ in range(2)]
    assert {type(end): end.model_dump()["job"] for end in ends} == {Result: 1, HandBack: 2}
    assert [end.status for end in ends if isinstance(end, Result)] == [502]
    await connection.ack("request-1")
    assert await asyncio.wait_for(running, 15) == 1
    words = "the engine has not answered its health check for"
    assert termination_log.read_text().startswith(words)
    assert words in capsys.readouterr().out
