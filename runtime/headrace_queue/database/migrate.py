"""Brings the database to this program's version when it starts, also when many replicas start at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

CONNECTION = "connection"
"""Under this name `migrations/env.py` finds the connection to use."""

_ADVISORY_LOCK = 0x68656164
"""Any number that nothing else in the same PostgreSQL database locks: "head" in ASCII."""


def upgrade(engine: Engine, revision: str = "head") -> str:
    """Make or change the tables, all or nothing; the tables of a newer version of this program stay as they are.

    It is one transaction, and one at a time: SQLite locks its file when one begins, PostgreSQL gets a lock of its own.

    Returns the revision that the database has now.

    Raises:
        SQLAlchemyError: the database cannot be reached or refuses.
        OSError: SQLite's folder cannot be made.
    """
    if engine.url.get_backend_name() == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    with engine.begin() as connection:
        _lock(connection)
        found = _current(connection)
        if found is not None and found not in revisions():
            return found
        config = _config()
        config.attributes[CONNECTION] = connection
        command.upgrade(config, revision)
        return _current(connection) or ""


def revisions() -> list[str]:
    """Every revision, the first one first."""
    script = ScriptDirectory.from_config(_config())
    return [each.revision for each in reversed(list(script.walk_revisions()))]


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
