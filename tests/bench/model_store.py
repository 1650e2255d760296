"""How fast the model store downloads from S3, against a tool made for it.

    python tests/bench/model_store.py --peer /path/to/s5cmd [--mebibytes 1024] [--files 4] [--repeat 5]

One S3 server (versitygw) on this machine, with a model in 8 MiB parts as the AWS command line uploads it. Store and
peer download it in turn, each time into an empty folder on the same disk; medians are compared. The store is measured
with and without the comparison of every file with its ETag, which a peer does not make for a file that came in parts.
Each is a process of its own; the store's time is from the call to the snapshot, the peer's that of its process.
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
from dataclasses import replace
from pathlib import Path

import obstore

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


def main() -> int:
    """Measure; the exit status is 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help=f"one of {', '.join(PEERS)}, as a path")
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--store", nargs=2, metavar=("URL", "CACHE"), help=argparse.SUPPRESS)
    parser.add_argument("--unchecked", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET, "AWS_REGION": "us-east-1"}
    if options.store:
        return _store(*options.store, unchecked=options.unchecked)
    with tempfile.TemporaryDirectory() as folder, servers.s3(Path(folder)) as server:
        _upload(server, options.mebibytes, options.files)
        return _compare(server.url, Path(folder), options)


def _upload(server: servers.S3, mebibytes: int, files: int) -> None:
    store = server.bucket("models")
    for number in range(files):
        data = os.urandom(mebibytes * MIB // files)
        obstore.put(store, f"bench/model-{number}.safetensors", data, use_multipart=True, chunk_size=8 * MIB)
    obstore.put(store, "bench/config.json", b"{}", use_multipart=False)


def _compare(url: str, folder: Path, options: argparse.Namespace) -> int:
    seconds: dict[str, list[float]] = {"store": [], "store, unchecked": [], options.peer.name: []}
    cpu: dict[str, list[float]] = {name: [] for name in seconds}
    for _ in range(options.repeat):
        for name, times in seconds.items():
            before = _cpu()
            times.append(_once(name, url, folder / "to", options))
            cpu[name].append(_cpu() - before)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    peer = medians[options.peer.name]
    for name, median in medians.items():
        spread = " ".join(f"{one:.2f}" for one in seconds[name])
        sys.stdout.write(
            f"{name:18}{options.mebibytes / median:8.0f} MiB/s  {peer / median:5.2f} of the peer  "
            f"CPU {statistics.median(cpu[name]):.2f} s  ({spread} s)\n"
        )
    reached = peer / medians["store"] >= TARGET
    sys.stdout.write(f"target: at least {TARGET} of the peer: {'reached' if reached else 'MISSED'}\n")
    return 0 if reached else 1


def _cpu() -> float:
    """CPU seconds of all processes that have ended, their start included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _once(name: str, url: str, target: Path, options: argparse.Namespace) -> float:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    os.sync()  # what the one before has written is not to be this one's burden
    if name == options.peer.name:
        arguments = [word.replace("{url}", url).replace("{folder}", str(target)) for word in PEERS[name]]
        began = time.monotonic()
        subprocess.run([options.peer, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began
    command = [sys.executable, __file__, "--peer", options.peer, "--store", url, target]
    command += ["--unchecked"] if "unchecked" in name else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _store(url: str, cache: str, *, unchecked: bool) -> int:
    if unchecked:
        verify.check_for = lambda *_: verify.Check("none")  # type: ignore[assignment]
    settings = replace(store_settings.read({**os.environ, "HF_HUB_CACHE": cache}), s3_endpoint=url)
    from headrace_worker.store import buckets  # noqa: F401, PLC0415 - imported before the clock starts, as in a worker

    began = time.monotonic()
    asyncio.run(fetch(StoreRequest(Source("bucket", URI), "org/bench"), settings, lambda _: None))
    sys.stdout.write(str(time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
