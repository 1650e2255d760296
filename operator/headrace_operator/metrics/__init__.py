"""The operator's Prometheus metrics, in a registry of their own: every name is in docs/operations.md."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, ProcessCollector

from headrace_operator.metrics.api import ApiMetrics
from headrace_operator.metrics.models import ModelsCollector
from headrace_operator.metrics.process import ProcessMetrics
from headrace_operator.metrics.work import WorkMetrics
from headrace_operator.observed import Key, Object


class OperatorMetrics:
    """All that the operator counts; the parts are told to whoever does what they count."""

    def __init__(
        self,
        registry: CollectorRegistry,
        api: ApiMetrics,
        models: Callable[[], list[Object]],
        generation: Callable[[Key], int | None],
    ) -> None:
        """Register everything.

        Args:
            registry: where to.
            api: there already, for it is told of the very first request.
            models: every model, for the counts of conditions.
            generation: the generation of a model, for the log lines of its reconcile.
        """
        self.registry = registry
        self.api = api
        self.work = WorkMetrics(registry, generation)
        self.process = ProcessMetrics(registry)
        registry.register(ModelsCollector(models))
        ProcessCollector(namespace="headrace_operator", registry=registry)
