"""`headrace top MODEL`: asks each worker of a model for its metrics, through the API server."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headrace_cli import live, terminal, worker_usage
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl
from headrace_cli.worker_usage import Reading

Object = dict[str, Any]

_AT_A_TIME = 8
"""Workers that are asked side by side."""


def show(kubectl: Kubectl, model: Object, seconds: float) -> None:
    """A line for each worker, the oldest first.

    Args:
        kubectl: in the model's namespace.
        model: the live InferenceModel.
        seconds: how long to count tokens; 0: not at all.

    Raises:
        Trouble: its pods may not be listed, or there are none.
    """
    pods = live.workers(kubectl, model["metadata"]["name"])
    if not pods:
        ready = live.condition(model, "Ready")
        why = f": {ready['reason']}: {ready['message']}" if ready else ""
        raise Trouble(f"the model {model['metadata']['name']} has no workers{why}")
    before = _read(kubectl, pods) if seconds else [None] * len(pods)
    time.sleep(seconds if any(before) else 0)
    now = _read(kubectl, pods)
    rows = [worker_usage.row(*one) for one in zip(pods, before, now, strict=True)]
    terminal.listing(worker_usage.COLUMNS, rows)


def _read(kubectl: Kubectl, pods: Sequence[Object]) -> list[Reading | None]:
    """What each worker shows now; None, with the reason on stderr, of one that cannot be asked."""

    def read(pod: Object) -> Reading | None:
        path = worker_usage.metrics_path(pod)
        what = f"the metrics of {pod['metadata']['name']}"
        page = live.allowed(what, lambda: kubectl.raw(path)) if path else None
        return None if page is None else Reading.of(page, time.monotonic())

    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        return list(threads.map(read, pods))
