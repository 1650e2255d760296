"""Stands between the worker and an engine, so that no engine outlives its worker, however the worker ends.

The worker starts `python -I -S guard.py ENGINE ARGUMENTS…` in a process group of its own, with a pipe as its standard
input. The guard starts the engine and ends as it ends. When the pipe breaks, the worker is gone, and the guard kills
the whole group. Unlike `PR_SET_PDEATHSIG` this reaches the engine's own children too, does not depend on which thread
of the worker started it, and works for an engine that is not Python. It imports little, so that it starts in
milliseconds.
"""

import os
import signal
import sys
import threading


def _kill_group_when_worker_is_gone() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the engine given as arguments; exit with its status, or 128 + N when signal N ended it."""
    # Handlers, unlike ignored signals, are not inherited: the engine sees SIGTERM, the guard outlives it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_kill_group_when_worker_is_gone, daemon=True).start()
    engine = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])  # noqa: S606 (no shell is wanted)
    _, status = os.waitpid(engine, 0)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
