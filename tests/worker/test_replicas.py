"""A worker that serves every replica of its queue: real queues on the loopback's addresses, a scripted engine."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from headrace_api.wire import Credit, Drain, Job, Recall, Register, Registered, Result, Returned
from headrace_queue.app import QueueServer
from headrace_queue.logs import make_logger
from headrace_queue.settings import Settings
from headrace_worker import addresses, replicas, unacked
from headrace_worker.engine_process import free_port
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_queue import Connection, ScriptedQueue

pytestmark = pytest.mark.slow

Start = Callable[..., AbstractAsyncContextManager[Pulling]]


@dataclass
class Service:
    """A headless Service: a name whose addresses are those of its replicas."""

    folder: Path
    port: int = field(default_factory=free_port)
    addresses: set[str] = field(default_factory=set)
    servers: dict[str, QueueServer] = field(default_factory=dict)
    told: str = ""
    """What replicas say of where they all are."""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    async def look_up(self, host: str) -> set[str]:
        assert host == "localhost"
        if not self.addresses:
            raise OSError("no answer")
        return set(self.addresses)

    @contextlib.asynccontextmanager
    async def replica(self, number: int) -> AsyncIterator[QueueServer]:
        address = f"127.0.0.{number}"
        settings = Settings(
            host=address,
            port=self.port,
            admin_port=0,
            replicas=self.told,
            drain_seconds=4,
            data_folder=self.folder / address,
        )
        async with QueueServer(settings, CollectorRegistry(), make_logger(stream=io.StringIO())) as server:
            self.addresses.add(address)
            self.servers[address] = server
            yield server
            self.addresses.discard(address)

    def credits(self) -> list[int]:
        """At each replica, the worker's unused credits."""
        found = [server.dispatcher.schedule.workers.values() for server in self.servers.values()]
        return [sum(worker.credits for worker in workers) for workers in found]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Service:
    service = Service(tmp_path)
    monkeypatch.setattr(replicas, "LOOK_S", 0.05)
    look_up = service.look_up
    monkeypatch.setattr(replicas.Replicas.__init__, "__defaults__", (look_up,))
    return service


async def ask(service: Service, number: int, content: str = "quick", **more: Any) -> int:
    body = {"model": "public-name", "messages": [{"role": "user", "content": content}], **more}
    url = f"http://127.0.0.{number}:{service.port}/v1/chat/completions"
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as response:
        await response.read()
        return response.status


async def test_it_connects_to_every_replica_and_each_has_credits(service: Service, pulling: Start) -> None:
    async with service.replica(1), service.replica(2), service.replica(3), pulling(service.url, slots=7) as worker:
        await until(lambda: sum(service.credits()) == 7 and all(service.credits()))
        assert worker.status.registered
        assert [await ask(service, number) for number in (1, 2, 3)] == [200, 200, 200]


async def test_idle_credits_follow_the_requests(service: Service, engine: ScriptedEngine, pulling: Start) -> None:
    """All six slots are used by requests to the second replica, whoever had the credits; and then by the first's."""
    async with service.replica(1), service.replica(2), pulling(service.url, slots=6) as worker:
        await until(lambda: service.credits() == [3, 3])
        for number in (2, 1):
            asked = [asyncio.create_task(ask(service, number, "held", stream=True)) for _ in range(8)]
            await until(lambda: worker.status.under_way == 6)
            assert service.credits() == [0, 0]
            engine.go_on.set()
            assert await asyncio.gather(*asked) == [200] * 8
            engine.go_on.clear()
            await until(lambda: sum(service.credits()) == 6)


async def test_replicas_that_come_and_go_are_followed(
    service: Service, pulling: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "GONE_S", 0.2)
    async with service.replica(1), pulling(service.url, slots=4) as worker:
        await until(lambda: service.credits() == [4])
        async with service.replica(2) as second:
            await until(lambda: service.credits() == [2, 2])
            service.addresses.discard("127.0.0.2")
            await until(lambda: service.credits() == [4, 0])
            assert not second.dispatcher.schedule.dedicated()
        del service.servers["127.0.0.2"]
        assert worker.registered == [True]
        assert await ask(service, 1) == 200
        service.addresses.clear()  # no answer: all stays as it is
        await asyncio.sleep(0.4)
        assert service.credits() == [4]


