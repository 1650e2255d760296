"""An event loop without a clock: when nothing is left to do now, its time jumps to the next timer."""

import asyncio
import contextvars
import heapq
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

_ROUNDS = 5
"""Of cancelling: what is cancelled may start something to clean up."""


class StuckError(AssertionError):
    """Nothing will ever happen again, or things happen without end."""


class Process:
    """What dies together: the tasks that its code started, and whatever asks whether it still lives."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        loop = asyncio.get_running_loop()
        token = _process.set(self)
        try:
            task = loop.create_task(work)
        finally:
            _process.reset(token)
        task.add_done_callback(self._judge)
        return task

    def _judge(self, task: asyncio.Task[Any]) -> None:
        if self.alive and not task.cancelled() and (error := task.exception()):
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": f"a task of {self.name} failed", "exception": error})

    def kill(self) -> None:
        """As kill -9 does: what its code does in its last moments reaches nobody."""
        self.alive = False
        for task in sorted(self.tasks, key=lambda one: one.get_name()):
            task.cancel()


_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Callbacks run in asyncio's order; what the seed decides is when timers and the network come to be due."""

    def __init__(self, after_step: Callable[[], None], limit: int) -> None:
        super().__init__()
        self.steps = 0
        self.errors: list[str] = []
        self._now = 0.0
        self._limit = limit
        self._after_step = after_step
        self._names = 0
        self._ending = False
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note_error)

    def time(self) -> float:
        return self._now

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do at this moment."""
        return not self._ready

    def end(self) -> None:
        """Stop all that is under way, whatever it says."""
        self._ending = True
        for timer in list(self._scheduled):
            timer.cancel()
        for _ in range(_ROUNDS):
            if not (tasks := asyncio.all_tasks(self)):
                break
            for task in sorted(tasks, key=lambda one: one.get_name()):
                task.cancel()
            self.run_until_complete(asyncio.wait(tasks, timeout=1))
        self.close()

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        self._names += 1
        task = asyncio.Task(work, loop=loop, name=f"{self._names:06}", **options)
        if process := _process.get():
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    def _note_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        where = "".join(traceback.format_tb(error.__traceback__)) if error else ""
        self.errors.append(f"{where}{context.get('message')}: {error!r}")

    def _run_once(self) -> None:
        """What BaseEventLoop does, less the waiting."""
        ready, timers = self._ready, self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready:
            if not timers:
                raise StuckError("nothing will ever happen again")
            self._now = max(self._now, timers[0]._when)
        while timers and timers[0]._when <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        self.steps += 1
        if self.steps > self._limit:
            raise StuckError(f"{self._limit} steps, and no end: at {self._now:.3f} s")
        if self._ending:
            return
        if self.errors:
            raise AssertionError("\n".join(self.errors))
        self._after_step()

    def _process_events(self, _: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else's thread wakes it."""
