"""One writer of keys and shares at a time, over all replicas."""

from sqlalchemy import Connection, text

_ADVISORY_LOCK = 0x6B657973
"""Any number that nothing else in the same PostgreSQL database locks: "keys" in ASCII."""


def lock(connection: Connection) -> None:
    """Wait until nobody else writes, until the end of the transaction; SQLite's own transactions do so anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
