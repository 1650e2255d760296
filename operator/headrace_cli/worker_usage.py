"""What a worker does: its row in `headrace top MODEL`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from headrace_api import names, progress
from headrace_cli.words import pod_state

Object = dict[str, Any]

COLUMNS = ("WORKER", "STATE", "HAS", "RUNNING", "SLOTS", "CREDITS", "TOKENS/S")

_SAMPLE = re.compile(r'^headrace_worker_([a-z_]+)(?:\{(?:state|kind)="(\w+)"\})? (\S+)$', re.MULTILINE)
_METRICS_PORT = "metrics"
"""What the worker's port is called in its pod."""


@dataclass(frozen=True)
class Reading:
    """What a worker shows to Prometheus, at a moment."""

    samples: Mapping[tuple[str, str], float]
    """By name, without what all of ours begin with, and label."""
    at: float
    """When, in seconds of any clock."""

    @classmethod
    def of(cls, page: str, at: float) -> Self:
        """From the text of its page of metrics."""
        return cls({(name, label): float(value) for name, label, value in _SAMPLE.findall(page)}, at)

    @property
    def state(self) -> str:
        """The state that it is in; empty where it does not say."""
        return next((label for (name, label), value in self.samples.items() if name == "state" and value), "")

    @property
    def tokens(self) -> float:
        """Tokens of all kinds so far."""
        return sum(value for (name, _), value in self.samples.items() if name == "tokens_total")

    def number(self, name: str) -> int | None:
        """A gauge without labels."""
        value = self.samples.get((name, ""))
        return None if value is None else int(value)


def metrics_path(pod: Object) -> str | None:
    """Where the API server passes a question for the worker's metrics on; None while its container does not run."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    running = any(one["name"] == names.WORKER_CONTAINER and "running" in (one.get("state") or {}) for one in statuses)
    containers = (one for one in pod["spec"]["containers"] if one["name"] == names.WORKER_CONTAINER)
    ports = [port for one in containers for port in one.get("ports") or [] if port.get("name") == _METRICS_PORT]
    if not running or not ports:
        return None
    metadata = pod["metadata"]
    where = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    return f"{where}:{ports[0]['containerPort']}/proxy/metrics"


def row(pod: Object, before: Reading | None, now: Reading | None) -> tuple[str, ...]:
    """As `headrace top` shows it; a dash is what is not known.

    Args:
        pod: the worker's.
        before: what it showed a while ago, for tokens per second.
        now: what it shows.
    """
    name = pod["metadata"]["name"]
    if now is None:
        return (name, pod_state(pod), "-", "-", "-", "-", "-")
    fetching = now.state == "fetching"
    has = progress.amount(now.number("fetch_bytes"), now.number("fetch_total_bytes") or None) if fetching else ""
    counts = (now.number(gauge) for gauge in ("requests_in_flight", "slots", "credits"))
    rate = _rate(before, now)
    return (
        name,
        now.state or pod_state(pod),
        has or "-",
        *("-" if count is None else str(count) for count in counts),
        "-" if rate is None else f"{rate:.1f}",
    )


def _rate(before: Reading | None, now: Reading) -> float | None:
    """Tokens per second; a worker that was started anew in between counts from zero."""
    if before is None or now.at <= before.at:
        return None
    grown = now.tokens - before.tokens
    return (grown if grown >= 0 else now.tokens) / (now.at - before.at)
