"""After the machine went down without warning: what was not on the disk yet is noticed, and fetched again."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.store import servers
from tests.store.conftest import MIB, nothing
from tests.store.servers import Faults, content
from tests.store.test_store_buckets import mirrored, tree

from headrace_worker.store import durable, layout
from headrace_worker.store.errors import StoreError
from headrace_worker.store.fetch import fetch
from headrace_worker.store.layout import Places
from headrace_worker.store.settings import StoreSettings

Make = Callable[..., StoreSettings]
FILES = {"config.json": b"{}", "a.safetensors": content(3 * MIB + 1, 1), "b.safetensors": content(MIB, 2)}


@pytest.fixture
def reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Say which start of the machine it is."""
    path = tmp_path / "boot_id"
    monkeypatch.setattr(durable, "_BOOT", path)

    def start(name: str) -> None:
        path.write_text(f"{name}\n")

    start("first")
    return start


def damage(folder: Path) -> None:
    """As a power cut does: a file without its end, and one whose bytes were never written."""
    os.truncate(folder / "a.safetensors", MIB)
    (folder / "b.safetensors").write_bytes(bytes(MIB))


def downloads(proxy: servers.Proxy, name: str) -> int:
    return sum(line.startswith("GET") and name in line for line in proxy.requests)


@pytest.mark.slow
async def test_a_snapshot_that_lost_bytes_is_found_and_fetched_again(
    s3: servers.S3, settings: Make, reboot: Callable[[str], None]
) -> None:
    s3.put("models", {f"cut/{name}": data for name, data in FILES.items()})
    proxy = servers.Proxy(s3.url, Faults())
    async with proxy.running() as url:
        first = await fetch(mirrored("s3://models/cut"), settings(s3_endpoint=url), nothing)
        first.close()
        damage(first.path)
        reboot("second")
        proxy.requests.clear()

        second = await fetch(mirrored("s3://models/cut"), settings(s3_endpoint=url), nothing)

    assert second.path == first.path
    assert tree(second.path) == FILES
    assert downloads(proxy, "safetensors") == 5
    assert downloads(proxy, "config.json") == 0  # it is right


@pytest.mark.slow
async def test_a_snapshot_that_was_synced_is_believed(
    s3: servers.S3, settings: Make, reboot: Callable[[str], None]
) -> None:
    s3.put("models", {f"synced/{name}": data for name, data in FILES.items()})
    first = await fetch(mirrored("s3://models/synced", "org/synced"), settings(s3_endpoint=s3.url), nothing)
    first.close()
    places = Places(settings().cache, "models--org--synced")
    durable.settle(places, layout.NO_HASH)
    damage(first.path)  # what the disk has is not looked at: that would read all of it at each start
    reboot("second")

    second = await fetch(mirrored("s3://models/synced", "org/synced"), settings(s3_endpoint=s3.url), nothing)
    assert (second.path / "a.safetensors").stat().st_size == MIB

    second.close()
    s3.put("models", {"synced/more": b"x"})  # what is added is not synced yet
    await fetch(mirrored("s3://models/synced", "org/synced"), settings(s3_endpoint=s3.url), nothing)
    reboot("third")
    third = await fetch(mirrored("s3://models/synced", "org/synced"), settings(s3_endpoint=s3.url), nothing)
    assert tree(third.path) == {**FILES, "more": b"x"}


@pytest.mark.slow
async def test_a_snapshot_is_synced_after_a_while(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {"later/a": b"x"})
    await fetch(mirrored("s3://models/later", "org/later"), settings(s3_endpoint=s3.url, sync_after_s=0.0), nothing)
    kept = Places(settings().cache, "models--org--later").kept(layout.NO_HASH)
    for _ in range(1000):
        if kept.exists():
            break
        await asyncio.sleep(0.01)
    assert kept.exists()


@pytest.mark.slow
async def test_what_lost_bytes_is_not_served_where_the_source_is_away(
    s3: servers.S3, settings: Make, reboot: Callable[[str], None]
) -> None:
    s3.put("models", {f"gone/{name}": data for name, data in FILES.items()})
    found = await fetch(mirrored("s3://models/gone"), settings(s3_endpoint=s3.url), nothing)
    found.close()
    nowhere = settings(s3_endpoint=f"http://127.0.0.1:{servers.free_port()}")
    reboot("second")
    assert tree((await fetch(mirrored("s3://models/gone"), nowhere, nothing)).path) == FILES
    damage(found.path)
    reboot("third")
    with pytest.raises(StoreError, match="cannot be fetched"):
        await fetch(mirrored("s3://models/gone"), nowhere, nothing)


@pytest.mark.slow
async def test_an_unfinished_download_that_lost_bytes_is_not_believed(
    s3: servers.S3, settings: Make, reboot: Callable[[str], None]
) -> None:
    s3.put("models", {"half/a": FILES["a.safetensors"], "half/b": FILES["b.safetensors"]})
    proxy = servers.Proxy(s3.url, Faults())
    async with proxy.running() as url:
        proxy.let_through(4)
        task = asyncio.create_task(fetch(mirrored("s3://models/half"), settings(s3_endpoint=url), nothing))
        journals = settings().cache / ".headrace/models--org--model/partial/journals"
        while sum(path.read_text().count("crc64nvme:") for path in journals.glob("*")) < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with (journals.parent / "files/a").open("r+b") as file:
            file.write(bytes(MIB))  # the chunk that its journal names
        reboot("second")
        proxy.open.set()

        found = await fetch(mirrored("s3://models/half"), settings(s3_endpoint=url), nothing)

    assert tree(found.path) == {"a": FILES["a.safetensors"], "b": FILES["b.safetensors"]}
