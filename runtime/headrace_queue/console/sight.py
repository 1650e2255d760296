"""Looks at the running queue, for the console."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from headrace_queue import snapshot
from headrace_queue.console.state import Sight
from headrace_queue.models import ModelNames
from headrace_queue.worker_socket import Replica


def look(replica: Replica, names: ModelNames, registry: CollectorRegistry, now: Callable[[], float]) -> Sight:
    """The queue now; `now` is the dispatcher's clock."""
    dispatcher = replica.dispatcher
    load = dispatcher.schedule.load(names.announced())
    counted, streamed = _counted(registry), dispatcher.streamed()
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


def _counted(registry: CollectorRegistry) -> dict[str, float]:
    """The completion tokens of each model; no other metric is collected for that."""
    families = registry.restricted_registry(["headrace_queue_tokens_total"]).collect()
    samples = (sample for family in families for sample in family.samples)
    return {one.labels["model"]: one.value for one in samples if one.labels["kind"] == "completion"}
