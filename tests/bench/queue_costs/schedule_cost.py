"""What a decision of the schedule costs: `python -m tests.bench.queue_costs.schedule_cost`.

CPU microseconds per operation, by how many requests wait (of 100 keys) and how many workers there are, to be compared
with each other: the cost must grow with the logarithm at most. Then those of a whole request in the dispatcher, from
its client's call to its end, where nothing waits: by how many workers there are, with 64 requests under way.
"""

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from headrace_api.wire import Usage
from headrace_queue.exchange import Call, End
from headrace_queue.schedule import Schedule
from tests.queue.virtual_queue import VirtualQueue

KEYS = 100
FIRST_WORKER = 10**6
USAGE = Usage(prompt_tokens=50, completion_tokens=200)
END = End(200, {}, USAGE)


def call(number: int) -> Call:
    return Call(str(number), "m", "", b"x" * 400, key=f"k{number % KEYS}", prefixes=(number % 997, number))


def microseconds(count: int, operation: Callable[[int], Any]) -> float:
    began = time.process_time()
    for number in range(count):
        operation(number)
    return (time.process_time() - began) / count * 1e6


def measure(waiting: int, workers: int, count: int = 4000) -> tuple[float, float, float]:
    """Of letting a request in behind the others; of a worker's credit that takes one; of one that is taken at once."""
    schedule = Schedule()
    for number in range(workers):
        schedule.add(FIRST_WORKER + number, ["m"], str(number))
    calls = [call(number) for number in range(waiting + count)]
    for number in range(waiting):
        schedule.enqueue(number, calls[number])

    def let_in(number: int) -> None:
        schedule.enqueue(waiting + number, calls[waiting + number])

    def take(number: int) -> None:
        worker = FIRST_WORKER + number % workers
        schedule.grant(worker, 1)
        for ticket, _ in schedule.decide_for(worker):
            schedule.settle(ticket, USAGE)
            schedule.withdraw(ticket)

    entering, taking = microseconds(count, let_in), microseconds(count, take)
    for ticket in [view.ticket for _, view in schedule.in_order()]:
        schedule.withdraw(ticket)
    for number in range(workers):
        schedule.grant(FIRST_WORKER + number, 4)

    def pass_through(number: int) -> None:
        for ticket, worker in schedule.place(number, calls[number]):
            schedule.settle(ticket, USAGE)
            schedule.withdraw(ticket)
            schedule.grant(worker, 1)

    return entering, taking, microseconds(min(count, len(calls)), pass_through)


class Line:
    """Workers that all answer at once what they have had for the longest time."""

    def __init__(self, workers: int, under_way: int) -> None:
        self._queue = VirtualQueue()
        self._queue.ledger.record = lambda _entry, _committed=None: None  # type: ignore[method-assign]
        self._workers = [self._queue.worker("m", credit=-(-under_way // workers)) for _ in range(workers)]
        self._under_way = deque(self._ask(number) for number in range(under_way))

    def pass_through(self, number: int) -> None:
        """One request ends, and another one comes."""
        exchange = self._under_way.popleft()
        worker = next(each for each in self._workers if exchange.job in each.jobs)
        del worker.jobs[exchange.job]
        self._queue.dispatcher.finish(worker.number, exchange.job, exchange.call.request_id, END)
        worker.grant()
        self._queue.dispatcher.leave(exchange)
        self._under_way.append(self._ask(number))

    def _ask(self, number: int) -> Any:
        return self._queue.ask(str(number), raw=b"x" * 400)


def main() -> None:
    """A line for each size."""
    sys.stdout.write(f"{'waiting':>8} {'workers':>8} {'let in':>8} {'take':>8} {'at once':>8}\n")
    for waiting, workers in ((10, 1), (100, 10), (1000, 100), (10_000, 1000), (100_000, 10_000)):
        costs = " ".join(f"{cost:>8.1f}" for cost in measure(waiting, workers))
        sys.stdout.write(f"{waiting:>8} {workers:>8} {costs}\n")
    sys.stdout.write(f"{'workers':>8} {'request':>8}\n")
    for workers in (1, 2, 8, 64):
        line = Line(workers, 64)
        microseconds(2000, line.pass_through)
        cost = min(microseconds(4000, line.pass_through) for _ in range(5))
        sys.stdout.write(f"{workers:>8} {cost:>8.1f}\n")


if __name__ == "__main__":
    main()
