"""Fetches one mirror in a process that a test can kill: `python -m tests.store.fetch_program CACHE URI NAME URL`.

Prints a line for each step of the progress, and the path at the end; then it holds the snapshot until its input ends.
What the store says when it gives up is printed as an error. With `--full-after BYTES` the disk is full from there on.
"""

import argparse
import asyncio
import errno
import os
import sys
from dataclasses import replace
from typing import Any

from headrace_worker.store.errors import StoreError
from headrace_worker.store.fetch import fetch
from headrace_worker.store.progress import Progress
from headrace_worker.store.request import StoreRequest
from headrace_worker.store.retry import Retries
from headrace_worker.store.settings import read
from headrace_worker.store.source import Source


def main() -> int:
    """Fetch."""
    parser = argparse.ArgumentParser()
    for name in ("cache", "uri", "name", "url"):
        parser.add_argument(name)
    parser.add_argument("--full-after", type=int)
    parser.add_argument("--read-timeout", type=float, default=30)
    options = parser.parse_args()
    if options.full_after is not None:
        _fill(options.full_after)
    settings = replace(
        read({**os.environ, "HF_HUB_CACHE": options.cache}),
        s3_endpoint=options.url,
        chunk_bytes=2**20,
        parallel=4,
        read_timeout_s=options.read_timeout,
        retries=Retries(first_s=0.01, longest_s=0.05),
    )
    try:
        found = asyncio.run(fetch(StoreRequest(Source("bucket", options.uri), options.name), settings, _tell))
    except StoreError as error:
        _say("error", error)
        return 1
    _say("path", found.path)
    sys.stdin.read()
    return 0


def _fill(left: int) -> None:
    """Let the disk be full after so many bytes, written wherever."""
    write = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    os.pwrite = pwrite


def _tell(progress: Progress) -> None:
    _say("progress", progress.done_bytes, progress.total_bytes, progress.detail or "-")


def _say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
