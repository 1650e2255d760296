"""The worker's Prometheus metrics, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headrace_api.wire import HandBack, Result

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """What a worker counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "headrace_worker_requests",
            "Requests ended, by HTTP status or handback.",
            ["status"],
            registry=self.registry,
        )
        self.tokens = Counter(
            "headrace_worker_tokens", "Tokens, as the engine counts them.", ["kind"], registry=self.registry
        )
        self.in_flight = Gauge("headrace_worker_requests_in_flight", "Requests under way.", registry=self.registry)
        self.slots = Gauge("headrace_worker_slots", "Requests taken at a time.", registry=self.registry)
        self.seconds = Histogram(
            "headrace_worker_request_seconds", "Time a request took.", buckets=_SECONDS, registry=self.registry
        )
        self.connections = Counter(
            "headrace_worker_queue_connections", "Connections made to the queue.", registry=self.registry
        )
        self.adapters = Gauge(
            "headrace_worker_adapters",
            "Adapters that are wanted, by whether they are served.",
            ["state"],
            registry=self.registry,
        )
        self.registered = Gauge("headrace_worker_registered", "1 while registered.", registry=self.registry)
        self.engine_healthy = Gauge("headrace_worker_engine_healthy", "1 while healthy.", registry=self.registry)
        self.engine_start_seconds = Gauge(
            "headrace_worker_engine_start_seconds", "How long the engine took to start.", registry=self.registry
        )

    def count(self, ending: Result | HandBack) -> None:
        """Count a job's end."""
        if isinstance(ending, HandBack):
            self.requests.labels("handback").inc()
            return
        self.requests.labels(str(ending.status)).inc()
        if ending.usage:
            self.tokens.labels("prompt").inc(ending.usage.prompt_tokens)
            self.tokens.labels("completion").inc(ending.usage.completion_tokens)
