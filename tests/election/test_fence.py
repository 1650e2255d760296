"""The last look before a write leaves: with a real HTTP server that notes what it was sent."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from headrace_operator.election.fence import FencedRequest, fenced


@pytest.fixture
async def server():
    heard = []

    async def handle(request):
        heard.append((request.method, await request.text()))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_route("*", "/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", heard
    await runner.cleanup()


async def test_a_write_that_was_allowed_when_it_began_and_is_not_when_it_leaves_does_not_leave(server):
    url, heard = server
    allowed = True

    async def connected(*_):
        nonlocal allowed
        allowed = False  # the time ran out while the connection was made

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connected)
    async with aiohttp.ClientSession(request_class=FencedRequest, trace_configs=[trace]) as session:
        with fenced(lambda: allowed), pytest.raises(aiohttp.ClientConnectionError):
            async with asyncio.timeout(5):
                await session.patch(url, data="late")
        assert heard == []
        await session.patch(url, data="not fenced")
        allowed = True
        with fenced(lambda: allowed):
            await session.get(url)
            await session.patch(url, data="in time")
    assert heard == [("PATCH", "not fenced"), ("GET", ""), ("PATCH", "in time")]
