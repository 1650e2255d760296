"""Fetches one mirror in a process that a test can kill: `python -m tests.store.fetch_program CACHE URI NAME URL`.

Prints a line for each step of the progress, and the path at the end; then it holds the snapshot until its input ends.
"""

import asyncio
import sys
from dataclasses import replace

from headrace_worker.store.fetch import fetch
from headrace_worker.store.progress import Progress
from headrace_worker.store.request import StoreRequest
from headrace_worker.store.retry import Retries
from headrace_worker.store.settings import read
from headrace_worker.store.source import Source


def main() -> None:
    """Fetch."""
    cache, uri, name = sys.argv[1:4]
    quick = {
        "s3_endpoint": sys.argv[4],
        "chunk_bytes": 2**20,
        "parallel": 4,
        "retries": Retries(first_s=0.01, longest_s=0.05),
    }
    settings = replace(read({"HF_HUB_CACHE": cache}), **quick)
    request = StoreRequest(Source("bucket", uri), name)
    found = asyncio.run(fetch(request, settings, _tell))
    _say("path", found.path)
    sys.stdin.read()


def _tell(progress: Progress) -> None:
    _say("progress", progress.done_bytes, progress.total_bytes, progress.detail or "-")


def _say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
