"""The program's settings; the command line in `__main__` fills them, from options or `HEADRACE_QUEUE_*` variables."""

from dataclasses import dataclass, field
from pathlib import Path

from headrace_queue.dispatch import Limits

ENVIRONMENT_PREFIX = "HEADRACE_QUEUE"
"""`--admin-port` is also `HEADRACE_QUEUE_ADMIN_PORT`, and so on."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; `docs/queue.md` describes each option."""

    host: str = "0.0.0.0"  # noqa: S104 - it serves the clients of a cluster
    port: int = 8080
    admin_port: int = 9090
    keda_port: int | None = None
    worker_token: str | None = None
    replicas: str = ""
    models: tuple[str, ...] = ()
    generalist_models: tuple[str, ...] = ("*",)
    drain_seconds: float = 30
    heartbeat_seconds: float = 15
    expect_operator: bool = False
    catalogue_seconds: float = 30
    max_request_bytes: int = 32 * 2**20
    limits: Limits = field(default_factory=Limits)


def read_replicas(replicas: str) -> str:
    """`host:port` of all replicas, or nothing.

    Raises:
        ValueError: it is neither.
    """
    host, _, port = replicas.rpartition(":")
    if replicas and not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"--replicas {replicas!r} is not HOST:PORT, such as queue-replicas.models.svc:8080")
    return replicas


def read_token(token: str | None, file: Path | None) -> str | None:
    """The workers' token, or None where none is configured.

    Raises:
        ValueError: both are given, the file cannot be read, or the token is empty.
    """
    if token is not None and file is not None:
        raise ValueError("give --worker-token or --worker-token-file, not both")
    if file is not None:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--worker-token-file {file} cannot be read: {error}") from error
    if token is not None and not token.strip():
        raise ValueError("the worker token is empty: give one of at least 1 character, or none at all")
    return token.strip() if token else None
