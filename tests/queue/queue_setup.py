"""What every test of the queue needs: a running queue with its clients, and stuff for a worker to say."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import websockets
from prometheus_client import CollectorRegistry

from headrace_api.load import Load, ModelLoad
from headrace_queue.app import QueueServer
from headrace_queue.settings import Settings


def base(folder: Path) -> Settings:
    """What the queues of these tests have in common; the folder is for the database."""
    return Settings(host="127.0.0.1", port=0, admin_port=0, drain_seconds=4, data_folder=folder)


@dataclass
class Queue:
    server: QueueServer
    registry: CollectorRegistry
    client: openai.AsyncOpenAI
    http: aiohttp.ClientSession
    log: io.StringIO

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def worker_url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/worker"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.server.admin_port}"

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def ask(self, model: str = "m", **more: Any) -> asyncio.Task[Any]:
        messages = [{"role": "user", "content": "Who won the world series in 2020?"}]
        create: Any = self.client.chat.completions.create
        return asyncio.create_task(create(model=model, messages=messages, **more))


def operator(queue: Queue) -> websockets.connect:
    return websockets.connect(queue.admin_url.replace("http", "ws") + "/operator")


async def load_until(socket: websockets.ClientConnection, expected: dict[str, ModelLoad]) -> int:
    """How many messages came until one said `expected`."""
    count = 0
    async with asyncio.timeout(5):
        while True:
            count += 1
            models = Load.model_validate_json(await socket.recv()).models
            if {name: one.model_copy(update={"taken": 0}) for name, one in models.items()} == expected:
                return count


async def eventually(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


Start = Callable[..., Awaitable[Queue]]

PLAIN = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
DONE = b"data: [DONE]\n\n"


def chunk(content: str) -> bytes:
    """A server-sent event of a stream, as an engine makes it."""
    data = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return b"data: " + json.dumps({**data, "choices": [choice]}).encode() + b"\n\n"
