"""Long-running programs of the cluster, known by pid files that cannot be mistaken for another program's.

A pid alone may be given to another process after the first has ended. The file therefore holds the process's start time
too (clock ticks since boot, field 22 of /proc/PID/stat, see proc(5)) and the boot that these are counted from.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from toolbox import steps

from embedded import cgroups, layout

Word = str | Path
"""A word of a command line."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_POLL_SECONDS = 0.05
_JOIN_CGROUP = ("sh", "-c", 'for file in $0; do echo $$ > "$file"; done; exec "$@"')
"""The process itself joins the cgroups, before it is the program: even if kind/up is killed at that moment, kind/down
finds it there."""


@dataclass(frozen=True)
class Record:
    """What a pid file holds.

    Attributes:
        pid: the process.
        start_ticks: when it started, in clock ticks since the boot.
        boot: which boot that was.
        command: its command line, to see when it has to be another.
    """

    pid: int
    start_ticks: int
    boot: str
    command: list[str]


@dataclass(frozen=True)
class Program:
    """A program to keep running.

    Attributes:
        name: name of the pid file and of the log.
        command: the command line.
        env: variables added to our own.
        inside: the node whose namespaces it runs in; None means the host's.
    """

    name: str
    command: Sequence[Word]
    env: Mapping[str, str] | None = None
    inside: layout.Node | None = None

    @property
    def words(self) -> list[str]:
        """The whole command line, with what enters the namespaces."""
        words = [str(word) for word in self.command]
        if self.inside is None:
            return words
        # not `ip netns exec`, which mounts a fresh /sys and so hides the cgroups
        enter = ["nsenter", f"--net={self.inside.net_namespace}", f"--mount={self.inside.mount_namespace}"]
        return [*enter, "--", *words]


def start_ticks(stat: str) -> int | None:
    """The start time in the text of /proc/PID/stat, or None for a process that has ended but not been waited for."""
    # the command's name, in brackets, may itself hold spaces and brackets
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def parse(text: str) -> Record | None:
    """The record in a pid file's text, or None if the text is not a whole record (its writer was killed)."""
    try:
        return Record(**json.loads(text))
    except (ValueError, TypeError):
        return None


def running(name: str) -> Record | None:
    """The record of the program called `name` if exactly that process is still running."""
    try:
        record = parse(_pid_file(name).read_text())
        if record is None or record.boot != _boot():
            return None
        stat = Path(f"/proc/{record.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return record if start_ticks(stat) == record.start_ticks else None


def ensure(program: Program) -> bool:
    """Start `program` unless it runs already with the same command line; tell whether it was started now."""
    record = running(program.name)
    if record and record.command == program.words:
        return False
    if record:
        stop(program.name)
    _start(program)
    return True


def stop(name: str, *, grace_seconds: float = 5.0, kill: bool = False) -> None:
    """Stop the program called `name`: SIGTERM, and SIGKILL after the grace period, or SIGKILL at once."""
    record = running(name)
    if record:
        _signal(record.pid, signal.SIGKILL if kill else signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while running(name):
            if time.monotonic() > deadline:
                _signal(record.pid, signal.SIGKILL)
                deadline = time.monotonic() + grace_seconds
            time.sleep(_POLL_SECONDS)
    _pid_file(name).unlink(missing_ok=True)


def names() -> list[str]:
    """Names of all programs that have a pid file."""
    return sorted(path.stem for path in (layout.cluster_dir() / "pids").glob("*.json"))


def tail(name: str, lines: int = 15) -> str:
    """The last lines of the program's log, for an error message."""
    path = steps.log_path(name)
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) + f"\n(whole log: {path})"


def _start(program: Program) -> None:
    with steps.log_path(program.name).open("ab") as log:
        child = subprocess.Popen(
            [*_JOIN_CGROUP, " ".join(map(str, cgroups.entrances())), *program.words],
            cwd="/",
            env={**os.environ, **(program.env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = _record(child.pid, program)
    # waited for, so that it does not stay a zombie if it ends while we are still there
    threading.Thread(target=child.wait, daemon=True).start()
    path = _pid_file(program.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record)))


def _record(pid: int, program: Program) -> Record:
    ticks = start_ticks(Path(f"/proc/{pid}/stat").read_text())
    if ticks is None:
        raise steps.StepError(f"{program.name} ended at once:\n{tail(program.name)}")
    return Record(pid, ticks, _boot(), program.words)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _pid_file(name: str) -> Path:
    return layout.cluster_dir() / "pids" / f"{name}.json"


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
