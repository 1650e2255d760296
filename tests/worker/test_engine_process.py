"""The engine's end is seen, whatever still holds its output."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from headrace_worker.engine_process import EngineProcess
from headrace_worker.engines.protocol import EngineCommand
from tests.waiting import until

pytestmark = pytest.mark.slow

CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"], start_new_session=sys.argv[1] == "away")
print("child", child.pid, flush=True)
time.sleep(0.2)
print("RuntimeError: the last line", flush=True)
os._exit(3)
"""


@pytest.mark.parametrize("where", ["here", "away"])
async def test_an_engine_has_ended_though_a_child_holds_its_output(where: str) -> None:
    lines: list[str] = []
    command = EngineCommand([sys.executable, "-c", CHILD, where])
    engine = await EngineProcess.start(command, 1, dict(os.environ), lines.append)
    try:
        assert await asyncio.wait_for(engine.wait(), 10) == 3
        assert engine.tail[-1] == "RuntimeError: the last line"
        assert await asyncio.wait_for(engine.stop(0), 1) == 3
        if where == "here":  # one that has left the group is beyond reach
            await until(lambda: not Path(f"/proc/{lines[0].split()[1]}").exists())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(lines[0].split()[1]), signal.SIGKILL)
