"""What the operator says of itself: its build, whether it leads, and when it last did what it does regularly."""

import platform
from collections.abc import Callable
from datetime import datetime
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Info


class ProcessMetrics:
    """Set by the parts of the operator, or asked of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.leader = Gauge(
            "headrace_operator_leader", "1 while this replica is the one that writes.", registry=registry
        )
        self.queue_connected = Gauge(
            "headrace_operator_queue_connected", "Replicas of the queue that answer.", registry=registry
        )
        self._resync = Gauge(
            "headrace_operator_last_resync_timestamp_seconds",
            "When everything was last compared with what the API server has.",
            registry=registry,
        )
        self._missed = Counter(
            "headrace_operator_missed_deletions", "Objects that went away without a watch telling.", registry=registry
        )
        self._expiry = Gauge(
            "headrace_operator_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that the webhook serves ends; 0 when it serves none.",
            registry=registry,
        )
        build = Info("headrace_operator_build", "What runs.", registry=registry)
        build.info(
            {
                "version": metadata.version("headrace"),
                "kopf": metadata.version("kopf"),
                "python": platform.python_version(),
            }
        )

    def resynced(self, missed: int) -> None:
        """Everything was compared; `missed` objects had gone away unseen."""
        self._resync.set_to_current_time()
        self._missed.inc(missed)

    def certificate(self, expires: Callable[[], datetime | None]) -> None:
        """From now on ask `expires` when the webhook's certificate ends; None while it serves none."""
        self._expiry.set_function(lambda: ended.timestamp() if (ended := expires()) else 0)
