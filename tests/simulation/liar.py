"""A worker that is none of ours: it says whatever the protocol has words for, and what it has no words for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random

from headrace_api import wire
from headrace_api.pieces import encode_pieces
from tests.simulation.loop import Process
from tests.simulation.network import Connection, End
from tests.simulation.plan import WorkerPlan


class Liar:
    """One process of it; it goes on until it is killed."""

    def __init__(
        self, plan: WorkerPlan, connect: Callable[[Process], Awaitable[Connection | None]], rng: Random
    ) -> None:
        self.plan = plan
        self.process = Process("liar")
        self.connection: Connection | None = None
        self._connect = connect
        self._rng = rng
        self._jobs: list[wire.Job] = []

    def start(self) -> None:
        self.process.start(self._run())

    async def _run(self) -> None:
        while True:
            self.connection = await self._connect(self.process)
            if self.connection:
                reader = asyncio.create_task(self._read(self.connection.worker_end))
                try:
                    await self._talk(self.connection.worker_end)
                except ConnectionError:
                    self._jobs.clear()
                finally:
                    reader.cancel()
            await asyncio.sleep(1 + self._rng.random())

    async def _read(self, end: End) -> None:
        async for frame in end:
            self._jobs += [each for each in wire.read_queue_messages(frame.data) if isinstance(each, wire.Job)]

    async def _talk(self, end: End) -> None:
        machine = {"cpu_count": 1, "disk_space": 1, "vram": 0}
        register = wire.Register(worker="w0", models=["a"], fingerprint="f", **machine)
        await end.send_str(wire.encoded(register))
        for _ in range(self._rng.randint(1, 20)):
            said = self._rng.choice(_SAYINGS)(self)
            await (end.send_bytes(said) if isinstance(said, bytes) else end.send_str(said))
            await asyncio.sleep(self._rng.random() * 0.5)
        await end.close()

    def _number(self) -> int:
        return self._rng.choice([*(job.job for job in self._jobs), self._rng.randint(0, 9)])

    def _request_id(self) -> str:
        return self._rng.choice([*(job.request_id for job in self._jobs), "r1", "r2", "nobody's"])

    def _credit(self) -> str:
        return json.dumps({"type": "credit", "n": self._rng.choice((1, 2, 10**5, 10**9))})

    def _recall(self) -> str:
        return json.dumps({"type": "recall", "n": self._rng.choice((1, 2, 10**5))})

    def _result(self) -> str:
        counts = {"prompt_tokens": self._rng.choice((-5, 0, 10**12)), "completion_tokens": self._rng.choice((-1, 7))}
        result = {
            "type": "result",
            "job": self._number(),
            "request_id": self._request_id(),
            "status": self._rng.choice((200, 404, 500, -1, 77)),
            "usage": self._rng.choice((None, counts, {"prompt_tokens": 1})),
            "body": self._rng.choice((None, {}, {"choices": 7}, {"error": "no"})),
        }
        return json.dumps(result)

    def _pieces(self) -> bytes:
        return encode_pieces((self._number(), b"x" * self._rng.choice((0, 1, 900))) for _ in range(3))

    def _handback(self) -> str:
        return wire.encoded(wire.HandBack(job=self._number(), reason="?", failed=self._rng.random() < 0.5))

    def _report(self) -> str:
        state = self._rng.choice(("ready", "loading", "draining", "failed"))
        return wire.encoded(wire.Report(state=state))

    def _serving(self) -> str:
        return wire.encoded(wire.Serving(models=self._rng.choice((["a"], ["b"], ["a", "b"]))))

    def _nonsense(self) -> str | bytes:
        return self._rng.choice((b"\0\0\0\1\0\0\0\11abc", "{", '{"type": "register"}', '{"type": "credit", "n": -1}'))


_SAYINGS: tuple[Callable[[Liar], str | bytes], ...] = (
    Liar._credit, Liar._credit, Liar._recall, Liar._result, Liar._result, Liar._pieces, Liar._pieces, Liar._handback,
    Liar._report, Liar._serving, Liar._nonsense,
)  # fmt: skip
