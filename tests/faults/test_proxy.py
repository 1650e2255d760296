"""The proxy against a small API server in the same process: that each fault is what it says."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.faults import proxy
from tests.faults.misbehaviour import THROTTLED, Delay, Drop, Fate, Repeat

pytestmark = pytest.mark.slow


class Upstream:
    """Counts writes, and tells three events of one object on every watch."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.lists = 0
        self.killed = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            self.writes.append(await request.text())
            return web.json_response({"kind": "Thing"}, status=201)
        if "watch" not in request.query:
            self.lists += 1
            return web.json_response({"kind": "ThingList", "items": [self.lists]})
        response = web.StreamResponse()
        await response.prepare(request)
        for number in (1, 2, 3):
            event = {"type": "MODIFIED", "object": {"metadata": {"uid": "u", "resourceVersion": str(number)}}}
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    def kill(self) -> None:
        self.killed += 1


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def door(upstream: Upstream) -> AsyncIterator[proxy.Proxy]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with proxy.serve(f"http://127.0.0.1:{runner.addresses[0][1]}", None, upstream.kill) as found:
            yield found
    finally:
        await runner.cleanup()


@pytest.fixture
async def client(door: proxy.Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as session:
        yield session


async def _versions(client: aiohttp.ClientSession) -> list[str]:
    async with client.get("/things", params={"watch": "true"}) as answer:
        lines = [json.loads(line) async for line in answer.content]
    return [
        str(line["object"].get("metadata", {}).get("resourceVersion", line["object"].get("code"))) for line in lines
    ]


async def test_it_forwards_and_counts_writes(door, client, upstream) -> None:
    async with client.patch("/things/a", data="body") as answer:
        assert (answer.status, await answer.json()) == (201, {"kind": "Thing"})
    await client.put("/apis/coordination.k8s.io/v1/namespaces/n/leases/l")
    await client.get("/things")
    await client.delete("/things/a")
    assert [(call.verb, call.number, call.status) for call in door.calls] == [
        ("PATCH", 1, 201),
        ("PUT", 0, 201),
        ("GET", 0, 200),
        ("DELETE", 2, 201),
    ]
    assert upstream.writes[0] == "body"


@pytest.mark.parametrize("fate", [Fate.KILL_BEFORE, Fate.KILL_AFTER, Fate.CUT_BEFORE, Fate.CUT_AFTER])
async def test_a_connection_breaks_at_the_second_write(door, client, upstream, fate) -> None:
    door.arm(on_call=lambda call: fate if call.number == 2 else None)
    await client.post("/things")
    assert not door.fired
    with pytest.raises(aiohttp.ClientError):
        await client.post("/things")
    assert door.fired
    assert len(upstream.writes) == 1 + (fate in {Fate.KILL_AFTER, Fate.CUT_AFTER})
    assert upstream.killed == (fate in {Fate.KILL_BEFORE, Fate.KILL_AFTER})


async def test_the_api_servers_own_refusal(door, client, upstream) -> None:
    door.arm(on_call=lambda call: THROTTLED if call.number == 1 else None)
    async with client.post("/things") as answer:
        body = await answer.json()
    assert (answer.status, answer.headers["Retry-After"], body["code"], body["kind"]) == (429, "1", 429, "Status")
    assert upstream.writes == []


async def test_no_answer_ever_comes(door, client, upstream) -> None:
    door.arm(on_call=lambda _: Fate.HANG)
    with pytest.raises(TimeoutError):
        await client.post("/things", timeout=aiohttp.ClientTimeout(total=0.2))
    assert upstream.writes == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (None, ["1", "2", "3"]),
        (Delay(0.05), ["1", "2", "3"]),
        (Repeat(0.01), ["1", "2", "1", "2", "3"]),
        (Drop(0.01, "gone"), ["1", "410"]),
        (Drop(0.01, "close"), ["1"]),
    ],
)
async def test_a_watch_misbehaves_at_its_second_event(door, client, fault, told) -> None:
    door.arm(on_event=lambda number: fault if number == 2 else None)
    assert await _versions(client) == told
    assert door.held == 0


async def test_a_watch_that_is_late_is_known_to_be(door, client) -> None:
    door.arm(on_event=lambda number: Delay(0.2) if number == 1 else None)
    watch = asyncio.create_task(_versions(client))
    async with asyncio.timeout(10):
        while not door.held:
            await asyncio.sleep(0.01)
    assert await watch == ["1", "2", "3"]


async def test_frozen_lists_are_told_again_until_thawed(door, client) -> None:
    async def ask(accept: str = "application/json") -> int:
        async with client.get("/things", headers={"Accept": accept}) as answer:
            return (await answer.json())["items"][0]

    door.freeze()
    assert [await ask(), await ask()] == [1, 1]
    assert await ask("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io") == 3
    door.thaw()
    assert await ask() == 4
