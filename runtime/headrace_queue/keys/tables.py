"""The tables of keys and limits. Times are seconds since 1970 in UTC."""

from sqlalchemy import BigInteger, Column, Double, Integer, Table, Text

from headrace_queue.database.metadata import METADATA

KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("rights", Text, nullable=False),
    Column("secrets", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("revision", BigInteger, nullable=False, index=True),
)
"""Keys that `headrace keys` made; a revoked one stays, for the ledger names it.

`rights` is a `KeyRights` as JSON, `secrets` a list of `{"sha256", "expires_at"}`. Each change takes the next
`revision`, so that replicas see that there is one."""

SHARES = Table(
    "key_shares",
    METADATA,
    Column("replica", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("day", Integer, nullable=False),
    Column("claims", Text, nullable=False),
    Column("written_at", Double, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
)
"""The rows of `shares`; `claims` is JSON: of each limit what is allotted, used and wanted."""

REPLICAS = Table(
    "queue_replicas",
    METADATA,
    Column("replica", Text, primary_key=True),
    Column("heard_at", Double, nullable=False),
)
"""The queues that divide the limits among themselves."""
