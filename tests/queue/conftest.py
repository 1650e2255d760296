import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import openai
import pytest
from prometheus_client import CollectorRegistry
from queue_setup import BASE, Queue, Start

from headrace_queue.app import QueueServer
from headrace_queue.dispatch import Limits
from headrace_queue.logs import make_logger


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a queue; keywords are settings or limits."""
    async with AsyncExitStack() as stack:

        async def start_one(**options: Any) -> Queue:
            limits = {key: options.pop(key) for key in list(options) if hasattr(Limits, key)}
            settings = replace(BASE, **options, limits=Limits(**limits))
            registry, log = CollectorRegistry(), io.StringIO()
            server = await stack.enter_async_context(QueueServer(settings, registry, make_logger(stream=log)))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            url = f"http://{settings.host}:{server.port}/v1"
            client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=10)
            await stack.enter_async_context(client)
            return Queue(server, registry, client, http, log)

        yield start_one


@pytest.fixture
async def queue(start: Start) -> Queue:
    return await start()
