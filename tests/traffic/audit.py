"""Compares the clients' book with the ledger's rows. Pure: the cluster is not asked.

A row is its request's by the queue's request id where the client was told it. Else by key and time: each client has a
key of its own and asks one thing at a time, so that the moment at which the queue got a request says which one it was.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.traffic.books import FAILURES, Asked, Disturbance, Row
from tests.traffic.design import explained, outcomes, rowless

SLACK_S = 0.05
"""By which a queue's moments may differ from a client's; clients pause for more than twice as long."""


@dataclass
class Findings:
    """What does not fit, which must be nothing, and what the design allows, by cause."""

    lost: list[Asked] = field(default_factory=list)
    """Requests without the row that they must have."""
    doubled: list[tuple[Asked, list[Row]]] = field(default_factory=list)
    stray: list[Row] = field(default_factory=list)
    """Rows of no request."""
    misfits: list[tuple[Asked, Row, str]] = field(default_factory=list)
    unexplained: list[Asked] = field(default_factory=list)
    """Failures that nothing explains."""
    wrong: list[Asked] = field(default_factory=list)
    """Complete answers that are not right."""
    failures: Counter[str] = field(default_factory=Counter)
    without_row: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)

    def problems(self) -> list[str]:
        """For people, one line each; none: the books agree."""
        return [
            *(f"lost row: {one}" for one in self.lost),
            *(f"doubled row: {one}: {rows}" for one, rows in self.doubled),
            *(f"row of no request: {row}" for row in self.stray),
            *(f"{why}: {one}: {row}" for one, row, why in self.misfits),
            *(f"unexplained failure: {one}" for one in self.unexplained),
            *(f"wrong answer: {one}" for one in self.wrong),
        ]


def audit(book: Sequence[Asked], rows: Iterable[Row], acts: Sequence[Disturbance]) -> Findings:
    """Judge every request and every row."""
    found = Findings()
    owned, found.stray = _owners(book, rows)
    for number, asked in enumerate(book):
        _judge(asked, owned[number], acts, found)
        cause = explained(asked, acts)
        if cause is None:
            found.unexplained.append(asked)
        elif cause:
            found.failures[cause] += 1
        if asked.wrong and asked.end not in FAILURES:
            found.wrong.append(asked)
    return found


def _owners(book: Sequence[Asked], rows: Iterable[Row]) -> tuple[dict[int, list[Row]], list[Row]]:
    """The rows of each request by its place in the book, and those of none."""
    by_id = {asked.request_id: number for number, asked in enumerate(book) if asked.request_id}
    by_key: dict[str, list[int]] = defaultdict(list)
    for number, asked in enumerate(book):
        by_key[asked.client].append(number)
    owned: dict[int, list[Row]] = defaultdict(list)
    stray: list[Row] = []
    for row in rows:
        number = by_id.get(row.request_id)
        # one that has an id of its own is no owner by time, unless nobody else asked then
        then = [one for one in by_key[row.key] if _spans(book[one], row.received_at)] if number is None else [number]
        if len(then) == 1 and book[then[0]].client == row.key:
            owned[then[0]].append(row)
        else:
            stray.append(row)
    return owned, stray


def _spans(asked: Asked, moment: float) -> bool:
    return asked.sent_at - SLACK_S <= moment <= asked.ended_at + SLACK_S


def _judge(asked: Asked, rows: list[Row], acts: Sequence[Disturbance], found: Findings) -> None:
    if len(rows) > 1:
        found.doubled.append((asked, rows))
    elif rows:
        row = rows[0]
        found.outcomes[row.outcome] += 1
        found.doubts.update([row.doubt] if row.doubt else [])
        found.misfits += [(asked, row, why) for why in _misfits(asked, row, acts)]
    elif why := rowless(asked, acts):
        found.without_row[why] += 1
    else:
        found.lost.append(asked)


def _misfits(asked: Asked, row: Row, acts: Sequence[Disturbance]) -> Iterable[str]:
    if row.outcome not in outcomes(asked, row, acts):
        yield f"outcome {row.outcome} does not fit"
    counted = (row.prompt_tokens, row.completion_tokens)
    if asked.tokens is not None and not row.doubt and counted != asked.tokens:
        yield f"the client was told {asked.tokens} tokens, the row has {counted}"
