"""The program's settings; the command line in `__main__` fills them, from options or `HEADRACE_QUEUE_*` variables."""

from dataclasses import dataclass, field
from pathlib import Path

from headrace_queue.limits import Limits
from headrace_queue.schedule import AGEING_SECONDS

ENVIRONMENT_PREFIX = "HEADRACE_QUEUE"
"""`--admin-port` is also `HEADRACE_QUEUE_ADMIN_PORT`, and so on."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; `docs/queue.md` describes each option."""

    host: str = "0.0.0.0"  # noqa: S104 - it serves the clients of a cluster
    port: int = 8080
    admin_port: int = 9090
    worker_token: str | None = None
    tls: tuple[Path, Path] | None = None
    models: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    generalist_models: tuple[str, ...] = ("*",)
    priority_ageing_seconds: float = AGEING_SECONDS
    drain_seconds: float = 30
    heartbeat_seconds: float = 15
    expect_operator: bool = False
    catalogue_seconds: float = 30
    waiting_comment_seconds: float = 15
    max_request_bytes: int = 32 * 2**20
    data_folder: Path = Path("~/.local/state/headrace")
    database_url: str | None = None
    limits: Limits = field(default_factory=Limits)


def read_alias(text: str) -> tuple[str, str]:
    """An alias and what it stands for.

    Raises:
        ValueError: it is not of the form ALIAS=MODEL.
    """
    alias, equals, model = text.partition("=")
    if not (alias and equals and model) or alias == model:
        raise ValueError(f"--alias {text!r}: it must be ALIAS=MODEL, two different names")
    return alias, model


def read_tls(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """The files of a certificate and its key; None where TLS is not wanted.

    Raises:
        ValueError: only one is given.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ValueError("give --tls-cert and --tls-key, or neither")
    return certificate, key


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
