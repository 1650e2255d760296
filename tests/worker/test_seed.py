"""The seed's protocol: our worker in a Spider that knows only the document."""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from websockets.asyncio.server import serve

from headrace_api.wire import Registration
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import USAGE, ScriptedEngine
from tests.worker.seed_spider import Spider, url
from tests.worker.waiting import until

Start = Callable[..., AbstractAsyncContextManager[Pulling]]


async def test_a_spider_is_served(engine: ScriptedEngine, pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)) as worker:
        connection, registration = await spider.workers.get()
        assert set(registration) == set(Registration.model_fields)
        assert registration["cpu_count"] == 8
        for content in ("quick", "again"):
            answer = await spider.ask(connection, content)
            assert answer["choices"][0]["message"]["content"] == content
            assert answer["usage"] == USAGE
        assert engine.requests[0]["model"] == "public-name"
        assert worker.registered == [True]


async def test_errors_are_answers_too(pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)):
        connection, _ = await spider.workers.get()
        assert (await spider.ask(connection, "bad"))["error"]["message"] == "context too long"
        await connection.send("{}")
        assert "openai_req" in str(await connection.recv())


async def test_the_request_under_way_is_finished_before_leaving(engine: ScriptedEngine, pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)) as worker:
        connection, _ = await spider.workers.get()
        asking = asyncio.create_task(spider.ask(connection, "held back"))
        await until(lambda: engine.requests)
        draining = asyncio.create_task(worker.puller.drain("stopping", 10))
        await asyncio.sleep(0.05)
        engine.go_on.set()
        assert (await asking)["usage"] == USAGE
        await draining
        await asyncio.wait_for(worker.task, 1)


async def test_a_spider_that_leaves_frees_the_engine(engine: ScriptedEngine, pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)):
        connection, _ = await spider.workers.get()
        asking = asyncio.create_task(spider.ask(connection, "held back"))
        await until(lambda: engine.requests)
        await connection.close()
        await asyncio.wait_for(engine.left.wait(), 5)
        with contextlib.suppress(Exception):
            await asking
        await asyncio.wait_for(spider.workers.get(), 5)
