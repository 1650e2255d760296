"""A worker on a machine of somebody's own: as a normal user, by the files of docs/lab-machine.md."""

import ast
import asyncio
import configparser
import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import tomli_w
from packaging.requirements import Requirement

from headrace_api.wire import Credit, Register, Registered, Result
from headrace_worker.config_file import load
from headrace_worker.engine_process import free_port
from headrace_worker.settings import read
from tests.waiting import until
from tests.worker.scripted_queue import ScriptedQueue
from tests.worker.worker_process import GGUF, ROOT

PAGE = (ROOT / "docs" / "lab-machine.md").read_text()
RUNTIME = ROOT / "runtime"
OTHERS = ("operator", "queue", "cli")
SCRIPT = Path(__file__).parent / "normal_user.sh"
QUESTION = "Who won the world series in 2020?"
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."


def block(language: str, title: str) -> str:
    """The page's code block with this title."""
    found = re.search(rf"^```{language} title={re.escape(title)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


UNIT = block("ini", "/etc/systemd/system/headrace-worker.service")


@pytest.mark.engine
async def test_a_worker_as_nobody_writes_to_its_cache_only(queue: ScriptedQueue) -> None:
    """Every file system is read-only for it, but for the cache; it still answers, and leaves on SIGTERM."""
    stage = Path(f"/tmp/headrace-lab-{os.getpid()}")  # pytest's own folders are closed to others
    (stage / "cache").mkdir(parents=True)
    try:
        (stage / "token").write_text("a-token\n")
        config = {
            "edition": 1,
            "generator": {"type": "LlamaCppEngine", "model_id": "lab/sample", "hf_model_id": str(GGUF)},
            "queue": {"url": queue.url},
            "monitoring": {"metrics_port": free_port()},
        }
        (stage / "worker_config.toml").write_text(tomli_w.dumps(config))
        async with started(stage) as process:
            await answers(queue, process, stage / "log")
            whose = psutil.Process(process.pid).uids().real
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0
        assert whose == (65534 if os.geteuid() == 0 else os.geteuid())
        assert "Read-only file system" not in (stage / "log").read_text()
    finally:
        shutil.rmtree(stage)


@contextlib.asynccontextmanager
async def started(stage: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    # somebody who is not root may mount in a user namespace
    own = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    folders = [sys.base_prefix, sys.prefix, str(RUNTIME)]
    with (stage / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", *own, str(SCRIPT), str(stage), sys.executable, *folders, "--"),
            *("--config", str(stage / "worker_config.toml")),
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answers(queue: ScriptedQueue, process: asyncio.subprocess.Process, log: Path) -> None:
    await until(lambda: not queue.connections.empty() or process.returncode is not None, 60)
    assert process.returncode is None, await asyncio.to_thread(log.read_text)
    connection = await queue.connection()
    assert connection.headers["Authorization"] == "Bearer a-token"
    assert (await connection.expect(Register)).models == ["lab/sample"]
    await connection.send(Registered())
    await until(lambda: not connection.messages.empty() or process.returncode is not None, 60)
    await connection.expect(Credit)
    await connection.ask(1, QUESTION, temperature=0)
    await connection.expect(Result)
    await connection.expect(Credit)
    await connection.ack("request-1")
    assert ANSWER in connection.answers[1].decode()


@pytest.mark.slow
def test_the_extra_has_all_that_the_worker_imports() -> None:
    """`pip install headrace[worker]`; engines' own libraries are in their extras, and pydantic brings its core."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    declared = [*project["dependencies"], *(one for name, group in extras if name not in OTHERS for one in group)]
    found = importlib.metadata.packages_distributions()
    files = [*(RUNTIME / "headrace_worker").rglob("*.py"), *(RUNTIME / "headrace_api").rglob("*.py")]
    modules = {name for file in files for name in imported(file)} - sys.stdlib_module_names
    third = {canonical(found.get(name, [name])[0]) for name in modules if not name.startswith("headrace_")}
    assert third <= {Requirement(one).name for one in declared} | {"pydantic-core"}
    assert {"aiohttp", "pydantic", "nvidia-ml-py", "structlog"} <= third


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_unit_is_one_that_systemd_accepts(tmp_path: Path) -> None:
    unit = tmp_path / "headrace-worker.service"
    program = tmp_path / "headrace-worker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit.write_text(UNIT.replace("/opt/headrace/bin/headrace-worker", str(program)))
    parsed = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(UNIT)
    assert set(parsed.sections()) == {"Unit", "Service", "Install"}
    if analyze := shutil.which("systemd-analyze"):
        done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_does_what_the_worker_expects() -> None:
    service = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read_string(UNIT)
    unit = service["Service"]
    assert unit["KillMode"] == "mixed", "the engine must not hear SIGTERM while the worker finishes its requests"
    assert int(unit["TimeoutStopSec"]) > read({}).grace_seconds + 10
    assert unit["RestartPreventExitStatus"] == "2", "a configuration that cannot be used does not get better"
    assert "DynamicUser" not in unit or unit["User"]


def test_the_pages_configuration_is_one(tmp_path: Path) -> None:
    file = tmp_path / "worker_config.toml"
    file.write_text(block("toml", "/etc/headrace/worker_config.toml"))
    loaded = load(file, None, None)
    assert loaded.config.model_name
    assert tomllib.loads(file.read_text())["edition"] == 1
