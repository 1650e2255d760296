"""Random faults for the model store, many at a time: `python -m tests.store.campaign [--seeds 200] [--first 1]`.

For each seed: two workers share a cache folder and fetch from an S3 server that refuses, breaks off, stalls and garbles
at random; they are killed with SIGKILL at random moments and started anew, and for some of them the disk becomes full.
At every kill and at the end, whatever is visible in the cache has to be complete and right; a worker that gives up
has to say why. At last a worker with a server that works has to end with the right files. `run` is one seed.
"""

import argparse
import asyncio
import os
import random
import re
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.store import servers
from tests.store.servers import Faults, content

MIB = 2**20
FILES = {"config.json": b"{}", "empty": b"", "a.safetensors": content(9 * MIB + 3, 1), "b.safetensors": content(MIB, 2)}
URI = "s3://models/campaign"
_CLEAR = re.compile(
    rf"{URI}\S*: (cannot be fetched: .+|checksum mismatch: .+)|.+: cannot be written: .*No space left on device.*"
)
_WORKERS, _MOST_KILLS, _LONGEST_S = 2, 3, 180.0


@dataclass
class Story:
    """What happened with one seed."""

    seed: int
    met: Counter[str] = field(default_factory=Counter)
    """Faults of the server, kills, full disks, and how workers ended."""
    errors: list[str] = field(default_factory=list)


def upload(s3: servers.S3) -> None:
    """The mirror that every seed fetches: one file in parts, the others whole."""
    s3.put("models", {"campaign/a.safetensors": FILES["a.safetensors"]}, 5 * MIB)
    s3.put("models", {f"campaign/{name}": data for name, data in FILES.items() if name != "a.safetensors"})


async def run(seed: int, s3: servers.S3, cache: Path) -> Story:
    """One seed; an AssertionError where the store does wrong."""
    chance, story = random.Random(seed), Story(seed)  # noqa: S311
    much = chance.choice((0.0, 0.05, 0.15, 0.4))
    forbidden, broken, truncated, reset = (much * chance.random() for _ in range(4))
    garbled, stalled = 0.03 * chance.random(), 0.02 * chance.random()
    faults = Faults(forbidden, broken, truncated, stalled, reset, garbled, seed)
    proxy = servers.Proxy(s3.url, faults)
    async with proxy.running() as url, asyncio.timeout(_LONGEST_S):
        chances = [random.Random(f"{seed} {number}") for number in range(_WORKERS)]  # noqa: S311
        await asyncio.gather(*(_worker(one, story, cache, url) for one in chances))
    _check(cache)
    ended = await _started(cache, s3.url, story)
    assert ended[0] == "path", f"with a server that works: {ended}"
    assert _tree(Path(ended[1])) == FILES
    assert not _left_over(cache)
    story.met.update(faults.met)
    return story


async def _worker(chance: random.Random, story: Story, cache: Path, url: str) -> None:
    """One worker of a node, which is started anew whenever it is killed."""
    for _ in range(chance.randrange(_MOST_KILLS + 1)):
        if await _started(cache, url, story, chance, kill=True):
            return
    await _started(cache, url, story, chance)


async def _started(
    cache: Path, url: str, story: Story, chance: random.Random | None = None, *, kill: bool = False
) -> tuple[str, ...]:
    """Run it once; how it ended, or nothing when it was killed."""
    options = ["--read-timeout", "0.5"]
    if chance and chance.random() < 0.2:
        story.met["disk full"] += 1
        options += ["--full-after", str(chance.randrange(12 * MIB))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.store.fetch_program", str(cache), URI, "org/campaign", url, *options),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, **_KEYS, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    talk = asyncio.create_task(process.communicate())
    try:
        await asyncio.wait({talk}, timeout=0.3 + 1.5 * chance.random() if chance and kill else None)
        if not talk.done():
            process.kill()
            story.met["killed"] += 1
            await talk
            _check(cache)
            return ()
        out, errors = talk.result()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    kind, _, text = (out.decode().splitlines() or [""])[-1].partition(" ")
    story.met[kind] += 1
    if kind == "error":
        story.errors.append(text)
        assert _CLEAR.fullmatch(text), f"not clear: {text}"
    assert kind in {"path", "error"}, f"it ended with {process.returncode}: {errors.decode()[-2000:]}"
    assert kind == "error" or _tree(Path(text)) == FILES
    return kind, text


_KEYS = {"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET, "AWS_REGION": "us-east-1"}


def _check(cache: Path) -> None:
    """Whatever is visible is complete."""
    for snapshot in cache.glob("models--*/snapshots/*"):
        found = _tree(snapshot)
        assert found == FILES, f"{snapshot} is visible with {[(name, len(data)) for name, data in found.items()]}"


def _left_over(cache: Path) -> list[Path]:
    return list(cache.glob(".headrace/*/partial"))


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _campaign(first: int, seeds: int) -> int:
    total: Counter[str] = Counter()
    failed = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, servers.s3(Path(folder)) as s3:
        upload(s3)
        for seed in range(first, first + seeds):
            cache = Path(folder) / f"cache-{seed}"
            try:
                story = await run(seed, s3, cache)
            except (AssertionError, TimeoutError) as error:
                failed += 1
                sys.stdout.write(f"seed {seed} FAILED: {type(error).__name__}: {error}\n")
                continue
            total.update(story.met)
    told = ", ".join(f"{name} {count}" for name, count in sorted(total.items()))
    sys.stdout.write(f"{seeds} seeds in {time.monotonic() - began:.0f} s, {failed} failed; {told}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    chosen = parser.parse_args()
    sys.exit(asyncio.run(_campaign(chosen.first, chosen.seeds)))
