"""Keeps the keys that are accepted the same as the keys file and the database say, and this replica's part of limits.

Once a second (every five where no other queue can be there: SQLite), and soon when a key runs short of a limit, one
transaction exchanges shares and looks whether keys have changed. Without the database everything goes on as it was.
"""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Container, Mapping
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from headrace_api.keys import KeyFile
from headrace_queue.keys import key_file, store
from headrace_queue.keys.access import KeyAccess
from headrace_queue.keys.keyring import Keyring, from_file
from headrace_queue.keys.settings import KeySettings
from headrace_queue.keys.share_table import ShareTable
from headrace_queue.keys.shares import Proposal, Row, Sharing
from headrace_queue.keys.worker_tokens import WorkerRights, WorkerToken, WorkerTokens, token_of, tokens_of

_EXCHANGE_SECONDS = 1.0
_ALONE_SECONDS = 5.0
_SHORT_SECONDS = 0.1
"""Exchanges are no closer than this."""

_KEYS_AT_A_TIME = 50
"""Some 2 ms of the event loop's time."""
_LOOP_SECONDS = 10
"""How long a transaction waits for the event loop."""

Result = TypeVar("Result")


class KeyService:
    """The keys and workers' tokens of this replica."""

    def __init__(
        self, settings: KeySettings, worker_token: str | None, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        """Read the keys file.

        Raises:
            ValueError: it cannot be read, or is not accepted.
        """
        self.settings = settings
        self._log = log
        replica = uuid.uuid4().hex
        self._sharing = Sharing(replica)
        self._table = ShareTable(replica, time.time)
        self.access = KeyAccess(self._sharing, time.time)
        self._own_token = [token_of(worker_token, WorkerRights("worker-token"))] if worker_token else []
        self._watched = key_file.Watched(settings.file) if settings.file else None
        self._file = key_file.read(settings.file) if settings.file else KeyFile()
        self.worker_tokens = WorkerTokens(self._tokens(), anonymous=settings.anonymous_workers)
        self._stored = store.Stored([])
        self._state: store.State | None = None
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._short: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self._well = True

    async def start(self, engine: Engine) -> None:
        """Read the database's keys, and follow the changes from now on.

        Raises:
            SQLAlchemyError: the database cannot be read.
        """
        self._engine = engine
        self._sharing.table.alone = not _shared(engine)
        self.access.short = self._want
        await self.refresh()
        self._task = asyncio.create_task(self._follow(engine))

    def announce(self) -> None:
        """Log how open the queue is."""
        if not self.access.closed:
            self._log.warning("anybody may use the queue: there are no keys")
        if self.worker_tokens.open:
            self._log.warning("any worker may join: no worker token is needed")

    async def close(self) -> None:
        """Write down what was used, and leave the other replicas what this one held."""
        if self._task is None or self._engine is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        try:
            await self.refresh()
            await self.transact(self._table.leave)
        except (SQLAlchemyError, OSError) as error:
            self._log.warning("what keys have used is not written", error=str(error))

    async def transact(self, action: Callable[[Connection], Result]) -> Result:
        """Run it in a transaction, in a thread.

        Raises:
            SQLAlchemyError: the database cannot be reached, or refuses.
        """
        engine = self._engine
        if engine is None:
            raise RuntimeError("the database is there once the service has started")

        def run() -> Result:
            with engine.begin() as connection:
                return action(connection)

        return await asyncio.to_thread(run)

    async def refresh(self, only: Container[str] | None = None) -> None:
        """Exchange the shares of all keys in use, or of some, and take in the database's keys if they have changed.

        Raises:
            SQLAlchemyError: the database cannot be reached, or refuses.
        """
        loop = asyncio.get_running_loop()
        proposals: list[Proposal] = []

        def decide(rows: list[Row], heard: Mapping[str, float]) -> list[Row]:
            # Meters are the event loop's.
            found = asyncio.run_coroutine_threadsafe(self._propose(rows, heard, only), loop).result(_LOOP_SECONDS)
            proposals.extend(found)
            return [row for each in found for row in each.rows]

        def exchange(connection: Connection) -> tuple[int, store.State, store.Stored | None]:
            read = self._table.exchange(connection, decide)
            state = store.state(connection)
            if state == self._state:
                return read, state, None
            return read, state, store.read_all(connection, self.settings.default_limits, self._stored.keys)

        async with self._one_at_a_time:
            read, state, stored = await self.transact(exchange)
            self._table.committed(read)
            for each in proposals:
                self._sharing.accept(each)
        if stored is not None:
            for key_id in stored.unreadable.keys() - self._stored.unreadable.keys():
                self._log.error("a key cannot be read", key=key_id, error=stored.unreadable[key_id])
            self._state, self._stored = state, stored
            self._replace()

    async def _propose(
        self, rows: list[Row], heard: Mapping[str, float], only: Container[str] | None
    ) -> list[Proposal]:
        now = time.time()
        self._sharing.table.take_in(rows, heard)
        meters = self.access.meters()
        proposals = []
        if only is None:
            self._sharing.table.prune(now)
            proposals.append(Proposal(self._sharing.gone(meters), [], []))
        wanted = iter([(key, meter) for key, meter in meters.items() if only is None or key in only])
        while some := dict(itertools.islice(wanted, _KEYS_AT_A_TIME)):
            proposals.append(self._sharing.propose(some, now))
            self.access.rest(proposals[-1].idle)
            await asyncio.sleep(0)  # tokens are on their way meanwhile
        return proposals

    def _replace(self) -> None:
        listed = from_file(self._file.keys, self.settings.default_limits)
        stored = self._stored.keys
        closed = self.settings.required or self.settings.file is not None or bool(stored or self._stored.unreadable)
        self.access.replace(Keyring([*listed, *stored]), closed=closed or self.access.closed)
        if self._task:
            self._log.info("keys have changed", file=len(listed), database=len(stored))

    def _tokens(self) -> list[WorkerToken]:
        return [*self._own_token, *tokens_of(self._file.workers)]

    async def _follow(self, engine: Engine) -> None:
        pause = _EXCHANGE_SECONDS if _shared(engine) else _ALONE_SECONDS
        loop = asyncio.get_running_loop()
        regular = loop.time() + pause
        while True:
            await self._pause(regular - loop.time())
            short, self._short = self._short, set()
            self._wanted.clear()
            is_regular = loop.time() >= regular
            try:
                if is_regular:
                    regular = loop.time() + pause
                    self._look_at_file()
                    self.worker_tokens.look()
                await self.refresh(None if is_regular else short)
            except (SQLAlchemyError, OSError) as error:
                self._note(well=False, error=str(error))
            except Exception as error:  # noqa: BLE001 - keys and limits would stand still for good
                if self._well:  # once, and not every second
                    self._log.exception("keys and limits cannot be followed")
                self._note(well=False, error=repr(error))
            else:
                self._note(well=True)

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until a key runs short, but for a while."""
        await asyncio.sleep(_SHORT_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds - _SHORT_SECONDS, 0.0)):
                await self._wanted.wait()

    def _want(self, key: str) -> None:
        self._short.add(key)
        self._wanted.set()

    def _look_at_file(self) -> None:
        if self._watched is None or self.settings.file is None or not self._watched.changed():
            return
        try:
            self._file = key_file.read(self.settings.file)
        except ValueError as error:
            self._log.error("the keys stay as they were", error=str(error))
            return
        self._replace()
        self.worker_tokens.replace(self._tokens())

    def _note(self, *, well: bool, **fields: str) -> None:
        if well != self._well:
            self._well = well
            self._log.warning("limits are divided again" if well else "limits stay divided as they are", **fields)


def _shared(engine: Engine) -> bool:
    """Whether other queues can be at the same database."""
    return engine.dialect.name == "postgresql"
