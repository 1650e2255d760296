"""What goes wrong: servers that fail, workers that are killed, several workers at once."""

import asyncio
import contextlib
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.store import campaign, servers
from tests.store.conftest import MIB, nothing
from tests.store.servers import Faults, content
from tests.store.test_store_buckets import mirrored, tree

from headrace_worker.store.errors import StoreError
from headrace_worker.store.fetch import fetch
from headrace_worker.store.progress import Progress
from headrace_worker.store.request import StoreRequest
from headrace_worker.store.settings import StoreSettings
from headrace_worker.store.source import Source

pytestmark = pytest.mark.slow

Make = Callable[..., StoreSettings]
FILES = {"config.json": b"{}", "a.safetensors": content(9 * MIB + 3, 1), "b.safetensors": content(4 * MIB, 2)}


def upload(s3: servers.S3, folder: str) -> None:
    s3.put("models", {f"{folder}/{name}": data for name, data in FILES.items()})


@pytest.mark.parametrize("seed", range(1, 7))
async def test_a_faulty_server_ends_in_the_right_files_or_a_clear_error(
    s3: servers.S3, settings: Make, seed: int
) -> None:
    upload(s3, "faulty")
    much = 0.04 * (seed % 3 + 1)
    faults = Faults(forbidden=much, broken=much, truncated=much, reset=much, garbled=0.02, stalled=0.01, seed=seed)
    proxy = servers.Proxy(s3.url, faults)
    async with proxy.running() as url:
        try:
            found = await fetch(mirrored("s3://models/faulty"), settings(s3_endpoint=url, read_timeout_s=0.5), nothing)
            said = ""
        except StoreError as error:
            said = str(error)
    if said:
        assert seed % 3  # a few faults are always survived
        assert re.match(r"s3://models/faulty\S*: (cannot be fetched: .+|checksum mismatch: )", said)
        assert not list(settings().cache.glob("models--*/snapshots/*"))
    else:
        assert tree(found.path) == FILES
    assert faults.met


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (Faults(forbidden=1), "403 AccessDenied"),
        (Faults(broken=1), "50[03] "),
        (Faults(reset=1), "s3://models/always: cannot be fetched"),
        (Faults(truncated=1), "s3://models/always"),
        (Faults(stalled=1), "s3://models/always"),
    ],
)
async def test_a_server_that_always_fails_is_given_up(
    s3: servers.S3, settings: Make, faults: Faults, says: str
) -> None:
    upload(s3, "always")
    async with servers.Proxy(s3.url, faults).running() as url:
        with pytest.raises(StoreError, match=says):
            await fetch(mirrored("s3://models/always"), settings(s3_endpoint=url, read_timeout_s=0.2), nothing)


class BreaksOff(servers.Proxy):
    """Breaks off in the middle of every second answer that has a range."""

    host = b""
    """The only one by which the server knows itself, if there is one."""

    async def _pass_on(self, head: bytes, writer: asyncio.StreamWriter, fault: str) -> None:
        if self.host:
            head = re.sub(rb"(?i)\r\nhost: [^\r]*", b"\r\nhost: " + self.host, head)
        if b"\r\nrange: " in head.lower():
            self.faults.met["ranges"] = self.faults.met.get("ranges", 0) + 1
            fault = "truncated" if self.faults.met["ranges"] % 2 else ""
        await super()._pass_on(head, writer, fault)


@pytest.mark.parametrize(("source", "lost"), [("s3", 0), ("gcs", 2**18)])  # the library for GCS drops half a piece
async def test_what_has_come_before_a_connection_broke_is_not_fetched_again(
    s3: servers.S3, gcs: servers.Gcs, settings: Make, source: str, lost: int
) -> None:
    server: servers.S3 | servers.Gcs = s3 if source == "s3" else gcs
    server.put("models", {f"breaks/{name}": data for name, data in FILES.items()})
    if source == "gcs":
        request = StoreRequest(Source("bucket", "gs://anonymous@models/breaks"), "org/breaks")
    else:
        request = mirrored("s3://models/breaks")
    proxy = BreaksOff(server.url, Faults())
    proxy.host = gcs.url.removeprefix("http://").encode() if source == "gcs" else b""
    async with proxy.running() as url:
        found = await fetch(request, settings(s3_endpoint=url, gcs_endpoint=url), nothing)
    assert tree(found.path) == FILES
    assert proxy.faults.met["ranges"] > 2 * len(FILES)
    size, broken = sum(map(len, FILES.values())), proxy.faults.met["ranges"] // 2 + 1
    assert size <= proxy.bytes_sent < size + broken * lost + 2**15  # and the listing


async def test_a_file_that_is_garbled_once_is_fetched_again(s3: servers.S3, settings: Make) -> None:
    upload(s3, "garbled")
    faults = Faults(garbled=0.05, seed=36)
    async with servers.Proxy(s3.url, faults).running() as url:
        found = await fetch(mirrored("s3://models/garbled"), settings(s3_endpoint=url), nothing)
    assert faults.met["garbled"]
    assert tree(found.path) == FILES


