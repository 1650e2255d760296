"""Looks at the running queue, for the console."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry

from headrace_queue import snapshot
from headrace_queue.console.state import Sight
from headrace_queue.models import ModelNames
from headrace_queue.worker_socket import Replica


def look(replica: Replica, names: ModelNames, registry: CollectorRegistry, now: Callable[[], float]) -> Sight:
    """The queue now; `now` is the dispatcher's clock."""
    dispatcher = replica.dispatcher
    load = dispatcher.schedule.load(names.announced())
    counted, streamed = partial(_counted, registry), dispatcher.streamed()
    return Sight(
        replica=replica.id,
        now=now(),
        draining=dispatcher.draining,
        load=load,
        states=names.states(),
        completion_tokens={model: counted(label := names.label(model)) + streamed.get(label, 0) for model in load},
        workers=snapshot.workers(dispatcher),
        waiting=snapshot.waiting(dispatcher),
    )


def _counted(registry: CollectorRegistry, label: str) -> float:
    counted = registry.get_sample_value("headrace_queue_tokens_total", {"model": label, "kind": "completion"})
    return counted or 0.0
