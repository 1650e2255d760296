"""The tokens of one engine step leave in one frame, however many requests they are of."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from headrace_api.wire import Result
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import DONE, USAGE_CHUNK, ScriptedEngine
from tests.worker.scripted_queue import ScriptedQueue

Start = Callable[..., AbstractAsyncContextManager[Pulling]]
STREAMS, STEPS = 32, 5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class StepEngine(ScriptedEngine):
    """Writes a token of every request at once, as an engine does after each step of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[asyncio.StreamWriter] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"POST"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        writer.write(HEAD)
        self.writers.append(writer)

    def step(self, data: bytes) -> None:
        for writer in self.writers:
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        self.step(USAGE_CHUNK + DONE)
        for writer in self.writers:
            writer.write(b"0\r\n\r\n")


@pytest.fixture
async def engine() -> AsyncIterator[StepEngine]:
    steps = StepEngine()
    async with await asyncio.start_server(steps.accept, "127.0.0.1", 0) as server:
        steps.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield steps
        for writer in steps.writers:
            writer.close()


async def test_tokens_of_one_step_leave_in_one_frame(queue: ScriptedQueue, engine: StepEngine, pulling: Start) -> None:
    async with pulling(queue.url, slots=STREAMS):
        connection = await queue.connection()
        await connection.greet()
        for job in range(STREAMS):
            await connection.ask(job, "go", stream=True)
        await until(lambda: len(engine.writers) == STREAMS, 10)
        for number in range(STEPS):
            token = b"data: " + json.dumps({"choices": [{"delta": {"content": f"{number} "}}]}).encode() + b"\n\n"
            engine.step(token)
            whole = STREAMS * (number + 1)
            await until(lambda count=whole: sum(map(len, connection.frames)) >= count, 10)  # type: ignore[misc]
        pieces = [job for frame in connection.frames for job, _ in frame]
        steps = [sorted(pieces[start : start + STREAMS]) for start in range(0, len(pieces), STREAMS)]
        assert steps == [[*range(STREAMS)]] * STEPS
        # On a busy machine the kernel may hand a step over in two parts; never in a frame for each token.
        assert len(connection.frames) <= 2 * STEPS
        engine.end()
        ends = [await asyncio.wait_for(connection.messages.get(), 10) for _ in range(STREAMS)]
        assert sum(isinstance(end, Result) for end in ends) >= STREAMS // 2
