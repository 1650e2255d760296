"""Makes SQLAlchemy's engine from a URL, so that SQLite and PostgreSQL behave alike for those who use it.

On SQLite a transaction takes the write lock when it begins (`BEGIN IMMEDIATE`): two writers then wait for each other,
where a transaction that becomes a writer only later would fail. Those that only read use `reading`, and wait for nobody
(write-ahead log).
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

_READING = "headrace_reading"
_LOCK_SECONDS = 10
_AGAIN_SECONDS = 0.01
_POSTGRESQL = {
    "application_name": "headrace-queue",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A server that is gone without a word is noticed within 25 s."""


def sqlite_url(folder: Path) -> str:
    """The URL of the database in a data folder."""
    return URL.create("sqlite", database=str(folder.expanduser().absolute() / "queue.db")).render_as_string()


def make_engine(url: str) -> Engine:
    """The engine for a URL of SQLite or PostgreSQL; nothing is connected yet.

    Raises:
        ValueError: the URL is of another kind, or none; the message says what is accepted, and no password.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": _LOCK_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    driven = parsed.set(drivername="postgresql+psycopg")
    return create_engine(driven, connect_args=_POSTGRESQL, pool_size=4, max_overflow=4, pool_timeout=10)


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read."""
    return engine.execution_options(**{_READING: True})


def shown(engine: Engine) -> str:
    """Its URL for people, without the password."""
    return engine.url.render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    accepted = "postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:////FOLDER/FILE"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(f"the database URL cannot be read: it must be {accepted}") from None
    if parsed.drivername not in {"sqlite", "postgresql", "postgres", "postgresql+psycopg"}:
        raise ValueError(f"the database URL begins with {parsed.drivername!r}: it must be {accepted}")
    if parsed.drivername == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ValueError(f"the database URL names no file: it must be {accepted}")
    return parsed


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # or the driver begins transactions on its own, and never for a CREATE TABLE
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _write_ahead(connection: Any) -> None:
    """Turn the log on. Where several do so at once SQLite fails at once, whatever time it was given to wait."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    only_reads = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
