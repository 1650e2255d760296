"""How fast the model store downloads from S3, against tools made for it.

    python tests/bench/model_store.py --peer /path/to/rclone --peer /path/to/s5cmd [--mebibytes 1024] [--repeat 5]

One S3 server (versitygw) on this machine, with a model in 8 MiB parts as the AWS command line uploads it. All download
it in turn, each time into an empty folder on the same disk; the median of the rounds' ratios counts, because what else
the machine does changes from round to round. The store is measured as it is, with only the MD5 of ETags to compare with
(objects that are older than S3's checksums), and without any comparison. A peer compares nothing but the size of a file
that came in parts, so it is measured with `sha256sum` of its files after it, too. Each is a process of its own; the
store's time and CPU seconds are from the call, when its libraries are loaded, to the snapshot, a peer's those of its
process. The server has the same cores.
"""

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "kind"), str(ROOT / "runtime")]

from headrace_worker.store import settings as store_settings  # noqa: E402 - needs the lines above
from headrace_worker.store import verify  # noqa: E402
from headrace_worker.store.fetch import fetch  # noqa: E402
from headrace_worker.store.request import StoreRequest  # noqa: E402
from headrace_worker.store.source import Source  # noqa: E402
from tests.store import servers  # noqa: E402

TARGET = 0.9
MIB = 2**20
URI = "s3://models/bench"
PEERS = {
    "s5cmd": ["--endpoint-url", "{url}", "cp", f"{URI}/*", "{folder}/"],
    "rclone": ["copy", ":s3,provider=Other,env_auth=true,region=us-east-1,endpoint='{url}':models/bench", "{folder}"],
}
"""Arguments of the peers that are known, with their defaults for everything else."""
VARIANTS = ("store", "store, MD5", "store, unchecked")


@dataclass
class Rounds:
    """What one contestant took, round by round, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)


def main() -> int:
    """Measure; the exit status is 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, action="append", default=[], help=f"{' or '.join(PEERS)}, as a path")
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--store", nargs=3, metavar=("URL", "CACHE", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET, "AWS_REGION": "us-east-1"}
    if options.store:
        return _store(*options.store)
    with tempfile.TemporaryDirectory() as folder, servers.s3(Path(folder)) as server:
        _upload(server, options.mebibytes, options.files)
        return _report(_measured(server.url, Path(folder) / "to", options), options)


def _upload(server: servers.S3, mebibytes: int, files: int) -> None:
    store = server.bucket("models")
    for number in range(files):
        data = os.urandom(mebibytes * MIB // files)
        obstore.put(store, f"bench/model-{number}.safetensors", data, use_multipart=True, chunk_size=8 * MIB)
    obstore.put(store, "bench/config.json", b"{}", use_multipart=False)


def _measured(url: str, target: Path, options: argparse.Namespace) -> dict[str, Rounds]:
    contestants: dict[str, Callable[[], tuple[float, float]]] = {
        name: partial(_own, name, url, target) for name in VARIANTS
    }
    for path in options.peer:
        contestants[path.name] = partial(_peer, path, url, target)
        contestants[f"{path.name} + sha256sum"] = partial(_peer, path, url, target, summed=True)
    found = {name: Rounds() for name in contestants}
    server = next(one for one in psutil.Process().children() if one.name() == "versitygw")
    for _ in range(options.repeat):
        for name, once in contestants.items():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            os.sync()  # what the one before has written is not to be this one's burden
            served = _sum(server.cpu_times())
            wall, cpu = once()
            found[name].wall.append(wall)
            found[name].cpu.append(cpu)
            found[name].server.append(_sum(server.cpu_times()) - served)
    return found


def _report(found: dict[str, Rounds], options: argparse.Namespace) -> int:
    gib = options.mebibytes / 1024
    peers = [name for name in found if name not in VARIANTS]
    heads = "".join(f"  of {name:19}" for name in peers)
    sys.stdout.write(f"{'':22}MiB/s  CPU s/GiB  server's{heads}\n")
    reached = True
    for name, rounds in found.items():
        wall, cpu, server = (statistics.median(one) for one in (rounds.wall, rounds.cpu, rounds.server))
        sys.stdout.write(f"{name:22}{options.mebibytes / wall:5.0f}  {cpu / gib:9.2f}  {server / gib:8.2f}")
        for peer in peers:
            ratios = [other / own for other, own in zip(found[peer].wall, rounds.wall, strict=True)]
            sys.stdout.write(f"  {statistics.median(ratios):4.2f} ({min(ratios):4.2f} to {max(ratios):4.2f})  ")
            reached &= name != "store" or statistics.median(ratios) >= TARGET
        sys.stdout.write("\n")
    sys.stdout.write(f"target: the store at least {TARGET} of every peer: {'reached' if reached else 'MISSED'}\n")
    return 0 if reached else 1


def _cpu(who: int) -> float:
    """CPU seconds of this process, or of all children that have ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _sum(times: Any) -> float:
    return float(times.user + times.system)


def _peer(path: Path, url: str, target: Path, *, summed: bool = False) -> tuple[float, float]:
    arguments = [word.replace("{url}", url).replace("{folder}", str(target)) for word in PEERS[path.name]]
    began, used = time.monotonic(), _cpu(resource.RUSAGE_CHILDREN)
    subprocess.run([path, *arguments], check=True, stdout=subprocess.DEVNULL)
    if summed:
        subprocess.run(["sha256sum", *target.iterdir()], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, _cpu(resource.RUSAGE_CHILDREN) - used


def _own(variant: str, url: str, target: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, "--store", url, str(target), variant]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    wall, cpu = map(float, told.split())
    return wall, cpu


def _store(url: str, cache: str, variant: str) -> int:
    from headrace_worker.store import buckets  # noqa: PLC0415 - imported before the clock starts, as in a worker

    if variant == "store, unchecked":
        verify.check_for = lambda *_: verify.Check("none")
    if variant == "store, MD5":
        buckets.Bucket.described = _as_listed  # type: ignore[assignment,method-assign]
    settings = replace(store_settings.read({**os.environ, "HF_HUB_CACHE": cache}), s3_endpoint=url)
    began, used = time.monotonic(), _cpu(resource.RUSAGE_SELF)
    asyncio.run(fetch(StoreRequest(Source("bucket", URI), "org/bench"), settings, lambda _: None))
    sys.stdout.write(f"{time.monotonic() - began} {_cpu(resource.RUSAGE_SELF) - used}")
    return 0


async def _as_listed(_: object, file: Any) -> Any:
    return file


if __name__ == "__main__":
    sys.exit(main())
