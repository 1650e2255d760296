"""Secrets that the replicas share through the database: the first that needs one makes it."""

import secrets
import time

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from headrace_queue.database.engine import reading
from headrace_queue.ledger.tables import SECRETS

RECEIPTS = "receipts"


def shared_secret(engine: Engine, name: str) -> str:
    """The secret of this name, made now if there is none; it blocks.

    Raises:
        SQLAlchemyError: the database is away.
    """
    found = _stored(engine, name)
    if found is not None:
        return found
    made = secrets.token_urlsafe(32)
    try:
        with engine.begin() as connection:
            connection.execute(insert(SECRETS).values(name=name, value=made, created_at=time.time()))
    except IntegrityError:  # another replica was quicker
        return _stored(engine, name) or made
    return made


def _stored(engine: Engine, name: str) -> str | None:
    with reading(engine).connect() as connection:
        return connection.execute(select(SECRETS.c.value).where(SECRETS.c.name == name)).scalar_one_or_none()
