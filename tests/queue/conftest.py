import io
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import openai
import postgres
import pytest
from postgres import Postgres
from prometheus_client import CollectorRegistry
from queue_setup import Queue, Start, base
from sqlalchemy import Engine

from headrace_queue.app import QueueServer
from headrace_queue.database.engine import make_engine, sqlite_url
from headrace_queue.database.migrate import upgrade
from headrace_queue.limits import Limits
from headrace_queue.logs import make_logger

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A client that has none loads all of the system's certificates: longer than most tests take."""


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a queue; keywords are settings or limits."""
    async with AsyncExitStack() as stack:

        async def start_one(**options: Any) -> Queue:
            limits = {key: options.pop(key) for key in list(options) if hasattr(Limits, key)}
            settings = replace(base(tmp_path), **options, limits=Limits(**limits))
            registry, log = CollectorRegistry(), io.StringIO()
            server = await stack.enter_async_context(QueueServer(settings, registry, make_logger(stream=log)))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            url = f"http://{settings.host}:{server.port}/v1"
            plain = openai.DefaultAsyncHttpxClient(verify=_NO_TLS)
            client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=10, http_client=plain)
            await stack.enter_async_context(client)
            return Queue(server, registry, client, http, log)

        yield start_one


@pytest.fixture
async def queue(start: Start) -> Queue:
    return await start()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres.postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.emptied()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Of a database with all tables."""
    made = make_engine(database_url)
    upgrade(made)
    yield made
    made.dispose()
