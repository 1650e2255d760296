"""Reads the console's numbers off the running queue."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry

from headrace_api.load import ModelLoad, ModelState
from headrace_queue.clock import Clock
from headrace_queue.console.state import WaitingView, WorkerView
from headrace_queue.dispatch import Dispatcher
from headrace_queue.models import ModelNames


class QueueSource:
    """See `Source`."""

    def __init__(self, dispatcher: Dispatcher, names: ModelNames, registry: CollectorRegistry, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._names = names
        self._registry = registry
        self._clock = clock

    @property
    def draining(self) -> bool:
        """See `Source.draining`."""
        return self._dispatcher.draining

    def load(self) -> Mapping[str, ModelLoad]:
        """See `Source.load`."""
        return self._dispatcher.schedule.load(self._names.announced())

    def states(self) -> Mapping[str, ModelState]:
        """See `Source.states`."""
        return self._names.states()

    def completion_tokens(self, model: str) -> float:
        """See `Source.completion_tokens`."""
        labels = {"model": self._names.label(model), "kind": "completion"}
        return self._registry.get_sample_value("headrace_queue_tokens_total", labels) or 0.0

    def workers(self) -> Iterable[WorkerView]:
        """See `Source.workers`."""
        for one in self._dispatcher.schedule.workers():
            state = one.starting.state if one.starting else "draining" if one.draining else "ready"
            yield WorkerView(
                name=one.name,
                models=None if one.models is None else tuple(sorted(one.models)),
                state=state,
                detail=one.starting.detail if one.starting else one.note,
                running=len(one.entries),
                credits=one.credits,
            )

    def waiting(self) -> Iterable[WaitingView]:
        """See `Source.waiting`."""
        now = self._clock.now()
        for entry in self._dispatcher.schedule.unserved():
            call = entry.call
            yield WaitingView(call.request_id, call.model, call.key, max(0.0, now - entry.since), None)
