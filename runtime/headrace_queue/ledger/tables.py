"""The ledger's tables. Times are seconds since 1970 in UTC: the same in every database, and quick to write."""

from sqlalchemy import BigInteger, Column, Date, Double, Index, Integer, Table, Text

from headrace_queue.database.metadata import METADATA

LEDGER = Table(
    "ledger",
    METADATA,
    Column("request_id", Text, primary_key=True),
    Column("day", Date, nullable=False),
    Column("key", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("adapter", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("gpu_seconds", Double, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("started_at", Double),
    Column("first_token_at", Double),
    Column("ended_at", Double, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("doubt", Text, nullable=False),
    Index(None, "day", "key", "model"),
)
"""One row a request. `day` is that of `ended_at`; `doubt` says what is not to be believed of a worker's figures."""

OUTBOX = Table(
    "webhook_outbox",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "due_at"),
)
"""Messages of the webhook that are not delivered; each was written in the transaction of the rows that it tells of."""

SECRETS = Table(
    "secrets",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)
"""Secrets that the replicas made for themselves and share."""
