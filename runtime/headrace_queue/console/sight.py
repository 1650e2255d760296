"""Looks at the running queue, for the console."""

from collections.abc import Callable

from headrace_queue import snapshot
from headrace_queue.console.state import Sight
from headrace_queue.models import ModelNames
from headrace_queue.request_metrics import RequestMetrics
from headrace_queue.worker_socket import Replica


def look(replica: Replica, names: ModelNames, requests: RequestMetrics, now: Callable[[], float]) -> Sight:
    """The queue now; `now` is the dispatcher's clock."""
    dispatcher = replica.dispatcher
    load = dispatcher.schedule.load(names.announced())
    counted, streamed = requests.completion_tokens(), dispatcher.streamed()
    return Sight(
        replica=replica.id,
        now=now(),
        draining=dispatcher.draining,
        load=load,
        states=names.states(),
        completion_tokens={
            model: counted.get(label := names.label(model), 0) + streamed.get(label, 0) for model in load
        },
        workers=snapshot.workers(dispatcher),
        waiting=snapshot.waiting(dispatcher),
    )
