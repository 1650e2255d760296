"""What the operator makes of several replicas of a queue."""

import asyncio
import contextlib

import pytest
from aiohttp import web
from tests.serving import served
from tests.waiting import until

from headrace_api import feeds as queue_feeds
from headrace_api.feeds import Feeds, places
from headrace_api.load import Catalogue, Load, ModelLoad, Starting, summed
from headrace_operator import queue_link, queue_links
from headrace_operator.queue_links import QueueLinks


def test_requests_are_summed_and_workers_are_not():
    """A worker is connected with every replica; each tells of the requests that it has from it."""
    loading, failed = Starting(state="loading"), Starting(state="failed", detail="out of memory")
    one = ModelLoad(queued=1, running=3, workers=2, starting={"c": loading}, in_flight={"a": 1, "b": 2}, taken=9)
    other = ModelLoad(
        queued=2, running=1, workers=3, starting={"d": failed}, in_flight={"b": 1}, taken=5, notes={"a": "n"}
    )
    assert summed([{"m": one, "x": ModelLoad(queued=4)}, {"m": other}]) == {
        "m": ModelLoad(
            queued=3,
            running=4,
            workers=3,
            starting={"c": loading, "d": failed},
            notes={"a": "n"},
            in_flight={"a": 1, "b": 3},
            taken=14,
        ),
        "x": ModelLoad(queued=4),
    }


@pytest.mark.parametrize(
    ("url", "addresses", "expected"),
    [
        ("http://queue:9090", ["10.0.0.1"], {"": "http://queue:9090"}),
        ("http://localhost:9090", ["::1", "127.0.0.1"], {"": "http://localhost:9090"}),
        (
            "http://queue:9090/base",
            ["10.0.0.2", "10.0.0.1", "fd00::1", "fd00::2"],
            {"10.0.0.1": "http://10.0.0.1:9090/base", "10.0.0.2": "http://10.0.0.2:9090/base"},
        ),
        ("http://queue:9090", ["fd00::1", "fd00::2"], {f"fd00::{n}": f"http://[fd00::{n}]:9090" for n in (1, 2)}),
        ("https://queue", ["10.0.0.1", "10.0.0.2"], {"": "https://queue"}),
    ],
)
def test_each_replica_has_its_url_where_there_are_several(url, addresses, expected):
    assert places(url, addresses) == expected


def load(replica, queued):
    return Load(replica=replica, models={"m": ModelLoad(queued=queued)})


def queued(feeds):
    return feeds.now()["m"].queued if feeds.now() else None


def test_a_lost_replicas_numbers_count_for_a_while_unless_it_is_the_only_one():
    now = [0.0]
    feeds = Feeds(lambda: now[0])
    feeds.hear("1", load("one", 10))
    feeds.hear("2", load("two", 5))
    now[0] = 100.0
    feeds.lose("1")
    assert (queued(feeds), feeds.keeps) == (15, True)
    now[0] += queue_feeds.KEEP_SECONDS
    assert (queued(feeds), feeds.keeps) == (5, False)
    feeds.lose("2")
    assert queued(feeds) is None


def test_a_replica_that_comes_back_or_has_two_places_counts_once():
    now = [0.0]
    feeds = Feeds(lambda: now[0])
    feeds.hear("", load("one", 10))
    feeds.hear("1", load("one", 11))
    feeds.lose("")
    feeds.hear("2", load("two", 1))
    assert queued(feeds) == 12
    feeds.lose("1")
    feeds.hear("1", load("one", 3))
    assert (queued(feeds), feeds.keeps) == (4, False)


def test_a_replica_that_was_started_anew_at_its_place_replaces_the_one_before():
    now = [0.0]
    feeds = Feeds(lambda: now[0])
    feeds.hear("1", load("one", 10))
    feeds.hear("2", load("two", 5))
    feeds.hear("1", load("new", 1))
    assert queued(feeds) == 16
    now[0] += queue_feeds.KEEP_SECONDS
    assert queued(feeds) == 6


class Replica:
    """Says what it is told to on an address of its own."""

    def __init__(self, name, queued):
        self.load = load(name, queued)
        self.catalogues, self.queries = [], []

    async def handle(self, request):
        self.queries.append(request.query_string)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(self.load.model_dump_json())
        async for message in socket:
            self.catalogues.append(Catalogue.model_validate_json(message.data).models)
        return socket

    @contextlib.asynccontextmanager
    async def serving(self, address, port):
        app = web.Application()
        app.router.add_get("/operator", self.handle)
        async with served(app, address, port) as found:
            yield found


@pytest.mark.slow
async def test_every_replica_gets_the_catalogue_and_is_summed(monkeypatch):
    monkeypatch.setattr(queue_link, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(queue_links, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(queue_feeds, "KEEP_SECONDS", 0.3)
    one, two = Replica("one", 10), Replica("two", 5)
    addresses, told = ["127.0.0.1"], []

    async def look_up(host):
        assert host == "localhost"
        return list(addresses)

    async with one.serving("127.0.0.1", 0) as port, contextlib.AsyncExitStack() as second:
        links = QueueLinks(f"http://localhost:{port}", lambda: Catalogue(models=["m"]), told.append, look_up)
        task = asyncio.create_task(links.run())
        await until(lambda: told and told[-1] == one.load.models)
        assert one.queries == [""]
        await second.enter_async_context(two.serving("127.0.0.2", port))
        addresses.append("127.0.0.2")
        await until(lambda: told[-1] and told[-1]["m"].queued == 15)
        await until(lambda: two.catalogues == [["m"]])
        assert {*two.queries, one.queries[-1]} == {"every-replica"}
        await until(lambda: links.connected == 2)
        before = len(told)
        await second.aclose()
        await until(lambda: told[-1]["m"].queued == 10)
        assert {load["m"].queued for load in told[before:]} == {15, 10}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert told[-1] == {}