async def test_an_object_that_changes_meanwhile_is_not_mixed(s3: servers.S3, settings: Make) -> None:
    upload(s3, "changing")
    proxy = servers.Proxy(s3.url, Faults())
    proxy.let_through(3)

    def change(progress: Progress) -> None:
        if progress.done_bytes and not proxy.open.is_set():
            s3.put("models", {"changing/a.safetensors": content(9 * MIB + 3, 9)})
            proxy.open.set()

    async with proxy.running() as url:
        with pytest.raises(StoreError, match=r"a\.safetensors: it was changed while it was fetched"):
            await fetch(mirrored("s3://models/changing"), settings(s3_endpoint=url), change)
        found = await fetch(mirrored("s3://models/changing"), settings(s3_endpoint=url), nothing)

    assert tree(found.path) == {**FILES, "a.safetensors": content(9 * MIB + 3, 9)}


async def start(cache: Path, uri: str, name: str, url: str) -> Process:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.store.fetch_program", str(cache), uri, name, url),
        stdin=PIPE,
        stdout=PIPE,
        env=environment,
    )


async def line(process: Process) -> list[str]:
    assert process.stdout
    while (words := (await process.stdout.readline()).decode().split())[:1] not in ([], ["progress"], ["path"]):
        pass  # the log
    return words


async def until(process: Process, done: Callable[[list[str]], bool]) -> list[str]:
    while not done(words := await line(process)):
        assert words, "the program has ended"
        assert words[0] == "progress", "it has fetched everything"
    return words


def beyond(size: int) -> Callable[[list[str]], bool]:
    return lambda words: words[0] == "progress" and int(words[1]) > size


async def end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def test_a_killed_download_goes_on_where_it_was(s3: servers.S3, settings: Make) -> None:
    upload(s3, "killed")
    proxy, cache = servers.Proxy(s3.url, Faults()), settings().cache
    size = sum(map(len, FILES.values()))
    async with proxy.running() as url:
        for done in (2 * MIB, 6 * MIB):
            proxy.let_through(5)
            process = await start(cache, "s3://models/killed", "org/killed", url)
            await until(process, beyond(done))
            await end(process)
            assert not list(cache.glob("models--*"))  # nothing is visible
        proxy.open.set()
        found = await fetch(mirrored("s3://models/killed", "org/killed"), settings(s3_endpoint=url), nothing)

    assert tree(found.path) == FILES
    assert proxy.bytes_sent < size + 2 * 4 * MIB + MIB  # four were under way each time; and listings


async def test_one_worker_fetches_and_the_others_show_how_far_it_is(s3: servers.S3, settings: Make) -> None:
    upload(s3, "shared")
    proxy, cache = servers.Proxy(s3.url, Faults()), settings().cache
    proxy.let_through(4)
    async with proxy.running() as url:
        first = await start(cache, "s3://models/shared", "org/shared", url)
        await until(first, beyond(0))
        others = [await start(cache, "s3://models/shared", "org/shared", url) for _ in range(2)]
        told = [await until(one, lambda words: "another" in words) for one in others]
        proxy.open.set()
        paths = [(await until(one, lambda words: words[0] == "path"))[1] for one in (first, *others)]
        for process in (first, *others):
            await end(process)

    assert {words[2] for words in told} == {str(sum(map(len, FILES.values())))}
    assert len(set(paths)) == 1
    assert proxy.bytes_sent < sum(map(len, FILES.values())) + MIB


async def test_when_the_worker_that_fetches_is_killed_another_goes_on(s3: servers.S3, settings: Make) -> None:
    upload(s3, "heir")
    proxy, cache = servers.Proxy(s3.url, Faults()), settings().cache
    proxy.let_through(6)
    async with proxy.running() as url:
        first = await start(cache, "s3://models/heir", "org/heir", url)
        await until(first, beyond(2 * MIB))
        second = await start(cache, "s3://models/heir", "org/heir", url)
        await until(second, lambda words: "another" in words)
        await end(first)
        proxy.open.set()
        path = (await until(second, lambda words: words[0] == "path"))[1]
        assert tree(Path(path)) == FILES
        await end(second)


async def test_a_cancelled_download_leaves_nothing_half_visible(s3: servers.S3, settings: Make) -> None:
    upload(s3, "cancelled")
    proxy = servers.Proxy(s3.url, Faults())
    proxy.let_through(3)
    async with proxy.running() as url:
        begun = asyncio.Event()
        task = asyncio.create_task(
            fetch(
                mirrored("s3://models/cancelled"),
                settings(s3_endpoint=url),
                lambda progress: begun.set() if progress.done_bytes else None,
            )
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not list(settings().cache.glob("models--*"))

        proxy.open.set()
        found = await fetch(mirrored("s3://models/cancelled"), settings(s3_endpoint=url), nothing)
    assert tree(found.path) == FILES


@pytest.mark.parametrize("seed", range(1, 4))
async def test_whatever_happens_ends_in_the_right_files_or_a_clear_error(
    s3: servers.S3, tmp_path: Path, seed: int
) -> None:
    campaign.upload(s3)
    story = await campaign.run(seed, s3, tmp_path / "hub")
    assert story.met["path"]
