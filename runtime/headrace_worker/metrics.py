"""The worker's Prometheus metrics, in a registry of their own.

What is counted per request is in `headrace_worker.tallies`; nothing is counted per token.
"""

import time
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge

from headrace_api.wire import HandBack, Result, Usage
from headrace_worker.life import State
from headrace_worker.reconciliation import Growth, counted
from headrace_worker.tallies import Counter, Histogram

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_INTER_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1)


class Metrics:
    """What a worker counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._entered_at = time.monotonic()
        self.state = self._made(Gauge, "state", "1 for the state that it is in.", labelnames=["state"])
        self.state_seconds = self._made(
            Gauge, "state_seconds", "How long a state lasts, or lasted before the next began.", labelnames=["state"]
        )
        self.requests = Counter(
            "headrace_worker_requests", "Requests ended, by HTTP status or handback.", label="status"
        )
        self.tokens = Counter(
            "headrace_worker_tokens",
            "Tokens, as the engine counts them.",
            label="kind",
            begun=("prompt", "completion"),
        )
        self.engine_tokens = self._made(
            prometheus_client.Counter, "engine_tokens", "Tokens by the engine's own counters.", labelnames=["kind"]
        )
        self.drift = self._made(
            Gauge,
            "usage_drift_tokens",
            "Tokens that the engine has counted and the worker has not told the queue of.",
            labelnames=["kind"],
        )
        self._growth = Growth()
        self.in_flight = self._made(Gauge, "requests_in_flight", "Requests under way.")
        self.slots = self._made(Gauge, "slots", "Requests taken at a time.")
        self.credits = self._made(Gauge, "credits", "Further requests that the queue may send now.")
        self.seconds = Histogram("headrace_worker_request_seconds", "Time a request took.", buckets=_SECONDS)
        self.queue_wait = Histogram(
            "headrace_worker_queue_wait_seconds", "Time a request was in the queue before it came.", buckets=_SECONDS
        )
        self.first_token = Histogram(
            "headrace_worker_time_to_first_token_seconds",
            "From a request's coming to the first piece of its stream.",
            buckets=_FIRST_TOKEN_SECONDS,
        )
        self.inter_token = Histogram(
            "headrace_worker_inter_token_seconds",
            "Mean time between the tokens of a stream, once per request.",
            buckets=_INTER_TOKEN_SECONDS,
        )
        for each in (self.requests, self.tokens, self.seconds, self.queue_wait, self.first_token, self.inter_token):
            self.registry.register(each)
        self.fetched = self._made(Gauge, "fetch_bytes", "Bytes of the model that are here.")
        self.to_fetch = self._made(Gauge, "fetch_total_bytes", "Bytes of the model, as far as its size is known.")
        self.connections = self._made(prometheus_client.Counter, "queue_connections", "Connections made to the queue.")
        self.adapters = self._made(
            Gauge, "adapters", "Adapters that are wanted, by whether they are served.", labelnames=["state"]
        )
        self.registered = self._made(Gauge, "registered", "1 while registered.")
        self.engine_healthy = self._made(Gauge, "engine_healthy", "1 while healthy.")
        self.engine_starts = self._made(prometheus_client.Counter, "engine_starts", "How often the engine was started.")
        self.engine_start_seconds = self._made(Gauge, "engine_start_seconds", "How long the engine took to start.")
        self.engine_metrics = self._made(
            Gauge, "engine_metrics_up", "1 when the engine's own metrics are on this page."
        )
        self._state = State.FETCHING
        for state in State:
            self.state.labels(state.value).set(state is self._state)

    def _made(self, kind: type[Any], name: str, text: str, **more: Any) -> Any:
        return kind(f"headrace_worker_{name}", text, registry=self.registry, **more)

    def enter(self, state: State) -> None:
        """Note the next state."""
        self.bring_up_to_date()
        self.state.labels(self._state.value).set(0)
        self._entered_at, self._state = time.monotonic(), state
        self.state.labels(state.value).set(1)

    def bring_up_to_date(self) -> None:
        """Count the time in the present state until now: before the metrics are read."""
        self.state_seconds.labels(self._state.value).set(time.monotonic() - self._entered_at)

    def reconcile(self, page: str) -> None:
        """Hold the engine's own counters against what the queue was told."""
        for kind, value in counted(page).items():
            grown, together = self._growth.seen(kind, value)
            self.engine_tokens.labels(kind).inc(grown)
            self.drift.labels(kind).set(together - self.tokens[kind])

    def progress(self, done_bytes: int | None, total_bytes: int | None) -> None:
        """Note how much of the model is here."""
        if done_bytes is not None:
            self.fetched.set(done_bytes)
        if total_bytes is not None:
            self.to_fetch.set(total_bytes)

    def count(self, ending: Result | HandBack) -> None:
        """Count a job's end."""
        if isinstance(ending, HandBack):
            self.requests.add("handback")
            return
        self.requests.add(ending.status)
        if usage := ending.usage:
            self.tokens.add("prompt", usage.prompt_tokens)
            self.tokens.add("completion", usage.completion_tokens)

    def streamed(self, began: float, first: float, ended: float, usage: Usage | None) -> None:
        """Count a stream's times, on the monotonic clock: when its request came, its first piece and its end."""
        self.first_token.observe(first - began)
        if usage and usage.completion_tokens > 1:
            self.inter_token.observe((ended - first) / (usage.completion_tokens - 1))
