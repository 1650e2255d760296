"""Opens the database when the queue starts, and waits for one that is not there yet."""

import asyncio

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from headrace_queue.database.engine import make_engine, shown
from headrace_queue.database.migrate import revisions, upgrade

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10


async def open_database(url: str, log: structlog.typing.FilteringBoundLogger) -> Engine:
    """The database with its tables as this version needs them.

    A PostgreSQL that cannot be reached is tried again until it can: it may start after the queue.

    Raises:
        ValueError: the URL is not accepted.
        SQLAlchemyError: the database refuses.
        OSError: SQLite's folder cannot be made.
    """
    engine = make_engine(url)
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            revision = await asyncio.to_thread(upgrade, engine)
        except OperationalError as error:
            if engine.dialect.name == "sqlite":
                raise
            log.warning("no database yet", database=shown(engine), error=str(error.orig), again_in_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
        else:
            break
    newest = revisions()[-1]
    if revision != newest:
        log.warning("the database is of a newer version", database=shown(engine), revision=revision, newest=newest)
    return engine
