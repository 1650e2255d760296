"""Replicas that share one PostgreSQL: keys, and limits divided through the real table."""

import asyncio
import io
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from postgres import Postgres
from queue_setup import eventually
from sqlalchemy import Engine, event, func, select

from headrace_api.keys import KeyRights
from headrace_queue.database.engine import make_engine
from headrace_queue.database.migrate import upgrade
from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call
from headrace_queue.keys import store
from headrace_queue.keys.access import KeyAccess
from headrace_queue.keys.service import KeyService
from headrace_queue.keys.settings import KeySettings
from headrace_queue.keys.share_table import ShareTable
from headrace_queue.keys.shares import Row
from headrace_queue.keys.tables import SHARES
from headrace_queue.logs import make_logger

pytestmark = pytest.mark.slow

CALL = Call("1", "m", "/v1/chat/completions", b"{}")
Join = Callable[[], Awaitable[KeyService]]


@pytest.fixture
def engine(postgres_server: Postgres) -> Engine:
    made = make_engine(postgres_server.emptied())
    upgrade(made)
    return made


@pytest.fixture
async def join(engine: Engine) -> AsyncIterator[Join]:
    """Starts one more replica."""
    async with AsyncExitStack() as stack:
        stack.callback(engine.dispose)

        async def one() -> KeyService:
            service = KeyService(KeySettings(), None, make_logger(stream=io.StringIO()))
            await service.start(engine)
            stack.push_async_callback(service.close)
            return service

        yield one


async def create(service: KeyService, **limits: int) -> tuple[str, str]:
    """The header of a new key, and its id."""
    rights = KeyRights.model_validate({"limits": limits})
    key, info = await service.transact(lambda connection: store.create(connection, rights, time.time()))
    return f"Bearer {key}", info.id


def admits(access: KeyAccess, header: str) -> bool:
    with suppress(ApiError):
        access.caller(header).admit(CALL).settle(None, worked=False)
        return True
    return False


async def test_a_key_is_good_and_revoked_everywhere(join: Join) -> None:
    services = [await join() for _ in range(3)]
    header, key_id = await create(services[0])
    await eventually(lambda: all(each.access.closed and admits(each.access, header) for each in services))
    await services[1].transact(lambda connection: store.revoke(connection, key_id, time.time()))
    await eventually(lambda: not any(admits(each.access, header) for each in services))


@pytest.mark.parametrize("spread", [(8, 1, 1), (1, 0, 0)])
async def test_a_limit_is_accurate_to_a_tenth_over_replicas(join: Join, spread: tuple[int, ...]) -> None:
    limit, services = 300, [await join() for _ in spread]
    header, _ = await create(services[0], requestsPerMinute=limit)
    await eventually(lambda: all(each.access.closed for each in services))
    turns = itertools.cycle([each for each, share in zip(services, spread, strict=True) for _ in range(share)])
    admitted, began = 0, time.monotonic()
    while time.monotonic() < began + 3 and admitted < 2 * limit:
        admitted += admits(next(turns).access, header)
        await asyncio.sleep(0.004)
    assert admitted == pytest.approx(limit, rel=0.1)


async def test_what_a_replica_used_counts_when_it_has_left(join: Join) -> None:
    first = await join()
    header, _ = await create(first, requestsPerDay=10)
    await eventually(lambda: first.access.closed)
    assert sum(admits(first.access, header) for _ in range(6)) == 6
    await first.close()
    second = await join()
    assert sum(admits(second.access, header) for _ in range(9)) == 4


async def test_without_the_database_limits_stay_as_they_are(join: Join, engine: Engine) -> None:
    service = await join()
    header, _ = await create(service, requestsPerMinute=5)
    await eventually(lambda: service.access.closed)

    def fail(*_: object) -> None:
        raise ConnectionError("the network is down")

    event.listen(engine, "begin", fail)
    with pytest.raises(ConnectionError):
        await service.refresh()
    assert sum(admits(service.access, header) for _ in range(9)) == 5
    event.remove(engine, "begin", fail)
    await service.refresh()


async def test_rows_that_nobody_needs_go_and_no_news_is_missed(engine: Engine) -> None:
    now = time.time()
    one, two = (ShareTable(name, lambda: now) for name in ("one", "two"))
    day = int(now) // 86_400

    def exchange(table: ShareTable, *keys: str) -> list[str]:
        seen: list[str] = []

        def decide(rows: list[Row], _: object) -> list[Row]:
            seen.extend(row.key for row in rows)
            return [Row(table._replica, key, day, {}) for key in keys]

        with engine.begin() as connection:
            read = table.exchange(connection, decide)
        table.committed(read)
        return seen

    assert exchange(one, "a", "b") == []
    assert sorted(exchange(two)) == ["a", "b"]
    assert exchange(two) == []
    now += 700
    exchange(one)
    with engine.begin() as connection:
        left = connection.execute(select(func.count()).select_from(SHARES)).scalar_one()
    assert left == 2  # those of the newest revision
    exchange(one, "c")
    assert exchange(two) == ["c"]
    engine.dispose()
