"""The order in which what waits would be served if nothing else came: for people and forecasts, not for decisions."""

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace_queue.schedule.ranking import Ranking, first

if TYPE_CHECKING:
    from headrace_queue.schedule.shares import Backlog, Entry, Flow, Line, Shares


class _Share:
    """What one key has waiting in a line."""

    def __init__(self, line: "Line", flow: "Flow", backlog: "Backlog") -> None:
        self.line = line
        self.flow = flow
        self.rank = backlog.rank
        self.begun = backlog.begun
        self.served = backlog.served
        self.left = list(backlog.tickets.in_order())[::-1]


def in_order(shares: "Shares") -> "Iterator[Entry]":
    """All that wait, the next one first; as if every lane had workers. O(lines + log n) for each of them."""
    lines: dict[Line, Ranking[_Share]] = {}
    of_key: defaultdict[Flow, list[_Share]] = defaultdict(list)
    for line, turns in shares.lines.items():
        lines[line] = Ranking()
        for flow in turns.flows.in_order():
            share = _Share(line, flow, flow.waiting[line])
            of_key[flow].append(share)
            _put(lines, share)
    while lines:
        heads: dict[int, tuple[tuple[float, int], _Share]] = {}
        for line, ranking in lines.items():
            share = first(ranking)
            place = max(share.rank, share.begun), share.left[-1].ticket
            if line.priority not in heads or place < heads[line.priority][0]:
                heads[line.priority] = place, share
        share = max((share for _, share in heads.values()), key=lambda each: shares.urgency(each.left[-1], each.served))
        entry = share.left.pop()
        yield entry
        share.served = shares.latest
        for each in of_key[share.flow]:
            each.rank += entry.work / entry.call.weight
            _put(lines, each)


def _put(lines: "dict[Line, Ranking[_Share]]", share: _Share) -> None:
    if share.left:
        lines[share.line].put(share, (share.rank, share.left[-1].ticket))
    elif ranking := lines.get(share.line):
        ranking.drop(share)
        if not ranking:
            del lines[share.line]
