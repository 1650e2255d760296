"""What a run has shown, for people."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.traffic.audit import Findings
from tests.traffic.books import Asked, Disturbance

SHOWN = 40
"""Problems of one run that are shown; the books have all."""


def lines(
    book: Sequence[Asked], acts: Sequence[Disturbance], rows: int, found: Findings, problems: Sequence[str]
) -> Iterator[str]:
    """The report."""
    yield f"{len(book)} requests, {rows} rows in the ledger"
    yield from _counted("requests by kind", Counter(one.kind for one in book))
    yield from _counted("ended", Counter(one.end.value for one in book))
    yield from _counted("done to the cluster", Counter(one.act.value for one in acts))
    yield from _counted("rows by outcome", found.outcomes)
    yield from _counted("rows with a doubt", found.doubts)
    yield from _counted("failures, all as designed", found.failures)
    yield from _counted("requests without a row, as designed", found.without_row)
    yield f"rows lost: {len(found.lost)}; doubled: {len(found.doubled)}; of no request: {len(found.stray)}"
    unfit = f"wrong outcomes or tokens: {len(found.misfits)}; wrong answers: {len(found.wrong)}"
    yield f"unexplained failures: {len(found.unexplained)}; {unfit}"
    yield from (f"PROBLEM {one}" for one in problems[:SHOWN])
    yield f"{len(problems)} problems" if problems else "the books agree"


def _counted(title: str, counter: Counter[str]) -> Iterator[str]:
    if counter:
        yield f"{title}:"
        yield from (f"  {count:6} {what}" for what, count in counter.most_common())
