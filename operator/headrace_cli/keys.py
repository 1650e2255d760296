"""`headrace keys`."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from headrace_api.keys import (
    KEYS_PATH,
    LONGEST_GRACE_SECONDS,
    KeyInfo,
    KeyLimits,
    KeyList,
    KeyRights,
    NewSecret,
    Rotation,
)
from headrace_cli import queue_admin, terminal
from headrace_cli.cluster_options import Context, Kubeconfig, Namespace
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl
from headrace_cli.queue_admin import QueueAdmin

Queue = Annotated[str | None, typer.Option(help="The queue's Service, where the namespace has several.")]
Url = Annotated[str | None, typer.Option(help="The queue's admin port, where there is no cluster: http://HOST:9090.")]
AdminKeyFile = Annotated[Path | None, typer.Option(help="For --url: a file with the queue's admin key.")]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="json: all that the queue says.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `headrace keys list` shows it.")]
Number = Annotated[str | None, typer.Option(metavar="NUMBER", help="A number, or unlimited; else the queue's default.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORT = {
    "requests_per_minute": "req/min",
    "tokens_per_minute": "tok/min",
    "requests_per_day": "req/day",
    "tokens_per_day": "tok/day",
    "concurrent_requests": "at a time",
}


def command() -> None:
    """Make, list, revoke and rotate the keys of a queue's clients."""