async def test_replicas_may_be_elsewhere_than_the_url_says(
    service: Service, pulling: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL leads to a Service with one address; the replica that answers there names all, with their own port."""
    monkeypatch.setattr(addresses, "GONE_S", 0.2)
    elsewhere, service.told = Service(service.folder, addresses={"127.0.0.1"}), f"all.test:{service.port}"

    async def look_up(host: str) -> set[str]:
        assert host == "all.test"
        return set(service.addresses)

    monkeypatch.setattr(replicas.Replicas.__init__, "__defaults__", (look_up,))
    settings = Settings(
        host="127.0.0.1", port=elsewhere.port, admin_port=0, replicas=service.told, data_folder=service.folder
    )
    async with QueueServer(settings, CollectorRegistry(), make_logger(stream=io.StringIO())) as front:
        elsewhere.servers["front"] = front
        async with service.replica(2), service.replica(3), pulling(elsewhere.url, slots=4) as worker:
            await until(lambda: sum(service.credits()) == 4 and all(service.credits()))
            await until(lambda: not front.dispatcher.schedule.dedicated())
            assert [await ask(service, number) for number in (2, 3)] == [200, 200]
            assert worker.registered == [True]


async def test_a_replica_that_drains_keeps_no_credits(service: Service, engine: ScriptedEngine, pulling: Start) -> None:
    async with service.replica(1), service.replica(2) as second, pulling(service.url, slots=4) as worker:
        await until(lambda: service.credits() == [2, 2])
        held = asyncio.create_task(ask(service, 2, "held", stream=True))
        await until(lambda: worker.status.under_way == 1)
        draining = asyncio.create_task(second.drain())
        await until(lambda: service.credits() == [3, 0])
        assert worker.status.registered
        engine.go_on.set()
        assert await held == 200
        await draining


async def test_two_addresses_of_one_replica_get_one_connection(service: Service, pulling: Start) -> None:
    """All of 127.0.0.0/8 is one server that listens on every address."""
    settings = Settings(host="0.0.0.0", port=service.port, admin_port=0, data_folder=service.folder)  # noqa: S104
    service.addresses = {"127.0.0.1", "127.0.0.2"}
    async with QueueServer(settings, CollectorRegistry(), make_logger(stream=(log := io.StringIO()))) as server:
        service.servers["all"] = server
        async with pulling(service.url, slots=4):
            await until(lambda: '"worker left"' in log.getvalue())
            await until(lambda: service.credits() == [4])
            await asyncio.sleep(0.3)
            assert log.getvalue().count('"worker joined"') == 2


@contextlib.asynccontextmanager
async def scripted(service: Service) -> AsyncIterator[list[ScriptedQueue]]:
    """Two replicas that do what the test says."""
    queues = [ScriptedQueue(), ScriptedQueue()]
    service.addresses = {"127.0.0.1", "127.0.0.2"}
    async with contextlib.AsyncExitStack() as stack:
        for address, queue in zip(sorted(service.addresses), queues, strict=True):
            queue.port = service.port
            await stack.enter_async_context(queue.serving(address))
        yield queues


async def greeted(queue: ScriptedQueue, replica: str) -> Connection:
    """A scripted replica's connection, registered."""
    connection = await queue.connection()
    await connection.expect(Register)
    await connection.send(Registered(replica=replica))
    return connection


async def test_a_result_goes_to_another_replica_when_its_own_does_not_come_back(
    service: Service, pulling: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unacked, "ELSEWHERE_S", 0.2)
    async with scripted(service) as queues, pulling(service.url, slots=2):
        first = await greeted(queues[0], "one")
        second = await greeted(queues[1], "two")
        assert (await first.expect(Credit)).n == 2
        await first.expect(Recall)  # for the other one
        await first.send(Returned(n=1))
        assert (await second.expect(Credit)).n == 1
        await first.ask(1, "quick")
        result = await first.expect(Result)
        queues[0].refuse = 503
        await first.socket.close()
        assert await second.expect_after(Result) == result


async def test_a_worker_that_stops_tells_another_replica_what_those_of_one_that_dies_meanwhile_have_cost(
    service: Service, pulling: Start
) -> None:
    async with scripted(service) as queues, pulling(service.url, slots=2) as worker:
        first = await greeted(queues[0], "one")
        second = await greeted(queues[1], "two")
        held = {"model": "public-name", "stream": True, "messages": [{"role": "user", "content": "held"}]}
        url = "/v1/chat/completions"
        await first.send(Job(job=1, request_id="r", openai_url=url, openai_req=held, receipt="signed"))
        await first.first_piece()
        stopping = asyncio.create_task(worker.puller.drain("stopping", 30))
        await second.expect_after(Drain)
        await first.socket.close()
        told = await second.expect_after(Result)
        assert (told.request_id, told.receipt, told.status) == ("r", "signed", 502)
        await second.ack("r")
        await asyncio.wait_for(stopping, 1.5)  # without an acknowledgement it would take longer
