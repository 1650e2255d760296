"""One operator as a process of its own that can be killed at any moment and started again."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Zygote:
    """The process that operators are forked from; ends with `close`."""

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join(str(ROOT / part) for part in ("operator", "runtime", "."))
        with (folder / "zygote.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def fork(self, environment: Mapping[str, str], log: Path) -> int:
        """Start an operator and return its pid."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"environment": dict(environment), "log": str(log)}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class OperatorProcess:
    """Starts, kills and stops one operator."""

    def __init__(self, zygote: Zygote, environment: Mapping[str, str], log: Path) -> None:
        self._zygote = zygote
        self._environment = environment
        self._pidfd: int | None = None
        self.log = log
        self.starts = 0

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._pidfd is not None and not _ended(self._pidfd, 0)

    def start(self) -> None:
        """Start it; it must not be running."""
        assert not self.running, "two operators would write at the same time"
        self._forget()
        self._pidfd = os.pidfd_open(self._zygote.fork(self._environment, self.log))
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL; returns when it has ended."""
        self._end(signal.SIGKILL, 10)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        self._end(signal.SIGTERM, 5)
        self._end(signal.SIGKILL, 10)

    def last_lines(self, count: int = 30) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-count:])

    def _end(self, number: int, seconds: float) -> None:
        if self._pidfd is None:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            self._forget()
            return
        if _ended(self._pidfd, seconds):
            self._forget()

    def _forget(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _ended(pidfd: int, seconds: float) -> bool:
    """A pidfd is readable once its process has ended."""
    return bool(select.select([pidfd], [], [], seconds)[0])