def create(  # noqa: PLR0913, PLR0917  # options
    name: Annotated[str, typer.Argument(help="Whose key it is, for people.")],
    model: Annotated[list[str] | None, typer.Option(help="Pattern of models it may ask for. Repeatable.")] = None,
    requests_per_minute: Number = None,
    tokens_per_minute: Number = None,
    requests_per_day: Number = None,
    tokens_per_day: Number = None,
    concurrent_requests: Number = None,
    weight: Annotated[float, typer.Option(help="Its share among keys that want the same model.")] = 1.0,
    priority: Annotated[int, typer.Option(help="Of its requests; the highest goes first.")] = 0,
    lowest_priority: Annotated[int, typer.Option(help="The lowest that its requests may ask for.")] = -100,
    expires: Annotated[str | None, typer.Option(help="After so long (30d, 12h), or at a date (2027-01-31).")] = None,
    output: Output = "text",
    namespace: Namespace = None,
    queue: Queue = None,
    url: Url = None,
    admin_key_file: AdminKeyFile = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make a key, and print it: this is the only time that anybody sees it."""
    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "requests_per_day": requests_per_day,
        "tokens_per_day": tokens_per_day,
        "concurrent_requests": concurrent_requests,
    }
    rights = _checked(
        name=name,
        models=model or ["*"],
        limits={field: int(value) if value.isdigit() else value for field, value in limits.items() if value},
        weight=weight,
        priority=priority,
        lowest_priority=lowest_priority,
        expires=moment(expires, datetime.now(UTC)) if expires else None,
    )
    with _admin(Kubectl(context, namespace, kubeconfig), queue, url, admin_key_file) as admin:
        _show_secret(admin.ask("POST", KEYS_PATH, rights.model_dump_json(by_alias=True)), output)


def list_(  # noqa: PLR0913, PLR0917  # options
    output: Output = "text",
    namespace: Namespace = None,
    queue: Queue = None,
    url: Url = None,
    admin_key_file: AdminKeyFile = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List the keys, also those that are revoked; never their secrets."""
    with _admin(Kubectl(context, namespace, kubeconfig), queue, url, admin_key_file) as admin:
        text = admin.ask("GET", KEYS_PATH)
    if output == "json":
        typer.echo(text)
        return
    columns = ("ID", "NAME", "STATE", "MODELS", "LIMITS", "WEIGHT", "PRIORITY", "EXPIRES", "FROM")
    now = datetime.now(UTC)
    terminal.listing(columns, [row(key, now) for key in KeyList.model_validate_json(text).keys])


def revoke(  # noqa: PLR0913, PLR0917  # options
    key: KeyId,
    namespace: Namespace = None,
    queue: Queue = None,
    url: Url = None,
    admin_key_file: AdminKeyFile = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let nobody in with the key any more; every queue knows within seconds. It cannot be undone."""
    with _admin(Kubectl(context, namespace, kubeconfig), queue, url, admin_key_file) as admin:
        info = KeyInfo.model_validate_json(admin.ask("DELETE", f"{KEYS_PATH}/{_path(key)}"))
    typer.echo(f"{info.id} {info.name} is revoked", err=True)


def rotate(  # noqa: PLR0913, PLR0917  # options
    key: KeyId,
    grace: Annotated[str, typer.Option(help="How long the secrets before stay good: 0, 30m, 24h, 7d.")] = "0",
    output: Output = "text",
    namespace: Namespace = None,
    queue: Queue = None,
    url: Url = None,
    admin_key_file: AdminKeyFile = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Give a key another secret, and print it; its limits, and what it has used, stay."""
    wish = Rotation(grace_seconds=_grace(grace))
    with _admin(Kubectl(context, namespace, kubeconfig), queue, url, admin_key_file) as admin:
        path = f"{KEYS_PATH}/{_path(key)}/rotate"
        _show_secret(admin.ask("POST", path, wish.model_dump_json(by_alias=True)), output)


SUBCOMMANDS = {"create": create, "list": list_, "revoke": revoke, "rotate": rotate}


def row(key: KeyInfo, now: datetime) -> tuple[str, ...]:
    """A key as `headrace keys list` shows it."""
    priority = f"{key.lowest_priority}..{key.priority}"
    expires = key.expires.astimezone(UTC).strftime("%Y-%m-%d") if key.expires else "-"
    limits = ", ".join(_limits(key.limits)) or "-"
    models = " ".join(key.models)
    return (key.id, key.name, key.state(now), models, limits, f"{key.weight:g}", priority, expires, key.source)


def moment(text: str, now: datetime) -> datetime:
    """When something ends: so long after `now`, or at a date, which is UTC where it does not say.

    Raises:
        Trouble: the text says neither.
    """
    if re.fullmatch(r"\d+[smhd]", text):
        return now + timedelta(seconds=seconds(text))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Trouble(f"--expires {text}: it must be a time such as 30d or 12h, or a date such as 2027-01-31") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds(text: str) -> float:
    """How long something lasts.

    Raises:
        Trouble: the text does not say.
    """
    if text == "0":
        return 0
    if not re.fullmatch(r"\d{1,6}[smhd]", text):
        raise Trouble(f"{text}: it must be 0, or a number with a unit: 90s, 30m, 24h, 7d")
    return float(text[:-1]) * _UNITS[text[-1]]


def _grace(text: str) -> float:
    found = seconds(text)
    if found > LONGEST_GRACE_SECONDS:
        raise Trouble(f"--grace {text}: it must be at most {LONGEST_GRACE_SECONDS // _UNITS['d']}d")
    return found


def _limits(limits: KeyLimits) -> Iterator[str]:
    for field, words in _SHORT.items():
        if (value := getattr(limits, field)) is not None:
            yield f"{value} {words}"


def _checked(**fields: Any) -> KeyRights:
    try:
        return KeyRights(**fields)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc'])) or 'key'}: {one['msg']}" for one in error.errors())
        raise Trouble("; ".join(problems)) from None


def _show_secret(text: str, output: str) -> None:
    made = NewSecret.model_validate_json(text)
    typer.echo(text if output == "json" else made.key)
    typer.echo(f"This is the key {made.info.id} of {made.info.name}. It is not shown again.", err=True)


def _path(key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", key):
        raise Trouble(f"{key} is no key's id: headrace keys list shows them")
    return key


def _admin(
    kubectl: Kubectl, queue: str | None, url: str | None, key_file: Path | None
) -> AbstractContextManager[QueueAdmin]:
    return queue_admin.by_url(url, key_file) if url else queue_admin.by_kubectl(kubectl, queue)
