"""The operator's connection to the queue, against a real WebSocket server."""

import asyncio

import pytest
from aiohttp import web
from tests.serving import served
from tests.waiting import until

from headrace_api.load import Catalogue, Load, ModelLoad
from headrace_operator import queue_link
from headrace_operator.queue_link import QueueLink


class Queue:
    """Remembers catalogues, and says what it is told to."""

    def __init__(self):
        self.catalogues = []
        self.sockets = []

    async def handle(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            self.catalogues.append(Catalogue.model_validate_json(message.data).models)
        return socket


@pytest.fixture
async def queue():
    queue = Queue()
    app = web.Application()
    app.router.add_get("/operator", queue.handle)
    async with served(app, shutdown_timeout=1) as port:
        queue.url = f"http://127.0.0.1:{port}"
        yield queue


@pytest.fixture
async def linked(queue, monkeypatch):
    monkeypatch.setattr(queue_link, "_RETRY_SECONDS", 0.05)
    names, loads = ["a"], []
    link = QueueLink(queue.url, lambda: Catalogue(models=list(names)), lambda load: loads.append(load and load.models))
    task = asyncio.create_task(link.run())
    yield link, names, loads
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_catalogue_is_sent_at_first_and_when_it_changes(queue, linked):
    link, names, _ = linked
    await until(lambda: queue.catalogues == [["a"]])
    link.refresh()
    names.append("b")
    link.refresh()
    await until(lambda: queue.catalogues == [["a"], ["a", "b"]])


async def test_every_load_is_handed_on_as_it_comes(queue, linked):
    _, _, loads = linked
    await until(lambda: queue.sockets)
    for number in range(50):
        await queue.sockets[0].send_str(Load(models={"a": ModelLoad(queued=number)}).model_dump_json())
    await until(lambda: len(loads) >= 50)
    assert loads == [{"a": ModelLoad(queued=number)} for number in range(50)]


async def test_a_lost_or_talking_nonsense_queue_is_connected_to_again(queue, linked):
    _, _, loads = linked
    await until(lambda: queue.sockets)
    await queue.sockets[0].send_str(Load(models={"a": ModelLoad(queued=1)}).model_dump_json())
    await until(lambda: loads)
    await queue.sockets[0].send_str("nonsense")
    await until(lambda: loads[-1] is None)
    await until(lambda: len(queue.sockets) == 2)
    await until(lambda: queue.catalogues == [["a"], ["a"]])
