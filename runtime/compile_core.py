"""Compiles the modules that every request passes through, with mypyc (docs/decisions/0028-a-compiled-core.md).

    python runtime/compile_core.py queue|worker FOLDER

writes extension modules, for the Python that it runs with, below FOLDER: where the packages are installed, or a copy of
them that comes earlier in the path. Python then takes them instead of the sources beside them. It needs what the
program needs, the dependency group `compile`, a C compiler and the headers of that Python.
"""

import argparse
import os
import tempfile
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

SOURCES = Path(__file__).resolve().parent

MODULES = {
    "queue": {
        "headrace_api": ("pieces",),
        "headrace_queue": (
            *(
                "access",
                "answer",
                "calls",
                "clock",
                "conduct",
                "deadlines",
                "demand",
                "dispatch",
                "exchange",
                "failures",
            ),
            *(
                "limits",
                "logs",
                "metrics",
                "models",
                "needs",
                "openai_api",
                "patience",
                "prefixes",
                "request_ids",
                "request_metrics",
            ),
            *("retries", "room", "seats", "sse", "steps", "timeouts", "transcript", "waiting_room", "worker_socket"),
        ),
        "headrace_queue/forecast": ("coldstart", "core", "pace"),
        "headrace_queue/http": ("body", "connection", "head", "reply"),
        "headrace_queue/keys": (
            *(
                "access",
                "counters",
                "digests",
                "estimate",
                "headers",
                "keyring",
                "meter",
                "patterns",
                "refusals",
                "shares",
                "wishes",
            ),
        ),
        "headrace_queue/ledger": ("bookkeeper", "counts", "entry", "open_rows", "receipts", "rows", "usage"),
        "headrace_queue/schedule": (
            *("affinity", "core", "demand", "feed", "generalists", "health", "memory", "order", "ranking", "shares"),
            *("work", "worker", "workforce"),
        ),
    },
    "worker": {
        "headrace_worker": (
            *("answering", "capacity", "gpu_time", "job_runner", "jobs", "sharing", "tallies", "unacked"),
        ),
        "headrace_worker/transports": ("connection",),
    },
}
"""By program and folder. None has a coroutine, or a msgspec struct that is read from outside: see the decision."""


def files(program: str) -> list[str]:
    """The sources of a program's compiled modules, relative to `SOURCES`."""
    return [f"{folder}/{name}.py" for folder, names in MODULES[program].items() for name in names]


def build(program: str, folder: Path) -> None:
    """Compile a program's modules into `folder`; raises `SystemExit` where mypyc or the C compiler fails."""
    target = folder.resolve()
    os.chdir(SOURCES)  # module names are paths from here
    with tempfile.TemporaryDirectory() as work:
        options = ["--config-file=", f"--cache-dir={work}/types", *files(program)]
        modules = mypycify(
            options, opt_level="2", debug_level="0", multi_file=True, target_dir=work, group_name=f"headrace_{program}"
        )
        jobs = f"--parallel={os.cpu_count() or 1}"
        where = [f"--build-lib={target}", f"--build-temp={work}/objects"]
        setup(name="headrace-core", ext_modules=modules, script_args=["--quiet", "build_ext", jobs, *where])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=MODULES)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    build(given.program, given.folder)
