"""A rolling restart of three workers under constant load, as long as you like: `python -m tests.worker.rolling 300`."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.worker.clients import Clients
from tests.worker.fleet import MODEL, Fleet, queue_process, replaced

WORKERS = 3


async def restart_for(folder: Path, seconds: float) -> tuple[Clients, int]:
    """Restart one worker after the other for so long; returns the clients with their answers, and how many restarts."""
    restarts = 0
    async with queue_process() as url, Fleet(folder, url) as fleet:
        workers = await fleet.started(WORKERS)
        end = time.monotonic() + seconds
        async with Clients(url, MODEL, seed=6).asking() as clients:
            while time.monotonic() < end:
                place = restarts % WORKERS
                workers[place] = await replaced(fleet, f"w{place}", workers[place])
                restarts += 1
    return clients, restarts


def main() -> None:
    """Run for the seconds of the command line and print what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        clients, restarts = asyncio.run(restart_for(Path(folder), float(sys.argv[1])))
    bad = [answer for answer in clients.answers if answer.kind != "complete"]
    sys.stdout.write(f"{restarts} restarts, {len(clients.answers)} requests, {dict(clients.tally())}\n")
    sys.stdout.writelines(f"{answer}\n" for answer in bad[:20])
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
