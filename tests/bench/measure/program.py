"""A program under measurement: started with the plane, its CPU and memory read from /proc."""

import asyncio
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.plane import Plane, free_port

_TICKS = os.sysconf("SC_CLK_TCK")


class Program:
    """One process; `start` may be called again after `stop`."""

    def __init__(self, plane: Plane, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self._plane = plane
        self._name = name
        self._command = command
        self._environment = environment

    def start(self) -> None:
        """Start it with the administrator's rights."""
        self._plane.start(self._name, self._command, {"KUBECONFIG": str(self._plane.kubeconfig), **self._environment})

    def stop(self) -> None:
        """End it as Kubernetes would."""
        self._plane.stop(self._name, seconds=20)

    @property
    def _proc(self) -> Path:
        child = self._plane.children[self._name]
        if child.poll() is not None:
            log = (self._plane.folder / f"{self._name}.log").read_text()[-3000:]
            raise RuntimeError(f"{self._name} ended with {child.returncode}:\n{log}")
        return Path(f"/proc/{child.pid}")

    def cpu_seconds(self) -> float:
        """CPU used so far."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self, field: str = "VmRSS") -> float:
        """`VmRSS`: the resident memory now; `VmHWM`: its peak."""
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    def log(self) -> str:
        """What it has said so far."""
        return (self._plane.folder / f"{self._name}.log").read_text()


def operator(plane: Plane, options: dict[str, str], python: Sequence[str]) -> tuple[Program, int]:
    """The operator, and its health port."""
    port = free_port()
    given = {"health-port": str(port), **options}
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    return Program(plane, "operator", [*python, "-m", "headrace_operator", *words], {}), port


async def ready(port: int, seconds: float = 180) -> float:
    """Wait until the operator has seen everything; returns how long that took."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        if await asyncio.to_thread(_answers, port):
            return time.perf_counter() - began
        await asyncio.sleep(0.1)
    raise RuntimeError("the operator is not ready")


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
