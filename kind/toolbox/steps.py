"""Running the slow steps of a set-up: side by side, with visible progress, logs kept and clear failures."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from toolbox.paths import state_dir

T = TypeVar("T")

_STARTED = time.monotonic()
_HEARTBEAT_SECONDS = 20.0
_TAIL_LINES = 25


class StepError(Exception):
    """A step failed; the message says which command, its last output and where the whole log is."""


def say(message: str) -> None:
    """Print one progress line with the seconds since the program started."""
    print(f"[{time.monotonic() - _STARTED:6.1f}s] {message}", file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say that `name` begins, that it still goes on every 20 s, and how long it took."""
    began = time.monotonic()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_SECONDS):
            say(f"{name}: still at it after {time.monotonic() - began:.0f} s")

    say(f"{name} ...")
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        over.set()
    say(f"{name}: done in {time.monotonic() - began:.1f} s")


def run(
    command: Sequence[str | Path],
    *,
    log: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> None:
    """Run `command` to its end with its output appended to the log named `log`; raise `StepError` if it fails."""
    path = log_path(log)
    argv = [str(word) for word in command]
    with path.open("ab") as output:
        output.write(f"$ {' '.join(argv)}\n".encode())
        output.flush()
        result = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin.encode() if stdin is not None else None,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode:
        tail = "\n".join(path.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        raise StepError(f"{' '.join(argv)} exited {result.returncode}\n{tail}\n(whole log: {path})")


def capture(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """Run `command` and return its standard output; raise `StepError` with its standard error if it fails."""
    argv = [str(word) for word in command]
    result = subprocess.run(argv, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    if result.returncode:
        raise StepError(f"{' '.join(argv)} exited {result.returncode}\n{result.stderr.strip()}")
    return result.stdout


def log_path(name: str) -> Path:
    """The log file called `name`, in a folder that exists."""
    path = state_dir() / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def side_by_side(tasks: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Run all tasks at once, each as a named step; wait for all of them, then raise the first failure."""

    def one(name: str, task: Callable[[], T]) -> T:
        with step(name):
            return task()

    with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as pool:
        futures = {pool.submit(one, name, task): name for name, task in tasks.items()}
        for future in as_completed(futures):
            if error := future.exception():
                say(f"{futures[future]}: FAILED: {error}")
    return {futures[future]: future.result() for future in futures}
