"""How much may wait and for how long; see the options of the same names in `docs/queue.md`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The bounds of everything that a client can make the queue keep."""

    max_waiting: int = 10_000
    max_waiting_bytes: int = 128 * 2**20
    max_waiting_per_model: int = 5000
    max_waiting_per_key: int = 1000
    max_waiting_bytes_per_key: int = 64 * 2**20
    client_buffer_bytes: int = 16 * 2**20
    hold_seconds: float = 300
    request_seconds: float = 3600
    max_attempts: int = 3
    first_token_seconds: float = 60
