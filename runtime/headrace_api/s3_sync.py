"""`s3_sync_args`: what arguments of `aws s3 sync` mean for a download into an empty folder, and which mean nothing.

Read from the AWS CLI's reference of `s3 sync`: filters apply in their order, the later wins, everything is included to
begin with; `*`, `?`, `[sequence]` and `[!sequence]` match also slashes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

_WITH_VALUE = {"--endpoint-url": "endpoint_url", "--region": "region", "--source-region": "region"}
_NO_SIGN = "--no-sign-request"
_REQUEST_PAYER = "--request-payer"
_FILTERS = ("--include", "--exclude")
_WITHOUT_EFFECT = {
    "--only-show-errors": 0,
    "--quiet": 0,
    "--no-progress": 0,
    "--exact-timestamps": 0,
    "--size-only": 0,
    "--delete": 0,
    "--no-follow-symlinks": 0,
    "--follow-symlinks": 0,
    "--cli-read-timeout": 1,
    "--cli-connect-timeout": 1,
    "--color": 1,
    "--output": 1,
    "--no-cli-pager": 0,
    "--no-paginate": 0,
}
"""Arguments that say how the tool talks, or what the store does anyhow (`--delete`); the number of their values."""
ACCEPTED = (*_FILTERS, *_WITH_VALUE, _NO_SIGN, _REQUEST_PAYER, *_WITHOUT_EFFECT)


@dataclass(frozen=True)
class Filter:
    """One `--include` or `--exclude`."""

    included: bool
    pattern: str


@dataclass(frozen=True)
class SyncArguments:
    """What is asked for."""

    filters: tuple[Filter, ...] = ()
    endpoint_url: str | None = None
    region: str | None = None
    anonymous: bool = False
    requester_pays: bool = False
    ignored: tuple[str, ...] = field(default=())
    """Arguments without effect on a download."""

    def includes(self, name: str) -> bool:
        """Whether the file with this name, relative to the folder, is fetched: the last filter that matches decides."""
        return next((one.included for one in reversed(self.filters) if fnmatchcase(name, one.pattern)), True)


def parse(arguments: Sequence[str]) -> SyncArguments:
    """Read the list.

    Raises:
        ValueError: an argument is unknown, or has no value or one that is not accepted.
    """
    result = SyncArguments()
    for name, value in _pairs(arguments):
        result = replace(result, **_meaning(result, name, value))
    return result


def _meaning(before: SyncArguments, name: str, value: str) -> dict[str, Any]:
    if name in _FILTERS:
        return {"filters": (*before.filters, Filter(name == "--include", value))}
    if name in _WITH_VALUE:
        return {_WITH_VALUE[name]: value}
    if name == _NO_SIGN:
        return {"anonymous": True}
    if name == _REQUEST_PAYER:
        if value != "requester":
            raise _refused(f"{name} {value}", "accepted: --request-payer requester")
        return {"requester_pays": True}
    return {"ignored": (*before.ignored, name)}


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        values = _values(name)
        if values is None:
            raise _refused(name, f"accepted: {', '.join(ACCEPTED)}")
        if values and not equals:
            if not rest:
                raise _refused(name, "it needs a value")
            value = rest.pop(0)
        yield name, value


def _values(name: str) -> int | None:
    """How many values an argument has; None for one that is not known."""
    if name in _FILTERS or name in _WITH_VALUE or name == _REQUEST_PAYER:
        return 1
    return 0 if name == _NO_SIGN else _WITHOUT_EFFECT.get(name)


def _refused(argument: str, why: str) -> ValueError:
    shown = re.sub(r"\s+", " ", argument)
    return ValueError(f"{shown!r:.80} is not accepted: {why}")
