"""Servers and settings for the tests of the model store."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.store import servers

from headrace_worker.store.progress import Progress
from headrace_worker.store.retry import Retries
from headrace_worker.store.settings import StoreSettings

MIB = 2**20
QUICK = Retries(attempts=8, forbidden=4, first_s=0.01, longest_s=0.05)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3]:
    with servers.s3(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Gcs]:
    with servers.gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., StoreSettings]:
    def make(**named: Any) -> StoreSettings:
        base = StoreSettings(
            tmp_path / "hub", chunk_bytes=MIB, parallel=4, read_timeout_s=1.0, retries=QUICK, sync_after_s=3600.0
        )
        return replace(base, **named)

    return make


def nothing(_: Progress) -> None:
    """For a download whose progress nobody looks at."""
