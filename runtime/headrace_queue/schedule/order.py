"""The order in which what waits would be served if nothing else came: for people and forecasts, not for decisions."""

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace_queue.schedule.shares import Entry, Flow, Shares


def in_order(shares: "Shares") -> "Iterator[Entry]":
    """All that wait, the next one first; as if every lane had workers. O(n log n) for all of them."""
    counters: dict[Flow, float] = {}
    levels: dict[int, list[tuple[float, int, Flow]]] = {}
    queues: dict[tuple[int, Flow], list[Entry]] = {}
    for line, flows in shares.lines.items():
        for flow in flows.in_order():
            counters[flow] = flow.counter
            queues.setdefault((line.priority, flow), []).extend(flow.waiting[line].in_order())
    for (priority, flow), queue in queues.items():
        queue.sort(key=lambda entry: -entry.ticket)
        heapq.heappush(levels.setdefault(priority, []), (flow.counter, queue[-1].ticket, flow))
    while levels:
        heads = [queues[priority, _least(heap, counters)][-1] for priority, heap in levels.items()]
        entry = max(heads, key=shares.urgency)
        yield entry
        priority, flow = entry.line.priority, entry.flow
        counters[flow] += entry.work / entry.call.weight
        heapq.heappop(levels[priority])
        queue = queues[priority, flow]
        queue.pop()
        if queue:
            heapq.heappush(levels[priority], (counters[flow], queue[-1].ticket, flow))
        elif not levels[priority]:
            del levels[priority]


def _least(heap: "list[tuple[float, int, Flow]]", counters: "dict[Flow, float]") -> "Flow":
    """The flow at the top, once those are put right that were served with another priority since."""
    while heap[0][0] != counters[heap[0][2]]:
        _, ticket, flow = heap[0]
        heapq.heapreplace(heap, (counters[flow], ticket, flow))
    return heap[0][2]
