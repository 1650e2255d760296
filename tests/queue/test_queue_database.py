"""The database that the queue opens: both kinds, many at once, old and new versions."""

import asyncio
import importlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres import Postgres
from queue_setup import Start, eventually
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

import headrace_queue
from headrace_queue.database.engine import make_engine, reading, shown, sqlite_url
from headrace_queue.database.metadata import METADATA
from headrace_queue.database.migrate import revisions, upgrade
from headrace_queue.database.opening import open_database
from headrace_queue.logs import make_logger

for room in Path(headrace_queue.__file__).parent.glob("*/tables.py"):
    importlib.import_module(f"headrace_queue.{room.parent.name}.tables")


@pytest.mark.parametrize("begin_at", [None, *revisions()])
def test_every_earlier_database_is_brought_to_what_the_program_expects(database_url: str, begin_at: str | None) -> None:
    engine = make_engine(database_url)
    if begin_at is not None:
        assert upgrade(engine, begin_at) == begin_at
    assert upgrade(engine) == revisions()[-1]
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
    engine.dispose()


def test_replicas_that_start_at_once_migrate_once(database_url: str) -> None:
    engines = [make_engine(database_url) for _ in range(6)]
    Path(engines[0].url.database or "").parent.mkdir(parents=True, exist_ok=True)
    gate = threading.Barrier(len(engines))

    def start(number: int) -> str:
        gate.wait()
        return upgrade(engines[number])

    with ThreadPoolExecutor(len(engines)) as pool:
        assert set(pool.map(start, range(len(engines)))) == {revisions()[-1]}
    for engine in engines:
        engine.dispose()


def test_a_step_that_fails_leaves_nothing(database_url: str) -> None:
    engine = make_engine(database_url)

    def half() -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE half (a INTEGER)"))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half()
    assert not inspect(engine).has_table("half")
    engine.dispose()


async def test_the_database_of_a_newer_version_is_used_as_it_is(database_url: str) -> None:
    engine, log = make_engine(database_url), io.StringIO()
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    (await open_database(database_url, make_logger(stream=log))).dispose()
    assert '"revision":"9999"' in log.getvalue()


def test_a_reader_does_not_wait_for_a_writer(database_url: str) -> None:
    engine = make_engine(database_url)
    upgrade(engine)
    with engine.begin() as writes, reading(engine).begin() as reads:
        writes.execute(text("INSERT INTO secrets VALUES ('a', 'b', 0)"))
        assert reads.execute(text("SELECT count(*) FROM secrets")).scalar_one() == 0
    engine.dispose()


def test_writers_wait_for_each_other(database_url: str) -> None:
    engine = make_engine(database_url)
    upgrade(engine)

    def count(_: int) -> None:
        for _ in range(5):
            with engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("LOCK TABLE secrets"))
                found = connection.execute(text("SELECT count(*) FROM secrets")).scalar_one()
                connection.execute(text("INSERT INTO secrets VALUES (:name, '', 0)"), {"name": str(found)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM secrets")).scalar_one() == 20
    engine.dispose()


@pytest.mark.slow
async def test_a_server_that_starts_late_is_waited_for(postgres_server: Postgres) -> None:
    url, log = postgres_server.emptied(), io.StringIO()
    postgres_server.stop()
    try:
        opening = asyncio.create_task(open_database(url, make_logger(stream=log)))
        await eventually(lambda: "no database yet" in log.getvalue(), 10)
        assert "postgres@127.0.0.1" in log.getvalue()
    finally:
        postgres_server.start()
    (await opening).dispose()


async def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "queue.db").mkdir()
    with pytest.raises(OperationalError, match="open"):
        await open_database(sqlite_url(tmp_path), make_logger(stream=io.StringIO()))


@pytest.mark.parametrize(
    "url", ["", "mysql://a:secret@b/c", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://u:secret@h/d"]
)
def test_other_urls_are_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://USER:PASSWORD@HOST/DATABASE") as caught:
        make_engine(url)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert shown(make_engine("postgres://u:secret@h:1/d")) == "postgresql+psycopg://u:***@h:1/d"


async def test_the_queue_says_which_database_it_uses(start: Start, database_url: str) -> None:
    queue = await start(database_url=database_url)
    (line,) = [one for one in queue.logged() if one["event"] == "listening"]
    assert line["database"] == shown(make_engine(database_url))
