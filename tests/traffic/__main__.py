"""Mixed traffic on the embedded cluster while it is disturbed: `python -m tests.traffic --minutes 10`.

It makes an installation of its own beside whatever the cluster has, and takes it away again. `--at-zero 1000` asks a
model without workers so many things at once instead. The exit status is 1 when the books do not agree.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from setup import install
from tests.traffic import keda
from tests.traffic.at_zero import at_zero
from tests.traffic.load import names
from tests.traffic.run import Result, traffic
from tests.traffic.site import installed
from toolbox import steps


def main() -> int:
    """Run and print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.traffic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--seed", type=int, help="of requests and disturbances (another one each time)")
    parser.add_argument("--replicas", type=int, default=2, help="queues (2)")
    parser.add_argument(
        "--at-zero", type=int, metavar="N", help="N requests at once to a model at zero, and nothing else"
    )
    parser.add_argument(
        "--keda", type=Path, metavar="FOLDER", help="with --at-zero: KEDA scales the model (see `tests.traffic.keda`)"
    )
    parser.add_argument("--books", type=Path, metavar="FOLDER", help="where to keep the books, as JSON lines")
    options = parser.parse_args()
    if options.keda and not options.at_zero:
        parser.error("--keda: goes with --at-zero N only")
    seed = int(time.time()) if options.seed is None else options.seed
    install.cluster_and_images(nodes=1, embedded=True)
    result = asyncio.run(_run(options, seed))
    if options.books:
        result.keep(options.books)
    sys.stdout.writelines(f"{line}\n" for line in [f"seed {seed}", *result.lines()])
    return bool(result.problems)


async def _run(options: argparse.Namespace, seed: int) -> Result:
    async with installed(names(), options.replicas, keda=bool(options.keda)) as site:
        if options.keda:
            async with keda.scaling(options.keda):
                done = await at_zero(site, options.at_zero)
                done.notes.extend(await keda.has_scaled())
                return done
        if options.at_zero:
            return await at_zero(site, options.at_zero)
        return await traffic(site, options.minutes * 60, seed, steps.say)


if __name__ == "__main__":
    sys.exit(main())
