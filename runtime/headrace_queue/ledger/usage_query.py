"""What is asked of the ledger: `GET /v1/usage`'s parameters, read strictly. Pure."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from headrace_queue.errors import ApiError, bad_body

DIMENSIONS = ("day", "key", "model", "adapter", "worker", "outcome")
"""What usage can be grouped by."""

FILTERS = ("key", "model", "adapter", "worker", "outcome")
_DEFAULT_GROUPS = ("day", "key", "model")
_DEFAULT_DAYS = 30
DEFAULT_LIMIT = 100
MOST_ROWS = 1000
"""Of one page."""
_PARAMETERS = frozenset({"start", "end", "group_by", "limit", "after", "format", *FILTERS})


@dataclass(frozen=True)
class UsageQuery:
    """Sums over the rows of some days, by some columns."""

    start: date
    end: date
    """The last day, which counts, too."""
    group_by: tuple[str, ...]
    filters: Mapping[str, str]
    limit: int
    after: tuple[str, ...] | None = None
    """The groups' values of the last row that was seen."""
    csv: bool = False
    whole: bool = False
    """Whether no limit was asked for."""

    def of_key(self, key: str) -> "UsageQuery":
        """The same of one key alone."""
        return replace(self, filters={**self.filters, "key": key})


def read_query(parameters: Mapping[str, str], accept: str, today: date) -> UsageQuery:
    """The query that a URL's parameters ask for.

    Args:
        parameters: of the URL.
        accept: the header of that name.
        today: in UTC.

    Raises:
        ApiError: status 400; the message names the parameter and what is accepted.
    """
    if unknown := sorted(parameters.keys() - _PARAMETERS):
        name = unknown[0][:100]
        raise bad_body(f"`{name}` is no parameter; there are: {', '.join(sorted(_PARAMETERS))}.", param=name)
    end = _day(parameters, "end", today)
    start = _day(parameters, "start", _days_before(end, _DEFAULT_DAYS - 1))
    if start > end:
        raise bad_body(f"`start` is {start}: it must not be after `end`, {end}.", param="start")
    groups = _groups(parameters.get("group_by"))
    filters = {name: _text(parameters, name) for name in FILTERS if name in parameters}
    form = parameters.get("format", "csv" if accept.strip().startswith("text/csv") else "json")
    if form not in {"csv", "json"}:
        raise bad_body(f"`format` is {form[:100]!r}: it must be csv or json.", param="format")
    after = read_cursor(parameters["after"], groups) if "after" in parameters else None
    return UsageQuery(
        start, end, groups, filters, _limit(parameters), after, csv=form == "csv", whole="limit" not in parameters
    )


def cursor(values: tuple[str, ...]) -> str:
    """What a client sends as `after` to get what comes after this row."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def read_cursor(text: str, groups: Sequence[str]) -> tuple[str, ...]:
    """The values in a cursor.

    Raises:
        ApiError: it is not one of a query with these groups.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(text.encode()))
    except (ValueError, RecursionError):
        raise _bad_cursor(text) from None
    if (
        not isinstance(values, list)
        or len(values) != len(groups)
        or not all(isinstance(one, str) and _is_storable(one) for one in values)
    ):
        raise _bad_cursor(text)
    if "day" in groups:
        try:
            date.fromisoformat(values[groups.index("day")])
        except ValueError:
            raise _bad_cursor(text) from None
    return tuple(values)


def _bad_cursor(text: str) -> ApiError:
    return bad_body(
        f"`after` is {text[:100]!r}: it must be the `next` of an answer to the same question.", param="after"
    )


def _day(parameters: Mapping[str, str], name: str, default: date) -> date:
    text = parameters.get(name)
    if text is None:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise bad_body(
            f"`{name}` is {text[:100]!r}: it must be a day in UTC, such as 2026-01-31.", param=name
        ) from None


def _days_before(day: date, days: int) -> date:
    return date.fromordinal(max(day.toordinal() - days, date.min.toordinal()))


def _text(parameters: Mapping[str, str], name: str) -> str:
    text = parameters[name]
    if not _is_storable(text):
        raise bad_body(f"`{name}` is {text[:100]!r}: it must be a text without NUL and broken characters.", param=name)
    return text


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _groups(text: str | None) -> tuple[str, ...]:
    if text is None:
        return _DEFAULT_GROUPS
    groups = tuple(part.strip() for part in text.split(","))
    if len(set(groups)) < len(groups) or not set(groups) <= set(DIMENSIONS):
        message = f"`group_by` is {text[:100]!r}: it must be some of {', '.join(DIMENSIONS)}, with commas between."
        raise bad_body(message, param="group_by")
    return groups


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", str(DEFAULT_LIMIT))
    short = len(text) <= len(str(MOST_ROWS))  # Python does not read a number of thousands of digits
    if not (short and text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_ROWS):
        raise bad_body(f"`limit` is {text[:100]!r}: it must be a number from 1 to {MOST_ROWS}.", param="limit")
    return int(text)
