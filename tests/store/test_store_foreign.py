"""Caches that belong to somebody else: what is there is used, and what cannot be done is told."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.store import servers
from tests.store.conftest import MIB, nothing
from tests.store.hub_server import HubServer
from tests.store.servers import content
from tests.store.test_store_buckets import mirrored, tree
from tests.store.test_store_hub import REPOS, got

from headrace_worker.store.errors import StoreError
from headrace_worker.store.fetch import fetch
from headrace_worker.store.settings import StoreSettings

Make = Callable[..., StoreSettings]
NOBODY = 65534


@pytest.fixture
def cache() -> Iterator[Path]:
    """A folder that other users get at, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder / "hub"
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def as_another_user(cache: Path, folders: int, files: int, *shared: Path) -> Iterator[None]:
    """With these permissions, as another user; who is not root is one already, as the owner's permissions tell."""
    for path in (cache, *cache.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777 if path in shared else folders if path.is_dir() else files)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("locks", [True, False])
async def test_a_snapshot_in_a_cache_that_may_not_be_written_is_used(settings: Make, cache: Path, locks: bool) -> None:
    async with HubServer(REPOS).running() as url:
        (await got(settings(cache=cache, hub_token="x", hub_endpoint=url), hf_model_id="org/model")).close()
        if not locks:  # as the hub's own library leaves it
            shutil.rmtree(cache / ".headrace")
        with as_another_user(cache, 0o555, 0o444):
            online = await got(settings(cache=cache, hub_token="x", hub_endpoint=url), hf_model_id="org/model")
            offline = await got(
                settings(cache=cache, hub_token="x", hub_endpoint=url, offline=True), hf_model_id="org/model"
            )
            with pytest.raises(
                StoreError, match="hub: the model cache cannot be written, and does not have all of The"
            ):
                await got(
                    settings(cache=cache, hub_token="x", hub_endpoint=url), hf_model_id="TheBloke/CoolModelv2:Q8_0"
                )
    assert online.path == offline.path
    assert sorted(tree(online.path)) == ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.slow
async def test_another_users_locks_do_not_stop_anybody(s3: servers.S3, settings: Make, cache: Path) -> None:
    for name in ("one", "two"):
        s3.put("models", {f"users/{name}/a": content(2 * MIB, 1)})
    env = settings(cache=cache, s3_endpoint=s3.url, limit_bytes=3 * MIB)
    first = await fetch(mirrored("s3://models/users/one", "users/one"), env, nothing)
    with as_another_user(cache, 0o777, 0o444):
        (await fetch(mirrored("s3://models/users/one", "users/one"), env, nothing)).close()
        with pytest.raises(StoreError, match="HEADRACE_MODEL_CACHE_LIMIT"):  # the first is held
            await fetch(mirrored("s3://models/users/two", "users/two"), env, nothing)
        first.close()
        second = await fetch(mirrored("s3://models/users/two", "users/two"), env, nothing)
    assert tree(second.path) == {"a": content(2 * MIB, 1)}
    assert not first.path.exists()


@pytest.mark.slow
async def test_another_users_snapshots_are_not_evicted(s3: servers.S3, settings: Make, cache: Path) -> None:
    for name in ("one", "two"):
        s3.put("models", {f"theirs/{name}/a": content(2 * MIB, 1)})
    env = settings(cache=cache, s3_endpoint=s3.url, limit_bytes=3 * MIB)
    first = await fetch(mirrored("s3://models/theirs/one", "theirs/one"), env, nothing)
    first.close()
    with (
        as_another_user(cache, 0o555, 0o444, cache, cache / ".headrace"),
        pytest.raises(StoreError, match="HEADRACE_MODEL_CACHE_LIMIT"),
    ):
        await fetch(mirrored("s3://models/theirs/two", "theirs/two"), env, nothing)
    assert tree(first.path) == {"a": content(2 * MIB, 1)}
