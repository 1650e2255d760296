"""A run from the first request to the last look into the books."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.traffic import report
from tests.traffic.audit import Findings, audit
from tests.traffic.books import Asked, Disturbance, Row
from tests.traffic.disturbances import Disturber
from tests.traffic.load import Load
from tests.traffic.settle import settled, told_elsewhere
from tests.traffic.site import Site


@dataclass
class Result:
    """The books, and what the audit makes of them."""

    book: list[Asked]
    acts: list[Disturbance]
    rows: list[Row]
    found: Findings
    problems: list[str]
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report."""
        return [*self.notes, *report.lines(self.book, self.acts, len(self.rows), self.found, self.problems)]

    def keep(self, folder: Path) -> None:
        """Write the books as JSON lines."""
        folder.mkdir(parents=True, exist_ok=True)
        books: dict[str, Sequence[Asked | Disturbance | Row]] = {
            "asked": self.book,
            "acts": self.acts,
            "rows": self.rows,
        }
        for name, entries in books.items():
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(asdict(one))}\n" for one in entries))


async def traffic(
    site: Site, seconds: float, seed: int, tell: Callable[[str], None], before: Sequence[Asked] = ()
) -> Result:
    """Load and disturb for so long; `before` was asked earlier."""
    end = time.monotonic() + seconds
    async with Load(site, seed, [*before]).running() as load, Disturber(site, seed).at_work() as hand:
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(30, left))
            tell(f"{len(load.book)} requests, {len(hand.acts)} disturbances")
        hand.stopping = True
    return await result(site, load.book, sorted([*hand.acts, *load.acts], key=lambda one: one.began_at))


async def result(site: Site, book: list[Asked], acts: list[Disturbance]) -> Result:
    """Read the ledger and compare."""
    rows = await settled(site)
    found = audit(book, rows, acts)
    return Result(
        book, acts, rows, found, found.problems() + site.billing.problems(rows) + await told_elsewhere(site, rows)
    )
