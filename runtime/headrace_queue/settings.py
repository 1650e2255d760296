"""The program's settings; the command line in `__main__` fills them, from options or `HEADRACE_QUEUE_*` variables."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headrace_api.keys import KeyLimits
from headrace_queue.keys.settings import KeySettings
from headrace_queue.ledger.webhook import WebhookSettings
from headrace_queue.limits import Limits
from headrace_queue.schedule import AGEING_SECONDS, SLACK_REQUESTS

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
    tls: tuple[Path, Path] | None = None
    models: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    generalist_models: tuple[str, ...] = ("*",)
    affinity_slack: int = SLACK_REQUESTS
    priority_ageing_seconds: float = AGEING_SECONDS
    drain_seconds: float = 30
    heartbeat_seconds: float = 15
    expect_operator: bool = False
    catalogue_seconds: float = 30
    waiting_comment_seconds: float = 15
    max_request_bytes: int = 32 * 2**20
    data_folder: Path = Path("~/.local/state/headrace")
    database_url: str | None = None
    receipt_secret: str | None = None
    webhook: WebhookSettings | None = None
    limits: Limits = field(default_factory=Limits)
    keys: KeySettings = field(default_factory=KeySettings)


def read_replicas(replicas: str) -> str:
    """`host:port` of all replicas, or nothing.

    Raises:
        ValueError: it is neither.
    """
    host, _, port = replicas.rpartition(":")
    if replicas and not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"--replicas {replicas!r} is not HOST:PORT, such as queue-replicas.models.svc:8080")
    return replicas


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


def read_token(token: str | None, file: Path | None, option: str = "--worker-token") -> str | None:
    """The workers' token, or the admin key, or None where none is configured.

    Raises:
        ValueError: both are given, the file cannot be read, or the token is empty.
    """
    if token is not None and file is not None:
        raise ValueError(f"give {option} or {option}-file, not both")
    if file is not None:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{option}-file {file} cannot be read: {error}") from error
    if token is not None and not token.strip():
        raise ValueError(f"what {option} gives is empty: it must have at least 1 character, or not be there at all")
    return token.strip() if token else None


def read_limits(words: Iterable[str]) -> KeyLimits:
    """The limits that `NAME=NUMBER` words say.

    Raises:
        ValueError: a word says none; the message has the names that there are.
    """
    found: dict[str, int] = {}
    names = {field.alias or name for name, field in KeyLimits.model_fields.items()}
    for word in words:
        name, _, number = word.partition("=")
        if name not in names or not number.isascii() or not number.isdigit() or int(number) < 1:
            raise ValueError(f"{word!r}: it must be NAME=NUMBER, with a number above 0 and one of {sorted(names)}")
        found[name] = int(number)
    return KeyLimits.model_validate(found)
