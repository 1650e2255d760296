"""How a worker begins: heard signals first, then its engine, then everything that its engine does not wait for."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from headrace_worker import engine_process
from headrace_worker.engine_process import EngineProcess, free_port
from headrace_worker.engines.protocol import EngineCommand
from tests.waiting import until
from tests.worker.worker_process import GGUF

pytestmark = pytest.mark.slow


async def test_sigterm_before_anything_has_begun(tmp_path: Path) -> None:
    config = tmp_path / "worker_config.toml"
    os.mkfifo(config)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "headrace_worker", "--config", str(config))
    # Opening a pipe waits for the other side: here, for the worker to read its configuration.
    writing = await asyncio.wait_for(asyncio.to_thread(os.open, config, os.O_WRONLY), 60)
    process.send_signal(signal.SIGTERM)
    # A signal that comes just before Python begins to read is heard when that ends. Here nothing is read: had it been
    # lost, the worker would go on, and refuse a configuration that is empty.
    os.close(writing)
    assert await asyncio.wait_for(process.wait(), 60) == 0


def test_nothing_is_loaded_before_signals_are_heard() -> None:
    program = "import sys, headrace_worker.__main__; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert not {"aiohttp", "asyncio", "pydantic", "structlog", "typer"} & set(done.stdout.split())


BEFORE_THE_ENGINE = """
import os, sys
from headrace_worker import __main__ as program
cli = program._loaded()
from headrace_worker import engine_process, worker
async def start(*_):
    print(*sorted({name.split(".")[0] for name in sys.modules}))
    sys.stdout.flush()
    os._exit(0)
engine_process.EngineProcess.start = start
worker.HEAD_START_S = 60
cli()
"""


def test_what_an_engine_does_not_wait_for_is_not_loaded_before_it_is_started(tmp_path: Path) -> None:
    config = tmp_path / "worker_config.toml"
    config.write_text(
        f'edition = 1\n[generator]\ntype = "LlamaCppEngine"\nmodel_id = "{GGUF}"\n'
        f"[queue]\n[monitoring]\nmetrics_port = {free_port()}\n"
    )
    command = [sys.executable, "-c", BEFORE_THE_ENGINE, "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    loaded = set(done.stdout.split())
    assert "pydantic" in loaded, done.stderr
    assert not {"aiohttp", "huggingface_hub", "obstore", "pip", "pynvml", "rich"} & loaded


def named(mark: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or [])]


async def test_a_start_that_is_cancelled_leaves_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = str(tmp_path)
    command = EngineCommand([sys.executable, "-c", "import time; time.sleep(60)", mark])
    really = engine_process._started

    async def slowly(*given: object) -> asyncio.subprocess.Process:
        process = await really(*given)  # type: ignore[arg-type]
        await until(lambda: len(named(mark)) == 2)  # the guard and the engine
        starting.cancel()
        await asyncio.sleep(0.1)
        return process

    monkeypatch.setattr(engine_process, "_started", slowly)
    starting = asyncio.create_task(EngineProcess.start(command, 1, os.environ, print))
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: not named(mark))
