"""`headrace usage`."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from headrace_cli import http_get, live, queues, terminal
from headrace_cli.cluster_options import Context, Kubeconfig, Namespace
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl

Row = dict[str, Any]
Get = Callable[[str], str]
"""What the queue answers to a path with its parameters."""

_PATH = "/v1/usage"
_PAGE = "1000"
_NUMBERS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "gpu_seconds", "doubtful")


def command(  # noqa: PLR0913, PLR0917  # options
    start: Annotated[
        str | None, typer.Option(metavar="DAY", help="The first day, in UTC; else 29 before the last.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="DAY", help="The last day; else today.")] = None,
    by: Annotated[str, typer.Option(help="What is summed up apart: some of day,key,model,adapter,worker,outcome.")] = (
        "day,key,model"
    ),
    key: Annotated[str | None, typer.Option(metavar="ID", help="Of one key.")] = None,
    model: Annotated[str | None, typer.Option(help="Of one model, as clients ask for it.")] = None,
    output: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="The form.")] = "table",
    url: Annotated[
        str | None, typer.Option(help="Ask the queue here, as a client does, and not through kubectl.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_API_KEY", help="For --url: a key sees its own usage.", show_default=False),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE/SERVICE", help="The queue's admin Service, where there are several."),
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what requests have used, by day, key and model.

    Tokens and GPU-seconds, as the queue's ledger has them. Everything is asked of the queue's admin port, through the
    API server; with --url of its public one, by a key.
    """
    wishes = {"start": start, "end": end, "group_by": by, "key": key, "model": model}
    parameters = {name: value for name, value in wishes.items() if value is not None}
    if url is not None:
        get: Get = lambda path: http_get.text(_base(url) + path, api_key)  # noqa: E731
    else:
        kubectl = Kubectl(context, namespace, kubeconfig)
        place = _place(kubectl, queue)
        get = lambda path: kubectl.raw(place.path + path)  # noqa: E731
    if output == "csv":
        typer.echo(get(f"{_PATH}?{urlencode(parameters | {'format': 'csv'})}"), nl=False)
        return
    rows = list(_rows(get, parameters))
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
        return
    columns = (*by.split(","), *_NUMBERS)
    terminal.listing([column.upper().replace("_", " ") for column in columns], [_cells(row, columns) for row in rows])


def _rows(get: Get, parameters: Mapping[str, str]) -> Iterator[Row]:
    """All rows, page by page."""
    after: dict[str, str] = {}
    while True:
        page = _page(get(f"{_PATH}?{urlencode({**parameters, 'limit': _PAGE, **after})}"))
        yield from ({name: value for name, value in row.items() if name != "object"} for row in page["data"])
        if not page.get("has_more"):
            return
        after = {"after": page["next"]}


def _page(text: str) -> Row:
    try:
        page = json.loads(text)
    except ValueError:
        page = None
    if not isinstance(page, dict) or "data" not in page:
        raise Trouble(f"the queue's answer is no usage: {text[:200]!r}")
    return page


def _cells(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"{row[name]:.1f}" if name == "gpu_seconds" else str(row[name] or "-") for name in map(str.strip, columns)
    )


def _base(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")


def _place(kubectl: Kubectl, queue: str | None) -> queues.Place:
    if queue is not None:
        home, slash, service = queue.partition("/")
        if not (home and slash and service):
            raise Trouble(f"--queue is {queue!r}: it must be NAMESPACE/SERVICE, such as headrace/headrace-queue-admin")
        return queues.Place(home, service)
    places = queues.of(kubectl, live.models(kubectl, everywhere=False))
    if len(places) > 1:
        names = ", ".join(f"{place.namespace}/{place.service}" for place in places)
        raise Trouble(f"there are several queues: say which by --queue: {names}")
    return places[0]
