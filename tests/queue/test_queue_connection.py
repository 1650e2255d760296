"""Slow connections are kept; those that do not move are not."""

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from queue_setup import PLAIN, Start, eventually
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue import connection

_BUFFER = 8192


@asynccontextmanager
async def slow_link(port: int, bytes_per_second: float) -> AsyncIterator[int]:
    """A relay to `port` that lets only so much through towards the worker, and keeps next to nothing itself."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause: float) -> None:
        while data := await reader.read(_BUFFER):
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(pause * len(data))
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = sockets.socket()
        inner.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, _BUFFER)
        inner.setblocking(False)
        await asyncio.get_running_loop().sock_connect(inner, ("127.0.0.1", port))
        from_queue, to_queue = await asyncio.open_connection(sock=inner, limit=_BUFFER)
        await asyncio.gather(copy(from_queue, writer, 1 / bytes_per_second), copy(reader, to_queue, 0))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.slow
async def test_a_large_job_on_a_slow_link_is_not_taken_for_a_dead_worker(start: Start) -> None:
    queue = await start(heartbeat_seconds=0.4)
    async with slow_link(queue.server.port, 1_000_000) as port:
        async with V1Worker(f"ws://127.0.0.1:{port}/worker", "m", credit=1) as worker:
            task = queue.ask(user="x" * 1_200_000)
            job = await worker.expect(wire.Job)
            await worker.result(job, body=PLAIN)
            await task
            await asyncio.sleep(0.8)
            assert queue.server.dispatcher.schedule.has_dedicated("m"), "its pongs come in time again"
        await eventually(lambda: not queue.server.dispatcher.schedule.has_dedicated("m"))
    assert not any(line["event"] == "handed back" for line in queue.logged())
    assert queue.metric("headrace_queue_worker_disconnects_total", protocol="headrace.v1") == 1


@pytest.mark.slow
async def test_a_worker_that_stops_reading_within_a_large_job_is_found(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_DEAD_SECONDS", 1)
    queue = await start(heartbeat_seconds=0.2)
    async with V1Worker(queue.worker_url, "m", credit=1) as first, V1Worker(queue.worker_url, "m") as second:
        first.socket.transport.pause_reading()
        task = queue.ask(user="x" * 6_000_000)  # more than the buffers of both ends hold
        left = partial(queue.metric, "headrace_queue_worker_disconnects_total", protocol="headrace.v1")
        await eventually(lambda: left() == 1, seconds=9)  # the kernel looks at it ever more seldom
        await second.send(wire.Credit(n=1))
        await second.result(await second.expect(wire.Job), body=PLAIN)
        await task
        first.die()
